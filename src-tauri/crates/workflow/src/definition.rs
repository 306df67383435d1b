//! What an author writes: the shape of a workflow's YAML (or JSON), and its published schema.

use crate::trigger::written::OnTrigger;
use flotilla_contract::{
    units::{parse_duration, show_duration},
    workflow::Failure,
};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeMap};

/// A span of time, written "500ms", "30s", "1m30s", "2h" or "7d".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Span {
    /// In milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no span of time; accepted are 500ms, 30s, 1m30s, 2h, 7d"
            ))
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
            "examples": ["500ms", "30s", "1m30s", "2h", "7d"],
        })
    }
}

/// A workflow: steps that need each other, over the fleet's tools, this machine and the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its name: 1 to 64 characters of `A-Z a-z 0-9 _ . -`, the first a letter or a digit.
    pub name: String,
    /// What it does, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What whoever starts it can set. Expressions see them as `vars.NAME`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Var>")]
    pub vars: IndexMap<String, Var>,
    /// Steps at work at once (default 5, 1 to 1,000). Steps that wait for a person or a time take no place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<u32>,
    /// How long a run may take in all, waiting included (default 7d). Then it is cancelled, and has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Runs of it under way at once at most (1 to 1,000; default: any number). More are refused; what a trigger does then says its `overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_runs: Option<u32>,
    /// What starts it without a person, 50 at most. Only a file in the home starts by itself, a template that comes with Flotilla never.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<OnTrigger>,
    /// The steps, 1 to 20,000.
    pub steps: Vec<Step>,
}

/// A variable of a workflow, or a field of an approval's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Var {
    /// Of which type its value is (default string).
    #[serde(default, rename = "type")]
    pub kind: VarType,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The value when none is given. Without a default one must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The values that are accepted; all of its type when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Value>,
}

/// Type of a variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VarType {
    /// Text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// true or false.
    Boolean,
    /// A list of anything.
    List,
    /// Names and values.
    Object,
}

impl VarType {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "list",
            Self::Object => "object",
        }
    }

    /// One of it, for messages: `an integer`.
    pub(crate) fn one(self) -> String {
        let article = if matches!(self, Self::Integer | Self::Object) {
            "an"
        } else {
            "a"
        };
        format!("{article} {}", self.word())
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name in expressions and in `needs`: a letter or `_`, then letters, digits, `_` or `-`, 64 at most.
    pub id: String,
    /// Its name for people; `needs` may use it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What does the work: `tool/SERVER__TOOL`, `shell`, `http`, `fleet/VERB`, `file`, `data`, `monitor`, `notify`, `approval`, `wait`,
    /// `workflow/NAME`, or `AGENT/CAPABILITY`.
    pub uses: String,
    /// What it is given. `${{ … }}` in a text is an expression; a text that is nothing else keeps the type of its value.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// Steps, by id or name, that must have ended well before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// What becomes of it when a step that it needs was skipped (default run).
    #[serde(default, skip_serializing_if = "IfSkipped::is_run")]
    pub if_needs_skipped: IfSkipped,
    /// What becomes of it when a step that it needs failed, or never started for a failure (default block).
    #[serde(default, skip_serializing_if = "IfFailed::is_block")]
    pub if_needs_failed: IfFailed,
    /// An expression: it is skipped unless this is true.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// An expression: it is skipped if this is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_if: Option<String>,
    /// A list, or an expression that gives one: the step runs once for each, which expressions see as `item`, its place as `index`.
    /// Its output is the list of outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Value>,
    /// Items of `for_each` at work at once (default: as many as the workflow allows).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: Option<u32>,
    /// Whether and when a failed try is followed by another (default: one try).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long one try may take (default 60s). For an approval: how long it waits (default: as long as the run may take).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What a failure means for the run (default fail).
    #[serde(default, skip_serializing_if = "OnFailure::is_fail")]
    pub on_failure: OnFailure,
    /// Whether doing it twice does no more than doing it once (default: only for what changes nothing). After the engine was killed, a
    /// step that was at work is done again only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Names for parts of its output, each an expression that sees it as `output`. Other steps see `steps.ID.outputs.NAME`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub outputs: IndexMap<String, String>,
}

/// What becomes of a step when one that it needs was skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfSkipped {
    /// It runs: a skipped step satisfies what needs it.
    #[default]
    Run,
    /// It is skipped too.
    Skip,
}

impl IfSkipped {
    fn is_run(&self) -> bool {
        *self == Self::Run
    }
}

/// What becomes of a step when one that it needs failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfFailed {
    /// It never starts.
    #[default]
    Block,
    /// It runs all the same: to tidy up, or to tell someone.
    Run,
}

impl IfFailed {
    fn is_block(&self) -> bool {
        *self == Self::Block
    }
}

/// What the failure of a step means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// What needs it is blocked, and the run fails when the rest has ended.
    #[default]
    Fail,
    /// What needs it goes on, and the run does not fail for it.
    Continue,
    /// As `fail`, and the step of this id runs: it undoes what the failed one did. It runs for nothing else.
    Compensate(String),
}

impl OnFailure {
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

/// When a failed try is followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries in all, the first included (1 to 100).
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// The wait before the second try (default 1s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Span>,
    /// By what the wait is multiplied after each try (default 2, 1 to 10; 1 keeps it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub factor: Option<f64>,
    /// The longest wait (default 5m).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backoff: Option<Span>,
    /// By which share a wait is made shorter or longer at random (default 0.1, 0 to 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub jitter: Option<f64>,
    /// After which failures (default: timeout, unavailable, failed). `interrupted` lets the engine do a step again that was at work when
    /// the engine was killed. `refused` cannot be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<Failure>>,
}

/// The JSON Schema of a definition.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Definition)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_schema_is_fresh() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../docs/workflow.schema.json"
        );
        let fresh = format!(
            "{}\n",
            serde_json::to_string_pretty(&super::schema()).unwrap()
        );
        if std::env::var_os("FLOTILLA_GEN").is_some() {
            std::fs::write(path, &fresh).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            fresh,
            "run this test with FLOTILLA_GEN=1 to write it anew"
        );
    }
}
