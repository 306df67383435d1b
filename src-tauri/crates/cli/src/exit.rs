//! How the program ends.

use flotilla_contract::{ErrorCode, WireError};
use flotilla_remote::Error;
use serde_json::json;
use std::{fmt, process::ExitCode};

/// Why the end that was asked for was not reached, with the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// Empty when everything has been said already.
    message: String,
    error: Option<Box<WireError>>,
}

const NOT_REACHED: u8 = 1;
const USAGE: u8 = 2;
const NO_ENGINE: u8 = 3;
const NO_ENTRY: u8 = 4;
const INVALID_CONFIG: u8 = 5;

impl Failure {
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self {
            code: NOT_REACHED,
            message: message.into(),
            error: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            ..Self::other(message)
        }
    }

    pub(crate) fn invalid_config() -> Self {
        Self {
            code: INVALID_CONFIG,
            ..Self::other("")
        }
    }

    /// The detail of an error of the engine, if it is of this code.
    pub(crate) fn detail(&self, code: ErrorCode) -> Option<&serde_json::Value> {
        let error = self.error.as_ref().filter(|error| error.code == code)?;
        error.detail.as_ref()
    }

    /// The answer was printed, and it was not the one asked for.
    pub(crate) fn not_reached() -> Self {
        Self::other("")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NoEngine { .. } | Error::Unreachable { .. } | Error::NotConnected { .. } => {
                NO_ENGINE
            }
            Error::Unauthorized { .. } | Error::Contract { .. } => NO_ENTRY,
            Error::Command(wire) => match wire.code {
                ErrorCode::InvalidConfig => INVALID_CONFIG,
                ErrorCode::Unauthorized => NO_ENTRY,
                _ => NOT_REACHED,
            },
            Error::File { .. } | Error::Lost | Error::Shape { .. } => NOT_REACHED,
        };
        let mut message = error.to_string();
        if code == NO_ENGINE {
            message += "; start one with `flotilla serve`, or open the desktop application";
        }
        let error = if let Error::Command(wire) = error {
            Some(Box::new(wire))
        } else {
            None
        };
        Self {
            code,
            message,
            error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says why on standard error, as text or as JSON, and gives the exit code.
pub(crate) fn tell(end: Result<(), Failure>, json: bool) -> ExitCode {
    let Err(failure) = end else {
        return ExitCode::SUCCESS;
    };
    if json && !failure.message.is_empty() {
        let code = failure.error.as_ref().map(|e| e.code);
        let detail = failure.error.as_ref().and_then(|e| e.detail.clone());
        eprintln!(
            "{}",
            json!({ "error": { "code": code, "message": failure.message, "detail": detail }, "exit": failure.code })
        );
    } else if !failure.message.is_empty() {
        eprintln!("flotilla: {failure}");
        for finding in failure
            .error
            .iter()
            .filter_map(|e| e.detail.as_ref()?.as_array())
            .flatten()
        {
            if let (Some(line), Some(message)) =
                (finding["line"].as_u64(), finding["message"].as_str())
            {
                eprintln!("  line {line}, column {}: {message}", finding["column"]);
            }
        }
    }
    ExitCode::from(failure.code)
}

/// Whether every outcome is what was asked for.
pub(crate) fn all_reached(reached: bool) -> Result<(), Failure> {
    if reached {
        Ok(())
    } else {
        Err(Failure::not_reached())
    }
}
