//! Platforms without Unix signals. Not run so far.

use crate::Ending;
use sysinfo::{Pid, ProcessesToUpdate, System};

/// There are no process groups here.
pub fn signal_group(_group: u32, _ending: Ending) -> bool {
    false
}

/// There are no process groups here.
#[must_use]
pub fn group_exists(_group: u32) -> bool {
    false
}

/// Ends one process, if it is still the one that started at `start_time`. True if it was.
pub fn signal_process(process: u32, start_time: u64, _ending: Ending) -> bool {
    let pid = Pid::from_u32(process);
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    system
        .process(pid)
        .is_some_and(|p| p.start_time() == start_time && p.kill())
}
