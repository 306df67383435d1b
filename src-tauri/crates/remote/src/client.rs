//! One connection that is kept up, and what flows over it.

use crate::Boot;
use bytes::Bytes;
use flotilla_contract::{
    CONTRACT_VERSION, Command, WireError,
    frame::{ClientFrame, Hello, ServerFrame, Topic, Update},
};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, interval_at, sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig,
    },
};
use tracing::{debug, info};

/// Requests that wait for the connection's task.
pub const REQUESTS: usize = 64;
/// News that wait for the reader of one subscription.
pub const NEWS: usize = 128;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
/// A ping is sent this often; an engine that is silent for more than two of them is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(75);
const WRITE: Duration = Duration::from_secs(10);
/// A snapshot or a long tail of logs is one message.
const MAX_MESSAGE: usize = 128 << 20;

/// Where the engine is.
#[derive(Clone)]
pub enum Source {
    /// Whichever engine owns this home.
    Home(PathBuf),
    /// At this base address, with this token.
    At {
        /// "http://HOST:PORT".
        url: String,
        /// Its token.
        token: String,
    },
}

/// Why a request was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The home has no `engine.json`.
    #[error("no engine runs on the home {home}")]
    NoEngine {
        /// The home.
        home: PathBuf,
    },
    /// `engine.json` cannot be read.
    #[error("failed to read {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Nobody answers at the address.
    #[error("failed to reach the engine at {url}: {error}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        error: String,
    },
    /// The engine does not accept the token.
    #[error("failed to enter the engine at {url}: it does not accept the token")]
    Unauthorized {
        /// The address.
        url: String,
    },
    /// The engine speaks another contract.
    #[error(
        "failed to understand the engine: it is version {version} and speaks contract {theirs}, this program speaks contract {CONTRACT_VERSION}"
    )]
    Contract {
        /// Its contract.
        theirs: u32,
        /// Its version.
        version: String,
    },
    /// There is no connection now.
    #[error("failed to ask the engine: {why}")]
    NotConnected {
        /// Why not.
        why: String,
    },
    /// The connection broke before the answer.
    #[error(
        "failed to hear the answer: the connection broke; whether the command was carried out is not known"
    )]
    Lost,
    /// The engine answered with an error.
    #[error("failed to {0}")]
    Command(WireError),
    /// The answer has another shape than the contract says.
    #[error("failed to read the answer of {command}: {error}")]
    Shape {
        /// The command.
        command: &'static str,
        /// What does not fit.
        error: String,
    },
}

/// How the connection stands.
#[derive(Clone, Debug)]
pub enum Link {
    /// It is up.
    Up(Hello),
    /// It is down and tried again.
    Down(Error),
    /// It will not be tried again.
    Over(Error),
}

/// One piece of news.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "passed on once; a box would be one more allocation for each"
)]
pub enum News {
    /// JSON.
    Update(Update),
    /// A metric tick.
    Tick(Bytes),
    /// The engine ended or refused the subscription; it is opened again only after the connection was lost.
    Failed(WireError),
}

/// The way to an engine. Clones share the connection; it is closed with the last of them and of its subscriptions.
#[derive(Clone)]
pub struct Client {
    requests: mpsc::Sender<Request>,
    link: watch::Receiver<Link>,
    keys: Arc<AtomicU64>,
}

enum Request {
    Call {
        command: String,
        params: Value,
        answer: oneshot::Sender<Result<Value, Error>>,
    },
    Subscribe {
        key: u64,
        topic: Topic,
        feed: Feed,
    },
    Resume {
        key: u64,
    },
    Unsubscribe {
        key: u64,
    },
}

struct Feed {
    news: mpsc::Sender<News>,
    parked: Arc<AtomicBool>,
}

impl Client {
    /// Connects. `actor` names the caller for the record: `cli`, `panel`, `tray`, with a user after a colon.
    ///
    /// # Errors
    /// When no engine runs, none answers, it does not accept the token, or it speaks another contract.
    pub async fn connect(source: Source, actor: &str) -> Result<Self, Error> {
        let (socket, hello) = open(&source, actor).await?;
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (link, watched) = watch::channel(Link::Up(hello));
        let line = Line {
            source,
            actor: actor.to_owned(),
            inbox,
            link,
            calls: HashMap::new(),
            feeds: HashMap::new(),
            last_id: 0,
        };
        tokio::spawn(line.run(socket));
        Ok(Self {
            requests,
            link: watched,
            keys: Arc::default(),
        })
    }

    /// How the connection stands, now and from now on.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Runs a command by name.
    ///
    /// # Errors
    /// What the engine answers, or that it could not be asked or heard.
    pub async fn call(&self, command: &str, params: Value) -> Result<Value, Error> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Call {
            command: command.into(),
            params,
            answer,
        };
        if self.requests.send(request).await.is_err() {
            return Err(self.over());
        }
        answered.await.unwrap_or(Err(Error::Lost))
    }

    /// Runs a command of the list.
    ///
    /// # Errors
    /// As [`Client::call`], and when the answer is not what the contract says.
    pub async fn run<C: Command>(&self, params: C::Params) -> Result<C::Output, Error> {
        let shape = |error: serde_json::Error| Error::Shape {
            command: C::NAME,
            error: error.to_string(),
        };
        let answer = self
            .call(C::NAME, serde_json::to_value(params).map_err(shape)?)
            .await?;
        serde_json::from_value(answer).map_err(shape)
    }

    /// Follows a topic, over losses of the connection.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn subscribe(&self, topic: Topic) -> Result<Subscription, Error> {
        let (news, waiting) = mpsc::channel(NEWS);
        let parked = Arc::new(AtomicBool::new(false));
        let key = self.keys.fetch_add(1, Ordering::Relaxed);
        let feed = Feed {
            news,
            parked: Arc::clone(&parked),
        };
        if self
            .requests
            .send(Request::Subscribe { key, topic, feed })
            .await
            .is_err()
        {
            return Err(self.over());
        }
        Ok(Subscription {
            key,
            waiting,
            parked,
            requests: self.requests.clone(),
        })
    }

    fn over(&self) -> Error {
        match &*self.link.borrow() {
            Link::Over(error) | Link::Down(error) => error.clone(),
            Link::Up(_) => Error::NotConnected {
                why: "the connection is closed".into(),
            },
        }
    }
}

/// News of one topic; dropping it unsubscribes.
pub struct Subscription {
    key: u64,
    waiting: mpsc::Receiver<News>,
    parked: Arc<AtomicBool>,
    requests: mpsc::Sender<Request>,
}

impl Subscription {
    /// The next piece; `None` when the connection is over.
    pub async fn next(&mut self) -> Option<News> {
        if let Ok(news) = self.waiting.try_recv() {
            return Some(news);
        }
        if self.parked.swap(false, Ordering::SeqCst) {
            self.requests
                .send(Request::Resume { key: self.key })
                .await
                .ok()?;
        }
        self.waiting.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Where the queue is full, the closed feed is noticed with its next news.
        let _ = self
            .requests
            .try_send(Request::Unsubscribe { key: self.key });
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(source: &Source, actor: &str) -> Result<(Socket, Hello), Error> {
    let (url, token) = match source {
        Source::At { url, token } => (url.clone(), token.clone()),
        Source::Home(home) => {
            let boot = Boot::read(home)?;
            (boot.url, boot.token)
        }
    };
    let fail = |error: String| Error::Unreachable {
        url: url.clone(),
        error,
    };
    let address = match url.strip_prefix("http") {
        Some(rest) => format!("ws{}/ws", rest.trim_end_matches('/')),
        None => {
            return Err(fail(
                "the address does not start with http:// or https://".into(),
            ));
        }
    };
    let mut request = address
        .into_client_request()
        .map_err(|e| fail(e.to_string()))?;
    let header = |text: &str| HeaderValue::from_str(text).map_err(|e| fail(e.to_string()));
    request
        .headers_mut()
        .insert("authorization", header(&format!("Bearer {token}"))?);
    request
        .headers_mut()
        .insert("x-flotilla-actor", header(actor)?);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let enter = async {
        let mut socket = match connect_async_with_config(request, Some(limits), true).await {
            Ok((socket, _)) => socket,
            Err(tungstenite::Error::Http(answer)) if answer.status() == 401 => {
                return Err(Error::Unauthorized { url: url.clone() });
            }
            Err(tungstenite::Error::Io(error)) => return Err(fail(error.to_string())),
            Err(error) => return Err(fail(error.to_string())),
        };
        let hello = match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                serde_json::from_str(&text).map_err(|e| fail(format!("its greeting: {e}")))?
            }
            _ => return Err(fail("it does not greet".into())),
        };
        match hello {
            ServerFrame::Hello(hello) if hello.contract == CONTRACT_VERSION => Ok((socket, hello)),
            ServerFrame::Hello(hello) => Err(Error::Contract {
                theirs: hello.contract,
                version: hello.version,
            }),
            _ => Err(fail("it does not greet".into())),
        }
    };
    timeout(CONNECT, enter)
        .await
        .unwrap_or_else(|_| Err(fail(format!("no answer within {} s", CONNECT.as_secs()))))
}

/// Whether trying again could help.
fn may_pass(source: &Source, error: &Error) -> bool {
    match error {
        // The next owner of the home may be another version with another token.
        Error::Unauthorized { .. } | Error::Contract { .. } => matches!(source, Source::Home(_)),
        _ => true,
    }
}

/// The task that owns the socket.
struct Line {
    source: Source,
    actor: String,
    inbox: mpsc::Receiver<Request>,
    link: watch::Sender<Link>,
    calls: HashMap<u64, oneshot::Sender<Result<Value, Error>>>,
    feeds: HashMap<u64, Followed>,
    last_id: u64,
}

struct Followed {
    topic: Topic,
    feed: Feed,
    /// Id on this connection; none while parked or refused.
    id: Option<u64>,
}

/// Why a conversation ended.
enum End {
    /// Nobody is left to talk for.
    Unused,
    Broken(String),
}

impl Line {
    async fn run(mut self, mut socket: Socket) {
        loop {
            let end = self.converse(&mut socket).await;
            for (_, answer) in self.calls.drain() {
                let _ = answer.send(Err(Error::Lost));
            }
            let End::Broken(why) = end else {
                let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
                return;
            };
            info!(%why, "lost the engine");
            self.link
                .send_replace(Link::Down(Error::NotConnected { why }));
            match self.reopen().await {
                Some((again, hello)) => {
                    info!(boot = %hello.boot, "found the engine again");
                    socket = again;
                    self.link.send_replace(Link::Up(hello));
                }
                None => return,
            }
        }
    }

    /// Tries until it is up again; `None` when that is hopeless or nobody asks for it any more.
    async fn reopen(&mut self) -> Option<(Socket, Hello)> {
        let mut wait = FIRST_WAIT;
        loop {
            let next = Instant::now() + wait;
            loop {
                tokio::select! {
                    request = self.inbox.recv() => self.refuse(request?),
                    () = sleep_until(next) => break,
                }
            }
            match open(&self.source, &self.actor).await {
                Ok(found) => return Some(found),
                Err(error) if may_pass(&self.source, &error) => {
                    self.link.send_replace(Link::Down(error))
                }
                Err(error) => {
                    self.link.send_replace(Link::Over(error));
                    return None;
                }
            };
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Takes a request while there is no connection.
    fn refuse(&mut self, request: Request) {
        match request {
            Request::Call { answer, .. } => {
                let why = match &*self.link.borrow() {
                    Link::Down(error) | Link::Over(error) => error.clone(),
                    Link::Up(_) => Error::Lost,
                };
                let _ = answer.send(Err(why));
            }
            Request::Subscribe { key, topic, feed } => {
                self.feeds.insert(
                    key,
                    Followed {
                        topic,
                        feed,
                        id: None,
                    },
                );
            }
            Request::Unsubscribe { key } => {
                self.feeds.remove(&key);
            }
            // Every feed starts afresh with the next connection.
            Request::Resume { .. } => {}
        }
    }

    async fn converse(&mut self, socket: &mut Socket) -> End {
        let keys: Vec<u64> = self.feeds.keys().copied().collect();
        for key in keys {
            if let Err(end) = self.follow(socket, key).await {
                return end;
            }
        }
        let mut ping = interval_at(Instant::now() + KEEPALIVE, KEEPALIVE);
        let mut heard = Instant::now();
        loop {
            let step = tokio::select! {
                request = self.inbox.recv() => match request {
                    Some(request) => self.on_request(socket, request).await,
                    None => return End::Unused,
                },
                message = socket.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message)) => self.on_message(socket, message).await,
                        Some(Err(error)) => Err(End::Broken(error.to_string())),
                        None => Err(End::Broken("the engine closed the connection".into())),
                    }
                }
                _ = ping.tick() => write(socket, Message::Ping(Bytes::new())).await,
                () = sleep_until(heard + SILENCE) => Err(End::Broken("the engine fell silent".into())),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn on_request(&mut self, socket: &mut Socket, request: Request) -> Result<(), End> {
        match request {
            Request::Call {
                command,
                params,
                answer,
            } => {
                let id = self.next_id();
                self.calls.insert(id, answer);
                say(
                    socket,
                    &ClientFrame::Call {
                        id,
                        command,
                        params,
                    },
                )
                .await
            }
            Request::Subscribe { key, topic, feed } => {
                self.feeds.insert(
                    key,
                    Followed {
                        topic,
                        feed,
                        id: None,
                    },
                );
                self.follow(socket, key).await
            }
            Request::Resume { key } => self.follow(socket, key).await,
            Request::Unsubscribe { key } => match self.feeds.remove(&key) {
                Some(Followed { id: Some(id), .. }) => {
                    say(socket, &ClientFrame::Unsubscribe { id }).await
                }
                _ => Ok(()),
            },
        }
    }

    /// Opens a subscription under a new id: news that is still on its way under an old one is nobody's.
    async fn follow(&mut self, socket: &mut Socket, key: u64) -> Result<(), End> {
        let id = self.next_id();
        let Some(followed) = self.feeds.get_mut(&key) else {
            return Ok(());
        };
        followed.id = Some(id);
        followed.feed.parked.store(false, Ordering::SeqCst);
        let topic = followed.topic.clone();
        say(socket, &ClientFrame::Subscribe { id, topic }).await
    }

    async fn on_message(&mut self, socket: &mut Socket, message: Message) -> Result<(), End> {
        match message {
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(frame) => self.on_frame(socket, frame).await,
                Err(error) => {
                    debug!(%error, "skipped a frame that this version does not know");
                    Ok(())
                }
            },
            Message::Binary(bytes) => {
                let metrics = self
                    .feeds
                    .iter()
                    .find(|(_, f)| f.id.is_some() && f.topic == Topic::Metrics);
                match metrics.map(|(key, _)| *key) {
                    Some(key) => self.deliver(socket, key, News::Tick(bytes)).await,
                    None => Ok(()),
                }
            }
            Message::Close(_) => Err(End::Broken("the engine closed the connection".into())),
            _ => Ok(()),
        }
    }

    async fn on_frame(&mut self, socket: &mut Socket, frame: ServerFrame) -> Result<(), End> {
        match frame {
            ServerFrame::Answer { id, result } => {
                if let Some(answer) = self.calls.remove(&id) {
                    let _ = answer.send(Ok(result));
                }
            }
            ServerFrame::Error { id, error } => {
                if let Some(answer) = self.calls.remove(&id) {
                    let _ = answer.send(Err(Error::Command(error)));
                } else if let Some(key) = self.key_of(id) {
                    self.deliver(socket, key, News::Failed(error)).await?;
                    if let Some(followed) = self.feeds.get_mut(&key) {
                        followed.id = None;
                    }
                }
            }
            ServerFrame::Update { id, update } => {
                if let Some(key) = self.key_of(id) {
                    self.deliver(socket, key, News::Update(update)).await?;
                }
            }
            ServerFrame::Hello(_) => {}
        }
        Ok(())
    }

    /// Hands news to its reader; one that does not keep up is unsubscribed until it has read what it has.
    async fn deliver(&mut self, socket: &mut Socket, key: u64, news: News) -> Result<(), End> {
        let Some(followed) = self.feeds.get_mut(&key) else {
            return Ok(());
        };
        let Err(refused) = followed.feed.news.try_send(news) else {
            return Ok(());
        };
        let id = followed.id.take();
        if let Some(id) = id {
            say(socket, &ClientFrame::Unsubscribe { id }).await?;
        }
        if matches!(refused, mpsc::error::TrySendError::Closed(_)) {
            self.feeds.remove(&key);
            return Ok(());
        }
        let Some(Followed { feed, .. }) = self.feeds.get(&key) else {
            return Ok(());
        };
        feed.parked.store(true, Ordering::SeqCst);
        // The reader may have emptied the queue before it could see the flag.
        if feed.news.capacity() == feed.news.max_capacity()
            && feed.parked.swap(false, Ordering::SeqCst)
        {
            return self.follow(socket, key).await;
        }
        Ok(())
    }

    fn key_of(&self, id: u64) -> Option<u64> {
        self.feeds
            .iter()
            .find(|(_, followed)| followed.id == Some(id))
            .map(|(key, _)| *key)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

async fn say(socket: &mut Socket, frame: &ClientFrame) -> Result<(), End> {
    let text =
        serde_json::to_string(frame).map_err(|e| End::Broken(format!("write a frame: {e}")))?;
    write(socket, Message::text(text)).await
}

async fn write(socket: &mut Socket, message: Message) -> Result<(), End> {
    match timeout(WRITE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Broken(error.to_string())),
        Err(_) => Err(End::Broken("the engine takes nothing".into())),
    }
}
