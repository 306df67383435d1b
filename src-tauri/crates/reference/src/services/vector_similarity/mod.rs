//! Compares dense vectors: pairs, one against many, and whole sets.
//!
//! For whoever has embeddings and wants to know how near they are, by six metrics, without a vector store.

mod compare;
mod metric;
mod survey;
#[cfg(test)]
mod tests;

use crate::{
    service::{Host, Prompt, PromptArgument, Resource, Service},
    tool::Tool,
};
use serde_json::{Map, Value};

/// The server.
pub fn service(_host: &Host) -> Service {
    Service {
        name: "vector_similarity",
        port: 8102,
        title: "Vector similarity",
        description: "Compares vectors of numbers: two of them, one against many candidates, or the statistics of a whole set, \
                      by cosine, euclidean, manhattan, dot product, jaccard or hamming.",
        tools: vec![
            Tool::new(
                "calculate_vector_similarity",
                "Similarity of two vectors",
                "Similarity and distance of two vectors of one length, by a metric of your choice. Use it for a single pair; \
                 for one vector against many use batch_vector_similarity.",
                compare::pair,
            )
            .alias("calculate_vector_similarity_mcp"),
            Tool::with_context(
                "batch_vector_similarity",
                "Nearest candidates",
                "Finds which of many candidate vectors are most like a query vector. Gives the best ones, most similar first, and how \
                 many candidates were compared or left out for being of another length.",
                compare::batch,
            )
            .alias("batch_vector_similarity_mcp")
            .long(),
            Tool::with_context(
                "vector_statistics",
                "Statistics of a set of vectors",
                "Mean, standard deviation, minimum and maximum of each axis and of the lengths of a set of vectors; on request also of \
                 the cosines of all pairs. Use it to judge a set of embeddings before searching in it.",
                survey::statistics,
            )
            .alias("vector_statistics_mcp")
            .long(),
            Tool::new(
                "normalize_vectors",
                "Normalise vectors",
                "Scales each vector to norm 1 (l2, l1 or greatest magnitude) and gives the factor that each was divided by. \
                 Vectors of zeros stay as they are, with factor 0.",
                survey::normalize,
            )
            .alias("normalize_vectors_mcp")
            .long(),
            Tool::new(
                "list_vector_metrics",
                "Metrics on offer",
                "Lists the metrics that the other tools take, with their formulas, ranges and when to use which.",
                |_: metric::Nothing| Ok(metric::table()),
            )
            .alias("mcp_vector_similarity"),
        ],
        resources: vec![Resource {
            uri: "vectorsim://calculator/metrics",
            name: "metrics",
            description: "The metrics on offer: formulas, ranges and uses.",
            read: Box::new(|| serde_json::to_value(metric::table()).unwrap_or_default()),
        }],
        beats: Vec::new(),
        prompts: vec![Prompt {
            name: "vector_similarity_analysis",
            description: "Walks through comparing a set of vectors and reporting what the numbers mean.",
            arguments: &[
                PromptArgument {
                    name: "subject",
                    description: "What the vectors stand for, as \"embeddings of support tickets\".",
                    required: true,
                },
                PromptArgument {
                    name: "metric",
                    description: "A metric of list_vector_metrics. Without it the model picks one.",
                    required: false,
                },
            ],
            render: analysis,
        }],
    }
}

fn analysis(arguments: &Map<String, Value>) -> String {
    let of = |name| arguments.get(name).and_then(Value::as_str);
    let subject = of("subject").unwrap_or("the vectors");
    let metric = match of("metric") {
        Some(metric) => format!("Compare by {metric}."),
        None => "Read list_vector_metrics, pick the metric that fits and say why.".to_owned(),
    };
    format!(
        "Analyse how similar these are: {subject}.\n\
         1. Call vector_statistics with calculate_pairwise to see scale and spread; point out axes that do not vary and lengths that stand out.\n\
         2. {metric}\n\
         3. Call batch_vector_similarity for each vector of interest, or calculate_vector_similarity for a single pair.\n\
         4. Report the closest and the farthest pairs with their numbers, what in the data explains them, and how sure that is."
    )
}
