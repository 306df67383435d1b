use std::path::PathBuf;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened, made or brought up to date.
    #[error("open {}: {error}", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A statement failed.
    #[error("{what}: {error}")]
    Sql {
        /// What was to be done ("record the action").
        what: &'static str,
        /// Why not.
        error: sqlx::Error,
    },
    /// A stored value is not what it should be.
    #[error("read {what} from the store: {error}")]
    Value {
        /// Which.
        what: &'static str,
        /// Why.
        error: String,
    },
    /// The event log did not become durable in time.
    #[error("write {pending} events to disk within {} ms{}", .within.as_millis(), .trouble.as_ref().map(|t| format!(": {t}")).unwrap_or_default())]
    Flush {
        /// How many were left.
        pending: u64,
        /// How long was allowed.
        within: std::time::Duration,
        /// What the writer last complained of.
        trouble: Option<String>,
    },
    /// The writer of a file has ended.
    #[error("use {0}: it is closed")]
    Closed(&'static str),
}

impl Error {
    pub(crate) fn sql(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |error| Self::Sql { what, error }
    }

    pub(crate) fn value(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |error| Self::Value {
            what,
            error: error.to_string(),
        }
    }
}
