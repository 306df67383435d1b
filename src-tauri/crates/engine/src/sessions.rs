//! The one MCP session per instance, and what is learned through it.
//!
//! A stdio child has one pair of pipes, so probe, playground, and later workflows and gateway all speak through the
//! session that is kept here. It is opened when the supervisor says that an instance is up, greeted at the first need,
//! and closed when the instance ends.
//!
//! A greeting runs in a task of its own: it may take as long as the start timeout (`npx` downloads), while each probe
//! looks in only for its own time limit. Greeting twice on one pair of pipes would confuse a server.

use crate::{clock, facts::Facts};
use flotilla_contract::{
    EventKind, InstanceId, Millis, ServerId, ServerSpec,
    event::NewEvent,
    gateway::Exposure,
    log::Stream,
    spec::Canary,
    state::HealthCode,
    tool::{Era, Peer, ToolList},
};
use flotilla_gateway::Times;
use flotilla_mcp::{
    Closed, Error, Finding, Fingerprint, Garbage, HttpClient, HttpTarget, Options, PoolOptions,
    PoolStats, RequestOptions, Session, fingerprint,
};
use flotilla_supervisor::{Boxed, Endpoint, Found, Link, Place, Prober, Supervisor};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Garbage lines that may wait to be logged.
const GARBAGE: usize = 64;

type Greeting = watch::Receiver<Option<Result<Arc<Peer>, Error>>>;

/// What speaks to one process.
struct Seat {
    stdio: bool,
    /// Where it listens, if it does.
    target: Option<HttpTarget>,
    session: Result<Session, Error>,
    /// The hint of the greeting, and the greeting, once begun.
    greeting: Mutex<Option<(Option<Era>, Greeting)>>,
    findings: Mutex<Vec<(HealthCode, String)>>,
    /// Ends the task that listens to what the server says by itself.
    _listening: tokio_util::sync::DropGuard,
}

/// All sessions of an engine.
pub(crate) struct Sessions {
    seats: Mutex<HashMap<InstanceId, (u64, Arc<Seat>)>>,
    pub(crate) facts: Arc<Facts>,
    supervisor: OnceLock<Supervisor>,
    http: HttpClient,
    events: flotilla_store::EventLog,
    greetings: Mutex<HashMap<ServerId, Greetings>>,
}

/// Connections to a server, over whatever carries them, since the engine started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greetings {
    /// Those that came about, and how long that took, in milliseconds.
    pub(crate) took: Times,
    /// Those that did not, by why.
    pub(crate) failed: BTreeMap<&'static str, u64>,
}

impl Greetings {
    fn note(&mut self, took: Duration, ended: Result<(), &Error>) {
        match ended {
            Ok(()) => self.took.note(took.as_secs_f64() * 1_000.0),
            Err(error) => *self.failed.entry(why(error)).or_default() += 1,
        }
    }
}

/// Why a connection did not come about, in a word.
fn why(error: &Error) -> &'static str {
    match error {
        Error::Timeout(_) => "timeout",
        Error::Unreachable(_) => "unreachable",
        Error::Closed(_) | Error::DiedOnDiscover(_) => "closed",
        Error::Http { .. } => "http_status",
        Error::Rpc { .. } | Error::Protocol(_) => "protocol",
        _ => "other",
    }
}

impl Sessions {
    pub(crate) fn new(facts: Arc<Facts>, events: flotilla_store::EventLog) -> Self {
        Self {
            seats: Mutex::default(),
            facts,
            supervisor: OnceLock::new(),
            http: HttpClient::new(),
            events,
            greetings: Mutex::default(),
        }
    }

    /// The supervisor is made after its ports.
    pub(crate) fn attach(&self, supervisor: Supervisor) {
        let _ = self.supervisor.set(supervisor);
    }

    pub(crate) fn supervisor(&self) -> Option<&Supervisor> {
        self.supervisor.get()
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<InstanceId, (u64, Arc<Seat>)>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self, id: &InstanceId) -> Option<Arc<Seat>> {
        self.seats().get(id).map(|(_, seat)| seat.clone())
    }

    fn seat_at(&self, place: &Place) -> Option<Arc<Seat>> {
        self.seats()
            .get(&place.id)
            .filter(|(spawn, _)| *spawn == place.spawn)
            .map(|(_, seat)| seat.clone())
    }

    /// What became of connections, by server; of servers that are no longer declared nothing.
    pub(crate) fn greetings(
        &self,
        is_declared: impl Fn(&ServerId) -> bool,
    ) -> Vec<(ServerId, Greetings)> {
        let mut greetings = lock(&self.greetings);
        greetings.retain(|server, _| is_declared(server));
        let mut all: Vec<_> = greetings
            .iter()
            .map(|(id, it)| (id.clone(), it.clone()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Greets a server, and counts how that went.
    async fn greet(
        &self,
        server: &ServerId,
        session: &Session,
        hint: Option<Era>,
    ) -> Result<Peer, Error> {
        let began = std::time::Instant::now();
        let peer = session.greet(hint).await;
        let ended = peer.as_ref().map(|_| ());
        lock(&self.greetings)
            .entry(server.clone())
            .or_default()
            .note(began.elapsed(), ended);
        peer
    }

    /// What differs from the accepted tools, over all instances of a server.
    pub(crate) fn findings(&self, server: &ServerId) -> Vec<String> {
        let seats: Vec<Arc<Seat>> = self
            .seats()
            .iter()
            .filter(|(id, _)| id.server == *server)
            .map(|(_, (_, seat))| seat.clone())
            .collect();
        let mut all: Vec<String> = seats
            .iter()
            .flat_map(|seat| {
                lock(&seat.findings)
                    .iter()
                    .map(|(_, s)| s.clone())
                    .collect::<Vec<_>>()
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    pub(crate) fn clear_findings(&self, server: &ServerId) {
        for (id, (_, seat)) in self.seats().iter() {
            if id.server == *server {
                lock(&seat.findings).clear();
            }
        }
    }

    /// The connections to an instance, where they are counted.
    pub(crate) fn pool(&self, id: &InstanceId) -> Option<PoolStats> {
        self.seat(id)?.target.as_ref()?.pool()
    }

    /// What is declared about connections holds for those that are open, too.
    pub(crate) fn pooled(&self, server: &ServerId, exposure: &Exposure) {
        for (id, (_, seat)) in self.seats().iter() {
            if let Some(target) = seat.target.as_ref().filter(|_| id.server == *server) {
                target.retune(pool_options(exposure));
            }
        }
    }

    /// A greeted session with an instance, within a time limit.
    pub(crate) async fn session(
        self: &Arc<Self>,
        id: &InstanceId,
        limit: Duration,
    ) -> Result<(Session, Arc<Peer>), Error> {
        let seat = self.seat(id).ok_or(Error::Closed(Closed::Eof))?;
        let session = seat.session.clone()?;
        let peer = self.greeted(&seat, id, limit).await?;
        Ok((session, peer))
    }

    /// A new session with an instance, in the name of one client of the gateway: over HTTP a connection of its own, over standard
    /// streams a process of its own, which ends with the session.
    pub(crate) async fn open_for(
        &self,
        id: &InstanceId,
        client: flotilla_gateway::AsClient,
        limit: Duration,
    ) -> Result<(Session, Arc<Peer>), Error> {
        let seat = self.seat(id).ok_or(Error::Closed(Closed::Eof))?;
        let options = Options {
            greet_timeout: limit,
            capabilities: client.capabilities,
            asked: Some(client.asked),
            ..Options::default()
        };
        let session = match &seat.target {
            Some(target) => Session::http(target.clone(), options),
            None => self.guest(id, &client.name, options).await?,
        };
        let hint = self.facts.era_hint(&id.server);
        let peer = self.greet(&id.server, &session, hint).await?;
        Ok((session, Arc::new(peer)))
    }

    async fn guest(
        &self,
        id: &InstanceId,
        whose: &str,
        mut options: Options,
    ) -> Result<Session, Error> {
        let supervisor = self.supervisor.get().ok_or(Error::Closed(Closed::Ours))?;
        let guest = supervisor
            .guest(id, whose)
            .await
            .map_err(Error::Unreachable)?;
        let (to, mut lines) = mpsc::channel::<Garbage>(GARBAGE);
        options.garbage = Some(to);
        let (supervisor, id, pid) = (supervisor.clone(), id.clone(), guest.pid);
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                note_garbage(&supervisor, &id, &format!("[{pid}] "), &line);
            }
        });
        Ok(Session::stdio(guest.output, guest.input, options))
    }

    /// Waits for the greeting, beginning it if nobody has. A failed one is begun anew at the next call.
    async fn greeted(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        id: &InstanceId,
        limit: Duration,
    ) -> Result<Arc<Peer>, Error> {
        let session = seat.session.clone()?;
        let mut greeting = {
            let mut slot = lock(&seat.greeting);
            match &*slot {
                Some((_, running)) if !matches!(&*running.borrow(), Some(Err(_))) => {
                    running.clone()
                }
                _ => {
                    let hint = self.facts.era_hint(&id.server);
                    let (done, running) = watch::channel(None);
                    let (sessions, server) = (self.clone(), id.server.clone());
                    tokio::spawn(async move {
                        let peer = sessions.greet(&server, &session, hint).await.map(Arc::new);
                        done.send_replace(Some(peer));
                    });
                    *slot = Some((hint, running.clone()));
                    running
                }
            }
        };
        let answer = match tokio::time::timeout(limit, greeting.wait_for(Option::is_some)).await {
            Err(_) => return Err(Error::Timeout(limit)),
            Ok(Err(_)) => return Err(Error::Closed(Closed::Ours)),
            Ok(Ok(answer)) => answer.clone().unwrap_or(Err(Error::Closed(Closed::Ours))),
        };
        match &answer {
            Ok(peer) => self.facts.greeted(&id.server, peer),
            // A server that was changed may speak another era than the one remembered.
            Err(
                Error::Closed(_)
                | Error::DiedOnDiscover(_)
                | Error::Unreachable(_)
                | Error::Timeout(_),
            ) => {}
            Err(_) => self.facts.forget_era(&id.server),
        }
        answer
    }

    /// Lists the tools of an instance and compares them with those accepted. What is new is told, with this correlation.
    pub(crate) async fn list(
        self: &Arc<Self>,
        id: &InstanceId,
        correlation: Option<&str>,
        limit: Duration,
    ) -> Result<Listed, Error> {
        let seat = self.seat(id).ok_or(Error::Closed(Closed::Eof))?;
        let (session, peer) = self.session(id, limit).await?;
        if peer.capabilities.get("tools").is_none() {
            let list = tool_list(
                &id.server,
                &Fingerprint::default(),
                &peer,
                &[],
                clock::now(),
            );
            self.facts.listed(&id.server, list.clone());
            return Ok(Listed {
                list,
                declared: false,
                findings: Vec::new(),
            });
        }
        let page = session.list_tools(limit).await?;
        let print = fingerprint(&page.tools);
        let list = tool_list(&id.server, &print, &peer, &page.tools, clock::now());
        let findings = if page.tools.is_empty() {
            Vec::new()
        } else {
            self.compare(&id.server, &print)
        };
        let news = self.facts.listed(&id.server, list.clone());
        let sentences: Vec<String> = findings.iter().map(|(_, s)| s.clone()).collect();
        let before = std::mem::replace(&mut *lock(&seat.findings), findings.clone());
        if news || before != findings {
            let what = EventKind::Tools {
                count: u32::try_from(page.tools.len()).unwrap_or(u32::MAX),
                findings: sentences,
            };
            self.events.append(NewEvent {
                about: Some(id.clone()),
                correlation: correlation.map(str::to_owned),
                what,
            });
        }
        if let (true, Some(supervisor)) = (news, self.supervisor.get()) {
            supervisor.touch(&id.server);
        }
        Ok(Listed {
            list,
            declared: true,
            findings,
        })
    }

    /// What is amiss compared with the accepted tools. More tools than before are accepted as they come.
    fn compare(&self, server: &ServerId, now: &Fingerprint) -> Vec<(HealthCode, String)> {
        let Some(accepted) = self.facts.accepted(server) else {
            self.facts.accept(server, now.clone());
            return Vec::new();
        };
        let differences = accepted.compare(now);
        let mut faults: Vec<(HealthCode, String)> = differences
            .iter()
            .filter(|f| f.is_fault())
            .map(|f| {
                let code = if matches!(f, Finding::ToolLost { .. }) {
                    HealthCode::ToolsLost
                } else {
                    HealthCode::SchemaChanged
                };
                (code, capital(&f.to_string()))
            })
            .collect();
        faults.sort_by_key(|(code, _)| *code != HealthCode::ToolsLost);
        if faults.is_empty() && !differences.is_empty() {
            self.facts.accept(server, now.clone());
        }
        faults
    }

    async fn ask(
        self: &Arc<Self>,
        place: &Place,
        correlation: Option<&str>,
        limit: Duration,
    ) -> Found {
        let deadline = tokio::time::Instant::now() + limit;
        let left = || deadline.saturating_duration_since(tokio::time::Instant::now());
        let Some(seat) = self.seat_at(place) else {
            return Found::NotYet;
        };
        match self.greeted(&seat, &place.id, limit).await {
            Err(Error::Timeout(_)) => return Found::NotYet,
            Err(error) => return bad(&error, limit),
            Ok(_) => {}
        }
        let Ok(session) = seat.session.clone() else {
            return Found::NotYet;
        };
        if let Err(error) = session.ping(left()).await {
            if lost(&error) {
                // The server was restarted behind our back: it is greeted anew at the next probe.
                *lock(&seat.greeting) = None;
            }
            return bad(&error, limit);
        }
        match self.list(&place.id, correlation, left()).await {
            Err(error) => bad(&error, limit),
            Ok(Listed {
                declared: false, ..
            }) => Found::Good {
                findings: Vec::new(),
                proof: "it declares no tools".into(),
            },
            Ok(Listed { list, .. }) if list.tools.is_empty() => Found::Bad {
                code: HealthCode::NoTools,
                sentence: "it declares tools and lists none".into(),
            },
            Ok(Listed { list, findings, .. }) => {
                let count = list.tools.len();
                let mut proof = format!("{count} {}", if count == 1 { "tool" } else { "tools" });
                if let Some(canary) = self.canary(&place.id.server) {
                    if let Err(sentence) = sing(&session, &canary, left(), limit).await {
                        let code = HealthCode::CheckFailed;
                        return Found::Bad { code, sentence };
                    }
                    proof = format!("{proof}, the canary {} answers", canary.tool);
                }
                Found::Good { findings, proof }
            }
        }
    }

    fn canary(&self, server: &ServerId) -> Option<Canary> {
        self.supervisor
            .get()?
            .observe(server)?
            .spec
            .health
            .canary
            .clone()
    }

    /// Writes lines that are no protocol into the instance's log, and asks for a probe when the tools changed.
    fn listen(
        self: &Arc<Self>,
        id: InstanceId,
        session: &Session,
        mut garbage: Option<mpsc::Receiver<Garbage>>,
        until: tokio_util::sync::CancellationToken,
    ) {
        let mut notifications = session.notifications();
        let supervisor = self.supervisor.get().cloned();
        tokio::spawn(async move {
            let Some(supervisor) = supervisor else { return };
            loop {
                tokio::select! {
                    () = until.cancelled() => return,
                    line = next(&mut garbage) => match line {
                        None => garbage = None,
                        Some(line) => note_garbage(&supervisor, &id, "", &line),
                    },
                    news = notifications.next() => match news {
                        None => return,
                        Some(Ok(news)) if news.method != "notifications/tools/list_changed" => {}
                        Some(_) => supervisor.probe(&id),
                    },
                }
            }
        });
    }
}

/// Writes a line that is no protocol into the instance's log.
fn note_garbage(supervisor: &Supervisor, id: &InstanceId, label: &str, line: &Garbage) {
    if line.lost > 0 {
        let lost = format!(
            "{label}{} lines on its standard output were not kept",
            line.lost
        );
        supervisor.log(id, Stream::Supervisor, &lost);
    }
    supervisor.log(id, Stream::Stdout, &format!("{label}{}", line.text));
}

async fn next(garbage: &mut Option<mpsc::Receiver<Garbage>>) -> Option<Garbage> {
    match garbage {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

/// Tools as listed.
pub(crate) struct Listed {
    pub(crate) list: ToolList,
    pub(crate) declared: bool,
    pub(crate) findings: Vec<(HealthCode, String)>,
}

/// The doors that the supervisor knows.
pub(crate) struct Doors(pub(crate) Arc<Sessions>);

impl Link for Doors {
    fn open(&self, place: &Place, spec: &Arc<ServerSpec>, endpoint: Endpoint) {
        let sessions = &self.0;
        let greet_timeout =
            Duration::from_millis(spec.health.start_timeout_ms).max(Duration::from_secs(5));
        let mut options = Options {
            greet_timeout,
            ..Options::default()
        };
        let stdio = matches!(endpoint, Endpoint::Stdio { .. });
        let (mut garbage, mut target) = (None, None);
        let session = match endpoint {
            Endpoint::Stdio { input, output } => {
                let (to, lines) = mpsc::channel(GARBAGE);
                (options.garbage, garbage) = (Some(to), Some(lines));
                Ok(Session::stdio(output, input, options))
            }
            Endpoint::Http { url, headers } => {
                HttpTarget::new(&sessions.http, &url, headers).map(|at| {
                    let at = at.pooled(pool_options(&spec.gateway));
                    target = Some(at.clone());
                    Session::http(at, options)
                })
            }
        };
        let until = tokio_util::sync::CancellationToken::new();
        if let Ok(session) = &session {
            sessions.listen(place.id.clone(), session, garbage, until.clone());
        }
        let seat = Seat {
            stdio,
            target,
            session,
            greeting: Mutex::default(),
            findings: Mutex::default(),
            _listening: until.drop_guard(),
        };
        sessions
            .seats()
            .insert(place.id.clone(), (place.spawn, Arc::new(seat)));
    }

    fn close_input(&self, place: &Place) {
        if let Some(Ok(session)) = self.0.seat_at(place).map(|seat| seat.session.clone()) {
            tokio::spawn(async move { session.close().await });
        }
    }

    fn gone(&self, place: &Place) -> Option<String> {
        let seat = {
            let mut seats = self.0.seats();
            if seats
                .get(&place.id)
                .is_none_or(|(spawn, _)| *spawn != place.spawn)
            {
                return None;
            }
            seats.remove(&place.id)?.1
        };
        let excuse = died_of_the_question(&seat);
        if excuse {
            self.0.facts.suspect_legacy(&place.id.server);
        }
        if let Ok(session) = seat.session.clone() {
            tokio::spawn(async move { session.close().await });
        }
        drop(seat);
        excuse.then(|| {
            "ended when it was asked which MCP versions it speaks; it is started again and asked in the old way".to_owned()
        })
    }
}

/// Some old servers end when they are asked `server/discover`. That is our doing, not a crash; but only for a server
/// whose era nobody knew, and only while the question was open.
fn died_of_the_question(seat: &Seat) -> bool {
    match &*lock(&seat.greeting) {
        Some((None, running)) if seat.stdio => matches!(
            &*running.borrow(),
            None | Some(Err(Error::DiedOnDiscover(_)))
        ),
        _ => false,
    }
}

impl Prober for Doors {
    fn probe(&self, place: Place, correlation: Option<String>, timeout: Duration) -> Boxed<Found> {
        let sessions = self.0.clone();
        Box::pin(async move { sessions.ask(&place, correlation.as_deref(), timeout).await })
    }
}

/// Makes a call whose answer is known. What is wrong, as a sentence without a final period.
async fn sing(
    session: &Session,
    canary: &Canary,
    left: Duration,
    limit: Duration,
) -> Result<(), String> {
    const SHOWN: usize = 120;
    let tool = &canary.tool;
    let params = serde_json::json!({ "name": tool, "arguments": canary.arguments }).to_string();
    let params = RawValue::from_string(params).map_err(|error| error.to_string())?;
    let options = RequestOptions::within(left);
    let result = match session.request("tools/call", Some(params), options).await {
        Ok(result) => result,
        Err(Error::Timeout(_)) => {
            let limit = flotilla_supervisor::span(limit);
            return Err(format!("the canary {tool} did not answer within {limit}"));
        }
        Err(error) => return Err(format!("the canary {tool} failed: {error}")),
    };
    let result: serde_json::Value =
        serde_json::from_str(result.get()).map_err(|error| error.to_string())?;
    let said = said(&result);
    let start: String = said.chars().take(SHOWN).collect();
    if result["isError"] == true {
        return Err(format!("the canary {tool} failed: {start}"));
    }
    match &canary.answer {
        Some(answer) if !said.contains(answer) => Err(format!(
            "the canary {tool} answered {start:?}, without {answer:?}"
        )),
        _ => Ok(()),
    }
}

/// All text of a tool's result, and its structured content as JSON.
fn said(result: &serde_json::Value) -> String {
    let texts = result["content"].as_array().into_iter().flatten();
    let mut said: Vec<String> = texts
        .filter_map(|part| Some(part["text"].as_str()?.to_owned()))
        .collect();
    if let Some(structured) = result.get("structuredContent") {
        said.push(structured.to_string());
    }
    said.join("\n")
}

/// A call waits for a connection as long as it would for a place in an instance.
fn pool_options(exposure: &Exposure) -> PoolOptions {
    let pool = &exposure.pool;
    PoolOptions {
        min: pool.min as usize,
        max: pool.max as usize,
        idle: Duration::from_millis(pool.idle_ms),
        age: Duration::from_millis(pool.age_ms),
        connect_timeout: Duration::from_millis(pool.connect_timeout_ms),
        wait: Duration::from_millis(exposure.queue_timeout_ms),
    }
}

fn lost(error: &Error) -> bool {
    matches!(
        error,
        Error::SessionLost(_)
            | Error::Http { .. }
            | Error::Unreachable(_)
            | Error::Interrupted(_)
            | Error::Protocol(_)
    )
}

fn bad(error: &Error, limit: Duration) -> Found {
    let sentence = match error {
        // What was left of the limit is nobody's business.
        Error::Timeout(_) => format!("no answer within {}", flotilla_supervisor::span(limit)),
        other => other.to_string(),
    };
    Found::Bad {
        code: HealthCode::CheckFailed,
        sentence,
    }
}

pub(crate) fn tool_list(
    server: &ServerId,
    print: &Fingerprint,
    peer: &Peer,
    tools: &[Box<RawValue>],
    listed_at: Millis,
) -> ToolList {
    ToolList {
        server: server.clone(),
        listed_at,
        fingerprint: print.hash.clone(),
        peer: peer.clone(),
        tools: tools
            .iter()
            .map(|raw| serde_json::from_str(raw.get()).unwrap_or(serde_json::Value::Null))
            .collect(),
    }
}

pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a call is to be sent to an instance of a server: the first that serves.
pub(crate) fn best_instance(instances: &[flotilla_contract::InstanceView]) -> Option<u32> {
    use flotilla_contract::state::{ProcessState, Status};
    let rank = |status| match status {
        Status::Running => 0,
        Status::Degraded => 1,
        Status::Unchecked => 2,
        Status::Starting => 3,
        _ => 4,
    };
    instances
        .iter()
        .filter(|i| i.process.state == ProcessState::Running)
        .min_by_key(|i| rank(i.status))
        .map(|i| i.id.index)
}
