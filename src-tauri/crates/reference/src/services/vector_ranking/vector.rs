//! Cosine of each document's vector to that of the query.

use super::{best_first, places};
use crate::{
    tool::Refusal,
    vectors::{Vector, check_length, check_total, cosine, dot},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// What is looked for: 1 to 8192 numbers.
    #[schemars(length(min = 1))]
    query_vector: Vector,
    /// 1 to 10000 documents, 2000000 numbers together, each vector as long as the query's.
    #[schemars(length(min = 1, max = 10_000))]
    document_vectors: Vec<DocumentVector>,
    /// Divides by the lengths of both vectors, which makes it a cosine. False when all have length 1 already: the plain product is the same and quicker.
    #[serde(default = "yes")]
    normalize: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(non_snake_case, reason = "named so by the original system")]
struct DocumentVector {
    /// Your name for it, given back in results: 1 to 256 characters, each its own.
    #[schemars(length(min = 1, max = 256))]
    docId: String,
    /// Its numbers.
    vector: Vector,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// Every document, most similar first; those alike in the order they came in.
    similarities: Vec<Similarity>,
    /// Whether the lengths of vectors were divided out.
    normalized: bool,
    /// How many components each vector has.
    vector_dimensions: usize,
}

#[derive(Serialize, JsonSchema)]
#[expect(non_snake_case, reason = "named so by the original system")]
struct Similarity {
    /// The document's name.
    docId: String,
    /// Its place among the documents, from 0.
    index: usize,
    /// Cosine, -1 to 1; the plain product when not normalised. 0 for a vector of zeros.
    similarity: f64,
}

pub(super) fn scores(input: Input) -> Result<Output, Refusal> {
    let documents = &input.document_vectors;
    check_total(
        "document_vectors",
        documents.iter().map(|document| &document.vector),
    )?;
    places(
        "document_vectors",
        documents.iter().map(|document| document.docId.as_str()),
    )?;
    let query = &input.query_vector;
    for (index, document) in documents.iter().enumerate() {
        let field = format!("document_vectors[{index}].vector");
        check_length(field, &document.vector, "query_vector", query.len())?;
    }
    let compare = if input.normalize { cosine } else { dot };
    let scores: Vec<f64> = documents
        .iter()
        .map(|document| compare(query, &document.vector))
        .collect();
    let rows = best_first(&scores).into_iter().filter_map(|index| {
        Some(Similarity {
            docId: documents.get(index)?.docId.clone(),
            index,
            similarity: *scores.get(index)?,
        })
    });
    Ok(Output {
        similarities: rows.collect(),
        normalized: input.normalize,
        vector_dimensions: query.len(),
    })
}
