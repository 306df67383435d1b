//! Verbs end in what was observed; stop wins; what cannot be done is refused with its reason.

use flotilla_contract::{
    ErrorCode,
    command::{
        CallParams, CancelParams, EditParams, EnableParams, PlanParams, RemoveParams, ScaleParams,
        ServerEdit, ServerEnable, ServerPlan, ServerRemove, ServerReset, ServerRestart,
        ServerScale, ServerStart, ServerStop, Targets, ToolsCall, ToolsCancel, ToolsHistory, Verb,
    },
    state::{HealthCode, ProcessState, Status},
    tool::CallOutcome,
};
use flotilla_tests::{Bed, QUICK, fixture, id, pid, targets};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_wins_over_a_pending_restart_and_over_a_waiting_start() {
    let crash = fixture(
        "crash",
        "--crash-at-once 1",
        "restart = { delays = [\"30s\"] }\nhealth = { check = \"none\" }",
    );
    let waits = fixture("waits", "", "depends_on = [\"never\"]\nautostart = false");
    let never = fixture("never", "", "autostart = false");
    let mut bed = Bed::new(&(crash + &waits + &never)).await;
    let view = bed.until("crash", |v| v.status == Status::Restarting).await;
    let due = view.instances[0]
        .process
        .next_try
        .expect("the time of the next try");
    assert!(due > view.instances[0].process.since + 25_000, "{view:#?}");
    // A start that waits is superseded by the stop, and says so.
    let client = bed.client();
    let start = tokio::spawn(async move { client.run::<ServerStart>(targets(&["waits"])).await });
    bed.until("waits", |v| {
        v.instances[0].process.state == ProcessState::Starting
    })
    .await;
    assert_eq!(
        bed.server("waits").await.health.code,
        HealthCode::WaitsForDependency
    );
    assert_eq!(
        bed.server("waits").await.health.sentence,
        "Waits for never, which is stopped; start never first"
    );
    bed.stop(&["crash", "waits"]).await;
    for name in ["crash", "waits"] {
        let view = bed.server(name).await;
        assert_eq!(
            (view.status, view.instances[0].process.next_try, view.wanted),
            (Status::Stopped, None, false),
            "{view:#?}"
        );
    }
    let outcome = start.await.unwrap().unwrap().outcomes.remove(0);
    assert!(!outcome.ok, "{outcome:#?}");
    assert_eq!(bed.alive(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_starts_are_one_start_and_commands_answer_with_the_end() {
    let mut bed = Bed::new(&fixture(
        "one",
        "--slow-start 500ms",
        &format!("autostart = false\n{QUICK}"),
    ))
    .await;
    let starts: Vec<_> = (0..5)
        .map(|_| {
            let client = bed.client();
            tokio::spawn(async move {
                client
                    .run::<ServerStart>(targets(&["one"]))
                    .await
                    .unwrap()
                    .outcomes
                    .remove(0)
            })
        })
        .collect();
    for start in starts {
        let outcome = start.await.unwrap();
        assert!(
            outcome.ok
                && outcome.status == Status::Running
                && outcome.sentence.starts_with("Running, "),
            "{outcome:#?}"
        );
    }
    assert_eq!(bed.alive().len(), 1);
    assert_eq!(
        bed.log("one")
            .await
            .iter()
            .filter(|l| l.contains("exited"))
            .count(),
        0
    );
    let first = pid(&bed.server("one").await);
    bed.restart(&["one"]).await;
    assert_ne!(pid(&bed.server("one").await), first);
    // Scale up, restart one replica, scale to nothing, start again as declared.
    bed.scale("one", 3).await;
    let before: Vec<_> = bed
        .server("one")
        .await
        .instances
        .iter()
        .map(|i| i.pid)
        .collect();
    let only = Targets {
        servers: vec![id("one")],
        instance: Some(2),
        ..Targets::default()
    };
    assert!(bed.run::<ServerRestart>(only).await.unwrap().outcomes[0].ok);
    let after: Vec<_> = bed
        .server("one")
        .await
        .instances
        .iter()
        .map(|i| i.pid)
        .collect();
    assert!(
        before[0] == after[0] && before[1] != after[1] && before[2] == after[2],
        "{before:?} {after:?}"
    );
    bed.scale("one", 0).await;
    assert_eq!(bed.alive(), []);
    assert_eq!(
        bed.server("one").await.health.sentence,
        "Scaled to 0 replicas"
    );
    bed.start(&["one"]).await;
    assert_eq!(bed.alive().len(), 1);
    bed.until("one", |v| v.status == Status::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_ends_where_a_scaling_down_begins() {
    let mut bed = Bed::new(&fixture(
        "roll",
        "--slow-start 1s",
        &format!("replicas = 3\n{QUICK}"),
    ))
    .await;
    let first = pid(&bed.until("roll", |v| v.status == Status::Running).await);
    let client = bed.client();
    let rolling = tokio::spawn(async move {
        client
            .run::<ServerRestart>(targets(&["roll"]))
            .await
            .unwrap()
            .outcomes
            .remove(0)
    });
    // The first is new and not proven yet: the second waits for it.
    bed.until("roll", |v| {
        v.instances[0].pid.is_some_and(|new| new != first)
    })
    .await;
    bed.scale("roll", 1).await;
    let outcome = rolling.await.unwrap();
    assert_eq!(
        outcome.error.as_ref().map(|e| e.code),
        Some(ErrorCode::Superseded),
        "{outcome:#?}"
    );
    bed.until("roll", |v| v.instances.len() == 1).await;
    assert_eq!(bed.alive().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_refused_with_its_reason_and_changes_nothing() {
    let config = "[servers.elsewhere]\nurl = \"http://127.0.0.1:9/mcp\"\nautostart = false\n\
         [servers.old]\nurl = \"http://127.0.0.1:9/sse\"\ntransport = \"sse\"\n"
        .to_owned()
        + &fixture("off", "", "disabled = \"not now\"")
        + &fixture("on", "", "");
    let mut bed = Bed::new(&config).await;
    bed.until("on", |v| v.status == Status::Running).await;
    let refused = |outcome: &flotilla_contract::command::Outcome| {
        outcome.error.as_ref().map(|e| (e.code, e.message.clone()))
    };
    let restart = bed
        .run::<ServerRestart>(targets(&["elsewhere"]))
        .await
        .unwrap();
    let (code, message) = refused(&restart.outcomes[0]).unwrap();
    assert_eq!(code, ErrorCode::Unsupported);
    assert!(message.contains("not started by this engine"), "{message}");
    let scale = bed
        .run::<ServerScale>(ScaleParams {
            server: id("elsewhere"),
            replicas: 2,
        })
        .await
        .unwrap_err();
    assert_eq!(scale.code, ErrorCode::Unsupported);
    let start = bed
        .run::<ServerStart>(targets(&["off", "old", "on"]))
        .await
        .unwrap()
        .outcomes;
    assert_eq!(
        start
            .iter()
            .map(|o| refused(o).map(|r| r.0))
            .collect::<Vec<_>>(),
        [Some(ErrorCode::Disabled), Some(ErrorCode::Disabled), None]
    );
    assert_eq!(bed.server("old").await.status, Status::Disabled);
    assert!(
        bed.server("old").await.health.sentence.contains("SSE"),
        "{}",
        bed.server("old").await.health.sentence
    );
    let enable = bed
        .run::<ServerEnable>(EnableParams {
            server: id("old"),
            enabled: true,
            reason: None,
        })
        .await
        .unwrap_err();
    assert_eq!(enable.code, ErrorCode::Unsupported);
    assert!(enable.message.contains("SSE"), "{enable}");
    // The same wish as an edit; what else it asks for is not done by halves.
    let edit = async |set: serde_json::Value| {
        let params = json!({ "server": "old", "set": set });
        let params: EditParams = serde_json::from_value(params).unwrap();
        bed.run::<ServerEdit>(params).await
    };
    let before = bed.config();
    for enabled in [
        json!({ "disabled": false }),
        json!({ "disabled": null, "category": "web" }),
    ] {
        let refused = edit(enabled).await.expect_err("it stays disabled");
        assert_eq!(refused.code, ErrorCode::Unsupported, "{refused}");
        assert!(refused.message.contains("SSE"), "{refused}");
    }
    assert_eq!(bed.config(), before);
    edit(json!({ "category": "web" })).await.unwrap();
    edit(json!({ "disabled": "not needed any more" }))
        .await
        .unwrap();
    assert_eq!(
        bed.server("old").await.health.sentence,
        "Disabled: not needed any more"
    );
    // What it is told to do instead.
    edit(json!({ "transport": null, "url": "http://127.0.0.1:9/mcp", "disabled": null, "autostart": false }))
        .await
        .unwrap();
    assert_eq!(bed.server("old").await.status, Status::Stopped);
    let unknown = bed
        .run::<ServerStop>(targets(&["on", "nobody"]))
        .await
        .unwrap_err();
    assert_eq!(
        (unknown.code, bed.server("on").await.status),
        (ErrorCode::NotFound, Status::Running),
        "nothing is done by halves"
    );
    let too_many = bed
        .run::<ServerScale>(ScaleParams {
            server: id("on"),
            replicas: 65,
        })
        .await
        .unwrap_err();
    assert!(too_many.message.contains("0 to 64"), "{}", too_many.message);
    let call = bed
        .client()
        .call("server.start", json!({ "servres": [] }))
        .await
        .unwrap_err();
    assert!(call.to_string().contains("servres"), "{call}");
    // A list that happens to be empty, or nothing at all, does not mean everybody.
    for nothing in [json!({ "servers": [] }), json!([]), json!(null), json!({})] {
        let refused = bed.client().call("server.stop", nothing).await.unwrap_err();
        assert!(
            matches!(&refused, flotilla_remote::Error::Command(e) if e.code == ErrorCode::BadRequest),
            "{refused}"
        );
    }
    assert_eq!(bed.server("on").await.status, Status::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_would_happen_and_does_nothing() {
    let config = fixture("db", "", "replicas = 2")
        + &fixture(
            "web",
            "",
            "depends_on = [{ server = \"db\", condition = \"healthy\" }]",
        );
    let mut bed = Bed::new(&config).await;
    bed.until("web", |v| v.status == Status::Running).await;
    let plan = async |verb, name: &str, replicas| {
        bed.run::<ServerPlan>(PlanParams {
            verb,
            targets: targets(&[name]),
            replicas,
        })
        .await
        .unwrap()
    };
    let stop = plan(Verb::Stop, "db", None).await;
    assert_eq!(
        (stop.stops, stop.dependents.clone(), stop.destructive),
        (2, vec![id("web")], true)
    );
    assert_eq!(stop.sentence, "Stops 2 instances of db; web depends on it");
    assert_eq!(
        plan(Verb::Restart, "db", None).await.sentence,
        "Restarts 2 instances of db, one at a time"
    );
    assert_eq!(
        plan(Verb::Scale, "db", Some(5)).await.sentence,
        "Starts 3 instances of db"
    );
    assert_eq!(
        plan(Verb::Start, "db", None).await.sentence,
        "Nothing to start of db: it runs already"
    );
    // What others need cannot be taken out: the plan knows, and the command does not stop it first.
    let remove = plan(Verb::Remove, "db", None).await;
    assert_eq!((remove.stops, remove.refusals.len()), (0, 1), "{remove:#?}");
    assert!(
        remove.sentence.contains("web depends on it"),
        "{}",
        remove.sentence
    );
    let pids = || {
        let mut pids: Vec<u32> = bed.alive().iter().map(|p| p.pid).collect();
        pids.sort_unstable();
        pids
    };
    let before = pids();
    let refused = bed
        .run::<ServerRemove>(RemoveParams {
            server: id("db"),
            reason: None,
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unsupported, "{refused}");
    assert_eq!((before.len(), before), (3, pids()));
    let both = PlanParams {
        verb: Verb::Remove,
        targets: targets(&["web", "db"]),
        replicas: None,
    };
    let both = bed.run::<ServerPlan>(both).await.unwrap();
    assert_eq!((both.stops, both.refusals.len()), (3, 0), "{both:#?}");
    // Stopping everything goes from the dependents to what they depend on.
    bed.stop(&[]).await;
    assert_eq!(bed.alive(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_are_shown_kept_and_taken_back() {
    let mut bed = Bed::new(&fixture("s", "", "")).await;
    bed.until("s", |v| v.status == Status::Running).await;
    bed.scale("s", 2).await;
    let wish = bed
        .server("s")
        .await
        .r#override
        .expect("scaling is an override");
    assert_eq!(
        (wish.replicas, wish.running, wish.by.as_str()),
        (Some(2), None, "test")
    );
    bed.stop(&["s"]).await;
    // It stays stopped, with its two replicas, over a restart of the engine.
    bed.stop_engine();
    bed.start_engine().await;
    let view = bed.server("s").await;
    assert_eq!(
        (view.status, view.wanted, bed.alive().len()),
        (Status::Stopped, false, 0),
        "{view:#?}"
    );
    bed.start(&["s"]).await;
    assert_eq!(bed.alive().len(), 2);
    // Edited while no engine ran, the file is the newer word.
    bed.scale("s", 3).await;
    bed.stop_engine();
    bed.write_config(&fixture("s", "", "replicas = 2"));
    bed.start_engine().await;
    let view = bed.server("s").await;
    assert_eq!((view.r#override, view.wanted_replicas), (None, 2));
    bed.scale("s", 3).await;
    bed.run::<ServerReset>(targets(&["s"])).await.unwrap();
    let view = bed.until("s", |v| v.instances.len() == 2).await;
    assert_eq!(view.r#override, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_can_be_cancelled_and_is_remembered() {
    let mut bed = Bed::new(&fixture("tools", "", "")).await;
    bed.until("tools", |v| v.status == Status::Running).await;
    let params = |tool: &str, arguments, key: Option<&str>| CallParams {
        server: id("tools"),
        instance: None,
        tool: tool.into(),
        arguments,
        timeout_ms: Some(60_000),
        cancel_key: key.map(str::to_owned),
    };
    let client = bed.client();
    let slow = params("sleep", json!({ "ms": 60_000 }), Some("k"));
    let slow = tokio::spawn(async move { client.run::<ToolsCall>(slow).await.unwrap() });
    bed.eventually("the call can be cancelled", async || {
        bed.run::<ToolsCancel>(CancelParams {
            cancel_key: "k".into(),
        })
        .await
        .is_ok()
    })
    .await;
    assert_eq!(slow.await.unwrap().outcome, CallOutcome::Cancelled);
    let added = bed
        .run::<ToolsCall>(params("add", json!({ "a": 2, "b": 3 }), None))
        .await
        .unwrap();
    assert!(
        matches!(&added.outcome, CallOutcome::Result { result, is_error: false } if result.to_string().contains('5')),
        "{added:#?}"
    );
    let unknown = bed
        .run::<ToolsCall>(params("no-such-tool", json!({}), None))
        .await
        .unwrap();
    assert!(
        !matches!(
            unknown.outcome,
            CallOutcome::Result {
                is_error: false,
                ..
            }
        ),
        "the server's own words: {unknown:#?}"
    );
    let history = bed.run::<ToolsHistory>(Default::default()).await.unwrap();
    assert_eq!(
        history.iter().map(|r| r.tool.as_str()).collect::<Vec<_>>(),
        ["no-such-tool", "add", "sleep"]
    );
}
