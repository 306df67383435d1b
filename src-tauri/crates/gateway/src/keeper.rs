//! One task for each server keeps its offer true: asks anew when the server says that something changed, when an instance comes
//! or goes, and when asking failed; withdraws the offer of a server that serves no more.

use crate::{
    fleet::{AsClient, Opened},
    gateway::Inner,
    offer::Offer,
    server::Server,
};
use flotilla_contract::{
    InstanceId,
    tool::{Era, Peer},
};
use flotilla_mcp::{Error, List, Notification, Notifications, RequestOptions, Session, serve};
use serde_json::value::RawValue;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// How long a server may take for each list.
const LIST_WITHIN: Duration = Duration::from_secs(15);
/// How long its greeting may take.
const GREET_WITHIN: Duration = Duration::from_secs(60);
/// Asked again after this long when it did not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// Several changes in a row are one.
const SETTLES: Duration = Duration::from_millis(50);
const WATCH_WITHIN: Duration = Duration::from_secs(10);

/// What is known of the server while one instance is asked.
struct Line {
    instance: (InstanceId, u64),
    session: Session,
    peer: Arc<Peer>,
    notifications: Notifications,
    watched: BTreeSet<String>,
    level: Option<String>,
    /// A modern server's stream of changes.
    stream: Option<tokio_util::sync::DropGuard>,
}

/// Keeps the offer of a server until it is forgotten.
pub(crate) async fn keep(inner: Arc<Inner>, server: Arc<Server>) {
    let mut line: Option<Line> = None;
    let mut stale = true;
    loop {
        let serving = server.serving();
        if line.as_ref().is_some_and(|line| {
            !serving.contains(&line.instance) || line.session.closed_reason().is_some()
        }) {
            (line, stale) = (None, true);
        }
        let mut again = None;
        match serving.first() {
            None => {
                let why = server.out_of_service().unwrap_or_default();
                if server.set_offer(Err(why)) {
                    inner.rebuild();
                }
            }
            Some(first) if stale => {
                let asked = Box::pin(ask(&inner, &server, first, &mut line)).await;
                match asked {
                    Ok(offer) => {
                        stale = false;
                        if server.set_offer(Ok(Arc::new(offer))) {
                            inner.rebuild();
                        }
                    }
                    Err(error) => {
                        tracing::debug!(server = %server.id, %error, "did not say what it offers");
                        line = None;
                        again = Some(Instant::now() + AGAIN);
                        // What it offered a moment ago is truer than nothing: its calls say what is wrong.
                        if server.offer().is_none() {
                            server
                                .set_offer(Err(format!("It did not say what it offers: {error}")));
                        }
                    }
                }
            }
            Some(_) => {}
        }
        if let Some(line) = &mut line {
            line.follow_wishes(&inner, &server).await;
        }
        tokio::select! {
            () = server.ended.cancelled() => return,
            () = server.look_again.notified() => {}
            () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            news = next(&mut line) => match news {
                Some(Ok(note)) if note.method == "notifications/resources/updated" => {
                    if let Some(uri) = serve::field(note.params.as_deref(), "uri") {
                        inner.resource_updated(&server.watchers(&uri), &uri, note.params.as_deref());
                    }
                }
                Some(Ok(note)) if !note.method.ends_with("/list_changed") => {}
                // A change, or news that were missed.
                Some(_) => {
                    stale = true;
                    tokio::time::sleep(SETTLES).await;
                }
                None => (line, stale) = (None, true),
            },
        }
    }
}

async fn next(line: &mut Option<Line>) -> Option<Result<Arc<Notification>, u64>> {
    match line {
        Some(line) => line.notifications.next().await,
        None => std::future::pending().await,
    }
}

async fn ask(
    inner: &Arc<Inner>,
    server: &Server,
    instance: &(InstanceId, u64),
    line: &mut Option<Line>,
) -> Result<Offer, Error> {
    if line.is_none() {
        let (session, peer) = if server.is_per_client() {
            in_nobodys_name(inner, &instance.0).await?
        } else {
            inner.fleet.shared(&instance.0, GREET_WITHIN).await?
        };
        *line = Some(Line {
            instance: instance.clone(),
            notifications: session.notifications(),
            session,
            peer,
            watched: BTreeSet::new(),
            level: None,
            stream: None,
        });
    }
    let Some(line) = line else {
        return Err(Error::Closed(flotilla_mcp::Closed::Ours));
    };
    let asking = Offer::ask(&line.session, Arc::clone(&line.peer), LIST_WITHIN);
    let mut offer = Box::pin(asking).await?;
    if server.is_per_client() && line.peer.era == Era::Legacy && !offer.tools.is_empty() {
        let (shared, _) = inner.fleet.shared(&instance.0, GREET_WITHIN).await?;
        offer.mark_own(shared.list(List::Tools, LIST_WITHIN).await?);
    }
    Ok(offer)
}

/// A connection for the lists of a server whose clients have connections of their own. Some servers have tools only for
/// clients that can be asked something: so this one says that it can, and refuses when it is.
async fn in_nobodys_name(inner: &Inner, instance: &InstanceId) -> Opened {
    const ABLE: &str = r#"{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{}}"#;
    let (to, mut asked) = mpsc::channel::<flotilla_mcp::Asked>(1);
    let client = AsClient {
        capabilities: RawValue::from_string(ABLE.to_owned()).ok(),
        asked: to,
    };
    tokio::spawn(async move {
        while let Some(question) = asked.recv().await {
            question.refuse(
                serve::INTERNAL_ERROR,
                "no client is on this connection, it reads the lists",
            );
        }
    });
    inner.fleet.own(instance, client, GREET_WITHIN).await
}

impl Line {
    /// Tells the server what clients want to hear of: resources that they watch, their log level.
    async fn follow_wishes(&mut self, inner: &Arc<Inner>, server: &Arc<Server>) {
        let wanted: BTreeSet<String> = server.watched().into_iter().collect();
        if self.peer.era == Era::Modern {
            if self.stream.is_none() || wanted != self.watched {
                self.listen(wanted);
            }
            return;
        }
        for (method, uris) in [
            ("resources/subscribe", wanted.difference(&self.watched)),
            ("resources/unsubscribe", self.watched.difference(&wanted)),
        ] {
            for uri in uris {
                let params =
                    RawValue::from_string(serde_json::json!({ "uri": uri }).to_string()).ok();
                let said = self
                    .session
                    .request(method, params, RequestOptions::within(WATCH_WITHIN))
                    .await;
                if let Err(error) = said {
                    tracing::debug!(server = %server.id, %uri, %error, method, "refused");
                }
            }
        }
        self.watched = wanted;
        let level = inner.level();
        if level.is_some() && level != self.level && self.peer.capabilities.get("logging").is_some()
        {
            let params =
                RawValue::from_string(serde_json::json!({ "level": level }).to_string()).ok();
            let said = self
                .session
                .request(
                    "logging/setLevel",
                    params,
                    RequestOptions::within(WATCH_WITHIN),
                )
                .await;
            if let Err(error) = said {
                tracing::debug!(server = %server.id, %error, "refused a log level");
            }
            self.level = level;
        }
    }

    /// Opens a modern server's stream of changes, in place of the one there is.
    fn listen(&mut self, wanted: BTreeSet<String>) {
        let capabilities = &self.peer.capabilities;
        let changes =
            |name: &str| capabilities[name]["listChanged"] == serde_json::Value::Bool(true);
        let filter = serde_json::json!({ "notifications": {
            "toolsListChanged": changes("tools"),
            "promptsListChanged": changes("prompts"),
            "resourcesListChanged": changes("resources"),
            "resourceSubscriptions": wanted,
        } });
        let cancel = tokio_util::sync::CancellationToken::new();
        let options = RequestOptions {
            cancel: cancel.clone(),
            ..RequestOptions::default()
        };
        self.watched = wanted;
        self.stream = Some(cancel.drop_guard());
        if let Ok(filter) = RawValue::from_string(filter.to_string()) {
            let session = self.session.clone();
            tokio::spawn(async move {
                match session.listen(Some(&filter), options).await {
                    // What comes is seen in the session's notifications as well.
                    Ok(mut stream) => while stream.next().await.is_some() {},
                    Err(error) => tracing::debug!(%error, "offers no stream of changes"),
                }
            });
        }
    }
}
