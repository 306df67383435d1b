//! Okapi BM25 (Robertson, Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond*, 2009).
//!
//! A document's score is the sum over the query's words of `idf · tf (k1 + 1) / (tf + k1 (1 - b + b · length / average length))`,
//! where idf is that of Robertson and Spärck Jones, `ln((N - df + 0.5) / (df + 0.5))`, and 0 for words that are in half of the
//! documents or more (it would be negative).
//!
//! Documents come with the query and go with it, so there is no index: one pass counts the words of each and looks closer only
//! at those that may be the query's.

use super::text::{SHORTEST, token, tokens, words};
use std::collections::HashMap;

/// How much repetition and length count.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// How slowly a word repeated stops counting. 0: at once.
    pub k1: f64,
    /// How much a document longer than the average is held back, 0 to 1.
    pub b: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { k1: 1.2, b: 0.75 }
    }
}

/// The words that are looked for.
pub struct Query {
    terms: Vec<Term>,
    places: HashMap<String, usize>,
    /// By first byte, the lengths that its words have, as bits. Most words of a document fail here, before any copy or hash.
    shapes: [u64; 256],
}

struct Term {
    text: String,
    /// How often the query says it. Said twice, it counts twice.
    weight: u32,
}

impl Query {
    /// Of a text. Words of fewer than three characters do not count.
    pub fn new(text: &str) -> Self {
        let mut query = Self {
            terms: Vec::new(),
            places: HashMap::new(),
            shapes: [0; 256],
        };
        for token in tokens(text) {
            if let Some(term) = query
                .place(&token)
                .and_then(|place| query.terms.get_mut(place))
            {
                term.weight += 1;
                continue;
            }
            if let Some((first, length)) = shape(&token)
                && let Some(lengths) = query.shapes.get_mut(first)
            {
                *lengths |= length;
            }
            query
                .places
                .insert(token.clone().into_owned(), query.terms.len());
            query.terms.push(Term {
                text: token.into_owned(),
                weight: 1,
            });
        }
        query
    }

    /// Whether it has no word that counts.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    fn place(&self, token: &str) -> Option<usize> {
        self.places.get(token).copied()
    }

    /// How many words a text has, and how often each word of the query is among them, in the order of the query.
    fn count(&self, text: &str, scratch: &mut [u32]) -> Document {
        let mut length = 0;
        let mut found = Vec::new();
        for word in words(text) {
            if word.is_ascii() {
                if word.len() < SHORTEST {
                    continue;
                }
                if !self.is_shaped_like(word) {
                    length += 1;
                    continue;
                }
            }
            let Some(token) = token(word) else { continue };
            length += 1;
            let Some(place) = self.place(&token) else {
                continue;
            };
            if let Some(count) = scratch.get_mut(place) {
                if *count == 0 {
                    found.push(place);
                }
                *count += 1;
            }
        }
        found.sort_unstable();
        let found = found
            .into_iter()
            .map(|term| Found {
                term,
                frequency: scratch.get_mut(term).map_or(0, std::mem::take),
                contribution: 0.0,
            })
            .collect();
        Document {
            length,
            found,
            score: 0.0,
        }
    }

    fn is_shaped_like(&self, word: &str) -> bool {
        shape(word).is_some_and(|(first, length)| {
            self.shapes
                .get(first)
                .is_some_and(|lengths| lengths & length != 0)
        })
    }
}

/// First byte in lower case, and the length as one bit: equal for equal words.
#[inline]
fn shape(word: &str) -> Option<(usize, u64)> {
    let first = word.as_bytes().first()?.to_ascii_lowercase();
    Some((usize::from(first), 1 << word.len().min(63)))
}

/// Documents scored for a query.
pub struct Ranking {
    /// Mean number of words of a document.
    pub average_length: f64,
    /// The greatest score, unscaled.
    pub best: f64,
    terms: Vec<TermCount>,
    documents: Vec<Document>,
}

struct TermCount {
    document_frequency: u32,
    idf: f64,
}

struct Document {
    length: u32,
    found: Vec<Found>,
    /// Unscaled.
    score: f64,
}

struct Found {
    term: usize,
    frequency: u32,
    contribution: f64,
}

impl Ranking {
    /// Scores every document. `step` is told before each one how many are done, and may end it.
    pub fn of<'a, E>(
        query: &Query,
        documents: impl IntoIterator<Item = &'a str>,
        parameters: Parameters,
        mut step: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut scratch = vec![0; query.terms.len()];
        let mut counted = Vec::new();
        for (done, text) in (0..).zip(documents) {
            step(done)?;
            counted.push(query.count(text, &mut scratch));
        }
        let mut ranking = Self {
            average_length: 0.0,
            best: 0.0,
            terms: Vec::new(),
            documents: counted,
        };
        ranking.weigh(query);
        ranking.score(query, parameters);
        Ok(ranking)
    }

    fn weigh(&mut self, query: &Query) {
        let count = self.documents.len() as f64;
        let words: f64 = self
            .documents
            .iter()
            .map(|document| f64::from(document.length))
            .sum();
        self.average_length = if count > 0.0 { words / count } else { 0.0 };
        let mut frequencies = vec![0_u32; query.terms.len()];
        for found in self.documents.iter().flat_map(|document| &document.found) {
            if let Some(frequency) = frequencies.get_mut(found.term) {
                *frequency += 1;
            }
        }
        self.terms = frequencies
            .into_iter()
            .map(|document_frequency| TermCount {
                document_frequency,
                idf: idf(count, f64::from(document_frequency)),
            })
            .collect();
    }

    fn score(&mut self, query: &Query, Parameters { k1, b }: Parameters) {
        for document in &mut self.documents {
            // A document in which something was found is not empty, so the average is above 0.
            let damper =
                k1 * (1.0 - b + b * f64::from(document.length) / self.average_length.max(1e-300));
            for found in &mut document.found {
                let (Some(term), Some(said)) =
                    (self.terms.get(found.term), query.terms.get(found.term))
                else {
                    continue;
                };
                let frequency = f64::from(found.frequency);
                let saturated = frequency * (k1 + 1.0) / (frequency + damper);
                found.contribution = f64::from(said.weight) * term.idf * saturated;
                document.score += found.contribution;
            }
            self.best = self.best.max(document.score);
        }
    }

    /// One per document, divided by the greatest: 0 to 1. All are 0 when none is above it.
    pub fn scores(&self) -> Vec<f64> {
        let scale = if self.best > 0.0 { self.best } else { 1.0 };
        self.documents
            .iter()
            .map(|document| document.score / scale)
            .collect()
    }
}

/// Of a word in `frequency` of `count` documents.
fn idf(count: f64, frequency: f64) -> f64 {
    ((count - frequency + 0.5) / (frequency + 0.5))
        .ln()
        .max(0.0)
}

/// The tool.
pub(super) mod tool {
    use super::{Parameters, Query, Ranking};
    use crate::{
        services::vector_ranking::{best_first, check_text, places},
        tool::{Context, Refusal},
    };
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    /// Details of more documents than this are more than anyone reads.
    const MOST_DETAILED: usize = 1_000;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in super::super) struct Input {
        /// What is looked for: up to 2000 characters. Words of one or two characters do not count.
        #[schemars(length(min = 1, max = 2_000))]
        query: String,
        /// Where it is looked for: 1 to 10000 documents, 2000000 bytes of text together.
        #[schemars(length(min = 1, max = 10_000))]
        documents: Vec<Text>,
        /// How slowly a word repeated stops counting, 0 to 100; 0: at once.
        #[serde(default = "k1")]
        #[schemars(range(min = 0, max = 100))]
        k1: f64,
        /// How much a document longer than the average is held back, 0 to 1.
        #[serde(default = "b")]
        #[schemars(range(min = 0, max = 1))]
        b: f64,
        /// Also says what each word contributed to each document; for up to 1000 documents.
        #[serde(default)]
        return_details: bool,
    }

    fn k1() -> f64 {
        Parameters::default().k1
    }

    fn b() -> f64 {
        Parameters::default().b
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(non_snake_case, reason = "named so by the original system")]
    struct Text {
        /// Your name for it, given back in results: 1 to 256 characters, each its own.
        #[schemars(length(min = 1, max = 256))]
        docId: String,
        /// Its text: up to 100000 characters.
        #[schemars(length(max = 100_000))]
        content: String,
    }

    #[derive(Serialize, JsonSchema)]
    pub(in super::super) struct Output {
        /// Every document, best first; those alike in the order they came in.
        scores: Vec<Score>,
        /// The greatest raw score, by which all were divided; 0 when no document has anything of the query.
        max_raw_score: f64,
        /// How many documents were scored.
        total_documents: usize,
        /// Mean number of counted words of a document.
        average_document_length: f64,
        /// The query's words that count, in its order.
        query_terms: Vec<QueryTerm>,
    }

    #[derive(Serialize, JsonSchema)]
    #[expect(non_snake_case, reason = "named so by the original system")]
    struct Score {
        /// The document's name.
        docId: String,
        /// Its place among the documents, from 0.
        index: usize,
        /// 0 to 1; the best document has 1.
        score: f64,
        /// The score before it was divided by the greatest.
        raw_score: f64,
        /// How many words of it counted.
        length: u32,
        /// What each word of the query that it has contributed; null when not asked for.
        details: Option<Vec<Detail>>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Detail {
        /// The word.
        term: String,
        /// How often the document has it.
        frequency: u32,
        /// What it added to raw_score.
        contribution: f64,
    }

    #[derive(Serialize, JsonSchema)]
    struct QueryTerm {
        /// The word, in lower case.
        term: String,
        /// How often the query says it.
        occurrences: u32,
        /// How many documents have it.
        document_frequency: u32,
        /// How much it tells documents apart; 0 for one that is in half of them or more.
        idf: f64,
    }

    pub(in super::super) fn scores(context: &Context, input: Input) -> Result<Output, Refusal> {
        let texts = || {
            input
                .documents
                .iter()
                .map(|document| document.content.as_str())
        };
        check_text("documents", texts())?;
        places(
            "documents",
            input
                .documents
                .iter()
                .map(|document| document.docId.as_str()),
        )?;
        if input.return_details && input.documents.len() > MOST_DETAILED {
            return Err(Refusal::argument(
                "return_details",
                format!(
                    "is for up to {MOST_DETAILED} documents, there are {}",
                    input.documents.len()
                ),
            ));
        }
        let query = Query::new(&input.query);
        let parameters = Parameters {
            k1: input.k1,
            b: input.b,
        };
        let of = u32::try_from(input.documents.len()).unwrap_or(u32::MAX);
        let ranking = Ranking::of(&query, texts(), parameters, |done| {
            if done.is_multiple_of(256) {
                context.step(done, of, "counting words")?;
            }
            Ok::<_, Refusal>(())
        })?;
        let scores = ranking.scores();
        let rows = best_first(&scores).into_iter().filter_map(|index| {
            let scored = ranking.documents.get(index)?;
            Some(Score {
                docId: input.documents.get(index)?.docId.clone(),
                index,
                score: *scores.get(index)?,
                raw_score: scored.score,
                length: scored.length,
                details: input.return_details.then(|| details(&query, scored)),
            })
        });
        Ok(Output {
            scores: rows.collect(),
            max_raw_score: ranking.best,
            total_documents: input.documents.len(),
            average_document_length: ranking.average_length,
            query_terms: query
                .terms
                .iter()
                .zip(&ranking.terms)
                .map(|(term, count)| QueryTerm {
                    term: term.text.clone(),
                    occurrences: term.weight,
                    document_frequency: count.document_frequency,
                    idf: count.idf,
                })
                .collect(),
        })
    }

    fn details(query: &Query, document: &super::Document) -> Vec<Detail> {
        document
            .found
            .iter()
            .filter_map(|found| {
                Some(Detail {
                    term: query.terms.get(found.term)?.text.clone(),
                    frequency: found.frequency,
                    contribution: found.contribution,
                })
            })
            .collect()
    }
}
