//! The gateway's listener: `/mcp`, for AI clients.
//!
//! It only opens the door: `Host` and `Origin` as everywhere; on loopback no token is asked for (clients on this machine are let
//! in as the specification of the port says), elsewhere the engine's token is. What is said behind the door is the gateway's.
//!
//! HTTP/1.1 without a router in between: this is the one path that every call of every client takes.

use crate::{Error, door::Door, listen};
use bytes::Bytes;
use flotilla_engine::{Gateway, GatewayBody as Body};
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The port of `/mcp` unless another one is set, or remembered.
pub const GATEWAY_PORT: u16 = 8720;

/// Connections at once; one more waits to be accepted.
const MOST_CONNECTIONS: usize = 2_048;
/// What a connection reads at once, at most (a head must fit, too): an idle one keeps that much.
const BUFFER: usize = 64 * 1024;
/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(15);
/// How long requests under way may take to end after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(3);

/// Serves `gateway` on a listener until `shutdown`.
pub(crate) fn run(
    listener: TcpListener,
    addr: SocketAddr,
    gateway: Gateway,
    door: Door,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let open = TaskTracker::new();
        let guarded = !addr.ip().is_loopback();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most often: give some back first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // Answers are small and waited for.
            let _ = stream.set_nodelay(true);
            let (gateway, door, ending) = (gateway.clone(), door.clone(), shutdown.clone());
            open.spawn(async move {
                let _place = place;
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (gateway, door) = (gateway.clone(), door.clone());
                    async move { Ok::<_, Infallible>(admit(&gateway, &door, guarded, request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(BUFFER)
                    .serve_connection(TokioIo::new(stream), answer);
                tokio::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => {}
                    () = ending.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        let _ = tokio::time::timeout(DRAIN, connection).await;
                    }
                }
            });
        }
        open.close();
        let _ = tokio::time::timeout(DRAIN, open.wait()).await;
    })
}

async fn admit(
    gateway: &Gateway,
    door: &Door,
    guarded: bool,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Err(foreign) = door.admit(request.headers()) {
        return refused(StatusCode::FORBIDDEN, &foreign.to_string());
    }
    if guarded && door.entry(request.headers()).is_none() {
        let mut answer = refused(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong: Authorization: Bearer …",
        );
        answer.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            header::HeaderValue::from_static("Bearer"),
        );
        return answer;
    }
    gateway.handle(request).await
}

fn refused(status: StatusCode, why: &str) -> Response<Body> {
    let text = serde_json::json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": -32_600, "message": why },
    });
    let mut answer = Response::new(Body::whole(Bytes::from(text.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    answer
}

/// Opens the gateway's port: the one set, else the one remembered or [`GATEWAY_PORT`], else a free one.
pub(crate) async fn open<F: crate::Fleet>(
    fleet: &F,
    host: std::net::IpAddr,
    port: Option<u16>,
) -> Result<(TcpListener, Option<String>), Error> {
    listen::open(fleet, host, port, listen::GATEWAY, GATEWAY_PORT).await
}
