//! What the listeners ask of an engine.

use flotilla_contract::{
    Caller, WireError,
    dashboard::DashboardMetrics,
    frame::{Hello, Listener, Topic},
};
use flotilla_engine::{
    Connections, Format, Gateway, Handle, HookCall, HookEnd, Outgoing, Subscription,
};
use serde_json::Value;
use std::{future::Future, io, time::Duration};

/// An engine as the listeners see it. [`Handle`] is the one in the product; tests script their own.
pub trait Fleet: Clone + Send + Sync + 'static {
    /// A subscription of this engine.
    type News: News;

    /// Who answers.
    fn hello(&self) -> Hello;
    /// The token that opens the control surfaces.
    fn token(&self) -> String;
    /// Runs a command by name.
    fn call(
        &self,
        caller: &Caller,
        command: &str,
        params: Value,
    ) -> impl Future<Output = Result<Value, WireError>> + Send;
    /// A request to a hook of a workflow.
    fn hook(&self, call: HookCall) -> impl Future<Output = HookEnd> + Send;
    /// Opens a subscription.
    fn subscribe(&self, topic: Topic) -> Self::News;
    /// Tells the engine which addresses listen.
    fn announce(&self, listeners: Vec<Listener>) -> impl Future<Output = io::Result<()>> + Send;
    /// The port that stood in for a taken default one at an earlier start.
    fn remembered_port(&self, serves: &str) -> impl Future<Output = Option<u16>> + Send;
    /// Remembers such a port.
    fn remember_port(&self, serves: &str, port: u16) -> impl Future<Output = ()> + Send;
    /// The body of `/healthz`.
    fn healthz(&self) -> Value;
    /// The gateway, where clients are served.
    fn gateway(&self) -> Option<Gateway>;
    /// The page of `/metrics`, with what the sockets know.
    fn metrics(
        &self,
        format: Format,
        connections: Connections,
    ) -> impl Future<Output = String> + Send;
    /// The body of `/api/agent?action=status`.
    fn agent_status(&self) -> Value;
    /// Whether the dashboard WebSocket and the agent stream are served.
    fn sockets(&self) -> (bool, bool);
    /// The picture that the dashboard WebSocket sends.
    fn dashboard(&self, connections: Connections) -> DashboardMetrics;
    /// How often it does.
    fn dashboard_every(&self) -> Duration;
}

/// The news of one subscription.
pub trait News: Send + 'static {
    /// The next piece; `None` when the engine is gone.
    fn next(&mut self) -> impl Future<Output = Option<Outgoing>> + Send;
}

impl News for Subscription {
    async fn next(&mut self) -> Option<Outgoing> {
        Subscription::next(self).await
    }
}

impl Fleet for Handle {
    type News = Subscription;

    fn hello(&self) -> Hello {
        Handle::hello(self)
    }

    fn token(&self) -> String {
        Handle::token(self)
    }

    async fn call(
        &self,
        caller: &Caller,
        command: &str,
        params: Value,
    ) -> Result<Value, WireError> {
        Handle::call(self, caller, command, params).await
    }

    async fn hook(&self, call: HookCall) -> HookEnd {
        Handle::hook(self, call).await
    }

    fn subscribe(&self, topic: Topic) -> Subscription {
        Handle::subscribe(self, topic)
    }

    async fn announce(&self, listeners: Vec<Listener>) -> io::Result<()> {
        Handle::announce(self, listeners);
        Ok(())
    }

    async fn remembered_port(&self, serves: &str) -> Option<u16> {
        Handle::remembered_port(self, serves).await
    }

    async fn remember_port(&self, serves: &str, port: u16) {
        Handle::remember_port(self, serves, port).await;
    }

    fn healthz(&self) -> Value {
        Handle::healthz(self)
    }

    fn gateway(&self) -> Option<Gateway> {
        Handle::gateway(self)
    }

    async fn metrics(&self, format: Format, connections: Connections) -> String {
        Handle::metrics(self, format, connections).await
    }

    fn agent_status(&self) -> Value {
        Handle::agent_status(self)
    }

    fn sockets(&self) -> (bool, bool) {
        Handle::sockets(self)
    }

    fn dashboard(&self, connections: Connections) -> DashboardMetrics {
        Handle::dashboard(self, connections)
    }

    fn dashboard_every(&self) -> Duration {
        Handle::dashboard_every(self)
    }
}
