//! `[metrics]`.

use super::{
    read::{Fields, Node},
    server::{set, url_text, values},
};
use crate::{KeepSpec, MetricsSpec, SourceSpec, TargetSpec, file::keys, units::show_duration};
use std::{collections::BTreeMap, time::Duration};

/// More targets than this are refused.
const MOST_TARGETS: usize = 1_000;
/// More labels of one target than this are refused.
const MOST_LABELS: usize = 32;
/// Labels that a target has by its name and address.
const OWN_LABELS: [&str; 3] = ["__name__", "job", "instance"];
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

pub(super) fn metrics(table: &Fields<'_>, servers: &[&str]) -> MetricsSpec {
    let mut spec = MetricsSpec::default();
    let duration = |key, range| Some(Duration::from_millis(table.get(key)?.duration(range)?));
    set(
        &mut spec.scrape_interval,
        duration("scrape_interval", SECOND..=HOUR),
    );
    spec.scrape_timeout = spec.scrape_timeout.min(spec.scrape_interval);
    let timeout = duration("scrape_timeout", 10..=HOUR);
    if let (Some(timeout), Some(node)) = (timeout, table.get("scrape_timeout")) {
        if timeout > spec.scrape_interval {
            let interval = show_duration(millis(spec.scrape_interval));
            node.refuse::<()>(format!("at most the scrape_interval, {interval:?}"));
        }
        spec.scrape_timeout = timeout;
    }
    let size = |key, least| table.get(key)?.size(least);
    set(&mut spec.disk, size("disk", 16 << 20));
    set(&mut spec.memory, size("memory", 4 << 20));
    let sub = |key, known| Some(table.get(key)?.table()?.allow(known));
    if let Some(table) = sub("keep", keys::KEEP) {
        spec.keep = keep(&table);
    }
    if let Some(node) = table.get("targets") {
        spec.targets = targets(&node, servers);
    }
    if let Some(table) = sub("source", keys::SOURCE) {
        spec.source = source(&table);
    }
    spec
}

fn keep(table: &Fields<'_>) -> KeepSpec {
    let mut keep = KeepSpec::default();
    let levels = [
        ("raw", HOUR, &mut keep.raw),
        ("seconds", HOUR, &mut keep.seconds),
        ("minutes", HOUR, &mut keep.minutes),
        ("hours", HOUR, &mut keep.hours),
    ];
    let mut finer: Option<(&str, Duration)> = None;
    for (key, least, into) in levels {
        let node = table.get(key);
        let said = node
            .as_ref()
            .and_then(|node| node.duration(least..=3_650 * DAY));
        set(into, said.map(Duration::from_millis));
        if let Some((name, least)) = finer.filter(|(_, least)| *into < *least) {
            let message = format!(
                "at least what {name} is kept, {:?}",
                show_duration(millis(least))
            );
            match &node {
                Some(node) => drop(node.refuse::<()>(message)),
                None => table.wrong(format!(
                    "{key} is kept {:?} (its default); accepted is {message}",
                    show_duration(millis(*into))
                )),
            }
        }
        finer = Some((key, *into));
    }
    keep
}

fn targets(node: &Node<'_>, servers: &[&str]) -> Vec<TargetSpec> {
    let entries = node
        .table()
        .map(|table| table.entries())
        .unwrap_or_default();
    let mut targets = Vec::new();
    for (index, (name, node)) in entries.into_iter().enumerate() {
        if index == MOST_TARGETS {
            node.wrong(format!(
                "more targets than the {MOST_TARGETS} that are accepted"
            ));
            break;
        }
        if name.parse::<flotilla_contract::ServerId>().is_err() {
            node.wrong(format!("{name:?} is not the name of a target; accepted are 1 to 64 characters of A-Z a-z 0-9 _ . -, the first a letter or digit"));
        }
        if servers.contains(&name) {
            node.wrong(format!("{name:?} is the name of a server; accepted is another name, because both would be the label job"));
        } else if name == "flotilla" {
            node.wrong(format!(
                "{name:?} is the label job of the engine's own series; accepted is another name"
            ));
        }
        let Some(fields) = node.table() else { continue };
        let fields = fields.allow(keys::TARGET);
        let url = required_url(&fields);
        let labels = labels(&fields);
        let headers = values(&fields, "headers");
        targets.extend(url.map(|url| TargetSpec {
            name: name.to_owned(),
            url,
            labels,
            headers,
        }));
    }
    targets
}

fn source(table: &Fields<'_>) -> Option<SourceSpec> {
    let headers = values(table, "headers");
    required_url(table).map(|url| SourceSpec { url, headers })
}

fn required_url(fields: &Fields<'_>) -> Option<String> {
    match fields.get("url") {
        Some(node) => url_text(&node),
        None => {
            fields.wrong("url is not given; accepted is an http:// or https:// URL");
            None
        }
    }
}

fn labels(fields: &Fields<'_>) -> BTreeMap<String, String> {
    let Some(table) = fields.get("labels").and_then(|node| node.table()) else {
        return BTreeMap::new();
    };
    let mut labels = BTreeMap::new();
    for (name, node) in table.entries() {
        if labels.len() == MOST_LABELS {
            node.wrong(format!(
                "more labels than the {MOST_LABELS} that are accepted"
            ));
            break;
        }
        let mut letters = name.chars();
        let fits = letters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits || OWN_LABELS.contains(&name) {
            node.wrong(format!(
                "{name:?} is not a label that can be given; accepted are names of A-Z a-z 0-9 _ that do not begin with a digit, other than {}",
                OWN_LABELS.join(", ")
            ));
        }
        if let Some(text) = table.get(name).and_then(|node| node.text()) {
            labels.insert(name.to_owned(), text);
        }
    }
    labels
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
