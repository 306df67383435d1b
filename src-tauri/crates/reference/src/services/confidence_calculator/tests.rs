//! Expected numbers are worked out by hand from the rules of the issue; the steps stand beside them.

use super::{factors, service};
use crate::{service::Host, tool::Refusal};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{sync::LazyLock, time::UNIX_EPOCH};

static SERVICE: LazyLock<crate::service::Service> =
    LazyLock::new(|| service(&Host::new(None, || UNIX_EPOCH)));

fn attempt(tool: &str, arguments: Value) -> Result<Value, Refusal> {
    SERVICE.ask(tool, arguments)
}

fn call(tool: &str, arguments: Value) -> Value {
    attempt(tool, arguments).expect("it was refused")
}

#[track_caller]
fn assert_near(value: &Value, path: &str, expected: f64) {
    let actual = value.pointer(path).and_then(Value::as_f64);
    let actual = actual.unwrap_or_else(|| panic!("no number at {path} of {value}"));
    assert!(
        (actual - expected).abs() < 1e-12,
        "{path} is {actual}, not {expected}"
    );
}

/// One factor of a context.
#[track_caller]
fn check(factor: &str, context: Value, expected: f64) {
    let result = call(
        "calculate_reasoning_confidence",
        json!({"reasoning_context": context}),
    );
    assert_near(
        &result,
        &format!("/factor_breakdown/{factor}/value"),
        expected,
    );
}

#[test]
fn the_server_offers_what_the_table_says() {
    let names = SERVICE.names();
    let expected = [
        (
            "calculate_reasoning_confidence",
            Some("calculate_reasoning_confidence_mcp"),
        ),
        (
            "calculate_evidence_quality",
            Some("calculate_evidence_quality_mcp"),
        ),
        (
            "calculate_semantic_alignment",
            Some("calculate_semantic_alignment_mcp"),
        ),
        (
            "adjust_confidence_for_uncertainty",
            Some("adjust_confidence_for_uncertainty_mcp"),
        ),
        ("calculate_fallback_confidence", None),
        ("get_calculator_status", Some("mcp_confidence_calculator")),
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (SERVICE.name, SERVICE.port),
        ("confidence_calculator", 8108)
    );
}

fn full_context() -> Value {
    json!({
        "question": "How does the gateway retry failed calls?",
        "answer": "The gateway repeats calls by waiting a little longer each time.",
        "evidence": [{"source_type": "academic", "content": "A paper."}, {"source_type": "verified"}],
        "reasoning_chain": [
            {"premise": "Calls fail", "confidence": 0.9, "inference_rule": "modus_ponens"},
            {"premise": "Waiting helps", "confidence": 0.4},
            {"premise": "waiting  helps", "confidence": 0.5, "inference_rule": "modus_tollens"},
        ],
        "history": {"success_rate": 0.8, "count": 3, "recent": [1, 0, 1, 1]},
        "branching_factor": 6,
        "cycles": 1,
        "validation": {"logic": 0.9, "evidence": 0.8, "completeness": 0.5},
    })
}

#[test]
fn six_factors_make_a_confidence() {
    let result = call(
        "calculate_reasoning_confidence",
        json!({"reasoning_context": full_context()}),
    );
    let expected = [
        // (0.9 + 0.8) / 2
        ("evidence", 0.85, 0.25),
        // 0.4 < 0.9/2: × 0.8; a premise repeated: × 0.6; 2 of 3 rules hold: × (0.8 + 0.2·2/3) = 0.48 · 14/15
        ("logic", 0.448, 0.20),
        // {calls, gateway} of {calls, failed, gateway, retry}, and "by" answers a how: 0.5 · 1.2
        ("alignment", 0.6, 0.20),
        // 0.8 · (0.6 + 0.08·3) = 0.672; the last three are 0, 1, 1: 0.7·0.672 + 0.3·2/3
        ("history", 0.6704, 0.15),
        // 3 steps; more than 5 branches: × 0.8; a cycle: × 0.9
        ("complexity", 0.72, 0.10),
        // (0.36 + 0.24 + 0.15) · 0.7
        ("validation", 0.525, 0.10),
    ];
    for (factor, value, weight) in expected {
        assert_near(&result, &format!("/factor_breakdown/{factor}/value"), value);
        assert_near(
            &result,
            &format!("/factor_breakdown/{factor}/weight"),
            weight,
        );
        assert_near(
            &result,
            &format!("/factor_breakdown/{factor}/contribution"),
            value * weight,
        );
    }
    // 0.2125 + 0.0896 + 0.12 + 0.10056 + 0.072 + 0.0525
    assert_near(&result, "/confidence", 0.64716);
    let advice = result["recommendations"]
        .as_array()
        .expect("recommendations");
    assert!(
        advice.len() == 1
            && advice[0]
                .as_str()
                .is_some_and(|one| one.starts_with("logic: ")),
        "{result}"
    );
    let explanation = result["explanation"].as_str().expect("an explanation");
    assert!(
        explanation.starts_with("Confidence is 0.647 (moderate): evidence 0.85 × 0.25"),
        "{explanation}"
    );
}

#[test]
fn what_is_not_known_counts_as_little() {
    let result = call(
        "calculate_reasoning_confidence_mcp",
        json!({"reasoning_context": {}, "include_explanation": false}),
    );
    // 0.25·0.2 + 0.2·0.3 + 0.2·0.3 + 0.15·0.5 + 0.1·0.8 + 0.1·0.5
    assert_near(&result, "/confidence", 0.375);
    assert!(result.get("explanation").is_none(), "{result}");
    // To gain: evidence 0.25·0.8 = 0.2, logic and alignment 0.2·0.7 = 0.14 each.
    let firsts: Vec<&str> = result["recommendations"]
        .as_array()
        .expect("recommendations")
        .iter()
        .filter_map(|one| one.as_str()?.split(':').next())
        .collect();
    assert_eq!(firsts, ["evidence", "logic", "alignment"]);
}

/// The original ignored weights given by name.
#[test]
fn custom_weights_are_obeyed() {
    let weighted = |context: Value, weights: Value| {
        call(
            "calculate_reasoning_confidence",
            json!({"reasoning_context": context, "custom_weights": weights}),
        )
    };
    let only = |factor: &str| {
        let mut weights = json!({"evidence": 0, "logic": 0, "alignment": 0, "history": 0, "complexity": 0, "validation": 0});
        weights[factor] = json!(2);
        weights
    };
    // Alone, each factor is the confidence.
    assert_near(
        &weighted(full_context(), only("evidence")),
        "/confidence",
        0.85,
    );
    assert_near(
        &weighted(full_context(), only("logic")),
        "/confidence",
        0.448,
    );
    assert_near(
        &weighted(full_context(), only("validation")),
        "/confidence",
        0.525,
    );
    // The others stay and are scaled: (0.375 − 0.15·0.5) / 0.85.
    let result = weighted(json!({}), json!({"history": 0}));
    assert_near(&result, "/confidence", 0.3 / 0.85);
    assert_near(&result, "/factor_breakdown/evidence/weight", 0.25 / 0.85);
    // Kept within its bounds: nothing shared is 0, everything shared is 1.
    let pair = |answer: &str| json!({"question": "Is zebra orbit?", "answer": answer});
    let least = weighted(pair("tulip"), only("alignment"));
    assert_near(&least, "/confidence", 0.05);
    assert!(
        least["explanation"]
            .as_str()
            .is_some_and(|text| text.contains("kept within 0.05 and 0.95"))
    );
    assert_near(
        &weighted(pair("zebra orbit"), only("alignment")),
        "/confidence",
        0.95,
    );

    let mut none = only("logic");
    none["logic"] = json!(0);
    let refused = attempt(
        "calculate_reasoning_confidence",
        json!({"reasoning_context": {}, "custom_weights": none}),
    );
    let refused = refused.expect_err("no weight was taken");
    assert_eq!(
        refused.to_string(),
        "custom_weights: add up to 0; at least one factor needs weight"
    );
}

#[test]
fn logic_falls_with_doubt_repetition_and_loose_rules() {
    let steps = |steps: Value| json!({"reasoning_chain": steps});
    check("logic", steps(json!([])), 0.3);
    check(
        "logic",
        steps(json!([{"inference_rule": "hypothetical_syllogism"}])),
        1.0,
    );
    check("logic", steps(json!([{}])), 0.8);
    // Half of 0.8 is not less than half of it.
    check(
        "logic",
        steps(json!([{"confidence": 0.8}, {"confidence": 0.4}])),
        0.8,
    );
    check(
        "logic",
        steps(json!([{"confidence": 0.8}, {"confidence": 0.39}])),
        0.64,
    );
    // Only the step right before is looked at.
    check(
        "logic",
        steps(json!([{"premise": "p"}, {"premise": "q"}, {"premise": "P"}])),
        0.8,
    );
    check(
        "logic",
        steps(json!([{"premise": ""}, {"premise": " "}])),
        0.8,
    );
    // 0.6⁵ · 0.8 = 0.0622
    check("logic", steps(json!(vec![json!({"premise": "p"}); 6])), 0.1);
}

#[test]
fn history_trusts_what_was_seen_often() {
    let seen = |rate: f64, count: u64, recent: &[f64]| json!({"history": {"success_rate": rate, "count": count, "recent": recent}});
    check("history", json!({}), 0.5);
    check("history", seen(0.5, 1, &[]), 0.34); // 0.5 · 0.68
    check("history", seen(0.5, 4, &[]), 0.46); // 0.5 · 0.92
    check("history", seen(0.5, 5, &[]), 0.45);
    check("history", seen(0.5, 19, &[]), 0.45);
    check("history", seen(0.5, 20, &[]), 0.5);
    check("history", seen(0.5, 20, &[1.0]), 0.65); // 0.35 + 0.3
    check("history", seen(0.5, 20, &[0.0, 1.0, 1.0, 1.0]), 0.65);
}

/// The original asked for "more than 10" first, so that "more than 15" was never reached.
#[test]
fn complexity_counts_a_very_long_chain() {
    let chain = |steps: usize| json!({"reasoning_chain": vec![json!({}); steps]});
    for (steps, expected) in [
        (0, 0.8),
        (1, 0.8),
        (2, 1.0),
        (10, 1.0),
        (11, 0.9),
        (15, 0.9),
        (16, 0.7),
        (1000, 0.7),
    ] {
        check("complexity", chain(steps), expected);
    }
    let tangle = |branches: f64, cycles: u32| json!({"reasoning_chain": [{}, {}], "branching_factor": branches, "cycles": cycles});
    check("complexity", tangle(5.0, 0), 1.0);
    check("complexity", tangle(5.5, 0), 0.8);
    check("complexity", tangle(0.0, 3), 0.7);
    check("complexity", tangle(6.0, 9), 0.3);
    check("complexity", tangle(0.0, 100), 0.3);
}

#[test]
fn validation_is_as_good_as_the_validator() {
    let found = json!({"validation": {"logic": 1, "evidence": 0.5, "completeness": 0, "validator_confidence": 0.8}});
    check("validation", found, 0.44); // (0.4 + 0.15) · 0.8
    let usual = json!({"validation": {"logic": 1, "evidence": 1, "completeness": 1}});
    check("validation", usual, 0.7);
}

#[test]
fn evidence_is_as_good_as_its_sources() {
    let check = |evidence: Value, expected: f64| {
        assert_near(
            &call("calculate_evidence_quality", json!({"evidence": evidence})),
            "/quality",
            expected,
        );
    };
    check(json!([]), 0.2);
    check(json!(["It is known."]), 0.3);
    check(json!([{}]), 0.4);
    check(
        json!([{"source_type": "empirical"}, "plain", {"source_type": "academic"}]),
        1.9 / 3.0,
    );
    // More than 3: (0.9 + 0.8 + 0.7 + 0.4) / 4 · 1.2
    let four = json!([{"source_type": "academic"}, {"source_type": "verified"}, {"source_type": "empirical"}, {"source_type": "other"}]);
    check(four, 0.84);
    check(json!(vec![json!({"source_type": "academic"}); 4]), 1.0); // 1.08, at most 1
    let details = call(
        "calculate_evidence_quality_mcp",
        json!({"evidence": ["x", {"source_type": "verified"}], "return_details": true}),
    );
    let expected = json!({
        "quality": 0.55, "evidence_count": 2,
        "details": {
            "items": [
                {"index": 0, "source_type": "plain", "score": 0.3},
                {"index": 1, "source_type": "verified", "score": 0.8},
            ],
            "multiplier": 1.0,
        },
    });
    assert_eq!(details, expected);
}

#[test]
fn an_answer_is_held_to_its_question() {
    let check = |question: &str, answer: &str, kind: &str, expected: f64| {
        let result = call(
            "calculate_semantic_alignment",
            json!({"question": question, "answer": answer}),
        );
        assert_eq!(result["question_type"], json!(kind), "{question}");
        assert_near(&result, "/alignment", expected);
    };
    // {capital, france}: 1 of 2 and "is" of a what: 0.6; without it 0.5.
    check(
        "What is the capital of Peru?",
        "The capital is Lima.",
        "what",
        0.6,
    );
    check(
        "What is the capital of Peru?",
        "Its capital: Lima",
        "what",
        0.5,
    );
    // 1 of 2, "because": 0.65. A how's marker is none for a why.
    check(
        "Why did the zebra sleep?",
        "Because a zebra tires",
        "why",
        0.65,
    );
    check(
        "Why did the zebra sleep?",
        "Through a zebra's window, zebra",
        "why",
        0.5,
    );
    // 2 of 2 · 1.2 is at most 1.
    check(
        "How do zebras sleep?",
        "Zebras sleep by standing",
        "how",
        1.0,
    );
    // The first question word counts; a who has no markers.
    check(
        "Explain to me who knows why zebras sleep",
        "Because zebras sleep",
        "who",
        0.5,
    );
    check("Zebras sleep?", "They do not", "other", 0.0);
    check("", "Zebras sleep", "other", 0.3);
    check("What sleeps?", " … ", "what", 0.3);

    let result = call(
        "calculate_semantic_alignment_mcp",
        json!({"question": "What does a tulip need to bloom?", "answer": "A tulip needs light; light is all"}),
    );
    assert_eq!(
        result["keywords"],
        json!({"shared": ["tulip"], "missing": ["bloom", "need"]})
    );
    assert_eq!(result["marker"], json!("is"));
    let brief = call(
        "calculate_semantic_alignment",
        json!({"question": "Zebra?", "answer": "Zebra", "analyze_keywords": false}),
    );
    assert_eq!(
        brief,
        json!({"alignment": 1.0, "question_type": "other", "overlap": 1.0})
    );
}

#[test]
fn each_uncertainty_takes_its_part() {
    let adjust = |base: f64, names: &[&str]| {
        call(
            "adjust_confidence_for_uncertainty",
            json!({"base_confidence": base, "uncertainty_factors": names}),
        )
    };
    for (name, multiplier) in [
        ("missing_evidence", 0.85),
        ("contradictory_evidence", 0.7),
        ("weak_inference", 0.8),
        ("unvalidated_source", 0.9),
        ("complex_reasoning", 0.9),
        ("limited_data", 0.85),
        ("full moon", 0.95),
    ] {
        assert_near(
            &adjust(0.5, &[name]),
            "/adjusted_confidence",
            0.5 * multiplier,
        );
    }
    // 0.8 · 0.7 = 0.56; 0.56 · 0.95 = 0.532
    let result = adjust(0.8, &["Contradictory evidence", "full moon"]);
    assert_near(&result, "/adjusted_confidence", 0.532);
    assert_near(&result, "/total_multiplier", 0.665);
    let shown = |index: usize| {
        (
            &result["impacts"][index]["factor"],
            &result["impacts"][index]["known"],
        )
    };
    assert_eq!(shown(0), (&json!("contradictory_evidence"), &json!(true)));
    assert_eq!(shown(1), (&json!("full moon"), &json!(false)));
    assert_near(&result, "/impacts/0/reduction", 0.24);
    assert_near(&result, "/impacts/1/reduction", 0.028);
    assert_near(&adjust(0.9, &[]), "/adjusted_confidence", 0.9);
    assert_near(
        &adjust(0.1, &["weak_inference"; 10]),
        "/adjusted_confidence",
        0.05,
    );
}

#[test]
fn a_fallback_has_its_scenario_s_confidence() {
    for (scenario, expected) in [
        ("no_historical_data", 0.3),
        ("single_agent_fallback", 0.35),
        ("internal_analysis", 0.4),
        ("simplified_implementation", 0.45),
        ("partial_evidence", 0.5),
        ("consensus_fallback", 0.55),
        ("validated_fallback", 0.6),
    ] {
        let result = call(
            "calculate_fallback_confidence",
            json!({"scenario": scenario}),
        );
        assert_eq!(
            result,
            json!({"confidence": expected, "scenario": scenario, "known": true})
        );
    }
    let unknown = call(
        "calculate_fallback_confidence",
        json!({"scenario": "A guess"}),
    );
    assert_eq!(
        unknown,
        json!({"confidence": 0.4, "scenario": "A guess", "known": false})
    );
}

#[test]
fn the_status_tells_the_rules() {
    let status = call("get_calculator_status", json!({}));
    let weights = json!({"evidence": 0.25, "logic": 0.2, "alignment": 0.2, "history": 0.15, "complexity": 0.1, "validation": 0.1});
    assert_eq!(status["weights"], weights);
    assert_eq!(status["bounds"], json!({"min": 0.05, "max": 0.95}));
    assert_eq!(
        status["inference_rules"],
        json!(["modus_ponens", "modus_tollens", "hypothetical_syllogism"])
    );
    let length = |list: &str| status[list].as_array().map(Vec::len);
    assert_eq!(
        [
            "evidence_sources",
            "uncertainty_factors",
            "fallback_scenarios"
        ]
        .map(length),
        [Some(5), Some(6), Some(7)]
    );
    let resource = SERVICE.resources.first().expect("a resource");
    assert_eq!(
        (resource.uri, (resource.read)()),
        ("confidence://calculator/status", status)
    );
}

#[test]
fn the_prompt_holds_question_and_answer() {
    let prompt = SERVICE.prompts.first().expect("a prompt");
    assert_eq!(prompt.name, "confidence_analysis");
    let arguments: Map<String, Value> = json!({"question": "Why zebras?", "answer": "Because."})
        .as_object()
        .expect("an object")
        .clone();
    let text = prompt.text(&arguments).expect("it was refused");
    assert!(
        ["Why zebras?", "Because.", "none given"]
            .iter()
            .all(|part| text.contains(part)),
        "{text}"
    );
    let refused = prompt.text(&Map::new()).expect_err("it was taken");
    assert_eq!(refused.to_string(), "question: is required and missing");
}

#[test]
fn refusals_name_the_argument() {
    let check = |tool: &str, arguments: Value, field: &str| match attempt(tool, arguments) {
        Err(Refusal::Argument { field: named, .. }) => assert_eq!(named, field),
        other => panic!("{other:?}"),
    };
    let in_context = |context: Value, field: &str| {
        check(
            "calculate_reasoning_confidence",
            json!({"reasoning_context": context}),
            &format!("reasoning_context.{field}"),
        );
    };
    check(
        "calculate_reasoning_confidence",
        json!({}),
        "reasoning_context",
    );
    check(
        "calculate_reasoning_confidence",
        json!({"reasoning_context": {}, "custom_weights": {"luck": 1}}),
        "custom_weights.luck",
    );
    check(
        "calculate_reasoning_confidence",
        json!({"reasoning_context": {}, "custom_weights": {"logic": -1}}),
        "custom_weights.logic",
    );
    in_context(
        json!({"reasoning_chain": [{"confidence": 2}]}),
        "reasoning_chain[0].confidence",
    );
    in_context(
        json!({"history": {"success_rate": 1, "count": 0}}),
        "history.count",
    );
    in_context(
        json!({"history": {"success_rate": 1, "count": 1, "recent": [0, 2]}}),
        "history.recent[1]",
    );
    in_context(
        json!({"validation": {"logic": 1, "evidence": 1}}),
        "validation.completeness",
    );
    in_context(
        json!({"evidence": [{}, {"source_type": "rumour"}]}),
        "evidence[1]",
    );
    check(
        "calculate_evidence_quality",
        json!({"evidence": vec![""; 1_001]}),
        "evidence",
    );
    check(
        "calculate_semantic_alignment",
        json!({"question": "x"}),
        "answer",
    );
    check(
        "adjust_confidence_for_uncertainty",
        json!({"base_confidence": 1.1, "uncertainty_factors": []}),
        "base_confidence",
    );
    check(
        "adjust_confidence_for_uncertainty",
        json!({"base_confidence": 1, "uncertainty_factors": ["x", ""]}),
        "uncertainty_factors[1]",
    );
    check(
        "calculate_fallback_confidence",
        json!({"scenario": ""}),
        "scenario",
    );
}

fn six(range: std::ops::RangeInclusive<f64>) -> impl Strategy<Value = factors::Factors<f64>> {
    proptest::array::uniform6(range).prop_map(
        |[evidence, logic, alignment, history, complexity, validation]| factors::Factors {
            evidence,
            logic,
            alignment,
            history,
            complexity,
            validation,
        },
    )
}

proptest! {
    #[test]
    fn confidence_is_bounded_and_blind_to_the_scale_of_weights(
        values in six(0.0..=1.0), weights in six(0.01..=1_000.0), scale in 0.001..1_000.0,
    ) {
        let (confidence, breakdown) = factors::confidence(&values, &weights).expect("there is weight");
        prop_assert!((0.05..=0.95).contains(&confidence));
        let shares: f64 = breakdown.list().iter().map(|one| one.weight).sum();
        prop_assert!((shares - 1.0).abs() < 1e-12);
        let scaled = weights.zip(&weights, |weight, _| weight * scale);
        let (again, _) = factors::confidence(&values, &scaled).expect("there is weight");
        prop_assert!((confidence - again).abs() < 1e-12);
    }

    #[test]
    fn the_order_of_doubts_does_not_matter(
        base in 0.0..=1.0_f64,
        doubts in proptest::collection::vec(proptest::sample::select(&["limited_data", "weak_inference", "rain"]), 0..6),
    ) {
        let adjust = |names: &[&str]| {
            let result = call("adjust_confidence_for_uncertainty", json!({"base_confidence": base, "uncertainty_factors": names}));
            result["adjusted_confidence"].as_f64().expect("a number")
        };
        let reversed: Vec<&str> = doubts.iter().rev().copied().collect();
        prop_assert!((adjust(&doubts) - adjust(&reversed)).abs() < 1e-12);
        prop_assert!(adjust(&doubts) <= base.max(0.05));
    }

    #[test]
    fn any_question_and_answer_have_a_bounded_alignment(question in "\\PC{0,60}", answer in "\\PC{0,60}") {
        let result = call("calculate_semantic_alignment", json!({"question": question, "answer": answer}));
        prop_assert!((0.0..=1.0).contains(&result["alignment"].as_f64().expect("a number")));
    }
}
