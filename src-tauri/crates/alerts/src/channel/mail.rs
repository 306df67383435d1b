//! E-mail. What an alert says comes from labels and texts of others: none of it reaches a header but the subject, and that without control
//! characters.

use super::send::{Failed, innermost, time};
use crate::Message;
use flotilla_contract::alert::{Alert, AlertState, Mailbox, Smtp, SmtpTls};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    message::{
        SinglePart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A mail server may let strangers wait before it greets them; longer than this it may not.
const WHOLE: Duration = Duration::from_secs(30);
/// Characters of a subject at most.
const SUBJECT: usize = 200;

/// Sends a message, once.
pub(super) async fn send(
    smtp: &Smtp,
    password: Option<String>,
    message: &Message,
) -> Result<(), Failed> {
    let mail = compose(smtp, message)?;
    let tls = || {
        TlsParameters::new_rustls(smtp.host.clone())
            .map_err(|error| Failed::for_good(format!("TLS to {}: {error}", smtp.host)))
    };
    let tls = match smtp.tls {
        SmtpTls::Starttls => Tls::Required(tls()?),
        SmtpTls::Tls => Tls::Wrapper(tls()?),
        SmtpTls::None => Tls::None,
    };
    let mut client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(tls)
        .timeout(Some(WHOLE));
    if let (Some(login), Some(password)) = (&smtp.login, password) {
        client = client.credentials(Credentials::new(login.user.clone(), password));
    }
    let client = client.build();
    match tokio::time::timeout(WHOLE, client.send(mail)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Failed::now(format!(
            "{} did not take it within {} s",
            smtp.host,
            WHOLE.as_secs()
        ))),
    }
}

/// A refusal that the server calls permanent, and what cannot be told to it at all, stay so; all else may go better.
fn failed(error: &Error) -> Failed {
    let said = plain(&innermost(error));
    match error.status() {
        Some(code) => {
            let why = format!("the mail server answered {code}: {said}");
            if error.is_permanent() {
                Failed::for_good(why)
            } else {
                Failed::now(why)
            }
        }
        None if error.is_client() => Failed::for_good(said),
        None => Failed::now(said),
    }
}

fn compose(smtp: &Smtp, message: &Message) -> Result<lettre::Message, Failed> {
    let wrong = |error: &dyn std::error::Error| {
        Failed::for_good(format!("the mail cannot be written: {error}"))
    };
    let mailbox = |from: &Mailbox| {
        let address = Address::new(&from.local, &from.domain).map_err(|error| wrong(&error))?;
        Ok(lettre::message::Mailbox::new(from.name.clone(), address))
    };
    // The same message, tried again, is the same mail; and mails of a group stand together where mail is read.
    let group = serde_json::to_string(&message.group).unwrap_or_default();
    let id = |text: &str| {
        let digest = Sha256::digest(text);
        let hex = digest.iter().take(16).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        format!("<{hex}@{}>", smtp.from.domain)
    };
    let date = UNIX_EPOCH
        .checked_add(Duration::from_millis(message.at))
        .unwrap_or_else(SystemTime::now);
    let mut mail = lettre::Message::builder()
        .date(date)
        .message_id(Some(id(&format!(
            "{}\n{}\n{group}",
            message.at, message.test
        ))))
        .references(id(&group))
        .from(mailbox(&smtp.from)?)
        .subject(subject(message))
        .user_agent(concat!("Flotilla/", env!("CARGO_PKG_VERSION")).to_owned())
        // Nobody's holiday notice is wanted (RFC 3834).
        .header(AutoSubmitted);
    for to in &smtp.to {
        mail = mail.to(mailbox(to)?);
    }
    mail.singlepart(SinglePart::plain(text(message)))
        .map_err(|error| wrong(&error))
}

/// `Auto-Submitted: auto-generated`.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn is_firing(alert: &&Alert) -> bool {
    alert.state == AlertState::Firing
}

/// What fires, the worst first, or what has ended.
fn subject(message: &Message) -> String {
    if message.test {
        return "Flotilla: a test".to_owned();
    }
    let firing = message.alerts.iter().filter(is_firing).count();
    let worst = message
        .alerts
        .iter()
        .filter(is_firing)
        .max_by_key(|alert| alert.severity);
    let (word, alert, count) = match worst {
        Some(alert) => (
            alert.severity.word(),
            Some(alert),
            firing + message.left_out,
        ),
        None => (
            "resolved",
            message.alerts.first(),
            message.alerts.len() + message.left_out,
        ),
    };
    let summary = alert.map_or("", |alert| alert.summary.as_str());
    let more = if count > 1 {
        format!(", and {} more", count - 1)
    } else {
        String::new()
    };
    plain(&format!("[Flotilla] {word}: {summary}{more}"))
}

/// On one line, and no longer than a subject may be.
fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.trim().chars().take(SUBJECT).collect()
}

fn text(message: &Message) -> String {
    let mut text = String::new();
    let (firing, ended): (Vec<&Alert>, Vec<&Alert>) = message.alerts.iter().partition(is_firing);
    for alert in firing.into_iter().chain(ended) {
        let word = match alert.state {
            AlertState::Firing => alert.severity.word(),
            state => state.word(),
        };
        let _ = writeln!(text, "{word}: {}", alert.summary);
        if !alert.description.is_empty() {
            let _ = writeln!(text, "{}", alert.description);
        }
        for (name, value) in &alert.labels {
            let _ = writeln!(text, "  {name} = {value}");
        }
        if !alert.expr.is_empty() {
            let _ = writeln!(text, "  {}; the value was {}", alert.expr, alert.value);
        }
        let _ = writeln!(text, "  since {}", time(alert.fired.unwrap_or(alert.since)));
        if let (AlertState::Resolved, Some(ended)) = (alert.state, alert.ended) {
            let _ = writeln!(text, "  until {}", time(ended));
        }
        if let Some(runbook) = &alert.runbook {
            let _ = writeln!(text, "  runbook: {runbook}");
        }
        text.push('\n');
    }
    if message.left_out > 0 {
        let _ = writeln!(text, "And {} more.\n", message.left_out);
    }
    text
}
