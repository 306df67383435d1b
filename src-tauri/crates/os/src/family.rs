use crate::{Ending, Mark, Process, ProcessTable, signal_process};

#[cfg(target_os = "linux")]
use crate::linux::environ;
#[cfg(not(target_os = "linux"))]
use crate::sys::environ;

/// Everything in the table that carries one of these marks or belongs to the trees of these roots.
///
/// The answer has one row per mark. Zombies are left out: they have ended. This process and process 1 never belong.
#[must_use]
pub fn family(table: &ProcessTable, wanted: &[(Mark, Vec<u32>)]) -> Vec<Vec<Process>> {
    let me = std::process::id();
    let kin = table.kinship();
    let mut found: Vec<Vec<&Process>> = wanted
        .iter()
        .map(|(_, roots)| {
            if roots.is_empty() {
                Vec::new()
            } else {
                kin.trees(roots)
            }
        })
        .collect();
    let mut buffer = Vec::new();
    for process in table
        .processes
        .iter()
        .filter(|p| !p.zombie && p.pid > 1 && p.pid != me)
    {
        let text = if environ(process.pid, &mut buffer) {
            Mark::text_in(&buffer)
        } else {
            None
        };
        let Some(text) = text else { continue };
        for (row, (mark, _)) in found.iter_mut().zip(wanted) {
            if mark.covers(text) && !row.iter().any(|p| p.pid == process.pid) {
                row.push(process);
            }
        }
    }
    found
        .into_iter()
        .map(|row| {
            row.into_iter()
                .filter(|p| p.pid != me && p.pid > 1)
                .cloned()
                .collect()
        })
        .collect()
}

/// Kills everything that carries the mark or belongs to the roots' trees, and looks again until nothing is left
/// (new processes may be born while it works) or `rounds` are used. Gives the number still seen in the last round.
pub fn kill_family(mark: &Mark, roots: &[u32], rounds: u32) -> usize {
    let wanted = [(mark.clone(), roots.to_vec())];
    let mut left = 0;
    for round in 0..rounds.max(1) {
        let found = family(&ProcessTable::read(), &wanted)
            .pop()
            .unwrap_or_default();
        left = found.len();
        if left == 0 {
            break;
        }
        for process in found {
            signal_process(process.pid, process.start_time, Ending::Kill);
        }
        std::thread::sleep(std::time::Duration::from_millis(if round < 5 {
            5
        } else {
            50
        }));
    }
    left
}
