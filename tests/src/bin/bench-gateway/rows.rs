//! What is measured: each row knows how it is started, when it is ready, and where it answers.

use crate::{gateway, measure::Args};
use anyhow::{Context as _, Result, bail, ensure};
use flotilla_tests::load::{
    Engine,
    mcp::{Endpoint, Load},
    process,
};
use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// From the start of a row to its first answer.
const READY: Duration = Duration::from_secs(60);

/// What the ratios are to.
pub(crate) const DIRECT: &str = "direct";
pub(crate) const HYPER_HOP: &str = "hyper-hop";
pub(crate) const BRIDGE: &str = "stdio-bridge";

/// One of those that are measured.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
    /// The echo tool's name there.
    pub(crate) tool: &'static str,
    /// Whether each call is the same, so that a cache can answer.
    pub(crate) same: bool,
    process: Process,
}

/// What stands behind a row, and ends with it.
pub(crate) enum Process {
    Role(Played),
    Engine(Box<Engine>, TempDir),
    /// Somebody else's.
    Elsewhere,
}

impl Row {
    pub(crate) fn new(name: &str, endpoint: Endpoint, process: Process) -> Self {
        Self {
            name: name.to_owned(),
            endpoint,
            tool: "echo",
            same: false,
            process,
        }
    }

    /// Everything that works for this row.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match &self.process {
            Process::Role(played) => process::tree(played.0.id()),
            Process::Engine(engine, _) => process::tree(engine.pid()),
            Process::Elsewhere => Vec::new(),
        }
    }

    /// A load on it.
    pub(crate) fn load(&self, sessions: usize, payload: usize) -> Load {
        Load {
            endpoint: self.endpoint.clone(),
            tool: self.tool.to_owned(),
            sessions,
            payload,
            same: self.same,
            warm_up: Duration::ZERO,
            span: Duration::ZERO,
        }
    }

    async fn ready(self) -> Result<Self> {
        let limit = Instant::now() + READY;
        while let Err(error) = self.load(1, 200).probe().await {
            if Instant::now() > limit {
                return Err(error.context(format!("{} does not get ready", self.name)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(self)
    }

    /// Ends what stands behind it.
    pub(crate) async fn end(self) -> Result<()> {
        match self.process {
            Process::Engine(engine, _home) => engine.end().await,
            Process::Role(_) | Process::Elsewhere => Ok(()),
        }
    }
}

/// This program in another role. Dropped, it is ended.
pub(crate) struct Played(Child);

impl Drop for Played {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program in a role that listens.
fn play(name: &str, args: &[&str]) -> Result<Row> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(args)
        // Open for as long as this process lives: the role ends when it does.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let played = Played(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let port = line.trim().parse::<u16>();
    let port = port.with_context(|| format!("{name} does not listen"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(Row::new(name, address.into(), Process::Role(played)))
}

/// All rows that are wanted, ready; the direct one is the first.
pub(crate) async fn start(args: &Args) -> Result<Vec<Row>> {
    let direct = play(DIRECT, &["echo", &args.echo_port.to_string()])?
        .ready()
        .await?;
    let echo = direct.endpoint.clone();
    let upstream = echo.address.to_string();
    let roles: [(&str, &[&str]); 4] = [
        ("null", &["null"]),
        ("tcp-hop", &["tcp-hop", &upstream]),
        (HYPER_HOP, &["hyper-hop", &upstream]),
        (BRIDGE, &["bridge"]),
    ];
    let known: Vec<&str> = roles
        .iter()
        .map(|(name, _)| *name)
        .chain(gateway::KINDS.map(gateway::Kind::name))
        .collect();
    for name in &args.only {
        if name != DIRECT && !known.contains(&name.as_str()) {
            bail!("no row is named {name:?}; there are {}", known.join(", "));
        }
    }
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let mut rows = vec![direct];
    for (name, role) in roles.iter().filter(|(name, _)| wanted(name)) {
        rows.push(play(name, role)?.ready().await?);
    }
    for kind in gateway::KINDS
        .into_iter()
        .filter(|kind| wanted(kind.name()))
    {
        match gateway::start(kind, &echo).await? {
            Some(row) => rows.push(row.ready().await?),
            None => println!("{} is left out: this engine has no gateway", kind.name()),
        }
    }
    for peer in &args.peer {
        let (name, url) = peer
            .split_once('=')
            .with_context(|| format!("{peer} is not NAME=URL"))?;
        ensure!(args.echo_port != 0, "--peer needs --echo-port");
        let row = Row::new(name, url.parse()?, Process::Elsewhere);
        rows.push(row.ready().await?);
    }
    Ok(rows)
}
