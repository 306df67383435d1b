//! The rounds.

use crate::{
    roles::Role,
    rows::{self, Row},
    table, targets,
};
use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use flotilla_tests::load::process;
use std::{
    fs,
    process::ExitCode,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

/// After all rows are ready, before their memory counts as idle.
const SETTLE: Duration = Duration::from_secs(2);
/// From the last call to the memory that is left.
const AFTER: Duration = Duration::from_secs(5);

/// What it costs to reach a server through the gateway, beside reaching it directly and beside bare hops.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Rounds; all rows take turns in each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds in which calls count, for each row, load and round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Seconds of calls before those
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// These rows only, and the direct one
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    pub(crate) only: Vec<String>,
    /// Measure this too, which runs already and forwards to the echo server's port
    #[arg(long, value_name = "NAME=URL")]
    pub(crate) peer: Vec<String>,
    /// Port of the echo server; 0 means any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) echo_port: u16,
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// A load: so many sessions, a text of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    OneSmall,
    OneLarge,
    ManySmall,
    ManyLarge,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] = [
        Self::OneSmall,
        Self::OneLarge,
        Self::ManySmall,
        Self::ManyLarge,
    ];

    pub(crate) const fn sessions(self) -> usize {
        match self {
            Self::OneSmall | Self::OneLarge => 1,
            Self::ManySmall | Self::ManyLarge => 32,
        }
    }

    pub(crate) const fn payload(self) -> usize {
        match self {
            Self::OneSmall | Self::ManySmall => 200,
            Self::OneLarge | Self::ManyLarge => 64 << 10,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneSmall => "1 session, 200 B",
            Self::OneLarge => "1 session, 64 KiB",
            Self::ManySmall => "32 sessions, 200 B",
            Self::ManyLarge => "32 sessions, 64 KiB",
        }
    }
}

/// What a row did under a load in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Calls per second.
    pub(crate) rate: f64,
    /// Microseconds of CPU that the row's processes used for a call.
    pub(crate) cpu: f64,
    /// The most memory they held, in bytes.
    pub(crate) peak: u64,
}

/// What a row did in all.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    /// Whether its processes are known.
    pub(crate) own: bool,
    rounds: [Vec<Round>; Shape::ALL.len()],
    /// Resident memory before and after, in bytes.
    pub(crate) idle: u64,
    pub(crate) after: u64,
    /// Why it could not be measured to the end.
    pub(crate) failed: Option<String>,
}

impl Measured {
    pub(crate) fn new(name: &str, own: bool) -> Self {
        Self {
            name: name.to_owned(),
            own,
            rounds: Default::default(),
            idle: 0,
            after: 0,
            failed: None,
        }
    }

    pub(crate) fn add(&mut self, shape: Shape, round: Round) {
        self.rounds[shape as usize].push(round);
    }

    pub(crate) fn rounds(&self, shape: Shape) -> &[Round] {
        &self.rounds[shape as usize]
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, shape: Shape, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds(shape).iter().map(figure).collect())
    }

    /// The median of the ratios to another row, each within a round.
    pub(crate) fn ratio(
        &self,
        to: &Self,
        shape: Shape,
        figure: impl Fn(&Round) -> f64 + Copy,
    ) -> f64 {
        let pairs = self.rounds(shape).iter().zip(to.rounds(shape));
        median(
            pairs
                .map(|(ours, theirs)| figure(ours) / figure(theirs))
                .collect(),
        )
    }

    pub(crate) fn peak(&self, shape: Shape) -> u64 {
        let peaks = self.rounds(shape).iter().map(|round| round.peak);
        peaks.max().unwrap_or(0)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => f64::NAN,
        (half, 0) => f64::midpoint(values[half - 1], values[half]),
        (half, _) => values[half],
    }
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    // One thread for all callers: on few cores they must not take more from the others than they need.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &Args) -> Result<ExitCode> {
    println!(
        "{} cores, {}, load {}; {} rounds of {} s for each row and load",
        std::thread::available_parallelism()?,
        one_line("/proc/sys/kernel/osrelease")?,
        one_line("/proc/loadavg")?,
        args.rounds,
        args.seconds,
    );
    let rows = rows::start(args).await?;
    tokio::time::sleep(SETTLE).await;
    let mut measured: Vec<Measured> = rows
        .iter()
        .map(|row| {
            let pids = row.pids();
            let mut measured = Measured::new(&row.name, !pids.is_empty());
            measured.idle = resident(&pids);
            measured
        })
        .collect();
    for round in 1..=args.rounds {
        for shape in Shape::ALL {
            for (row, measured) in rows.iter().zip(&mut measured) {
                if measured.failed.is_some() {
                    continue;
                }
                match one(args, row, shape).await {
                    Ok(figures) => measured.add(shape, figures),
                    Err(error) => {
                        let error =
                            error.context(format!("round {round}, {}: failed", shape.name()));
                        ensure!(row.name != rows::DIRECT, error);
                        measured.failed = Some(format!("{error:#}"));
                    }
                }
            }
        }
    }
    tokio::time::sleep(AFTER).await;
    for (row, measured) in rows.iter().zip(&mut measured) {
        measured.after = resident(&row.pids());
    }
    println!("{}", table::Table(&measured));
    let verdicts = targets::judge(&measured);
    for verdict in &verdicts {
        println!("{verdict}");
    }
    for measured in &measured {
        if let Some(why) = &measured.failed {
            println!("{}: {why}", measured.name);
        }
    }
    println!("load {} at the end", one_line("/proc/loadavg")?);
    for row in rows {
        row.end().await?;
    }
    let missed = verdicts.iter().filter(|verdict| !verdict.met()).count();
    if missed > 0 {
        println!("{missed} targets missed");
    }
    let failed = measured.iter().any(|measured| measured.failed.is_some());
    Ok(if missed > 0 || failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// One row under one load.
async fn one(args: &Args, row: &Row, shape: Shape) -> Result<Round> {
    let mut load = row.load(shape.sessions(), shape.payload());
    load.warm_up = Duration::try_from_secs_f64(args.warm_up).context("--warm-up")?;
    load.span = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let before = cpu(&row.pids());
    let peak = Peak::of(row.pids());
    let outcome = load.run().await;
    let peak = peak.end();
    let outcome = outcome?;
    let used = cpu(&row.pids()).saturating_sub(before);
    Ok(Round {
        p50: outcome.quantile(0.5),
        p99: outcome.quantile(0.99),
        rate: outcome.rate(),
        cpu: used.as_secs_f64() * 1e6 / outcome.calls as f64,
        peak,
    })
}

fn cpu(pids: &[u32]) -> Duration {
    // What has ended meanwhile counts for nothing.
    let times = pids.iter().filter_map(|pid| process::cpu_time(*pid).ok());
    times.sum()
}

fn resident(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| process::resident(*pid)).sum()
}

/// Looks at the memory of processes ten times a second.
struct Peak {
    stop: Sender<()>,
    looking: JoinHandle<u64>,
}

impl Peak {
    fn of(pids: Vec<u32>) -> Self {
        let (stop, stopped) = channel();
        let looking = std::thread::spawn(move || {
            let mut peak = 0;
            loop {
                peak = peak.max(resident(&pids));
                match stopped.recv_timeout(Duration::from_millis(100)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return peak,
                }
            }
        });
        Self { stop, looking }
    }

    fn end(self) -> u64 {
        drop(self.stop);
        self.looking.join().unwrap_or(0)
    }
}

fn one_line(path: &str) -> Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}
