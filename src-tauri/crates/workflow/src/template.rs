//! Values with expressions in their texts: `${{ … }}`.

use crate::{
    expr::{Expr, References},
    scope::Scope,
};
use serde_json::{Map, Value};

const OPEN: &str = "${{";
/// How deep a value may be nested.
const DEEPEST: usize = 32;

/// A value in which texts may hold expressions.
#[derive(Debug)]
pub(crate) enum Template {
    /// Holds none.
    Plain(Value),
    /// A text that is one expression and nothing else: its value keeps its type.
    Whole(Expr),
    /// A text with expressions in it.
    Text(Vec<Piece>),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

#[derive(Debug)]
pub(crate) enum Piece {
    Plain(String),
    Expr(Expr),
}

impl Template {
    /// Compiles a value. `problem` is told of each expression that is none, with the place in the value (`.path[2]`).
    pub(crate) fn compile(value: &Value, problem: &mut dyn FnMut(&str, String)) -> Self {
        compile(value, "", 0, problem)
    }

    /// The value, with all expressions worked out.
    ///
    /// # Errors
    /// The place and why.
    pub(crate) fn value(&self, scope: &Scope<'_>) -> Result<Value, String> {
        let mut path = String::new();
        self.render(scope, &mut path)
            .map_err(|why| format!("{}: {why}", path.trim_start_matches('.')))
    }

    fn render(&self, scope: &Scope<'_>, path: &mut String) -> Result<Value, String> {
        match self {
            Self::Plain(value) => Ok(value.clone()),
            Self::Whole(expr) => expr.value(scope),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Plain(plain) => text.push_str(plain),
                        Piece::Expr(expr) => write(&mut text, &expr.value(scope)?),
                    }
                }
                Ok(Value::String(text))
            }
            Self::List(list) => {
                let mut values = Vec::with_capacity(list.len());
                for (at, template) in list.iter().enumerate() {
                    values.push(within(path, &format!("[{at}]"), |path| {
                        template.render(scope, path)
                    })?);
                }
                Ok(Value::Array(values))
            }
            Self::Object(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (name, template) in entries {
                    let value = within(path, &format!(".{name}"), |path| {
                        template.render(scope, path)
                    })?;
                    map.insert(name.clone(), value);
                }
                Ok(Value::Object(map))
            }
        }
    }

    /// Gives each expression's references to `visit`.
    pub(crate) fn references(&self, visit: &mut dyn FnMut(References)) {
        match self {
            Self::Plain(_) => {}
            Self::Whole(expr) => visit(expr.references()),
            Self::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Expr(expr) = piece {
                        visit(expr.references());
                    }
                }
            }
            Self::List(list) => list.iter().for_each(|template| template.references(visit)),
            Self::Object(entries) => entries.iter().for_each(|(_, t)| t.references(visit)),
        }
    }
}

/// Keeps the path of what failed.
fn within<T>(
    path: &mut String,
    step: &str,
    render: impl FnOnce(&mut String) -> Result<T, String>,
) -> Result<T, String> {
    let length = path.len();
    path.push_str(step);
    let value = render(path)?;
    path.truncate(length);
    Ok(value)
}

/// A value inside a text: texts as they are, null as nothing, the rest as JSON.
fn write(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => text.push_str(value),
        Value::Null => {}
        other => text.push_str(&other.to_string()),
    }
}

fn compile(
    value: &Value,
    path: &str,
    depth: usize,
    problem: &mut dyn FnMut(&str, String),
) -> Template {
    if depth > DEEPEST {
        problem(
            path,
            format!("it is nested deeper than the {DEEPEST} levels that are accepted"),
        );
        return Template::Plain(Value::Null);
    }
    match value {
        Value::String(text) => match pieces(text) {
            Ok(None) => Template::Plain(value.clone()),
            Ok(Some(pieces)) => pieces,
            Err(why) => {
                problem(path, why);
                Template::Plain(Value::Null)
            }
        },
        Value::Array(list) => {
            let list: Vec<_> = list
                .iter()
                .enumerate()
                .map(|(at, item)| compile(item, &format!("{path}[{at}]"), depth + 1, problem))
                .collect();
            if list.iter().all(is_plain) {
                return Template::Plain(value.clone());
            }
            Template::List(list)
        }
        Value::Object(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(name, item)| {
                    let place = format!("{path}.{name}");
                    (name.clone(), compile(item, &place, depth + 1, problem))
                })
                .collect();
            if entries.iter().all(|(_, template)| is_plain(template)) {
                return Template::Plain(value.clone());
            }
            Template::Object(entries)
        }
        _ => Template::Plain(value.clone()),
    }
}

fn is_plain(template: &Template) -> bool {
    matches!(template, Template::Plain(_))
}

/// The pieces of a text; none when it holds no expression. `$${{` stands for `${{` itself.
fn pieces(text: &str) -> Result<Option<Template>, String> {
    if !text.contains(OPEN) {
        return Ok(None);
    }
    let (mut found, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(OPEN) {
        let (before, after) = (&rest[..at], &rest[at + OPEN.len()..]);
        if let Some(before) = before.strip_suffix('$') {
            plain.push_str(before);
            plain.push_str(OPEN);
            rest = after;
            continue;
        }
        plain.push_str(before);
        let end =
            close(after).ok_or_else(|| format!("{text:?} opens ${{{{ and has no }}}} for it"))?;
        if !plain.is_empty() {
            found.push(Piece::Plain(std::mem::take(&mut plain)));
        }
        found.push(Piece::Expr(Expr::compile(&after[..end])?));
        rest = &after[end + 2..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        found.push(Piece::Plain(plain));
    }
    Ok(Some(match found.as_mut_slice() {
        [Piece::Expr(_)] => match found.pop() {
            Some(Piece::Expr(expr)) => Template::Whole(expr),
            _ => Template::Text(found),
        },
        _ => Template::Text(found),
    }))
}

/// Where the `}}` of an expression begins: the first one outside quotes and outside the expression's own braces.
fn close(text: &str) -> Option<usize> {
    let (mut quote, mut depth, mut escaped) = (None, 0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        if let Some(open) = quote {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                _ if byte == open => quote = None,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' | b'\'' => quote = Some(byte),
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' if text.as_bytes().get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
