//! The desktop application's entry.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: flotilla_os::Allocator = flotilla_os::ALLOCATOR;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    // Before anything else: a guard must be small and start at once.
    if words.next().as_deref() == Some(flotilla_desktop::GUARD) {
        flotilla_os::guard::main(&words.next().unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    flotilla_desktop::run()
}
