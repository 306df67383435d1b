//! Looks through the files of a folder for lines that match.

use super::{
    WorkError,
    workspace::{Kind, Workspace},
};
use regex::{RegexSet, RegexSetBuilder};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Read as _};

/// What looks like a secret: forms that their issuers document, and a literal behind a telling name.
const SECRETS: &[(&str, &str)] = &[
    ("aws-access-key", r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    (
        "github-token",
        r"\b(gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{60,})\b",
    ),
    ("gitlab-token", r"\bglpat-[0-9A-Za-z_-]{20,}"),
    ("google-api-key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("private-key", r"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----"),
    ("slack-token", r"\bxox[abeprs]-[0-9A-Za-z-]{10,}"),
    ("stripe-key", r"\b[rs]k_live_[0-9A-Za-z]{20,}"),
    (
        "literal",
        r#"(?i)\b(api[_-]?key|passw(or)?d|secret|access[_-]?token|auth[_-]?token)["']?\s*[:=]\s*["'][^"'\s${}<>]{8,}["']"#,
    ),
];
/// Folders that hold what others wrote, and are left out.
const LEFT_OUT: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "target",
    ".venv",
    "__pycache__",
];
/// Files that are looked through at most, and entries that are passed on the way.
const FILES: usize = 100_000;
/// Bytes of a file that is looked through; a larger one is counted as passed over.
const BYTES: u64 = 8 << 20;
/// Lines that are told at most; all are counted.
const TOLD: usize = 1_000;
/// Characters of a line that is told.
const QUOTED: usize = 300;
/// Bytes of rules, compiled.
const RULES: usize = 4 << 20;

/// Gives `{findings: [{path, line, rule}], counts: {RULE: N}, total, files, passed_over, truncated}`. With `quote` a finding holds its `text`;
/// without, what was found is not repeated. Without rules it looks for secrets.
pub(super) fn scan(
    workspace: &Workspace,
    path: &str,
    rules: &BTreeMap<String, String>,
    quote: bool,
) -> Result<Value, WorkError> {
    let rules: Vec<(&str, &str)> = if rules.is_empty() {
        SECRETS.to_vec()
    } else {
        rules
            .iter()
            .map(|(name, rule)| (&**name, &**rule))
            .collect()
    };
    let set = compiled(&rules)?;
    let mut counts: BTreeMap<&str, u64> = rules.iter().map(|(name, _)| (*name, 0)).collect();
    let (mut findings, mut files, mut passed_over) = (Vec::new(), 0_u64, 0_u64);
    let truncated = workspace
        .walk(path, FILES, |entry| {
            if entry.kind == Kind::Folder {
                let name = entry.path.rsplit('/').next().unwrap_or_default();
                return Ok(!LEFT_OUT.contains(&name));
            }
            if entry.kind == Kind::Other {
                return Ok(false);
            }
            let shown = entry.path.clone();
            let text = entry.bytes.filter(|bytes| *bytes <= BYTES).and_then(|_| {
                let mut text = Vec::new();
                // One that cannot be read is counted, and the others are looked through all the same.
                entry.open()?.take(BYTES).read_to_end(&mut text).ok()?;
                (!text.contains(&0)).then(|| String::from_utf8_lossy(&text).into_owned())
            });
            let Some(text) = text else {
                passed_over += 1;
                return Ok(false);
            };
            files += 1;
            for (number, line) in (1_u64..).zip(text.lines()) {
                for rule in set.matches(line) {
                    let name = rules.get(rule).map_or("", |(name, _)| *name);
                    *counts.entry(name).or_default() += 1;
                    if findings.len() < TOLD {
                        let mut finding = json!({ "path": shown, "line": number, "rule": name });
                        if quote {
                            finding["text"] = line.chars().take(QUOTED).collect::<String>().into();
                        }
                        findings.push(finding);
                    }
                }
            }
            Ok(false)
        })
        .map_err(Workspace::failed("with.path", path))?;
    let total: u64 = counts.values().sum();
    Ok(json!({
        "success": true,
        "path": path,
        "findings": findings,
        "counts": counts,
        "total": total,
        "files": files,
        "passed_over": passed_over,
        "truncated": truncated || total > findings.len() as u64,
    }))
}

fn compiled(rules: &[(&str, &str)]) -> Result<RegexSet, WorkError> {
    for (name, rule) in rules {
        // By itself first, so that the message names it.
        let alone = RegexSetBuilder::new([rule]).size_limit(RULES).build();
        alone.map_err(|error| {
            let error = error
                .to_string()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            WorkError::refused(format!("with.rules.{name} is {rule:?}: {error}"))
        })?;
    }
    let rules = rules.iter().map(|(_, rule)| rule);
    let set = RegexSetBuilder::new(rules).size_limit(RULES).build();
    set.map_err(|error| WorkError::refused(format!("with.rules: {error}")))
}
