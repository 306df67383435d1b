//! What the system tests run that is not ours: MCP servers from npm and PyPI, and the WebDriver of the desktop window.
//!
//! Layout of `TARGET/test-env`: `node/node_modules/…`, `python/bin/…`, `bin/tauri-driver`. Suites are told where it is by
//! `FLOTILLA_TEST_ENV`.

use crate::{
    shell::{self, cargo, program, root, target},
    steps::Said,
};
use anyhow::{Context as _, Result};
use std::{fs, path::PathBuf};

pub(crate) fn folder() -> PathBuf {
    target().join("test-env")
}

/// The servers of `tests/package.json`.
pub(crate) fn node() -> Result<Said> {
    once("node", &["package.json", "package-lock.json"], |folder| {
        fs::create_dir_all(folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(root().join("tests").join(file), folder.join(file))
                .with_context(|| format!("failed to copy tests/{file}"))?;
        }
        shell::quietly(shell::npm().current_dir(folder).args([
            "ci",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]))
    })
}

/// The servers of `tests/requirements.txt`, and uv.
pub(crate) fn python() -> Result<Said> {
    once("python", &["requirements.txt"], |folder| {
        shell::quietly(
            program("python3")
                .args(["-m", "venv", "--clear"])
                .arg(folder),
        )?;
        let pip = folder.join(if cfg!(windows) {
            "Scripts/pip"
        } else {
            "bin/pip"
        });
        let list = root().join("tests/requirements.txt");
        shell::quietly(
            program(pip)
                .args([
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--requirement",
                ])
                .arg(list),
        )
    })
}

/// tauri-driver, which lets a test drive the window.
pub(crate) fn driver() -> Result<Said> {
    if folder().join("bin/tauri-driver").exists() || folder().join("bin/tauri-driver.exe").exists()
    {
        return Ok("up to date");
    }
    let args = [
        "install",
        "--quiet",
        "--locked",
        "tauri-driver",
        "--version",
        "^2",
        "--root",
    ];
    shell::quietly(cargo().args(args).arg(folder()))?;
    Ok("installed")
}

/// Makes a folder of the environment when the files of `tests/` it comes from are not those it was made from, or when it was made
/// elsewhere: a Python environment does not survive a move.
fn once(name: &str, files: &[&str], make: impl FnOnce(&PathBuf) -> Result<()>) -> Result<Said> {
    let made_at = folder().join(name);
    let place = std::iter::once(Ok(format!("{}\n", made_at.display())));
    let contents = files.iter().map(|file| {
        fs::read_to_string(root().join("tests").join(file))
            .with_context(|| format!("failed to read tests/{file}"))
    });
    let wanted: String = place.chain(contents).collect::<Result<_>>()?;
    let stamp = folder().join(format!("{name}.stamp"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok("up to date");
    }
    make(&made_at)?;
    fs::write(&stamp, wanted).with_context(|| format!("failed to write {}", stamp.display()))?;
    Ok("installed")
}
