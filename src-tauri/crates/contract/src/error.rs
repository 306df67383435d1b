//! Errors as they cross a boundary. Inside, each crate has its own rich enum.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong, in a word that a program can match. Each has its remedy in `docs/errors.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request itself is malformed: unknown command, missing or mistyped parameter.
    BadRequest,
    /// No server, instance, agent, revision or tool of that name.
    NotFound,
    /// A thing of that name exists already.
    Exists,
    /// The thing cannot do this (restart of a server that we did not start, scale of a URL, …).
    Unsupported,
    /// The server or agent is disabled.
    Disabled,
    /// A newer command (most often Stop) won while this one was still under way.
    Superseded,
    /// The end that was asked for was not reached; the detail holds what was observed instead.
    NotReached,
    /// No end was seen in time; the engine goes on watching.
    Timeout,
    /// `fleet.toml` (or what would be written to it) is not valid; the detail holds each finding.
    InvalidConfig,
    /// The file changed since it was read; the detail holds the difference.
    Conflict,
    /// It would run commands that nobody has confirmed here; the detail holds them, and the hash that confirms them.
    Unconfirmed,
    /// The server could not be spoken to as an MCP server.
    Unreachable,
    /// The MCP server answered with an error; the detail holds it as it came.
    Upstream,
    /// A secret is missing, or its store cannot be reached.
    Secret,
    /// The token is missing or wrong.
    Unauthorized,
    /// The store cannot be read or written.
    Store,
    /// Anything else; the message says what.
    Internal,
}

/// An error as the wire carries it. The UI matches `code`, never the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireError {
    /// What a program matches.
    pub code: ErrorCode,
    /// What a person reads: completes "failed to …", no final period.
    pub message: String,
    /// More for the curious, its shape depending on the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

impl WireError {
    /// An error without detail.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
        }
    }

    /// The same error, with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// For a name that is not declared.
    pub fn no_server(id: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorCode::NotFound,
            format!("find the server {id}: it is not declared"),
        )
    }
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WireError {}
