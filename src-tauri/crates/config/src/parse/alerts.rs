//! `[alerts]`.

use super::{
    absolute,
    read::{Fields, Node, suggest},
    server::set,
};
use crate::file::keys;
use flotilla_contract::alert::{
    AlertRule, AlertsSpec, ChannelKind, ChannelSpec, Credential, Login, MAILBOX, Mailbox,
    STANDARD_RULES, Severity, Smtp, SmtpTls,
    expr::{Expr, ExprError},
};
use std::collections::BTreeMap;

/// More rules than this are refused.
const MOST_RULES: usize = 200;
/// More channels than this are refused.
const MOST_CHANNELS: usize = 50;
/// Labels of a rule, and labels to group by, at most.
const MOST_LABELS: usize = 10;
/// Receivers of an e-mail at most.
const MOST_RECEIVERS: usize = 50;
/// Words of a command at most.
const MOST_WORDS: usize = 100;
/// A month in milliseconds: no time of alerts is longer.
const MONTH: u64 = 30 * 24 * 3_600_000;

const SEVERITIES: &[(&str, Severity)] = &[
    ("info", Severity::Info),
    ("warning", Severity::Warning),
    ("critical", Severity::Critical),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Webhook,
    Alertmanager,
    Exec,
    Smtp,
    Desktop,
}

const KINDS: &[(&str, Kind)] = &[
    ("webhook", Kind::Webhook),
    ("alertmanager", Kind::Alertmanager),
    ("exec", Kind::Exec),
    ("smtp", Kind::Smtp),
    ("desktop", Kind::Desktop),
];

const TLS: &[(&str, SmtpTls)] = &[
    ("starttls", SmtpTls::Starttls),
    ("tls", SmtpTls::Tls),
    ("none", SmtpTls::None),
];

/// The keys of a channel that belong to some kinds only, and to which.
const OF_KINDS: &[(&str, &[&str])] = &[
    ("url", &["webhook", "alertmanager"]),
    ("secret", &["webhook"]),
    ("command", &["exec"]),
    ("timeout", &["exec"]),
    ("host", &["smtp"]),
    ("port", &["smtp"]),
    ("tls", &["smtp"]),
    ("ca", &["smtp"]),
    ("user", &["smtp"]),
    ("password", &["smtp"]),
    ("from", &["smtp"]),
    ("to", &["smtp"]),
];

/// `[alerts]`; what is absent stays as it was.
pub(super) fn alerts(fields: &Fields<'_>, into: &mut AlertsSpec) {
    fields.boolean_into("defaults", &mut into.defaults);
    if let Some(node) = fields.get("disabled") {
        let list = node.list().unwrap_or_default();
        into.disabled = list.iter().filter_map(standard).collect();
    }
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

/// The name of a rule that comes with Flotilla.
fn standard(node: &Node<'_>) -> Option<String> {
    let name = node.text()?;
    if STANDARD_RULES.contains(&name.as_str()) {
        return Some(name);
    }
    let near = suggest(&name, STANDARD_RULES.into_iter());
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    node.wrong(format!(
        "{name:?} is not a rule that comes with Flotilla{near}"
    ));
    None
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
    let kind = needed(
        fields,
        "kind",
        "webhook, alertmanager, exec, smtp or desktop",
    )
    .and_then(|node| node.word(KINDS))?;
    let word = KINDS
        .iter()
        .find(|(_, it)| *it == kind)
        .map_or("", |(word, _)| word);
    for (key, kinds) in OF_KINDS {
        if !kinds.contains(&word) {
            fields.without_effect(key, &format!("on a channel of the kind {word}"));
        }
    }
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
            let secret = fields.get("secret").and_then(|node| node.text());
            let secret = secret.map(Credential::of);
            url().map(|url| ChannelKind::Webhook { url, secret })
        }
        Kind::Alertmanager => url().map(|url| ChannelKind::Alertmanager { url }),
        Kind::Exec => {
            let mut timeout_ms = 10_000;
            fields.duration_into("timeout", 100..=600_000, &mut timeout_ms);
            let command = needed(fields, "command", "a list of program and arguments")
                .and_then(|node| words(&node));
            command.map(|command| ChannelKind::Exec {
                command,
                timeout_ms,
            })
        }
        Kind::Smtp => smtp(fields).map(ChannelKind::Smtp),
        Kind::Desktop => Some(ChannelKind::Desktop),
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

fn smtp(fields: &Fields<'_>) -> Option<Smtp> {
    let host =
        needed(fields, "host", "a mail server such as \"mail.example.com\"").and_then(|node| {
            let host = node.text()?;
            match url::Host::parse(&host) {
                Ok(_) => Some(host),
                // An address of IPv6 as it is written without a port.
                Err(_) if host.parse::<std::net::IpAddr>().is_ok() => Some(host),
                Err(_) => node.refuse("the name or the address of a mail server, without a port"),
            }
        });
    let mut tls = SmtpTls::default();
    fields.word_into("tls", TLS, &mut tls);
    if let (SmtpTls::None, Some(host)) = (tls, &host)
        && !is_here(host)
    {
        fields.wrong(format!(
            "tls is \"none\" and the host is {host}; accepted is a connection without TLS to this machine only"
        ));
    }
    let mut port = tls.port();
    set(
        &mut port,
        fields.get("port").and_then(|node| node.number(1..=65_535)),
    );
    if tls == SmtpTls::None {
        fields.without_effect("ca", "where tls is \"none\"");
    }
    let ca = fields.get("ca").and_then(|node| absolute(&node));
    let user = fields.get("user").and_then(|node| node.text());
    let password = fields.get("password").and_then(|node| {
        let text = node.text()?;
        if text.contains("${") {
            return Some(text);
        }
        node.wrong(
            "the password stands in the file; accepted is a reference such as ${secret:NAME}",
        );
        None
    });
    if fields.get("user").is_some() != fields.get("password").is_some() {
        fields.wrong("user and password belong together; one of them is not given");
    }
    let from = needed(
        fields,
        "from",
        "who writes, such as \"Flotilla <flotilla@example.com>\"",
    )
    .and_then(|node| mailbox(&node));
    let to = needed(
        fields,
        "to",
        "a list of addresses such as [\"ops@example.com\"]",
    )
    .and_then(|node| {
        let list = node.list()?;
        if !(1..=MOST_RECEIVERS).contains(&list.len()) {
            return node.refuse(format!("1 to {MOST_RECEIVERS} addresses"));
        }
        let boxes: Vec<Mailbox> = list.iter().filter_map(mailbox).collect();
        (boxes.len() == list.len()).then_some(boxes)
    });
    Some(Smtp {
        host: host?,
        port,
        tls,
        ca: ca.map(|path| path.display().to_string()),
        login: user.zip(password).map(|(user, password)| Login {
            user,
            password: Credential::of(password),
        }),
        from: from?,
        to: to?,
    })
}

/// Whether a host is this machine, whatever a resolver says.
fn is_here(host: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

fn mailbox(node: &Node<'_>) -> Option<Mailbox> {
    match node.text()?.parse() {
        Ok(mailbox) => Some(mailbox),
        Err(()) => node.refuse(MAILBOX),
    }
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
