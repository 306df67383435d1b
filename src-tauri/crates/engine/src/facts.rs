//! What the engine knows about servers beside what the supervisor observes: what was asked of them, what they said
//! about themselves, which tools were accepted. What must survive a restart is written to the store by one task.

use crate::{
    clock,
    sessions::{lock, tool_list},
};
use flotilla_contract::{
    ServerId,
    state::Override,
    tool::{Era, Peer, ToolList},
};
use flotilla_gateway::remembered_tools;
use flotilla_mcp::{Fingerprint, fingerprint};
use flotilla_store::{Control, ServerMemory};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

/// About one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fact {
    pub(crate) wish: Option<Override>,
    pub(crate) peer: Option<Peer>,
    pub(crate) tools: Option<ToolList>,
    pub(crate) era: Option<Era>,
    /// It ended when it was asked for its era: the next greeting is a legacy one.
    suspect_legacy: bool,
    accepted: Option<Fingerprint>,
    /// What it offers, in the gateway's form; only of a server on demand.
    offer: Option<Arc<str>>,
    pub(crate) revision: u64,
}

/// About all servers.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    servers: Mutex<BTreeMap<ServerId, Fact>>,
    unsaved: Mutex<BTreeSet<ServerId>>,
    save: Notify,
}

impl Facts {
    /// What an earlier engine of this home left.
    pub(crate) fn restore(
        overrides: BTreeMap<ServerId, Override>,
        memories: BTreeMap<ServerId, ServerMemory>,
    ) -> Self {
        let mut servers: BTreeMap<ServerId, Fact> = BTreeMap::new();
        for (id, wish) in overrides {
            servers.entry(id).or_default().wish = Some(wish);
        }
        for (id, memory) in memories {
            let fact = servers.entry(id.clone()).or_default();
            fact.era = memory.era;
            fact.accepted = memory
                .tools
                .and_then(|tools| serde_json::from_value(tools).ok());
            fact.offer = memory.offer.map(Arc::from);
            let known = fact.offer.as_deref().and_then(remembered_tools);
            if let Some((peer, tools, at)) = known {
                let print = fingerprint(&tools);
                fact.tools = Some(tool_list(&id, &print, &peer, &tools, at));
                fact.peer = Some(peer);
            }
        }
        Self {
            servers: Mutex::new(servers),
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, id: &ServerId) -> Fact {
        lock(&self.servers).get(id).cloned().unwrap_or_default()
    }

    pub(crate) fn change(&self, id: &ServerId, change: impl FnOnce(&mut Fact)) {
        change(lock(&self.servers).entry(id.clone()).or_default());
    }

    /// Forgets a server that is no longer declared.
    pub(crate) fn remove(&self, id: &ServerId) {
        lock(&self.servers).remove(id);
        self.unsaved(id);
    }

    /// Another command or URL: what was learned about the old one does not hold.
    pub(crate) fn is_another(&self, id: &ServerId) {
        self.change(id, |fact| {
            (
                fact.peer,
                fact.tools,
                fact.era,
                fact.accepted,
                fact.offer,
                fact.suspect_legacy,
            ) = (None, None, None, None, None, false);
        });
        self.unsaved(id);
    }

    pub(crate) fn era_hint(&self, id: &ServerId) -> Option<Era> {
        let fact = self.get(id);
        fact.era.or(fact.suspect_legacy.then_some(Era::Legacy))
    }

    pub(crate) fn suspect_legacy(&self, id: &ServerId) {
        self.change(id, |fact| fact.suspect_legacy = true);
    }

    pub(crate) fn forget_era(&self, id: &ServerId) {
        let mut had = false;
        self.change(id, |fact| {
            fact.suspect_legacy = false;
            had = fact.era.take().is_some();
        });
        if had {
            self.unsaved(id);
        }
    }

    pub(crate) fn greeted(&self, id: &ServerId, peer: &Peer) {
        let mut news = false;
        self.change(id, |fact| {
            fact.suspect_legacy = false;
            news = fact.era != Some(peer.era);
            fact.era = Some(peer.era);
            if fact.peer.as_ref() != Some(peer) {
                fact.peer = Some(peer.clone());
            }
        });
        if news {
            self.unsaved(id);
        }
    }

    pub(crate) fn accepted(&self, id: &ServerId) -> Option<Fingerprint> {
        self.get(id).accepted
    }

    pub(crate) fn accept(&self, id: &ServerId, tools: Fingerprint) {
        self.change(id, |fact| fact.accepted = Some(tools));
        self.unsaved(id);
    }

    /// What a server on demand offered when it was last asked.
    pub(crate) fn offer(&self, id: &ServerId) -> Option<Arc<str>> {
        self.get(id).offer
    }

    pub(crate) fn offered(&self, id: &ServerId, offer: &str) {
        self.change(id, |fact| fact.offer = Some(offer.into()));
        self.unsaved(id);
    }

    /// Notes the tools as last listed. True if they differ from those noted before.
    pub(crate) fn listed(&self, id: &ServerId, list: ToolList) -> bool {
        let mut news = false;
        self.change(id, |fact| {
            news = fact
                .tools
                .as_ref()
                .is_none_or(|old| old.fingerprint != list.fingerprint);
            fact.tools = Some(list);
        });
        news
    }

    fn unsaved(&self, id: &ServerId) {
        lock(&self.unsaved).insert(id.clone());
        self.save.notify_one();
    }

    /// Writes what was learned, as it is learned. Never returns; what it writes can be learned again.
    pub(crate) async fn keep(&self, control: &Control) {
        loop {
            self.save.notified().await;
            self.save_now(control).await;
        }
    }

    pub(crate) async fn save_now(&self, control: &Control) {
        let ids = std::mem::take(&mut *lock(&self.unsaved));
        for id in ids {
            let known = lock(&self.servers).get(&id).cloned();
            let written = match known {
                None => control.forget(&id).await,
                Some(fact) => {
                    let tools = fact
                        .accepted
                        .as_ref()
                        .and_then(|tools| serde_json::to_value(tools).ok());
                    control
                        .remember(
                            &id,
                            &ServerMemory {
                                era: fact.era,
                                tools,
                                offer: fact.offer.as_deref().map(str::to_owned),
                            },
                        )
                        .await
                }
            };
            if let Err(error) = written {
                tracing::warn!(server = %id, %error, "failed to keep what was learned about a server");
            }
        }
    }

    /// Sets what is asked of a server beside what is declared.
    pub(crate) fn wish(&self, id: &ServerId, wish: Option<Override>) {
        self.change(id, |fact| fact.wish = wish);
    }
}

/// A wish, made now.
pub(crate) fn wish(running: Option<bool>, replicas: Option<u32>, by: &str) -> Option<Override> {
    (running.is_some() || replicas.is_some()).then(|| Override {
        running,
        replicas,
        by: by.to_owned(),
        at: clock::now(),
    })
}
