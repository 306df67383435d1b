//! How well an answer meets its question, by their words.
//!
//! The original system's convention: the share of the question's words that the answer takes up, raised when a what, how or why
//! question is met by words that answers of that kind have. Words are those of the similarity server, without stop words: "the" in
//! both says nothing.

use crate::services::semantic_similarity::words::{Vocabulary, common, fold, words};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// What a question asks for: its first question word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuestionType {
    /// What something is.
    What,
    /// How something is done.
    How,
    /// The reason.
    Why,
    /// A person.
    Who,
    /// A time.
    When,
    /// A place.
    Where,
    /// A choice.
    Which,
    /// None of these.
    Other,
}

impl QuestionType {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "what" | "what's" => Self::What,
            "how" | "how's" => Self::How,
            "why" => Self::Why,
            "who" | "who's" | "whom" | "whose" => Self::Who,
            "when" => Self::When,
            "where" => Self::Where,
            "which" => Self::Which,
            _ => return None,
        })
    }

    /// Words that answers to it have, sorted, and what they multiply the overlap by.
    pub fn markers(self) -> (&'static [&'static str], f64) {
        match self {
            Self::What => (WHAT, 1.2),
            Self::How => (HOW, 1.2),
            Self::Why => (WHY, 1.3),
            _ => (&[], 1.0),
        }
    }
}

const WHAT: &[&str] = &[
    "are",
    "called",
    "defined",
    "definition",
    "describes",
    "is",
    "known",
    "means",
    "refers",
    "represents",
];
const HOW: &[&str] = &[
    "by",
    "first",
    "method",
    "procedure",
    "process",
    "step",
    "steps",
    "then",
    "through",
    "using",
    "via",
    "with",
];
const WHY: &[&str] = &[
    "as",
    "because",
    "cause",
    "caused",
    "causes",
    "due",
    "hence",
    "reason",
    "reasons",
    "since",
    "so",
    "therefore",
    "thus",
];

/// How an answer meets its question.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// 0 to 1.
    pub score: f64,
    /// What is asked for.
    pub question_type: QuestionType,
    /// The question's words that the answer takes up, out of all of the question's: 0 to 1.
    pub overlap: f64,
    /// The first word of the answer that answers of this kind have.
    pub marker: Option<String>,
    /// The question's words that the answer takes up, in alphabetical order.
    pub shared: Vec<String>,
    /// Those it does not, in alphabetical order.
    pub missing: Vec<String>,
}

/// What an alignment is worth where there is no question or no answer.
pub const EMPTY: f64 = 0.3;

/// Holds an answer to its question.
pub fn alignment(question: &str, answer: &str) -> Alignment {
    let (question, answer) = (fold(question), fold(answer));
    let question_type = words(&question)
        .find_map(QuestionType::of)
        .unwrap_or(QuestionType::Other);
    let mut vocabulary = Vocabulary::default();
    let (asked, said) = (vocabulary.profile(&question), vocabulary.profile(&answer));
    let shared = common(&vocabulary, &asked, &said).0;
    let all: BTreeSet<&str> = asked
        .terms
        .iter()
        .map(|term| vocabulary.word(term.number))
        .collect();

    let (markers, boost) = question_type.markers();
    let marker = words(&answer).find(|word| markers.binary_search(word).is_ok());
    let empty = asked.terms.is_empty() || said.terms.is_empty();
    let overlap = if empty {
        0.0
    } else {
        shared.len() as f64 / all.len() as f64
    };
    let score = match marker {
        _ if empty => EMPTY,
        Some(_) => (overlap * boost).min(1.0),
        None => overlap,
    };
    Alignment {
        score,
        question_type,
        overlap,
        marker: marker.map(str::to_owned),
        missing: all
            .iter()
            .filter(|word| shared.binary_search(word).is_err())
            .map(|word| (*word).to_owned())
            .collect(),
        shared: shared.into_iter().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_sorted_lower_case_and_free_of_duplicates() {
        for list in [WHAT, HOW, WHY] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
            let lower = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(list.iter().all(lower), "{list:?}");
        }
    }
}
