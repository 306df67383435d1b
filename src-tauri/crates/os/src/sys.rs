//! Platforms without `/proc`: the `sysinfo` crate. Not run so far.

use crate::table::Process;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

pub(crate) fn read_processes() -> Vec<Process> {
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .with_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    system
        .processes()
        .values()
        .map(|p| Process {
            pid: p.pid().as_u32(),
            ppid: p.parent().map_or(0, Pid::as_u32),
            pgrp: 0,
            start_time: p.start_time(),
            cpu_ns: p.accumulated_cpu_time().saturating_mul(1_000_000),
            rss_bytes: p.memory(),
            threads: p
                .tasks()
                .map_or(1, |t| u32::try_from(t.len()).unwrap_or(u32::MAX)),
            zombie: p.status() == sysinfo::ProcessStatus::Zombie,
        })
        .collect()
}

/// How many files a process has open: not known here.
#[must_use]
pub fn open_files(_pid: u32) -> Option<u32> {
    None
}

pub(crate) fn environ(pid: u32, into: &mut Vec<u8>) -> bool {
    into.clear();
    let pid = Pid::from_u32(pid);
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
    let Some(process) = system.process(pid) else {
        return false;
    };
    for entry in process.environ() {
        into.extend_from_slice(entry.as_encoded_bytes());
        into.push(0);
    }
    true
}

/// Name of this machine.
#[must_use]
pub fn host_name() -> String {
    System::host_name().unwrap_or_else(|| "this machine".into())
}
