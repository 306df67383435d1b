//! The words that every part of Flotilla speaks, and nothing else.
//!
//! Plain data: ids, declared specs, observed states, events, the one list of [commands](command), the frames of a
//! subscription, and [errors](error). No behaviour beyond parsing and deriving one value from another; no I/O, no clock.
//!
//! The TypeScript of the UI and the JSON Schema of `fleet.toml` are generated from here (`cargo xtask gen`), so a doc
//! comment in this crate is also a form label, a schema description and a TypeScript comment.
//!
//! What it never does: depend on another crate of the workspace, or know how anything is carried.

#![warn(missing_docs)]

pub mod agent;
pub mod alert;
pub mod command;
pub mod dashboard;
pub mod error;
pub mod event;
pub mod frame;
pub mod gateway;
pub mod host;
pub mod id;
pub mod log;
pub mod metric;
pub mod spec;
pub mod state;
pub mod tool;
pub mod units;
pub mod workflow;

pub use command::{Caller, Command, Handler, dispatch};
pub use error::{ErrorCode, WireError};
pub use event::{Event, EventKind};
pub use id::{InstanceId, ServerId};
pub use spec::ServerSpec;
pub use state::{HealthReport, InstanceView, ServerView};

/// Version of this contract. A host and a screen that differ in it do not talk to each other.
pub const CONTRACT_VERSION: u32 = 1;

/// Milliseconds since the Unix epoch, as every timestamp on the wire.
pub type Millis = u64;
