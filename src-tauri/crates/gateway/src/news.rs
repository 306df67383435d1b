//! Telling clients what changed: lists, and resources that they watch.
//!
//! Legacy clients are told in their session; modern ones in the streams of `subscriptions/listen`, each tagged with its own
//! request. A stream that is too slow for [`WAITING`] messages is closed: its client asks again and lists anew.

use crate::{
    clients::lock,
    gateway::{Gateway, Inner},
};
use bytes::Bytes;
use flotilla_mcp::{
    List,
    serve::{self, Fields},
};
use serde_json::value::RawValue;
use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages that may wait in a stream.
const WAITING: usize = 64;
/// Streams at once, and resources that one may watch.
const MOST_STREAMS: usize = 1_024;
const MOST_RESOURCES: usize = 256;

/// The streams of modern clients.
#[derive(Default)]
pub(crate) struct News {
    streams: Mutex<Vec<Stream>>,
    next: AtomicU64,
}

struct Stream {
    /// How the servers know it.
    name: String,
    id: Box<RawValue>,
    group: Option<String>,
    lists: [bool; 4],
    resources: HashSet<String>,
    to: mpsc::Sender<Bytes>,
}

impl Stream {
    fn say(&self, method: &str, params: &RawValue) -> bool {
        let tagged = serve::set_meta(
            params,
            &[("io.modelcontextprotocol/subscriptionId", &self.id)],
        );
        let message = serve::notification(method, Some(&tagged));
        self.to
            .try_send(Bytes::from(serve::sse_event(&message, None)))
            .is_ok()
    }
}

/// The notification that a list changed.
fn method_of(list: List) -> &'static str {
    match list {
        List::Tools => "notifications/tools/list_changed",
        List::Prompts => "notifications/prompts/list_changed",
        List::Resources | List::Templates => "notifications/resources/list_changed",
    }
}

impl Gateway {
    /// Opens a stream of what changes, as its parameters ask. It ends with `cancel`.
    pub(crate) fn subscribe(
        &self,
        id: &RawValue,
        params: Option<&RawValue>,
        group: Option<String>,
        cancel: CancellationToken,
    ) -> mpsc::Receiver<Bytes> {
        let (to, from) = mpsc::channel(WAITING);
        let fields = Fields::of(params);
        let filter = fields.raw("notifications");
        let filter = Fields::of(filter);
        let on = |key: &str| filter.raw(key).is_some_and(|value| value.get() == "true");
        let (tools, prompts, resources) = (
            on("toolsListChanged"),
            on("promptsListChanged"),
            on("resourcesListChanged"),
        );
        let watched: HashSet<String> = filter
            .raw("resourceSubscriptions")
            .and_then(|raw| serde_json::from_str::<Vec<String>>(raw.get()).ok())
            .unwrap_or_default()
            .into_iter()
            .take(MOST_RESOURCES)
            .filter(|uri| self.inner.catalogue(group.as_deref()).resource(uri).is_ok())
            .collect();
        let stream = Stream {
            name: format!(
                "stream {}",
                self.inner.news.next.fetch_add(1, Ordering::Relaxed)
            ),
            id: id.to_owned(),
            group,
            lists: [tools, prompts, resources, resources],
            resources: watched,
            to,
        };
        let accepted = accepted(&stream);
        if !stream.say("notifications/subscriptions/acknowledged", &accepted) {
            return from;
        }
        let name = stream.name.clone();
        for uri in &stream.resources {
            if let Some(server) = self.inner.resource_server(stream.group.as_deref(), uri) {
                server.watch(&name, uri, true);
            }
        }
        let mut streams = lock(&self.inner.news.streams);
        if streams.len() >= MOST_STREAMS {
            streams.remove(0);
        }
        streams.push(stream);
        drop(streams);
        let inner = std::sync::Arc::clone(&self.inner);
        tokio::spawn(async move {
            cancel.cancelled().await;
            inner.forget_stream(&name);
        });
        from
    }
}

fn accepted(stream: &Stream) -> Box<RawValue> {
    let mut filter = serde_json::Map::new();
    for (key, on) in [
        ("toolsListChanged", stream.lists[0]),
        ("promptsListChanged", stream.lists[1]),
        ("resourcesListChanged", stream.lists[2]),
    ] {
        if on {
            filter.insert(key.to_owned(), true.into());
        }
    }
    if !stream.resources.is_empty() {
        let mut uris: Vec<&String> = stream.resources.iter().collect();
        uris.sort();
        filter.insert("resourceSubscriptions".to_owned(), serde_json::json!(uris));
    }
    let params = serde_json::json!({ "notifications": filter });
    RawValue::from_string(params.to_string()).unwrap_or_default()
}

impl Inner {
    fn forget_stream(&self, name: &str) {
        lock(&self.news.streams).retain(|stream| stream.name != name);
        for server in self.servers() {
            server.unwatch_all(|watcher| watcher == name);
        }
    }

    /// Lists of an endpoint changed.
    pub(crate) fn announce(&self, group: Option<&str>, changed: [bool; 4]) {
        let empty = crate::relay::empty();
        let mut said = HashSet::new();
        for list in [List::Tools, List::Prompts, List::Resources, List::Templates] {
            if !changed[list as usize] || !said.insert(method_of(list)) {
                continue;
            }
            let message = serve::notification(method_of(list), None);
            for session in self.clients.all() {
                if session.group.as_deref() == group {
                    session.say(&message);
                }
            }
            let heard = |stream: &Stream| {
                stream.group.as_deref() != group
                    || !stream.lists[list as usize]
                    || stream.say(method_of(list), &empty)
            };
            lock(&self.news.streams).retain(heard);
        }
    }

    /// A server said that a resource changed.
    pub(crate) fn resource_updated(
        &self,
        watchers: &[String],
        uri: &str,
        params: Option<&RawValue>,
    ) {
        let method = "notifications/resources/updated";
        let message = serve::notification(method, params);
        for watcher in watchers {
            if let Some(session) = self.clients.session(watcher) {
                session.say(&message);
            }
        }
        if let Some(params) = params {
            lock(&self.news.streams)
                .retain(|stream| !stream.resources.contains(uri) || stream.say(method, params));
        }
    }
}
