//! The shape of `fleet.toml`, as its JSON Schema says it. These types are never built: [`parse`](crate::parse) reads the tables by hand,
//! so that it can report every error at its place, and takes from here which keys exist.

use flotilla_contract::spec::{DependencyCondition, RestartWhen};
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
            const KEYS: &[&str] = &[$(stringify!($field)),*];
        }
    };
}

table! {
    /// What `fleet.toml` may contain.
    FleetFile {
        /// What the fleet is for; sets the default of `health.interval` to 30 s, 10 s or 1 s (default `production`).
        profile: Option<ProfileWord>,
        /// Defaults for all servers.
        defaults: Option<Defaults>,
        /// The panel.
        panel: Option<Panel>,
        /// Sampling of processes.
        sampling: Option<Sampling>,
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
    /// Sampling of processes.
    Sampling {
        /// Distance of two samplings of CPU, memory, files and threads, "200ms" to "1h" (default "2s").
        interval: Option<Duration>,
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
    pub(crate) const SAMPLING: &[&str] = super::Sampling::KEYS;
    pub(crate) const SERVER: &[&str] = super::Server::KEYS;
    pub(crate) const DEPENDENCY: &[&str] = super::DependencyTable::KEYS;
    pub(crate) const RESTART: &[&str] = super::Restart::KEYS;
    pub(crate) const HEALTH: &[&str] = super::Health::KEYS;
    pub(crate) const CHECK: &[&str] = super::CheckTable::KEYS;
    pub(crate) const LIMITS: &[&str] = super::Limits::KEYS;
    pub(crate) const SECRET: &[&str] = super::SecretTable::KEYS;
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
        /// Health is checked every 30 s.
        Production,
        /// Health is checked every 10 s.
        Development,
        /// Health is checked every second.
        Test,
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
