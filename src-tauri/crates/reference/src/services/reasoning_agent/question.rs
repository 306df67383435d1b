//! A question as text: its words, what it is about, and a key that is the same in every run and on every machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A question in words: 1 to 4,000 characters, not all of them blank.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Question(#[schemars(length(min = 1, max = 4000), regex(pattern = r"\S"))] String);

impl Question {
    /// Its text, without blanks around it.
    pub(crate) fn text(&self) -> &str {
        self.0.trim()
    }
}

/// The key under which data about a question is kept: the first 16 hexadecimal digits of its SHA-256 (FIPS 180-4).
///
/// The original used its language's built-in hash, which is salted per process, so a restart lost every session.
pub(crate) fn session_key(question: &str) -> String {
    Sha256::digest(question.trim())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Its words, in lower case. Hyphens separate, apostrophes do not.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'' && letter != '’')
        .map(|word| word.trim_matches(['\'', '’']).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// What it is about: the first ten different words of more than two letters that carry meaning by themselves.
pub(crate) fn key_terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for word in words(text) {
        if terms.len() == 10 {
            break;
        }
        if word.chars().count() > 2 && !carries_nothing(&word) && !terms.contains(&word) {
            terms.push(word);
        }
    }
    terms
}

/// Words that open a question.
pub(crate) const QUESTION_WORDS: [&str; 9] = [
    "how", "what", "when", "where", "which", "who", "whom", "whose", "why",
];

/// Verbs that only help another one.
pub(crate) const AUXILIARIES: [&str; 20] = [
    "am", "are", "be", "been", "can", "could", "did", "do", "does", "had", "has", "have", "is",
    "may", "might", "must", "should", "was", "were", "would",
];

const SMALL_WORDS: [&str; 53] = [
    "a", "about", "all", "an", "and", "any", "as", "at", "between", "both", "but", "by", "each",
    "for", "from", "his", "her", "if", "in", "into", "it", "its", "me", "my", "nor", "not", "of",
    "on", "one", "or", "our", "out", "over", "she", "so", "some", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "to", "under", "us", "will", "with",
    "your",
];

fn carries_nothing(word: &str) -> bool {
    QUESTION_WORDS.contains(&word) || AUXILIARIES.contains(&word) || SMALL_WORDS.contains(&word)
}

/// What it asks about, in its own words: without the opening ("how does", "what are") and the mark at its end, 30 words at most.
pub(crate) fn subject(question: &str) -> String {
    let opening = |word: &&str| {
        let word = word.to_lowercase();
        QUESTION_WORDS.contains(&word.as_str()) || AUXILIARIES.contains(&word.as_str())
    };
    let all: Vec<&str> = question.split_whitespace().collect();
    let rest: Vec<&str> = all.iter().copied().skip_while(opening).collect();
    let words = if rest.is_empty() { all } else { rest };
    let subject: Vec<&str> = words.into_iter().take(30).collect();
    subject
        .join(" ")
        .trim_end_matches(['?', '!', '.', ';', ','])
        .to_owned()
}
