//! `cargo xtask bench chaos`: a fleet under random kills, commands, edits and crashes of its engine.
//!
//! What should be so is kept beside the engine (see [`model`]) and follows only what the engine has acknowledged. At
//! the end everything comes to rest, and then: what is observed is what is wanted, every process belongs to an
//! instance that runs, and with the first configuration in force again the engine is no larger than at the start.
//! A run that shows something else says what, keeps its folder and exits with 1.

#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod model;
#[cfg(target_os = "linux")]
mod picture;
#[cfg(target_os = "linux")]
mod storm;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    let args = clap::Parser::parse();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(storm::run(&args))
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this run needs Linux: it reads /proc and signals through process descriptors");
    std::process::exit(2);
}
