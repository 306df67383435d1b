//! Copies of databases that can be trusted: made while others write, packed, restored on trial, kept for a while.

use super::{
    Place, WorkError,
    workspace::{Kind, Workspace},
};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde_json::{Map, Value, json};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Writers that hold the database are waited for this long.
const BUSY: Duration = Duration::from_secs(30);
/// Bytes of a file that is unpacked: what a small archive could grow to.
const UNPACKED: u64 = 64 << 30;
/// Files of a folder that are looked at.
const FILES: usize = 100_000;

/// Copies an SQLite database as it is at one moment, while others read and write it. `to` must not exist. Gives its `bytes` and `tables` with
/// their number of rows.
///
/// SQLite opens the paths by name: that they are inside the workspace is looked at before, not held while it works.
pub(super) fn sqlite_copy(workspace: &Workspace, path: &str, to: &str) -> Result<Value, WorkError> {
    drop(
        workspace
            .read(path)
            .map_err(Workspace::failed("with.path", path))?,
    );
    let (bytes, tables) = copy_database(&workspace.full(path), workspace, to)?;
    Ok(json!({ "success": true, "path": to, "bytes": bytes, "tables": tables }))
}

/// Copies a database of this machine into the workspace, and checks the copy: its bytes, and the rows of its tables.
fn copy_database(
    from: &Path,
    workspace: &Workspace,
    to: &str,
) -> Result<(u64, Map<String, Value>), WorkError> {
    let failed_to = Workspace::failed("with.to", to);
    // Made first, so that it is known to be inside: SQLite takes an empty file for a new one.
    drop(workspace.create_new(to).map_err(&failed_to)?);
    let target = workspace.full(to).display().to_string();
    let copied = on_database(from, async |database: &mut SqliteConnection| {
        sqlx::query("VACUUM INTO ?")
            .bind(target)
            .execute(database)
            .await
            .map(drop)
    });
    if let Err(error) = copied {
        // Half a copy is none.
        let _ = workspace.remove(to);
        return Err(error);
    }
    let tables = checked(workspace, to)?;
    let bytes = workspace.read(to).and_then(|file| file.metadata());
    let bytes = bytes.map_err(failed_to)?.len();
    Ok((bytes, tables))
}

/// Files of a home, beside its databases, that are replaced whole when they change: alerts with their silences, the board.
const KEPT: [&str; 2] = ["alerts.json", "board.json"];

/// Copies what a home needs to be made anew, into a folder that must not exist: the configuration as `fleet.toml`, alerts and silences, the board, the databases as they are at one
/// moment each (checked, with the rows of their tables), the definitions of workflows. Not in it: secrets, logs, metrics, runs' workspaces.
/// Gives `{success, path, files, bytes}`. Blocks.
///
/// # Errors
/// `refused` for a folder outside of the workspace, `failed` when it exists, or something cannot be copied: then the folder is removed.
pub fn backup_home(
    home: &Path,
    config: &Path,
    to: &str,
    place: &Place,
) -> Result<Value, WorkError> {
    let workspace = Workspace::open(place)?;
    let failed_to = Workspace::failed("with.to", to);
    if workspace.exists(to).map_err(&failed_to)? {
        return Err(WorkError::failed(format!(
            "with.to is {to:?}, which exists; accepted is a folder that does not"
        )));
    }
    workspace.make(to).map_err(&failed_to)?;
    let copied = copy_home(home, config, to, &workspace);
    if copied.is_err() {
        // Half a backup is none.
        let _ = workspace.remove_all(to);
    }
    let files = copied?;
    let bytes: u64 = files.iter().filter_map(|file| file["bytes"].as_u64()).sum();
    Ok(json!({ "success": true, "path": to, "files": files, "bytes": bytes }))
}

fn copy_home(
    home: &Path,
    config: &Path,
    to: &str,
    workspace: &Workspace,
) -> Result<Vec<Value>, WorkError> {
    let mut files = Vec::new();
    let mut texts = vec![(config.to_owned(), "fleet.toml".to_owned())];
    for (name, path) in entries(home)? {
        if KEPT.contains(&name.as_str()) {
            texts.push((path, name));
        } else if name.ends_with(".db") {
            let (bytes, tables) = copy_database(&path, workspace, &format!("{to}/{name}"))?;
            files.push(json!({ "path": name, "bytes": bytes, "tables": tables }));
        }
    }
    let workflows = home.join("workflows");
    if workflows.is_dir() {
        let folder = format!("{to}/workflows");
        workspace
            .make(&folder)
            .map_err(Workspace::failed("with.to", &folder))?;
        let found = entries(&workflows)?.into_iter();
        let found = found.filter(|(name, path)| name.ends_with(".yaml") && path.is_file());
        texts.extend(found.map(|(name, path)| (path, format!("workflows/{name}"))));
    }
    for (from, name) in texts {
        let target = format!("{to}/{name}");
        let bytes = File::open(&from).and_then(|mut from| {
            let mut copy = workspace.create_new(&target)?;
            let bytes = io::copy(&mut from, &mut copy)?;
            copy.sync_all()?;
            Ok(bytes)
        });
        let bytes = bytes
            .map_err(|error| WorkError::failed(format!("copy {}: {error}", from.display())))?;
        files.push(json!({ "path": name, "bytes": bytes }));
    }
    Ok(files)
}

/// Names and paths in a folder of this machine, in order.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, WorkError> {
    let failed = |error| WorkError::failed(format!("read {}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.take(FILES) {
        let entry = entry.map_err(failed)?;
        found.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    found.sort();
    Ok(found)
}

/// Has SQLite check a database whole, and counts the rows of its tables. With `expected` tables it fails where they differ.
pub(super) fn sqlite_check(
    workspace: &Workspace,
    path: &str,
    expected: Option<&Map<String, Value>>,
) -> Result<Value, WorkError> {
    drop(
        workspace
            .read(path)
            .map_err(Workspace::failed("with.path", path))?,
    );
    let tables = checked(workspace, path)?;
    if let Some(expected) = expected
        && *expected != tables
    {
        let (found, expected) = (Value::Object(tables), Value::Object(expected.clone()));
        return Err(WorkError::failed(format!(
            "{path} has the tables {found}; expected are {expected}"
        )));
    }
    Ok(json!({ "success": true, "path": path, "tables": tables }))
}

fn checked(workspace: &Workspace, path: &str) -> Result<Map<String, Value>, WorkError> {
    let (wrong, tables) = on_database(
        &workspace.full(path),
        async |database: &mut SqliteConnection| {
            let lines: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(5)")
                .fetch_all(&mut *database)
                .await?;
            let names: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
        )
        .fetch_all(&mut *database)
        .await?;
            let mut tables = Map::new();
            for name in names {
                let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
                let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                    .fetch_one(&mut *database)
                    .await?;
                tables.insert(name, rows.into());
            }
            Ok((lines, tables))
        },
    )?;
    if wrong == ["ok"] {
        Ok(tables)
    } else {
        let wrong = wrong.join("; ");
        Err(WorkError::failed(format!("{path} is damaged: {wrong}")))
    }
}

/// Works on a database that is only read.
fn on_database<T>(
    path: &Path,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
) -> Result<T, WorkError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY);
    let failed = |error: String| WorkError::failed(format!("{}: {error}", path.display()));
    // This thread may block, and SQLite has one of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let done = runtime.block_on(async {
        let mut database = SqliteConnection::connect_with(&options).await?;
        let done = work(&mut database).await;
        database.close().await?;
        done
    });
    done.map_err(|error| {
        failed(match error {
            sqlx::Error::Database(error) => error.message().to_owned(),
            error => error.to_string(),
        })
    })
}

/// Packs a file with gzip; `to` is written anew.
pub(super) fn pack(workspace: &Workspace, path: &str, to: &str) -> Result<Value, WorkError> {
    let mut from = workspace
        .read(path)
        .map_err(Workspace::failed("with.path", path))?;
    let done = workspace.create(to).and_then(|file| {
        let mut packer = GzEncoder::new(file, Compression::default());
        let bytes = io::copy(&mut from, &mut packer)?;
        let file = packer.finish()?;
        file.sync_all()?;
        Ok((bytes, file.metadata()?.len()))
    });
    let (unpacked, bytes) = done.map_err(Workspace::failed("with.to", to))?;
    Ok(json!({ "success": true, "path": to, "bytes": bytes, "unpacked_bytes": unpacked }))
}

/// Unpacks what gzip packed; its checksum is compared.
pub(super) fn unpack(workspace: &Workspace, path: &str, to: &str) -> Result<Value, WorkError> {
    let from = workspace
        .read(path)
        .map_err(Workspace::failed("with.path", path))?;
    let done = workspace.create(to).and_then(|mut file| {
        let mut from = io::Read::take(MultiGzDecoder::new(from), UNPACKED + 1);
        io::copy(&mut from, &mut file)
    });
    let bytes = done.map_err(Workspace::failed("with.to", to))?;
    if bytes > UNPACKED {
        // What is left of it is of no use.
        let _ = workspace.remove(to);
        return Err(WorkError::failed(format!(
            "{path} is more than {UNPACKED} bytes when it is unpacked"
        )));
    }
    Ok(json!({ "success": true, "path": to, "bytes": bytes }))
}

/// Removes the files of a folder whose names begin and end so and that were last written so many days ago, but never the `keep` newest of them.
/// Gives the names that were `removed`, and how many were `kept`.
pub(super) fn prune(
    workspace: &Workspace,
    path: &str,
    (prefix, suffix): (&str, &str),
    days: u32,
    keep: usize,
) -> Result<Value, WorkError> {
    let failed = Workspace::failed("with.path", path);
    let mut found: Vec<(SystemTime, String)> = Vec::new();
    let walked = workspace.walk(path, FILES, |entry| {
        let name = &entry.path;
        let long_enough = name.len() >= prefix.len() + suffix.len();
        if entry.kind == Kind::File
            && long_enough
            && name.starts_with(prefix)
            && name.ends_with(suffix)
        {
            found.push((entry.written()?, entry.path.clone()));
        }
        Ok(false)
    });
    walked.map_err(&failed)?;
    found.sort();
    let spare = found.len().saturating_sub(keep);
    let oldest = SystemTime::now().checked_sub(Duration::from_secs(u64::from(days) * 86_400));
    let old = |written: &SystemTime| oldest.is_some_and(|oldest| *written < oldest);
    let mut removed = Vec::new();
    for (_, name) in found.iter().take(spare).filter(|(written, _)| old(written)) {
        match workspace.remove(&format!("{path}/{name}")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            // Gone is what it was to be, whoever did it.
            _ => removed.push(name),
        }
    }
    Ok(
        json!({ "success": true, "path": path, "kept": found.len() - removed.len(), "removed": removed }),
    )
}
