//! The engine's side of the gateway: sessions for it, and news of the fleet to it.

use crate::{core::Core, sessions::Sessions};
use flotilla_contract::{
    InstanceId, InstanceView, ServerId,
    event::{EventKind, NewEvent},
    gateway::{BreakerState, CallRecord},
    state::{ProcessState, Status},
};
use flotilla_gateway::{AsClient, Boxed, Fleet, Instance, Opened, Upstream};
use flotilla_store::EventLog;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast::error::RecvError;

/// What the gateway asks of the engine.
pub(crate) struct Port {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) events: EventLog,
}

impl Fleet for Port {
    fn shared(&self, instance: &InstanceId, limit: Duration) -> Boxed<Opened> {
        let (sessions, id) = (Arc::clone(&self.sessions), instance.clone());
        Box::pin(async move { sessions.session(&id, limit).await })
    }

    fn own(&self, instance: &InstanceId, client: AsClient, limit: Duration) -> Boxed<Opened> {
        let (sessions, id) = (Arc::clone(&self.sessions), instance.clone());
        Box::pin(async move { sessions.open_for(&id, client, limit).await })
    }

    fn ended(&self, _: &Arc<CallRecord>) {}

    fn breaker(&self, server: &ServerId, tool: Option<&str>, state: BreakerState, reason: &str) {
        self.events.append(NewEvent {
            about: Some(server.instance(0)),
            correlation: None,
            what: EventKind::Breaker {
                tool: tool.map(ToOwned::to_owned),
                state,
                reason: reason.to_owned(),
            },
        });
    }
}

/// Tells the gateway what the fleet looks like, at the start and whenever that changes.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut deltas = core.deltas.subscribe();
    loop {
        core.tell_gateway();
        match deltas.recv().await {
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

impl Core {
    /// Hands the gateway the settings in force and every server as it is now.
    pub(crate) fn tell_gateway(&self) {
        let fleet = self.fleet();
        let servers = self
            .supervisor
            .servers()
            .iter()
            .filter_map(|id| {
                let seen = self.supervisor.observe(id)?;
                Some(Upstream {
                    id: id.clone(),
                    exposure: Arc::new(seen.spec.gateway.clone()),
                    instances: seen.instances.iter().map(instance).collect(),
                    reason: seen.health.sentence.clone(),
                })
            })
            .collect();
        self.gateway.apply(Arc::new(fleet.gateway.clone()), servers);
    }
}

fn instance(seen: &InstanceView) -> Instance {
    let fit = seen.process.state == ProcessState::Running
        && matches!(
            seen.status,
            Status::Running | Status::Degraded | Status::Unchecked
        );
    Instance {
        id: seen.id.clone(),
        spawn: seen.started_at.unwrap_or_default(),
        unfit: (!fit).then(|| {
            if seen.process.state == ProcessState::Running {
                seen.health.sentence.clone()
            } else {
                seen.process.reason.clone()
            }
        }),
    }
}
