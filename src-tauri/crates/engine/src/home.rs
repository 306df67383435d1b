//! The home directory: one engine owns one home.

use crate::api::{Boot, StartError};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A home that this process owns as long as this value lives. The lock is the operating system's: it ends with the
/// process, however that ends.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    pub(crate) fn take(path: &Path) -> Result<Self, StartError> {
        let unusable = |error: io::Error| StartError::Home {
            home: path.to_owned(),
            error: error.to_string(),
        };
        create_private_dir(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = private()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("engine.lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let boot = fs::read(path.join("engine.json"))
                    .ok()
                    .and_then(|text| serde_json::from_slice(&text).ok());
                Err(StartError::Owned {
                    home: path,
                    boot: boot.map(Box::new),
                })
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// In production a home that others may enter is refused: it holds the token.
    pub(crate) fn must_be_private(&self) -> Result<(), StartError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let refused = |error: String| StartError::Home {
                home: self.path.clone(),
                error,
            };
            let mode = fs::metadata(&self.path)
                .map_err(|e| refused(e.to_string()))?
                .permissions()
                .mode()
                & 0o777;
            if mode & 0o077 != 0 {
                return Err(refused(format!(
                    "its mode is {mode:o}, production accepts 700 at most"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `engine.json`, readable by its owner only, whole or not at all.
    pub(crate) fn announce(&self, boot: &Boot) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(boot)?;
        write_private(&self.path.join("engine.json"), &text)
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.path.join("engine.json").exists()
    }

    /// Takes `engine.json` away: nobody listens any more.
    pub(crate) fn withdraw(&self) {
        let _ = fs::remove_file(self.path.join("engine.json"));
    }
}

fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has a mode"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Replaces a file by a private one in one step.
pub(crate) fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = private().create_new(true).write(true).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Replaces an operator's file in one step, keeping its permissions. A symbolic link is followed: dotfiles are often
/// kept that way.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let temporary = target.with_extension("toml.new");
    let mut file = private()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    if let Ok(there) = fs::metadata(&target) {
        file.set_permissions(there.permissions())?;
    }
    file.sync_all()?;
    fs::rename(&temporary, &target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_owner_and_says_who() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::take(&dir.path().join("deep/home")).unwrap();
        let boot = Boot {
            boot: "b".into(),
            pid: 7,
            url: "http://127.0.0.1:1".into(),
            gateway: None,
            dashboard: None,
            stream: None,
            token: "t".into(),
            version: "0".into(),
        };
        home.announce(&boot).unwrap();
        match Home::take(home.path()) {
            Err(StartError::Owned {
                boot: Some(owner), ..
            }) => assert_eq!(owner.pid, 7),
            other => panic!("{other:?}"),
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |name: &str| {
                fs::metadata(home.path().join(name))
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o777
            };
            assert_eq!((mode("engine.json"), mode("")), (0o600, 0o700));
            home.must_be_private().unwrap();
            fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
            assert!(
                home.must_be_private()
                    .unwrap_err()
                    .to_string()
                    .contains("755")
            );
        }
        let path = home.path().to_owned();
        drop(home);
        Home::take(&path).unwrap();
    }
}
