//! A definition, checked whole and compiled: names resolved to places, expressions compiled, defaults filled in.

use crate::{
    definition::{Definition, IfFailed, IfSkipped, OnFailure, Retry, Span, Step, Var},
    expr::{Expr, References, on_deep_stack},
    scope::ROOTS,
    template::Template,
    trigger::{self, Trigger},
    uses::Uses,
    vars,
};
use flotilla_contract::{
    ServerId,
    workflow::{Failure, Finding},
};
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap, VecDeque};

const MOST_STEPS: usize = 20_000;
const MOST_NEEDS: usize = 200_000;
const LONGEST_TEXT: usize = 4 << 20;

/// What steps may use, as whoever runs them knows it.
pub trait Catalog: Sync {
    /// Why a step cannot use this; `None` when it can.
    fn refuses(&self, uses: &Uses) -> Option<String>;
}

/// Everything may be used.
pub struct Anything;

impl Catalog for Anything {
    fn refuses(&self, _: &Uses) -> Option<String> {
        None
    }
}

/// A workflow that can run.
#[derive(Debug)]
pub struct Plan {
    pub(crate) definition: Definition,
    pub(crate) steps: Vec<PlanStep>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) places: HashMap<String, u32>,
    /// Steps at work at once.
    pub(crate) limit: u32,
    /// Milliseconds of a run.
    pub(crate) timeout: u64,
}

#[derive(Debug)]
pub(crate) struct PlanStep {
    pub(crate) uses: Uses,
    pub(crate) needs: Vec<u32>,
    pub(crate) dependents: Vec<u32>,
    pub(crate) if_skipped: IfSkipped,
    pub(crate) if_failed: IfFailed,
    pub(crate) condition: Option<Expr>,
    pub(crate) skip_if: Option<Expr>,
    pub(crate) for_each: Option<Template>,
    pub(crate) with: Template,
    pub(crate) outputs: Vec<(String, Expr)>,
    pub(crate) items_at_once: u32,
    pub(crate) retry: Terms,
    /// Milliseconds of one try; of an approval, if it has one.
    pub(crate) timeout: Option<u64>,
    pub(crate) goes_on: bool,
    /// The step that undoes what this one did when it fails.
    pub(crate) compensation: Option<u32>,
    /// It undoes another step, and runs for nothing else.
    pub(crate) dormant: bool,
    pub(crate) idempotent: bool,
}

/// How a step is tried again.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) attempts: u32,
    backoff: u64,
    factor: f64,
    longest: u64,
    jitter: f64,
    on: Vec<Failure>,
}

impl Terms {
    fn new(retry: Option<&Retry>) -> Self {
        let span = |span: Option<Span>, default| span.map_or(default, Span::ms);
        Self {
            attempts: retry.map_or(1, |retry| retry.attempts),
            backoff: span(retry.and_then(|retry| retry.backoff), 1_000),
            factor: retry.and_then(|retry| retry.factor).unwrap_or(2.0),
            longest: span(retry.and_then(|retry| retry.max_backoff), 300_000),
            jitter: retry.and_then(|retry| retry.jitter).unwrap_or(0.1),
            on: retry
                .and_then(|retry| retry.on.clone())
                .unwrap_or_else(|| vec![Failure::Timeout, Failure::Unavailable, Failure::Failed]),
        }
    }

    /// Whether a failure of this class may be followed by another try.
    pub(crate) fn covers(&self, failure: Failure) -> bool {
        failure != Failure::Refused && self.on.contains(&failure)
    }

    /// Milliseconds until the next try after `failed` tries; `swing` from -1 to 1 decides about the jitter.
    pub(crate) fn wait(&self, failed: u32, swing: f64) -> u64 {
        let power = i32::try_from(failed.saturating_sub(1).min(1_000)).unwrap_or(1_000);
        #[expect(clippy::cast_precision_loss, reason = "a wait, in milliseconds")]
        let (backoff, longest) = (self.backoff as f64, self.longest as f64);
        let wait = (backoff * self.factor.powi(power)).min(longest) * (1.0 + self.jitter * swing);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded by the longest wait, and not below 0"
        )]
        let ms = wait.max(0.0) as u64;
        ms
    }
}

impl Plan {
    /// What its author wrote.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The values of its variables: those given over the defaults.
    ///
    /// # Errors
    /// Each that is unknown, missing, or not of its type.
    pub fn bind(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Finding>> {
        vars::bind(&self.definition.vars, given, "vars")
    }

    /// The steps in the order in which they can run, as places in the definition.
    #[must_use]
    pub fn order(&self) -> Vec<u32> {
        sort(&self.steps).0
    }

    /// What starts it without a person.
    #[must_use]
    pub fn triggers(&self) -> &[Trigger] {
        &self.triggers
    }

    /// What does the work of a step.
    #[must_use]
    pub fn uses(&self, step: u32) -> Option<&Uses> {
        self.steps.get(step as usize).map(|step| &step.uses)
    }

    /// The steps that one needs, as places in the definition.
    #[must_use]
    pub fn needs(&self, step: u32) -> &[u32] {
        self.steps
            .get(step as usize)
            .map_or(&[], |step| step.needs.as_slice())
    }

    /// The place of a step, by its id or name.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<u32> {
        self.places.get(name).copied()
    }

    pub(crate) fn id(&self, step: u32) -> &str {
        self.definition
            .steps
            .get(step as usize)
            .map_or("", |step| step.id.as_str())
    }
}

/// Reads a definition from YAML or JSON.
///
/// # Errors
/// The first thing in it that has no meaning, with its line.
pub fn parse(text: &str) -> Result<Definition, Finding> {
    let finding = |message: String, line| Finding {
        path: String::new(),
        message,
        line,
    };
    if text.len() > LONGEST_TEXT {
        return Err(finding(
            format!(
                "it is {} bytes long; accepted are {LONGEST_TEXT}",
                text.len()
            ),
            None,
        ));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error
            .location()
            .and_then(|place| u32::try_from(place.line()).ok());
        finding(error.without_snippet().to_string(), line)
    })
}

impl Definition {
    /// Its text, as [`parse`] reads it: without comments, and without what is as it would be anyway.
    ///
    /// # Errors
    /// When YAML has no words for it.
    pub fn to_yaml(&self) -> Result<String, String> {
        serde_saphyr::to_string(self).map_err(|error| error.to_string())
    }
}

/// Checks a definition whole and compiles it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile(definition: Definition, catalog: &dyn Catalog) -> Result<Plan, Vec<Finding>> {
    let compiled = on_deep_stack(|| Checker::new(&definition).compile(catalog));
    let Some(compiled) = compiled else {
        return Err(vec![Finding {
            path: String::new(),
            message: "an expression in it cannot be parsed".into(),
            line: None,
        }]);
    };
    let (steps, places, triggers) = compiled?;
    Ok(Plan {
        limit: definition.concurrency.unwrap_or(5),
        timeout: definition.timeout.map_or(7 * 86_400_000, Span::ms),
        definition,
        steps,
        triggers,
        places,
    })
}

type Compiled = (Vec<PlanStep>, HashMap<String, u32>, Vec<Trigger>);

/// Checks one definition and notes what is wrong.
pub(crate) struct Checker<'a> {
    pub(crate) definition: &'a Definition,
    places: HashMap<String, u32>,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn new(definition: &'a Definition) -> Self {
        Self {
            definition,
            places: HashMap::new(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn say(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding {
            path: path.into(),
            message: message.into(),
            line: None,
        });
    }

    fn compile(mut self, catalog: &dyn Catalog) -> Result<Compiled, Vec<Finding>> {
        self.head();
        self.names();
        let mut steps: Vec<_> = (0..self.definition.steps.len())
            .map(|at| self.step(at, catalog))
            .collect();
        self.compensations(&mut steps);
        for at in 0..steps.len() {
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            for need in steps[at].needs.clone() {
                steps[need as usize].dependents.push(place);
            }
        }
        self.cycle(&steps);
        let triggers = trigger::compile(&mut self);
        if self.findings.is_empty() {
            self.references(&steps);
        }
        if self.findings.is_empty() {
            Ok((steps, self.places, triggers))
        } else {
            Err(self.findings)
        }
    }

    fn head(&mut self) {
        let definition = self.definition;
        if let Err(error) = definition.name.parse::<ServerId>() {
            self.say("name", error.to_string());
        }
        self.between("concurrency", definition.concurrency, 1, 1_000);
        self.between("max_runs", definition.max_runs, 1, 1_000);
        if definition.steps.is_empty() || definition.steps.len() > MOST_STEPS {
            let count = definition.steps.len();
            self.say(
                "steps",
                format!("there are {count}; accepted are 1 to {MOST_STEPS}"),
            );
        }
        self.declared("vars", &definition.vars);
    }

    fn declared(&mut self, prefix: &str, vars: &IndexMap<String, Var>) {
        for (name, var) in vars {
            if !is_name(name, false) {
                self.say(
                    format!("{prefix}.{name}"),
                    "accepted as a name are a letter or _, then letters, digits or _, 64 at most",
                );
            }
            if let Some(why) = var
                .default
                .as_ref()
                .and_then(|value| vars::wrong(var, value))
            {
                self.say(format!("{prefix}.{name}.default"), why);
            }
        }
    }

    pub(crate) fn between(
        &mut self,
        path: impl Into<String>,
        number: Option<u32>,
        least: u32,
        most: u32,
    ) {
        if let Some(number) = number.filter(|number| !(least..=most).contains(number)) {
            self.say(
                path,
                format!("it is {number}; accepted are {least} to {most}"),
            );
        }
    }

    /// Ids first, names after: a name never hides an id.
    fn names(&mut self) {
        for (at, step) in self.definition.steps.iter().enumerate() {
            if !is_name(&step.id, true) {
                self.say(
                    format!("steps[{at}].id"),
                    format!("it is {:?}; accepted are a letter or _, then letters, digits, _ or -, 64 at most", step.id),
                );
            }
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            if self.places.insert(step.id.clone(), place).is_some() {
                self.say(
                    format!("steps[{at}].id"),
                    format!("{:?} is the id of two steps", step.id),
                );
            }
        }
        let mut named = HashMap::new();
        for (at, step) in self.definition.steps.iter().enumerate() {
            let Some(name) = step.name.as_ref().filter(|name| **name != step.id) else {
                continue;
            };
            let place = u32::try_from(at).unwrap_or(u32::MAX);
            if self.places.contains_key(name) || named.insert(name.clone(), place).is_some() {
                self.say(
                    format!("steps.{}.name", step.id),
                    format!("{name:?} is the name or id of another step too"),
                );
            }
        }
        self.places.extend(named);
    }

    fn step(&mut self, at: usize, catalog: &dyn Catalog) -> PlanStep {
        let definition = self.definition;
        let step = &definition.steps[at];
        let path = format!("steps.{}", step.id);
        let uses = Uses::parse(&step.uses).unwrap_or_else(|why| {
            self.say(format!("{path}.uses"), why);
            Uses::Data
        });
        if let Some(why) = catalog.refuses(&uses) {
            self.say(format!("{path}.uses"), why);
        }
        self.between(format!("{path}.concurrency"), step.concurrency, 1, 1_000);
        self.retry(&path, step.retry.as_ref());
        if let (Some(_), true) = (&step.for_each, uses.only_waits()) {
            self.say(
                format!("{path}.for_each"),
                format!("{uses} waits once, for all"),
            );
        }
        let for_each = step.for_each.as_ref().map(|list| self.list(&path, list));
        let with = self.template(&format!("{path}.with"), &Value::Object(step.with.clone()));
        let outputs = step
            .outputs
            .iter()
            .filter_map(|(name, text)| {
                let expr = self.expression(&format!("{path}.outputs.{name}"), Some(text))?;
                Some((name.clone(), expr))
            })
            .collect();
        PlanStep {
            needs: self.needs(&path, step),
            dependents: Vec::new(),
            if_skipped: step.if_needs_skipped,
            if_failed: step.if_needs_failed,
            condition: self.expression(&format!("{path}.if"), step.condition.as_deref()),
            skip_if: self.expression(&format!("{path}.skip_if"), step.skip_if.as_deref()),
            for_each,
            with,
            outputs,
            items_at_once: step.concurrency.unwrap_or(u32::MAX),
            retry: Terms::new(step.retry.as_ref()),
            timeout: match (&uses, step.timeout) {
                (Uses::Wait, _) | (Uses::Approval, None) => None,
                (_, timeout) => Some(timeout.map_or(60_000, Span::ms)),
            },
            goes_on: step.on_failure == OnFailure::Continue,
            compensation: None,
            dormant: false,
            idempotent: step.idempotent.unwrap_or(uses.changes_nothing()),
            uses,
        }
    }

    fn retry(&mut self, path: &str, retry: Option<&Retry>) {
        let Some(retry) = retry else { return };
        self.between(
            format!("{path}.retry.attempts"),
            Some(retry.attempts),
            1,
            100,
        );
        for (name, number, least, most) in [
            ("factor", retry.factor, 1.0, 10.0),
            ("jitter", retry.jitter, 0.0, 1.0),
        ] {
            if let Some(number) = number.filter(|number| !(least..=most).contains(number)) {
                self.say(
                    format!("{path}.retry.{name}"),
                    format!("it is {number}; accepted are {least} to {most}"),
                );
            }
        }
        if retry
            .on
            .as_ref()
            .is_some_and(|on| on.contains(&Failure::Refused))
        {
            self.say(
                format!("{path}.retry.on"),
                "refused cannot be tried again: it would end the same",
            );
        }
    }

    fn needs(&mut self, path: &str, step: &Step) -> Vec<u32> {
        let mut needs = BTreeSet::new();
        for name in &step.needs {
            match self.places.get(name).copied() {
                Some(place) => {
                    needs.insert(place);
                }
                None => self.unknown(format!("{path}.needs"), name),
            }
        }
        needs.into_iter().collect()
    }

    fn unknown(&mut self, path: String, name: &str) {
        let near = self
            .definition
            .steps
            .iter()
            .map(|step| step.id.as_str())
            .map(|id| (strsim::jaro_winkler(id, name), id))
            .filter(|(likeness, _)| *likeness > 0.85)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = near.map_or(String::new(), |(_, id)| format!("; did you mean {id:?}?"));
        self.say(path, format!("no step has the id or name {name:?}{hint}"));
    }

    pub(crate) fn expression(&mut self, path: &str, text: Option<&str>) -> Option<Expr> {
        Expr::compile(text?).map_err(|why| self.say(path, why)).ok()
    }

    pub(crate) fn template(&mut self, path: &str, value: &Value) -> Template {
        let mut problems = Vec::new();
        let template = Template::compile(value, &mut |place, why| {
            problems.push((format!("{path}{place}"), why));
        });
        for (path, why) in problems {
            self.say(path, why);
        }
        template
    }

    /// A list, or the expression that gives one, bare or in `${{ }}`.
    fn list(&mut self, path: &str, list: &Value) -> Template {
        let path = format!("{path}.for_each");
        match list {
            Value::Array(_) => self.template(&path, list),
            Value::String(text) => match self.expression(&path, Some(text)) {
                Some(expr) => Template::Whole(expr),
                None => Template::Plain(Value::Null),
            },
            other => {
                self.say(
                    path,
                    format!("it is {other}; accepted are a list and an expression"),
                );
                Template::Plain(Value::Null)
            }
        }
    }

    fn compensations(&mut self, steps: &mut [PlanStep]) {
        for (at, step) in self.definition.steps.iter().enumerate() {
            let OnFailure::Compensate(name) = &step.on_failure else {
                continue;
            };
            let path = format!("steps.{}.on_failure", step.id);
            match self.places.get(name).copied() {
                None => self.unknown(path, name),
                Some(place) if place as usize == at => {
                    self.say(path, "a step cannot undo itself");
                }
                Some(place) => {
                    steps[at].compensation = Some(place);
                    steps[place as usize].dormant = true;
                }
            }
        }
        for (at, step) in self.definition.steps.iter().enumerate() {
            if steps[at].dormant && (!step.needs.is_empty() || steps[at].compensation.is_some()) {
                self.say(
                    format!("steps.{}", step.id),
                    "it undoes another step, so it neither needs a step nor is undone by one",
                );
            }
            if let Some(need) = steps[at]
                .needs
                .iter()
                .find(|need| steps[**need as usize].dormant)
            {
                let id = &self.definition.steps[*need as usize].id;
                self.say(
                    format!("steps.{}.needs", step.id),
                    format!("{id:?} undoes another step, so nothing can need it"),
                );
            }
        }
        if steps.iter().map(|step| step.needs.len()).sum::<usize>() > MOST_NEEDS {
            self.say(
                "steps",
                format!("they need more than {MOST_NEEDS} steps in all"),
            );
        }
    }

    fn cycle(&mut self, steps: &[PlanStep]) {
        let (order, left) = sort(steps);
        if order.len() == steps.len() {
            return;
        }
        // Every step that is left needs another that is left: following needs must come round.
        let Some(mut at) = left.iter().position(|left| *left > 0) else {
            return;
        };
        let mut seen = vec![usize::MAX; steps.len()];
        let mut path = Vec::new();
        while seen[at] == usize::MAX {
            seen[at] = path.len();
            path.push(at);
            let next = steps[at]
                .needs
                .iter()
                .find(|need| left[**need as usize] > 0);
            at = next.map_or(at, |need| *need as usize);
        }
        let round: Vec<_> = path[seen[at]..]
            .iter()
            .chain([&at])
            .map(|at| self.definition.steps[*at].id.as_str())
            .collect();
        self.say(
            format!("steps.{}.needs", self.definition.steps[at].id),
            format!("steps need each other in a circle: {}", round.join(" -> ")),
        );
    }

    /// An expression sees declared variables, and steps that have certainly ended.
    fn references(&mut self, steps: &[PlanStep]) {
        for (at, step) in steps.iter().enumerate() {
            let path = format!("steps.{}", self.definition.steps[at].id);
            let mut found: Vec<(&str, References)> = Vec::new();
            for (field, expr) in [("if", &step.condition), ("skip_if", &step.skip_if)] {
                found.extend(expr.iter().map(|expr| (field, expr.references())));
            }
            for (_, expr) in &step.outputs {
                found.push(("outputs", expr.references()));
            }
            step.with.references(&mut |refs| found.push(("with", refs)));
            if let Some(list) = &step.for_each {
                list.references(&mut |refs| found.push(("for_each", refs)));
            }
            for (field, refs) in found {
                self.check(at, steps, &format!("{path}.{field}"), field, &refs);
            }
        }
    }

    fn check(&mut self, at: usize, steps: &[PlanStep], path: &str, field: &str, refs: &References) {
        for root in &refs.roots {
            let meant = match root.as_str() {
                "vars" | "steps" | "run" | "trigger" => true,
                "item" | "index" => steps[at].for_each.is_some() && field == "with",
                "output" => field == "outputs",
                _ => false,
            };
            if !meant && ROOTS.contains(&root.as_str()) {
                self.say(path, format!("{root} means nothing here"));
            } else if !meant {
                self.say(
                    path,
                    format!("{root} is no name here; accepted are {}", ROOTS.join(", ")),
                );
            }
        }
        for name in refs
            .vars
            .iter()
            .filter(|name| !self.definition.vars.contains_key(*name))
        {
            self.say(path, format!("vars.{name} is not declared"));
        }
        for name in &refs.steps {
            match self.places.get(name) {
                None => self.unknown(path.to_owned(), name),
                Some(place) if !before(steps, *place, at) => self.say(
                    path,
                    format!("steps.{name} need not have ended by then; add {name:?} to needs"),
                ),
                Some(_) => {}
            }
        }
    }
}

/// Whether a step has ended whenever another starts.
fn before(steps: &[PlanStep], step: u32, other: usize) -> bool {
    let mut seen = BTreeSet::new();
    // What undoes a step starts after that step.
    let undone = |at: usize| {
        let undoes =
            move |step: &PlanStep| steps[at].dormant && step.compensation == u32::try_from(at).ok();
        let places = steps
            .iter()
            .enumerate()
            .filter(move |(_, step)| undoes(step));
        places.filter_map(|(place, _)| u32::try_from(place).ok())
    };
    let mut open: Vec<u32> = steps[other]
        .needs
        .iter()
        .copied()
        .chain(undone(other))
        .collect();
    while let Some(at) = open.pop() {
        if at == step {
            return true;
        }
        if seen.insert(at) {
            open.extend(&steps[at as usize].needs);
        }
    }
    false
}

/// The steps in an order in which they can run (Kahn 1962), and for each how many of those it needs are not in it.
fn sort(steps: &[PlanStep]) -> (Vec<u32>, Vec<usize>) {
    let mut left: Vec<_> = steps.iter().map(|step| step.needs.len()).collect();
    let free = |at: &usize| steps[*at].needs.is_empty();
    let mut queue: VecDeque<usize> = (0..steps.len()).filter(free).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(at) = queue.pop_front() {
        order.extend(u32::try_from(at));
        for dependent in &steps[at].dependents {
            let dependent = *dependent as usize;
            left[dependent] -= 1;
            if left[dependent] == 0 {
                queue.push_back(dependent);
            }
        }
    }
    (order, left)
}

pub(crate) fn is_name(text: &str, dashes: bool) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || (dashes && b == b'-'))
}

#[cfg(test)]
mod tests;
