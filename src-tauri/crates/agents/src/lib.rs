//! The agent registry: what can be discovered, and what it offers; and the [`work`] that workflow steps do on this machine.
//!
//! **Owns** the [`Registry`], a sorted map of agents in memory. **Loop, queues**: none. Every operation that changes
//! something returns the [`Change`]s it made; the caller (the engine, which holds the one registry) writes them to the store and
//! tells the screens. An operation that changes nothing returns nothing, so that nothing is written or told.
//!
//! Each declared server is registered as an agent ([`agent_of_server`]) under its own name: what it can do is the capability
//! `mcp_server` and, once listed, each of its tools.
//!
//! Besides them stand the agents that come with Flotilla ([`built_in`]), whose capabilities are the work of this crate.
//!
//! Whether an agent is enabled is the operator's word: deploying it anew never changes it.
//!
//! **Never**: the registry calls no agent, reads no clock and touches no disk; [`work`] decides nothing about a run, and touches nothing
//! outside of the place that it is given.

#![warn(missing_docs)]

mod builtin;
mod registry;
mod server;
mod validate;
pub mod work;

pub use builtin::{Skill, built_in, skill};
pub use registry::{Change, Error, MAX_AGENTS, Registry};
pub use server::agent_of_server;
pub use validate::problems;
