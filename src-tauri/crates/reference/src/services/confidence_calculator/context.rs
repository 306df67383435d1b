//! What is known of a piece of reasoning, as clients give it, and the factors that follow from it.

use super::{
    alignment::{EMPTY, alignment},
    factors::{self, Factors, NEUTRAL, Step},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasoningContext {
    /// What was asked. Without it or the answer, alignment counts 0.3.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    question: Option<String>,
    /// What was answered.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    answer: Option<String>,
    /// What the answer stands on. Without any, evidence counts 0.2.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    evidence: Vec<Evidence>,
    /// The steps from evidence to answer, in order. Without any, logic counts 0.3.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    reasoning_chain: Vec<ReasoningStep>,
    /// How reasoning of this kind did before. Without it, history counts 0.5.
    #[serde(default)]
    history: Option<History>,
    /// Into how many lines of thought the reasoning branches at most. Default: 0; more than 5 lower complexity.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    branching_factor: f64,
    /// How many times the reasoning comes back to what it started from. Default: 0; each lowers complexity.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    cycles: u32,
    /// What a validator found. Without it, validation counts 0.5.
    #[serde(default)]
    validation: Option<Validation>,
}

impl ReasoningContext {
    /// Works out each factor. What is not known counts as little, not as nothing.
    pub(super) fn factors(&self) -> Factors<f64> {
        let scores: Vec<f64> = self
            .evidence
            .iter()
            .map(|item| item.source().score())
            .collect();
        let steps: Vec<Step> = self
            .reasoning_chain
            .iter()
            .map(ReasoningStep::scored)
            .collect();
        Factors {
            evidence: factors::evidence(&scores),
            logic: factors::logic(&steps),
            alignment: match (&self.question, &self.answer) {
                (Some(question), Some(answer)) => alignment(question, answer).score,
                _ => EMPTY,
            },
            history: self.history.as_ref().map_or(NEUTRAL, |history| {
                factors::history(history.success_rate, history.count, &history.recent)
            }),
            complexity: factors::complexity(steps.len(), self.branching_factor, self.cycles),
            validation: self.validation.as_ref().map_or(NEUTRAL, |found| {
                factors::validation(
                    found.logic,
                    found.evidence,
                    found.completeness,
                    found.validator_confidence,
                )
            }),
        }
    }
}

/// A piece of evidence: plain text, or where it comes from.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Evidence {
    /// Text of unknown source: worth 0.3.
    Plain(
        #[expect(dead_code, reason = "that it is a text is all that counts")]
        #[schemars(length(max = 2_000))]
        String,
    ),
    /// With its source.
    Sourced(Sourced),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sourced {
    /// What it says. For the reader: the score goes by the source.
    #[serde(default, rename = "content")]
    #[schemars(length(max = 2_000))]
    _content: Option<String>,
    /// Where it comes from: academic 0.9, verified 0.8, empirical 0.7, other 0.4, plain 0.3. Default: other.
    #[serde(default)]
    source_type: Source,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// Published and reviewed.
    Academic,
    /// Checked by somebody else.
    Verified,
    /// Measured or observed.
    Empirical,
    /// Anything else with a source.
    #[default]
    Other,
    /// Plain text without a source.
    Plain,
}

impl Source {
    pub(super) const ALL: [Self; 5] = [
        Self::Academic,
        Self::Verified,
        Self::Empirical,
        Self::Other,
        Self::Plain,
    ];

    /// The original system's convention.
    pub(super) fn score(self) -> f64 {
        match self {
            Self::Academic => 0.9,
            Self::Verified => 0.8,
            Self::Empirical => 0.7,
            Self::Other => 0.4,
            Self::Plain => 0.3,
        }
    }
}

impl Evidence {
    pub(super) fn source(&self) -> Source {
        match self {
            Self::Plain(_) => Source::Plain,
            Self::Sourced(evidence) => evidence.source_type,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReasoningStep {
    /// What the step starts from. The same as in the step before lowers logic.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    premise: Option<String>,
    /// What it comes to. For the reader: it is not scored.
    #[serde(default, rename = "conclusion")]
    #[schemars(length(max = 2_000))]
    _conclusion: Option<String>,
    /// How sure the step is, 0 to 1. Less than half of the step before lowers logic.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    confidence: Option<f64>,
    /// The rule of inference that it follows; the named three count as valid. Default: other.
    #[serde(default)]
    inference_rule: InferenceRule,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum InferenceRule {
    /// If P then Q; P; so Q.
    ModusPonens,
    /// If P then Q; not Q; so not P.
    ModusTollens,
    /// If P then Q; if Q then R; so if P then R.
    HypotheticalSyllogism,
    /// Any other, or none.
    #[default]
    Other,
}

impl ReasoningStep {
    fn scored(&self) -> Step {
        let premise = self.premise.as_deref().map(|premise| {
            let words: Vec<&str> = premise.split_whitespace().collect();
            words.join(" ").to_lowercase()
        });
        Step {
            // Two steps that start from nothing do not repeat each other.
            premise: premise.filter(|premise| !premise.is_empty()),
            confidence: self.confidence,
            valid_rule: self.inference_rule != InferenceRule::Other,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct History {
    /// Share of past reasoning of this kind that was right, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    success_rate: f64,
    /// How many times that was seen. Fewer than 20 lower history.
    #[schemars(range(min = 1))]
    count: u64,
    /// The latest outcomes, oldest first, 0 (wrong) to 1 (right). The last three count 30 %.
    #[serde(default)]
    #[schemars(length(max = 1_000), inner(range(min = 0, max = 1)))]
    recent: Vec<f64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Validation {
    /// How sound the validator found the logic, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    logic: f64,
    /// How well it found the evidence to carry the answer, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    evidence: f64,
    /// How complete it found the answer, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    completeness: f64,
    /// How far the validator is to be trusted, 0 to 1. Default: 0.7.
    #[serde(default = "usual_validator")]
    #[schemars(range(min = 0, max = 1))]
    validator_confidence: f64,
}

fn usual_validator() -> f64 {
    0.7
}
