use flotilla_contract::{Millis, metric::Metric, state::Sample};
use flotilla_os::ProcessTable;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Totals of one process tree in one reading: the root, its descendants, and the members of its process group with theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// CPU time of the processes that are there, in nanoseconds. It falls when one of them ends: shares need [`Sampler`].
    pub cpu_ns: u64,
    /// Resident memory, in bytes. Pages that processes share count once for each.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// Processes beside the root.
    pub children: u32,
    /// The processes, the root included while it lives.
    pub pids: Vec<u32>,
}

/// Totals per root, in the order asked; `None` where nothing of the tree is alive.
#[must_use]
pub fn totals(table: &ProcessTable, roots: &[u32]) -> Vec<Option<Totals>> {
    trees(table, roots, |process| process.cpu_ns)
}

/// What a tree used between two readings, and holds now.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeSample {
    /// CPU time per wall time, in percent of one core.
    pub cpu_percent: f32,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Open file descriptors; `None` where they cannot be counted (another user's processes, or the platform).
    pub open_files: Option<u32>,
    /// Threads.
    pub threads: u32,
    /// Processes beside the root.
    pub children: u32,
}

impl TreeSample {
    /// The values for the ring.
    #[expect(
        clippy::cast_precision_loss,
        reason = "columns are f32: seven digits are enough for a chart"
    )]
    pub fn values(&self) -> impl Iterator<Item = (Metric, f32)> {
        let values = [
            (Metric::CpuPercent, Some(self.cpu_percent)),
            (Metric::RssBytes, Some(self.rss_bytes as f32)),
            (Metric::OpenFiles, self.open_files.map(|files| files as f32)),
            (Metric::Threads, Some(self.threads as f32)),
            (Metric::Children, Some(self.children as f32)),
        ];
        values
            .into_iter()
            .filter_map(|(metric, value)| Some((metric, value?)))
    }

    /// The same for a view of the instance.
    #[must_use]
    pub fn view(&self, at: Millis) -> Sample {
        Sample {
            at,
            cpu_percent: self.cpu_percent,
            rss_bytes: self.rss_bytes,
            open_files: self.open_files.unwrap_or(0),
            threads: self.threads,
            children: self.children,
        }
    }
}

/// Turns readings of the process table into shares of CPU. It remembers one number per process of the machine.
#[derive(Debug)]
pub struct Sampler {
    /// Start and CPU time by pid at the reading before.
    before: HashMap<u32, (u64, u64)>,
    at: Instant,
}

impl Sampler {
    /// Starts from a reading, so that the first sample already has a share.
    #[must_use]
    pub fn new(table: &ProcessTable, now: Instant) -> Self {
        Self {
            before: remember(table),
            at: now,
        }
    }

    /// One sample per root, in the order asked; `None` where nothing of the tree is alive.
    ///
    /// `open_files` counts a process's descriptors, most often [`flotilla_os::open_files`]. Reading the table and counting
    /// both block (tens of microseconds per process): call this off the async threads.
    ///
    /// The CPU time of a process that ended between two readings is lost; it is never taken from the others.
    pub fn sample(
        &mut self,
        table: &ProcessTable,
        now: Instant,
        roots: &[u32],
        open_files: impl Fn(u32) -> Option<u32>,
    ) -> Vec<Option<TreeSample>> {
        let wall = now
            .saturating_duration_since(self.at)
            .max(Duration::from_millis(1));
        // A process that was not there before, or is another one under the same pid, has used all its time since.
        let used = |process: &flotilla_os::Process| match self.before.get(&process.pid) {
            Some((start, cpu_ns)) if *start == process.start_time => {
                process.cpu_ns.saturating_sub(*cpu_ns)
            }
            _ => process.cpu_ns,
        };
        let samples = trees(table, roots, used).into_iter().map(|tree| {
            let tree = tree?;
            let files = tree.pids.iter().filter_map(|pid| open_files(*pid));
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "a share in percent"
            )]
            let cpu_percent = (tree.cpu_ns as f64 / wall.as_nanos() as f64 * 100.0) as f32;
            Some(TreeSample {
                cpu_percent,
                rss_bytes: tree.rss_bytes,
                open_files: files.reduce(u32::saturating_add),
                threads: tree.threads,
                children: tree.children,
            })
        });
        let samples = samples.collect();
        (self.before, self.at) = (remember(table), now);
        samples
    }
}

fn remember(table: &ProcessTable) -> HashMap<u32, (u64, u64)> {
    table
        .processes
        .iter()
        .map(|p| (p.pid, (p.start_time, p.cpu_ns)))
        .collect()
}

/// The trees of the roots, with CPU time as `cpu` counts it.
fn trees(
    table: &ProcessTable,
    roots: &[u32],
    cpu: impl Fn(&flotilla_os::Process) -> u64,
) -> Vec<Option<Totals>> {
    let kin = table.kinship();
    let tree = |root: &u32| {
        let tree = kin.trees(&[*root]);
        let mut totals = Totals::default();
        for process in &tree {
            totals.cpu_ns = totals.cpu_ns.saturating_add(cpu(process));
            totals.rss_bytes = totals.rss_bytes.saturating_add(process.rss_bytes);
            totals.threads = totals.threads.saturating_add(process.threads);
            totals.children += u32::from(process.pid != *root);
            totals.pids.push(process.pid);
        }
        (!tree.is_empty()).then_some(totals)
    };
    roots.iter().map(tree).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_os::Process;
    use proptest::prelude::*;

    /// `"pid ppid pgrp start cpu_ms"`, one process each.
    fn table(rows: &[&str]) -> ProcessTable {
        let processes = rows.iter().map(|row| {
            let n: Vec<u64> = row
                .split_whitespace()
                .map(|word| word.parse().unwrap())
                .collect();
            let id = |i: usize| u32::try_from(n[i]).unwrap();
            Process {
                pid: id(0),
                ppid: id(1),
                pgrp: id(2),
                start_time: n[3],
                cpu_ns: n[4] * 1_000_000,
                rss_bytes: 1_000 * n[0],
                threads: 2,
                zombie: false,
            }
        });
        ProcessTable {
            processes: processes.collect(),
        }
    }

    #[test]
    fn a_tree_is_the_root_its_descendants_and_its_group_with_theirs() {
        // 10 runs 11 runs 12 (which left the group); 13 lost its parent but not the group, and runs 14; 20 is a stranger.
        let table = table(&[
            "10 1 10 1 1",
            "11 10 10 1 2",
            "12 11 12 1 4",
            "13 1 10 1 8",
            "14 13 14 1 16",
            "20 1 20 1 32",
        ]);
        let mut found = totals(&table, &[10, 99, 20]);
        found
            .iter_mut()
            .flatten()
            .for_each(|tree| tree.pids.sort_unstable());
        let ten = Totals {
            cpu_ns: 31_000_000,
            rss_bytes: 60_000,
            threads: 10,
            children: 4,
            pids: vec![10, 11, 12, 13, 14],
        };
        let twenty = Totals {
            cpu_ns: 32_000_000,
            rss_bytes: 20_000,
            threads: 2,
            children: 0,
            pids: vec![20],
        };
        assert_eq!(found, [Some(ten), None, Some(twenty)]);
        assert_eq!(
            totals(&self::table(&["11 1 10 1 2"]), &[10])[0]
                .as_ref()
                .unwrap()
                .children,
            1,
            "the root itself is gone"
        );
    }

    /// Percent of the tree of 10 after `before`, one second later, and the same again.
    fn percent(before: &[&str], after: &[&str]) -> f32 {
        let start = Instant::now();
        let mut sampler = Sampler::new(&table(before), start);
        let samples = sampler.sample(
            &table(after),
            start + Duration::from_secs(1),
            &[10],
            |pid| Some(pid % 10),
        );
        samples[0].as_ref().unwrap().cpu_percent
    }

    #[test]
    fn shares_of_cpu_survive_processes_that_come_go_and_reuse_a_pid() {
        assert_eq!(percent(&["10 1 10 1 500"], &["10 1 10 1 750"]), 25.0);
        assert_eq!(
            percent(&["10 1 10 1 500", "11 10 10 1 9000"], &["10 1 10 1 600"]),
            10.0,
            "one ended"
        );
        assert_eq!(
            percent(&["10 1 10 1 500"], &["10 1 10 1 500", "11 10 10 2 300"]),
            30.0,
            "one was born"
        );
        assert_eq!(
            percent(&["10 1 10 1 500"], &["10 1 10 2 100"]),
            10.0,
            "another one under the same pid"
        );
    }

    #[test]
    fn what_cannot_be_counted_is_a_gap() {
        let start = Instant::now();
        let now = table(&["10 1 10 1 0", "11 10 10 1 0"]);
        let mut sampler = Sampler::new(&now, start);
        let mut files = |count: fn(u32) -> Option<u32>| {
            sampler.sample(&now, start, &[10], count)[0]
                .as_ref()
                .unwrap()
                .values()
                .find(|(m, _)| *m == Metric::OpenFiles)
        };
        assert_eq!(
            files(|pid| (pid == 11).then_some(7)),
            Some((Metric::OpenFiles, 7.0))
        );
        assert_eq!(files(|_| None), None);
    }

    #[test]
    fn this_process_is_seen_at_work() {
        let me = std::process::id();
        let used = || {
            totals(&ProcessTable::read(), &[me])[0]
                .as_ref()
                .unwrap()
                .cpu_ns
        };
        let (before, start) = (ProcessTable::read(), used());
        let mut sampler = Sampler::new(&before, Instant::now());
        while used() <= start {}
        let samples = sampler.sample(
            &ProcessTable::read(),
            Instant::now(),
            &[me],
            flotilla_os::open_files,
        );
        let sample = samples[0].as_ref().unwrap();
        assert!(
            sample.cpu_percent > 0.0 && sample.rss_bytes > 0 && sample.threads > 0,
            "{sample:?}"
        );
    }

    proptest! {
        /// Whatever two tables say, no share is negative or not a number, and no process is counted twice in a tree.
        #[test]
        fn shares_are_never_negative(
            before in prop::collection::vec((1_u32..12, 0_u32..12, 0_u32..12, 0_u64..3, any::<u32>()), 0..12),
            after in prop::collection::vec((1_u32..12, 0_u32..12, 0_u32..12, 0_u64..3, any::<u32>()), 0..12),
            elapsed in 0_u64..5_000,
        ) {
            let table = |rows: &[(u32, u32, u32, u64, u32)]| {
                let mut rows = rows.to_vec();
                rows.sort_unstable();
                rows.dedup_by_key(|row| row.0);
                let rows: Vec<_> = rows.iter().map(|(pid, ppid, group, start, cpu)| format!("{pid} {ppid} {group} {start} {cpu}")).collect();
                table(&rows.iter().map(String::as_str).collect::<Vec<_>>())
            };
            let (start, roots) = (Instant::now(), [1, 2, 3]);
            let mut sampler = Sampler::new(&table(&before), start);
            let now = table(&after);
            for sample in sampler.sample(&now, start + Duration::from_millis(elapsed), &roots, |_| Some(1)).into_iter().flatten() {
                prop_assert!(sample.cpu_percent >= 0.0 && sample.cpu_percent.is_finite());
            }
            for tree in totals(&now, &roots).into_iter().flatten() {
                let mut pids = tree.pids.clone();
                pids.sort_unstable();
                pids.dedup();
                prop_assert_eq!(pids.len(), tree.pids.len());
            }
        }
    }
}
