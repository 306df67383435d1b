//! Conversations: which live, and since when they are silent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

/// How long a session may be silent.
pub(super) const IDLE_MS: i64 = 30 * 60 * 1_000;

/// How many sessions there are at most.
pub(super) const MOST_SESSIONS: usize = 1_000;

/// Every session that lives. The silent ones are dropped whenever somebody looks: none is found that should be gone, and no
/// clock need tick for it.
#[derive(Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, Session>>);

struct Session {
    last_ms: i64,
    messages: u64,
    /// As it introduced itself.
    client: Option<String>,
}

/// How many there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) sessions: usize,
    pub(super) clients: usize,
    pub(super) messages: u64,
}

impl Sessions {
    /// Begins one, with its first messages. When there are as many as may be, the one silent longest makes room.
    pub(super) fn open(&self, now_ms: i64, messages: u64, client: Option<String>) -> String {
        // Nobody guesses it: who knows it, has it from us.
        let id = Uuid::new_v4().to_string();
        let mut live = self.live(now_ms);
        if live.len() >= MOST_SESSIONS {
            let silent = live.iter().min_by_key(|(_, session)| session.last_ms);
            if let Some(id) = silent.map(|(id, _)| id.clone()) {
                live.remove(&id);
            }
        }
        let session = Session {
            last_ms: now_ms,
            messages,
            client,
        };
        live.insert(id.clone(), session);
        id
    }

    /// Counts more messages to one. False when it does not live.
    pub(super) fn go_on(
        &self,
        id: &str,
        now_ms: i64,
        messages: u64,
        client: Option<String>,
    ) -> bool {
        let mut live = self.live(now_ms);
        let Some(session) = live.get_mut(id) else {
            return false;
        };
        session.last_ms = now_ms;
        session.messages = session.messages.saturating_add(messages);
        if client.is_some() {
            session.client = client;
        }
        true
    }

    /// Counts those that live.
    pub(super) fn census(&self, now_ms: i64) -> Census {
        let live = self.live(now_ms);
        let clients: BTreeSet<&str> = live
            .values()
            .filter_map(|session| session.client.as_deref())
            .collect();
        Census {
            sessions: live.len(),
            clients: clients.len(),
            messages: live.values().map(|session| session.messages).sum(),
        }
    }

    fn live(&self, now_ms: i64) -> MutexGuard<'_, BTreeMap<String, Session>> {
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|_, session| now_ms.saturating_sub(session.last_ms) <= IDLE_MS);
        live
    }
}
