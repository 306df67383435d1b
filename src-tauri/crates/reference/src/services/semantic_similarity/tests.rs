//! Expected numbers are worked out by hand from the words of each text, or by the crate `textdistance`.

use super::{lists, measure, service};
use crate::{
    service::Host,
    tool::{Context, Refusal},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{
    sync::{Arc, LazyLock, Mutex},
    time::UNIX_EPOCH,
};
use textdistance::Algorithm;

static SERVICE: LazyLock<crate::service::Service> =
    LazyLock::new(|| service(&Host::new(None, || UNIX_EPOCH)));

fn attempt(tool: &str, arguments: Value) -> Result<Value, Refusal> {
    SERVICE.ask(tool, arguments)
}

fn call(tool: &str, arguments: Value) -> Value {
    attempt(tool, arguments).expect("it was refused")
}

fn number(value: &Value, path: &str) -> f64 {
    let number = value.pointer(path).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("no number at {path} of {value}"))
}

fn near(actual: f64, expected: f64) -> bool {
    (actual - expected).abs() < 1e-12
}

/// Words from here are no stop words, have no synonyms among each other, and no subject.
const PLAIN: [&str; 10] = [
    "zebra", "violin", "canyon", "pepper", "lantern", "orbit", "glacier", "saddle", "tulip",
    "walnut",
];

#[test]
fn the_server_offers_what_the_table_says() {
    let names = SERVICE.names();
    let expected = [
        (
            "calculate_text_similarity",
            Some("calculate_text_similarity_mcp"),
        ),
        ("find_similar_texts", Some("find_similar_texts_mcp")),
        (
            "calculate_group_similarity",
            Some("calculate_group_similarity_mcp"),
        ),
        ("preprocess_text", Some("preprocess_text_mcp")),
        (
            "extract_semantic_features",
            Some("extract_semantic_features_mcp"),
        ),
        ("calculate_similarity", None),
        ("get_calculator_config", Some("mcp_similarity_calculator")),
    ];
    assert_eq!(names, expected);
    assert_eq!((SERVICE.name, SERVICE.port), ("semantic_similarity", 8109));
}

#[test]
fn two_texts_are_compared_by_each_measure() {
    let check = |text1: &str, text2: &str, [jaccard, cosine, semantic]: [f64; 3]| {
        let compared = call(
            "calculate_text_similarity",
            json!({"text1": text1, "text2": text2, "return_components": true}),
        );
        for (measure, expected) in [
            ("jaccard", jaccard),
            ("cosine", cosine),
            ("semantic", semantic),
        ] {
            let actual = number(&compared, &format!("/components/{measure}"));
            assert!(
                near(actual, expected),
                "{measure} of {text1:?}, {text2:?}: {actual}, not {expected}"
            );
            let alone = call(
                "calculate_similarity",
                json!({"text1": text1, "text2": text2, "method": measure}),
            );
            assert_eq!(alone, json!({"similarity": actual}));
        }
        let hybrid = 0.3 * jaccard + 0.3 * cosine + 0.4 * semantic;
        assert!(near(number(&compared, "/similarity"), hybrid), "{compared}");
    };
    // {cat, chased, mouse} and {dog, chased, ball}: 1 of 5; 1 / √(3·3); 1 of 3.
    check(
        "The cat chased the mouse.",
        "The dog chased the ball.",
        [0.2, 1.0 / 3.0, 1.0 / 3.0],
    );
    // Counts (2, 1) and (1, 2): 4 / √(5·5).
    check("zebra zebra violin", "zebra violin violin", [1.0, 0.8, 1.0]);
    // One word of 3 shared, causation in both (0.3), error and failure (0.5): 1.8 / 3.
    check(
        "error because timeout",
        "failure, therefore timeout",
        [0.2, 1.0 / 3.0, 0.6],
    );
    // error and fault both stand for failure, but failure pairs once: 0.5 / 2.
    check("error fault", "failure", [0.0, 0.0, 0.25]);
    // A shared word is no synonym of itself or of its neighbours: 1 of 2 shared, fault has no partner left.
    check("error fault", "error", [0.5, 1.0 / 2_f64.sqrt(), 0.5]);
    // Nothing can be more than the same: 2 words and causation are 2.3 of 2.
    check("because zebra", "zebra because", [1.0, 1.0, 1.0]);
    check("zebra", "", [0.0, 0.0, 0.0]);
    check("", "?!", [1.0, 1.0, 1.0]);
}

#[test]
fn what_texts_have_in_common_is_named() {
    let arguments = json!({
        "text1": "The error came after a timeout, because the pipeline was slow",
        "text2": "Timeout: failure of a sluggish pipeline, hence a retry later",
        "return_components": true,
    });
    let common = &call("calculate_text_similarity_mcp", arguments)["common_concepts"];
    let expected = json!({
        "words": ["pipeline", "timeout"],
        "categories": ["causation", "process", "temporal"],
        "synonyms": [{"text1": "error", "text2": "failure"}, {"text1": "slow", "text2": "sluggish"}],
    });
    assert_eq!(*common, expected);

    let brief = call(
        "calculate_text_similarity",
        json!({"text1": "zebra", "text2": "zebra", "method": "cosine"}),
    );
    assert_eq!(brief, json!({"similarity": 1.0, "method": "cosine"}));
}

#[test]
fn words_are_the_same_however_they_are_written() {
    let same = |text1: &str, text2: &str| {
        let result = call(
            "calculate_similarity",
            json!({"text1": text1, "text2": text2}),
        );
        assert_eq!(result, json!({"similarity": 1.0}), "{text1:?}, {text2:?}");
    };
    same("CAFÉ Zürich", "cafe\u{301} zu\u{308}rich");
    same("ﬁle", "file");
    same("O’Hara’s", "o'hara's");
    same("“Zebra” — violin!", "violin (zebra)");
    // Stop words are all that these have, so they are what is compared.
    same("to be, or not to be", "Or not: to be to be");
    let none = call(
        "calculate_similarity",
        json!({"text1": "to be", "text2": "of the"}),
    );
    assert_eq!(none, json!({"similarity": 0.0}));
}

#[test]
fn candidates_are_ranked_and_equals_keep_their_order() {
    // Jaccard with {zebra, violin}: 1/2, 1/1, 0, 1/2, 1/3, 1/1.
    let candidates = [
        "zebra",
        "violin zebra",
        "orbit",
        "violin",
        "violin tulip",
        "ZEBRA, violin",
    ];
    let search = |extra: Value| {
        let mut arguments =
            json!({"query": "zebra violin", "candidates": candidates, "method": "jaccard"});
        arguments
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        call("find_similar_texts", arguments)
    };
    let places = |found: &Value| -> Vec<(u64, f64)> {
        let results = found["results"].as_array().expect("results");
        results
            .iter()
            .map(|one| {
                let index = one["index"].as_u64().expect("an index");
                assert_eq!(one["text"], json!(candidates[index as usize]));
                (index, number(one, "/similarity"))
            })
            .collect()
    };
    let usual = search(json!({}));
    assert_eq!(
        places(&usual),
        [(1, 1.0), (5, 1.0), (0, 0.5), (3, 0.5), (4, 1.0 / 3.0)]
    );
    assert_eq!(
        (&usual["above_threshold"], &usual["candidates_processed"]),
        (&json!(6), &json!(6))
    );
    let best = search(json!({"top_k": 3, "threshold": 0.5}));
    assert_eq!(places(&best), [(1, 1.0), (5, 1.0), (0, 0.5)]);
    assert_eq!(best["above_threshold"], json!(4));
    let empty = call(
        "find_similar_texts",
        json!({"query": "zebra", "candidates": []}),
    );
    assert_eq!(
        (&empty["results"], &empty["above_threshold"]),
        (&json!([]), &json!(0))
    );
}

#[test]
fn a_group_is_measured_over_all_pairs() {
    // Jaccard of the pairs: 1, 0, 0. Mean 1/3; variance ((2/3)² + 2·(1/3)²) / 3 = 2/9.
    let arguments = json!({"texts": ["zebra orbit", "orbit zebra", "tulip"], "method": "jaccard", "return_matrix": true});
    let group = call("calculate_group_similarity", arguments);
    assert!(
        near(number(&group, "/average_similarity"), 1.0 / 3.0),
        "{group}"
    );
    assert!(
        near(number(&group, "/std_similarity"), (2.0_f64 / 9.0).sqrt()),
        "{group}"
    );
    assert_eq!(
        (
            number(&group, "/min_similarity"),
            number(&group, "/max_similarity")
        ),
        (0.0, 1.0)
    );
    assert_eq!(
        group["matrix"],
        json!([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    );
    assert_eq!(group["pair_count"], json!(3));
    // Pairs (0,1), (0,2), (1,2) in their places: 1/2, 1/3, 1/4.
    let arguments = json!({"texts": ["zebra", "zebra orbit", "zebra tulip walnut"], "method": "jaccard", "return_matrix": true});
    let (half, third, quarter) = (0.5, 1.0 / 3.0, 0.25);
    assert_eq!(
        call("calculate_group_similarity", arguments)["matrix"],
        json!([
            [1.0, half, third],
            [half, 1.0, quarter],
            [third, quarter, 1.0]
        ])
    );
    for texts in [json!([]), json!(["zebra"])] {
        let group = call("calculate_group_similarity", json!({"texts": texts}));
        assert_eq!(
            (&group["average_similarity"], &group["std_similarity"]),
            (&json!(1.0), &json!(0.0))
        );
        assert!(
            group["message"].is_string() && group.get("matrix").is_none(),
            "{group}"
        );
    }
}

#[test]
fn long_work_tells_its_progress_and_obeys() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let context = Context {
        progress: Some(Arc::new({
            let told = told.clone();
            move |done, of, _: &str| told.lock().expect("the test panicked").push((done, of))
        })),
        ..Context::default()
    };
    let find = SERVICE.tool("find_similar_texts").expect("the tool");
    let arguments = json!({"query": "zebra", "candidates": vec!["zebra"; 130]});
    find.call(&context, arguments.clone())
        .expect("it was refused");
    assert_eq!(
        *told.lock().expect("the test panicked"),
        [(0, 130), (64, 130), (128, 130)]
    );
    context.cancelled.cancel();
    assert_eq!(find.call(&context, arguments), Err(Refusal::Cancelled));
    let group = SERVICE
        .tool("calculate_group_similarity")
        .expect("the tool");
    assert_eq!(
        group.call(&context, json!({"texts": ["zebra", "orbit"]})),
        Err(Refusal::Cancelled)
    );
    assert!(find.long && group.long);
}

#[test]
fn a_text_is_split_into_the_words_that_count() {
    let check = |arguments, words: &[&str], unique: &[&str], original: usize| {
        let expected = json!({
            "words": words, "word_count": words.len(),
            "unique_words": unique, "unique_count": unique.len(),
            "original_word_count": original,
        });
        assert_eq!(call("preprocess_text", arguments), expected);
    };
    let text = "The API isn't slow: the API is state-of-the-art, at 3.5 ms!";
    check(
        json!({"text": text}),
        &["api", "slow", "api", "state", "art", "3.5"],
        &["3.5", "api", "art", "slow", "state"],
        14,
    );
    check(
        json!({"text": text, "remove_stop_words": false, "min_word_length": 3}),
        &["isn't", "slow", "state"],
        &["isn't", "slow", "state"],
        14,
    );
    check(
        json!({"text": "I am", "remove_stop_words": false, "min_word_length": 0}),
        &["i", "am"],
        &["am", "i"],
        2,
    );
    // An ideograph is a word, however short.
    check(json!({"text": "数据 a"}), &["数", "据"], &["据", "数"], 3);
    check(json!({"text": "of the"}), &[], &[], 2);
}

#[test]
fn subjects_and_synonyms_are_found() {
    let text = "Because the server had an error, the zebra waited until Monday.";
    let found = call("extract_semantic_features", json!({"text": text}));
    let expected = json!({
        "unique_words": ["because", "error", "monday", "server", "until", "waited", "zebra"],
        "unique_count": 7,
        "categories": [
            {"category": "causation", "words": ["because"]},
            {"category": "temporal", "words": ["until"]},
        ],
        "synonyms": [
            {"word": "error", "synonyms": ["bug", "defect", "failure", "fault"]},
            {"word": "server", "synonyms": ["computer", "host", "machine"]},
        ],
    });
    assert_eq!(found, expected);
    let bare = call(
        "extract_semantic_features",
        json!({"text": "zebra", "include_categories": false, "include_synonyms": false}),
    );
    assert_eq!(bare, json!({"unique_words": ["zebra"], "unique_count": 1}));
}

#[test]
fn the_config_says_what_the_measures_do() {
    let config = call("get_calculator_config", json!({}));
    assert_eq!(
        config["hybrid_weights"],
        json!({"jaccard": 0.3, "cosine": 0.3, "semantic": 0.4})
    );
    assert_eq!(
        config["semantic_credits"],
        json!({"category": 0.3, "synonym": 0.5})
    );
    let names = |list: &str| -> Vec<Value> {
        let list = config[list].as_array().expect("a list");
        list.iter().map(|one| one["name"].clone()).collect()
    };
    assert_eq!(
        names("methods"),
        ["jaccard", "cosine", "semantic", "hybrid"]
    );
    assert_eq!(
        names("categories"),
        [
            "causation",
            "process",
            "comparison",
            "temporal",
            "structure"
        ]
    );
    assert_eq!(config["stop_word_count"], json!(lists::STOP_WORDS.len()));
    let resource = SERVICE.resources.first().expect("a resource");
    assert_eq!(
        (resource.uri, (resource.read)()),
        ("similarity://calculator/config", config)
    );
}

#[test]
fn the_prompt_holds_both_texts() {
    let prompt = SERVICE.prompts.first().expect("a prompt");
    assert_eq!(prompt.name, "similarity_analysis");
    let arguments =
        |value: Value| -> Map<String, Value> { value.as_object().expect("an object").clone() };
    let text = prompt.text(&arguments(
        json!({"text1": "one zebra", "text2": "two zebras", "purpose": "a test"}),
    ));
    let text = text.expect("it was refused");
    assert!(
        ["one zebra", "two zebras", "a test"]
            .iter()
            .all(|part| text.contains(part)),
        "{text}"
    );
    let refused = prompt
        .text(&arguments(json!({"text1": "x"})))
        .expect_err("it was taken");
    assert_eq!(refused.to_string(), "text2: is required and missing");
}

#[test]
fn refusals_name_the_argument() {
    let check = |tool: &str, arguments: Value, field: &str| match attempt(tool, arguments) {
        Err(Refusal::Argument { field: named, .. }) => assert_eq!(named, field),
        other => panic!("{other:?}"),
    };
    check("calculate_similarity", json!({"text1": "x"}), "text2");
    check(
        "calculate_similarity",
        json!({"text1": "x", "text2": "y", "method": "euclid"}),
        "method",
    );
    check(
        "calculate_text_similarity",
        json!({"text1": "x".repeat(20_001), "text2": ""}),
        "text1",
    );
    check(
        "find_similar_texts",
        json!({"query": "x", "candidates": ["x", 1]}),
        "candidates[1]",
    );
    check(
        "find_similar_texts",
        json!({"query": "x", "candidates": [], "top_k": 0}),
        "top_k",
    );
    check(
        "find_similar_texts",
        json!({"query": "x", "candidates": [], "threshold": 1.5}),
        "threshold",
    );
    check(
        "find_similar_texts",
        json!({"query": "x", "candidates": vec!["x".repeat(50_000); 40]}),
        "candidates",
    );
    check(
        "calculate_group_similarity",
        json!({"texts": vec!["x"; 501]}),
        "texts",
    );
    check(
        "calculate_group_similarity",
        json!({"texts": vec!["x".repeat(50_000); 41]}),
        "texts",
    );
    check(
        "preprocess_text",
        json!({"text": "x", "min_word_length": -1}),
        "min_word_length",
    );
    check(
        "extract_semantic_features",
        json!({"text": "x", "language": "en"}),
        "language",
    );
}

/// Texts of words that occur once each.
fn distinct_words() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(PLAIN.to_vec(), 0..=PLAIN.len()).prop_shuffle()
}

/// Texts with repeated words, subjects, synonyms and stop words.
fn text() -> impl Strategy<Value = String> {
    let words = [
        "zebra", "orbit", "error", "failure", "fault", "because", "hence", "before", "layer",
        "the", "of", "slow", "sluggish",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..12)
        .prop_map(|words| words.join(" "))
}

const METHODS: [measure::Method; 4] = [
    measure::Method::Jaccard,
    measure::Method::Cosine,
    measure::Method::Semantic,
    measure::Method::Hybrid,
];

proptest! {
    /// Where each word occurs once, raw counts are sets, and the crate's set measures must agree.
    #[test]
    fn textdistance_agrees(a in distinct_words(), b in distinct_words()) {
        let (x, y) = (a.join(" "), b.join(" "));
        let jaccard = textdistance::Jaccard::default().for_iter(a.iter(), b.iter()).nsim();
        let cosine = textdistance::Cosine::default().for_iter(a.iter(), b.iter()).nsim();
        prop_assert!(near(measure::similarity(&x, &y, measure::Method::Jaccard), jaccard));
        prop_assert!(near(measure::similarity(&x, &y, measure::Method::Cosine), cosine));
    }

    #[test]
    fn measures_are_symmetric_bounded_and_blind_to_order(a in text(), b in text()) {
        let reversed: Vec<&str> = a.split(' ').rev().collect();
        for method in METHODS {
            let similarity = measure::similarity(&a, &b, method);
            prop_assert!((0.0..=1.0).contains(&similarity));
            prop_assert_eq!(similarity, measure::similarity(&b, &a, method));
            prop_assert_eq!(similarity, measure::similarity(&reversed.join(" "), &b, method));
            prop_assert_eq!(similarity, measure::similarity(&a.to_uppercase(), &b, method));
        }
    }

    #[test]
    fn any_text_is_the_same_as_itself(text in "\\PC{0,80}") {
        for method in METHODS {
            prop_assert_eq!(measure::similarity(&text, &text, method), 1.0);
        }
    }

    /// 1 − Jaccard is a metric (Levandowsky & Winter, 1971).
    #[test]
    fn jaccard_distance_obeys_the_triangle(a in text(), b in text(), c in text()) {
        let distance = |x: &str, y: &str| 1.0 - measure::similarity(x, y, measure::Method::Jaccard);
        prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c) + 1e-12);
    }

    #[test]
    fn searching_one_is_comparing_two(query in text(), candidate in text()) {
        let found = call("find_similar_texts", json!({"query": query, "candidates": ["orbit", candidate], "top_k": 2}));
        let results = found["results"].as_array().expect("results");
        let one = results.iter().find(|one| one["index"] == json!(1)).expect("the candidate");
        prop_assert_eq!(
            number(one, "/similarity"),
            measure::similarity(&query, &candidate, measure::Method::Hybrid)
        );
    }

    #[test]
    fn preprocessing_twice_changes_nothing(text in "[a-zA-Z ,.]{0,60}") {
        let once = call("preprocess_text", json!({"text": text}));
        let words: Vec<&str> = once["words"].as_array().expect("words").iter().filter_map(Value::as_str).collect();
        let twice = call("preprocess_text", json!({"text": words.join(" ")}));
        prop_assert_eq!(&twice["words"], &once["words"]);
    }
}
