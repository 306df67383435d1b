//! One vector against another, and against many.

use super::metric::Metric;
use crate::{
    tool::{Context, Refusal},
    vectors::{Vector, check_length, check_total, unit},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    /// The first vector: 1 to 8192 numbers.
    #[schemars(length(min = 1))]
    vector1: Vector,
    /// The second vector, as long as the first.
    #[schemars(length(min = 1))]
    vector2: Vector,
    /// How they are compared.
    #[serde(default)]
    metric: Metric,
    /// Scales both to length 1 first, so that only directions count. jaccard and hamming, which take values as bits, never do.
    #[serde(default = "yes")]
    normalize: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, JsonSchema)]
pub(super) struct PairResult {
    /// How alike they are; list_vector_metrics gives the range of each metric.
    similarity: f64,
    /// How far apart they are.
    distance: f64,
    /// The metric used.
    metric: Metric,
    /// Whether both were scaled to length 1 first.
    normalized: bool,
    /// How many components each has.
    vector_dimensions: usize,
}

pub(super) fn pair(input: Pair) -> Result<PairResult, Refusal> {
    let (a, b) = (&input.vector1, &input.vector2);
    check_length("vector2", b, "vector1", a.len())?;
    let normalized = input.normalize && input.metric.takes_units();
    let likeness = if normalized {
        input.metric.compare(&unit(a), &unit(b))
    } else {
        input.metric.compare(a, b)
    };
    Ok(PairResult {
        similarity: likeness.similarity,
        distance: likeness.distance,
        metric: input.metric,
        normalized,
        vector_dimensions: a.len(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// What to look for: 1 to 8192 numbers.
    #[schemars(length(min = 1))]
    query_vector: Vector,
    /// Where to look: up to 10000 vectors, 2000000 numbers together. Those of another length than the query are left out and counted.
    #[schemars(length(max = 10_000))]
    candidate_vectors: Vec<Candidate>,
    /// How they are compared. Vectors are taken as they are, not normalised.
    #[serde(default)]
    metric: Metric,
    /// How many results to give at most, 1 to 10000.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 10_000))]
    top_k: usize,
    /// The least similarity of a result. Without it, all count.
    #[serde(default)]
    #[schemars(range(min = -1e300, max = 1e300))]
    threshold: Option<f64>,
}

fn ten() -> usize {
    10
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Candidate {
    /// Your name for it, given back in results: up to 256 characters.
    #[schemars(length(max = 256))]
    id: String,
    /// Its numbers.
    vector: Vector,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct BatchResult {
    /// The most similar first; those alike in the order of the candidates.
    results: Vec<Match>,
    /// The metric used.
    metric: Metric,
    /// How many candidates were compared.
    candidates_processed: usize,
    /// How many were left out, being of another length than the query.
    candidates_skipped: usize,
    /// How many reached the threshold, whether or not top_k let them in.
    above_threshold: usize,
}

#[derive(Serialize, JsonSchema)]
struct Match {
    /// The candidate's name.
    id: String,
    /// Its place among the candidates, from 0.
    index: usize,
    /// How alike it is to the query.
    similarity: f64,
    /// How far it is from the query.
    distance: f64,
}

pub(super) fn batch(context: &Context, input: Batch) -> Result<BatchResult, Refusal> {
    let vectors = input
        .candidate_vectors
        .iter()
        .map(|candidate| &candidate.vector);
    check_total("candidate_vectors", vectors)?;
    let of = u32::try_from(input.candidate_vectors.len()).unwrap_or(u32::MAX);
    let mut results = Vec::new();
    let mut candidates_processed = 0;
    for (done, (index, candidate)) in (0_u32..).zip(input.candidate_vectors.iter().enumerate()) {
        if done.is_multiple_of(512) {
            context.step(done, of, "comparing candidates")?;
        }
        if candidate.vector.len() != input.query_vector.len() {
            continue;
        }
        candidates_processed += 1;
        let likeness = input.metric.compare(&input.query_vector, &candidate.vector);
        if input
            .threshold
            .is_none_or(|least| likeness.similarity >= least)
        {
            results.push((index, likeness));
        }
    }
    let above_threshold = results.len();
    results.sort_unstable_by(|(i, a), (j, b)| b.similarity.total_cmp(&a.similarity).then(i.cmp(j)));
    results.truncate(input.top_k);
    let results = results
        .into_iter()
        .filter_map(|(index, likeness)| {
            Some(Match {
                id: input.candidate_vectors.get(index)?.id.clone(),
                index,
                similarity: likeness.similarity,
                distance: likeness.distance,
            })
        })
        .collect();
    Ok(BatchResult {
        results,
        metric: input.metric,
        candidates_processed,
        candidates_skipped: input.candidate_vectors.len() - candidates_processed,
        above_threshold,
    })
}
