//! Subscriptions: what is there now, then what changes. A reader that is too slow starts afresh; nobody waits for it.

use crate::{
    core::{Core, Tick},
    run_feed::{RunFeed, StepFeed},
};
use bytes::Bytes;
use flotilla_contract::{
    Event, InstanceId,
    command::EventQuery,
    frame::{FleetDelta, Topic, Update},
    log::{LogEntry, LogGap, LogQuery},
    workflow::StepRef,
};
use flotilla_store::{EventLog, Received, Subscriber};
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
/// Events in one update at most, unless they are read from disk.
const EVENT_BATCH: usize = 256;
/// Of the events that a reader missed, the newest are read from disk: at most so many.
const EVENTS_AGAIN: u64 = 1_000;

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
    Events(Box<EventReader>),
    Logs(LogReader),
    Metrics(broadcast::Receiver<Tick>),
    Run(Box<RunFeed>),
    Step(Box<StepFeed>),
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
            Topic::Events => Kind::Events(Box::new(EventReader::new(core.events.clone()))),
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
            Topic::Run { run } => Kind::Run(Box::new(RunFeed::new(&core, run))),
            Topic::Step { run, step, item } => {
                let step = StepRef { run, step, item };
                Kind::Step(Box::new(StepFeed::new(&core, step)))
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
            Kind::Events(reader) => {
                let events = reader.next().await;
                let durable = core.events.state().borrow().durable;
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
            Kind::Run(feed) => Some(Outgoing::Update(feed.next(core).await)),
            Kind::Step(feed) => Some(Outgoing::Update(feed.next(core).await)),
        }
    }
}

fn series(core: &Core) -> Outgoing {
    Outgoing::Update(Update::Series {
        interval: core.live.interval(),
        series: core.live.series(),
    })
}

/// Follows the log of events. What left memory before it was read here is read from disk.
struct EventReader {
    log: EventLog,
    subscriber: Subscriber,
    /// Place of the last event that was passed on.
    last: u64,
    gathered: Vec<Event>,
    /// Events after the gathered ones that are no longer in memory.
    missed: u64,
}

impl EventReader {
    fn new(log: EventLog) -> Self {
        let last = log.last_seq();
        Self {
            subscriber: log.subscribe_after(last),
            log,
            last,
            gathered: Vec::new(),
            missed: 0,
        }
    }

    /// The next events, oldest first; at least one. Dropping the future loses nothing.
    async fn next(&mut self) -> Vec<Event> {
        while self.gathered.is_empty() {
            if self.missed > 0 {
                self.read_again().await;
            } else {
                let received = self.subscriber.recv().await;
                self.take(received);
            }
        }
        // What has gathered meanwhile goes along.
        while self.missed == 0 && self.gathered.len() < EVENT_BATCH {
            match tokio::time::timeout(Duration::ZERO, self.subscriber.recv()).await {
                Ok(received) => self.take(received),
                Err(_) => break,
            }
        }
        let events = std::mem::take(&mut self.gathered);
        self.last = events.last().map_or(self.last, |event| event.seq);
        events
    }

    fn take(&mut self, received: Received) {
        match received {
            Received::Event(event) => self.gathered.push((*event).clone()),
            Received::Missed(count) => self.missed += count,
        }
    }

    async fn read_again(&mut self) {
        let next = self.last + self.missed + 1;
        let query = EventQuery {
            server: None,
            kinds: Vec::new(),
            before: Some(next),
            limit: u32::try_from(self.missed.min(EVENTS_AGAIN)).ok(),
        };
        match self.log.read(&query).await {
            Ok(page) => {
                let newest_first = page.events.into_iter().filter(|e| e.seq > self.last);
                self.gathered.extend(newest_first);
                self.gathered.reverse();
            }
            Err(error) => {
                tracing::warn!(%error, missed = self.missed, "failed to read again what a reader of events missed");
            }
        }
        (self.last, self.missed) = (next - 1, 0);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_contract::{EventKind, event::NewEvent};
    use flotilla_store::{EventOptions, Options};

    #[tokio::test]
    async fn a_reader_of_events_that_was_too_slow_reads_from_disk_what_it_missed() {
        let home = tempfile::tempdir().unwrap();
        let mut options = Options::new(home.path());
        options.events = EventOptions {
            ring: 4,
            ..EventOptions::default()
        };
        let log = flotilla_store::open(options).await.unwrap().events;
        let mut reader = EventReader::new(log.clone());
        let append = |count: u64| {
            for _ in 0..count {
                log.append(NewEvent {
                    about: None,
                    correlation: None,
                    what: EventKind::EngineStopped,
                });
            }
        };
        let mut seen = Vec::new();
        for round in 1..=3 {
            append(20);
            // On disk, and so out of the ring, before anything is read.
            let mut state = log.state();
            state.wait_for(|s| s.durable >= round * 20).await.unwrap();
            while seen.len() < usize::try_from(round).unwrap() * 20 {
                let events = tokio::time::timeout(Duration::from_secs(30), reader.next());
                seen.extend(events.await.unwrap().into_iter().map(|e| e.seq));
            }
        }
        assert_eq!(seen, (1..=60).collect::<Vec<u64>>());
    }
}
