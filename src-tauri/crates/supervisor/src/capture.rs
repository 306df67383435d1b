//! What a process writes, taken into its instance's log.
//!
//! Bounded per turn: a flood is read in pieces, and paused when it exceeds [`FLOOD_BYTES`] in [`FLOOD_WINDOW`], so the flooding
//! process waits on its own full pipe.

use crate::{
    output::Lines,
    pipe::{Look, Pipe, look},
    runner::wall,
    shared::{InstanceCell, Shared},
};
use flotilla_contract::{Millis, log::Stream};
use std::{
    future::{Future, pending},
    time::{Duration, Instant},
};
use tokio::time::sleep_until;

const FLOOD_BYTES: usize = 1 << 20;
const FLOOD_WINDOW: Duration = Duration::from_millis(100);

/// The pipes of one process.
pub(crate) struct Capture {
    stderr: Option<Pipe>,
    stdout: Option<Pipe>,
    err_lines: Lines,
    out_lines: Lines,
    /// Begins each line, where the log holds more than one process.
    label: String,
    flood: (Instant, usize),
    paused_until: Option<Instant>,
}

impl Capture {
    pub(crate) fn new(stderr: Option<Pipe>, stdout: Option<Pipe>) -> Self {
        Self {
            stderr,
            stdout,
            err_lines: Lines::default(),
            out_lines: Lines::default(),
            label: String::new(),
            flood: (tokio::time::Instant::now().into_std(), 0),
            paused_until: None,
        }
    }

    pub(crate) fn labelled(mut self, label: String) -> Self {
        self.label = label;
        self
    }

    /// Waits until there is something to [`read`](Self::read), and it may be.
    pub(crate) async fn ready(&self) {
        if let Some(until) = self.paused_until {
            sleep_until(until.into()).await;
        }
        // An error shows itself at the next look.
        tokio::select! {
            _ = maybe(self.stderr.as_ref().map(Pipe::ready)) => {}
            _ = maybe(self.stdout.as_ref().map(Pipe::ready)) => {}
        }
    }

    /// Reads what is there; with `all`, until both pipes are empty (bounded: a flooding orphan may go on for ever), which are
    /// closed then.
    pub(crate) fn read(&mut self, shared: &Shared, cell: &InstanceCell, all: bool) {
        let mono = tokio::time::Instant::now().into_std();
        if mono.duration_since(self.flood.0) > FLOOD_WINDOW {
            self.flood = (mono, 0);
        }
        self.paused_until = None;
        let mut sink = Sink {
            cell,
            at: wall(),
            files: shared.files.wanted().then(Vec::new),
            label: self.label.as_bytes(),
        };
        let mut room = FLOOD_BYTES;
        for (pipe, lines, stream) in [
            (&mut self.stderr, &mut self.err_lines, Stream::Stderr),
            (&mut self.stdout, &mut self.out_lines, Stream::Stdout),
        ] {
            while let Some(open) = pipe {
                match look(
                    open.take(|piece| lines.feed(piece, |line, cut| sink.line(stream, line, cut))),
                ) {
                    Look::Bytes(n) => {
                        self.flood.1 += n;
                        room = room.saturating_sub(n);
                        if room == 0 || !all {
                            break;
                        }
                    }
                    Look::Empty => break,
                    Look::End => {
                        lines.finish(|line, cut| sink.line(stream, line, cut));
                        *pipe = None;
                    }
                }
            }
            if all {
                lines.finish(|line, cut| sink.line(stream, line, cut));
                *pipe = None;
            }
        }
        if let Some(text) = sink.files {
            shared.files.append(&cell.id, text);
        }
        if self.flood.1 > FLOOD_BYTES {
            self.paused_until = Some(self.flood.0 + FLOOD_WINDOW);
        }
    }
}

struct Sink<'a> {
    cell: &'a InstanceCell,
    at: Millis,
    files: Option<Vec<u8>>,
    label: &'a [u8],
}

impl Sink<'_> {
    fn line(&mut self, stream: Stream, text: &[u8], cut: bool) {
        let whole;
        let text = if self.label.is_empty() {
            text
        } else {
            whole = [self.label, text].concat();
            &whole
        };
        self.cell.ring.push(self.at, stream, text, cut);
        if let Some(files) = &mut self.files {
            crate::files::format_line(files, self.at, stream, text);
        }
    }
}

/// The future's output; never, if there is none.
pub(crate) async fn maybe<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Waits for a moment; for ever, if there is none.
pub(crate) async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => pending().await,
    }
}
