//! The store on real files.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop where they stand")]

use flotilla_contract::workflow::{RunState, RunSummary};
use flotilla_contract::{
    EventKind, InstanceId, ServerId, agent::Agent, command::EventQuery, event::NewEvent,
    state::Override, tool::Era,
};
use flotilla_store::{
    EventOptions, MadeRun, NewAction, NewRecords, NewRevision, NewRun, Opened, Options, Received,
    RunOptions, ServerMemory, TriggerNote, open,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 24 * 3_600_000;

/// Options with a clock that tests set.
fn options(home: &Path) -> (Options, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_800_000_000_000));
    let clock = now.clone();
    (
        Options {
            clock: Arc::new(move || clock.load(Ordering::SeqCst)),
            ..Options::new(home)
        },
        now,
    )
}

async fn opened(home: &TempDir) -> Opened {
    let opened = open(options(home.path()).0).await.unwrap();
    assert_eq!(opened.notices, [""; 0]);
    opened
}

fn id(name: &str) -> ServerId {
    name.parse().unwrap()
}

fn started(server: &str, pid: u32) -> NewEvent {
    NewEvent {
        about: Some(id(server).instance(1)),
        correlation: Some("c".into()),
        what: EventKind::Started { pid: Some(pid) },
    }
}

fn fleet_wide() -> NewEvent {
    NewEvent {
        about: None,
        correlation: None,
        what: EventKind::EngineStopped,
    }
}

/// Positions of a page for a query.
async fn page(store: &Opened, query: EventQuery) -> (Vec<u64>, bool) {
    let page = store.events.read(&query).await.unwrap();
    (
        page.events.iter().map(|event| event.seq).collect(),
        page.more,
    )
}

async fn close(store: Opened) {
    store.events.close(PATIENCE).await.unwrap();
    store.control.close().await;
}

#[tokio::test]
async fn what_control_keeps_survives_reopening() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    let control = &store.control;
    let wish = Override {
        running: Some(true),
        replicas: Some(3),
        by: "cli".into(),
        at: 7,
    };
    let agent = Agent {
        id: "fetch".into(),
        name: "Fetch".into(),
        version: "1".into(),
        capabilities: Vec::new(),
        tags: vec!["web".into()],
        category: "mcp".into(),
        enabled: true,
        deployed_at: 5,
        config: serde_json::json!({ "z": 1, "a": 2 }),
        work: None,
    };
    let memory = ServerMemory {
        offer: Some("{}".into()),
        era: Some(Era::Modern),
        tools: Some(serde_json::json!({ "fingerprint": "x" })),
    };
    control.set_override(&id("fetch"), &wish).await.unwrap();
    control.set_override(&id("git"), &wish).await.unwrap();
    control
        .set_override(
            &id("git"),
            &Override {
                running: None,
                replicas: None,
                ..wish.clone()
            },
        )
        .await
        .unwrap();
    control.put_agent(&agent).await.unwrap();
    control
        .put_agent(&Agent {
            id: "gone".into(),
            ..agent.clone()
        })
        .await
        .unwrap();
    control.remove_agent("gone").await.unwrap();
    control.remember(&id("fetch"), &memory).await.unwrap();
    control
        .remember(&id("git"), &ServerMemory::default())
        .await
        .unwrap();
    control.forget(&id("git")).await.unwrap();
    control.remember_port("panel", 3001).await.unwrap();
    control.remember_port("panel", 3002).await.unwrap();
    close(store).await;

    let store = opened(&home).await;
    let control = &store.control;
    assert_eq!(
        control.overrides().await.unwrap(),
        [(id("fetch"), wish)].into()
    );
    assert_eq!(control.agents().await.unwrap(), [agent]);
    assert_eq!(
        control.memories().await.unwrap(),
        [(id("fetch"), memory)].into()
    );
    assert_eq!(
        control.ports().await.unwrap(),
        [("panel".to_owned(), 3002)].into()
    );
    control.clear_override(&id("fetch")).await.unwrap();
    assert!(control.overrides().await.unwrap().is_empty());
}

#[tokio::test]
async fn revisions_count_up_and_the_oldest_go() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    let new = |n: u64| NewRevision {
        by: "panel".into(),
        reason: "why".into(),
        changes: vec![format!("change {n}")],
        diff: "+x".into(),
        hash: format!("h{n}"),
        text: format!("text {n}"),
    };
    assert_eq!(store.control.latest_revision().await.unwrap(), None);
    for n in 1..=502 {
        assert_eq!(store.control.add_revision(new(n)).await.unwrap().number, n);
    }
    let newest = store.control.revisions(2).await.unwrap();
    assert_eq!(
        newest
            .iter()
            .map(|r| (r.number, r.changes[0].as_str()))
            .collect::<Vec<_>>(),
        [(502, "change 502"), (501, "change 501")]
    );
    assert_eq!(
        store.control.revision_text(3).await.unwrap().as_deref(),
        Some("text 3")
    );
    assert_eq!(store.control.revision_text(2).await.unwrap(), None);
    let latest = store.control.latest_revision().await.unwrap().unwrap();
    assert_eq!(
        (latest.number, latest.hash.as_str(), latest.text.as_str()),
        (502, "h502", "text 502")
    );
}

#[tokio::test]
async fn actions_are_read_as_events_and_go_after_ninety_days() {
    let home = TempDir::new().unwrap();
    let (options, now) = options(home.path());
    let store = open(options.clone()).await.unwrap();
    let action = |server: Option<InstanceId>, command: &str, params: &str| NewAction {
        about: server,
        actor: "cli".into(),
        command: command.into(),
        params: params.into(),
        outcome: "Running".into(),
        ok: true,
        correlation: Some("c1".into()),
    };
    let whole = InstanceId {
        server: id("fetch"),
        index: 0,
    };
    store
        .control
        .record_action(action(Some(whole), "server.scale", "3 replicas"))
        .await
        .unwrap();
    store
        .control
        .record_action(action(Some(id("git").instance(2)), "server.restart", ""))
        .await
        .unwrap();
    store
        .control
        .record_action(action(None, "config.write", ""))
        .await
        .unwrap();
    let read = async |query: EventQuery| store.control.actions(&query).await.unwrap();
    let all = read(EventQuery {
        limit: Some(2),
        ..EventQuery::default()
    })
    .await;
    assert_eq!(
        (
            all.events.iter().map(|e| e.seq).collect::<Vec<_>>(),
            all.more
        ),
        (vec![3, 2], true)
    );
    assert_eq!(all.events[1].instance, Some(2));
    let older = read(EventQuery {
        before: Some(2),
        ..EventQuery::default()
    })
    .await;
    assert_eq!(
        (older.events[0].seq, older.more, older.events[0].instance),
        (1, false, None)
    );
    let EventKind::Action { command, .. } = &older.events[0].what else {
        panic!("{older:?}")
    };
    assert_eq!(command, "server.scale 3 replicas");
    let of = read(EventQuery {
        server: Some(id("fetch")),
        kinds: vec!["server.scale".into(), "x".into()],
        ..EventQuery::default()
    })
    .await;
    assert_eq!(of.events.len(), 1);
    close(store).await;

    now.fetch_add(91 * DAY_MS, Ordering::SeqCst);
    let store = open(options).await.unwrap();
    assert!(
        store
            .control
            .actions(&EventQuery::default())
            .await
            .unwrap()
            .events
            .is_empty()
    );
    assert_eq!(
        store
            .control
            .record_action(action(None, "x", ""))
            .await
            .unwrap()
            .id,
        4,
        "numbers are not used twice"
    );
}

#[tokio::test]
async fn the_log_goes_on_where_it_ended() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    for pid in 1..=250 {
        assert_eq!(store.events.append(started("a", pid)).seq, u64::from(pid));
    }
    close(store).await;
    let store = opened(&home).await;
    assert_eq!(store.events.last_seq(), 250);
    let event = store.events.append(fleet_wide());
    assert_eq!(event.seq, 251);
    let page = store
        .events
        .read(&EventQuery {
            limit: Some(2),
            ..EventQuery::default()
        })
        .await
        .unwrap();
    assert!(page.more);
    assert_eq!(page.events[0], *event, "from memory, written or not");
    let expected = started("a", 250);
    assert_eq!(
        (page.events[1].seq, &page.events[1].what),
        (250, &expected.what)
    );
    assert_eq!(
        (page.events[1].server.clone(), page.events[1].instance),
        (Some(id("a")), Some(1))
    );
    assert_eq!(
        (page.events[1].correlation.as_deref(), page.events[1].at),
        (Some("c"), 1_800_000_000_000)
    );
}

#[tokio::test]
async fn pages_and_filters() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    for n in 1..=6 {
        store
            .events
            .append(started(if n % 2 == 0 { "even" } else { "odd" }, n));
    }
    store.events.append(fleet_wide());
    for on_disk in [false, true] {
        if on_disk {
            store.events.flush(PATIENCE).await.unwrap();
        }
        let all = EventQuery::default();
        assert_eq!(
            page(&store, all.clone()).await,
            (vec![7, 6, 5, 4, 3, 2, 1], false)
        );
        assert_eq!(
            page(
                &store,
                EventQuery {
                    limit: Some(3),
                    ..all.clone()
                }
            )
            .await,
            (vec![7, 6, 5], true)
        );
        assert_eq!(
            page(
                &store,
                EventQuery {
                    before: Some(4),
                    limit: Some(3),
                    ..all.clone()
                }
            )
            .await,
            (vec![3, 2, 1], false)
        );
        assert_eq!(
            page(
                &store,
                EventQuery {
                    server: Some(id("even")),
                    ..all.clone()
                }
            )
            .await,
            (vec![6, 4, 2], false)
        );
        let kinds = |kinds: &[&str]| kinds.iter().map(|k| (*k).to_owned()).collect();
        assert_eq!(
            page(
                &store,
                EventQuery {
                    kinds: kinds(&["manager:shutdown"]),
                    ..all.clone()
                }
            )
            .await,
            (vec![7], false)
        );
        let both = EventQuery {
            kinds: kinds(&["server:started", "server:failed"]),
            server: Some(id("odd")),
            limit: Some(2),
            ..all
        };
        assert_eq!(page(&store, both).await, (vec![5, 3], true));
    }
}

#[tokio::test]
async fn a_burst_loses_nothing_and_waits_for_nothing() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    let mut subscriber = store.events.subscribe();
    // The test's runtime has one thread: while this loop runs, neither writer nor subscriber can.
    for pid in 0..50_000 {
        store.events.append(started("a", pid));
    }
    store.events.flush(PATIENCE).await.unwrap();
    let state = store.events.state().borrow().clone();
    assert_eq!(
        (state.durable, state.lost, state.trouble),
        (50_000, 0, None)
    );
    assert_eq!(
        store.events.recent(0).missed,
        40_000,
        "memory is back to its bound"
    );
    assert_eq!(subscriber.recv().await, Received::Missed(40_000));
    let Received::Event(event) = subscriber.recv().await else {
        panic!("an event follows")
    };
    assert_eq!(event.seq, 40_001);
    assert_eq!(
        page(
            &store,
            EventQuery {
                before: Some(3),
                ..EventQuery::default()
            }
        )
        .await,
        (vec![2, 1], false)
    );
}

#[tokio::test]
async fn beyond_the_backlog_the_oldest_are_lost_and_counted() {
    let home = TempDir::new().unwrap();
    let (mut options, _) = options(home.path());
    options.events = EventOptions {
        ring: 10,
        backlog: 100,
        ..EventOptions::default()
    };
    let store = open(options).await.unwrap();
    for pid in 0..150 {
        store.events.append(started("a", pid));
    }
    store.events.flush(PATIENCE).await.unwrap();
    let state = store.events.state().borrow().clone();
    assert_eq!((state.durable, state.lost), (150, 50));
    let (seqs, more) = page(
        &store,
        EventQuery {
            limit: Some(200),
            ..EventQuery::default()
        },
    )
    .await;
    assert_eq!((seqs.len(), seqs.last(), more), (100, Some(&51), false));
}

#[tokio::test]
async fn subscribers_get_what_follows_in_order() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    store.events.append(fleet_wide());
    let mut new = store.events.subscribe();
    let mut all = store.events.subscribe_after(0);
    let log = store.events.clone();
    let producer = tokio::spawn(async move {
        for pid in 0..1_000 {
            log.append(started("a", pid));
            if pid % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    for (subscriber, first) in [(&mut new, 2), (&mut all, 1)] {
        for seq in first..=1_001 {
            let Received::Event(event) = subscriber.recv().await else {
                panic!("nothing was missed")
            };
            assert_eq!(event.seq, seq);
        }
    }
    producer.await.unwrap();
    // A wait that is given up loses nothing.
    assert!(
        tokio::time::timeout(Duration::from_millis(1), new.recv())
            .await
            .is_err()
    );
    store.events.append(fleet_wide());
    assert!(matches!(new.recv().await, Received::Event(event) if event.seq == 1_002));
}

#[tokio::test]
async fn retention_by_count_and_by_age() {
    let home = TempDir::new().unwrap();
    let (mut options, now) = options(home.path());
    options.events = EventOptions {
        keep_rows: 2_500,
        keep_for: Duration::from_secs(24 * 3600),
        ..EventOptions::default()
    };
    let store = open(options).await.unwrap();
    for pid in 0..5_000 {
        store.events.append(started("a", pid));
    }
    store.events.flush(PATIENCE).await.unwrap();
    // How many it drops is open: the writer's own first look may have come before.
    store.events.retain().await.unwrap();
    let oldest = EventQuery {
        before: Some(2_503),
        ..EventQuery::default()
    };
    assert_eq!(page(&store, oldest).await, (vec![2_502, 2_501], false));
    now.fetch_add(2 * DAY_MS, Ordering::SeqCst);
    store.events.append(fleet_wide());
    store.events.flush(PATIENCE).await.unwrap();
    store.events.retain().await.unwrap();
    assert_eq!(
        page(&store, EventQuery::default()).await,
        (vec![5_001], false)
    );
}

/// Copies the files as a `kill -9` would leave them: the write-ahead log cut after so many bytes.
fn as_killed(home: &TempDir, cut_wal: u64) -> TempDir {
    let copy = TempDir::new().unwrap();
    for name in ["events.db", "events.db-wal", "control.db", "control.db-wal"] {
        if std::fs::copy(home.path().join(name), copy.path().join(name)).is_ok()
            && name == "events.db-wal"
        {
            let wal = std::fs::OpenOptions::new()
                .write(true)
                .open(copy.path().join(name))
                .unwrap();
            wal.set_len(wal.metadata().unwrap().len() - cut_wal)
                .unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn a_kill_keeps_what_was_durable_and_loses_a_torn_transaction_whole() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    for pid in 0..300 {
        store.events.append(started("a", pid));
    }
    store.events.flush(PATIENCE).await.unwrap();
    store.control.remember_port("panel", 3001).await.unwrap();
    let killed = as_killed(&home, 0);
    let after = opened(&killed).await;
    assert_eq!(after.events.last_seq(), 300);
    assert_eq!(after.control.ports().await.unwrap()["panel"], 3001);

    for pid in 0..500 {
        store.events.append(started("b", pid));
    }
    store.events.flush(PATIENCE).await.unwrap();
    let torn = opened(&as_killed(&home, 10)).await;
    assert_eq!(torn.events.last_seq(), 300, "half a transaction is none");
    assert_eq!(torn.events.append(fleet_wide()).seq, 301);
    torn.events.flush(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn corrupt_files_are_set_aside_and_the_store_opens() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    for pid in 0..2_000 {
        store.events.append(started("a", pid));
    }
    store.control.remember_port("panel", 3001).await.unwrap();
    close(store).await;
    // One file is garbage from its first byte, the other is damaged in the middle.
    std::fs::write(
        home.path().join("control.db"),
        "this is not a database, whatever its name says",
    )
    .unwrap();
    let events = home.path().join("events.db");
    let mut bytes = std::fs::read(&events).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0xa5);
    std::fs::write(&events, &bytes).unwrap();

    let store = open(options(home.path()).0).await.unwrap();
    assert_eq!(store.notices.len(), 2, "{:?}", store.notices);
    for (notice, name) in store.notices.iter().zip(["control.db", "events.db"]) {
        assert!(
            notice.starts_with(&format!("{name} was corrupt: ")),
            "{notice}"
        );
        let aside = home.path().join(format!("{name}.corrupt-1800000000000"));
        assert!(
            notice.contains(&aside.display().to_string()) && aside.exists(),
            "{notice}"
        );
    }
    assert_eq!(
        std::fs::read(home.path().join("events.db.corrupt-1800000000000")).unwrap(),
        bytes,
        "nothing is destroyed"
    );
    assert!(store.control.ports().await.unwrap().is_empty());
    assert_eq!(store.events.append(fleet_wide()).seq, 1);
    close(store).await;
    close(opened(&home).await).await;
}

#[tokio::test]
async fn a_database_of_another_version_is_set_aside() {
    use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
    let home = TempDir::new().unwrap();
    close(opened(&home).await).await;
    let path = home.path().join("control.db");
    let mut raw = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path))
        .await
        .unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', 1, x'00', 0)")
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
    let store = open(options(home.path()).0).await.unwrap();
    assert!(
        store.notices[0].starts_with("control.db was written by another version of Flotilla"),
        "{:?}",
        store.notices
    );
    assert!(
        home.path()
            .join("control.db.foreign-1800000000000")
            .exists()
    );
}

#[tokio::test]
async fn a_home_that_cannot_be_written_is_an_error() {
    let home = TempDir::new().unwrap();
    let error = open(options(&home.path().join("none")).0)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("open ") && error.contains("control.db") || error.contains("events.db"),
        "{error}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    store.events.append(fleet_wide());
    store.events.flush(PATIENCE).await.unwrap();
    for entry in std::fs::read_dir(home.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            entry.file_name()
        );
    }
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_and_nothing_is_lost_when_it_takes_again() {
    use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    let path = home.path().join("events.db");
    let mut raw = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path))
        .await
        .unwrap();
    sqlx::query("ALTER TABLE events RENAME TO elsewhere")
        .execute(&mut raw)
        .await
        .unwrap();
    let mut state = store.events.state();
    for pid in 0..200 {
        store.events.append(started("a", pid));
    }
    let told = state
        .wait_for(|state| state.trouble.is_some())
        .await
        .unwrap()
        .clone();
    assert!(told.trouble.unwrap().starts_with("write events: "));
    let error = store
        .events
        .flush(Duration::ZERO)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("write 200 events to disk within 0 ms: write events: "),
        "{error}"
    );
    assert_eq!(
        store.events.recent(0).events.len(),
        200,
        "subscribers have them all the same"
    );

    sqlx::query("ALTER TABLE elsewhere RENAME TO events")
        .execute(&mut raw)
        .await
        .unwrap();
    let state = state
        .wait_for(|state| state.durable == 200)
        .await
        .unwrap()
        .clone();
    assert_eq!((state.lost, state.trouble), (0, None));
    assert_eq!(
        page(
            &store,
            EventQuery {
                before: Some(2),
                ..EventQuery::default()
            }
        )
        .await,
        (vec![1], false)
    );
}

fn summary(workflow: &str, state: RunState) -> RunSummary {
    RunSummary {
        run: 0,
        workflow: workflow.into(),
        state,
        why: None,
        by: "test".into(),
        at: 1,
        ended_at: None,
        steps: 2,
        ended: 0,
        waits: None,
    }
}

fn new_run(workflow: &str, at: u64) -> NewRun {
    NewRun {
        at,
        facts: "{}".into(),
        definition: "name: w".into(),
        hash: "h".into(),
        summary: summary(workflow, RunState::Running),
        key: None,
    }
}

fn records(run: u64, from: u64, records: &str, state: Option<RunState>) -> NewRecords {
    NewRecords {
        run,
        from,
        at: 5 + from,
        records: records.into(),
        summary: state.map(|state| summary("a", state)),
    }
}

#[tokio::test]
async fn runs_are_kept_with_their_records_over_a_restart() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    let first = store.runs.create(new_run("a", 1)).await.unwrap();
    let second = store.runs.create(new_run("b", 2)).await.unwrap();
    assert_eq!((first, second), (MadeRun::New(1), MadeRun::New(2)));
    store
        .runs
        .append(records(1, 0, "[1,2]", None))
        .await
        .unwrap();
    store.runs.append(records(2, 0, "[9]", None)).await.unwrap();
    store
        .runs
        .append(records(1, 2, "[3]", Some(RunState::Completed)))
        .await
        .unwrap();
    // A place is taken once, and what is refused changes nothing and nobody else.
    let (twice, other) = tokio::join!(
        store
            .runs
            .append(records(1, 2, "[4]", Some(RunState::Failed))),
        store.runs.append(records(2, 1, "[8]", None)),
    );
    assert!(twice.is_err() && other.is_ok());
    store.runs.close(PATIENCE).await;
    assert!(store.runs.append(records(1, 3, "[5]", None)).await.is_err());
    drop(store);

    let store = opened(&home).await;
    let open = store.runs.unfinished().await.unwrap();
    assert_eq!(
        open.iter().map(|run| run.summary.run).collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(&*open[0].definition, "name: w");
    let kept = store.runs.one(1).await.unwrap().unwrap();
    assert_eq!(
        (kept.summary.state, kept.hash.as_str()),
        (RunState::Completed, "h")
    );
    assert_eq!(store.runs.one(3).await.unwrap(), None);
    let told = store.runs.records(1).await.unwrap();
    assert_eq!(told, [(5, "[1,2]".to_owned()), (7, "[3]".to_owned())]);
    let numbers = async |workflow, before| {
        let listed = store.runs.list(workflow, before, 10).await.unwrap();
        listed.iter().map(|run| run.run).collect::<Vec<_>>()
    };
    assert_eq!(numbers(None, None).await, [2, 1]);
    assert_eq!(numbers(Some("a"), None).await, [1]);
    assert_eq!(numbers(None, Some(2)).await, [1]);
    let ended = store.runs.ended().await.unwrap();
    assert_eq!(ended, [("completed".to_owned(), 1)]);
    // A number is given once.
    let third = store.runs.create(new_run("a", 3)).await.unwrap();
    assert_eq!(third, MadeRun::New(3));
}

#[tokio::test]
async fn a_key_is_taken_once_and_what_waited_for_it_is_gone_with_it() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    let queue = |key: &str| TriggerNote::Queue {
        key: key.into(),
        firing: format!("\"{key}\""),
    };
    let keep = |kept: &str| TriggerNote::Keep {
        workflow: "w".into(),
        name: "t".into(),
        kept: kept.into(),
    };
    for note in [
        queue("a"),
        queue("b"),
        queue("a"),
        queue("c"),
        keep("1"),
        keep("2"),
    ] {
        store.runs.note(note).await.unwrap();
    }
    let keyed = |key: &str| NewRun {
        key: Some(key.into()),
        ..new_run("w", 1)
    };
    let (first, twice) = tokio::join!(store.runs.create(keyed("a")), store.runs.create(keyed("a")));
    assert_eq!(
        (first.unwrap(), twice.unwrap()),
        (MadeRun::New(1), MadeRun::Known(1))
    );
    let unqueue = TriggerNote::Unqueue { key: "c".into() };
    store.runs.note(unqueue).await.unwrap();
    store.runs.close(PATIENCE).await;

    let store = opened(&home).await;
    assert_eq!(store.runs.firings().await.unwrap(), ["\"b\""]);
    assert_eq!(store.runs.triggers().await.unwrap(), ["2"]);
    assert_eq!(
        store.runs.create(keyed("a")).await.unwrap(),
        MadeRun::Known(1)
    );
    assert_eq!(
        store.runs.create(keyed("b")).await.unwrap(),
        MadeRun::New(2)
    );
    assert!(store.runs.firings().await.unwrap().is_empty());
    let forget = TriggerNote::Forget {
        workflow: "w".into(),
        name: "t".into(),
    };
    store.runs.note(forget).await.unwrap();
    assert!(store.runs.triggers().await.unwrap().is_empty());
}

#[tokio::test]
async fn many_runs_at_once_share_commits_and_keep_their_order() {
    let home = TempDir::new().unwrap();
    let store = opened(&home).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..70 {
        let runs = store.runs.clone();
        tasks.spawn(async move {
            let MadeRun::New(run) = runs.create(new_run("a", 1)).await.unwrap() else {
                panic!("without a key every run is new");
            };
            for from in 0..5 {
                runs.append(records(run, from, &format!("[{from}]"), None))
                    .await
                    .unwrap();
            }
            run
        });
    }
    while let Some(run) = tasks.join_next().await {
        let told = store.runs.records(run.unwrap()).await.unwrap();
        let told: Vec<_> = told.into_iter().map(|(_, text)| text).collect();
        assert_eq!(told, ["[0]", "[1]", "[2]", "[3]", "[4]"]);
    }
}

#[tokio::test]
async fn retention_of_runs_by_count_and_by_age() {
    let home = TempDir::new().unwrap();
    let (mut options, now) = options(home.path());
    options.runs = RunOptions {
        keep_runs: 30,
        keep_for: Duration::from_secs(24 * 3600),
    };
    let store = open(options).await.unwrap();
    let today = now.load(Ordering::SeqCst);
    // The first stays under way.
    for number in 1..=80 {
        let hash = format!("h{}", number % 2);
        let run = NewRun {
            hash,
            ..new_run("a", today)
        };
        assert_eq!(store.runs.create(run).await.unwrap(), MadeRun::New(number));
        let ended = (number > 1).then_some(RunState::Completed);
        let records = records(number, 0, "[1]", ended);
        store.runs.append(records).await.unwrap();
    }
    let left = async || {
        let listed = store.runs.list(None, None, 1_000).await.unwrap();
        listed.iter().map(|run| run.run).collect::<Vec<_>>()
    };
    store.runs.retain().await.unwrap();
    let latest: Vec<u64> = (51..=80).rev().chain([1]).collect();
    assert_eq!(left().await, latest);
    assert!(store.runs.records(50).await.unwrap().is_empty());
    assert_eq!(store.runs.records(51).await.unwrap().len(), 1);
    now.fetch_add(2 * DAY_MS, Ordering::SeqCst);
    store.runs.retain().await.unwrap();
    assert_eq!(left().await, [1]);
    // What is under way has its definition and its records, and numbers go on.
    let open = store.runs.unfinished().await.unwrap();
    assert_eq!(open.first().map(|run| run.hash.as_str()), Some("h1"));
    assert_eq!(store.runs.records(1).await.unwrap().len(), 1);
    let next = store.runs.create(new_run("a", today)).await.unwrap();
    assert_eq!(next, MadeRun::New(81));
}
