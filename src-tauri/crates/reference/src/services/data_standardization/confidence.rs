//! How far a result can be trusted, from what is known about the data and its checks.

use crate::tool::Refusal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nothing is certain, and nothing is hopeless: bounds of the original system.
pub(super) const BOUNDS: (f64, f64) = (0.05, 0.95);
/// Weights of the reasoning confidence for its factors "evidence" and "validation", the two that are known here; they are
/// made to sum to 1, as the other four do not take part.
pub(super) const WEIGHTS: (f64, f64) = (0.25, 0.10);

/// What `confidence_calculator` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfidenceInput {
    /// What is known.
    evidence: Evidence,
    /// Other weights than 0.25 for data_quality and 0.10 for validation. They are made to sum to 1.
    #[serde(default)]
    custom_weights: Option<CustomWeights>,
    /// Whether to explain the result in a sentence. Default true.
    #[serde(default = "yes")]
    include_explanation: bool,
}

/// What is known.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Evidence {
    /// How good the data is, 0 to 1, as assess_data_quality gives it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) data_quality: f64,
    /// How far it passed its checks, 0 to 1, as validate_data gives it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) validation: f64,
}

/// Weights in place of the usual.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomWeights {
    /// Of data_quality, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    data_quality: Option<f64>,
    /// Of validation, 0 to 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    validation: Option<f64>,
}

/// How far a result can be trusted.
#[derive(Serialize, JsonSchema)]
pub(super) struct Confidence {
    /// Weighted mean of the factors, within 0.05 and 0.95.
    confidence: f64,
    /// Per factor: its value, its share of the weight, and what it adds.
    factor_breakdown: BTreeMap<&'static str, Factor>,
    /// What would raise it.
    recommendations: Vec<String>,
    /// The result in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
}

/// One factor of confidence.
#[derive(Serialize, JsonSchema)]
pub(super) struct Factor {
    /// 0 to 1.
    value: f64,
    /// Its share; all shares make 1.
    weight: f64,
    /// value x weight.
    contribution: f64,
}

pub(super) fn confidence_calculator(input: ConfidenceInput) -> Result<Confidence, Refusal> {
    let custom = input.custom_weights;
    let quality = custom
        .and_then(|custom| custom.data_quality)
        .unwrap_or(WEIGHTS.0);
    let validation = custom
        .and_then(|custom| custom.validation)
        .unwrap_or(WEIGHTS.1);
    let (quality, validation) = shares(quality, validation).ok_or_else(|| {
        Refusal::argument("custom_weights", "are both 0; give one of them a weight")
    })?;
    let factor = |value: f64, weight: f64| Factor {
        value,
        weight,
        contribution: value * weight,
    };
    let evidence = input.evidence;
    let factors = BTreeMap::from([
        ("data_quality", factor(evidence.data_quality, quality)),
        ("validation", factor(evidence.validation, validation)),
    ]);
    let confidence = bounded(factors.values().map(|factor| factor.contribution).sum());
    let mut recommendations = Vec::new();
    if evidence.data_quality < 0.7 {
        recommendations.push(
            "Raise the quality of the data: assess_data_quality names the weak dimensions."
                .to_owned(),
        );
    }
    if evidence.validation < 0.7 {
        recommendations
            .push("Correct what validate_data reports before relying on the result.".to_owned());
    }
    Ok(Confidence {
        confidence,
        recommendations,
        explanation: input.include_explanation.then(|| {
            format!(
                "confidence {confidence:.3}: data quality {:.3} with share {quality:.3}, validation {:.3} with share {validation:.3}",
                evidence.data_quality, evidence.validation
            )
        }),
        factor_breakdown: factors,
    })
}

/// The confidence that the usual weights give.
pub(super) fn usual_confidence(evidence: Evidence) -> f64 {
    let (quality, validation) = shares(WEIGHTS.0, WEIGHTS.1).unwrap_or((0.5, 0.5));
    bounded(quality * evidence.data_quality + validation * evidence.validation)
}

fn bounded(confidence: f64) -> f64 {
    confidence.clamp(BOUNDS.0, BOUNDS.1)
}

fn shares(one: f64, other: f64) -> Option<(f64, f64)> {
    let total = one + other;
    (total > 0.0).then(|| (one / total, other / total))
}

fn yes() -> bool {
    true
}
