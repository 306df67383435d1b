//! Servers that nobody here wrote, through start, call, crash, restart, scale and stop.

use flotilla_contract::{
    ServerView,
    command::{CallParams, ServerRef, ToolsCall, ToolsList},
    state::{HealthCode, HealthLevel, Status},
    tool::{CallOutcome, Era},
};
use flotilla_tests::{Bed, foreign, id, pid};
use serde_json::{Value, json};

fn node(package: &str) -> String {
    foreign(&format!(
        "node/node_modules/@modelcontextprotocol/{package}/dist/index.js"
    ))
}

pub(crate) async fn call(bed: &Bed, server: &str, tool: &str, arguments: Value) -> Value {
    let params = CallParams {
        server: id(server),
        instance: None,
        tool: tool.into(),
        arguments,
        timeout_ms: None,
        cancel_key: None,
    };
    let record = bed
        .run::<ToolsCall>(params)
        .await
        .expect("the call is taken");
    match record.outcome {
        CallOutcome::Result {
            result,
            is_error: false,
        } => result,
        other => panic!("{server} {tool}: {other:#?}\n{}", bed.engine_log()),
    }
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text: {result}"))
}

pub(crate) fn healthy(view: &ServerView) -> bool {
    view.status == Status::Running && view.health.level == HealthLevel::Healthy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seven_servers_of_both_eras_are_proven_called_broken_and_come_back() {
    let repository = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("git")
        .args(["init", "-q"])
        .current_dir(repository.path())
        .status()
        .unwrap();
    assert!(made.success());
    let folder = repository.path().display().to_string();
    let stdio = |name: &str, command: &str, args: &[&str]| {
        format!("[servers.{name}]\ncommand = {command:?}\nargs = {args:?}\nautostart = false\n")
    };
    let config = [
        stdio("everything", "node", &[&node("server-everything"), "stdio"]),
        stdio("filesystem", "node", &[&node("server-filesystem"), &folder]),
        stdio("memory", "node", &[&node("server-memory")]),
        stdio(
            "sequential-thinking",
            "node",
            &[&node("server-sequential-thinking")],
        ),
        stdio(
            "time",
            &foreign("python/bin/mcp-server-time"),
            &["--local-timezone", "UTC"],
        ),
        stdio(
            "git",
            &foreign("python/bin/mcp-server-git"),
            &["--repository", &folder],
        ),
        stdio("fetch", &foreign("python/bin/mcp-server-fetch"), &[]),
    ];
    let mut bed = Bed::new(&config.concat()).await;
    bed.start(&[]).await;

    let expected = [
        ("everything", 13, Era::Legacy),
        ("filesystem", 14, Era::Legacy),
        ("memory", 9, Era::Legacy),
        ("sequential-thinking", 1, Era::Legacy),
        ("time", 2, Era::Modern),
        ("git", 12, Era::Modern),
        ("fetch", 1, Era::Modern),
    ];
    for (name, tools, era) in expected {
        let view = bed.server(name).await;
        assert!(healthy(&view), "{view:#?}");
        assert_eq!(
            (name, view.tools, view.era),
            (name, Some(tools), Some(era)),
            "{view:#?}"
        );
        let list = bed
            .run::<ToolsList>(ServerRef { server: id(name) })
            .await
            .unwrap();
        assert!(
            list.tools
                .iter()
                .all(|t| t["name"].is_string() && t["inputSchema"].is_object()),
            "{list:#?}"
        );
    }

    assert_eq!(
        text(&call(&bed, "everything", "echo", json!({ "message": "hi" })).await),
        "Echo: hi"
    );
    assert!(
        text(
            &call(
                &bed,
                "time",
                "get_current_time",
                json!({ "timezone": "UTC" })
            )
            .await
        )
        .contains("UTC")
    );
    assert!(
        text(&call(&bed, "git", "git_status", json!({ "repo_path": folder })).await)
            .contains("branch")
    );
    assert!(
        text(
            &call(
                &bed,
                "filesystem",
                "list_directory",
                json!({ "path": folder })
            )
            .await
        )
        .contains(".git")
    );

    // Each is killed from outside, as an out-of-memory killer does, and comes back proven.
    for (name, ..) in expected {
        bed.kill(pid(&bed.server(name).await));
    }
    for (name, tools, _) in expected {
        let view = bed
            .until(name, |v| v.instances[0].restarts == 1 && healthy(v))
            .await;
        assert_eq!(view.tools, Some(tools));
        assert_eq!(
            view.instances[0]
                .last_exit
                .as_ref()
                .and_then(|e| e.signal.as_deref()),
            Some("SIGKILL")
        );
    }
    assert_eq!(
        text(&call(&bed, "everything", "echo", json!({ "message": "again" })).await),
        "Echo: again"
    );

    let before = pid(&bed.server("memory").await);
    bed.restart(&["memory"]).await;
    let after = bed.server("memory").await;
    assert_ne!(pid(&after), before);
    assert_eq!(
        after.instances[0].restarts, 0,
        "a restart that was asked for counts anew"
    );
    bed.scale("memory", 3).await;
    assert_eq!(
        bed.server("memory")
            .await
            .instances
            .iter()
            .filter(|i| i.status == Status::Running)
            .count(),
        3
    );
    bed.scale("memory", 1).await;

    bed.stop(&[]).await;
    assert_eq!(bed.alive(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npx_and_uvx_chains_leave_nothing_behind() {
    // `npx` starts a shell which starts node, `uvx` starts python: the server is a grandchild.
    let config = format!(
        "[servers.npx]\ncommand = \"npx\"\nargs = [\"--no-install\", \"mcp-server-everything\", \"stdio\"]\ncwd = {:?}\n\
         [servers.uvx]\ncommand = {:?}\nargs = [\"--offline\", \"--no-config\", \"--from\", {:?}, \"mcp-server-time\"]\nautostart = false\n",
        foreign("node"),
        foreign("python/bin/uvx"),
        foreign("python"),
    );
    let mut bed = Bed::new(&config).await;
    let view = bed.until("npx", healthy).await;
    assert!(
        bed.alive().len() >= 2,
        "npx keeps a chain alive: {:?}",
        bed.alive()
    );
    // Only the head of the chain dies; what it leaves must not live on beside the replacement.
    bed.kill(pid(&view));
    bed.until("npx", |v| v.instances[0].restarts == 1 && healthy(v))
        .await;
    let first = pid(&view);
    bed.eventually("the old chain is gone", async || {
        bed.alive().iter().all(|p| p.pgrp != first)
    })
    .await;
    bed.stop(&["npx"]).await;
    assert_eq!(bed.alive(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_over_http_is_started_on_its_ports_and_watched_at_a_url() {
    let port = free_ports(100);
    let config = format!(
        "[servers.started]\ncommand = \"node\"\nargs = [{:?}, \"streamableHttp\"]\nport = {port}\nenv = {{ PORT = \"{{port}}\" }}\nreplicas = 2\n\
         [servers.watched]\nurl = \"http://127.0.0.1:{port}/mcp\"\nautostart = false\nhealth = {{ interval = \"300ms\", retry_interval = \"100ms\" }}\n",
        node("server-everything"),
    );
    let mut bed = Bed::new(&config).await;
    let started = bed.until("started", healthy).await;
    assert_eq!(
        started.instances.iter().map(|i| i.port).collect::<Vec<_>>(),
        [Some(port), Some(port + 100)]
    );
    bed.start(&["watched"]).await;
    assert_eq!(bed.server("watched").await.tools, Some(13));
    assert_eq!(
        text(&call(&bed, "watched", "echo", json!({ "message": "over http" })).await),
        "Echo: over http"
    );
    bed.stop(&["started"]).await;
    let view = bed
        .until("watched", |v| v.status == Status::Unhealthy)
        .await;
    assert_eq!(view.health.code, HealthCode::CheckFailed);
    // The server is back, but has forgotten the session: the watcher greets it anew by itself.
    bed.start(&["started"]).await;
    bed.until("watched", healthy).await;
    bed.stop(&[]).await;
    assert_eq!(bed.alive(), []);
}

/// A port that is free, and so is the one `apart` above it.
fn free_ports(apart: u16) -> u16 {
    use std::net::TcpListener;
    for _ in 0..200 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = first.local_addr().expect("its address").port();
        if port < u16::MAX - apart && TcpListener::bind(("127.0.0.1", port + apart)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports {apart} apart");
}
