//! What sampling, recording and querying cost, parsing pages, and the store: `cargo xtask bench metrics`.
//!
//! 200 idle processes are started and sampled again and again, open files included, CPU time of this process counted by
//! the kernel. Target: at most 30 µs of CPU per process and sampling.

mod exposition;
mod prometheus;
mod store;

use flotilla_contract::metric::{Metric, MetricQuery, Sum};
use flotilla_metrics::{Live, Options, Sampler, SeriesKey};
use flotilla_os::{ProcessTable, open_files};
use std::{
    process::{Child, Command, Stdio},
    time::Instant,
};

const PROCESSES: usize = 200;
/// Instances of a large fleet, of which a tick is made.
const INSTANCES: usize = 1_000;
const ROUNDS: u32 = 200;
const TARGET_US: f64 = 30.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|argument| argument == prometheus::SERVE) {
        return prometheus::serve();
    }
    exposition::run();
    store::run()?;
    prometheus::run()?;
    live()?;
    Ok(())
}

fn live() -> std::io::Result<()> {
    let mut children = Children(Vec::new());
    for _ in 0..PROCESSES {
        children.0.push(
            Command::new("sleep")
                .arg("600")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()?,
        );
    }
    let roots: Vec<u32> = children.0.iter().map(Child::id).collect();

    let mut sampler = Sampler::new(&ProcessTable::read(), Instant::now());
    let mut seen = 0;
    let machine = ProcessTable::read().processes.len();
    let (cpu, wall) = timed(ROUNDS, || {
        let samples = sampler.sample(&ProcessTable::read(), Instant::now(), &roots, open_files);
        seen += samples.iter().flatten().count();
    });
    assert_eq!(
        seen,
        PROCESSES * ROUNDS as usize,
        "every process is in every sample"
    );
    let each = cpu / PROCESSES as f64;
    println!("sampling {PROCESSES} of {machine} processes, open files included:");
    println!(
        "  {cpu:.0} µs of CPU ({wall:.0} µs of wall time) per sampling, {each:.1} µs per process"
    );
    println!(
        "  {:.3} % of one core at an interval of 2 s",
        cpu / 2e6 * 100.0
    );
    println!(
        "  target {TARGET_US} µs per process: {}",
        if each <= TARGET_US { "met" } else { "missed" }
    );

    let metrics = [
        Metric::CpuPercent,
        Metric::RssBytes,
        Metric::OpenFiles,
        Metric::Threads,
        Metric::Children,
        Metric::Restarts,
        Metric::Health,
    ];
    let instances = (0..INSTANCES).filter_map(|i| format!("server-{i}#1").parse().ok());
    let keys: Vec<_> = instances
        .flat_map(|instance: flotilla_contract::InstanceId| {
            metrics.map(|metric| SeriesKey {
                metric,
                instance: instance.clone(),
            })
        })
        .collect();
    let samples: Vec<_> = keys
        .into_iter()
        .zip((0..100).cycle())
        .map(|(key, i)| (key, i as f32))
        .collect();
    let live = Live::new(&Options::default());
    let mut at = 1_700_000_000_000;
    let mut bytes = 0;
    let (cpu, _) = timed(900, || {
        at += 2_000;
        bytes = live.record(at, &samples).frame.len();
    });
    println!(
        "recording a tick of {INSTANCES} instances, {} series, and writing it for all screens: {:.2} ms of CPU (target 10), {bytes} bytes",
        samples.len(),
        cpu / 1e3
    );

    let query = |sum, step| MetricQuery {
        metrics: metrics.to_vec(),
        server: None,
        from: None,
        to: None,
        step,
        sum,
        spread: false,
    };
    for (name, query) in [
        (
            "half an hour of all series, summed over all",
            query(Sum::All, None),
        ),
        ("half an hour of all series", query(Sum::None, None)),
        (
            "half an hour of all series by minute",
            query(Sum::None, Some(60_000)),
        ),
    ] {
        let (cpu, _) = timed(10, || drop(std::hint::black_box(live.query(&query))));
        println!("query, {name}: {:.2} ms", cpu / 1e3);
    }
    Ok(())
}

/// CPU and wall time of one round, in microseconds.
pub(crate) fn timed(rounds: u32, mut round: impl FnMut()) -> (f64, f64) {
    let (cpu, wall) = (cpu_ns(), Instant::now());
    (0..rounds).for_each(|_| round());
    let wall = wall.elapsed().as_nanos() as f64 / f64::from(rounds) / 1e3;
    let cpu = match (cpu, cpu_ns()) {
        (Some(before), Some(after)) => (after - before) as f64 / f64::from(rounds) / 1e3,
        _ => wall,
    };
    (cpu, wall)
}

/// CPU time of this thread as the scheduler counts it, where the platform says so.
fn cpu_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Ends its processes with itself.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
