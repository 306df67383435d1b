//! Changes of a TOML text that leave everything else as it was written.

use super::{dialect::CONNECTION, lines};
use serde_json::{Map, Value};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value as TomlValue};

const BOM: char = '\u{feff}';

/// What a text says.
pub(super) fn value(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    toml_edit::de::from_str(text).map_err(|error| error.message().replace('\n', "; "))
}

/// Puts an entry under these keys, brings the one of this name up to date, or takes it out.
pub(super) fn put(
    text: &str,
    keys: &[&str],
    name: &str,
    entry: Option<&Map<String, Value>>,
) -> Result<String, String> {
    let (bom, body) = match text.strip_prefix(BOM) {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    // The library knows one kind of line end only; the others come back afterwards.
    let plain = body.replace("\r\n", "\n");
    let mut document: DocumentMut = plain
        .parse()
        .map_err(|error: toml_edit::TomlError| error.message().replace('\n', "; "))?;
    let mut servers: &mut dyn TableLike = document.as_table_mut();
    for key in keys {
        servers = servers
            .entry(key)
            .or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            })
            .as_table_like_mut()
            .ok_or_else(|| format!("{key} is not a table"))?;
    }
    match entry {
        None => {
            servers.remove(name);
        }
        Some(entry) => match servers.get_mut(name).and_then(Item::as_table_like_mut) {
            Some(there) => update(there, entry),
            None => {
                let inline: InlineTable = entry
                    .iter()
                    .filter_map(|(key, value)| Some((key.as_str(), toml_of(value)?)))
                    .collect();
                let item = if in_braces(servers) {
                    Item::Value(TomlValue::InlineTable(inline))
                } else {
                    let mut table = inline.into_table();
                    if !plain.trim().is_empty() {
                        table.decor_mut().set_prefix("\n");
                    }
                    Item::Table(table)
                };
                servers.insert(name, item);
            }
        },
    }
    let edited = document.to_string();
    Ok(format!("{bom}{}", lines::with_endings_of(body, &edited)))
}

/// Whether all servers are tables in braces; one that is in braces itself can hold no others.
fn in_braces(table: &dyn TableLike) -> bool {
    !table.is_empty() && table.iter().all(|(_, item)| item.is_value())
}

fn update(there: &mut dyn TableLike, entry: &Map<String, Value>) {
    for key in CONNECTION.iter().filter(|key| !entry.contains_key(**key)) {
        there.remove(key);
    }
    for (key, value) in entry {
        let Some(mut value) = toml_of(value) else {
            continue;
        };
        match there.get_mut(key) {
            Some(item) => {
                if let Some(old) = item.as_value() {
                    *value.decor_mut() = old.decor().clone();
                }
                *item = Item::Value(value);
            }
            None => {
                there.insert(key, Item::Value(value));
            }
        }
    }
}

fn toml_of(value: &Value) -> Option<TomlValue> {
    Some(match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Array(items) => {
            TomlValue::Array(items.iter().map(toml_of).collect::<Option<Array>>()?)
        }
        _ => return None,
    })
}
