//! Circuit breakers: a tool that keeps failing is not called for a while.
//!
//! Closed lets every call through. After [`Settings::failures`] failures in a row it opens and rejects calls for
//! [`Settings::open_for`], then it is half open: calls go through again, the first failure opens it anew, and
//! [`Settings::successes`] successes in a row close it (Nygard, *Release It!*, 2nd ed., ch. 5). Only what broke inside counts:
//! arguments that a tool refuses, and calls that were withdrawn, say nothing about its health.

use serde::Serialize;
use std::time::{Duration, Instant};

/// When a breaker changes its state.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Settings {
    /// Failures in a row that open it.
    pub(crate) failures: u32,
    /// Successes in a row that close it when half open.
    pub(crate) successes: u32,
    /// How long it stays open.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub(crate) open_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            successes: 3,
            open_for: Duration::from_secs(30),
        }
    }
}

fn seconds<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(value.as_secs())
}

/// Whether calls go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// They do.
    Closed,
    /// They are rejected.
    Open,
    /// They do, on trial.
    HalfOpen,
}

/// What a breaker has seen.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stats {
    /// Calls that went through.
    pub(crate) total_calls: u64,
    /// Of these, those that went well.
    pub(crate) successful_calls: u64,
    /// Of these, those that broke.
    pub(crate) failed_calls: u64,
    /// Calls that were not let through.
    pub(crate) rejected_calls: u64,
    /// Failures since the last success.
    pub(crate) consecutive_failures: u32,
    /// Successes since the last failure.
    pub(crate) consecutive_successes: u32,
}

/// How a call ended, for its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It went well.
    Well,
    /// It broke.
    Broken,
    /// It says nothing about the tool.
    Nothing,
}

/// One breaker. It never reads the clock: the time comes in.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: Settings,
    state: State,
    opened: Option<Instant>,
    stats: Stats,
}

impl Breaker {
    /// Closed.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Closed,
            opened: None,
            stats: Stats::default(),
        }
    }

    /// Lets a call through, or says how long to wait.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.left(now) {
            Some(left) if !left.is_zero() => {
                self.stats.rejected_calls += 1;
                return Err(left);
            }
            Some(_) => {
                self.state = State::HalfOpen;
                self.opened = None;
                self.stats.consecutive_successes = 0;
            }
            None => {}
        }
        self.stats.total_calls += 1;
        Ok(())
    }

    /// Takes in how a call ended.
    pub(crate) fn ended(&mut self, now: Instant, end: End) {
        match end {
            End::Nothing => {}
            End::Well => {
                self.stats.successful_calls += 1;
                self.stats.consecutive_successes =
                    self.stats.consecutive_successes.saturating_add(1);
                self.stats.consecutive_failures = 0;
                if self.state == State::HalfOpen
                    && self.stats.consecutive_successes >= self.settings.successes
                {
                    self.state = State::Closed;
                }
            }
            End::Broken => {
                self.stats.failed_calls += 1;
                self.stats.consecutive_failures = self.stats.consecutive_failures.saturating_add(1);
                self.stats.consecutive_successes = 0;
                let enough = self.stats.consecutive_failures >= self.settings.failures;
                // A call that was let through before it opened ends later: it does not open it anew.
                if self.state == State::HalfOpen || (self.state == State::Closed && enough) {
                    self.state = State::Open;
                    self.opened = Some(now);
                }
            }
        }
    }

    /// Closes it and forgets what it has seen.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.settings);
    }

    /// Its state now: one that was open long enough is half open, also before a call asks.
    pub(crate) fn state(&self, now: Instant) -> State {
        match self.left(now) {
            Some(left) if left.is_zero() => State::HalfOpen,
            _ => self.state,
        }
    }

    /// What it has seen.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// When it changes its state.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long it stays open yet.
    fn left(&self, now: Instant) -> Option<Duration> {
        let opened = self.opened?;
        Some(
            self.settings
                .open_for
                .saturating_sub(now.saturating_duration_since(opened)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `f` a failure, `s` a success, `n` neither, `w` waits 30 s; then the state, and `!` where a call was rejected.
    fn check(story: &str, expected: &str) {
        let mut breaker = Breaker::new(Settings::default());
        let mut now = Instant::now();
        let mut said = String::new();
        for step in story.chars() {
            let end = match step {
                'w' => {
                    now += Duration::from_secs(30);
                    continue;
                }
                's' => End::Well,
                'f' => End::Broken,
                _ => End::Nothing,
            };
            match breaker.admit(now) {
                Ok(()) => breaker.ended(now, end),
                Err(_) => said.push('!'),
            }
        }
        let state = format!("{:?}", breaker.state(now));
        assert_eq!(said + &state, expected, "{story}");
    }

    #[test]
    fn it_opens_on_five_in_a_row_and_closes_on_three() {
        check("ffff", "Closed");
        check("ffffsf", "Closed");
        check("fffff", "Open");
        check("fffffss", "!!Open");
        check("fffffw", "HalfOpen");
        check("fffffwss", "HalfOpen");
        check("fffffwsss", "Closed");
        check("fffffwssfs", "!Open");
        // Refused arguments neither open it nor make it forget.
        check("nnnnnn", "Closed");
        check("ffffnnf", "Open");
    }

    #[test]
    fn a_reset_forgets() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Settings::default());
        for _ in 0..5 {
            breaker.ended(now, End::Broken);
        }
        assert_eq!(breaker.admit(now), Err(Duration::from_secs(30)));
        breaker.reset();
        assert_eq!(breaker.state(now), State::Closed);
        assert_eq!(
            breaker.stats().failed_calls + breaker.stats().rejected_calls,
            0
        );
        assert_eq!(breaker.admit(now), Ok(()));
    }
}
