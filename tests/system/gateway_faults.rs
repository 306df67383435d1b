//! What goes wrong on either side of the gateway stays where it went wrong: servers that hang, lie or break off, answers that
//! are large, clients that are slow or never come back.

use crate::gateway::Client;
use flotilla_contract::command::GatewayViewCmd;
use flotilla_tests::Bed;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// An answer may have 16 MiB.
const LARGE: usize = 15 << 20;
const TOO_LARGE: usize = 20 << 20;

/// What a server is asked to do is the name of the tool.
const TOOLS: [&str; 9] = [
    "fine",
    "hang",
    "last_word",
    "bare_400",
    "garbage",
    "other_id",
    "cut",
    "large",
    "too_large",
];

/// What the tests see of it.
#[derive(Default)]
struct Seen {
    calls: AtomicU32,
    /// Somebody who waited went away.
    left: Notify,
    /// Bytes that were sent after the last word of a connection.
    unheard: AtomicU64,
}

/// The body of the next message of HTTP, and its first line.
async fn next(stream: &mut BufReader<TcpStream>) -> std::io::Result<(String, Vec<u8>)> {
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    stream.read_line(&mut first).await?;
    while stream.read_line(&mut line).await? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((first, body))
}

/// Opens so many sessions and leaves each.
async fn pass_by(address: String, sessions: u32) -> std::io::Result<()> {
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"passing by","version":"1"}}}"#;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{hello}",
        hello.len()
    );
    let mut stream = BufReader::new(TcpStream::connect(&address).await?);
    for _ in 0..sessions {
        stream.get_mut().write_all(request.as_bytes()).await?;
        let (status, _) = next(&mut stream).await?;
        assert!(status.contains("200"), "{status}");
    }
    Ok(())
}

/// One request and its answer, written by hand: some are none.
async fn misbehave(stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (_, body) = next(&mut stream).await?;
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = message.get("id").cloned();
    let said = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    let text = |text: &str| said(json!({"content": [{"type": "text", "text": text}]}));
    let tool = message["params"]["name"].as_str().unwrap_or_default();
    if message["method"] == "tools/call" {
        seen.calls.fetch_add(1, Ordering::Relaxed);
    }
    let (status, answer) = match (message["method"].as_str().unwrap_or_default(), tool) {
        _ if id.is_none() => ("202 Accepted", String::new()),
        ("initialize", _) => (
            "200 OK",
            said(json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "bad", "version": "1"},
            })),
        ),
        ("ping", _) => ("200 OK", said(json!({}))),
        ("tools/list", _) => {
            let tools = TOOLS.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
            ("200 OK", said(json!({ "tools": tools })))
        }
        (_, "fine") => ("200 OK", text("fine")),
        (_, "last_word") => {
            let answer = text("fine");
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.get_mut().write_all(head.as_bytes()).await?;
            stream.get_mut().write_all(answer.as_bytes()).await?;
            // As when the machine is gone, or something in between forgot the connection: it stays open, and nothing comes.
            let heard = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            seen.unheard.store(heard, Ordering::Relaxed);
            seen.left.notify_one();
            return Ok(());
        }
        (_, "hang") => {
            // Until the other side closes.
            let gone = stream.read(&mut [0; 1]).await;
            seen.left.notify_one();
            return gone.map(|_| ());
        }
        (_, "bare_400") => ("400 Bad Request", String::new()),
        (_, "garbage") => ("200 OK", r#"{"jsonrpc":"#.to_owned()),
        (_, "other_id") => (
            "200 OK",
            r#"{"jsonrpc":"2.0","id":"nobody's","result":{}}"#.to_owned(),
        ),
        (_, "large") => ("200 OK", text(&"x".repeat(LARGE))),
        (_, "too_large") => ("200 OK", text(&"x".repeat(TOO_LARGE))),
        (_, "cut") => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"json";
            return stream.get_mut().write_all(head.as_bytes()).await;
        }
        _ => ("404 Not Found", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.get_mut().write_all(head.as_bytes()).await?;
    stream.get_mut().write_all(answer.as_bytes()).await
}

async fn serve(seen: Arc<Seen>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move { drop(misbehave(stream, &seen).await) });
        }
    });
    port
}

async fn bed(port: u16, settings: &str) -> Bed {
    let bed = Bed::new(&format!(
        "[servers.bad]\nurl = \"http://127.0.0.1:{port}/mcp\"\n[servers.bad.gateway]\n{settings}"
    ))
    .await;
    bed.eventually("its tools are offered", async || {
        let view = bed.run::<GatewayViewCmd>(Default::default()).await;
        view.is_ok_and(|view| view.servers.iter().any(|row| row.offers.tools > 0))
    })
    .await;
    bed
}

/// The engine's resident memory that belongs to no file, in MiB: what of its program is in memory follows from what else runs here.
fn resident(bed: &Bed) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bed.engine_pid()));
    let status = status.expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        >> 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_lies_or_breaks_off_fails_only_the_call_it_does_it_to() {
    let seen = Arc::new(Seen::default());
    let port = serve(Arc::clone(&seen)).await;
    let bed = bed(port, "timeout = \"2s\"\nbreaker = \"off\"\n").await;
    let client = Client::connect(&bed.gateway(), "operator").await;
    let call = async |tool: &str| client.call(&format!("bad__{tool}"), json!({})).await;
    let fine = "/result/content/0/text";

    // While one call hangs, others do not wait for it; and the server is told that nobody wants to know any more.
    let begun = Instant::now();
    let (hung, meanwhile) = tokio::join!(call("hang"), async {
        let answer = call("fine").await;
        (answer, begun.elapsed())
    });
    assert_eq!(meanwhile.0.pointer(fine), Some(&json!("fine")));
    assert!(meanwhile.1 < Duration::from_secs(2), "{meanwhile:?}");
    let message = hung["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("2000 ms"), "{hung}");
    tokio::time::timeout(Duration::from_secs(10), seen.left.notified())
        .await
        .expect("the call that hung was left");

    for (tool, because) in [
        ("bare_400", "400"),
        ("garbage", "something else than was asked"),
        ("other_id", "something else than was asked"),
        ("cut", "broke"),
    ] {
        let calls = seen.calls.load(Ordering::Relaxed);
        let answer = call(tool).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(because), "{tool}: {answer}");
        // None of these says that it did not run.
        assert_eq!(seen.calls.load(Ordering::Relaxed), calls + 1, "{tool}");
        let answer = call("fine").await;
        assert_eq!(answer.pointer(fine), Some(&json!("fine")), "after {tool}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_open_on_one_side_only_costs_one_wait_and_is_not_used_again() {
    let seen = Arc::new(Seen::default());
    let port = serve(Arc::clone(&seen)).await;
    let settings = "timeout = \"2s\"\nbreaker = \"off\"\n[servers.bad.gateway.tools.fine]\nidempotent = true\n";
    let bed = bed(port, settings).await;
    let client = Client::connect(&bed.gateway(), "operator").await;
    let call = async |tool: &str| client.call(&format!("bad__{tool}"), json!({})).await;
    let fine = "/result/content/0/text";
    assert_eq!(call("last_word").await.pointer(fine), Some(&json!("fine")));
    // It may be repeated: sent into the void, then on another connection.
    let calls = seen.calls.load(Ordering::Relaxed);
    assert_eq!(call("fine").await.pointer(fine), Some(&json!("fine")));
    tokio::time::timeout(Duration::from_secs(10), seen.left.notified())
        .await
        .expect("the connection is given up");
    assert!(seen.unheard.load(Ordering::Relaxed) > 0, "it was used");
    assert_eq!(seen.calls.load(Ordering::Relaxed), calls + 1);
    // What may have run is not sent twice: this call fails, and only this one.
    assert_eq!(call("last_word").await.pointer(fine), Some(&json!("fine")));
    let answer = call("other_id").await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("2000 ms"), "{answer}");
    assert_eq!(call("fine").await.pointer(fine), Some(&json!("fine")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_passes_whole_one_too_large_is_refused_and_the_memory_comes_back() {
    let port = serve(Arc::default()).await;
    let bed = bed(port, "timeout = \"60s\"\n").await;
    let client = Client::connect(&bed.gateway(), "operator").await;
    client.call("bad__fine", json!({})).await;
    let before = resident(&bed);
    for _ in 0..3 {
        let answer = client.call("bad__large", json!({})).await;
        let text = answer["result"]["content"][0]["text"].as_str();
        assert_eq!(text.map(str::len), Some(LARGE));
    }
    let refused = client.call("bad__too_large", json!({})).await;
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("16777216 bytes allowed"), "{refused}");
    let answer = client.call("bad__fine", json!({})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "fine");
    bed.eventually("the memory comes back", async || {
        resident(&bed) < before + 20
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_slow_or_never_come_back_cost_little_and_delay_nobody() {
    let port = serve(Arc::default()).await;
    let bed = bed(port, "").await;
    let url = bed.gateway();
    let client = Client::connect(&url, "operator").await;
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .to_owned();

    // Some begin a head and some a body, and none goes on.
    let mut slow = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(&address).await.expect("accepted");
        let begun = if n % 2 == 0 {
            "POST /mcp HTTP/1.1\r\nhost: x".to_owned()
        } else {
            format!(
                "POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: 100\r\n\r\n{{"
            )
        };
        stream.write_all(begun.as_bytes()).await.expect("sent");
        slow.push(stream);
    }
    let answer = client.call("bad__fine", json!({})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "fine");

    // 10,000 sessions are opened and left; those that come then take their places.
    let mut resident_after = Vec::new();
    for each in [1_250, 500] {
        let mut opening = JoinSet::new();
        for _ in 0..8 {
            opening.spawn(pass_by(address.clone(), each));
        }
        while let Some(done) = opening.join_next().await {
            done.expect("they were let in").expect("they were answered");
        }
        resident_after.push(resident(&bed));
    }
    let [first, second] = resident_after[..] else {
        panic!("two rounds")
    };
    assert!(
        second <= first + 8,
        "{first} MiB after 10,000, {second} after 14,000"
    );
    // The operator's was one of those that gave way: it is told, and begins anew.
    let answer = client
        .post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    assert_eq!(answer.status(), 404);

    // A head that is never finished is not waited for.
    let mut answer = [0; 64];
    let closed = slow[0].read(&mut answer);
    let closed = tokio::time::timeout(Duration::from_secs(40), closed).await;
    assert!(closed.is_ok(), "it is still open");
}
