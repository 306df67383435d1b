//! `[alerts]`.

use super::{
    read::{Fields, Node},
    server::set,
};
use crate::file::keys;
use flotilla_contract::alert::{
    AlertRule, AlertsSpec, ChannelKind, ChannelSpec, Severity,
    expr::{Expr, ExprError},
};
use std::collections::BTreeMap;

/// More rules than this are refused.
const MOST_RULES: usize = 200;
/// More channels than this are refused.
const MOST_CHANNELS: usize = 50;
/// Labels of a rule, and labels to group by, at most.
const MOST_LABELS: usize = 10;
/// Words of a command at most.
const MOST_WORDS: usize = 100;
/// A month in milliseconds: no time of alerts is longer.
const MONTH: u64 = 30 * 24 * 3_600_000;

const SEVERITIES: &[(&str, Severity)] = &[
    ("info", Severity::Info),
    ("warning", Severity::Warning),
    ("critical", Severity::Critical),
];

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Alertmanager,
    Exec,
    Desktop,
}

const KINDS: &[(&str, Kind)] = &[
    ("webhook", Kind::Webhook),
    ("alertmanager", Kind::Alertmanager),
    ("exec", Kind::Exec),
    ("desktop", Kind::Desktop),
];

/// `[alerts]`; what is absent stays as it was.
pub(super) fn alerts(fields: &Fields<'_>, into: &mut AlertsSpec) {
    fields.boolean_into("defaults", &mut into.defaults);
    fields.duration_into("interval", 1_000..=3_600_000, &mut into.interval_ms);
    if let Some(node) = fields.get("group_by") {
        let list = node.list().unwrap_or_default();
        if list.len() > MOST_LABELS {
            node.wrong(format!(
                "more labels than the {MOST_LABELS} that are accepted"
            ));
        }
        into.group_by = list.iter().filter_map(label).collect();
    }
    fields.duration_into("group_wait", 0..=3_600_000, &mut into.group_wait_ms);
    fields.duration_into(
        "group_interval",
        1_000..=86_400_000,
        &mut into.group_interval_ms,
    );
    fields.duration_into(
        "repeat_interval",
        60_000..=MONTH,
        &mut into.repeat_interval_ms,
    );
    into.rules = several(fields, "rules", MOST_RULES, keys::ALERT_RULE, rule, |it| {
        &it.name
    });
    into.channels = several(
        fields,
        "channels",
        MOST_CHANNELS,
        keys::CHANNEL,
        channel,
        |it| &it.name,
    );
}

/// A list of tables with names, each name once.
fn several<T>(
    fields: &Fields<'_>,
    key: &str,
    most: usize,
    known: &[&str],
    read: impl Fn(&Fields<'_>) -> Option<T>,
    name: impl Fn(&T) -> &str,
) -> Vec<T> {
    let Some(tables) = fields.get(key).and_then(|node| node.tables()) else {
        return Vec::new();
    };
    let mut all: Vec<T> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        if index == most {
            table.wrong(format!("more {key} than the {most} that are accepted"));
            break;
        }
        let table = table.allow(known);
        let Some(one) = read(&table) else { continue };
        if all.iter().any(|other| name(other) == name(&one)) {
            table.wrong(format!(
                "{} is there twice; accepted is each name once",
                name(&one)
            ));
        }
        all.push(one);
    }
    all
}

/// A key that must be there.
fn needed<'a>(fields: &Fields<'a>, key: &str, example: &str) -> Option<Node<'a>> {
    let node = fields.get(key);
    if node.is_none() {
        fields.wrong(format!("{key} is not given; accepted is {example}"));
    }
    node
}

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.len() <= 64
}

fn label(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if is_label(&text) {
        return Some(text);
    }
    node.refuse("up to 64 letters, digits and underscores, no digit first")
}

fn rule(fields: &Fields<'_>) -> Option<AlertRule> {
    let name =
        needed(fields, "name", "a name such as \"MemoryHigh\"").and_then(|node| label(&node));
    let expr = needed(
        fields,
        "expr",
        "a condition such as \"flotilla_health < 0.5\"",
    )
    .and_then(|node| {
        let text = node.text()?;
        if let Err(ExprError { column, message }) = text.parse::<Expr>() {
            node.wrong(format!("column {column} of the expression: {message}"));
        }
        Some(text)
    });
    let (mut for_ms, mut keep_firing_for_ms) = (0, 0);
    fields.duration_into("for", 0..=MONTH, &mut for_ms);
    fields.duration_into("keep_firing_for", 0..=MONTH, &mut keep_firing_for_ms);
    let mut severity = Severity::default();
    fields.word_into("severity", SEVERITIES, &mut severity);
    let mut labels = BTreeMap::new();
    if let Some(table) = fields.get("labels").and_then(|node| node.table()) {
        for (index, (name, node)) in table.entries().into_iter().enumerate() {
            if index == MOST_LABELS {
                node.wrong(format!(
                    "more labels than the {MOST_LABELS} that are accepted"
                ));
                break;
            }
            if !is_label(name) || matches!(name, "alertname" | "severity") {
                node.wrong(format!("{name:?} cannot be given; accepted are up to 64 letters, digits and underscores, no digit first, but not alertname and severity"));
            }
            if let Some(value) = node.text() {
                labels.insert(name.to_owned(), value);
            }
        }
    }
    let text = |key: &str| fields.get(key).and_then(|node| node.text());
    let (summary, description, runbook) = (text("summary"), text("description"), text("runbook"));
    let (name, expr) = (name?, expr?);
    Some(AlertRule {
        summary: summary.unwrap_or_else(|| expr.clone()),
        description: description.unwrap_or_default(),
        name,
        expr,
        for_ms,
        keep_firing_for_ms,
        severity,
        labels,
        runbook,
    })
}

fn channel(fields: &Fields<'_>) -> Option<ChannelSpec> {
    let name = needed(fields, "name", "a name such as \"on-call\"").and_then(|node| {
        let name = node.text()?;
        let fits = name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if fits {
            Some(name)
        } else {
            node.refuse("up to 64 letters, digits, hyphens and underscores")
        }
    });
    let kind = needed(fields, "kind", "webhook, alertmanager, exec or desktop")
        .and_then(|node| node.word(KINDS))?;
    let without = |keys: &[&str], word: &str| {
        for key in keys {
            fields.without_effect(key, &format!("on a channel of the kind {word}"));
        }
    };
    let url = || {
        needed(
            fields,
            "url",
            "an address such as \"https://alerts.example\"",
        )
        .and_then(|node| url(&node))
    };
    let kind = match kind {
        Kind::Webhook => {
            without(&["command", "timeout"], "webhook");
            let secret = fields.get("secret").and_then(|node| node.text());
            url().map(|url| ChannelKind::Webhook { url, secret })
        }
        Kind::Alertmanager => {
            without(&["command", "timeout", "secret"], "alertmanager");
            url().map(|url| ChannelKind::Alertmanager { url })
        }
        Kind::Exec => {
            without(&["url", "secret"], "exec");
            let mut timeout_ms = 10_000;
            fields.duration_into("timeout", 100..=600_000, &mut timeout_ms);
            let command = needed(fields, "command", "a list of program and arguments")
                .and_then(|node| words(&node));
            command.map(|command| ChannelKind::Exec {
                command,
                timeout_ms,
            })
        }
        Kind::Desktop => {
            without(&["url", "secret", "command", "timeout"], "desktop");
            Some(ChannelKind::Desktop)
        }
    };
    let mut severity = Severity::Info;
    fields.word_into("severity", SEVERITIES, &mut severity);
    let mut resolved = true;
    set(
        &mut resolved,
        fields.get("resolved").and_then(|node| node.boolean()),
    );
    Some(ChannelSpec {
        name: name?,
        kind: kind?,
        severity,
        resolved,
    })
}

fn words(node: &Node<'_>) -> Option<Vec<String>> {
    let list = node.list()?;
    if !(1..=MOST_WORDS).contains(&list.len()) {
        return node.refuse(format!(
            "a program and its arguments, 1 to {MOST_WORDS} words"
        ));
    }
    let words: Vec<String> = list.iter().filter_map(|word| word.text()).collect();
    (words.len() == list.len()).then_some(words)
}

fn url(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let plain = url::Url::parse(&text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if plain || text.starts_with("${") {
        return Some(text);
    }
    node.refuse("an address that begins with http:// or https://, or with a variable or a secret, ${secret:NAME}")
}
