//! The six factors of confidence in a piece of reasoning, and what lowers it afterwards: plain functions over numbers.
//!
//! Every constant here is a convention of the original system: rules of thumb, not estimates from data. Two of its faults are
//! mended: a chain of more than 15 steps counts as long at last (it was tested after "more than 10"), and custom weights are
//! obeyed (they were looked up under names that nobody could give).

use schemars::JsonSchema;
use serde::Serialize;

/// No confidence is lower.
pub const LEAST: f64 = 0.05;
/// No confidence of reasoning is higher.
pub const MOST: f64 = 0.95;

/// One value for each factor, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Factors<T> {
    /// How good the evidence is.
    pub evidence: T,
    /// How well the steps follow from each other.
    pub logic: T,
    /// How well the answer meets the question.
    pub alignment: T,
    /// How often such reasoning was right before.
    pub history: T,
    /// Whether the reasoning is neither too simple nor too tangled.
    pub complexity: T,
    /// What a validator found.
    pub validation: T,
}

/// What each factor weighs unless told otherwise.
pub const WEIGHTS: Factors<f64> = Factors {
    evidence: 0.25,
    logic: 0.20,
    alignment: 0.20,
    history: 0.15,
    complexity: 0.10,
    validation: 0.10,
};

impl<T: Copy> Factors<T> {
    /// As a list, in their order.
    pub fn list(&self) -> [T; 6] {
        [
            self.evidence,
            self.logic,
            self.alignment,
            self.history,
            self.complexity,
            self.validation,
        ]
    }

    /// Something made of each of two.
    pub fn zip<U: Copy, V>(
        &self,
        other: &Factors<U>,
        mut make: impl FnMut(T, U) -> V,
    ) -> Factors<V> {
        Factors {
            evidence: make(self.evidence, other.evidence),
            logic: make(self.logic, other.logic),
            alignment: make(self.alignment, other.alignment),
            history: make(self.history, other.history),
            complexity: make(self.complexity, other.complexity),
            validation: make(self.validation, other.validation),
        }
    }
}

/// What a factor adds to the whole.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Contribution {
    /// Of the factor, 0 to 1.
    pub value: f64,
    /// Its share; all shares add up to 1.
    pub weight: f64,
    /// value · weight.
    pub contribution: f64,
}

/// Weighted mean of the factors, kept within [`LEAST`] and [`MOST`]. Weights need not add up to 1; none if they add up to 0.
pub fn confidence(
    values: &Factors<f64>,
    weights: &Factors<f64>,
) -> Option<(f64, Factors<Contribution>)> {
    let total: f64 = weights.list().iter().sum();
    if total <= 0.0 {
        return None;
    }
    let breakdown = values.zip(weights, |value, weight| Contribution {
        value,
        weight: weight / total,
        contribution: value * weight / total,
    });
    let sum: f64 = breakdown.list().iter().map(|one| one.contribution).sum();
    Some((sum.clamp(LEAST, MOST), breakdown))
}

/// Evidence, from what each item's source is worth.
pub fn evidence(scores: &[f64]) -> f64 {
    let Some(mean) = mean(scores) else {
        return 0.2;
    };
    let boost = if scores.len() > MANY_EVIDENCE {
        EVIDENCE_BOOST
    } else {
        1.0
    };
    (mean * boost).min(1.0)
}

/// More items than this support each other.
pub const MANY_EVIDENCE: usize = 3;
/// What that multiplies the mean by.
pub const EVIDENCE_BOOST: f64 = 1.2;

/// A step of reasoning, as far as [`logic`] looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What it starts from, in a form that can be compared. None repeats nothing.
    pub premise: Option<String>,
    /// How sure it is, 0 to 1.
    pub confidence: Option<f64>,
    /// Whether it follows one of the rules of inference that hold.
    pub valid_rule: bool,
}

/// Logic: 1, times 0.8 wherever confidence falls below half of that of the step before, times 0.6 wherever a step starts from the
/// same premise as the one before, times 0.8 to 1 with the share of steps that follow a valid rule. At least 0.1; 0.3 without steps.
pub fn logic(steps: &[Step]) -> f64 {
    if steps.is_empty() {
        return 0.3;
    }
    let mut score = 1.0;
    for (before, step) in steps.iter().zip(steps.iter().skip(1)) {
        if let (Some(was), Some(is)) = (before.confidence, step.confidence)
            && is < was / 2.0
        {
            score *= 0.8;
        }
        if step.premise.is_some() && step.premise == before.premise {
            score *= 0.6;
        }
    }
    let valid = steps.iter().filter(|step| step.valid_rule).count() as f64;
    score *= 0.8 + 0.2 * valid / steps.len() as f64;
    score.max(0.1)
}

/// History: the rate of success, less when seen fewer than 20 times (0.6 + 0.08·n below 5, else 0.9; the step down from 4 to 5 is the
/// original's), blended 70:30 with the mean of the last up to three outcomes.
pub fn history(rate: f64, count: u64, recent: &[f64]) -> f64 {
    let trust = match count {
        n @ 0..5 => 0.6 + 0.08 * n as f64,
        5..20 => 0.9,
        _ => 1.0,
    };
    let rate = rate * trust;
    let last = recent
        .get(recent.len().saturating_sub(3)..)
        .unwrap_or_default();
    mean(last).map_or(rate, |recent| 0.7 * rate + 0.3 * recent)
}

/// What [`history`] and [`validation`] are without any.
pub const NEUTRAL: f64 = 0.5;

/// Complexity: 1, less for a chain that is long or hardly one, for many branches, and by a tenth for each cycle. At least 0.3.
pub fn complexity(steps: usize, branches: f64, cycles: u32) -> f64 {
    let length = match steps {
        0..2 => 0.8,
        2..=10 => 1.0,
        11..=15 => 0.9,
        _ => 0.7,
    };
    let branching = if branches > 5.0 { 0.8 } else { 1.0 };
    let acyclic = (1.0 - 0.1 * f64::from(cycles)).max(0.0);
    (length * branching * acyclic).max(0.3)
}

/// Validation: 40 % logic, 30 % evidence, 30 % completeness, times how far the validator is to be trusted.
pub fn validation(logic: f64, evidence: f64, completeness: f64, validator: f64) -> f64 {
    (0.4 * logic + 0.3 * evidence + 0.3 * completeness) * validator
}

/// What each known uncertainty multiplies confidence by.
pub const UNCERTAINTIES: [(&str, f64); 6] = [
    ("missing_evidence", 0.85),
    ("contradictory_evidence", 0.7),
    ("weak_inference", 0.8),
    ("unvalidated_source", 0.9),
    ("complex_reasoning", 0.9),
    ("limited_data", 0.85),
];
/// What any other does.
pub const UNKNOWN_UNCERTAINTY: f64 = 0.95;

/// How confident to be where nothing could be worked out.
pub const FALLBACKS: [(&str, f64); 7] = [
    ("no_historical_data", 0.3),
    ("single_agent_fallback", 0.35),
    ("internal_analysis", 0.4),
    ("simplified_implementation", 0.45),
    ("partial_evidence", 0.5),
    ("consensus_fallback", 0.55),
    ("validated_fallback", 0.6),
];
/// For any other reason.
pub const UNKNOWN_FALLBACK: f64 = 0.4;

/// The number under a name, however the name is spaced and cased.
pub fn named(table: &[(&'static str, f64)], name: &str) -> Option<(&'static str, f64)> {
    let name = name.trim().to_lowercase().replace([' ', '-'], "_");
    table.iter().find(|(known, _)| *known == name).copied()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
