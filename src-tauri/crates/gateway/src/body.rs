//! Bodies of answers: whole, or a stream of events.

use bytes::Bytes;
use http_body::Frame;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval_at},
};
use tokio_util::sync::DropGuard;

/// An idle stream says so this often, so that nothing on the way takes it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of an answer.
pub struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
}

struct Stream {
    events: mpsc::Receiver<Bytes>,
    alive: Interval,
    /// Dropped with the body: a client that goes away ends what it asked for.
    _gone: Option<DropGuard>,
}

impl Body {
    /// All of it.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(bytes.into())))
    }

    /// Events as they come, ready framed. `gone` is dropped when the client goes away or the stream ends.
    pub(crate) fn stream(events: mpsc::Receiver<Bytes>, gone: Option<DropGuard>) -> Self {
        let mut alive = interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Kind::Stream(Box::new(Stream {
            events,
            alive,
            _gone: gone,
        })))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => match stream.events.poll_recv(cx) {
                Poll::Ready(Some(event)) => {
                    stream.alive.reset();
                    Poll::Ready(Some(Ok(Frame::data(event))))
                }
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => stream
                    .alive
                    .poll_tick(cx)
                    .map(|_| Some(Ok(Frame::data(Bytes::from_static(b": alive\n\n"))))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Kind::Stream(_) => http_body::SizeHint::default(),
        }
    }
}
