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
    collections::BTreeSet,
    process::{Command, ExitCode},
    time::Duration,
};

struct Suite {
    name: &'static str,
    /// What must be there first.
    needs: &'static [SetUp],
    command: fn() -> Command,
    tests: Tests,
    minutes: u64,
}

#[derive(Clone, Copy)]
struct SetUp {
    name: &'static str,
    work: fn() -> Result<Said>,
}

const PACKAGES: SetUp = SetUp {
    name: "set-up: system packages",
    work: || machine::packages(&[machine::DESKTOP, machine::TESTS]),
};
const NODE: SetUp = SetUp {
    name: "set-up: Node.js",
    work: machine::node,
};
const PANEL_PACKAGES: SetUp = SetUp {
    name: "set-up: panel packages",
    work: panel::install,
};
const PANEL: SetUp = SetUp {
    name: "set-up: panel",
    work: panel::build,
};
const NPM_SERVERS: SetUp = SetUp {
    name: "set-up: servers from npm",
    work: test_env::node,
};
const PYPI_SERVERS: SetUp = SetUp {
    name: "set-up: servers from PyPI",
    work: test_env::python,
};
const DRIVER: SetUp = SetUp {
    name: "set-up: tauri-driver",
    work: test_env::driver,
};
const PROGRAMS: SetUp = SetUp {
    name: "set-up: programs",
    work: || {
        shell::run(cargo().args("build --workspace --exclude flotilla-desktop --bins".split(' ')))
            .map(|()| "built")
    },
};
const WINDOW: SetUp = SetUp {
    name: "set-up: window",
    work: || {
        shell::run(
            cargo()
                .args("build --package flotilla-desktop --bins".split(' '))
                .args(EMBEDDED),
        )
        .map(|()| "built")
    },
};

/// Quick ones first. A suite whose package is missing fails: nothing is left out in silence.
const SUITES: &[Suite] = &[
    Suite {
        name: "vitest",
        needs: &[NODE, PANEL_PACKAGES],
        command: || words(npm(), "run --silent test"),
        tests: Tests::Vitest,
        minutes: 10,
    },
    Suite {
        name: "rust",
        needs: &[PACKAGES],
        command: || {
            words(
                cargo(),
                "test --workspace --exclude flotilla-desktop --exclude flotilla-tests --no-fail-fast",
            )
        },
        tests: Tests::Cargo,
        minutes: 40,
    },
    Suite {
        name: "system",
        needs: &[PACKAGES, NODE, NPM_SERVERS, PYPI_SERVERS, PROGRAMS],
        command: || {
            words(
                cargo(),
                "test --package flotilla-tests --lib --bins --test system",
            )
        },
        tests: Tests::Cargo,
        minutes: 40,
    },
    Suite {
        name: "playwright",
        needs: &[
            PACKAGES,
            NODE,
            PANEL_PACKAGES,
            PANEL,
            NPM_SERVERS,
            PYPI_SERVERS,
            PROGRAMS,
        ],
        command: || words(npm(), "run --silent e2e"),
        tests: Tests::Playwright,
        minutes: 30,
    },
    Suite {
        name: "desktop",
        needs: &[
            PACKAGES,
            NODE,
            PANEL_PACKAGES,
            PANEL,
            DRIVER,
            PROGRAMS,
            WINDOW,
        ],
        command: desktop,
        tests: Tests::Cargo,
        minutes: 30,
    },
];

/// The shell's own tests and those of its window, on a bus and a display of their own: nothing of the machine's session is touched.
fn desktop() -> Command {
    let mut command = words(program("dbus-run-session"), "-- xvfb-run --auto-servernum");
    // When its last client goes, a display begins anew, unless it is told not to; who connects at that moment is cut off.
    command
        .arg("--server-args=-screen 0 1440x900x24 -noreset")
        .arg(cargo().get_program());
    command.args([
        "test",
        "--package",
        "flotilla-desktop",
        "--package",
        "flotilla-tests",
        "--no-fail-fast",
    ]);
    command.args(EMBEDDED);
    words(command, "--lib --test desktop -- --test-threads=1")
}

pub(crate) fn test(names: &[&str]) -> Result<ExitCode> {
    let chosen = suites::pick(SUITES, |suite| suite.name, names)?;
    let mut rows: Vec<Row> = Vec::new();
    let mut done = BTreeSet::new();
    for set_up in chosen
        .iter()
        .flat_map(|suite| suite.needs)
        .filter(|set_up| done.insert(set_up.name))
    {
        println!("\n==> {}", set_up.name);
        // Suites run even then: each says by itself what it misses.
        rows.push(suites::row(set_up.name, || {
            (set_up.work)().map(|said| println!("    {said}"))
        }));
    }
    for suite in chosen {
        let mut command = (suite.command)();
        let built = shell::target().join("debug");
        command.env("FLOTILLA_TEST_ENV", test_env::folder());
        command.env("FLOTILLA_BIN", built.join(exe("flotilla")));
        command.env("FLOTILLA_DESKTOP_BIN", built.join(exe("flotilla-desktop")));
        command.env("FLOTILLA_TARGET", built);
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

fn words(mut command: Command, args: &str) -> Command {
    command.args(args.split(' '));
    command
}
