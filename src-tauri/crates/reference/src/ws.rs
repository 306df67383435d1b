//! The transport layer's WebSocket: subprotocol `mcp`, a welcome, then one reply for each message.

use crate::{
    calls::Calls,
    handler::CorrelationId,
    http::{broken, exchange},
    rpc,
};
use axum::{
    extract::{
        Extension, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// A connection that says nothing for so long is closed, as the sessions of this server are.
const IDLE: Duration = Duration::from_secs(30 * 60);

pub(crate) async fn upgrade(
    State(calls): State<Arc<Calls>>,
    Extension(CorrelationId(id)): Extension<CorrelationId>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .protocols(["mcp"])
        .max_message_size(1 << 20)
        .on_upgrade(move |socket| converse(calls, id, socket))
}

async fn converse(calls: Arc<Calls>, id: String, mut socket: WebSocket) {
    let welcome = json!({
        "jsonrpc": "2.0",
        "method": "connection/established",
        "params": {"server": calls.service.name, "connectionId": id},
    });
    if socket
        .send(Message::text(welcome.to_string()))
        .await
        .is_err()
    {
        return;
    }
    let mut session: Option<String> = None;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(IDLE, socket.recv()).await {
        let Message::Text(text) = message else {
            continue;
        };
        let reply = match serde_json::from_str(&text) {
            Err(error) => broken(rpc::PARSE_ERROR, &error.to_string()),
            Ok(message) => match exchange(&calls, id.clone(), session.as_deref(), message).await {
                Err(error) => broken(rpc::INVALID_REQUEST, &error.to_string()),
                Ok((reply, of)) => {
                    session = Some(of);
                    reply
                }
            },
        };
        if !reply.is_null() && socket.send(Message::text(reply.to_string())).await.is_err() {
            return;
        }
    }
}
