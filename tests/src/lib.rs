//! The bed on which the system tests lie: a real engine in a home of its own, spoken to as its hosts do.
//!
//! Every test has its own engine process, home and port. Nothing sleeps where an event can be awaited: [`Bed::until`]
//! follows the fleet's deltas. What an engine printed is shown when a test fails.

#[cfg(target_os = "linux")]
pub mod load;

use flotilla_contract::{
    ServerId, ServerView, WireError,
    command::{
        EngineInfoCmd, FleetSnapshotCmd, LogsRead, ScaleParams, ServerGet, ServerRef,
        ServerRestart, ServerScale, ServerStart, ServerStop, Targets,
    },
    frame::{Topic, Update},
    log::{LogEntry, LogQuery},
};
use flotilla_os::{Mark, Process, ProcessTable, family};
use flotilla_remote::{Boot, Client, Error, News, Source, Subscription};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine; what is awaited most often comes in milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Where the programs under test are: beside each other, as `cargo build` leaves them.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    // Tests stand in `deps`.
    let folder = own.ancestors().find(|a| a.join(name).is_file());
    folder
        .map(|f| f.join(name))
        .unwrap_or_else(|| panic!("{name} is not built; `cargo xtask test` builds it"))
}

/// The environment of servers that are not ours, made by `cargo xtask test`.
#[must_use]
pub fn foreign(path: &str) -> String {
    let folder = std::env::var_os("FLOTILLA_TEST_ENV").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| {
        program("flotilla")
            .ancestors()
            .nth(2)
            .expect("target")
            .join("test-env")
    });
    let found = folder.join(path);
    assert!(
        found.exists(),
        "{} is missing; `cargo xtask test` makes it",
        found.display()
    );
    found.display().to_string()
}

/// A table of `fleet.toml` for a fixture server on its standard streams, quick in its checks.
#[must_use]
pub fn fixture(name: &str, flags: &str, more: &str) -> String {
    let args: Vec<String> = flags.split_whitespace().map(|f| format!("{f:?}")).collect();
    let program = program("flotilla-fixture");
    format!(
        "[servers.{name}]\ncommand = {:?}\nargs = [{}]\n{more}\n",
        program.display().to_string(),
        args.join(", ")
    )
}

/// Checks that decide within a second or two.
pub const QUICK: &str = "health = { interval = \"300ms\", retry_interval = \"100ms\", timeout = \"2s\", start_timeout = \"5s\" }";

/// An engine in a home of its own.
pub struct Bed {
    dir: TempDir,
    engine: Option<Child>,
    client: Option<Client>,
    watch: Option<Watch>,
    starts: u32,
}

impl Bed {
    /// Starts an engine with this `fleet.toml`.
    pub async fn new(config: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("flotilla-test-")
            .tempdir()
            .expect("a folder for the home");
        fs::create_dir_all(dir.path().join("home")).expect("a home");
        let mut bed = Self {
            dir,
            engine: None,
            client: None,
            watch: None,
            starts: 0,
        };
        bed.write_config(config);
        bed.start_engine().await;
        let findings = bed
            .run::<EngineInfoCmd>(Default::default())
            .await
            .expect("the engine answers")
            .config_findings;
        assert!(
            findings.is_empty(),
            "a test's own configuration is wrong: {findings:#?}"
        );
        bed
    }

    /// The home directory.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The ways in.
    #[must_use]
    pub fn boot(&self) -> Boot {
        Boot::read(&self.home()).expect("engine.json")
    }

    /// Where AI clients reach the fleet.
    #[must_use]
    pub fn gateway(&self) -> String {
        self.boot().gateway.expect("the gateway is served")
    }

    /// A place for files of the test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `fleet.toml` as an editor would.
    pub fn write_config(&self, config: &str) {
        let new = self.home().join("fleet.toml.editor");
        fs::write(&new, config).expect("write the configuration");
        fs::rename(new, self.home().join("fleet.toml")).expect("put it in place");
    }

    /// `fleet.toml` as it is.
    #[must_use]
    pub fn config(&self) -> String {
        fs::read_to_string(self.home().join("fleet.toml")).expect("read the configuration")
    }

    /// Starts the engine, and connects.
    pub async fn start_engine(&mut self) {
        self.starts += 1;
        let log = File::create(self.dir.path().join(format!("engine-{}.log", self.starts)))
            .expect("a log");
        let child = self
            .command(&[
                "serve",
                "--port",
                "0",
                "--gateway-port",
                "0",
                "--dashboard-port",
                "0",
                "--stream-port",
                "0",
            ])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("start the engine");
        let pid = child.id();
        self.engine = Some(child);
        let deadline = std::time::Instant::now() + PATIENCE;
        // The one thing that can only be looked for: a file that appears.
        while Boot::read(&self.home()).map_or(true, |boot| boot.pid != pid) {
            let ended = self
                .engine
                .as_mut()
                .and_then(|e| e.try_wait().expect("wait"));
            assert!(
                ended.is_none() && std::time::Instant::now() < deadline,
                "the engine did not come up: {ended:?}\n{}",
                self.engine_log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let client = Client::connect(Source::Home(self.home()), "test")
            .await
            .expect("connect");
        self.watch = Some(Watch::over(&client).await);
        self.client = Some(client);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("flotilla"));
        command
            .args(args)
            .env("FLOTILLA_HOME", self.home())
            .env("FLOTILLA_SECRETS", "file")
            .env("NO_COLOR", "1");
        command
            .env("HOME", self.dir.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("FLOTILLA_SECRETS_KEY")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the command line against this home.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run the command line")
    }

    /// Runs the command line, which must end with this code, and gives what it printed.
    pub fn cli_says(&self, code: i32, args: &[&str]) -> String {
        let output = self.cli(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(code),
            "flotilla {args:?}\n{text}"
        );
        text
    }

    /// The command line as a child, for what follows.
    #[must_use]
    pub fn cli_follows(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("run the command line")
    }

    /// Process id of the engine.
    #[must_use]
    pub fn engine_pid(&self) -> u32 {
        self.engine.as_ref().expect("an engine runs").id()
    }

    /// Ends the engine as `kill -9` does.
    pub fn kill_engine(&mut self) {
        (self.client, self.watch) = (None, None);
        let mut engine = self.engine.take().expect("an engine runs");
        engine.kill().expect("kill the engine");
        engine.wait().expect("reap the engine");
    }

    /// Ends the engine as a service manager does, and waits for it.
    pub fn stop_engine(&mut self) {
        (self.client, self.watch) = (None, None);
        let mut engine = self.engine.take().expect("an engine runs");
        let start = ProcessTable::read()
            .get(engine.id())
            .expect("it runs")
            .start_time;
        flotilla_os::signal_process(engine.id(), start, flotilla_os::Ending::Polite);
        let status = engine.wait().expect("reap the engine");
        assert!(status.success(), "{status}\n{}", self.engine_log());
    }

    /// What the engine printed.
    #[must_use]
    pub fn engine_log(&self) -> String {
        fs::read_to_string(self.dir.path().join(format!("engine-{}.log", self.starts)))
            .unwrap_or_default()
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone().expect("connected")
    }

    /// Runs a command of the contract.
    pub async fn run<C: flotilla_contract::Command>(
        &self,
        params: C::Params,
    ) -> Result<C::Output, WireError> {
        match self.client().run::<C>(params).await {
            Ok(output) => Ok(output),
            Err(Error::Command(error)) => Err(error),
            Err(other) => panic!("{}: {other}\n{}", C::NAME, self.engine_log()),
        }
    }

    /// Runs a verb that must reach its end on every server.
    async fn all_ok(&self, outcomes: Result<flotilla_contract::command::Outcomes, WireError>) {
        let outcomes = outcomes.expect("the command is taken").outcomes;
        assert!(
            outcomes.iter().all(|o| o.ok),
            "{outcomes:#?}\n{}",
            self.engine_log()
        );
    }

    /// Starts servers; each must come up.
    pub async fn start(&self, names: &[&str]) {
        self.all_ok(self.run::<ServerStart>(targets(names)).await)
            .await;
    }

    /// Stops servers; each must come down.
    pub async fn stop(&self, names: &[&str]) {
        self.all_ok(self.run::<ServerStop>(targets(names)).await)
            .await;
    }

    /// Restarts servers; each must come up again.
    pub async fn restart(&self, names: &[&str]) {
        self.all_ok(self.run::<ServerRestart>(targets(names)).await)
            .await;
    }

    /// Scales a server; it must get there.
    pub async fn scale(&self, name: &str, replicas: u32) {
        self.all_ok(
            self.run::<ServerScale>(ScaleParams {
                server: id(name),
                replicas,
            })
            .await,
        )
        .await;
    }

    /// A server as it is now.
    pub async fn server(&self, name: &str) -> ServerView {
        self.run::<ServerGet>(ServerRef { server: id(name) })
            .await
            .expect("it is declared")
    }

    /// Follows the fleet until this holds for a server.
    pub async fn until(&mut self, name: &str, what: impl Fn(&ServerView) -> bool) -> ServerView {
        let watch = self.watch.as_mut().expect("connected");
        watch.until(name, what).await
    }

    /// Another pair of eyes, for a task that waits beside others.
    pub async fn watch(&self) -> Watch {
        Watch::over(&self.client()).await
    }

    /// Waits until something outside the engine holds.
    pub async fn eventually(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}\n{}", self.engine_log());
    }

    /// The text of an instance's log.
    pub async fn log(&self, name: &str) -> Vec<String> {
        let query = LogQuery {
            servers: vec![id(name)],
            tail: Some(5_000),
            ..LogQuery::default()
        };
        let entries = self.run::<LogsRead>(query).await.expect("the log is read");
        entries
            .into_iter()
            .filter_map(|e| {
                if let LogEntry::Line(line) = e {
                    Some(line.text)
                } else {
                    None
                }
            })
            .collect()
    }

    /// Everything alive that this home ever started, the guard left out.
    #[must_use]
    pub fn alive(&self) -> Vec<Process> {
        let home = self.home().canonicalize().expect("the home is there");
        family(&ProcessTable::read(), &[(Mark::of_home(&home), Vec::new())]).remove(0)
    }

    /// Sends SIGKILL to one process, from outside.
    pub fn kill(&self, pid: u32) {
        let start = ProcessTable::read().get(pid).expect("it runs").start_time;
        assert!(flotilla_os::signal_process(
            pid,
            start,
            flotilla_os::Ending::Kill
        ));
    }

    /// The whole picture, as text: for searching what must not be in it.
    pub async fn everything_as_text(&self) -> String {
        serde_json::to_string(
            &self
                .run::<FleetSnapshotCmd>(Default::default())
                .await
                .expect("a snapshot"),
        )
        .expect("text")
    }
}

impl Drop for Bed {
    /// A test that failed leaves nothing behind either: the guard sees to it.
    fn drop(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            let _ = engine.kill();
            let _ = engine.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- engine of {} ---\n{}",
                self.dir.path().display(),
                self.engine_log()
            );
        }
    }
}

/// The fleet as one observer follows it, from the moment at which he began: nothing that was shown is missed.
pub struct Watch {
    fleet: Subscription,
    seen: BTreeMap<ServerId, ServerView>,
}

impl Watch {
    async fn over(client: &Client) -> Self {
        Self {
            fleet: client.subscribe(Topic::Fleet).await.expect("subscribe"),
            seen: BTreeMap::new(),
        }
    }

    /// Follows the fleet until this holds for a server.
    pub async fn until(&mut self, name: &str, what: impl Fn(&ServerView) -> bool) -> ServerView {
        let wanted = id(name);
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(view) = self.seen.get(&wanted).filter(|view| what(view)) {
                    return view.clone();
                }
                self.follow().await;
            }
        });
        match waited.await {
            Ok(view) => view,
            Err(_) => panic!("{name} did not get there:\n{:#?}", self.seen.get(&wanted)),
        }
    }

    /// Takes in the next piece of news about the fleet.
    async fn follow(&mut self) {
        match self.fleet.next().await {
            Some(News::Update(Update::Fleet(all))) => {
                self.seen = all
                    .servers
                    .into_iter()
                    .map(|s| (s.id().clone(), s))
                    .collect()
            }
            Some(News::Update(Update::Changed(delta))) => {
                self.seen.retain(|id, _| !delta.removed.contains(id));
                self.seen
                    .extend(delta.servers.into_iter().map(|s| (s.id().clone(), s)));
            }
            Some(_) => {}
            None => panic!("the connection is over"),
        }
    }
}

/// A port that is free, and so is the one `apart` above it.
#[must_use]
pub fn free_ports(apart: u16) -> u16 {
    for _ in 0..200 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = first.local_addr().expect("its address").port();
        if port < u16::MAX - apart && TcpListener::bind(("127.0.0.1", port + apart)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports {apart} apart");
}

/// A server's name.
#[must_use]
pub fn id(name: &str) -> ServerId {
    name.parse().expect("a name")
}

/// Servers by name; none means all.
#[must_use]
pub fn targets(names: &[&str]) -> Targets {
    Targets {
        all: names.is_empty(),
        servers: names.iter().map(|n| id(n)).collect(),
        instance: None,
    }
}

/// The first process of a server's first instance.
#[must_use]
pub fn pid(view: &ServerView) -> u32 {
    view.instances
        .first()
        .and_then(|i| i.pid)
        .unwrap_or_else(|| panic!("no process: {view:#?}"))
}

/// Whether a path exists below a folder, with this text in it.
#[must_use]
pub fn any_file_holds(folder: &Path, needle: &str) -> Option<PathBuf> {
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle.as_bytes()))
            {
                return Some(path);
            }
        }
    }
    None
}
