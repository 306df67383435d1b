//! The client of an engine in another process: commands and subscriptions over its control WebSocket.
//!
//! [`Client::connect`] makes the first connection or says why not; from then on one task owns the socket. When the
//! connection breaks it tries again (0.1 s, doubling to 5 s), reading `engine.json` anew each time, because another
//! engine may own the home by then; every subscription is opened again and starts with a fresh picture. A call that was
//! under way when the connection broke ends with [`Error::Lost`]: whether the engine carried it out is not known, so it
//! is never sent twice.
//!
//! **Queues.** Requests to the task: [`REQUESTS`], the caller waits. News of a subscription: [`NEWS`]; a reader that
//! lets it fill up is unsubscribed, and subscribed afresh once it has read what it has, so that a slow reader holds up
//! neither the engine nor another reader.
//!
//! What it never does: keep a picture of the fleet, repeat a command, or hand the token on.

#![warn(missing_docs)]

mod client;
mod home;

pub use client::{Client, Error, Link, NEWS, News, REQUESTS, Source, Subscription};
pub use home::{Boot, bridge, default_home};
