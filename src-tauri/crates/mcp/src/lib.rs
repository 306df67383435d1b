//! One client session with one MCP server, of either era, over its pipes or over streamable HTTP.
//!
//! **Owns**: the JSON-RPC framing, the numbering of requests, and for each connection the table of requests that wait
//! for an answer. A [`Session`] is a cheap clone; probes, playground, workflow steps and the gateway share the one session
//! of an instance, because a stdio child has one pair of pipes.
//!
//! **Never re-models what it relays.** Parameters, results, tools and notifications are
//! [`RawValue`](serde_json::value::RawValue): unknown fields, key order and the text of numbers survive.
//!
//! **Relays.** [`Session::relay`] passes a client's request on: what one hop says to the next (keys of `_meta` that belong to
//! the protocol) is replaced, a name may be, and all else keeps its bytes. [`serve`] is the client's side of that: it reads
//! and writes messages for a listener of any kind, and translates results between the eras.
//!
//! **Loops.** A pipe has two tasks. The *reader* cuts bounded lines and hands each answer to whoever waits for it; what is
//! not JSON-RPC goes to [`Options::garbage`]. The *writer* alone touches the pipe: requests reach it through a queue bounded
//! in messages and in bytes, and a request that was given up before its turn is never written. An HTTP request is one POST
//! in its caller's own future; one more task listens for what a legacy server says by itself.
//!
//! **Connections.** To a server on this machine over plain HTTP they are ours, kept and counted by [`HttpTarget::pool`]:
//! one is used again after each answer, also after one that came as a stream. All others are `reqwest`'s.
//!
//! **Queues, and what happens when one is full.** To the writer, and for a connection: the caller waits, within its own time
//! limit (only relayed requests wait for a connection; our own, and what goes with a request under way, do not).
//! Notifications: a slow reader loses the oldest and is told how many. A request's own notifications: the newest goes to
//! all readers instead. A server's questions: the newest is refused. Progress, garbage: the newest is dropped (garbage
//! counts it). Nothing here waits for a reader of its own.
//!
//! **Giving up.** A request ends by its answer, its time limit, its [`CancellationToken`](tokio_util::sync::CancellationToken),
//! or by dropping its future; in each case but the first the server is told in the way of its era: `notifications/cancelled`,
//! or, for a modern server over HTTP, by closing the response stream. A late answer is dropped.
//!
//! **What a server asks.** A legacy server's own requests go to [`Options::asked`], with the number of the request that they
//! are about where that can be told; without it they are refused, but for `ping`. An open question stops the clock of that
//! request. A modern server asks by its results, which are relayed like any other.
//!
//! **Subscriptions.** [`Session::listen`] keeps a modern server's `subscriptions/listen` open, without a time limit.
//!
//! **Never**: starts or ends processes, caches answers, retries what the server may have done already, declares a capability
//! that it was not told of, or answers for a client.

#![warn(missing_docs)]

mod asked;
mod error;
mod fingerprint;
mod framing;
mod greet;
mod http;
mod json;
mod list;
mod mirror;
mod pool;
pub mod serve;
mod session;
mod sse;
mod stdio;
mod subscription;
mod wire;

pub use asked::{Asked, Reply};
pub use error::{Closed, Error};
pub use fingerprint::{Finding, Fingerprint, fingerprint};
pub use greet::{LEGACY_VERSIONS, MODERN_VERSION};
pub use http::{HttpClient, HttpTarget};
pub use list::{Items, List, ToolsPage};
pub use mirror::Mirrors;
pub use pool::{PoolOptions, PoolStats};
pub use session::{Notifications, Options, RequestOptions, Session};
pub use stdio::{Garbage, GarbageKind};
pub use subscription::Subscription;
pub use wire::{Notification, Progress};
