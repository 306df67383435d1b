//! `flotilla-reference`: runs one of the reference servers.

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    flotilla_reference::run::main(flotilla_reference::run::Args::parse())
}
