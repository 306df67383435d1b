//! Connections to one server on this machine, over plain HTTP/1.1: kept, counted, and bounded.
//!
//! Elsewhere, and over TLS, connections are `reqwest`'s. Here a request goes to a connection directly, and the operator sees
//! how many there are and who waits.
//!
//! A *request* takes a place among [`PoolOptions::max`] and waits for one if it must. What a server waits for while it works
//! on a request (answers to its questions, cancellations) and what lasts (its stream of notifications) takes none, so that
//! requests cannot lock themselves out.

use crate::{Error, session::lock};
use bytes::Bytes;
use flotilla_contract::gateway::PoolState;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::HeaderMap,
};
use hyper_util::rt::TokioIo;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How long the rest of an answer may take, so that its connection can be used again, and how long it may be.
const REST_WITHIN: Duration = Duration::from_secs(1);
const REST_BYTES: usize = 64 * 1024;
/// A server says how long it keeps an idle connection; we are done with it this much earlier.
const BEFORE_THEM: Duration = Duration::from_secs(1);
/// How often idle connections are looked over, at most.
const SWEEP: Duration = Duration::from_millis(500);

/// How connections to one server are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Idle connections that are kept longer than `idle`, unless the server closes them or says that it is about to
    /// (default 0).
    pub min: usize,
    /// Requests under way at once, each on a connection of its own; the others wait (default 50, at least 1).
    pub max: usize,
    /// How long a connection may be idle (default 4 s: many servers drop one after 5 s, and a request on one that is just
    /// being dropped fails). A server that names its own limit (`Keep-Alive: timeout=`) is believed.
    pub idle: Duration,
    /// How old a connection may become (default 1 h).
    pub age: Duration,
    /// How long opening one may take (default 10 s).
    pub connect_timeout: Duration,
    /// How long a request may wait for its place (default 10 s); after that it fails as never sent.
    pub wait: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            min: 0,
            max: 50,
            idle: Duration::from_secs(4),
            age: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(10),
            wait: Duration::from_secs(10),
        }
    }
}

/// A pool as it is now.
#[derive(Clone, Debug, Default)]
pub struct PoolStats {
    /// Connections open.
    pub open: usize,
    /// Of them, in use.
    pub in_use: usize,
    /// Requests that may be under way at once.
    pub max: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// How long the oldest of them has waited.
    pub oldest_wait: Option<Duration>,
    /// Where the pool is.
    pub state: PoolState,
    /// Why no connection came about, when the last try failed.
    pub reason: Option<String>,
}

/// A place among the requests that may be under way at once.
pub(crate) type Place = OwnedSemaphorePermit;

pub(crate) struct Pool {
    host: String,
    port: u16,
    options: PoolOptions,
    places: Arc<Semaphore>,
    idle: Mutex<VecDeque<Kept>>,
    open: Arc<AtomicU32>,
    in_use: Arc<AtomicU32>,
    connecting: AtomicU32,
    /// When each request that waits for a place began to.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    next_wait: AtomicU64,
    failure: Mutex<Option<String>>,
    sweeping: AtomicBool,
}

/// An open connection.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    born: Instant,
    /// How long the server lets it be idle, if it says so.
    theirs: Option<Duration>,
    used: bool,
}

struct Kept {
    line: Line,
    since: Instant,
}

impl Kept {
    fn is_over(&self, now: Instant, age: Duration) -> bool {
        self.line.sender.is_closed()
            || now - self.line.born >= age
            || self
                .line
                .theirs
                .is_some_and(|limit| now - self.since >= limit)
    }
}

/// Counts one as long as it lives.
struct Counted(Arc<AtomicU32>);

impl Counted {
    fn new(counter: &Arc<AtomicU32>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The head of an answer, and its body as it comes. Dropped before its end, it closes the connection.
pub(crate) struct Answer {
    pub(crate) head: hyper::http::response::Parts,
    body: Incoming,
    lease: Option<Lease>,
}

struct Lease {
    pool: Weak<Pool>,
    line: Line,
    _in_use: Counted,
    place: Option<Place>,
}

impl Pool {
    pub(crate) fn new(host: String, port: u16, options: PoolOptions) -> Self {
        Self {
            host,
            port,
            options,
            places: Arc::new(Semaphore::new(options.max.clamp(1, Semaphore::MAX_PERMITS))),
            idle: Mutex::default(),
            open: Arc::default(),
            in_use: Arc::default(),
            connecting: AtomicU32::new(0),
            waiting: Mutex::default(),
            next_wait: AtomicU64::new(0),
            failure: Mutex::default(),
            sweeping: AtomicBool::new(false),
        }
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed) as usize;
        let (waiting, oldest) = {
            let waiting = lock(&self.waiting);
            let oldest = waiting.values().next().map(Instant::elapsed);
            (waiting.len(), oldest)
        };
        let open = count(&self.open);
        let reason = lock(&self.failure).clone();
        let connecting = count(&self.connecting) > 0;
        let state = match (open, connecting, &reason) {
            (1.., ..) => PoolState::Connected,
            (0, true, None) => PoolState::Connecting,
            (0, true, Some(_)) => PoolState::Reconnecting,
            (0, false, Some(_)) => PoolState::Error,
            (0, false, None) => PoolState::Disconnected,
        };
        PoolStats {
            open,
            in_use: count(&self.in_use),
            max: self.options.max.max(1),
            waiting,
            oldest_wait: oldest,
            state,
            reason: reason.filter(|_| open == 0),
        }
    }

    /// Sends a request and waits for the head of its answer. A place that it took is free when the answer is over.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
        place: Option<Place>,
    ) -> Result<Answer, Error> {
        let in_use = Counted::new(&self.in_use);
        loop {
            let mut line = match self.take() {
                Some(line) => line,
                None => self.connect().await?,
            };
            let used = line.used;
            if line.sender.ready().await.is_err() && used {
                continue;
            }
            line.used = true;
            match line.sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(self.answer(response, line, in_use, place));
                }
                Err(mut error) => match error.take_message() {
                    // The server closed the connection before anything was written: another one will do.
                    Some(unsent) if used => request = unsent,
                    Some(_) => return Err(Error::Unreachable(cause(&error.into_error()))),
                    None => return Err(Error::Interrupted(cause(&error.into_error()))),
                },
            }
        }
    }

    fn answer(
        self: &Arc<Self>,
        response: Response<Incoming>,
        mut line: Line,
        in_use: Counted,
        place: Option<Place>,
    ) -> Answer {
        let (head, body) = response.into_parts();
        line.theirs = idle_limit(&head.headers);
        Answer {
            head,
            body,
            lease: Some(Lease {
                pool: Arc::downgrade(self),
                line,
                _in_use: in_use,
                place,
            }),
        }
    }

    /// Waits for a place among the requests that may be under way.
    pub(crate) async fn place(&self) -> Result<Place, Error> {
        /// Leaves the queue when its caller gives up, too.
        struct Waiting<'a>(&'a Pool, u64);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                lock(&self.0.waiting).remove(&self.1);
            }
        }
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let number = self.next_wait.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(number, Instant::now());
        let _waiting = Waiting(self, number);
        let turn = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.options.wait, turn).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Error::Unreachable(format!(
                "all {} connections were in use for {} ms",
                self.options.max.max(1),
                self.options.wait.as_millis()
            ))),
        }
    }

    /// The connection used last, if one is there that is still good.
    fn take(&self) -> Option<Line> {
        let mut idle = lock(&self.idle);
        let now = Instant::now();
        while let Some(kept) = idle.pop_back() {
            if !kept.is_over(now, self.options.age) {
                return Some(kept.line);
            }
        }
        None
    }

    fn keep(self: &Arc<Self>, line: Line) {
        if line.sender.is_closed() || line.born.elapsed() >= self.options.age {
            return;
        }
        {
            let mut idle = lock(&self.idle);
            if idle.len() >= self.options.max.max(1) {
                return;
            }
            idle.push_back(Kept {
                line,
                since: Instant::now(),
            });
        }
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    async fn connect(&self) -> Result<Line, Error> {
        struct Connecting<'a>(&'a AtomicU32);
        impl Drop for Connecting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.connecting.fetch_add(1, Ordering::Relaxed);
        let _connecting = Connecting(&self.connecting);
        let opened = tokio::time::timeout(self.options.connect_timeout, self.open()).await;
        let opened = opened.unwrap_or_else(|_| {
            let limit = self.options.connect_timeout.as_millis();
            Err(format!("no connection within {limit} ms"))
        });
        *lock(&self.failure) = opened.as_ref().err().cloned();
        opened.map_err(Error::Unreachable)
    }

    async fn open(&self) -> Result<Line, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| cause(&error))?;
        let open = Counted::new(&self.open);
        tokio::spawn(async move {
            // Its errors reach whoever waits for an answer on it.
            let _ = connection.await;
            drop(open);
        });
        Ok(Line {
            sender,
            born: Instant::now(),
            theirs: None,
            used: false,
        })
    }
}

/// Closes connections that were idle for too long, as long as there are any.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut idle = lock(&pool.idle);
        let mut spare = idle.len().saturating_sub(pool.options.min);
        for kept in std::mem::take(&mut *idle) {
            // The oldest come first.
            let unused = now - kept.since >= pool.options.idle;
            if kept.is_over(now, pool.options.age) || (unused && spare > 0) {
                spare = spare.saturating_sub(1);
                gone.push(kept);
            } else {
                idle.push_back(kept);
            }
        }
        if idle.is_empty() {
            pool.sweeping.store(false, Ordering::Release);
            return;
        }
    }
}

impl Answer {
    /// The next piece of the body; `None` at its end, and then the connection is free again.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => {
                    self.free();
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => {
                    self.lease = None;
                    return Err(Error::Interrupted(cause(&error)));
                }
            }
        }
    }

    /// Gives the place up, for another request.
    pub(crate) fn take_place(&mut self) -> Option<Place> {
        self.lease.as_mut()?.place.take()
    }

    /// Nothing that is still to come matters: the connection is used again if the body ends soon.
    pub(crate) fn finish(mut self) {
        drop(self.take_place());
        tokio::spawn(async move {
            let rest = async {
                let mut bytes = 0;
                while let Ok(Some(chunk)) = self.chunk().await {
                    bytes += chunk.len();
                    if bytes > REST_BYTES {
                        return;
                    }
                }
            };
            // Later than that, the connection is closed.
            let _ = tokio::time::timeout(REST_WITHIN, rest).await;
        });
    }

    fn free(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        if let Some(pool) = lease.pool.upgrade() {
            pool.keep(lease.line);
        }
    }
}

/// What a server says about how long it keeps an idle connection, less a margin.
fn idle_limit(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    let theirs = Duration::from_secs(seconds.parse().ok()?);
    Some(theirs.saturating_sub(BEFORE_THEM))
}

/// The innermost cause says it best.
fn cause(error: &hyper::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_names_its_limit_is_believed_with_a_margin() {
        let check = |value: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", value.parse().unwrap());
            assert_eq!(idle_limit(&headers), expected.map(Duration::from_secs));
        };
        check("timeout=5", Some(4));
        check("max=100, timeout=72", Some(71));
        check("timeout=0", Some(0));
        check("timeout=soon", None);
        check("max=1", None);
    }
}
