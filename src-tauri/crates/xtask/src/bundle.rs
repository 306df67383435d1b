//! `cargo xtask bundle`: installers for this platform, by Tauri's own command line.

use crate::{
    machine, panel,
    shell::{self, program},
    steps::Steps,
};
use anyhow::Result;
use std::process::ExitCode;

/// Used when the panel's packages do not bring it; the version that the crate `tauri` belongs to.
const TAURI: &str = "@tauri-apps/cli@^2.12";

pub(crate) fn bundle(args: &[String]) -> Result<ExitCode> {
    let mut steps = Steps::new(5);
    steps.step("System packages", || machine::packages(&[machine::DESKTOP]))?;
    steps.step("Node.js", machine::node)?;
    steps.step("Packages of the panel (npm ci)", panel::install)?;
    steps.step("The panel (npm run build)", panel::build)?;
    steps.next("Installers (tauri build)");
    let local = shell::root().join("ui/node_modules/.bin/tauri");
    let mut command = if local.exists() {
        program(local)
    } else {
        let mut npx = program(if cfg!(windows) { "npx.cmd" } else { "npx" });
        npx.args(["--yes", TAURI]);
        npx
    };
    shell::become_program(command.arg("build").args(args))
}
