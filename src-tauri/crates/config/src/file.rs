//! The shape of `fleet.toml`, as its JSON Schema says it. These types are never built: [`parse`](crate::parse) reads the tables by hand,
//! so that it can report every error at its place, and takes from here which keys exist.

use flotilla_contract::{
    alert::{Severity, SmtpTls},
    gateway::{Backoff, Balance, NamePolicy, Sharing},
    spec::{DependencyCondition, RestartWhen},
};
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// Declares a table of the file once: as a type for the schema, and as the list of its keys for the reader.
macro_rules! table {
    ($(#[$about:meta])* $name:ident { $( $(#[$field_about:meta])* $field:ident: $type:ty, )* }) => {
        #[derive(JsonSchema)]
        $(#[$about])*
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its schema and its keys are used")]
        struct $name { $( $(#[$field_about])* $field: $type, )* }

        impl $name {
            const KEYS: &[&str] = &[$(plain(stringify!($field))),*];
        }
    };
}

/// A field that is named like a word of Rust, as it stands in the file.
const fn plain(field: &str) -> &str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

table! {
    /// What `fleet.toml` may contain.
    FleetFile {
        /// What the fleet is for; sets the default of `health.interval` to 30 s, 10 s or 1 s, and, where `production` is written, rate limits and patient retries at the gateway, and how many connections it keeps and opens (default `production`).
        profile: Option<ProfileWord>,
        /// Defaults for all servers.
        defaults: Option<Defaults>,
        /// The panel.
        panel: Option<Panel>,
        /// The realtime dashboard: a WebSocket that tells pages of other makes how the fleet is.
        dashboard: Option<Dashboard>,
        /// The agent stream: a WebSocket on which one request is followed.
        stream: Option<AgentStream>,
        /// Sampling of processes.
        sampling: Option<Sampling>,
        /// What is scraped, how long metrics are kept, and where charts read them.
        metrics: Option<MetricsTable>,
        /// The one MCP endpoint through which clients reach the servers.
        gateway: Option<Gateway>,
        /// What steps of workflows may do.
        workflows: Option<Workflows>,
        /// Rules over the metrics, and who is told of what they find.
        alerts: Option<Alerts>,
        /// The servers, by name.
        servers: Option<BTreeMap<Name, Server>>,
    }
}

table! {
    /// Defaults for all servers. A key that a server sets itself wins, key by key.
    Defaults {
        /// Whether servers are started with the engine (default true).
        autostart: Option<bool>,
        /// What happens when a server exits.
        restart: Option<Restart>,
        /// From the request to stop to SIGKILL (default "5s").
        stop_timeout: Option<Duration>,
        /// How health is found out.
        health: Option<Health>,
        /// Ceilings.
        limits: Option<Limits>,
        /// How the gateway shows and calls servers; `tools` belong to a server.
        gateway: Option<ServerGateway>,
    }
}

table! {
    /// The panel.
    Panel {
        /// Port of the panel. When it is set and taken, that is an error; when it is absent, 3000 or a free one is taken. 0 means any free one.
        port: Option<u16>,
    }
}

table! {
    /// The realtime dashboard.
    Dashboard {
        /// Whether it is served (default true).
        enabled: Option<bool>,
        /// Its port. When it is set and taken, that is an error; when it is absent, 9000 or a free one is taken. 0 means any free one.
        port: Option<u16>,
        /// How often the picture is sent, "100ms" to "1h" (default "5s").
        interval: Option<Duration>,
    }
}

table! {
    /// The agent stream.
    AgentStream {
        /// Whether it is served (default true).
        enabled: Option<bool>,
        /// Its port. When it is set and taken, that is an error; when it is absent, 8787 or a free one is taken. 0 means any free one.
        port: Option<u16>,
    }
}

table! {
    /// Sampling of processes.
    Sampling {
        /// Distance of two samplings of CPU, memory, files and threads, "200ms" to "1h" (default "2s").
        interval: Option<Duration>,
    }
}

table! {
    /// What is scraped, how long metrics are kept, and where charts read them. Changes hold at once.
    MetricsTable {
        /// From one scrape of a page to the next, "1s" to "1h" (default "15s").
        scrape_interval: Option<Duration>,
        /// How long a page may take, "10ms" up to `scrape_interval` (default "10s", or the interval where that is shorter).
        scrape_timeout: Option<Duration>,
        /// What all files may take, from "16MiB" (default "1GiB"); the oldest go first.
        disk: Option<Size>,
        /// What samples may take in memory before they are written as compressed pages, from "4MiB" (default "64MiB").
        memory: Option<Size>,
        /// How long each level is kept.
        keep: Option<Keep>,
        /// Pages that are scraped besides those of the servers; the name becomes the label `job`.
        targets: Option<BTreeMap<Name, ScrapeTargetTable>>,
        /// A Prometheus that charts read in place of the engine's own store.
        source: Option<MetricsSource>,
    }
}

table! {
    /// How long each level is kept, "1h" to "3650d"; a coarser one at least as long as a finer one.
    Keep {
        /// Samples as they came (default "2d").
        raw: Option<Duration>,
        /// Ten seconds put together (default "14d").
        seconds: Option<Duration>,
        /// Minutes (default "90d").
        minutes: Option<Duration>,
        /// Hours (default "400d").
        hours: Option<Duration>,
    }
}

table! {
    /// A page in Prometheus's text format or OpenMetrics.
    ScrapeTargetTable {
        /// Its address. `${VAR}`, `${VAR:-default}` and `${secret:NAME}` are filled in here and in headers.
        url: String,
        /// Labels that its series get besides `job` and `instance`, at most 32.
        labels: Option<BTreeMap<String, String>>,
        /// Headers sent with each scrape.
        headers: Option<BTreeMap<String, Value>>,
    }
}

table! {
    /// A Prometheus, or what answers as one.
    MetricsSource {
        /// Its address, below which `/api/v1/query_range` is. Variables and secrets are filled in here and in headers.
        url: String,
        /// Headers sent with each query.
        headers: Option<BTreeMap<String, Value>>,
    }
}

table! {
    /// What steps of workflows may do.
    Workflows {
        /// Hosts that `http` steps may reach, redirects included: "*" for every host at a public address, or hosts by name, which may be at any address: "api.example.com", "*.example.com", "localhost:3000" (default ["*"]).
        http_hosts: Option<Vec<String>>,
        /// Folders in which commands of steps may write besides their workspace and folders for temporary files, as absolute paths; ["/"] holds them to nothing (default []). It needs a kernel with Landlock; elsewhere commands are not held.
        writable: Option<Vec<String>>,
    }
}

table! {
    /// Alerts.
    Alerts {
        /// Whether the rules that come with Flotilla hold (default true). A rule of the file takes the place of one of the same name.
        defaults: Option<bool>,
        /// Rules that come with Flotilla and do not hold, by name (default none).
        disabled: Option<Vec<String>>,
        /// Distance of two evaluations, "1s" to "1h" (default "15s").
        interval: Option<Duration>,
        /// Alerts with the same values of these labels are told together, up to 10 labels (default ["alertname", "server"]).
        #[schemars(length(max = 10))]
        group_by: Option<Vec<String>>,
        /// From the first alert of a group to its first message, "0s" to "1h" (default "10s").
        group_wait: Option<Duration>,
        /// From a message of a group to the next with something new, "1s" to "24h" (default "10s").
        group_interval: Option<Duration>,
        /// From a message of a group to the next that says the same, "1m" to "30d" (default "12h").
        repeat_interval: Option<Duration>,
        /// The rules.
        rules: Option<Vec<AlertRuleTable>>,
        /// Who is told.
        channels: Option<Vec<ChannelTable>>,
    }
}

table! {
    /// When there is an alert.
    AlertRuleTable {
        /// Its name: letters, digits and underscores.
        name: String,
        /// The condition, such as `max by (server) (flotilla_rss_bytes) > 500000000`. Each series for which it holds is an alert.
        expr: String,
        /// How long it must hold before the alert fires, up to "30d" (default "0s").
        r#for: Option<Duration>,
        /// How long the alert goes on to fire when it holds no more, up to "30d" (default "0s").
        keep_firing_for: Option<Duration>,
        /// How bad it is (default `warning`).
        severity: Option<Severity>,
        /// Labels that its alerts have besides those of the series.
        labels: Option<BTreeMap<String, String>>,
        /// What is wrong, in a sentence; `{{ value }}` and `{{ LABEL }}` are filled in (default: the expression).
        summary: Option<String>,
        /// What it means and what to do, filled in like the summary.
        description: Option<String>,
        /// Where it is said what to do: an address, or the name of a workflow.
        runbook: Option<String>,
    }
}

table! {
    /// Who is told of alerts.
    ChannelTable {
        /// Its name: letters, digits, hyphens and underscores.
        name: String,
        /// How it tells: `webhook`, `alertmanager`, `exec`, `smtp` or `desktop`.
        kind: ChannelWord,
        /// Of a webhook or an Alertmanager: where; may refer to `${secret:NAME}`.
        url: Option<String>,
        /// Of a webhook: what signs the body, such as "${secret:NAME}".
        secret: Option<String>,
        /// Of exec: program and arguments; it reads the message, as JSON, on its standard input.
        command: Option<Vec<String>>,
        /// Of exec: the program is ended after this long, "100ms" to "10m" (default "10s").
        timeout: Option<Duration>,
        /// Of smtp: the mail server, a name or an address.
        host: Option<String>,
        /// Of smtp: its port (default 587 with STARTTLS, 465 with TLS, 25 without).
        port: Option<u16>,
        /// Of smtp: how the connection is protected (default `starttls`).
        tls: Option<SmtpTls>,
        /// Of smtp: a file with the certificate, in PEM, of the authority that signed the server's, as an absolute path; then no other is trusted (default: those that the system trusts).
        ca: Option<String>,
        /// Of smtp: who logs in; with `password`.
        user: Option<String>,
        /// Of smtp: the password of `user`, a reference such as "${secret:NAME}".
        password: Option<String>,
        /// Of smtp: who writes, such as "Flotilla <flotilla@example.com>".
        from: Option<String>,
        /// Of smtp: who is written to, 1 to 50 addresses.
        #[schemars(length(min = 1, max = 50))]
        to: Option<Vec<String>>,
        /// The least severity that it is told of (default `info`).
        severity: Option<Severity>,
        /// Whether it is told of ends, too (default true).
        resolved: Option<bool>,
    }
}

table! {
    /// One server. It has a `command`, or a `url`, never both.
    Server {
        /// How it is spoken to; inferred when absent: a command is `stdio`, with `port` or as a URL it is `http`.
        transport: Option<TransportWord>,
        /// Program to run, without a shell: a path, or a name looked up in PATH. `${VAR}`, `${VAR:-default}` and `${secret:NAME}` are filled in here and in args, env, cwd, url and headers.
        command: Option<String>,
        /// Its arguments; `{port}` is the instance's port.
        args: Option<Vec<String>>,
        /// Its environment, over the engine's own. `${VAR}` and `${VAR:-default}` come from the engine's environment.
        env: Option<BTreeMap<String, Value>>,
        /// Working directory (default: the operator's home directory).
        cwd: Option<String>,
        /// With a command: it speaks HTTP on this port; instance n on port + 100·(n−1).
        #[schemars(range(min = 1, max = 65535))]
        port: Option<u16>,
        /// With a port: path of its MCP endpoint (default "/mcp").
        path: Option<String>,
        /// MCP endpoint of a server that somebody else starts.
        url: Option<String>,
        /// Headers sent with each request (HTTP).
        headers: Option<BTreeMap<String, Value>>,
        /// One word for its kind (default "general").
        category: Option<String>,
        /// Words to find it by.
        tags: Option<Vec<String>>,
        /// What it is for.
        description: Option<String>,
        /// `true`, or why it is disabled. A disabled server is neither started nor probed.
        disabled: Option<Disabled>,
        /// How many instances are wanted, 0 to 64 (default 1).
        #[schemars(range(min = 0, max = 64))]
        replicas: Option<u32>,
        /// Whether it is started with the engine (default true).
        autostart: Option<bool>,
        /// Whether it sleeps while nobody calls it: the next call through the gateway starts it, and what it offers stays listed (default false). Only for servers with a `command`.
        on_demand: Option<bool>,
        /// With `on_demand`: put to sleep after this long without a call, "1s" to "24h" (default "10m").
        idle_stop: Option<Duration>,
        /// Servers that must be up before it is started.
        depends_on: Option<Vec<DependsOn>>,
        /// What happens when it exits.
        restart: Option<Restart>,
        /// From the request to stop to SIGKILL, up to "10m" (default "5s").
        stop_timeout: Option<Duration>,
        /// How its health is found out.
        health: Option<Health>,
        /// Ceilings that restart an instance, with the reason shown.
        limits: Option<Limits>,
        /// Path of its Prometheus page (HTTP servers).
        metrics_path: Option<String>,
        /// How clients of the gateway see it and how it is called for them.
        gateway: Option<ServerGateway>,
    }
}

table! {
    /// A dependency with its condition.
    DependencyTable {
        /// Which server.
        server: Name,
        /// How far up it must be (default `started`).
        condition: Option<DependencyCondition>,
    }
}

table! {
    /// What happens when a process exits that nobody stopped.
    Restart {
        /// When it is started again (default `on_failure`).
        policy: Option<RestartWhen>,
        /// Waits before the 1st, 2nd, … automatic restart, 1 to 16 of them, each up to "1h"; the last repeats (default ["1s", "2s", "4s"]).
        #[schemars(length(min = 1, max = 16))]
        delays: Option<Vec<Duration>>,
        /// Random share by which a wait may shrink or grow, 0 to 1 (default 0).
        #[schemars(range(min = 0, max = 1))]
        jitter: Option<f64>,
        /// Automatic restarts before it counts as failed: a number, or "unlimited" (default 3).
        max_restarts: Option<MaxRestarts>,
        /// Uptime after which the count is 0 again, up to "24h" (default "30s").
        reset_after: Option<Duration>,
        /// Exit codes that mean finished, not crashed (default [0]).
        success_exit_codes: Option<Vec<i32>>,
        /// Whether an unhealthy instance is restarted (default false).
        on_unhealthy: Option<bool>,
    }
}

table! {
    /// How health is found out.
    Health {
        /// What is asked (default "mcp").
        check: Option<Check>,
        /// From one check to the next, "100ms" to "24h" (default by profile: "30s", "10s", "1s").
        interval: Option<Duration>,
        /// How long an answer may take, "10ms" to "10m" (default "5s").
        timeout: Option<Duration>,
        /// From one check to the next while undecided, "100ms" to "24h" (default "5s").
        retry_interval: Option<Duration>,
        /// How long the first success may take after a start, "100ms" to "1h" (default "60s": npx and uvx may download).
        start_timeout: Option<Duration>,
        /// Failures in a row that make it unhealthy, 1 to 100 (default 3).
        #[schemars(range(min = 1, max = 100))]
        unhealthy_after: Option<u32>,
        /// Successes in a row that make it healthy again, 1 to 100 (default 2).
        #[schemars(range(min = 1, max = 100))]
        healthy_after: Option<u32>,
        /// A call that each check makes too. With check = "mcp" only.
        canary: Option<Canary>,
    }
}

table! {
    /// A call whose answer is known: it proves that a tool works, not only that it is listed.
    Canary {
        /// The tool, as its server calls it.
        tool: String,
        /// Its arguments (default none).
        arguments: Option<serde_json::Map<String, serde_json::Value>>,
        /// Text that the answer must contain; by default any answer but an error is good.
        answer: Option<String>,
    }
}

table! {
    /// A check other than `mcp` and `none`: exactly one of its keys.
    CheckTable {
        /// A GET is answered with 200 to 399: a path on the instance's port, or a whole URL.
        http: Option<String>,
        /// A TCP connection to HOST:PORT is accepted; `{port}` is the instance's port.
        tcp: Option<String>,
        /// A command exits with 0: program and arguments.
        exec: Option<Vec<String>>,
    }
}

table! {
    /// Ceilings.
    Limits {
        /// Resident memory of the whole process tree, from "1MiB".
        rss: Option<Size>,
        /// Processes below the first one.
        #[schemars(range(min = 0, max = 100000))]
        children: Option<u32>,
    }
}

table! {
    /// The one MCP endpoint through which clients reach the servers.
    Gateway {
        /// Whether clients are served at all (default true).
        enabled: Option<bool>,
        /// Port of `/mcp`. When it is set and taken, that is an error; when it is absent, 8720 or a free one is taken. 0 means any free one.
        port: Option<u16>,
        /// What happens when two servers offer the same name (default `prefix`).
        names: Option<NamePolicy>,
        /// With names `priority`: servers in the order in which they keep a plain name; those not named come last.
        priority: Option<Vec<Name>>,
        /// Endpoints that show some of the servers only, each at `/mcp/NAME`; names of `a-z 0-9 -`.
        groups: Option<BTreeMap<String, GroupTable>>,
        /// Token bucket for each client and tool, or "off" (default in production 100 at once and 10 per second, otherwise "off").
        tool_rate: Option<ToolRate>,
        /// Requests of one client in a sliding window, or "off" (default in production 100 in "60s", otherwise "off").
        client_rate: Option<ClientRate>,
        /// The cache of answers.
        cache: Option<Cache>,
        /// What is kept of calls.
        calls: Option<Calls>,
    }
}

table! {
    /// Servers behind an endpoint of their own.
    GroupTable {
        /// Its servers, at least one.
        #[schemars(length(min = 1))]
        servers: Vec<Name>,
    }
}

table! {
    /// A token bucket.
    BucketTable {
        /// Calls at once, 1 to 1000000 (default 100).
        #[schemars(range(min = 1, max = 1_000_000))]
        burst: Option<u32>,
        /// Calls per second from then on, 0.001 to 1000000 (default 10).
        #[schemars(range(min = 0.001, max = 1_000_000.0))]
        per_second: Option<f64>,
    }
}

table! {
    /// At most so many requests in any span of this length.
    WindowTable {
        /// Requests, 1 to 1000000 (default 100).
        #[schemars(range(min = 1, max = 1_000_000))]
        requests: Option<u32>,
        /// Length, "100ms" to "24h" (default "60s").
        span: Option<Duration>,
    }
}

table! {
    /// The cache of answers; which tools it serves is said at each server.
    Cache {
        /// Answers kept, 1 to 10000000 (default 10000).
        #[schemars(range(min = 1, max = 10_000_000))]
        entries: Option<u64>,
        /// Bytes kept, keys included, from "1MiB" (default "100MiB").
        bytes: Option<Size>,
        /// How long an answer is good of a tool whose line does not say otherwise, "1ms" to "30d" (default "1h").
        ttl: Option<Duration>,
    }
}

table! {
    /// What is kept of calls.
    Calls {
        /// Calls kept in memory, 0 to 100000 (default 2000).
        #[schemars(range(min = 0, max = 100_000))]
        ring: Option<u32>,
        /// Share of the successful calls that are kept on disk, 0 to 1 (default 0.01). Others are always kept there.
        #[schemars(range(min = 0, max = 1))]
        sample: Option<f64>,
        /// Whether arguments and results are kept with the calls on disk (default false). What looks like a secret is masked.
        bodies: Option<bool>,
    }
}

table! {
    /// How clients of the gateway see a server and how it is called for them. Changes hold at once; they never restart the server.
    ServerGateway {
        /// Whether clients see this server (default true).
        expose: Option<bool>,
        /// Whose connection a call travels on (default `shared`); with `per_client` a server over its standard streams has a process for each client.
        sharing: Option<Sharing>,
        /// With `per_client`: clients that may have a connection of their own, 1 to 10000 (default 32).
        #[schemars(range(min = 1, max = 10_000))]
        max_clients: Option<u32>,
        /// With `per_client`: closed after this long without a call, "1s" to "24h" (default "10m").
        client_idle: Option<Duration>,
        /// How its instances are chosen (default `p2c`).
        balance: Option<Balance>,
        /// With `weighted_round_robin`: weights of instances 1, 2, …, each 0 to 1000, not all 0; those not named weigh 1.
        #[schemars(length(min = 1, max = 64))]
        weights: Option<Vec<u32>>,
        /// Calls under way in one instance, 1 to 100000 (default 100).
        #[schemars(range(min = 1, max = 100_000))]
        max_in_flight: Option<u32>,
        /// Calls that may wait for a place, 0 to 100000; more are refused (default 100).
        #[schemars(range(min = 0, max = 100_000))]
        queue: Option<u32>,
        /// How long one may wait for a place, up to "10m" (default "10s").
        queue_timeout: Option<Duration>,
        /// From a request, or its last progress, to giving up, "10ms" to "24h" (default "60s").
        timeout: Option<Duration>,
        /// In all, retries and waits included, "10ms" to "24h", not less than `timeout` (default "5m").
        total_timeout: Option<Duration>,
        /// Connections to one instance that speaks plain HTTP on this machine.
        pool: Option<Pool>,
        /// When a call is tried again (default in production `standard`, otherwise `quick`).
        retry: Option<RetryRule>,
        /// When calls are held back from a server that fails, or "off".
        breaker: Option<BreakerRule>,
        /// What is said about single tools, by the server's own name of the tool.
        tools: Option<BTreeMap<String, Tool>>,
    }
}

table! {
    /// Connections to one instance that speaks plain HTTP on this machine.
    Pool {
        /// Once opened, kept however long they are idle, 0 to 1000, not more than `max` (default 1; where `production` is written 5).
        #[schemars(range(min = 0, max = 1_000))]
        min: Option<u32>,
        /// Calls on a connection at once, 1 to 1000; more wait, as long as `queue_timeout` says (default 50; in development 5, in test 2).
        #[schemars(range(min = 1, max = 1_000))]
        max: Option<u32>,
        /// Beyond `min`: closed after this long without use, "1s" to "24h" (default "10m").
        idle: Option<Duration>,
        /// Not used again at this age, "1s" to "7d" (default "1h").
        age: Option<Duration>,
        /// How long opening one may take, "10ms" to "10m" (default "10s").
        connect_timeout: Option<Duration>,
    }
}

table! {
    /// When a call is tried again. Only one that provably did not run, or whose tool is idempotent or read-only, ever is.
    Retry {
        /// The policy to begin from; without one the keys stand on what is in force without them.
        preset: Option<PresetWord>,
        /// How the waits grow.
        strategy: Option<Backoff>,
        /// The first wait, "1ms" to "10m", not more than `max`.
        base: Option<Duration>,
        /// The longest wait, "1ms" to "1h".
        max: Option<Duration>,
        /// With `linear`: how much each wait is longer than the one before, up to "10m" (default "1s").
        step: Option<Duration>,
        /// With `exponential` and `adaptive`: by how much each wait is multiplied, 1 to 10 (default 2).
        #[schemars(range(min = 1, max = 10))]
        multiplier: Option<f64>,
        /// Tries in all, the first included, 1 to 20.
        #[schemars(range(min = 1, max = 20))]
        attempts: Option<u32>,
        /// Random share by which a wait may shrink or grow, 0 to 1 (default 0.1).
        #[schemars(range(min = 0, max = 1))]
        jitter: Option<f64>,
        /// Which failures are tried again.
        on: Option<Vec<FailureWord>>,
        /// Retries allowed per call sent over the last ten seconds, 0 to 10 (default 0.2; three are always allowed).
        #[schemars(range(min = 0, max = 10))]
        budget: Option<f64>,
    }
}

table! {
    /// When calls are held back. One breaker for each server and one for each of its tools.
    Breaker {
        /// Failures in a row that open it, 1 to 1000 (default 5).
        #[schemars(range(min = 1, max = 1_000))]
        failures: Option<u32>,
        /// Successes in a row that close it again, 1 to 1000 (default 3).
        #[schemars(range(min = 1, max = 1_000))]
        successes: Option<u32>,
        /// How long it stays open before calls are let through on trial, "10ms" to "24h" (default "30s").
        open: Option<Duration>,
        /// Calls on trial at once, 1 to 1000 (default 3).
        #[schemars(range(min = 1, max = 1_000))]
        half_open: Option<u32>,
    }
}

table! {
    /// What is said about one tool.
    Tool {
        /// Another name for clients, without the server's prefix: 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
        #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,64}$"))]
        name: Option<String>,
        /// Another description for clients.
        description: Option<String>,
        /// Whether clients do not see it (default false).
        hidden: Option<bool>,
        /// Whether calling it twice is as good as once, whatever its annotations say (default: its annotations decide).
        idempotent: Option<bool>,
        /// Its own retry policy.
        retry: Option<RetryRule>,
        /// How long an answer may be given again, "1ms" to "30d", or `true` for as long as the cache's `ttl` says (default: never; equal arguments only, errors never).
        cache: Option<CacheRule>,
    }
}

table! {
    /// A reference to a secret.
    SecretTable {
        /// Its name.
        secret: String,
    }
}

/// Keys of each table.
pub(crate) mod keys {
    pub(crate) const FLEET: &[&str] = super::FleetFile::KEYS;
    pub(crate) const DEFAULTS: &[&str] = super::Defaults::KEYS;
    pub(crate) const PANEL: &[&str] = super::Panel::KEYS;
    pub(crate) const DASHBOARD: &[&str] = super::Dashboard::KEYS;
    pub(crate) const STREAM: &[&str] = super::AgentStream::KEYS;
    pub(crate) const SAMPLING: &[&str] = super::Sampling::KEYS;
    pub(crate) const METRICS: &[&str] = super::MetricsTable::KEYS;
    pub(crate) const KEEP: &[&str] = super::Keep::KEYS;
    pub(crate) const TARGET: &[&str] = super::ScrapeTargetTable::KEYS;
    pub(crate) const SOURCE: &[&str] = super::MetricsSource::KEYS;
    pub(crate) const WORKFLOWS: &[&str] = super::Workflows::KEYS;
    pub(crate) const ALERTS: &[&str] = super::Alerts::KEYS;
    pub(crate) const ALERT_RULE: &[&str] = super::AlertRuleTable::KEYS;
    pub(crate) const CHANNEL: &[&str] = super::ChannelTable::KEYS;
    pub(crate) const SERVER: &[&str] = super::Server::KEYS;
    pub(crate) const DEPENDENCY: &[&str] = super::DependencyTable::KEYS;
    pub(crate) const RESTART: &[&str] = super::Restart::KEYS;
    pub(crate) const HEALTH: &[&str] = super::Health::KEYS;
    pub(crate) const CHECK: &[&str] = super::CheckTable::KEYS;
    pub(crate) const LIMITS: &[&str] = super::Limits::KEYS;
    pub(crate) const SECRET: &[&str] = super::SecretTable::KEYS;
    pub(crate) const GATEWAY: &[&str] = super::Gateway::KEYS;
    pub(crate) const GROUP: &[&str] = super::GroupTable::KEYS;
    pub(crate) const BUCKET: &[&str] = super::BucketTable::KEYS;
    pub(crate) const WINDOW: &[&str] = super::WindowTable::KEYS;
    pub(crate) const CACHE: &[&str] = super::Cache::KEYS;
    pub(crate) const CALLS: &[&str] = super::Calls::KEYS;
    pub(crate) const CANARY: &[&str] = super::Canary::KEYS;
    pub(crate) const EXPOSURE: &[&str] = super::ServerGateway::KEYS;
    pub(crate) const POOL: &[&str] = super::Pool::KEYS;
    pub(crate) const RETRY: &[&str] = super::Retry::KEYS;
    pub(crate) const BREAKER: &[&str] = super::Breaker::KEYS;
    pub(crate) const TOOL: &[&str] = super::Tool::KEYS;
}

macro_rules! schema_only {
    ($(#[$about:meta])* enum $name:ident { $( $(#[$variant_about:meta])* $variant:ident $(($type:ty))?, )* }) => {
        #[derive(JsonSchema)]
        $(#[$about])*
        #[expect(dead_code, reason = "only its schema is used")]
        enum $name { $( $(#[$variant_about])* $variant $(($type))?, )* }
    };
    ($(#[$about:meta])* struct $name:ident($(#[$inner:meta])* $type:ty)) => {
        #[derive(JsonSchema)]
        $(#[$about])*
        #[expect(dead_code, reason = "only its schema is used")]
        struct $name($(#[$inner])* $type);
    };
}

schema_only! {
    /// What the fleet is for.
    #[schemars(rename_all = "snake_case")]
    enum ProfileWord {
        /// Health is checked every 30 s; where it is written, the gateway limits rates, keeps five connections and retries patiently.
        Production,
        /// Health is checked every 10 s.
        Development,
        /// Health is checked every second.
        Test,
    }
}

schema_only! {
    /// How a channel tells.
    #[schemars(rename_all = "snake_case")]
    enum ChannelWord {
        /// A POST of JSON, signed where there is a secret.
        Webhook,
        /// Alertmanager's API, version 2.
        Alertmanager,
        /// A program.
        Exec,
        /// An e-mail.
        Smtp,
        /// A notification of the desktop.
        Desktop,
    }
}

schema_only! {
    /// How a server is spoken to.
    #[schemars(rename_all = "snake_case")]
    enum TransportWord {
        /// Over its standard streams.
        Stdio,
        /// Streamable HTTP.
        Http,
        /// The old HTTP+SSE, which the protocol has dropped: the server is kept disabled.
        Sse,
    }
}

schema_only! {
    /// A text, or a reference to a secret.
    #[schemars(untagged)]
    enum Value {
        /// The text itself.
        Text(String),
        /// A secret by its name.
        Secret(SecretTable),
    }
}

schema_only! {
    /// Whether and why it is disabled.
    #[schemars(untagged)]
    enum Disabled {
        /// Whether.
        Whether(bool),
        /// Why.
        Why(String),
    }
}

schema_only! {
    /// A server that must be up first.
    #[schemars(untagged)]
    enum DependsOn {
        /// Its process must run.
        Name(Name),
        /// With a condition.
        Table(DependencyTable),
    }
}

schema_only! {
    /// What one health check asks.
    #[schemars(untagged)]
    enum Check {
        /// By a word.
        Word(CheckWord),
        /// In another way.
        Table(CheckTable),
    }
}

schema_only! {
    /// A check without settings.
    #[schemars(rename_all = "snake_case")]
    enum CheckWord {
        /// The server answers as an MCP server, with the tools it had.
        Mcp,
        /// Nothing is asked: health stays unknown, never green.
        None,
    }
}

schema_only! {
    /// How many automatic restarts are allowed.
    #[schemars(untagged)]
    enum MaxRestarts {
        /// So many; 0 means none.
        Number(u32),
        /// Any number.
        Word(Unlimited),
    }
}

schema_only! {
    /// No limit.
    #[schemars(rename_all = "snake_case")]
    enum Unlimited {
        /// Any number.
        Unlimited,
    }
}

schema_only! {
    /// A token bucket, or none.
    #[schemars(untagged)]
    enum ToolRate {
        /// None.
        Off(Off),
        /// A bucket.
        Bucket(BucketTable),
    }
}

schema_only! {
    /// A sliding window, or none.
    #[schemars(untagged)]
    enum ClientRate {
        /// None.
        Off(Off),
        /// A window.
        Window(WindowTable),
    }
}

schema_only! {
    /// When calls are held back, or never.
    #[schemars(untagged)]
    enum BreakerRule {
        /// Never.
        Off(Off),
        /// Then.
        Breaker(Breaker),
    }
}

schema_only! {
    /// Not at all.
    #[schemars(rename_all = "snake_case")]
    enum Off {
        /// Not at all.
        Off,
    }
}

schema_only! {
    /// A retry policy: by name, or key by key.
    #[schemars(untagged)]
    enum RetryRule {
        /// By name.
        Preset(PresetWord),
        /// Key by key.
        Table(Retry),
    }
}

schema_only! {
    /// A retry policy with a name.
    #[schemars(rename_all = "snake_case")]
    enum PresetWord {
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
}

schema_only! {
    /// A failure that can be tried again.
    #[schemars(rename_all = "snake_case")]
    enum FailureWord {
        /// Nothing speaks against another try.
        Retryable,
        /// The server was not reached, or the connection broke.
        Network,
        /// No answer in time.
        Timeout,
        /// The server asked for patience.
        Throttled,
    }
}

schema_only! {
    /// Whether or how long answers are given again.
    #[schemars(untagged)]
    enum CacheRule {
        /// Whether.
        Whether(bool),
        /// How long.
        For(Duration),
    }
}

schema_only! {
    /// A duration: whole numbers with the units d, h, m, s, ms, from large to small ("500ms", "5s", "1m30s").
    #[schemars(transparent)]
    struct Duration(#[schemars(regex(pattern = r"^(?=.)(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$"))] String)
}

schema_only! {
    /// A size with the unit KiB, MiB or GiB ("512MiB").
    #[schemars(transparent)]
    struct Size(#[schemars(regex(pattern = r"^\d+(\.\d+)? *[KMG]iB$"))] String)
}

schema_only! {
    /// Name of a server.
    #[schemars(transparent)]
    struct Name(#[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))] String)
}

/// JSON Schema of `fleet.toml`, for editors; `docs/fleet.schema.json` is this text.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<FleetFile>();
    schema.insert("title".into(), "fleet.toml".into());
    let mut schema = schema.to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: a key that may be absent is not one that may be null.
fn without_null(schema: &mut serde_json::Value) {
    let is_null = |schema: &serde_json::Value| {
        schema == "null" || *schema == serde_json::json!({ "type": "null" })
    };
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::Array(types)) = map.get_mut("type") {
                types.retain(|one| !is_null(one));
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(serde_json::Value::Array(mut any)) = map.remove("anyOf") {
                any.retain(|one| !is_null(one));
                // `allOf` with one element: beside a `$ref`, draft 7 ignores the description.
                let key = if any.len() == 1 { "allOf" } else { "anyOf" };
                map.insert(key.into(), any.into());
            }
            map.values_mut().for_each(without_null);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}
