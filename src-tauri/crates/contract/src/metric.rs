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
