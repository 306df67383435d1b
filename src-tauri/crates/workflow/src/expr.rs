//! Expressions: the Common Expression Language over the values of a run.
//!
//! A plain path (`steps.build.output.path`) is by far the most frequent one, and keeps what CEL would lose: the order of keys and the
//! exact number. It is followed here; everything else is CEL's.

use crate::scope::{Scope, StepFacts, Steps};
use cel::{
    Context, Env, Program,
    common::{
        ast::{EntryExpr, Expr as Ast, IdedExpr, LiteralValue},
        value::{CowVal, Val},
    },
    context::VariableResolver,
    extensions,
    objects::Key,
};
use serde_json::{Map, Number, Value};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

/// Characters of an expression at most.
pub(crate) const LONGEST: usize = 1_000;
/// Levels of an expression's tree at most: it is worked out by recursion, on the stack of a worker.
const DEEPEST: usize = 32;

/// Expressions are parsed by recursion, some hundreds of KiB for each level in a debug build. Only what is touched is ever taken.
const STACK: usize = 256 << 20;

/// Does work that compiles expressions. `None` when a parser gave up on a text: it takes that thread with it, and nothing else.
pub(crate) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("workflow-compile".into())
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        thread.ok().and_then(|thread| thread.join().ok())
    })
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for (name, extension) in [
        ("strings", extensions::strings as fn(&mut Env) -> _),
        ("lists", extensions::lists),
        ("math", extensions::math),
    ] {
        if let Err(error) = env.add_extension(extension) {
            tracing::error!(%error, name, "functions of expressions are missing");
        }
    }
    Arc::new(env)
});

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Expr {
    code: Code,
}

#[derive(Debug)]
enum Code {
    Path(String),
    Cel(Box<Program>),
}

/// What an expression refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct References {
    /// Names at the root, but those that the expression itself makes.
    pub(crate) roots: BTreeSet<String>,
    /// The `X` of `steps.X` and `steps["X"]`.
    pub(crate) steps: BTreeSet<String>,
    /// The `X` of `vars.X` and `vars["X"]`.
    pub(crate) vars: BTreeSet<String>,
}

impl Expr {
    /// Compiles an expression, which may stand in `${{ }}`. Needs the [deep stack](on_deep_stack).
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text
            .strip_prefix("${{")
            .and_then(|text| text.strip_suffix("}}"))
            .unwrap_or(text)
            .trim();
        if text.is_empty() {
            return Err("an expression is empty".into());
        }
        if text.chars().count() > LONGEST {
            return Err(format!(
                "an expression is longer than the {LONGEST} characters that are accepted"
            ));
        }
        if is_path(text) {
            return Ok(Self {
                code: Code::Path(text.to_owned()),
            });
        }
        let program = ENV
            .compile(text)
            .map_err(|errors| format!("{text:?} is no expression: {}", first_line(&errors)))?;
        if depth(program.expression()) > DEEPEST {
            return Err(format!(
                "an expression is nested deeper than the {DEEPEST} levels that are accepted"
            ));
        }
        Ok(Self {
            code: Code::Cel(Box::new(program)),
        })
    }

    /// Its value.
    pub(crate) fn value(&self, scope: &Scope<'_>) -> Result<Value, String> {
        match &self.code {
            Code::Path(path) => scope
                .find(path)
                .map(|found| found.into_owned())
                .ok_or_else(|| scope.missing(path)),
            Code::Cel(program) => {
                let mut context = Context::with_env(Arc::clone(&ENV));
                context.set_variable_resolver(scope);
                let value = program
                    .execute(&context)
                    .map_err(|error| first_line(&error))?;
                json(&value)
            }
        }
    }

    /// Its value, which must be true or false.
    pub(crate) fn holds(&self, scope: &Scope<'_>) -> Result<bool, String> {
        match self.value(scope)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("it gives {other}; accepted are true and false")),
        }
    }

    /// What it refers to.
    pub(crate) fn references(&self) -> References {
        let mut found = References::default();
        match &self.code {
            Code::Path(path) => {
                let mut names = path.split('.');
                if let Some(root) = names.next() {
                    found.add(root, names.next());
                }
            }
            Code::Cel(program) => walk(program.expression(), &mut Vec::new(), &mut found),
        }
        found
    }
}

impl References {
    fn add(&mut self, root: &str, next: Option<&str>) {
        self.roots.insert(root.to_owned());
        let names = match root {
            "steps" => &mut self.steps,
            "vars" => &mut self.vars,
            _ => return,
        };
        names.extend(next.map(str::to_owned));
    }
}

/// Names joined by dots, and no word of the language.
fn is_path(text: &str) -> bool {
    !matches!(text, "true" | "false" | "null")
        && text.split('.').all(|name| {
            let mut bytes = name.bytes();
            bytes
                .next()
                .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
}

fn first_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().chars().take(300).collect()
}

/// Levels of a tree.
fn depth(node: &IdedExpr) -> usize {
    let entries = |entries: &[cel::common::ast::IdedEntryExpr]| {
        let one = |entry: &cel::common::ast::IdedEntryExpr| match &entry.expr {
            EntryExpr::StructField(field) => depth(&field.value),
            EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
        };
        entries.iter().map(one).max().unwrap_or(0)
    };
    let deepest = |nodes: &mut dyn Iterator<Item = &IdedExpr>| nodes.map(depth).max().unwrap_or(0);
    1 + match &node.expr {
        Ast::Select(select) => depth(&select.operand),
        Ast::Call(call) => deepest(&mut call.target.as_deref().into_iter().chain(&call.args)),
        Ast::Comprehension(each) => {
            let parts = [
                &each.iter_range,
                &each.accu_init,
                &each.loop_cond,
                &each.loop_step,
                &each.result,
            ];
            deepest(&mut parts.into_iter())
        }
        Ast::List(list) => deepest(&mut list.elements.iter()),
        Ast::Map(map) => entries(&map.entries),
        Ast::Struct(made) => entries(&made.entries),
        Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => 0,
    }
}

/// Collects names, without those that comprehensions make.
fn walk<'a>(node: &'a IdedExpr, local: &mut Vec<&'a str>, found: &mut References) {
    match &node.expr {
        Ast::Ident(name) => mention(name, None, local, found),
        Ast::Select(select) => match &select.operand.expr {
            Ast::Ident(root) => mention(root, Some(&select.field), local, found),
            _ => walk(&select.operand, local, found),
        },
        Ast::Call(call) => {
            if let ("_[_]", [root, index]) = (call.func_name.as_str(), call.args.as_slice())
                && let (Ast::Ident(root), Ast::Literal(LiteralValue::String(name))) =
                    (&root.expr, &index.expr)
            {
                return mention(root, Some(name.inner()), local, found);
            }
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                walk(part, local, found);
            }
        }
        Ast::Comprehension(each) => {
            walk(&each.iter_range, local, found);
            walk(&each.accu_init, local, found);
            let depth = local.len();
            local.push(&each.iter_var);
            local.extend(each.iter_var2.as_deref());
            local.push(&each.accu_var);
            for part in [&each.loop_cond, &each.loop_step, &each.result] {
                walk(part, local, found);
            }
            local.truncate(depth);
        }
        Ast::List(list) => list.elements.iter().for_each(|e| walk(e, local, found)),
        Ast::Map(map) => entries(&map.entries, local, found),
        Ast::Struct(made) => entries(&made.entries, local, found),
        Ast::Literal(_) | Ast::Unspecified => {}
    }
}

fn entries<'a>(
    entries: &'a [cel::common::ast::IdedEntryExpr],
    local: &mut Vec<&'a str>,
    found: &mut References,
) {
    for entry in entries {
        match &entry.expr {
            EntryExpr::StructField(field) => walk(&field.value, local, found),
            EntryExpr::MapEntry(entry) => {
                walk(&entry.key, local, found);
                walk(&entry.value, local, found);
            }
        }
    }
}

fn mention(root: &str, next: Option<&str>, local: &[&str], found: &mut References) {
    if !local.contains(&root) && !root.starts_with('@') {
        found.add(root, next);
    }
}

impl VariableResolver for Scope<'_> {
    /// CEL asks for the longest name first (`steps.build.output.path`, then `steps.build.output`, …), so only the value that is meant is
    /// carried over.
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let found = self.find(variable)?;
        let value: Box<dyn Val> = cel(&found).try_into().ok()?;
        Some(CowVal::Owned(value))
    }
}

/// A JSON value as CEL sees it: whole numbers are `int` where they fit.
fn cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => cel::Value::Int(number),
            (_, Some(number)) => cel::Value::UInt(number),
            _ => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(list) => cel::Value::List(Arc::new(list.iter().map(cel).collect())),
        Value::Object(map) => {
            let map: HashMap<Key, cel::Value> = map
                .iter()
                .map(|(name, value)| (Key::String(Arc::new(name.clone())), cel(value)))
                .collect();
            cel::Value::Map(map.into())
        }
    }
}

/// A value of CEL as JSON. CEL's maps have no order, so keys come sorted: the same run writes the same journal.
fn json(value: &cel::Value) -> Result<Value, String> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(value) => Value::Bool(*value),
        cel::Value::Int(number) => Value::from(*number),
        cel::Value::UInt(number) => Value::from(*number),
        cel::Value::Float(number) => Number::from_f64(*number)
            .map(Value::Number)
            .ok_or_else(|| format!("it gives {number}, which JSON has no word for"))?,
        cel::Value::String(text) => Value::String(text.to_string()),
        cel::Value::List(list) => Value::Array(list.iter().map(json).collect::<Result<_, _>>()?),
        cel::Value::Map(map) => {
            let mut entries = map
                .map
                .iter()
                .map(|(name, value)| Ok((name.to_string(), json(value)?)))
                .collect::<Result<Vec<_>, String>>()?;
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        other => {
            return Err(format!(
                "it gives a {}; accepted are texts, numbers, true, false, null, lists and maps",
                other.type_of()
            ));
        }
    })
}

/// No step of any run.
struct NoSteps;

impl Steps for NoSteps {
    fn step(&self, _: &str) -> Option<StepFacts<'_>> {
        None
    }

    fn ids(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::empty())
    }
}

/// The values of an expression for each of these, which it sees as `item`, and its place as `index`.
///
/// # Errors
/// When it is no expression, refers to anything else, or cannot be worked out for one of them.
pub fn for_each(text: &str, items: &[Value]) -> Result<Vec<Value>, String> {
    let compiled = on_deep_stack(|| Expr::compile(text));
    let expression = compiled.unwrap_or_else(|| Err(format!("{text:?} cannot be parsed")))?;
    let other = |root: &&String| !matches!(root.as_str(), "item" | "index");
    if let Some(root) = expression.references().roots.iter().find(other) {
        return Err(format!(
            "it refers to {root:?}; accepted are item and index"
        ));
    }
    let none = Map::new();
    let value = |(at, item)| {
        let scope = Scope {
            vars: &none,
            run: &Value::Null,
            trigger: &Value::Null,
            steps: &NoSteps,
            item: Some((item, u32::try_from(at).unwrap_or(u32::MAX))),
            output: None,
        };
        let value = expression.value(&scope);
        value.map_err(|why| format!("at record {}: {why}", at + 1))
    };
    items.iter().enumerate().map(value).collect()
}

#[cfg(test)]
pub(crate) mod tests;
