//! JSON-RPC messages in and out, with everything inside them left as it came.

use crate::Error;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Longest id of a server's own request, in bytes.
const LONGEST_ID: usize = 256;

/// What a server says by itself.
#[derive(Clone, Debug)]
pub struct Notification {
    /// For instance `notifications/tools/list_changed`.
    pub method: String,
    /// Its parameters, as they came.
    pub params: Option<Box<RawValue>>,
}

/// A sign of life from a long request.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The parameters as they came, with the token of this hop.
    pub params: Box<RawValue>,
}

impl Progress {
    /// How far (`progress`), out of how much (`total`), and the server's words (`message`).
    #[must_use]
    pub fn read(&self) -> Option<(f64, Option<f64>, Option<String>)> {
        #[derive(Deserialize)]
        struct View {
            progress: f64,
            total: Option<f64>,
            message: Option<String>,
        }
        let view: View = serde_json::from_str(self.params.get()).ok()?;
        Some((view.progress, view.total, view.message))
    }
}

pub(crate) type Outcome = Result<Box<RawValue>, Error>;

/// One message from a server.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// An answer; without an id when it is not one of ours (or the server could not tell).
    Answer { id: Option<u64>, outcome: Outcome },
    /// The server asks something of us.
    Request { id: Box<RawValue>, method: String },
    /// The server says something.
    Notification(Notification),
}

/// The bytes are no JSON-RPC message.
#[derive(Debug, PartialEq)]
pub(crate) struct NotRpc;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default)]
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

/// Reads one message, or a batch of them (allowed in 2025-03-26 alone, but harmless to understand).
pub(crate) fn read(bytes: &[u8], mut each: impl FnMut(Incoming)) -> Result<(), NotRpc> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'{') => {
            each(read_one(
                serde_json::from_slice(bytes).map_err(|_| NotRpc)?,
            )?);
            Ok(())
        }
        Some(b'[') => {
            let batch: Vec<Envelope<'_>> = serde_json::from_slice(bytes).map_err(|_| NotRpc)?;
            for envelope in batch {
                each(read_one(envelope)?);
            }
            Ok(())
        }
        _ => Err(NotRpc),
    }
}

fn read_one(envelope: Envelope<'_>) -> Result<Incoming, NotRpc> {
    if envelope.jsonrpc != "2.0" {
        return Err(NotRpc);
    }
    if let Some(method) = envelope.method {
        let method = method.into_owned();
        return Ok(match envelope.id {
            // The id goes back with the answer; nobody needs one longer than this.
            Some(id) if id.get().len() > LONGEST_ID => return Err(NotRpc),
            Some(id) => Incoming::Request {
                id: id.to_owned(),
                method,
            },
            None => Incoming::Notification(Notification {
                method,
                params: envelope.params.map(ToOwned::to_owned),
            }),
        });
    }
    let id = envelope.id.and_then(|id| number(id.get()));
    let outcome = match (envelope.result, envelope.error) {
        (_, Some(error)) => Err(rpc_error(error)),
        (Some(result), None) => Ok(result.to_owned()),
        (None, None) => return Err(NotRpc),
    };
    Ok(Incoming::Answer { id, outcome })
}

/// Our ids are numbers; some servers give them back as text.
fn number(text: &str) -> Option<u64> {
    text.trim_matches('"').parse().ok()
}

fn rpc_error(error: &RawValue) -> Error {
    #[derive(Deserialize)]
    struct View {
        code: i64,
        #[serde(default)]
        message: String,
        #[serde(default)]
        data: Option<Box<RawValue>>,
    }
    match serde_json::from_str::<View>(error.get()) {
        Ok(View {
            code,
            message,
            data,
        }) => Error::Rpc {
            code,
            message,
            data,
        },
        Err(_) => Error::Protocol(format!(
            "the server answered with a malformed error: {}",
            excerpt(error.get(), 200)
        )),
    }
}

/// The token of a progress notification, when it is one of ours.
pub(crate) fn progress_token(notification: &Notification) -> Option<u64> {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow, rename = "progressToken")]
        token: &'a RawValue,
    }
    if notification.method != "notifications/progress" {
        return None;
    }
    let view: View<'_> = serde_json::from_str(notification.params.as_ref()?.get()).ok()?;
    number(view.token.get())
}

/// A request (with an id) or a notification (without), on one line.
pub(crate) fn message(id: Option<u64>, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let mut text =
        String::with_capacity(64 + method.len() + params.map_or(0, |params| params.get().len()));
    text.push_str(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        text.push_str(&format!(r#","id":{id}"#));
    }
    text.push_str(r#","method":"#);
    push_string(&mut text, method);
    if let Some(params) = params {
        text.push_str(r#","params":"#);
        text.push_str(params.get());
    }
    text.push('}');
    one_line(text)
}

/// The answer to a request of the server: `{}` to `ping`, a refusal to all else.
pub(crate) fn reply(id: &RawValue, method: &str) -> Vec<u8> {
    let id = id.get();
    one_line(if method == "ping" {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
    } else {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"this client offers no such method"}}}}"#
        )
    })
}

pub(crate) fn cancelled(id: u64) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    )
    .into_bytes()
}

/// A line break inside relayed JSON can only be white space between tokens, but would end the message on a pipe.
fn one_line(text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for byte in &mut bytes {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    bytes
}

/// An object one level deep: keys in their order, values untouched.
struct Shallow<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Shallow<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Fields).map(Self)
    }
}

/// `params` with these fields set in its `_meta`; all else keeps its place and its text.
pub(crate) fn with_meta(
    params: Option<&RawValue>,
    set: &[(&str, &str)],
) -> Result<Box<RawValue>, Error> {
    let malformed =
        |_| Error::Protocol("parameters and their _meta must be JSON objects".to_owned());
    let Shallow(fields) =
        serde_json::from_str(params.map_or("{}", RawValue::get)).map_err(malformed)?;
    let meta = fields
        .iter()
        .find(|(key, _)| key == "_meta")
        .map_or("{}", |(_, meta)| meta.get());
    let Shallow(meta) = serde_json::from_str(meta).map_err(malformed)?;

    let kept = meta
        .iter()
        .filter(|(key, _)| set.iter().all(|(name, _)| name != key));
    let meta = object(
        kept.map(|(key, value)| (key.as_str(), value.get()))
            .chain(set.iter().copied()),
    );
    let mut out: Vec<(&str, &str)> = fields
        .iter()
        .map(|(key, value)| (key.as_str(), value.get()))
        .collect();
    match out.iter_mut().find(|(key, _)| *key == "_meta") {
        Some((_, value)) => *value = &meta,
        None => out.push(("_meta", &meta)),
    }
    RawValue::from_string(object(out.into_iter()))
        .map_err(|error| Error::Protocol(error.to_string()))
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (index, (key, value)) in fields.enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(&mut out, key);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The start of a text, for a message.
pub(crate) fn excerpt(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(most)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn one(text: &str) -> Result<Incoming, NotRpc> {
        let mut got = Vec::new();
        read(text.as_bytes(), |incoming| got.push(incoming))?;
        assert_eq!(got.len(), 1);
        Ok(got.remove(0))
    }

    #[test]
    fn an_answer_keeps_the_text_of_what_it_carries() {
        let text = r#"{"z":1.0,"a":12345678901234567890123,"new":{"b": [] ,"a":null}}"#;
        let Ok(Incoming::Answer {
            id: Some(7),
            outcome: Ok(result),
        }) = one(&format!(r#"{{"result":{text},"jsonrpc":"2.0","id":"7"}}"#))
        else {
            panic!("not an answer to 7")
        };
        assert_eq!(result.get(), text);
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        for text in [
            "Server listening",
            "17",
            r#"{"level":"info","method":"GET"}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}} trailing"#,
        ] {
            assert!(one(text).is_err(), "{text}");
        }
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","id":1,"result":null}"#),
            Ok(Incoming::Answer {
                id: Some(1),
                outcome: Ok(_)
            })
        ));
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}"#),
            Ok(Incoming::Answer {
                id: None,
                outcome: Err(Error::Rpc { code: -32000, .. })
            })
        ));
    }

    #[test]
    fn a_servers_request_with_an_endless_id_is_no_message() {
        let ask = |length: usize| {
            one(&format!(
                r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#,
                "x".repeat(length)
            ))
        };
        assert!(matches!(ask(36), Ok(Incoming::Request { .. })));
        assert!(ask(1_000).is_err());
    }

    #[test]
    fn meta_is_set_without_touching_the_rest() {
        let check = |params: Option<&str>, expected: &str| {
            let params = params.map(raw);
            assert_eq!(
                with_meta(params.as_deref(), &[("t", "9")]).unwrap().get(),
                expected
            );
        };
        check(None, r#"{"_meta":{"t":9}}"#);
        check(
            Some(r#"{"b":1.50,"a":{"y":1,"x":2}}"#),
            r#"{"b":1.50,"a":{"y":1,"x":2},"_meta":{"t":9}}"#,
        );
        check(
            Some(r#"{"_meta":{"t":1,"trace\"parent":"q"},"a":1e2}"#),
            r#"{"_meta":{"trace\"parent":"q","t":9},"a":1e2}"#,
        );
        assert!(with_meta(Some(&raw("[1]")), &[]).is_err());
    }

    #[test]
    fn a_message_is_one_line_whatever_it_carries() {
        let params = raw("{\n  \"text\": \"a\\nb\"\r\n}");
        let line = message(Some(1), "tools/call", Some(&params));
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        let back: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(back["params"]["text"], "a\nb");
    }
}
