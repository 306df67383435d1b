//! The journal of workflow runs, as the store keeps it.

use flotilla_contract::{Millis, workflow::RunSummary};
use flotilla_store::{KeptRun, MadeRun, NewRecords, NewRun, RunLog};
use flotilla_workflow::{
    Facts, Journal, Record,
    journal::{Boxed, Head, JournalError, Kept, Made},
};

/// `runs.db` as a journal. Public for the bench, which measures runs with the journal that they have in an engine.
pub struct RunJournal(pub RunLog);

impl Journal for RunJournal {
    fn create(&self, head: Head, key: Option<String>) -> Boxed<'_, Result<Made, JournalError>> {
        Box::pin(async move {
            let run = NewRun {
                at: head.facts.at,
                facts: text(&head.facts)?,
                definition: head.definition,
                hash: head.hash,
                summary: head.summary,
                key,
            };
            Ok(match self.0.create(run).await.map_err(stored)? {
                MadeRun::New(run) => Made::New(run),
                MadeRun::Known(run) => Made::Known(run),
            })
        })
    }

    fn append(
        &self,
        run: u64,
        from: u64,
        at: Millis,
        records: Vec<Record>,
        summary: Option<RunSummary>,
    ) -> Boxed<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let records = NewRecords {
                run,
                from,
                at,
                records: text(&records)?,
                summary,
            };
            self.0.append(records).await.map_err(stored)
        })
    }

    fn open(&self) -> Boxed<'_, Result<Vec<Head>, JournalError>> {
        Box::pin(async move {
            let runs = self.0.unfinished().await.map_err(stored)?;
            runs.into_iter().map(head).collect()
        })
    }

    fn read(&self, run: u64) -> Boxed<'_, Result<Option<Kept>, JournalError>> {
        Box::pin(async move {
            let Some(kept) = self.0.one(run).await.map_err(stored)? else {
                return Ok(None);
            };
            let mut records = Vec::new();
            for (at, together) in self.0.records(run).await.map_err(stored)? {
                let together: Vec<Record> = serde_json::from_str(&together).map_err(unreadable)?;
                records.extend(together.into_iter().map(|record| (at, record)));
            }
            let head = head(kept)?;
            Ok(Some(Kept { head, records }))
        })
    }

    fn list(
        &self,
        workflow: Option<String>,
        before: Option<u64>,
        limit: u32,
    ) -> Boxed<'_, Result<Vec<RunSummary>, JournalError>> {
        Box::pin(async move {
            let listed = self.0.list(workflow.as_deref(), before, limit).await;
            listed.map_err(stored)
        })
    }
}

fn head(kept: KeptRun) -> Result<Head, JournalError> {
    let mut facts: Facts = serde_json::from_str(&kept.facts).map_err(unreadable)?;
    // It had none when its facts were written.
    facts.number = kept.summary.run;
    Ok(Head {
        facts,
        definition: kept.definition,
        hash: kept.hash,
        summary: kept.summary,
    })
}

fn text(value: &impl serde::Serialize) -> Result<String, JournalError> {
    serde_json::to_string(value)
        .map_err(|error| JournalError(format!("write the journal of runs: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: serde_json::Error) -> JournalError {
    JournalError(format!("read the journal of runs: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn stored(error: flotilla_store::Error) -> JournalError {
    JournalError(error.to_string())
}
