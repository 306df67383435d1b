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
//!
//! There is *no task* for a connection in use: whoever waits for an answer does its reading and writing as well, in the same poll, and
//! nothing is handed from one task to another. One that has been idle for
//! [`SWEEP`] gets a task, which does nothing but notice that the server closes it. An answer whose end nobody waits for goes back with
//! its connection, and the next who takes it reads that end first, or takes another.

use crate::{Error, session::lock};
use bytes::Bytes;
use flotilla_contract::gateway::PoolState;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
    header::HeaderMap,
};
use hyper_util::rt::TokioIo;
use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::{Pin, pin},
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
    task::AbortHandle,
    time::Instant,
};

/// How long the rest of an answer may take, so that its connection can be used again, and how long it may be.
const REST_WITHIN: Duration = Duration::from_secs(1);
const REST_BYTES: usize = 64 * 1024;
/// A server says how long it keeps an idle connection; we are done with it this much earlier.
const BEFORE_THEM: Duration = Duration::from_secs(1);
/// A connection that the server closes sooner than this teaches nothing: more likely the server ended.
const LEAST_LEARNED: Duration = Duration::from_secs(2);
/// What a connection reads at once, at most: an idle one keeps that much.
const BUFFER: usize = 64 * 1024;
/// How often idle connections are looked over, at most; and how long one is idle before it is watched.
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
    /// Some idle connection is not watched yet.
    unwatched: AtomicBool,
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

/// The reading and writing of a connection.
struct Wire {
    connection: Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    _open: Counted,
}

/// An open connection.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// None while it is watched, and when it is over.
    wire: Option<Wire>,
    born: Instant,
    /// How long the server lets it be idle, if it says so.
    theirs: Option<Duration>,
    used: bool,
}

impl Line {
    /// Lets the connection do what it can, and asks `work`, which waits for nothing else.
    fn poll<T>(
        wire: &mut Option<Wire>,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if let Some(now) = wire
            && Pin::new(&mut *now.connection).poll(context).is_ready()
        {
            // Who waits for something on it hears why when it is dropped, at the latest.
            *wire = None;
        }
        // The connection alone wakes us.
        work(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits for `work` while the connection does its part.
    async fn drive<T>(wire: &mut Option<Wire>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| Self::poll(wire, context, |context| work.as_mut().poll(context))).await
    }

    fn is_over(&self) -> bool {
        self.wire.is_none() || self.sender.is_closed()
    }
}

/// An idle connection.
struct Kept {
    line: Line,
    since: Instant,
    /// The end of its last answer, which nobody waited for, and how much of that has come.
    rest: Option<(Incoming, usize)>,
    watch: Option<Watch>,
}

/// What a connection can be used for.
enum Fit {
    Ready,
    /// Its last answer is not over.
    Resting,
    Over,
}

impl Kept {
    /// When it must not be used any more: for its age, or because the server is about to close it.
    fn due(&self, age: Duration, learned: Option<Duration>) -> Instant {
        let old = self.line.born + age;
        let limit = self.line.theirs.or(learned);
        let due = limit.map_or(old, |limit| old.min(self.since + limit));
        match self.rest {
            Some(_) => due.min(self.since + REST_WITHIN),
            None => due,
        }
    }

    /// Back from who watched it, and looked at. Whoever was woken by it before is not any more.
    fn look(&mut self) -> Fit {
        if let Some(watch) = self.watch.take() {
            self.line.wire = watch.end();
        }
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let Self { line, rest, .. } = self;
            let Some((body, bytes)) = rest else {
                let Line { wire, sender, .. } = line;
                let ready = Line::poll(wire, &mut context, |context| sender.poll_ready(context));
                return match ready {
                    Poll::Ready(Ok(())) if !self.line.is_over() => Fit::Ready,
                    _ => Fit::Over,
                };
            };
            let frame = Line::poll(&mut line.wire, &mut context, |context| {
                Pin::new(&mut *body).poll_frame(context)
            });
            match frame {
                Poll::Pending if line.wire.is_some() => return Fit::Resting,
                Poll::Pending | Poll::Ready(Some(Err(_))) => return Fit::Over,
                Poll::Ready(None) => self.rest = None,
                Poll::Ready(Some(Ok(frame))) => {
                    *bytes += frame.data_ref().map_or(0, Bytes::len);
                    if *bytes > REST_BYTES {
                        return Fit::Over;
                    }
                }
            }
        }
    }

    /// Notices from now on when the server closes it.
    fn watched(&mut self, learned: &Arc<AtomicU64>) {
        if self.watch.is_none() && self.rest.is_none() {
            self.watch = self
                .line
                .wire
                .take()
                .map(|wire| Watch::begin(wire, self.since, Arc::clone(learned)));
        }
    }

    fn is_over(&self) -> bool {
        match &self.watch {
            Some(watch) => lock(&watch.wire).is_none(),
            None => self.line.is_over(),
        }
    }
}

/// A task that waits for the server to close an idle connection.
struct Watch {
    /// None once it is over.
    wire: Arc<Mutex<Option<Wire>>>,
    task: AbortHandle,
}

impl Watch {
    fn begin(wire: Wire, since: Instant, learned: Arc<AtomicU64>) -> Self {
        let wire = Arc::new(Mutex::new(Some(wire)));
        let watched = Arc::clone(&wire);
        let task = tokio::spawn(async move {
            let closed = poll_fn(|context| {
                let mut wire = lock(&watched);
                match &mut *wire {
                    // Taken back for a request.
                    None => Poll::Ready(false),
                    Some(now) => Pin::new(&mut *now.connection).poll(context).map(|_| {
                        *wire = None;
                        true
                    }),
                }
            });
            if closed.await
                && let Some(ms) = lesson(since.elapsed())
            {
                learned.fetch_min(ms, Ordering::Relaxed);
            }
        });
        Self {
            wire,
            task: task.abort_handle(),
        }
    }

    fn end(self) -> Option<Wire> {
        lock(&self.wire).take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
        // Its end is our doing, and teaches nothing.
        lock(&self.wire).take();
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
    body: Option<Incoming>,
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
            unwatched: AtomicBool::new(false),
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
            let used = std::mem::replace(&mut line.used, true);
            if !used {
                // Fails as the request will, which says why.
                let _ = Line::drive(&mut line.wire, line.sender.ready()).await;
            }
            let sent = line.sender.try_send_request(request);
            match Line::drive(&mut line.wire, sent).await {
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
            body: Some(body),
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
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            let Some(kept) = idle.get_mut(at) else { break };
            let fit = if now < kept.due(age, learned) {
                kept.look()
            } else {
                Fit::Over
            };
            match fit {
                Fit::Resting => {}
                Fit::Ready => return idle.remove(at).map(|kept| kept.line),
                Fit::Over => drop(idle.remove(at)),
            }
        }
        None
    }

    fn keep(self: &Arc<Self>, line: Line, rest: Option<Incoming>) {
        let options = self.options();
        let since = Instant::now();
        if line.is_over() || since - line.born >= options.age {
            return;
        }
        let mut kept = Kept {
            line,
            since,
            rest: rest.map(|body| (body, 0)),
            watch: None,
        };
        // Most often the end came along with what mattered.
        if matches!(kept.look(), Fit::Over) {
            return;
        }
        {
            let mut idle = lock(&self.idle);
            if idle.len() >= options.max {
                return;
            }
            idle.push_back(kept);
        }
        if !self.unwatched.swap(true, Ordering::AcqRel) {
            if self.sweeping.swap(true, Ordering::AcqRel) {
                self.look.notify_one();
            } else {
                tokio::spawn(sweep(Arc::downgrade(self), Arc::clone(&self.look)));
            }
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
        Ok(Line {
            sender,
            wire: Some(Wire {
                connection: Box::new(connection),
                _open: Counted::new(&self.open),
            }),
            born: Instant::now(),
            theirs: None,
            used: false,
        })
    }
}

/// Closes connections that were idle for too long, and has the others watched, as long as there are any.
async fn sweep(pool: Weak<Pool>, look: Arc<Notify>) {
    let mut pause = SWEEP;
    loop {
        let _ = tokio::time::timeout(pause, look.notified()).await;
        let Some(pool) = pool.upgrade() else { return };
        let (options, learned, now) = (pool.options(), pool.learned(), Instant::now());
        pool.unwatched.store(false, Ordering::Release);
        let mut idle = lock(&pool.idle);
        let mut next = now + options.idle;
        let mut spare = idle.len().saturating_sub(options.min);
        // The oldest come first.
        idle.retain_mut(|kept| {
            let due = kept.due(options.age, learned);
            let due = if spare > 0 {
                due.min(kept.since + options.idle)
            } else {
                due
            };
            let over = kept.is_over() || due <= now;
            if over {
                spare = spare.saturating_sub(1);
            } else if kept.watch.is_none() && now - kept.since >= SWEEP {
                kept.watched(&pool.learned);
            }
            next = match (over, kept.watch.is_some()) {
                (true, _) => next,
                (false, true) => next.min(due),
                (false, false) => now,
            };
            !over
        });
        pause = (next - now).max(SWEEP);
        if idle.is_empty() {
            pool.sweeping.store(false, Ordering::Release);
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
            let (Some(lease), Some(body)) = (&mut self.lease, &mut self.body) else {
                return Ok(None);
            };
            let wire = &mut lease.line.wire;
            let frame = poll_fn(|context| {
                Line::poll(wire, context, |context| {
                    Pin::new(&mut *body).poll_frame(context)
                })
            });
            match frame.await {
                None => {
                    self.free(None);
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
        let rest = std::mem::take(&mut self.body);
        self.free(rest);
    }

    fn free(&mut self, rest: Option<Incoming>) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        drop(lease.place);
        if let Some(pool) = lease.pool.upgrade() {
            pool.keep(lease.line, rest);
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
