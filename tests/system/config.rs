//! `fleet.toml`: only what changed is touched, a broken file breaks nothing, everything can be taken back.

use flotilla_contract::{
    ErrorCode, Event, ServerId,
    command::{
        ConfigGet, ConfigRevisions, ConfigRollback, ConfigWrite, EditParams, EngineInfoCmd,
        EventQuery, EventsRead, ImportApply, ImportApplyParams, ImportPreview, ImportPreviewParams,
        RollbackParams, ServerEdit, WriteParams,
    },
    state::{ProcessState, Status},
};
use flotilla_tests::{Bed, fixture, id, pid};
use serde_json::json;
use std::fs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_only_from_the_next_start_is_said() {
    let mut bed = Bed::new("").await;
    bed.write_config("[gateway]\nenabled = false\nport = 0\n");
    bed.eventually("both are told", async || {
        let info = bed.run::<EngineInfoCmd>(Default::default()).await;
        let notices = info.expect("an answer").notices;
        let of = |field: &str| {
            let sentence = format!("{field} was changed: it holds from the next start");
            notices.iter().any(|notice| notice.starts_with(&sentence))
        };
        of("gateway.enabled") && of("gateway.port")
    })
    .await;
    bed.stop_engine();
    bed.start_engine().await;
    assert_eq!(bed.boot().gateway, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_save_only_what_changed_is_started_stopped_or_restarted() {
    let base = fixture("stays", "", "")
        + &fixture("changes", "", "")
        + &fixture("goes", "", "")
        + &fixture("label", "", "");
    let mut bed = Bed::new(&base).await;
    for name in ["stays", "changes", "goes", "label"] {
        bed.until(name, |v| v.status == Status::Running).await;
    }
    let (stays, changes, label) = (
        pid(&bed.server("stays").await),
        pid(&bed.server("changes").await),
        pid(&bed.server("label").await),
    );
    let next = fixture("stays", "", "")
        + &fixture("changes", "", "env = { A = \"1\" }")
        + &fixture("comes", "", "replicas = 2")
        + &fixture("label", "", "tags = [\"x\"]");
    bed.write_config(&next);
    bed.until("comes", |v| {
        v.status == Status::Running && v.instances.len() == 2
    })
    .await;
    let view = bed
        .until("changes", |v| {
            v.status == Status::Running && v.instances[0].pid.is_some_and(|p| p != changes)
        })
        .await;
    assert_eq!(view.instances[0].restarts_total, 0, "an edit is no crash");
    bed.eventually("the removed one is gone", async || bed.alive().len() == 5)
        .await;
    assert_eq!(
        (
            pid(&bed.server("stays").await),
            pid(&bed.server("label").await)
        ),
        (stays, label)
    );
    // One operation, one correlation: what was applied, and what that started, restarted and stopped.
    let read = async || {
        let page = bed.run::<EventsRead>(EventQuery::default()).await;
        page.unwrap().events
    };
    bed.eventually("the end of the removed one is told", async || {
        let stopped =
            |e: &Event| e.what.word() == "server:stopped" && e.server.as_ref() == Some(&id("goes"));
        read().await.iter().any(stopped)
    })
    .await;
    let events = read().await;
    let of = |kind: &str, server: Option<&str>| {
        let found = events
            .iter()
            .find(|e| e.what.word() == kind && e.server.as_ref().map(ServerId::as_str) == server);
        found.and_then(|e| e.correlation.clone())
    };
    let applied = of("config:applied", None);
    assert!(applied.is_some(), "{events:#?}");
    for (kind, server) in [
        ("server:started", "comes"),
        ("server:started", "changes"),
        ("server:stopped", "goes"),
        ("server:registered", "label"),
        ("server:removed", "goes"),
    ] {
        assert_eq!(of(kind, Some(server)), applied, "{kind} {server}");
    }
    assert!(
        events.iter().all(|e| e.correlation.is_some()),
        "{events:#?}"
    );
    let revisions = bed
        .run::<ConfigRevisions>(Default::default())
        .await
        .unwrap();
    let changed = &revisions[0].changes;
    assert!(
        changed.iter().any(|c| c.starts_with("goes: removed"))
            && changed.iter().any(|c| c.starts_with("comes: added")),
        "{changed:?}"
    );
    assert!(
        revisions[0].diff.contains("+env") || revisions[0].diff.contains("env = { A"),
        "{}",
        revisions[0].diff
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_keeps_the_last_good_one_in_force_even_over_a_restart() {
    let good = fixture("s", "", "");
    let mut bed = Bed::new(&good).await;
    let before = pid(&bed.until("s", |v| v.status == Status::Running).await);
    bed.write_config(&(good.clone() + "\n[servers.t]\ncomand = \"x\"\nreplicas = 99\n"));
    let findings = async |bed: &Bed| {
        bed.run::<EngineInfoCmd>(Default::default())
            .await
            .unwrap()
            .config_findings
    };
    bed.eventually("the findings are shown", async || {
        !findings(&bed).await.is_empty()
    })
    .await;
    let found = findings(&bed).await;
    assert!(
        found
            .iter()
            .any(|f| f.key.ends_with("comand") && f.message.contains("command")),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|f| f.key.ends_with("replicas") && f.message.contains("99") && f.line > 1),
        "all at once: {found:#?}"
    );
    assert_eq!(pid(&bed.server("s").await), before);
    bed.stop_engine();
    bed.start_engine().await;
    bed.until("s", |v| v.status == Status::Running).await;
    assert!(!findings(&bed).await.is_empty(), "still shown");
    // Gone, and empty: a slip must not stop a fleet.
    for slip in ["gone", "empty"] {
        let file = bed.home().join("fleet.toml");
        if slip == "gone" {
            fs::remove_file(file).unwrap()
        } else {
            fs::write(file, "\n").unwrap()
        }
        let shown = async || {
            findings(&bed)
                .await
                .iter()
                .any(|f| f.message.contains("1 server is declared"))
        };
        bed.eventually(slip, shown).await;
        assert_eq!(bed.server("s").await.status, Status::Running);
    }
    bed.write_config(&good);
    bed.eventually("mended", async || findings(&bed).await.is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_keep_comments_are_revisions_and_can_be_rolled_back() {
    let text = format!(
        "# my fleet\n{}# the end\n",
        fixture("s", "", "# why one\nreplicas = 1")
    );
    let mut bed = Bed::new(&text).await;
    bed.until("s", |v| v.status == Status::Running).await;
    bed.scale("s", 2).await;
    bed.until("s", |v| v.instances.len() == 2).await;
    // Another field leaves the override alone; this field clears it.
    let edit = |key: &str, value, hash: Option<String>| EditParams {
        server: id("s"),
        set: [(key.to_owned(), value)].into(),
        hash,
        reason: Some("because".into()),
    };
    bed.run::<ServerEdit>(edit("category", json!("data"), None))
        .await
        .unwrap();
    assert_eq!(
        bed.server("s").await.r#override.and_then(|o| o.replicas),
        Some(2)
    );
    let written = bed
        .run::<ServerEdit>(edit("replicas", json!(3), None))
        .await
        .unwrap();
    let view = bed
        .until("s", |v| {
            v.instances
                .iter()
                .filter(|i| i.process.state == ProcessState::Running)
                .count()
                == 3
        })
        .await;
    assert_eq!(view.r#override, None);
    let text = bed.config();
    assert!(
        text.contains("# my fleet")
            && text.contains("# why one")
            && text.contains("# the end")
            && text.contains("replicas = 3"),
        "{text}"
    );
    // An old hash is a conflict, which shows the difference and changes nothing.
    let stale = bed
        .run::<ServerEdit>(edit("replicas", json!(4), Some("0".repeat(64))))
        .await
        .unwrap_err();
    assert_eq!(stale.code, ErrorCode::Conflict);
    let invalid = bed
        .run::<ConfigWrite>(WriteParams {
            text: "nonsense = 1\n".into(),
            hash: written.hash.clone(),
            reason: None,
        })
        .await
        .unwrap_err();
    assert_eq!(
        (invalid.code, bed.config()),
        (ErrorCode::InvalidConfig, text)
    );
    let revisions = bed
        .run::<ConfigRevisions>(Default::default())
        .await
        .unwrap();
    assert_eq!(
        (
            revisions[0].number,
            revisions[0].by.as_str(),
            revisions[0].reason.as_str()
        ),
        (written.revision, "test", "because")
    );
    let first = revisions.iter().map(|r| r.number).min().unwrap();
    bed.run::<ConfigRollback>(RollbackParams {
        number: first,
        reason: None,
    })
    .await
    .unwrap();
    bed.until("s", |v| {
        v.instances.len() == 1 && v.spec.category == "general"
    })
    .await;
    assert_eq!(
        bed.run::<ConfigGet>(Default::default()).await.unwrap().text,
        bed.config()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_shows_what_would_run_moves_secrets_and_leaves_its_source_alone() {
    let mut bed = Bed::new("").await;
    let fixture = flotilla_tests::program("flotilla-fixture")
        .display()
        .to_string();
    let source = json!({ "mcpServers": {
        "work": { "command": fixture, "args": ["--tools", "2"], "env": { "API_TOKEN": "ghp_abcdefghijklmnopqrstuvwxyz0123456789" } },
        "legacy": { "type": "sse", "url": "http://127.0.0.1:9/sse" },
    }});
    let path = bed.path("claude_desktop_config.json");
    fs::write(&path, source.to_string()).unwrap();
    let preview = bed
        .run::<ImportPreview>(ImportPreviewParams {
            path: Some(path.display().to_string()),
            text: None,
            reference: false,
        })
        .await
        .unwrap();
    let work = preview
        .servers
        .iter()
        .find(|s| s.source_name == "work")
        .unwrap();
    assert!(
        work.runs.contains(&fixture) && work.runs.contains("--tools 2") && work.secrets.len() == 1,
        "{work:#?}"
    );
    assert!(
        !serde_json::to_string(&preview).unwrap().contains("ghp_"),
        "a literal secret is never shown"
    );
    assert_eq!(bed.alive(), [], "nothing runs before it was chosen");
    let names = vec!["work".to_owned(), "legacy".to_owned()];
    let written = bed
        .run::<ImportApply>(ImportApplyParams {
            ticket: preview.ticket,
            names,
        })
        .await
        .unwrap();
    assert_eq!(written.added.len(), 2);
    assert_eq!(
        bed.server("work").await.status,
        Status::Stopped,
        "declared, not started"
    );
    assert_eq!(bed.server("legacy").await.status, Status::Disabled);
    bed.start(&["work"]).await;
    bed.until("work", |v| v.tools.is_some()).await;
    assert!(
        !bed.config().contains("ghp_") && bed.config().contains("secret"),
        "{}",
        bed.config()
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), source.to_string());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_followed_and_a_pipe_is_refused() {
    let mut bed = Bed::new(&fixture("s", "", "")).await;
    bed.until("s", |v| v.status == Status::Running).await;
    bed.stop_engine();
    let (link, target) = (bed.home().join("fleet.toml"), bed.path("dotfiles.toml"));
    fs::rename(&link, &target).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    bed.start_engine().await;
    fs::write(&target, fixture("s", "", "") + &fixture("t", "", "")).unwrap();
    bed.until("t", |v| v.status == Status::Running).await;
    // Reading a pipe that nobody writes would take for ever.
    fs::remove_file(&link).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(&link)
        .status()
        .unwrap();
    assert!(made.success());
    let shown = async || {
        let info = bed.run::<EngineInfoCmd>(Default::default()).await.unwrap();
        info.config_findings
            .iter()
            .any(|f| f.message.contains("not a regular file"))
    };
    bed.eventually("the pipe is refused", shown).await;
    assert_eq!(bed.server("t").await.status, Status::Running);
}
