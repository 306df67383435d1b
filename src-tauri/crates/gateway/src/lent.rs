//! Connections to legacy servers for modern clients that can be asked something (`sharing = "per_client"`), and calls that are
//! held until their client answers.
//!
//! A modern client has no session: what a server asks in the midst of a call is that call's answer (`input_required`), and the
//! client sends the call again with what it was asked for. A legacy server asks, and waits. So the call to the server is held,
//! still under way, under a name that nobody can guess; the client's next request, which says that name, gives the server its
//! answers and follows the call on.
//!
//! **Whose connection.** One call has a connection to itself, so that what is asked on it belongs to that call for certain.
//! After the call it is kept for the next one of a client with the same capabilities, until nobody used it for `client_idle`.
//! Connections count against `max_clients`.
//!
//! **Bounds.** [`MOST_HELD`] calls are held, each for [`HELD_FOR`]; then its server is told that nobody answered, and the call is
//! cancelled. A held call keeps its place in its instance, so that no server is put to sleep over it.

use crate::{
    clients::lock,
    fleet::AsClient,
    gateway::Gateway,
    own::Counted,
    relay::{Call, Target},
    server::{Place, Server},
};
use flotilla_contract::{
    ServerId,
    gateway::{Exposure, Sharing},
    tool::{Era, Peer},
};
use flotilla_mcp::{
    Asked, Error, Notification, Progress, RequestOptions, Session as Upstream,
    serve::{self, Fields},
};
use serde_json::value::RawValue;
use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Calls held at once.
const MOST_HELD: usize = 1_000;
/// How long a client may take to answer.
const HELD_FOR: Duration = Duration::from_secs(300);
/// Questions, progress and notifications of one call that may wait.
const WAITING: usize = 64;
/// Begins the state that a client sends back; the rest is drawn by lot.
const STATE: &str = "flotilla-held-";
/// What a client can be asked.
const QUESTIONS: [(&str, &str); 3] = [
    ("sampling", "sampling/createMessage"),
    ("elicitation", "elicitation/create"),
    ("roots", "roots/list"),
];

/// Whether a client with these capabilities can be asked anything.
pub(crate) fn can_be_asked(capabilities: Option<&RawValue>) -> bool {
    let fields = Fields::of(capabilities);
    QUESTIONS
        .iter()
        .any(|(capability, _)| fields.raw(capability).is_some())
}

/// What is lent out and what is held.
#[derive(Default)]
pub(crate) struct Lent {
    idle: Mutex<Vec<Line>>,
    held: Mutex<HashMap<String, Held>>,
}

/// A connection of the kind that is lent.
struct Line {
    server: Arc<Server>,
    /// The instance and its process.
    leads_to: (u32, u64),
    /// What was declared on it.
    capabilities: Box<str>,
    session: Upstream,
    peer: Arc<Peer>,
    asked: mpsc::Receiver<Asked>,
    used: Instant,
    _counted: Counted,
}

/// A call on a connection of its own.
pub(crate) struct Run {
    line: Line,
    request: Pin<Box<dyn Future<Output = Result<Box<RawValue>, Error>> + Send>>,
    progress: mpsc::Receiver<Progress>,
    notes: mpsc::Receiver<Notification>,
    /// What was asked and not answered yet, by name.
    open: Vec<(String, Asked)>,
    asked: u32,
    pub(crate) place: Arc<Place>,
}

/// A call that waits for its client.
struct Held {
    run: Run,
    client: String,
    server: ServerId,
    name: String,
    until: Instant,
}

type Outcome = Result<(Box<RawValue>, Arc<Peer>), Error>;

impl Lent {
    /// Closes what nobody used for as long as its server says, and gives up on clients that do not answer.
    pub(crate) fn sweep(&self, now: Instant) {
        lock(&self.idle).retain(|line| {
            let idle = Duration::from_millis(line.server.exposure().client_idle_ms);
            now.saturating_duration_since(line.used) < idle
                && line.session.closed_reason().is_none()
        });
        lock(&self.held).retain(|_, held| now < held.until);
    }

    /// One that leads to this process and was opened with these capabilities.
    fn take(&self, server: &Arc<Server>, leads_to: (u32, u64), capabilities: &str) -> Option<Line> {
        let mut idle = lock(&self.idle);
        idle.retain(|line| line.session.closed_reason().is_none());
        let at = idle.iter().position(|line| {
            Arc::ptr_eq(&line.server, server)
                && line.leads_to == leads_to
                && *line.capabilities == *capabilities
        })?;
        Some(idle.swap_remove(at))
    }

    /// Closes an idle connection to the server, to make room for another.
    fn make_room(&self, server: &Arc<Server>) {
        let mut idle = lock(&self.idle);
        let oldest = idle
            .iter()
            .enumerate()
            .filter(|(_, line)| Arc::ptr_eq(&line.server, server))
            .min_by_key(|(_, line)| line.used)
            .map(|(at, _)| at);
        if let Some(at) = oldest {
            idle.swap_remove(at);
        }
    }

    /// The held call that a request goes on with. `Err`: it names one that is not there, or not its own.
    pub(crate) fn resume(&self, call: &Call, target: &Target) -> Option<Result<Run, &'static str>> {
        let fields = Fields::of(call.params.as_deref());
        let state = fields.text("requestState")?;
        if !state.starts_with(STATE) {
            return None;
        }
        let mut all = lock(&self.held);
        let its_own = |held: &Held| {
            held.client == call.identity.name
                && held.server == target.server.id
                && held.name == target.name
        };
        if !all.get(state.as_ref()).is_some_and(its_own) {
            return Some(Err(
                "requestState names no call that waits for this client: it was answered, or given up after 5 minutes; call anew",
            ));
        }
        all.remove(state.as_ref()).map(|held| Ok(held.run))
    }
}

impl Gateway {
    /// What the client of a call can be asked, if that needs a connection of its own.
    pub(crate) fn lends(
        call: &Call,
        server: &Server,
        exposure: &Exposure,
    ) -> Option<Box<RawValue>> {
        if call.session.is_some() || exposure.sharing != Sharing::PerClient {
            return None;
        }
        let legacy = |offer: Arc<crate::offer::Offer>| offer.peer.era == Era::Legacy;
        if !server.offer().is_some_and(legacy) {
            return None;
        }
        let meta = serve::Meta::of(call.params.as_deref());
        let capabilities = meta.client_capabilities?;
        can_be_asked(Some(capabilities)).then(|| capabilities.to_owned())
    }

    /// Begins a call on a connection of its own.
    pub(crate) async fn lend(
        &self,
        call: &Call,
        target: &Target,
        place: Arc<Place>,
        capabilities: Box<RawValue>,
        (limit, total): (Duration, Duration),
    ) -> Result<Run, Error> {
        let (server, leads_to) = (&target.server, (place.id().index, place.spawn()));
        let lent = &self.inner.lent;
        let line = match lent.take(server, leads_to, capabilities.get()) {
            Some(line) => line,
            None => {
                let most = server.exposure().max_clients;
                if server.owned.load(Ordering::Relaxed) >= most {
                    lent.make_room(server);
                }
                let counted = Counted::one(server)?;
                let (to, asked) = mpsc::channel(WAITING);
                let client = AsClient {
                    name: call.identity.name.clone(),
                    capabilities: Some(capabilities.clone()),
                    asked: to,
                };
                let (session, peer) = self.inner.fleet.own(place.id(), client, limit).await?;
                Line {
                    server: Arc::clone(server),
                    leads_to,
                    capabilities: capabilities.get().into(),
                    session,
                    peer,
                    asked,
                    used: Instant::now(),
                    _counted: counted,
                }
            }
        };
        let (to_progress, progress) = mpsc::channel(WAITING);
        let (to_notes, notes) = mpsc::channel(WAITING);
        let wants_progress = serve::Meta::of(call.params.as_deref())
            .progress_token
            .is_some();
        let options = RequestOptions {
            timeout: limit,
            total_timeout: Some(total),
            on_progress: wants_progress.then_some(to_progress),
            on_notification: Some(to_notes),
            rename: target.rename(),
            // Not the request's own: the call goes on when that was answered with a question.
            cancel: self.inner.ended.child_token(),
            ..RequestOptions::default()
        };
        let (session, method) = (line.session.clone(), call.method.clone());
        let params = target.params(call).map(ToOwned::to_owned);
        Ok(Run {
            line,
            request: Box::pin(
                async move { session.relay(&method, params.as_deref(), options).await },
            ),
            progress,
            notes,
            open: Vec::new(),
            asked: 0,
            place,
        })
    }

    /// Gives the server what its client said, and follows the call on.
    pub(crate) async fn go_on(&self, call: &Call, target: &Target, mut run: Run) -> Outcome {
        let fields = Fields::of(call.params.as_deref());
        let responses = Fields::of(fields.raw("inputResponses"));
        for (name, question) in std::mem::take(&mut run.open) {
            match responses.raw(&name) {
                // Fails when the server does not want to know any more.
                Some(answer) => drop(question.reply.send(Ok(answer.to_owned()))),
                None => run.open.push((name, question)),
            }
        }
        self.attend(call, target, run).await
    }

    /// Follows a call until its server answers or asks.
    pub(crate) async fn attend(&self, call: &Call, target: &Target, mut run: Run) -> Outcome {
        let token = serve::Meta::of(call.params.as_deref()).progress_token;
        loop {
            run.open.retain(|(_, question)| !question.reply.is_closed());
            if !run.open.is_empty() {
                return self.wait_for_client(call, target, run);
            }
            tokio::select! {
                biased;
                () = call.cancel.cancelled() => return Err(Error::Cancelled),
                Some(news) = run.progress.recv() => self.progress(call, token, &news).await,
                Some(note) = run.notes.recv() => call.say.note(&note).await,
                Some(question) = run.line.asked.recv() => {
                    run.put(question);
                    while let Ok(question) = run.line.asked.try_recv() {
                        run.put(question);
                    }
                }
                outcome = &mut run.request => {
                    while let Ok(news) = run.progress.try_recv() {
                        self.progress(call, token, &news).await;
                    }
                    while let Ok(note) = run.notes.try_recv() {
                        call.say.note(&note).await;
                    }
                    let peer = Arc::clone(&run.line.peer);
                    if matches!(outcome, Ok(_) | Err(Error::Rpc { .. })) {
                        let mut line = run.line;
                        line.used = Instant::now();
                        lock(&self.inner.lent.idle).push(line);
                    }
                    return outcome.map(|result| (result, peer));
                }
            }
        }
    }

    /// Answers a request with what the server asks, and keeps its call until the client comes back.
    fn wait_for_client(&self, call: &Call, target: &Target, run: Run) -> Outcome {
        let mut all = lock(&self.inner.lent.held);
        if all.len() >= MOST_HELD {
            return Err(Error::Busy(format!(
                "{MOST_HELD} calls wait for answers of their clients"
            )));
        }
        let state = format!("{STATE}{}", uuid::Uuid::new_v4().simple());
        let questions: Vec<String> = run
            .open
            .iter()
            .map(|(name, question)| {
                let method = serde_json::Value::from(question.method.as_str());
                let params = question
                    .params
                    .as_ref()
                    .map(|params| format!(r#","params":{}"#, params.get()));
                format!(
                    r#""{name}":{{"method":{method}{}}}"#,
                    params.unwrap_or_default()
                )
            })
            .collect();
        let text = format!(
            r#"{{"resultType":"input_required","inputRequests":{{{}}},"requestState":"{state}"}}"#,
            questions.join(",")
        );
        let result =
            RawValue::from_string(text).map_err(|error| Error::Protocol(error.to_string()))?;
        let peer = Arc::clone(&run.line.peer);
        all.insert(
            state,
            Held {
                run,
                client: call.identity.name.clone(),
                server: target.server.id.clone(),
                name: target.name.clone(),
                until: Instant::now() + HELD_FOR,
            },
        );
        Ok((result, peer))
    }
}

impl Run {
    /// A question of the server, if it is one for clients and this client can be asked it.
    fn put(&mut self, question: Asked) {
        let declared = RawValue::from_string(String::from(&*self.line.capabilities));
        let fields = Fields::of(declared.as_deref().ok());
        let can = QUESTIONS.iter().any(|(capability, method)| {
            *method == question.method && fields.raw(capability).is_some()
        });
        if can {
            self.asked += 1;
            self.open.push((self.asked.to_string(), question));
        } else {
            question.refuse(serve::METHOD_NOT_FOUND, "the client cannot be asked this");
        }
    }
}
