//! A command that an agent is asked for by its task.

use super::{Lookup, Place, WorkError, http::write, read, shell};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    task: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    framework: String,
    command: String,
    #[serde(default)]
    env: BTreeMap<String, Value>,
    cwd: Option<String>,
    #[serde(default)]
    exit_codes: Vec<i32>,
    #[serde(default)]
    json: bool,
    save_to: Option<String>,
}

/// Has a command do a task: `command`, for the shell, with `task`, `language` and `framework` in its environment as `TASK`, `LANGUAGE` and
/// `FRAMEWORK`; besides `env`, `cwd`, `exit_codes` and `json` as [`shell`](super::shell) takes them. `save_to` is a file that gets what it wrote.
/// Gives what `shell` gives.
///
/// # Errors
/// As `shell`; `refused` without a command.
pub async fn command(
    input: &Value,
    place: &Place,
    lookup: Lookup<'_>,
    stop: &CancellationToken,
) -> Result<Value, WorkError> {
    let input: Input = read(input)?;
    if input.command.trim().is_empty() {
        return Err(WorkError::refused(
            "with.command is empty; accepted is a command that does the task",
        ));
    }
    let mut env = input.env;
    for (name, value) in [
        ("TASK", input.task),
        ("LANGUAGE", input.language),
        ("FRAMEWORK", input.framework),
    ] {
        env.entry(name.to_owned()).or_insert(value.into());
    }
    let mut given = json!({
        "run": input.command, "env": env, "exit_codes": input.exit_codes, "json": input.json,
    });
    if let Some(cwd) = input.cwd {
        given["cwd"] = cwd.into();
    }
    let mut output = shell(&given, place, lookup, stop).await?;
    if let Some(path) = input.save_to {
        let text = output["stdout"].as_str().unwrap_or_default();
        write(place, "with.save_to", &path, text.as_bytes().to_vec()).await?;
        output["path"] = path.into();
    }
    Ok(output)
}
