//! Subscriptions: what is there now, then what changes. A reader that is too slow starts afresh; nobody waits for it.

use crate::core::{Core, Tick};
use bytes::Bytes;
use flotilla_contract::{
    InstanceId,
    frame::{FleetDelta, Topic, Update},
    log::{LogEntry, LogGap, LogQuery},
};
use flotilla_store::{Received, Subscriber};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::broadcast::{self, error::RecvError};

/// Log readers look at the rings this often; nobody looks while nobody reads.
const LOG_PACE: Duration = Duration::from_millis(100);
/// Lines in one update at most; more follow in the next.
const LOG_BATCH: usize = 1_000;
const TAIL: u32 = 500;
const TAIL_MOST: u32 = 5_000;
/// Events in one update at most.
const EVENT_BATCH: usize = 256;

/// One piece of news.
#[expect(
    clippy::large_enum_variant,
    reason = "passed on once; a box would be one more allocation for each"
)]
pub enum Outgoing {
    /// JSON.
    Update(Update),
    /// A metric tick.
    Binary(Bytes),
}

/// News of one subscription. Bounded: a reader that is too slow gets a fresh start, never back-pressure on the engine.
pub struct Subscription {
    core: Arc<Core>,
    kind: Kind,
    pending: VecDeque<Outgoing>,
}

enum Kind {
    Fleet {
        deltas: broadcast::Receiver<Arc<FleetDelta>>,
        after: u64,
    },
    Events(Box<Subscriber>),
    Logs(LogReader),
    Metrics(broadcast::Receiver<Tick>),
}

impl Subscription {
    pub(crate) fn open(core: Arc<Core>, topic: Topic) -> Self {
        let mut pending = VecDeque::new();
        let kind = match topic {
            Topic::Fleet => {
                // Registered before the snapshot is read, so that nothing falls between.
                let deltas = core.deltas.subscribe();
                let snapshot = core.snapshot();
                let after = snapshot.seq;
                pending.push_back(Outgoing::Update(Update::Fleet(snapshot)));
                Kind::Fleet { deltas, after }
            }
            Topic::Events => Kind::Events(Box::new(core.events.subscribe())),
            Topic::Logs { query } => {
                let mut reader = LogReader::new(query);
                pending.push_back(Outgoing::Update(Update::Logs {
                    entries: reader.first(&core),
                }));
                Kind::Logs(reader)
            }
            Topic::Metrics => {
                let ticks = core.ticks.subscribe();
                pending.push_back(series(&core));
                Kind::Metrics(ticks)
            }
        };
        Self {
            core,
            kind,
            pending,
        }
    }

    /// The next piece of news; `None` when the engine is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Outgoing> {
        if let Some(news) = self.pending.pop_front() {
            return Some(news);
        }
        let ending = self.core.ending.clone();
        tokio::select! {
            () = ending.cancelled() => None,
            news = self.wait() => news,
        }
    }

    async fn wait(&mut self) -> Option<Outgoing> {
        let core = &self.core;
        match &mut self.kind {
            Kind::Fleet { deltas, after } => loop {
                match deltas.recv().await {
                    Ok(delta) if delta.seq <= *after => {}
                    Ok(delta) => {
                        *after = delta.seq;
                        return Some(Outgoing::Update(Update::Changed((*delta).clone())));
                    }
                    Err(RecvError::Lagged(_)) => {
                        let snapshot = core.snapshot();
                        *after = snapshot.seq;
                        return Some(Outgoing::Update(Update::Fleet(snapshot)));
                    }
                    Err(RecvError::Closed) => return None,
                }
            },
            Kind::Events(subscriber) => {
                let mut events = Vec::new();
                let durable = core.events.state();
                if let Received::Event(event) = subscriber.recv().await {
                    events.push((*event).clone());
                }
                // What has gathered meanwhile goes along.
                while events.len() < EVENT_BATCH {
                    match tokio::time::timeout(Duration::ZERO, subscriber.recv()).await {
                        Ok(Received::Event(event)) => events.push((*event).clone()),
                        Ok(Received::Missed(_)) => {}
                        Err(_) => break,
                    }
                }
                let durable = durable.borrow().durable;
                Some(Outgoing::Update(Update::Events { events, durable }))
            }
            Kind::Logs(reader) => loop {
                tokio::time::sleep(LOG_PACE).await;
                let entries = reader.more(core);
                if !entries.is_empty() {
                    return Some(Outgoing::Update(Update::Logs { entries }));
                }
            },
            Kind::Metrics(ticks) => match ticks.recv().await {
                Ok(tick) if tick.series_changed => {
                    self.pending.push_back(Outgoing::Binary(tick.frame));
                    Some(series(core))
                }
                Ok(tick) => Some(Outgoing::Binary(tick.frame)),
                Err(RecvError::Lagged(_)) => Some(series(core)),
                Err(RecvError::Closed) => None,
            },
        }
    }
}

fn series(core: &Core) -> Outgoing {
    Outgoing::Update(Update::Series {
        interval: core.live.interval(),
        series: core.live.series(),
    })
}

/// Reads the rings of the instances that a query names, each from where it was left.
pub(crate) struct LogReader {
    query: LogQuery,
    needle: Option<String>,
    read: BTreeMap<InstanceId, u64>,
}

impl LogReader {
    pub(crate) fn new(query: LogQuery) -> Self {
        let needle = query
            .contains
            .as_deref()
            .filter(|n| !n.is_empty())
            .map(str::to_lowercase);
        Self {
            query,
            needle,
            read: BTreeMap::new(),
        }
    }

    fn wants(query: &LogQuery, id: &InstanceId) -> bool {
        (query.servers.is_empty() || query.servers.contains(&id.server))
            && query.instance.is_none_or(|n| n == id.index)
    }

    /// The tail, by time.
    pub(crate) fn first(&mut self, core: &Core) -> Vec<LogEntry> {
        let tail =
            usize::try_from(self.query.tail.unwrap_or(TAIL).min(TAIL_MOST)).unwrap_or(usize::MAX);
        let mut lines = self.gather(core, usize::MAX);
        lines.drain(..lines.len().saturating_sub(tail));
        lines
    }

    fn more(&mut self, core: &Core) -> Vec<LogEntry> {
        self.gather(core, LOG_BATCH)
    }

    fn gather(&mut self, core: &Core, limit: usize) -> Vec<LogEntry> {
        let (query, read, needle) = (&self.query, &mut self.read, &self.needle);
        let mut entries = Vec::new();
        core.supervisor.read_logs(
            |id| Self::wants(query, id),
            |id, ring| {
                let newest = ring.newest();
                let from = read.get(id).copied();
                // An instance that is new to a reader starts with all its lines; its numbers begin anew when it was
                // retired and scaled up again.
                let from = from.filter(|seq| *seq <= newest).unwrap_or(0);
                if from == newest {
                    return;
                }
                let mut new = ring.after(from, limit);
                let first = new.iter().find_map(|e| {
                    if let LogEntry::Line(l) = e {
                        Some(l.seq)
                    } else {
                        None
                    }
                });
                // More than fits in one update: a gap here too, rather than a reader that falls ever further behind.
                if let (Some(first), false) =
                    (first, new.iter().any(|e| matches!(e, LogEntry::Gap(_))))
                    && from > 0
                    && first > from + 1
                {
                    new.insert(
                        0,
                        LogEntry::Gap(LogGap {
                            instance: id.clone(),
                            from_seq: from + 1,
                            missing: first - from - 1,
                        }),
                    );
                }
                read.insert(id.clone(), newest);
                entries.extend(new);
            },
        );
        if let Some(needle) = needle {
            entries.retain(|entry| match entry {
                LogEntry::Line(line) => line.text.to_lowercase().contains(needle),
                LogEntry::Gap(_) => true,
            });
        }
        // Gaps stay before the line that they precede: a stable sort by the time of the line that follows.
        let mut at = 0;
        let mut keyed: Vec<(u64, LogEntry)> = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().rev() {
            if let LogEntry::Line(line) = &entry {
                at = line.at;
            }
            keyed.push((at, entry));
        }
        keyed.reverse();
        keyed.sort_by_key(|(at, _)| *at);
        keyed.into_iter().map(|(_, entry)| entry).collect()
    }
}
