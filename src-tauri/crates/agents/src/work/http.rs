//! A request over HTTP.

use super::{
    Lookup, Place, WorkError, innermost, read,
    secrets::Secrets,
    text,
    web::{NotPublic, Web},
    workspace::Workspace,
};
use flotilla_contract::host::HostPattern;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    io::Write as _,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Bytes of a body that becomes an output: by default, and at most.
const BODY: (usize, usize) = (256 << 10, 448 << 10);
/// Bytes of a body that becomes a file: by default, and at most.
const TO_FILE: (usize, usize) = (16 << 20, 64 << 20);
/// Redirects that are followed: by default, and at most.
const REDIRECTS: (u32, u32) = (5, 20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    body: Option<String>,
    json: Option<Value>,
    #[serde(default)]
    expect: Vec<u16>,
    redirects: Option<u32>,
    max_bytes: Option<usize>,
    to: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

/// Sends a request: `url`, `method` (default `GET`), `headers` and `body` or `json`, in which secrets may be named; `expect`, the statuses that
/// are a success (default 200 to 299); `redirects` that are followed (default 5); `max_bytes` of the answer (default 256 KiB, with `to` 16 MiB);
/// `to`, a file of the workspace that gets the body; `hosts`, which narrows where it may go, redirects included. Gives `{success, status, url,
/// headers, body, duration_ms}`, and `json` when the answer is JSON; with `to` it gives `path` and `bytes` instead of the body. Cookies are not
/// among the headers.
///
/// A redirect to another origin gets neither the headers of the step nor its body, and none leads from `https` to `http`.
///
/// # Errors
/// `refused` for an input that means nothing and for a host that is not allowed; `unavailable` when there is no connection, or the answer is
/// 429 or 503; `failed` for any other status, an answer that is too large, or one that breaks off.
pub async fn http(
    input: &Value,
    place: &Place,
    web: &Web,
    lookup: Lookup<'_>,
    stop: &CancellationToken,
) -> Result<Value, WorkError> {
    let input: Input = read(input)?;
    let mut secrets = Secrets::default();
    let request = Request::new(&input, lookup, &mut secrets)?;
    let began = Instant::now();
    let work = async {
        let (url, answer) = request.send(web).await?;
        let most = request.most;
        let status = answer.status();
        let headers = shown(answer.headers(), &secrets);
        let is_json = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(says_json);
        let expected = request.expects(status);
        let bytes = body(answer, most).await;
        if !expected {
            // What it says of itself, as far as it says anything.
            let words = secrets.mask_all(&bytes.unwrap_or_default());
            return Err(unexpected(status, &input.expect, &words));
        }
        Ok(Answer {
            url: secrets.mask_all(url.as_str().as_bytes()),
            status,
            headers,
            is_json,
            bytes: bytes?,
        })
    };
    let answer = tokio::select! {
        answer = work => answer?,
        () = stop.cancelled() => return Err(WorkError::failed("it was told to end")),
    };
    answer
        .output(input.to.as_deref(), place, &secrets, began.elapsed())
        .await
}

/// A request, checked whole.
struct Request {
    url: Url,
    method: Method,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    expect: Vec<u16>,
    redirects: u32,
    most: usize,
    hosts: Vec<HostPattern>,
}

impl Request {
    fn new(input: &Input, lookup: Lookup<'_>, secrets: &mut Secrets) -> Result<Self, WorkError> {
        let refused = |field: &str, found: &dyn std::fmt::Debug, accepted: &str| {
            WorkError::refused(format!("with.{field} is {found:?}; accepted is {accepted}"))
        };
        let url = Url::parse(&input.url);
        let url = url.map_err(|_| {
            refused(
                "url",
                &input.url,
                "the address of a page, as https://example.com/path",
            )
        })?;
        let word = input.method.as_deref().unwrap_or("GET");
        let method = match word {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => {
                Method::from_bytes(word.as_bytes()).ok()
            }
            _ => None,
        };
        let method = method.ok_or_else(|| {
            refused(
                "method",
                &word,
                "GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS",
            )
        })?;
        let mut headers = HeaderMap::new();
        for (name, value) in &input.headers {
            let field = format!("headers.{name}");
            let filled = secrets.fill(&text(&format!("with.{field}"), value)?, lookup)?;
            let key = HeaderName::from_bytes(name.as_bytes());
            let key =
                key.map_err(|_| refused(&field, &"no name of a header", "letters, digits and -"))?;
            let mut value = HeaderValue::from_str(&filled)
                .map_err(|_| refused(&field, &"no value of a header", "a text of one line"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let body = match (&input.body, &input.json) {
            (Some(_), Some(_)) => {
                return Err(WorkError::refused("with: accepted is either body or json"));
            }
            (Some(body), None) => Some(secrets.fill(body, lookup)?),
            (None, Some(value)) => {
                let json = HeaderValue::from_static("application/json");
                headers.entry(CONTENT_TYPE).or_insert(json);
                Some(filled(value, lookup, secrets)?.to_string())
            }
            (None, None) => None,
        };
        let limit = if input.to.is_some() { TO_FILE } else { BODY };
        let most = input.max_bytes.unwrap_or(limit.0);
        if most == 0 || most > limit.1 {
            return Err(refused("max_bytes", &most, &format!("1 to {}", limit.1)));
        }
        let redirects = input.redirects.unwrap_or(REDIRECTS.0);
        if redirects > REDIRECTS.1 {
            return Err(refused(
                "redirects",
                &redirects,
                &format!("0 to {}", REDIRECTS.1),
            ));
        }
        let hosts = input.hosts.iter().map(|host| host.parse());
        let hosts = hosts.collect::<Result<_, String>>();
        Ok(Self {
            url,
            method,
            headers,
            body: body.map(String::into_bytes),
            expect: input.expect.clone(),
            redirects,
            most,
            hosts: hosts.map_err(|why| WorkError::refused(format!("with.hosts: {why}")))?,
        })
    }

    fn expects(&self, status: StatusCode) -> bool {
        if self.expect.is_empty() {
            status.is_success()
        } else {
            self.expect.contains(&status.as_u16())
        }
    }

    /// Sends it, and after it where redirects lead.
    async fn send(&self, web: &Web) -> Result<(Url, Response), WorkError> {
        let (mut url, mut method) = (self.url.clone(), self.method.clone());
        let (mut headers, mut body) = (Some(&self.headers), self.body.as_deref());
        let mut left = self.redirects;
        loop {
            let client = web.client(&url, &self.hosts)?;
            let mut request = client.request(method.clone(), url.clone());
            if let Some(headers) = headers {
                request = request.headers(headers.clone());
            }
            if let Some(body) = body {
                request = request.body(body.to_vec());
            }
            let answer = request.send().await.map_err(failed)?;
            let Some(next) = leads_to(&answer, &url) else {
                return Ok((url, answer));
            };
            if self.expects(answer.status()) {
                return Ok((url, answer));
            }
            if left == 0 {
                return Err(WorkError::failed(format!(
                    "it is redirected more than the {} times that are accepted",
                    self.redirects
                )));
            }
            left -= 1;
            let next = next?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(WorkError::refused(
                    "it is redirected from https to http, which is not followed",
                ));
            }
            let keeps = matches!(answer.status().as_u16(), 307 | 308);
            if !keeps && method != Method::HEAD {
                (method, body) = (Method::GET, None);
            }
            if next.origin() != url.origin() {
                if body.is_some() {
                    return Err(WorkError::refused(
                        "it is redirected to another origin, which does not get the body",
                    ));
                }
                headers = None;
            }
            url = next;
        }
    }
}

/// Where a redirect leads.
fn leads_to(answer: &Response, from: &Url) -> Option<Result<Url, WorkError>> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get(LOCATION)?;
    let next = location.to_str().ok().and_then(|to| from.join(to).ok());
    Some(next.ok_or_else(|| WorkError::failed("it is redirected to what is no address")))
}

fn failed(error: reqwest::Error) -> WorkError {
    let error = error.without_url();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(one) = cause {
        let inner = one
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<NotPublic>()) {
            return WorkError::refused(innermost(one));
        }
        cause = one.source();
    }
    let said = innermost(&error);
    if error.is_connect() {
        WorkError::unavailable(format!("no connection: {said}"))
    } else {
        WorkError::failed(format!("no answer: {said}"))
    }
}

async fn body(mut answer: Response, most: usize) -> Result<Vec<u8>, WorkError> {
    let mut bytes = Vec::new();
    let broken = |error: reqwest::Error| {
        WorkError::failed(format!(
            "the answer breaks off: {}",
            innermost(&error.without_url())
        ))
    };
    while let Some(part) = answer.chunk().await.map_err(broken)? {
        if bytes.len() + part.len() > most {
            return Err(WorkError::failed(format!(
                "the answer has more than {most} bytes; with.max_bytes says how many are accepted"
            )));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn unexpected(status: StatusCode, expect: &[u16], words: &str) -> WorkError {
    let expected = if expect.is_empty() {
        "200 to 299".to_owned()
    } else {
        let expected: Vec<_> = expect.iter().map(u16::to_string).collect();
        expected.join(", ")
    };
    let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(200).collect();
    let words = if words.is_empty() {
        words
    } else {
        format!(": {words}")
    };
    let error = format!(
        "the answer has the status {}; accepted is {expected}{words}",
        status.as_u16()
    );
    match status.as_u16() {
        429 | 503 => WorkError::unavailable(error),
        _ => WorkError::failed(error),
    }
}

/// Headers as an output shows them.
fn shown(headers: &HeaderMap, secrets: &Secrets) -> Map<String, Value> {
    let mut shown = Map::new();
    for name in headers.keys().filter(|name| **name != SET_COOKIE) {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| secrets.mask_all(value.as_bytes()))
            .collect();
        shown.insert(name.as_str().to_owned(), values.join(", ").into());
    }
    shown
}

fn says_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind == "application/json" || kind.ends_with("+json")
}

/// JSON with the secrets that its texts name.
fn filled(value: &Value, lookup: Lookup<'_>, secrets: &mut Secrets) -> Result<Value, WorkError> {
    Ok(match value {
        Value::String(text) => Value::String(secrets.fill(text, lookup)?),
        Value::Array(list) => {
            let list = list.iter().map(|one| filled(one, lookup, secrets));
            Value::Array(list.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let mut new = Map::with_capacity(map.len());
            for (name, one) in map {
                new.insert(name.clone(), filled(one, lookup, secrets)?);
            }
            Value::Object(new)
        }
        other => other.clone(),
    })
}

struct Answer {
    url: String,
    status: StatusCode,
    headers: Map<String, Value>,
    is_json: bool,
    bytes: Vec<u8>,
}

impl Answer {
    async fn output(
        self,
        to: Option<&str>,
        place: &Place,
        secrets: &Secrets,
        took: Duration,
    ) -> Result<Value, WorkError> {
        let mut output = json!({
            "success": true,
            "status": self.status.as_u16(),
            "url": self.url,
            "headers": self.headers,
            "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        if let Some(to) = to {
            output["path"] = to.into();
            output["bytes"] = self.bytes.len().into();
            write(place, "with.to", to, self.bytes).await?;
            return Ok(output);
        }
        let body = secrets.mask_all(&self.bytes);
        if self.is_json && !body.is_empty() {
            let value: Value = serde_json::from_str(&body)
                .map_err(|error| WorkError::failed(format!("read the answer as JSON: {error}")))?;
            output["json"] = value;
        }
        output["body"] = body.into();
        Ok(output)
    }
}

/// Gets a page of so many bytes at most, and its status.
pub(super) async fn page(
    url: &str,
    hosts: &[String],
    most: usize,
    web: &Web,
) -> Result<(u16, Vec<u8>), WorkError> {
    let input = read(&json!({ "url": url, "hosts": hosts, "max_bytes": most, "to": "page" }))?;
    let none: Lookup<'_> = &|name| {
        Err(format!(
            "no secret is filled in here, but {name:?} is named"
        ))
    };
    let request = Request::new(&input, none, &mut Secrets::default())?;
    let (_, answer) = request.send(web).await?;
    let status = answer.status();
    if !request.expects(status) {
        return Err(unexpected(status, &input.expect, ""));
    }
    Ok((status.as_u16(), body(answer, most).await?))
}

/// Writes a file of the workspace, off the async threads.
pub(super) async fn write(
    place: &Place,
    field: &'static str,
    to: &str,
    bytes: Vec<u8>,
) -> Result<(), WorkError> {
    let (place, to) = (place.clone(), to.to_owned());
    let work = move || {
        let workspace = Workspace::open(&place)?;
        let written = workspace
            .create(&to)
            .and_then(|mut file| file.write_all(&bytes));
        written.map_err(Workspace::failed(field, &to))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| WorkError::failed(error.to_string()))?
}
