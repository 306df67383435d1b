//! `cargo xtask check`: everything that can be said about the sources without running the product.

use crate::{
    generated, machine, panel,
    shell::{ask, cargo, npm},
    suites::{self, Row, Tests},
    tidy,
};
use anyhow::Result;
use std::{
    process::{Command, ExitCode},
    time::Duration,
};

struct Check {
    name: &'static str,
    run: fn(&str) -> Row,
}

const CHECKS: &[Check] = &[
    Check {
        name: "fmt",
        run: |name| tool(name, cargo(), &["fmt", "--all", "--check"]),
    },
    Check {
        name: "tidy",
        run: |name| inside(name, tidy::check),
    },
    Check {
        name: "gen",
        run: |name| inside(name, generated::check),
    },
    Check {
        name: "clippy",
        run: |name| {
            tool(
                name,
                cargo(),
                &[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--quiet",
                    "--",
                    "--deny",
                    "warnings",
                ],
            )
        },
    },
    Check {
        name: "svelte-check",
        run: |name| tool(name, npm(), &["run", "--silent", "check"]),
    },
    Check {
        name: "lint",
        run: |name| tool(name, npm(), &["run", "--silent", "lint"]),
    },
    Check {
        name: "deny",
        run: deny,
    },
];

pub(crate) fn check(names: &[&str]) -> Result<ExitCode> {
    let chosen = suites::pick(CHECKS, |check| check.name, names)?;
    let mut rows = Vec::new();
    // Clippy reads the desktop too, and the panel's tools come with its packages.
    for (name, set_up) in [
        (
            "set-up: system packages",
            (|| machine::packages(&[machine::DESKTOP])) as fn() -> Result<_>,
        ),
        ("set-up: Node.js", machine::node),
        ("set-up: panel packages", panel::install),
    ] {
        rows.push(inside(name, || set_up().map(|said| println!("    {said}"))));
    }
    rows.extend(chosen.into_iter().map(|check| (check.run)(check.name)));
    Ok(suites::summary("check", &rows))
}

fn tool(name: &str, mut command: Command, args: &[&str]) -> Row {
    command.args(args);
    suites::run(name, command, Tests::None, Duration::from_secs(40 * 60))
}

fn inside(name: &str, check: impl FnOnce() -> Result<()>) -> Row {
    println!("\n==> {name}");
    suites::row(name, check)
}

/// Licences, sources and forbidden arrows always; advisories where their database can be had.
fn deny(name: &str) -> Row {
    if ask(cargo().args(["deny", "--version"])).is_none() {
        return suites::skipped(
            name,
            "cargo-deny is not installed (`cargo install --locked cargo-deny`)",
        );
    }
    let database = ask(cargo().args(["deny", "fetch", "db"])).is_some();
    if !database {
        println!("\n==> {name}: advisories SKIPPED, their database could not be fetched");
    }
    let args: &[&str] = if database {
        &["deny", "check"]
    } else {
        &["deny", "check", "bans", "licenses", "sources"]
    };
    tool(name, cargo(), args)
}
