//! `calls.db`: calls through the gateway that are kept beyond the engine's memory.

use crate::{
    Error, Options,
    control::{from_json, get, json, one_of, signed},
    database,
};
use flotilla_contract::{
    Millis,
    gateway::{CallDetail, CallEnd, CallQuery, CallRecord},
};
use sqlx::{
    AssertSqlSafe, Connection as _, SqliteConnection, SqlitePool, sqlite::SqlitePoolOptions,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at},
};

/// Calls that wait for the disk at most; more are lost, and counted.
const BACKLOG: usize = 4_096;
/// Calls of one transaction at most.
const TOGETHER: usize = 500;
/// Calls are kept for this long, and not more of them than that.
const KEEP_FOR: Duration = Duration::from_secs(14 * 24 * 3600);
const KEEP_ROWS: i64 = 200_000;
/// Rows that retention drops at once: short enough that writing never waits noticeably.
const DROPPED_AT_ONCE: i64 = 1_000;
const RETAIN_EVERY: Duration = Duration::from_secs(600);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Rows looked at for one question, whose text is looked for in each.
const LOOKED_AT: i64 = 50_000;

/// A call to be kept.
#[derive(Clone, Debug)]
pub struct KeptCall {
    /// The call.
    pub record: Arc<CallRecord>,
    /// Its arguments as JSON text, if they are kept.
    pub arguments: Option<String>,
    /// What came of it as JSON text, if that is kept.
    pub result: Option<String>,
}

/// A handle on the kept calls; clones share it. When the last one is dropped, what is left is written.
#[derive(Clone)]
pub struct CallLog {
    queue: mpsc::Sender<Ask>,
    readers: SqlitePool,
    lost: Arc<AtomicU64>,
}

enum Ask {
    Keep(Box<KeptCall>),
    /// Write what is left and end.
    Close(oneshot::Sender<()>),
}

impl CallLog {
    pub(crate) async fn open(options: &Options) -> Result<(Self, Option<String>), Error> {
        let ready = database::prepare(
            &options.home,
            "calls.db",
            &sqlx::migrate!("migrations/calls"),
            &options.clock,
        )
        .await?;
        let connection = SqliteConnection::connect_with(&ready.options)
            .await
            .map_err(Error::sql("open calls.db"))?;
        let (queue, asked) = mpsc::channel(BACKLOG);
        let writer = Writer {
            connection,
            clock: options.clock.clone(),
        };
        tokio::spawn(writer.run(asked));
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .min_connections(0)
            .connect_lazy_with(ready.options);
        let log = Self {
            queue,
            readers,
            lost: Arc::default(),
        };
        Ok((log, ready.notice))
    }

    /// Keeps a call, without waiting: when too many wait for the disk it is lost, and counted.
    pub fn keep(&self, call: KeptCall) {
        if self.queue.try_send(Ask::Keep(Box::new(call))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls that could not be kept since the store was opened, because the disk was too slow.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Kept calls that fit, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn read(&self, query: &CallQuery) -> Result<Vec<CallRecord>, Error> {
        let mut sql = String::from("SELECT record FROM calls WHERE at < ?");
        if query.server.is_some() {
            sql.push_str(" AND server = ?");
        }
        if query.client.is_some() {
            sql.push_str(" AND client = ?");
        }
        sql.push_str(&one_of("outcome", query.ends.len()));
        sql.push_str(" ORDER BY at DESC, number DESC LIMIT ?");
        // The text is made of constants and placeholders alone.
        let mut statement =
            sqlx::query(AssertSqlSafe(sql)).bind(signed(query.before.unwrap_or(Millis::MAX)));
        if let Some(server) = &query.server {
            statement = statement.bind(server.as_str());
        }
        if let Some(client) = &query.client {
            statement = statement.bind(client);
        }
        for end in &query.ends {
            statement = statement.bind(word(*end)?);
        }
        let limit = query.most();
        let rows = if query.text.is_some() {
            LOOKED_AT
        } else {
            i64::try_from(limit).unwrap_or(LOOKED_AT)
        };
        let rows = statement
            .bind(rows)
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("read the calls"))?;
        let mut found = Vec::new();
        for row in &rows {
            if found.len() == limit {
                break;
            }
            // One that a newer version wrote is left out rather than hiding the others.
            match from_json::<CallRecord>("a call", get(row, "record")?) {
                Ok(call) if query.fits(&call) => found.push(call),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "call left out"),
            }
        }
        Ok(found)
    }

    /// One kept call, with what is kept of its arguments and result; `None` when it was not kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn one(&self, at: Millis, number: u64) -> Result<Option<CallDetail>, Error> {
        let row = sqlx::query(
            "SELECT record, arguments, result FROM calls WHERE at = ? AND number = ? LIMIT 1",
        )
        .bind(signed(at))
        .bind(signed(number))
        .fetch_optional(&self.readers)
        .await
        .map_err(Error::sql("read the call"))?;
        row.map(|row| {
            Ok(CallDetail {
                record: from_json("a call", get(&row, "record")?)?,
                arguments: get(&row, "arguments")?,
                result: get(&row, "result")?,
            })
        })
        .transpose()
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
            tracing::error!("the last calls are not on disk");
        }
        self.readers.close().await;
    }
}

/// How an outcome is written in the database, as on the wire.
fn word(end: CallEnd) -> Result<String, Error> {
    Ok(json("an outcome", &end)?.trim_matches('"').to_owned())
}

struct Writer {
    connection: SqliteConnection,
    clock: crate::Clock,
}

impl Writer {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut retention = interval_at(Instant::now(), RETAIN_EVERY);
        retention.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asks = Vec::new();
        loop {
            tokio::select! {
                came = asked.recv_many(&mut asks, TOGETHER) => {
                    if came == 0 {
                        break;
                    }
                }
                _ = retention.tick() => {
                    if let Err(error) = self.retain().await {
                        tracing::warn!(%error, "retention of calls failed");
                    }
                    continue;
                }
            }
            let (mut calls, mut closing) = (Vec::new(), None);
            for ask in asks.drain(..) {
                match ask {
                    Ask::Keep(call) => calls.push(*call),
                    Ask::Close(answer) => closing = Some(answer),
                }
            }
            // Tried once more; what the disk refuses twice is not worth the memory.
            if let Err(error) = self.write(&calls).await {
                tracing::warn!(%error, "calls not written, trying again");
                tokio::time::sleep(RETRY_AFTER).await;
                if let Err(error) = self.write(&calls).await {
                    tracing::error!(%error, calls = calls.len(), "calls lost");
                }
            }
            if let Some(answer) = closing {
                self.end().await;
                // Nobody waiting for it is no reason not to have done it.
                let _ = answer.send(());
                return;
            }
        }
        self.end().await;
    }

    async fn end(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "calls.db not closed cleanly");
        }
    }

    async fn write(&mut self, calls: &[KeptCall]) -> Result<(), Error> {
        let failed = || Error::sql("write calls");
        let mut transaction = self.connection.begin().await.map_err(failed())?;
        for call in calls {
            let record = &*call.record;
            sqlx::query(
                "INSERT INTO calls (at, number, server, client, outcome, record, arguments, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(signed(record.at))
            .bind(signed(record.call))
            .bind(record.server.as_ref().map(|server| server.as_str()))
            .bind(&record.client)
            .bind(word(record.end)?)
            .bind(json("a call", record)?)
            .bind(&call.arguments)
            .bind(&call.result)
            .execute(&mut *transaction)
            .await
            .map_err(failed())?;
        }
        transaction.commit().await.map_err(failed())
    }

    async fn retain(&mut self) -> Result<(), Error> {
        let failed = || Error::sql("drop old calls");
        let keep_for = u64::try_from(KEEP_FOR.as_millis()).unwrap_or(u64::MAX);
        let oldest = (self.clock)().saturating_sub(keep_for);
        loop {
            let dropped = sqlx::query(
                "DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE at < ? OR id <= (SELECT max(id) FROM calls) - ? ORDER BY id LIMIT ?)",
            )
            .bind(signed(oldest))
            .bind(KEEP_ROWS)
            .bind(DROPPED_AT_ONCE)
            .execute(&mut self.connection)
            .await
            .map_err(failed())?
            .rows_affected();
            if dropped == 0 {
                return Ok(());
            }
        }
    }
}
