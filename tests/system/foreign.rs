//! Servers that nobody here wrote, through start, call, crash, restart, scale and stop.

use flotilla_contract::{
    ServerView,
    command::{CallParams, ServerRef, ToolsCall, ToolsList},
    state::{HealthCode, HealthLevel, NextAction, Status},
    tool::{CallOutcome, Era},
};
use flotilla_os::Process;
use flotilla_tests::{Bed, foreign, free_ports, id, pid};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    task::JoinSet,
};

/// A modern server over HTTP, of the same maker as `mcp-server-time`.
const MODERN_HTTP: &str = r#"
import sys
from mcp.server import MCPServer
server = MCPServer("adder")
@server.tool()
def add(a: int, b: int) -> str:
    return f"the sum is {a + b}"
server.run("streamable-http", port=int(sys.argv[1]))
"#;

fn node(package: &str) -> String {
    foreign(&format!(
        "node/node_modules/@modelcontextprotocol/{package}/dist/index.js"
    ))
}

/// Keys of a server's table in `fleet.toml`.
fn run(command: &str, args: &[&str]) -> String {
    format!("command = {command:?}\nargs = {args:?}\nautostart = false\n")
}

/// A server, and what is asked of it.
struct Foreign {
    name: &'static str,
    era: Era,
    tools: u32,
    /// Its table in `fleet.toml`.
    table: String,
    /// Tool, arguments, and words of its answer: the same however often they are called.
    calls: Vec<(&'static str, Value, &'static str)>,
}

impl Foreign {
    /// The start is over when it is proven; then come a crash, a restart, a second replica, and the end.
    async fn lives(self, bed: Arc<Bed>) {
        let name = self.name;
        let mut watch = bed.watch().await;
        bed.start(&[name]).await;
        let started = bed.server(name).await;
        assert!(healthy(&started), "{started:#?}");
        assert_eq!(
            (name, started.tools, started.era),
            (name, Some(self.tools), Some(self.era)),
            "{started:#?}"
        );
        self.lists(&bed).await;
        self.answers(&bed, 1).await;

        // Killed from outside, as an out-of-memory killer does, it says when it is tried again and comes back proven.
        bed.kill(pid(&started));
        let waits = watch
            .until(name, |v| v.status == Status::Restarting)
            .await
            .instances
            .remove(0);
        assert_eq!(
            (waits.process.next_try.is_some(), waits.health.action),
            (true, NextAction::RetryNow),
            "{waits:#?}"
        );
        let back = watch
            .until(name, |v| v.instances[0].restarts == 1 && healthy(v))
            .await;
        assert_ne!(pid(&back), pid(&started));
        let exit = back.instances[0].last_exit.as_ref().expect("an end");
        assert_eq!(exit.signal.as_deref(), Some("SIGKILL"), "{exit:#?}");
        assert_eq!(back.tools, Some(self.tools));
        self.answers(&bed, 1).await;

        bed.restart(&[name]).await;
        let anew = bed.server(name).await;
        assert_ne!(pid(&anew), pid(&back));
        assert_eq!(
            anew.instances[0].restarts, 0,
            "a restart that was asked for counts anew"
        );

        bed.scale(name, 2).await;
        let two = bed.server(name).await;
        assert!(
            healthy(&two) && two.instances.iter().all(|i| i.status == Status::Running),
            "{two:#?}"
        );
        assert_eq!(
            (two.instances.len(), pid(&two), two.instances[1].port),
            (2, pid(&anew), two.instances[0].port.map(|p| p + 100)),
            "what ran goes on"
        );
        for instance in [1, 2] {
            self.answers(&bed, instance).await;
        }
        bed.scale(name, 1).await;
        let one = bed.server(name).await;
        assert_eq!((one.instances.len(), pid(&one)), (1, pid(&anew)));

        bed.stop(&[name]).await;
        let stopped = bed.server(name).await;
        assert_eq!(
            (stopped.status, stopped.instances[0].pid),
            (Status::Stopped, None),
            "{stopped:#?}"
        );
    }

    async fn lists(&self, bed: &Bed) {
        let list = bed
            .run::<ToolsList>(ServerRef {
                server: id(self.name),
            })
            .await
            .expect("its tools are known");
        let whole = |t: &Value| t["name"].is_string() && t["inputSchema"].is_object();
        assert!(list.tools.iter().all(whole), "{list:#?}");
    }

    async fn answers(&self, bed: &Bed, instance: u32) {
        for (tool, arguments, words) in &self.calls {
            let said = call(bed, self.name, Some(instance), tool, arguments).await;
            assert!(said.contains(words), "{} {tool}: {said}", self.name);
        }
    }
}

/// The text with which a tool answers.
pub(crate) async fn call(
    bed: &Bed,
    server: &str,
    instance: Option<u32>,
    tool: &str,
    arguments: &Value,
) -> String {
    let params = CallParams {
        server: id(server),
        instance,
        tool: tool.into(),
        arguments: arguments.clone(),
        timeout_ms: None,
        cancel_key: None,
    };
    let record = bed
        .run::<ToolsCall>(params)
        .await
        .expect("the call is taken");
    match record.outcome {
        CallOutcome::Result {
            result,
            is_error: false,
        } => result["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("no text: {result}"))
            .to_owned(),
        other => panic!("{server} {tool}: {other:#?}"),
    }
}

pub(crate) fn healthy(view: &ServerView) -> bool {
    view.status == Status::Running && view.health.level == HealthLevel::Healthy
}

/// Every server of the test environment, each with something that only it can do.
fn everyone(folder: &Path, page: &str) -> Vec<Foreign> {
    let (python, everything) = (foreign("python/bin/python"), node("server-everything"));
    let at = |name: &str| folder.join(name).display().to_string();
    let (repository, note) = (folder.display().to_string(), at("note.txt"));
    let (script, port, modern_port) = (at("adder.py"), free_ports(100), free_ports(100));
    fs::write(&script, MODERN_HTTP).expect("write the server");
    let echo = || vec![("echo", json!({ "message": "hi" }), "Echo: hi")];
    let legacy = |name, tools, table, calls| Foreign {
        name,
        era: Era::Legacy,
        tools,
        table,
        calls,
    };
    let modern = |name, tools, table, calls| Foreign {
        name,
        era: Era::Modern,
        tools,
        table,
        calls,
    };
    vec![
        legacy(
            "everything",
            13,
            run("node", &[&everything, "stdio"]),
            echo(),
        ),
        legacy(
            "everything-http",
            13,
            run("node", &[&everything, "streamableHttp"])
                + &format!("port = {port}\nenv = {{ PORT = \"{{port}}\" }}\n"),
            echo(),
        ),
        legacy(
            "filesystem",
            14,
            run("node", &[&node("server-filesystem"), &repository]),
            vec![
                (
                    "write_file",
                    json!({ "path": note, "content": "ahoy from a file" }),
                    "Successfully wrote",
                ),
                (
                    "read_text_file",
                    json!({ "path": note }),
                    "ahoy from a file",
                ),
            ],
        ),
        legacy(
            "memory",
            9,
            run("node", &[&node("server-memory")])
                + &format!("env = {{ MEMORY_FILE_PATH = {:?} }}\n", at("memory.jsonl")),
            vec![
                (
                    "create_entities",
                    json!({ "entities": [{ "name": "Vasa", "entityType": "ship", "observations": ["sank"] }] }),
                    "Vasa",
                ),
                ("read_graph", json!({}), "Vasa"),
                (
                    "delete_entities",
                    json!({ "entityNames": ["Vasa"] }),
                    "deleted",
                ),
            ],
        ),
        legacy(
            "sequential-thinking",
            1,
            run("node", &[&node("server-sequential-thinking")]),
            vec![(
                "sequentialthinking",
                json!({ "thought": "first", "thoughtNumber": 1, "totalThoughts": 2, "nextThoughtNeeded": true }),
                "\"totalThoughts\": 2",
            )],
        ),
        modern(
            "time",
            2,
            run(
                &foreign("python/bin/mcp-server-time"),
                &["--local-timezone", "UTC"],
            ),
            vec![(
                "get_current_time",
                json!({ "timezone": "Asia/Tokyo" }),
                "+09:00",
            )],
        ),
        modern(
            "git",
            12,
            run(
                &foreign("python/bin/mcp-server-git"),
                &["--repository", &repository],
            ),
            vec![(
                "git_status",
                json!({ "repo_path": repository }),
                "On branch",
            )],
        ),
        modern(
            "fetch",
            1,
            run(
                &foreign("python/bin/mcp-server-fetch"),
                &["--allow-private-ips"],
            ) + "env = { NO_PROXY = \"127.0.0.1\" }\n",
            vec![("fetch", json!({ "url": page }), "ahoy from a page")],
        ),
        modern(
            "adder-http",
            1,
            run(&python, &[&script, "{port}"]) + &format!("port = {modern_port}\n"),
            vec![("add", json!({ "a": 2, "b": 3 }), "the sum is 5")],
        ),
    ]
}

/// A site with one page, which robots may read; gives the page's address.
async fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream).lines();
                let first = lines.next_line().await.ok().flatten().unwrap_or_default();
                while lines
                    .next_line()
                    .await
                    .is_ok_and(|l| l.is_some_and(|l| !l.is_empty()))
                {}
                let body = match first.split(' ').nth(1) {
                    Some("/robots.txt") => "User-agent: *\nDisallow: /private\n",
                    _ => "ahoy from a page",
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                // The client may leave at any time.
                let _ = lines.get_mut().write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}/page")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_both_eras_and_transports_are_proven_called_broken_and_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new("git")
        .args(["init", "-q"])
        .current_dir(&folder)
        .status();
    assert!(made.expect("run git").success());
    let servers = everyone(folder.path(), &site().await);
    let tables = servers
        .iter()
        .map(|s| format!("[servers.{}]\n{}", s.name, s.table));
    let config =
        "[defaults]\nrestart = { delays = [\"300ms\"] }\n".to_owned() + &tables.collect::<String>();
    let bed = Arc::new(Bed::new(&config).await);
    // All at once: what one goes through is nothing to the others.
    let mut lives: JoinSet<()> = servers
        .into_iter()
        .map(|server| server.lives(Arc::clone(&bed)))
        .collect();
    while let Some(ended) = lives.join_next().await {
        ended.expect("it came through");
    }
    assert_eq!(bed.alive(), []);
}

/// A server that is a grandchild of what is started: any link may break, and nothing of a broken chain lives on.
async fn chain(table: &str, tool: &str, arguments: Value, words: &str) {
    let config =
        format!("[servers.chain]\n{table}restart = {{ delays = [\"100ms\"] }}\nautostart = true\n");
    let mut bed = Bed::new(&config).await;
    let view = bed.until("chain", healthy).await;
    assert!(
        call(&bed, "chain", None, tool, &arguments)
            .await
            .contains(words)
    );
    let innermost = |chain: &[Process]| {
        let last = chain.iter().find(|p| chain.iter().all(|c| c.ppid != p.pid));
        last.expect("a chain has an end").pid
    };
    let mut head = pid(&view);
    for (restarts, inner) in [(1, false), (2, true)] {
        let links = bed.alive();
        assert!(links.len() >= 2, "it is a chain: {links:?}");
        let broken = if inner { innermost(&links) } else { head };
        assert_eq!(inner, broken != head);
        bed.kill(broken);
        let view = bed
            .until("chain", |v| {
                v.instances[0].restarts == restarts && healthy(v)
            })
            .await;
        let old: Vec<u32> = links.iter().map(|p| p.pid).collect();
        bed.eventually("the old chain is gone", async || {
            bed.alive().iter().all(|p| !old.contains(&p.pid))
        })
        .await;
        head = pid(&view);
    }
    assert!(
        call(&bed, "chain", None, tool, &arguments)
            .await
            .contains(words)
    );
    bed.stop(&["chain"]).await;
    assert_eq!(bed.alive(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_npx_chain_leaves_nothing_behind() {
    // `npx` starts a shell which starts node.
    let table = format!(
        "command = \"npx\"\nargs = [\"--no-install\", \"mcp-server-everything\", \"stdio\"]\ncwd = {:?}\n",
        foreign("node"),
    );
    chain(&table, "echo", json!({ "message": "hi" }), "Echo: hi").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uvx_chain_leaves_nothing_behind() {
    // `uvx` starts python. Nothing is downloaded: the package only names a server that the environment has, and what
    // builds it is inside uv.
    let folder = tempfile::tempdir().expect("a folder");
    let package = folder.path().join("clock");
    fs::create_dir_all(package.join("src/clock")).expect("a package");
    fs::write(package.join("src/clock/__init__.py"), "").expect("a module");
    fs::write(
        package.join("pyproject.toml"),
        "[project]\nname = \"clock\"\nversion = \"1.0.0\"\n\
         [project.scripts]\nclock = \"mcp_server_time:main\"\n\
         [build-system]\nrequires = [\"uv_build\"]\nbuild-backend = \"uv_build\"\n",
    )
    .expect("its description");
    let python = foreign("python/bin/python");
    let asked = Command::new(&python)
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ])
        .output()
        .expect("ask python");
    let modules = String::from_utf8(asked.stdout).expect("a path");
    let table = format!(
        "command = {:?}\nargs = [\"--offline\", \"--no-config\", \"--python\", {python:?}, \"--from\", {:?}, \"clock\", \"--local-timezone\", \"UTC\"]\n\
         env = {{ PYTHONPATH = {:?}, UV_CACHE_DIR = {:?} }}\n",
        foreign("python/bin/uvx"),
        package.display().to_string(),
        modules.trim(),
        folder.path().join("cache").display().to_string(),
    );
    let tokyo = json!({ "timezone": "Asia/Tokyo" });
    chain(&table, "get_current_time", tokyo, "+09:00").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_over_http_is_started_on_its_ports_and_watched_at_a_url() {
    let port = free_ports(100);
    let config = format!(
        "[servers.started]\ncommand = \"node\"\nargs = [{:?}, \"streamableHttp\"]\nport = {port}\nenv = {{ PORT = \"{{port}}\" }}\nreplicas = 2\n\
         [servers.watched]\nurl = \"http://127.0.0.1:{port}/mcp\"\nautostart = false\nhealth = {{ interval = \"300ms\", retry_interval = \"100ms\" }}\n",
        node("server-everything"),
    );
    let mut bed = Bed::new(&config).await;
    let started = bed.until("started", healthy).await;
    assert_eq!(
        started.instances.iter().map(|i| i.port).collect::<Vec<_>>(),
        [Some(port), Some(port + 100)]
    );
    bed.start(&["watched"]).await;
    assert_eq!(bed.server("watched").await.tools, Some(13));
    assert_eq!(
        call(
            &bed,
            "watched",
            None,
            "echo",
            &json!({ "message": "over http" })
        )
        .await,
        "Echo: over http"
    );
    bed.stop(&["started"]).await;
    let view = bed
        .until("watched", |v| v.status == Status::Unhealthy)
        .await;
    assert_eq!(view.health.code, HealthCode::CheckFailed);
    // The server is back, but has forgotten the session: the watcher greets it anew by itself.
    bed.start(&["started"]).await;
    bed.until("watched", healthy).await;
    bed.stop(&[]).await;
    assert_eq!(bed.alive(), []);
}
