use super::{
    decomposition::{Strategy, decompose},
    question::{session_key, subject, words},
    service,
};
use crate::{
    service::{Host, Service},
    tool::{Context, Refusal},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

const QUESTION: &str =
    "How do feedback loops in a supply network work, and why do small delays cause large swings?";

fn host() -> Host {
    Host::new(None, || UNIX_EPOCH + Duration::from_secs(1_000))
}

fn refused(service: &Service, tool: &str, arguments: Value, expected: &str) {
    let refusal = service.ask(tool, arguments).expect_err("it was taken");
    assert_eq!(refusal.to_string(), expected);
}

#[test]
fn nine_tools_answer_to_both_of_their_names() {
    let service = service(&host());
    let names = service.names();
    assert_eq!(
        names,
        [
            ("process_question", Some("process_question_via_mcp")),
            (
                "demonstrate_communication",
                Some("demonstrate_mcp_communication")
            ),
            ("run_self_test", Some("test_mcp_reasoning")),
            ("analyze_patterns", None),
            ("call_skill", Some("mcp_client")),
            ("list_skills", Some("mcp_server")),
            ("get_history", Some("mcp_history")),
            ("get_requests", Some("mcp_requests")),
            ("get_responses", Some("mcp_responses")),
        ]
    );
}

#[test]
fn patterns_are_seen_in_words() {
    let service = service(&host());
    // Confidences are the table of the specification: how .9, why and causal words .85, system words .8.
    let check = |arguments: Value, expected: Value| {
        let found = service.ask("analyze_patterns", arguments).expect("refused");
        assert_eq!(found["patterns"], expected, "{}", found["question"]);
    };
    let procedural =
        |words: Value| json!({"type": "procedural", "confidence": 0.9, "indicators": words});
    let causal = |words: Value| json!({"type": "causal", "confidence": 0.85, "indicators": words});
    let systems =
        |words: Value| json!({"type": "systems_thinking", "confidence": 0.8, "indicators": words});
    check(
        json!({"question": "How is tea made?"}),
        json!([procedural(json!(["how"]))]),
    );
    check(
        json!({"question": "Why is the sky blue?"}),
        json!([causal(json!(["why"]))]),
    );
    check(json!({"question": "What is tea?"}), json!([]));
    // A number is no procedure.
    check(
        json!({"question": "How many legs has a spider?"}),
        json!([]),
    );
    // Words, not letters: "systematic" is no system, "shower" no "how".
    check(
        json!({"question": "Is a systematic shower due tomorrow?"}),
        json!([]),
    );
    check(
        json!({"question": "Is the delay due to the network, the NETWORK or its components?"}),
        json!([
            causal(json!(["due to"])),
            systems(json!(["network", "components"]))
        ]),
    );
    check(
        json!({"question": QUESTION}),
        json!([
            procedural(json!(["how"])),
            causal(json!(["why", "cause"])),
            systems(json!(["feedback", "network"]))
        ]),
    );
    check(
        json!({"question": QUESTION, "focus_areas": ["structural"]}),
        json!([procedural(json!(["how"])), causal(json!(["why"]))]),
    );
    check(
        json!({"question": QUESTION, "focus_areas": ["semantic"], "confidence_threshold": 0.85}),
        json!([causal(json!(["cause"]))]),
    );
    check(
        json!({"question": QUESTION, "confidence_threshold": 0.91}),
        json!([]),
    );
}

#[test]
fn questions_come_apart_where_they_are_joined() {
    let check = |question: &str, expected: &[&str]| {
        let parts = decompose(question, 20, Strategy::Structure);
        let parts: Vec<_> = parts.iter().map(|part| part.question.as_str()).collect();
        assert_eq!(parts, expected);
    };
    check(
        QUESTION,
        &[
            "How do feedback loops in a supply network work?",
            "Why do small delays cause large swings?",
        ],
    );
    check(
        "what is 3.5 times 2? and then?",
        &["What is 3.5 times 2?", "And then?"],
    );
    check(
        "Say what it is, how it works and then why it matters.",
        &["Say what it is?", "How it works?", "Why it matters?"],
    );
    // "Which" goes on with the clause, and one word is no clause.
    check(
        "Do servers, which are old, fail?",
        &["Do servers, which are old, fail?"],
    );
    check("What and why is it?", &["What and why is it?"]);
    let compared = ["What is TCP?", "What is UDP?"];
    for (question, whole) in [
        (
            "What is the difference between TCP and UDP?",
            "What is the difference between TCP and UDP?",
        ),
        ("compare TCP with UDP", "Compare TCP with UDP?"),
        ("TCP vs. UDP?", "TCP vs. UDP?"),
    ] {
        check(question, &[compared[0], compared[1], whole]);
    }
    assert_eq!(
        subject("What are the effects of caching?"),
        "the effects of caching"
    );
    assert_eq!(subject("Why?"), "Why");
}

#[test]
fn one_question_is_seen_from_its_sides() {
    let service = service(&host());
    let call = |arguments| {
        let arguments = json!({"skill": "question_decomposition", "tool": "decompose_question", "arguments": arguments});
        service.ask("call_skill", arguments).expect("refused")["result"].take()
    };
    let whole = call(json!({"question": "How does caching change latency?"}));
    assert_eq!(
        whole["sub_questions"],
        json!([
            {"number": 1, "question": "What is meant by “caching”, “change”, “latency”?", "asks_for": "fact", "key_terms": ["meant", "caching", "change", "latency"]},
            {"number": 2, "question": "Which facts bear on “caching change latency”?", "asks_for": "choice", "key_terms": ["facts", "bear", "caching", "change", "latency"]},
            {"number": 3, "question": "Why is it so, and under which conditions: “caching change latency”?", "asks_for": "cause", "key_terms": ["conditions", "caching", "change", "latency"]},
            {"number": 4, "question": "How does it come about, step by step: “caching change latency”?", "asks_for": "procedure", "key_terms": ["come", "step", "caching", "change", "latency"]},
            {"number": 5, "question": "What speaks against the most likely answer on “caching change latency”?", "asks_for": "fact", "key_terms": ["speaks", "against", "most", "likely", "answer", "caching", "change", "latency"]},
        ])
    );
    assert_eq!(whole["key_terms"], json!(["caching", "change", "latency"]));
    let first =
        call(json!({"question": "How does caching change latency?", "max_sub_questions": 1}));
    assert_eq!(first["sub_questions"].as_array().map(Vec::len), Some(1));
    let built = call(json!({"question": "How long is it?", "strategy": "structure"}));
    assert_eq!(built["sub_questions"][0]["asks_for"], "quantity");
}

#[test]
fn answers_are_as_sure_as_what_they_rest_on() {
    let service = service(&host());
    let skill = |tool: &str, arguments: Value| {
        let arguments = json!({"skill": "answer_synthesis", "tool": tool, "arguments": arguments});
        service.ask("call_skill", arguments).expect("refused")["result"].take()
    };
    // .8 + .1 per component, 1 at most, .5 of none: the specification's table.
    let answer = |components: Value| {
        skill(
            "synthesize_answer",
            json!({"question": "Why?", "components": components}),
        )
    };
    let component = json!({"source": "a book", "content": "So."});
    assert_eq!(
        answer(json!([])),
        json!({
            // printf 'Why?' | sha256sum
            "session_key": "5d8a995a6fa7cf7c",
            "answer": "Nothing has been found yet on “Why?”.",
            "confidence": 0.5,
            "components_used": 0,
        })
    );
    let one = answer(json!([component]));
    assert_eq!(one["confidence"], 0.9);
    assert_eq!(one["answer"], "On “Why?”:\n- a book: So.");
    assert_eq!(answer(json!([component, component]))["confidence"], 1.0);
    assert_eq!(
        answer(json!([component, component, component]))["confidence"],
        1.0
    );

    // Patterns that were handed over count as one more, for their question alone, and the last word stands.
    let patterns = json!([{"type": "causal", "confidence": 0.85, "indicators": ["why"]}]);
    let hand_over = |patterns: &Value| {
        skill(
            "receive_pattern_data",
            json!({"question": " Why? ", "patterns": patterns}),
        )
    };
    assert_eq!(hand_over(&patterns)["replaced"], false);
    assert_eq!(answer(json!([component]))["components_used"], 2);
    assert_eq!(
        skill("synthesize_answer", json!({"question": "Why not?"}))["confidence"],
        0.5
    );
    assert_eq!(hand_over(&json!([]))["replaced"], true);
    assert_eq!(answer(json!([component]))["components_used"], 1);
}

#[test]
fn a_question_goes_through_all_skills() {
    let host = host();
    let mut changes = host.changes();
    let service = service(&host);
    let done = service
        .ask("process_question_via_mcp", json!({"question": QUESTION}))
        .expect("refused");
    assert_eq!(done["result"]["confidence"], 1.0);
    assert_eq!(done["sub_questions"].as_array().map(Vec::len), Some(2));
    // Four tools and one resource; two subscribers' three notifications.
    assert_eq!(
        done["communication"],
        json!({"requests": 5, "responses": 5, "notifications": 3, "total": 13})
    );
    assert_eq!(
        done["methods_called"],
        json!([
            "tools/call",
            "notifications/resources/updated",
            "resources/read"
        ])
    );
    assert_eq!(
        done["tools_called"],
        json!([
            "question_decomposition/decompose_question",
            "pattern_analysis/analyze_patterns",
            "answer_synthesis/receive_pattern_data",
            "answer_synthesis/synthesize_answer",
        ])
    );
    assert_eq!(done["verification"]["verified"], true);
    for uri in [
        "decomposition://recent-analyses",
        "patterns://detected-patterns",
        "synthesis://collected-data",
    ] {
        assert_eq!(changes.try_recv().as_deref(), Ok(uri));
    }
    let key = &done["result"]["session_key"];
    assert_eq!(
        service.read("decomposition://recent-analyses")["analyses"][0]["session_key"],
        *key
    );
    assert_eq!(
        service.read("patterns://detected-patterns")["detections"][0]["session_key"],
        *key
    );
    assert_eq!(
        service.read("synthesis://collected-data")["collected"][0]["session_key"],
        *key
    );
}

/// The original's keys were salted: another one after each start.
#[test]
fn keys_are_the_same_in_every_run() {
    // The example of FIPS 180-4 for SHA-256.
    assert_eq!(session_key("abc"), "ba7816bf8f01cfea");
    assert_eq!(session_key("  abc\n"), session_key("abc"));
    let key = || {
        let service = service(&host());
        service
            .ask("process_question", json!({"question": QUESTION}))
            .expect("refused")["result"]["session_key"]
            .take()
    };
    assert_eq!(key(), key());
}

#[test]
fn the_log_tells_requests_from_responses() {
    let service = service(&host());
    service
        .ask("process_question", json!({"question": QUESTION}))
        .expect("refused");
    let log = |tool: &str, arguments: Value| service.ask(tool, arguments).expect("refused");
    let sequences = |log: &Value| -> Vec<u64> {
        let messages = log["messages"].as_array().expect("no messages");
        messages
            .iter()
            .filter_map(|message| message["sequence"].as_u64())
            .collect()
    };
    assert_eq!(
        sequences(&log("get_history", json!({}))),
        (1..=13).collect::<Vec<_>>()
    );
    // A notification follows each of the first three answers; request ids are their numbers.
    assert_eq!(
        sequences(&log("get_requests", json!({}))),
        [1, 4, 7, 10, 12]
    );
    assert_eq!(
        sequences(&log("get_responses", json!({}))),
        [2, 5, 8, 11, 13]
    );
    let newest = log("get_responses", json!({"limit": 2, "since": 1_000_000}));
    assert_eq!(
        (sequences(&newest), &newest["total"]),
        (vec![11, 13], &json!(5))
    );
    assert_eq!(log("get_history", json!({"since": 1_000_001}))["total"], 0);
    let first = &log("get_requests", json!({}))["messages"][0];
    assert_eq!(first["id"], "r1");
    assert_eq!(
        (&first["from"], &first["to"]),
        (&json!("reasoning_agent"), &json!("question_decomposition"))
    );
    // It does not grow for ever: 100 runs of 13 messages.
    for _ in 0..99 {
        service
            .ask("process_question", json!({"question": QUESTION}))
            .expect("refused");
    }
    let all = log("get_history", json!({"limit": 1000}));
    assert_eq!(
        (all["total"].as_u64(), sequences(&all).last()),
        (Some(1000), Some(&1300))
    );
    assert_eq!(
        service.read("decomposition://recent-analyses")["analyses"]
            .as_array()
            .map(Vec::len),
        Some(50)
    );
    assert_eq!(
        service.read("synthesis://collected-data")["collected"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn demonstration_and_self_test_pass() {
    let service = service(&host());
    let shown = service
        .ask("demonstrate_communication", json!({}))
        .expect("refused");
    assert_eq!(
        shown["compliance"],
        json!({
            "json_rpc_2_0": true, "request_response": true, "notifications": true,
            "tools": true, "resources": true, "compliant": true,
        })
    );
    let tested = service.ask("run_self_test", json!({})).expect("refused");
    assert_eq!(
        (&tested["all_passed"], &tested["passed"]),
        (&json!(true), &json!(10)),
        "{tested}"
    );
}

#[test]
fn skills_are_described_as_they_are() {
    let service = service(&host());
    let listed = service.ask("list_skills", json!({})).expect("refused");
    let about: Vec<_> = listed["skills"]
        .as_array()
        .expect("no skills")
        .iter()
        .map(|skill| {
            (
                skill["name"].as_str(),
                skill["tool_count"].as_u64(),
                skill["resource_count"].as_u64(),
                skill["subscriptions"].as_array().map(Vec::len),
            )
        })
        .collect();
    assert_eq!(
        about,
        [
            (Some("question_decomposition"), Some(1), Some(1), Some(0)),
            (Some("pattern_analysis"), Some(1), Some(1), Some(0)),
            (Some("answer_synthesis"), Some(2), Some(1), Some(2)),
        ]
    );
    let asks = &listed["skills"][0]["tools"][0]["input_schema"]["properties"]["max_sub_questions"];
    assert_eq!(
        (&asks["default"], &asks["maximum"]),
        (&json!(5), &json!(20))
    );
}

#[test]
fn what_is_wrong_is_named() {
    let service = service(&host());
    let check =
        |tool: &str, arguments, expected: &str| refused(&service, tool, arguments, expected);
    check(
        "process_question",
        json!({}),
        "question: is required and missing",
    );
    check(
        "process_question",
        json!({"question": " \n"}),
        r#"question: " \n" does not match "\S""#,
    );
    check(
        "process_question",
        json!({"question": "a".repeat(4001)}),
        &format!(
            "question: \"{}\" is longer than 4000 characters",
            "a".repeat(4001)
        ),
    );
    check(
        "analyze_patterns",
        json!({"question": "a", "confidence_threshold": 1.5}),
        "confidence_threshold: 1.5 is greater than the maximum of 1",
    );
    let skill = |tool: &str, arguments: Value| json!({"skill": "answer_synthesis", "tool": tool, "arguments": arguments});
    check(
        "call_skill",
        skill("decompose_question", json!({})),
        "tool: there is no tool \"decompose_question\"",
    );
    check(
        "call_skill",
        skill("synthesize_answer", json!({})),
        "arguments.question: is required and missing",
    );
    check(
        "call_skill",
        skill(
            "synthesize_answer",
            json!({"question": "a", "components": [{"source": "", "content": "a"}]}),
        ),
        "arguments.components[0].source: \"\" is shorter than 1 character",
    );
    // Failures are in the log, and no answer.
    let last = service
        .ask("get_responses", json!({"limit": 1}))
        .expect("refused");
    assert_eq!(last["messages"][0]["ok"], false);
    check(
        "get_history",
        json!({"limit": 0}),
        "limit: 0 is less than the minimum of 1",
    );
}

#[test]
fn progress_is_told_and_withdrawal_obeyed() {
    let service = service(&host());
    let steps = Arc::new(Mutex::new(Vec::new()));
    let told = steps.clone();
    let context = Context {
        progress: Some(Arc::new(move |done, of, _: &str| {
            told.lock().unwrap().push((done, of))
        })),
        ..Context::default()
    };
    let tool = service.tool("process_question").expect("no such tool");
    tool.call(&context, json!({"question": QUESTION}))
        .expect("refused");
    assert_eq!(
        *steps.lock().unwrap(),
        [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    );
    context.cancelled.cancel();
    assert_eq!(
        tool.call(&context, json!({"question": QUESTION})),
        Err(Refusal::Cancelled)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text is taken, within its limits, and gives the same result twice.
    #[test]
    fn any_text_is_a_question(text in r"\PC{0,80}(and why|vs|, how|compare)?\PC{0,80}", most in 1_usize..=20) {
        for strategy in [Strategy::Auto, Strategy::Structure, Strategy::Aspects] {
            let parts = decompose(&text, most, strategy);
            prop_assert!(parts.len() <= most);
            prop_assert_eq!(&parts, &decompose(&text, most, strategy));
        }
    }

    /// By structure nothing is made up: each word of a part is one of the question's, or of the "what is" of a comparison.
    #[test]
    fn parts_are_made_of_the_question(text in "[ -~]{0,60}(, and why |vs|, how | differences between |compare )?[ a-z?.,;\n]{0,60}") {
        let known = words(&text);
        for part in decompose(&text, 20, Strategy::Structure) {
            for word in words(&part.question) {
                prop_assert!(known.contains(&word) || ["what", "is"].contains(&word.as_str()), "{} in {:?}", word, part);
            }
        }
    }
}
