//! `flotilla connect`: the gateway for clients that only speak over standard streams.
//!
//! Each line on standard input is one JSON-RPC message and is posted to the gateway's `/mcp`; what comes back, as JSON or as an event
//! stream, goes to standard output, one message a line. Nothing else ever does: everything for people goes to standard error.
//! A message tells its era by itself. Of a legacy client the bridge keeps the session: it carries its id and version, holds the GET
//! stream open, makes the session anew with the client's own `initialize` when the engine was restarted, and ends it when the
//! client goes. Of a modern one it keeps nothing: each request carries its headers, and cancelling one closes its stream.
//!
//! Bounds: a line of up to 16 MiB; 64 requests under way, 256 more wait, up to 64 MiB together, others are refused; the queue to
//! standard output holds 16 messages, and then the streams of the gateway are read no further until the client has read.
//!
//! What it never does: start an engine, repeat a call that may have run, or look into what it carries beyond ids, methods and names.

mod address;
mod bridge;
mod lines;
mod session;
mod sse;
mod wire;

use crate::{args::Connect, exit::Failure};
use address::Address;
use bridge::Bridge;
use lines::{Line, Lines};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt, sync::mpsc};
use tokio_util::sync::CancellationToken;
use wire::Message;

/// Longest message, in bytes.
const LONGEST: usize = 16 << 20;
/// Messages that wait for standard output.
const OUTGOING: usize = 16;
/// How long requests under way may still be answered when the client has said all.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last messages may take to be written.
const FLUSH: Duration = Duration::from_secs(1);

pub(crate) async fn connect(home: &Path, options: &Connect) -> Result<(), Failure> {
    let address = Address::new(home, options.url.as_deref(), options.group.as_deref())
        .map_err(Failure::usage)?;
    let closing = CancellationToken::new();
    let (out, outgoing) = mpsc::channel(OUTGOING);
    let writer = tokio::spawn(write(outgoing, closing.clone()));
    tokio::spawn(signalled(closing.clone()));
    let bridge = Bridge::new(address, out, closing.clone())
        .map_err(|error| Failure::other(format!("failed to prepare HTTP: {error}")))?;

    let said_all = read(&bridge, &closing).await;
    if said_all {
        bridge.drain(DRAIN).await;
    }
    closing.cancel();
    bridge.end_session().await;
    drop(bridge);
    let _ = tokio::time::timeout(FLUSH, writer).await;
    Ok(())
}

/// Takes in lines until there are no more. Gives whether that was the client's wish.
async fn read(bridge: &Arc<Bridge>, closing: &CancellationToken) -> bool {
    let mut lines = Lines::new(tokio::io::stdin(), LONGEST);
    loop {
        let line = tokio::select! {
            biased;
            () = closing.cancelled() => return false,
            line = lines.next() => line,
        };
        let message = match line {
            Ok(Line::Text(line)) => Message::read(line),
            Ok(Line::TooLong) => Err(wire::error(
                &serde_json::Value::Null,
                wire::INVALID_REQUEST,
                &format!("the message is longer than {LONGEST} bytes"),
            )),
            Ok(Line::End) => return true,
            Err(error) => {
                tracing::error!(%error, "failed to read standard input");
                return true;
            }
        };
        let handled = async {
            match message {
                Ok(message) => bridge.take(message).await,
                Err(answer) => bridge.emit(answer).await,
            }
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => return false,
            () = handled => {}
        }
    }
}

/// Writes messages, one a line, until the bridge is gone. A client that reads no more ends everything.
async fn write(mut outgoing: mpsc::Receiver<Vec<u8>>, closing: CancellationToken) {
    let mut out = tokio::io::stdout();
    while let Some(mut message) = outgoing.recv().await {
        message.push(b'\n');
        let written = match out.write_all(&message).await {
            Ok(()) => out.flush().await,
            failed => failed,
        };
        if let Err(error) = written {
            tracing::debug!(%error, "nobody reads standard output");
            closing.cancel();
            return;
        }
    }
}

async fn signalled(closing: CancellationToken) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut term), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            closing.cancel();
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_ok() {
        closing.cancel();
    }
}
