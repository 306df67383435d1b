//! The process that holds the clients.

use anyhow::{Context, Result, bail};
use flotilla_tests::load::quantile;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::mpsc};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// How many, of which kind, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Wanted {
    /// Port of the server.
    #[arg(long)]
    pub(crate) port: u16,
    /// Clients.
    #[arg(long)]
    pub(crate) clients: usize,
    /// Messages that all of them must have had.
    #[arg(long)]
    pub(crate) messages: usize,
    /// Further clients that never read.
    #[arg(long, default_value_t = 0)]
    pub(crate) stalled: usize,
    /// Clients ask for what changes only.
    #[arg(long)]
    pub(crate) delta: bool,
}

/// One message at one client: its stamp in milliseconds, when it came, its bytes.
type Came = (u64, Duration, usize);

fn wall() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The first `"timestamp":N` of a text.
fn stamp(text: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"timestamp\":";
    let at = text.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let digits = text.get(at..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

pub(crate) fn hold(wanted: &Wanted) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(wanted))
}

async fn run(wanted: &Wanted) -> Result<()> {
    let url = format!("ws://127.0.0.1:{}/", wanted.port);
    let mut stalled = Vec::new();
    for _ in 0..wanted.stalled {
        stalled.push(stall(wanted.port).await?);
    }
    let began = Instant::now();
    let (tell, mut told) = mpsc::unbounded_channel::<Came>();
    for _ in 0..wanted.clients {
        let (mut socket, _) = connect_async(&url).await.context("failed to connect")?;
        if wanted.delta {
            let ask = r#"{"type":"subscribe","delta":true}"#;
            socket.send(Message::text(ask)).await?;
        }
        let tell = tell.clone();
        let delta = wanted.delta;
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let at = wall();
                let Message::Text(text) = message else {
                    continue;
                };
                // Answers, and the first pictures of those who want changes, are not counted.
                if delta && !text.contains("\"delta\":true") || text.contains("subscribed") {
                    continue;
                }
                if let Some(stamp) = stamp(text.as_bytes())
                    && tell.send((stamp, at, text.len())).is_err()
                {
                    return;
                }
            }
        });
    }
    drop(tell);
    let connect = began.elapsed();
    // What was sent while some still came is not counted, nor the first one after.
    let from = u64::try_from(wall().as_millis())? + 150;
    let mut seen: BTreeMap<u64, (Duration, Duration, usize, usize)> = BTreeMap::new();
    let mut complete = 0;
    let limit = Duration::from_secs(120);
    let deadline = tokio::time::Instant::now() + limit;
    while complete < wanted.messages {
        let Ok(Some((stamp, at, bytes))) = tokio::time::timeout_at(deadline, told.recv()).await
        else {
            bail!(
                "{complete} of {} messages within {limit:?}",
                wanted.messages
            );
        };
        if stamp < from {
            continue;
        }
        let entry = seen.entry(stamp).or_insert((at, at, 0, bytes));
        entry.1 = entry.1.max(at);
        entry.2 += 1;
        complete += usize::from(entry.2 == wanted.clients);
    }
    let whole = || seen.iter().filter(|(_, it)| it.2 == wanted.clients);
    let after = |stamp: u64, at: Duration| at.as_secs_f64() * 1e3 - (stamp as f64 + 0.5);
    let mut first: Vec<f64> = whole().map(|(stamp, it)| after(*stamp, it.0)).collect();
    let mut last: Vec<f64> = whole().map(|(stamp, it)| after(*stamp, it.1)).collect();
    let bytes: usize = whole().map(|(_, it)| it.3).sum();
    println!(
        "{}",
        json!({
            "connect_s": connect.as_secs_f64(),
            "messages": last.len(),
            "bytes": bytes / last.len().max(1),
            "first_p50": quantile(&mut first, 0.50),
            "last_p50": quantile(&mut last, 0.50),
            "last_p99": quantile(&mut last, 0.99),
        })
    );
    Ok(())
}

/// One that asks for a WebSocket and reads nothing, not even the answer.
async fn stall(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let ask = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    Ok(stream)
}
