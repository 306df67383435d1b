//! What expressions see.

use flotilla_contract::workflow::StepState;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The names at the root, for messages.
pub(crate) const ROOTS: &[&str] = &["vars", "steps", "run", "trigger", "item", "index", "output"];

/// What a step tells to expressions.
pub(crate) struct StepFacts<'a> {
    pub(crate) state: StepState,
    pub(crate) output: &'a Value,
    pub(crate) outputs: &'a Map<String, Value>,
    pub(crate) error: Option<&'a str>,
}

/// The steps of a run, by id.
pub(crate) trait Steps: Send + Sync {
    fn step(&self, id: &str) -> Option<StepFacts<'_>>;
    fn ids(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// What an expression sees: `vars`, `steps`, `run`, `trigger`, and where they mean something `item`, `index` and `output`.
pub(crate) struct Scope<'a> {
    pub(crate) vars: &'a Map<String, Value>,
    pub(crate) run: &'a Value,
    /// What started the run.
    pub(crate) trigger: &'a Value,
    pub(crate) steps: &'a dyn Steps,
    pub(crate) item: Option<(&'a Value, u32)>,
    pub(crate) output: Option<&'a Value>,
}

impl<'a> Scope<'a> {
    /// The value of a path, if there is one.
    pub(crate) fn find(&self, path: &str) -> Option<Cow<'a, Value>> {
        let (root, rest) = split(path);
        match root {
            "run" => inside(self.run, rest),
            "trigger" => inside(self.trigger, rest),
            "item" => inside(self.item?.0, rest),
            "output" => inside(self.output?, rest),
            "index" if rest.is_none() => Some(Cow::Owned(self.item?.1.into())),
            "vars" => match rest {
                None => Some(Cow::Owned(Value::Object(self.vars.clone()))),
                Some(rest) => {
                    let (name, rest) = split(rest);
                    inside(self.vars.get(name)?, rest)
                }
            },
            "steps" => match rest {
                None => {
                    let facts = |id: &str| Some((id.to_owned(), whole(&self.steps.step(id)?)));
                    let map: Map<_, _> = self.steps.ids().filter_map(facts).collect();
                    Some(Cow::Owned(Value::Object(map)))
                }
                Some(rest) => self.step(rest),
            },
            _ => None,
        }
    }

    fn step(&self, path: &str) -> Option<Cow<'a, Value>> {
        let (id, rest) = split(path);
        let facts = self.steps.step(id)?;
        let Some(rest) = rest else {
            return Some(Cow::Owned(whole(&facts)));
        };
        let (field, rest) = split(rest);
        match (field, rest) {
            ("state", None) => Some(Cow::Owned(facts.state.word().into())),
            ("error", None) => Some(Cow::Owned(facts.error.into())),
            ("output", rest) => inside(facts.output, rest),
            ("outputs", None) => Some(Cow::Owned(Value::Object(facts.outputs.clone()))),
            ("outputs", Some(rest)) => {
                let (name, rest) = split(rest);
                inside(facts.outputs.get(name)?, rest)
            }
            _ => None,
        }
    }

    /// Why a path has no value: the first of its names that is missing.
    pub(crate) fn missing(&self, path: &str) -> String {
        let ends = path.match_indices('.').map(|(at, _)| at);
        let gone = ends
            .chain([path.len()])
            .map(|end| &path[..end])
            .find(|part| self.find(part).is_none())
            .unwrap_or(path);
        format!("{gone} has no value")
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.')
        .map_or((path, None), |(first, rest)| (first, Some(rest)))
}

fn inside<'a>(value: &'a Value, path: Option<&str>) -> Option<Cow<'a, Value>> {
    let Some(path) = path else {
        return Some(Cow::Borrowed(value));
    };
    path.split('.')
        .try_fold(value, |value, name| value.get(name))
        .map(Cow::Borrowed)
}

fn whole(facts: &StepFacts<'_>) -> Value {
    json!({
        "state": facts.state.word(),
        "output": facts.output,
        "outputs": facts.outputs,
        "error": facts.error,
    })
}
