//! Alerts: a server that fails is told of to a real receiver, once, over a restart too; when it is mended, that is told.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use flotilla_contract::{
    ErrorCode,
    alert::{
        Alert, AlertRule, AlertState, ChannelEdit, ChannelKind, ChannelRef, ChannelWriteParams,
        CheckExprParams, Credential, RuleEdit, RuleState, RuleWriteParams, Severity,
    },
    command::{
        AlertsChannelPreview, AlertsChannelWrite, AlertsChannels, AlertsCheck, AlertsList,
        AlertsRulePreview, AlertsRuleWrite, AlertsRules, AlertsTestChannel,
    },
    state::Status,
};
use flotilla_tests::{Bed, fixture, free_ports};
use serde_json::Value;
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::sync::mpsc;

type Told = mpsc::UnboundedReceiver<(HeaderMap, Value)>;

async fn receiver() -> (String, Told) {
    let (tell, told) = mpsc::unbounded_channel();
    let take = |State(tell): State<mpsc::UnboundedSender<_>>, head: HeaderMap, body: Bytes| async move {
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let _ = tell.send((head, body));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let app = Router::new().route("/", post(take)).with_state(tell);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, told)
}

async fn next(told: &mut Told) -> Value {
    let told = tokio::time::timeout(Duration::from_secs(40), told.recv()).await;
    told.expect("a message in time").expect("a message").1
}

/// Debian's Alertmanager, which tells nobody itself.
struct Alertmanager {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("alertmanager.yml");
        let text = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";
        std::fs::write(&config, text).expect("a file");
        let address = format!("127.0.0.1:{}", free_ports(1));
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            // No other of its kind is looked for.
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager, of Debian's package");
        Self {
            child,
            url: format!("http://{address}"),
            _folder: folder,
        }
    }

    /// The alerts that it has, as its API tells them; `None` while it does not answer.
    async fn alerts(&self) -> Option<Vec<Value>> {
        let client = reqwest::Client::builder().no_proxy().build().ok()?;
        let answer = client
            .get(format!("{}/api/v2/alerts", self.url))
            .send()
            .await
            .ok()?;
        answer.json().await.ok()
    }
}

async fn firing(bed: &Bed) -> Vec<Alert> {
    let alerts = bed.run::<AlertsList>(Default::default()).await;
    let mut alerts = alerts.expect("alerts");
    alerts.retain(|alert| alert.state == AlertState::Firing && alert.rule() == "ServerFailed");
    alerts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_is_told_of_and_its_mending_too() {
    let (url, mut told) = receiver().await;
    let alertmanager = Alertmanager::start();
    let settings = format!(
        "[alerts]\ninterval = \"1s\"\ngroup_wait = \"0s\"\ngroup_interval = \"1s\"\n\
         [[alerts.channels]]\nname = \"hook\"\nkind = \"webhook\"\nurl = {url:?}\nsecret = \"key\"\nseverity = \"critical\"\n\
         [[alerts.channels]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = {:?}\nseverity = \"critical\"\n",
        alertmanager.url
    );
    let never = "restart = { max_restarts = 0, delays = [\"50ms\"] }";
    let config = |flags: &str| fixture("flaky", flags, never) + &settings;
    let mut bed = Bed::new(&config("--crash-at-once 1")).await;
    let folder = bed.home().join("workflows");
    std::fs::create_dir_all(&folder).expect("a folder");
    let workflow = "name: praise\nvars:\n  server: { type: string }\non:\n  - event: { kinds: [\"alert:resolved\"] }\n    if: trigger.event.rule == \"ServerFailed\"\n    vars: { server: \"${{ trigger.server }}\" }\nsteps:\n  - { id: say, uses: notify, with: { message: \"${{ vars.server }} is well again\" } }\n";
    std::fs::write(folder.join("praise.yaml"), workflow).expect("a definition");
    bed.until("flaky", |v| v.status == Status::Failed).await;

    let message = next(&mut told).await;
    assert_eq!(message["status"], "firing");
    let alert = &message["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "ServerFailed");
    assert_eq!(alert["labels"]["server"], "flaky");
    assert_eq!(alert["summary"], "flaky has failed");
    let said = bed.cli_says(0, &["alerts"]);
    assert!(said.contains("flaky has failed"), "{said}");
    bed.eventually(
        "Alertmanager has it, with its texts and an end to come",
        async || {
            let alerts = alertmanager.alerts().await.unwrap_or_default();
            let one = |alert: &Value| {
                alert["labels"]["alertname"] == "ServerFailed"
                    && alert["labels"]["server"] == "flaky"
                    && alert["annotations"]["summary"] == "flaky has failed"
                    && alert["status"]["state"] == "active"
                    && alert["endsAt"].as_str() > alert["startsAt"].as_str()
            };
            alerts.len() == 1 && alerts.iter().all(one)
        },
    )
    .await;
    let said = bed.cli_says(0, &["alerts", "test", "hook"]);
    assert!(said.contains("hook took the test message"), "{said}");
    assert_eq!(next(&mut told).await["test"], true);
    let said = bed.cli_says(
        0,
        &["alerts", "silence", "alertname=Nothing", "--for", "10m"],
    );
    assert!(said.contains("alertname=Nothing"), "{said}");

    // Another engine on the same home knows it, the same one, and the silence.
    let before = firing(&bed).await;
    bed.stop_engine();
    bed.start_engine().await;
    let after = firing(&bed).await;
    assert_eq!(after.len(), 1);
    assert_eq!(
        (&after[0].id, after[0].fired),
        (&before[0].id, before[0].fired)
    );
    assert!(bed.cli_says(0, &["alerts", "silences"]).contains("Nothing"));

    // Mended: the next word is its end, not its failure again.
    bed.write_config(&config(""));
    bed.until("flaky", |v| v.status == Status::Running).await;
    let message = next(&mut told).await;
    assert_eq!(message["status"], "resolved", "{message}");
    assert_eq!(message["alerts"][0]["id"], after[0].id.as_str());
    bed.eventually("Alertmanager has its end", async || {
        alertmanager
            .alerts()
            .await
            .is_some_and(|alerts| alerts.is_empty())
    })
    .await;
    bed.eventually("its end has started what is to be done then", async || {
        let said = bed.cli_says(0, &["workflow", "runs"]);
        said.contains("praise") && said.contains("completed")
    })
    .await;
    let said = bed.cli_says(0, &["alerts", "history"]);
    assert!(said.contains("fires") && said.contains("ended"), "{said}");

    // Rules about what every server has are about series that there are.
    bed.eventually("rules have series", async || {
        let rules = bed.run::<AlertsRules>(Default::default()).await;
        let absent: Vec<String> = rules
            .expect("rules")
            .into_iter()
            .filter(|view| matches!(view.state, RuleState::Absent | RuleState::Waiting))
            .map(|view| view.rule.name)
            .collect();
        let of_all = [
            "ServerFailed",
            "ServerUnhealthy",
            "ServerRestarted",
            "ServerRestartsOften",
        ];
        !of_all.iter().any(|name| absent.iter().any(|it| it == name))
    })
    .await;
    let said = bed.cli_says(0, &["alerts", "rules"]);
    assert!(said.contains("ServerFailed"), "{said}");
    let said = bed.cli_says(
        0,
        &["alerts", "check", "flotilla_host_memory_used_percent >= 0"],
    );
    assert!(said.contains("It holds for 1 of 1 series."), "{said}");
    let said = bed.cli_says(2, &["alerts", "check", "flotilla_health <"]);
    assert!(said.contains("column 18"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_written_into_the_file_as_they_were_shown() {
    let bed = Bed::new("# mine\n[alerts]\ninterval = \"1s\" # soon\n").await;
    let file = bed.home().join("fleet.toml");
    let read = || std::fs::read_to_string(&file).expect("the file");
    let rule = |expr: &str| AlertRule {
        name: "Known".into(),
        expr: expr.into(),
        for_ms: 0,
        keep_firing_for_ms: 0,
        severity: Severity::Info,
        labels: [].into(),
        summary: "{{ value }} %".into(),
        description: String::new(),
        runbook: None,
    };
    let expr = "flotilla_host_disk_used_percent >= 0";
    let edit = RuleEdit::Set {
        was: None,
        rule: rule(expr),
    };
    let shown = bed
        .run::<AlertsRulePreview>(edit.clone())
        .await
        .expect("a preview");
    assert!(
        shown.diff.contains("+name = \"Known\"\n") && !shown.diff.contains("-#"),
        "{}",
        shown.diff
    );
    let write = |edit: &RuleEdit, hash: &str| {
        let (edit, hash) = (edit.clone(), Some(hash.to_owned()));
        bed.run::<AlertsRuleWrite>(RuleWriteParams { edit, hash })
    };
    let written = write(&edit, &shown.hash).await.expect("written");
    assert_eq!(written.changes, ["alerts.rules Known: added"]);
    assert!(
        read().starts_with("# mine\n[alerts]\ninterval = \"1s\" # soon\n\n[[alerts.rules]]\n"),
        "{}",
        read()
    );
    bed.eventually("it fires", async || {
        let alerts = bed
            .run::<AlertsList>(Default::default())
            .await
            .expect("alerts");
        alerts
            .iter()
            .any(|alert| alert.rule() == "Known" && alert.state == AlertState::Firing)
    })
    .await;

    // What was shown before is not written over what came since; what means nothing is not written at all.
    let off = RuleEdit::Enable {
        name: "RateLimited".into(),
        enabled: false,
    };
    let stale = write(&off, &shown.hash).await.unwrap_err();
    assert_eq!(stale.code, ErrorCode::Conflict);
    let wrong = RuleEdit::Set {
        was: Some("Known".into()),
        rule: rule("flotilla_health <"),
    };
    let refused = bed.run::<AlertsRulePreview>(wrong).await.unwrap_err();
    assert!(
        refused.message.contains("column 18 of the expression"),
        "{}",
        refused.message
    );
    write(&off, &written.hash).await.expect("written");
    let rules = bed
        .run::<AlertsRules>(Default::default())
        .await
        .expect("rules");
    let state = |name: &str| {
        rules
            .iter()
            .find(|view| view.rule.name == name)
            .map(|view| view.state)
    };
    assert_eq!(state("RateLimited"), Some(RuleState::Off));
    let checked = bed
        .run::<AlertsCheck>(CheckExprParams { expr: expr.into() })
        .await
        .expect("values");
    assert_eq!((checked.series, checked.holds, checked.wrong), (1, 1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_changed_without_its_key_ever_leaving_the_file() {
    let (url, mut told) = receiver().await;
    let file = "# mine\n[[alerts.channels]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\nsecret = \"of the file\"\n";
    let bed = Bed::new(file).await;
    let channels = bed.run::<AlertsChannels>(Default::default()).await;
    let mut channel = channels.expect("channels").remove(0).spec;
    let ChannelKind::Webhook { url: to, secret } = &mut channel.kind else {
        panic!("{channel:?}");
    };
    let kept = Credential::File {
        text: String::new(),
    };
    assert_eq!(*secret, Some(kept));
    to.clone_from(&url);
    let edit = ChannelEdit::Set {
        was: Some("hook".into()),
        channel: Box::new(channel),
    };
    let shown = bed.run::<AlertsChannelPreview>(edit.clone()).await;
    let shown = shown.expect("a preview");
    assert!(
        shown
            .diff
            .contains(&format!("+url = {url:?}\n secret = \"…\"\n"))
            && !shown.diff.contains("of the file"),
        "{}",
        shown.diff
    );
    let write = |edit: ChannelEdit| {
        let hash = Some(shown.hash.clone());
        bed.run::<AlertsChannelWrite>(ChannelWriteParams { edit, hash })
    };
    let written = write(edit).await.expect("written");
    assert_eq!(written.changes, ["alerts.channels hook: changed"]);
    let text = std::fs::read_to_string(bed.home().join("fleet.toml")).expect("the file");
    assert_eq!(text, file.replace("http://127.0.0.1:9/", &url));

    // It is in force at once, and signs with what stands in the file.
    let name = "hook".to_owned();
    let tested = bed.run::<AlertsTestChannel>(ChannelRef { name }).await;
    tested.expect("it arrives");
    let (head, body) = told.recv().await.expect("a message");
    assert_eq!(body["test"], true);
    assert!(head.contains_key("x-flotilla-signature"), "{head:?}");

    // What was shown before is not written over what came since.
    let name = "hook".to_owned();
    let stale = write(ChannelEdit::Remove { name }).await.unwrap_err();
    assert_eq!(stale.code, ErrorCode::Conflict);
}
