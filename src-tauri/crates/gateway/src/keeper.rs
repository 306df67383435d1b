//! One task for each server keeps its offer true: asks anew when the server says that something changed, when an instance comes
//! or goes, and when asking failed; withdraws the offer of a server that serves no more.
//!
//! Asking is never urgent: what a restarted server offered before stands until it has answered, and a fleet that starts needs the
//! processors for starting. So it begins a moment after the instance came, few servers are asked at once, and one that does not
//! answer is asked less and less often.
//!
//! **On demand.** The offer of a server that sleeps stays, and is kept in the store for the next engine. The same task knows
//! when nobody has called for long: it closes the server for calls ([`Server::doze`]) and has it stopped. The first call that
//! finds it asleep has it started; all that come meanwhile wait for that one start ([`Server::place`]). Woken, it is asked
//! anew what it offers.

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
/// Asked again after this long when it did not answer, twice as long each time, up to [`SELDOM`].
const AGAIN: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_secs(300);
/// An instance that just came is left alone for so long.
const COMES: Duration = Duration::from_millis(100);
/// Servers that are asked at the same time. One that takes longer than [`TURN`] no longer counts.
pub(crate) const AT_ONCE: usize = 8;
const TURN: Duration = Duration::from_millis(500);
/// Several changes in a row are one.
pub(crate) const SETTLES: Duration = Duration::from_millis(50);
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
    let mut wait = AGAIN;
    // What the store has of its offer.
    let mut kept = None;
    loop {
        let serving = server.serving();
        if line.as_ref().is_some_and(|line| {
            !serving.contains(&line.instance) || line.session.closed_reason().is_some()
        }) {
            (line, stale, wait) = (None, true, AGAIN);
        }
        let mut again = None;
        match serving.first() {
            // It sleeps, or comes: what it offered is there for the asking.
            None if server.comes() && server.offer().is_some() => {}
            None if server.comes() && recall(&inner, &server, &mut kept) => inner.outdated(),
            None => {
                let why = server.out_of_service().unwrap_or_default();
                if server.set_offer(Err(why)) {
                    inner.outdated();
                }
            }
            Some(first) if stale => {
                if line.is_none() {
                    tokio::time::sleep(COMES).await;
                }
                let asked = Box::pin(in_turn(&inner, ask(&inner, &server, first, &mut line)));
                match asked.await {
                    Ok(offer) => {
                        (stale, wait) = (false, AGAIN);
                        if server.set_offer(Ok(Arc::new(offer))) {
                            inner.outdated();
                        }
                    }
                    Err(error) => {
                        tracing::debug!(server = %server.id, %error, "did not say what it offers");
                        line = None;
                        again = Some(Instant::now() + wait);
                        wait = (wait * 2).min(SELDOM);
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
        if server.is_on_demand()
            && let Some(offer) = server.offer()
            && kept != Some(offer.prints)
        {
            kept = Some(offer.prints);
            if let Some(offer) = offer.to_kept() {
                inner.fleet.remember(&server.id, &offer);
            }
        }
        // Not before it is known what it offers: a server is put to sleep with its lists in the catalogue.
        let idle_at = server.idle_at().filter(|_| !stale);
        if let Some(line) = &mut line {
            line.follow_wishes(&inner, &server).await;
        }
        tokio::select! {
            () = server.ended.cancelled() => return,
            () = server.look_again.notified() => {}
            () = tokio::time::sleep_until(idle_at.unwrap_or_else(Instant::now)), if idle_at.is_some() => {
                if let Some(unused) = server.doze(Instant::now()) {
                    let why = format!("no call for {}", span(unused));
                    if inner.fleet.sleep(&server.id, &why) {
                        (line, stale, wait) = (None, true, AGAIN);
                    } else {
                        server.stays_awake(Instant::now());
                    }
                }
            }
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

/// Puts on offer what a server on demand offered when it was last asked, maybe by an earlier engine. False: nobody knows.
fn recall(inner: &Inner, server: &Server, kept: &mut Option<[[u8; 32]; 4]>) -> bool {
    let text = inner.fleet.remembered(&server.id);
    let Some(offer) = text.as_deref().and_then(Offer::of_kept) else {
        return false;
    };
    *kept = Some(offer.prints);
    server.set_offer(Ok(Arc::new(offer)))
}

/// "45 s", "10 min".
fn span(unused: Duration) -> String {
    match unused.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}

async fn next(line: &mut Option<Line>) -> Option<Result<Arc<Notification>, u64>> {
    match line {
        Some(line) => line.notifications.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for one of the places for those that ask.
async fn in_turn<T>(inner: &Inner, asking: impl Future<Output = T>) -> T {
    let place = inner.asking.acquire().await;
    let mut asking = std::pin::pin!(asking);
    match tokio::time::timeout(TURN, asking.as_mut()).await {
        Ok(done) => done,
        Err(_) => {
            drop(place);
            asking.await
        }
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
        name: "the gateway's lists".to_owned(),
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
