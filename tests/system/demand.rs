//! Servers on demand: asleep while nobody calls, started by a call, and never against an operator's word. And what a stop would hit.

use crate::gateway::Client;
use flotilla_contract::{
    ServerView,
    command::{
        EventQuery, EventsRead, GatewayViewCmd, MetricsQuery, PlanParams, ServerPlan, ServerProbe,
        ToolsList, Verb,
    },
    metric::{Metric, MetricQuery, Sum},
    state::{HealthCode, HealthLevel, Status},
};
use flotilla_tests::{Bed, QUICK, fixture, id, pid, targets};
use serde_json::{Value, json};
use std::sync::Arc;

fn is(status: Status) -> impl Fn(&ServerView) -> bool {
    move |server| server.status == status
}

/// How often it was started, over all engines of the home.
async fn starts(bed: &Bed) -> usize {
    let query = EventQuery {
        server: Some(id("quiet")),
        kinds: vec!["server:started".into()],
        ..EventQuery::default()
    };
    bed.run::<EventsRead>(query)
        .await
        .expect("events")
        .events
        .len()
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_demand_sleeps_until_a_call_and_keeps_its_lists() {
    let more = format!(
        "on_demand = true\nidle_stop = \"1s\"\nrestart = {{ delays = [\"50ms\"] }}\n{QUICK}"
    );
    let mut bed = Bed::new(&fixture("quiet", "", &more)).await;
    // Nobody knows what it offers: it is started once, and sleeps when nobody calls.
    let asleep = bed.until("quiet", is(Status::Sleeping)).await;
    assert_eq!(starts(&bed).await, 1);
    assert_eq!(
        (
            asleep.health.level,
            asleep.health.code,
            asleep.instances[0].pid
        ),
        (HealthLevel::Unknown, HealthCode::Sleeping, None)
    );
    assert!(
        asleep.health.sentence.contains("the next call starts it"),
        "{}",
        asleep.health.sentence
    );

    // Its lists are there; neither they, nor a probe, nor a look at its tools wakes it.
    let client = Client::connect(&bed.gateway(), "atlas").await;
    assert!(client.tools().await.contains(&"quiet__pid".to_owned()));
    bed.run::<ServerProbe>(targets(&["quiet"])).await.unwrap();
    assert!(bed.cli_says(0, &["health", "quiet"]).contains("Sleeping"));
    assert!(bed.cli_says(0, &["list"]).contains("sleeping"));
    let listed = bed
        .run::<ToolsList>(flotilla_contract::command::ServerRef {
            server: id("quiet"),
        })
        .await
        .unwrap();
    assert!(!listed.tools.is_empty());
    let view = bed.run::<GatewayViewCmd>(Default::default()).await.unwrap();
    assert!(view.servers[0].asleep && view.servers[0].withdrawn.is_none());
    assert_eq!(bed.server("quiet").await.status, Status::Sleeping);

    // Many calls at once, one start, one process.
    let client = Arc::new(client);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = Arc::clone(&client);
        calls.spawn(async move { client.call("quiet__pid", json!({})).await });
    }
    let answers = calls.join_all().await;
    let first = text(&answers[0]).to_owned();
    assert!(answers.iter().all(|answer| text(answer) == first));
    assert_eq!(starts(&bed).await, 2);

    // A call under way is never cut off, however long it takes.
    let slow = client.call("quiet__sleep", json!({"ms": 2_500})).await;
    assert!(slow["result"].is_object(), "{slow}");
    bed.until("quiet", is(Status::Sleeping)).await;
    assert_eq!(starts(&bed).await, 2);

    // A crash while awake follows the restart policy.
    text(&client.call("quiet__pid", json!({})).await);
    let awake = bed.until("quiet", is(Status::Running)).await;
    bed.kill(pid(&awake));
    bed.until("quiet", |server| {
        server.instances[0].restarts_total == 1 && server.status == Status::Running
    })
    .await;
    bed.until("quiet", is(Status::Sleeping)).await;

    // Another engine of the same home knows what it offers, and starts nothing.
    let before = starts(&bed).await;
    bed.stop_engine();
    bed.start_engine().await;
    bed.until("quiet", is(Status::Sleeping)).await;
    assert!(bed.server("quiet").await.tools.is_some());
    let client = Client::connect(&bed.gateway(), "atlas").await;
    assert!(client.tools().await.contains(&"quiet__pid".to_owned()));
    assert_eq!(starts(&bed).await, before);
    text(&client.call("quiet__pid", json!({})).await);
    assert_eq!(starts(&bed).await, before + 1);
    bed.until("quiet", is(Status::Sleeping)).await;

    // An operator's stop is no sleep, and no call undoes it; his start waits for no call.
    bed.stop(&["quiet"]).await;
    assert_eq!(bed.server("quiet").await.status, Status::Stopped);
    bed.eventually("its tools are withdrawn", async || {
        client.tools().await.is_empty()
    })
    .await;
    let refused = client.call("quiet__pid", json!({})).await;
    assert!(refused["error"].is_object(), "{refused}");
    assert_eq!(bed.server("quiet").await.status, Status::Stopped);
    bed.start(&["quiet"]).await;
    bed.until("quiet", is(Status::Sleeping)).await;

    // No longer on demand: it runs.
    bed.write_config(&fixture("quiet", "", QUICK));
    bed.until("quiet", is(Status::Running)).await;
    bed.stop_engine();
    assert!(bed.alive().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_while_awake_is_not_woken_by_a_call() {
    let more =
        format!("on_demand = true\nidle_stop = \"1s\"\nrestart = {{ max_restarts = 0 }}\n{QUICK}");
    let mut bed = Bed::new(&fixture("quiet", "", &more)).await;
    bed.until("quiet", is(Status::Sleeping)).await;
    let client = Client::connect(&bed.gateway(), "atlas").await;
    text(&client.call("quiet__pid", json!({})).await);
    // It crashes as called, and its policy allows no restart: failed stays failed, whoever calls.
    client.call("quiet__crash", json!({"code": 3})).await;
    bed.until("quiet", is(Status::Failed)).await;
    bed.eventually("its tools are withdrawn", async || {
        client.tools().await.is_empty()
    })
    .await;
    let refused = client.call("quiet__pid", json!({})).await;
    assert!(refused["error"].is_object(), "{refused}");
    assert_eq!(bed.server("quiet").await.status, Status::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_says_first_whom_it_would_hit_and_calls_are_on_the_charts() {
    let bed = Bed::new(&fixture("quiet", "", QUICK)).await;
    let client = Client::connect(&bed.gateway(), "atlas").await;
    bed.eventually("its tools are listed", async || {
        !client.tools().await.is_empty()
    })
    .await;
    let plan = async |verb, replicas| {
        bed.run::<ServerPlan>(PlanParams {
            verb,
            targets: targets(&["quiet"]),
            replicas,
        })
        .await
        .unwrap()
    };
    let nobody = plan(Verb::Stop, None).await;
    assert_eq!(
        nobody.hits,
        ["No client called through the gateway in the last 10 min"]
    );
    text(&client.call("quiet__pid", json!({})).await);
    let slow = client.call("quiet__sleep", json!({"ms": 3_000}));
    let asked = async {
        bed.eventually("a call is under way", async || {
            plan(Verb::Stop, None).await.in_flight == 1
        })
        .await;
        for (verb, replicas) in [
            (Verb::Stop, None),
            (Verb::Restart, None),
            (Verb::Scale, Some(0)),
            (Verb::Remove, None),
        ] {
            let hit = plan(verb, replicas).await;
            assert_eq!(
                (hit.clients[0].client.as_str(), hit.clients[0].calls),
                ("atlas", 2),
                "{verb:?}"
            );
            assert!(hit.hits[0].contains("atlas"), "{:?}", hit.hits);
            assert_eq!(hit.hits[1], "1 call is under way and may be cut off");
        }
        assert!(plan(Verb::Scale, Some(2)).await.hits.is_empty());
        let said = bed.cli_says(0, &["stop", "quiet", "--dry-run"]);
        assert!(
            said.contains("Stops 1 instance") && said.contains("atlas"),
            "{said}"
        );
        assert_eq!(bed.server("quiet").await.status, Status::Running);
    };
    let (answer, ()) = tokio::join!(slow, asked);
    assert!(answer["result"].is_object(), "{answer}");

    let query = |metric| MetricQuery {
        metrics: vec![metric],
        server: Some(id("quiet")),
        from: None,
        to: None,
        step: None,
        sum: Sum::None,
        spread: false,
    };
    for metric in [
        Metric::CallsPerSecond,
        Metric::CallP95Ms,
        Metric::CallErrorPercent,
    ] {
        bed.eventually("the calls are on the charts", async || {
            let answer = bed.run::<MetricsQuery>(query(metric)).await.unwrap();
            answer
                .series
                .iter()
                .any(|line| line.instance == Some(0) && line.values.iter().any(Option::is_some))
        })
        .await;
    }
    // When nobody calls any more there is no answer time: a gap, not zero.
    bed.eventually("the answer time has a gap", async || {
        let answer = bed
            .run::<MetricsQuery>(query(Metric::CallP95Ms))
            .await
            .unwrap();
        answer.series[0].values.last() == Some(&None)
    })
    .await;
}
