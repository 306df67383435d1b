//! The developers' door: `cargo xtask COMMAND`.

mod generated;
mod shell;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  gen [--check]   write the generated files, or only say whether they are fresh
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let done = match (args.first().map(String::as_str), rest.as_slice()) {
        (Some("gen"), []) => generated::write(),
        (Some("gen"), ["--check"]) => generated::check(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
