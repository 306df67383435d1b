//! `cargo xtask bench NAME`: measurements, in a release build.

use crate::shell::{self, cargo};
use anyhow::{Result, bail};
use std::process::ExitCode;

struct Bench {
    name: &'static str,
    about: &'static str,
    package: &'static str,
    /// `--example` or `--bin`, and its name.
    target: [&'static str; 2],
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "supervisor",
        about: "start, restart, stop, idle cost, beside a bare tokio floor",
        package: "flotilla-tests",
        target: ["--bin", "bench-supervisor"],
    },
    Bench {
        name: "chaos",
        about: "200 servers, random kills and edits for ten minutes; nothing may leak",
        package: "flotilla-tests",
        target: ["--bin", "chaos"],
    },
    Bench {
        name: "eventlog",
        about: "the event log beside bare sqlx",
        package: "flotilla-store",
        target: ["--example", "eventlog_bench"],
    },
    Bench {
        name: "metrics",
        about: "sampling, recording and querying",
        package: "flotilla-metrics",
        target: ["--example", "metrics"],
    },
];

pub(crate) fn list() -> ExitCode {
    println!("usage: cargo xtask bench NAME [-- ARGS]\n");
    for bench in BENCHES {
        println!("  {:<12}{}", bench.name, bench.about);
    }
    ExitCode::from(2)
}

pub(crate) fn bench(name: &str, args: &[String]) -> Result<ExitCode> {
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        bail!(
            "no measurement is named {name:?}; there are {}",
            BENCHES
                .iter()
                .map(|b| b.name)
                .collect::<Vec<_>>()
                .join(", ")
        );
    };
    let mut command = cargo();
    if bench.package == "flotilla-tests" {
        shell::run(cargo().args(["build", "--release", "--package", "flotilla-cli", "--bins"]))?;
        command.env(
            "FLOTILLA_BIN",
            shell::target()
                .join("release")
                .join(format!("flotilla{}", std::env::consts::EXE_SUFFIX)),
        );
    }
    command
        .args(["run", "--quiet", "--release", "--package", bench.package])
        .args(bench.target)
        .arg("--")
        .args(args);
    shell::become_program(&mut command)
}
