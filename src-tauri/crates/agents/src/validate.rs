use flotilla_contract::{ServerId, agent::Agent};
use serde_json::Value;
use std::collections::BTreeSet;

const MAX_TEXT: usize = 256;
const MAX_TAGS: usize = 100;
const MAX_CAPABILITIES: usize = 2_000;

/// What is wrong with an agent, each as a sentence that names the field; empty when it can be registered.
#[must_use]
pub fn problems(agent: &Agent) -> Vec<String> {
    let mut problems = Vec::new();
    let mut say = |wrong: bool, problem: String| {
        if wrong {
            problems.push(problem);
        }
    };
    let id = agent.id.parse::<ServerId>();
    say(
        id.is_err(),
        format!(
            "id: {}",
            id.err().map(|e| e.to_string()).unwrap_or_default()
        ),
    );
    for (field, text) in [
        ("name", &agent.name),
        ("version", &agent.version),
        ("category", &agent.category),
    ] {
        say(
            !is_word(text),
            format!(
                "{field} is {text:?}; accepted are 1 to {MAX_TEXT} characters, not only blanks"
            ),
        );
    }
    say(
        agent.tags.len() > MAX_TAGS,
        format!(
            "tags: {} of them; at most {MAX_TAGS} are accepted",
            agent.tags.len()
        ),
    );
    for tag in &agent.tags {
        say(
            !is_word(tag),
            format!("tags holds {tag:?}; accepted are 1 to {MAX_TEXT} characters, not only blanks"),
        );
    }
    let free = matches!(agent.config, Value::Null | Value::Object(_));
    say(!free, "config is not an object".to_owned());

    let count = agent.capabilities.len();
    say(
        count > MAX_CAPABILITIES,
        format!("capabilities: {count} of them; at most {MAX_CAPABILITIES} are accepted"),
    );
    let mut names = BTreeSet::new();
    for capability in &agent.capabilities {
        let name = &capability.name;
        say(
            !is_word(name),
            format!(
                "a capability is named {name:?}; accepted are 1 to {MAX_TEXT} characters, not only blanks"
            ),
        );
        say(
            !names.insert(name),
            format!("two capabilities are named {name:?}"),
        );
        for (field, schema) in [
            ("input_schema", &capability.input_schema),
            ("output_schema", &capability.output_schema),
        ] {
            say(
                !schema.is_object(),
                format!("{field} of {name:?} is not an object"),
            );
        }
    }
    problems
}

fn is_word(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= MAX_TEXT
}
