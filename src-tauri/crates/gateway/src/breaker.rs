//! Holds calls back from a server, or one of its tools, that keeps failing: a pure transition.
//!
//! Closed → open after `failures` in a row → half open after `open_ms` → closed after `successes` calls on trial in a row,
//! or open again after the first that fails (figures: seed documents 003 and 004). An operator may trip it, and then it
//! stays open until it is reset or put on trial.
//!
//! Every change begins a new term, and a [`Permit`] counts only in the term in which it was given. So a call that was let
//! through before the breaker opened, and answers late, neither closes it nor opens it again.

use crate::slots::Slots;
use flotilla_contract::{
    Millis, ServerId,
    gateway::{BreakerAct, BreakerSpec, BreakerState, BreakerView},
};
use tokio::time::{Duration, Instant};

/// One breaker. It changes from open to half open by time alone, so whoever reads it says what time it is.
#[derive(Debug)]
pub(crate) struct Breaker {
    spec: BreakerSpec,
    state: State,
    since: Instant,
    /// Number of the term.
    term: u64,
    /// Failures in a row, those on trial included.
    failures: u32,
    /// Calls refused since the start.
    rejected: u64,
    /// How often it opened, by minutes.
    opens: Slots<u32, 60>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed,
    Open {
        until: Instant,
        why: Why,
    },
    /// Open until an operator says otherwise.
    Tripped,
    HalfOpen {
        successes: u32,
        trials: u32,
    },
}

/// Why it opened by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Failures(u32),
    Trial,
}

/// A call was let through. Give it back to [`Breaker::done`] in every case: a call on trial takes a place until then.
#[derive(Debug, PartialEq)]
#[must_use = "a call on trial takes a place until it is done"]
pub(crate) struct Permit {
    term: u64,
    trial: bool,
}

impl Permit {
    /// Whether the call is one on trial.
    #[cfg(test)]
    pub(crate) fn is_trial(&self) -> bool {
        self.trial
    }
}

/// A call was not let through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refused {
    /// When calls are let through on trial; `None` when nobody knows (tripped, or all trial places are taken).
    pub(crate) retry_after: Option<Duration>,
    because: Because,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Because {
    Open(Why),
    Tripped,
    TrialsFull,
}

impl Refused {
    /// Why, as a sentence without a final period.
    pub(crate) fn sentence(&self) -> String {
        match self.because {
            Because::Open(why) => format!("{}; held back for a while", why.sentence()),
            Because::Tripped => TRIPPED.to_owned(),
            Because::TrialsFull => "Calls are on trial after failures; no more at once".to_owned(),
        }
    }
}

const TRIPPED: &str = "An operator tripped the breaker; it stays open until it is reset";

impl Why {
    fn sentence(self) -> String {
        match self {
            Self::Failures(1) => "A call failed".to_owned(),
            Self::Failures(n) => format!("{n} calls in a row failed"),
            Self::Trial => "A call on trial failed".to_owned(),
        }
    }
}

/// The breaker went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: BreakerState,
    pub(crate) to: BreakerState,
}

impl Breaker {
    /// A closed one.
    pub(crate) fn new(spec: BreakerSpec, now: Instant) -> Self {
        Self {
            spec,
            state: State::Closed,
            since: now,
            term: 0,
            failures: 0,
            rejected: 0,
            opens: Slots::new(Duration::from_secs(60), now),
        }
    }

    /// Lets a call through, or not.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Permit, Refused> {
        self.settle(now);
        let because = match &mut self.state {
            State::Closed => return Ok(self.permit(false)),
            State::HalfOpen { trials, .. } if *trials < self.spec.half_open.max(1) => {
                *trials += 1;
                return Ok(self.permit(true));
            }
            State::HalfOpen { .. } => Because::TrialsFull,
            State::Open { why, .. } => Because::Open(*why),
            State::Tripped => Because::Tripped,
        };
        self.rejected += 1;
        let retry_after = self
            .next()
            .map(|until| until.saturating_duration_since(now));
        Err(Refused {
            retry_after,
            because,
        })
    }

    /// A call that was let through is over. `None`: it says nothing about the server (cancelled, or refused elsewhere before
    /// it ran).
    pub(crate) fn done(
        &mut self,
        now: Instant,
        permit: Permit,
        success: Option<bool>,
    ) -> Option<Change> {
        self.settle(now);
        if permit.term != self.term || !self.spec.enabled {
            return None;
        }
        if let State::HalfOpen { trials, .. } = &mut self.state {
            *trials = trials.saturating_sub(1);
        }
        if success? {
            self.on_success(now)
        } else {
            self.on_failure(now)
        }
    }

    fn on_success(&mut self, now: Instant) -> Option<Change> {
        self.failures = 0;
        let State::HalfOpen { successes, .. } = &mut self.state else {
            return None;
        };
        *successes += 1;
        if *successes < self.spec.successes.max(1) {
            return None;
        }
        self.enter(now, State::Closed)
    }

    fn on_failure(&mut self, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        let why = match self.state {
            State::HalfOpen { .. } => Why::Trial,
            State::Closed if self.failures >= self.spec.failures.max(1) => {
                Why::Failures(self.failures)
            }
            _ => return None,
        };
        let until = now + Duration::from_millis(self.spec.open_ms);
        self.enter(now, State::Open { until, why })
    }

    /// An operator's word. Where the spec says that there is no breaker, nothing happens.
    pub(crate) fn act(&mut self, now: Instant, act: BreakerAct) -> Option<Change> {
        self.settle(now);
        match (act, self.state) {
            _ if !self.spec.enabled => None,
            (BreakerAct::Trip, State::Tripped) | (BreakerAct::HalfOpen, State::HalfOpen { .. }) => {
                None
            }
            (BreakerAct::Trip, _) => self.enter(now, State::Tripped),
            (BreakerAct::HalfOpen, _) => self.enter(now, ON_TRIAL),
            (BreakerAct::Reset, _) => {
                self.failures = 0;
                self.enter(now, State::Closed)
            }
        }
    }

    /// Other figures from now on. One that is open stays so as long as the new figures say, counted from when it opened;
    /// switched off, it closes.
    pub(crate) fn refit(&mut self, now: Instant, spec: BreakerSpec) -> Option<Change> {
        self.settle(now);
        self.spec = spec;
        if let State::Open { until, .. } = &mut self.state {
            *until = self.since + Duration::from_millis(spec.open_ms);
        }
        if spec.enabled {
            return None;
        }
        self.failures = 0;
        self.enter(now, State::Closed)
    }

    /// Where it is. Open whose time is over is half open.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        self.settled(now).0.name()
    }

    /// How it is shown; `wall` is the time of day at `now`.
    pub(crate) fn view(
        &self,
        now: Instant,
        wall: Millis,
        server: ServerId,
        tool: Option<String>,
    ) -> BreakerView {
        let (state, since) = self.settled(now);
        let (reason, next) = match state {
            State::Open { until, why } => (Some(why.sentence()), Some(until)),
            State::Tripped => (Some(TRIPPED.to_owned()), None),
            State::Closed | State::HalfOpen { .. } => (None, None),
        };
        BreakerView {
            server,
            tool,
            state: state.name(),
            since: wall.saturating_sub(millis(now.saturating_duration_since(since))),
            reason,
            failures: self.failures,
            limit: self.spec.failures.max(1),
            successes: match state {
                State::HalfOpen { successes, .. } => successes,
                _ => 0,
            },
            needed: self.spec.successes.max(1),
            rejected: self.rejected,
            opens_last_hour: self.opens.live(now).sum(),
            next: next.map(|at| wall + millis(at.saturating_duration_since(now))),
            tripped: state == State::Tripped,
        }
    }

    fn permit(&self, trial: bool) -> Permit {
        Permit {
            term: self.term,
            trial,
        }
    }

    /// When calls are let through on trial, as far as time decides it.
    fn next(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The state by now and since when.
    fn settled(&self, now: Instant) -> (State, Instant) {
        match self.state {
            State::Open { until, .. } if until <= now => (ON_TRIAL, until),
            state => (state, self.since),
        }
    }

    fn settle(&mut self, now: Instant) {
        let (state, since) = self.settled(now);
        if state != self.state {
            self.enter(since, state);
        }
    }

    /// Begins a new term.
    fn enter(&mut self, now: Instant, state: State) -> Option<Change> {
        let (from, to) = (self.state.name(), state.name());
        self.term += 1;
        self.state = state;
        if from == to {
            return None;
        }
        self.since = now;
        if to == BreakerState::Open {
            *self.opens.at(now) += 1;
        }
        Some(Change { from, to })
    }
}

/// Half open, with nothing tried yet.
const ON_TRIAL: State = State::HalfOpen {
    successes: 0,
    trials: 0,
};

impl State {
    fn name(self) -> BreakerState {
        match self {
            Self::Closed => BreakerState::Closed,
            Self::Open { .. } | Self::Tripped => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

fn millis(d: Duration) -> Millis {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
