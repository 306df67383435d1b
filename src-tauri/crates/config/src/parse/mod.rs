//! From the text of `fleet.toml` to a [`Fleet`], or to everything that is wrong with it.

mod cross;
mod read;
mod server;

use crate::{Fleet, Profile, file::keys};
use flotilla_contract::{
    command::ConfigFinding,
    spec::{HealthCheck, Limits, RestartPolicy},
};
use read::{Fields, Findings};
use std::time::Duration;
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
    if let Some(panel) = file.get("panel").and_then(|node| node.table()) {
        fleet.panel_port = panel
            .allow(keys::PANEL)
            .get("port")
            .and_then(|node| node.number(0..=65_535));
    }
    if let Some(sampling) = file.get("sampling").and_then(|node| node.table()) {
        let interval = sampling
            .allow(keys::SAMPLING)
            .get("interval")
            .and_then(|node| node.duration(200..=3_600_000));
        fleet.sample_interval = interval.map_or(fleet.sample_interval, Duration::from_millis);
    }
    let defaults = defaults(file, fleet.profile);
    let Some(servers) = file.get("servers").and_then(|node| node.table()) else {
        return fleet;
    };
    let mut read = Vec::new();
    for (index, (name, node)) in servers.entries().into_iter().enumerate() {
        if index == MOST_SERVERS {
            node.wrong(format!(
                "more servers than the {MOST_SERVERS} that are accepted"
            ));
            break;
        }
        let Some(fields) = node.table() else { continue };
        read.extend(server::server(name, fields.allow(keys::SERVER), &defaults));
    }
    cross::check(&read, fleet.panel_port);
    fleet.servers = read.into_iter().map(|server| server.spec).collect();
    fleet
}

fn defaults(file: &Fields<'_>, profile: Profile) -> Defaults {
    let mut defaults = Defaults {
        autostart: true,
        restart: RestartPolicy::default(),
        stop_timeout_ms: 5_000,
        health: HealthCheck {
            interval_ms: profile.health_interval_ms(),
            ..HealthCheck::default()
        },
        limits: Limits::default(),
    };
    if let Some(table) = file.get("defaults").and_then(|node| node.table()) {
        server::common(&table.allow(keys::DEFAULTS), &mut defaults);
    }
    defaults
}

#[cfg(test)]
mod tests;
