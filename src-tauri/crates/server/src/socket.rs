//! A WebSocket on which much is said and little is heard.
//!
//! Reading, and the protocol's own answers, are tungstenite's. What is said goes past it: a frame is encoded once for all who get
//! it ([`frame`]), and whoever says it writes it to each socket itself, without waking a task per client. What a socket does not take
//! at once waits with that client's own task.
//!
//! **The queue** of a client: the frame that is half sent, and up to [`WAITING`] behind it. A newer frame about the same thing takes
//! the place of the older one that waits. When it is full the oldest goes, and [`Peer::say`] tells. So a client that does not read
//! costs what its queue holds, and nobody else anything.
//!
//! **The end**: a client that left two pings unanswered is cut off; one that is sent away hears why and has a second to answer.

use bytes::{Bytes, BytesMut};
use flotilla_engine::{Connections, GatewayBody as Body};
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use tokio_util::sync::CancellationToken;

/// A ping is sent this often.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(30);
/// Frames that may wait for one client.
pub(crate) const WAITING: usize = 64;
/// What is read at once.
const READ: usize = 1_024;
/// Pings that may stay unanswered.
const UNANSWERED: u8 = 2;
/// How long a client has to take leave.
const LEAVE: Duration = Duration::from_secs(1);

/// Whether a request asks for a WebSocket, and with which key.
fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let says = |name, word: &str| {
        headers.get_all(name).iter().any(|value| {
            let text = value.to_str().unwrap_or_default();
            text.split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    };
    let asks = says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    asks.then(|| key.as_bytes())
}

/// Answers a request for a WebSocket; `attend` gets the connection once it is one. 426 for any other request.
pub(crate) fn open<F, A>(
    mut request: Request<Incoming>,
    longest: usize,
    attend: A,
) -> Response<Body>
where
    A: FnOnce(Conversation) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let Some(accept) = key(request.headers()).map(derive_accept_key) else {
        let mut answer = plain(
            StatusCode::UPGRADE_REQUIRED,
            "this address speaks WebSocket (version 13) only",
        );
        let headers = answer.headers_mut();
        headers.insert(
            header::UPGRADE,
            header::HeaderValue::from_static("websocket"),
        );
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            header::HeaderValue::from_static("13"),
        );
        return answer;
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            tracing::error!("a connection is no TCP stream after its upgrade");
            return;
        };
        let peer = Peer::of(parts.io.into_inner());
        let conversation = Conversation::new(peer, parts.read_buf, longest).await;
        // Its own allocation: what precedes it is not kept for as long as it lasts.
        Box::pin(attend(conversation)).await;
    });
    let mut answer = Response::new(Body::whole(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("Upgrade"),
    );
    headers.insert(
        header::UPGRADE,
        header::HeaderValue::from_static("websocket"),
    );
    if let Ok(accept) = header::HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// A short answer that is no page.
pub(crate) fn plain(status: StatusCode, why: &str) -> Response<Body> {
    let mut answer = Response::new(Body::whole(Bytes::from(format!("{why}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

/// A text message as it goes over the wire.
pub(crate) fn frame(text: String) -> Bytes {
    encoded(Frame::message(text, OpCode::Data(Data::Text), true))
}

/// A ping.
pub(crate) fn ping() -> Bytes {
    encoded(Frame::ping(Bytes::new()))
}

fn encoded(frame: Frame) -> Bytes {
    let mut bytes = Vec::with_capacity(frame.len());
    // Writing to memory does not fail.
    let _ = frame.format(&mut bytes);
    bytes.into()
}

/// One client, as those see it who tell it something.
pub(crate) struct Peer {
    stream: TcpStream,
    out: Mutex<Outbox>,
    /// Something waits that the socket did not take.
    waits: Notify,
    /// Pings unanswered.
    silent: AtomicU8,
    over: CancellationToken,
    goodbye: Mutex<Option<(CloseCode, &'static str)>>,
}

#[derive(Default)]
struct Outbox {
    /// A frame that is half sent.
    sending: Bytes,
    waiting: VecDeque<(About, Bytes)>,
}

/// What a frame is about; a newer one takes the place of an older one that waits. `None`: of nothing.
pub(crate) type About = Option<Arc<str>>;

impl Peer {
    fn of(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            out: Mutex::default(),
            waits: Notify::new(),
            silent: AtomicU8::new(0),
            over: CancellationToken::new(),
            goodbye: Mutex::default(),
        })
    }

    /// Says something, as soon as the client takes it. False when something older had to be dropped for it.
    pub(crate) fn say(&self, about: About, frame: &Bytes) -> bool {
        let mut out = self.out();
        if out.is_empty() {
            match self.stream.try_write(frame) {
                Ok(sent) if sent == frame.len() => return true,
                Ok(sent) => out.sending = frame.slice(sent..),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    out.waiting.push_back((about, frame.clone()));
                }
                Err(_) => {
                    self.over.cancel();
                    return true;
                }
            }
            self.waits.notify_one();
            return true;
        }
        if about.is_some() {
            out.waiting.retain(|(waiting, _)| *waiting != about);
        }
        let whole = out.waiting.len() < WAITING;
        if !whole {
            out.waiting.pop_front();
        }
        out.waiting.push_back((about, frame.clone()));
        whole
    }

    /// Whether a frame about this waits.
    pub(crate) fn waits_for(&self, about: &str) -> bool {
        let out = self.out();
        let mut waiting = out.waiting.iter();
        waiting.any(|(known, _)| known.as_deref() == Some(about))
    }

    /// Asks whether it is there; cuts it off when it did not say so lately.
    pub(crate) fn prod(&self, ping: &Bytes) {
        if self.silent.fetch_add(1, Ordering::Relaxed) >= UNANSWERED {
            self.over.cancel();
            return;
        }
        self.say(Some("ping".into()), ping);
    }

    /// Sends it away.
    pub(crate) fn dismiss(&self, code: CloseCode, why: &'static str) {
        *self.goodbye.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, why));
        self.over.cancel();
    }

    /// Writes what waits, as far as the socket takes it.
    fn pump(&self) -> io::Result<()> {
        let mut out = self.out();
        while !out.is_empty() {
            if out.sending.is_empty()
                && let Some((_, next)) = out.waiting.pop_front()
            {
                out.sending = next;
            }
            match self.stream.try_write(&out.sending) {
                Ok(sent) => {
                    let _ = out.sending.split_to(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // Room is given back: most clients never need it again.
        out.waiting = VecDeque::new();
        Ok(())
    }

    /// Writes what waits, whenever something does. Ends with the connection. May be dropped and called again.
    async fn drain(&self) -> io::Error {
        loop {
            if self.out().is_empty() {
                self.waits.notified().await;
            }
            if let Err(error) = self.stream.writable().await {
                return error;
            }
            if let Err(error) = self.pump() {
                return error;
            }
        }
    }

    /// Waits until nothing waits.
    async fn emptied(&self) {
        while !self.out().is_empty() {
            if self.stream.writable().await.is_err() || self.pump().is_err() {
                return;
            }
        }
    }

    fn out(&self) -> MutexGuard<'_, Outbox> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.waiting.is_empty()
    }
}

/// One client, as its own task sees it.
pub(crate) struct Conversation {
    pub(crate) peer: Arc<Peer>,
    socket: WebSocketStream<Half>,
}

impl Conversation {
    async fn new(peer: Arc<Peer>, early: Bytes, longest: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(0)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let half = Half(Arc::clone(&peer));
        // A copy: with the bytes themselves the room in which the request's head was read would be kept for as long as it lasts, 8 KiB of each client.
        let early = early.to_vec();
        let socket =
            WebSocketStream::from_partially_read(half, early, Role::Server, Some(config)).await;
        Self { peer, socket }
    }

    /// The next text of the client (a binary message reads as an empty one); `None` when the connection is over.
    pub(crate) async fn next(&mut self) -> Option<Utf8Bytes> {
        loop {
            let message = tokio::select! {
                message = self.socket.next() => message?.ok()?,
                _ = self.peer.drain() => return None,
                () = self.peer.over.cancelled() => {
                    self.leave().await;
                    return None;
                }
            };
            self.peer.silent.store(0, Ordering::Relaxed);
            match message {
                Message::Text(text) => return Some(text),
                Message::Binary(_) => return Some(Utf8Bytes::default()),
                // Answered below us.
                _ => {}
            }
        }
    }

    /// Takes leave, if the client is to hear why, and waits a moment until it has.
    async fn leave(&mut self) {
        let goodbye = self
            .peer
            .goodbye
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((code, reason)) = goodbye else {
            return;
        };
        let _ = timeout(LEAVE, async {
            self.peer.emptied().await;
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            if self.socket.close(Some(frame)).await.is_err() {
                return;
            }
            self.peer.emptied().await;
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }
}

/// The socket as tungstenite has it: what it writes is queued whole, behind what was said before.
struct Half(Arc<Peer>);

impl AsyncRead for Half {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Half {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.say(None, &BytesMut::from(bytes).freeze());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Who is connected to the sockets of one engine, and what was said.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) dashboards: AtomicU32,
    pub(crate) followers: AtomicU32,
    pub(crate) streamed: AtomicU64,
}

impl Tally {
    pub(crate) fn view(&self) -> Connections {
        Connections {
            dashboards: self.dashboards.load(Ordering::Relaxed),
            followers: self.followers.load(Ordering::Relaxed),
            streamed: self.streamed.load(Ordering::Relaxed),
        }
    }
}
