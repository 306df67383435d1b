//! The clients: sessions of the legacy era, and who was ever heard.
//!
//! A legacy client opens a session with `initialize` and names it in each request; a modern one says who it is each time and
//! has none. Sessions are bounded in number and in idleness: one that is abandoned costs a few hundred bytes until it is
//! idle for too long, or gives way to a new one.

use crate::ring::Rolling;
use bytes::Bytes;
use flotilla_contract::{Millis, gateway::ClientTraffic, tool::Era};
use flotilla_mcp::{Session as Upstream, serve};
use serde_json::value::RawValue;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What `logging/setLevel` accepts, the most talkative first (RFC 5424).
pub(crate) const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Sessions at once; the longest idle gives way.
const MOST_SESSIONS: usize = 10_000;
/// A session nobody used for so long, and nobody listens on, is over.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Clients remembered by name; the longest unheard gives way.
const MOST_CLIENTS: usize = 256;
/// Messages kept for a client that comes back with `Last-Event-ID`, and their bytes.
const REPLAY: usize = 256;
const REPLAY_BYTES: usize = 1 << 20;
/// Requests of one client under way.
pub(crate) const MOST_RUNNING: usize = 256;
/// How long a client may take to answer a server's question.
const QUESTION: Duration = Duration::from_secs(300);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who calls.
#[derive(Debug)]
pub(crate) struct Identity {
    /// What it calls itself, or where it comes from.
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// `http` or `stdio`.
    pub(crate) transport: &'static str,
    pub(crate) protocol: String,
    pub(crate) era: Era,
}

/// What was ever heard of a client of that name.
pub(crate) struct Known {
    identity: Mutex<Arc<Identity>>,
    pub(crate) rolling: Mutex<Rolling>,
    last_seen: AtomicU64,
    pub(crate) listed_tools: AtomicBool,
}

/// What a client gave as an answer: a result, or an error.
pub(crate) type Answer = Result<Box<RawValue>, Box<RawValue>>;

/// A legacy client's session.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) identity: Arc<Identity>,
    /// What it declared.
    pub(crate) capabilities: Option<Box<RawValue>>,
    /// The group whose endpoint it came to.
    pub(crate) group: Option<String>,
    /// Connections to servers in its name only.
    pub(crate) own: tokio::sync::Mutex<HashMap<flotilla_contract::ServerId, Own>>,
    /// Streams of the calls under way, by server: where a server's question may go.
    open: Mutex<Vec<OpenCall>>,
    next_open: AtomicU64,
    level: Mutex<Option<String>>,
    outbox: Mutex<Outbox>,
    running: Mutex<HashMap<String, CancellationToken>>,
    questions: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next_question: AtomicU64,
    used: Mutex<Instant>,
    pub(crate) ended: CancellationToken,
}

/// A call under way: its number, its server, and the way to the client.
type OpenCall = (u64, flotilla_contract::ServerId, mpsc::Sender<Vec<u8>>);

/// A connection to a server in a client's name.
pub(crate) struct Own {
    pub(crate) instance: flotilla_contract::InstanceId,
    pub(crate) spawn: u64,
    pub(crate) session: Upstream,
    pub(crate) peer: Arc<flotilla_contract::tool::Peer>,
    pub(crate) used: Instant,
    pub(crate) _counted: crate::own::Counted,
}

#[derive(Default)]
struct Outbox {
    next: u64,
    kept: VecDeque<(u64, Bytes)>,
    bytes: usize,
    stream: Option<mpsc::Sender<Bytes>>,
}

impl Session {
    /// Says something to the client outside of any request. Without an open stream it waits for one, as far as it is kept.
    pub(crate) fn say(&self, message: &[u8]) {
        let mut outbox = lock(&self.outbox);
        outbox.next += 1;
        let id = outbox.next;
        let event = Bytes::from(serve::sse_event(message, Some(&id.to_string())));
        outbox.bytes += event.len();
        outbox.kept.push_back((id, event.clone()));
        while outbox.kept.len() > REPLAY || outbox.bytes > REPLAY_BYTES {
            let Some((_, gone)) = outbox.kept.pop_front() else {
                break;
            };
            outbox.bytes -= gone.len();
        }
        if let Some(stream) = &outbox.stream
            && stream.try_send(event).is_err()
        {
            // Too slow, or gone: it may come back and name the last event it saw.
            outbox.stream = None;
        }
    }

    /// Opens the stream of what is said outside of requests. Another one is closed: a client that comes back replaces itself.
    pub(crate) fn listen(&self, after: Option<u64>) -> mpsc::Receiver<Bytes> {
        let (to, from) = mpsc::channel(REPLAY + 1);
        let mut outbox = lock(&self.outbox);
        let start = after.unwrap_or(if outbox.stream.is_some() { u64::MAX } else { 0 });
        for (_, event) in outbox.kept.iter().filter(|(id, _)| *id > start) {
            let _ = to.try_send(event.clone());
        }
        outbox.stream = Some(to);
        from
    }

    fn listens(&self) -> bool {
        lock(&self.outbox)
            .stream
            .as_ref()
            .is_some_and(|stream| !stream.is_closed())
    }

    /// Notes a request under way; `None` when its id is in use, or too many are.
    pub(crate) fn begin(&self, id: &str) -> Option<CancellationToken> {
        let mut running = lock(&self.running);
        if running.len() >= MOST_RUNNING || running.contains_key(id) {
            return None;
        }
        let cancel = self.ended.child_token();
        running.insert(id.to_owned(), cancel.clone());
        Some(cancel)
    }

    pub(crate) fn end(&self, id: &str) {
        lock(&self.running).remove(id);
        *lock(&self.used) = Instant::now();
    }

    pub(crate) fn cancel(&self, id: &str) {
        if let Some(cancel) = lock(&self.running).get(id) {
            cancel.cancel();
        }
    }

    pub(crate) fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    /// Asks the client something, through `send` (a stream of one of its requests, or else the session's own).
    pub(crate) async fn ask(
        &self,
        method: &str,
        params: Option<&RawValue>,
        through: Option<&mpsc::Sender<Vec<u8>>>,
    ) -> Option<Answer> {
        let number = self.next_question.fetch_add(1, Ordering::Relaxed) + 1;
        let (to, answer) = oneshot::channel();
        lock(&self.questions).insert(number, to);
        let _forget = Forget(self, number);
        let message = serve::request(&number.to_string(), method, params);
        let sent = match through {
            Some(stream) => stream.send(message.clone()).await.is_ok(),
            None => false,
        };
        if !sent {
            self.say(&message);
        }
        tokio::select! {
            answer = tokio::time::timeout(QUESTION, answer) => answer.ok()?.ok(),
            () = self.ended.cancelled() => None,
        }
    }

    /// The client answered a question.
    pub(crate) fn answered(&self, id: &str, answer: Answer) {
        let waiting = id
            .trim_matches('"')
            .parse()
            .ok()
            .and_then(|number: u64| lock(&self.questions).remove(&number));
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }

    /// From which level on it wants log lines.
    pub(crate) fn level(&self) -> Option<String> {
        lock(&self.level).clone()
    }

    pub(crate) fn set_level(&self, level: &str) {
        *lock(&self.level) = Some(level.to_owned());
    }

    /// The instance that its own connection to a server leads to.
    pub(crate) async fn bound_to(&self, server: &flotilla_contract::ServerId) -> Option<u32> {
        let own = self.own.lock().await;
        own.get(server).map(|own| own.instance.index)
    }

    /// A call to a server is under way, and may say something to the client through `stream`.
    pub(crate) fn opened(
        &self,
        server: &flotilla_contract::ServerId,
        stream: &mpsc::Sender<Vec<u8>>,
    ) -> Open<'_> {
        let number = self.next_open.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).push((number, server.clone(), stream.clone()));
        Open(self, number)
    }

    /// The stream of the latest call to a server.
    pub(crate) fn stream_to(
        &self,
        server: &flotilla_contract::ServerId,
    ) -> Option<mpsc::Sender<Vec<u8>>> {
        let open = lock(&self.open);
        open.iter()
            .rev()
            .find(|(_, to, _)| to == server)
            .map(|(.., stream)| stream.clone())
    }

    fn is_idle(&self, now: Instant) -> bool {
        now.duration_since(*lock(&self.used)) > IDLE
            && !self.listens()
            && lock(&self.running).is_empty()
    }
}

/// A call under way.
pub(crate) struct Open<'a>(&'a Session, u64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.0.open).retain(|(number, ..)| *number != self.1);
    }
}

struct Forget<'a>(&'a Session, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.0.questions).remove(&self.1);
    }
}

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    known: Mutex<HashMap<String, Arc<Known>>>,
}

impl Clients {
    /// A client was heard.
    pub(crate) fn known(&self, identity: &Arc<Identity>, now: Millis) -> Arc<Known> {
        let mut all = lock(&self.known);
        if let Some(known) = all.get(&identity.name) {
            known.last_seen.store(now, Ordering::Relaxed);
            let mut latest = lock(&known.identity);
            if !Arc::ptr_eq(&latest, identity) {
                *latest = Arc::clone(identity);
            }
            drop(latest);
            return Arc::clone(known);
        }
        if all.len() >= MOST_CLIENTS {
            let oldest = all
                .iter()
                .min_by_key(|(_, known)| known.last_seen.load(Ordering::Relaxed))
                .map(|(name, _)| name.clone());
            oldest.map(|name| all.remove(&name));
        }
        let known = Arc::new(Known {
            identity: Mutex::new(Arc::clone(identity)),
            rolling: Mutex::default(),
            last_seen: AtomicU64::new(now),
            listed_tools: AtomicBool::new(false),
        });
        all.insert(identity.name.clone(), Arc::clone(&known));
        known
    }

    /// Opens a session.
    pub(crate) fn open(
        &self,
        identity: Arc<Identity>,
        capabilities: Option<Box<RawValue>>,
        group: Option<String>,
        now: Millis,
    ) -> Arc<Session> {
        self.known(&identity, now);
        let session = Arc::new(Session {
            id: uuid::Uuid::new_v4().simple().to_string(),
            identity,
            capabilities,
            group,
            own: tokio::sync::Mutex::default(),
            open: Mutex::default(),
            next_open: AtomicU64::new(0),
            level: Mutex::default(),
            outbox: Mutex::default(),
            running: Mutex::default(),
            questions: Mutex::default(),
            next_question: AtomicU64::new(0),
            used: Mutex::new(Instant::now()),
            ended: CancellationToken::new(),
        });
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= MOST_SESSIONS {
            let oldest = sessions
                .values()
                .filter(|session| !session.listens() && lock(&session.running).is_empty())
                .min_by_key(|session| *lock(&session.used))
                .map(|session| session.id.clone());
            if let Some(gone) = oldest.and_then(|id| sessions.remove(&id)) {
                gone.ended.cancel();
            }
        }
        sessions.insert(session.id.clone(), Arc::clone(&session));
        session
    }

    pub(crate) fn session(&self, id: &str) -> Option<Arc<Session>> {
        lock(&self.sessions).get(id).cloned()
    }

    /// Ends a session: what it has under way is cancelled, its own connections are closed.
    pub(crate) fn close(&self, id: &str) -> bool {
        let Some(session) = lock(&self.sessions).remove(id) else {
            return false;
        };
        session.ended.cancel();
        true
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.sessions).values().cloned().collect()
    }

    /// Drops sessions that were left.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| {
            let idle = session.is_idle(now);
            if idle {
                session.ended.cancel();
            }
            !idle
        });
        if sessions.capacity() > 4 * sessions.len().max(64) {
            sessions.shrink_to_fit();
        }
    }

    /// Clients of the last hour, the busiest first.
    pub(crate) fn view(&self, now: Millis, at: Instant) -> Vec<ClientTraffic> {
        let mut open: HashMap<String, u32> = HashMap::new();
        for session in lock(&self.sessions).values() {
            *open.entry(session.identity.name.clone()).or_default() += 1;
        }
        let known: Vec<Arc<Known>> = lock(&self.known).values().cloned().collect();
        let mut rows: Vec<ClientTraffic> = known
            .iter()
            .filter(|known| now.saturating_sub(known.last_seen.load(Ordering::Relaxed)) < 3_600_000)
            .map(|known| {
                let identity = Arc::clone(&lock(&known.identity));
                ClientTraffic {
                    sessions: open.get(&identity.name).copied().unwrap_or_default(),
                    client: identity.name.clone(),
                    version: identity.version.clone(),
                    transport: identity.transport.to_owned(),
                    protocol: identity.protocol.clone(),
                    era: identity.era,
                    traffic: lock(&known.rolling).traffic(at),
                    last_seen: known.last_seen.load(Ordering::Relaxed),
                    listed_tools: known.listed_tools.load(Ordering::Relaxed),
                }
            })
            .collect();
        rows.sort_by(|a, b| {
            b.traffic
                .per_second
                .total_cmp(&a.traffic.per_second)
                .then(b.last_seen.cmp(&a.last_seen))
        });
        rows
    }
}
