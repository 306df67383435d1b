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

/// A schema that a test of its crate compares, which writes it when told to.
struct Schema {
    path: &'static str,
    package: &'static str,
}

const SCHEMAS: &[Schema] = &[
    Schema {
        path: "docs/fleet.schema.json",
        package: "flotilla-config",
    },
    Schema {
        path: "docs/workflow.schema.json",
        package: "flotilla-workflow",
    },
];
const SCHEMA_TEST: &str = "the_published_schema_is_fresh";

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
    for schema in SCHEMAS {
        let read = || fs::read(root().join(schema.path)).ok();
        let before = read();
        let test = [
            "test",
            "--quiet",
            "--package",
            schema.package,
            "--lib",
            SCHEMA_TEST,
        ];
        shell::quietly(shell::cargo().args(test).env("FLOTILLA_GEN", "1"))?;
        let word = if read() == before { "fresh" } else { "written" };
        println!("{} is {word}", schema.path);
    }
    Ok(())
}

/// Fails when a committed file is not what would be generated. The schemas are left to their tests, which run with the others.
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
