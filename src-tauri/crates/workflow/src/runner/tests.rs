use super::*;
use crate::{journal::Kept, parse};
use flotilla_contract::workflow::{RunState, StepState};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, Semaphore};

/// A journal in memory, which can be slow.
struct Memory {
    runs: Mutex<Vec<Kept>>,
    /// One permit for each append.
    gate: Semaphore,
}

impl Memory {
    fn new(appends: usize) -> Arc<Self> {
        Arc::new(Self {
            runs: Mutex::default(),
            gate: Semaphore::new(appends),
        })
    }

    fn one(&self, run: u64) -> Kept {
        self.runs.lock().unwrap()[usize::try_from(run).unwrap() - 1].clone()
    }
}

impl Journal for Memory {
    fn create(&self, mut head: Head, _: Option<String>) -> Boxed<'_, Result<Made, JournalError>> {
        Box::pin(async move {
            let mut runs = self.runs.lock().unwrap();
            let number = runs.len() as u64 + 1;
            head.facts.number = number;
            head.summary.run = number;
            runs.push(Kept {
                head,
                records: Vec::new(),
            });
            Ok(Made::New(number))
        })
    }

    fn append(
        &self,
        run: u64,
        from: u64,
        at: Millis,
        records: Vec<Record>,
        summary: Option<RunSummary>,
    ) -> Boxed<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            let mut runs = self.runs.lock().unwrap();
            let kept = &mut runs[usize::try_from(run).unwrap() - 1];
            assert_eq!(kept.records.len() as u64, from);
            kept.records
                .extend(records.into_iter().map(|record| (at, record)));
            if let Some(summary) = summary {
                kept.head.summary = summary;
            }
            Ok(())
        })
    }

    fn open(&self) -> Boxed<'_, Result<Vec<Head>, JournalError>> {
        let runs = self.runs.lock().unwrap();
        let open = runs.iter().filter(|kept| !kept.head.summary.state.ended());
        let open = open.map(|kept| kept.head.clone()).collect();
        Box::pin(std::future::ready(Ok(open)))
    }

    fn read(&self, run: u64) -> Boxed<'_, Result<Option<Kept>, JournalError>> {
        let runs = self.runs.lock().unwrap();
        let kept = usize::try_from(run)
            .unwrap()
            .checked_sub(1)
            .and_then(|at| runs.get(at))
            .cloned();
        Box::pin(std::future::ready(Ok(kept)))
    }

    fn list(
        &self,
        _: Option<String>,
        _: Option<u64>,
        _: u32,
    ) -> Boxed<'_, Result<Vec<RunSummary>, JournalError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

enum Act {
    Well,
    Fail,
    /// Works until it is told to end.
    Work,
    Break,
}

/// Does what the test says, and notes what it was asked for.
struct Script {
    act: Box<dyn Fn(&Work) -> Act + Send + Sync>,
    done: Mutex<Vec<String>>,
    begun: Notify,
    stopped: AtomicU64,
}

impl Script {
    fn new(act: impl Fn(&Work) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            act: Box::new(act),
            done: Mutex::default(),
            begun: Notify::new(),
            stopped: AtomicU64::new(0),
        })
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

impl Executor for Script {
    fn execute(&self, work: Work, stop: CancellationToken) -> Boxed<'_, Result<Value, Failed>> {
        Box::pin(async move {
            self.done.lock().unwrap().push(work.step.to_string());
            self.begun.notify_one();
            match (self.act)(&work) {
                Act::Well => Ok(json!({ "did": &*work.step })),
                Act::Fail => Err(Failed::new(Failure::Failed, "exit code 1")),
                Act::Break => panic!("a fault"),
                Act::Work => {
                    stop.cancelled().await;
                    self.stopped.fetch_add(1, Ordering::SeqCst);
                    Err(Failed::new(Failure::Failed, "stopped"))
                }
            }
        })
    }
}

/// Nobody looks.
struct Nobody;

impl Observer for Nobody {
    fn told(&self, _: &Run, _: &[Record]) {}
}

fn runner(journal: &Arc<Memory>, script: &Arc<Script>) -> Runner {
    let clock = AtomicU64::new(1_000);
    Runner::new(
        journal.clone(),
        script.clone(),
        Arc::new(Nobody),
        Options {
            clock: Arc::new(move || clock.fetch_add(1, Ordering::SeqCst)),
            seed: Arc::new(|| 7),
            grace: Duration::from_secs(10),
        },
    )
}

fn plan(steps: &[&str]) -> Arc<Plan> {
    let lines: Vec<_> = steps
        .iter()
        .map(|step| format!("  - {{ {step} }}\n"))
        .collect();
    let yaml = format!("name: w\nsteps:\n{}", lines.concat());
    Arc::new(compile(parse(&yaml).unwrap(), &Anything).unwrap())
}

async fn start(runner: &Runner, plan: &Arc<Plan>) -> u64 {
    runner.start(plan.clone(), by_test()).await.unwrap().run()
}

fn by_test() -> Start {
    Start {
        by: "test".into(),
        ..Start::default()
    }
}

fn states(view: &RunView) -> Vec<StepState> {
    view.steps.iter().map(|step| step.state).collect()
}

const MANY: usize = 10_000;

#[tokio::test]
async fn a_run_ends_and_its_journal_rebuilds_it() {
    let (journal, script) = (Memory::new(MANY), Script::new(|_| Act::Well));
    let runner = runner(&journal, &script);
    let plan = plan(&["id: a, uses: shell", "id: b, uses: shell, needs: [a]"]);
    let run = start(&runner, &plan).await;
    let summary = runner.ended(run).await.unwrap();
    assert_eq!((summary.state, summary.ended), (RunState::Completed, 2));
    assert_eq!(script.done(), ["a", "b"]);
    // Now it comes from the journal.
    let view = runner.view(run).await.unwrap();
    assert_eq!(view.summary, summary);
    let detail = runner.detail(run, "b", None).await.unwrap();
    assert_eq!(detail.output, json!({"did": "b"}));
    assert_eq!(runner.view(99).await, Err(Error::NoRun(99)));
    assert!(runner.under_way().is_empty());
}

#[tokio::test]
async fn nothing_begins_before_it_is_on_disk() {
    let (journal, script) = (Memory::new(0), Script::new(|_| Act::Well));
    let runner = runner(&journal, &script);
    let run = start(&runner, &plan(&["id: a, uses: shell"])).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (script.done().len(), journal.one(run).records.len()),
        (0, 0)
    );
    journal.gate.add_permits(MANY);
    assert_eq!(runner.ended(run).await.unwrap().state, RunState::Completed);
}

#[tokio::test]
async fn after_a_crash_what_had_ended_is_not_done_again() {
    let (journal, script) = (
        Memory::new(MANY),
        Script::new(|work| {
            if &*work.step == "a" {
                Act::Well
            } else {
                Act::Work
            }
        }),
    );
    let plan = plan(&[
        "id: a, uses: shell",
        "id: b, uses: shell, needs: [a]",
        "id: c, uses: shell, needs: [a], idempotent: true",
    ]);
    let first = runner(&journal, &script);
    let run = start(&first, &plan).await;
    while script.done().len() < 3 {
        script.begun.notified().await;
    }
    first.close().await;
    assert!(first.start(plan.clone(), by_test()).await.is_err());

    let script = Script::new(|_| Act::Well);
    let second = runner(&journal, &script);
    assert_eq!(second.resume().await.unwrap(), [run]);
    script.begun.notified().await;
    let view = second.look(run, |run| run.view()).await.unwrap();
    assert_eq!(view.steps[1].state, StepState::Waiting);
    assert!(
        view.steps[1]
            .why
            .as_deref()
            .unwrap_or_default()
            .contains("may not be safe")
    );
    second
        .ask(run, "me", |run| {
            Ok(Wish::Retry(run.plan().place("b").unwrap()))
        })
        .await
        .unwrap();
    assert_eq!(second.ended(run).await.unwrap().state, RunState::Completed);
    let mut done = script.done();
    done.sort();
    assert_eq!(done, ["b", "c"]);
}

#[tokio::test]
async fn cancel_reaches_what_is_at_work_and_a_restart_wakes_the_run() {
    let (journal, script) = (
        Memory::new(MANY),
        Script::new(|work| {
            if work.run == 1 && work.attempt == 1 {
                Act::Work
            } else {
                Act::Well
            }
        }),
    );
    let runner = runner(&journal, &script);
    let run = start(
        &runner,
        &plan(&["id: a, uses: shell", "id: b, uses: shell, needs: [a]"]),
    )
    .await;
    script.begun.notified().await;
    let pause = runner.ask(run, "me", |_| Ok(Wish::Continue)).await;
    assert!(matches!(pause, Err(Error::Refused(_))), "{pause:?}");
    runner.ask(run, "me", |_| Ok(Wish::Cancel)).await.unwrap();
    let summary = runner.ended(run).await.unwrap();
    assert_eq!(
        (summary.state, script.stopped.load(Ordering::SeqCst)),
        (RunState::Cancelled, 1)
    );
    assert_eq!(
        states(&runner.view(run).await.unwrap()),
        [StepState::Cancelled; 2]
    );
    // It has ended: the wish wakes it.
    let again = runner.ask(run, "me", |_| Ok(Wish::Restart)).await.unwrap();
    assert_eq!(again.state, RunState::Running);
}

#[tokio::test]
async fn a_replay_takes_over_what_does_not_come_after_its_step() {
    let (journal, script) = (
        Memory::new(MANY),
        Script::new(|work| {
            if &*work.step == "c" && work.run == 1 {
                Act::Fail
            } else {
                Act::Well
            }
        }),
    );
    let runner = runner(&journal, &script);
    let plan = plan(&[
        "id: a, uses: shell",
        "id: b, uses: shell, needs: [a]",
        "id: c, uses: shell, needs: [b]",
        "id: d, uses: shell",
    ]);
    let run = start(&runner, &plan).await;
    assert_eq!(runner.ended(run).await.unwrap().state, RunState::Failed);
    script.done.lock().unwrap().clear();
    let replay = |from: Option<&'static str>| runner.replay(plan.clone(), run, from, by_test());
    let second = replay(Some("b")).await.unwrap();
    assert_eq!(
        runner.ended(second).await.unwrap().state,
        RunState::Completed
    );
    assert_eq!(script.done(), ["b", "c"]);
    let view = runner.view(second).await.unwrap();
    assert_eq!(view.steps[0].why.as_deref(), Some("taken over from run 1"));
    assert!(replay(Some("x")).await.is_err());
    let third = replay(None).await.unwrap();
    assert_eq!(runner.ended(third).await.unwrap().ended, 4);
}

#[tokio::test]
async fn a_fault_of_an_executor_fails_its_step_alone() {
    let (journal, script) = (
        Memory::new(MANY),
        Script::new(|work| {
            if &*work.step == "a" {
                Act::Break
            } else {
                Act::Well
            }
        }),
    );
    let runner = runner(&journal, &script);
    let run = start(
        &runner,
        &plan(&["id: a, uses: shell", "id: b, uses: shell"]),
    )
    .await;
    runner.ended(run).await.unwrap();
    assert_eq!(
        states(&runner.view(run).await.unwrap()),
        [StepState::Failed, StepState::Completed]
    );
}
