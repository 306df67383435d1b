//! The loop of one instance: waits for what happens, asks [`Unit`] and [`Health`] what it means, does it.
//!
//! One task per instance owns its child, its pipes and its state; nothing else writes them. What it does per turn is
//! bounded, reading its output too (see [`crate::capture`]).

use crate::{
    Found, Place, Prober,
    capture::{Capture, at, maybe},
    health::{Health, Turn, next_action},
    ports::{Boxed, Endpoint, Resolved, Unresolved},
    probe,
    shared::{InstanceCell, Order, Seen, Shared},
    spawn::{self, Spawned},
    unit::{Effect, Exit, Input, Kind, Now, SpawnError, Terms, Told, Unit, millis, span},
};
use flotilla_contract::{
    EventKind, InstanceView, Millis, ServerSpec,
    event::NewEvent,
    log::Stream,
    spec::{Check, Transport},
    state::{
        HealthCode, HealthLevel, HealthReport, LastExit, NextAction, ProcessAxis, ProcessState,
        Status,
    },
};
use flotilla_os::{Ending, Mark, signal_group, signal_process};
use std::{
    process::ExitStatus,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Lines kept with an exit.
const LAST_LINES: usize = 20;
/// How long after an exit its strays are looked for (its group is killed at once). The replacement goes first, and when
/// a whole fleet was killed, all replacements: a look reads every process of the machine, and would take a core from them.
const SWEEP_AFTER: Duration = Duration::from_millis(250);

/// The process at hand.
struct Process {
    child: tokio::process::Child,
    pid: u32,
    reaped: bool,
    output: Capture,
}

pub(crate) struct Runner {
    shared: Arc<Shared>,
    cell: Arc<InstanceCell>,
    spec: Arc<ServerSpec>,
    orders: mpsc::Receiver<Order>,
    unit: Unit,
    health: Health,
    /// Number of the process at hand, or of the last one.
    place: Place,
    /// Where somebody else's server listens, once that is known.
    url: Option<String>,
    process: Option<Process>,
    started_at: Option<Millis>,
    last_exit: Option<LastExit>,
    timer: Option<Instant>,
    dependencies: Option<Boxed<()>>,
    resolving: Option<Boxed<Result<Resolved, Unresolved>>>,
    tree: Option<Boxed<()>>,
    probing: Option<Boxed<(Found, Duration)>>,
    correlation: Option<String>,
    ticket: u64,
    wanted: bool,
    /// The end of the last process, not in the log yet: what is decided about it goes on the same line.
    exit_note: Option<String>,
}

/// What one turn of the loop saw.
enum Saw {
    Order(Option<Order>),
    Exit(std::io::Result<ExitStatus>),
    Timer,
    Dependencies,
    Resolved(Result<Resolved, Unresolved>),
    TreeGone,
    Found(Found, Duration),
    ProbeDue,
    Output,
}

impl Runner {
    pub(crate) fn new(
        shared: Arc<Shared>,
        cell: Arc<InstanceCell>,
        spec: Arc<ServerSpec>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let now = now();
        let place = Place {
            id: cell.id.clone(),
            spawn: 0,
        };
        let unit = Unit::new(terms(&spec), now.wall, shared.seed(&cell.id));
        let health = Health::new(spec.health.clone(), now.wall);
        Self {
            shared,
            cell,
            spec,
            orders,
            unit,
            health,
            place,
            url: None,
            process: None,
            started_at: None,
            last_exit: None,
            timer: None,
            dependencies: None,
            resolving: None,
            tree: None,
            probing: None,
            correlation: None,
            ticket: 0,
            wanted: false,
            exit_note: None,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.publish();
            if self.unit.at_rest() && self.shared.may_retire(&self.cell) {
                self.take_last_orders();
                return;
            }
            let saw = self.next().await;
            let input = match saw {
                Saw::Order(None) => return,
                Saw::Order(Some(order)) => self.on_order(order),
                Saw::Exit(status) => Some(self.on_exit(status)),
                Saw::Timer => {
                    self.timer = None;
                    if self.health.code == HealthCode::NoCheck
                        && let Some(recovered) = self.unit.proven()
                    {
                        // Nobody checks it: having stayed up is the proof.
                        self.perform(recovered);
                    }
                    Some(Input::Timer)
                }
                Saw::Dependencies => {
                    self.dependencies = None;
                    Some(Input::DependenciesReady)
                }
                Saw::Resolved(resolved) => {
                    self.resolving = None;
                    Some(self.spawn(resolved))
                }
                Saw::TreeGone => {
                    self.tree = None;
                    Some(Input::TreeGone)
                }
                Saw::Found(found, took) => {
                    self.probing = None;
                    self.on_found(found, took);
                    None
                }
                Saw::ProbeDue => {
                    self.begin_probe();
                    None
                }
                Saw::Output => {
                    self.read_output(false);
                    None
                }
            };
            if let Some(input) = input {
                self.feed(input);
            }
        }
    }

    async fn next(&mut self) -> Saw {
        let (exit, output) = match &mut self.process {
            Some(p) if !p.reaped => (Some(&mut p.child), Some(&p.output)),
            _ => (None, None),
        };
        let due = self.health.due.filter(|_| self.probing.is_none());
        tokio::select! {
            biased;
            order = self.orders.recv() => Saw::Order(order),
            status = maybe(exit.map(tokio::process::Child::wait)) => Saw::Exit(status),
            () = maybe(self.tree.as_mut()) => Saw::TreeGone,
            () = maybe(self.dependencies.as_mut()) => Saw::Dependencies,
            resolved = maybe(self.resolving.as_mut()) => Saw::Resolved(resolved),
            () = at(self.timer) => Saw::Timer,
            (found, took) = maybe(self.probing.as_mut()) => Saw::Found(found, took),
            () = at(due) => Saw::ProbeDue,
            () = maybe(output.map(Capture::ready)) => Saw::Output,
        }
    }

    /// Nobody can give it orders any more. Those that came at the last moment found it as they wanted it: stopped.
    fn take_last_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            let _ = self.on_order(order);
        }
        self.publish();
    }

    /// Takes in the newest spec, with every order: the one that says so may have found the queue full.
    fn renew(&mut self) {
        let newest = self.shared.spec(&self.cell.id.server);
        let Some(spec) = newest.filter(|spec| !Arc::ptr_eq(spec, &self.spec)) else {
            return;
        };
        if spec.health != self.spec.health {
            self.health.set_check(now(), spec.health.clone());
        }
        self.spec = spec;
        self.feed(Input::Terms(terms(&self.spec)));
    }

    fn on_order(&mut self, order: Order) -> Option<Input> {
        self.renew();
        match order {
            Order::Start {
                ticket,
                correlation,
            } => {
                (self.ticket, self.wanted, self.correlation) = (ticket, true, correlation);
                Some(Input::Start)
            }
            Order::Stop {
                ticket,
                correlation,
            } => {
                (self.ticket, self.wanted, self.correlation) = (ticket, false, correlation);
                Some(Input::Stop)
            }
            Order::Restart {
                ticket,
                correlation,
                why,
            } => {
                (self.ticket, self.wanted, self.correlation) = (ticket, true, correlation);
                Some(Input::Restart { why })
            }
            Order::StandBy {
                ticket,
                correlation,
            } => {
                (self.ticket, self.wanted, self.correlation) = (ticket, true, correlation);
                Some(Input::StandBy)
            }
            Order::Wake {
                ticket,
                correlation,
            } => {
                (self.ticket, self.wanted, self.correlation) = (ticket, true, correlation);
                Some(Input::Wake)
            }
            Order::Sleep { why } => {
                // What it does of its own accord belongs to no operation.
                self.correlation = None;
                Some(Input::Sleep { why })
            }
            Order::Renew => None,
            Order::Probe => {
                self.health.ask_now(now());
                None
            }
            Order::Review => {
                self.health.review(now());
                None
            }
            Order::Recycle { spawn, why } if spawn == self.place.spawn => {
                self.tell(EventKind::Ceiling {
                    reason: why.clone(),
                });
                self.note(&why);
                Some(Input::Recycle { why })
            }
            Order::Recycle { .. } => None,
        }
    }

    fn feed(&mut self, input: Input) {
        let now = now();
        for effect in self.unit.on(now, input) {
            self.perform(effect);
        }
        if let Some(note) = self.exit_note.take() {
            self.note(&note);
        }
        self.follow_process(now);
    }

    /// Health follows the process: nothing is known of what does not run.
    fn follow_process(&mut self, now: Now) {
        let state = self.unit.process_state();
        let code = self.unit.code;
        let reason = &self.unit.reason;
        let (code, sentence) = match state {
            ProcessState::Running => return,
            ProcessState::Sleeping => (
                HealthCode::Sleeping,
                format!("Sleeping: {reason}; the next call starts it"),
            ),
            ProcessState::Starting
                if code == Some(HealthCode::WaitsForDependency) && self.dependencies.is_some() =>
            {
                let names: Vec<String> = self
                    .spec
                    .depends_on
                    .iter()
                    .map(|d| d.server.to_string())
                    .collect();
                (
                    HealthCode::WaitsForDependency,
                    format!("Waits for {}", names.join(", ")),
                )
            }
            ProcessState::Starting => (HealthCode::FirstAnswer, "Is being started".into()),
            ProcessState::Stopping => (HealthCode::Stopping, format!("Is being stopped: {reason}")),
            ProcessState::Stopped if code == Some(HealthCode::Finished) => {
                (HealthCode::Finished, capital(reason))
            }
            ProcessState::Stopped => (HealthCode::Stopped, format!("Stopped: {reason}")),
            ProcessState::Restarting => {
                let limit = self
                    .spec
                    .restart
                    .max_restarts
                    .map_or_else(String::new, |max| format!(" of {max}"));
                (
                    code.unwrap_or(HealthCode::Restarting),
                    format!(
                        "{}; try {}{limit} is due",
                        capital(reason),
                        self.unit.restarts
                    ),
                )
            }
            ProcessState::Failed => (code.unwrap_or(HealthCode::Failed), capital(reason)),
        };
        if (self.health.code, self.health.sentence.as_str()) != (code, sentence.as_str()) {
            self.health.ended(now, code, sentence);
            self.probing = None;
        }
        self.health.level = match state {
            ProcessState::Starting => HealthLevel::Starting,
            ProcessState::Restarting | ProcessState::Failed => HealthLevel::Unhealthy,
            _ => HealthLevel::Unknown,
        };
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::AwaitDependencies => {
                self.dependencies = Some(self.shared.dependencies(&self.spec.depends_on))
            }
            Effect::ForgetDependencies => {
                self.dependencies = None;
                self.resolving = None;
            }
            Effect::Spawn => {
                let port = probe::port_of(&self.spec, self.cell.id.index);
                self.resolving = Some(self.shared.ports.resolve.resolve(self.spec.clone(), port));
            }

            Effect::CloseInput => self.close_input(),
            Effect::Terminate => self.signal(Ending::Polite),
            Effect::Kill => self.signal(Ending::Kill),
            Effect::AwaitTreeGone => self.await_tree_gone(),
            Effect::Sweep => self.sweep(),
            Effect::Arm(at) => self.timer = Some(at),
            Effect::Disarm => self.timer = None,
            Effect::Tell(told) => self.on_told(told),
        }
    }

    fn on_told(&mut self, told: Told) {
        let what = match told {
            Told::Starting => EventKind::Starting,
            Told::Started => EventKind::Started {
                pid: self.process.as_ref().map(|p| p.pid),
            },
            Told::Stopped { reason } => EventKind::Stopped {
                exit: self.last_exit.clone().filter(|_| self.place.spawn > 0),
                reason,
            },
            Told::Restarting { attempt, delay } => {
                let next_try = wall() + millis(delay);
                let ended = self
                    .exit_note
                    .take()
                    .map_or_else(String::new, |note| note + "; ");
                self.note(&format!("{ended}restart {attempt} in {}", span(delay)));
                EventKind::Restarting {
                    attempt,
                    delay: millis(delay),
                    next_try,
                    exit: self.last_exit.clone(),
                }
            }
            Told::Failed { error } => {
                // First how it ended, then what that means.
                if let Some(ended) = self.exit_note.take() {
                    self.note(&ended);
                }
                self.note(&format!("failed: {error}"));
                EventKind::Failed {
                    restarts: self.unit.restarts,
                    error,
                    exit: self.last_exit.clone(),
                }
            }
            Told::Recovered { attempts } => EventKind::Recovered { attempts },
            Told::Error { error } => {
                self.note(&error);
                EventKind::Error { error }
            }
        };
        self.tell(what);
    }

    fn tell(&self, what: EventKind) {
        self.shared.ports.events.event(NewEvent {
            about: Some(self.cell.id.clone()),
            correlation: self.correlation.clone(),
            what,
        });
    }

    fn mark(&self) -> Mark {
        self.shared.mark_of(&self.place)
    }

    // --- starting -----------------------------------------------------------------------------------------------

    fn spawn(&mut self, resolved: Result<Resolved, Unresolved>) -> Input {
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                return Input::SpawnFailed(SpawnError {
                    sentence: error.sentence,
                    code: error.code,
                    transient: false,
                });
            }
        };
        self.place.spawn = self.shared.next_spawn();
        self.url = resolved.url.clone();
        if let Some(url) = &resolved.url {
            let endpoint = Endpoint::Http {
                url: url.clone(),
                headers: resolved.headers.clone(),
            };
            self.shared
                .ports
                .link
                .open(&self.place, &self.spec, endpoint);
            self.started(None);
            return Input::Spawned;
        }
        match spawn::spawn(&self.spec, self.place.id.index, &resolved, &self.mark()) {
            Ok(Spawned {
                child,
                pid,
                endpoint,
                stderr,
                stdout,
            }) => {
                self.shared.guard_started(pid);
                self.shared
                    .ports
                    .link
                    .open(&self.place, &self.spec, endpoint);
                self.process = Some(Process {
                    child,
                    pid,
                    reaped: false,
                    output: Capture::new(stderr, stdout),
                });
                self.started(Some(pid));
                Input::Spawned
            }
            Err(error) => Input::SpawnFailed(error),
        }
    }

    fn started(&mut self, pid: Option<u32>) {
        let now = now();
        self.started_at = Some(now.wall);
        self.cell.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
        self.cell.peak_rss.store(0, Ordering::Relaxed);
        self.cell.spawn.store(self.place.spawn, Ordering::Relaxed);
        self.health.started(now);
    }

    // --- ending -------------------------------------------------------------------------------------------------

    fn on_exit(&mut self, status: std::io::Result<ExitStatus>) -> Input {
        let exit = status.map_or(
            Exit {
                code: None,
                signal: None,
            },
            |status| Exit {
                code: status.code(),
                signal: signal_of(status),
            },
        );
        self.read_output(true);
        let now = now();
        let mut pid = 0;
        if let Some(process) = &mut self.process {
            process.reaped = true;
            pid = process.pid;
        }
        let excused = self.shared.ports.link.gone(&self.place);
        let started = self.started_at.take().unwrap_or(now.wall);
        let ran_ms = now.wall.saturating_sub(started);
        let words = exit.words();
        let peak = self.cell.peak_rss.load(Ordering::Relaxed);
        let mut reason = format!("{words} after {}", span(Duration::from_millis(ran_ms)));
        if self.unit.process_state() == ProcessState::Stopping {
            // It was ended: by whom, or by which ceiling, says more than how it obeyed.
            reason = format!("{reason}; {}", self.unit.reason);
        }
        self.last_exit = Some(LastExit {
            at: now.wall,
            code: exit.code,
            signal: exit.signal.map(flotilla_os::signal_name),
            last_lines: self.cell.ring.last_words(LAST_LINES, started),
            peak_rss_bytes: (peak > 0).then_some(peak),
            reason: reason.clone(),
            ran_ms,
        });
        self.exit_note = Some(format!("process {pid} {reason}"));
        self.cell.pid.store(0, Ordering::Relaxed);
        self.probing = None;
        Input::Exited { exit, excused }
    }

    /// A signal to the whole tree: the group at once, then whoever left it.
    fn signal(&self, ending: Ending) {
        let Some(process) = &self.process else { return };
        let pid = process.pid;
        let word = if ending == Ending::Kill {
            "SIGKILL"
        } else {
            "SIGTERM"
        };
        if signal_group(pid, ending) {
            self.note(&format!("{word} to process group {pid}"));
        }
        let (census, mark) = (self.shared.census.clone(), self.mark());
        tokio::spawn(async move {
            for stray in census
                .family(mark, Some(pid))
                .await
                .iter()
                .filter(|p| p.pgrp != pid)
            {
                signal_process(stray.pid, stray.start_time, ending);
            }
        });
    }

    fn close_input(&mut self) {
        self.shared.ports.link.close_input(&self.place);
        if self.process.is_none() {
            // Only monitored: there is no exit to wait for.
            self.shared.ports.link.gone(&self.place);
            (self.started_at, self.probing) = (None, None);
        }
    }

    fn await_tree_gone(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        let (pid, mark, shared) = (process.pid, self.mark(), self.shared.clone());
        // From the end of the stop timeout on, each look kills what it sees, so nothing born late escapes. Without a
        // timer, SIGKILL has been sent already.
        let stop_by = self
            .timer
            .map_or_else(tokio::time::Instant::now, Into::into);
        self.tree = Some(Box::pin(async move {
            let mut pause = Duration::from_millis(2);
            loop {
                if !flotilla_os::group_exists(pid) {
                    let left = shared.census.family(mark.clone(), Some(pid)).await;
                    if left.is_empty() {
                        break;
                    }
                }
                if tokio::time::Instant::now() >= stop_by {
                    signal_group(pid, Ending::Kill);
                    for stray in shared.census.family(mark.clone(), Some(pid)).await {
                        signal_process(stray.pid, stray.start_time, Ending::Kill);
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            shared.guard_ended(pid);
        }));
    }

    /// Ends what a crashed process left behind, while its replacement is already on its way.
    fn sweep(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        let (pid, mark, shared) = (process.pid, self.mark(), self.shared.clone());
        signal_group(pid, Ending::Kill);
        tokio::spawn(async move {
            tokio::time::sleep(SWEEP_AFTER).await;
            for _ in 0..100 {
                let left = shared.census.family(mark.clone(), Some(pid)).await;
                if left.is_empty() {
                    break;
                }
                for stray in left {
                    signal_process(stray.pid, stray.start_time, Ending::Kill);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            shared.guard_ended(pid);
        });
    }

    // --- health -------------------------------------------------------------------------------------------------

    fn begin_probe(&mut self) {
        self.health.probing();
        if self.unit.process_state() != ProcessState::Running {
            return;
        }
        let limit = Duration::from_millis(self.spec.health.timeout_ms);
        let (shared, spec, place) = (self.shared.clone(), self.spec.clone(), self.place.clone());
        let begun = tokio::time::Instant::now();
        self.probing = Some(match spec.health.check {
            Check::None => return,
            Check::Mcp => {
                let prober: &Arc<dyn Prober> = &shared.ports.prober;
                let answer = prober.probe(place, self.correlation.clone(), limit);
                // The prober keeps the limit itself; this outer one makes sure that nobody is waited for forever.
                Box::pin(async move {
                    (
                        tokio::time::timeout(limit * 2 + Duration::from_secs(1), answer)
                            .await
                            .unwrap_or(Found::NotYet),
                        begun.elapsed(),
                    )
                })
            }
            Check::Http { .. } | Check::Tcp { .. } | Check::Exec { .. } => {
                let (mark, base) = (self.mark(), self.url.clone());
                Box::pin(async move {
                    let found =
                        probe::check(shared.http(), &spec, &place, base.as_deref(), &mark, limit);
                    (found.await, begun.elapsed())
                })
            }
        });
    }

    fn on_found(&mut self, found: Found, took: Duration) {
        let now = now();
        let before = (self.health.level, self.health.code);
        let turn = self.health.on_found(now, took, found);
        if before != (self.health.level, self.health.code) {
            self.tell(EventKind::Health {
                health: self.report(),
            });
        }
        match turn {
            Turn::None => {}
            Turn::Proven => {
                if let Some(effect) = self.unit.proven() {
                    self.perform(effect);
                }
            }
            Turn::Unhealthy => {
                let error = self.health.sentence.clone();
                self.note(&format!("unhealthy: {error}"));
                self.tell(EventKind::Unhealthy {
                    error: error.clone(),
                });
                if self.spec.restart.on_unhealthy {
                    self.feed(Input::Recycle {
                        why: format!("unhealthy: {error}"),
                    });
                }
            }
        }
    }

    // --- output -------------------------------------------------------------------------------------------------

    fn read_output(&mut self, all: bool) {
        if let Some(process) = &mut self.process {
            process.output.read(&self.shared, &self.cell, all);
        }
    }

    /// A line of the supervisor's own in the instance's log.
    fn note(&self, text: &str) {
        self.shared.log(&self.cell, Stream::Supervisor, text);
    }

    // --- telling ------------------------------------------------------------------------------------------------

    fn next_action(&self) -> NextAction {
        let monitored = matches!(self.spec.transport, Transport::Url { .. });
        match next_action(self.health.code) {
            // Nobody here can restart what somebody else started.
            NextAction::Restart | NextAction::RetryNow if monitored => NextAction::EditConfig,
            action => action,
        }
    }

    fn report(&self) -> HealthReport {
        HealthReport {
            level: self.health.level,
            since: self.health.since,
            code: self.health.code,
            sentence: self.health.sentence.clone(),
            action: self.next_action(),
            checked_at: self.health.checked_at,
            check_ms: self.health.check_ms,
        }
    }

    fn publish(&mut self) {
        let process = ProcessAxis {
            state: self.unit.process_state(),
            since: self.unit.since,
            reason: self.unit.reason.clone(),
            next_try: self.unit.next_try,
        };
        let health = self.report();
        let view = InstanceView {
            id: self.cell.id.clone(),
            status: Status::derive(self.spec.disabled.is_some(), process.state, health.level),
            pid: self.process.as_ref().filter(|p| !p.reaped).map(|p| p.pid),
            port: probe::port_of(&self.spec, self.cell.id.index),
            started_at: self
                .started_at
                .filter(|_| process.state == ProcessState::Running),
            restarts: self.unit.restarts,
            restarts_total: self.unit.restarts_total,
            last_exit: self.last_exit.clone(),
            sample: None,
            process,
            health,
        };
        let seen = Seen {
            view,
            ticket: self.ticket,
            wanted: self.wanted,
            spawn: self.place.spawn,
        };
        let changed = self.cell.seen.send_if_modified(|old| {
            let changed = **old != seen;
            if changed {
                *old = Arc::new(seen);
            }
            changed
        });
        if changed {
            self.shared.published(&self.cell.id.server);
        }
    }
}

impl Drop for Runner {
    /// The engine is going down in a hurry (or this task was aborted): the tree is not left behind.
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            signal_group(process.pid, Ending::Kill);
        }
    }
}

fn terms(spec: &ServerSpec) -> Terms {
    let kind = match spec.transport {
        Transport::Stdio { .. } => Kind::Stdio,
        Transport::Http { .. } => Kind::Http,
        Transport::Url { .. } | Transport::Sse { .. } => Kind::Url,
    };
    Terms {
        kind,
        restart: spec.restart.clone(),
        stop_timeout: Duration::from_millis(spec.stop_timeout_ms),
        on_demand: spec.on_demand.is_some(),
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_status: ExitStatus) -> Option<i32> {
    None
}

pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

pub(crate) fn wall() -> Millis {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, millis)
}

pub(crate) fn now() -> Now {
    Now {
        mono: tokio::time::Instant::now().into_std(),
        wall: wall(),
    }
}
