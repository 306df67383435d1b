//! `secrets.json` in the home: private to its owner, encrypted when a key comes from outside.

use super::{Secret, SecretError, SecretStore, check_name, private};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce, aead::Aead};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// The names bound to their values: what is protected.
type Secrets = BTreeMap<String, String>;
type Key = Zeroizing<[u8; 32]>;

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secrets: Option<Secrets>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

/// Secrets encrypted with XChaCha20-Poly1305 under a key that Argon2id made from the passphrase; all base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    salt: String,
    nonce: String,
    data: String,
}

/// Secrets in `secrets.json`.
pub struct FileStore {
    path: PathBuf,
    passphrase: Option<Secret>,
    why: String,
    /// The key of the last salt. The lock also makes each read-change-write one step.
    key: Mutex<Option<(Vec<u8>, Key)>>,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.path)
            .field("encrypted", &self.passphrase.is_some())
            .finish_non_exhaustive()
    }
}

impl FileStore {
    /// Secrets of this home, encrypted if there is a passphrase. `why` completes "… because".
    pub fn new(home: &Path, passphrase: Option<Secret>, why: impl Into<String>) -> Self {
        Self {
            path: home.join("secrets.json"),
            passphrase,
            why: why.into(),
            key: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Vec<u8>, Key)>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn content(&self, error: impl fmt::Display) -> SecretError {
        SecretError::Content {
            path: self.path.display().to_string(),
            error: error.to_string(),
        }
    }

    fn load(&self, key: &mut Option<(Vec<u8>, Key)>) -> Result<Secrets, SecretError> {
        let Some(text) = private::read(&self.path)?.map(Zeroizing::new) else {
            return Ok(Secrets::new());
        };
        // The parser's own message may quote what it stumbled over: only the place is told.
        let stored: Stored = serde_json::from_str(&text).map_err(|e| {
            self.content(format!(
                "not the form that was written, at line {} column {}",
                e.line(),
                e.column()
            ))
        })?;
        if stored.version != 1 {
            return Err(self.content(format!(
                "version {} of the file; known is 1",
                stored.version
            )));
        }
        match (stored.secrets, stored.sealed) {
            (Some(plain), None) => Ok(plain),
            (None, Some(sealed)) => self.unseal(&sealed, key),
            _ => Err(self.content("neither plain nor encrypted secrets in it")),
        }
    }

    fn store(&self, secrets: Secrets, key: &mut Option<(Vec<u8>, Key)>) -> Result<(), SecretError> {
        let stored = match &self.passphrase {
            Some(_) => Stored {
                version: 1,
                secrets: None,
                sealed: Some(self.seal(&secrets, key)?),
            },
            None => Stored {
                version: 1,
                secrets: Some(secrets),
                sealed: None,
            },
        };
        let text =
            Zeroizing::new(serde_json::to_string_pretty(&stored).map_err(|e| self.content(e))?);
        private::write(&self.path, &text)
    }

    fn seal(
        &self,
        secrets: &Secrets,
        key: &mut Option<(Vec<u8>, Key)>,
    ) -> Result<Sealed, SecretError> {
        let salt = match key {
            Some((salt, _)) => salt.clone(),
            None => self.random::<16>()?.to_vec(),
        };
        let nonce = self.random::<24>()?;
        let plain = Zeroizing::new(serde_json::to_vec(secrets).map_err(|e| self.content(e))?);
        let data = self
            .cipher(&salt, key)?
            .encrypt(&XNonce::from(nonce), plain.as_slice())
            .map_err(|_| self.content("the secrets cannot be encrypted"))?;
        Ok(Sealed {
            salt: BASE64.encode(salt),
            nonce: BASE64.encode(nonce),
            data: BASE64.encode(data),
        })
    }

    fn unseal(
        &self,
        sealed: &Sealed,
        key: &mut Option<(Vec<u8>, Key)>,
    ) -> Result<Secrets, SecretError> {
        let bytes = |text: &str| BASE64.decode(text).map_err(|e| self.content(e));
        let nonce: [u8; 24] = bytes(&sealed.nonce)?
            .try_into()
            .map_err(|_| self.content("its nonce is not 24 bytes long"))?;
        let (salt, data) = (bytes(&sealed.salt)?, bytes(&sealed.data)?);
        let plain = self
            .cipher(&salt, key)?
            .decrypt(&XNonce::from(nonce), data.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| {
                // Kept, it would be taken for the key of the next write.
                *key = None;
                SecretError::WrongKey {
                    path: self.path.display().to_string(),
                }
            })?;
        serde_json::from_slice(&plain)
            .map_err(|_| self.content("what was encrypted is not secrets"))
    }

    /// The cipher for a salt. Deriving takes tens of milliseconds on purpose, so the key of the last salt is kept.
    fn cipher(
        &self,
        salt: &[u8],
        key: &mut Option<(Vec<u8>, Key)>,
    ) -> Result<XChaCha20Poly1305, SecretError> {
        let Some(passphrase) = &self.passphrase else {
            return Err(SecretError::NoKey {
                path: self.path.display().to_string(),
            });
        };
        let derived = match key.take() {
            Some((known, derived)) if known == salt => derived,
            _ => {
                let mut derived = Key::default();
                // OWASP's first choice: 19 MiB, two passes, one lane.
                let params = Params::new(19 * 1024, 2, 1, Some(32)).map_err(|e| self.content(e))?;
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(
                        passphrase.expose().as_bytes(),
                        salt,
                        derived.as_mut_slice(),
                    )
                    .map_err(|e| self.content(e))?;
                derived
            }
        };
        let cipher = XChaCha20Poly1305::new((&*derived).into());
        *key = Some((salt.to_vec(), derived));
        Ok(cipher)
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], SecretError> {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).map_err(|e| self.content(format!("no randomness: {e}")))?;
        Ok(bytes)
    }
}

impl SecretStore for FileStore {
    fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let mut key = self.lock();
        Ok(self.load(&mut key)?.remove(name).map(Secret::new))
    }

    fn set(&self, name: &str, value: &Secret) -> Result<(), SecretError> {
        check_name(name)?;
        let mut key = self.lock();
        let mut secrets = self.load(&mut key)?;
        secrets.insert(name.to_owned(), value.expose().to_owned());
        self.store(secrets, &mut key)
    }

    fn remove(&self, name: &str) -> Result<(), SecretError> {
        let mut key = self.lock();
        let mut secrets = self.load(&mut key)?;
        if secrets.remove(name).is_none() {
            return Ok(());
        }
        self.store(secrets, &mut key)
    }

    fn names(&self) -> Result<Vec<String>, SecretError> {
        let mut key = self.lock();
        Ok(self.load(&mut key)?.into_keys().collect())
    }

    fn kept(&self) -> String {
        let path = self.path.display();
        let why = &self.why;
        if self.passphrase.is_some() {
            return format!("Secrets are in {path}, encrypted with FLOTILLA_SECRETS_KEY");
        }
        if private::is_open_to_others(&self.path) {
            return format!(
                "Secrets are in {path}, not encrypted, and other users of this machine may read it ({why}); make it private with chmod 600"
            );
        }
        format!("Secrets are in {path}, not encrypted: file permissions are the protection ({why})")
    }
}
