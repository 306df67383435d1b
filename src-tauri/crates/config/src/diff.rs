//! What differs between two fleets, and how deep it cuts.

use crate::{Fleet, SourceSpec, gateway, units};
use flotilla_contract::{
    ServerId, ServerSpec,
    spec::{
        Canary, Check, DependencyCondition, HealthCheck, Launch, Limits, OnDemand, RestartPolicy,
        RestartWhen, Transport, Value,
    },
};
use std::{collections::BTreeMap, fmt::Display};

/// One change. A changed server is one change, however many of its fields differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which server; `None` is the fleet itself.
    pub server: Option<ServerId>,
    /// What kind of change.
    pub kind: ChangeKind,
    /// The change for people ("fetch: replicas 1 → 3"). Holds no value of an environment variable or header.
    pub sentence: String,
}

/// The kind of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeKind {
    /// A server is new.
    Added,
    /// A server is gone.
    Removed,
    /// A server differs.
    Changed {
        /// Keys that differ ("replicas", "health.interval").
        fields: Vec<String>,
        /// What must be done about it.
        effects: Effects,
    },
    /// A setting of the fleet itself differs ("panel.port").
    Setting {
        /// Its key.
        field: &'static str,
    },
}

/// What a change of a server asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Another command, environment, port, URL or header: its processes (or sessions) must be made anew.
    pub process: bool,
    /// Disabled or enabled.
    pub admin: bool,
    /// Other replicas: clear an override of `replicas`, then scale.
    pub replicas: bool,
    /// Another `autostart`: clear an override of `running`.
    pub autostart: bool,
    /// It begins or ceases to sleep while nobody calls it, or after another time: what is wanted of it is said again.
    pub on_demand: bool,
    /// Other health settings: probes go on with these.
    pub health: bool,
    /// Another restart policy, stop timeout, limits or dependencies: count from the next event on.
    pub policy: bool,
    /// Other settings at the gateway: they hold for the next call; no process is touched.
    pub gateway: bool,
    /// Category, tags, description, Prometheus page: shown, nothing more.
    pub labels: bool,
}

/// What turns `old` into `new`: settings, then removed servers, then the new file's servers in its order.
#[must_use]
pub fn diff(old: &Fleet, new: &Fleet) -> Vec<Change> {
    let mut changes = settings(old, new);
    let gone = old
        .servers
        .iter()
        .filter(|server| new.server(&server.id).is_none());
    changes.extend(gone.map(|server| whole(server, ChangeKind::Removed, "removed".into())));
    changes.extend(
        new.servers
            .iter()
            .filter_map(|server| match old.server(&server.id) {
                Some(before) => changed(before, server),
                None => Some(whole(
                    server,
                    ChangeKind::Added,
                    format!("added: {}", what_it_is(&server.transport)),
                )),
            }),
    );
    changes
}

fn whole(server: &ServerSpec, kind: ChangeKind, words: String) -> Change {
    Change {
        server: Some(server.id.clone()),
        kind,
        sentence: format!("{}: {words}", server.id),
    }
}

fn what_it_is(transport: &Transport) -> String {
    match transport {
        Transport::Stdio { launch } => format!("runs {}", command_line(launch)),
        Transport::Http { launch, port, .. } => {
            format!("runs {} on port {port}", command_line(launch))
        }
        Transport::Url { url, .. } => format!("at {}", without_credentials(url)),
        Transport::Sse { url } => format!("at {}, kept disabled", without_credentials(url)),
    }
}

fn command_line(launch: &Launch) -> String {
    std::iter::once(&launch.command)
        .chain(&launch.args)
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A word of a command line, quoted where a reader could mistake its ends.
pub(crate) fn quoted(word: &str) -> String {
    let plain = !word.is_empty()
        && !word.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\'));
    if plain {
        word.to_owned()
    } else {
        format!("{word:?}")
    }
}

/// A URL without user, password and query, as it may be shown.
pub(crate) fn without_credentials(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else {
        return text.to_owned();
    };
    let hidden = url.password().is_some() || !url.username().is_empty() || url.query().is_some();
    if !hidden {
        return text.to_owned();
    }
    // Refused only for URLs that cannot have them.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    let query = url.query().is_some();
    url.set_query(None);
    if query {
        format!("{url}?…")
    } else {
        url.to_string()
    }
}

fn settings(old: &Fleet, new: &Fleet) -> Vec<Change> {
    let port = |port: Option<u16>| port.map_or_else(|| "default".into(), |port| port.to_string());
    let interval = |interval: std::time::Duration| {
        units::show_duration(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX))
    };
    let both = |field: &'static str, show: &dyn Fn(&Fleet) -> String| (field, show(old), show(new));
    let own = [
        (
            "profile",
            old.profile.word().to_owned(),
            new.profile.word().to_owned(),
        ),
        both("panel.port", &|fleet| port(fleet.panel_port)),
        both("dashboard.enabled", &|fleet| {
            fleet.dashboard.enabled.to_string()
        }),
        both("dashboard.port", &|fleet| port(fleet.dashboard.port)),
        both("dashboard.interval", &|fleet| {
            interval(fleet.dashboard.interval)
        }),
        both("stream.enabled", &|fleet| fleet.stream.enabled.to_string()),
        both("stream.port", &|fleet| port(fleet.stream.port)),
        both("sampling.interval", &|fleet| {
            interval(fleet.sample_interval)
        }),
        both("metrics.scrape_interval", &|fleet| {
            interval(fleet.metrics.scrape_interval)
        }),
        both("metrics.scrape_timeout", &|fleet| {
            interval(fleet.metrics.scrape_timeout)
        }),
        both("metrics.disk", &|fleet| {
            units::show_size(fleet.metrics.disk)
        }),
        both("metrics.memory", &|fleet| {
            units::show_size(fleet.metrics.memory)
        }),
        both("metrics.keep.raw", &|fleet| {
            interval(fleet.metrics.keep.raw)
        }),
        both("metrics.keep.seconds", &|fleet| {
            interval(fleet.metrics.keep.seconds)
        }),
        both("metrics.keep.minutes", &|fleet| {
            interval(fleet.metrics.keep.minutes)
        }),
        both("metrics.keep.hours", &|fleet| {
            interval(fleet.metrics.keep.hours)
        }),
        both("workflows.http_hosts", &|fleet| {
            let hosts: Vec<_> = fleet.http_hosts.iter().map(ToString::to_string).collect();
            format!("[{}]", hosts.join(", "))
        }),
        both("workflows.writable", &|fleet| {
            format!("{:?}", fleet.writable)
        }),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(field, before, after)| Change {
        server: None,
        kind: ChangeKind::Setting { field },
        sentence: format!("{field} {before} → {after}"),
    });
    own.chain(at_metrics(old, new))
        .chain(at_gateway(old, new))
        .chain(at_alerts(old, new))
        .collect()
}

/// What is scraped and asked: names, and never what headers hold.
fn at_metrics(old: &Fleet, new: &Fleet) -> Vec<Change> {
    let (old, new) = (&old.metrics, &new.metrics);
    let words = named(&old.targets, &new.targets, |target| &target.name);
    let targets = words.map(|said| Change {
        server: None,
        kind: ChangeKind::Setting {
            field: "metrics.targets",
        },
        sentence: format!("metrics.targets {said}"),
    });
    let shown = |source: &Option<SourceSpec>| {
        let url = source.as_ref().map(|it| without_credentials(&it.url));
        url.unwrap_or_else(|| "none".into())
    };
    let (before, after) = (shown(&old.source), shown(&new.source));
    let source = (old.source != new.source).then(|| Change {
        server: None,
        kind: ChangeKind::Setting {
            field: "metrics.source",
        },
        sentence: if before == after {
            "metrics.source changed".into()
        } else {
            format!("metrics.source {before} → {after}")
        },
    });
    targets.chain(source).collect()
}

/// What differs of alerts, a sentence for each rule and channel; they hold at once.
fn at_alerts(old: &Fleet, new: &Fleet) -> Vec<Change> {
    let (old, new) = (&old.alerts, &new.alerts);
    let change = |field: &'static str, sentence: String| Change {
        server: None,
        kind: ChangeKind::Setting { field },
        sentence: format!("{field} {sentence}"),
    };
    let time = units::show_duration;
    let mut changes: Vec<Change> = [
        (
            "alerts.defaults",
            old.defaults.to_string(),
            new.defaults.to_string(),
        ),
        (
            "alerts.disabled",
            old.disabled.join(", "),
            new.disabled.join(", "),
        ),
        (
            "alerts.interval",
            time(old.interval_ms),
            time(new.interval_ms),
        ),
        (
            "alerts.group_by",
            old.group_by.join(", "),
            new.group_by.join(", "),
        ),
        (
            "alerts.group_wait",
            time(old.group_wait_ms),
            time(new.group_wait_ms),
        ),
        (
            "alerts.group_interval",
            time(old.group_interval_ms),
            time(new.group_interval_ms),
        ),
        (
            "alerts.repeat_interval",
            time(old.repeat_interval_ms),
            time(new.repeat_interval_ms),
        ),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(field, before, after)| change(field, format!("{before} → {after}")))
    .collect();
    let rules = named(&old.rules, &new.rules, |rule| &rule.name);
    changes.extend(rules.map(|said| change("alerts.rules", said)));
    // What a channel is told with may be secret: only that it changed is said.
    let channels = named(&old.channels, &new.channels, |channel| &channel.name);
    changes.extend(channels.map(|said| change("alerts.channels", said)));
    changes
}

/// Which of two lists of things with names were added, changed or removed.
fn named<'a, T: PartialEq>(
    old: &'a [T],
    new: &'a [T],
    name: impl Fn(&T) -> &str + Copy + 'a,
) -> impl Iterator<Item = String> + 'a {
    let there = move |list: &'a [T], wanted: &T| list.iter().find(|it| name(it) == name(wanted));
    let after = new.iter().filter_map(move |it| match there(old, it) {
        None => Some(format!("{}: added", name(it))),
        Some(before) if before != it => Some(format!("{}: changed", name(it))),
        Some(_) => None,
    });
    let gone = old
        .iter()
        .filter(move |it| there(new, it).is_none())
        .map(move |it| format!("{}: removed", name(it)));
    after.chain(gone)
}

/// Settings of the gateway hold at once, but for where and whether it listens.
fn at_gateway(old: &Fleet, new: &Fleet) -> Vec<Change> {
    let (old, new) = (
        gateway::of_fleet(&old.gateway),
        gateway::of_fleet(&new.gateway),
    );
    gateway::differing(&old, &new)
        .into_iter()
        .map(|(field, sentence)| Change {
            server: None,
            kind: ChangeKind::Setting { field },
            sentence,
        })
        .collect()
}

/// The differences of one server while they are collected.
#[derive(Default)]
struct Differences {
    fields: Vec<String>,
    words: Vec<String>,
}

impl Differences {
    /// Notes a field whose values may be shown. Gives whether it differs.
    fn shown<T: PartialEq>(
        &mut self,
        field: &str,
        old: &T,
        new: &T,
        show: impl Fn(&T) -> String,
    ) -> bool {
        let differs = old != new;
        if differs {
            self.words
                .push(format!("{field} {} → {}", show(old), show(new)));
            self.fields.push(field.into());
        }
        differs
    }

    fn plain<T: PartialEq + Display>(&mut self, field: &str, old: &T, new: &T) -> bool {
        self.shown(field, old, new, T::to_string)
    }

    fn duration(&mut self, field: &str, old: u64, new: u64) -> bool {
        self.shown(field, &old, &new, |ms| units::show_duration(*ms))
    }

    /// Notes which names came, went or changed; never their values.
    fn names(
        &mut self,
        field: &str,
        old: &BTreeMap<String, Value>,
        new: &BTreeMap<String, Value>,
    ) -> bool {
        let before = self.fields.len();
        let all: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in all {
            let word = match (old.get(name), new.get(name)) {
                (None, Some(_)) => "added",
                (Some(_), None) => "removed",
                (Some(a), Some(b)) if a != b => "changed",
                _ => continue,
            };
            self.words.push(format!("{field} {name} {word}"));
            self.fields.push(format!("{field}.{name}"));
        }
        self.fields.len() > before
    }
}

fn changed(old: &ServerSpec, new: &ServerSpec) -> Option<Change> {
    let mut d = Differences::default();
    let effects = Effects {
        process: transport(&mut d, &old.transport, &new.transport),
        admin: d.shown("disabled", &old.disabled, &new.disabled, |why| {
            why.clone().unwrap_or_else(|| "no".into())
        }),
        replicas: d.plain("replicas", &old.replicas, &new.replicas),
        autostart: d.plain("autostart", &old.autostart, &new.autostart),
        on_demand: on_demand(&mut d, old.on_demand, new.on_demand),
        health: health(&mut d, &old.health, &new.health),
        policy: policy(&mut d, old, new),
        labels: labels(&mut d, old, new),
        gateway: exposure(&mut d, old, new),
    };
    if d.fields.is_empty() {
        return None;
    }
    let sentence = format!("{}: {}", new.id, d.words.join(", "));
    Some(Change {
        server: Some(new.id.clone()),
        kind: ChangeKind::Changed {
            fields: d.fields,
            effects,
        },
        sentence,
    })
}

fn on_demand(d: &mut Differences, old: Option<OnDemand>, new: Option<OnDemand>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => d.duration("idle_stop", old.idle_stop_ms, new.idle_stop_ms),
        _ => d.plain("on_demand", &old.is_some(), &new.is_some()),
    }
}

fn transport(d: &mut Differences, old: &Transport, new: &Transport) -> bool {
    if std::mem::discriminant(old) != std::mem::discriminant(new) {
        d.fields.push("transport".into());
        d.words.push(format!("now {}", what_it_is(new)));
        return true;
    }
    // Every part is looked at: `||` would stop at the first that differs.
    match (old, new) {
        (Transport::Stdio { launch: a }, Transport::Stdio { launch: b }) => launch(d, a, b),
        (
            Transport::Http {
                launch: a,
                port,
                path,
                headers,
            },
            Transport::Http {
                launch: b,
                port: new_port,
                path: new_path,
                headers: new_headers,
            },
        ) => {
            launch(d, a, b)
                | d.plain("port", port, new_port)
                | d.plain("path", path, new_path)
                | d.names("headers", headers, new_headers)
        }
        (
            Transport::Url { url, headers },
            Transport::Url {
                url: new_url,
                headers: new_headers,
            },
        ) => {
            d.shown("url", url, new_url, |url| without_credentials(url))
                | d.names("headers", headers, new_headers)
        }
        (Transport::Sse { url }, Transport::Sse { url: new_url }) => {
            d.shown("url", url, new_url, |url| without_credentials(url))
        }
        _ => false,
    }
}

fn launch(d: &mut Differences, old: &Launch, new: &Launch) -> bool {
    let words = |words: &Vec<String>| {
        format!(
            "[{}]",
            words
                .iter()
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" ")
        )
    };
    d.shown("command", &old.command, &new.command, |command| {
        quoted(command)
    }) | d.shown("args", &old.args, &new.args, words)
        | d.names("env", &old.env, &new.env)
        | d.shown("cwd", &old.cwd, &new.cwd, |cwd| {
            cwd.clone().unwrap_or_else(|| "default".into())
        })
}

fn health(d: &mut Differences, old: &HealthCheck, new: &HealthCheck) -> bool {
    d.shown("health.check", &old.check, &new.check, show_check)
        | d.duration("health.interval", old.interval_ms, new.interval_ms)
        | d.duration("health.timeout", old.timeout_ms, new.timeout_ms)
        | d.duration(
            "health.retry_interval",
            old.retry_interval_ms,
            new.retry_interval_ms,
        )
        | d.duration(
            "health.start_timeout",
            old.start_timeout_ms,
            new.start_timeout_ms,
        )
        | d.plain(
            "health.unhealthy_after",
            &old.unhealthy_after,
            &new.unhealthy_after,
        )
        | d.plain(
            "health.healthy_after",
            &old.healthy_after,
            &new.healthy_after,
        )
        | d.shown("health.canary", &old.canary, &new.canary, show_canary)
}

fn show_canary(canary: &Option<Canary>) -> String {
    canary.as_ref().map_or_else(
        || "none".into(),
        |canary| {
            let answer = canary.answer.as_deref().map(quoted);
            format!(
                "{} {} → {}",
                canary.tool,
                canary.arguments,
                answer.as_deref().unwrap_or("any answer")
            )
        },
    )
}

fn show_check(check: &Check) -> String {
    match check {
        Check::Mcp => "mcp".into(),
        Check::None => "none".into(),
        Check::Http { url } => format!("http {}", without_credentials(url)),
        Check::Tcp { address } => format!("tcp {address}"),
        Check::Exec { command } => format!(
            "exec {}",
            command
                .iter()
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" ")
        ),
    }
}

fn policy(d: &mut Differences, old: &ServerSpec, new: &ServerSpec) -> bool {
    restart(d, &old.restart, &new.restart)
        | d.duration("stop_timeout", old.stop_timeout_ms, new.stop_timeout_ms)
        | limits(d, &old.limits, &new.limits)
        | d.shown("depends_on", &old.depends_on, &new.depends_on, |list| {
            let one = |dependency: &flotilla_contract::spec::Dependency| match dependency.condition
            {
                DependencyCondition::Started => dependency.server.to_string(),
                DependencyCondition::Healthy => format!("{} (healthy)", dependency.server),
            };
            format!("[{}]", list.iter().map(one).collect::<Vec<_>>().join(", "))
        })
}

fn restart(d: &mut Differences, old: &RestartPolicy, new: &RestartPolicy) -> bool {
    let policy = |when: &RestartWhen| {
        String::from(match when {
            RestartWhen::OnFailure => "on_failure",
            RestartWhen::Always => "always",
            RestartWhen::Never => "never",
        })
    };
    let durations = |list: &Vec<u64>| {
        format!(
            "[{}]",
            list.iter()
                .map(|ms| units::show_duration(*ms))
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    d.shown("restart.policy", &old.policy, &new.policy, policy)
        | d.shown("restart.delays", &old.delays_ms, &new.delays_ms, durations)
        | d.plain("restart.jitter", &old.jitter, &new.jitter)
        | d.shown(
            "restart.max_restarts",
            &old.max_restarts,
            &new.max_restarts,
            |max| or(*max, "unlimited"),
        )
        | d.duration(
            "restart.reset_after",
            old.reset_after_ms,
            new.reset_after_ms,
        )
        | d.shown(
            "restart.success_exit_codes",
            &old.success_exit_codes,
            &new.success_exit_codes,
            |codes| format!("{codes:?}"),
        )
        | d.plain("restart.on_unhealthy", &old.on_unhealthy, &new.on_unhealthy)
}

fn limits(d: &mut Differences, old: &Limits, new: &Limits) -> bool {
    d.shown("limits.rss", &old.rss_bytes, &new.rss_bytes, |rss| {
        rss.map_or_else(|| "none".into(), units::show_size)
    }) | d.shown(
        "limits.children",
        &old.children,
        &new.children,
        |children| or(*children, "none"),
    )
}

fn labels(d: &mut Differences, old: &ServerSpec, new: &ServerSpec) -> bool {
    d.plain("category", &old.category, &new.category)
        | d.shown("tags", &old.tags, &new.tags, |tags| {
            format!("[{}]", tags.join(", "))
        })
        | d.shown("description", &old.description, &new.description, |text| {
            or(text.as_ref().map(|t| format!("{t:?}")), "none")
        })
        | d.shown(
            "metrics_path",
            &old.metrics_path,
            &new.metrics_path,
            |path| or(path.as_ref(), "none"),
        )
}

fn exposure(d: &mut Differences, old: &ServerSpec, new: &ServerSpec) -> bool {
    if old.gateway == new.gateway {
        return false;
    }
    let (old, new) = (
        gateway::of_server(&old.gateway),
        gateway::of_server(&new.gateway),
    );
    let differing = gateway::differing(&old, &new);
    let any = !differing.is_empty();
    for (field, words) in differing {
        d.fields.push(field);
        d.words.push(words);
    }
    any
}

fn or(value: Option<impl Display>, absent: &str) -> String {
    value.map_or_else(|| absent.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    /// The sentences of what turns one text into the other.
    fn sentences(old: &str, new: &str) -> Vec<String> {
        changes(old, new)
            .into_iter()
            .map(|change| change.sentence)
            .collect()
    }

    fn changes(old: &str, new: &str) -> Vec<Change> {
        diff(&parse(old).unwrap(), &parse(new).unwrap())
    }

    #[test]
    fn the_gateway_is_changed_without_touching_a_process() {
        let old = "profile = \"production\"\ngateway.groups.old = { servers = [\"a\"] }\n[servers.a]\ncommand = \"x\"\n[servers.a.gateway.tools.t]\ncache = \"1m\"";
        let new = "profile = \"production\"\n[gateway]\nport = 0\nnames = \"manual\"\ntool_rate = \"off\"\ncache.ttl = \"2h\"\ngroups.new = { servers = [\"a\"] }\n[servers.a]\ncommand = \"x\"\n[servers.a.gateway]\nretry = { preset = \"throttle\", attempts = 2 }\nbreaker = \"off\"\ntimeout = \"5s\"\n[servers.a.gateway.tools.\"u v\"]\nname = \"n\"";
        assert_eq!(
            sentences(old, new),
            [
                "gateway.port default → 0",
                "gateway.names prefix → manual",
                "gateway.tool_rate 100 at once, 10 per second → off",
                "gateway.cache.ttl 1h → 2h",
                "gateway.groups.new unset → [a]",
                "gateway.groups.old [a] → unset",
                "a: gateway.timeout 1m → 5s, gateway.retry standard → (linear, base 2s, max 30s, step 1s, attempts 2, jitter 0.1, on [throttled], budget 0.2), gateway.breaker on → off, gateway.tools.\"u v\".name unset → n, gateway.tools.t.cache 1m → unset",
            ]
        );
        for change in changes(old, new) {
            match change.kind {
                ChangeKind::Setting { field } => assert!(field.starts_with("gateway."), "{field}"),
                ChangeKind::Changed { fields, effects } => {
                    let only = Effects {
                        gateway: true,
                        ..Effects::default()
                    };
                    assert_eq!(effects, only);
                    assert!(fields.contains(&"gateway.tools.\"u v\".name".to_owned()));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            sentences(
                "profile = \"test\"\n[servers.a]\nurl = \"http://a/mcp\"\nhealth.interval = \"1s\"",
                "profile = \"production\"\n[servers.a]\nurl = \"http://a/mcp\"\nhealth.interval = \"1s\""
            ),
            [
                "profile test → production",
                "gateway.tool_rate off → 100 at once, 10 per second",
                "gateway.client_rate off → 100 in 1m",
                "a: gateway.pool.min 1 → 5, gateway.pool.max 2 → 50, gateway.retry quick → standard",
            ]
        );
    }

    /// Effects of replacing these lines of a server by those.
    fn effects(old: &str, new: &str) -> Effects {
        let fleet = |lines: &str| {
            format!("[servers.b]\ncommand = \"y\"\n[servers.a]\ncommand = \"x\"\n{lines}\n")
        };
        match changes(&fleet(old), &fleet(new)).as_slice() {
            [
                Change {
                    kind: ChangeKind::Changed { effects, .. },
                    ..
                },
            ] => *effects,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn servers_that_come_go_and_change() {
        let old = "[servers.a]\ncommand = \"x\"\n[servers.fetch]\ncommand = \"uvx\"\nargs = [\"f\"]\n[servers.same]\nurl = \"http://s/mcp\"";
        let new = "panel.port = 3100\n[servers.same]\nurl = \"http://s/mcp\"\n[servers.fetch]\ncommand = \"uvx\"\nargs = [\"f\", \"a b\"]\nreplicas = 3\n[servers.u]\nurl = \"https://me:pw@u/mcp?key=1\"";
        assert_eq!(
            sentences(old, new),
            [
                "panel.port default → 3100",
                "a: removed",
                "fetch: args [f] → [f \"a b\"], replicas 1 → 3",
                "u: added: at https://u/mcp?…",
            ]
        );
        assert_eq!(
            sentences(new, new),
            [""; 0],
            "moving servers about changes nothing"
        );
    }

    #[test]
    fn values_of_variables_are_not_told() {
        let old = "[servers.a]\ncommand = \"x\"\nenv = { A = \"one\", B = \"two\" }";
        let new =
            "[servers.a]\ncommand = \"x\"\nenv = { A = \"three\", C = { secret = \"four\" } }";
        assert_eq!(
            sentences(old, new),
            ["a: env A changed, env B removed, env C added"]
        );
    }

    #[test]
    fn what_a_change_asks_for() {
        let none = Effects::default();
        for (old, new, expected) in [
            (
                "",
                "args = [\"1\"]",
                Effects {
                    process: true,
                    ..none
                },
            ),
            (
                "",
                "port = 8000",
                Effects {
                    process: true,
                    ..none
                },
            ),
            (
                "env.A = \"1\"",
                "env.A = \"2\"",
                Effects {
                    process: true,
                    ..none
                },
            ),
            (
                "",
                "replicas = 0",
                Effects {
                    replicas: true,
                    ..none
                },
            ),
            (
                "",
                "autostart = false",
                Effects {
                    autostart: true,
                    ..none
                },
            ),
            (
                "on_demand = true",
                "on_demand = true\nidle_stop = \"1m\"",
                Effects {
                    on_demand: true,
                    ..none
                },
            ),
            (
                "",
                "on_demand = true",
                Effects {
                    on_demand: true,
                    ..none
                },
            ),
            (
                "",
                "disabled = \"why\"",
                Effects {
                    admin: true,
                    ..none
                },
            ),
            (
                "",
                "health.interval = \"1s\"",
                Effects {
                    health: true,
                    ..none
                },
            ),
            (
                "",
                "restart.policy = \"never\"\nlimits.children = 3\nstop_timeout = \"1s\"",
                Effects {
                    policy: true,
                    ..none
                },
            ),
            (
                "",
                "depends_on = [\"b\"]",
                Effects {
                    policy: true,
                    ..none
                },
            ),
            (
                "",
                "tags = [\"x\"]\ncategory = \"y\"\ndescription = \"z\"",
                Effects {
                    labels: true,
                    ..none
                },
            ),
            (
                "",
                "replicas = 2\ntags = [\"x\"]",
                Effects {
                    replicas: true,
                    labels: true,
                    ..none
                },
            ),
        ] {
            assert_eq!(effects(old, new), expected, "{new}");
        }
    }
}
