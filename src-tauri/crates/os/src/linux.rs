//! Linux: `/proc`.

use crate::{
    own::{CpuTime, Machine, Usage},
    table::Process,
};
use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    sync::OnceLock,
    time::Duration,
};

fn ticks_to_ns() -> u64 {
    static NS: OnceLock<u64> = OnceLock::new();
    *NS.get_or_init(|| 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

pub(crate) fn read_processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut buffer = Vec::with_capacity(1024);
    let mut path = String::with_capacity(32);
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            use std::fmt::Write as _;
            path.clear();
            let _ = write!(path, "/proc/{pid}/stat");
            buffer.clear();
            File::open(&path).ok()?.read_to_end(&mut buffer).ok()?;
            parse_stat(&buffer)
        })
        .collect()
}

/// One line of `/proc/PID/stat`, proc_pid_stat(5). The name stands in parentheses and may itself hold any character.
fn parse_stat(line: &[u8]) -> Option<Process> {
    let open = line.iter().position(|b| *b == b'(')?;
    let close = line.iter().rposition(|b| *b == b')')?;
    let pid = std::str::from_utf8(&line[..open])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // Field 3 (state) is the first one behind the name.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|f| f.parse::<u64>().ok());
    let narrow = |field: usize| number(field).and_then(|n| u32::try_from(n).ok());
    Some(Process {
        pid,
        ppid: narrow(4)?,
        pgrp: narrow(5).unwrap_or(0),
        start_time: number(22)?,
        cpu_ns: (number(14)? + number(15)?).saturating_mul(ticks_to_ns()),
        rss_bytes: number(24)?.saturating_mul(rustix::param::page_size() as u64),
        threads: narrow(20)?,
        zombie: matches!(fields.first(), Some(&"Z" | &"X")),
    })
}

/// This process. Its start is told in ticks since the machine's, which is `btime` of `/proc/stat`.
pub(crate) fn own_usage() -> Option<Usage> {
    let line = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = line
        .get(line.rfind(')')? + 1..)?
        .split_ascii_whitespace()
        .collect();
    let number = |field: usize| fields.get(field - 3).and_then(|f| f.parse::<u64>().ok());
    let seconds =
        |ticks: u64| Duration::from_nanos(ticks.saturating_mul(ticks_to_ns())).as_secs_f64();
    let (user, system) = (seconds(number(14)?), seconds(number(15)?));
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse::<f64>().ok()
    });
    Some(Usage {
        cpu_user_seconds: Some(user),
        cpu_system_seconds: Some(system),
        cpu_seconds: user + system,
        rss_bytes: number(24)?.saturating_mul(rustix::param::page_size() as u64),
        virtual_bytes: number(23),
        max_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        threads: u32::try_from(number(20)?).ok()?,
        started_seconds: boot
            .zip(number(22))
            .map(|(boot, ticks)| boot + seconds(ticks)),
        ..Usage::default()
    })
}

/// sysinfo(2): loads are in parts of 65,536.
pub(crate) fn machine() -> Machine {
    // Words of the machine's own width.
    #[expect(clippy::cast_precision_loss, reason = "a load is far below 2^53")]
    fn load(raw: impl Into<u64>) -> f64 {
        raw.into() as f64 / 65_536.0
    }
    let info = rustix::system::sysinfo();
    Machine {
        memory_bytes: (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)),
        available_bytes: available_bytes(),
        load: info.loads.map(load),
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user and nice already (proc_stat(5)).
pub(crate) fn cpu_time() -> Option<CpuTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let idle = times.get(3)?.saturating_add(*times.get(4)?);
    let all = times.iter().sum::<u64>();
    Some(CpuTime {
        busy: all.saturating_sub(idle),
        all,
    })
}

/// `MemAvailable` of `/proc/meminfo`, which is in KiB.
fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

pub(crate) fn start_time(pid: u32) -> Option<u64> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?).map(|p| p.start_time)
}

/// How many files a process has open; `None` if it is gone or another user's.
#[must_use]
pub fn open_files(pid: u32) -> Option<u32> {
    let path = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the directory's size is the count, which saves listing it.
    match fs::metadata(&path).ok()?.size() {
        0 => fs::read_dir(&path)
            .ok()
            .and_then(|entries| u32::try_from(entries.count()).ok()),
        size => u32::try_from(size).ok(),
    }
}

/// Environment of a process as it was at its exec: `NAME=value`, NUL between.
pub(crate) fn environ(pid: u32, into: &mut Vec<u8>) -> bool {
    into.clear();
    // Bounded: an environment is at most a few MiB, and the mark stands early.
    File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(4 << 20).read_to_end(into))
        .is_ok()
}

/// Name of this machine.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_read() {
        let line = b"42 (a ) (b) S 1 42 42 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 3 0 99 1000 7 0";
        let p = parse_stat(line).unwrap();
        assert_eq!(
            (p.pid, p.ppid, p.pgrp, p.start_time, p.threads),
            (42, 1, 42, 99, 3)
        );
        assert_eq!(p.cpu_ns, 11 * ticks_to_ns());
        assert_eq!(p.rss_bytes, 7 * rustix::param::page_size() as u64);
        assert!(parse_stat(b"garbage").is_none() && parse_stat(b"1 (x) S").is_none());
    }
}
