//! The session of a legacy client, with what it takes to make it anew.

use super::wire::Message;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Resources whose subscription is made again; more are forgotten.
const MOST_WATCHED: usize = 1_000;

#[derive(Default)]
pub(super) struct Session {
    /// Another number for each session.
    pub(super) generation: u64,
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
    /// What the client said when it introduced itself.
    pub(super) introduction: Option<Box<RawValue>>,
    /// Whether the client has confirmed it.
    pub(super) confirmed: bool,
    /// Its `logging/setLevel`.
    level: Option<Box<RawValue>>,
    /// Its `resources/subscribe`, by URI.
    watched: BTreeMap<String, Box<RawValue>>,
}

impl Session {
    /// Another client, or the same one from the beginning.
    pub(super) fn begin(&mut self, introduction: Option<Box<RawValue>>) {
        *self = Self {
            generation: self.generation + 1,
            introduction,
            ..Self::default()
        };
    }

    /// The gateway has taken the introduction.
    pub(super) fn accepted(&mut self, id: Option<HeaderValue>, version: Option<&str>) {
        self.id = id;
        self.version = version.and_then(|version| HeaderValue::from_str(version).ok());
    }

    /// The gateway has forgotten the session and made another.
    pub(super) fn renewed(&mut self, id: Option<HeaderValue>, version: Option<&str>) {
        self.generation += 1;
        self.accepted(id, version);
    }

    pub(super) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    pub(super) fn headers(&self, into: &mut HeaderMap) {
        if let Some(id) = &self.id {
            into.insert("mcp-session-id", id.clone());
        }
        if let Some(version) = &self.version {
            into.insert("mcp-protocol-version", version.clone());
        }
    }

    /// Remembers what the gateway would have forgotten after a restart.
    pub(super) fn note(&mut self, message: &Message) {
        match message.method() {
            Some("logging/setLevel") => self.level = message.params(),
            Some("resources/subscribe") => {
                if let Some((uri, params)) = uri_of(message)
                    && (self.watched.len() < MOST_WATCHED || self.watched.contains_key(&uri))
                {
                    self.watched.insert(uri, params);
                }
            }
            Some("resources/unsubscribe") => {
                if let Some((uri, _)) = uri_of(message) {
                    self.watched.remove(&uri);
                }
            }
            _ => {}
        }
    }

    /// What the client had asked for and a new session does not know.
    pub(super) fn wishes(&self) -> Vec<(&'static str, Box<RawValue>)> {
        let level = self.level.iter().map(|params| ("logging/setLevel", params));
        let watched = self
            .watched
            .values()
            .map(|params| ("resources/subscribe", params));
        level
            .chain(watched)
            .map(|(method, params)| (method, params.clone()))
            .collect()
    }
}

fn uri_of(message: &Message) -> Option<(String, Box<RawValue>)> {
    let params = message.params()?;
    let view: serde_json::Value = serde_json::from_str(params.get()).ok()?;
    Some((view.get("uri")?.as_str()?.to_owned(), params))
}
