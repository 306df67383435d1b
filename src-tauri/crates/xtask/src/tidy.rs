//! What the compilers cannot see: arrows between parts, and documents that follow the contract.

use crate::shell::root;
use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// Which crates of ours each crate may build on. Siblings have no arrows between them; the engine alone wires them.
const ARROWS: &[(&str, &[&str])] = &[
    ("flotilla-agents", &["contract", "os"]),
    ("flotilla-alerts", &["contract", "os"]),
    (
        "flotilla-cli",
        &["contract", "engine", "os", "remote", "server"],
    ),
    ("flotilla-config", &["contract"]),
    ("flotilla-contract", &[]),
    (
        "flotilla-desktop",
        &["contract", "engine", "os", "remote", "server"],
    ),
    (
        "flotilla-engine",
        &[
            "agents",
            "alerts",
            "config",
            "contract",
            "gateway",
            "mcp",
            "metrics",
            "os",
            "store",
            "supervisor",
            "workflow",
        ],
    ),
    ("flotilla-gateway", &["contract", "mcp"]),
    ("flotilla-mcp", &["contract"]),
    ("flotilla-metrics", &["contract", "os"]),
    ("flotilla-os", &[]),
    ("flotilla-reference", &[]),
    ("flotilla-remote", &["contract"]),
    ("flotilla-server", &["contract", "engine"]),
    ("flotilla-store", &["contract"]),
    ("flotilla-supervisor", &["contract", "os"]),
    ("flotilla-workflow", &["contract"]),
    ("flotilla-xtask", &[]),
];

/// Documents that must name every word of an enum, as a heading.
const DOCUMENTS: &[(&str, &str)] = &[
    ("ErrorCode", "docs/errors.md"),
    ("HealthCode", "docs/health.md"),
];

pub(crate) fn check() -> Result<()> {
    let mut findings = Vec::new();
    arrows(&mut findings)?;
    imports(&mut findings)?;
    documents(&mut findings)?;
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{}", findings.join("\n"))
}

/// The arrows between our crates.
fn arrows(findings: &mut Vec<String>) -> Result<()> {
    let crates = root().join("src-tauri/crates");
    let mut manifests = vec![root().join("Cargo.toml")];
    for entry in
        fs::read_dir(&crates).with_context(|| format!("failed to list {}", crates.display()))?
    {
        manifests.push(entry?.path().join("Cargo.toml"));
    }
    manifests.sort();
    for path in manifests.iter().filter(|path| path.exists()) {
        let text = fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        findings.extend(
            forbidden(&text)
                .into_iter()
                .map(|finding| format!("{}: {finding}", shown(path))),
        );
    }
    Ok(())
}

/// What a manifest depends on and must not.
fn forbidden(manifest: &str) -> Vec<String> {
    let (mut name, mut section, mut dependencies) = ("", "", BTreeSet::new());
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_start_matches('[').trim_end_matches(']');
            // `[dependencies.NAME]`
            dependencies.extend(section.strip_prefix("dependencies."));
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap_or_default();
            match (section, key) {
                ("package", "name") => name = value.trim().trim_matches('"'),
                ("dependencies" | "build-dependencies", dependency) => {
                    let _ = dependencies.insert(dependency);
                }
                (section, dependency)
                    if section.starts_with("target.") && section.ends_with(".dependencies") =>
                {
                    dependencies.insert(dependency);
                }
                _ => {}
            }
        }
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{name:?} is not in the table of arrows; add it to {}",
            file!()
        )];
    };
    let ours = dependencies
        .iter()
        .filter_map(|dependency| dependency.strip_prefix("flotilla-"));
    let crossed = ours.filter(|dependency| !allowed.contains(dependency));
    let mut findings: Vec<_> = crossed
        .map(|dependency| format!("{name} must not build on flotilla-{dependency}"))
        .collect();
    let shell = dependencies
        .iter()
        .filter(|dependency| **dependency == "tauri" || dependency.starts_with("tauri-"));
    if name != "flotilla-desktop" {
        findings.extend(shell.map(|dependency| {
            format!("{name} must not build on {dependency}: only the desktop shell may")
        }));
    }
    findings
}

/// The arrows between the parts of the panel.
fn imports(findings: &mut Vec<String>) -> Result<()> {
    let sources = root().join("ui/src");
    for path in files(&sources)? {
        let kind = path.extension().and_then(|extension| extension.to_str());
        if !matches!(kind, Some("ts" | "js" | "svelte")) {
            continue;
        }
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let place = path.strip_prefix(&sources).unwrap_or(&path);
        for import in specifiers(&text) {
            findings.extend(
                wrong_import(place, import)
                    .map(|why| format!("{}: imports {import:?}: {why}", shown(&path))),
            );
        }
    }
    Ok(())
}

/// Why a file of the panel must not import this, if so.
fn wrong_import(place: &Path, import: &str) -> Option<&'static str> {
    if import.starts_with("@tauri-apps") && !place.starts_with("lib/transport") {
        return Some("only lib/transport may know what carries it");
    }
    let target = if import.starts_with('.') {
        normal(&place.parent()?.join(import))
    } else {
        // An alias names the part behind its own prefix: `$features/logs/…`, `@/features/logs/…`.
        let from = ["features/", "views/", "lib/"]
            .iter()
            .find_map(|part| import.find(part))?;
        PathBuf::from(&import[from..])
    };
    let part = |path: &Path| path.components().take(2).collect::<PathBuf>();
    let top = |path: &Path, name: &str| path.starts_with(name);
    if top(place, "features") && top(&target, "features") && part(place) != part(&target) {
        return Some("features do not know each other; a view puts them together");
    }
    if top(place, "features") && top(&target, "views") {
        return Some("views are made of features, not the other way round");
    }
    let wordless = top(place, "kit") || top(place, "charts");
    let domain = top(&target, "features")
        || top(&target, "views")
        || target.starts_with("lib/state")
        || target.starts_with("lib/transport");
    (wordless && domain).then_some("kit and charts know no words of the fleet")
}

/// What a source imports.
fn specifiers(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && !line.starts_with('*'))
        .filter_map(|line| {
            let from = ["from ", "import(", "import "].iter().find_map(|word| {
                let rest = &line[line.find(word)? + word.len()..];
                rest.starts_with(['"', '\'']).then_some(rest)
            })?;
            from[1..].split(['"', '\'']).next()
        })
}

/// The documents that follow the contract.
fn documents(findings: &mut Vec<String>) -> Result<()> {
    let contract = fs::read_to_string(root().join("ui/src/lib/contract/index.ts"))
        .context("failed to read the contract")?;
    for (union, document) in DOCUMENTS {
        let text = fs::read_to_string(root().join(document))
            .with_context(|| format!("failed to read {document}"))?;
        let (words, named) = (words(&contract, union), headings(&text));
        if words.is_empty() {
            bail!("{union} is not in the contract");
        }
        findings.extend(
            words
                .difference(&named)
                .map(|word| format!("{document}: `{word}` is not named (`## \\`{word}\\``)")),
        );
        findings.extend(
            named
                .difference(&words)
                .map(|word| format!("{document}: `{word}` is no {union}")),
        );
    }
    Ok(())
}

/// The words of a union in the generated contract.
fn words<'a>(contract: &'a str, union: &str) -> BTreeSet<&'a str> {
    let start = format!("export type {union} =");
    let body = contract
        .split_once(start.as_str())
        .map_or("", |(_, body)| body);
    let mut words = BTreeSet::new();
    for variant in body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("| \""))
    {
        words.extend(variant.split('"').next());
        if variant.ends_with(';') {
            break;
        }
    }
    words
}

/// The words that stand as headings in a document: "## `word`".
fn headings(document: &str) -> BTreeSet<&str> {
    document
        .lines()
        .filter_map(|line| {
            line.trim_start_matches('#')
                .trim()
                .strip_prefix('`')?
                .strip_suffix('`')
        })
        .collect()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_only_follow_the_arrows() {
        let manifest = |name: &str, rest: &str| {
            forbidden(&format!(
                "[package]\nname = \"{name}\"\nversion.workspace = true\n{rest}"
            ))
        };
        let none: [&str; 0] = [];
        assert_eq!(
            manifest(
                "flotilla-server",
                "[dependencies]\nflotilla-engine.workspace = true\ntokio = \"1\"\n"
            ),
            none
        );
        assert_eq!(
            manifest(
                "flotilla-store",
                "[dependencies]\nflotilla-config = { path = \"../config\" }"
            ),
            ["flotilla-store must not build on flotilla-config"]
        );
        assert_eq!(
            manifest(
                "flotilla-store",
                "[dependencies.flotilla-mcp]\nworkspace = true\n"
            ),
            ["flotilla-store must not build on flotilla-mcp"]
        );
        assert_eq!(
            manifest(
                "flotilla-os",
                "[target.'cfg(unix)'.dependencies]\nflotilla-contract.workspace = true\n"
            )
            .len(),
            1
        );
        assert_eq!(
            manifest(
                "flotilla-store",
                "[dev-dependencies]\nflotilla-config.workspace = true\n"
            ),
            none
        );
        assert_eq!(
            manifest("flotilla-cli", "[dependencies]\ntauri = \"2\"\n"),
            ["flotilla-cli must not build on tauri: only the desktop shell may"]
        );
        assert_eq!(manifest("flotilla-new", "").len(), 1);
    }

    #[test]
    fn the_panel_may_only_follow_its_arrows() {
        let wrong = |place: &str, import: &str| wrong_import(Path::new(place), import).is_some();
        assert!(
            wrong("views/Logs.svelte", "@tauri-apps/api/core")
                && !wrong("lib/transport/tauri.ts", "@tauri-apps/api/core")
        );
        assert!(
            wrong("features/logs/a.ts", "../tools/schema")
                && !wrong("features/logs/a.ts", "./model")
        );
        assert!(
            wrong("features/logs/deep/a.ts", "../../tools/x")
                && !wrong("features/logs/deep/a.ts", "../model")
        );
        assert!(
            wrong("features/logs/a.ts", "$features/tools/x")
                && !wrong("features/logs/a.ts", "@/features/logs/x")
        );
        assert!(
            wrong("features/logs/a.ts", "../../views/Page.svelte")
                && !wrong("views/Logs.svelte", "../features/logs/a")
        );
        assert!(
            wrong("kit/Button.svelte", "../lib/state/fleet")
                && !wrong("kit/Button.svelte", "./Icon.svelte")
        );
        assert!(
            wrong("charts/Lane.svelte", "$lib/state/fleet")
                && !wrong("charts/Lane.svelte", "uplot")
        );
    }

    #[test]
    fn imports_are_found_in_each_form() {
        let text = "import { a } from './a';\nimport \"./b.css\";\nconst c = await import('./c');\nexport * from \"./d\";\n// import './no';\nfrom here on\n} from '$lib/e';";
        assert_eq!(
            specifiers(text).collect::<Vec<_>>(),
            ["./a", "./b.css", "./c", "./d", "$lib/e"]
        );
    }

    #[test]
    fn words_come_from_the_contract_and_headings_from_the_document() {
        let contract = "export type A =\n  /** One; first. */\n  | \"one\"\n  | \"two\";\nexport type B =\n  | \"three\";\n";
        assert_eq!(
            words(contract, "A").into_iter().collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(
            words(contract, "B").into_iter().collect::<Vec<_>>(),
            ["three"]
        );
        assert_eq!(words(contract, "C").len(), 0);
        assert_eq!(
            headings("# Title\n## `one`\ntext `two`\n### `two`\n")
                .into_iter()
                .collect::<Vec<_>>(),
            ["one", "two"]
        );
    }
}
