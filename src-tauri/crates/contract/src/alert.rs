//! Alerts: rules, what they found, silences, and the channels that tell people.

pub mod expr;

use crate::{Millis, metric::LabelMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// How bad it is; the worst is the greatest.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    #[default]
    Warning,
    /// Somebody must look at it now.
    Critical,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Names of the rules that come with Flotilla.
pub const STANDARD_RULES: [&str; 16] = [
    "ServerFailed",
    "ServerUnhealthy",
    "ServerRestarted",
    "ServerRestartsOften",
    "BreakerOpen",
    "CallErrors",
    "CallErrorsHigh",
    "CallsSlow",
    "CallsVerySlow",
    "MemoryNearLimit",
    "MemoryAtLimit",
    "HostMemoryHigh",
    "HostMemoryCritical",
    "HostDiskFull",
    "RateLimited",
    "CollectorDown",
];

/// `[alerts]` of `fleet.toml`, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertsSpec {
    /// Whether the rules that come with Flotilla hold (default true). A rule of the file takes the place of one of the same name.
    pub defaults: bool,
    /// Rules that come with Flotilla and do not hold (default none).
    pub disabled: Vec<String>,
    /// Distance of two evaluations, in milliseconds (default 15 s).
    pub interval_ms: u64,
    /// Alerts with the same values of these labels are told together (default `alertname` and `server`).
    pub group_by: Vec<String>,
    /// From the first alert of a group to its first message, in milliseconds (default 10 s).
    pub group_wait_ms: u64,
    /// From a message of a group to the next with something new, in milliseconds (default 10 s).
    pub group_interval_ms: u64,
    /// From a message of a group to the next that says the same, in milliseconds (default 12 h).
    pub repeat_interval_ms: u64,
    /// The rules of the file.
    pub rules: Vec<AlertRule>,
    /// Who is told.
    pub channels: Vec<ChannelSpec>,
}

impl Default for AlertsSpec {
    fn default() -> Self {
        Self {
            defaults: true,
            disabled: Vec::new(),
            interval_ms: 15_000,
            group_by: vec!["alertname".into(), "server".into()],
            group_wait_ms: 10_000,
            group_interval_ms: 10_000,
            repeat_interval_ms: 12 * 3_600_000,
            rules: Vec::new(),
            channels: Vec::new(),
        }
    }
}

/// When there is an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertRule {
    /// Its name; the label `alertname` of its alerts.
    pub name: String,
    /// The condition: see [`expr`]. Each series for which it holds is an alert.
    pub expr: String,
    /// How long it must hold, in milliseconds, before the alert fires (default 0).
    pub for_ms: u64,
    /// How long the alert goes on to fire when it holds no more, in milliseconds (default 0).
    pub keep_firing_for_ms: u64,
    /// How bad it is.
    pub severity: Severity,
    /// Labels that its alerts have besides those of the series.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is wrong, in a sentence. `{{ value }}` and `{{ LABEL }}` are filled in.
    pub summary: String,
    /// What it means and what to do, filled in like the summary.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it is said what to do: an address, or the name of a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}

/// Who is told of alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelSpec {
    /// Its name.
    pub name: String,
    /// What kind it is.
    #[serde(flatten)]
    pub kind: ChannelKind,
    /// The least severity that it is told of (default info).
    pub severity: Severity,
    /// Whether it is told of ends, too (default true).
    pub resolved: bool,
}

/// How a channel tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChannelKind {
    /// A POST of JSON. Texts may refer to secrets, `${secret:NAME}`.
    Webhook {
        /// Where.
        url: String,
        /// Signs the body, HMAC-SHA256.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<Credential>,
    },
    /// Alertmanager's API, version 2.
    Alertmanager {
        /// Its base address.
        url: String,
    },
    /// A program that reads the message on its standard input.
    Exec {
        /// Program and arguments; no shell.
        command: Vec<String>,
        /// It is ended after this long, in milliseconds (default 10 s).
        timeout_ms: u64,
    },
    /// An e-mail.
    Smtp(Smtp),
    /// A notification of the desktop, while a window is attached.
    Desktop,
}

/// What is told a receiver in confidence. It is known by where it is kept; its value never leaves the engine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Credential {
    /// A stored secret, `${secret:NAME}`.
    Secret {
        /// Its name.
        name: String,
    },
    /// A variable of the engine's environment, `${NAME}`.
    Variable {
        /// Its name.
        name: String,
    },
    /// What stands in the file. In a change: it stays as it is.
    File {
        /// The text; it is never sent.
        #[serde(skip)]
        text: String,
    },
}

impl Credential {
    /// What a text of `fleet.toml` means.
    #[must_use]
    pub fn of(text: String) -> Self {
        let inner = text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'));
        let Some(inner) = inner else {
            return Self::File { text };
        };
        // As secrets and variables are named everywhere.
        let of = |name: &str, more: &[u8]| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || more.contains(&b);
            (1..=128).contains(&name.len()) && name.bytes().all(fits)
        };
        match inner.strip_prefix("secret:") {
            Some(name) if of(name, b".-/") => Self::Secret {
                name: name.to_owned(),
            },
            None if of(inner, b"") && !inner.starts_with(|c: char| c.is_ascii_digit()) => {
                Self::Variable {
                    name: inner.to_owned(),
                }
            }
            _ => Self::File { text },
        }
    }

    /// The text of `fleet.toml` that means it.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Secret { name } => format!("${{secret:{name}}}").into(),
            Self::Variable { name } => format!("${{{name}}}").into(),
            Self::File { text } => text.into(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { .. } => f.write_str("Credential(…)"),
            named => write!(f, "Credential({})", named.text()),
        }
    }
}

/// With what a mail server lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// Who.
    pub user: String,
    /// The password.
    pub password: Credential,
}

/// How e-mails are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Smtp {
    /// The mail server.
    pub host: String,
    /// Its port (default 587 with STARTTLS, 465 with TLS, 25 without).
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// File with the certificates, in PEM, of the authorities that are trusted instead of those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// With what it is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Who writes.
    pub from: Mailbox,
    /// Who is written to; at least one.
    pub to: Vec<Mailbox>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// It begins open and must go on in TLS before anything is told; a server that does not offer it gets nothing.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all; only to a server on this machine.
    None,
}

impl SmtpTls {
    /// Its word in `fleet.toml`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starttls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        }
    }

    /// The port that mail servers have for it.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// An address of e-mail with a name, `Name <local@domain>`, or without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Mailbox {
    /// Whose it is.
    pub name: Option<String>,
    /// What stands before the @.
    pub local: String,
    /// What stands behind it.
    pub domain: String,
}

/// How a [`Mailbox`] is written.
pub const MAILBOX: &str =
    "an address such as \"ops@example.com\" or \"Operations <ops@example.com>\"";

impl std::str::FromStr for Mailbox {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>').map(|text| text.split_once('<')) {
            None => (None, text),
            Some(None) => return Err(()),
            Some(Some((name, address))) => {
                let name = name.trim();
                (
                    Some(name.trim_matches('"')).filter(|name| !name.is_empty()),
                    address,
                )
            }
        };
        let (local, domain) = address.split_once('@').ok_or(())?;
        let is_local = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
        let is_domain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        let dots = |text: &str| text.split('.').all(|part| !part.is_empty());
        let fits = local.bytes().all(is_local) && domain.bytes().all(is_domain);
        let named = name.is_none_or(|name| {
            !name.contains(|c: char| c.is_control() || matches!(c, '<' | '>' | '"'))
        });
        // RFC 5321, 4.5.3.1.
        if !(fits && named && dots(local) && dots(domain)) || local.len() > 64 || domain.len() > 255
        {
            return Err(());
        }
        Ok(Self {
            name: name.map(str::to_owned),
            local: local.to_owned(),
            domain: domain.to_owned(),
        })
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            local,
            domain,
        } = self;
        match name {
            Some(name) => write!(f, "{name} <{local}@{domain}>"),
            None => write!(f, "{local}@{domain}"),
        }
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.to_string()
    }
}

impl TryFrom<String> for Mailbox {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |()| format!("found {text:?} as an address of e-mail; accepted is {MAILBOX}");
        text.parse().map_err(wrong)
    }
}

impl ChannelKind {
    /// Its word in `fleet.toml`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Exec { .. } => "exec",
            Self::Smtp(_) => "smtp",
            Self::Desktop => "desktop",
        }
    }
}

/// How an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It has ended.
    Resolved,
}

impl AlertState {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Its identity: the same labels, the same id, over restarts of the engine too.
    pub id: String,
    /// How it is.
    pub state: AlertState,
    /// How bad it is.
    pub severity: Severity,
    /// All labels, with `alertname` and `severity`.
    pub labels: BTreeMap<String, String>,
    /// What is wrong.
    pub summary: String,
    /// What it means and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it is said what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The condition.
    pub expr: String,
    /// The value when it last held.
    pub value: f64,
    /// Since when the condition holds.
    pub since: Millis,
    /// Since when it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<Millis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Millis>,
    /// The silence because of which nobody is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced: Option<u64>,
    /// What tells more, so that nobody is told of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inhibited: Option<String>,
}

impl Alert {
    /// The server it is about.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.labels.get("server").map(String::as_str)
    }

    /// What it is about, as its rule says: `calls` and `memory` of the rules that come with Flotilla.
    #[must_use]
    pub fn about(&self) -> Option<&str> {
        self.labels.get("about").map(String::as_str)
    }

    /// The rule it comes from.
    #[must_use]
    pub fn rule(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

/// How a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// It was not evaluated yet.
    Waiting,
    /// There is no series it asks for, so it can find nothing.
    Absent,
    /// The condition holds of none.
    Inactive,
    /// It holds, not yet for long enough.
    Pending,
    /// At least one alert fires.
    Firing,
    /// It could not be evaluated; its alerts stay as they were.
    Failed,
    /// It comes with Flotilla and is disabled.
    Off,
}

impl RuleState {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Absent => "absent",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Failed => "failed",
            Self::Off => "off",
        }
    }
}

/// A rule and what its last evaluation gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuleView {
    /// The rule.
    #[serde(flatten)]
    pub rule: AlertRule,
    /// Whether it comes with Flotilla.
    pub standard: bool,
    /// Whether it stands in the file and has the name of one that comes with Flotilla, whose place it takes.
    pub overrides: bool,
    /// How it is.
    pub state: RuleState,
    /// When it was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Millis>,
    /// Series that had a value.
    pub series: u32,
    /// The value that comes nearest to the condition, or goes furthest beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Why it could not be evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A condition that is to be looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckExprParams {
    /// The text.
    pub expr: String,
}

/// A condition, and what it gives now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedExpr {
    /// Why the text is no condition; then nothing was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<ExprWrong>,
    /// Series that have a value.
    pub series: u32,
    /// Those of them for which the condition holds: so many alerts there would be.
    pub holds: u32,
    /// The values, up to 50: those for which it holds first.
    pub samples: Vec<CheckedSample>,
}

/// What is wrong with the text of a condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExprWrong {
    /// At which character, from 1.
    pub column: u32,
    /// What.
    pub message: String,
}

/// A value of a condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedSample {
    /// Of which series.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
    /// Whether the condition holds.
    pub holds: bool,
}

/// A change of the rules in `fleet.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum RuleEdit {
    /// Declare a rule, or change one.
    Set {
        /// Its name so far, if it stands in the file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<String>,
        /// What it is to be.
        rule: AlertRule,
    },
    /// Take a rule out of the file. If it took the place of one that comes with Flotilla, that one holds again.
    Remove {
        /// Its name.
        name: String,
    },
    /// Disable a rule that comes with Flotilla, or enable it.
    Enable {
        /// Its name.
        name: String,
        /// Whether it is to hold.
        enabled: bool,
    },
}

/// A change of the channels in `fleet.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum ChannelEdit {
    /// Declare a channel, or change one.
    Set {
        /// Its name so far, if it stands in the file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<String>,
        /// What it is to be.
        channel: Box<ChannelSpec>,
    },
    /// Take a channel out of the file.
    Remove {
        /// Its name.
        name: String,
    },
}

/// What a change of rules or channels would make of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EditPreview {
    /// The file.
    pub path: String,
    /// Hash of the file as it is.
    pub hash: String,
    /// The lines that would change, as a unified diff; empty when none would. What channels are signed with is left out of it where it
    /// stands in the file.
    pub diff: String,
}

/// A change of the channels that is to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelWriteParams {
    /// The change.
    pub edit: ChannelEdit,
    /// Hash of the file that was shown; it must still be that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// A change of the rules that is to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleWriteParams {
    /// The change.
    pub edit: RuleEdit,
    /// Hash of the file that was shown; it must still be that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// A time in which nobody is told of some alerts. One that begins later is a maintenance window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// Which alerts; all of them must hold.
    pub matchers: Vec<LabelMatch>,
    /// From when.
    pub from: Millis,
    /// Until when.
    pub to: Millis,
    /// Who made it.
    pub by: String,
    /// Why.
    pub comment: String,
}

/// A silence to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceParams {
    /// Which alerts; at least one matcher, all of them must hold.
    pub matchers: Vec<LabelMatch>,
    /// From when (default: now).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Millis>,
    /// How long, in milliseconds: a minute to 90 days.
    pub for_ms: u64,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// A silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceRef {
    /// Its number.
    pub id: u64,
}

/// What happened to alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertHistoryQuery {
    /// How many at most (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A change of an alert, as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertChange {
    /// When.
    pub at: Millis,
    /// The alert as it was then.
    pub alert: Alert,
}

/// A channel, and how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelView {
    /// The channel, as the file declares it.
    pub spec: ChannelSpec,
    /// Where to, in short, without a login.
    pub to: String,
    /// Messages that arrived.
    pub sent: u64,
    /// Messages that were given up.
    pub lost: u64,
    /// Messages that wait.
    pub waiting: u32,
    /// When one last arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Millis>,
    /// Why the last try failed, unless one arrived since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The latest messages that were given up, oldest first.
    pub dead: Vec<DeadLetter>,
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// When.
    pub at: Millis,
    /// Why.
    pub error: String,
    /// Of what it told, a line each.
    pub alerts: Vec<String>,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelRef {
    /// Its name.
    pub name: String,
}

/// A test message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelTested {
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}
