//! One run, as a pure transition: what happened and when in, what is to be done out.
//!
//! No clock, no process, no disk here. [`Run::on`] takes an [`Event`] and gives [`Effect`]s in the order in which they are to be done.
//! Everything it decides becomes a [`Record`], and [`Run::apply`] is the only place where a run changes: so a run rebuilt from the records
//! of its journal is the run that wrote them, also by an engine that decides differently by now.
//!
//! Nothing here looks at all steps for one event: a step counts the needs that have not ended, and the last of them puts it forward.

mod decide;
mod operate;
mod view;

use crate::{
    plan::Plan,
    scope::{StepFacts, Steps},
};
use flotilla_contract::{
    Millis,
    workflow::{Failure, RunState, StepLog, StepState},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
};

/// What is known of a run before it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Its number, unique in a home.
    pub number: u64,
    /// When it was asked for.
    pub at: Millis,
    /// The values of the variables, defaults included.
    pub vars: Map<String, Value>,
    /// Who or what started it: `panel (NAME)`, `cli`, `schedule nightly`, `run 12`.
    pub by: String,
    /// `trigger` of expressions: its `kind`, its `time`, and what that kind adds.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub trigger: Value,
    /// Decides about jitter: the same seed draws the same waits.
    pub seed: u64,
    /// How many runs it is a part of: a run of a `workflow` step is one deeper than the run of that step.
    #[serde(default)]
    pub depth: u32,
    /// Folder in which its commands and files are; one of its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// Work of a run: a step, or one item of a step that runs for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Task {
    /// Place of the step in the definition.
    #[serde(rename = "s")]
    pub step: u32,
    /// Place of the item.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
}

impl Task {
    fn step(step: u32) -> Self {
        Self { step, item: None }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The run begins.
    Begin,
    /// The run is an older engine's, rebuilt from its journal: go on with it.
    Resume,
    /// A try ended.
    Ended {
        /// Of which task.
        task: Task,
        /// Which try of it.
        attempt: u32,
        /// Its output, or why there is none.
        result: Result<Value, Failed>,
    },
    /// It is as late as [`Run::next_time`] said.
    Time,
    /// A person wants something.
    Asked {
        /// Who.
        by: String,
        /// What.
        wish: Wish,
    },
}

/// What a person can want of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Start nothing new.
    Pause,
    /// Go on.
    Continue,
    /// End it, and everything that is at work.
    Cancel,
    /// Let a step be skipped: what needs it goes on.
    Skip(u32),
    /// Try a step again, now.
    Retry(u32),
    /// Say yes or no at an approval.
    Decide {
        /// The step.
        step: u32,
        /// Yes.
        yes: bool,
        /// What was filled in.
        input: Map<String, Value>,
    },
    /// Run again what failed, was blocked or cancelled, in the same run.
    Restart,
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Of which class.
    pub failure: Failure,
    /// What happened, as a sentence without a period.
    pub error: String,
    /// What a command wrote before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Box<StepLog>>,
}

impl Failed {
    /// A failure.
    pub fn new(failure: Failure, error: impl Into<String>) -> Self {
        Self {
            failure,
            error: error.into(),
            log: None,
        }
    }
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write to the journal, before anything that follows.
    Journal(Record),
    /// Begin a try.
    Launch {
        /// The task.
        task: Task,
        /// Which try.
        attempt: u32,
        /// What it is given.
        input: Arc<Value>,
    },
    /// End a try that is at work, with everything it started; its end is awaited all the same.
    Abort(Task),
}

/// What became of a run or a step, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Record {
    /// The run is in another state.
    Run {
        /// Which.
        state: RunState,
        /// Why, or by whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// It took too long, so it fails.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// A step runs once for each of these.
    Items {
        /// The step.
        s: u32,
        /// The items.
        items: Vec<Value>,
    },
    /// A try begins.
    Try {
        /// Of this task.
        #[serde(flatten)]
        task: Task,
        /// Which, from 1.
        n: u32,
        /// What it is given.
        with: Shared,
    },
    /// A try failed, and another comes.
    Again {
        /// Of this task.
        #[serde(flatten)]
        task: Task,
        /// Why it failed.
        #[serde(flatten)]
        failed: Failed,
        /// When the next one begins.
        next: Millis,
    },
    /// A try was at work when the engine ended, or its operator wants it again: it is to be done anew.
    Lost {
        /// The task.
        #[serde(flatten)]
        task: Task,
    },
    /// A task waits for a person or a time.
    Wait {
        /// The task.
        #[serde(flatten)]
        task: Task,
        /// Until then at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
        /// For what, for people.
        why: String,
        /// What it was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<Shared>,
    },
    /// A task ended: an item, or a step with all its items.
    End {
        /// The task.
        #[serde(flatten)]
        task: Task,
        /// How.
        state: StepState,
        /// Its output.
        #[serde(default, skip_serializing_if = "Shared::is_null")]
        output: Shared,
        /// Parts of the output that have a name.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        outputs: Map<String, Value>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<Failed>,
        /// Why it was skipped, blocked or cancelled, or by whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A step is not wanted any more: it ends when what is at work has ended.
    Ending {
        /// The step.
        s: u32,
        /// As what.
        state: StepState,
        /// Why, or by whom.
        why: String,
    },
    /// A step failed whose compensation this is.
    Wake {
        /// The compensation.
        s: u32,
    },
    /// Steps are pending again.
    Anew {
        /// Which.
        steps: Vec<u32>,
    },
}

/// A value that a record and the run both hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shared(pub Arc<Value>);

impl Shared {
    fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl From<Value> for Shared {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Serialize for Shared {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

/// A try that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Which.
    pub attempt: u32,
    /// When it began and ended.
    pub from: Millis,
    /// When it ended.
    pub to: Millis,
    /// Why it failed.
    pub failed: Failed,
}

/// Failed tries that are kept of a task; of more, the latest.
const TRIES_KEPT: usize = 20;

/// How far a task is.
#[derive(Clone, Debug)]
struct Work {
    state: StepState,
    /// Tries begun, without those that were lost.
    attempt: u32,
    /// Tries that an end of the engine interrupted.
    lost: u32,
    began: Option<Millis>,
    /// When the latest try began.
    tried: Millis,
    ended: Option<Millis>,
    input: Option<Arc<Value>>,
    output: Arc<Value>,
    failed: Option<Failed>,
    why: Option<String>,
    /// When the next try comes, or the waiting ends.
    until: Option<Millis>,
    tries: Vec<Tried>,
    /// It is being ended, for this.
    abort: Option<Abort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Abort {
    Late,
    Unwanted,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            state: StepState::Pending,
            attempt: 0,
            lost: 0,
            began: None,
            tried: 0,
            ended: None,
            input: None,
            output: Arc::new(Value::Null),
            failed: None,
            why: None,
            until: None,
            tries: Vec::new(),
            abort: None,
        }
    }
}

/// How far a step is.
#[derive(Clone, Debug, Default)]
struct StepRun {
    /// Needs that have not ended.
    unmet: u32,
    /// A compensation sleeps until its step fails.
    awake: bool,
    work: Work,
    outputs: Map<String, Value>,
    items: Option<Box<Items>>,
    /// What it ends as when its last item has, since it is not wanted any more, and why.
    ending: Option<(StepState, String)>,
}

/// The items of a step that runs for each.
#[derive(Clone, Debug, Default)]
struct Items {
    list: Vec<(Value, Work)>,
    /// All before it have been put forward.
    next: usize,
    done: usize,
}

/// One run of a plan.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    facts: Facts,
    /// `run` of expressions.
    known: Value,
    state: RunState,
    why: Option<String>,
    late: bool,
    /// When it last began to run; its time limit counts from there.
    since: Millis,
    began: Option<Millis>,
    ended: Option<Millis>,
    steps: Vec<StepRun>,
    /// Tasks for which nothing is missing but a slot.
    ready: VecDeque<Task>,
    /// Steps whose needs have all ended, not looked at yet.
    met: VecDeque<u32>,
    timers: BinaryHeap<Reverse<(Millis, Task)>>,
    running: u32,
    /// Steps that have not ended, without sleeping compensations.
    open: usize,
    /// Steps whose failure fails the run.
    failures: usize,
    /// Steps that have ended.
    closed: u32,
    out: Vec<Effect>,
    now: Millis,
}

impl Run {
    /// A run that has not begun.
    #[must_use]
    pub fn new(plan: Arc<Plan>, facts: Facts) -> Self {
        let steps: Vec<_> = plan
            .steps
            .iter()
            .map(|step| StepRun {
                unmet: u32::try_from(step.needs.len()).unwrap_or(u32::MAX),
                awake: !step.dormant,
                ..StepRun::default()
            })
            .collect();
        let known = json!({
            "number": facts.number,
            "workflow": plan.definition.name,
            "started_at": facts.at,
            "by": facts.by,
        });
        Self {
            open: steps.iter().filter(|step| step.awake).count(),
            known,
            plan,
            facts,
            state: RunState::Running,
            why: None,
            late: false,
            since: 0,
            began: None,
            ended: None,
            steps,
            ready: VecDeque::new(),
            met: VecDeque::new(),
            timers: BinaryHeap::new(),
            running: 0,
            failures: 0,
            closed: 0,
            out: Vec::new(),
            now: 0,
        }
    }

    /// The run that wrote these records, in their order, each with its time. [`Event::Resume`] lets it go on.
    pub fn restore(
        plan: Arc<Plan>,
        facts: Facts,
        records: impl IntoIterator<Item = (Millis, Record)>,
    ) -> Self {
        let mut run = Self::new(plan, facts);
        for (at, record) in records {
            run.apply(at, &record);
        }
        run
    }

    /// Its plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What was known before it began.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.state
    }

    /// How far a step is.
    #[must_use]
    pub fn step_state(&self, step: u32) -> Option<StepState> {
        self.steps.get(step as usize).map(|step| step.work.state)
    }

    /// Tasks at work.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// When something is due: then it wants [`Event::Time`].
    #[must_use]
    pub fn next_time(&self) -> Option<Millis> {
        if self.state.ended() {
            return None;
        }
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let limit = (self.state != RunState::Cancelling).then(|| self.deadline());
        timer.into_iter().chain(limit).min()
    }

    fn deadline(&self) -> Millis {
        self.since.saturating_add(self.plan.timeout)
    }

    fn work(&self, task: Task) -> Option<&Work> {
        let step = self.steps.get(task.step as usize)?;
        match task.item {
            None => Some(&step.work),
            Some(item) => step
                .items
                .as_ref()?
                .list
                .get(item as usize)
                .map(|(_, work)| work),
        }
    }

    fn work_mut(&mut self, task: Task) -> Option<&mut Work> {
        let step = self.steps.get_mut(task.step as usize)?;
        match task.item {
            None => Some(&mut step.work),
            Some(item) => {
                let list = &mut step.items.as_mut()?.list;
                list.get_mut(item as usize).map(|(_, work)| work)
            }
        }
    }

    /// Puts a task into a state and counts those at work. A step with items counts by its items.
    fn shift(&mut self, task: Task, state: StepState) -> Option<&mut Work> {
        let own = task.item.is_some() || self.steps.get(task.step as usize)?.items.is_none();
        let before = self.work(task)?.state;
        if own {
            self.running -= u32::from(before == StepState::Running);
            self.running += u32::from(state == StepState::Running);
        }
        let work = self.work_mut(task)?;
        work.state = state;
        Some(work)
    }

    /// Lets a record become true. The only place where a run changes in what it keeps.
    fn apply(&mut self, at: Millis, record: &Record) {
        match record {
            Record::Run { state, why, late } => self.apply_run(at, *state, why.clone(), *late),
            Record::Items { s, items } => {
                if let Some(step) = self.steps.get_mut(*s as usize) {
                    let list = items.iter().map(|item| (item.clone(), Work::default()));
                    step.items = Some(Box::new(Items {
                        list: list.collect(),
                        ..Items::default()
                    }));
                    step.work.state = StepState::Running;
                    step.work.began = Some(at);
                }
            }
            Record::Try { task, n, with } => {
                if let Some(work) = self.shift(*task, StepState::Running) {
                    work.attempt = *n;
                    work.began = work.began.or(Some(at));
                    work.tried = at;
                    work.input = Some(Arc::clone(&with.0));
                    (work.until, work.why, work.abort) = (None, None, None);
                }
            }
            Record::Again { task, failed, next } => {
                if let Some(work) = self.shift(*task, StepState::Retrying) {
                    work.until = Some(*next);
                    work.remember(at, failed);
                }
            }
            Record::Lost { task } => {
                if let Some(work) = self.shift(*task, StepState::Pending) {
                    work.attempt = work.attempt.saturating_sub(1);
                    work.lost += 1;
                    (work.until, work.why, work.abort) = (None, None, None);
                }
            }
            Record::Wait {
                task,
                until,
                why,
                with,
            } => {
                if let Some(work) = self.shift(*task, StepState::Waiting) {
                    work.began = work.began.or(Some(at));
                    work.until = *until;
                    work.why = Some(why.clone());
                    work.abort = None;
                    if let Some(with) = with {
                        work.input = Some(Arc::clone(&with.0));
                    }
                }
            }
            Record::End { .. } => self.apply_end(at, record),
            Record::Ending { s, state, why } => {
                if let Some(step) = self.steps.get_mut(*s as usize) {
                    step.ending = Some((*state, why.clone()));
                }
            }
            Record::Wake { s } => {
                if let Some(step) = self.steps.get_mut(*s as usize) {
                    step.awake = true;
                    // That there was nothing to undo, an earlier end of the run said.
                    self.closed -= u32::from(step.work.state.ended());
                    step.work = Work::default();
                    self.open += 1;
                }
            }
            Record::Anew { steps } => {
                for step in steps {
                    self.anew(*step);
                }
            }
        }
    }

    fn apply_run(&mut self, at: Millis, state: RunState, why: Option<String>, late: bool) {
        if state == RunState::Running {
            if self.began.is_none() || self.state.ended() {
                self.since = at;
            }
            self.began = self.began.or(Some(at));
        }
        self.ended = state.ended().then_some(at);
        self.state = state;
        self.why = why;
        self.late = late;
    }

    fn apply_end(&mut self, at: Millis, record: &Record) {
        let Record::End {
            task,
            state,
            output,
            outputs,
            failed,
            why,
        } = record
        else {
            return;
        };
        let Some(work) = self.shift(*task, *state) else {
            return;
        };
        work.ended = Some(at);
        work.output = Arc::clone(&output.0);
        work.failed.clone_from(failed);
        work.why.clone_from(why);
        (work.until, work.abort) = (None, None);
        if let Some(failed) = failed.as_ref().filter(|_| work.attempt > 0) {
            work.remember(at, failed);
        }
        let plan = Arc::clone(&self.plan);
        let (Some(step), Some(planned)) = (
            self.steps.get_mut(task.step as usize),
            plan.steps.get(task.step as usize),
        ) else {
            return;
        };
        if task.item.is_some() {
            if let Some(items) = &mut step.items {
                items.done += 1;
            }
            return;
        }
        step.outputs.clone_from(outputs);
        self.closed += 1;
        if !step.awake {
            return;
        }
        self.open -= 1;
        self.failures += usize::from(*state == StepState::Failed && !planned.goes_on);
        for dependent in &planned.dependents {
            if let Some(step) = self.steps.get_mut(*dependent as usize) {
                step.unmet -= 1;
            }
        }
    }

    /// A step that ended is pending again; a compensation sleeps again.
    fn anew(&mut self, place: u32) {
        let plan = Arc::clone(&self.plan);
        let (Some(step), Some(planned)) = (
            self.steps.get_mut(place as usize),
            plan.steps.get(place as usize),
        ) else {
            return;
        };
        let before = std::mem::take(&mut step.work).state;
        (step.items, step.ending) = (None, None);
        step.outputs = Map::new();
        let counted = std::mem::replace(&mut step.awake, !planned.dormant);
        self.closed -= u32::from(before.ended());
        if !before.ended() || !counted {
            return;
        }
        self.failures -= usize::from(before == StepState::Failed && !planned.goes_on);
        if planned.dormant {
            return;
        }
        self.open += 1;
        for dependent in &planned.dependents {
            if let Some(step) = self.steps.get_mut(*dependent as usize) {
                step.unmet += 1;
            }
        }
    }
}

impl Work {
    fn remember(&mut self, at: Millis, failed: &Failed) {
        if self.tries.len() == TRIES_KEPT {
            self.tries.remove(0);
        }
        // Of what they wrote only the last is kept.
        if let Some(before) = self.tries.last_mut() {
            before.failed.log = None;
        }
        self.tries.push(Tried {
            attempt: self.attempt,
            from: self.tried,
            to: at,
            failed: failed.clone(),
        });
    }
}

impl Steps for Run {
    fn step(&self, id: &str) -> Option<StepFacts<'_>> {
        let step = self.steps.get(*self.plan.places.get(id)? as usize)?;
        Some(StepFacts {
            state: step.work.state,
            output: &step.work.output,
            outputs: &step.outputs,
            error: step
                .work
                .failed
                .as_ref()
                .map(|failed| failed.error.as_str()),
        })
    }

    fn ids(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(
            self.plan
                .definition
                .steps
                .iter()
                .map(|step| step.id.as_str()),
        )
    }
}

#[cfg(test)]
mod tests;
