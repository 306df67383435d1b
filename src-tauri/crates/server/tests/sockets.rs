//! The dashboard WebSocket over real sockets, in front of a scripted engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use flotilla_contract::{
    Caller, EventKind, WireError,
    dashboard::{
        DashboardAgents, DashboardConnections, DashboardMetrics, DashboardServers, Performance,
    },
    frame::{Hello, Listener, Topic, Update},
};
use flotilla_engine::{Connections, Format, Gateway, HookCall, HookEnd, Outgoing};
use flotilla_server::{Fleet, News, ServeOptions, serve};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine whose every picture differs from the one before.
#[derive(Clone)]
struct Told {
    taken: Arc<AtomicU32>,
    every: Duration,
    /// What makes a picture large.
    tags: usize,
    announced: Arc<Mutex<Vec<Listener>>>,
    topics: Arc<Mutex<Vec<mpsc::UnboundedSender<Outgoing>>>>,
    subscribed: Arc<tokio::sync::Notify>,
}

struct Script(mpsc::UnboundedReceiver<Outgoing>);

impl News for Script {
    async fn next(&mut self) -> Option<Outgoing> {
        self.0.recv().await
    }
}

impl Fleet for Told {
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
    async fn call(&self, _: &Caller, command: &str, _: Value) -> Result<Value, WireError> {
        assert_eq!(command, "agents.list");
        Ok(json!([{
            "id": "echo", "name": "Echo", "version": "1", "capabilities": [], "tags": ["test"], "category": "utility",
            "enabled": true, "deployed_at": 1, "config": {} }]))
    }
    async fn hook(&self, _: HookCall) -> HookEnd {
        HookEnd::Unknown
    }
    fn subscribe(&self, _: Topic) -> Script {
        let (send, receive) = mpsc::unbounded_channel();
        self.topics.lock().unwrap().push(send);
        self.subscribed.notify_one();
        Script(receive)
    }
    async fn announce(&self, listeners: Vec<Listener>) -> io::Result<()> {
        *self.announced.lock().unwrap() = listeners;
        Ok(())
    }
    async fn remembered_port(&self, _: &str) -> Option<u16> {
        None
    }
    async fn remember_port(&self, _: &str, _: u16) {}
    fn healthz(&self) -> Value {
        json!({})
    }
    fn gateway(&self) -> Option<Gateway> {
        None
    }
    async fn metrics(&self, format: Format, connections: Connections) -> String {
        format!("# {format:?} {}\n", connections.dashboards)
    }
    fn agent_status(&self) -> Value {
        json!({ "ok": true })
    }
    fn sockets(&self) -> (bool, bool) {
        (true, true)
    }
    fn dashboard(&self, connections: Connections) -> DashboardMetrics {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        DashboardMetrics {
            timestamp: 1,
            agents: DashboardAgents {
                total: 1,
                enabled: 1,
                disabled: 0,
                categories: 1,
                tags: 1,
                by_category: [("utility".to_owned(), 1)].into(),
                by_tag: (0..self.tags)
                    .map(|tag| (format!("tag {tag} {}", "x".repeat(100)), 1))
                    .collect(),
            },
            mcp_servers: DashboardServers {
                total: 2,
                running: 1,
                healthy: 1,
                unhealthy: 0,
                failed: 1,
            },
            performance: Performance {
                memory_usage_mb: taken.into(),
                memory_percentage: Some(0.5),
                cpu_load_average: Some([0.1, 0.2, 0.3]),
                uptime: 7,
            },
            connections: DashboardConnections {
                websocket_clients: connections.dashboards,
                active_streams: connections.followers,
            },
        }
    }
    fn dashboard_every(&self) -> Duration {
        self.every
    }
}

struct Board {
    fleet: Told,
    at: String,
    metrics: String,
    shutdown: CancellationToken,
    serving: flotilla_server::Serving,
}

impl Board {
    async fn open(every: Duration, tags: usize) -> Self {
        let fleet = Told {
            taken: Arc::default(),
            every,
            tags,
            announced: Arc::default(),
            topics: Arc::default(),
            subscribed: Arc::default(),
        };
        let options = ServeOptions {
            port: Some(0),
            dashboard_port: Some(0),
            stream_port: Some(0),
            ..ServeOptions::default()
        };
        let shutdown = CancellationToken::new();
        let serving = serve(fleet.clone(), options, shutdown.clone())
            .await
            .unwrap();
        let announced = fleet.announced.lock().unwrap().clone();
        let at = |serves: &str| {
            let found = announced.iter().find(|l| l.serves == serves).unwrap();
            found.address.clone()
        };
        Self {
            at: at("dashboard"),
            metrics: format!("http://{}/metrics", at("panel")),
            fleet,
            shutdown,
            serving,
        }
    }

    async fn join(&self) -> Client {
        let (socket, _) = connect_async(format!("ws://{}/", self.at)).await.unwrap();
        Client(socket)
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message that is no ping.
    async fn hear(&mut self) -> Value {
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                    Message::Close(frame) => {
                        let frame = frame.unwrap();
                        let code = u16::from(frame.code);
                        return json!({ "close": code, "reason": frame.reason.as_str() });
                    }
                    _ => {}
                }
            }
        });
        heard.await.expect("something is said")
    }

    async fn hear_type(&mut self, kind: &str) -> Value {
        loop {
            let heard = self.hear().await;
            if heard["type"] == kind {
                return heard;
            }
        }
    }
}

#[tokio::test]
async fn a_client_hears_what_the_seed_says_and_is_answered() {
    let board = Board::open(Duration::from_secs(3_600), 0).await;
    let mut client = board.join().await;
    let first = client.hear().await;
    assert_eq!(first["type"], "metrics:update");
    assert!(first["timestamp"].is_u64() && first.get("delta").is_none());
    assert_eq!(
        first["data"],
        json!({
            "timestamp": 1,
            "agents": { "total": 1, "enabled": 1, "disabled": 0, "categories": 1, "tags": 1, "byCategory": { "utility": 1 }, "byTag": {} },
            "mcpServers": { "total": 2, "running": 1, "healthy": 1, "unhealthy": 0, "failed": 1 },
            "performance": { "memoryUsageMB": 0, "memoryPercentage": 0.5, "cpuLoadAverage": [0.1, 0.2, 0.3], "uptime": 7 },
            "connections": { "websocketClients": 1, "activeStreams": 0 },
        })
    );
    for (said, kind) in [
        (r#"{"type":"subscribe"}"#, "subscribed"),
        (r#"{"type":"unsubscribe","more":1}"#, "unsubscribed"),
        (r#"{"type":"ping"}"#, "pong"),
        (r#"{"type":"request_metrics"}"#, "metrics:update"),
        ("not JSON", "error"),
        (r#"{"type":7}"#, "error"),
        (r#"{"type":"subscribe","delta":"yes"}"#, "error"),
    ] {
        client.say(said).await;
        let answer = client.hear().await;
        assert_eq!(answer["type"], kind, "{said}");
        assert!(answer["timestamp"].is_u64(), "{answer}");
    }
    // What nobody knows is let pass; the next answer is that of the next question.
    client.say(r#"{"type":"dance"}"#).await;
    client.say(r#"{"type":"request_agents"}"#).await;
    let agents = client.hear().await;
    assert_eq!(
        (&agents["type"], &agents["data"][0]["id"]),
        (&json!("agents:list"), &json!("echo"))
    );
    // What happens is told.
    let events = loop {
        if let [_, events] = &board.fleet.topics.lock().unwrap()[..] {
            break events.clone();
        }
        board.fleet.subscribed.notified().await;
    };
    for change in ["deployed", "updated", "removed"] {
        for agent in ["echo", "unknown"] {
            let what = EventKind::AgentChanged {
                agent: agent.into(),
                change: change.into(),
            };
            let event = flotilla_contract::Event {
                seq: 1,
                at: 1,
                server: None,
                instance: None,
                correlation: None,
                what,
            };
            let update = Update::Events {
                events: vec![event],
                durable: 1,
            };
            events.send(Outgoing::Update(update)).unwrap();
        }
        let news = client.hear().await;
        assert_eq!(news["type"], format!("agent:{change}"));
        assert_eq!(news["data"]["agentId"], "echo");
        assert_eq!(news["data"].get("agent").is_some(), change != "removed");
    }
    assert_eq!(client.hear().await["data"]["agentId"], "unknown", "removed");
    // Both formats, by name; and who is connected.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (accept, page) in [
        ("*/*", "# Text 1\n"),
        ("application/openmetrics-text", "# OpenMetrics 1\n"),
    ] {
        let asked = http.get(&board.metrics).header("accept", accept);
        assert_eq!(asked.send().await.unwrap().text().await.unwrap(), page);
    }
    board.shutdown.cancel();
    assert_eq!(
        client.hear().await,
        json!({ "close": 1000, "reason": "Server shutting down" })
    );
    board.serving.closed().await;
}

#[tokio::test]
async fn deltas_make_the_pictures_that_others_get_whole() {
    let board = Board::open(Duration::from_millis(100), 40).await;
    let (mut plain, mut delta) = (board.join().await, board.join().await);
    delta.say(r#"{"type":"subscribe","delta":true}"#).await;
    delta.hear_type("subscribed").await;
    let mut picture = delta.hear_type("metrics:update").await;
    assert!(picture.get("delta").is_none(), "the first one is whole");
    let mut sizes = (0, 0);
    for _ in 0..3 {
        let changed = delta.hear_type("metrics:update").await;
        assert_eq!(changed["delta"], true);
        sizes.0 += changed.to_string().len();
        let memory = changed["data"]["performance"]["memoryUsageMB"].clone();
        assert_eq!(
            changed["data"]["agents"],
            Value::Null,
            "nothing changed there"
        );
        picture["data"]["performance"]["memoryUsageMB"] = memory.clone();
        // The same one, whole.
        let whole = loop {
            let whole = plain.hear_type("metrics:update").await;
            if whole["data"]["performance"]["memoryUsageMB"] == memory {
                break whole;
            }
        };
        sizes.1 += whole.to_string().len();
        assert_eq!(whole["data"], picture["data"]);
    }
    assert!(sizes.0 * 20 < sizes.1, "{sizes:?}");
    // Asked for, the picture is whole, and so is the next one: changes are told since that.
    delta.say(r#"{"type":"request_metrics"}"#).await;
    loop {
        let next = delta.hear_type("metrics:update").await;
        if next.get("delta").is_none() {
            break;
        }
    }
    assert!(
        delta
            .hear_type("metrics:update")
            .await
            .get("delta")
            .is_none()
    );
    assert_eq!(delta.hear_type("metrics:update").await["delta"], true);
}

/// One that never reads costs its queue and nobody's time; once it reads it gets what is newest.
#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up() {
    let board = Board::open(Duration::from_millis(100), 2_000).await;
    let mut stalled = TcpStream::connect(&board.at).await.unwrap();
    let ask = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        board.at
    );
    stalled.write_all(ask.as_bytes()).await.unwrap();
    let mut reading = board.join().await;
    let mut last = 0;
    // More than any socket's buffers hold.
    for _ in 0..100 {
        let heard = reading.hear_type("metrics:update").await;
        last = heard["data"]["performance"]["memoryUsageMB"]
            .as_u64()
            .unwrap();
    }
    assert!(last >= 99);
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, async {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = stalled.read(&mut buffer).await.unwrap();
            assert!(count > 0, "it was not cut off");
            all.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&all);
            let found = text
                .rfind("\"memoryUsageMB\":")
                .map(|at| text[at + 16..].to_owned());
            let number = found.and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
            if number.is_some_and(|number| number >= last) {
                return text.matches("metrics:update").count();
            }
        }
    });
    let frames = read.await.expect("the newest comes");
    assert!(
        frames < usize::try_from(last).unwrap() - 10,
        "{frames} frames of {last}: the ones in between were replaced"
    );
}

#[tokio::test]
async fn the_doors_of_the_sockets() {
    let board = Board::open(Duration::from_secs(3_600), 0).await;
    let stream = {
        let announced = board.fleet.announced.lock().unwrap();
        let found = announced.iter().find(|l| l.serves == "stream").unwrap();
        format!("ws://{}", found.address)
    };
    let ask = |url: String, origin: Option<&str>| {
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        async move {
            match connect_async(request).await {
                Ok((socket, _)) => Ok(Client(socket).hear().await),
                Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                    Err(answer.status().as_u16())
                }
                Err(other) => panic!("{other}"),
            }
        }
    };
    let elsewhere = Some("http://evil.example");
    let dashboard = format!("ws://{}/", board.at);
    assert_eq!(ask(dashboard.clone(), elsewhere).await, Err(403));
    assert!(ask(dashboard + "?token=the-token", elsewhere).await.is_ok());
    assert_eq!(ask(format!("{stream}/elsewhere"), None).await, Err(404));
    assert_eq!(ask(format!("{stream}/stream"), elsewhere).await, Err(403));
    for (path, reason) in [
        ("/stream", "requestId is missing"),
        ("/stream?requestId=x", "no request of this id is known"),
    ] {
        let heard = ask(format!("{stream}{path}"), None).await.unwrap();
        assert_eq!(heard, json!({ "close": 1008, "reason": reason }));
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let plain = http.get(format!("http://{}/", board.at)).send().await;
    assert_eq!(plain.unwrap().status(), 426);
}
