//! The life of one instance, as a pure transition: what happened and when in, what is to be done out.
//!
//! No process, no clock, no channel here. [`Unit::on`] is called by one task only (see `runner`), in the order in
//! which things happened, so "stop wins" needs no lock: a stop that comes while a restart is pending changes the goal,
//! and the timer of the restart is disarmed by the same transition.

use flotilla_contract::{
    Millis,
    spec::{RestartPolicy, RestartWhen},
    state::{HealthCode, ProcessState},
};
use std::time::{Duration, Instant};

/// From the request to SIGTERM for a server that is asked first by closing its standard input.
pub(crate) const EOF_GRACE: Duration = Duration::from_secs(1);

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) mono: Instant,
    pub(crate) wall: Millis,
}

/// What kind of thing is supervised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A process asked to end by closing its standard input.
    Stdio,
    /// A process asked to end by SIGTERM.
    Http,
    /// Somebody else's process: running means monitored.
    Url,
}

/// The part of a spec that the life of a process follows.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) kind: Kind,
    pub(crate) restart: RestartPolicy,
    pub(crate) stop_timeout: Duration,
    /// It sleeps while nobody calls it.
    pub(crate) on_demand: bool,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

impl Exit {
    /// "exited with code 1" or "killed by SIGKILL".
    pub(crate) fn words(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("killed by {}", flotilla_os::signal_name(signal)),
            (None, None) => "ended with an unknown status".into(),
        }
    }
}

/// Why a spawn did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpawnError {
    pub(crate) sentence: String,
    pub(crate) code: HealthCode,
    /// Whether another try may go better (the port is still held, the machine is short of something).
    pub(crate) transient: bool,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// It should run.
    Start,
    /// It should not run, nor be tried again.
    Stop,
    /// It should be there for calls: what is at rest sleeps, what runs goes on.
    StandBy,
    /// Nobody calls it: what runs is stopped, and sleeps then.
    Sleep { why: String },
    /// A call needs it: what sleeps, or is on its way to sleep, is started. Nothing else is: a stop and a failure stand.
    Wake,
    /// It should run as a new process; the count of automatic restarts starts anew.
    Restart { why: String },
    /// What it waits for is up.
    DependenciesReady,
    /// The spawn came about.
    Spawned,
    /// The spawn did not.
    SpawnFailed(SpawnError),
    /// The first process ended. `excused`: our own question ended it, so it does not count.
    Exited { exit: Exit, excused: Option<String> },
    /// Nothing of the tree is left (only while stopping).
    TreeGone,
    /// The timer that was armed last is due.
    Timer,
    /// A ceiling was crossed, or the instance is unhealthy and is to be restarted then: an automatic restart.
    Recycle { why: String },
    /// New terms; they hold from the next decision on.
    Terms(Terms),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Wait for the dependencies and say so with `DependenciesReady`.
    AwaitDependencies,
    /// Stop waiting for them.
    ForgetDependencies,
    /// Start the process and answer with `Spawned` or `SpawnFailed`.
    Spawn,
    /// Close the standard input; for what is only monitored: forget it.
    CloseInput,
    /// SIGTERM to the whole tree.
    Terminate,
    /// SIGKILL to the whole tree.
    Kill,
    /// Look whether anything of the tree is left until nothing is, then `TreeGone`.
    AwaitTreeGone,
    /// End what the last process left behind, beside everything else.
    Sweep,
    /// Arm the one timer; it replaces any other.
    Arm(Instant),
    /// Disarm it.
    Disarm,
    /// Tell the world.
    Tell(Told),
}

/// What the world is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Starting,
    Started,
    Stopped { reason: String },
    Restarting { attempt: u32, delay: Duration },
    Failed { error: String },
    Recovered { attempts: u32 },
    Error { error: String },
}

/// What comes after a stop that is under way.
#[derive(Clone, Debug, PartialEq)]
enum Then {
    /// Nothing.
    Rest,
    /// Sleep.
    Sleep,
    /// A new start that does not count (a person, or a change of the configuration, asked).
    Anew,
    /// A new start that counts as an automatic restart.
    Recycle(String),
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Terminated,
    Killed,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Stopped,
    Waiting,
    Spawning,
    Running {
        since: Instant,
    },
    Stopping {
        asked: Instant,
        phase: Phase,
        exited: bool,
        then: Then,
    },
    Backoff,
    Failed,
    Sleeping,
}

/// One instance's life.
#[derive(Debug)]
pub(crate) struct Unit {
    terms: Terms,
    state: State,
    /// Automatic restarts since it last stayed up for `reset_after`.
    pub(crate) restarts: u32,
    /// Automatic restarts in all.
    pub(crate) restarts_total: u32,
    /// Automatic restarts whose success has not been told yet.
    unproven: u32,
    pub(crate) since: Millis,
    pub(crate) reason: String,
    pub(crate) code: Option<HealthCode>,
    pub(crate) next_try: Option<Millis>,
    /// How long the last process ran.
    pub(crate) ran: Duration,
    jitter: Jitter,
}

/// A small random source for jitter; the seed comes from outside so that tests decide.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    /// A number in -1..1 (xorshift64*, Vigna 2016).
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a f64")]
        let unit = bits as f64 / (1_u64 << 53) as f64;
        unit * 2.0 - 1.0
    }
}

impl Unit {
    pub(crate) fn new(terms: Terms, wall: Millis, seed: u64) -> Self {
        Self {
            terms,
            state: State::Stopped,
            restarts: 0,
            restarts_total: 0,
            unproven: 0,
            since: wall,
            reason: "not started".into(),
            code: Some(HealthCode::Stopped),
            next_try: None,
            ran: Duration::ZERO,
            jitter: Jitter(seed | 1),
        }
    }

    /// The state as the world sees it.
    pub(crate) fn process_state(&self) -> ProcessState {
        match self.state {
            State::Stopped => ProcessState::Stopped,
            State::Waiting | State::Spawning => ProcessState::Starting,
            State::Running { .. } => ProcessState::Running,
            State::Stopping { .. } => ProcessState::Stopping,
            State::Backoff => ProcessState::Restarting,
            State::Failed => ProcessState::Failed,
            State::Sleeping => ProcessState::Sleeping,
        }
    }

    /// Whether it is in a state in which nothing is left of it.
    pub(crate) fn at_rest(&self) -> bool {
        matches!(self.state, State::Stopped | State::Failed | State::Sleeping)
    }

    /// It was proven healthy. Tells `Recovered` once after automatic restarts.
    pub(crate) fn proven(&mut self) -> Option<Effect> {
        match std::mem::take(&mut self.unproven) {
            0 => None,
            attempts => Some(Effect::Tell(Told::Recovered { attempts })),
        }
    }

    /// The one transition.
    pub(crate) fn on(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Terms(terms) => self.terms = terms,
            Input::Start => self.on_start(now, &mut out),
            Input::Stop => self.on_stop(now, &mut out),
            Input::StandBy => match &mut self.state {
                // Nothing ended, so there is nothing to tell.
                State::Stopped | State::Failed => self.doze(now, "not called yet"),
                State::Stopping { then, .. } if *then == Then::Rest => *then = Then::Sleep,
                _ => {}
            },
            Input::Sleep { why } => {
                if let State::Running { .. } = self.state {
                    self.begin_stop(now, &why, Then::Sleep, &mut out);
                }
            }
            Input::Wake => match &mut self.state {
                State::Sleeping => self.on_start(now, &mut out),
                State::Stopping { then, .. } if *then == Then::Sleep => *then = Then::Anew,
                _ => {}
            },
            Input::Restart { why } => {
                self.restarts = 0;
                self.unproven = 0;
                match &mut self.state {
                    State::Stopping { then, .. } => *then = Then::Anew,
                    State::Running { .. } => self.begin_stop(now, &why, Then::Anew, &mut out),
                    State::Waiting => {}
                    // What it is started with is being looked up, and may have changed meanwhile.
                    State::Spawning => out.push(Effect::Spawn),
                    State::Stopped | State::Backoff | State::Failed | State::Sleeping => {
                        self.begin_start(now, &mut out)
                    }
                }
            }
            Input::Recycle { why } => {
                // Nobody here can make somebody else's process anew: to be monitored is all that it has.
                if let (State::Running { .. }, true) = (&self.state, self.terms.kind != Kind::Url) {
                    self.begin_stop(now, &why, Then::Recycle(why.clone()), &mut out);
                }
            }
            Input::DependenciesReady => {
                if self.state == State::Waiting {
                    self.begin_spawn(now, &mut out);
                }
            }
            Input::Spawned => {
                if self.state == State::Spawning {
                    self.enter(now, State::Running { since: now.mono }, "started");
                    self.code = None;
                    out.push(Effect::Arm(
                        now.mono + Duration::from_millis(self.terms.restart.reset_after_ms),
                    ));
                    out.push(Effect::Tell(Told::Started));
                }
            }
            Input::SpawnFailed(error) => {
                if self.state == State::Spawning {
                    out.push(Effect::Tell(Told::Error {
                        error: error.sentence.clone(),
                    }));
                    if error.transient {
                        self.try_again(now, error.sentence, error.code, &mut out);
                    } else {
                        self.fail(now, error.sentence, error.code, &mut out);
                    }
                }
            }
            Input::Exited { exit, excused } => self.on_exit(now, &exit, excused, &mut out),
            Input::TreeGone => self.on_tree_gone(now, &mut out),
            Input::Timer => self.on_timer(now, &mut out),
        }
        out
    }

    fn on_start(&mut self, now: Now, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Stopped | State::Failed | State::Sleeping => {
                self.restarts = 0;
                self.unproven = 0;
                self.begin_start(now, out);
            }
            // A person who presses start does not want to wait for the back-off.
            State::Backoff => self.begin_start(now, out),
            State::Stopping { then, .. } if matches!(then, Then::Rest | Then::Sleep) => {
                *then = Then::Anew
            }
            // Starting, running, or on the way back to running: one start is enough.
            State::Stopping { .. } | State::Waiting | State::Spawning | State::Running { .. } => {}
        }
    }

    fn on_stop(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.next_try = None;
        match &mut self.state {
            State::Running { .. } => self.begin_stop(now, "stop requested", Then::Rest, out),
            State::Stopping { then, .. } => {
                *then = Then::Rest;
                self.reason = "stop requested".into();
            }
            State::Waiting | State::Spawning | State::Backoff => {
                out.push(Effect::ForgetDependencies);
                self.rest(now, "stop requested", HealthCode::Stopped, out);
            }
            State::Failed | State::Sleeping => {
                self.rest(now, "stop requested", HealthCode::Stopped, out)
            }
            State::Stopped => {}
        }
    }

    fn begin_start(&mut self, now: Now, out: &mut Vec<Effect>) {
        out.push(Effect::Disarm);
        self.next_try = None;
        self.code = Some(HealthCode::WaitsForDependency);
        self.enter(now, State::Waiting, "waits for what it depends on");
        out.push(Effect::AwaitDependencies);
    }

    fn begin_spawn(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.code = Some(HealthCode::FirstAnswer);
        self.next_try = None;
        self.enter(now, State::Spawning, "is being started");
        out.push(Effect::Tell(Told::Starting));
        out.push(Effect::Spawn);
    }

    fn begin_stop(&mut self, now: Now, why: &str, then: Then, out: &mut Vec<Effect>) {
        if let State::Running { since } = self.state {
            self.ran = now.mono.duration_since(since);
        }
        let phase = if self.terms.kind == Kind::Http {
            Phase::Terminated
        } else {
            Phase::Asked
        };
        self.enter(
            now,
            State::Stopping {
                asked: now.mono,
                phase,
                exited: false,
                then,
            },
            why,
        );
        match self.terms.kind {
            Kind::Stdio => {
                out.push(Effect::CloseInput);
                out.push(Effect::Arm(
                    now.mono + EOF_GRACE.min(self.terms.stop_timeout),
                ));
            }
            Kind::Http => {
                out.push(Effect::Terminate);
                out.push(Effect::Arm(now.mono + self.terms.stop_timeout));
            }
            Kind::Url => {
                out.push(Effect::CloseInput);
                self.on_tree_gone(now, out);
            }
        }
    }

    fn on_timer(&mut self, now: Now, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Backoff => self.begin_spawn(now, out),
            // It has stayed up for `reset_after`.
            State::Running { .. } => self.restarts = 0,
            State::Stopping { asked, phase, .. } => match phase {
                Phase::Asked => {
                    *phase = Phase::Terminated;
                    let kill_at = *asked + self.terms.stop_timeout;
                    out.push(Effect::Terminate);
                    out.push(Effect::Arm(kill_at));
                }
                Phase::Terminated => {
                    *phase = Phase::Killed;
                    out.push(Effect::Kill);
                }
                Phase::Killed => {}
            },
            State::Stopped | State::Waiting | State::Spawning | State::Failed | State::Sleeping => {
            }
        }
    }

    fn on_exit(&mut self, now: Now, exit: &Exit, excused: Option<String>, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Running { since } => {
                self.ran = now.mono.duration_since(*since);
                if self.ran >= Duration::from_millis(self.terms.restart.reset_after_ms) {
                    self.restarts = 0;
                }
                out.push(Effect::Disarm);
                out.push(Effect::Sweep);
                self.after_exit(now, exit, excused, out);
            }
            State::Stopping {
                exited,
                phase,
                asked,
                ..
            } => {
                *exited = true;
                if *phase == Phase::Asked {
                    // The first process obeyed; what it left behind is not waited for silently.
                    *phase = Phase::Terminated;
                    let kill_at = *asked + self.terms.stop_timeout;
                    out.push(Effect::Terminate);
                    out.push(Effect::Arm(kill_at));
                }
                out.push(Effect::AwaitTreeGone);
            }
            // Exits of a process that was given up before are swept, not decided on.
            State::Stopped
            | State::Waiting
            | State::Spawning
            | State::Backoff
            | State::Failed
            | State::Sleeping => out.push(Effect::Sweep),
        }
    }

    fn after_exit(
        &mut self,
        now: Now,
        exit: &Exit,
        excused: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        let words = format!("{} after {}", exit.words(), span(self.ran));
        if let Some(why) = excused {
            self.enter(now, State::Spawning, &why);
            self.code = Some(HealthCode::FirstAnswer);
            out.push(Effect::Tell(Told::Error { error: why }));
            out.push(Effect::Spawn);
            return;
        }
        let success = exit
            .code
            .is_some_and(|code| self.terms.restart.success_exit_codes.contains(&code));
        match self.terms.restart.policy {
            RestartWhen::OnFailure if success && self.terms.on_demand => {
                // It ended by itself between two calls: that is what being on demand means.
                self.sleep(now, &format!("finished: {words}"), out)
            }
            RestartWhen::OnFailure if success => self.rest(
                now,
                &format!("finished: {words}"),
                HealthCode::Finished,
                out,
            ),
            RestartWhen::Never => self.rest(
                now,
                &format!("{words}; its restart policy is never"),
                HealthCode::Finished,
                out,
            ),
            RestartWhen::OnFailure | RestartWhen::Always => {
                self.try_again(now, words, HealthCode::Restarting, out)
            }
        }
    }

    /// Counts an automatic restart and schedules it, or gives up.
    fn try_again(&mut self, now: Now, words: String, code: HealthCode, out: &mut Vec<Effect>) {
        if let Some(limit) = self.terms.restart.max_restarts
            && self.restarts >= limit
        {
            let reason = if limit == 0 {
                format!("{words}; its restart limit is 0")
            } else {
                format!(
                    "{words}; gave up after {limit} automatic {}",
                    if limit == 1 { "restart" } else { "restarts" }
                )
            };
            self.fail(
                now,
                reason,
                if code == HealthCode::Restarting {
                    HealthCode::Failed
                } else {
                    code
                },
                out,
            );
            return;
        }
        let delay = self.delay();
        self.restarts += 1;
        self.restarts_total = self.restarts_total.saturating_add(1);
        self.unproven += 1;
        self.code = Some(code);
        out.push(Effect::Tell(Told::Restarting {
            attempt: self.restarts,
            delay,
        }));
        if delay.is_zero() {
            self.reason = words;
            self.begin_spawn(now, out);
        } else {
            self.enter(now, State::Backoff, &words);
            self.next_try = Some(now.wall + millis(delay));
            out.push(Effect::Arm(now.mono + delay));
        }
    }

    fn delay(&mut self) -> Duration {
        let delays = &self.terms.restart.delays_ms;
        let at = usize::try_from(self.restarts)
            .unwrap_or(usize::MAX)
            .min(delays.len().saturating_sub(1));
        let base = Duration::from_millis(delays.get(at).copied().unwrap_or(0));
        if self.terms.restart.jitter > 0.0 {
            base.mul_f64((1.0 + self.terms.restart.jitter.min(1.0) * self.jitter.next()).max(0.0))
        } else {
            base
        }
    }

    fn on_tree_gone(&mut self, now: Now, out: &mut Vec<Effect>) {
        let State::Stopping { then, .. } = &self.state else {
            return;
        };
        match then.clone() {
            Then::Rest => {
                let reason = self.reason.clone();
                self.rest(now, &reason, HealthCode::Stopped, out);
            }
            Then::Sleep => {
                let reason = self.reason.clone();
                self.sleep(now, &reason, out);
            }
            Then::Anew => {
                let reason = self.reason.clone();
                out.push(Effect::Tell(Told::Stopped { reason }));
                self.begin_start(now, out);
            }
            Then::Recycle(why) => {
                out.push(Effect::Disarm);
                self.try_again(now, why, HealthCode::Restarting, out);
            }
        }
    }

    fn rest(&mut self, now: Now, reason: &str, code: HealthCode, out: &mut Vec<Effect>) {
        self.next_try = None;
        self.restarts = 0;
        self.unproven = 0;
        self.code = Some(code);
        self.enter(now, State::Stopped, reason);
        out.push(Effect::Disarm);
        out.push(Effect::Tell(Told::Stopped {
            reason: reason.to_owned(),
        }));
    }

    fn sleep(&mut self, now: Now, reason: &str, out: &mut Vec<Effect>) {
        self.rest(now, reason, HealthCode::Sleeping, out);
        self.doze(now, reason);
    }

    fn doze(&mut self, now: Now, reason: &str) {
        self.code = Some(HealthCode::Sleeping);
        self.enter(now, State::Sleeping, reason);
    }

    fn fail(&mut self, now: Now, reason: String, code: HealthCode, out: &mut Vec<Effect>) {
        self.next_try = None;
        self.code = Some(code);
        self.enter(now, State::Failed, &reason);
        out.push(Effect::Disarm);
        out.push(Effect::Tell(Told::Failed { error: reason }));
    }

    fn enter(&mut self, now: Now, state: State, reason: &str) {
        self.state = state;
        self.since = now.wall;
        reason.clone_into(&mut self.reason);
    }
}

/// A duration in words: "350 ms", "4.2 s", "13 min", "2 h".
pub fn span(d: Duration) -> String {
    let s = d.as_secs_f64();
    match s {
        s if s < 1.0 => format!("{} ms", d.as_millis()),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3_600.0),
    }
}

pub(crate) fn millis(d: Duration) -> Millis {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
