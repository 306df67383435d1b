//! Business rules as data: what must be there, what it must look like, and what must hold when something else does.

use super::{
    checks::{Tally, Verdict},
    format::{Format, moment_of_text},
    record::{Record, canonical, quietly, same},
    validation::{in_range, range, steps, told},
};
use crate::tool::{Context, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{cmp::Ordering, collections::BTreeSet};

/// One business rule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleInput {
    /// What the report calls it. Its kind when absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    /// required_field: `field` is filled. format_validation: `field` is written as `format`. range_check: `field` is a number from `min`
    /// to `max`. dependency_check: see `dependency`. uniqueness_check: no two records have the same `field` (within `group_by`).
    /// business_logic: where all of `when` hold, all of `then` must hold. A field that is missing violates required_field alone.
    rule: RuleKind,
    /// The field it is about.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    field: Option<String>,
    /// format_validation: how the field is written.
    #[serde(default)]
    format: Option<Format>,
    /// range_check: smallest number allowed.
    #[serde(default)]
    min: Option<f64>,
    /// range_check: largest number allowed.
    #[serde(default)]
    max: Option<f64>,
    /// dependency_check: required_if_present: `field` is filled where `other` is. required_if_value: `field` is filled where `other` is `value`.
    /// mutually_exclusive: at most one of `fields` is filled. both_or_neither: all of `fields` are filled, or none.
    #[serde(default)]
    dependency: Option<Dependency>,
    /// dependency_check: the field that `field` depends on.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    other: Option<String>,
    /// dependency_check required_if_value: the value of `other` that makes `field` required.
    #[serde(default)]
    value: Option<Value>,
    /// dependency_check mutually_exclusive and both_or_neither: the fields, 2 to 50.
    #[serde(default)]
    #[schemars(length(min = 2, max = 50), inner(length(min = 1, max = 200)))]
    fields: Option<Vec<String>>,
    /// uniqueness_check: the field within whose values `field` must be unique. Everywhere when absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    group_by: Option<String>,
    /// business_logic: conditions that make the rule apply, up to 20. It always applies when absent.
    #[serde(default)]
    #[schemars(length(max = 20))]
    when: Option<Vec<ConditionInput>>,
    /// business_logic: conditions that must hold then, 1 to 20.
    #[serde(default)]
    #[schemars(length(min = 1, max = 20))]
    then: Option<Vec<ConditionInput>>,
}

/// A kind of rule.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RuleKind {
    RequiredField,
    FormatValidation,
    RangeCheck,
    DependencyCheck,
    UniquenessCheck,
    BusinessLogic,
}

/// How fields depend on each other.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dependency {
    RequiredIfPresent,
    RequiredIfValue,
    MutuallyExclusive,
    BothOrNeither,
}

/// Something that holds of a record, or not.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConditionInput {
    /// The field.
    #[schemars(length(min = 1, max = 200))]
    field: String,
    /// How it is compared: equals, not_equals, less, at_most, greater and at_least with `value` or with the field `other`; in and not_in with
    /// `values`; present and absent alone. Numbers compare as numbers, ISO dates as moments, other text by code point. No comparison holds of a
    /// field that is missing.
    is: Operator,
    /// The value to compare with.
    #[serde(default)]
    value: Option<Value>,
    /// The field to compare with.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    other: Option<String>,
    /// The values for in and not_in, up to 100.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    values: Option<Vec<Value>>,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operator {
    Equals,
    NotEquals,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    NotIn,
    Present,
    Absent,
}

/// A rule that makes sense.
enum Rule {
    Required(String),
    Format(String, Format),
    Range(String, Option<f64>, Option<f64>),
    RequiredIf {
        field: String,
        other: String,
        value: Option<Value>,
    },
    AtMostOne(Vec<String>),
    AllOrNone(Vec<String>),
    Unique {
        field: String,
        group_by: Option<String>,
    },
    Logic {
        when: Vec<Condition>,
        then: Vec<Condition>,
    },
}

/// A condition that makes sense.
struct Condition {
    field: String,
    test: Test,
}

enum Test {
    Present(bool),
    Among(Vec<Value>, bool),
    Compare(Operator, Operand),
}

enum Operand {
    Value(Value),
    Field(String),
}

pub(super) fn examine_rules(
    context: &Context,
    records: &[Record],
    dataset: Option<&[Record]>,
    rules: Vec<RuleInput>,
) -> Result<Tally, Refusal> {
    // All are read before the first is applied, so that a mistake in the last costs nothing.
    let rules: Vec<(String, Rule)> = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| rule.read(&format!("rules[{index}]")))
        .collect::<Result<_, _>>()?;
    let quiet = &quietly(context);
    let mut tally = Tally::default();
    for (index, (name, rule)) in rules.iter().enumerate() {
        context.step(steps(index), steps(rules.len()), name)?;
        if let Rule::Unique { field, group_by } = rule {
            let mut seen = BTreeSet::new();
            let key = |record: &Record| {
                let value = record.filled(field)?;
                let group = group_by.as_ref().and_then(|group| record.filled(group));
                canonical(&(group, value)).ok()
            };
            seen.extend(dataset.unwrap_or_default().iter().filter_map(key));
            tally.examine(quiet, name, records, |record| match key(record) {
                Some(key) => Verdict::of(seen.insert(key), field, || "is not unique".to_owned()),
                None => Verdict::NotApplicable,
            })?;
        } else {
            tally.examine(quiet, name, records, |record| rule.judge(record))?;
        }
    }
    Ok(tally)
}

impl RuleInput {
    /// Takes what its kind needs. What is left over belongs to another kind, and is refused.
    fn read(mut self, at: &str) -> Result<(String, Rule), Refusal> {
        let name = self.name.take().unwrap_or_else(|| told(&self.rule));
        let rule = match self.rule {
            RuleKind::RequiredField => Rule::Required(self.field(at)?),
            RuleKind::FormatValidation => {
                Rule::Format(self.field(at)?, needed(at, "format", self.format.take())?)
            }
            RuleKind::RangeCheck => self.read_range(at)?,
            RuleKind::DependencyCheck => self.read_dependency(at)?,
            RuleKind::UniquenessCheck => Rule::Unique {
                field: self.field(at)?,
                group_by: self.group_by.take(),
            },
            RuleKind::BusinessLogic => Rule::Logic {
                when: read_conditions(&format!("{at}.when"), self.when.take().unwrap_or_default())?,
                then: read_conditions(
                    &format!("{at}.then"),
                    needed(at, "then", self.then.take())?,
                )?,
            },
        };
        let left_over = [
            ("field", self.field.is_some()),
            ("format", self.format.is_some()),
            ("min", self.min.is_some()),
            ("max", self.max.is_some()),
            ("dependency", self.dependency.is_some()),
            ("other", self.other.is_some()),
            ("value", self.value.is_some()),
            ("fields", self.fields.is_some()),
            ("group_by", self.group_by.is_some()),
            ("when", self.when.is_some()),
            ("then", self.then.is_some()),
        ];
        match left_over.iter().find(|(_, is_given)| *is_given) {
            Some((field, _)) => Err(Refusal::argument(
                format!("{at}.{field}"),
                "is not an argument of this kind of rule",
            )),
            None => Ok((name, rule)),
        }
    }

    fn read_range(&mut self, at: &str) -> Result<Rule, Refusal> {
        let (min, max) = (self.min.take(), self.max.take());
        match (min, max) {
            (None, None) => Err(Refusal::argument(
                format!("{at}.min"),
                "range_check needs min, max, or both",
            )),
            (Some(min), Some(max)) if min > max => Err(Refusal::argument(
                format!("{at}.min"),
                format!("{min} is above max, {max}"),
            )),
            _ => Ok(Rule::Range(self.field(at)?, min, max)),
        }
    }

    fn read_dependency(&mut self, at: &str) -> Result<Rule, Refusal> {
        Ok(match needed(at, "dependency", self.dependency.take())? {
            Dependency::RequiredIfPresent => Rule::RequiredIf {
                field: self.field(at)?,
                other: needed(at, "other", self.other.take())?,
                value: None,
            },
            Dependency::RequiredIfValue => Rule::RequiredIf {
                field: self.field(at)?,
                other: needed(at, "other", self.other.take())?,
                value: Some(needed(at, "value", self.value.take())?),
            },
            Dependency::MutuallyExclusive => {
                Rule::AtMostOne(needed(at, "fields", self.fields.take())?)
            }
            Dependency::BothOrNeither => Rule::AllOrNone(needed(at, "fields", self.fields.take())?),
        })
    }

    fn field(&mut self, at: &str) -> Result<String, Refusal> {
        needed(at, "field", self.field.take())
    }
}

fn read_conditions(at: &str, conditions: Vec<ConditionInput>) -> Result<Vec<Condition>, Refusal> {
    conditions
        .into_iter()
        .enumerate()
        .map(|(index, condition)| condition.read(&format!("{at}[{index}]")))
        .collect()
}

impl ConditionInput {
    fn read(self, at: &str) -> Result<Condition, Refusal> {
        let test = match (self.is, self.value, self.other, self.values) {
            (Operator::Present, None, None, None) => Test::Present(true),
            (Operator::Absent, None, None, None) => Test::Present(false),
            (Operator::In, None, None, Some(values)) => Test::Among(values, true),
            (Operator::NotIn, None, None, Some(values)) => Test::Among(values, false),
            (Operator::Present | Operator::Absent, ..) => {
                return Err(Refusal::argument(
                    at,
                    "present and absent compare with nothing",
                ));
            }
            (Operator::In | Operator::NotIn, ..) => {
                return Err(Refusal::argument(
                    at,
                    "in and not_in compare with values, nothing else",
                ));
            }
            (operator, Some(value), None, None) => Test::Compare(operator, Operand::Value(value)),
            (operator, None, Some(other), None) => Test::Compare(operator, Operand::Field(other)),
            _ => {
                return Err(Refusal::argument(
                    at,
                    "compares with either value or other, and needs one of them",
                ));
            }
        };
        Ok(Condition {
            field: self.field,
            test,
        })
    }
}

impl Rule {
    fn judge(&self, record: &Record) -> Verdict {
        match self {
            Self::Required(field) => Verdict::of(record.filled(field).is_some(), field, || {
                "is required and missing".to_owned()
            }),
            Self::Format(field, format) => match record.filled(field) {
                Some(value) => Verdict::of(format.holds(value), field, || {
                    format!("is not written as {}", told(format))
                }),
                None => Verdict::NotApplicable,
            },
            Self::Range(field, min, max) => match record.filled(field) {
                Some(value) => Verdict::of(in_range(value, *min, *max), field, || {
                    format!("is not a number {}", range(*min, *max))
                }),
                None => Verdict::NotApplicable,
            },
            Self::RequiredIf {
                field,
                other,
                value,
            } => {
                let applies = match (record.filled(other), value) {
                    (Some(actual), Some(value)) => same(actual, value),
                    (actual, None) => actual.is_some(),
                    (None, Some(_)) => false,
                };
                if applies {
                    Verdict::of(record.filled(field).is_some(), field, || {
                        format!("is required because of {other}, and missing")
                    })
                } else {
                    Verdict::NotApplicable
                }
            }
            Self::AtMostOne(fields) => match filled(record, fields).as_slice() {
                [] => Verdict::NotApplicable,
                [_] => Verdict::Passed,
                [first, second, ..] => Verdict::Violated(
                    (*second).clone(),
                    format!("excludes {first}, and both are there"),
                ),
            },
            Self::AllOrNone(fields) => {
                let filled = filled(record, fields);
                match fields.iter().find(|field| !filled.contains(field)) {
                    _ if filled.is_empty() => Verdict::NotApplicable,
                    Some(missing) => Verdict::Violated(
                        missing.clone(),
                        format!("is missing while {} is there", told_list(&filled)),
                    ),
                    None => Verdict::Passed,
                }
            }
            Self::Logic { when, then } => {
                if !when.iter().all(|condition| condition.holds(record)) {
                    return Verdict::NotApplicable;
                }
                match then.iter().find(|condition| !condition.holds(record)) {
                    Some(broken) => Verdict::Violated(broken.field.clone(), broken.to_string()),
                    None => Verdict::Passed,
                }
            }
            // Judged with what was seen before.
            Self::Unique { .. } => Verdict::NotApplicable,
        }
    }
}

impl Condition {
    fn holds(&self, record: &Record) -> bool {
        let actual = record.filled(&self.field);
        match (&self.test, actual) {
            (Test::Present(wanted), actual) => actual.is_some() == *wanted,
            (_, None) => false,
            (Test::Among(values, wanted), Some(actual)) => {
                values.iter().any(|value| same(value, actual)) == *wanted
            }
            (Test::Compare(operator, operand), Some(actual)) => {
                let expected = match operand {
                    Operand::Value(value) => Some(value),
                    Operand::Field(other) => record.filled(other),
                };
                expected.is_some_and(|expected| operator.holds(actual, expected))
            }
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.test {
            Test::Present(true) => f.write_str("must be present"),
            Test::Present(false) => f.write_str("must be absent"),
            Test::Among(_, true) => f.write_str("must be one of the values"),
            Test::Among(_, false) => f.write_str("must be none of the values"),
            Test::Compare(operator, Operand::Value(_)) => {
                write!(f, "must be {} the value", told(operator))
            }
            Test::Compare(operator, Operand::Field(other)) => {
                write!(f, "must be {} {other}", told(operator))
            }
        }
    }
}

impl Operator {
    fn holds(self, actual: &Value, expected: &Value) -> bool {
        let order = order(actual, expected);
        match self {
            Self::Equals => same(actual, expected),
            Self::NotEquals => !same(actual, expected),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            // Never compared so: they were read as another test.
            Self::In | Self::NotIn | Self::Present | Self::Absent => false,
        }
    }
}

fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => match (moment_of_text(a), moment_of_text(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => Some(a.cmp(b)),
        },
        _ => None,
    }
}

fn filled<'a>(record: &Record, fields: &'a [String]) -> Vec<&'a String> {
    let filled = fields.iter().filter(|field| record.filled(field).is_some());
    filled.collect()
}

fn told_list(names: &[&String]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}

/// An argument that a rule or check cannot do without.
pub(super) fn needed<T>(at: &str, field: &str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| {
        Refusal::argument(
            format!("{at}.{field}"),
            "is required by this kind, and missing",
        )
    })
}
