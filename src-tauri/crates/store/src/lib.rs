//! What outlives the engine: four SQLite files in its home, each with its own writer.
//!
//! * `control.db`, through [`Control`]: overrides, revisions, agents, what was learned about servers, remembered ports,
//!   operator actions. One connection; every call answers after its commit.
//! * `events.db`, through [`EventLog`]: the log of events. Producers put an event into a bounded ring and go on; one writer
//!   task carries the ring to disk in transactions of at most 1,000 rows and then publishes how far the log is durable.
//!   A burst of events therefore never delays a stop, and a slow disk never delays a producer.
//! * `calls.db`, through [`CallLog`]: those calls through the gateway that are kept. They wait in a queue of 4,096; when the disk
//!   is slower, calls are lost to it and counted in [`CallLog::lost`]. Kept for 14 days, and not more than 200,000.
//! * `runs.db`, through [`RunLog`]: the journal of workflow runs. A call answers when what it was given is on disk; all calls that wait
//!   share one transaction.
//!
//! Queues: the ring keeps the last 10,000 events for subscribers, and up to 100,000 while they are not on disk. Beyond that
//! the oldest are lost to the disk; they are counted in [`LogState::lost`], and the log says so. A subscriber that falls out of the ring is told
//! how many events it missed and reads on.
//!
//! Opening never fails for what a database contains: a corrupt file is renamed beside itself, a fresh one takes its place,
//! and a notice says so. It fails only when the home itself cannot be written.
//!
//! What it never does: decide anything about servers, watch files, keep a secret, or block a producer of events.

#![warn(missing_docs)]

mod calls;
mod control;
mod database;
mod error;
mod events;
mod runs;

pub use calls::{CallLog, KeptCall};
pub use control::{Action, Control, LatestRevision, NewAction, NewRevision, ServerMemory};
pub use error::Error;
pub use events::{EventLog, EventOptions, LogState, Received, Recent, Subscriber};
pub use runs::{KeptRun, MadeRun, NewRecords, NewRun, RunLog, RunOptions, TriggerNote};

use flotilla_contract::Millis;
use std::{path::PathBuf, sync::Arc};

/// Tells the time in milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The clock of this machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// How the store is opened.
#[derive(Clone)]
pub struct Options {
    /// Directory of the files; it must exist.
    pub home: PathBuf,
    /// The time.
    pub clock: Clock,
    /// The event log.
    pub events: EventOptions,
    /// The journal of runs.
    pub runs: RunOptions,
}

impl Options {
    /// The defaults in this home.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            clock: system_clock(),
            events: EventOptions::default(),
            runs: RunOptions::default(),
        }
    }
}

/// The opened store.
pub struct Opened {
    /// `control.db`.
    pub control: Control,
    /// `events.db`.
    pub events: EventLog,
    /// `calls.db`.
    pub calls: CallLog,
    /// `runs.db`.
    pub runs: RunLog,
    /// What an operator should know, each as a sentence ("control.db was corrupt …").
    pub notices: Vec<String>,
}

/// Opens all files: checks them, brings them up to date, sets aside what cannot be used. Call it inside a tokio runtime: the
/// event log's writer is a task.
///
/// # Errors
/// When the files cannot be made or written at all (no directory, no permission, disk full).
pub async fn open(options: Options) -> Result<Opened, Error> {
    let (control, events, calls, runs) = tokio::try_join!(
        Control::open(&options),
        EventLog::open(&options),
        CallLog::open(&options),
        RunLog::open(&options)
    )?;
    let notices = [control.1, events.1, calls.1, runs.1]
        .into_iter()
        .flatten()
        .collect();
    Ok(Opened {
        control: control.0,
        events: events.0,
        calls: calls.0,
        runs: runs.0,
        notices,
    })
}
