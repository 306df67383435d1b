use super::*;
use crate::tool::Context;
use ::bm25::TokenEmbedder;
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use serde_json::json;
use std::{
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

/// Once for all tests: schemas take long to compile, and nothing lasts between calls. It is the first second of 2025, UTC.
static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    service(&Host::new(None, || {
        UNIX_EPOCH + Duration::from_secs(1_735_689_600)
    }))
});

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
fn near(actual: &Value, expected: f64, tolerance: f64) {
    let actual = actual.as_f64().expect("no number");
    assert!(
        (actual - expected).abs() < tolerance,
        "{actual} is not {expected}"
    );
}

/// One field of every row.
fn column<'a>(rows: &'a Value, field: &str) -> Vec<&'a Value> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| &row[field])
        .collect()
}

fn texts(contents: &[&str]) -> Value {
    contents
        .iter()
        .enumerate()
        .map(|(id, content)| json!({"docId": format!("d{id}"), "content": content}))
        .collect()
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
            ("hybrid_ranking_search", "hybrid_ranking_search_mcp"),
            ("calculate_bm25_scores", "calculate_bm25_scores_mcp"),
            ("calculate_pagerank_scores", "calculate_pagerank_scores_mcp"),
            (
                "calculate_vector_similarity",
                "calculate_vector_similarity_mcp"
            ),
            ("get_ranking_config", "mcp_hybrid_ranking"),
        ]
    );
    assert!(
        SERVICE
            .tools
            .iter()
            .all(|tool| tool.hints.read_only && tool.hints.idempotent)
    );
}

const ANIMALS: [&str; 6] = [
    "Red fox jumps.",
    "red RED hen sleeps quietly",
    "blue whale swims",
    "green frog sings loudly again",
    "grey owl watches",
    "white swan glides past silently",
];

/// By hand, six documents of 3, 5, 3, 5, 3 and 5 words, 4 on average. fox is in one: idf = ln(5.5/1.5). red is in two: ln(4.5/2.5).
/// Three words damp by 1.2 (0.25 + 0.75 · 3/4) = 0.975, five by 1.425. So d0 = (fox + red) 2.2/1.975, d1 = red 4.4/3.425.
#[test]
fn bm25_by_hand() {
    let result = call(
        "calculate_bm25_scores_mcp",
        json!({"query": "Fox, red!", "documents": texts(&ANIMALS), "return_details": true}),
    );
    let (fox, red) = ((5.5_f64 / 1.5).ln(), (4.5_f64 / 2.5).ln());
    let scores = &result["scores"];
    assert_eq!(
        column(scores, "docId"),
        ["d0", "d1", "d2", "d3", "d4", "d5"]
    );
    near(&scores[0]["raw_score"], 2.102_052_267_276_575, 1e-12);
    near(&scores[1]["raw_score"], 0.755_112_795_786_663_9, 1e-12);
    assert_eq!(scores[0]["score"], 1.0);
    near(&scores[1]["score"], 0.359_226_460_512_796_94, 1e-12);
    assert_eq!(scores[2]["score"], 0.0);
    assert_eq!(scores[1]["length"], 5);
    assert_eq!(column(&scores[0]["details"], "term"), ["fox", "red"]);
    near(
        &scores[0]["details"][0]["contribution"],
        fox * 2.2 / 1.975,
        1e-12,
    );
    assert_eq!(scores[1]["details"][0]["frequency"], 2);
    near(
        &scores[1]["details"][0]["contribution"],
        red * 4.4 / 3.425,
        1e-12,
    );
    assert_eq!(scores[2]["details"], json!([]));
    assert_eq!(result["average_document_length"], 4.0);
    assert_eq!(column(&result["query_terms"], "term"), ["fox", "red"]);
    assert_eq!(column(&result["query_terms"], "document_frequency"), [1, 2]);
    near(&result["query_terms"][0]["idf"], fox, 1e-15);
    // Said twice it counts twice.
    let twice = call(
        "calculate_bm25_scores",
        json!({"query": "fox fox", "documents": texts(&ANIMALS)}),
    );
    near(&twice["max_raw_score"], 2.0 * fox * 2.2 / 1.975, 1e-12);
    assert_eq!(twice["scores"][0]["details"], json!(null));
}

/// By hand. Without k1 and b a word counts its idf once, however often it comes; a word in half of the documents or more counts nothing.
#[test]
fn bm25_at_its_edges() {
    let raw = |query: &str, k1: f64, b: f64, documents: &[&str]| {
        let result = call(
            "calculate_bm25_scores",
            json!({"query": query, "documents": texts(documents), "k1": k1, "b": b}),
        );
        let mut rows: Vec<_> = result["scores"].as_array().unwrap().clone();
        rows.sort_by_key(|row| row["index"].as_u64());
        rows.iter()
            .map(|row| row["raw_score"].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    let idf = (4.5_f64 / 2.5).ln();
    assert_eq!(raw("red", 0.0, 0.75, &ANIMALS)[..2], [idf, idf]);
    assert_eq!(raw("red", 1.2, 0.0, &ANIMALS)[0], idf);
    assert_eq!(
        raw("red", 1.2, 0.75, &["red", "red fox", "blue"]),
        [0.0, 0.0, 0.0]
    );
    assert_eq!(raw("red", 1.2, 0.75, &["red"]), [0.0]);
    assert_eq!(
        raw("ox of it", 1.2, 0.75, &["ox of it", "", "of"]),
        [0.0, 0.0, 0.0]
    );
    assert_eq!(raw("hen", 1.2, 0.75, &["", "", ""]), [0.0, 0.0, 0.0]);
}

/// Upstream kept document frequencies across corpora: a second corpus was scored by the counts of the first.
#[test]
fn one_corpus_leaves_nothing_for_the_next() {
    let tool = SERVICE.tool("calculate_bm25_scores").unwrap();
    let ask = |documents: &[&str]| {
        tool.call(
            &Context::default(),
            json!({"query": "red fox", "documents": texts(documents)}),
        )
        .unwrap()
    };
    let first = ask(&ANIMALS);
    // Here red is in one of six: idf = ln(5.5/1.5), not that of the first corpus.
    let other = ask(&[
        "red barn", "blue sky", "old oak", "tall elm", "wet day", "new car",
    ]);
    near(&other["query_terms"][0]["idf"], (5.5_f64 / 1.5).ln(), 1e-15);
    assert_eq!(other["query_terms"][1]["document_frequency"], 0);
    assert_eq!(ask(&ANIMALS), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The crate `bm25` is the independent word on how repetition and length count (in f32); idf is worked out here.
    #[test]
    fn bm25_agrees_with_the_crate(
        documents in prop::collection::vec(prop::collection::vec(0_usize..6, 1..20), 1..12),
        wanted in prop::collection::vec(0_usize..6, 1..4),
    ) {
        const WORDS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
        struct Spaces;
        impl ::bm25::Tokenizer for Spaces {
            fn tokenize(&self, text: &str) -> Vec<String> {
                text.split(' ').map(str::to_owned).collect()
            }
        }
        let join = |words: &[usize]| words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join(" ");
        let contents: Vec<String> = documents.iter().map(|words| join(words)).collect();
        let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
        let embedder = ::bm25::EmbedderBuilder::<u32, Spaces>::with_tokenizer_and_fit_to_corpus(Spaces, &contents).build();
        let count = documents.len() as f64;
        let expected = |content: &str| -> f64 {
            let embedding = embedder.embed(content);
            wanted.iter().map(|word| {
                let frequency = documents.iter().filter(|words| words.contains(word)).count() as f64;
                let idf = ((count - frequency + 0.5) / (frequency + 0.5)).ln().max(0.0);
                let index = u32::embed(WORDS[*word]);
                idf * embedding.iter().find(|token| token.index == index).map_or(0.0, |token| f64::from(token.value))
            }).sum()
        };
        let result = call("calculate_bm25_scores", json!({"query": join(&wanted), "documents": texts(&contents)}));
        let scores = result["scores"].as_array().unwrap();
        prop_assert!(scores.is_sorted_by(|a, b| a["score"].as_f64() >= b["score"].as_f64()));
        for row in scores {
            let expected = expected(contents[usize::try_from(row["index"].as_u64().unwrap()).unwrap()]);
            prop_assert!((row["raw_score"].as_f64().unwrap() - expected).abs() < 1e-5 * expected.max(1.0), "{row}: {expected}");
        }
    }

    /// nalgebra is the independent word: PageRank solves x = (1-d)/n + d·M·x, where documents without links link to all.
    #[test]
    fn pagerank_solves_its_equation(
        links in prop::collection::vec(prop::collection::vec(0_usize..9, 0..5), 1..9),
        damping in 0.0..0.95_f64,
    ) {
        let count = links.len();
        let documents: Vec<Value> = links.iter().enumerate()
            .map(|(id, targets)| json!({"docId": id.to_string(), "links": targets.iter().map(ToString::to_string).collect::<Vec<_>>()})).collect();
        let mut matrix = DMatrix::<f64>::zeros(count, count);
        for (source, targets) in links.iter().enumerate() {
            let mut targets: Vec<usize> = targets.iter().copied().filter(|target| *target < count && *target != source).collect();
            targets.sort_unstable();
            targets.dedup();
            if targets.is_empty() {
                targets = (0..count).collect();
            }
            for target in &targets {
                matrix[(*target, source)] = 1.0 / targets.len() as f64;
            }
        }
        let left = DMatrix::identity(count, count) - matrix * damping;
        let expected = left.lu().solve(&DVector::from_element(count, (1.0 - damping) / count as f64)).unwrap();
        let result = call("calculate_pagerank_scores", json!({"documents": documents, "damping": damping, "iterations": 1000}));
        prop_assert_eq!(&result["converged"], &json!(true));
        let mut sum = 0.0;
        for row in result["scores"].as_array().unwrap() {
            let score = row["score"].as_f64().unwrap();
            sum += score;
            let place = usize::try_from(row["index"].as_u64().unwrap()).unwrap();
            // What the last iteration moved by less than 1e-6 can still move by d/(1-d) of it.
            prop_assert!((score - expected[place]).abs() < 2e-5, "{row}: {}", expected[place]);
        }
        prop_assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_hybrid_ranks_by_falling_score_between_0_and_1(
        rows in prop::collection::vec(("[abc]{3}( [abc]{3}){0,4}", prop::array::uniform3(-1.0..1.0_f64), prop::collection::vec(0_usize..8, 0..3)), 1..8),
        weights in prop::array::uniform4(0.1..5.0_f64),
    ) {
        let documents: Vec<Value> = rows.iter().enumerate().map(|(id, (content, vector, links))| json!({
            "docId": id.to_string(), "content": content, "vector": vector, "links": links.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect();
        let [vector, words, links, context] = weights;
        let arguments = json!({
            "query": "abc bca", "candidate_documents": documents, "query_vector": [1, 1, 1],
            "ranking_weights": {"vectorSimilarity": vector, "bm25Score": words, "pageRankScore": links, "contextualRelevance": context},
        });
        let result = call("hybrid_ranking_search", arguments.clone());
        prop_assert_eq!(&call("hybrid_ranking_search", arguments)["results"], &result["results"]);
        let scores: Vec<f64> = column(&result["results"], "hybridScore").into_iter().map(|score| score.as_f64().unwrap()).collect();
        prop_assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| (0.0..=1.0 + 1e-12).contains(score)));
        let total = result["metadata"]["returned"].as_u64().unwrap() + result["metadata"]["duplicates_removed"].as_u64().unwrap();
        prop_assert_eq!(total, rows.len() as u64);
    }
}

/// a links to b and c, b to c, c to nothing.
fn triangle() -> Value {
    json!([{"docId": "a", "links": ["b", "c", "b", "a", "elsewhere"]}, {"docId": "b", "references": ["c"]}, {"docId": "c"}])
}

/// By hand, d = 0.85. What c has goes to all alike, so with k = 0.05 + 0.85 c/3: a = k, b = k + 0.425 a = 1.425 k,
/// c = b + 0.85 b = 2.63625 k, and they add up to 1: 800, 1140 and 2109 parts of 4049. Upstream lost what c has.
#[test]
fn pagerank_shares_out_what_dangling_documents_have() {
    let result = call(
        "calculate_pagerank_scores_mcp",
        json!({"documents": triangle()}),
    );
    let scores = &result["scores"];
    assert_eq!(column(scores, "docId"), ["c", "b", "a"]);
    for (row, parts) in [2109.0, 1140.0, 800.0].into_iter().enumerate() {
        near(&scores[row]["score"], parts / 4049.0, 1e-6);
    }
    assert_eq!(
        (
            &scores[0]["incoming"],
            &scores[0]["outgoing"],
            &scores[2]["outgoing"]
        ),
        (&json!(2), &json!(0), &json!(2))
    );
    assert_eq!(result["converged"], true);
    assert_eq!(
        (
            &result["total_links"],
            &result["unknown_links"],
            &result["dangling_documents"]
        ),
        (&json!(3), &json!(1), &json!(1))
    );
    assert_eq!(result["link_density"], 0.5);
    // One iteration from a third each, by hand: a = 0.05 + 0.85/9, b = a + 0.425/3, c = b + 0.85/3.
    let once = call(
        "calculate_pagerank_scores",
        json!({"documents": triangle(), "iterations": 1}),
    );
    assert_eq!(
        (&once["iterations_run"], &once["converged"]),
        (&json!(1), &json!(false))
    );
    near(&once["scores"][2]["score"], 0.05 + 0.85 / 9.0, 1e-12);
    near(
        &once["scores"][1]["score"],
        0.05 + 0.85 / 9.0 + 0.425 / 3.0,
        1e-12,
    );
    near(
        &once["scores"][0]["score"],
        0.05 + 0.85 / 9.0 + 1.275 / 3.0,
        1e-12,
    );
}

/// By hand, d = 0.5: a → b → c → a and d → c give a = 1/8 + c/2, b = 1/8 + a/2, c = 1/8 + b/2 + d/2, d = 1/8:
/// 16, 15, 18 and 7 parts of 56.
#[test]
fn pagerank_of_a_ring_with_a_tail() {
    let documents = json!([
        {"docId": "a", "links": ["b"]}, {"docId": "b", "related_documents": ["c"]},
        {"docId": "c", "references": ["a"]}, {"docId": "d", "links": ["c"]},
    ]);
    let result = call(
        "calculate_pagerank_scores",
        json!({"documents": documents, "damping": 0.5, "iterations": 100}),
    );
    assert_eq!(column(&result["scores"], "docId"), ["c", "a", "b", "d"]);
    for (row, parts) in [18.0, 16.0, 15.0, 7.0].into_iter().enumerate() {
        near(&result["scores"][row]["score"], parts / 56.0, 1e-6);
    }
    // Of links alone, only a → b and d → c are left.
    let links = call(
        "calculate_pagerank_scores",
        json!({"documents": documents, "relationship_types": ["links"]}),
    );
    assert_eq!(links["total_links"], 2);
    assert_eq!(links["dangling_documents"], 2);
}

/// By hand: nothing linked, all alike, in the order they came in; one document has it all.
#[test]
fn pagerank_without_links_is_even() {
    let result = call(
        "calculate_pagerank_scores",
        json!({"documents": [{"docId": "x"}, {"docId": "m"}, {"docId": "a"}, {"docId": "z"}]}),
    );
    assert_eq!(column(&result["scores"], "docId"), ["x", "m", "a", "z"]);
    assert_eq!(column(&result["scores"], "score"), [0.25; 4]);
    assert_eq!(
        (&result["iterations_run"], &result["link_density"]),
        (&json!(1), &json!(0.0))
    );
    let one = call(
        "calculate_pagerank_scores",
        json!({"documents": [{"docId": "x", "links": ["x"]}]}),
    );
    assert_eq!(
        (&one["scores"][0]["score"], &one["link_density"]),
        (&json!(1.0), &json!(0.0))
    );
}

/// By hand, as in vector_similarity: cosines of (3, 4) to (4, 3), (0, 0), (-3, -4) and (6, 8).
#[test]
fn cosine_per_document() {
    let vectors = json!([
        {"docId": "near", "vector": [4, 3]}, {"docId": "none", "vector": [0, 0]},
        {"docId": "back", "vector": [-3, -4]}, {"docId": "same", "vector": [6, 8]},
    ]);
    let check = |normalize: bool, expected: [(&str, f64); 4]| {
        let result = call(
            "calculate_vector_similarity",
            json!({"query_vector": [3, 4], "document_vectors": vectors, "normalize": normalize}),
        );
        for (row, (id, similarity)) in expected.into_iter().enumerate() {
            assert_eq!(result["similarities"][row]["docId"], id);
            near(
                &result["similarities"][row]["similarity"],
                similarity,
                1e-12,
            );
        }
        assert_eq!(
            (&result["normalized"], &result["vector_dimensions"]),
            (&json!(normalize), &json!(2))
        );
    };
    check(
        true,
        [("same", 1.0), ("near", 0.96), ("none", 0.0), ("back", -1.0)],
    );
    check(
        false,
        [
            ("same", 50.0),
            ("near", 24.0),
            ("none", 0.0),
            ("back", -25.0),
        ],
    );
}

/// The triangle of links, one document with the word, three directions, and 73 days of age.
fn three() -> Value {
    json!([
        {"docId": "a", "content": "Fox jumps high", "vector": [1, 0], "links": ["b", "c"], "updated_at": "2024-10-20"},
        {"docId": "b", "content": "hen sleeps late", "vector": [0.6, 0.8], "references": ["c"], "categories": [" Farm"], "updated_at": "2024-10-20T00:00:00Z"},
        {"docId": "c", "content": "owl watches all", "vector": [-1, 0]},
    ])
}

/// By hand. fox: a 1. Cosines 1, 0.6, -1 (0). PageRank 800, 1140, 2109, by the greatest. 73 days are a fifth of a year: recency 0.8,
/// half of that 0.4; b is in the category besides, 1.4, at most 1.
#[test]
fn a_hybrid_by_hand() {
    let arguments = json!({
        "query": "fox", "candidate_documents": three(), "query_vector": [2, 0],
        "search_context": {"recency_weight": 0.5, "categories": ["farm"], "now": "2025-01-01"},
    });
    let result = call("hybrid_ranking_search_mcp", arguments.clone());
    let results = &result["results"];
    assert_eq!(column(results, "docId"), ["a", "b", "c"]);
    assert_eq!(column(results, "rank"), [1, 2, 3]);
    let check = |row: usize, expected: [f64; 4]| {
        let components = &results[row]["rankingComponents"];
        let names = [
            "vectorSimilarity",
            "bm25Score",
            "pageRankScore",
            "contextualRelevance",
        ];
        for (name, expected) in names.into_iter().zip(expected) {
            near(&components[name], expected, 1e-5);
        }
        let [vector, words, links, context] = expected;
        near(
            &results[row]["hybridScore"],
            0.4 * vector + 0.3 * words + 0.2 * links + 0.1 * context,
            1e-5,
        );
    };
    check(0, [1.0, 1.0, 800.0 / 2109.0, 0.4]);
    check(1, [0.6, 0.0, 1140.0 / 2109.0, 1.0]);
    check(2, [0.0, 0.0, 1.0, 0.0]);
    assert_eq!(results[0]["excerpt"], "Fox jumps high");
    assert_eq!(result["metadata"]["total_candidates"], 3);
    // The host's clock says the same time.
    let mut by_clock = arguments;
    by_clock["search_context"]
        .as_object_mut()
        .unwrap()
        .remove("now");
    assert_eq!(call("hybrid_ranking_search", by_clock)["results"], *results);
}

/// By hand: 0.4, 0.3, 0.2, 0.1, those without data out, the rest divided by their sum.
#[test]
fn signals_without_data_have_no_weight() {
    let check = |more: Value, expected: [f64; 4]| {
        let mut arguments = json!({"query": "fox", "candidate_documents": three()});
        arguments
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let weights = &call("hybrid_ranking_search", arguments)["metadata"]["weights"];
        let names = [
            "vectorSimilarity",
            "bm25Score",
            "pageRankScore",
            "contextualRelevance",
        ];
        for (name, expected) in names.into_iter().zip(expected) {
            near(&weights[name], expected, 1e-12);
        }
    };
    check(json!({}), [0.0, 0.6, 0.4, 0.0]);
    check(
        json!({"query_vector": [1, 0]}),
        [4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0],
    );
    check(json!({"search_context": {}}), [0.0, 0.6, 0.4, 0.0]);
    check(
        json!({"search_context": {"categories": ["farm"]}}),
        [0.0, 0.5, 1.0 / 3.0, 1.0 / 6.0],
    );
    check(
        json!({"query": "ox", "query_vector": [1, 0]}),
        [2.0 / 3.0, 0.0, 1.0 / 3.0, 0.0],
    );
    check(
        json!({"ranking_weights": {"bm25Score": 0.6}}),
        [0.0, 0.75, 0.25, 0.0],
    );
}

/// By hand: the second shares 4 of 5 words with the first (0.8), the third 3 of 5 (0.6); the two without words are like nothing.
#[test]
fn near_duplicates_are_left_out() {
    let documents = texts(&[
        "fox one two three",
        "Fox, one two three four",
        "fox one two five",
        "a b",
        "a b",
        "other hen",
        "other owl",
        "other elk",
        "other ape",
    ]);
    let ids = |more: Value| {
        let mut arguments = json!({"query": "fox", "candidate_documents": documents, "top_k": 5});
        arguments
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let result = call("hybrid_ranking_search", arguments);
        let ids: Vec<String> = column(&result["results"], "docId")
            .into_iter()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect();
        (
            ids.join(" "),
            result["metadata"]["duplicates_removed"].as_u64().unwrap(),
        )
    };
    assert_eq!(ids(json!({})), ("d0 d2 d3 d4 d5".to_owned(), 1));
    assert_eq!(
        ids(json!({"apply_diversity": false})),
        ("d0 d2 d1 d3 d4".to_owned(), 0)
    );
    assert_eq!(ids(json!({"top_k": 1})), ("d0".to_owned(), 0));
}

#[test]
fn what_is_wrong_is_named() {
    let hybrid = "hybrid_ranking_search";
    let one = json!([{"docId": "a", "content": "fox"}]);
    refused(
        hybrid,
        json!({"query": "fox", "candidate_documents": [{"docId": "a", "content": "", "vector": [1]}], "query_vector": [1, 2]}),
        "candidate_documents[0].vector: has 1 components, query_vector has 2; lengths must be equal",
    );
    refused(
        hybrid,
        json!({"query": "fox", "candidate_documents": [{"docId": "a", "content": "", "updated_at": "soon"}], "search_context": {}}),
        "candidate_documents[0].updated_at: \"soon\" is no ISO 8601 date or time, as 2025-01-31 or 2025-01-31T12:00:00Z",
    );
    refused(
        hybrid,
        json!({"query": "fox", "candidate_documents": one, "ranking_weights": {"bm25Score": -1}}),
        "ranking_weights.bm25Score: -1 is less than the minimum of 0",
    );
    refused(
        hybrid,
        json!({"query": "fox", "candidate_documents": one, "ranking_weights": {"bm25": 1}}),
        "ranking_weights.bm25: is not an argument of this tool",
    );
    let refusal = try_call(hybrid, json!({"query": "ox", "candidate_documents": one})).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Argument { field, .. } if field == "ranking_weights"),
        "{refusal}"
    );
    let twice = json!([{"docId": "a", "content": "fox"}, {"docId": "a", "content": "hen"}]);
    let same = "is the same as that of documents[0]; each document needs its own";
    refused(
        "calculate_bm25_scores",
        json!({"query": "fox", "documents": twice}),
        &format!("documents[1].docId: {same}"),
    );
    refused(
        "calculate_pagerank_scores",
        json!({"documents": [{"docId": "a"}, {"docId": "a"}]}),
        &format!("documents[1].docId: {same}"),
    );
    refused(
        "calculate_pagerank_scores",
        json!({"documents": [{"docId": "a", "links": ["b", 1]}]}),
        "documents[0].links[1]: 1 is not of type \"string\"",
    );
    refused(
        "calculate_bm25_scores",
        json!({"query": "fox", "documents": one, "b": 1.5}),
        "b: 1.5 is greater than the maximum of 1",
    );
    refused(
        "calculate_vector_similarity",
        json!({"query_vector": [1], "document_vectors": [{"docId": "a", "vector": [1, 2]}]}),
        "document_vectors[0].vector: has 2 components, query_vector has 1; lengths must be equal",
    );
    let long: Vec<Value> = (0..21)
        .map(|id| json!({"docId": id.to_string(), "content": "x".repeat(100_000)}))
        .collect();
    refused(
        "calculate_bm25_scores",
        json!({"query": "fox", "documents": long}),
        "documents: have 2100000 bytes of text together; at most 2000000 are taken",
    );
}

#[test]
fn a_call_withdrawn_ends() {
    let context = Context::default();
    context.cancelled.cancel();
    for (tool, arguments) in [
        (
            "calculate_bm25_scores",
            json!({"query": "fox", "documents": texts(&ANIMALS)}),
        ),
        (
            "calculate_pagerank_scores",
            json!({"documents": triangle()}),
        ),
        (
            "hybrid_ranking_search",
            json!({"query": "fox", "candidate_documents": three()}),
        ),
    ] {
        assert_eq!(
            SERVICE.tool(tool).unwrap().call(&context, arguments),
            Err(Refusal::Cancelled)
        );
    }
}

/// The figures are the spec's.
#[test]
fn the_configuration_says_what_is_done() {
    let config = call("mcp_hybrid_ranking", json!({}));
    assert_eq!((SERVICE.resources[0].read)(), config);
    assert_eq!(
        config["default_weights"],
        json!({"vectorSimilarity": 0.4, "bm25Score": 0.3, "pageRankScore": 0.2, "contextualRelevance": 0.1})
    );
    assert_eq!(
        (&config["bm25"]["k1"], &config["bm25"]["b"]),
        (&json!(1.2), &json!(0.75))
    );
    assert_eq!(
        (
            &config["pagerank"]["damping"],
            &config["pagerank"]["iterations"],
            &config["pagerank"]["tolerance"]
        ),
        (&json!(0.85), &json!(30), &json!(1e-6))
    );
    assert_eq!(config["diversity"]["max_overlap"], 0.7);
    assert_eq!(
        column(&config["methods"], "name"),
        ["hybrid", "bm25_only", "vector_only", "pagerank_only"]
    );
    // A method's weights are what hybrid_ranking_search takes, and they select it.
    let by_links = json!({"query": "fox", "candidate_documents": three(), "ranking_weights": config["methods"][3]["ranking_weights"]});
    assert_eq!(
        column(&call("hybrid_ranking_search", by_links)["results"], "docId"),
        ["c", "b", "a"]
    );
}

#[test]
fn the_prompt_carries_its_arguments() {
    let prompt = &SERVICE.prompts[0];
    let of = |arguments: Value| prompt.text(arguments.as_object().unwrap());
    let text = of(json!({"query": "red fox", "concern": "old pages first"})).unwrap();
    assert!(
        text.contains("\"red fox\"") && text.contains("old pages first"),
        "{text}"
    );
    assert_eq!(
        of(json!({})),
        Err(Refusal::argument("query", "is required and missing"))
    );
}
