//! The one task that writes `events.db`.

use super::{Ask, EventOptions, Shared};
use crate::{
    Error,
    control::{signed, unsigned},
};
use flotilla_contract::Event;
use sqlx::{
    AssertSqlSafe, Connection, SqlSafeStr, SqlStr, SqliteConnection, sqlite::SqliteConnectOptions,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

/// Rows of a large statement, and statements of a transaction at most.
const ROWS: usize = 100;
const STATEMENTS: usize = 10;
/// Rows that retention drops at once: short enough that events never wait noticeably.
const DROPPED_AT_ONCE: i64 = 1_000;
const RETAIN_EVERY: Duration = Duration::from_secs(600);
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    connection: SqliteConnection,
    /// Newest place on disk.
    pub(super) last: u64,
    many: SqlStr,
    one: SqlStr,
}

pub(super) async fn connect(options: &SqliteConnectOptions) -> Result<Writer, Error> {
    let mut connection = SqliteConnection::connect_with(options)
        .await
        .map_err(Error::sql("open events.db"))?;
    let last: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM events")
        .fetch_one(&mut connection)
        .await
        .map_err(Error::sql("find the newest event"))?;
    Ok(Writer {
        connection,
        last: last.map_or(0, unsigned),
        many: insert(ROWS),
        one: insert(1),
    })
}

fn insert(rows: usize) -> SqlStr {
    let values = vec!["(?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
    AssertSqlSafe(format!(
        "INSERT INTO events (seq, at, server, instance, kind, correlation, what) VALUES {values}"
    ))
    .into_sql_str()
}

impl Writer {
    /// Writes whenever there is something to write, until asked to end or nobody is left who could append.
    pub(super) async fn run(
        mut self,
        shared: Arc<Shared>,
        mut asks: mpsc::Receiver<Ask>,
        options: EventOptions,
    ) {
        let mut retention = interval_at(Instant::now(), RETAIN_EVERY);
        retention.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = loop {
            tokio::select! {
                biased;
                () = shared.work.notified() => self.drain(&shared).await,
                ask = asks.recv() => match ask {
                    Some(Ask::Retain(answer)) => {
                        // Nobody waiting for the number is no reason not to do it.
                        let _ = answer.send(self.retain(&shared, &options).await);
                    }
                    Some(Ask::Close(answer)) => break Some(answer),
                    None => break None,
                },
                _ = retention.tick() => {
                    if let Err(error) = self.retain(&shared, &options).await {
                        tracing::warn!(%error, "retention of events failed");
                    }
                }
            }
        };
        self.end(&shared, closing).await;
    }

    async fn end(mut self, shared: &Shared, closing: Option<oneshot::Sender<()>>) {
        if let Err(error) = self.write(shared).await {
            tracing::error!(%error, "last events not written");
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "events.db not closed cleanly");
        }
        if let Some(closing) = closing {
            let _ = closing.send(());
        }
    }

    /// Writes until nothing is left. A failure is told and tried again a second later; the backlog bounds what that costs.
    async fn drain(&mut self, shared: &Shared) {
        if let Err(error) = self.write(shared).await {
            let text = error.to_string();
            shared.state.send_if_modified(|state| {
                let new = state.trouble.as_ref() != Some(&text);
                if new {
                    tracing::error!(error = %text, "events not written");
                    state.trouble = Some(text.clone());
                }
                new
            });
            sleep(RETRY_AFTER).await;
            shared.work.notify_one();
        }
    }

    async fn write(&mut self, shared: &Shared) -> Result<(), Error> {
        loop {
            let durable = shared.ring().durable();
            let Some(written) = self
                .transaction(shared, durable)
                .await
                .map_err(Error::sql("write events"))?
            else {
                return Ok(());
            };
            let freed = shared.ring().set_durable(written.up_to);
            drop(freed);
            let lost = written.up_to - durable - written.rows;
            if lost > 0 {
                tracing::error!(lost, "the disk was too slow: events are not on disk");
            }
            shared.state.send_modify(|state| {
                state.durable = written.up_to;
                state.lost += lost;
                state.trouble = None;
            });
        }
    }

    /// One transaction of up to ten statements of up to a hundred rows; `None` when there was nothing to write.
    async fn transaction(
        &mut self,
        shared: &Shared,
        after: u64,
    ) -> Result<Option<Written>, sqlx::Error> {
        let mut written = Written {
            up_to: after,
            rows: 0,
        };
        let mut chunk = take(shared, after);
        if chunk.is_empty() {
            return Ok(None);
        }
        let mut transaction = self.connection.begin().await?;
        for _ in 0..STATEMENTS {
            if chunk.len() == ROWS {
                bind(self.many.clone(), &chunk)
                    .execute(&mut *transaction)
                    .await?;
            } else {
                for event in &chunk {
                    bind(self.one.clone(), std::slice::from_ref(event))
                        .execute(&mut *transaction)
                        .await?;
                }
            }
            written.rows += chunk.len() as u64;
            written.up_to = chunk.last().map_or(written.up_to, |event| event.seq);
            chunk = take(shared, written.up_to);
            if chunk.is_empty() {
                break;
            }
        }
        transaction.commit().await?;
        Ok(Some(written))
    }

    /// Drops what is too old or too much, in small transactions, letting events go first in between.
    async fn retain(&mut self, shared: &Shared, options: &EventOptions) -> Result<u64, Error> {
        let mut dropped = 0;
        loop {
            let keep_from = shared.ring().last().saturating_sub(options.keep_rows);
            let oldest = (shared.clock)()
                .saturating_sub(u64::try_from(options.keep_for.as_millis()).unwrap_or(u64::MAX));
            let done = sqlx::query("DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?) AND (seq <= ? OR at < ?)")
                .bind(DROPPED_AT_ONCE)
                .bind(signed(keep_from))
                .bind(signed(oldest))
                .execute(&mut self.connection)
                .await
                .map_err(Error::sql("drop old events"))?;
            dropped += done.rows_affected();
            if done.rows_affected() < unsigned(DROPPED_AT_ONCE) {
                return Ok(dropped);
            }
            self.write(shared).await?;
        }
    }
}

struct Written {
    up_to: u64,
    rows: u64,
}

/// The next events to write. Few at a time: producers wait for this lock.
fn take(shared: &Shared, after: u64) -> Vec<Arc<Event>> {
    shared.ring().after(after, ROWS).events
}

fn bind(
    sql: SqlStr,
    events: &[Arc<Event>],
) -> sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    events.iter().fold(sqlx::query(sql), |query, event| {
        query
            .bind(signed(event.seq))
            .bind(signed(event.at))
            .bind(event.server.as_ref().map(|id| id.as_str().to_owned()))
            .bind(event.instance)
            .bind(event.what.word())
            .bind(event.correlation.clone())
            .bind(payload(event))
    })
}

fn payload(event: &Event) -> String {
    serde_json::to_string(&event.what).unwrap_or_else(|error| {
        // Only a value that JSON cannot express gets here (a number that is not one); the place must still be taken.
        tracing::error!(seq = event.seq, %error, "event not expressible as JSON");
        String::from("null")
    })
}
