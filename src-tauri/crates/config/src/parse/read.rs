//! Reading values at their places, collecting what is wrong instead of stopping at it.

use crate::units;
use flotilla_contract::command::ConfigFinding;
use std::{
    cell::RefCell,
    ops::{Range, RangeInclusive},
};
use toml_edit::{Item, TableLike, Value};

/// More findings than this help nobody.
const MOST_FINDINGS: usize = 200;

/// What is wrong with a text so far.
pub(super) struct Findings<'t> {
    text: &'t str,
    list: RefCell<Vec<(usize, ConfigFinding)>>,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            list: RefCell::default(),
        }
    }

    pub(super) fn add(&self, at: usize, key: &str, message: impl Into<String>) {
        let mut list = self.list.borrow_mut();
        if list.len() < MOST_FINDINGS {
            let (line, column) = place(self.text, at);
            list.push((
                at,
                ConfigFinding {
                    line,
                    column,
                    key: key.to_owned(),
                    message: message.into(),
                },
            ));
        }
    }

    /// The findings in the order of the text.
    pub(super) fn into_list(self) -> Vec<ConfigFinding> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|(at, _)| *at);
        list.into_iter().map(|(_, finding)| finding).collect()
    }
}

/// Line and column, from 1, of a byte of the text; columns count characters.
pub(super) fn place(text: &str, at: usize) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column).unwrap_or(u32::MAX),
    )
}

/// A value at its place.
pub(super) struct Node<'a> {
    findings: &'a Findings<'a>,
    item: Source<'a>,
    /// Dotted key.
    pub(super) path: String,
    /// Byte in the text.
    pub(super) at: usize,
}

/// A table's entry, or an array's element.
enum Source<'a> {
    Item(&'a Item),
    Value(&'a Value),
}

/// A table at its place.
pub(super) struct Fields<'a> {
    findings: &'a Findings<'a>,
    table: &'a dyn TableLike,
    /// Dotted key.
    pub(super) path: String,
    /// Byte in the text of its name.
    pub(super) at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn root(findings: &'a Findings<'a>, table: &'a dyn TableLike) -> Self {
        Self {
            findings,
            table,
            path: String::new(),
            at: 0,
        }
    }

    /// Keys outside this list are findings, with the nearest known one as suggestion.
    pub(super) fn allow(self, known: &[&str]) -> Self {
        for (key, node) in self.entries() {
            if !known.contains(&key) {
                let accepted = suggest(key, known.iter().copied()).map_or_else(
                    || format!("accepted are {}", known.join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                self.findings.add(
                    node.at,
                    &node.path,
                    format!("unknown key {key:?}; {accepted}"),
                );
            }
        }
        self
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let (name, item) = self.table.get_key_value(key)?;
        Some(self.node(name.get(), name.span(), item))
    }

    /// Every key with its value; the node stands at the key.
    pub(super) fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        self.table
            .iter()
            .filter_map(|(key, _)| {
                let (name, item) = self.table.get_key_value(key)?;
                let mut node = self.node(key, name.span(), item);
                node.at = name.span().map_or(node.at, |span| span.start);
                Some((key, node))
            })
            .collect()
    }

    fn node(&self, key: &str, name: Option<Range<usize>>, item: &'a Item) -> Node<'a> {
        let name = name.map(|span| span.start);
        // A table made by a header has no better place than its name.
        let at = if item.is_value() {
            item.span().map(|span| span.start).or(name)
        } else {
            name
        };
        let at = at
            .or_else(|| item.span().map(|span| span.start))
            .unwrap_or(self.at);
        Node {
            findings: self.findings,
            item: Source::Item(item),
            path: join(&self.path, key),
            at,
        }
    }

    pub(super) fn wrong(&self, message: impl Into<String>) {
        self.findings.add(self.at, &self.path, message);
    }
}

impl<'a> Node<'a> {
    pub(super) fn wrong(&self, message: impl Into<String>) {
        self.findings.add(self.at, &self.path, message);
    }

    /// Says what was found and what is accepted.
    pub(super) fn refuse<T>(&self, accepted: impl AsRef<str>) -> Option<T> {
        self.wrong(format!(
            "found {}; accepted is {}",
            self.shown(),
            accepted.as_ref()
        ));
        None
    }

    fn value(&self) -> Option<&'a Value> {
        match self.item {
            Source::Item(item) => item.as_value(),
            Source::Value(value) => Some(value),
        }
    }

    /// The value as a finding shows it: short, with its kind where that matters.
    fn shown(&self) -> String {
        let Some(value) = self.value() else {
            return match self.item {
                Source::Item(item) if item.is_array_of_tables() => "an array of tables".into(),
                _ => "a table".into(),
            };
        };
        match value {
            Value::String(text) => {
                let text = text.value();
                if text.chars().count() > 60 {
                    format!("{:?}…", text.chars().take(60).collect::<String>())
                } else {
                    format!("{text:?}")
                }
            }
            Value::Integer(number) => format!("the number {}", number.value()),
            Value::Float(number) => format!("the number {}", number.value()),
            Value::Boolean(truth) => truth.value().to_string(),
            Value::Datetime(_) => "a date".into(),
            Value::Array(_) => "a list".into(),
            Value::InlineTable(_) => "a table".into(),
        }
    }

    pub(super) fn as_str(&self) -> Option<&'a str> {
        self.value()?.as_str()
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.value()?.as_bool()
    }

    pub(super) fn as_integer(&self) -> Option<i64> {
        self.value()?.as_integer()
    }

    /// A text without control characters that is not empty.
    pub(super) fn text(&self) -> Option<String> {
        match self.as_str() {
            None => self.refuse("a text in quotes"),
            Some("") => self.refuse("a text that is not empty"),
            Some(text) if text.contains('\0') => self.refuse("a text without NUL characters"),
            Some(text) => Some(text.to_owned()),
        }
    }

    /// The value as JSON.
    pub(super) fn json(&self, depth: usize) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        if depth == 0 {
            return self.refuse("values that are nested less deeply");
        }
        if let Some(table) = self.as_table() {
            let fields = table.entries().into_iter();
            let fields = fields.map(|(key, node)| Some((key.to_owned(), node.json(depth - 1)?)));
            return fields.collect::<Option<_>>().map(Json::Object);
        }
        if let Some(items) = self.as_list() {
            let items = items.iter().map(|node| node.json(depth - 1));
            return items.collect::<Option<_>>().map(Json::Array);
        }
        match self.value()? {
            Value::String(text) => Some(Json::from(text.value().as_str())),
            Value::Integer(number) => Some(Json::from(*number.value())),
            Value::Float(number) => serde_json::Number::from_f64(*number.value())
                .map(Json::Number)
                .or_else(|| self.refuse("a number that JSON has")),
            Value::Boolean(flag) => Some(Json::from(*flag.value())),
            Value::Datetime(at) => Some(Json::from(at.value().to_string())),
            Value::Array(_) | Value::InlineTable(_) => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.as_bool().or_else(|| self.refuse("true or false"))
    }

    /// A whole number within a range.
    pub(super) fn number<T: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<T> {
        self.as_integer()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .or_else(|| {
                self.refuse(format!(
                    "a whole number from {} to {}",
                    range.start(),
                    range.end()
                ))
            })
    }

    /// A number within 0 and 1.
    pub(super) fn share(&self) -> Option<f64> {
        self.decimal(0.0..=1.0)
    }

    /// A number within a range.
    pub(super) fn decimal(&self, range: RangeInclusive<f64>) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "ranges are small")]
        let number = self.value().and_then(|value| {
            value
                .as_float()
                .or_else(|| value.as_integer().map(|i| i as f64))
        });
        number.filter(|number| range.contains(number)).or_else(|| {
            self.refuse(format!(
                "a number from {} to {}",
                range.start(),
                range.end()
            ))
        })
    }

    /// A duration within a range, in milliseconds.
    pub(super) fn duration(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let found = self.as_str().and_then(units::parse_duration);
        match found {
            Some(ms) if range.contains(&ms) => Some(ms),
            Some(_) => self.refuse(format!(
                "a duration from {:?} to {:?}",
                units::show_duration(*range.start()),
                units::show_duration(*range.end())
            )),
            None => self.refuse("a duration in quotes, such as \"500ms\", \"5s\" or \"1m30s\""),
        }
    }

    /// A size in bytes.
    pub(super) fn size(&self, least: u64) -> Option<u64> {
        let found = self
            .as_str()
            .and_then(units::parse_size)
            .filter(|bytes| *bytes >= least);
        found.or_else(|| {
            self.refuse(format!(
                "a size with KiB, MiB or GiB, such as \"512MiB\", from {:?}",
                units::show_size(least)
            ))
        })
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let found = self
            .as_str()
            .and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, value)| *value).or_else(|| {
            let listed: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            let near = self
                .as_str()
                .and_then(|text| suggest(text, words.iter().map(|(word, _)| *word)));
            let near = near
                .map(|near| format!("; did you mean {near:?}?"))
                .unwrap_or_default();
            self.refuse(format!("{}{near}", listed.join(" or ")))
        })
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Option<Vec<Node<'a>>> {
        self.as_list().or_else(|| self.refuse("a list in brackets"))
    }

    /// The elements of a list, if it is one.
    pub(super) fn as_list(&self) -> Option<Vec<Node<'a>>> {
        let array = self.value()?.as_array()?;
        let nodes = array.iter().enumerate().map(|(index, value)| Node {
            findings: self.findings,
            item: Source::Value(value),
            path: format!("{}[{index}]", self.path),
            at: value.span().map_or(self.at, |span| span.start),
        });
        Some(nodes.collect())
    }

    /// The fields of a table, if it is one.
    pub(super) fn as_table(&self) -> Option<Fields<'a>> {
        let table: &dyn TableLike = match self.item {
            Source::Item(item) => item.as_table_like()?,
            Source::Value(value) => value.as_inline_table()?,
        };
        Some(Fields {
            findings: self.findings,
            table,
            path: self.path.clone(),
            at: self.at,
        })
    }

    /// The tables of a list: `[[key]]`, or inline ones in brackets.
    pub(super) fn tables(&self) -> Option<Vec<Fields<'a>>> {
        if let Source::Item(Item::ArrayOfTables(tables)) = &self.item {
            let tables = tables.iter().enumerate().map(|(index, table)| Fields {
                findings: self.findings,
                table: table as &dyn TableLike,
                path: format!("{}[{index}]", self.path),
                at: table.span().map_or(self.at, |span| span.start),
            });
            return Some(tables.collect());
        }
        let nodes = self.as_list();
        let nodes = nodes.or_else(|| self.refuse("tables, each under [[…]]"))?;
        Some(nodes.iter().filter_map(Node::table).collect())
    }

    pub(super) fn table(&self) -> Option<Fields<'a>> {
        self.as_table().or_else(|| self.refuse("a table"))
    }
}

/// The known word that this one was probably meant to be.
pub(super) fn suggest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // `-` for `_` and other case are the most usual slips.
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let wanted = plain(word);
    known
        .map(|candidate| (strsim::jaro_winkler(&wanted, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A dotted key; names that need quotes get them.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let key = if bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
