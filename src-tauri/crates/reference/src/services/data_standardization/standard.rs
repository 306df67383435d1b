//! Records brought to the standard of their kind: four levels from the general to the specific, and what follows from them.

use super::{
    confidence::{Evidence, usual_confidence},
    quality::{Dimension, Quality, Yardstick, assess, weighted_share},
    record::{Field, Fields, Kind, Record, STRIDE, mean, quietly, share},
    validation::{Level, Validation, steps, validate},
    words::{ARROW, UNKNOWN, clean_code, clean_name},
};
use crate::tool::{Context, Refusal};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// Completeness, accuracy and consistency that data needs to be standardised at all.
pub(super) const GATE: f64 = 0.6;

/// Fields that may hold all levels in one line, as "Assets → Cash".
pub(super) const HIERARCHY_FIELDS: [&str; 3] = ["hierarchy_path", "hierarchy", "path"];

/// The names of a kind's identifier and levels.
pub(super) struct Shape {
    pub(super) kind: &'static str,
    pub(super) id: &'static str,
    pub(super) levels: [&'static str; 4],
}

/// A kind of record that has a standard.
pub(super) trait Standard: Serialize + Sized {
    const SHAPE: Shape;

    /// Works out the standard form.
    fn of(parts: &Parts) -> Self;

    /// Whether it is known what the record is about.
    fn is_recognised(&self) -> bool;

    /// Every field that must be known, with what it counts in completeness.
    fn weighed(&self) -> Vec<(&'static str, &str, f64)>;
}

/// The cleaned parts of a record.
pub(super) struct Parts {
    pub(super) id: String,
    pub(super) levels: [String; 4],
}

/// What came of standardising records of one kind.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Standardization<S> {
    /// completed, or quality_insufficient: the data is below 0.6 in completeness, accuracy or consistency, and was left alone.
    pub(super) status: Status,
    /// Why it was left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// Records given.
    pub(super) records: usize,
    /// Records of which it is now known what they are about.
    pub(super) standardized: usize,
    /// standardized / records; 0 when left alone.
    pub(super) success_rate: f64,
    /// Mean confidence of the items; 0 when left alone.
    pub(super) average_confidence: f64,
    /// Quality of what was given.
    pub(super) quality: Quality,
    /// What was given against the shape of its kind.
    pub(super) pre_validation: Validation,
    /// The result against the standard; "Unknown" counts as missing. Absent when left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) post_validation: Option<Validation>,
    /// Per record, in the order given.
    pub(super) items: Vec<Item<S>>,
}

/// Whether records were standardised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Completed,
    QualityInsufficient,
}

/// One record, standardised.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Item<S> {
    /// As it was given.
    original: Record,
    /// Its standard form.
    standardized: S,
    /// How far the result can be trusted, 0.05 to 0.95.
    confidence: f64,
    /// What the confidence comes from.
    quality_factors: QualityFactors,
}

/// What the confidence of an item comes from.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct QualityFactors {
    /// Share of identifier and levels that were given, 0 to 1: the data quality in the confidence.
    input_completeness: f64,
    /// Weighted share of the standard's fields that are known, 0 to 1: the validation in the confidence.
    output_completeness: f64,
    /// Whether it is known what the record is about.
    recognised: bool,
}

impl Shape {
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.id).chain(self.levels)
    }

    /// What is asked of records of this kind: the identifier and all levels, as text or numbers.
    pub(super) fn declared(&self) -> Fields {
        let required = Field {
            required: true,
            ..Field::default()
        };
        Fields(
            self.fields()
                .map(|field| (field.to_owned(), required.clone()))
                .collect(),
        )
    }

    /// Fills missing levels from the hierarchy that the record has in one line. What is more than four levels stays in the fourth.
    pub(super) fn expand(&self, record: &Record) -> Record {
        let mut expanded = record.clone();
        let line = HIERARCHY_FIELDS
            .iter()
            .find_map(|field| record.filled(field)?.as_str());
        for (level, part) in self
            .levels
            .iter()
            .zip(line.unwrap_or_default().splitn(4, '→'))
        {
            if record.filled(level).is_none() && !part.trim().is_empty() {
                expanded
                    .0
                    .insert((*level).to_owned(), Value::from(part.trim()));
            }
        }
        expanded
    }

    fn parts(&self, record: &Record) -> Parts {
        let known = |text: String| {
            if text.is_empty() {
                UNKNOWN.to_owned()
            } else {
                text
            }
        };
        Parts {
            id: known(
                record
                    .words(self.id)
                    .map_or_else(String::new, |id| clean_code(&id)),
            ),
            levels: self.levels.map(|level| {
                record
                    .words(level)
                    .map_or_else(|| UNKNOWN.to_owned(), |name| clean_name(&name))
            }),
        }
    }
}

impl Parts {
    /// The known levels in one line.
    pub(super) fn path(&self) -> String {
        path(self.levels.each_ref().map(String::as_str))
    }
}

/// Known levels in one line.
pub(super) fn path(levels: [&str; 4]) -> String {
    let known: Vec<&str> = levels.into_iter().filter(|level| is_known(level)).collect();
    if known.is_empty() {
        UNKNOWN.to_owned()
    } else {
        known.join(ARROW)
    }
}

pub(super) fn is_known(text: &str) -> bool {
    text != UNKNOWN
}

/// Standardises records if their quality allows it.
pub(super) fn standardize<S: Standard>(
    context: &Context,
    records: &[Record],
    now_ms: i64,
) -> Result<Standardization<S>, Refusal> {
    let expanded: Vec<Record> = records
        .iter()
        .map(|record| S::SHAPE.expand(record))
        .collect();
    let fields = S::SHAPE.declared();
    let quiet = &quietly(context);
    let quality = assess(quiet, &expanded, &Yardstick::usual(&fields, now_ms))?;
    let pre_validation = validate(quiet, &expanded, &fields, Level::Standard)?;
    let low = [
        Dimension::Completeness,
        Dimension::Accuracy,
        Dimension::Consistency,
    ]
    .into_iter()
    .find(|dimension| quality.of(*dimension) < GATE);
    if let Some(low) = low {
        return Ok(Standardization {
            status: Status::QualityInsufficient,
            reason: Some(format!(
                "{} of the {} records is {:.3}, below {GATE}",
                low.name(),
                S::SHAPE.kind,
                quality.of(low)
            )),
            records: records.len(),
            standardized: 0,
            success_rate: 0.0,
            average_confidence: 0.0,
            quality,
            pre_validation,
            post_validation: None,
            items: Vec::new(),
        });
    }
    let mut items = Vec::with_capacity(records.len());
    for (index, (original, expanded)) in records.iter().zip(&expanded).enumerate() {
        if index % STRIDE == 0 {
            context.step(steps(index), steps(records.len()), "standardising")?;
        }
        items.push(standardize_one::<S>(original, expanded));
    }
    let standardized = items
        .iter()
        .filter(|item| item.quality_factors.recognised)
        .count();
    let results: Vec<Record> = items
        .iter()
        .map(|item| known_fields(&item.standardized))
        .collect();
    let post_validation = validate(quiet, &results, &wanted(&items), Level::Standard)?;
    Ok(Standardization {
        status: Status::Completed,
        reason: None,
        records: records.len(),
        standardized,
        success_rate: share(standardized, records.len()),
        average_confidence: mean(items.iter().map(|item| item.confidence)).unwrap_or(0.0),
        quality,
        pre_validation,
        post_validation: Some(post_validation),
        items,
    })
}

fn standardize_one<S: Standard>(original: &Record, expanded: &Record) -> Item<S> {
    let given = S::SHAPE
        .fields()
        .filter(|field| expanded.words(field).is_some())
        .count();
    let standardized = S::of(&S::SHAPE.parts(expanded));
    let input_completeness = share(given, S::SHAPE.fields().count());
    let output_completeness = weighted_share(
        standardized
            .weighed()
            .into_iter()
            .map(|(_, value, weight)| (weight, is_known(value))),
    )
    .unwrap_or(0.0);
    Item {
        original: original.clone(),
        confidence: usual_confidence(Evidence {
            data_quality: input_completeness,
            validation: output_completeness,
        }),
        quality_factors: QualityFactors {
            input_completeness,
            output_completeness,
            recognised: standardized.is_recognised(),
        },
        standardized,
    }
}

/// The fields of a standard form whose value is known.
fn known_fields<S: Standard>(standardized: &S) -> Record {
    let known = standardized
        .weighed()
        .into_iter()
        .filter(|(_, value, _)| is_known(value));
    let fields = known.map(|(name, value, _)| (name.to_owned(), Value::from(value)));
    Record(fields.collect::<Map<_, _>>())
}

/// The fields that a standard form must have, all text.
fn wanted<S: Standard>(items: &[Item<S>]) -> Fields {
    let names = items
        .first()
        .map(|item| item.standardized.weighed())
        .unwrap_or_default();
    let text = Field {
        required: true,
        kind: Some(Kind::String),
        ..Field::default()
    };
    Fields(
        names
            .into_iter()
            .map(|(name, ..)| (name.to_owned(), text.clone()))
            .collect(),
    )
}
