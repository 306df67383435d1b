//! What one server offers, as it said when it was last asked.

use crate::gateway::wall;
use flotilla_contract::{Millis, gateway::Offers, tool::Peer};
use flotilla_mcp::{Error, Items, List, Mirrors, Session};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::{borrow::Cow, sync::Arc, time::Duration};

const METHOD_NOT_FOUND: i64 = -32601;
/// An offer larger than this is not kept over a restart of the engine, in bytes.
const MOST_KEPT: usize = 4 << 20;

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
    /// Which of its arguments travel in headers as well. Tools only.
    pub(crate) mirrors: Option<Arc<Mirrors>>,
    /// Only there on a legacy client's own connection: the server has it for clients that can be asked something.
    pub(crate) own: bool,
}

/// An offer in the store.
#[derive(Serialize, Deserialize)]
struct Kept {
    at: Millis,
    peer: Peer,
    tools: Vec<Box<RawValue>>,
    prompts: Vec<Box<RawValue>>,
    resources: Vec<Box<RawValue>>,
    templates: Vec<Box<RawValue>>,
    /// Names of the tools that the connection shared by all does not have.
    own: Vec<String>,
    ttl_ms: u64,
    private: bool,
}

/// Who said what tools it has on the connection shared by all, and when, in an offer that was given to
/// [`Fleet::remember`](crate::Fleet::remember).
#[must_use]
pub fn remembered_tools(offer: &str) -> Option<(Peer, Vec<Box<RawValue>>, Millis)> {
    let kept: Kept = serde_json::from_str(offer).ok()?;
    let mut tools = kept.tools;
    tools.retain(|raw| name_of(raw, "name").is_none_or(|name| !kept.own.contains(&name)));
    Some((kept.peer, tools, kept.at))
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
            prints: lists.map(|list| print(list.as_ref().map_or(&[], |list| &list.items))),
            tools: entries(items(tools), "name"),
            prompts: entries(items(prompts), "name"),
            resources: entries(items(resources), "uri"),
            templates: entries(items(templates), "uriTemplate"),
            peer,
        })
    }

    /// Marks the tools that the connection shared by all does not have.
    pub(crate) fn mark_own(&mut self, shared: Items) {
        let shared = entries(shared.items, "name");
        for tool in &mut self.tools {
            tool.own = !shared.iter().any(|entry| entry.name == tool.name);
        }
    }

    /// As it is kept over a restart of the engine; `None` when it is too much to keep.
    pub(crate) fn to_kept(&self) -> Option<String> {
        let raw = |entries: &[Entry]| entries.iter().map(|entry| entry.raw.clone()).collect();
        let own = self.tools.iter().filter(|tool| tool.own);
        let kept = Kept {
            at: wall(),
            peer: Peer::clone(&self.peer),
            tools: raw(&self.tools),
            prompts: raw(&self.prompts),
            resources: raw(&self.resources),
            templates: raw(&self.templates),
            own: own.map(|tool| tool.name.clone()).collect(),
            ttl_ms: self.ttl_ms,
            private: self.private,
        };
        let text = serde_json::to_string(&kept).ok()?;
        (text.len() <= MOST_KEPT).then_some(text)
    }

    /// What was kept; `None` when an older engine wrote it in another form.
    pub(crate) fn of_kept(text: &str) -> Option<Self> {
        let kept: Kept = serde_json::from_str(text).ok()?;
        let lists = [&kept.tools, &kept.prompts, &kept.resources, &kept.templates];
        let prints = lists.map(|list| print(list));
        let mut tools = entries(kept.tools, "name");
        for tool in &mut tools {
            tool.own = kept.own.contains(&tool.name);
        }
        Some(Self {
            prints,
            tools,
            prompts: entries(kept.prompts, "name"),
            resources: entries(kept.resources, "uri"),
            templates: entries(kept.templates, "uriTemplate"),
            peer: Arc::new(kept.peer),
            ttl_ms: kept.ttl_ms,
            private: kept.private,
        })
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

fn items(list: Option<Items>) -> Vec<Box<RawValue>> {
    list.map(|list| list.items).unwrap_or_default()
}

fn print(list: &[Box<RawValue>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for item in list {
        hash.update(item.get().as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// What has no name is nothing that a client could ask for; of two of one name the first counts, as a call would find it.
fn entries(list: Vec<Box<RawValue>>, key: &str) -> Vec<Entry> {
    let mut seen = std::collections::HashSet::new();
    list.into_iter()
        .filter_map(|raw| {
            let name = name_of(&raw, key)?;
            let repeatable = key == "name" && is_repeatable(&raw);
            // What breaks the rules is told by the session that listed it.
            let mirrors = match key {
                "name" => Mirrors::of_tool(&raw).ok().flatten().map(Arc::new),
                _ => None,
            };
            seen.insert(name.clone()).then_some(Entry {
                name,
                raw,
                repeatable,
                mirrors,
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
