//! The way of one request: whose is it, may it pass, where does it go, what becomes of it.

use crate::{
    cache::{Answer, Question},
    catalogue::Lost,
    clients::{Identity, Known, LEVELS, Session},
    gateway::{Gateway, Inner, wall},
    lent::{Run, can_be_asked},
    limit::Standing,
    record::{LONGEST_NAME, Tally, beginning},
    server::{Place, Refusal, Server},
};
use flotilla_contract::{
    ServerId,
    gateway::{CallEnd, RejectedBy},
    tool::{Era, Peer},
};
use flotilla_mcp::{
    Error, List, Mirrors, Notification, Progress, RequestOptions, Session as Upstream,
    serve::{self, Fields},
};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Progress and notifications of one call that may wait to be passed on.
const WAITING: usize = 64;
/// A server that asks for input again and again is stopped after so many rounds.
const ROUNDS: usize = 10;
/// A server's refusal that says that it is busy; the code of the same meaning in the gateway's own answers.
const REFUSED: i64 = -32_003;

/// The text of a JSON value: what a client is answered. It is not read again on its way out.
pub(crate) type Json = Box<str>;

/// What may be said to a client before its answer.
pub(crate) struct Said(pub(crate) mpsc::Sender<Vec<u8>>);

/// One request of a client.
pub(crate) struct Call {
    pub(crate) identity: Arc<Identity>,
    pub(crate) known: Arc<Known>,
    pub(crate) group: Option<String>,
    /// Legacy clients only.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
    /// By what the call is told from all others, in logs too: the client's word for it, or ours.
    pub(crate) correlation: String,
    /// It is the client's word: then the request can be followed by it.
    pub(crate) named: bool,
    /// The trace that the client says it is part of.
    pub(crate) trace: Option<String>,
    pub(crate) cancel: CancellationToken,
    pub(crate) say: Said,
}

impl Call {
    /// The id by which it can be followed.
    fn followed(&self) -> Option<&str> {
        self.named.then_some(self.correlation.as_str())
    }
}

/// Why there is no result, as the client is told.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Option<Box<RawValue>>,
    /// A server's own error object, which is passed on instead of the three above.
    pub(crate) raw: Option<Box<RawValue>>,
    /// When it may try again: only set where a limit was met.
    pub(crate) throttled: Option<Duration>,
    end: CallEnd,
}

impl Fault {
    fn new(code: i64, message: impl Into<String>, end: CallEnd) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
            raw: None,
            throttled: None,
            end,
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(serve::INVALID_PARAMS, message, CallEnd::Rejected)
    }

    fn refused(refusal: &Refusal) -> Self {
        let wait = refusal.retry_after;
        let data = wait.and_then(|wait| {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            RawValue::from_string(format!(r#"{{"retryAfterMs":{ms}}}"#)).ok()
        });
        let hint = wait.map(|wait| format!("; try again in {}", span(wait)));
        Self {
            code: REFUSED,
            message: format!("{}{}", refusal.reason, hint.unwrap_or_default()),
            data,
            raw: None,
            throttled: wait.filter(|_| refusal.by == RejectedBy::Limit),
            end: CallEnd::Rejected,
        }
    }
}

/// "0.4 s", "12 s".
fn span(wait: Duration) -> String {
    if wait < Duration::from_secs(10) {
        format!("{:.1} s", wait.as_secs_f64().max(0.1))
    } else {
        format!("{} s", wait.as_secs_f64().ceil())
    }
}

impl Target {
    /// What is sent, but for the name.
    pub(crate) fn params<'a>(&'a self, call: &'a Call) -> Option<&'a RawValue> {
        self.params.as_deref().or(call.params.as_deref())
    }

    /// The field that is set on the way.
    pub(crate) fn rename(&self) -> Option<(&'static str, String)> {
        self.named.then(|| ("name", self.name.clone()))
    }
}

/// What the cache does not keep.
enum Unkept {
    Result(Json),
    Fault(Fault),
}

/// What a call is for.
pub(crate) struct Target {
    pub(crate) server: Arc<Server>,
    /// The server's own name of the tool or prompt, or the URI.
    pub(crate) name: String,
    /// The parameters, where they are others than the client's.
    params: Option<Box<RawValue>>,
    /// `name` in them is to be the server's own.
    named: bool,
    is_tool: bool,
    /// Running it twice is as good as once.
    repeatable: bool,
    /// It says what the client was asked for in an earlier answer, which belongs to this client alone.
    goes_on: bool,
}

impl Gateway {
    /// Whether the client may ask at all now, and how far its limit is used up.
    pub(crate) fn within_window(&self, call: &Call) -> (Option<Standing>, Result<(), Fault>) {
        let client = &call.identity.name;
        let met = self.inner.limits().request(client, Instant::now(), wall());
        match met {
            None => (None, Ok(())),
            Some(Ok(standing)) => (Some(standing), Ok(())),
            Some(Err(met)) => {
                let refusal = Refusal {
                    by: RejectedBy::Limit,
                    reason: format!(
                        "{client} has reached its limit of {} requests",
                        met.standing.limit
                    ),
                    retry_after: Some(met.retry_after),
                };
                self.inner.reject(call, None, None, &refusal);
                (Some(met.standing), Err(Fault::refused(&refusal)))
            }
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, call: Call) -> Result<Json, Fault> {
        let legacy = call.identity.era == Era::Legacy;
        match call.method.as_str() {
            "ping" if legacy => Ok(empty().into()),
            "logging/setLevel" if legacy => self.set_level(&call),
            "server/discover" if !legacy => Ok(self.discover(call.group.as_deref()).into()),
            "tools/list" => self.list(&call, List::Tools),
            "prompts/list" => self.list(&call, List::Prompts),
            "resources/list" => self.list(&call, List::Resources),
            "resources/templates/list" => self.list(&call, List::Templates),
            "resources/subscribe" if legacy => self.watch(&call, true),
            "resources/unsubscribe" if legacy => self.watch(&call, false),
            "tools/call" | "prompts/get" | "resources/read" | "completion/complete" => {
                self.relay(call).await
            }
            "tasks/get" | "tasks/result" | "tasks/update" | "tasks/cancel" => {
                self.relay(call).await
            }
            method => Err(Fault::new(
                serve::METHOD_NOT_FOUND,
                format!("the gateway has no method {method:?}"),
                CallEnd::Rejected,
            )),
        }
    }

    fn list(&self, call: &Call, list: List) -> Result<Json, Fault> {
        let fields = Fields::of(call.params.as_deref());
        if let Some(cursor) = fields.text("cursor") {
            // Lists are given whole: there never was one.
            return Err(Fault::invalid(format!(
                "cursor {cursor:?} is none of ours; lists are given whole"
            )));
        }
        if list == List::Tools {
            call.known.listed_tools.store(true, Ordering::Relaxed);
        }
        let catalogue = self.inner.catalogue(call.group.as_deref());
        let capabilities = match &call.session {
            Some(session) => session.capabilities.as_deref(),
            None => fields.meta().client_capabilities,
        };
        let askable = can_be_asked(capabilities);
        Ok(catalogue.list(list, call.identity.era, askable).into())
    }

    fn set_level(&self, call: &Call) -> Result<Json, Fault> {
        let level = serve::field(call.params.as_deref(), "level");
        match (level.as_deref(), &call.session) {
            (Some(level), Some(session)) if LEVELS.contains(&level) => {
                session.set_level(level);
                self.inner.level_changed();
                Ok(empty().into())
            }
            (level, _) => Err(Fault::invalid(format!(
                "level is {level:?}; accepted are {}",
                LEVELS.join(", ")
            ))),
        }
    }

    fn watch(&self, call: &Call, on: bool) -> Result<Json, Fault> {
        let (Some(uri), Some(session)) =
            (serve::field(call.params.as_deref(), "uri"), &call.session)
        else {
            return Err(Fault::invalid("uri is missing"));
        };
        let server = self.resource_owner(call, &uri)?;
        server.watch(&session.id, &uri, on);
        Ok(empty().into())
    }

    fn resource_owner(&self, call: &Call, uri: &str) -> Result<Arc<Server>, Fault> {
        let catalogue = self.inner.catalogue(call.group.as_deref());
        match catalogue.resource(uri) {
            Ok(id) => self.server(id),
            Err(Lost::Unknown) => {
                let code =
                    serve::error_code("resources/read", serve::INVALID_PARAMS, call.identity.era);
                let mut fault = Fault::new(
                    code,
                    format!(
                        "no server offers the resource {}",
                        beginning(uri, LONGEST_NAME)
                    ),
                    CallEnd::Rejected,
                );
                fault.data =
                    RawValue::from_string(serde_json::json!({ "uri": uri }).to_string()).ok();
                Err(fault)
            }
            Err(Lost::Ambiguous(servers)) => {
                let names: Vec<&str> = servers.iter().map(ServerId::as_str).collect();
                Err(Fault::invalid(format!(
                    "{uri} is offered by {}; the gateway does not guess",
                    names.join(" and ")
                )))
            }
        }
    }

    /// Which arguments of a tool, by the name clients know it by, travel in headers as well.
    pub(crate) fn mirrors(&self, group: Option<&str>, tool: &str) -> Option<Arc<Mirrors>> {
        let catalogue = self.inner.catalogue(group);
        let owner = catalogue.tool(tool)?;
        let offer = self.inner.server(&owner.server)?.offer()?;
        offer.tool(&owner.name)?.mirrors.clone()
    }

    fn server(&self, id: &ServerId) -> Result<Arc<Server>, Fault> {
        self.inner
            .server(id)
            .ok_or_else(|| Fault::invalid(format!("{id} is not declared any more")))
    }

    /// Whose a request is, in that server's words.
    fn target(&self, call: &Call) -> Result<Target, Fault> {
        let fields = Fields::of(call.params.as_deref());
        let mut target = self.meant(call, &fields)?;
        let answers = |key| fields.raw(key).is_some();
        target.goes_on = answers("inputResponses") || answers("requestState");
        Ok(target)
    }

    fn meant(&self, call: &Call, fields: &Fields<'_>) -> Result<Target, Fault> {
        let catalogue = self.inner.catalogue(call.group.as_deref());
        let missing = |key: &str| Fault::invalid(format!("{key} is missing"));
        let unknown = |what: &str, name: &str| {
            let name = beginning(name, LONGEST_NAME);
            Fault::invalid(format!("unknown {what}: no server offers {name:?}"))
        };
        match call.method.as_str() {
            "tools/call" => {
                let name = fields.text("name").ok_or_else(|| missing("name"))?;
                let owner = catalogue
                    .tool(&name)
                    .ok_or_else(|| unknown("tool", &name))?;
                let server = self.server(&owner.server)?;
                Ok(Target {
                    repeatable: server.is_repeatable(&owner.name),
                    params: None,
                    named: true,
                    name: owner.name.clone(),
                    is_tool: true,
                    goes_on: false,
                    server,
                })
            }
            "prompts/get" => {
                let name = fields.text("name").ok_or_else(|| missing("name"))?;
                let owner = catalogue
                    .prompt(&name)
                    .ok_or_else(|| unknown("prompt", &name))?;
                Ok(Target {
                    server: self.server(&owner.server)?,
                    params: None,
                    named: true,
                    name: owner.name.clone(),
                    is_tool: false,
                    goes_on: false,
                    repeatable: true,
                })
            }
            "resources/read" => {
                let uri = fields.text("uri").ok_or_else(|| missing("uri"))?;
                Ok(Target {
                    server: self.resource_owner(call, &uri)?,
                    name: uri.into_owned(),
                    params: None,
                    named: false,
                    is_tool: false,
                    goes_on: false,
                    repeatable: true,
                })
            }
            method if method.starts_with("tasks/") => {
                let id = fields.text("taskId").ok_or_else(|| missing("taskId"))?;
                let server = self.inner.tasks.owner(&id).ok_or_else(|| {
                    Fault::invalid(format!(
                        "no server began a task {id:?} through this gateway"
                    ))
                })?;
                Ok(Target {
                    server: self.server(&server)?,
                    name: id.into_owned(),
                    params: None,
                    named: false,
                    is_tool: false,
                    goes_on: false,
                    repeatable: method == "tasks/get",
                })
            }
            _ => {
                let about = fields.raw("ref").ok_or_else(|| missing("ref"))?;
                let inner = Fields::of(Some(about));
                if let Some(name) = inner.text("name") {
                    let owner = catalogue
                        .prompt(&name)
                        .ok_or_else(|| unknown("prompt", &name))?;
                    let about = serve::set_field(about, "name", &owner.name);
                    return Ok(Target {
                        server: self.server(&owner.server)?,
                        params: call
                            .params
                            .as_deref()
                            .map(|params| serve::set_raw(params, "ref", &about)),
                        named: false,
                        name: owner.name.clone(),
                        is_tool: false,
                        goes_on: false,
                        repeatable: true,
                    });
                }
                let uri = inner
                    .text("uri")
                    .ok_or_else(|| missing("ref.name or ref.uri"))?;
                let server = match catalogue.template(&uri) {
                    Some(id) => self.server(id)?,
                    None => self.resource_owner(call, &uri)?,
                };
                Ok(Target {
                    server,
                    name: uri.into_owned(),
                    params: None,
                    named: false,
                    is_tool: false,
                    goes_on: false,
                    repeatable: true,
                })
            }
        }
    }

    async fn relay(&self, call: Call) -> Result<Json, Fault> {
        let call = Arc::new(call);
        let target = self.target(&call);
        let mut under_way = UnderWay::begin(&self.inner, &call, target.as_ref().ok());
        let outcome = match &target {
            Ok(target) => self.decide(&call, target, &mut under_way.tally).await,
            Err(fault) => {
                let fields = Fields::of(call.params.as_deref());
                let name = fields.text("name").or_else(|| fields.text("uri"));
                let name = name.map(|name| beginning(&name, LONGEST_NAME));
                let refusal = Refusal {
                    by: RejectedBy::Unknown,
                    reason: fault.message.clone(),
                    retry_after: None,
                };
                if let Some(name) = &name {
                    under_way.tally.asked_for(name);
                }
                self.inner.reject(&call, None, name.as_deref(), &refusal);
                Err(fault.clone())
            }
        };
        let tally = &mut under_way.tally;
        match &outcome {
            Ok(result) => {
                let failed = call.method == "tools/call" && is_error(result);
                let end = if failed {
                    CallEnd::ToolError
                } else {
                    CallEnd::Ok
                };
                tally.answered(end, result);
            }
            Err(fault) => tally.end(fault.end, Some(&fault.message)),
        }
        let told = outcome.as_deref();
        under_way.tell(told.map_err(|fault| fault.message.as_str()));
        outcome
    }

    /// Limits, then the cache, then the server.
    async fn decide(&self, call: &Call, target: &Target, tally: &mut Tally) -> Result<Json, Fault> {
        if target.is_tool {
            self.within_limit(call, target)?;
        }
        let question = Question {
            server: &target.server.id,
            tool: &target.name,
            arguments: Fields::of(target.params(call)).json("arguments"),
            // An answer is kept as it was translated.
            whose: era_word(call.identity.era),
        };
        let ttl = target.server.cache_ttl(target.is_tool, &target.name);
        let Some(ttl) = ttl.filter(|_| !target.goes_on) else {
            let result = self.send(call, target, tally).await?;
            if target.is_tool && target.repeatable && !target.goes_on && !is_error(&result) {
                self.inner
                    .cache()
                    .consider(question, &result, Instant::now());
            }
            return Ok(result);
        };
        let ask = async {
            let began = Instant::now();
            let result = self
                .send(call, target, tally)
                .await
                .map_err(Unkept::Fault)?;
            if is_error(&result) || serve::needs_input(&result) {
                return Err(Unkept::Result(result));
            }
            Ok(Answer {
                text: result,
                upstream_ms: began.elapsed().as_secs_f64() * 1_000.0,
            })
        };
        match Box::pin(self.inner.cache().get_or(question, ttl, ask)).await {
            Ok((kept, again)) => {
                tally.cached = again;
                Ok(kept.text.clone())
            }
            Err(Unkept::Result(result)) => Ok(result),
            Err(Unkept::Fault(fault)) => Err(fault),
        }
    }

    fn within_limit(&self, call: &Call, target: &Target) -> Result<(), Fault> {
        let client = &call.identity.name;
        let tool = format!("{}/{}", target.server.id, target.name);
        let met = self
            .inner
            .limits()
            .call(client, &tool, Instant::now(), wall());
        let Some(Err(met)) = met else {
            return Ok(());
        };
        let refusal = Refusal {
            by: RejectedBy::Limit,
            reason: format!(
                "{client} has reached its limit of calls to {} of {}",
                target.name, target.server.id
            ),
            retry_after: Some(met.retry_after),
        };
        self.inner
            .reject(call, Some(&target.server.id), Some(&target.name), &refusal);
        Err(Fault::refused(&refusal))
    }

    /// Sends a request to its server, as often as its policy allows, and gives the answer in the client's era.
    async fn send(&self, call: &Call, target: &Target, tally: &mut Tally) -> Result<Json, Fault> {
        let server = &target.server;
        let exposure = server.exposure();
        let deadline = Instant::now() + Duration::from_millis(exposure.total_timeout_ms);
        let tool = target.is_tool.then_some(target.name.as_str());
        if target.goes_on
            && let Some(held) = self.inner.lent.resume(call, target)
        {
            let run = held.map_err(Fault::invalid)?;
            return self.finish(call, target, run, tally).await;
        }
        let mut tried = Vec::new();
        let prefer = match &call.session {
            Some(session) if server.is_per_client() => session.bound_to(&server.id).await,
            _ => None,
        };
        server.sent();
        loop {
            let refuse = |refusal: &Refusal| {
                self.inner
                    .reject(call, Some(&server.id), Some(&target.name), refusal);
                Fault::refused(refusal)
            };
            let admitted = server
                .admit(tool, Instant::now())
                .map_err(|refusal| refuse(&refusal))?;
            let place = tokio::select! {
                place = server.place(&self.inner.fleet, Some(&call.correlation), prefer, &tried, deadline) => place,
                () = call.cancel.cancelled() => return Err(cancelled()),
            };
            let place = match place {
                Ok(place) => Arc::new(place),
                Err(refusal) => {
                    drop(admitted);
                    return Err(refuse(&refusal));
                }
            };
            tally.instance = Some(place.id().index);
            let began = Instant::now();
            let outcome = self.attempt(call, target, &place, deadline).await;
            let took = began.elapsed();
            tally.upstream = took;
            let error = match outcome {
                Ok((result, peer)) => {
                    let failed = target.is_tool && is_error(result.get());
                    place.observed(true, took);
                    self.inner.moved(server, admitted.done(Some(true)));
                    server.tried(!failed);
                    self.inner.tasks.note(&server.id, &result);
                    return Ok(translated(call, result, &peer));
                }
                Err(error) => error,
            };
            let class = crate::retry::classify(&error);
            let blame = blames_server(&error);
            if let Some(ok) = blame {
                place.observed(ok, took);
            }
            let changes = admitted.done(blame);
            self.inner.moved(server, changes);
            server.tried(false);
            let index = place.id().index;
            drop(place);
            let wait = server.next_try(tool, &error, class, target.repeatable, tally.retries + 1);
            let Some(wait) = wait.filter(|wait| Instant::now() + *wait < deadline) else {
                return Err(match error {
                    Error::Busy(why) => refuse(&Refusal {
                        by: RejectedBy::Queue,
                        reason: format!("{} is busy: {why}", server.id),
                        retry_after: Some(Duration::from_secs(1)),
                    }),
                    error => fault_of(call, &server.id, error),
                });
            };
            tally.retries += 1;
            tried.push(index);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = call.cancel.cancelled() => return Err(cancelled()),
            }
        }
    }

    /// Goes on with a call that waited for its client.
    async fn finish(
        &self,
        call: &Call,
        target: &Target,
        run: Run,
        tally: &mut Tally,
    ) -> Result<Json, Fault> {
        let (server, place) = (&target.server, Arc::clone(&run.place));
        tally.instance = Some(place.id().index);
        let began = Instant::now();
        let outcome = self.go_on(call, target, run).await;
        tally.upstream = began.elapsed();
        match outcome {
            Ok((result, peer)) => {
                place.observed(true, tally.upstream);
                self.inner.tasks.note(&server.id, &result);
                Ok(translated(call, result, &peer))
            }
            Err(error) => {
                if let Some(ok) = blames_server(&error) {
                    place.observed(ok, tally.upstream);
                }
                Err(fault_of(call, &server.id, error))
            }
        }
    }

    /// One try at one instance.
    async fn attempt(
        &self,
        call: &Call,
        target: &Target,
        place: &Arc<Place>,
        deadline: Instant,
    ) -> Result<(Box<RawValue>, Arc<Peer>), Error> {
        self.inner
            .suffer(
                &target.server.id,
                target.is_tool.then_some(target.name.as_str()),
                &call.cancel,
            )
            .await?;
        let exposure = target.server.exposure();
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Duration::from_millis(exposure.timeout_ms).min(left);
        if let Some(capabilities) = Self::lends(call, &target.server, &exposure) {
            let run = self.lend(call, target, Arc::clone(place), capabilities, (limit, left));
            return self.attend(call, target, run.await?).await;
        }
        let (upstream, peer) = self.connect(call, &target.server, place, limit).await?;
        let _open = call
            .session
            .as_ref()
            .map(|session| session.opened(&target.server.id, &call.say.0));
        let mut next = None;
        for _ in 0..ROUNDS {
            let params = next.as_deref().or(target.params(call));
            let result = self
                .ask(call, target, &upstream, params, limit, left)
                .await?;
            // A modern server's question to a legacy client: we ask it, and send the call again with what it said.
            match (&call.session, call.identity.era) {
                (Some(session), Era::Legacy) if serve::needs_input(result.get()) => {
                    next = Some(
                        self.gather(session, call, target.params(call), &result)
                            .await?,
                    );
                }
                _ => return Ok((result, peer)),
            }
        }
        Err(Error::Protocol(format!(
            "the server asked for input {ROUNDS} times and gave no answer"
        )))
    }

    async fn ask(
        &self,
        call: &Call,
        target: &Target,
        upstream: &Upstream,
        params: Option<&RawValue>,
        limit: Duration,
        left: Duration,
    ) -> Result<Box<RawValue>, Error> {
        let meta = serve::Meta::of(call.params.as_deref());
        let token = meta.progress_token;
        let (to_progress, mut progress) = mpsc::channel::<Progress>(WAITING);
        let (to_notes, mut notes) = mpsc::channel::<Notification>(WAITING);
        let level = match &call.session {
            Some(session) => session.level(),
            None => meta.log_level.map(Cow::into_owned),
        };
        let options = RequestOptions {
            timeout: limit,
            total_timeout: Some(left),
            on_progress: token.is_some().then_some(to_progress),
            on_notification: Some(to_notes),
            client_capabilities: client_capabilities(call),
            log_level: level,
            rename: target.rename(),
            cancel: call.cancel.clone(),
            ..RequestOptions::default()
        };
        // What is over already sends nothing: that is certain now, and would be a guess afterwards.
        if let Some(reason) = upstream.closed_reason() {
            return Err(Error::Unreachable(reason.to_string()));
        }
        let request = upstream.relay(&call.method, params, options);
        tokio::pin!(request);
        loop {
            tokio::select! {
                biased;
                Some(news) = progress.recv() => self.progress(call, token, &news).await,
                Some(note) = notes.recv() => call.say.note(&note).await,
                outcome = &mut request => {
                    while let Ok(news) = progress.try_recv() {
                        self.progress(call, token, &news).await;
                    }
                    while let Ok(note) = notes.try_recv() {
                        call.say.note(&note).await;
                    }
                    return outcome;
                }
            }
        }
    }

    /// Progress goes to who called, and to who follows the call.
    pub(crate) async fn progress(&self, call: &Call, token: Option<&RawValue>, news: &Progress) {
        self.inner
            .streams
            .chunk(call.followed(), &news.params, wall());
        call.say.progress(token, news).await;
    }

    /// Puts a modern server's questions to a legacy client and gives the parameters of the next round.
    async fn gather(
        &self,
        session: &Arc<Session>,
        call: &Call,
        params: Option<&RawValue>,
        result: &RawValue,
    ) -> Result<Box<RawValue>, Error> {
        let asked = Fields::of(Some(result));
        let questions: questions::Questions = asked
            .raw("inputRequests")
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .ok_or_else(|| {
                Error::Protocol("the server asks for input and does not say which".to_owned())
            })?;
        let mut answers = String::from("{");
        for (name, question) in &questions.0 {
            let question_fields = Fields::of(Some(question));
            let method = question_fields.text("method").unwrap_or_default();
            let answer = session
                .ask(&method, question_fields.raw("params"), Some(&call.say.0))
                .await
                .ok_or(Error::Cancelled)?
                .map_err(|error| {
                    Error::Protocol(format!(
                        "the client did not answer the server's question: {}",
                        error.get()
                    ))
                })?;
            if answers.len() > 1 {
                answers.push(',');
            }
            answers.push_str(&serde_json::Value::from(name.as_str()).to_string());
            answers.push(':');
            answers.push_str(answer.get());
        }
        answers.push('}');
        let answers =
            RawValue::from_string(answers).map_err(|error| Error::Protocol(error.to_string()))?;
        let base = params.map_or_else(empty, ToOwned::to_owned);
        let mut next = serve::set_raw(&base, "inputResponses", &answers);
        if let Some(state) = asked.raw("requestState") {
            next = serve::set_raw(&next, "requestState", state);
        }
        Ok(next)
    }

    /// The connection that a call travels on: the instance's own, or the client's.
    async fn connect(
        &self,
        call: &Call,
        server: &Arc<Server>,
        place: &Place,
        limit: Duration,
    ) -> Result<(Upstream, Arc<Peer>), Error> {
        if let (true, Some(session)) = (server.is_per_client(), &call.session) {
            return self.own(session, server, place, limit).await;
        }
        match place.session() {
            Some(opened) if opened.0.closed_reason().is_none() => Ok(opened),
            _ => {
                let opened = self.inner.fleet.shared(place.id(), limit).await?;
                place.remember(&opened);
                Ok(opened)
            }
        }
    }
}

/// A call that is counted until it is over, however it ends: dropped half-way, its client gave it up.
struct UnderWay {
    inner: Arc<Inner>,
    call: Arc<Call>,
    server: Option<Arc<Server>>,
    tally: Tally,
    /// Somebody may follow it.
    followed: bool,
}

impl UnderWay {
    fn begin(inner: &Arc<Inner>, call: &Arc<Call>, target: Option<&Target>) -> Self {
        let mut tally = Tally::begin(call, inner.keeping().bodies);
        if let Some(target) = target {
            tally.meant(&target.server.id, &target.name);
        }
        let server = target.map(|target| Arc::clone(&target.server));
        inner.begun(call, server.as_deref());
        Self {
            inner: Arc::clone(inner),
            call: Arc::clone(call),
            server,
            tally,
            followed: inner.streams.begin(call.followed(), wall()),
        }
    }

    /// Tells its followers what came of it.
    fn tell(&mut self, outcome: Result<&str, &str>) {
        if std::mem::take(&mut self.followed) {
            let outcome = outcome.and_then(|text| {
                serde_json::from_str(text).map_err(|_| "the result cannot be told")
            });
            let id = &self.call.correlation;
            self.inner.streams.end(id, outcome, wall());
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.tell(Err("cancelled"));
        let tally = std::mem::take(&mut self.tally);
        self.inner.keep(tally, &self.call, self.server.as_deref());
    }
}

impl Said {
    async fn progress(&self, token: Option<&RawValue>, news: &Progress) {
        let Some(token) = token else { return };
        let params = serve::set_raw(&news.params, "progressToken", token);
        let message = serve::notification("notifications/progress", Some(&params));
        let _ = self.0.send(message).await;
    }

    pub(crate) async fn note(&self, note: &Notification) {
        // Lists are ours: their changes are announced by us, once they are seen.
        if note.method.ends_with("/list_changed") {
            return;
        }
        let _ = self
            .0
            .send(serve::notification(&note.method, note.params.as_deref()))
            .await;
    }
}

/// A modern server may ask through its result what the client can answer.
fn client_capabilities(call: &Call) -> Option<Box<RawValue>> {
    match &call.session {
        Some(session) => session.capabilities.clone(),
        None => serve::Meta::of(call.params.as_deref())
            .client_capabilities
            .map(ToOwned::to_owned),
    }
}

fn era_word(era: Era) -> &'static str {
    match era {
        Era::Modern => "modern",
        Era::Legacy => "legacy",
    }
}

pub(crate) fn empty() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

fn cancelled() -> Fault {
    Fault::new(serve::INTERNAL_ERROR, "cancelled", CallEnd::Cancelled)
}

/// Whether a tool says that it failed. Looked for in the text first: most results are large and have no such word.
pub(crate) fn is_error(result: &str) -> bool {
    memchr::memmem::find(result.as_bytes(), b"\"isError\"").is_some()
        && Fields::read(result).json("isError") == Some("true")
}

fn translated(call: &Call, result: Box<RawValue>, peer: &Peer) -> Json {
    let text = match (call.identity.era, peer.era) {
        (Era::Modern, Era::Legacy) => serve::to_modern(&call.method, &result),
        (Era::Legacy, Era::Modern) => serve::to_legacy(&call.method, &result),
        _ => return result.into(),
    };
    match text {
        Cow::Owned(text) => text.into(),
        Cow::Borrowed(_) => result.into(),
    }
}

/// Whether an outcome speaks against the server; `None` when it says nothing about it.
fn blames_server(error: &Error) -> Option<bool> {
    match error {
        // Our own doing.
        Error::Cancelled | Error::Busy(_) => None,
        // It answered, as a server should that is asked for what it does not have.
        Error::Rpc { code, .. } => {
            let ours = matches!(
                *code,
                serve::INVALID_REQUEST
                    | serve::METHOD_NOT_FOUND
                    | serve::INVALID_PARAMS
                    | serve::RESOURCE_NOT_FOUND
            );
            Some(ours || *code > -32_000 || *code == serve::MISSING_CAPABILITY)
        }
        _ => Some(false),
    }
}

fn fault_of(call: &Call, server: &ServerId, error: Error) -> Fault {
    match error {
        Error::Rpc {
            code,
            message,
            data,
            raw,
        } => {
            let shown = serve::error_code(&call.method, code, call.identity.era);
            let raw = match RawValue::from_string(shown.to_string()) {
                Ok(shown_text) if shown != code => {
                    raw.map(|raw| serve::set_raw(&raw, "code", &shown_text))
                }
                _ => raw,
            };
            Fault {
                code: shown,
                message,
                data,
                raw,
                throttled: None,
                end: CallEnd::RpcError,
            }
        }
        Error::Cancelled => cancelled(),
        other => Fault::new(
            serve::INTERNAL_ERROR,
            format!("{server}: {other}"),
            CallEnd::Failed,
        ),
    }
}

mod questions {
    use serde::{Deserialize, Deserializer, de::MapAccess};
    use serde_json::value::RawValue;

    /// The questions by name, in the server's order.
    pub(super) struct Questions(pub(super) Vec<(String, Box<RawValue>)>);

    impl<'de> Deserialize<'de> for Questions {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Questions;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Questions, A::Error> {
                    let mut all = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        all.push(entry);
                    }
                    Ok(Questions(all))
                }
            }
            from.deserialize_map(Visitor)
        }
    }
}
