//! Takes a question apart, by how it is built or by the sides that any question has.

use super::{
    patterns::asks_for_quantity,
    question::{QUESTION_WORDS, key_terms, subject, words},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to take a question apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strategy {
    // Structure where it finds more than one part, else aspects.
    #[default]
    Auto,
    Structure,
    Aspects,
}

/// A part of a question.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) struct SubQuestion {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// Its text.
    pub(crate) question: String,
    /// What it wants to know: cause, procedure, quantity, time, place, person, choice or fact.
    pub(crate) asks_for: Wanted,
    /// The words it is about.
    pub(crate) key_terms: Vec<String>,
}

/// What a question wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    Cause,
    Procedure,
    Quantity,
    Time,
    Place,
    Person,
    Choice,
    Fact,
}

/// The first `most` parts of a question, in its order.
pub(crate) fn decompose(question: &str, most: usize, strategy: Strategy) -> Vec<SubQuestion> {
    let texts = match strategy {
        Strategy::Structure => parts(question),
        Strategy::Aspects => aspects(question),
        Strategy::Auto => Some(parts(question))
            .filter(|parts| parts.len() > 1)
            .unwrap_or_else(|| aspects(question)),
    };
    (1..)
        .zip(texts.into_iter().take(most))
        .map(|(number, question)| SubQuestion {
            number,
            asks_for: wanted(&question),
            key_terms: key_terms(&question),
            question,
        })
        .collect()
}

/// By structure: sentences, then clauses that open a question of their own, then the two sides of a comparison.
fn parts(question: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for part in sentences(question)
        .into_iter()
        .flat_map(clauses)
        .flat_map(|clause| compared(&clause))
    {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

/// By aspect: the terms it rests on, facts, causes, steps, and what speaks against an answer.
fn aspects(question: &str) -> Vec<String> {
    let terms: Vec<String> = key_terms(question)
        .iter()
        .take(3)
        .map(|term| format!("“{term}”"))
        .collect();
    let subject = subject(question);
    let meaning = (!terms.is_empty()).then(|| format!("What is meant by {}?", terms.join(", ")));
    meaning
        .into_iter()
        .chain([
            format!("Which facts bear on “{subject}”?"),
            format!("Why is it so, and under which conditions: “{subject}”?"),
            format!("How does it come about, step by step: “{subject}”?"),
            format!("What speaks against the most likely answer on “{subject}”?"),
        ])
        .collect()
}

fn wanted(question: &str) -> Wanted {
    let words = words(question);
    let opening = words
        .iter()
        .position(|word| QUESTION_WORDS.contains(&word.as_str()))
        .and_then(|at| words.get(at..))
        .unwrap_or_default();
    if asks_for_quantity(opening) {
        return Wanted::Quantity;
    }
    match opening.first().map_or("", String::as_str) {
        "why" => Wanted::Cause,
        "how" => Wanted::Procedure,
        "when" => Wanted::Time,
        "where" => Wanted::Place,
        "who" | "whom" | "whose" => Wanted::Person,
        "which" => Wanted::Choice,
        _ => Wanted::Fact,
    }
}

/// Dots after these end no sentence.
const ABBREVIATIONS: [&str; 9] = [
    "vs.", "e.g.", "i.e.", "dr.", "mr.", "mrs.", "ms.", "no.", "fig.",
];

fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut from = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let to = at + letter.len_utf8();
        let before_blank = letters.peek().is_none_or(|(_, next)| next.is_whitespace());
        let sentence = text.get(from..to).unwrap_or_default();
        if letter == '\n' || "?!.;".contains(letter) && before_blank && !abbreviated(sentence) {
            sentences.push(sentence);
            from = to;
        }
    }
    sentences.push(text.get(from..).unwrap_or_default());
    sentences.retain(|sentence| sentence.contains(char::is_alphanumeric));
    sentences
}

fn abbreviated(sentence: &str) -> bool {
    sentence
        .split_whitespace()
        .next_back()
        .is_some_and(|word| ABBREVIATIONS.contains(&word.to_lowercase().as_str()))
}

/// Cuts where "and", "or", "but" or "then" stands before a question word, and at a comma before "how", "what" or "why"
/// (not before "which" and "who": these mostly go on with the clause). A piece of one word is no clause.
fn clauses(sentence: &str) -> Vec<String> {
    let tokens: Vec<&str> = sentence.split_whitespace().collect();
    let mut clauses = Vec::new();
    let mut clause: Vec<&str> = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        let joint = joint(rest, clause.last().is_some_and(|last| last.ends_with(',')));
        match joint {
            Some(next) if clause.len() > 1 && next.len() > 1 => {
                clauses.push(std::mem::take(&mut clause).join(" "));
                let (opening, after) = next.split_first().unwrap_or((token, after));
                clause.push(opening);
                rest = after;
            }
            _ => {
                clause.push(token);
                rest = after;
            }
        }
    }
    clauses.push(clause.join(" "));
    clauses
}

/// What follows the joint that stands here, from its question word on.
fn joint<'a, 'b>(tokens: &'b [&'a str], after_comma: bool) -> Option<&'b [&'a str]> {
    let joining = tokens
        .iter()
        .take_while(|token| ["and", "or", "but", "then"].contains(&bare(token).as_str()))
        .count();
    let next = tokens.get(joining..)?;
    let word = bare(next.first()?);
    let opens = if joining > 0 {
        QUESTION_WORDS.contains(&word.as_str())
    } else {
        after_comma && ["how", "what", "why"].contains(&word.as_str())
    };
    opens.then_some(next)
}

fn bare(token: &str) -> String {
    token
        .trim_matches(|letter: char| !letter.is_alphanumeric())
        .to_lowercase()
}

/// A comparison asks for both sides first. Anything else is one question.
fn compared(clause: &str) -> Vec<String> {
    let whole = as_question(clause);
    match sides(clause) {
        Some((one, other)) => vec![
            format!("What is {one}?"),
            format!("What is {other}?"),
            whole,
        ],
        None => vec![whole],
    }
}

/// The sides of "difference between A and B", "compare A and|with|to B" and "A versus|vs B".
fn sides(clause: &str) -> Option<(String, String)> {
    let tokens: Vec<&str> = clause.split_whitespace().collect();
    let bare: Vec<String> = tokens.iter().map(|token| bare(token)).collect();
    let find = |wanted: &[&str], from: usize| {
        let found = bare.iter().skip(from);
        Some(
            from + found
                .into_iter()
                .position(|word| wanted.contains(&word.as_str()))?,
        )
    };
    let (first, middle) = if let Some(versus) = find(&["versus", "vs"], 0) {
        (0, versus)
    } else if let Some(difference) = find(&["difference", "differences"], 0) {
        let between = find(&["between"], difference)?;
        (between + 1, find(&["and"], between)?)
    } else {
        let compare = find(&["compare"], 0)?;
        (compare + 1, find(&["and", "with", "to"], compare)?)
    };
    let side = |tokens: &[&str]| {
        let side = subject(&tokens.join(" "));
        side.contains(char::is_alphanumeric).then_some(side)
    };
    Some((
        side(tokens.get(first..middle)?)?,
        side(tokens.get(middle + 1..)?)?,
    ))
}

fn as_question(text: &str) -> String {
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || "?!.;,".contains(letter));
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.as_str().chars()).chain(['?']).collect()
}
