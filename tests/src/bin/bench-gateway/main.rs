//! `cargo xtask bench gateway`: what it costs to reach a server through the gateway, beside reaching it directly and beside
//! the barest hops that one can put in between.
//!
//! All are processes of their own, most of them this program in another role, and all of them ([`rows`]) are measured in
//! turn, round by round ([`measure`]); what carries over to another machine are the ratios within a round. The method
//! stands in `docs/benchmarks.md`.

#[cfg(target_os = "linux")]
mod bridge;
#[cfg(target_os = "linux")]
mod gateway;
#[cfg(target_os = "linux")]
mod hops;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod null;
#[cfg(target_os = "linux")]
mod plain;
#[cfg(target_os = "linux")]
mod roles;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod targets;
#[cfg(all(test, target_os = "linux"))]
mod tests;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    let args: measure::Args = clap::Parser::parse();
    match &args.role {
        Some(role) => roles::play(role).map(|()| std::process::ExitCode::SUCCESS),
        None => measure::main(&args),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this measurement needs Linux: it reads /proc");
    std::process::exit(2);
}
