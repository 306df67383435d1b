//! What `/metrics` shows: read from where it lives when somebody asks, and counted here only where nobody else counts it.
//!
//! Names, labels and buckets: seed documents 000 (`a2a_*`, as its dashboard queries them, with the names that its program exported as
//! aliases) and 004 (`mcp_*`). What has no source in this engine is not on the page.

use crate::{
    core::{Core, VERSION},
    machine,
    sessions::lock,
};
use flotilla_contract::{
    ServerId, ServerView,
    event::EventKind,
    gateway::{BreakerState, GatewayView},
    state::{FleetCounts, HealthLevel, ProcessState},
    workflow::RunState,
};
use flotilla_gateway::{GatewayCounts, ServerCounts, Times};
use flotilla_metrics::{Exemplar, Format, Kind, Page};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Bounds of `a2a_response_time`, in milliseconds.
const RESPONSE: [f64; 12] = [
    5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 8_000.0, 10_000.0,
];
/// Bounds of `mcp_server_call_duration_seconds`, in milliseconds.
const CALL: [f64; 6] = [100.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];
/// Bounds of `mcp_tool_execution_duration_seconds`, in milliseconds.
const TOOL: [f64; 12] = [
    1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
];
/// Bounds of `mcp_response_size_bytes`.
const SIZE: [f64; 10] = [
    256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0,
];

/// The one kind of cache there is.
const CACHE: &str = "result";

/// What the host's sockets know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Clients of the dashboard WebSocket.
    pub dashboards: u32,
    /// Followers of the agent stream.
    pub followers: u32,
    /// Events sent on the agent stream since the start.
    pub streamed: u64,
}

/// What is counted for this page alone, since the engine started.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    /// What became of crashes, by server.
    recoveries: Mutex<BTreeMap<ServerId, Recoveries>>,
    /// Changes of the agent registry by their word.
    agents: Mutex<BTreeMap<String, u64>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Recoveries {
    succeeded: u64,
    failed: u64,
}

impl Tallies {
    /// Takes in an event of the supervisor.
    pub(crate) fn event(&self, server: &ServerId, what: &EventKind) {
        let count = |add: fn(&mut Recoveries)| {
            add(lock(&self.recoveries).entry(server.clone()).or_default());
        };
        match what {
            EventKind::Recovered { .. } => count(|it| it.succeeded += 1),
            EventKind::Failed { .. } => count(|it| it.failed += 1),
            EventKind::Removed => {
                lock(&self.recoveries).remove(server);
            }
            _ => {}
        }
    }

    /// The registry changed.
    pub(crate) fn agent(&self, word: &str) {
        *lock(&self.agents).entry(word.to_owned()).or_default() += 1;
    }
}

/// Everything the page is made of, read at one moment.
struct Picture<'a> {
    core: &'a Core,
    connections: Connections,
    servers: Vec<ServerView>,
    gateway: GatewayView,
    counts: GatewayCounts,
    runs: Option<BTreeMap<String, u64>>,
    lag: Duration,
}

/// The page as it is now.
pub(crate) async fn page(core: &Arc<Core>, format: Format, connections: Connections) -> String {
    // How long what is ready waits for a thread, as Node's own metric takes it: by waiting once.
    let began = Instant::now();
    let lag = tokio::spawn(async move { began.elapsed() })
        .await
        .unwrap_or_default();
    let picture = Picture {
        connections,
        servers: core.server_views(),
        gateway: core.gateway.view().await,
        counts: core.gateway.counts(),
        runs: runs(core).await,
        lag,
        core,
    };
    let mut page = Page::new(format);
    picture.process(&mut page);
    picture.host(&mut page);
    picture.agents(&mut page);
    picture.servers(&mut page);
    picture.instances(&mut page);
    picture.requests(&mut page);
    picture.calls(&mut page);
    picture.tools(&mut page);
    picture.connections(&mut page);
    picture.greetings(&mut page);
    picture.workflows(&mut page);
    picture.cache(&mut page);
    picture.breakers(&mut page);
    page.finish()
}

impl Picture<'_> {
    /// What the engine is and uses.
    fn process(&self, page: &mut Page) {
        let usage = flotilla_os::usage();
        let mut single = |name: &str, kind: Kind, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                page.single(name, kind, help, value);
            }
        };
        single(
            "process_cpu_user_seconds_total",
            Kind::Counter,
            "CPU time of the engine in user mode, in seconds.",
            usage.cpu_user_seconds,
        );
        single(
            "process_cpu_system_seconds_total",
            Kind::Counter,
            "CPU time of the engine in the kernel, in seconds.",
            usage.cpu_system_seconds,
        );
        single(
            "process_cpu_seconds_total",
            Kind::Counter,
            "CPU time of the engine in all, in seconds.",
            Some(usage.cpu_seconds),
        );
        single(
            "process_start_time_seconds",
            Kind::Gauge,
            "When the engine's process started, in seconds since the epoch.",
            usage.started_seconds,
        );
        single(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory of the engine, in bytes.",
            Some(float(usage.rss_bytes)),
        );
        single(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Address space of the engine, in bytes.",
            usage.virtual_bytes.map(float),
        );
        let heap = Some(float(usage.heap_bytes));
        single(
            "process_heap_bytes",
            Kind::Gauge,
            "Memory that the allocators of the engine hold, in bytes.",
            heap,
        );
        single(
            "nodejs_heap_size_used_bytes",
            Kind::Gauge,
            "As process_heap_bytes, under the name that inherited dashboards query.",
            heap,
        );
        single(
            "process_open_fds",
            Kind::Gauge,
            "Open file descriptors of the engine.",
            usage.open_files.map(f64::from),
        );
        single(
            "process_max_fds",
            Kind::Gauge,
            "File descriptors that the engine may have open.",
            usage.max_files.map(float),
        );
        single(
            "process_threads",
            Kind::Gauge,
            "Threads of the engine.",
            Some(usage.threads.into()),
        );
        let lag = Some(self.lag.as_secs_f64());
        single(
            "a2a_runtime_lag_seconds",
            Kind::Gauge,
            "How long a task that was ready waited for a thread of the engine just now, in seconds.",
            lag,
        );
        single(
            "nodejs_eventloop_lag_seconds",
            Kind::Gauge,
            "As a2a_runtime_lag_seconds, under the name that inherited dashboards query.",
            lag,
        );
        page.family("flotilla_build_info", Kind::Info, "The engine's version.")
            .sample(&[("version", VERSION)], 1.0);
        page.family(
            "a2a_deployment_event",
            Kind::Gauge,
            "When this engine started, in milliseconds since the epoch: for annotations.",
        )
        .sample(
            &[
                ("version", VERSION),
                ("environment", self.core.fleet().profile.word()),
            ],
            float(self.core.started_at),
        );
    }

    /// The machine it runs on.
    fn host(&self, page: &mut Page) {
        let cpu = *lock(&self.core.host_cpu);
        for number in machine::numbers(self.core.home.path(), cpu) {
            let name = format!("mcp_host_{}", number.word);
            page.single(&name, Kind::Gauge, number.help, number.value);
        }
    }

    fn agents(&self, page: &mut Page) {
        let (stats, active) = {
            let agents = lock(&self.core.agents);
            let runs = |view: &ServerView| {
                let mut instances = view.instances.iter();
                instances.any(|i| i.process.state == ProcessState::Running)
                    && agents.get(view.id().as_str()).is_some_and(|a| a.enabled)
            };
            let active = self.servers.iter().filter(|view| runs(view)).count();
            (agents.stats(), active)
        };
        page.single(
            "a2a_agents_total",
            Kind::Unknown,
            "Agents in the registry.",
            stats.total.into(),
        );
        page.single(
            "a2a_agents_enabled",
            Kind::Gauge,
            "Agents that may be used.",
            stats.enabled.into(),
        );
        page.single(
            "a2a_agents_disabled",
            Kind::Gauge,
            "Agents that may not be used.",
            stats.disabled.into(),
        );
        page.single(
            "a2a_total_agents",
            Kind::Gauge,
            "As a2a_agents_total.",
            stats.total.into(),
        );
        page.single(
            "a2a_enabled_agents",
            Kind::Gauge,
            "As a2a_agents_enabled.",
            stats.enabled.into(),
        );
        #[expect(clippy::cast_precision_loss, reason = "a count of servers")]
        page.single(
            "a2a_active_agents",
            Kind::Gauge,
            "Agents that may be used and whose server runs.",
            active as f64,
        );
        let mut operations = page.family(
            "a2a_agent_operations_total",
            Kind::Counter,
            "Changes of the agent registry.",
        );
        for (word, count) in lock(&self.core.tallies.agents).iter() {
            operations.sample(&[("operation", word)], float(*count));
        }
    }

    /// The fleet in numbers, and what became of crashes.
    fn servers(&self, page: &mut Page) {
        let counts = FleetCounts::of(&self.servers);
        for (name, kind, help, value) in [
            (
                "a2a_mcp_servers_total",
                Kind::Unknown,
                "Declared servers.",
                counts.total,
            ),
            (
                "a2a_mcp_servers_running",
                Kind::Gauge,
                "Servers with at least one running instance.",
                counts.running,
            ),
            (
                "a2a_mcp_servers_healthy",
                Kind::Gauge,
                "Running servers that are proven healthy.",
                counts.healthy,
            ),
            (
                "a2a_mcp_servers_unhealthy",
                Kind::Gauge,
                "Running servers that were found unhealthy.",
                counts.unhealthy,
            ),
            (
                "a2a_mcp_servers_failed",
                Kind::Gauge,
                "Servers that gave up.",
                counts.failed,
            ),
        ] {
            page.single(name, kind, help, value.into());
        }
        let recoveries = lock(&self.core.tallies.recoveries).clone();
        let of = |view: &ServerView| recoveries.get(view.id()).copied().unwrap_or_default();
        let mut family = page.family(
            "a2a_server_recovery_success_total",
            Kind::Counter,
            "Times that a server came back by itself.",
        );
        for view in &self.servers {
            family.sample(&[("server", view.id().as_str())], float(of(view).succeeded));
        }
        let mut family = page.family(
            "a2a_server_recovery_failed_total",
            Kind::Counter,
            "Times that an instance of a server gave up.",
        );
        for view in &self.servers {
            family.sample(&[("server", view.id().as_str())], float(of(view).failed));
        }
        let mut family = page.family(
            "a2a_server_recovery_attempts",
            Kind::Gauge,
            "Automatic restarts of a server's instances since they last stayed up.",
        );
        for view in &self.servers {
            let attempts: u32 = view.instances.iter().map(|i| i.restarts).sum();
            family.sample(&[("server", view.id().as_str())], attempts.into());
        }
        let mut family = page.family(
            "mcp_server_health",
            Kind::Gauge,
            "Health of a server: 1 healthy, 0.5 degraded, 0 unhealthy; absent while nobody knows.",
        );
        for view in &self.servers {
            if let Some(health) = health(view.health.level) {
                family.sample(&[("server", view.id().as_str())], health);
            }
        }
        let mut family = page.family(
            "mcp_server_instances_wanted",
            Kind::Gauge,
            "Instances of a server that are wanted now.",
        );
        for view in &self.servers {
            family.sample(
                &[("server", view.id().as_str())],
                view.wanted_replicas.into(),
            );
        }
        let mut family = page.family(
            "mcp_server_tools",
            Kind::Gauge,
            "Tools that a server lists; absent until it was asked.",
        );
        for view in &self.servers {
            if let Some(tools) = view.tools {
                family.sample(&[("server", view.id().as_str())], tools.into());
            }
        }
    }

    /// The supervisor's and the probes' view of each instance.
    fn instances(&self, page: &mut Page) {
        type Read = fn(&flotilla_contract::InstanceView) -> Option<f64>;
        let families: [(&str, Kind, &str, Read); 9] = [
            (
                "mcp_instance_up",
                Kind::Gauge,
                "1 while an instance runs, else 0.",
                |it| Some(f64::from(it.process.state == ProcessState::Running)),
            ),
            (
                "mcp_instance_restarts_total",
                Kind::Counter,
                "Automatic restarts of an instance.",
                |it| Some(it.restarts_total.into()),
            ),
            (
                "mcp_instance_cpu_ratio",
                Kind::Gauge,
                "CPU that the process tree of an instance uses; 1 is one core.",
                |it| Some(f64::from(it.sample.as_ref()?.cpu_percent) / 100.0),
            ),
            (
                "mcp_instance_resident_memory_bytes",
                Kind::Gauge,
                "Resident memory of the process tree of an instance, in bytes.",
                |it| Some(float(it.sample.as_ref()?.rss_bytes)),
            ),
            (
                "mcp_instance_open_fds",
                Kind::Gauge,
                "Open file descriptors of the process tree of an instance.",
                |it| Some(it.sample.as_ref()?.open_files.into()),
            ),
            (
                "mcp_instance_threads",
                Kind::Gauge,
                "Threads of the process tree of an instance.",
                |it| Some(it.sample.as_ref()?.threads.into()),
            ),
            (
                "mcp_instance_processes",
                Kind::Gauge,
                "Processes of the tree of an instance.",
                |it| Some(f64::from(it.sample.as_ref()?.children) + 1.0),
            ),
            (
                "mcp_probe_duration_seconds",
                Kind::Gauge,
                "How long the last check of an instance took, in seconds.",
                |it| Some(it.health.check_ms? / 1_000.0),
            ),
            (
                "mcp_probe_timestamp_seconds",
                Kind::Gauge,
                "When an instance was last proven or disproven, in seconds since the epoch.",
                |it| Some(float(it.health.checked_at?) / 1_000.0),
            ),
        ];
        for (name, kind, help, read) in families {
            let mut family = page.family(name, kind, help);
            for view in &self.servers {
                for instance in &view.instances {
                    if let Some(value) = read(instance) {
                        let index = instance.id.index.to_string();
                        let labels = [("server", view.id().as_str()), ("instance", &index)];
                        family.sample(&labels, value);
                    }
                }
            }
        }
    }

    /// The gateway as a whole, and who is connected.
    fn requests(&self, page: &mut Page) {
        let (ends, queued) = (self.counts.ends, self.gateway.totals.queued);
        let failed = ends.errors() + ends.rejected;
        let over = ends.ok + failed + ends.cancelled;
        page.single(
            "a2a_requests_created_total",
            Kind::Counter,
            "Calls of clients that were taken in.",
            float(over + u64::from(self.counts.in_flight)),
        );
        let mut completed = page.family(
            "a2a_requests_completed_total",
            Kind::Counter,
            "Calls of clients that are over, by how they ended.",
        );
        for (status, count) in [
            ("done", ends.ok),
            ("error", failed),
            ("canceled", ends.cancelled),
        ] {
            completed.sample(&[("status", status)], float(count));
        }
        let log = self.core.events.state().borrow().clone();
        let behind = self.core.events.last_seq().saturating_sub(log.durable);
        let connected = self.connections;
        for (name, help, value) in [
            (
                "a2a_running_jobs",
                "Calls of clients under way.",
                u64::from(self.counts.in_flight),
            ),
            (
                "a2a_queue_size",
                "Calls that wait for a place in an instance.",
                queued.into(),
            ),
            (
                "a2a_event_queue_size",
                "Events that are not on disk yet.",
                behind,
            ),
            (
                "a2a_websocket_connections",
                "Clients of the dashboard WebSocket and of the agent stream.",
                u64::from(connected.dashboards) + u64::from(connected.followers),
            ),
            (
                "a2a_ws_clients",
                "Followers of the agent stream.",
                connected.followers.into(),
            ),
            (
                "a2a_ws_channels",
                "Requests that are followed on the agent stream.",
                self.counts.followed.into(),
            ),
            (
                "mcp_gateway_clients",
                "Clients heard of by the gateway in the last hour.",
                self.counts.clients.into(),
            ),
        ] {
            page.single(name, Kind::Gauge, help, float(value));
        }
        page.single(
            "a2a_stream_broadcasts_total",
            Kind::Counter,
            "Events sent on the agent stream.",
            float(connected.streamed),
        );
        page.single(
            "flotilla_events_lost_total",
            Kind::Counter,
            "Events that the disk was too slow for.",
            float(log.lost),
        );
        page.family(
            "mcp_gateway_added_seconds",
            Kind::Histogram,
            "What the gateway itself adds to a call, in seconds.",
        )
        .histogram(
            &[],
            seconds(&self.counts.added, &TOOL),
            self.counts.added.count(),
            self.counts.added.sum() / 1_000.0,
        );
        let mut refused = self.counts.refused;
        let mut limited = page.family(
            "a2a_rate_limit_exceeded_total",
            Kind::Counter,
            "Calls that met a rate limit, by the server that was called; without one where a client's limit of requests was met.",
        );
        limited.sample(&[], float(refused.limit));
        for server in &self.counts.servers {
            limited.sample(
                &[("agent_id", server.server.as_str())],
                float(server.refused.limit),
            );
            refused.breaker += server.refused.breaker;
            refused.limit += server.refused.limit;
            refused.queue += server.refused.queue;
            refused.no_instance += server.refused.no_instance;
            refused.unknown += server.refused.unknown;
        }
        let mut errors = page.family(
            "a2a_errors_total",
            Kind::Counter,
            "Calls that failed or were refused, by why.",
        );
        for (word, count) in [
            ("tool_error", ends.tool_error),
            ("rpc_error", ends.rpc_error),
            ("failed", ends.failed),
            ("breaker_open", refused.breaker),
            ("rate_limited", refused.limit),
            ("queue_full", refused.queue),
            ("no_instance", refused.no_instance),
            ("unknown_target", refused.unknown),
        ] {
            errors.sample(&[("error_type", word)], float(count));
        }
    }

    /// Calls by server.
    fn calls(&self, page: &mut Page) {
        let mut calls = page.family(
            "mcp_server_calls_total",
            Kind::Counter,
            "Calls of a server that were let through, those answered from the cache included, by method.",
        );
        let mut took: Vec<(&ServerCounts, Times)> = Vec::new();
        for server in &self.counts.servers {
            let mut methods: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
            let mut all = Times::default();
            for counts in &server.calls {
                let sums = methods.entry(&counts.method).or_default();
                sums.0 += counts.ends.ok;
                sums.1 += counts.ends.errors();
                all.add(&counts.took);
            }
            for (method, (ok, failed)) in methods {
                for (status, count) in [("success", ok), ("error", failed)] {
                    let labels = [
                        ("server", server.server.as_str()),
                        ("method", method),
                        ("status", status),
                    ];
                    calls.sample(&labels, float(count));
                }
            }
            if !server.calls.is_empty() {
                took.push((server, all));
            }
        }
        let mut family = page.family(
            "mcp_server_call_duration_seconds",
            Kind::Histogram,
            "How long calls of a server took, in seconds.",
        );
        for (server, times) in &took {
            let exemplars: Vec<_> = server.exemplars.iter().map(exemplar).collect();
            family.traced_histogram(
                &[("server", server.server.as_str())],
                seconds(times, &CALL),
                times.count(),
                times.sum() / 1_000.0,
                &exemplars,
            );
        }
        let mut family = page.family(
            "a2a_response_time",
            Kind::Histogram,
            "How long calls of an agent's server took, in milliseconds.",
        );
        for (server, times) in &took {
            family.histogram(
                &[("agent_id", server.server.as_str())],
                RESPONSE.map(|bound| (bound, times.within(bound))),
                times.count(),
                times.sum(),
            );
        }
        let mut family = page.family(
            "mcp_queue_size",
            Kind::Gauge,
            "Calls that wait for a place in an instance of a server.",
        );
        for server in &self.counts.servers {
            family.sample(
                &[("server_id", server.server.as_str())],
                server.queued.into(),
            );
        }
    }

    /// Calls by tool.
    fn tools(&self, page: &mut Page) {
        let tools = || {
            self.counts.servers.iter().flat_map(|server| {
                let tools = server.calls.iter();
                tools.filter_map(|counts| {
                    Some((server.server.as_str(), counts.tool.as_deref()?, counts))
                })
            })
        };
        let mut family = page.family(
            "a2a_agent_invocations_total",
            Kind::Counter,
            "Calls of an agent's capabilities that were let through.",
        );
        for (server, tool, counts) in tools() {
            for (status, count) in [("success", counts.ends.ok), ("error", counts.ends.errors())] {
                let labels = [
                    ("agent_id", server),
                    ("capability", tool),
                    ("status", status),
                ];
                family.sample(&labels, float(count));
            }
        }
        let mut family = page.family(
            "mcp_tool_executions_total",
            Kind::Counter,
            "Calls of a tool, by how they ended.",
        );
        for (server, tool, counts) in tools() {
            let ends = counts.ends;
            for (status, count) in [
                ("success", ends.ok),
                ("error", ends.errors()),
                ("rejected", ends.rejected),
                ("cancelled", ends.cancelled),
            ] {
                let labels = [
                    ("server_id", server),
                    ("tool_name", tool),
                    ("status", status),
                ];
                family.sample(&labels, float(count));
            }
        }
        let mut family = page.family(
            "mcp_tool_execution_errors_total",
            Kind::Counter,
            "Calls of a tool that failed, by why.",
        );
        for (server, tool, counts) in tools() {
            let ends = counts.ends;
            for (word, count) in [
                ("tool_error", ends.tool_error),
                ("rpc_error", ends.rpc_error),
                ("failed", ends.failed),
            ] {
                let labels = [
                    ("server_id", server),
                    ("tool_name", tool),
                    ("error_type", word),
                ];
                family.sample(&labels, float(count));
            }
        }
        let mut family = page.family(
            "mcp_tool_execution_retries_total",
            Kind::Counter,
            "Tries of a tool beyond the first.",
        );
        for (server, tool, counts) in tools() {
            let labels = [("server_id", server), ("tool_name", tool)];
            family.sample(&labels, float(counts.retries));
        }
        let mut family = page.family(
            "mcp_tool_execution_duration_seconds",
            Kind::Histogram,
            "How long calls of a tool took, in seconds.",
        );
        for (server, tool, counts) in tools() {
            family.histogram(
                &[("server_id", server), ("tool_name", tool)],
                seconds(&counts.took, &TOOL),
                counts.took.count(),
                counts.took.sum() / 1_000.0,
            );
        }
        let mut family = page.family(
            "mcp_response_size_bytes",
            Kind::Histogram,
            "How long the answers of a tool are, in bytes.",
        );
        for (server, tool, counts) in tools() {
            family.histogram(
                &[("server_id", server), ("tool_name", tool)],
                SIZE.map(|bound| (bound, counts.bytes.within(bound))),
                counts.bytes.count(),
                counts.bytes.sum(),
            );
        }
    }

    /// Connections to servers over HTTP on this machine; others are not counted.
    fn connections(&self, page: &mut Page) {
        let mut pools: BTreeMap<&ServerId, (u32, u32, u32)> = BTreeMap::new();
        for pool in &self.gateway.pools {
            let sums = pools.entry(&pool.instance.server).or_default();
            sums.0 += pool.open;
            sums.1 += pool.in_use;
            sums.2 += pool.waiting;
        }
        type Read = fn(&(u32, u32, u32)) -> u32;
        let families: [(&str, &str, Read); 4] = [
            (
                "mcp_connection_pool_size",
                "Open connections to a server, idle ones included.",
                |it| it.0,
            ),
            (
                "mcp_concurrent_connections",
                "As mcp_connection_pool_size.",
                |it| it.0,
            ),
            (
                "mcp_connection_pool_active",
                "Connections to a server that carry a call.",
                |it| it.1,
            ),
            (
                "mcp_connection_pool_waiting",
                "Calls that wait for a connection to a server.",
                |it| it.2,
            ),
        ];
        for (name, help, read) in families {
            let mut family = page.family(name, Kind::Gauge, help);
            for (server, sums) in &pools {
                family.sample(&[("server_id", server.as_str())], read(sums).into());
            }
        }
    }

    /// Sessions of MCP with servers, over whatever carries them.
    fn greetings(&self, page: &mut Page) {
        let declared = |id: &ServerId| self.servers.iter().any(|view| view.id() == id);
        let all = self.core.sessions.greetings(declared);
        let mut family = page.family(
            "mcp_connections_total",
            Kind::Counter,
            "Sessions with a server that were asked for, by whether they came about.",
        );
        for (server, greetings) in &all {
            let failed = greetings.failed.values().sum();
            for (status, count) in [("success", greetings.took.count()), ("error", failed)] {
                let labels = [("server_id", server.as_str()), ("status", status)];
                family.sample(&labels, float(count));
            }
        }
        let mut family = page.family(
            "mcp_connection_duration_seconds",
            Kind::Histogram,
            "How long it took until a session with a server had come about, in seconds.",
        );
        for (server, greetings) in &all {
            let took = &greetings.took;
            family.histogram(
                &[("server_id", server.as_str())],
                seconds(took, &TOOL),
                took.count(),
                took.sum() / 1_000.0,
            );
        }
        let mut family = page.family(
            "mcp_connection_errors_total",
            Kind::Counter,
            "Sessions with a server that did not come about, by why.",
        );
        for (server, greetings) in &all {
            for (why, count) in &greetings.failed {
                let labels = [("server_id", server.as_str()), ("error_type", why)];
                family.sample(&labels, float(*count));
            }
        }
    }

    /// Runs by state.
    fn workflows(&self, page: &mut Page) {
        let Some(runs) = &self.runs else { return };
        let mut family = page.family(
            "a2a_workflows_total",
            Kind::Unknown,
            "Runs of workflows that are under way or kept, by state.",
        );
        for (state, count) in runs {
            family.sample(&[("status", state)], float(*count));
        }
    }

    fn cache(&self, page: &mut Page) {
        let cache = &self.gateway.cache;
        for (name, help, hits) in [
            (
                "mcp_cache_hits_total",
                "Answers of a tool given again.",
                true,
            ),
            (
                "mcp_cache_misses_total",
                "Answers of a tool that were not there.",
                false,
            ),
        ] {
            let mut family = page.family(name, Kind::Counter, help);
            for tool in &cache.tools {
                let labels = [
                    ("cache_type", CACHE),
                    ("server_id", tool.server.as_str()),
                    ("tool_name", &tool.tool),
                ];
                family.sample(&labels, float(if hits { tool.hits } else { tool.misses }));
            }
        }
        let mut family = page.family(
            "mcp_cache_evictions_total",
            Kind::Counter,
            "Answers that left the cache, by why.",
        );
        for (why, count) in self.counts.evictions {
            let labels = [("cache_type", CACHE), ("eviction_reason", why)];
            family.sample(&labels, float(count));
        }
        page.family("mcp_cache_size_items", Kind::Gauge, "Answers in the cache.")
            .sample(&[("cache_type", CACHE)], float(cache.entries));
        page.family(
            "mcp_cache_memory_usage_bytes",
            Kind::Gauge,
            "Bytes of the answers in the cache.",
        )
        .sample(&[("cache_type", CACHE)], float(cache.bytes));
        if let Some(limits) = &self.gateway.limits {
            page.single(
                "mcp_rate_limit_tracked",
                Kind::Gauge,
                "Buckets and windows of rate limits in memory.",
                limits.tracked.into(),
            );
        }
    }

    fn breakers(&self, page: &mut Page) {
        let mut family = page.family(
            "mcp_circuit_breaker_state",
            Kind::Gauge,
            "A breaker: 0 closed, 1 open, 2 half open; without a tool that of the whole server.",
        );
        for view in &self.gateway.breakers {
            let state = match view.state {
                BreakerState::Closed => 0.0,
                BreakerState::Open => 1.0,
                BreakerState::HalfOpen => 2.0,
            };
            let labels = [
                ("server_id", view.server.as_str()),
                ("tool_name", view.tool.as_deref().unwrap_or_default()),
            ];
            family.sample(&labels, state);
        }
        let mut family = page.family(
            "mcp_circuit_breaker_transitions_total",
            Kind::Counter,
            "Changes of a breaker.",
        );
        for server in &self.counts.servers {
            for change in &server.changes {
                let labels = [
                    ("server_id", server.server.as_str()),
                    ("tool_name", change.tool.as_deref().unwrap_or_default()),
                    ("from_state", word(change.from)),
                    ("to_state", word(change.to)),
                ];
                family.sample(&labels, float(change.count));
            }
        }
    }
}

/// How many runs there are in each state; `None` when that cannot be read.
async fn runs(core: &Core) -> Option<BTreeMap<String, u64>> {
    const STATES: [RunState; 6] = [
        RunState::Running,
        RunState::Paused,
        RunState::Cancelling,
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
    ];
    let ended = core.runs.ended().await;
    let ended =
        ended.inspect_err(|error| tracing::warn!(%error, "runs are not on the page of metrics"));
    let mut counts: BTreeMap<String, u64> = STATES
        .iter()
        .map(|state| (state.word().to_owned(), 0))
        .collect();
    counts.extend(ended.ok()?);
    // What is under way is further than what is on disk of it; what has just ended is counted there.
    let live = core.workflows.runner.under_way();
    for run in live.iter().filter(|run| !run.state.ended()) {
        *counts.entry(run.state.word().to_owned()).or_default() += 1;
    }
    Some(counts)
}

/// In seconds, as the buckets are.
fn exemplar(of: &flotilla_gateway::Exemplar) -> Exemplar<'_> {
    Exemplar {
        trace: &of.trace,
        value: of.took_ms / 1_000.0,
        at: of.at,
    }
}

/// Milliseconds as buckets in seconds.
fn seconds<'a>(times: &'a Times, bounds: &'a [f64]) -> impl Iterator<Item = (f64, u64)> + use<'a> {
    bounds
        .iter()
        .map(|bound| (bound / 1_000.0, times.within(*bound)))
}

fn word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half_open",
    }
}

fn health(level: HealthLevel) -> Option<f64> {
    match level {
        HealthLevel::Healthy => Some(1.0),
        HealthLevel::Degraded => Some(0.5),
        HealthLevel::Unhealthy => Some(0.0),
        HealthLevel::Unknown | HealthLevel::Starting | HealthLevel::Stale => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus holds every value as f64"
)]
fn float(count: u64) -> f64 {
    count as f64
}
