//! What an MCP server offers, and one call of it.

use crate::{Millis, ServerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which generation of MCP a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    /// 2025-11-25 and older: `initialize`, sessions, `ping`.
    Legacy,
    /// 2026-07-28: stateless, `server/discover`.
    Modern,
}

/// What the server said about itself when it was last greeted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its era.
    pub era: Era,
    /// Negotiated protocol version.
    pub protocol_version: String,
    /// Its name, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its capabilities, as they came.
    pub capabilities: serde_json::Value,
    /// Its instructions to a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

/// The tools of a server as last listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolList {
    /// Whose tools.
    pub server: ServerId,
    /// When they were listed.
    pub listed_at: Millis,
    /// SHA-256 over names and schemas, in hexadecimal; equal lists have equal fingerprints.
    pub fingerprint: String,
    /// What the server said about itself.
    pub peer: Peer,
    /// The tools as the server gave them: key order and unknown fields kept.
    pub tools: Vec<serde_json::Value>,
}

/// One call of a tool, as the playground shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallRecord {
    /// Number of the call in this boot.
    pub call: u64,
    /// The server called.
    pub server: ServerId,
    /// The instance that answered.
    pub instance: u32,
    /// The tool.
    pub tool: String,
    /// The arguments as sent.
    pub arguments: serde_json::Value,
    /// When it was sent.
    pub at: Millis,
    /// How long the server took, in milliseconds, with the session's own work.
    pub duration_ms: f64,
    /// What came.
    pub outcome: CallOutcome,
    /// Joins this call with log lines and events.
    pub correlation: String,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CallOutcome {
    /// The server answered; `is_error` is the tool's own word.
    Result {
        /// The result as the server gave it.
        result: serde_json::Value,
        /// Whether the tool says that it failed.
        is_error: bool,
    },
    /// The server answered with a JSON-RPC error.
    RpcError {
        /// JSON-RPC code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data, as it came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<serde_json::Value>,
    },
    /// No answer came.
    Failed {
        /// Why.
        message: String,
    },
    /// The operator cancelled it.
    Cancelled,
}
