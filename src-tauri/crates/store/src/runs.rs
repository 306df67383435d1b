//! `runs.db`: the journal of workflow runs.

use crate::{
    Error, Options,
    control::{from_json, get, json, millis, signed, unsigned},
    database,
};
use flotilla_contract::{Millis, workflow::RunSummary};
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqlSafeStr as _, SqlStr, SqliteConnection,
    SqlitePool,
    sqlite::{SqlitePoolOptions, SqliteRow},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at},
};

/// Calls that wait for the writer at most; more wait for a place among them.
const BACKLOG: usize = 1_024;
/// Calls of one transaction at most.
const TOGETHER: usize = 512;
/// Rows of a large statement: a statement costs far more than a row.
const ROWS: usize = 50;
/// Runs that retention drops at once.
const DROPPED_AT_ONCE: i64 = 20;
const RETAIN_EVERY: Duration = Duration::from_secs(600);

/// What is kept of runs that have ended; those under way are always kept.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The latest so many (default 20,000).
    pub keep_runs: u64,
    /// Those that were asked for within this time (default 90 days).
    pub keep_for: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            keep_runs: 20_000,
            keep_for: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

/// A run that is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// When it was asked for.
    pub at: Millis,
    /// What was known before it began, as JSON.
    pub facts: String,
    /// Its definition, as text.
    pub definition: Arc<str>,
    /// Hash of that text.
    pub hash: String,
    /// It in a line; its number is not known yet.
    pub summary: RunSummary,
    /// What started it, if only one run may be started by that.
    pub key: Option<String>,
}

/// A run that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeRun {
    /// It is new.
    New(u64),
    /// It was there, with the same key.
    Known(u64),
}

/// What changes about triggers.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerNote {
    /// This is where a trigger stands.
    Keep {
        /// Its workflow.
        workflow: String,
        /// Its name in the workflow.
        name: String,
        /// JSON.
        kept: String,
    },
    /// It is not there any more.
    Forget {
        /// Its workflow.
        workflow: String,
        /// Its name in the workflow.
        name: String,
    },
    /// A firing waits.
    Queue {
        /// The key of its run.
        key: String,
        /// JSON.
        firing: String,
    },
    /// It waits no longer.
    Unqueue {
        /// The key of its run.
        key: String,
    },
}

/// Records that are to be kept, all or none.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRecords {
    /// Of which run.
    pub run: u64,
    /// How many it has already.
    pub from: u64,
    /// When they came to be.
    pub at: Millis,
    /// A JSON list of them.
    pub records: String,
    /// What the run is with them; without it, what is kept stands.
    pub summary: Option<RunSummary>,
}

/// A run as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRun {
    /// What was known before it began, as JSON.
    pub facts: String,
    /// Its definition, as text.
    pub definition: Arc<str>,
    /// Hash of that text.
    pub hash: String,
    /// It in a line, its number among it.
    pub summary: RunSummary,
}

/// A handle on the journal, and on where the triggers of workflows stand; clones share it.
///
/// One task writes. It takes all that wait into one transaction, so that many runs at once cost few commits, and answers each when that is on
/// disk. A call waits for a place when [`BACKLOG`] of them wait.
#[derive(Clone)]
pub struct RunLog {
    queue: mpsc::Sender<Ask>,
    readers: SqlitePool,
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

enum Ask {
    Create(Box<NewRun>, Answer<MadeRun>),
    Note(Box<TriggerNote>, Answer<()>),
    Append(Box<NewRecords>, Answer<()>),
    Retain(Answer<()>),
    Close(oneshot::Sender<()>),
}

impl RunLog {
    pub(crate) async fn open(options: &Options) -> Result<(Self, Option<String>), Error> {
        let ready = database::prepare(
            &options.home,
            "runs.db",
            &sqlx::migrate!("migrations/runs"),
            &options.clock,
        )
        .await?;
        let connection = SqliteConnection::connect_with(&ready.options)
            .await
            .map_err(Error::sql("open runs.db"))?;
        let (queue, asked) = mpsc::channel(BACKLOG);
        let writer = Writer {
            connection,
            clock: options.clock.clone(),
            keep: options.runs.clone(),
            many: insert(ROWS),
            one: insert(1),
        };
        tokio::spawn(writer.run(asked));
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .min_connections(0)
            .connect_lazy_with(ready.options);
        Ok((Self { queue, readers }, ready.notice))
    }

    /// Keeps a new run and gives its number: each is given once. With a key that another run took, it keeps nothing and gives that one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn create(&self, run: NewRun) -> Result<MadeRun, Error> {
        self.ask(|answer| Ask::Create(Box::new(run), answer)).await
    }

    /// Keeps what changed about triggers.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn note(&self, note: TriggerNote) -> Result<(), Error> {
        self.ask(|answer| Ask::Note(Box::new(note), answer)).await
    }

    /// Where triggers stand, each as JSON.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn triggers(&self) -> Result<Vec<String>, Error> {
        sqlx::query_scalar("SELECT kept FROM triggers ORDER BY workflow, name")
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("read the triggers"))
    }

    /// Firings that wait, oldest first, each as JSON.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn firings(&self) -> Result<Vec<String>, Error> {
        sqlx::query_scalar("SELECT firing FROM firings ORDER BY number")
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("read the firings that wait"))
    }

    /// Keeps records of a run.
    ///
    /// # Errors
    /// When they cannot be written, or there are records in their place.
    pub async fn append(&self, records: NewRecords) -> Result<(), Error> {
        self.ask(|answer| Ask::Append(Box::new(records), answer))
            .await
    }

    /// Drops now what is kept no longer; the writer does it by itself every ten minutes.
    ///
    /// # Errors
    /// When it cannot be dropped.
    pub async fn retain(&self) -> Result<(), Error> {
        self.ask(Ask::Retain).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Answer<T>) -> Ask) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(ask(answer)).await;
        sent.map_err(|_| Error::Closed("runs.db"))?;
        answered.await.map_err(|_| Error::Closed("runs.db"))?
    }

    /// The runs that had not ended, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unfinished(&self) -> Result<Vec<KeptRun>, Error> {
        sqlx::query("SELECT number, facts, summary, hash, text FROM runs JOIN definitions ON hash = definition WHERE open = 1 ORDER BY number")
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("read the runs"))?
            .iter()
            .map(kept)
            .collect()
    }

    /// One run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn one(&self, run: u64) -> Result<Option<KeptRun>, Error> {
        sqlx::query("SELECT number, facts, summary, hash, text FROM runs JOIN definitions ON hash = definition WHERE number = ?")
            .bind(signed(run))
            .fetch_optional(&self.readers)
            .await
            .map_err(Error::sql("read the run"))?
            .as_ref()
            .map(kept)
            .transpose()
    }

    /// The records of a run in their order: lists of those that were written together, each as JSON with its time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn records(&self, run: u64) -> Result<Vec<(Millis, String)>, Error> {
        sqlx::query("SELECT at, records FROM records WHERE run = ? ORDER BY seq")
            .bind(signed(run))
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("read the records of a run"))?
            .iter()
            .map(|row| Ok((millis(row, "at")?, get(row, "records")?)))
            .collect()
    }

    /// Runs, newest first: of one workflow or all, before this number, at most so many.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list(
        &self,
        workflow: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<RunSummary>, Error> {
        let sql = if workflow.is_some() {
            "SELECT number, summary FROM runs WHERE number < ? AND workflow = ? ORDER BY number DESC LIMIT ?"
        } else {
            "SELECT number, summary FROM runs WHERE number < ? AND ? IS NULL ORDER BY number DESC LIMIT ?"
        };
        sqlx::query(sql)
            .bind(signed(before.unwrap_or(u64::MAX)))
            .bind(workflow)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("read the runs"))?
            .iter()
            .map(summary)
            .collect()
    }

    /// How many of the runs that are kept have ended in which state, by its word.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ended(&self) -> Result<Vec<(String, u64)>, Error> {
        sqlx::query("SELECT state, count(*) AS number FROM runs INDEXED BY runs_ended WHERE open = 0 GROUP BY state")
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("count the runs"))?
            .iter()
            .map(|row| Ok((get(row, "state")?, millis(row, "number")?)))
            .collect()
    }

    /// Writes what is left, within this time, and closes the file.
    pub async fn close(&self, within: Duration) {
        let (answer, answered) = oneshot::channel();
        let closing = async {
            if self.queue.send(Ask::Close(answer)).await.is_ok() {
                // The writer drops the answer when it ended for another reason.
                let _ = answered.await;
            }
        };
        if tokio::time::timeout(within, closing).await.is_err() {
            tracing::error!("the last records of runs are not on disk");
        }
        self.readers.close().await;
    }
}

fn kept(row: &SqliteRow) -> Result<KeptRun, Error> {
    Ok(KeptRun {
        facts: get(row, "facts")?,
        definition: get::<String>(row, "text")?.into(),
        hash: get(row, "hash")?,
        summary: summary(row)?,
    })
}

fn summary(row: &SqliteRow) -> Result<RunSummary, Error> {
    let mut summary: RunSummary = from_json("a run", get(row, "summary")?)?;
    summary.run = millis(row, "number")?;
    Ok(summary)
}

fn insert(rows: usize) -> SqlStr {
    let values = vec!["(?, ?, ?, ?)"; rows].join(", ");
    AssertSqlSafe(format!(
        "INSERT INTO records (run, seq, at, records) VALUES {values}"
    ))
    .into_sql_str()
}

struct Writer {
    connection: SqliteConnection,
    clock: crate::Clock,
    keep: RunOptions,
    many: SqlStr,
    one: SqlStr,
}

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    created: Vec<(NewRun, Answer<MadeRun>)>,
    appended: Vec<(NewRecords, Answer<()>)>,
}

impl Writer {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut retention = interval_at(Instant::now() + RETAIN_EVERY, RETAIN_EVERY);
        retention.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asks = Vec::new();
        loop {
            tokio::select! {
                biased;
                came = asked.recv_many(&mut asks, TOGETHER) => if came == 0 { break },
                _ = retention.tick() => {
                    if let Err(error) = self.retain().await {
                        tracing::warn!(%error, "retention of runs failed");
                    }
                    continue;
                }
            }
            let (mut batch, mut retaining, mut closing) = (Batch::default(), Vec::new(), None);
            let mut noting = Vec::new();
            for ask in asks.drain(..) {
                match ask {
                    Ask::Create(run, answer) => batch.created.push((*run, answer)),
                    Ask::Append(records, answer) => batch.appended.push((*records, answer)),
                    Ask::Note(note, answer) => noting.push((*note, answer)),
                    Ask::Retain(answer) => retaining.push(answer),
                    Ask::Close(answer) => closing = Some(answer),
                }
            }
            self.commit(batch).await;
            for (note, answer) in noting {
                // As below.
                let _ = answer.send(self.note(&note).await);
            }
            for answer in retaining {
                // Nobody waiting for it is no reason not to have done it.
                let _ = answer.send(self.retain().await);
            }
            if let Some(answer) = closing {
                self.end().await;
                // As above.
                let _ = answer.send(());
                return;
            }
        }
        self.end().await;
    }

    async fn end(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "runs.db not closed cleanly");
        }
    }

    /// Writes a batch and answers each of it. When it cannot be written together, each is tried by itself, so that one run never fails another.
    async fn commit(&mut self, batch: Batch) {
        let Batch { created, appended } = batch;
        let (runs, run_answers): (Vec<_>, Vec<_>) = created.into_iter().unzip();
        let (records, record_answers): (Vec<_>, Vec<_>) = appended.into_iter().unzip();
        if let Ok(numbers) = self.write(&runs, &records).await {
            // One that does not wait any more has what it wanted all the same.
            for (answer, number) in run_answers.into_iter().zip(numbers) {
                let _ = answer.send(Ok(number));
            }
            for answer in record_answers {
                let _ = answer.send(Ok(()));
            }
            return;
        }
        for (run, answer) in runs.iter().zip(run_answers) {
            let written = self.write(std::slice::from_ref(run), &[]).await;
            let made =
                written.and_then(|made| made.first().copied().ok_or(Error::Closed("runs.db")));
            let _ = answer.send(made);
        }
        for (records, answer) in records.iter().zip(record_answers) {
            let written = self.write(&[], std::slice::from_ref(records)).await;
            let _ = answer.send(written.map(drop));
        }
    }

    async fn note(&mut self, note: &TriggerNote) -> Result<(), Error> {
        let query = match note {
            TriggerNote::Keep {
                workflow,
                name,
                kept,
            } => sqlx::query(
                "INSERT OR REPLACE INTO triggers (workflow, name, kept) VALUES (?, ?, ?)",
            )
            .bind(workflow)
            .bind(name)
            .bind(kept),
            TriggerNote::Forget { workflow, name } => {
                sqlx::query("DELETE FROM triggers WHERE workflow = ? AND name = ?")
                    .bind(workflow)
                    .bind(name)
            }
            TriggerNote::Queue { key, firing } => {
                sqlx::query("INSERT OR IGNORE INTO firings (key, firing) VALUES (?, ?)")
                    .bind(key)
                    .bind(firing)
            }
            TriggerNote::Unqueue { key } => {
                sqlx::query("DELETE FROM firings WHERE key = ?").bind(key)
            }
        };
        let done = query.execute(&mut self.connection).await;
        done.map(drop).map_err(Error::sql("note the trigger"))
    }

    /// One transaction; gives the numbers of new runs, and of those whose keys are taken.
    async fn write(
        &mut self,
        runs: &[NewRun],
        records: &[NewRecords],
    ) -> Result<Vec<MadeRun>, Error> {
        let failed = || Error::sql("write the journal of runs");
        let mut transaction = self.connection.begin().await.map_err(failed())?;
        let mut numbers = Vec::with_capacity(runs.len());
        for run in runs {
            if let Some(key) = &run.key {
                sqlx::query("DELETE FROM firings WHERE key = ?")
                    .bind(key)
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed())?;
                let known: Option<i64> =
                    sqlx::query_scalar("SELECT number FROM runs WHERE key = ?")
                        .bind(key)
                        .fetch_optional(&mut *transaction)
                        .await
                        .map_err(failed())?;
                if let Some(number) = known {
                    numbers.push(MadeRun::Known(unsigned(number)));
                    continue;
                }
            }
            sqlx::query("INSERT OR IGNORE INTO definitions (hash, text) VALUES (?, ?)")
                .bind(&run.hash)
                .bind(&*run.definition)
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
            let row = sqlx::query("INSERT INTO runs (at, workflow, definition, facts, open, summary, key) VALUES (?, ?, ?, ?, 1, ?, ?) RETURNING number")
                .bind(signed(run.at))
                .bind(&run.summary.workflow)
                .bind(&run.hash)
                .bind(&run.facts)
                .bind(json("a run", &run.summary)?)
                .bind(run.key.as_deref())
                .fetch_one(&mut *transaction)
                .await
                .map_err(failed())?;
            let number = unsigned(row.try_get("number").map_err(failed())?);
            numbers.push(MadeRun::New(number));
        }
        let (chunks, rest) = records.as_chunks::<ROWS>();
        for chunk in chunks {
            bind(self.many.clone(), chunk)
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        for one in rest {
            bind(self.one.clone(), std::slice::from_ref(one))
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        for (run, summary) in records
            .iter()
            .filter_map(|new| Some((new.run, new.summary.as_ref()?)))
        {
            sqlx::query("UPDATE runs SET summary = ?, open = ? WHERE number = ?")
                .bind(json("a run", summary)?)
                .bind(!summary.state.ended())
                .bind(signed(run))
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(numbers)
    }

    /// Drops what is too old or too much among the runs that have ended, and definitions that no run has any more.
    async fn retain(&mut self) -> Result<(), Error> {
        while self.drop_old().await? > 0 {}
        Ok(())
    }

    async fn drop_old(&mut self) -> Result<usize, Error> {
        let failed = || Error::sql("drop old runs");
        let keep_for = u64::try_from(self.keep.keep_for.as_millis()).unwrap_or(u64::MAX);
        let oldest = (self.clock)().saturating_sub(keep_for);
        let mut transaction = self.connection.begin().await.map_err(failed())?;
        let dropped = sqlx::query_scalar::<_, i64>(
            "DELETE FROM runs WHERE number IN (SELECT number FROM runs WHERE open = 0 AND (at < ? OR number <= (SELECT max(number) FROM runs) - ?) ORDER BY number LIMIT ?) RETURNING number",
        )
        .bind(signed(oldest))
        .bind(signed(self.keep.keep_runs))
        .bind(DROPPED_AT_ONCE)
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed())?;
        for run in &dropped {
            sqlx::query("DELETE FROM records WHERE run = ?")
                .bind(run)
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        if !dropped.is_empty() {
            sqlx::query("DELETE FROM definitions WHERE hash NOT IN (SELECT definition FROM runs)")
                .execute(&mut *transaction)
                .await
                .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())?;
        Ok(dropped.len())
    }
}

fn bind(
    sql: SqlStr,
    records: &[NewRecords],
) -> sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    records.iter().fold(sqlx::query(sql), |query, new| {
        query
            .bind(signed(new.run))
            .bind(signed(new.from))
            .bind(signed(new.at))
            .bind(new.records.clone())
    })
}
