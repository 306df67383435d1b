//! `cargo xtask run`: from a fresh clone to the open panel.

use crate::{
    machine, panel,
    shell::{self, cargo},
    steps::Steps,
};
use anyhow::Result;
use std::process::ExitCode;

/// Without Tauri's own command line this is what makes the window show the files that are compiled in.
pub(crate) const EMBEDDED: &[&str] = &["--features", "tauri/custom-protocol"];

pub(crate) fn run(release: bool, args: &[String]) -> Result<ExitCode> {
    let window = machine::has_display();
    let mut steps = Steps::new(6);
    let packages: &[&[&str]] = if window { &[machine::DESKTOP] } else { &[] };
    steps.step("System packages", || {
        if window {
            machine::packages(packages)
        } else {
            Ok("none needed: there is no display, so no window")
        }
    })?;
    steps.step("Node.js", machine::node)?;
    steps.step("Packages of the panel (npm ci)", panel::install)?;
    steps.step("The panel (npm run build)", panel::build)?;

    let mut what = vec![
        "--package",
        if window {
            "flotilla-desktop"
        } else {
            "flotilla-cli"
        },
    ];
    what.extend([
        "--bin",
        if window {
            "flotilla-desktop"
        } else {
            "flotilla"
        },
    ]);
    what.extend(if window { EMBEDDED } else { &[] });
    what.extend(release.then_some("--release"));
    let name = if window {
        "The window (cargo build; the first time takes minutes)"
    } else {
        "The engine (cargo build; the first time takes minutes)"
    };
    steps.step(name, || {
        let reference = ["--package", "flotilla-reference"];
        let profile = release.then_some("--release");
        shell::run(cargo().arg("build").args(reference).args(profile))?;
        shell::run(cargo().arg("build").args(&what)).map(|()| "built")
    })?;

    steps.next(if window {
        "Opening the window"
    } else {
        "Serving the panel to a browser: the address follows, Ctrl+C stops"
    });
    let serve: &[&str] = if window { &[] } else { &["serve"] };
    shell::become_program(
        cargo()
            .args(["run", "--quiet"])
            .args(&what)
            .arg("--")
            .args(serve)
            .args(args),
    )
}
