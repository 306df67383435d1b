//! What this process uses itself, and the machine it runs on.

/// This process, as the system tells it. What a platform does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time in user mode, in seconds.
    pub cpu_user_seconds: Option<f64>,
    /// CPU time in the kernel, in seconds.
    pub cpu_system_seconds: Option<f64>,
    /// CPU time in all, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Memory that the process's allocators hold, in bytes.
    pub heap_bytes: u64,
    /// Open file descriptors.
    pub open_files: Option<u32>,
    /// How many it may have open.
    pub max_files: Option<u64>,
    /// Threads.
    pub threads: u32,
    /// When it started, in seconds since the epoch.
    pub started_seconds: Option<f64>,
}

/// The machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Memory that programs could still take without others being swapped out, in bytes; absent where the system does not estimate it.
    pub available_bytes: Option<u64>,
    /// Runnable processes on average over 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

/// CPU time of the whole machine since it started, over all its processors, in units of the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In which something ran.
    pub busy: u64,
    /// In all.
    pub all: u64,
}

impl CpuTime {
    /// Share in which something ran since an earlier reading, 0 to 1; `None` when no time has passed.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        // The counters of a processor that was taken out may go back.
        let busy = self.busy.saturating_sub(earlier.busy).min(all);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        Some(busy as f64 / all as f64)
    }
}

/// CPU time of the machine so far; `None` where the platform does not tell.
#[must_use]
pub fn cpu_time() -> Option<CpuTime> {
    #[cfg(target_os = "linux")]
    return crate::linux::cpu_time();
    #[cfg(not(target_os = "linux"))]
    None
}

/// The file system of a path: bytes in all, and those that a program without privileges may still take. `None` where it cannot be asked.
#[must_use]
pub fn disk(path: &std::path::Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        let of = rustix::fs::statvfs(path).ok()?;
        Some((
            of.f_blocks.checked_mul(of.f_frsize)?,
            of.f_bavail.checked_mul(of.f_frsize)?,
        ))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// What this process uses now.
#[must_use]
pub fn usage() -> Usage {
    let mut usage = measured();
    usage.open_files = crate::open_files(std::process::id());
    usage.heap_bytes = crate::memory::allocated();
    usage
}

#[cfg(target_os = "linux")]
fn measured() -> Usage {
    crate::linux::own_usage().unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn measured() -> Usage {
    let table = crate::ProcessTable::read();
    let Some(own) = table.get(std::process::id()) else {
        return Usage::default();
    };
    Usage {
        cpu_seconds: std::time::Duration::from_nanos(own.cpu_ns).as_secs_f64(),
        rss_bytes: own.rss_bytes,
        threads: own.threads,
        ..Usage::default()
    }
}

/// The machine as it is now; `None` where the platform does not tell.
#[must_use]
pub fn machine() -> Option<Machine> {
    #[cfg(target_os = "linux")]
    return Some(crate::linux::machine());
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_busy_for_a_share_of_the_time() {
        let at = |busy, all| CpuTime { busy, all };
        assert_eq!(at(15, 120).since(at(10, 100)), Some(0.25));
        assert_eq!(at(10, 100).since(at(10, 100)), None);
        assert_eq!(at(5, 120).since(at(10, 100)), Some(0.0));
        let first = cpu_time().unwrap();
        assert!(first.busy > 0 && first.busy < first.all);
        let (all, free) = disk(&std::env::temp_dir()).unwrap();
        assert!(free <= all && all > 0);
    }

    #[test]
    fn this_process_is_measured() {
        let before = usage();
        let block = vec![7_u8; 300_000];
        let mut sum = 0_u64;
        while usage().cpu_seconds <= before.cpu_seconds {
            sum = sum.wrapping_add(block.iter().map(|b| u64::from(*b)).sum::<u64>());
        }
        let after = usage();
        assert!(
            sum > 0 && after.rss_bytes > 1 << 20 && after.virtual_bytes > Some(after.rss_bytes)
        );
        assert!(after.max_files.unwrap() >= u64::from(after.open_files.unwrap()));
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - after.started_seconds.unwrap();
        assert!((-2.0..3_600.0).contains(&age), "started {age} s ago");
        let machine = machine().unwrap();
        assert!(machine.memory_bytes > after.rss_bytes && machine.load[0] >= 0.0);
        let available = machine.available_bytes.unwrap();
        assert!(available > 0 && available < machine.memory_bytes);
        #[cfg(target_env = "gnu")]
        assert!(after.heap_bytes >= 300_000);
        drop(block);
    }
}
