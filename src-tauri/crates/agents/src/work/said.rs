//! What a command writes, while it is at work and afterwards.

use super::secrets::Secrets;
use flotilla_contract::workflow::StepLog;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of standard output and of standard error that are kept: the last ones.
const KEPT: usize = 64 << 10;

/// What the command of one try has written, for those who look on: one writes, any number read. Kept are the last 64 KiB of each stream, and the
/// secrets that the command was given do not leave it as they are, not even in part while their rest is still to come.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<Streams>>);

#[derive(Default)]
struct Streams {
    out: Tail,
    err: Tail,
    secrets: Secrets,
    /// Nothing more comes.
    over: bool,
}

/// One of the two streams.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Out,
    Err,
}

/// The end of a stream.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    /// Bytes that there were.
    written: u64,
    cut: bool,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said").finish_non_exhaustive()
    }
}

impl Said {
    /// Bytes that were written so far: another number means that there is more to read.
    #[must_use]
    pub fn written(&self) -> u64 {
        let streams = self.lock();
        streams.out.written + streams.err.written
    }

    /// What is known of it now: the last bytes of each stream, at most this many, and never more than 64 KiB.
    #[must_use]
    pub fn log(&self, most: usize) -> StepLog {
        let streams = self.lock();
        let most = most.min(KEPT);
        // While more comes, the end may be the beginning of a secret.
        let held = match streams.over {
            true => 0,
            false => streams.secrets.longest().saturating_sub(1),
        };
        let text = |tail: &Tail| {
            let to = tail.bytes.len().saturating_sub(held);
            streams
                .secrets
                .mask(&tail.bytes, to.saturating_sub(most)..to)
        };
        let cut = |tail: &Tail| tail.cut || tail.bytes.len() > most;
        StepLog {
            stdout: text(&streams.out),
            stderr: text(&streams.err),
            cut: cut(&streams.out) || cut(&streams.err),
        }
    }

    /// A command begins that was given these secrets.
    pub(super) fn begin(&self, secrets: Secrets) {
        *self.lock() = Streams {
            secrets,
            ..Streams::default()
        };
    }

    pub(super) fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut streams = self.lock();
        // Bytes before those that are kept, so that a secret is found of which only the end would be; twice, since as many are held back at the end.
        let margin = 2 * streams.secrets.longest();
        let tail = match stream {
            Stream::Out => &mut streams.out,
            Stream::Err => &mut streams.err,
        };
        tail.bytes.extend_from_slice(bytes);
        tail.written += bytes.len() as u64;
        if tail.bytes.len() > 2 * KEPT + margin {
            let before = tail.bytes.len() - (KEPT + margin);
            tail.bytes.drain(..before);
            tail.cut = true;
        }
    }

    /// All of it is known.
    pub(super) fn end(&self) -> StepLog {
        self.lock().over = true;
        self.log(KEPT)
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(secret: &str) -> Said {
        let said = Said::default();
        let mut secrets = Secrets::default();
        let found = |_: &str| Ok(secret.to_owned());
        secrets.fill("${secret:one}", &found).unwrap();
        said.begin(secrets);
        said
    }

    #[test]
    fn a_secret_is_masked_whole_however_it_comes() {
        let text = "begin s3cr3t, s3cr3t end";
        for size in 1..text.len() {
            let said = given("s3cr3t");
            for part in text.as_bytes().chunks(size) {
                said.write(Stream::Out, part);
                let seen = said.log(KEPT).stdout;
                assert!("begin ***, *** end".starts_with(&seen), "{size}: {seen}");
            }
            let end = said.end();
            assert_eq!(end.stdout, "begin ***, *** end");
            assert!(!end.cut);
        }
    }

    #[test]
    fn the_last_bytes_are_kept_and_a_secret_at_their_edge_is_masked() {
        let said = given("s3cr3t");
        for _ in 0..40_000 {
            said.write(Stream::Err, b"s3cr3t and more\n");
        }
        let end = said.end();
        assert!(end.cut && end.stderr.len() <= KEPT);
        assert!(!end.stderr.contains("3t and"), "{}", &end.stderr[..40]);
        assert!(end.stderr.ends_with("*** and more\n"));
        for most in 1..40 {
            let log = said.log(most);
            assert!(log.cut && !log.stderr.contains("3t"), "{log:?}");
        }
        assert_eq!(said.written(), 40_000 * 16);
    }
}
