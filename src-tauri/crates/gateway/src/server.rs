//! One server as the gateway uses it: its instances, what is decided about its calls, and what it offers.
//!
//! All decisions are made under one short lock, by the pure modules ([`crate::balance`], [`crate::breaker`], [`crate::retry`]);
//! nothing is awaited while it is held. A call holds a [`Place`] in an instance and an [`Admission`] of the breakers; both are
//! given back when dropped, so that a call that is cancelled anywhere leaves nothing behind.

use crate::{
    balance::{self, Endpoint, NoneFit, Pick},
    breaker::{self, Breaker, Permit},
    callers::Callers,
    chance::Chance,
    clients::lock,
    counts::Counts,
    fleet::{Fleet, Instance, OnDemand, Upstream},
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
    pub(crate) from: BreakerState,
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
    pub(crate) callers: Mutex<Callers>,
    pub(crate) counts: Mutex<Counts>,
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
    on_demand: Option<OnDemand>,
    /// When a call last began or ended, or the server came up.
    used: Instant,
    waking: Waking,
}

/// The one start that calls wait for, of a server that slept.
#[derive(Debug, Default)]
struct Waking {
    /// Its number.
    number: u64,
    under_way: bool,
    /// Why the last one did not come about.
    failed: Option<String>,
}

/// An instance, and the session that was last used with it.
struct Known {
    now: Instance,
    session: Option<(Session, Arc<Peer>)>,
    /// This process is being put to sleep: it gets no more calls, whatever is still told about it.
    dozes: bool,
}

impl Known {
    fn serves(&self) -> bool {
        self.now.unfit.is_none() && !self.dozes
    }
}

/// What a call that finds no place is told.
enum NoPlace {
    /// All are taken.
    Full,
    /// No instance serves.
    None(Refusal),
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
                on_demand: upstream.on_demand,
                used: now,
                waking: Waking::default(),
                exposure,
            }),
            freed: Notify::new(),
            queued: AtomicU32::new(0),
            rolling: Mutex::default(),
            callers: Mutex::new(Callers::new(now)),
            counts: Mutex::default(),
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
        let on_demand = std::mem::replace(&mut state.on_demand, upstream.on_demand);
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
                        dozes: false,
                    },
                ),
            };
            (endpoint.weight, endpoint.max_in_flight) = (weight, state.exposure.max_in_flight);
            if known.now.spawn != instance.spawn {
                endpoint.anew();
                known.session = None;
                known.dozes = false;
            }
            endpoint.available = instance.unfit.is_none() && !known.dozes;
            if !endpoint.available {
                known.session = None;
            }
            known.now = instance.clone();
            state.endpoints.push(endpoint);
            state.instances.push(known);
        }
        let after = state.serving();
        if before.is_empty() && !after.is_empty() {
            state.used = now;
        }
        let changed = before != after || on_demand != upstream.on_demand;
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

    /// Whether it sleeps while nobody calls it.
    pub(crate) fn is_on_demand(&self) -> bool {
        lock(&self.state).on_demand.is_some()
    }

    pub(crate) fn sleeps(&self) -> bool {
        lock(&self.state).on_demand.is_some_and(|it| it.asleep)
    }

    /// Whether a call may wait for it although no instance serves.
    pub(crate) fn comes(&self) -> bool {
        lock(&self.state).comes()
    }

    /// When it is to be put to sleep if no call comes before; `None` while it does not serve, or is not on demand.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let idle = state.on_demand?.idle;
        (!state.serving().is_empty()).then_some(state.used + idle)
    }

    /// Its time has come: closes it for calls and says since when nobody called. `None`, and nothing is done, when a call
    /// came in between or is under way; then the time is to be asked for again.
    ///
    /// Under the lock under which calls take their places, so that no call is sent to a process that is about to be stopped.
    pub(crate) fn doze(&self, now: Instant) -> Option<Duration> {
        let mut state = lock(&self.state);
        let idle = state.on_demand?.idle;
        let busy = self.queued() > 0 || state.endpoints.iter().any(|at| at.in_flight() > 0);
        if busy {
            state.used = now;
        }
        let unused = now.saturating_duration_since(state.used);
        if unused < idle || state.serving().is_empty() {
            return None;
        }
        let state = &mut *state;
        for (endpoint, known) in state.endpoints.iter_mut().zip(&mut state.instances) {
            (endpoint.available, known.dozes, known.session) = (false, true, None);
        }
        Some(unused)
    }

    /// It is not put to sleep after all.
    pub(crate) fn stays_awake(&self, now: Instant) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.used = now;
        for (endpoint, known) in state.endpoints.iter_mut().zip(&mut state.instances) {
            known.dozes = false;
            endpoint.available = known.serves();
        }
        self.freed.notify_waiters();
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
    /// full, and for a server on demand to wake, in a bounded queue.
    pub(crate) async fn place(
        self: &Arc<Self>,
        fleet: &Arc<dyn Fleet>,
        correlation: Option<&str>,
        prefer: Option<u32>,
        not: &[u32],
        deadline: Instant,
    ) -> Result<Place, Refusal> {
        let mut wait = match self.try_place(prefer, not) {
            Ok(place) => return Ok(place),
            Err(NoPlace::None(refusal)) if !self.comes() => return Err(refusal),
            Err(_) => self.queue()?,
        };
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let full = match self.try_place(prefer, not) {
                Ok(place) => return Ok(place),
                Err(NoPlace::Full) => true,
                Err(NoPlace::None(refusal)) => {
                    self.wake(fleet, correlation, &mut wait, refusal)?;
                    false
                }
            };
            let within = if full { wait.for_place } else { wait.for_start };
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep_until(deadline.min(wait.since + within)) => {
                    let what = if full { "no place became free" } else { "it did not start" };
                    return Err(Refusal {
                        by: RejectedBy::Queue,
                        reason: format!("{} is busy: {what} within {} ms", self.id, within.as_millis()),
                        retry_after: Some(Duration::from_secs(1)),
                    });
                }
            }
        }
    }

    /// A place in the queue.
    fn queue(&self) -> Result<Wait<'_>, Refusal> {
        let state = lock(&self.state);
        let most = state.exposure.queue;
        if self.queued.fetch_add(1, Ordering::Relaxed) >= most {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            let what = if state.serving().is_empty() {
                "is starting"
            } else {
                "is busy: all places are taken"
            };
            return Err(Refusal {
                by: RejectedBy::Queue,
                reason: format!("{} {what} and {most} calls wait", self.id),
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        Ok(Wait {
            _queued: Queued(&self.queued),
            since: Instant::now(),
            for_place: Duration::from_millis(state.exposure.queue_timeout_ms),
            for_start: state.on_demand.map_or(Duration::ZERO, |it| it.start),
            start: None,
        })
    }

    /// A call finds no instance: it begins the start, or waits for the one that is under way. A start that fails is failed for
    /// every call that waited for it; the next call begins another.
    fn wake(
        self: &Arc<Self>,
        fleet: &Arc<dyn Fleet>,
        correlation: Option<&str>,
        wait: &mut Wait<'_>,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        let limit = match state.on_demand {
            Some(it) if state.comes() => it.start,
            _ => return Err(refusal),
        };
        let waking = &mut state.waking;
        if waking.under_way {
            wait.start.get_or_insert(waking.number);
            return Ok(());
        }
        if wait.start.is_some() {
            // The start is over. Where it came about, the news of it is on its way.
            return match &waking.failed {
                Some(why) => Err(Refusal {
                    reason: format!("{} did not come up for this call: {why}", self.id),
                    ..refusal
                }),
                None => Ok(()),
            };
        }
        waking.number += 1;
        (waking.under_way, waking.failed) = (true, None);
        wait.start = Some(waking.number);
        drop(state);
        let woken = fleet.wake(&self.id, correlation, limit);
        let server = Arc::clone(self);
        // A task of its own: the call that began it may be given up.
        tokio::spawn(async move {
            let failed = woken.await.err();
            let mut state = lock(&server.state);
            (state.waking.under_way, state.waking.failed) = (false, failed);
            drop(state);
            server.freed.notify_waiters();
        });
        Ok(())
    }

    fn try_place(self: &Arc<Self>, prefer: Option<u32>, not: &[u32]) -> Result<Place, NoPlace> {
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
                state.used = Instant::now();
                let known = &state.instances[at];
                Ok(Place {
                    server: Arc::clone(self),
                    id: known.now.id.clone(),
                    spawn: known.now.spawn,
                    session: known.session.clone(),
                })
            }
            Err(NoneFit::AllFull) => Err(NoPlace::Full),
            Err(NoneFit::NoInstance) => Err(NoPlace::None(Refusal {
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
            from: change.from,
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
            .filter(|known| known.serves())
            .map(|known| (known.now.id.clone(), known.now.spawn))
            .collect()
    }

    fn comes(&self) -> bool {
        self.on_demand
            .is_some_and(|it| it.comes || self.instances.iter().any(|known| known.dozes))
    }

    fn no_instance(&self) -> String {
        let reason = self
            .instances
            .iter()
            .find_map(|known| known.now.unfit.as_deref());
        reason.unwrap_or(&self.reason).to_owned()
    }
}

/// A call in the queue.
struct Wait<'a> {
    _queued: Queued<'a>,
    since: Instant,
    for_place: Duration,
    for_start: Duration,
    /// The start that it waits for.
    start: Option<u64>,
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
                        from: change.from,
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
        state.used = Instant::now();
        drop(state);
        self.server.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
