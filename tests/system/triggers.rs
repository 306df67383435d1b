//! What starts workflows without a person: a clock, a crash, a request; and an engine that is killed in between.

use flotilla_contract::{
    command::{WorkflowRuns, WorkflowSchedules, WorkflowStep},
    state::Status,
    workflow::{RunQuery, RunState, RunSummary, StepRef, TriggerOutcome, TriggerView},
};
use flotilla_tests::{Bed, QUICK, fixture, pid};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::{
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

const SECRET: &str = "a secret of the hook, long enough";

fn file(bed: &Bed, name: &str) -> PathBuf {
    bed.home().join("workflows").join(format!("{name}.yaml"))
}

fn define(bed: &Bed, name: &str, on: &str) {
    fs::create_dir_all(bed.home().join("workflows")).expect("a folder");
    let steps = "steps: [{ id: tell, uses: data, with: { value: '${{ trigger }}' } }]";
    fs::write(file(bed, name), format!("name: {name}\n{on}\n{steps}\n")).expect("a definition");
}

async fn runs(bed: &Bed, workflow: &str) -> Vec<RunSummary> {
    let query = RunQuery {
        workflow: Some(workflow.into()),
        limit: Some(1_000),
        before: None,
    };
    bed.run::<WorkflowRuns>(query).await.expect("runs")
}

async fn trigger(bed: &Bed, workflow: &str) -> Option<TriggerView> {
    let views = bed.run::<WorkflowSchedules>(Default::default()).await;
    let mut views = views.expect("triggers").into_iter();
    views.find(|view| view.workflow == workflow)
}

/// What a run's step saw as `trigger`.
async fn cause(bed: &Bed, run: u64) -> Value {
    let params = StepRef {
        run,
        step: "tell".into(),
        item: None,
    };
    let step = bed.run::<WorkflowStep>(params).await;
    step.expect("a step").output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_starts_one_run_for_each_time_over_kill_nine() {
    let mut bed = Bed::new("").await;
    define(
        &bed,
        "tick",
        "on: [{ schedule: { cron: '* * * * * *', timezone: UTC, catch_up: all }, overlap: allow }]",
    );
    bed.eventually("it has run thrice", async || {
        runs(&bed, "tick").await.len() >= 3
    })
    .await;
    for _ in 0..3 {
        bed.kill_engine();
        bed.start_engine().await;
        let before = runs(&bed, "tick").await.len();
        bed.eventually("it goes on", async || {
            runs(&bed, "tick").await.len() > before + 1
        })
        .await;
    }
    let said = bed.cli_says(0, &["workflow", "disable", "tick"]);
    assert!(said.contains("switched off by cli"), "{said}");
    let all = runs(&bed, "tick").await;
    bed.eventually("all have ended", async || {
        runs(&bed, "tick")
            .await
            .iter()
            .all(|run| run.state == RunState::Completed)
    })
    .await;
    let mut times = Vec::new();
    for run in &all {
        assert_eq!(run.by, "schedule schedule");
        let cause = cause(&bed, run.run).await;
        assert_eq!(cause["kind"], "schedule");
        times.push(cause["time_ms"].as_u64().expect("a time"));
    }
    times.sort_unstable();
    let each: Vec<_> = (0..times.len() as u64)
        .map(|n| times[0] + n * 1_000)
        .collect();
    assert_eq!(times, each, "one run for each second, none left out");

    // Off over a restart, and what passes meanwhile is not made up for.
    bed.kill_engine();
    bed.start_engine().await;
    let view = trigger(&bed, "tick").await.expect("the trigger");
    assert!(!view.enabled && view.next.is_empty(), "{view:?}");
    assert_eq!(
        view.last_run.map(|run| run.state),
        Some(RunState::Completed)
    );
    assert_eq!(runs(&bed, "tick").await.len(), all.len());
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    let said = bed.cli_says(0, &["--json", "workflow", "enable", "tick", "schedule"]);
    let view: TriggerView = serde_json::from_str(&said).expect("a trigger");
    assert!(view.enabled && view.next.len() == 3, "{view:?}");
    bed.eventually("it runs again", async || {
        let now = runs(&bed, "tick").await;
        now.len() > all.len() && now.iter().all(|run| run.state.ended())
    })
    .await;
    let resumed = runs(&bed, "tick").await;
    let first = resumed.iter().rev().nth(all.len()).expect("a new one").run;
    let resumed = cause(&bed, first).await["time_ms"]
        .as_u64()
        .expect("a time");
    assert!(
        u128::from(resumed) > since.as_millis(),
        "what passed meanwhile is not made up for"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_starts_what_is_to_be_done_then_and_what_that_does_starts_nothing() {
    let servers = fixture("api-1", "", QUICK) + &fixture("db", "", QUICK);
    let mut bed = Bed::new(&servers).await;
    bed.start(&["api-1", "db"]).await;
    define(
        &bed,
        "crashed",
        "on: [{ event: { kinds: ['server:restarting'], servers: ['api-*'] } }]",
    );
    // What it does is what starts it.
    fs::write(
        file(&bed, "circle"),
        "name: circle\non: [{ event: { kinds: ['server:started'], servers: [db] } }]\nsteps: [{ id: tell, uses: fleet/restart, with: { servers: [db] } }]\n",
    )
    .expect("a definition");
    bed.eventually("both are armed", async || {
        trigger(&bed, "crashed").await.is_some() && trigger(&bed, "circle").await.is_some()
    })
    .await;
    let (api, db) = (
        pid(&bed.server("api-1").await),
        pid(&bed.server("db").await),
    );
    bed.kill(api);
    bed.eventually("the crash started a run", async || {
        runs(&bed, "crashed")
            .await
            .first()
            .is_some_and(|run| run.state.ended())
    })
    .await;
    let run = runs(&bed, "crashed").await.remove(0);
    assert_eq!(run.by, "event server:restarting of api-1");
    let seen = cause(&bed, run.run).await;
    assert_eq!(
        (&seen["server"], &seen["event"]["attempt"]),
        (&json!("api-1"), &json!(1))
    );
    let now = bed.server("db").await;
    assert_eq!(pid(&now), db, "nothing of api-1 starts what is about db");

    bed.restart(&["db"]).await;
    bed.eventually(
        "the restart started a run, which restarted it",
        async || {
            runs(&bed, "circle")
                .await
                .first()
                .is_some_and(|run| run.state.ended())
        },
    )
    .await;
    // Something else later, so that whatever the run caused has been looked at.
    let back = bed
        .until("api-1", |view| {
            view.status == Status::Running && pid(view) != api
        })
        .await;
    bed.kill(pid(&back));
    bed.eventually("the next crash started a run", async || {
        runs(&bed, "crashed").await.len() == 2
    })
    .await;
    assert_eq!(
        runs(&bed, "circle").await.len(),
        1,
        "and no other, though it restarted what starts it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_starts_a_run_for_who_knows_the_secret() {
    let bed = Bed::new("").await;
    define(
        &bed,
        "signed",
        "on: [{ webhook: { secret: '${secret:hook}' }, overlap: allow }]",
    );
    define(
        &bed,
        "borne",
        "vars: { ref: {} }\non: [{ webhook: { secret: '${secret:hook}', auth: bearer, per_minute: 3 }, overlap: allow, if: \"trigger.body.ref != 'no'\", vars: { ref: '${{ trigger.body.ref }}' } }]",
    );
    define(&bed, "broken", "on: [{ schedule: { cron: '* *' } }]");
    bed.eventually("those that can be are armed", async || {
        trigger(&bed, "signed").await.is_some() && trigger(&bed, "borne").await.is_some()
    })
    .await;
    assert!(trigger(&bed, "broken").await.is_none());
    let notices = async || {
        bed.run::<flotilla_contract::command::EngineInfoCmd>(Default::default())
            .await
            .expect("an engine")
            .notices
            .join("\n")
    };
    bed.eventually("the broken one is told", async || {
        notices()
            .await
            .contains("broken cannot run, and nothing starts it")
    })
    .await;
    define(&bed, "broken", "");
    bed.eventually("that is over when it is put right", async || {
        !notices().await.contains("broken cannot run")
    })
    .await;

    let http = reqwest::Client::new();
    let post = |path: &str, body: &str| {
        http.post(format!("{}/hooks/{path}", bed.boot().url))
            .body(body.to_owned())
    };
    let sent = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.json::<Value>().await.expect("JSON"))
    };
    let bearer = |body: &str| post("borne", body).bearer_auth(SECRET);
    // Nobody has the secret yet; people are told, the sender is not.
    let none = sent(bearer("{}")).await;
    assert_eq!(none.0, StatusCode::UNAUTHORIZED);
    assert!(
        notices()
            .await
            .contains("its secret hook is not in the store")
    );
    bed.run::<flotilla_contract::command::SecretsSet>(flotilla_contract::command::SecretSet {
        name: "hook".into(),
        value: SECRET.into(),
    })
    .await
    .expect("a secret");

    // HMAC-SHA256 of the body under the secret, worked out with Python's hmac.
    let (body, signature) = (
        "{\"ref\": \"main\"}",
        "sha256=32ea4ffe88e04c5006b0bd779dd81a9114f9d58749de0d757571aeecc3628231",
    );
    let signed = |signature: &str, id: &str| {
        post("signed", body)
            .header("X-Hub-Signature-256", signature)
            .header("X-GitHub-Delivery", id)
    };
    let (status, answer) = sent(signed(signature, "d1")).await;
    assert_eq!(
        (status, &answer["outcome"]),
        (StatusCode::ACCEPTED, &json!("started")),
        "{answer}"
    );
    let run = answer["run"].as_u64().expect("a run");
    assert_eq!(
        sent(signed(signature, "d1")).await.1,
        answer,
        "the same delivery is one run"
    );
    bed.eventually("it has ended", async || {
        runs(&bed, "signed").await[0].state.ended()
    })
    .await;
    assert_eq!(cause(&bed, run).await["body"], json!({ "ref": "main" }));
    for wrong in [
        signed(&signature.replace("32ea", "32eb"), "d2"),
        post("signed", "{\"ref\": \"other\"}").header("X-Hub-Signature-256", signature),
        post("signed", body).bearer_auth(SECRET),
        post("signed", body).bearer_auth(&bed.boot().token),
        post("nothing", body).header("X-Hub-Signature-256", signature),
    ] {
        assert_eq!(sent(wrong).await, none, "all look the same from outside");
    }
    assert_eq!(runs(&bed, "signed").await.len(), 1);

    let said = async |body: &str| {
        let (status, answer) = sent(bearer(body)).await;
        (
            status.as_u16(),
            answer["outcome"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(said("{\"ref\": \"v1\"}").await, (202, "started".into()));
    assert_eq!(said("{\"ref\": \"no\"}").await, (202, "skipped".into()));
    assert_eq!(said("{\"ref\": 7}").await.0, 422);
    assert_eq!(said("{}").await.0, 422);
    assert_eq!(said("{\"ref\": \"v2\"}").await, (202, "started".into()));
    assert_eq!(said("{\"ref\": \"v3\"}").await, (202, "started".into()));
    assert_eq!(said("{\"ref\": \"v4\"}").await.0, 429);
    let view = trigger(&bed, "borne").await.expect("the trigger");
    assert_eq!(view.last.expect("one").outcome, TriggerOutcome::Dropped);
    assert_eq!(view.what, "POST /hooks/borne");
    bed.cli_says(0, &["workflow", "disable", "borne", "webhook"]);
    assert_eq!(said("{\"ref\": \"v5\"}").await.0, 409);
    assert_eq!(runs(&bed, "borne").await.len(), 3);
    let all = bed.cli_says(0, &["workflow", "schedules"]) + &notices().await + &bed.engine_log();
    assert!(
        all.contains("switched off by cli") && !all.contains(SECRET),
        "{all}"
    );
    let said = bed.cli_says(1, &["workflow", "enable", "borne", "other"]);
    assert!(
        said.contains("failed to find the trigger \"other\" of borne; accepted are webhook"),
        "{said}"
    );
}
