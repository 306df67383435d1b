//! The floor: what a supervisor cannot go below on this machine. One task a child, `tokio::process` and nothing else:
//! no log, no state, no back-off, no record, no guard. It runs as a process of its own, like the engine.

use anyhow::{Context, Result};
use flotilla_tests::load::process::{self, Signal};
use std::{path::Path, process::Stdio};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    sync::watch,
};

/// First argument that makes this program the floor.
pub(crate) const ARGUMENT: &str = "__floor";

/// The floor's own program: `SOCKET COUNT FIXTURE`; obeys `start` and `stop` on its standard input.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let [socket, count, fixture] = arguments else {
        anyhow::bail!("usage: {ARGUMENT} SOCKET COUNT FIXTURE");
    };
    let count: u32 = count.parse()?;
    // The same runtime as the engine's.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (wanted, watched) = watch::channel(false);
    for index in 0..count {
        runtime.spawn(keep(
            fixture.clone(),
            socket.clone(),
            index,
            watched.clone(),
        ));
    }
    for line in std::io::stdin().lines() {
        wanted.send_replace(line? == "start");
    }
    Ok(())
}

/// Keeps one child running as long as it is wanted.
async fn keep(fixture: String, socket: String, index: u32, mut wanted: watch::Receiver<bool>) {
    loop {
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        let child = Command::new(&fixture)
            .args(["--probe-socket", &socket, "--index", &index.to_string()])
            .arg("--bare")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("floor: failed to run {fixture}");
            return;
        };
        tokio::select! {
            _ = child.wait() => {}
            () = unwanted(&mut wanted) => {
                process::signal(child.id().unwrap_or_default(), Signal::TERM);
                let _ = child.wait().await;
            }
        }
    }
}

async fn unwanted(wanted: &mut watch::Receiver<bool>) {
    // An error means that the floor ends.
    let _ = wanted.wait_for(|wanted| !*wanted).await;
}

/// The floor as seen by the measurement.
pub(crate) struct Floor {
    child: Child,
    orders: ChildStdin,
}

impl Floor {
    pub(crate) fn start(socket: &Path, count: u32, fixture: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(socket)
            .arg(count.to_string())
            .arg(fixture)
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start the floor")?;
        let orders = child.stdin.take().context("the floor has no stdin")?;
        Ok(Self { child, orders })
    }

    pub(crate) async fn order(&mut self, order: &str) -> Result<()> {
        self.orders
            .write_all(format!("{order}\n").as_bytes())
            .await?;
        Ok(self.orders.flush().await?)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }
}
