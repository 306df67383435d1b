use super::*;
use flotilla_contract::{
    ServerSpec,
    gateway::{
        Backoff, Balance, Bucket, Exposure, FailureClass, GatewaySpec, NamePolicy, PoolSpec,
        RetryPreset, Sharing, ToolSpec, Window,
    },
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
[workflows]
http_hosts = ["*", "localhost:3000"]
writable = ["/srv/site"]
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
    let hosts: Vec<_> = fleet.http_hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["*", "localhost:3000"]);
    assert_eq!(fleet.writable, [std::path::Path::new("/srv/site")]);
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
fn a_server_on_demand_can_be_woken_and_nobody_needs_it_awake() {
    let idle = |lines: &str| {
        only(&format!("[servers.a]\ncommand = \"x\"\n{lines}"))
            .on_demand
            .map(|it| it.idle_stop_ms)
    };
    assert_eq!(idle(""), None);
    assert_eq!(idle("on_demand = false"), None);
    assert_eq!(idle("on_demand = true"), Some(600_000));
    assert_eq!(idle("on_demand = true\nidle_stop = \"90s\""), Some(90_000));
    check_server(
        "command = \"x\"\nidle_stop = \"1m\"",
        &["3:13 servers.a.idle_stop: idle_stop has no effect without on_demand = true"],
    );
    check_server(
        "command = \"x\"\non_demand = 1\nidle_stop = \"10ms\"",
        &[
            "3:13 servers.a.on_demand: found the number 1; accepted is true or false",
            "4:13 servers.a.idle_stop: idle_stop has no effect without on_demand = true",
        ],
    );
    check_server(
        "url = \"http://x/mcp\"\non_demand = true",
        &[
            "3:13 servers.a.on_demand: on_demand has no effect on a server that somebody else starts; remove it",
        ],
    );
    check_server(
        "command = \"x\"\non_demand = true\ngateway = { expose = false }",
        &[
            "3:13 servers.a.on_demand: on_demand needs the gateway, whose calls start the server, and gateway.expose is false",
        ],
    );
    check(
        "[servers.a]\ncommand = \"x\"\ndepends_on = [\"b\"]\n[servers.b]\ncommand = \"x\"\non_demand = true",
        &[
            "3:15 servers.a.depends_on[0]: b sleeps while no client calls it (on_demand), so nothing can depend on it",
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
fn the_gateway_with_everything() {
    let fleet = parse(
        r#"
profile = "test"
[gateway]
enabled = false
port = 8720
names = "priority"
priority = ["memory", "fetch"]
tool_rate = { burst = 50 }
client_rate = { requests = 1000, span = "10s" }
cache = { entries = 10, bytes = "2MiB", ttl = "2h" }
calls = { ring = 100 }
[gateway.groups.research]
servers = ["fetch", "memory"]
[gateway.groups]
x-1 = { servers = ["fetch"] }
[defaults.gateway]
queue = 7
retry = { attempts = 9 }
breaker = "off"
[servers.memory]
command = "m"
gateway.expose = false
[servers.fetch]
url = "http://127.0.0.1:9/mcp"
[servers.fetch.gateway]
sharing = "per_client"
max_clients = 4
client_idle = "1m"
balance = "weighted_round_robin"
weights = [3, 0]
max_in_flight = 5
pool = { min = 2, max = 4, idle = "1m", age = "2h", connect_timeout = "3s" }
queue_timeout = "1s"
timeout = "30s"
total_timeout = "90s"
retry = { preset = "throttle", base = "1s", step = "500ms", attempts = 4, jitter = 0.2, on = ["throttled", "network"], budget = 1 }
breaker = { failures = 2, successes = 1, open = "5s", half_open = 1 }
[servers.fetch.gateway.tools.get_page]
cache = "10m"
idempotent = true
name = "get"
hidden = false
description = "Gets a page"
retry = "network"
[servers.fetch.gateway.tools]
"odd tool" = { cache = true, hidden = true }
plain = { cache = false }
"#,
    )
    .unwrap();
    let gateway = &fleet.gateway;
    assert_eq!(
        (gateway.enabled, gateway.port, gateway.names),
        (false, Some(8720), NamePolicy::Priority)
    );
    assert_eq!(gateway.priority[0].as_str(), "memory");
    assert_eq!(
        (gateway.tool_rate, gateway.client_rate),
        (
            Some(Bucket {
                burst: 50,
                per_second: 10.0
            }),
            Some(Window {
                requests: 1_000,
                span_ms: 10_000
            })
        )
    );
    assert_eq!(
        (
            gateway.cache.entries,
            gateway.cache.bytes,
            gateway.cache.ttl_ms
        ),
        (10, 2 << 20, 7_200_000)
    );
    assert_eq!(gateway.calls.ring, 100);
    let groups: Vec<(&str, usize)> = gateway
        .groups
        .iter()
        .map(|group| (group.name.as_str(), group.servers.len()))
        .collect();
    assert_eq!(groups, [("research", 2), ("x-1", 1)]);
    let memory = &fleet.servers[0].gateway;
    assert_eq!(
        (memory.expose, memory.queue, memory.breaker.enabled),
        (false, 7, false)
    );
    assert_eq!(
        (memory.retry.attempts, memory.retry.base_ms),
        (9, 100),
        "on top of the policy of the profile"
    );
    let fetch = &fleet.servers[1].gateway;
    assert_eq!(
        (fetch.sharing, fetch.max_clients, fetch.client_idle_ms),
        (Sharing::PerClient, 4, 60_000)
    );
    assert_eq!(
        (fetch.balance, fetch.weights.as_slice()),
        (Balance::WeightedRoundRobin, [3, 0].as_slice())
    );
    assert_eq!(
        (
            fetch.max_in_flight,
            fetch.queue,
            fetch.queue_timeout_ms,
            fetch.timeout_ms,
            fetch.total_timeout_ms
        ),
        (5, 7, 1_000, 30_000, 90_000)
    );
    assert_eq!(
        fetch.pool,
        PoolSpec {
            min: 2,
            max: 4,
            idle_ms: 60_000,
            age_ms: 7_200_000,
            connect_timeout_ms: 3_000,
        }
    );
    let retry = &fetch.retry;
    assert_eq!(
        (
            retry.strategy,
            retry.base_ms,
            retry.max_ms,
            retry.step_ms,
            retry.attempts
        ),
        (Backoff::Linear, 1_000, 30_000, 500, 4)
    );
    assert_eq!(retry.on, [FailureClass::Throttled, FailureClass::Network]);
    assert_eq!(
        (fetch.breaker.enabled, fetch.breaker.open_ms),
        (true, 5_000),
        "a table switches it on again"
    );
    assert_eq!(
        fetch.tools["get_page"],
        ToolSpec {
            name: Some("get".into()),
            description: Some("Gets a page".into()),
            hidden: false,
            idempotent: Some(true),
            retry: Some(RetryPreset::Network.spec()),
            cache_ttl_ms: Some(600_000),
        }
    );
    assert_eq!(
        fetch.tools["odd tool"],
        ToolSpec {
            hidden: true,
            cache_ttl_ms: Some(7_200_000),
            ..ToolSpec::default()
        }
    );
    assert_eq!(fetch.tools["plain"], ToolSpec::default());
}

#[test]
fn the_profile_sets_what_holds_at_the_gateway() {
    let of = |profile: &str| {
        let mut fleet = parse(&format!(
            "{profile}\n[servers.a]\nurl = \"http://a/mcp\"\n[servers.b]\ncommand = \"b\""
        ))
        .unwrap();
        let pipes = fleet.servers.pop().unwrap().gateway;
        (fleet.gateway, fleet.servers.pop().unwrap().gateway, pipes)
    };
    {
        let (gateway, http, _) = of("profile = \"production\"");
        assert_eq!(
            (gateway.tool_rate, gateway.client_rate),
            (
                Some(Bucket {
                    burst: 100,
                    per_second: 10.0
                }),
                Some(Window {
                    requests: 100,
                    span_ms: 60_000
                })
            )
        );
        assert_eq!(http.retry, RetryPreset::Standard.spec());
        assert_eq!((http.pool.min, http.pool.max), (5, 50));
    }
    // Unless it is named, none limits rates.
    for (profile, max) in [
        ("", 50),
        ("profile = \"development\"", 5),
        ("profile = \"test\"", 2),
    ] {
        let (gateway, http, _) = of(profile);
        assert_eq!(gateway, GatewaySpec::default());
        let mut expected = Exposure::default();
        (expected.pool.min, expected.pool.max) = (1, max);
        assert_eq!(http, expected, "{profile}");
    }
    let off =
        parse("profile = \"production\"\ngateway = { tool_rate = \"off\", client_rate = \"off\" }")
            .unwrap();
    assert_eq!(off.gateway, GatewaySpec::default());
}

#[test]
fn what_is_wrong_with_the_gateway() {
    check(
        "[gateway]\nprot = 1\nport = 70000\nnames = \"prefx\"\npriority = [\"a\"]\ntool_rate = \"of\"\nclient_rate = { request = 1, span = \"1ms\" }\ncache = { entries = 0, bytes = \"1KiB\", ttl = \"0s\" }\ncalls = { ring = -1 }\n[servers.a]\ncommand = \"a\"\n",
        &[
            "2:1 gateway.prot: unknown key \"prot\"; did you mean port?",
            "3:8 gateway.port: found the number 70000; accepted is a whole number from 0 to 65535",
            "4:9 gateway.names: found \"prefx\"; accepted is \"prefix\" or \"priority\" or \"manual\"; did you mean \"prefix\"?",
            "5:12 gateway.priority: priority has no effect unless names is \"priority\"; set that, or remove it",
            "6:13 gateway.tool_rate: found \"of\"; accepted is a table such as { burst = 100, per_second = 10 }, or \"off\"",
            "7:17 gateway.client_rate.request: unknown key \"request\"; did you mean requests?",
            "7:37 gateway.client_rate.span: found \"1ms\"; accepted is a duration from \"100ms\" to \"24h\"",
            "8:21 gateway.cache.entries: found the number 0; accepted is a whole number from 1 to 10000000",
            "8:32 gateway.cache.bytes: found \"1KiB\"; accepted is a size with KiB, MiB or GiB, such as \"512MiB\", from \"1MiB\"",
            "8:46 gateway.cache.ttl: found \"0s\"; accepted is a duration from \"1ms\" to \"720h\"",
            "9:18 gateway.calls.ring: found the number -1; accepted is a whole number from 0 to 100000",
        ],
    );
    check(
        "[gateway]\nnames = \"priority\"\npriority = [\"fecth\", \"fetch\", \"fetch\", \"a b\", 1]\n[gateway.groups]\nBig = { servers = [\"zzz\"] }\nempty = { servers = [] }\nnone = {}\nodd = 3\n[servers.fetch]\ncommand = \"a\"\n",
        &[
            "3:13 gateway.priority[0]: there is no server fecth; did you mean fetch?",
            "3:31 gateway.priority[2]: fetch is listed twice",
            "3:40 gateway.priority[3]: \"a b\" is not a name; accepted are 1 to 64 characters of A-Z a-z 0-9 _ . -, the first a letter or a digit",
            "3:40 gateway.priority[3]: there is no server a b",
            "3:47 gateway.priority[4]: found the number 1; accepted is a text in quotes",
            "5:1 gateway.groups.Big: \"Big\" is not the name of a group; accepted are 1 to 64 characters of a-z 0-9 -",
            "5:20 gateway.groups.Big.servers[0]: there is no server zzz",
            "6:21 gateway.groups.empty.servers: found an empty list; accepted is a list of at least one server",
            "7:1 gateway.groups.none: servers are not given; accepted is a list of at least one",
            "8:1 gateway.groups.odd: found the number 3; accepted is a table",
        ],
    );
    check(
        "gateway.port = 3000\npanel.port = 3000\n[servers.a]\ncommand = \"x\"\nport = 3000\n",
        &[
            "1:16 gateway.port: port 3000 is also the port of the panel",
            "5:8 servers.a.port: port 3000 of a#1 is also the port of the gateway",
        ],
    );
    check(
        "dashboard.port = 9000\nstream = { port = 9000, enable = false }\ndashboard.interval = \"10ms\"\n",
        &[
            "2:19 stream.port: port 9000 is also the port of the dashboard",
            "2:25 stream.enable: unknown key \"enable\"; did you mean enabled?",
            "3:22 dashboard.interval: found \"10ms\"; accepted is a duration from \"100ms\" to \"1h\"",
        ],
    );
    check("gateway.port = 0\npanel.port = 0\ngateway.groups = {}", &[]);
    check(
        "[defaults.gateway]\nquue = 1\ntools.x.hidden = true\n",
        &[
            "2:1 defaults.gateway.quue: unknown key \"quue\"; did you mean queue?",
            "3:1 defaults.gateway.tools: tools belong to a server; move them to [servers.NAME.gateway.tools]",
        ],
    );
}

#[test]
fn what_is_wrong_with_a_server_at_the_gateway() {
    let at = |lines: &str, expected: &[&str]| {
        check(
            &format!("[servers.a]\nurl = \"http://[::1]/mcp\"\n[servers.a.gateway]\n{lines}\n"),
            expected,
        );
    };
    at(
        "exposed = true\nbalance = \"round-robin\"\nmax_in_flight = 0\nqueue_timeout = \"1h\"\ntimeout = 60",
        &[
            "4:1 servers.a.gateway.exposed: unknown key \"exposed\"; did you mean expose?",
            "5:11 servers.a.gateway.balance: found \"round-robin\"; accepted is \"p2c\" or \"round_robin\" or \"least_connections\" or \"weighted_round_robin\" or \"random\" or \"health_based\" or \"response_time_based\"; did you mean \"round_robin\"?",
            "6:17 servers.a.gateway.max_in_flight: found the number 0; accepted is a whole number from 1 to 100000",
            "7:17 servers.a.gateway.queue_timeout: found \"1h\"; accepted is a duration from \"0s\" to \"10m\"",
            "8:11 servers.a.gateway.timeout: found the number 60; accepted is a duration in quotes, such as \"500ms\", \"5s\" or \"1m30s\"",
        ],
    );
    at(
        "timeout = \"10m\"",
        &[
            "4:11 servers.a.gateway.timeout: timeout 10m is above total_timeout 5m; accepted is timeout up to total_timeout",
        ],
    );
    at(
        "max_clients = 3\nclient_idle = \"5s\"\nweights = [1]",
        &[
            "4:15 servers.a.gateway.max_clients: max_clients has no effect unless sharing is \"per_client\"; remove it",
            "5:15 servers.a.gateway.client_idle: client_idle has no effect unless sharing is \"per_client\"; remove it",
            "6:11 servers.a.gateway.weights: weights has no effect unless balance is \"weighted_round_robin\"; remove it",
        ],
    );
    at(
        "balance = \"weighted_round_robin\"\nweights = [0, 0]",
        &[
            "5:11 servers.a.gateway.weights: found a list; accepted is weights of which one is above 0",
        ],
    );
    at(
        "breaker = { failures = 0, open = \"1ms\" }",
        &[
            "4:24 servers.a.gateway.breaker.failures: found the number 0; accepted is a whole number from 1 to 1000",
            "4:34 servers.a.gateway.breaker.open: found \"1ms\"; accepted is a duration from \"10ms\" to \"24h\"",
        ],
    );
    at(
        "pool = { min = 4, max = 2, age = \"8d\" }",
        &[
            "4:16 servers.a.gateway.pool.min: min 4 is above max 2; accepted is min up to max",
            "4:34 servers.a.gateway.pool.age: found \"8d\"; accepted is a duration from \"1s\" to \"168h\"",
        ],
    );
    at(
        "breaker = true",
        &[
            "4:11 servers.a.gateway.breaker: found true; accepted is a table such as { failures = 5, open = \"30s\" }, or \"off\"",
        ],
    );
    at(
        "retry = { base = \"10s\", max = \"1s\", multiplier = 0.5, attempts = 21, jitter = 1.5, on = [\"auth\"], budget = -1 }",
        &[
            "4:18 servers.a.gateway.retry.base: base 10s is above max 1s; accepted is base up to max",
            "4:50 servers.a.gateway.retry.multiplier: found the number 0.5; accepted is a number from 1 to 10",
            "4:66 servers.a.gateway.retry.attempts: found the number 21; accepted is a whole number from 1 to 20",
            "4:79 servers.a.gateway.retry.jitter: found the number 1.5; accepted is a number from 0 to 1",
            "4:90 servers.a.gateway.retry.on[0]: found \"auth\"; accepted is \"retryable\" or \"network\" or \"timeout\" or \"throttled\"",
            "4:108 servers.a.gateway.retry.budget: found the number -1; accepted is a number from 0 to 10",
        ],
    );
    at(
        "retry = \"fast\"",
        &[
            "4:9 servers.a.gateway.retry: found \"fast\"; accepted is \"quick\" or \"standard\" or \"network\" or \"throttle\" or \"none\"",
        ],
    );
    at(
        "retry = 3",
        &[
            "4:9 servers.a.gateway.retry: found the number 3; accepted is \"quick\", \"standard\", \"network\", \"throttle\", \"none\", or a table such as { preset = \"quick\", attempts = 4 }",
        ],
    );
    at(
        "retry = { strategy = \"linear\", multiplier = 3 }\ntools.x.retry = { preset = \"quick\", step = \"1s\" }",
        &[
            "4:45 servers.a.gateway.retry.multiplier: multiplier has no effect on linear waits; remove it",
            "5:44 servers.a.gateway.tools.x.retry.step: step has no effect on waits that are not linear; remove it",
        ],
    );
    at(
        "[servers.a.gateway.tools]\nx = { name = \"a b\", cach = true }\ny = { name = \"n\", cache = 5 }\nz = { name = \"n\" }\nw = 1",
        &[
            "5:14 servers.a.gateway.tools.x.name: found \"a b\"; accepted is 1 to 64 characters of A-Z a-z 0-9 _ . -",
            "5:21 servers.a.gateway.tools.x.cach: unknown key \"cach\"; did you mean cache?",
            "6:27 servers.a.gateway.tools.y.cache: found the number 5; accepted is a duration in quotes, such as \"10m\", or true or false",
            "7:14 servers.a.gateway.tools.z.name: n is also the name of y",
            "8:1 servers.a.gateway.tools.w: found the number 1; accepted is a table",
        ],
    );
    check_server(
        "command = \"x\"\ngateway = { sharing = \"per_client\", max_clients = 3, pool = { min = 1 } }",
        &[
            "3:61 servers.a.gateway.pool: pool has no effect unless the server speaks plain HTTP on this machine; remove it",
        ],
    );
    for (url, amiss) in [
        ("http://example.com/mcp", true),
        ("http://localhost.example.com/mcp", true),
        ("https://localhost/mcp", true),
        ("http://localhost/mcp", false),
        ("http://LOCALHOST:8080", false),
        ("http://127.1.2.3:80/mcp", false),
        ("http://${HOST}/mcp", false),
    ] {
        let found = parse(&format!(
            "[servers.a]\nurl = \"{url}\"\ngateway.pool.max = 3\n"
        ));
        assert_eq!(found.is_err(), amiss, "{url}");
    }
    check_server(
        "url = \"http://x/sse\"\ntransport = \"sse\"\ngateway.expose = false",
        &[
            "4:1 servers.a.gateway: gateway has no effect on a server of the old HTTP+SSE transport, which is kept disabled; remove it",
        ],
    );
    check_server(
        "command = \"x\"\ngateway = 1",
        &["3:11 servers.a.gateway: found the number 1; accepted is a table"],
    );
}

#[test]
fn a_bound_that_is_only_inherited_follows() {
    let fleet = parse(
        "profile = \"production\"\n[defaults.gateway]\nsharing = \"per_client\"\nmax_clients = 3\n[servers.a]\nurl = \"http://localhost/mcp\"\n[servers.a.gateway]\ntotal_timeout = \"20s\"\npool.max = 2\nretry.max = \"500ms\"\n[servers.b]\ncommand = \"b\"",
    )
    .unwrap();
    let a = &fleet.servers[0].gateway;
    assert_eq!(
        (a.timeout_ms, a.pool.min, a.retry.base_ms),
        (20_000, 2, 500)
    );
    assert_eq!(
        (a.sharing, fleet.servers[1].gateway.sharing),
        (Sharing::PerClient, Sharing::PerClient),
        "processes of their own, where it speaks over standard streams"
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
            "2:1 defaults.command: unknown key \"command\"; accepted are autostart, restart, stop_timeout, health, limits, gateway",
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
            prop::sample::select([keys::SERVER, keys::EXPOSURE].concat()),
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
    let all = [
        keys::SERVER,
        keys::RESTART,
        keys::HEALTH,
        keys::LIMITS,
        keys::GATEWAY,
        keys::GROUP,
        keys::BUCKET,
        keys::WINDOW,
        keys::CACHE,
        keys::CALLS,
        keys::EXPOSURE,
        keys::POOL,
        keys::RETRY,
        keys::BREAKER,
        keys::TOOL,
    ];
    for key in all.concat() {
        let written = [format!("`{key}`"), format!("`{key}."), format!(".{key}`")];
        assert!(
            written.iter().any(|key| docs.contains(key)),
            "{key} is not in docs/configuration.md"
        );
    }
}

#[test]
fn a_canary_is_a_call_with_a_known_answer() {
    let canary = |text: &str| {
        parse(&format!("[servers.a]\ncommand = \"a\"\n{text}"))
            .map(|fleet| fleet.servers[0].health.canary.clone())
    };
    let full = canary(
        "health.canary = { tool = \"add\", arguments = { a = 2, b = [1.5, \"x\", { c = true }] }, answer = \"5\" }",
    );
    assert_eq!(
        full.unwrap().unwrap(),
        flotilla_contract::spec::Canary {
            tool: "add".into(),
            arguments: serde_json::json!({"a": 2, "b": [1.5, "x", {"c": true}]}),
            answer: Some("5".into()),
        }
    );
    let bare = canary("[servers.a.health.canary]\ntool = \"add\"")
        .unwrap()
        .unwrap();
    assert_eq!((bare.arguments, bare.answer), (serde_json::json!({}), None));
    for (text, wrong) in [
        ("health.canary = \"add\"", "a table such as"),
        ("health.canary = { arguments = {} }", "tool is missing"),
        (
            "health.canary = { tool = \"add\", arguments = 3 }",
            "a table with the tool's arguments",
        ),
        (
            "health.canary = { tool = \"add\", arguments = { a = nan } }",
            "a number that JSON has",
        ),
        (
            "health.canary = { tool = \"add\", argument = {} }",
            "arguments",
        ),
        (
            "health = { check = \"none\", canary = { tool = \"add\" } }",
            "has no effect",
        ),
    ] {
        let findings = canary(text).unwrap_err();
        assert!(
            findings
                .iter()
                .any(|finding| finding.message.contains(wrong)),
            "{text}: {findings:#?}"
        );
    }
}

#[test]
fn metrics_have_pages_of_their_own_and_say_what_is_wrong_with_them() {
    let fleet = parse(
        r#"
[metrics]
scrape_interval = "5s"
disk = "64MiB"
keep = { raw = "1h", hours = "1000d" }
source = { url = "https://prom.example/base", headers = { Authorization = { secret = "prom" } } }
[metrics.targets.node]
url = "http://127.0.0.1:9100/metrics"
labels = { site = "a" }
headers = { X-Key = "${secret:node}" }
"#,
    )
    .unwrap();
    let metrics = &fleet.metrics;
    let seconds = Duration::from_secs;
    assert_eq!(
        (metrics.scrape_interval, metrics.scrape_timeout),
        (seconds(5), seconds(5))
    );
    assert_eq!((metrics.disk, metrics.memory), (64 << 20, 64 << 20));
    assert_eq!(metrics.keep.raw, seconds(3_600));
    assert_eq!(metrics.keep.minutes, seconds(90 * 86_400));
    assert_eq!(metrics.targets[0].labels["site"], "a");
    let secrets: Vec<String> = fleet.secrets().into_keys().collect();
    assert_eq!(secrets, ["node", "prom"]);

    check(
        "[metrics]\nscrape_interval = \"5s\"\nscrape_timeout = \"6s\"\nkeep.raw = \"30d\"\ndisk = \"1MiB\"\n",
        &[
            "3:18 metrics.scrape_timeout: found \"6s\"; accepted is at most the scrape_interval, \"5s\"",
            "4:1 metrics.keep: seconds is kept \"336h\" (its default); accepted is at least what raw is kept, \"720h\"",
            "5:8 metrics.disk: found \"1MiB\"; accepted is a size with KiB, MiB or GiB, such as \"512MiB\", from \"16MiB\"",
        ],
    );
    check(
        "[servers.web]\ncommand = \"a\"\n[metrics.targets.web]\nurl = \"ftp://x\"\nlabels.job = \"x\"\n[metrics.targets.flotilla]\n[metrics.source]\n",
        &[
            "3:18 metrics.targets.web: \"web\" is the name of a server; accepted is another name, because both would be the label job",
            "4:7 metrics.targets.web.url: found \"ftp://x\"; accepted is an http:// or https:// URL",
            "5:8 metrics.targets.web.labels.job: \"job\" is not a label that can be given; accepted are names of A-Z a-z 0-9 _ that do not begin with a digit, other than __name__, job, instance",
            "6:18 metrics.targets.flotilla: \"flotilla\" is the label job of the engine's own series; accepted is another name",
            "6:18 metrics.targets.flotilla: url is not given; accepted is an http:// or https:// URL",
            "7:10 metrics.source: url is not given; accepted is an http:// or https:// URL",
        ],
    );
}

#[test]
fn a_fleet_tells_what_changed_in_its_metrics_and_no_header() {
    let old = parse("[metrics.targets.a]\nurl = \"http://a/m\"\nheaders.K = \"v1\"\n").unwrap();
    let new = parse("[metrics]\ndisk = \"2GiB\"\nsource.url = \"http://u:p@prom/\"\n[metrics.targets.a]\nurl = \"http://a/m\"\nheaders.K = \"v2\"\n[metrics.targets.b]\nurl = \"http://b/m\"\n").unwrap();
    let sentences: Vec<String> = crate::diff(&old, &new)
        .into_iter()
        .map(|change| change.sentence)
        .collect();
    assert_eq!(
        sentences,
        [
            "metrics.disk 1GiB → 2GiB",
            "metrics.targets a: changed",
            "metrics.targets b: added",
            "metrics.source none → http://prom/",
        ]
    );
}

#[test]
fn what_is_wrong_with_alerts() {
    check(
        "[alerts]\ninterval = \"1ms\"\ngroup_by = [\"a-b\"]\n[[alerts.rules]]\nname = \"Hot\"\nexpr = \"heat >\"\nfro = \"5m\"\n[[alerts.rules]]\nexpr = \"a > 1\"\nlabels.severity = \"x\"\n[[alerts.channels]]\nname = \"x\"\nkind = \"pager\"\n[[alerts.channels]]\nname = \"y\"\nkind = \"exec\"\nurl = \"http://x\"\n",
        &[
            "2:12 alerts.interval: found \"1ms\"; accepted is a duration from \"1s\" to \"1h\"",
            "3:13 alerts.group_by[0]: found \"a-b\"; accepted is up to 64 letters, digits and underscores, no digit first",
            "6:8 alerts.rules[0].expr: column 7 of the expression: found the end; accepted is a number",
            "7:1 alerts.rules[0].fro: unknown key \"fro\"; accepted are name, expr, for, keep_firing_for, severity, labels, summary, description, runbook",
            "8:1 alerts.rules[1]: name is not given; accepted is a name such as \"MemoryHigh\"",
            "10:8 alerts.rules[1].labels.severity: \"severity\" cannot be given; accepted are up to 64 letters, digits and underscores, no digit first, but not alertname and severity",
            "13:8 alerts.channels[0].kind: found \"pager\"; accepted is \"webhook\" or \"alertmanager\" or \"exec\" or \"smtp\" or \"desktop\"",
            "14:1 alerts.channels[1]: command is not given; accepted is a list of program and arguments",
            "17:7 alerts.channels[1].url: url has no effect on a channel of the kind exec; remove it",
        ],
    );
}

#[test]
fn only_a_rule_that_is_given_can_be_disabled() {
    check(
        "[alerts]\ndisabled = [\"RateLimit\", \"CallsSlow\"]\n",
        &[
            "2:13 alerts.disabled[0]: \"RateLimit\" is not a rule that comes with Flotilla; did you mean \"RateLimited\"?",
        ],
    );
}

#[test]
fn what_is_wrong_with_channels_for_mail() {
    let channel =
        |rest: &str| format!("[[alerts.channels]]\nname = \"m\"\nkind = \"smtp\"\n{rest}");
    for (rest, findings) in [
        (
            "tls = \"tls\"\nurl = \"http://x\"\n",
            &[
                "1:1 alerts.channels[0]: host is not given; accepted is a mail server such as \"mail.example.com\"",
                "1:1 alerts.channels[0]: from is not given; accepted is who writes, such as \"Flotilla <flotilla@example.com>\"",
                "1:1 alerts.channels[0]: to is not given; accepted is a list of addresses such as [\"ops@example.com\"]",
                "5:7 alerts.channels[0].url: url has no effect on a channel of the kind smtp; remove it",
            ][..],
        ),
        (
            "host = \"mail.example:25\"\nfrom = \"a b@x\"\nto = []\nuser = \"me\"\n",
            &[
                "1:1 alerts.channels[0]: user and password belong together; one of them is not given",
                "4:8 alerts.channels[0].host: found \"mail.example:25\"; accepted is the name or the address of a mail server, without a port",
                "5:8 alerts.channels[0].from: found \"a b@x\"; accepted is an address such as \"ops@example.com\" or \"Operations <ops@example.com>\"",
                "6:6 alerts.channels[0].to: found a list; accepted is 1 to 50 addresses",
            ],
        ),
        (
            "host = \"mail.example\"\ntls = \"none\"\nca = \"ca.pem\"\nuser = \"me\"\npassword = \"secret\"\nfrom = \"a@x\"\nto = [\"b@x\\r\\nBcc: c@x\"]\n",
            &[
                "1:1 alerts.channels[0]: tls is \"none\" and the host is mail.example; accepted is a connection without TLS to this machine only",
                "6:6 alerts.channels[0].ca: ca has no effect where tls is \"none\"; remove it",
                "6:6 alerts.channels[0].ca: found \"ca.pem\"; accepted is an absolute path",
                "8:12 alerts.channels[0].password: the password stands in the file; accepted is a reference such as ${secret:NAME}",
                "10:7 alerts.channels[0].to[0]: found \"b@x\\r\\nBcc: c@x\"; accepted is an address such as \"ops@example.com\" or \"Operations <ops@example.com>\"",
            ],
        ),
    ] {
        check(&channel(rest), findings);
    }
    let text = channel(
        "host = \"::1\"\ntls = \"none\"\nuser = \"me\"\npassword = \"${secret:mail}\"\nfrom = \"The Fleet <fleet@x.example>\"\nto = [\"a@x\", \"b@y\"]\n",
    );
    let fleet = parse(&text).unwrap();
    let flotilla_contract::alert::ChannelKind::Smtp(smtp) = &fleet.alerts.channels[0].kind else {
        panic!("{:?}", fleet.alerts.channels);
    };
    assert_eq!((smtp.port, smtp.to.len()), (25, 2));
    assert_eq!(smtp.from.name.as_deref(), Some("The Fleet"));
    assert!(fleet.secrets().contains_key("mail"));
}

#[test]
fn alerts_are_read_whole() {
    let fleet = parse(
        "[alerts]\ndefaults = false\ngroup_by = []\n[[alerts.rules]]\nname = \"Hot\"\nexpr = \"heat > 5\"\nfor = \"5m\"\nseverity = \"critical\"\n[[alerts.channels]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"http://x/${secret:path}\"\nsecret = \"${secret:key}\"\n",
    )
    .unwrap();
    let rule = &fleet.alerts.rules[0];
    assert_eq!((rule.for_ms, rule.summary.as_str()), (300_000, "heat > 5"));
    assert!(fleet.alerts.group_by.is_empty() && !fleet.alerts.defaults);
    let secrets: Vec<String> = fleet.secrets().into_keys().collect();
    assert_eq!(secrets, ["key", "path"]);
    // What signs is not shown where a change is told.
    let told = crate::diff(&crate::Fleet::default(), &fleet);
    let told: Vec<&str> = told.iter().map(|c| c.sentence.as_str()).collect();
    assert_eq!(
        told,
        [
            "alerts.defaults true → false",
            "alerts.group_by alertname, server → ",
            "alerts.rules Hot: added",
            "alerts.channels hook: added",
        ]
    );
}
