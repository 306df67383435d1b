//! Clients' files on disk: read, replaced in one step, copied before, restored.

use super::{ClientError, Preview, Target};
use crate::text::hash_bytes;
use flotilla_contract::gateway::{ClientUndone, ClientWritten};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Larger files are no configuration.
const LARGEST: u64 = 32 << 20;
/// Longer records are not ours.
const LARGEST_RECORD: u64 = 64 << 10;

/// Where copies of clients' files are kept.
#[derive(Clone, Copy, Debug)]
pub enum Backups<'p> {
    /// Beside each file; what was written is known to the caller only.
    Beside,
    /// In this folder, with a record of each change, so that it can be undone later.
    In(&'p Path),
}

fn failed(what: &'static str, path: &Path, error: impl std::fmt::Display) -> ClientError {
    ClientError::File {
        what,
        path: path.display().to_string(),
        error: error.to_string(),
    }
}

/// The bytes of a file; `None` where there is none.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>, ClientError> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link that leads nowhere would be replaced by a file.
            return if path.is_symlink() {
                Err(failed(
                    "read",
                    path,
                    "it is a symbolic link that leads nowhere",
                ))
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(failed("read", path, error)),
    };
    if !meta.is_file() {
        return Err(failed("read", path, "it is not a file"));
    }
    if meta.len() > LARGEST {
        return Err(failed(
            "read",
            path,
            format!("it has {} bytes; accepted are up to {LARGEST}", meta.len()),
        ));
    }
    fs::read(path)
        .map(Some)
        .map_err(|error| failed("read", path, error))
}

/// Hash of a file that can be read.
pub(super) fn hash_of(path: &Path) -> Option<String> {
    bytes(path).ok()?.as_deref().map(hash_bytes)
}

/// The text of a file; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, ClientError> {
    let Some(bytes) = bytes(path)? else {
        return Ok(None);
    };
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| failed("read", path, "it is not UTF-8 text"))
}

/// Puts what was previewed in the place of the file. A symbolic link is followed. `at` is now, in milliseconds since the epoch.
///
/// # Errors
/// When the file changed since its preview, or it or its copy cannot be written; the file is as it was then.
pub fn write(
    target: &Target,
    preview: &Preview,
    backups: Backups<'_>,
    at: u64,
) -> Result<ClientWritten, ClientError> {
    let path = target
        .path()
        .canonicalize()
        .unwrap_or_else(|_| target.path().to_owned());
    let now = bytes(&path)?;
    if now.as_deref() != preview.before.as_deref().map(str::as_bytes) {
        return Err(ClientError::Conflict {
            path: target.path().display().to_string(),
        });
    }
    let tail = uuid::Uuid::new_v4().simple().to_string();
    let id = format!("{at}-{}", &tail[..8]);
    let backup = now
        .as_ref()
        .map(|now| keep(&path, now, backups, &id))
        .transpose()?;
    let written = (|| {
        let folders = make_folders(&path)?;
        let written = ClientWritten {
            id: id.clone(),
            client: target.client().to_owned(),
            path: path.display().to_string(),
            at,
            backup: backup.as_ref().map(|path| path.display().to_string()),
            before: now.as_deref().map(hash_bytes),
            after: hash_bytes(preview.after.as_bytes()),
            folders,
        };
        // The record comes first: a change without one could not be undone, a record without a change does nothing.
        if let Backups::In(folder) = backups {
            record(folder, &written)?;
        }
        replace(&path, preview.after.as_bytes()).map_err(|error| failed("write", &path, error))?;
        Ok(written)
    })();
    if written.is_err() {
        // Nothing was changed, so there is nothing to undo. The first error is the one to tell.
        if let Some(backup) = &backup {
            let _ = fs::remove_file(backup);
        }
        if let Backups::In(folder) = backups {
            let _ = fs::remove_file(record_of(folder, &id));
        }
    }
    written
}

/// Copies a file as it is.
fn keep(path: &Path, bytes: &[u8], backups: Backups<'_>, id: &str) -> Result<PathBuf, ClientError> {
    let file = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let copy = match backups {
        Backups::Beside => path.with_file_name(format!("{file}.flotilla-{id}.bak")),
        Backups::In(folder) => {
            private_folder(folder)?;
            folder.join(format!("{id}-{file}"))
        }
    };
    create(&copy, bytes).map_err(|error| failed("copy to", &copy, error))?;
    Ok(copy)
}

fn private_folder(folder: &Path) -> Result<(), ClientError> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has a mode"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .recursive(true)
        .create(folder)
        .map_err(|error| failed("make", folder, error))
}

fn record_of(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.record.json"))
}

fn record(folder: &Path, written: &ClientWritten) -> Result<(), ClientError> {
    private_folder(folder)?;
    let path = record_of(folder, &written.id);
    let text = serde_json::to_vec(written).map_err(|error| failed("write", &path, error))?;
    create(&path, &text).map_err(|error| failed("write", &path, error))
}

impl Backups<'_> {
    /// Changes that can be undone, the latest first.
    #[must_use]
    pub fn records(self) -> Vec<ClientWritten> {
        let Self::In(folder) = self else {
            return Vec::new();
        };
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let mut found: Vec<ClientWritten> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with(".record.json"))
            .filter(|path| fs::metadata(path).is_ok_and(|meta| meta.len() <= LARGEST_RECORD))
            .filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok())
            .collect();
        found.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        found
    }

    /// Forgets all but the latest changes, with the copies kept for them.
    pub fn keep_latest(self, most: usize) {
        let Self::In(folder) = self else {
            return;
        };
        for written in self.records().iter().skip(most) {
            forget(written, folder);
        }
    }
}

/// Restores the file byte by byte, or takes it away if the change made it. Only when it still is what was written.
///
/// # Errors
/// When somebody changed the file or the copy since then, which keeps both, or a file cannot be read or written.
pub fn undo(written: &ClientWritten, backups: Backups<'_>) -> Result<ClientUndone, ClientError> {
    let path = Path::new(&written.path);
    let now = bytes(path)?.as_deref().map(hash_bytes);
    let changed = || ClientError::Changed {
        path: written.path.clone(),
        backup: written.backup.clone(),
    };
    // Undone before, or never done: the copy has nothing to add.
    if now != written.before {
        if now.as_ref() != Some(&written.after) {
            return Err(changed());
        }
        match &written.backup {
            Some(copy) => {
                let copy = Path::new(copy);
                let kept = bytes(copy)?.ok_or_else(|| failed("read", copy, "it is gone"))?;
                if Some(hash_bytes(&kept)) != written.before {
                    return Err(failed("restore from", copy, "it is not what was copied"));
                }
                replace(path, &kept).map_err(|error| failed("restore", path, error))?;
            }
            None => {
                fs::remove_file(path).map_err(|error| failed("remove", path, error))?;
                for folder in &written.folders {
                    // One that somebody has put something into stays.
                    let _ = fs::remove_dir(folder);
                }
            }
        }
    }
    match (backups, &written.backup) {
        (Backups::In(folder), _) => forget(written, folder),
        (Backups::Beside, Some(copy)) => drop(fs::remove_file(copy)),
        (Backups::Beside, None) => {}
    }
    Ok(ClientUndone {
        path: written.path.clone(),
        exists: written.before.is_some(),
    })
}

/// Takes the copy and the record of a change away. A file that is gone already, or cannot be removed, costs its bytes only.
fn forget(written: &ClientWritten, folder: &Path) {
    if let Some(copy) = &written.backup {
        let _ = fs::remove_file(copy);
    }
    let _ = fs::remove_file(record_of(folder, &written.id));
}

/// Makes the folders of a file. Gives those that were not there, the innermost first.
fn make_folders(path: &Path) -> Result<Vec<String>, ClientError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    if let Some(folder) = missing.first() {
        fs::create_dir_all(folder).map_err(|error| failed("make", folder, error))?;
    }
    Ok(missing
        .iter()
        .map(|folder| folder.display().to_string())
        .collect())
}

/// Makes a new file that only its owner may read.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Puts bytes in the place of a file, keeping its permissions: a reader sees the old ones or the new ones, also after a power cut.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let beside = PathBuf::from(beside);
    let written = create(&beside, bytes)
        .and_then(|()| match fs::metadata(path) {
            Ok(there) => fs::set_permissions(&beside, there.permissions()),
            Err(_) => Ok(()),
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written?;
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}
