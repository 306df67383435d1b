//! Making the gateway known to AI clients: an entry in each client's own file, in that client's dialect.
//!
//! [`targets`] names the files, [`Target::preview`] says what one would become, [`write()`] puts that there and keeps a copy, [`undo`]
//! puts the copy back. Files are changed as texts: comments, order, unknown keys, indentation, line endings and a byte order mark
//! stay as they are. What an edit gives is read again and compared with what was meant before it is offered, so a file that is odder
//! than we understand is refused, not damaged. YAML is always refused, with a text to paste.
//!
//! What it never does: write a file that changed since its preview, or undo a change that somebody has built on.

mod dialect;
mod disk;
mod json;
mod lines;
mod toml;

pub use disk::{Backups, undo, write};

use crate::{hash, import::Paths};
use dialect::{Dialect, Format};
use flotilla_contract::gateway::{
    ClientAct, ClientEntry, ClientPreview, ClientTarget, ClientVia, ClientWritten,
};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Why a client's file was not read, changed or restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The file or its copy cannot be read or written.
    #[error("{what} {path}: {error}")]
    File {
        /// What was tried ("read", "write", …).
        what: &'static str,
        /// Which file.
        path: String,
        /// Why.
        error: String,
    },
    /// The file is not what its client reads.
    #[error("read {path}: {error}")]
    Shape {
        /// Which file.
        path: String,
        /// Why.
        error: String,
    },
    /// The file is in a format that is not written.
    #[error("write {path}: {why}")]
    Refused {
        /// Which file.
        path: String,
        /// Why not.
        why: String,
    },
    /// The file changed since its preview.
    #[error("write {path}: it changed since it was shown; look at the preview again")]
    Conflict {
        /// Which file.
        path: String,
    },
    /// Somebody changed the file after us.
    #[error("undo the change of {path}: the file is no longer what was written{}; both are kept", backup.as_ref().map(|at| format!(", and what was there before is in {at}")).unwrap_or_default())]
    Changed {
        /// Which file.
        path: String,
        /// Where the copy is.
        backup: Option<String>,
    },
}

/// What a client is told: the gateway's address, or for clients that only start programs how to reach it over standard streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name under which it appears.
    pub name: String,
    /// The gateway's MCP endpoint.
    pub url: String,
    /// The `flotilla` program; empty when it is not known where it is, and then clients that only start programs are not written.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Entry {
    /// The usual one: `flotilla connect`, or the address.
    pub fn new(url: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            name: "flotilla".into(),
            url: url.into(),
            command: command.into(),
            args: vec!["connect".into()],
        }
    }
}

/// A file in which a client keeps its servers.
#[derive(Clone, Debug)]
pub struct Target {
    client: &'static str,
    path: PathBuf,
    project: bool,
    installed: bool,
    dialect: Dialect,
}

/// A client's file as it is and as it would become.
#[derive(Clone, PartialEq, Eq)]
pub struct Preview {
    /// The file as it is; absent where there is none.
    pub before: Option<String>,
    /// What it would become.
    pub after: String,
}

impl std::fmt::Debug for Preview {
    /// Clients' files hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Preview({} bytes)", self.after.len())
    }
}

impl Preview {
    /// Whether anything would change.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }

    /// Of what the file is and what it would become: whoever writes with the hash of a preview writes what was shown.
    #[must_use]
    pub fn hash(&self) -> String {
        // No text of a file has a NUL character.
        hash(&format!(
            "{}\0{}",
            self.before.as_deref().unwrap_or("\0"),
            self.after
        ))
    }

    /// The preview as a screen shows it: changed lines only, secrets masked.
    #[must_use]
    pub fn shown(&self, target: &Target) -> ClientPreview {
        ClientPreview {
            client: target.client.to_owned(),
            path: target.path.display().to_string(),
            exists: self.before.is_some(),
            changes: self.changes(),
            diff: lines::diff(self.before.as_deref().unwrap_or_default(), &self.after),
            hash: self.hash(),
        }
    }
}

/// The files of clients in these folders: those of every client that seems to be there, and one of each other client.
#[must_use]
pub fn targets(paths: &Paths) -> Vec<Target> {
    dialect::files(paths)
}

impl Target {
    /// The client.
    #[must_use]
    pub fn client(&self) -> &'static str {
        self.client
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The target as a screen shows it; `records` are the changes that could be undone ([`Backups::records`]).
    #[must_use]
    pub fn shown(&self, entry: &Entry, records: &[ClientWritten]) -> ClientTarget {
        let (found, refused) = match self.look(entry) {
            Ok(found) => (found, None),
            Err(error) => ((ClientEntry::Unknown, entry.name.clone()), Some(error)),
        };
        let undo = self.undoable(records).map(|record| record.id.clone());
        ClientTarget {
            client: self.client.to_owned(),
            path: self.path.display().to_string(),
            project: self.project,
            exists: self.path.exists(),
            installed: self.installed,
            via: self.dialect.via,
            entry: found.0,
            name: found.1,
            refused: refused.map(|error| match error {
                ClientError::Refused { why, .. } => why,
                other => format!("failed to {other}"),
            }),
            paste: self.dialect.paste(entry),
            undo,
        }
    }

    /// Whether the gateway is in the file, and under which name.
    fn look(&self, entry: &Entry) -> Result<(ClientEntry, String), ClientError> {
        self.writable(entry)?;
        let text = disk::read(&self.path)?.unwrap_or_default();
        let root = self.value(&text)?;
        let servers = self.servers(&root, &self.dialect.place(&root));
        let name = self.name(servers, entry);
        let state = match servers.and_then(|servers| servers.get(&name)) {
            None => ClientEntry::Absent,
            Some(there) if self.says(there, entry) => ClientEntry::Current,
            Some(_) => ClientEntry::Differs,
        };
        Ok((state, name))
    }

    /// What the file would become.
    ///
    /// # Errors
    /// When it cannot be read, is not what its client reads, or is in a format that is not written.
    pub fn preview(&self, entry: &Entry, act: ClientAct) -> Result<Preview, ClientError> {
        self.writable(entry)?;
        let before = disk::read(&self.path)?;
        let text = before.clone().unwrap_or_default();
        let root = self.value(&text)?;
        let place = self.dialect.place(&root);
        let servers = self.servers(&root, &place);
        let name = self.name(servers, entry);
        let there = servers.and_then(|servers| servers.get(&name));
        let same = there.is_some_and(|there| self.says(there, entry));
        let nothing_to_do = match act {
            ClientAct::Connect => same,
            ClientAct::Disconnect => there.is_none(),
        };
        if nothing_to_do {
            return Ok(Preview {
                after: text,
                before,
            });
        }
        let wanted = (act == ClientAct::Connect).then(|| self.dialect.entry(entry));
        let after = match self.dialect.format {
            Format::Json => json::put(&text, &place, &name, wanted.as_ref()),
            Format::Toml => toml::put(&text, &place, &name, wanted.as_ref()),
            Format::Yaml => Ok(text),
        }
        .map_err(|error| self.odd(error))?;
        let meant = edited(root, &place, &name, wanted);
        let says = self.value(&after)?;
        if without_empty(says, &place) != without_empty(meant, &place) {
            return Err(self.odd("the place for the entry was not understood".into()));
        }
        Ok(Preview { before, after })
    }

    fn writable(&self, entry: &Entry) -> Result<(), ClientError> {
        let client = self.client;
        let why = if self.dialect.format == Format::Yaml {
            format!("the file of {client} is YAML, which is not written here: paste the text there")
        } else if self.dialect.via == ClientVia::Stdio && entry.command.is_empty() {
            format!(
                "{client} can only start programs, and where the program flotilla is was not found: paste the text there, with its path"
            )
        } else {
            return Ok(());
        };
        Err(ClientError::Refused {
            path: self.path.display().to_string(),
            why,
        })
    }

    fn odd(&self, error: String) -> ClientError {
        ClientError::Shape {
            path: self.path.display().to_string(),
            error,
        }
    }

    /// What a text of this file says.
    fn value(&self, text: &str) -> Result<Value, ClientError> {
        let value = match self.dialect.format {
            Format::Json => json::value(text),
            Format::Toml => toml::value(text),
            Format::Yaml => Ok(Value::Null),
        };
        let value = value.map_err(|error| self.odd(error))?;
        if value.is_object() {
            Ok(value)
        } else {
            Err(self.odd("it does not hold an object".into()))
        }
    }

    fn servers<'v>(&self, root: &'v Value, place: &[&str]) -> Option<&'v Map<String, Value>> {
        place
            .iter()
            .try_fold(root, |value, key| value.get(key))?
            .as_object()
    }

    /// The name under which the gateway is there already, whatever it was called, or the usual one.
    fn name(&self, servers: Option<&Map<String, Value>>, entry: &Entry) -> String {
        let named = |name: &str| servers.is_some_and(|servers| servers.contains_key(name));
        if named(&entry.name) {
            return entry.name.clone();
        }
        servers
            .into_iter()
            .flatten()
            .find(|(_, there)| self.says(there, entry))
            .map_or_else(|| entry.name.clone(), |(name, _)| name.clone())
    }

    /// Whether an entry is ours as it should be; what it says beyond that is its owner's.
    fn says(&self, there: &Value, entry: &Entry) -> bool {
        let wanted = self.dialect.entry(entry);
        wanted
            .iter()
            .filter(|(key, _)| dialect::CONNECTION.contains(&key.as_str()))
            .all(|(key, value)| there.get(key) == Some(value))
            && dialect::CONNECTION
                .iter()
                .all(|key| wanted.contains_key(*key) || there.get(key).is_none())
    }

    /// The change of this file that can be undone: one of the records, if the file still is what it wrote.
    #[must_use]
    pub fn undoable<'r>(&self, records: &'r [ClientWritten]) -> Option<&'r ClientWritten> {
        // A file that was made is recorded as its client names it, one that was there with links followed.
        let paths = [self.path.clone(), self.path.canonicalize().ok()?];
        let mut of_it = records
            .iter()
            .filter(|record| paths.iter().any(|path| *path == Path::new(&record.path)))
            .peekable();
        of_it.peek()?;
        let now = disk::hash_of(&self.path)?;
        of_it.find(|record| record.after == now)
    }
}

/// What a file with this change says: keys of the connection are the entry's, others that were there stay.
fn edited(
    mut root: Value,
    place: &[&str],
    name: &str,
    wanted: Option<Map<String, Value>>,
) -> Value {
    let mut at = &mut root;
    for key in place {
        let Some(object) = at.as_object_mut() else {
            return Value::Null;
        };
        at = object
            .entry((*key).to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
    }
    let Some(servers) = at.as_object_mut() else {
        return Value::Null;
    };
    let Some(wanted) = wanted else {
        servers.remove(name);
        return root;
    };
    match servers.get_mut(name) {
        Some(Value::Object(there)) => {
            there.retain(|key, _| !dialect::CONNECTION.contains(&key.as_str()));
            there.extend(wanted);
        }
        _ => {
            servers.insert(name.to_owned(), Value::Object(wanted));
        }
    }
    root
}

/// Without the tables down to the servers when they hold nothing: TOML may not write them down at all.
fn without_empty(mut root: Value, place: &[&str]) -> Value {
    if let (Some((key, rest)), Some(object)) = (place.split_first(), root.as_object_mut())
        && let Some(inner) = object.get_mut(*key)
    {
        let inner = std::mem::take(inner);
        let inner = without_empty(inner, rest);
        if inner.as_object().is_some_and(Map::is_empty) {
            object.shift_remove(*key);
        } else {
            object.insert((*key).to_owned(), inner);
        }
    }
    root
}

#[cfg(test)]
mod tests;
