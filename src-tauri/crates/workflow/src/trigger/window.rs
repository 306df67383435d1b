//! How often within a time.

use flotilla_contract::Millis;
use std::collections::VecDeque;

/// The last times of something, as far as they are within a span.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    times: VecDeque<Millis>,
}

impl Window {
    /// How often within `span` up to now.
    pub(super) fn count(&mut self, now: Millis, span: u64) -> usize {
        // What lies ahead is from before the clock was put back.
        self.times.retain(|at| *at <= now && now - at < span);
        self.times.len()
    }

    pub(super) fn note(&mut self, now: Millis) {
        self.times.push_back(now);
    }

    pub(super) fn clear(&mut self) {
        self.times.clear();
    }
}
