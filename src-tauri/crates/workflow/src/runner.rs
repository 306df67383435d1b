//! The loop: one task for each run that is under way.
//!
//! It takes in all that happened since it last looked, lets the run decide, has the records written, and only then does what follows from
//! them. While they are being written nothing else of this run happens; what comes meanwhile is taken in together afterwards, so a slow disk
//! makes the batches larger, not the queue. When they cannot be written the run stands still, and tries again every second.

use crate::{
    Definition, Plan, Uses,
    journal::{Boxed, Head, Journal, JournalError, Made},
    plan::{Anything, compile},
    run::{Effect, Event, Facts, Failed, Record, Run, Task, Wish},
};
use flotilla_contract::{
    Millis,
    workflow::{Failure, RunSummary, RunView, StepDetail},
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{Id, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Runs under way at most.
const MOST_RUNS: usize = 2_000;
/// Orders that wait for a run at most; more wait for a place among them.
const ORDERS: usize = 64;
/// Ends of tries that are taken in together at most.
const TOGETHER: usize = 512;
/// How deep runs may start runs.
const DEEPEST: u32 = 8;
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// One try of a task.
#[derive(Clone, Debug)]
pub struct Work {
    /// Number of the run.
    pub run: u64,
    /// Name of its workflow.
    pub workflow: Arc<str>,
    /// Id of the step.
    pub step: Arc<str>,
    /// Place of the item, if the step runs for each.
    pub item: Option<u32>,
    /// Which try, from 1.
    pub attempt: u32,
    /// How deep the run is.
    pub depth: u32,
    /// The run's workspace, if it has been given one.
    pub workspace: Option<Arc<str>>,
    /// What is to do the work.
    pub uses: Uses,
    /// What it is given; secrets are references yet.
    pub input: Arc<Value>,
}

/// What a run is started with.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The values of the variables, bound.
    pub vars: Map<String, Value>,
    /// Who or what starts it.
    pub by: String,
    /// `trigger` of expressions.
    pub trigger: Value,
    /// A key that is taken once: a second start with it starts nothing.
    pub key: Option<String>,
    /// How deep it is.
    pub depth: u32,
    /// Folder in which its commands and files are.
    pub workspace: Option<String>,
}

/// Does the work of steps.
pub trait Executor: Send + Sync + 'static {
    /// Does the work of one try. When `stop` is cancelled it ends promptly, and leaves nothing behind that still works. When the future is
    /// dropped, all the same.
    fn execute(&self, work: Work, stop: CancellationToken) -> Boxed<'_, Result<Value, Failed>>;
}

/// Is told what happened, when it is on disk.
pub trait Observer: Send + Sync + 'static {
    /// These records of this run are on disk. Must not block.
    fn told(&self, run: &Run, records: &[Record]);
}

/// How runs are run.
#[derive(Clone)]
pub struct Options {
    /// The time, in milliseconds since the Unix epoch.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Seeds of jitter.
    pub seed: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// From the wish that a try ends to its being dropped (default 10 s).
    pub grace: Duration,
}

/// Why something could not be done with a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no run of this number.
    #[error("find the run {0}")]
    NoRun(u64),
    /// The run does not allow it.
    #[error("{0}")]
    Refused(String),
    /// Too many runs, or too deep.
    #[error("start the run: {0}")]
    TooMany(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is kept of a run cannot be read any more.
    #[error("read the run {0} from its journal: {1}")]
    Unreadable(u64, String),
    /// The runner is being closed.
    #[error("use the runs: they are closed")]
    Closed,
}

/// Runs runs; clones share them.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Arc<dyn Journal>,
    executor: Arc<dyn Executor>,
    observer: Arc<dyn Observer>,
    options: Options,
    live: Mutex<HashMap<u64, Live>>,
    /// Held while a run that has ended is woken, so that it is woken once.
    waking: tokio::sync::Mutex<()>,
    closing: CancellationToken,
}

/// A run under way, from outside.
#[derive(Clone)]
struct Live {
    orders: mpsc::Sender<Order>,
    summary: watch::Receiver<RunSummary>,
}

/// What is wished for, once the run is seen.
type Wishing = Box<dyn FnOnce(&Run) -> Result<Wish, String> + Send>;

enum Order {
    Wish {
        by: String,
        wish: Wishing,
        answer: oneshot::Sender<Result<RunSummary, String>>,
    },
    /// Reads something of the run.
    Look(Box<dyn FnOnce(&Run) + Send>),
}

impl Runner {
    /// A runner without runs.
    #[must_use]
    pub fn new(
        journal: Arc<dyn Journal>,
        executor: Arc<dyn Executor>,
        observer: Arc<dyn Observer>,
        options: Options,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                journal,
                executor,
                observer,
                options,
                live: Mutex::default(),
                waking: tokio::sync::Mutex::default(),
                closing: CancellationToken::new(),
            }),
        }
    }

    /// Goes on with every run that had not ended when the last engine did; gives their numbers. One that cannot be read is left alone, and
    /// told in the log.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn resume(&self) -> Result<Vec<u64>, Error> {
        let mut resumed = Vec::new();
        for head in self.shared.journal.open().await? {
            let number = head.facts.number;
            match self.restore(number).await {
                Ok((run, kept)) => {
                    self.spawn(run, Event::Resume, kept, None);
                    resumed.push(number);
                }
                Err(error) => tracing::error!(run = number, %error, "run not resumed"),
            }
        }
        Ok(resumed)
    }

    /// Starts a run of a plan and gives its number. When its key is taken, nothing starts, and it is the number of the run that took it.
    ///
    /// # Errors
    /// When there are too many, or it cannot be kept.
    pub async fn start(&self, plan: Arc<Plan>, mut start: Start) -> Result<Made, Error> {
        let key = start.key.take();
        let run = self.admit(plan, start)?;
        self.create(run, &[], key).await
    }

    /// Starts a run anew that takes over from another what a step neither is nor needs again: all that had ended well there and does not come
    /// after `from`. Without `from` nothing is taken over.
    ///
    /// # Errors
    /// As [`start`](Self::start); when there is no such run or step.
    pub async fn replay(
        &self,
        plan: Arc<Plan>,
        source: u64,
        from: Option<&str>,
        start: Start,
    ) -> Result<u64, Error> {
        let taken = match from {
            None => Vec::new(),
            Some(from) => {
                let step = plan.place(from).ok_or_else(|| {
                    Error::Refused(format!("find a step with the id or name {from:?}"))
                })?;
                let after = Arc::clone(&plan);
                self.look(source, move |run| run.taken_over(&after, step))
                    .await?
            }
        };
        let run = self.admit(plan, start)?;
        let made = self.create(run, &taken, None).await?;
        Ok(made.run())
    }

    fn admit(&self, plan: Arc<Plan>, start: Start) -> Result<Run, Error> {
        if self.shared.closing.is_cancelled() {
            return Err(Error::Closed);
        }
        if start.depth > DEEPEST {
            let why = format!("runs start runs more than {DEEPEST} deep");
            return Err(Error::TooMany(why));
        }
        if self.shared.live().len() >= MOST_RUNS {
            return Err(Error::TooMany(format!("{MOST_RUNS} are under way")));
        }
        let facts = Facts {
            number: 0,
            at: (self.shared.options.clock)(),
            vars: start.vars,
            by: start.by,
            trigger: start.trigger,
            seed: (self.shared.options.seed)(),
            depth: start.depth,
            workspace: start.workspace,
        };
        Ok(Run::new(plan, facts))
    }

    async fn create(
        &self,
        mut run: Run,
        taken: &[Record],
        key: Option<String>,
    ) -> Result<Made, Error> {
        let definition = serde_json::to_string(run.plan().definition())
            .map_err(|error| Error::Unreadable(0, error.to_string()))?;
        let head = Head {
            facts: run.facts().clone(),
            hash: Sha256::digest(&definition)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            definition: definition.into(),
            summary: run.summary(),
        };
        let made = self.shared.journal.create(head, key).await?;
        let Made::New(number) = made else {
            return Ok(made);
        };
        run.number(number);
        let at = run.facts().at;
        let kept = taken.len() as u64;
        if !taken.is_empty() {
            run.take_over(taken);
            self.shared
                .journal
                .append(number, 0, at, taken.to_vec(), None)
                .await?;
        }
        self.spawn(run, Event::Begin, kept, None);
        Ok(made)
    }

    /// Does what a person wants of a run, also of one that has ended; answers when that is on disk. `wish` sees the run, to find its steps.
    ///
    /// # Errors
    /// When there is no such run, or it does not allow it.
    pub async fn ask(
        &self,
        run: u64,
        by: &str,
        wish: impl FnOnce(&Run) -> Result<Wish, String> + Send + 'static,
    ) -> Result<RunSummary, Error> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Wish {
            by: by.to_owned(),
            wish: Box::new(wish),
            answer,
        };
        self.order(run, order).await?;
        answered
            .await
            .map_err(|_| Error::Closed)?
            .map_err(Error::Refused)
    }

    /// A run with its steps.
    ///
    /// # Errors
    /// When there is none.
    pub async fn view(&self, run: u64) -> Result<RunView, Error> {
        self.look(run, Run::view).await
    }

    /// A step of a run, or one of its items.
    ///
    /// # Errors
    /// When there is none.
    pub async fn detail(
        &self,
        run: u64,
        step: &str,
        item: Option<u32>,
    ) -> Result<StepDetail, Error> {
        let name = step.to_owned();
        let found = move |run: &Run| {
            let step = run.plan().place(&name)?;
            run.detail(Task { step, item })
        };
        let detail = self.look(run, found).await?;
        detail.ok_or_else(|| Error::Refused(format!("find the step {step:?} of run {run}")))
    }

    /// Reads something of a run, under way or not.
    ///
    /// # Errors
    /// When there is none.
    pub async fn look<T: Send + 'static>(
        &self,
        run: u64,
        look: impl FnOnce(&Run) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let look: Box<dyn FnOnce(&Run) + Send> =
            Box::new(move |run: &Run| drop(answer.send(look(run))));
        let live = self.shared.live().get(&run).cloned();
        match live {
            Some(live) => match live.orders.send(Order::Look(look)).await {
                Ok(()) => {}
                // It has just ended.
                Err(mpsc::error::SendError(Order::Look(look))) => look(&self.restore(run).await?.0),
                Err(_) => return Err(Error::Closed),
            },
            None => look(&self.restore(run).await?.0),
        }
        answered.await.map_err(|_| Error::Closed)
    }

    /// Runs under way, oldest first.
    #[must_use]
    pub fn under_way(&self) -> Vec<RunSummary> {
        let mut runs: Vec<_> = self
            .shared
            .live()
            .values()
            .map(|live| live.summary.borrow().clone())
            .collect();
        runs.sort_by_key(|run| run.run);
        runs
    }

    /// Waits until a run is not under way any more.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ended(&self, run: u64) -> Result<RunSummary, Error> {
        let live = self.shared.live().get(&run).cloned();
        if let Some(mut live) = live {
            let ended = live.summary.wait_for(|run| run.state.ended()).await;
            if let Ok(summary) = ended {
                return Ok(summary.clone());
            }
        }
        Ok(self.restore(run).await?.0.summary())
    }

    /// Ends all loops; what is at work is dropped, so that the journal says it was at work. The next engine decides about it.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let runs: Vec<_> = self.shared.live().values().cloned().collect();
        for live in runs {
            live.orders.closed().await;
        }
    }

    /// A run out of the journal, with how many records it has.
    async fn restore(&self, number: u64) -> Result<(Run, u64), Error> {
        let kept = self.shared.journal.read(number).await?;
        let kept = kept.ok_or(Error::NoRun(number))?;
        let restore = move || {
            let mut definition: Definition = serde_json::from_str(&kept.head.definition)
                .map_err(|error| Error::Unreadable(number, error.to_string()))?;
            // What would start it does not matter any more, and may mean nothing here: a time zone that this machine does not know.
            definition.on.clear();
            let plan = compile(definition, &Anything).map_err(|findings| {
                let first = findings
                    .first()
                    .map_or("", |finding| finding.message.as_str());
                Error::Unreadable(number, first.to_owned())
            })?;
            let count = kept.records.len() as u64;
            Ok((
                Run::restore(Arc::new(plan), kept.head.facts, kept.records),
                count,
            ))
        };
        let restored = tokio::task::spawn_blocking(restore).await;
        restored.map_err(|error| Error::Unreadable(number, error.to_string()))?
    }

    async fn order(&self, run: u64, order: Order) -> Result<(), Error> {
        let _one = self.shared.waking.lock().await;
        let live = self.shared.live().get(&run).cloned();
        let order = match live {
            Some(live) => match live.orders.send(order).await {
                Ok(()) => return Ok(()),
                Err(mpsc::error::SendError(order)) => order,
            },
            None => order,
        };
        let (restored, kept) = self.restore(run).await?;
        // A run that has ended is woken by the order, and sleeps again if that is refused.
        self.spawn(restored, Event::Resume, kept, Some(order));
        Ok(())
    }

    fn spawn(&self, run: Run, first: Event, kept: u64, order: Option<Order>) {
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (told, summary) = watch::channel(run.summary());
        let number = run.facts().number;
        if let Some(order) = order {
            // The channel is fresh, so there is a place.
            drop(orders.try_send(order));
        }
        let live = Live { orders, summary };
        self.shared.live().insert(number, live);
        let lane = Lane {
            workflow: run.plan().definition().name.as_str().into(),
            shared: Arc::clone(&self.shared),
            run,
            kept,
            told,
            work: JoinSet::new(),
            at_work: HashMap::new(),
            stops: HashMap::new(),
        };
        tokio::spawn(lane.drive(first, ordered));
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, HashMap<u64, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run under way, from inside.
struct Lane {
    shared: Arc<Shared>,
    workflow: Arc<str>,
    run: Run,
    /// Records on disk.
    kept: u64,
    told: watch::Sender<RunSummary>,
    work: JoinSet<Result<Value, Failed>>,
    at_work: HashMap<Id, (Task, u32)>,
    stops: HashMap<Task, CancellationToken>,
}

type Ended = Result<(Id, Result<Value, Failed>), JoinError>;

impl Lane {
    async fn drive(mut self, first: Event, mut ordered: mpsc::Receiver<Order>) {
        let closing = self.shared.closing.clone();
        let number = self.run.facts().number;
        let whole = self.turns(first, &mut ordered);
        // Whatever is at work is dropped with the lane.
        let _ = closing.run_until_cancelled(whole).await;
        self.shared.live().remove(&number);
        ordered.close();
        while let Ok(order) = ordered.try_recv() {
            match order {
                Order::Look(look) => look(&self.run),
                Order::Wish { answer, .. } => {
                    let why = format!("run {number} has just ended; ask again");
                    drop(answer.send(Err(why)));
                }
            }
        }
    }

    async fn turns(&mut self, first: Event, ordered: &mut mpsc::Receiver<Order>) {
        let mut orders = Vec::new();
        // An order that woke a run that had ended comes before the look whether it is over.
        if let Ok(order) = ordered.try_recv() {
            orders.push(order);
        }
        self.turn(Some(first), Vec::new(), &mut orders).await;
        while !self.run.state().ended() {
            let clock = Arc::clone(&self.shared.options.clock);
            let due = self
                .run
                .next_time()
                .map(|at| Duration::from_millis(at.saturating_sub(clock())));
            let mut ended = Vec::new();
            let mut late = None;
            tokio::select! {
                Some(end) = self.work.join_next_with_id() => ended.push(end),
                came = ordered.recv_many(&mut orders, ORDERS) => if came == 0 { return },
                () = sleep(due.unwrap_or(Duration::MAX)), if due.is_some() => late = Some(Event::Time),
            }
            while ended.len() < TOGETHER
                && let Some(end) = self.work.try_join_next_with_id()
            {
                ended.push(end);
            }
            self.turn(late, ended, &mut orders).await;
        }
    }

    /// Takes in what happened, has it written, does what follows.
    async fn turn(&mut self, event: Option<Event>, ended: Vec<Ended>, orders: &mut Vec<Order>) {
        let now = (self.shared.options.clock)();
        let (mut effects, mut answers) = (Vec::new(), Vec::new());
        // Only wishes are refused.
        let mut on = |run: &mut Run, event| effects.extend(run.on(now, event).unwrap_or_default());
        if let Some(event) = event {
            on(&mut self.run, event);
        }
        for end in ended {
            if let Some(event) = self.end(end) {
                on(&mut self.run, event);
            }
        }
        for order in orders.drain(..) {
            match order {
                Order::Look(look) => look(&self.run),
                Order::Wish { by, wish, answer } => {
                    let asked = wish(&self.run)
                        .and_then(|wish| self.run.on(now, Event::Asked { by, wish }));
                    match asked {
                        Ok(more) => {
                            effects.extend(more);
                            answers.push(answer);
                        }
                        // One that does not wait any more need not know.
                        Err(why) => drop(answer.send(Err(why))),
                    }
                }
            }
        }
        self.carry_out(now, effects).await;
        for answer in answers {
            drop(answer.send(Ok(self.run.summary())));
        }
    }

    fn end(&mut self, end: Ended) -> Option<Event> {
        let (id, result) = match end {
            Ok((id, result)) => (id, result),
            Err(error) => {
                let failed = Failed::new(
                    Failure::Failed,
                    "it broke down, which is a fault of Flotilla",
                );
                tracing::error!(%error, "a step broke down");
                (error.id(), Err(failed))
            }
        };
        let (task, attempt) = self.at_work.remove(&id)?;
        self.stops.remove(&task);
        Some(Event::Ended {
            task,
            attempt,
            result,
        })
    }

    async fn carry_out(&mut self, now: Millis, effects: Vec<Effect>) {
        let (mut records, mut acts) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Journal(record) => records.push(record),
                act => acts.push(act),
            }
        }
        if !records.is_empty() {
            self.write(now, &records).await;
            self.shared.observer.told(&self.run, &records);
        }
        for act in acts {
            self.act(act);
        }
        self.told.send_replace(self.run.summary());
    }

    async fn write(&mut self, now: Millis, records: &[Record]) {
        let number = self.run.facts().number;
        let turned = records
            .iter()
            .any(|record| matches!(record, Record::Run { .. }));
        let summary = turned.then(|| self.run.summary());
        while let Err(error) = self
            .shared
            .journal
            .append(number, self.kept, now, records.to_vec(), summary.clone())
            .await
        {
            tracing::error!(run = number, %error, "the run stands still: its journal cannot be written");
            self.told
                .send_modify(|summary| summary.waits = Some(format!("the journal: {error}")));
            sleep(AGAIN_AFTER).await;
        }
        self.kept += records.len() as u64;
    }

    fn act(&mut self, act: Effect) {
        match act {
            Effect::Launch {
                task,
                attempt,
                input,
            } => self.launch(task, attempt, input),
            Effect::Abort(task) => {
                if let Some(stop) = self.stops.get(&task) {
                    stop.cancel();
                }
            }
            Effect::Journal(_) => {}
        }
    }

    fn launch(&mut self, task: Task, attempt: u32, input: Arc<Value>) {
        let plan = self.run.plan();
        let work = Work {
            run: self.run.facts().number,
            workflow: Arc::clone(&self.workflow),
            step: plan.id(task.step).into(),
            item: task.item,
            attempt,
            depth: self.run.facts().depth,
            workspace: self.run.facts().workspace.as_deref().map(Arc::from),
            uses: plan.uses(task.step).cloned().unwrap_or(Uses::Data),
            input,
        };
        // None of the closing: that leaves the journal saying that it is at work.
        let stop = CancellationToken::new();
        let (executor, grace) = (Arc::clone(&self.shared.executor), self.shared.options.grace);
        let stopped = stop.clone();
        let handle = self.work.spawn(async move {
            let work = executor.execute(work, stopped.clone());
            within_grace(work, stopped, grace).await
        });
        self.at_work.insert(handle.id(), (task, attempt));
        self.stops.insert(task, stop);
    }
}

/// A try that is told to end has this long to do so.
async fn within_grace(
    work: impl Future<Output = Result<Value, Failed>>,
    stop: CancellationToken,
    grace: Duration,
) -> Result<Value, Failed> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => return result,
        () = stop.cancelled() => {}
    }
    timeout(grace, work).await.unwrap_or_else(|_| {
        let error = format!(
            "it did not end within {} s of being told to",
            grace.as_secs()
        );
        Err(Failed::new(Failure::Failed, error))
    })
}

#[cfg(test)]
mod tests;
