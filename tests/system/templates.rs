//! Templates and agents: a real site, a real fleet with servers that fail, requests to a real listener.

use crate::workflow::{define, output, sample, start, state, template, view, workspace};
use flotilla_contract::{
    agent::AgentFilter,
    command::{AgentEnable, AgentsEnable, AgentsList, EventQuery, EventsRead},
    state::Status,
    workflow::{RunState, StepState},
};
use flotilla_tests::{Bed, QUICK, fixture, program};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn json_of(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// The last thing that a workflow told people.
async fn notice(bed: &Bed) -> String {
    let query = EventQuery {
        kinds: vec!["workflow:notice".into()],
        ..EventQuery::default()
    };
    let events = bed.run::<EventsRead>(query).await.expect("events").events;
    let newest = events
        .iter()
        .max_by_key(|event| event.seq)
        .expect("a notice");
    serde_json::to_value(newest).expect("json")["message"]
        .as_str()
        .expect("a text")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_is_made_served_whole_and_only_its_own_folder_is_replaced() {
    let bed = Bed::new("").await;
    let folder = workspace(
        &bed,
        &[
            ("content/index.md", "# Hello & welcome\n\nA *page*.\n"),
            ("content/docs/a b.md", "no heading\n"),
            ("content/style.css", "body {}\n"),
        ],
    );
    fs::create_dir_all(folder.join("images")).expect("a folder");
    let icon = include_bytes!("../../icons/icon.png");
    fs::write(folder.join("images/icon.png"), icon).expect("an image");
    let vars = json!({ "base_url": "https://example.com/site" });
    let done = template(&bed, "content-deployment", &folder, vars.clone()).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    for skipped in ["fetch_content", "invalidate_cache"] {
        assert_eq!(state(&done, skipped), StepState::Skipped);
    }
    let served = |path: &str| fs::read_to_string(folder.join("cdn").join(path)).expect("a file");
    let page = served("index.html");
    assert!(
        page.contains("<title>Hello &amp; welcome</title>"),
        "{page}"
    );
    assert!(page.contains("<p>A <em>page</em>.</p>"), "{page}");
    assert!(served("docs/a b.html").contains("<title>a b</title>"));
    assert_eq!(served("style.css"), "body {}\n");
    let map = served("sitemap.xml");
    for url in [
        "https://example.com/site/<",
        "https://example.com/site/docs/a%20b.html<",
    ] {
        assert!(map.contains(&format!("<loc>{url}")), "{url}: {map}");
    }
    let image = fs::read(folder.join("cdn/images/icon.png")).expect("an image");
    assert!(image.len() <= icon.len() && image.starts_with(&icon[..8]));
    // What is gone from the sources is gone from what is served.
    fs::remove_file(folder.join("content/style.css")).expect("a file");
    let again = template(&bed, "content-deployment", &folder, vars).await;
    assert_eq!(again.summary.state, RunState::Completed, "{again:?}");
    assert!(!folder.join("cdn/style.css").exists());
    let left: Vec<_> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().ends_with(".old"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    fs::create_dir_all(folder.join("mine")).expect("a folder");
    fs::write(folder.join("mine/letter"), "keep\n").expect("a file");
    let wrong = json!({ "cdn_path": "mine" });
    let failed = template(&bed, "content-deployment", &folder, wrong).await;
    assert_eq!(failed.summary.state, RunState::Failed);
    assert_eq!(state(&failed, "verify_deployment"), StepState::Blocked);
    assert!(folder.join("mine/letter").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_fetched_from_hosts_that_are_allowed_and_from_no_others() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut asked = [0; 4096];
            let _ = socket.read(&mut asked);
            let page = "<html><head><title>Far away</title></head><body><h2>One</h2><h2>Two</h2></body></html>";
            let _ = write!(
                socket,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    let mut bed = Bed::new("").await;
    let folder = workspace(&bed, &[("content/index.md", "# Near\n")]);
    let url = format!("http://127.0.0.1:{port}/page");
    let vars = json!({ "content_sources": [url] });
    let refused = template(&bed, "content-deployment", &folder, vars.clone()).await;
    assert_eq!(state(&refused, "fetch_content"), StepState::Failed);
    let why = refused.steps[0].error.clone().unwrap_or_default();
    assert!(why.contains("workflows.http_hosts"), "{why}");
    bed.stop_engine();
    bed.write_config(&format!(
        "[workflows]\nhttp_hosts = [\"*\", \"127.0.0.1:{port}\"]\n"
    ));
    bed.start_engine().await;
    let done = template(&bed, "content-deployment", &folder, vars).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    let served = fs::read_to_string(folder.join("cdn/0.html")).expect("a page");
    assert!(served.contains("Far away"), "{served}");
    define(&bed, "read", &format!("
  - {{ id: get, uses: http, with: {{ url: '{url}' }} }}
  - {{ id: read, uses: web-scraper-001/scrape_web, with: {{ urls: ['{url}'], selectors: {{ heads: h2 }} }} }}
"));
    let run = start(&bed, "read").await.run;
    bed.eventually("it has ended", async || {
        view(&bed, run).await.summary.state.ended()
    })
    .await;
    assert_eq!(output(&bed, run, "get").await["status"], 200);
    let heads = output(&bed, run, "read").await["pages"][0]["data"]["heads"].clone();
    assert_eq!(heads, json!(["One", "Two"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_is_measured_and_only_what_is_allowed_is_done_about_it() {
    let bed = Bed::new(&fixture("calc", "", "")).await;
    bed.start(&["calc"]).await;
    let folder = workspace(
        &bed,
        &[
            (
                "metrics/app.json",
                r#"[{"name": "a", "duration": 5}, {"name": "b", "duration": 2500}]"#,
            ),
            (
                "logs/database.log",
                "duration: 20 ms select 1\nduration: 350.5 ms select 2\n",
            ),
        ],
    );
    bed.eventually("the server is sampled", async || {
        bed.server("calc").await.instances[0].sample.is_some()
    })
    .await;
    let vars = json!({ "memory_mib": 0 });
    let done = template(&bed, "performance-optimization", &folder, vars).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    for skipped in ["implement_caching", "restart_the_heavy"] {
        assert_eq!(state(&done, skipped), StepState::Skipped);
    }
    let reports = folder.join("performance-reports");
    let run = done.summary.run;
    let report = json_of(&reports.join(format!("optimization-recommendations-{run}.json")));
    let calc = &report["servers"][0];
    assert!(calc["rss_bytes"].as_f64() > Some(100_000.0), "{calc}");
    assert!(
        calc["answers"] == 5 && calc["answer_p50_ms"].as_f64() > Some(0.0),
        "{calc}"
    );
    assert_eq!(report["slow_parts"][0]["name"], "b");
    assert_eq!(report["slow_queries"][0]["query_time"], 350.5);
    assert_eq!(report["worst"][0]["server"], "calc");
    let compared = json_of(&reports.join(format!("comparison-{run}.json")));
    assert_eq!(compared["restart"], "skipped");
    assert!(compared["servers"][0]["after"][0]["answer_max_ms"].is_number());
    let before = bed.server("calc").await.instances[0].pid;
    let vars = json!({ "memory_mib": 0, "auto_implement": true, "cache_command": "echo \"$LANGUAGE\" > cache" });
    let done = template(&bed, "performance-optimization", &folder, vars).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    assert_ne!(bed.server("calc").await.instances[0].pid, before);
    let cache = fs::read_to_string(folder.join("cache")).expect("a file");
    assert_eq!(cache, "javascript\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_goes_first_and_when_it_does_not_come_back_the_others_stay() {
    let elsewhere = tempfile::TempDir::new().expect("a folder");
    let broken = elsewhere.path().join("broken");
    let script = format!(
        "test ! -e {} || {{ echo no >&2; exit 3; }}; exec {}",
        broken.display(),
        program("flotilla-fixture").display()
    );
    let pair = format!(
        "[servers.pair]\ncommand = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\nreplicas = 2\nrestart = {{ max_restarts = 0 }}\n{QUICK}\n"
    );
    let mut bed = Bed::new(&pair).await;
    bed.until("pair", |v| v.status == Status::Running).await;
    let pids = async |bed: &Bed| -> Vec<Option<u32>> {
        let view = bed.server("pair").await;
        view.instances.iter().map(|one| one.pid).collect()
    };
    let before = pids(&bed).await;
    let folder = workspace(&bed, &[]);
    fs::create_dir_all(&folder).expect("a folder");
    let vars = json!({ "server": "pair", "tool": "echo", "arguments": { "text": "chirp" }, "contains": "chirp" });
    let done = template(&bed, "rolling-restart-with-canary", &folder, vars.clone()).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    let after = pids(&bed).await;
    assert!(
        after[0] != before[0] && after[1] != before[1],
        "{before:?} {after:?}"
    );
    assert!(notice(&bed).await.contains("every instance is back"));
    fs::write(&broken, "").expect("a file");
    let failed = template(&bed, "rolling-restart-with-canary", &folder, vars).await;
    assert_eq!(failed.summary.state, RunState::Failed, "{failed:?}");
    assert_eq!(pids(&bed).await[1], after[1], "the other is left as it is");
    let told = notice(&bed).await;
    assert!(told.contains("the others were left as they are"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_says_how_the_fleet_is_and_a_crash_loop_is_triaged() {
    let elsewhere = tempfile::TempDir::new().expect("a folder");
    let mended = elsewhere.path().join("mended");
    let script = format!(
        "test -e {} || {{ echo Cannot find module index.js >&2; exit 3; }}; exec {}",
        mended.display(),
        program("flotilla-fixture").display()
    );
    let sick = format!(
        "[servers.sick]\ncommand = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\nrestart = {{ max_restarts = 1, delays = [\"50ms\"] }}\n"
    );
    let mut bed = Bed::new(&(fixture("calc", "", "") + &sick)).await;
    bed.until("sick", |v| v.status == Status::Failed).await;
    bed.until("calc", |v| v.status == Status::Running).await;
    let folder = workspace(&bed, &[]);
    fs::create_dir_all(&folder).expect("a folder");
    let done = template(&bed, "fleet-health-report", &folder, json!({})).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    let report = folder.join(format!("reports/fleet-health-{}", done.summary.run));
    let facts = json_of(&report.with_extension("json"));
    assert_eq!(facts["troubled"], json!(["sick"]));
    let of = |name: &str| {
        let servers = facts["servers"].as_array().expect("servers");
        servers
            .iter()
            .find(|one| one["server"] == name)
            .cloned()
            .expect(name)
    };
    assert_eq!(of("sick")["exits"][0]["code"], 3);
    assert_eq!(of("calc")["status"], "running");
    let page = fs::read_to_string(report.with_extension("md")).expect("a page");
    assert!(
        page.contains("2 servers, 1 in trouble.") && page.contains("| sick | failed |"),
        "{page}"
    );
    let vars = json!({ "server": "sick" });
    let triage = |run: u64| folder.join(format!("triage/run-{run}/report.json"));
    let done = template(&bed, "crash-loop-triage", &folder, vars.clone()).await;
    sample(&bed, &done).await;
    assert_eq!(done.summary.state, RunState::Completed, "{done:?}");
    let found = json_of(&triage(done.summary.run));
    assert_eq!(
        (&found["verified"], &found["status_before"]),
        (&json!(false), &json!("failed"))
    );
    assert!(found["kinds"]["not_found"].as_u64() > Some(0), "{found}");
    assert!(notice(&bed).await.contains("still does not work"));
    fs::write(&mended, "").expect("a file");
    let done = template(&bed, "crash-loop-triage", &folder, vars).await;
    assert_eq!(
        json_of(&triage(done.summary.run))["verified"],
        true,
        "{done:?}"
    );
    assert_eq!(bed.server("sick").await.status, Status::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_listed_do_their_work_are_counted_and_can_be_taken_out_of_use() {
    let bed = Bed::new("").await;
    define(&bed, "work", "
  - { id: write, uses: file-ops-002/file_operations, with: { operation: create, path: a.json, content: [{ n: 3 }, { n: 1 }, { n: 2 }] } }
  - { id: sort, uses: data-processor-001/process_data, needs: [write], with: { data_source: a.json, operations: [{ type: filter, expression: item.n > 1 }, { type: sort, expression: item.n }, { type: map, expression: 'item.n * 10' }], output_format: csv, save_to: b.csv } }
  - { id: fail, uses: code-gen-004/generate_code, needs: [sort], on_failure: continue, with: { task: fail, command: exit 3 } }
  - { id: look, uses: system-monitor-003/monitor_system, with: { alert_threshold: { memory: 0 } } }
");
    let run = start(&bed, "work").await.run;
    bed.eventually("it has ended", async || {
        view(&bed, run).await.summary.state.ended()
    })
    .await;
    let seen = view(&bed, run).await;
    assert_eq!(seen.summary.state, RunState::Completed, "{seen:?}");
    assert_eq!(output(&bed, run, "sort").await["result"], json!([20, 30]));
    let csv = fs::read_to_string(bed.home().join(format!("runs/{run}/b.csv"))).expect("a file");
    assert_eq!(csv, "value\r\n20\r\n30\r\n");
    assert_eq!(
        output(&bed, run, "look").await["alerts"][0]["check"],
        "memory"
    );
    let list = bed
        .run::<AgentsList>(AgentFilter::default())
        .await
        .expect("agents");
    assert_eq!(list.len(), 25);
    let work = |id: &str| {
        list.iter()
            .find(|agent| agent.id == id)
            .expect(id)
            .work
            .expect("work")
    };
    assert_eq!(
        (
            work("data-processor-001").completed,
            work("code-gen-004").failed
        ),
        (1, 1)
    );
    assert_eq!(
        (work("file-ops-000").completed, work("file-ops-002").running),
        (0, 0)
    );
    let off = AgentEnable {
        id: "file-ops-002".into(),
        enabled: false,
    };
    bed.run::<AgentsEnable>(off).await.expect("disabled");
    let run = start(&bed, "work").await.run;
    bed.eventually("it has ended", async || {
        view(&bed, run).await.summary.state.ended()
    })
    .await;
    let why = view(&bed, run).await.steps[0]
        .error
        .clone()
        .unwrap_or_default();
    assert_eq!(why, "file-ops-002 is disabled; enable it among the agents");
    define(
        &bed,
        "wrong",
        "\n  - { id: a, uses: file-ops-007/file_operations, with: { operation: list, path: . } }\n",
    );
    let said = bed.cli_says(5, &["workflow", "run", "wrong"]);
    assert!(said.contains("no agent named \"file-ops-007\""), "{said}");
}
