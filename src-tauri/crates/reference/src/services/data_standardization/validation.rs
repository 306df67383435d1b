//! Records against what is declared of their fields.

use super::record::{Field, Fields, Record, Records, STRIDE, is_filled, same, share};
use crate::tool::{Context, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Errors and warnings that a report lists, at most; all are counted.
pub(super) const MOST_LISTED: usize = 100;

/// What `validate_data` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidateInput {
    /// The record to check, or a list of up to 10,000.
    data: Records,
    /// What its fields must be, by name.
    schema: Fields,
    /// How much must hold to be valid: strict = every check, standard = 80 % of them, lenient = 60 %.
    #[serde(default)]
    level: Level,
}

/// How much must hold to be valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Strict,
    #[default]
    Standard,
    Lenient,
}

/// What came of checking records against their declared fields.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Validation {
    /// Whether the compliance score reaches the threshold of the level.
    pub(super) is_valid: bool,
    /// Checks passed / checks made, 0 to 1; 1 when there was nothing to check.
    pub(super) compliance_score: f64,
    /// The level asked for.
    pub(super) level: Level,
    /// The compliance score it demands.
    pub(super) threshold: f64,
    /// Records checked.
    pub(super) records: usize,
    /// Checks made.
    pub(super) checks: usize,
    /// Checks passed.
    pub(super) passed: usize,
    /// How many checks failed.
    pub(super) error_count: usize,
    /// The first 100 of them, in order of records.
    pub(super) errors: Vec<Problem>,
    /// Fields that are not declared, the first 100.
    pub(super) warnings: Vec<String>,
    /// Per declared field, what came of it.
    pub(super) field_validations: BTreeMap<String, FieldValidation>,
}

/// A check that failed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// Index of the record, from 0.
    record: usize,
    /// The field.
    field: String,
    /// The check.
    check: Check,
    /// What is wrong.
    message: String,
}

/// What came of one field.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(super) struct FieldValidation {
    /// Whether all its checks passed.
    is_valid: bool,
    /// Checks made.
    checks: usize,
    /// Checks passed.
    passed: usize,
}

/// What is checked of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Check {
    Required,
    Type,
    Format,
    Range,
    Length,
    Allowed,
}

pub(super) fn validate_data(
    context: &Context,
    input: ValidateInput,
) -> Result<Validation, Refusal> {
    for (name, field) in &input.schema.0 {
        refuse_empty_range(&format!("schema.{name}"), field)?;
    }
    validate(context, input.data.as_slice(), &input.schema, input.level)
}

/// Makes every check that is declared. A field that is not required and not there is not checked.
pub(super) fn validate(
    context: &Context,
    records: &[Record],
    fields: &Fields,
    level: Level,
) -> Result<Validation, Refusal> {
    let mut seen: Vec<(&String, &Field, FieldValidation)> = fields
        .0
        .iter()
        .map(|(name, field)| (name, field, FieldValidation::default()))
        .collect();
    let mut errors = Vec::new();
    let mut undeclared: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        if index % STRIDE == 0 {
            context.step(steps(index), steps(records.len()), "checking records")?;
        }
        for name in record.0.keys().filter(|name| !fields.0.contains_key(*name)) {
            *undeclared.entry(name).or_default() += 1;
        }
        for (name, field, counts) in &mut seen {
            field.examine(record.filled(name), |check, holds| {
                counts.checks += 1;
                if holds {
                    counts.passed += 1;
                } else if errors.len() < MOST_LISTED {
                    errors.push(Problem {
                        record: index,
                        field: (*name).clone(),
                        check,
                        message: field.wants(check),
                    });
                }
            });
        }
    }
    let checks = seen.iter().map(|(.., counts)| counts.checks).sum();
    let passed = seen.iter().map(|(.., counts)| counts.passed).sum();
    let compliance_score = share(passed, checks);
    Ok(Validation {
        is_valid: compliance_score >= level.threshold(),
        compliance_score,
        level,
        threshold: level.threshold(),
        records: records.len(),
        checks,
        passed,
        error_count: checks - passed,
        errors,
        warnings: undeclared
            .into_iter()
            .take(MOST_LISTED)
            .map(|(name, times)| format!("{name} is not declared; {times} records have it"))
            .collect(),
        field_validations: seen
            .into_iter()
            .map(|(name, _, counts)| {
                let is_valid = counts.checks == counts.passed;
                (name.clone(), FieldValidation { is_valid, ..counts })
            })
            .collect(),
    })
}

/// A range or length in which nothing lies is a mistake of whoever declared it.
fn refuse_empty_range(at: &str, field: &Field) -> Result<(), Refusal> {
    if let (Some(min), Some(max)) = (field.min, field.max)
        && min > max
    {
        return Err(Refusal::argument(
            format!("{at}.min"),
            format!("{min} is above max, {max}"),
        ));
    }
    if let (Some(min), Some(max)) = (field.min_length, field.max_length)
        && min > max
    {
        return Err(Refusal::argument(
            format!("{at}.min_length"),
            format!("{min} is above max_length, {max}"),
        ));
    }
    Ok(())
}

impl Level {
    pub(super) fn threshold(self) -> f64 {
        match self {
            Self::Strict => 1.0,
            Self::Standard => 0.8,
            Self::Lenient => 0.6,
        }
    }
}

impl Field {
    /// Makes the checks that apply to a value, and tells what came of each.
    pub(super) fn examine(&self, value: Option<&Value>, mut tell: impl FnMut(Check, bool)) {
        if self.required {
            tell(Check::Required, value.is_some());
        }
        let Some(value) = value.filter(|value| is_filled(value)) else {
            return;
        };
        if let Some(kind) = self.kind {
            tell(Check::Type, kind.holds(value));
        }
        if let Some(format) = self.format {
            tell(Check::Format, format.holds(value));
        }
        if self.min.is_some() || self.max.is_some() {
            tell(Check::Range, in_range(value, self.min, self.max));
        }
        if self.min_length.is_some() || self.max_length.is_some() {
            tell(Check::Length, self.has_length_of(value));
        }
        if let Some(allowed) = &self.allowed {
            tell(
                Check::Allowed,
                allowed.iter().any(|allowed| same(allowed, value)),
            );
        }
    }

    fn has_length_of(&self, value: &Value) -> bool {
        let length = match value {
            Value::String(text) => text.chars().count(),
            Value::Array(items) => items.len(),
            _ => return false,
        };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.min_length.is_none_or(|min| length >= min)
            && self.max_length.is_none_or(|max| length <= max)
    }

    fn wants(&self, check: Check) -> String {
        match check {
            Check::Required => "is required and missing".to_owned(),
            Check::Type => format!("must be of type {}", told(&self.kind)),
            Check::Format => format!("must be written as {}", told(&self.format)),
            Check::Range => format!("must be a number {}", range(self.min, self.max)),
            Check::Length => {
                let whole = |length: Option<u32>| length.map(f64::from);
                format!(
                    "must have a length {}",
                    range(whole(self.min_length), whole(self.max_length))
                )
            }
            Check::Allowed => "is none of the values allowed".to_owned(),
        }
    }
}

/// Whether a value is a number within bounds.
pub(super) fn in_range(value: &Value, min: Option<f64>, max: Option<f64>) -> bool {
    value.as_f64().is_some_and(|number| {
        min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)
    })
}

/// Bounds in words.
pub(super) fn range(min: Option<f64>, max: Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("from {min} to {max}"),
        (Some(min), None) => format!("of {min} or more"),
        (None, Some(max)) => format!("of {max} or less"),
        (None, None) => "of any size".to_owned(),
    }
}

/// The name of a choice, as clients write it.
pub(super) fn told(choice: &impl Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

/// A count as progress tells it.
pub(super) fn steps(done: usize) -> u32 {
    u32::try_from(done).unwrap_or(u32::MAX)
}
