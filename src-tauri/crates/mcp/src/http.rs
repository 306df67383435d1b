//! Streamable HTTP: one POST for each message, answers as JSON or as a stream of events.

use crate::{
    Error, MODERN_VERSION,
    asked::Question,
    json::{self, Object},
    pool::{self, Place, Pool, PoolOptions, PoolStats},
    session::{Hooks, Shared, lock},
    sse::SseDecoder,
    wire::{self, Incoming, Outcome, excerpt},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use flotilla_contract::tool::{Era, Peer};
use http_body_util::Full;
use reqwest::{
    Method, StatusCode, Url,
    header::{
        ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    },
};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a server may take to hear that a request was given up, or that its session may go.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);
const FREE_WITHIN: Duration = Duration::from_secs(2);
/// How long the look for the old transport may take.
const OLD_WITHIN: Duration = Duration::from_secs(3);
/// From a stream's end to its resumption, unless the server says otherwise.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// Resumptions of one answer that may bring nothing.
const EMPTY_RESUMPTIONS: u32 = 5;
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// How much of an error page is read.
const ERROR_BODY: usize = 64 * 1024;
/// Room made for a body before it comes, at most.
const BODY_AT_ONCE: usize = 1 << 20;
/// Requests of the server that may be answered at once.
const REPLIES: usize = 4;

/// The HTTP client that sessions share.
#[derive(Clone, Default)]
pub struct HttpClient {
    clients: Arc<Clients>,
}

/// Two, because a proxy of the environment must not come between us and this machine. Each is built when first needed.
#[derive(Default)]
struct Clients {
    loopback: OnceLock<Result<reqwest::Client, Error>>,
    other: OnceLock<Result<reqwest::Client, Error>>,
}

impl HttpClient {
    /// A client; connections are made when needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn for_url(&self, url: &Url) -> Result<reqwest::Client, Error> {
        let loopback = is_here(url);
        let cell = if loopback {
            &self.clients.loopback
        } else {
            &self.clients.other
        };
        cell.get_or_init(|| build(loopback)).clone()
    }
}

fn build(loopback: bool) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        // Node and uvicorn drop an idle connection after 5 s; one that they are just dropping must not be used.
        .pool_idle_timeout(Duration::from_secs(4))
        // Headers carry secrets: they go nowhere but to the host they were meant for.
        .redirect(reqwest::redirect::Policy::custom(|attempt| {
            let same = attempt
                .previous()
                .first()
                .is_some_and(|first| first.origin() == attempt.url().origin());
            if same && attempt.previous().len() <= REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }));
    let builder = if loopback {
        builder.no_proxy()
    } else {
        builder
    };
    builder
        .build()
        .map_err(|error| Error::Protocol(cause(error)))
}

/// Where a server listens. Has no `Debug`: headers carry secrets. Clones share their connections.
#[derive(Clone)]
pub struct HttpTarget {
    url: Url,
    headers: HeaderMap,
    carrier: Carrier,
}

/// What carries messages.
#[derive(Clone)]
enum Carrier {
    /// Our own connections: plain HTTP on this machine. With what stands in the first line of a request.
    Direct(Arc<Pool>, hyper::Uri),
    Client(reqwest::Client),
}

/// An answer, from either.
enum Response {
    Direct(pool::Answer),
    Client(reqwest::Response),
}

impl Response {
    fn status(&self) -> StatusCode {
        match self {
            Self::Direct(answer) => answer.head.status,
            Self::Client(response) => response.status(),
        }
    }

    fn headers(&self) -> &HeaderMap {
        match self {
            Self::Direct(answer) => &answer.head.headers,
            Self::Client(response) => response.headers(),
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Direct(answer) => answer.chunk().await,
            Self::Client(response) => response
                .chunk()
                .await
                .map_err(|error| Error::Interrupted(cause(error))),
        }
    }

    /// The rest does not matter.
    fn finish(self) {
        if let Self::Direct(answer) = self {
            answer.finish();
        }
    }
}

impl HttpTarget {
    /// A target, checked.
    ///
    /// # Errors
    /// When the URL is no `http` or `https` URL, or a header has a character that headers cannot have.
    pub fn new(
        client: &HttpClient,
        url: &str,
        headers: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let url = Url::parse(url)
            .map_err(|error| Error::Protocol(format!("{url:?} is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::Protocol(format!(
                "{:?} is neither an http nor an https URL",
                url.as_str()
            )));
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            // The value stays out of the message.
            let key = HeaderName::try_from(&name)
                .map_err(|_| Error::Protocol(format!("{name:?} cannot name a header")))?;
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                Error::Protocol(format!("the value of header {name:?} cannot be sent"))
            })?;
            value.set_sensitive(true);
            map.append(key, value);
        }
        let carrier = if url.scheme() == "http" && is_here(&url) && url.username().is_empty() {
            let pool = pool_of(&url, PoolOptions::default());
            Carrier::Direct(Arc::new(pool), origin_form(&url)?)
        } else {
            Carrier::Client(client.for_url(&url)?)
        };
        Ok(Self {
            url,
            headers: map,
            carrier,
        })
    }

    /// The same target with connections kept so: new ones, which it does not share with the old. Elsewhere than on this
    /// machine, and over https, connections are not ours, and nothing changes.
    #[must_use]
    pub fn pooled(mut self, options: PoolOptions) -> Self {
        if let Carrier::Direct(pool, _) = &mut self.carrier {
            *pool = Arc::new(pool_of(&self.url, options));
        }
        self
    }

    /// Other rules for the connections that it shares with its clones. Requests under way keep their places, so that for
    /// their time there may be more than the new `max`.
    pub fn retune(&self, options: PoolOptions) {
        if let Carrier::Direct(pool, _) = &self.carrier {
            pool.retune(options);
        }
    }

    /// How its connections are; `None` when they are not ours.
    #[must_use]
    pub fn pool(&self) -> Option<PoolStats> {
        match &self.carrier {
            Carrier::Direct(pool, _) => Some(pool.stats()),
            Carrier::Client(_) => None,
        }
    }

    /// A place in the pool; none where there is no pool of ours.
    async fn place(&self) -> Result<Option<Place>, Error> {
        match &self.carrier {
            Carrier::Direct(pool, _) => pool.place().await.map(Some),
            Carrier::Client(_) => Ok(None),
        }
    }

    /// Sends a request and waits for the head of its answer.
    async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
        mut place: Option<Place>,
    ) -> Result<Response, Error> {
        let (pool, mut uri) = match &self.carrier {
            Carrier::Client(client) => {
                let request = client
                    .request(method, self.url.clone())
                    .headers(headers)
                    .body(body);
                return request.send().await.map(Response::Client).map_err(sending);
            }
            Carrier::Direct(pool, uri) => (pool, uri.clone()),
        };
        if !headers.contains_key(HOST) {
            headers.insert(HOST, host_header(&self.url));
        }
        let mut url = Cow::Borrowed(&self.url);
        let mut redirects = 0;
        loop {
            let mut request = hyper::Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            let mut answer = pool.send(request, place).await?;
            match redirect(&answer, &url, &method) {
                Some(next) if redirects < REDIRECTS => {
                    redirects += 1;
                    uri = origin_form(&next)?;
                    url = Cow::Owned(next);
                    place = answer.take_place();
                    answer.finish();
                }
                _ => return Ok(Response::Direct(answer)),
            }
        }
    }
}

fn is_here(url: &Url) -> bool {
    match url.host_str().unwrap_or_default().trim_matches(['[', ']']) {
        "localhost" => true,
        host => host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    }
}

fn pool_of(url: &Url, options: PoolOptions) -> Pool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    Pool::new(
        host.to_owned(),
        url.port_or_known_default().unwrap_or(80),
        options,
    )
}

fn host_header(url: &Url) -> HeaderValue {
    let host = url.host_str().unwrap_or_default();
    let text = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

fn origin_form(url: &Url) -> Result<hyper::Uri, Error> {
    let text = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    hyper::Uri::try_from(text).map_err(|error| Error::Protocol(error.to_string()))
}

/// Where to send it again: only to the host that it was meant for, and only as the request that it is.
fn redirect(answer: &pool::Answer, url: &Url, method: &Method) -> Option<Url> {
    let status = answer.head.status.as_u16();
    if !(matches!(status, 307 | 308) || (matches!(status, 301..=303) && method == Method::GET)) {
        return None;
    }
    let location = answer.head.headers.get(LOCATION)?.to_str().ok()?;
    let next = url.join(location).ok()?;
    (next.origin() == url.origin()).then_some(next)
}

/// A streamable HTTP endpoint and what it gave us to send along.
pub(crate) struct Endpoint {
    target: HttpTarget,
    shared: Arc<Shared>,
    max_message: usize,
    state: Mutex<State>,
    /// How often a legacy session was opened.
    renewals: AtomicU64,
    /// Who renews the session; the others wait for them.
    renewing: tokio::sync::Mutex<()>,
    replying: Arc<Semaphore>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
    listener: Option<CancellationToken>,
}

impl Endpoint {
    pub(crate) fn new(target: HttpTarget, shared: Arc<Shared>, max_message: usize) -> Self {
        Self {
            target,
            shared,
            max_message,
            state: Mutex::default(),
            renewals: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::default(),
            replying: Arc::new(Semaphore::new(REPLIES)),
            stop: CancellationToken::new(),
        }
    }

    /// Sends a request and waits for its answer. Dropping it tells a legacy server by a notification, a modern one by
    /// closing the response.
    pub(crate) async fn request(self: &Arc<Self>, post: &Post<'_>, hooks: &Hooks) -> Outcome {
        let id = post.id;
        self.fitting(&post.body)?;
        let mut answer = self.shared.wait_for(id, hooks.clone())?;
        let mut giving_up = GivingUp {
            endpoint: self,
            id: (!post.sent.modern && post.sent.method != "initialize").then_some(id),
        };
        let outcome = tokio::select! {
            biased;
            outcome = answer.outcome() => outcome,
            end = self.converse(post) => answer.outcome_now().unwrap_or(Err(end)),
        };
        giving_up.id = None;
        outcome
    }

    pub(crate) async fn notify(
        &self,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<(), Error> {
        let modern = self
            .shared
            .peer()
            .is_some_and(|peer| peer.era == Era::Modern);
        let body = wire::message(None, method, params);
        self.fitting(&body)?;
        self.post_only(body, &Sent::new(method, modern)).await
    }

    fn fitting(&self, body: &[u8]) -> Result<(), Error> {
        if body.len() > self.max_message {
            return Err(Error::Protocol(format!(
                "the message is {} bytes long, more than the {} allowed",
                body.len(),
                self.max_message
            )));
        }
        Ok(())
    }

    /// A message without an answer.
    async fn post_only(&self, body: Vec<u8>, sent: &Sent<'_>) -> Result<(), Error> {
        let response = self.post(body.into(), sent, None).await?;
        if response.status().is_success() {
            response.finish();
            Ok(())
        } else {
            Err(self.refusal(response, None, sent).await)
        }
    }

    async fn post(
        &self,
        body: Bytes,
        sent: &Sent<'_>,
        place: Option<Place>,
    ) -> Result<Response, Error> {
        let headers = self.headers(Some(sent));
        self.target.send(Method::POST, headers, body, place).await
    }

    async fn get(&self, last_event: Option<&str>) -> Result<Response, Error> {
        let mut headers = self.headers(None);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(Ok(id)) = last_event.map(HeaderValue::from_str) {
            headers.insert("last-event-id", id);
        }
        let nothing = Bytes::new();
        self.target.send(Method::GET, headers, nothing, None).await
    }

    /// The operator's headers, and over them ours.
    fn headers(&self, sent: Option<&Sent<'_>>) -> HeaderMap {
        let mut headers = self.target.headers.clone();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(sent) = sent
            && sent.modern
        {
            headers.insert(
                "mcp-protocol-version",
                HeaderValue::from_static(MODERN_VERSION),
            );
            headers.insert("mcp-method", header_value(sent.method));
            if let Some(name) = &sent.name {
                headers.insert("mcp-name", name.clone());
            }
            for (name, value) in &sent.mirrored {
                headers.insert(name.clone(), value.clone());
            }
            return headers;
        }
        if sent.is_some_and(|sent| sent.method == "initialize") {
            return headers;
        }
        let state = lock(&self.state);
        if let Some(session) = &state.session {
            headers.insert("mcp-session-id", session.clone());
        }
        if let Some(version) = &state.version {
            headers.insert("mcp-protocol-version", version.clone());
        }
        headers
    }

    /// Posts a request and hands out everything that comes back. Gives the reason why nothing more will come.
    async fn converse(self: &Arc<Self>, post: &Post<'_>) -> Error {
        let Post {
            id,
            sent,
            body,
            place,
        } = post;
        let id = *id;
        let place = match place {
            true => match self.target.place().await {
                Ok(place) => place,
                Err(error) => return error,
            },
            false => None,
        };
        self.shared.mark_sent(id);
        let response = match self.post(body.clone(), sent, place).await {
            Ok(response) => response,
            Err(error) => return error,
        };
        if !response.status().is_success() {
            return self.refusal(response, Some(id), sent).await;
        }
        if sent.method == "initialize" {
            lock(&self.state).session = response.headers().get("mcp-session-id").cloned();
        }
        match content_type(&response).as_str() {
            "text/event-stream" => self.follow(response, id, !sent.modern).await,
            "application/json" => match self.body(response, self.max_message).await {
                Ok(body) => {
                    self.on_message(&body, Some(id));
                    Error::Protocol("the server answered something else than was asked".to_owned())
                }
                Err(error) => error,
            },
            _ if matches!(
                response.status(),
                StatusCode::ACCEPTED | StatusCode::NO_CONTENT
            ) =>
            {
                Error::Protocol("the server accepted the request and gave no answer".to_owned())
            }
            other => Error::Protocol(format!(
                "the server answered with content type {other:?}, which is neither JSON nor an event stream"
            )),
        }
    }

    /// Hands out a stream of events, and picks it up where it broke off if the server numbers its events.
    async fn follow(self: &Arc<Self>, mut response: Response, id: u64, resumable: bool) -> Error {
        let mut so_far = SoFar::default();
        loop {
            let end = self.stream(response, Some(id), &mut so_far).await;
            if !resumable || so_far.last_event.is_none() || so_far.empty > EMPTY_RESUMPTIONS {
                return end;
            }
            tokio::time::sleep(so_far.retry).await;
            response = match self.get(so_far.last_event.as_deref()).await {
                Ok(response)
                    if response.status() == StatusCode::OK
                        && content_type(&response) == "text/event-stream" =>
                {
                    response
                }
                Ok(response) => {
                    return Error::Interrupted(format!(
                        "the stream could not be resumed (HTTP status {})",
                        response.status().as_u16()
                    ));
                }
                Err(error) => return Error::Interrupted(error.to_string()),
            };
            so_far.empty += 1;
        }
    }

    async fn stream(
        self: &Arc<Self>,
        mut response: Response,
        during: Option<u64>,
        so_far: &mut SoFar,
    ) -> Error {
        let mut decoder = SseDecoder::new(self.max_message);
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    let fits = decoder.push(&bytes, |event| {
                        if let Some(id) = event.id {
                            so_far.last_event = Some(id);
                        }
                        if let Some(ms) = event.retry_ms {
                            so_far.retry = Duration::from_millis(ms).min(RETRY_MOST);
                        }
                        if !event.data.is_empty() {
                            so_far.empty = 0;
                            self.on_message(&event.data, during);
                        }
                    });
                    // Answered: what else this stream may bring concerns nobody.
                    if during.is_some_and(|id| !self.shared.is_waiting(id)) {
                        response.finish();
                        return Error::Interrupted("the answer was there".to_owned());
                    }
                    if fits.is_err() {
                        return Error::Protocol(format!(
                            "the server sent an event longer than the {} bytes allowed",
                            self.max_message
                        ));
                    }
                }
                Ok(None) => return Error::Interrupted("the server ended the stream".to_owned()),
                Err(error) => return error,
            }
        }
    }

    fn on_message(self: &Arc<Self>, bytes: &[u8], during: Option<u64>) {
        let understood = wire::read(bytes, |incoming| match incoming {
            Incoming::Request { id, method, params } => {
                self.reply(self.shared.question(id, method, params, during));
            }
            incoming => self.shared.dispatch(incoming, during),
        });
        if understood.is_err() {
            tracing::debug!(
                bytes = bytes.len(),
                "the server sent something that is no JSON-RPC message"
            );
        }
    }

    /// Answers a request of the server, now or when the answer is there. One too many to answer now is left unanswered.
    fn reply(self: &Arc<Self>, question: Result<Question, Vec<u8>>) {
        let endpoint = Arc::clone(self);
        match question {
            Err(body) => {
                let Ok(turn) = Arc::clone(&self.replying).try_acquire_owned() else {
                    return;
                };
                tokio::spawn(async move {
                    endpoint.post_reply(body).await;
                    drop(turn);
                });
            }
            Ok(question) => {
                tokio::spawn(async move {
                    if let Some(body) = question.answer().await {
                        endpoint.post_reply(body).await;
                    }
                });
            }
        }
    }

    async fn post_reply(&self, body: Vec<u8>) {
        let sent = Sent::new("", false);
        let replied = tokio::time::timeout(CANCEL_WITHIN, self.post_only(body, &sent)).await;
        tracing::trace!(?replied, "answered a request of the server");
    }

    /// What a status other than success means.
    async fn refusal(&self, response: Response, asked: Option<u64>, sent: &Sent<'_>) -> Error {
        let status = response.status();
        let in_session =
            !sent.modern && sent.method != "initialize" && lock(&self.state).session.is_some();
        let body = self.body(response, ERROR_BODY).await.unwrap_or_default();
        let mut answer = None;
        let _ = wire::read(&body, |incoming| {
            if let Incoming::Answer {
                id,
                outcome: Err(error),
            } = incoming
            {
                answer = Some((id, error));
            }
        });
        // The specification says 404. Servers after the SDK's example say 400 and cannot name the request they refuse.
        let unnamed = matches!(answer, Some((None, _)));
        if in_session
            && (status == StatusCode::NOT_FOUND || (status == StatusCode::BAD_REQUEST && unnamed))
        {
            return Error::SessionLost(format!("HTTP status {}", status.as_u16()));
        }
        match answer {
            Some((id, error)) if id.is_none() || id == asked => error,
            _ => {
                let text = String::from_utf8_lossy(&body);
                Error::Http {
                    status: status.as_u16(),
                    message: excerpt(text.trim(), 300).into_owned(),
                }
            }
        }
    }

    async fn body(&self, mut response: Response, most: usize) -> Result<Vec<u8>, Error> {
        let expected = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body =
            Vec::with_capacity(expected.map_or(0, |bytes: usize| bytes.min(BODY_AT_ONCE)));
        while let Some(bytes) = response.chunk().await? {
            if body.len() + bytes.len() > most {
                return Err(Error::Protocol(format!(
                    "the answer is longer than the {most} bytes allowed"
                )));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    pub(crate) fn pool(&self) -> Option<PoolStats> {
        self.target.pool()
    }

    pub(crate) fn greeted(&self, peer: &Peer) {
        let mut state = lock(&self.state);
        state.version = HeaderValue::from_str(&peer.protocol_version).ok();
        self.renewals.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn forget_session(&self) {
        let mut state = lock(&self.state);
        state.session = None;
        state.version = None;
        if let Some(listener) = state.listener.take() {
            listener.cancel();
        }
    }

    pub(crate) fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Acquire)
    }

    pub(crate) async fn renewal_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.renewing.lock().await
    }

    /// Listens for what a legacy server says between requests, until the session ends or the server has no such stream.
    pub(crate) fn listen(self: &Arc<Self>) {
        let stop = self.stop.child_token();
        if let Some(former) = lock(&self.state).listener.replace(stop.clone()) {
            former.cancel();
        }
        let endpoint = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = endpoint.hear() => {}
            }
        });
    }

    async fn hear(self: &Arc<Self>) {
        let mut so_far = SoFar::default();
        loop {
            match self.get(so_far.last_event.as_deref()).await {
                Ok(response)
                    if response.status() == StatusCode::OK
                        && content_type(&response) == "text/event-stream" =>
                {
                    self.stream(response, None, &mut so_far).await;
                }
                // No such stream (405), or no such session: the next request will find out.
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "listening between requests failed"),
            }
            so_far.empty += 1;
            let pause = so_far.retry * so_far.empty.min(30);
            tokio::time::sleep(pause.clamp(RETRY, RETRY_MOST)).await;
        }
    }

    /// Whether a GET opens with the event of the old HTTP+SSE transport.
    pub(crate) async fn is_old_transport(&self) -> bool {
        let look = async {
            let mut response = self.get(None).await.ok()?;
            let mut decoder = SseDecoder::new(ERROR_BODY);
            let mut first = None;
            while first.is_none() {
                let bytes = response.chunk().await.ok()??;
                decoder
                    .push(&bytes, |event| first = first.take().or(Some(event.event)))
                    .ok()?;
            }
            first
        };
        tokio::time::timeout(OLD_WITHIN, look)
            .await
            .ok()
            .flatten()
            .is_some_and(|event| event == "endpoint")
    }

    /// Stops listening, and tells the server that the session may go.
    pub(crate) async fn free_session(&self) {
        self.stop.cancel();
        let headers = self.headers(None);
        if lock(&self.state).session.take().is_none() {
            return;
        }
        let request = self
            .target
            .send(Method::DELETE, headers, Bytes::new(), None);
        // A server need not allow it (405), and may be gone: either way there is nothing left to do.
        let _ = tokio::time::timeout(FREE_WITHIN, request).await;
    }
}

/// How far a stream that may break off has come.
struct SoFar {
    last_event: Option<String>,
    retry: Duration,
    /// Resumptions in a row that brought nothing.
    empty: u32,
}

impl Default for SoFar {
    fn default() -> Self {
        Self {
            last_event: None,
            retry: RETRY,
            empty: 0,
        }
    }
}

/// A request, ready to be posted, more than once if need be.
pub(crate) struct Post<'a> {
    id: u64,
    sent: Sent<'a>,
    body: Bytes,
    /// Whether it takes a place among those that may be under way at once.
    place: bool,
}

impl<'a> Post<'a> {
    pub(crate) fn new(id: u64, method: &'a str, body: Vec<u8>, modern: bool) -> Self {
        Self {
            id,
            sent: Sent::new(method, modern),
            body: body.into(),
            place: false,
        }
    }

    /// One that takes a place among those that may be under way at once.
    pub(crate) fn placed(self, place: bool) -> Self {
        Self { place, ..self }
    }

    /// Reads what it is about out of its parameters, of which `field` is another on the way.
    pub(crate) fn about(mut self, params: Option<&RawValue>, field: Option<(&str, &str)>) -> Self {
        if self.sent.modern {
            self.sent.name = name_header(self.sent.method, params, field);
        }
        self
    }
}

impl Post<'_> {
    /// Takes the headers of its arguments; false when it has them already.
    pub(crate) fn mirror(&mut self, mirrored: Vec<(HeaderName, HeaderValue)>) -> bool {
        let other = self.sent.mirrored != mirrored;
        self.sent.mirrored = mirrored;
        other
    }
}

/// What the headers of a POST depend on.
struct Sent<'a> {
    method: &'a str,
    name: Option<HeaderValue>,
    /// Arguments that travel in headers as well.
    mirrored: Vec<(HeaderName, HeaderValue)>,
    modern: bool,
}

impl<'a> Sent<'a> {
    fn new(method: &'a str, modern: bool) -> Self {
        Self {
            method,
            name: None,
            mirrored: Vec::new(),
            modern,
        }
    }
}

/// Tells a legacy server that nobody waits any more: it does not take a closed connection as a sign.
struct GivingUp<'a> {
    endpoint: &'a Arc<Endpoint>,
    id: Option<u64>,
}

impl Drop for GivingUp<'_> {
    fn drop(&mut self) {
        // One that waited for its place was never sent.
        let id = self.id.filter(|id| self.endpoint.shared.is_sent(*id));
        let (Some(id), Ok(runtime)) = (id, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let endpoint = Arc::clone(self.endpoint);
        runtime.spawn(async move {
            let sent = Sent::new("notifications/cancelled", false);
            let told = tokio::time::timeout(
                CANCEL_WITHIN,
                endpoint.post_only(wire::cancelled(id), &sent),
            )
            .await;
            tracing::trace!(?told, id, "told the server that a request was given up");
        });
    }
}

/// `Mcp-Name`: what the request is about, where the specification asks for it.
fn name_header(
    method: &str,
    params: Option<&RawValue>,
    field: Option<(&str, &str)>,
) -> Option<HeaderValue> {
    let key = named_by(method)?;
    let text = match field {
        Some((field, text)) if field == key => text,
        _ => Object::read(params?.get())?.get(key)?,
    };
    json::string(text).map(|name| header_value(&name))
}

/// The field of the parameters that `Mcp-Name` repeats.
pub(crate) fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// A header's value: plain if it is visible ASCII (and does not look encoded), else in the specification's base64 form.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    let plain = !text.is_empty()
        && !text.starts_with("=?base64?")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && text.trim() == text;
    let encoded = || format!("=?base64?{}?=", BASE64_STANDARD.encode(text));
    let value = if plain {
        HeaderValue::from_str(text)
    } else {
        HeaderValue::from_str(&encoded())
    };
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn content_type(response: &Response) -> String {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn sending(error: reqwest::Error) -> Error {
    if error.is_connect() {
        Error::Unreachable(cause(error))
    } else {
        Error::Interrupted(cause(error))
    }
}

/// The innermost cause says it best ("connection refused"); the URL stays out, it may hold a secret.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut inner: &dyn std::error::Error = &error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outside_plain_ascii_travels_as_base64() {
        let check =
            |text: &str, expected: &str| assert_eq!(header_value(text), expected, "{text:?}");
        check("get_sum", "get_sum");
        check("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?=");
        check(" a", "=?base64?IGE=?=");
        check("", "=?base64??=");
        check("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?=");
    }

    #[test]
    fn a_target_is_checked_and_hides_its_secrets() {
        let client = HttpClient::new();
        let message = |url: &str, header: (&str, &str)| {
            HttpTarget::new(&client, url, [(header.0.to_owned(), header.1.to_owned())])
                .err()
                .unwrap()
                .to_string()
        };
        assert!(message("nonsense", ("a", "b")).contains("is no URL"));
        assert!(message("ftp://h/", ("a", "b")).contains("neither an http nor an https"));
        assert!(message("http://h/", ("a b", "c")).contains("cannot name a header"));
        assert!(!message("http://h/", ("a", "sec\nret")).contains("ret"));
    }
}
