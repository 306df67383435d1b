//! `events.db`: the log of events.

mod ring;
mod writer;

use crate::{
    Clock, Error, Options,
    control::{get, millis, one_of, page_size, signed},
    database,
};
use flotilla_contract::{
    Event, ServerId,
    command::{EventPage, EventQuery},
    event::NewEvent,
};
use ring::Ring;
use sqlx::{
    AssertSqlSafe, SqlitePool,
    sqlite::{SqlitePoolOptions, SqliteRow},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// How the event log is kept.
#[derive(Clone, Debug)]
pub struct EventOptions {
    /// Events kept in memory for subscribers (default 10,000).
    pub ring: usize,
    /// Events kept in memory at most while they are not on disk (default 100,000); beyond it the oldest are lost to the disk.
    pub backlog: usize,
    /// Events kept on disk (default 1,000,000).
    pub keep_rows: u64,
    /// How long events are kept on disk (default 30 days).
    pub keep_for: Duration,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self {
            ring: 10_000,
            backlog: 100_000,
            keep_rows: 1_000_000,
            keep_for: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// How far the log has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Every event up to this position has left the writer: it is on disk, or counted as lost.
    pub durable: u64,
    /// Events lost to the disk since the log was opened, because it was slower than the backlog is large.
    pub lost: u64,
    /// Why the last write failed; absent once one succeeds.
    pub trouble: Option<String>,
}

/// A handle on the event log; clones share it. When the last one is dropped, the writer writes what is left and ends.
#[derive(Clone)]
pub struct EventLog {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    readers: SqlitePool,
}

struct Shared {
    ring: Mutex<Ring>,
    /// Wakes subscribers.
    appended: Notify,
    /// Wakes the writer.
    work: Notify,
    state: watch::Sender<LogState>,
    clock: Clock,
}

/// What the writer is asked for beside writing.
enum Ask {
    /// Drop what is older than the log keeps; answers how many.
    Retain(oneshot::Sender<Result<u64, Error>>),
    /// Write what is left and end.
    Close(oneshot::Sender<()>),
}

/// Events of the ring after a position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {
    /// How many events between the position and the first one here are no longer in memory.
    pub missed: u64,
    /// The events, oldest first.
    pub events: Vec<Arc<Event>>,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The next event.
    Event(Arc<Event>),
    /// The subscriber was too slow: this many events have left memory. They can still be read from disk.
    Missed(u64),
}

impl EventLog {
    pub(crate) async fn open(options: &Options) -> Result<(Self, Option<String>), Error> {
        let ready = database::prepare(
            &options.home,
            "events.db",
            &sqlx::migrate!("migrations/events"),
            &options.clock,
        )
        .await?;
        let writer = writer::connect(&ready.options).await?;
        let last = writer.last;
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .min_connections(0)
            .connect_lazy_with(ready.options);

        let shared = Arc::new(Shared {
            ring: Mutex::new(Ring::new(last, options.events.ring, options.events.backlog)),
            appended: Notify::new(),
            work: Notify::new(),
            state: watch::Sender::new(LogState {
                durable: last,
                ..LogState::default()
            }),
            clock: options.clock.clone(),
        });
        let (asks, asked) = mpsc::channel(8);
        tokio::spawn(writer.run(shared.clone(), asked, options.events.clone()));
        Ok((
            Self {
                shared,
                asks,
                readers,
            },
            ready.notice,
        ))
    }

    /// Gives the event its place and time, and returns at once: about a microsecond, never waiting for disk or subscribers.
    pub fn append(&self, new: NewEvent) -> Arc<Event> {
        let NewEvent {
            about,
            correlation,
            what,
        } = new;
        let (server, instance) = about.map_or((None, None), |i| {
            (Some(i.server), Some(i.index).filter(|n| *n > 0))
        });
        let at = (self.shared.clock)();
        let (event, dropped) = self.shared.ring().push(|seq| {
            Arc::new(Event {
                seq,
                at,
                server,
                instance,
                correlation,
                what,
            })
        });
        // Freed only now, outside the lock.
        drop(dropped);
        self.shared.work.notify_one();
        self.shared.appended.notify_waiters();
        event
    }

    /// Place of the newest event; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.shared.ring().last()
    }

    /// Follows how far the log is durable, what was lost, and what troubles the writer.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LogState> {
        self.shared.state.subscribe()
    }

    /// New events from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscriber {
        self.subscribe_after(self.last_seq())
    }

    /// Events after a position, as far as they are in memory, then new ones.
    #[must_use]
    pub fn subscribe_after(&self, after: u64) -> Subscriber {
        Subscriber {
            shared: self.shared.clone(),
            after,
            batch: VecDeque::new(),
        }
    }

    /// Events in memory after a position, oldest first.
    #[must_use]
    pub fn recent(&self, after: u64) -> Recent {
        self.shared.ring().after(after, usize::MAX)
    }

    /// A page of events from disk and memory, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn read(&self, query: &EventQuery) -> Result<EventPage, Error> {
        let limit = page_size(query) as usize;
        let before = query.before.unwrap_or(u64::MAX);
        let wanted = |event: &Event| {
            event.seq < before
                && query
                    .server
                    .as_ref()
                    .is_none_or(|id| event.server.as_ref() == Some(id))
                && (query.kinds.is_empty()
                    || query.kinds.iter().any(|kind| kind == event.what.word()))
        };
        // What the writer has not finished is read from memory, the rest from disk: no event twice, none left out.
        let (mut events, durable) = {
            let ring = self.shared.ring();
            let fresh: Vec<Arc<Event>> = ring
                .unwritten()
                .rev()
                .filter(|e| wanted(e))
                .take(limit + 1)
                .cloned()
                .collect();
            (
                fresh.iter().map(|e| Event::clone(e)).collect::<Vec<_>>(),
                ring.durable(),
            )
        };
        if events.len() <= limit {
            let below = before.min(durable.saturating_add(1));
            events.extend(
                self.read_disk(query, below, limit + 1 - events.len())
                    .await?,
            );
        }
        let more = events.len() > limit;
        events.truncate(limit);
        Ok(EventPage { events, more })
    }

    async fn read_disk(
        &self,
        query: &EventQuery,
        below: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let mut sql = String::from(
            "SELECT seq, at, server, instance, correlation, what FROM events WHERE seq < ?",
        );
        if query.server.is_some() {
            sql.push_str(" AND server = ?");
        }
        sql.push_str(&one_of("kind", query.kinds.len()));
        sql.push_str(" ORDER BY seq DESC LIMIT ?");
        // The text is made of constants and placeholders alone.
        let mut statement = sqlx::query(AssertSqlSafe(sql)).bind(signed(below));
        if let Some(server) = &query.server {
            statement = statement.bind(server.as_str());
        }
        for kind in &query.kinds {
            statement = statement.bind(kind);
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(Error::sql("read the events"))?;
        // An event whose kind a newer version wrote is left out rather than hiding the others.
        Ok(rows
            .iter()
            .filter_map(|row| {
                event(row)
                    .inspect_err(|error| tracing::warn!(%error, "event left out"))
                    .ok()
            })
            .collect())
    }

    /// Waits until everything appended so far is on disk.
    ///
    /// # Errors
    /// When it is not within this time, or the log is closed.
    pub async fn flush(&self, within: Duration) -> Result<(), Error> {
        let target = self.last_seq();
        let mut state = self.shared.state.subscribe();
        match tokio::time::timeout(within, state.wait_for(|s| s.durable >= target)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed("the event log")),
            Err(_) => {
                let now = self.shared.state.borrow().clone();
                Err(Error::Flush {
                    pending: target.saturating_sub(now.durable),
                    within,
                    trouble: now.trouble,
                })
            }
        }
    }

    /// Drops what is older or more than the log keeps, now; the writer also does it by itself every ten minutes. Gives how
    /// many events were dropped.
    ///
    /// # Errors
    /// When the database cannot be written, or the log is closed.
    pub async fn retain(&self) -> Result<u64, Error> {
        let (answer, answered) = oneshot::channel();
        self.asks
            .send(Ask::Retain(answer))
            .await
            .map_err(|_| Error::Closed("the event log"))?;
        answered.await.map_err(|_| Error::Closed("the event log"))?
    }

    /// Writes what is left, within this time, and closes the file. Events appended later stay in memory only.
    ///
    /// # Errors
    /// When not everything reached the disk in time.
    pub async fn close(&self, within: Duration) -> Result<(), Error> {
        let flushed = self.flush(within).await;
        self.readers.close().await;
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::Close(answer)).await.is_ok() {
            // The writer drops the answer when it ends for another reason; either way it has ended.
            let _ = tokio::time::timeout(within, answered).await;
        }
        flushed
    }
}

impl Shared {
    /// A producer that panicked cannot have left the ring half-written, so its lock stays usable.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader that follows the log. It holds a position, not a queue: being slow costs nobody anything.
pub struct Subscriber {
    shared: Arc<Shared>,
    after: u64,
    batch: VecDeque<Arc<Event>>,
}

impl Subscriber {
    /// The next event, waiting for it. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Received {
        loop {
            if let Some(event) = self.batch.pop_front() {
                return Received::Event(event);
            }
            // Registered before looking, so that an event between the look and the wait is not slept through.
            let mut appended = std::pin::pin!(self.shared.appended.notified());
            appended.as_mut().enable();
            let found = self.shared.ring().after(self.after, 256);
            if found.missed == 0 && found.events.is_empty() {
                appended.await;
                continue;
            }
            self.after += found.missed;
            if let Some(last) = found.events.last() {
                self.after = last.seq;
            }
            self.batch = found.events.into();
            if found.missed > 0 {
                return Received::Missed(found.missed);
            }
        }
    }
}

fn event(row: &SqliteRow) -> Result<Event, Error> {
    let server: Option<ServerId> = get::<Option<String>>(row, "server")?
        .map(|name| name.parse())
        .transpose()
        .map_err(|e| Error::Value {
            what: "a server's name",
            error: format!("{e}"),
        })?;
    let what: &str = get(row, "what")?;
    Ok(Event {
        seq: millis(row, "seq")?,
        at: millis(row, "at")?,
        server,
        instance: get(row, "instance")?,
        correlation: get(row, "correlation")?,
        what: serde_json::from_str(what).map_err(Error::value("an event"))?,
    })
}
