//! The agents that come with Flotilla: five kinds, five of each. Each has one capability, which is work that is done here; that there are five
//! lets the steps of a workflow be told apart by whom they ask, and one be taken out of use without the others.

use flotilla_contract::{
    Millis,
    agent::{Agent, Capability},
};
use serde_json::{Value, json};

/// Agents of each kind.
const EACH: usize = 5;

/// What an agent that comes with Flotilla can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skill {
    /// Files of the workspace.
    Files,
    /// A command that does a task.
    Code,
    /// Records, worked on by expressions.
    Data,
    /// Pages of the web.
    Pages,
    /// The state of this machine.
    Machine,
}

struct Kind {
    skill: Skill,
    id: &'static str,
    name: &'static str,
    capability: &'static str,
    about: &'static str,
    takes: fn() -> Value,
    gives: fn() -> Value,
}

const KINDS: [Kind; 5] = [
    Kind {
        skill: Skill::Files,
        id: "file-ops",
        name: "File operations",
        capability: "file_operations",
        about: "Reads, writes, lists, scans, packs and publishes files of a run's workspace.",
        takes: || {
            object(
                &json!({ "operation": text(), "path": text() }),
                &["operation"],
            )
        },
        gives: || {
            object(
                &json!({ "success": { "type": "boolean" }, "path": text() }),
                &[],
            )
        },
    },
    Kind {
        skill: Skill::Code,
        id: "code-gen",
        name: "Code generation",
        capability: "generate_code",
        about: "Has the command that it is given do a task: generate, lint, test, build.",
        takes: || {
            let fields = json!({ "task": text(), "language": text(), "framework": text(), "command": text(), "cwd": text(), "save_to": text() });
            object(&fields, &["command"])
        },
        gives: || {
            object(
                &json!({ "exit_code": { "type": "integer" }, "stdout": text(), "stderr": text() }),
                &[],
            )
        },
    },
    Kind {
        skill: Skill::Data,
        id: "data-processor",
        name: "Data processing",
        capability: "process_data",
        about: "Filters, maps, sorts and groups records by expressions; writes JSON, CSV or XML.",
        takes: || {
            let fields = json!({ "data": {}, "data_source": text(), "pattern": text(), "operations": { "type": "array" }, "output_format": { "enum": ["json", "csv", "xml"] }, "save_to": text() });
            object(&fields, &[])
        },
        gives: || {
            object(
                &json!({ "records": { "type": "integer" }, "result": { "type": "array" } }),
                &[],
            )
        },
    },
    Kind {
        skill: Skill::Pages,
        id: "web-scraper",
        name: "Web pages",
        capability: "scrape_web",
        about: "Fetches pages from the hosts that are allowed, and reads them by CSS selectors.",
        takes: || {
            let fields = json!({ "urls": { "type": "array" }, "selectors": { "type": "object" }, "to": text(), "output_file": text(), "format": { "enum": ["json", "csv"] } });
            object(&fields, &["urls"])
        },
        gives: || {
            object(
                &json!({ "fetched": { "type": "integer" }, "pages": { "type": "array" } }),
                &[],
            )
        },
    },
    Kind {
        skill: Skill::Machine,
        id: "system-monitor",
        name: "System monitor",
        capability: "monitor_system",
        about: "Reads disk, memory and load of this machine, and says which are above a threshold.",
        takes: || {
            let fields = json!({ "checks": { "type": "object" }, "alert_threshold": { "type": "object" }, "output_file": text() });
            object(&fields, &[])
        },
        gives: || {
            object(
                &json!({ "disk": { "type": "object" }, "memory": { "type": "object" }, "load": { "type": "object" }, "alerts": { "type": "array" } }),
                &[],
            )
        },
    },
];

fn text() -> Value {
    json!({ "type": "string" })
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The agents, by kind: `file-ops-000` to `file-ops-004` and so on.
pub fn built_in(deployed_at: Millis) -> impl Iterator<Item = Agent> {
    let agent = move |kind: &Kind, number: usize| {
        let tags = [kind.id, "built-in", "auto-generated", "production-ready"];
        Agent {
            id: format!("{}-{number:03}", kind.id),
            name: format!("{} {number}", kind.name),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: vec![Capability {
                name: kind.capability.to_owned(),
                description: Some(kind.about.to_owned()),
                input_schema: (kind.takes)(),
                output_schema: (kind.gives)(),
            }],
            tags: tags.map(str::to_owned).to_vec(),
            category: kind.id.replacen('-', "_", 1),
            enabled: true,
            deployed_at,
            config: json!({}),
            work: None,
        }
    };
    KINDS
        .iter()
        .flat_map(move |kind| (0..EACH).map(move |number| agent(kind, number)))
}

/// What an agent that comes with Flotilla does.
///
/// # Errors
/// A sentence, when there is no such agent, or it has no such capability.
pub fn skill(agent: &str, capability: &str) -> Result<Skill, String> {
    let kind = KINDS.iter().find(|kind| {
        let number = agent
            .strip_prefix(kind.id)
            .and_then(|rest| rest.strip_prefix('-'));
        number.is_some_and(|number| (0..EACH).any(|n| format!("{n:03}") == number))
    });
    let Some(kind) = kind else {
        let ids: Vec<_> = KINDS
            .iter()
            .map(|kind| format!("{0}-000 to {0}-{1:03}", kind.id, EACH - 1))
            .collect();
        return Err(format!(
            "no agent named {agent:?} does work of workflows; accepted are {}",
            ids.join(", ")
        ));
    };
    if kind.capability == capability {
        Ok(kind.skill)
    } else {
        Err(format!(
            "{agent} has no capability {capability:?}; accepted is {}",
            kind.capability
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Registry, problems};
    use flotilla_contract::agent::AgentFilter;

    #[test]
    fn there_are_twenty_five_and_each_does_what_it_says() {
        let mut registry = Registry::default();
        for agent in built_in(7) {
            assert_eq!(problems(&agent), Vec::<String>::new(), "{}", agent.id);
            for capability in &agent.capabilities {
                assert!(skill(&agent.id, &capability.name).is_ok(), "{}", agent.id);
            }
            registry.deploy(agent).unwrap();
        }
        assert_eq!(registry.stats().total, 25);
        let filter = AgentFilter {
            category: Some("data_processor".into()),
            ..AgentFilter::default()
        };
        let ids: Vec<_> = registry.list(&filter).map(|agent| &agent.id).collect();
        assert_eq!(ids.len(), 5);
        assert_eq!(ids[4], "data-processor-004");
        for (agent, capability) in [
            ("file-ops-005", "file_operations"),
            ("file-ops-0", "file_operations"),
            ("file-ops", "file_operations"),
            ("file-ops-000", "generate_code"),
            ("calc", "mcp_server"),
        ] {
            assert!(skill(agent, capability).is_err_and(|why| why.contains("accepted")));
        }
    }
}
