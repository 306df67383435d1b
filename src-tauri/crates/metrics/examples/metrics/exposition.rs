//! Parsing a page of 10,000 series, beside `prometheus-parse` and two floors.

use flotilla_metrics::exposition::{Entry, Format, parse};
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    hint::black_box,
    time::{Duration, Instant},
};

/// A page as a program with many series gives it: fifty families, four kinds of values.
pub(crate) fn page(series: usize, round: u64) -> String {
    let mut page = String::new();
    for family in 0..50 {
        let kind = family % 4;
        let word = ["counter", "gauge", "float", "const"][kind];
        let ending = if kind == 0 { "_total" } else { "" };
        let name = format!("mcp_perf_metric_{family}_{word}{ending}");
        let said = if kind == 0 { "counter" } else { "gauge" };
        page += &format!("# HELP {name} A metric of the bench.\n# TYPE {name} {said}\n");
        for i in (family..series).step_by(50) {
            let value = value(kind, i as u64, round);
            let (server, port) = (i / 50, 9000 + i % 100);
            page += &format!(
                "{name}{{server=\"server-{server:04}\",instance=\"127.0.0.1:{port}\",method=\"tools/call\"}} {value}\n"
            );
        }
    }
    page
}

/// Values of the anchors: a counter (+0 to 200), a walk (±50), three decimals around 100, a constant.
pub(crate) fn value(kind: usize, series: u64, round: u64) -> f64 {
    let noise = |round: u64| {
        let mut n = (series << 32 | round).wrapping_add(0x9e37_79b9_7f4a_7c15);
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    };
    let sum = |width: u64| (0..round).map(|r| noise(r) % width).sum::<u64>();
    match kind {
        0 => (series * 997 % 1_000_000 + sum(201)) as f64,
        1 => (series * 997 % 1_000_000 + 50 * 600 + sum(101)) as f64 - 50.0 * round as f64,
        2 => {
            // The sum of twelve even draws is near enough to a normal one.
            let draws: f64 = (0..12)
                .map(|i| (noise(round * 16 + i) >> 11) as f64 / (1_u64 << 53) as f64)
                .sum();
            ((100.0 + 15.0 * (draws - 6.0)) * 1e3).round() / 1e3
        }
        _ => (series * 997 % 1_000_000) as f64,
    }
}

/// What a hand-written scan can do at best: series and value found, the value parsed, nothing checked; and, with `hash`, the series hashed.
fn floor(page: &str, hash: Option<&RandomState>) -> usize {
    let (mut count, mut sum, mut all) = (0, 0.0, 0);
    for line in page
        .as_bytes()
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty() && l[0] != b'#')
    {
        let end = memchr::memrchr(b'}', line).map_or(0, |at| at + 1);
        let value = std::str::from_utf8(&line[end + 1..]).unwrap_or_default();
        sum += value.parse().unwrap_or(0.0);
        if let Some(hash) = hash {
            let mut hasher = hash.build_hasher();
            hasher.write(&line[..end]);
            all ^= hasher.finish();
        }
        count += 1;
    }
    black_box((sum, all));
    count
}

fn entries(page: &str) -> usize {
    let mut sum = 0.0;
    let samples = parse(page, Format::Text).filter(|entry| match entry {
        Ok(Entry::Sample(sample)) => {
            sum += sample.value;
            true
        }
        _ => false,
    });
    let count = samples.count();
    black_box(sum);
    count
}

fn looked_up(page: &str, known: &HashMap<&str, usize>) -> usize {
    let samples = parse(page, Format::Text).filter_map(|entry| match entry {
        Ok(Entry::Sample(sample)) => known.get(sample.series),
        _ => None,
    });
    samples.count()
}

/// As a scrape does it: the order of the page before is known.
fn followed(page: &str, order: &[&str]) -> usize {
    let mut walk = parse(page, Format::Text);
    let mut sum = 0.0;
    for series in order {
        loop {
            match walk.sample_of(series) {
                Some(value) => {
                    sum += value.unwrap_or(0.0);
                    break;
                }
                None => drop(walk.next()),
            }
        }
    }
    black_box(sum);
    order.len()
}

pub(crate) fn run() {
    let real = include_str!("../../src/exposition/pages/prometheus.txt");
    for (name, page) in [
        ("10,000 series", page(10_000, 5)),
        ("Prometheus's own page", real.to_owned()),
    ] {
        let order: Vec<&str> = parse(&page, Format::Text)
            .filter_map(|entry| match entry {
                Ok(Entry::Sample(sample)) => Some(sample.series),
                _ => None,
            })
            .collect();
        let known: HashMap<&str, usize> = order.iter().enumerate().map(|(i, s)| (*s, i)).collect();
        let hash = RandomState::new();
        let theirs = |page: &str| {
            let lines = page.lines().map(|line| Ok(line.to_owned()));
            prometheus_parse::Scrape::parse(lines).map_or(0, |scrape| scrape.samples.len())
        };
        println!(
            "parsing {name}: {} bytes, {} samples",
            page.len(),
            order.len()
        );
        let base = each(|| theirs(&page));
        println!("  {base:8.1} ns a sample  prometheus-parse");
        let rows: [(&str, &dyn Fn() -> usize); 5] = [
            ("every entry, all checked", &|| entries(&page)),
            ("and its series looked up by text", &|| {
                looked_up(&page, &known)
            }),
            ("as a scrape: the order is known", &|| {
                followed(&page, &order)
            }),
            ("floor: values found and parsed", &|| floor(&page, None)),
            ("floor, series hashed", &|| floor(&page, Some(&hash))),
        ];
        for (name, row) in rows {
            let ns = each(row);
            println!("  {ns:8.1} ns a sample  {name} ({:.0} x)", base / ns);
        }
    }
}

/// Nanoseconds for each of what a round counts: the median of five.
fn each(round: impl Fn() -> usize) -> f64 {
    let mut all: Vec<f64> = (0..5)
        .map(|_| {
            let (start, mut count) = (Instant::now(), 0);
            while start.elapsed() < Duration::from_millis(150) {
                count += round();
            }
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[2]
}
