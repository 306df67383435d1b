//! One text for JSON that means the same: members of objects by name, no white space, strings escaped in one way.
//!
//! Numbers stay as written. Read as numbers, `9007199254740993` and `9007199254740992` are equal, and one question would be given
//! the other's answer; `1` and `1.0` asked apart cost no more than a second call. For the same reason a member that is named
//! twice stays twice, in the order written. What cannot be read (nested deeper than 128, half a surrogate pair) stays as it is.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Deeper than that, JSON stays as written. What serde_json itself allows.
const DEPTH: usize = 128;

/// Appends the text.
pub(crate) fn canonical(json: &str, out: &mut String) {
    write(json, DEPTH, out);
}

fn write(json: &str, depth: usize, out: &mut String) {
    let json = json.trim_ascii();
    let start = out.len();
    let written = match json.as_bytes().first() {
        Some(b'{') if depth > 0 => object(json, depth - 1, out),
        Some(b'[') if depth > 0 => array(json, depth - 1, out),
        Some(b'"') => string(json, out),
        _ => None,
    };
    if written.is_none() {
        out.truncate(start);
        out.push_str(json);
    }
}

fn object(json: &str, depth: usize, out: &mut String) -> Option<()> {
    let Members(mut members) = serde_json::from_str(json).ok()?;
    // Stable: members of the same name keep their order.
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    out.push('{');
    for (i, (name, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(name).ok()?);
        out.push(':');
        write(value.get(), depth, out);
    }
    out.push('}');
    Some(())
}

fn array(json: &str, depth: usize, out: &mut String) -> Option<()> {
    let Items(items) = serde_json::from_str(json).ok()?;
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(item.get(), depth, out);
    }
    out.push(']');
    Some(())
}

fn string(json: &str, out: &mut String) -> Option<()> {
    if memchr::memchr(b'\\', json.as_bytes()).is_none() {
        // Without escapes there is one way to write it.
        out.push_str(json);
        return Some(());
    }
    let text: String = serde_json::from_str(json).ok()?;
    out.push_str(&serde_json::to_string(&text).ok()?);
    Some(())
}

/// The members of an object, as written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Read)
    }
}

/// The items of an array, as written.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Items<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        from.deserialize_seq(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn text(json: &str) -> String {
        let mut out = String::new();
        write(json, DEPTH, &mut out);
        out
    }

    #[test]
    fn one_text_for_one_meaning() {
        for (json, expected) in [
            ("{}", "{}"),
            (" [ ] ", "[]"),
            ("null", "null"),
            (
                r#" { "b" : 1 , "a" : [ true , { "d" : null , "c" : "x" } ] } "#,
                r#"{"a":[true,{"c":"x","d":null}],"b":1}"#,
            ),
            // Order counts in arrays.
            ("[2, 1]", "[2,1]"),
            // Numbers stay as written.
            (
                "[1, 1.0, 1e0, 9007199254740993, 0.1000]",
                "[1,1.0,1e0,9007199254740993,0.1000]",
            ),
            // Strings are escaped in one way, names of members too.
            (r#""\u0041\/\u00e9\u000a""#, "\"A/é\\n\""),
            (r#"{"\u0062":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (r#""{ \" }""#, r#""{ \" }""#),
            // Named twice stays twice.
            (r#"{"b":0,"a":2,"a":1}"#, r#"{"a":2,"a":1,"b":0}"#),
            // Half a surrogate pair cannot be read.
            (r#"{"b":"\ud800","a":1}"#, r#"{"a":1,"b":"\ud800"}"#),
        ] {
            assert_eq!(text(json), expected, "{json}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        let deep = |n: usize| format!("{}{{\"b\":1, \"a\":2}}{}", "[".repeat(n), "]".repeat(n));
        assert!(text(&deep(127)).contains(r#"{"a":2,"b":1}"#));
        assert!(text(&deep(128)).contains(r#"{"b":1, "a":2}"#));
        assert_eq!(text(&deep(100_000)).len(), deep(100_000).len());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(".{0,3}", inner, 0..5)
                    .prop_map(|members| Value::from_iter(members.into_iter().rev())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// It means what it meant; twice changes nothing; white space, and the order of members, do not matter.
        #[test]
        fn laws(value in json()) {
            let once = text(&value.to_string());
            prop_assert_eq!(&serde_json::from_str::<Value>(&once).unwrap(), &value);
            prop_assert_eq!(&text(&once), &once);
            prop_assert_eq!(&text(&serde_json::to_string_pretty(&value).unwrap()), &once);
            let mut sorted = value;
            sorted.sort_all_objects();
            prop_assert_eq!(&text(&sorted.to_string()), &once);
        }
    }
}
