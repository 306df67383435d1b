//! Rules and channels of alerts in a text.

use super::{
    EditError, finish,
    list::{self, Keys, Listed, Says},
    opening, read, set_at,
};
use crate::{file::keys, units::show_duration};
use flotilla_contract::alert::{
    AlertRule, ChannelEdit, ChannelKind, ChannelSpec, Credential, RuleEdit, STANDARD_RULES,
    Severity, Smtp,
};
use std::collections::BTreeMap;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Value};

/// Changes the rules; what else stands in the text stays as it is.
///
/// # Errors
/// When a rule is not there, or there already, or the result is not valid.
pub fn edit_rules(text: &str, edit: &RuleEdit) -> Result<String, EditError> {
    let mut document = read(text)?;
    match edit {
        RuleEdit::Set { was, rule } => {
            let (was, keys) = (was.as_deref(), rule_keys(rule));
            list::set(&mut document, text, Listed::Rule, was, &rule.name, keys)?;
        }
        RuleEdit::Remove { name } => list::remove(&mut document, Listed::Rule, name)?,
        RuleEdit::Enable { name, enabled } => {
            if !STANDARD_RULES.contains(&name.as_str()) {
                return Err(list::missing(Listed::Rule, name));
            }
            let prefix = opening(&mut document, text);
            enable(list::alerts(&mut document, &prefix, false), name, *enabled);
        }
    }
    finish(&document)
}

/// Changes the channels; what else stands in the text stays as it is.
///
/// # Errors
/// When a channel is not there, or there already, a credential has no name, or the result is not valid.
pub fn edit_channels(text: &str, edit: &ChannelEdit) -> Result<String, EditError> {
    let mut document = read(text)?;
    match edit {
        ChannelEdit::Set { was, channel } => {
            let (was, keys) = (was.as_deref(), channel_keys(channel)?);
            let name = &channel.name;
            list::set(&mut document, text, Listed::Channel, was, name, keys)?;
        }
        ChannelEdit::Remove { name } => list::remove(&mut document, Listed::Channel, name)?,
    }
    finish(&document)
}

/// A text without what channels are signed with, where that stands in it.
#[must_use]
pub fn without_credentials(text: &str) -> String {
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        return text.to_owned();
    };
    for channel in list::each(&mut document, Listed::Channel) {
        if let Some(item) = channel.get_mut("secret")
            && let Some(said) = item.as_str()
            && matches!(Credential::of(said.to_owned()), Credential::File { .. })
        {
            super::replace(item, Value::from("…"));
        }
    }
    document.to_string()
}

fn said(text: &str) -> Says {
    if text.is_empty() {
        Says::Nothing
    } else {
        Says::Value(Value::from(text))
    }
}

fn unless<T: PartialEq>(default: &T, value: T, shown: impl Fn(T) -> Value) -> Says {
    if value == *default {
        Says::Default(shown(value))
    } else {
        Says::Value(shown(value))
    }
}

fn time(default: u64, ms: u64) -> Says {
    unless(&default, ms, |ms| Value::from(show_duration(ms)))
}

fn severity(default: Severity, severity: Severity) -> Says {
    unless(&default, severity, |severity| Value::from(severity.word()))
}

fn rule_keys(rule: &AlertRule) -> Keys {
    let pair = |(name, value)| (name, Value::from(value));
    let labels: InlineTable = rule.labels.iter().map(pair).collect();
    let summary = if rule.summary == rule.expr {
        Says::Default(Value::from(&rule.summary))
    } else {
        said(&rule.summary)
    };
    vec![
        ("name", said(&rule.name)),
        ("expr", said(&rule.expr)),
        ("for", time(0, rule.for_ms)),
        ("keep_firing_for", time(0, rule.keep_firing_for_ms)),
        ("severity", severity(Severity::default(), rule.severity)),
        (
            "labels",
            if labels.is_empty() {
                Says::Nothing
            } else {
                Says::Value(labels.into())
            },
        ),
        ("summary", summary),
        ("description", said(&rule.description)),
        ("runbook", said(rule.runbook.as_deref().unwrap_or_default())),
    ]
}

/// Every key that a channel may have; those of other kinds say nothing.
fn channel_keys(channel: &ChannelSpec) -> Result<Keys, EditError> {
    let mut says = BTreeMap::from([
        ("name", said(&channel.name)),
        ("kind", said(channel.kind.word())),
        ("severity", severity(Severity::Info, channel.severity)),
        ("resolved", unless(&true, channel.resolved, Value::from)),
    ]);
    match &channel.kind {
        ChannelKind::Webhook { url, secret } => {
            says.insert("url", said(url));
            if let Some(secret) = secret {
                says.insert("secret", credential("secret", secret)?);
            }
        }
        ChannelKind::Alertmanager { url } => {
            says.insert("url", said(url));
        }
        ChannelKind::Exec {
            command,
            timeout_ms,
        } => {
            let command: Array = command.iter().map(String::as_str).collect();
            says.insert("command", Says::Value(command.into()));
            says.insert("timeout", time(10_000, *timeout_ms));
        }
        ChannelKind::Smtp(smtp) => of_mail(smtp, &mut says)?,
        ChannelKind::Desktop => {}
    }
    let key = |key: &&'static str| (*key, says.remove(key).unwrap_or(Says::Nothing));
    Ok(keys::CHANNEL.iter().map(key).collect())
}

fn of_mail(smtp: &Smtp, says: &mut BTreeMap<&str, Says>) -> Result<(), EditError> {
    let tls = unless(&Default::default(), smtp.tls, |tls| Value::from(tls.word()));
    let port = unless(&smtp.tls.port(), smtp.port, |port| {
        Value::from(i64::from(port))
    });
    let to: Array = smtp.to.iter().map(ToString::to_string).collect();
    says.insert("host", said(&smtp.host));
    says.insert("tls", tls);
    says.insert("ca", said(smtp.ca.as_deref().unwrap_or_default()));
    says.insert("port", port);
    says.insert("from", said(&smtp.from.to_string()));
    says.insert("to", Says::Value(to.into()));
    if let Some(login) = &smtp.login {
        says.insert("user", said(&login.user));
        says.insert("password", credential("password", &login.password)?);
    }
    Ok(())
}

/// A credential by its name; what stands in the file stays.
fn credential(key: &'static str, credential: &Credential) -> Result<Says, EditError> {
    let text = credential.text();
    if matches!(credential, Credential::File { .. }) {
        return Ok(Says::Kept);
    }
    // A name that ends early would say something else.
    if Credential::of(text.to_string()) != *credential {
        let found = text.into_owned();
        return Err(EditError::Credential { key, found });
    }
    Ok(said(&text))
}

/// Puts a name into `disabled`, or takes it out; an empty list goes.
fn enable(alerts: &mut Item, name: &str, enabled: bool) {
    let Some(alerts) = alerts.as_table_like_mut() else {
        return;
    };
    let there = alerts.get("disabled").and_then(Item::as_array).cloned();
    let mut list = there.unwrap_or_default();
    let at = list.iter().position(|it| it.as_str() == Some(name));
    match (enabled, at) {
        (true, Some(at)) => {
            list.remove(at);
        }
        (false, None) => list.push(name),
        (true, None) | (false, Some(_)) => return,
    }
    if list.is_empty() {
        alerts.remove("disabled");
    } else {
        set_at(alerts, &["disabled"], Value::Array(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use std::collections::BTreeMap;

    const FILE: &str = r#"# The fleet.

[servers.a]
command = "a"

# Who is told, and of what.
[alerts]
interval = "5s" # often

# Of the search.

# It was fat once.
[[alerts.rules]]
name = "Fat" # like that
expr = 'max by (server) (flotilla_rss_bytes{server="a"}) > 5'
for = "300s"

[[alerts.rules]]
name = "Slow"
expr = "flotilla_call_p95_ms > 5"
severity = "warning"

# The pager.
[[alerts.channels]]
name = "x"
kind = "desktop"
"#;

    fn rule(name: &str, expr: &str) -> AlertRule {
        AlertRule {
            name: name.into(),
            expr: expr.into(),
            for_ms: 0,
            keep_firing_for_ms: 0,
            severity: Severity::Warning,
            labels: BTreeMap::new(),
            summary: String::new(),
            description: String::new(),
            runbook: None,
        }
    }

    fn set(text: &str, was: Option<&str>, rule: AlertRule) -> Result<String, EditError> {
        let was = was.map(str::to_owned);
        edit_rules(text, &RuleEdit::Set { was, rule })
    }

    fn missing(name: &str) -> EditError {
        list::missing(Listed::Rule, name)
    }

    fn listed(name: &str) -> EditError {
        EditError::Listed {
            what: Listed::Rule,
            name: name.into(),
        }
    }

    fn there(text: &str) -> Vec<AlertRule> {
        parse(text).unwrap().alerts.rules
    }

    #[test]
    fn a_rule_is_changed_where_it_stands() {
        let before = there(FILE).remove(0);
        assert_eq!(
            set(FILE, Some("Fat"), before.clone()).unwrap(),
            FILE,
            "nothing to change"
        );
        let after = AlertRule {
            name: "Large".into(),
            for_ms: 60_000,
            severity: Severity::Critical,
            labels: [("team".to_owned(), "a".to_owned())].into(),
            summary: "{{ server }} is \"large\"".into(),
            ..before
        };
        let text = set(FILE, Some("Fat"), after.clone()).unwrap();
        let expected = FILE
            .replace("\"Fat\" # like that", "\"Large\" # like that")
            .replace("for = \"300s\"\n", "for = \"1m\"\nseverity = \"critical\"\nlabels = { team = \"a\" }\nsummary = '{{ server }} is \"large\"'\n");
        assert_eq!(text, expected);
        assert_eq!(there(&text)[0], after);
        // A default that is said stays said; what is no more goes.
        let slow = AlertRule {
            for_ms: 0,
            ..there(FILE).remove(1)
        };
        assert_eq!(set(FILE, Some("Slow"), slow).unwrap(), FILE);
        let back = AlertRule {
            labels: BTreeMap::new(),
            summary: String::new(),
            severity: Severity::Warning,
            ..after
        };
        let text = set(&text, Some("Large"), back).unwrap();
        assert!(
            !text.contains("team") && !text.contains("critical") && !text.contains("summary"),
            "{text}"
        );
    }

    #[test]
    fn a_rule_comes_behind_the_others() {
        let new = "\n[[alerts.rules]]\nname = \"New\"\nexpr = \"up < 1\"\n";
        let text = set(FILE, None, rule("New", "up < 1")).unwrap();
        assert_eq!(
            text,
            FILE.replace("\n# The pager.", &format!("{new}\n# The pager."))
        );
        let only = |text: &str| set(text, None, rule("New", "up < 1")).unwrap();
        assert_eq!(only(""), new.trim_start());
        assert_eq!(only("# nothing yet\n"), format!("# nothing yet\n{new}"));
        assert_eq!(
            only("profile = \"test\"\n"),
            format!("profile = \"test\"\n{new}")
        );
        assert_eq!(
            only("[alerts]\ndefaults = false\n\n[panel]\nport = 1\n"),
            format!("[alerts]\ndefaults = false\n{new}\n[panel]\nport = 1\n")
        );
        assert_eq!(
            only("alerts = { defaults = false }\n"),
            "alerts = { defaults = false , rules = [{ name = \"New\", expr = \"up < 1\" }] }\n"
        );
        for (was, name, error) in [
            (None, "Slow", listed("Slow")),
            (Some("Fat"), "Slow", listed("Slow")),
            (Some("Gone"), "Gone", missing("Gone")),
        ] {
            assert_eq!(set(FILE, was, rule(name, "up < 1")), Err(error));
        }
        let wrong = set(FILE, None, rule("New", "up <"));
        assert!(matches!(wrong, Err(EditError::Invalid(_))), "{wrong:?}");
    }

    #[test]
    fn a_rule_is_taken_out_with_the_comment_above_it() {
        let remove =
            |text: &str, name: &str| edit_rules(text, &RuleEdit::Remove { name: name.into() });
        let fat = "# It was fat once.\n[[alerts.rules]]\nname = \"Fat\" # like that\nexpr = 'max by (server) (flotilla_rss_bytes{server=\"a\"}) > 5'\nfor = \"300s\"\n\n";
        assert_eq!(remove(FILE, "Fat").unwrap(), FILE.replace(fat, ""));
        for text in [
            "[[alerts.rules]]\nname = \"A\"\nexpr = \"up < 1\"\n",
            "alerts.rules = [{ name = \"A\", expr = \"up < 1\" }]\n",
        ] {
            assert_eq!(
                parse(&remove(text, "A").unwrap()).unwrap(),
                crate::Fleet::default(),
                "{text}"
            );
        }
        assert_eq!(remove(FILE, "Gone"), Err(missing("Gone")));
    }

    #[test]
    fn a_rule_that_comes_with_flotilla_is_disabled_and_enabled() {
        let enable = |text: &str, name: &str, enabled| {
            edit_rules(
                text,
                &RuleEdit::Enable {
                    name: name.into(),
                    enabled,
                },
            )
        };
        let off = enable(FILE, "RateLimited", false).unwrap();
        let line = "interval = \"5s\" # often\n";
        assert_eq!(
            off,
            FILE.replace(line, &format!("{line}disabled = [\"RateLimited\"]\n"))
        );
        let both = enable(&off, "CallsSlow", false).unwrap();
        assert_eq!(
            parse(&both).unwrap().alerts.disabled,
            ["RateLimited", "CallsSlow"]
        );
        assert_eq!(enable(&both, "CallsSlow", true).unwrap(), off);
        assert_eq!(enable(&off, "RateLimited", true).unwrap(), FILE);
        assert_eq!(enable(&off, "RateLimited", false).unwrap(), off, "it is");
        assert_eq!(
            enable("", "RateLimited", false).unwrap(),
            "[alerts]\ndisabled = [\"RateLimited\"]\n"
        );
        let below = "[[alerts.rules]]\nname = \"A\"\nexpr = \"up < 1\"\n";
        let text = enable(below, "RateLimited", false).unwrap();
        assert_eq!(parse(&text).unwrap().alerts.rules.len(), 1, "{text}");
        assert_eq!(enable(FILE, "Fat", false), Err(missing("Fat")));
    }

    const CHANNELS: &str = r#"# Who is told.
[[alerts.channels]]
name = "hook" # of the wiki
kind = "webhook"
url = "https://hooks.example/x"
secret = "plain"

# The pager.
[[alerts.channels]]
name = "mail"
kind = "smtp"
host = "mail.example.com"
port = 587
user = "flotilla"
password = "${secret:mail}"
from = '"Flotilla" <fleet@example.com>'
to = [ "a@example.com", "b@example.com" ]
severity = "critical"

[[alerts.channels]]
name = "page"
kind = "exec"
command = ["/bin/page", "--now"]
timeout = "90s"
"#;

    fn channel(text: &str, name: &str) -> ChannelSpec {
        let fleet = parse(text).unwrap();
        let mut channels = fleet.alerts.channels.into_iter();
        channels.find(|channel| channel.name == name).unwrap()
    }

    fn set_channel(
        text: &str,
        was: Option<&str>,
        channel: &ChannelSpec,
    ) -> Result<String, EditError> {
        // As it comes back from a screen.
        let sent = serde_json::to_string(channel).unwrap();
        assert!(!sent.contains("plain"), "{sent}");
        let (was, channel) = (was.map(str::to_owned), serde_json::from_str(&sent).unwrap());
        edit_channels(text, &ChannelEdit::Set { was, channel })
    }

    #[test]
    fn a_channel_is_changed_where_it_stands_and_what_is_secret_stays() {
        for name in ["hook", "mail", "page"] {
            let same = set_channel(CHANNELS, Some(name), &channel(CHANNELS, name));
            assert_eq!(same.unwrap(), CHANNELS, "nothing to change");
        }
        let mut mail = channel(CHANNELS, "mail");
        let ChannelKind::Smtp(smtp) = &mut mail.kind else {
            panic!("{mail:?}");
        };
        (smtp.tls, smtp.port) = (flotilla_contract::alert::SmtpTls::Tls, 465);
        smtp.to.pop();
        mail.resolved = false;
        let text = set_channel(CHANNELS, Some("mail"), &mail).unwrap();
        let expected = CHANNELS
            .replace("port = 587\n", "")
            .replace(
                "[ \"a@example.com\", \"b@example.com\" ]",
                "[\"a@example.com\"]",
            )
            .replace(
                "severity = \"critical\"\n",
                "severity = \"critical\"\ntls = \"tls\"\nresolved = false\n",
            );
        assert_eq!(text, expected);
        assert_eq!(channel(&text, "mail"), mail);

        // Another kind has other keys; what another key says in confidence is not its.
        let kind = |kind| ChannelSpec {
            kind,
            ..channel(CHANNELS, "hook")
        };
        let url = "http://am.example".to_owned();
        let text = set_channel(
            CHANNELS,
            Some("hook"),
            &kind(ChannelKind::Alertmanager { url }),
        );
        let expected = CHANNELS
            .replace("\"webhook\"", "\"alertmanager\"")
            .replace("https://hooks.example/x", "http://am.example")
            .replace("secret = \"plain\"\n", "");
        assert_eq!(text.unwrap(), expected);
        let hook = |from: Credential| {
            let (url, secret) = ("https://x.example".to_owned(), Some(from));
            kind(ChannelKind::Webhook { url, secret })
        };
        let named = |name: &str| Credential::Secret { name: name.into() };
        let text = set_channel(CHANNELS, Some("hook"), &hook(named("a/b"))).unwrap();
        assert!(text.contains("secret = \"${secret:a/b}\"\n"), "{text}");
        let file = Credential::File {
            text: String::new(),
        };
        for (was, channel, error) in [
            (
                Some("mail"),
                hook(file.clone()),
                EditError::Listed {
                    what: Listed::Channel,
                    name: "hook".into(),
                },
            ),
            (
                Some("gone"),
                ChannelSpec {
                    name: "gone".into(),
                    ..hook(named("a"))
                },
                list::missing(Listed::Channel, "gone"),
            ),
            (
                Some("mail"),
                ChannelSpec {
                    name: "mail".into(),
                    ..hook(file.clone())
                },
                EditError::NothingKept("secret"),
            ),
            (
                None,
                ChannelSpec {
                    name: "new".into(),
                    ..hook(file)
                },
                EditError::NothingKept("secret"),
            ),
            (
                Some("hook"),
                hook(named("a}${b")),
                EditError::Credential {
                    key: "secret",
                    found: "${secret:a}${b}".into(),
                },
            ),
        ] {
            assert_eq!(set_channel(CHANNELS, was, &channel), Err(error));
        }
        let wrong = kind(ChannelKind::Alertmanager {
            url: "ftp://x".into(),
        });
        let Err(EditError::Invalid(findings)) = set_channel(CHANNELS, Some("hook"), &wrong) else {
            panic!("it is no address of HTTP");
        };
        assert_eq!(findings[0].key, "alerts.channels[0].url");
    }

    #[test]
    fn a_channel_is_added_and_taken_out() {
        let screen = ChannelSpec {
            name: "screen".into(),
            kind: ChannelKind::Desktop,
            severity: Severity::Critical,
            resolved: true,
        };
        let new =
            "[[alerts.channels]]\nname = \"screen\"\nkind = \"desktop\"\nseverity = \"critical\"\n";
        assert_eq!(set_channel("", None, &screen).unwrap(), new);
        let text = set_channel(CHANNELS, None, &screen).unwrap();
        assert_eq!(text, format!("{CHANNELS}\n{new}"));
        let remove = |text: &str, name: &str| {
            edit_channels(text, &ChannelEdit::Remove { name: name.into() })
        };
        assert_eq!(remove(&text, "screen").unwrap(), CHANNELS);
        assert_eq!(remove(new, "screen").unwrap(), "");
        assert_eq!(
            remove(CHANNELS, "x"),
            Err(list::missing(Listed::Channel, "x"))
        );
    }

    #[test]
    fn a_text_is_shown_without_what_signs() {
        assert_eq!(
            without_credentials(CHANNELS),
            CHANNELS.replace("\"plain\"", "\"…\"")
        );
        let inline = "alerts.channels = [{ name = \"a\", kind = \"webhook\", url = \"http://x\", secret = 'x' }]\n";
        assert_eq!(without_credentials(inline), inline.replace("'x'", "\"…\""));
        assert_eq!(
            without_credentials("secret = \"${secret:x}\" # [[\n"),
            "secret = \"${secret:x}\" # [[\n"
        );
    }
}
