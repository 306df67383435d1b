use crate::problems;
use flotilla_contract::{
    ErrorCode, WireError,
    agent::{Agent, AgentFilter, AgentStats},
};
use std::collections::{BTreeMap, BTreeSet};

/// Agents at most.
pub const MAX_AGENTS: usize = 10_000;

/// Every agent, by id.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    agents: BTreeMap<String, Agent>,
}

/// What an operation changed, for the store and the screens.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new agent.
    Deployed(Agent),
    /// An agent as it is now.
    Updated(Agent),
    /// The id of an agent that is gone.
    Removed(String),
}

impl Change {
    /// Which agent.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Deployed(agent) | Self::Updated(agent) => &agent.id,
            Self::Removed(id) => id,
        }
    }

    /// `deployed`, `updated` or `removed`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Deployed(_) => "deployed",
            Self::Updated(_) => "updated",
            Self::Removed(_) => "removed",
        }
    }
}

/// Why an operation was refused. Nothing is changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The agent is malformed.
    #[error("register the agent {id:?}: {}", .problems.join("; "))]
    Invalid {
        /// Its id, as given.
        id: String,
        /// All that is wrong.
        problems: Vec<String>,
    },
    /// No agent has this id.
    #[error("find an agent named {0:?}")]
    NotFound(String),
    /// There are [`MAX_AGENTS`] agents.
    #[error("register the agent {0:?}: the registry is full ({MAX_AGENTS} agents)")]
    Full(String),
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Invalid { .. } => ErrorCode::BadRequest,
            Error::NotFound(_) => ErrorCode::NotFound,
            Error::Full(_) => ErrorCode::Unsupported,
        };
        Self::new(code, error.to_string())
    }
}

impl Registry {
    /// A registry of what was stored. An agent that is not valid (any more) is left out and named.
    #[must_use]
    pub fn restore(stored: impl IntoIterator<Item = Agent>) -> (Self, Vec<Error>) {
        let mut registry = Self::default();
        let errors = stored
            .into_iter()
            .filter_map(|agent| registry.deploy(agent).err())
            .collect();
        (registry, errors)
    }

    /// Registers an agent. One of the same id is replaced, but stays enabled or disabled as it was, and keeps the time of
    /// its first deployment.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong; [`Error::Full`].
    pub fn deploy(&mut self, mut agent: Agent) -> Result<Option<Change>, Error> {
        valid(&agent)?;
        let Some(there) = self.agents.get_mut(&agent.id) else {
            if self.agents.len() >= MAX_AGENTS {
                return Err(Error::Full(agent.id));
            }
            self.agents.insert(agent.id.clone(), agent.clone());
            return Ok(Some(Change::Deployed(agent)));
        };
        (agent.enabled, agent.deployed_at) = (there.enabled, there.deployed_at);
        Ok(replace(there, agent))
    }

    /// Enables or disables an agent.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn set_enabled(&mut self, id: &str, enabled: bool) -> Result<Option<Change>, Error> {
        let there = self
            .agents
            .get_mut(id)
            .ok_or_else(|| Error::NotFound(id.to_owned()))?;
        let agent = Agent {
            enabled,
            ..there.clone()
        };
        Ok(replace(there, agent))
    }

    /// Takes an agent out.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove(&mut self, id: &str) -> Result<Change, Error> {
        let removed = self
            .agents
            .remove(id)
            .ok_or_else(|| Error::NotFound(id.to_owned()))?;
        Ok(Change::Removed(removed.id))
    }

    /// One agent.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// The agents that meet every condition of the filter, by id.
    pub fn list<'a>(&'a self, filter: &AgentFilter) -> impl Iterator<Item = &'a Agent> + use<'a> {
        let search = filter.search.as_deref().map(str::to_lowercase);
        let filter = filter.clone();
        self.agents.values().filter(move |agent| {
            filter
                .enabled
                .is_none_or(|enabled| enabled == agent.enabled)
                && filter
                    .category
                    .as_ref()
                    .is_none_or(|category| *category == agent.category)
                && (filter.tags.is_empty()
                    || filter.tags.iter().any(|tag| agent.tags.contains(tag)))
                && search.as_deref().is_none_or(|text| mentions(agent, text))
        })
    }

    /// The registry in numbers, with every category and tag in use. An agent counts once per tag, however often it bears it.
    #[must_use]
    pub fn stats(&self) -> AgentStats {
        let mut stats = AgentStats::default();
        for agent in self.agents.values() {
            stats.total += 1;
            *(if agent.enabled {
                &mut stats.enabled
            } else {
                &mut stats.disabled
            }) += 1;
            *stats.by_category.entry(agent.category.clone()).or_default() += 1;
            for tag in agent.tags.iter().collect::<BTreeSet<_>>() {
                *stats.by_tag.entry(tag.clone()).or_default() += 1;
            }
        }
        stats
    }
}

fn valid(agent: &Agent) -> Result<(), Error> {
    let problems = problems(agent);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid {
            id: agent.id.clone(),
            problems,
        })
    }
}

fn replace(there: &mut Agent, agent: Agent) -> Option<Change> {
    if *there == agent {
        return None;
    }
    *there = agent.clone();
    Some(Change::Updated(agent))
}

/// Whether name, id or a capability's name holds the text, which is in lower case.
fn mentions(agent: &Agent, text: &str) -> bool {
    let capabilities = agent.capabilities.iter().map(|capability| &capability.name);
    [&agent.name, &agent.id]
        .into_iter()
        .chain(capabilities)
        .any(|word| word.to_lowercase().contains(text))
}

#[cfg(test)]
mod tests;
