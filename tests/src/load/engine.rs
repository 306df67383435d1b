//! A headless engine as a process of its own, spoken to as its hosts do.

use anyhow::{Context, Result, bail};
use flotilla_contract::Command as Verb;
use flotilla_remote::{Client, Error, Source};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// How long an engine may take until it listens.
const START: Duration = Duration::from_secs(60);
/// How long it may take to stop its fleet.
const END: Duration = Duration::from_secs(60);

/// A running engine. Dropped, it is killed; its guard ends what it started.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    /// The reading end stays open, so that the engine never writes into a closed pipe.
    _stdout: Lines<BufReader<ChildStdout>>,
    pid: u32,
    home: PathBuf,
    /// What it printed about itself when it was up.
    greeting: serde_json::Value,
}

impl Engine {
    /// Starts one that owns `home`, on a free port, and waits until it listens. Its log goes to `HOME.log`.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(home: &Path, args: &[&str]) -> Result<Self> {
        let program = engine_program()?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.with_extension("log"))?;
        let mut child = Command::new(&program)
            .args(["serve", "--json", "--port", "0"])
            .args(args)
            .env("FLOTILLA_HOME", home)
            // A machine's own keyring is nobody's to touch here.
            .env("FLOTILLA_SECRETS", "file")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to run {}", program.display()))?;
        let stdout = child.stdout.take().context("the engine has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let up = async {
            while let Some(line) = lines.next_line().await? {
                let greeting = serde_json::from_str::<serde_json::Value>(&line).ok();
                if let Some(greeting) = greeting.filter(|told| told.get("panel").is_some()) {
                    return Ok(Some(greeting));
                }
            }
            anyhow::Ok(None)
        };
        let Some(greeting) = tokio::time::timeout(START, up)
            .await
            .context("the engine does not come up")??
        else {
            bail!(
                "the engine ended before it listened: {}",
                child.wait().await?
            );
        };
        Ok(Self {
            greeting,
            pid: child.id().context("the engine has ended")?,
            child,
            _stdout: lines,
            home: home.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it told about itself when it was up: `panel`, `url`, `home`, …
    #[must_use]
    pub fn told(&self, key: &str) -> Option<&str> {
        self.greeting.get(key)?.as_str()
    }

    /// A connection to it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(&self) -> Result<Client> {
        Client::connect(Source::Home(self.home.clone()), "load")
            .await
            .context("failed to connect to the engine")
    }

    /// SIGKILL, as a crash would end it; returns when it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Ends it as an operator would: SIGTERM, and it stops its fleet first.
    ///
    /// # Errors
    /// When it ends badly or not at all.
    pub async fn end(mut self) -> Result<()> {
        super::process::signal(self.pid, super::process::Signal::TERM);
        let status = tokio::time::timeout(END, self.child.wait())
            .await
            .context("the engine does not end")??;
        if !status.success() {
            bail!("the engine ended with {status}");
        }
        Ok(())
    }
}

/// Runs a command; the answer in time, or why not.
///
/// # Errors
/// What the engine answers, or that it could not be asked or heard.
pub async fn run<C: Verb>(client: &Client, params: C::Params) -> Result<C::Output, Error> {
    // A command watches for its end for 30 s; an answer must come soon after.
    const CALL: Duration = Duration::from_secs(45);
    match tokio::time::timeout(CALL, client.run::<C>(params)).await {
        Ok(answer) => answer,
        Err(_) => panic!("{}: no answer within {CALL:?}", C::NAME),
    }
}

/// The program under test: `FLOTILLA_BIN`, or `flotilla` beside this program.
///
/// # Errors
/// When it is not there.
pub fn engine_program() -> Result<PathBuf> {
    match std::env::var_os("FLOTILLA_BIN") {
        Some(path) => there(path.into()),
        None => beside("flotilla"),
    }
}

/// The server that is supervised: `flotilla-fixture` beside this program.
///
/// # Errors
/// When it is not there.
pub fn fixture_program() -> Result<PathBuf> {
    beside("flotilla-fixture")
}

fn beside(name: &str) -> Result<PathBuf> {
    there(std::env::current_exe()?.with_file_name(name))
}

fn there(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!(
            "{} is not there: `cargo xtask bench` builds it",
            path.display()
        );
    }
    Ok(path)
}
