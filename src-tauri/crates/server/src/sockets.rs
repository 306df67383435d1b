//! The two listeners for clients of other makes: the dashboard's and the agent stream's.
//!
//! `Host` and `Origin` as everywhere; on loopback no token is asked for, elsewhere the engine's is, as a bearer or, since a page can send
//! no headers with a WebSocket, as `?token=`. A page of another origin gets in with the token only.

use crate::{
    Fleet,
    dashboard::{self, Hub},
    door::{Door, Foreign},
    http1::{self, Bounds},
    socket,
    stream::{self, Streams},
};
use flotilla_engine::GatewayBody as Body;
use http::{HeaderMap, Response, StatusCode};
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Requests on their way to become WebSockets.
const BOUNDS: Bounds = Bounds {
    connections: 1_024,
    buffer: 16 * 1024,
};

/// Serves the dashboard until `shutdown`.
pub(crate) fn dashboard<F: Fleet>(
    listener: TcpListener,
    hub: Arc<Hub<F>>,
    door: Door,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    http1::run(listener, BOUNDS, shutdown, move |request, peer| {
        let query = request.uri().query().unwrap_or_default();
        let (_, token) = stream::asked(&door, query, false);
        let answer = match admit(&door, request.headers(), token, peer) {
            Err(foreign) => socket::plain(StatusCode::FORBIDDEN, &foreign.to_string()),
            Ok(false) => locked(),
            Ok(true) => {
                let hub = Arc::clone(&hub);
                socket::open(request, dashboard::LONGEST, |with| hub.attend(with))
            }
        };
        std::future::ready(answer)
    })
}

/// Serves the agent stream until `shutdown`.
pub(crate) fn stream<F: Fleet>(
    listener: TcpListener,
    streams: Streams<F>,
    door: Door,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    let places = Arc::new(tokio::sync::Semaphore::new(stream::MOST_CLIENTS));
    http1::run(listener, BOUNDS, shutdown, move |request, peer| {
        let query = request.uri().query().unwrap_or_default();
        let (id, token) = stream::asked(&door, query, false);
        let answer = match admit(&door, request.headers(), token, peer) {
            Err(foreign) => socket::plain(StatusCode::FORBIDDEN, &foreign.to_string()),
            Ok(_) if request.uri().path() != stream::PATH => {
                socket::plain(StatusCode::NOT_FOUND, "there is /stream?requestId=ID")
            }
            // Who may not is told so by the close of the connection: a browser sees nothing else.
            Ok(allowed) => match Arc::clone(&places).try_acquire_owned() {
                Err(_) => socket::plain(StatusCode::SERVICE_UNAVAILABLE, "too many followers"),
                Ok(place) => {
                    let streams = streams.clone();
                    socket::open(request, stream::LONGEST, move |with| async move {
                        streams.attend(id, allowed, with).await;
                        drop(place);
                    })
                }
            },
        };
        std::future::ready(answer)
    })
}

/// Whether a request may, or why it may not even ask.
fn admit(door: &Door, headers: &HeaderMap, token: bool, peer: SocketAddr) -> Result<bool, Foreign> {
    let proven = token || door.entry(headers).is_some();
    match door.admit(headers) {
        Err(Foreign::Origin) if proven => {}
        other => other?,
    }
    Ok(proven || peer.ip().to_canonical().is_loopback())
}

fn locked() -> Response<Body> {
    socket::plain(
        StatusCode::UNAUTHORIZED,
        "the token is missing or wrong: Authorization: Bearer …, or ?token=…",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_let_in_and_other_origins_only_with_the_token() {
        let door = Door::new("0.0.0.0:9000".parse().unwrap(), "the-token");
        let (here, away) = ("127.0.0.1:5", "10.0.0.2:5");
        for (peer, host, origin, token, expected) in [
            (here, "localhost:9000", None, false, Ok(true)),
            (away, "10.0.0.1:9000", None, false, Ok(false)),
            (away, "10.0.0.1:9000", None, true, Ok(true)),
            (here, "evil.example:9000", None, true, Err(Foreign::Host)),
            (
                here,
                "localhost:9000",
                Some("http://evil.example"),
                false,
                Err(Foreign::Origin),
            ),
            (
                here,
                "localhost:9000",
                Some("http://board.example"),
                true,
                Ok(true),
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert("origin", http::HeaderValue::from_str(origin).unwrap());
            }
            let found = admit(&door, &headers, token, peer.parse().unwrap());
            assert_eq!(found, expected, "{peer} {host} {origin:?} {token}");
        }
    }
}
