//! What a host (server, desktop, test) sees of the engine.

use crate::{
    HookCall, HookEnd, core::Core, dashboard, families, families::Connections,
    subscribe::Subscription,
};
use flotilla_contract::{
    Caller, WireError,
    dashboard::DashboardMetrics,
    dispatch,
    frame::{Hello, Listener, Topic},
};
use flotilla_gateway::Gateway;
use flotilla_metrics::Format;
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How an engine is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Home directory: one engine owns one home.
    pub home: PathBuf,
    /// Configuration file (default: `fleet.toml` in the home).
    pub config: Option<PathBuf>,
    /// Command line of the guard process: program, then arguments; the mark of the boot is added. Host binaries
    /// re-execute themselves with [`flotilla_os::guard::ARGUMENT`].
    pub guard: Vec<OsString>,
    /// Command line with which an AI client that can only start programs reaches the gateway (`flotilla connect`): program, then
    /// arguments. Empty where there is no such program; then the files of these clients are not written.
    pub bridge: Vec<String>,
    /// Refuse state that others may read, and secrets that everybody knows.
    pub production: bool,
    /// Distance of two samplings; `None`: as the configuration says (default 2 s). Zero switches sampling off.
    pub sample_interval: Option<Duration>,
}

/// Contents of `engine.json` (0600): the only way in for the CLI, tests and attaching desktops.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Boot {
    /// Boot id.
    pub boot: String,
    /// Process id of the engine.
    pub pid: u32,
    /// Base address of the panel ("http://127.0.0.1:3000").
    pub url: String,
    /// Where AI clients reach the fleet (`http://127.0.0.1:8720/mcp`), while the gateway is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Where the realtime dashboard listens (`ws://127.0.0.1:9000`), while it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
    /// Where requests are followed (`ws://127.0.0.1:8787/stream`), while that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Token of the control surfaces.
    pub token: String,
    /// Version of the engine.
    pub version: String,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another engine owns the home.
    #[error("the home {} is owned by another engine{}", .home.display(), .boot.as_ref().map_or_else(String::new, |b| format!(" (process {}, {})", b.pid, b.url)))]
    Owned {
        /// The home.
        home: PathBuf,
        /// How to reach the owner, once it listens.
        boot: Option<Box<Boot>>,
    },
    /// The home cannot be used.
    #[error("failed to use the home {}: {error}", .home.display())]
    Home {
        /// The home.
        home: PathBuf,
        /// Why.
        error: String,
    },
    /// The key that secrets are to be encrypted with could be guessed.
    #[error("failed to use FLOTILLA_SECRETS_KEY: {0}")]
    Key(String),
    /// The guard cannot be started: without it, killing the engine would leave servers behind.
    #[error("failed to start the guard: {0}")]
    Guard(io::Error),
}

/// A running engine. Dropping it without [`Engine::shutdown`] is a crash: the guard cleans up.
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// Takes the home, reads the configuration, brings the fleet back as it was wanted. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the home is owned or unusable. A broken configuration or database is no error: the engine starts and says
    /// so.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        Core::start(options).await.map(|core| Self { core })
    }

    /// A cheap clone of the way in.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            core: self.core.clone(),
        }
    }

    /// Stops every server (dependents first, whole trees), writes what is pending, gives the home free.
    pub async fn shutdown(self) {
        self.core.shutdown().await;
    }
}

/// The way in: commands and subscriptions.
#[derive(Clone)]
pub struct Handle {
    core: Arc<Core>,
}

impl Handle {
    /// Who answers.
    #[must_use]
    pub fn hello(&self) -> Hello {
        self.core.hello()
    }

    /// Token of the control surfaces.
    #[must_use]
    pub fn token(&self) -> String {
        self.core.token.clone()
    }

    /// The home directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.core.home.path()
    }

    /// The panel's port as the operator set it in the configuration, if so.
    #[must_use]
    pub fn panel_port(&self) -> Option<u16> {
        self.core.fleet().panel_port
    }

    /// The gateway, unless the configuration switches it off.
    #[must_use]
    pub fn gateway(&self) -> Option<Gateway> {
        let enabled = self.core.fleet().gateway.enabled;
        enabled.then(|| self.core.gateway.clone())
    }

    /// The gateway's port as the operator set it in the configuration, if so.
    #[must_use]
    pub fn gateway_port(&self) -> Option<u16> {
        self.core.fleet().gateway.port
    }

    /// Ports of the dashboard WebSocket and of the agent stream as the operator set them in the configuration, if so.
    #[must_use]
    pub fn socket_ports(&self) -> (Option<u16>, Option<u16>) {
        let fleet = self.core.fleet();
        (fleet.dashboard.port, fleet.stream.port)
    }

    /// Whether the configuration has the dashboard WebSocket and the agent stream served.
    #[must_use]
    pub fn sockets(&self) -> (bool, bool) {
        let fleet = self.core.fleet();
        (fleet.dashboard.enabled, fleet.stream.enabled)
    }

    /// How often the dashboard WebSocket sends the picture.
    #[must_use]
    pub fn dashboard_every(&self) -> Duration {
        self.core.fleet().dashboard.interval
    }

    /// The page of metrics, with what the host's sockets know.
    pub async fn metrics(&self, format: Format, connections: Connections) -> String {
        families::page(&self.core, format, connections).await
    }

    /// The picture that the dashboard WebSocket sends.
    #[must_use]
    pub fn dashboard(&self, connections: Connections) -> DashboardMetrics {
        dashboard::metrics(&self.core, connections)
    }

    /// `{ok, service, version, time, agents}` for `/api/agent?action=status`.
    #[must_use]
    pub fn agent_status(&self) -> serde_json::Value {
        dashboard::agent_status(&self.core)
    }

    /// Runs a command by name. Once begun it goes on, even if the future is dropped.
    ///
    /// # Errors
    /// `bad_request` for an unknown name or parameters of another shape, otherwise what the command says.
    pub async fn call(
        &self,
        caller: &Caller,
        command: &str,
        params: serde_json::Value,
    ) -> Result<serde_json::Value, WireError> {
        let (core, caller, command) = (self.core.clone(), caller.clone(), command.to_owned());
        let span = tracing::info_span!("command", %command, actor = %caller.actor, correlation = %caller.correlation);
        let run = async move { dispatch(&*core, &caller, &command, params).await };
        let done = tokio::spawn(tracing::Instrument::instrument(run, span)).await;
        done.unwrap_or_else(|error| {
            Err(WireError::new(
                flotilla_contract::ErrorCode::Internal,
                format!("run the command: {error}"),
            ))
        })
    }

    /// A request to a hook of a workflow: whoever knows its secret may call it, and nobody else. Once begun it goes on, even if the future is
    /// dropped.
    pub async fn hook(&self, call: HookCall) -> HookEnd {
        let core = self.core.clone();
        let done = tokio::spawn(async move { core.hook(call).await }).await;
        done.unwrap_or_else(|error| {
            HookEnd::Failed(WireError::new(
                flotilla_contract::ErrorCode::Internal,
                format!("call the hook: {error}"),
            ))
        })
    }

    /// Opens a subscription.
    #[must_use]
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        Subscription::open(self.core.clone(), topic)
    }

    /// Tells which addresses listen; the first one that serves `panel` goes into `engine.json`. Where that cannot be
    /// written, the panel says so.
    pub fn announce(&self, listeners: Vec<Listener>) {
        self.core.announce(listeners);
    }

    /// Tells the operator something, in the panel, until the engine ends.
    pub fn notice(&self, text: String) {
        self.core.notice(text);
    }

    /// A port remembered from an earlier start, if the default one was taken then.
    pub async fn remembered_port(&self, serves: &str) -> Option<u16> {
        self.core.control.ports().await.ok()?.get(serves).copied()
    }

    /// Remembers the port.
    pub async fn remember_port(&self, serves: &str, port: u16) {
        if let Err(error) = self.core.control.remember_port(serves, port).await {
            tracing::warn!(%error, "failed to remember a port");
        }
    }

    /// Resolves when a shutdown was asked for (by `engine.shutdown`).
    pub async fn shutdown_requested(&self) {
        self.core.shutdown_requested.cancelled().await;
    }

    /// `{ok, timestamp, queue, running, components{}}` for `/healthz`.
    #[must_use]
    pub fn healthz(&self) -> serde_json::Value {
        self.core.healthz()
    }
}
