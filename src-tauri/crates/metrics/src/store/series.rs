//! Names of series, and the register that gives each a number.

use super::bits::{Bytes, put};
use crate::exposition::{Kind, Labels, Pairs};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

/// The identity of a series: its metric's name and its labels, in one text, `name{a="b",c="d"}`. Labels stand sorted, once each, none of
/// them empty; so two series are the same when their texts are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesName(Arc<str>);

/// A label that stands twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label {0:?} stands twice in one series")]
pub struct TwiceError(String);

impl SeriesName {
    /// The name of a metric with labels in any order. A label with an empty value is as good as none, and is left out.
    ///
    /// # Errors
    /// When a label is there twice.
    pub fn new<'a>(
        metric: &str,
        labels: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>,
    ) -> Result<Self, TwiceError> {
        let mut labels: Vec<_> = labels.into_iter().filter(|(_, v)| !v.is_empty()).collect();
        labels.sort();
        if let Some(twice) = labels.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(TwiceError(twice[0].0.to_owned()));
        }
        let mut text = String::with_capacity(metric.len() + labels.len() * 24);
        text.push_str(metric);
        for (i, (name, value)) in labels.iter().enumerate() {
            text.push(if i == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        Ok(Self(text.into()))
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Name of the metric.
    #[must_use]
    pub fn metric(&self) -> &str {
        self.0.split('{').next().unwrap_or_default()
    }

    /// Its labels, sorted by name.
    #[must_use]
    pub fn labels(&self) -> Pairs<'_> {
        let inside = self.0.split_once('{').map_or("", |(_, rest)| rest);
        Labels::lawful(inside.strip_suffix('}').unwrap_or(inside)).into_iter()
    }

    /// The value of a label; `__name__` is the metric's name, as in Prometheus.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<Cow<'_, str>> {
        if name == "__name__" {
            return Some(self.metric().into());
        }
        self.labels().find(|(k, _)| *k == name).map(|(_, v)| v)
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a series only goes up between resets: what its kind says, or its name where nothing is said.
#[must_use]
pub fn accumulates(metric: &str, kind: Kind) -> bool {
    let ends = |with: &[&str]| with.iter().any(|end| metric.ends_with(end));
    match kind {
        Kind::Counter | Kind::Histogram => !metric.ends_with("_created"),
        Kind::Summary => ends(&["_sum", "_count"]),
        Kind::Gauge | Kind::GaugeHistogram | Kind::Info | Kind::StateSet => false,
        Kind::Unknown => ends(&["_total", "_sum", "_count", "_bucket"]),
    }
}

/// What the register knows of a series.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: SeriesName,
    pub(crate) source: u32,
    pub(crate) counter: bool,
    /// Its column in the head of its source.
    pub(crate) column: Option<u32>,
    /// The newest file that has it, and the log: there it is declared.
    pub(crate) file: u64,
    pub(crate) log: u64,
}

/// Series by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Register {
    pub(crate) by_id: BTreeMap<u32, Entry>,
    by_name: HashMap<SeriesName, u32>,
    next: u32,
    /// Names of the sources by number.
    pub(crate) sources: BTreeMap<u32, String>,
}

impl Register {
    pub(crate) fn source(&mut self, name: &str) -> u32 {
        if let Some((number, _)) = self.sources.iter().find(|(_, known)| *known == name) {
            return *number;
        }
        let number = self
            .sources
            .last_key_value()
            .map_or(0, |(last, _)| last + 1);
        self.sources.insert(number, name.to_owned());
        number
    }

    pub(crate) fn find(&self, name: &SeriesName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn add(&mut self, source: u32, name: SeriesName, counter: bool) -> u32 {
        let id = self.next;
        self.next += 1;
        self.by_name.insert(name.clone(), id);
        let entry = Entry {
            name,
            source,
            counter,
            column: None,
            file: 0,
            log: 0,
        };
        self.by_id.insert(id, entry);
        id
    }

    /// Forgets the series that are in no column and in no file from `oldest` on.
    pub(crate) fn forget_before(&mut self, oldest: u64) {
        let by_name = &mut self.by_name;
        self.by_id.retain(|id, entry| {
            let kept = entry.column.is_some() || entry.file >= oldest;
            if !kept && by_name.get(&entry.name) == Some(id) {
                by_name.remove(&entry.name);
            }
            kept
        });
    }

    /// Appends a declaration of series of one source: names share their beginnings with the one before.
    pub(crate) fn declare(&self, source: u32, ids: &[u32], out: &mut Vec<u8>) {
        let name = self.sources.get(&source).map_or("", String::as_str);
        put(out, source.into());
        put(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        let mut before = "";
        for (id, entry) in ids.iter().filter_map(|id| Some((id, self.by_id.get(id)?))) {
            let text = entry.name.text();
            let same = text.bytes().zip(before.bytes()).take_while(|(a, b)| a == b);
            let mut shared = same.count();
            while !text.is_char_boundary(shared) {
                shared -= 1;
            }
            put(out, u64::from(*id) << 1 | u64::from(entry.counter));
            put(out, shared as u64);
            put(out, (text.len() - shared) as u64);
            out.extend_from_slice(&text.as_bytes()[shared..]);
            before = text;
        }
    }

    /// Takes in a declaration that was written earlier. What is known already stays.
    pub(crate) fn learn(
        &mut self,
        declaration: &[u8],
        mut each: impl FnMut(&mut Entry),
    ) -> Option<()> {
        let mut bytes = Bytes(declaration);
        let source = u32::try_from(bytes.varint()?).ok()?;
        let name = std::str::from_utf8(bytes.counted()?).ok()?;
        self.sources
            .entry(source)
            .or_insert_with(|| name.to_owned());
        let mut text = String::new();
        while !bytes.0.is_empty() {
            let head = bytes.varint()?;
            let id = u32::try_from(head >> 1).ok()?;
            let shared = bytes.count()?;
            if shared > text.len() || !text.is_char_boundary(shared) {
                return None;
            }
            text.truncate(shared);
            text.push_str(std::str::from_utf8(bytes.counted()?).ok()?);
            let name = SeriesName(text.as_str().into());
            let entry = self.by_id.entry(id).or_insert_with(|| Entry {
                name: name.clone(),
                source,
                counter: head & 1 == 1,
                column: None,
                file: 0,
                log: 0,
            });
            each(entry);
            // The newest number is the one in use.
            let known = self.by_name.entry(name).or_insert(id);
            *known = id.max(*known);
            self.next = self.next.max(id.checked_add(1)?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn name(metric: &str, labels: &[(&str, &str)]) -> Result<SeriesName, TwiceError> {
        SeriesName::new(metric, labels.iter().map(|(k, v)| (*k, Cow::from(*v))))
    }

    #[test]
    fn a_name_is_its_labels_in_one_order() {
        let one = name("a:b", &[("y", "2"), ("x", "\"1\"\n"), ("none", "")]).unwrap();
        assert_eq!(one.text(), "a:b{x=\"\\\"1\\\"\\n\",y=\"2\"}");
        assert_eq!(
            (one.metric(), one.label("x"), one.label("none")),
            ("a:b", Some("\"1\"\n".into()), None)
        );
        assert_eq!(name("up", &[]).unwrap().text(), "up");
        assert_eq!(
            name("a", &[("x", "1"), ("x", "2")])
                .unwrap_err()
                .to_string(),
            "label \"x\" stands twice in one series"
        );
    }

    proptest! {
        /// What is declared is learned, whatever the names share.
        #[test]
        fn declarations_come_back(names in vec(("[a-c]{1,3}", vec(("[xy]{1,2}", "[é\"\\\\a]{0,3}"), 0..3)), 1..20)) {
            let mut here = Register::default();
            let source = here.source("a source");
            for (metric, labels) in &names {
                let labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str().into()));
                if let Ok(name) = SeriesName::new(metric, labels) && here.find(&name).is_none() {
                    here.add(source, name, metric.len() == 1);
                }
            }
            let ids: Vec<u32> = here.by_id.keys().copied().collect();
            let mut bytes = Vec::new();
            here.declare(source, &ids, &mut bytes);
            let mut there = Register::default();
            there.learn(&bytes, |_| {}).unwrap();
            let plain = |r: &Register| r.by_id.iter().map(|(id, e)| (*id, e.name.clone(), e.counter)).collect::<Vec<_>>();
            prop_assert_eq!(plain(&here), plain(&there));
            prop_assert_eq!(there.next, here.next);
            for cut in 0..bytes.len() { let _ = Register::default().learn(&bytes[..cut], |_| {}); }
        }
    }
}
