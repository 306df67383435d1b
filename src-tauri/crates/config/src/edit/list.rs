//! Tables with names in lists of `[alerts]`: in `[[alerts.rules]]`, or in a list of tables on a line; channels the same way.

use super::{EditError, distant_comment, keep_comment, opening, replace, set_at};
use crate::units::parse_duration;
use flotilla_contract::alert::Mailbox;
use std::fmt;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// What a list of `[alerts]` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A rule, in `rules`.
    Rule,
    /// A channel, in `channels`.
    Channel,
}

impl Listed {
    fn key(self) -> &'static str {
        match self {
            Self::Rule => "rules",
            Self::Channel => "channels",
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "rule",
            Self::Channel => "channel",
        })
    }
}

/// What a key of a table is to say.
pub(super) enum Says {
    /// This.
    Value(Value),
    /// This, which holds without being said. Where it is said, it is no change.
    Default(Value),
    /// Nothing.
    Nothing,
    /// What it says already.
    Kept,
}

/// The keys of a table, in the order in which people write them.
pub(super) type Keys = Vec<(&'static str, Says)>;

/// Declares what is not there yet, or changes what is there under the name `was`.
pub(super) fn set(
    document: &mut DocumentMut,
    text: &str,
    what: Listed,
    was: Option<&str>,
    name: &str,
    keys: Keys,
) -> Result<(), EditError> {
    if was != Some(name) && place(document, what, name).is_some() {
        let name = name.to_owned();
        return Err(EditError::Listed { what, name });
    }
    let Some(was) = was else {
        let prefix = opening(document, text);
        return add(document, what, keys, &prefix);
    };
    let table = place(document, what, was);
    write(table.ok_or_else(|| missing(what, was))?, keys)
}

pub(super) fn missing(what: Listed, name: &str) -> EditError {
    let name = name.to_owned();
    EditError::NotListed { what, name }
}

/// `alerts`, made if it is not there; with a header of its own, or only for what stands below it.
pub(super) fn alerts<'d>(document: &'d mut DocumentMut, prefix: &str, below: bool) -> &'d mut Item {
    document.entry("alerts").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(below);
        table.decor_mut().set_prefix(prefix);
        Item::Table(table)
    })
}

/// Every table of a list.
pub(super) fn each<'d>(
    document: &'d mut DocumentMut,
    what: Listed,
) -> Box<dyn Iterator<Item = &'d mut dyn TableLike> + 'd> {
    let alerts = document.get_mut("alerts").and_then(Item::as_table_like_mut);
    match alerts.and_then(|alerts| alerts.get_mut(what.key())) {
        Some(Item::ArrayOfTables(tables)) => {
            Box::new(tables.iter_mut().map(|table| table as &mut dyn TableLike))
        }
        Some(Item::Value(Value::Array(list))) => {
            let tables = list.iter_mut().filter_map(Value::as_inline_table_mut);
            Box::new(tables.map(|table| table as &mut dyn TableLike))
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn is(table: &dyn TableLike, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

/// The table of this name.
fn place<'d>(
    document: &'d mut DocumentMut,
    what: Listed,
    name: &str,
) -> Option<&'d mut dyn TableLike> {
    each(document, what).find(|table| is(*table, name))
}

/// Whether what stands there means a value already, however it is written.
fn means(item: &Item, value: &Value) -> bool {
    let Some(there) = item.as_value() else {
        return false;
    };
    match (there, value) {
        (Value::String(old), Value::String(new)) => {
            let (old, new) = (old.value().as_str(), new.value().as_str());
            let both = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
            let mailbox = |text: &str| text.parse::<Mailbox>().ok();
            old == new
                || both(parse_duration(old), parse_duration(new))
                || mailbox(old).is_some_and(|old| Some(old) == mailbox(new))
        }
        (Value::Integer(old), Value::Integer(new)) => old.value() == new.value(),
        (Value::Boolean(old), Value::Boolean(new)) => old.value() == new.value(),
        (Value::Array(old), Value::Array(new)) => {
            let same = |(old, new): (&Value, &Value)| means(&Item::Value(old.clone()), new);
            old.len() == new.len() && old.iter().zip(new).all(same)
        }
        _ => false,
    }
}

fn write(table: &mut dyn TableLike, keys: Keys) -> Result<(), EditError> {
    for (key, says) in keys {
        match (table.get_mut(key), says) {
            (Some(_), Says::Kept) | (None, Says::Default(_) | Says::Nothing) => {}
            (None, Says::Kept) => return Err(EditError::NothingKept(key)),
            (None, Says::Value(value)) => set_at(table, &[key], value),
            (Some(item), Says::Value(value) | Says::Default(value)) if means(item, &value) => {}
            (Some(item), Says::Value(value)) => replace(item, value),
            (Some(_), Says::Default(_) | Says::Nothing) => {
                table.remove(key);
            }
        }
    }
    Ok(())
}

fn add(
    document: &mut DocumentMut,
    what: Listed,
    keys: Keys,
    prefix: &str,
) -> Result<(), EditError> {
    let mut pairs = Vec::new();
    for (key, says) in keys {
        match says {
            Says::Value(value) => pairs.push((key, value)),
            Says::Default(_) | Says::Nothing => {}
            Says::Kept => return Err(EditError::NothingKept(key)),
        }
    }
    let alerts = alerts(document, prefix, true);
    let inline = alerts.is_inline_table();
    let Some(alerts) = alerts.as_table_like_mut() else {
        return Ok(());
    };
    let list = alerts.entry(what.key()).or_insert_with(|| {
        if inline {
            Item::Value(Value::Array(Array::new()))
        } else {
            Item::ArrayOfTables(ArrayOfTables::new())
        }
    });
    match list {
        Item::ArrayOfTables(tables) => {
            let mut table = Table::new();
            for (key, value) in pairs {
                table.insert(key, Item::Value(value));
            }
            table.decor_mut().set_prefix(prefix);
            tables.push(table);
        }
        Item::Value(Value::Array(list)) => {
            list.push(pairs.into_iter().collect::<InlineTable>());
        }
        // `read` has refused anything else.
        _ => {}
    }
    Ok(())
}

/// Takes a table out, with the comment right above it; an empty list goes.
pub(super) fn remove(
    document: &mut DocumentMut,
    what: Listed,
    name: &str,
) -> Result<(), EditError> {
    let missing = || missing(what, name);
    let alerts = document.get_mut("alerts").and_then(Item::as_table_like_mut);
    let list = alerts
        .and_then(|alerts| alerts.get_mut(what.key()))
        .ok_or_else(missing)?;
    let (comment, left) = match list {
        Item::ArrayOfTables(tables) => {
            let at = tables
                .iter()
                .position(|table| is(table, name))
                .ok_or_else(missing)?;
            let gone = tables.remove(at);
            let comment = distant_comment(&gone).map(|comment| (gone.position(), comment));
            (comment, tables.len())
        }
        Item::Value(Value::Array(list)) => {
            let named = |one: &Value| one.as_inline_table().is_some_and(|table| is(table, name));
            let at = list.iter().position(named).ok_or_else(missing)?;
            list.remove(at);
            (None, list.len())
        }
        _ => return Err(missing()),
    };
    if left == 0 {
        let alerts = document.get_mut("alerts").and_then(Item::as_table_like_mut);
        let empty = alerts.is_some_and(|alerts| {
            alerts.remove(what.key());
            alerts.is_empty()
        });
        let implicit = document
            .get("alerts")
            .and_then(Item::as_table)
            .is_some_and(Table::is_implicit);
        if empty && implicit {
            document.remove("alerts");
        }
    }
    if let Some((position, comment)) = comment {
        keep_comment(document, position, &comment);
    }
    Ok(())
}
