use super::*;
use serde_json::{Value, json};

const PLAIN: Out = Out {
    json: false,
    colours: false,
};

fn fleet() -> FleetSnapshot {
    serde_json::from_str(include_str!("../../tests/fixtures/fleet.json")).expect("a fleet")
}

fn read<T: for<'de> serde::Deserialize<'de>>(value: Value) -> T {
    serde_json::from_value(value).expect("the shape of the contract")
}

#[track_caller]
fn check(text: &str, want: &str) {
    assert_eq!(format!("\n{text}"), want, "\n{text}");
}

#[test]
fn list_has_one_line_per_server() {
    check(
        &list(&fleet(), PLAIN),
        "
Service  Port  Status    Tools   PID  Health
fetch       -  running       1  4711  Answers with 1 tool
vectors  8102  failed        -     -  Exited with code 1 three times
notes       -  disabled      -     -  Disabled: not needed now
",
    );
    let none = FleetSnapshot {
        servers: vec![],
        ..fleet()
    };
    assert!(list(&none, PLAIN).starts_with("No server is declared."));
}

#[test]
fn status_has_one_line_per_instance() {
    let fleet = fleet();
    let servers: Vec<_> = fleet.servers.iter().collect();
    check(
        &status_report(&fleet, &servers, PLAIN),
        "
3 servers declared, 1 running, 1 healthy, 0 unhealthy, 1 failed; 1 of 3 instances run
Note: port 3000 is taken; port 40123 is used and kept from now on

Instance   Port  Status      Tools   PID      Uptime  Restarts    CPU  Memory  Health
fetch#1       -  running         1  4711  1 min 39 s         2  1.2 %  70 MiB  Answers with 1 tool
vectors#1  8102  failed          -     -           -         3      -       -  Exited with code 1 three times
vectors#2  8202  restarting      -     -           -         2      -       -  Exited with code 1 (next try in 3 s)
notes         -  disabled        -     -           -         -      -       -  Disabled: not needed now
",
    );
}

#[test]
fn status_as_json_keeps_its_shape() {
    let fleet = fleet();
    let servers: Vec<_> = fleet.servers.iter().collect();
    let report = serde_json::to_value(StatusReport::of(&fleet, &servers)).expect("JSON");
    let mut short = report.clone();
    short["services"] = json!(report["services"].as_array().expect("services").len());
    assert_eq!(
        short,
        json!({ "total_services": 3, "running": 1, "stopped": 1, "error": 1, "services": 3, "port_range": "8102-8202",
                "checked_at": "2023-11-14T22:15:00.000Z" })
    );
    let service = &report["services"][0];
    let keys: Vec<&str> = service
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let seven = [
        "name",
        "port",
        "status",
        "tools",
        "pid",
        "pids",
        "started_at",
        "error_count",
        "instances",
        "instances_wanted",
        "health",
    ];
    assert_eq!(keys, seven);
    assert_eq!(
        (&service["pid"], &service["error_count"]),
        (&json!(4711), &json!(2))
    );
    assert_eq!(
        report["services"][1]["error_count"],
        json!(6),
        "five restarts, and one instance gave up"
    );
}

#[test]
fn outcomes_say_what_was_seen() {
    let ends: Vec<Outcome> = read(json!([
        { "server": "fetch", "ok": true, "sentence": "Running, 1 tool", "status": "running", "state": "running", "took_ms": 4210 },
        { "server": "vectors", "ok": false, "sentence": "Port 8102 is held by pid 99, 0.1 s", "status": "failed", "state": "failed", "took_ms": 70,
          "error": { "code": "not_reached", "message": "reach the end asked for" } },
    ]));
    check(
        &outcomes(&ends, PLAIN),
        "
Service          Status    Took  End
fetch    ok      running  4.2 s  Running, 1 tool
vectors  failed  failed   0.1 s  Port 8102 is held by pid 99, 0.1 s
",
    );
}

#[test]
fn log_lines_and_gaps() {
    let line = |entry| log_entry(&read(entry), &TimeZone::UTC, PLAIN);
    assert_eq!(
        line(
            json!({ "entry": "line", "instance": "fetch#1", "seq": 4, "at": 1700000000123_u64, "stream": "stderr", "text": "\u{1b}[31mred", "cut": true })
        ),
        "2023-11-14 22:13:20.123 fetch#1 | [31mred [cut at 16 KiB]"
    );
    assert_eq!(
        line(json!({ "entry": "gap", "instance": "fetch#1", "from_seq": 1, "missing": 1 })),
        "-- 1 line of fetch#1 missing --"
    );
}

#[test]
fn events_in_a_sentence() {
    let line = |mut what: Value| {
        what["seq"] = json!(9);
        what["at"] = json!(1_700_000_000_000_u64);
        event(&read(what), &TimeZone::UTC, PLAIN)
            .split_once("      9 ")
            .expect("a position")
            .1
            .to_owned()
    };
    let exit = json!({ "at": 1, "code": 1, "reason": "exited with code 1 after 4 s", "ran_ms": 4000, "last_lines": [] });
    assert_eq!(
        line(
            json!({ "server": "fetch", "instance": 2, "kind": "server:restarting", "attempt": 1, "delay": 1000, "next_try": 5, "exit": exit })
        ),
        "server:restarting fetch#2: exited with code 1 after 4 s; try 1 in 1.0 s"
    );
    assert_eq!(
        line(json!({ "server": "fetch", "kind": "server:scaled", "from": 1, "to": 3 })),
        "server:scaled fetch: from 1 to 3"
    );
    assert_eq!(
        line(json!({ "kind": "manager:shutdown" })),
        "manager:shutdown"
    );
}

#[test]
fn an_import_shows_the_exact_command() {
    let preview = read(
        json!({ "client": "Claude Desktop", "ticket": "t", "servers": [
        { "source_name": "my fetch", "id": "my-fetch", "kind": "stdio", "runs": "uvx mcp-server-fetch", "env": { "TOKEN": "secret my-fetch/TOKEN" },
          "secrets": ["my-fetch/TOKEN"], "notes": ["MODE is not set in this environment"] },
        { "source_name": "old", "id": "old", "kind": "sse", "runs": "https://x/sse", "env": {}, "secrets": [], "notes": [], "refused": "the name is taken" },
    ] }),
    );
    check(
        &plan(&preview, PLAIN),
        "
2 servers in the file of Claude Desktop

my fetch (as my-fetch)
  stdio: uvx mcp-server-fetch
  TOKEN = secret my-fetch/TOKEN
  moves to the keyring: my-fetch/TOKEN
  MODE is not set in this environment

old
  sse: https://x/sse
  cannot be imported: the name is taken
",
    );
}

#[test]
fn doctor_and_secrets() {
    let findings: Vec<DoctorFinding> = read(json!([
        { "name": "npx", "level": "ok", "found": "10.8.2" },
        { "name": "uvx", "level": "problem", "found": "not in PATH", "remedy": "Install uv." },
    ]));
    check(
        &doctor(&findings, PLAIN),
        "
ok      npx: 10.8.2
problem uvx: not in PATH
        Install uv.
",
    );
    let info = read(
        json!({ "kept": "Secrets are in a file that only you can read.",
        "secrets": [{ "name": "gh", "present": false, "used_by": ["git", "fetch"] }] }),
    );
    check(
        &secrets(&info, PLAIN),
        "
Secret  Stored   Used by
gh      missing  git, fetch

Secrets are in a file that only you can read.
",
    );
}

#[test]
fn columns_line_up_whatever_the_script() {
    let rows = vec![
        vec!["日本".into(), "x".into()],
        vec![Cell("a".into(), Some(Colour::Red)), "y".into()],
    ];
    let columns = [("N", Align::Left), ("V", Align::Left)];
    assert_eq!(
        render(&columns, &rows, false),
        "N     V\n日本  x\na     y\n"
    );
    assert!(render(&columns, &rows, true).contains("\x1b[31ma\x1b[0m     y"));
    assert_eq!(
        (span(59_000), span(3_661_000), span(90_000_000)),
        ("59 s".into(), "1 h 1 min".into(), "1 d 1 h".into())
    );
}
