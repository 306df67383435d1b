//! What should be so: the servers, what is wanted of each, and the file that declares them.

use flotilla_contract::{
    ServerView,
    state::{HealthLevel, ProcessState},
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// In the environment of every process of a run, its children's too, whatever the engine does.
pub(crate) const RUN: &str = "CHAOS_RUN";
/// In the environment of a server: which version of its declaration started it.
pub(crate) const GENERATION: &str = "CHAOS_GENERATION";

/// What a server is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Speaks over its standard streams.
    Stdio,
    /// Listens; the port of its first instance.
    Http(u16),
    /// Has children; with `escape`, in sessions of their own.
    Family { escape: bool },
    /// Ignores SIGTERM and the end of its input.
    Stubborn,
    /// Crashes again and again, after so many seconds.
    Crashing(u32),
    /// Crashes at once and may be restarted three times: it must end as failed.
    Limited,
}

impl Kind {
    /// The mix, by place. HTTP servers take `ports` in turn.
    fn at(place: u32, ports: &mut impl Iterator<Item = u16>) -> Self {
        if place % 25 == 24 {
            return Self::Limited;
        }
        match place % 10 {
            0..=3 => Self::Stdio,
            4..=6 => ports.next().map_or(Self::Stdio, Self::Http),
            7 => Self::Family {
                escape: place % 20 == 7,
            },
            8 => Self::Stubborn,
            _ => Self::Crashing(2 + place % 5),
        }
    }

    fn flags(self) -> String {
        match self {
            Self::Stdio => String::new(),
            Self::Http(_) => "--http {port}".into(),
            Self::Family { escape: false } => "--children 2".into(),
            Self::Family { escape: true } => "--children 2 --escape".into(),
            Self::Stubborn => "--ignore-sigterm --ignore-eof".into(),
            Self::Crashing(seconds) => format!("--crash-after {seconds}s"),
            Self::Limited => "--crash-at-once 3".into(),
        }
    }
}

/// What is wanted of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) running: bool,
    pub(crate) replicas: u32,
}

impl Wanted {
    /// What the engine says is wanted.
    pub(crate) fn seen(view: &ServerView) -> Self {
        let (running, replicas) = view
            .r#override
            .as_ref()
            .map_or((None, None), |o| (o.running, o.replicas));
        Self {
            running: running.unwrap_or(view.spec.autostart),
            replicas: replicas.unwrap_or(view.spec.replicas),
        }
    }

    pub(crate) fn instances(self) -> u32 {
        if self.running { self.replicas } else { 0 }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    /// Replicas that the file declares.
    pub(crate) declared: u32,
    pub(crate) generation: u32,
    pub(crate) wanted: Wanted,
    /// What is wanted if the engine carried out what it could not acknowledge.
    pub(crate) perhaps: Option<Wanted>,
    /// Something is under way; nothing else is asked of it meanwhile.
    pub(crate) busy: bool,
}

impl Server {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            declared: 1,
            generation: 0,
            wanted: Wanted {
                running: true,
                replicas: 1,
            },
            perhaps: None,
            busy: false,
        }
    }

    /// Whether this is how it is declared.
    pub(crate) fn is_declared_as(&self, view: &ServerView) -> bool {
        let env = view.spec.transport.launch().and_then(|launch| {
            let value = launch.env.get(GENERATION)?;
            Some(*value == flotilla_contract::spec::Value::text(self.generation.to_string()))
        });
        view.spec.replicas == self.declared && env == Some(true)
    }

    /// What is amiss about what is observed, if anything.
    pub(crate) fn amiss(&self, view: &ServerView) -> Option<String> {
        let seen = Wanted::seen(view);
        if seen != self.wanted {
            return Some(format!("wanted is {seen:?}, asked was {:?}", self.wanted));
        }
        if !self.is_declared_as(view) {
            return Some("another declaration is in force".into());
        }
        let count = self.wanted.instances();
        let good = |process: ProcessState, health: HealthLevel| match self.kind {
            Kind::Limited => process == ProcessState::Failed,
            Kind::Crashing(_) => matches!(
                process,
                ProcessState::Running | ProcessState::Starting | ProcessState::Restarting
            ),
            _ => process == ProcessState::Running && health == HealthLevel::Healthy,
        };
        let (up, rest): (Vec<_>, Vec<_>) = view.instances.iter().partition(|i| i.id.index <= count);
        let bad = up
            .iter()
            .filter(|i| !good(i.process.state, i.health.level))
            .chain(rest.iter().filter(|i| {
                !matches!(
                    i.process.state,
                    ProcessState::Stopped | ProcessState::Failed
                ) || i.pid.is_some()
            }))
            .map(|i| {
                format!(
                    "instance {} is {:?}, {:?}: {}",
                    i.id.index, i.process.state, i.health.level, i.health.sentence
                )
            })
            .next();
        if bad.is_some() {
            return bad;
        }
        (up.len() as u32 != count).then(|| format!("{} of {count} instances are there", up.len()))
    }
}

/// All servers, by name.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) servers: BTreeMap<String, Server>,
    run: String,
    fixture: PathBuf,
    added: u32,
    /// First instances of servers yet to come take these ports.
    ports: std::ops::Range<u16>,
}

/// HTTP servers at most: instance *n* listens 100 ports above instance *n* − 1.
const HTTP_SERVERS: u16 = 100;
/// Ports that a run needs in a row.
pub(crate) const PORTS: u16 = HTTP_SERVERS * MOST_REPLICAS as u16;
/// Instances of a server at most.
pub(crate) const MOST_REPLICAS: u32 = 3;

impl Model {
    pub(crate) fn new(servers: u32, run: String, fixture: &Path, first_port: u16) -> Self {
        let mut model = Self {
            servers: BTreeMap::new(),
            run,
            fixture: fixture.to_owned(),
            added: 0,
            ports: first_port..first_port + HTTP_SERVERS,
        };
        for place in 0..servers {
            let kind = Kind::at(place, &mut model.ports);
            model
                .servers
                .insert(format!("server-{place:03}"), Server::new(kind));
        }
        model
    }

    /// Declares one more; gives its name.
    pub(crate) fn add(&mut self) -> String {
        self.added += 1;
        let kind = Kind::at(self.added, &mut self.ports);
        let name = format!("added-{:03}", self.added);
        self.servers.insert(name.clone(), Server::new(kind));
        name
    }

    /// `fleet.toml`.
    pub(crate) fn file(&self) -> String {
        let mut text = "profile = \"test\"\n[defaults]\n\
            health = { interval = \"2s\", retry_interval = \"500ms\", start_timeout = \"30s\" }\n\
            restart = { delays = [\"100ms\", \"200ms\", \"500ms\"], max_restarts = \"unlimited\" }\n\
            stop_timeout = \"2s\"\n"
            .to_owned();
        for (name, server) in &self.servers {
            let flags: Vec<String> = server
                .kind
                .flags()
                .split_whitespace()
                .map(|flag| format!("{flag:?}"))
                .collect();
            let mut more = String::new();
            if let Kind::Http(port) = server.kind {
                more = format!("port = {port}\n");
            } else if server.kind == Kind::Limited {
                more = "restart.max_restarts = 3\n".into();
            }
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[servers.{name}]\ncommand = {:?}\nargs = [{}]\nreplicas = {}\n\
                 env = {{ {RUN} = {:?}, {GENERATION} = \"{}\" }}\n{more}",
                self.fixture,
                flags.join(", "),
                server.declared,
                self.run,
                server.generation
            );
        }
        text
    }

    /// `CHAOS_RUN=…` as it stands in the environment of every process of this run.
    pub(crate) fn mark(&self) -> String {
        format!("{RUN}={}", self.run)
    }
}
