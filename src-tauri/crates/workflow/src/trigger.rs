//! What starts workflows without a person: schedules, events of the fleet, requests over HTTP.
//!
//! **Owns**: the `on` of definitions ([`written`]), what it compiles to ([`Trigger`]), when a schedule is due ([`due`]), who may call a hook
//! ([`hook`]), and the [`Desk`], which decides about every firing. No clock, no disk, no socket: the desk takes what happened and when, and
//! gives [`Effect`]s; whoever holds it performs them in their order and tells it how starts ended.
//!
//! **A firing** passes, in this order: the trigger is enabled; its `if` holds; it is not more than its bounds per time; its `vars` can be
//! worked out and fit the workflow; and its `overlap` says what becomes of it while runs of the workflow are under way. What ends there is
//! noted as the trigger's last outcome, and told when it is another than before.
//!
//! **Once.** A firing has a key: workflow, trigger and the due time, the place of the event in its boot, or the id that the sender gave. The
//! run is kept together with its key, in one commit, and a key is taken once: what was started and not noted, because the engine was killed
//! in between, is found to be started. So "not before its time, at most once, and once if it was to be caught up" holds over any crash.
//!
//! **Time.** A schedule remembers up to when it has decided (`seen`). What came due since and is not older than a minute starts; what is older
//! was missed (no engine ran, the machine slept, the clock was put forward) and `catch_up` decides. When the clock is put back by up to an
//! hour, nothing comes due until it has passed that place again; when by more, the old place means nothing, and the schedule goes on from
//! now: keys keep it from starting anything a second time.
//!
//! **Circles.** An event that a run caused says so (`correlation`), and never starts a workflow that this run is of; through others, a run
//! that an event of a run starts is one deeper than that run, and depth is bounded. What a run causes in a way nobody can see (it restarts a
//! server, which crashes a minute later) is bounded by `per_minute`; and a trigger that has started `per_hour` runs within an hour is
//! switched off, until a person switches it on again.
//!
//! **Queues**: with `overlap: queue`, [`MOST_QUEUED`] firings for each trigger, on disk; more are skipped, and said so. With
//! `cancel_previous` one, the latest.
//!
//! **Never**: starts a run itself, reads a file, or lets one trigger hold another back.

mod compiled;
mod cron;
mod desk;
mod due;
pub mod hook;
mod window;
pub mod written;

pub(crate) use compiled::compile;
pub use compiled::{Kind, Trigger};
pub use cron::Cron;
pub use desk::{
    Desk, Effect, Event, Firing, Happening, Kept, Last, MOST_QUEUED, Outcome, Started, Switch,
};
pub use due::{Due, due};
pub use written::KINDS;
