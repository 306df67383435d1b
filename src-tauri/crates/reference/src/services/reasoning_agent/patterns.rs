//! What kind of thinking a question asks for, seen from its words.
//!
//! Types and their confidences are those of the original system, a convention; the word tables are ours.

use super::question::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    // In order of confidence, which is the order of results.
    Procedural,
    Causal,
    SystemsThinking,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Procedural, Self::Causal, Self::SystemsThinking];

    fn confidence(self) -> f64 {
        match self {
            Self::Procedural => 0.9,
            Self::Causal => 0.85,
            Self::SystemsThinking => 0.8,
        }
    }

    /// What an answer has to bring.
    pub(crate) fn asks_for(self) -> &'static str {
        match self {
            Self::Procedural => "the steps, in order, and what each of them needs",
            Self::Causal => {
                "causes told apart from what merely comes along, and how each leads to its effect"
            }
            Self::SystemsThinking => {
                "the parts, how they act on each other, and what comes back as feedback"
            }
        }
    }
}

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Focus {
    // The question word: how, why.
    Structural,
    // The vocabulary: causes, systems.
    Semantic,
}

/// A kind of thinking that was found in a question.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pattern {
    /// The kind of thinking: procedural (steps), causal (reasons) or systems_thinking (parts acting on each other).
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// How sure it is, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub(crate) confidence: f64,
    /// The words that show it, in order of appearance, each once.
    #[schemars(length(max = 50), inner(length(max = 100)))]
    pub(crate) indicators: Vec<String>,
}

/// The patterns of a question, surest first; none below `threshold`.
pub(crate) fn find(question: &str, focus: &[Focus], threshold: f64) -> Vec<Pattern> {
    let words = words(question);
    Kind::ALL
        .into_iter()
        .filter(|kind| kind.confidence() >= threshold)
        .filter_map(|kind| {
            let indicators = indicators(&words, kind, focus);
            (!indicators.is_empty()).then(|| Pattern {
                kind,
                confidence: kind.confidence(),
                indicators,
            })
        })
        .collect()
}

struct Rule {
    kind: Kind,
    focus: Focus,
    phrases: &'static [&'static str],
}

const RULES: [Rule; 4] = [
    Rule {
        kind: Kind::Procedural,
        focus: Focus::Structural,
        phrases: &["how"],
    },
    Rule {
        kind: Kind::Causal,
        focus: Focus::Structural,
        phrases: &["why"],
    },
    Rule {
        kind: Kind::Causal,
        focus: Focus::Semantic,
        phrases: &[
            "because",
            "cause",
            "caused",
            "causes",
            "causing",
            "consequence",
            "consequences",
            "driven by",
            "due to",
            "effect",
            "effects",
            "impact",
            "lead to",
            "leads to",
            "led to",
            "reason",
            "reasons",
            "result in",
            "results in",
            "resulted in",
            "therefore",
        ],
    },
    Rule {
        kind: Kind::SystemsThinking,
        focus: Focus::Semantic,
        phrases: &[
            "architecture",
            "component",
            "components",
            "ecosystem",
            "ecosystems",
            "emergent",
            "emerge",
            "feedback",
            "holistic",
            "interact",
            "interaction",
            "interactions",
            "interconnected",
            "interdependent",
            "network",
            "networks",
            "system",
            "systems",
        ],
    },
];

/// "How many" asks for a number, not for a procedure.
const QUANTITIES: [&str; 8] = [
    "big", "far", "few", "large", "long", "many", "much", "often",
];

fn indicators(words: &[String], kind: Kind, focus: &[Focus]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for at in 0..words.len() {
        let rest = words.get(at..).unwrap_or_default();
        let phrases = RULES
            .iter()
            .filter(|rule| rule.kind == kind && focus.contains(&rule.focus))
            .flat_map(|rule| rule.phrases);
        for phrase in phrases {
            let seen = found.iter().any(|indicator| indicator == phrase);
            if !seen && opens_with(rest, phrase) && !asks_for_quantity(rest) {
                found.push((*phrase).to_owned());
            }
        }
    }
    found
}

fn opens_with(words: &[String], phrase: &str) -> bool {
    let mut words = words.iter();
    phrase
        .split(' ')
        .all(|part| words.next().is_some_and(|word| word == part))
}

pub(super) fn asks_for_quantity(words: &[String]) -> bool {
    matches!(words, [how, what, ..] if how == "how" && QUANTITIES.contains(&what.as_str()))
}
