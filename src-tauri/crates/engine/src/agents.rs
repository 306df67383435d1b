//! Every server is registered as an agent: kept in step with what is declared and what its tools are.

use crate::{
    clock,
    core::{Core, itself},
    sessions::lock,
};
use flotilla_agents::{Change, agent_of_server};
use flotilla_contract::{Caller, EventKind, ServerId, ServerSpec};
use flotilla_store::Received;
use std::sync::Arc;

impl Core {
    /// Registers a server as an agent, or anew after its tools or labels changed.
    pub(crate) async fn register_agent(&self, caller: &Caller, spec: &ServerSpec) {
        let listed = self.facts.get(&spec.id).tools;
        let tools = listed.as_ref().map_or(&[][..], |list| &list.tools);
        let mut agent = agent_of_server(spec, tools, clock::now());
        let deployed = {
            let mut agents = lock(&self.agents);
            if let (None, Some(known)) = (&listed, agents.get(&agent.id)) {
                // Its tools have not been listed yet in this boot: what it could do, it can do.
                agent.capabilities.clone_from(&known.capabilities);
            }
            agents.deploy(agent)
        };
        match deployed {
            Ok(Some(change)) => self.agent_changed(caller, change).await,
            Ok(None) => {}
            Err(error) => self.notice(format!(
                "{} could not be registered as an agent: {error}",
                spec.id
            )),
        }
    }

    /// Brings every agent in step with its server.
    async fn register_agents(&self) {
        let caller = itself("engine");
        for spec in &self.fleet().servers {
            self.register_agent(&caller, spec).await;
        }
    }

    pub(crate) async fn unregister_agent(&self, caller: &Caller, id: &ServerId) {
        let removed = lock(&self.agents).remove(id.as_str());
        if let Ok(change) = removed {
            self.agent_changed(caller, change).await;
        }
    }

    pub(crate) async fn agent_changed(&self, caller: &Caller, change: Change) {
        self.tallies.agent(change.word());
        let stored = match &change {
            Change::Deployed(agent) | Change::Updated(agent) => self.control.put_agent(agent).await,
            Change::Removed(id) => self.control.remove_agent(id).await,
        };
        if let Err(error) = stored {
            tracing::warn!(agent = change.id(), %error, "failed to keep an agent");
        }
        self.tell(
            None,
            caller,
            EventKind::AgentChanged {
                agent: change.id().to_owned(),
                change: change.word().to_owned(),
            },
        );
    }
}

/// Follows the tools of servers: an agent's capabilities are what its server lists.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut events = core.events.subscribe();
    // Servers run already, and may have listed their tools before anybody listened.
    core.register_agents().await;
    loop {
        match events.recv().await {
            // Whose tools are among what was missed, nobody knows.
            Received::Missed(_) => core.register_agents().await,
            Received::Event(event) => {
                if let (EventKind::Tools { .. }, Some(id)) = (&event.what, &event.server)
                    && let Some(spec) = core.fleet().server(id)
                {
                    core.register_agent(&itself("engine"), spec).await;
                }
            }
        }
    }
}
