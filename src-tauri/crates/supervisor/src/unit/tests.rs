//! Table tests in the words of the fault list: each line is "what happens -> what is done".

use super::*;

/// Drives a unit on a made-up clock and writes down what it does.
struct Play {
    unit: Unit,
    start: Instant,
    at: Duration,
    timer: Option<Instant>,
    log: Vec<String>,
}

impl Play {
    fn new(kind: Kind, change: impl FnOnce(&mut RestartPolicy)) -> Self {
        let mut restart = RestartPolicy::default();
        change(&mut restart);
        let terms = Terms {
            kind,
            restart,
            stop_timeout: Duration::from_secs(5),
            on_demand: false,
        };
        Self {
            unit: Unit::new(terms, 0, 7),
            start: Instant::now(),
            at: Duration::ZERO,
            timer: None,
            log: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.start + self.at,
            wall: millis(self.at),
        }
    }

    fn on(&mut self, input: Input) -> &mut Self {
        let now = self.now();
        for effect in self.unit.on(now, input) {
            match effect {
                Effect::Arm(at) => self.timer = Some(at),
                Effect::Disarm => self.timer = None,
                Effect::ForgetDependencies => {}
                Effect::Tell(Told::Restarting { attempt, delay }) => self
                    .log
                    .push(format!("restarting {attempt} in {}", span(delay))),
                Effect::Tell(Told::Stopped { .. }) => self.log.push("stopped".into()),
                Effect::Tell(Told::Failed { error }) => self.log.push(format!("failed: {error}")),
                Effect::Tell(told) => self.log.push(
                    format!("{told:?}")
                        .split_whitespace()
                        .next()
                        .unwrap()
                        .to_lowercase(),
                ),
                other => self.log.push(format!("{other:?}").to_lowercase()),
            }
        }
        self
    }

    /// Lets time pass, firing the timer where it is due.
    fn wait(&mut self, d: Duration) -> &mut Self {
        let end = self.at + d;
        while let Some(due) = self.timer.filter(|due| *due <= self.start + end) {
            self.at = due - self.start;
            self.timer = None;
            self.on(Input::Timer);
        }
        self.at = end;
        self
    }

    fn up(&mut self) -> &mut Self {
        self.on(Input::Start)
            .on(Input::DependenciesReady)
            .on(Input::Spawned)
    }

    fn respawned(&mut self) -> &mut Self {
        self.on(Input::Spawned)
    }

    fn exits(&mut self, code: i32) -> &mut Self {
        self.on(Input::Exited {
            exit: Exit {
                code: Some(code),
                signal: None,
            },
            excused: None,
        })
    }

    fn killed(&mut self) -> &mut Self {
        self.on(Input::Exited {
            exit: Exit {
                code: None,
                signal: Some(9),
            },
            excused: None,
        })
    }

    #[track_caller]
    fn did(&mut self, expected: &str) -> &mut Self {
        let said = std::mem::take(&mut self.log).join(", ");
        assert_eq!(said, expected);
        self
    }

    #[track_caller]
    fn is(&mut self, state: ProcessState) -> &mut Self {
        assert_eq!(self.unit.process_state(), state, "{}", self.unit.reason);
        self
    }
}

const SEC: Duration = Duration::from_secs(1);

fn stdio() -> Play {
    Play::new(Kind::Stdio, |_| {})
}

#[test]
fn a_crash_really_respawns_on_the_promised_schedule_and_gives_up_at_the_limit() {
    // Contradiction 1: upstream's restart was a no-op because the state stayed `running`.
    let mut play = stdio();
    play.up().did("awaitdependencies, starting, spawn, started");
    for (attempt, delay) in [(1, "1.0 s"), (2, "2.0 s"), (3, "4.0 s")] {
        play.wait(SEC)
            .killed()
            .is(ProcessState::Restarting)
            .did(&format!("sweep, restarting {attempt} in {delay}"));
        assert!(play.unit.next_try.is_some());
        play.wait(4 * SEC)
            .is(ProcessState::Starting)
            .did("starting, spawn");
        play.respawned().is(ProcessState::Running).did("started");
        assert_eq!((play.unit.restarts, play.unit.next_try), (attempt, None));
    }
    play.wait(SEC).exits(1).is(ProcessState::Failed);
    play.did("sweep, failed: exited with code 1 after 1.0 s; gave up after 3 automatic restarts");
    play.wait(60 * SEC).is(ProcessState::Failed).did("");
}

#[test]
fn the_count_is_zero_again_after_thirty_seconds_up_and_no_other_window_counts() {
    let mut play = stdio();
    play.up();
    for _ in 0..3 {
        play.wait(29 * SEC).killed().wait(4 * SEC).respawned();
    }
    assert_eq!(play.unit.restarts, 3);
    play.wait(30 * SEC);
    assert_eq!(play.unit.restarts, 0);
    play.killed().is(ProcessState::Restarting);
    assert_eq!((play.unit.restarts, play.unit.restarts_total), (1, 4));
    // The last delay repeats when the limit is higher than the list is long.
    let mut play = Play::new(Kind::Stdio, |r| r.max_restarts = None);
    play.up().log.clear();
    for delay in ["1.0 s", "2.0 s", "4.0 s", "4.0 s", "4.0 s"] {
        play.killed();
        assert!(play.log.last().unwrap().ends_with(delay), "{:?}", play.log);
        play.wait(4 * SEC).respawned();
    }
}

fn on_demand() -> Play {
    let mut play = stdio();
    play.unit.terms.on_demand = true;
    play
}

fn idle() -> Input {
    Input::Sleep {
        why: "no call for 10 min".into(),
    }
}

#[test]
fn what_is_on_demand_sleeps_while_nobody_calls_and_wakes_once() {
    let mut play = on_demand();
    play.on(Input::StandBy).is(ProcessState::Sleeping).did("");
    play.wait(60 * SEC).on(idle()).on(Input::StandBy).did("");
    // Many calls, one start.
    play.on(Input::Wake)
        .on(Input::Wake)
        .did("awaitdependencies")
        .on(Input::DependenciesReady)
        .on(Input::Wake)
        .respawned()
        .on(Input::Wake)
        .on(Input::StandBy)
        .is(ProcessState::Running)
        .did("starting, spawn, started");
    // Idle: stopped in the usual way, then asleep.
    play.on(idle())
        .is(ProcessState::Stopping)
        .exits(0)
        .on(Input::TreeGone)
        .is(ProcessState::Sleeping);
    assert_eq!(play.unit.reason, "no call for 10 min");
    assert_eq!(play.unit.code, Some(HealthCode::Sleeping));
    play.did("closeinput, terminate, awaittreegone, stopped");
    // A call that comes while it falls asleep gets a new process.
    play.on(Input::Wake)
        .on(Input::DependenciesReady)
        .respawned()
        .on(idle())
        .on(Input::Wake)
        .exits(0)
        .on(Input::TreeGone)
        .is(ProcessState::Starting);
}

#[test]
fn stop_and_failure_stand_over_a_call_and_a_crash_follows_the_restart_policy() {
    // An operator's stop: of one that sleeps, and of one that falls asleep.
    let mut play = on_demand();
    play.on(Input::StandBy)
        .on(Input::Stop)
        .on(Input::Wake)
        .is(ProcessState::Stopped);
    assert_eq!(play.unit.code, Some(HealthCode::Stopped));
    play.up()
        .on(idle())
        .on(Input::Stop)
        .on(Input::Wake)
        .exits(0)
        .on(Input::TreeGone)
        .is(ProcessState::Stopped);
    // An operator's start does not wait for a call.
    play.on(Input::StandBy)
        .on(Input::Start)
        .is(ProcessState::Starting);
    // A crash while awake; calls do not hurry the back-off, nor try what gave up.
    let mut play = on_demand();
    play.up().killed().is(ProcessState::Restarting);
    play.on(Input::Wake).is(ProcessState::Restarting);
    play.on(idle()).is(ProcessState::Restarting);
    for _ in 0..3 {
        play.wait(4 * SEC).respawned().killed();
    }
    play.on(Input::Wake).is(ProcessState::Failed);
    // One that ends by itself with success sleeps; another one is stopped.
    let mut play = on_demand();
    play.up().exits(0).is(ProcessState::Sleeping);
    play.on(Input::Wake).is(ProcessState::Starting);
    stdio().up().exits(0).is(ProcessState::Stopped);
}

#[test]
fn stop_wins_over_everything_pending() {
    // (f): a pending restart is cancelled by stop. (b): a manual stop is never taken for a crash.
    let mut play = stdio();
    play.up().killed().log.clear();
    play.on(Input::Stop)
        .is(ProcessState::Stopped)
        .did("stopped")
        .wait(60 * SEC)
        .is(ProcessState::Stopped)
        .did("");
    // While it waits for a dependency.
    let mut play = stdio();
    play.on(Input::Start)
        .on(Input::Stop)
        .is(ProcessState::Stopped);
    play.log.clear();
    play.on(Input::DependenciesReady)
        .is(ProcessState::Stopped)
        .did("");
    // While a restart that a person asked for is stopping it.
    let mut play = stdio();
    play.up()
        .on(Input::Restart {
            why: "asked".into(),
        })
        .on(Input::Stop)
        .killed()
        .on(Input::TreeGone)
        .is(ProcessState::Stopped);
    play.wait(60 * SEC).is(ProcessState::Stopped);
    // After a failure: the row no longer says failed.
    let mut play = Play::new(Kind::Stdio, |r| r.max_restarts = Some(0));
    play.up()
        .exits(1)
        .is(ProcessState::Failed)
        .on(Input::Stop)
        .is(ProcessState::Stopped);
}

#[test]
fn a_manual_stop_is_one_stop_and_escalates() {
    // (b), (c), (g): exit by signal during a stop is no crash; SIGKILL really follows; `stopped` is told once.
    let mut play = stdio();
    play.up().log.clear();
    play.on(Input::Stop)
        .is(ProcessState::Stopping)
        .did("closeinput");
    play.wait(Duration::from_millis(999))
        .did("")
        .wait(Duration::from_millis(1))
        .did("terminate");
    play.wait(Duration::from_millis(3_999))
        .did("")
        .wait(Duration::from_millis(1))
        .did("kill");
    play.killed()
        .did("awaittreegone")
        .is(ProcessState::Stopping);
    play.on(Input::TreeGone)
        .is(ProcessState::Stopped)
        .did("stopped")
        .wait(60 * SEC)
        .did("");
    // An HTTP server gets SIGTERM at once.
    let mut play = Play::new(Kind::Http, |_| {});
    play.up().log.clear();
    play.on(Input::Stop)
        .did("terminate")
        .wait(5 * SEC)
        .did("kill");
    // The first process obeys at once but leaves others: they are asked at once, and killed when time is up.
    let mut play = stdio();
    play.up().log.clear();
    play.on(Input::Stop)
        .exits(0)
        .did("closeinput, terminate, awaittreegone")
        .wait(5 * SEC)
        .did("kill");
}

#[test]
fn success_and_policy_decide_about_a_restart() {
    let ends = |policy, codes: &[i32], code| {
        let codes = codes.to_vec();
        let mut play = Play::new(Kind::Stdio, |r| {
            (r.policy, r.success_exit_codes) = (policy, codes)
        });
        play.up().exits(code);
        play.unit.process_state()
    };
    assert_eq!(ends(RestartWhen::OnFailure, &[0], 0), ProcessState::Stopped);
    assert_eq!(
        ends(RestartWhen::OnFailure, &[0], 1),
        ProcessState::Restarting
    );
    assert_eq!(
        ends(RestartWhen::OnFailure, &[0, 143], 143),
        ProcessState::Stopped
    );
    assert_eq!(
        ends(RestartWhen::OnFailure, &[], 0),
        ProcessState::Restarting
    );
    assert_eq!(ends(RestartWhen::Always, &[0], 0), ProcessState::Restarting);
    assert_eq!(ends(RestartWhen::Never, &[0], 1), ProcessState::Stopped);
}

#[test]
fn zero_restarts_means_none() {
    // (i): upstream turned 0 into 3.
    let mut play = Play::new(Kind::Stdio, |r| r.max_restarts = Some(0));
    play.up().log.clear();
    play.exits(1)
        .is(ProcessState::Failed)
        .did("sweep, failed: exited with code 1 after 0 ms; its restart limit is 0");
}

#[test]
fn start_while_starting_is_one_start() {
    // (k): upstream spawned twice.
    let mut play = stdio();
    play.on(Input::Start)
        .on(Input::Start)
        .on(Input::DependenciesReady)
        .on(Input::Start)
        .respawned()
        .on(Input::Start);
    play.did("awaitdependencies, starting, spawn, started")
        .is(ProcessState::Running);
    // During a stop, start means: again, once.
    play.on(Input::Stop)
        .on(Input::Start)
        .on(Input::Start)
        .exits(0)
        .on(Input::TreeGone)
        .is(ProcessState::Starting);
    play.did("closeinput, terminate, awaittreegone, stopped, awaitdependencies");
}

#[test]
fn a_program_that_cannot_be_run_fails_at_once_and_says_so() {
    // (d): upstream stayed `running`.
    let mut play = stdio();
    let error = SpawnError {
        sentence: "no such program".into(),
        code: HealthCode::CannotStart,
        transient: false,
    };
    play.on(Input::Start)
        .on(Input::DependenciesReady)
        .on(Input::SpawnFailed(error))
        .is(ProcessState::Failed);
    play.did("awaitdependencies, starting, spawn, error, failed: no such program");
    // A held port may become free: that is tried again, and counted.
    let error = SpawnError {
        sentence: "port held".into(),
        code: HealthCode::PortTaken,
        transient: true,
    };
    play.on(Input::Start)
        .on(Input::DependenciesReady)
        .on(Input::SpawnFailed(error))
        .is(ProcessState::Restarting);
    assert_eq!(play.unit.restarts, 1);
}

#[test]
fn a_new_terms_or_restart_never_orphans_the_running_process() {
    // (e): upstream forgot the child when a server was registered again.
    let mut play = stdio();
    play.up().log.clear();
    play.on(Input::Restart {
        why: "configuration changed".into(),
    })
    .is(ProcessState::Stopping)
    .did("closeinput");
    play.on(Input::Start)
        .did("")
        .exits(0)
        .on(Input::TreeGone)
        .did("terminate, awaittreegone, stopped, awaitdependencies");
    play.on(Input::DependenciesReady)
        .respawned()
        .is(ProcessState::Running);
    assert_eq!(
        play.unit.restarts, 0,
        "a restart that was asked for does not count"
    );
    // While what it is started with is looked up: looked up anew, for that is what changed.
    let mut play = stdio();
    play.on(Input::Start).on(Input::DependenciesReady);
    play.log.clear();
    play.on(Input::Restart {
        why: "configuration changed".into(),
    })
    .is(ProcessState::Starting)
    .did("spawn");
}

#[test]
fn recycling_counts_and_recovery_is_told_once() {
    let mut play = Play::new(Kind::Http, |r| r.max_restarts = Some(1));
    play.up().log.clear();
    assert_eq!(play.unit.proven(), None, "nothing to recover from");
    play.on(Input::Recycle {
        why: "512 MiB reached".into(),
    })
    .killed()
    .on(Input::TreeGone);
    play.did("terminate, awaittreegone, restarting 1 in 1.0 s")
        .is(ProcessState::Restarting);
    play.wait(SEC).respawned();
    assert_eq!(
        play.unit.proven(),
        Some(Effect::Tell(Told::Recovered { attempts: 1 }))
    );
    assert_eq!(play.unit.proven(), None);
    play.on(Input::Recycle {
        why: "512 MiB reached".into(),
    })
    .killed()
    .on(Input::TreeGone)
    .is(ProcessState::Failed);
    assert!(
        play.unit.reason.contains("512 MiB reached") && play.unit.reason.contains("gave up"),
        "{}",
        play.unit.reason
    );
}

#[test]
fn a_server_that_our_question_ended_is_started_again_without_counting() {
    let mut play = stdio();
    play.up().log.clear();
    play.on(Input::Exited {
        exit: Exit {
            code: Some(1),
            signal: None,
        },
        excused: Some("died on the first question".into()),
    });
    play.is(ProcessState::Starting).did("sweep, error, spawn");
    assert_eq!(play.unit.restarts, 0);
}

#[test]
fn a_url_is_only_monitored() {
    let mut play = Play::new(Kind::Url, |_| {});
    play.on(Input::Start)
        .on(Input::DependenciesReady)
        .on(Input::Spawned)
        .is(ProcessState::Running);
    play.log.clear();
    play.on(Input::Stop)
        .is(ProcessState::Stopped)
        .did("closeinput, stopped");
    // `restart.on_unhealthy` of `[defaults]` reaches it too, and must not end the monitoring.
    let mut play = Play::new(Kind::Url, |r| r.max_restarts = Some(0));
    play.up().log.clear();
    play.on(Input::Recycle {
        why: "unhealthy".into(),
    })
    .is(ProcessState::Running)
    .did("");
}

#[test]
fn jitter_stays_within_its_share() {
    let mut play = Play::new(Kind::Stdio, |r| {
        (r.jitter, r.max_restarts, r.delays_ms) = (0.5, None, vec![1_000])
    });
    play.up();
    let mut seen = Vec::new();
    for _ in 0..200 {
        play.killed();
        let due = play.unit.next_try.unwrap() - millis(play.at);
        assert!((500..=1_500).contains(&due), "{due}");
        seen.push(due);
        play.wait(2 * SEC).respawned();
    }
    seen.sort_unstable();
    assert!(
        seen[20] < 700 && seen[180] > 1_300,
        "spread over the whole share: {seen:?}"
    );
}
