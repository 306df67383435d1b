//! The fleet as the engine shows it, kept up to date by its deltas.

use anyhow::{Context, Result};
use flotilla_contract::{
    ServerView,
    frame::{Topic, Update},
};
use flotilla_remote::{Client, News};
use std::{collections::BTreeMap, fmt, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn},
};

#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) servers: BTreeMap<String, ServerView>,
    /// The file on disk is not the one in force.
    pub(crate) broken: bool,
}

/// Follows one engine; over when dropped.
pub(crate) struct Follower {
    pub(crate) picture: watch::Receiver<Picture>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Begins with the whole fleet as it is now.
    pub(crate) async fn follow(client: &Client) -> Result<Self> {
        let mut news = client.subscribe(Topic::Fleet).await?;
        let (show, mut picture) = watch::channel(Picture::default());
        let task = spawn(async move {
            while let Some(piece) = news.next().await {
                if let News::Update(update) = piece {
                    show.send_modify(|picture| take_in(picture, update));
                }
            }
        });
        picture.mark_unchanged();
        tokio::time::timeout(Duration::from_secs(10), picture.changed())
            .await
            .context("the engine shows no fleet")??;
        Ok(Self { picture, task })
    }

    /// Waits until this holds.
    pub(crate) async fn until(
        &self,
        limit: Duration,
        what: impl FnMut(&Picture) -> bool,
    ) -> Result<(), Unseen> {
        until(self.picture.clone(), limit, what).await
    }

    /// No more is shown: whoever waits learns that the engine is gone.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why something was not seen.
#[derive(Debug)]
pub(crate) enum Unseen {
    /// The engine that was to show it is gone.
    Gone,
    /// It was not so within this time.
    Late(Duration),
}

impl std::error::Error for Unseen {}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the engine is gone"),
            Self::Late(limit) => write!(f, "not so within {limit:?}"),
        }
    }
}

/// Waits until this holds.
pub(crate) async fn until(
    mut picture: watch::Receiver<Picture>,
    limit: Duration,
    what: impl FnMut(&Picture) -> bool,
) -> Result<(), Unseen> {
    match tokio::time::timeout(limit, picture.wait_for(what)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Unseen::Gone),
        Err(_) => Err(Unseen::Late(limit)),
    }
}

fn take_in(picture: &mut Picture, update: Update) {
    let (servers, engine) = match update {
        Update::Fleet(all) => {
            picture.servers.clear();
            (all.servers, Some(all.engine))
        }
        Update::Changed(delta) => {
            for id in &delta.removed {
                picture.servers.remove(id.as_str());
            }
            (delta.servers, delta.engine)
        }
        _ => return,
    };
    picture.servers.extend(
        servers
            .into_iter()
            .map(|view| (view.id().to_string(), view)),
    );
    if let Some(engine) = engine {
        picture.broken = !engine.config_findings.is_empty();
    }
}
