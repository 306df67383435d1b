//! The top level of a JSON object, found and changed in its text: all else keeps its bytes.

use std::borrow::Cow;

/// The fields of an object, and where they stand in its text.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: &'a str,
    fields: Vec<Field<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Field<'a> {
    /// As written, without its quotes.
    key: &'a str,
    value: &'a str,
    /// Where the key starts, and where the value starts and ends.
    start: usize,
    value_start: usize,
    end: usize,
}

impl<'a> Object<'a> {
    /// Reads `text`, which must be valid JSON: it is skipped through, not checked again. `None` when it is something else
    /// than an object.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut fields = Vec::with_capacity(4);
        let mut at = after_space(bytes, 0);
        if *bytes.get(at)? != b'{' {
            return None;
        }
        loop {
            at = after_space(bytes, at + 1);
            if *bytes.get(at)? != b'"' {
                // The end of an empty object; a comma is followed by a key.
                return Some(Self { text, fields });
            }
            let start = at;
            let key_end = string_end(bytes, start)?;
            let colon = after_space(bytes, key_end);
            let value_start = after_space(bytes, colon + 1);
            let end = value_end(bytes, value_start)?;
            fields.push(Field {
                key: text.get(start + 1..key_end - 1)?,
                value: text.get(value_start..end)?,
                start,
                value_start,
                end,
            });
            at = after_space(bytes, end);
            if *bytes.get(at)? != b',' {
                return Some(Self { text, fields });
            }
        }
    }

    /// The text of a field's value. Of a key that occurs more than once the last counts, as it does for most readers.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .rev()
            .find(|field| field.name() == key)
            .map(|field| field.value)
    }

    /// Keys in their order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.fields.iter().map(Field::name)
    }

    /// Writes the object with only the fields to `keep`, and with `set` (keys and the texts of values) in their place, or
    /// at the end if they have none yet.
    pub(crate) fn write(
        &self,
        out: &mut String,
        keep: impl Fn(&str) -> bool,
        set: &[(&str, impl AsRef<str>)],
    ) {
        let opening = match self.fields.first() {
            Some(first) => &self.text[..first.start],
            None => &self.text[..self.text.find('{').map_or(0, |at| at + 1)],
        };
        let closing = match self.fields.last() {
            Some(last) => &self.text[last.end..],
            None => &self.text[opening.len()..],
        };
        out.push_str(opening);
        let mut any = false;
        let mut former = opening.len();
        for field in &self.fields {
            let name = field.name();
            let new = set.iter().find(|(key, _)| name == *key);
            if new.is_some() || keep(&name) {
                if any {
                    out.push_str(&self.text[former..field.start]);
                }
                any = true;
                out.push_str(&self.text[field.start..field.value_start]);
                out.push_str(new.map_or(field.value, |(_, value)| value.as_ref()));
            }
            former = field.end;
        }
        for (key, value) in set {
            if self.fields.iter().all(|field| field.name() != *key) {
                if std::mem::replace(&mut any, true) {
                    out.push(',');
                }
                push_string(out, key);
                out.push(':');
                out.push_str(value.as_ref());
            }
        }
        out.push_str(closing);
    }
}

impl<'a> Field<'a> {
    fn name(&self) -> Cow<'a, str> {
        unescaped(self.key)
    }
}

/// A value's text, if it is a string.
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    Some(unescaped(inner))
}

/// What stands between the quotes of a string.
fn unescaped(inner: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    match serde_json::from_str(&format!("\"{inner}\"")) {
        Ok(text) => Cow::Owned(text),
        // Half of a surrogate pair, say: no text, so it equals nothing but itself.
        Err(_) => Cow::Borrowed(inner),
    }
}

pub(crate) fn push_string(out: &mut String, text: &str) {
    let plain = text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

fn after_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Most strings end within this many bytes; to search further in longer strides pays only for the others.
const NEAR: usize = 24;

/// The place after the string that starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    at += 1;
    loop {
        let rest = bytes.get(at..)?;
        let mut near = rest.iter().take(NEAR);
        at += match near.position(|byte| matches!(byte, b'"' | b'\\')) {
            Some(step) => step,
            None => NEAR + memchr::memchr2(b'"', b'\\', rest.get(NEAR..)?)?,
        };
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Bytes that matter outside of strings when only the end is looked for.
static BOUNDS: [bool; 256] = {
    let mut bounds = [false; 256];
    let of = b"\"{}[]";
    let mut index = 0;
    while index < of.len() {
        bounds[of[index] as usize] = true;
        index += 1;
    }
    bounds
};

/// The place after the value that starts at `at`.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            loop {
                let rest = bytes.get(at..)?;
                at += rest.iter().position(|byte| BOUNDS[usize::from(*byte)])?;
                match bytes[at] {
                    b'"' => {
                        at = string_end(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    _ => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                }
                at += 1;
            }
        }
        _ => {
            let length = bytes[at..]
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
            Some(length.map_or(bytes.len(), |length| at + length))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text of any JSON object, spaced and escaped as nobody would.
    pub(crate) fn any_object() -> impl Strategy<Value = String> {
        let space = || prop::sample::select(vec!["", "", " ", "\n\t", "\r\n "]);
        let key = prop::sample::select(vec![
            "\"a\"",
            "\"b\\u0063\"",
            "\"\"",
            "\"}\"",
            "\"\\\"\\\\\"",
            "\"größe\"",
            "\"\\ud800\"",
            "\"_meta\"",
            "\"resultType\"",
            "\"ttlMs\"",
        ]);
        let leaf = prop::sample::select(vec![
            "null",
            "true",
            "-0",
            "1.50",
            "1e2",
            "12345678901234567890123",
            "\"\"",
            "\"]}\\\"\"",
            "\"\\\\\"",
            "\"世界\"",
        ])
        .prop_map(ToOwned::to_owned);
        let of = move |inner: BoxedStrategy<String>, open: char, close: char| {
            prop::collection::vec((space(), inner, space()), 0..4).prop_map(move |items| {
                let items: Vec<String> = items
                    .iter()
                    .map(|(before, item, after)| format!("{before}{item}{after}"))
                    .collect();
                format!(
                    "{open}{}{close}",
                    if items.is_empty() {
                        " ".to_owned()
                    } else {
                        items.join(",")
                    }
                )
            })
        };
        let object = move |value: BoxedStrategy<String>| {
            let field = (key.clone(), space(), space(), value)
                .prop_map(|(key, before, after, value)| format!("{key}{before}:{after}{value}"));
            of(field.boxed(), '{', '}')
        };
        let value = leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![of(inner.clone().boxed(), '[', ']'), object(inner.boxed())]
        });
        // Once more around it, so that the outermost is an object.
        (
            prop::collection::vec(
                (
                    prop::sample::select(vec!["\"x\"", "\"name\"", "\"\\u006eame\"", "\"y y\""]),
                    space(),
                    value,
                    space(),
                ),
                0..5,
            ),
            space(),
        )
            .prop_map(|(fields, end)| {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(key, before, value, after)| format!("{before}{key}:{value}{after}"))
                    .collect();
                format!("{{{}{end}}}", fields.join(","))
            })
    }

    fn written(text: &str, keep: impl Fn(&str) -> bool, set: &[(&str, &str)]) -> String {
        let mut out = String::new();
        Object::read(text).unwrap().write(&mut out, keep, set);
        out
    }

    #[test]
    fn fields_are_set_and_dropped_where_they_stand() {
        let text = r#"{ "a" : 1.50 , "n\u0061me":"x", "b":[ {} ] }"#;
        let check = |drop: &[&str], set: &[(&str, &str)], expected: &str| {
            assert_eq!(written(text, |key| !drop.contains(&key), set), expected);
        };
        check(&[], &[], text);
        check(
            &[],
            &[("name", "9"), ("c", "null")],
            r#"{ "a" : 1.50 , "n\u0061me":9, "b":[ {} ],"c":null }"#,
        );
        check(&["a"], &[], r#"{ "n\u0061me":"x", "b":[ {} ] }"#);
        check(&["name"], &[], r#"{ "a" : 1.50, "b":[ {} ] }"#);
        check(&["b", "name"], &[], r#"{ "a" : 1.50 }"#);
        check(&["a", "b", "name"], &[("c", "1")], r#"{ "c":1 }"#);
        assert_eq!(written("{ }", |_| true, &[("c", "1")]), r#"{"c":1 }"#);
        for length in 0..60 {
            let long = format!(r#"{{"k":"{}\\\"","l":[1]}}"#, "x".repeat(length));
            assert_eq!(Object::read(&long).unwrap().get("l"), Some("[1]"), "{long}");
        }
        assert!(Object::read("[1]").is_none() && Object::read("null").is_none());
        assert_eq!(
            Object::read(r#"{"k":1,"k":2}"#).unwrap().get("k"),
            Some("2")
        );
        assert_eq!(
            written(r#"{"k":1,"k":2}"#, |_| true, &[("k", "3")]),
            r#"{"k":3,"k":3}"#
        );
    }

    proptest! {
        #[test]
        fn any_object_is_read_as_a_parser_reads_it(text in any_object()) {
            let object = Object::read(&text).unwrap();
            prop_assert_eq!(&written(&text, |_| true, &[]), &text);
            if let Ok(serde_json::Value::Object(parsed)) = serde_json::from_str(&text) {
                for (key, value) in &parsed {
                    let found: serde_json::Value = serde_json::from_str(object.get(key).unwrap()).unwrap();
                    prop_assert_eq!(&found, value);
                }
                let keys: std::collections::HashSet<_> = object.keys().map(Cow::into_owned).collect();
                prop_assert_eq!(keys.len(), parsed.len());
                let rest: serde_json::Value = serde_json::from_str(&written(&text, |key| key != "x", &[("new", "1")])).unwrap();
                let mut expected = parsed.clone();
                expected.shift_remove("x");
                expected.insert("new".to_owned(), 1.into());
                prop_assert_eq!(rest, serde_json::Value::Object(expected));
            }
        }
    }
}
