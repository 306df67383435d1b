//! JSON-RPC messages in and out, with everything inside them left as it came.

use crate::{
    Error,
    json::{Object, push_string},
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest id of a server's own request, in bytes.
const LONGEST_ID: usize = 256;

/// What a server says by itself.
#[derive(Clone, Debug)]
pub struct Notification {
    /// For instance `notifications/tools/list_changed`.
    pub method: String,
    /// Its parameters, as they came.
    pub params: Option<Box<RawValue>>,
    /// Whether the request under way got it too, through [`RequestOptions::on_notification`](crate::RequestOptions).
    pub taken: bool,
}

impl Notification {
    /// Whether it is about the server rather than about a request.
    pub(crate) fn of_whole_server(&self) -> bool {
        self.method.ends_with("/list_changed") || self.method == "notifications/resources/updated"
    }
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
    Request {
        id: Box<RawValue>,
        method: String,
        params: Option<Box<RawValue>>,
    },
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
                params: envelope.params.map(ToOwned::to_owned),
            },
            None => Incoming::Notification(Notification {
                method,
                params: envelope.params.map(ToOwned::to_owned),
                taken: false,
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
            raw: Some(error.to_owned()),
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

/// The text of the id of the question that a server withdraws, if the notification says so.
pub(crate) fn withdrawn(notification: &Notification) -> Option<&str> {
    if notification.method != "notifications/cancelled" {
        return None;
    }
    Object::read(notification.params.as_ref()?.get())?.get("requestId")
}

/// The subscription of ours that a notification says it belongs to.
pub(crate) fn subscription(notification: &Notification) -> Option<u64> {
    let params = Object::read(notification.params.as_ref()?.get())?;
    let meta = Object::read(params.get("_meta")?)?;
    number(meta.get("io.modelcontextprotocol/subscriptionId")?)
}

/// What this hop changes in the parameters of a request.
#[derive(Default)]
pub(crate) struct Dress<'a> {
    /// Whether what the hop before this one said in `_meta` goes.
    pub(crate) relayed: bool,
    /// What is set in `_meta`: keys, and the texts of values.
    pub(crate) meta: Vec<(&'static str, Cow<'a, str>)>,
    /// A field that is set, and the text of its value.
    pub(crate) field: Option<(&'a str, &'a str)>,
}

impl Dress<'_> {
    /// Writes `,"params":…`, or nothing when there are none.
    fn write(&self, out: &mut String, params: Option<&RawValue>) -> Result<(), Error> {
        let bare = self.meta.is_empty() && self.field.is_none();
        if bare && (params.is_none() || !self.relayed) {
            if let Some(params) = params {
                out.push_str(r#","params":"#);
                out.push_str(params.get());
            }
            return Ok(());
        }
        let malformed =
            || Error::Protocol("parameters and their _meta must be JSON objects".to_owned());
        let object = Object::read(params.map_or("{}", RawValue::get)).ok_or_else(malformed)?;
        let former = Object::read(object.get("_meta").unwrap_or("{}")).ok_or_else(malformed)?;
        let kept = |key: &str| !(self.relayed && of_one_hop(key));
        let cut = former.keys().any(|key| !kept(&key));
        // An object that held nothing but the other hop's words goes with them.
        let emptied = cut && self.meta.is_empty() && !former.keys().any(|key| kept(&key));
        let mut meta = String::new();
        let mut set: Vec<(&str, &str)> = self.field.into_iter().collect();
        if (cut || !self.meta.is_empty()) && !emptied {
            former.write(&mut meta, kept, &self.meta);
            set.push(("_meta", &meta));
        }
        out.push_str(r#","params":"#);
        object.write(out, |key| !(emptied && key == "_meta"), &set);
        Ok(())
    }
}

/// Whether a key of `_meta` is said between neighbours only. A task's id is said from end to end.
fn of_one_hop(key: &str) -> bool {
    key == "progressToken"
        || key
            .strip_prefix("io.modelcontextprotocol/")
            .is_some_and(|name| name != "related-task")
}

/// A request, on one line.
pub(crate) fn request(
    id: u64,
    method: &str,
    params: Option<&RawValue>,
    dress: &Dress<'_>,
) -> Result<Vec<u8>, Error> {
    let added = dress
        .meta
        .iter()
        .map(|(key, value)| key.len() + value.len());
    let room = params.map_or(0, |params| params.get().len()) + added.sum::<usize>();
    let mut text = String::with_capacity(192 + method.len() + room);
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    text.push_str(&id.to_string());
    text.push_str(r#","method":"#);
    push_string(&mut text, method);
    dress.write(&mut text, params)?;
    text.push('}');
    Ok(one_line(text))
}

/// A message without an answer (or, with the text of an id, a request as it is), on one line.
pub(crate) fn message(id: Option<&str>, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let room = params.map_or(0, |params| params.get().len());
    let mut text = String::with_capacity(64 + method.len() + room);
    text.push_str(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        text.push_str(r#","id":"#);
        text.push_str(id);
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

/// An answer: the texts of an id and of a result or an error.
pub(crate) fn answer(id: &str, outcome: Result<&str, &str>) -> Vec<u8> {
    let (kind, body) = match outcome {
        Ok(result) => (r#","result":"#, result),
        Err(error) => (r#","error":"#, error),
    };
    let mut text = String::with_capacity(40 + id.len() + body.len());
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    text.push_str(id);
    text.push_str(kind);
    text.push_str(body);
    text.push('}');
    one_line(text)
}

/// An error's text.
pub(crate) fn error(code: i64, message: &str, data: Option<&RawValue>) -> String {
    let mut text = format!(r#"{{"code":{code},"message":"#);
    push_string(&mut text, message);
    if let Some(data) = data {
        text.push_str(r#","data":"#);
        text.push_str(data.get());
    }
    text.push('}');
    text
}

/// The answer to a request of the server: `{}` to `ping`, a refusal to all else.
pub(crate) fn reply(id: &RawValue, method: &str) -> Vec<u8> {
    if method == "ping" {
        return answer(id.get(), Ok("{}"));
    }
    let refusal = error(-32601, "this client offers no such method", None);
    answer(id.get(), Err(&refusal))
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
    blank_line_ends(&mut bytes);
    bytes
}

pub(crate) fn blank_line_ends(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &bytes[from..]) {
        bytes[from + at] = b' ';
        from += at + 1;
    }
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

    /// The parameters of a request, dressed so.
    fn dressed(params: Option<&str>, dress: &Dress<'_>) -> Option<String> {
        let params = params.map(raw);
        let line = request(1, "m", params.as_deref(), dress).unwrap();
        let text = String::from_utf8(line).unwrap();
        let rest = text
            .strip_prefix(r#"{"jsonrpc":"2.0","id":1,"method":"m""#)
            .unwrap();
        let params = rest
            .strip_suffix('}')
            .unwrap()
            .strip_prefix(r#","params":"#);
        params.map(ToOwned::to_owned)
    }

    #[test]
    fn meta_is_set_without_touching_the_rest() {
        let check = |params: Option<&str>, expected: &str| {
            let dress = Dress {
                meta: vec![("t", "9".into())],
                ..Dress::default()
            };
            assert_eq!(dressed(params, &dress).as_deref(), Some(expected));
        };
        check(None, r#"{"_meta":{"t":9}}"#);
        check(
            Some(r#"{"b":1.50,"a":{"y":1,"x":2}}"#),
            r#"{"b":1.50,"a":{"y":1,"x":2},"_meta":{"t":9}}"#,
        );
        check(
            Some(r#"{"_meta": {"t":1, "trace\"parent":"q"},"a":1e2}"#),
            r#"{"_meta": {"t":9, "trace\"parent":"q"},"a":1e2}"#,
        );
        let dress = Dress {
            meta: vec![("t", "9".into())],
            ..Dress::default()
        };
        assert!(request(1, "m", Some(&raw("[1]")), &dress).is_err());
        assert_eq!(
            dressed(Some("[ 1 ]"), &Dress::default()).as_deref(),
            Some("[ 1 ]")
        );
    }

    #[test]
    fn what_one_hop_said_goes_no_further() {
        let check = |params: Option<&str>, set: bool, expected: Option<&str>| {
            let dress = Dress {
                relayed: true,
                meta: if set {
                    vec![("progressToken", "9".into())]
                } else {
                    Vec::new()
                },
                field: None,
            };
            assert_eq!(dressed(params, &dress).as_deref(), expected, "{params:?}");
        };
        let client = r#"{"name":"t", "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00-1","progressToken":"p","io.modelcontextprotocol/related-task":{"taskId":"1"}} }"#;
        check(
            Some(client),
            false,
            Some(
                r#"{"name":"t", "_meta":{"traceparent":"00-1","io.modelcontextprotocol/related-task":{"taskId":"1"}} }"#,
            ),
        );
        let only = r#"{ "a":1, "_meta":{"progressToken":1} }"#;
        check(Some(only), false, Some(r#"{ "a":1 }"#));
        check(
            Some(only),
            true,
            Some(r#"{ "a":1, "_meta":{"progressToken":9} }"#),
        );
        check(Some(r#"{"_meta":{}}"#), false, Some(r#"{"_meta":{}}"#));
        check(Some(r#"{ "a" : 1.0 }"#), false, Some(r#"{ "a" : 1.0 }"#));
        check(None, false, None);
        check(None, true, Some(r#"{"_meta":{"progressToken":9}}"#));
    }

    #[test]
    fn a_field_takes_another_value_where_it_stands() {
        let dress = Dress {
            field: Some(("name", r#""add""#)),
            ..Dress::default()
        };
        assert_eq!(
            dressed(
                Some(r#"{"name":"calc__add", "arguments":{"name":1.0}}"#),
                &dress
            )
            .as_deref(),
            Some(r#"{"name":"add", "arguments":{"name":1.0}}"#)
        );
    }

    #[test]
    fn a_message_is_one_line_whatever_it_carries() {
        let params = raw("{\n  \"text\": \"a\\nb\"\r\n}");
        let line = request(1, "tools/call", Some(&params), &Dress::default()).unwrap();
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        let back: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(back["params"]["text"], "a\nb");
    }
}
