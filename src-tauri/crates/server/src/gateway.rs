//! The gateway's listener: `/mcp`, for AI clients.
//!
//! It only opens the door: `Host` and `Origin` as everywhere; on loopback no token is asked for (clients on this machine are let
//! in as the specification of the port says), elsewhere the engine's token is. What is said behind the door is the gateway's.
//!
//! HTTP/1.1 without a router in between: this is the one path that every call of every client takes.

use crate::{
    Error,
    door::Door,
    http1::{self, Bounds},
    listen,
};
use bytes::Bytes;
use flotilla_engine::{Gateway, GatewayBody as Body};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::net::SocketAddr;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The port of `/mcp` unless another one is set, or remembered.
pub const GATEWAY_PORT: u16 = 8720;

const BOUNDS: Bounds = Bounds {
    connections: 2_048,
    buffer: 64 * 1024,
};

/// Serves `gateway` on a listener until `shutdown`.
pub(crate) fn run(
    listener: TcpListener,
    addr: SocketAddr,
    gateway: Gateway,
    door: Door,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    let guarded = !addr.ip().is_loopback();
    http1::run(listener, BOUNDS, shutdown, move |request, _| {
        let (gateway, door) = (gateway.clone(), door.clone());
        async move { admit(&gateway, &door, guarded, request).await }
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
