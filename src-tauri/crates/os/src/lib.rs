//! What Flotilla asks of the operating system, and the only place with code for one platform.
//!
//! It owns no task, no queue and no state but the [`guard`]'s: every call reads or does one thing and returns.
//! - [`ProcessTable`]: one reading of all processes, from which trees, groups and totals are worked out.
//! - [`Mark`]: a text in the environment of everything we start. A child may leave its group and lose its parent;
//!   its environment stays, so the mark finds it.
//! - [`family`] and [`kill_family`]: everything that belongs to one instance, however it hides.
//! - [`guard`]: a small process that outlives a killed engine just long enough to end what the engine left.
//! - [`Allocator`], [`give_back`], [`keep_little`]: where memory comes from, and how it goes back to the system.
//! - [`usage`], [`machine`], [`cpu_time`], [`disk`]: what this process uses, and how the machine is on which it runs.
//! - [`read_at`], [`write_at`]: a place of a file.
//! - [`confined`]: where a process that is started may write.
//! - [`launch`]: which environment and which program a child is started with.
//!
//! It never decides *whether* something is to be ended: that is the supervisor's.
//!
//! Tried on Linux. The other platforms' parts are written against the documentation of their libraries and have
//! not been run.

#![warn(missing_docs)]

mod confine;
mod family;
mod file;
pub mod guard;
pub mod launch;
#[cfg(target_os = "linux")]
mod linux;
mod mark;
mod memory;
#[cfg(not(unix))]
mod other;
mod own;
#[cfg(not(target_os = "linux"))]
mod sys;
mod table;
#[cfg(unix)]
mod unix;

pub use confine::{confined, landlock};
pub use family::{family, kill_family};
pub use file::{read_at, write_at};
pub use mark::{MARK_VARIABLE, Mark};
pub use memory::{ALLOCATOR, Allocator, give_back, keep_little, rest};
pub use own::{CpuTime, Machine, Usage, cpu_time, disk, machine, usage};
pub use table::{Kinship, Process, ProcessTable};

#[cfg(target_os = "linux")]
pub use linux::{host_name, open_files};
#[cfg(not(target_os = "linux"))]
pub use sys::{host_name, open_files};

#[cfg(not(unix))]
pub use other::{group_exists, signal_group, signal_process};
#[cfg(unix)]
pub use unix::{group_exists, signal_group, signal_process};

/// How a process is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It may clean up (SIGTERM).
    Polite,
    /// At once (SIGKILL).
    Kill,
}

/// The name of a Unix signal number ("SIGKILL"), or `signal N`.
#[must_use]
pub fn signal_name(number: i32) -> String {
    const NAMES: [(i32, &str); 15] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (5, "SIGTRAP"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (10, "SIGUSR1"),
        (11, "SIGSEGV"),
        (12, "SIGUSR2"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
    ];
    NAMES.iter().find(|(n, _)| *n == number).map_or_else(
        || format!("signal {number}"),
        |(_, name)| (*name).to_owned(),
    )
}
