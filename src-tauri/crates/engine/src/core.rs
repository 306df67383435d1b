//! The composition: what an engine is made of, how it starts and ends.

use crate::{
    alerts::{self, Alerts},
    api::{Boot, Options, StartError},
    board::Boards,
    clients::Clients,
    clock,
    config::ConfigState,
    facts::Facts,
    families::Tallies,
    home::Home,
    imports::Imports,
    kept::{self, Kept},
    pages::Pages,
    playground::Playground,
    prometheus,
    resolve::Resolver,
    sampling,
    sessions::{Doors, Sessions, lock},
    views::World,
    workflows::Workflows,
};
use bytes::Bytes;
use flotilla_agents::Registry;
use flotilla_config::{Fleet, secrets::SecretStore};
use flotilla_contract::{
    CONTRACT_VERSION, Caller, EventKind, InstanceId, Millis, ServerId,
    command::ConfigFinding,
    event::NewEvent,
    frame::{FleetDelta, Hello, Listener},
    state::{ProcessState, Sample},
};
use flotilla_gateway::Gateway;
use flotilla_metrics::Live;
use flotilla_os::{Mark, guard::Guard};
use flotilla_store::{CallLog, Control, EventLog, RunLog};
use flotilla_supervisor::{Events, Ports, Supervisor};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

/// Version of the product.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a shutdown may take in all before what is left is left to the guard.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// How long what is pending may take to reach the disk at the end.
const FLUSH: Duration = Duration::from_secs(3);

/// Folder of the log files in the home.
const LOGS: &str = "logs";
/// Folder of the metrics store in the home.
const METRICS: &str = "metrics";
/// Log files that nobody needs are looked for this often.
const DISCARD_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Deltas and ticks that a subscriber may lag behind before it gets a fresh snapshot.
const LAG: usize = 64;

/// One metric tick as subscribers get it.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    pub(crate) series_changed: bool,
    pub(crate) frame: Bytes,
}

/// Everything an engine is.
pub(crate) struct Core {
    pub(crate) home: Home,
    pub(crate) boot: String,
    pub(crate) token: String,
    pub(crate) production: bool,
    pub(crate) started_at: Millis,
    pub(crate) supervisor: Supervisor,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) control: Control,
    pub(crate) events: EventLog,
    pub(crate) calls: CallLog,
    pub(crate) runs: RunLog,
    pub(crate) secrets: Arc<dyn SecretStore>,
    pub(crate) live: Live,
    pub(crate) tallies: Arc<Tallies>,
    /// Absent when the folder of metrics cannot be used.
    pub(crate) kept: Option<Kept>,
    pub(crate) pages: Pages,
    pub(crate) source: prometheus::Source,
    pub(crate) gateway: Gateway,
    pub(crate) samples: Mutex<HashMap<InstanceId, Sample>>,
    /// Share of the machine's CPU time in which something ran between the last two ticks.
    pub(crate) host_cpu: Mutex<Option<f64>>,
    pub(crate) ticks: broadcast::Sender<Tick>,
    pub(crate) deltas: broadcast::Sender<Arc<FleetDelta>>,
    pub(crate) world: Mutex<World>,
    pub(crate) info_changed: Notify,
    pub(crate) agents: Mutex<Registry>,
    pub(crate) config: ConfigState,
    pub(crate) playground: Playground,
    pub(crate) imports: Imports,
    pub(crate) clients: Clients,
    pub(crate) workflows: Workflows,
    pub(crate) alerts: Alerts,
    pub(crate) board: Boards,
    pub(crate) listeners: Mutex<Vec<Listener>>,
    pub(crate) notices: Mutex<Vec<String>>,
    pub(crate) sample_interval: Duration,
    /// Ends the engine's own tasks.
    pub(crate) ending: CancellationToken,
    pub(crate) shutdown_requested: CancellationToken,
}

/// Hands the supervisor's events to the log, and counts them.
struct ToLog(EventLog, Arc<Tallies>);

impl Events for ToLog {
    fn event(&self, event: NewEvent) {
        if let Some(about) = &event.about {
            self.1.event(&about.server, &event.what);
        }
        self.0.append(event);
    }
}

impl Core {
    pub(crate) async fn start(options: Options) -> Result<Arc<Self>, StartError> {
        let home = Home::take(&options.home)?;
        if options.production {
            home.must_be_private()?;
            key_from_outside()?;
        }
        let unusable = |error: String| StartError::Home {
            home: options.home.clone(),
            error,
        };
        let boot = uuid::Uuid::new_v4().simple().to_string();
        let mark = Mark::of_home(home.path());
        sweep_leftovers(&mark).await;
        let guard = Guard::start(options.guard, mark.narrow(&boot)).map_err(StartError::Guard)?;

        let opened = flotilla_store::open(flotilla_store::Options::new(home.path()))
            .await
            .map_err(|e| unusable(e.to_string()))?;
        let (control, events, calls) = (opened.control, opened.events, opened.calls);
        let runs = opened.runs;
        let mut notices = opened.notices;
        let secrets: Arc<dyn SecretStore> = open_secrets(home.path().to_owned()).await.into();
        let path = options
            .config
            .unwrap_or_else(|| home.path().join("fleet.toml"));
        let mut loaded = crate::config::load(&path, &control).await;
        notices.extend(loaded.notice.take());
        let meanwhile = std::mem::take(&mut loaded.meanwhile);

        let stored = |error: flotilla_store::Error| unusable(error.to_string());
        let (overrides, memories) = (
            control.overrides().await.map_err(stored)?,
            control.memories().await.map_err(stored)?,
        );
        let facts = Arc::new(Facts::restore(overrides, memories));
        let (mut agents, refused) = Registry::restore(control.agents().await.map_err(stored)?);
        for agent in flotilla_agents::built_in(crate::clock::now()) {
            // They are as they should be, but for a registry that is full.
            let _ = agents.deploy(agent);
        }
        notices.extend(
            refused
                .iter()
                .map(|error| format!("A stored agent was left out: {error}")),
        );

        let sessions = Arc::new(Sessions::new(facts.clone(), events.clone()));
        let doors = Arc::new(Doors(sessions.clone()));
        let tallies = Arc::new(Tallies::default());
        let ports = Ports {
            link: doors.clone(),
            prober: doors,
            resolve: Arc::new(Resolver {
                secrets: secrets.clone(),
                production: options.production,
            }),
            events: Arc::new(ToLog(events.clone(), tallies.clone())),
        };
        let supervisor = Supervisor::start(
            flotilla_supervisor::Options {
                boot: mark.narrow(&boot),
                guard: Some(guard),
                log_dir: Some(home.path().join(LOGS)),
                seed: clock::now(),
            },
            ports,
        );
        sessions.attach(supervisor.clone());

        let gateway = Gateway::new(
            Arc::new(crate::gateway::Port {
                sessions: sessions.clone(),
                events: events.clone(),
                calls: calls.clone(),
            }),
            clock::now(),
        );

        let sample_interval = options
            .sample_interval
            .unwrap_or(loaded.fleet.sample_interval);
        let ring = flotilla_metrics::Options {
            interval: sample_interval.max(Duration::from_millis(100)),
            ..Default::default()
        };
        let live = Live::new(&ring);
        let pages = Pages::default();
        let folder = home.path().join(METRICS);
        let (kept, said) =
            kept::open(folder, &loaded.fleet.metrics, pages.clone(), live.clone()).await;
        notices.extend(said);
        let clients = Clients::new(home.path(), options.bridge);
        let workflows = Workflows::new(
            home.path(),
            mark.narrow(&boot),
            runs.clone(),
            events.clone(),
        );
        let (alerts, said) = Alerts::new(
            home.path(),
            mark.narrow(&boot),
            events.clone(),
            secrets.clone(),
            loaded.fleet.alerts.clone(),
        );
        notices.extend(said);
        let (board, said) = Boards::new(home.path());
        notices.extend(said);
        let core = Arc::new(Self {
            board,
            home,
            token: uuid::Uuid::new_v4().simple().to_string()
                + &uuid::Uuid::new_v4().simple().to_string(),
            production: options.production,
            started_at: clock::now(),
            supervisor,
            sessions,
            facts,
            control,
            events,
            calls,
            secrets,
            live,
            tallies,
            kept,
            pages,
            source: prometheus::Source::default(),
            gateway,
            samples: Mutex::default(),
            host_cpu: Mutex::default(),
            ticks: broadcast::channel(LAG).0,
            deltas: broadcast::channel(LAG).0,
            world: Mutex::default(),
            info_changed: Notify::new(),
            agents: Mutex::new(agents),
            config: ConfigState::new(path, loaded),
            playground: Playground::default(),
            imports: Imports::default(),
            clients,
            workflows,
            alerts,
            runs,
            listeners: Mutex::default(),
            notices: Mutex::new(notices),
            sample_interval,
            ending: CancellationToken::new(),
            shutdown_requested: CancellationToken::new(),
            boot: boot.clone(),
        });
        let caller = itself("engine");
        core.tell(None, &caller, EventKind::EngineStarted { boot });
        core.bring_back(&caller, meanwhile).await;
        core.workflows.go_on(&core).await;
        core.clone().run_tasks();
        Ok(core)
    }

    fn run_tasks(self: Arc<Self>) {
        let tasks: [(&str, flotilla_supervisor::Boxed<()>); 12] = [
            ("views", Box::pin(crate::views::publish(self.clone()))),
            ("sampling", Box::pin(sampling::run(self.clone()))),
            ("config", Box::pin(crate::config::watch(self.clone()))),
            (
                "facts",
                Box::pin({
                    let core = self.clone();
                    async move { core.facts.keep(&core.control).await }
                }),
            ),
            ("agents", Box::pin(crate::agents::follow(self.clone()))),
            ("alerts", Box::pin(alerts::run(self.clone()))),
            ("gateway", Box::pin(crate::gateway::follow(self.clone()))),
            (
                "memory",
                Box::pin(crate::gateway::give_back(self.gateway.clone())),
            ),
            ("logs", Box::pin(discard_logs(self.clone()))),
            ("targets", Box::pin(kept::follow(self.clone()))),
            ("metrics", Box::pin(kept::tend(self.clone()))),
            ("triggers", Box::pin(crate::triggers::run(self.clone()))),
        ];
        for (name, task) in tasks {
            let ending = self.ending.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = ending.cancelled() => {}
                    () = task => tracing::debug!(task = name, "a task of the engine ended"),
                }
            });
        }
    }

    /// Appends an event that is about the engine or a whole server, and belongs to an operation.
    pub(crate) fn tell(&self, server: Option<&ServerId>, caller: &Caller, what: EventKind) {
        self.events.append(NewEvent {
            about: server.map(|id| id.instance(0)),
            correlation: Some(caller.correlation.clone()),
            what,
        });
    }

    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        self.config.fleet()
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            contract: CONTRACT_VERSION,
            version: VERSION.into(),
            boot: self.boot.clone(),
            now: clock::now(),
        }
    }

    pub(crate) fn announce(&self, listeners: Vec<Listener>) {
        let gateway = listeners.iter().find(|l| l.serves == "gateway");
        self.gateway
            .listens(gateway.map(|l| format!("http://{}/mcp", l.address)));
        *lock(&self.listeners) = listeners;
        self.write_boot();
        self.info_changed.notify_one();
    }

    /// Writes `engine.json` anew if somebody removed it.
    pub(crate) fn announce_again(&self) {
        if !self.home.is_announced()
            && !lock(&self.listeners).is_empty()
            && !self.ending.is_cancelled()
        {
            self.write_boot();
        }
    }

    fn write_boot(&self) {
        let listens = |what: &str| {
            let listeners = lock(&self.listeners);
            let at = listeners.iter().find(|l| l.serves == what)?;
            Some(format!("http://{}", at.address))
        };
        let boot = Boot {
            boot: self.boot.clone(),
            pid: std::process::id(),
            url: listens("panel").unwrap_or_default(),
            gateway: self.gateway.address(),
            dashboard: listens("dashboard").map(|at| at.replacen("http", "ws", 1)),
            stream: listens("stream").map(|at| at.replacen("http", "ws", 1) + "/stream"),
            token: self.token.clone(),
            version: VERSION.into(),
        };
        if let Err(error) = self.home.announce(&boot) {
            // The panel is needed most when something is wrong, a full disk for instance.
            tracing::error!(%error, "failed to write engine.json: the command line cannot find this engine");
            self.notice(format!("engine.json cannot be written ({error}): the command line cannot find this engine. Free space in {} or correct its permissions.", self.home.path().display()));
        }
    }

    /// Something that the operator should know; bounded, the oldest go first.
    pub(crate) fn notice(&self, text: String) {
        let mut notices = lock(&self.notices);
        if !notices.contains(&text) {
            if notices.len() >= 20 {
                notices.remove(0);
            }
            notices.push(text);
            drop(notices);
            self.info_changed.notify_one();
        }
    }

    /// What was said in a notice is not so any more.
    pub(crate) fn notice_over(&self, text: &str) {
        let mut notices = lock(&self.notices);
        let before = notices.len();
        notices.retain(|notice| notice != text);
        if notices.len() < before {
            drop(notices);
            self.info_changed.notify_one();
        }
    }

    pub(crate) fn healthz(&self) -> serde_json::Value {
        let log = self.events.state().borrow().clone();
        let behind = self.events.last_seq().saturating_sub(log.durable);
        let (mut running, mut failed) = (0_u32, 0_u32);
        for id in self.supervisor.servers() {
            let Some(seen) = self.supervisor.observe(&id) else {
                continue;
            };
            running += seen
                .instances
                .iter()
                .filter(|i| i.process.state == ProcessState::Running)
                .map(|_| 1)
                .sum::<u32>();
            failed += u32::from(
                seen.instances
                    .iter()
                    .any(|i| i.process.state == ProcessState::Failed),
            );
        }
        let findings: Vec<ConfigFinding> = self.config.findings();
        let component =
            |ok: bool, detail: String| serde_json::json!({ "ok": ok, "detail": detail });
        let store = log
            .trouble
            .clone()
            .unwrap_or_else(|| format!("{behind} events wait for the disk"));
        let config = findings.first().map_or_else(
            || "in force".to_owned(),
            |f| {
                format!(
                    "the last good one is in force; line {}: {}",
                    f.line, f.message
                )
            },
        );
        let (store_ok, config_ok) = (log.trouble.is_none(), findings.is_empty());
        serde_json::json!({
            "ok": store_ok,
            "timestamp": clock::now(),
            "queue": behind,
            "running": running,
            "components": {
                "supervisor": component(true, format!("{running} instances run, {failed} servers failed")),
                "store": component(store_ok, store),
                "config": component(config_ok, config),
            },
        })
    }

    pub(crate) async fn shutdown(&self) {
        self.home.withdraw();
        let caller = itself("engine");
        self.tell(None, &caller, EventKind::EngineStopped);
        self.ending.cancel();
        self.gateway.end();
        self.alerts.close();
        alerts::keep(self, u64::MAX).await;
        self.workflows.close().await;
        let left = self
            .supervisor
            .shutdown(SHUTDOWN, Some(&caller.correlation))
            .await;
        for id in left {
            tracing::warn!(instance = %id, "an instance did not end in time; the guard ends it");
        }
        self.facts.save_now(&self.control).await;
        if let Err(error) = self.events.close(FLUSH).await {
            tracing::warn!(%error, "failed to write the last events");
        }
        self.calls.close(FLUSH).await;
        self.runs.close(FLUSH).await;
        self.control.close().await;
    }
}

/// Who calls when nobody does: what the engine does of its own accord is an operation too.
pub(crate) fn itself(actor: &str) -> Caller {
    Caller {
        actor: actor.to_owned(),
        correlation: uuid::Uuid::new_v4().simple().to_string(),
    }
}

/// Logs of servers that were taken out go when their events go.
async fn discard_logs(core: Arc<Core>) {
    let keep = flotilla_store::EventOptions::default().keep_for;
    loop {
        let (folder, fleet) = (core.home.path().join(LOGS), core.fleet());
        let known = move |name: &str| fleet.servers.iter().any(|s| s.id.as_str() == name);
        let discard = move || flotilla_supervisor::discard_logs(&folder, keep, known);
        if let Err(error) = tokio::task::spawn_blocking(discard).await {
            tracing::warn!(%error, "retention of log files failed");
        }
        tokio::time::sleep(DISCARD_EVERY).await;
    }
}

/// Ends what an earlier engine of this home left, if even its guard was killed.
async fn sweep_leftovers(mark: &Mark) {
    let mark = mark.clone();
    let left = tokio::task::spawn_blocking(move || flotilla_os::kill_family(&mark, &[], 40)).await;
    if !matches!(left, Ok(0)) {
        tracing::warn!(
            ?left,
            "processes of an earlier engine of this home could not be ended"
        );
    }
}

/// In production a key that could be guessed is refused: secrets under it would only look protected.
fn key_from_outside() -> Result<(), StartError> {
    match std::env::var("FLOTILLA_SECRETS_KEY") {
        Ok(key) if !key.is_empty() => {
            flotilla_config::secrets::judge_key(&key).map_err(StartError::Key)
        }
        _ => Ok(()),
    }
}

async fn open_secrets(home: PathBuf) -> Box<dyn SecretStore> {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let fallback = home.clone();
    let opened =
        tokio::task::spawn_blocking(move || flotilla_config::secrets::open(&home, &env)).await;
    opened.unwrap_or_else(|_| {
        Box::new(flotilla_config::secrets::FileStore::new(
            &fallback,
            None,
            "the keyring failed",
        ))
    })
}
