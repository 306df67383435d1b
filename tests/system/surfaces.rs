//! The command line and the HTTP surface of a running engine.

use flotilla_contract::state::Status;
use flotilla_remote::Boot;
use flotilla_tests::{Bed, fixture, pid};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lives_on_the_command_line() {
    let mut bed = Bed::new("").await;
    let program = flotilla_tests::program("flotilla-fixture")
        .display()
        .to_string();
    assert!(
        bed.cli_says(
            0,
            &[
                "add",
                "echo",
                "--category",
                "text",
                "--",
                &program,
                "--stderr",
                "hello from the server"
            ]
        )
        .contains("echo: added")
    );
    assert_eq!(bed.server("echo").await.status, Status::Stopped);
    let started = bed.cli_says(0, &["start", "echo"]);
    assert!(started.contains("Running, "), "{started}");
    let list = bed.cli_says(0, &["list"]);
    let row = list.lines().find(|l| l.starts_with("echo")).unwrap();
    assert!(
        list.starts_with("Service")
            && row.contains("running")
            && row.contains(&pid(&bed.server("echo").await).to_string()),
        "{list}"
    );
    assert!(
        bed.cli_says(0, &["logs", "echo"])
            .contains("hello from the server")
    );

    // Followed: the crash and the way back appear while they happen.
    let mut follow = bed.cli_follows(&["events", "-f"]);
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    // What was there is printed first: from then on it follows.
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("engine:started"), "{first}");
    let victim = pid(&bed.server("echo").await);
    bed.kill(victim);
    let seen = tokio::task::spawn_blocking(move || {
        let mut wanted = vec!["server:recovered", "server:started", "server:restarting"];
        let mut seen = Vec::new();
        while let Some(next) = wanted.last().copied() {
            let Some(Ok(line)) = lines.next() else { break };
            if line.contains(next) {
                wanted.pop();
            }
            seen.push(line);
        }
        assert_eq!(wanted, Vec::<&str>::new(), "{seen:#?}");
    });
    tokio::time::timeout(flotilla_tests::PATIENCE, seen)
        .await
        .expect("in time")
        .unwrap();
    follow.kill().unwrap();
    follow.wait().unwrap();

    assert!(
        bed.cli_says(0, &["scale", "echo", "2"])
            .contains("2 replicas")
    );
    let status: serde_json::Value =
        serde_json::from_slice(&bed.cli(&["status", "--json"]).stdout).unwrap();
    assert_eq!(
        (
            &status["total_services"],
            &status["running"],
            &status["services"][0]["name"]
        ),
        (&1.into(), &1.into(), &"echo".into())
    );
    let health: serde_json::Value =
        serde_json::from_slice(&bed.cli(&["health", "--json"]).stdout).unwrap();
    assert!(
        health.to_string().contains("Answers as it should")
            || health.to_string().contains("answer as they should"),
        "{health}"
    );
    bed.cli_says(0, &["restart", "--service", "echo"]);
    bed.cli_says(0, &["stop", "echo"]);
    assert_eq!(bed.alive(), []);

    // What does not reach its end says so by its exit code.
    bed.cli_says(0, &["add", "broken", "--", "/no/such/program"]);
    let failed = bed.cli_says(1, &["start", "broken"]);
    assert!(
        failed.contains("no program") || failed.contains("No program"),
        "{failed}"
    );
    assert!(bed.cli_says(1, &["start", "nobody"]).contains("nobody"));
    bed.cli_says(2, &["no-such-verb"]);
    // A problem found is an end not reached, for scripts.
    let doctor = bed.cli_says(1, &["doctor", "--json"]);
    assert!(doctor.contains("/no/such/program"), "{doctor}");
    bed.until("broken", |v| v.status == Status::Failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_panel_is_closed_without_its_token_and_to_strange_hosts() {
    let mut bed = Bed::new(&fixture("s", "", "")).await;
    bed.until("s", |v| v.status == Status::Running).await;
    let boot = Boot::read(&bed.home()).unwrap();
    let host = boot.url.trim_start_matches("http://").to_owned();
    let ask = |path: &str, headers: &str| {
        let mut socket = TcpStream::connect(&host).unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let local = format!("Host: {host}\r\n");
    let bearer = format!("{local}Authorization: Bearer {}\r\n", boot.token);
    assert!(ask("/healthz", &local).starts_with("HTTP/1.1 200"));
    let healthz = ask("/healthz", &local);
    let body: serde_json::Value =
        serde_json::from_str(healthz.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        (&body["ok"], &body["running"]),
        (&true.into(), &1.into()),
        "{body}"
    );
    assert!(
        body["timestamp"].is_u64()
            && body["queue"].is_u64()
            && body["components"]["store"]["ok"] == true,
        "{body}"
    );
    assert!(ask("/api/v1/servers", &local).starts_with("HTTP/1.1 401"));
    assert!(ask("/api/v1/servers", &bearer).starts_with("HTTP/1.1 200"));
    assert!(
        ask("/api/v1/servers", &bearer.replace(&host, "evil.example")).starts_with("HTTP/1.1 403")
    );
    assert!(
        ask(
            "/api/v1/servers",
            &(bearer.clone() + "Origin: http://evil.example\r\n")
        )
        .starts_with("HTTP/1.1 403")
    );
    assert!(!ask("/", &local).contains(&boot.token));
}
