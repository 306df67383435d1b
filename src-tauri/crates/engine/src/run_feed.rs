//! Followers of a run and of one of its steps.
//!
//! A follower owns what it sent last, and sends what differs now. It looks again when the run has told of a change, or when a command has written
//! something, at most every [`PACE`] and for a tenth of its time; it never holds the run up. A run that is not there gives nothing.

use crate::{core::Core, workflows::Tried};
use flotilla_contract::{
    frame::Update,
    workflow::{RunView, StepDetail, StepRef},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast::{self, error::RecvError};

/// Between two looks.
const PACE: Duration = Duration::from_millis(100);
/// A look is followed by a pause of so many times as long as it took: a run may have thousands of steps.
const SHARE: u32 = 9;

/// Hears of changes of one run.
struct Ear {
    run: u64,
    changes: broadcast::Receiver<u64>,
    /// What was heard is not looked at yet.
    due: bool,
}

impl Ear {
    fn new(core: &Core, run: u64) -> Self {
        Self {
            run,
            changes: core.workflows.changes(),
            due: true,
        }
    }

    /// Waits until there is something to look at; for good once the engine ends. Dropping the future loses nothing.
    async fn hear(&mut self) {
        while !self.due {
            match self.changes.recv().await {
                Ok(run) => self.due = run == self.run,
                Err(RecvError::Lagged(_)) => self.due = true,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// From now on changes are new. What was heard stays due until it has been [`seen`](Self::seen): a look may be dropped.
    fn looks(&mut self) -> Instant {
        self.changes = self.changes.resubscribe();
        Instant::now()
    }

    /// A look is over. What changed meanwhile is heard next.
    fn seen(&mut self) {
        self.due = false;
    }
}

/// The pause after a look that began then.
fn pause(began: Instant) -> Duration {
    PACE.max(began.elapsed() * SHARE)
}

/// Follows a run.
pub(crate) struct RunFeed {
    ear: Ear,
    sent: Option<RunView>,
    next: Instant,
}

impl RunFeed {
    pub(crate) fn new(core: &Core, run: u64) -> Self {
        Self {
            ear: Ear::new(core, run),
            sent: None,
            next: Instant::now(),
        }
    }

    /// All of it, then what changed. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, core: &Arc<Core>) -> Update {
        loop {
            self.ear.hear().await;
            tokio::time::sleep_until(self.next.into()).await;
            let began = self.ear.looks();
            let seen = core.run_viewed(self.ear.run).await;
            self.ear.seen();
            self.next = Instant::now() + pause(began);
            if let Some(update) = seen.ok().and_then(|view| self.update(view)) {
                return update;
            }
        }
    }

    fn update(&mut self, view: RunView) -> Option<Update> {
        let Some(sent) = self.sent.replace(view.clone()) else {
            return Some(Update::Run(view));
        };
        let before = sent.steps.iter();
        let steps = before.zip(view.steps).filter(|(old, new)| *old != new);
        let steps: Vec<_> = steps.map(|(_, new)| new).collect();
        (!steps.is_empty() || sent.summary != view.summary).then_some(Update::RunChanged {
            summary: view.summary,
            steps,
        })
    }
}

/// Follows a step of a run, and what its command writes.
pub(crate) struct StepFeed {
    ear: Ear,
    step: StepRef,
    sent: Option<StepDetail>,
    written: u64,
    next: Instant,
}

impl StepFeed {
    pub(crate) fn new(core: &Core, step: StepRef) -> Self {
        Self {
            ear: Ear::new(core, step.run),
            step,
            sent: None,
            written: 0,
            next: Instant::now(),
        }
    }

    fn tried(&self) -> Tried {
        let step = self.sent.as_ref().map(|sent| sent.step.id.as_str());
        (
            self.step.run,
            step.unwrap_or(&self.step.step).into(),
            self.step.item,
        )
    }

    /// All of it whenever something of it has changed. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, core: &Arc<Core>) -> Update {
        loop {
            let tried = self.tried();
            while core.workflows.written(&tried) == self.written {
                // Nobody tells of what is written: it is looked for while somebody reads.
                let heard = tokio::time::timeout(PACE, self.ear.hear()).await;
                if heard.is_ok() {
                    break;
                }
            }
            tokio::time::sleep_until(self.next.into()).await;
            let began = self.ear.looks();
            let written = core.workflows.written(&tried);
            let seen = core.step_viewed(self.step.clone()).await.ok();
            self.ear.seen();
            self.written = written;
            self.next = Instant::now() + pause(began);
            if seen.is_some() && seen != self.sent {
                self.sent.clone_from(&seen);
                if let Some(detail) = seen {
                    return Update::Step(detail);
                }
            }
        }
    }
}
