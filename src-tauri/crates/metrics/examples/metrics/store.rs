//! Storing and reading: what a row of 10,000 series costs, bytes on disk, 24 hours of 50 series.

use crate::{exposition, timed};
use flotilla_metrics::{
    exposition::Format,
    scrape::{Reader, Target},
    store::{Function, Options, Query, Select, SeriesName, Store},
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Prometheus 2.42's compacted chunks on the same values, bytes a sample (promtool, 250 series of 480 samples at 15 s).
const PROMETHEUS: [f64; 4] = [2.33, 1.84, 7.26, 0.45];

pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("flotilla-bench-{}", std::process::id()));
    let done = pages(&folder.join("pages"))
        .and_then(|()| sizes(&folder.join("sizes")))
        .and_then(|()| queries(&folder.join("queries")));
    std::fs::remove_dir_all(&folder)?;
    done
}

fn pages(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let rounds: Vec<String> = (0..16)
        .map(|round| exposition::page(10_000, round))
        .collect();
    let idle = resident();
    let mut store = Store::open(Options::new(folder))?;
    let mut reader = Reader::new(&Target::new("bench", "target", ""), &mut store);
    let mut at = 1_700_000_000_000;
    let mut take = |store: &mut Store, i: usize| {
        at += 1_000;
        reader.take(
            store,
            at,
            Duration::ZERO,
            Ok((&rounds[i % 16], Format::Text)),
        )
    };
    let first = Instant::now();
    take(&mut store, 0)?;
    let first = first.elapsed();
    let mut walls = Vec::new();
    let mut i = 0;
    let (cpu, _) = timed(480, || {
        let start = Instant::now();
        i += 1;
        let _ = take(&mut store, i);
        walls.push(start.elapsed().as_secs_f64() * 1e3);
    });
    walls.sort_by(f64::total_cmp);
    println!("taking in a page of 10,000 series, from its text to the log:");
    println!(
        "  the first {:.2} ms, then p50 {:.2} ms, p99 {:.2} ms (the head becomes a page), {:.2} ms of CPU",
        first.as_secs_f64() * 1e3,
        walls[240],
        walls[475],
        cpu / 1e3
    );
    let stats = store.stats();
    println!(
        "  memory {:.1} MiB over idle (rows {:.1}); log {:.1} bytes a sample",
        resident().saturating_sub(idle) as f64 / 1048576.0,
        stats.memory as f64 / 1048576.0,
        stats.log as f64 / (481.0 * 10_000.0)
    );
    Ok(())
}

fn sizes(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "bytes a sample on disk, 250 series of 480 samples at 15 s (Prometheus: compacted chunks, without its index):"
    );
    for (kind, name) in ["counter", "walk", "three decimals", "constant"]
        .into_iter()
        .enumerate()
    {
        let mut store = Store::open(Options::new(&folder.join(name)))?;
        let source = store.source("bench");
        for i in 0..250 {
            let name = SeriesName::new("x", [("i", i.to_string().into())])?;
            store.column(source, &name, Default::default())?;
        }
        for round in 0..480 {
            let row: Vec<f64> = (0..250)
                .map(|i| exposition::value(kind, i, round))
                .collect();
            store.append(source, 1_700_000_000_000 + 15_000 * round as i64, &row)?;
        }
        store.checkpoint()?;
        let bytes = store.stats().levels[0] as f64 / (250.0 * 480.0);
        println!(
            "  {name:<16}{bytes:.2} (Prometheus {:.2}, {:.2} x)",
            PROMETHEUS[kind],
            bytes / PROMETHEUS[kind]
        );
    }
    Ok(())
}

fn queries(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut store = Store::open(Options::new(folder))?;
    let source = store.source("bench");
    for i in 0..50 {
        let name = SeriesName::new("x_total", [("i", i.to_string().into())])?;
        store.column(source, &name, Default::default())?;
    }
    let start = 1_700_000_000_000;
    let mut totals = [0.0; 50];
    for round in 0..5_760 {
        for (i, total) in totals.iter_mut().enumerate() {
            *total += exposition::value(2, i as u64, round).round();
        }
        store.append(source, start + 15_000 * round as i64, &totals)?;
    }
    let end = start + 86_400_000;
    for (name, function, range) in [
        ("the values", Function::Last, 300_000),
        ("rates over 5 min", Function::Rate, 300_000),
    ] {
        let query = Query {
            select: Select::metric("x_total"),
            from: start,
            to: end,
            step: 60_000,
            function,
            range,
            grouping: None,
            quantile: None,
        };
        let (from, to, _) = query.needs();
        let mut lines = 0;
        let (cpu, _) = timed(20, || {
            let selection = store.select(&query.select, from, to, 0);
            lines = query
                .answer(&selection)
                .map_or(0, |answer| answer.lines.len());
        });
        println!(
            "24 hours of {lines} series at 15 s, by minute, {name}: {:.1} ms",
            cpu / 1e3
        );
    }
    Ok(())
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
