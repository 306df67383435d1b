//! Captured output: bounded lines, bounded rings, explicit gaps.

use flotilla_contract::{
    InstanceId, Millis,
    log::{LogEntry, LogGap, LogLine, Stream},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A line is cut here; the rest of it is not kept.
pub(crate) const LINE_BYTES: usize = 16 << 10;
/// Lines that a ring keeps at most.
pub(crate) const RING_LINES: usize = 1_000;
/// Bytes that a ring keeps at most.
pub(crate) const RING_BYTES: usize = 1 << 20;
/// Bytes that all rings of a fleet keep at most: each has its share of them.
pub(crate) const ALL_RINGS_BYTES: usize = 128 << 20;

/// Cuts a stream of bytes into lines of at most [`LINE_BYTES`].
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    /// The line at hand was cut: its remainder is skipped.
    skipping: bool,
}

impl Lines {
    /// Takes a piece of the stream and gives each line that it completes: the text, and whether it was cut.
    pub(crate) fn feed(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8], bool)) {
        while !piece.is_empty() {
            let end = memchr::memchr(b'\n', piece);
            let (head, rest) = end.map_or((piece, &piece[piece.len()..]), |i| {
                (&piece[..i], &piece[i + 1..])
            });
            piece = rest;
            if self.skipping {
                self.skipping = end.is_none();
                continue;
            }
            let room = LINE_BYTES - self.partial.len();
            if head.len() > room {
                self.partial.extend_from_slice(&head[..room]);
                each(&self.partial, true);
                self.partial.clear();
                self.skipping = end.is_none();
            } else if end.is_none() {
                self.partial.extend_from_slice(head);
            } else if self.partial.is_empty() {
                each(trim(head), false);
            } else {
                self.partial.extend_from_slice(head);
                each(trim(&self.partial), false);
                self.partial.clear();
            }
        }
        if self.partial.is_empty() {
            // A quiet child costs nothing beside its ring.
            self.partial = Vec::new();
        }
    }

    /// The stream ended: what is left is a line too.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8], bool)) {
        if !self.partial.is_empty() {
            each(trim(&self.partial), false);
        }
        *self = Self::default();
    }
}

fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The rings that share [`ALL_RINGS_BYTES`].
#[derive(Debug, Default)]
pub(crate) struct Share {
    rings: Mutex<Vec<Weak<Mutex<Inner>>>>,
    count: AtomicUsize,
}

impl Share {
    fn bytes(&self) -> usize {
        (ALL_RINGS_BYTES / self.count.load(Ordering::Relaxed).max(1)).min(RING_BYTES)
    }

    fn rings(&self) -> MutexGuard<'_, Vec<Weak<Mutex<Inner>>>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One ring more: from as many rings on as make the share smaller than a whole ring, the others give up what was
    /// theirs. A quiet one would keep it for ever.
    fn join(&self, ring: &Arc<Mutex<Inner>>) {
        let mut rings = self.rings();
        rings.push(Arc::downgrade(ring));
        self.count.store(rings.len(), Ordering::Relaxed);
        if self.bytes() < RING_BYTES {
            for other in rings.iter().filter_map(Weak::upgrade) {
                let mut inner = other.lock().unwrap_or_else(PoisonError::into_inner);
                inner.trim(self.bytes());
            }
        }
    }

    fn leave(&self, ring: &Arc<Mutex<Inner>>) {
        let mut rings = self.rings();
        rings.retain(|other| !Weak::ptr_eq(other, &Arc::downgrade(ring)));
        self.count.store(rings.len(), Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Line {
    at: Millis,
    stream: Stream,
    cut: bool,
    text: Box<str>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Number of the next line.
    next: u64,
}

impl Inner {
    fn trim(&mut self, limit: usize) {
        while self.lines.len() > RING_LINES || self.bytes > limit {
            let Some(old) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= old.text.len() + OVERHEAD;
        }
    }
}

/// The last lines of one instance.
#[derive(Debug)]
pub struct LogRing {
    id: InstanceId,
    share: Arc<Share>,
    inner: Arc<Mutex<Inner>>,
}

/// What a line costs beside its text.
const OVERHEAD: usize = size_of::<Line>();

impl LogRing {
    pub(crate) fn new(id: InstanceId, share: Arc<Share>) -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            next: 1,
            ..Inner::default()
        }));
        share.join(&inner);
        Self { id, share, inner }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, at: Millis, stream: Stream, text: &[u8], cut: bool) {
        let text: Box<str> = String::from_utf8_lossy(text).into();
        let mut inner = self.lock();
        inner.bytes += text.len() + OVERHEAD;
        inner.next += 1;
        inner.lines.push_back(Line {
            at,
            stream,
            cut,
            text,
        });
        // Asked with the lock held: a ring that joins meanwhile trims this one after it.
        inner.trim(self.share.bytes());
    }

    /// Entries after a sequence number, oldest first, at most `limit` of the newest; a hole is marked.
    #[must_use]
    pub fn after(&self, seq: u64, limit: usize) -> Vec<LogEntry> {
        let inner = self.lock();
        let first = inner.next - inner.lines.len() as u64;
        let kept_from = first.max(seq + 1);
        let newest_from = inner.next.saturating_sub(limit as u64).max(kept_from);
        let mut entries = Vec::new();
        // Lines that the reader did not ask for (`limit`) are no gap; lines that are gone are.
        if seq > 0 && first > seq + 1 {
            entries.push(LogEntry::Gap(LogGap {
                instance: self.id.clone(),
                from_seq: seq + 1,
                missing: first - seq - 1,
            }));
        }
        let skip = usize::try_from(newest_from - first).unwrap_or(usize::MAX);
        entries.extend(
            inner
                .lines
                .iter()
                .skip(skip)
                .zip(newest_from..)
                .map(|(line, seq)| {
                    LogEntry::Line(LogLine {
                        instance: self.id.clone(),
                        seq,
                        at: line.at,
                        stream: line.stream,
                        text: line.text.to_string(),
                        cut: line.cut,
                    })
                }),
        );
        entries
    }

    /// Number of the newest line, 0 if there is none yet.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.lock().next - 1
    }

    /// The last lines that the process itself wrote, oldest first.
    pub(crate) fn last_words(&self, count: usize, since: Millis) -> Vec<String> {
        let inner = self.lock();
        let own = inner
            .lines
            .iter()
            .rev()
            .take_while(|l| l.at >= since)
            .filter(|l| l.stream != Stream::Supervisor);
        let mut lines: Vec<String> = own.take(count).map(|l| l.text.to_string()).collect();
        lines.reverse();
        lines
    }
}

impl Drop for LogRing {
    fn drop(&mut self) {
        self.share.leave(&self.inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<(String, bool)> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, |l, cut| {
                out.push((String::from_utf8_lossy(l).into_owned(), cut))
            });
        }
        lines.finish(|l, cut| out.push((String::from_utf8_lossy(l).into_owned(), cut)));
        out
    }

    #[test]
    fn lines_do_not_depend_on_how_the_stream_is_cut() {
        let text = b"one\r\ntwo\n\nthree";
        let whole = split(&[text]);
        assert_eq!(
            whole.iter().map(|(l, _)| l.as_str()).collect::<Vec<_>>(),
            ["one", "two", "", "three"]
        );
        for at in 0..text.len() {
            assert_eq!(split(&[&text[..at], &text[at..]]), whole);
        }
    }

    #[test]
    fn a_line_without_end_is_cut_and_its_rest_is_skipped() {
        let long = vec![b'x'; LINE_BYTES * 3];
        let mut text = long.clone();
        text.extend_from_slice(b"\nnext\n");
        for piece in [1_000, LINE_BYTES, text.len()] {
            let pieces: Vec<&[u8]> = text.chunks(piece).collect();
            let out = split(&pieces);
            assert_eq!(
                (out.len(), out[0].0.len(), out[0].1, out[1].0.as_str()),
                (2, LINE_BYTES, true, "next")
            );
        }
    }

    #[test]
    fn the_ring_is_bounded_and_names_its_gaps() {
        let share = Arc::new(Share::default());
        let ring = LogRing::new("a#1".parse().unwrap(), share.clone());
        for i in 1..=2_500_u64 {
            ring.push(i, Stream::Stderr, format!("line {i}").as_bytes(), false);
        }
        let all = ring.after(0, 5_000);
        assert_eq!((all.len(), ring.newest()), (RING_LINES, 2_500));
        assert!(matches!(&all[0], LogEntry::Line(l) if l.seq == 1_501 && l.text == "line 1501"));
        let from_100 = ring.after(100, 5_000);
        assert!(
            matches!(&from_100[0], LogEntry::Gap(g) if (g.from_seq, g.missing) == (101, 1_400))
        );
        assert_eq!(ring.after(2_500, 10), vec![]);
        assert!(
            matches!(&ring.after(2_400, 3)[..], [LogEntry::Line(a), _, LogEntry::Line(c)] if (a.seq, c.seq) == (2_498, 2_500))
        );
        assert_eq!(ring.last_words(2, 0), ["line 2499", "line 2500"]);
        // By bytes: big lines.
        for _ in 0..200 {
            ring.push(9_999, Stream::Stdout, &[b'y'; LINE_BYTES], false);
        }
        assert!(ring.lock().bytes <= RING_BYTES);
    }

    #[test]
    fn all_rings_together_are_bounded_even_when_the_full_ones_fall_silent() {
        let share = Arc::new(Share::default());
        let ring = |i: usize| LogRing::new(format!("b#{i}").parse().unwrap(), share.clone());
        let fill = |ring: &LogRing| {
            for _ in 0..100 {
                ring.push(1, Stream::Stdout, &[b'y'; LINE_BYTES], false);
            }
        };
        let full: Vec<LogRing> = (1..=128).map(ring).inspect(fill).collect();
        let kept: usize = full.iter().map(|r| r.lock().bytes).sum();
        assert!(kept > ALL_RINGS_BYTES / 2, "{kept}");
        // They write no more; as many others come and fill up.
        let others: Vec<LogRing> = (129..=256).map(ring).inspect(fill).collect();
        let kept: usize = full.iter().chain(&others).map(|r| r.lock().bytes).sum();
        assert!(kept <= ALL_RINGS_BYTES, "{kept}");
        assert!(full[0].newest() == 100 && !full[0].after(0, 10).is_empty());
        drop((full, others));
        assert_eq!(share.bytes(), RING_BYTES);
    }
}
