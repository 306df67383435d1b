//! The gateway: every AI client reaches the whole fleet through one MCP endpoint.
//!
//! **Owns**: the sessions of clients, the merged catalogue of what the servers offer, and for each server what decides about a
//! call: breaker, limits, queue, balance, retries, cache. It owns no listener (that is the host's) and no connection to a
//! server: those it asks the engine for, through [`Fleet`].
//!
//! **The way of a call.** Client → [`endpoint`] (era, session, framing) → catalogue (whose name is this?) → limits → cache →
//! breaker → place in the queue → instance by [`balance`] → session → answer translated to the client's era → one record.
//! A failure goes to [`retry`], which knows whether the call may have run.
//!
//! **Never**: re-models what it relays (only ids, progress tokens, `_meta` keys of the protocol, `resultType`, names, URIs and
//! cursors are rewritten), retries what may have run and is not declared idempotent, waits for one server on behalf of
//! another, or starts processes.

#![warn(missing_docs)]

mod ask;
mod balance;
mod body;
mod breaker;
mod cache;
mod callers;
mod canonical;
mod catalogue;
mod chance;
mod clients;
mod counts;
mod endpoint;
mod fault;
mod fleet;
mod follow;
mod gateway;
mod keeper;
mod lent;
mod limit;
mod names;
mod news;
mod offer;
mod own;
mod record;
mod relay;
mod retry;
mod ring;
mod server;
mod slots;
mod tasks;
mod trace;

pub use body::Body;
pub use counts::{
    CallCounts, Changes, Ends, Exemplar, GatewayCounts, Histogram, Refused, ServerCounts, Sizes,
    Times,
};
pub use fleet::{AsClient, Boxed, Content, Fleet, Instance, OnDemand, Opened, Upstream};
pub use follow::{Followed, NotFollowed};
pub use gateway::{Gateway, Held};
pub use offer::remembered_tools;
