//! The program itself, against a scripted engine behind the real listener.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use flotilla_contract::{
    Caller, ErrorCode, Event, EventKind, WireError,
    frame::{Hello, Listener, Topic, Update},
};
use flotilla_engine::{HookCall, HookEnd, Outgoing};
use flotilla_server::{Fleet, News, ServeOptions, serve};
use serde_json::{Value, json};
use std::{
    io,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct Scripted {
    contract: u32,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

struct Script(mpsc::UnboundedReceiver<Outgoing>);

impl News for Script {
    async fn next(&mut self) -> Option<Outgoing> {
        self.0.recv().await
    }
}

impl Fleet for Scripted {
    type News = Script;

    fn hello(&self) -> Hello {
        Hello {
            contract: self.contract,
            version: "9".into(),
            boot: "b".into(),
            now: 0,
        }
    }
    fn token(&self) -> String {
        "good".into()
    }
    async fn call(&self, _: &Caller, command: &str, params: Value) -> Result<Value, WireError> {
        self.calls
            .lock()
            .unwrap()
            .push((command.into(), params.clone()));
        let outcome = |ok: bool| json!({ "outcomes": [{ "server": "fetch", "ok": ok, "sentence": "Seen", "status": "running", "state": "running", "took_ms": 1 }] });
        let written = json!({ "revision": 4, "hash": "h", "changes": ["Added x"], "added": ["x"] });
        Ok(match command {
            "fleet.snapshot" => serde_json::from_str(include_str!("fixtures/fleet.json")).unwrap(),
            "engine.info" => {
                let fleet: Value =
                    serde_json::from_str(include_str!("fixtures/fleet.json")).unwrap();
                fleet["engine"].clone()
            }
            "server.start" | "server.probe" | "server.restart" => outcome(true),
            "server.stop" => outcome(false),
            "server.add" | "import.apply" | "server.remove" => written,
            "secrets.set" => json!({}),
            "server.plan" => {
                json!({ "sentence": "Stops 1 instance", "stops": 1, "starts": 0, "dependents": [], "in_flight": 0, "refusals": [], "destructive": true })
            }
            "events.read" => {
                json!({ "events": [serde_json::to_value(event(1)).unwrap()], "more": false })
            }
            "logs.read" => json!([]),
            "import.preview" => json!({ "client": "Cursor", "ticket": "t1", "servers": [
                { "source_name": "x", "id": "x", "kind": "stdio", "runs": "npx x", "env": {}, "secrets": [], "notes": [] }] }),
            "config.check" => {
                json!({ "findings": [{ "line": 2, "column": 5, "key": "a.b", "message": "unknown key" }], "changes": [] })
            }
            "server.scale" => {
                return Err(WireError::new(
                    ErrorCode::Unsupported,
                    "scale notes: somebody else starts it",
                ));
            }
            "doctor.run" => {
                return Err(WireError::new(ErrorCode::InvalidConfig, "read fleet.toml"));
            }
            other => panic!("an unexpected call: {other}"),
        })
    }
    async fn hook(&self, _: HookCall) -> HookEnd {
        HookEnd::Unknown
    }
    fn subscribe(&self, _: Topic) -> Script {
        let (send, receive) = mpsc::unbounded_channel();
        // The first was read before: it must not be shown twice. Then the engine goes.
        send.send(Outgoing::Update(Update::Events {
            events: vec![event(1), event(2)],
            durable: 2,
        }))
        .unwrap();
        Script(receive)
    }
    async fn announce(&self, _: Vec<Listener>) -> io::Result<()> {
        Ok(())
    }
    async fn remembered_port(&self, _: &str) -> Option<u16> {
        None
    }
    async fn remember_port(&self, _: &str, _: u16) {}
    fn healthz(&self) -> Value {
        json!({ "ok": true })
    }
    fn gateway(&self) -> Option<flotilla_engine::Gateway> {
        None
    }
    async fn metrics(&self, _: flotilla_engine::Format, _: flotilla_engine::Connections) -> String {
        String::new()
    }
    fn agent_status(&self) -> Value {
        json!({ "ok": true })
    }
    fn sockets(&self) -> (bool, bool) {
        (false, false)
    }
    fn dashboard(
        &self,
        _: flotilla_engine::Connections,
    ) -> flotilla_contract::dashboard::DashboardMetrics {
        panic!("no dashboard is served here")
    }
    fn dashboard_every(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        at: 0,
        server: None,
        instance: None,
        correlation: None,
        what: EventKind::EngineStopped,
    }
}

struct Stage {
    home: tempfile::TempDir,
    fleet: Scripted,
    closing: CancellationToken,
}

impl Stage {
    async fn new() -> Self {
        Self::with(flotilla_contract::CONTRACT_VERSION, "good").await
    }

    async fn with(contract: u32, token: &str) -> Self {
        let (home, closing) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let fleet = Scripted {
            contract,
            calls: Arc::default(),
        };
        let options = ServeOptions {
            port: Some(0),
            ..ServeOptions::default()
        };
        let serving = serve(fleet.clone(), options, closing.clone())
            .await
            .unwrap();
        let boot =
            json!({ "boot": "b", "pid": 1, "url": serving.url(), "token": token, "version": "9" });
        std::fs::write(home.path().join("engine.json"), boot.to_string()).unwrap();
        Self {
            home,
            fleet,
            closing,
        }
    }

    async fn run(&self, words: &str) -> (i32, String, String) {
        self.run_with(words, "").await
    }

    async fn run_with(&self, words: &str, input: &str) -> (i32, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flotilla"))
            .args(words.split(' '))
            .env("FLOTILLA_HOME", self.home.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .await
            .unwrap();
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().await.unwrap();
        (
            status.code().unwrap(),
            String::from_utf8(stdout).unwrap(),
            String::from_utf8(stderr).unwrap(),
        )
    }

    fn last_call(&self) -> (String, Value) {
        self.fleet.calls.lock().unwrap().last().unwrap().clone()
    }
}

#[tokio::test]
async fn exit_codes_tell_what_happened() {
    let stage = Stage::new().await;
    let check = async |words: &str, code: i32, err: &str| {
        let (got, out, said) = stage.run(words).await;
        assert_eq!(got, code, "{words}: {out}{said}");
        assert!(said.contains(err), "{words}: {said}");
    };
    check("list", 0, "").await;
    check("start fetch", 0, "").await;
    check("stop", 1, "").await;
    check("health fetch", 0, "").await;
    check("health", 1, "").await;
    check(
        "scale notes 3",
        1,
        "failed to scale notes: somebody else starts it",
    )
    .await;
    check("scale notes many", 2, "0 to 64").await;
    check("restart --instance 2", 2, "exactly one NAME").await;
    // The engine never starts or stops one replica alone: that is what scale is for.
    check("stop fetch --instance 2", 2, "unexpected argument").await;
    check("start _bad", 2, "is not a name").await;
    check("remove fetch", 2, "--yes").await;
    check("doctor", 5, "failed to read fleet.toml").await;
    check("config check Cargo.toml", 5, "").await;
    check("status nobody", 1, "failed to find the server nobody").await;

    let stranger = Stage::with(flotilla_contract::CONTRACT_VERSION, "bad").await;
    assert_eq!(stranger.run("list").await.0, 4);
    let newer = Stage::with(flotilla_contract::CONTRACT_VERSION + 1, "good").await;
    assert_eq!(newer.run("list").await.0, 4);
    std::fs::remove_file(newer.home.path().join("engine.json")).unwrap();
    let (code, _, said) = newer.run("list").await;
    assert_eq!(code, 3);
    assert!(
        said.contains("no engine runs on the home") && said.contains("flotilla serve"),
        "{said}"
    );
}

#[tokio::test]
async fn names_reach_the_engine_however_they_are_written() {
    let stage = Stage::new().await;
    stage.run("start fetch --service vectors").await;
    assert_eq!(
        stage.last_call(),
        (
            "server.start".into(),
            json!({ "servers": ["fetch", "vectors"], "all": false })
        )
    );
    stage.run("restart fetch --instance 2").await;
    assert_eq!(
        stage.last_call().1,
        json!({ "servers": ["fetch"], "all": false, "instance": 2 })
    );
    stage.run("scale --service fetch 0").await;
    assert_eq!(
        stage.last_call().1,
        json!({ "server": "fetch", "replicas": 0 })
    );
    stage.run("add x --port 8101 --env A=1=2 --secret-env B=name --tag t --category c --cwd /tmp -- npx -y x --port {port}").await;
    assert_eq!(
        stage.last_call(),
        (
            "server.add".into(),
            json!({ "name": "x", "command": "npx", "args": ["-y", "x", "--port", "{port}"], "port": 8101, "cwd": "/tmp", "category": "c",
                    "env": { "A": { "from": "text", "text": "1=2" }, "B": { "from": "secret", "name": "name" } }, "headers": {}, "tags": ["t"] })
        )
    );
    stage
        .run("add y --url https://y.example/mcp --secret-header Authorization=y")
        .await;
    assert_eq!(
        stage.last_call().1["headers"],
        json!({ "Authorization": { "from": "secret", "name": "y" } })
    );
    assert_eq!(stage.run("add z").await.0, 2);
    assert_eq!(stage.run("add z --url http://z -- npx").await.0, 2);
    stage.run_with("secret set gh", "value with blank \n").await;
    assert_eq!(
        stage.last_call(),
        (
            "secrets.set".into(),
            json!({ "name": "gh", "value": "value with blank " })
        )
    );
    assert_eq!(
        stage.run("secret set gh").await.0,
        2,
        "an empty secret is none"
    );
}

#[tokio::test]
async fn an_import_asks_first() {
    let stage = Stage::new().await;
    let (code, _, said) = stage.run("import some.json").await;
    assert_eq!(
        (code, stage.last_call().0.as_str()),
        (2, "import.preview"),
        "no terminal, no --yes: nothing happens"
    );
    assert!(said.contains("--yes"), "{said}");
    let (code, out, _) = stage.run("import some.json --yes").await;
    assert_eq!(code, 0);
    assert!(
        out.contains("stdio: npx x") && out.contains("Revision 4."),
        "{out}"
    );
    assert_eq!(
        stage.last_call(),
        (
            "import.apply".into(),
            json!({ "ticket": "t1", "names": ["x"] })
        )
    );
    assert_eq!(stage.run("import some.json --yes --only gone").await.0, 2);
}

#[tokio::test]
async fn json_is_json() {
    let stage = Stage::new().await;
    for words in [
        "list --json",
        "status --json",
        "health fetch --json",
        "start --json",
        "logs --json",
        "events --json",
        "open --json",
    ] {
        let (_, out, said) = stage.run(words).await;
        serde_json::from_str::<Value>(&out).unwrap_or_else(|e| panic!("{words}: {e}: {out}{said}"));
    }
    let (code, _, said) = stage.run("scale notes 3 --json").await;
    let error: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &error["error"]["code"]), (1, &json!("unsupported")));
}

#[tokio::test]
async fn following_goes_on_from_what_was_read() {
    let stage = Stage::new().await;
    // The scripted engine says two events and then ends the subscription.
    let (code, out, said) = stage.run("events -f --json").await;
    let seen: Vec<u64> = out
        .lines()
        .map(|l| serde_json::from_str::<Event>(l).unwrap().seq)
        .collect();
    assert_eq!((code, seen), (1, vec![1, 2]), "{said}");
    stage.closing.cancel();
}

#[tokio::test]
async fn production_binds_the_engine() {
    let stage = Stage::new().await;
    let (code, _, said) = stage.run("list --production").await;
    assert_eq!(code, 0);
    assert!(said.contains("started without --production"), "{said}");

    let dir = tempfile::tempdir().unwrap();
    // Made by the engine, so private.
    let home = dir.path().join("home");
    let serve = |key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flotilla"));
        command
            .args(["serve", "--production", "--port", "0", "--home"])
            .arg(&home)
            .env("FLOTILLA_SECRETS_KEY", key)
            .env_remove("RUST_LOG")
            .kill_on_drop(true);
        command
    };
    for (key, why) in [
        ("changeme", "well-known words"),
        ("Tr0ub4dor&3", "11 characters"),
    ] {
        let ended = serve(key).output().await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(
            said.contains("FLOTILLA_SECRETS_KEY") && said.contains(why) && !said.contains(key),
            "{said}"
        );
        assert!(ended.stdout.is_empty(), "nothing was served");
    }
}

#[tokio::test]
async fn serve_says_where_it_is_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut child = Command::new(env!("CARGO_BIN_EXE_flotilla"))
        .args(["serve", "--json", "--production", "--port", "0", "--home"])
        .arg(&home)
        .env("FLOTILLA_SECRETS_KEY", "one that nobody guesses")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let url = first["url"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{first}");
    assert!(
        first["panel"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{url}/?t=")),
        "{first}"
    );
    assert_eq!(first["pid"], json!(child.id().unwrap()));
    let answer = reqwest::get(format!("{url}/healthz")).await.unwrap();
    assert_eq!(answer.status(), 200);
    child.kill().await.unwrap();
}
