//! `cargo xtask test`: every suite, and one table at the end.

use crate::{
    machine, panel,
    run::EMBEDDED,
    shell::{self, cargo, npm, program},
    steps::Said,
    suites::{self, Row, Tests},
    test_env,
};
use anyhow::Result;
use std::{
    process::{Command, ExitCode},
    time::Duration,
};

struct Suite {
    name: &'static str,
    command: fn() -> Command,
    tests: Tests,
    minutes: u64,
}

/// Quick ones first. A suite whose package is missing fails: nothing is left out in silence.
const SUITES: &[Suite] = &[
    Suite {
        name: "vitest",
        command: || words(npm(), &["run", "--silent", "test"]),
        tests: Tests::Vitest,
        minutes: 10,
    },
    Suite {
        name: "rust",
        command: || {
            words(
                cargo(),
                &[
                    "test",
                    "--workspace",
                    "--exclude",
                    "flotilla-desktop",
                    "--exclude",
                    "flotilla-tests",
                    "--no-fail-fast",
                ],
            )
        },
        tests: Tests::Cargo,
        minutes: 40,
    },
    Suite {
        name: "system",
        command: || {
            words(
                cargo(),
                &["test", "--package", "flotilla-tests", "--test", "system"],
            )
        },
        tests: Tests::Cargo,
        minutes: 40,
    },
    Suite {
        name: "playwright",
        command: || words(npm(), &["run", "--silent", "e2e"]),
        tests: Tests::Playwright,
        minutes: 30,
    },
    Suite {
        name: "desktop",
        // A bus and a display of its own: nothing of the machine's session is touched.
        command: || {
            let xvfb = [
                "--",
                "xvfb-run",
                "--auto-servernum",
                "--server-args=-screen 0 1440x900x24",
            ];
            let test = [
                "cargo",
                "test",
                "--package",
                "flotilla-tests",
                "--test",
                "desktop",
                "--",
                "--test-threads=1",
            ];
            words(
                program("dbus-run-session"),
                &[&xvfb[..], &test[..]].concat(),
            )
        },
        tests: Tests::Cargo,
        minutes: 30,
    },
];

type SetUp = (&'static str, fn() -> Result<Said>);

const SET_UP: &[SetUp] = &[
    ("set-up: system packages", || {
        machine::packages(&[machine::DESKTOP, machine::TESTS])
    }),
    ("set-up: Node.js", machine::node),
    ("set-up: panel packages", panel::install),
    ("set-up: panel", panel::build),
    ("set-up: servers from npm", test_env::node),
    ("set-up: servers from PyPI", test_env::python),
    ("set-up: tauri-driver", test_env::driver),
    ("set-up: programs", programs),
];

/// The programs that the suites start.
fn programs() -> Result<Said> {
    shell::run(cargo().args([
        "build",
        "--workspace",
        "--exclude",
        "flotilla-desktop",
        "--bins",
    ]))?;
    shell::run(
        cargo()
            .args(["build", "--package", "flotilla-desktop", "--bins"])
            .args(EMBEDDED),
    )?;
    Ok("built")
}

pub(crate) fn test(names: &[&str]) -> Result<ExitCode> {
    let chosen = suites::pick(SUITES, |suite| suite.name, names)?;
    let mut rows: Vec<Row> = Vec::new();
    for (name, set_up) in SET_UP {
        println!("\n==> {name}");
        rows.push(suites::row(name, || {
            set_up().map(|said| println!("    {said}"))
        }));
    }
    for suite in chosen {
        let mut command = (suite.command)();
        command.env("FLOTILLA_TEST_ENV", test_env::folder());
        command.env(
            "FLOTILLA_BIN",
            shell::target().join("debug").join(exe("flotilla")),
        );
        command.env(
            "FLOTILLA_DESKTOP_BIN",
            shell::target().join("debug").join(exe("flotilla-desktop")),
        );
        rows.push(suites::run(
            suite.name,
            command,
            suite.tests,
            Duration::from_secs(suite.minutes * 60),
        ));
    }
    Ok(suites::summary("suite", &rows))
}

fn exe(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

fn words(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}
