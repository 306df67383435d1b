//! Messages of the client to the gateway, and back.

use super::{
    LONGEST,
    address::Address,
    session::Session,
    sse::Decoder,
    wire::{self, Answer, Kind, Message},
};
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Value, value::RawValue};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex as Gate, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Requests under way.
const UNDER_WAY: usize = 64;
/// Requests that wait for a place, and their bytes together.
const MOST_WAITING: usize = 256;
const MOST_WAITING_BYTES: usize = 64 << 20;
/// Of a body that only says what is wrong.
const LONGEST_REFUSAL: usize = 1 << 20;
/// How long the gateway may take for a message that is not answered, for an introduction, and for a farewell.
const TO_TELL: Duration = Duration::from_secs(10);
const TO_INTRODUCE: Duration = Duration::from_secs(30);
const TO_LEAVE: Duration = Duration::from_secs(2);
const TO_CONNECT: Duration = Duration::from_secs(3);
/// Pauses before the gateway is tried again when it was there before: an engine may be restarting.
const PAUSES_MS: [u64; 5] = [100, 200, 400, 800, 1_500];
/// Pauses before a broken stream is taken up again where the gateway names none.
const RESUME: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A stream is taken up again this often without a word from it.
const RESUMES: u32 = 5;

/// Why a message had no effect, as a sentence for the client.
#[derive(Debug)]
struct Trouble(String);

impl Trouble {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A request under way.
struct UnderWay {
    given_up: CancellationToken,
    modern: bool,
    /// It ends only when it is given up.
    endless: bool,
}

pub(super) struct Bridge {
    http: reqwest::Client,
    address: Address,
    out: mpsc::Sender<Vec<u8>>,
    session: Mutex<Session>,
    /// One makes the session anew; the others wait for it.
    renewing: Gate<()>,
    places: Semaphore,
    waiting_bytes: AtomicUsize,
    under_way: Mutex<HashMap<String, UnderWay>>,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Whether the gateway has ever been reached.
    reached: AtomicBool,
    own_ids: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bridge {
    pub(super) fn new(
        address: Address,
        out: mpsc::Sender<Vec<u8>>,
        closing: CancellationToken,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("flotilla-connect/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(TO_CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if !address.is_given() {
            // The engine is on this machine: a proxy of the environment is none of its business.
            http = http.no_proxy();
        }
        Ok(Arc::new(Self {
            http: http.build()?,
            address,
            out,
            session: Mutex::default(),
            renewing: Gate::default(),
            places: Semaphore::new(UNDER_WAY),
            waiting_bytes: AtomicUsize::new(0),
            under_way: Mutex::default(),
            tasks: TaskTracker::new(),
            closing,
            reached: AtomicBool::new(false),
            own_ids: AtomicU64::new(1),
        }))
    }

    /// Hands a message to the client.
    pub(super) async fn emit(&self, message: Vec<u8>) {
        // Refused only when nobody writes any more.
        let _ = self.out.send(wire::on_one_line(message)).await;
    }

    /// Takes a message of the client. Requests are carried on their own; the order of everything else is kept.
    pub(super) async fn take(self: &Arc<Self>, message: Message) {
        match message.kind.clone() {
            Kind::Request { id, method } => {
                if method == "initialize" && message.version.is_none() {
                    // Nothing may pass it.
                    self.introduce(&message, &id).await;
                } else {
                    self.begin(message, id).await;
                }
            }
            Kind::Notification { method } if method == "notifications/cancelled" => {
                self.give_up(&message).await;
            }
            Kind::Notification { method } => {
                self.tell(&message).await;
                if method == "notifications/initialized" && message.version.is_none() {
                    lock(&self.session).confirmed = true;
                    self.listen();
                }
            }
            Kind::Response => self.tell(&message).await,
        }
    }

    /// Waits until the requests under way are answered.
    pub(super) async fn drain(&self, at_most: Duration) {
        for request in lock(&self.under_way).values().filter(|r| r.endless) {
            request.given_up.cancel();
        }
        self.tasks.close();
        let _ = timeout(at_most, self.tasks.wait()).await;
    }

    /// Says farewell, where the gateway keeps a session.
    pub(super) async fn end_session(&self) {
        for request in lock(&self.under_way).values() {
            request.given_up.cancel();
        }
        let mut headers = HeaderMap::new();
        {
            let session = lock(&self.session);
            if !session.has_id() {
                return;
            }
            session.headers(&mut headers);
        }
        let Ok(url) = self.address.find() else {
            return;
        };
        let farewell = self.http.delete(url).headers(marked(headers)).send();
        if let Ok(Err(error)) = timeout(TO_LEAVE, farewell).await {
            tracing::debug!(%error, "the session could not be ended");
        }
    }

    // ------------------------------------------------------------------------------------------ requests

    async fn begin(self: &Arc<Self>, message: Message, id: Value) {
        let size = message.line.len();
        let before = self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let place = Waiting {
            bridge: self.clone(),
            size,
        };
        if self.tasks.len() >= UNDER_WAY + MOST_WAITING || before + size > MOST_WAITING_BYTES {
            drop(place);
            let why = format!(
                "{UNDER_WAY} requests are under way, and as many as may wait wait already; send this one again later"
            );
            return self.emit(wire::error(&id, wire::UNREACHABLE, &why)).await;
        }
        let given_up = CancellationToken::new();
        let entry = UnderWay {
            given_up: given_up.clone(),
            modern: message.version.is_some(),
            endless: message.method() == Some("subscriptions/listen"),
        };
        let key = wire::key(&id);
        lock(&self.under_way).insert(key.clone(), entry);
        let bridge = self.clone();
        self.tasks.spawn(async move {
            let carried = async {
                let Ok(_permit) = bridge.places.acquire().await else {
                    return;
                };
                drop(place);
                let answer = match bridge.carry(&message, &id).await {
                    Ok(answer) => answer,
                    Err(Trouble(why)) => wire::error(&id, wire::UNREACHABLE, &why),
                };
                bridge.emit(answer).await;
            };
            tokio::select! {
                () = given_up.cancelled() => {}
                () = carried => {}
            }
            lock(&bridge.under_way).remove(&key);
        });
    }

    /// Carries a request to its answer. A session that the gateway has forgotten is made anew once.
    async fn carry(self: &Arc<Self>, message: &Message, id: &Value) -> Result<Vec<u8>, Trouble> {
        let legacy = message.version.is_none();
        if legacy {
            lock(&self.session).note(message);
        }
        let (mut generation, mut response) = self.post(message).await?;
        if legacy && self.is_forgotten(&response) {
            self.renew(generation).await?;
            (generation, response) = self.post(message).await?;
        }
        self.answer(response, id, legacy.then_some(generation))
            .await
    }

    /// Whether the gateway does not know our session: it was restarted.
    fn is_forgotten(&self, response: &Response) -> bool {
        let session = lock(&self.session);
        response.status() == StatusCode::NOT_FOUND
            && session.has_id()
            && session.introduction.is_some()
    }

    /// The client cancels a request. Closing its stream is how a modern gateway learns of it, a legacy one is told.
    async fn give_up(self: &Arc<Self>, message: &Message) {
        let modern = message.cancels().is_some_and(|key| {
            let under_way = lock(&self.under_way);
            let request = under_way.get(&key).filter(|request| request.modern);
            request
                .inspect(|request| request.given_up.cancel())
                .is_some()
        });
        if !modern && lock(&self.session).introduction.is_some() {
            self.tell(message).await;
        }
    }

    /// Carries a message that has no answer.
    async fn tell(self: &Arc<Self>, message: &Message) {
        let told = timeout(TO_TELL, async {
            let (generation, mut response) = self.post(message).await?;
            if message.version.is_none() && self.is_forgotten(&response) {
                self.renew(generation).await?;
                (_, response) = self.post(message).await?;
            }
            Ok::<_, Trouble>(response.status())
        })
        .await;
        let method = message.method().unwrap_or("a response");
        match told {
            Ok(Ok(status)) if status.is_success() => {}
            Ok(Ok(status)) => tracing::warn!(%status, method, "the gateway does not take it"),
            Ok(Err(Trouble(why))) => tracing::warn!(method, "not delivered: {why}"),
            Err(_) => tracing::warn!(method, "not delivered in {} s", TO_TELL.as_secs()),
        }
    }

    // ------------------------------------------------------------------------------------------ legacy sessions

    /// The client introduces itself: from here on there is a session, if the gateway wants one.
    async fn introduce(self: &Arc<Self>, message: &Message, id: &Value) {
        lock(&self.session).begin(message.params());
        let introduced = timeout(TO_INTRODUCE, async {
            let (generation, response) = self.post(message).await?;
            let session = response.headers().get("mcp-session-id").cloned();
            let answer = self.answer(response, id, Some(generation)).await?;
            lock(&self.session).accepted(session, version_of(&answer).as_deref());
            Ok::<_, Trouble>(answer)
        })
        .await
        .unwrap_or_else(|_| {
            Err(Trouble::new(format!(
                "the gateway did not answer within {} s",
                TO_INTRODUCE.as_secs()
            )))
        });
        let answer =
            introduced.unwrap_or_else(|Trouble(why)| wire::error(id, wire::UNREACHABLE, &why));
        self.emit(answer).await;
    }

    /// Makes the session anew with the client's own introduction, unless somebody has done so already.
    async fn renew(self: &Arc<Self>, generation: u64) -> Result<(), Trouble> {
        let _gate = self.renewing.lock().await;
        let (introduction, confirmed) = {
            let session = lock(&self.session);
            if session.generation != generation {
                return Ok(());
            }
            (session.introduction.clone(), session.confirmed)
        };
        let failed = |Trouble(why)| Trouble(format!("the session could not be made anew: {why}"));
        let (answer, session) = self
            .ask("initialize", introduction.as_deref(), false)
            .await
            .map_err(failed)?;
        if let Some(error) = answer.get("error") {
            return Err(failed(Trouble(error.to_string())));
        }
        let version = answer["result"]["protocolVersion"].as_str();
        let wishes = {
            let mut own = lock(&self.session);
            own.renewed(session, version);
            own.wishes()
        };
        tracing::info!("the gateway had forgotten the session; it was made anew");
        if !confirmed {
            return Ok(());
        }
        let confirmation = wire::notification("notifications/initialized");
        self.send(confirmation, self.session_headers()).await?;
        self.listen();
        for (method, params) in wishes {
            if let Err(Trouble(why)) = self.ask(method, Some(&params), true).await {
                tracing::warn!(method, "not asked for again: {why}");
            }
        }
        // What the gateway offers may be another list now.
        for kind in ["tools", "prompts", "resources"] {
            if answer["result"]["capabilities"][kind]["listChanged"] == true {
                let changed = format!("notifications/{kind}/list_changed");
                self.emit(wire::notification(&changed)).await;
            }
        }
        Ok(())
    }

    /// A request of the bridge itself. Gives the answer, and the session that came with it.
    async fn ask(
        self: &Arc<Self>,
        method: &str,
        params: Option<&RawValue>,
        in_session: bool,
    ) -> Result<(Value, Option<HeaderValue>), Trouble> {
        let number = self.own_ids.fetch_add(1, Ordering::Relaxed);
        let id = Value::from(format!("flotilla-connect-{number}"));
        let headers = if in_session {
            self.session_headers()
        } else {
            HeaderMap::new()
        };
        let asked = async {
            let response = self
                .send(wire::request(&id, method, params), headers)
                .await?;
            let session = response.headers().get("mcp-session-id").cloned();
            let answer = self.answer(response, &id, None).await?;
            let answer = serde_json::from_slice(&answer)
                .map_err(|error| Trouble(format!("the gateway's answer is not JSON: {error}")))?;
            Ok((answer, session))
        };
        timeout(TO_INTRODUCE, asked)
            .await
            .unwrap_or_else(|_| Err(Trouble::new("the gateway did not answer in time")))
    }

    /// Holds the stream open over which a legacy gateway speaks first.
    fn listen(self: &Arc<Self>) {
        let bridge = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = bridge.closing.cancelled() => {}
                () = bridge.hear() => {}
            }
        });
    }

    async fn hear(self: &Arc<Self>) {
        let generation = lock(&self.session).generation;
        let (mut after, mut last) = (None, RESUME);
        while lock(&self.session).generation == generation {
            let pause = match self.open_stream(after.as_deref()).await {
                Ok(response) if response.status().is_success() => {
                    last = RESUME;
                    let mut stream = Stream::new(response);
                    while let Ok(Some(message)) = stream.next().await {
                        self.emit(message).await;
                    }
                    after = stream.last_id.or(after);
                    stream.retry.unwrap_or(RESUME)
                }
                Ok(response) if self.is_forgotten(&response) => {
                    if let Err(Trouble(why)) = self.renew(generation).await {
                        tracing::warn!("{why}");
                    }
                    return;
                }
                Ok(response) => {
                    tracing::debug!(status = %response.status(), "the gateway opens no stream");
                    return;
                }
                Err(Trouble(why)) => {
                    tracing::debug!("no stream: {why}");
                    last = (last * 2).min(LONGEST_PAUSE);
                    last
                }
            };
            sleep(pause).await;
        }
    }

    /// Opens the stream of the session, or takes a broken one up again.
    async fn open_stream(&self, after: Option<&str>) -> Result<Response, Trouble> {
        let url = self.address.find().map_err(Trouble)?;
        let mut headers = self.session_headers();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("last-event-id", id);
        }
        let request = self.http.get(&url).headers(marked(headers));
        request
            .send()
            .await
            .map_err(|error| Trouble(self.address.silent(&url, &innermost(&error))))
    }

    fn session_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        lock(&self.session).headers(&mut headers);
        headers
    }

    // ------------------------------------------------------------------------------------------ over HTTP

    /// Posts a message of the client with the headers of its era. Gives the session's generation with which it went.
    async fn post(&self, message: &Message) -> Result<(u64, Response), Trouble> {
        let mut headers = HeaderMap::new();
        let mut generation = 0;
        match &message.version {
            Some(version) => {
                headers.insert("mcp-protocol-version", wire::header(version));
                if let Some(method) = message.method() {
                    headers.insert("mcp-method", wire::header(method));
                }
                if let Some(name) = &message.name {
                    headers.insert("mcp-name", wire::header(name));
                }
            }
            None => {
                let session = lock(&self.session);
                session.headers(&mut headers);
                generation = session.generation;
            }
        }
        let response = self.send(message.line.clone(), headers).await?;
        Ok((generation, response))
    }

    /// Posts a body. A gateway that was there before and is not now is waited for a little; a body that may have been read is not
    /// sent again.
    async fn send(&self, body: Vec<u8>, mut headers: HeaderMap) -> Result<Response, Trouble> {
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let headers = marked(headers);
        let mut pauses = PAUSES_MS.into_iter();
        loop {
            let why = match self.address.find() {
                Err(why) => why,
                Ok(url) => {
                    let request = self.http.post(&url).headers(headers.clone());
                    match request.body(body.clone()).send().await {
                        Ok(response) => {
                            self.reached.store(true, Ordering::Relaxed);
                            return Ok(response);
                        }
                        Err(error) if error.is_connect() => {
                            self.address.silent(&url, &innermost(&error))
                        }
                        Err(error) => {
                            return Err(Trouble(format!(
                                "the gateway at {url} broke off before it answered ({}); whether it has done what was asked is not known",
                                innermost(&error)
                            )));
                        }
                    }
                }
            };
            match pauses.next() {
                Some(ms) if self.reached.load(Ordering::Relaxed) => {
                    sleep(Duration::from_millis(ms)).await;
                }
                _ => return Err(Trouble(why)),
            }
        }
    }

    /// Reads a response up to the answer to this request; what comes before it goes to the client. With a session's generation, a
    /// stream that breaks is taken up again.
    async fn answer(
        self: &Arc<Self>,
        response: Response,
        id: &Value,
        generation: Option<u64>,
    ) -> Result<Vec<u8>, Trouble> {
        let status = response.status();
        if !status.is_success() {
            let body = body(response, LONGEST_REFUSAL).await.unwrap_or_default();
            return wire::refusal(&body, id).ok_or_else(|| {
                let said = String::from_utf8_lossy(&body);
                let said: String = said.trim().chars().take(200).collect();
                Trouble(format!("the gateway answered with {status}: {said}"))
            });
        }
        if !is_stream(&response) {
            let body = body(response, LONGEST).await?;
            let fits = Answer::read(&body).is_some_and(|answer| answer.is_to(id));
            return if fits {
                Ok(body)
            } else {
                wire::refusal(&body, id).ok_or_else(|| {
                    Trouble::new("the gateway's answer is not the answer to this request")
                })
            };
        }
        let mut stream = Stream::new(response);
        let (mut after, mut silent) = (None, 0);
        loop {
            while let Some(message) = stream.next().await? {
                silent = 0;
                if Answer::read(&message).is_some_and(|answer| answer.is_to(id)) {
                    // Read to its end, the connection can be used again.
                    tokio::spawn(timeout(RESUME, async move {
                        while let Ok(Some(_)) = stream.next().await {}
                    }));
                    return Ok(message);
                }
                self.emit(message).await;
            }
            after = stream.last_id.take().or(after);
            let broken = || {
                Trouble::new(
                    "the gateway broke off before it answered; whether it has done what was asked is not known",
                )
            };
            if generation.is_none() || after.is_none() || silent == RESUMES {
                return Err(broken());
            }
            silent += 1;
            sleep(stream.retry.unwrap_or(RESUME)).await;
            if generation != Some(lock(&self.session).generation) {
                return Err(broken());
            }
            let response = self.open_stream(after.as_deref()).await?;
            if !response.status().is_success() || !is_stream(&response) {
                return Err(broken());
            }
            stream = Stream::new(response);
        }
    }
}

/// A request that has no place yet; counted as long as it is there.
struct Waiting {
    bridge: Arc<Bridge>,
    size: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bridge
            .waiting_bytes
            .fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// The messages of an event stream.
struct Stream {
    response: Response,
    decoder: Decoder,
    ready: std::collections::VecDeque<Vec<u8>>,
    last_id: Option<String>,
    retry: Option<Duration>,
}

impl Stream {
    fn new(response: Response) -> Self {
        Self {
            response,
            decoder: Decoder::new(LONGEST),
            ready: Default::default(),
            last_id: None,
            retry: None,
        }
    }

    /// The next message; `None` at the end, and where the stream breaks.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let chunk = match self.response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::debug!(error = innermost(&error), "a stream broke");
                    return Ok(None);
                }
            };
            let events = self.decoder.push(&chunk).ok_or_else(|| {
                Trouble(format!(
                    "a message of the gateway is longer than {LONGEST} bytes"
                ))
            })?;
            for event in events {
                self.last_id = event.id.or(self.last_id.take());
                self.retry = event
                    .retry_ms
                    .map(|ms| Duration::from_millis(ms).min(LONGEST_PAUSE))
                    .or(self.retry);
                if Answer::read(&event.data).is_some() {
                    self.ready.push_back(event.data);
                } else if !event.data.is_empty() {
                    tracing::warn!("the gateway sent something that is no message");
                }
            }
        }
    }
}

fn is_stream(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// A whole body, bounded.
async fn body(mut response: Response, longest: usize) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= longest => {
                body.extend_from_slice(&chunk)
            }
            Ok(Some(_)) => {
                return Err(Trouble(format!(
                    "the gateway's answer is longer than {longest} bytes"
                )));
            }
            Ok(None) => return Ok(body),
            Err(error) => {
                return Err(Trouble(format!(
                    "the gateway broke off in its answer ({})",
                    innermost(&error)
                )));
            }
        }
    }
}

/// The gateway sees that this client came over standard streams.
fn marked(mut headers: HeaderMap) -> HeaderMap {
    headers.insert("x-flotilla-bridge", HeaderValue::from_static("stdio"));
    headers
}

fn version_of(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    Some(answer["result"]["protocolVersion"].as_str()?.to_owned())
}

/// What a failure comes down to ("Connection refused").
fn innermost(error: &reqwest::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
