//! Puts documents in order of what they are worth to a query.
//!
//! For whoever has a handful of candidates, from a search or a database, and wants the best first, with the reasons: words (BM25),
//! vectors (cosine), links (PageRank) and context (how recent, which categories), each alone or all of them mixed. Nothing is kept
//! between calls: every count is of the documents that came with the call.

mod bm25;
mod config;
mod context;
mod hybrid;
mod pagerank;
#[cfg(test)]
mod tests;
mod text;
mod vector;

pub use bm25::{Parameters, Query, Ranking};

use crate::{
    service::{Host, Prompt, PromptArgument, Resource, Service},
    tool::{Refusal, Tool},
};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The server.
pub fn service(host: &Host) -> Service {
    let clock = host.clone();
    Service {
        name: "vector_ranking",
        port: 8103,
        title: "Hybrid ranking",
        description: "Ranks documents for a query by words (BM25), vectors (cosine), links (PageRank) and context, alone or mixed, \
                      and shows what each contributed.",
        tools: vec![
            Tool::with_context(
                "hybrid_ranking_search",
                "Hybrid ranking",
                "Ranks candidate documents for a query by words, vectors, links and context together, near-duplicates left out. Use it when \
                 more than one of these is known; gives the best documents with a score of 0 to 1 and its components.",
                move |context, input| hybrid::search(context, clock.now_ms(), input),
            )
            .alias("hybrid_ranking_search_mcp")
            .long(),
            Tool::with_context(
                "calculate_bm25_scores",
                "BM25 scores",
                "Scores documents by the words they share with a query (Okapi BM25), the best one 1. Gives every document, best first, \
                 and on request what each word contributed.",
                bm25::tool::scores,
            )
            .alias("calculate_bm25_scores_mcp")
            .long(),
            Tool::with_context(
                "calculate_pagerank_scores",
                "PageRank scores",
                "Scores documents by how they link to each other (PageRank): what is linked to by much that is linked to counts more. \
                 Scores add up to 1; needs no query.",
                pagerank::tool::scores,
            )
            .alias("calculate_pagerank_scores_mcp")
            .long(),
            Tool::new(
                "calculate_vector_similarity",
                "Cosine of documents",
                "Cosine similarity of each document's vector to a query vector, best first. Use it when documents already have embeddings \
                 and words do not matter.",
                vector::scores,
            )
            .alias("calculate_vector_similarity_mcp")
            .long(),
            Tool::new(
                "get_ranking_config",
                "Ranking defaults",
                "Gives the default weights and parameters, and for each method the ranking_weights that select it in hybrid_ranking_search.",
                |_: config::Nothing| Ok(config::config()),
            )
            .alias("mcp_hybrid_ranking"),
        ],
        resources: vec![Resource {
            uri: "ranking://config/default",
            name: "default configuration",
            description: "Default weights, BM25 and PageRank parameters, and the methods.",
            read: Box::new(|| serde_json::to_value(config::config()).unwrap_or_default()),
        }],
        beats: Vec::new(),
        prompts: vec![Prompt {
            name: "ranking_analysis",
            description: "Explains why documents rank as they do for a query, and what would change it.",
            arguments: &[
                PromptArgument {
                    name: "query",
                    description: "The query that was ranked for.",
                    required: true,
                },
                PromptArgument {
                    name: "concern",
                    description: "What is wrong with the order, as \"old pages come first\".",
                    required: false,
                },
            ],
            render: analysis,
        }],
    }
}

fn analysis(arguments: &Map<String, Value>) -> String {
    let of = |name| arguments.get(name).and_then(Value::as_str);
    let query = of("query").unwrap_or_default();
    let concern = match of("concern") {
        Some(concern) => format!(
            "\nThe concern: {concern}. Say which signal causes it, and which weights would mend it."
        ),
        None => String::new(),
    };
    format!(
        "Analyse the ranking for the query \"{query}\".\n\
         1. Read get_ranking_config for the weights in force.\n\
         2. Call hybrid_ranking_search, then each signal alone: calculate_bm25_scores with return_details, calculate_pagerank_scores, \
         calculate_vector_similarity.\n\
         3. For each of the best five, say which signal lifted it and which held it back, with numbers.\n\
         4. Name documents that one signal puts high and the mix puts low.{concern}"
    )
}

/// Indices of the scores, greatest first, equal ones in the order they came in.
fn best_first(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<(usize, f64)> = scores.iter().copied().enumerate().collect();
    order.sort_unstable_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
    order.into_iter().map(|(index, _)| index).collect()
}

/// Where each id stands. An id that comes twice is refused: results could not tell the two apart.
fn places<'a>(
    field: &str,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<&'a str, usize>, Refusal> {
    let mut places = HashMap::new();
    for (index, id) in ids.into_iter().enumerate() {
        if let Some(first) = places.insert(id, index) {
            return Err(Refusal::argument(
                format!("{field}[{index}].docId"),
                format!("is the same as that of {field}[{first}]; each document needs its own"),
            ));
        }
    }
    Ok(places)
}

/// How much text the documents of one call may have together.
const MOST_TEXT: usize = 2_000_000;

fn check_text<'a>(field: &str, texts: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
    let total: usize = texts.into_iter().map(str::len).sum();
    if total > MOST_TEXT {
        return Err(Refusal::argument(
            field,
            format!("have {total} bytes of text together; at most {MOST_TEXT} are taken"),
        ));
    }
    Ok(())
}
