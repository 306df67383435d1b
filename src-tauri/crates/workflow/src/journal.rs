//! Where a run's records are kept, as whoever owns a disk implements it.

use crate::run::{Facts, Record};
use flotilla_contract::{Millis, workflow::RunSummary};
use std::{future::Future, pin::Pin, sync::Arc};

/// A future that a trait object gives.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the journal could not do it, as a sentence that completes "failed to …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JournalError(pub String);

/// A run as the journal keeps it: its head.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What was known before it began.
    pub facts: Facts,
    /// Its definition, as JSON.
    pub definition: Arc<str>,
    /// SHA-256 of that text, in hexadecimal: runs of the same definition share it.
    pub hash: String,
    /// It in a line, as of the latest record that came with one.
    pub summary: RunSummary,
}

/// A run that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is new.
    New(u64),
    /// It was there, with the same key.
    Known(u64),
}

impl Made {
    /// Its number.
    #[must_use]
    pub fn run(self) -> u64 {
        let (Self::New(run) | Self::Known(run)) = self;
        run
    }
}

/// Keeps runs. A call answers when what it was given is on disk.
pub trait Journal: Send + Sync {
    /// Keeps a new run, before anything of it happens, and gives its number: each is given once, also over restarts. The number in the head
    /// means nothing yet. With a key that another run took, nothing is kept, and that run is the answer.
    fn create(&self, head: Head, key: Option<String>) -> Boxed<'_, Result<Made, JournalError>>;

    /// Appends records of a run, all or none, after those that it has. `from` is how many it has, `summary` what the run is by then; without
    /// one, the kept one stands.
    fn append(
        &self,
        run: u64,
        from: u64,
        at: Millis,
        records: Vec<Record>,
        summary: Option<RunSummary>,
    ) -> Boxed<'_, Result<(), JournalError>>;

    /// The heads of the runs that had not ended, oldest first.
    fn open(&self) -> Boxed<'_, Result<Vec<Head>, JournalError>>;

    /// One run with its records, each with its time; `None` when there is none of this number.
    fn read(&self, run: u64) -> Boxed<'_, Result<Option<Kept>, JournalError>>;

    /// Runs, newest first: of one workflow or all, before this number, at most so many.
    fn list(
        &self,
        workflow: Option<String>,
        before: Option<u64>,
        limit: u32,
    ) -> Boxed<'_, Result<Vec<RunSummary>, JournalError>>;
}

/// A run out of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its head.
    pub head: Head,
    /// Its records.
    pub records: Vec<(Millis, Record)>,
}
