//! A server over HTTP: MCP at `/mcp`, and beside it what operators and their tools ask for.
//!
//! Every request passes three checks first: `Host` and `Origin` must be of this machine while it listens on loopback (a page of
//! some website must not reach it through the browser), a token is needed when it listens elsewhere, and a correlation id is
//! taken from the request or made.

use crate::{
    calls::{CallError, Calls},
    handler::{CorrelationId, Handler, call_bare},
    metrics,
    rpc::{self, Fault},
    service::Host,
    tool::{Context, Refusal},
};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Extension, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use serde_json::{Map, Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

/// In and out.
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");

/// Names a session of the transport layer's own endpoints, in and out.
const SESSION: HeaderName = HeaderName::from_static("x-mcp-session-id");

/// Of a request; what the SDK takes too.
const BODY_LIMIT: usize = 4 << 20;

/// What all requests of one listener share.
pub(crate) struct Listener {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Asked for when it listens elsewhere than on loopback.
    pub(crate) token: Option<String>,
    /// Ends streams that would stay open.
    pub(crate) ended: CancellationToken,
}

/// Everything that a server answers.
pub(crate) fn router(calls: &Arc<Calls>, host: &Host, listener: Listener) -> Router {
    let ended = listener.ended.clone();
    let handler = {
        let (calls, host) = (Arc::clone(calls), host.clone());
        move || Ok(Handler::new(Arc::clone(&calls), host.clone()))
    };
    let mcp =
        StreamableHttpService::new(handler, Arc::<LocalSessionManager>::default(), sdk(ended));
    let mcp = Router::new()
        .route_service("/mcp", mcp)
        .layer(middleware::from_fn_with_state(Arc::clone(calls), bare_form));
    let address = listener.address;
    let mut routes = Router::new()
        .route("/health", get(move |calls| health(calls, address)))
        .route("/info", get(move |calls| info(calls, address)))
        .route("/metrics", get(page))
        .route("/circuit-breakers", get(breakers))
        .route("/circuit-breakers/reset", post(reset));
    if calls.service.name == "transport_layer" {
        routes = routes
            .route("/mcp/rpc", post(rpc_one))
            .route("/mcp/batch", post(rpc_batch))
            .route("/mcp/info", get(move |calls| info(calls, address)))
            .route("/mcp/ws", get(crate::ws::upgrade));
    }
    guard(mcp.merge(routes.with_state(Arc::clone(calls))), listener)
}

/// Puts the checks before whatever stands behind.
pub(crate) fn guard(router: Router, listener: Listener) -> Router {
    router
        .fallback(|| async { not_found("there is nothing here") })
        .layer(middleware::from_fn_with_state(Arc::new(listener), check))
}

/// Host and Origin are checked before the SDK sees a request, for all paths alike.
pub(crate) fn sdk(ended: CancellationToken) -> StreamableHttpServerConfig {
    StreamableHttpServerConfig::default()
        .with_cancellation_token(ended)
        .disable_allowed_hosts()
}

async fn check(
    State(listener): State<Arc<Listener>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let given = headers.get(&CORRELATION).and_then(|id| id.to_str().ok());
    let id = correlation_id(given);
    let mut response = match listener.refuses(headers, request.uri()) {
        Some((status, why)) => {
            tracing::warn!(correlation_id = id, why, "request refused");
            (status, Json(json!({"error": why, "status": "error"}))).into_response()
        }
        None => {
            request.extensions_mut().insert(CorrelationId(id.clone()));
            next.run(request).await
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(CORRELATION, id);
    }
    response
}

/// The id that came, if it can stand in a header and a log line; else a new one.
pub(crate) fn correlation_id(given: Option<&str>) -> String {
    let good =
        |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(good).map_or_else(
        || uuid::Uuid::new_v4().to_string(),
        std::borrow::ToOwned::to_owned,
    )
}

impl Listener {
    fn refuses(&self, headers: &HeaderMap, uri: &Uri) -> Option<(StatusCode, &'static str)> {
        if let Some(origin) = headers.get(header::ORIGIN)
            && !origin.to_str().is_ok_and(is_local_origin)
        {
            return Some((
                StatusCode::FORBIDDEN,
                "requests of websites are not answered",
            ));
        }
        if let Some(token) = &self.token {
            let given = headers
                .get(header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.strip_prefix("Bearer "));
            let good = given.is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into());
            return (!good).then_some((StatusCode::UNAUTHORIZED, "a bearer token is needed"));
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
        let local = host.is_some_and(|host| {
            host.parse::<axum::http::uri::Authority>()
                .is_ok_and(|host| is_local(host.host()))
        });
        (!local).then_some((StatusCode::FORBIDDEN, "this name is not this machine"))
    }
}

fn is_local_origin(origin: &str) -> bool {
    origin.parse::<Uri>().is_ok_and(|origin| {
        matches!(origin.scheme_str(), Some("http" | "https")) && origin.host().is_some_and(is_local)
    })
}

fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `{method, params}` without JSON-RPC around it.
async fn bare_form(
    State(calls): State<Arc<Calls>>,
    Extension(CorrelationId(id)): Extension<CorrelationId>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 4 MiB",
            None,
            &id,
        );
    };
    match bare_request(&body) {
        Some(message) => bare(&calls, &message, id).await,
        None => next.run(Request::from_parts(parts, Body::from(body))).await,
    }
}

/// The body, if it is the bare form. Nothing else is parsed here: most bodies have the word in them.
fn bare_request(body: &Bytes) -> Option<Map<String, Value>> {
    let word = b"\"jsonrpc\"";
    if body.windows(word.len()).any(|window| window == word) {
        return None;
    }
    serde_json::from_slice(body)
        .ok()
        .filter(|message: &Map<String, Value>| message.contains_key("method"))
}

async fn bare(calls: &Calls, message: &Map<String, Value>, from_header: String) -> Response {
    let given = message.get("_correlation_id").and_then(Value::as_str);
    let id = given.map_or(from_header, |given| correlation_id(Some(given)));
    let method = message
        .get("method")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let params = message.get("params");
    let none = Map::new();
    let result = if method == "tools/call" {
        let params = params.and_then(Value::as_object).unwrap_or(&none);
        call_bare(calls, params, id.clone())
            .await
            .map_err(|error| fault(&error))
    } else {
        calls.drilling.answers().await;
        let context = Context {
            correlation_id: Some(id.clone()),
            ..Context::default()
        };
        rpc::dispatch(&calls.service, &context, method, params)
    };
    match result {
        Ok(result) => Json(json!({
            "result": result,
            "status": "success",
            "_correlation_id": id,
        }))
        .into_response(),
        Err(fault) => {
            let status = match fault.code {
                rpc::METHOD_NOT_FOUND | rpc::NO_TOOL | rpc::NO_RESOURCE | rpc::NO_PROMPT => {
                    StatusCode::NOT_FOUND
                }
                rpc::INTERNAL_ERROR => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::BAD_REQUEST,
            };
            failure(status, &fault.message, Some(fault.code), &id)
        }
    }
}

fn fault(error: &CallError) -> Fault {
    let code = match error {
        CallError::Unknown(_) => rpc::NO_TOOL,
        CallError::Refused(Refusal::Argument { .. }) => rpc::INVALID_PARAMS,
        CallError::Refused(_) => rpc::INVALID_REQUEST,
        CallError::Open(_) | CallError::Drill | CallError::Broken => rpc::INTERNAL_ERROR,
    };
    Fault::new(code, error.to_string())
}

fn failure(status: StatusCode, error: &str, code: Option<i32>, id: &str) -> Response {
    let body = json!({"error": error, "code": code, "status": "error", "_correlation_id": id});
    (status, Json(body)).into_response()
}

fn not_found(error: &str) -> Response {
    let body = json!({"error": error, "status": "error"});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

async fn health(State(calls): State<Arc<Calls>>, address: SocketAddr) -> Json<Value> {
    calls.drilling.answers().await;
    Json(json!({
        "status": if calls.drilling.tools_lost() { "unhealthy" } else { "healthy" },
        "service": format!("mcp_{}_server", calls.service.name),
        "port": address.port(),
        "tools": calls.tools().len(),
    }))
}

async fn info(State(calls): State<Arc<Calls>>, address: SocketAddr) -> Json<Value> {
    let service = &calls.service;
    let tools = calls
        .tools()
        .iter()
        .map(|tool| json!({"name": tool.name, "description": tool.description, "type": "tool"}));
    Json(json!({
        "service": format!("mcp_{}_server", service.name),
        "agent": service.name,
        "description": service.description,
        "version": env!("CARGO_PKG_VERSION"),
        "port": address.port(),
        "tools": tools.collect::<Vec<_>>(),
    }))
}

async fn page(State(calls): State<Arc<Calls>>) -> Response {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        calls.page(),
    )
        .into_response()
}

async fn breakers(State(calls): State<Arc<Calls>>) -> Response {
    Json(calls.breakers()).into_response()
}

/// Closes all breakers, or the one that `{"name": …}` names.
async fn reset(State(calls): State<Arc<Calls>>, body: Bytes) -> Response {
    let body = if body.is_empty() {
        Value::Null
    } else {
        match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(error) => {
                let why = json!({"error": format!("the body: {error}"), "status": "error"});
                return (StatusCode::BAD_REQUEST, Json(why)).into_response();
            }
        }
    };
    let name = body.get("name").and_then(Value::as_str);
    if calls.reset(name) {
        Json(calls.breakers()).into_response()
    } else {
        not_found("name: there is no breaker of this name; GET /circuit-breakers lists them")
    }
}

/// One JSON-RPC message, as the transport layer's own endpoint takes it.
async fn rpc_one(
    State(calls): State<Arc<Calls>>,
    Extension(CorrelationId(id)): Extension<CorrelationId>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(&calls, id, &headers, &body, Value::is_object).await
}

/// A list of them.
async fn rpc_batch(
    State(calls): State<Arc<Calls>>,
    Extension(CorrelationId(id)): Extension<CorrelationId>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(&calls, id, &headers, &body, Value::is_array).await
}

async fn answer(
    calls: &Calls,
    id: String,
    headers: &HeaderMap,
    body: &[u8],
    shape: fn(&Value) -> bool,
) -> Response {
    let message = match serde_json::from_slice(body) {
        Ok(message) if shape(&message) => message,
        Ok(_) => {
            let why = "one message goes to /mcp/rpc, a list of them to /mcp/batch";
            return bad(rpc::INVALID_REQUEST, why);
        }
        Err(error) => return bad(rpc::PARSE_ERROR, &error.to_string()),
    };
    let session = headers.get(&SESSION).and_then(|id| id.to_str().ok());
    match exchange(calls, id, session, message).await {
        Ok((reply, session)) => {
            let mut response = match reply {
                Value::Null => StatusCode::ACCEPTED.into_response(),
                reply => Json(reply).into_response(),
            };
            if let Ok(session) = HeaderValue::from_str(&session) {
                response.headers_mut().insert(SESSION, session);
            }
            response
        }
        Err(error) => bad(fault(&error).code, &error.to_string()),
    }
}

fn bad(code: i32, why: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(broken(code, why))).into_response()
}

/// Brings a message to the transport layer the way its own tool does, so that sessions, counters and drills are the same. Gives
/// the reply (null when there is none) and the session.
pub(crate) async fn exchange(
    calls: &Calls,
    id: String,
    session: Option<&str>,
    message: Value,
) -> Result<(Value, String), CallError> {
    let mut arguments = json!({"message": message});
    if let (Some(session), Some(arguments)) = (session, arguments.as_object_mut()) {
        arguments.insert("session_id".to_owned(), session.into());
    }
    let context = Context {
        correlation_id: Some(id),
        ..Context::default()
    };
    let mut sent = calls.call("send_request", arguments, context).await?;
    let session = sent["session_id"].as_str().unwrap_or_default().to_owned();
    Ok((sent["response"].take(), session))
}

/// A JSON-RPC error for what is no request.
pub(crate) fn broken(code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let listener = |token: Option<&str>| Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 8109)),
            token: token.map(str::to_owned),
            ended: CancellationToken::new(),
        };
        let check = |token, headers: &[(HeaderName, &str)], expected: Option<u16>| {
            let headers: HeaderMap = headers
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.parse().ok()?)))
                .collect();
            let refused = listener(token).refuses(&headers, &Uri::from_static("/mcp"));
            assert_eq!(
                refused.map(|(status, _)| status.as_u16()),
                expected,
                "{headers:?}"
            );
        };
        let (host, origin, auth) = (header::HOST, header::ORIGIN, header::AUTHORIZATION);
        check(None, &[(host.clone(), "127.0.0.1:8109")], None);
        check(None, &[(host.clone(), "localhost")], None);
        check(None, &[(host.clone(), "[::1]:8109")], None);
        check(None, &[(host.clone(), "evil.example")], Some(403));
        check(None, &[(host.clone(), "127.0.0.1.evil.example")], Some(403));
        check(None, &[], Some(403));
        let local = (host.clone(), "localhost:8109");
        check(
            None,
            &[local.clone(), (origin.clone(), "http://localhost:5173")],
            None,
        );
        check(
            None,
            &[local.clone(), (origin.clone(), "http://evil.example")],
            Some(403),
        );
        check(None, &[local, (origin.clone(), "null")], Some(403));
        // Elsewhere a token stands in for the name.
        let far = (host, "fleet.example");
        check(Some("s3cret"), std::slice::from_ref(&far), Some(401));
        check(
            Some("s3cret"),
            &[far.clone(), (auth.clone(), "Bearer s3cre")],
            Some(401),
        );
        check(
            Some("s3cret"),
            &[far.clone(), (auth.clone(), "Bearer s3cret")],
            None,
        );
        let evil = (origin, "http://evil.example");
        check(
            Some("s3cret"),
            &[far, evil, (auth, "Bearer s3cret")],
            Some(403),
        );
    }

    #[test]
    fn the_bare_form_is_told_from_json_rpc() {
        let bare =
            |body: &'static str| bare_request(&Bytes::from_static(body.as_bytes())).is_some();
        assert!(bare(r#"{"method":"tools/list"}"#));
        assert!(!bare(r#"{"jsonrpc":"2.0","method":"tools/list"}"#));
        assert!(!bare(r#"{"id":1}"#));
        assert!(!bare(r#"[{"method":"x"}]"#));
        assert!(!bare("nonsense"));
    }

    #[test]
    fn a_correlation_id_that_could_break_a_line_is_replaced() {
        assert_eq!(correlation_id(Some("abc-1")), "abc-1");
        for bad in ["", "a b", "a\nb", &"x".repeat(129)] {
            assert_ne!(correlation_id(Some(bad)), bad);
        }
    }
}
