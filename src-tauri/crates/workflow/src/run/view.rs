//! What people see of a run.

use super::{Run, StepRun, Task, Tried, Work};
use crate::uses::Uses;
use flotilla_contract::workflow::{
    Asking, RunState, RunSummary, RunView, StepDetail, StepState, StepView, TryView,
};

impl Run {
    /// The run in a line.
    #[must_use]
    pub fn summary(&self) -> RunSummary {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        RunSummary {
            run: self.facts.number,
            workflow: self.plan.definition.name.clone(),
            state: self.state,
            why: self.why.clone(),
            by: self.facts.by.clone(),
            at: self.facts.at,
            ended_at: self.ended,
            steps: count(self.steps.len()),
            ended: self.closed,
            waits: self.waits(),
        }
    }

    /// The steps that ask a person.
    #[must_use]
    pub fn asking(&self) -> Vec<Asking> {
        if self.state.ended() {
            return Vec::new();
        }
        let asks = |(place, step): (u32, &StepRun)| {
            let items = step.items.iter().flat_map(|items| &items.list);
            let works = [&step.work].into_iter().chain(items.map(|(_, work)| work));
            let work = works.into_iter().find(|work| self.asks(place, work))?;
            Some(Asking {
                run: self.facts.number,
                workflow: self.plan.definition.name.clone(),
                step: self.plan.id(place).to_owned(),
                why: work.why.clone().unwrap_or_default(),
                approval: self.plan.uses(place) == Some(&Uses::Approval),
                since: work.began,
                until: work.until,
            })
        };
        (0_u32..).zip(&self.steps).filter_map(asks).collect()
    }

    /// The run with its steps.
    #[must_use]
    pub fn view(&self) -> RunView {
        RunView {
            summary: self.summary(),
            vars: self.facts.vars.clone(),
            steps: (0_u32..)
                .zip(&self.steps)
                .map(|(place, step)| self.step_view(place, step, &step.work))
                .collect(),
        }
    }

    /// A step, or one of its items, with what went in and came out.
    #[must_use]
    pub fn detail(&self, task: Task) -> Option<StepDetail> {
        let step = self.steps.get(task.step as usize)?;
        let work = self.work(task)?;
        Some(StepDetail {
            step: self.step_view(task.step, step, work),
            input: work.input.as_ref().map(|input| input.as_ref().clone()),
            output: work.output.as_ref().clone(),
            outputs: step.outputs.clone(),
            tries: work.tries.iter().map(Tried::view).collect(),
            log: match work.state {
                StepState::Failed | StepState::Retrying => {
                    let last = work.tries.last();
                    last.and_then(|tried| tried.failed.log.as_deref().cloned())
                }
                _ => None,
            },
        })
    }

    fn step_view(&self, place: u32, step: &StepRun, work: &Work) -> StepView {
        let planned = self.plan.steps.get(place as usize);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let needs = planned.map_or(&[][..], |step| &step.needs);
        // While it waits for another try, what people ask is why the last one failed.
        let last =
            || Some(&work.tries.last()?.failed).filter(|_| work.state == StepState::Retrying);
        let failed = work.failed.as_ref().or_else(last);
        StepView {
            id: self.plan.id(place).to_owned(),
            name: self
                .plan
                .definition
                .steps
                .get(place as usize)
                .and_then(|step| step.name.clone()),
            uses: planned.map_or(String::new(), |step| step.uses.to_string()),
            needs: needs
                .iter()
                .map(|need| self.plan.id(*need).to_owned())
                .collect(),
            state: work.state,
            attempt: work.attempt,
            attempts: planned.map_or(1, |step| step.retry.attempts),
            began_at: work.began,
            ended_at: work.ended,
            until: work.until,
            error: failed.map(|failed| failed.error.clone()),
            failure: failed.map(|failed| failed.failure),
            why: work.why.clone(),
            asks: self.asks(place, work),
            items: step.items.as_ref().map(|items| count(items.list.len())),
            items_ended: step.items.as_ref().map(|items| count(items.done)),
        }
    }

    /// Whether a person is asked about this.
    fn asks(&self, place: u32, work: &Work) -> bool {
        work.state == StepState::Waiting && self.plan.uses(place) != Some(&Uses::Wait)
    }

    /// What the run waits for while nothing is at work: the first question a person has.
    pub(super) fn waits(&self) -> Option<String> {
        if self.state == RunState::Paused {
            return self.why.clone();
        }
        if self.state.ended() || self.running > 0 {
            return None;
        }
        let waiting = |state| {
            (0_u32..).zip(&self.steps).flat_map(move |(place, step)| {
                let items = step
                    .items
                    .iter()
                    .flat_map(|items| items.list.iter().map(|(_, work)| work));
                let own = [&step.work].into_iter().chain(items);
                own.filter(move |work| work.state == state)
                    .map(move |work| (place, work))
            })
        };
        let mut people =
            waiting(StepState::Waiting).filter(|(place, work)| self.asks(*place, work));
        if let Some((place, work)) = people.next() {
            let why = work.why.as_deref().unwrap_or_default();
            let more = match people.count() {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            return Some(format!("{}: {why}{more}", self.plan.id(place)));
        }
        if let Some((place, work)) = waiting(StepState::Retrying).min_by_key(|(_, work)| work.until)
        {
            let last = work
                .tries
                .last()
                .map_or("", |tried| tried.failed.error.as_str());
            let next = work.attempt + 1;
            return Some(format!(
                "{} will be tried for the {next}. time: {last}",
                self.plan.id(place)
            ));
        }
        let (place, work) = waiting(StepState::Waiting).min_by_key(|(_, work)| work.until)?;
        Some(format!(
            "{}: {}",
            self.plan.id(place),
            work.why.as_deref().unwrap_or_default()
        ))
    }
}

impl Tried {
    fn view(&self) -> TryView {
        TryView {
            attempt: self.attempt,
            from: self.from,
            to: self.to,
            failure: self.failed.failure,
            error: self.failed.error.clone(),
        }
    }
}
