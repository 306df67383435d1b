//! From the text of a client's file to its entries, whatever their keys are called there.

use super::{ImportError, sources::Source};
use jsonc_parser::{ParseOptions, parse_to_serde_value};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// More servers than this are not looked at.
const MOST_SERVERS: usize = 500;

/// What a file holds.
pub(super) struct Found {
    pub(super) servers: Vec<Entry>,
    /// What VS Code asks its user for: id → what for.
    pub(super) inputs: BTreeMap<String, String>,
}

/// One server as the client wrote it.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) table: Map<String, Value>,
    /// The project that it belongs to (Claude Code).
    pub(super) project: Option<String>,
}

pub(super) fn read(text: &str, source: &Source) -> Result<Found, ImportError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = if source.toml {
        toml(text)?
    } else {
        json(text).or_else(|error| toml(text).map_err(|_| error))?
    };
    let Value::Object(root) = root else {
        return Err(ImportError::NoServers);
    };
    let mut servers = Vec::new();
    collect(&root, None, &mut servers);
    if let Some(Value::Object(projects)) = root.get("projects") {
        for (folder, project) in projects {
            if let Value::Object(project) = project {
                collect(project, Some(folder), &mut servers);
            }
        }
    }
    if servers.is_empty() && is_bare(&root) {
        add(&root, None, &mut servers);
    }
    if servers.is_empty() {
        return Err(ImportError::NoServers);
    }
    servers.truncate(MOST_SERVERS);
    Ok(Found {
        servers,
        inputs: inputs(&root),
    })
}

fn json(text: &str) -> Result<Value, ImportError> {
    // Comments and trailing commas are usual in these files; the laxer habits of JSON5 are harmless.
    parse_to_serde_value(text, &ParseOptions::default()).map_err(|error| ImportError::Syntax {
        line: error.line_display(),
        column: error.column_display(),
        error: error.kind().to_string(),
    })
}

fn toml(text: &str) -> Result<Value, ImportError> {
    toml_edit::de::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = &text[..text.floor_char_boundary(at)];
        ImportError::Syntax {
            line: before.matches('\n').count() + 1,
            column: before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1,
            error: error.message().to_owned(),
        }
    })
}

fn collect(root: &Map<String, Value>, project: Option<&str>, into: &mut Vec<Entry>) {
    for key in [
        "mcpServers",
        "servers",
        "context_servers",
        "mcp_servers",
        "amp.mcpServers",
    ] {
        if let Some(Value::Object(servers)) = root.get(key) {
            add(servers, project, into);
        }
    }
    // VS Code's settings nest `servers` in `mcp`; OpenCode's `mcp` is the servers.
    if let Some(Value::Object(mcp)) = root.get("mcp") {
        match mcp.get("servers") {
            Some(Value::Object(servers)) => add(servers, project, into),
            _ => add(mcp, project, into),
        }
    }
}

fn add(servers: &Map<String, Value>, project: Option<&str>, into: &mut Vec<Entry>) {
    into.extend(servers.iter().filter_map(|(name, table)| {
        let table = table.as_object()?.clone();
        Some(Entry {
            name: name.clone(),
            table,
            project: project.map(str::to_owned),
        })
    }));
}

/// A pasted map of servers without the key around it.
fn is_bare(root: &Map<String, Value>) -> bool {
    let is_server = |value: &Value| {
        ["command", "url", "serverUrl", "httpUrl"]
            .iter()
            .any(|key| value.get(key).is_some())
    };
    !root.is_empty() && root.values().all(is_server)
}

fn inputs(root: &Map<String, Value>) -> BTreeMap<String, String> {
    let lists = [
        root.get("inputs"),
        root.get("mcp").and_then(|mcp| mcp.get("inputs")),
    ];
    let inputs = lists
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten();
    inputs
        .filter_map(|input| {
            let id = input.get("id")?.as_str()?;
            let about = input
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or(id);
            Some((id.to_owned(), about.to_owned()))
        })
        .collect()
}
