//! Unix: signals.

use crate::Ending;
use rustix::process::{Pid, Signal};

fn signal(ending: Ending) -> Signal {
    match ending {
        Ending::Polite => Signal::TERM,
        Ending::Kill => Signal::KILL,
    }
}

fn pid(raw: u32) -> Option<Pid> {
    // 0 and 1 would mean "my own group" and init: never ours to signal.
    i32::try_from(raw)
        .ok()
        .filter(|p| *p > 1)
        .and_then(Pid::from_raw)
}

/// Signals every member of a process group. True if there was one.
pub fn signal_group(group: u32, ending: Ending) -> bool {
    pid(group)
        .is_some_and(|group| rustix::process::kill_process_group(group, signal(ending)).is_ok())
}

/// Whether a process group has a member (zombies that nobody reaped yet count).
#[must_use]
pub fn group_exists(group: u32) -> bool {
    pid(group).is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
}

/// Signals one process, if it is still the one that started at `start_time`. True if it was.
pub fn signal_process(process: u32, start_time: u64, ending: Ending) -> bool {
    let Some(target) = pid(process) else {
        return false;
    };
    #[cfg(target_os = "linux")]
    {
        // The descriptor names the process for good; then a look whether it is the one meant, then the signal:
        // in between the pid cannot come to mean another process.
        let Ok(fd) = rustix::process::pidfd_open(target, rustix::process::PidfdFlags::empty())
        else {
            return false;
        };
        if crate::linux::start_time(process) != Some(start_time) {
            return false;
        }
        rustix::process::pidfd_send_signal(&fd, signal(ending)).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = start_time;
        rustix::process::kill_process(target, signal(ending)).is_ok()
    }
}
