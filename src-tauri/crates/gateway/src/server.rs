//! One server as the gateway uses it: its instances, what is decided about its calls, and what it offers.
//!
//! All decisions are made under one short lock, by the pure modules ([`crate::balance`], [`crate::breaker`], [`crate::retry`]);
//! nothing is awaited while it is held. A call holds a [`Place`] in an instance and an [`Admission`] of the breakers; both are
//! given back when dropped, so that a call that is cancelled anywhere leaves nothing behind.

use crate::{
    balance::{self, Endpoint, NoneFit, Pick},
    breaker::{self, Breaker, Permit},
    chance::Chance,
    clients::lock,
    fleet::{Instance, Upstream},
    offer::Offer,
    retry::{self, Budget, Recent},
    ring::Rolling,
};
use flotilla_contract::{
    InstanceId, Millis, ServerId,
    gateway::{
        BreakerAct, BreakerState, BreakerView, EndpointView, Exposure, FailureClass, RejectedBy,
        Sharing,
    },
    tool::Peer,
};
use flotilla_mcp::{Error, Session};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// Breakers of single tools; a tool beyond them has only its server's.
const MOST_TOOLS: usize = 1_000;
/// Why nothing is offered until the server was asked.
pub(crate) const NOT_ASKED: &str = "It is asked what it offers";

/// Why a call does not pass.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) by: RejectedBy,
    /// A sentence without a final period.
    pub(crate) reason: String,
    pub(crate) retry_after: Option<Duration>,
}

/// A breaker that moved: of the server, or of the tool.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) tool: Option<String>,
    pub(crate) to: BreakerState,
    pub(crate) reason: String,
}

/// A server.
pub(crate) struct Server {
    pub(crate) id: ServerId,
    state: Mutex<State>,
    /// A place in an instance became free, or an instance came.
    freed: Notify,
    queued: AtomicU32,
    pub(crate) rolling: Mutex<Rolling>,
    /// What it offers, or why its offer is withdrawn.
    offer: Mutex<Result<Arc<Offer>, String>>,
    /// Something about its offer or its instances changed.
    pub(crate) look_again: Notify,
    /// Connections in clients' own names.
    pub(crate) owned: AtomicU32,
    /// Resources that sessions watch.
    watched: Mutex<BTreeMap<String, HashSet<String>>>,
    pub(crate) ended: CancellationToken,
}

struct State {
    exposure: Arc<Exposure>,
    endpoints: Vec<Endpoint>,
    /// Beside `endpoints`.
    instances: Vec<Known>,
    pick: Pick,
    breaker: Breaker,
    tools: HashMap<String, Breaker>,
    budget: Budget,
    recent: Recent,
    chance: Chance,
    /// Why no instance serves.
    reason: String,
}

/// An instance, and the session that was last used with it.
struct Known {
    now: Instance,
    session: Option<(Session, Arc<Peer>)>,
}

impl Server {
    pub(crate) fn new(upstream: &Upstream, seed: u64, now: Instant) -> Self {
        let exposure = Arc::clone(&upstream.exposure);
        Self {
            id: upstream.id.clone(),
            state: Mutex::new(State {
                breaker: Breaker::new(exposure.breaker, now),
                endpoints: Vec::new(),
                instances: Vec::new(),
                pick: Pick::default(),
                tools: HashMap::new(),
                budget: Budget::new(now),
                recent: Recent::default(),
                chance: Chance::new(seed),
                reason: upstream.reason.clone(),
                exposure,
            }),
            freed: Notify::new(),
            queued: AtomicU32::new(0),
            rolling: Mutex::default(),
            offer: Mutex::new(Err(NOT_ASKED.to_owned())),
            look_again: Notify::new(),
            owned: AtomicU32::new(0),
            watched: Mutex::default(),
            ended: CancellationToken::new(),
        }
    }

    /// The server as the engine sees it now. True when its instances changed so that its offer may have.
    pub(crate) fn refit(&self, upstream: &Upstream, now: Instant) -> bool {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let before = state.serving();
        if *state.exposure != *upstream.exposure {
            state.breaker.refit(now, upstream.exposure.breaker);
            for breaker in state.tools.values_mut() {
                breaker.refit(now, upstream.exposure.breaker);
            }
        }
        state.exposure = Arc::clone(&upstream.exposure);
        state.reason.clone_from(&upstream.reason);
        let (mut old_endpoints, mut old) = (
            std::mem::take(&mut state.endpoints),
            std::mem::take(&mut state.instances),
        );
        for instance in &upstream.instances {
            let index = instance.id.index;
            let weight = usize::try_from(index)
                .ok()
                .and_then(|index| state.exposure.weights.get(index.checked_sub(1)?))
                .copied()
                .unwrap_or(1);
            let at = old.iter().position(|known| known.now.id == instance.id);
            let (mut endpoint, mut known) = match at {
                Some(at) => (old_endpoints.swap_remove(at), old.swap_remove(at)),
                None => (
                    Endpoint::new(index, weight, state.exposure.max_in_flight),
                    Known {
                        now: instance.clone(),
                        session: None,
                    },
                ),
            };
            (endpoint.weight, endpoint.max_in_flight) = (weight, state.exposure.max_in_flight);
            if known.now.spawn != instance.spawn {
                endpoint.anew();
                known.session = None;
            }
            endpoint.available = instance.unfit.is_none();
            if !endpoint.available {
                known.session = None;
            }
            known.now = instance.clone();
            state.endpoints.push(endpoint);
            state.instances.push(known);
        }
        let changed = before != state.serving();
        if changed {
            self.freed.notify_waiters();
        }
        changed
    }

    pub(crate) fn exposure(&self) -> Arc<Exposure> {
        Arc::clone(&lock(&self.state).exposure)
    }

    pub(crate) fn is_per_client(&self) -> bool {
        lock(&self.state).exposure.sharing == Sharing::PerClient
    }

    /// The instances that serve, the best first.
    pub(crate) fn serving(&self) -> Vec<(InstanceId, u64)> {
        lock(&self.state).serving()
    }

    /// Why no instance serves; none when one does.
    pub(crate) fn out_of_service(&self) -> Option<String> {
        let state = lock(&self.state);
        state.serving().is_empty().then(|| state.no_instance())
    }

    // ------------------------------------------------------------------------------------------ what it offers

    pub(crate) fn offer(&self) -> Option<Arc<Offer>> {
        lock(&self.offer).as_ref().ok().cloned()
    }

    pub(crate) fn withdrawn(&self) -> Option<String> {
        lock(&self.offer).as_ref().err().cloned()
    }

    /// Sets what it offers, or why that is withdrawn. True when clients see a difference.
    pub(crate) fn set_offer(&self, offer: Result<Arc<Offer>, String>) -> bool {
        let mut now = lock(&self.offer);
        let same = match (&*now, &offer) {
            (Ok(before), Ok(after)) => {
                before.prints == after.prints && before.peer.capabilities == after.peer.capabilities
            }
            (Err(_), Err(_)) => true,
            _ => false,
        };
        *now = offer;
        !same
    }

    /// Whether calling a tool twice is as good as once: as the operator says, else as the tool's annotations do.
    pub(crate) fn is_repeatable(&self, tool: &str) -> bool {
        let said = lock(&self.state)
            .exposure
            .tools
            .get(tool)
            .and_then(|tool| tool.idempotent);
        said.unwrap_or_else(|| {
            self.offer()
                .is_some_and(|offer| offer.tool(tool).is_some_and(|tool| tool.repeatable))
        })
    }

    /// How long an answer of a tool is kept, if at all.
    pub(crate) fn cache_ttl(&self, is_tool: bool, name: &str) -> Option<Duration> {
        if !is_tool {
            return None;
        }
        let state = lock(&self.state);
        let ttl = state.exposure.tools.get(name)?.cache_ttl_ms?;
        (ttl > 0).then(|| Duration::from_millis(ttl))
    }

    /// A session begins or ends to watch a resource.
    pub(crate) fn watch(&self, session: &str, uri: &str, on: bool) {
        let mut watched = lock(&self.watched);
        if on {
            watched
                .entry(uri.to_owned())
                .or_default()
                .insert(session.to_owned());
        } else if let Some(sessions) = watched.get_mut(uri) {
            sessions.remove(session);
            if sessions.is_empty() {
                watched.remove(uri);
            }
        }
        drop(watched);
        self.look_again.notify_one();
    }

    pub(crate) fn unwatch_all(&self, gone: impl Fn(&str) -> bool) {
        let mut watched = lock(&self.watched);
        let before = watched.len();
        watched.retain(|_, sessions| {
            sessions.retain(|session| !gone(session));
            !sessions.is_empty()
        });
        if watched.len() != before {
            self.look_again.notify_one();
        }
    }

    pub(crate) fn watched(&self) -> Vec<String> {
        lock(&self.watched).keys().cloned().collect()
    }

    pub(crate) fn watchers(&self, uri: &str) -> Vec<String> {
        lock(&self.watched)
            .get(uri)
            .map(|sessions| sessions.iter().cloned().collect())
            .unwrap_or_default()
    }

    // ------------------------------------------------------------------------------------------ calls

    /// Asks the breakers.
    pub(crate) fn admit(
        self: &Arc<Self>,
        tool: Option<&str>,
        now: Instant,
    ) -> Result<Admission, Refusal> {
        let mut state = lock(&self.state);
        let refused = |what: &str, refused: &breaker::Refused| Refusal {
            by: RejectedBy::Breaker,
            reason: format!("{what}: {}", refused.sentence()),
            retry_after: refused.retry_after,
        };
        let server = state
            .breaker
            .admit(now)
            .map_err(|why| refused(self.id.as_str(), &why))?;
        let spec = state.exposure.breaker;
        let few = state.tools.len() < MOST_TOOLS;
        let own = tool.filter(|tool| few || state.tools.contains_key(*tool));
        let tool = match own {
            None => None,
            Some(tool) => {
                let breaker = state
                    .tools
                    .entry(tool.to_owned())
                    .or_insert_with(|| Breaker::new(spec, now));
                match breaker.admit(now) {
                    Ok(permit) => Some((tool.to_owned(), permit)),
                    Err(why) => {
                        let refusal = refused(&format!("{tool} of {}", self.id), &why);
                        state.breaker.done(now, server, None);
                        return Err(refusal);
                    }
                }
            }
        };
        Ok(Admission {
            server: Arc::clone(self),
            permits: Some((server, tool)),
        })
    }

    /// A place in an instance: in `prefer` if that one serves and has room, in those in `not` last. Waits for one if all are
    /// full, in a bounded queue.
    pub(crate) async fn place(
        self: &Arc<Self>,
        prefer: Option<u32>,
        not: &[u32],
        deadline: Instant,
    ) -> Result<Place, Refusal> {
        let waits = match self.try_place(prefer, not) {
            Ok(place) => return Ok(place),
            Err(None) => lock(&self.state).exposure.clone(),
            Err(Some(refusal)) => return Err(refusal),
        };
        if self.queued.fetch_add(1, Ordering::Relaxed) >= waits.queue {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal {
                by: RejectedBy::Queue,
                reason: format!(
                    "{} is busy: all places are taken and {} calls wait",
                    self.id, waits.queue
                ),
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        let _queued = Queued(&self.queued);
        let until = deadline.min(Instant::now() + Duration::from_millis(waits.queue_timeout_ms));
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.try_place(prefer, not) {
                Ok(place) => return Ok(place),
                Err(Some(refusal)) => return Err(refusal),
                Err(None) => {}
            }
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep_until(until) => {
                    return Err(Refusal {
                        by: RejectedBy::Queue,
                        reason: format!("{} is busy: no place became free within {} ms", self.id, waits.queue_timeout_ms),
                        retry_after: Some(Duration::from_secs(1)),
                    });
                }
            }
        }
    }

    /// `Err(None)`: all places are taken.
    fn try_place(
        self: &Arc<Self>,
        prefer: Option<u32>,
        not: &[u32],
    ) -> Result<Place, Option<Refusal>> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let how = state.exposure.balance;
        let preferred = prefer.and_then(|index| {
            state.endpoints.iter().position(|endpoint| {
                endpoint.instance == index
                    && endpoint.available
                    && endpoint.in_flight() < endpoint.max_in_flight
                    && !not.contains(&index)
            })
        });
        let chosen = preferred.map_or_else(
            || {
                state.pick.choose(
                    how,
                    &state.endpoints,
                    not,
                    Instant::now(),
                    &mut state.chance,
                )
            },
            Ok,
        );
        match chosen {
            Ok(at) => {
                state.endpoints[at].take();
                let known = &state.instances[at];
                Ok(Place {
                    server: Arc::clone(self),
                    id: known.now.id.clone(),
                    spawn: known.now.spawn,
                    session: known.session.clone(),
                })
            }
            Err(NoneFit::AllFull) => Err(None),
            Err(NoneFit::NoInstance) => Err(Some(Refusal {
                by: RejectedBy::NoInstance,
                reason: format!("{} does not serve: {}", self.id, state.no_instance()),
                retry_after: None,
            })),
        }
    }

    /// A call is sent for the first time.
    pub(crate) fn sent(&self) {
        lock(&self.state).budget.sent(Instant::now());
    }

    /// A try is over, for the adaptive policy.
    pub(crate) fn tried(&self, ok: bool) {
        lock(&self.state).recent.note(ok);
    }

    /// How long to wait before another try, if there is to be one. `tries` were made.
    pub(crate) fn next_try(
        &self,
        tool: Option<&str>,
        error: &Error,
        class: FailureClass,
        repeatable: bool,
        tries: u32,
    ) -> Option<Duration> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let own = tool.and_then(|tool| state.exposure.tools.get(tool)?.retry.as_ref());
        let spec = own.unwrap_or(&state.exposure.retry);
        let failed = retry::Failed {
            class,
            ran: retry::did_it_run(error),
            idempotent: repeatable,
            tries,
            retry_after: None,
        };
        // Asked for its state only: a look must not count as a call.
        if state.breaker.state(Instant::now()) == BreakerState::Open {
            return None;
        }
        retry::next_try(
            spec,
            failed,
            &mut state.budget,
            &state.recent,
            Instant::now(),
            &mut state.chance,
        )
    }

    /// What an operator does with a breaker.
    pub(crate) fn act(
        &self,
        tool: Option<&str>,
        act: BreakerAct,
        now: Instant,
        wall: Millis,
    ) -> (BreakerView, Vec<Moved>) {
        let mut state = lock(&self.state);
        let spec = state.exposure.breaker;
        let breaker = match tool {
            None => &mut state.breaker,
            Some(tool) => state
                .tools
                .entry(tool.to_owned())
                .or_insert_with(|| Breaker::new(spec, now)),
        };
        let change = breaker.act(now, act);
        let view = breaker.view(now, wall, self.id.clone(), tool.map(ToOwned::to_owned));
        let moved = change.map(|change| Moved {
            tool: tool.map(ToOwned::to_owned),
            to: change.to,
            reason: "an operator said so".to_owned(),
        });
        (view, moved.into_iter().collect())
    }

    // ------------------------------------------------------------------------------------------ what is seen

    pub(crate) fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn breakers(&self, now: Instant, wall: Millis) -> Vec<BreakerView> {
        let state = lock(&self.state);
        if !state.exposure.breaker.enabled {
            return Vec::new();
        }
        let mut all = vec![state.breaker.view(now, wall, self.id.clone(), None)];
        let mut tools: Vec<BreakerView> = state
            .tools
            .iter()
            .map(|(tool, breaker)| breaker.view(now, wall, self.id.clone(), Some(tool.clone())))
            // A quiet breaker of a tool says what its server's says.
            .filter(|view| {
                view.state != BreakerState::Closed || view.failures > 0 || view.opens_last_hour > 0
            })
            .collect();
        tools.sort_by(|a, b| a.tool.cmp(&b.tool));
        all.append(&mut tools);
        all
    }

    pub(crate) fn endpoints(&self, now: Instant) -> Vec<EndpointView> {
        let state = lock(&self.state);
        state
            .endpoints
            .iter()
            .zip(&state.instances)
            .map(|(endpoint, known)| {
                let mut view = endpoint.view(now, &self.id);
                if let Some(unfit) = &known.now.unfit {
                    view.reason = Some(unfit.clone());
                }
                view
            })
            .collect()
    }

    pub(crate) fn instances(&self) -> Vec<InstanceId> {
        let state = lock(&self.state);
        let ids = state.instances.iter().map(|known| known.now.id.clone());
        ids.collect()
    }
}

impl State {
    fn serving(&self) -> Vec<(InstanceId, u64)> {
        self.instances
            .iter()
            .filter(|known| known.now.unfit.is_none())
            .map(|known| (known.now.id.clone(), known.now.spawn))
            .collect()
    }

    fn no_instance(&self) -> String {
        let reason = self
            .instances
            .iter()
            .find_map(|known| known.now.unfit.as_deref());
        reason.unwrap_or(&self.reason).to_owned()
    }
}

struct Queued<'a>(&'a AtomicU32);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The breakers let a call through.
pub(crate) struct Admission {
    server: Arc<Server>,
    permits: Option<(Permit, Option<(String, Permit)>)>,
}

impl Admission {
    /// The call is over; `None`: it says nothing about the server.
    pub(crate) fn done(mut self, success: Option<bool>) -> Vec<Moved> {
        self.settle(success)
    }

    fn settle(&mut self, success: Option<bool>) -> Vec<Moved> {
        let Some((server, tool)) = self.permits.take() else {
            return Vec::new();
        };
        let now = Instant::now();
        let mut state = lock(&self.server.state);
        let mut moved = Vec::new();
        let mut note =
            |tool: Option<String>, breaker: &Breaker, change: Option<breaker::Change>| {
                moved.extend(change.map(|change| {
                    Moved {
                        tool: tool.clone(),
                        to: change.to,
                        reason: breaker
                            .view(now, 0, self.server.id.clone(), tool)
                            .reason
                            .unwrap_or_else(|| "calls on trial succeeded".to_owned()),
                    }
                }));
            };
        let change = state.breaker.done(now, server, success);
        note(None, &state.breaker, change);
        if let Some((name, permit)) = tool
            && let Some(breaker) = state.tools.get_mut(&name)
        {
            let change = breaker.done(now, permit, success);
            note(Some(name), breaker, change);
        }
        moved
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle(None);
    }
}

/// A place in an instance, taken until it is dropped.
pub(crate) struct Place {
    server: Arc<Server>,
    id: InstanceId,
    spawn: u64,
    session: Option<(Session, Arc<Peer>)>,
}

impl Place {
    pub(crate) fn id(&self) -> &InstanceId {
        &self.id
    }

    pub(crate) fn spawn(&self) -> u64 {
        self.spawn
    }

    /// The session that was used before, if its process is still the one.
    pub(crate) fn session(&self) -> Option<(Session, Arc<Peer>)> {
        self.session.clone()
    }

    /// Remembers the session for the next call.
    pub(crate) fn remember(&self, opened: &(Session, Arc<Peer>)) {
        let mut state = lock(&self.server.state);
        let known = state
            .instances
            .iter_mut()
            .find(|known| known.now.id == self.id && known.now.spawn == self.spawn);
        if let Some(known) = known {
            known.session = Some(opened.clone());
        }
    }

    /// What the call says about the instance.
    pub(crate) fn observed(&self, success: bool, took: Duration) {
        let mut state = lock(&self.server.state);
        let at = state
            .instances
            .iter()
            .position(|known| known.now.id == self.id && known.now.spawn == self.spawn);
        if let Some(at) = at {
            balance::observe(
                &mut state.endpoints,
                at,
                success,
                took.as_secs_f64() * 1_000.0,
                Instant::now(),
            );
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.server.state);
        if let Some(at) = state
            .instances
            .iter()
            .position(|known| known.now.id == self.id)
        {
            state.endpoints[at].release();
        }
        drop(state);
        self.server.freed.notify_one();
    }
}
