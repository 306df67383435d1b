//! The measurement itself.

use crate::{births::Births, floor::Floor, table::Table};
use anyhow::{Context, Result, bail};
use clap::Parser;
use flotilla_contract::command::{Outcomes, ServerStart, ServerStop, Targets};
use flotilla_remote::Client;
use flotilla_tests::load::{
    Dice, Engine, fixture_program, free_ports,
    process::{self, Memory, Signal, Watched},
    run,
};
use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// After something has happened to many children: what follows it by itself is over.
const QUIET: Duration = Duration::from_millis(1_500);
/// Longer than anything that is to end takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How fast and how cheaply the engine keeps children running, beside a bare tokio floor.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Numbers of children
    #[arg(long, value_delimiter = ',', default_value = "1,50,200")]
    n: Vec<u32>,
    /// Rounds; engine and floor take turns in each
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Single kills in all, per number of children
    #[arg(long, default_value_t = 60)]
    kills: u32,
    /// Seconds over which idle CPU is measured; 0 leaves it out
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Decides which children are killed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print every sample of a single restart, in milliseconds
    #[arg(long)]
    samples: bool,
}

/// What is measured: both obey the same two orders.
enum Subject {
    Engine(Engine),
    Floor(Floor),
}

/// One of the two, with its children.
struct Side {
    subject: Subject,
    births: Births,
    count: u32,
    figures: Figures,
    /// Holds the socket and the home.
    _folder: TempDir,
}

/// Milliseconds, one per round or per kill.
#[derive(Default)]
struct Figures {
    start: Vec<f64>,
    restart: Vec<f64>,
    all: Vec<f64>,
    stop: Vec<f64>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &Args) -> Result<ExitCode> {
    println!(
        "{} cores, {}, load {}; {} rounds, {} kills, seed {}",
        std::thread::available_parallelism()?,
        one_line("/proc/sys/kernel/osrelease")?,
        one_line("/proc/loadavg")?,
        args.rounds,
        args.kills,
        args.seed
    );
    let mut table = Table::default();
    let mut dice = Dice::new(args.seed);
    let empty = alone().await?;
    let mut full: Vec<(u32, Memory)> = Vec::new();
    for count in &args.n {
        let memory = latencies(args, *count, &mut dice, &mut table).await?;
        full.push((*count, memory));
    }
    memory(&mut table, empty, full).await?;
    if let (Some(most), true) = (args.n.iter().max(), args.idle > 0) {
        let span = Duration::from_secs(args.idle);
        let (off, sampled) = (idle(*most, "0", span).await?, idle(*most, "2", span).await?);
        table.section(&format!("idle over {} s, {most} children", args.idle));
        table.limit("CPU, sampling off, %", off, 0.01, 4);
        table.limit("CPU, sampled every 2 s, %", sampled, 0.5, 3);
    }
    println!("{table}");
    let missed = table.missed();
    if missed > 0 {
        println!("{missed} targets missed");
    }
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn one_line(path: &str) -> Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// `fleet.toml` for `count` children. HTTP servers, because they are asked to end by SIGTERM at once.
fn fleet(count: u32, socket: &Path, fixture: &Path) -> Result<String> {
    let mut text = "profile = \"production\"\n[defaults]\nautostart = false\n\
        health = { check = \"none\" }\n\
        gateway = { expose = false }\n\
        restart = { policy = \"always\", delays = [\"0s\"], max_restarts = \"unlimited\" }\n"
        .to_owned();
    let first = free_ports(u16::try_from(count)?)?;
    for index in 0..count {
        let port = u32::from(first) + index;
        write!(
            text,
            "[servers.child-{index:03}]\ncommand = {fixture:?}\nport = {port}\n\
             args = [\"--probe-socket\", {socket:?}, \"--index\", \"{index}\", \"--bare\"]\n"
        )?;
    }
    Ok(text)
}

impl Side {
    async fn engine(count: u32, sampling: &str) -> Result<Self> {
        let folder = folder()?;
        let births = Births::listen(&folder.path().join("births"))?;
        let home = folder.path().join("home");
        fs::create_dir(&home)?;
        fs::write(
            home.join("fleet.toml"),
            fleet(count, births.path(), &fixture_program()?)?,
        )?;
        let engine = Engine::start(&home, &["--sample-interval", sampling]).await?;
        Ok(Self::new(Subject::Engine(engine), births, count, folder))
    }

    fn floor(count: u32) -> Result<Self> {
        let folder = folder()?;
        let births = Births::listen(&folder.path().join("births"))?;
        let floor = Floor::start(births.path(), count, &fixture_program()?)?;
        Ok(Self::new(Subject::Floor(floor), births, count, folder))
    }

    fn new(subject: Subject, births: Births, count: u32, folder: TempDir) -> Self {
        Self {
            subject,
            births,
            count,
            figures: Figures::default(),
            _folder: folder,
        }
    }

    /// A way to the engine. Made before the clock starts, as a panel that is open has one; none stays while idle.
    async fn client(&self) -> Result<Option<Client>> {
        Ok(match &self.subject {
            Subject::Engine(engine) => Some(engine.connect().await?),
            Subject::Floor(_) => None,
        })
    }

    /// From the order to the last child's first instruction, in milliseconds.
    async fn start(&mut self) -> Result<f64> {
        let client = self.client().await?;
        let asked = process::monotonic_ns();
        let count = self.count as usize;
        let last = match &mut self.subject {
            Subject::Engine(_) => {
                let client = client.context("an engine has a client")?;
                let order = async {
                    good(
                        run::<ServerStart>(
                            &client,
                            Targets {
                                all: true,
                                ..Targets::default()
                            },
                        )
                        .await?,
                    )
                };
                tokio::try_join!(self.births.next(count), order)?.0
            }
            Subject::Floor(floor) => {
                floor.order("start").await?;
                self.births.next(count).await?
            }
        };
        Ok(ms(asked, last))
    }

    /// From the order to the end of the last child, in milliseconds.
    async fn stop(&mut self) -> Result<f64> {
        let client = self.client().await?;
        let watched = Watched::new(self.births.alive.values().copied());
        let asked = process::monotonic_ns();
        let gone = async {
            let watching = tokio::task::spawn_blocking(move || watched.gone(PATIENCE));
            anyhow::Ok(watching.await??)
        };
        let last = match &mut self.subject {
            Subject::Engine(_) => {
                let client = client.context("an engine has a client")?;
                let order = async {
                    good(
                        run::<ServerStop>(
                            &client,
                            Targets {
                                all: true,
                                ..Targets::default()
                            },
                        )
                        .await?,
                    )
                };
                tokio::try_join!(gone, order)?.0
            }
            Subject::Floor(floor) => {
                let order = async { floor.order("stop").await };
                tokio::try_join!(gone, order)?.0
            }
        };
        Ok(ms(asked, last))
    }

    /// From SIGKILL of one child to its replacement's first instruction, in milliseconds.
    async fn restart(&mut self, index: u32) -> Result<f64> {
        let pid = *self.births.alive.get(&index).context("no such child")?;
        let killed = process::monotonic_ns();
        process::signal(pid, Signal::KILL);
        Ok(ms(killed, self.births.next(1).await?))
    }

    /// From the first SIGKILL to the last replacement's first instruction, all children killed at once.
    async fn restart_all(&mut self) -> Result<f64> {
        let pids: Vec<u32> = self.births.alive.values().copied().collect();
        let killed = process::monotonic_ns();
        for pid in pids {
            process::signal(pid, Signal::KILL);
        }
        Ok(ms(killed, self.births.next(self.count as usize).await?))
    }

    /// One round of everything that is timed.
    async fn round(&mut self, kills: u32, dice: &mut Dice) -> Result<()> {
        let took = self.start().await?;
        self.figures.start.push(took);
        settle().await;
        for _ in 0..kills {
            let index = dice.below(self.count.into()) as u32;
            let took = self.restart(index).await?;
            self.figures.restart.push(took);
            // What follows a restart is over before the next, at no fixed distance from it.
            tokio::time::sleep(Duration::from_millis(40 + dice.below(40))).await;
        }
        let took = self.restart_all().await?;
        self.figures.all.push(took);
        settle().await;
        let took = self.stop().await?;
        self.figures.stop.push(took);
        settle().await;
        Ok(())
    }

    fn pid(&self) -> u32 {
        match &self.subject {
            Subject::Engine(engine) => engine.pid(),
            Subject::Floor(floor) => floor.pid(),
        }
    }

    async fn end(self) -> Result<()> {
        match self.subject {
            Subject::Engine(engine) => engine.end().await,
            Subject::Floor(_) => Ok(()),
        }
    }
}

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new()
        .prefix("flotilla-bench-")
        .tempdir()?)
}

fn good(outcomes: Outcomes) -> Result<()> {
    match outcomes.outcomes.into_iter().find(|outcome| !outcome.ok) {
        Some(bad) => bail!("{}: {}", bad.server, bad.sentence),
        None => Ok(()),
    }
}

fn ms(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

async fn settle() {
    tokio::time::sleep(QUIET).await;
}

/// Both sides with `count` children; gives the engine's memory while all of them are quiet, before anything was killed.
async fn latencies(args: &Args, count: u32, dice: &mut Dice, table: &mut Table) -> Result<Memory> {
    let mut engine = Side::engine(count, "2").await?;
    let mut floor = Side::floor(count)?;
    // Caches of programs and libraries are warm for both before the clock counts.
    floor.start().await?;
    floor.stop().await?;
    engine.start().await?;
    settle().await;
    let quiet = of_engine(engine.pid())?;
    engine.stop().await?;
    settle().await;
    let share = args.kills.div_ceil(args.rounds.max(1));
    for round in 0..args.rounds {
        let kills = share.min(args.kills - (share * round).min(args.kills));
        // Neither side always goes first.
        if round % 2 == 0 {
            engine.round(kills, dice).await?;
            floor.round(kills, dice).await?;
        } else {
            floor.round(kills, dice).await?;
            engine.round(kills, dice).await?;
        }
    }
    let (ours, bare) = (&engine.figures, &floor.figures);
    let children = if count == 1 { "child" } else { "children" };
    table.section(&format!("{count} {children}, ms"));
    let many = |limit| (count >= 200).then_some(limit);
    table.ratio("start all", mid(&ours.start), mid(&bare.start), many(1.4));
    let at = |part: f64| (rank(&ours.restart, part), rank(&bare.restart, part));
    let (p50, p90, worst) = (at(0.5), at(0.9), at(1.0));
    table.ratio("restart p50", p50.0, p50.1, Some(1.5));
    table.ratio("restart p90", p90.0, p90.1, None);
    let name = format!("restart, worst of {}", ours.restart.len());
    table.ratio(&name, worst.0, worst.1, Some(2.0));
    if count > 1 {
        table.ratio(
            "all killed at once",
            mid(&ours.all),
            mid(&bare.all),
            many(1.3),
        );
    }
    table.ratio("stop all", mid(&ours.stop), mid(&bare.stop), many(3.0));
    if args.samples {
        for (name, samples) in [("engine", &ours.restart), ("floor", &bare.restart)] {
            let samples: Vec<String> = samples.iter().map(|ms| format!("{ms:.2}")).collect();
            println!("{count} {name}: {}", samples.join(" "));
        }
    }
    engine.end().await?;
    floor.end().await?;
    Ok(quiet)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// The value of this rank (0 to 1), nearest rank.
fn rank(values: &[f64], part: f64) -> f64 {
    let values = sorted(values);
    let at = (part * values.len() as f64).ceil() as usize;
    values
        .get(at.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The median.
fn mid(values: &[f64]) -> f64 {
    rank(values, 0.5)
}

fn guard_of(engine: u32) -> Result<u32> {
    let mut all = process::all().into_iter();
    let guard = all
        .find(|p| p.parent == engine && p.arguments.get(1).is_some_and(|word| word == "__guard"));
    Ok(guard.context("the engine has no guard")?.pid)
}

/// An engine's memory with its guard's.
fn of_engine(pid: u32) -> Result<Memory> {
    Ok(process::memory(pid)? + process::memory(guard_of(pid)?)?)
}

/// An engine without servers.
async fn alone() -> Result<Memory> {
    let side = Side::engine(0, "2").await?;
    settle().await;
    let memory = of_engine(side.pid())?;
    side.end().await?;
    Ok(memory)
}

async fn memory(table: &mut Table, empty: Memory, mut full: Vec<(u32, Memory)>) -> Result<()> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    table.section("memory of the engine with its guard");
    table.limit("RSS without servers, MiB", mib(empty.rss), 40.0, 1);
    table.note("PSS without servers, MiB", mib(empty.pss), 1);
    full.sort_by_key(|(count, _)| *count);
    for (count, memory) in &full {
        table.note(&format!("RSS with {count}, MiB"), mib(memory.rss), 1);
        table.note(&format!("PSS with {count}, MiB"), mib(memory.pss), 1);
    }
    // Slopes between the two largest: what one more costs, without what an engine costs anyway.
    if let [.., (few, less), (many, more)] = full.as_slice()
        && many > few
    {
        let each = |less: f64, more: f64| (more - less) / 1024.0 / f64::from(many - few);
        let rss = |memory: Memory| memory.rss as f64;
        let (less_bare, more_bare) = (quiet(*few).await?, quiet(*many).await?);
        let child = |(declared, running)| rss(running) - rss(declared);
        table.limit(
            "KiB a quiet child, beside rings",
            each(child(less_bare), child(more_bare)),
            16.0,
            1,
        );
        table.note(
            "KiB a server that is declared",
            each(rss(less_bare.0), rss(more_bare.0)),
            1,
        );
        table.note(
            "KiB of both with their samples",
            each(rss(*less), rss(*more)),
            1,
        );
    }
    Ok(())
}

/// Memory of an engine that keeps no samples: with `count` servers declared, and with all of them running quietly.
async fn quiet(count: u32) -> Result<(Memory, Memory)> {
    let mut side = Side::engine(count, "0").await?;
    settle().await;
    let declared = of_engine(side.pid())?;
    side.start().await?;
    settle().await;
    let running = of_engine(side.pid())?;
    side.end().await?;
    Ok((declared, running))
}

/// CPU that an engine and its guard use while nothing happens to `count` children, in percent of one core.
async fn idle(count: u32, sampling: &str, span: Duration) -> Result<f64> {
    let mut side = Side::engine(count, sampling).await?;
    side.start().await?;
    // What a start entails is over; the timer that forgets restarts is due after 30 s.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pid = side.pid();
    let guard = guard_of(pid)?;
    let used = || anyhow::Ok(process::cpu_time(pid)? + process::cpu_time(guard)?);
    let (before, begun) = (used()?, Instant::now());
    tokio::time::sleep(span).await;
    let spent = used()?.saturating_sub(before);
    let percent = spent.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    side.end().await?;
    Ok(percent)
}
