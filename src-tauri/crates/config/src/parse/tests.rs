use super::*;
use flotilla_contract::{
    ServerSpec,
    spec::{Check, DependencyCondition, RestartWhen, Transport, Value},
};
use proptest::prelude::*;

/// Every finding as `LINE:COLUMN KEY: MESSAGE`.
fn findings(text: &str) -> Vec<String> {
    let list = parse(text).err().unwrap_or_default();
    list.iter()
        .map(|f| format!("{}:{} {}: {}", f.line, f.column, f.key, f.message))
        .collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(findings(text), expected, "{text}");
}

/// Findings of a server `a` whose table holds these lines, the first of them on line 2.
#[track_caller]
fn check_server(lines: &str, expected: &[&str]) {
    check(&format!("[servers.a]\n{lines}\n"), expected);
}

fn only(text: &str) -> ServerSpec {
    parse(text).unwrap().servers.pop().unwrap()
}

#[test]
fn an_empty_file_is_a_fleet_without_servers() {
    assert_eq!(parse("").unwrap(), Fleet::default());
    assert_eq!(
        parse("# nothing yet\n[servers]\n").unwrap(),
        Fleet::default()
    );
}

#[test]
fn everything_at_once() {
    let fleet = parse(
        r#"
profile = "development"
panel = { port = 3100 }
[sampling]
interval = "500ms"
[defaults]
stop_timeout = "10s"
restart = { max_restarts = "unlimited", delays = ["100ms"] }
health.timeout = "1s"
[servers.web]
command = "node"
args = ["server.js", "--port", "{port}", ""]
port = 8100
path = "/rpc"
replicas = 2
cwd = "${HOME}/web"
headers = { X-Key = { secret = "web/key" }, X-Plain = "a ${secret:b}" }
restart = { policy = "always", max_restarts = 5, jitter = 0.5, reset_after = "1m30s", success_exit_codes = [0, 3], on_unhealthy = true }
health = { check = { http = "/health" }, interval = "5s" }
limits = { rss = "512MiB", children = 8 }
metrics_path = "/metrics"
category = "docs"
tags = ["x", "y"]
depends_on = ["db", { server = "old", condition = "started" }]
[servers.web.env]
TOKEN = { secret = "t" }
[servers.db]
url = "https://db.example/mcp"
disabled = true
autostart = false
[servers.old]
transport = "sse"
url = "http://old.example/sse"
"#,
    )
    .unwrap();
    assert_eq!(
        (
            fleet.profile,
            fleet.panel_port,
            fleet.sample_interval.as_millis()
        ),
        (Profile::Development, Some(3100), 500)
    );
    assert_eq!(
        fleet
            .servers
            .iter()
            .map(|s| s.id.as_str())
            .collect::<Vec<_>>(),
        ["web", "db", "old"]
    );
    let web = &fleet.servers[0];
    let Transport::Http {
        launch,
        port,
        path,
        headers,
    } = &web.transport
    else {
        panic!("{web:?}")
    };
    assert_eq!(
        (
            *port,
            path.as_str(),
            launch.args.len(),
            launch.cwd.as_deref()
        ),
        (8100, "/rpc", 4, Some("${HOME}/web"))
    );
    assert_eq!(
        headers["X-Key"],
        Value::Secret {
            name: "web/key".into()
        }
    );
    let restart = &web.restart;
    assert_eq!(
        (restart.policy, restart.max_restarts, restart.reset_after_ms),
        (RestartWhen::Always, Some(5), 90_000)
    );
    assert_eq!(
        restart.delays_ms,
        [100],
        "inherited from [defaults], key by key"
    );
    let health = &web.health;
    assert_eq!(
        (
            health.interval_ms,
            health.timeout_ms,
            health.retry_interval_ms
        ),
        (5_000, 1_000, 5_000)
    );
    assert_eq!(
        health.check,
        Check::Http {
            url: "/health".into()
        }
    );
    assert_eq!(
        (web.limits.rss_bytes, web.stop_timeout_ms),
        (Some(512 << 20), 10_000)
    );
    assert_eq!(web.depends_on[1].condition, DependencyCondition::Started);
    assert_eq!(
        (
            fleet.servers[1].health.interval_ms,
            fleet.servers[1].autostart
        ),
        (10_000, false)
    );
    assert_eq!(
        fleet.servers[1].disabled.as_deref(),
        Some("disabled in fleet.toml")
    );
    assert!(
        fleet.servers[2]
            .disabled
            .as_deref()
            .unwrap()
            .contains("HTTP+SSE")
    );
    let used: Vec<String> = fleet.secrets().into_keys().collect();
    assert_eq!(used, ["b", "t", "web/key"]);
}

#[test]
fn defaults_without_a_word() {
    let spec = only("[servers.a]\ncommand = \"x\"");
    assert_eq!(spec.category, "general");
    assert_eq!(
        (
            spec.replicas,
            spec.autostart,
            spec.stop_timeout_ms,
            spec.disabled
        ),
        (1, true, 5_000, None)
    );
    assert_eq!(spec.health, flotilla_contract::spec::HealthCheck::default());
    assert_eq!(
        spec.restart,
        flotilla_contract::spec::RestartPolicy::default()
    );
    assert_eq!(
        only("[servers.a]\ncommand = \"x\"\ndisabled = \"too slow\"")
            .disabled
            .as_deref(),
        Some("too slow")
    );
    assert_eq!(
        only("profile = \"test\"\n[servers.a]\ncommand = \"x\"")
            .health
            .interval_ms,
        1_000
    );
}

#[test]
fn all_errors_at_once_each_at_its_place() {
    check(
        "profil = \"test\"\n[servers.fetch]\ncommand = \"uvx\"\nreplica = 2\nstop_timeout = 5\n[servers.\"a b\"]\nurl = \"ftp://x\"\n",
        &[
            "1:1 profil: unknown key \"profil\"; did you mean profile?",
            "4:1 servers.fetch.replica: unknown key \"replica\"; did you mean replicas?",
            "5:16 servers.fetch.stop_timeout: found the number 5; accepted is a duration in quotes, such as \"500ms\", \"5s\" or \"1m30s\"",
            "6:10 servers.\"a b\": \"a b\" is not a name; accepted are 1 to 64 characters of A-Z a-z 0-9 _ . -, the first a letter or a digit",
            "7:7 servers.\"a b\".url: found \"ftp://x\"; accepted is an http:// or https:// URL",
        ],
    );
}

#[test]
fn text_that_is_not_toml() {
    check(
        "[servers.a]\ncommand = \n",
        &["2:11 : not TOML: string values must be quoted, expected literal string"],
    );
    check(
        "[servers.a]\ncommand = \"x\"\n[servers.a]\n",
        &["3:10 : not TOML: duplicate key"],
    );
    check("a = 1\na = 2", &["2:1 : not TOML: duplicate key"]);
}

#[test]
fn columns_count_characters() {
    check(
        "[servers.a]\ncommand = \"x\"\nenv = { \"ü\" = \"ö\", B = 2 }\n",
        &[
            "3:24 servers.a.env.B: found the number 2; accepted is a text in quotes, or { secret = \"name\" }",
        ],
    );
}

#[test]
fn transports() {
    check_server(
        "",
        &["1:10 servers.a: neither command nor url is given; accepted is one of them"],
    );
    check_server(
        "command = \"x\"\nurl = \"http://x\"",
        &["3:7 servers.a.url: both command and url are given; accepted is one of them"],
    );
    check_server(
        "command = \"x\"\ntransport = \"http\"",
        &["3:13 servers.a.transport: \"http\" with a command needs a port"],
    );
    check_server(
        "command = \"x\"\ntransport = \"htp\"",
        &[
            "3:13 servers.a.transport: found \"htp\"; accepted is \"stdio\" or \"http\" or \"sse\"; did you mean \"http\"?",
        ],
    );
    check_server(
        "command = \"x\"\nport = 1\ntransport = \"stdio\"",
        &["3:8 servers.a.port: a port has no effect with transport \"stdio\""],
    );
    check_server(
        "command = \"\"",
        &["2:11 servers.a.command: found \"\"; accepted is a text that is not empty"],
    );
    check_server(
        "command = \"x\"\nport = 70000",
        &["3:8 servers.a.port: found the number 70000; accepted is a whole number from 1 to 65535"],
    );
    check_server(
        "command = \"x\"\nheaders = { a = \"b\" }",
        &[
            "3:11 servers.a.headers: headers has no effect on a server that speaks over its standard streams; remove it",
        ],
    );
    check_server(
        "url = \"http://x/mcp\"\nreplicas = 3\nargs = []\n[servers.a.restart]\npolicy = \"never\"",
        &[
            "3:12 servers.a.replicas: found the number 3; accepted is 1: a server that somebody else starts is one instance",
            "4:8 servers.a.args: args has no effect on a server that somebody else starts; remove it",
            "5:12 servers.a.restart: restart has no effect on a server that somebody else starts; remove it",
        ],
    );
    check_server(
        "url = \"https://${HOST:-x}:${PORT}/mcp?k=${secret:k}\"",
        &[],
    );
    check_server("url = \"${URL}\"", &[]);
}

#[test]
fn values_and_ranges() {
    check_server(
        "command = \"x\"\nreplicas = 65",
        &["3:12 servers.a.replicas: found the number 65; accepted is a whole number from 0 to 64"],
    );
    check_server(
        "command = \"x\"\nautostart = \"yes\"",
        &["3:13 servers.a.autostart: found \"yes\"; accepted is true or false"],
    );
    check_server(
        "command = \"x\"\ntags = \"a\"",
        &["3:8 servers.a.tags: found \"a\"; accepted is a list in brackets"],
    );
    check_server(
        "command = \"x\"\ntags = [\"a\", 1]",
        &["3:14 servers.a.tags[1]: found the number 1; accepted is a text in quotes"],
    );
    check_server(
        "command = \"x\"\nlimits = { rss = \"512MB\" }",
        &[
            "3:18 servers.a.limits.rss: found \"512MB\"; accepted is a size with KiB, MiB or GiB, such as \"512MiB\", from \"1MiB\"",
        ],
    );
    check_server(
        "command = \"x\"\nrestart = { jitter = 2, delays = [], max_restarts = \"none\" }",
        &[
            "3:22 servers.a.restart.jitter: found the number 2; accepted is a number from 0 to 1",
            "3:34 servers.a.restart.delays: found 0 delays; accepted are 1 to 16",
            "3:53 servers.a.restart.max_restarts: found \"none\"; accepted is a whole number from 0 to 1000000, or \"unlimited\"",
        ],
    );
    check_server(
        "command = \"x\"\nhealth.interval = \"1ms\"",
        &[
            "3:19 servers.a.health.interval: found \"1ms\"; accepted is a duration from \"100ms\" to \"24h\"",
        ],
    );
    check_server(
        "command = \"x\"\nhealth = { check = { http = \"/h\" } }",
        &[
            "3:10 servers.a.health: this check needs the instance's port, and the server has none; give a whole address",
        ],
    );
    check_server(
        "command = \"x\"\nport = 1\nhealth = { check = { http = \"/h\", tcp = \"x:1\" } }",
        &[
            "4:20 servers.a.health.check: found a table; accepted is exactly one check: \"mcp\", \"none\", { http = \"/health\" }, { tcp = \"127.0.0.1:{port}\" } or { exec = [\"program\"] }",
        ],
    );
    check_server(
        "command = \"x\"\nenv = { A = \"${B\", C = { secret = \"a b\" }, D = { secrets = \"x\" } }",
        &[
            "3:13 servers.a.env.A: \"${B\" is not a variable; accepted are ${NAME}, ${NAME:-default} and ${secret:NAME}, and $${ for a plain ${",
            "3:35 servers.a.env.C.secret: found \"a b\"; accepted is a secret's name: 1 to 128 characters of A-Z a-z 0-9 _ . - /",
            "3:48 servers.a.env.D: found a table; accepted is a text in quotes, or { secret = \"name\" }",
            "3:50 servers.a.env.D.secrets: unknown key \"secrets\"; did you mean secret?",
        ],
    );
}

#[test]
fn dependencies() {
    let fleet = |lines: &str| -> String {
        lines
            .lines()
            .map(|line| {
                let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
                format!(
                    "[servers.{name}]\ncommand = \"x\"\n{}\n",
                    if rest.is_empty() {
                        "#".into()
                    } else {
                        format!("depends_on = [{rest}]")
                    }
                )
            })
            .collect()
    };
    check(&fleet("a \"b\"\nb"), &[]);
    check(
        &fleet("fetch\nb \"fecth\""),
        &["6:15 servers.b.depends_on[0]: there is no server fecth; did you mean fetch?"],
    );
    check(
        &fleet("a \"b\", \"b\"\nb"),
        &["3:20 servers.a.depends_on[1]: b is listed twice"],
    );
    check(
        &fleet("a \"a\""),
        &["3:14 servers.a.depends_on: servers wait for each other: a → a"],
    );
    check(
        &fleet("z \"a\"\na \"b\"\nb \"c\"\nc \"a\""),
        &["6:14 servers.a.depends_on: servers wait for each other: a → b → c → a"],
    );
    check(
        "[servers.a]\ncommand = \"x\"\ndepends_on = [{ server = \"b\", condition = \"healthy\" }]\n[servers.b]\ncommand = \"x\"\nhealth.check = \"none\"",
        &[
            "3:15 servers.a.depends_on[0]: b can never become healthy, because its check is \"none\"; accepted is condition \"started\"",
        ],
    );
}

#[test]
fn a_long_chain_of_dependencies_is_no_cycle() {
    let text: String = (0..900)
        .map(|n| {
            format!(
                "[servers.s{n}]\ncommand = \"x\"\ndepends_on = [\"s{}\"]\n",
                n + 1
            )
        })
        .collect();
    check(&format!("{text}[servers.s900]\ncommand = \"x\""), &[]);
}

#[test]
fn ports() {
    let fleet = "[servers.a]\ncommand = \"x\"\nport = 3100\nreplicas = 3\n[servers.b]\ncommand = \"x\"\nport = 3300\n";
    check(
        fleet,
        &["7:8 servers.b.port: port 3300 of b#1 is also the port of a#3"],
    );
    check(&format!("{fleet}disabled = true"), &[]);
    check(
        &format!("panel.port = 3200\n{fleet}disabled = true"),
        &["4:8 servers.a.port: port 3200 of a#2 is also the port of the panel"],
    );
    check_server(
        "command = \"x\"\nport = 65000\nreplicas = 10",
        &[
            "4:12 servers.a.replicas: instance 7 would listen on port 65600 (port + 100·(n−1)); the highest is 65535",
        ],
    );
}

#[test]
fn odd_shapes_are_findings_too() {
    check(
        "servers = 3",
        &["1:11 servers: found the number 3; accepted is a table"],
    );
    check(
        "[[servers]]\na = 1",
        &["1:3 servers: found an array of tables; accepted is a table"],
    );
    check(
        "servers.a = \"x\"",
        &["1:9 servers.a: found \"x\"; accepted is a table"],
    );
    check(
        "[defaults]\ncommand = \"x\"",
        &[
            "2:1 defaults.command: unknown key \"command\"; accepted are autostart, restart, stop_timeout, health, limits",
        ],
    );
}

#[test]
fn the_published_schema_is_fresh() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../docs/fleet.schema.json"
    );
    let fresh = format!(
        "{}\n",
        serde_json::to_string_pretty(&crate::file::schema()).unwrap()
    );
    if std::env::var_os("FLOTILLA_GEN").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        fresh,
        "run this test with FLOTILLA_GEN=1 to write it anew"
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_toml_never_panics_and_findings_stand_in_the_text(
        lines in prop::collection::vec((
            prop::sample::select(keys::SERVER),
            prop::sample::select(&["1", "-1", "0.5", "true", "\"x\"", "\"5s\"", "[]", "[1, \"a\"]", "{}", "{ secret = \"é\" }", "[[1]]", "1979-05-27"][..]),
        ), 0..12),
    ) {
        let text: String = std::iter::once("[servers.a]\n".to_owned()).chain(lines.iter().map(|(key, value)| format!("{key} = {value}\n"))).collect();
        if let Err(list) = parse(&text) {
            prop_assert!(!list.is_empty());
            for finding in list {
                let line = text.lines().nth(finding.line as usize - 1);
                prop_assert!(line.is_some_and(|line| line.chars().count() + 1 >= finding.column as usize), "{finding:?}");
            }
        }
    }
}

#[test]
fn the_example_of_the_docs_is_valid_and_every_key_is_documented() {
    let docs = include_str!("../../../../../docs/configuration.md");
    let example = docs
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    check(example, &[]);
    for key in [keys::SERVER, keys::RESTART, keys::HEALTH, keys::LIMITS].concat() {
        assert!(
            docs.contains(&format!("`{key}`")),
            "{key} is not in docs/configuration.md"
        );
    }
}
