//! One server's table.

use super::{
    Defaults, gateway,
    read::{Fields, Node},
};
use crate::{
    file::keys,
    resolve::{self, Piece},
    secrets::{self, Secret},
};
use flotilla_contract::{
    ServerId, ServerSpec,
    spec::{
        Canary, Check, Dependency, DependencyCondition, HealthCheck, Launch, Limits, OnDemand,
        RestartPolicy, RestartWhen, Transport, Value,
    },
};
use std::collections::BTreeMap;

/// Why an old server is disabled.
const SSE_REASON: &str = "it speaks the old HTTP+SSE transport, which the protocol has dropped";

/// A server with its place in the text.
pub(super) struct Read<'a> {
    pub(super) spec: ServerSpec,
    pub(super) fields: Fields<'a>,
}

pub(super) fn server<'a>(name: &str, fields: Fields<'a>, defaults: &Defaults) -> Option<Read<'a>> {
    let id: Option<ServerId> = name
        .parse()
        .map_err(|error| fields.wrong(format!("{error}")))
        .ok();
    let mut own = defaults.clone();
    common(&fields, &mut own);
    let transport = transport(&fields);
    if let Some(transport) = &transport {
        applicable(&fields, transport);
        check_fits(&fields, transport, &own.health.check);
        gateway::fits(&fields, transport, &own.gateway);
    }

    let replicas = fields
        .get("replicas")
        .and_then(|node| node.number(0..=64))
        .unwrap_or(1);
    let category = fields.get("category").and_then(|node| node.text());
    let tags = fields
        .get("tags")
        .map(|node| texts(&node))
        .unwrap_or_default();
    let description = fields.get("description").and_then(|node| node.text());
    let disabled = fields.get("disabled").and_then(|node| disabled(&node));
    let depends_on = fields
        .get("depends_on")
        .map(|node| dependencies(&node))
        .unwrap_or_default();
    let metrics_path = fields.get("metrics_path").and_then(|node| path(&node));

    let on_demand = on_demand(&fields, transport.as_ref(), own.gateway.expose);

    // Without a name or a transport there is nothing to say; why is among the findings.
    let (id, transport) = (id?, transport?);
    let old = matches!(transport, Transport::Sse { .. });
    let spec = ServerSpec {
        id,
        category: category.unwrap_or_else(|| "general".into()),
        tags,
        description,
        disabled: if old {
            disabled.or_else(|| Some(SSE_REASON.into()))
        } else {
            disabled
        },
        transport,
        replicas,
        autostart: own.autostart,
        on_demand,
        depends_on,
        restart: own.restart,
        stop_timeout_ms: own.stop_timeout_ms,
        health: own.health,
        limits: own.limits,
        metrics_path,
        gateway: own.gateway,
    };
    Some(Read { spec, fields })
}

/// Keys that a server and `[defaults]` have in common; what is absent stays as it was.
pub(super) fn common(fields: &Fields<'_>, into: &mut Defaults) {
    set(
        &mut into.autostart,
        fields.get("autostart").and_then(|node| node.boolean()),
    );
    set(
        &mut into.stop_timeout_ms,
        fields
            .get("stop_timeout")
            .and_then(|node| node.duration(0..=600_000)),
    );
    if let Some(table) = fields.get("restart").and_then(|node| node.table()) {
        restart(&table.allow(keys::RESTART), &mut into.restart);
    }
    if let Some(table) = fields.get("health").and_then(|node| node.table()) {
        health(&table.allow(keys::HEALTH), &mut into.health);
    }
    if let Some(table) = fields.get("limits").and_then(|node| node.table()) {
        limits(&table.allow(keys::LIMITS), &mut into.limits);
    }
    if let Some(table) = fields.get("gateway").and_then(|node| node.table()) {
        let table = table.allow(keys::EXPOSURE);
        gateway::exposure(&table, into.cache_ttl_ms, &mut into.gateway);
    }
}

pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn restart(fields: &Fields<'_>, into: &mut RestartPolicy) {
    const WORDS: &[(&str, RestartWhen)] = &[
        ("on_failure", RestartWhen::OnFailure),
        ("always", RestartWhen::Always),
        ("never", RestartWhen::Never),
    ];
    set(
        &mut into.policy,
        fields.get("policy").and_then(|node| node.word(WORDS)),
    );
    if let Some(node) = fields.get("delays") {
        let delays: Vec<u64> = node
            .list()
            .unwrap_or_default()
            .iter()
            .filter_map(|delay| delay.duration(0..=3_600_000))
            .collect();
        match node.list().map_or(0, |list| list.len()) {
            1..=16 => into.delays_ms = delays,
            0 if node.list().is_none() => {}
            count => node.wrong(format!("found {count} delays; accepted are 1 to 16")),
        }
    }
    set(
        &mut into.jitter,
        fields.get("jitter").and_then(|node| node.share()),
    );
    if let Some(node) = fields.get("max_restarts") {
        set(&mut into.max_restarts, max_restarts(&node));
    }
    set(
        &mut into.reset_after_ms,
        fields
            .get("reset_after")
            .and_then(|node| node.duration(0..=86_400_000)),
    );
    if let Some(list) = fields
        .get("success_exit_codes")
        .and_then(|node| node.list())
    {
        into.success_exit_codes = list
            .iter()
            .filter_map(|node| node.number(0..=255))
            .collect();
    }
    set(
        &mut into.on_unhealthy,
        fields.get("on_unhealthy").and_then(|node| node.boolean()),
    );
}

fn max_restarts(node: &Node<'_>) -> Option<Option<u32>> {
    match (node.as_str(), node.as_integer()) {
        (Some("unlimited"), _) => Some(None),
        (_, Some(number @ 0..=1_000_000)) => u32::try_from(number).ok().map(Some),
        _ => node.refuse("a whole number from 0 to 1000000, or \"unlimited\""),
    }
}

fn health(fields: &Fields<'_>, into: &mut HealthCheck) {
    set(
        &mut into.check,
        fields.get("check").and_then(|node| check(&node)),
    );
    set(
        &mut into.interval_ms,
        fields
            .get("interval")
            .and_then(|node| node.duration(100..=86_400_000)),
    );
    set(
        &mut into.timeout_ms,
        fields
            .get("timeout")
            .and_then(|node| node.duration(10..=600_000)),
    );
    set(
        &mut into.retry_interval_ms,
        fields
            .get("retry_interval")
            .and_then(|node| node.duration(100..=86_400_000)),
    );
    set(
        &mut into.start_timeout_ms,
        fields
            .get("start_timeout")
            .and_then(|node| node.duration(100..=3_600_000)),
    );
    set(
        &mut into.unhealthy_after,
        fields
            .get("unhealthy_after")
            .and_then(|node| node.number(1..=100)),
    );
    set(
        &mut into.healthy_after,
        fields
            .get("healthy_after")
            .and_then(|node| node.number(1..=100)),
    );
    if let Some(node) = fields.get("canary") {
        into.canary = canary(&node);
        if into.check != Check::Mcp {
            node.wrong(
                "a canary is called as an MCP server is: it has no effect unless check is \"mcp\"",
            );
        }
    }
}

/// Arguments nested deeper than this are a mistake.
const ARGUMENTS_DEPTH: usize = 32;

fn canary(node: &Node<'_>) -> Option<Canary> {
    let Some(table) = node.as_table() else {
        return node.refuse(
            "a table such as { tool = \"add\", arguments = { a = 2, b = 3 }, answer = \"5\" }",
        );
    };
    let table = table.allow(keys::CANARY);
    let Some(tool) = table.get("tool") else {
        node.wrong("tool is missing: the name of the tool that is called");
        return None;
    };
    let arguments = match table.get("arguments") {
        None => serde_json::Value::Object(serde_json::Map::new()),
        Some(node) if node.as_table().is_some() => node.json(ARGUMENTS_DEPTH)?,
        Some(node) => return node.refuse("a table with the tool's arguments"),
    };
    Some(Canary {
        tool: tool.text()?,
        arguments,
        answer: match table.get("answer") {
            None => None,
            Some(node) => Some(node.text()?),
        },
    })
}

fn check(node: &Node<'_>) -> Option<Check> {
    const ACCEPTED: &str = "\"mcp\", \"none\", { http = \"/health\" }, { tcp = \"127.0.0.1:{port}\" } or { exec = [\"program\"] }";
    if let Some(word) = node.as_str() {
        return match word {
            "mcp" => Some(Check::Mcp),
            "none" => Some(Check::None),
            _ => node.refuse(ACCEPTED),
        };
    }
    let Some(table) = node.as_table() else {
        return node.refuse(ACCEPTED);
    };
    let table = table.allow(keys::CHECK);
    match (table.get("http"), table.get("tcp"), table.get("exec")) {
        (Some(node), None, None) => http_check(&node),
        (None, Some(node), None) => tcp_check(&node),
        (None, None, Some(node)) => {
            let command = texts(&node);
            if command.is_empty() {
                node.refuse("a list with a program and its arguments")
            } else {
                Some(Check::Exec { command })
            }
        }
        _ => node.refuse(format!("exactly one check: {ACCEPTED}")),
    }
}

fn http_check(node: &Node<'_>) -> Option<Check> {
    let url = node.text()?;
    let whole = resolve::with_port(&url, Some(1));
    if url.starts_with('/') || is_http_url(&whole) {
        Some(Check::Http { url })
    } else {
        node.refuse("a path that begins with /, or a whole http:// or https:// URL")
    }
}

fn tcp_check(node: &Node<'_>) -> Option<Check> {
    let address = node.text()?;
    let filled = resolve::with_port(&address, Some(1));
    let fits = filled
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
    if fits {
        Some(Check::Tcp { address })
    } else {
        node.refuse("HOST:PORT, such as \"127.0.0.1:{port}\"")
    }
}

fn limits(fields: &Fields<'_>, into: &mut Limits) {
    if let Some(rss) = fields.get("rss").and_then(|node| node.size(1 << 20)) {
        into.rss_bytes = Some(rss);
    }
    if let Some(children) = fields
        .get("children")
        .and_then(|node| node.number(0..=100_000))
    {
        into.children = Some(children);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Stdio,
    Http,
    Sse,
}

fn transport(fields: &Fields<'_>) -> Option<Transport> {
    const WORDS: &[(&str, Word)] = &[
        ("stdio", Word::Stdio),
        ("http", Word::Http),
        ("sse", Word::Sse),
    ];
    let word = match fields.get("transport") {
        Some(node) => Some(node.word(WORDS)?),
        None => None,
    };
    match (fields.get("command"), fields.get("url")) {
        (Some(_), Some(url)) => {
            url.wrong("both command and url are given; accepted is one of them");
            None
        }
        (None, None) => {
            fields.wrong("neither command nor url is given; accepted is one of them");
            None
        }
        (Some(command), None) => started(fields, &command, word),
        (None, Some(url)) => {
            let (text, headers) = (url_text(&url), values(fields, "headers"));
            match word {
                Some(Word::Stdio) => {
                    fields
                        .get("transport")?
                        .wrong("\"stdio\" needs a command; a url is reached over \"http\"");
                    None
                }
                Some(Word::Sse) => Some(Transport::Sse { url: text? }),
                Some(Word::Http) | None => Some(Transport::Url {
                    url: text?,
                    headers,
                }),
            }
        }
    }
}

/// A server that we start.
fn started(fields: &Fields<'_>, command: &Node<'_>, word: Option<Word>) -> Option<Transport> {
    let text = command.text().inspect(|text| variables(command, text));
    let launch = Launch {
        command: text.clone().unwrap_or_default(),
        args: fields
            .get("args")
            .map(|node| args(&node))
            .unwrap_or_default(),
        env: values(fields, "env"),
        cwd: fields
            .get("cwd")
            .and_then(|node| node.text().inspect(|text| variables(&node, text))),
    };
    let port = fields.get("port");
    let transport = match (word, &port) {
        (Some(Word::Sse), _) => {
            fields
                .get("transport")?
                .wrong("\"sse\" needs a url: servers of the old transport are kept, not started");
            None
        }
        (Some(Word::Http), None) => {
            fields
                .get("transport")?
                .wrong("\"http\" with a command needs a port");
            None
        }
        (Some(Word::Stdio), Some(port)) => {
            port.wrong("a port has no effect with transport \"stdio\"");
            None
        }
        (Some(Word::Stdio) | None, None) => Some(Transport::Stdio { launch }),
        (Some(Word::Http) | None, Some(port)) => Some(Transport::Http {
            launch,
            port: port.number(1..=65_535)?,
            path: fields
                .get("path")
                .and_then(|node| path(&node))
                .unwrap_or_else(|| "/mcp".into()),
            headers: values(fields, "headers"),
        }),
    };
    text.and(transport)
}

/// Keys that nobody would read with this transport are findings: a setting without effect misleads.
fn applicable(fields: &Fields<'_>, transport: &Transport) {
    let (without_effect, why): (&[&str], &str) = match transport {
        Transport::Stdio { .. } => (
            &["path", "headers", "metrics_path"],
            "a server that speaks over its standard streams",
        ),
        Transport::Http { .. } => (&[], ""),
        Transport::Url { .. } => (
            &[
                "args",
                "env",
                "cwd",
                "port",
                "path",
                "restart",
                "stop_timeout",
                "limits",
            ],
            "a server that somebody else starts",
        ),
        Transport::Sse { .. } => (
            &[
                "args",
                "env",
                "cwd",
                "port",
                "path",
                "headers",
                "restart",
                "stop_timeout",
                "limits",
                "health",
                "metrics_path",
                "gateway",
            ],
            "a server of the old HTTP+SSE transport, which is kept disabled",
        ),
    };
    for key in without_effect {
        if let Some(node) = fields.get(key) {
            node.wrong(format!("{key} has no effect on {why}; remove it"));
        }
    }
    if transport.launch().is_none()
        && let Some(node) = fields.get("replicas")
        && node.as_integer().is_some_and(|n| n != 1)
    {
        node.refuse::<()>("1: a server that somebody else starts is one instance");
    }
}

/// Whether it sleeps while nobody calls it. Calls come through the gateway, so that a server it does not show would never wake.
fn on_demand(
    fields: &Fields<'_>,
    transport: Option<&Transport>,
    exposed: bool,
) -> Option<OnDemand> {
    let idle = fields.get("idle_stop");
    let asked = fields.get("on_demand");
    if asked.as_ref().and_then(Node::boolean) != Some(true) {
        if let Some(idle) = idle {
            idle.wrong("idle_stop has no effect without on_demand = true");
        }
        return None;
    }
    if let Some(node) = asked {
        if transport.is_some_and(|transport| transport.launch().is_none()) {
            node.wrong("on_demand has no effect on a server that somebody else starts; remove it");
        } else if !exposed {
            node.wrong("on_demand needs the gateway, whose calls start the server, and gateway.expose is false");
        }
    }
    let mut on_demand = OnDemand::default();
    set(
        &mut on_demand.idle_stop_ms,
        idle.and_then(|node| node.duration(1_000..=86_400_000)),
    );
    Some(on_demand)
}

/// A check that needs a port fits only a server that has one.
fn check_fits(fields: &Fields<'_>, transport: &Transport, check: &Check) {
    let needs_port = match check {
        Check::Http { url } => url.starts_with('/') || url.contains("{port}"),
        Check::Tcp { address } => address.contains("{port}"),
        Check::Exec { command } => command.iter().any(|arg| arg.contains("{port}")),
        Check::Mcp | Check::None => false,
    };
    let on_url = matches!((transport, check), (Transport::Url { .. }, Check::Http { url }) if url.starts_with('/'));
    if needs_port && !on_url && !matches!(transport, Transport::Http { .. }) {
        let message =
            "this check needs the instance's port, and the server has none; give a whole address";
        match fields.get("health") {
            Some(node) => node.wrong(message),
            None => fields.wrong(format!("{message} (the check comes from [defaults])")),
        }
    }
}

fn disabled(node: &Node<'_>) -> Option<String> {
    match (node.as_bool(), node.as_str()) {
        (Some(true), _) => Some("disabled in fleet.toml".into()),
        (Some(false), _) => None,
        (None, Some(_)) => node.text(),
        (None, None) => node.refuse("true, false, or a text that says why"),
    }
}

fn dependencies(node: &Node<'_>) -> Vec<Dependency> {
    node.list()
        .unwrap_or_default()
        .iter()
        .filter_map(dependency)
        .collect()
}

fn dependency(node: &Node<'_>) -> Option<Dependency> {
    const CONDITIONS: &[(&str, DependencyCondition)] = &[
        ("started", DependencyCondition::Started),
        ("healthy", DependencyCondition::Healthy),
    ];
    let name = |node: &Node<'_>| {
        node.text()?
            .parse()
            .map_err(|error| node.wrong(format!("{error}")))
            .ok()
    };
    if let Some(table) = node.as_table() {
        let table = table.allow(keys::DEPENDENCY);
        let condition = table
            .get("condition")
            .map_or(Some(DependencyCondition::Started), |node| {
                node.word(CONDITIONS)
            });
        let Some(server) = table.get("server") else {
            return node.refuse("a table with server, and condition if you like");
        };
        return Some(Dependency {
            server: name(&server)?,
            condition: condition?,
        });
    }
    Some(Dependency {
        server: name(node)?,
        condition: DependencyCondition::Started,
    })
}

fn texts(node: &Node<'_>) -> Vec<String> {
    node.list()
        .unwrap_or_default()
        .iter()
        .filter_map(Node::text)
        .collect()
}

/// Arguments may be empty, and may hold variables.
fn args(node: &Node<'_>) -> Vec<String> {
    let list = node.list().unwrap_or_default();
    list.iter()
        .filter_map(|node| {
            let text = node
                .as_str()
                .filter(|text| text.is_empty())
                .map(str::to_owned)
                .or_else(|| node.text())?;
            variables(node, &text);
            Some(text)
        })
        .collect()
}

fn path(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let fits = text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
    if fits {
        Some(text)
    } else {
        node.refuse("a path that begins with /")
    }
}

pub(super) fn url_text(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    variables(node, &text);
    // A variable may stand for any part of an address, so only its form around them can be judged.
    let filled = resolve::text(
        &text,
        None,
        |_| Some("1".into()),
        |_| Ok(Some(Secret::new("1"))),
    )
    .unwrap_or_default();
    if is_http_url(&filled) || text.starts_with("${") {
        Some(text)
    } else {
        node.refuse("an http:// or https:// URL")
    }
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Environment or headers.
pub(super) fn values(fields: &Fields<'_>, key: &str) -> BTreeMap<String, Value> {
    let Some(table) = fields.get(key).and_then(|node| node.table()) else {
        return BTreeMap::new();
    };
    let headers = key == "headers";
    let mut values = BTreeMap::new();
    for (name, at_name) in table.entries() {
        let fits = if headers {
            is_header_name(name)
        } else {
            !name.is_empty() && !name.contains(['=', '\0'])
        };
        if !fits {
            at_name.wrong(format!(
                "{name:?} is not the name of {}",
                if headers {
                    "a header"
                } else {
                    "an environment variable"
                }
            ));
        }
        if let Some(value) = table.get(name).and_then(|node| value(&node, headers)) {
            values.insert(name.to_owned(), value);
        }
    }
    values
}

fn value(node: &Node<'_>, header: bool) -> Option<Value> {
    if let Some(table) = node.as_table() {
        let table = table.allow(keys::SECRET);
        let Some(name) = table.get("secret") else {
            return node.refuse("a text in quotes, or { secret = \"name\" }");
        };
        let text = name.text()?;
        if !secrets::is_name(&text) {
            return name.refuse("a secret's name: 1 to 128 characters of A-Z a-z 0-9 _ . - /");
        }
        return Some(Value::Secret { name: text });
    }
    let Some(text) = node.as_str() else {
        return node.refuse("a text in quotes, or { secret = \"name\" }");
    };
    if text.contains('\0') || (header && text.contains(['\r', '\n'])) {
        return node.refuse("a text without line breaks and NUL characters");
    }
    variables(node, text);
    Some(Value::text(text))
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A `${` that is not a variable is a slip; a wanted one is written `$${`.
fn variables(node: &Node<'_>, text: &str) {
    for piece in resolve::pieces(text) {
        if let Piece::Broken(found) = piece {
            node.wrong(format!("{found:?} is not a variable; accepted are ${{NAME}}, ${{NAME:-default}} and ${{secret:NAME}}, and $${{ for a plain ${{"));
        }
    }
}
