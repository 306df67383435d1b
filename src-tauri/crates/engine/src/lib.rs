//! The engine: composition root of a fleet.
//!
//! # What it owns
//! One home directory (an operating-system lock on it), the configuration in force, and one of each component: the
//! supervisor, the MCP sessions, the store, the live metrics, the agent registry, the secrets. It holds the adapters
//! between them (`sessions` is the supervisor's `Link` and `Prober`, `resolve` its `Resolve`), so that no component
//! knows another.
//!
//! # Its tasks
//! `views` turns changes into deltas (at most one per 60 ms; asleep while nothing changes). `sampling` ticks every
//! sampling interval. `config` waits for the file to change. `facts` writes what was learned about servers. `agents`
//! follows tools, `alerts` evaluates rules and tells of what they find, `triggers` starts workflows, `gateway` tells the gateway what the fleet looks like. Commands run in tasks of their own: a caller that goes away does not stop a command half-way.
//!
//! # Its queues
//! Deltas and ticks: 64 per subscriber, then it starts afresh with a snapshot. Log readers hold a position in each ring.
//! Previews of imports: 8, for 15 minutes. Changes of clients' files that can be undone: 32. Calls from the playground: 200 remembered, 16 MiB of results.
//!
//! # Two truths kept apart
//! `fleet.toml` declares; start, stop and scale write an override into the store. What is wanted of a server is worked
//! out from both, in one place (`Core::desired`). Editing a field in the file clears the override of that field only.
//!
//! # What it never does
//! It opens no listener and knows no window: hosts do, through [`Handle`]. It writes no file of another program unless the operator was
//! shown what it would become. It never keeps an observed state as truth
//! over a restart.

mod agents;
mod alerts;
mod api;
mod board;
mod clients;
mod clock;
mod config;
mod core;
mod dashboard;
mod doctor;
mod facts;
mod families;
mod fleet;
mod gateway;
mod handler;
mod home;
mod imports;
mod journal;
mod kept;
mod machine;
mod pages;
mod playground;
mod prometheus;
mod resolve;
mod rules;
mod run_feed;
mod sampling;
mod sessions;
mod steps;
mod subscribe;
mod triggers;
mod views;
mod workflows;

pub use api::{Boot, Engine, Handle, Options, StartError};
pub use families::Connections;
pub use flotilla_gateway::{Body as GatewayBody, Followed, Gateway, NotFollowed};
pub use flotilla_metrics::Format;
pub use journal::RunJournal;
pub use subscribe::{Outgoing, Subscription};
pub use triggers::{HookCall, HookEnd};
