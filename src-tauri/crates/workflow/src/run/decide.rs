//! What a run decides by itself.

use super::{Abort, Effect, Event, Failed, Items, Record, Run, Shared, StepRun, Task, Work};
use crate::{
    definition::{IfFailed, IfSkipped},
    expr::Expr,
    plan::{Plan, PlanStep},
    scope::Scope,
    uses::Uses,
};
use flotilla_contract::{
    Millis,
    units::{parse_duration, show_duration},
    workflow::{Failure, RunState, StepState},
};
use serde_json::{Map, Value};
use std::{cmp::Reverse, sync::Arc};

/// Items of one step at most.
const MOST_ITEMS: usize = 10_000;
/// How often a task that may be done twice is done again after the engine ended under it. Then it may be what ends the engine.
const MOST_LOST: u32 = 3;

impl Run {
    /// Takes in what happened.
    ///
    /// # Errors
    /// Why a wish cannot be met; nothing changed then. Other events are never refused: one that comes too late is nothing.
    pub fn on(&mut self, now: Millis, event: Event) -> Result<Vec<Effect>, String> {
        self.now = now;
        match event {
            Event::Begin => self.begin(),
            Event::Resume => self.resume(),
            Event::Ended {
                task,
                attempt,
                result,
            } => self.try_ended(task, attempt, result),
            Event::Time => {}
            Event::Asked { by, wish } => self.asked(&by, wish)?,
        }
        self.go_on();
        Ok(std::mem::take(&mut self.out))
    }

    /// Lets a record become true, and has it written.
    pub(super) fn note(&mut self, record: Record) {
        self.apply(self.now, &record);
        self.out.push(Effect::Journal(record));
    }

    pub(super) fn enter(&mut self, state: RunState, why: Option<String>, late: bool) {
        self.note(Record::Run { state, why, late });
    }

    fn begin(&mut self) {
        if self.began.is_none() {
            self.enter(RunState::Running, None, false);
            self.look_at_all();
        }
    }

    /// Puts forward every step whose needs have ended.
    pub(super) fn look_at_all(&mut self) {
        let open = |(place, step): (usize, &StepRun)| {
            let meant = step.awake && step.unmet == 0 && step.work.state == StepState::Pending;
            u32::try_from(place)
                .ok()
                .filter(|_| meant && step.items.is_none())
        };
        let met: Vec<_> = self.steps.iter().enumerate().filter_map(open).collect();
        self.met.extend(met);
    }

    /// Everything that follows from what is: until nothing does.
    fn go_on(&mut self) {
        self.due();
        loop {
            while let Some(step) = self.met.pop_front() {
                self.consider(step);
            }
            self.launch();
            if self.met.is_empty() {
                break;
            }
        }
        self.finish();
    }

    /// Timers that have come, and the time limit of the run.
    fn due(&mut self) {
        while let Some(Reverse((at, task))) = self.timers.peek().copied() {
            if at > self.now {
                break;
            }
            self.timers.pop();
            self.rang(task);
        }
        let limit = !self.state.ended() && self.state != RunState::Cancelling;
        if limit && self.began.is_some() && self.now >= self.deadline() {
            let why = format!("it took longer than {}", show_duration(self.plan.timeout));
            self.cancel(why, true);
        }
    }

    fn rang(&mut self, task: Task) {
        let now = self.now;
        let timeout = self
            .plan
            .steps
            .get(task.step as usize)
            .and_then(|step| step.timeout);
        let Some(work) = self.work_mut(task) else {
            return;
        };
        // A timer of a try that is over may still come; what it is for decides, not that it comes.
        let due = work.until.is_some_and(|until| until <= now);
        match work.state {
            StepState::Running
                if work.abort.is_none()
                    && timeout.is_some_and(|ms| work.tried.saturating_add(ms) <= now) =>
            {
                work.abort = Some(Abort::Late);
                self.out.push(Effect::Abort(task));
            }
            StepState::Retrying if due => self.ready.push_back(task),
            StepState::Waiting if due => self.waited(task),
            _ => {}
        }
    }

    pub(super) fn arm(&mut self, at: Millis, task: Task) {
        self.timers.push(Reverse((at, task)));
    }

    /// The time of an approval or a wait is over.
    fn waited(&mut self, task: Task) {
        let plan = Arc::clone(&self.plan);
        let Some(planned) = plan.steps.get(task.step as usize) else {
            return;
        };
        if planned.uses == Uses::Wait {
            let began = self
                .work(task)
                .and_then(|work| work.began)
                .unwrap_or(self.now);
            let waited = self.now.saturating_sub(began);
            self.done(task, Ok(serde_json::json!({ "waited_ms": waited })));
        } else {
            let within = show_duration(planned.timeout.unwrap_or_default());
            let error = format!("nobody decided within {within}");
            self.done(task, Err(Failed::new(Failure::Timeout, error)));
        }
    }

    /// A step whose needs have all ended: does it run?
    fn consider(&mut self, place: u32) {
        let plan = Arc::clone(&self.plan);
        let fresh = |step: &StepRun| {
            step.work.state == StepState::Pending && step.unmet == 0 && step.items.is_none()
        };
        let (Some(planned), true) = (
            plan.steps.get(place as usize),
            self.steps.get(place as usize).is_some_and(fresh),
        ) else {
            return;
        };
        if let Some((state, why)) = self.kept(&plan, planned) {
            return self.end_step(place, state, why);
        }
        match self.skipped(&plan, place, planned) {
            Err(failed) => return self.done(Task::step(place), Err(failed)),
            Ok(Some(why)) => return self.end_step(place, StepState::Skipped, why),
            Ok(None) => {}
        }
        if let Some(list) = &planned.for_each {
            let items = list.value(&self.scope(None, None));
            return self.expand(place, planned, items);
        }
        if planned.uses.only_waits() {
            return self.wait(place, planned);
        }
        self.ready.push_back(Task::step(place));
    }

    /// What keeps a step from running among those it needs.
    fn kept(&self, plan: &Plan, planned: &PlanStep) -> Option<(StepState, String)> {
        let mut skipped = None;
        for need in &planned.needs {
            let state = self.step_state(*need)?;
            let id = plan.id(*need);
            let goes_on = plan
                .steps
                .get(*need as usize)
                .is_some_and(|need| need.goes_on);
            match state {
                StepState::Failed if goes_on || planned.if_failed == IfFailed::Run => {}
                StepState::Blocked if planned.if_failed == IfFailed::Run => {}
                StepState::Failed => {
                    return Some((StepState::Blocked, format!("it needs {id}, which failed")));
                }
                StepState::Blocked => {
                    return Some((
                        StepState::Blocked,
                        format!("it needs {id}, which was blocked"),
                    ));
                }
                StepState::Skipped if planned.if_skipped == IfSkipped::Skip => {
                    skipped = Some(format!("it needs {id}, which was skipped"));
                }
                _ => {}
            }
        }
        skipped.map(|why| (StepState::Skipped, why))
    }

    /// Why a step's conditions skip it.
    fn skipped(
        &self,
        plan: &Plan,
        place: u32,
        planned: &PlanStep,
    ) -> Result<Option<String>, Failed> {
        let Some(written) = plan.definition.steps.get(place as usize) else {
            return Ok(None);
        };
        let scope = self.scope(None, None);
        let holds = |name: &str, expr: &Expr| {
            expr.holds(&scope)
                .map_err(|why| Failed::new(Failure::Refused, format!("{name}: {why}")))
        };
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
        if let Some(expr) = &planned.condition
            && !holds("if", expr)?
        {
            return Ok(Some(format!("if is false: {}", text(&written.condition))));
        }
        if let Some(expr) = &planned.skip_if
            && holds("skip_if", expr)?
        {
            return Ok(Some(format!("skip_if is true: {}", text(&written.skip_if))));
        }
        Ok(None)
    }

    pub(super) fn scope<'a>(
        &'a self,
        item: Option<(&'a Value, u32)>,
        output: Option<&'a Value>,
    ) -> Scope<'a> {
        Scope {
            vars: &self.facts.vars,
            run: &self.known,
            trigger: &self.facts.trigger,
            steps: self,
            item,
            output,
        }
    }

    /// A step that runs for each: its items, as many as may run at once put forward.
    fn expand(&mut self, place: u32, planned: &PlanStep, items: Result<Value, String>) {
        let refused = |why| Err(Failed::new(Failure::Refused, format!("for_each: {why}")));
        let items = match items {
            Ok(Value::Array(items)) if items.len() <= MOST_ITEMS => items,
            Ok(Value::Array(items)) => {
                let why = format!("it gives {} items; accepted are {MOST_ITEMS}", items.len());
                return self.done(Task::step(place), refused(why));
            }
            Ok(other) => {
                let why = format!("it gives {other}; accepted is a list");
                return self.done(Task::step(place), refused(why));
            }
            Err(why) => return self.done(Task::step(place), refused(why)),
        };
        if items.is_empty() {
            return self.done(Task::step(place), Ok(Value::Array(Vec::new())));
        }
        self.note(Record::Items { s: place, items });
        for _ in 0..planned.items_at_once {
            if !self.next_item(place) {
                break;
            }
        }
    }

    /// Puts the next item of a step forward, if there is one.
    pub(super) fn next_item(&mut self, place: u32) -> bool {
        let Some(items) = self
            .steps
            .get_mut(place as usize)
            .filter(|step| step.ending.is_none())
            .and_then(|step| step.items.as_mut())
        else {
            return false;
        };
        while let Some((_, work)) = items.list.get(items.next) {
            let item = u32::try_from(items.next).ok();
            items.next += 1;
            if work.state == StepState::Pending {
                self.ready.push_back(Task { step: place, item });
                return true;
            }
        }
        false
    }

    /// An approval or a wait begins.
    fn wait(&mut self, place: u32, planned: &PlanStep) {
        let task = Task::step(place);
        let input = match planned.with.value(&self.scope(None, None)) {
            Ok(input) => input,
            Err(why) => {
                return self.done(
                    task,
                    Err(Failed::new(Failure::Refused, format!("with.{why}"))),
                );
            }
        };
        let (until, why) = if planned.uses == Uses::Wait {
            let text = input.get("for").and_then(Value::as_str).unwrap_or_default();
            let Some(ms) = parse_duration(text) else {
                let error = format!("with.for is {text:?}; accepted is a span of time as 30s");
                return self.done(task, Err(Failed::new(Failure::Refused, error)));
            };
            (Some(self.now.saturating_add(ms)), format!("waits {text}"))
        } else {
            let message = input.get("message").and_then(Value::as_str);
            let until = planned.timeout.map(|ms| self.now.saturating_add(ms));
            (until, message.unwrap_or("waits for approval").to_owned())
        };
        let with = Some(input.into());
        self.note(Record::Wait {
            task,
            until,
            why,
            with,
        });
        if let Some(until) = until {
            self.arm(until, task);
        }
    }

    /// Begins tries while there are slots.
    fn launch(&mut self) {
        while self.state == RunState::Running && self.running < self.plan.limit {
            let Some(task) = self.ready.pop_front() else {
                return;
            };
            self.begin_try(task);
        }
    }

    fn begin_try(&mut self, task: Task) {
        let plan = Arc::clone(&self.plan);
        let Some(planned) = plan.steps.get(task.step as usize) else {
            return;
        };
        let waiting = |work: &&Work| matches!(work.state, StepState::Pending | StepState::Retrying);
        let Some(attempt) = self.work(task).filter(waiting).map(|work| work.attempt + 1) else {
            return;
        };
        let item = task.item.and_then(|at| {
            let items = self.steps.get(task.step as usize)?.items.as_ref()?;
            Some((&items.list.get(at as usize)?.0, at))
        });
        let with = match planned.with.value(&self.scope(item, None)) {
            Ok(with) => Shared::from(with),
            Err(why) => {
                let failed = Failed::new(Failure::Refused, format!("with.{why}"));
                return self.done(task, Err(failed));
            }
        };
        let input = Arc::clone(&with.0);
        self.note(Record::Try {
            task,
            n: attempt,
            with,
        });
        if let Some(timeout) = planned.timeout {
            self.arm(self.now.saturating_add(timeout), task);
        }
        self.out.push(Effect::Launch {
            task,
            attempt,
            input,
        });
    }

    fn try_ended(&mut self, task: Task, attempt: u32, result: Result<Value, Failed>) {
        let plan = Arc::clone(&self.plan);
        let (Some(work), Some(planned)) = (self.work(task), plan.steps.get(task.step as usize))
        else {
            return;
        };
        if work.state != StepState::Running || work.attempt != attempt {
            return;
        }
        let ending = self.ending(task.step);
        let result = match (result, work.abort) {
            // What was done before the end reached it is done.
            (Ok(output), _) => Ok(output),
            (Err(_), Some(Abort::Unwanted)) => {
                let (state, why) = ending.unwrap_or((StepState::Cancelled, "cancelled".into()));
                return self.end_task(task, state, why);
            }
            (Err(ended), Some(Abort::Late)) => {
                let within = show_duration(planned.timeout.unwrap_or_default());
                let error = format!("it took longer than {within}");
                let log = ended.log;
                Err(Failed {
                    log,
                    ..Failed::new(Failure::Timeout, error)
                })
            }
            (Err(failed), None) => Err(failed),
        };
        match result {
            Err(failed)
                if attempt < planned.retry.attempts
                    && planned.retry.covers(failed.failure)
                    && ending.is_none() =>
            {
                let swing = swing(self.facts.seed, task, attempt);
                let next = self.now.saturating_add(planned.retry.wait(attempt, swing));
                self.note(Record::Again { task, failed, next });
                self.arm(next, task);
            }
            result => self.done(task, result),
        }
    }

    /// What a step ends as if it is not wanted any more.
    fn ending(&self, step: u32) -> Option<(StepState, String)> {
        self.steps.get(step as usize)?.ending.clone()
    }

    /// A task is over, well or not.
    pub(super) fn done(&mut self, task: Task, result: Result<Value, Failed>) {
        let plan = Arc::clone(&self.plan);
        let Some(planned) = plan.steps.get(task.step as usize) else {
            return;
        };
        let whole = task.item.is_none();
        let named = match &result {
            Ok(output) if whole => self.named(planned, output),
            _ => Ok(Map::new()),
        };
        let (state, output, outputs, failed) = match (result, named) {
            (Ok(output), Ok(outputs)) => (StepState::Completed, output, outputs, None),
            (Ok(output), Err(failed)) => (StepState::Failed, output, Map::new(), Some(failed)),
            (Err(failed), _) => (StepState::Failed, Value::Null, Map::new(), Some(failed)),
        };
        self.note(Record::End {
            task,
            state,
            output: output.into(),
            outputs,
            failed,
            why: None,
        });
        self.after(task, state);
    }

    /// Parts of an output that have a name.
    fn named(&self, planned: &PlanStep, output: &Value) -> Result<Map<String, Value>, Failed> {
        let scope = self.scope(None, Some(output));
        let one = |(name, expr): &(String, Expr)| match expr.value(&scope) {
            Ok(value) => Ok((name.clone(), value)),
            Err(why) => Err(Failed::new(
                Failure::Failed,
                format!("outputs.{name}: {why}"),
            )),
        };
        planned.outputs.iter().map(one).collect()
    }

    /// A task ends without having done its work.
    pub(super) fn end_task(&mut self, task: Task, state: StepState, why: String) {
        self.note(Record::End {
            task,
            state,
            output: Shared::default(),
            outputs: Map::new(),
            failed: None,
            why: Some(why),
        });
        self.after(task, state);
    }

    pub(super) fn end_step(&mut self, step: u32, state: StepState, why: String) {
        self.end_task(Task::step(step), state, why);
    }

    /// What follows from the end of a task.
    fn after(&mut self, task: Task, state: StepState) {
        if task.item.is_some() {
            self.next_item(task.step);
            return self.gather(task.step);
        }
        let plan = Arc::clone(&self.plan);
        let Some(planned) = plan.steps.get(task.step as usize) else {
            return;
        };
        if state == StepState::Failed {
            self.wake(planned);
        }
        let free = |place: &&u32| {
            self.steps
                .get(**place as usize)
                .is_some_and(|s| s.unmet == 0)
        };
        let met: Vec<_> = planned.dependents.iter().filter(free).copied().collect();
        self.met.extend(met);
    }

    /// Wakes what undoes a step that failed.
    fn wake(&mut self, planned: &PlanStep) {
        let asleep = |place: &u32| self.steps.get(*place as usize).is_some_and(|s| !s.awake);
        let going = !self.state.ended() && self.state != RunState::Cancelling;
        if let Some(place) = planned.compensation.filter(asleep).filter(|_| going) {
            self.note(Record::Wake { s: place });
            self.met.push_back(place);
        }
    }

    /// Ends a step whose last item has ended.
    fn gather(&mut self, place: u32) {
        let Some(step) = self.steps.get(place as usize) else {
            return;
        };
        let Some(items) = step
            .items
            .as_ref()
            .filter(|items| items.done == items.list.len())
        else {
            return;
        };
        if let Some((state, why)) = step.ending.clone() {
            return self.end_step(place, state, why);
        }
        let result = result_of(items);
        self.done(Task::step(place), result);
    }

    /// Ends the run when no step is open.
    fn finish(&mut self) {
        if self.open > 0 || self.began.is_none() || self.state.ended() {
            return;
        }
        let asleep = |(place, step): (usize, &StepRun)| {
            let asleep = !step.awake && !step.work.state.ended();
            u32::try_from(place).ok().filter(|_| asleep)
        };
        let sleeping: Vec<_> = self.steps.iter().enumerate().filter_map(asleep).collect();
        for place in sleeping {
            self.end_step(
                place,
                StepState::Skipped,
                "there was nothing to undo".into(),
            );
        }
        let (state, why) = match (self.state, self.late) {
            (RunState::Cancelling, true) => (RunState::Failed, self.why.clone()),
            (RunState::Cancelling, false) => (RunState::Cancelled, self.why.clone()),
            _ if self.failures > 0 => (RunState::Failed, self.failure()),
            _ => (RunState::Completed, None),
        };
        self.ready.clear();
        self.timers.clear();
        self.enter(state, why, false);
    }

    /// What failed, for people.
    fn failure(&self) -> Option<String> {
        let place = self.steps.iter().enumerate().position(|(place, step)| {
            let goes_on = self.plan.steps.get(place).is_some_and(|step| step.goes_on);
            step.work.state == StepState::Failed && !goes_on
        })?;
        let id = self.plan.id(u32::try_from(place).ok()?);
        let error = &self.steps.get(place)?.work.failed.as_ref()?.error;
        let more = match self.failures {
            0 | 1 => String::new(),
            n => format!(", and {} more failed", n - 1),
        };
        Some(format!("{id} failed: {error}{more}"))
    }

    /// Goes on with what an older engine left: timers are armed anew, what was at work is decided about.
    fn resume(&mut self) {
        if self.began.is_none() {
            return self.begin();
        }
        if self.state.ended() {
            return;
        }
        for place in 0..u32::try_from(self.steps.len()).unwrap_or(u32::MAX) {
            self.resume_step(place);
        }
        self.look_at_all();
        if self.state == RunState::Cancelling {
            self.end_all(&self.why.clone().unwrap_or_else(|| "cancelled".into()));
        }
    }

    fn resume_step(&mut self, place: u32) {
        let plan = Arc::clone(&self.plan);
        let (Some(planned), Some(step)) = (
            plan.steps.get(place as usize),
            self.steps.get(place as usize),
        ) else {
            return;
        };
        if let Some((state, why)) = step.ending.clone().filter(|_| !step.work.state.ended()) {
            // It was not wanted any more, and the end of the engine ended it.
            for task in self.tasks(place, |work| !work.state.ended()) {
                self.end_task(task, state, why.clone());
            }
            return self.gather(place);
        }
        let Some(items) = step.items.as_ref().filter(|_| !step.work.state.ended()) else {
            if step.work.state == StepState::Failed {
                self.wake(planned);
            }
            return self.resume_task(planned, Task::step(place));
        };
        debug_assert!(!items.list.is_empty(), "a step without items ends at once");
        for task in self.tasks(place, |work| !work.state.ended()) {
            self.resume_task(planned, task);
        }
        self.gather(place);
        let busy = |work: &Work| !work.state.ended() && work.state != StepState::Pending;
        let busy = self
            .steps
            .get(place as usize)
            .and_then(|step| step.items.as_ref())
            .map_or(0, |items| {
                items.list.iter().filter(|(_, work)| busy(work)).count()
            });
        let free = planned
            .items_at_once
            .saturating_sub(u32::try_from(busy).unwrap_or(u32::MAX));
        for _ in 0..free {
            if !self.next_item(place) {
                break;
            }
        }
    }

    fn resume_task(&mut self, planned: &PlanStep, task: Task) {
        let Some(work) = self.work(task) else { return };
        let lost = work.lost;
        match (work.state, work.until) {
            (StepState::Running, _) => {
                let may = planned.idempotent || planned.retry.covers(Failure::Interrupted);
                if may && lost < MOST_LOST {
                    return self.note(Record::Lost { task });
                }
                let why = if may {
                    format!("the engine ended {} times while it ran", lost + 1)
                } else {
                    "the engine ended while it ran, and it may not be safe to do it twice"
                        .to_owned()
                };
                self.note(Record::Wait {
                    task,
                    until: None,
                    why,
                    with: None,
                });
            }
            (StepState::Retrying, until) => self.arm(until.unwrap_or(self.now), task),
            (StepState::Waiting, Some(until)) => self.arm(until, task),
            _ => {}
        }
    }
}

/// The output of a step that ran for each, or why it has none.
fn result_of(items: &Items) -> Result<Value, Failed> {
    let failed = |(at, (_, work)): (usize, &(Value, Work))| {
        let failed = work
            .failed
            .clone()
            .filter(|_| work.state == StepState::Failed)?;
        Some((at, failed))
    };
    let mut failures = items.list.iter().enumerate().filter_map(failed);
    if let Some((at, first)) = failures.next() {
        let (count, all) = (failures.count() + 1, items.list.len());
        let error = format!("{count} of {all} items failed; item {at}: {}", first.error);
        return Err(Failed::new(first.failure, error));
    }
    let output = |(_, work): &(Value, Work)| work.output.as_ref().clone();
    Ok(Value::Array(items.list.iter().map(output).collect()))
}

/// A number from -1 to 1 that depends on the run, the task and the try alone, so that neither the order of events nor a restart of the
/// engine changes it: splitmix64's finisher (Steele, Lea and Flood 2014) over all of them.
fn swing(seed: u64, task: Task, attempt: u32) -> f64 {
    let place = (u64::from(task.step) << 32) | u64::from(task.item.map_or(0, |item| item + 1));
    let mut z = [place, u64::from(attempt)].iter().fold(seed, |z, part| {
        (z ^ part)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(31)
    });
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a f64")]
    let unit = (z >> 11) as f64 / 9_007_199_254_740_992.0;
    unit * 2.0 - 1.0
}
