//! The program as it is run: its HTTP surface, its drills, its end.

use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

/// A running server. Gone when dropped.
struct Server {
    child: Child,
    log: BufReader<ChildStderr>,
    url: String,
    http: reqwest::Client,
}

impl Server {
    /// On a free port; its first line of log says which.
    fn start(name: &str, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flotilla-reference"))
            .args([name, "--port", "0"])
            .args(flags)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is started");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let ready = line(&mut log);
        assert_eq!(ready["message"], "ready", "{ready}");
        let url = format!("http://{}", ready["address"].as_str().expect("an address"));
        let http = reqwest::Client::new();
        Self {
            child,
            log,
            url,
            http,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await;
        answer.expect("an answer").json().await.expect("JSON")
    }

    /// The bare form; status and body.
    async fn bare(&self, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}/mcp", self.url)).json(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn similarity(&self) -> (u16, Value) {
        self.bare(&json!({"method": "tools/call", "params": {
            "name": "calculate_similarity",
            "arguments": {"text1": "a stitch in time", "text2": "a stitch in time"},
        }}))
        .await
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .expect("kill runs")
                .success()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(log: &mut BufReader<ChildStderr>) -> Value {
    let mut text = String::new();
    log.read_line(&mut text).expect("a line");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn operators_are_told_of_health_tools_counters_and_breakers() {
    let server = Server::start("semantic_similarity", &[]);
    let port: u16 = server.url.rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(
        server.get("/health").await,
        json!({"status": "healthy", "service": "mcp_semantic_similarity_server", "port": port, "tools": 7})
    );
    let info = server.get("/info").await;
    assert_eq!(info["tools"].as_array().unwrap().len(), 7);
    assert_eq!(info["tools"][5]["name"], "calculate_similarity");

    let (status, body) = server.similarity().await;
    assert_eq!(
        (status, &body["status"]),
        (200, &json!("success")),
        "{body}"
    );
    assert_eq!(
        body["result"]["structuredContent"],
        json!({"similarity": 1.0})
    );
    let (status, body) = server
        .bare(
            &json!({"method": "tools/call", "_correlation_id": "abc-1", "params": {
        "name": "calculate_similarity", "arguments": {"text1": "x"}}}),
        )
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        json!({"error": "text2: is required and missing", "code": -32602, "status": "error", "_correlation_id": "abc-1"})
    );
    for (body, status, code) in [
        (
            json!({"method": "tools/call", "params": {"name": "none"}}),
            404,
            -32002,
        ),
        (
            json!({"method": "resources/read", "params": {"uri": "none://"}}),
            404,
            -32001,
        ),
        (
            json!({"method": "prompts/get", "params": {"name": "none"}}),
            404,
            -32003,
        ),
        (json!({"method": "none"}), 404, -32601),
    ] {
        let (got, answer) = server.bare(&body).await;
        assert_eq!((got, &answer["code"]), (status, &json!(code)), "{body}");
    }

    let page = server
        .http
        .get(format!("{}/metrics", server.url))
        .send()
        .await
        .unwrap();
    let kind = page.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let page = page.text().await.unwrap();
    for expected in [
        r#"mcp_tool_executions_total{server_id="semantic_similarity",tool_name="calculate_similarity",status="success"} 1"#,
        r#"mcp_tool_execution_errors_total{server_id="semantic_similarity",tool_name="calculate_similarity",error_type="validation"} 1"#,
        r#"mcp_tool_execution_duration_seconds_count{server_id="semantic_similarity",tool_name="calculate_similarity"} 2"#,
        r#"mcp_circuit_breaker_state{server_id="semantic_similarity",tool_name="calculate_similarity"} 0"#,
    ] {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
}

#[tokio::test]
async fn a_correlation_id_comes_in_goes_out_and_stands_in_the_log() {
    let mut server = Server::start("semantic_similarity", &[]);
    let body = json!({"method": "tools/call", "params": {"name": "calculate_similarity", "arguments": {"text1": "a", "text2": "b"}}});
    let request = server.http.post(format!("{}/mcp", server.url)).json(&body);
    let answer = request
        .header("x-correlation-id", "call-7")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-correlation-id"], "call-7");
    let logged = line(&mut server.log);
    assert_eq!(
        (
            &logged["correlation_id"],
            &logged["tool"],
            &logged["message"]
        ),
        (
            &json!("call-7"),
            &json!("calculate_similarity"),
            &json!("call")
        )
    );
    // Without one it is made, for refusals too.
    let request = server.http.get(format!("{}/health", server.url));
    let refused = request
        .header("origin", "http://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.headers()["x-correlation-id"].len(), 36);
}

#[tokio::test]
async fn drills_fail_hang_lose_tools_and_crash_when_told_to() {
    let server = Server::start("semantic_similarity", &["--fail-rate", "1"]);
    for _ in 0..5 {
        let (status, body) = server.similarity().await;
        assert_eq!(
            (status, body["error"].as_str().unwrap()),
            (500, "drill: this call was made to fail")
        );
    }
    let (_, body) = server.similarity().await;
    assert!(
        body["error"].as_str().unwrap().contains("breaker"),
        "{body}"
    );
    let breakers = server.get("/circuit-breakers").await;
    assert_eq!(
        (&breakers["open"], &breakers["total"]),
        (&json!(1), &json!(7))
    );
    assert_eq!(breakers["breakers"][5]["stats"]["rejected_calls"], 1);
    let reset = |name: &str| {
        server
            .http
            .post(format!("{}/circuit-breakers/reset", server.url))
            .json(&json!({"name": name}))
    };
    assert_eq!(reset("none").send().await.unwrap().status(), 404);
    let after: Value = reset("calculate_similarity")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&after["open"], &after["health_score"]),
        (&json!(0), &json!(100.0))
    );

    let server = Server::start(
        "semantic_similarity",
        &["--lose-tools-after", "1", "--hang-after", "2"],
    );
    assert_eq!(server.similarity().await.0, 200);
    assert_eq!(server.get("/health").await["tools"], 7);
    // The second call finds its tool and takes all of them away.
    assert_eq!(server.similarity().await.0, 200);
    assert_eq!(
        server.get("/health").await,
        json!({
            "status": "unhealthy", "service": "mcp_semantic_similarity_server",
            "port": server.url.rsplit(':').next().unwrap().parse::<u16>().unwrap(), "tools": 0,
        })
    );
    assert_eq!(server.similarity().await.0, 404);

    let server = Server::start("semantic_similarity", &["--hang-after", "0"]);
    let hung = tokio::time::timeout(Duration::from_millis(300), server.similarity()).await;
    assert!(hung.is_err(), "it answered");
    let hung = tokio::time::timeout(Duration::from_millis(300), server.get("/health")).await;
    assert!(hung.is_err(), "it says that it is well");

    let mut server = Server::start("semantic_similarity", &["--crash-after", "0"]);
    let call = server
        .http
        .post(format!("{}/mcp", server.url))
        .json(&json!({"method": "tools/call", "params": {"name": "calculate_similarity"}}));
    assert!(call.send().await.is_err());
    assert_eq!(server.child.wait().unwrap().code(), Some(70));
}

#[tokio::test]
async fn the_transport_layer_takes_messages_and_batches_in_sessions() {
    let server = Server::start("transport_layer", &[]);
    let post = async |path: &str, session: Option<&str>, body: &Value| {
        let mut request = server.http.post(format!("{}{path}", server.url)).json(body);
        if let Some(session) = session {
            request = request.header("x-mcp-session-id", session);
        }
        let answer = request.send().await.unwrap();
        let id = answer.headers().get("x-mcp-session-id");
        let id = id.map(|id| id.to_str().unwrap().to_owned());
        (answer.status().as_u16(), id, answer.bytes().await.unwrap())
    };
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let (status, session, body) = post("/mcp/rpc", None, &ping).await;
    assert_eq!(
        (status, &body[..]),
        (200, &br#"{"jsonrpc":"2.0","id":1,"result":{}}"#[..])
    );
    let session = session.unwrap();
    let batch = json!([ping, {"jsonrpc": "2.0", "method": "notifications/initialized"}, {"jsonrpc": "2.0", "id": 2, "method": "none"}]);
    let (status, same, body) = post("/mcp/batch", Some(&session), &batch).await;
    let replies: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, same.as_ref(), replies[1]["error"]["code"].as_i64()),
        (200, Some(&session), Some(-32601))
    );
    assert_eq!(post("/mcp/rpc", Some(&session), &batch[1]).await.0, 202);
    let info = server.get("/mcp/info").await;
    assert_eq!(info["service"], "mcp_transport_layer_server");
    for (path, session, body, code) in [
        ("/mcp/rpc", None, &batch, -32600),
        ("/mcp/batch", None, &ping, -32600),
        ("/mcp/rpc", Some("none"), &ping, -32602),
    ] {
        let (status, _, said) = post(path, session, body).await;
        let said: Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(
            (status, said["error"]["code"].as_i64()),
            (400, Some(code)),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_transport_layer_greets_over_a_websocket_and_replies_in_one_session() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

    let server = Server::start("transport_layer", &[]);
    let address = server.url.replace("http://", "ws://") + "/mcp/ws";
    let mut request = address.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", "mcp".parse().unwrap());
    let (mut socket, accepted) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(accepted.headers()["sec-websocket-protocol"], "mcp");
    let hear = async |socket: &mut tokio_tungstenite::WebSocketStream<_>| -> Value {
        let text = socket.next().await.unwrap().unwrap().into_text().unwrap();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(hear(&mut socket).await["method"], "connection/established");
    for id in 1..=2 {
        let ping = json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
        socket.send(Message::text(ping.to_string())).await.unwrap();
        assert_eq!(hear(&mut socket).await["id"], id);
    }
    socket.send(Message::text("{")).await.unwrap();
    assert_eq!(hear(&mut socket).await["error"]["code"], -32700);
    let (_, body) = server
        .bare(&json!({"method": "tools/call", "params": {"name": "server_info"}}))
        .await;
    assert_eq!(
        body["result"]["structuredContent"]["sessions"]["active"], 1,
        "{body}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_call_under_way_is_finished_before_the_end() {
    let mut server = Server::start("semantic_similarity", &["--latency", "400ms"]);
    let (call, ()) = tokio::join!(server.similarity(), async {
        // Once the call is under way, as the server itself counts.
        loop {
            let page = server
                .http
                .get(format!("{}/metrics", server.url))
                .send()
                .await
                .unwrap();
            if page.text().await.unwrap().contains("mcp_calls_in_flight 1") {
                break;
            }
        }
        server.signal("-TERM");
    });
    assert_eq!(call.0, 200, "{}", call.1);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn only_this_machine_and_only_with_a_token_elsewhere() {
    let server = Server::start("semantic_similarity", &[]);
    for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
        for path in ["/mcp", "/health", "/metrics"] {
            let request = server
                .http
                .get(format!("{}{path}", server.url))
                .header(name, value);
            assert_eq!(request.send().await.unwrap().status(), 403, "{name} {path}");
        }
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_flotilla-reference"))
        .args(["semantic_similarity", "--port", "0", "--host", "0.0.0.0"])
        .env_remove("FLOTILLA_REFERENCE_TOKEN")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said.contains("--host 0.0.0.0") && said.contains("FLOTILLA_REFERENCE_TOKEN"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_run_is_named() {
    let check = |args: &[&str], code: i32, expected: &str| {
        let ended = Command::new(env!("CARGO_BIN_EXE_flotilla-reference"))
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(
        &["nonsense"],
        1,
        "there is no \"nonsense\"; there are data_standardization, ",
    );
    check(
        &["semantic_similarity", "--fail-rate", "2"],
        2,
        "a number from 0 to 1",
    );
    check(
        &["semantic_similarity", "--crash-after", "soon"],
        2,
        "a number of calls (100) or a time",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    check(
        &["semantic_similarity", "--port", &port],
        1,
        &format!("cannot listen on 127.0.0.1:{port}"),
    );
}

#[test]
fn over_pipes_both_eras_are_spoken_and_the_end_of_input_is_the_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flotilla-reference"))
        .args(["resource_streaming", "--stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut say = |message: Value| writeln!(input, "{message}").unwrap();
    let mut hear = |wanted: &dyn Fn(&Value) -> bool| {
        loop {
            let mut text = String::new();
            assert_ne!(output.read_line(&mut text).unwrap(), 0, "output ended");
            let message: Value = serde_json::from_str(&text).unwrap();
            if wanted(&message) {
                return message;
            }
        }
    };
    say(
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}),
    );
    assert_eq!(
        hear(&|m| m["id"] == 1)["result"]["protocolVersion"],
        "2025-11-25"
    );
    say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    say(
        json!({"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe", "params": {"uri": "reasoning://thoughts"}}),
    );
    hear(&|m| m["id"] == 2);
    say(
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {
        "name": "process_with_streaming", "arguments": {"question": "Why do ships float?"}, "_meta": {"progressToken": "p"}}}),
    );
    let mut progress = 0;
    let mut updated = false;
    let mut answered = false;
    while progress < 3 || !updated || !answered {
        let message = hear(&|_| true);
        progress += i32::from(message["method"] == "notifications/progress");
        updated |= message["method"] == "notifications/resources/updated"
            && message["params"]["uri"] == "reasoning://thoughts";
        answered |= message["id"] == 3;
    }
    let started = Instant::now();
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn nine_servers_with_fifty_one_tools_are_listed() {
    let listed = Command::new(env!("CARGO_BIN_EXE_flotilla-reference"))
        .arg("list")
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let rows: Vec<(String, u16, usize)> = text
        .lines()
        .skip(1)
        .map(|row| {
            let mut words = row.split_whitespace();
            let mut next = || words.next().unwrap().to_owned();
            (next(), next().parse().unwrap(), next().parse().unwrap())
        })
        .collect();
    let expected = [
        ("data_standardization", 8101, 12),
        ("vector_similarity", 8102, 5),
        ("vector_ranking", 8103, 5),
        ("transport_layer", 8104, 2),
        ("reasoning_agent", 8105, 9),
        ("session_management", 8106, 3),
        ("resource_streaming", 8107, 2),
        ("confidence_calculator", 8108, 6),
        ("semantic_similarity", 8109, 7),
    ];
    assert_eq!(
        rows,
        expected.map(|(name, port, tools)| (name.to_owned(), port, tools))
    );
}
