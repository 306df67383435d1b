//! Records, read, worked on and written.

use super::{Place, WorkError, read, workspace::Workspace};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    cmp::Ordering,
    fmt::Write as _,
    io::{self, Read as _, Write as _},
};

/// Bytes of a source that is read at most.
const READ: u64 = 16 << 20;
/// Records at most.
const RECORDS: usize = 10_000;

/// Works an expression out for each record, which it sees as `item`.
pub type Evaluate<'a> = &'a (dyn Fn(&str, &[Value]) -> Result<Vec<Value>, String> + Send + Sync);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    data: Option<Value>,
    data_source: Option<String>,
    pattern: Option<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    operations: Vec<Operation>,
    #[serde(default)]
    output_format: Format,
    save_to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    #[serde(rename = "type")]
    kind: Kind,
    expression: String,
    #[serde(default)]
    descending: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Filter,
    Map,
    Sort,
    Group,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Json,
    Csv,
    Xml,
}

/// Works on records: those of `data`, or of the file `data_source`, which is JSON (a list), one JSON text a line (`.jsonl`), or lines, each
/// `{line, text}`; with `pattern`, a regular expression, the lines that it finds, each with its named groups, numbers as numbers. With
/// `optional` a file that is not there has no records. `operations` follow each other: `filter`, `map`, `sort` (`descending`) and `group`, which
/// gives `{key, count, items}`; each has an `expression` that sees a record as `item`. `save_to` is a file that gets them, as `output_format`
/// says: `json`, `csv` or `xml`. Gives `{success, records, result}`; `missing` when an optional file is not there. Blocks: call it off the async
/// threads.
///
/// # Errors
/// `refused` for an input that means nothing, `failed` for a source that cannot be read, an expression that cannot be worked out, and more
/// than 10,000 records.
pub fn data(input: &Value, place: &Place, evaluate: Evaluate<'_>) -> Result<Value, WorkError> {
    let input: Input = read(input)?;
    let workspace = Workspace::open(place)?;
    let (mut records, missing) = source(&input, &workspace)?;
    if records.len() > RECORDS {
        let count = records.len();
        return Err(WorkError::failed(format!(
            "there are {count} records; accepted are {RECORDS}"
        )));
    }
    for (at, operation) in input.operations.iter().enumerate() {
        records = operation
            .on(records, evaluate)
            .map_err(|why| WorkError::failed(format!("with.operations[{at}]: {why}")))?;
    }
    let mut output = json!({ "success": true, "records": records.len() });
    if missing {
        output["missing"] = true.into();
    }
    if let Some(path) = &input.save_to {
        let text = written(&records, input.output_format);
        let done = workspace
            .create(path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        done.map_err(Workspace::failed("with.save_to", path))?;
        output["path"] = path.as_str().into();
        output["bytes"] = text.len().into();
    }
    output["result"] = records.into();
    Ok(output)
}

fn source(input: &Input, workspace: &Workspace) -> Result<(Vec<Value>, bool), WorkError> {
    let path = match (&input.data, &input.data_source) {
        (Some(Value::Array(list)), None) => return Ok((list.clone(), false)),
        (Some(one), None) => return Ok((vec![one.clone()], false)),
        (None, Some(path)) => path,
        _ => {
            return Err(WorkError::refused(
                "with: accepted is either data, a list of records, or data_source, a file of them",
            ));
        }
    };
    let file = match workspace.read(path) {
        Err(error) if input.optional && error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), true));
        }
        file => file.map_err(Workspace::failed("with.data_source", path))?,
    };
    let mut bytes = Vec::new();
    file.take(READ + 1)
        .read_to_end(&mut bytes)
        .map_err(Workspace::failed("with.data_source", path))?;
    if bytes.len() as u64 > READ {
        return Err(WorkError::failed(format!(
            "{path} has more than the {READ} bytes that are accepted"
        )));
    }
    let text = String::from_utf8_lossy(&bytes);
    let records = match &input.pattern {
        Some(pattern) => found(&text, pattern)?,
        None => parsed(&text, path)?,
    };
    Ok((records, false))
}

/// The lines that a pattern finds, by its groups.
fn found(text: &str, pattern: &str) -> Result<Vec<Value>, WorkError> {
    let pattern = Regex::new(pattern)
        .map_err(|error| WorkError::refused(format!("with.pattern is {pattern:?}: {error}")))?;
    let record = |(line, text): (usize, &str)| {
        let groups = pattern.captures(text)?;
        let mut record = Map::new();
        record.insert("line".into(), (line + 1).into());
        for name in pattern.capture_names().flatten() {
            let Some(group) = groups.name(name) else {
                continue;
            };
            let number = serde_json::from_str::<serde_json::Number>(group.as_str());
            let value = number.map_or_else(|_| group.as_str().into(), Value::Number);
            record.insert(name.to_owned(), value);
        }
        Some(Value::Object(record))
    };
    // One more than is accepted says that there are too many.
    Ok(text
        .lines()
        .enumerate()
        .filter_map(record)
        .take(RECORDS + 1)
        .collect())
}

fn parsed(text: &str, path: &str) -> Result<Vec<Value>, WorkError> {
    let wrong = |error: serde_json::Error| WorkError::failed(format!("read {path}: {error}"));
    if path.ends_with(".json") {
        return match serde_json::from_str(text).map_err(wrong)? {
            Value::Array(list) => Ok(list),
            one => Ok(vec![one]),
        };
    }
    let lines = text.lines().take(RECORDS + 1);
    if path.ends_with(".jsonl") {
        let lines = lines.filter(|line| !line.trim().is_empty());
        return lines
            .map(|line| serde_json::from_str(line).map_err(wrong))
            .collect();
    }
    let line = |(line, text)| json!({ "line": line + 1, "text": text });
    Ok(lines.enumerate().map(line).collect())
}

impl Operation {
    fn on(&self, records: Vec<Value>, evaluate: Evaluate<'_>) -> Result<Vec<Value>, String> {
        let values = evaluate(&self.expression, &records)?;
        let pairs = records.into_iter().zip(values);
        match self.kind {
            Kind::Map => Ok(pairs.map(|(_, value)| value).collect()),
            Kind::Filter => pairs
                .filter_map(|(record, keep)| match keep {
                    Value::Bool(true) => Some(Ok(record)),
                    Value::Bool(false) => None,
                    other => Some(Err(format!(
                        "a filter gives {other}; accepted are true and false"
                    ))),
                })
                .collect(),
            Kind::Sort => {
                let mut pairs: Vec<_> = pairs.collect();
                pairs.sort_by(|(_, a), (_, b)| {
                    let order = order(a, b);
                    if self.descending {
                        order.reverse()
                    } else {
                        order
                    }
                });
                Ok(pairs.into_iter().map(|(record, _)| record).collect())
            }
            Kind::Group => {
                let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
                let mut places = std::collections::HashMap::new();
                for (record, key) in pairs {
                    let place = *places.entry(key.to_string()).or_insert(groups.len());
                    if place == groups.len() {
                        groups.push((key, Vec::new()));
                    }
                    groups[place].1.push(record);
                }
                let group = |(key, items): (Value, Vec<Value>)| json!({ "key": key, "count": items.len(), "items": items });
                Ok(groups.into_iter().map(group).collect())
            }
        }
    }
}

/// Numbers by size, texts by their characters; of different types null first, then booleans, numbers, texts and the rest.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a
            .as_f64()
            .unwrap_or(f64::NAN)
            .total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Records as the text of a file.
fn written(records: &[Value], format: Format) -> String {
    match format {
        Format::Json => format!("{:#}\n", Value::Array(records.to_vec())),
        Format::Csv => csv(records),
        Format::Xml => xml(records),
    }
}

/// A value in a cell or an element: a text as it is, anything else as JSON, nothing for null.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As RFC 4180 says, with a line of names: those of all records, in the order in which they come. What is no object stands under `value`.
pub(super) fn csv(records: &[Value]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for record in records {
        match record.as_object() {
            Some(fields) => {
                for name in fields.keys() {
                    if !names.contains(&name.as_str()) {
                        names.push(name);
                    }
                }
            }
            None if !names.contains(&"value") => names.push("value"),
            None => {}
        }
    }
    let quoted = |text: String| {
        if text.contains(['"', ',', '\r', '\n']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let line = |cells: Vec<String>| cells.join(",") + "\r\n";
    let mut text = line(
        names
            .iter()
            .map(|name| quoted((*name).to_owned()))
            .collect(),
    );
    for record in records {
        let one = |name: &&str| match record.as_object() {
            Some(fields) => fields.get(*name).map_or(String::new(), cell),
            None => cell(record),
        };
        text += &line(names.iter().map(one).map(quoted).collect());
    }
    text
}

fn xml(records: &[Value]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records>\n");
    for record in records {
        let fields = match record.as_object() {
            Some(fields) => fields.clone(),
            None => Map::from_iter([("value".to_owned(), record.clone())]),
        };
        text += "  <record>";
        for (name, value) in fields {
            let (name, value) = (escaped(&name), escaped(&cell(&value)));
            // Writing to a text cannot fail. A name may be no name of an element.
            let _ = write!(text, "<field name=\"{name}\">{value}</field>");
        }
        text += "</record>\n";
    }
    text + "</records>\n"
}

/// A text as it stands in XML and HTML. Characters that no XML may hold become `U+FFFD`.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&apos;",
            '\t' | '\n' | '\r' => escaped.push(character),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
