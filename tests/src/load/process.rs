//! What the kernel knows about processes.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, kill_process, pidfd_open, pidfd_send_signal},
    time::{ClockId, clock_gettime},
};
use std::{
    collections::BTreeMap,
    fs, io,
    time::{Duration, Instant},
};

pub use rustix::process::Signal;

/// The monotonic clock of the machine, in nanoseconds: comparable between processes.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sends a signal; a process that has ended already is no error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = id(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// SIGKILL for a process, provided that this text stands in its environment: its id may be somebody else's by now.
/// True if it was killed.
pub fn kill_marked(pid: u32, mark: &str) -> bool {
    // The descriptor holds on to the process that is looked at.
    let Some(process) = id(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    let ours = read(pid).is_some_and(|entry| entry.environment.iter().any(|text| text == mark));
    ours && pidfd_send_signal(&process, Signal::KILL).is_ok()
}

fn id(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Processes whose end is awaited.
#[derive(Debug)]
pub struct Watched(Vec<OwnedFd>);

impl Watched {
    /// Takes hold of these; those that have ended already count as gone.
    #[must_use]
    pub fn new(pids: impl IntoIterator<Item = u32>) -> Self {
        let open = |pid| pidfd_open(id(pid)?, PidfdFlags::empty()).ok();
        Self(pids.into_iter().filter_map(open).collect())
    }

    /// Blocks until all have ended; gives that moment of the monotonic clock.
    ///
    /// # Errors
    /// When they have not ended after `limit`.
    pub fn gone(&self, limit: Duration) -> io::Result<u64> {
        let deadline = Instant::now() + limit;
        for process in &self.0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left))? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a process that was to end is still there",
                ));
            }
        }
        Ok(monotonic_ns())
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Resident, pages shared with others divided by their number.
    pub pss: u64,
}

impl std::ops::Add for Memory {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
        }
    }
}

/// Memory of a process.
///
/// # Errors
/// When it has ended.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Ok(Memory {
        rss: kib("Rss:") * 1024,
        pss: kib("Pss:") * 1024,
    })
}

/// Resident memory of a process in bytes, cheaply: for a peak that is looked for ten times a second. One that has ended
/// has none.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    let pages = || {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pages().unwrap_or(0) * rustix::param::page_size() as u64
}

/// A process and everything that descends from it.
#[must_use]
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some((pid, parent)) = pid.and_then(|pid| Some((pid, parent(pid)?))) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything; then the state, then the parent.
    let fields = stat.rsplit_once(')')?.1;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// Open descriptors of a process, counted by what they are: `pipe`, `socket`, `[pidfd]`, the name of a file.
///
/// # Errors
/// When it has ended.
pub fn descriptors(pid: u32) -> io::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that was closed meanwhile is none.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        let target = target.to_string_lossy();
        let what = match target.split_once(':') {
            Some(("anon_inode", what)) => what,
            Some((what, _)) => what,
            None => target.rsplit('/').next().unwrap_or_default(),
        };
        *counts.entry(what.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// Threads of a process.
///
/// # Errors
/// When it has ended.
pub fn threads(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// CPU time that a process has used, of all its threads, to the nanosecond (`/proc/PID/stat` counts in steps of 10 ms).
///
/// # Errors
/// When it has ended.
#[expect(unsafe_code, reason = "two calls that fill a place of ours")]
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let mut clock = 0;
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// A process as `/proc` shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<String>,
}

/// Every process that has not ended (zombies have) and whose environment can be read.
#[must_use]
pub fn all() -> Vec<Entry> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn read(pid: u32) -> Option<Entry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let texts = |name: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).ok()?;
        let texts = bytes.split(|byte| *byte == 0).filter(|t| !t.is_empty());
        Some(
            texts
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect(),
        )
    };
    Some(Entry {
        pid,
        parent: fields.next()?.parse().ok()?,
        arguments: texts("cmdline")?,
        environment: texts("environ")?,
    })
}
