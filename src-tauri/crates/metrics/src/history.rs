//! The series of the live ring, kept for longer: what the charts ask beyond the ring's half hour.

use crate::{
    exposition::Kind,
    query::{has_spread, is_additive, is_counter},
    ring::SeriesKey,
    scrape::SharedStore,
    store::{
        ABSENT, AT_ONCE, Aggregate, Error, Function, Grouping, Line, MOST_POINTS, Matcher, Query,
        QueryError, Select, SeriesName, Source, is_absent,
    },
};
use flotilla_contract::{
    InstanceId, Millis, ServerId,
    metric::{Metric, MetricAnswer, MetricQuery, MetricSeries, Sum},
};
use std::{
    collections::HashMap,
    hash::Hash,
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// Name of the source in the store, and the label `job` of its series.
const OWN: &str = "flotilla";
/// Name of the source of what is known of single tools.
const TOOLS: &str = "flotilla tools";
/// Name of the source of what is written for rules of alerts.
const FACTS: &str = "flotilla facts";
/// Name of the source of what is known of the machine.
const HOST: &str = "flotilla host";
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
    keeper: Arc<Mutex<Keeper<SeriesKey>>>,
    tools: Arc<Mutex<Keeper<ToolKey>>>,
    facts: Arc<Mutex<Keeper<Fact>>>,
    host: Arc<Mutex<Keeper<&'static str>>>,
}

/// What is known of a single tool of a server: a metric of calls, kept in the store alone, as `flotilla_tool_` and its word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToolKey {
    /// What it measures.
    pub metric: Metric,
    /// Whose tool.
    pub server: ServerId,
    /// The server's own name of it.
    pub tool: String,
}

/// What is known at the moment at which rules of alerts are evaluated, kept in the store alone, as `flotilla_` and its word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    word: &'static str,
    server: ServerId,
    /// A second label: its name and its value.
    part: (&'static str, String),
    counts: bool,
}

impl Fact {
    /// Of an instance.
    #[must_use]
    pub fn of_instance(word: &'static str, of: &InstanceId) -> Self {
        Self {
            word,
            server: of.server.clone(),
            part: ("instance", of.index.to_string()),
            counts: false,
        }
    }

    /// Of a tool; an empty name stands for the whole server.
    #[must_use]
    pub fn of_tool(word: &'static str, server: &ServerId, tool: &str) -> Self {
        Self {
            word,
            server: server.clone(),
            part: ("tool", tool.to_owned()),
            counts: false,
        }
    }

    /// A counter of a server.
    #[must_use]
    pub fn counted(word: &'static str, server: &ServerId) -> Self {
        Self {
            counts: true,
            ..Self::of_tool(word, server, "")
        }
    }
}

/// Ticks that were kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// Their times, oldest first.
    pub times: Vec<Millis>,
    /// The series that have a value, each with one per time; NaN where there is none.
    pub series: Vec<(SeriesKey, Vec<f32>)>,
}

/// Puts samples into the columns of a source.
#[derive(Debug)]
struct Keeper<K> {
    source: Source,
    generation: u64,
    columns: HashMap<K, usize>,
    row: Vec<f64>,
}

impl<K: Clone + Eq + Hash> Keeper<K> {
    fn of(store: &SharedStore, name: &str) -> Arc<Mutex<Self>> {
        let mut store = store.lock();
        let source = store.source(name);
        Arc::new(Mutex::new(Self {
            source,
            generation: store.generation(source),
            columns: HashMap::new(),
            row: Vec::new(),
        }))
    }

    fn record(
        &mut self,
        store: &SharedStore,
        at: Millis,
        samples: &[(K, f32)],
        name: impl Fn(&K) -> Option<(SeriesName, Kind)>,
    ) -> Result<(), Error> {
        let mut store = store.lock();
        let generation = store.generation(self.source);
        if generation != self.generation {
            self.generation = generation;
            self.columns.clear();
        }
        self.row.fill(ABSENT);
        for (key, value) in samples.iter().filter(|(_, value)| value.is_finite()) {
            let column = match self.columns.get(key) {
                Some(column) => *column,
                None => {
                    let column = name(key)
                        .and_then(|(name, kind)| store.column(self.source, &name, kind).ok());
                    let Some(column) = column else { continue };
                    self.columns.insert(key.clone(), column);
                    column
                }
            };
            if self.row.len() <= column {
                self.row.resize(column + 1, ABSENT);
            }
            self.row[column] = f64::from(*value);
        }
        // What had no room in the row when columns moved is not of this tick.
        let columns = store.columns(self.source);
        self.row.truncate(columns);
        store.append(self.source, millis(at), &self.row)
    }
}

impl History {
    /// In a store.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self {
            keeper: Keeper::of(&store, OWN),
            tools: Keeper::of(&store, TOOLS),
            facts: Keeper::of(&store, FACTS),
            host: Keeper::of(&store, HOST),
            store,
        }
    }

    /// Keeps a tick. A series that is new and finds no room is left out, and counted by the store.
    ///
    /// # Errors
    /// When the store does not take the row.
    pub fn record(&self, at: Millis, samples: &[(SeriesKey, f32)]) -> Result<(), Error> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.record(&self.store, at, samples, |key| {
            let kind = if is_counter(key.metric) {
                Kind::Counter
            } else {
                Kind::Gauge
            };
            Some((name(key)?, kind))
        })
    }

    /// Keeps what is known of single tools at a tick, as [`record`](Self::record) does. Ticks without any are kept once, as the end of
    /// all lines, and then no more until there is something to keep.
    ///
    /// # Errors
    /// When the store does not take the row.
    pub fn record_tools(&self, at: Millis, samples: &[(ToolKey, f32)]) -> Result<(), Error> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.is_empty() && tools.row.iter().all(|value| is_absent(*value)) {
            return Ok(());
        }
        tools.record(&self.store, at, samples, |key| {
            let labels = [
                ("job", OWN.into()),
                ("server", key.server.as_str().into()),
                ("tool", key.tool.as_str().into()),
            ];
            let name = format!("{OWN}_tool_{}", bare_word(key.metric));
            Some((SeriesName::new(&name, labels).ok()?, Kind::Gauge))
        })
    }

    /// Keeps what rules of alerts ask for, as [`record`](Self::record) does.
    ///
    /// # Errors
    /// When the store does not take the row.
    pub fn record_facts(&self, at: Millis, samples: &[(Fact, f32)]) -> Result<(), Error> {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.record(&self.store, at, samples, |fact| {
            let labels = [
                ("job", OWN.into()),
                ("server", fact.server.as_str().into()),
                (fact.part.0, fact.part.1.as_str().into()),
            ];
            let kind = if fact.counts {
                Kind::Counter
            } else {
                Kind::Gauge
            };
            let name = format!("{OWN}_{}", fact.word);
            Some((SeriesName::new(&name, labels).ok()?, kind))
        })
    }

    /// Keeps what is known of the machine at a tick: gauges by their words, as `flotilla_host_` and the word.
    ///
    /// # Errors
    /// When the store does not take the row.
    pub fn record_host(&self, at: Millis, samples: &[(&'static str, f32)]) -> Result<(), Error> {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        host.record(&self.store, at, samples, |word| {
            let name = format!("{OWN}_host_{word}");
            Some((
                SeriesName::new(&name, [("job", OWN.into())]).ok()?,
                Kind::Gauge,
            ))
        })
    }

    /// The ticks from a time on, as [`Live::restore`](crate::Live::restore) takes them. It reads from the disk.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn recall(&self, from: Millis) -> io::Result<Recalled> {
        let own = Select::default().with("job", OWN);
        // The lock is for the look, not for the reading.
        let selection = self.store.lock().select(&own, millis(from), i64::MAX, 0);
        let times = selection.times()?;
        let mut series = Vec::new();
        for names in selection.series.chunks(AT_ONCE) {
            for (picked, points) in names.iter().zip(selection.read(names)?) {
                // Another version may have kept what this one does not know.
                let Some(key) = key(&picked.name) else {
                    continue;
                };
                let mut values = vec![f32::NAN; times.len()];
                for (time, value) in points.raw.iter().filter(|(_, value)| !is_absent(*value)) {
                    if let Ok(slot) = times.binary_search(time) {
                        values[slot] = narrow(*value);
                    }
                }
                if values.iter().any(|value| value.is_finite()) {
                    series.push((key, values));
                }
            }
        }
        let times = times.iter().map(|time| time.cast_unsigned()).collect();
        Ok(Recalled { times, series })
    }

    /// What [`Live::query`](crate::Live::query) answers, over any span that is kept. Points stand at multiples of the step and hold the mean of what follows until the next (the last value for
    /// counters). Sums are sums of the means. Without a step about a thousand points are given. `interval` is
    /// the distance of ticks, in milliseconds: a step is at least twice as wide, so that each has a tick also where ticks are not quite even.
    ///
    /// # Errors
    /// When the span has too many steps, or a file cannot be read.
    pub fn query(
        &self,
        query: &MetricQuery,
        interval: Millis,
        now: Millis,
    ) -> Result<MetricAnswer, QueryError> {
        let to = query.to.unwrap_or(now).min(LATEST);
        let from = query.from.unwrap_or(to.saturating_sub(30 * 60_000)).min(to);
        let narrowest = interval.saturating_mul(2);
        let fitting = || {
            let fits = |step: &u64| *step >= narrowest && (to - from) / step <= POINTS;
            STEPS.into_iter().find(fits)
        };
        let step = query.step.or_else(fitting).unwrap_or(86_400_000);
        let step = step.max(narrowest).clamp(1, LATEST);
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
                function: if is_counter(metric) {
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
            let mut lines: Vec<MetricSeries> = if has_spread(query, metric) {
                let functions = [Function::Mean, Function::Min, Function::Max];
                let [mean, low, high] = asked.answers(&selection, functions)?;
                // The same series in the same order: each has both where it has a mean.
                let bounds = low.lines.iter().zip(&high.lines);
                let lines = mean.lines.into_iter().zip(bounds);
                let line = |(line, (low, high)): (Line, (&Line, &Line))| MetricSeries {
                    low: values(low),
                    high: values(high),
                    ..series(metric, line)
                };
                lines.map(line).collect()
            } else {
                let lines = asked.answer(&selection)?.lines.into_iter();
                lines.map(|line| series(metric, line)).collect()
            };
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
    let aggregate = if is_additive(metric) {
        Aggregate::Sum
    } else {
        Aggregate::Max
    };
    Some(Grouping { aggregate, by })
}

fn values(line: &Line) -> Vec<Option<f32>> {
    let known = |v: &f64| (!is_absent(*v)).then(|| narrow(*v));
    line.values.iter().map(known).collect()
}

fn series(metric: Metric, line: Line) -> MetricSeries {
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
        values: values(&line),
        low: Vec::new(),
        high: Vec::new(),
    }
}

/// `flotilla_cpu_percent` and so on: the contract's own words.
fn word(metric: Metric) -> String {
    format!("{OWN}_{}", bare_word(metric))
}

fn bare_word(metric: Metric) -> &'static str {
    match metric {
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
    }
}

/// The series of a name.
fn key(name: &SeriesName) -> Option<SeriesKey> {
    let metric = Metric::ALL.iter().find(|m| word(**m) == name.metric())?;
    let server: ServerId = name.label("server")?.parse().ok()?;
    Some(SeriesKey {
        metric: *metric,
        instance: server.instance(name.label("instance")?.parse().ok()?),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "ring and wire carry f32")]
fn narrow(value: f64) -> f32 {
    value as f32
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

    #[test]
    fn tools_have_lines_of_their_own_that_end_and_are_no_part_of_their_servers() {
        let folder = tempfile::tempdir().unwrap();
        let store = SharedStore::new(Store::open(Options::new(folder.path())).unwrap());
        let history = History::new(store.clone());
        let server: ServerId = "fetch".parse().unwrap();
        let of = |tool: &str, value| {
            let key = ToolKey {
                metric: Metric::CallsPerSecond,
                server: server.clone(),
                tool: tool.to_owned(),
            };
            (key, value)
        };
        let whole = SeriesKey {
            metric: Metric::CallsPerSecond,
            instance: server.instance(0),
        };
        for (n, tools) in [
            vec![of("get", 1.0), of("put", 2.0)],
            vec![of("get", 3.0)],
            vec![],
            vec![],
        ]
        .into_iter()
        .enumerate()
        {
            let at = START + n as u64 * 2_000;
            history.record(at, &[(whole.clone(), 9.0)]).unwrap();
            history.record_tools(at, &tools).unwrap();
        }
        let query = Query {
            select: Select::metric("flotilla_tool_calls_per_second").with("server", "fetch"),
            from: millis(START),
            to: millis(START) + 6_000,
            step: 2_000,
            function: Function::Last,
            range: 300_000,
            grouping: None,
            quantile: None,
        };
        let (from, to, width) = query.needs();
        let selection = store.lock().select(&query.select, from, to, width);
        let answer = query.answer(&selection).unwrap();
        let lines: Vec<(Option<String>, Vec<Option<f64>>)> = answer
            .lines
            .iter()
            .map(|line| {
                let known = |value: &f64| (!is_absent(*value)).then_some(*value);
                (
                    line.name.label("tool").map(Into::into),
                    line.values.iter().map(known).collect(),
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                (
                    Some("get".to_owned()),
                    vec![Some(1.0), Some(3.0), None, None]
                ),
                (Some("put".to_owned()), vec![Some(2.0), None, None, None]),
            ]
        );
        let recalled = history.recall(START).unwrap();
        assert_eq!(recalled.series, [(whole, vec![9.0; 4])]);
    }

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
            spread: true,
        };
        for (sum, server) in [
            (Sum::None, None),
            (Sum::None, Some("b")),
            (Sum::Server, Some("a")),
        ] {
            let query = ask(sum, server, end - 25 * 60_000);
            let (mut ring, kept) = (
                live.query(&query),
                history.query(&query, 2_000, end).unwrap(),
            );
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
        let first = history
            .query(&ask(Sum::All, None, START), 2_000, end)
            .unwrap();
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
        let unsaid = |from, interval| {
            let query = MetricQuery {
                step: None,
                ..ask(Sum::All, None, from)
            };
            history.query(&query, interval, end).unwrap().step
        };
        assert_eq!(unsaid(START, 2_000), 10_000);
        // A step that is as narrow as a tick would be empty now and then.
        assert_eq!(unsaid(end - 60_000, 2_000), 5_000);
        assert_eq!(unsaid(end - 60_000, 20_000), 60_000);

        // An engine that starts again has the ring of the one before, from memory and from files.
        for i in ticks..ticks + 10 {
            let tick = [(key(Metric::CpuPercent, "a#1"), i as f32)];
            live.record(START + 2_000 * i, &tick);
            history.record(START + 2_000 * i, &tick).unwrap();
        }
        let end = START + 2_000 * (ticks + 9);
        let anew = Live::new(&crate::Options {
            interval: Duration::from_secs(2),
            ..Default::default()
        });
        // More than the ring holds: the oldest are left out.
        anew.restore(&history.recall(end - 2 * live.span()).unwrap());
        let whole = MetricQuery {
            metrics: Metric::ALL.into(),
            server: None,
            from: None,
            to: None,
            step: None,
            sum: Sum::None,
            spread: false,
        };
        assert_eq!(anew.query(&whole), live.query(&whole));
        assert!(anew.reaches(&whole));
        let older = MetricQuery {
            to: Some(end - 60_000),
            ..whole.clone()
        };
        assert!(
            !anew.reaches(&older),
            "its half hour begins before the ring's"
        );
        // And goes on from there: what is gone leaves when its last value does.
        for engine in [&live, &anew] {
            engine.record(end + 60_000, &[(key(Metric::Threads, "c#1"), 1.0)]);
        }
        assert_eq!(anew.query(&whole), live.query(&whole));
    }
}
