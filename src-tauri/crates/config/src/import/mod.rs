//! Bringing in the servers that AI clients have configured.
//!
//! [`scan`] finds the files, [`preview`] turns the text of one into a [`Plan`]: what exactly would run, which literal secrets would
//! move to the secret store, and what cannot be taken over and why. [`Plan::apply`] adds the chosen servers to a text of `fleet.toml`.
//! The source is only ever read.

pub(crate) mod detect;
mod plan;
mod reference;
mod shape;
mod sources;
mod variables;

pub use reference::reference;
pub use sources::{Paths, load, scan};

use crate::{Fleet, edit, secrets::Secret};
use flotilla_contract::{
    ServerId,
    command::{ImportPlan, ImportServer},
};
use std::path::Path;
use toml_edit::Table;

/// Why there is nothing to preview.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("read {path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        error: String,
    },
    /// The text is neither JSON nor TOML.
    #[error("read the configuration: line {line}, column {column}: {error}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// Why.
        error: String,
    },
    /// There are no servers in it.
    #[error(
        "find servers: accepted are the keys mcpServers, servers, context_servers, mcp and mcp_servers"
    )]
    NoServers,
    /// A server was chosen that the preview does not offer.
    #[error("import {name:?}: {why}")]
    Choice {
        /// Which.
        name: String,
        /// Why not.
        why: String,
    },
    /// `fleet.toml` cannot be changed.
    #[error(transparent)]
    Edit(#[from] edit::EditError),
}

/// What an import would bring in. Holds the values of secrets, in memory only, and never prints them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which client the file belongs to.
    pub client: String,
    /// Names this preview; new for each.
    pub ticket: String,
    servers: Vec<Planned>,
}

/// One server of a plan.
#[derive(Clone, Debug)]
struct Planned {
    shown: ImportServer,
    /// What would be added to `fleet.toml`; absent when refused.
    table: Option<Table>,
    secrets: Vec<(String, Secret)>,
}

/// What came of applying a plan.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The new text of `fleet.toml`.
    pub text: String,
    /// The servers that it added.
    pub added: Vec<ServerId>,
    /// Secrets to store *before* the text is written, by name.
    pub secrets: Vec<(String, Secret)>,
}

impl Plan {
    /// The plan as a screen shows it.
    #[must_use]
    pub fn shown(&self) -> ImportPlan {
        let servers = self
            .servers
            .iter()
            .map(|server| server.shown.clone())
            .collect();
        ImportPlan {
            client: self.client.clone(),
            ticket: self.ticket.clone(),
            servers,
        }
    }

    /// Adds the chosen servers (by their names in the source) to a text of `fleet.toml`.
    ///
    /// # Errors
    /// When one is not offered or refused, its name was taken in the meantime, or `fleet.toml` is not valid.
    pub fn apply(&self, fleet_toml: &str, names: &[String]) -> Result<Applied, ImportError> {
        let mut tables = Vec::new();
        let mut secrets = Vec::new();
        for name in names {
            let refuse = |why: &str| ImportError::Choice {
                name: name.clone(),
                why: why.to_owned(),
            };
            let server = self
                .servers
                .iter()
                .find(|s| s.shown.source_name == *name)
                .ok_or_else(|| refuse("it is not in the preview"))?;
            let table = server.table.as_ref().ok_or_else(|| {
                refuse(server.shown.refused.as_deref().unwrap_or("it was refused"))
            })?;
            if tables.iter().any(|(id, _)| *id == server.shown.id) {
                continue;
            }
            tables.push((server.shown.id.clone(), table.clone()));
            secrets.extend(server.secrets.iter().cloned());
        }
        let text = edit::add_tables(fleet_toml, &tables)?;
        Ok(Applied {
            text,
            added: tables.into_iter().map(|(id, _)| id).collect(),
            secrets,
        })
    }
}

/// Reads the text of a client's configuration. `path` tells the client and, for a project's file, the project; pasted text has none.
/// `fleet` is what is declared already: names are made unique against it. `lookup` is the engine's environment.
///
/// # Errors
/// When the text cannot be read, or no servers are in it.
pub fn preview(
    text: &str,
    path: Option<&Path>,
    fleet: &Fleet,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Plan, ImportError> {
    let source = sources::identify(path);
    let found = shape::read(text, &source)?;
    let servers = plan::plan(&found, &source, fleet, lookup);
    Ok(Plan {
        client: source.client.to_owned(),
        ticket: uuid::Uuid::new_v4().to_string(),
        servers,
    })
}

#[cfg(test)]
mod tests;
