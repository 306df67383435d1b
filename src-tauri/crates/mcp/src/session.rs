//! The session: numbering, the table of who waits, and how waiting ends.

use crate::{
    Closed, Error, Garbage, HttpTarget, List, Mirrors, Notification, Progress,
    asked::{self, Asked, Pause, Question},
    http::{Endpoint, Post},
    json::{Object, push_string, string},
    pool::PoolStats,
    serve,
    stdio::Pipe,
    subscription::Tap,
    wire,
    wire::{Dress, Incoming, Outcome},
};
use flotilla_contract::tool::{Era, Peer};
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::value::RawValue;
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    time::Instant as TokioInstant,
};
use tokio_util::sync::CancellationToken;

const METHOD_NOT_FOUND: i64 = -32601;
/// How many notifications a slow reader may be behind.
const NOTIFICATIONS: usize = 16;
/// A wait without limit, as far as anybody will notice.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our name, as servers see it (default `flotilla`).
    pub client_name: String,
    /// Our version, as servers see it (default: the version of this build).
    pub client_version: String,
    /// How long a server without a known era may be silent on `server/discover` before `initialize` is tried as well
    /// (default 3 s). A late answer to either still counts.
    pub discover_silence: Duration,
    /// How long greeting may take in all (default 60 s: `npx` and `uvx` may download).
    pub greet_timeout: Duration,
    /// Longest message in either direction, in bytes (default 16 MiB). A longer answer fails its request.
    pub max_message: usize,
    /// Whether a legacy server over HTTP is listened to between requests, for its notifications (default true). Costs
    /// one open connection.
    pub listen: bool,
    /// Where lines of a child's output go that are no messages (default: dropped). When it is full, lines are dropped and
    /// counted. Pipes only.
    pub garbage: Option<mpsc::Sender<Garbage>>,
    /// What a legacy server is told that its client can do, an object (default `{}`: nothing).
    pub capabilities: Option<Box<RawValue>>,
    /// Where a legacy server's own requests go (default: nowhere). When it is full, when 32 are open, or when there is
    /// none, the server is told that there is no such method; `ping` is always answered here.
    pub asked: Option<mpsc::Sender<Asked>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_name: "flotilla".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            discover_silence: Duration::from_secs(3),
            greet_timeout: Duration::from_secs(60),
            max_message: 16 * 1024 * 1024,
            listen: true,
            garbage: None,
            capabilities: None,
            asked: None,
        }
    }
}

/// How one request is waited for.
#[derive(Clone, Debug)]
pub struct RequestOptions {
    /// How long without an answer or progress (default 60 s). A question of the server's that is open stops this clock.
    pub timeout: Duration,
    /// How long in all, progress or not (default: no limit).
    pub total_timeout: Option<Duration>,
    /// Asks the server for progress and gets it. When it is full, progress is dropped. (Default: not asked for.)
    pub on_progress: Option<mpsc::Sender<Progress>>,
    /// Gets what the server says about this request, for instance `notifications/message`, but nothing that is about the
    /// server as a whole (`…/list_changed`, `notifications/resources/updated`). What came in the response stream of
    /// this very request goes here instead of to [`Session::notifications`]; what came in no request's stream (always so
    /// on pipes) goes to both, and only while this is the one request under way. When it is full, only there.
    pub on_notification: Option<mpsc::Sender<Notification>>,
    /// Which of the caller's own requests this is: given back in [`Asked::during`] when the server asks something about it.
    pub origin: Option<u64>,
    /// What a modern server is told that its client can do, an object (default `{}`).
    pub client_capabilities: Option<Box<RawValue>>,
    /// From which level on a modern server is to send `notifications/message` (default: it sends none).
    pub log_level: Option<String>,
    /// A field of the parameters that is set on the way, and its text: the tool's own name, for instance.
    pub rename: Option<(&'static str, String)>,
    /// Ends the wait, and tells the server.
    pub cancel: CancellationToken,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            total_timeout: None,
            on_progress: None,
            on_notification: None,
            origin: None,
            client_capabilities: None,
            log_level: None,
            rename: None,
            cancel: CancellationToken::new(),
        }
    }
}

impl RequestOptions {
    /// The defaults, with this `timeout`.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self {
            timeout,
            ..Self::default()
        }
    }
}

/// A session with one server. Clones share it; when the last one is dropped the connection is closed.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    shared: Arc<Shared>,
    options: Options,
    /// Who we are, as JSON.
    client: String,
}

enum Link {
    Stdio(Pipe),
    Http(Arc<Endpoint>),
}

impl Session {
    /// A session over the pipes of a child: `reader` is its output, `writer` its input. Needs a Tokio runtime.
    pub fn stdio(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        mut options: Options,
    ) -> Self {
        let shared = Arc::new(Shared::new(options.asked.take()));
        let pipe = Pipe::open(
            reader,
            writer,
            &shared,
            options.max_message,
            options.garbage.take(),
        );
        Self::over(Link::Stdio(pipe), shared, options)
    }

    /// A session with a streamable HTTP endpoint. Connects with the first request. Needs a Tokio runtime.
    pub fn http(target: HttpTarget, mut options: Options) -> Self {
        options.garbage = None;
        let shared = Arc::new(Shared::new(options.asked.take()));
        let endpoint = Arc::new(Endpoint::new(
            target,
            Arc::clone(&shared),
            options.max_message,
        ));
        Self::over(Link::Http(endpoint), shared, options)
    }

    fn over(link: Link, shared: Arc<Shared>, options: Options) -> Self {
        let client =
            serde_json::json!({"name": options.client_name, "version": options.client_version});
        Self {
            inner: Arc::new(Inner {
                link,
                shared,
                options,
                client: client.to_string(),
            }),
        }
    }

    /// Sends a request and waits for its result, which is given as it came.
    ///
    /// Dropping the future gives the request up, and tells the server.
    ///
    /// # Errors
    /// See [`Error`]; a JSON-RPC error of the server is [`Error::Rpc`].
    pub async fn request(
        &self,
        method: &str,
        params: Option<Box<RawValue>>,
        options: RequestOptions,
    ) -> Outcome {
        self.ask(method, params.as_deref(), options, false).await
    }

    /// Passes a client's request on, and waits for its result, which is given as it came. The parameters keep their bytes
    /// but for what the client said to its neighbour alone: the keys of `_meta` that begin with `io.modelcontextprotocol/`
    /// (a `related-task` is kept) and `progressToken` make room for this hop's own; a `_meta` that held nothing else goes.
    ///
    /// Dropping the future gives the request up, and tells the server.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn relay(
        &self,
        method: &str,
        params: Option<&RawValue>,
        options: RequestOptions,
    ) -> Outcome {
        self.ask(method, params, options, true).await
    }

    async fn ask(
        &self,
        method: &str,
        params: Option<&RawValue>,
        options: RequestOptions,
        relayed: bool,
    ) -> Outcome {
        let hooks = Hooks {
            progress: options.on_progress.clone(),
            notifications: options.on_notification.clone(),
            origin: options.origin,
            ..Hooks::default()
        };
        let exchange = self.exchange(method, params, &options, relayed, &hooks);
        bounded(
            exchange,
            options.timeout,
            options.total_timeout,
            &options.cancel,
            &hooks.signs,
        )
        .await
    }

    pub(crate) async fn exchange(
        &self,
        method: &str,
        params: Option<&RawValue>,
        options: &RequestOptions,
        relayed: bool,
        hooks: &Hooks,
    ) -> Outcome {
        let shared = &self.inner.shared;
        let id = shared.next_id();
        let modern = shared.peer().is_some_and(|peer| peer.era == Era::Modern);
        let rename = options.rename.as_ref().map(|(field, text)| {
            let mut json = String::with_capacity(text.len() + 2);
            push_string(&mut json, text);
            (*field, json)
        });
        let field = rename.as_ref().map(|(field, json)| (*field, json.as_str()));
        let mut dress = self.dress(modern, options);
        dress.relayed = relayed;
        dress.field = field;
        if hooks.progress.is_some() {
            dress.meta.push(("progressToken", id.to_string().into()));
        }
        let message = wire::request(id, method, params, &dress)?;
        match &self.inner.link {
            Link::Stdio(pipe) => {
                let answer = shared.wait_for(id, hooks.clone())?;
                pipe.request(shared, id, message, answer, true).await
            }
            Link::Http(endpoint) => {
                let used = endpoint.renewals();
                let mut post = Post::new(id, method, message, modern)
                    .about(params, field)
                    .placed(relayed && hooks.tap.is_none());
                let call = modern && method == "tools/call";
                if call {
                    post.mirror(self.mirrored(params, field));
                }
                match endpoint.request(&post, hooks).await {
                    // What is refused for its headers did not run. The server's tools may be others by now than those we know.
                    Err(Error::Rpc {
                        code: serve::HEADER_MISMATCH,
                        message,
                        data,
                        raw,
                    }) if call => {
                        let listed = Box::pin(self.list(List::Tools, options.timeout)).await;
                        if listed.is_ok() && post.mirror(self.mirrored(params, field)) {
                            return endpoint.request(&post, hooks).await;
                        }
                        Err(Error::Rpc {
                            code: serve::HEADER_MISMATCH,
                            message,
                            data,
                            raw,
                        })
                    }
                    Err(Error::SessionLost(_)) if !modern => {
                        self.renew(used).await?;
                        endpoint.request(&post, hooks).await
                    }
                    outcome => outcome,
                }
            }
        }
    }

    /// Which arguments of which tools travel in headers as well, from now on.
    pub(crate) fn remember_marks(&self, tools: &[Box<RawValue>]) {
        if matches!(self.inner.link, Link::Stdio(_)) {
            return;
        }
        let marks = tools.iter().filter_map(|tool| {
            let name = Object::read(tool.get())?.get("name").and_then(string)?;
            match Mirrors::of_tool(tool) {
                Ok(mirrors) => Some((name.into_owned(), mirrors?)),
                Err(why) => {
                    tracing::warn!(tool = %name, "the arguments of a tool stay out of headers: {why}");
                    None
                }
            }
        });
        *lock(&self.inner.shared.marks) = Arc::new(marks.collect());
    }

    /// The headers of a tool call's arguments.
    fn mirrored(
        &self,
        params: Option<&RawValue>,
        field: Option<(&str, &str)>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let marks = Arc::clone(&lock(&self.inner.shared.marks));
        let Some(params) = params.filter(|_| !marks.is_empty()) else {
            return Vec::new();
        };
        let params = Object::read(params.get());
        let get = |key| params.as_ref()?.get(key);
        let name = match field {
            Some(("name", name)) => Some(name),
            _ => get("name"),
        };
        name.and_then(string)
            .and_then(|name| marks.get(name.as_ref()))
            .map(|mirrors| mirrors.headers(get("arguments")))
            .unwrap_or_default()
    }

    /// Opens a new HTTP session in place of a lost one, once for all who noticed.
    async fn renew(&self, used: u64) -> Result<(), Error> {
        let Link::Http(endpoint) = &self.inner.link else {
            return Ok(());
        };
        let _turn = endpoint.renewal_turn().await;
        if endpoint.renewals() != used {
            return Ok(());
        }
        tracing::debug!("the server lost the HTTP session; opening a new one");
        let renewed = self.initialize(crate::LEGACY_VERSIONS[0]).await;
        renewed
            .map(|_| ())
            .map_err(|error| Error::SessionLost(error.to_string()))
    }

    /// A request of the handshake: no era is known yet, and giving up is not told to the server.
    pub(crate) async fn handshake(
        &self,
        method: &str,
        params: Option<&RawValue>,
        modern: bool,
    ) -> Outcome {
        let shared = &self.inner.shared;
        let id = shared.next_id();
        let options = RequestOptions::default();
        let dress = self.dress(modern, &options);
        let message = wire::request(id, method, params, &dress)?;
        match &self.inner.link {
            Link::Stdio(pipe) => {
                let answer = shared.wait_for(id, Hooks::default())?;
                pipe.request(shared, id, message, answer, false).await
            }
            Link::Http(endpoint) => {
                let post = Post::new(id, method, message, modern);
                endpoint.request(&post, &Hooks::default()).await
            }
        }
    }

    /// What a modern server wants to be told with each request.
    fn dress<'a>(&'a self, modern: bool, options: &'a RequestOptions) -> Dress<'a> {
        let mut dress = Dress::default();
        if !modern {
            return dress;
        }
        let capabilities = options.client_capabilities.as_deref();
        let version = format!("\"{}\"", crate::MODERN_VERSION);
        dress.meta.extend([
            ("io.modelcontextprotocol/protocolVersion", version.into()),
            (
                "io.modelcontextprotocol/clientInfo",
                self.client_info().into(),
            ),
            (
                "io.modelcontextprotocol/clientCapabilities",
                capabilities.map_or("{}", RawValue::get).into(),
            ),
        ]);
        if let Some(level) = &options.log_level {
            let mut json = String::new();
            push_string(&mut json, level);
            dress
                .meta
                .push(("io.modelcontextprotocol/logLevel", json.into()));
        }
        dress
    }

    pub(crate) fn client_info(&self) -> &str {
        &self.inner.client
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// When it could not be handed over.
    pub async fn notify(&self, method: &str, params: Option<Box<RawValue>>) -> Result<(), Error> {
        if let Some(reason) = self.closed_reason() {
            return Err(Error::Closed(reason));
        }
        match &self.inner.link {
            Link::Stdio(pipe) => {
                pipe.send(
                    &self.inner.shared,
                    None,
                    wire::message(None, method, params.as_deref()),
                )
                .await
            }
            Link::Http(endpoint) => endpoint.notify(method, params.as_deref()).await,
        }
    }

    /// What the server says by itself from now on. A modern server says nothing unless a `subscriptions/listen` request
    /// is under way; a legacy one over HTTP only with [`Options::listen`], or beside the answer to a request.
    #[must_use]
    pub fn notifications(&self) -> Notifications {
        Notifications {
            from: self.inner.shared.notifications.subscribe(),
        }
    }

    /// Asks for a sign of life and says how long it took: legacy `ping`, modern `server/discover`.
    ///
    /// # Errors
    /// See [`Error`]. A server that knows no `ping` but says so is alive.
    pub async fn ping(&self, timeout: Duration) -> Result<Duration, Error> {
        let modern = self.peer().is_some_and(|peer| peer.era == Era::Modern);
        let method = if modern { "server/discover" } else { "ping" };
        let started = Instant::now();
        match self
            .request(method, None, RequestOptions::within(timeout))
            .await
        {
            Ok(_)
            | Err(Error::Rpc {
                code: METHOD_NOT_FOUND,
                ..
            }) => Ok(started.elapsed()),
            Err(error) => Err(error),
        }
    }

    /// What the server said about itself when it was last greeted.
    #[must_use]
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.inner.shared.peer()
    }

    pub(crate) fn greeted(&self, peer: Peer) -> Peer {
        if let Link::Http(endpoint) = &self.inner.link {
            endpoint.greeted(&peer);
        }
        *lock(&self.inner.shared.peer) = Some(Arc::new(peer.clone()));
        peer
    }

    /// Before the first greeting, or for one more: an HTTP session under way is forgotten.
    pub(crate) fn forget_http_session(&self) {
        if let Link::Http(endpoint) = &self.inner.link {
            endpoint.forget_session();
        }
    }

    /// Starts to listen to a legacy HTTP server between requests.
    pub(crate) fn listen_between(&self) {
        if let Link::Http(endpoint) = &self.inner.link
            && self.inner.options.listen
        {
            endpoint.listen();
        }
    }

    pub(crate) async fn old_transport(&self) -> bool {
        match &self.inner.link {
            Link::Stdio(_) => false,
            Link::Http(endpoint) => endpoint.is_old_transport().await,
        }
    }

    /// Ends the session: all who wait get [`Closed::Ours`]. On pipes the server's input is closed at once and its output
    /// drained for at most 10 s; over HTTP the server is told to free its session, for at most 2 s.
    pub async fn close(&self) {
        self.inner.shared.close(Closed::Ours);
        match &self.inner.link {
            Link::Stdio(pipe) => pipe.stop.cancel(),
            Link::Http(endpoint) => endpoint.free_session().await,
        }
    }

    /// Waits until the connection is over, and says why. Over HTTP that is only when [`close`](Self::close) is called.
    pub async fn closed(&self) -> Closed {
        self.inner.shared.closed().await
    }

    /// How the connections of an HTTP session are; `None` when they are not ours (see [`HttpTarget::pool`]). Relayed
    /// requests take a place in the pool, our own do not.
    #[must_use]
    pub fn pool(&self) -> Option<PoolStats> {
        match &self.inner.link {
            Link::Stdio(_) => None,
            Link::Http(endpoint) => endpoint.pool(),
        }
    }

    /// Why the connection is over, if it is.
    #[must_use]
    pub fn closed_reason(&self) -> Option<Closed> {
        self.inner.shared.closed_reason()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close(Closed::Ours);
        match &self.link {
            Link::Stdio(pipe) => pipe.stop.cancel(),
            Link::Http(endpoint) => {
                let endpoint = Arc::clone(endpoint);
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { endpoint.free_session().await });
                }
            }
        }
    }
}

/// Waits for `work` as long as the limits allow; progress starts `idle` anew, never `total`, and a question holds it up.
async fn bounded<T>(
    work: impl Future<Output = Result<T, Error>>,
    idle: Duration,
    total: Option<Duration>,
    cancel: &CancellationToken,
    signs: &Signs,
) -> Result<T, Error> {
    tokio::pin!(work);
    let end = TokioInstant::now() + total.unwrap_or(FOREVER).min(FOREVER);
    let mut due = TokioInstant::now() + idle.min(FOREVER);
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            () = cancel.cancelled() => return Err(Error::Cancelled),
            () = signs.touched.notified() => due = TokioInstant::now() + idle.min(FOREVER),
            () = tokio::time::sleep_until(due.min(end)) => {
                if due < end && signs.questions.load(Ordering::Acquire) > 0 {
                    due = TokioInstant::now() + idle.min(FOREVER);
                    continue;
                }
                return Err(Error::Timeout(if end <= due { total.unwrap_or(idle) } else { idle }));
            }
        }
    }
}

/// What the server says by itself.
pub struct Notifications {
    pub(crate) from: broadcast::Receiver<Arc<Notification>>,
}

impl Notifications {
    /// The next notification, or how many were lost because this reader was slow. `None` when the session is gone.
    pub async fn next(&mut self) -> Option<Result<Arc<Notification>, u64>> {
        match self.from.recv().await {
            Ok(notification) => Some(Ok(notification)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Err(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Where what the server says about a request goes.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    progress: Option<mpsc::Sender<Progress>>,
    notifications: Option<mpsc::Sender<Notification>>,
    origin: Option<u64>,
    signs: Arc<Signs>,
    /// The request is a subscription.
    pub(crate) tap: Option<Arc<Tap>>,
}

impl Hooks {
    /// Of a subscription.
    pub(crate) fn tapped(tap: Tap) -> Self {
        Self {
            tap: Some(Arc::new(tap)),
            ..Self::default()
        }
    }
}

/// Signs of life of a request under way.
#[derive(Default)]
pub(crate) struct Signs {
    /// Starts the time limit anew.
    pub(crate) touched: Notify,
    /// Questions of the server's that are open.
    pub(crate) questions: AtomicU32,
}

/// What the tasks of a connection and its callers share.
pub(crate) struct Shared {
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
    peer: Mutex<Option<Arc<Peer>>>,
    notifications: broadcast::Sender<Arc<Notification>>,
    asked: Option<mpsc::Sender<Asked>>,
    /// Which arguments travel in headers as well, by tool, as the server last listed its tools.
    marks: Mutex<Arc<HashMap<String, Mirrors>>>,
    /// The server's questions that are open, by the texts of their ids.
    pub(crate) questions: Mutex<HashMap<String, CancellationToken>>,
    closed: watch::Sender<Option<Closed>>,
}

struct Waiting {
    answer: oneshot::Sender<Outcome>,
    hooks: Hooks,
    sent: bool,
}

/// A place in the table of who waits; left when dropped.
pub(crate) struct Answer<'a> {
    pub(crate) id: u64,
    shared: &'a Shared,
    from: oneshot::Receiver<Outcome>,
}

impl Answer<'_> {
    /// The outcome, once; or why the connection ended without one.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        match (&mut self.from).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Closed(
                self.shared.closed_reason().unwrap_or(Closed::Ours),
            )),
        }
    }

    /// The outcome, if it is there already.
    pub(crate) fn outcome_now(&mut self) -> Option<Outcome> {
        self.from.try_recv().ok()
    }

    /// Leaves the table; true when the request was written and has no answer.
    pub(crate) fn leave(&self) -> bool {
        lock(&self.shared.waiting)
            .remove(&self.id)
            .is_some_and(|waiting| waiting.sent)
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Shared {
    fn new(asked: Option<mpsc::Sender<Asked>>) -> Self {
        Self {
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
            peer: Mutex::default(),
            notifications: broadcast::channel(NOTIFICATIONS).0,
            asked,
            marks: Mutex::default(),
            questions: Mutex::default(),
            closed: watch::channel(None).0,
        }
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn peer(&self) -> Option<Arc<Peer>> {
        lock(&self.peer).clone()
    }

    pub(crate) fn wait_for(&self, id: u64, hooks: Hooks) -> Result<Answer<'_>, Error> {
        let (answer, from) = oneshot::channel();
        lock(&self.waiting).insert(
            id,
            Waiting {
                answer,
                hooks,
                sent: false,
            },
        );
        let place = Answer {
            id,
            shared: self,
            from,
        };
        // Looked at after taking the place: whoever closes first marks the end, then clears the table.
        match self.closed_reason() {
            Some(reason) => Err(Error::Closed(reason)),
            None => Ok(place),
        }
    }

    pub(crate) fn is_sent(&self, id: u64) -> bool {
        lock(&self.waiting)
            .get(&id)
            .is_some_and(|waiting| waiting.sent)
    }

    pub(crate) fn is_waiting(&self, id: u64) -> bool {
        lock(&self.waiting).contains_key(&id)
    }

    /// False when nobody waits any more.
    pub(crate) fn mark_sent(&self, id: u64) -> bool {
        lock(&self.waiting)
            .get_mut(&id)
            .map(|waiting| waiting.sent = true)
            .is_some()
    }

    /// Hands an answer, progress or notification to whom it concerns. `during`: the request whose response stream it came
    /// in, when it came in one.
    pub(crate) fn dispatch(&self, incoming: Incoming, during: Option<u64>) {
        match incoming {
            Incoming::Answer {
                id: Some(id),
                outcome,
            } => {
                if let Some(waiting) = lock(&self.waiting).remove(&id) {
                    // Fails when the caller just gave up: a late answer is dropped.
                    let _ = waiting.answer.send(outcome);
                }
            }
            Incoming::Notification(notification) => self.on_notification(notification, during),
            Incoming::Answer { id: None, .. } | Incoming::Request { .. } => {}
        }
    }

    fn on_notification(&self, mut notification: Notification, during: Option<u64>) {
        if let Some(token) = wire::progress_token(&notification) {
            // Progress of what nobody waits for is dropped, as a late answer is.
            if let Some(waiting) = lock(&self.waiting).get(&token)
                && let (Some(progress), Some(params)) =
                    (&waiting.hooks.progress, notification.params)
            {
                waiting.hooks.signs.touched.notify_one();
                let _ = progress.try_send(Progress { params });
            }
            return;
        }
        if let Some(tap) = self.tap(&notification, during) {
            let notification = Arc::new(notification);
            if tap.take(&notification) {
                let _ = self.notifications.send(notification);
            }
            return;
        }
        if let Some(id) = wire::withdrawn(&notification)
            && let Some(question) = lock(&self.questions).get(id)
        {
            question.cancel();
            return;
        }
        let to = match notification.of_whole_server() {
            true => None,
            false => self.concerned(during).and_then(|hooks| hooks.notifications),
        };
        if let Some(to) = to {
            if during.is_none() {
                notification.taken = to.try_send(notification.clone()).is_ok();
            } else {
                match to.try_send(notification) {
                    Ok(()) => return,
                    Err(refused) => notification = refused.into_inner(),
                }
            }
        }
        // Fails when nobody listens.
        let _ = self.notifications.send(Arc::new(notification));
    }

    /// The request in whose response stream something came; without a stream, the one request under way.
    fn concerned(&self, during: Option<u64>) -> Option<Hooks> {
        let waiting = lock(&self.waiting);
        match during {
            Some(id) => waiting.get(&id).map(|waiting| waiting.hooks.clone()),
            None => {
                let mut all = waiting.values().filter(|one| one.hooks.tap.is_none());
                let first = all.next()?;
                all.next().is_none().then(|| first.hooks.clone())
            }
        }
    }

    /// The subscription that a notification belongs to: by its stream, or, on pipes, by what it says.
    fn tap(&self, notification: &Notification, during: Option<u64>) -> Option<Arc<Tap>> {
        let waiting = lock(&self.waiting);
        let id = match during {
            Some(id) => id,
            None if waiting.values().any(|one| one.hooks.tap.is_some()) => {
                wire::subscription(notification)?
            }
            None => return None,
        };
        waiting.get(&id)?.hooks.tap.clone()
    }

    /// The server asks something. Gives what will answer it, or the answer at once.
    pub(crate) fn question(
        self: &Arc<Self>,
        id: Box<RawValue>,
        method: String,
        params: Option<Box<RawValue>>,
        during: Option<u64>,
    ) -> Result<Question, Vec<u8>> {
        let at_once = wire::reply(&id, &method);
        let modern = self.peer().is_some_and(|peer| peer.era == Era::Modern);
        let Some(to) = self.asked.as_ref().filter(|_| method != "ping" && !modern) else {
            return Err(at_once);
        };
        let withdrawn = CancellationToken::new();
        {
            let mut open = lock(&self.questions);
            if open.len() >= asked::OPEN || open.contains_key(id.get()) {
                return Err(at_once);
            }
            open.insert(id.get().to_owned(), withdrawn.clone());
        }
        let concerned = self.concerned(during);
        let (reply, from) = oneshot::channel();
        let asked = Asked {
            method,
            params,
            during: concerned.as_ref().and_then(|hooks| hooks.origin),
            reply,
        };
        // Dropped when the question cannot be passed on, it takes itself off the table.
        let question = Question {
            id,
            shared: Arc::clone(self),
            reply: from,
            withdrawn,
            _pause: concerned.map(|hooks| Pause::of(hooks.signs)),
        };
        to.try_send(asked).map(|()| question).map_err(|_| at_once)
    }

    /// The first reason stays.
    pub(crate) fn close(&self, reason: Closed) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert(reason);
            first
        });
        let left = std::mem::take(&mut *lock(&self.waiting));
        drop(left);
    }

    pub(crate) async fn closed(&self) -> Closed {
        let mut closed = self.closed.subscribe();
        let reason = closed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|reason| reason.clone());
        reason.unwrap_or(Closed::Ours)
    }

    pub(crate) fn closed_reason(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }
}

/// The tables stay consistent at every step, so a panic elsewhere does not spoil them.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
