//! From a client's entry to a server's table, with what an operator must know about it.

use super::{
    Planned, detect,
    shape::{Entry, Found},
    sources::Source,
    variables::{Scope, translate},
};
use crate::{
    Fleet,
    diff::quoted,
    edit, parse,
    resolve::{self, Piece},
    secrets::Secret,
};
use flotilla_contract::{
    ServerId,
    command::{AddParams, ImportServer},
    spec::Value as SpecValue,
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub(super) fn plan(
    found: &Found,
    source: &Source,
    fleet: &Fleet,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<Planned> {
    let mut taken: BTreeSet<String> = fleet
        .servers
        .iter()
        .map(|server| server.id.to_string())
        .collect();
    let mut planned: Vec<Planned> = Vec::new();
    for entry in &found.servers {
        // Chosen by its name in the source, so that one must be unique too.
        let mut source_name = match &entry.project {
            Some(project) => format!("{} ({project})", entry.name),
            None => entry.name.clone(),
        };
        while planned
            .iter()
            .any(|other| other.shown.source_name == source_name)
        {
            source_name.push('\'');
        }
        let (id, renamed) = unique(&entry.name, &taken);
        taken.insert(id.to_string());
        let scope = Scope {
            source,
            project: entry.project.as_deref(),
            id: id.as_str(),
            inputs: &found.inputs,
            lookup,
        };
        let mut draft = Draft {
            scope,
            notes: renamed.into_iter().collect(),
            secrets: Vec::new(),
        };
        let made = draft.server(entry, &id);
        planned.push(draft.finish(source_name, id.clone(), made, fleet));
    }
    planned
}

/// A valid name that is not taken, and a note if it is another one.
pub(super) fn unique(name: &str, taken: &BTreeSet<String>) -> (ServerId, Option<String>) {
    let clean: String = name
        .trim()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let clean = clean
        .trim_start_matches(|c: char| !c.is_ascii_alphanumeric())
        .trim_end_matches('-');
    let base = if clean.is_empty() { "server" } else { clean };
    let mut number = 1_u32;
    loop {
        let suffix = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let candidate = format!("{}{suffix}", &base[..base.len().min(64 - suffix.len())]);
        if !taken.contains(&candidate)
            && let Ok(id) = candidate.parse::<ServerId>()
        {
            let note = match (candidate == name, taken.contains(base)) {
                (true, _) => None,
                (false, true) => Some(format!("it is named {candidate}, because {base} is taken")),
                (false, false) => Some(format!(
                    "it is named {candidate}, because {name:?} has characters that a name cannot have"
                )),
            };
            return (id, note);
        }
        number += 1;
    }
}

/// What an entry becomes.
struct Made {
    params: AddParams,
    kind: &'static str,
    runs: String,
    description: Option<String>,
    disabled: Option<String>,
}

/// A server while it is translated.
struct Draft<'a> {
    scope: Scope<'a>,
    notes: Vec<String>,
    secrets: Vec<(String, Secret)>,
}

/// Keys that are looked at. The others are named in a note.
const READ: &[&str] = &[
    "command",
    "args",
    "env",
    "environment",
    "cwd",
    "url",
    "serverUrl",
    "httpUrl",
    "uri",
    "type",
    "transport",
    "headers",
    "http_headers",
    "env_http_headers",
    "bearer_token_env_var",
    "requestInit",
    "disabled",
    "enabled",
    "description",
    "envFile",
    "sandboxEnabled",
    "sandbox",
    "source",
    "name",
];

impl Draft<'_> {
    /// # Errors
    /// Why it cannot be taken over.
    fn server(&mut self, entry: &Entry, id: &ServerId) -> Result<Made, String> {
        // Zed once kept program, arguments and environment in a table of their own.
        let nested = entry.table.get("command").and_then(Value::as_object);
        let mut table = entry.table.clone();
        if let Some(nested) = nested {
            table.remove("command");
            table.extend(nested.iter().map(|(key, value)| {
                (
                    if key == "path" {
                        "command".into()
                    } else {
                        key.clone()
                    },
                    value.clone(),
                )
            }));
        }
        self.remarks(&table);
        let mut params = empty(id.clone());
        let address = ["httpUrl", "url", "serverUrl", "uri"]
            .iter()
            .find_map(|key| Some((*key, table.get(*key)?.as_str()?)));
        let word = ["type", "transport"]
            .iter()
            .find_map(|key| table.get(*key)?.as_str())
            .unwrap_or_default();
        let word = word.to_lowercase().replace(['-', '_'], "");
        if word == "websocket" || word == "ws" {
            return Err("it speaks over a WebSocket, which is not supported".into());
        }
        let disabled = (table.get("disabled") == Some(&true.into())
            || table.get("enabled") == Some(&false.into()))
        .then(|| {
            format!(
                "disabled in the configuration of {}",
                self.scope.source.client
            )
        });
        let description = table
            .get("description")
            .and_then(Value::as_str)
            .map(str::to_owned);

        let words = command(&table)?;
        if let Some((program, args)) = words.split_first() {
            params.command = Some(self.text(program));
            params.args = self.args(args);
            params.env = self.values(&table, &["env", "environment"]);
            params.cwd = self.cwd(&table);
            let runs = params
                .command
                .iter()
                .chain(&params.args)
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" ");
            return Ok(Made {
                params,
                kind: "stdio",
                runs,
                description,
                disabled,
            });
        }
        let Some((key, address)) = address else {
            return Err("it has neither a command nor a URL".into());
        };
        let url = self.url(address)?;
        let old = word == "sse"
            || (word.is_empty() && self.scope.source.client == "Gemini CLI" && key == "url")
            || (word.is_empty()
                && address
                    .split(['?', '#'])
                    .next()
                    .is_some_and(|path| path.trim_end_matches('/').ends_with("/sse")));
        params.url = Some(url.clone());
        if old {
            self.headers_left_out(&table);
            self.notes.push("it is kept disabled: the old HTTP+SSE transport was dropped from the protocol. If the server also speaks streamable HTTP, give that URL".into());
            return Ok(Made {
                params,
                kind: "sse",
                runs: url,
                description,
                disabled,
            });
        }
        params.headers = self.headers(&table);
        Ok(Made {
            params,
            kind: "url",
            runs: url,
            description,
            disabled,
        })
    }

    fn remarks(&mut self, table: &Map<String, Value>) {
        let others: Vec<&str> = table
            .keys()
            .map(String::as_str)
            .filter(|key| !READ.contains(key))
            .collect();
        if !others.is_empty() {
            self.notes
                .push(format!("not taken over: {}", others.join(", ")));
        }
        if let Some(file) = table.get("envFile").and_then(Value::as_str) {
            self.notes.push(format!(
                "the variables of {file} are not taken over: add those that it needs to env"
            ));
        }
        if table.get("sandboxEnabled") == Some(&true.into()) {
            self.notes.push("the sandbox is not taken over: the server runs with all rights of the engine's user".into());
        }
    }

    fn text(&mut self, raw: &str) -> String {
        let translated = translate(raw, &self.scope);
        self.notes.extend(translated.notes);
        translated.text
    }

    /// Keeps a value aside under a name; gives the name.
    fn secret(&mut self, what: &str, value: &str) -> String {
        let clean: String = what
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(60)
            .collect();
        let clean = clean.trim_start_matches('-');
        let mut name = format!("{}/{clean}", self.scope.id);
        while self
            .secrets
            .iter()
            .any(|(other, kept)| *other == name && kept.expose() != value)
        {
            name.push('_');
        }
        if !self.secrets.iter().any(|(other, _)| *other == name) {
            self.secrets.push((name.clone(), Secret::new(value)));
        }
        name
    }

    /// Arguments: a secret in one becomes a reference.
    fn args(&mut self, args: &[String]) -> Vec<String> {
        let before = self.secrets.len();
        let mut flag: Option<&str> = None;
        let mut out = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            let literal = translate(arg, &self.scope).literal;
            let part = if literal {
                secret_part(arg, flag, index)
            } else {
                None
            };
            out.push(match part {
                Some((start, what)) => {
                    let (head, value) = arg.split_at(start);
                    let head = self.text(head);
                    format!("{head}${{secret:{}}}", self.secret(&what, value))
                }
                None => self.text(arg),
            });
            flag = arg.starts_with('-').then_some(arg.as_str());
        }
        if self.secrets.len() > before {
            self.notes.push("its arguments hold a secret: while it runs, other programs of this machine can see it".into());
        }
        out
    }

    /// Environment or headers under these keys.
    fn values(&mut self, table: &Map<String, Value>, keys: &[&str]) -> BTreeMap<String, SpecValue> {
        let maps = keys.iter().filter_map(|key| table.get(*key)?.as_object());
        let pairs: Vec<(String, Option<String>)> = maps
            .flatten()
            .map(|(name, value)| (name.clone(), scalar(value)))
            .collect();
        let mut values = BTreeMap::new();
        for (name, value) in pairs {
            match value {
                Some(value) => {
                    values.insert(name.clone(), self.value(&name, &value));
                }
                None => self
                    .notes
                    .push(format!("{name} is not taken over: it has no value")),
            }
        }
        values
    }

    fn value(&mut self, name: &str, raw: &str) -> SpecValue {
        if translate(raw, &self.scope).literal && detect::is_secret(name, raw) {
            return SpecValue::Secret {
                name: self.secret(name, raw),
            };
        }
        let text = self.text(raw);
        // A value that is nothing but a secret is written as one.
        match resolve::pieces(&text).as_slice() {
            [Piece::Secret { name }] => SpecValue::Secret {
                name: (*name).to_owned(),
            },
            _ => SpecValue::text(text),
        }
    }

    fn headers(&mut self, table: &Map<String, Value>) -> BTreeMap<String, SpecValue> {
        let mut headers = self.values(table, &["headers", "http_headers"]);
        if let Some(init) = table.get("requestInit").and_then(Value::as_object) {
            headers.extend(self.values(init, &["headers"]));
        }
        if let Some(named) = table.get("env_http_headers").and_then(Value::as_object) {
            for (header, variable) in named
                .iter()
                .filter_map(|(header, variable)| Some((header, variable.as_str()?)))
            {
                headers.insert(
                    header.clone(),
                    SpecValue::text(self.text(&format!("${{{variable}}}"))),
                );
            }
        }
        if let Some(variable) = table.get("bearer_token_env_var").and_then(Value::as_str) {
            headers.insert(
                "Authorization".into(),
                SpecValue::text(self.text(&format!("Bearer ${{{variable}}}"))),
            );
        }
        headers
    }

    /// Names the headers of a server that is never asked; their values stay where they are.
    fn headers_left_out(&mut self, table: &Map<String, Value>) {
        let (notes, secrets) = (self.notes.len(), self.secrets.len());
        let names: Vec<String> = self.headers(table).into_keys().collect();
        self.notes.truncate(notes);
        self.secrets.truncate(secrets);
        if !names.is_empty() {
            self.notes.push(format!(
                "its headers are not taken over: {}. Give them again with the other URL",
                names.join(", ")
            ));
        }
    }

    /// A working directory; servers of a project run in it, as the client has it.
    fn cwd(&mut self, table: &Map<String, Value>) -> Option<String> {
        let project = self
            .scope
            .project
            .map(str::to_owned)
            .or_else(|| Some(self.scope.source.project.as_ref()?.display().to_string()));
        let given = table
            .get("cwd")
            .and_then(Value::as_str)
            .filter(|cwd| !cwd.is_empty())
            .map(|cwd| self.text(cwd));
        match (given, project) {
            (Some(given), Some(project))
                if Path::new(&given).is_relative() && !given.starts_with(['$', '~']) =>
            {
                Some(Path::new(&project).join(given).display().to_string())
            }
            (Some(given), _) => Some(given),
            (None, Some(project)) => {
                self.notes.push(format!(
                    "it runs in {project}, the project that it belongs to"
                ));
                Some(project)
            }
            (None, None) => None,
        }
    }

    /// A URL; user, password and query values that are secrets become references.
    fn url(&mut self, raw: &str) -> Result<String, String> {
        if raw.starts_with("unix:") {
            return Err("it listens on a Unix socket, which is not supported".into());
        }
        if !translate(raw, &self.scope).literal || !detect::is_url_with_secret(raw) {
            return Ok(self.text(raw));
        }
        let (scheme, rest) = raw.split_once("://").unwrap_or(("https", raw));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = match authority.rsplit_once('@') {
            Some((login, host)) => format!("${{secret:{}}}@{host}", self.secret("login", login)),
            None => authority.to_owned(),
        };
        let Some((path, query)) = path.split_once('?') else {
            return Ok(format!("{scheme}://{authority}{path}"));
        };
        let (query, fragment) = query
            .split_once('#')
            .map_or((query, String::new()), |(query, rest)| {
                (query, format!("#{rest}"))
            });
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) if detect::is_secret_query(name, value) => {
                    format!("{name}=${{secret:{}}}", self.secret(name, value))
                }
                _ => pair.to_owned(),
            })
            .collect();
        Ok(format!(
            "{scheme}://{authority}{path}?{}{fragment}",
            pairs.join("&")
        ))
    }

    /// Checks what was made by the same reader that will read it.
    fn finish(
        self,
        source_name: String,
        id: ServerId,
        made: Result<Made, String>,
        fleet: &Fleet,
    ) -> Planned {
        let mut shown = ImportServer {
            source_name,
            id: id.clone(),
            kind: String::new(),
            runs: String::new(),
            env: BTreeMap::new(),
            secrets: Vec::new(),
            notes: Vec::new(),
            refused: None,
        };
        let made = match made {
            Ok(made) => made,
            Err(why) => {
                shown.refused = Some(why);
                shown.notes = self.notes;
                return Planned {
                    shown,
                    table: None,
                    secrets: Vec::new(),
                };
            }
        };
        let mut table = edit::table_of(&made.params);
        let mut text = |key: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                table.insert(key, toml_edit::value(value));
            }
        };
        text("transport", (made.kind == "sse").then(|| "sse".to_owned()));
        text("description", made.description);
        text("disabled", made.disabled);

        shown.kind = made.kind.to_owned();
        shown.runs = made.runs;
        shown.env = made
            .params
            .env
            .iter()
            .chain(&made.params.headers)
            .map(|(name, value)| (name.clone(), show(value)))
            .collect();
        let refused = match edit::add_tables("", &[(id, table.clone())]).map(|text| parse(&text)) {
            Ok(Ok(alone)) => {
                let same = alone.servers.first().and_then(|new| {
                    fleet
                        .servers
                        .iter()
                        .find(|old| old.transport == new.transport)
                });
                same.map(|old| format!("{} is the same server, declared already", old.id))
            }
            Ok(Err(findings)) | Err(edit::EditError::Invalid(findings)) => {
                Some(findings.first().map_or_else(
                    || "it is not valid".to_owned(),
                    |finding| format!("{}: {}", finding.key, finding.message),
                ))
            }
            Err(error) => Some(error.to_string()),
        };
        shown.notes = self.notes;
        shown.notes.dedup();
        if refused.is_some() {
            shown.refused = refused;
            return Planned {
                shown,
                table: None,
                secrets: Vec::new(),
            };
        }
        shown.secrets = self.secrets.iter().map(|(name, _)| name.clone()).collect();
        Planned {
            shown,
            table: Some(table),
            secrets: self.secrets,
        }
    }
}

fn empty(name: ServerId) -> AddParams {
    AddParams {
        name,
        command: None,
        args: Vec::new(),
        url: None,
        port: None,
        env: BTreeMap::new(),
        headers: BTreeMap::new(),
        cwd: None,
        category: None,
        tags: Vec::new(),
        reason: None,
    }
}

/// Program and arguments; OpenCode writes both as one list.
fn command(table: &Map<String, Value>) -> Result<Vec<String>, String> {
    let list = |value: &Value| -> Result<Vec<String>, String> {
        let Some(list) = value.as_array() else {
            return Err("its args are not a list".into());
        };
        list.iter()
            .map(|arg| scalar(arg).ok_or_else(|| "one of its arguments is not a text".to_owned()))
            .collect()
    };
    let mut words = match table.get("command") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(program)) if program.is_empty() => return Ok(Vec::new()),
        Some(Value::String(program)) => vec![program.clone()],
        Some(value @ Value::Array(_)) => list(value)?,
        Some(_) => return Err("its command is not a text".into()),
    };
    if let Some(args) = table.get("args").filter(|args| !args.is_null()) {
        words.extend(list(args)?);
    }
    Ok(words)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Where in an argument a secret begins, and what it is called: `--token=X`, `X` after `--token`, `TOKEN=X`, `Authorization: X`, or a
/// value that gives itself away.
fn secret_part(arg: &str, flag: Option<&str>, index: usize) -> Option<(usize, String)> {
    for separator in ["=", ": "] {
        if let Some((name, value)) = arg.split_once(separator)
            && !name.contains([' ', '/'])
            && detect::is_secret(name, value)
        {
            return Some((name.len() + separator.len(), name.to_owned()));
        }
    }
    if let Some(flag) = flag.filter(|flag| !flag.contains('='))
        && !arg.starts_with('-')
        && detect::is_secret(flag, arg)
    {
        return Some((0, flag.trim_start_matches('-').to_owned()));
    }
    (detect::is_token(arg) || detect::is_url_with_secret(arg))
        .then(|| (0, format!("argument-{}", index + 1)))
}

fn show(value: &SpecValue) -> String {
    match value {
        SpecValue::Text { text } => text.clone(),
        SpecValue::Secret { name } => format!("secret {name}"),
    }
}
