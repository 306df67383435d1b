//! Changes of a text of `fleet.toml` that keep its comments and order. What they give back parses.

mod alerts;
mod list;

pub use alerts::{edit_channels, edit_rules, without_credentials};
pub use list::Listed;

use crate::parse;
use flotilla_contract::{
    ServerId,
    command::{AddParams, ConfigFinding},
    spec::Value as SpecValue,
};
use std::collections::BTreeMap;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, Table, TableLike, Value};

/// Why a text was not changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// The text, or what it would become, is not a valid `fleet.toml`.
    #[error("{}", .0.first().map_or_else(|| "write a valid fleet.toml".into(), |f| format!("line {}, column {}: {}: {}", f.line, f.column, f.key, f.message)))]
    Invalid(Vec<ConfigFinding>),
    /// There is no such server.
    #[error("no server {0}")]
    NoServer(ServerId),
    /// There is one already.
    #[error("a server {0} exists already")]
    Exists(ServerId),
    /// Others depend on it.
    #[error(
        "remove {id}: {} on it; take it out of their depends_on first",
        names_of(.by)
    )]
    Needed {
        /// Which server.
        id: ServerId,
        /// Which others.
        by: Vec<ServerId>,
    },
    /// There is no such rule or channel of alerts in the file.
    #[error("find the {what} {name}: it does not stand in the file")]
    NotListed {
        /// What was looked for.
        what: Listed,
        /// Its name.
        name: String,
    },
    /// There is one already.
    #[error("write the {what} {name}: one of this name stands in the file already")]
    Listed {
        /// What there is.
        what: Listed,
        /// Its name.
        name: String,
    },
    /// What stands in the file was to be kept, and nothing does.
    #[error(
        "write {0}: nothing stands in the file that could be kept; accepted is the name of a secret or of a variable"
    )]
    NothingKept(&'static str),
    /// Not the name of a secret or a variable.
    #[error(
        "write {key}: found {found:?}; accepted is the name of a secret, up to 128 of A-Z a-z 0-9 _ . - /, or of a variable, up to 128 of A-Z a-z 0-9 _, no digit first"
    )]
    Credential {
        /// Of which key.
        key: &'static str,
        /// What it would say.
        found: String,
    },
    /// Not a key of a server's table.
    #[error("{key:?} is not a key: {error}")]
    Key {
        /// What was given.
        key: String,
        /// Why not.
        error: String,
    },
    /// A value that TOML cannot hold.
    #[error(
        "{key}: TOML cannot hold {value}: it has no null and no whole number above 9223372036854775807"
    )]
    Value {
        /// Of which key.
        key: String,
        /// What was given.
        value: String,
    },
}

/// "web depends", "web, api depend".
fn names_of(ids: &[ServerId]) -> String {
    let names: Vec<&str> = ids.iter().map(ServerId::as_str).collect();
    let verb = if ids.len() == 1 { "depends" } else { "depend" };
    format!("{} {verb}", names.join(", "))
}

/// Declares a server at the end of the file.
///
/// # Errors
/// When one of that name exists, or the result is not valid.
pub fn add_server(text: &str, server: &AddParams) -> Result<String, EditError> {
    add_tables(text, &[(server.name.clone(), table_of(server))])
}

/// Adds these tables of servers at the end of the file, in their order.
///
/// # Errors
/// When one of these names exists, or the result is not valid.
pub(crate) fn add_tables(text: &str, tables: &[(ServerId, Table)]) -> Result<String, EditError> {
    let mut document = read(text)?;
    let mut prefix = opening(&mut document, text);
    let servers = servers(&mut document)?;
    for (id, table) in tables {
        if servers.contains_key(id.as_str()) {
            return Err(EditError::Exists(id.clone()));
        }
        let mut table = table.clone();
        table
            .decor_mut()
            .set_prefix(std::mem::replace(&mut prefix, "\n".to_owned()));
        servers.insert(id.as_str(), Item::Table(table));
    }
    finish(&document)
}

/// What stands above a table that comes at the end: a blank line, but not at the very beginning.
fn opening(document: &mut DocumentMut, text: &str) -> String {
    let mut prefix = if text.trim().is_empty() { "" } else { "\n" }.to_owned();
    if document.is_empty() {
        // Comments alone stand behind everything there will be: they stay above it.
        let comments = document.trailing().as_str().unwrap_or_default().trim_end();
        if !comments.is_empty() {
            prefix = format!("{comments}\n\n");
        }
        document.set_trailing("");
    }
    prefix
}

/// Sets keys of a server's table (dotted: "health.interval") to JSON values in the form that the file has; `null` removes the key.
///
/// # Errors
/// When there is no such server, a key is none, or the result is not valid.
pub fn set(
    text: &str,
    id: &ServerId,
    values: &BTreeMap<String, serde_json::Value>,
) -> Result<String, EditError> {
    let mut document = read(text)?;
    let server = server(&mut document, id)?;
    // What is removed comes last: a table must not go because it is empty for a moment.
    let (removed, set): (Vec<_>, Vec<_>) = values.iter().partition(|(_, value)| value.is_null());
    for (key, value) in set.into_iter().chain(removed) {
        let path = Key::parse(key).map_err(|error| EditError::Key {
            key: key.clone(),
            error: error.message().replace('\n', "; "),
        })?;
        let path: Vec<&str> = path.iter().map(Key::get).collect();
        if value.is_null() {
            unset_at(server, &path);
        } else {
            let too_odd = || EditError::Value {
                key: key.clone(),
                value: value.to_string(),
            };
            set_at(server, &path, toml_value(value).ok_or_else(too_odd)?);
        }
    }
    finish(&document)
}

/// Takes a server out, with the comments that stand right above it.
///
/// # Errors
/// When there is no such server, or another one depends on it.
pub fn remove_server(text: &str, id: &ServerId) -> Result<String, EditError> {
    let by: Vec<ServerId> = parse(text)
        .map_err(EditError::Invalid)?
        .servers
        .into_iter()
        .filter(|server| server.depends_on.iter().any(|d| d.server == *id))
        .map(|server| server.id)
        .collect();
    if !by.is_empty() {
        let id = id.clone();
        return Err(EditError::Needed { id, by });
    }
    let mut document = read(text)?;
    let removed = servers(&mut document)?
        .remove(id.as_str())
        .ok_or_else(|| EditError::NoServer(id.clone()))?;
    if let Some(comment) = removed.as_table().and_then(distant_comment) {
        keep_comment(
            &mut document,
            removed.as_table().and_then(Table::position),
            &comment,
        );
    }
    finish(&document)
}

/// What stands above a table, but not right above it: text that speaks of the file, not of the table.
fn distant_comment(table: &Table) -> Option<String> {
    let prefix = table.decor().prefix()?.as_str()?;
    let (distant, _) = prefix.rsplit_once("\n\n")?;
    distant.contains('#').then(|| format!("{distant}\n\n"))
}

/// Puts a comment where a table was: above the next one, or at the end.
fn keep_comment(document: &mut DocumentMut, removed: Option<isize>, comment: &str) {
    let mut next = None;
    each_header(document.as_table_mut(), &mut |table| {
        next = table
            .position()
            .filter(|p| Some(*p) > removed)
            .into_iter()
            .chain(next)
            .min();
    });
    let Some(next) = next else {
        let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing(format!("{comment}{trailing}"));
        return;
    };
    each_header(document.as_table_mut(), &mut |table| {
        if table.position() == Some(next) {
            let own = table
                .decor()
                .prefix()
                .and_then(|prefix| prefix.as_str())
                .unwrap_or_default()
                .trim_start_matches('\n')
                .to_owned();
            table.decor_mut().set_prefix(format!("{comment}{own}"));
        }
    });
}

/// Every table with a header of its own.
fn each_header(table: &mut Table, visit: &mut dyn FnMut(&mut Table)) {
    for (_, item) in table.iter_mut() {
        if let Item::Table(inner) = item {
            if !inner.is_implicit() && !inner.is_dotted() {
                visit(inner);
            }
            each_header(inner, visit);
        } else if let Item::ArrayOfTables(tables) = item {
            for inner in tables.iter_mut() {
                visit(inner);
                each_header(inner, visit);
            }
        }
    }
}

/// Disables a server, with the reason if there is one, or enables it.
///
/// # Errors
/// When there is no such server, or the result is not valid.
pub fn set_enabled(
    text: &str,
    id: &ServerId,
    enabled: bool,
    reason: Option<&str>,
) -> Result<String, EditError> {
    let value = match (enabled, reason.filter(|reason| !reason.is_empty())) {
        (true, _) => serde_json::Value::Null,
        (false, Some(reason)) => reason.into(),
        (false, None) => true.into(),
    };
    set(text, id, &BTreeMap::from([("disabled".to_owned(), value)]))
}

fn read(text: &str) -> Result<DocumentMut, EditError> {
    parse(text).map_err(EditError::Invalid)?;
    text.parse().map_err(|_| EditError::Invalid(Vec::new()))
}

fn finish(document: &DocumentMut) -> Result<String, EditError> {
    let text = document.to_string();
    parse(&text).map_err(EditError::Invalid)?;
    Ok(text)
}

/// The servers of a text that [`read`] accepted, made if there are none.
fn servers(document: &mut DocumentMut) -> Result<&mut dyn TableLike, EditError> {
    let item = document.entry("servers").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    // `read` has refused anything else.
    item.as_table_like_mut()
        .ok_or_else(|| EditError::Invalid(Vec::new()))
}

fn server<'d>(
    document: &'d mut DocumentMut,
    id: &ServerId,
) -> Result<&'d mut dyn TableLike, EditError> {
    let missing = || EditError::NoServer(id.clone());
    let servers = document
        .get_mut("servers")
        .and_then(Item::as_table_like_mut)
        .ok_or_else(missing)?;
    servers
        .get_mut(id.as_str())
        .and_then(Item::as_table_like_mut)
        .ok_or_else(missing)
}

fn set_at(table: &mut dyn TableLike, path: &[&str], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        match table.get_mut(key) {
            Some(item) => replace(item, value),
            None => {
                table.insert(key, Item::Value(value));
            }
        }
        return;
    }
    if table.get(key).is_none_or(|item| !item.is_table_like()) {
        table.insert(key, Item::Value(Value::InlineTable(InlineTable::new())));
    }
    if let Some(inner) = table.get_mut(key).and_then(Item::as_table_like_mut) {
        set_at(inner, rest, value);
    }
}

/// Puts a value in the place of another: the comment behind it stays, and of a table the keys that both have.
fn replace(item: &mut Item, value: Value) {
    match (item.as_table_like_mut(), value) {
        (Some(table), Value::InlineTable(new)) => {
            let gone: Vec<String> = table
                .iter()
                .map(|(key, _)| key.to_owned())
                .filter(|key| !new.contains_key(key))
                .collect();
            for key in gone {
                table.remove(&key);
            }
            for (key, value) in new {
                set_at(table, &[key.as_str()], value);
            }
        }
        (_, mut value) => {
            if let Some(old) = item.as_value() {
                *value.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(value);
        }
    }
}

/// Removes a key, and the tables that it leaves empty.
fn unset_at(table: &mut dyn TableLike, path: &[&str]) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.remove(key);
        return;
    }
    let Some(inner) = table.get_mut(key).and_then(Item::as_table_like_mut) else {
        return;
    };
    unset_at(inner, rest);
    if inner.is_empty() {
        table.remove(key);
    }
}

/// JSON as TOML; `None` for what TOML cannot hold.
fn toml_value(value: &serde_json::Value) -> Option<Value> {
    Some(match value {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(truth) => (*truth).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None if number.is_f64() => number.as_f64()?.into(),
            None => return None,
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(list) => {
            Value::Array(list.iter().map(toml_value).collect::<Option<Array>>()?)
        }
        serde_json::Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| Some((key.as_str(), toml_value(value)?)));
            Value::InlineTable(pairs.collect::<Option<InlineTable>>()?)
        }
    })
}

/// A server's table with the keys that say something.
pub(crate) fn table_of(server: &AddParams) -> Table {
    let mut table = Table::new();
    let mut text = |key: &str, value: Option<&String>| {
        if let Some(value) = value {
            table.insert(key, toml_edit::value(value));
        }
    };
    text("command", server.command.as_ref());
    text("url", server.url.as_ref());
    text("cwd", server.cwd.as_ref());
    text("category", server.category.as_ref());
    let mut list = |key: &str, values: &[String]| {
        if !values.is_empty() {
            table.insert(
                key,
                toml_edit::value(values.iter().map(String::as_str).collect::<Array>()),
            );
        }
    };
    list("args", &server.args);
    list("tags", &server.tags);
    if let Some(port) = server.port {
        table.insert("port", toml_edit::value(i64::from(port)));
    }
    for (key, values) in [("env", &server.env), ("headers", &server.headers)] {
        if !values.is_empty() {
            table.insert(key, values_of(values));
        }
    }
    table.sort_values_by(|a, _, b, _| order(a.get()).cmp(&order(b.get())));
    table
}

/// Keys in the order in which people write them.
fn order(key: &str) -> usize {
    crate::file::keys::SERVER
        .iter()
        .position(|known| *known == key)
        .unwrap_or(usize::MAX)
}

/// Environment or headers: few on one line, more as a table of their own.
fn values_of(values: &BTreeMap<String, SpecValue>) -> Item {
    let value = |value: &SpecValue| match value {
        SpecValue::Text { text } => Value::from(text),
        SpecValue::Secret { name } => {
            Value::InlineTable([("secret", Value::from(name))].into_iter().collect())
        }
    };
    let inline: InlineTable = values
        .iter()
        .map(|(key, v)| (key.as_str(), value(v)))
        .collect();
    if values.len() <= 2 {
        Item::Value(Value::InlineTable(inline))
    } else {
        Item::Table(inline.into_table())
    }
}

#[cfg(test)]
mod tests;
