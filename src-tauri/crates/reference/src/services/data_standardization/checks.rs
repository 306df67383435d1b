//! Checks beyond single fields: business rules, integrity, structure. All are data; none is code that would be evaluated.

use super::{
    integrity::{IntegrityInput, examine_integrity},
    record::{Fields, Record, Records, STRIDE, quietly, share},
    rules::{RuleInput, examine_rules},
    validation::{Check, MOST_LISTED, steps},
};
use crate::tool::{Context, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Share of integrity checks that must pass.
const INTACT: f64 = 0.8;

/// What `validation_tools` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckInput {
    /// business_rules: apply `rules`. integrity: make `checks`. structure: presence and types as `schema` declares them.
    op: CheckOp,
    /// The record to check, or a list of up to 10,000.
    data: Records,
    /// Records that are known already: what uniqueness_check and relationships look in. Up to 10,000.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    dataset: Option<Vec<Record>>,
    /// business_rules: the rules, 1 to 100.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    rules: Option<Vec<RuleInput>>,
    /// integrity: the checks, 1 to 100.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    checks: Option<Vec<IntegrityInput>>,
    /// structure: fields by name; `required` and `type` are looked at, nothing else.
    #[serde(default)]
    schema: Option<Fields>,
    /// structure: whether records may have fields that the schema does not declare. Default true.
    #[serde(default)]
    allow_undeclared: Option<bool>,
}

/// What to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckOp {
    BusinessRules,
    Integrity,
    Structure,
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct CheckReport {
    /// The op asked for.
    op: CheckOp,
    /// business_rules and structure: nothing is violated. integrity: the score is 0.8 or more.
    is_valid: bool,
    /// business_rules and structure: share of evaluations that passed, 0 to 1; 1 when nothing applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    compliance_score: Option<f64>,
    /// integrity: share of evaluations that passed, 0 to 1; 1 when nothing applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// How often a rule or check applied to a record.
    evaluated: usize,
    /// How often it passed.
    passed: usize,
    /// How often it was violated.
    violation_count: usize,
    /// The first 100 violations, in the order of rules, then records.
    violations: Vec<Violation>,
    /// Per rule or check, in the order given.
    results: Vec<Outcome>,
}

/// A rule or check that a record violates.
#[derive(Serialize, JsonSchema)]
pub(super) struct Violation {
    /// The rule or check.
    name: String,
    /// Index of the record, from 0.
    record: usize,
    /// The field it is about.
    field: String,
    /// What is wrong.
    message: String,
}

/// What came of one rule or check.
#[derive(Serialize, JsonSchema)]
pub(super) struct Outcome {
    /// Its name.
    name: String,
    /// How often it applied.
    evaluated: usize,
    /// How often it passed.
    passed: usize,
}

/// Counts what applied, what passed, and keeps the first violations.
#[derive(Default)]
pub(super) struct Tally {
    outcomes: Vec<Outcome>,
    violations: Vec<Violation>,
}

/// What came of a rule on one record.
pub(super) enum Verdict {
    NotApplicable,
    Passed,
    /// The field, and what is wrong with it.
    Violated(String, String),
}

impl Verdict {
    /// Passed, or violated for this reason.
    pub(super) fn of(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Self {
        if holds {
            Self::Passed
        } else {
            Self::Violated(field.to_owned(), problem())
        }
    }
}

impl Tally {
    /// Applies one rule to every record.
    pub(super) fn examine(
        &mut self,
        context: &Context,
        name: &str,
        records: &[Record],
        mut judge: impl FnMut(&Record) -> Verdict,
    ) -> Result<(), Refusal> {
        let mut outcome = Outcome {
            name: name.to_owned(),
            evaluated: 0,
            passed: 0,
        };
        for (index, record) in records.iter().enumerate() {
            if index % STRIDE == 0 {
                context.step(steps(index), steps(records.len()), name)?;
            }
            match judge(record) {
                Verdict::NotApplicable => continue,
                Verdict::Passed => outcome.passed += 1,
                Verdict::Violated(field, message) => {
                    if self.violations.len() < MOST_LISTED {
                        self.violations.push(Violation {
                            name: name.to_owned(),
                            record: index,
                            field,
                            message,
                        });
                    }
                }
            }
            outcome.evaluated += 1;
        }
        self.outcomes.push(outcome);
        Ok(())
    }
}

pub(super) fn validation_tools(
    context: &Context,
    input: CheckInput,
) -> Result<CheckReport, Refusal> {
    refuse_foreign(&input)?;
    let records = input.data.as_slice();
    let dataset = input.dataset.as_deref();
    let op = input.op;
    let tally = match op {
        CheckOp::BusinessRules => {
            let rules = input.rules.ok_or_else(|| missing("rules", op))?;
            examine_rules(context, records, dataset, rules)?
        }
        CheckOp::Integrity => {
            let checks = input.checks.ok_or_else(|| missing("checks", op))?;
            examine_integrity(context, records, dataset, checks)?
        }
        CheckOp::Structure => {
            let schema = input.schema.ok_or_else(|| missing("schema", op))?;
            examine_structure(
                context,
                records,
                &schema,
                input.allow_undeclared.unwrap_or(true),
            )?
        }
    };
    let evaluated = tally.outcomes.iter().map(|outcome| outcome.evaluated).sum();
    let passed = tally.outcomes.iter().map(|outcome| outcome.passed).sum();
    let score = share(passed, evaluated);
    let of_integrity = op == CheckOp::Integrity;
    Ok(CheckReport {
        op,
        is_valid: if of_integrity {
            score >= INTACT
        } else {
            passed == evaluated
        },
        compliance_score: (!of_integrity).then_some(score),
        score: of_integrity.then_some(score),
        evaluated,
        passed,
        violation_count: evaluated - passed,
        violations: tally.violations,
        results: tally.outcomes,
    })
}

fn examine_structure(
    context: &Context,
    records: &[Record],
    schema: &Fields,
    allow_undeclared: bool,
) -> Result<Tally, Refusal> {
    let quiet = &quietly(context);
    let mut tally = Tally::default();
    for (index, (name, field)) in schema.0.iter().enumerate() {
        context.step(steps(index), steps(schema.0.len()), name)?;
        tally.examine(quiet, name, records, |record| {
            let mut verdict = Verdict::NotApplicable;
            field.examine(record.filled(name), |check, holds| match (check, holds) {
                (Check::Required, false) => {
                    verdict = Verdict::Violated(name.clone(), "is required and missing".to_owned());
                }
                (Check::Type, false) => {
                    verdict = Verdict::Violated(name.clone(), "is of another type".to_owned());
                }
                (Check::Required | Check::Type, true)
                    if !matches!(verdict, Verdict::Violated(..)) =>
                {
                    verdict = Verdict::Passed;
                }
                _ => {}
            });
            verdict
        })?;
    }
    if !allow_undeclared {
        tally.examine(quiet, "undeclared", records, |record| {
            match record.0.keys().find(|name| !schema.0.contains_key(*name)) {
                Some(name) => Verdict::Violated(name.clone(), "is not declared".to_owned()),
                None => Verdict::Passed,
            }
        })?;
    }
    Ok(tally)
}

/// An argument that the op does not read is a misunderstanding: say so rather than ignore it.
fn refuse_foreign(input: &CheckInput) -> Result<(), Refusal> {
    use CheckOp::{BusinessRules, Integrity, Structure};
    let given: [(&str, bool, &[CheckOp]); 5] = [
        (
            "dataset",
            input.dataset.is_some(),
            &[BusinessRules, Integrity],
        ),
        ("rules", input.rules.is_some(), &[BusinessRules]),
        ("checks", input.checks.is_some(), &[Integrity]),
        ("schema", input.schema.is_some(), &[Structure]),
        (
            "allow_undeclared",
            input.allow_undeclared.is_some(),
            &[Structure],
        ),
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

fn missing(field: &str, op: CheckOp) -> Refusal {
    Refusal::argument(field, format!("is required by op {}", op.name()))
}

impl CheckOp {
    fn name(self) -> &'static str {
        match self {
            Self::BusinessRules => "business_rules",
            Self::Integrity => "integrity",
            Self::Structure => "structure",
        }
    }
}
