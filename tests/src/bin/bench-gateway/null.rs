//! Replies written by hand: what is left when there is no server, which is what the wire, the kernel and the callers cost. An
//! answer from a cache can come near it.

use crate::{
    message,
    plain::{self, Answer},
};
use anyhow::{Context as _, Result};
use tokio::net::TcpListener;

const INITIALIZED: &[u8] = br#","result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"null","version":"1"}}}"#;

#[derive(Clone)]
struct Null;

impl Answer for Null {
    async fn answer(&self, message: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let Some(id) = message::id(message) else {
            return Ok(());
        };
        out.extend(br#"{"jsonrpc":"2.0","id":"#);
        out.extend(&message[id]);
        if message::is(message, "tools/call") {
            out.extend(br#","result":{"content":[{"type":"text","text":"#);
            out.extend(message::text(message).context("a call without a text")?);
            out.extend(br#"}],"isError":false}}"#);
        } else {
            out.extend(INITIALIZED);
        }
        Ok(())
    }
}

pub(crate) async fn serve(socket: TcpListener) -> Result<()> {
    plain::serve(socket, Null).await
}
