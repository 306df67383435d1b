//! Connections to servers in the name of one client (`sharing = "per_client"`).

use crate::{
    ask,
    clients::{Own, Session},
    fleet::AsClient,
    gateway::Gateway,
    server::{Place, Server},
};
use flotilla_contract::tool::Peer;
use flotilla_mcp::{Error, Session as Upstream, serve};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Questions of a server that may wait.
const QUESTIONS: usize = 16;

impl Gateway {
    /// The client's own connection to an instance, opened at its first call.
    pub(crate) async fn own(
        &self,
        session: &Arc<Session>,
        server: &Arc<Server>,
        place: &Place,
        limit: Duration,
    ) -> Result<(Upstream, Arc<Peer>), Error> {
        let mut all = session.own.lock().await;
        if let Some(own) = all.get_mut(&server.id) {
            let same = own.instance == *place.id() && own.spawn == place.spawn();
            if same && own.session.closed_reason().is_none() {
                own.used = Instant::now();
                return Ok((own.session.clone(), Arc::clone(&own.peer)));
            }
            all.remove(&server.id);
        }
        let counted = Counted::one(server)?;
        let (to, asked) = mpsc::channel(QUESTIONS);
        let client = AsClient {
            name: session.identity.name.clone(),
            capabilities: session.capabilities.clone(),
            asked: to,
        };
        let (upstream, peer) = self.inner.fleet.own(place.id(), client, limit).await?;
        follow(session, server, &upstream, asked);
        all.insert(
            server.id.clone(),
            Own {
                instance: place.id().clone(),
                spawn: place.spawn(),
                session: upstream.clone(),
                peer: Arc::clone(&peer),
                used: Instant::now(),
                _counted: counted,
            },
        );
        Ok((upstream, peer))
    }

    /// What a client says to its servers outside of calls.
    pub(crate) fn pass_on(&self, session: &Arc<Session>, method: &str) {
        let (session, method) = (Arc::clone(session), method.to_owned());
        tokio::spawn(async move {
            let servers: Vec<Upstream> = {
                let own = session.own.lock().await;
                own.values().map(|own| own.session.clone()).collect()
            };
            for server in servers {
                // A server that is not reached now asks when it needs to.
                let _ = server.notify(&method, None).await;
            }
        });
    }
}

/// Counts a connection as long as it is there.
pub(crate) struct Counted(Arc<Server>);

impl Counted {
    /// One more, if the server may have it.
    pub(crate) fn one(server: &Arc<Server>) -> Result<Self, Error> {
        let most = server.exposure().max_clients;
        let more = |now| (now < most).then_some(now + 1);
        server
            .owned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| {
                Error::Unreachable(format!(
                    "{} has {most} connections of single clients, which is its limit (max_clients)",
                    server.id
                ))
            })?;
        Ok(Self(Arc::clone(server)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.owned.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Passes on what the server asks and says by itself, as long as both ends are there.
fn follow(
    session: &Arc<Session>,
    server: &Arc<Server>,
    upstream: &Upstream,
    mut asked: mpsc::Receiver<flotilla_mcp::Asked>,
) {
    let (session, id) = (Arc::downgrade(session), server.id.clone());
    let mut said = upstream.notifications();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                question = asked.recv() => {
                    let (Some(question), Some(session)) = (question, session.upgrade()) else { return };
                    let through = session.stream_to(&id);
                    tokio::spawn(ask::put(session, through, question));
                }
                note = said.next() => {
                    let (Some(note), Some(session)) = (note, session.upgrade()) else { return };
                    if let Ok(note) = note && !note.method.ends_with("/list_changed") {
                        session.say(&serve::notification(&note.method, note.params.as_deref()));
                    }
                }
            }
        }
    });
}
