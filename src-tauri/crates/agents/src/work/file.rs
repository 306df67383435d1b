//! A file of the run's workspace.

use super::{
    Place, WorkError, backup, read, scan, site, tree,
    workspace::{Kind, Workspace},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
};

/// Bytes of a file that is read at most.
const READ: u64 = 1 << 20;
/// Entries of a list at most.
const LISTED: usize = 10_000;

#[derive(Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
enum Input {
    Read {
        path: String,
    },
    Create {
        path: String,
        content: Value,
    },
    Append {
        path: String,
        content: Value,
    },
    List {
        path: String,
        #[serde(default)]
        recursive: bool,
    },
    Copy {
        path: String,
        to: String,
    },
    Remove {
        path: String,
    },
    Folder {
        path: String,
    },
    Scan {
        path: String,
        #[serde(default)]
        rules: BTreeMap<String, String>,
        #[serde(default)]
        quote: bool,
    },
    Pack {
        path: String,
        to: String,
    },
    Unpack {
        path: String,
        to: String,
    },
    Prune {
        path: String,
        #[serde(default)]
        prefix: String,
        #[serde(default)]
        suffix: String,
        days: u32,
        #[serde(default)]
        keep: usize,
    },
    SqliteCopy {
        path: String,
        to: String,
    },
    SqliteCheck {
        path: String,
        tables: Option<Map<String, Value>>,
    },
    AnalyzeStructure {
        path: String,
    },
    Publish {
        path: String,
        to: String,
    },
    Compare {
        path: String,
        to: String,
    },
    Render {
        paths: Vec<String>,
        to: String,
    },
    Images {
        path: String,
        to: String,
        #[serde(default)]
        optional: bool,
    },
    Sitemap {
        path: String,
        to: String,
        base_url: String,
    },
}

/// Does one operation in the workspace: `read`, `create`, `append`, `list`, `copy`, `remove`, `folder`, `scan`, `pack`, `unpack`, `prune`,
/// `sqlite_copy`, `sqlite_check`, `analyze_structure`, `publish`, `compare`, `render`, `images` or `sitemap`. Content that is no text is written as JSON. Blocks: call it off the async threads.
///
/// # Errors
/// `refused` for a path outside of the workspace, `failed` when the system says no or the path is neither file nor folder.
pub fn file(input: &Value, place: &Place) -> Result<Value, WorkError> {
    let input = read(input)?;
    let workspace = Workspace::open(place)?;
    match input {
        Input::Read { path } => {
            let mut bytes = Vec::new();
            let done = workspace
                .read(&path)
                .and_then(|file| file.take(READ + 1).read_to_end(&mut bytes));
            done.map_err(Workspace::failed("with.path", &path))?;
            let cut = bytes.len() as u64 > READ;
            bytes.truncate(usize::try_from(READ).unwrap_or(usize::MAX));
            let content = String::from_utf8_lossy(&bytes).into_owned();
            Ok(json!({ "success": true, "path": path, "content": content, "truncated": cut }))
        }
        Input::Create { path, content } => write(&workspace, &path, &content, false),
        Input::Append { path, content } => write(&workspace, &path, &content, true),
        Input::List { path, recursive } => {
            let mut entries = Vec::new();
            let done = workspace.walk(&path, LISTED, |entry| {
                entries.push(
                    json!({ "path": entry.path, "kind": entry.kind.word(), "bytes": entry.bytes }),
                );
                Ok(recursive && entry.kind == Kind::Folder)
            });
            let cut = done.map_err(Workspace::failed("with.path", &path))?;
            Ok(json!({ "success": true, "path": path, "entries": entries, "truncated": cut }))
        }
        Input::Copy { path, to } => {
            let mut from = workspace
                .read(&path)
                .map_err(Workspace::failed("with.path", &path))?;
            let done = workspace
                .create(&to)
                .and_then(|mut file| io::copy(&mut from, &mut file));
            let bytes = done.map_err(Workspace::failed("with.to", &to))?;
            Ok(json!({ "success": true, "path": to, "bytes": bytes }))
        }
        Input::Remove { path } => {
            workspace
                .remove(&path)
                .map_err(Workspace::failed("with.path", &path))?;
            Ok(json!({ "success": true, "path": path }))
        }
        Input::Folder { path } => {
            workspace
                .make(&path)
                .map_err(Workspace::failed("with.path", &path))?;
            Ok(json!({ "success": true, "path": path }))
        }
        Input::Scan { path, rules, quote } => scan::scan(&workspace, &path, &rules, quote),
        Input::Pack { path, to } => backup::pack(&workspace, &path, &to),
        Input::Unpack { path, to } => backup::unpack(&workspace, &path, &to),
        Input::Prune {
            path,
            prefix,
            suffix,
            days,
            keep,
        } => backup::prune(&workspace, &path, (&prefix, &suffix), days, keep),
        Input::SqliteCopy { path, to } => backup::sqlite_copy(&workspace, &path, &to),
        Input::SqliteCheck { path, tables } => {
            backup::sqlite_check(&workspace, &path, tables.as_ref())
        }
        Input::AnalyzeStructure { path } => tree::analyze(&workspace, &path),
        Input::Publish { path, to } => tree::publish(&workspace, &path, &to),
        Input::Compare { path, to } => tree::compare(&workspace, &path, &to),
        Input::Render { paths, to } => site::render(&workspace, &paths, &to),
        Input::Images { path, to, optional } => site::images(&workspace, &path, &to, optional),
        Input::Sitemap { path, to, base_url } => site::sitemap(&workspace, &path, &to, &base_url),
    }
}

fn write(
    workspace: &Workspace,
    path: &str,
    content: &Value,
    append: bool,
) -> Result<Value, WorkError> {
    let text = match content {
        Value::String(text) => text.clone(),
        other => format!("{other:#}\n"),
    };
    let opened = if append {
        workspace.append(path)
    } else {
        workspace.create(path)
    };
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Workspace::failed("with.path", path))?;
    Ok(json!({ "success": true, "path": path, "bytes": text.len() }))
}
