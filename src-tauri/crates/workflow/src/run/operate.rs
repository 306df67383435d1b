//! What people want of a run.

use super::{Abort, Effect, Record, Run, Shared, Task, Wish, Work};
use crate::{
    definition::Var,
    plan::{Plan, PlanStep},
    uses::Uses,
    vars,
};
use flotilla_contract::workflow::{RunState, StepState};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use std::sync::Arc;

impl Run {
    /// What a new run of a plan, which may be another one, takes over from this one: the ends of steps of the same id that ended well here
    /// and do not come after `from`.
    #[must_use]
    pub fn taken_over(&self, plan: &Plan, from: u32) -> Vec<Record> {
        let mut after = vec![false; plan.steps.len()];
        let mut open = vec![from];
        while let Some(step) = open.pop() {
            if !std::mem::replace(&mut after[step as usize], true) {
                open.extend(&plan.steps[step as usize].dependents);
            }
        }
        let taken = |(step, planned): (u32, &PlanStep)| {
            let here = self
                .steps
                .get(*self.plan.places.get(plan.id(step))? as usize)?;
            let work = &here.work;
            let well = match work.state {
                StepState::Completed | StepState::Skipped => true,
                StepState::Failed => planned.goes_on,
                _ => false,
            };
            (well && !planned.dormant && !after[step as usize]).then(|| Record::End {
                task: Task::step(step),
                state: work.state,
                output: Shared(Arc::clone(&work.output)),
                outputs: here.outputs.clone(),
                failed: work.failed.clone(),
                why: Some(format!("taken over from run {}", self.facts.number)),
            })
        };
        (0_u32..).zip(&plan.steps).filter_map(taken).collect()
    }

    /// Takes over ends of steps before it begins.
    pub fn take_over(&mut self, ends: &[Record]) {
        for end in ends {
            self.apply(self.facts.at, end);
        }
    }

    /// Learns its number, which the journal gives.
    pub fn number(&mut self, number: u64) {
        self.facts.number = number;
        self.known["number"] = number.into();
    }

    pub(super) fn asked(&mut self, by: &str, wish: Wish) -> Result<(), String> {
        match wish {
            Wish::Pause => self.pause(by),
            Wish::Continue => self.unpause(),
            Wish::Cancel => {
                if self.state.ended() || self.state == RunState::Cancelling {
                    return Err(self.is_so());
                }
                self.cancel(format!("cancelled by {by}"), false);
                Ok(())
            }
            Wish::Skip(step) => self.skip(by, step),
            Wish::Retry(step) => self.retry(step),
            Wish::Decide { step, yes, input } => self.decide(by, step, yes, &input),
            Wish::Restart => self.restart(by),
        }
    }

    fn is_so(&self) -> String {
        let word = match self.state {
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::Cancelling => "being cancelled",
            RunState::Completed => "completed",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
        };
        format!("run {} is {word}", self.facts.number)
    }

    fn pause(&mut self, by: &str) -> Result<(), String> {
        if self.state != RunState::Running {
            return Err(self.is_so());
        }
        self.enter(RunState::Paused, Some(format!("paused by {by}")), false);
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), String> {
        if self.state != RunState::Paused {
            return Err(self.is_so());
        }
        self.enter(RunState::Running, None, false);
        Ok(())
    }

    /// Ends everything: what is at work is aborted, all else ends at once.
    pub(super) fn cancel(&mut self, why: String, late: bool) {
        self.enter(RunState::Cancelling, Some(why.clone()), late);
        self.end_all(&why);
    }

    pub(super) fn end_all(&mut self, why: &str) {
        self.ready.clear();
        self.met.clear();
        for place in 0..u32::try_from(self.steps.len()).unwrap_or(u32::MAX) {
            let open = |step: &super::StepRun| step.awake && !step.work.state.ended();
            if self.steps.get(place as usize).is_some_and(open) {
                self.end_early(place, StepState::Cancelled, why);
            }
        }
        self.met.clear();
    }

    /// Ends a step that is not wanted any more: at once, or when what is at work has ended.
    fn end_early(&mut self, place: u32, state: StepState, why: &str) {
        let Some(step) = self.steps.get_mut(place as usize) else {
            return;
        };
        step.ending = Some((state, why.to_owned()));
        for task in self.tasks(place, |work| !work.state.ended()) {
            match self.work_mut(task) {
                Some(work) if work.state == StepState::Running => {
                    work.abort = Some(Abort::Unwanted);
                    self.out.push(Effect::Abort(task));
                }
                _ => self.end_task(task, state, why.to_owned()),
            }
        }
    }

    fn skip(&mut self, by: &str, place: u32) -> Result<(), String> {
        let id = self.plan.id(place).to_owned();
        let why = format!("skipped by {by}");
        let state = self.step_state(place).ok_or("there is no such step")?;
        let awake = self
            .steps
            .get(place as usize)
            .is_some_and(|step| step.awake);
        match state {
            _ if self.state == RunState::Cancelling => Err(self.is_so()),
            StepState::Failed => {
                self.reopen(by, place)?;
                self.end_step(place, StepState::Skipped, why);
                Ok(())
            }
            state if state.ended() => Err(format!("{id} is {}", state.word())),
            _ if !awake => Err(format!(
                "{id} sleeps: it only runs when the step that it undoes fails"
            )),
            _ => {
                let state = StepState::Skipped;
                if !self
                    .tasks(place, |work| work.state == StepState::Running)
                    .is_empty()
                {
                    self.note(Record::Ending {
                        s: place,
                        state,
                        why: why.clone(),
                    });
                }
                self.end_early(place, state, &why);
                Ok(())
            }
        }
    }

    fn retry(&mut self, place: u32) -> Result<(), String> {
        let id = self.plan.id(place).to_owned();
        let state = self.step_state(place).ok_or("there is no such step")?;
        let tasks: Vec<Task> = self.tasks(place, |work| match work.state {
            StepState::Retrying => true,
            // What waits without a time and without being an approval waits for this.
            StepState::Waiting => work.until.is_none(),
            _ => false,
        });
        let approval = self.plan.uses(place) == Some(&Uses::Approval);
        match state {
            StepState::Failed => self.reopen("an operator", place),
            _ if approval || tasks.is_empty() || self.state.ended() => Err(format!(
                "{id} is {}; what can be retried has failed, or waits to be retried",
                state.word()
            )),
            _ => {
                for task in tasks {
                    if self
                        .work(task)
                        .is_some_and(|work| work.state == StepState::Waiting)
                    {
                        self.note(Record::Lost { task });
                    }
                    self.ready.push_back(task);
                }
                Ok(())
            }
        }
    }

    /// Tasks of a step of which this is so.
    pub(super) fn tasks(&self, place: u32, is: impl Fn(&Work) -> bool) -> Vec<Task> {
        let Some(step) = self.steps.get(place as usize) else {
            return Vec::new();
        };
        match &step.items {
            None => is(&step.work)
                .then(|| Task::step(place))
                .into_iter()
                .collect(),
            Some(items) => (0_u32..)
                .zip(&items.list)
                .filter(|(_, (_, work))| is(work))
                .map(|(item, _)| Task {
                    step: place,
                    item: Some(item),
                })
                .collect(),
        }
    }

    /// A step that failed is pending again, with what was blocked for it. A run that had ended goes on.
    fn reopen(&mut self, by: &str, place: u32) -> Result<(), String> {
        let mut steps = vec![place];
        let mut at = 0;
        while let Some(step) = steps.get(at).copied() {
            at += 1;
            for dependent in self
                .plan
                .steps
                .get(step as usize)
                .map_or(&[][..], |s| &s.dependents)
            {
                let blocked = self.step_state(*dependent) == Some(StepState::Blocked);
                if blocked && !steps.contains(dependent) {
                    steps.push(*dependent);
                }
            }
        }
        self.anew_with_compensations(by, steps)
    }

    fn restart(&mut self, by: &str) -> Result<(), String> {
        if !self.state.ended() || self.state == RunState::Completed {
            return Err(format!(
                "{}; only what failed or was cancelled can be restarted",
                self.is_so()
            ));
        }
        let steps = (0_u32..)
            .zip(&self.steps)
            .filter(|(place, step)| {
                let goes_on = self
                    .plan
                    .steps
                    .get(*place as usize)
                    .is_some_and(|s| s.goes_on);
                step.awake
                    && match step.work.state {
                        StepState::Failed => !goes_on,
                        StepState::Blocked | StepState::Cancelled => true,
                        _ => false,
                    }
            })
            .map(|(place, _)| place)
            .collect();
        self.anew_with_compensations(by, steps)
    }

    /// Puts steps back, and what undid them to sleep.
    fn anew_with_compensations(&mut self, by: &str, mut steps: Vec<u32>) -> Result<(), String> {
        let undone: Vec<_> = steps
            .iter()
            .filter_map(|step| self.plan.steps.get(*step as usize)?.compensation)
            .collect();
        for place in undone {
            let Some(step) = self.steps.get(place as usize) else {
                continue;
            };
            if step.awake && !step.work.state.ended() {
                let id = self.plan.id(place);
                return Err(format!("{id} undoes it just now; wait until it has ended"));
            }
            if step.awake && !steps.contains(&place) {
                steps.push(place);
            }
        }
        // A compensation that itself failed sleeps again with the rest.
        self.note(Record::Anew { steps });
        if self.state.ended() {
            self.enter(RunState::Running, Some(format!("restarted by {by}")), false);
        }
        self.look_at_all();
        Ok(())
    }

    fn decide(
        &mut self,
        by: &str,
        place: u32,
        yes: bool,
        input: &Map<String, Value>,
    ) -> Result<(), String> {
        let task = Task::step(place);
        let id = self.plan.id(place).to_owned();
        let waits = self.step_state(place) == Some(StepState::Waiting)
            && self.plan.uses(place) == Some(&Uses::Approval);
        if !waits || self.state.ended() {
            return Err(format!("{id} is no approval that waits"));
        }
        if !yes {
            let why = input.get("why").and_then(Value::as_str);
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            let error = format!("rejected by {by}{why}");
            self.done(
                task,
                Err(super::Failed::new(
                    flotilla_contract::workflow::Failure::Refused,
                    error,
                )),
            );
            return Ok(());
        }
        let form = self.form(place)?;
        let input = vars::bind(&form, input, "input").map_err(|findings| {
            let lines: Vec<_> = findings
                .iter()
                .map(|finding| format!("{}: {}", finding.path, finding.message))
                .collect();
            lines.join("; ")
        })?;
        self.done(
            task,
            Ok(json!({ "approved": true, "by": by, "input": input })),
        );
        Ok(())
    }

    /// The fields that an approval asks for.
    fn form(&self, place: u32) -> Result<IndexMap<String, Var>, String> {
        let input = self
            .work(Task::step(place))
            .and_then(|work| work.input.clone());
        let input = input.unwrap_or_else(|| Arc::new(Value::Null));
        match input.get("form") {
            None => Ok(IndexMap::new()),
            Some(form) => serde_json::from_value(form.clone())
                .map_err(|error| format!("with.form is no form: {error}")),
        }
    }
}
