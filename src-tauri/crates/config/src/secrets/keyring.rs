//! The desktop's keyring: Secret Service on Linux, Keychain on macOS, Credential Manager on Windows.

use super::{Secret, SecretError, SecretStore, check_name, private};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

/// How long the keyring may take to show that it is there.
const PROBE: Duration = Duration::from_secs(2);
/// How long an operation may take: the keyring may be asking its user for a password.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked of a keyring. May block, even for ever.
pub(super) trait Backend: Send + Sync + 'static {
    fn get(&self, account: &str) -> Result<Option<String>, String>;
    fn set(&self, account: &str, value: &str) -> Result<(), String>;
    fn remove(&self, account: &str) -> Result<(), String>;
}

/// Names of the stored secrets, in `keyring.json` in the home: not every keyring can list. No value is in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    /// Keeps two homes of one user apart in the keyring, and stays with a home that moves.
    home: String,
    names: BTreeSet<String>,
}

/// Secrets in the desktop's keyring. A thread of its own speaks with it, so that one that hangs costs only the caller's patience.
pub struct KeyringStore {
    path: PathBuf,
    jobs: mpsc::SyncSender<Job>,
    backend: Arc<dyn Backend>,
    /// Makes each read-change-write of the index one step.
    index: Mutex<()>,
    patience: Duration,
}

type Job = Box<dyn FnOnce() + Send>;

impl KeyringStore {
    /// The keyring of this desktop, if one answers within two seconds.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn open(home: &Path) -> Result<Self, SecretError> {
        Self::with_backend(home, Arc::new(Desktop), PROBE, PATIENCE)
    }

    pub(super) fn with_backend(
        home: &Path,
        backend: Arc<dyn Backend>,
        probe: Duration,
        patience: Duration,
    ) -> Result<Self, SecretError> {
        // Callers wait for their answers, so more than a few jobs pile up only when the keyring hangs.
        let (jobs, work) = mpsc::sync_channel::<Job>(16);
        std::thread::Builder::new()
            .name("keyring".into())
            .spawn(move || work.into_iter().for_each(|job| job()))
            .map_err(|e| SecretError::Keyring(e.to_string()))?;
        let mut store = Self {
            path: home.join("keyring.json"),
            jobs,
            backend,
            index: Mutex::new(()),
            patience: probe,
        };
        store.ask(|keyring| keyring.get("probe"))?;
        store.patience = patience;
        Ok(store)
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Backend) -> Result<T, String> + Send + 'static,
    ) -> Result<T, SecretError> {
        let silent = SecretError::Silent(self.patience.as_secs());
        let (answer, answered) = mpsc::sync_channel(1);
        let backend = self.backend.clone();
        let job = move || {
            // Whoever asked may have lost patience.
            let _ = answer.send(question(&*backend));
        };
        if self.jobs.try_send(Box::new(job)).is_err() {
            return Err(silent);
        }
        match answered.recv_timeout(self.patience) {
            Ok(answer) => answer.map_err(SecretError::Keyring),
            Err(_) => Err(silent),
        }
    }

    /// Forgets which names it holds: for a keyring that never took any.
    pub(super) fn forget_names(&self) -> Result<(), SecretError> {
        let index = Index {
            names: BTreeSet::new(),
            ..self.load()?
        };
        self.save(&index)
    }

    fn load(&self) -> Result<Index, SecretError> {
        let Some(text) = private::read(&self.path)? else {
            return Ok(Index {
                home: uuid::Uuid::new_v4().simple().to_string(),
                names: BTreeSet::new(),
            });
        };
        serde_json::from_str(&text).map_err(|e| SecretError::Content {
            path: self.path.display().to_string(),
            error: e.to_string(),
        })
    }

    fn save(&self, index: &Index) -> Result<(), SecretError> {
        let text = serde_json::to_string_pretty(index).map_err(|e| SecretError::Content {
            path: self.path.display().to_string(),
            error: e.to_string(),
        })?;
        private::write(&self.path, &text)
    }
}

impl Index {
    fn account(&self, name: &str) -> String {
        format!("{}/{name}", self.home)
    }
}

impl SecretStore for KeyringStore {
    fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let index = self.load()?;
        if !index.names.contains(name) {
            return Ok(None);
        }
        let account = index.account(name);
        Ok(self
            .ask(move |keyring| keyring.get(&account))?
            .map(Secret::new))
    }

    fn set(&self, name: &str, value: &Secret) -> Result<(), SecretError> {
        check_name(name)?;
        let _one_at_a_time = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.load()?;
        // First the name: a value without a name in the index could never be found or removed again.
        if index.names.insert(name.to_owned()) {
            self.save(&index)?;
        }
        let (account, value) = (index.account(name), value.clone());
        self.ask(move |keyring| keyring.set(&account, value.expose()))
    }

    fn remove(&self, name: &str) -> Result<(), SecretError> {
        let _one_at_a_time = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.load()?;
        if !index.names.remove(name) {
            return Ok(());
        }
        let account = index.account(name);
        self.ask(move |keyring| keyring.remove(&account))?;
        self.save(&index)
    }

    fn names(&self) -> Result<Vec<String>, SecretError> {
        Ok(self.load()?.names.into_iter().collect())
    }

    fn kept(&self) -> String {
        let keyring = if cfg!(target_os = "macos") {
            "the Keychain of this Mac"
        } else if cfg!(windows) {
            "the Windows Credential Manager"
        } else {
            "the desktop keyring"
        };
        format!("Secrets are kept in {keyring}")
    }
}

/// The keyring of the platform.
struct Desktop;

const SERVICE: &str = "flotilla";

impl Desktop {
    fn entry(account: &str) -> Result<keyring::v1::Entry, String> {
        if let Err(error) = keyring::v1::Entry::store_status() {
            return Err(error.to_string());
        }
        keyring::v1::Entry::new(SERVICE, account).map_err(|e| e.to_string())
    }
}

impl Backend for Desktop {
    fn get(&self, account: &str) -> Result<Option<String>, String> {
        match Self::entry(account)?.get_password() {
            Ok(value) => Ok(Some(value)),
            Err(keyring::v1::Error::NoEntry) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn set(&self, account: &str, value: &str) -> Result<(), String> {
        Self::entry(account)?
            .set_password(value)
            .map_err(|e| e.to_string())
    }

    fn remove(&self, account: &str) -> Result<(), String> {
        match Self::entry(account)?.delete_credential() {
            Ok(()) | Err(keyring::v1::Error::NoEntry) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
