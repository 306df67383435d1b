//! `cargo xtask bundle`: installers for this platform, by Tauri's own command line.

use crate::{
    machine, panel,
    shell::{self, cargo, program},
    steps::{Said, Steps},
};
use anyhow::{Context as _, Result};
use std::{fs, process::ExitCode};

/// Used when the panel's packages do not bring it; the version that the crate `tauri` belongs to.
const TAURI: &str = "@tauri-apps/cli@^2.12";

pub(crate) fn bundle(args: &[String]) -> Result<ExitCode> {
    let mut steps = Steps::new(6);
    steps.step("System packages", || machine::packages(&[machine::DESKTOP]))?;
    steps.step("Node.js", machine::node)?;
    steps.step("Packages of the panel (npm ci)", panel::install)?;
    steps.step("The panel (npm run build)", panel::build)?;
    steps.step("The reference servers (cargo build)", stage_reference)?;
    steps.next("Installers (tauri build)");
    let local = shell::root().join("ui/node_modules/.bin/tauri");
    let mut command = if local.exists() {
        program(local)
    } else {
        let mut npx = program(if cfg!(windows) { "npx.cmd" } else { "npx" });
        npx.args(["--yes", TAURI]);
        npx
    };
    // Said here and not in tauri.conf.json: there, every build would want the file to be staged.
    let sidecar = format!(r#"{{"bundle":{{"externalBin":["{STAGED}"]}}}}"#);
    shell::become_program(command.args(["build", "--config", &sidecar]).args(args))
}

/// Where the program that goes into the installers beside the window stands, from the top, without the platform's name.
const STAGED: &str = "target/sidecar/flotilla-reference";

/// Builds it, and puts it where Tauri looks for programs to ship: with the platform in its name.
fn stage_reference() -> Result<Said> {
    shell::run(cargo().args(["build", "--release", "--package", "flotilla-reference"]))?;
    let rustc = program("rustc").arg("-vV").output()?;
    let platform = String::from_utf8_lossy(&rustc.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc -vV names no host")?;
    let suffix = std::env::consts::EXE_SUFFIX;
    let staged = shell::root().join(format!("{STAGED}-{platform}{suffix}"));
    let built = shell::target().join(format!("release/flotilla-reference{suffix}"));
    fs::create_dir_all(staged.parent().unwrap_or(&staged))?;
    fs::copy(&built, &staged).with_context(|| format!("failed to copy {}", built.display()))?;
    Ok("staged")
}
