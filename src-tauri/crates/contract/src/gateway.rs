//! The gateway: what `fleet.toml` declares about it, and what it shows.

use crate::{InstanceId, Millis, ServerId, tool::Era};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

// ---------------------------------------------------------------------------------------------- declared

/// `[gateway]` of `fleet.toml`, every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GatewaySpec {
    /// Whether clients are served at all (default true).
    pub enabled: bool,
    /// Port of `/mcp` (default: 8720, or a free one that is remembered; 0 means any free one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What happens when two servers offer the same name (default `prefix`).
    pub names: NamePolicy,
    /// With `priority`: servers in the order in which they keep a plain name; those not named come last, by name.
    pub priority: Vec<ServerId>,
    /// Endpoints that show some of the servers only, each at `/mcp/NAME`.
    pub groups: Vec<Group>,
    /// Token bucket for each client and tool (default: none; in production 100 burst, 10 per second).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_rate: Option<Bucket>,
    /// Requests of one client in a sliding window (default: none; in production 100 in 60 s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_rate: Option<Window>,
    /// The cache of answers.
    pub cache: CacheSpec,
    /// What is kept of calls.
    pub calls: CallKeeping,
}

impl Default for GatewaySpec {
    fn default() -> Self {
        Self {
            enabled: true,
            port: None,
            names: NamePolicy::default(),
            priority: Vec::new(),
            groups: Vec::new(),
            tool_rate: None,
            client_rate: None,
            cache: CacheSpec::default(),
            calls: CallKeeping::default(),
        }
    }
}

/// How names of several servers live side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamePolicy {
    /// Always `server__name`.
    #[default]
    Prefix,
    /// Plain names; the server first in `priority` keeps it, the others' are prefixed.
    Priority,
    /// Plain names; one that is taken twice is shown for neither until one is renamed or hidden.
    Manual,
}

/// Servers behind an endpoint of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// Its name, in the address `/mcp/NAME`.
    pub name: String,
    /// Its servers.
    pub servers: Vec<ServerId>,
}

/// A token bucket: `burst` at once, then `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// Calls at once, 1 to 1,000,000.
    pub burst: u32,
    /// Calls per second from then on, more than 0.
    pub per_second: f64,
}

/// At most so many requests in any span of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// Requests, 1 to 1,000,000.
    pub requests: u32,
    /// Length in milliseconds.
    pub span_ms: u64,
}

/// The cache as a whole; which tools it serves is said at each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheSpec {
    /// Answers kept (default 10,000).
    pub entries: u64,
    /// Bytes kept, keys included (default 100 MiB).
    pub bytes: u64,
    /// How long an answer of a listed tool is good, in milliseconds, unless its line says otherwise (default 1 h).
    pub ttl_ms: u64,
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 100 << 20,
            ttl_ms: 3_600_000,
        }
    }
}

/// What is kept of calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallKeeping {
    /// Calls kept in memory (default 2,000).
    pub ring: u32,
    /// Share of the successful calls that are kept on disk, 0 to 1 (default 0.01). Those that end otherwise are always kept.
    pub sample: f64,
    /// Whether arguments and results of the calls on disk are kept too (default no).
    pub bodies: bool,
}

impl Default for CallKeeping {
    fn default() -> Self {
        Self {
            ring: 2_000,
            sample: 0.01,
            bodies: false,
        }
    }
}

/// `[servers.NAME.gateway]`, every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exposure {
    /// Whether clients see this server (default true).
    pub expose: bool,
    /// Whose connection a call travels on (default `shared`).
    pub sharing: Sharing,
    /// With `per_client`: clients that may have a connection of their own (default 32).
    pub max_clients: u32,
    /// With `per_client`: closed after this long without a call, in milliseconds (default 10 min).
    pub client_idle_ms: u64,
    /// How its instances are chosen (default `p2c`).
    pub balance: Balance,
    /// With `weighted_round_robin`: weights of instances 1, 2, …; those not named weigh 1.
    pub weights: Vec<u32>,
    /// Calls under way in one instance (default 100).
    pub max_in_flight: u32,
    /// Calls that may wait for a place; more are refused (default 100).
    pub queue: u32,
    /// How long one may wait for a place, in milliseconds (default 10 s).
    pub queue_timeout_ms: u64,
    /// From a request, or its last progress, to giving up, in milliseconds (default 60 s).
    pub timeout_ms: u64,
    /// In all, retries and waits included, in milliseconds (default 5 min).
    pub total_timeout_ms: u64,
    /// Connections to one instance over HTTP.
    pub pool: PoolSpec,
    /// When a call is tried again.
    pub retry: RetrySpec,
    /// When calls are held back from a server that fails.
    pub breaker: BreakerSpec,
    /// What is said about single tools, by the server's own name of the tool.
    pub tools: BTreeMap<String, ToolSpec>,
}

impl Default for Exposure {
    fn default() -> Self {
        Self {
            expose: true,
            sharing: Sharing::default(),
            max_clients: 32,
            client_idle_ms: 600_000,
            balance: Balance::default(),
            weights: Vec::new(),
            max_in_flight: 100,
            queue: 100,
            queue_timeout_ms: 10_000,
            timeout_ms: 60_000,
            total_timeout_ms: 300_000,
            pool: PoolSpec::default(),
            retry: RetrySpec::default(),
            breaker: BreakerSpec::default(),
            tools: BTreeMap::new(),
        }
    }
}

impl Exposure {
    /// Whether nothing is said that differs from the defaults.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose connection a call to a server travels on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One connection for all clients. It declares no client capabilities to a legacy server, so that one cannot ask its
    /// clients anything (sampling, elicitation, roots).
    #[default]
    Shared,
    /// A connection for each client that can be asked, with that client's capabilities: the server may ask it. A server over its
    /// standard streams has a process for each.
    PerClient,
}

/// How an instance is chosen among those that serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Of two drawn by lot, the one with fewer calls under way, weighed by its answer time.
    #[default]
    P2c,
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest calls under way.
    LeastConnections,
    /// Each in turn, as often as its weight.
    WeightedRoundRobin,
    /// By lot.
    Random,
    /// The one with the best score.
    HealthBased,
    /// The one with the lowest answer time.
    ResponseTimeBased,
}

/// Connections to one instance that speaks plain HTTP on this machine. Elsewhere connections are kept by the HTTP client's own
/// rules, and a server on standard streams has its one pair of pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolSpec {
    /// Once opened, kept however long they are idle (default 1; in production 5).
    pub min: u32,
    /// Calls on a connection at once; more wait, as long as `queue_timeout_ms` says (default 50; in development 5, in test 2).
    pub max: u32,
    /// Beyond `min`: closed after this long without use, in milliseconds (default 10 min).
    pub idle_ms: u64,
    /// Not used again at this age, in milliseconds (default 1 h).
    pub age_ms: u64,
    /// How long opening one may take, in milliseconds (default 10 s).
    pub connect_timeout_ms: u64,
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self {
            min: 1,
            max: 50,
            idle_ms: 600_000,
            age_ms: 3_600_000,
            connect_timeout_ms: 10_000,
        }
    }
}

/// When a call is tried again. Only a call that provably did not run, or whose tool is declared idempotent or read-only, ever is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetrySpec {
    /// How the waits grow.
    pub strategy: Backoff,
    /// The first wait, in milliseconds.
    pub base_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// With `linear`: how much each wait is longer than the one before, in milliseconds.
    pub step_ms: u64,
    /// With `exponential` and `adaptive`: by how much each wait is multiplied (default 2).
    pub multiplier: f64,
    /// Tries in all, the first included, 1 to 20.
    pub attempts: u32,
    /// Random share by which a wait may shrink or grow, 0 to 1 (default 0.1).
    pub jitter: f64,
    /// Which failures are tried again.
    pub on: Vec<FailureClass>,
    /// Retries allowed per call sent, over the last ten seconds: 0.2 means one retry for five calls (default 0.2; three are
    /// always allowed).
    pub budget: f64,
}

impl Default for RetrySpec {
    fn default() -> Self {
        RetryPreset::Quick.spec()
    }
}

/// How waits between tries grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// `base · multiplierⁿ`.
    #[default]
    Exponential,
    /// `base + n · step`.
    Linear,
    /// Exponential; halved while four of five calls succeed, doubled while fewer than three of ten do.
    Adaptive,
}

/// A retry policy with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryPreset {
    /// Exponential, 100 ms to 5 s, 3 tries, every class that can be tried again.
    Quick,
    /// Exponential, 1 s to 30 s, 5 tries, every class that can be tried again.
    Standard,
    /// Exponential, 500 ms to 10 s, 4 tries, network and time-outs.
    Network,
    /// Linear, 2 s and 1 s more each time up to 30 s, 3 tries, throttled only.
    Throttle,
    /// Never.
    None,
}

impl RetryPreset {
    /// What it stands for. Figures: seed document 004 and its upstream's retry policies.
    #[must_use]
    pub fn spec(self) -> RetrySpec {
        use FailureClass::{Network, Retryable, Throttled, Timeout};
        let (strategy, base_ms, max_ms, attempts) = match self {
            Self::Quick => (Backoff::Exponential, 100, 5_000, 3),
            Self::Standard => (Backoff::Exponential, 1_000, 30_000, 5),
            Self::Network => (Backoff::Exponential, 500, 10_000, 4),
            Self::Throttle => (Backoff::Linear, 2_000, 30_000, 3),
            Self::None => (Backoff::Exponential, 100, 5_000, 1),
        };
        let on = match self {
            Self::Quick | Self::Standard => vec![Retryable, Network, Timeout, Throttled],
            Self::Network => vec![Network, Timeout],
            Self::Throttle => vec![Throttled],
            Self::None => Vec::new(),
        };
        RetrySpec {
            strategy,
            base_ms,
            max_ms,
            step_ms: 1_000,
            multiplier: 2.0,
            attempts,
            jitter: 0.1,
            on,
            budget: 0.2,
        }
    }
}

/// Why a call failed, as far as trying again is concerned.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Nothing speaks against another try.
    Retryable,
    /// Another try would fail as well, or was not wanted (cancelled).
    NonRetryable,
    /// The server asked for patience.
    Throttled,
    /// The server was not reached, or the connection broke.
    Network,
    /// No answer in time.
    Timeout,
    /// The server does not let us in.
    Auth,
    /// The server does not accept the arguments.
    Validation,
}

/// When calls are held back. One breaker for each server and one for each of its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerSpec {
    /// Whether there is one (default true).
    pub enabled: bool,
    /// Failures in a row that open it (default 5).
    pub failures: u32,
    /// Successes in a row that close it again (default 3).
    pub successes: u32,
    /// How long it stays open before calls are let through on trial, in milliseconds (default 30 s).
    pub open_ms: u64,
    /// Calls on trial at once (default 3).
    pub half_open: u32,
}

impl Default for BreakerSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            failures: 5,
            successes: 3,
            open_ms: 30_000,
            half_open: 3,
        }
    }
}

/// What is said about one tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSpec {
    /// Another name for clients (without the server's prefix).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another description for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether clients do not see it (default false).
    #[serde(default)]
    pub hidden: bool,
    /// Whether calling it twice is as good as once, whatever its annotations say (default: its annotations decide).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Its own retry policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// How long an answer may be given again, in milliseconds (default: never; equal arguments only, errors never).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ttl_ms: Option<u64>,
}

// ---------------------------------------------------------------------------------------------- observed

/// The gateway as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayView {
    /// Where clients reach it; absent while nothing listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When this was taken.
    pub at: Millis,
    /// Everything together.
    pub totals: Traffic,
    /// Time that the gateway itself added to a call, 95 of 100, in milliseconds.
    pub added_p95_ms: f64,
    /// The servers that clients see, by name.
    pub servers: Vec<ServerTraffic>,
    /// The clients of the last hour, the busiest first.
    pub clients: Vec<ClientTraffic>,
    /// Breakers that have seen a call, those not closed first.
    pub breakers: Vec<BreakerView>,
    /// The cache.
    pub cache: CacheView,
    /// Pools, one for each instance that speaks plain HTTP on this machine. Other connections are not counted.
    pub pools: Vec<PoolView>,
    /// Rate limits in force; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsView>,
    /// Why calls were not let through, the latest first.
    pub rejections: Vec<Rejection>,
    /// Faults that are injected on purpose; the panel marks them as long as they last.
    pub faults: Vec<Fault>,
}

/// Calls, over the last ten seconds and since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Calls per second.
    pub per_second: f64,
    /// Share that failed, 0 to 1 (a tool's own error is a failure).
    pub error_share: f64,
    /// Half were answered within, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100, in milliseconds.
    pub p95_ms: f64,
    /// 99 of 100, in milliseconds.
    pub p99_ms: f64,
    /// Answers from the cache per second.
    pub cached_per_second: f64,
    /// Refusals per second.
    pub rejected_per_second: f64,
    /// Under way now.
    pub in_flight: u32,
    /// Waiting for a place now.
    pub queued: u32,
    /// Calls since the start.
    pub calls: u64,
    /// Failed since the start.
    pub errors: u64,
    /// Refused since the start.
    pub rejected: u64,
    /// Answered from the cache since the start.
    pub cached: u64,
    /// Tries beyond the first since the start.
    pub retries: u64,
}

/// One server as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerTraffic {
    /// Which.
    pub server: ServerId,
    /// Its calls.
    pub traffic: Traffic,
    /// Its era, when it was greeted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    /// Tools, prompts and resources that clients see.
    pub offers: Offers,
    /// Why clients do not see it, as a sentence; absent when they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// It sleeps: the next call starts it. What it offers is listed all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asleep: bool,
    /// What its clients lose through being shared or through translation, each a sentence.
    pub lost: Vec<String>,
    /// Its instances.
    pub instances: Vec<EndpointView>,
}

/// How much a server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Offers {
    /// Tools.
    pub tools: u32,
    /// Prompts.
    pub prompts: u32,
    /// Resources and templates.
    pub resources: u32,
}

/// One instance as the balancer sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointView {
    /// Which.
    pub instance: InstanceId,
    /// From 0 to 1: a success brings it a tenth of the way to 1, a failure takes a fifth of it.
    pub score: f64,
    /// Whether it gets calls.
    pub available: bool,
    /// Why not, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Smoothed answer time, in milliseconds.
    pub response_ms: f64,
    /// Calls under way.
    pub in_flight: u32,
    /// Failures in a row.
    pub failures: u32,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientTraffic {
    /// What it calls itself, or where it comes from.
    pub client: String,
    /// Its version, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `http`, or `stdio` through `flotilla connect`.
    pub transport: String,
    /// Its protocol version.
    pub protocol: String,
    /// Its era.
    pub era: Era,
    /// Sessions open now (legacy clients only).
    pub sessions: u32,
    /// Its calls.
    pub traffic: Traffic,
    /// When it was last heard.
    pub last_seen: Millis,
    /// Whether it has ever asked for the tools: a client that did is connected in earnest.
    pub listed_tools: bool,
}

/// Where a breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    #[default]
    Closed,
    /// Calls are refused until `next`.
    Open,
    /// Some calls pass on trial.
    HalfOpen,
}

/// One breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerView {
    /// Its server.
    pub server: ServerId,
    /// Its tool; absent for the breaker of the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Where it is.
    pub state: BreakerState,
    /// Since when.
    pub since: Millis,
    /// Why it is open, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Failures in a row, of `limit`.
    pub failures: u32,
    /// Failures in a row that open it.
    pub limit: u32,
    /// While half open: successes so far.
    pub successes: u32,
    /// While half open: successes that close it.
    pub needed: u32,
    /// Calls refused since the start.
    pub rejected: u64,
    /// How often it opened in the last hour.
    pub opens_last_hour: u32,
    /// While open: when calls are let through on trial; absent when an operator tripped it for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Millis>,
    /// Whether an operator tripped it.
    pub tripped: bool,
}

/// The cache in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheView {
    /// Answers kept.
    pub entries: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// Bytes that may be kept.
    pub max_bytes: u64,
    /// Answers given again, since the start.
    pub hits: u64,
    /// Asked for and not there, since the start.
    pub misses: u64,
    /// Server time saved since the start, in milliseconds.
    pub saved_ms: f64,
    /// By server and tool, the most used first.
    pub tools: Vec<CachedTool>,
    /// Tools that could be listed: read-only by their annotations, and equal questions got equal answers.
    pub candidates: Vec<CacheCandidate>,
}

/// One tool in the cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CachedTool {
    /// Its server.
    pub server: ServerId,
    /// Its name at the server.
    pub tool: String,
    /// Given again.
    pub hits: u64,
    /// Not there.
    pub misses: u64,
    /// Server time saved, in milliseconds.
    pub saved_ms: f64,
}

/// A tool that the cache could serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheCandidate {
    /// Its server.
    pub server: ServerId,
    /// Its name at the server.
    pub tool: String,
    /// Questions that came again within an hour.
    pub repeated: u64,
    /// Of these, how many got the same answer.
    pub equal: u64,
}

/// Connections to one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolView {
    /// Which.
    pub instance: InstanceId,
    /// Open, idle ones and those of the engine itself included.
    pub open: u32,
    /// Calls that travel on one.
    pub in_use: u32,
    /// Calls that may at once.
    pub max: u32,
    /// Calls that wait for their turn.
    pub waiting: u32,
    /// How long the oldest has waited, in milliseconds.
    pub oldest_wait_ms: f64,
    /// Where the pool is.
    pub state: PoolState,
    /// Why, when it is in trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where the connection to an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolState {
    /// None open, none wanted.
    #[default]
    Disconnected,
    /// The first is being opened.
    Connecting,
    /// At least one is open.
    Connected,
    /// The last try failed, another one is under way.
    Reconnecting,
    /// The last try failed; the next call, or health check, tries again.
    Error,
}

/// Rate limits and who met them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsView {
    /// For each client and tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_rate: Option<Bucket>,
    /// For each client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_rate: Option<Window>,
    /// Buckets and windows in memory.
    pub tracked: u32,
    /// Refused in the last 30 minutes.
    pub refused: u64,
    /// Those that were refused, the most first.
    pub met: Vec<LimitMet>,
}

/// A client that met a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitMet {
    /// Which client.
    pub client: String,
    /// At which tool; absent for the limit over all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// How often.
    pub refused: u64,
    /// Last when.
    pub last: Millis,
}

/// Why a call was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectedBy {
    /// A breaker is open.
    Breaker,
    /// A rate limit.
    Limit,
    /// No place within the time, or the queue is full.
    Queue,
    /// No instance serves.
    NoInstance,
    /// No such tool, prompt or resource.
    Unknown,
}

/// Refusals of one kind, run together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// The last one.
    pub last: Millis,
    /// The first one.
    pub first: Millis,
    /// How many.
    pub count: u64,
    /// What refused.
    pub by: RejectedBy,
    /// The server, where one was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// The tool, where one was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Who called.
    pub client: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// What came of a call through the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// An answer.
    Ok,
    /// The tool says that it failed.
    ToolError,
    /// The server answered with a protocol error.
    RpcError,
    /// No answer: the server was not reached, broke off, or was too slow.
    Failed,
    /// Not let through.
    Rejected,
    /// Given up by the client.
    Cancelled,
}

/// One call through the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallRecord {
    /// Number in this boot.
    pub call: u64,
    /// When it came.
    pub at: Millis,
    /// Who called.
    pub client: String,
    /// The method, for instance `tools/call`.
    pub method: String,
    /// The server; absent when none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// The instance that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// The server's own name of the tool or prompt, or the URI of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// In all, in milliseconds.
    pub duration_ms: f64,
    /// Of that, in the server (the last try), in milliseconds.
    pub upstream_ms: f64,
    /// Bytes of the request's parameters.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// What came.
    pub end: CallEnd,
    /// Why, when it is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Answered from the cache.
    pub cached: bool,
    /// Tries beyond the first.
    pub retries: u32,
    /// Joins this call with log lines and events.
    pub correlation: String,
    /// The trace that the client says it is part of, 32 hexadecimal digits: from `traceparent`, in `_meta` or as a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Whether it is kept on disk.
    #[serde(default)]
    pub stored: bool,
}

/// Which of the calls on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallPick {
    /// Its number.
    pub call: u64,
    /// When it came.
    pub at: Millis,
}

/// A call that is kept on disk, with what is kept of its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallDetail {
    /// The call.
    pub record: CallRecord,
    /// Its arguments, JSON text as the client wrote it, with what looks like a secret masked. Absent when not kept or longer
    /// than 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Its result, or the error, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// A fault injected on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// The server it befalls.
    pub server: ServerId,
    /// One tool only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Added to each call, in milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
    /// Share of calls that fail before they reach the server, 0 to 1.
    #[serde(default)]
    pub errors: f64,
    /// Share of calls that are never answered, 0 to 1 (they end at their time limit).
    #[serde(default)]
    pub drops: f64,
    /// When it ends by itself.
    pub until: Millis,
}

// ---------------------------------------------------------------------------------------------- commands

/// Which calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallQuery {
    /// Of this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// Of this client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// With this text in target, reason, correlation id or trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only those that ended so; empty means all.
    #[serde(default)]
    pub ends: Vec<CallEnd>,
    /// Those on disk that came before this; absent means those in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Millis>,
    /// At most (default 200, up to 2,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl CallQuery {
    /// Whether a call is one of those asked for, whenever it came.
    #[must_use]
    pub fn fits(&self, call: &CallRecord) -> bool {
        let holds = |field: Option<&str>| {
            self.text.as_deref().is_none_or(|text| {
                field.is_some_and(|field| field.to_lowercase().contains(&text.to_lowercase()))
            })
        };
        (self.server.is_none() || self.server == call.server)
            && self.client.as_ref().is_none_or(|it| *it == call.client)
            && (self.ends.is_empty() || self.ends.contains(&call.end))
            && (holds(call.target.as_deref())
                || holds(call.reason.as_deref())
                || holds(Some(&call.correlation))
                || holds(call.trace.as_deref()))
    }

    /// How many are given at most.
    #[must_use]
    pub fn most(&self) -> usize {
        self.limit.unwrap_or(200).min(2_000) as usize
    }
}

/// What is done with a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerAct {
    /// Open it until somebody resets it.
    Trip,
    /// Close it; counts start anew.
    Reset,
    /// Let calls through on trial now.
    HalfOpen,
}

/// A breaker and what is done with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakerParams {
    /// Its server.
    pub server: ServerId,
    /// Its tool; absent for the breaker of the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What is done.
    pub act: BreakerAct,
}

/// What is taken out of the cache: everything, one server, or one tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheClear {
    /// Of this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// Of this tool (needs `server`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// How many answers were taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheCleared {
    /// Answers.
    pub entries: u64,
}

/// A fault to inject, or to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultParams {
    /// The server it befalls.
    pub server: ServerId,
    /// One tool only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Added to each call, in milliseconds (up to 60 s).
    #[serde(default)]
    pub latency_ms: u64,
    /// Share of calls that fail, 0 to 1.
    #[serde(default)]
    pub errors: f64,
    /// Share of calls that are never answered, 0 to 1.
    #[serde(default)]
    pub drops: f64,
    /// How long, in milliseconds (default 10 min, up to 24 h); 0 ends it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

// ---------------------------------------------------------------------------------------------- connecting clients

/// Where to look for clients' files, and what they are to be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientQuery {
    /// A project's folder, to look for its files as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The group whose address clients get (default: the whole gateway).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A file in which an AI client keeps its servers, and whether this gateway is among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientTarget {
    /// The client, for instance `Cursor`.
    pub client: String,
    /// Its file.
    pub path: String,
    /// Whether the file is a project's, not the user's.
    pub project: bool,
    /// Whether the file is there; it is made otherwise.
    pub exists: bool,
    /// Whether the client seems to be on this machine: its file or its folder is there.
    pub installed: bool,
    /// How the client would reach the gateway.
    pub via: ClientVia,
    /// Whether the gateway is in the file.
    pub entry: ClientEntry,
    /// The name under which it is, or would be.
    pub name: String,
    /// Why the file is not written, as a sentence; `paste` can be put there by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What makes the connection, in the file's own form.
    pub paste: String,
    /// The change of this file that `gateway.connect_undo` can undo: the file still is what it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// How a client reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientVia {
    /// By its address.
    Http,
    /// By starting `flotilla connect`, because its file knows only programs.
    Stdio,
}

/// Whether the gateway is in a client's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientEntry {
    /// It is not.
    Absent,
    /// It is, as it should be.
    Current,
    /// There is an entry of this name that says something else, for instance another port.
    Differs,
    /// The file cannot be read or understood; `refused` says why.
    Unknown,
}

/// What is done to a client's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAct {
    /// The gateway is put in, or its entry is brought up to date.
    #[default]
    Connect,
    /// Its entry is taken out.
    Disconnect,
}

/// A client's file and what is to be done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientConnect {
    /// The file, one of those that `gateway.targets` names.
    pub path: String,
    /// What is done (default `connect`).
    #[serde(default)]
    pub act: ClientAct,
    /// The project's folder with which it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The group whose address the client gets (default: the whole gateway).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When it is written: the hash that the preview gave. What was not shown so is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// What a client's file would become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientPreview {
    /// The client.
    pub client: String,
    /// Its file.
    pub path: String,
    /// Whether the file is there; it is made otherwise.
    pub exists: bool,
    /// Whether anything would change.
    pub changes: bool,
    /// Changed lines with three lines around them, secrets masked.
    pub diff: Vec<DiffLine>,
    /// Of the file as it is and as it would be; goes back with the order to write.
    pub hash: String,
}

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiffLine {
    /// What happens to it.
    pub sign: DiffSign,
    /// Its text, without the end of the line.
    pub text: String,
}

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiffSign {
    /// It stays.
    Same,
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// Lines that stay are left out here; `text` says how many.
    Gap,
}

/// What was written, and how to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientWritten {
    /// Names this change; new for each.
    pub id: String,
    /// The client.
    pub client: String,
    /// Its file, symbolic links followed.
    pub path: String,
    /// When.
    pub at: Millis,
    /// A copy of the file as it was; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Hash of the file as it was; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Hash of what was written.
    pub after: String,
    /// Folders that were made for it, the innermost first.
    pub folders: Vec<String>,
}

/// A change of a client's file to undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientUndo {
    /// The id that `gateway.connect_write` gave, or `gateway.targets` names.
    pub id: String,
}

/// A change that was undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientUndone {
    /// The file.
    pub path: String,
    /// Whether the file is there now: it is gone when it was made by the change.
    pub exists: bool,
}
