//! The nine servers, one module each, and the list of them.

pub mod confidence_calculator;
pub mod data_standardization;
mod operations;
pub mod reasoning_agent;
pub mod resource_streaming;
pub mod semantic_similarity;
pub mod session_management;
pub mod transport_layer;
pub mod vector_ranking;
pub mod vector_similarity;

use crate::service::{Host, Service};

/// A server that can be run.
#[derive(Clone, Copy)]
pub struct Entry {
    /// As on the command line.
    pub name: &'static str,
    /// Makes it, under a host.
    pub make: fn(&Host) -> Service,
}

/// All of them, in the order of their ports.
pub const ALL: &[Entry] = &[
    entry("data_standardization", data_standardization::service),
    entry("vector_similarity", vector_similarity::service),
    entry("vector_ranking", vector_ranking::service),
    entry("transport_layer", transport_layer::service),
    entry("reasoning_agent", reasoning_agent::service),
    entry("session_management", session_management::service),
    entry("resource_streaming", resource_streaming::service),
    entry("confidence_calculator", confidence_calculator::service),
    entry("semantic_similarity", semantic_similarity::service),
];

const fn entry(name: &'static str, make: fn(&Host) -> Service) -> Entry {
    Entry { name, make }
}

/// The server of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::{collections::BTreeSet, time::SystemTime};

    /// What a client may hold against a schema, wherever in it.
    fn faults(at: &str, schema: &Value, into: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                if object.contains_key("$ref") {
                    into.push(format!("{at} refers elsewhere"));
                }
                if let Some(Value::String(format)) = object.get("format")
                    && format != "uri"
                {
                    into.push(format!("{at} has the format {format}"));
                }
                for (key, value) in object {
                    faults(&format!("{at}.{key}"), value, into);
                }
            }
            Value::Array(array) => array.iter().for_each(|value| faults(at, value, into)),
            _ => {}
        }
    }

    #[test]
    fn fifty_one_tools_tell_a_model_all_it_needs() {
        let services: Vec<Service> = ALL
            .iter()
            .map(|entry| {
                let service = (entry.make)(&Host::new(None, SystemTime::now));
                assert_eq!(service.name, entry.name);
                service
            })
            .collect();
        let ports: BTreeSet<u16> = services.iter().map(|service| service.port).collect();
        assert_eq!(ports, (8101..=8109).collect());
        assert_eq!(services.iter().map(|s| s.tools.len()).sum::<usize>(), 51);
        let mut found = Vec::new();
        for service in &services {
            assert!(!service.resources.is_empty() && !service.prompts.is_empty());
            let mut names = BTreeSet::new();
            for tool in &service.tools {
                for name in std::iter::once(tool.name).chain(tool.alias) {
                    assert!(names.insert(name), "{name} twice in {}", service.name);
                }
                assert!(
                    tool.description.len() > 40 && !tool.title.is_empty(),
                    "{}",
                    tool.name
                );
                assert!(
                    !tool.hints.read_only || !tool.hints.destructive,
                    "{}",
                    tool.name
                );
                let at = format!("{}/{}", service.name, tool.name);
                for (kind, schema) in [("input", tool.input()), ("output", tool.output())] {
                    let schema = Value::Object((**schema).clone());
                    assert_eq!(schema["type"], "object", "{at} {kind}");
                    faults(&format!("{at} {kind}"), &schema, &mut found);
                }
                if tool.input().get("additionalProperties") != Some(&Value::Bool(false)) {
                    found.push(format!("{at} takes arguments that nobody reads"));
                }
                let arguments = tool.input().get("properties").and_then(Value::as_object);
                for (name, argument) in arguments.into_iter().flatten() {
                    if argument.get("description").is_none() {
                        found.push(format!("{at} does not say what {name} is"));
                    }
                }
            }
        }
        assert!(found.is_empty(), "{found:#?}");
    }
}
