//! Sessions on disk: one JSON file each, and one for the clients that were revoked.
//!
//! Files are replaced whole, so a reader and a crash meet the old one or the new one. Tokens are never written.

use super::session::Session;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// The folder of the files.
pub(super) struct Files {
    folder: PathBuf,
}

/// Larger files are none of ours.
const LARGEST: u64 = 256 * 1024;

const REVOKED: &str = "revoked.json";

impl Files {
    /// In `sessions` of the data folder, which is made when it is missing.
    pub(super) fn new(data: &Path) -> io::Result<Self> {
        let folder = data.join("sessions");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// At most `most` sessions, in the order of their ids. What cannot be read is left alone and told in the log.
    pub(super) fn sessions(&self, most: usize) -> BTreeMap<String, Session> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return BTreeMap::new();
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .filter(|id| is_session_id(id))
            .collect();
        ids.sort();
        ids.into_iter()
            .filter_map(|id| {
                let session: Session = read(&self.path(&id)?)?;
                // A file that was renamed would be somebody else's session.
                (session.session_id == id).then_some((id, session))
            })
            .take(most)
            .collect()
    }

    /// Clients that were revoked, and when, in milliseconds since 1970.
    pub(super) fn revoked(&self) -> BTreeMap<String, i64> {
        read(&self.folder.join(REVOKED)).unwrap_or_default()
    }

    /// Files a session in the place of what was there.
    pub(super) fn save(&self, session: &Session) -> io::Result<()> {
        let path = self
            .path(&session.session_id)
            .ok_or_else(|| io::Error::other("no session id"))?;
        write(&path, session)
    }

    /// Files which clients were revoked.
    pub(super) fn save_revoked(&self, revoked: &BTreeMap<String, i64>) -> io::Result<()> {
        write(&self.folder.join(REVOKED), revoked)
    }

    /// Deletes a session's file, if there is one.
    pub(super) fn delete(&self, id: &str) {
        if let Some(path) = self.path(id)
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(session = id, %error, "failed to delete the file of a session");
        }
    }

    fn path(&self, id: &str) -> Option<PathBuf> {
        is_session_id(id).then(|| self.folder.join(format!("{id}.json")))
    }
}

/// Whether it is a UUID as we write it. Nothing else becomes part of a path.
pub(super) fn is_session_id(id: &str) -> bool {
    Uuid::try_parse(id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id)
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut text));
    let parsed = read.and_then(|_| Ok(serde_json::from_slice(&text)?));
    match parsed {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "failed to read a file of sessions");
            None
        }
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    // Beside, not elsewhere: a rename does not cross file systems.
    let beside = path.with_extension(Uuid::new_v4().simple().to_string());
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(&text)?;
            // The name is to stand for the whole text, after a loss of power too.
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written
}
