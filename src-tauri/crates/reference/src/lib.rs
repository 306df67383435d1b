//! The reference fleet: nine MCP servers with 51 tools in one small program, and the fixture of the official conformance suite.
//!
//! # What it is for
//! A newcomer has a living fleet in one click, tests and measurements have real work, and drills have servers that fail when told
//! to. Every tool is deterministic and offline, and depends on nothing else of this project.
//!
//! # What it owns
//! [`service::Service`] is a server as data: tools, resources, prompts, and what it does without being asked. [`tool::Tool`] is a
//! tool as data: its schemas, which are enforced, and a function. One [`calls::Calls`] is a server at work; each call takes the
//! same way through it (breaker, drills, tool, counters, one line of log), whether it came over stdio, streamable HTTP in either
//! era, or the bare form.
//!
//! # Its loops and queues
//! One thread serves all connections and does what is due at intervals; tools that may take long run on threads of their own.
//! Changes of resources go through a broadcast of 256, progress of a call through a queue of 64: who is too slow misses some and
//! learns the newest.
//!
//! # What it never does
//! It reaches nothing outside: no network, no file but under `--data`. It never answers another machine without a token.

mod breaker;
mod calls;
mod conformance;
mod drill;
mod handler;
mod http;
mod metrics;
pub mod rpc;
pub mod run;
pub mod service;
pub mod services;
pub mod tool;
pub mod vectors;
mod ws;
