//! A tool as data: what a model reads about it, the schemas of what it takes and gives, and its function.
//!
//! Schemas come from the Rust types and are the one truth: limits stand in `#[schemars(…)]` attributes, arguments are checked
//! against the schema before the function sees them, and results before a client does. A result with NaN or infinity in it has
//! a `null` where its schema wants a number, so it never leaves.

use jsonschema::{Validator, error::ValidationErrorKind};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::sync::{Arc, LazyLock, OnceLock};
use tokio_util::sync::CancellationToken;

/// Why a call gave no result. Its text completes "failed: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An argument that the tool does not take.
    #[error("{field}: {problem}")]
    Argument {
        /// Path of the argument, as `vectors[2]`.
        field: String,
        /// What is wrong with it, and what is accepted.
        problem: String,
    },
    /// Arguments are well, but it cannot be done now.
    #[error("{0}")]
    Failed(String),
    /// The caller withdrew the call.
    #[error("cancelled by the caller")]
    Cancelled,
}

impl Refusal {
    /// An argument that the tool does not take.
    pub fn argument(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Argument {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// What a call may change, told to clients as annotations. No tool here reaches out of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Changes nothing.
    pub read_only: bool,
    /// May take something away.
    pub destructive: bool,
    /// A second call with the same arguments changes nothing more.
    pub idempotent: bool,
}

impl Hints {
    /// Works out its result from its arguments alone.
    pub const PURE: Self = Self {
        read_only: true,
        destructive: false,
        idempotent: true,
    };
    /// Changes something, and takes nothing away.
    pub const ADDS: Self = Self {
        read_only: false,
        destructive: false,
        idempotent: false,
    };
    /// May take something away.
    pub const DESTRUCTIVE: Self = Self {
        read_only: false,
        destructive: true,
        idempotent: false,
    };
}

/// Told of progress: steps done, of how many, and what is being done.
pub(crate) type Progress = dyn Fn(u32, u32, &str) + Send + Sync;

/// What a running call knows of its caller.
#[derive(Clone, Default)]
pub struct Context {
    pub(crate) progress: Option<Arc<Progress>>,
    pub(crate) cancelled: CancellationToken,
    /// Names the call in logs, here and at the caller's.
    pub correlation_id: Option<String>,
}

impl Context {
    /// Reports progress. Ends the call with [`Refusal::Cancelled`] when the caller no longer wants it.
    pub fn step(&self, done: u32, of: u32, doing: &str) -> Result<(), Refusal> {
        if self.cancelled.is_cancelled() {
            return Err(Refusal::Cancelled);
        }
        if let Some(progress) = &self.progress {
            progress(done, of, doing);
        }
        Ok(())
    }
}

type Schema = Arc<Map<String, Value>>;

type Run = dyn Fn(&Context, Value) -> Result<Value, Refusal> + Send + Sync;

/// One tool of a server.
pub struct Tool {
    /// Its canonical name.
    pub name: &'static str,
    /// A second name it answers to.
    pub alias: Option<&'static str>,
    /// A few words for people.
    pub title: &'static str,
    /// What a model chooses by.
    pub description: &'static str,
    /// What a call may change.
    pub hints: Hints,
    /// Whether a call may take long enough to be in the way of others: it runs on a thread of its own.
    pub long: bool,
    // Schemas are made when somebody asks for them, and compiled at the first call: a server that has many tools, of which few
    // are called, starts sooner and stays small.
    input: LazyLock<Schema>,
    output: LazyLock<Schema>,
    takes: OnceLock<Result<Validator, Refusal>>,
    gives: OnceLock<Result<Validator, Refusal>>,
    run: Box<Run>,
}

impl Tool {
    /// A tool that works out its result from its arguments alone.
    pub fn new<I, O>(
        name: &'static str,
        title: &'static str,
        description: &'static str,
        run: impl Fn(I) -> Result<O, Refusal> + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned + JsonSchema + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        Self::with_context(name, title, description, move |_, input| run(input))
    }

    /// A tool that reports progress, can be cancelled or wants to know the call's correlation id.
    pub fn with_context<I, O>(
        name: &'static str,
        title: &'static str,
        description: &'static str,
        run: impl Fn(&Context, I) -> Result<O, Refusal> + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned + JsonSchema + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        Self {
            name,
            alias: None,
            title,
            description,
            hints: Hints::PURE,
            long: false,
            input: LazyLock::new(|| schema::<I>(SchemaSettings::draft2020_12().for_deserialize())),
            output: LazyLock::new(|| schema::<O>(SchemaSettings::draft2020_12().for_serialize())),
            takes: OnceLock::new(),
            gives: OnceLock::new(),
            run: Box::new(move |context, arguments| {
                let input = serde_json::from_value(arguments)
                    .map_err(|error| Refusal::argument("arguments", error.to_string()))?;
                serde_json::to_value(run(context, input)?)
                    .map_err(|error| Refusal::Failed(format!("the result has no JSON: {error}")))
            }),
        }
    }

    /// Gives it a second name.
    #[must_use]
    pub fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// Says what a call may change. Without it a tool is [`Hints::PURE`].
    #[must_use]
    pub fn hints(mut self, hints: Hints) -> Self {
        self.hints = hints;
        self
    }

    /// Calls may take long: they run on threads of their own.
    #[must_use]
    pub fn long(mut self) -> Self {
        self.long = true;
        self
    }

    /// JSON Schema of the arguments: an object.
    pub fn input(&self) -> &Schema {
        &self.input
    }

    /// JSON Schema of the result: an object.
    pub fn output(&self) -> &Schema {
        &self.output
    }

    /// Checks the arguments, runs, checks the result.
    pub fn call(&self, context: &Context, arguments: Value) -> Result<Value, Refusal> {
        let takes = self.takes.get_or_init(|| validator(self.name, &self.input));
        check(takes.as_ref().map_err(Clone::clone)?, &arguments)?;
        let result = (self.run)(context, arguments)?;
        let gives = self
            .gives
            .get_or_init(|| validator(self.name, &self.output));
        check(gives.as_ref().map_err(Clone::clone)?, &result).map_err(|refusal| {
            Refusal::Failed(format!("no finite result for these arguments ({refusal})"))
        })?;
        Ok(result)
    }
}

/// Everything in one place (`$ref`s make forms and models stumble), without what only generators read.
fn schema<T: JsonSchema>(settings: SchemaSettings) -> Schema {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = match settings.into_generator().into_root_schema_for::<T>().into() {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.remove("title");
    schema.remove("description");
    schema.entry("type").or_insert_with(|| "object".into());
    schema.values_mut().for_each(forget_widths);
    Arc::new(schema)
}

/// Takes out the widths of Rust's numbers (`uint32`, `double`): to JSON Schema they are no formats, and some clients complain.
fn forget_widths(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let width = |format: &Value| {
                let format = format.as_str().unwrap_or_default();
                ["int", "uint", "float", "double"]
                    .iter()
                    .any(|kind| format.starts_with(kind))
            };
            if object.get("format").is_some_and(width) {
                object.remove("format");
            }
            object.values_mut().for_each(forget_widths);
        }
        Value::Array(array) => array.iter_mut().for_each(forget_widths),
        _ => {}
    }
}

/// A schema comes from a type; should one not compile all the same, its tool refuses and the server lives on.
fn validator(tool: &str, schema: &Map<String, Value>) -> Result<Validator, Refusal> {
    jsonschema::validator_for(&Value::Object(schema.clone()))
        .map_err(|error| Refusal::Failed(format!("the schema of {tool} is wrong: {error}")))
}

fn check(validator: &Validator, value: &Value) -> Result<(), Refusal> {
    // The quick answer first: telling what is wrong costs more than telling that nothing is.
    if validator.is_valid(value) {
        return Ok(());
    }
    let Some(error) = validator.iter_errors(value).next() else {
        return Ok(());
    };
    let at = path(error.instance_path().as_str());
    let (field, problem) = match error.kind() {
        ValidationErrorKind::Required { property } => (
            join(&at, property.as_str().unwrap_or_default()),
            "is required and missing".to_owned(),
        ),
        // How a tool without any arguments says that it takes none.
        ValidationErrorKind::FalseSchema => (at, "is not an argument of this tool".to_owned()),
        // The library's own words leave out most of a long list.
        ValidationErrorKind::Enum { options } => (
            at,
            format!("{} is not accepted: one of {options} is", error.instance()),
        ),
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => (
            join(&at, unexpected.first().map_or("", String::as_str)),
            "is not an argument of this tool".to_owned(),
        ),
        _ => (at, error.to_string()),
    };
    let field = if field.is_empty() {
        "arguments".to_owned()
    } else {
        field
    };
    Err(Refusal::Argument { field, problem })
}

/// `/vectors/2/0` as people write it: `vectors[2][0]`.
fn path(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .fold(String::new(), |path, part| match part.parse::<usize>() {
            Ok(index) => format!("{path}[{index}]"),
            Err(_) => join(&path, part),
        })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Input {
        #[schemars(length(min = 1, max = 3))]
        values: Vec<f64>,
        #[serde(default)]
        #[schemars(range(min = 1, max = 10))]
        by: Option<u32>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Output {
        mean: f64,
    }

    fn mean() -> Tool {
        Tool::new("mean", "Mean", "The mean.", |input: Input| {
            let sum: f64 = input.values.iter().sum();
            Ok(Output {
                mean: sum / f64::from(input.by.unwrap_or(1)),
            })
        })
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let check = |arguments, expected: &str| {
            let refusal = mean()
                .call(&Context::default(), arguments)
                .expect_err("it was taken");
            assert_eq!(refusal.to_string(), expected);
        };
        check(json!({}), "values: is required and missing");
        check(
            json!({"values": [1], "vlaues": [1]}),
            "vlaues: is not an argument of this tool",
        );
        check(
            json!({"values": [1, "x"]}),
            "values[1]: \"x\" is not of type \"number\"",
        );
        check(json!({"values": []}), "values: [] has less than 1 item");
        check(
            json!({"values": [1], "by": 0}),
            "by: 0 is less than the minimum of 1",
        );
    }

    #[test]
    fn a_result_that_is_not_finite_never_leaves() {
        let call = |arguments| mean().call(&Context::default(), arguments);
        assert_eq!(
            call(json!({"values": [1.5, 2.5]})),
            Ok(json!({"mean": 4.0}))
        );
        let refusal = call(json!({"values": [1e308, 1e308]})).expect_err("infinity left");
        assert!(
            matches!(&refusal, Refusal::Failed(why) if why.contains("mean")),
            "{refusal}"
        );
    }
}
