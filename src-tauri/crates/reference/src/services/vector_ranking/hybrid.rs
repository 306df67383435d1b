//! All signals together: a weighted sum, near-duplicates left out.
//!
//! Each signal is brought to 0..1 first: cosines below 0 count as 0, BM25 and PageRank are divided by the greatest of the
//! candidates. A signal for which nothing was given (no query vector, no links, …) has no weight; the others share it, so that a
//! score of 1 always means the best on every signal that counts.

use super::{
    best_first,
    bm25::{Parameters, Query, Ranking},
    check_text,
    config::Weights,
    context::{categories, overlap, parse_ms, recency, relevance},
    pagerank::{DAMPING, ITERATIONS, Links, PageRank, tool::check_links},
    places,
    text::{Vocabulary, alike},
};
use crate::{
    tool::{Context, Refusal},
    vectors::{Vector, check_length, check_total, cosine},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Documents whose words overlap by more are the same to a reader.
pub(super) const MOST_OVERLAP: f64 = 0.7;

/// How much recency counts when the call does not say.
pub(super) const RECENCY_WEIGHT: f64 = 0.0;

/// How many characters of a document are given back.
const EXCERPT: usize = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// What is looked for: up to 2000 characters. Words of one or two characters do not count.
    #[schemars(length(min = 1, max = 2_000))]
    query: String,
    /// What is ranked: 1 to 10000 documents, together 2000000 bytes of text, 2000000 numbers and 500000 links.
    #[schemars(length(min = 1, max = 10_000))]
    candidate_documents: Vec<Candidate>,
    /// The query as a vector of 1 to 8192 numbers; documents' vectors must be as long. Without it vectors do not count.
    #[serde(default)]
    #[schemars(length(min = 1))]
    query_vector: Option<Vector>,
    /// How much each signal counts; those not named have their default. Only ratios matter, and signals without data count nothing.
    #[serde(default)]
    ranking_weights: Weights,
    /// The searcher's situation. Without it context does not count.
    #[serde(default)]
    search_context: Option<SearchContext>,
    /// How many results to give at most, 1 to 500.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 500))]
    top_k: usize,
    /// Leaves out documents whose words are more than 70 % the same as those of a better one.
    #[serde(default = "yes")]
    apply_diversity: bool,
}

fn ten() -> usize {
    10
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(non_snake_case, reason = "named so by the original system")]
struct Candidate {
    /// Your name for it, given back in results: 1 to 256 characters, each its own.
    #[schemars(length(min = 1, max = 256))]
    docId: String,
    /// Its text: up to 100000 characters.
    #[schemars(length(max = 100_000))]
    content: String,
    /// Its vector, as long as query_vector. Without it the document is like nothing.
    #[serde(default)]
    vector: Option<Vector>,
    /// docIds that it links to, up to 1000.
    #[serde(default)]
    #[schemars(length(max = 1_000), inner(length(max = 256)))]
    links: Vec<String>,
    /// docIds that it cites, up to 1000.
    #[serde(default)]
    #[schemars(length(max = 1_000), inner(length(max = 256)))]
    references: Vec<String>,
    /// docIds that it is related to, up to 1000.
    #[serde(default)]
    #[schemars(length(max = 1_000), inner(length(max = 256)))]
    related_documents: Vec<String>,
    /// Categories that it is in, up to 100; upper and lower case are the same.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 256)))]
    categories: Vec<String>,
    /// When it was last changed, ISO 8601. Without it the document is not recent.
    #[serde(default)]
    #[schemars(length(max = 64))]
    updated_at: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchContext {
    /// How much a document changed just now gains, 0 to 1; it falls evenly to nothing over 365 days.
    #[serde(default = "recency_weight")]
    #[schemars(range(min = 0, max = 1))]
    recency_weight: f64,
    /// Categories that are wanted, up to 100: a document gains the share of them that it is in.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 256)))]
    categories: Vec<String>,
    /// What time it is, ISO 8601, for the age of documents. Without it the server's clock counts.
    #[serde(default)]
    #[schemars(length(max = 64))]
    now: Option<String>,
}

fn recency_weight() -> f64 {
    RECENCY_WEIGHT
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The best documents, best first; those alike in the order they came in.
    results: Vec<Ranked>,
    /// What the ranking is made of.
    metadata: Metadata,
    /// How long it took. The one part that differs from call to call.
    timing: Timing,
}

#[derive(Serialize, JsonSchema)]
#[expect(non_snake_case, reason = "named so by the original system")]
struct Ranked {
    /// The document's name.
    docId: String,
    /// Its place among the candidates, from 0.
    index: usize,
    /// 1 is the best.
    rank: usize,
    /// 0 to 1: the components, weighted.
    hybridScore: f64,
    /// What the score is made of, each 0 to 1, before weights.
    rankingComponents: Components,
    /// How its text begins.
    excerpt: String,
}

#[derive(Serialize, JsonSchema)]
#[expect(non_snake_case, reason = "named so by the original system")]
struct Components {
    /// Cosine to the query's vector, below 0 counted as 0.
    vectorSimilarity: f64,
    /// BM25, the best candidate 1.
    bm25Score: f64,
    /// PageRank, the best candidate 1.
    pageRankScore: f64,
    /// Recency and categories.
    contextualRelevance: f64,
}

#[derive(Serialize, JsonSchema)]
struct Metadata {
    /// How many documents were ranked.
    total_candidates: usize,
    /// How many are given back.
    returned: usize,
    /// How many were left out as near-duplicates before the results were full.
    duplicates_removed: usize,
    /// Weights as used: 0 for signals without data, adding up to 1.
    weights: Weights,
}

#[derive(Serialize, JsonSchema)]
struct Timing {
    /// Milliseconds, words.
    bm25_ms: f64,
    /// Milliseconds, vectors.
    vector_ms: f64,
    /// Milliseconds, links.
    pagerank_ms: f64,
    /// Milliseconds, all.
    total_ms: f64,
}

/// Four numbers per document, in the order of [`Weights::to_array`].
struct Signals {
    vector: Vec<f64>,
    bm25: Vec<f64>,
    pagerank: Vec<f64>,
    context: Vec<f64>,
}

impl Signals {
    fn at(&self, index: usize) -> [f64; 4] {
        let of = |signal: &[f64]| signal.get(index).copied().unwrap_or_default();
        [
            of(&self.vector),
            of(&self.bm25),
            of(&self.pagerank),
            of(&self.context),
        ]
    }
}

pub(super) fn search(context: &Context, now_ms: i64, input: Input) -> Result<Output, Refusal> {
    let started = Instant::now();
    let field = "candidate_documents";
    let documents = &input.candidate_documents;
    check_text(
        field,
        documents.iter().map(|document| document.content.as_str()),
    )?;
    check_total(
        field,
        documents
            .iter()
            .filter_map(|document| document.vector.as_ref()),
    )?;
    let places = places(
        field,
        documents.iter().map(|document| document.docId.as_str()),
    )?;
    let linked = documents.iter().map(|document| {
        let lists = [
            &document.links,
            &document.references,
            &document.related_documents,
        ];
        lists.into_iter().flatten()
    });
    check_links(field, linked.clone().flatten().count())?;
    let vector = vector_signal(&input)?;
    let vector_ms = ms_since(started);

    context.step(0, 4, "counting words")?;
    let begun = Instant::now();
    let query = Query::new(&input.query);
    let texts = documents.iter().map(|document| document.content.as_str());
    let ranking = Ranking::of(&query, texts, Parameters::default(), |done| {
        if done.is_multiple_of(256) {
            context.step(0, 4, "counting words")?;
        }
        Ok::<_, Refusal>(())
    })?;
    let bm25_ms = ms_since(begun);

    let begun = Instant::now();
    let links = Links::of(&places, linked);
    let rank = PageRank::of(&links, DAMPING, ITERATIONS, |_| {
        context.step(1, 4, "passing scores on")
    })?;
    let pagerank_ms = ms_since(begun);

    context.step(2, 4, "weighing context")?;
    let fit = context_signal(&input, now_ms)?;
    let there = [
        vector.is_some(),
        !query.is_empty(),
        links.count > 0,
        fit.is_some(),
    ];
    let weights = input.ranking_weights.among(there).ok_or_else(|| {
        Refusal::argument(
            "ranking_weights",
            "give no weight to a signal that there is data for: a word of three characters or more in query, query_vector and \
             vectors of documents, links between documents, or a search_context with categories or recency_weight",
        )
    })?;
    let signals = Signals {
        vector: vector.unwrap_or_default(),
        bm25: ranking.scores(),
        pagerank: relative(rank.scores),
        context: fit.unwrap_or_default(),
    };
    let scores: Vec<f64> = (0..documents.len())
        .map(|index| mixed(weights.to_array(), signals.at(index)))
        .collect();

    let mut order = best_first(&scores);
    let duplicates_removed = if input.apply_diversity {
        leave_out_duplicates(context, documents, &mut order, input.top_k)?
    } else {
        0
    };
    order.truncate(input.top_k);
    let results: Vec<Ranked> = (1..)
        .zip(order)
        .filter_map(|(rank, index)| {
            let document = documents.get(index)?;
            let [vector, bm25, pagerank, context] = signals.at(index);
            Some(Ranked {
                docId: document.docId.clone(),
                index,
                rank,
                hybridScore: *scores.get(index)?,
                rankingComponents: Components {
                    vectorSimilarity: vector,
                    bm25Score: bm25,
                    pageRankScore: pagerank,
                    contextualRelevance: context,
                },
                excerpt: document.content.chars().take(EXCERPT).collect(),
            })
        })
        .collect();
    Ok(Output {
        metadata: Metadata {
            total_candidates: documents.len(),
            returned: results.len(),
            duplicates_removed,
            weights,
        },
        results,
        timing: Timing {
            bm25_ms,
            vector_ms,
            pagerank_ms,
            total_ms: ms_since(started),
        },
    })
}

/// `None` without a query vector, or when no document has a vector.
fn vector_signal(input: &Input) -> Result<Option<Vec<f64>>, Refusal> {
    let Some(query) = &input.query_vector else {
        return Ok(None);
    };
    let mut any = false;
    let mut signal = Vec::with_capacity(input.candidate_documents.len());
    for (index, document) in input.candidate_documents.iter().enumerate() {
        let Some(vector) = &document.vector else {
            signal.push(0.0);
            continue;
        };
        let field = format!("candidate_documents[{index}].vector");
        check_length(field, vector, "query_vector", query.len())?;
        any = true;
        signal.push(cosine(query, vector).max(0.0));
    }
    Ok(any.then_some(signal))
}

/// `None` without a search context that asks for something.
fn context_signal(input: &Input, now_ms: i64) -> Result<Option<Vec<f64>>, Refusal> {
    let Some(context) = &input.search_context else {
        return Ok(None);
    };
    let now_ms = match &context.now {
        Some(now) => parse_ms("search_context.now", now)?,
        None => now_ms,
    };
    let wanted = categories(&context.categories);
    let mut signal = Vec::with_capacity(input.candidate_documents.len());
    for (index, document) in input.candidate_documents.iter().enumerate() {
        let recency = match &document.updated_at {
            Some(at) => {
                let at_ms = parse_ms(&format!("candidate_documents[{index}].updated_at"), at)?;
                recency(now_ms.saturating_sub(at_ms) as f64)
            }
            None => 0.0,
        };
        let overlap = overlap(&wanted, &categories(&document.categories));
        signal.push(relevance(context.recency_weight, recency, overlap));
    }
    let asks = context.recency_weight > 0.0 || !wanted.is_empty();
    Ok(asks.then_some(signal))
}

/// Divided by the greatest.
fn relative(mut scores: Vec<f64>) -> Vec<f64> {
    let best = scores.iter().copied().fold(0.0, f64::max);
    if best > 0.0 {
        scores.iter_mut().for_each(|score| *score /= best);
    }
    scores
}

fn mixed(weights: [f64; 4], signals: [f64; 4]) -> f64 {
    weights
        .iter()
        .zip(signals)
        .map(|(weight, signal)| weight * signal)
        .sum()
}

/// Takes from the order, best first, up to `top_k` documents none of which is [`alike`] a better one. Gives how many were left out.
fn leave_out_duplicates(
    context: &Context,
    documents: &[Candidate],
    order: &mut Vec<usize>,
    top_k: usize,
) -> Result<usize, Refusal> {
    let mut vocabulary = Vocabulary::default();
    let mut kept = Vec::new();
    let mut sets: Vec<Vec<u32>> = Vec::new();
    let mut left_out = 0;
    for index in order.iter().copied() {
        if kept.len() >= top_k {
            break;
        }
        context.step(3, 4, "leaving out duplicates")?;
        let Some(document) = documents.get(index) else {
            continue;
        };
        let set = vocabulary.set(&document.content);
        if sets.iter().any(|better| alike(better, &set, MOST_OVERLAP)) {
            left_out += 1;
        } else {
            kept.push(index);
            sets.push(set);
        }
    }
    *order = kept;
    Ok(left_out)
}

fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1_000.0
}
