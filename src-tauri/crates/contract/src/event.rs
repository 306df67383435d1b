//! Facts that happened: the only way state reaches a screen.

use crate::{
    InstanceId, Millis, ServerId,
    alert::Severity,
    gateway::BreakerState,
    state::{HealthReport, LastExit},
    workflow::{RunState, StepState, TriggerOutcome},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fact with its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Place in the log of this home: grows by one, over restarts of the engine too.
    pub seq: u64,
    /// When.
    pub at: Millis,
    /// Which server, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// Which instance, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// Joins what one operation caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum EventKind {
    /// A server was declared, or declared anew.
    #[serde(rename = "server:registered")]
    Registered,
    /// A server is no longer declared.
    #[serde(rename = "server:removed")]
    Removed,
    /// An instance is about to be spawned.
    #[serde(rename = "server:starting")]
    Starting,
    /// An instance was spawned.
    #[serde(rename = "server:started")]
    Started {
        /// Its first process.
        pid: Option<u32>,
    },
    /// An instance is stopped: asked for, or finished by itself with success. Once per end.
    #[serde(rename = "server:stopped")]
    Stopped {
        /// Why.
        reason: String,
        /// How the process ended, if there was one.
        exit: Option<LastExit>,
    },
    /// An instance exited and is due again.
    #[serde(rename = "server:restarting")]
    Restarting {
        /// Number of this try, from 1.
        attempt: u32,
        /// Wait before it, in milliseconds.
        delay: u64,
        /// When it is due.
        next_try: Millis,
        /// How the process ended.
        exit: Option<LastExit>,
    },
    /// An instance is healthy (or, without a check, has stayed up for `reset_after`) after automatic restarts.
    #[serde(rename = "server:recovered")]
    Recovered {
        /// Restarts that it took.
        attempts: u32,
    },
    /// An instance gave up.
    #[serde(rename = "server:failed")]
    Failed {
        /// Automatic restarts used.
        restarts: u32,
        /// Why.
        error: String,
        /// How the process ended, if there was one.
        exit: Option<LastExit>,
    },
    /// Something went wrong with an instance that did not end it.
    #[serde(rename = "server:error")]
    Error {
        /// What.
        error: String,
    },
    /// Health of an instance changed.
    #[serde(rename = "server:health")]
    Health {
        /// The new health.
        health: HealthReport,
    },
    /// An instance became unhealthy.
    #[serde(rename = "server:unhealthy")]
    Unhealthy {
        /// Why.
        error: String,
    },
    /// The tools of a server differ from those it had.
    #[serde(rename = "server:tools")]
    Tools {
        /// How many it lists now.
        count: u32,
        /// What differs, each as a sentence.
        findings: Vec<String>,
    },
    /// A server was scaled.
    #[serde(rename = "server:scaled")]
    Scaled {
        /// Instances wanted before.
        from: u32,
        /// Instances wanted now.
        to: u32,
    },
    /// A ceiling was crossed; a restart follows.
    #[serde(rename = "server:ceiling")]
    Ceiling {
        /// What was seen and what is allowed.
        reason: String,
    },
    /// A circuit breaker of the gateway opened, let calls through on trial, or closed.
    #[serde(rename = "gateway:breaker")]
    Breaker {
        /// Its tool; absent for the breaker of the whole server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool: Option<String>,
        /// Where it is now.
        state: BreakerState,
        /// Why, as a sentence.
        reason: String,
    },
    /// An operator did something.
    #[serde(rename = "action")]
    Action {
        /// Who.
        actor: String,
        /// The command.
        command: String,
        /// What came of it.
        outcome: String,
        /// Whether it reached its end.
        ok: bool,
    },
    /// `fleet.toml` was read and applied.
    #[serde(rename = "config:applied")]
    ConfigApplied {
        /// Number of the revision.
        revision: u64,
        /// What changed, each as a sentence.
        changes: Vec<String>,
    },
    /// `fleet.toml` is broken; the last good one stays in force.
    #[serde(rename = "config:rejected")]
    ConfigRejected {
        /// What is wrong.
        findings: Vec<crate::command::ConfigFinding>,
    },
    /// An agent was registered, changed or removed.
    #[serde(rename = "agent:changed")]
    AgentChanged {
        /// Which.
        agent: String,
        /// `deployed`, `updated` or `removed`.
        change: String,
    },
    /// A run of a workflow began, or ended.
    #[serde(rename = "workflow:run")]
    WorkflowRun {
        /// Its number.
        run: u64,
        /// Name of the workflow.
        workflow: String,
        /// How far it is.
        state: RunState,
        /// Why, where that says more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A step of a run failed, or asks a person.
    #[serde(rename = "workflow:step")]
    WorkflowStep {
        /// Number of the run.
        run: u64,
        /// Name of the workflow.
        workflow: String,
        /// Id of the step.
        step: String,
        /// How far it is: `failed` or `waiting`.
        state: StepState,
        /// Why.
        why: String,
    },
    /// A step of a run has something to tell people.
    #[serde(rename = "workflow:notice")]
    WorkflowNotice {
        /// Number of the run.
        run: u64,
        /// Name of the workflow.
        workflow: String,
        /// What.
        message: String,
    },
    /// An alert fires.
    #[serde(rename = "alert:firing")]
    AlertFiring {
        /// Its id.
        alert: String,
        /// Name of its rule.
        rule: String,
        /// How bad it is.
        severity: Severity,
        /// What is wrong.
        summary: String,
        /// The value that fulfils the condition.
        value: f64,
    },
    /// An alert has ended.
    #[serde(rename = "alert:resolved")]
    AlertResolved {
        /// Its id.
        alert: String,
        /// Name of its rule.
        rule: String,
        /// How bad it was.
        severity: Severity,
        /// What was wrong.
        summary: String,
        /// How long it fired, in milliseconds.
        fired_ms: u64,
    },
    /// A channel of the kind `desktop` tells the person at the screen.
    #[serde(rename = "alert:notice")]
    AlertNotice {
        /// What is to be read first.
        title: String,
        /// The rest.
        body: String,
        /// The worst of what it tells.
        severity: Severity,
    },
    /// A trigger of a workflow fired and no run started, or waits. The same again is not told.
    #[serde(rename = "workflow:trigger")]
    WorkflowTrigger {
        /// Name of the workflow.
        workflow: String,
        /// The trigger.
        trigger: String,
        /// What came of it.
        outcome: TriggerOutcome,
        /// Why.
        why: String,
    },
    /// The engine is up.
    #[serde(rename = "engine:started")]
    EngineStarted {
        /// Boot id.
        boot: String,
    },
    /// The engine stops.
    #[serde(rename = "manager:shutdown")]
    EngineStopped,
}

impl EventKind {
    /// The word of the event, as it stands in `kind`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Registered => "server:registered",
            Self::Removed => "server:removed",
            Self::Starting => "server:starting",
            Self::Started { .. } => "server:started",
            Self::Stopped { .. } => "server:stopped",
            Self::Restarting { .. } => "server:restarting",
            Self::Recovered { .. } => "server:recovered",
            Self::Failed { .. } => "server:failed",
            Self::Error { .. } => "server:error",
            Self::Health { .. } => "server:health",
            Self::Unhealthy { .. } => "server:unhealthy",
            Self::Tools { .. } => "server:tools",
            Self::Scaled { .. } => "server:scaled",
            Self::Ceiling { .. } => "server:ceiling",
            Self::Breaker { .. } => "gateway:breaker",
            Self::Action { .. } => "action",
            Self::ConfigApplied { .. } => "config:applied",
            Self::ConfigRejected { .. } => "config:rejected",
            Self::AgentChanged { .. } => "agent:changed",
            Self::WorkflowRun { .. } => "workflow:run",
            Self::WorkflowStep { .. } => "workflow:step",
            Self::WorkflowNotice { .. } => "workflow:notice",
            Self::AlertFiring { .. } => "alert:firing",
            Self::AlertResolved { .. } => "alert:resolved",
            Self::AlertNotice { .. } => "alert:notice",
            Self::WorkflowTrigger { .. } => "workflow:trigger",
            Self::EngineStarted { .. } => "engine:started",
            Self::EngineStopped => "manager:shutdown",
        }
    }
}

/// An event that has no place yet: what a component hands to the log.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Which instance (index 0 = the whole server), if it is about one.
    pub about: Option<InstanceId>,
    /// Joins what one operation caused.
    pub correlation: Option<String>,
    /// What happened.
    pub what: EventKind,
}
