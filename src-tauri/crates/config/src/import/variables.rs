//! Variables of other clients, in the form of `fleet.toml`.

use super::{detect, sources::Source};
use crate::secrets;
use std::collections::BTreeMap;

/// What variables of a text may stand for.
pub(super) struct Scope<'a> {
    pub(super) source: &'a Source,
    /// The project that an entry belongs to.
    pub(super) project: Option<&'a str>,
    /// The server's new name; inputs become secrets below it.
    pub(super) id: &'a str,
    pub(super) inputs: &'a BTreeMap<String, String>,
    /// The engine's environment.
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// A text with its variables translated.
pub(super) struct Translated {
    pub(super) text: String,
    /// Whether nothing in it was a variable.
    pub(super) literal: bool,
    pub(super) notes: Vec<String>,
}

/// Translates the variables of a text. What is no variable that we know stays as it is, literally.
pub(super) fn translate(text: &str, scope: &Scope<'_>) -> Translated {
    let mut out = Translated {
        text: String::with_capacity(text.len()),
        literal: true,
        notes: Vec::new(),
    };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.text.push_str(before);
        let inner = after
            .strip_prefix("${")
            .and_then(|inner| inner.split_once('}'));
        rest = match inner {
            Some((variable, tail)) => {
                braced(variable, scope, &mut out);
                tail
            }
            // The shell's short form, which Gemini CLI expands as well.
            None if scope.source.client == "Gemini CLI" && !after.starts_with("${") => {
                short(&after[1..], scope, &mut out)
            }
            None if after.starts_with("${") => {
                out.text.push_str("$${");
                &after[2..]
            }
            None => {
                out.text.push('$');
                &after[1..]
            }
        };
    }
    out.text.push_str(rest);
    out
}

fn short<'t>(after: &'t str, scope: &Scope<'_>, out: &mut Translated) -> &'t str {
    let end = after
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(after.len());
    if end == 0 || after.starts_with(|c: char| c.is_ascii_digit()) {
        out.text.push('$');
        return after;
    }
    environment(&after[..end], None, scope, out);
    &after[end..]
}

fn braced(variable: &str, scope: &Scope<'_>, out: &mut Translated) {
    let (kind, argument) = variable.split_once(':').unwrap_or((variable, ""));
    match kind {
        "env" => {
            let (name, default) = argument
                .split_once(":-")
                .map_or((argument, None), |(name, default)| (name, Some(default)));
            environment(name, default, scope, out);
        }
        "input" => input(argument, scope, out),
        "userHome" => {
            out.literal = false;
            out.text.push_str(if cfg!(windows) {
                "${USERPROFILE}"
            } else {
                "${HOME}"
            });
        }
        "workspaceFolder" | "workspaceRoot" => workspace(variable, scope, out),
        "pathSeparator" | "/" => out.text.push(std::path::MAIN_SEPARATOR),
        _ => {
            let (name, default) = variable
                .split_once(":-")
                .map_or((variable, None), |(name, default)| (name, Some(default)));
            if is_name(name) {
                environment(name, default, scope, out)
            } else {
                literally(variable, out)
            }
        }
    }
}

fn literally(variable: &str, out: &mut Translated) {
    out.text.push_str(&format!("$${{{variable}}}"));
    out.notes.push(format!(
        "${{{variable}}} has no counterpart here and is passed on as it is"
    ));
}

fn environment(name: &str, default: Option<&str>, scope: &Scope<'_>, out: &mut Translated) {
    if !is_name(name) {
        return literally(name, out);
    }
    out.literal = false;
    // A secret must not reach fleet.toml by way of a default.
    let secret = default.is_some_and(|default| detect::is_secret(name, default));
    if secret {
        out.notes.push(format!(
            "the default of {name} looks like a secret and was left out"
        ));
    }
    let default = default.filter(|_| !secret);
    match default {
        Some(default) => out.text.push_str(&format!("${{{name}:-{default}}}")),
        None => out.text.push_str(&format!("${{{name}}}")),
    }
    if default.is_none() && (scope.lookup)(name).is_none() {
        out.notes.push(format!(
            "the environment variable {name} is not set where the engine runs"
        ));
    }
}

fn input(id: &str, scope: &Scope<'_>, out: &mut Translated) {
    let clean: String = id
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
    let name = format!("{}/{clean}", scope.id);
    if !secrets::is_name(&name) || clean.is_empty() {
        return literally(&format!("input:{id}"), out);
    }
    out.literal = false;
    out.text.push_str(&format!("${{secret:{name}}}"));
    let about = scope
        .inputs
        .get(id)
        .map(|about| format!(" ({about})"))
        .unwrap_or_default();
    out.notes.push(format!(
        "enter the secret {name}{about}: the client asks for it at each start"
    ));
}

fn workspace(variable: &str, scope: &Scope<'_>, out: &mut Translated) {
    let own = scope
        .source
        .project
        .as_ref()
        .map(|folder| folder.display().to_string());
    match scope.project.map(str::to_owned).or(own) {
        Some(folder) => {
            out.notes.push(format!("${{{variable}}} became {folder}"));
            out.text.push_str(&folder);
        }
        None => {
            out.literal = false;
            out.text.push_str("${workspaceFolder}");
            out.notes.push(
                "it uses ${workspaceFolder}, and no project is known: replace it by a folder"
                    .into(),
            );
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
