//! `cargo xtask bench dashboard`: how long it takes until the last of many clients has the dashboard's frame, what that costs, and what
//! a client that does not read costs the others; beside a bare broadcaster and Node's `ws`.
//!
//! The servers are processes of their own, measured in turn round by round; one more process holds all clients, and notes for each
//! message when the first and the last of them had it. A message says when it was made, in whole milliseconds: half of one is added
//! to that, what it is on average, for all servers alike. With `--pin` a server has CPU 0 and the clients CPU 1. The method stands in
//! `docs/benchmarks.md`.

#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod measure;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    let args: measure::Args = clap::Parser::parse();
    match &args.role {
        Some(measure::Role::Floor { port, every, bytes }) => floor::serve(*port, *every, *bytes),
        Some(measure::Role::Clients(wanted)) => clients::hold(wanted),
        None => measure::run(&args),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this measurement needs Linux: it reads /proc");
    std::process::exit(2);
}
