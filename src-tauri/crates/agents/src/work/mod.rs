//! The work of workflow steps on this machine: commands and files.
//!
//! Each takes what the step was given as JSON and gives JSON. What it does not know in its input it refuses, naming field and value. Output
//! that is too large is cut, and says so. Secrets come as `${secret:NAME}`, are looked up at the last moment, and do not leave in an output as
//! they are; what a command makes of one (its Base64, say) is not recognised.

mod backup;
mod command;
mod data;
mod file;
mod http;
mod image;
mod monitor;
mod said;
mod scan;
mod scrape;
mod secrets;
mod shell;
mod site;
mod tree;
mod web;
mod workspace;

pub use backup::backup_home;
pub use command::command;
pub use data::{Evaluate, data};
pub use file::file;
pub use http::http;
pub use monitor::monitor;
pub use said::Said;
pub use scrape::scrape;
pub use secrets::{Lookup, secrets_in};
pub use shell::shell;
pub use web::Web;

use flotilla_contract::workflow::Failure;
use flotilla_os::Mark;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{ffi::OsString, path::PathBuf};

/// Why work was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct WorkError {
    /// Of which class.
    pub failure: Failure,
    /// What happened, as a sentence without a period.
    pub error: String,
}

impl WorkError {
    pub(crate) fn refused(error: impl Into<String>) -> Self {
        Self {
            failure: Failure::Refused,
            error: error.into(),
        }
    }

    pub(crate) fn unavailable(error: impl Into<String>) -> Self {
        Self {
            failure: Failure::Unavailable,
            error: error.into(),
        }
    }

    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self {
            failure: Failure::Failed,
            error: error.into(),
        }
    }
}

/// Where work is done.
#[derive(Clone, Debug)]
pub struct Place {
    /// The workspace of the run; it exists.
    pub root: PathBuf,
    /// Marks every process that the work starts.
    pub mark: Mark,
    /// The environment of processes.
    pub environment: Vec<(OsString, OsString)>,
    /// What commands may write to besides the workspace and folders for temporary files, where the kernel can hold them to it.
    pub writable: Vec<PathBuf>,
    /// Takes what a command writes.
    pub said: Said,
}

/// The input of a step as its type.
fn read<T: DeserializeOwned>(input: &Value) -> Result<T, WorkError> {
    serde_json::from_value(input.clone())
        .map_err(|error| WorkError::refused(format!("with: {error}")))
}

/// A text of an input: what an expression gives keeps its type, and a number is as good as its digits here.
fn text(field: &str, value: &Value) -> Result<String, WorkError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(WorkError::refused(format!(
            "{field} is {value}; accepted is a text, a number or a boolean"
        ))),
    }
}

/// The cause that says most: "connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
