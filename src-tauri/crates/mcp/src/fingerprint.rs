//! What a server offers, in a form that can be compared: names and schemas.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

/// The tools of a server, reduced to what a caller depends on: each one's name, `inputSchema` and `outputSchema`. The order
/// of tools and of keys does not count, nor do descriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// SHA-256 over all names and schemas, in hexadecimal. Equal lists have equal hashes.
    pub hash: String,
    /// Each tool's name and the SHA-256 of its schemas, sorted.
    pub tools: Vec<(String, String)>,
}

/// One difference between two lists of tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// A tool is gone.
    ToolLost {
        /// Its name.
        tool: String,
    },
    /// A tool is new. No fault.
    ToolAdded {
        /// Its name.
        tool: String,
    },
    /// A tool takes or gives something else than before.
    SchemaChanged {
        /// Its name.
        tool: String,
    },
}

impl Finding {
    /// Whether callers may break.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::ToolAdded { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToolLost { tool } => write!(f, "tool {tool} is gone"),
            Self::ToolAdded { tool } => write!(f, "tool {tool} is new"),
            Self::SchemaChanged { tool } => write!(f, "the schema of tool {tool} changed"),
        }
    }
}

/// The fingerprint of tools as the server gave them.
#[must_use]
pub fn fingerprint(tools: &[Box<RawValue>]) -> Fingerprint {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct View {
        #[serde(default)]
        name: String,
        #[serde(default)]
        input_schema: Value,
        #[serde(default)]
        output_schema: Value,
    }
    let mut tools: Vec<(String, String)> = tools
        .iter()
        .map(|tool| match serde_json::from_str::<View>(tool.get()) {
            Ok(view) => {
                let mut text = String::new();
                canonical(&view.input_schema, &mut text);
                text.push('\n');
                canonical(&view.output_schema, &mut text);
                (view.name, hexadecimal(text.as_bytes()))
            }
            // No tool by the specification (or nested beyond reason): its own text stands for it.
            Err(_) => (String::new(), hexadecimal(tool.get().as_bytes())),
        })
        .collect();
    tools.sort_unstable();
    let mut all = Sha256::new();
    for (name, hash) in &tools {
        // The length keeps the end of a name apart from the hash.
        all.update((name.len() as u64).to_le_bytes());
        all.update(name);
        all.update(hash);
    }
    Fingerprint {
        hash: hex(&all.finalize()),
        tools,
    }
}

impl Fingerprint {
    /// What changed from this list to a `newer` one, in the order of names.
    #[must_use]
    pub fn compare(&self, newer: &Self) -> Vec<Finding> {
        let (mut old, mut new) = (self.tools.iter().peekable(), newer.tools.iter().peekable());
        let mut findings = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return findings,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((before, _)), Some((after, _))) => before.cmp(after),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            findings.extend(match (before, after) {
                (Some((tool, _)), None) => Some(Finding::ToolLost { tool: tool.clone() }),
                (None, Some((tool, _))) => Some(Finding::ToolAdded { tool: tool.clone() }),
                (Some((tool, was)), Some((_, is))) if was != is => {
                    Some(Finding::SchemaChanged { tool: tool.clone() })
                }
                _ => None,
            });
        }
    }
}

/// JSON with sorted keys and no white space.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, value) in fields {
                crate::json::push_string(out, key);
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        // Writing to a string does not fail.
        scalar => drop(write!(out, "{scalar}")),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(tools: &[Value]) -> Fingerprint {
        let raw: Vec<_> = tools
            .iter()
            .map(|tool| RawValue::from_string(tool.to_string()).unwrap())
            .collect();
        fingerprint(&raw)
    }

    fn tool(name: &str, kind: &str) -> Value {
        json!({"name": name, "inputSchema": {"type": "object", "properties": {"a": {"type": kind}}}})
    }

    #[test]
    fn each_difference_is_named() {
        let check = |old: &[Value], new: &[Value], expected: &str| {
            let found: Vec<String> = of(old)
                .compare(&of(new))
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.join("; "), expected);
        };
        let (a, b, c) = (
            tool("a", "string"),
            tool("b", "string"),
            tool("c", "string"),
        );
        check(&[a.clone(), b.clone()], &[b.clone(), a.clone()], "");
        check(
            &[a.clone(), b.clone()],
            &[b.clone(), c],
            "tool a is gone; tool c is new",
        );
        check(
            &[a.clone(), b.clone()],
            &[tool("a", "number"), b],
            "the schema of tool a changed",
        );
        check(
            std::slice::from_ref(&a),
            &[json!({"name": "a", "description": "new words", "inputSchema": a["inputSchema"]})],
            "",
        );
        check(&[], &[], "");
        check(&[a], &[], "tool a is gone");
        let added = Finding::ToolAdded { tool: "x".into() };
        assert!(!added.is_fault() && Finding::ToolLost { tool: "x".into() }.is_fault());
    }

    /// The same value with the keys of each object the other way round.
    fn turned(value: &Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .rev()
                    .map(|(key, value)| (key.clone(), turned(value)))
                    .collect(),
            ),
            Value::Array(items) => Value::Array(items.iter().map(turned).collect()),
            scalar => scalar.clone(),
        }
    }

    fn schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\]{0,6}".prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn order_does_not_count_and_schemas_do(schemas in prop::collection::vec(schema(), 1..5), other in schema()) {
            let tools: Vec<Value> = schemas.iter().enumerate().map(|(n, schema)| json!({"name": format!("t{n}"), "inputSchema": schema})).collect();
            let before = of(&tools);
            let mut shuffled: Vec<Value> = tools.iter().rev().map(turned).collect();
            prop_assert_eq!(&before, &of(&shuffled));

            let changed = schemas[0] != other;
            let last = shuffled.len() - 1;
            shuffled[last]["inputSchema"] = other;
            let after = of(&shuffled);
            prop_assert_eq!(before.hash != after.hash, changed);
            prop_assert_eq!(before.compare(&after).len(), usize::from(changed));
        }
    }
}
