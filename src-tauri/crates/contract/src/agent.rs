//! The agent registry: what is discoverable and offers capabilities. Each MCP server is registered as an agent.

use crate::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an agent can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capability {
    /// Its name, unique within the agent.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of what it takes.
    pub input_schema: serde_json::Value,
    /// JSON Schema of what it gives.
    pub output_schema: serde_json::Value,
}

/// An entry of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Its id; a server's agent has the server's id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Version of the agent.
    pub version: String,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// One word for its kind.
    pub category: String,
    /// Whether it may be used (default true).
    pub enabled: bool,
    /// When it was registered.
    pub deployed_at: Millis,
    /// Free settings.
    #[serde(default)]
    pub config: serde_json::Value,
    /// What it did for workflows since the engine started; only of agents that come with Flotilla.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<AgentWork>,
}

/// What an agent did for workflows since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentWork {
    /// Tries at work now.
    pub running: u32,
    /// Tries that ended well.
    pub completed: u64,
    /// Tries that failed.
    pub failed: u64,
    /// When the last one began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Millis>,
}

/// Which agents to list. All conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentFilter {
    /// Only enabled, or only disabled ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Only this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// At least one of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Text in name, id or a capability's name, case-insensitively.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
}

/// The registry in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStats {
    /// All agents.
    pub total: u32,
    /// Those enabled.
    pub enabled: u32,
    /// Those disabled.
    pub disabled: u32,
    /// Agents per category.
    pub by_category: BTreeMap<String, u32>,
    /// Agents per tag.
    pub by_tag: BTreeMap<String, u32>,
}
