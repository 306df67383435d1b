//! The machine that the engine runs on, as numbers: for `/metrics`, for the store, and so for rules of alerts.

use std::path::Path;

/// Word, help and value of a number.
pub(crate) struct Number {
    /// The end of its name: `mcp_host_` on `/metrics`, `flotilla_host_` in the store.
    pub(crate) word: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: f64,
}

/// The machine as it is now, with the share of its CPU time that was measured last. What a platform does not tell is absent.
pub(crate) fn numbers(home: &Path, cpu: Option<f64>) -> Vec<Number> {
    let (machine, disk) = (flotilla_os::machine(), flotilla_os::disk(home));
    let memory = machine.and_then(|it| Some((it.memory_bytes, it.available_bytes?)));
    let (memory_all, memory_free) = memory.unzip();
    let (disk_all, disk_free) = disk.unzip();
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus holds every value as f64"
    )]
    let float = |count: u64| count as f64;
    let used = |(all, free): (u64, u64)| {
        (all > 0).then(|| (1.0 - float(free.min(all)) / float(all)) * 100.0)
    };
    [
        ("memory_total_bytes", "Memory of the machine, in bytes.", memory_all.map(float)),
        (
            "memory_available_bytes",
            "Memory that programs could still take without others being swapped out, in bytes.",
            memory_free.map(float),
        ),
        ("memory_used_percent", "Memory of the machine that is not available, in percent.", memory.and_then(used)),
        ("load1", "Runnable processes on average over a minute.", machine.map(|it| it.load[0])),
        ("cpu_ratio", "CPU that is in use; 1 is all of the machine's cores.", cpu),
        ("disk_total_bytes", "The file system of the engine's home, in bytes.", disk_all.map(float)),
        (
            "disk_available_bytes",
            "What may still be written to the file system of the engine's home, in bytes.",
            disk_free.map(float),
        ),
        ("disk_used_percent", "Of the file system of the engine's home, what may not be written to any more, in percent.", disk.and_then(used)),
    ]
    .into_iter()
    .filter_map(|(word, help, value)| Some(Number { word, help, value: value? }))
    .collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_all_of_it() {
        let all = numbers(&std::env::temp_dir(), Some(0.5));
        let of = |word: &str| {
            all.iter()
                .find(|it| it.word == word)
                .map(|it| it.value)
                .unwrap()
        };
        assert_eq!(all.len(), 8);
        assert_eq!(of("cpu_ratio"), 0.5);
        for kind in ["memory", "disk"] {
            let (total, free) = (
                of(&format!("{kind}_total_bytes")),
                of(&format!("{kind}_available_bytes")),
            );
            let used = of(&format!("{kind}_used_percent"));
            assert!(
                (used - (1.0 - free / total) * 100.0).abs() < 1e-9 && (0.0..=100.0).contains(&used)
            );
        }
        let words = numbers(&std::env::temp_dir(), None);
        assert!(
            words.iter().all(|it| it.word != "cpu_ratio"),
            "not measured yet"
        );
    }
}
