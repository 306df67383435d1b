use std::collections::HashMap;

/// One process at one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// Its process group (0 where the platform has none).
    pub pgrp: u32,
    /// Start, in the platform's own unit: with the pid it names a process for good, though pids are used again.
    pub start_time: u64,
    /// CPU time used, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// Whether it has ended and only waits to be reaped.
    pub zombie: bool,
}

/// All processes at one moment.
#[derive(Clone, Debug, Default)]
pub struct ProcessTable {
    /// The processes, in the order the system gives them.
    pub processes: Vec<Process>,
}

impl ProcessTable {
    /// Reads the table. What cannot be read (another user's, just ended) is left out.
    #[must_use]
    pub fn read() -> Self {
        #[cfg(target_os = "linux")]
        let processes = crate::linux::read_processes();
        #[cfg(not(target_os = "linux"))]
        let processes = crate::sys::read_processes();
        Self { processes }
    }

    /// Who descends from whom, worked out once for many questions.
    #[must_use]
    pub fn kinship(&self) -> Kinship<'_> {
        let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
        let mut groups: HashMap<u32, Vec<&Process>> = HashMap::new();
        let mut by_pid = HashMap::with_capacity(self.processes.len());
        for p in &self.processes {
            children.entry(p.ppid).or_default().push(p);
            if p.pgrp != 0 {
                groups.entry(p.pgrp).or_default().push(p);
            }
            by_pid.insert(p.pid, p);
        }
        Kinship {
            children,
            groups,
            by_pid,
        }
    }

    /// The process with this pid.
    #[must_use]
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.iter().find(|p| p.pid == pid)
    }
}

/// Who descends from whom in one [`ProcessTable`].
#[derive(Debug)]
pub struct Kinship<'a> {
    children: HashMap<u32, Vec<&'a Process>>,
    groups: HashMap<u32, Vec<&'a Process>>,
    by_pid: HashMap<u32, &'a Process>,
}

impl<'a> Kinship<'a> {
    /// The live processes of these roots' trees: the roots, the members of their process groups, every descendant.
    #[must_use]
    pub fn trees(&self, roots: &[u32]) -> Vec<&'a Process> {
        let mut todo: Vec<&Process> = Vec::new();
        for root in roots {
            todo.extend(self.by_pid.get(root));
            todo.extend(self.groups.get(root).into_iter().flatten());
        }
        let mut seen = std::collections::HashSet::new();
        let mut tree = Vec::new();
        while let Some(p) = todo.pop() {
            if !seen.insert(p.pid) {
                continue;
            }
            if !p.zombie {
                tree.push(p);
            }
            todo.extend(self.children.get(&p.pid).into_iter().flatten());
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_this_process_and_its_child() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let table = ProcessTable::read();
        let me = table.get(std::process::id()).unwrap();
        assert!(me.rss_bytes > 100_000 && me.threads >= 1, "{me:?}");
        assert_eq!(table.get(child.id()).unwrap().ppid, std::process::id());
        assert!(
            table
                .kinship()
                .trees(&[std::process::id()])
                .iter()
                .any(|p| p.pid == child.id())
        );
        assert!(crate::open_files(std::process::id()).unwrap() >= 3);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ProcessTable::read().get(child.id()).is_none());
    }
}
