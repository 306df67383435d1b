//! The engine itself: killed, stopped, started twice, with a broken store.

use flotilla_contract::{
    command::{DoctorLevel, EngineInfoCmd, EventsRead},
    state::Status,
};
use flotilla_os::ProcessTable;
use flotilla_tests::{Bed, any_file_holds, fixture, pid};
use std::{fs, time::Duration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_dash_nine_of_the_engine_leaves_nothing_a_second_later_and_the_fleet_comes_back() {
    let config = fixture("plain", "", "replicas = 3")
        + &fixture(
            "family",
            "--children 3 --escape --ignore-sigterm --ignore-eof",
            "",
        )
        + &fixture(
            "crashes",
            "--crash-after 50ms",
            "restart = { delays = [\"10ms\"], max_restarts = \"unlimited\" }\nhealth = { check = \"none\" }",
        );
    let mut bed = Bed::new(&config).await;
    for name in ["plain", "family"] {
        bed.until(name, |v| v.status == Status::Running).await;
    }
    bed.until("crashes", |v| v.instances[0].restarts_total > 2)
        .await;
    assert!(bed.alive().len() >= 7);
    bed.kill_engine();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bed.alive(), []);
    bed.start_engine().await;
    bed.until("plain", |v| {
        v.instances.len() == 3 && v.status == Status::Running
    })
    .await;
    bed.until("family", |v| v.status == Status::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn even_with_its_guard_killed_the_next_engine_of_the_home_cleans_up() {
    let mut bed = Bed::new(&fixture("stays", "--ignore-eof --ignore-sigterm", "")).await;
    let old = pid(&bed.until("stays", |v| v.status == Status::Running).await);
    let engine = bed.engine_pid();
    let guard = ProcessTable::read()
        .processes
        .into_iter()
        .find(|p| p.ppid == engine && p.pgrp == p.pid && p.pid != old)
        .expect("a guard");
    bed.kill(guard.pid);
    bed.kill_engine();
    assert_eq!(bed.alive().len(), 1, "nobody was left to end it");
    bed.start_engine().await;
    let view = bed.until("stays", |v| v.status == Status::Running).await;
    assert_ne!(pid(&view), old);
    assert_eq!(bed.alive().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_end_stops_everything_and_a_home_has_one_engine() {
    let mut bed = Bed::new(&fixture("s", "--children 2", "")).await;
    bed.until("s", |v| v.status == Status::Running).await;
    let refused = bed.cli_says(1, &["serve", "--port", "0"]);
    assert!(
        refused.contains(&bed.engine_pid().to_string()),
        "it names the owner: {refused}"
    );
    bed.stop_engine();
    assert_eq!(bed.alive(), []);
    assert!(!bed.home().join("engine.json").exists());
    assert!(bed.cli_says(3, &["list"]).contains("flotilla serve"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_store_is_set_aside_and_the_engine_still_starts() {
    let mut bed = Bed::new(&fixture("s", "", "")).await;
    bed.until("s", |v| v.status == Status::Running).await;
    bed.stop_engine();
    for file in ["control.db", "events.db"] {
        fs::write(bed.home().join(file), vec![0xAB; 50_000]).unwrap();
    }
    bed.start_engine().await;
    bed.until("s", |v| v.status == Status::Running).await;
    let notices = bed
        .run::<EngineInfoCmd>(Default::default())
        .await
        .unwrap()
        .notices;
    assert_eq!(
        notices.iter().filter(|n| n.contains("corrupt")).count(),
        2,
        "{notices:?}"
    );
    let aside = fs::read_dir(bed.home())
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("corrupt")
        })
        .count();
    assert!(aside >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_reaches_its_server_and_nothing_else() {
    const SECRET: &str = "s3cr3t-d0-n0t-sh0w";
    let mut bed = Bed::new(&fixture(
        "safe",
        "",
        "env = { KEY = { secret = \"the-key\" } }",
    ))
    .await;
    let view = bed.until("safe", |v| v.status == Status::Failed).await;
    assert!(
        view.health.sentence.contains("the-key"),
        "{}",
        view.health.sentence
    );
    bed.run::<flotilla_contract::command::SecretsSet>(flotilla_contract::command::SecretSet {
        name: "the-key".into(),
        value: SECRET.into(),
    })
    .await
    .unwrap();
    bed.start(&["safe"]).await;
    let pid = pid(&bed.server("safe").await);
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(
        String::from_utf8_lossy(&environ).contains(SECRET),
        "the server has it"
    );
    assert!(
        !String::from_utf8_lossy(&environ).contains("FLOTILLA_SECRETS"),
        "and nothing of the engine's own"
    );
    let events = bed.run::<EventsRead>(Default::default()).await.unwrap();
    let shown = bed.everything_as_text().await
        + &serde_json::to_string(&events).unwrap()
        + &bed.engine_log()
        + &bed.cli_says(0, &["secret", "list"]);
    assert!(!shown.contains(SECRET));
    assert!(
        shown.contains("secrets.json"),
        "it says how secrets are kept"
    );
    bed.stop_engine();
    let found = any_file_holds(&bed.home(), SECRET).expect("it is kept somewhere");
    assert_eq!(found.file_name().unwrap(), "secrets.json");
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&found).unwrap().permissions())
            & 0o777,
        0o600
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_looks_as_a_start_would_and_leaves_alone_what_is_disabled() {
    let bin = tempfile::tempdir().unwrap();
    let tool = bin.path().join("only-here");
    std::os::unix::fs::symlink(flotilla_tests::program("flotilla-fixture"), &tool).unwrap();
    // A server brings its own PATH; another one lacks its program, a third too but is disabled, and so is its port.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = format!(
        "[servers.own]\ncommand = \"only-here\"\nenv = {{ PATH = {:?} }}\n\
         [servers.lacks]\ncommand = \"not-anywhere\"\nautostart = false\n\
         [servers.off]\ncommand = \"not-installed\"\nport = {port}\nenv = {{ KEY = {{ secret = \"gone\" }} }}\ndisabled = true\n",
        bin.path().display().to_string()
    );
    let mut bed = Bed::new(&config).await;
    bed.until("own", |v| v.status == Status::Running).await;
    let found = bed
        .run::<flotilla_contract::command::DoctorRun>(Default::default())
        .await
        .unwrap();
    let level = |name: &str| found.iter().find(|f| f.name == name).map(|f| f.level);
    assert_eq!(level("only-here"), Some(DoctorLevel::Ok), "{found:#?}");
    assert_eq!(
        level("not-anywhere"),
        Some(DoctorLevel::Problem),
        "{found:#?}"
    );
    for of_the_disabled in ["not-installed", &format!("port {port}"), "secret gone"] {
        assert_eq!(level(of_the_disabled), None, "{found:#?}");
    }
}
