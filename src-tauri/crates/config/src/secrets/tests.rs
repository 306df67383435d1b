use super::*;
use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

fn values(store: &dyn SecretStore, names: &[&str]) -> Vec<Option<String>> {
    names
        .iter()
        .map(|name| {
            store
                .get(name)
                .unwrap()
                .map(|secret| secret.expose().to_owned())
        })
        .collect()
}

/// What every store must do.
fn keeps_secrets(store: &dyn SecretStore) {
    assert_eq!(store.names().unwrap(), [""; 0]);
    store.set("b/TOKEN", &Secret::new("one")).unwrap();
    store.set("a", &Secret::new("two ü")).unwrap();
    store.set("a", &Secret::new("three")).unwrap();
    assert_eq!(store.names().unwrap(), ["a", "b/TOKEN"]);
    assert_eq!(
        values(store, &["a", "b/TOKEN", "none"]),
        [Some("three".into()), Some("one".into()), None]
    );
    store.remove("a").unwrap();
    store.remove("a").unwrap();
    assert_eq!(values(store, &["a", "b/TOKEN"]), [None, Some("one".into())]);
    assert!(
        store
            .set("a b", &Secret::new("x"))
            .unwrap_err()
            .to_string()
            .contains("\"a b\" is not a secret's name")
    );
}

#[test]
fn a_plain_file() {
    let home = tempfile::tempdir().unwrap();
    let store = FileStore::new(home.path(), None, "no desktop keyring answers");
    keeps_secrets(&store);
    assert!(
        store.kept().contains("file permissions are the protection"),
        "{}",
        store.kept()
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let path = home.path().join("secrets.json");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            store
                .kept()
                .contains("other users of this machine may read it"),
            "{}",
            store.kept()
        );
    }
    let left: Vec<_> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secrets.json"], "nothing is left beside it");
}

#[test]
fn an_encrypted_file() {
    let home = tempfile::tempdir().unwrap();
    let with = |key: Option<&str>| {
        FileStore::new(
            home.path(),
            key.map(Secret::new),
            "FLOTILLA_SECRETS_KEY is set",
        )
    };
    let store = with(Some("correct horse"));
    keeps_secrets(&store);
    let text = std::fs::read_to_string(home.path().join("secrets.json")).unwrap();
    assert!(
        !text.contains("one") && !text.contains("TOKEN"),
        "neither values nor names: {text}"
    );
    assert_eq!(
        values(&with(Some("correct horse")), &["b/TOKEN"]),
        [Some("one".into())]
    );

    let wrong = with(Some("battery staple"));
    let error = wrong.get("b/TOKEN").unwrap_err().to_string();
    assert!(
        error.contains("FLOTILLA_SECRETS_KEY is not the key"),
        "{error}"
    );
    assert!(
        matches!(
            wrong.set("new", &Secret::new("x")),
            Err(SecretError::WrongKey { .. })
        ),
        "a wrong key overwrites nothing"
    );
    assert!(matches!(
        with(None).get("b/TOKEN"),
        Err(SecretError::NoKey { .. })
    ));
    assert!(matches!(
        with(None).set("new", &Secret::new("x")),
        Err(SecretError::NoKey { .. })
    ));
    assert_eq!(values(&store, &["b/TOKEN"]), [Some("one".into())]);
}

#[test]
fn a_plain_file_is_encrypted_at_the_first_change_with_a_key() {
    let home = tempfile::tempdir().unwrap();
    FileStore::new(home.path(), None, "")
        .set("a", &Secret::new("plain"))
        .unwrap();
    let store = FileStore::new(home.path(), Some(Secret::new("key")), "");
    assert_eq!(values(&store, &["a"]), [Some("plain".into())]);
    store.set("b", &Secret::new("x")).unwrap();
    assert!(
        !std::fs::read_to_string(home.path().join("secrets.json"))
            .unwrap()
            .contains("plain")
    );
    assert_eq!(
        values(&store, &["a", "b"]),
        [Some("plain".into()), Some("x".into())]
    );
}

#[test]
fn a_broken_file_is_told_and_not_quoted() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("secrets.json"),
        "{\"version\": 1, \"secrets\": {\"a\": hunter2}}",
    )
    .unwrap();
    let store = FileStore::new(home.path(), None, "");
    let error = store.get("a").unwrap_err().to_string();
    assert!(
        error.contains("line 1 column 33") && !error.contains("hunter2"),
        "{error}"
    );
    assert!(
        store.set("b", &Secret::new("x")).is_err(),
        "what cannot be read is not overwritten"
    );
}

#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, String>>);

impl keyring::Backend for Memory {
    fn get(&self, account: &str) -> Result<Option<String>, String> {
        Ok(self.0.lock().unwrap().get(account).cloned())
    }
    fn set(&self, account: &str, value: &str) -> Result<(), String> {
        self.0.lock().unwrap().insert(account.into(), value.into());
        Ok(())
    }
    fn remove(&self, account: &str) -> Result<(), String> {
        self.0.lock().unwrap().remove(account);
        Ok(())
    }
}

/// Answers the first question, and hangs on the next until it is let go.
struct Hangs(Mutex<mpsc::Receiver<()>>);

impl keyring::Backend for Hangs {
    fn get(&self, _: &str) -> Result<Option<String>, String> {
        self.0.lock().unwrap().recv().map_err(|e| e.to_string())?;
        Ok(None)
    }
    fn set(&self, _: &str, _: &str) -> Result<(), String> {
        self.get("").map(drop)
    }
    fn remove(&self, _: &str) -> Result<(), String> {
        self.get("").map(drop)
    }
}

#[test]
fn a_keyring_with_two_homes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keyring = Arc::new(Memory::default());
    let open = |home: &tempfile::TempDir| {
        KeyringStore::with_backend(
            home.path(),
            keyring.clone(),
            Duration::from_secs(60),
            Duration::from_secs(60),
        )
        .unwrap()
    };
    keeps_secrets(&open(&one));
    assert_eq!(
        values(&open(&one), &["b/TOKEN"]),
        [Some("one".into())],
        "opened again"
    );
    assert_eq!(
        values(&open(&two), &["b/TOKEN"]),
        [None],
        "homes do not share"
    );
    assert!(
        !std::fs::read_to_string(one.path().join("keyring.json"))
            .unwrap()
            .contains("one")
    );
    assert!(open(&one).kept().starts_with("Secrets are kept in"));
}

/// Reads, and takes nothing.
struct Refuses;

impl keyring::Backend for Refuses {
    fn get(&self, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }
    fn set(&self, _: &str, _: &str) -> Result<(), String> {
        Err("no collection".into())
    }
    fn remove(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_keyring_that_takes_nothing_leaves_its_place_to_the_file() {
    let first_use = |home: &tempfile::TempDir, backend: Arc<dyn keyring::Backend>| {
        let keyring = KeyringStore::with_backend(
            home.path(),
            backend,
            Duration::from_secs(60),
            Duration::from_secs(60),
        )
        .unwrap();
        FirstUse::new(
            keyring,
            FileStore::new(home.path(), None, "the desktop keyring takes no secrets"),
        )
    };
    let home = tempfile::tempdir().unwrap();
    let store = first_use(&home, Arc::new(Refuses));
    assert!(
        store.kept().contains("if it takes none"),
        "{}",
        store.kept()
    );
    keeps_secrets(&store);
    assert!(
        store.kept().contains("not encrypted") && store.kept().contains("takes no secrets"),
        "{}",
        store.kept()
    );
    assert!(
        open(home.path(), &BTreeMap::new())
            .kept()
            .contains("began with the file"),
        "also after a restart"
    );

    let home = tempfile::tempdir().unwrap();
    let store = first_use(&home, Arc::new(Memory::default()));
    keeps_secrets(&store);
    assert!(
        !store.kept().contains("if it takes none") && !home.path().join("secrets.json").exists()
    );
}

#[test]
fn a_keyring_that_hangs_costs_patience_only() {
    let home = tempfile::tempdir().unwrap();
    let (go, hang) = mpsc::channel();
    go.send(()).unwrap();
    let store = KeyringStore::with_backend(
        home.path(),
        Arc::new(Hangs(Mutex::new(hang))),
        Duration::from_secs(60),
        Duration::from_millis(1),
    )
    .unwrap();
    assert!(matches!(
        store.set("a", &Secret::new("x")),
        Err(SecretError::Silent(_))
    ));
    assert_eq!(
        store.names().unwrap(),
        ["a"],
        "the name is known, so that it can be removed"
    );
    let (_go, hang) = mpsc::channel();
    let silent = KeyringStore::with_backend(
        home.path(),
        Arc::new(Hangs(Mutex::new(hang))),
        Duration::from_millis(1),
        Duration::from_millis(1),
    );
    assert!(matches!(silent, Err(SecretError::Silent(_))));
}

#[test]
fn the_choice_of_a_store() {
    let home = tempfile::tempdir().unwrap();
    let env = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    assert!(
        open(home.path(), &env(&[("FLOTILLA_SECRETS", "file")]))
            .kept()
            .contains("not encrypted")
    );
    assert!(
        open(home.path(), &env(&[("FLOTILLA_SECRETS_KEY", "k")]))
            .kept()
            .contains("encrypted with FLOTILLA_SECRETS_KEY")
    );
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(
        format!("{:?}", Some(Secret::new("hunter2"))),
        "Some(Secret(…))"
    );
}

/// On a machine without a keyring this is the file, on a desktop its keyring; nothing is written either way.
#[test]
fn opening_ends_whatever_the_machine_has() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path(), &BTreeMap::new());
    assert_eq!(store.names().unwrap(), [""; 0]);
    assert_eq!(store.get("none").unwrap(), None);
    assert!(store.kept().starts_with("Secrets are "), "{}", store.kept());
}

/// Writes to the keyring of whoever runs it, and takes it out again.
#[test]
#[ignore = "needs a desktop's keyring, unlocked: cargo test -p flotilla-config -- --ignored keyring"]
fn the_keyring_of_this_desktop() {
    let home = tempfile::tempdir().unwrap();
    let store = KeyringStore::open(home.path()).unwrap();
    keeps_secrets(&store);
    store.remove("b/TOKEN").unwrap();
}
