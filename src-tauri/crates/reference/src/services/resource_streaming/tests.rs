use super::service;
use crate::{
    service::{Host, Service},
    tool::{Context, Refusal},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

const QUESTION: &str =
    "How do feedback loops in a supply network work, and why do small delays cause large swings?";

fn host() -> Host {
    Host::new(None, || UNIX_EPOCH + Duration::from_secs(1))
}

fn manage(service: &Service, arguments: Value) -> Value {
    service.ask("mcp_server", arguments).expect("refused")
}

#[test]
fn three_steps_are_streamed() {
    let host = host();
    let mut changes = host.changes();
    let service = service(&host);
    let steps = Arc::new(Mutex::new(Vec::new()));
    let told = steps.clone();
    let context = Context {
        progress: Some(Arc::new(move |done, of, doing: &str| {
            told.lock().unwrap().push((done, of, doing.to_owned()));
        })),
        ..Context::default()
    };
    let tool = service
        .tool("process_with_streaming")
        .expect("no such tool");
    let done = tool
        .call(&context, json!({"question": QUESTION}))
        .expect("refused");
    // printf '%s' "$QUESTION" | sha256sum | cut -c1-16
    assert_eq!(done["session_key"], "611b5bfdc52cfd58");
    assert_eq!(
        (&done["steps_completed"], &done["confidence"]),
        (&json!(3), &json!(1.0))
    );
    assert_eq!(
        done["answer"],
        format!(
            "On “{QUESTION}”:\n\
        - to be answered in turn: (1) How do feedback loops in a supply network work? (2) Why do small delays cause large swings?\n\
        - It is procedural (how): it wants the steps, in order, and what each of them needs.\n\
        - It is causal (why, cause): it wants causes told apart from what merely comes along, and how each leads to its effect.\n\
        - It is about a system (feedback, network): it wants the parts, how they act on each other, and what comes back as feedback."
        )
    );
    let names: Vec<_> = done["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["decomposing", "analysing", "synthesising"]);
    assert_eq!(
        *steps.lock().unwrap(),
        [
            (0, 3, "decomposing".into()),
            (1, 3, "analysing".into()),
            (2, 3, "synthesising".into()),
            (3, 3, "done".into())
        ]
    );
    // Beginning, each step and the end change the log; each step a thought; the end the figures.
    let mut seen = Vec::new();
    while let Ok(uri) = changes.try_recv() {
        seen.push(uri.trim_start_matches("reasoning://").to_owned());
    }
    assert_eq!(
        seen.join(" "),
        "process-log process-log thoughts process-log thoughts process-log thoughts process-log metrics"
    );
    assert_eq!(
        service.read("reasoning://thoughts")["thoughts"][1]["step"],
        "analysing"
    );
    assert_eq!(
        service.read("reasoning://process-log")["lines"][4],
        json!({"at_ms": 1000, "text": "611b5bfdc52cfd58 completed"})
    );
    assert_eq!(
        service.read("reasoning://metrics"),
        json!({
            "active_streams": 0, "questions_completed": 1, "questions_cancelled": 0, "steps_completed": 3,
            "changes_published": 9, "changes_delivered": 0, "last_change_at_ms": 1000,
        })
    );
    // The same again, and no more than 100 lines.
    assert_eq!(
        tool.call(&Context::default(), json!({"question": QUESTION})),
        Ok(done)
    );
    for _ in 0..30 {
        service
            .ask(
                "process_with_streaming",
                json!({"question": "What is tea?"}),
            )
            .expect("refused");
    }
    assert_eq!(
        service.read("reasoning://process-log")["lines"]
            .as_array()
            .map(Vec::len),
        Some(100)
    );
}

#[test]
fn a_withdrawn_question_stops_and_is_told() {
    let service = service(&host());
    let context = Context::default();
    let stop = context.cancelled.clone();
    let context = Context {
        progress: Some(Arc::new(move |done, _, _: &str| {
            if done == 1 {
                stop.cancel();
            }
        })),
        ..context
    };
    let tool = service
        .tool("process_with_streaming")
        .expect("no such tool");
    assert_eq!(
        tool.call(&context, json!({"question": QUESTION})),
        Err(Refusal::Cancelled)
    );
    let figures = service.read("reasoning://metrics");
    // It was withdrawn while the second step began, which was then finished; the third did not begin.
    assert_eq!(
        (
            &figures["steps_completed"],
            &figures["questions_cancelled"],
            &figures["active_streams"]
        ),
        (&json!(2), &json!(1), &json!(0))
    );
    let log = service.read("reasoning://process-log");
    let last = log["lines"].as_array().unwrap().last().unwrap();
    assert!(
        last["text"].as_str().unwrap().ends_with(" cancelled"),
        "{last}"
    );
}

#[test]
fn changes_go_to_those_who_want_them() {
    let host = host();
    let service = service(&host);
    let subscribe = |uri: &str, filters: Value| {
        manage(
            &service,
            json!({"op": "subscribe", "uri": uri, "filters": filters}),
        )["subscription"]["subscription_id"]
            .take()
    };
    assert_eq!(subscribe("demo://a", json!(null)), "sub-1");
    assert_eq!(subscribe("demo://a", json!({"level": "high"})), "sub-2");
    assert_eq!(
        subscribe("demo://a", json!({"level": "high", "from": "x"})),
        "sub-3"
    );
    assert_eq!(subscribe("demo://b", json!({})), "sub-4");
    assert_eq!(
        subscribe("reasoning://thoughts", json!({"step": "analysing"})),
        "sub-5"
    );
    let mut changes = host.changes();
    let check = |metadata: Value, expected: Value| {
        let published = manage(
            &service,
            json!({"op": "publish", "uri": "demo://a", "type": "created", "new_value": {"n": 1}, "metadata": metadata}),
        );
        assert_eq!(published["delivered_to"], expected, "{metadata}");
        published["change"].clone()
    };
    let change = check(json!({}), json!(["sub-1"]));
    assert_eq!(
        change,
        json!({"uri": "demo://a", "type": "created", "timestamp": 1000, "new_value": {"n": 1}, "metadata": {}})
    );
    check(json!({"level": "high"}), json!(["sub-1", "sub-2"]));
    check(
        json!({"level": "high", "from": "x", "more": ""}),
        json!(["sub-1", "sub-2", "sub-3"]),
    );
    check(json!({"level": "low", "from": "x"}), json!(["sub-1"]));
    // MCP subscribers hear of them too.
    assert_eq!(changes.try_recv().as_deref(), Ok("demo://a"));
    // What the server itself streams passes through the same filters: one step of three.
    service
        .ask("process_with_streaming", json!({"question": QUESTION}))
        .expect("refused");
    let delivered = |uri: &str| {
        let listed = manage(&service, json!({"op": "list", "uri": uri}));
        let listed = listed["subscriptions"].as_array().unwrap().iter();
        listed
            .map(|one| one["delivered"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(delivered("reasoning://thoughts"), [1]);
    assert_eq!(delivered("demo://a"), [4, 2, 1]);
    assert_eq!(delivered("demo://b"), [0]);
    assert_eq!(
        manage(&service, json!({"op": "stats"}))["stats"],
        json!({
            "total_subscriptions": 5, "active_streams": 0, "resources_with_subscribers": 3,
            "subscriptions_by_resource": {"demo://a": 3, "demo://b": 1, "reasoning://thoughts": 1},
        })
    );
    assert_eq!(
        manage(
            &service,
            json!({"op": "unsubscribe", "subscription_id": "sub-2"})
        )["unsubscribed"],
        json!(["sub-2"])
    );
    assert_eq!(
        manage(&service, json!({"op": "unsubscribe", "uri": "demo://a"}))["unsubscribed"],
        json!(["sub-1", "sub-3"])
    );
    assert_eq!(
        manage(&service, json!({"op": "unsubscribe", "uri": "demo://a"}))["unsubscribed"],
        json!([])
    );
    assert_eq!(
        manage(&service, json!({"op": "list"}))["subscriptions"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[test]
fn figures_are_told_every_two_seconds_to_those_who_listen() {
    let host = host();
    let service = service(&host);
    let periods: Vec<u64> = service.beats.iter().map(|b| b.every.as_secs()).collect();
    assert_eq!(periods, [2, 30]);
    let beat = |index: usize| (service.beats[index].run)();
    let published = || service.read("reasoning://metrics")["changes_published"].clone();
    // Nobody listens.
    beat(0);
    assert_eq!(published(), 0);
    // A client over MCP.
    let mut changes = host.changes();
    beat(0);
    assert_eq!(changes.try_recv().as_deref(), Ok("reasoning://metrics"));
    drop(changes);
    beat(0);
    assert_eq!(published(), 1);
    // A record.
    manage(
        &service,
        json!({"op": "subscribe", "uri": "reasoning://metrics", "filters": {"step": "tick"}}),
    );
    beat(0);
    beat(1);
    assert_eq!(
        manage(&service, json!({"op": "list"}))["subscriptions"],
        json!([{
            "subscription_id": "sub-1", "uri": "reasoning://metrics", "filters": {"step": "tick"},
            "created_at": 1000, "delivered": 1, "last_delivered_at": 1000, "last_heartbeat_at": 1000,
        }])
    );
}

#[test]
fn what_is_wrong_is_named() {
    let service = service(&host());
    let check = |arguments: Value, expected: &str| {
        let refusal = service
            .ask("manage_subscriptions", arguments)
            .expect_err("it was taken");
        assert_eq!(refusal.to_string(), expected);
    };
    check(
        json!({"op": "subscribe"}),
        "uri: is required by \"subscribe\" and missing",
    );
    check(
        json!({"op": "stats", "uri": "a:b"}),
        "uri: is not taken by \"stats\"",
    );
    check(
        json!({"op": "unsubscribe"}),
        "subscription_id: or uri is required by \"unsubscribe\"",
    );
    check(
        json!({"op": "unsubscribe", "subscription_id": "sub-9"}),
        "subscription_id: there is no subscription \"sub-9\"",
    );
    check(
        json!({"op": "publish", "uri": "a:b", "new_value": "a".repeat(10_000)}),
        "new_value: is longer than 10000 bytes",
    );
    check(
        json!({"op": "subscribe", "uri": "no address"}),
        r#"uri: "no address" does not match "^[A-Za-z][A-Za-z0-9+.-]*:\S+$""#,
    );
    check(
        json!({"op": "nap"}),
        r#"op: "nap" is not accepted: one of ["subscribe","unsubscribe","list","publish","stats"] is"#,
    );
    for _ in 0..1000 {
        manage(&service, json!({"op": "subscribe", "uri": "a:b"}));
    }
    check(
        json!({"op": "subscribe", "uri": "a:b"}),
        "1000 subscriptions are kept: end some first",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A change goes to a subscription if the filter is a subset of its metadata, and to no other.
    #[test]
    fn filters_are_subsets(
        filters in proptest::collection::btree_map("[ab]", "[xy]", 0..3),
        metadata in proptest::collection::btree_map("[ab]", "[xy]", 0..3),
    ) {
        let service = service(&host());
        manage(&service, json!({"op": "subscribe", "uri": "a:b", "filters": filters}));
        let published = manage(&service, json!({"op": "publish", "uri": "a:b", "metadata": metadata}));
        let subset = filters.iter().all(|pair| BTreeMap::iter(&metadata).any(|other| other == pair));
        prop_assert_eq!(published["delivered_to"] == json!(["sub-1"]), subset);
    }
}
