//! The reference servers as others meet them: the official conformance suite, the official SDKs, and the fleet that ships.

use crate::foreign::{call, healthy};
use flotilla_contract::{ServerView, spec::Transport};
use flotilla_tests::{Bed, foreign, load::free_ports, program};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A server, the tool that is called, and its arguments.
const CALLS: [(&str, u32, &str, &str); 9] = [
    (
        "data_standardization",
        12,
        "quality_assessment",
        r#"{"data": {"id": "1", "name": ""}, "required_fields": ["id", "name"]}"#,
    ),
    (
        "vector_similarity",
        5,
        "calculate_vector_similarity",
        r#"{"vector1": [1, 0], "vector2": [1, 0]}"#,
    ),
    (
        "vector_ranking",
        5,
        "calculate_bm25_scores",
        r#"{"query": "ship", "documents": [{"docId": "a", "content": "a ship at sea"}, {"docId": "b", "content": "nothing"}, {"docId": "c", "content": "else here"}]}"#,
    ),
    ("transport_layer", 2, "server_info", "{}"),
    (
        "reasoning_agent",
        9,
        "analyze_patterns",
        r#"{"question": "Why does a ship float?"}"#,
    ),
    (
        "session_management",
        3,
        "manage_session",
        r#"{"op": "stats"}"#,
    ),
    (
        "resource_streaming",
        2,
        "process_with_streaming",
        r#"{"question": "Why does a ship float?"}"#,
    ),
    (
        "confidence_calculator",
        6,
        "calculate_fallback_confidence",
        r#"{"scenario": "partial_evidence"}"#,
    ),
    (
        "semantic_similarity",
        7,
        "calculate_similarity",
        r#"{"text1": "a ship", "text2": "a ship"}"#,
    ),
];

/// A reference server on a port of its own. Gone when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let mut child = Command::new(program("flotilla-reference"))
            .args([name, "--port", "0"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is started");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut ready = String::new();
        log.read_line(&mut ready).expect("a line");
        let ready: Value = serde_json::from_str(&ready).expect("JSON");
        // Read to its end, so that the server is never held up.
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(drop));
        let url = format!(
            "http://{}/mcp",
            ready["address"].as_str().expect("an address")
        );
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Scenarios that ask for what only the fixture has. Anything else that fails is a fault, and so is one of these that passes.
const NEEDS_FIXTURE: &str = include_str!("needs-fixture.yml");

/// Runs the suite; gives how many checks passed and failed.
pub(crate) fn suite(
    url: &str,
    requirements: &str,
    expected_failures: Option<&std::path::Path>,
) -> Output {
    let mut command = Command::new(foreign("node/node_modules/node/bin/node"));
    command.args([
        &foreign("node/node_modules/@modelcontextprotocol/conformance/dist/index.js"),
        "server",
        "--url",
        url,
        "--requirements",
        requirements,
    ]);
    if let Some(file) = expected_failures {
        command.arg("--expected-failures").arg(file);
    }
    command.output().expect("the suite runs")
}

/// Runs the suite as it was before revision 2026-07-28.
pub(crate) fn old_suite(url: &str) -> Output {
    Command::new(foreign("node/node_modules/node/bin/node"))
        .args([
            &foreign("node/node_modules/conformance-0.1/dist/index.js"),
            "server",
            "--url",
            url,
        ])
        .output()
        .expect("the suite runs")
}

pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_fixture_passes_the_official_suite_in_both_eras() {
    let server = Server::start("conformance");
    for (requirements, total) in [
        ("2025-11-25", "Total: 83 passed, 0 failed"),
        ("2026-07-28", "Total: 197 passed, 0 failed"),
    ] {
        let output = suite(&server.url, requirements, None);
        let said = said(&output);
        assert!(
            output.status.success() && said.contains(total),
            "{requirements}: {said}"
        );
    }
}

#[test]
fn the_nine_pass_every_scenario_that_needs_no_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let lists = ["2025-11-25", "2026-07-28"].map(|requirements| {
        let file = folder.path().join(format!("{requirements}.yml"));
        let (_, list) = NEEDS_FIXTURE
            .split_once(&format!("# {requirements}\n"))
            .unwrap();
        std::fs::write(&file, list.split("\n# ").next().unwrap()).unwrap();
        (requirements, file)
    });
    let check = |name: &str| {
        let server = Server::start(name);
        for (requirements, expected) in &lists {
            let output = suite(&server.url, requirements, Some(expected));
            let said = said(&output);
            assert!(output.status.success(), "{name} {requirements}: {said}");
            // Expected to fail as a whole: four of its checks ask for tools of the fixture. The others must pass.
            let stateless = "server-stateless: 24 passed, 4 failed";
            assert!(
                *requirements == "2025-11-25" || said.contains(stateless),
                "{name}: {said}"
            );
        }
    };
    // Mostly waiting for Node.js to start and for its time limits: three at a time.
    std::thread::scope(|scope| {
        for group in CALLS.chunks(3) {
            scope.spawn(move || group.iter().for_each(|(name, ..)| check(name)));
        }
    });
}

#[test]
fn the_official_sdks_list_and_call_each_of_the_nine() {
    let servers: Vec<Server> = CALLS.map(|(name, ..)| Server::start(name)).into();
    let words: Vec<&str> = servers
        .iter()
        .zip(&CALLS)
        .flat_map(|(server, (_, _, tool, arguments))| [server.url.as_str(), tool, arguments])
        .collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
    // Node.js looks for packages beside the script.
    let script = format!("{}/list-and-call.mjs", foreign("node"));
    std::fs::copy(format!("{folder}/list-and-call.mjs"), &script).unwrap();
    let node = foreign("node/node_modules/node/bin/node");
    let python = foreign("python/bin/python");
    for (program, first) in [
        (&node, vec![script.as_str(), "v1"]),
        (&node, vec![script.as_str(), "v2"]),
        (
            &python,
            vec![concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/clients/list_and_call.py"
            )],
        ),
    ] {
        let output = Command::new(program)
            .args(&first)
            .args(&words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{first:?}: {}", said(&output));
        let lines = String::from_utf8_lossy(&output.stdout);
        let answers: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), CALLS.len(), "{}", said(&output));
        for (answer, (name, tools, ..)) in answers.iter().zip(CALLS) {
            assert_eq!(answer["tools"], tools, "{first:?} {name}: {answer}");
            assert_eq!(answer["isError"], false, "{first:?} {name}: {answer}");
            assert!(
                answer["structured"].is_object(),
                "{first:?} {name}: {answer}"
            );
            assert!(
                answer["resources"].as_u64() >= Some(1) && answer["prompts"].as_u64() >= Some(1),
                "{name}: {answer}"
            );
        }
        // JavaScript writes 1 where Python writes 1.0.
        let similarity = &answers[8]["structured"]["similarity"];
        assert_eq!(similarity.as_f64(), Some(1.0));
        assert_eq!(answers[7]["structured"]["confidence"], 0.5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_fleet_is_brought_in_with_one_command_and_lives() {
    let mut bed = Bed::new("").await;
    let shown = bed.cli_says(0, &["import", "--reference", "--yes"]);
    assert!(
        shown.contains("flotilla-reference semantic_similarity --port {port}"),
        "{shown}"
    );
    // Ports that nobody else on this machine has, in the same distances.
    let first = free_ports(310).unwrap();
    let config = bed.config();
    let moved = (8101..=8109).fold(config, |text, port| {
        text.replace(
            &format!("port = {port}"),
            &format!("port = {}", first + (port - 8101)),
        )
    });
    bed.write_config(&moved);
    let is_moved = |view: &ServerView| matches!(view.spec.transport, Transport::Http { port, .. } if port == first + 8);
    bed.until("semantic_similarity", is_moved).await;
    let names: Vec<&str> = CALLS.iter().map(|(name, ..)| *name).collect();
    bed.start(&names).await;
    for (name, tools, tool, arguments) in CALLS {
        let view = bed.until(name, healthy).await;
        let replicas = if name == "semantic_similarity" { 3 } else { 1 };
        assert_eq!((view.instances.len(), view.tools), (replicas, Some(tools)));
        let arguments = serde_json::from_str(arguments).unwrap();
        let said = call(&bed, name, None, tool, &arguments).await;
        let result: Value = serde_json::from_str(&said).unwrap();
        assert!(result.is_object(), "{name}: {said}");
    }
    bed.stop(&names).await;
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", first + 8)).is_ok() {
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "it still listens"
        );
    }
}
