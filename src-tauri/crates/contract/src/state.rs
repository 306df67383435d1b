//! What is so now, as observed. Three axes that are never mixed: process, health, admin.

use crate::{
    InstanceId, Millis, ServerId, ServerSpec,
    tool::{Era, Peer},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// No process, and none wanted (or it finished by itself with success).
    #[default]
    Stopped,
    /// A start is under way: it waits for a dependency, or is being spawned.
    Starting,
    /// Spawned and alive; for a URL: monitored.
    Running,
    /// A stop is under way.
    Stopping,
    /// It exited; the next try is due at `next_try`.
    Restarting,
    /// It exited and will not be tried again.
    Failed,
    /// Stopped while idle; started by the next call.
    Sleeping,
}

/// The process axis of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessAxis {
    /// Where it is.
    pub state: ProcessState,
    /// Since when.
    pub since: Millis,
    /// Why, as a sentence ("exited with code 1 after 4 s").
    pub reason: String,
    /// When it is tried again (only while restarting).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Millis>,
}

/// How well an instance or a server does its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthLevel {
    /// Nobody asked (not running, or no check): never green.
    #[default]
    Unknown,
    /// It runs and has not answered yet.
    Starting,
    /// It answered as it should.
    Healthy,
    /// It answers, but something is amiss (a tool lost, a changed schema, some replicas down, one failed check).
    Degraded,
    /// It does not do its work.
    Unhealthy,
    /// The last answer is too old to be believed.
    Stale,
}

/// Why health is as it is, in a word that a program can match. Each has its remedy in `docs/health.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthCode {
    /// Proven by its check.
    Proven,
    /// Not wanted.
    Stopped,
    /// Admin state.
    Disabled,
    /// No check is configured.
    NoCheck,
    /// Waits for a dependency.
    WaitsForDependency,
    /// Runs, first answer outstanding.
    FirstAnswer,
    /// The first answer did not come within the start timeout.
    StartTimeout,
    /// A check failed, not yet often enough to decide.
    CheckFailing,
    /// Checks failed as often as the threshold says.
    CheckFailed,
    /// It answers again, not yet often enough.
    Recovering,
    /// It declares tools and lists none.
    NoTools,
    /// Tools that it had are gone.
    ToolsLost,
    /// The schema of a tool changed.
    SchemaChanged,
    /// It exited and waits for its next try.
    Restarting,
    /// It gave up: restart limit reached, or the command cannot be run.
    Failed,
    /// It finished by itself with success.
    Finished,
    /// Some, not all, instances do their work.
    SomeDown,
    /// A stop is under way.
    Stopping,
    /// The port is held by somebody else.
    PortTaken,
    /// The program was not found or may not be run.
    CannotStart,
    /// A secret it needs is missing.
    SecretMissing,
    /// Answers are overdue.
    Overdue,
    /// Nobody calls it: stopped until the next call.
    Sleeping,
}

/// What an operator can do about it, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NextAction {
    /// Nothing to do.
    None,
    /// Wait; it is being dealt with.
    Wait,
    /// Start it.
    Start,
    /// Start it again.
    Restart,
    /// Try now instead of waiting.
    RetryNow,
    /// Read its log.
    ReadLog,
    /// Correct its configuration.
    EditConfig,
    /// Enter the secret.
    SetSecret,
    /// Enable it.
    Enable,
    /// Look at its tools and accept the change.
    ReviewTools,
}

/// One health object, the same words on every surface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthReport {
    /// How well.
    pub level: HealthLevel,
    /// Since when.
    pub since: Millis,
    /// Why, in a word.
    pub code: HealthCode,
    /// Why, in a sentence.
    pub sentence: String,
    /// What would help.
    pub action: NextAction,
    /// When it was last proven or disproven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Millis>,
    /// How long the last check took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_ms: Option<f64>,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastExit {
    /// When.
    pub at: Millis,
    /// Exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Signal by name, if a signal ended it ("SIGKILL").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// How long it had run, in milliseconds.
    pub ran_ms: u64,
    /// Highest resident memory seen, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// The last lines of its output, at most 20.
    pub last_lines: Vec<String>,
}

/// Totals of an instance's process tree at the last sampling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// When.
    pub at: Millis,
    /// Percent of one core.
    pub cpu_percent: f32,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Open file descriptors.
    pub open_files: u32,
    /// Threads.
    pub threads: u32,
    /// Processes below the first one.
    pub children: u32,
}

/// One instance as observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceView {
    /// Which.
    pub id: InstanceId,
    /// Process axis.
    pub process: ProcessAxis,
    /// Health axis.
    pub health: HealthReport,
    /// Word for a screen, derived from the axes.
    pub status: Status,
    /// First process, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Port it listens on (HTTP servers that we start).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// When the running process was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    /// Automatic restarts since it last stayed up for `reset_after`.
    pub restarts: u32,
    /// Automatic restarts since the engine started.
    pub restarts_total: u32,
    /// How it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// Totals of its process tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// One word for a screen, derived from process, health and admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Runs and is proven.
    Running,
    /// Runs, nobody checks (`check = none`).
    Unchecked,
    /// Runs or is being started, not proven yet.
    Starting,
    /// Works, but something is amiss.
    Degraded,
    /// Runs and does not do its work.
    Unhealthy,
    /// Waits for its next try.
    Restarting,
    /// Gave up.
    Failed,
    /// A stop is under way.
    Stopping,
    /// Stopped.
    Stopped,
    /// Answers are overdue.
    Stale,
    /// Stopped while idle.
    Sleeping,
    /// Disabled.
    Disabled,
}

impl Status {
    /// The one derivation of the word from the axes.
    #[must_use]
    pub fn derive(disabled: bool, process: ProcessState, health: HealthLevel) -> Self {
        match (disabled, process, health) {
            (_, ProcessState::Stopping, _) => Self::Stopping,
            (true, _, _) => Self::Disabled,
            (_, ProcessState::Stopped, _) => Self::Stopped,
            (_, ProcessState::Starting, _) => Self::Starting,
            (_, ProcessState::Restarting, _) => Self::Restarting,
            (_, ProcessState::Failed, _) => Self::Failed,
            (_, ProcessState::Sleeping, _) => Self::Sleeping,
            (_, ProcessState::Running, HealthLevel::Healthy) => Self::Running,
            (_, ProcessState::Running, HealthLevel::Unknown) => Self::Unchecked,
            (_, ProcessState::Running, HealthLevel::Starting) => Self::Starting,
            (_, ProcessState::Running, HealthLevel::Degraded) => Self::Degraded,
            (_, ProcessState::Running, HealthLevel::Unhealthy) => Self::Unhealthy,
            (_, ProcessState::Running, HealthLevel::Stale) => Self::Stale,
        }
    }

    /// Whether an operator should look at it.
    #[must_use]
    pub fn needs_attention(self) -> bool {
        matches!(
            self,
            Self::Degraded | Self::Unhealthy | Self::Restarting | Self::Failed
        )
    }
}

/// A wish that differs from what the file declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// Whether it should run, if overridden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
    /// How many instances, if overridden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// One server as declared, wanted and observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerView {
    /// What the file declares.
    pub spec: ServerSpec,
    /// What start, stop and scale changed about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#override: Option<Override>,
    /// Whether it should run now.
    pub wanted: bool,
    /// How many instances are wanted now (0 when it should not run).
    pub wanted_replicas: u32,
    /// Health of the whole.
    pub health: HealthReport,
    /// Word for a screen.
    pub status: Status,
    /// Its instances, by index.
    pub instances: Vec<InstanceView>,
    /// What it said about itself, once greeted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// How many tools it lists; absent until listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<u32>,
    /// What differs from the tools it had, each as a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// Cached era, which saves the question at the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    /// Configuration revision that last touched it.
    pub revision: u64,
}

impl ServerView {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &ServerId {
        &self.spec.id
    }
}

/// Numbers over a fleet (the vocabulary of the dashboard; healthy and unhealthy count running servers only).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetCounts {
    /// Declared servers.
    pub total: u32,
    /// Servers with at least one running instance.
    pub running: u32,
    /// Running servers proven healthy.
    pub healthy: u32,
    /// Running servers found unhealthy.
    pub unhealthy: u32,
    /// Servers that gave up.
    pub failed: u32,
    /// Instances that run.
    pub instances_running: u32,
    /// Instances wanted now: those that sleep are not.
    pub instances_wanted: u32,
}

impl FleetCounts {
    /// Counts over these servers.
    pub fn of<'a>(servers: impl IntoIterator<Item = &'a ServerView>) -> Self {
        let mut counts = Self::default();
        for server in servers {
            let monitored = matches!(server.spec.transport, crate::spec::Transport::Url { .. });
            let runs = |i: &&InstanceView| {
                // What is only monitored runs as far as it answers.
                let answers =
                    matches!(i.health.level, HealthLevel::Healthy | HealthLevel::Degraded);
                i.process.state == ProcessState::Running && (!monitored || answers)
            };
            let up = server.instances.iter().filter(runs).count();
            counts.total += 1;
            counts.instances_running += u32::try_from(up).unwrap_or(u32::MAX);
            let asleep = server
                .instances
                .iter()
                .filter(|i| i.process.state == ProcessState::Sleeping)
                .count();
            // What sleeps is wanted when somebody calls it, not now.
            counts.instances_wanted += server
                .wanted_replicas
                .saturating_sub(u32::try_from(asleep).unwrap_or(u32::MAX));
            counts.failed += u32::from(server.status == Status::Failed);
            if up > 0 {
                counts.running += 1;
                counts.healthy += u32::from(server.health.level == HealthLevel::Healthy);
                counts.unhealthy += u32::from(server.health.level == HealthLevel::Unhealthy);
            }
        }
        counts
    }
}
