//! Folders as wholes: what one holds, and one that takes the place of another.

use super::{
    WorkError,
    workspace::{Entry, Kind, Workspace},
};
use serde_json::{Value, json};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
};

/// Entries of a folder at most.
const ENTRIES: usize = 100_000;
/// In every folder that is made anew: one that does not have it was made by somebody else, and is not replaced.
const MARK: &str = ".flotilla";
/// The largest files that are named.
const LARGEST: usize = 10;
/// Differences that are named.
const NAMED: usize = 5;

/// How many files and folders a folder holds, and of which kinds: `{files, folders, others, bytes, kinds, largest}`; `kinds` by the ending of
/// the name.
pub(super) fn analyze(workspace: &Workspace, path: &str) -> Result<Value, WorkError> {
    let (mut folders, mut others, mut files, mut bytes) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut largest: BTreeSet<(Reverse<u64>, String)> = BTreeSet::new();
    let done = workspace.walk(path, ENTRIES, |entry| {
        match entry.kind {
            Kind::Folder => folders += 1,
            Kind::Other => others += 1,
            Kind::File => {
                let size = entry.bytes.unwrap_or(0);
                (files, bytes) = (files + 1, bytes.saturating_add(size));
                let kind = kinds.entry(ending(&entry.path)).or_default();
                *kind = (kind.0 + 1, kind.1.saturating_add(size));
                largest.insert((Reverse(size), entry.path.clone()));
                if largest.len() > LARGEST {
                    largest.pop_last();
                }
            }
        }
        Ok(entry.kind == Kind::Folder)
    });
    let cut = done.map_err(Workspace::failed("with.path", path))?;
    let kinds: serde_json::Map<String, Value> = kinds
        .into_iter()
        .map(|(kind, (files, bytes))| (kind, json!({ "files": files, "bytes": bytes })))
        .collect();
    let largest: Vec<Value> = largest
        .into_iter()
        .map(|(Reverse(bytes), path)| json!({ "path": path, "bytes": bytes }))
        .collect();
    Ok(json!({
        "success": true, "path": path, "files": files, "folders": folders, "others": others, "bytes": bytes,
        "kinds": kinds, "largest": largest, "truncated": cut,
    }))
}

/// The ending of a name, in lower case and without its dot; empty without one.
pub(super) fn ending(path: &str) -> String {
    let ending = Path::new(path).extension();
    ending.map_or(String::new(), |ending| {
        ending.to_string_lossy().to_lowercase()
    })
}

/// Makes a folder anew: fills one beside it, and puts that in its place when it is whole. A folder that no earlier run made is left alone.
pub(super) fn made_anew<T>(
    workspace: &Workspace,
    to: &str,
    fill: impl FnOnce(&str) -> Result<T, WorkError>,
) -> Result<T, WorkError> {
    let failed = Workspace::failed("with.to", to);
    let to = to.trim_end_matches('/');
    if plain(to).as_os_str().is_empty() {
        return Err(WorkError::refused(
            "with.to is the workspace itself; accepted is a folder in it",
        ));
    }
    let (new, old) = (format!("{to}.new"), format!("{to}.old"));
    for folder in [to, &new, &old] {
        let there = workspace.exists(folder).map_err(&failed)?;
        let ours = workspace.exists(&format!("{folder}/{MARK}"));
        if there && !ours.is_ok_and(|ours| ours) {
            return Err(WorkError::failed(format!(
                "{folder} is there and was made by no earlier run; it is not replaced"
            )));
        }
        if there && folder != to {
            workspace.remove_all(folder).map_err(&failed)?;
        }
    }
    let marked = workspace.create(&format!("{new}/{MARK}"));
    marked
        .and_then(|mut file| {
            file.write_all(b"Made by a workflow; its next run replaces this folder.\n")
        })
        .map_err(&failed)?;
    let filled = match fill(&new) {
        Ok(filled) => filled,
        Err(error) => {
            // Half of it is none.
            let _ = workspace.remove_all(&new);
            return Err(error);
        }
    };
    if workspace.exists(to).map_err(&failed)? {
        workspace.rename(to, &old).map_err(&failed)?;
    }
    workspace.rename(&new, to).map_err(&failed)?;
    if workspace.exists(&old).map_err(&failed)? {
        workspace.remove_all(&old).map_err(&failed)?;
    }
    Ok(filled)
}

/// Copies a folder so that it takes the place of another at once: nobody sees half of it.
pub(super) fn publish(workspace: &Workspace, path: &str, to: &str) -> Result<Value, WorkError> {
    apart(path, to)?;
    let (files, bytes) = made_anew(workspace, to, |new| {
        let (mut files, mut bytes) = (0_u64, 0_u64);
        each_file(workspace, "with.path", path, |entry| {
            let target = format!("{new}/{}", entry.path);
            bytes += copy(workspace, entry, &target)?;
            files += 1;
            Ok(())
        })?;
        Ok((files, bytes))
    })?;
    Ok(json!({ "success": true, "path": to, "files": files, "bytes": bytes }))
}

/// That neither of two folders is in the other.
pub(super) fn apart(path: &str, to: &str) -> Result<(), WorkError> {
    let (from, into) = (plain(path), plain(to));
    if from.starts_with(&into) || into.starts_with(&from) {
        return Err(WorkError::refused(format!(
            "with.to is {to:?}, and one of it and {path:?} is in the other; accepted are folders beside each other"
        )));
    }
    Ok(())
}

/// A path without its `.`s.
fn plain(path: &str) -> PathBuf {
    let parts = Path::new(path).components();
    parts.filter(|part| *part != Component::CurDir).collect()
}

/// Goes through the files below a folder. More than are accepted are an error: half a folder is none.
pub(super) fn each_file(
    workspace: &Workspace,
    field: &str,
    path: &str,
    mut each: impl FnMut(&Entry) -> io::Result<()>,
) -> Result<(), WorkError> {
    let done = workspace.walk(path, ENTRIES, |entry| {
        if entry.kind == Kind::File {
            each(entry)?;
        }
        Ok(entry.kind == Kind::Folder)
    });
    if done.map_err(Workspace::failed(field, path))? {
        return Err(WorkError::failed(format!(
            "{path} holds more than the {ENTRIES} files and folders that are accepted"
        )));
    }
    Ok(())
}

/// Copies a file that was found.
pub(super) fn copy(workspace: &Workspace, entry: &Entry, to: &str) -> io::Result<u64> {
    let mut from = entry.open().ok_or(io::ErrorKind::NotFound)?;
    io::copy(&mut from, &mut workspace.create(to)?)
}

/// Fails unless two folders hold the same files.
pub(super) fn compare(workspace: &Workspace, path: &str, to: &str) -> Result<Value, WorkError> {
    let (mut differ, mut many, mut files) = (Vec::new(), 0_u64, BTreeSet::new());
    let mut note = |what: String| {
        many += 1;
        if differ.len() < NAMED {
            differ.push(what);
        }
    };
    each_file(workspace, "with.path", path, |entry| {
        files.insert(entry.path.clone());
        let other = workspace.read(&format!("{to}/{}", entry.path));
        match (entry.open(), other) {
            (Some(one), Ok(other)) => {
                if !same(one, other)? {
                    note(format!("{} differs", entry.path));
                }
            }
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                note(format!("{} is missing", entry.path));
            }
            _ => note(format!("{} differs", entry.path)),
        }
        Ok(())
    })?;
    each_file(workspace, "with.to", to, |entry| {
        if !files.contains(&entry.path) {
            note(format!("{} is only in {to}", entry.path));
        }
        Ok(())
    })?;
    if many > 0 {
        return Err(WorkError::failed(format!(
            "{path} and {to} differ in {many} files: {}",
            differ.join(", ")
        )));
    }
    Ok(json!({ "success": true, "path": to, "files": files.len() }))
}

fn same(one: impl io::Read, other: impl io::Read) -> io::Result<bool> {
    let (mut one, mut other) = (io::BufReader::new(one), io::BufReader::new(other));
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let (read_a, read_b) = (full(&mut one, &mut a)?, full(&mut other, &mut b)?);
        if a[..read_a] != b[..read_b] {
            return Ok(false);
        }
        if read_a < a.len() {
            return Ok(true);
        }
    }
}

/// Fills a buffer, as far as there is something to read.
fn full(from: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
