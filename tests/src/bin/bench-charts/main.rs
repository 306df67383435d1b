//! `cargo xtask bench charts`: the panel's charts in a browser, beside floors that draw the same numbers and nothing else.
//!
//! The page (`ui/bench`) draws and takes the time; it is served on the loopback, opened in WebKitGTK under Xvfb or in Chromium,
//! and sends what it found. The method stands in `docs/benchmarks.md`.

#[cfg(target_os = "linux")]
mod browser;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod page;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    measure::measure(clap::Parser::parse())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this measurement needs Linux: it opens WebKitGTK under Xvfb");
    std::process::exit(2);
}
