//! How each client writes down a server.

use super::{Entry, Target};
use crate::import::Paths;
use flotilla_contract::gateway::ClientVia;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, path::Path};

/// Keys that say how a server is reached: of an entry that is brought up to date these are replaced, the others stay.
pub(super) const CONNECTION: &[&str] = &[
    "type",
    "url",
    "serverUrl",
    "httpUrl",
    "uri",
    "command",
    "args",
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// With comments and trailing commas.
    Json,
    Toml,
    Yaml,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) format: Format,
    /// Keys down to the servers.
    keys: &'static [&'static str],
    pub(super) via: ClientVia,
    shape: Shape,
}

/// What an entry looks like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// `command` and `args`.
    Program,
    /// The address under this key, with this `type` if there is one.
    Address(&'static str, Option<&'static str>),
    /// Copilot wants to be told which tools.
    Copilot,
    /// OpenCode wants to be told that it is on.
    OpenCode,
}

const fn json_of(keys: &'static [&'static str], shape: Shape) -> Dialect {
    Dialect {
        format: Format::Json,
        keys,
        via: ClientVia::Http,
        shape,
    }
}

const MCP_SERVERS: &[&str] = &["mcpServers"];

/// The dialect of a client's file; `None` for files that are read for imports, but in which the client of today keeps no servers.
fn of(client: &str, file: &Path) -> Option<Dialect> {
    use Shape::{Address, Copilot, OpenCode, Program};
    let plain = |shape| json_of(MCP_SERVERS, shape);
    Some(match client {
        "Claude Desktop" => Dialect {
            via: ClientVia::Stdio,
            ..plain(Program)
        },
        "VS Code" | "VS Code Insiders" => {
            if file.ends_with("settings.json") {
                return None;
            }
            json_of(&["servers"], Address("url", Some("http")))
        }
        "Windsurf" | "Antigravity" => plain(Address("serverUrl", None)),
        "Gemini CLI" => plain(Address("httpUrl", None)),
        "Codex" => Dialect {
            format: Format::Toml,
            ..json_of(&["mcp_servers"], Address("url", None))
        },
        "Cline" => plain(Address("url", Some("streamableHttp"))),
        "Zed" => json_of(&["context_servers"], Address("url", None)),
        "Copilot" => plain(Copilot),
        "OpenCode" => json_of(&["mcp"], OpenCode),
        "Amp" => json_of(&["amp.mcpServers"], Address("url", None)),
        "Cursor" | "LM Studio" | "Kiro" => plain(Address("url", None)),
        // Claude Code, Factory, MCP Inspector, and whoever reads what Claude Code reads.
        _ => plain(Address("url", Some("http"))),
    })
}

/// Files that no import reads: YAML.
const YAML: &[(&str, &str, &[&str])] = &[
    ("Goose", ".config/goose/config.yaml", &["extensions"]),
    ("Continue", ".continue/config.yaml", MCP_SERVERS),
];

/// The files in these folders; see [`targets`](super::targets).
pub(super) fn files(paths: &Paths) -> Vec<Target> {
    let mut seen = BTreeSet::new();
    let known = paths.files().filter_map(|(client, project, path)| {
        let dialect = of(client, &path)?;
        Some((client, project, path, dialect))
    });
    let yaml = YAML.iter().map(|(client, file, keys)| {
        let dialect = Dialect {
            format: Format::Yaml,
            ..json_of(keys, Shape::Address("url", None))
        };
        (*client, false, paths.home.join(file), dialect)
    });
    let all: Vec<Target> = known
        .chain(yaml)
        .filter(|(_, _, path, _)| seen.insert(path.clone()))
        .map(|(client, project, path, dialect)| Target {
            client,
            project,
            installed: installed(paths, client, &path),
            path,
            dialect,
        })
        .collect();
    let there = |client: &str| {
        all.iter()
            .any(|target| target.client == client && target.installed && !target.project)
    };
    // A folder that holds the folder of another file of the same client is there for that one.
    let elsewhere = |target: &Target| {
        let folder = target.path.parent();
        !target.path.is_file()
            && all.iter().any(|other| {
                other.client == target.client
                    && !other.project
                    && other.path.is_file()
                    && folder.is_some_and(|folder| other.path.starts_with(folder))
            })
    };
    let mut first = BTreeSet::new();
    all.iter()
        .filter(|target| target.project || !elsewhere(target))
        .filter(|target| {
            let is_first = !target.project && first.insert(target.client);
            target.installed || target.project || (is_first && !there(target.client))
        })
        .cloned()
        .collect()
}

/// A file is there, or a folder that only its client makes.
fn installed(paths: &Paths, client: &str, file: &Path) -> bool {
    let everyones = |folder: &Path| {
        [
            Some(&paths.home),
            Some(&paths.config),
            paths.project.as_ref(),
        ]
        .into_iter()
        .flatten()
        .any(|base| base == folder)
    };
    file.is_file()
        || file
            .parent()
            .is_some_and(|folder| !everyones(folder) && folder.is_dir())
        || (client == "Claude Code"
            && file.parent() == Some(&paths.home)
            && paths.home.join(".claude").is_dir())
}

impl Dialect {
    /// The keys down to the servers in this file. OpenCode has had two places for them.
    pub(super) fn place(&self, root: &Value) -> Vec<&'static str> {
        let mut keys = self.keys.to_vec();
        if matches!(self.shape, Shape::OpenCode)
            && root
                .get("mcp")
                .and_then(|mcp| mcp.get("servers"))
                .is_some_and(|servers| {
                    // A server may be called so; it would have a type.
                    servers.is_object() && servers.get("type").is_none_or(Value::is_object)
                })
        {
            keys.push("servers");
        }
        keys
    }

    /// The entry as this client writes it.
    pub(super) fn entry(&self, entry: &Entry) -> Map<String, Value> {
        let value = match self.shape {
            Shape::Program if entry.command.is_empty() => {
                json!({ "command": "flotilla", "args": entry.args })
            }
            Shape::Program => json!({ "command": entry.command, "args": entry.args }),
            Shape::Address(key, None) => json!({ key: entry.url }),
            Shape::Address(key, Some(kind)) => json!({ "type": kind, key: entry.url }),
            Shape::Copilot => json!({ "type": "http", "url": entry.url, "tools": ["*"] }),
            Shape::OpenCode => json!({ "type": "remote", "url": entry.url, "enabled": true }),
        };
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// A text to put into the file by hand.
    pub(super) fn paste(&self, entry: &Entry) -> String {
        let (name, url) = (&entry.name, &entry.url);
        match (self.format, self.keys) {
            (Format::Yaml, ["extensions"]) => format!(
                "extensions:\n  {name}:\n    type: streamable_http\n    name: {name}\n    enabled: true\n    uri: {url}\n    timeout: 300\n"
            ),
            (Format::Yaml, _) => format!(
                "mcpServers:\n  - name: {name}\n    type: streamable-http\n    url: {url}\n"
            ),
            (Format::Toml, _) => {
                super::toml::put("", self.keys, name, Some(&self.entry(entry))).unwrap_or_default()
            }
            (Format::Json, _) => {
                super::json::put("", self.keys, name, Some(&self.entry(entry))).unwrap_or_default()
            }
        }
    }
}
