//! From what an author wrote under `on` to triggers that can be decided about.

use super::{
    cron::Cron,
    hook::secret_name,
    written::{Auth, CatchUp, KINDS, OnEvent, OnSchedule, OnTrigger, OnWebhook, Overlap},
};
use crate::{
    expr::{Expr, References},
    plan::{Checker, is_name},
    scope::{Scope, StepFacts, Steps},
    template::Template,
};
use flotilla_contract::workflow::TriggerKind;
use glob::Pattern;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Triggers of a workflow at most.
const MOST: usize = 50;
const LONGEST_JITTER_MS: u64 = 86_400_000;

/// A trigger, checked and compiled.
#[derive(Debug)]
pub struct Trigger {
    /// Its name in the workflow.
    pub id: String,
    /// What makes it fire.
    pub kind: Kind,
    /// Whether it starts runs, as it is written.
    pub enabled: bool,
    /// What becomes of a firing while runs are under way.
    pub overlap: Overlap,
    /// Folder of its runs.
    pub workspace: Option<String>,
    pub(super) condition: Option<Expr>,
    pub(super) vars: Template,
}

/// What makes a trigger fire. What else is to start workflows (an alert) is one more of these, and one more field of
/// [`OnTrigger`].
#[derive(Debug)]
pub enum Kind {
    /// A time.
    Schedule {
        /// Which.
        cron: Box<Cron>,
        /// As it is written.
        text: String,
        /// What becomes of times that were missed.
        catch_up: CatchUp,
        /// Milliseconds of which a part is added.
        jitter: u64,
    },
    /// Something that happens in the fleet.
    Event {
        /// The words of events.
        kinds: Vec<String>,
        /// Names of servers; all when empty.
        servers: Vec<Pattern>,
        /// Runs within a minute at most.
        per_minute: u32,
        /// Runs within an hour with which it is switched off.
        per_hour: u32,
    },
    /// A request.
    Webhook {
        /// Name of the secret.
        secret: String,
        /// How it is proved.
        auth: Auth,
        /// Requests within a minute at most.
        per_minute: u32,
    },
}

impl Trigger {
    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> TriggerKind {
        match self.kind {
            Kind::Schedule { .. } => TriggerKind::Schedule,
            Kind::Event { .. } => TriggerKind::Event,
            Kind::Webhook { .. } => TriggerKind::Webhook,
        }
    }

    /// When a schedule has another form, what it decided about means nothing any more.
    pub(super) fn form(&self) -> String {
        match &self.kind {
            Kind::Schedule { cron, text, .. } => format!("{text} {}", cron.zone()),
            _ => String::new(),
        }
    }

    /// Whether it is to start a run, as far as its `if` says.
    pub(super) fn holds(&self, trigger: &Value) -> Result<bool, String> {
        let Some(condition) = &self.condition else {
            return Ok(true);
        };
        with_scope(trigger, |scope| condition.holds(scope)).map_err(|why| format!("if: {why}"))
    }

    /// The variables that it gives.
    pub(super) fn vars(&self, trigger: &Value) -> Result<Map<String, Value>, String> {
        match with_scope(trigger, |scope| self.vars.value(scope)) {
            Ok(Value::Object(vars)) => Ok(vars),
            Ok(_) => Ok(Map::new()),
            Err(why) => Err(format!("vars.{why}")),
        }
    }
}

fn with_scope<T>(trigger: &Value, work: impl FnOnce(&Scope<'_>) -> T) -> T {
    let (vars, run) = (Map::new(), Value::Null);
    work(&Scope {
        vars: &vars,
        run: &run,
        trigger,
        steps: &NoSteps,
        item: None,
        output: None,
    })
}

struct NoSteps;

impl Steps for NoSteps {
    fn step(&self, _: &str) -> Option<StepFacts<'_>> {
        None
    }

    fn ids(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::empty())
    }
}

/// Checks and compiles what stands under `on`.
pub(crate) fn compile(checker: &mut Checker<'_>) -> Vec<Trigger> {
    let definition = checker.definition;
    let written = &definition.on;
    if written.len() > MOST {
        checker.say(
            "on",
            format!("there are {}; accepted are {MOST} at most", written.len()),
        );
    }
    let mut ids = HashSet::new();
    let mut triggers = Vec::with_capacity(written.len());
    for (at, on) in written.iter().enumerate() {
        let path = match &on.id {
            Some(id) => format!("on.{id}"),
            None => format!("on[{at}]"),
        };
        let Some((word, kind)) = kind(checker, &path, on) else {
            continue;
        };
        let id = on.id.clone().unwrap_or_else(|| word.to_owned());
        if !is_name(&id, true) {
            checker.say(format!("{path}.id"), format!("it is {id:?}; accepted are a letter or _, then letters, digits, _ or -, 64 at most"));
        } else if !ids.insert(id.clone()) {
            checker.say(
                format!("{path}.id"),
                format!("{id:?} is the id of two triggers; accepted is one of its own for each"),
            );
        }
        let condition = checker.expression(&format!("{path}.if"), on.condition.as_deref());
        let vars = vars(checker, &path, on);
        if let Some(condition) = &condition {
            sees(checker, &format!("{path}.if"), &condition.references());
        }
        if let Some(workspace) = &on.workspace
            && !std::path::Path::new(workspace).is_absolute()
        {
            checker.say(
                format!("{path}.workspace"),
                format!("it is {workspace:?}; accepted is an absolute path"),
            );
        }
        triggers.push(Trigger {
            id,
            kind,
            enabled: on.enabled.unwrap_or(true),
            overlap: on.overlap.unwrap_or_default(),
            workspace: on.workspace.clone(),
            condition,
            vars,
        });
    }
    triggers
}

fn kind(checker: &mut Checker<'_>, path: &str, on: &OnTrigger) -> Option<(&'static str, Kind)> {
    match (&on.schedule, &on.event, &on.webhook) {
        (Some(on), None, None) => Some((
            "schedule",
            schedule(checker, &format!("{path}.schedule"), on)?,
        )),
        (None, Some(on), None) => Some(("event", event(checker, &format!("{path}.event"), on))),
        (None, None, Some(on)) => {
            Some(("webhook", webhook(checker, &format!("{path}.webhook"), on)))
        }
        _ => {
            checker.say(path, "it has none of schedule, event and webhook, or more than one; accepted is exactly one of them");
            None
        }
    }
}

fn schedule(checker: &mut Checker<'_>, path: &str, on: &OnSchedule) -> Option<Kind> {
    let jitter = on.jitter.map_or(0, |span| span.ms());
    if jitter > LONGEST_JITTER_MS {
        checker.say(format!("{path}.jitter"), "accepted is 1d at most");
    }
    match Cron::parse(&on.cron, on.timezone.as_deref()) {
        Ok(cron) => Some(Kind::Schedule {
            cron: Box::new(cron),
            text: on.cron.clone(),
            catch_up: on.catch_up.unwrap_or_default(),
            jitter,
        }),
        Err((zone, why)) => {
            let field = if zone { "timezone" } else { "cron" };
            checker.say(format!("{path}.{field}"), why);
            None
        }
    }
}

fn event(checker: &mut Checker<'_>, path: &str, on: &OnEvent) -> Kind {
    if on.kinds.is_empty() {
        checker.say(
            format!("{path}.kinds"),
            format!("it is empty; accepted are {}", KINDS.join(", ")),
        );
    }
    for kind in on
        .kinds
        .iter()
        .filter(|kind| !KINDS.contains(&kind.as_str()))
    {
        checker.say(
            format!("{path}.kinds"),
            format!(
                "{kind:?} is no event that starts workflows; accepted are {}",
                KINDS.join(", ")
            ),
        );
    }
    checker.between(format!("{path}.per_minute"), on.per_minute, 1, 600);
    checker.between(format!("{path}.per_hour"), on.per_hour, 1, 10_000);
    let mut servers = Vec::new();
    for name in &on.servers {
        match Pattern::new(name) {
            Ok(pattern) => servers.push(pattern),
            Err(error) => checker.say(
                format!("{path}.servers"),
                format!("{name:?} is no pattern of names: {}", error.msg),
            ),
        }
    }
    Kind::Event {
        kinds: on.kinds.clone(),
        servers,
        per_minute: on.per_minute.unwrap_or(10),
        per_hour: on.per_hour.unwrap_or(60),
    }
}

fn webhook(checker: &mut Checker<'_>, path: &str, on: &OnWebhook) -> Kind {
    let secret = secret_name(&on.secret);
    if secret.is_none() {
        // What stands there may be the secret itself, so it is not repeated.
        checker.say(
            format!("{path}.secret"),
            "it refers to no secret; accepted is \"${secret:NAME}\" and nothing else",
        );
    }
    checker.between(format!("{path}.per_minute"), on.per_minute, 1, 600);
    Kind::Webhook {
        secret: secret.unwrap_or_default().to_owned(),
        auth: on.auth.unwrap_or_default(),
        per_minute: on.per_minute.unwrap_or(60),
    }
}

fn vars(checker: &mut Checker<'_>, path: &str, on: &OnTrigger) -> Template {
    let path = format!("{path}.vars");
    let definition = checker.definition;
    let declared = &definition.vars;
    for name in on.vars.keys().filter(|name| !declared.contains_key(*name)) {
        checker.say(
            format!("{path}.{name}"),
            "no variable of the workflow has this name",
        );
    }
    for (name, var) in declared {
        if var.default.is_none() && !on.vars.contains_key(name) {
            checker.say(
                format!("{path}.{name}"),
                "it has no default and is not given, so no run could start",
            );
        }
    }
    let template = checker.template(&path, &Value::Object(on.vars.clone()));
    let mut found = Vec::new();
    template.references(&mut |refs| found.push(refs));
    for refs in found {
        sees(checker, &path, &refs);
    }
    template
}

/// There is no run yet, so there are no steps.
fn sees(checker: &mut Checker<'_>, path: &str, refs: &References) {
    for root in refs.roots.iter().filter(|root| *root != "trigger") {
        checker.say(path, format!("{root} is no name here; accepted is trigger"));
    }
}
