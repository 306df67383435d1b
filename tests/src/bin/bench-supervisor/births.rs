//! First instructions of children, as they report them themselves.

use anyhow::{Context, Result, bail};
use std::{
    collections::HashMap,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;

/// Longer than any birth takes, if it comes at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// A child at its first instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) index: u32,
    pub(crate) pid: u32,
    /// Monotonic clock, nanoseconds.
    pub(crate) at: u64,
}

pub(crate) struct Births {
    path: PathBuf,
    reports: mpsc::UnboundedReceiver<Birth>,
    /// The process at hand, by index.
    pub(crate) alive: HashMap<u32, u32>,
}

impl Births {
    /// Listens at `path`. A thread of its own takes the datagrams, so that no child waits in its first call.
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).context("failed to listen for children")?;
        let (tell, reports) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 128];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                let mut fields = text.split(' ').filter_map(|field| field.parse().ok());
                let (Some(index), Some(pid), Some(at)) =
                    (fields.next(), fields.next(), fields.next())
                else {
                    continue;
                };
                let birth = Birth {
                    index: index as u32,
                    pid: pid as u32,
                    at,
                };
                if tell.send(birth).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            path: path.to_owned(),
            reports,
            alive: HashMap::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next `count` births; gives the moment of the last first instruction.
    pub(crate) async fn next(&mut self, count: usize) -> Result<u64> {
        let mut last = 0;
        for seen in 0..count {
            let Ok(Some(birth)) = tokio::time::timeout(PATIENCE, self.reports.recv()).await else {
                bail!("{seen} of {count} children came within {PATIENCE:?}");
            };
            self.alive.insert(birth.index, birth.pid);
            last = last.max(birth.at);
        }
        Ok(last)
    }
}
