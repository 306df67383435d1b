//! The realtime dashboard: a WebSocket that tells pages of other makes how the fleet is (seed document 000).
//!
//! **Says** the picture on connecting, every interval and on request; agents that come, change and go; servers whose state changes.
//! Every client gets everything, subscribed or not: one frame is encoded for all of them. A client that subscribes with
//! `{"delta": true}` gets the next picture whole and from then on what changed (RFC 7396), unless it is too slow for that: then it
//! gets a whole one again.
//!
//! **Tasks**: one that takes the picture, one that follows the fleet's news, one that looks whether clients are there; all asleep while
//! nobody is connected. One per client, which reads. Queues are [`crate::socket`]'s.
//!
//! **Never**: takes a command. What a client may ask for is what it would be told anyway.

use crate::{
    Fleet, News, door,
    socket::{self, Conversation, Peer, Tally},
};
use bytes::Bytes;
use flotilla_contract::{
    Caller, EventKind, ServerId, ServerView,
    agent::Agent,
    dashboard::{AgentNews, DashboardSays, ServerNews},
    frame::{Topic, Update},
    state::Status,
};
use flotilla_engine::Outgoing;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

/// The port unless another one is set, or remembered.
pub const DASHBOARD_PORT: u16 = 9000;
/// Clients at once.
pub(crate) const MOST_CLIENTS: usize = 20_000;
/// Size of a message from a client, in bytes.
pub(crate) const LONGEST: usize = 1 << 20;
/// Clients that are told something before others have their turn.
const AT_ONCE: usize = 32;
/// How long clients have to take leave at a shutdown.
const LEAVE: Duration = Duration::from_millis(1_500);

/// What a picture is about, for the queues.
const PICTURE: &str = "picture";

/// Everybody who is connected.
pub(crate) struct Hub<F> {
    fleet: F,
    tally: Arc<Tally>,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
    next: AtomicU64,
    /// A client came.
    come: Notify,
    /// The last one left.
    left: Notify,
    ended: AtomicBool,
}

struct Client {
    peer: Arc<Peer>,
    /// It wants what changed only.
    delta: AtomicBool,
    /// It needs a whole picture before it can use what changes.
    whole: AtomicBool,
}

impl<F: Fleet> Hub<F> {
    /// Starts the hub; it ends with `shutdown`, and sends its clients away.
    pub(crate) fn start(
        fleet: F,
        tally: Arc<Tally>,
        shutdown: CancellationToken,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let hub = Arc::new(Self {
            fleet,
            tally,
            clients: Mutex::default(),
            next: AtomicU64::new(0),
            come: Notify::new(),
            left: Notify::new(),
            ended: AtomicBool::new(false),
        });
        let work = Arc::clone(&hub);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = work.pictures() => {}
                () = work.news() => {}
                () = work.heartbeat() => {}
            }
            work.ended.store(true, Ordering::Release);
            for client in work.all() {
                client
                    .peer
                    .dismiss(CloseCode::Normal, "Server shutting down");
            }
            let _ = tokio::time::timeout(LEAVE, work.emptied()).await;
        });
        (hub, task)
    }

    /// Serves one client until it leaves.
    pub(crate) async fn attend(self: Arc<Self>, mut with: Conversation) {
        let client = Arc::new(Client {
            peer: Arc::clone(&with.peer),
            delta: AtomicBool::new(false),
            whole: AtomicBool::new(false),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let full = {
            let mut clients = self.clients();
            let full = clients.len() >= MOST_CLIENTS;
            if !full {
                clients.insert(number, Arc::clone(&client));
                self.tally.dashboards.fetch_add(1, Ordering::Relaxed);
            }
            full
        };
        if full {
            client.peer.dismiss(CloseCode::Again, "Too many clients");
        } else if self.ended.load(Ordering::Acquire) {
            client
                .peer
                .dismiss(CloseCode::Normal, "Server shutting down");
        } else {
            self.come.notify_waiters();
            self.show(&client);
        }
        while let Some(text) = with.next().await {
            self.hear(&client, &text).await;
        }
        if !full {
            let mut clients = self.clients();
            clients.remove(&number);
            if clients.is_empty() {
                self.left.notify_waiters();
            }
            drop(clients);
            self.tally.dashboards.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn hear(&self, client: &Client, text: &str) {
        let asked: Option<Map<String, Value>> = serde_json::from_str(text).ok();
        let kind = asked.as_ref().and_then(|asked| asked.get("type")?.as_str());
        let timestamp = now();
        let answer = match kind {
            Some("subscribe") => {
                let wants = asked.as_ref().and_then(|asked| asked.get("delta"));
                let delta = wants.is_some_and(|wants| *wants == true);
                if wants.is_some_and(|wants| !wants.is_boolean()) {
                    let message = "delta is true or false";
                    DashboardSays::Error { timestamp, message }
                } else {
                    client.whole.store(true, Ordering::Relaxed);
                    client.delta.store(delta, Ordering::Relaxed);
                    DashboardSays::Subscribed { timestamp }
                }
            }
            Some("unsubscribe") => {
                client.delta.store(false, Ordering::Relaxed);
                DashboardSays::Unsubscribed { timestamp }
            }
            Some("request_metrics") => return self.show(client),
            Some("request_agents") => return self.list(client).await,
            Some("ping") => DashboardSays::Pong { timestamp },
            Some(other) => {
                tracing::debug!(kind = other, "a dashboard client says what nobody knows");
                return;
            }
            None => DashboardSays::Error {
                timestamp,
                message: "a message is a JSON object with a type: subscribe, unsubscribe, request_metrics, request_agents or ping",
            },
        };
        client.peer.say(None, &said(&answer));
    }

    /// The picture of now, to one client. What changes is told since the last one that all got, so it starts anew from a whole one.
    fn show(&self, client: &Client) {
        client.whole.store(true, Ordering::Relaxed);
        let picture = self.picture();
        client.peer.say(Some(PICTURE.into()), &whole(&picture));
    }

    async fn list(&self, client: &Client) {
        let agents = self.ask("agents.list").await.unwrap_or_else(|| json!([]));
        let says = DashboardSays::Agents {
            timestamp: now(),
            data: &agents,
        };
        client.peer.say(Some("agents".into()), &said(&says));
    }

    async fn ask(&self, command: &str) -> Option<Value> {
        let caller = Caller {
            actor: "dashboard".to_owned(),
            correlation: door::correlation(),
        };
        self.fleet.call(&caller, command, json!({})).await.ok()
    }

    fn picture(&self) -> Value {
        let picture = self.fleet.dashboard(self.tally.view());
        serde_json::to_value(picture).unwrap_or_default()
    }

    /// Waits until somebody is connected.
    async fn company(&self) {
        loop {
            let come = self.come.notified();
            if !self.clients().is_empty() {
                return;
            }
            come.await;
        }
    }

    /// Waits until nobody is connected.
    async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.clients().is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Tells all of them the picture, every interval.
    async fn pictures(&self) {
        let mut last = Value::Null;
        let mut due = Instant::now();
        loop {
            if self.clients().is_empty() {
                self.company().await;
                // What the first one got on connecting is recent enough.
                due = Instant::now();
            }
            due = (due + self.fleet.dashboard_every()).max(Instant::now());
            tokio::time::sleep_until(due).await;
            let picture = self.picture();
            let (whole, mut changed) = (whole(&picture), None);
            let about: Arc<str> = PICTURE.into();
            for (count, client) in self.all().into_iter().enumerate() {
                if count % AT_ONCE == AT_ONCE - 1 {
                    tokio::task::yield_now().await;
                }
                let delta = client.delta.load(Ordering::Relaxed)
                    && !client.whole.swap(false, Ordering::Relaxed)
                    && !client.peer.waits_for(PICTURE);
                let frame = if delta {
                    &*changed.get_or_insert_with(|| update(true, &difference(&last, &picture)))
                } else {
                    &whole
                };
                self.tell(&client, Some(Arc::clone(&about)), frame);
            }
            last = picture;
        }
    }

    /// Tells all of them what happens.
    async fn news(&self) {
        loop {
            self.company().await;
            let mut fleet = self.fleet.subscribe(Topic::Fleet);
            let mut events = self.fleet.subscribe(Topic::Events);
            let mut states = None;
            while !self.clients().is_empty() {
                let news = tokio::select! {
                    news = fleet.next() => news,
                    news = events.next() => news,
                };
                match news {
                    Some(Outgoing::Update(Update::Fleet(all))) => {
                        self.states(&mut states, &all.servers, true);
                    }
                    Some(Outgoing::Update(Update::Changed(delta))) => {
                        self.states(&mut states, &delta.servers, false);
                        for id in &delta.removed {
                            self.state(id, "removed");
                            if let Some(states) = &mut states {
                                states.remove(id);
                            }
                        }
                    }
                    Some(Outgoing::Update(Update::Events { events, .. })) => {
                        for event in &events {
                            if let EventKind::AgentChanged { agent, change } = &event.what {
                                self.agent(agent, change).await;
                            }
                        }
                    }
                    Some(_) => {}
                    None => return std::future::pending().await,
                }
            }
        }
    }

    /// Tells which servers are in another state than before. Of what was there first nothing is told.
    fn states(
        &self,
        known: &mut Option<HashMap<ServerId, Status>>,
        servers: &[ServerView],
        all: bool,
    ) {
        let Some(states) = known else {
            if all {
                let first = servers.iter().map(|view| (view.id().clone(), view.status));
                *known = Some(first.collect());
            }
            return;
        };
        for view in servers {
            if states.insert(view.id().clone(), view.status) != Some(view.status) {
                let word = serde_json::to_value(view.status).unwrap_or_default();
                self.state(view.id(), word.as_str().unwrap_or_default());
            }
        }
    }

    fn state(&self, id: &ServerId, status: &str) {
        let server_id = id.as_str();
        let says = DashboardSays::ServerStatus {
            timestamp: now(),
            data: ServerNews { server_id, status },
        };
        self.tell_all(format!("server {server_id}"), &says);
    }

    async fn agent(&self, agent_id: &str, change: &str) {
        let timestamp = now();
        let about = format!("agent {agent_id}");
        if change == "removed" {
            let data = AgentNews {
                agent_id,
                agent: None,
            };
            return self.tell_all(about, &DashboardSays::AgentRemoved { timestamp, data });
        }
        let agents = self.ask("agents.list").await.unwrap_or_default();
        let agents: Vec<Agent> = serde_json::from_value(agents).unwrap_or_default();
        // One that is gone already is told as gone next.
        let Some(agent) = agents.iter().find(|agent| agent.id == agent_id) else {
            return;
        };
        let data = AgentNews {
            agent_id,
            agent: Some(agent),
        };
        let says = match change {
            "deployed" => DashboardSays::AgentDeployed { timestamp, data },
            _ => DashboardSays::AgentUpdated { timestamp, data },
        };
        self.tell_all(about, &says);
    }

    fn tell_all(&self, about: String, says: &DashboardSays<'_>) {
        let (about, frame): (Arc<str>, Bytes) = (about.into(), said(says));
        for client in self.all() {
            self.tell(&client, Some(Arc::clone(&about)), &frame);
        }
    }

    fn tell(&self, client: &Client, about: socket::About, frame: &Bytes) {
        if !client.peer.say(about, frame) {
            // It may have been a picture that was dropped.
            client.whole.store(true, Ordering::Relaxed);
        }
    }

    async fn heartbeat(&self) {
        let ping = socket::ping();
        loop {
            self.company().await;
            tokio::time::sleep(socket::HEARTBEAT).await;
            for client in self.all() {
                client.peer.prod(&ping);
            }
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Client>> {
        self.clients().values().cloned().collect()
    }
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn said(says: &DashboardSays<'_>) -> Bytes {
    socket::frame(serde_json::to_string(says).unwrap_or_default())
}

fn whole(picture: &Value) -> Bytes {
    update(false, picture)
}

fn update(delta: bool, data: &Value) -> Bytes {
    said(&DashboardSays::Metrics {
        timestamp: now(),
        delta,
        data,
    })
}

/// What makes `new` of `old` as RFC 7396 has it: members that differ, `null` for those that are gone. A member that is `null` in
/// `new` would read as gone; a picture has none.
fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut changed = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) => {
                changed.insert(key.clone(), difference(before, value));
            }
            None => {
                changed.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        changed.insert(key.clone(), Value::Null);
    }
    Value::Object(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MergePatch of RFC 7396, section 2.
    fn merge(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch.clone();
        };
        let mut target = match target {
            Value::Object(target) => target,
            _ => Map::new(),
        };
        for (key, value) in patch {
            if value.is_null() {
                target.shift_remove(key);
            } else {
                let before = target.shift_remove(key).unwrap_or_default();
                target.insert(key.clone(), merge(before, value));
            }
        }
        Value::Object(target)
    }

    #[test]
    fn a_difference_makes_the_new_of_the_old() {
        for (old, new, changed) in [
            (
                json!({"a": 1, "b": {"c": [1, 2], "d": 0}}),
                json!({"a": 1, "b": {"c": [1, 3], "d": 0}}),
                json!({"b": {"c": [1, 3]}}),
            ),
            (
                json!({"tags": {"x": 1, "y": 2}}),
                json!({"tags": {"y": 2, "z": 1}}),
                json!({"tags": {"z": 1, "x": null}}),
            ),
            (json!({"a": {"b": 1}}), json!({"a": 5}), json!({"a": 5})),
            (
                json!({"a": 5}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1}}),
            ),
            (json!({"a": 1}), json!({"a": 1}), json!({})),
            (Value::Null, json!({"a": 1}), json!({"a": 1})),
        ] {
            let found = difference(&old, &new);
            assert_eq!(found, changed, "{old} to {new}");
            assert_eq!(merge(old, &found), new);
        }
    }
}
