//! Everything between web view and engine: three commands, no logic. A channel carries the frames of the contract as
//! JSON, and metric ticks as raw bytes.

use crate::{
    host::Host,
    link::{self, Feed, Link, Piece},
};
use flotilla_contract::{
    ErrorCode, WireError,
    frame::{ServerFrame, Topic},
};
use flotilla_remote::Link as Connection;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tauri::{
    State,
    async_runtime::JoinHandle,
    ipc::{Channel, InvokeResponseBody},
};
use tokio::sync::watch;

/// Subscriptions of the page.
const MAX_FEEDS: usize = 64;

/// What the page follows, by its own numbers.
#[derive(Default)]
pub(crate) struct Feeds(Mutex<HashMap<u64, JoinHandle<()>>>);

impl Feeds {
    pub(crate) fn clear(&self) {
        self.open().drain().for_each(|(_, feed)| feed.abort());
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends one and waits until it has let go.
    async fn close(&self, id: u64) {
        let feed = self.open().remove(&id);
        if let Some(feed) = feed {
            feed.abort();
            // Aborted: that is what its error says.
            let _ = feed.await;
        }
    }
}

#[tauri::command]
pub(crate) async fn call(
    host: State<'_, Host>,
    command: String,
    params: Option<Value>,
) -> Result<Value, WireError> {
    host.link()
        .call("panel", &command, params.unwrap_or_default())
        .await
}

#[tauri::command]
pub(crate) async fn subscribe(
    host: State<'_, Host>,
    feeds: State<'_, Feeds>,
    id: u64,
    topic: Topic,
    channel: Channel<InvokeResponseBody>,
) -> Result<(), WireError> {
    feeds.close(id).await;
    let link = host.link();
    let feed = link.subscribe(topic).await?;
    let mut open = feeds.open();
    open.retain(|_, feed| !feed.inner().is_finished());
    if open.len() >= MAX_FEEDS {
        return Err(WireError::new(
            ErrorCode::BadRequest,
            format!("open more than {MAX_FEEDS} subscriptions"),
        ));
    }
    open.insert(
        id,
        tauri::async_runtime::spawn(relay(link, id, feed, channel)),
    );
    Ok(())
}

#[tauri::command]
pub(crate) async fn unsubscribe(feeds: State<'_, Feeds>, id: u64) -> Result<(), WireError> {
    feeds.close(id).await;
    Ok(())
}

async fn relay(link: Link, id: u64, mut feed: Feed, channel: Channel<InvokeResponseBody>) {
    let (mut connection, mut up) = (link.connection(), true);
    if !link
        .hello()
        .is_none_or(|hello| send(&channel, &ServerFrame::Hello(hello)))
    {
        return;
    }
    loop {
        let piece = tokio::select! {
            piece = feed.next() => piece,
            frame = turned(id, &mut up, &mut connection) => {
                if !send(&channel, &frame) {
                    return;
                }
                continue;
            }
        };
        let sent = match piece {
            Some(Piece::Update(update)) => send(
                &channel,
                &ServerFrame::Update {
                    id,
                    update: *update,
                },
            ),
            Some(Piece::Tick(bytes)) => channel.send(InvokeResponseBody::Raw(bytes)).is_ok(),
            Some(Piece::Failed(error)) => send(&channel, &ServerFrame::Error { id, error }),
            None => {
                let error = WireError::new(ErrorCode::Unreachable, "follow: the engine is gone");
                send(&channel, &ServerFrame::Error { id, error });
                return;
            }
        };
        if !sent {
            return;
        }
    }
}

/// How the connection to an engine elsewhere turned: that it was lost, once, or the greeting of the one found again.
async fn turned(
    id: u64,
    up: &mut bool,
    connection: &mut Option<watch::Receiver<Connection>>,
) -> ServerFrame {
    if let Some(connection) = connection {
        while connection.changed().await.is_ok() {
            match &*connection.borrow_and_update() {
                Connection::Up(hello) => {
                    *up = true;
                    return ServerFrame::Hello(hello.clone());
                }
                Connection::Down(why) | Connection::Over(why) if *up => {
                    *up = false;
                    return ServerFrame::Error {
                        id,
                        error: link::wire(why.clone()),
                    };
                }
                Connection::Down(_) | Connection::Over(_) => {}
            }
        }
    }
    std::future::pending().await
}

/// Whether the page took it.
fn send(channel: &Channel<InvokeResponseBody>, frame: &ServerFrame) -> bool {
    match serde_json::to_string(frame) {
        Ok(text) => channel.send(InvokeResponseBody::Json(text)).is_ok(),
        Err(error) => {
            tracing::error!(%error, "failed to write a frame");
            true
        }
    }
}
