//! Where secrets are kept: the desktop's keyring, or a private file in the home.

mod file;
mod first_use;
mod keyring;
mod private;
mod well_known;

pub use file::FileStore;
pub use keyring::KeyringStore;
pub use well_known::{is_default_secret, is_well_known, judge_key};

use first_use::FirstUse;

use std::{collections::BTreeMap, fmt, path::Path};
use zeroize::Zeroize;

/// A value that is never printed, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret of this value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why a secret store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not a name.
    #[error(
        "{0:?} is not a secret's name; accepted are 1 to 128 characters of A-Z a-z 0-9 _ . - /"
    )]
    Name(String),
    /// The keyring refused.
    #[error("use the desktop keyring: {0}")]
    Keyring(String),
    /// The keyring did not answer; most often it is locked and waits for its password in a dialog.
    #[error("use the desktop keyring: it did not answer within {0} s; it may be locked")]
    Silent(u64),
    /// The file cannot be read or written.
    #[error("{what} {path}: {error}")]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// Which file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("read {path}: {error}")]
    Content {
        /// Which file.
        path: String,
        /// Why.
        error: String,
    },
    /// The file is encrypted, and no key was given.
    #[error("read {path}: it is encrypted, and FLOTILLA_SECRETS_KEY is not set")]
    NoKey {
        /// Which file.
        path: String,
    },
    /// The file is encrypted with another key.
    #[error(
        "read {path}: FLOTILLA_SECRETS_KEY is not the key it was encrypted with, or the file was changed"
    )]
    WrongKey {
        /// Which file.
        path: String,
    },
}

/// A place for secrets. Its calls may block for seconds (a keyring may ask its user): call them off the async threads.
pub trait SecretStore: Send + Sync {
    /// The value of a secret, if stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, name: &str) -> Result<Option<Secret>, SecretError>;

    /// Stores a secret in the place of the former one.
    ///
    /// # Errors
    /// When the name is none, or the store cannot be written.
    fn set(&self, name: &str, value: &Secret) -> Result<(), SecretError>;

    /// Forgets a secret; one that is not there is no error.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn remove(&self, name: &str) -> Result<(), SecretError>;

    /// Names of the stored secrets, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn names(&self) -> Result<Vec<String>, SecretError>;

    /// How secrets are kept, in a sentence that is true on this machine.
    fn kept(&self) -> String;
}

/// Chooses the store for a home: the desktop's keyring where one answers and takes secrets, otherwise `secrets.json` in the home,
/// encrypted when `FLOTILLA_SECRETS_KEY` is set. `FLOTILLA_SECRETS=file` chooses the file at once. A home stays with the store that
/// holds its secrets. May block for two seconds.
#[must_use]
pub fn open(home: &Path, env: &BTreeMap<String, String>) -> Box<dyn SecretStore> {
    let key = env
        .get("FLOTILLA_SECRETS_KEY")
        .filter(|key| !key.is_empty())
        .map(|key| Secret::new(key.clone()));
    let by_choice = env
        .get("FLOTILLA_SECRETS")
        .is_some_and(|choice| choice == "file");
    // A key from outside is the operator's word on where secrets belong.
    let why = if by_choice {
        Some("FLOTILLA_SECRETS=file")
    } else if key.is_some() {
        Some("FLOTILLA_SECRETS_KEY is set")
    } else if home.join("secrets.json").exists() {
        Some("this home began with the file")
    } else {
        None
    };
    if let Some(why) = why {
        return Box::new(FileStore::new(home, key, why));
    }
    match KeyringStore::open(home) {
        Ok(keyring) if keyring.names().is_ok_and(|names| !names.is_empty()) => Box::new(keyring),
        Ok(keyring) => Box::new(FirstUse::new(
            keyring,
            FileStore::new(home, None, "the desktop keyring takes no secrets"),
        )),
        Err(error) => {
            tracing::info!(%error, "no desktop keyring; secrets are kept in a file");
            Box::new(FileStore::new(home, None, "no desktop keyring answers"))
        }
    }
}

/// Whether this can be the name of a secret.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'))
}

fn check_name(name: &str) -> Result<(), SecretError> {
    if is_name(name) {
        Ok(())
    } else {
        Err(SecretError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
