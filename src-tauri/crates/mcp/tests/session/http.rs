//! Streamable HTTP, against a small server of the test's own.

use crate::raw;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use flotilla_contract::{gateway::PoolState, tool::Era};
use flotilla_mcp::{
    Error, HttpClient, HttpTarget, Options, PoolOptions, PoolStats, RequestOptions, Session,
};
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// What reached the server.
#[derive(Debug)]
struct Heard {
    http: Method,
    headers: HeaderMap,
    body: Value,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// "METHOD rpc-method session".
    fn line(&self) -> String {
        let method = self.body["method"].as_str().unwrap_or("-");
        format!("{} {method} {}", self.http, self.header("mcp-session-id"))
            .trim_end()
            .to_owned()
    }
}

type Request = (Heard, oneshot::Sender<Response>);

/// A server that does what the test says, request by request.
struct Server {
    url: String,
    requests: mpsc::Receiver<Request>,
}

impl Server {
    async fn start() -> Self {
        async fn pass(
            State(to): State<Arc<mpsc::Sender<Request>>>,
            http: Method,
            headers: HeaderMap,
            body: Bytes,
        ) -> Response {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (reply, response) = oneshot::channel();
            if to
                .send((
                    Heard {
                        http,
                        headers,
                        body,
                    },
                    reply,
                ))
                .await
                .is_err()
            {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            // A test that drops the request leaves it without an answer.
            match response.await {
                Ok(response) => response,
                Err(_) => std::future::pending().await,
            }
        }
        let (to, requests) = mpsc::channel(16);
        let app = Router::new().fallback(pass).with_state(Arc::new(to));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, requests }
    }

    fn session(&self, listen: bool) -> Session {
        let headers = [("X-Key".to_owned(), "secret".to_owned())];
        let target = HttpTarget::new(&HttpClient::new(), &self.url, headers).unwrap();
        Session::http(
            target,
            Options {
                listen,
                ..Options::default()
            },
        )
    }

    /// The next request, which must read like this.
    async fn hear(&mut self, line: &str) -> Request {
        let request = self.requests.recv().await.unwrap();
        assert_eq!(request.0.line(), line, "{:?}", request.0);
        assert_eq!(request.0.header("x-key"), "secret");
        request
    }

    async fn answer(&mut self, line: &str, response: impl FnOnce(&Value) -> Response) -> Heard {
        let (heard, reply) = self.hear(line).await;
        let _ = reply.send(response(&heard.body["id"]));
        heard
    }

    /// A legacy session, greeted.
    async fn legacy(&mut self, listen: bool) -> Session {
        let session = self.session(listen);
        let greeting = session.clone();
        let greeted = tokio::spawn(async move { greeting.greet(Some(Era::Legacy)).await });
        self.accept_legacy("s1").await;
        greeted.await.unwrap().unwrap();
        session
    }

    async fn accept_legacy(&mut self, session: &'static str) {
        let heard = self
            .answer("POST initialize", |id| initialized(id, session))
            .await;
        assert_eq!(heard.header("mcp-protocol-version"), "");
        assert_eq!(
            heard.header("accept"),
            "application/json, text/event-stream"
        );
        let heard = self
            .answer(&format!("POST notifications/initialized {session}"), |_| {
                accepted()
            })
            .await;
        assert_eq!(heard.header("mcp-protocol-version"), "2025-06-18");
    }

    async fn modern(&mut self) -> Session {
        let session = self.session(true);
        let greeting = session.clone();
        let greeted = tokio::spawn(async move { greeting.greet(None).await });
        let heard = self
            .answer("POST server/discover", |id| {
                result(id, json!({"supportedVersions": ["2026-07-28"]}))
            })
            .await;
        assert_eq!(heard.header("mcp-protocol-version"), "2026-07-28");
        assert_eq!(heard.header("mcp-method"), "server/discover");
        assert_eq!(greeted.await.unwrap().unwrap().era, Era::Modern);
        session
    }
}

fn initialized(id: &Value, session: &'static str) -> Response {
    let result = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "h", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    (
        [
            ("content-type", "application/json; charset=utf-8"),
            ("mcp-session-id", session),
        ],
        body,
    )
        .into_response()
}

fn json_with(status: u16, body: &Value) -> Response {
    (
        StatusCode::from_u16(status).unwrap(),
        [("content-type", "application/json")],
        body.to_string(),
    )
        .into_response()
}

fn result(id: &Value, result: Value) -> Response {
    json_with(200, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn refusal(status: u16, id: &Value, code: i64) -> Response {
    json_with(
        status,
        &json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}}),
    )
}

fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

/// A stream of events, and the hand that feeds it; it ends when the hand is dropped.
fn events() -> (mpsc::Sender<String>, Response) {
    let (hand, from) = mpsc::channel::<String>(8);
    let chunks = futures_util::stream::unfold(from, async |mut from| {
        from.recv()
            .await
            .map(|chunk| (Ok::<_, Infallible>(chunk), from))
    });
    (
        hand,
        (
            [("content-type", "text/event-stream")],
            Body::from_stream(chunks),
        )
            .into_response(),
    )
}

fn event(id: Option<u32>, message: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: message\ndata: {message}\n\n")
}

fn call(
    session: &Session,
    options: RequestOptions,
) -> tokio::task::JoinHandle<Result<String, Error>> {
    let session = session.clone();
    let params = raw(&json!({"name": "größe"}));
    tokio::spawn(async move {
        session
            .request("tools/call", params, options)
            .await
            .map(|result| result.get().to_owned())
    })
}

#[tokio::test]
async fn a_legacy_session_from_first_to_last() {
    let mut server = Server::start().await;
    let session = server.session(false);
    let greeting = session.clone();
    let greeted = tokio::spawn(async move { greeting.greet(None).await });
    server
        .answer("POST server/discover", |_| {
            refusal(400, &Value::Null, -32000)
        })
        .await;
    server.accept_legacy("s1").await;
    assert_eq!(
        greeted.await.unwrap().unwrap().protocol_version,
        "2025-06-18"
    );

    let (progress, mut steps) = mpsc::channel(8);
    let calling = call(
        &session,
        RequestOptions {
            on_progress: Some(progress),
            ..RequestOptions::default()
        },
    );
    let (heard, reply) = server.hear("POST tools/call s1").await;
    assert_eq!(heard.header("mcp-method"), "", "legacy");
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    let params =
        json!({"progressToken": heard.body["params"]["_meta"]["progressToken"], "progress": 1});
    hand.send(
        ": hello\n\n".to_owned()
            + &event(
                None,
                &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}),
            ),
    )
    .await
    .unwrap();
    assert_eq!(steps.recv().await.unwrap().read(), Some((1.0, None, None)));
    // The server asks on the same stream, and is answered by a POST.
    hand.send(event(
        None,
        &json!({"jsonrpc": "2.0", "id": "q", "method": "ping"}),
    ))
    .await
    .unwrap();
    let heard_reply = server.answer("POST - s1", |_| accepted()).await;
    assert_eq!(
        heard_reply.body,
        json!({"jsonrpc": "2.0", "id": "q", "result": {}})
    );
    hand.send(event(
        None,
        &json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {"b": 1, "a": 2}}),
    ))
    .await
    .unwrap();
    assert_eq!(calling.await.unwrap().unwrap(), r#"{"b":1,"a":2}"#);

    let closing = tokio::spawn(async move { session.close().await });
    server
        .answer("DELETE - s1", |_| StatusCode::OK.into_response())
        .await;
    closing.await.unwrap();
}

#[tokio::test]
async fn a_modern_server_gets_its_headers_and_no_session() {
    let mut server = Server::start().await;
    let session = server.modern().await;
    let calling = call(&session, RequestOptions::default());
    let heard = server
        .answer("POST tools/call", |id| {
            result(id, json!({"resultType": "complete"}))
        })
        .await;
    assert_eq!(heard.header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(heard.header("mcp-method"), "tools/call");
    assert_eq!(heard.header("mcp-name"), "=?base64?Z3LDtsOfZQ==?=");
    assert_eq!(
        heard.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    calling.await.unwrap().unwrap();

    let calling = call(&session, RequestOptions::default());
    server
        .answer("POST tools/call", |id| refusal(404, id, -32601))
        .await;
    assert!(matches!(
        calling.await.unwrap(),
        Err(Error::Rpc { code: -32601, .. })
    ));
}

#[tokio::test]
async fn marked_arguments_travel_in_headers_and_a_refusal_for_headers_asks_for_the_tools_once() {
    let mut server = Server::start().await;
    let session = server.modern().await;
    let calling = || {
        let (session, params) = (
            session.clone(),
            raw(&json!({"name": "t", "arguments": {"region": "eu"}})),
        );
        tokio::spawn(async move {
            session
                .request("tools/call", params, RequestOptions::default())
                .await
        })
    };
    let tools = json!({"resultType": "complete", "tools": [{"name": "t", "inputSchema": {"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
    }}}]});

    let call = calling();
    let heard = server
        .answer("POST tools/call", |id| refusal(400, id, -32020))
        .await;
    assert_eq!(
        heard.header("mcp-param-region"),
        "",
        "nobody listed the tools"
    );
    server
        .answer("POST tools/list", |id| result(id, tools.clone()))
        .await;
    let heard = server
        .answer("POST tools/call", |id| {
            result(id, json!({"resultType": "complete"}))
        })
        .await;
    assert_eq!(heard.header("mcp-param-region"), "eu");
    call.await.unwrap().unwrap();

    let call = calling();
    let heard = server
        .answer("POST tools/call", |id| refusal(400, id, -32020))
        .await;
    assert_eq!(heard.header("mcp-param-region"), "eu");
    server
        .answer("POST tools/list", |id| result(id, tools.clone()))
        .await;
    let refused = call.await.unwrap();
    assert!(
        matches!(refused, Err(Error::Rpc { code: -32020, .. })),
        "they are the same: {refused:?}"
    );
}

#[tokio::test]
async fn a_lost_session_is_renewed_once_for_all_and_the_refused_requests_are_sent_again() {
    type Refusal = fn(&Value) -> Response;
    let ways: [Refusal; 3] = [
        |_| StatusCode::NOT_FOUND.into_response(),
        |_| refusal(404, &Value::Null, -32001),
        |_| refusal(400, &Value::Null, -32000),
    ];
    for lost in ways {
        let mut server = Server::start().await;
        let session = server.legacy(false).await;
        let (one, two) = (
            call(&session, RequestOptions::default()),
            call(&session, RequestOptions::default()),
        );
        let (first, second) = (
            server.hear("POST tools/call s1").await,
            server.hear("POST tools/call s1").await,
        );
        first.1.send(lost(&Value::Null)).unwrap();
        second.1.send(lost(&Value::Null)).unwrap();
        server.accept_legacy("s2").await;
        server
            .answer("POST tools/call s2", |id| result(id, json!(1)))
            .await;
        server
            .answer("POST tools/call s2", |id| result(id, json!(2)))
            .await;
        let mut results = [one.await.unwrap().unwrap(), two.await.unwrap().unwrap()];
        results.sort_unstable();
        assert_eq!(results, ["1", "2"]);

        // Lost again at once: no second try.
        let calling = call(&session, RequestOptions::default());
        server.answer("POST tools/call s2", lost).await;
        server.accept_legacy("s3").await;
        server.answer("POST tools/call s3", lost).await;
        assert!(matches!(calling.await.unwrap(), Err(Error::SessionLost(_))));
    }
}

#[tokio::test]
async fn what_the_server_may_have_done_is_not_sent_again() {
    let mut server = Server::start().await;
    let session = server.legacy(false).await;
    let calling = call(&session, RequestOptions::default());
    let (_, reply) = server.hear("POST tools/call s1").await;
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    drop(hand);
    assert!(matches!(calling.await.unwrap(), Err(Error::Interrupted(_))));
    // An error that names the request is the request's own.
    let calling = call(&session, RequestOptions::default());
    server
        .answer("POST tools/call s1", |id| refusal(400, id, -32602))
        .await;
    assert!(matches!(
        calling.await.unwrap(),
        Err(Error::Rpc { code: -32602, .. })
    ));
}

#[tokio::test]
async fn an_answer_is_picked_up_where_the_server_hung_up() {
    let mut server = Server::start().await;
    let session = server.legacy(false).await;
    let calling = call(&session, RequestOptions::default());
    let (heard, reply) = server.hear("POST tools/call s1").await;
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    hand.send("id: 7\nretry: 1\ndata:\n\n".to_owned())
        .await
        .unwrap();
    drop(hand);
    let (resumed, reply) = server.hear("GET - s1").await;
    assert_eq!(resumed.header("last-event-id"), "7");
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    hand.send(event(
        Some(8),
        &json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": "done"}),
    ))
    .await
    .unwrap();
    assert_eq!(calling.await.unwrap().unwrap(), r#""done""#);

    // But not for ever, if nothing comes of it.
    let calling = call(&session, RequestOptions::default());
    let (_, reply) = server.hear("POST tools/call s1").await;
    let nothing = || {
        (
            [("content-type", "text/event-stream")],
            "id: 9\nretry: 1\ndata:\n\n",
        )
            .into_response()
    };
    reply.send(nothing()).unwrap();
    for _ in 0..6 {
        server.answer("GET - s1", |_| nothing()).await;
    }
    assert!(matches!(calling.await.unwrap(), Err(Error::Interrupted(_))));
}

#[tokio::test]
async fn giving_up_is_told_in_the_way_of_the_era() {
    let mut server = Server::start().await;
    let session = server.legacy(false).await;
    let options = RequestOptions::default();
    let cancel = options.cancel.clone();
    let calling = call(&session, options);
    let (heard, _unanswered) = server.hear("POST tools/call s1").await;
    cancel.cancel();
    assert!(matches!(calling.await.unwrap(), Err(Error::Cancelled)));
    let cancelled = server
        .answer("POST notifications/cancelled s1", |_| accepted())
        .await;
    assert_eq!(cancelled.body["params"]["requestId"], heard.body["id"]);

    let mut server = Server::start().await;
    let session = server.modern().await;
    let options = RequestOptions::default();
    let cancel = options.cancel.clone();
    let calling = call(&session, options);
    let (_, reply) = server.hear("POST tools/call").await;
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    hand.send(": first\n\n".to_owned()).await.unwrap();
    cancel.cancel();
    assert!(matches!(calling.await.unwrap(), Err(Error::Cancelled)));
    // The response stream is closed, and nothing is sent for it: the next request is the next thing heard.
    hand.closed().await;
    let calling = call(&session, RequestOptions::default());
    server
        .answer("POST tools/call", |id| result(id, json!(1)))
        .await;
    calling.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_legacy_server_is_listened_to_between_requests() {
    let mut server = Server::start().await;
    let session = server.legacy(true).await;
    let mut notifications = session.notifications();
    let (heard, reply) = server.hear("GET - s1").await;
    assert_eq!(heard.header("accept"), "text/event-stream");
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    hand.send(event(
        None,
        &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
    ))
    .await
    .unwrap();
    assert_eq!(
        notifications.next().await.unwrap().unwrap().method,
        "notifications/tools/list_changed"
    );
    // A new session is listened to in place of the old one.
    let calling = call(&session, RequestOptions::default());
    server
        .answer("POST tools/call s1", |_| {
            StatusCode::NOT_FOUND.into_response()
        })
        .await;
    server.accept_legacy("s2").await;
    hand.closed().await;
    let mut hand = None;
    for _ in 0..2 {
        let (heard, reply) = server.requests.recv().await.unwrap();
        let response = match heard.line().as_str() {
            "GET - s2" => {
                let (new, stream) = events();
                hand = Some(new);
                stream
            }
            "POST tools/call s2" => result(&heard.body["id"], json!(1)),
            other => panic!("unexpected {other}"),
        };
        reply.send(response).unwrap();
    }
    calling.await.unwrap().unwrap();
    drop(session);
    hand.unwrap().closed().await;
    server
        .answer("DELETE - s2", |_| StatusCode::OK.into_response())
        .await;
    assert!(notifications.next().await.is_none());
}

#[tokio::test]
async fn what_stands_at_the_address_is_named() {
    /// Greets a server that answers each request so; gives the error.
    async fn failure(answer: impl Fn(&Heard) -> Response) -> Error {
        let mut server = Server::start().await;
        let session = server.session(false);
        let greeting = tokio::spawn(async move { session.greet(None).await });
        tokio::pin!(greeting);
        loop {
            tokio::select! {
                greeted = &mut greeting => return greeted.unwrap().unwrap_err(),
                Some((heard, reply)) = server.requests.recv() => drop(reply.send(answer(&heard))),
            }
        }
    }
    let old = |heard: &Heard| match heard.http {
        Method::GET => (
            [("content-type", "text/event-stream")],
            "event: endpoint\ndata: /messages?id=1\n\n",
        )
            .into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    assert!(matches!(failure(old).await, Error::OldTransport));
    let page = |_: &Heard| (StatusCode::NOT_FOUND, "<h1>Nothing here</h1>").into_response();
    assert_eq!(
        failure(page).await.to_string(),
        "the server answered with HTTP status 404: <h1>Nothing here</h1>"
    );
    let guarded = |_: &Heard| StatusCode::UNAUTHORIZED.into_response();
    assert!(matches!(
        failure(guarded).await,
        Error::Http { status: 401, .. }
    ));
    let website = |_: &Heard| axum::response::Html("<h1>Hello</h1>").into_response();
    assert!(
        matches!(failure(website).await, Error::Protocol(text) if text.contains("\"text/html\""))
    );
    let elsewhere = |_: &Heard| {
        (
            StatusCode::TEMPORARY_REDIRECT,
            [("location", "http://127.0.0.2:9/mcp")],
        )
            .into_response()
    };
    assert!(
        matches!(failure(elsewhere).await, Error::Http { status: 307, .. }),
        "headers go to no other host"
    );

    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let target = HttpTarget::new(&HttpClient::new(), &format!("http://{free}/mcp"), []).unwrap();
    let error = Session::http(target, Options::default())
        .greet(None)
        .await
        .unwrap_err();
    assert!(error.never_sent(), "{error}");
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_and_size_is_bounded() {
    let mut server = Server::start().await;
    let session = server.legacy(false).await;
    let calling = call(&session, RequestOptions::default());
    server
        .answer("POST tools/call s1", |_| {
            (StatusCode::TEMPORARY_REDIRECT, [("location", "/mcp/")]).into_response()
        })
        .await;
    server
        .answer("POST tools/call s1", |id| result(id, json!(1)))
        .await;
    assert_eq!(calling.await.unwrap().unwrap(), "1");

    let target = HttpTarget::new(
        &HttpClient::new(),
        &server.url,
        [("X-Key".to_owned(), "secret".to_owned())],
    )
    .unwrap();
    let session = Session::http(
        target,
        Options {
            max_message: 1_000,
            listen: false,
            ..Options::default()
        },
    );
    for streamed in [false, true] {
        let calling = call(&session, RequestOptions::default());
        let (heard, reply) = server.hear("POST tools/call").await;
        let body = json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": "x".repeat(2_000)});
        let stream = ([("content-type", "text/event-stream")], event(None, &body)).into_response();
        reply
            .send(if streamed {
                stream
            } else {
                json_with(200, &body)
            })
            .unwrap();
        assert!(
            matches!(calling.await.unwrap(), Err(Error::Protocol(text)) if text.contains("1000 bytes allowed"))
        );
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let mut server = Server::start().await;
    let session = server.legacy(false).await;
    let calling = call(&session, RequestOptions::within(Duration::from_millis(50)));
    drop(server.hear("POST tools/call s1").await);
    assert!(matches!(calling.await.unwrap(), Err(Error::Timeout(_))));
    server
        .answer("POST notifications/cancelled s1", |_| accepted())
        .await;
}

#[tokio::test]
async fn a_relayed_request_keeps_its_bytes_and_changes_its_neighbour() {
    let mut server = Server::start().await;
    let session = server.modern().await;
    let params = raw(&json!({
        "name": "calc__größe", "arguments": {"x": 1},
        "_meta": {"traceparent": "00", "progressToken": "theirs",
            "io.modelcontextprotocol/protocolVersion": "2025-11-25",
            "io.modelcontextprotocol/clientInfo": {"name": "them"}}
    }));
    let (progress, _steps) = mpsc::channel(8);
    let options = RequestOptions {
        on_progress: Some(progress),
        client_capabilities: raw(&json!({"elicitation": {}})),
        log_level: Some("info".to_owned()),
        rename: Some(("name", "größe".to_owned())),
        ..RequestOptions::default()
    };
    let relaying = session.clone();
    let calling = tokio::spawn(async move {
        relaying
            .relay("tools/call", params.as_deref(), options)
            .await
    });
    let heard = server
        .answer("POST tools/call", |id| result(id, json!({})))
        .await;
    calling.await.unwrap().unwrap();
    assert_eq!(heard.header("mcp-name"), "=?base64?Z3LDtsOfZQ==?=");
    let expected = json!({
        "name": "größe", "arguments": {"x": 1},
        "_meta": {"traceparent": "00", "progressToken": heard.body["id"],
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "flotilla", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
            "io.modelcontextprotocol/logLevel": "info"}
    });
    assert_eq!(heard.body["params"], expected);
}

#[tokio::test]
async fn what_comes_in_a_requests_stream_is_the_requests() {
    let mut server = Server::start().await;
    let session = server.legacy(false).await;
    let mut everybody = session.notifications();
    let (to, mut own) = mpsc::channel(8);
    let calling = call(
        &session,
        RequestOptions {
            on_notification: Some(to),
            ..RequestOptions::default()
        },
    );
    let (heard, reply) = server.hear("POST tools/call s1").await;
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    for message in [
        json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": 1}}),
        json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
        json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {}}),
    ] {
        hand.send(event(None, &message)).await.unwrap();
    }
    calling.await.unwrap().unwrap();
    let news = own.recv().await.unwrap();
    assert_eq!(news.params.unwrap().get(), r#"{"data":1}"#);
    assert!(own.recv().await.is_none(), "nothing more came");
    let news = everybody.next().await.unwrap().unwrap();
    assert_eq!(
        news.method, "notifications/tools/list_changed",
        "it is everybody's"
    );
}

#[tokio::test]
async fn a_servers_question_is_tied_to_the_request_whose_stream_it_came_in() {
    let mut server = Server::start().await;
    let (to, mut asked) = mpsc::channel(8);
    let target = HttpTarget::new(
        &HttpClient::new(),
        &server.url,
        [("X-Key".to_owned(), "secret".to_owned())],
    )
    .unwrap();
    let options = Options {
        listen: false,
        asked: Some(to),
        ..Options::default()
    };
    let session = Session::http(target, options);
    let greeting = session.clone();
    let greeted = tokio::spawn(async move { greeting.greet(Some(Era::Legacy)).await });
    server.accept_legacy("s1").await;
    greeted.await.unwrap().unwrap();

    let mut under_way = Vec::new();
    for origin in [5, 6] {
        let options = RequestOptions {
            origin: Some(origin),
            ..RequestOptions::default()
        };
        let calling = call(&session, options);
        let (heard, reply) = server.hear("POST tools/call s1").await;
        let (hand, stream) = events();
        reply.send(stream).unwrap();
        under_way.push((calling, heard, hand));
    }
    for (number, origin) in [(1, 6), (0, 5)] {
        let (_, _, hand) = &under_way[number];
        let question = json!({"jsonrpc": "2.0", "id": number, "method": "elicitation/create"});
        hand.send(event(None, &question)).await.unwrap();
        let asked = asked.recv().await.unwrap();
        assert_eq!(asked.during, Some(origin));
        asked
            .reply
            .send(Ok(raw(&json!({"action": "decline"})).unwrap()))
            .unwrap();
        let answered = server.answer("POST - s1", |_| accepted()).await;
        assert_eq!(
            answered.body,
            json!({"jsonrpc": "2.0", "id": number, "result": {"action": "decline"}})
        );
    }
    for (calling, heard, hand) in under_way {
        let result = json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {}});
        hand.send(event(None, &result)).await.unwrap();
        calling.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_subscription_is_one_long_answer() {
    let mut server = Server::start().await;
    let session = server.modern().await;
    let mut everybody = session.notifications();
    let subscribing = session.clone();
    let subscribed = tokio::spawn(async move {
        let filter = raw(&json!({"notifications": {"toolsListChanged": true}}));
        subscribing
            .listen(filter.as_deref(), RequestOptions::default())
            .await
    });
    let (heard, reply) = server.hear("POST subscriptions/listen").await;
    assert_eq!(heard.header("mcp-method"), "subscriptions/listen");
    let (hand, stream) = events();
    reply.send(stream).unwrap();
    let said = |method: &str| event(None, &json!({"jsonrpc": "2.0", "method": method}));
    hand.send(said("notifications/subscriptions/acknowledged"))
        .await
        .unwrap();
    let mut subscription = subscribed.await.unwrap().unwrap();
    hand.send(said("notifications/tools/list_changed"))
        .await
        .unwrap();
    let method = "notifications/tools/list_changed";
    assert_eq!(subscription.next().await.unwrap().unwrap().method, method);
    assert_eq!(everybody.next().await.unwrap().unwrap().method, method);
    drop(subscription);
    hand.closed().await;
}

/// Waits until the pool looks like this.
async fn until(session: &Session, what: impl Fn(&PoolStats) -> bool) -> PoolStats {
    let found = async {
        loop {
            let stats = session.pool().unwrap();
            if what(&stats) {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found)
        .await
        .unwrap_or_else(|_| panic!("{:?}", session.pool()))
}

#[tokio::test]
async fn a_connection_is_used_again_after_either_kind_of_answer() {
    let mut server = Server::start().await;
    let headers = [("X-Key".to_owned(), "secret".to_owned())];
    let target = HttpTarget::new(&HttpClient::new(), &server.url, headers).unwrap();
    let session = Session::http(target.clone(), Options::default());
    for _ in 0..3 {
        let calling = call(&session, RequestOptions::default());
        server
            .answer("POST tools/call", |id| result(id, json!(1)))
            .await;
        calling.await.unwrap().unwrap();
        until(&session, |pool| pool.idle == 1).await;

        let calling = call(&session, RequestOptions::default());
        let (heard, reply) = server.hear("POST tools/call").await;
        let (hand, stream) = events();
        reply.send(stream).unwrap();
        let answer = json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": 2});
        hand.send(event(None, &answer)).await.unwrap();
        calling.await.unwrap().unwrap();
        drop(hand);
        let pool = until(&session, |pool| pool.idle == 1).await;
        assert_eq!((pool.open, pool.state), (1, PoolState::Connected));
    }
    // One that is not used is closed, by the rules in force.
    target.retune(PoolOptions {
        min: 0,
        idle: Duration::ZERO,
        ..PoolOptions::default()
    });
    until(&session, |pool| pool.open == 0).await;
    let calling = call(&session, RequestOptions::default());
    server
        .answer("POST tools/call", |id| result(id, json!(1)))
        .await;
    calling.await.unwrap().unwrap();
}

#[tokio::test]
async fn relayed_requests_wait_for_a_place_and_our_own_do_not() {
    let mut server = Server::start().await;
    let headers = [("X-Key".to_owned(), "secret".to_owned())];
    let target = HttpTarget::new(&HttpClient::new(), &server.url, headers)
        .unwrap()
        .pooled(PoolOptions {
            max: 1,
            ..PoolOptions::default()
        });
    let session = Session::http(target, Options::default());
    let relay = || {
        let session = session.clone();
        tokio::spawn(async move {
            let options = RequestOptions::default();
            session.relay("tools/call", None, options).await
        })
    };
    let first = relay();
    let (heard, reply) = server.hear("POST tools/call").await;
    let (given_up, second) = (relay(), relay());
    let pool = until(&session, |pool| pool.waiting == 2).await;
    assert!(pool.oldest_wait.is_some());
    assert_eq!((pool.open, pool.in_use, pool.max), (1, 1, 1));
    given_up.abort();
    until(&session, |pool| pool.waiting == 1).await;

    let pinging = session.clone();
    let ping = tokio::spawn(async move { pinging.ping(Duration::from_secs(10)).await });
    server.answer("POST ping", |id| result(id, json!({}))).await;
    ping.await.unwrap().unwrap();

    reply.send(result(&heard.body["id"], json!(1))).unwrap();
    first.await.unwrap().unwrap();
    server
        .answer("POST tools/call", |id| result(id, json!(2)))
        .await;
    second.await.unwrap().unwrap();
    until(&session, |pool| pool.waiting == 0 && pool.in_use == 0).await;
}

#[tokio::test]
async fn a_request_that_got_no_place_was_never_sent() {
    let mut server = Server::start().await;
    let target = HttpTarget::new(
        &HttpClient::new(),
        &server.url,
        [("X-Key".to_owned(), "secret".to_owned())],
    )
    .unwrap()
    .pooled(PoolOptions {
        max: 1,
        wait: Duration::from_millis(50),
        ..PoolOptions::default()
    });
    let session = Session::http(target, Options::default());
    let holding = session.clone();
    let holder = tokio::spawn(async move {
        holding
            .relay("tools/call", None, RequestOptions::default())
            .await
    });
    let (heard, reply) = server.hear("POST tools/call").await;
    let refused = session
        .relay("tools/call", None, RequestOptions::default())
        .await;
    let refused = refused.unwrap_err();
    assert!(
        refused.never_sent() && matches!(refused, Error::Busy(_)),
        "{refused}"
    );
    // And the server hears nothing of it.
    reply.send(result(&heard.body["id"], json!(1))).unwrap();
    holder.await.unwrap().unwrap();
    let calling = call(&session, RequestOptions::default());
    server
        .answer("POST tools/call", |id| result(id, json!(2)))
        .await;
    calling.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_pool_says_why_there_is_no_connection() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let target = HttpTarget::new(&HttpClient::new(), &format!("http://{free}/mcp"), []).unwrap();
    let session = Session::http(target, Options::default());
    assert_eq!(session.pool().unwrap().state, PoolState::Disconnected);
    let refused = session.relay("a", None, RequestOptions::default()).await;
    assert!(matches!(refused, Err(Error::Unreachable(_))), "{refused:?}");
    let pool = session.pool().unwrap();
    assert_eq!((pool.state, pool.open), (PoolState::Error, 0));
    assert!(pool.reason.unwrap().contains("refused"));
}
