//! Files that are generated and committed.

use crate::shell::{self, root};
use anyhow::{Context as _, Result, bail};
use std::{fs, path::PathBuf};

/// A committed file and the binary that prints it.
struct Generated {
    path: &'static str,
    package: &'static str,
    bin: &'static str,
}

const GENERATED: &[Generated] = &[Generated {
    path: "ui/src/lib/contract/index.ts",
    package: "flotilla-contract",
    bin: "gen",
}];

/// Writes every generated file that is not fresh.
pub(crate) fn write() -> Result<()> {
    for file in GENERATED {
        let (path, text) = render(file)?;
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            println!("{} is fresh", file.path);
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("failed to make {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        println!("{} is written", file.path);
    }
    Ok(())
}

/// Fails when a committed file is not what would be generated.
pub(crate) fn check() -> Result<()> {
    for file in GENERATED {
        let (path, text) = render(file)?;
        if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            bail!(
                "{} is stale; run `cargo xtask gen` and commit it",
                file.path
            );
        }
    }
    Ok(())
}

fn render(file: &Generated) -> Result<(PathBuf, String)> {
    let args = [
        "run",
        "--quiet",
        "--package",
        file.package,
        "--bin",
        file.bin,
    ];
    let text = shell::read(shell::cargo().args(args))
        .with_context(|| format!("failed to generate {}", file.path))?;
    Ok((root().join(file.path), text))
}
