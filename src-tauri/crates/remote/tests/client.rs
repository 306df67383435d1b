//! The client over real sockets, against a scripted engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use flotilla_contract::{
    CONTRACT_VERSION, ErrorCode, WireError,
    frame::{ClientFrame, Hello, ServerFrame, Topic, Update},
};
use flotilla_remote::{Client, Error, Link, NEWS, News, Source};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

struct Engine {
    listener: TcpListener,
}

struct Peer(WebSocketStream<TcpStream>);

impl Engine {
    async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }
    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }
    fn at(&self, token: &str) -> Source {
        Source::At {
            url: self.url(),
            token: token.into(),
        }
    }
    /// Takes the next connection; the right token is "good".
    async fn accept(&self, contract: u32, boot: &str) -> Option<Peer> {
        #[expect(
            clippy::result_large_err,
            reason = "the handshake's callback is typed so"
        )]
        let door = |request: &Request, response: Response| {
            if request
                .headers()
                .get("authorization")
                .is_some_and(|v| v == "Bearer good")
            {
                return Ok(response);
            }
            let mut no = ErrorResponse::new(None);
            *no.status_mut() = 401.try_into().unwrap();
            Err(no)
        };
        let stream = self.listener.accept().await.unwrap().0;
        let mut peer = Peer(accept_hdr_async(stream, door).await.ok()?);
        peer.say(ServerFrame::Hello(Hello {
            contract,
            version: "9.9".into(),
            boot: boot.into(),
            now: 0,
        }))
        .await;
        Some(peer)
    }
}

impl Peer {
    async fn say(&mut self, frame: ServerFrame) {
        self.0
            .send(Message::text(serde_json::to_string(&frame).unwrap()))
            .await
            .unwrap();
    }
    async fn hear(&mut self) -> ClientFrame {
        loop {
            if let Message::Text(text) = self.0.next().await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
    /// The id of the subscription that comes next.
    async fn subscribed(&mut self) -> u64 {
        match self.hear().await {
            ClientFrame::Subscribe { id, .. } => id,
            other => panic!("a subscription was expected, not {other:?}"),
        }
    }
    async fn events(&mut self, id: u64, durable: u64) {
        self.say(ServerFrame::Update {
            id,
            update: Update::Events {
                events: vec![],
                durable,
            },
        })
        .await;
    }
}

fn durable(news: Option<News>) -> u64 {
    match news {
        Some(News::Update(Update::Events { durable, .. })) => durable,
        other => panic!("events were expected, not {other:?}"),
    }
}

#[tokio::test]
async fn says_why_it_cannot_connect() {
    let home = tempfile::tempdir().unwrap();
    let connect = async |source| Client::connect(source, "cli").await.err().unwrap();
    assert!(matches!(
        connect(Source::Home(home.path().into())).await,
        Error::NoEngine { .. }
    ));
    std::fs::write(home.path().join("engine.json"), "{").unwrap();
    assert!(matches!(
        connect(Source::Home(home.path().into())).await,
        Error::File { .. }
    ));

    let engine = Engine::new().await;
    let (error, _) = tokio::join!(
        connect(engine.at("bad")),
        engine.accept(CONTRACT_VERSION, "b")
    );
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let (error, _) = tokio::join!(
        connect(engine.at("good")),
        engine.accept(CONTRACT_VERSION + 1, "b")
    );
    assert!(
        matches!(&error, Error::Contract { version, .. } if version == "9.9"),
        "{error}"
    );

    // What a killed engine left behind names an address where nobody answers.
    let boot =
        json!({ "boot": "b", "pid": 1, "url": engine.url(), "token": "good", "version": "0" });
    std::fs::write(home.path().join("engine.json"), boot.to_string()).unwrap();
    drop(engine);
    assert!(matches!(
        connect(Source::Home(home.path().into())).await,
        Error::Unreachable { .. }
    ));
}

#[tokio::test]
async fn answers_find_their_callers() {
    let engine = Engine::new().await;
    let (client, peer) = tokio::join!(
        Client::connect(engine.at("good"), "cli"),
        engine.accept(CONTRACT_VERSION, "b")
    );
    let (client, mut peer) = (client.unwrap(), peer.unwrap());
    let script = async {
        let (
            ClientFrame::Call {
                id: one, command, ..
            },
            ClientFrame::Call { id: two, .. },
        ) = (peer.hear().await, peer.hear().await)
        else {
            panic!("two calls were expected")
        };
        assert_eq!(command, "engine.info");
        peer.say(ServerFrame::Error {
            id: two,
            error: WireError::new(ErrorCode::NotFound, "find the server x"),
        })
        .await;
        peer.say(ServerFrame::Answer {
            id: one,
            result: json!(1),
        })
        .await;
    };
    let (first, second, ()) = tokio::join!(biased; client.call("engine.info", json!({})), client.call("server.get", json!({})), script);
    assert_eq!(first.unwrap(), json!(1));
    assert_eq!(
        second.unwrap_err().to_string(),
        "failed to find the server x"
    );
}

#[tokio::test]
async fn comes_back_and_starts_subscriptions_afresh() {
    let engine = Engine::new().await;
    let home = tempfile::tempdir().unwrap();
    let boot = |engine: &Engine| {
        json!({ "boot": "b", "pid": 1, "url": engine.url(), "token": "good", "version": "0" })
            .to_string()
    };
    std::fs::write(home.path().join("engine.json"), boot(&engine)).unwrap();
    let connect = Client::connect(Source::Home(home.path().into()), "cli");
    let (client, peer) = tokio::join!(connect, engine.accept(CONTRACT_VERSION, "one"));
    let (client, mut peer) = (client.unwrap(), peer.unwrap());
    let mut events = client.subscribe(Topic::Events).await.unwrap();
    let id = peer.subscribed().await;
    peer.events(id, 1).await;
    assert_eq!(durable(events.next().await), 1);

    // The engine dies with a call under way, and another one takes the home, elsewhere.
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.call("server.stop", json!({})).await }
    });
    peer.hear().await;
    let mut link = client.link();
    let next = Engine::new().await;
    std::fs::write(home.path().join("engine.json"), boot(&next)).unwrap();
    drop((peer, engine));
    assert!(matches!(asked.await.unwrap(), Err(Error::Lost)));
    let mut peer = next.accept(CONTRACT_VERSION, "two").await.unwrap();
    link.wait_for(|link| matches!(link, Link::Up(hello) if hello.boot == "two"))
        .await
        .unwrap();
    let id = peer.subscribed().await;
    peer.events(id, 2).await;
    assert_eq!(durable(events.next().await), 2);
    drop(events);
    assert_eq!(peer.hear().await, ClientFrame::Unsubscribe { id });
}

#[tokio::test]
async fn gives_up_where_trying_is_hopeless() {
    let engine = Engine::new().await;
    let (client, peer) = tokio::join!(
        Client::connect(engine.at("good"), "cli"),
        engine.accept(CONTRACT_VERSION, "b")
    );
    let client = client.unwrap();
    let mut events = client.subscribe(Topic::Events).await.unwrap();
    drop(peer);
    engine.accept(CONTRACT_VERSION + 1, "newer").await.unwrap();
    assert!(events.next().await.is_none());
    assert!(matches!(
        client.call("engine.info", json!({})).await,
        Err(Error::Contract { .. })
    ));
}

#[tokio::test]
async fn a_slow_reader_gets_a_fresh_start() {
    let engine = Engine::new().await;
    let (client, peer) = tokio::join!(
        Client::connect(engine.at("good"), "cli"),
        engine.accept(CONTRACT_VERSION, "b")
    );
    let (client, mut peer) = (client.unwrap(), peer.unwrap());
    let mut events = client.subscribe(Topic::Events).await.unwrap();
    let id = peer.subscribed().await;
    for n in 0..=NEWS as u64 {
        peer.events(id, n).await;
    }
    assert_eq!(peer.hear().await, ClientFrame::Unsubscribe { id });
    for n in 0..NEWS as u64 {
        assert_eq!(durable(events.next().await), n);
    }
    let (news, ()) = tokio::join!(events.next(), async {
        let again = peer.subscribed().await;
        assert_ne!(again, id);
        peer.events(id, 7).await; // under the old id: nobody's
        peer.events(again, 1000).await;
    });
    assert_eq!(durable(news), 1000);

    let mut metrics = client.subscribe(Topic::Metrics).await.unwrap();
    let id = peer.subscribed().await;
    peer.0.send(Message::binary(&b"FMX1"[..])).await.unwrap();
    assert!(matches!(metrics.next().await, Some(News::Tick(bytes)) if bytes == "FMX1"));
    peer.say(ServerFrame::Error {
        id,
        error: WireError::new(ErrorCode::BadRequest, "no"),
    })
    .await;
    assert!(matches!(metrics.next().await, Some(News::Failed(_))));
}
