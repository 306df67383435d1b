//! A server as data: its name, its port, and what it offers.

use crate::tool::{Refusal, Tool};
use serde_json::{Map, Value};
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::broadcast;

/// One of the reference servers.
pub struct Service {
    /// As on the command line.
    pub name: &'static str,
    /// Where it listens when nothing else is said; instance *n* on `port + 100 * (n - 1)`.
    pub port: u16,
    /// A few words for people.
    pub title: &'static str,
    /// What it is for, told to models as instructions.
    pub description: &'static str,
    /// What it does.
    pub tools: Vec<Tool>,
    /// What can be read.
    pub resources: Vec<Resource>,
    /// Questions made ready.
    pub prompts: Vec<Prompt>,
    /// What it does without being asked.
    pub beats: Vec<Beat>,
}

impl Service {
    /// The tool of this name, or of this second name.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools
            .iter()
            .find(|tool| tool.name == name || tool.alias == Some(name))
    }
}

#[cfg(test)]
impl Service {
    /// Calls a tool as the one client there is.
    pub(crate) fn ask(&self, tool: &str, arguments: Value) -> Result<Value, Refusal> {
        let tool = self.tool(tool).expect("no such tool");
        tool.call(&crate::tool::Context::default(), arguments)
    }

    /// Reads a resource.
    pub(crate) fn read(&self, uri: &str) -> Value {
        let mut resources = self.resources.iter();
        let resource = resources.find(|resource| resource.uri == uri);
        (resource.expect("no such resource").read)()
    }

    /// Its tools, under both names.
    pub(crate) fn names(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let tools = self.tools.iter();
        tools.map(|tool| (tool.name, tool.alias)).collect()
    }
}

/// Something that can be read, as JSON.
pub struct Resource {
    /// Its address, as `similarity://calculator/config`.
    pub uri: &'static str,
    /// Its short name.
    pub name: &'static str,
    /// What it holds.
    pub description: &'static str,
    /// Reads it.
    pub read: Box<dyn Fn() -> Value + Send + Sync>,
}

/// Something that is done again and again, while the server runs.
pub struct Beat {
    /// How often.
    pub every: Duration,
    /// Does it: at once, and without waiting.
    pub run: Box<dyn Fn() + Send + Sync>,
}

/// A question made ready for a model.
pub struct Prompt {
    /// Its name.
    pub name: &'static str,
    /// What it asks for.
    pub description: &'static str,
    /// What it wants to know first.
    pub arguments: &'static [PromptArgument],
    /// The text of the one message, from the arguments: all that are required are there, all are strings.
    pub render: fn(&Map<String, Value>) -> String,
}

/// One thing that a prompt wants to know. Values are strings.
pub struct PromptArgument {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Whether the prompt needs it.
    pub required: bool,
}

impl Prompt {
    /// Its text. A missing or foreign argument is refused by name.
    pub fn text(&self, arguments: &Map<String, Value>) -> Result<String, Refusal> {
        for argument in self.arguments.iter().filter(|argument| argument.required) {
            if !arguments.contains_key(argument.name) {
                return Err(Refusal::argument(argument.name, "is required and missing"));
            }
        }
        for (name, value) in arguments {
            if !self.arguments.iter().any(|argument| argument.name == name) {
                return Err(Refusal::argument(name, "is not an argument of this prompt"));
            }
            if !value.is_string() {
                return Err(Refusal::argument(name, "must be a string"));
            }
        }
        Ok((self.render)(arguments))
    }
}

/// What a server is given by the program that runs it.
#[derive(Clone)]
pub struct Host {
    changes: broadcast::Sender<String>,
    data: Option<PathBuf>,
    clock: fn() -> SystemTime,
    itself: Arc<OnceLock<Weak<Service>>>,
}

impl Host {
    /// With a folder for what is to last (none: nothing is written), and the time.
    pub fn new(data: Option<PathBuf>, clock: fn() -> SystemTime) -> Self {
        Self {
            // Who reads too slowly is told that it missed some.
            changes: broadcast::channel(256).0,
            data,
            clock,
            itself: Arc::default(),
        }
    }

    /// Tells whoever subscribed that a resource changed.
    pub fn changed(&self, uri: &str) {
        // Nobody listening is no fault.
        let _ = self.changes.send(uri.to_owned());
    }

    /// Addresses of resources, as they change.
    pub fn changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    /// Whether anybody reads changes.
    pub fn is_heard(&self) -> bool {
        self.changes.receiver_count() > 0
    }

    /// The folder for what is to last, as `--data` names it.
    pub fn data(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        let since = (self.clock)()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Puts a server under its host, so that its tools can ask it.
    pub fn serve(&self, service: Service) -> Arc<Service> {
        let service = Arc::new(service);
        // A host has one server: a second one would not be asked.
        let _ = self.itself.set(Arc::downgrade(&service));
        service
    }

    /// The server that runs on this host, once it does.
    pub fn itself(&self) -> Option<Arc<Service>> {
        self.itself.get().and_then(Weak::upgrade)
    }
}
