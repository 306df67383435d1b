//! Arguments that travel in headers as well, so that what stands between client and server can tell calls apart without reading
//! them: a tool's input schema marks them with `x-mcp-header`, and each call says `Mcp-Param-NAME` (revision 2026-07-28, streamable
//! HTTP, "Custom headers from tool parameters").

use crate::{http::header_value, json::Object, json::string, serve};
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value, value::RawValue};

/// What marks an argument.
const MARK: &str = "x-mcp-header";
/// Schemas are read to this depth.
const DEPTH: usize = 32;
/// A longer value does not travel in a header, in bytes.
const LONGEST: usize = 8_192;
/// Numbers are equal when they differ by less than this part of themselves.
const PRECISION: f64 = 1e-9;
/// Keywords whose values are data, whatever they look like.
const DATA: [&str; 5] = ["default", "const", "enum", "examples", "example"];

/// The arguments of one tool that travel in headers as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrors(Vec<Mirror>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    header: HeaderName,
    /// As it is shown: `Mcp-Param-Region`.
    shown: String,
    /// Keys from the arguments to the value.
    path: Vec<String>,
}

impl Mirrors {
    /// Of a tool, as its server lists it. `None` when nothing is marked.
    ///
    /// # Errors
    /// A sentence that says which rule the marks break: names are tokens (RFC 9110, 5.6.2), each occurs once, and marks stand on
    /// strings, whole or other numbers and booleans that are reached through `properties` alone. (The specification leaves out numbers
    /// that are not whole; servers have them.)
    pub fn of_tool(tool: &RawValue) -> Result<Option<Self>, String> {
        if memchr::memmem::find(tool.get().as_bytes(), MARK.as_bytes()).is_none() {
            return Ok(None);
        }
        let schema = Object::read(tool.get()).and_then(|tool| tool.get("inputSchema"));
        let Some(schema) = schema.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
            return Ok(None);
        };
        let mut found = Vec::new();
        walk(&schema, Some(&mut Vec::new()), DEPTH, &mut found)?;
        Ok((!found.is_empty()).then_some(Self(found)))
    }

    /// The headers of a call with these arguments (JSON). One that is absent or `null` has none.
    #[must_use]
    pub fn headers(&self, arguments: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
        self.0
            .iter()
            .filter_map(|mirror| {
                let value = text(mirror.value(arguments?)?)?;
                let value = header_value(&value);
                (value.len() <= LONGEST).then(|| (mirror.header.clone(), value))
            })
            .collect()
    }

    /// Whether the headers of a call say what its arguments do. `header` gives the values of a header, by its name in lower case. The
    /// message goes with [`serve::HEADER_MISMATCH`].
    ///
    /// # Errors
    /// A sentence that names the header.
    pub fn check<'h, V: IntoIterator<Item = &'h [u8]>>(
        &self,
        arguments: Option<&str>,
        header: impl Fn(&str) -> V,
    ) -> Result<(), String> {
        for mirror in &self.0 {
            let shown = &mirror.shown;
            let body = arguments
                .and_then(|arguments| mirror.value(arguments))
                .and_then(text);
            let mut said = header(mirror.header.as_str()).into_iter();
            let (first, second) = (said.next(), said.next());
            match (first, body) {
                (None, None) => {}
                (None, Some(body)) if header_value(&body).len() > LONGEST => {}
                (None, Some(_)) => return Err(format!("the header {shown} is missing")),
                (Some(_), None) => {
                    return Err(format!("the header {shown} is set, its argument is not"));
                }
                (Some(_), Some(_)) if second.is_some() => {
                    return Err(format!("the header {shown} occurs more than once"));
                }
                (Some(said), Some(body)) => {
                    let said = std::str::from_utf8(said)
                        .ok()
                        .filter(|said| said.is_ascii());
                    let said = said.and_then(serve::header_text).ok_or_else(|| {
                        format!("the header {shown} is neither plain text nor valid base64")
                    })?;
                    if said != body && !same_number(&said, &body) {
                        let (said, body) = (
                            crate::wire::excerpt(&said, 100),
                            crate::wire::excerpt(&body, 100),
                        );
                        return Err(format!(
                            "the header {shown} says {said:?}, the body {body:?}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Mirror {
    /// The JSON of the value, if there is one.
    fn value<'a>(&self, arguments: &'a str) -> Option<&'a str> {
        self.path
            .iter()
            .try_fold(arguments, |within, key| Object::read(within)?.get(key))
    }
}

/// A value as headers write it; `None` for `null` and what is no single value.
fn text(json: &str) -> Option<std::borrow::Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => string(json),
        b'n' | b'{' | b'[' => None,
        _ => Some(json.into()),
    }
}

fn same_number(said: &str, body: &str) -> bool {
    match (said.parse::<f64>(), body.parse::<f64>()) {
        (Ok(said), Ok(body)) => (said - body).abs() <= PRECISION * said.abs().max(body.abs()),
        _ => false,
    }
}

/// `path` is none where a mark may not stand.
fn walk(
    schema: &Value,
    mut path: Option<&mut Vec<String>>,
    depth: usize,
    found: &mut Vec<Mirror>,
) -> Result<(), String> {
    if depth == 0 {
        return Ok(());
    }
    let schema = match schema {
        Value::Object(schema) => schema,
        Value::Array(schemas) => {
            return schemas
                .iter()
                .try_for_each(|schema| walk(schema, None, depth - 1, found));
        }
        _ => return Ok(()),
    };
    for (key, value) in schema {
        match (key.as_str(), value, path.as_deref_mut()) {
            (MARK, mark, path) => found.push(mirror(mark, schema, path, found)?),
            ("properties", Value::Object(properties), mut path) => {
                for (name, property) in properties {
                    if let Some(path) = path.as_deref_mut() {
                        path.push(name.clone());
                    }
                    walk(property, path.as_deref_mut(), depth - 1, found)?;
                    if let Some(path) = path.as_deref_mut() {
                        path.pop();
                    }
                }
            }
            (key, ..) if DATA.contains(&key) => {}
            (_, value, _) => walk(value, None, depth - 1, found)?,
        }
    }
    Ok(())
}

fn mirror(
    mark: &Value,
    schema: &Map<String, Value>,
    path: Option<&mut Vec<String>>,
    found: &[Mirror],
) -> Result<Mirror, String> {
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Err(format!(
            "{MARK} {mark} stands where no argument is: accepted is a chain of properties"
        ));
    };
    let place = path.join(".");
    let name = mark
        .as_str()
        .filter(|name| is_token(name))
        .ok_or_else(|| format!("{MARK} of {place} is {mark}: accepted is a token"))?;
    let kind = schema.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("string" | "integer" | "number" | "boolean")) {
        return Err(format!(
            "{MARK} of {place} stands on a value that is no string, number or boolean"
        ));
    }
    let header = HeaderName::try_from(format!("mcp-param-{name}"))
        .map_err(|_| format!("{MARK} of {place} is {mark}: no header can have that name"))?;
    if found.iter().any(|other| other.header == header) {
        return Err(format!("{MARK} of {place} is {mark}, as another's is"));
    }
    Ok(Mirror {
        header,
        shown: format!("Mcp-Param-{name}"),
        path: path.clone(),
    })
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(schema: &Value) -> Result<Option<Mirrors>, String> {
        let tool = json!({"name": "t", "inputSchema": schema}).to_string();
        Mirrors::of_tool(&RawValue::from_string(tool).unwrap())
    }

    fn marked() -> Mirrors {
        of(&json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"size": {"type": "integer", "x-mcp-header": "Size"}}},
            "dry": {"type": "boolean", "x-mcp-header": "Dry"},
            "x-mcp-header": {"type": "string", "default": {"x-mcp-header": "data"}},
            "free": {"type": "string"},
        }}))
        .unwrap()
        .unwrap()
    }

    #[test]
    fn marked_arguments_become_headers() {
        let headers = |arguments: &str| {
            let mut all: Vec<String> = marked()
                .headers(Some(arguments))
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            all.sort();
            all.join("; ")
        };
        assert_eq!(
            headers(r#"{"region":"us west","deep":{"size":42},"dry":false,"free":"x"}"#),
            "mcp-param-dry: false; mcp-param-region: us west; mcp-param-size: 42"
        );
        assert_eq!(
            headers(r#"{"region":" größe","deep":{},"dry":null}"#),
            "mcp-param-region: =?base64?IGdyw7bDn2U=?="
        );
        assert_eq!(
            headers(&format!(r#"{{"region":"{}"}}"#, "x".repeat(9_000))),
            ""
        );
        assert!(marked().headers(None).is_empty());
    }

    #[test]
    fn headers_must_say_what_the_arguments_do() {
        let check = |arguments: &str, headers: &[(&str, &str)]| {
            marked()
                .check(Some(arguments), |name| {
                    headers
                        .iter()
                        .filter(|(header, _)| *header == name)
                        .map(|(_, value)| value.as_bytes())
                        .collect::<Vec<_>>()
                })
                .err()
                .unwrap_or_default()
        };
        let region = r#"{"region":"us"}"#;
        assert_eq!(check(region, &[("mcp-param-region", "us")]), "");
        assert_eq!(
            check(region, &[("mcp-param-region", "=?base64?dXM=?=")]),
            ""
        );
        assert_eq!(
            check(r#"{"deep":{"size":42}}"#, &[("mcp-param-size", "42.0")]),
            ""
        );
        assert_eq!(check("{}", &[]), "");
        for (arguments, headers, says) in [
            (region, &[][..], "Mcp-Param-Region is missing"),
            (
                region,
                &[("mcp-param-region", "eu")],
                "says \"eu\", the body \"us\"",
            ),
            (
                region,
                &[("mcp-param-region", "=?base64?dXM?=")],
                "valid base64",
            ),
            (
                region,
                &[("mcp-param-region", "us"), ("mcp-param-region", "us")],
                "more than once",
            ),
            ("{}", &[("mcp-param-dry", "true")], "its argument is not"),
        ] {
            let said = check(arguments, headers);
            assert!(said.contains(says), "{said:?} for {arguments} {headers:?}");
        }
    }

    #[test]
    fn marks_that_break_a_rule_are_refused_with_the_rule() {
        for (schema, says) in [
            (
                json!({"x-mcp-header": "Root", "type": "string"}),
                "no argument",
            ),
            (
                json!({"properties": {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}}),
                "no argument",
            ),
            (
                json!({"anyOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}]}),
                "no argument",
            ),
            (
                json!({"properties": {"a": {"type": "string", "x-mcp-header": "A b"}}}),
                "a token",
            ),
            (
                json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}),
                "a token",
            ),
            (
                json!({"properties": {"a": {"type": "string", "x-mcp-header": 7}}}),
                "a token",
            ),
            (
                json!({"properties": {"a": {"type": "object", "x-mcp-header": "A"}}}),
                "no string",
            ),
            (
                json!({"properties": {
                    "a": {"type": "string", "x-mcp-header": "A"},
                    "b": {"type": "string", "x-mcp-header": "a"},
                }}),
                "another's",
            ),
        ] {
            let said = of(&schema).unwrap_err();
            assert!(said.contains(says), "{said} for {schema}");
        }
        assert_eq!(
            of(&json!({"properties": {"a": {"type": "string"}}})),
            Ok(None)
        );
    }
}
