//! `[gateway]`, `[defaults.gateway]` and `[servers.NAME.gateway]`.

use super::{
    read::{Fields, Node, suggest},
    server::set,
};
use crate::{
    file::keys,
    fleet::{CLIENT_RATE, TOOL_RATE},
    gateway::{BACKOFF, BALANCE, FAILURES, NAMES, PRESETS, SHARING},
    units::show_duration,
};
use flotilla_contract::{
    ServerId,
    gateway::{
        Backoff, Balance, BreakerSpec, Bucket, CacheSpec, CallKeeping, Exposure, GatewaySpec,
        Group, NamePolicy, PoolSpec, RetrySpec, Sharing, ToolSpec, Window,
    },
    spec::Transport,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

/// More groups than this are refused.
const MOST_GROUPS: usize = 100;
/// More tools of one server than this are refused.
const MOST_TOOLS: usize = 2_000;
/// How long an answer may be good.
const TTL: RangeInclusive<u64> = 1..=2_592_000_000;

impl Fields<'_> {
    pub(super) fn number_into<T: TryFrom<i64>>(
        &self,
        key: &str,
        range: RangeInclusive<i64>,
        into: &mut T,
    ) {
        set(into, self.get(key).and_then(|node| node.number(range)));
    }

    pub(super) fn duration_into(&self, key: &str, range: RangeInclusive<u64>, into: &mut u64) {
        set(into, self.get(key).and_then(|node| node.duration(range)));
    }

    fn decimal_into(&self, key: &str, range: RangeInclusive<f64>, into: &mut f64) {
        set(into, self.get(key).and_then(|node| node.decimal(range)));
    }

    pub(super) fn boolean_into(&self, key: &str, into: &mut bool) {
        set(into, self.get(key).and_then(|node| node.boolean()));
    }

    pub(super) fn word_into<T: Copy>(&self, key: &str, words: &[(&str, T)], into: &mut T) {
        set(into, self.get(key).and_then(|node| node.word(words)));
    }

    fn table_of(&self, key: &str, known: &[&str]) -> Option<Self> {
        Some(self.get(key)?.table()?.allow(known))
    }

    /// A key that nobody would read is a finding.
    pub(super) fn without_effect(&self, key: &str, when: &str) {
        if let Some(node) = self.get(key) {
            node.wrong(format!("{key} has no effect {when}; remove it"));
        }
    }
}

/// `[gateway]`; what is absent stays as it was.
pub(super) fn gateway(fields: &Fields<'_>, into: &mut GatewaySpec) {
    fields.boolean_into("enabled", &mut into.enabled);
    if let Some(node) = fields.get("port") {
        into.port = node.number(0..=65_535);
    }
    fields.word_into("names", NAMES, &mut into.names);
    if let Some(node) = fields.get("priority") {
        into.priority = servers(&node).into_iter().map(|(id, _)| id).collect();
        if into.names != NamePolicy::Priority {
            node.wrong(
                "priority has no effect unless names is \"priority\"; set that, or remove it",
            );
        }
    }
    if let Some(table) = fields.get("groups").and_then(|node| node.table()) {
        into.groups = groups(&table);
    }
    if let Some(node) = fields.get("tool_rate") {
        rate(
            &node,
            "{ burst = 100, per_second = 10 }",
            &mut into.tool_rate,
            bucket,
        );
    }
    if let Some(node) = fields.get("client_rate") {
        rate(
            &node,
            "{ requests = 100, span = \"60s\" }",
            &mut into.client_rate,
            window,
        );
    }
    if let Some(table) = fields.table_of("cache", keys::CACHE) {
        cache(&table, &mut into.cache);
    }
    if let Some(table) = fields.table_of("calls", keys::CALLS) {
        calls(&table, &mut into.calls);
    }
}

/// "off", or a table.
fn rate<T>(
    node: &Node<'_>,
    example: &str,
    into: &mut Option<T>,
    read: impl Fn(Fields<'_>, Option<T>) -> T,
) {
    if node.as_str() == Some("off") {
        *into = None;
    } else if let Some(table) = node.as_table() {
        *into = Some(read(table, into.take()));
    } else {
        node.refuse::<()>(format!("a table such as {example}, or \"off\""));
    }
}

fn bucket(fields: Fields<'_>, inherited: Option<Bucket>) -> Bucket {
    let fields = fields.allow(keys::BUCKET);
    let mut bucket = inherited.unwrap_or(TOOL_RATE);
    fields.number_into("burst", 1..=1_000_000, &mut bucket.burst);
    fields.decimal_into("per_second", 0.001..=1_000_000.0, &mut bucket.per_second);
    bucket
}

fn window(fields: Fields<'_>, inherited: Option<Window>) -> Window {
    let fields = fields.allow(keys::WINDOW);
    let mut window = inherited.unwrap_or(CLIENT_RATE);
    fields.number_into("requests", 1..=1_000_000, &mut window.requests);
    fields.duration_into("span", 100..=86_400_000, &mut window.span_ms);
    window
}

fn cache(fields: &Fields<'_>, into: &mut CacheSpec) {
    fields.number_into("entries", 1..=10_000_000, &mut into.entries);
    set(
        &mut into.bytes,
        fields.get("bytes").and_then(|node| node.size(1 << 20)),
    );
    fields.duration_into("ttl", TTL, &mut into.ttl_ms);
}

fn calls(fields: &Fields<'_>, into: &mut CallKeeping) {
    fields.number_into("ring", 0..=100_000, &mut into.ring);
    fields.decimal_into("sample", 0.0..=1.0, &mut into.sample);
    fields.boolean_into("bodies", &mut into.bodies);
}

fn groups(fields: &Fields<'_>) -> Vec<Group> {
    let mut groups = Vec::new();
    for (index, (name, node)) in fields.entries().into_iter().enumerate() {
        if index == MOST_GROUPS {
            node.wrong(format!(
                "more groups than the {MOST_GROUPS} that are accepted"
            ));
            break;
        }
        if !is_group_name(name) {
            node.wrong(format!(
                "{name:?} is not the name of a group; accepted are 1 to 64 characters of a-z 0-9 -"
            ));
        }
        let Some(table) = node.table() else { continue };
        let table = table.allow(keys::GROUP);
        let Some(node) = table.get("servers") else {
            table.wrong("servers are not given; accepted is a list of at least one");
            continue;
        };
        let list = servers(&node);
        if node.list().is_some_and(|list| list.is_empty()) {
            node.wrong("found an empty list; accepted is a list of at least one server");
        }
        groups.push(Group {
            name: name.to_owned(),
            servers: list.into_iter().map(|(id, _)| id).collect(),
        });
    }
    groups
}

/// It is part of an address.
fn is_group_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Names of servers with their places.
fn servers<'a>(node: &Node<'a>) -> Vec<(ServerId, Node<'a>)> {
    let list = node.list().unwrap_or_default();
    list.into_iter()
        .filter_map(|node| {
            let id = node.text()?.parse();
            match id {
                Ok(id) => Some((id, node)),
                Err(error) => {
                    node.wrong(format!("{error}"));
                    None
                }
            }
        })
        .collect()
}

/// Priority and groups name servers that are declared, each once.
pub(super) fn known_servers(fields: &Fields<'_>, declared: &[&str]) {
    let mut lists: Vec<Node<'_>> = fields.get("priority").into_iter().collect();
    if let Some(groups) = fields.get("groups").and_then(|node| node.as_table()) {
        let tables = groups
            .entries()
            .into_iter()
            .filter_map(|(_, node)| node.as_table());
        lists.extend(tables.filter_map(|table| table.get("servers")));
    }
    for list in lists {
        let mut seen = BTreeSet::new();
        for node in list.as_list().unwrap_or_default() {
            let Some(name) = node.as_str().filter(|name| !name.is_empty()) else {
                continue;
            };
            if !declared.contains(&name) {
                let near = suggest(name, declared.iter().copied())
                    .map(|near| format!("; did you mean {near}?"))
                    .unwrap_or_default();
                node.wrong(format!("there is no server {name}{near}"));
            } else if !seen.insert(name) {
                node.wrong(format!("{name} is listed twice"));
            }
        }
    }
}

/// What `[defaults.gateway]` cannot say.
pub(super) fn defaults(fields: &Fields<'_>) {
    if let Some(node) = fields
        .get("gateway")
        .and_then(|node| node.as_table())
        .and_then(|table| table.get("tools"))
    {
        node.wrong("tools belong to a server; move them to [servers.NAME.gateway.tools]");
    }
}

/// `[servers.NAME.gateway]` or `[defaults.gateway]`; what is absent stays as it was.
pub(super) fn exposure(fields: &Fields<'_>, cache_ttl_ms: u64, into: &mut Exposure) {
    fields.boolean_into("expose", &mut into.expose);
    fields.word_into("sharing", SHARING, &mut into.sharing);
    fields.number_into("max_clients", 1..=10_000, &mut into.max_clients);
    fields.duration_into("client_idle", 1_000..=86_400_000, &mut into.client_idle_ms);
    fields.word_into("balance", BALANCE, &mut into.balance);
    set(
        &mut into.weights,
        fields.get("weights").and_then(|node| weights(&node)),
    );
    fields.number_into("max_in_flight", 1..=100_000, &mut into.max_in_flight);
    fields.number_into("queue", 0..=100_000, &mut into.queue);
    fields.duration_into("queue_timeout", 0..=600_000, &mut into.queue_timeout_ms);
    fields.duration_into("timeout", 10..=86_400_000, &mut into.timeout_ms);
    fields.duration_into("total_timeout", 10..=86_400_000, &mut into.total_timeout_ms);
    ordered(
        fields,
        ("timeout", &mut into.timeout_ms),
        ("total_timeout", into.total_timeout_ms),
        |ms| show_duration(*ms),
    );
    if let Some(table) = fields.table_of("pool", keys::POOL) {
        pool(&table, &mut into.pool);
    }
    if let Some(node) = fields.get("retry") {
        let policy = retry(&node, &into.retry);
        set(&mut into.retry, policy);
    }
    if let Some(node) = fields.get("breaker") {
        breaker(&node, &mut into.breaker);
    }
    if let Some(table) = fields.get("tools").and_then(|node| node.table()) {
        into.tools = tools(&table, cache_ttl_ms, &into.retry);
    }
}

/// The lower of two bounds must not be above the upper. One that is only inherited follows.
fn ordered<T: PartialOrd + Copy>(
    fields: &Fields<'_>,
    (low_key, low): (&str, &mut T),
    (high_key, high): (&str, T),
    show: impl Fn(&T) -> String,
) {
    if *low <= high {
        return;
    }
    match fields.get(low_key) {
        Some(node) => node.wrong(format!(
            "{low_key} {} is above {high_key} {}; accepted is {low_key} up to {high_key}",
            show(low),
            show(&high)
        )),
        None => *low = high,
    }
}

fn weights(node: &Node<'_>) -> Option<Vec<u32>> {
    let list = node.list()?;
    let weights: Vec<u32> = list
        .iter()
        .filter_map(|node| node.number(0..=1_000))
        .collect();
    if !(1..=64).contains(&list.len()) {
        node.wrong(format!(
            "found {} weights; accepted are 1 to 64",
            list.len()
        ));
        return None;
    }
    if weights.len() == list.len() && weights.iter().all(|weight| *weight == 0) {
        return node.refuse("weights of which one is above 0");
    }
    Some(weights)
}

fn pool(fields: &Fields<'_>, into: &mut PoolSpec) {
    fields.number_into("min", 0..=1_000, &mut into.min);
    fields.number_into("max", 1..=1_000, &mut into.max);
    fields.duration_into("idle", 1_000..=86_400_000, &mut into.idle_ms);
    fields.duration_into("age", 1_000..=604_800_000, &mut into.age_ms);
    fields.duration_into(
        "connect_timeout",
        10..=600_000,
        &mut into.connect_timeout_ms,
    );
    ordered(
        fields,
        ("min", &mut into.min),
        ("max", into.max),
        u32::to_string,
    );
}

/// A preset by its name, or a table over a preset or over what is in force.
fn retry(node: &Node<'_>, inherited: &RetrySpec) -> Option<RetrySpec> {
    if node.as_str().is_some() {
        return Some(node.word(PRESETS)?.spec());
    }
    let Some(table) = node.as_table() else {
        let names: Vec<String> = PRESETS
            .iter()
            .map(|(name, _)| format!("{name:?}"))
            .collect();
        return node.refuse(format!(
            "{}, or a table such as {{ preset = \"quick\", attempts = 4 }}",
            names.join(", ")
        ));
    };
    let fields = table.allow(keys::RETRY);
    let mut spec = match fields.get("preset") {
        Some(node) => node.word(PRESETS)?.spec(),
        None => inherited.clone(),
    };
    fields.word_into("strategy", BACKOFF, &mut spec.strategy);
    fields.duration_into("base", 1..=600_000, &mut spec.base_ms);
    fields.duration_into("max", 1..=3_600_000, &mut spec.max_ms);
    fields.duration_into("step", 0..=600_000, &mut spec.step_ms);
    fields.decimal_into("multiplier", 1.0..=10.0, &mut spec.multiplier);
    fields.number_into("attempts", 1..=20, &mut spec.attempts);
    fields.decimal_into("jitter", 0.0..=1.0, &mut spec.jitter);
    fields.decimal_into("budget", 0.0..=10.0, &mut spec.budget);
    if let Some(node) = fields.get("on") {
        let list = node.list().unwrap_or_default();
        spec.on.clear();
        for class in list.iter().filter_map(|node| node.word(FAILURES)) {
            if !spec.on.contains(&class) {
                spec.on.push(class);
            }
        }
    }
    ordered(
        &fields,
        ("base", &mut spec.base_ms),
        ("max", spec.max_ms),
        |ms| show_duration(*ms),
    );
    match spec.strategy {
        Backoff::Linear => fields.without_effect("multiplier", "on linear waits"),
        Backoff::Exponential | Backoff::Adaptive => {
            fields.without_effect("step", "on waits that are not linear");
        }
    }
    Some(spec)
}

fn breaker(node: &Node<'_>, into: &mut BreakerSpec) {
    if node.as_str() == Some("off") {
        into.enabled = false;
        return;
    }
    let Some(table) = node.as_table() else {
        node.refuse::<()>("a table such as { failures = 5, open = \"30s\" }, or \"off\"");
        return;
    };
    let fields = table.allow(keys::BREAKER);
    into.enabled = true;
    fields.number_into("failures", 1..=1_000, &mut into.failures);
    fields.number_into("successes", 1..=1_000, &mut into.successes);
    fields.duration_into("open", 10..=86_400_000, &mut into.open_ms);
    fields.number_into("half_open", 1..=1_000, &mut into.half_open);
}

fn tools(fields: &Fields<'_>, cache_ttl_ms: u64, server: &RetrySpec) -> BTreeMap<String, ToolSpec> {
    let mut tools = BTreeMap::new();
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (index, (own, node)) in fields.entries().into_iter().enumerate() {
        if index == MOST_TOOLS {
            node.wrong(format!(
                "more tools than the {MOST_TOOLS} that are accepted"
            ));
            break;
        }
        let Some(table) = node.table() else { continue };
        let table = table.allow(keys::TOOL);
        let spec = tool(&table, cache_ttl_ms, server);
        if let (Some(name), Some(node)) = (&spec.name, table.get("name"))
            && let Some(other) = names.insert(name.clone(), own)
        {
            node.wrong(format!("{name} is also the name of {other}"));
        }
        tools.insert(own.to_owned(), spec);
    }
    tools
}

fn tool(fields: &Fields<'_>, cache_ttl_ms: u64, server: &RetrySpec) -> ToolSpec {
    let mut hidden = false;
    fields.boolean_into("hidden", &mut hidden);
    ToolSpec {
        name: fields.get("name").and_then(|node| tool_name(&node)),
        description: fields.get("description").and_then(|node| node.text()),
        hidden,
        idempotent: fields.get("idempotent").and_then(|node| node.boolean()),
        retry: fields.get("retry").and_then(|node| retry(&node, server)),
        cache_ttl_ms: fields
            .get("cache")
            .and_then(|node| match (node.as_bool(), node.as_str()) {
                (Some(whether), _) => whether.then_some(cache_ttl_ms),
                (None, Some(_)) => node.duration(TTL),
                (None, None) => {
                    node.refuse("a duration in quotes, such as \"10m\", or true or false")
                }
            }),
    }
}

/// Clients and models cope with these characters everywhere.
fn tool_name(node: &Node<'_>) -> Option<String> {
    let name = node.text()?;
    let fits = name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if fits {
        Some(name)
    } else {
        node.refuse("1 to 64 characters of A-Z a-z 0-9 _ . -")
    }
}

/// Whether its connections may be counted ones: plain HTTP on this machine, as far as the text says.
fn pooled(transport: &Transport) -> bool {
    let url = match transport {
        Transport::Http { .. } => return true,
        Transport::Url { url, .. } => url.to_ascii_lowercase(),
        Transport::Stdio { .. } | Transport::Sse { .. } => return false,
    };
    let Some(rest) = url.strip_prefix("http://") else {
        return url.starts_with('$');
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.contains("${")
        || name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What a server says must have an effect on a server of its kind; what it inherits applies where it can.
pub(super) fn fits(server: &Fields<'_>, transport: &Transport, spec: &Exposure) {
    let weighted = spec.balance == Balance::WeightedRoundRobin;
    if let Some(own) = server.get("gateway").and_then(|node| node.as_table()) {
        if spec.sharing != Sharing::PerClient {
            own.without_effect("max_clients", "unless sharing is \"per_client\"");
            own.without_effect("client_idle", "unless sharing is \"per_client\"");
        }
        if !pooled(transport) {
            own.without_effect(
                "pool",
                "unless the server speaks plain HTTP on this machine",
            );
        }
        if !weighted {
            own.without_effect("weights", "unless balance is \"weighted_round_robin\"");
        }
    }
}
