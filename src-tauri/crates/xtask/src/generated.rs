//! Files that are generated and committed.

use crate::shell::{self, root};
use anyhow::{Context as _, Result, bail};
use std::{fs, path::PathBuf};

/// A committed file and what prints it.
struct Generated {
    path: &'static str,
    /// Of cargo.
    printer: &'static [&'static str],
}

const GENERATED: &[Generated] = &[Generated {
    path: "ui/src/lib/contract/index.ts",
    printer: &[
        "run",
        "--quiet",
        "--package",
        "flotilla-contract",
        "--bin",
        "gen",
    ],
}];

/// The schema of `fleet.toml` is compared by a test of its crate, which writes it when told to.
const SCHEMA: &str = "docs/fleet.schema.json";
const SCHEMA_TEST: &[&str] = &[
    "test",
    "--quiet",
    "--package",
    "flotilla-config",
    "--lib",
    "the_published_schema_is_fresh",
];

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
    let schema = || fs::read(root().join(SCHEMA)).ok();
    let before = schema();
    shell::quietly(shell::cargo().args(SCHEMA_TEST).env("FLOTILLA_GEN", "1"))?;
    println!(
        "{SCHEMA} is {}",
        if schema() == before {
            "fresh"
        } else {
            "written"
        }
    );
    Ok(())
}

/// Fails when a committed file is not what would be generated. The schema is left to its test, which runs with the others.
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
    let text = shell::read(shell::cargo().args(file.printer))
        .with_context(|| format!("failed to generate {}", file.path))?;
    Ok((root().join(file.path), text))
}
