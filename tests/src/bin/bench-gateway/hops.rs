//! What a hop costs at the least, with no idea of MCP: bytes copied both ways, which is the bound for whatever forwards, and
//! HTTP taken in and given on, which is the practical one on the stack that the gateway stands on.

use anyhow::Result;
use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::net::{TcpListener, TcpStream};

/// One connection on for each that comes in.
pub(crate) async fn tcp(socket: TcpListener, upstream: SocketAddr) -> Result<()> {
    const BUFFER: usize = 64 << 10;
    loop {
        let (mut near, _) = socket.accept().await?;
        near.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut far = TcpStream::connect(upstream).await?;
            far.set_nodelay(true)?;
            tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await
        });
    }
}

/// Requests go out on kept connections that all share; bodies stream through.
pub(crate) async fn hyper(socket: TcpListener, upstream: SocketAddr) -> Result<()> {
    let pool = Arc::new(Pool {
        upstream,
        idle: Mutex::default(),
    });
    loop {
        let (near, _) = socket.accept().await?;
        near.set_nodelay(true)?;
        let pool = Arc::clone(&pool);
        let relay = service_fn(move |request| relay(Arc::clone(&pool), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(near), relay));
    }
}

async fn relay(pool: Arc<Pool>, request: Request<Incoming>) -> Result<Response<Relayed>> {
    let mut sender = pool.take().await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Relayed {
        body,
        sender: Some(sender),
        pool,
    }))
}

struct Pool {
    upstream: SocketAddr,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    /// The connection that was used last, or a new one.
    async fn take(&self) -> Result<SendRequest<Incoming>> {
        while let Some(mut sender) = self.pop() {
            // One that was closed meanwhile is no loss.
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn pop(&self) -> Option<SendRequest<Incoming>> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    fn push(&self, sender: SendRequest<Incoming>) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sender);
    }
}

/// A body on its way back. When it is over, its connection is free again.
struct Relayed {
    body: Incoming,
    sender: Option<SendRequest<Incoming>>,
    pool: Arc<Pool>,
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.push(sender);
        }
    }
}
