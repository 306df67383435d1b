//! What the gateway asks of the engine, and what the engine tells it.

use flotilla_contract::{
    InstanceId, ServerId,
    gateway::{BreakerState, CallRecord, Exposure},
    tool::Peer,
};
use flotilla_mcp::{Asked, Error, PoolStats, Session};
use serde_json::value::RawValue;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// A future in a box.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A session and what its server said about itself.
pub type Opened = Result<(Session, Arc<Peer>), Error>;

/// The engine, as the gateway sees it.
pub trait Fleet: Send + Sync + 'static {
    /// The one session of an instance, greeted within `limit`.
    fn shared(&self, instance: &InstanceId, limit: Duration) -> Boxed<Opened>;

    /// A new session with an instance, in the name of one client: a connection over HTTP, a process over standard streams. It
    /// belongs to the caller, and ends when that drops it.
    fn own(&self, instance: &InstanceId, client: AsClient, limit: Duration) -> Boxed<Opened>;

    /// A call needs a server that sleeps: starts it. Told within about `limit` whether it came up, and why not, as a sentence
    /// without a final period.
    fn wake(
        &self,
        server: &ServerId,
        correlation: Option<&str>,
        limit: Duration,
    ) -> Boxed<Result<(), String>>;

    /// Nobody calls a server on demand: it is to be stopped until somebody does. False: it is not to be.
    fn sleep(&self, server: &ServerId, why: &str) -> bool;

    /// What a server offered when it was last asked, as given to [`remember`](Self::remember).
    fn remembered(&self, server: &ServerId) -> Option<Arc<str>>;

    /// Keeps what a server on demand offers, for when it sleeps. Must not block.
    fn remember(&self, server: &ServerId, offer: &str);

    /// A call is over that is to be kept on disk. Must not block.
    fn keep(&self, record: &Arc<CallRecord>, content: Option<Content>);

    /// The connections to an instance; `None` where they are not counted.
    fn pool(&self, instance: &InstanceId) -> Option<PoolStats>;

    /// A breaker moved. Must not block.
    fn breaker(&self, server: &ServerId, tool: Option<&str>, state: BreakerState, reason: &str);
}

/// What was said in a call, where that is kept.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The tool's or prompt's arguments.
    pub arguments: Option<Box<RawValue>>,
    /// The result, or the error's text.
    pub result: Option<Box<RawValue>>,
}

/// In whose name a session is opened.
pub struct AsClient {
    /// Its name, for logs.
    pub name: String,
    /// The client's capabilities, as it declared them.
    pub capabilities: Option<Box<RawValue>>,
    /// Where the server's questions go.
    pub asked: mpsc::Sender<Asked>,
}

/// A server as the engine sees it now.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name.
    pub id: ServerId,
    /// What is declared about it.
    pub exposure: Arc<Exposure>,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Why it is not served at all (disabled, stopped, …), as a sentence; used when no instance serves.
    pub reason: String,
    /// Whether it sleeps while nobody calls it.
    pub on_demand: Option<OnDemand>,
}

/// A server that is stopped while nobody calls it, and started by the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// Put to sleep after this long without a call.
    pub idle: Duration,
    /// How long a call waits for its start.
    pub start: Duration,
    /// Whether a call may wait for it: it sleeps, or is on its way. Not while it is stopped or failed.
    pub comes: bool,
    /// Whether it sleeps now.
    pub asleep: bool,
}

/// One instance as the engine sees it now.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Which.
    pub id: InstanceId,
    /// Another number means another process: what was known of the old one is void.
    pub spawn: u64,
    /// Why it gets no calls, as a sentence; absent when it does.
    pub unfit: Option<String>,
}
