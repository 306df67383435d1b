//! The supervisor: starts, stops, restarts, scales and watches the instances of declared servers.
//!
//! # What it owns
//! One task per instance ([`runner`](self)), which alone owns the child process, its pipes and its state. What an
//! event means is decided by two pure transitions, `unit` (the life of the process) and `health` (thresholds); the
//! task only waits, asks them, and does what they say. Beside the tasks: a table of servers (who is declared, what is
//! wanted), one census of processes shared by everybody who must find strays, one writer of log files, the guard.
//!
//! # Its queues
//! Orders to an instance: 64, then the command is refused as busy (a task takes an order at every turn, so this means
//! a flood of commands). Output: rings of 1,000 lines or 1 MiB per instance and 128 MiB in all, oldest dropped, the gap
//! marked. Log files: 1,024 batches, then lines are left out of the files and counted. Changes: a set of server names.
//!
//! # Stop wins
//! Orders are taken in by the task that owns the state, in the order in which they were given, each with a ticket.
//! A stop disarms every pending restart in the same transition. A start whose ticket is older than a stop's ends as
//! superseded. A restart is only ordered where running is what is wanted.
//!
//! # Sleeping
//! A server on demand is wanted, but only on call: what is at rest of it sleeps (`StandBy`) until a call needs it
//! (`Wake`), and what runs is stopped and sleeps when nobody has called it for long (`Sleep`). Who calls, and since when
//! nobody did, the gateway knows; here are only the transitions. Both orders are given under the lock under which stops
//! are, and only where running is what is wanted, so that no call wakes what an operator stopped; a call that comes
//! while it falls asleep turns the stop into one before a new start. A call wakes nothing else either: what waits for
//! its next try, or gave up, follows the restart policy. Probes follow a process, so none wakes what has none.
//!
//! # Guests
//! A client of the gateway may want a process of a stdio server to itself: a guest of a running instance, in its log and under
//! its mark, so that what ends the instance ends its guests (see `guest`). Its input is its lease.
//!
//! # Nothing is left
//! Every process carries a mark in its environment (boot, instance, spawn) and leads a group. A stop is only over when
//! no member of the group, no descendant and no bearer of the mark is alive. When the engine itself is killed, the
//! guard does the same for the whole boot.
//!
//! # What it never does
//! It speaks no MCP (a stdio child's pipes are handed out through [`Link`], the `mcp` probe comes in through
//! [`Prober`]), reads no configuration, stores nothing, and never polls while nothing happens.

mod capture;
mod census;
mod files;
mod guest;
mod health;
mod output;
mod pipe;
mod ports;
mod probe;
mod runner;
mod shared;
mod spawn;
mod supervisor;
mod unit;
mod view;

pub use files::discard_logs;
pub use guest::{Guest, GuestInput};
pub use health::Found;
pub use output::LogRing;
pub use ports::{
    Boxed, Endpoint, Events, Link, Place, Ports, Prober, Resolve, Resolved, Unresolved,
};
pub use spawn::{program, search_path};
pub use supervisor::{Busy, Desired, End, Observed, Options, Root, Settled, Supervisor, Ticket};
pub use unit::span;
pub use view::{crossed, summarize};
