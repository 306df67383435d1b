//! What the whole fleet offers, as clients see it: one list of each kind, and whose each name is.
//!
//! Built anew whenever an offer or a setting changes, never changed in place; the texts of the lists are ready to be sent.

use crate::{
    names::{self, Names, Target},
    offer::Offer,
};
use flotilla_contract::{
    ServerId,
    gateway::{Exposure, GatewaySpec},
    tool::Era,
};
use flotilla_mcp::{List, serve};
use std::{collections::HashMap, sync::Arc};

/// A server in the catalogue.
pub(crate) struct Source {
    pub(crate) id: ServerId,
    pub(crate) exposure: Arc<Exposure>,
    pub(crate) offer: Arc<Offer>,
}

/// The lists of an endpoint.
pub(crate) struct Catalogue {
    tools: Names,
    prompts: Names,
    /// By URI; more than one owner is an ambiguity that a read must not resolve by chance.
    resources: HashMap<String, Vec<ServerId>>,
    templates: Vec<(String, ServerId)>,
    with_resources: Vec<ServerId>,
    texts: [Text; 4],
    /// Names that two servers want, each a sentence.
    pub(crate) conflicts: Vec<String>,
    /// Whether some server completes arguments, and takes a log level.
    pub(crate) completions: bool,
    pub(crate) logging: bool,
    /// Extensions that servers speak, by name.
    pub(crate) extensions: Vec<(String, serde_json::Value)>,
}

/// What nobody offers is an empty list, in either era.
impl Default for Catalogue {
    fn default() -> Self {
        let nothing = |list| Text::of(list, &[], (0, false));
        Self {
            tools: Names::default(),
            prompts: Names::default(),
            resources: HashMap::new(),
            templates: Vec::new(),
            with_resources: Vec::new(),
            texts: LISTS.map(nothing),
            conflicts: Vec::new(),
            completions: false,
            logging: false,
            extensions: Vec::new(),
        }
    }
}

/// In the order of their places.
const LISTS: [List; 4] = [List::Tools, List::Prompts, List::Resources, List::Templates];

/// An entry of a list, and whether only clients see it that can be asked something.
type Row = (String, bool);

/// A list in the words of both eras.
struct Text {
    plain: Eras,
    /// For clients that can be asked something, where it is another one.
    askable: Option<Eras>,
}

#[derive(PartialEq)]
struct Eras {
    legacy: Box<str>,
    modern: Box<str>,
}

/// Why a name leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nobody offers it.
    Unknown,
    /// More than one server offers it.
    Ambiguous(Vec<ServerId>),
}

fn place(list: List) -> usize {
    match list {
        List::Tools => 0,
        List::Prompts => 1,
        List::Resources => 2,
        List::Templates => 3,
    }
}

impl Catalogue {
    /// Puts the offers of `sources` side by side.
    pub(crate) fn of(spec: &GatewaySpec, sources: &[Source]) -> Self {
        let mut all = Self::default();
        let tools = all.named(spec, sources, List::Tools);
        let prompts = all.named(spec, sources, List::Prompts);
        let (mut resources, mut templates) = (Vec::new(), Vec::new());
        for source in sources {
            let offer = &source.offer;
            if !offer.resources.is_empty()
                || !offer.templates.is_empty()
                || offer.peer.capabilities.get("resources").is_some()
            {
                all.with_resources.push(source.id.clone());
            }
            for entry in &offer.resources {
                let owners = all.resources.entry(entry.name.clone()).or_default();
                owners.push(source.id.clone());
                if owners.len() == 1 {
                    resources.push((entry.raw.get().to_owned(), false));
                } else {
                    all.conflicts.push(format!(
                        "{} is offered by {} as well; reading it is refused until one is hidden",
                        entry.name, source.id
                    ));
                }
            }
            for entry in &offer.templates {
                all.templates.push((entry.name.clone(), source.id.clone()));
                templates.push((entry.raw.get().to_owned(), false));
            }
            let capabilities = &offer.peer.capabilities;
            all.completions |= capabilities.get("completions").is_some();
            all.logging |= capabilities.get("logging").is_some();
            for (name, value) in capabilities
                .get("extensions")
                .and_then(|extensions| extensions.as_object())
                .into_iter()
                .flatten()
            {
                if !all.extensions.iter().any(|(known, _)| known == name) {
                    all.extensions.push((name.clone(), value.clone()));
                }
            }
        }
        let good = |list: List| good_for(sources, list);
        all.texts = [
            (List::Tools, tools),
            (List::Prompts, prompts),
            (List::Resources, resources),
            (List::Templates, templates),
        ]
        .map(|(list, items)| Text::of(list, &items, good(list)));
        all
    }

    fn named(&mut self, spec: &GatewaySpec, sources: &[Source], list: List) -> Vec<Row> {
        let tools = list == List::Tools;
        let mut entries = HashMap::new();
        let mut offers = Vec::new();
        for source in sources {
            let all = if tools {
                &source.offer.tools
            } else {
                &source.offer.prompts
            };
            for entry in all {
                let said = tools
                    .then(|| source.exposure.tools.get(&entry.name))
                    .flatten();
                offers.push(names::Offer {
                    server: source.id.clone(),
                    name: entry.name.clone(),
                    rename: said.and_then(|said| said.name.clone()),
                    hidden: said.is_some_and(|said| said.hidden),
                });
                let description = said.and_then(|said| said.description.as_deref());
                entries.insert((&source.id, entry.name.as_str()), (entry, description));
            }
        }
        let table = names::names(spec.names, &spec.priority, &offers);
        self.conflicts.extend(table.conflicts.iter().cloned());
        // In the servers' own order, which their authors chose.
        let rows = offers
            .iter()
            .filter_map(|offer| {
                let shown = table.shown(&offer.server, &offer.name)?;
                let (entry, description) = entries.get(&(&offer.server, offer.name.as_str()))?;
                let mut raw = serve::set_field(&entry.raw, "name", shown);
                if let Some(description) = description {
                    raw = serve::set_field(&raw, "description", description);
                }
                Some((raw.get().to_owned(), entry.own))
            })
            .collect();
        if tools {
            self.tools = table;
        } else {
            self.prompts = table;
        }
        rows
    }

    /// The result of a list request of a client that can be asked something, or cannot.
    pub(crate) fn list(&self, list: List, era: Era, askable: bool) -> &str {
        let text = &self.texts[place(list)];
        let text = match &text.askable {
            Some(eras) if askable => eras,
            _ => &text.plain,
        };
        match era {
            Era::Modern => &text.modern,
            Era::Legacy => &text.legacy,
        }
    }

    /// Which lists a client would find different.
    pub(crate) fn differs_from(&self, other: &Self) -> [bool; 4] {
        [0, 1, 2, 3].map(|at| {
            let (ours, theirs) = (&self.texts[at], &other.texts[at]);
            ours.plain != theirs.plain || ours.askable != theirs.askable
        })
    }

    pub(crate) fn tool(&self, shown: &str) -> Option<&Target> {
        self.tools.target(shown)
    }

    pub(crate) fn prompt(&self, shown: &str) -> Option<&Target> {
        self.prompts.target(shown)
    }

    /// Whose a resource is: who lists it, else whose template fits best, else the only server that has resources at all.
    pub(crate) fn resource(&self, uri: &str) -> Result<&ServerId, Lost> {
        if let Some(owners) = self.resources.get(uri) {
            return match owners.as_slice() {
                [one] => Ok(one),
                many => Err(Lost::Ambiguous(many.to_vec())),
            };
        }
        let fits = |template: &str| literal_length(template, uri);
        let best = self
            .templates
            .iter()
            .filter_map(|(template, server)| Some((fits(template)?, server)))
            .max_by_key(|(length, _)| *length);
        if let Some((length, server)) = best {
            let mut rivals: Vec<ServerId> = self
                .templates
                .iter()
                .filter(|(template, _)| fits(template) == Some(length))
                .map(|(_, server)| server.clone())
                .collect();
            rivals.dedup();
            return if rivals.len() == 1 {
                Ok(server)
            } else {
                Err(Lost::Ambiguous(rivals))
            };
        }
        match self.with_resources.as_slice() {
            [only] => Ok(only),
            _ => Err(Lost::Unknown),
        }
    }

    /// Whose a template is, by its exact text.
    pub(crate) fn template(&self, text: &str) -> Option<&ServerId> {
        self.templates
            .iter()
            .find(|(template, _)| template == text)
            .map(|(_, server)| server)
    }
}

/// How much of `uri` the template says literally, if the URI fits it.
fn literal_length(template: &str, uri: &str) -> Option<usize> {
    let (mut rest, mut literal, mut first) = (uri, 0, true);
    let mut parts = template.split('{');
    let head = parts.next()?;
    rest = rest.strip_prefix(head)?;
    literal += head.len();
    for part in parts {
        first = false;
        let (_, text) = part.split_once('}')?;
        literal += text.len();
        if text.is_empty() {
            continue;
        }
        let at = rest.find(text)?;
        rest = &rest[at + text.len()..];
    }
    // Without a variable at its end a template must fit to the end.
    let open = template.ends_with('}');
    (open || (rest.is_empty() && !first)).then_some(literal)
}

/// The least time that a server says its list is good for, and whether all say it is for everybody.
fn good_for(sources: &[Source], list: List) -> (u64, bool) {
    let about = sources.iter().filter(|source| {
        let offer = &source.offer;
        !match list {
            List::Tools => &offer.tools,
            List::Prompts => &offer.prompts,
            List::Resources => &offer.resources,
            List::Templates => &offer.templates,
        }
        .is_empty()
    });
    about.fold((u64::MAX, true), |(ttl, public), source| {
        (
            ttl.min(source.offer.ttl_ms),
            public && !source.offer.private,
        )
    })
}

impl Text {
    fn of(list: List, items: &[Row], (ttl, public): (u64, bool)) -> Self {
        let ttl = if items.is_empty() { 0 } else { ttl };
        let scope = if public && !items.is_empty() {
            "public"
        } else {
            "private"
        };
        let eras = |askable: bool| {
            let shown = items.iter().filter(|(_, own)| askable || !own);
            let shown: Vec<&str> = shown.map(|(text, _)| text.as_str()).collect();
            let body = format!(r#""{}":[{}]"#, list.field(), shown.join(","));
            Eras {
                legacy: format!("{{{body}}}").into(),
                modern: format!(
                    r#"{{"resultType":"complete",{body},"ttlMs":{ttl},"cacheScope":"{scope}"}}"#
                )
                .into(),
            }
        };
        Self {
            plain: eras(false),
            askable: items.iter().any(|(_, own)| *own).then(|| eras(true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_that_offers_nothing_has_lists_all_the_same() {
        let nothing = Catalogue::of(&GatewaySpec::default(), &[]);
        for catalogue in [Catalogue::default(), nothing] {
            assert_eq!(
                catalogue.list(List::Tools, Era::Legacy, false),
                r#"{"tools":[]}"#
            );
            assert_eq!(
                catalogue.list(List::Templates, Era::Modern, true),
                r#"{"resultType":"complete","resourceTemplates":[],"ttlMs":0,"cacheScope":"private"}"#
            );
            assert_eq!(catalogue.differs_from(&Catalogue::default()), [false; 4]);
        }
    }

    #[test]
    fn a_uri_fits_a_template_by_what_it_says_literally() {
        for (template, uri, literal) in [
            ("file:///{path}", "file:///a/b", Some(8)),
            ("file:///{name}.md", "file:///a.md", Some(11)),
            ("file:///{name}.md", "file:///a.txt", None),
            ("db://{table}/rows/{id}", "db://users/rows/7", Some(11)),
            ("db://{table}/rows/{id}", "web://users/rows/7", None),
        ] {
            assert_eq!(literal_length(template, uri), literal, "{template} {uri}");
        }
    }
}
