//! Channels: one queue and one task for each, so that a slow receiver costs only itself.

mod mail;
mod send;
mod sign;

pub use sign::{Sign, signature};

use crate::{Boxed, Message};
use flotilla_contract::{
    Millis,
    alert::{AlertState, ChannelKind, ChannelSpec, ChannelView, DeadLetter, Severity},
};
use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};

/// Messages that wait at most.
const WAITING: usize = 100;
/// Messages that were given up and are kept.
const DEAD: usize = 20;
/// Waits before the second try and those after it; each is shortened by chance, by up to half.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(40),
];

/// What channels need of the engine.
pub trait Reach: Send + Sync {
    /// Fills in `${VAR}` and `${secret:NAME}`.
    fn resolve(&self, text: String) -> Boxed<'_, Result<String, String>>;
    /// Tells the person at the screen.
    fn notice(&self, title: String, body: String, severity: Severity);
    /// The environment of programs, with the mark by which their processes are found; and the mark.
    fn environment(&self) -> (Vec<(OsString, OsString)>, flotilla_os::Mark);
    /// The time.
    fn now(&self) -> Millis;
    /// A number from 0 up to 1, by chance.
    fn chance(&self) -> f64;
}

/// Why a test message did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// No such channel.
    #[error("there is no channel {0:?}")]
    None(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}

/// The channels at work.
pub struct Channels {
    reach: Arc<dyn Reach>,
    sender: Arc<send::Sender>,
    all: Mutex<BTreeMap<String, Running>>,
}

/// A channel and what tells it.
type Running = (Arc<Channel>, JoinHandle<()>);

struct Channel {
    spec: ChannelSpec,
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Message>,
    /// The one that is being sent.
    busy: bool,
    sent: u64,
    lost: u64,
    last: Option<Millis>,
    error: Option<String>,
    dead: VecDeque<DeadLetter>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channels {
    /// None yet.
    #[must_use]
    pub fn new(reach: Arc<dyn Reach>) -> Self {
        Self {
            sender: Arc::new(send::Sender::new(reach.clone())),
            reach,
            all: Mutex::default(),
        }
    }

    /// Has exactly these. One that is the same goes on; what waits in one that is gone is dropped. Needs a Tokio runtime.
    pub fn set(&self, specs: &[ChannelSpec]) {
        let mut all = lock(&self.all);
        all.retain(|name, (channel, task)| {
            let stays = specs
                .iter()
                .any(|spec| spec.name == *name && *spec == channel.spec);
            if !stays {
                task.abort();
            }
            stays
        });
        for spec in specs {
            if all.contains_key(&spec.name) {
                continue;
            }
            let channel = Arc::new(Channel {
                spec: spec.clone(),
                state: Mutex::default(),
                more: Notify::new(),
            });
            let task = tokio::spawn(run(
                channel.clone(),
                self.sender.clone(),
                self.reach.clone(),
            ));
            all.insert(spec.name.clone(), (channel, task));
        }
    }

    /// Gives a message to every channel that is to be told.
    pub fn tell(&self, message: &Message) {
        for (channel, _) in lock(&self.all).values() {
            if let Some(message) = meant(message, &channel.spec) {
                channel.push(message, self.reach.now());
            }
        }
    }

    /// Sends a test message, once, beside the queue.
    ///
    /// # Errors
    /// When there is no such channel, or it did not arrive.
    pub async fn test(&self, name: &str, message: &Message) -> Result<(), TestError> {
        let channel = lock(&self.all)
            .get(name)
            .map(|(channel, _)| channel.clone());
        let channel = channel.ok_or_else(|| TestError::None(name.to_owned()))?;
        let sent = self.sender.send(&channel.spec.kind, message).await;
        sent.map_err(|failed| TestError::Failed(failed.why))
    }

    /// The channels, by name.
    #[must_use]
    pub fn views(&self) -> Vec<ChannelView> {
        let all = lock(&self.all);
        all.values().map(|(channel, _)| channel.view()).collect()
    }

    /// Ends all of them; what waits is dropped.
    pub fn close(&self) {
        self.set(&[]);
    }
}

/// The part of a message that a channel is told.
fn meant(message: &Message, spec: &ChannelSpec) -> Option<Message> {
    let mut message = message.clone();
    message.alerts.retain(|alert| {
        alert.severity >= spec.severity && (spec.resolved || alert.state == AlertState::Firing)
    });
    (!message.alerts.is_empty()).then_some(message)
}

impl Channel {
    fn push(&self, message: Message, now: Millis) {
        let mut state = lock(&self.state);
        if state.queue.len() >= WAITING
            && let Some(oldest) = state.queue.pop_front()
        {
            let error = format!("{WAITING} messages waited already");
            state.gives_up(&oldest, error, now);
        }
        state.queue.push_back(message);
        drop(state);
        self.more.notify_one();
    }

    fn view(&self) -> ChannelView {
        let state = lock(&self.state);
        let spec = &self.spec;
        let waiting = state.queue.len() + usize::from(state.busy);
        ChannelView {
            to: to(&spec.kind),
            spec: spec.clone(),
            sent: state.sent,
            lost: state.lost,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            last: state.last,
            error: state.error.clone(),
            dead: state.dead.iter().cloned().collect(),
        }
    }
}

impl State {
    fn gives_up(&mut self, message: &Message, error: String, at: Millis) {
        self.lost += 1;
        if self.dead.len() >= DEAD {
            self.dead.pop_front();
        }
        let line = |alert: &flotilla_contract::alert::Alert| {
            format!("{} {}: {}", alert.rule(), alert.state.word(), alert.summary)
        };
        self.dead.push_back(DeadLetter {
            at,
            error,
            alerts: message.alerts.iter().map(line).collect(),
        });
    }
}

/// Where a channel leads, without what might be secret: a token is as likely in the path of an address as in its query.
fn to(kind: &ChannelKind) -> String {
    let host = |url: &str| {
        let Ok(parsed) = reqwest::Url::parse(url) else {
            // It refers to a variable or a secret.
            return url.to_owned();
        };
        let port = parsed.port().map_or_else(String::new, |p| format!(":{p}"));
        let host = parsed.host_str().unwrap_or_default();
        format!("{}://{host}{port}", parsed.scheme())
    };
    match kind {
        ChannelKind::Webhook { url, .. } | ChannelKind::Alertmanager { url } => host(url),
        ChannelKind::Exec { command, .. } => command.first().cloned().unwrap_or_default(),
        ChannelKind::Smtp(smtp) => {
            let to = smtp
                .to
                .iter()
                .map(|to| format!("{}@{}", to.local, to.domain));
            format!("{} by {}", to.collect::<Vec<_>>().join(", "), smtp.host)
        }
        ChannelKind::Desktop => "this desktop".into(),
    }
}

async fn run(channel: Arc<Channel>, sender: Arc<send::Sender>, reach: Arc<dyn Reach>) {
    loop {
        let next = {
            let mut state = lock(&channel.state);
            let next = state.queue.pop_front();
            state.busy = next.is_some();
            next
        };
        let Some(message) = next else {
            channel.more.notified().await;
            continue;
        };
        let mut waits = WAITS.iter();
        let end = loop {
            match sender.send(&channel.spec.kind, &message).await {
                Ok(()) => break Ok(()),
                Err(failed) => {
                    lock(&channel.state).error = Some(failed.why.clone());
                    match waits.next() {
                        Some(wait) if failed.again => {
                            tokio::time::sleep(wait.mul_f64(1.0 - reach.chance() / 2.0)).await;
                        }
                        _ => break Err(failed.why),
                    }
                }
            }
        };
        let (mut state, now) = (lock(&channel.state), reach.now());
        state.busy = false;
        match end {
            Ok(()) => {
                state.sent += 1;
                state.last = Some(now);
                state.error = None;
            }
            Err(why) => {
                tracing::warn!(channel = %channel.spec.name, %why, "a message about alerts is given up");
                state.gives_up(&message, why, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
