use super::*;
use crate::tool::{Context, Refusal};
use proptest::prelude::*;
use serde_json::json;
use std::{sync::LazyLock, time::UNIX_EPOCH};

/// Once for all tests: schemas take long to compile, and nothing lasts between calls.
static SERVICE: LazyLock<Service> = LazyLock::new(|| service(&Host::new(None, || UNIX_EPOCH)));

fn try_call(tool: &str, arguments: Value) -> Result<Value, Refusal> {
    SERVICE.ask(tool, arguments)
}

fn call(tool: &str, arguments: Value) -> Value {
    try_call(tool, arguments).unwrap()
}

#[track_caller]
fn refused(tool: &str, arguments: Value, expected: &str) {
    assert_eq!(try_call(tool, arguments).unwrap_err().to_string(), expected);
}

#[track_caller]
fn near(actual: &Value, expected: f64) {
    let actual = actual.as_f64().expect("no number");
    assert!(
        (actual - expected).abs() < 1e-12,
        "{actual} is not {expected}"
    );
}

#[test]
fn five_tools_each_under_both_names() {
    let names: Vec<_> = SERVICE
        .tools
        .iter()
        .map(|tool| (tool.name, tool.alias.unwrap_or("-")))
        .collect();
    assert_eq!(
        names,
        [
            (
                "calculate_vector_similarity",
                "calculate_vector_similarity_mcp"
            ),
            ("batch_vector_similarity", "batch_vector_similarity_mcp"),
            ("vector_statistics", "vector_statistics_mcp"),
            ("normalize_vectors", "normalize_vectors_mcp"),
            ("list_vector_metrics", "mcp_vector_similarity"),
        ]
    );
    assert!(
        SERVICE
            .tools
            .iter()
            .all(|tool| tool.hints.read_only && tool.hints.idempotent)
    );
}

/// By hand, for a = (3, 4) and b = (4, 3): products 24, lengths 5, 5; apart by (1, 1), or by (0.2, 0.2) when both have length 1.
#[test]
fn pairs_by_every_metric() {
    let check = |metric: &str, normalize: bool, similarity: f64, distance: f64| {
        let result = call(
            "calculate_vector_similarity",
            json!({"vector1": [3, 4], "vector2": [4, 3], "metric": metric, "normalize": normalize}),
        );
        near(&result["similarity"], similarity);
        near(&result["distance"], distance);
        assert_eq!(result["metric"], metric);
        assert_eq!(result["vector_dimensions"], 2);
        assert_eq!(
            result["normalized"],
            normalize && metric != "jaccard" && metric != "hamming"
        );
    };
    let root = 2_f64.sqrt();
    check("cosine", true, 0.96, 0.04);
    check("cosine", false, 0.96, 0.04);
    check("euclidean", false, 1.0 / (1.0 + root), root);
    check("euclidean", true, 1.0 / (1.0 + 0.2 * root), 0.2 * root);
    check("manhattan", false, 1.0 / 3.0, 2.0);
    check("manhattan", true, 1.0 / 1.4, 0.4);
    check("dot_product", false, 24.0, -24.0);
    check("dot_product", true, 0.96, -0.96);
    check("jaccard", true, 1.0, 0.0);
    check("hamming", true, 1.0, 0.0);
}

/// By hand. Values are cut at zero for jaccard, at one half for hamming, scaled to length 1 or not: five ones stay ones, though
/// each would be 0.447 of a vector of length 1.
#[test]
fn sets_and_the_edges_of_each_metric() {
    let check = |metric: &str, a: Value, b: Value, similarity: f64, distance: f64| {
        let result = call(
            "calculate_vector_similarity_mcp",
            json!({"vector1": a, "vector2": b, "metric": metric}),
        );
        near(&result["similarity"], similarity);
        near(&result["distance"], distance);
    };
    check(
        "jaccard",
        json!([1, 0.2, 0, -1]),
        json!([1, 0, 3, -1]),
        1.0 / 3.0,
        2.0 / 3.0,
    );
    check("jaccard", json!([0, -1]), json!([0, 0]), 1.0, 0.0);
    check(
        "hamming",
        json!([0.5, 0.51, 1, 0]),
        json!([0, 0, 1, 1]),
        0.5,
        2.0,
    );
    check(
        "hamming",
        json!([1, 1, 1, 1, 1]),
        json!([1, 1, 1, 1, 0]),
        0.8,
        1.0,
    );
    check("cosine", json!([0, 0]), json!([1, 2]), 0.0, 1.0);
    check("cosine", json!([1e100, 0]), json!([-1e-300, 0]), -1.0, 2.0);
    check("dot_product", json!([0, 0]), json!([1, 2]), 0.0, 0.0);
    let zero = call(
        "calculate_vector_similarity",
        json!({"vector1": [0], "vector2": [1], "metric": "dot_product"}),
    );
    assert_eq!(zero["distance"].to_string(), "0.0", "no -0");
}

#[test]
fn what_is_wrong_is_named() {
    let pair = "calculate_vector_similarity";
    refused(
        pair,
        json!({"vector1": [1, 2, 3], "vector2": [1, 2]}),
        "vector2: has 2 components, vector1 has 3; lengths must be equal",
    );
    refused(
        pair,
        json!({"vector1": [], "vector2": [1]}),
        "vector1: [] has less than 1 item",
    );
    refused(
        pair,
        json!({"vector1": [1], "vector2": [1e101]}),
        "vector2[0]: 1e+101 is greater than the maximum of 1e+100",
    );
    let long = vec![0; 8193];
    assert!(
        matches!(try_call(pair, json!({"vector1": long, "vector2": [1]})), Err(Refusal::Argument { field, .. }) if field == "vector1")
    );
    assert!(
        matches!(try_call(pair, json!({"vector1": [1], "vector2": [1], "metric": "angle"})), Err(Refusal::Argument { field, .. }) if field == "metric")
    );
    refused(
        "vector_statistics",
        json!({"vectors": [[1, 2], [1]]}),
        "vectors[1]: has 1 components, vectors[0] has 2; lengths must be equal",
    );
    refused(
        "vector_statistics",
        json!({"vectors": [[]]}),
        "vectors[0]: is empty; at least one number is needed",
    );
    refused(
        "vector_statistics",
        json!({"vectors": vec![[1]; 1001], "calculate_pairwise": true}),
        "calculate_pairwise: is for up to 1000 vectors, there are 1001",
    );
    refused(
        "normalize_vectors",
        json!({"vectors": vec![vec![1; 8000]; 251]}),
        "vectors: have 2008000 components together; at most 2000000 are taken",
    );
    refused(
        "batch_vector_similarity",
        json!({"query_vector": [1], "candidate_vectors": [{"id": "a"}]}),
        "candidate_vectors[0].vector: is required and missing",
    );
    let foreign = try_call("list_vector_metrics", json!({"all": true}));
    assert!(
        matches!(foreign, Err(Refusal::Argument { .. })),
        "{foreign:?}"
    );
}

/// By hand: cosines to (1, 0) are 1, 0.6, 0.6, 0 and -1; the one of three axes is left out.
#[test]
fn the_best_candidates_ties_in_their_order() {
    let candidates = json!([
        {"id": "across", "vector": [0, 2]},
        {"id": "second", "vector": [6, 8]},
        {"id": "odd", "vector": [1, 0, 0]},
        {"id": "third", "vector": [3, -4]},
        {"id": "first", "vector": [9, 0]},
        {"id": "back", "vector": [-1, 0]},
        {"id": "empty", "vector": []},
    ]);
    let check = |more: Value, expected: &[&str], above: usize| {
        let mut arguments = json!({"query_vector": [1, 0], "candidate_vectors": candidates});
        arguments
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let result = call("batch_vector_similarity", arguments);
        let ids: Vec<_> = result["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected);
        assert_eq!(
            (
                &result["candidates_processed"],
                &result["candidates_skipped"]
            ),
            (&json!(5), &json!(2))
        );
        assert_eq!(result["above_threshold"], above);
    };
    check(
        json!({}),
        &["first", "second", "third", "across", "back"],
        5,
    );
    check(json!({"top_k": 2}), &["first", "second"], 5);
    check(json!({"threshold": 0.5}), &["first", "second", "third"], 3);
    check(json!({"threshold": 2}), &[], 0);
    // Distances 2.236, 9.434, 4.472, 8 and 2.
    check(
        json!({"metric": "euclidean"}),
        &["back", "across", "third", "first", "second"],
        5,
    );
    let best = &call(
        "batch_vector_similarity",
        json!({"query_vector": [1, 0], "candidate_vectors": candidates}),
    )["results"][1];
    assert_eq!(best["index"], 1);
    near(&best["similarity"], 0.6);
    near(&best["distance"], 0.4);
}

/// By hand: axes (1, 3, 5) and (0, 0, 12); lengths 1, 3, 13; cosines 1, 5/13, 5/13.
#[test]
fn statistics_of_a_set() {
    let result = call(
        "vector_statistics",
        json!({"vectors": [[1, 0], [3, 0], [5, 12]], "calculate_pairwise": true}),
    );
    assert_eq!(result["count"], 3);
    assert_eq!(result["dimensions"], 2);
    assert_eq!(result["mean"], json!([3.0, 4.0]));
    near(&result["std"][0], (8_f64 / 3.0).sqrt());
    near(&result["std"][1], 32_f64.sqrt());
    assert_eq!(
        (&result["min"], &result["max"]),
        (&json!([1.0, 0.0]), &json!([5.0, 12.0]))
    );
    near(&result["norms"]["mean"], 17.0 / 3.0);
    // Squares 1, 9, 169 have mean 179/3; less (17/3)² is 248/9.
    near(&result["norms"]["std"], (248_f64 / 9.0).sqrt());
    assert_eq!(
        (&result["norms"]["min"], &result["norms"]["max"]),
        (&json!(1.0), &json!(13.0))
    );
    let pairwise = &result["pairwise"];
    assert_eq!(pairwise["pairs"], 3);
    near(&pairwise["mean"], 23.0 / 39.0);
    // 1 and twice 5/13: apart by 8/13, so the deviation is 8/13 · √2/3.
    near(&pairwise["std"], 8.0 / 13.0 * 2_f64.sqrt() / 3.0);
    near(&pairwise["min"], 5.0 / 13.0);
    near(&pairwise["max"], 1.0);
    assert_eq!(
        call(
            "vector_statistics",
            json!({"vectors": [[1, 0]], "calculate_pairwise": true})
        )["pairwise"],
        json!(null)
    );
    assert_eq!(
        call("vector_statistics", json!({"vectors": [[1], [2]]}))["pairwise"],
        json!(null)
    );
}

#[test]
fn a_call_withdrawn_ends() {
    let context = Context::default();
    context.cancelled.cancel();
    for (tool, arguments) in [
        (
            "vector_statistics",
            json!({"vectors": [[1], [2]], "calculate_pairwise": true}),
        ),
        (
            "batch_vector_similarity",
            json!({"query_vector": [1], "candidate_vectors": [{"id": "a", "vector": [1]}]}),
        ),
    ] {
        assert_eq!(
            SERVICE.tool(tool).unwrap().call(&context, arguments),
            Err(Refusal::Cancelled)
        );
    }
}

/// By hand: (3, -4) has norms 5, 7 and 4.
#[test]
fn scaling_by_every_norm() {
    let check = |norm_type: &str, factor: f64, expected: [f64; 2]| {
        let result = call(
            "normalize_vectors",
            json!({"vectors": [[3, -4], [0, 0, 0]], "norm_type": norm_type}),
        );
        assert_eq!(result["factors"], json!([factor, 0.0]));
        assert_eq!(
            result["normalized_vectors"],
            json!([expected, [0.0, 0.0, 0.0]])
        );
        assert_eq!(result["norm_type"], norm_type);
    };
    check("l2", 5.0, [0.6, -0.8]);
    check("l1", 7.0, [3.0 / 7.0, -4.0 / 7.0]);
    check("max", 4.0, [0.75, -1.0]);
    assert_eq!(
        call("normalize_vectors_mcp", json!({"vectors": [[3, -4]]}))["norm_type"],
        "l2"
    );
}

#[test]
fn the_table_names_what_the_argument_takes() {
    let table = call("mcp_vector_similarity", json!({}));
    assert_eq!((SERVICE.resources[0].read)(), table);
    assert_eq!(table["default"], "cosine");
    let names: Vec<_> = table["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "cosine",
            "euclidean",
            "manhattan",
            "dot_product",
            "jaccard",
            "hamming"
        ]
    );
    for name in names {
        call(
            "calculate_vector_similarity",
            json!({"vector1": [1], "vector2": [1], "metric": name}),
        );
    }
}

#[test]
fn the_prompt_carries_its_arguments() {
    let prompt = &SERVICE.prompts[0];
    let of = |arguments: Value| prompt.text(arguments.as_object().unwrap());
    let text = of(json!({"subject": "tickets", "metric": "jaccard"})).unwrap();
    assert!(
        text.contains("tickets") && text.contains("by jaccard"),
        "{text}"
    );
    assert!(
        of(json!({"subject": "tickets"}))
            .unwrap()
            .contains("list_vector_metrics")
    );
    assert_eq!(
        of(json!({})),
        Err(Refusal::argument("subject", "is required and missing"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A batch says of each candidate what the pair alone says, whatever the order of candidates.
    #[test]
    fn a_batch_is_its_pairs(
        rows in prop::collection::vec(prop::array::uniform4(-10.0..10.0_f64), 1..12),
        metric in 0_usize..6,
        by in 0_usize..12,
    ) {
        let metric = metric::Metric::ALL[metric];
        let query = rows[0];
        let candidates: Vec<Value> = rows.iter().enumerate().map(|(id, vector)| json!({"id": id.to_string(), "vector": vector})).collect();
        let mut turned = candidates.clone();
        turned.rotate_left(by % rows.len());
        let scores = |candidates: &[Value]| {
            let result = call("batch_vector_similarity", json!({"query_vector": query, "candidate_vectors": candidates, "metric": metric, "top_k": 100}));
            let mut scores: Vec<(String, f64)> = result["results"].as_array().unwrap().iter()
                .map(|one| (one["id"].as_str().unwrap().to_owned(), one["similarity"].as_f64().unwrap())).collect();
            prop_assert!(scores.is_sorted_by(|a, b| a.1 >= b.1));
            scores.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(scores)
        };
        let straight = scores(&candidates)?;
        prop_assert_eq!(&straight, &scores(&turned)?);
        for (id, similarity) in straight {
            let vector = rows[id.parse::<usize>().unwrap()];
            let pair = call("calculate_vector_similarity", json!({"vector1": query, "vector2": vector, "metric": metric, "normalize": false}));
            prop_assert_eq!(pair["similarity"].as_f64().unwrap(), similarity);
        }
    }
}
