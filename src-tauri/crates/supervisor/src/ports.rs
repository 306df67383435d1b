//! What the supervisor needs from others, as traits that the engine fills in.

use crate::health::Found;
use flotilla_contract::{InstanceId, ServerSpec, event::NewEvent, state::HealthCode};
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::process::{ChildStdin, ChildStdout};

/// A future that owns what it needs.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// One process of an instance: the spawn number tells this one from the ones before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The instance.
    pub id: InstanceId,
    /// Number of the spawn, from 1, over all spawns of this boot.
    pub spawn: u64,
}

/// How a started instance is spoken to.
#[derive(Debug)]
pub enum Endpoint {
    /// Over its standard streams.
    Stdio {
        /// Its standard input.
        input: ChildStdin,
        /// Its standard output.
        output: ChildStdout,
    },
    /// Over HTTP.
    Http {
        /// Its MCP endpoint.
        url: String,
        /// Headers of each request.
        headers: BTreeMap<String, String>,
    },
}

/// Who speaks to instances. No method may block.
pub trait Link: Send + Sync + 'static {
    /// An instance is up.
    fn open(&self, place: &Place, spec: &Arc<ServerSpec>, endpoint: Endpoint);
    /// Its standard input is to be closed: the polite way to end a stdio server.
    fn close_input(&self, place: &Place);
    /// It ended. `Some(why)`: our own question ended it, and it should be started again without counting.
    fn gone(&self, place: &Place) -> Option<String>;
}

/// Who asks an instance whether it answers as an MCP server. Called again only after the answer before has come.
pub trait Prober: Send + Sync + 'static {
    /// One probe, answered within about `timeout`. What it tells carries the correlation of the instance's last order.
    fn probe(&self, place: Place, correlation: Option<String>, timeout: Duration) -> Boxed<Found>;
}

/// A spec with every reference replaced by what it stands for.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Program.
    pub command: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// URL of a server that somebody else starts.
    pub url: Option<String>,
}

/// A reference that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Why, in a word.
    pub code: HealthCode,
    /// Why, in a sentence without a final period.
    pub sentence: String,
}

/// Who knows what `${VAR}` and secrets stand for.
pub trait Resolve: Send + Sync + 'static {
    /// Replaces every reference of a spec, `{port}` included, for an instance that listens on this port.
    fn resolve(
        &self,
        spec: Arc<ServerSpec>,
        port: Option<u16>,
    ) -> Boxed<Result<Resolved, Unresolved>>;
}

/// Who is told what happened. Must not block.
pub trait Events: Send + Sync + 'static {
    /// An event.
    fn event(&self, event: NewEvent);
}

/// All of them.
#[derive(Clone)]
pub struct Ports {
    /// Who speaks to instances.
    pub link: Arc<dyn Link>,
    /// Who asks them.
    pub prober: Arc<dyn Prober>,
    /// Who replaces references.
    pub resolve: Arc<dyn Resolve>,
    /// Who is told.
    pub events: Arc<dyn Events>,
}
