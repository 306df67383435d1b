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
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use rustls::CertificateError;
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::io::AsyncReadExt as _;

/// A mail server may let strangers wait before it greets them; longer than this it may not.
const WHOLE: Duration = Duration::from_secs(30);
/// Characters of a subject at most.
const SUBJECT: usize = 200;
/// Bytes of a file with certificates at most.
const CERTIFICATES: u64 = 1 << 20;

/// Sends a message, once.
pub(super) async fn send(
    smtp: &Smtp,
    password: Option<String>,
    message: &Message,
) -> Result<(), Failed> {
    let mail = compose(smtp, message)?;
    let tls = match smtp.tls {
        SmtpTls::Starttls => Tls::Required(trusted(smtp).await?),
        SmtpTls::Tls => Tls::Wrapper(trusted(smtp).await?),
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
        Ok(Err(error)) => Err(failed(smtp, &error)),
        Err(_) => Err(Failed::now(format!(
            "{} did not take it within {} s",
            smtp.host,
            WHOLE.as_secs()
        ))),
    }
}

/// Who may sign the server's certificate: those of `ca` alone, or whom the system trusts.
async fn trusted(smtp: &Smtp) -> Result<TlsParameters, Failed> {
    let tls = TlsParameters::builder(smtp.host.clone());
    let Some(path) = &smtp.ca else {
        let built = tls.build_rustls();
        return built.map_err(|error| {
            let why = innermost(&error);
            Failed::now(format!(
                "the certificates that this machine trusts cannot be read: {why}"
            ))
        });
    };
    let wrong = |why: String| Failed::now(format!("ca: {path} {why}"));
    let pem = read(path)
        .await
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    // lettre takes a file without any for an empty list.
    let begin = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(begin.len()).any(|part| part == begin) {
        return Err(wrong(
            "holds no certificate in PEM; accepted is a file with -----BEGIN CERTIFICATE-----"
                .into(),
        ));
    }
    let broken = |error: Error| wrong(format!("holds a broken certificate: {}", innermost(&error)));
    tls.certificate_store(CertificateStore::None)
        .add_root_certificate(Certificate::from_pem(&pem).map_err(broken)?)
        .build_rustls()
        .map_err(broken)
}

async fn read(path: &str) -> io::Result<Vec<u8>> {
    // To open a pipe would wait for who writes to it.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::new();
    file.take(CERTIFICATES).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// A refusal that the server calls permanent, a certificate that is refused, and what cannot be told to it at all, stay so; all else may
/// go better.
fn failed(smtp: &Smtp, error: &Error) -> Failed {
    if let Some(why) = of_tls(error).and_then(|error| refused(smtp, error)) {
        return Failed::for_good(why);
    }
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

/// The error of TLS that an error comes from.
fn of_tls(error: &Error) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        // The source of an error of input and output is not what it holds, but the source of that.
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(tls) = held.and_then(|held| held.downcast_ref()) {
            return Some(tls);
        }
        next = error.source();
    }
    None
}

/// Why a handshake came to nothing, and what is to be done.
fn refused(smtp: &Smtp, error: &rustls::Error) -> Option<String> {
    let Smtp { host, port, .. } = smtp;
    let certificate = match error {
        rustls::Error::InvalidCertificate(error) => error,
        rustls::Error::InvalidMessage(_) if smtp.tls == SmtpTls::Tls => {
            return Some(format!(
                "{host} does not begin with TLS at port {port}; tls = \"starttls\" is for a server that does so later"
            ));
        }
        _ => return None,
    };
    let why = match (certificate, &smtp.ca) {
        // An authority may have got another key under its old name.
        (CertificateError::UnknownIssuer | CertificateError::BadSignature, None) => {
            "is signed by an authority that this machine does not trust; name the certificate of that authority, a file in PEM, in ca".to_owned()
        }
        (CertificateError::UnknownIssuer | CertificateError::BadSignature, Some(ca)) => {
            format!("is signed by none of the authorities in {ca}; ca is to name the certificate of the one that signed it")
        }
        (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }, _) => {
            "is for another name; host is to be a name that stands in the certificate".to_owned()
        }
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => {
            "has expired; it is to be renewed there".to_owned()
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, _) => {
            "is not valid yet; look at the clocks of both machines".to_owned()
        }
        (other, _) => format!("is refused: {}", plain(&other.to_string())),
    };
    Some(format!("the certificate of {host} {why}"))
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
