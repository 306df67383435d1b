//! One client session with one MCP server, of either era, over its pipes or over streamable HTTP.
//!
//! **Owns**: the JSON-RPC framing, the numbering of requests, and for each connection the table of requests that wait
//! for an answer. A [`Session`] is a cheap clone; probes, playground, workflow steps and the gateway share the one session
//! of an instance, because a stdio child has one pair of pipes.
//!
//! **Never re-models what it relays.** Parameters, results, tools and notifications are
//! [`RawValue`](serde_json::value::RawValue): unknown fields, key order and the text of numbers survive.
//!
//! **Loops.** A pipe has two tasks. The *reader* cuts bounded lines and hands each answer to whoever waits for it; what is
//! not JSON-RPC goes to [`Options::garbage`]. The *writer* alone touches the pipe: requests reach it through a queue bounded
//! in messages and in bytes, and a request that was given up before its turn is never written. An HTTP request is one POST
//! in its caller's own future; one more task listens for what a legacy server says by itself.
//!
//! **Queues, and what happens when one is full.** To the writer: the caller waits, within its own time limit.
//! Notifications: a slow reader loses the oldest and is told how many. Progress, garbage: the newest is dropped (garbage
//! counts it). Nothing here waits for a reader of its own.
//!
//! **Giving up.** A request ends by its answer, its time limit, its [`CancellationToken`](tokio_util::sync::CancellationToken),
//! or by dropping its future; in each case but the first the server is told in the way of its era: `notifications/cancelled`,
//! or, for a modern server over HTTP, by closing the response stream. A late answer is dropped.
//!
//! **Never**: starts or ends processes, caches answers, retries what the server may have done already, or declares client
//! capabilities; so a server's own requests are refused, but for `ping`.

#![warn(missing_docs)]

mod error;
mod fingerprint;
mod framing;
mod greet;
mod http;
mod session;
mod sse;
mod stdio;
mod tools;
mod wire;

pub use error::{Closed, Error};
pub use fingerprint::{Finding, Fingerprint, fingerprint};
pub use greet::{LEGACY_VERSIONS, MODERN_VERSION};
pub use http::{HttpClient, HttpTarget};
pub use session::{Notifications, Options, RequestOptions, Session};
pub use stdio::{Garbage, GarbageKind};
pub use tools::ToolsPage;
pub use wire::{Notification, Progress};
