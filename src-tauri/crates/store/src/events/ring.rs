//! The events in memory: a pure structure under one short lock.

use super::Recent;
use flotilla_contract::Event;
use std::{collections::VecDeque, sync::Arc};

/// The newest events, in order and without holes. Keeps `capacity` of them, and up to `backlog` while they are not durable.
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    last: u64,
    durable: u64,
    capacity: usize,
    backlog: usize,
}

impl Ring {
    pub(super) fn new(last: u64, capacity: usize, backlog: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            events: VecDeque::new(),
            last,
            durable: last,
            capacity,
            backlog: backlog.max(capacity),
        }
    }

    /// Adds the event with the next place. Gives it, and one that had to make room.
    pub(super) fn push(
        &mut self,
        event: impl FnOnce(u64) -> Arc<Event>,
    ) -> (Arc<Event>, Option<Arc<Event>>) {
        self.last += 1;
        let event = event(self.last);
        self.events.push_back(event.clone());
        let dropped = if self.over() {
            self.events.pop_front()
        } else {
            None
        };
        (event, dropped)
    }

    fn over(&self) -> bool {
        let len = self.events.len();
        len > self.capacity && (self.first() <= self.durable || len > self.backlog)
    }

    /// Place of the oldest event in memory; one past the newest when there is none.
    fn first(&self) -> u64 {
        self.last + 1 - self.events.len() as u64
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Everything up to this place has left the writer. Gives what memory no longer needs to hold.
    pub(super) fn set_durable(&mut self, durable: u64) -> Vec<Arc<Event>> {
        self.durable = durable;
        let mut dropped = Vec::new();
        while self.over() {
            dropped.extend(self.events.pop_front());
        }
        // A burst must not hold its memory for ever.
        if self.events.capacity() > 2 * self.capacity.max(self.events.len()) {
            self.events.shrink_to(self.capacity);
        }
        dropped
    }

    /// At most `limit` events after a place.
    pub(super) fn after(&self, after: u64, limit: usize) -> Recent {
        let first = self.first();
        let next = after.saturating_add(1);
        let missed = first.saturating_sub(next);
        let skip = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        Recent {
            missed,
            events: self.events.iter().skip(skip).take(limit).cloned().collect(),
        }
    }

    /// Events that have not left the writer yet, oldest first.
    pub(super) fn unwritten(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let skip =
            usize::try_from((self.durable + 1).saturating_sub(self.first())).unwrap_or(usize::MAX);
        self.events.range(skip.min(self.events.len())..)
    }
}
