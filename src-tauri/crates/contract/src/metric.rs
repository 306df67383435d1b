//! Live metrics: series, queries over them, and the binary frame of a tick.
//!
//! **The frame** (little-endian; one per sampling interval, the same bytes over IPC and WebSocket):
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 4 | `FMX1` |
//! | 8 | time of the tick, milliseconds since the epoch (u64) |
//! | 4 | number of series *n* (u32) |
//! | 4·n | series numbers (u32), as announced by [`SeriesInfo::number`] |
//! | 4·n | values (f32); NaN means "no sample" |

use crate::{Millis, ServerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a series measures. Totals are those of an instance's whole process tree.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// CPU time per wall time, in percent of one core.
    CpuPercent,
    /// Resident memory, in bytes.
    RssBytes,
    /// Open file descriptors.
    OpenFiles,
    /// Threads.
    Threads,
    /// Processes below the instance's first one.
    Children,
    /// Automatic restarts since the engine started (a counter).
    Restarts,
    /// Health as a number: 1 healthy, 0.5 degraded, 0 unhealthy, none while unknown.
    Health,
    /// Calls of clients through the gateway per second, over the last ten seconds. This and what follows belongs to a whole
    /// server (instance 0), and is there once a client has called it.
    CallsPerSecond,
    /// Those of them that failed, in percent; none while there are no calls. Put together, the highest counts.
    CallErrorPercent,
    /// Half of them were answered within, in milliseconds; none while there are no calls. Put together, the highest counts.
    CallP50Ms,
    /// 95 of 100 were.
    CallP95Ms,
    /// 99 of 100 were.
    CallP99Ms,
    /// Those answered from the cache, per second.
    CallsCachedPerSecond,
    /// Calls that were refused, per second.
    CallsRefusedPerSecond,
    /// Calls under way.
    CallsInFlight,
}

impl Metric {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::CpuPercent,
        Self::RssBytes,
        Self::OpenFiles,
        Self::Threads,
        Self::Children,
        Self::Restarts,
        Self::Health,
        Self::CallsPerSecond,
        Self::CallErrorPercent,
        Self::CallP50Ms,
        Self::CallP95Ms,
        Self::CallP99Ms,
        Self::CallsCachedPerSecond,
        Self::CallsRefusedPerSecond,
        Self::CallsInFlight,
    ];
}

/// A series that exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesInfo {
    /// Number that stands for the series in frames of this boot.
    pub number: u32,
    /// What it measures.
    pub metric: Metric,
    /// Of which server.
    pub server: ServerId,
    /// Of which instance, from 1; 0 stands for the whole server.
    pub instance: u32,
}

/// Which values of which series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricQuery {
    /// What to read.
    pub metrics: Vec<Metric>,
    /// Only this server; absent means every server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// From when (default: 30 minutes before `to`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Millis>,
    /// Until when (default: now).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Millis>,
    /// Distance of two points in milliseconds (default: the sampling interval). Wider steps hold the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// How series are put together.
    #[serde(default)]
    pub sum: Sum,
    /// Whether the lowest and the highest of each point are given beside its mean, as far as they are known (default: no). Of
    /// series that are put together, of counters, and of points that are single ticks they are not.
    #[serde(default)]
    pub spread: bool,
}

/// How series are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sum {
    /// One series per instance.
    #[default]
    None,
    /// One series per server.
    Server,
    /// One series for all.
    All,
}

/// An answer on one time axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricAnswer {
    /// The times of the points.
    pub times: Vec<Millis>,
    /// Distance of two points in milliseconds.
    pub step: u64,
    /// The series, sorted by metric, server, instance.
    pub series: Vec<MetricSeries>,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSeries {
    /// What it measures.
    pub metric: Metric,
    /// Of which server; absent when summed over all.
    pub server: Option<ServerId>,
    /// Of which instance; absent when summed.
    pub instance: Option<u32>,
    /// One value per time; `null` where there is none (a gap is a gap).
    pub values: Vec<Option<f32>>,
    /// The lowest value in each step; empty, and left out, where [`MetricQuery::spread`] was not asked for or is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub low: Vec<Option<f32>>,
    /// The highest value in each step, as `low`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub high: Vec<Option<f32>>,
}

/// A sample of a Prometheus page, for display.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageSample {
    /// Metric name.
    pub name: String,
    /// Labels, sorted.
    pub labels: Vec<(String, String)>,
    /// The value as text (it may be `NaN` or `+Inf`).
    pub value: String,
    /// `counter`, `gauge`, `histogram`, `summary` or `untyped`.
    pub kind: String,
    /// The HELP text, where the page gives one.
    pub help: Option<String>,
}

/// A metric of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricName {
    /// Its name.
    pub name: String,
    /// How many series have it.
    pub series: u32,
}

/// Which series of the metrics store, the engine's own and those that were scraped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeriesQuery {
    /// Name of the metric; absent means every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What labels must be; all of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelMatch>,
    /// Series at most (default 1,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelMatch {
    /// The label. `__name__` is the metric's name.
    pub label: String,
    /// Whether it must be one of the values, or must be none of them.
    pub is: bool,
    /// The values. A label that a series does not have is the empty text.
    pub values: Vec<String>,
}

/// Series of the metrics store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesPage {
    /// Those asked for, sorted by name and labels.
    pub series: Vec<SeriesLabels>,
    /// How many match, beyond the limit too.
    pub total: u32,
}

/// A series by its name and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesLabels {
    /// Name of the metric; empty when series were put together.
    pub metric: String,
    /// Its labels, sorted.
    pub labels: Vec<(String, String)>,
}

/// Values of series of the metrics store over a span of time, as Prometheus's `query_range` gives them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    /// Name of the metric.
    pub metric: String,
    /// What labels must be; all of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelMatch>,
    /// The first point.
    pub from: Millis,
    /// No point after this.
    pub to: Millis,
    /// Distance of two points in milliseconds; at most 11,000 points are given.
    pub step: u64,
    /// What each point is.
    pub function: RangeFunction,
    /// How far back a point looks, in milliseconds (default: 5 minutes for `last`, the step for others).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<u64>,
    /// How series are put together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grouping: Option<RangeGrouping>,
    /// The quantile of histograms, 0 to 1: of `x_bucket`, by their label `le`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
}

/// What a point is, of the samples in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RangeFunction {
    /// The latest one, unless the series ended since.
    Last,
    /// Their mean.
    Mean,
    /// The lowest.
    Min,
    /// The highest.
    Max,
    /// Their sum.
    Sum,
    /// How many.
    Count,
    /// How much a counter goes up in a second.
    Rate,
    /// How much a counter goes up in the range.
    Increase,
    /// How much a gauge goes up, or down, in the range.
    Delta,
}

/// How series are put together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeGrouping {
    /// In which way.
    pub aggregate: RangeAggregate,
    /// One line for each set of values of these labels.
    pub by: Vec<String>,
}

/// In which way series become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RangeAggregate {
    /// The sum.
    Sum,
    /// The mean.
    Avg,
    /// The lowest.
    Min,
    /// The highest.
    Max,
    /// How many there are.
    Count,
}

/// A chart as it is asked for: a [`RangeQuery`] without its span of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChartQuery {
    /// Name of the metric.
    pub metric: String,
    /// What labels must be; all of them must hold.
    pub labels: Vec<LabelMatch>,
    /// What each point is.
    pub function: RangeFunction,
    /// How series are put together; absent leaves each as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grouping: Option<RangeGrouping>,
    /// The quantile of a histogram, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
}

/// A chart that was pinned to the board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// What it is called, in 1 to 500 letters.
    pub title: String,
    /// What it shows.
    pub asked: ChartQuery,
}

/// Charts that were pinned, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// Goes up with each change. A change names the version that it was made of, 0 before the first.
    pub version: u64,
    /// At most 24.
    pub charts: Vec<Pin>,
}

/// Lines on one time axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RangeAnswer {
    /// The times of the points.
    pub times: Vec<Millis>,
    /// The lines that have a value, sorted by name and labels.
    pub lines: Vec<RangeLine>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RangeLine {
    /// Name of the metric; empty when series were put together.
    pub metric: String,
    /// Its labels, sorted.
    pub labels: Vec<(String, String)>,
    /// One value per time; `null` where there is none, or none that is finite.
    pub values: Vec<Option<f64>>,
}

/// A page of metrics that is scraped, and how it stands with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScrapeTarget {
    /// Its label `job`: the server it belongs to.
    pub job: String,
    /// Its label `instance`: host and port.
    pub instance: String,
    /// Its page.
    pub url: String,
    /// Distance of two scrapes in milliseconds.
    pub interval: u64,
    /// Whether the last scrape went well; absent before the first.
    pub up: Option<bool>,
    /// When the last scrape began.
    pub at: Option<Millis>,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// Samples on the page.
    pub samples: u32,
    /// Why it failed.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_are_all_that_the_schema_has() {
        let schema = schemars::schema_for!(Metric).to_value();
        let words = schema["oneOf"].as_array().unwrap();
        let words: Vec<&str> = words.iter().filter_map(|w| w["const"].as_str()).collect();
        let all: Vec<String> = Metric::ALL
            .iter()
            .map(|metric| {
                serde_json::to_value(metric)
                    .unwrap()
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(words, all);
    }
}
