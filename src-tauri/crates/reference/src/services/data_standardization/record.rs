//! What clients send: records, which are JSON objects, one or many, within limits.

use super::format::Format;
use crate::tool::Context;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::BTreeMap};

/// Records in one list, at most. The schemas say it in figures, as attributes take no names.
pub(super) const MOST_RECORDS: usize = 10_000;

/// Records between two looks at whether the caller still waits.
pub(super) const STRIDE: usize = 256;

/// One record: named values, any JSON.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Record(pub(super) Map<String, Value>);

/// One record, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Records {
    One(Record),
    Many(Vec<Record>),
}

/// What is declared of a dataset: its fields by name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("maxProperties" = 100, "propertyNames" = {"maxLength": 200}))]
pub(super) struct Fields(pub(super) BTreeMap<String, Field>);

/// What is declared of one field.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Field {
    /// JSON type of its values. Any when absent.
    #[serde(default, rename = "type")]
    pub(super) kind: Option<Kind>,
    /// Whether every record must have it; null and blank text count as missing.
    #[serde(default)]
    pub(super) required: bool,
    /// How its text must be written.
    #[serde(default)]
    pub(super) format: Option<Format>,
    /// Smallest number allowed.
    #[serde(default)]
    pub(super) min: Option<f64>,
    /// Largest number allowed.
    #[serde(default)]
    pub(super) max: Option<f64>,
    /// Fewest characters of a text, or items of a list.
    #[serde(default)]
    pub(super) min_length: Option<u32>,
    /// Most characters of a text, or items of a list.
    #[serde(default)]
    pub(super) max_length: Option<u32>,
    /// The only values allowed.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    pub(super) allowed: Option<Vec<Value>>,
}

/// A JSON type.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    String,
    Number,
    Integer,
    Boolean,
    Array,
    Object,
}

impl Record {
    /// The value of a field, unless it is missing, null or blank.
    pub(super) fn filled(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| is_filled(value))
    }

    /// What a field says in words: its text, or its number written out.
    pub(super) fn words(&self, field: &str) -> Option<Cow<'_, str>> {
        match self.filled(field)? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }
}

impl Records {
    pub(super) fn as_slice(&self) -> &[Record] {
        match self {
            Self::One(record) => std::slice::from_ref(record),
            Self::Many(records) => records,
        }
    }
}

impl Kind {
    /// The type of a value; null has none. A whole number is a number here: 1 and 1.5 in one column are no contradiction.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::String),
            Value::Array(_) => Some(Self::Array),
            Value::Object(_) => Some(Self::Object),
        }
    }

    pub(super) fn holds(self, value: &Value) -> bool {
        match self {
            // As JSON Schema has it: 1.0 is an integer.
            Self::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            kind => Self::of(value) == Some(kind),
        }
    }
}

/// Neither null nor blank.
pub(super) fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        _ => true,
    }
}

/// Whether two values say the same: 1 and 1.0 do.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => one == other,
    }
}

/// The same call without its progress: for parts of a work whose steps are told as a whole. It still ends when the caller is gone.
pub(super) fn quietly(context: &Context) -> Context {
    Context {
        progress: None,
        ..context.clone()
    }
}

/// One spelling per value, whatever the order of its keys: the JSON Canonicalization Scheme, RFC 8785.
pub(super) fn canonical(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json_canonicalizer::to_vec(value)
}

/// A share of a whole. Nothing of nothing is all of it.
pub(super) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        1.0
    } else {
        count(part) / count(whole)
    }
}

/// A count as a number to reckon with; counts here are far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "limits keep counts far below 2^53"
)]
pub(super) fn count(items: usize) -> f64 {
    items as f64
}

/// The mean, or nothing of nothing.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, number) = values
        .into_iter()
        .fold((0.0, 0_usize), |(sum, number), value| {
            (sum + value, number + 1)
        });
    (number > 0).then(|| sum / count(number))
}

/// What a record's fields may be: any JSON, within limits.
fn fields_of_any_kind() -> Value {
    json!({
        "maxProperties": 100,
        "propertyNames": {"maxLength": 200},
        "additionalProperties": {"maxLength": 10_000, "maxItems": 1000, "maxProperties": 100},
    })
}

fn record_schema(more: Value) -> Schema {
    let mut schema = json_schema!({});
    for part in [more, fields_of_any_kind()] {
        if let Value::Object(part) = part {
            for (key, value) in part {
                schema.insert(key, value);
            }
        }
    }
    schema
}

impl JsonSchema for Record {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Record".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        record_schema(json!({"type": "object"}))
    }
}

impl JsonSchema for Records {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Records".into()
    }

    // One schema for both rather than a choice of two: what is wrong is then named by its path.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        record_schema(json!({
            "type": ["object", "array"],
            "items": Record::json_schema(generator),
            "minItems": 1,
            "maxItems": MOST_RECORDS,
        }))
    }
}
