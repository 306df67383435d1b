//! The series of the live ring, kept for longer: what the charts ask beyond the ring's half hour.

use crate::{
    exposition::Kind,
    ring::SeriesKey,
    scrape::SharedStore,
    store::{
        ABSENT, Aggregate, Answer, Error, Function, Grouping, Line, MOST_POINTS, Matcher, Query,
        QueryError, Select, SeriesName, Source, is_absent,
    },
};
use flotilla_contract::{
    Millis, ServerId,
    metric::{Metric, MetricAnswer, MetricQuery, MetricSeries, Sum},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Name of the source in the store, and the label `job` of its series.
const OWN: &str = "flotilla";
/// Points of a line, when the query does not say how far they are apart.
const POINTS: u64 = 1_000;
/// No time is later: 2^53, beyond which the wire's numbers are not exact.
const LATEST: Millis = 1 << 53;
/// Distances that are taken then, in milliseconds: each a multiple of a roll-up's.
const STEPS: [u64; 11] = [
    2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 1_800_000, 3_600_000, 10_800_000,
    86_400_000,
];

/// Ticks of the live ring in a store. Cheap to clone; one writer.
#[derive(Clone, Debug)]
pub struct History {
    store: SharedStore,
    keeper: Arc<Mutex<Keeper>>,
}

#[derive(Debug)]
struct Keeper {
    source: Source,
    generation: u64,
    columns: HashMap<SeriesKey, usize>,
    row: Vec<f64>,
}

impl History {
    /// In a store.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        let source = store.lock().source(OWN);
        let keeper = Keeper {
            source,
            generation: store.lock().generation(source),
            columns: HashMap::new(),
            row: Vec::new(),
        };
        Self {
            store,
            keeper: Arc::new(Mutex::new(keeper)),
        }
    }

    /// Keeps a tick. A series that is new and finds no room is left out, and counted by the store.
    ///
    /// # Errors
    /// When the store does not take the row.
    pub fn record(&self, at: Millis, samples: &[(SeriesKey, f32)]) -> Result<(), Error> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let mut store = self.store.lock();
        let keeper = &mut *keeper;
        let generation = store.generation(keeper.source);
        if generation != keeper.generation {
            keeper.generation = generation;
            keeper.columns.clear();
        }
        keeper.row.fill(ABSENT);
        for (key, value) in samples.iter().filter(|(_, value)| value.is_finite()) {
            let column = match keeper.columns.get(key) {
                Some(column) => *column,
                None => {
                    let kind = if key.metric == Metric::Restarts {
                        Kind::Counter
                    } else {
                        Kind::Gauge
                    };
                    let column =
                        name(key).and_then(|name| store.column(keeper.source, &name, kind).ok());
                    let Some(column) = column else { continue };
                    keeper.columns.insert(key.clone(), column);
                    column
                }
            };
            if keeper.row.len() <= column {
                keeper.row.resize(column + 1, ABSENT);
            }
            keeper.row[column] = f64::from(*value);
        }
        // What had no room in the row when columns moved is not of this tick.
        let columns = store.columns(keeper.source);
        keeper.row.truncate(columns);
        store.append(keeper.source, millis(at), &keeper.row)
    }

    /// What [`Live::query`](crate::Live::query) answers, over any span that is kept. Points stand at multiples of the step and hold the mean of what follows until the next (the last value for
    /// counters). Sums are sums of the means. Without a step about a thousand points are given.
    ///
    /// # Errors
    /// When the span has too many steps, or a file cannot be read.
    pub fn query(&self, query: &MetricQuery, now: Millis) -> Result<MetricAnswer, QueryError> {
        let to = query.to.unwrap_or(now).min(LATEST);
        let from = query.from.unwrap_or(to.saturating_sub(30 * 60_000)).min(to);
        let fitting = || {
            STEPS
                .iter()
                .copied()
                .find(|step| (to - from) / step <= POINTS)
        };
        let step = query
            .step
            .or_else(fitting)
            .unwrap_or(86_400_000)
            .clamp(1, LATEST);
        let (first, last) = (from / step * step, to / step * step);
        let points = (last - first) / step + 1;
        if points > MOST_POINTS.unsigned_abs() {
            return Err(QueryError::Points(millis(points)));
        }
        let mut answer = MetricAnswer {
            times: (first..=last)
                .step_by(usize::try_from(step).unwrap_or(usize::MAX))
                .collect(),
            step,
            series: Vec::new(),
        };
        let mut metrics = query.metrics.clone();
        metrics.sort_unstable();
        metrics.dedup();
        for metric in metrics {
            let asked = Query {
                select: select(metric, query.server.as_ref()),
                // A point is what ends just before the next.
                from: millis(first + step) - 1,
                to: millis(last + step) - 1,
                step: millis(step),
                function: if metric == Metric::Restarts {
                    Function::Last
                } else {
                    Function::Mean
                },
                range: (millis(step) - 1).max(1),
                grouping: grouping(metric, query.sum),
                quantile: None,
            };
            let (from, to, width) = asked.needs();
            // The lock is for the look, not for the reading.
            let selection = self.store.lock().select(&asked.select, from, to, width);
            let Answer { lines, .. } = asked.answer(&selection)?;
            let mut lines: Vec<MetricSeries> =
                lines.into_iter().map(|line| series(metric, line)).collect();
            lines.sort_by(|a, b| (&a.server, a.instance).cmp(&(&b.server, b.instance)));
            answer.series.append(&mut lines);
        }
        Ok(answer)
    }
}

fn name(key: &SeriesKey) -> Option<SeriesName> {
    let labels = [
        ("instance", key.instance.index.to_string().into()),
        ("job", OWN.into()),
        ("server", key.instance.server.as_str().into()),
    ];
    SeriesName::new(&word(key.metric), labels).ok()
}

fn select(metric: Metric, server: Option<&ServerId>) -> Select {
    let mut select = Select::metric(&word(metric)).with("job", OWN);
    if let Some(server) = server {
        select.labels.push(Matcher {
            label: "server".into(),
            is: true,
            values: vec![server.to_string()],
        });
    }
    select
}

fn grouping(metric: Metric, sum: Sum) -> Option<Grouping> {
    let by = match sum {
        Sum::None => return None,
        Sum::Server => vec!["server".to_owned()],
        Sum::All => Vec::new(),
    };
    let aggregate = if crate::query::is_additive(metric) {
        Aggregate::Sum
    } else {
        Aggregate::Max
    };
    Some(Grouping { aggregate, by })
}

fn series(metric: Metric, line: Line) -> MetricSeries {
    #[expect(clippy::cast_possible_truncation, reason = "the wire carries f32")]
    let values = line
        .values
        .iter()
        .map(|v| (!is_absent(*v)).then_some(*v as f32));
    MetricSeries {
        metric,
        server: line
            .name
            .label("server")
            .and_then(|server| server.parse().ok()),
        instance: line
            .name
            .label("instance")
            .and_then(|index| index.parse().ok()),
        values: values.collect(),
    }
}

/// `flotilla_cpu_percent` and so on: the contract's own words.
fn word(metric: Metric) -> String {
    let word = match metric {
        Metric::CpuPercent => "cpu_percent",
        Metric::RssBytes => "rss_bytes",
        Metric::OpenFiles => "open_files",
        Metric::Threads => "threads",
        Metric::Children => "children",
        Metric::Restarts => "restarts_total",
        Metric::Health => "health",
        Metric::CallsPerSecond => "calls_per_second",
        Metric::CallErrorPercent => "call_error_percent",
        Metric::CallP50Ms => "call_p50_ms",
        Metric::CallP95Ms => "call_p95_ms",
        Metric::CallP99Ms => "call_p99_ms",
        Metric::CallsCachedPerSecond => "calls_cached_per_second",
        Metric::CallsRefusedPerSecond => "calls_refused_per_second",
        Metric::CallsInFlight => "calls_in_flight",
    };
    format!("{OWN}_{word}")
}

fn millis(time: Millis) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Live,
        store::{Options, Store},
    };
    use std::time::Duration;

    /// Whole minutes, so that both sides' steps stand at the same times.
    const START: Millis = 1_700_000_040_000;

    #[test]
    fn history_answers_what_the_ring_does_and_remembers_what_the_ring_forgot() {
        let folder = tempfile::tempdir().unwrap();
        let store = SharedStore::new(Store::open(Options::new(folder.path())).unwrap());
        let history = History::new(store.clone());
        let live = Live::new(&crate::Options {
            interval: Duration::from_secs(2),
            ..Default::default()
        });
        let key = |metric, instance: &str| SeriesKey {
            metric,
            instance: instance.parse().unwrap(),
        };
        let ticks = 3_000_u64;
        for i in 0..ticks {
            let mut tick = vec![
                (key(Metric::CpuPercent, "a#1"), (i % 50) as f32),
                (key(Metric::CpuPercent, "a#2"), 10.0),
                (key(Metric::Restarts, "a#1"), (i / 100) as f32),
                (key(Metric::CallP95Ms, "a#1"), 5.0),
                (key(Metric::CallP95Ms, "b#1"), (i % 30) as f32),
            ];
            if i % 500 > 450 {
                tick.remove(1);
            }
            live.record(START + 2_000 * i, &tick);
            history.record(START + 2_000 * i, &tick).unwrap();
        }
        let end = START + 2_000 * ticks;
        let ask = |sum, server: Option<&str>, from| MetricQuery {
            metrics: vec![Metric::Restarts, Metric::CpuPercent, Metric::CallP95Ms],
            server: server.map(|s| s.parse().unwrap()),
            from: Some(from),
            to: Some(end - 1),
            step: Some(60_000),
            sum,
        };
        for (sum, server) in [
            (Sum::None, None),
            (Sum::None, Some("b")),
            (Sum::Server, Some("a")),
        ] {
            let query = ask(sum, server, end - 25 * 60_000);
            let (mut ring, kept) = (live.query(&query), history.query(&query, end).unwrap());
            // The mean of sums is the sum of means but where an instance comes or goes.
            if sum == Sum::Server {
                ring.series.retain(|s| s.metric != Metric::CpuPercent);
            }
            let mut same = kept.clone();
            if sum == Sum::Server {
                same.series.retain(|s| s.metric != Metric::CpuPercent);
            }
            assert_eq!(same, ring, "{sum:?} {server:?}");
        }
        // The first minute is long out of the ring, and survives the files' ways.
        store.lock().checkpoint().unwrap();
        let first = history.query(&ask(Sum::All, None, START), end).unwrap();
        assert_eq!((first.times[0], first.times.len()), (START, 100));
        let shown: Vec<_> = first
            .series
            .iter()
            .map(|s| (s.metric, s.values[0]))
            .collect();
        assert_eq!(
            shown,
            [
                (Metric::CpuPercent, Some(24.5)),
                (Metric::Restarts, Some(0.0)),
                (Metric::CallP95Ms, Some(14.5))
            ]
        );
        let unsaid = history
            .query(
                &MetricQuery {
                    step: None,
                    ..ask(Sum::All, None, START)
                },
                end,
            )
            .unwrap();
        assert_eq!(unsaid.step, 10_000);
    }
}
