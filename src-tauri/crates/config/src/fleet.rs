use crate::{MetricsSpec, resolve};
use flotilla_contract::{
    ServerId, ServerSpec,
    alert::{AlertsSpec, ChannelKind, Credential},
    gateway::{Bucket, Exposure, GatewaySpec, PoolSpec, RetryPreset, Window},
    host::HostPattern,
    spec::{Transport, Value},
};
use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, time::Duration};

/// What `fleet.toml` declares, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The profile.
    pub profile: Profile,
    /// Port of the panel, if the operator set one: when it is taken, that is an error. 0 means any free one.
    pub panel_port: Option<u16>,
    /// The realtime dashboard.
    pub dashboard: DashboardSpec,
    /// The agent stream.
    pub stream: StreamSpec,
    /// Distance of two samplings (default 2 s).
    pub sample_interval: Duration,
    /// What is scraped, and what is kept.
    pub metrics: MetricsSpec,
    /// The gateway.
    pub gateway: GatewaySpec,
    /// Hosts that `http` steps of workflows may reach (default every host at a public address).
    pub http_hosts: Vec<HostPattern>,
    /// Folders in which commands of workflows may write besides their workspace (default none).
    pub writable: Vec<PathBuf>,
    /// Rules over the metrics, and who is told.
    pub alerts: AlertsSpec,
    /// The servers, in the order of the file.
    pub servers: Vec<ServerSpec>,
}

/// The realtime dashboard: a WebSocket that tells pages of other makes how the fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DashboardSpec {
    /// Whether it is served (default true).
    pub enabled: bool,
    /// Its port, if the operator set one: when it is taken, that is an error. 0 means any free one.
    pub port: Option<u16>,
    /// How often the picture is sent (default 5 s).
    pub interval: Duration,
}

impl Default for DashboardSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            port: None,
            interval: Duration::from_secs(5),
        }
    }
}

/// The agent stream: a WebSocket on which one request is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Whether it is served (default true).
    pub enabled: bool,
    /// Its port, if the operator set one: when it is taken, that is an error. 0 means any free one.
    pub port: Option<u16>,
}

impl Default for StreamSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            port: None,
        }
    }
}

impl Default for Fleet {
    /// What an empty file declares.
    fn default() -> Self {
        Self {
            gateway: GatewaySpec::default(),
            profile: Profile::default(),
            panel_port: None,
            dashboard: DashboardSpec::default(),
            stream: StreamSpec::default(),
            sample_interval: Duration::from_secs(2),
            metrics: MetricsSpec::default(),
            http_hosts: vec![HostPattern::Public],
            writable: Vec::new(),
            alerts: AlertsSpec::default(),
            servers: Vec::new(),
        }
    }
}

impl Fleet {
    /// The server of this name.
    #[must_use]
    pub fn server(&self, id: &ServerId) -> Option<&ServerSpec> {
        self.servers.iter().find(|server| server.id == *id)
    }

    /// Names of the secrets that the file refers to, with the servers that do; none where only `[metrics]` does.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<String, Vec<ServerId>> {
        let mut used: BTreeMap<String, Vec<ServerId>> = BTreeMap::new();
        for server in &self.servers {
            for name in secret_names(&server.transport) {
                let servers = used.entry(name.to_owned()).or_default();
                if !servers.contains(&server.id) {
                    servers.push(server.id.clone());
                }
            }
        }
        for (url, headers) in self.metrics.addresses() {
            for name in secrets_of([url], headers.values()) {
                used.entry(name.to_owned()).or_default();
            }
        }
        // Those of channels belong to no server.
        for channel in &self.alerts.channels {
            for text in channel_texts(&channel.kind) {
                for name in resolve::secrets_in(&text) {
                    used.entry(name.to_owned()).or_default();
                }
            }
        }
        used
    }
}

/// The texts of a channel in which secrets may be referred to.
fn channel_texts(kind: &ChannelKind) -> Vec<Cow<'_, str>> {
    match kind {
        ChannelKind::Webhook { url, secret } => {
            let secret = secret.as_ref().map(Credential::text);
            std::iter::once(url.into()).chain(secret).collect()
        }
        ChannelKind::Alertmanager { url } => vec![url.into()],
        ChannelKind::Exec { command, .. } => command.iter().map(Into::into).collect(),
        ChannelKind::Smtp(smtp) => {
            let login = smtp.login.iter();
            login.map(|login| login.password.text()).collect()
        }
        ChannelKind::Desktop => Vec::new(),
    }
}

/// Names of the secrets that a server needs, each as often as it is used.
fn secret_names(transport: &Transport) -> Vec<&str> {
    let mut texts: Vec<&str> = Vec::new();
    let mut values: Vec<&Value> = Vec::new();
    if let Some(launch) = transport.launch() {
        texts.push(&launch.command);
        texts.extend(launch.args.iter().map(String::as_str));
        texts.extend(launch.cwd.as_deref());
        values.extend(launch.env.values());
    }
    match transport {
        Transport::Http { headers, .. } => values.extend(headers.values()),
        Transport::Url { url, headers } => {
            texts.push(url);
            values.extend(headers.values());
        }
        Transport::Stdio { .. } | Transport::Sse { .. } => {}
    }
    secrets_of(texts, values)
}

fn secrets_of<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    values: impl IntoIterator<Item = &'a Value>,
) -> Vec<&'a str> {
    let mut texts: Vec<&str> = texts.into_iter().collect();
    let mut names = Vec::new();
    for value in values {
        match value {
            Value::Secret { name } => names.push(name.as_str()),
            Value::Text { text } => texts.push(text),
        }
    }
    names.extend(texts.into_iter().flat_map(resolve::secrets_in));
    names
}

/// A token bucket where the file gives none of its figures.
pub(crate) const TOOL_RATE: Bucket = Bucket {
    burst: 100,
    per_second: 10.0,
};
/// A window where the file gives none of its figures.
pub(crate) const CLIENT_RATE: Window = Window {
    requests: 100,
    span_ms: 60_000,
};

/// What the fleet is for. It sets the default of `health.interval`, and some of the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Health is checked every 30 s; where it is named, the gateway limits rates, keeps five connections and retries patiently.
    #[default]
    Production,
    /// Health is checked every 10 s.
    Development,
    /// Health is checked every second.
    Test,
}

impl Profile {
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("production", Self::Production),
        ("development", Self::Development),
        ("test", Self::Test),
    ];

    /// The word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Development => "development",
            Self::Test => "test",
        }
    }

    /// Default distance of two health checks, in milliseconds.
    #[must_use]
    pub fn health_interval_ms(self) -> u64 {
        match self {
            Self::Production => 30_000,
            Self::Development => 10_000,
            Self::Test => 1_000,
        }
    }

    /// What holds of the gateway where the file says nothing.
    #[must_use]
    pub fn gateway(self) -> GatewaySpec {
        let production = self == Self::Production;
        GatewaySpec {
            tool_rate: production.then_some(TOOL_RATE),
            client_rate: production.then_some(CLIENT_RATE),
            ..GatewaySpec::default()
        }
    }

    /// What holds of a server at the gateway where the file says nothing.
    #[must_use]
    pub fn exposure(self) -> Exposure {
        let standard = Exposure::default();
        let (min, max) = match self {
            Self::Production => (5, 50),
            Self::Development => (1, 5),
            Self::Test => (1, 2),
        };
        Exposure {
            pool: PoolSpec {
                min,
                max,
                ..standard.pool
            },
            retry: match self {
                Self::Production => RetryPreset::Standard.spec(),
                Self::Development | Self::Test => standard.retry,
            },
            ..standard
        }
    }
}
