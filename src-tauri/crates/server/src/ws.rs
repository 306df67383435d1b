//! The control WebSocket: frames of the contract as JSON text; a binary message is a metric tick and belongs to the
//! connection's one metrics subscription.

use crate::{Fleet, News, door};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use flotilla_contract::{
    Caller, ErrorCode, WireError,
    frame::{ClientFrame, ServerFrame, Topic},
};
use flotilla_engine::Outgoing;
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span};

/// Frames that wait for the client.
pub const QUEUE: usize = 256;
/// Calls under way on one connection.
pub const MAX_CALLS: usize = 256;
/// Subscriptions of one connection.
pub const MAX_SUBSCRIPTIONS: usize = 64;
/// Control connections of one listener.
pub const MAX_CONNECTIONS: usize = 256;
/// Size of a message from a client, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
/// A ping is sent this often; a client that is silent for two of them is gone.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a client may take to accept one frame.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Serves one connection until either side ends it.
pub(crate) async fn attend<F: Fleet>(
    socket: WebSocket,
    fleet: F,
    actor: String,
    shutdown: CancellationToken,
) {
    let (sink, mut stream) = socket.split();
    let (out, queue) = mpsc::channel(QUEUE);
    // Ended by either half, or by the listener.
    let over = shutdown.child_token();
    let _guard = over.clone().drop_guard();
    tokio::spawn(write(sink, queue, over.clone()));
    let mut connection = Connection {
        fleet,
        actor,
        out,
        calls: Arc::new(Semaphore::new(MAX_CALLS)),
        subscriptions: HashMap::new(),
    };
    let hello = ServerFrame::Hello(connection.fleet.hello());
    connection.send(hello).await;
    loop {
        let message = tokio::select! {
            message = timeout(2 * KEEPALIVE, stream.next()) => message,
            () = over.cancelled() => break,
        };
        match message {
            Ok(Some(Ok(Message::Text(text)))) => connection.on_text(&text).await,
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(Message::Binary(_)))) => {
                connection
                    .refuse(0, "read a binary message: clients send JSON text")
                    .await;
            }
            Ok(Some(Ok(Message::Close(_))) | None) => break,
            Ok(Some(Err(error))) => {
                debug!(%error, "a control connection broke");
                break;
            }
            Err(_) => {
                debug!("a control connection fell silent");
                break;
            }
        }
    }
    for (_, subscription) in connection.subscriptions.drain() {
        subscription.task.abort();
    }
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Message>,
    over: CancellationToken,
) {
    let _guard = over.clone().drop_guard();
    let mut ping = tokio::time::interval_at(Instant::now() + KEEPALIVE, KEEPALIVE);
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = ping.tick() => Some(Message::Ping(bytes::Bytes::new())),
            () = over.cancelled() => None,
        };
        let Some(message) = message else { break };
        if !matches!(timeout(PATIENCE, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let bye = CloseFrame {
        code: close_code::AWAY,
        reason: "the engine closes this connection".into(),
    };
    // It may be gone already.
    let _ = timeout(Duration::from_secs(1), sink.send(Message::Close(Some(bye)))).await;
}

struct Connection<F> {
    fleet: F,
    actor: String,
    out: mpsc::Sender<Message>,
    calls: Arc<Semaphore>,
    subscriptions: HashMap<u64, Open>,
}

struct Open {
    task: AbortHandle,
    metrics: bool,
}

impl<F: Fleet> Connection<F> {
    async fn on_text(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(ClientFrame::Call {
                id,
                command,
                params,
            }) => self.call(id, command, params).await,
            Ok(ClientFrame::Subscribe { id, topic }) => self.subscribe(id, topic).await,
            Ok(ClientFrame::Unsubscribe { id }) => {
                if let Some(open) = self.subscriptions.remove(&id) {
                    open.task.abort();
                }
            }
            Err(error) => {
                // Answered under the id it meant, where it has one, so that nobody waits for ever.
                let id = serde_json::from_str::<serde_json::Value>(text)
                    .ok()
                    .and_then(|v| v.get("id")?.as_u64());
                self.refuse(id.unwrap_or(0), format!("read the frame: {error}"))
                    .await;
            }
        }
    }

    async fn call(&self, id: u64, command: String, params: serde_json::Value) {
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            return self
                .refuse(
                    id,
                    format!("run more than {MAX_CALLS} calls at once on one connection"),
                )
                .await;
        };
        let caller = Caller {
            actor: self.actor.clone(),
            correlation: door::correlation(),
        };
        let span =
            info_span!("call", %command, correlation = %caller.correlation, actor = %caller.actor);
        let (fleet, out) = (self.fleet.clone(), self.out.clone());
        // Not tied to the connection: a command that was begun is ended, whoever listens.
        let run = async move { fleet.call(&caller, &command, params).await };
        let task = tokio::spawn(run.instrument(span));
        tokio::spawn(async move {
            // One that panicked is answered too: nobody waits for ever.
            let ended = task.await.unwrap_or_else(|e| {
                Err(WireError::new(
                    ErrorCode::Internal,
                    format!("finish the command: {e}"),
                ))
            });
            let answer = match ended {
                Ok(result) => ServerFrame::Answer { id, result },
                Err(error) => ServerFrame::Error { id, error },
            };
            drop(permit);
            send(&out, &answer).await;
        });
    }

    async fn subscribe(&mut self, id: u64, topic: Topic) {
        self.subscriptions
            .retain(|_, open| !open.task.is_finished());
        let metrics = matches!(topic, Topic::Metrics);
        if self.subscriptions.contains_key(&id) {
            return self
                .refuse(id, format!("subscribe under id {id}: it is in use"))
                .await;
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return self
                .refuse(
                    id,
                    format!("open more than {MAX_SUBSCRIPTIONS} subscriptions on one connection"),
                )
                .await;
        }
        if metrics && self.subscriptions.values().any(|open| open.metrics) {
            return self
                .refuse(
                    id,
                    "open a second metrics subscription: ticks carry no id, one connection has one",
                )
                .await;
        }
        let mut news = self.fleet.subscribe(topic);
        let out = self.out.clone();
        let relay = async move {
            while let Some(piece) = news.next().await {
                let sent = match piece {
                    Outgoing::Update(update) => {
                        send(&out, &ServerFrame::Update { id, update }).await
                    }
                    Outgoing::Binary(bytes) => out.send(Message::Binary(bytes)).await.is_ok(),
                };
                if !sent {
                    return;
                }
            }
            let error = WireError::new(ErrorCode::Unreachable, "follow: the engine stops");
            send(&out, &ServerFrame::Error { id, error }).await;
        };
        let task = tokio::spawn(relay).abort_handle();
        self.subscriptions.insert(id, Open { task, metrics });
    }

    async fn refuse(&self, id: u64, why: impl Into<String>) {
        self.send(ServerFrame::Error {
            id,
            error: WireError::new(ErrorCode::BadRequest, why),
        })
        .await;
    }

    async fn send(&self, frame: ServerFrame) {
        send(&self.out, &frame).await;
    }
}

/// Whether the connection took it.
async fn send(out: &mpsc::Sender<Message>, frame: &ServerFrame) -> bool {
    match serde_json::to_string(frame) {
        Ok(text) => out.send(Message::Text(text.into())).await.is_ok(),
        Err(error) => {
            tracing::error!(%error, "failed to write a frame");
            true
        }
    }
}
