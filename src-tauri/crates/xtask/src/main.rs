//! The developers' door: `cargo xtask COMMAND`.
//!
//! It owns no knowledge of the product. It knows what a machine needs ([`machine`]), how the panel is built ([`panel`]), which
//! suites and checks there are (tables in [`test`], [`check`], [`bench`]), and how to run a program so that its output is seen
//! and kept ([`shell`], [`suites`]). It has hardly any dependencies, so that it starts in seconds on a fresh clone.

mod bench;
mod bundle;
mod check;
mod generated;
mod machine;
mod panel;
mod run;
mod shell;
mod steps;
mod suites;
mod test;
mod test_env;
mod tidy;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  run [--release] [-- ARGS]    set everything up and open the panel: in a window, or without
                               a display in the browser (the address is printed); ARGS go on
                               to flotilla-desktop or `flotilla serve`
  test [SUITE…]                set everything up and run every suite, or those named
  check [NAME…]                format, lints, generated files, tidiness, licences, or those named
  gen [--check]                write the generated files, or only say whether they are fresh
  bench NAME [-- ARGS]         measure, in a release build; without NAME: which there are
  bundle [-- ARGS]             build installers for this platform
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<ExitCode> {
    let (own, passed_on) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[][..]),
    };
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let Some((command, rest)) = own.split_first() else {
        print!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    match (*command, rest) {
        ("run", []) => run::run(false, passed_on),
        ("run", ["--release"]) => run::run(true, passed_on),
        ("test", names) if passed_on.is_empty() => test::test(names),
        ("check", names) if passed_on.is_empty() => check::check(names),
        ("gen", []) => generated::write().map(|()| ExitCode::SUCCESS),
        ("gen", ["--check"]) => generated::check().map(|()| ExitCode::SUCCESS),
        ("bench", []) => Ok(bench::list()),
        ("bench", [name]) => bench::bench(name, passed_on),
        ("bundle", []) => bundle::bundle(passed_on),
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!(
            "cannot make sense of `cargo xtask {}`\n\n{USAGE}",
            args.join(" ")
        ),
    }
}
