//! The way to the engine, whichever process it runs in.

use flotilla_contract::{
    Caller, ErrorCode, WireError,
    frame::{Hello, Topic, Update},
};
use flotilla_engine::{Handle, Outgoing, Subscription};
use flotilla_remote::{Client, Error, Link as Connection, News};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// An engine in this process, one elsewhere, or why there is none.
#[derive(Clone)]
pub(crate) enum Link {
    Here(Handle),
    There(Client),
    Nowhere(WireError),
}

/// News of one subscription.
pub(crate) enum Feed {
    Here(Subscription),
    There(flotilla_remote::Subscription),
}

pub(crate) enum Piece {
    Update(Box<Update>),
    Tick(Vec<u8>),
    Failed(WireError),
}

impl Link {
    pub(crate) async fn call(
        &self,
        actor: &str,
        command: &str,
        params: Value,
    ) -> Result<Value, WireError> {
        match self {
            Self::Here(handle) => {
                let caller = Caller {
                    actor: actor.into(),
                    correlation: correlation(actor),
                };
                let (handle, command) = (handle.clone(), command.to_owned());
                // A task of its own: a page that is left does not end a command half-way, and a fault is an answer.
                let task =
                    tokio::spawn(async move { handle.call(&caller, &command, params).await });
                task.await.unwrap_or_else(|e| {
                    Err(WireError::new(
                        ErrorCode::Internal,
                        format!("finish the command: {e}"),
                    ))
                })
            }
            Self::There(client) => client.call(command, params).await.map_err(wire),
            Self::Nowhere(why) => Err(why.clone()),
        }
    }

    pub(crate) async fn subscribe(&self, topic: Topic) -> Result<Feed, WireError> {
        match self {
            Self::Here(handle) => Ok(Feed::Here(handle.subscribe(topic))),
            Self::There(client) => client.subscribe(topic).await.map(Feed::There).map_err(wire),
            Self::Nowhere(why) => Err(why.clone()),
        }
    }

    /// Who answers, if somebody does.
    pub(crate) fn hello(&self) -> Option<Hello> {
        match self {
            Self::Here(handle) => Some(handle.hello()),
            Self::There(client) => match &*client.link().borrow() {
                Connection::Up(hello) => Some(hello.clone()),
                Connection::Down(_) | Connection::Over(_) => None,
            },
            Self::Nowhere(_) => None,
        }
    }

    /// How the connection to an engine elsewhere stands; an engine in this process cannot be lost.
    pub(crate) fn connection(&self) -> Option<watch::Receiver<Connection>> {
        match self {
            Self::There(client) => Some(client.link()),
            Self::Here(_) | Self::Nowhere(_) => None,
        }
    }
}

impl Feed {
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        Some(match self {
            Self::Here(feed) => match feed.next().await? {
                Outgoing::Update(update) => Piece::Update(Box::new(update)),
                Outgoing::Binary(bytes) => Piece::Tick(bytes.into()),
            },
            Self::There(feed) => match feed.next().await? {
                News::Update(update) => Piece::Update(Box::new(update)),
                News::Tick(bytes) => Piece::Tick(bytes.into()),
                News::Failed(error) => Piece::Failed(error),
            },
        })
    }
}

/// An error of the connection as a page reads it.
pub(crate) fn wire(error: Error) -> WireError {
    match error {
        Error::Command(error) => error,
        Error::Unauthorized { .. } => WireError::new(ErrorCode::Unauthorized, bare(&error)),
        other => WireError::new(ErrorCode::Unreachable, bare(&other)),
    }
}

/// The text without the words that a wire error leaves to its reader.
fn bare(error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to ")
        .map_or_else(|| format!("reach an engine: {text}"), str::to_owned)
}

fn correlation(actor: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!(
        "{actor}-{:x}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
