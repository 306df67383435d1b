//! One try to send a message.

use super::{Reach, Sign, mail, signature};
use crate::Message;
use flotilla_contract::{
    Millis,
    alert::{Alert, AlertState, ChannelKind, Severity},
};
use flotilla_os::{Ending, kill_family, signal_group};
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use std::{
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

/// A request takes this long at most.
const REQUEST: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read, to say what was wrong.
const ANSWER: usize = 4 << 10;
/// Looks for what is left of a program's tree.
const SWEEPS: u32 = 40;

/// Why it did not arrive.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// Whether another try may go better.
    pub(super) again: bool,
}

impl Failed {
    pub(super) fn now(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            again: true,
        }
    }

    pub(super) fn for_good(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            again: false,
        }
    }
}

pub(super) struct Sender {
    reach: Arc<dyn Reach>,
    client: OnceLock<Result<reqwest::Client, String>>,
}

impl Sender {
    pub(super) fn new(reach: Arc<dyn Reach>) -> Self {
        Self {
            reach,
            client: OnceLock::new(),
        }
    }

    pub(super) async fn send(&self, kind: &ChannelKind, message: &Message) -> Result<(), Failed> {
        match kind {
            ChannelKind::Webhook { url, secret } => {
                let body = payload(message).to_string();
                let secret = match secret {
                    Some(secret) => Some(self.resolve(&secret.text()).await?),
                    None => None,
                };
                self.post(url, "", body, secret).await
            }
            ChannelKind::Alertmanager { url } => {
                let body = for_alertmanager(message).to_string();
                self.post(url, "/api/v2/alerts", body, None).await
            }
            ChannelKind::Exec {
                command,
                timeout_ms,
            } => self.exec(command, *timeout_ms, payload(message)).await,
            ChannelKind::Smtp(smtp) => {
                let password = match &smtp.login {
                    Some(login) => Some(self.resolve(&login.password.text()).await?),
                    None => None,
                };
                mail::send(smtp, password, message).await
            }
            ChannelKind::Desktop => {
                let (title, body, severity) = words(message);
                self.reach.notice(title, body, severity);
                Ok(())
            }
        }
    }

    async fn resolve(&self, text: &str) -> Result<String, Failed> {
        self.reach
            .resolve(text.to_owned())
            .await
            .map_err(Failed::now)
    }

    async fn post(
        &self,
        url: &str,
        path: &str,
        body: String,
        secret: Option<String>,
    ) -> Result<(), Failed> {
        let url = self.resolve(url).await?;
        let url = format!("{}{path}", url.trim_end_matches('/'));
        let client = self.client.get_or_init(|| {
            let client = reqwest::Client::builder()
                .timeout(REQUEST)
                // What is meant for one receiver is not given to another.
                .redirect(reqwest::redirect::Policy::none());
            client.build().map_err(|error| innermost(&error))
        });
        let client = client
            .as_ref()
            .map_err(|why| Failed::for_good(format!("no HTTP client can be made: {why}")))?;
        let mut request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(
                "user-agent",
                concat!("Flotilla/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(secret) = secret {
            let seconds = self.reach.now() / 1_000;
            request = request.header(Sign::TIMESTAMP, seconds).header(
                Sign::SIGNATURE,
                signature(&secret, seconds, body.as_bytes()),
            );
        }
        let failed = |error: reqwest::Error| Failed {
            again: !error.is_builder(),
            why: innermost(&error.without_url()),
        };
        let mut answer = request.body(body).send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let mut said = Vec::new();
        while said.len() < ANSWER
            && let Ok(Some(part)) = answer.chunk().await
        {
            said.extend_from_slice(&part);
        }
        said.truncate(ANSWER);
        let said = String::from_utf8_lossy(&said);
        let said: String = said.trim().chars().take(200).collect();
        let colon = if said.is_empty() { "" } else { ": " };
        let why = format!("the receiver answered {}{colon}{said}", status.as_u16());
        let again = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            );
        Err(Failed { why, again })
    }

    async fn exec(
        &self,
        command: &[String],
        timeout_ms: u64,
        payload: Value,
    ) -> Result<(), Failed> {
        let mut words = Vec::with_capacity(command.len());
        for word in command {
            words.push(self.resolve(word).await?);
        }
        let Some((program, args)) = words.split_first() else {
            return Err(Failed::for_good("command is empty"));
        };
        let (environment, mark) = self.reach.environment();
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(environment)
            .env(flotilla_os::MARK_VARIABLE, mark.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| Failed::for_good(format!("start {program}: {error}")))?;
        let tree = Tree(child.id(), mark);
        let stdin = child.stdin.take();
        let work = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read is no failure; its exit code tells.
                let _ = stdin.write_all(payload.to_string().as_bytes()).await;
                drop(stdin);
            }
            child.wait().await
        };
        let end = timeout(Duration::from_millis(timeout_ms), work).await;
        tree.end().await;
        match end {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Failed::now(format!("{program} ended with {status}"))),
            Ok(Err(error)) => Err(Failed::now(format!("wait for {program}: {error}"))),
            Err(_) => Err(Failed::now(format!(
                "{program} did not end within {timeout_ms} ms, and was ended"
            ))),
        }
    }
}

/// The processes of a program. Dropped, it ends those that are left.
struct Tree(Option<u32>, flotilla_os::Mark);

impl Tree {
    async fn end(mut self) {
        if let Some(sweep) = self.sweep() {
            // The guard does it again at the end of the engine.
            let _ = tokio::task::spawn_blocking(sweep).await;
        }
    }

    fn sweep(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        let group = self.0.take()?;
        signal_group(group, Ending::Kill);
        let mark = self.1.clone();
        Some(move || {
            kill_family(&mark, &[group], SWEEPS);
        })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Some(sweep) = self.sweep() {
            let _ = std::thread::Builder::new()
                .name("sweep".into())
                .spawn(sweep);
        }
    }
}

/// What webhooks and programs get: `version` 1.
fn payload(message: &Message) -> Value {
    let fires = message
        .alerts
        .iter()
        .any(|alert| alert.state == AlertState::Firing);
    json!({
        "version": 1,
        "at": message.at,
        "test": message.test,
        "status": if fires { "firing" } else { "resolved" },
        "group": message.group,
        "alerts": message.alerts,
        "left_out": message.left_out,
    })
}

/// What Alertmanager's API takes: `postableAlerts` of its version 2.
fn for_alertmanager(message: &Message) -> Value {
    let alert = |alert: &Alert| {
        let mut annotations = serde_json::Map::new();
        let runbook = alert.runbook.as_deref().unwrap_or_default();
        for (name, text) in [
            ("summary", alert.summary.as_str()),
            ("description", &alert.description),
            ("runbook", runbook),
        ] {
            if !text.is_empty() {
                annotations.insert(name.into(), text.into());
            }
        }
        json!({
            "labels": alert.labels,
            "annotations": annotations,
            "startsAt": time(alert.fired.unwrap_or(alert.since)),
            // Without one, Alertmanager would let it end `resolve_timeout` from now.
            "endsAt": time(alert.ended.unwrap_or(message.until)),
        })
    };
    message.alerts.iter().map(alert).collect()
}

pub(super) fn time(at: Millis) -> String {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| String::new(), |at| at.to_string())
}

/// Title, text and the worst severity, for a person.
fn words(message: &Message) -> (String, String, Severity) {
    let firing = message
        .alerts
        .iter()
        .filter(|alert| alert.state == AlertState::Firing)
        .count();
    let severity = message.alerts.iter().map(|alert| alert.severity).max();
    let lines: Vec<&str> = message
        .alerts
        .iter()
        .take(4)
        .map(|alert| alert.summary.as_str())
        .collect();
    let more = message.alerts.len() + message.left_out - lines.len();
    let mut body = lines.join("\n");
    if more > 0 {
        body += &format!("\nand {more} more");
    }
    let title = match (message.test, firing, message.alerts.first()) {
        (true, ..) => "Flotilla: a test".to_owned(),
        (_, 0, _) => "Resolved".to_owned(),
        (_, 1, Some(alert)) => format!("{}: {}", alert.severity.word(), alert.rule()),
        _ => format!("{firing} alerts"),
    };
    (title, body, severity.unwrap_or_default())
}

/// The cause that says most.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
