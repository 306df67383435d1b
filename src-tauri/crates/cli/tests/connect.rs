//! `flotilla connect` against a small gateway of its own, in both eras.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

const SOON: Duration = Duration::from_secs(20);
const MODERN: &str = "2026-07-28";

/// One request that the gateway has heard.
#[derive(Clone, Debug)]
struct Heard {
    /// Method, path and, of a POST, what was posted ("POST /mcp tools/call").
    line: String,
    headers: HeaderMap,
    body: Value,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct Inner {
    heard: Vec<Heard>,
    sessions: BTreeSet<String>,
    made: usize,
    /// Where the GET streams of sessions go.
    streams: Vec<mpsc::Sender<String>>,
    /// Calls under way, and the most there ever were.
    busy: usize,
    most: usize,
    /// Streams of calls that the other side closed.
    closed: usize,
}

#[derive(Clone, Default)]
struct Gateway(Arc<Mutex<Inner>>);

fn answer(body: &Value, result: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": body["id"], "result": result }).to_string()
}

fn as_json(text: String) -> Response {
    ([("content-type", "application/json")], text).into_response()
}

fn as_events(events: mpsc::Receiver<String>) -> Response {
    let stream = futures_util::stream::unfold(events, async |mut events| {
        let event = events.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), events))
    });
    (
        [("content-type", "text/event-stream; charset=utf-8")],
        Body::from_stream(stream),
    )
        .into_response()
}

impl Gateway {
    fn state<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn lines(&self) -> Vec<String> {
        self.state(|inner| inner.heard.iter().map(|h| h.line.clone()).collect())
    }

    fn heard(&self, line: &str) -> Option<Heard> {
        self.state(|inner| inner.heard.iter().rev().find(|h| h.line == line).cloned())
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&mut Inner) -> bool) {
        let waited = timeout(SOON, async {
            while !self.state(&mut holds) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.lines());
    }

    async fn until_heard(&self, line: &str) -> Heard {
        self.until(line, |inner| inner.heard.iter().any(|h| h.line == line))
            .await;
        self.heard(line).unwrap()
    }

    async fn serve(&self, port: u16) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let app = Router::new().fallback(on).with_state(self.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (url, task)
    }
}

async fn on(
    State(gateway): State<Gateway>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let what = body["method"]
        .as_str()
        .unwrap_or(if body.is_null() { "" } else { "response" });
    let heard = Heard {
        line: format!("{method} {} {what}", uri.path()).trim().to_owned(),
        headers,
        body: body.clone(),
    };
    let session = heard.header("mcp-session-id").to_owned();
    gateway.state(|inner| inner.heard.push(heard));
    if what == "initialize" {
        let session = gateway.state(|inner| {
            inner.made += 1;
            let session = format!("s{}", inner.made);
            inner.sessions.insert(session.clone());
            session
        });
        let result = json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": { "listChanged": true } }, "serverInfo": { "name": "g", "version": "1" } });
        let mut response = as_json(answer(&body, result));
        response
            .headers_mut()
            .insert("mcp-session-id", session.parse().unwrap());
        return response;
    }
    if !session.is_empty() && !gateway.state(|inner| inner.sessions.contains(&session)) {
        return (StatusCode::NOT_FOUND, "no such session").into_response();
    }
    if method == Method::DELETE {
        return StatusCode::OK.into_response();
    }
    if method == Method::GET {
        let (tx, rx) = mpsc::channel(10);
        gateway.state(|inner| inner.streams.push(tx));
        return as_events(rx);
    }
    if body.get("id").is_none() || what == "response" {
        return StatusCode::ACCEPTED.into_response();
    }
    call(&gateway, body).await
}

/// What comes of a request says its `params.name`.
async fn call(gateway: &Gateway, body: Value) -> Response {
    let text = |text: &str| answer(&body, json!({ "text": text }));
    match body["params"]["name"].as_str().unwrap_or_default() {
        // Progress first, then the answer over several lines.
        "stream" => {
            let (tx, rx) = mpsc::channel(10);
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } });
            let pretty: Value = serde_json::from_str(&text("streamed")).unwrap();
            let pretty = serde_json::to_string_pretty(&pretty)
                .unwrap()
                .replace('\n', "\ndata: ");
            let _ = tx.send(format!("data: {progress}\n\n")).await;
            let _ = tx.send(format!("data: {pretty}\n\n")).await;
            as_events(rx)
        }
        // The stream breaks and is taken up again.
        "breaks" => {
            let (tx, rx) = mpsc::channel(10);
            let _ = tx.send("id: e1\nretry: 10\ndata:\n\n".into()).await;
            let late = text("taken up");
            let gateway = gateway.clone();
            tokio::spawn(async move {
                gateway
                    .until("a GET that goes on", |inner| {
                        inner
                            .heard
                            .iter()
                            .any(|h| h.header("last-event-id") == "e1")
                    })
                    .await;
                let stream = gateway
                    .state(|inner| inner.streams.last().cloned())
                    .unwrap();
                let _ = stream.send(format!("data: {late}\n\n")).await;
                gateway.state(|inner| inner.streams.pop());
            });
            as_events(rx)
        }
        // Never answered.
        "hang" => {
            let (tx, rx) = mpsc::channel(10);
            let _ = tx.send(": here\n\n".into()).await;
            let gateway = gateway.clone();
            tokio::spawn(async move {
                tx.closed().await;
                gateway.state(|inner| inner.closed += 1);
            });
            as_events(rx)
        }
        "slow" => {
            gateway.state(|inner| {
                inner.busy += 1;
                inner.most = inner.most.max(inner.busy);
            });
            sleep(Duration::from_millis(30)).await;
            gateway.state(|inner| inner.busy -= 1);
            as_json(text("slow"))
        }
        "junk" => ([("content-type", "application/json")], "Hello\nworld").into_response(),
        "junk stream" => {
            let (tx, rx) = mpsc::channel(10);
            let _ = tx.send("data: Hello\n\n".into()).await;
            as_events(rx)
        }
        "mismatch" => (
            StatusCode::BAD_REQUEST,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"headers"}}"#,
        )
            .into_response(),
        "down" => (StatusCode::BAD_GATEWAY, "<html>down</html>").into_response(),
        other => as_json(text(other)),
    }
}

/// The program, as a client starts it.
struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    next: u64,
}

impl Client {
    fn start(home: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flotilla"))
            .arg("connect")
            .args(args)
            .env("FLOTILLA_HOME", home)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            next: 0,
        }
    }

    async fn write(&mut self, text: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text).await.unwrap();
        stdin.write_all(b"\n").await.unwrap();
        stdin.flush().await.unwrap();
    }

    async fn say(&mut self, message: Value) {
        self.write(message.to_string().as_bytes()).await;
    }

    /// Sends a request and gives its id.
    async fn request(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let id = self.next;
        self.say(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        id
    }

    async fn call(&mut self, name: &str) -> u64 {
        self.request("tools/call", json!({ "name": name })).await
    }

    async fn call_modern(&mut self, name: &str) -> u64 {
        let meta = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} });
        self.request("tools/call", json!({ "name": name, "_meta": meta }))
            .await
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(SOON, self.stdout.next_line()).await;
        let line = line.expect("no line came").unwrap().expect("no more lines");
        serde_json::from_str(&line).unwrap()
    }

    /// Hears the answer of a request that must come next.
    async fn hear_text(&mut self, id: u64) -> String {
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer["result"]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    async fn hear_error(&mut self, id: u64) -> (i64, String) {
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        let error = &answer["error"];
        (
            error["code"].as_i64().unwrap_or_else(|| panic!("{answer}")),
            error["message"].as_str().unwrap().to_owned(),
        )
    }

    async fn introduce(&mut self) {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": { "roots": {} }, "clientInfo": { "name": "t", "version": "1" } });
        let id = self.request("initialize", params).await;
        let answer = self.hear().await;
        assert_eq!(
            (&answer["id"], &answer["result"]["serverInfo"]["name"]),
            (&json!(id), &json!("g"))
        );
        self.say(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
    }

    /// Closes standard input; gives what was still said, and the exit code.
    async fn end(mut self) -> (Vec<String>, Option<i32>) {
        drop(self.stdin.take());
        let mut rest = Vec::new();
        while let Some(line) = timeout(SOON, self.stdout.next_line())
            .await
            .unwrap()
            .unwrap()
        {
            rest.push(line);
        }
        (
            rest,
            timeout(SOON, self.child.wait())
                .await
                .unwrap()
                .unwrap()
                .code(),
        )
    }
}

struct Bed {
    gateway: Gateway,
    home: tempfile::TempDir,
    port: u16,
    task: JoinHandle<()>,
}

impl Bed {
    async fn new() -> Self {
        let gateway = Gateway::default();
        let (url, task) = gateway.serve(0).await;
        let port = url.trim_end_matches("/mcp").rsplit(':').next().unwrap();
        let bed = Self {
            home: tempfile::tempdir().unwrap(),
            port: port.parse().unwrap(),
            gateway,
            task,
        };
        bed.announce(Some(&url));
        bed
    }

    fn announce(&self, gateway: Option<&str>) {
        let boot = json!({ "boot": "b", "pid": 1, "url": "http://127.0.0.1:1", "token": "t", "version": "9", "gateway": gateway });
        std::fs::write(self.home.path().join("engine.json"), boot.to_string()).unwrap();
    }

    fn client(&self) -> Client {
        Client::start(self.home.path(), &[])
    }
}

#[tokio::test]
async fn a_legacy_client_has_its_session() {
    let bed = Bed::new().await;
    let mut client = bed.client();
    client.introduce().await;
    bed.gateway.until_heard("GET /mcp").await;
    let first = bed.gateway.heard("POST /mcp initialize").unwrap();
    assert_eq!(
        (
            first.header("mcp-session-id"),
            first.header("x-flotilla-bridge")
        ),
        ("", "stdio")
    );

    let id = client.call("stream").await;
    assert_eq!(client.hear().await["method"], "notifications/progress");
    assert_eq!(client.hear_text(id).await, "streamed");
    let heard = bed.gateway.heard("POST /mcp tools/call").unwrap();
    assert_eq!(
        (
            heard.header("mcp-session-id"),
            heard.header("mcp-protocol-version"),
            heard.header("accept"),
            heard.header("mcp-method"),
        ),
        (
            "s1",
            "2025-11-25",
            "application/json, text/event-stream",
            ""
        )
    );

    // The gateway asks the client.
    let stream = bed.gateway.state(|inner| inner.streams[0].clone());
    let ask = json!({ "jsonrpc": "2.0", "id": "q", "method": "roots/list" });
    stream.send(format!("data: {ask}\n\n")).await.unwrap();
    assert_eq!(client.hear().await["method"], "roots/list");
    client
        .say(json!({ "jsonrpc": "2.0", "id": "q", "result": { "roots": [] } }))
        .await;
    let heard = bed.gateway.until_heard("POST /mcp response").await;
    assert_eq!(
        (&heard.body["id"], heard.header("mcp-session-id")),
        (&json!("q"), "s1")
    );

    // A broken stream of a call is taken up again.
    let id = client.call("breaks").await;
    assert_eq!(client.hear_text(id).await, "taken up");

    // A legacy gateway is told of a cancellation.
    let id = client.call("hang").await;
    client
        .say(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } }))
        .await;
    bed.gateway
        .until_heard("POST /mcp notifications/cancelled")
        .await;
    drop(stream);

    let (rest, code) = client.end().await;
    assert_eq!((rest, code), (vec![], Some(0)));
    assert_eq!(
        bed.gateway
            .heard("DELETE /mcp")
            .unwrap()
            .header("mcp-session-id"),
        "s1"
    );
}

#[tokio::test]
async fn a_modern_client_has_its_headers_and_closes_what_it_cancels() {
    let bed = Bed::new().await;
    let mut client = Client::start(bed.home.path(), &["--group", "web-1"]);
    let id = client.call_modern("é").await;
    assert_eq!(client.hear_text(id).await, "é");
    let heard = bed.gateway.heard("POST /mcp/web-1 tools/call").unwrap();
    assert_eq!(
        (
            heard.header("mcp-protocol-version"),
            heard.header("mcp-method"),
            heard.header("mcp-name"),
            heard.header("mcp-session-id"),
        ),
        (MODERN, "tools/call", "=?base64?w6k=?=", "")
    );

    let hanging = client.call_modern("hang").await;
    bed.gateway
        .until("the call", |inner| inner.heard.len() == 2)
        .await;
    client
        .say(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": hanging } }))
        .await;
    bed.gateway
        .until("a closed stream", |inner| inner.closed == 1)
        .await;
    let id = client.call_modern("after").await;
    assert_eq!(client.hear_text(id).await, "after");
    assert_eq!(
        bed.gateway.lines(),
        ["POST /mcp/web-1 tools/call"; 3],
        "a notification is not how a modern gateway learns of it"
    );

    // What refuses a request is the answer to it.
    let id = client.call_modern("mismatch").await;
    assert_eq!(client.hear_error(id).await, (-32_020, "headers".into()));

    // A subscription does not hold the end up.
    client.call_modern("hang").await;
    let (rest, code) = client.end().await;
    assert_eq!((rest, code), (vec![], Some(0)));
    assert!(bed.gateway.heard("DELETE /mcp/web-1").is_none());
}

#[tokio::test]
async fn without_an_engine_each_request_says_so_and_the_next_one_tries_again() {
    let bed = Bed::new().await;
    bed.task.abort();
    std::fs::remove_file(bed.home.path().join("engine.json")).unwrap();
    let mut client = bed.client();
    let id = client.call_modern("a").await;
    let (code, message) = client.hear_error(id).await;
    assert_eq!(code, -32_000);
    assert!(
        message.contains("no Flotilla engine runs") && message.contains("flotilla serve"),
        "{message}"
    );
    bed.announce(None);
    let id = client.call_modern("b").await;
    let message = client.hear_error(id).await.1;
    assert!(message.contains("serves no gateway"), "{message}");
    bed.announce(Some("http://127.0.0.1:1/mcp"));
    let id = client.call_modern("c").await;
    let message = client.hear_error(id).await.1;
    assert!(
        message.contains("no Flotilla engine answers at http://127.0.0.1:1/mcp"),
        "{message}"
    );
    let (url, _task) = bed.gateway.serve(0).await;
    bed.announce(Some(&url));
    let id = client.call_modern("d").await;
    assert_eq!(client.hear_text(id).await, "d");
}

#[tokio::test]
async fn a_restarted_engine_gets_the_session_made_anew() {
    let bed = Bed::new().await;
    let mut client = bed.client();
    client.introduce().await;
    bed.gateway.until_heard("GET /mcp").await;
    let id = client
        .request("logging/setLevel", json!({ "level": "debug" }))
        .await;
    assert_eq!(client.hear().await["id"], id);
    // It comes back at another address and knows nobody.
    bed.task.abort();
    bed.gateway.state(|inner| {
        inner.sessions.clear();
        inner.streams.clear();
        inner.heard.clear();
    });
    let (url, _task) = bed.gateway.serve(0).await;
    bed.announce(Some(&url));

    let ids = [client.call("one").await, client.call("two").await];
    let mut answered = BTreeSet::new();
    let mut changed = 0;
    while answered.len() < 2 || changed < 1 {
        let message = client.hear().await;
        if message["method"] == "notifications/tools/list_changed" {
            changed += 1;
        } else {
            assert!(message["result"]["text"].is_string(), "{message}");
            answered.insert(message["id"].as_u64().unwrap());
        }
    }
    assert_eq!(answered, BTreeSet::from(ids));
    let again = bed.gateway.heard("POST /mcp initialize").unwrap();
    assert_eq!(again.body["params"]["clientInfo"]["name"], "t");
    let count = |line: &str| bed.gateway.lines().iter().filter(|l| *l == line).count();
    assert_eq!(count("POST /mcp initialize"), 1, "once for all of them");
    assert_eq!(count("POST /mcp notifications/initialized"), 1);
    let level = bed.gateway.heard("POST /mcp logging/setLevel").unwrap();
    assert_eq!(
        (
            level.header("mcp-session-id"),
            &level.body["params"]["level"]
        ),
        ("s2", &json!("debug"))
    );
    bed.gateway
        .until("the stream of the new session", |inner| {
            inner
                .heard
                .iter()
                .any(|h| h.line == "GET /mcp" && h.header("mcp-session-id") == "s2")
        })
        .await;
}

#[tokio::test]
async fn an_engine_that_is_away_for_a_moment_is_waited_for() {
    let bed = Bed::new().await;
    let mut client = bed.client();
    let id = client.call_modern("before").await;
    assert_eq!(client.hear_text(id).await, "before");
    bed.task.abort();
    let _ = timeout(SOON, async {
        while TcpListener::bind(("127.0.0.1", bed.port)).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Connections that are open already do not outlive the engine; here they are answered by whoever listens next.
    let id = client.call_modern("meanwhile").await;
    sleep(Duration::from_millis(300)).await;
    let (_, _task) = bed.gateway.serve(bed.port).await;
    let answer = client.hear().await;
    assert_eq!(answer["id"], id, "{answer}");
}

#[tokio::test]
async fn nothing_but_messages_reaches_standard_output() {
    let bed = Bed::new().await;
    let mut client = bed.client();
    for (name, said) in [
        ("junk", "not the answer"),
        ("junk stream", "broke off"),
        ("down", "502 Bad Gateway: <html>down</html>"),
    ] {
        let id = client.call_modern(name).await;
        let (code, message) = client.hear_error(id).await;
        assert_eq!(code, -32_000);
        assert!(message.contains(said), "{name}: {message}");
    }
    client.write(b"nonsense").await;
    assert_eq!(client.hear().await["error"]["code"], -32_700);
    client.write(b"[]").await;
    assert_eq!(client.hear().await["error"]["code"], -32_600);
    // A line that is too long costs itself only.
    let mut long = vec![b'x'; (16 << 20) + 1];
    long[0] = b'"';
    client.write(&long).await;
    assert_eq!(client.hear().await["error"]["code"], -32_600);
    let id = client.call_modern("after").await;
    assert_eq!(client.hear_text(id).await, "after");
}

#[tokio::test]
async fn many_requests_wait_for_places_and_too_many_are_refused() {
    let bed = Bed::new().await;
    let mut client = bed.client();
    for _ in 0..200 {
        client.call_modern("slow").await;
    }
    // The last answers come after standard input has ended.
    let (rest, code) = client.end().await;
    assert_eq!((rest.len(), code), (200, Some(0)));
    assert!(rest.iter().all(|line| line.contains("\"slow\"")));
    let most = bed.gateway.state(|inner| inner.most);
    assert!((32..=64).contains(&most), "{most} at once");

    let mut client = bed.client();
    for _ in 0..400 {
        client.call_modern("hang").await;
    }
    let mut refused = 0;
    while refused < 400 - 64 - 256 {
        let answer = client.hear().await;
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|why| why.contains("may wait wait already")),
            "{answer}"
        );
        refused += 1;
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_told() {
    let home = tempfile::tempdir().unwrap();
    for args in [
        ["--url", "nonsense"],
        ["--url", "ftp://x"],
        ["--group", "A b"],
    ] {
        let client = Client::start(home.path(), &args);
        assert_eq!(client.end().await, (vec![], Some(2)), "{args:?}");
    }
}
