//! What streams: a log, thoughts and figures of the questions that are being processed, and whoever listens to them.

use super::{
    super::reasoning_agent::recent::Recent,
    subscriptions::{Change, ChangeType, Subscriptions},
};
use crate::service::Host;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last 100 lines of the log.
pub(super) const LOG: &str = "reasoning://process-log";
/// Figures.
pub(super) const METRICS: &str = "reasoning://metrics";
/// The last 100 thoughts.
pub(super) const THOUGHTS: &str = "reasoning://thoughts";

/// The stream of one server.
pub(super) struct Stream {
    pub(super) host: Host,
    log: Recent<Line>,
    thoughts: Recent<Thought>,
    inner: Mutex<Inner>,
}

/// What changes together.
#[derive(Default)]
struct Inner {
    subscriptions: Subscriptions,
    figures: Figures,
}

#[derive(Clone, Serialize)]
struct Line {
    at_ms: i64,
    text: String,
}

#[derive(Clone, Serialize)]
struct Thought {
    at_ms: i64,
    session_key: String,
    step: &'static str,
    thought: String,
}

#[derive(Clone, Default, Serialize)]
struct Figures {
    active_streams: u32,
    questions_completed: u64,
    questions_cancelled: u64,
    steps_completed: u64,
    changes_published: u64,
    changes_delivered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_change_at_ms: Option<i64>,
}

impl Stream {
    pub(super) fn new(host: Host) -> Self {
        Self {
            host,
            log: Recent::new(100),
            thoughts: Recent::new(100),
            inner: Mutex::default(),
        }
    }

    /// A question begins to be processed. It ends with the guard.
    pub(super) fn begin(&self, session_key: &str) -> Running<'_> {
        self.figures(|figures| figures.active_streams = figures.active_streams.saturating_add(1));
        self.write(session_key, "begin", "begins");
        Running {
            stream: self,
            session_key: session_key.to_owned(),
            completed: false,
        }
    }

    /// Publishes a change to subscriptions here, and to whoever subscribed over MCP. Gives the ids of the former.
    pub(super) fn publish(&self, change: &Change) -> Vec<String> {
        let delivered = {
            let mut inner = self.lock();
            let delivered = inner.subscriptions.deliver(change);
            let figures = &mut inner.figures;
            figures.changes_published = figures.changes_published.saturating_add(1);
            let count = u64::try_from(delivered.len()).unwrap_or(u64::MAX);
            figures.changes_delivered = figures.changes_delivered.saturating_add(count);
            figures.last_change_at_ms = Some(change.timestamp);
            delivered
        };
        self.host.changed(&change.uri);
        delivered
    }

    /// Looks at or changes the subscriptions.
    pub(super) fn subscriptions<T>(&self, with: impl FnOnce(&mut Subscriptions) -> T) -> T {
        with(&mut self.lock().subscriptions)
    }

    /// How many questions are being processed.
    pub(super) fn active_streams(&self) -> u32 {
        self.lock().figures.active_streams
    }

    /// The log, to read.
    pub(super) fn log(&self) -> Value {
        json!({"lines": self.log.all()})
    }

    /// The thoughts, to read.
    pub(super) fn thoughts(&self) -> Value {
        json!({"thoughts": self.thoughts.all()})
    }

    /// The figures, to read.
    pub(super) fn metrics(&self) -> Value {
        json!(self.lock().figures)
    }

    /// Tells whoever listens that the figures are to be read anew.
    pub(super) fn tell_metrics(&self) {
        if self.host.is_heard() || self.lock().subscriptions.any(METRICS) {
            self.publish(&self.change(METRICS, [("step", "tick")]));
        }
    }

    /// A sign of life for each subscription.
    pub(super) fn heartbeat(&self) {
        let now_ms = self.host.now_ms();
        self.lock().subscriptions.heartbeat(now_ms);
    }

    fn figures(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock().figures);
    }

    fn write(&self, session_key: &str, step: &str, what: &str) {
        self.log.push(Line {
            at_ms: self.host.now_ms(),
            text: format!("{session_key} {what}"),
        });
        self.publish(&self.change(LOG, [("session_key", session_key), ("step", step)]));
    }

    fn change<const N: usize>(&self, uri: &str, metadata: [(&str, &str); N]) -> Change {
        Change {
            uri: uri.to_owned(),
            kind: ChangeType::ContentChanged,
            timestamp: self.host.now_ms(),
            new_value: None,
            metadata: metadata
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is being processed.
pub(super) struct Running<'a> {
    stream: &'a Stream,
    session_key: String,
    completed: bool,
}

impl Running<'_> {
    /// A step is done, and this is what it thought.
    pub(super) fn thought(&self, step: &'static str, thought: String) {
        let stream = self.stream;
        stream.write(&self.session_key, step, &format!("{step}: done"));
        stream.thoughts.push(Thought {
            at_ms: stream.host.now_ms(),
            session_key: self.session_key.clone(),
            step,
            // A hundred of them are kept.
            thought: thought.chars().take(1000).collect(),
        });
        let about = [("session_key", self.session_key.as_str()), ("step", step)];
        stream.publish(&stream.change(THOUGHTS, about));
        stream
            .figures(|figures| figures.steps_completed = figures.steps_completed.saturating_add(1));
    }

    /// All steps are done.
    pub(super) fn complete(mut self) {
        self.completed = true;
    }
}

impl Drop for Running<'_> {
    /// Also when the caller withdrew: nothing counts as active that is not.
    fn drop(&mut self) {
        let end = if self.completed {
            "completed"
        } else {
            "cancelled"
        };
        self.stream.figures(|figures| {
            figures.active_streams = figures.active_streams.saturating_sub(1);
            let ended = if self.completed {
                &mut figures.questions_completed
            } else {
                &mut figures.questions_cancelled
            };
            *ended = ended.saturating_add(1);
        });
        self.stream.write(&self.session_key, end, end);
        let about = [("session_key", self.session_key.as_str()), ("step", end)];
        let change = self.stream.change(METRICS, about);
        self.stream.publish(&change);
    }
}
