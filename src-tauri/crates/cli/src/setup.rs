//! Commands about what is declared, and about this machine.

use crate::{
    args::{Add, Config, Import, Remove, Secret},
    ask::Engine,
    exit::{Failure, all_reached},
    show::{self, Out},
};
use flotilla_contract::command::{
    AddParams, CheckParams, ConfigCheck, ConfigGet, ConfigWritten, DoctorLevel, DoctorRun,
    ImportApply, ImportApplyParams, ImportPreview, ImportPreviewParams, ImportScan, PlanParams,
    RemoveParams, SecretRef, SecretSet, SecretsList, SecretsRemove, SecretsSet, ServerAdd,
    ServerPlan, ServerRemove, Targets, Verb,
};
use flotilla_contract::spec::Value;
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

/// Longest secret and largest file that are read, in bytes.
const MAX_SECRET: u64 = 64 * 1024;
const MAX_CONFIG: u64 = 1 << 20;

pub(crate) async fn add(to: &Engine, add: &Add, out: Out) -> Result<(), Failure> {
    let mut words = add.command.iter().cloned();
    let params = AddParams {
        name: add.name.clone(),
        command: words.next(),
        args: words.collect(),
        url: add.url.clone(),
        port: add.port,
        env: values(&add.env, &add.secret_env),
        headers: values(&add.header, &add.secret_header),
        cwd: add.cwd.clone(),
        category: add.category.clone(),
        tags: add.tags.clone(),
        reason: None,
    };
    let written = to.run::<ServerAdd>(params).await?;
    out.json_or(&written, || {
        format!(
            "{}Start it with `flotilla start {}`.\n",
            changes(&written),
            add.name
        )
    })
}

fn values(texts: &[(String, String)], secrets: &[(String, String)]) -> BTreeMap<String, Value> {
    let texts = texts
        .iter()
        .map(|(key, text)| (key.clone(), Value::text(text)));
    let secrets = secrets
        .iter()
        .map(|(key, name)| (key.clone(), Value::Secret { name: name.clone() }));
    texts.chain(secrets).collect()
}

fn changes(written: &ConfigWritten) -> String {
    let lines = written
        .changes
        .iter()
        .map(|c| format!("{c}\n"))
        .collect::<String>();
    format!("{lines}Revision {}.\n", written.revision)
}

pub(crate) async fn remove(to: &Engine, remove: &Remove, out: Out) -> Result<(), Failure> {
    if !remove.yes {
        let targets = Targets {
            all: false,
            servers: vec![remove.name.clone()],
            instance: None,
        };
        let plan = to
            .run::<ServerPlan>(PlanParams {
                verb: Verb::Remove,
                targets,
                replicas: None,
            })
            .await?;
        let effect = show::effect(&plan);
        if !confirm(effect.trim_end(), &format!("Remove {}?", remove.name))? {
            return Err(Failure::other("nothing was removed"));
        }
    }
    let written = to
        .run::<ServerRemove>(RemoveParams {
            server: remove.name.clone(),
            reason: None,
        })
        .await?;
    out.json_or(&written, || changes(&written))
}

/// Shows what is about to happen on standard error, and asks.
pub(crate) fn confirm(what: &str, question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "failed to ask: standard input is no terminal; --yes goes on without a question",
        ));
    }
    eprint!("{}\n{question} [y/N] ", what.trim_end());
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|e| Failure::other(format!("failed to read the answer: {e}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

pub(crate) async fn import(to: &Engine, import: &Import, out: Out) -> Result<(), Failure> {
    if import.path.is_none() && !import.reference {
        let sources = to.run::<ImportScan>(Default::default()).await?;
        return out.json_or(&sources, || show::sources(&sources, out));
    }
    let absolute = |path: &PathBuf| {
        std::path::absolute(path)
            .map(|path| path.display().to_string())
            .map_err(|e| Failure::usage(format!("failed to find {}: {e}", path.display())))
    };
    let preview = ImportPreviewParams {
        path: import.path.as_ref().map(absolute).transpose()?,
        text: None,
        reference: import.reference,
    };
    let mut plan = to.run::<ImportPreview>(preview).await?;
    if let Some(unknown) = import
        .only
        .iter()
        .find(|name| plan.servers.iter().all(|s| s.source_name != **name))
    {
        return Err(Failure::usage(format!(
            "failed to choose {unknown}: the file has no server of that name"
        )));
    }
    plan.servers
        .retain(|s| import.only.is_empty() || import.only.contains(&s.source_name));
    let names: Vec<String> = plan
        .servers
        .iter()
        .filter(|s| s.refused.is_none())
        .map(|s| s.source_name.clone())
        .collect();
    if out.json && !import.yes {
        return out.json_or(&plan, String::new);
    }
    let shown = show::plan(&plan, out);
    if names.is_empty() {
        out.print(&shown)?;
        return Err(Failure::other("nothing in this file can be imported"));
    }
    if !import.yes
        && !confirm(
            &shown,
            &format!("Import {}?", show::plural(names.len() as u64, "server")),
        )?
    {
        return Err(Failure::other("nothing was imported"));
    }
    let written = to
        .run::<ImportApply>(ImportApplyParams {
            ticket: plan.ticket.clone(),
            names,
        })
        .await?;
    let before = if import.yes {
        shown + "\n"
    } else {
        String::new()
    };
    out.json_or(&written, || format!("{before}{}", changes(&written)))
}

pub(crate) async fn doctor(to: &Engine, out: Out) -> Result<(), Failure> {
    let findings = to.run::<DoctorRun>(Default::default()).await?;
    out.json_or(&findings, || show::doctor(&findings, out))?;
    all_reached(findings.iter().all(|f| f.level != DoctorLevel::Problem))
}

pub(crate) async fn secret(to: &Engine, secret: &Secret, out: Out) -> Result<(), Failure> {
    match secret {
        Secret::List => {
            let info = to.run::<SecretsList>(Default::default()).await?;
            out.json_or(&info, || show::secrets(&info, out))
        }
        Secret::Set { name } => {
            to.run::<SecretsSet>(SecretSet {
                name: name.clone(),
                value: read_secret(name)?,
            })
            .await?;
            out.json_or(&json!({ "name": name, "present": true }), || {
                format!("Stored {name}.\n")
            })
        }
        Secret::Remove { name } => {
            to.run::<SecretsRemove>(SecretRef { name: name.clone() })
                .await?;
            out.json_or(&json!({ "name": name, "present": false }), || {
                format!("Forgot {name}.\n")
            })
        }
    }
}

/// From the terminal without echo, otherwise standard input without its last line end.
fn read_secret(name: &str) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::other(format!("failed to read the secret: {e}"));
    let value = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("Value of {name}: ")).map_err(failed)?
    } else {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_SECRET + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        text.strip_suffix("\r\n")
            .or(text.strip_suffix('\n'))
            .map(str::to_owned)
            .unwrap_or(text)
    };
    match value.len() as u64 {
        0 => Err(Failure::usage("failed to store the secret: it is empty")),
        1..=MAX_SECRET => Ok(value),
        _ => Err(Failure::usage(format!(
            "failed to store the secret: it is longer than {MAX_SECRET} bytes"
        ))),
    }
}

pub(crate) async fn config(to: &Engine, config: &Config, out: Out) -> Result<(), Failure> {
    let Config::Check { file } = config;
    let (name, text) = match file {
        Some(file) => (file.display().to_string(), read_config(file)?),
        None => {
            let current = to.run::<ConfigGet>(Default::default()).await?;
            (current.path, current.text)
        }
    };
    let checked = to.run::<ConfigCheck>(CheckParams { text }).await?;
    out.json_or(&checked, || {
        let findings = checked
            .findings
            .iter()
            .map(|f| format!("{name}:{}:{}: {}\n", f.line, f.column, f.message));
        let text: String = findings.collect();
        match (text.is_empty(), checked.changes.is_empty()) {
            (false, _) => text,
            (true, true) => format!("{name} is valid and changes nothing.\n"),
            (true, false) => format!(
                "{name} is valid and would change:\n  {}\n",
                checked.changes.join("\n  ")
            ),
        }
    })?;
    if checked.findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid_config())
    }
}

fn read_config(path: &Path) -> Result<String, Failure> {
    let failed = |e: String| Failure::usage(format!("failed to read {}: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut text = String::new();
    file.take(MAX_CONFIG + 1)
        .read_to_string(&mut text)
        .map_err(|e| failed(e.to_string()))?;
    if text.len() as u64 > MAX_CONFIG {
        Err(failed(format!("it is larger than {MAX_CONFIG} bytes")))
    } else {
        Ok(text)
    }
}
