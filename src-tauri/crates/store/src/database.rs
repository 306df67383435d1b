//! Opening one SQLite file: private to its owner, checked, up to date; or set aside.

use crate::{Clock, Error};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A file that is ready, and a notice if an older one had to be set aside.
pub(crate) struct Ready {
    pub(crate) options: SqliteConnectOptions,
    pub(crate) notice: Option<String>,
}

/// Checks `home/name`, sets it aside if it cannot be used, and runs its migrations.
pub(crate) async fn prepare(
    home: &Path,
    name: &str,
    migrations: &Migrator,
    clock: &Clock,
) -> Result<Ready, Error> {
    let path = home.join(name);
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged command survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let open = |error| Error::Open {
        path: path.clone(),
        error,
    };

    make_private(&path).map_err(|e| open(e.into()))?;
    let notice = match try_prepare(&options, migrations).await {
        Ok(()) => None,
        Err(Unusable::Error(error)) => return Err(open(error)),
        Err(Unusable::Content(kind, why)) => {
            let aside = set_aside(&path, kind, clock()).map_err(|e| open(e.into()))?;
            tracing::error!(path = %path.display(), aside = %aside.display(), %why, "database set aside");
            make_private(&path).map_err(|e| open(e.into()))?;
            match try_prepare(&options, migrations).await {
                Ok(()) => Some(format!(
                    "{name} {}: {why}. It was set aside as {}, and a fresh one was made",
                    kind.words(),
                    aside.display()
                )),
                Err(Unusable::Error(error)) => return Err(open(error)),
                Err(Unusable::Content(_, why)) => return Err(open(why.into())),
            }
        }
    };
    Ok(Ready { options, notice })
}

#[derive(Clone, Copy)]
enum Kind {
    Corrupt,
    Foreign,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Corrupt => "was corrupt",
            Self::Foreign => "was written by another version of Flotilla",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Foreign => "foreign",
        }
    }
}

enum Unusable {
    /// What the file contains is at fault: another file can take its place.
    Content(Kind, String),
    /// The file cannot be reached or written: another one could not either.
    Error(Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for Unusable {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_CORRUPT and SQLITE_NOTADB.
        match primary_code(&error) {
            Some(11 | 26) => Self::Content(Kind::Corrupt, error.to_string()),
            _ => Self::Error(Box::new(error)),
        }
    }
}

/// SQLite's result code; extended codes carry the primary one in their low byte.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

async fn try_prepare(
    options: &SqliteConnectOptions,
    migrations: &Migrator,
) -> Result<(), Unusable> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    let checked = check_and_migrate(&mut connection, migrations).await;
    // The file may be renamed next, so it must not be open any more.
    let closed = connection.close().await;
    checked?;
    Ok(closed?)
}

async fn check_and_migrate(
    connection: &mut SqliteConnection,
    migrations: &Migrator,
) -> Result<(), Unusable> {
    // The first finding is enough to know.
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await?;
    if found != "ok" {
        return Err(Unusable::Content(Kind::Corrupt, found));
    }
    match migrations.run(&mut *connection).await {
        Ok(()) => Ok(()),
        // SQLITE_ERROR: tables of the same name that are not ours.
        Err(MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _))
            if primary_code(&e) != Some(1) =>
        {
            Err(e.into())
        }
        Err(e) => Err(Unusable::Content(Kind::Foreign, e.to_string())),
    }
}

/// Makes an empty file that only its owner can read; SQLite gives its side files the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new();
    file.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(path).map(drop)
}

/// Renames the file and its side files to `NAME.SUFFIX-TIMESTAMP`; gives the new name of the file.
fn set_aside(path: &Path, kind: Kind, now: u64) -> io::Result<PathBuf> {
    let beside = |side: &str| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}-{now}{side}", kind.suffix()));
        name.into()
    };
    for side in ["-wal", "-shm", ""] {
        let mut from = path.as_os_str().to_owned();
        from.push(side);
        let renamed = std::fs::rename(&from, beside(side));
        // SQLite makes the side files only when it needs them.
        if renamed
            .as_ref()
            .is_err_and(|e| side.is_empty() || e.kind() != io::ErrorKind::NotFound)
        {
            renamed?;
        }
    }
    Ok(beside(""))
}
