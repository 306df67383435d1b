//! How good data is: six dimensions of a dataset, and how complete one record is.
//!
//! Dimensions, weights, thresholds and the 365 days after which a record counts for nothing are conventions of the original system;
//! the names of the dimensions are those of DAMA UK, "The Six Primary Dimensions for Data Quality Assessment" (2013).

use super::{
    format::{moment, moment_of_text},
    record::{Field, Fields, Kind, Record, STRIDE, canonical, count, mean, quietly, share},
    validation::{Level, steps, validate},
};
use crate::tool::{Context, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Below it, a dimension is an issue.
pub(super) const THRESHOLD: f64 = 0.7;
/// Where a record keeps its age.
pub(super) const TIME_FIELDS: [&str; 4] = ["created_at", "updated_at", "timestamp", "date"];
/// An optional field beside a required one.
pub(super) const OPTIONAL_WEIGHT: f64 = 0.5;

const DAY_MS: f64 = 86_400_000.0;

/// What `assess_data_quality` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AssessInput {
    /// The records, 1 to 10,000.
    #[schemars(length(min = 1, max = 10_000))]
    dataset: Vec<Record>,
    /// Which dimensions to assess. All six when absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 6))]
    dimensions: Option<BTreeSet<Dimension>>,
    /// How much each counts in the overall score; what is absent keeps its usual weight.
    #[serde(default)]
    weights: PerDimension,
    /// The least acceptable score of each dimension, 0 to 1; 0.7 where absent.
    #[serde(default)]
    thresholds: PerDimension,
    /// What its fields must be, by name. Without it no field is required and no format declared.
    #[serde(default)]
    schema: Option<Fields>,
    /// The moment that ages are reckoned from, ISO 8601. The server's clock when absent; pass it for the same result every time.
    #[serde(default)]
    #[schemars(length(max = 64))]
    now: Option<String>,
}

/// One side of quality: completeness (fields filled), accuracy (formats kept), consistency (one type per field), timeliness (age within a
/// year), validity (declared checks passed), uniqueness (distinct records).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dimension {
    Completeness,
    Accuracy,
    Consistency,
    Timeliness,
    Validity,
    Uniqueness,
}

/// A number per dimension.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PerDimension {
    /// Of completeness, 0 to 1. Usual weight 0.25.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    completeness: Option<f64>,
    /// Of accuracy, 0 to 1. Usual weight 0.25.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    accuracy: Option<f64>,
    /// Of consistency, 0 to 1. Usual weight 0.20.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    consistency: Option<f64>,
    /// Of timeliness, 0 to 1. Usual weight 0.15.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    timeliness: Option<f64>,
    /// Of validity, 0 to 1. Usual weight 0.10.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    validity: Option<f64>,
    /// Of uniqueness, 0 to 1. Usual weight 0.05.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    uniqueness: Option<f64>,
}

/// How good a dataset is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Quality {
    /// Weighted mean of the dimensions, 0 to 1.
    pub(super) overall: f64,
    /// excellent from 0.9, good from 0.7, fair from 0.5, else poor.
    level: Grade,
    /// Records assessed.
    records: usize,
    /// Per dimension, in the order asked for.
    pub(super) dimensions: Vec<Score>,
    /// Dimensions below their threshold.
    issues: Vec<Issue>,
    /// What to do about them.
    recommendations: Vec<String>,
}

/// A grade of quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    Excellent,
    Good,
    Fair,
    Poor,
}

/// The score of one dimension.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Score {
    /// The dimension.
    pub(super) dimension: Dimension,
    /// 0 to 1.
    pub(super) score: f64,
    /// Its share in the overall score; all shares make 1.
    weight: f64,
    /// The least acceptable score.
    threshold: f64,
    /// Whether the score reaches it.
    passed: bool,
}

/// A dimension that is below its threshold.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Issue {
    /// The dimension.
    dimension: Dimension,
    /// high when the score is below half the threshold, else medium.
    severity: Severity,
    /// What it means.
    description: String,
}

/// How bad an issue is.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    High,
    Medium,
}

/// What `quality_assessment` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CompletenessInput {
    /// The record.
    data: Record,
    /// Fields it must have, up to 100. Each has weight 1.
    #[schemars(length(max = 100), inner(length(max = 200)))]
    required_fields: Vec<String>,
    /// Fields it should have, up to 100. Each has weight 0.5.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 200)))]
    optional_fields: Vec<String>,
    /// Other weights, by field name, 0 to 1000.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 200))]
    field_weights: BTreeMap<String, Weight>,
    /// What counts as missing besides absent fields and null. strict: also blank text and empty lists and objects. lenient: nothing else.
    #[serde(default)]
    empty: Emptiness,
}

/// A weight, 0 to 1000.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Weight(#[schemars(range(min = 0.0, max = 1000.0))] f64);

/// What counts as missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Emptiness {
    #[default]
    Strict,
    Lenient,
}

/// How complete a record is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Completeness {
    /// Weight of the fields that are there / weight of all, 0 to 1.
    score: f64,
    /// excellent from 0.9, good from 0.7, fair from 0.5, else poor.
    level: Grade,
    /// Required fields that are missing.
    missing_required: Vec<String>,
    /// Optional fields that are missing.
    missing_optional: Vec<String>,
    /// Fields asked for that are there.
    present: Vec<String>,
    /// What to do about it.
    recommendations: Vec<String>,
}

pub(super) fn assess_data_quality(
    context: &Context,
    clock_ms: i64,
    input: AssessInput,
) -> Result<Quality, Refusal> {
    let now_ms = match &input.now {
        None => clock_ms,
        Some(now) => moment_of_text(now)
            .ok_or_else(|| Refusal::argument("now", "must be ISO 8601, as 2026-01-31T12:00:00Z"))?,
    };
    let dimensions: Vec<Dimension> = match input.dimensions {
        Some(dimensions) => dimensions.into_iter().collect(),
        None => Dimension::ALL.to_vec(),
    };
    assess(
        context,
        &input.dataset,
        &Yardstick {
            dimensions: &dimensions,
            weights: input.weights,
            thresholds: input.thresholds,
            fields: input.schema.as_ref(),
            now_ms,
        },
    )
}

/// What quality is measured by.
pub(super) struct Yardstick<'a> {
    pub(super) dimensions: &'a [Dimension],
    pub(super) weights: PerDimension,
    pub(super) thresholds: PerDimension,
    pub(super) fields: Option<&'a Fields>,
    pub(super) now_ms: i64,
}

impl<'a> Yardstick<'a> {
    /// The usual one.
    pub(super) fn usual(fields: &'a Fields, now_ms: i64) -> Self {
        Self {
            dimensions: &Dimension::ALL,
            weights: PerDimension::default(),
            thresholds: PerDimension::default(),
            fields: Some(fields),
            now_ms,
        }
    }
}

pub(super) fn assess(
    context: &Context,
    records: &[Record],
    by: &Yardstick<'_>,
) -> Result<Quality, Refusal> {
    let weight = |dimension: Dimension| by.weights.of(dimension).unwrap_or(dimension.weight());
    let total: f64 = by
        .dimensions
        .iter()
        .map(|dimension| weight(*dimension))
        .sum();
    if total <= 0.0 {
        return Err(Refusal::argument(
            "weights",
            "are all 0 for the dimensions asked for; give one of them a weight",
        ));
    }
    let quiet = &quietly(context);
    let mut scores = Vec::new();
    for (index, dimension) in by.dimensions.iter().enumerate() {
        context.step(steps(index), steps(by.dimensions.len()), dimension.name())?;
        let score = dimension.score(quiet, records, by)?;
        let threshold = by.thresholds.of(*dimension).unwrap_or(THRESHOLD);
        scores.push(Score {
            dimension: *dimension,
            score,
            weight: weight(*dimension) / total,
            threshold,
            passed: score >= threshold,
        });
    }
    // Shares of 1 may sum to a hair above it.
    let overall = scores
        .iter()
        .map(|score| score.score * score.weight)
        .sum::<f64>()
        .clamp(0.0, 1.0);
    let low: Vec<&Score> = scores.iter().filter(|score| !score.passed).collect();
    Ok(Quality {
        overall,
        level: Grade::of(overall),
        records: records.len(),
        issues: low.iter().map(|score| Issue::of(score)).collect(),
        recommendations: low
            .iter()
            .map(|score| score.dimension.advice().to_owned())
            .collect(),
        dimensions: scores,
    })
}

pub(super) fn quality_assessment(input: CompletenessInput) -> Result<Completeness, Refusal> {
    if let Some(field) = input
        .optional_fields
        .iter()
        .find(|field| input.required_fields.contains(field))
    {
        return Err(Refusal::argument(
            "optional_fields",
            format!("{field:?} is required already"),
        ));
    }
    let weighed = |fields: &[String], usual: f64| -> Vec<(String, f64, bool)> {
        fields
            .iter()
            .map(|field| {
                let weight = input
                    .field_weights
                    .get(field)
                    .map_or(usual, |weight| weight.0);
                (
                    field.clone(),
                    weight,
                    input.empty.is_there(input.data.0.get(field)),
                )
            })
            .collect()
    };
    let required = weighed(&input.required_fields, 1.0);
    let optional = weighed(&input.optional_fields, OPTIONAL_WEIGHT);
    if let Some(field) = input.field_weights.keys().find(|field| {
        !input.required_fields.contains(field) && !input.optional_fields.contains(field)
    }) {
        return Err(Refusal::argument(
            "field_weights",
            format!("{field:?} is neither a required nor an optional field"),
        ));
    }
    let both = || required.iter().chain(&optional);
    let score =
        weighted_share(both().map(|(_, weight, there)| (*weight, *there))).ok_or_else(|| {
            Refusal::argument(
                "required_fields",
                "no field has a weight; name at least one that has",
            )
        })?;
    let missing = |fields: &[(String, f64, bool)]| -> Vec<String> {
        let missing = fields.iter().filter(|(.., there)| !there);
        missing.map(|(field, ..)| field.clone()).collect()
    };
    let (missing_required, missing_optional) = (missing(&required), missing(&optional));
    let mut recommendations = Vec::new();
    if !missing_required.is_empty() {
        recommendations.push(format!(
            "Fill the required fields: {}.",
            missing_required.join(", ")
        ));
    }
    if !missing_optional.is_empty() {
        recommendations.push(format!(
            "Consider filling: {}.",
            missing_optional.join(", ")
        ));
    }
    Ok(Completeness {
        score,
        level: Grade::of(score),
        present: both()
            .filter(|(.., there)| *there)
            .map(|(field, ..)| field.clone())
            .collect(),
        missing_required,
        missing_optional,
        recommendations,
    })
}

/// The weight of what is there in the weight of all; none when all weigh nothing.
pub(super) fn weighted_share(parts: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    let (there, all) = parts
        .into_iter()
        .fold((0.0, 0.0), |(there, all), (weight, is_there)| {
            (if is_there { there + weight } else { there }, all + weight)
        });
    (all > 0.0).then(|| there / all)
}

impl Emptiness {
    fn is_there(self, value: Option<&Value>) -> bool {
        match (self, value) {
            (_, None | Some(Value::Null)) => false,
            (Self::Lenient, Some(_)) => true,
            (Self::Strict, Some(Value::String(text))) => !text.trim().is_empty(),
            (Self::Strict, Some(Value::Array(items))) => !items.is_empty(),
            (Self::Strict, Some(Value::Object(fields))) => !fields.is_empty(),
            (Self::Strict, Some(_)) => true,
        }
    }
}

impl Quality {
    /// The score of a dimension; 0 where it was not asked for.
    pub(super) fn of(&self, dimension: Dimension) -> f64 {
        self.dimensions
            .iter()
            .find(|score| score.dimension == dimension)
            .map_or(0.0, |score| score.score)
    }
}

impl Grade {
    pub(super) fn of(score: f64) -> Self {
        match score {
            score if score >= 0.9 => Self::Excellent,
            score if score >= 0.7 => Self::Good,
            score if score >= 0.5 => Self::Fair,
            _ => Self::Poor,
        }
    }
}

impl Issue {
    fn of(score: &Score) -> Self {
        Self {
            dimension: score.dimension,
            severity: if score.score < score.threshold / 2.0 {
                Severity::High
            } else {
                Severity::Medium
            },
            description: format!(
                "{} is {:.3}, below {}",
                score.dimension.name(),
                score.score,
                score.threshold
            ),
        }
    }
}

impl PerDimension {
    fn of(&self, dimension: Dimension) -> Option<f64> {
        match dimension {
            Dimension::Completeness => self.completeness,
            Dimension::Accuracy => self.accuracy,
            Dimension::Consistency => self.consistency,
            Dimension::Timeliness => self.timeliness,
            Dimension::Validity => self.validity,
            Dimension::Uniqueness => self.uniqueness,
        }
    }
}

impl Dimension {
    pub(super) const ALL: [Self; 6] = [
        Self::Completeness,
        Self::Accuracy,
        Self::Consistency,
        Self::Timeliness,
        Self::Validity,
        Self::Uniqueness,
    ];

    pub(super) fn weight(self) -> f64 {
        match self {
            Self::Completeness | Self::Accuracy => 0.25,
            Self::Consistency => 0.20,
            Self::Timeliness => 0.15,
            Self::Validity => 0.10,
            Self::Uniqueness => 0.05,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Completeness => "completeness",
            Self::Accuracy => "accuracy",
            Self::Consistency => "consistency",
            Self::Timeliness => "timeliness",
            Self::Validity => "validity",
            Self::Uniqueness => "uniqueness",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Completeness => "Fill the missing fields, or make them optional where they are.",
            Self::Accuracy => "Correct the values that are not written in their declared format.",
            Self::Consistency => "Keep to one JSON type per field.",
            Self::Timeliness => "Refresh old records, and give each a date in updated_at.",
            Self::Validity => "Correct what validate_data reports for this schema.",
            Self::Uniqueness => "Remove the duplicate records.",
        }
    }

    fn score(
        self,
        context: &Context,
        records: &[Record],
        by: &Yardstick<'_>,
    ) -> Result<f64, Refusal> {
        let declared = by.fields.filter(|fields| !fields.0.is_empty());
        match self {
            Self::Completeness => match declared {
                Some(fields) => declared_completeness(context, records, fields),
                None => inferred_completeness(context, records),
            },
            Self::Accuracy => match declared {
                Some(fields) => accuracy(context, records, fields),
                None => Ok(1.0),
            },
            Self::Consistency => consistency(context, records),
            Self::Timeliness => timeliness(context, records, by.now_ms),
            Self::Validity => match declared {
                Some(fields) => {
                    Ok(validate(context, records, fields, Level::Standard)?.compliance_score)
                }
                None => Ok(1.0),
            },
            Self::Uniqueness => uniqueness(context, records),
        }
    }
}

/// The mean over records, with a look now and then at whether the caller still waits.
fn over(
    context: &Context,
    records: &[Record],
    doing: &str,
    mut score: impl FnMut(&Record) -> f64,
) -> Result<f64, Refusal> {
    let mut sum = 0.0;
    for (index, record) in records.iter().enumerate() {
        if index % STRIDE == 0 {
            context.step(steps(index), steps(records.len()), doing)?;
        }
        sum += score(record);
    }
    Ok(if records.is_empty() {
        1.0
    } else {
        sum / count(records.len())
    })
}

fn declared_completeness(
    context: &Context,
    records: &[Record],
    fields: &Fields,
) -> Result<f64, Refusal> {
    let weight = |field: &Field| if field.required { 1.0 } else { OPTIONAL_WEIGHT };
    over(context, records, "completeness", |record| {
        let parts = fields.0.iter();
        weighted_share(parts.map(|(name, field)| (weight(field), record.filled(name).is_some())))
            .unwrap_or(1.0)
    })
}

/// Without a schema, every field that any record has is expected of each.
fn inferred_completeness(context: &Context, records: &[Record]) -> Result<f64, Refusal> {
    let names: BTreeSet<&String> = records.iter().flat_map(|record| record.0.keys()).collect();
    over(context, records, "completeness", |record| {
        let filled = record.0.keys().filter(|name| record.filled(name).is_some());
        share(filled.count(), names.len())
    })
}

/// x 0.8 per field that breaks its declared format.
fn accuracy(context: &Context, records: &[Record], fields: &Fields) -> Result<f64, Refusal> {
    over(context, records, "accuracy", |record| {
        fields.0.iter().fold(1.0, |score, (name, field)| {
            match (field.format, record.filled(name)) {
                (Some(format), Some(value)) if !format.holds(value) => score * 0.8,
                _ => score,
            }
        })
    })
}

/// Mean over fields of 1 / distinct types. Null has no type; a field that is always null says nothing.
fn consistency(context: &Context, records: &[Record]) -> Result<f64, Refusal> {
    let mut kinds: BTreeMap<&str, BTreeSet<Kind>> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        if index % STRIDE == 0 {
            context.step(steps(index), steps(records.len()), "consistency")?;
        }
        for (name, value) in &record.0 {
            if let Some(kind) = Kind::of(value) {
                kinds.entry(name).or_default().insert(kind);
            }
        }
    }
    Ok(mean(kinds.values().map(|kinds| 1.0 / count(kinds.len()))).unwrap_or(1.0))
}

/// max(0, 1 - age in days / 365) of the newest date a record has; 0.5 where it has none. What is dated ahead of now is new.
fn timeliness(context: &Context, records: &[Record], now_ms: i64) -> Result<f64, Refusal> {
    over(context, records, "timeliness", |record| {
        let newest = TIME_FIELDS
            .iter()
            .filter_map(|field| moment(record.0.get(*field)?))
            .max();
        newest.map_or(0.5, |newest| freshness(newest, now_ms))
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an age in milliseconds, far below 2^53 for dates of this era"
)]
fn freshness(then_ms: i64, now_ms: i64) -> f64 {
    let age_days = now_ms.saturating_sub(then_ms) as f64 / DAY_MS;
    (1.0 - age_days / 365.0).clamp(0.0, 1.0)
}

/// Distinct records / records. Order of fields does not make a record another.
fn uniqueness(context: &Context, records: &[Record]) -> Result<f64, Refusal> {
    // Digests, as records may be large.
    let mut distinct = BTreeSet::new();
    for (index, record) in records.iter().enumerate() {
        if index % STRIDE == 0 {
            context.step(steps(index), steps(records.len()), "uniqueness")?;
        }
        let text = canonical(record)
            .map_err(|error| Refusal::argument(format!("dataset[{index}]"), error.to_string()))?;
        distinct.insert(Sha256::digest(text));
    }
    Ok(share(distinct.len(), records.len()))
}
