//! The desk: what every firing comes to, as a pure transition.

use super::{
    compiled::{Kind, Trigger},
    due::due,
    hook::Known,
    window::Window,
    written::Overlap,
};
use crate::plan::Plan;
use flotilla_contract::{
    Millis,
    workflow::{TriggerLast, TriggerOutcome, TriggerView},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

/// What came of a firing.
pub type Outcome = TriggerOutcome;
/// The last outcome.
pub type Last = TriggerLast;

/// Firings of a trigger that wait at most.
pub const MOST_QUEUED: usize = 16;
/// Times that are told ahead.
const AHEAD: usize = 3;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// What is kept of a trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The workflow.
    pub workflow: String,
    /// The trigger.
    pub trigger: String,
    /// Pattern and zone of its schedule when it last decided.
    #[serde(default)]
    pub form: String,
    /// Up to when its schedule has decided.
    pub seen: Millis,
    /// Draws its part of the jitter.
    pub seed: u64,
    /// An operator's switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<Switch>,
    /// What came of its last firing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Last>,
}

/// That somebody switched a trigger, against what its definition says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// On or off.
    pub enabled: bool,
    /// Who.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// A run that is to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Taken once.
    pub key: String,
    /// The workflow.
    pub workflow: String,
    /// The trigger.
    pub trigger: String,
    /// When it fired.
    pub at: Millis,
    /// What started the run, for people.
    pub by: String,
    /// How deep the run is.
    pub depth: u32,
    /// `trigger` of expressions.
    pub cause: Value,
    /// Values of variables.
    pub vars: Map<String, Value>,
    /// Folder of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// What happened in the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Its place, unique in the home: boot and number.
    pub place: String,
    /// Its word.
    pub word: String,
    /// The server that it is about.
    pub server: Option<String>,
    /// All of it.
    pub event: Value,
    /// The workflow and depth of the run that caused it, if one did.
    pub cause: Option<(String, u32)>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// These definitions stand in the home now.
    Defined {
        /// Those that can run.
        valid: Vec<(String, Arc<Plan>)>,
        /// Those that cannot: what is kept of their triggers stays.
        broken: Vec<String>,
        /// Draws the seeds of triggers that were not there before.
        seed: u64,
    },
    /// Time passed.
    Time,
    /// Something happened in the fleet.
    Happened(Happening),
    /// A sender that knows the secret called a hook.
    Hook {
        /// The workflow.
        workflow: String,
        /// The trigger.
        trigger: String,
        /// The id that the sender gave, or one that was drawn.
        id: String,
        /// The body.
        body: Value,
    },
    /// A run of this workflow ended.
    Ended(String),
    /// An operator switches a trigger.
    Switched {
        /// The workflow.
        workflow: String,
        /// The trigger.
        trigger: String,
        /// On or off.
        enabled: bool,
        /// Who.
        by: String,
    },
    /// A start ended so.
    Started(Started),
}

/// How a start ended.
#[derive(Debug)]
pub struct Started {
    /// Of which firing.
    pub key: String,
    /// The workflow.
    pub workflow: String,
    /// The trigger.
    pub trigger: String,
    /// The number of the run, or why there is none.
    pub result: Result<u64, String>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write this down.
    Keep(Kept),
    /// Forget what is kept of a trigger.
    Forget {
        /// The workflow.
        workflow: String,
        /// The trigger.
        trigger: String,
    },
    /// Write down that this waits.
    Queue(Firing),
    /// It does not wait any more.
    Unqueue(String),
    /// Start a run, unless its key is taken, and tell how that ended ([`Event::Started`]) before the next effect.
    Start(Firing),
    /// Cancel a run.
    Cancel {
        /// Which.
        run: u64,
        /// For whom.
        by: String,
    },
    /// Tell the log of events.
    Tell {
        /// The workflow.
        workflow: String,
        /// The trigger.
        trigger: String,
        /// What came of a firing.
        outcome: Outcome,
        /// Why.
        why: String,
    },
    /// Tell people, until they have seen it.
    Notice(String),
}

/// Numbers of the runs of a workflow that are under way, oldest first.
pub(crate) type UnderWay<'a> = &'a dyn Fn(&str) -> Vec<u64>;

/// Every trigger of a home.
#[derive(Debug, Default)]
pub struct Desk {
    flows: BTreeMap<String, Flow>,
    /// Of triggers that are not armed.
    resting: HashMap<(String, String), Kept>,
    queues: BTreeMap<String, VecDeque<Firing>>,
    /// Starts that were given out in this transition, by workflow.
    starting: HashMap<String, usize>,
    said: Option<Last>,
    looked: Millis,
    defined: bool,
}

#[derive(Debug)]
struct Flow {
    plan: Arc<Plan>,
    armed: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    kept: Kept,
    next: Option<Millis>,
    /// Milliseconds by which its schedule is later.
    spread: u64,
    minute: Window,
    hour: Window,
}

impl Armed {
    fn enabled(&self, trigger: &Trigger) -> bool {
        self.kept
            .switch
            .as_ref()
            .map_or(trigger.enabled, |switch| switch.enabled)
    }
}

/// What fires a trigger.
struct Cause {
    key: String,
    by: String,
    depth: u32,
    more: Map<String, Value>,
}

impl Desk {
    /// A desk with what the last engine kept.
    #[must_use]
    pub fn new(kept: Vec<Kept>, queued: Vec<Firing>) -> Self {
        let mut desk = Self::default();
        for kept in kept {
            let name = (kept.workflow.clone(), kept.trigger.clone());
            desk.resting.insert(name, kept);
        }
        for firing in queued {
            desk.queue(firing);
        }
        desk
    }

    /// Takes what happened and gives what is to be done.
    pub fn on(&mut self, now: Millis, event: Event, under_way: UnderWay<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        if !matches!(event, Event::Started(_)) {
            self.starting.clear();
            self.said = None;
        }
        match event {
            Event::Defined {
                valid,
                broken,
                seed,
            } => self.defined(now, valid, &broken, seed, &mut out),
            Event::Time => self.time(now, under_way, &mut out),
            Event::Happened(happening) => self.happened(now, &happening, under_way, &mut out),
            Event::Hook {
                workflow,
                trigger,
                id,
                body,
            } => {
                if let Some(at) = self.place(&workflow, &trigger) {
                    let cause = Cause {
                        key: format!("{workflow}/{trigger}#{id}"),
                        by: format!("webhook {trigger}"),
                        depth: 0,
                        more: Map::from_iter([("body".to_owned(), body)]),
                    };
                    self.fire(now, now, &workflow, at, cause, under_way, &mut out);
                }
            }
            Event::Ended(workflow) => self.drain(&workflow, under_way, &mut out),
            Event::Switched {
                workflow,
                trigger,
                enabled,
                by,
            } => self.switch(now, &workflow, &trigger, enabled, &by, &mut out),
            Event::Started(started) => self.started(now, started, &mut out),
        }
        out
    }

    /// When a schedule comes due next.
    #[must_use]
    pub fn next(&self) -> Option<Millis> {
        let flows = self.flows.values();
        let armed = flows.flat_map(|flow| flow.armed.iter().zip(&flow.plan.triggers));
        armed
            .filter(|(armed, trigger)| armed.enabled(trigger))
            .filter_map(|(armed, _)| Some(armed.next? + armed.spread))
            .min()
    }

    /// Whether firings wait.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.queues.values().any(|queue| !queue.is_empty())
    }

    /// Whether an event of this word can start a workflow.
    #[must_use]
    pub fn wants(&self, word: &str) -> bool {
        let triggers = self.flows.values().flat_map(|flow| &flow.plan.triggers);
        let mut kinds = triggers.filter_map(|trigger| match &trigger.kind {
            Kind::Event { kinds, .. } => Some(kinds),
            _ => None,
        });
        kinds.any(|kinds| kinds.iter().any(|kind| kind == word))
    }

    /// What the last transition, with the start that followed, came to for a firing; none when its `if` was false.
    #[must_use]
    pub fn said(&self) -> Option<&Last> {
        self.said.as_ref()
    }

    /// Which webhook a request means: that of this name, or the only one of the workflow.
    #[must_use]
    pub fn webhook(&self, workflow: &str, trigger: Option<&str>) -> Option<Known> {
        let flow = self.flows.get(workflow)?;
        let mut found = flow
            .armed
            .iter()
            .zip(&flow.plan.triggers)
            .filter_map(|(armed, one)| match &one.kind {
                Kind::Webhook { secret, auth, .. } if trigger.is_none_or(|id| id == one.id) => {
                    Some(Known {
                        trigger: one.id.clone(),
                        secret: secret.clone(),
                        auth: *auth,
                        enabled: armed.enabled(one),
                    })
                }
                _ => None,
            });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Whether there is such a trigger; without a name, the only one of the workflow. Gives its name.
    ///
    /// # Errors
    /// A sentence that completes "failed to …" and says what there is.
    pub fn named(&self, workflow: &str, trigger: Option<&str>) -> Result<String, String> {
        let flow = self.flows.get(workflow);
        let ids: Vec<_> = flow
            .iter()
            .flat_map(|flow| flow.plan.triggers.iter().map(|one| one.id.as_str()))
            .collect();
        match (trigger, ids.as_slice()) {
            (None, [only]) => Ok((*only).to_owned()),
            (Some(id), ids) if ids.contains(&id) => Ok(id.to_owned()),
            (_, []) => Err(format!(
                "find a trigger of {workflow:?}: no definition of this name in the home can run and has one"
            )),
            (Some(id), ids) => Err(format!(
                "find the trigger {id:?} of {workflow}; accepted are {}",
                ids.join(", ")
            )),
            (None, ids) => Err(format!(
                "find the trigger that is meant: {workflow} has {}",
                ids.join(", ")
            )),
        }
    }

    /// Every trigger, by workflow in the order of its definition.
    #[must_use]
    pub fn view(&self) -> Vec<TriggerView> {
        let flows = self.flows.iter();
        flows
            .flat_map(|(name, flow)| {
                let triggers = flow.armed.iter().zip(&flow.plan.triggers);
                triggers.map(|(armed, trigger)| self.viewed(name, armed, trigger))
            })
            .collect()
    }

    fn viewed(&self, workflow: &str, armed: &Armed, trigger: &Trigger) -> TriggerView {
        let enabled = armed.enabled(trigger);
        let (mut next, mut timezone) = (Vec::new(), None);
        let what = match &trigger.kind {
            Kind::Schedule { cron, text, .. } => {
                let times = std::iter::successors(armed.next, |at| cron.after(*at));
                if enabled {
                    next = times.take(AHEAD).map(|at| at + armed.spread).collect();
                }
                timezone = Some(cron.zone().to_owned());
                text.clone()
            }
            Kind::Event { kinds, servers, .. } => {
                let names: Vec<_> = servers.iter().map(glob::Pattern::as_str).collect();
                let of = if names.is_empty() {
                    String::new()
                } else {
                    format!(" of {}", names.join(", "))
                };
                format!("{}{of}", kinds.join(", "))
            }
            Kind::Webhook { .. } => {
                let only = self.webhook(workflow, None).is_some();
                let rest = if only {
                    String::new()
                } else {
                    format!("/{}", trigger.id)
                };
                format!("POST /hooks/{workflow}{rest}")
            }
        };
        let why = match &armed.kept.switch {
            Some(switch) if !enabled => Some(format!("switched off by {}", switch.by)),
            Some(switch) => Some(format!("switched on by {}", switch.by)),
            None if !enabled => Some("enabled is false in its definition".to_owned()),
            None => None,
        };
        let queue = self.queues.get(workflow);
        let queued = queue.map_or(0, |queue| {
            queue.iter().filter(|one| one.trigger == trigger.id).count()
        });
        TriggerView {
            workflow: workflow.to_owned(),
            trigger: trigger.id.clone(),
            kind: trigger.kind(),
            what,
            timezone,
            overlap: trigger.overlap.word().to_owned(),
            next,
            enabled,
            why,
            queued: u32::try_from(queued).unwrap_or(u32::MAX),
            last: armed.kept.last.clone(),
            last_run: None,
        }
    }

    fn place(&self, workflow: &str, trigger: &str) -> Option<usize> {
        let triggers = &self.flows.get(workflow)?.plan.triggers;
        triggers.iter().position(|one| one.id == trigger)
    }

    fn queue(&mut self, firing: Firing) {
        let queue = self.queues.entry(firing.workflow.clone()).or_default();
        queue.push_back(firing);
    }

    fn defined(
        &mut self,
        now: Millis,
        valid: Vec<(String, Arc<Plan>)>,
        broken: &[String],
        seed: u64,
        out: &mut Vec<Effect>,
    ) {
        let mut counts = HashMap::new();
        for (_, flow) in std::mem::take(&mut self.flows) {
            for armed in flow.armed {
                let name = (armed.kept.workflow.clone(), armed.kept.trigger.clone());
                counts.insert(name.clone(), (armed.minute, armed.hour));
                self.resting.insert(name, armed.kept);
            }
        }
        let there: HashSet<_> = valid
            .iter()
            .map(|(name, _)| name.clone())
            .chain(broken.iter().cloned())
            .collect();
        for (name, plan) in valid {
            let armed = plan
                .triggers
                .iter()
                .map(|trigger| {
                    let whole = (name.clone(), trigger.id.clone());
                    let known = self.resting.remove(&whole);
                    let (minute, hour) = counts.remove(&whole).unwrap_or_default();
                    let armed = arm(now, &name, trigger, known, seed, out);
                    Armed {
                        minute,
                        hour,
                        ..armed
                    }
                })
                .collect();
            self.flows.insert(name, Flow { plan, armed });
        }
        if !std::mem::replace(&mut self.defined, true) {
            // Only at the start: an editor may take a file away and put it back.
            let gone =
                |workflow: &String| !there.contains(workflow) || self.flows.contains_key(workflow);
            let names: Vec<_> = self
                .resting
                .keys()
                .filter(|name| gone(&name.0))
                .cloned()
                .collect();
            for (workflow, trigger) in names {
                self.resting.remove(&(workflow.clone(), trigger.clone()));
                out.push(Effect::Forget { workflow, trigger });
            }
        }
        let mut lost = Vec::new();
        for (name, queue) in &mut self.queues {
            let flow = self.flows.get(name);
            if flow.is_none() && there.contains(name) {
                continue;
            }
            queue.retain(|firing| {
                let kept = flow.is_some_and(|flow| {
                    flow.plan
                        .triggers
                        .iter()
                        .any(|one| one.id == firing.trigger)
                });
                if !kept {
                    lost.push(firing.key.clone());
                }
                kept
            });
        }
        out.extend(lost.into_iter().map(Effect::Unqueue));
    }

    fn time(&mut self, now: Millis, under_way: UnderWay<'_>, out: &mut Vec<Effect>) {
        let back = now < self.looked;
        self.looked = now;
        let names: Vec<_> = self.flows.keys().cloned().collect();
        for name in &names {
            let count = self.flows.get(name).map_or(0, |flow| flow.armed.len());
            for at in 0..count {
                self.look(now, name, at, back, under_way, out);
            }
        }
        let queues: Vec<_> = self.queues.keys().cloned().collect();
        for name in queues {
            self.drain(&name, under_way, out);
        }
    }

    /// Looks whether a schedule is due.
    fn look(
        &mut self,
        now: Millis,
        name: &str,
        at: usize,
        back: bool,
        under_way: UnderWay<'_>,
        out: &mut Vec<Effect>,
    ) {
        let Some(flow) = self.flows.get_mut(name) else {
            return;
        };
        let plan = Arc::clone(&flow.plan);
        let (Some(armed), Some(trigger)) = (flow.armed.get_mut(at), plan.triggers.get(at)) else {
            return;
        };
        let Kind::Schedule { cron, catch_up, .. } = &trigger.kind else {
            return;
        };
        // Being later by its part of the jitter is the same as looking so much earlier.
        let local = now.saturating_sub(armed.spread);
        if !armed.enabled(trigger) || (!back && armed.next.is_some_and(|next| local < next)) {
            return;
        }
        let due = due(cron, armed.kept.seen, local, *catch_up);
        armed.kept.seen = due.seen;
        armed.next = due.next;
        if due.missed > 0 {
            let more = if due.more { " or more" } else { "" };
            let times = if due.missed == 1 { "time" } else { "times" };
            out.push(Effect::Tell {
                workflow: name.to_owned(),
                trigger: trigger.id.clone(),
                outcome: Outcome::Skipped,
                why: format!(
                    "{}{more} due {times} had passed by more than a minute",
                    due.missed
                ),
            });
        }
        if due.start.is_empty() {
            if due.missed > 0 {
                out.push(Effect::Keep(armed.kept.clone()));
            }
            return;
        }
        for time in due.start {
            let cause = Cause {
                key: format!("{name}/{}@{time}", trigger.id),
                by: format!("schedule {}", trigger.id),
                depth: 0,
                more: Map::new(),
            };
            self.fire(now, time, name, at, cause, under_way, out);
        }
    }

    fn happened(
        &mut self,
        now: Millis,
        happening: &Happening,
        under_way: UnderWay<'_>,
        out: &mut Vec<Effect>,
    ) {
        let mut meant = Vec::new();
        for (name, flow) in &self.flows {
            // What a run of this workflow did starts no run of it.
            if happening
                .cause
                .as_ref()
                .is_some_and(|(workflow, _)| workflow == name)
            {
                continue;
            }
            for (at, trigger) in flow.plan.triggers.iter().enumerate() {
                let Kind::Event { kinds, servers, .. } = &trigger.kind else {
                    continue;
                };
                let of = servers.is_empty()
                    || happening.server.as_ref().is_some_and(|server| {
                        servers.iter().any(|pattern| pattern.matches(server))
                    });
                if of && kinds.contains(&happening.word) {
                    meant.push((name.clone(), at, trigger.id.clone()));
                }
            }
        }
        for (name, at, id) in meant {
            let of = happening
                .server
                .as_ref()
                .map_or(String::new(), |server| format!(" of {server}"));
            let mut more = Map::from_iter([("event".to_owned(), happening.event.clone())]);
            more.extend(
                happening
                    .server
                    .clone()
                    .map(|server| ("server".to_owned(), server.into())),
            );
            let cause = Cause {
                key: format!("{name}/{id}!{}", happening.place),
                by: format!("event {}{of}", happening.word),
                depth: happening.cause.as_ref().map_or(0, |(_, depth)| depth + 1),
                more,
            };
            self.fire(now, now, &name, at, cause, under_way, out);
        }
    }

    /// What a firing comes to.
    #[expect(
        clippy::too_many_arguments,
        reason = "what fired, when, and what it finds"
    )]
    fn fire(
        &mut self,
        now: Millis,
        time: Millis,
        name: &str,
        at: usize,
        cause: Cause,
        under_way: UnderWay<'_>,
        out: &mut Vec<Effect>,
    ) {
        let Some(plan) = self.flows.get(name).map(|flow| Arc::clone(&flow.plan)) else {
            return;
        };
        let Some(trigger) = plan.triggers.get(at) else {
            return;
        };
        let firing = match self.firing(now, time, name, at, &plan, cause) {
            Ok(Some(firing)) => firing,
            Ok(None) => return self.keep_place(name, at, out),
            Err((outcome, why)) => {
                return self.settle(now, name, at, outcome, None, Some(why), out);
            }
        };
        let running = under_way(name);
        let starting = self.starting.get(name).copied().unwrap_or(0);
        let waiting = self.queues.get(name).map_or(0, VecDeque::len);
        let most = most(&plan, trigger);
        // Who waits comes first.
        let full =
            running.len() + starting >= most || (waiting > 0 && trigger.overlap == Overlap::Queue);
        if !full {
            *self.starting.entry(name.to_owned()).or_default() += 1;
            self.count(now, name, at, trigger, out);
            out.push(Effect::Start(firing));
            return;
        }
        let many = running.len() + starting;
        let runs = if many == 1 { "run is" } else { "runs are" };
        match trigger.overlap {
            Overlap::Skip | Overlap::Allow => {
                let why = format!("{many} {runs} under way");
                self.settle(now, name, at, Outcome::Skipped, None, Some(why), out);
            }
            Overlap::Queue => {
                let queue = self.queues.entry(name.to_owned()).or_default();
                if queue.iter().filter(|one| one.trigger == trigger.id).count() >= MOST_QUEUED {
                    let why = format!("{MOST_QUEUED} of them wait already");
                    return self.settle(now, name, at, Outcome::Skipped, None, Some(why), out);
                }
                self.enqueue(
                    now,
                    name,
                    at,
                    trigger,
                    firing,
                    format!("{many} {runs} under way"),
                    out,
                );
            }
            Overlap::CancelPrevious => {
                let queue = self.queues.entry(name.to_owned()).or_default();
                let (mine, others): (VecDeque<Firing>, _) = std::mem::take(queue)
                    .into_iter()
                    .partition(|one| one.trigger == trigger.id);
                *queue = others;
                out.extend(mine.into_iter().map(|one| Effect::Unqueue(one.key)));
                let by = firing.by.clone();
                self.enqueue(
                    now,
                    name,
                    at,
                    trigger,
                    firing,
                    format!("{many} {runs} being cancelled"),
                    out,
                );
                let count = (many + 1).saturating_sub(most);
                out.extend(running.into_iter().take(count).map(|run| Effect::Cancel {
                    run,
                    by: by.clone(),
                }));
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as `fire`")]
    fn enqueue(
        &mut self,
        now: Millis,
        name: &str,
        at: usize,
        trigger: &Trigger,
        firing: Firing,
        why: String,
        out: &mut Vec<Effect>,
    ) {
        self.count(now, name, at, trigger, out);
        out.push(Effect::Queue(firing.clone()));
        self.queue(firing);
        self.settle(now, name, at, Outcome::Queued, None, Some(why), out);
    }

    /// A firing that passes all but `overlap`: `None` when it is not meant at all.
    fn firing(
        &mut self,
        now: Millis,
        time: Millis,
        name: &str,
        at: usize,
        plan: &Plan,
        cause: Cause,
    ) -> Result<Option<Firing>, (Outcome, String)> {
        let trigger = plan.triggers.get(at);
        let armed = self
            .flows
            .get_mut(name)
            .and_then(|flow| flow.armed.get_mut(at));
        let (Some(trigger), Some(armed)) = (trigger, armed) else {
            return Ok(None);
        };
        if !armed.enabled(trigger) {
            return Ok(None);
        }
        let mut value = json!({
            "kind": trigger.kind().word(),
            "id": trigger.id,
            "time": shown(time),
            "time_ms": time,
        });
        if let Value::Object(map) = &mut value {
            map.extend(cause.more);
        }
        let refused = |why| (Outcome::Refused, why);
        if !trigger.holds(&value).map_err(refused)? {
            return Ok(None);
        }
        if let Kind::Event { per_minute, .. } | Kind::Webhook { per_minute, .. } = &trigger.kind
            && armed.minute.count(now, MINUTE_MS) >= *per_minute as usize
        {
            let why = format!("it has fired {per_minute} times within a minute");
            return Err((Outcome::Dropped, why));
        }
        let given = trigger.vars(&value).map_err(refused)?;
        if let Err(findings) = plan.bind(&given) {
            let said: Vec<_> = findings
                .iter()
                .map(|one| format!("{}: {}", one.path, one.message))
                .collect();
            return Err(refused(said.join("; ")));
        }
        Ok(Some(Firing {
            key: cause.key,
            workflow: name.to_owned(),
            trigger: trigger.id.clone(),
            at: time,
            by: cause.by,
            depth: cause.depth,
            cause: value,
            vars: given,
            workspace: trigger.workspace.clone(),
        }))
    }

    /// Counts a firing that starts a run, now or later; one too many within an hour switches its trigger off.
    fn count(
        &mut self,
        now: Millis,
        name: &str,
        at: usize,
        trigger: &Trigger,
        out: &mut Vec<Effect>,
    ) {
        let armed = self
            .flows
            .get_mut(name)
            .and_then(|flow| flow.armed.get_mut(at));
        let Some(armed) = armed else { return };
        armed.minute.note(now);
        let Kind::Event { per_hour, .. } = &trigger.kind else {
            return;
        };
        armed.hour.note(now);
        if armed.hour.count(now, HOUR_MS) < *per_hour as usize {
            return;
        }
        let why = format!("Flotilla: it started {per_hour} runs within an hour");
        armed.kept.switch = Some(Switch {
            enabled: false,
            by: why.clone(),
            at: now,
        });
        out.push(Effect::Keep(armed.kept.clone()));
        out.push(Effect::Notice(format!(
            "The trigger {} of the workflow {name} started {per_hour} runs within an hour and was switched off. `flotilla workflow enable {name} {}` switches it on.",
            trigger.id, trigger.id
        )));
    }

    /// Of a schedule, up to when it has decided.
    fn keep_place(&self, name: &str, at: usize, out: &mut Vec<Effect>) {
        let Some(flow) = self.flows.get(name) else {
            return;
        };
        if let (
            Some(Trigger {
                kind: Kind::Schedule { .. },
                ..
            }),
            Some(armed),
        ) = (flow.plan.triggers.get(at), flow.armed.get(at))
        {
            out.push(Effect::Keep(armed.kept.clone()));
        }
    }

    /// Notes what came of a firing. The same again is neither told nor, but for the place of a schedule, written.
    #[expect(clippy::too_many_arguments, reason = "of what, and what")]
    fn settle(
        &mut self,
        now: Millis,
        name: &str,
        at: usize,
        outcome: Outcome,
        run: Option<u64>,
        why: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        let Some(flow) = self.flows.get_mut(name) else {
            return;
        };
        let (Some(armed), Some(trigger)) = (flow.armed.get_mut(at), flow.plan.triggers.get(at))
        else {
            return;
        };
        let last = Last {
            at: now,
            outcome,
            run,
            why: why.clone(),
        };
        self.said = Some(last.clone());
        let before = armed.kept.last.replace(last);
        let same = outcome != Outcome::Started
            && before.is_some_and(|last| {
                last.outcome == outcome && (outcome != Outcome::Refused || last.why == why)
            });
        if !same || matches!(trigger.kind, Kind::Schedule { .. }) {
            out.push(Effect::Keep(armed.kept.clone()));
        }
        if !same && outcome != Outcome::Started {
            out.push(Effect::Tell {
                workflow: name.to_owned(),
                trigger: trigger.id.clone(),
                outcome,
                why: why.unwrap_or_default(),
            });
        }
    }

    /// Starts what waits, as far as there is room.
    fn drain(&mut self, name: &str, under_way: UnderWay<'_>, out: &mut Vec<Effect>) {
        let Some(plan) = self.flows.get(name).map(|flow| Arc::clone(&flow.plan)) else {
            return;
        };
        if self.queues.get(name).is_none_or(VecDeque::is_empty) {
            return;
        }
        let running = under_way(name).len();
        while let Some(first) = self.queues.get(name).and_then(VecDeque::front) {
            let at = self.place(name, &first.trigger);
            let Some(trigger) = at.and_then(|at| plan.triggers.get(at)) else {
                break;
            };
            let starting = self.starting.get(name).copied().unwrap_or(0);
            if running + starting >= most(&plan, trigger) {
                break;
            }
            if let Some(firing) = self.queues.get_mut(name).and_then(VecDeque::pop_front) {
                *self.starting.entry(name.to_owned()).or_default() += 1;
                out.push(Effect::Start(firing));
            }
        }
    }

    fn switch(
        &mut self,
        now: Millis,
        name: &str,
        trigger: &str,
        enabled: bool,
        by: &str,
        out: &mut Vec<Effect>,
    ) {
        let Some(at) = self.place(name, trigger) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(name) else {
            return;
        };
        let (Some(armed), Some(written)) = (flow.armed.get_mut(at), flow.plan.triggers.get(at))
        else {
            return;
        };
        if enabled && !armed.enabled(written) {
            // What came due while it was off is not made up for.
            armed.kept.seen = now;
            armed.kept.last = None;
            armed.minute.clear();
            armed.hour.clear();
            armed.next = next(written, &armed.kept);
        }
        armed.kept.switch = (enabled != written.enabled).then(|| Switch {
            enabled,
            by: by.to_owned(),
            at: now,
        });
        out.push(Effect::Keep(armed.kept.clone()));
        if !enabled && let Some(queue) = self.queues.get_mut(name) {
            queue.retain(|firing| {
                let stays = firing.trigger != trigger;
                if !stays {
                    out.push(Effect::Unqueue(firing.key.clone()));
                }
                stays
            });
        }
    }

    fn started(&mut self, now: Millis, started: Started, out: &mut Vec<Effect>) {
        let Started {
            key,
            workflow,
            trigger,
            result,
        } = started;
        if result.is_err() {
            out.push(Effect::Unqueue(key));
        }
        let Some(at) = self.place(&workflow, &trigger) else {
            return;
        };
        match result {
            Ok(run) => self.settle(now, &workflow, at, Outcome::Started, Some(run), None, out),
            Err(why) => self.settle(now, &workflow, at, Outcome::Refused, None, Some(why), out),
        }
    }
}

/// Runs of the workflow with which a firing of this trigger overlaps.
fn most(plan: &Plan, trigger: &Trigger) -> usize {
    let declared = plan.definition.max_runs.map(|most| most as usize);
    match trigger.overlap {
        Overlap::Allow => declared.unwrap_or(usize::MAX),
        _ => declared.unwrap_or(1),
    }
}

fn next(trigger: &Trigger, kept: &Kept) -> Option<Millis> {
    match &trigger.kind {
        Kind::Schedule { cron, .. } => cron.after(kept.seen),
        _ => None,
    }
}

fn arm(
    now: Millis,
    workflow: &str,
    trigger: &Trigger,
    known: Option<Kept>,
    seed: u64,
    out: &mut Vec<Effect>,
) -> Armed {
    let form = trigger.form();
    let before = known.clone();
    let mut kept = known.unwrap_or_else(|| {
        let mut hasher = DefaultHasher::new();
        (seed, workflow, &trigger.id).hash(&mut hasher);
        Kept {
            workflow: workflow.to_owned(),
            trigger: trigger.id.clone(),
            form: form.clone(),
            seen: now,
            seed: hasher.finish(),
            switch: None,
            last: None,
        }
    });
    if kept.form != form {
        // Times of another schedule were not missed.
        (kept.form, kept.seen) = (form, now);
    }
    // A switch says the opposite of the definition; once the definition says the same, there is nothing left of it.
    kept.switch = kept
        .switch
        .filter(|switch| switch.enabled != trigger.enabled);
    if before.as_ref() != Some(&kept) {
        out.push(Effect::Keep(kept.clone()));
    }
    let spread = match &trigger.kind {
        Kind::Schedule { jitter, .. } if *jitter > 0 => kept.seed % jitter,
        _ => 0,
    };
    Armed {
        next: next(trigger, &kept),
        kept,
        spread,
        minute: Window::default(),
        hour: Window::default(),
    }
}

fn shown(at: Millis) -> String {
    let at = i64::try_from(at)
        .ok()
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map_or(String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
