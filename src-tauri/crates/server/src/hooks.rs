//! `/hooks/WORKFLOW` and `/hooks/WORKFLOW/TRIGGER`: requests that start workflows.
//!
//! The token of the engine opens nothing here, and the secret of a hook opens nothing else. A hook that does not exist and a wrong secret get
//! the same answer.

use crate::{
    Fleet,
    api::{App, no_store, refusal, status_of},
};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use flotilla_contract::{ErrorCode, WireError};
use flotilla_engine::{HookCall, HookEnd};
use serde_json::json;

/// Bytes of a body at most.
const MAX_BODY: usize = 256 << 10;
/// Headers in which senders name a delivery, so that one that is made again is known.
const IDS: [&str; 3] = ["idempotency-key", "x-github-delivery", "webhook-id"];
/// Characters of such a name at most.
const LONGEST_ID: usize = 128;

pub(crate) fn routes<F: Fleet>() -> Router<App<F>> {
    Router::new()
        .route("/hooks/{workflow}", post(only::<F>))
        .route("/hooks/{workflow}/{trigger}", post(one::<F>))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn only<F: Fleet>(
    State(app): State<App<F>>,
    Path(workflow): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response<Body> {
    called(&app.fleet, workflow, None, &headers, body).await
}

async fn one<F: Fleet>(
    State(app): State<App<F>>,
    Path((workflow, trigger)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response<Body> {
    called(&app.fleet, workflow, Some(trigger), &headers, body).await
}

async fn called<F: Fleet>(
    fleet: &F,
    workflow: String,
    trigger: Option<String>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response<Body> {
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            let why = format!(
                "read the body: {}; accepted are {MAX_BODY} bytes",
                error.body_text()
            );
            return refusal(error.status(), WireError::new(ErrorCode::BadRequest, why));
        }
    };
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let id = IDS.iter().find_map(|name| text(name));
    if id
        .as_ref()
        .is_some_and(|id| id.is_empty() || id.len() > LONGEST_ID)
    {
        let why = format!("read the id of the delivery: accepted are 1 to {LONGEST_ID} characters");
        return refusal(
            StatusCode::BAD_REQUEST,
            WireError::new(ErrorCode::BadRequest, why),
        );
    }
    let bearer = text(header::AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    let call = HookCall {
        workflow,
        trigger,
        signature: text("x-hub-signature-256"),
        bearer,
        id,
        body,
    };
    answer(fleet.hook(call).await)
}

fn answer(end: HookEnd) -> Response<Body> {
    let taken = |body| no_store((StatusCode::ACCEPTED, Json(body)).into_response());
    let refused = |status, code, why: String| refusal(status, WireError::new(code, why));
    match end {
        HookEnd::Started(run) => taken(json!({ "outcome": "started", "run": run })),
        HookEnd::Queued => taken(json!({ "outcome": "queued" })),
        HookEnd::Skipped(why) => taken(json!({ "outcome": "skipped", "why": why })),
        HookEnd::Refused(why) => refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::BadRequest,
            format!("start the workflow: {why}"),
        ),
        HookEnd::TooMany => {
            let why = "take the request: there are too many; try again in a minute";
            let mut response = refused(
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::Unsupported,
                why.into(),
            );
            let wait = HeaderValue::from_static("60");
            response.headers_mut().insert(header::RETRY_AFTER, wait);
            response
        }
        HookEnd::Unknown => refused(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthorized,
            "call the hook: there is none of this name, or its secret is not proved".into(),
        ),
        HookEnd::Disabled => refused(
            StatusCode::CONFLICT,
            ErrorCode::Disabled,
            "call the hook: it is switched off".into(),
        ),
        HookEnd::Failed(error) => refusal(status_of(error.code), error),
    }
}
