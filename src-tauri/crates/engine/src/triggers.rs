//! What starts workflows without a person: the loop around [`Desk`], which decides.
//!
//! **Its loop** takes one thing after another: the definitions in the home changed (the folder is watched, and looked at every 30 s), a schedule
//! came due, something happened in the fleet, a hook was called, an operator asks. For each it lets the desk decide and performs what comes of
//! it, in that order. At least every 30 s it looks at the clock, so that a clock that was set, or a machine that slept, is noticed.
//!
//! **Its queue**: 64 questions (of screens, and of hooks whose sender has proved that it may); who asks waits for a place. Events are read
//! where the log keeps them; when it is slower than the log's ring, what fell out of that starts nothing, and the log of the engine says so.
//!
//! **What cannot be kept** is tried again every second: a start that is not on disk is none. Meanwhile nothing is triggered, as no run could
//! be kept either.
//!
//! **Never**: asks for a secret (a keyring may ask its user, so that is done in the task of the request), or waits for a run.

use crate::{
    clock,
    core::Core,
    sessions::lock,
    workflows::{By, check},
};
use bytes::Bytes;
use flotilla_contract::{
    Caller, ErrorCode, EventKind, WireError,
    event::NewEvent,
    workflow::{RunParams, TriggerLast, TriggerOutcome, TriggerRef, TriggerView},
};
use flotilla_store::{EventLog, Received, RunLog, Subscriber, TriggerNote};
use flotilla_workflow::{
    Plan, Run, Wish,
    trigger::{
        Desk, Effect, Event, Firing, Happening, KINDS, Started,
        hook::{self, Proof},
    },
};
use notify::{RecursiveMode, Watcher};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

/// Questions that wait at most.
const ASKS: usize = 64;
/// An editor writes a file in several steps: this long must pass without another, though not more often than so.
const SETTLE: Duration = Duration::from_millis(120);
const SETTLE_TIMES: u32 = 20;
/// The folder and the clock are looked at this often in any case.
const LOOK: Duration = Duration::from_secs(30);
/// Firings that wait are looked at this often, beside the ends of runs.
const WAITING: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Requests to hooks at once at most.
const HOOKS: usize = 16;
/// How long a secret may take to be found for a request.
const SECRET: Duration = Duration::from_secs(5);

/// The way to the loop.
pub(crate) struct Triggers {
    asks: mpsc::Sender<Ask>,
    /// Until the loop takes it.
    inbox: Mutex<Option<Inbox>>,
    hooks: Arc<Semaphore>,
}

struct Inbox {
    asked: mpsc::Receiver<Ask>,
    events: Subscriber,
}

enum Ask {
    List(oneshot::Sender<Vec<TriggerView>>),
    Switch {
        which: TriggerRef,
        enabled: bool,
        by: String,
        answer: oneshot::Sender<Result<TriggerView, WireError>>,
    },
    /// Which hook is meant.
    Which {
        workflow: String,
        trigger: Option<String>,
        answer: oneshot::Sender<Option<hook::Known>>,
    },
    /// A sender that knows the secret called it.
    Called {
        workflow: String,
        trigger: String,
        id: String,
        body: Value,
        answer: oneshot::Sender<HookEnd>,
    },
}

/// A request to a hook.
#[derive(Clone, Debug, Default)]
pub struct HookCall {
    /// The workflow.
    pub workflow: String,
    /// The trigger; the only webhook of the workflow without it.
    pub trigger: Option<String>,
    /// `X-Hub-Signature-256`.
    pub signature: Option<String>,
    /// What follows `Bearer ` in `Authorization`.
    pub bearer: Option<String>,
    /// The sender's name for this delivery: the same again starts nothing.
    pub id: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// What came of a request to a hook.
#[derive(Clone, Debug, PartialEq)]
pub enum HookEnd {
    /// This run started; or, for a delivery that was made before, had started.
    Started(u64),
    /// A run starts when those under way have ended.
    Queued,
    /// It started nothing, as the definition wants it.
    Skipped(String),
    /// No run can start: what was sent does not fit.
    Refused(String),
    /// More than is taken.
    TooMany,
    /// There is no such hook, or the sender does not know its secret.
    Unknown,
    /// It is switched off.
    Disabled,
    /// The engine could not do it.
    Failed(WireError),
}

impl Triggers {
    pub(crate) fn new(events: &EventLog) -> Self {
        let (asks, asked) = mpsc::channel(ASKS);
        let inbox = Inbox {
            asked,
            events: events.subscribe(),
        };
        Self {
            asks,
            inbox: Mutex::new(Some(inbox)),
            hooks: Arc::new(Semaphore::new(HOOKS)),
        }
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, WireError> {
        let ending = || {
            WireError::new(
                ErrorCode::Internal,
                "ask the triggers: the engine is ending",
            )
        };
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())
    }
}

impl Core {
    pub(crate) async fn triggers_listed(&self) -> Result<Vec<TriggerView>, WireError> {
        let mut views = self.workflows.triggers.ask(Ask::List).await?;
        for view in &mut views {
            if let Some(run) = view.last.as_ref().and_then(|last| last.run) {
                // One that is not kept any more has no outcome to show.
                view.last_run = self
                    .runs
                    .one(run)
                    .await
                    .ok()
                    .flatten()
                    .map(|kept| kept.summary);
            }
        }
        Ok(views)
    }

    pub(crate) async fn switch_trigger(
        &self,
        caller: &Caller,
        which: TriggerRef,
        enabled: bool,
    ) -> Result<TriggerView, WireError> {
        let (verb, by) = (
            if enabled { "enable" } else { "disable" },
            caller.actor.clone(),
        );
        let about = match &which.trigger {
            Some(trigger) => format!("{}, {trigger}", which.workflow),
            None => which.workflow.clone(),
        };
        let ask = |answer| Ask::Switch {
            which,
            enabled,
            by,
            answer,
        };
        let switched = self.workflows.triggers.ask(ask).await.and_then(|end| end);
        let (said, ok) = match &switched {
            Ok(view) if view.enabled => (format!("{} starts runs", view.trigger), true),
            Ok(view) => (format!("{} starts no runs", view.trigger), true),
            Err(error) => (format!("failed to {}", error.message), false),
        };
        let command = format!("workflow.trigger.{verb}");
        self.record_actions(
            caller,
            &command,
            &about,
            std::iter::once((None, said.as_str(), ok)),
        )
        .await;
        switched
    }

    /// A request to a hook, from its proof to what came of it.
    pub(crate) async fn hook(&self, call: HookCall) -> HookEnd {
        let triggers = &self.workflows.triggers;
        let Ok(_place) = triggers.hooks.try_acquire() else {
            return HookEnd::TooMany;
        };
        let HookCall {
            workflow,
            trigger,
            signature,
            bearer,
            id,
            body,
        } = call;
        let which = |answer| Ask::Which {
            workflow: workflow.clone(),
            trigger,
            answer,
        };
        let known = match triggers.ask(which).await {
            Ok(Some(known)) => known,
            Ok(None) => return HookEnd::Unknown,
            Err(error) => return HookEnd::Failed(error),
        };
        let Some(secret) = self.hook_secret(&workflow, &known).await else {
            return HookEnd::Unknown;
        };
        if !hook::knows(known.auth, &secret, &Proof { signature, bearer }, &body) {
            return HookEnd::Unknown;
        }
        if !known.enabled {
            return HookEnd::Disabled;
        }
        let body = match serde_json::from_slice(&body) {
            Ok(value) => value,
            Err(_) => match std::str::from_utf8(&body) {
                Ok(text) => Value::String(text.to_owned()),
                Err(_) => return HookEnd::Refused("the body is neither JSON nor text".into()),
            },
        };
        let called = |answer| Ask::Called {
            workflow,
            trigger: known.trigger,
            id: id.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string()),
            body,
            answer,
        };
        triggers.ask(called).await.unwrap_or_else(HookEnd::Failed)
    }

    /// The secret of a hook; people are told where there is none, the sender is not.
    async fn hook_secret(&self, workflow: &str, known: &hook::Known) -> Option<String> {
        let (store, name) = (self.secrets.clone(), known.secret.clone());
        let found = tokio::task::spawn_blocking(move || store.get(&name));
        let why = match tokio::time::timeout(SECRET, found).await {
            Ok(Ok(Ok(Some(secret)))) if secret.expose().len() >= hook::SHORTEST => {
                return Some(secret.expose().to_owned());
            }
            Ok(Ok(Ok(Some(_)))) => format!("is shorter than {} bytes", hook::SHORTEST),
            Ok(Ok(Ok(None))) => "is not in the store".to_owned(),
            Ok(Ok(Err(error))) => format!("cannot be read: {error}"),
            Ok(Err(error)) => format!("cannot be read: {error}"),
            Err(_) => format!("was not found within {} s", SECRET.as_secs()),
        };
        self.notice(format!(
            "The webhook {} of the workflow {workflow} was called and let nobody in: its secret {} {why}.",
            known.trigger, known.secret
        ));
        None
    }
}

/// Runs the triggers of a home until the engine ends.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(mut inbox) = lock(&core.workflows.triggers.inbox).take() else {
        return;
    };
    let (kept, queued) = remembered(&core.runs).await;
    let mut round = Round {
        desk: Desk::new(kept, queued),
        definitions: Definitions::default(),
        core,
    };
    let changed = Arc::new(Notify::new());
    let _watcher = watch(&round.core, &changed);
    round.define().await;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tokio::time::sleep(round.wake()) => round.on(Event::Time, None, true).await,
            received = inbox.events.recv() => round.heard(received).await,
            Some(ask) = inbox.asked.recv() => round.asked(ask).await,
            () = changed.notified() => {
                for _ in 0..SETTLE_TIMES {
                    if tokio::time::timeout(SETTLE, changed.notified()).await.is_err() {
                        break;
                    }
                }
                round.define().await;
            }
            _ = look.tick() => round.define().await,
        }
    }
}

/// What the last engine kept. What cannot be read is left out, and told in the log.
async fn remembered(runs: &RunLog) -> (Vec<flotilla_workflow::trigger::Kept>, Vec<Firing>) {
    fn read<T: serde::de::DeserializeOwned>(texts: &[String]) -> Vec<T> {
        let read = |text: &String| {
            serde_json::from_str(text)
                .inspect_err(|error| tracing::warn!(%error, "a trigger was left out"))
                .ok()
        };
        texts.iter().filter_map(read).collect()
    }
    loop {
        match tokio::try_join!(runs.triggers(), runs.firings()) {
            Ok((kept, firings)) => return (read(&kept), read(&firings)),
            Err(error) => tracing::error!(%error, "triggers not read; they are tried again"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Watches the folder of definitions, which is made for that.
fn watch(core: &Core, changed: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let (folder, wake) = (&core.workflows.folder, changed.clone());
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            wake.notify_one();
        }
    });
    let watching = std::fs::create_dir_all(folder)
        .map_err(notify::Error::io)
        .and(watcher)
        .and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
    watching
        .inspect_err(|error| {
            tracing::warn!(%error, folder = %folder.display(), "definitions cannot be watched: they are looked at every 30 s");
        })
        .ok()
}

struct Round {
    core: Arc<Core>,
    desk: Desk,
    definitions: Definitions,
}

impl Round {
    fn wake(&self) -> Duration {
        let now = clock::now();
        let most = if self.desk.waiting() { WAITING } else { LOOK };
        self.desk.next().map_or(most, |next| {
            Duration::from_millis(next.saturating_sub(now)).min(most)
        })
    }

    /// Lets the desk decide and does what comes of it. `over` is a run that has just ended and may still look as if it had not. A start that
    /// cannot be kept is tried again only if nobody waits for it.
    async fn on(&mut self, event: Event, over: Option<u64>, again: bool) {
        let mut todo: VecDeque<_> = self.decide(event, over).into();
        while let Some(effect) = todo.pop_front() {
            match effect {
                Effect::Keep(kept) => {
                    let text = serde_json::to_string(&kept);
                    self.note(text, |text| TriggerNote::Keep {
                        workflow: kept.workflow.clone(),
                        name: kept.trigger.clone(),
                        kept: text,
                    })
                    .await;
                }
                Effect::Forget { workflow, trigger } => {
                    self.note(Ok(trigger), |name| TriggerNote::Forget {
                        workflow: workflow.clone(),
                        name,
                    })
                    .await;
                }
                Effect::Queue(firing) => {
                    let text = serde_json::to_string(&firing);
                    self.note(text, |firing_text| TriggerNote::Queue {
                        key: firing.key.clone(),
                        firing: firing_text,
                    })
                    .await;
                }
                Effect::Unqueue(key) => {
                    self.note(Ok(key), |key| TriggerNote::Unqueue { key }).await
                }
                Effect::Start(firing) => {
                    let result = self.start(&firing, over, again).await;
                    let started = Started {
                        key: firing.key,
                        workflow: firing.workflow,
                        trigger: firing.trigger,
                        result,
                    };
                    let more = self.decide(Event::Started(started), over);
                    more.into_iter()
                        .rev()
                        .for_each(|effect| todo.push_front(effect));
                }
                Effect::Cancel { run, by } => {
                    // One that is being cancelled, or has just ended, has nothing to cancel.
                    let _ = self
                        .core
                        .workflows
                        .runner
                        .ask(run, &by, |_| Ok(Wish::Cancel))
                        .await;
                }
                Effect::Tell {
                    workflow,
                    trigger,
                    outcome,
                    why,
                } => {
                    self.core.events.append(NewEvent {
                        about: None,
                        correlation: None,
                        what: EventKind::WorkflowTrigger {
                            workflow,
                            trigger,
                            outcome,
                            why,
                        },
                    });
                }
                Effect::Notice(text) => self.core.notice(text),
            }
        }
    }

    fn decide(&mut self, event: Event, over: Option<u64>) -> Vec<Effect> {
        let runner = &self.core.workflows.runner;
        let under_way = |workflow: &str| {
            let runs = runner.under_way().into_iter();
            runs.filter(|run| {
                run.workflow == workflow && !run.state.ended() && Some(run.run) != over
            })
            .map(|run| run.run)
            .collect()
        };
        self.desk.on(clock::now(), event, &under_way)
    }

    async fn note(
        &self,
        text: Result<String, serde_json::Error>,
        note: impl FnOnce(String) -> TriggerNote,
    ) {
        let note = match text {
            Ok(text) => note(text),
            Err(error) => return tracing::error!(%error, "a trigger cannot be written down"),
        };
        loop {
            match self.core.runs.note(note.clone()).await {
                Ok(()) | Err(flotilla_store::Error::Closed(_)) => return,
                Err(error) => {
                    tracing::error!(%error, "a trigger is not written down; it is tried again")
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn start(&self, firing: &Firing, over: Option<u64>, again: bool) -> Result<u64, String> {
        loop {
            let by = By {
                by: firing.by.clone(),
                depth: firing.depth,
                trigger: firing.cause.clone(),
                key: Some(firing.key.clone()),
                over,
            };
            let params = RunParams {
                name: firing.workflow.clone(),
                vars: firing.vars.clone(),
                workspace: firing.workspace.clone(),
                confirm: None,
            };
            match self.core.start_run(by, params).await {
                Ok(run) => return Ok(run.run),
                Err(error) if error.code == ErrorCode::Store && again => {
                    tracing::error!(error = %error.message, workflow = firing.workflow, "a run was not started; it is tried again");
                }
                Err(error) => return Err(format!("failed to {}", error.message)),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn heard(&mut self, received: Received) {
        let event = match received {
            Received::Event(event) => event,
            Received::Missed(count) => {
                tracing::warn!(
                    count,
                    "events came faster than triggers take them; those started nothing"
                );
                // Among them may be ends of runs.
                return self.on(Event::Time, None, true).await;
            }
        };
        if let EventKind::WorkflowRun {
            run,
            workflow,
            state,
            ..
        } = &event.what
            && state.ended()
        {
            self.on(Event::Ended(workflow.clone()), Some(*run), true)
                .await;
        }
        let word = event.what.word();
        if !KINDS.contains(&word) || !self.desk.wants(word) {
            return;
        }
        let run = event.correlation.as_deref().and_then(run_of);
        let cause = match run {
            Some(run) => {
                let look = |run: &Run| {
                    let name = run.plan().definition().name.clone();
                    (name, run.facts().depth)
                };
                self.core.workflows.runner.look(run, look).await.ok()
            }
            None => None,
        };
        let happening = Happening {
            place: format!("{}:{}", self.core.boot, event.seq),
            word: word.to_owned(),
            server: event.server.as_ref().map(ToString::to_string),
            event: serde_json::to_value(&*event).unwrap_or_default(),
            cause,
        };
        self.on(Event::Happened(happening), None, true).await;
    }

    async fn asked(&mut self, ask: Ask) {
        // Who does not wait for the answer any more does not need it.
        match ask {
            Ask::List(answer) => drop(answer.send(self.desk.view())),
            Ask::Which {
                workflow,
                trigger,
                answer,
            } => drop(answer.send(self.desk.webhook(&workflow, trigger.as_deref()))),
            Ask::Switch {
                which,
                enabled,
                by,
                answer,
            } => {
                let switched = self.switched(which, enabled, by).await;
                drop(answer.send(switched));
            }
            Ask::Called {
                workflow,
                trigger,
                id,
                body,
                answer,
            } => {
                let event = Event::Hook {
                    workflow,
                    trigger,
                    id,
                    body,
                };
                self.on(event, None, false).await;
                let end = self.desk.said().map_or_else(
                    || HookEnd::Skipped("its if is false".into()),
                    |last| ended(last.clone()),
                );
                drop(answer.send(end));
            }
        }
    }

    async fn switched(
        &mut self,
        which: TriggerRef,
        enabled: bool,
        by: String,
    ) -> Result<TriggerView, WireError> {
        let workflow = which.workflow;
        let none = |why| WireError::new(ErrorCode::NotFound, why);
        let trigger = self
            .desk
            .named(&workflow, which.trigger.as_deref())
            .map_err(none)?;
        let event = Event::Switched {
            workflow: workflow.clone(),
            trigger: trigger.clone(),
            enabled,
            by,
        };
        self.on(event, None, true).await;
        let mut views = self.desk.view().into_iter();
        views
            .find(|view| view.workflow == workflow && view.trigger == trigger)
            .ok_or_else(|| none(format!("find the trigger {trigger} of {workflow}")))
    }

    /// Looks at the definitions, and arms what changed.
    async fn define(&mut self) {
        let Some(told) = self.definitions.look(&self.core.workflows.folder).await else {
            return;
        };
        told.over
            .iter()
            .for_each(|text| self.core.notice_over(text));
        told.new.into_iter().for_each(|text| self.core.notice(text));
        let (valid, broken) = self.definitions.sorted();
        let event = Event::Defined {
            valid,
            broken,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        };
        self.on(event, None, true).await;
    }
}

fn ended(last: TriggerLast) -> HookEnd {
    let why = last.why.unwrap_or_default();
    match (last.outcome, last.run) {
        (TriggerOutcome::Started, Some(run)) => HookEnd::Started(run),
        (TriggerOutcome::Queued, _) => HookEnd::Queued,
        (TriggerOutcome::Skipped, _) => HookEnd::Skipped(why),
        (TriggerOutcome::Dropped, _) => HookEnd::TooMany,
        (TriggerOutcome::Refused | TriggerOutcome::Started, _) => HookEnd::Refused(why),
    }
}

/// The run that caused an event, as its correlation says.
fn run_of(correlation: &str) -> Option<u64> {
    correlation.strip_prefix("run-")?.parse().ok()
}

/// What is known of what started a run that no trigger did.
pub(crate) fn cause(kind: &str, more: &[(&str, Value)]) -> Value {
    let now = clock::now();
    let time = i64::try_from(now)
        .ok()
        .and_then(|now| jiff::Timestamp::from_millisecond(now).ok());
    let mut cause = Map::from_iter([
        ("kind".to_owned(), json!(kind)),
        ("time".to_owned(), json!(time.map(|time| time.to_string()))),
        ("time_ms".to_owned(), json!(now)),
    ]);
    cause.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    Value::Object(cause)
}

/// The definitions of a home, read when they change.
#[derive(Default)]
struct Definitions {
    read: BTreeMap<String, Read>,
    looked: bool,
}

struct Read {
    /// When the file was written, and its length.
    stamp: (Option<SystemTime>, u64),
    plan: Result<Arc<Plan>, String>,
}

/// What people are to be told, and what is over.
#[derive(Default)]
struct Told {
    new: Vec<String>,
    over: Vec<String>,
}

impl Definitions {
    /// Reads what changed; `None` when nothing did.
    async fn look(&mut self, folder: &Path) -> Option<Told> {
        let mut told = Told::default();
        let mut there = BTreeMap::new();
        for (name, path) in crate::workflows::definitions(folder).await {
            if let Ok(meta) = tokio::fs::metadata(&path).await {
                there.insert(name, (path, (meta.modified().ok(), meta.len())));
            }
        }
        let mut changed = !std::mem::replace(&mut self.looked, true);
        self.read.retain(|name, read| {
            let stays = there.contains_key(name);
            if !stays {
                changed = true;
                told.over.extend(read.plan.as_ref().err().cloned());
            }
            stays
        });
        for (name, (path, stamp)) in there {
            if self.read.get(&name).is_some_and(|read| read.stamp == stamp) {
                continue;
            }
            changed = true;
            let plan = compiled(&name, path).await;
            let before = self.read.insert(
                name,
                Read {
                    stamp,
                    plan: plan.clone(),
                },
            );
            told.over.extend(before.and_then(|read| read.plan.err()));
            told.new.extend(plan.err());
        }
        changed.then_some(told)
    }

    fn sorted(&self) -> (Vec<(String, Arc<Plan>)>, Vec<String>) {
        let (mut valid, mut broken) = (Vec::new(), Vec::new());
        for (name, read) in &self.read {
            match &read.plan {
                Ok(plan) => valid.push((name.clone(), Arc::clone(plan))),
                Err(_) => broken.push(name.clone()),
            }
        }
        (valid, broken)
    }
}

/// A definition that can run, or why it cannot, as a notice.
async fn compiled(name: &str, path: PathBuf) -> Result<Arc<Plan>, String> {
    let file = path.display().to_string();
    let notice = |why: String| {
        format!("The workflow {name} cannot run, and nothing starts it: {file}: {why}.")
    };
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| notice(error.to_string()))?;
    match check(text).await {
        Ok(Ok(plan)) if plan.definition().name == name => Ok(plan),
        Ok(Ok(plan)) => Err(notice(format!(
            "name is {:?}; accepted is the name of the file",
            plan.definition().name
        ))),
        Ok(Err(findings)) => {
            let first = findings.first();
            let line = first
                .and_then(|first| first.line)
                .map_or(String::new(), |line| format!("line {line}: "));
            let place = first.map_or("", |first| first.path.as_str());
            let colon = if place.is_empty() { "" } else { ": " };
            let message = first.map_or("", |first| first.message.as_str());
            Err(notice(format!("{line}{place}{colon}{message}")))
        }
        Err(error) => Err(notice(error.message)),
    }
}
