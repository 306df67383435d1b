//! What runs cost, beside bare sqlx on the same disk: `workflow_bench [DIR] [ROUNDS]`.
//!
//! The load is one run that fans out to 10,000 steps that do nothing and in again, and 1,000 runs of ten steps at once; both in memory and with
//! the journal on disk. The delay of a step is from the moment at which the last step that it needs has ended to that at which its own work
//! begins. The floor is what a writer through sqlx can reach with this durability when every commit carries the two records of one step. All
//! are run in turn, so that a busy machine troubles all. Prints one JSON line.

#![expect(clippy::print_stdout, reason = "a measurement prints")]

use flotilla_contract::{
    Millis,
    workflow::{RunState, RunSummary},
};
use flotilla_engine::RunJournal;
use flotilla_workflow::{
    Anything, Executor, Failed, Journal, Observer, Plan, Record, Run, Runner, Start, Work, compile,
    journal::{Boxed, Head, JournalError, Kept, Made},
    parse,
    runner::Options,
};
use serde_json::Value;
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const FAN: usize = 10_000;
const RUNS: usize = 1_000;
const STEPS: usize = 10;
/// Half of the steps a second that are to be reached, in memory and on disk: at this load delays are looked at.
const HALF: [f64; 2] = [10_000.0, 2_500.0];
const PACED: Duration = Duration::from_secs(2);

fn micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Does nothing, but notes when.
#[derive(Default)]
struct Idle {
    begun: AtomicU64,
    /// When the latest step of each run ended; of chains that is the one that the next waits for.
    ended: Mutex<HashMap<u64, Instant>>,
    delays: Mutex<Vec<Duration>>,
}

impl Executor for Idle {
    fn execute(
        &self,
        work: Work,
        _: CancellationToken,
    ) -> Boxed<'_, std::result::Result<Value, Failed>> {
        let now = Instant::now();
        self.begun.fetch_add(1, Ordering::Relaxed);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = ended.insert(work.run, now) {
            let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
            delays.push(now - before);
        }
        Box::pin(std::future::ready(Ok(Value::Null)))
    }
}

struct Nobody;

impl Observer for Nobody {
    fn told(&self, _: &Run, _: &[Record]) {}
}

/// Keeps nothing but a count.
#[derive(Default)]
struct Memory {
    number: AtomicU64,
    records: AtomicU64,
    last: Mutex<Option<RunSummary>>,
}

impl Journal for Memory {
    fn create(
        &self,
        head: Head,
        _: Option<String>,
    ) -> Boxed<'_, std::result::Result<Made, JournalError>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(head.summary);
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        Box::pin(std::future::ready(Ok(Made::New(number))))
    }

    fn append(
        &self,
        _: u64,
        _: u64,
        _: Millis,
        records: Vec<Record>,
        _: Option<RunSummary>,
    ) -> Boxed<'_, std::result::Result<(), JournalError>> {
        self.records
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }

    fn open(&self) -> Boxed<'_, std::result::Result<Vec<Head>, JournalError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn read(&self, _: u64) -> Boxed<'_, std::result::Result<Option<Kept>, JournalError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn list(
        &self,
        _: Option<String>,
        _: Option<u64>,
        _: u32,
    ) -> Boxed<'_, std::result::Result<Vec<RunSummary>, JournalError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

fn fan() -> Result<Arc<Plan>> {
    let mut text = String::from(
        "{\"name\":\"fan\",\"concurrency\":1000,\"steps\":[{\"id\":\"first\",\"uses\":\"shell\"}",
    );
    let mut ids = Vec::with_capacity(FAN);
    for at in 0..FAN - 2 {
        text.push_str(&format!(
            ",{{\"id\":\"s{at}\",\"uses\":\"shell\",\"needs\":[\"first\"]}}"
        ));
        ids.push(format!("\"s{at}\""));
    }
    text.push_str(&format!(
        ",{{\"id\":\"last\",\"uses\":\"shell\",\"needs\":[{}]}}]}}",
        ids.join(",")
    ));
    plan(&text)
}

fn chain() -> Result<Arc<Plan>> {
    let step = |at: usize| {
        let needs = if at == 0 {
            String::new()
        } else {
            format!("\"s{}\"", at - 1)
        };
        format!("{{\"id\":\"s{at}\",\"uses\":\"shell\",\"needs\":[{needs}]}}")
    };
    let steps: Vec<_> = (0..STEPS).map(step).collect();
    plan(&format!(
        "{{\"name\":\"chain\",\"steps\":[{}]}}",
        steps.join(",")
    ))
}

fn plan(text: &str) -> Result<Arc<Plan>> {
    let definition = parse(text).map_err(|finding| finding.message)?;
    let plan = compile(definition, &Anything).map_err(|findings| format!("{findings:?}"))?;
    Ok(Arc::new(plan))
}

fn runner(journal: Arc<dyn Journal>, executor: Arc<Idle>) -> Runner {
    let options = Options {
        clock: Arc::new(|| micros() / 1_000),
        seed: Arc::new(|| 7),
        grace: Duration::from_secs(10),
    };
    Runner::new(journal, executor, Arc::new(Nobody), options)
}

/// The delay of 99 of 100 steps in milliseconds, while chains are begun at an even pace that makes so many steps a second.
async fn paced(journal: Arc<dyn Journal>, plan: &Arc<Plan>, steps_per_s: f64) -> Result<f64> {
    let executor = Arc::new(Idle::default());
    let runner = runner(journal, executor.clone());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(STEPS as f64 / steps_per_s));
    let (began, mut tasks) = (Instant::now(), tokio::task::JoinSet::new());
    while began.elapsed() < PACED {
        ticks.tick().await;
        let (runner, plan) = (runner.clone(), plan.clone());
        tasks.spawn(async move {
            let run = runner.start(plan, Start::default()).await?.run();
            wait(&runner, run).await;
            Ok::<_, flotilla_workflow::runner::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let mut delays = executor
        .delays
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    delays.sort_unstable();
    let at = delays.len() * 99 / 100;
    Ok(delays
        .get(at)
        .map_or(0.0, |delay| delay.as_secs_f64() * 1e3))
}

/// Steps a second of `runs` runs at once.
async fn load(
    journal: Arc<dyn Journal>,
    plan: &Arc<Plan>,
    runs: usize,
    steps: usize,
) -> Result<f64> {
    let runner = runner(journal, Arc::default());
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..runs {
        let (runner, plan) = (runner.clone(), plan.clone());
        tasks.spawn(async move {
            let run = runner.start(plan, Start::default()).await?.run();
            wait(&runner, run).await;
            Ok::<_, flotilla_workflow::runner::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((runs * steps) as f64 / began.elapsed().as_secs_f64())
}

/// Until the run is not under way: a journal in memory cannot give it back.
async fn wait(runner: &Runner, run: u64) {
    if let Ok(summary) = runner.ended(run).await {
        debug_assert_eq!(summary.state, RunState::Completed);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(
        || std::env::temp_dir().join("flotilla-workflow"),
        Into::into,
    );
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let (fan, chain) = (fan()?, chain()?);
    let names = [
        "memory_fan",
        "memory_runs",
        "durable_fan",
        "durable_runs",
        "bare_sqlx",
    ];
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    let (mut resume_ms, mut bytes) = (Vec::new(), 0.0);
    let mut delays = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        figures[0].push(load(Arc::new(Memory::default()), &fan, 1, FAN).await?);
        figures[1].push(load(Arc::new(Memory::default()), &chain, RUNS, STEPS).await?);
        delays[0].push(paced(Arc::new(Memory::default()), &chain, HALF[0]).await?);
        fresh(&dir)?;
        let store = flotilla_store::open(flotilla_store::Options::new(&dir)).await?;
        let durable: Arc<dyn Journal> = Arc::new(RunJournal(store.runs.clone()));
        figures[2].push(load(durable.clone(), &fan, 1, FAN).await?);
        let began = Instant::now();
        let view = runner(durable.clone(), Arc::default()).view(1).await?;
        resume_ms.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(view.steps.len(), FAN);
        let written: usize = store
            .runs
            .records(1)
            .await?
            .iter()
            .map(|(_, text)| text.len())
            .sum();
        bytes = written as f64 / FAN as f64;
        figures[3].push(load(durable.clone(), &chain, RUNS, STEPS).await?);
        delays[1].push(paced(durable, &chain, HALF[1]).await?);
        store.runs.close(Duration::from_secs(10)).await;
        fresh(&dir)?;
        figures[4].push(bare(&dir).await?);
    }
    std::fs::remove_dir_all(&dir)?;
    let steps: serde_json::Map<String, Value> = names
        .iter()
        .zip(figures)
        .map(|(name, figures)| {
            (
                format!("{name}_steps_per_s"),
                median(figures).round().into(),
            )
        })
        .collect();
    let [in_memory, durable] = delays.map(|delays| (median(delays) * 100.0).round() / 100.0);
    println!(
        "{}",
        serde_json::json!({
            "bench": "workflow",
            "steps": steps,
            "memory_p99_delay_ms": in_memory,
            "durable_p99_delay_ms": durable,
            "resume_10k_ms": median(resume_ms).round(),
            "journal_bytes_per_step": bytes.round(),
            "rss_mib": rss_mib(),
        })
    );
    Ok(())
}

fn fresh(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(std::fs::create_dir_all(dir)?)
}

/// Two rows a commit, one commit a step, for two seconds.
async fn bare(dir: &Path) -> Result<f64> {
    let options = SqliteConnectOptions::new()
        .filename(dir.join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query("CREATE TABLE records (run INTEGER, seq INTEGER, at INTEGER, records TEXT, PRIMARY KEY (run, seq)) WITHOUT ROWID")
        .execute(&mut connection)
        .await?;
    let (began, mut steps) = (Instant::now(), 0_i64);
    while began.elapsed() < Duration::from_secs(2) {
        sqlx::query("INSERT INTO records VALUES (1, ?, ?, ?), (1, ?, ?, ?)")
            .bind(2 * steps)
            .bind(0_i64)
            .bind("[{\"is\":\"try\",\"s\":1,\"n\":1,\"with\":{}}]")
            .bind(2 * steps + 1)
            .bind(0_i64)
            .bind("[{\"is\":\"end\",\"s\":1,\"state\":\"completed\"}]")
            .execute(&mut connection)
            .await?;
        steps += 1;
    }
    let rate = steps as f64 / began.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn rss_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1_024)
}
