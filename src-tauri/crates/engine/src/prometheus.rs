//! A Prometheus in place of the store: what charts ask, as expressions of its language, and its answers as ours.
//!
//! Owns nothing but the address, filled in once for each that the file names. A query is one request, with a time limit and a bound on the answer;
//! nothing is repeated and nothing is kept. What the engine alone knows (series named `flotilla_…`) is never asked for here.

use crate::{
    clock,
    core::Core,
    pages::{self, Address, Pages},
};
use flotilla_config::SourceSpec;
use flotilla_contract::{
    ErrorCode, Millis, WireError,
    metric::{
        LabelMatch, Metric, MetricAnswer, MetricName, MetricQuery, MetricSeries, RangeAggregate,
        RangeAnswer, RangeFunction, RangeLine, RangeQuery, SeriesLabels, SeriesPage, SeriesQuery,
        Sum,
    },
};
use flotilla_metrics::{
    has_spread, is_additive,
    store::{MOST_POINTS, QueryError},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::Mutex;

/// An answer may take this long,
const PATIENCE: Duration = Duration::from_secs(30);
/// and be this large.
const MOST_BYTES: usize = 64 << 20;
/// Series are those of the last hour.
const RECENT: Millis = 3_600_000;
/// A rate needs two samples: it looks back at least four of Prometheus's usual intervals.
const RATE_OVER: u64 = 60_000;
/// Points of a line, when the query does not say how far they are apart.
const POINTS: u64 = 360;

/// The address of the one that the file names.
#[derive(Default)]
pub(crate) struct Source(Mutex<Option<(SourceSpec, Address)>>);

impl Core {
    /// The Prometheus that the file names, if it names one.
    ///
    /// # Errors
    /// What its address lacks.
    pub(crate) async fn prometheus(&self) -> Result<Option<Prometheus<'_>>, WireError> {
        let Some(spec) = self.fleet().metrics.source.clone() else {
            return Ok(None);
        };
        let mut known = self.source.0.lock().await;
        let address = match &*known {
            Some((of, address)) if *of == spec => address.clone(),
            _ => {
                let (secrets, asked) = (self.secrets.clone(), spec.clone());
                let filled = tokio::task::spawn_blocking(move || {
                    pages::address(&asked.url, &asked.headers, &*secrets)
                });
                let address = filled
                    .await
                    .map_err(|e| WireError::new(ErrorCode::Internal, e.to_string()))?
                    .map_err(|why| {
                        let said = format!("ask the Prometheus of metrics.source: {why}");
                        WireError::new(ErrorCode::Unreachable, said)
                    })?;
                *known = Some((spec, address.clone()));
                address
            }
        };
        Ok(Some(Prometheus {
            pages: &self.pages,
            address,
        }))
    }
}

/// A Prometheus that can be asked.
pub(crate) struct Prometheus<'a> {
    pages: &'a Pages,
    address: Address,
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Said<T> {
    Success { data: T },
    Error { error: String },
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    /// Seconds, and the value as text.
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Prometheus<'_> {
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<T, WireError> {
        let mut url = self.address.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        let whom = pages::shown(url.as_str());
        let headers = self.address.headers.clone();
        let asked = self.pages.post_form(url, headers, form, MOST_BYTES);
        let failed = |code, why: String| WireError::new(code, format!("ask {whom}: {why}"));
        let (status, bytes) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => return Err(failed(ErrorCode::Unreachable, error.to_string())),
            Err(_) => {
                let why = format!("no answer within {PATIENCE:?}");
                return Err(failed(ErrorCode::Unreachable, why));
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(Said::Success { data }) => Ok(data),
            Ok(Said::Error { error }) if status.is_client_error() => {
                Err(failed(ErrorCode::BadRequest, format!("it says: {error}")))
            }
            Ok(Said::Error { error }) => {
                Err(failed(ErrorCode::Upstream, format!("it says: {error}")))
            }
            Err(_) => {
                let why = format!("it answered with status {status}, and not as a Prometheus does");
                Err(failed(ErrorCode::Upstream, why))
            }
        }
    }

    async fn lines(
        &self,
        expression: String,
        times: &Times,
    ) -> Result<Vec<(BTreeMap<String, String>, Vec<Option<f64>>)>, WireError> {
        let form = [
            ("query", expression),
            ("start", seconds(times.from)),
            ("end", seconds(times.to)),
            ("step", seconds(times.step)),
        ];
        let data: Matrix = self.ask("/api/v1/query_range", &form).await?;
        let line = |Line { metric, values }| (metric, times.points(values));
        let lines = data.result.into_iter().map(line);
        Ok(lines
            .filter(|(_, v)| v.iter().any(Option::is_some))
            .collect())
    }

    /// What the store's range query gives.
    pub(crate) async fn range(&self, query: &RangeQuery) -> Result<RangeAnswer, WireError> {
        let times = Times::new(query.from, query.to, query.step)?;
        let lines = self.lines(expression(query)?, &times).await?;
        let line = |(mut metric, values): (BTreeMap<String, String>, _)| RangeLine {
            metric: metric.remove("__name__").unwrap_or_default(),
            labels: metric.into_iter().collect(),
            values,
        };
        let mut lines: Vec<RangeLine> = lines.into_iter().map(line).collect();
        lines.sort_by(|a, b| (&a.metric, &a.labels).cmp(&(&b.metric, &b.labels)));
        Ok(RangeAnswer {
            times: times.all(),
            lines,
        })
    }

    /// Metrics that have a series now.
    pub(crate) async fn names(&self) -> Result<Vec<MetricName>, WireError> {
        let count = "count by (__name__) ({__name__!=\"\"})".to_owned();
        let data: Vector = self.ask("/api/v1/query", &[("query", count)]).await?;
        let name = |Value { mut metric, value }: Value| {
            Some(MetricName {
                name: metric.remove("__name__")?,
                series: value.1.parse().unwrap_or_default(),
            })
        };
        let mut names: Vec<MetricName> = data.result.into_iter().filter_map(name).collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// Series that had a sample within the last hour.
    pub(crate) async fn series(
        &self,
        query: &SeriesQuery,
        most: u32,
    ) -> Result<SeriesPage, WireError> {
        let matchers = matchers(query.metric.as_deref(), &query.labels)?;
        let selector = if matchers.is_empty() {
            // It wants one matcher that does not match the empty text.
            "{__name__!=\"\"}".to_owned()
        } else {
            format!("{{{}}}", matchers.join(","))
        };
        let now = clock::now();
        let form = [
            ("match[]", selector),
            ("start", seconds(now.saturating_sub(RECENT))),
            ("end", seconds(now)),
        ];
        let data: Vec<BTreeMap<String, String>> = self.ask("/api/v1/series", &form).await?;
        let series = |mut labels: BTreeMap<String, String>| SeriesLabels {
            metric: labels.remove("__name__").unwrap_or_default(),
            labels: labels.into_iter().collect(),
        };
        let total = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut series: Vec<SeriesLabels> = data.into_iter().map(series).collect();
        series.sort_by(|a, b| (&a.metric, &a.labels).cmp(&(&b.metric, &b.labels)));
        series.truncate(most as usize);
        Ok(SeriesPage { series, total })
    }

    /// What the store answers to the panel's charts, from what a Prometheus scraped of the engine's own page. Metrics that the page does not have are given
    /// back, to be read from the store.
    pub(crate) async fn charts(
        &self,
        query: &MetricQuery,
        narrowest: Millis,
    ) -> Result<(MetricAnswer, Vec<Metric>), WireError> {
        let to = query.to.unwrap_or_else(clock::now);
        let from = query.from.unwrap_or(to.saturating_sub(30 * 60_000)).min(to);
        let fitting = ((to - from) / POINTS).next_multiple_of(1_000);
        let step = query.step.unwrap_or(fitting).max(narrowest).max(1);
        let times = Times::new(from / step * step, to / step * step, step)?;
        // A point of the store is of the step that begins there, Prometheus looks back: it is asked about the end of each.
        let ends = Times {
            from: times.from + step,
            to: times.to + step,
            step,
        };
        let goes_on = ends.to > clock::now();
        let mut answer = MetricAnswer {
            times: times.all(),
            step,
            series: Vec::new(),
        };
        let mut others = Vec::new();
        let mut metrics = query.metrics.clone();
        metrics.sort_unstable();
        metrics.dedup();
        for metric in metrics {
            let server = query.server.as_ref().map(|s| s.as_str());
            let Some(text) = exported(metric, server, step) else {
                others.push(metric);
                continue;
            };
            let together = if is_additive(metric) { "sum" } else { "max" };
            let text = match query.sum {
                Sum::None => text,
                Sum::Server => format!("{together} by (server) ({text})"),
                Sum::All => format!("{together}({text})"),
            };
            let mut lines = self.lines(text, &ends).await?;
            if goes_on && metric == Metric::CallsPerSecond {
                // Of a step that is not over it would be divided by all of the step.
                for point in lines.iter_mut().filter_map(|(_, values)| values.last_mut()) {
                    *point = None;
                }
            }
            let mut spread = [BTreeMap::new(), BTreeMap::new()];
            if has_spread(query, metric) {
                for (bound, over) in spread.iter_mut().zip(["min", "max"]) {
                    if let Some(text) = gauge(metric, server, step, over) {
                        *bound = self.lines(text, &ends).await?.into_iter().collect();
                    }
                }
            }
            let [mut low, mut high] = spread;
            let narrowed = |values: Vec<Option<f64>>| values.into_iter().map(|v| v.map(narrow));
            let mut lines: Vec<MetricSeries> = lines
                .into_iter()
                .map(|(labels, values)| MetricSeries {
                    low: narrowed(low.remove(&labels).unwrap_or_default()).collect(),
                    high: narrowed(high.remove(&labels).unwrap_or_default()).collect(),
                    metric,
                    server: labels.get("server").and_then(|it| it.parse().ok()),
                    // `instance` is Prometheus's own unless it honours the page's labels.
                    instance: ["exported_instance", "instance"]
                        .iter()
                        .find_map(|label| labels.get(*label)?.parse().ok())
                        .or((query.sum == Sum::None).then_some(0)),
                    values: narrowed(values).collect(),
                })
                .collect();
            lines.sort_by(|a, b| (&a.server, a.instance).cmp(&(&b.server, b.instance)));
            answer.series.append(&mut lines);
        }
        Ok((answer, others))
    }
}

/// A metric of the panel's charts, as the engine's page has it; absent where the page has no such thing.
fn exported(metric: Metric, server: Option<&str>, step: u64) -> Option<String> {
    let rate = step.max(RATE_OVER);
    let of = |name: &str, more: Option<&str>| selector(name, server, more);
    let calls = |more| {
        let calls = of("mcp_server_calls_total", more);
        format!("sum by (server) (rate({calls}[{rate}ms]))")
    };
    let within = |quantile: f64| {
        let buckets = of("mcp_server_call_duration_seconds_bucket", None);
        format!(
            "1000 * histogram_quantile({quantile}, sum by (server, le) (rate({buckets}[{rate}ms])))"
        )
    };
    Some(match metric {
        Metric::CpuPercent
        | Metric::RssBytes
        | Metric::OpenFiles
        | Metric::Threads
        | Metric::Children => return gauge(metric, server, step, "avg"),
        Metric::Restarts => of("mcp_instance_restarts_total", None),
        Metric::CallsPerSecond => calls(None),
        Metric::CallErrorPercent => {
            format!(
                "100 * {} / ({} > 0)",
                calls(Some("status=\"error\"")),
                calls(None)
            )
        }
        Metric::CallP50Ms => within(0.5),
        Metric::CallP95Ms => within(0.95),
        Metric::CallP99Ms => within(0.99),
        // The page says how a server is, not each of its instances; and counts neither of the others by server.
        Metric::Health
        | Metric::CallsCachedPerSecond
        | Metric::CallsRefusedPerSecond
        | Metric::CallsInFlight => return None,
    })
}

/// A gauge of the panel's charts, as the engine's page has it: the `avg`, `min` or `max` of each step.
fn gauge(metric: Metric, server: Option<&str>, step: u64, over: &str) -> Option<String> {
    let of = |name| {
        format!(
            "{over}_over_time({}[{step}ms])",
            selector(name, server, None)
        )
    };
    Some(match metric {
        Metric::CpuPercent => format!("100 * {}", of("mcp_instance_cpu_ratio")),
        Metric::RssBytes => of("mcp_instance_resident_memory_bytes"),
        Metric::OpenFiles => of("mcp_instance_open_fds"),
        Metric::Threads => of("mcp_instance_threads"),
        // The page counts the first process, too.
        Metric::Children => format!("{} - 1", of("mcp_instance_processes")),
        _ => return None,
    })
}

fn selector(name: &str, server: Option<&str>, more: Option<&str>) -> String {
    let server = server.map(|server| format!("server={}", quoted(server)));
    let matchers: Vec<&str> = server.as_deref().into_iter().chain(more).collect();
    format!("{name}{{{}}}", matchers.join(","))
}

/// The points of an answer.
struct Times {
    from: Millis,
    to: Millis,
    step: u64,
}

impl Times {
    fn new(from: Millis, to: Millis, step: u64) -> Result<Self, WireError> {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let wrong = match (
            to.checked_sub(from),
            to.saturating_sub(from).checked_div(step),
        ) {
            (None, _) => QueryError::Backwards {
                from: signed(from),
                to: signed(to),
            },
            (_, None) => QueryError::Zero {
                what: "step",
                value: 0,
            },
            (_, Some(steps)) if signed(steps) < MOST_POINTS => {
                return Ok(Self { from, to, step });
            }
            (_, Some(steps)) => QueryError::Points(signed(steps).saturating_add(1)),
        };
        let said = format!("read metrics: {wrong}");
        Err(WireError::new(ErrorCode::BadRequest, said))
    }

    fn all(&self) -> Vec<Millis> {
        let step = usize::try_from(self.step).unwrap_or(usize::MAX);
        (self.from..=self.to).step_by(step).collect()
    }

    /// Values in their places; absent where there is none, or none that is finite.
    fn points(&self, values: Vec<(f64, String)>) -> Vec<Option<f64>> {
        let mut points = vec![None; self.all().len()];
        for (at, value) in values {
            let value = value.parse().ok().filter(|value: &f64| value.is_finite());
            if let Some(point) = self.place(at).and_then(|place| points.get_mut(place)) {
                *point = value;
            }
        }
        points
    }

    /// Which point stands at a time in seconds.
    fn place(&self, at: f64) -> Option<usize> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below 2^53 and not negative"
        )]
        let at = (0.0..9.0e12)
            .contains(&at)
            .then(|| (at * 1e3).round() as u64)?;
        usize::try_from(at.checked_sub(self.from)? / self.step).ok()
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// The query in Prometheus's language.
fn expression(query: &RangeQuery) -> Result<String, WireError> {
    let matchers = matchers(Some(&query.metric), &query.labels)?;
    let series = format!("{{{}}}", matchers.join(","));
    let over = |function: &str| {
        let range = query.range.unwrap_or(query.step);
        format!("{function}({series}[{range}ms])")
    };
    let mut text = match query.function {
        RangeFunction::Last if query.range.is_none() => series,
        RangeFunction::Last => over("last_over_time"),
        RangeFunction::Mean => over("avg_over_time"),
        RangeFunction::Min => over("min_over_time"),
        RangeFunction::Max => over("max_over_time"),
        RangeFunction::Sum => over("sum_over_time"),
        RangeFunction::Count => over("count_over_time"),
        RangeFunction::Rate => over("rate"),
        RangeFunction::Increase => over("increase"),
        RangeFunction::Delta => over("delta"),
    };
    if let Some(grouping) = &query.grouping {
        let function = match grouping.aggregate {
            RangeAggregate::Sum => "sum",
            RangeAggregate::Avg => "avg",
            RangeAggregate::Min => "min",
            RangeAggregate::Max => "max",
            RangeAggregate::Count => "count",
        };
        let by = grouping.by.iter().map(|by| label(by));
        let mut by: Vec<&str> = by.collect::<Result<_, _>>()?;
        // A quantile is made of what has another `le`.
        if query.quantile.is_some() && !by.contains(&"le") {
            by.push("le");
        }
        text = format!("{function} by ({}) ({text})", by.join(","));
    }
    if let Some(quantile) = query.quantile {
        text = format!("histogram_quantile({quantile},{text})");
    }
    Ok(text)
}

fn matchers(metric: Option<&str>, labels: &[LabelMatch]) -> Result<Vec<String>, WireError> {
    let mut matchers: Vec<String> = metric
        .map(|metric| format!("__name__={}", quoted(metric)))
        .into_iter()
        .collect();
    for matcher in labels {
        let label = label(&matcher.label)?;
        let values: Vec<String> = matcher.values.iter().map(|v| literal(v)).collect();
        let (sign, value) = match (matcher.values.as_slice(), matcher.is) {
            ([value], true) => ("=", value.clone()),
            ([value], false) => ("!=", value.clone()),
            (_, true) => ("=~", values.join("|")),
            (_, false) => ("!~", values.join("|")),
        };
        matchers.push(format!("{label}{sign}{}", quoted(&value)));
    }
    Ok(matchers)
}

/// A label stands in an expression as it is: nothing else may.
fn label(name: &str) -> Result<&str, WireError> {
    let mut letters = name.chars();
    let first = letters.next();
    let fits = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fits {
        return Ok(name);
    }
    let said = format!(
        "read metrics: label is {name:?} (accepted: A-Z a-z 0-9 _, and no digit at the beginning)"
    );
    Err(WireError::new(ErrorCode::BadRequest, said))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A text as a regular expression that matches nothing else.
fn literal(text: &str) -> String {
    let mut literal = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, '_' | '-' | '/' | ':') {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal
}

#[expect(clippy::cast_possible_truncation, reason = "the wire carries f32 here")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(function: RangeFunction, range: Option<u64>) -> RangeQuery {
        RangeQuery {
            metric: "x_total".into(),
            labels: Vec::new(),
            from: 0,
            to: 60_000,
            step: 15_000,
            function,
            range,
            grouping: None,
            quantile: None,
        }
    }

    #[test]
    fn queries_become_expressions_that_hold_nothing_but_what_was_said() {
        let said = |query: &RangeQuery| expression(query).unwrap_or_else(|e| e.message);
        let plain = query(RangeFunction::Last, None);
        assert_eq!(said(&plain), r#"{__name__="x_total"}"#);
        let mut rate = query(RangeFunction::Rate, None);
        let matcher = |label: &str, is, values: &[&str]| LabelMatch {
            label: label.into(),
            is,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        rate.labels = vec![
            matcher("a", true, &["say \"x\"\\\n"]),
            matcher("b", false, &["1.5", "(y"]),
        ];
        assert_eq!(
            said(&rate),
            r#"rate({__name__="x_total",a="say \"x\"\\\n",b!~"1\\.5|\\(y"}[15000ms])"#
        );
        let mut quantile = query(RangeFunction::Rate, Some(300_000));
        quantile.quantile = Some(0.95);
        quantile.grouping = Some(flotilla_contract::metric::RangeGrouping {
            aggregate: RangeAggregate::Sum,
            by: vec!["job".into()],
        });
        assert_eq!(
            said(&quantile),
            r#"histogram_quantile(0.95,sum by (job,le) (rate({__name__="x_total"}[300000ms])))"#
        );
        let mut broken = query(RangeFunction::Last, None);
        broken.labels = vec![matcher("a} or up{x", true, &["1"])];
        assert!(said(&broken).contains("accepted: A-Z a-z 0-9 _"));
        assert!(Times::new(2, 1, 1).is_err_and(|e| e.message.contains("before from")));
        assert!(Times::new(0, 1 << 53, 1).is_err());
        assert!(Times::new(0, 1, 0).is_err());
    }
}
