//! Log files: one per instance, rotated by size, written by one thread so that a slow disk delays nobody.

use flotilla_contract::{InstanceId, Millis, log::Stream};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, UNIX_EPOCH},
};

/// Size at which a file is set aside.
pub(crate) const FILE_BYTES: u64 = 8 << 20;
/// Files kept per instance beside the current one (`1.log`, `1.log.1`, `1.log.2`).
pub(crate) const KEPT: u32 = 2;
/// Batches that may wait for the disk; beyond, lines are dropped from the files (not from the rings) and counted.
const QUEUE: usize = 1_024;
/// Files held open at once.
const OPEN: usize = 128;

struct Batch {
    id: InstanceId,
    text: Vec<u8>,
}

/// Where lines are handed in. Never blocks.
#[derive(Debug)]
pub(crate) struct LogFiles {
    to: Option<SyncSender<Batch>>,
    dropped: AtomicU64,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl LogFiles {
    /// Starts the writer; without a directory, nothing is written.
    pub(crate) fn start(dir: Option<PathBuf>) -> Self {
        let started = dir.map(|dir| {
            let (to, from) = sync_channel(QUEUE);
            (
                to,
                std::thread::Builder::new()
                    .name("log-files".into())
                    .spawn(move || write_all(&dir, &from))
                    .ok(),
            )
        });
        match started {
            Some((to, Some(writer))) => Self {
                to: Some(to),
                dropped: AtomicU64::new(0),
                writer: Some(writer),
            },
            _ => Self {
                to: None,
                dropped: AtomicU64::new(0),
                writer: None,
            },
        }
    }

    pub(crate) fn wanted(&self) -> bool {
        self.to.is_some()
    }

    /// Appends lines in the form of [`format_line`].
    pub(crate) fn append(&self, id: &InstanceId, text: Vec<u8>) {
        let (Some(to), false) = (&self.to, text.is_empty()) else {
            return;
        };
        let mut batch = Batch {
            id: id.clone(),
            text,
        };
        let missed = self.dropped.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let mut mark = format!(
                "-- {missed} lines of all servers were not written: the disk was too slow --\n"
            )
            .into_bytes();
            mark.append(&mut batch.text);
            batch.text = mark;
        }
        if let Err(error) = to.try_send(batch) {
            let (std::sync::mpsc::TrySendError::Full(batch)
            | std::sync::mpsc::TrySendError::Disconnected(batch)) = error;
            let lines = memchr::memchr_iter(b'\n', &batch.text).count() as u64;
            self.dropped.fetch_add(missed + lines, Ordering::Relaxed);
        }
    }
}

impl Drop for LogFiles {
    fn drop(&mut self) {
        drop(self.to.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Removes the log files of servers that are not `known` and to which nothing was written for `keep`. Blocks.
pub fn discard_logs(dir: &Path, keep: Duration, known: impl Fn(&str) -> bool) {
    // No folder yet: no server has written.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of_server = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !of_server || name.to_str().is_none_or(&known) || !idle(&entry.path(), keep) {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(folder = %entry.path().display(), %error, "failed to remove old log files");
        }
    }
}

/// Whether nothing was written below a folder for so long.
fn idle(folder: &Path, keep: Duration) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let times = files
        .map(|file| file.metadata())
        .chain([fs::metadata(folder)]);
    times
        .filter_map(|meta| meta.ok()?.modified().ok())
        .max()
        .and_then(|newest| newest.elapsed().ok())
        .is_some_and(|age| age > keep)
}

/// `2026-11-20T14:32:03.120Z stderr text`.
pub(crate) fn format_line(into: &mut Vec<u8>, at: Millis, stream: Stream, text: &[u8]) {
    let word = match stream {
        Stream::Stderr => "stderr",
        Stream::Stdout => "stdout",
        Stream::Supervisor => "supervisor",
    };
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at));
    let _ = write!(into, "{time} {word} ");
    into.extend_from_slice(text);
    into.push(b'\n');
}

fn write_all(dir: &Path, from: &Receiver<Batch>) {
    let mut open: HashMap<InstanceId, (File, u64)> = HashMap::new();
    let mut warned = None;
    for batch in from {
        if open.len() >= OPEN && !open.contains_key(&batch.id) {
            // Any one: when more instances write in turn than files are open, no order of use says which is next.
            if let Some(other) = open.keys().next().cloned() {
                open.remove(&other);
            }
        }
        if let Err(error) = write_one(dir, &mut open, &batch) {
            open.remove(&batch.id);
            // Once a minute: a full disk must not flood the engine's own log as well.
            if warned.is_none_or(|at: std::time::Instant| at.elapsed() > Duration::from_secs(60)) {
                warned = Some(std::time::Instant::now());
                tracing::warn!(instance = %batch.id, %error, "failed to write a log file");
            }
        }
    }
}

fn write_one(
    dir: &Path,
    open: &mut HashMap<InstanceId, (File, u64)>,
    batch: &Batch,
) -> std::io::Result<()> {
    let path = dir
        .join(batch.id.server.as_str())
        .join(format!("{}.log", batch.id.index));
    // A folder that was removed meanwhile is made again; what is written to a file without a name is lost.
    if !open.contains_key(&batch.id) || !path.exists() {
        let append = || OpenOptions::new().create(true).append(true).open(&path);
        let file = append().or_else(|_| {
            // The first line of a server, or somebody took its folder away.
            fs::create_dir_all(dir.join(batch.id.server.as_str()))?;
            append()
        })?;
        let size = file.metadata()?.len();
        open.insert(batch.id.clone(), (file, size));
    }
    let Some((file, size)) = open.get_mut(&batch.id) else {
        return Ok(());
    };
    file.write_all(&batch.text)?;
    *size += batch.text.len() as u64;
    if *size >= FILE_BYTES {
        open.remove(&batch.id);
        let numbered = |n: u32| {
            if n == 0 {
                path.clone()
            } else {
                path.with_extension(format!("log.{n}"))
            }
        };
        for n in (0..KEPT).rev() {
            if numbered(n).exists() {
                fs::rename(numbered(n), numbered(n + 1))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_by_size_and_bounded_in_number() {
        let dir = tempfile::tempdir().unwrap();
        let id: InstanceId = "a#2".parse().unwrap();
        {
            let files = LogFiles::start(Some(dir.path().to_owned()));
            let mut text = Vec::new();
            format_line(&mut text, 1_000, Stream::Stderr, b"hello");
            files.append(&id, text);
            for _ in 0..40 {
                files.append(&id, vec![b'x'; 1 << 20]);
            }
        }
        let mut names: Vec<String> = fs::read_dir(dir.path().join("a"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let kept: u64 = names
            .iter()
            .map(|n| fs::metadata(dir.path().join("a").join(n)).unwrap().len())
            .sum();
        assert!(
            names
                .iter()
                .all(|n| ["2.log", "2.log.1", "2.log.2"].contains(&n.as_str())),
            "{names:?}"
        );
        assert!(kept <= (FILE_BYTES + (1 << 20)) * 3, "{kept}");
        let files = LogFiles::start(Some(dir.path().to_owned()));
        let mut text = Vec::new();
        format_line(&mut text, 1_000, Stream::Stderr, b"hello");
        assert_eq!(text, b"1970-01-01T00:00:01.000Z stderr hello\n");
        files.append(&"b#1".parse().unwrap(), text.clone());
        drop(files);
        assert_eq!(fs::read(dir.path().join("b/1.log")).unwrap(), text);
    }

    #[test]
    fn logs_of_servers_that_are_gone_are_kept_for_a_while_and_then_removed() {
        let dir = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let old = std::time::SystemTime::now() - 40 * day;
        for (server, aged) in [("known", true), ("gone", true), ("lately", false)] {
            let folder = dir.path().join(server);
            fs::create_dir(&folder).unwrap();
            let file = File::create(folder.join("1.log")).unwrap();
            if aged {
                file.set_modified(old).unwrap();
                File::open(&folder).unwrap().set_modified(old).unwrap();
            }
        }
        fs::write(dir.path().join("notes"), "somebody else's").unwrap();
        discard_logs(dir.path(), 30 * day, |name| name == "known");
        let left = |name: &str| dir.path().join(name).exists();
        assert!(left("known") && left("lately") && left("notes") && !left("gone"));
        discard_logs(&dir.path().join("nowhere"), day, |_| false);
    }
}
