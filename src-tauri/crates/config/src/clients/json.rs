//! Changes of a JSON text with comments that leave everything else as it was written.

use super::dialect::CONNECTION;
use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{self, Object},
    common::Ranged,
    parse_to_ast, parse_to_serde_value,
};
use serde_json::{Map, Value};

const BOM: char = '\u{feff}';

/// What a text says; an empty one, or one of comments only, says `{}`.
pub(super) fn value(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let parsed: Option<Value> =
        parse_to_serde_value(text, &ParseOptions::default()).map_err(|error| {
            format!(
                "line {}, column {}: {}",
                error.line_display(),
                error.column_display(),
                error.kind()
            )
        })?;
    Ok(parsed.unwrap_or_else(|| Value::Object(Map::new())))
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
    let body = match entry {
        Some(entry) => connect(body, keys, name, entry)?,
        None => change(body, |root| {
            let servers = within(root, keys).ok_or("there are no servers")?;
            let at = index(servers, name).ok_or("there is no such entry")?;
            Ok(cut(body, servers, at))
        })?,
    };
    Ok(format!("{bom}{body}"))
}

fn connect(
    body: &str,
    keys: &[&str],
    name: &str,
    entry: &Map<String, Value>,
) -> Result<String, String> {
    if parse(body)?.is_none() {
        return Ok(anew(body, keys, name, entry));
    }
    let there = change_with(body, |root| {
        Ok(within(root, keys)
            .and_then(|servers| property(servers, name))
            .is_some_and(|property| property.value.as_object().is_some()))
    })?;
    if !there {
        return change(body, |root| insert_deep(body, root, keys, name, entry));
    }
    let mut body = body.to_owned();
    let gone = CONNECTION.iter().filter(|key| !entry.contains_key(**key));
    for key in gone {
        body = change(&body, |root| {
            let own = within(root, keys).and_then(|servers| object(servers, name));
            Ok(match own.and_then(|own| Some((own, index(own, key)?))) {
                Some((own, at)) => cut(&body, own, at),
                None => body.clone(),
            })
        })?;
    }
    for (key, value) in entry {
        body = change(&body, |root| {
            let own = within(root, keys)
                .and_then(|servers| object(servers, name))
                .ok_or("the entry is gone")?;
            Ok(match property(own, key) {
                Some(property) => replace(&body, property.value.range(), value),
                None => insert(&body, own, key, value),
            })
        })?;
    }
    Ok(body)
}

/// A text without a value gets one.
fn anew(body: &str, keys: &[&str], name: &str, entry: &Map<String, Value>) -> String {
    let style = Style::of(body);
    let document = nested(keys, name, entry);
    let gap = if body.is_empty() || body.ends_with('\n') {
        ""
    } else {
        style.newline
    };
    let document = style.written(&document, "");
    format!("{body}{gap}{document}{}", style.newline)
}

fn nested(keys: &[&str], name: &str, entry: &Map<String, Value>) -> Value {
    let one = |key: &str, value: Value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    let entry = one(name, Value::Object(entry.clone()));
    keys.iter().rev().fold(entry, |value, key| one(key, value))
}

/// Puts the entry into the innermost of these objects that is there.
fn insert_deep(
    body: &str,
    root: &Object<'_>,
    keys: &[&str],
    name: &str,
    entry: &Map<String, Value>,
) -> Result<String, String> {
    let mut at = root;
    for (depth, key) in keys.iter().enumerate() {
        match property(at, key) {
            None => {
                let inner = nested(&keys[depth + 1..], name, entry);
                return Ok(insert(body, at, key, &inner));
            }
            Some(found) => {
                at = found
                    .value
                    .as_object()
                    .ok_or_else(|| format!("{key:?} is not an object"))?;
            }
        }
    }
    let entry = Value::Object(entry.clone());
    Ok(match property(at, name) {
        Some(found) => replace(body, found.value.range(), &entry),
        None => insert(body, at, name, &entry),
    })
}

fn parse(body: &str) -> Result<Option<ast::Value<'_>>, String> {
    parse_to_ast(body, &CollectOptions::default(), &ParseOptions::default())
        .map(|parsed| parsed.value)
        .map_err(|error| error.to_string())
}

fn change(
    body: &str,
    make: impl FnOnce(&Object<'_>) -> Result<String, String>,
) -> Result<String, String> {
    change_with(body, make)
}

fn change_with<T>(
    body: &str,
    make: impl FnOnce(&Object<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let root = parse(body)?;
    let root = root
        .as_ref()
        .and_then(ast::Value::as_object)
        .ok_or("it does not hold an object")?;
    make(root)
}

/// The position of a key; of one that is there twice the last, which is the one that counts.
fn index(object: &Object<'_>, key: &str) -> Option<usize> {
    object
        .properties
        .iter()
        .rposition(|property| property.name.as_str() == key)
}

fn property<'o, 'a>(object: &'o Object<'a>, key: &str) -> Option<&'o ast::ObjectProp<'a>> {
    object.properties.get(index(object, key)?)
}

fn object<'o, 'a>(within: &'o Object<'a>, key: &str) -> Option<&'o Object<'a>> {
    property(within, key)?.value.as_object()
}

fn within<'o, 'a>(root: &'o Object<'a>, keys: &[&str]) -> Option<&'o Object<'a>> {
    keys.iter().try_fold(root, |at, key| object(at, key))
}

/// How a text is laid out.
struct Style {
    newline: &'static str,
    unit: String,
}

impl Style {
    fn of(text: &str) -> Self {
        let newline = match text.find('\n') {
            Some(at) if text[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        };
        // The first indented line that begins a key tells the unit: it stands one deep in nearly every file.
        let unit = text
            .lines()
            .filter(|line| line.trim_start().starts_with(['"', '\'']))
            .map(leading)
            .find(|indent| !indent.is_empty())
            .unwrap_or("  ")
            .to_owned();
        Self { newline, unit }
    }

    /// A value over several lines, the first of them not indented.
    fn written(&self, value: &Value, indent: &str) -> String {
        let Value::Object(map) = value else {
            return flat(value);
        };
        let inner = format!("{indent}{}", self.unit);
        let lines: Vec<String> = map
            .iter()
            .map(|(key, value)| format!("{inner}{}: {}", quoted(key), self.written(value, &inner)))
            .collect();
        let newline = self.newline;
        let separator = format!(",{newline}");
        format!("{{{newline}{}{newline}{indent}}}", lines.join(&separator))
    }
}

fn leading(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A value on one line.
fn flat(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), flat(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flat).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// The indentation of the line on which this stands.
fn indent_at(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    leading(&text[start..])
}

/// Whether nothing but blanks stands before this on its line.
fn begins_line(text: &str, at: usize) -> bool {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    start > 0 && text[start..at].bytes().all(|b| matches!(b, b' ' | b'\t'))
}

/// The first comma between these that is not in a comment.
fn comma(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut at = from;
    while at < to {
        let rest = &text[at..to];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with(',') {
            return Some(at);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

/// Puts a new key behind the others, in the manner in which they are laid out.
fn insert(text: &str, object: &Object<'_>, key: &str, value: &Value) -> String {
    let style = Style::of(text);
    let (open, close) = (object.range.start, object.range.end - 1);
    let base = indent_at(text, open);
    let Some(last) = object.properties.last() else {
        let end = open + 1 + text[open + 1..close].trim_end().len();
        let indent = format!("{base}{}", style.unit);
        let line = format!(
            "{}{indent}{}: {}",
            style.newline,
            quoted(key),
            style.written(value, &indent)
        );
        let rest = &text[end..];
        return if text[end..close].contains('\n') {
            format!("{}{line}{rest}", &text[..end])
        } else {
            format!(
                "{}{line}{}{base}{}",
                &text[..end],
                style.newline,
                &text[close..]
            )
        };
    };
    let behind = comma(text, last.range.end, close);
    if !text[open..close].contains('\n') {
        let pair = format!("{}: {}", quoted(key), flat(value));
        return match behind {
            Some(comma) => format!("{} {pair}{}", &text[..=comma], &text[comma + 1..]),
            None => {
                let end = last.range.end;
                format!("{}, {pair}{}", &text[..end], &text[end..])
            }
        };
    }
    let indent = object
        .properties
        .iter()
        .rev()
        .find(|property| begins_line(text, property.range.start))
        .map_or_else(
            || format!("{base}{}", style.unit),
            |property| indent_at(text, property.range.start).to_owned(),
        );
    // Comments behind the last key stay behind it.
    let end = last.range.end + text[last.range.end..close].trim_end().len();
    let (comma_now, comma_then) = match behind {
        Some(_) => ("", ","),
        None => (",", ""),
    };
    format!(
        "{}{comma_now}{}{}{indent}{}: {}{comma_then}{}",
        &text[..last.range.end],
        &text[last.range.end..end],
        style.newline,
        quoted(key),
        style.written(value, &indent),
        &text[end..]
    )
}

/// Puts a value in the place of another.
fn replace(text: &str, range: jsonc_parser::common::Range, value: &Value) -> String {
    let style = Style::of(text);
    let written = if text[range.start..range.end].contains('\n') {
        style.written(value, indent_at(text, range.start))
    } else {
        flat(value)
    };
    format!("{}{written}{}", &text[..range.start], &text[range.end..])
}

/// Takes a key out, with its line where it has one for itself.
fn cut(text: &str, object: &Object<'_>, at: usize) -> String {
    let property = &object.properties[at];
    let close = object.range.end - 1;
    let next = object
        .properties
        .get(at + 1)
        .map_or(close, |next| next.range.start);
    let behind = comma(text, property.range.end, next);
    let (mut start, mut end) = (
        property.range.start,
        behind.map_or(property.range.end, |comma| comma + 1),
    );
    // The last one without a comma behind it leaves none before it either.
    let before = (behind.is_none() && at > 0)
        .then(|| comma(text, object.properties[at - 1].range.end, start))
        .flatten();
    let rest_of_line = text[end..].find('\n').map(|newline| end + newline + 1);
    let alone = rest_of_line.filter(|after| {
        *after <= close && begins_line(text, start) && text[end..*after].trim().is_empty()
    });
    if let Some(after) = alone {
        start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        end = after;
    } else {
        end += text[end..close].len() - text[end..close].trim_start_matches([' ', '\t']).len();
    }
    let (mut head, tail) = (&text[..start], &text[end..]);
    if before.is_some() && alone.is_none() && !begins_line(text, start) {
        head = head.trim_end_matches([' ', '\t']);
    }
    match before {
        Some(comma) => format!("{}{}{tail}", &head[..comma], &head[comma + 1..]),
        None => format!("{head}{tail}"),
    }
}
