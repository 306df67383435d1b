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
