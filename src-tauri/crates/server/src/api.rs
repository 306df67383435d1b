//! The routes. Everything under `/api/v1` but `call` and `key` is a fixed reading of one command, for scripts and `curl`.

use crate::{
    Fleet, UiSource,
    door::{self, Door, Entry},
    hooks,
    socket::Tally,
    ui, ws,
};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Query, Request, State,
        ws::WebSocketUpgrade,
    },
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use flotilla_contract::{Caller, ErrorCode, WireError};
use flotilla_engine::Format;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

/// Size of a request's body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// Names a caller for the record: `cli`, `tray`, …; an optional user follows a colon.
const ACTOR: &str = "x-flotilla-actor";
/// Joins log lines and events of one operation; given back with the answer.
const CORRELATION: &str = "x-correlation-id";

#[derive(Clone)]
pub(crate) struct App<F> {
    pub(crate) fleet: F,
    door: Door,
    ui: UiSource,
    sockets: Arc<Semaphore>,
    tally: Arc<Tally>,
    shutdown: CancellationToken,
}

pub(crate) fn router<F: Fleet>(
    fleet: F,
    door: Door,
    ui: UiSource,
    tally: Arc<Tally>,
    shutdown: CancellationToken,
) -> Router {
    let app = App {
        fleet,
        door,
        ui,
        sockets: Arc::new(Semaphore::new(ws::MAX_CONNECTIONS)),
        tally,
        shutdown,
    };
    Router::new()
        .route("/healthz", get(healthz::<F>))
        .route("/metrics", get(metrics::<F>))
        .route("/api/agent", get(agent::<F>))
        .route("/ws", get(socket::<F>))
        .route("/api/v1/key", post(new_key::<F>))
        .route("/api/v1/call/{command}", post(call::<F>))
        .route("/api/v1/servers", get(servers::<F>))
        .route("/api/v1/servers/{id}", get(server::<F>))
        .route("/api/v1/servers/{id}/instances", get(instances::<F>))
        .route("/api/v1/servers/{id}/tools", get(tools::<F>))
        .route("/api/v1/servers/{id}/{verb}", post(verb::<F>))
        .route("/api/v1/events", get(events::<F>))
        .route("/api/v1/actions", get(actions::<F>))
        .route("/api/v1/logs", get(logs::<F>))
        .route("/api/v1/agents", get(agents::<F>))
        .merge(hooks::routes())
        .route("/api/{*rest}", axum::routing::any(nowhere))
        .fallback(files::<F>)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), guard::<F>))
        .with_state(app)
}

/// Every request passes here first.
async fn guard<F: Fleet>(
    State(app): State<App<F>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path();
    let telling = matches!(path, "/healthz" | "/metrics" | "/api/agent");
    let hook = request.method() == Method::POST && path.starts_with("/hooks/");
    let wants_page = !path.starts_with("/api/") && path != "/ws" && !telling && !hook;
    if let Err(foreign) = app.door.admit(request.headers()) {
        let why = format!("accept the request: {foreign}");
        return if wants_page {
            ui::page(
                StatusCode::FORBIDDEN,
                "Not from here",
                &format!("<p>Flotilla did not {why}.</p>"),
            )
        } else {
            refusal(
                StatusCode::FORBIDDEN,
                WireError::new(ErrorCode::Unauthorized, why),
            )
        };
    }
    if hook {
        // Its secret is asked for by the hook itself.
        return next.run(request).await;
    }
    if path == "/"
        && request.method() == Method::GET
        && let Some(key) = request.uri().query().and_then(one_time_key)
    {
        return enter(&app.door, key);
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let open =
        telling && peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
    match app.door.entry(request.headers()) {
        Some(entry) => {
            request.extensions_mut().insert(entry);
        }
        None if open => {}
        None if wants_page => {
            return ui::page(
                StatusCode::UNAUTHORIZED,
                "This panel is locked",
                "<p>An address lets one browser in, once, and within five minutes. <code>flotilla open</code> on the machine that \
                 runs the engine makes a new one.</p>",
            );
        }
        None => {
            let error = WireError::new(
                ErrorCode::Unauthorized,
                "let the caller in: the token is missing or wrong",
            );
            return refusal(StatusCode::UNAUTHORIZED, error);
        }
    }
    next.run(request).await
}

fn one_time_key(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("t="))
}

fn enter(door: &Door, key: &str) -> Response<Body> {
    match door.exchange(key) {
        Ok(Some(session)) => {
            let mut response = Redirect::to("/").into_response();
            if let Ok(cookie) = HeaderValue::from_str(&door.cookie(&session)) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response.headers_mut().insert(
                header::REFERRER_POLICY,
                HeaderValue::from_static("no-referrer"),
            );
            response
        }
        Ok(None) => ui::page(
            StatusCode::UNAUTHORIZED,
            "This address was used, or is too old",
            "<p>An address lets one browser in, once, and within five minutes. <code>flotilla open</code> on the machine that runs \
             the engine makes a new one. A browser that is already in goes on at <a href=\"/\">the panel</a>.</p>",
        ),
        Err(error) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            WireError::new(
                ErrorCode::Internal,
                format!("draw a random session: {error}"),
            ),
        ),
    }
}

/// Who calls, read from the request.
struct Who(Caller);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(who(
            &parts.headers,
            parts.extensions.get::<Entry>().copied(),
        )))
    }
}

fn who(headers: &HeaderMap, entry: Option<Entry>) -> Caller {
    let named = |name: &str, extra: &[char]| {
        let text = headers.get(name)?.to_str().ok()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || extra.contains(&c);
        ((1..=64).contains(&text.len()) && text.chars().all(plain)).then(|| text.to_owned())
    };
    let actor = match entry {
        // A browser does not choose its name.
        Some(Entry::Session) => "panel".to_owned(),
        _ => named(ACTOR, &[':', '.', '_', '-', '@', '\\']).unwrap_or_else(|| "api".to_owned()),
    };
    Caller {
        actor,
        correlation: named(CORRELATION, &['.', '_', '-']).unwrap_or_else(door::correlation),
    }
}

/// The answer of one command.
struct Answer {
    result: Result<Value, WireError>,
    correlation: String,
}

impl Answer {
    fn map(self, change: impl FnOnce(Value) -> Result<Value, WireError>) -> Self {
        Self {
            result: self.result.and_then(change),
            ..self
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response<Body> {
        let mut response = match self.result {
            Ok(value) => no_store(Json(value).into_response()),
            Err(error) => refusal(status_of(error.code), error),
        };
        if let Ok(value) = HeaderValue::from_str(&self.correlation) {
            response.headers_mut().insert(CORRELATION, value);
        }
        response
    }
}

pub(crate) fn refusal(status: StatusCode, error: WireError) -> Response<Body> {
    no_store((status, Json(error)).into_response())
}

pub(crate) fn no_store(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

pub(crate) fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Exists
        | ErrorCode::Disabled
        | ErrorCode::Superseded
        | ErrorCode::NotReached
        | ErrorCode::Conflict
        | ErrorCode::Unconfirmed => StatusCode::CONFLICT,
        ErrorCode::Unsupported | ErrorCode::InvalidConfig | ErrorCode::Secret => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorCode::Unreachable | ErrorCode::Upstream => StatusCode::BAD_GATEWAY,
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Store => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Runs the command in a task of its own: a caller that goes away does not end it half-way.
async fn run<F: Fleet>(app: &App<F>, caller: Caller, command: &str, params: Value) -> Answer {
    let span =
        info_span!("call", command, correlation = %caller.correlation, actor = %caller.actor);
    let (fleet, command, correlation) = (
        app.fleet.clone(),
        command.to_owned(),
        caller.correlation.clone(),
    );
    let task =
        tokio::spawn(async move { fleet.call(&caller, &command, params).await }.instrument(span));
    let result = task.await.unwrap_or_else(|e| {
        Err(WireError::new(
            ErrorCode::Internal,
            format!("finish the command: {e}"),
        ))
    });
    Answer {
        result,
        correlation,
    }
}

async fn healthz<F: Fleet>(State(app): State<App<F>>) -> Response<Body> {
    no_store(Json(app.fleet.healthz()).into_response())
}

/// The page for Prometheus, in the format that the reader likes best.
async fn metrics<F: Fleet>(State(app): State<App<F>>, headers: HeaderMap) -> Response<Body> {
    let accept: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::negotiate(&accept.join(","));
    let page = app.fleet.metrics(format, app.tally.view()).await;
    let mut response = no_store(page.into_response());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// The engine as an agent, for clients of other makes, in their own envelope.
async fn agent<F: Fleet>(
    State(app): State<App<F>>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response<Body> {
    if asked.get("action").is_some_and(|action| action == "status") {
        return no_store(Json(app.fleet.agent_status()).into_response());
    }
    let message = match asked.get("action") {
        Some(other) => format!("action is {other:?}; accepted is \"status\""),
        None => "action is missing; accepted is \"status\"".to_owned(),
    };
    let error = json!({ "ok": false, "error": { "code": "ERR_BAD_REQUEST", "message": message } });
    no_store((StatusCode::BAD_REQUEST, Json(error)).into_response())
}

async fn socket<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    upgrade: WebSocketUpgrade,
) -> Response<Body> {
    let Ok(place) = Arc::clone(&app.sockets).try_acquire_owned() else {
        let why = format!("open more than {} control connections", ws::MAX_CONNECTIONS);
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            WireError::new(ErrorCode::BadRequest, why),
        );
    };
    upgrade
        .max_message_size(ws::MAX_MESSAGE)
        .max_frame_size(ws::MAX_MESSAGE)
        .on_upgrade(move |socket| async move {
            ws::attend(socket, app.fleet, caller.actor, app.shutdown).await;
            drop(place);
        })
}

/// A new one-time key, for `flotilla open`. A browser's session makes none: it could not outlive itself otherwise.
async fn new_key<F: Fleet>(
    State(app): State<App<F>>,
    parts: axum::Extension<Entry>,
) -> Response<Body> {
    if parts.0 != Entry::Token {
        let error = WireError::new(
            ErrorCode::Unauthorized,
            "make a key: that needs the token of engine.json",
        );
        return refusal(StatusCode::UNAUTHORIZED, error);
    }
    match app.door.new_key() {
        Ok(key) => no_store(Json(json!({ "key": key })).into_response()),
        Err(error) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            WireError::new(ErrorCode::Internal, format!("draw a random key: {error}")),
        ),
    }
}

async fn call<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Path(command): Path<String>,
    body: Bytes,
) -> Answer {
    match read_body(&body) {
        Ok(params) => run(&app, caller, &command, params).await,
        Err(error) => Answer {
            result: Err(error),
            correlation: caller.correlation,
        },
    }
}

/// No body reads as no parameters.
fn read_body(body: &[u8]) -> Result<Value, WireError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body)
        .map_err(|e| WireError::new(ErrorCode::BadRequest, format!("read the body as JSON: {e}")))
}

async fn servers<F: Fleet>(State(app): State<App<F>>, Who(caller): Who) -> Answer {
    run(&app, caller, "fleet.snapshot", json!({})).await.map(|mut snapshot| {
        let mut part = |name| take(&mut snapshot, name);
        Ok(json!({ "servers": part("/servers"), "counts": part("/counts"), "now": part("/now") }))
    })
}

async fn server<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Path(id): Path<String>,
) -> Answer {
    run(&app, caller, "server.get", json!({ "server": id })).await
}

async fn instances<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Path(id): Path<String>,
) -> Answer {
    run(&app, caller, "server.get", json!({ "server": id }))
        .await
        .map(|mut server| Ok(take(&mut server, "/instances")))
}

async fn tools<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Path(id): Path<String>,
) -> Answer {
    run(&app, caller, "tools.list", json!({ "server": id })).await
}

/// `start`, `stop`, `restart` (body: nothing or `{"instance": N}`) and `scale` (`{"replicas": N}`) of one server.
/// 2xx means that the end asked for was observed.
async fn verb<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Path((id, verb)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let read = || {
        let Value::Object(mut params) = read_body(&body)? else {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "read the body: an object is wanted",
            ));
        };
        match verb.as_str() {
            "start" | "stop" | "restart" => params.insert("servers".into(), json!([id])),
            "scale" => params.insert("server".into(), json!(id)),
            _ => {
                return Err(WireError::new(
                    ErrorCode::NotFound,
                    format!("find the verb {verb:?}: start, stop, restart, scale"),
                ));
            }
        };
        Ok(Value::Object(params))
    };
    match read() {
        Ok(params) => run(&app, caller, &format!("server.{verb}"), params)
            .await
            .map(single_outcome),
        Err(error) => Answer {
            result: Err(error),
            correlation: caller.correlation,
        },
    }
}

fn single_outcome(mut outcomes: Value) -> Result<Value, WireError> {
    let outcome = take(&mut outcomes, "/outcomes/0");
    if outcome["ok"].as_bool().unwrap_or(false) {
        return Ok(outcome);
    }
    let sentence = outcome["sentence"]
        .as_str()
        .unwrap_or("reach the end asked for")
        .to_owned();
    let error = serde_json::from_value(outcome["error"].clone())
        .unwrap_or(WireError::new(ErrorCode::NotReached, sentence));
    Err(WireError {
        detail: Some(outcome),
        ..error
    })
}

fn take(value: &mut Value, pointer: &str) -> Value {
    value
        .pointer_mut(pointer)
        .map(Value::take)
        .unwrap_or_default()
}

/// Filters of the list routes; lists are separated by commas.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventFilter {
    server: Option<String>,
    kinds: Option<String>,
    before: Option<u64>,
    limit: Option<u32>,
}

impl EventFilter {
    fn params(self) -> Value {
        json!({ "server": self.server, "kinds": list(self.kinds), "before": self.before, "limit": self.limit })
    }
}

fn list(text: Option<String>) -> Vec<String> {
    let words = text
        .iter()
        .flat_map(|t| t.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

async fn events<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Filter(filter): Filter<EventFilter>,
) -> Answer {
    run(&app, caller, "events.read", filter.params()).await
}

async fn actions<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Filter(filter): Filter<EventFilter>,
) -> Answer {
    run(&app, caller, "actions.read", filter.params()).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogFilter {
    servers: Option<String>,
    instance: Option<u32>,
    tail: Option<u32>,
    contains: Option<String>,
}

async fn logs<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Filter(filter): Filter<LogFilter>,
) -> Answer {
    let LogFilter {
        servers,
        instance,
        tail,
        contains,
    } = filter;
    let params = json!({ "servers": list(servers), "instance": instance, "tail": tail, "contains": contains });
    run(&app, caller, "logs.read", params).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentQuery {
    enabled: Option<bool>,
    category: Option<String>,
    tags: Option<String>,
    search: Option<String>,
}

async fn agents<F: Fleet>(
    State(app): State<App<F>>,
    Who(caller): Who,
    Filter(filter): Filter<AgentQuery>,
) -> Answer {
    let AgentQuery {
        enabled,
        category,
        tags,
        search,
    } = filter;
    let params =
        json!({ "enabled": enabled, "category": category, "tags": list(tags), "search": search });
    run(&app, caller, "agents.list", params).await
}

/// A query string whose faults are answered like every other fault.
struct Filter<T>(T);

impl<S: Send + Sync, T: for<'de> Deserialize<'de>> FromRequestParts<S> for Filter<T> {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        let query = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|e| Answer {
                result: Err(WireError::new(
                    ErrorCode::BadRequest,
                    format!("read the query: {}", e.body_text()),
                )),
                correlation: door::correlation(),
            })?;
        Ok(Self(query.0))
    }
}

async fn nowhere(Who(caller): Who) -> Answer {
    let error = WireError::new(ErrorCode::NotFound, "find such an address below /api");
    Answer {
        result: Err(error),
        correlation: caller.correlation,
    }
}

async fn wrong_method() -> Response<Body> {
    refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        WireError::new(ErrorCode::BadRequest, "use this method here"),
    )
}

async fn files<F: Fleet>(
    State(app): State<App<F>>,
    method: Method,
    headers: HeaderMap,
    uri: axum::http::Uri,
) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return wrong_method().await;
    }
    let host = headers
        .get(header::HOST)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    app.ui.answer(uri.path(), host).await
}
