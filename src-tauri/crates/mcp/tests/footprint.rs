//! What an idle session costs, counted at the allocator.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use flotilla_contract::tool::Era;
use flotilla_mcp::{Options, RequestOptions, Session};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator can be wrapped in no other way")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}"#;

/// A greeted session that has just had a large answer, and the far ends of its pipes.
async fn session() -> (Session, impl Sized) {
    // Pipes of the operating system, as a child has: their buffers are not ours.
    let (writer, heard) = tokio::net::unix::pipe::pipe().unwrap();
    let (mut mouth, reader) = tokio::net::unix::pipe::pipe().unwrap();
    let mut heard = BufReader::new(heard);
    let session = Session::stdio(reader, writer, Options::default());
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let client = async {
        session.greet(Some(Era::Legacy)).await.unwrap();
        session
            .request(
                "large",
                None,
                RequestOptions::within(Duration::from_secs(60)),
            )
            .await
            .unwrap();
    };
    let server = async {
        for (id, result) in [(1, INITIALIZED), (2, &large)] {
            let mut line = String::new();
            while !line.contains("\"id\"") {
                line.clear();
                heard.read_line(&mut line).await.unwrap();
            }
            let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n");
            mouth.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    tokio::join!(client, server);
    (session, (heard.into_inner(), mouth))
}

#[tokio::test]
async fn an_idle_session_costs_less_than_8_kib() {
    const SESSIONS: usize = 50;
    // What is made once, and by whoever is first, does not count.
    let first = session().await;
    let before = LIVE.load(Ordering::Relaxed);
    let mut kept = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        kept.push(session().await);
    }
    let each = (LIVE.load(Ordering::Relaxed) - before) / SESSIONS;
    println!("{each} bytes a session");
    assert!(each < 8 * 1024, "{each} bytes");
    drop(first);
}
