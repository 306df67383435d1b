//! What the bridge looks at in a message, and the few messages that it makes itself.

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::borrow::Cow;

pub(super) const PARSE_ERROR: i64 = -32_700;
pub(super) const INVALID_REQUEST: i64 = -32_600;
/// The gateway was not reached, or did not answer as it should.
pub(super) const UNREACHABLE: i64 = -32_000;

/// A message of the client.
pub(super) struct Message {
    /// As it came.
    pub(super) line: Vec<u8>,
    pub(super) kind: Kind,
    /// The protocol version that a modern message names; a legacy one names none.
    pub(super) version: Option<String>,
    /// `Mcp-Name`: what a modern request is about.
    pub(super) name: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Request { id: Value, method: String },
    Notification { method: String },
    Response,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default, borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(default, borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(default)]
    name: Option<Value>,
    #[serde(default)]
    uri: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Meta<'a> {
    #[serde(default, borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

impl Message {
    /// Reads a line. What cannot be read comes back as the answer to give.
    pub(super) fn read(line: Vec<u8>) -> Result<Self, Vec<u8>> {
        let refuse = |code: i64, why: &str| error(&Value::Null, code, why);
        if line.trim_ascii_start().starts_with(b"[") {
            return Err(refuse(
                INVALID_REQUEST,
                "a list of messages is not taken; send one message a line",
            ));
        }
        let envelope: Envelope<'_> = match serde_json::from_slice(&line) {
            Ok(envelope) => envelope,
            Err(found) if found.is_data() => {
                let why = format!("not a JSON-RPC message: {found}");
                return Err(refuse(INVALID_REQUEST, &why));
            }
            Err(found) => return Err(refuse(PARSE_ERROR, &format!("not JSON: {found}"))),
        };
        let params: Params<'_> = envelope
            .params
            .filter(|raw| raw.get().starts_with('{'))
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        let kind = match (envelope.id, envelope.method) {
            (Some(id), Some(method)) => Kind::Request {
                id,
                method: method.into_owned(),
            },
            (None, Some(method)) => Kind::Notification {
                method: method.into_owned(),
            },
            (_, None) => Kind::Response,
        };
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let name = match &kind {
            Kind::Request { method, .. } => match method.as_str() {
                "tools/call" | "prompts/get" => text(params.name),
                "resources/read" => text(params.uri),
                _ => None,
            },
            _ => None,
        };
        let version = params
            .meta
            .and_then(|meta| meta.version)
            .map(Cow::into_owned);
        Ok(Self {
            kind,
            version,
            name,
            line,
        })
    }

    /// Its parameters, as they came.
    pub(super) fn params(&self) -> Option<Box<RawValue>> {
        let envelope: Envelope<'_> = serde_json::from_slice(&self.line).ok()?;
        envelope.params.map(ToOwned::to_owned)
    }

    /// The request that a `notifications/cancelled` is about.
    pub(super) fn cancels(&self) -> Option<String> {
        let params: Value = serde_json::from_str(self.params()?.get()).ok()?;
        params.get("requestId").map(key)
    }

    pub(super) fn method(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { method, .. } | Kind::Notification { method } => Some(method),
            Kind::Response => None,
        }
    }
}

/// An id as the key of a table: 1 and "1" differ.
pub(super) fn key(id: &Value) -> String {
    id.to_string()
}

/// An answer that says what is wrong.
pub(super) fn error(id: &Value, code: i64, message: &str) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
        .to_string()
        .into_bytes()
}

/// A request of the bridge itself.
pub(super) fn request(id: &Value, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let params = params.map_or("{}", RawValue::get);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).into_bytes()
}

pub(super) fn notification(method: &str) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "method": method })
        .to_string()
        .into_bytes()
}

/// One message of the gateway.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
}

impl Answer {
    /// Reads a message; `None` when it is none, and must not reach the client.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        bytes
            .trim_ascii_start()
            .starts_with(b"{")
            .then(|| serde_json::from_slice(bytes).ok())
            .flatten()
    }

    pub(super) fn is_to(&self, id: &Value) -> bool {
        self.method.is_none() && self.id.as_ref() == Some(id)
    }
}

/// A body that refuses a request, as the answer to that very request; `None` when it is something else.
pub(super) fn refusal(body: &[u8], id: &Value) -> Option<Vec<u8>> {
    let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else {
        return None;
    };
    body.get("error")?.get("code")?.as_i64()?;
    body.insert("id".to_owned(), id.clone());
    Some(Value::Object(body).to_string().into_bytes())
}

/// On one line: a line break in JSON stands between tokens only.
pub(super) fn on_one_line(mut message: Vec<u8>) -> Vec<u8> {
    for byte in &mut message {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    message
}

/// A header's value: plain if it is visible ASCII (and does not look encoded), else in the specification's base64 form.
pub(super) fn header(text: &str) -> HeaderValue {
    let plain = !text.is_empty()
        && !text.starts_with("=?base64?")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && text.trim() == text;
    let value = if plain {
        HeaderValue::from_str(text)
    } else {
        HeaderValue::from_str(&format!("=?base64?{}?=", BASE64_STANDARD.encode(text)))
    };
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_is() {
        let check = |line: &str, kind: Kind, version: Option<&str>, name: Option<&str>| {
            let message = Message::read(line.into()).ok().unwrap();
            assert_eq!(message.kind, kind, "{line}");
            assert_eq!(
                (message.version.as_deref(), message.name.as_deref()),
                (version, name),
                "{line}"
            );
        };
        let request = |id: Value, method: &str| Kind::Request {
            id,
            method: method.into(),
        };
        check(
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            request("a".into(), "tools/call"),
            Some("2026-07-28"),
            Some("x"),
        );
        check(
            r#"{"id":1,"method":"resources/read","params":{"uri":"é:x"}}"#,
            request(1.into(), "resources/read"),
            None,
            Some("é:x"),
        );
        check(
            r#"{"method":"notifications/initialized"}"#,
            Kind::Notification {
                method: "notifications/initialized".into(),
            },
            None,
            None,
        );
        check(r#"{"id":1,"result":{}}"#, Kind::Response, None, None);
        check(
            r#"{"id":1,"method":"x","params":[1]}"#,
            request(1.into(), "x"),
            None,
            None,
        );
    }

    #[test]
    fn what_is_no_message_is_answered() {
        for (line, code) in [
            ("nonsense", PARSE_ERROR),
            ("[]", INVALID_REQUEST),
            ("3", INVALID_REQUEST),
            (r#"{"method":3}"#, INVALID_REQUEST),
        ] {
            let answer = Message::read(line.into()).err().unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["error"]["code"], code, "{line}");
            assert_eq!(answer["id"], Value::Null);
        }
    }

    #[test]
    fn headers_outside_plain_ascii() {
        for (text, value) in [
            ("get page", "get page"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" a", "=?base64?IGE=?="),
        ] {
            assert_eq!(header(text), value);
        }
    }
}
