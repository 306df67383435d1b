//! What flows between an engine and a screen, over IPC and WebSocket alike.
//!
//! A client sends [`ClientFrame`]s and receives [`ServerFrame`]s as JSON text; metric ticks are binary
//! (see [`crate::metric`]). Every subscription starts with what is there now and goes on with what changes.

use crate::{
    Event, Millis, ServerView, WireError,
    log::{LogEntry, LogQuery},
    metric::SeriesInfo,
    state::FleetCounts,
    workflow::{RunSummary, RunView, StepDetail, StepView},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From a screen to an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Run a command.
    Call {
        /// Comes back with the answer.
        id: u64,
        /// Name of the command.
        command: String,
        /// Its parameters.
        #[serde(default)]
        params: serde_json::Value,
    },
    /// Open a subscription.
    Subscribe {
        /// Comes back with each frame.
        id: u64,
        /// To what.
        #[serde(flatten)]
        topic: Topic,
    },
    /// Close a subscription.
    Unsubscribe {
        /// Its id.
        id: u64,
    },
}

/// What can be followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "topic", rename_all = "snake_case")]
pub enum Topic {
    /// The whole fleet: one [`Update::Fleet`], then [`Update::Changed`].
    Fleet,
    /// Events from now on.
    Events,
    /// Log lines: the tail, then what comes.
    Logs {
        /// Which lines.
        query: LogQuery,
    },
    /// Metric ticks: [`Update::Series`] whenever the set of series changes, and binary frames.
    Metrics,
    /// A run of a workflow: one [`Update::Run`], then [`Update::RunChanged`]. Nothing when there is no such run.
    Run {
        /// Its number.
        run: u64,
    },
    /// A step of a run: [`Update::Step`] now and whenever it changed, also when its command wrote something. Nothing when there is no such step.
    Step {
        /// The run.
        run: u64,
        /// Id or name of the step.
        step: String,
        /// Place of the item, from 0, of a step that runs for each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u32>,
    },
}

/// From an engine to a screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "frame", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a frame is made, written and dropped; none are kept in numbers"
)]
pub enum ServerFrame {
    /// First frame of a connection.
    Hello(Hello),
    /// The answer to a call.
    Answer {
        /// Id of the call.
        id: u64,
        /// What the command gave.
        result: serde_json::Value,
    },
    /// A call that failed.
    Error {
        /// Id of the call or subscription.
        id: u64,
        /// Why.
        error: WireError,
    },
    /// News of a subscription.
    Update {
        /// Id of the subscription.
        id: u64,
        /// What is new.
        update: Update,
    },
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// [`crate::CONTRACT_VERSION`] of the engine.
    pub contract: u32,
    /// Version of the product.
    pub version: String,
    /// Boot id: another one means another engine process, and everything is to be read again.
    pub boot: String,
    /// Engine's clock.
    pub now: Millis,
}

/// What is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "update", rename_all = "snake_case")]
pub enum Update {
    /// Everything, as of `seq`.
    Fleet(FleetSnapshot),
    /// What changed since the frame before; `seq` grows by one, a hole asks for a new subscription.
    Changed(FleetDelta),
    /// Events, oldest first.
    Events {
        /// The events.
        events: Vec<Event>,
        /// Highest position that is safely on disk.
        durable: u64,
    },
    /// Log entries, oldest first.
    Logs {
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// The series that binary frames may name from now on.
    Series {
        /// Sampling interval in milliseconds.
        interval: u64,
        /// All of them.
        series: Vec<SeriesInfo>,
    },
    /// A run, whole.
    Run(RunView),
    /// What changed of a run since the frame before.
    RunChanged {
        /// The run in a line.
        summary: RunSummary,
        /// Its steps that changed, whole.
        steps: Vec<StepView>,
    },
    /// A step of a run as it is now.
    Step(StepDetail),
}

/// The whole fleet at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetSnapshot {
    /// Boot id of the engine.
    pub boot: String,
    /// Place in the stream of deltas.
    pub seq: u64,
    /// Engine's clock.
    pub now: Millis,
    /// Facts of the engine.
    pub engine: EngineInfo,
    /// Every declared server, by name.
    pub servers: Vec<ServerView>,
    /// Numbers over them.
    pub counts: FleetCounts,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetDelta {
    /// Place in the stream.
    pub seq: u64,
    /// Engine's clock.
    pub now: Millis,
    /// Servers that changed, whole.
    pub servers: Vec<ServerView>,
    /// Servers that are gone.
    pub removed: Vec<crate::ServerId>,
    /// Numbers over the whole fleet.
    pub counts: FleetCounts,
    /// Facts of the engine, when they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineInfo>,
}

/// Facts of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInfo {
    /// Boot id.
    pub boot: String,
    /// Product version.
    pub version: String,
    /// When it started.
    pub started_at: Millis,
    /// Name of the machine.
    pub host: String,
    /// Its home directory.
    pub home: String,
    /// The configuration file.
    pub config_path: String,
    /// Profile in force.
    pub profile: String,
    /// Whether it was started with `--production`: a home that others may enter and well-known secrets are refused.
    pub production: bool,
    /// Revision in force.
    pub revision: u64,
    /// What is wrong with the file on disk, if the last good one is in force instead.
    pub config_findings: Vec<crate::command::ConfigFinding>,
    /// Addresses that listen, each with what it serves.
    pub listeners: Vec<Listener>,
    /// Sampling interval in milliseconds.
    pub sample_interval: u64,
    /// How secrets are kept: a sentence that is true on this machine.
    pub secrets: String,
    /// What the engine wants an operator to know (a database set aside, a port moved, …).
    pub notices: Vec<String>,
}

/// An address that listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// What it serves ("panel").
    pub serves: String,
    /// `HOST:PORT`.
    pub address: String,
    /// Why it is not the default one, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
