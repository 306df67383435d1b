//! What `fleet.toml` declares about a server.

use crate::{ServerId, gateway::Exposure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A declared server, every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerSpec {
    /// Its name.
    pub id: ServerId,
    /// One word for its kind (default `general`).
    pub category: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What it is for, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Why it is disabled; absent means it is not. A disabled server is neither started nor probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
    /// How it is reached.
    pub transport: Transport,
    /// How many instances are wanted (default 1, 0 to 64). Always 1 for a URL.
    pub replicas: u32,
    /// Whether it is started with the engine (default true).
    pub autostart: bool,
    /// Whether it sleeps while nobody calls it; absent means that it runs all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemand>,
    /// What must be up before it is started.
    pub depends_on: Vec<Dependency>,
    /// What happens when it exits.
    pub restart: RestartPolicy,
    /// From the request to SIGKILL, in milliseconds (default 5 s).
    pub stop_timeout_ms: u64,
    /// How its health is found out.
    pub health: HealthCheck,
    /// Ceilings.
    pub limits: Limits,
    /// Path of its Prometheus page (HTTP servers; for instance `/metrics`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_path: Option<String>,
    /// How clients of the gateway see it and how it is called for them; absent when every default stands.
    #[serde(default, skip_serializing_if = "Exposure::is_default")]
    pub gateway: Exposure,
}

/// A server that a call starts, and that is stopped when no call came for a while. What it offers stays in the gateway's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnDemand {
    /// Put to sleep after this long without a call, in milliseconds (default 10 min).
    pub idle_stop_ms: u64,
}

impl Default for OnDemand {
    fn default() -> Self {
        Self {
            idle_stop_ms: 600_000,
        }
    }
}

/// How a server is reached, and who starts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// We start it and speak over its standard streams.
    Stdio {
        /// What is run.
        #[serde(flatten)]
        launch: Launch,
    },
    /// We start it and it listens: instance *n* on `port` + 100·(n−1).
    Http {
        /// What is run; `{port}` in arguments and environment is the instance's port.
        #[serde(flatten)]
        launch: Launch,
        /// Port of the first instance.
        port: u16,
        /// Path of its MCP endpoint (default `/mcp`).
        path: String,
        /// Headers sent with each request.
        headers: BTreeMap<String, Value>,
    },
    /// Somebody else starts it; start and stop mean monitored or not.
    Url {
        /// Its MCP endpoint.
        url: String,
        /// Headers sent with each request.
        headers: BTreeMap<String, Value>,
    },
    /// A server of the old HTTP+SSE transport, kept disabled: the protocol has dropped it.
    Sse {
        /// Its endpoint.
        url: String,
    },
}

impl Transport {
    /// What is run, if we are the ones who run it.
    #[must_use]
    pub fn launch(&self) -> Option<&Launch> {
        match self {
            Self::Stdio { launch } | Self::Http { launch, .. } => Some(launch),
            Self::Url { .. } | Self::Sse { .. } => None,
        }
    }

    /// `stdio`, `http`, `url` or `sse`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdio { .. } => "stdio",
            Self::Http { .. } => "http",
            Self::Url { .. } => "url",
            Self::Sse { .. } => "sse",
        }
    }
}

/// A command to run, without a shell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Launch {
    /// Program: a path, or a name that is looked up in `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment, over the engine's own.
    pub env: BTreeMap<String, Value>,
    /// Working directory (default: the home directory of the operator).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// A value that may be a secret. Secrets travel by name only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Value {
    /// The text itself; `${VAR}` and `${VAR:-default}` come from the engine's environment at start.
    Text {
        /// The text.
        text: String,
    },
    /// A secret by its name in the keyring.
    Secret {
        /// Its name.
        name: String,
    },
}

impl Value {
    /// A plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// A server that must be up first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// Which.
    pub server: ServerId,
    /// How far up.
    pub condition: DependencyCondition,
}

/// How far up a dependency must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// Its process runs.
    #[default]
    Started,
    /// Its health is healthy.
    Healthy,
}

/// What happens when a process exits that nobody stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestartPolicy {
    /// When it is started again.
    pub policy: RestartWhen,
    /// Waits before the 1st, 2nd, … automatic restart in milliseconds; the last repeats (default 1 s, 2 s, 4 s).
    pub delays_ms: Vec<u64>,
    /// Random share by which a wait may shrink or grow, 0 to 1 (default 0).
    pub jitter: f64,
    /// Automatic restarts allowed before it counts as failed (default 3; absent = unlimited; 0 = none).
    pub max_restarts: Option<u32>,
    /// Uptime after which the count is 0 again, in milliseconds (default 30 s).
    pub reset_after_ms: u64,
    /// Exit codes that mean "finished, not crashed" (default 0).
    pub success_exit_codes: Vec<i32>,
    /// Whether an unhealthy instance is restarted (default false).
    pub on_unhealthy: bool,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            policy: RestartWhen::OnFailure,
            delays_ms: vec![1_000, 2_000, 4_000],
            jitter: 0.0,
            max_restarts: Some(3),
            reset_after_ms: 30_000,
            success_exit_codes: vec![0],
            on_unhealthy: false,
        }
    }
}

/// When an exited process is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartWhen {
    /// After a crash; a success exit code means stopped.
    #[default]
    OnFailure,
    /// After every exit.
    Always,
    /// Never.
    Never,
}

/// How health is found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// What is asked.
    pub check: Check,
    /// From one check to the next while healthy, in milliseconds (default 30 s).
    pub interval_ms: u64,
    /// How long an answer may take, in milliseconds (default 5 s).
    pub timeout_ms: u64,
    /// From one check to the next while undecided, in milliseconds (default 5 s).
    pub retry_interval_ms: u64,
    /// How long the first success may take after a start, in milliseconds (default 60 s: npx and uvx may download).
    pub start_timeout_ms: u64,
    /// Failures in a row that make it unhealthy (default 3).
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again (default 2).
    pub healthy_after: u32,
    /// A call that each check makes too, if there is one. With [`Check::Mcp`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// A call whose answer is known: it proves that a tool works, not only that it is listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Canary {
    /// The tool, as its server calls it.
    pub tool: String,
    /// Its arguments, an object.
    pub arguments: serde_json::Value,
    /// Text that the answer must contain; absent means that any answer but an error is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            check: Check::Mcp,
            interval_ms: 30_000,
            timeout_ms: 5_000,
            retry_interval_ms: 5_000,
            start_timeout_ms: 60_000,
            unhealthy_after: 3,
            healthy_after: 2,
            canary: None,
        }
    }
}

/// What one health check asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Check {
    /// The server answers as an MCP server, with the tools it had.
    Mcp,
    /// A GET is answered with 200 to 399.
    Http {
        /// A path on the instance's port, or a whole URL; `{port}` is the instance's port.
        url: String,
    },
    /// A TCP connection is accepted.
    Tcp {
        /// `HOST:PORT`; `{port}` is the instance's port.
        address: String,
    },
    /// A command exits with 0.
    Exec {
        /// Program and arguments, without a shell.
        command: Vec<String>,
    },
    /// Nothing: health stays unknown, never green.
    None,
}

/// Ceilings that restart an instance, with the reason shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Resident memory of the whole process tree, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Processes below the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<u32>,
}
