//! The agent stream: a WebSocket on which one request is followed (seed document 000).
//!
//! `ws://HOST:8787/stream?requestId=ID`, where the id is the correlation id that the request was sent with. The follower gets its events
//! as [`flotilla_engine::Gateway::follow`] gives them, then the connection is closed with 1000. It is closed with 1008 when the id is
//! missing or nobody knows it, when it has all the followers it may have, and where a token is needed and wrong. What a follower says is
//! let pass.

use crate::{
    Fleet,
    door::Door,
    socket::{self, Conversation, Tally},
};
use flotilla_engine::{Gateway, NotFollowed};
use std::sync::{Arc, atomic::Ordering};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

/// The port unless another one is set, or remembered.
pub const STREAM_PORT: u16 = 8787;
/// Connections at once.
pub(crate) const MOST_CLIENTS: usize = 10_000;
/// Size of a message from a client, in bytes.
pub(crate) const LONGEST: usize = 2 << 20;
/// The one path.
pub(crate) const PATH: &str = "/stream";

/// What every follower shares.
#[derive(Clone)]
pub(crate) struct Streams<F> {
    pub(crate) fleet: F,
    pub(crate) tally: Arc<Tally>,
    pub(crate) shutdown: CancellationToken,
}

impl<F: Fleet> Streams<F> {
    /// Serves one follower until the request is over, or it leaves.
    pub(crate) async fn attend(self, request: Option<String>, allowed: bool, with: Conversation) {
        self.tally.followers.fetch_add(1, Ordering::Relaxed);
        self.tell(request, allowed, with).await;
        self.tally.followers.fetch_sub(1, Ordering::Relaxed);
    }

    async fn tell(&self, request: Option<String>, allowed: bool, mut with: Conversation) {
        let peer = Arc::clone(&with.peer);
        let followed = match (allowed, request) {
            (false, _) => Err("the token is missing or wrong"),
            (true, None) => Err("requestId is missing"),
            (true, Some(request)) => match self
                .fleet
                .gateway()
                .map(|gateway: Gateway| gateway.follow(&request))
            {
                None | Some(Err(NotFollowed::Unknown)) => Err("no request of this id is known"),
                Some(Err(NotFollowed::Crowded)) => Err("the request has too many followers"),
                Some(Ok(followed)) => Ok(followed),
            },
        };
        let mut followed = match followed {
            Ok(followed) => followed,
            Err(why) => {
                peer.dismiss(CloseCode::Policy, why);
                while with.next().await.is_some() {}
                return;
            }
        };
        let ping = socket::ping();
        let mut heartbeat = tokio::time::interval_at(
            tokio::time::Instant::now() + socket::HEARTBEAT,
            socket::HEARTBEAT,
        );
        let mut over = false;
        loop {
            tokio::select! {
                event = followed.next(), if !over => match event {
                    Some(event) => {
                        let text = String::from_utf8(event.to_vec()).unwrap_or_default();
                        peer.say(None, &socket::frame(text));
                        self.tally.streamed.fetch_add(1, Ordering::Relaxed);
                    }
                    None => {
                        over = true;
                        peer.dismiss(CloseCode::Normal, "the request is over");
                    }
                },
                said = with.next() => if said.is_none() { return },
                _ = heartbeat.tick() => peer.prod(&ping),
                () = self.shutdown.cancelled(), if !over => {
                    over = true;
                    peer.dismiss(CloseCode::Away, "the engine ends");
                }
            }
        }
    }
}

/// What a request for a stream names, and whether it may.
pub(crate) fn asked(door: &Door, query: &str, entered: bool) -> (Option<String>, bool) {
    let field = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let allowed = entered || field("token").is_some_and(|token| door.is_token(token));
    let request = field("requestId").filter(|id| !id.is_empty());
    (request.map(unescaped), allowed)
}

/// A text of a query without its percent escapes.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = bytes
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        plain.push(escape.unwrap_or(*byte));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_and_whether_it_may_be() {
        let door = Door::new("127.0.0.1:8787".parse().unwrap(), "the-token");
        let check = |query: &str, entered, request: Option<&str>, allowed| {
            let found = asked(&door, query, entered);
            assert_eq!(found, (request.map(ToOwned::to_owned), allowed), "{query}");
        };
        check("requestId=a-1", true, Some("a-1"), true);
        check(
            "token=the-token&requestId=a%2F%zz%",
            false,
            Some("a/%zz%"),
            true,
        );
        check("requestId=&token=other", false, None, false);
        check("xrequestId=a", false, None, false);
    }
}
