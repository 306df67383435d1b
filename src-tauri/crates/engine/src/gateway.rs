//! The engine's side of the gateway: sessions for it, and news of the fleet to it.

use crate::{core::Core, sessions::Sessions};
use flotilla_contract::{
    InstanceId, InstanceView, ServerId,
    event::{EventKind, NewEvent},
    gateway::{BreakerState, CallRecord},
    state::{HealthLevel, ProcessState, Status},
};
use flotilla_gateway::{
    AsClient, Boxed, Content, Fleet, Gateway, Instance, OnDemand, Opened, Upstream,
};
use flotilla_mcp::PoolStats;
use flotilla_store::{CallLog, EventLog, KeptCall};
use flotilla_supervisor::{Observed, Settled, span};
use serde_json::{Value, value::RawValue};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::broadcast::error::RecvError, task::JoinSet};

/// What the gateway asks of the engine.
pub(crate) struct Port {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) events: EventLog,
    pub(crate) calls: CallLog,
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

    fn wake(
        &self,
        server: &ServerId,
        correlation: Option<&str>,
        limit: Duration,
    ) -> Boxed<Result<(), String>> {
        let Some(supervisor) = self.sessions.supervisor().cloned() else {
            return Box::pin(async { Err("the engine is starting".to_owned()) });
        };
        let asked = supervisor.wake(server, correlation);
        Box::pin(async move {
            let ticket = match asked {
                Ok(Some(ticket)) => ticket,
                Ok(None) => return Err("it is stopped".to_owned()),
                Err(busy) => return Err(busy.to_string()),
            };
            let ends = supervisor.settled(ticket, limit).await;
            if ends.iter().any(|end| end.reached == Some(true)) {
                return Ok(());
            }
            let why = |end: &Settled| match end.reached {
                None => format!("it did not come up within {}", span(limit)),
                Some(_) => end.view.health.sentence.clone(),
            };
            Err(ends.first().map_or_else(String::new, why))
        })
    }

    fn sleep(&self, server: &ServerId, why: &str) -> bool {
        self.sessions
            .supervisor()
            .is_some_and(|supervisor| matches!(supervisor.sleep(server, why), Ok(true)))
    }

    fn remembered(&self, server: &ServerId) -> Option<Arc<str>> {
        self.sessions.facts.offer(server)
    }

    fn remember(&self, server: &ServerId, offer: &str) {
        self.sessions.facts.offered(server, offer);
    }

    fn keep(&self, record: &Arc<CallRecord>, content: Option<Content>) {
        let content = content.unwrap_or_default();
        self.calls.keep(KeptCall {
            record: Arc::clone(record),
            arguments: content.arguments.as_deref().and_then(masked),
            result: content.result.as_deref().and_then(masked),
        });
    }

    fn pool(&self, instance: &InstanceId) -> Option<PoolStats> {
        self.sessions.pool(instance)
    }

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

/// Longer arguments and results are not kept.
const CONTENT: usize = 64 << 10;

/// JSON text without what looks like a secret; `None` when it is too long.
fn masked(content: &RawValue) -> Option<String> {
    if content.get().len() > CONTENT {
        return None;
    }
    let mut value: Value = serde_json::from_str(content.get()).ok()?;
    mask(&mut value);
    Some(value.to_string())
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if is_secret(key) {
                    *value = Value::from("[masked]");
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Whether a field's name says that its value is nobody's business.
fn is_secret(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .collect::<String>()
        .to_ascii_lowercase();
    [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "accesskey",
        "privatekey",
        "credential",
        "authorization",
        "cookie",
    ]
    .iter()
    .any(|word| key.contains(word))
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

/// How long after a burst of calls memory goes back to the system. More than once: a client may be slow to take its answer.
const GIVE_BACK_AFTER: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// What a burst of calls left in memory goes back to the system once it is over.
pub(crate) async fn give_back(gateway: Gateway) {
    flotilla_os::keep_little();
    let mut rested = Box::pin(gateway.rested());
    loop {
        rested.as_mut().await;
        let mut pauses = GIVE_BACK_AFTER.iter();
        rested.set(gateway.rested());
        while let Some(pause) = pauses.next() {
            tokio::select! {
                // Another burst is over: from the beginning.
                () = rested.as_mut() => {
                    rested.set(gateway.rested());
                    pauses = GIVE_BACK_AFTER.iter();
                }
                () = tokio::time::sleep(*pause) => {
                    every_worker_rests().await;
                    let _ = tokio::task::spawn_blocking(flotilla_os::give_back).await;
                }
            }
        }
    }
}

/// A worker of the runtime that is held back longer is not waited for.
const WORKERS_MEET: Duration = Duration::from_millis(50);

/// Each worker of the runtime gives back what the allocator keeps for it. One that has nothing to do would sleep on what it keeps, so each is called and held
/// until all have come: as many tasks as there are workers, none of which lets go of its own before.
async fn every_worker_rests() {
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let met = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let met = Arc::clone(&met);
        tasks.spawn(async move {
            flotilla_os::rest();
            let (come, all) = &*met;
            let mut come = come.lock().unwrap_or_else(PoisonError::into_inner);
            *come += 1;
            all.notify_all();
            drop(all.wait_timeout_while(come, WORKERS_MEET, |come| *come < workers));
        });
    }
    tasks.join_all().await;
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
                self.sessions.pooled(id, &seen.spec.gateway);
                Some(Upstream {
                    id: id.clone(),
                    exposure: Arc::new(seen.spec.gateway.clone()),
                    instances: seen.instances.iter().map(instance).collect(),
                    reason: seen.health.sentence.clone(),
                    on_demand: on_demand(&seen),
                })
            })
            .collect();
        self.gateway.apply(Arc::new(fleet.gateway.clone()), servers);
    }
}

/// A server on demand comes for a call as long as it is wanted and nothing is wrong with it: what crashed, gave up or does
/// not answer follows its restart policy, whoever calls.
fn on_demand(seen: &Observed) -> Option<OnDemand> {
    let spec = seen.spec.on_demand?;
    let comes = |instance: &InstanceView| match instance.process.state {
        ProcessState::Sleeping | ProcessState::Starting | ProcessState::Stopping => true,
        ProcessState::Running => instance.health.level != HealthLevel::Unhealthy,
        ProcessState::Stopped | ProcessState::Restarting | ProcessState::Failed => false,
    };
    Some(OnDemand {
        idle: Duration::from_millis(spec.idle_stop_ms),
        start: Duration::from_millis(seen.spec.health.start_timeout_ms),
        asleep: seen.status == Status::Sleeping,
        comes: seen.desired.running && seen.instances.iter().any(comes),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_not_kept() {
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let kept = masked(&raw(
            r#"{"q":"ships","api_key":"k","deep":[{"Access-Token":{"a":1},"max":3}],"PASSWORD":null}"#
                .to_owned(),
        ));
        assert_eq!(
            kept.as_deref(),
            Some(
                r#"{"q":"ships","api_key":"[masked]","deep":[{"Access-Token":"[masked]","max":3}],"PASSWORD":"[masked]"}"#
            )
        );
        assert_eq!(masked(&raw(format!("\"{}\"", "x".repeat(CONTENT)))), None);
    }
}
