//! What can go wrong between a request and its answer.

use serde_json::value::RawValue;
use std::time::Duration;

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The server closed its output: most often it exited.
    #[error("the server closed the connection")]
    Eof,
    /// Reading failed.
    #[error("reading from the server failed: {0}")]
    Read(String),
    /// Writing failed.
    #[error("writing to the server failed: {0}")]
    Write(String),
    /// [`Session::close`](crate::Session::close) was called.
    #[error("the session was closed")]
    Ours,
}

/// Why there is no result. The text completes "failed to …".
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No answer (nor progress) came within the time limit.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The connection is over; the server may or may not have done the work.
    #[error("{0}")]
    Closed(Closed),
    /// The server went away on `server/discover`, as some old servers do. Start it again and greet it with the hint
    /// [`Era::Legacy`](flotilla_contract::tool::Era::Legacy).
    #[error("the server went away when asked which versions it speaks ({0})")]
    DiedOnDiscover(Closed),
    /// The server answered with a JSON-RPC error.
    #[error("the server answered with error {code}: {message}")]
    Rpc {
        /// JSON-RPC code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data, as it came.
        data: Option<Box<RawValue>>,
        /// The whole error object as it came, to be passed on; `None` where the error is our own.
        raw: Option<Box<RawValue>>,
    },
    /// What came is not what the protocol allows, or what was to be sent is not.
    #[error("{0}")]
    Protocol(String),
    /// The server answered with an HTTP status that is no MCP answer.
    #[error("the server answered with HTTP status {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Http {
        /// HTTP status code.
        status: u16,
        /// The start of the body, or the reason.
        message: String,
    },
    /// No connection came about: nothing was sent.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// All connections that may be in use at once were: nothing was sent.
    #[error("{0}")]
    Busy(String),
    /// The connection broke after the request was sent: the server may have done the work. Not retried here.
    #[error("the connection broke before the answer came: {0}")]
    Interrupted(String),
    /// The HTTP session was lost, and the server did not accept the request on a new one either.
    #[error("the server lost the session and no new one could be used: {0}")]
    SessionLost(String),
    /// The server only speaks the old HTTP+SSE transport, which the protocol has dropped.
    #[error("the server only speaks the old HTTP+SSE transport, which the protocol has dropped")]
    OldTransport,
}

impl Error {
    /// Whether the request certainly never reached the server, so that sending it again cannot do its work twice.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Busy(_))
    }
}
