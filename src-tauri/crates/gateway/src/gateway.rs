//! The gateway as its host and the engine hold it.

use crate::{
    cache::Cache,
    catalogue::{Catalogue, Source},
    chance::Chance,
    clients::{Clients, LEVELS, lock},
    counts::{GatewayCounts, Over, Totals},
    fault::Faults,
    fleet::{Fleet, Upstream},
    follow::{Followed, NotFollowed, Streams},
    keeper::SETTLES,
    lent::Lent,
    limit::Limits,
    news::News,
    record::Tally,
    relay::Call,
    ring::{Refusals, Ring, Rolling},
    server::{Moved, Place, Refusal, Server},
    tasks::Tasks,
};
use flotilla_contract::{
    ErrorCode, InstanceId, Millis, ServerId, WireError,
    command::HitClient,
    gateway::{
        BreakerParams, BreakerState, BreakerView, CacheClear, CacheCleared, CallEnd, CallKeeping,
        CallQuery, CallRecord, Fault, FaultParams, GatewaySpec, GatewayView, Group, PoolView,
        ServerTraffic, Traffic,
    },
    tool::Era,
};
use flotilla_mcp::{PoolStats, serve};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What was left or forgotten is looked for this often.
const SWEEP: Duration = Duration::from_secs(5);
/// From so many bytes on, what calls left in memory is worth giving back.
const MUCH: u64 = 8 << 20;
/// Nothing was carried for so long: calls have come to rest.
const REST: Duration = Duration::from_secs(1);
/// What the servers tell a model, in bytes of all.
const INSTRUCTIONS: usize = 16 << 10;

/// Milliseconds since the epoch.
pub(crate) fn wall() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since.unwrap_or_default())
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The gateway. Clones share it.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

/// A place in an instance, held until it is dropped.
pub struct Held(Place);

impl Held {
    /// Which instance.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        self.0.id()
    }
}

pub(crate) struct Inner {
    pub(crate) fleet: Arc<dyn Fleet>,
    spec: RwLock<Arc<GatewaySpec>>,
    servers: RwLock<BTreeMap<ServerId, Arc<Server>>>,
    /// By group; the whole fleet under none.
    catalogues: RwLock<HashMap<Option<String>, Arc<Catalogue>>>,
    /// Whether they are older than what the servers offer. Whoever needs them builds them anew, or [`renew`] does.
    outdated: AtomicBool,
    renew: Arc<Notify>,
    /// One rebuilding at a time, so that an older one never replaces a newer one.
    building: Mutex<()>,
    /// Places for those who ask servers what they offer.
    pub(crate) asking: Semaphore,
    pub(crate) clients: Clients,
    pub(crate) lent: Lent,
    limits: Mutex<Limits>,
    cache: RwLock<Arc<Cache>>,
    pub(crate) faults: Faults,
    ring: Mutex<Ring>,
    rolling: Mutex<Rolling>,
    /// What the gateway itself added to calls.
    added: Mutex<Rolling>,
    refusals: Mutex<Refusals>,
    totals: Mutex<Totals>,
    pub(crate) streams: Streams,
    address: Mutex<Option<String>>,
    calls: AtomicU64,
    /// Requests that were given a name of ours.
    named: AtomicU64,
    /// Bytes of calls since they last came to rest, and who waits until they do.
    carried: AtomicU64,
    much: Notify,
    pub(crate) chance: Mutex<Chance>,
    pub(crate) news: News,
    pub(crate) tasks: Tasks,
    pub(crate) ended: CancellationToken,
}

fn read<T: Clone>(lock: &RwLock<T>) -> T {
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write<T>(lock: &RwLock<T>, value: T) {
    *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl Gateway {
    /// One without servers, until the engine says which there are. Needs a Tokio runtime.
    #[must_use]
    pub fn new(fleet: Arc<dyn Fleet>, seed: u64) -> Self {
        let spec = Arc::new(GatewaySpec::default());
        let inner = Arc::new(Inner {
            fleet,
            servers: RwLock::default(),
            catalogues: RwLock::new(HashMap::from([(None, Arc::default())])),
            outdated: AtomicBool::new(false),
            renew: Arc::default(),
            building: Mutex::default(),
            asking: Semaphore::new(crate::keeper::AT_ONCE),
            clients: Clients::default(),
            lent: Lent::default(),
            limits: Mutex::new(Limits::new(&spec)),
            cache: RwLock::new(Arc::new(Cache::new(spec.cache, Instant::now()))),
            faults: Faults::default(),
            ring: Mutex::new(Ring::new(spec.calls.ring)),
            rolling: Mutex::default(),
            added: Mutex::default(),
            refusals: Mutex::default(),
            totals: Mutex::default(),
            streams: Streams::default(),
            address: Mutex::default(),
            calls: AtomicU64::new(0),
            named: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            much: Notify::new(),
            chance: Mutex::new(Chance::new(seed)),
            news: News::default(),
            tasks: Tasks::default(),
            ended: CancellationToken::new(),
            spec: RwLock::new(spec),
        });
        tokio::spawn(sweep(Arc::downgrade(&inner), inner.ended.clone()));
        tokio::spawn(renew(
            Arc::downgrade(&inner),
            Arc::clone(&inner.renew),
            inner.ended.clone(),
        ));
        Self { inner }
    }

    /// The settings in force, and every server as it is now.
    pub fn apply(&self, spec: Arc<GatewaySpec>, upstreams: Vec<Upstream>) {
        let (inner, now) = (&self.inner, Instant::now());
        let before = read(&inner.spec);
        let mut changed = before.groups != spec.groups
            || before.names != spec.names
            || before.priority != spec.priority;
        if before != spec {
            inner.refit(&spec);
        }
        let mut servers = read(&inner.servers);
        let exposed: BTreeSet<&ServerId> = upstreams
            .iter()
            .filter(|upstream| upstream.exposure.expose)
            .map(|upstream| &upstream.id)
            .collect();
        servers.retain(|id, server| {
            let stays = exposed.contains(id);
            if !stays {
                server.ended.cancel();
                changed = true;
            }
            stays
        });
        let mut come = Vec::new();
        for upstream in upstreams.iter().filter(|upstream| upstream.exposure.expose) {
            if let Some(server) = servers.get(&upstream.id) {
                changed |= server.exposure().tools != upstream.exposure.tools;
                if server.refit(upstream, now) {
                    server.look_again.notify_one();
                }
                continue;
            }
            let server = Arc::new(Server::new(upstream, inner.draw(), now));
            server.refit(upstream, now);
            servers.insert(upstream.id.clone(), Arc::clone(&server));
            come.push(server);
        }
        write(&inner.servers, servers);
        for server in come {
            tokio::spawn(crate::keeper::keep(Arc::clone(inner), server));
        }
        if changed {
            inner.outdated();
        }
    }

    /// Where clients reach it, or that nobody listens any more.
    pub fn listens(&self, address: Option<String>) {
        *lock(&self.inner.address) = address;
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        lock(&self.inner.address).clone()
    }

    /// Ends what is under way, streams included.
    pub fn end(&self) {
        self.inner.ended.cancel();
        for session in self.inner.clients.all() {
            self.inner.clients.close(&session.id);
        }
        for server in self.inner.servers() {
            server.ended.cancel();
        }
    }

    /// Waits until calls that carried much have come to rest. For one caller.
    pub async fn rested(&self) {
        let inner = &self.inner;
        inner.much.notified().await;
        loop {
            let before = inner.carried.load(Ordering::Relaxed);
            tokio::time::sleep(REST).await;
            if inner.carried.load(Ordering::Relaxed) == before {
                inner.carried.store(0, Ordering::Relaxed);
                return;
            }
        }
    }

    /// All of it, as it is now.
    pub async fn view(&self) -> GatewayView {
        let (inner, now, at) = (&self.inner, Instant::now(), wall());
        let servers = inner.servers();
        let cache = inner.cache().view(now).await;
        let mut totals = lock(&inner.rolling).traffic(now);
        totals.queued = servers.iter().map(|server| server.queued()).sum();
        let mut breakers: Vec<BreakerView> = servers
            .iter()
            .flat_map(|server| server.breakers(now, at))
            .collect();
        breakers.sort_by_key(|view| match view.state {
            BreakerState::Open => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Closed => 2,
        });
        GatewayView {
            address: self.address(),
            at,
            totals,
            added_p95_ms: lock(&inner.added).traffic(now).p95_ms,
            clients: inner.clients.view(at, now),
            breakers,
            cache,
            pools: servers
                .iter()
                .flat_map(|server| server.instances())
                .filter_map(|id| Some(pool(inner.fleet.pool(&id)?, id)))
                .collect(),
            limits: inner.limits().view(now),
            rejections: lock(&inner.refusals).view(),
            faults: inner.faults.view(at),
            servers: servers.iter().map(|server| traffic(server, now)).collect(),
        }
    }

    /// The calls of each server that clients see.
    #[must_use]
    pub fn traffic(&self) -> Vec<(ServerId, Traffic)> {
        let now = Instant::now();
        let of = |server: Arc<Server>| (server.id.clone(), lock(&server.rolling).traffic(now));
        self.inner.servers().into_iter().map(of).collect()
    }

    /// The tools of each server that were called in the last ten seconds, and how that went.
    #[must_use]
    pub fn tool_traffic(&self) -> Vec<(ServerId, Vec<(String, Traffic)>)> {
        let now = Instant::now();
        let of = |server: Arc<Server>| (server.id.clone(), lock(&server.counts).lately(now));
        self.inner.servers().into_iter().map(of).collect()
    }

    /// Follows the request of this correlation id: from its start, if it is under way or was within the last five minutes.
    ///
    /// # Errors
    /// When nobody knows it (only a request whose client sent the id can be followed), or too many follow it.
    pub fn follow(&self, request: &str) -> Result<Followed, NotFollowed> {
        self.inner.streams.follow(request)
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counts(&self) -> GatewayCounts {
        let (inner, now) = (&self.inner, Instant::now());
        let mut all = lock(&inner.totals).view();
        all.in_flight = lock(&inner.rolling).traffic(now).in_flight;
        all.clients = u32::try_from(inner.clients.view(wall(), now).len()).unwrap_or(u32::MAX);
        all.evictions = inner.cache().evictions();
        all.followed = u32::try_from(inner.streams.followed()).unwrap_or(u32::MAX);
        for server in inner.servers() {
            let mut counts = lock(&server.counts).view(&server.id);
            counts.queued = server.queued();
            all.servers.push(counts);
        }
        all
    }

    /// Calls, newest first.
    #[must_use]
    pub fn calls(&self, query: &CallQuery) -> Vec<CallRecord> {
        lock(&self.inner.ring).query(query)
    }

    /// A place in an instance of a server on demand for a call that does not come through the gateway: wakes the server, and
    /// keeps it awake until it is dropped. `None` for any other server.
    ///
    /// # Errors
    /// When it does not come up, or all places are taken, as a sentence without a final period.
    pub async fn hold(
        &self,
        id: &ServerId,
        prefer: Option<u32>,
        correlation: &str,
        limit: Duration,
    ) -> Result<Option<Held>, String> {
        let Some(server) = self.inner.server(id).filter(|server| server.is_on_demand()) else {
            return Ok(None);
        };
        let deadline = Instant::now() + limit;
        let fleet = &self.inner.fleet;
        server
            .place(fleet, Some(correlation), prefer, &[], deadline)
            .await
            .map(|place| Some(Held(place)))
            .map_err(|refusal| refusal.reason)
    }

    /// Who called these servers in the last ten minutes, the busiest first, and how many calls are under way there.
    #[must_use]
    pub fn hit(&self, servers: &[ServerId]) -> (Vec<HitClient>, u32) {
        let now = Instant::now();
        let mut calls: BTreeMap<String, (u32, f64)> = BTreeMap::new();
        let mut in_flight = 0;
        for server in servers.iter().filter_map(|id| self.inner.server(id)) {
            in_flight += lock(&server.rolling).traffic(now).in_flight;
            let callers = lock(&server.callers);
            let span = callers.covered(now).as_secs_f64().max(1.0);
            for (client, count) in callers.lately(now) {
                let all = calls.entry(client).or_default();
                all.0 += count;
                all.1 += f64::from(count) / span;
            }
        }
        let mut clients: Vec<HitClient> = calls
            .into_iter()
            .map(|(client, (calls, per_second))| HitClient {
                client,
                calls,
                per_second,
            })
            .collect();
        clients.sort_by_key(|client| std::cmp::Reverse(client.calls));
        (clients, in_flight)
    }

    /// What an operator does with a breaker, and what it is then.
    ///
    /// # Errors
    /// `not_found` for a server that clients do not see, `unsupported` where breakers are off.
    pub fn act(&self, params: &BreakerParams) -> Result<BreakerView, WireError> {
        let server = self.inner.server(&params.server).ok_or_else(|| {
            WireError::new(
                ErrorCode::NotFound,
                format!(
                    "find a breaker: {} is not behind the gateway",
                    params.server
                ),
            )
        })?;
        if !server.exposure().breaker.enabled {
            return Err(WireError::new(
                ErrorCode::Unsupported,
                format!(
                    "change the breaker of {}: it is switched off in fleet.toml",
                    params.server
                ),
            ));
        }
        let known = |tool: &String| {
            server
                .offer()
                .is_none_or(|offer| offer.tool(tool).is_some())
        };
        if let Some(tool) = params.tool.as_ref().filter(|tool| !known(tool)) {
            return Err(WireError::new(
                ErrorCode::NotFound,
                format!("find a breaker: {} offers no tool {tool:?}", params.server),
            ));
        }
        let (view, moved) = server.act(params.tool.as_deref(), params.act, Instant::now(), wall());
        self.inner.moved(&server, moved);
        Ok(view)
    }

    /// Takes answers out of the cache.
    ///
    /// # Errors
    /// `bad_request` for a tool without its server.
    pub async fn clear_cache(&self, params: &CacheClear) -> Result<CacheCleared, WireError> {
        if params.tool.is_some() && params.server.is_none() {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                "clear the cache: tool needs server",
            ));
        }
        let entries = self.inner.cache().clear(params).await;
        Ok(CacheCleared { entries })
    }

    /// Injects a fault, or ends one; gives those under way.
    ///
    /// # Errors
    /// `bad_request` for figures out of range.
    pub fn inject(&self, params: &FaultParams) -> Result<Vec<Fault>, WireError> {
        self.inner.faults.set(params, wall())
    }

    pub(crate) fn has_group(&self, name: &str) -> bool {
        read(&self.inner.spec)
            .groups
            .iter()
            .any(|group| group.name == name)
    }

    /// The result of `initialize`.
    pub(crate) fn introduce(&self, group: Option<&str>, version: &str) -> String {
        let mut result = serde_json::json!({
            "protocolVersion": version,
            "capabilities": self.capabilities(group, Era::Legacy),
            "serverInfo": us(),
        });
        if let Some(instructions) = self.instructions(group) {
            result["instructions"] = instructions.into();
        }
        result.to_string()
    }

    /// The result of `server/discover`.
    pub(crate) fn discover(&self, group: Option<&str>) -> Box<RawValue> {
        let mut result = serde_json::json!({
            "resultType": "complete",
            "supportedVersions": serve::VERSIONS,
            "capabilities": self.capabilities(group, Era::Modern),
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": { "io.modelcontextprotocol/serverInfo": us() },
        });
        if let Some(instructions) = self.instructions(group) {
            result["instructions"] = instructions.into();
        }
        RawValue::from_string(result.to_string()).unwrap_or_default()
    }

    /// What can be asked of the fleet. Servers come and go while a session lasts, so all lists are declared; what needs a
    /// server that knows it is declared when one does.
    fn capabilities(&self, group: Option<&str>, era: Era) -> serde_json::Value {
        let catalogue = self.inner.catalogue(group);
        let mut all = serde_json::json!({
            "tools": { "listChanged": true },
            "prompts": { "listChanged": true },
            "resources": { "listChanged": true, "subscribe": true },
        });
        if catalogue.completions {
            all["completions"] = serde_json::json!({});
        }
        if catalogue.logging {
            all["logging"] = serde_json::json!({});
        }
        if era == Era::Modern && !catalogue.extensions.is_empty() {
            all["extensions"] = catalogue
                .extensions
                .iter()
                .cloned()
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        all
    }

    /// What the servers tell a model, one after the other.
    fn instructions(&self, group: Option<&str>) -> Option<String> {
        let mut text = String::new();
        for server in self.inner.members(group) {
            let Some(offer) = server.offer() else {
                continue;
            };
            let Some(says) = &offer.peer.instructions else {
                continue;
            };
            if text.len() + says.len() > INSTRUCTIONS {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&format!("# {}\n{says}", server.id));
        }
        (!text.is_empty()).then_some(text)
    }
}

fn us() -> serde_json::Value {
    serde_json::json!({ "name": "flotilla", "title": "Flotilla", "version": env!("CARGO_PKG_VERSION") })
}

fn pool(stats: PoolStats, instance: InstanceId) -> PoolView {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    PoolView {
        instance,
        open: count(stats.open),
        in_use: count(stats.in_use),
        max: count(stats.max),
        waiting: count(stats.waiting),
        oldest_wait_ms: stats.oldest_wait.unwrap_or_default().as_secs_f64() * 1_000.0,
        state: stats.state,
        reason: stats.reason,
    }
}

fn traffic(server: &Arc<Server>, now: Instant) -> ServerTraffic {
    let offer = server.offer();
    let legacy = offer
        .as_ref()
        .is_some_and(|offer| offer.peer.era == Era::Legacy);
    let lost = match (legacy, server.is_per_client()) {
        (true, false) => vec!["It cannot ask its clients anything (sampling, elicitation, roots): its connection is shared".to_owned()],
        _ => Vec::new(),
    };
    let mut traffic = lock(&server.rolling).traffic(now);
    traffic.queued = server.queued();
    ServerTraffic {
        server: server.id.clone(),
        traffic,
        era: offer.as_ref().map(|offer| offer.peer.era),
        offers: offer
            .as_ref()
            .map(|offer| offer.counts())
            .unwrap_or_default(),
        withdrawn: server.withdrawn(),
        asleep: server.sleeps(),
        lost,
        instances: server.endpoints(now),
    }
}

impl Inner {
    fn refit(&self, spec: &Arc<GatewaySpec>) {
        lock(&self.limits).refit(spec);
        if read(&self.spec).cache != spec.cache {
            write(
                &self.cache,
                Arc::new(Cache::new(spec.cache, Instant::now())),
            );
        }
        lock(&self.ring).refit(spec.calls.ring);
        write(&self.spec, Arc::clone(spec));
    }

    fn draw(&self) -> u64 {
        lock(&self.chance).draw()
    }

    pub(crate) fn limits(&self) -> MutexGuard<'_, Limits> {
        lock(&self.limits)
    }

    /// What is kept of calls.
    pub(crate) fn keeping(&self) -> CallKeeping {
        let spec = self.spec.read().unwrap_or_else(PoisonError::into_inner);
        spec.calls
    }

    pub(crate) fn cache(&self) -> Arc<Cache> {
        read(&self.cache)
    }

    pub(crate) fn server(&self, id: &ServerId) -> Option<Arc<Server>> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(id).cloned()
    }

    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.values().cloned().collect()
    }

    /// The servers of an endpoint.
    fn members(&self, group: Option<&str>) -> Vec<Arc<Server>> {
        let spec = read(&self.spec);
        let group: Option<&Group> =
            group.and_then(|name| spec.groups.iter().find(|group| group.name == name));
        let mut servers = self.servers();
        if let Some(group) = group {
            servers.retain(|server| group.servers.contains(&server.id));
        }
        servers
    }

    /// The lists of an endpoint; empty for one that is not there any more.
    pub(crate) fn catalogue(&self, group: Option<&str>) -> Arc<Catalogue> {
        self.rebuild();
        let all = self
            .catalogues
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let key = group.map(ToOwned::to_owned);
        all.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn resource_server(&self, group: Option<&str>, uri: &str) -> Option<Arc<Server>> {
        let catalogue = self.catalogue(group);
        self.server(catalogue.resource(uri).ok()?)
    }

    /// A server offers something else than before.
    pub(crate) fn outdated(&self) {
        self.outdated.store(true, Ordering::Release);
        self.renew.notify_one();
    }

    /// Builds all lists anew if they are outdated, and tells clients which changed.
    fn rebuild(&self) {
        if !self.outdated.load(Ordering::Acquire) {
            return;
        }
        let _turn = lock(&self.building);
        // Before anything is read: what changes from here on makes them outdated again.
        if !self.outdated.swap(false, Ordering::AcqRel) {
            return;
        }
        let spec = read(&self.spec);
        let groups =
            std::iter::once(None).chain(spec.groups.iter().map(|group| Some(group.name.clone())));
        let mut all = HashMap::new();
        for group in groups {
            let sources: Vec<Source> = self
                .members(group.as_deref())
                .into_iter()
                .filter_map(|server| {
                    Some(Source {
                        id: server.id.clone(),
                        exposure: server.exposure(),
                        offer: server.offer()?,
                    })
                })
                .collect();
            all.insert(group, Arc::new(Catalogue::of(&spec, &sources)));
        }
        let before = read(&self.catalogues);
        write(&self.catalogues, all.clone());
        for (group, now) in &all {
            let changed = match before.get(group) {
                Some(before) => now.differs_from(before),
                None => continue,
            };
            self.announce(group.as_deref(), changed);
        }
    }

    /// The most talkative level that any client asked for.
    pub(crate) fn level(&self) -> Option<String> {
        let wanted: Vec<String> = self
            .clients
            .all()
            .iter()
            .filter_map(|session| session.level())
            .collect();
        LEVELS
            .into_iter()
            .find(|level| wanted.iter().any(|wanted| wanted == level))
            .map(ToOwned::to_owned)
    }

    pub(crate) fn level_changed(&self) {
        for server in self.servers() {
            server.look_again.notify_one();
        }
    }

    /// A call is refused.
    pub(crate) fn reject(
        &self,
        call: &Call,
        server: Option<&ServerId>,
        tool: Option<&str>,
        refusal: &Refusal,
    ) {
        lock(&self.refusals).note(
            refusal.by,
            server,
            tool,
            &call.identity.name,
            &refusal.reason,
            wall(),
        );
        match server.and_then(|id| self.server(id)) {
            Some(server) => lock(&server.counts).refused.note(refusal.by),
            None => lock(&self.totals).refused.note(refusal.by),
        }
    }

    /// Breakers moved.
    pub(crate) fn moved(&self, server: &Server, moved: Vec<Moved>) {
        for moved in moved {
            lock(&server.counts).moved(moved.tool.as_deref(), moved.from, moved.to);
            self.fleet
                .breaker(&server.id, moved.tool.as_deref(), moved.to, &moved.reason);
        }
    }

    /// Tells one request from all others, those of former engines too.
    pub(crate) fn correlation(&self) -> String {
        let number = self.named.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{number:x}-{:x}", wall())
    }

    /// A call is under way.
    pub(crate) fn begun(&self, call: &Call, server: Option<&Server>) {
        lock(&self.rolling).begun();
        lock(&call.known.rolling).begun();
        if let Some(server) = server {
            lock(&server.rolling).begun();
            lock(&server.callers).note(&call.identity.name, Instant::now());
        }
    }

    /// A call is over.
    pub(crate) fn keep(&self, mut tally: Tally, call: &Call, server: Option<&Server>) {
        let now = Instant::now();
        let ended = tally.ended();
        lock(&self.rolling).ended(ended, now);
        lock(&call.known.rolling).ended(ended, now);
        if let Some(server) = server {
            lock(&server.rolling).ended(ended, now);
            let over = Over {
                method: &call.method,
                tool: tally.tool(&call.method),
                ended,
                bytes: tally.bytes_out(),
                trace: call.trace.as_deref(),
            };
            lock(&server.counts).note(&over, now);
        }
        let added = (ended.end == CallEnd::Ok && !ended.cached)
            .then(|| ended.took.saturating_sub(tally.upstream));
        if let Some(added) = added {
            lock(&self.added).timed(added, now);
        }
        lock(&self.totals).note(ended.end, added);
        // What an answer weighed that broke off, or was too long, nobody counted.
        let uncounted = match ended.end {
            CallEnd::Failed | CallEnd::Cancelled => MUCH,
            _ => 0,
        };
        let bytes = tally.bytes() + uncounted;
        let before = self.carried.fetch_add(bytes, Ordering::Relaxed);
        if before < MUCH && before + bytes >= MUCH {
            self.much.notify_one();
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        // What went wrong is worth keeping whatever the share of the rest.
        let stored = ended.end != CallEnd::Ok || lock(&self.chance).unit() < self.keeping().sample;
        let content = tally.take_content();
        let record = Arc::new(tally.record(number, call, stored));
        if stored {
            self.fleet.keep(&record, content);
        }
        lock(&self.ring).push(record);
    }
}

/// Keeps the lists up to date when nobody asks for them. A fleet that starts changes them many times within a moment.
async fn renew(inner: Weak<Inner>, changed: Arc<Notify>, ended: CancellationToken) {
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            () = changed.notified() => {}
        }
        match inner.upgrade() {
            Some(inner) => inner.rebuild(),
            None => return,
        }
        tokio::time::sleep(SETTLES).await;
    }
}

/// Forgets what was left behind.
async fn sweep(inner: Weak<Inner>, ended: CancellationToken) {
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.clients.sweep();
        inner.lent.sweep(Instant::now());
        inner.limits().sweep(Instant::now());
        let open: std::collections::HashSet<String> = inner
            .clients
            .all()
            .iter()
            .map(|session| session.id.clone())
            .collect();
        for server in inner.servers() {
            server
                .unwatch_all(|watcher| !watcher.starts_with("stream ") && !open.contains(watcher));
        }
        let idle: HashMap<ServerId, Duration> = inner
            .servers()
            .iter()
            .map(|server| {
                (
                    server.id.clone(),
                    Duration::from_millis(server.exposure().client_idle_ms),
                )
            })
            .collect();
        for session in inner.clients.all() {
            let now = Instant::now();
            if let Ok(mut own) = session.own.try_lock() {
                own.retain(|id, own| {
                    idle.get(id)
                        .is_some_and(|idle| now.duration_since(own.used) < *idle)
                });
            }
        }
    }
}
