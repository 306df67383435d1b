//! Small files that only their owner may read.

use super::SecretError;
use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// The text of a file; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, SecretError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SecretError::File {
            what: "read",
            path: path.display().to_string(),
            error,
        }),
    }
}

/// Puts a text in the place of the file: a reader sees the old one or the new one, also after a power cut.
pub(super) fn write(path: &Path, text: &str) -> Result<(), SecretError> {
    replace(path, text).map_err(|error| SecretError::File {
        what: "write",
        path: path.display().to_string(),
        error,
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let beside = std::path::PathBuf::from(beside);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
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

/// Whether others than the owner may read the file.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    #[cfg(unix)]
    return fs::metadata(path).is_ok_and(|meta| {
        std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 != 0
    });
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}
