//! From the text of `fleet.toml` to a [`Fleet`], or to everything that is wrong with it.

mod alerts;
mod cross;
mod gateway;
mod metrics;
mod read;
mod server;

use crate::{Fleet, Profile, file::keys};
use flotilla_contract::{
    command::ConfigFinding,
    gateway::Exposure,
    host::HostPattern,
    spec::{HealthCheck, Limits, RestartPolicy},
};
pub(crate) use read::join;
use read::{Fields, Findings, Node};
use std::{path::PathBuf, time::Duration};
use toml_edit::Document;

/// Larger texts are refused.
const LARGEST: usize = 4 << 20;
/// A fleet has this many servers at most.
const MOST_SERVERS: usize = 1_000;

/// What every server has unless it says otherwise.
#[derive(Clone)]
pub(super) struct Defaults {
    autostart: bool,
    restart: RestartPolicy,
    stop_timeout_ms: u64,
    health: HealthCheck,
    limits: Limits,
    gateway: Exposure,
    /// How long an answer of a cached tool is good that does not say so itself.
    cache_ttl_ms: u64,
}

/// Reads a text as `fleet.toml`. Never panics, whatever the text.
///
/// # Errors
/// Everything that is wrong, in the order of the text; of a text that is not TOML, the place where it stops being TOML.
pub fn parse(text: &str) -> Result<Fleet, Vec<ConfigFinding>> {
    let findings = Findings::new(text);
    if text.len() > LARGEST {
        findings.add(
            0,
            "",
            format!(
                "the file has {} bytes; accepted are up to {LARGEST}",
                text.len()
            ),
        );
        return Err(findings.into_list());
    }
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            findings.add(
                at,
                "",
                format!("not TOML: {}", error.message().replace('\n', "; ")),
            );
            return Err(findings.into_list());
        }
    };
    let fleet = fleet(&Fields::root(&findings, document.as_table()).allow(keys::FLEET));
    let list = findings.into_list();
    if list.is_empty() {
        Ok(fleet)
    } else {
        Err(list)
    }
}

fn fleet(file: &Fields<'_>) -> Fleet {
    let mut fleet = Fleet::default();
    if let Some(profile) = file
        .get("profile")
        .and_then(|node| node.word(Profile::WORDS))
    {
        fleet.profile = profile;
    }
    // What a profile holds back is held back where it is asked for by name: a fleet on a desk has no limits.
    if file.get("profile").is_some() {
        fleet.gateway = fleet.profile.gateway();
    }
    let gateway = file
        .get("gateway")
        .and_then(|node| node.table())
        .map(|table| table.allow(keys::GATEWAY));
    if let Some(table) = &gateway {
        gateway::gateway(table, &mut fleet.gateway);
    }
    let listener = |name: &str, known| {
        let node = file.get(name)?;
        Some(node.table()?.allow(known))
    };
    let panel = listener("panel", keys::PANEL);
    if let Some(table) = &panel {
        fleet.panel_port = port(table);
    }
    let dashboard = listener("dashboard", keys::DASHBOARD);
    if let Some(table) = &dashboard {
        let spec = &mut fleet.dashboard;
        (spec.enabled, spec.port) = (enabled(table), port(table));
        let interval = table
            .get("interval")
            .and_then(|node| node.duration(100..=3_600_000));
        spec.interval = interval.map_or(spec.interval, Duration::from_millis);
    }
    let stream = listener("stream", keys::STREAM);
    if let Some(table) = &stream {
        (fleet.stream.enabled, fleet.stream.port) = (enabled(table), port(table));
    }
    if let Some(sampling) = file.get("sampling").and_then(|node| node.table()) {
        let interval = sampling
            .allow(keys::SAMPLING)
            .get("interval")
            .and_then(|node| node.duration(200..=3_600_000));
        fleet.sample_interval = interval.map_or(fleet.sample_interval, Duration::from_millis);
    }
    if let Some(workflows) = file.get("workflows").and_then(|node| node.table()) {
        let workflows = workflows.allow(keys::WORKFLOWS);
        if let Some(hosts) = workflows.get("http_hosts").and_then(|node| node.list()) {
            fleet.http_hosts = hosts.iter().filter_map(host).collect();
        }
        if let Some(folders) = workflows.get("writable").and_then(|node| node.list()) {
            fleet.writable = folders.iter().filter_map(absolute).collect();
        }
    }
    if let Some(table) = file.get("alerts").and_then(|node| node.table()) {
        alerts::alerts(&table.allow(keys::ALERTS), &mut fleet.alerts);
    }
    let defaults = defaults(file, &fleet);
    let servers = file
        .get("servers")
        .and_then(|node| node.table())
        .map(|table| table.entries())
        .unwrap_or_default();
    let names: Vec<&str> = servers.iter().map(|(name, _)| *name).collect();
    if let Some(table) = &gateway {
        gateway::known_servers(table, &names);
    }
    if let Some(table) = file.get("metrics").and_then(|node| node.table()) {
        fleet.metrics = metrics::metrics(&table.allow(keys::METRICS), &names);
    }
    let mut read = Vec::new();
    for (index, (name, node)) in servers.into_iter().enumerate() {
        if index == MOST_SERVERS {
            node.wrong(format!(
                "more servers than the {MOST_SERVERS} that are accepted"
            ));
            break;
        }
        let Some(fields) = node.table() else { continue };
        read.extend(server::server(name, fields.allow(keys::SERVER), &defaults));
    }
    let listeners = [
        (&panel, fleet.panel_port, "the panel"),
        (&gateway, fleet.gateway.port, "the gateway"),
        (&dashboard, fleet.dashboard.port, "the dashboard"),
        (&stream, fleet.stream.port, "the agent stream"),
    ]
    .map(|(table, port, whose)| {
        let node = table.as_ref().and_then(|table| table.get("port"));
        (node, port, whose)
    });
    cross::check(&read, listeners);
    fleet.servers = read.into_iter().map(|server| server.spec).collect();
    fleet
}

fn host(node: &Node<'_>) -> Option<HostPattern> {
    let pattern = node.text()?.parse();
    pattern.map_err(|why| node.wrong(why)).ok()
}

fn absolute(node: &Node<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(node.text()?);
    if path.is_absolute() {
        Some(path)
    } else {
        node.refuse("an absolute path")
    }
}

/// A listener's port.
fn port(table: &Fields<'_>) -> Option<u16> {
    table.get("port")?.number(0..=65_535)
}

/// Whether a listener is served; it is where nothing is said.
fn enabled(table: &Fields<'_>) -> bool {
    let said = table.get("enabled").and_then(|node| node.boolean());
    said.unwrap_or(true)
}

fn defaults(file: &Fields<'_>, fleet: &Fleet) -> Defaults {
    let mut defaults = Defaults {
        autostart: true,
        restart: RestartPolicy::default(),
        stop_timeout_ms: 5_000,
        health: HealthCheck {
            interval_ms: fleet.profile.health_interval_ms(),
            ..HealthCheck::default()
        },
        limits: Limits::default(),
        gateway: match file.get("profile") {
            Some(_) => fleet.profile.exposure(),
            None => flotilla_contract::gateway::Exposure::default(),
        },
        cache_ttl_ms: fleet.gateway.cache.ttl_ms,
    };
    if let Some(table) = file.get("defaults").and_then(|node| node.table()) {
        let table = table.allow(keys::DEFAULTS);
        server::common(&table, &mut defaults);
        gateway::defaults(&table);
    }
    defaults
}

#[cfg(test)]
mod tests;
