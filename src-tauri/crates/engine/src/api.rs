//! What a host (server, desktop, test) sees of the engine.

use flotilla_contract::{
    Caller, WireError,
    frame::{Hello, Listener, Topic, Update},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// How an engine is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Home directory: one engine owns one home.
    pub home: PathBuf,
    /// Configuration file (default: `fleet.toml` in the home).
    pub config: Option<PathBuf>,
    /// Command line of the guard process: program, then arguments. The host binary re-executes itself.
    pub guard: Vec<std::ffi::OsString>,
    /// Refuse default secrets and world-readable state.
    pub production: bool,
    /// Distance of two samplings; `None` switches sampling off.
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
    /// Token of the control surfaces.
    pub token: String,
    /// Version of the engine.
    pub version: String,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another engine owns the home.
    #[error("the home {home} is owned by another engine (pid {})", .boot.as_ref().map_or_else(|| "unknown".into(), |b| b.pid.to_string()))]
    Owned {
        /// The home.
        home: PathBuf,
        /// How to reach the owner.
        boot: Option<Box<Boot>>,
    },
    /// The home cannot be used.
    #[error("failed to use the home {home}: {error}")]
    Home {
        /// The home.
        home: PathBuf,
        /// Why.
        error: String,
    },
}

/// A running engine. Dropping it without [`Engine::shutdown`] is a crash: the guard cleans up.
pub struct Engine {
    handle: Handle,
}

impl Engine {
    /// Takes the home, reads the configuration, brings the fleet back as it was wanted.
    ///
    /// # Errors
    /// When the home is owned or unusable. A broken configuration or database is not an error: the engine starts and says so.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let _ = options;
        unimplemented!()
    }

    /// A cheap clone of the way in.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops every server (reverse order, whole trees), writes what is pending, gives the home free.
    pub async fn shutdown(self) {}
}

/// The way in: commands and subscriptions. `Handle` also implements [`flotilla_contract::Handler`].
#[derive(Clone)]
pub struct Handle {
    #[allow(dead_code)]
    inner: Arc<()>,
}

impl Handle {
    /// Who answers.
    pub fn hello(&self) -> Hello {
        unimplemented!()
    }
    /// Token of the control surfaces.
    pub fn token(&self) -> String {
        unimplemented!()
    }
    /// Runs a command by name.
    pub async fn call(&self, caller: &Caller, command: &str, params: serde_json::Value) -> Result<serde_json::Value, WireError> {
        let _ = (caller, command, params);
        unimplemented!()
    }
    /// Opens a subscription.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        let _ = topic;
        unimplemented!()
    }
    /// Tells which addresses listen; the first one that serves "panel" goes into `engine.json`.
    pub async fn announce(&self, listeners: Vec<Listener>) -> std::io::Result<()> {
        let _ = listeners;
        unimplemented!()
    }
    /// A port remembered from an earlier start, if the default one was taken then.
    pub async fn remembered_port(&self, serves: &str) -> Option<u16> {
        let _ = serves;
        unimplemented!()
    }
    /// Remembers the port.
    pub async fn remember_port(&self, serves: &str, port: u16) {
        let _ = (serves, port);
        unimplemented!()
    }
    /// Resolves when a shutdown was asked for (by `engine.shutdown`).
    pub async fn shutdown_requested(&self) {
        unimplemented!()
    }
    /// `{ok, timestamp, queue, running, components{}}` for `/healthz`.
    pub fn healthz(&self) -> serde_json::Value {
        unimplemented!()
    }
}

/// News of one subscription. Bounded: a reader that is too slow gets a fresh start, never back-pressure on the engine.
pub struct Subscription {}

/// One piece of news.
pub enum Outgoing {
    /// JSON.
    Update(Update),
    /// A metric tick.
    Binary(bytes::Bytes),
}

impl Subscription {
    /// The next piece of news; `None` when the engine is gone.
    pub async fn next(&mut self) -> Option<Outgoing> {
        unimplemented!()
    }
}
