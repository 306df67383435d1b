//! A keyring that answers, of which nobody knows yet whether it also takes secrets.

use super::{FileStore, KeyringStore, Secret, SecretError, SecretStore};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Decides between keyring and file when the first secret is stored, not before: trying to write could open a password dialog at
/// every start. A keyring that refuses (a session without a login keyring) leaves its place to the file, and
/// [`SecretStore::kept`] says so; one that is silent may be waiting for its password: that is an error, and nothing is written
/// elsewhere.
pub(super) struct FirstUse {
    keyring: KeyringStore,
    file: FileStore,
    choice: Mutex<Choice>,
    /// Held while a secret is stored, which may take as long as a person types; `choice` is held for a moment only.
    setting: Mutex<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Choice {
    Open,
    Keyring,
    File,
}

impl FirstUse {
    pub(super) fn new(keyring: KeyringStore, file: FileStore) -> Self {
        Self {
            keyring,
            file,
            choice: Mutex::new(Choice::Open),
            setting: Mutex::new(()),
        }
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store to read from; before the choice both are empty.
    fn store(&self) -> &dyn SecretStore {
        match *self.choice() {
            Choice::Open | Choice::Keyring => &self.keyring,
            Choice::File => &self.file,
        }
    }
}

impl SecretStore for FirstUse {
    fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        self.store().get(name)
    }

    fn set(&self, name: &str, value: &Secret) -> Result<(), SecretError> {
        let _one_at_a_time = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let choice = *self.choice();
        if choice == Choice::File {
            return self.file.set(name, value);
        }
        match self.keyring.set(name, value) {
            Ok(()) => *self.choice() = Choice::Keyring,
            Err(SecretError::Keyring(why)) if choice == Choice::Open => {
                tracing::warn!(%why, "the desktop keyring takes no secrets; they are kept in a file");
                self.file.set(name, value)?;
                self.keyring.forget_names()?;
                *self.choice() = Choice::File;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), SecretError> {
        self.store().remove(name)
    }

    fn names(&self) -> Result<Vec<String>, SecretError> {
        self.store().names()
    }

    fn kept(&self) -> String {
        match *self.choice() {
            Choice::Open => {
                format!(
                    "{}; if it takes none, they go to a file that only this user can read",
                    self.keyring.kept()
                )
            }
            Choice::Keyring => self.keyring.kept(),
            Choice::File => self.file.kept(),
        }
    }
}
