//! Against a receiver of HTTP on this machine, and real programs.

use super::*;
use flotilla_contract::alert::{Alert, Credential};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
mod mail;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

struct Near {
    notices: mpsc::UnboundedSender<String>,
    mark: flotilla_os::Mark,
}

impl Reach for Near {
    fn resolve(&self, text: String) -> Boxed<'_, Result<String, String>> {
        let resolved = match text.as_str() {
            "${secret:HOOK}" => Ok("key".to_owned()),
            text if text.contains("${") => Err(format!("{text} is not stored")),
            text => Ok(text.to_owned()),
        };
        Box::pin(std::future::ready(resolved))
    }

    fn notice(&self, title: String, body: String, _: Severity) {
        let _ = self.notices.send(format!("{title} | {body}"));
    }

    fn environment(&self) -> (Vec<(OsString, OsString)>, flotilla_os::Mark) {
        (
            flotilla_os::launch::child_environment(),
            self.mark.narrow("program"),
        )
    }

    fn now(&self) -> Millis {
        1_700_000_000_123
    }

    fn chance(&self) -> f64 {
        1.0
    }
}

fn near() -> (Channels, mpsc::UnboundedReceiver<String>) {
    let (notices, read) = mpsc::unbounded_channel();
    let folder = tempfile::tempdir().unwrap();
    let mark = flotilla_os::Mark::of_home(folder.path());
    (Channels::new(Arc::new(Near { notices, mark })), read)
}

fn message(severity: Severity, state: AlertState) -> Message {
    let labels: BTreeMap<String, String> = [("alertname".to_owned(), "Hot".to_owned())].into();
    Message {
        at: 5,
        until: 3_000,
        group: labels.clone(),
        alerts: vec![Alert {
            id: "1".into(),
            state,
            severity,
            labels,
            summary: "it is hot".into(),
            description: String::new(),
            runbook: None,
            expr: "heat > 5".into(),
            value: 6.0,
            since: 0,
            fired: Some(1_000),
            ended: (state == AlertState::Resolved).then_some(2_000),
            silenced: None,
            inhibited: None,
        }],
        left_out: 0,
        test: false,
    }
}

fn channel(name: &str, kind: ChannelKind) -> ChannelSpec {
    ChannelSpec {
        name: name.into(),
        kind,
        severity: Severity::Info,
        resolved: true,
    }
}

/// Answers requests with these statuses, one each, and gives what was asked.
async fn receiver(
    statuses: &'static [u16],
) -> (String, mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).await.unwrap();
                bytes.extend_from_slice(&part[..count]);
                let text = String::from_utf8_lossy(&bytes).to_lowercase();
                if let Some(end) = text.find("\r\n\r\n") {
                    let head = text[..end].to_owned();
                    let length = head.split("content-length: ").nth(1).unwrap();
                    let length: usize = length.lines().next().unwrap().parse().unwrap();
                    if bytes.len() >= end + 4 + length {
                        break (head, bytes[end + 4..].to_vec());
                    }
                }
            };
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsaid"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = tell.send((head, body));
        }
    });
    (address, asked)
}

/// Waits until a channel is as it should be.
async fn until(channels: &Channels, is: impl Fn(&ChannelView) -> bool) -> ChannelView {
    let began = Instant::now();
    loop {
        let view = channels.views().remove(0);
        if is(&view) || began.elapsed() > Duration::from_secs(20) {
            return view;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again() {
    let (url, mut asked) = receiver(&[500, 204]).await;
    let (channels, _) = near();
    let secret = Some(Credential::of("${secret:HOOK}".into()));
    let url = format!("{url}/hook");
    channels.set(&[channel("hook", ChannelKind::Webhook { url, secret })]);
    channels.tell(&message(Severity::Warning, AlertState::Firing));
    let (first, body) = asked.recv().await.unwrap();
    let (second, again) = asked.recv().await.unwrap();
    assert!(first.starts_with("post /hook "), "{first}");
    let signed = signature("key", 1_700_000_000, &body);
    for head in [&first, &second] {
        assert!(
            head.contains("x-flotilla-timestamp: 1700000000\r\n"),
            "{head}"
        );
        assert!(
            head.contains(&format!("x-flotilla-signature: {signed}")),
            "{head}"
        );
    }
    assert_eq!(body, again);
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(told["status"], "firing");
    assert_eq!(told["alerts"][0]["summary"], "it is hot");
    let view = until(&channels, |view| view.sent == 1).await;
    assert_eq!((view.sent, view.lost, view.error), (1, 0, None));
}

#[tokio::test]
async fn what_is_refused_for_good_is_a_dead_letter() {
    let (url, mut asked) = receiver(&[400]).await;
    let (channels, _) = near();
    let spec = ChannelSpec {
        severity: Severity::Warning,
        resolved: false,
        ..channel("hook", ChannelKind::Webhook { url, secret: None })
    };
    channels.set(&[spec]);
    // Neither is for this channel.
    channels.tell(&message(Severity::Info, AlertState::Firing));
    channels.tell(&message(Severity::Critical, AlertState::Resolved));
    channels.tell(&message(Severity::Critical, AlertState::Firing));
    let (head, _) = asked.recv().await.unwrap();
    assert!(!head.contains("x-flotilla-signature"), "{head}");
    let view = until(&channels, |view| view.lost == 1).await;
    assert_eq!(view.lost, 1);
    assert_eq!(view.dead[0].error, "the receiver answered 400: said");
    assert_eq!(view.dead[0].alerts, ["Hot firing: it is hot"]);
}

#[tokio::test]
async fn a_secret_that_is_not_stored_is_told() {
    let (channels, _) = near();
    let url = "${secret:NONE}".to_owned();
    channels.set(&[channel("hook", ChannelKind::Webhook { url, secret: None })]);
    let test = message(Severity::Info, AlertState::Firing);
    assert_eq!(
        channels.test("hook", &test).await,
        Err(TestError::Failed("${secret:NONE} is not stored".into()))
    );
    assert_eq!(
        channels.test("nobody", &test).await,
        Err(TestError::None("nobody".into()))
    );
}

#[tokio::test]
async fn alertmanager_gets_times_and_annotations() {
    let (url, mut asked) = receiver(&[200]).await;
    let (channels, _) = near();
    let url = format!("{url}/");
    channels.set(&[channel("am", ChannelKind::Alertmanager { url })]);
    let ended = message(Severity::Critical, AlertState::Resolved);
    channels.test("am", &ended).await.unwrap();
    let (head, body) = asked.recv().await.unwrap();
    assert!(head.starts_with("post /api/v2/alerts "), "{head}");
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        told,
        serde_json::json!([{
            "labels": { "alertname": "Hot" },
            "annotations": { "summary": "it is hot" },
            "startsAt": "1970-01-01T00:00:01Z",
            "endsAt": "1970-01-01T00:00:02Z",
        }])
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_reads_the_message_and_is_ended_with_its_tree() {
    let (channels, mut notices) = near();
    let folder = tempfile::tempdir().unwrap();
    let exec = |run: &str, timeout_ms| ChannelKind::Exec {
        command: vec![
            "/bin/sh".into(),
            "-c".into(),
            format!("cd '{}'; {run}", folder.path().display()),
        ],
        timeout_ms,
    };
    channels.set(&[
        channel("reads", exec("cat > told", 10_000)),
        channel("hangs", exec("sleep 600 & echo $! > child; wait", 300)),
        channel("fails", exec("exit 3", 10_000)),
        channel("screen", ChannelKind::Desktop),
    ]);
    let told = message(Severity::Critical, AlertState::Firing);
    channels.test("reads", &told).await.unwrap();
    let text = std::fs::read_to_string(folder.path().join("told")).unwrap();
    assert!(text.contains("it is hot"), "{text}");
    let hung = channels.test("hangs", &told).await.unwrap_err().to_string();
    assert_eq!(hung, "/bin/sh did not end within 300 ms, and was ended");
    let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
    let child: u32 = child.trim().parse().unwrap();
    let table = flotilla_os::ProcessTable::read();
    let alive = table.processes.iter().any(|p| p.pid == child && !p.zombie);
    assert!(!alive, "{child} is left");
    let failed = channels.test("fails", &told).await.unwrap_err().to_string();
    assert_eq!(failed, "/bin/sh ended with exit status: 3");
    channels.test("screen", &told).await.unwrap();
    assert_eq!(notices.recv().await.unwrap(), "critical: Hot | it is hot");
}
