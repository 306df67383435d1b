//! From probe results to health, with thresholds: a pure transition.
//!
//! After a start the first probe is immediate, then one a second until the first success; that one success proves the
//! instance. Afterwards one every `interval`; after a failure, and while it recovers, one every `retry_interval` until
//! it is decided.

use crate::unit::{Now, span};
use flotilla_contract::{
    Millis,
    spec::HealthCheck,
    state::{HealthCode, HealthLevel, NextAction},
};
use std::time::{Duration, Instant};

/// From one try to the next before the first success.
const FIRST_TRIES: Duration = Duration::from_secs(1);

/// What one probe found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It answered as it should.
    Good {
        /// What is amiss although it answers (a tool lost, a changed schema), worst first.
        findings: Vec<(HealthCode, String)>,
        /// What it proved, for the sentence ("9 tools").
        proof: String,
    },
    /// It has not answered its first question yet: no failure before the start timeout.
    NotYet,
    /// It answered wrongly, or not in time.
    Bad {
        /// Why, in a word.
        code: HealthCode,
        /// Why, in a sentence without a final period.
        sentence: String,
    },
}

/// What changed for the instance's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    None,
    /// It has just been proven.
    Proven,
    /// It has just become unhealthy.
    Unhealthy,
}

#[derive(Debug)]
pub(crate) struct Health {
    check: HealthCheck,
    /// While a process runs: when it started.
    up: Option<Instant>,
    proven: bool,
    bad: u32,
    good: u32,
    pub(crate) level: HealthLevel,
    pub(crate) code: HealthCode,
    pub(crate) sentence: String,
    pub(crate) since: Millis,
    pub(crate) checked_at: Option<Millis>,
    pub(crate) check_ms: Option<f64>,
    /// When the next probe is due; `None` while one is under way or none is wanted.
    pub(crate) due: Option<Instant>,
}

impl Health {
    pub(crate) fn new(check: HealthCheck, wall: Millis) -> Self {
        Self {
            check,
            up: None,
            proven: false,
            bad: 0,
            good: 0,
            level: HealthLevel::Unknown,
            code: HealthCode::Stopped,
            sentence: String::new(),
            since: wall,
            checked_at: None,
            check_ms: None,
            due: None,
        }
    }

    fn enabled(&self) -> bool {
        self.check.check != flotilla_contract::spec::Check::None
    }

    /// Other settings for what comes; what is known stays, but is asked again at once.
    pub(crate) fn set_check(&mut self, now: Now, check: HealthCheck) {
        let was = self.enabled();
        self.check = check;
        if self.up.is_some() {
            if was == self.enabled() {
                self.due = self.enabled().then_some(now.mono);
            } else {
                self.started(now);
            }
        }
    }

    /// A process started: everything is to be proven anew.
    pub(crate) fn started(&mut self, now: Now) {
        (self.up, self.proven, self.bad, self.good) = (Some(now.mono), false, 0, 0);
        (self.checked_at, self.check_ms) = (None, None);
        if self.enabled() {
            self.due = Some(now.mono);
            self.set(
                now,
                HealthLevel::Starting,
                HealthCode::FirstAnswer,
                "Runs, waits for its first answer".into(),
            );
        } else {
            self.due = None;
            self.set(
                now,
                HealthLevel::Unknown,
                HealthCode::NoCheck,
                "Runs; nobody checks it, its check is none".into(),
            );
        }
    }

    /// No process runs any more: nothing is known.
    pub(crate) fn ended(&mut self, now: Now, code: HealthCode, sentence: String) {
        (self.up, self.due, self.proven) = (None, None, false);
        self.set(now, HealthLevel::Unknown, code, sentence);
    }

    /// A probe is wanted now, beside the schedule.
    pub(crate) fn ask_now(&mut self, now: Now) {
        if self.up.is_some() && self.enabled() {
            self.due = Some(now.mono);
        }
    }

    /// A probe has begun.
    pub(crate) fn probing(&mut self) {
        self.due = None;
    }

    /// A probe ended.
    pub(crate) fn on_found(&mut self, now: Now, took: Duration, found: Found) -> Turn {
        let Some(up) = self.up else { return Turn::None };
        if found != Found::NotYet {
            self.checked_at = Some(now.wall);
            self.check_ms = Some(took.as_secs_f64() * 1e3);
        }
        match found {
            Found::Good { findings, proof } => self.on_good(now, &findings, &proof),
            Found::NotYet | Found::Bad { .. } if !self.proven => self.on_unproven(now, up, found),
            // A server that was proven has no excuse for not answering.
            Found::NotYet => self.on_bad(now, HealthCode::CheckFailed, "did not answer in time"),
            Found::Bad { code, sentence } => self.on_bad(now, code, &sentence),
        }
    }

    fn on_good(&mut self, now: Now, findings: &[(HealthCode, String)], proof: &str) -> Turn {
        self.bad = 0;
        self.good += 1;
        let recovering = self.proven
            && self.level == HealthLevel::Unhealthy
            && self.good < self.check.healthy_after;
        self.due = Some(
            now.mono
                + Duration::from_millis(if recovering {
                    self.check.retry_interval_ms
                } else {
                    self.check.interval_ms
                }),
        );
        if recovering {
            let sentence = format!(
                "Answers again, {} of {} good answers in a row",
                self.good, self.check.healthy_after
            );
            self.set(
                now,
                HealthLevel::Unhealthy,
                HealthCode::Recovering,
                sentence,
            );
            return Turn::None;
        }
        let turn = if self.proven && self.level != HealthLevel::Unhealthy {
            Turn::None
        } else {
            Turn::Proven
        };
        self.proven = true;
        match findings.first() {
            Some((code, _)) => {
                let sentence = findings
                    .iter()
                    .map(|(_, s)| s.as_str())
                    .collect::<Vec<_>>()
                    .join("; ");
                self.set(now, HealthLevel::Degraded, *code, sentence);
            }
            None => self.set(
                now,
                HealthLevel::Healthy,
                HealthCode::Proven,
                format!("Answers as it should, {proof}"),
            ),
        }
        turn
    }

    fn on_unproven(&mut self, now: Now, up: Instant, found: Found) -> Turn {
        let limit = Duration::from_millis(self.check.start_timeout_ms);
        let ran = now.mono.duration_since(up);
        if ran < limit {
            self.due = Some(now.mono + FIRST_TRIES);
            let sentence = match found {
                Found::Bad { sentence, .. } => format!("Runs, not proven yet: {sentence}"),
                _ => "Runs, waits for its first answer".into(),
            };
            self.set(
                now,
                HealthLevel::Starting,
                HealthCode::FirstAnswer,
                sentence,
            );
            return Turn::None;
        }
        self.due = Some(now.mono + Duration::from_millis(self.check.retry_interval_ms));
        let was = self.level;
        let (code, sentence) = match found {
            Found::Bad { code, sentence } => (
                code,
                format!("Not proven within {}: {sentence}", span(limit)),
            ),
            _ => (
                HealthCode::StartTimeout,
                format!("Gave no first answer within {}", span(limit)),
            ),
        };
        self.good = 0;
        self.set(now, HealthLevel::Unhealthy, code, sentence);
        if was == HealthLevel::Unhealthy {
            Turn::None
        } else {
            Turn::Unhealthy
        }
    }

    fn on_bad(&mut self, now: Now, code: HealthCode, sentence: &str) -> Turn {
        self.good = 0;
        self.bad = self.bad.saturating_add(1);
        let decided = self.bad >= self.check.unhealthy_after;
        let was = self.level;
        self.due = Some(
            now.mono
                + Duration::from_millis(if decided {
                    self.check.interval_ms
                } else {
                    self.check.retry_interval_ms
                }),
        );
        if decided {
            self.set(
                now,
                HealthLevel::Unhealthy,
                code,
                format!("{} checks in a row failed: {sentence}", self.bad),
            );
        } else if was == HealthLevel::Unhealthy {
            self.set(
                now,
                HealthLevel::Unhealthy,
                code,
                format!("Failed again while recovering: {sentence}"),
            );
        } else {
            let sentence = format!(
                "{} of {} checks failed: {sentence}",
                self.bad, self.check.unhealthy_after
            );
            self.set(
                now,
                HealthLevel::Degraded,
                HealthCode::CheckFailing,
                sentence,
            );
        }
        if decided && was != HealthLevel::Unhealthy {
            Turn::Unhealthy
        } else {
            Turn::None
        }
    }

    /// The answer that is known has become too old (the machine slept, or the probes hang): stale, and asked again.
    pub(crate) fn review(&mut self, now: Now) -> bool {
        let limit = self.check.interval_ms + self.check.timeout_ms + 15_000;
        let old = self
            .checked_at
            .is_some_and(|at| now.wall.saturating_sub(at) > limit);
        let believed = matches!(self.level, HealthLevel::Healthy | HealthLevel::Degraded);
        if !(self.up.is_some() && self.enabled() && old && believed) {
            return false;
        }
        let age =
            Duration::from_millis(now.wall.saturating_sub(self.checked_at.unwrap_or(now.wall)));
        self.set(
            now,
            HealthLevel::Stale,
            HealthCode::Overdue,
            format!("Last answer {} ago; asking again", span(age)),
        );
        if self.due.is_some() {
            self.due = Some(now.mono);
        }
        true
    }

    fn set(&mut self, now: Now, level: HealthLevel, code: HealthCode, sentence: String) {
        if (self.level, self.code) != (level, code) {
            self.since = now.wall;
        }
        (self.level, self.code, self.sentence) = (level, code, sentence);
    }
}

/// What would help, given why.
pub(crate) fn next_action(code: HealthCode) -> NextAction {
    match code {
        HealthCode::Proven | HealthCode::SomeDown | HealthCode::Sleeping => NextAction::None,
        HealthCode::Stopped | HealthCode::Finished => NextAction::Start,
        HealthCode::Disabled => NextAction::Enable,
        HealthCode::NoCheck | HealthCode::PortTaken | HealthCode::CannotStart => {
            NextAction::EditConfig
        }
        HealthCode::WaitsForDependency
        | HealthCode::FirstAnswer
        | HealthCode::CheckFailing
        | HealthCode::Recovering
        | HealthCode::Stopping
        | HealthCode::Overdue => NextAction::Wait,
        HealthCode::StartTimeout | HealthCode::NoTools => NextAction::ReadLog,
        HealthCode::CheckFailed | HealthCode::Failed => NextAction::Restart,
        HealthCode::ToolsLost | HealthCode::SchemaChanged => NextAction::ReviewTools,
        HealthCode::Restarting => NextAction::RetryNow,
        HealthCode::SecretMissing => NextAction::SetSecret,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Play {
        health: Health,
        start: Instant,
        at: Duration,
    }

    impl Play {
        fn new() -> Self {
            let mut play = Self {
                health: Health::new(HealthCheck::default(), 0),
                start: Instant::now(),
                at: Duration::ZERO,
            };
            play.health.started(play.now());
            play
        }

        fn now(&self) -> Now {
            Now {
                mono: self.start + self.at,
                wall: 1_000_000 + crate::unit::millis(self.at),
            }
        }

        /// Waits until the next probe is due, and lets it find this; gives the wait in seconds.
        #[track_caller]
        fn next(&mut self, found: Found) -> (u64, Turn) {
            let due = self.health.due.expect("a probe is due");
            let waited = due.duration_since(self.start + self.at);
            self.at += waited;
            self.health.probing();
            let turn = self
                .health
                .on_found(self.now(), Duration::from_millis(3), found);
            (waited.as_secs(), turn)
        }
    }

    fn good() -> Found {
        Found::Good {
            findings: vec![],
            proof: "2 tools".into(),
        }
    }

    fn bad() -> Found {
        Found::Bad {
            code: HealthCode::CheckFailed,
            sentence: "no answer within 5 s".into(),
        }
    }

    #[test]
    fn the_first_probe_is_immediate_then_each_second_and_one_success_is_green() {
        let mut play = Play::new();
        assert_eq!(play.next(Found::NotYet), (0, Turn::None));
        assert_eq!(play.next(bad()), (1, Turn::None));
        assert_eq!(play.health.level, HealthLevel::Starting);
        assert_eq!(play.next(good()), (1, Turn::Proven));
        assert_eq!(
            (play.health.level, play.health.code),
            (HealthLevel::Healthy, HealthCode::Proven)
        );
        assert_eq!(play.next(good()), (30, Turn::None));
    }

    #[test]
    fn the_start_timeout_makes_it_unhealthy_and_the_first_success_still_counts() {
        let mut play = Play::new();
        let mut turns = 0;
        while play.at < Duration::from_secs(61) {
            turns += usize::from(play.next(Found::NotYet).1 == Turn::Unhealthy);
        }
        assert_eq!(
            (turns, play.health.level, play.health.code),
            (1, HealthLevel::Unhealthy, HealthCode::StartTimeout)
        );
        assert_eq!(play.next(good()).1, Turn::Proven);
        assert_eq!(play.health.level, HealthLevel::Healthy);
    }

    #[test]
    fn three_failures_decide_and_two_successes_heal() {
        let mut play = Play::new();
        play.next(good());
        assert_eq!(play.next(bad()), (30, Turn::None));
        assert_eq!(
            (play.health.level, play.health.code),
            (HealthLevel::Degraded, HealthCode::CheckFailing)
        );
        assert_eq!(play.next(bad()), (5, Turn::None));
        assert_eq!(play.next(bad()), (5, Turn::Unhealthy));
        assert_eq!(play.next(bad()), (30, Turn::None), "told once");
        assert_eq!(play.next(good()), (30, Turn::None));
        assert_eq!(
            (play.health.level, play.health.code),
            (HealthLevel::Unhealthy, HealthCode::Recovering)
        );
        assert_eq!(play.next(good()), (5, Turn::Proven));
        assert_eq!(play.health.level, HealthLevel::Healthy);
        // One failure in between starts the count anew; one success before the decision heals at once.
        play.next(bad());
        assert_eq!(play.next(good()), (5, Turn::None));
        assert_eq!(play.health.level, HealthLevel::Healthy);
    }

    #[test]
    fn findings_are_degraded_never_green() {
        let mut play = Play::new();
        let lost = Found::Good {
            findings: vec![(HealthCode::ToolsLost, "lost tool b".into())],
            proof: "1 tool".into(),
        };
        assert_eq!(play.next(lost).1, Turn::Proven);
        assert_eq!(
            (play.health.level, play.health.code),
            (HealthLevel::Degraded, HealthCode::ToolsLost)
        );
        play.next(good());
        assert_eq!(play.health.level, HealthLevel::Healthy);
    }

    #[test]
    fn an_old_answer_is_stale_and_asked_again() {
        let mut play = Play::new();
        play.next(good());
        let mut later = play.now();
        later.wall += 600_000;
        assert!(play.health.review(later));
        assert_eq!(play.health.level, HealthLevel::Stale);
        assert_eq!(play.next(good()).0, 0);
        assert_eq!(play.health.level, HealthLevel::Healthy);
    }

    #[test]
    fn without_a_check_it_is_never_green() {
        let check = HealthCheck {
            check: flotilla_contract::spec::Check::None,
            ..HealthCheck::default()
        };
        let mut health = Health::new(check, 0);
        health.started(Now {
            mono: Instant::now(),
            wall: 0,
        });
        assert_eq!((health.level, health.due), (HealthLevel::Unknown, None));
    }
}
