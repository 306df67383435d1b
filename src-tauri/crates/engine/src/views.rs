//! The world as screens see it: snapshots, and deltas of whole servers.

use crate::{
    clock,
    core::{Core, VERSION},
    sessions::lock,
};
use flotilla_contract::{
    ServerId, ServerSpec, ServerView,
    frame::{EngineInfo, FleetDelta, FleetSnapshot},
    state::{FleetCounts, HealthCode, HealthReport, NextAction},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Deltas are at least this far apart: a storm of changes costs one frame.
const PACE: Duration = Duration::from_millis(60);

/// The last published view of every server.
#[derive(Debug, Default)]
pub(crate) struct World {
    seq: u64,
    servers: BTreeMap<ServerId, ServerView>,
}

impl Core {
    /// A server as it is now.
    pub(crate) fn server_view(&self, id: &ServerId) -> Option<ServerView> {
        let seen = self.supervisor.observe(id)?;
        let fact = self.facts.get(id);
        let mut instances = seen.instances;
        {
            let samples = lock(&self.samples);
            for instance in instances.iter_mut().filter(|i| i.pid.is_some()) {
                instance.sample = samples.get(&instance.id).cloned();
            }
        }
        let mut health = seen.health;
        self.name_what_is_waited_for(&seen.spec, &mut health);
        for instance in &mut instances {
            self.name_what_is_waited_for(&seen.spec, &mut instance.health);
        }
        Some(ServerView {
            spec: (*seen.spec).clone(),
            r#override: fact.wish,
            wanted: seen.desired.running,
            wanted_replicas: if seen.desired.running {
                seen.desired.replicas
            } else {
                0
            },
            health,
            status: seen.status,
            instances,
            peer: fact.peer,
            tools: fact
                .tools
                .map(|list| u32::try_from(list.tools.len()).unwrap_or(u32::MAX)),
            findings: self.sessions.findings(id),
            era: fact.era,
            revision: fact.revision,
        })
    }

    /// A server that waits for one that nobody starts would wait for ever: the sentence says so, and what would help.
    fn name_what_is_waited_for(&self, spec: &ServerSpec, health: &mut HealthReport) {
        if health.code != HealthCode::WaitsForDependency {
            return;
        }
        let fleet = self.fleet();
        let stuck = spec.depends_on.iter().find_map(|dependency| {
            let id = &dependency.server;
            match fleet.server(id) {
                None => Some(format!("{id}, which is not declared")),
                Some(needed) => match &needed.disabled {
                    Some(why) => Some(format!("{id}, which is disabled ({why})")),
                    None => (!self.desired(needed).running)
                        .then(|| format!("{id}, which is stopped; start {id} first")),
                },
            }
        });
        if let Some(stuck) = stuck {
            health.sentence = format!("Waits for {stuck}");
            health.action = NextAction::EditConfig;
        }
    }

    pub(crate) fn engine_info(&self) -> EngineInfo {
        let fleet = self.fleet();
        EngineInfo {
            boot: self.boot.clone(),
            version: VERSION.into(),
            started_at: self.started_at,
            host: flotilla_os::host_name(),
            home: self.home.path().display().to_string(),
            config_path: self.config.path.display().to_string(),
            profile: fleet.profile.word().into(),
            production: self.production,
            revision: self.config.revision(),
            config_findings: self.config.findings(),
            listeners: lock(&self.listeners).clone(),
            sample_interval: u64::try_from(self.sample_interval.as_millis()).unwrap_or(u64::MAX),
            secrets: self.secrets.kept(),
            notices: lock(&self.notices).clone(),
        }
    }

    /// Every server as it is now, by name.
    pub(crate) fn server_views(&self) -> Vec<ServerView> {
        let ids = self.supervisor.servers();
        ids.iter().filter_map(|id| self.server_view(id)).collect()
    }

    /// Everything, at the place in the stream that has been published.
    pub(crate) fn snapshot(&self) -> FleetSnapshot {
        let engine = self.engine_info();
        let seq = lock(&self.world).seq;
        // Read now, not as published: a delta that follows may repeat what is here, never contradict it.
        let servers = self.server_views();
        FleetSnapshot {
            boot: self.boot.clone(),
            seq,
            now: clock::now(),
            engine,
            counts: FleetCounts::of(&servers),
            servers,
        }
    }
}

/// Turns changes into deltas. Sleeps while nothing changes.
pub(crate) async fn publish(core: Arc<Core>) {
    loop {
        let (dirty, info) = tokio::select! {
            dirty = core.supervisor.changed() => (dirty, false),
            () = core.info_changed.notified() => (Default::default(), true),
        };
        let views: Vec<(ServerId, Option<ServerView>)> = dirty
            .into_iter()
            .map(|id| (id.clone(), core.server_view(&id)))
            .collect();
        let delta = {
            let mut world = lock(&core.world);
            let (mut servers, mut removed) = (Vec::new(), Vec::new());
            for (id, view) in views {
                match view {
                    Some(view) => {
                        world.servers.insert(id, view.clone());
                        servers.push(view);
                    }
                    None => {
                        if world.servers.remove(&id).is_some() {
                            removed.push(id);
                        }
                    }
                }
            }
            world.seq += 1;
            servers.sort_by(|a, b| a.id().cmp(b.id()));
            let counts = FleetCounts::of(world.servers.values());
            FleetDelta {
                seq: world.seq,
                now: clock::now(),
                servers,
                removed,
                counts,
                engine: info.then(|| core.engine_info()),
            }
        };
        // Nobody listening is no error.
        let _ = core.deltas.send(Arc::new(delta));
        tokio::time::sleep(PACE).await;
    }
}
