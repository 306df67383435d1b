//! The other side: reading what a client sends us, and writing what it gets. Pure text work, for a listener of any kind.
//!
//! A client is of either era, as servers are. [`Meta::era`] tells them apart request by request; [`to_modern`] and
//! [`to_legacy`] translate results where the two hops of a relayed request differ. Whatever is not named here keeps its
//! bytes: order of keys, text of numbers, white space.
//!
//! Where a key occurs more than once in an object the last one counts, and a field that is set is set at each of them, so
//! that nobody further on can read another value than we did.

use crate::{
    LEGACY_VERSIONS, MODERN_VERSION, http,
    json::{self, Object},
    wire,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use flotilla_contract::tool::Era;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// All revisions that clients may speak, best first.
pub const VERSIONS: [&str; 6] = [
    MODERN_VERSION,
    LEGACY_VERSIONS[0],
    LEGACY_VERSIONS[1],
    LEGACY_VERSIONS[2],
    LEGACY_VERSIONS[3],
    LEGACY_VERSIONS[4],
];

/// The text is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The JSON is no request.
pub const INVALID_REQUEST: i64 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters are not what the method takes; modern servers say so of a resource that they do not have, too.
pub const INVALID_PARAMS: i64 = -32602;
/// Something went wrong on our side.
pub const INTERNAL_ERROR: i64 = -32603;
/// Legacy: there is no such resource.
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// Modern: a header says something else than the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// Modern: the client did not declare a capability that the request needs.
pub const MISSING_CAPABILITY: i64 = -32021;
/// Modern: the client speaks a revision that we do not.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// Longest id of a request, in bytes of its text.
const LONGEST_ID: usize = 256;

/// One message from a client. Borrows from the bytes it was read from.
#[derive(Debug)]
pub enum Received<'a> {
    /// It asks, and waits for an answer under this id (a string or a number, as written).
    Request {
        /// Goes back with the answer, byte for byte.
        id: &'a RawValue,
        /// For instance `tools/call`.
        method: Cow<'a, str>,
        /// As they came. Never `null`.
        params: Option<&'a RawValue>,
    },
    /// It says something.
    Notification {
        /// For instance `notifications/cancelled`.
        method: Cow<'a, str>,
        /// As they came. Never `null`.
        params: Option<&'a RawValue>,
    },
    /// It answers something we asked.
    Response {
        /// Ours.
        id: &'a RawValue,
        /// The result, or the error object.
        outcome: Result<&'a RawValue, &'a RawValue>,
    },
}

/// Why the bytes are no message. The text completes "failed to read the message: …".
#[derive(Clone, Debug, thiserror::Error)]
pub enum Bad {
    /// They are no JSON.
    #[error("this is no JSON")]
    Json,
    /// They are several messages; batches were dropped from the protocol with revision 2025-06-18.
    #[error("several messages at once are not taken")]
    Batch,
    /// They are JSON, but neither a request nor a notification nor a response.
    #[error("{why}")]
    Rpc {
        /// What is wrong.
        why: &'static str,
        /// The id, if it is one that can be answered.
        id: Option<Box<RawValue>>,
    },
}

impl Bad {
    /// The JSON-RPC code.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Json => PARSE_ERROR,
            Self::Batch | Self::Rpc { .. } => INVALID_REQUEST,
        }
    }

    /// The whole answer.
    #[must_use]
    pub fn answer(&self) -> Vec<u8> {
        let id = match self {
            Self::Rpc { id, .. } => id.as_deref(),
            _ => None,
        };
        error(id, self.code(), &self.to_string(), None)
    }
}

/// Reads one message. How long it may be is the caller's business; nesting costs no stack.
///
/// # Errors
/// See [`Bad`].
pub fn parse(bytes: &[u8]) -> Result<Received<'_>, Bad> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow, default)]
        jsonrpc: Option<Cow<'a, str>>,
        #[serde(borrow, default, deserialize_with = "present")]
        id: Option<&'a RawValue>,
        #[serde(borrow, default)]
        method: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        params: Option<&'a RawValue>,
        // A result of `null` is a result.
        #[serde(borrow, default, deserialize_with = "present")]
        result: Option<&'a RawValue>,
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
    }
    fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
        <&RawValue>::deserialize(from).map(Some)
    }

    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Bad::Batch);
    }
    let rpc = |why, id: Option<&RawValue>| Bad::Rpc {
        why,
        id: id.filter(|id| is_id(id)).map(ToOwned::to_owned),
    };
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            rpc("this is no JSON-RPC message", None)
        } else {
            Bad::Json
        }
    })?;
    let Envelope {
        id, method, params, ..
    } = envelope;
    if envelope.jsonrpc.as_deref() != Some("2.0") {
        return Err(rpc("jsonrpc must be \"2.0\"", id));
    }
    if id.is_some_and(|id| !is_id(id)) {
        return Err(rpc("an id must be a string or a number, and short", None));
    }
    if params.is_some_and(|params| !params.get().starts_with('{')) {
        return Err(rpc("params must be an object", id));
    }
    match (method, id, envelope.result, envelope.error) {
        (Some(method), Some(id), None, None) => Ok(Received::Request { id, method, params }),
        (Some(method), None, None, None) => Ok(Received::Notification { method, params }),
        (None, Some(id), Some(result), None) => Ok(Received::Response {
            id,
            outcome: Ok(result),
        }),
        (None, Some(id), None, Some(error)) => Ok(Received::Response {
            id,
            outcome: Err(error),
        }),
        (_, id, ..) => Err(rpc(
            "this is neither a request nor a notification nor a response",
            id,
        )),
    }
}

fn is_id(id: &RawValue) -> bool {
    let text = id.get();
    text.len() <= LONGEST_ID
        && text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// An object's fields, found once.
#[derive(Debug)]
pub struct Fields<'a>(Option<Object<'a>>);

impl<'a> Fields<'a> {
    /// Of parameters, for instance. What is no object has none.
    #[must_use]
    pub fn of(object: Option<&'a RawValue>) -> Self {
        Self(object.and_then(|object| Object::read(object.get())))
    }

    /// Of a valid text of JSON.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        Self(Object::read(text))
    }

    /// The JSON of a field's value, as written. For what may be long: it is not read again.
    #[must_use]
    pub fn json(&self, key: &str) -> Option<&'a str> {
        self.0.as_ref()?.get(key)
    }

    /// A field's value, as written.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&'a RawValue> {
        serde_json::from_str(self.json(key)?).ok()
    }

    /// A field's text, if it is one.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        json::string(self.json(key)?)
    }

    /// What `_meta` says of the protocol.
    #[must_use]
    pub fn meta(&self) -> Meta<'a> {
        let meta = self.0.as_ref().and_then(|fields| fields.get("_meta"));
        let fields = Self(meta.and_then(Object::read));
        Meta {
            protocol_version: fields.text("io.modelcontextprotocol/protocolVersion"),
            client_info: fields.raw("io.modelcontextprotocol/clientInfo"),
            client_capabilities: fields.raw("io.modelcontextprotocol/clientCapabilities"),
            log_level: fields.text("io.modelcontextprotocol/logLevel"),
            subscription: fields.raw("io.modelcontextprotocol/subscriptionId"),
            progress_token: fields.raw("progressToken"),
            trace_parent: fields.text("traceparent"),
        }
    }
}

/// A field's text, if `object` has it and it is one. For more than one field see [`Fields`].
#[must_use]
pub fn field<'a>(object: Option<&'a RawValue>, key: &str) -> Option<Cow<'a, str>> {
    Fields::of(object).text(key)
}

/// The object with a field set to a text. What is no object comes back as it is.
#[must_use]
pub fn set_field(object: &RawValue, key: &str, text: &str) -> Box<RawValue> {
    let mut value = String::with_capacity(text.len() + 2);
    json::push_string(&mut value, text);
    set(object, key, &value)
}

/// The object with a field set to a value. What is no object comes back as it is.
#[must_use]
pub fn set_raw(object: &RawValue, key: &str, value: &RawValue) -> Box<RawValue> {
    set(object, key, value.get())
}

fn set(object: &RawValue, key: &str, value: &str) -> Box<RawValue> {
    let text = edited(object.get(), |_| true, &[(key, value)]);
    // Fails for no object whose text was JSON before.
    RawValue::from_string(text.into_owned()).unwrap_or_else(|_| object.to_owned())
}

/// Parameters or a result with fields set in its `_meta`, which is made if there is none. What is no object comes back as
/// it is.
#[must_use]
pub fn set_meta(object: &RawValue, set: &[(&str, &RawValue)]) -> Box<RawValue> {
    let texts: Vec<(&str, &str)> = set.iter().map(|(key, value)| (*key, value.get())).collect();
    let Some(fields) = Object::read(object.get()) else {
        return object.to_owned();
    };
    let former = fields.get("_meta").unwrap_or("{}");
    let meta = edited(former, |_| true, &texts);
    self::set(object, "_meta", &meta)
}

fn edited<'a>(text: &'a str, keep: impl Fn(&str) -> bool, set: &[(&str, &str)]) -> Cow<'a, str> {
    let Some(object) = Object::read(text) else {
        return Cow::Borrowed(text);
    };
    let added = set.iter().map(|(key, value)| key.len() + value.len() + 4);
    let mut out = String::with_capacity(text.len() + added.sum::<usize>());
    object.write(&mut out, keep, set);
    Cow::Owned(out)
}

/// What a request's `_meta` says of the protocol.
#[derive(Debug, Default)]
pub struct Meta<'a> {
    /// Modern requests name their revision.
    pub protocol_version: Option<Cow<'a, str>>,
    /// Who asks: an object with `name` and `version`.
    pub client_info: Option<&'a RawValue>,
    /// What it can do. Modern requests must say.
    pub client_capabilities: Option<&'a RawValue>,
    /// From which level on it wants `notifications/message`.
    pub log_level: Option<Cow<'a, str>>,
    /// In a notification: the subscription that it belongs to.
    pub subscription: Option<&'a RawValue>,
    /// Asks for progress, under this token.
    pub progress_token: Option<&'a RawValue>,
    /// The trace that it is part of, as the W3C trace context has it.
    pub trace_parent: Option<Cow<'a, str>>,
}

impl<'a> Meta<'a> {
    /// Of a request's parameters.
    #[must_use]
    pub fn of(params: Option<&'a RawValue>) -> Self {
        Fields::of(params).meta()
    }

    /// The era of the client: a modern request says which revision it is of.
    #[must_use]
    pub fn era(&self) -> Era {
        match self.protocol_version {
            Some(_) => Era::Modern,
            None => Era::Legacy,
        }
    }
}

/// An answer with a result: `id` as it came, `result` the text of any JSON value.
#[must_use]
pub fn response(id: &RawValue, result: &str) -> Vec<u8> {
    wire::answer(id.get(), Ok(result))
}

/// An answer with an error. Without an id it is one to a message whose id is not known.
#[must_use]
pub fn error(id: Option<&RawValue>, code: i64, message: &str, data: Option<&RawValue>) -> Vec<u8> {
    let error = wire::error(code, message, data);
    wire::answer(id.map_or("null", RawValue::get), Err(&error))
}

/// An answer with an error object as it came.
#[must_use]
pub fn raw_error(id: &RawValue, error: &RawValue) -> Vec<u8> {
    wire::answer(id.get(), Err(error.get()))
}

/// Something said.
#[must_use]
pub fn notification(method: &str, params: Option<&RawValue>) -> Vec<u8> {
    wire::message(None, method, params)
}

/// Something asked of the client, under the text of an id (a number, or a string with its quotes).
#[must_use]
pub fn request(id: &str, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    wire::message(Some(id), method, params)
}

/// A message as a server-sent event, with an id if the client may come back for what follows it.
#[must_use]
pub fn sse_event(message: &[u8], id: Option<&str>) -> Vec<u8> {
    let mut event = Vec::with_capacity(message.len() + id.map_or(0, str::len) + 32);
    if let Some(id) = id {
        event.extend_from_slice(b"id: ");
        event.extend(id.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r' | 0)));
        event.push(b'\n');
    }
    event.extend_from_slice(b"event: message\ndata: ");
    let start = event.len();
    event.extend_from_slice(message);
    wire::blank_line_ends(&mut event[start..]);
    event.extend_from_slice(b"\n\n");
    event
}

/// Results that a modern client may keep for a while, and that must say for how long.
fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
            | "server/discover"
    )
}

const COMPLETE: (&str, &str) = ("resultType", r#""complete""#);

/// A legacy server's result of `method` for a modern client: a missing `resultType` is `complete`, and lists and resources
/// that do not say how long they keep (`ttlMs`, `cacheScope`) do not.
#[must_use]
pub fn to_modern<'a>(method: &str, result: &'a RawValue) -> Cow<'a, str> {
    let text = result.get();
    let Some(object) = Object::read(text) else {
        return Cow::Borrowed(text);
    };
    let complete = object
        .get("resultType")
        .is_none_or(|kind| json::string(kind).is_some_and(|kind| kind == "complete"));
    let mut wanted = vec![COMPLETE];
    if complete && is_cacheable(method) {
        wanted.extend([("ttlMs", "0"), ("cacheScope", r#""private""#)]);
    }
    wanted.retain(|(key, _)| object.get(key).is_none());
    if wanted.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    object.write(&mut out, |_| true, &wanted);
    Cow::Owned(out)
}

/// A modern server's result of `method` for a legacy client: without `resultType` and, for lists and resources, without
/// `ttlMs` and `cacheScope`. An `input_required` result has no legacy form; see [`needs_input`].
#[must_use]
pub fn to_legacy<'a>(method: &str, result: &'a RawValue) -> Cow<'a, str> {
    let text = result.get();
    let cacheable = is_cacheable(method);
    let goes =
        |key: &str| key == "resultType" || (cacheable && matches!(key, "ttlMs" | "cacheScope"));
    match Object::read(text) {
        Some(object) if object.keys().any(|key| goes(&key)) => {
            let mut out = String::with_capacity(text.len());
            object.write(&mut out, |key| !goes(key), &[] as &[(&str, &str)]);
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(text),
    }
}

/// Whether a modern server asks for input before it answers (`resultType` is `input_required`).
#[must_use]
pub fn needs_input(result: &str) -> bool {
    Fields::read(result)
        .text("resultType")
        .is_some_and(|kind| kind == "input_required")
}

/// The code of a server's error for a client of the era `to`: a resource that is not there has one of its own in the legacy
/// era only.
#[must_use]
pub fn error_code(method: &str, code: i64, to: Era) -> i64 {
    match (method, code, to) {
        ("resources/read", RESOURCE_NOT_FOUND, Era::Modern) => INVALID_PARAMS,
        ("resources/read", INVALID_PARAMS, Era::Legacy) => RESOURCE_NOT_FOUND,
        _ => code,
    }
}

/// The HTTP status that an error of this code goes to a modern client with. A legacy one gets 200.
#[must_use]
pub fn http_status(code: i64) -> u16 {
    match code {
        METHOD_NOT_FOUND => 404,
        PARSE_ERROR | INVALID_REQUEST | HEADER_MISMATCH | MISSING_CAPABILITY
        | UNSUPPORTED_VERSION => 400,
        _ => 200,
    }
}

/// The legacy revision to answer `initialize` with: the client's own if we speak it, else our best.
#[must_use]
pub fn legacy_version(wanted: &str) -> &'static str {
    LEGACY_VERSIONS
        .into_iter()
        .find(|ours| *ours == wanted)
        .unwrap_or(LEGACY_VERSIONS[0])
}

/// The `data` of [`UNSUPPORTED_VERSION`]: what we speak, and what was asked for.
#[must_use]
pub fn unsupported_version(requested: &str) -> Box<RawValue> {
    let data = serde_json::json!({"supported": VERSIONS, "requested": requested});
    serde_json::value::to_raw_value(&data).unwrap_or_default()
}

/// What a modern request's headers must agree with: `Mcp-Method` and, where the method asks for it, `Mcp-Name` with the
/// body, `MCP-Protocol-Version` with its `_meta`. The message goes with [`HEADER_MISMATCH`].
///
/// `header` gives the values of a header, by its name in lower case. One that occurs twice is as bad as a wrong one: the next
/// reader may pick the other.
///
/// # Errors
/// A sentence that names the header.
pub fn check_headers<'h, V: IntoIterator<Item = &'h [u8]>>(
    method: &str,
    params: &Fields<'_>,
    header: impl Fn(&str) -> V,
) -> Result<(), String> {
    let only = |name: &str, shown: &str| -> Result<&'h str, String> {
        let mut values = header(name).into_iter();
        let value = values
            .next()
            .ok_or_else(|| format!("the header {shown} is missing"))?;
        if values.next().is_some() {
            return Err(format!("the header {shown} occurs more than once"));
        }
        std::str::from_utf8(value)
            .ok()
            .filter(|text| text.is_ascii())
            .ok_or_else(|| format!("the header {shown} has characters that headers cannot have"))
    };
    let equal = |shown: &str, said: &str, body: &str| {
        if said == body {
            Ok(())
        } else {
            let (said, body) = (wire::excerpt(said, 100), wire::excerpt(body, 100));
            Err(format!(
                "the header {shown} says {said:?}, the body {body:?}"
            ))
        }
    };
    let version = params.meta().protocol_version.unwrap_or_default();
    let shown = "MCP-Protocol-Version";
    equal(shown, only("mcp-protocol-version", shown)?, &version)?;
    equal("Mcp-Method", only("mcp-method", "Mcp-Method")?, method)?;
    // A body without the field is refused for that, later on.
    if let Some(body) = http::named_by(method).and_then(|key| params.text(key)) {
        let said = only("mcp-name", "Mcp-Name")?;
        let said = header_text(said).ok_or("the header Mcp-Name is no valid base64")?;
        equal("Mcp-Name", &said, &body)?;
    }
    Ok(())
}

/// What a header means: itself, or the text in its base64 form (`=?base64?…?=`). `None` when that is malformed.
#[must_use]
pub fn header_text(value: &str) -> Option<Cow<'_, str>> {
    let inner = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match inner {
        None => Some(Cow::Borrowed(value)),
        Some(inner) => {
            let bytes = BASE64_STANDARD.decode(inner).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::any_object;
    use proptest::prelude::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    /// What a message is, in a few words.
    fn kind(message: &str) -> String {
        let or_none = |params: Option<&RawValue>| params.map_or("-", RawValue::get).to_owned();
        match parse(message.as_bytes()) {
            Ok(Received::Request { id, method, params }) => {
                format!("request {} {method} {}", id.get(), or_none(params))
            }
            Ok(Received::Notification { method, params }) => {
                format!("notification {method} {}", or_none(params))
            }
            Ok(Received::Response { id, outcome }) => match outcome {
                Ok(result) => format!("result {} {}", id.get(), result.get()),
                Err(error) => format!("error {} {}", id.get(), error.get()),
            },
            Err(bad) => {
                let answer: serde_json::Value = serde_json::from_slice(&bad.answer()).unwrap();
                format!("bad {} {}", bad.code(), answer["id"])
            }
        }
    }

    #[test]
    fn a_message_is_a_request_a_notification_or_a_response() {
        let check =
            |message: &str, expected: &str| assert_eq!(kind(message), expected, "{message}");
        check(
            r#" {"params":{"a": 1.50},"id":"x\u0041","method":"tools/call","jsonrpc":"2.0"} "#,
            r#"request "x\u0041" tools/call {"a": 1.50}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":"pi\u006eg","params":null}"#,
            "request 7 ping -",
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            "notification notifications/initialized -",
        );
        check(r#"{"jsonrpc":"2.0","id":1,"result":null}"#, "result 1 null");
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#,
            r#"error 1 {"code":1}"#,
        );
        check("[]", "bad -32600 null");
        check("nonsense", "bad -32700 null");
        check(r#"{"jsonrpc":"2.0","id":1,"method":"#, "bad -32700 null");
        check(r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "bad -32600 null");
        check(r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, "bad -32600 1");
        check(r#"{"jsonrpc":"2.0","id":1}"#, "bad -32600 1");
        check(
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            "bad -32600 null",
        );
        check(
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            "bad -32600 null",
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[]}"#,
            "bad -32600 1",
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            "bad -32600 null",
        );
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":"{}","method":"m"}}"#,
            "x".repeat(300)
        );
        check(&long, "bad -32600 null");
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{}1{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(kind(&deep).starts_with("request 1 m"));
    }

    #[test]
    fn what_meta_says_is_read_as_it_came() {
        let params = raw(
            r#"{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/clientCapabilities":{ },"io.modelcontextprotocol/logLevel":"info","progressToken":1.0}}"#,
        );
        let meta = Meta::of(Some(&params));
        assert_eq!(meta.era(), Era::Modern);
        assert_eq!(meta.client_info.unwrap().get(), r#"{"name":"c"}"#);
        assert_eq!(meta.client_capabilities.unwrap().get(), "{ }");
        assert_eq!(meta.log_level.as_deref(), Some("info"));
        assert_eq!(meta.progress_token.unwrap().get(), "1.0");
        assert_eq!(Meta::of(None).era(), Era::Legacy);
        assert_eq!(field(Some(&params), "name").as_deref(), Some("t"));
        assert_eq!(field(Some(&params), "_meta"), None, "no text");
    }

    #[test]
    fn a_field_is_set_and_all_else_keeps_its_bytes() {
        let params = raw("{ \"uri\": \"a\",\n \"n\": 1.00 }");
        assert_eq!(
            set_field(&params, "uri", "b\"").get(),
            "{ \"uri\": \"b\\\"\",\n \"n\": 1.00 }"
        );
        assert_eq!(
            set_raw(&params, "progressToken", &raw("7")).get(),
            "{ \"uri\": \"a\",\n \"n\": 1.00,\"progressToken\":7 }"
        );
        assert_eq!(
            set_meta(&params, &[("k", &raw("1"))]).get(),
            "{ \"uri\": \"a\",\n \"n\": 1.00,\"_meta\":{\"k\":1} }"
        );
        assert_eq!(set_field(&raw("[1]"), "a", "b").get(), "[1]");
    }

    #[test]
    fn messages_are_written_around_what_they_carry() {
        let id = raw(r#""é""#);
        assert_eq!(
            text(response(&id, "{\n\"n\":1.0}")),
            "{\"jsonrpc\":\"2.0\",\"id\":\"é\",\"result\":{ \"n\":1.0}}"
        );
        assert_eq!(
            text(error(None, -1, "a\nb", Some(&raw("[]")))),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"a\nb","data":[]}}"#
        );
        assert_eq!(
            text(request("4", "ping", None)),
            r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#
        );
        assert_eq!(
            text(notification("n", Some(&raw("{}")))),
            r#"{"jsonrpc":"2.0","method":"n","params":{}}"#
        );
        assert_eq!(
            text(sse_event(b"{\r\n}", Some("1\n2"))),
            "id: 12\nevent: message\ndata: {  }\n\n"
        );
    }

    #[test]
    fn results_cross_the_eras() {
        let check = |method: &str, legacy: &str, modern: &str| {
            assert_eq!(to_modern(method, &raw(legacy)), modern);
            assert_eq!(to_legacy(method, &raw(modern)), legacy);
        };
        check(
            "tools/call",
            r#"{"content":[],"ttlMs":5}"#,
            r#"{"content":[],"ttlMs":5,"resultType":"complete"}"#,
        );
        check(
            "tools/list",
            r#"{"tools":[]}"#,
            r#"{"tools":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#,
        );
        check("ping", "{}", r#"{"resultType":"complete"}"#);
        assert_eq!(
            to_modern(
                "tools/list",
                &raw(r#"{"ttlMs":9,"resultType":"complete","cacheScope":"public"}"#)
            ),
            r#"{"ttlMs":9,"resultType":"complete","cacheScope":"public"}"#
        );
        let asks = raw(r#"{"resultType":"input_required","inputRequests":{}}"#);
        assert_eq!(to_modern("resources/read", &asks), asks.get());
        assert!(needs_input(asks.get()) && !needs_input("{}"));
        assert_eq!(to_modern("x", &raw("[1]")), "[1]");
    }

    #[test]
    fn errors_cross_the_eras() {
        assert_eq!(error_code("resources/read", -32002, Era::Modern), -32602);
        assert_eq!(error_code("resources/read", -32602, Era::Legacy), -32002);
        assert_eq!(error_code("tools/call", -32602, Era::Legacy), -32602);
        assert_eq!(error_code("resources/read", -32002, Era::Legacy), -32002);
        let statuses: Vec<u16> = [-32601, -32020, -32021, -32022, -32602, -32000]
            .map(http_status)
            .to_vec();
        assert_eq!(statuses, [404, 400, 400, 400, 200, 200]);
        assert_eq!(legacy_version("2025-03-26"), "2025-03-26");
        assert_eq!(legacy_version("2026-07-28"), "2025-11-25");
        assert!(unsupported_version("1").get().contains("2026-07-28"));
    }

    #[test]
    fn headers_must_agree_with_the_body() {
        let params = raw(
            r#"{"name":"größe","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
        );
        let check = |headers: &[(&str, &'static str)], expected: &str| {
            let header = |name: &str| -> Vec<&'static [u8]> {
                headers
                    .iter()
                    .filter(|(key, _)| *key == name)
                    .map(|(_, value)| value.as_bytes())
                    .collect()
            };
            let verdict = check_headers("tools/call", &Fields::of(Some(&params)), header);
            assert_eq!(verdict.err().unwrap_or_default(), expected);
        };
        const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
        const METHOD: (&str, &str) = ("mcp-method", "tools/call");
        const NAME: (&str, &str) = ("mcp-name", "=?base64?Z3LDtsOfZQ==?=");
        check(&[VERSION, METHOD, NAME], "");
        check(&[VERSION, NAME], "the header Mcp-Method is missing");
        check(&[VERSION, METHOD], "the header Mcp-Name is missing");
        check(
            &[METHOD, NAME],
            "the header MCP-Protocol-Version is missing",
        );
        check(
            &[VERSION, METHOD, METHOD, NAME],
            "the header Mcp-Method occurs more than once",
        );
        check(
            &[VERSION, ("mcp-method", "tools/list"), NAME],
            r#"the header Mcp-Method says "tools/list", the body "tools/call""#,
        );
        check(
            &[VERSION, METHOD, ("mcp-name", "gr")],
            r#"the header Mcp-Name says "gr", the body "größe""#,
        );
        check(
            &[VERSION, METHOD, ("mcp-name", "größe")],
            "the header Mcp-Name has characters that headers cannot have",
        );
        check(
            &[VERSION, METHOD, ("mcp-name", "=?base64?%?=")],
            "the header Mcp-Name is no valid base64",
        );
        check(
            &[("mcp-protocol-version", "2025-11-25"), METHOD, NAME],
            r#"the header MCP-Protocol-Version says "2025-11-25", the body "2026-07-28""#,
        );
    }

    proptest! {
        #[test]
        fn there_and_back_is_where_it_was(text in any_object(), list in any::<bool>()) {
            let method = if list { "tools/list" } else { "tools/call" };
            let Ok(result) = RawValue::from_string(text.clone()) else { return Ok(()) };
            let modern = to_modern(method, &result).into_owned();
            let Ok(modern) = RawValue::from_string(modern) else { panic!("{text} became no JSON") };
            prop_assert!(field(Some(&modern), "resultType").is_some_and(|kind| kind == "complete"));
            prop_assert_eq!(to_legacy(method, &modern), result.get());
        }

        #[test]
        fn what_was_set_is_read_back(text in any_object(), new in ".{0,12}") {
            let Ok(object) = RawValue::from_string(text) else { return Ok(()) };
            let set = set_field(&object, "name", &new);
            prop_assert!(field(Some(&set), "name").is_some_and(|name| name == new));
            let other = set_field(&set, "other", &new);
            prop_assert!(field(Some(&other), "name").is_some_and(|name| name == new));
        }
    }
}
