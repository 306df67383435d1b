//! Connections to one server on this machine, over plain HTTP/1.1: kept, counted, and bounded.
//!
//! Elsewhere, and over TLS, connections are `reqwest`'s. Here a request goes to a connection directly, and the operator sees
//! how many there are and who waits.
//!
//! A *request* takes a place among [`PoolOptions::max`] and waits for one if it must. What a server waits for while it works
//! on a request (answers to its questions, cancellations) and what lasts (its stream of notifications) takes none, so that
//! requests cannot lock themselves out.
//!
//! A *connection* is opened for the request that needs it, never ahead of one and never again by itself: what retries, with
//! waits of its own, is the caller. It is closed when it was idle for too long or is too old, or by the server. How long a
//! server lets one be idle it says in `Keep-Alive`, or is learned when it closes one: from then on we are done with it
//! earlier, because a request on a connection that is just being closed fails, and nobody can tell whether it was heard.

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
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How long the rest of an answer may take, so that its connection can be used again, and how long it may be.
const REST_WITHIN: Duration = Duration::from_secs(1);
const REST_BYTES: usize = 64 * 1024;
/// Pieces of the rest that are taken at once, if they are there.
const AT_ONCE: usize = 4;
/// A server says how long it keeps an idle connection; we are done with it this much earlier.
const BEFORE_THEM: Duration = Duration::from_secs(1);
/// A connection that the server closes sooner than this teaches nothing: more likely the server ended.
const LEAST_LEARNED: Duration = Duration::from_secs(2);
/// What a connection reads at once, at most: an idle one keeps that much.
const BUFFER: usize = 64 * 1024;
/// How often idle connections are looked over, at most.
const SWEEP: Duration = Duration::from_millis(500);

/// How connections to one server are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Idle connections that are kept longer than `idle`, as far as the server lets them (default 1).
    pub min: usize,
    /// Requests under way at once, each on a connection of its own; the others wait (default 50, at least 1).
    pub max: usize,
    /// How long a connection may be idle (default 10 min). A server's own limit comes before it.
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
            min: 1,
            max: 50,
            idle: Duration::from_secs(600),
            age: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(10),
            wait: Duration::from_secs(10),
        }
    }
}

/// A pool as it is now.
#[derive(Clone, Debug, Default)]
pub struct PoolStats {
    /// Connections open, whatever for.
    pub open: usize,
    /// Of them, without use.
    pub idle: usize,
    /// Requests that have a place.
    pub in_use: usize,
    /// Requests that may have one at once.
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
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _in_use: Counted,
}

pub(crate) struct Pool {
    host: String,
    port: u16,
    rules: RwLock<Rules>,
    idle: Mutex<VecDeque<Kept>>,
    /// How long this server lets a connection be idle, in milliseconds, less a margin; as far as it was seen.
    learned: Arc<AtomicU64>,
    open: Arc<AtomicU32>,
    in_use: Arc<AtomicU32>,
    connecting: AtomicU32,
    /// When each request that waits for a place began to.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    next_wait: AtomicU64,
    failure: Mutex<Option<String>>,
    sweeping: AtomicBool,
    /// Ends the pause of who looks over idle connections.
    look: Arc<Notify>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.look.notify_one();
    }
}

#[derive(Clone)]
struct Rules {
    options: PoolOptions,
    places: Arc<Semaphore>,
}

impl Rules {
    fn new(options: PoolOptions) -> Self {
        let max = options.max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(max)),
            options: PoolOptions { max, ..options },
        }
    }
}

/// An open connection.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    born: Instant,
    /// How long the server lets it be idle, if it says so.
    theirs: Option<Duration>,
    used: bool,
    /// Since when it has been idle, if it is.
    idle: Arc<Mutex<Option<Instant>>>,
}

struct Kept {
    line: Line,
    since: Instant,
}

impl Kept {
    /// When it must not be used any more: for its age, or because the server is about to close it.
    fn due(&self, age: Duration, learned: Option<Duration>) -> Instant {
        let old = self.line.born + age;
        let limit = self.line.theirs.or(learned);
        limit.map_or(old, |limit| old.min(self.since + limit))
    }

    /// Its end is our doing, and teaches nothing.
    fn close(self) {
        *lock(&self.line.idle) = None;
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
    place: Option<Place>,
}

impl Pool {
    pub(crate) fn new(host: String, port: u16, options: PoolOptions) -> Self {
        Self {
            host,
            port,
            rules: RwLock::new(Rules::new(options)),
            idle: Mutex::default(),
            learned: Arc::new(AtomicU64::new(u64::MAX)),
            open: Arc::default(),
            in_use: Arc::default(),
            connecting: AtomicU32::new(0),
            waiting: Mutex::default(),
            next_wait: AtomicU64::new(0),
            failure: Mutex::default(),
            sweeping: AtomicBool::new(false),
            look: Arc::default(),
        }
    }

    fn rules(&self) -> Rules {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }

    fn options(&self) -> PoolOptions {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.options
    }

    /// Other rules from now on. Those who have a place, or wait for one, do so under the old ones.
    pub(crate) fn retune(&self, options: PoolOptions) {
        let rules = Rules::new(options);
        if self.options() != rules.options {
            *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
            self.look.notify_one();
        }
    }

    fn learned(&self) -> Option<Duration> {
        let ms = self.learned.load(Ordering::Relaxed);
        (ms != u64::MAX).then(|| Duration::from_millis(ms))
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
            idle: lock(&self.idle).len(),
            in_use: count(&self.in_use),
            max: self.options().max,
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
                    return Ok(self.answer(response, line, place));
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
        let Rules { options, places } = self.rules();
        let taken = |permit| Place {
            _permit: permit,
            _in_use: Counted::new(&self.in_use),
        };
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            return Ok(taken(permit));
        }
        let number = self.next_wait.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(number, Instant::now());
        let _waiting = Waiting(self, number);
        match tokio::time::timeout(options.wait, places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(taken(permit)),
            _ => Err(Error::Busy(format!(
                "all {} connections were in use for {} ms",
                options.max,
                options.wait.as_millis()
            ))),
        }
    }

    /// The connection used last, if one is there that is still good.
    fn take(&self) -> Option<Line> {
        let (age, learned) = (self.options().age, self.learned());
        let now = Instant::now();
        let mut idle = lock(&self.idle);
        while let Some(kept) = idle.pop_back() {
            if !kept.line.sender.is_closed() && now < kept.due(age, learned) {
                *lock(&kept.line.idle) = None;
                return Some(kept.line);
            }
            kept.close();
        }
        None
    }

    fn keep(self: &Arc<Self>, line: Line) {
        let options = self.options();
        let since = Instant::now();
        if line.sender.is_closed() || since - line.born >= options.age {
            return;
        }
        {
            let mut idle = lock(&self.idle);
            if idle.len() >= options.max {
                return;
            }
            *lock(&line.idle) = Some(since);
            idle.push_back(Kept { line, since });
        }
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self), Arc::clone(&self.look)));
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
        let limit = self.options().connect_timeout;
        let opened = tokio::time::timeout(limit, self.open()).await;
        let opened = opened
            .unwrap_or_else(|_| Err(format!("no connection within {} ms", limit.as_millis())));
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
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| cause(&error))?;
        let open = Counted::new(&self.open);
        let idle = Arc::new(Mutex::new(None::<Instant>));
        let (resting, learned) = (Arc::clone(&idle), Arc::clone(&self.learned));
        tokio::spawn(async move {
            // Its errors reach whoever waits for an answer on it.
            let _ = connection.await;
            drop(open);
            // Still idle for all we know: the server closed it.
            if let Some(ms) = lock(&resting).and_then(|since| lesson(since.elapsed())) {
                learned.fetch_min(ms, Ordering::Relaxed);
            }
        });
        Ok(Line {
            sender,
            idle,
            born: Instant::now(),
            theirs: None,
            used: false,
        })
    }
}

/// Closes connections that were idle for too long, as long as there are any.
async fn sweep(pool: Weak<Pool>, look: Arc<Notify>) {
    let mut pause = SWEEP;
    loop {
        let _ = tokio::time::timeout(pause, look.notified()).await;
        let Some(pool) = pool.upgrade() else { return };
        let (options, learned, now) = (pool.options(), pool.learned(), Instant::now());
        let mut idle = lock(&pool.idle);
        let (mut gone, mut next) = (Vec::new(), now + options.idle);
        let mut spare = idle.len().saturating_sub(options.min);
        for kept in std::mem::take(&mut *idle) {
            // The oldest come first.
            let due = kept.due(options.age, learned);
            let due = if spare > 0 {
                due.min(kept.since + options.idle)
            } else {
                due
            };
            if kept.line.sender.is_closed() || due <= now {
                spare = spare.saturating_sub(1);
                gone.push(kept);
            } else {
                next = next.min(due);
                idle.push_back(kept);
            }
        }
        pause = (next - now).max(SWEEP);
        let rests = idle.is_empty();
        if rests {
            pool.sweeping.store(false, Ordering::Release);
        }
        drop(idle);
        gone.into_iter().for_each(Kept::close);
        if rests {
            return;
        }
    }
}

/// What is learned of a server that closed a connection after it was idle for so long: when we are to be done with one, in
/// milliseconds.
fn lesson(idle: Duration) -> Option<u64> {
    (idle >= LEAST_LEARNED).then(|| {
        let limit = idle - BEFORE_THEM;
        u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
    })
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
        // Most often the end came along with what mattered.
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..AT_ONCE {
            match pin!(self.chunk()).poll(&mut context) {
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(_) => return,
                Poll::Pending => break,
            }
        }
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
    fn a_server_that_closes_an_idle_connection_teaches_its_limit() {
        assert_eq!(lesson(Duration::from_millis(5_020)), Some(4_020));
        assert_eq!(lesson(Duration::from_millis(1_999)), None, "it ended");
    }

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
