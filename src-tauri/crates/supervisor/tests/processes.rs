//! The loop with real processes and signals; only the protocol is played.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use flotilla_contract::{
    InstanceId, ServerId, ServerSpec,
    event::NewEvent,
    log::{LogEntry, Stream},
    spec::{
        Check, Dependency, DependencyCondition, HealthCheck, Launch, Limits, RestartPolicy,
        Transport,
    },
    state::{HealthCode, HealthLevel, ProcessState},
};
use flotilla_os::{Mark, ProcessTable, family};
use flotilla_supervisor::{
    Boxed, Desired, Endpoint, Events, Found, Link, Options, Place, Ports, Prober, Resolve,
    Resolved, Supervisor, Ticket, Unresolved,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::process::{ChildStdin, ChildStdout};

/// Holds the pipes, answers every probe well, writes down every event.
#[derive(Default)]
struct World {
    pipes: Mutex<HashMap<Place, (ChildStdin, ChildStdout)>>,
    events: Mutex<Vec<String>>,
    answers: Mutex<Option<Found>>,
    /// How long the instances of this server take to answer a probe.
    slow: Mutex<Option<(ServerId, Duration)>>,
    probes: Arc<Mutex<HashMap<InstanceId, Probes>>>,
}

/// Probes of one instance.
#[derive(Clone, Copy, Default)]
struct Probes {
    open: u32,
    /// The most that were open at once.
    most: u32,
    done: u32,
}

impl Link for World {
    fn open(&self, place: &Place, _: &Arc<ServerSpec>, endpoint: Endpoint) {
        if let Endpoint::Stdio { input, output } = endpoint {
            self.pipes
                .lock()
                .unwrap()
                .insert(place.clone(), (input, output));
        }
    }
    fn close_input(&self, place: &Place) {
        self.pipes.lock().unwrap().remove(place);
    }
    fn gone(&self, place: &Place) -> Option<String> {
        self.pipes.lock().unwrap().remove(place);
        None
    }
}

impl Prober for World {
    fn probe(&self, place: Place, _: Option<String>, _: Duration) -> Boxed<Found> {
        let found = self.answers.lock().unwrap().clone().unwrap_or(Found::Good {
            findings: vec![],
            proof: "1 tool".into(),
        });
        let slow = self.slow.lock().unwrap().clone();
        let pause = slow.filter(|(server, _)| *server == place.id.server);
        let count = |change: fn(&mut Probes)| {
            change(
                self.probes
                    .lock()
                    .unwrap()
                    .entry(place.id.clone())
                    .or_default(),
            );
        };
        count(|p| {
            p.open += 1;
            p.most = p.most.max(p.open);
        });
        // Counted when the answer is there, for the loop must not wait for it.
        let probes = self.probes.clone();
        Box::pin(async move {
            if let Some((_, pause)) = pause {
                tokio::time::sleep(pause).await;
            }
            let mut probes = probes.lock().unwrap();
            let mine = probes.entry(place.id).or_default();
            mine.open -= 1;
            mine.done += 1;
            found
        })
    }
}

impl Resolve for World {
    fn resolve(
        &self,
        spec: Arc<ServerSpec>,
        _: Option<u16>,
    ) -> Boxed<Result<Resolved, Unresolved>> {
        let launch = spec.transport.launch().cloned();
        let url = match &spec.transport {
            Transport::Url { url, .. } => Some(url.clone()),
            _ => None,
        };
        let launch = launch.unwrap_or(Launch {
            command: String::new(),
            args: vec![],
            env: Default::default(),
            cwd: None,
        });
        Box::pin(async move {
            Ok(Resolved {
                command: launch.command,
                args: launch.args,
                cwd: Some("/tmp".into()),
                url,
                ..Resolved::default()
            })
        })
    }
}

impl Events for World {
    fn event(&self, event: NewEvent) {
        let about = event.about.map(|id| id.to_string()).unwrap_or_default();
        self.events
            .lock()
            .unwrap()
            .push(format!("{about} {}", event.what.word()));
    }
}

struct Bed {
    world: Arc<World>,
    sup: Supervisor,
    boot: Mark,
}

fn bed(name: &str) -> Bed {
    let world = Arc::new(World::default());
    let boot = Mark::of_home(std::path::Path::new(name)).narrow(std::process::id());
    let ports = Ports {
        link: world.clone(),
        prober: world.clone(),
        resolve: world.clone(),
        events: world.clone(),
    };
    let sup = Supervisor::start(
        Options {
            boot: boot.clone(),
            guard: None,
            log_dir: None,
            seed: 1,
        },
        ports,
    );
    Bed { world, sup, boot }
}

/// Answers each GET on this listener: `/good` (and nothing else) with 200.
async fn answer(listener: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut head = [0; 1024];
        let n = stream.read(&mut head).await.unwrap_or(0);
        let status = if head[..n].starts_with(b"GET /good?x=1 ") {
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// A server on a port that is a shell script, which does not listen.
fn on_port(id: &str, text: &str, port: u16) -> ServerSpec {
    let mut spec = script(id, text);
    let Transport::Stdio { launch } = spec.transport else {
        unreachable!()
    };
    spec.transport = Transport::Http {
        launch,
        port,
        path: "/mcp".into(),
        headers: Default::default(),
    };
    spec
}

/// A stdio server that is a shell script.
fn script(id: &str, text: &str) -> ServerSpec {
    let launch = Launch {
        command: "sh".into(),
        args: vec!["-c".into(), text.into()],
        env: Default::default(),
        cwd: None,
    };
    ServerSpec {
        id: id.parse().unwrap(),
        category: "test".into(),
        tags: vec![],
        description: None,
        disabled: None,
        transport: Transport::Stdio { launch },
        replicas: 1,
        autostart: true,
        on_demand: None,
        depends_on: vec![],
        restart: RestartPolicy {
            delays_ms: vec![20],
            ..RestartPolicy::default()
        },
        stop_timeout_ms: 5_000,
        health: HealthCheck {
            check: Check::None,
            ..HealthCheck::default()
        },
        limits: Limits::default(),
        metrics_path: None,
        gateway: Default::default(),
    }
}

const LONG: Duration = Duration::from_secs(30);

impl Bed {
    fn up(&self, spec: ServerSpec) -> Ticket {
        let (id, replicas) = (spec.id.clone(), spec.replicas);
        self.sup.declare(spec);
        self.want(&id, true, replicas)
    }

    fn want(&self, id: &ServerId, running: bool, replicas: u32) -> Ticket {
        self.sup
            .want(
                id,
                Desired {
                    running,
                    replicas,
                    on_call: false,
                },
                None,
            )
            .unwrap()
    }

    async fn until(
        &self,
        id: &str,
        what: impl Fn(&flotilla_supervisor::Observed) -> bool,
    ) -> flotilla_supervisor::Observed {
        let id: ServerId = id.parse().unwrap();
        tokio::time::timeout(LONG, async {
            loop {
                if let Some(seen) = self.sup.observe(&id).filter(&what) {
                    return seen;
                }
                self.sup.changed().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("still {:#?}", self.sup.observe(&id)))
    }

    fn alive(&self) -> usize {
        family(&ProcessTable::read(), &[(self.boot.clone(), vec![])])[0].len()
    }

    fn log(&self, id: &str) -> Vec<String> {
        let wanted: InstanceId = id.parse().unwrap();
        let mut lines = Vec::new();
        self.sup.read_logs(
            |id| *id == wanted,
            |_, ring| {
                lines.extend(ring.after(0, 5_000).into_iter().filter_map(|e| match e {
                    LogEntry::Line(l) if l.stream != Stream::Supervisor => Some(l.text),
                    _ => None,
                }));
            },
        );
        lines
    }

    fn events(&self) -> Vec<String> {
        self.world.events.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_killed_process_is_replaced_and_the_exit_keeps_its_last_words() {
    let bed = bed("replace");
    let ends = bed
        .sup
        .settled(
            bed.up(script("a", "echo last words >&2; exec sleep 600")),
            LONG,
        )
        .await;
    assert!(ends[0].reached == Some(true), "{ends:?}");
    // The shell has written before it became sleep, but the line may still be on its way.
    while bed.log("a#1").is_empty() {
        tokio::task::yield_now().await;
    }
    let pid = ends[0].view.pid.unwrap();
    flotilla_os::signal_group(pid, flotilla_os::Ending::Kill);
    let seen = bed
        .until("a", |s| s.instances[0].pid.is_some_and(|p| p != pid))
        .await;
    let exit = seen.instances[0].last_exit.clone().unwrap();
    assert_eq!(
        (exit.signal.as_deref(), &exit.last_lines[..]),
        (Some("SIGKILL"), &["last words".to_owned()][..])
    );
    assert_eq!(
        (seen.instances[0].restarts, seen.instances[0].process.state),
        (1, ProcessState::Running)
    );
    assert_eq!(
        bed.events(),
        [
            "a#1 server:starting",
            "a#1 server:started",
            "a#1 server:restarting",
            "a#1 server:starting",
            "a#1 server:started"
        ]
    );
    assert!(bed.sup.shutdown(LONG, None).await.is_empty());
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn a_stop_leaves_nothing_of_the_tree_even_what_left_its_group_and_ignores_signals() {
    let bed = bed("tree");
    // A child in the group, one in a session of its own, one that ignores SIGTERM there, and a first process that
    // ends at once when its input closes.
    let text = "sleep 600 & setsid sleep 600 & setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & cat >/dev/null";
    let mut spec = script("tree", text);
    spec.stop_timeout_ms = 1_200;
    bed.sup.settled(bed.up(spec), LONG).await;
    while bed.alive() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ends = bed
        .sup
        .settled(bed.want(&"tree".parse().unwrap(), false, 1), LONG)
        .await;
    assert_eq!((ends[0].reached, bed.alive()), (Some(true), 0), "{ends:?}");
    assert_eq!(
        bed.events()
            .iter()
            .filter(|e| e.ends_with("stopped"))
            .count(),
        1,
        "stopped is told once: {:?}",
        bed.events()
    );
}

#[tokio::test]
async fn a_crash_takes_its_strays_along_before_they_can_harm_the_replacement() {
    let bed = bed("strays");
    bed.sup
        .settled(
            bed.up(script("s", "sleep 600 & setsid sleep 600 & exec sleep 601")),
            LONG,
        )
        .await;
    let first = bed
        .until("s", |s| s.instances[0].pid.is_some())
        .await
        .instances[0]
        .pid
        .unwrap();
    while bed.alive() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Only the first process is killed, as an out-of-memory killer does.
    let start = ProcessTable::read().get(first).unwrap().start_time;
    assert!(flotilla_os::signal_process(
        first,
        start,
        flotilla_os::Ending::Kill
    ));
    bed.until("s", |s| s.instances[0].pid.is_some_and(|p| p != first))
        .await;
    tokio::time::timeout(LONG, async {
        while bed.alive() != 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the old tree's two strays are gone, the new tree is whole");
    bed.sup.shutdown(LONG, None).await;
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_failed_with_its_reason() {
    let bed = bed("missing");
    let mut spec = script("m", "");
    let Transport::Stdio { launch } = &mut spec.transport else {
        unreachable!()
    };
    launch.command = "no-such-program-here".into();
    let ends = bed.sup.settled(bed.up(spec), LONG).await;
    assert_eq!(
        (ends[0].reached, ends[0].view.process.state),
        (Some(false), ProcessState::Failed)
    );
    assert_eq!(ends[0].view.health.code, HealthCode::CannotStart);
    assert_eq!(
        ends[0].view.health.sentence,
        "No program no-such-program-here in PATH"
    );
}

#[tokio::test]
async fn a_flood_and_an_endless_line_cost_bounded_memory_and_nobody_else() {
    let bed = bed("flood");
    bed.up(script(
        "flood",
        "while :; do echo 0123456789012345678901234567890123456789; done >&2",
    ));
    bed.up(script(
        "long",
        "head -c 300000 /dev/zero | tr '\\0' x >&2; echo >&2; echo after >&2; exec sleep 600",
    ));
    bed.sup
        .settled(
            bed.up(script("quiet", "echo here >&2; exec sleep 600")),
            LONG,
        )
        .await;
    tokio::time::timeout(LONG, async {
        while bed.log("long#1").len() < 2
            || bed.log("quiet#1").is_empty()
            || bed.log("flood#1").len() < 900
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let long = bed.log("long#1");
    assert_eq!((long[0].len(), long[1].as_str()), (16 << 10, "after"));
    assert!(bed.log("flood#1").len() <= 1_000);
    bed.sup.shutdown(LONG, None).await;
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn dependencies_are_waited_for_and_stopped_last() {
    let bed = bed("dependencies");
    let mut web = script("web", "exec sleep 600");
    web.depends_on = vec![Dependency {
        server: "db".parse().unwrap(),
        condition: DependencyCondition::Healthy,
    }];
    let ticket = bed.up(web);
    let waiting = bed
        .until("web", |s| s.health.code == HealthCode::WaitsForDependency)
        .await;
    assert_eq!(
        (waiting.health.sentence.as_str(), waiting.instances[0].pid),
        ("Waits for db", None)
    );
    let mut db = script("db", "exec sleep 600");
    db.health.check = Check::Mcp;
    *bed.world.answers.lock().unwrap() = Some(Found::NotYet);
    bed.up(db);
    bed.until("db", |s| {
        s.instances[0].process.state == ProcessState::Running
    })
    .await;
    assert_eq!(
        bed.sup.observe(&"web".parse().unwrap()).unwrap().instances[0].pid,
        None,
        "started is not healthy"
    );
    *bed.world.answers.lock().unwrap() = None;
    assert_eq!(bed.sup.settled(ticket, LONG).await[0].reached, Some(true));
    assert_eq!(
        bed.sup
            .observe(&"db".parse().unwrap())
            .unwrap()
            .health
            .level,
        HealthLevel::Healthy
    );
    let layers: Vec<Vec<String>> = bed
        .sup
        .stop_layers()
        .iter()
        .map(|l| l.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(layers, [["web"], ["db"]]);
    bed.sup.shutdown(LONG, None).await;
    let stopped: Vec<String> = bed
        .events()
        .into_iter()
        .filter(|e| e.ends_with("stopped"))
        .collect();
    assert_eq!(stopped, ["web#1 server:stopped", "db#1 server:stopped"]);
}

#[tokio::test]
async fn scaling_adds_and_retires_instances_and_a_newer_order_supersedes() {
    let bed = bed("scale");
    let id: ServerId = "n".parse().unwrap();
    bed.sup
        .settled(bed.up(script("n", "exec sleep 600")), LONG)
        .await;
    let ends = bed.sup.settled(bed.want(&id, true, 3), LONG).await;
    assert_eq!(ends.iter().filter(|e| e.reached == Some(true)).count(), 3);
    bed.sup.settled(bed.want(&id, true, 1), LONG).await;
    bed.until("n", |s| s.instances.len() == 1).await;
    assert_eq!(bed.alive(), 1);
    // 0, and back to 2 at once: the instance that was on its way out comes back.
    let down = bed.want(&id, true, 0);
    let up = bed.want(&id, true, 2);
    assert!(
        bed.sup
            .settled(up, LONG)
            .await
            .iter()
            .all(|e| e.reached == Some(true))
    );
    assert!(
        bed.sup
            .settled(down, LONG)
            .await
            .iter()
            .all(|e| e.superseded)
    );
    assert_eq!(bed.sup.observe(&id).unwrap().instances.len(), 2);
    // A process that is just becoming another program (exec) has no environment for a moment, and so no mark.
    tokio::time::timeout(LONG, async {
        while bed.alive() != 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("both run");
    bed.sup
        .settled(bed.sup.forget(&id, None).unwrap(), LONG)
        .await;
    assert_eq!((bed.alive(), bed.sup.servers().len()), (0, 0));
}

#[tokio::test]
async fn a_restart_never_brings_back_what_was_scaled_down_or_stopped() {
    let bed = bed("overtaken");
    let id: ServerId = "o".parse().unwrap();
    // Slow to go: it ignores that its input was closed, and is still stopping when the restart comes.
    let mut spec = script("o", "exec sleep 600");
    (spec.replicas, spec.stop_timeout_ms) = (3, 300);
    bed.sup.settled(bed.up(spec), LONG).await;
    let scaled = bed.want(&id, true, 1);
    bed.until("o", |s| {
        s.instances
            .iter()
            .any(|i| i.process.state == ProcessState::Stopping)
    })
    .await;
    for index in [2, 3] {
        let restart = bed
            .sup
            .restart(&id.instance(index), "rolling", None)
            .unwrap();
        assert!(restart.is_none(), "{index} is not wanted any more");
    }
    assert!(
        bed.sup
            .settled(scaled, LONG)
            .await
            .iter()
            .all(|e| e.reached == Some(true))
    );
    bed.until("o", |s| s.instances.len() == 1).await;
    let stopped = bed.want(&id, false, 1);
    let restart = bed.sup.restart(&id.instance(1), "rolling", None).unwrap();
    assert!(restart.is_none(), "stop wins");
    assert_eq!(bed.sup.settled(stopped, LONG).await[0].reached, Some(true));
    assert_eq!(bed.alive(), 0);
    // The other way round, the stop that comes later is told to whoever waits for the restart.
    bed.sup.settled(bed.want(&id, true, 1), LONG).await;
    let restart = bed
        .sup
        .restart(&id.instance(1), "asked", None)
        .unwrap()
        .unwrap();
    let stopped = bed.want(&id, false, 1);
    assert!(bed.sup.settled(restart, LONG).await[0].superseded);
    assert_eq!(bed.sup.settled(stopped, LONG).await[0].reached, Some(true));
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn checks_by_command_and_by_port_decide_about_health() {
    let bed = bed("checks");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let check = |id: &str, check: Check| {
        let mut spec = script(id, "exec sleep 600");
        spec.health = HealthCheck {
            check,
            start_timeout_ms: 0,
            ..HealthCheck::default()
        };
        spec
    };
    let exec = |text: &str| Check::Exec {
        command: vec!["sh".into(), "-c".into(), text.into()],
    };
    let tickets = [
        ("good", exec("exit 0")),
        ("bad", exec("exit 3")),
        (
            "tcp",
            Check::Tcp {
                address: format!("127.0.0.1:{port}"),
            },
        ),
        (
            "closed",
            Check::Tcp {
                address: "127.0.0.1:1".into(),
            },
        ),
    ]
    .map(|(id, kind)| bed.up(check(id, kind)));
    let mut ends = Vec::new();
    for ticket in tickets {
        ends.extend(bed.sup.settled(ticket, LONG).await);
    }
    let levels: Vec<_> = ends
        .iter()
        .map(|e| (e.view.id.server.as_str(), e.view.health.level))
        .collect();
    assert_eq!(
        levels,
        [
            ("good", HealthLevel::Healthy),
            ("bad", HealthLevel::Unhealthy),
            ("tcp", HealthLevel::Healthy),
            ("closed", HealthLevel::Unhealthy)
        ]
    );
    assert!(
        ends[1].view.health.sentence.contains("exit status: 3"),
        "{}",
        ends[1].view.health.sentence
    );
    bed.sup.shutdown(LONG, None).await;
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn a_check_over_http_goes_to_the_port_of_the_instance_or_to_the_url_of_the_server() {
    let bed = bed("http-checks");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(answer(listener));
    let checked = |mut spec: ServerSpec, url: String| {
        spec.health = HealthCheck {
            check: Check::Http { url },
            start_timeout_ms: 0,
            ..HealthCheck::default()
        };
        spec
    };
    let elsewhere = |id: &str| {
        let mut spec = script(id, "");
        spec.transport = Transport::Url {
            url: format!("http://user:secret@127.0.0.1:{port}/mcp?key=secret"),
            headers: Default::default(),
        };
        spec
    };
    let whole = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let cases = [
        (
            checked(script("whole", "exec sleep 600"), whole("/good?x=1")),
            HealthLevel::Healthy,
        ),
        (
            checked(script("error", "exec sleep 600"), whole("/bad")),
            HealthLevel::Unhealthy,
        ),
        (
            checked(elsewhere("path"), "/good?x=1".into()),
            HealthLevel::Healthy,
        ),
        (
            checked(elsewhere("wrong"), "/bad".into()),
            HealthLevel::Unhealthy,
        ),
    ];
    for (spec, level) in cases {
        let end = bed.sup.settled(bed.up(spec), LONG).await.remove(0);
        assert_eq!(end.view.health.level, level, "{end:#?}");
        assert!(!end.view.health.sentence.contains("secret"), "{end:#?}");
    }
    // Its own port: refused until somebody listens there.
    let port = free_port().await;
    let mut own = checked(on_port("own", "exec sleep 600", port), "/good?x=1".into());
    own.health.start_timeout_ms = 30_000;
    let ticket = bed.up(own);
    bed.until("own", |s| s.health.sentence.contains("not proven yet"))
        .await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    tokio::spawn(answer(listener));
    let end = bed.sup.settled(ticket, LONG).await.remove(0);
    assert_eq!(end.view.health.level, HealthLevel::Healthy, "{end:#?}");
    bed.sup.shutdown(LONG, None).await;
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn a_flood_of_declarations_ends_in_the_newest_and_a_busy_instance_says_so() {
    let bed = bed("busy");
    let id: ServerId = "b".parse().unwrap();
    let version = |n: u32| script("b", &format!("echo version {n} >&2; exec sleep 600"));
    bed.sup.settled(bed.up(version(0)), LONG).await;
    // More than the queue holds, before its task can take in any.
    for n in 1..=200 {
        bed.sup.declare(version(n));
    }
    let down = Desired {
        running: false,
        replicas: 1,
        on_call: false,
    };
    let busy = bed.sup.want(&id, down, None).unwrap_err();
    assert_eq!(busy.0, id.instance(1));
    assert!(bed.sup.desired(&id).unwrap().running, "nothing was changed");
    let ticket = loop {
        match bed.sup.restart(&id.instance(1), "again", None) {
            Ok(ticket) => break ticket.unwrap(),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    bed.sup.settled(ticket, LONG).await;
    let newest = async {
        while bed.log("b#1").last().map(String::as_str) != Some("version 200") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, newest).await;
    assert!(waited.is_ok(), "{:?}", bed.log("b#1"));
    bed.sup.shutdown(LONG, None).await;
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn a_server_on_a_port_that_floods_its_stdout_is_drained_and_bounded() {
    // (h): upstream never read stdout, and a full pipe stopped the child.
    let bed = bed("flood-stdout");
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("written");
    // More than a pipe holds, many times over, before the mark; then without end.
    let text = format!(
        "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; : > {}; \
         while :; do echo 0123456789012345678901234567890123456789; done",
        mark.display()
    );
    bed.up(on_port("loud", &text, free_port().await));
    let quiet = on_port("quiet", "echo here; exec sleep 600", free_port().await);
    bed.sup.settled(bed.up(quiet), LONG).await;
    let drained = async {
        while !mark.exists() || bed.log("quiet#1").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, drained)
        .await
        .expect("the child is never held up for good");
    assert_eq!(bed.log("quiet#1"), ["here"]);
    let lines = bed.log("loud#1").len();
    assert!((900..=1_000).contains(&lines), "{lines}");
    assert_eq!(
        bed.sup.observe(&"loud".parse().unwrap()).unwrap().instances[0].restarts_total,
        0
    );
    bed.sup.shutdown(LONG, None).await;
    assert_eq!(bed.alive(), 0);
}

#[tokio::test]
async fn checks_of_an_instance_never_overlap_and_a_slow_one_delays_nobody() {
    // (j): upstream had no guard, and asked one server after the other.
    let bed = bed("overlap");
    let checked = |id: &str| {
        let mut spec = script(id, "exec sleep 600");
        spec.health = HealthCheck {
            check: Check::Mcp,
            interval_ms: 5,
            retry_interval_ms: 5,
            ..HealthCheck::default()
        };
        spec.replicas = 2;
        spec
    };
    *bed.world.slow.lock().unwrap() = Some(("slow".parse().unwrap(), Duration::from_millis(150)));
    bed.up(checked("slow"));
    bed.up(checked("fast"));
    let probes = |id: &str| {
        let all = bed.world.probes.lock().unwrap();
        all.get(&id.parse::<InstanceId>().unwrap())
            .copied()
            .unwrap_or_default()
    };
    let asked = async {
        while ["slow#1", "slow#2"].iter().any(|id| probes(id).done < 3) {
            // Beside the schedule, and while one is under way.
            for id in ["slow#1", "slow#2", "fast#1"] {
                bed.sup.probe(&id.parse().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, asked)
        .await
        .expect("each is asked again");
    for id in ["slow#1", "slow#2", "fast#1", "fast#2"] {
        assert_eq!(probes(id).most, 1, "{id}");
    }
    let (slow, fast) = (probes("slow#1").done, probes("fast#1").done);
    assert!(
        fast > 3 * slow,
        "{fast} of the fast one, {slow} of the slow one"
    );
    bed.sup.shutdown(LONG, None).await;
    assert_eq!(bed.alive(), 0);
}
