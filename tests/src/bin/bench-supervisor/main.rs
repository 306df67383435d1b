//! `cargo xtask bench supervisor`: how fast and how cheaply the engine keeps children running, beside a bare floor.
//!
//! Children report their own first instruction, so nothing is polled. The engine and the floor (see [`floor`]) take
//! turns round by round in one run; what carries over to another machine is their ratio. The engine runs as it always
//! does: output captured, events and log files written, sampling every 2 s, the guard beside it. Only the servers are
//! declared so that nothing but the supervisor is measured: no check, restart at once and without limit.
//! The method stands in `docs/benchmarks.md`.

#[cfg(target_os = "linux")]
mod births;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod table;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((floor::ARGUMENT, rest)) = arguments.split_first().map(|(a, r)| (a.as_str(), r)) {
        floor::main(rest)?;
        return Ok(std::process::ExitCode::SUCCESS);
    }
    measure::main(&clap::Parser::parse())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this measurement needs Linux: it reads /proc and waits on process descriptors");
    std::process::exit(2);
}
