//! What does the work of a step, as its `uses` says.

use std::fmt;

/// What does the work of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Uses {
    /// A tool of the fleet.
    Tool {
        /// The server.
        server: String,
        /// The tool, as the server names it.
        tool: String,
    },
    /// A command on this machine.
    Shell,
    /// A request over HTTP.
    Http,
    /// A verb on servers of the fleet.
    Fleet(FleetVerb),
    /// A file of the run's workspace.
    File,
    /// A value worked out from other values.
    Data,
    /// How this machine is.
    Monitor,
    /// A line for people.
    Notify,
    /// A person says yes or no.
    Approval,
    /// Time passes.
    Wait,
    /// Another workflow, as a run of its own.
    Workflow(String),
    /// A capability of an agent of the registry.
    Agent {
        /// Id of the agent.
        agent: String,
        /// The capability.
        capability: String,
    },
}

/// A verb on servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FleetVerb {
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Restart, all at once.
    Restart,
    /// Want another number of instances.
    Scale,
    /// Restart one after another, each when the one before is healthy.
    RollingRestart,
    /// Look how they are, and what they wrote last.
    Status,
    /// Have their health checked, now.
    Check,
    /// Call a tool whose name is a value.
    Call,
    /// What they took lately, and how long they take to answer.
    Measure,
    /// Check this machine.
    Doctor,
    /// Copy what the home of the engine needs to be made anew.
    Backup,
}

const VERBS: &[(&str, FleetVerb)] = &[
    ("start", FleetVerb::Start),
    ("stop", FleetVerb::Stop),
    ("restart", FleetVerb::Restart),
    ("scale", FleetVerb::Scale),
    ("rolling-restart", FleetVerb::RollingRestart),
    ("status", FleetVerb::Status),
    ("check", FleetVerb::Check),
    ("call", FleetVerb::Call),
    ("measure", FleetVerb::Measure),
    ("doctor", FleetVerb::Doctor),
    ("backup", FleetVerb::Backup),
];

impl Uses {
    /// Reads a `uses`.
    ///
    /// # Errors
    /// A sentence that says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = match text.split_once('/') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("shell", None) => Ok(Self::Shell),
            ("http", None) => Ok(Self::Http),
            ("file", None) => Ok(Self::File),
            ("data", None) => Ok(Self::Data),
            ("monitor", None) => Ok(Self::Monitor),
            ("notify", None) => Ok(Self::Notify),
            ("approval", None) => Ok(Self::Approval),
            ("wait", None) => Ok(Self::Wait),
            ("tool", Some(name)) => name
                .split_once("__")
                .filter(|(server, tool)| !server.is_empty() && !tool.is_empty())
                .map(|(server, tool)| Self::Tool {
                    server: server.to_owned(),
                    tool: tool.to_owned(),
                })
                .ok_or_else(|| format!("{text:?} names no tool; accepted is tool/SERVER__TOOL")),
            ("fleet", Some(verb)) => VERBS
                .iter()
                .find(|(word, _)| *word == verb)
                .map(|(_, verb)| Self::Fleet(*verb))
                .ok_or_else(|| {
                    let words: Vec<_> = VERBS.iter().map(|(word, _)| *word).collect();
                    format!("{text:?} names no verb; accepted are {}", words.join(", "))
                }),
            ("workflow", Some(name)) if !name.is_empty() => Ok(Self::Workflow(name.to_owned())),
            (
                "shell" | "http" | "file" | "data" | "monitor" | "notify" | "approval" | "wait",
                Some(_),
            ) => Err(format!("{text:?} says too much; accepted is {kind}")),
            (agent, Some(capability)) if !agent.is_empty() && !capability.is_empty() => {
                Ok(Self::Agent {
                    agent: agent.to_owned(),
                    capability: capability.to_owned(),
                })
            }
            _ => Err(format!(
                "{text:?} is nothing that does work; accepted are shell, http, file, data, monitor, notify, approval, wait, tool/SERVER__TOOL, fleet/VERB, workflow/NAME and AGENT/CAPABILITY"
            )),
        }
    }

    /// Whether a second time does no more than one, whatever it is given.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        use FleetVerb::{Check, Doctor, Measure, Status};
        matches!(
            self,
            Self::Data | Self::Fleet(Status | Check | Measure | Doctor)
        )
    }

    /// Whether the run itself does it, without an executor.
    #[must_use]
    pub fn only_waits(&self) -> bool {
        matches!(self, Self::Approval | Self::Wait)
    }
}

impl fmt::Display for FleetVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = VERBS.iter().find(|(_, verb)| verb == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool { server, tool } => write!(f, "tool/{server}__{tool}"),
            Self::Shell => f.write_str("shell"),
            Self::Http => f.write_str("http"),
            Self::Fleet(verb) => write!(f, "fleet/{verb}"),
            Self::File => f.write_str("file"),
            Self::Data => f.write_str("data"),
            Self::Monitor => f.write_str("monitor"),
            Self::Notify => f.write_str("notify"),
            Self::Approval => f.write_str("approval"),
            Self::Wait => f.write_str("wait"),
            Self::Workflow(name) => write!(f, "workflow/{name}"),
            Self::Agent { agent, capability } => write!(f, "{agent}/{capability}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_shown_the_same() {
        for text in [
            "shell",
            "http",
            "file",
            "data",
            "monitor",
            "notify",
            "approval",
            "wait",
            "tool/search__find",
            "tool/a__b__c",
            "fleet/rolling-restart",
            "fleet/stop",
            "fleet/backup",
            "workflow/nightly",
            "file-ops-000/file_operations",
        ] {
            assert_eq!(
                Uses::parse(text).map(|uses| uses.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "/",
            "a/",
            "/b",
            "nothing",
            "tool/",
            "tool/x",
            "tool/__x",
            "tool",
            "fleet",
            "fleet/fly",
            "shell/x",
            "workflow/",
        ] {
            assert!(
                Uses::parse(text).is_err_and(|why| why.contains("accepted")),
                "{text:?}"
            );
        }
    }
}
