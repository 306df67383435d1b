//! How fast work goes: what a run took, whether it kept its promises, and how unusual it was.

use super::record::{count, mean};
use crate::tool::Refusal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Durations kept per operation; the oldest makes room.
pub(super) const HISTORY: usize = 1000;
/// Operations with a history; the one that was measured least recently makes room.
const OPERATIONS: usize = 100;
/// Durations from which on percentiles say something.
const ENOUGH: usize = 5;
/// Mean ratio from which on targets count as met.
const COMPLIANT: f64 = 0.95;

/// What `performance_tools` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PerformanceInput {
    /// measure: record a run and report it. sla: compare figures with targets. benchmark: how far a value is from a baseline.
    op: PerformanceOp,
    /// measure: which operation ran, up to 200 characters. Its durations make the percentiles.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    operation: Option<String>,
    /// measure, sla: how long it took, in milliseconds, above 0, up to a day.
    #[serde(default)]
    #[schemars(range(min = 0.001, max = 86_400_000.0))]
    duration_ms: Option<f64>,
    /// measure: how many records it handled. Default 1.
    #[serde(default)]
    #[schemars(range(max = 1_000_000_000))]
    records: Option<u32>,
    /// measure: how many of them failed. Default 0.
    #[serde(default)]
    #[schemars(range(max = 1_000_000_000))]
    errors: Option<u32>,
    /// sla: share of errors, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    error_rate: Option<f64>,
    /// sla: records per second.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e12))]
    throughput: Option<f64>,
    /// sla: what was promised. What is absent has its usual value.
    #[serde(default)]
    targets: Option<Targets>,
    /// benchmark: the value to judge.
    #[serde(default)]
    #[schemars(range(min = -1e100, max = 1e100))]
    value: Option<f64>,
    /// benchmark: earlier values, 2 to 10,000. Instead of mean and std.
    #[serde(default)]
    #[schemars(length(min = 2, max = 10_000))]
    baseline: Option<Vec<Sample>>,
    /// benchmark: mean of earlier values. Together with std, instead of baseline.
    #[serde(default)]
    #[schemars(range(min = -1e100, max = 1e100))]
    mean: Option<f64>,
    /// benchmark: standard deviation of earlier values.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e100))]
    std: Option<f64>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PerformanceOp {
    Measure,
    Sla,
    Benchmark,
}

/// A number of magnitude 1e100 at most.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Sample(#[schemars(range(min = -1e100, max = 1e100))] f64);

/// What was promised.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Targets {
    /// Longest duration in milliseconds. Default 5000.
    #[schemars(range(min = 0.001, max = 86_400_000.0))]
    max_duration_ms: f64,
    /// Largest share of errors, 0 to 1. Default 0.02.
    #[schemars(range(min = 0.0, max = 1.0))]
    max_error_rate: f64,
    /// Least records per second. Default 100.
    #[schemars(range(min = 0.0, max = 1e12))]
    min_throughput: f64,
}

impl Default for Targets {
    fn default() -> Self {
        Self {
            max_duration_ms: 5000.0,
            max_error_rate: 0.02,
            min_throughput: 100.0,
        }
    }
}

/// What `performance_tools` gives: the part of its op.
#[derive(Serialize, JsonSchema)]
pub(super) struct PerformanceReport {
    /// The op asked for.
    op: PerformanceOp,
    /// Of measure: the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    measure: Option<Measure>,
    /// Of sla, and of measure against the usual targets: what was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    sla: Option<Sla>,
    /// Of benchmark: the comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    benchmark: Option<Benchmark>,
}

/// What a run took.
#[derive(Serialize, JsonSchema)]
pub(super) struct Measure {
    /// The operation.
    operation: String,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// Records per second.
    throughput: f64,
    /// Share of errors, 0 to 1.
    error_rate: f64,
    /// Durations of this operation known so far, this one included; 1000 at most.
    samples: usize,
    /// Of these durations, from 5 on, by linear interpolation.
    #[serde(skip_serializing_if = "Option::is_none")]
    percentiles: Option<Percentiles>,
    /// How well the usual targets were kept: the mean ratio, 0 to 1.
    score: f64,
}

/// Percentiles of durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Percentiles {
    /// The median.
    p50: f64,
    /// 95 % took no longer.
    p95: f64,
    /// 99 % took no longer.
    p99: f64,
}

/// How far promises were kept.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Sla {
    /// COMPLIANT when the mean ratio is 0.95 or more.
    pub(super) status: SlaStatus,
    /// Mean of the ratios, 0 to 1.
    pub(super) compliance: f64,
    /// Per figure.
    pub(super) metrics: Vec<SlaMetric>,
}

/// Whether promises were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum SlaStatus {
    Compliant,
    NonCompliant,
}

/// One promise.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct SlaMetric {
    /// duration_ms, error_rate or throughput.
    metric: &'static str,
    /// What it was.
    actual: f64,
    /// What was promised.
    target: f64,
    /// 1 when kept; else how near it came, from 0.
    ratio: f64,
    /// Whether it was kept.
    met: bool,
}

/// How unusual a value is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Benchmark {
    /// The value.
    value: f64,
    /// Mean of the baseline.
    mean: f64,
    /// Standard deviation of the baseline; of the population, where values were given.
    std: f64,
    /// (value - mean) / std. Absent when std is 0 and the value differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    z_score: Option<f64>,
    /// max(0, 1 - |z| / 3).
    score: f64,
    /// excellent from 0.8, good from 0.6, fair from 0.4, else poor.
    rating: Rating,
}

/// How usual a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rating {
    Excellent,
    Good,
    Fair,
    Poor,
}

/// What operations took so far.
#[derive(Default)]
pub(super) struct History {
    /// The most recently measured operation last.
    operations: Mutex<Vec<(String, VecDeque<f64>)>>,
}

impl History {
    /// Adds a duration, and gives all that are known of this operation.
    fn add(&self, operation: &str, duration_ms: f64) -> Vec<f64> {
        let mut operations = self
            .operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = operations.iter().position(|(name, _)| name == operation);
        let mut entry = match known {
            Some(index) => operations.remove(index),
            None => (operation.to_owned(), VecDeque::new()),
        };
        if operations.len() >= OPERATIONS {
            operations.remove(0);
        }
        if entry.1.len() >= HISTORY {
            entry.1.pop_front();
        }
        entry.1.push_back(duration_ms);
        let durations = entry.1.iter().copied().collect();
        operations.push(entry);
        durations
    }
}

pub(super) fn performance_tools(
    history: &History,
    input: PerformanceInput,
) -> Result<PerformanceReport, Refusal> {
    let op = input.op;
    refuse_foreign(&input)?;
    let mut report = PerformanceReport {
        op,
        measure: None,
        sla: None,
        benchmark: None,
    };
    match op {
        PerformanceOp::Measure => {
            let (measure, sla) = measure(history, &input)?;
            report.measure = Some(measure);
            report.sla = Some(sla);
        }
        PerformanceOp::Sla => {
            let targets = input.targets.unwrap_or_default();
            let figures = Figures {
                duration_ms: input.duration_ms,
                error_rate: input.error_rate,
                throughput: input.throughput,
            };
            report.sla = Some(sla(&figures, &targets).ok_or_else(|| {
                Refusal::argument(
                    "duration_ms",
                    "sla needs at least one of duration_ms, error_rate, throughput",
                )
            })?);
        }
        PerformanceOp::Benchmark => report.benchmark = Some(benchmark(&input)?),
    }
    Ok(report)
}

/// Figures of a run, as far as they are known.
pub(super) struct Figures {
    pub(super) duration_ms: Option<f64>,
    pub(super) error_rate: Option<f64>,
    pub(super) throughput: Option<f64>,
}

/// Figures against targets. None when there are no figures.
pub(super) fn sla(figures: &Figures, targets: &Targets) -> Option<Sla> {
    let at_most = |metric, actual: Option<f64>, target: f64| {
        actual.map(|actual| SlaMetric {
            metric,
            actual,
            target,
            ratio: if actual <= target {
                1.0
            } else {
                target / actual
            },
            met: actual <= target,
        })
    };
    let at_least = |metric, actual: Option<f64>, target: f64| {
        actual.map(|actual| SlaMetric {
            metric,
            actual,
            target,
            ratio: if actual >= target {
                1.0
            } else {
                actual / target
            },
            met: actual >= target,
        })
    };
    let metrics: Vec<SlaMetric> = [
        at_most("duration_ms", figures.duration_ms, targets.max_duration_ms),
        at_most("error_rate", figures.error_rate, targets.max_error_rate),
        at_least("throughput", figures.throughput, targets.min_throughput),
    ]
    .into_iter()
    .flatten()
    .collect();
    let compliance = mean(metrics.iter().map(|metric| metric.ratio))?;
    Some(Sla {
        status: if compliance >= COMPLIANT {
            SlaStatus::Compliant
        } else {
            SlaStatus::NonCompliant
        },
        compliance,
        metrics,
    })
}

fn measure(history: &History, input: &PerformanceInput) -> Result<(Measure, Sla), Refusal> {
    let operation = needed("operation", input.operation.clone(), PerformanceOp::Measure)?;
    let duration_ms = needed("duration_ms", input.duration_ms, PerformanceOp::Measure)?;
    let records = input.records.unwrap_or(1);
    let errors = input.errors.unwrap_or(0);
    if errors > records {
        return Err(Refusal::argument(
            "errors",
            format!("{errors} is more than records, {records}"),
        ));
    }
    let throughput = f64::from(records) / (duration_ms / 1e3);
    let error_rate = if records == 0 {
        0.0
    } else {
        f64::from(errors) / f64::from(records)
    };
    let figures = Figures {
        duration_ms: Some(duration_ms),
        error_rate: Some(error_rate),
        throughput: Some(throughput),
    };
    let sla = sla(&figures, &Targets::default())
        .ok_or_else(|| Refusal::Failed("a run without figures".to_owned()))?;
    let durations = history.add(&operation, duration_ms);
    let measure = Measure {
        operation,
        duration_ms,
        throughput,
        error_rate,
        samples: durations.len(),
        percentiles: percentiles(durations),
        score: sla.compliance,
    };
    Ok((measure, sla))
}

fn percentiles(mut durations: Vec<f64>) -> Option<Percentiles> {
    if durations.len() < ENOUGH {
        return None;
    }
    durations.sort_by(f64::total_cmp);
    Some(Percentiles {
        p50: quantile(&durations, 0.50)?,
        p95: quantile(&durations, 0.95)?,
        p99: quantile(&durations, 0.99)?,
    })
}

/// Linear interpolation between the two nearest ranks: type 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank within the list"
)]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = count(sorted.len().checked_sub(1)?) * share;
    let below = sorted.get(rank.floor() as usize)?;
    let above = sorted.get(rank.ceil() as usize)?;
    Some(below + (above - below) * rank.fract())
}

fn benchmark(input: &PerformanceInput) -> Result<Benchmark, Refusal> {
    let value = needed("value", input.value, PerformanceOp::Benchmark)?;
    let (mean, std) = match (&input.baseline, input.mean, input.std) {
        (Some(baseline), None, None) => moments(baseline),
        (None, Some(mean), Some(std)) => (mean, std),
        _ => {
            return Err(Refusal::argument(
                "baseline",
                "benchmark needs either baseline, or mean and std",
            ));
        }
    };
    let apart = value - mean;
    let z_score = if apart == 0.0 {
        Some(0.0)
    } else if std > 0.0 {
        // A std next to nothing makes any difference immense.
        Some((apart / std).clamp(-f64::MAX, f64::MAX))
    } else {
        None
    };
    let score = z_score.map_or(0.0, |z| (1.0 - z.abs() / 3.0).max(0.0));
    Ok(Benchmark {
        value,
        mean,
        std,
        z_score,
        score,
        rating: Rating::of(score),
    })
}

/// Mean, and standard deviation of the population.
fn moments(samples: &[Sample]) -> (f64, f64) {
    let centre = mean(samples.iter().map(|sample| sample.0)).unwrap_or(0.0);
    let variance = mean(samples.iter().map(|sample| (sample.0 - centre).powi(2))).unwrap_or(0.0);
    (centre, variance.sqrt())
}

fn needed<T>(field: &str, value: Option<T>, op: PerformanceOp) -> Result<T, Refusal> {
    value.ok_or_else(|| Refusal::argument(field, format!("is required by op {}", op.name())))
}

/// An argument that the op does not read is a misunderstanding: say so rather than ignore it.
fn refuse_foreign(input: &PerformanceInput) -> Result<(), Refusal> {
    use PerformanceOp::{Benchmark, Measure, Sla};
    let given: [(&str, bool, &[PerformanceOp]); 11] = [
        ("operation", input.operation.is_some(), &[Measure]),
        ("duration_ms", input.duration_ms.is_some(), &[Measure, Sla]),
        ("records", input.records.is_some(), &[Measure]),
        ("errors", input.errors.is_some(), &[Measure]),
        ("error_rate", input.error_rate.is_some(), &[Sla]),
        ("throughput", input.throughput.is_some(), &[Sla]),
        ("targets", input.targets.is_some(), &[Sla]),
        ("value", input.value.is_some(), &[Benchmark]),
        ("baseline", input.baseline.is_some(), &[Benchmark]),
        ("mean", input.mean.is_some(), &[Benchmark]),
        ("std", input.std.is_some(), &[Benchmark]),
    ];
    match given
        .iter()
        .find(|(_, is_given, ops)| *is_given && !ops.contains(&input.op))
    {
        Some((field, ..)) => Err(Refusal::argument(
            *field,
            format!("is not an argument of op {}", input.op.name()),
        )),
        None => Ok(()),
    }
}

impl PerformanceOp {
    fn name(self) -> &'static str {
        match self {
            Self::Measure => "measure",
            Self::Sla => "sla",
            Self::Benchmark => "benchmark",
        }
    }
}

impl Rating {
    fn of(score: f64) -> Self {
        match score {
            score if score >= 0.8 => Self::Excellent,
            score if score >= 0.6 => Self::Good,
            score if score >= 0.4 => Self::Fair,
            _ => Self::Poor,
        }
    }
}
