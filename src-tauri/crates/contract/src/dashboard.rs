//! What the dashboard WebSocket and the agent stream say. Names and shapes are those of seed document 000: clients of other
//! origin read them, so they differ in manner (`camelCase`) from everything else on the wire.

use crate::{Millis, agent::Agent};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The picture that is sent every few seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DashboardMetrics {
    /// When it was taken.
    pub timestamp: Millis,
    /// The agent registry.
    pub agents: DashboardAgents,
    /// The servers. `healthy` and `unhealthy` count running ones only.
    pub mcp_servers: DashboardServers,
    /// The engine's process.
    pub performance: Performance,
    /// Who is connected.
    pub connections: DashboardConnections,
}

/// The agent registry in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DashboardAgents {
    /// All agents.
    pub total: u32,
    /// Those enabled.
    pub enabled: u32,
    /// Those disabled.
    pub disabled: u32,
    /// How many categories there are.
    pub categories: u32,
    /// How many tags there are.
    pub tags: u32,
    /// Agents per category.
    pub by_category: BTreeMap<String, u32>,
    /// Agents per tag.
    pub by_tag: BTreeMap<String, u32>,
}

/// The servers in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DashboardServers {
    /// Declared.
    pub total: u32,
    /// With at least one running instance.
    pub running: u32,
    /// Running and proven healthy.
    pub healthy: u32,
    /// Running and found unhealthy.
    pub unhealthy: u32,
    /// Gave up.
    pub failed: u32,
}

/// What the engine's process uses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// Resident memory in MiB, rounded.
    #[serde(rename = "memoryUsageMB")]
    pub memory_usage_mb: u64,
    /// That in percent of the machine's memory; absent where the platform does not tell.
    #[serde(
        rename = "memoryPercentage",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub memory_percentage: Option<f64>,
    /// Load of the machine over 1, 5 and 15 minutes; absent where the platform does not tell.
    #[serde(
        rename = "cpuLoadAverage",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_load_average: Option<[f64; 3]>,
    /// Seconds since the engine started.
    pub uptime: u64,
}

/// Who is connected to the engine's two compatibility sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DashboardConnections {
    /// Clients of the dashboard WebSocket.
    pub websocket_clients: u32,
    /// Followers of the agent stream.
    pub active_streams: u32,
}

/// From a client of the dashboard WebSocket. Other fields are let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DashboardAsk {
    /// Acknowledged; every client gets everything, subscribed or not.
    Subscribe {
        /// From now on only what changed (default false).
        #[serde(default)]
        delta: bool,
    },
    /// Acknowledged; whole pictures again.
    Unsubscribe {},
    /// The picture now.
    RequestMetrics {},
    /// The agents now.
    RequestAgents {},
    /// Whether somebody is there.
    Ping {},
}

/// To a client of the dashboard WebSocket.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
pub enum DashboardSays<'a> {
    /// On connecting, every interval, and on request.
    #[serde(rename = "metrics:update")]
    Metrics {
        /// When it was sent.
        timestamp: Millis,
        /// True: `data` holds what changed since the update before, as RFC 7396 (JSON Merge Patch) has it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        delta: bool,
        /// A [`DashboardMetrics`], or what changed of it.
        data: &'a serde_json::Value,
    },
    /// The registry, on request.
    #[serde(rename = "agents:list")]
    Agents {
        /// When it was sent.
        timestamp: Millis,
        /// All agents.
        data: &'a serde_json::Value,
    },
    /// An agent was registered.
    #[serde(rename = "agent:deployed")]
    AgentDeployed {
        /// When it was sent.
        timestamp: Millis,
        /// Which.
        data: AgentNews<'a>,
    },
    /// An agent changed.
    #[serde(rename = "agent:updated")]
    AgentUpdated {
        /// When it was sent.
        timestamp: Millis,
        /// Which.
        data: AgentNews<'a>,
    },
    /// An agent is gone.
    #[serde(rename = "agent:removed")]
    AgentRemoved {
        /// When it was sent.
        timestamp: Millis,
        /// Which.
        data: AgentNews<'a>,
    },
    /// A server is in another state.
    #[serde(rename = "server:status")]
    ServerStatus {
        /// When it was sent.
        timestamp: Millis,
        /// Which, and which state.
        data: ServerNews<'a>,
    },
    /// Answers `subscribe`.
    #[serde(rename = "subscribed")]
    Subscribed {
        /// When it was sent.
        timestamp: Millis,
    },
    /// Answers `unsubscribe`.
    #[serde(rename = "unsubscribed")]
    Unsubscribed {
        /// When it was sent.
        timestamp: Millis,
    },
    /// Answers `ping`.
    #[serde(rename = "pong")]
    Pong {
        /// When it was sent.
        timestamp: Millis,
    },
    /// What was said is no JSON object with a `type`.
    #[serde(rename = "error")]
    Error {
        /// When it was sent.
        timestamp: Millis,
        /// What is wrong, as a sentence.
        message: &'a str,
    },
}

/// An agent in the news.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentNews<'a> {
    /// Its id.
    pub agent_id: &'a str,
    /// All of it; absent when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a Agent>,
}

/// A server in the news.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerNews<'a> {
    /// Its id.
    pub server_id: &'a str,
    /// Its word for a screen; `removed` when it is no longer declared.
    pub status: &'a str,
}
