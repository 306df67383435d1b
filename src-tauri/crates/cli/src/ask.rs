//! The connection to the engine that owns the home.

use crate::exit::Failure;
use flotilla_contract::{
    Command,
    command::{EngineInfoCmd, FleetSnapshotCmd},
    frame::{FleetSnapshot, Topic},
};
use flotilla_remote::{Client, Source, Subscription};
use std::path::Path;

pub(crate) struct Engine(Client);

impl Engine {
    pub(crate) async fn connect(home: &Path) -> Result<Self, Failure> {
        Ok(Self(
            Client::connect(Source::Home(home.into()), &actor()).await?,
        ))
    }

    pub(crate) async fn run<C: Command>(&self, params: C::Params) -> Result<C::Output, Failure> {
        Ok(self.0.run::<C>(params).await?)
    }

    pub(crate) async fn snapshot(&self) -> Result<FleetSnapshot, Failure> {
        self.run::<FleetSnapshotCmd>(Default::default()).await
    }

    pub(crate) async fn subscribe(&self, topic: Topic) -> Result<Subscription, Failure> {
        Ok(self.0.subscribe(topic).await?)
    }

    /// `--production` binds the engine, not this program: where it was started without, that is said.
    pub(crate) async fn expect_production(&self) -> Result<(), Failure> {
        let engine = self.run::<EngineInfoCmd>(Default::default()).await?;
        if !engine.production {
            eprintln!(
                "flotilla: the engine was started without --production, so it does not refuse default secrets"
            );
        }
        Ok(())
    }
}

/// `cli`, with the user where the environment names one that can stand in a header.
fn actor() -> String {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("USERNAME"))
        .unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '\\');
    if !user.is_empty() && user.len() <= 48 && user.chars().all(plain) {
        format!("cli:{user}")
    } else {
        "cli".into()
    }
}
