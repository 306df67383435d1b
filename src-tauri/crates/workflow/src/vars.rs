//! Values that people give: the variables of a run, the form of an approval.

use crate::definition::{Var, VarType};
use flotilla_contract::workflow::Finding;
use indexmap::IndexMap;
use serde_json::{Map, Value};

/// The values of these variables: those given over the defaults.
///
/// # Errors
/// Each that is unknown, missing, or not of its type, under `prefix.NAME`.
pub(crate) fn bind(
    declared: &IndexMap<String, Var>,
    given: &Map<String, Value>,
    prefix: &str,
) -> Result<Map<String, Value>, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut say = |name: &str, message| {
        findings.push(Finding {
            path: format!("{prefix}.{name}"),
            message,
            line: None,
        });
    };
    for name in given.keys().filter(|name| !declared.contains_key(*name)) {
        let known: Vec<_> = declared.keys().map(String::as_str).collect();
        say(
            name,
            format!("no such name; accepted are {}", or_none(&known)),
        );
    }
    let mut bound = Map::with_capacity(declared.len());
    for (name, var) in declared {
        match given.get(name).or(var.default.as_ref()) {
            Some(value) => match wrong(var, value) {
                Some(why) => say(name, why),
                None => {
                    bound.insert(name.clone(), value.clone());
                }
            },
            None => say(
                name,
                format!(
                    "it is not given and has no default; accepted is {}",
                    var.kind.one()
                ),
            ),
        }
    }
    if findings.is_empty() {
        Ok(bound)
    } else {
        Err(findings)
    }
}

/// Why a value is not accepted.
pub(crate) fn wrong(var: &Var, value: &Value) -> Option<String> {
    let fits = match var.kind {
        VarType::String => value.is_string(),
        VarType::Integer => value.is_i64() || value.is_u64(),
        VarType::Number => value.is_number(),
        VarType::Boolean => value.is_boolean(),
        VarType::List => value.is_array(),
        VarType::Object => value.is_object(),
    };
    if !fits {
        return Some(format!("it is {value}; accepted is {}", var.kind.one()));
    }
    if !var.options.is_empty() && !var.options.contains(value) {
        let options: Vec<_> = var.options.iter().map(Value::to_string).collect();
        return Some(format!(
            "it is {value}; accepted are {}",
            options.join(", ")
        ));
    }
    None
}

/// A value as it is typed on a command line: text for text, JSON for all else.
///
/// # Errors
/// A sentence, when the text is no JSON.
pub fn read_text(kind: VarType, text: &str) -> Result<Value, String> {
    if kind == VarType::String {
        return Ok(Value::String(text.to_owned()));
    }
    serde_json::from_str(text)
        .map_err(|_| format!("it is {text:?}; accepted is {} as JSON", kind.one()))
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}
