//! The words of the gateway's settings, and the settings as a list of keys with what is said about each.

use crate::units::{show_duration, show_size};
use flotilla_contract::{
    ServerId,
    gateway::{
        Backoff, Balance, Exposure, FailureClass, GatewaySpec, NamePolicy, RetryPreset, RetrySpec,
        Sharing, ToolSpec,
    },
};
use std::{collections::BTreeMap, fmt::Display};

/// Words of the file with what they stand for.
pub(crate) type Words<T> = &'static [(&'static str, T)];

pub(crate) const NAMES: Words<NamePolicy> = &[
    ("prefix", NamePolicy::Prefix),
    ("priority", NamePolicy::Priority),
    ("manual", NamePolicy::Manual),
];
pub(crate) const SHARING: Words<Sharing> = &[
    ("shared", Sharing::Shared),
    ("per_client", Sharing::PerClient),
];
pub(crate) const BALANCE: Words<Balance> = &[
    ("p2c", Balance::P2c),
    ("round_robin", Balance::RoundRobin),
    ("least_connections", Balance::LeastConnections),
    ("weighted_round_robin", Balance::WeightedRoundRobin),
    ("random", Balance::Random),
    ("health_based", Balance::HealthBased),
    ("response_time_based", Balance::ResponseTimeBased),
];
pub(crate) const BACKOFF: Words<Backoff> = &[
    ("exponential", Backoff::Exponential),
    ("linear", Backoff::Linear),
    ("adaptive", Backoff::Adaptive),
];
pub(crate) const PRESETS: Words<RetryPreset> = &[
    ("quick", RetryPreset::Quick),
    ("standard", RetryPreset::Standard),
    ("network", RetryPreset::Network),
    ("throttle", RetryPreset::Throttle),
    ("none", RetryPreset::None),
];
/// Classes that can be tried again; another try does not help against the others.
pub(crate) const FAILURES: Words<FailureClass> = &[
    ("retryable", FailureClass::Retryable),
    ("network", FailureClass::Network),
    ("timeout", FailureClass::Timeout),
    ("throttled", FailureClass::Throttled),
];

/// The word for a value.
fn word<T: PartialEq>(words: Words<T>, value: &T) -> &'static str {
    words
        .iter()
        .find(|(_, other)| other == value)
        .map_or("other", |(word, _)| word)
}

/// One setting: the key by which it is found, its key in full, and its value for people; absent keys have no line.
pub(crate) struct Line<K = String> {
    /// For a change's list of fields.
    pub(crate) field: K,
    pub(crate) key: String,
    pub(crate) value: String,
}

fn or(value: Option<impl Display>, absent: &str) -> String {
    value.map_or_else(|| absent.to_owned(), |value| value.to_string())
}

fn listed(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

/// The settings of `[gateway]`.
pub(crate) fn of_fleet(spec: &GatewaySpec) -> Vec<Line<&'static str>> {
    let ids = |ids: &[ServerId]| listed(ids.iter());
    let line = |field: &'static str, value: String| Line {
        field,
        key: field.to_owned(),
        value,
    };
    let tool_rate = spec
        .tool_rate
        .map(|rate| format!("{} at once, {} per second", rate.burst, rate.per_second));
    let client_rate = spec
        .client_rate
        .map(|rate| format!("{} in {}", rate.requests, show_duration(rate.span_ms)));
    let mut lines = vec![
        line("gateway.enabled", spec.enabled.to_string()),
        line("gateway.port", or(spec.port, "default")),
        line("gateway.names", word(NAMES, &spec.names).into()),
        line("gateway.priority", ids(&spec.priority)),
        line("gateway.tool_rate", or(tool_rate, "off")),
        line("gateway.client_rate", or(client_rate, "off")),
        line("gateway.cache.entries", spec.cache.entries.to_string()),
        line("gateway.cache.bytes", show_size(spec.cache.bytes)),
        line("gateway.cache.ttl", show_duration(spec.cache.ttl_ms)),
        line("gateway.calls.ring", spec.calls.ring.to_string()),
        line("gateway.calls.sample", spec.calls.sample.to_string()),
        line("gateway.calls.bodies", spec.calls.bodies.to_string()),
    ];
    lines.extend(spec.groups.iter().map(|group| Line {
        field: "gateway.groups",
        key: format!("gateway.groups.{}", group.name),
        value: ids(&group.servers),
    }));
    lines
}

/// The settings of `[servers.NAME.gateway]`.
pub(crate) fn of_server(spec: &Exposure) -> Vec<Line> {
    let (pool, breaker) = (&spec.pool, &spec.breaker);
    let mut lines = vec![
        line("expose", spec.expose),
        line("sharing", word(SHARING, &spec.sharing)),
        line("max_clients", spec.max_clients),
        line("client_idle", show_duration(spec.client_idle_ms)),
        line("balance", word(BALANCE, &spec.balance)),
        line("weights", listed(spec.weights.iter())),
        line("max_in_flight", spec.max_in_flight),
        line("queue", spec.queue),
        line("queue_timeout", show_duration(spec.queue_timeout_ms)),
        line("timeout", show_duration(spec.timeout_ms)),
        line("total_timeout", show_duration(spec.total_timeout_ms)),
        line("pool.min", pool.min),
        line("pool.max", pool.max),
        line("pool.idle", show_duration(pool.idle_ms)),
        line("pool.age", show_duration(pool.age_ms)),
        line(
            "pool.connect_timeout",
            show_duration(pool.connect_timeout_ms),
        ),
        line("retry", retry(&spec.retry)),
        line("breaker", if breaker.enabled { "on" } else { "off" }),
        line("breaker.failures", breaker.failures),
        line("breaker.successes", breaker.successes),
        line("breaker.open", show_duration(breaker.open_ms)),
        line("breaker.half_open", breaker.half_open),
    ];
    for (name, spec) in &spec.tools {
        tool(&crate::parse::join("tools", name), spec, &mut lines);
    }
    lines
}

fn line(key: &str, value: impl Display) -> Line {
    let key = format!("gateway.{key}");
    Line {
        field: key.clone(),
        key,
        value: value.to_string(),
    }
}

/// A policy with a name is told by it, another one whole.
fn retry(spec: &RetrySpec) -> String {
    if let Some((name, _)) = PRESETS.iter().find(|(_, preset)| preset.spec() == *spec) {
        return (*name).to_owned();
    }
    let growth = match spec.strategy {
        Backoff::Linear => format!("step {}", show_duration(spec.step_ms)),
        Backoff::Exponential | Backoff::Adaptive => format!("multiplier {}", spec.multiplier),
    };
    format!(
        "({}, base {}, max {}, {growth}, attempts {}, jitter {}, on {}, budget {})",
        word(BACKOFF, &spec.strategy),
        show_duration(spec.base_ms),
        show_duration(spec.max_ms),
        spec.attempts,
        spec.jitter,
        listed(spec.on.iter().map(|class| word(FAILURES, class))),
        spec.budget,
    )
}

fn tool(key: &str, spec: &ToolSpec, lines: &mut Vec<Line>) {
    let mut add = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| line(&format!("{key}.{name}"), value)));
    };
    add("name", spec.name.clone());
    add(
        "description",
        spec.description.as_ref().map(|text| format!("{text:?}")),
    );
    add("hidden", spec.hidden.then(|| "true".into()));
    add("idempotent", spec.idempotent.map(|truth| truth.to_string()));
    add("cache", spec.cache_ttl_ms.map(show_duration));
    add("retry", spec.retry.as_ref().map(retry));
}

/// Settings that differ, each with its change in words: those of `new` in its order, then those that only `old` has.
pub(crate) fn differing<K: Clone>(old: &[Line<K>], new: &[Line<K>]) -> Vec<(K, String)> {
    let (before, after) = (by_key(old), by_key(new));
    let gone = old.iter().filter(|line| !after.contains_key(&*line.key));
    new.iter()
        .chain(gone)
        .filter_map(|line| {
            let of = |lines: &BTreeMap<&str, &'_ str>| {
                lines.get(&*line.key).copied().unwrap_or("unset").to_owned()
            };
            let (old, new) = (of(&before), of(&after));
            (old != new).then(|| (line.field.clone(), format!("{} {old} → {new}", line.key)))
        })
        .collect()
}

fn by_key<K>(lines: &[Line<K>]) -> BTreeMap<&str, &str> {
    lines
        .iter()
        .map(|line| (line.key.as_str(), line.value.as_str()))
        .collect()
}
