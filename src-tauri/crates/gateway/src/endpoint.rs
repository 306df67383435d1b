//! The endpoint as clients see it: streamable HTTP, both eras on one address.
//!
//! A request that names its revision in `_meta` is a modern one and stands by itself. All others are legacy: `initialize` opens
//! a session that each later request names.
//!
//! **Answers.** An answer that comes with nothing before it is plain JSON. As soon as something comes first (progress, a log
//! line, a question of the server), or nothing has come for [`QUIET`], the answer becomes a stream of events.
//!
//! **A client that goes away.** Modern: closing the response cancels the call. Legacy: it does not; the call goes on to its end
//! and only `notifications/cancelled` cancels it.

use crate::{
    body::Body,
    clients::{Answer, Identity, Session},
    gateway::{Gateway, wall},
    limit::Standing,
    relay::{Call, Fault, Json, Said},
    trace,
};
use bytes::Bytes;
use flotilla_contract::tool::Era;
use flotilla_mcp::{
    MODERN_VERSION,
    serve::{self, Fields, Received},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::value::RawValue;
use std::{fmt::Display, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest message of a client, in bytes.
const LONGEST: usize = 16 << 20;
/// How long a client may take to send one.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// An answer that has not come by then becomes a stream, which shows signs of life.
const QUIET: Duration = Duration::from_secs(5);
/// Longest `X-Correlation-Id` that is taken; another one is replaced by ours.
const LONGEST_CORRELATION: usize = 128;
/// Messages that may wait for a slow client before a call waits with them.
const SAID: usize = 64;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// How far a client's limit is used up: requests in all and left, and seconds until all are there again.
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const BRIDGE: HeaderName = HeaderName::from_static("x-flotilla-bridge");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// JSON-RPC leaves -32000 to -32099 to servers; what others use for these too.
const NO_SESSION: i64 = -32_000;
const SESSION_GONE: i64 = -32_001;

/// One request of a client, on its way.
struct Asked {
    id: Box<RawValue>,
    method: String,
    params: Option<Box<RawValue>>,
    correlation: String,
    named: bool,
    trace: Option<String>,
}

/// What becomes of a message.
enum Next {
    Answer(Box<Response<Body>>),
    Modern(Arc<Identity>, Asked),
    Legacy(Arc<Session>, Asked),
}

impl From<Response<Body>> for Next {
    fn from(answer: Response<Body>) -> Self {
        Self::Answer(Box::new(answer))
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Json, Fault>> + Send>>;

impl Gateway {
    /// Answers one HTTP request of a client. Who may come this far is the listener's business.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let group = match parts.uri.path() {
            "/mcp" | "/mcp/" => None,
            path => match path.strip_prefix("/mcp/") {
                Some(name) if self.has_group(name) => Some(name.to_owned()),
                _ => {
                    return plain(
                        StatusCode::NOT_FOUND,
                        "clients are served at /mcp, groups at /mcp/NAME",
                    );
                }
            },
        };
        match parts.method {
            Method::POST => self.post(&parts.headers, group, body).await,
            Method::GET => self.stream(&parts.headers),
            Method::DELETE => match session_id(&parts.headers) {
                Some(id) if self.inner.clients.close(id) => plain(StatusCode::NO_CONTENT, ""),
                Some(_) => gone(None),
                None => no_session(None),
            },
            _ => {
                let mut answer = plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "accepted are POST, GET and DELETE",
                );
                let allow = HeaderValue::from_static("POST, GET, DELETE");
                answer.headers_mut().insert(header::ALLOW, allow);
                answer
            }
        }
    }

    async fn post<B>(&self, headers: &HeaderMap, group: Option<String>, body: B) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !is_json(headers) {
            return rpc(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                None,
                serve::INVALID_REQUEST,
                "Content-Type must be application/json",
                None,
            );
        }
        if !accepts(headers) {
            return rpc(
                StatusCode::NOT_ACCEPTABLE,
                None,
                serve::INVALID_REQUEST,
                "Accept must name application/json and text/event-stream",
                None,
            );
        }
        let bytes =
            match tokio::time::timeout(BODY_WITHIN, Limited::new(body, LONGEST).collect()).await {
                Err(_) => {
                    return rpc(
                        StatusCode::REQUEST_TIMEOUT,
                        None,
                        serve::INVALID_REQUEST,
                        &format!(
                            "the message did not come within {} s",
                            BODY_WITHIN.as_secs()
                        ),
                        None,
                    );
                }
                Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                    return rpc(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        None,
                        serve::INVALID_REQUEST,
                        &format!("the message is longer than {LONGEST} bytes"),
                        None,
                    );
                }
                Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "the message broke off"),
                Ok(Ok(body)) => body.to_bytes(),
            };
        let next = self.understand(headers, group.as_deref(), &bytes);
        // What is needed of it was copied; a call may take long.
        drop(bytes);
        match next {
            Next::Answer(answer) => *answer,
            Next::Modern(identity, asked) => self.modern(identity, group, asked).await,
            Next::Legacy(session, asked) => self.legacy(session, asked).await,
        }
    }

    fn understand(&self, headers: &HeaderMap, group: Option<&str>, bytes: &[u8]) -> Next {
        let received = match serve::parse(bytes) {
            Ok(received) => received,
            Err(bad) => return json(StatusCode::BAD_REQUEST, bad.answer()).into(),
        };
        let said = text(headers, &CORRELATION)
            .filter(|said| (1..=LONGEST_CORRELATION).contains(&said.len()));
        let correlation = || said.map_or_else(|| self.inner.correlation(), ToOwned::to_owned);
        match received {
            Received::Request { id, method, params } => {
                let fields = Fields::of(params);
                let meta = fields.meta();
                let said_of_trace = meta.trace_parent.as_deref();
                let traced = said_of_trace.and_then(trace::of);
                let traced = traced.or_else(|| trace::of(text(headers, &TRACEPARENT)?));
                let modern = meta.protocol_version.is_some()
                    || (text(headers, &VERSION) == Some(MODERN_VERSION) && method != "initialize");
                if modern {
                    if let Some(refusal) = self.refuse_modern(headers, group, id, &method, &fields)
                    {
                        return refusal.into();
                    }
                    let identity = self.identity_of(headers, &fields);
                    let asked = Asked {
                        id: id.to_owned(),
                        method: method.into_owned(),
                        params: params.map(ToOwned::to_owned),
                        correlation: correlation(),
                        named: said.is_some(),
                        trace: traced.map(ToOwned::to_owned),
                    };
                    return Next::Modern(identity, asked);
                }
                if method == "initialize" {
                    let group = group.map(ToOwned::to_owned);
                    return self.initialize(headers, group, id, &fields).into();
                }
                let session = match self.session(headers, Some(id)) {
                    Ok(session) => session,
                    Err(refusal) => return Next::Answer(refusal),
                };
                let asked = Asked {
                    id: id.to_owned(),
                    method: method.into_owned(),
                    params: params.map(ToOwned::to_owned),
                    correlation: correlation(),
                    named: said.is_some(),
                    trace: traced.map(ToOwned::to_owned),
                };
                Next::Legacy(session, asked)
            }
            Received::Notification { method, params } => {
                let fields = Fields::of(params);
                if fields.meta().protocol_version.is_none()
                    && text(headers, &VERSION) != Some(MODERN_VERSION)
                {
                    let session = match self.session(headers, None) {
                        Ok(session) => session,
                        Err(refusal) => return Next::Answer(refusal),
                    };
                    self.told(&session, &method, &fields);
                }
                plain(StatusCode::ACCEPTED, "").into()
            }
            Received::Response { id, outcome } => {
                let session = match self.session(headers, None) {
                    Ok(session) => session,
                    Err(refusal) => return Next::Answer(refusal),
                };
                let answer: Answer = outcome.map(ToOwned::to_owned).map_err(ToOwned::to_owned);
                session.answered(id.get(), answer);
                plain(StatusCode::ACCEPTED, "").into()
            }
        }
    }

    /// What is wrong with a modern request before its method is looked at.
    fn refuse_modern(
        &self,
        headers: &HeaderMap,
        group: Option<&str>,
        id: &RawValue,
        method: &str,
        fields: &Fields<'_>,
    ) -> Option<Response<Body>> {
        let meta = fields.meta();
        let version = meta.protocol_version.as_deref().unwrap_or_default();
        let values = |name: &str| {
            headers
                .get_all(name)
                .iter()
                .map(HeaderValue::as_bytes)
                .collect::<Vec<_>>()
        };
        let refuse = |code, why: &str, data: Option<&RawValue>| {
            Some(rpc(StatusCode::BAD_REQUEST, Some(id), code, why, data))
        };
        if meta.protocol_version.is_none() {
            let why = "_meta must say io.modelcontextprotocol/protocolVersion";
            return refuse(serve::INVALID_PARAMS, why, None);
        }
        if let Err(why) = serve::check_headers(method, fields, values) {
            return refuse(serve::HEADER_MISMATCH, &why, None);
        }
        if version != MODERN_VERSION {
            let why = format!("revision {version:?} is not spoken here");
            let data = serve::unsupported_version(version);
            return refuse(serve::UNSUPPORTED_VERSION, &why, Some(&data));
        }
        if meta.client_capabilities.is_none() {
            let why = "_meta must say io.modelcontextprotocol/clientCapabilities";
            return refuse(serve::INVALID_PARAMS, why, None);
        }
        if method == "tools/call"
            && let Some(mirrors) = fields
                .text("name")
                .and_then(|tool| self.mirrors(group, &tool))
            && let Err(why) = mirrors.check(fields.json("arguments"), values)
        {
            return refuse(serve::HEADER_MISMATCH, &why, None);
        }
        None
    }

    fn identity_of(&self, headers: &HeaderMap, fields: &Fields<'_>) -> Arc<Identity> {
        let meta = fields.meta();
        let (name, version) = name_of(headers, meta.client_info);
        Arc::new(Identity {
            name,
            version,
            transport: transport(headers),
            protocol: meta.protocol_version.unwrap_or_default().into_owned(),
            era: Era::Modern,
        })
    }

    fn initialize(
        &self,
        headers: &HeaderMap,
        group: Option<String>,
        id: &RawValue,
        fields: &Fields<'_>,
    ) -> Response<Body> {
        let Some(wanted) = fields.text("protocolVersion") else {
            return rpc(
                StatusCode::OK,
                Some(id),
                serve::INVALID_PARAMS,
                "initialize needs protocolVersion",
                None,
            );
        };
        let version = serve::legacy_version(&wanted);
        let (name, said) = name_of(headers, fields.raw("clientInfo"));
        let identity = Arc::new(Identity {
            name,
            version: said,
            transport: transport(headers),
            protocol: version.to_owned(),
            era: Era::Legacy,
        });
        let capabilities = fields.raw("capabilities").map(ToOwned::to_owned);
        let result = self.introduce(group.as_deref(), version);
        let session = self
            .inner
            .clients
            .open(identity, capabilities, group, wall());
        let mut answer = json(StatusCode::OK, serve::response(id, &result));
        if let Ok(value) = HeaderValue::from_str(&session.id) {
            answer.headers_mut().insert(SESSION, value);
        }
        answer
    }

    /// The session that a legacy request names.
    fn session(
        &self,
        headers: &HeaderMap,
        id: Option<&RawValue>,
    ) -> Result<Arc<Session>, Box<Response<Body>>> {
        let Some(name) = session_id(headers) else {
            return Err(Box::new(no_session(id)));
        };
        let session = self
            .inner
            .clients
            .session(name)
            .ok_or_else(|| Box::new(gone(id)))?;
        if let Some(version) = text(headers, &VERSION)
            && !serve::VERSIONS.contains(&version)
        {
            let why = format!(
                "MCP-Protocol-Version {version:?} is not spoken here; accepted are {}",
                serve::VERSIONS.join(", ")
            );
            return Err(Box::new(rpc(
                StatusCode::BAD_REQUEST,
                id,
                serve::INVALID_REQUEST,
                &why,
                None,
            )));
        }
        session.touch();
        Ok(session)
    }

    /// A legacy client says something.
    fn told(&self, session: &Arc<Session>, method: &str, fields: &Fields<'_>) {
        match method {
            "notifications/cancelled" => {
                if let Some(id) = fields.raw("requestId") {
                    session.cancel(id.get());
                }
            }
            "notifications/roots/list_changed" => self.pass_on(session, method),
            _ => {}
        }
    }

    /// The stream of what is said outside of requests.
    fn stream(&self, headers: &HeaderMap) -> Response<Body> {
        if !listed(headers, &header::ACCEPT, "text/event-stream") {
            return plain(
                StatusCode::NOT_ACCEPTABLE,
                "Accept must name text/event-stream",
            );
        }
        if text(headers, &VERSION) == Some(MODERN_VERSION) {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "this revision has no such stream; see subscriptions/listen",
            );
        }
        let session = match self.session(headers, None) {
            Ok(session) => session,
            Err(refusal) => return *refusal,
        };
        let after = headers
            .get("last-event-id")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        events(Body::stream(session.listen(after), None))
    }

    async fn legacy(&self, session: Arc<Session>, asked: Asked) -> Response<Body> {
        let Some(cancel) = session.begin(asked.id.get()) else {
            return rpc(
                StatusCode::OK,
                Some(&asked.id),
                serve::INVALID_REQUEST,
                "a request of this id is under way, or too many are",
                None,
            );
        };
        let ended = Ended(Arc::clone(&session), asked.id.clone());
        let (say, said) = mpsc::channel(SAID);
        let call = Call {
            identity: Arc::clone(&session.identity),
            known: self.inner.clients.known(&session.identity, wall()),
            group: session.group.clone(),
            session: Some(Arc::clone(&session)),
            method: asked.method,
            params: asked.params,
            correlation: asked.correlation,
            named: asked.named,
            trace: asked.trace,
            cancel,
            say: Said(say),
        };
        let (label, may) = self.label(&call);
        if let Err(fault) = may {
            return label.on(whole(&asked.id, Era::Legacy, Err(fault)));
        }
        let gateway = self.clone();
        let work = Box::pin(async move {
            let _ended = ended;
            gateway.answer(call).await
        });
        let work = Detached(Some(work));
        label.on(respond(asked.id, Era::Legacy, work, said, None).await)
    }

    async fn modern(
        &self,
        identity: Arc<Identity>,
        group: Option<String>,
        asked: Asked,
    ) -> Response<Body> {
        let cancel = self.inner.ended.child_token();
        let (say, said) = mpsc::channel(SAID);
        if asked.method == "subscriptions/listen" {
            let stream = self.subscribe(&asked.id, asked.params.as_deref(), group, cancel.clone());
            return events(Body::stream(stream, Some(cancel.drop_guard())));
        }
        let call = Call {
            known: self.inner.clients.known(&identity, wall()),
            identity,
            group,
            session: None,
            method: asked.method,
            params: asked.params,
            correlation: asked.correlation,
            named: asked.named,
            trace: asked.trace,
            cancel: cancel.clone(),
            say: Said(say),
        };
        let (label, may) = self.label(&call);
        if let Err(fault) = may {
            return label.on(whole(&asked.id, Era::Modern, Err(fault)));
        }
        let gateway = self.clone();
        let work: Work = Box::pin(async move { gateway.answer(call).await });
        label.on(respond(asked.id, Era::Modern, work, said, Some(cancel)).await)
    }

    /// What is written on the answer of a request, and whether it may be answered now.
    fn label(&self, call: &Call) -> (Label, Result<(), Fault>) {
        let (standing, may) = self.within_window(call);
        let label = Label {
            correlation: HeaderValue::from_str(&call.correlation).ok(),
            standing,
        };
        (label, may)
    }
}

/// What every answer to a request says in its headers, however it ends.
struct Label {
    correlation: Option<HeaderValue>,
    standing: Option<Standing>,
}

impl Label {
    fn on(self, mut answer: Response<Body>) -> Response<Body> {
        let headers = answer.headers_mut();
        if let Some(correlation) = self.correlation {
            headers.insert(CORRELATION, correlation);
        }
        if let Some(standing) = self.standing {
            headers.insert(LIMIT, HeaderValue::from(standing.limit));
            headers.insert(REMAINING, HeaderValue::from(standing.remaining));
            headers.insert(RESET, HeaderValue::from(whole_seconds(standing.reset)));
        }
        answer
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// A legacy call goes on when its client goes away.
struct Detached(Option<Work>);

impl Future for Detached {
    type Output = Result<Json, Fault>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let Some(work) = &mut self.0 else {
            return std::task::Poll::Pending;
        };
        let done = work.as_mut().poll(cx);
        if done.is_ready() {
            self.0 = None;
        }
        done
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

/// Takes a request out of the session's table, however it ends.
struct Ended(Arc<Session>, Box<RawValue>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end(self.1.get());
    }
}

/// Waits for the answer, and for what comes before it.
async fn respond(
    id: Box<RawValue>,
    era: Era,
    work: impl Future<Output = Result<Json, Fault>> + Send + Unpin + 'static,
    mut said: mpsc::Receiver<Vec<u8>>,
    cancel: Option<CancellationToken>,
) -> Response<Body> {
    let mut work = work;
    let first = tokio::select! {
        biased;
        done = &mut work => {
            // What was said just before it goes first.
            let Ok(first) = said.try_recv() else {
                return whole(&id, era, done);
            };
            let (to, from) = mpsc::channel(SAID + 2);
            let mut waiting = vec![first];
            while let Ok(more) = said.try_recv() {
                waiting.push(more);
            }
            waiting.push(answer(&id, done));
            tokio::spawn(async move {
                for message in waiting {
                    if to.send(Bytes::from(serve::sse_event(&message, None))).await.is_err() {
                        return;
                    }
                }
            });
            return events(Body::stream(from, None));
        }
        Some(first) = said.recv() => Some(first),
        () = tokio::time::sleep(QUIET) => None,
    };
    let (to, from) = mpsc::channel(SAID);
    let gone = cancel.map(CancellationToken::drop_guard);
    tokio::spawn(async move {
        let send = async |message: Vec<u8>| {
            // A legacy client that went away is no reason to end its call.
            let _ = to.send(Bytes::from(serve::sse_event(&message, None))).await;
        };
        if let Some(first) = first {
            send(first).await;
        }
        let done = loop {
            tokio::select! {
                biased;
                Some(message) = said.recv() => send(message).await,
                done = &mut work => break done,
            }
        };
        while let Ok(message) = said.try_recv() {
            send(message).await;
        }
        send(answer(&id, done)).await;
    });
    events(Body::stream(from, gone))
}

fn answer(id: &RawValue, done: Result<Json, Fault>) -> Vec<u8> {
    match done {
        Ok(result) => serve::response(id, &result),
        Err(fault) => match &fault.raw {
            Some(raw) => serve::raw_error(id, raw),
            None => serve::error(Some(id), fault.code, &fault.message, fault.data.as_deref()),
        },
    }
}

fn whole(id: &RawValue, era: Era, done: Result<Json, Fault>) -> Response<Body> {
    let (status, retry_after) = match &done {
        Err(fault) => (
            match (fault.throttled, era) {
                (Some(_), _) => StatusCode::TOO_MANY_REQUESTS,
                (None, Era::Modern) => {
                    StatusCode::from_u16(serve::http_status(fault.code)).unwrap_or(StatusCode::OK)
                }
                (None, Era::Legacy) => StatusCode::OK,
            },
            fault.throttled,
        ),
        Ok(_) => (StatusCode::OK, None),
    };
    let mut response = json(status, answer(id, done));
    if let Some(wait) = retry_after {
        let seconds = whole_seconds(wait).max(1);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::whole(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn rpc(
    status: StatusCode,
    id: Option<&RawValue>,
    code: i64,
    message: &str,
    data: Option<&RawValue>,
) -> Response<Body> {
    json(status, serve::error(id, code, message, data))
}

fn plain(status: StatusCode, why: impl Display) -> Response<Body> {
    let mut response = Response::new(Body::whole(why.to_string()));
    *response.status_mut() = status;
    response
}

fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENTS);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy in between must not collect events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn no_session(id: Option<&RawValue>) -> Response<Body> {
    let why = "the header Mcp-Session-Id is missing: a session begins with initialize";
    rpc(StatusCode::BAD_REQUEST, id, NO_SESSION, why, None)
}

fn gone(id: Option<&RawValue>) -> Response<Body> {
    let why = "there is no such session (any more): begin a new one with initialize";
    rpc(StatusCode::NOT_FOUND, id, SESSION_GONE, why, None)
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    text(headers, &SESSION)
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    text(headers, &header::CONTENT_TYPE).is_some_and(|kind| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    })
}

/// Without the header everything is accepted.
fn accepts(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::ACCEPT)
        || (listed(headers, &header::ACCEPT, "application/json")
            && listed(headers, &header::ACCEPT, "text/event-stream"))
}

fn listed(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let kind = wanted.split('/').next().unwrap_or_default();
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|part| part.split(';').next().unwrap_or_default().trim())
        .any(|part| {
            part.eq_ignore_ascii_case(wanted)
                || part == "*/*"
                || part
                    .strip_suffix("/*")
                    .is_some_and(|part| part.eq_ignore_ascii_case(kind))
        })
}

fn transport(headers: &HeaderMap) -> &'static str {
    if text(headers, &BRIDGE) == Some("stdio") {
        "stdio"
    } else {
        "http"
    }
}

/// What a client calls itself, bounded; a browser or a library names itself in `User-Agent`.
fn name_of(headers: &HeaderMap, info: Option<&RawValue>) -> (String, Option<String>) {
    let fields = Fields::of(info);
    let short = |text: std::borrow::Cow<'_, str>| {
        text.chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect::<String>()
    };
    let name = fields
        .text("name")
        .map(short)
        .filter(|name| !name.is_empty())
        .or_else(|| {
            let agent = text(headers, &header::USER_AGENT)?;
            Some(short(agent.split(['/', ' ']).next()?.into())).filter(|name| !name.is_empty())
        });
    (
        name.unwrap_or_else(|| "unnamed".to_owned()),
        fields.text("version").map(short),
    )
}
