//! What one server offers, as it said when it was last asked.

use flotilla_contract::{gateway::Offers, tool::Peer};
use flotilla_mcp::{Error, Items, List, Session};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::{borrow::Cow, sync::Arc, time::Duration};

const METHOD_NOT_FOUND: i64 = -32601;

/// Everything that a server offers.
pub(crate) struct Offer {
    pub(crate) peer: Arc<Peer>,
    pub(crate) tools: Vec<Entry>,
    pub(crate) prompts: Vec<Entry>,
    pub(crate) resources: Vec<Entry>,
    pub(crate) templates: Vec<Entry>,
    /// How long the lists are good, and whether they are for one client only.
    pub(crate) ttl_ms: u64,
    pub(crate) private: bool,
    /// Equal offers have equal prints, one for each list.
    pub(crate) prints: [[u8; 32]; 4],
}

/// One thing on offer.
pub(crate) struct Entry {
    /// Its name; the URI of a resource, the template of a template.
    pub(crate) name: String,
    /// As the server gave it.
    pub(crate) raw: Box<RawValue>,
    /// Calling it twice is as good as once, as its annotations say. Tools only.
    pub(crate) repeatable: bool,
    /// Only there on a legacy client's own connection: the server has it for clients that can be asked something.
    pub(crate) own: bool,
}

impl Offer {
    /// Asks a server for everything, within `limit` for each list.
    pub(crate) async fn ask(
        session: &Session,
        peer: Arc<Peer>,
        limit: Duration,
    ) -> Result<Self, Error> {
        let has = |name: &str| peer.capabilities.get(name).is_some();
        let (tools, prompts, resources) = (has("tools"), has("prompts"), has("resources"));
        let ask = |wanted: bool, what: List| async move {
            if !wanted {
                return Ok(None);
            }
            match session.list(what, limit).await {
                Ok(items) => Ok(Some(items)),
                // It declared the one and forgot the other: it has none.
                Err(Error::Rpc { code, .. }) if code == METHOD_NOT_FOUND => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (tools, prompts, resources, templates) = tokio::try_join!(
            ask(tools, List::Tools),
            ask(prompts, List::Prompts),
            ask(resources, List::Resources),
            ask(resources, List::Templates),
        )?;
        let lists = [&tools, &prompts, &resources, &templates];
        let asked = || lists.iter().filter_map(|list| list.as_ref());
        Ok(Self {
            ttl_ms: asked().map(|list| list.ttl_ms).min().unwrap_or_default(),
            private: asked().any(|list| list.private),
            prints: lists.map(|list| print(list.as_ref())),
            tools: entries(tools, "name"),
            prompts: entries(prompts, "name"),
            resources: entries(resources, "uri"),
            templates: entries(templates, "uriTemplate"),
            peer,
        })
    }

    /// Marks the tools that the connection shared by all does not have.
    pub(crate) fn mark_own(&mut self, shared: Items) {
        let shared = entries(Some(shared), "name");
        for tool in &mut self.tools {
            tool.own = !shared.iter().any(|entry| entry.name == tool.name);
        }
    }

    pub(crate) fn counts(&self) -> Offers {
        let count = |entries: &[Entry]| u32::try_from(entries.len()).unwrap_or(u32::MAX);
        Offers {
            tools: count(&self.tools),
            prompts: count(&self.prompts),
            resources: count(&self.resources) + count(&self.templates),
        }
    }

    pub(crate) fn tool(&self, name: &str) -> Option<&Entry> {
        self.tools.iter().find(|tool| tool.name == name)
    }
}

fn print(list: Option<&Items>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for item in list.iter().flat_map(|list| &list.items) {
        hash.update(item.get().as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// What has no name is nothing that a client could ask for; of two of one name the first counts, as a call would find it.
fn entries(list: Option<Items>, key: &str) -> Vec<Entry> {
    let mut seen = std::collections::HashSet::new();
    list.into_iter()
        .flat_map(|list| list.items)
        .filter_map(|raw| {
            let name = name_of(&raw, key)?;
            let repeatable = key == "name" && is_repeatable(&raw);
            seen.insert(name.clone()).then_some(Entry {
                name,
                raw,
                repeatable,
                own: false,
            })
        })
        .collect()
}

fn name_of(raw: &RawValue, key: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        uri: Option<Cow<'a, str>>,
        #[serde(borrow, default, rename = "uriTemplate")]
        template: Option<Cow<'a, str>>,
    }
    let view: View<'_> = serde_json::from_str(raw.get()).ok()?;
    let found = match key {
        "name" => view.name,
        "uri" => view.uri,
        _ => view.template,
    };
    found.map(Cow::into_owned).filter(|name| !name.is_empty())
}

/// Read-only or idempotent, as the tool's annotations say.
fn is_repeatable(raw: &RawValue) -> bool {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Hints {
        read_only_hint: bool,
        idempotent_hint: bool,
    }
    #[derive(Deserialize)]
    struct View {
        #[serde(default)]
        annotations: Option<Hints>,
    }
    serde_json::from_str::<View>(raw.get())
        .ok()
        .and_then(|view| view.annotations)
        .is_some_and(|hints| hints.read_only_hint || hints.idempotent_hint)
}
