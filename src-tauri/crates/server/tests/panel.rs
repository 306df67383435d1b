//! The listener over real sockets, in front of a scripted engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use flotilla_contract::{
    Caller, ErrorCode, WireError,
    frame::{ClientFrame, Hello, Listener, ServerFrame, Topic, Update},
};
use flotilla_engine::{HookCall, HookEnd, Outgoing};
use flotilla_server::{Fleet, News, ServeOptions, Serving, UiSource, serve, ws};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;

/// An engine that does what its test says.
#[derive(Clone, Default)]
struct Scripted {
    calls: Arc<Mutex<Vec<(String, String, Value)>>>,
    announced: Arc<Mutex<Vec<Listener>>>,
    remembered: Arc<Mutex<Option<u16>>>,
    topics: Arc<Mutex<VecDeque<mpsc::UnboundedSender<Outgoing>>>>,
    hold: Arc<tokio::sync::Notify>,
    hooked: Arc<Mutex<Vec<HookCall>>>,
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
            contract: flotilla_contract::CONTRACT_VERSION,
            version: "0".into(),
            boot: "b1".into(),
            now: 1,
        }
    }
    fn token(&self) -> String {
        "the-token".into()
    }
    async fn call(
        &self,
        caller: &Caller,
        command: &str,
        params: Value,
    ) -> Result<Value, WireError> {
        self.calls
            .lock()
            .unwrap()
            .push((caller.actor.clone(), command.into(), params.clone()));
        match command {
            "engine.info" => Ok(json!({ "actor": caller.actor })),
            "tools.call" => {
                self.hold.notified().await;
                Ok(json!("at last"))
            }
            "config.get" => panic!("a fault of the engine"),
            "server.get" => Err(WireError::no_server(&params["server"])),
            "server.stop" => Ok(json!({ "outcomes": [{
                "server": "a", "ok": false, "sentence": "still stopping after 5 s", "status": "stopping", "state": "stopping", "took_ms": 5,
                "error": { "code": "timeout", "message": "see the end of the stop" } }] })),
            "server.start" => Ok(
                json!({ "outcomes": [{ "server": params["servers"][0], "ok": true, "sentence": "Running" }] }),
            ),
            other => Ok(json!({ "command": other, "params": params })),
        }
    }
    async fn hook(&self, call: HookCall) -> HookEnd {
        let end = match call.workflow.as_str() {
            "deploy" => HookEnd::Started(7),
            "off" => HookEnd::Disabled,
            "busy" => HookEnd::TooMany,
            _ => HookEnd::Unknown,
        };
        self.hooked.lock().unwrap().push(call);
        end
    }
    fn subscribe(&self, _: Topic) -> Script {
        let (send, receive) = mpsc::unbounded_channel();
        self.topics.lock().unwrap().push_back(send);
        Script(receive)
    }
    async fn announce(&self, listeners: Vec<Listener>) -> io::Result<()> {
        *self.announced.lock().unwrap() = listeners;
        Ok(())
    }
    async fn remembered_port(&self, _: &str) -> Option<u16> {
        *self.remembered.lock().unwrap()
    }
    async fn remember_port(&self, _: &str, port: u16) {
        *self.remembered.lock().unwrap() = Some(port);
    }
    fn healthz(&self) -> Value {
        json!({ "ok": true })
    }
    fn gateway(&self) -> Option<flotilla_engine::Gateway> {
        None
    }
    async fn metrics(
        &self,
        format: flotilla_engine::Format,
        connections: flotilla_engine::Connections,
    ) -> String {
        format!("# {format:?}, {} dashboards\n", connections.dashboards)
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

struct Panel {
    fleet: Scripted,
    serving: Serving,
    shutdown: CancellationToken,
    http: Client,
    _ui: tempfile::TempDir,
}

impl Panel {
    async fn open() -> Self {
        let ui = tempfile::tempdir().unwrap();
        std::fs::create_dir(ui.path().join("assets")).unwrap();
        std::fs::write(ui.path().join("index.html"), "<!doctype html>the panel").unwrap();
        std::fs::write(ui.path().join("assets/app-1a2b.js"), "1").unwrap();
        let (fleet, shutdown) = (Scripted::default(), CancellationToken::new());
        let options = ServeOptions {
            port: Some(0),
            ui: UiSource::Dir(ui.path().into()),
            ..ServeOptions::default()
        };
        let serving = serve(fleet.clone(), options, shutdown.clone())
            .await
            .unwrap();
        let http = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self {
            fleet,
            serving,
            shutdown,
            http,
            _ui: ui,
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.serving.url())
    }

    /// GET with the token.
    async fn get(&self, path: &str) -> reqwest::Response {
        self.http
            .get(self.at(path))
            .bearer_auth("the-token")
            .send()
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, body: &'static str) -> (StatusCode, Value) {
        let answer = self
            .http
            .post(self.at(path))
            .bearer_auth("the-token")
            .body(body)
            .send()
            .await
            .unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn socket(&self) -> Socket {
        let mut request = format!("ws://{}/ws", self.serving.addr())
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("authorization", "Bearer the-token".parse().unwrap());
        request
            .headers_mut()
            .insert("x-flotilla-actor", "cli:ada".parse().unwrap());
        Socket(connect_async(request).await.unwrap().0)
    }

    /// The engine's end of the oldest subscription that nobody took yet.
    fn topic(&self) -> mpsc::UnboundedSender<Outgoing> {
        self.fleet
            .topics
            .lock()
            .unwrap()
            .pop_front()
            .expect("a subscription")
    }
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn say(&mut self, frame: &ClientFrame) {
        self.0
            .send(Message::text(serde_json::to_string(frame).unwrap()))
            .await
            .unwrap();
    }
    async fn call(&mut self, id: u64, command: &str) {
        self.say(&ClientFrame::Call {
            id,
            command: command.into(),
            params: json!({}),
        })
        .await;
    }
    async fn hear(&mut self) -> ServerFrame {
        match self.0.next().await.unwrap().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("a text frame was expected, not {other:?}"),
        }
    }
}

fn error_of(frame: ServerFrame) -> (u64, ErrorCode) {
    match frame {
        ServerFrame::Error { id, error } => (id, error.code),
        other => panic!("an error was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_browser_gets_in_once_and_stays_in() {
    let panel = Panel::open().await;
    let locked = panel.http.get(panel.at("/")).send().await.unwrap();
    assert_eq!(locked.status(), StatusCode::UNAUTHORIZED);
    assert!(locked.text().await.unwrap().contains("flotilla open"));

    let address = panel.serving.one_time_url().unwrap();
    let entered = panel.http.get(&address).send().await.unwrap();
    assert_eq!(
        (
            entered.status(),
            entered.headers()["location"].to_str().unwrap()
        ),
        (StatusCode::SEE_OTHER, "/")
    );
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly")
            && cookie.contains("SameSite=Strict")
            && !cookie.contains("the-token"),
        "{cookie}"
    );
    let session = cookie.split(';').next().unwrap();

    let page = panel
        .http
        .get(panel.at("/servers/fetch"))
        .header("cookie", session)
        .send()
        .await
        .unwrap();
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert_eq!(page.headers()["x-content-type-options"], "nosniff");
    assert_eq!(page.text().await.unwrap(), "<!doctype html>the panel");
    let info = panel
        .http
        .post(panel.at("/api/v1/call/engine.info"))
        .header("cookie", session)
        .header("x-flotilla-actor", "root");
    let info: Value = info.send().await.unwrap().json().await.unwrap();
    assert_eq!(info["actor"], "panel", "a browser does not choose its name");

    assert_eq!(
        panel.http.get(&address).send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    // A key is made for the holder of the token only, and works.
    let made = panel
        .http
        .post(panel.at("/api/v1/key"))
        .header("cookie", session)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::UNAUTHORIZED);
    let (_, key) = panel.post("/api/v1/key", "").await;
    let again = panel
        .http
        .get(panel.at(&format!("/?t={}", key["key"].as_str().unwrap())))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn strangers_stay_out() {
    let panel = Panel::open().await;
    let get = |path: &str| panel.http.get(panel.at(path)).bearer_auth("the-token");
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();
    assert_eq!(status(get("/api/v1/servers")).await, StatusCode::OK);
    for path in ["/", "/ws", "/healthz", "/api/v1/servers"] {
        assert_eq!(
            status(get(path).header("host", "evil.example")).await,
            StatusCode::FORBIDDEN,
            "{path}"
        );
        assert_eq!(
            status(get(path).header("origin", "http://evil.example")).await,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
    for path in ["/", "/ws", "/api/v1/servers", "/assets/app-1a2b.js"] {
        assert_eq!(
            status(panel.http.get(panel.at(path))).await,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
        assert_eq!(
            status(panel.http.get(panel.at(path)).bearer_auth("wrong")).await,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
    assert_eq!(
        status(panel.http.get(panel.at("/healthz"))).await,
        StatusCode::OK
    );
    // A page of another site cannot open the socket even with the right cookie or token.
    let mut request = format!("ws://{}/ws", panel.serving.addr())
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("authorization", "Bearer the-token".parse().unwrap());
    request
        .headers_mut()
        .insert("origin", "http://evil.example".parse().unwrap());
    assert!(
        connect_async(request)
            .await
            .unwrap_err()
            .to_string()
            .contains("403")
    );
    assert!(
        panel
            .fleet
            .calls
            .lock()
            .unwrap()
            .iter()
            .all(|(_, command, _)| command == "fleet.snapshot")
    );
}

#[tokio::test]
async fn hooks_are_open_to_their_secret_alone() {
    let panel = Panel::open().await;
    let post = |path: &str| panel.http.post(panel.at(path));
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();
    let good = post("/hooks/deploy/push")
        .header("x-hub-signature-256", "sha256=ab")
        .header("x-github-delivery", "d-1")
        .bearer_auth("its secret")
        .body("{}");
    let answer = good.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({ "outcome": "started", "run": 7 }));
    let call = panel.fleet.hooked.lock().unwrap().pop().unwrap();
    assert_eq!(
        (
            call.trigger.as_deref(),
            call.signature.as_deref(),
            call.bearer.as_deref(),
            call.id.as_deref(),
            &*call.body
        ),
        (
            Some("push"),
            Some("sha256=ab"),
            Some("its secret"),
            Some("d-1"),
            &b"{}"[..]
        )
    );
    // The token of the engine opens nothing here.
    for (request, expected) in [
        (
            post("/hooks/other").bearer_auth("the-token"),
            StatusCode::UNAUTHORIZED,
        ),
        (post("/hooks/off"), StatusCode::CONFLICT),
        (post("/hooks/busy"), StatusCode::TOO_MANY_REQUESTS),
        (
            post("/hooks/deploy").body("x".repeat(300_000)),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            post("/hooks/deploy").header("idempotency-key", "x".repeat(200)),
            StatusCode::BAD_REQUEST,
        ),
        (
            post("/hooks/deploy").header("host", "evil.example"),
            StatusCode::FORBIDDEN,
        ),
        (
            post("/hooks/deploy").header("origin", "http://evil.example"),
            StatusCode::FORBIDDEN,
        ),
        (
            panel.http.get(panel.at("/hooks/deploy")),
            StatusCode::UNAUTHORIZED,
        ),
        (post("/hooks/"), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let said = format!("{request:?}");
        assert_eq!(status(request).await, expected, "{said}");
    }
}

#[tokio::test]
async fn files() {
    let panel = Panel::open().await;
    let asset = panel.get("/assets/app-1a2b.js").await;
    assert_eq!(
        asset.headers()["cache-control"],
        "public, max-age=31536000, immutable"
    );
    assert_eq!(
        asset.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
    assert_eq!(panel.get("/").await.headers()["cache-control"], "no-cache");
    assert_eq!(
        panel.get("/assets/gone.js").await.status(),
        StatusCode::NOT_FOUND
    );
    // Sent raw: clients clean such paths up themselves.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    std::fs::write(panel._ui.path().join("../flotilla-outside.txt"), "outside").unwrap();
    let mut raw = TcpStream::connect(panel.serving.addr()).await.unwrap();
    let request = format!(
        "GET /../flotilla-outside.txt HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer the-token\r\nConnection: close\r\n\r\n",
        panel.serving.addr()
    );
    raw.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    std::fs::remove_file(panel._ui.path().join("../flotilla-outside.txt")).unwrap();
}

#[tokio::test]
async fn the_api_maps_onto_commands() {
    let panel = Panel::open().await;
    let read = async |path: &str| panel.get(path).await.json::<Value>().await.unwrap();
    assert_eq!(
        read("/api/v1/logs?servers=a,b&tail=5&contains=x%20y").await,
        json!({ "command": "logs.read", "params": { "servers": ["a", "b"], "instance": null, "tail": 5, "contains": "x y" } })
    );
    assert_eq!(
        read("/api/v1/events?server=a&kinds=server:failed&limit=3").await["params"]["kinds"],
        json!(["server:failed"])
    );
    assert_eq!(
        read("/api/v1/agents?enabled=true").await["command"],
        "agents.list"
    );
    let gone = panel.get("/api/v1/servers/nobody").await;
    assert_eq!(
        (
            gone.status(),
            gone.json::<Value>().await.unwrap()["code"].clone()
        ),
        (StatusCode::NOT_FOUND, json!("not_found"))
    );

    let (status, outcome) = panel.post("/api/v1/servers/a/start", "").await;
    assert_eq!((status, &outcome["ok"]), (StatusCode::OK, &json!(true)));
    let (status, error) = panel.post("/api/v1/servers/a/stop", "").await;
    assert_eq!(
        (status, &error["code"]),
        (StatusCode::GATEWAY_TIMEOUT, &json!("timeout")),
        "2xx means that the end was seen"
    );
    let (_, scaled) = panel
        .post("/api/v1/servers/a/scale", r#"{"replicas": 3}"#)
        .await;
    assert_eq!(scaled["code"], "not_reached", "no outcome is no success");
    assert_eq!(
        panel.fleet.calls.lock().unwrap().last().unwrap().2,
        json!({ "replicas": 3, "server": "a" })
    );

    let refused = async |path: &str, body: &'static str| panel.post(path, body).await.0;
    assert_eq!(
        refused("/api/v1/servers/a/explode", "").await,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        refused("/api/v1/servers/a/start", "{").await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        panel.get("/api/v1/logs?tail=many").await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        panel.get("/api/v1/nowhere").await.status(),
        StatusCode::NOT_FOUND
    );
    let big = panel
        .http
        .post(panel.at("/api/v1/call/config.check"))
        .bearer_auth("the-token")
        .body(vec![b' '; (1 << 20) + 1]);
    assert_eq!(
        big.send().await.unwrap().status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );

    let named = panel
        .http
        .post(panel.at("/api/v1/call/engine.info"))
        .bearer_auth("the-token");
    let named = named
        .header("x-correlation-id", "abc-1")
        .header("x-flotilla-actor", "tray")
        .send()
        .await
        .unwrap();
    assert_eq!(named.headers()["x-correlation-id"], "abc-1");
    assert_eq!(named.json::<Value>().await.unwrap()["actor"], "tray");
}

#[tokio::test]
async fn the_control_socket() {
    let panel = Panel::open().await;
    let mut socket = panel.socket().await;
    assert!(matches!(socket.hear().await, ServerFrame::Hello(hello) if hello.boot == "b1"));

    // A slow call does not hold up a quick one.
    socket.call(1, "tools.call").await;
    socket.call(2, "engine.info").await;
    assert_eq!(
        socket.hear().await,
        ServerFrame::Answer {
            id: 2,
            result: json!({ "actor": "cli:ada" })
        }
    );
    panel.fleet.hold.notify_one();
    assert_eq!(
        socket.hear().await,
        ServerFrame::Answer {
            id: 1,
            result: json!("at last")
        }
    );

    socket
        .say(&ClientFrame::Subscribe {
            id: 3,
            topic: Topic::Metrics,
        })
        .await;
    socket
        .say(&ClientFrame::Subscribe {
            id: 4,
            topic: Topic::Metrics,
        })
        .await;
    assert_eq!(error_of(socket.hear().await), (4, ErrorCode::BadRequest));
    socket
        .say(&ClientFrame::Subscribe {
            id: 3,
            topic: Topic::Fleet,
        })
        .await;
    assert_eq!(error_of(socket.hear().await), (3, ErrorCode::BadRequest));
    let metrics = panel.topic();
    metrics
        .send(Outgoing::Update(Update::Series {
            interval: 2000,
            series: vec![],
        }))
        .unwrap();
    assert!(matches!(
        socket.hear().await,
        ServerFrame::Update { id: 3, .. }
    ));
    metrics
        .send(Outgoing::Binary(bytes::Bytes::from_static(b"FMX1")))
        .unwrap();
    assert_eq!(
        socket.0.next().await.unwrap().unwrap(),
        Message::binary(&b"FMX1"[..])
    );
    socket.say(&ClientFrame::Unsubscribe { id: 3 }).await;
    metrics.closed().await;

    // A fault of the engine is an answer too.
    socket.call(9, "config.get").await;
    assert_eq!(error_of(socket.hear().await), (9, ErrorCode::Internal));

    // An engine that ends a subscription says so.
    socket
        .say(&ClientFrame::Subscribe {
            id: 5,
            topic: Topic::Events,
        })
        .await;
    socket.call(6, "engine.info").await;
    assert!(matches!(
        socket.hear().await,
        ServerFrame::Answer { id: 6, .. }
    ));
    drop(panel.topic());
    assert_eq!(error_of(socket.hear().await), (5, ErrorCode::Unreachable));

    for (text, id) in [
        ("nonsense", 0),
        (r#"{"frame":"call","id":7}"#, 7),
        (r#"{"frame":"subscribe","id":8,"topic":"gossip"}"#, 8),
    ] {
        socket.0.send(Message::text(text)).await.unwrap();
        assert_eq!(
            error_of(socket.hear().await),
            (id, ErrorCode::BadRequest),
            "{text}"
        );
    }

    panel.shutdown.cancel();
    loop {
        match socket.0.next().await {
            Some(Ok(Message::Close(Some(frame)))) => break assert_eq!(u16::from(frame.code), 1001),
            Some(Ok(_)) => {}
            other => panic!("a close frame was expected, not {other:?}"),
        }
    }
    panel.serving.closed().await;
}

#[tokio::test]
async fn limits_of_a_connection() {
    let panel = Panel::open().await;
    let mut socket = panel.socket().await;
    socket.hear().await;
    for id in 0..=ws::MAX_CALLS as u64 {
        socket.call(id, "tools.call").await;
    }
    assert_eq!(
        error_of(socket.hear().await),
        (ws::MAX_CALLS as u64, ErrorCode::BadRequest)
    );
    for id in 1000..=1000 + ws::MAX_SUBSCRIPTIONS as u64 {
        socket
            .say(&ClientFrame::Subscribe {
                id,
                topic: Topic::Fleet,
            })
            .await;
    }
    assert_eq!(
        error_of(socket.hear().await),
        (1000 + ws::MAX_SUBSCRIPTIONS as u64, ErrorCode::BadRequest)
    );
    // A message that is too large ends this connection, and no other.
    let mut other = panel.socket().await;
    other.hear().await;
    let _ = socket
        .0
        .send(Message::text(" ".repeat(ws::MAX_MESSAGE + 1)))
        .await;
    while let Some(Ok(_)) = socket.0.next().await {}
    other.call(1, "engine.info").await;
    assert!(matches!(
        other.hear().await,
        ServerFrame::Answer { id: 1, .. }
    ));
}

#[tokio::test]
async fn ports() {
    let holder = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().port();
    let open = async |fleet: &Scripted, port| {
        let options = ServeOptions {
            port,
            ..ServeOptions::default()
        };
        serve(fleet.clone(), options, CancellationToken::new()).await
    };
    let fleet = Scripted::default();
    let refused = open(&fleet, Some(taken)).await.err().unwrap().to_string();
    assert!(
        refused.contains(&format!("127.0.0.1:{taken}: the port is taken")),
        "{refused}"
    );
    assert!(fleet.announced.lock().unwrap().is_empty());

    // Nobody set a port: one that was remembered and is taken gives way, and what stands in is remembered.
    *fleet.remembered.lock().unwrap() = Some(taken);
    let first = open(&fleet, None).await.unwrap();
    let announced = fleet.announced.lock().unwrap()[0].clone();
    assert_eq!(
        (announced.serves.as_str(), announced.address),
        ("panel", first.addr().to_string())
    );
    let stand_in = open(&fleet, None).await.unwrap();
    assert_eq!(
        fleet.remembered.lock().unwrap().unwrap(),
        stand_in.addr().port()
    );
    assert!(fleet.announced.lock().unwrap()[0].note.is_some());
}
