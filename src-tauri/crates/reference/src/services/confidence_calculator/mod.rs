//! How far a piece of reasoning can be trusted, as a number, and what that number is made of.
//!
//! For agents that must say how sure they are, and for people who want to see why. Six [`factors`] are worked out from what is known
//! of the reasoning and weighted; what is not known counts as little, not as nothing. The rules are conventions: the number
//! ranks and explains, it is no probability.

pub mod alignment;
mod context;
pub mod factors;
#[cfg(test)]
mod tests;

use crate::{
    service::{Host, Prompt, PromptArgument, Resource, Service},
    tool::{Refusal, Tool},
};
use alignment::{QuestionType, alignment};
use context::{Evidence, InferenceRule, ReasoningContext, Source};
use factors::{
    Contribution, EVIDENCE_BOOST, FALLBACKS, Factors, LEAST, MANY_EVIDENCE, MOST, UNCERTAINTIES,
    UNKNOWN_FALLBACK, UNKNOWN_UNCERTAINTY, WEIGHTS, named,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The server.
pub fn service(_host: &Host) -> Service {
    Service {
        name: "confidence_calculator",
        port: 8108,
        title: "Reasoning confidence",
        description: "Scores how far a piece of reasoning can be trusted, from 0.05 to 0.95, by six factors: evidence, logic, alignment of answer \
                      and question, history, complexity and validation. It explains each number, and says what would raise it.",
        tools: vec![
            Tool::new(
                "calculate_reasoning_confidence",
                "Confidence in reasoning",
                "Scores a piece of reasoning by all six factors. Use it when you have a conclusion and want to say how sure to be: it gives the \
                 confidence, what each factor adds, what would raise it most, and an explanation. Leave out what you do not know.",
                reasoning_confidence,
            )
            .alias("calculate_reasoning_confidence_mcp"),
            Tool::new(
                "calculate_evidence_quality",
                "Quality of evidence",
                "Scores evidence by its sources (academic, verified, empirical, other, plain text) and gives one number from 0 to 1. Use it to \
                 judge sources before reasoning from them; with `return_details` it gives the score of each.",
                evidence_quality,
            )
            .alias("calculate_evidence_quality_mcp"),
            Tool::new(
                "calculate_semantic_alignment",
                "Alignment of answer and question",
                "Tells from 0 to 1 how well an answer takes up its question, and which type of question it is. Use it to catch answers that miss \
                 the point; it also gives the question's words that the answer uses and those it does not.",
                semantic_alignment,
            )
            .alias("calculate_semantic_alignment_mcp"),
            Tool::new(
                "adjust_confidence_for_uncertainty",
                "Lower confidence for uncertainty",
                "Lowers a confidence for each thing that makes it uncertain, as missing_evidence or limited_data, never below 0.05. Use it after \
                 scoring, when doubts are known; it gives the new confidence and what each doubt took away.",
                adjust,
            )
            .alias("adjust_confidence_for_uncertainty_mcp"),
            // Its upstream name is the same.
            Tool::new(
                "calculate_fallback_confidence",
                "Confidence of a fallback",
                "Gives the confidence to assume where none could be worked out, by the scenario, as no_historical_data or consensus_fallback. \
                 Use it when a simpler way was taken; an unknown scenario gives 0.4.",
                fallback,
            ),
            Tool::new(
                "get_calculator_status",
                "Weights and rules",
                "Tells the weights, bounds and every known source, uncertainty, scenario and rule of inference with its number. Use it to fill in \
                 the arguments of the other tools or to read their results.",
                |_: Nothing| Ok(status()),
            )
            .alias("mcp_confidence_calculator"),
        ],
        resources: vec![Resource {
            uri: "confidence://calculator/status",
            name: "status",
            description: "Weights, bounds and known names with their numbers: what get_calculator_status gives.",
            // A struct of strings and numbers always has a JSON form.
            read: Box::new(|| serde_json::to_value(status()).unwrap_or_default()),
        }],
        beats: Vec::new(),
        prompts: vec![Prompt {
            name: "confidence_analysis",
            description: "Works out how sure an answer is, and what would make it surer.",
            arguments: &[
                PromptArgument {
                    name: "question",
                    description: "What was asked.",
                    required: true,
                },
                PromptArgument {
                    name: "answer",
                    description: "What was answered.",
                    required: true,
                },
                PromptArgument {
                    name: "evidence",
                    description: "What the answer stands on, as free text.",
                    required: false,
                },
            ],
            render: analysis,
        }],
    }
}

fn analysis(arguments: &Map<String, Value>) -> String {
    let text = |name| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let evidence = match text("evidence") {
        "" => "none given",
        evidence => evidence,
    };
    format!(
        "How sure can we be of this answer?\n\nQuestion:\n{}\n\nAnswer:\n{}\n\nEvidence:\n{evidence}\n\nBreak the answer into its steps of \
         reasoning, then call calculate_reasoning_confidence with the question, the answer, the steps and the evidence by source. Name \
         what makes it uncertain and call adjust_confidence_for_uncertainty. Report the final confidence, the strongest and the weakest \
         factor, and the one thing that would raise it most.",
        text("question"),
        text("answer"),
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConfidenceInput {
    /// What is known of the reasoning. Each part may be left out.
    reasoning_context: ReasoningContext,
    /// Other weights than the usual ones, by factor. Those left out stay; all are scaled to add up to 1.
    #[serde(default)]
    custom_weights: Option<CustomWeights>,
    /// Whether to put the result in words. Default: true.
    #[serde(default = "yes")]
    include_explanation: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CustomWeights {
    /// Of evidence. Usually 0.25.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000))]
    evidence: Option<f64>,
    /// Of logic. Usually 0.2.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000))]
    logic: Option<f64>,
    /// Of alignment. Usually 0.2.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000))]
    alignment: Option<f64>,
    /// Of history. Usually 0.15.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000))]
    history: Option<f64>,
    /// Of complexity. Usually 0.1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000))]
    complexity: Option<f64>,
    /// Of validation. Usually 0.1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000))]
    validation: Option<f64>,
}

impl CustomWeights {
    fn over(&self, usual: &Factors<f64>) -> Factors<f64> {
        let own = Factors {
            evidence: self.evidence,
            logic: self.logic,
            alignment: self.alignment,
            history: self.history,
            complexity: self.complexity,
            validation: self.validation,
        };
        own.zip(usual, |own, usual| own.unwrap_or(usual))
    }
}

#[derive(Serialize, JsonSchema)]
struct Confidence {
    /// 0.05 to 0.95.
    #[schemars(range(min = 0.05, max = 0.95))]
    confidence: f64,
    /// What it is made of.
    factor_breakdown: Factors<Contribution>,
    /// What would raise it, the most first. Only for factors below 0.5 that have weight.
    recommendations: Vec<String>,
    /// The result in words, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
}

fn reasoning_confidence(input: ConfidenceInput) -> Result<Confidence, Refusal> {
    let weights = input
        .custom_weights
        .map_or(WEIGHTS, |custom| custom.over(&WEIGHTS));
    let (confidence, breakdown) = factors::confidence(&input.reasoning_context.factors(), &weights)
        .ok_or_else(|| {
            Refusal::argument(
                "custom_weights",
                "add up to 0; at least one factor needs weight",
            )
        })?;
    Ok(Confidence {
        confidence,
        factor_breakdown: breakdown,
        recommendations: recommendations(&breakdown),
        explanation: input
            .include_explanation
            .then(|| explanation(confidence, &breakdown)),
    })
}

const NAMES: Factors<&str> = Factors {
    evidence: "evidence",
    logic: "logic",
    alignment: "alignment",
    history: "history",
    complexity: "complexity",
    validation: "validation",
};

const ADVICE: Factors<&str> = Factors {
    evidence: "evidence: add more than three items, best from academic or verified sources",
    logic: "logic: give each step a valid rule of inference and a premise of its own, and let no step be half as sure as the one before",
    alignment: "alignment: answer in the words of the question, and say what, how or why as it asks",
    history: "history: gather outcomes of such reasoning; from 20 on they count in full",
    complexity: "complexity: use 2 to 10 steps, up to 5 branches and no cycles",
    validation: "validation: have logic, evidence and completeness checked by a validator that is trusted",
};

/// Below this a factor is worth work.
const WEAK: f64 = 0.5;

fn recommendations(breakdown: &Factors<Contribution>) -> Vec<String> {
    let mut weak: Vec<(&str, f64)> = breakdown
        .zip(&ADVICE, |factor, advice| (advice, factor))
        .list()
        .into_iter()
        .filter(|(_, factor)| factor.value < WEAK && factor.weight > 0.0)
        // What the factor would add if it were perfect.
        .map(|(advice, factor)| (advice, factor.weight - factor.contribution))
        .collect();
    // Stable: equals stay in the order of the factors.
    weak.sort_by(|a, b| b.1.total_cmp(&a.1));
    weak.into_iter()
        .map(|(advice, _)| advice.to_owned())
        .collect()
}

fn explanation(confidence: f64, breakdown: &Factors<Contribution>) -> String {
    let level = match confidence {
        0.8.. => "high",
        0.6.. => "moderate",
        0.4.. => "low",
        _ => "very low",
    };
    let named = breakdown.zip(&NAMES, |factor, name| (name, factor)).list();
    let parts: Vec<String> = named
        .iter()
        .filter(|(_, factor)| factor.weight > 0.0)
        .map(|(name, factor)| {
            format!(
                "{name} {:.2} × {:.2} = {:.3}",
                factor.value, factor.weight, factor.contribution
            )
        })
        .collect();
    let sum: f64 = named.iter().map(|(_, factor)| factor.contribution).sum();
    let bounded = if !(LEAST..=MOST).contains(&sum) {
        format!(", kept within {LEAST} and {MOST}")
    } else {
        String::new()
    };
    format!(
        "Confidence is {confidence:.3} ({level}): {}; {sum:.3} together{bounded}.",
        parts.join(", ")
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EvidenceInput {
    /// The evidence: plain texts, or objects with their source. Up to 1,000; none counts 0.2.
    #[schemars(length(max = 1_000))]
    evidence: Vec<Evidence>,
    /// Whether to give the score of each. Default: false.
    #[serde(default)]
    return_details: bool,
}

#[derive(Serialize, JsonSchema)]
struct EvidenceQuality {
    /// 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    quality: f64,
    /// How many pieces there are.
    evidence_count: usize,
    /// How the number came about, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<EvidenceDetails>,
}

#[derive(Serialize, JsonSchema)]
struct EvidenceDetails {
    /// Each piece, in order.
    items: Vec<EvidenceScore>,
    /// What the mean was multiplied by: 1.2 for more than three pieces, else 1.
    multiplier: f64,
}

#[derive(Serialize, JsonSchema)]
struct EvidenceScore {
    /// Its place in the list, from 0.
    index: usize,
    /// Where it comes from.
    source_type: Source,
    /// What that is worth, 0 to 1.
    score: f64,
}

fn evidence_quality(input: EvidenceInput) -> Result<EvidenceQuality, Refusal> {
    let scores: Vec<f64> = input
        .evidence
        .iter()
        .map(|item| item.source().score())
        .collect();
    let item = |(index, evidence): (usize, &Evidence)| EvidenceScore {
        index,
        source_type: evidence.source(),
        score: evidence.source().score(),
    };
    Ok(EvidenceQuality {
        quality: factors::evidence(&scores),
        evidence_count: scores.len(),
        details: input.return_details.then(|| EvidenceDetails {
            items: input.evidence.iter().enumerate().map(item).collect(),
            multiplier: if scores.len() > MANY_EVIDENCE {
                EVIDENCE_BOOST
            } else {
                1.0
            },
        }),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AlignmentInput {
    /// What was asked.
    #[schemars(length(max = 10_000))]
    question: String,
    /// What was answered.
    #[schemars(length(max = 10_000))]
    answer: String,
    /// Whether to list the question's words that the answer has and lacks. Default: true.
    #[serde(default = "yes")]
    analyze_keywords: bool,
}

#[derive(Serialize, JsonSchema)]
struct AlignmentOutput {
    /// 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    alignment: f64,
    /// What is asked for: the first question word.
    question_type: QuestionType,
    /// Share of the question's words (no stop words) that the answer has, 0 to 1.
    overlap: f64,
    /// The word of the answer that shows it is of the kind asked for, if there is one: it raises alignment.
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<String>,
    /// The question's words, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    keywords: Option<Keywords>,
}

#[derive(Serialize, JsonSchema)]
struct Keywords {
    /// Those that the answer has, in alphabetical order.
    shared: Vec<String>,
    /// Those that it lacks, in alphabetical order.
    missing: Vec<String>,
}

fn semantic_alignment(input: AlignmentInput) -> Result<AlignmentOutput, Refusal> {
    let found = alignment(&input.question, &input.answer);
    Ok(AlignmentOutput {
        alignment: found.score,
        question_type: found.question_type,
        overlap: found.overlap,
        marker: found.marker,
        keywords: input.analyze_keywords.then_some(Keywords {
            shared: found.shared,
            missing: found.missing,
        }),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdjustInput {
    /// The confidence before, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    base_confidence: f64,
    /// What makes it uncertain: missing_evidence, contradictory_evidence, weak_inference, unvalidated_source, complex_reasoning,
    /// limited_data, or in your own words. Each counts as often as it is named.
    #[schemars(length(max = 100), inner(length(min = 1, max = 200)))]
    uncertainty_factors: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Adjusted {
    /// 0.05 to 1.
    #[schemars(range(min = 0.05, max = 1))]
    adjusted_confidence: f64,
    /// As given.
    base_confidence: f64,
    /// All multipliers together, 0 to 1.
    total_multiplier: f64,
    /// What each factor did, in the order given.
    impacts: Vec<Impact>,
}

#[derive(Serialize, JsonSchema)]
struct Impact {
    /// As given, or in the known spelling.
    factor: String,
    /// Whether it is one of the known ones.
    known: bool,
    /// What confidence was multiplied by.
    multiplier: f64,
    /// What it took away, before the bound of 0.05.
    reduction: f64,
}

fn adjust(input: AdjustInput) -> Result<Adjusted, Refusal> {
    let mut total = 1.0;
    let impact = |name: String| {
        let known = named(&UNCERTAINTIES, &name);
        let multiplier = known.map_or(UNKNOWN_UNCERTAINTY, |(_, multiplier)| multiplier);
        let before = input.base_confidence * total;
        total *= multiplier;
        Impact {
            factor: known.map_or(name, |(known, _)| known.to_owned()),
            known: known.is_some(),
            multiplier,
            reduction: before * (1.0 - multiplier),
        }
    };
    let impacts = input.uncertainty_factors.into_iter().map(impact).collect();
    Ok(Adjusted {
        adjusted_confidence: (input.base_confidence * total).max(LEAST),
        base_confidence: input.base_confidence,
        total_multiplier: total,
        impacts,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FallbackInput {
    /// Why there is no better number: no_historical_data, single_agent_fallback, internal_analysis, simplified_implementation,
    /// partial_evidence, consensus_fallback, validated_fallback, or in your own words.
    #[schemars(length(min = 1, max = 200))]
    scenario: String,
}

#[derive(Serialize, JsonSchema)]
struct Fallback {
    /// 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    confidence: f64,
    /// As given, or in the known spelling.
    scenario: String,
    /// Whether it is one of the known ones.
    known: bool,
}

fn fallback(input: FallbackInput) -> Result<Fallback, Refusal> {
    let known = named(&FALLBACKS, &input.scenario);
    Ok(Fallback {
        confidence: known.map_or(UNKNOWN_FALLBACK, |(_, confidence)| confidence),
        known: known.is_some(),
        scenario: known.map_or(input.scenario, |(known, _)| known.to_owned()),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Status {
    /// What each factor weighs; 1 together.
    weights: Factors<f64>,
    /// Between what confidence is kept.
    bounds: Bounds,
    /// What a source of evidence is worth.
    evidence_sources: Vec<EvidenceSource>,
    /// Rules of inference that count as valid.
    inference_rules: Vec<InferenceRule>,
    /// What uncertainties multiply confidence by.
    uncertainty_factors: Vec<Uncertainty>,
    /// What an uncertainty that is not listed multiplies by.
    unknown_uncertainty: f64,
    /// What to assume in which scenario.
    fallback_scenarios: Vec<Scenario>,
    /// What to assume in a scenario that is not listed.
    unknown_scenario: f64,
}

#[derive(Serialize, JsonSchema)]
struct Bounds {
    /// No confidence is lower.
    min: f64,
    /// No confidence is higher.
    max: f64,
}

#[derive(Serialize, JsonSchema)]
struct EvidenceSource {
    /// As in `source_type`.
    source_type: Source,
    /// 0 to 1.
    score: f64,
}

#[derive(Serialize, JsonSchema)]
struct Uncertainty {
    /// Its name.
    factor: &'static str,
    /// What confidence is multiplied by.
    multiplier: f64,
}

#[derive(Serialize, JsonSchema)]
struct Scenario {
    /// Its name.
    scenario: &'static str,
    /// 0 to 1.
    confidence: f64,
}

fn status() -> Status {
    Status {
        weights: WEIGHTS,
        bounds: Bounds {
            min: LEAST,
            max: MOST,
        },
        evidence_sources: Source::ALL
            .into_iter()
            .map(|source_type| EvidenceSource {
                source_type,
                score: source_type.score(),
            })
            .collect(),
        inference_rules: vec![
            InferenceRule::ModusPonens,
            InferenceRule::ModusTollens,
            InferenceRule::HypotheticalSyllogism,
        ],
        uncertainty_factors: UNCERTAINTIES
            .into_iter()
            .map(|(factor, multiplier)| Uncertainty { factor, multiplier })
            .collect(),
        unknown_uncertainty: UNKNOWN_UNCERTAINTY,
        fallback_scenarios: FALLBACKS
            .into_iter()
            .map(|(scenario, confidence)| Scenario {
                scenario,
                confidence,
            })
            .collect(),
        unknown_scenario: UNKNOWN_FALLBACK,
    }
}
