//! From what is declared to what can be run: variables, ports, secrets.

use crate::secrets::{self, Secret};
use flotilla_contract::spec::{Launch, Value};
use std::{collections::BTreeMap, fmt};

/// A variable without default that is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} is not set, and ${{{name}}} has no default")]
pub struct Missing {
    /// Which.
    pub name: String,
}

/// Why a command, URL or header cannot be made from what is declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// A variable is not set.
    #[error(transparent)]
    Variable(#[from] Missing),
    /// A secret is not stored.
    #[error("the secret {name} is not stored")]
    Secret {
        /// Which.
        name: String,
    },
    /// The secret store failed.
    #[error("read the secret {name}: {error}")]
    Store {
        /// Which secret.
        name: String,
        /// Why.
        error: String,
    },
}

/// A command ready to run. Its `Debug` shows names of variables only.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Program.
    pub command: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Variables over the engine's own environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, if declared.
    pub cwd: Option<String>,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// Replaces `${VAR}` and `${VAR:-default}` by what `lookup` gives; the default counts where that is nothing or empty. `$${` is a
/// plain `${`. Everything else stays as it is; a secret counts as a variable that is not set.
///
/// # Errors
/// The first variable that is not set and has no default.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, Missing> {
    fill(text, None, &lookup, &|name| {
        Err(Missing {
            name: format!("secret:{name}"),
        })
    })
}

/// Makes a declared command runnable: variables, `${secret:NAME}` and `{port}` in command, arguments, environment and working
/// directory. A secret's value is taken as it is.
///
/// # Errors
/// The first variable or secret that is missing.
pub fn launch(
    launch: &Launch,
    port: Option<u16>,
    lookup: impl Fn(&str) -> Option<String>,
    secret: impl Fn(&str) -> Result<Option<Secret>, String>,
) -> Result<Resolved, Unresolved> {
    let text = |declared: &str| text(declared, port, &lookup, &secret);
    Ok(Resolved {
        command: text(&launch.command)?,
        args: launch
            .args
            .iter()
            .map(|arg| text(arg))
            .collect::<Result<_, _>>()?,
        cwd: launch.cwd.as_deref().map(text).transpose()?,
        env: values(&launch.env, port, &lookup, &secret)?,
    })
}

/// Makes declared headers or variables usable; see [`launch`].
///
/// # Errors
/// The first variable or secret that is missing.
pub fn values(
    declared: &BTreeMap<String, Value>,
    port: Option<u16>,
    lookup: impl Fn(&str) -> Option<String>,
    secret: impl Fn(&str) -> Result<Option<Secret>, String>,
) -> Result<BTreeMap<String, String>, Unresolved> {
    declared
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Value::Text { text: declared } => text(declared, port, &lookup, &secret)?,
                Value::Secret { name } => value_of(name, &secret)?,
            };
            Ok((key.clone(), value))
        })
        .collect()
}

/// Makes a declared text usable, for instance a URL; see [`launch`].
///
/// # Errors
/// The first variable or secret that is missing.
pub fn text(
    declared: &str,
    port: Option<u16>,
    lookup: impl Fn(&str) -> Option<String>,
    secret: impl Fn(&str) -> Result<Option<Secret>, String>,
) -> Result<String, Unresolved> {
    fill(declared, port, &lookup, &|name| value_of(name, &secret))
}

fn value_of(
    name: &str,
    secret: impl Fn(&str) -> Result<Option<Secret>, String>,
) -> Result<String, Unresolved> {
    match secret(name) {
        Ok(Some(secret)) => Ok(secret.expose().to_owned()),
        Ok(None) => Err(Unresolved::Secret {
            name: name.to_owned(),
        }),
        Err(error) => Err(Unresolved::Store {
            name: name.to_owned(),
            error,
        }),
    }
}

fn fill<E: From<Missing>>(
    text: &str,
    port: Option<u16>,
    lookup: &dyn Fn(&str) -> Option<String>,
    secret: &dyn Fn(&str) -> Result<String, E>,
) -> Result<String, E> {
    let mut out = String::with_capacity(text.len());
    // Only what was declared is searched for `{port}`, not what a variable or secret holds.
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) | Piece::Broken(text) => out.push_str(&with_port(text, port)),
            Piece::Secret { name } => out.push_str(&secret(name)?),
            Piece::Variable { name, default } => match (lookup(name), default) {
                (Some(value), None) => out.push_str(&value),
                (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
                (_, Some(default)) => out.push_str(default),
                (None, None) => {
                    return Err(Missing {
                        name: name.to_owned(),
                    }
                    .into());
                }
            },
        }
    }
    Ok(out)
}

/// Names of the secrets that a text refers to.
pub(crate) fn secrets_in(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Secret { name } => Some(name),
        _ => None,
    })
}

/// Replaces `{port}`; `${port}` is a variable and stays.
#[must_use]
pub fn with_port(text: &str, port: Option<u16>) -> String {
    let Some(port) = port else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{port}") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        if before.ends_with('$') {
            out.push_str("{port}")
        } else {
            out.push_str(&port.to_string())
        }
        rest = &after["{port}".len()..];
    }
    out + rest
}

/// A piece of a text with variables.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    Variable {
        name: &'t str,
        default: Option<&'t str>,
    },
    Secret {
        name: &'t str,
    },
    /// Begins like a variable and is none.
    Broken(&'t str),
}

/// Cuts a text into its pieces.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${` stands for `${`: the first dollar sign goes.
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..at]));
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            pieces.push(Piece::Broken(&rest[at..]));
            return pieces;
        };
        let inside = &inner[..end];
        let (name, default) = inside
            .split_once(":-")
            .map_or((inside, None), |(name, default)| (name, Some(default)));
        pieces.push(match inside.strip_prefix("secret:") {
            Some(name) if secrets::is_name(name) => Piece::Secret { name },
            _ if is_variable_name(name) => Piece::Variable { name, default },
            _ => Piece::Broken(&rest[at..=at + 2 + end]),
        });
        rest = &inner[end + 1..];
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    pieces
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let lookup = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expanded) in [
            ("${secret:a}", Err("secret:a")),
            ("plain $HOME {x} $", Ok("plain $HOME {x} $")),
            ("${HOME}/a", Ok("/home/me/a")),
            ("${NONE:-b}${EMPTY:-c}${EMPTY}", Ok("bc")),
            ("${NONE:-}", Ok("")),
            ("$${HOME}", Ok("${HOME}")),
            ("${a b} ${", Ok("${a b} ${")),
            ("x${NONE}", Err("NONE")),
        ] {
            let got = expand(text, lookup);
            assert_eq!(
                got.as_deref().map_err(|m| m.name.as_str()),
                expanded,
                "{text}"
            );
        }
    }

    #[test]
    fn ports() {
        assert_eq!(
            with_port("--port={port} ${port} {port}", Some(3101)),
            "--port=3101 ${port} 3101"
        );
        assert_eq!(with_port("{port}", None), "{port}");
    }

    #[test]
    fn a_command_with_everything() {
        let declared = Launch {
            command: "${BIN}".into(),
            args: vec!["--token=${secret:t}".into(), "{port}".into()],
            env: [
                ("TOKEN".to_owned(), Value::Secret { name: "t".into() }),
                ("P".to_owned(), Value::text("{port}")),
            ]
            .into(),
            cwd: Some("${BIN}/..".into()),
        };
        let vars = |name: &str| (name == "BIN").then(|| "/bin/x".to_owned());
        let ready = launch(&declared, Some(9), vars, |_| {
            Ok(Some(Secret::new("s${BIN}")))
        })
        .unwrap();
        assert_eq!(
            (
                ready.command.as_str(),
                ready.args[1].as_str(),
                ready.cwd.as_deref()
            ),
            ("/bin/x", "9", Some("/bin/x/.."))
        );
        assert_eq!(
            (ready.env["TOKEN"].as_str(), ready.env["P"].as_str()),
            ("s${BIN}", "9")
        );
        assert!(
            !format!("{ready:?}").contains("s$"),
            "values are not printed"
        );
        assert_eq!(
            launch(&declared, None, vars, |_| Ok(None))
                .unwrap_err()
                .to_string(),
            "the secret t is not stored"
        );
    }
}
