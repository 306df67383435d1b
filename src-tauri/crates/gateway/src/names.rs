//! Under which names clients see the tools and prompts of many servers: a pure function from what is offered to a table.
//!
//! **Shown names** consist of 1 to 64 characters of `A-Z a-z 0-9 _ -`, because many clients accept no others. Other characters
//! become `_`, and a name that had to be changed or cut ends in `_` and 8 digits of the SHA-256 of what it stands for, so that
//! it depends on nothing but itself. So does `server__name` for a server whose own name has `__` in it or `_` at its end:
//! `a__b__c` would mean two things.
//!
//! **Two never share a name.** Should that leave two equal ones, the one whose name is its own keeps it; the other gets more
//! digits. With [`NamePolicy::Prefix`] this can happen within one server only (by renaming, or on purpose), or by an accident
//! of 1 in 2³², so servers that come and go change no name of another's.

use flotilla_contract::{ServerId, gateway::NamePolicy};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The longest shown name.
const LONGEST: usize = 64;
/// Digits of the hash at the end of a name that was changed; twice as many each time that is not enough.
const DIGITS: usize = 8;

/// One tool or prompt that a server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Whose.
    pub(crate) server: ServerId,
    /// The server's own name of it.
    pub(crate) name: String,
    /// Another name for clients, without the server's prefix.
    pub(crate) rename: Option<String>,
    /// Whether clients do not see it.
    pub(crate) hidden: bool,
}

/// What a shown name stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) server: ServerId,
    /// The server's own name.
    pub(crate) name: String,
}

/// The table. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    shown: BTreeMap<String, Target>,
    by_server: HashMap<ServerId, HashMap<String, String>>,
    /// Names that more than one server wanted, each as a sentence without a final period.
    pub(crate) conflicts: Vec<String>,
}

impl Names {
    /// What a shown name stands for.
    pub(crate) fn target(&self, shown: &str) -> Option<&Target> {
        self.shown.get(shown)
    }

    /// Under which name clients see a server's own; `None` when they do not.
    pub(crate) fn shown(&self, server: &ServerId, name: &str) -> Option<&str> {
        Some(self.by_server.get(server)?.get(name)?.as_str())
    }

    /// All of them, by shown name.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.shown
            .iter()
            .map(|(shown, target)| (shown.as_str(), target))
    }

    fn insert(&mut self, shown: String, offer: &Offer) {
        self.by_server
            .entry(offer.server.clone())
            .or_default()
            .insert(offer.name.clone(), shown.clone());
        let target = Target {
            server: offer.server.clone(),
            name: offer.name.clone(),
        };
        self.shown.insert(shown, target);
    }
}

/// Gives each offer that is not hidden its name. The order of the offers does not matter.
pub(crate) fn names(policy: NamePolicy, priority: &[ServerId], offers: &[Offer]) -> Names {
    let visible = visible(priority, offers);
    let mut names = Names::default();
    let wishes = match policy {
        NamePolicy::Prefix => visible.into_iter().map(Wish::prefixed).collect(),
        NamePolicy::Priority => by_priority(visible, &mut names.conflicts),
        NamePolicy::Manual => without_doubles(visible, &mut names.conflicts),
    };
    settle(wishes, &mut names);
    names
}

/// The offers to be shown, each once: servers in their order of priority, then by name; within a server by name.
fn visible<'a>(priority: &[ServerId], offers: &'a [Offer]) -> Vec<&'a Offer> {
    let rank = |server: &ServerId| {
        let at = priority.iter().position(|named| named == server);
        at.unwrap_or(priority.len())
    };
    let mut visible: Vec<&Offer> = offers.iter().filter(|offer| !offer.hidden).collect();
    visible.sort_by(|a, b| order(a, b, &rank));
    visible.dedup_by(|a, b| (&a.server, &a.name) == (&b.server, &b.name));
    visible
}

fn order(a: &Offer, b: &Offer, rank: &impl Fn(&ServerId) -> usize) -> std::cmp::Ordering {
    rank(&a.server)
        .cmp(&rank(&b.server))
        .then_with(|| a.server.cmp(&b.server))
        .then_with(|| a.name.cmp(&b.name))
        .then_with(|| a.rename.cmp(&b.rename))
}

/// A name that an offer would like to have.
struct Wish<'a> {
    offer: &'a Offer,
    /// As it is, when it may be shown so.
    text: String,
    exact: bool,
}

impl<'a> Wish<'a> {
    fn prefixed(offer: &'a Offer) -> Self {
        let server = offer.server.as_str();
        let text = format!("{server}__{}", offer.own());
        let exact = is_allowed(&text) && !server.contains("__") && !server.ends_with('_');
        Self { offer, text, exact }
    }

    fn plain(offer: &'a Offer) -> Self {
        let text = offer.own().to_owned();
        let exact = is_allowed(&text);
        Self { offer, text, exact }
    }

    /// The name with so many digits of the hash; none when it may stay as it is.
    fn with(&self, digits: usize) -> String {
        if digits == 0 {
            return self.text.clone();
        }
        let hash = hash(self.offer);
        let digits = &hash[..digits.min(hash.len()).min(LONGEST - 2)];
        let room = LONGEST - 1 - digits.len();
        let stem: String = self.text.chars().take(room).map(allowed_or_line).collect();
        format!("{stem}_{digits}")
    }
}

impl Offer {
    /// Its name without a prefix.
    fn own(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.name)
    }
}

/// Plain names for those who come first, `server__name` for the others.
fn by_priority<'a>(visible: Vec<&'a Offer>, conflicts: &mut Vec<String>) -> Vec<Wish<'a>> {
    let mut keepers: HashMap<&str, &ServerId> = HashMap::new();
    for offer in &visible {
        keepers.entry(offer.own()).or_insert(&offer.server);
    }
    for (name, servers) in wanted_by_many(&visible) {
        if let Some(keeper) = keepers.get(name) {
            conflicts.push(format!(
                "{name} is offered by {}; {keeper} keeps the name, the others' is prefixed",
                list(&servers)
            ));
        }
    }
    let wish = |offer: &'a Offer| {
        if keepers.get(offer.own()) == Some(&&offer.server) {
            Wish::plain(offer)
        } else {
            Wish::prefixed(offer)
        }
    };
    visible.into_iter().map(wish).collect()
}

/// Plain names; those wanted by more than one server are for none.
fn without_doubles<'a>(visible: Vec<&'a Offer>, conflicts: &mut Vec<String>) -> Vec<Wish<'a>> {
    let doubles = wanted_by_many(&visible);
    for (name, servers) in &doubles {
        conflicts.push(format!(
            "{name} is offered by {}; it is shown for none of them until all but one are renamed or hidden",
            list(servers)
        ));
    }
    let single = |offer: &&Offer| !doubles.contains_key(offer.own());
    visible
        .into_iter()
        .filter(single)
        .map(Wish::plain)
        .collect()
}

fn wanted_by_many<'a>(visible: &[&'a Offer]) -> BTreeMap<&'a str, BTreeSet<&'a ServerId>> {
    let mut wanted: BTreeMap<&str, BTreeSet<&ServerId>> = BTreeMap::new();
    for offer in visible {
        wanted.entry(offer.own()).or_default().insert(&offer.server);
    }
    wanted.retain(|_, servers| servers.len() > 1);
    wanted
}

/// Grants the wishes: first the names that may stay as they are, those that were not renamed before the others; then those
/// that had to be changed. Whoever comes too late gets a hash, and as many digits of it as it takes.
fn settle(mut wishes: Vec<Wish<'_>>, names: &mut Names) {
    wishes.sort_by_key(|wish| (!wish.exact, wish.offer.rename.is_some()));
    for wish in &wishes {
        let mut digits = if wish.exact { 0 } else { DIGITS };
        let mut shown = wish.with(digits);
        let taken = |shown: &str| names.shown.get(shown);
        if let (Some(first), true) = (taken(&shown), wish.exact) {
            names.conflicts.push(format!(
                "{} of {} would be shown as {shown}, which is {} of {}; it is shown under a longer name",
                wish.offer.name, wish.offer.server, first.name, first.server
            ));
        }
        while names.shown.contains_key(&shown) && digits < LONGEST {
            digits = (digits * 2).max(DIGITS);
            shown = wish.with(digits);
        }
        // Out of digits, that is beyond SHA-256 cut to 62 digits: rather not shown than mistaken for another.
        if !names.shown.contains_key(&shown) {
            names.insert(shown, wish.offer);
        }
    }
}

fn is_allowed(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.chars().all(|c| allowed_or_line(c) == c)
}

fn allowed_or_line(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '-' {
        c
    } else {
        '_'
    }
}

/// SHA-256 of whose and which, in hexadecimal.
fn hash(offer: &Offer) -> String {
    let mut hash = Sha256::new();
    hash.update(offer.server.as_str());
    hash.update([0]);
    hash.update(&offer.name);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// "a, b and c".
fn list(servers: &BTreeSet<&ServerId>) -> String {
    let names: Vec<&str> = servers.iter().map(|server| server.as_str()).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests;
