//! Servers that crash, hang, flood, lie and hide: each costs only itself, and the panel says what is the matter.

use flotilla_contract::{
    EventKind,
    command::{CallParams, EventQuery, EventsRead, ServerRef, ToolsAccept, ToolsCall},
    state::{HealthCode, HealthLevel, NextAction, ProcessState, Status},
    tool::{CallOutcome, Era},
};
use flotilla_tests::{Bed, QUICK, fixture, free_ports, id, pid};
use serde_json::json;
use std::{
    process::Command,
    time::{Duration, Instant},
};

const FAST_RESTART: &str = "restart = { delays = [\"50ms\"] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_at_once_fails_at_its_limit_and_says_why() {
    let limited = fixture("limited", "--crash-at-once 3", FAST_RESTART);
    let none = fixture(
        "none",
        "--crash-at-once 3",
        "restart = { max_restarts = 0, delays = [\"50ms\"] }",
    );
    let finished = fixture("finished", "--exit-after 200ms", FAST_RESTART);
    let missing = "[servers.missing]\ncommand = \"/no/such/program\"\n";
    let mut bed = Bed::new(&(limited + &none + &finished + missing)).await;
    let view = bed.until("limited", |v| v.status == Status::Failed).await;
    let instance = &view.instances[0];
    assert_eq!(
        (instance.restarts, view.health.code, view.health.action),
        (3, HealthCode::Failed, NextAction::Restart)
    );
    assert!(
        view.health.sentence.contains("code 3")
            && view
                .health
                .sentence
                .contains("gave up after 3 automatic restarts"),
        "{}",
        view.health.sentence
    );
    let exit = instance.last_exit.as_ref().unwrap();
    assert_eq!(
        (exit.code, exit.last_lines.last().map(String::as_str)),
        (Some(3), Some("crashing at once with code 3"))
    );
    // Its log ends with what its end means, not with how it came.
    let log = bed.log("limited").await;
    assert!(
        log.last().is_some_and(|line| line.starts_with("failed: ")),
        "{log:#?}"
    );
    assert_eq!(
        bed.until("none", |v| v.status == Status::Failed)
            .await
            .instances[0]
            .restarts,
        0
    );
    let view = bed
        .until("finished", |v| {
            v.status == Status::Stopped && v.instances[0].last_exit.is_some()
        })
        .await;
    assert_eq!(view.health.code, HealthCode::Finished);
    let view = bed.until("missing", |v| v.status == Status::Failed).await;
    assert_eq!(
        (view.health.code, view.health.action),
        (HealthCode::CannotStart, NextAction::EditConfig)
    );
    // A person may try again; the count starts anew and the answer tells the end.
    let outcomes = bed
        .run::<flotilla_contract::command::ServerRestart>(flotilla_tests::targets(&["limited"]))
        .await
        .unwrap()
        .outcomes;
    assert!(
        !outcomes[0].ok && outcomes[0].status == Status::Failed,
        "{outcomes:#?}"
    );
    assert_eq!(bed.server("limited").await.instances[0].restarts_total, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_unhealthy_not_green_and_delays_nobody() {
    let hang = fixture(
        "hang",
        "--hang",
        "health = { interval = \"300ms\", retry_interval = \"100ms\", timeout = \"500ms\", start_timeout = \"1s\" }",
    );
    let slow = fixture("slow", "--slow-start 1s", QUICK);
    let good = fixture("good", "", QUICK);
    let mut bed = Bed::new(&(hang + &slow + &good)).await;
    bed.until("good", |v| v.health.level == HealthLevel::Healthy)
        .await;
    let view = bed.server("hang").await;
    assert_ne!(view.health.level, HealthLevel::Healthy);
    assert_eq!(
        bed.until("hang", |v| v.status == Status::Unhealthy)
            .await
            .health
            .code,
        HealthCode::StartTimeout
    );
    bed.until("slow", |v| {
        v.status == Status::Starting || v.status == Status::Running
    })
    .await;
    bed.until("slow", |v| v.health.level == HealthLevel::Healthy)
        .await;
    // A call to the silent one ends at its own time limit.
    let params = CallParams {
        server: id("hang"),
        instance: None,
        tool: "echo".into(),
        arguments: json!({}),
        timeout_ms: Some(300),
        cancel_key: None,
    };
    let record = bed.run::<ToolsCall>(params).await.unwrap();
    assert!(
        matches!(record.outcome, CallOutcome::Failed { .. }),
        "{record:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_goes_unhealthy_by_threshold_heals_by_threshold_and_is_restarted_if_asked() {
    let check = "health = { check = { exec = [\"test\", \"-e\", \"FLAG\"] }, interval = \"200ms\", retry_interval = \"100ms\", timeout = \"2s\" }";
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    std::fs::write(&flag, "").unwrap();
    let check = check.replace("FLAG", &flag.display().to_string());
    let watched = fixture("watched", "", &check);
    let restarted = fixture(
        "restarted",
        "",
        &format!("{check}\nrestart = {{ on_unhealthy = true, delays = [\"50ms\"] }}"),
    );
    let mut bed = Bed::new(&(watched + &restarted)).await;
    bed.until("watched", |v| v.health.level == HealthLevel::Healthy)
        .await;
    let first = pid(&bed
        .until("restarted", |v| v.health.level == HealthLevel::Healthy)
        .await);
    std::fs::remove_file(&flag).unwrap();
    bed.until("watched", |v| {
        v.health.code == HealthCode::CheckFailing && v.status == Status::Degraded
    })
    .await;
    let view = bed
        .until("watched", |v| v.status == Status::Unhealthy)
        .await;
    assert_eq!(
        view.instances[0].process.state,
        ProcessState::Running,
        "unhealthy is not stopped"
    );
    bed.until("restarted", |v| {
        v.instances[0].pid.is_some_and(|p| p != first) || v.instances[0].restarts > 0
    })
    .await;
    std::fs::write(&flag, "").unwrap();
    bed.until("watched", |v| v.health.level == HealthLevel::Healthy)
        .await;
}

/// Sends a signal by name, from outside.
fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.expect("run kill").success());
}

/// What became of a server's health, each turn with its code, and each time that it was found unhealthy, with the reason.
async fn turns(bed: &Bed, name: &str) -> (Vec<HealthCode>, Vec<String>) {
    let query = EventQuery {
        server: Some(id(name)),
        limit: Some(1_000),
        ..EventQuery::default()
    };
    let page = bed.run::<EventsRead>(query).await.expect("its events");
    let (mut codes, mut reasons) = (Vec::new(), Vec::new());
    for event in page.events.into_iter().rev() {
        match event.what {
            EventKind::Health { health } => codes.push(health.code),
            EventKind::Unhealthy { error } => reasons.push(error),
            _ => {}
        }
    }
    (codes, reasons)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_server_that_stops_answering_is_found_out_with_reason_and_cure() {
    use HealthCode::{CheckFailed, CheckFailing, Proven, Recovering};
    let check = "autostart = false\n[servers.NAME.health]\ninterval = \"200ms\"\nretry_interval = \"100ms\"\ntimeout = \"1s\"\n";
    let port = free_ports(100);
    let server = |name: &str, flags: &str, more: &str| {
        fixture(
            name,
            flags,
            &(more.to_owned() + &check.replace("NAME", name)),
        )
    };
    let web = format!("port = {port}\n");
    let dir = tempfile::tempdir().unwrap();
    let sick = dir.path().join("sick");
    let while_sick = format!("--unhealthy-while {}", sick.display());
    let config = [
        server("mute", "--hang-after-calls 1", ""),
        server(
            "revived",
            "--hang-after-calls 1",
            "restart = { on_unhealthy = true, delays = [\"50ms\"] }\n",
        ),
        server("refuses", &while_sick, ""),
        server("web", &format!("--http {{port}} {while_sick}"), &web)
            + "check = { http = \"/health\" }\n",
        server("paused", "", ""),
    ];
    let mut bed = Bed::new(&config.concat()).await;
    // A start is over when the server is proven.
    bed.start(&[]).await;
    let paused = pid(&bed.server("paused").await);
    let revived = pid(&bed.server("revived").await);
    signal(paused, "STOP");
    std::fs::write(&sick, "").unwrap();
    for name in ["mute", "revived"] {
        let params = CallParams {
            server: id(name),
            instance: None,
            tool: "echo".into(),
            arguments: json!({ "text": "the last word" }),
            timeout_ms: None,
            cancel_key: None,
        };
        let record = bed.run::<ToolsCall>(params).await.unwrap();
        assert!(
            matches!(record.outcome, CallOutcome::Result { .. }),
            "{record:#?}"
        );
    }

    let silent = "no answer within 1.0 s";
    for (name, reason) in [
        ("mute", silent),
        ("paused", silent),
        (
            "refuses",
            "the server answered with error -32603: unhealthy, as asked",
        ),
        (
            "web",
            &format!("GET http://127.0.0.1:{port}/health gave 500"),
        ),
    ] {
        let view = bed.until(name, |v| v.status == Status::Unhealthy).await;
        assert_eq!(
            (view.health.code, view.health.action),
            (CheckFailed, NextAction::Restart),
            "{view:#?}"
        );
        assert!(view.health.sentence.ends_with(reason), "{view:#?}");
        assert_eq!(
            (
                view.instances[0].process.state,
                view.instances[0].restarts_total
            ),
            (ProcessState::Running, 0),
            "unhealthy is not stopped"
        );
        let (codes, reasons) = turns(&bed, name).await;
        assert!(
            codes.ends_with(&[Proven, CheckFailing, CheckFailed]),
            "{name}: {codes:?}"
        );
        assert_eq!(reasons, [format!("3 checks in a row failed: {reason}")]);
    }

    // What asked to be restarted then was, once, and with the reason.
    let view = bed
        .until("revived", |v| {
            v.instances[0].restarts_total == 1 && v.health.level == HealthLevel::Healthy
        })
        .await;
    assert_ne!(pid(&view), revived);
    let exit = view.instances[0].last_exit.as_ref().unwrap();
    assert!(
        exit.reason
            .contains(&format!("3 checks in a row failed: {silent}")),
        "{exit:#?}"
    );

    // What goes on by itself is believed after two good answers; what does not is cured by what was proposed.
    signal(paused, "CONT");
    let view = bed
        .until("paused", |v| v.health.level == HealthLevel::Healthy)
        .await;
    assert_eq!((pid(&view), view.instances[0].restarts_total), (paused, 0));
    let (codes, _) = turns(&bed, "paused").await;
    assert!(
        codes.ends_with(&[CheckFailed, Recovering, Proven]),
        "{codes:?}"
    );
    std::fs::remove_file(&sick).unwrap();
    bed.restart(&["mute", "refuses", "web"]).await;
    let view = bed.server("mute").await;
    assert_eq!(view.health.code, Proven, "{view:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_what_ignores_it_and_what_hides_from_it() {
    let short = "stop_timeout = \"1500ms\"";
    let config = fixture("stubborn", "--ignore-sigterm --ignore-eof", short)
        + &fixture(
            "family",
            "--children 3 --escape --ignore-sigterm --ignore-eof",
            short,
        )
        + &fixture("polite", "", "");
    let mut bed = Bed::new(&config).await;
    for name in ["stubborn", "family", "polite"] {
        bed.until(name, |v| v.status == Status::Running).await;
    }
    assert_eq!(bed.alive().len(), 6);
    let begun = Instant::now();
    bed.stop(&["polite"]).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "closing its input was enough"
    );
    bed.stop(&["stubborn", "family"]).await;
    assert_eq!(bed.alive(), []);
    let exit = bed.server("stubborn").await.instances[0]
        .last_exit
        .clone()
        .unwrap();
    assert_eq!(exit.signal.as_deref(), Some("SIGKILL"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_garbage_and_endless_lines_are_shown_bounded() {
    let config = fixture("flood", "--flood max", QUICK)
        + &fixture("garbage", "--garbage", QUICK)
        + &fixture("long", "--long-line 5000000", QUICK);
    let mut bed = Bed::new(&config).await;
    for name in ["flood", "garbage", "long"] {
        bed.until(name, |v| v.health.level == HealthLevel::Healthy)
            .await;
    }
    assert!(bed.log("flood").await.len() <= 1_000);
    assert!(
        bed.log("garbage")
            .await
            .iter()
            .any(|l| l == "fixture: starting up, this line is no JSON")
    );
    let longest = bed
        .log("long")
        .await
        .into_iter()
        .map(|l| l.len())
        .max()
        .unwrap();
    assert_eq!(longest, 16 << 10);
    assert_eq!(
        bed.log("garbage")
            .await
            .iter()
            .filter(|l| l.len() > 16 << 10)
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_servers_that_dislike_the_first_question_are_spoken_to_in_the_old_way() {
    let config = fixture("dies", "--die-on-discover", FAST_RESTART)
        + &fixture("silent", "--silent-on-discover", "")
        + &fixture("modern", "--modern", "");
    let mut bed = Bed::new(&config).await;
    for (name, era) in [
        ("dies", Era::Legacy),
        ("silent", Era::Legacy),
        ("modern", Era::Modern),
    ] {
        let view = bed
            .until(name, |v| v.health.level == HealthLevel::Healthy)
            .await;
        assert_eq!(
            (view.era, view.instances[0].restarts_total),
            (Some(era), 0),
            "{view:#?}"
        );
    }
    // The era is remembered: the next start asks no question that kills.
    let before = bed
        .log("dies")
        .await
        .iter()
        .filter(|l| l.contains("started again"))
        .count();
    bed.restart(&["dies"]).await;
    assert_eq!(
        (
            before,
            bed.log("dies")
                .await
                .iter()
                .filter(|l| l.contains("started again"))
                .count()
        ),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn green_means_the_tools_it_is_meant_to_have() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let config = fixture(
        "none",
        "--no-tools",
        "health = { start_timeout = \"100ms\", retry_interval = \"100ms\" }",
    ) + &fixture(
        "loses",
        &format!("--tools 3 --lose-tools-after-start {}", file("a")),
        FAST_RESTART,
    ) + &fixture(
        "changes",
        &format!("--change-schema-after {}", file("b")),
        FAST_RESTART,
    );
    let mut bed = Bed::new(&config).await;
    let view = bed.until("none", |v| v.status == Status::Unhealthy).await;
    assert_eq!(
        view.health.code,
        HealthCode::NoTools,
        "connected with 0 tools is not green"
    );
    for (name, code) in [
        ("loses", HealthCode::ToolsLost),
        ("changes", HealthCode::SchemaChanged),
    ] {
        let view = bed
            .until(name, |v| v.health.level == HealthLevel::Healthy)
            .await;
        bed.kill(pid(&view));
        let view = bed.until(name, |v| v.status == Status::Degraded).await;
        assert_eq!(
            (view.health.code, view.health.action, view.findings.len()),
            (code, NextAction::ReviewTools, 1),
            "{view:#?}"
        );
        bed.run::<ToolsAccept>(ServerRef { server: id(name) })
            .await
            .unwrap();
        bed.until(name, |v| {
            v.health.level == HealthLevel::Healthy && v.findings.is_empty()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ceilings_restart_with_the_reason() {
    let config = "[sampling]\ninterval = \"200ms\"\n".to_owned()
        + &fixture(
            "leaks",
            "--leak 60000000",
            &format!("{FAST_RESTART}\nlimits = {{ rss = \"48MiB\" }}"),
        )
        + &fixture(
            "forks",
            "--children 4",
            "restart = { max_restarts = 0 }\nlimits = { children = 2 }",
        );
    let mut bed = Bed::new(&config).await;
    let view = bed
        .until("leaks", |v| v.instances[0].restarts_total > 0)
        .await;
    let exit = view.instances[0].last_exit.as_ref().unwrap();
    assert!(exit.peak_rss_bytes.unwrap() > 48 << 20, "{exit:#?}");
    assert!(
        bed.log("leaks")
            .await
            .iter()
            .any(|l| l.contains("memory ceiling") && l.contains("of 48.0 MiB allowed")),
        "{:#?}",
        bed.log("leaks").await
    );
    let view = bed.until("forks", |v| v.status == Status::Failed).await;
    assert!(
        view.health
            .sentence
            .contains("of 2 child processes allowed"),
        "{}",
        view.health.sentence
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_proves_that_a_tool_works_and_says_when_it_does_not() {
    let config = |tool: &str, answer: &str| {
        let health = format!(
            "health = {{ interval = \"300ms\", retry_interval = \"100ms\", canary = {{ tool = {tool:?}, arguments = {{ a = 2, b = 3 }}, answer = {answer:?} }} }}"
        );
        fixture("adder", "", &health)
    };
    let mut bed = Bed::new(&config("add", "5")).await;
    let view = bed
        .until("adder", |v| v.health.level == HealthLevel::Healthy)
        .await;
    assert!(
        view.health.sentence.contains("the canary add answers"),
        "{}",
        view.health.sentence
    );
    let pid_before = pid(&view);
    for (tool, answer, says) in [
        ("add", "6", "the canary add answered \"5"),
        ("nothing", "5", "the canary nothing failed"),
    ] {
        bed.write_config(&config(tool, answer));
        let view = bed
            .until("adder", |v| {
                v.health.level == HealthLevel::Unhealthy && v.health.sentence.contains(says)
            })
            .await;
        assert_eq!(view.health.code, HealthCode::CheckFailed);
        assert_eq!(pid(&view), pid_before, "it is not restarted for it");
    }
    bed.write_config(&config("add", "5"));
    bed.until("adder", |v| v.health.level == HealthLevel::Healthy)
        .await;
}
