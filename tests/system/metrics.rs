//! What the engine tells others: `/metrics` to Debian's Prometheus, the dashboard's and the agent stream's sockets, `/api/agent`, and
//! whether what `deploy/` asks for is there.

use crate::gateway::Client;
use flotilla_contract::{
    ErrorCode,
    command::{
        GatewayCalls, MetricsNames, MetricsQuery, MetricsRange, MetricsSeries, MetricsTargets,
        SecretSet, SecretsSet,
    },
    gateway::CallQuery,
    metric::{LabelMatch, Metric, MetricQuery, RangeQuery, SeriesQuery, Sum},
    state::Status,
};
use flotilla_tests::{Bed, PATIENCE, fixture, free_ports, id};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A file of `deploy/`.
fn deploy(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy")).join(path)
}

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client")
}

/// The page, in the format that `accept` asks for.
async fn page(bed: &Bed, accept: &str) -> (String, String) {
    let url = format!("{}/metrics", bed.boot().url);
    let answer = http()
        .get(url)
        .header("accept", accept)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().expect("text");
    (kind.to_owned(), answer.text().await.expect("a page"))
}

/// What promtool says.
fn promtool(args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

/// A Prometheus that scrapes one engine.
struct Prometheus {
    child: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(bed: &Bed) -> Self {
        let boot = bed.boot();
        let target = boot.url.trim_start_matches("http://");
        let config = bed.path("prometheus.yml");
        fs::write(&config, format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: a2a-mcp-server\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
        )).expect("a configuration");
        let address = format!("127.0.0.1:{}", free_ports(1));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                bed.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus, of Debian's package");
        Self {
            child,
            url: format!("http://{address}/api/v1"),
        }
    }

    /// The result of an instant query; an error is what Prometheus says about the expression.
    async fn query(&self, expr: &str) -> Result<Vec<Value>, String> {
        let url = format!("{}/query", self.url);
        let mut url = reqwest::Url::parse(&url).map_err(|error| error.to_string())?;
        url.query_pairs_mut().append_pair("query", expr);
        let answer = http().get(url).send().await;
        let answer: Value = answer
            .map_err(|error| error.to_string())?
            .json()
            .await
            .map_err(|error| error.to_string())?;
        match answer["data"]["result"].as_array() {
            Some(result) => Ok(result.clone()),
            None => Err(answer.to_string()),
        }
    }

    /// The first result that there is.
    async fn until(&self, expr: &str) -> Value {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                // It starts, then it scrapes: both can only be asked for.
                if let Ok(result) = self.query(expr).await
                    && let Some(first) = result.first()
                {
                    return first.clone();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("{expr} has no result"))
    }
}

/// The names of metrics in an expression: words that are no function, label or keyword.
fn names(expr: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let mut closing = Vec::new();
    for c in expr.chars() {
        match c {
            '"' if closing.last() == Some(&'"') => drop(closing.pop()),
            '"' | '{' | '[' if closing.last() != Some(&'"') => {
                closing.push(match c {
                    '{' => '}',
                    '[' => ']',
                    other => other,
                });
                plain.push(' ');
            }
            c if closing.last() == Some(&c) => drop(closing.pop()),
            c if closing.is_empty() => plain.push(c),
            _ => {}
        }
    }
    for grouping in ["by", "without", "on", "ignoring"] {
        while let Some(at) = plain.find(&format!("{grouping} (")) {
            let end = plain[at..]
                .find(')')
                .map_or(plain.len(), |end| at + end + 1);
            plain.replace_range(at..end, " ");
        }
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut found = BTreeSet::new();
    let mut rest = plain.as_str();
    while let Some(start) = rest.find(is_word) {
        let word = &rest[start..];
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        rest = after;
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        if !is_number && !after.trim_start().starts_with('(') {
            found.insert(word.to_owned());
        }
    }
    found
}

#[test]
fn names_are_found_in_expressions() {
    let found = |expr: &str| names(expr).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(
        found(r#"histogram_quantile(0.95, sum by (le, x) (rate(a_bucket{e=~"$b|"}[5m]))) > 5e3"#),
        "a_bucket"
    );
    assert_eq!(found("a:b / (c > 0) * 100"), "a:b c");
    assert_eq!(found(r#"up{job="sum(x)"} == 0"#), "up");
}

/// Families by name with their type, as the text page tells them.
fn families(text: &str) -> BTreeMap<&str, &str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split_once(' ')).collect()
}

/// A fleet with some calls behind it: answered, cached, failed, refused, retried.
/// That of one of the calls.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn busy() -> Bed {
    let config = fixture(
        "echo",
        "",
        "gateway.tools.echo.cache = \"1h\"\nhealth = { interval = \"300ms\" }",
    ) + &fixture(
        "gone",
        "--crash-at-once 3",
        "restart = { max_restarts = 0 }",
    ) + "[gateway]\ntool_rate = { burst = 8, per_second = 0.01 }\n";
    let mut bed = Bed::new(&config).await;
    bed.until("echo", |v| v.status == Status::Running).await;
    bed.until("gone", |v| v.status == Status::Failed).await;
    let client = Client::connect(&bed.gateway(), "a \"client\"").await;
    while client.tools().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for n in [1, 1, 2] {
        let said = client
            .call("echo__echo", json!({ "text": format!("say {n}") }))
            .await;
        assert!(said["error"].is_null(), "{said}");
    }
    let traced = json!({"name": "echo__echo", "arguments": {"text": "say 3"}, "_meta": {"traceparent": format!("00-{TRACE}-00f067aa0ba902b7-01")}});
    let said = client.ask("tools/call", traced).await;
    assert!(said["error"].is_null(), "{said}");
    client.call("nobody__nothing", json!({})).await;
    for _ in 0..9 {
        client
            .call("echo__echo", json!({ "text": "once more" }))
            .await;
    }
    bed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_reads_all_of_it_in_both_formats() {
    let bed = busy().await;
    #[cfg(target_os = "linux")]
    bed.eventually("the CPU of the machine was measured", async || {
        page(&bed, "text/plain")
            .await
            .1
            .contains("mcp_host_cpu_ratio")
    })
    .await;
    let (kind, text) = page(&bed, "text/plain").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let lint = promtool(&["check", "metrics"], &text);
    assert!(
        lint.as_ref().is_ok_and(String::is_empty),
        "{lint:?}\n{text}"
    );

    let (kind, open) = page(&bed, "application/openmetrics-text;version=1.0.0").await;
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(open.ends_with("# EOF\n"));
    let known = families(&text);
    assert_eq!(known["a2a_agents_total"], "untyped");
    assert_eq!(families(&open)["a2a_agents_total"], "unknown");
    assert_eq!(known.len(), families(&open).len());
    assert_eq!(known["a2a_workflows_total"], "untyped");
    for state in ["running", "completed", "failed"] {
        let line = format!("a2a_workflows_total{{status=\"{state}\"}} 0\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    let opened = text.lines().find_map(|line| {
        line.strip_prefix("mcp_connections_total{server_id=\"echo\",status=\"success\"} ")
    });
    assert!(opened.is_some_and(|count| count != "0"), "{text}");
    assert!(
        text.contains("mcp_connection_duration_seconds_count{server_id=\"echo\"}"),
        "{text}"
    );
    #[cfg(target_os = "linux")]
    for name in [
        "memory_total_bytes",
        "memory_available_bytes",
        "memory_used_percent",
        "load1",
        "cpu_ratio",
        "disk_used_percent",
    ] {
        assert!(
            known.contains_key(format!("mcp_host_{name}").as_str()),
            "{name}\n{text}"
        );
    }

    // Prometheus asks for OpenMetrics first, and what it read is what happened.
    let prometheus = Prometheus::start(&bed);
    prometheus.until("up == 1").await;
    prometheus.until("a2a_agents_total").await;
    for (expr, value) in [
        ("a2a_agents_total", "27"),
        ("a2a_mcp_servers_total", "2"),
        ("a2a_mcp_servers_running", "1"),
        ("a2a_mcp_servers_failed", "1"),
        ("a2a_server_recovery_failed_total{server=\"gone\"}", "1"),
        // The eight that the limit let pass, those from the cache included.
        (
            "mcp_tool_executions_total{server_id=\"echo\",tool_name=\"echo\",status=\"success\"}",
            "8",
        ),
        (
            "mcp_tool_executions_total{server_id=\"echo\",status=\"rejected\"}",
            "5",
        ),
        (
            "mcp_server_calls_total{server=\"echo\",method=\"tools/call\",status=\"success\"}",
            "8",
        ),
        (
            "a2a_agent_invocations_total{agent_id=\"echo\",capability=\"echo\",status=\"success\"}",
            "8",
        ),
        ("a2a_response_time_count{agent_id=\"echo\"}", "8"),
        (
            "a2a_response_time_bucket{agent_id=\"echo\",le=\"10000.0\"}",
            "8",
        ),
        ("mcp_response_size_bytes_count{server_id=\"echo\"}", "8"),
        ("mcp_cache_hits_total{tool_name=\"echo\"}", "4"),
        ("mcp_cache_misses_total{tool_name=\"echo\"}", "4"),
        ("mcp_cache_size_items", "4"),
        ("a2a_rate_limit_exceeded_total{agent_id=\"echo\"}", "5"),
        ("a2a_errors_total{error_type=\"rate_limited\"}", "5"),
        ("a2a_errors_total{error_type=\"unknown_target\"}", "1"),
        ("a2a_requests_completed_total{status=\"done\"}", "8"),
        ("a2a_requests_completed_total{status=\"error\"}", "6"),
        ("a2a_requests_created_total", "14"),
        ("a2a_running_jobs", "0"),
        (
            "mcp_circuit_breaker_state{server_id=\"echo\",tool_name=\"\"}",
            "0",
        ),
        (
            "mcp_instance_up{server=\"echo\",exported_instance=\"1\"}",
            "1",
        ),
        ("mcp_server_health{server=\"echo\"}", "1"),
        ("process_resident_memory_bytes > bool 1e6", "1"),
        ("process_cpu_seconds_total > bool 0", "1"),
        ("flotilla_build_info", "1"),
    ] {
        let found = prometheus.until(expr).await;
        assert_eq!(found["value"][1], value, "{expr}\n{text}");
    }
    let typed = format!("{}/metadata?metric=a2a_response_time", prometheus.url);
    let typed: Value = http()
        .get(typed)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(typed["data"]["a2a_response_time"][0]["type"], "histogram");

    // A call that its client traces is an example of its time, and is found by its trace.
    let now = crate::kept::now() / 1_000;
    let (from, to) = (now - 600, now + 600);
    let exemplars = format!(
        "{}/query_exemplars?query=mcp_server_call_duration_seconds_bucket&start={from}&end={to}",
        prometheus.url
    );
    bed.eventually("Prometheus has the exemplar", async || {
        let said = http().get(&exemplars).send().await.expect("an answer");
        let said: Value = said.json().await.expect("JSON");
        said["data"][0]["exemplars"][0]["labels"]["trace_id"] == TRACE
    })
    .await;
    let query = CallQuery {
        text: Some(TRACE.into()),
        ..CallQuery::default()
    };
    let calls = bed.run::<GatewayCalls>(query).await.expect("a list");
    assert_eq!(calls.len(), 1, "{calls:?}");

    // Every expression of the dashboard is one, and asks for what is there.
    let dashboard: Value =
        serde_json::from_slice(&fs::read(deploy("grafana/dashboard.json")).expect("a file"))
            .expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert_eq!(panels.len(), 10);
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let alerts: Value =
        serde_json::from_slice(&fs::read(deploy("grafana/alert-rules.json")).expect("a file"))
            .expect("JSON");
    let rules = alerts["groups"][0]["rules"].as_array().expect("rules");
    let exprs: Vec<&Value> = targets
        .map(|target| &target["expr"])
        .chain(
            dashboard["annotations"]["list"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|it| &it["expr"]),
        )
        .chain(rules.iter().map(|rule| &rule["data"][0]["model"]["expr"]))
        .collect();
    assert!(exprs.len() >= 20);
    let mut asked = BTreeSet::new();
    for expr in exprs {
        let expr = expr
            .as_str()
            .expect("an expression")
            .replace("$environment", "production");
        let said = prometheus.query(&expr).await;
        assert!(said.is_ok(), "{expr}: {said:?}");
        asked.extend(names(&expr));
    }
    // So do the rules.
    for file in ["recording.yml", "alerts.yml"] {
        let text = fs::read_to_string(deploy("prometheus").join(file)).expect("a file");
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if let Some(expr) = line.trim().strip_prefix("expr: ") {
                let more = if expr == "|" {
                    lines[at + 1..at + 3].concat()
                } else {
                    expr.to_owned()
                };
                asked.extend(names(&more));
            }
        }
    }
    for name in asked {
        let family = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let there = [Some(name.as_str()), family]
            .into_iter()
            .flatten()
            .any(|name| known.contains_key(name));
        let other = name == "up" || name.starts_with("a2a:");
        assert!(there || other, "{name} is asked for and not exposed");
    }
}

#[test]
fn what_is_deployed_is_sound() {
    let file = |name: &str| deploy("prometheus").join(name).display().to_string();
    for args in [
        ["check", "config", &file("prometheus.yml")],
        ["check", "rules", &file("recording.yml")],
        ["check", "rules", &file("alerts.yml")],
        ["test", "rules", &file("rules.test.yml")],
    ] {
        let said = promtool(&args, "");
        assert!(said.is_ok(), "{args:?}\n{}", said.unwrap_err());
    }
}

/// A WebSocket that is heard.
struct Ear(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Ear {
    async fn at(url: &str) -> Self {
        Self(connect_async(url).await.expect("it opens").0)
    }

    /// The next text, as JSON; a close as its code.
    async fn hear(&mut self) -> Value {
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return serde_json::from_str(&text).expect("JSON");
                    }
                    Some(Ok(Message::Close(frame))) => {
                        return json!({ "close": frame.map(|frame| u16::from(frame.code)) });
                    }
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        heard.await.expect("something is said")
    }

    async fn until(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        loop {
            let heard = self.hear().await;
            if what(&heard) {
                return heard;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_hears_servers_and_agents_come_and_go() {
    let mut bed =
        Bed::new(&(fixture("echo", "", "") + "[dashboard]\ninterval = \"200ms\"\n")).await;
    bed.until("echo", |v| v.status == Status::Running).await;
    let mut ear = Ear::at(&bed.boot().dashboard.expect("the dashboard is served")).await;
    let first = ear.hear().await;
    assert_eq!(first["type"], "metrics:update");
    let data = &first["data"];
    assert_eq!(
        data["mcpServers"],
        json!({ "total": 1, "running": 1, "healthy": 1, "unhealthy": 0, "failed": 0 })
    );
    assert_eq!(
        (
            &data["agents"]["total"],
            &data["connections"]["websocketClients"]
        ),
        (&json!(26), &json!(1))
    );
    assert!(
        data["performance"]["memoryUsageMB"].as_u64() > Some(1),
        "{data}"
    );
    assert_eq!(
        data["performance"]["cpuLoadAverage"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    ear.0
        .send(Message::text(r#"{"type":"request_agents"}"#))
        .await
        .expect("sent");
    let agents = ear.until(|heard| heard["type"] == "agents:list").await;
    let listed = agents["data"].as_array().expect("agents");
    let of = |id: &str| listed.iter().find(|agent| agent["id"] == id);
    assert!(of("echo").is_some_and(|agent| agent.get("work").is_none()));
    assert_eq!(
        of("code-gen-000").map(|agent| &agent["work"]["completed"]),
        Some(&json!(0))
    );

    bed.cli_says(0, &["stop", "echo"]);
    let is = |word: &'static str| {
        move |heard: &Value| {
            heard["type"] == "server:status"
                && heard["data"] == json!({ "serverId": "echo", "status": word })
        }
    };
    ear.until(is("stopped")).await;
    let stopped = ear.until(|heard| heard["type"] == "metrics:update").await;
    assert_eq!(stopped["data"]["mcpServers"]["running"], 0);
    bed.cli_says(0, &["start", "echo"]);
    ear.until(is("running")).await;
    let program = flotilla_tests::program("flotilla-fixture")
        .display()
        .to_string();
    bed.cli_says(0, &["add", "second", "--", &program]);
    let deployed = ear.until(|heard| heard["type"] == "agent:deployed").await;
    assert_eq!(
        (
            &deployed["data"]["agentId"],
            &deployed["data"]["agent"]["id"]
        ),
        (&json!("second"), &json!("second"))
    );
    bed.cli_says(0, &["remove", "second", "--yes"]);
    let removed = ear.until(|heard| heard["type"] == "agent:removed").await;
    assert_eq!(removed["data"], json!({ "agentId": "second" }));

    let status = format!("{}/api/agent", bed.boot().url);
    let answer = http()
        .get(format!("{status}?action=status"))
        .send()
        .await
        .expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (
            &answer["ok"],
            &answer["service"],
            &answer["agents"]["total"]
        ),
        (&json!(true), &json!("a2a-mcp-server"), &json!(26)),
        "{answer}"
    );
    for query in ["", "?action=dance"] {
        let answer = http()
            .get(format!("{status}{query}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 400);
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(
            (&answer["ok"], &answer["error"]["code"]),
            (&json!(false), &json!("ERR_BAD_REQUEST"))
        );
    }
    bed.stop_engine();
    ear.until(|heard| heard["close"] == 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_followed_to_its_end() {
    let mut bed = Bed::new(&fixture("echo", "", "")).await;
    bed.until("echo", |v| v.status == Status::Running).await;
    let mut client = Client::connect(&bed.gateway(), "follows").await;
    while client.tools().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stream = bed.boot().stream.expect("the stream is served");
    let at = |id: &str| format!("{stream}?requestId={id}");
    assert_eq!(
        Ear::at(&at("nobody")).await.hear().await,
        json!({ "close": 1008 })
    );
    assert_eq!(
        Ear::at(&stream).await.hear().await,
        json!({ "close": 1008 })
    );

    client.correlation = Some("r-1".to_owned());
    let answer = client.call("echo__echo", json!({ "text": "hello" })).await;
    let mut ear = Ear::at(&at("r-1")).await;
    let start = ear.hear().await;
    assert_eq!(
        (&start["type"], &start["requestId"], &start["seq"]),
        (&json!("start"), &json!("r-1"), &json!(1))
    );
    let end = ear.hear().await;
    assert_eq!((&end["type"], &end["seq"]), (&json!("final"), &json!(2)));
    assert_eq!(end["result"], answer["result"]);
    assert!(end["ts"].as_u64() >= start["ts"].as_u64());
    assert_eq!(ear.hear().await, json!({ "close": 1000 }));

    client.correlation = Some("r-2".to_owned());
    client.call("echo__no_such_tool", json!({})).await;
    let mut ear = Ear::at(&at("r-2")).await;
    ear.hear().await;
    let end = ear.hear().await;
    assert_eq!(end["type"], "error");
    assert!(
        end["message"]
            .as_str()
            .is_some_and(|why| why.contains("no_such_tool")),
        "{end}"
    );
}

/// The same question to the store and to a Prometheus that the file names gives the same points; a page that the file names is scraped, and one whose
/// secret is not stored says so until it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charts_are_read_from_a_prometheus_that_the_file_names() {
    let mut bed = Bed::new(&fixture("echo", "", "")).await;
    bed.until("echo", |v| v.status == Status::Running).await;
    let prometheus = Prometheus::start(&bed);
    prometheus.until("mcp_instance_resident_memory_bytes").await;
    let base = prometheus.url.trim_end_matches("/api/v1").to_owned();

    let targets = async || {
        let targets = bed.run::<MetricsTargets>(Default::default()).await;
        targets.expect("there is a store")
    };
    bed.write_config(&format!(
        "[metrics]\nscrape_interval = \"1s\"\n[metrics.targets.prom]\nurl = \"{base}/metrics\"\nlabels.site = \"here\"\nheaders.Authorization = {{ secret = \"prom\" }}\n{}",
        fixture("echo", "", "")
    ));
    bed.eventually("the page lacks its secret", async || {
        let targets = targets().await;
        let error = targets.first().and_then(|target| target.error.clone());
        error.is_some_and(|error| error.contains("secret prom is not stored"))
    })
    .await;
    let (name, value) = ("prom".to_owned(), "Bearer s3cret-value".to_owned());
    bed.run::<SecretsSet>(SecretSet { name, value })
        .await
        .expect("it is stored");
    bed.eventually("the page is scraped", async || {
        let targets = targets().await;
        targets.len() == 1 && targets[0].up == Some(true)
    })
    .await;
    let scraped = RangeQuery {
        labels: vec![LabelMatch {
            label: "site".into(),
            is: true,
            values: vec!["here".into()],
        }],
        ..crate::kept::latest("prometheus_build_info", "prom", crate::kept::now())
    };
    let answer = bed.run::<MetricsRange>(scraped).await.expect("an answer");
    assert_eq!(answer.lines.len(), 1, "{answer:?}");
    assert!(!bed.everything_as_text().await.contains("s3cret-value"));

    // From now on Prometheus answers.
    bed.write_config(&format!(
        "[metrics.source]\nurl = \"{base}/\"\n{}",
        fixture("echo", "", "")
    ));
    let memory = || RangeQuery {
        labels: Vec::new(),
        ..crate::kept::latest("mcp_instance_resident_memory_bytes", "", crate::kept::now())
    };
    bed.eventually("the source answers", async || {
        let answer = bed.run::<MetricsRange>(memory()).await;
        answer.is_ok_and(|answer| {
            let lines = answer.lines.iter();
            lines
                .flat_map(|line| &line.labels)
                .any(|(label, value)| label == "server" && value == "echo")
        })
    })
    .await;
    let charts = MetricQuery {
        metrics: vec![Metric::RssBytes, Metric::Health],
        server: Some(id("echo")),
        from: Some(crate::kept::now() - 7_200_000),
        to: None,
        step: None,
        sum: Sum::None,
        spread: true,
    };
    let answer = bed.run::<MetricsQuery>(charts).await.expect("an answer");
    let memory = answer.series.iter().find(|s| s.metric == Metric::RssBytes);
    let memory = memory.expect("Prometheus has it");
    assert_eq!(memory.instance, Some(1));
    assert!(
        memory.values.iter().flatten().any(|bytes| *bytes > 1e6),
        "{memory:?}"
    );
    let (least, most) = (memory.low.iter(), memory.high.iter());
    let bounds = least.zip(most).map(|bounds| bounds.0.zip(*bounds.1));
    for (mean, bounds) in memory.values.iter().zip(bounds) {
        assert_eq!(mean.is_some(), bounds.is_some(), "{memory:?}");
        let around = |mean: f32, (least, most)| least <= mean && mean <= most;
        assert!(
            mean.zip(bounds).is_none_or(|(m, b)| around(m, b)),
            "{memory:?}"
        );
    }
    assert_eq!(memory.high.len(), memory.values.len());
    assert!(
        answer.series.iter().any(|s| s.metric == Metric::Health),
        "the store has it"
    );
    let page = bed
        .run::<MetricsSeries>(SeriesQuery {
            metric: Some("up".into()),
            ..SeriesQuery::default()
        })
        .await
        .expect("an answer");
    assert_eq!(page.total, 1);
    // What the engine alone knows is listed beside it, and found.
    let names = bed.run::<MetricsNames>(Default::default()).await;
    let names: Vec<String> = names
        .expect("names")
        .into_iter()
        .map(|it| it.name)
        .collect();
    for name in [
        "flotilla_rss_bytes",
        "up",
        "mcp_instance_resident_memory_bytes",
    ] {
        assert_eq!(names.iter().filter(|it| *it == name).count(), 1, "{name}");
    }
    let own = SeriesQuery {
        metric: Some("flotilla_rss_bytes".into()),
        ..SeriesQuery::default()
    };
    let page = bed.run::<MetricsSeries>(own).await.expect("an answer");
    assert_eq!(page.total, 1);

    drop(prometheus);
    let refused = bed.run::<MetricsRange>(RangeQuery {
        labels: Vec::new(),
        ..crate::kept::latest("up", "", crate::kept::now())
    });
    let refused = refused.await.expect_err("it is gone");
    assert_eq!(refused.code, ErrorCode::Unreachable);
    assert!(refused.message.contains(&base), "{}", refused.message);
}
