//! `cargo xtask bench NAME`: measurements, in a release build.

use crate::{
    panel,
    shell::{self, cargo},
};
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
        name: "gateway",
        about: "calls through the gateway, beside direct ones and bare hops",
        package: "flotilla-tests",
        target: ["--bin", "bench-gateway"],
    },
    Bench {
        name: "dashboard",
        about: "the dashboard's frame to 100 and 1,000 clients, beside a bare broadcaster and Node's ws",
        package: "flotilla-tests",
        target: ["--bin", "bench-dashboard"],
    },
    Bench {
        name: "charts",
        about: "redraws and ticks of the panel's charts in WebKitGTK or Chromium, beside bare uPlot and bare polylines",
        package: "flotilla-tests",
        target: ["--bin", "bench-charts"],
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
        name: "reference",
        about: "the reference servers beside a bare echo server on the same SDK",
        package: "flotilla-tests",
        target: ["--bin", "bench-reference"],
    },
    Bench {
        name: "workflow",
        about: "steps of workflow runs, in memory and on disk, beside bare sqlx",
        package: "flotilla-engine",
        target: ["--example", "workflow_bench"],
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
    command
        .args(["run", "--quiet", "--release", "--package", bench.package])
        .args(bench.target)
        .arg("--");
    if bench.name == "charts" {
        // It measures a page, and no engine.
        command.arg("--page").arg(panel::measured()?);
    } else if bench.package == "flotilla-tests" {
        // Built together, so that the engine, the fixture and the measurement are of one mould.
        shell::run(cargo().args(
            "build --release --package flotilla-cli --package flotilla-reference --package flotilla-tests --bins".split(' '),
        ))?;
        let built = |name: &str| {
            shell::target()
                .join("release")
                .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
        };
        let mut command = shell::program(built(bench.target[1]));
        return shell::become_program(command.args(args).env("FLOTILLA_BIN", built("flotilla")));
    }
    shell::become_program(command.args(args))
}
