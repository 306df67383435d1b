//! The application in a home of its own, and the engine in it as others see it.

use flotilla_contract::{
    ServerView,
    command::EngineShutdown,
    frame::{Topic, Update},
};
use flotilla_os::{Ending, Mark, Process, ProcessTable, family, kill_family, signal_process};
use flotilla_remote::{Boot, Client, Error, News, Source};
use flotilla_tests::{PATIENCE, id, program};
use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Waits for what only can be looked for: files, windows, processes.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("{what}: it did not come about"))
}

pub(crate) struct App {
    dir: TempDir,
    /// Address of a bus of its own, in place of the session's.
    bus: Option<String>,
    child: Option<Child>,
    client: Option<Client>,
}

impl App {
    /// A home with this `fleet.toml`; nothing runs yet.
    pub(crate) fn new(config: &str) -> Self {
        assert!(
            std::env::var_os("DISPLAY").is_some(),
            "there is no display; `cargo xtask test desktop` brings one"
        );
        let dir = tempfile::Builder::new()
            .prefix("flotilla-window-")
            .tempdir()
            .expect("a folder");
        for folder in ["home", "user"] {
            fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        fs::write(dir.path().join("home/fleet.toml"), config).expect("write the configuration");
        Self {
            dir,
            bus: None,
            child: None,
            client: None,
        }
    }

    /// The same, on another desktop.
    pub(crate) fn on(mut self, bus: &str) -> Self {
        self.bus = Some(bus.to_owned());
        self
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Text of a file that the window kept for its user, once it is there.
    pub(crate) async fn kept(&self, begins: &str, ends: &str) -> String {
        let user = self.dir.path().join("user");
        eventually("a file is kept", || {
            let files = [user.clone(), user.join("Downloads")]
                .into_iter()
                .filter_map(|folder| fs::read_dir(folder).ok())
                .flatten()
                .flatten();
            files
                .filter(|file| {
                    let name = file.file_name().to_string_lossy().into_owned();
                    name.starts_with(begins) && name.ends_with(ends)
                })
                .find_map(|file| fs::read_to_string(file.path()).ok())
                .filter(|text| !text.is_empty())
        })
        .await
    }

    pub(crate) fn program() -> PathBuf {
        std::env::var_os("FLOTILLA_DESKTOP_BIN")
            .map_or_else(|| program("flotilla-desktop"), PathBuf::from)
    }

    /// Any program with the environment of this application, its output kept.
    pub(crate) fn command(&self, program: PathBuf) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("a log");
        let mut command = Command::new(program);
        command
            .env("FLOTILLA_HOME", self.home())
            .env("FLOTILLA_SECRETS", "file")
            .env("HOME", self.dir.path().join("user"))
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("FLOTILLA_SECRETS_KEY")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        if let Some(bus) = &self.bus {
            command.env("DBUS_SESSION_BUS_ADDRESS", bus);
        }
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Starts it as a double click does.
    pub(crate) fn launch(&mut self) {
        let child = self.command(Self::program()).spawn();
        self.child = Some(child.expect("start the application"));
    }

    /// Starts it while it runs: the second one ends by itself.
    pub(crate) fn launch_again(&self) {
        let status = self
            .command(Self::program())
            .status()
            .expect("start the application");
        assert!(status.success(), "{status}");
    }

    /// Who owns the home now.
    pub(crate) fn boot(&self) -> Boot {
        Boot::read(&self.home()).expect("an engine owns the home")
    }

    /// Connects to the engine, once it is there.
    pub(crate) async fn attach(&mut self) {
        let own = self.child.as_ref().map(Child::id);
        eventually("the engine", || {
            let boot = Boot::read(&self.home()).ok()?;
            let it = own.is_none_or(|pid| pid == boot.pid);
            it.then_some(())
        })
        .await;
        let client = Client::connect(Source::Home(self.home()), "test").await;
        self.client = Some(client.expect("connect"));
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("attached")
    }

    /// Follows the fleet until this holds for a server.
    pub(crate) async fn until(&self, name: &str, what: impl Fn(&ServerView) -> bool) -> ServerView {
        let (wanted, mut last) = (id(name), None);
        let mut news = self
            .client()
            .subscribe(Topic::Fleet)
            .await
            .expect("subscribe");
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let servers = match news.next().await {
                    Some(News::Update(Update::Fleet(all))) => all.servers,
                    Some(News::Update(Update::Changed(delta))) => delta.servers,
                    Some(_) => continue,
                    None => panic!("the connection is over"),
                };
                last = servers
                    .into_iter()
                    .find(|s| *s.id() == wanted)
                    .or(last.take());
                if let Some(view) = last.as_ref().filter(|view| what(view)) {
                    return view.clone();
                }
            }
        })
        .await;
        waited.unwrap_or_else(|_| panic!("{name} did not get there: {last:#?}"))
    }

    /// Sends SIGKILL to one process, from outside.
    pub(crate) fn kill(&self, pid: u32) {
        let start = ProcessTable::read().get(pid).expect("it runs").start_time;
        assert!(signal_process(pid, start, Ending::Kill));
    }

    /// Ends the application as `kill -9` does.
    pub(crate) fn kill_it(&mut self) {
        self.client = None;
        let mut child = self.child.take().expect("it was launched");
        child.kill().expect("kill the application");
        child.wait().expect("reap the application");
    }

    /// Ends it as a client of its engine can.
    pub(crate) async fn shut_down(&mut self) {
        let client = self.client.take().expect("attached");
        // The connection may be closed before the answer is through; that the end comes is looked at by the caller.
        match client.run::<EngineShutdown>(Default::default()).await {
            Ok(_) | Err(Error::Lost) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Ends it as the end of a session does.
    pub(crate) fn terminate(&self) {
        let pid = self.boot().pid;
        let start = ProcessTable::read().get(pid).expect("it runs").start_time;
        assert!(signal_process(pid, start, Ending::Polite));
    }

    /// Waits for the end of what was launched: of its own accord, and without an error.
    pub(crate) async fn ended_well(&mut self) {
        self.client = None;
        let mut child = self.child.take().expect("it was launched");
        let status: ExitStatus = eventually("the end of the application", || {
            child.try_wait().expect("wait for the application")
        })
        .await;
        assert!(status.success(), "{status}");
    }

    fn alive(&self) -> Vec<Process> {
        family(&ProcessTable::read(), &[(self.mark(), Vec::new())]).remove(0)
    }

    fn mark(&self) -> Mark {
        Mark::of_home(&self.home().canonicalize().expect("the home is there"))
    }

    /// Waits until this process has ended, whoever started it.
    pub(crate) async fn ended(&self, pid: u32) {
        eventually("the end of a process", || {
            let table = ProcessTable::read();
            table.get(pid).is_none_or(|p| p.zombie).then_some(())
        })
        .await;
    }

    /// Waits until no process of the fleet is left.
    pub(crate) async fn leaves_nothing(&self) {
        eventually("the end of the fleet", || {
            self.alive().is_empty().then_some(())
        })
        .await;
    }
}

impl Drop for App {
    /// A test that failed leaves nothing behind either.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        kill_family(&self.mark(), &[], 10);
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.dir.path().display(), self.log());
        }
    }
}
