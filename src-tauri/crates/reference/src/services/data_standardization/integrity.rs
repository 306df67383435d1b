//! Whether records hang together: unaltered, well written, pointing at what exists, adding up, in the order of time.

use super::{
    checks::{Tally, Verdict},
    format::{Format, moment},
    record::{Record, canonical, quietly},
    rules::needed,
    validation::{steps, told},
};
use crate::tool::{Context, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt::Write as _};

/// How far a total may be from its parts, as a share of the larger of both. Convention of the original system.
const TOLERANCE: f64 = 0.05;

/// One integrity check.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IntegrityInput {
    /// What the report calls it. Its kind when absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    /// checksum: the SHA-256 of the record (of `fields`, or of all but `field`; as JSON by RFC 8785) is `expected`, or what `field` holds.
    /// format: `field` is written as `format`. relationships: the value of `field` is in the field `references` of a record of the dataset.
    /// numerical: `field` is the sum of `fields`, within `tolerance`. temporal: the moments in `fields` do not go backwards.
    /// Apart from checksum, a check does not apply where its fields are missing.
    check: IntegrityKind,
    /// The field it is about.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    field: Option<String>,
    /// Fields hashed, added or put in order of time, up to 50.
    #[serde(default)]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 200)))]
    fields: Option<Vec<String>>,
    /// checksum: 64 hexadecimal digits.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{64}$"))]
    expected: Option<String>,
    /// format: how the field is written.
    #[serde(default)]
    format: Option<Format>,
    /// relationships: the field of the dataset that is pointed at. The same name when absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    references: Option<String>,
    /// numerical: largest difference, as a share of the larger of total and sum, 0 to 1. Default 0.05.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    tolerance: Option<f64>,
}

/// A kind of integrity check.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IntegrityKind {
    Checksum,
    Format,
    Relationships,
    Numerical,
    Temporal,
}

/// A check that makes sense.
enum Integrity {
    Checksum {
        field: Option<String>,
        fields: Option<Vec<String>>,
        expected: Option<String>,
    },
    Format(String, Format),
    Relationship {
        field: String,
        known: BTreeSet<Vec<u8>>,
    },
    Sum {
        total: String,
        parts: Vec<String>,
        tolerance: f64,
    },
    Order(Vec<String>),
}

pub(super) fn examine_integrity(
    context: &Context,
    records: &[Record],
    dataset: Option<&[Record]>,
    checks: Vec<IntegrityInput>,
) -> Result<Tally, Refusal> {
    let checks: Vec<(String, Integrity)> = checks
        .into_iter()
        .enumerate()
        .map(|(index, check)| check.read(&format!("checks[{index}]"), dataset))
        .collect::<Result<_, _>>()?;
    let quiet = &quietly(context);
    let mut tally = Tally::default();
    for (index, (name, check)) in checks.iter().enumerate() {
        context.step(steps(index), steps(checks.len()), name)?;
        tally.examine(quiet, name, records, |record| check.judge(record))?;
    }
    Ok(tally)
}

impl IntegrityInput {
    /// Takes what its kind needs. What is left over belongs to another kind, and is refused.
    fn read(
        mut self,
        at: &str,
        dataset: Option<&[Record]>,
    ) -> Result<(String, Integrity), Refusal> {
        let name = self.name.take().unwrap_or_else(|| told(&self.check));
        let check = match self.check {
            IntegrityKind::Checksum => {
                let (field, expected) = (self.field.take(), self.expected.take());
                if field.is_none() && expected.is_none() {
                    return Err(Refusal::argument(
                        format!("{at}.expected"),
                        "checksum needs expected, or the field that holds it",
                    ));
                }
                Integrity::Checksum {
                    field,
                    fields: self.fields.take(),
                    expected,
                }
            }
            IntegrityKind::Format => Integrity::Format(
                needed(at, "field", self.field.take())?,
                needed(at, "format", self.format.take())?,
            ),
            IntegrityKind::Relationships => {
                let field = needed(at, "field", self.field.take())?;
                let references = self.references.take().unwrap_or_else(|| field.clone());
                let dataset = dataset.ok_or_else(|| {
                    Refusal::argument(
                        "dataset",
                        "is required by the check relationships, and missing",
                    )
                })?;
                let known = dataset
                    .iter()
                    .filter_map(|record| canonical(record.filled(&references)?).ok());
                Integrity::Relationship {
                    known: known.collect(),
                    field,
                }
            }
            IntegrityKind::Numerical => Integrity::Sum {
                total: needed(at, "field", self.field.take())?,
                parts: needed(at, "fields", self.fields.take())?,
                tolerance: self.tolerance.take().unwrap_or(TOLERANCE),
            },
            IntegrityKind::Temporal => {
                let fields = needed(at, "fields", self.fields.take())?;
                if fields.len() < 2 {
                    return Err(Refusal::argument(
                        format!("{at}.fields"),
                        "temporal needs at least 2 fields",
                    ));
                }
                Integrity::Order(fields)
            }
        };
        let left_over = [
            ("field", self.field.is_some()),
            ("fields", self.fields.is_some()),
            ("expected", self.expected.is_some()),
            ("format", self.format.is_some()),
            ("references", self.references.is_some()),
            ("tolerance", self.tolerance.is_some()),
        ];
        match left_over.iter().find(|(_, is_given)| *is_given) {
            Some((field, _)) => Err(Refusal::argument(
                format!("{at}.{field}"),
                "is not an argument of this kind of check",
            )),
            None => Ok((name, check)),
        }
    }
}

impl Integrity {
    fn judge(&self, record: &Record) -> Verdict {
        match self {
            Self::Checksum {
                field,
                fields,
                expected,
            } => {
                let about = field.as_deref().unwrap_or("checksum");
                let held = field.as_ref().and_then(|field| record.filled(field));
                let expected = expected.as_deref().or_else(|| held.and_then(Value::as_str));
                let content = hashed(record, field.as_deref(), fields.as_deref());
                match (expected, checksum(&content)) {
                    (None, _) => {
                        Verdict::Violated(about.to_owned(), "holds no checksum".to_owned())
                    }
                    (Some(_), None) => {
                        Verdict::Violated(about.to_owned(), "cannot be hashed".to_owned())
                    }
                    (Some(expected), Some(actual)) => {
                        Verdict::of(actual.eq_ignore_ascii_case(expected), about, || {
                            format!("the record's checksum is {actual}")
                        })
                    }
                }
            }
            Self::Format(field, format) => match record.filled(field) {
                Some(value) => Verdict::of(format.holds(value), field, || {
                    format!("is not written as {}", told(format))
                }),
                None => Verdict::NotApplicable,
            },
            Self::Relationship { field, known } => match record.filled(field) {
                Some(value) => {
                    let is_known = canonical(value).is_ok_and(|value| known.contains(&value));
                    Verdict::of(is_known, field, || {
                        "points at nothing in the dataset".to_owned()
                    })
                }
                None => Verdict::NotApplicable,
            },
            Self::Sum {
                total,
                parts,
                tolerance,
            } => judge_sum(record, total, parts, *tolerance),
            Self::Order(fields) => judge_order(record, fields),
        }
    }
}

fn judge_sum(record: &Record, total: &str, parts: &[String], tolerance: f64) -> Verdict {
    let there: Vec<&Value> = parts
        .iter()
        .filter_map(|part| record.filled(part))
        .collect();
    let Some(value) = record.filled(total).filter(|_| !there.is_empty()) else {
        return Verdict::NotApplicable;
    };
    let numbers: Option<Vec<f64>> = there.iter().map(|value| value.as_f64()).collect();
    let (Some(whole), Some(numbers)) = (value.as_f64(), numbers) else {
        return Verdict::Violated(
            total.to_owned(),
            "total and parts must be numbers".to_owned(),
        );
    };
    let sum: f64 = numbers.iter().sum();
    // An infinite sum is near nothing: the comparison is then false.
    let is_near = sum.is_finite() && (whole - sum).abs() <= tolerance * whole.abs().max(sum.abs());
    Verdict::of(is_near, total, || {
        format!("is {whole}, its parts make {sum}")
    })
}

fn judge_order(record: &Record, fields: &[String]) -> Verdict {
    let mut latest: Option<(i64, &String)> = None;
    let mut compared = false;
    for field in fields {
        let Some(value) = record.filled(field) else {
            continue;
        };
        let Some(at) = moment(value) else {
            return Verdict::Violated(field.clone(), "is no moment in ISO 8601".to_owned());
        };
        if let Some((before, earlier)) = latest {
            compared = true;
            if at < before {
                return Verdict::Violated(field.clone(), format!("is before {earlier}"));
            }
        }
        latest = Some((at, field));
    }
    if compared {
        Verdict::Passed
    } else {
        Verdict::NotApplicable
    }
}

/// The part of a record that a checksum is of: never the field that holds it.
fn hashed(record: &Record, field: Option<&str>, fields: Option<&[String]>) -> Map<String, Value> {
    let parts = record.0.iter().filter(|(name, _)| {
        Some(name.as_str()) != field && fields.is_none_or(|fields| fields.contains(name))
    });
    parts
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// SHA-256 of the canonical JSON, in hexadecimal.
fn checksum(content: &Map<String, Value>) -> Option<String> {
    let digest = Sha256::digest(canonical(content).ok()?);
    let mut text = String::with_capacity(64);
    for byte in digest {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}
