//! Workflows: the definitions of this home, the one runner, and what does the work of steps.
//!
//! A definition is a file `workflows/NAME.yaml` in the home; templates that come with Flotilla stand beside them, and a file of the same name
//! takes the place of one. A run works in the folder that it was given, or in `runs/NUMBER` of the home.

use crate::{
    clock,
    core::Core,
    journal::RunJournal,
    sessions::lock,
    steps::{self, Asked, Reached, Worked},
    subscribe::LogReader,
    triggers::{Triggers, cause},
};
use flotilla_agents::{
    Skill,
    work::{self, Place, Said, WorkError},
};
use flotilla_contract::{
    Caller, ErrorCode, EventKind, ServerId, WireError,
    command::{Outcomes, ScaleParams, Targets},
    event::NewEvent,
    log::{LogEntry, LogQuery},
    state::{InstanceView, ProcessState, Status},
    workflow::{
        Asking, Failure, Finding, PlannedCommand, PlannedStep, ReplayParams, RunAct, RunActParams,
        RunDefinition, RunParams, RunQuery, RunState, RunSummary, RunView, SaveParams, StepDetail,
        StepLog, StepRef, StepState, Unconfirmed, VarView, WorkflowInfo, WorkflowPlan,
        WorkflowShown,
    },
};
use flotilla_os::{
    Mark,
    launch::{child_environment, login_path},
};
use flotilla_store::{EventLog, RunLog};
use flotilla_workflow::{
    Catalog, Definition, Executor, Failed, FleetVerb, Journal, Observer, Plan, Record, Run, Runner,
    SAMPLES, Start, TEMPLATES, Uses, Wish, Work, compile,
    journal::Boxed,
    locate, parse,
    runner::{Error, Options},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// From the wish that a try ends to its being dropped.
const GRACE: Duration = Duration::from_secs(10);
/// A wait for the end of a run is answered after this long at most.
const WAIT: Duration = Duration::from_secs(30);
/// Bytes of a step's output at most, as JSON.
const OUTPUT: usize = 1 << 20;
/// Bytes of each stream of a command that are shown while it is at work,
const LIVE_LOG: usize = 32 << 10;
/// and that are kept of one that failed.
const FAILED_LOG: usize = 16 << 10;
/// Changes of runs that a follower may be behind before it looks at all of its run.
const CHANGES: usize = 256;
/// Lines of a server's log that a step is given at most.
const LOG_LINES: u32 = 200;
/// Definitions in a home at most.
const DEFINITIONS: usize = 1_000;

/// The workflows of an engine.
pub(crate) struct Workflows {
    pub(crate) runner: Runner,
    journal: Arc<dyn Journal>,
    doer: Arc<Doer>,
    pub(crate) folder: PathBuf,
    pub(crate) triggers: Triggers,
    changed: broadcast::Sender<u64>,
    /// Held while a run starts, so that `max_runs` holds.
    starting: tokio::sync::Mutex<()>,
    /// Held while a definition is written.
    saving: tokio::sync::Mutex<()>,
}

/// Who or what starts a run.
pub(crate) struct By {
    /// For people.
    pub(crate) by: String,
    /// How deep the run is.
    pub(crate) depth: u32,
    /// `trigger` of expressions.
    pub(crate) trigger: Value,
    /// Taken once.
    pub(crate) key: Option<String>,
    /// A run that has just ended, whose place it takes, though it may still look as if it had not.
    pub(crate) over: Option<u64>,
}

impl By {
    /// A person, or a program on behalf of one.
    pub(crate) fn person(actor: &str) -> Self {
        Self {
            by: actor.to_owned(),
            depth: 0,
            trigger: cause("manual", &[("by", actor.into())]),
            key: None,
            over: None,
        }
    }

    /// A step of a run.
    fn step(work: &Work) -> Self {
        Self {
            by: format!("run {}", work.run),
            depth: work.depth + 1,
            trigger: cause("workflow", &[("run", work.run.into())]),
            key: None,
            over: None,
        }
    }
}

impl Workflows {
    pub(crate) fn new(home: &Path, boot: Mark, runs: RunLog, events: EventLog) -> Self {
        let doer = Arc::new(Doer {
            core: OnceLock::new(),
            runs: home.join("runs"),
            mark: boot,
            environment: OnceLock::new(),
            reached: Reached::default(),
            worked: Worked::default(),
            said: Mutex::default(),
        });
        let journal: Arc<dyn Journal> = Arc::new(RunJournal(runs));
        let options = Options {
            clock: Arc::new(clock::now),
            seed: Arc::new(|| uuid::Uuid::new_v4().as_u64_pair().0),
            grace: GRACE,
        };
        let triggers = Triggers::new(&events);
        let (changed, _) = broadcast::channel(CHANGES);
        let teller = Teller {
            events,
            changed: changed.clone(),
        };
        let runner = Runner::new(journal.clone(), doer.clone(), Arc::new(teller), options);
        Self {
            runner,
            journal,
            doer,
            folder: home.join("workflows"),
            triggers,
            changed,
            starting: tokio::sync::Mutex::default(),
            saving: tokio::sync::Mutex::default(),
        }
    }

    /// Goes on with what the last engine left.
    pub(crate) async fn go_on(&self, core: &Arc<Core>) {
        // Set once, here.
        let _ = self.doer.core.set(Arc::downgrade(core));
        match self.runner.resume().await {
            Ok(runs) if runs.is_empty() => {}
            Ok(runs) => tracing::info!(count = runs.len(), "runs of workflows go on"),
            Err(error) => tracing::error!(%error, "runs of workflows not resumed"),
        }
    }

    /// What agents did for steps.
    pub(crate) fn worked(&self) -> &Worked {
        &self.doer.worked
    }

    /// Numbers of runs that changed, from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Bytes that the command of a try at work has written.
    pub(crate) fn written(&self, tried: &Tried) -> u64 {
        lock(&self.doer.said).get(tried).map_or(0, Said::written)
    }

    pub(crate) async fn close(&self) {
        self.runner.close().await;
    }
}

/// What steps may use in this engine.
struct Offered;

impl Catalog for Offered {
    fn refuses(&self, uses: &Uses) -> Option<String> {
        match uses {
            Uses::Agent { agent, capability } => flotilla_agents::skill(agent, capability).err(),
            _ => None,
        }
    }
}

impl Core {
    /// The text of a workflow, by its name.
    async fn workflow_text(&self, name: &str) -> Result<(String, bool), WireError> {
        let none = || {
            let folder = self.workflows.folder.display();
            WireError::new(
                ErrorCode::NotFound,
                format!(
                    "find a workflow named {name:?}: there is neither a file {folder}/{name}.yaml nor a template of this name"
                ),
            )
        };
        // The name becomes a path: only what is a name is looked for.
        name.parse::<flotilla_contract::ServerId>()
            .map_err(|_| none())?;
        let path = self.workflows.folder.join(format!("{name}.yaml"));
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => Ok((text, false)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => TEMPLATES
                .iter()
                .find(|(template, _)| *template == name)
                .map(|(_, text)| ((*text).to_owned(), true))
                .ok_or_else(none),
            Err(error) => {
                let path = path.display();
                Err(WireError::new(
                    ErrorCode::Internal,
                    format!("read {path}: {error}"),
                ))
            }
        }
    }

    /// A workflow that can run, by its name.
    async fn workflow_named(&self, name: &str) -> Result<Arc<Plan>, WireError> {
        let (text, _) = self.workflow_text(name).await?;
        self.workflow_of(name, text).await
    }

    /// A workflow that may run: its commands, if it has any, come with Flotilla, or somebody has confirmed this very text of them.
    async fn workflow_trusted(
        &self,
        name: &str,
        by: &str,
        confirm: Option<&str>,
    ) -> Result<Arc<Plan>, WireError> {
        let (text, _) = self.workflow_text(name).await?;
        // The same text stays trusted as a file.
        let ours = TEMPLATES.iter().any(|(_, template)| *template == text);
        let hash = flotilla_config::hash(&text);
        let plan = self.workflow_of(name, text).await?;
        let commands = commands(&plan);
        let stored =
            |error: flotilla_store::Error| WireError::new(ErrorCode::Store, error.to_string());
        if ours || commands.is_empty() || self.control.confirmed(&hash).await.map_err(stored)? {
            return Ok(plan);
        }
        if confirm == Some(hash.as_str()) {
            let kept = self.control.confirm(&hash, name, by).await;
            kept.map_err(stored)?;
            return Ok(plan);
        }
        let why = match confirm {
            Some(_) => "it is no longer what was confirmed",
            None => "nobody has confirmed its commands on this engine",
        };
        let detail = Unconfirmed {
            hash,
            plan: planned(&plan),
            commands,
        };
        Err(
            WireError::new(ErrorCode::Unconfirmed, format!("start {name}: {why}"))
                .with_detail(json!(detail)),
        )
    }

    async fn workflow_of(&self, name: &str, text: String) -> Result<Arc<Plan>, WireError> {
        let plan = check(text)
            .await?
            .map_err(|findings| invalid(name, &findings))?;
        if plan.definition().name == name {
            return Ok(plan);
        }
        let other = &plan.definition().name;
        let finding = Finding {
            path: "name".into(),
            message: format!("it is {other:?}; accepted is the name of its file, {name:?}"),
            line: None,
        };
        Err(invalid(name, &[finding]))
    }

    pub(crate) async fn workflows_listed(&self) -> Result<Vec<WorkflowInfo>, WireError> {
        let mut names: BTreeMap<String, bool> = TEMPLATES
            .iter()
            .map(|(name, _)| ((*name).to_owned(), true))
            .collect();
        let own = definitions(&self.workflows.folder).await;
        names.extend(own.into_keys().map(|name| (name, false)));
        let mut infos = Vec::new();
        for (name, built_in) in names {
            let shown = match self.workflow_text(&name).await {
                Ok((text, _)) => shown(text).await?,
                Err(_) => continue,
            };
            let plan = shown.plan.as_ref();
            infos.push(WorkflowInfo {
                description: plan.and_then(|plan| plan.description.clone()),
                steps: plan.map_or(0, |plan| {
                    u32::try_from(plan.steps.len()).unwrap_or(u32::MAX)
                }),
                findings: shown.findings,
                name,
                built_in,
            });
        }
        Ok(infos)
    }

    pub(crate) async fn workflow_shown(&self, name: &str) -> Result<WorkflowShown, WireError> {
        shown(self.workflow_text(name).await?.0).await
    }

    /// Writes a definition into the home, if it can run and nobody wrote it since it was read.
    pub(crate) async fn workflow_saved(
        &self,
        params: SaveParams,
    ) -> Result<WorkflowShown, WireError> {
        let SaveParams { name, text, before } = params;
        let bad =
            |why: String| WireError::new(ErrorCode::BadRequest, format!("save {name}: {why}"));
        name.parse::<ServerId>()
            .map_err(|error| bad(error.to_string()))?;
        let plan = check(text.clone())
            .await?
            .map_err(|findings| invalid(&name, &findings))?;
        if plan.definition().name != name {
            let other = &plan.definition().name;
            return Err(bad(format!("its name is {other:?}; accepted is {name:?}")));
        }
        let _one = self.workflows.saving.lock().await;
        let now = match self.workflow_text(&name).await {
            Ok((text, _)) => Some(text),
            Err(error) if error.code == ErrorCode::NotFound => None,
            Err(error) => return Err(error),
        };
        if now.as_deref().map(flotilla_config::hash) != before {
            let why = if before.is_none() {
                "there is a workflow of this name"
            } else {
                "it was changed since it was read"
            };
            return Err(
                WireError::new(ErrorCode::Conflict, format!("save {name}: {why}"))
                    .with_detail(json!({ "text": now })),
            );
        }
        let path = self.workflows.folder.join(format!("{name}.yaml"));
        let written = text.clone();
        let write = move || {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))
                .and_then(|()| crate::home::replace(&path, &written))
        };
        let done = tokio::task::spawn_blocking(write).await;
        done.map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))?
            .map_err(|error| {
                WireError::new(ErrorCode::Internal, format!("save {name}: {error}"))
            })?;
        shown(text).await
    }

    pub(crate) async fn workflow_planned(
        &self,
        params: RunParams,
    ) -> Result<WorkflowPlan, WireError> {
        let plan = self.workflow_named(&params.name).await?;
        plan.bind(&params.vars)
            .map_err(|findings| bad_vars(&params.name, &findings))?;
        let mut view = planned(&plan);
        for var in &mut view.vars {
            if let Some(value) = params.vars.get(&var.name) {
                var.default = Some(value.clone());
            }
        }
        Ok(view)
    }

    pub(crate) async fn start_run(
        &self,
        by: By,
        params: RunParams,
    ) -> Result<RunSummary, WireError> {
        let confirm = params.confirm.as_deref();
        let plan = self.workflow_trusted(&params.name, &by.by, confirm).await?;
        let vars = plan
            .bind(&params.vars)
            .map_err(|findings| bad_vars(&params.name, &findings))?;
        if let Some(workspace) = &params.workspace {
            let path = Path::new(workspace);
            if !path.is_absolute() || !path.is_dir() {
                return Err(WireError::new(
                    ErrorCode::BadRequest,
                    format!(
                        "start {}: workspace is {workspace:?}; accepted is the absolute path of a folder",
                        params.name
                    ),
                ));
            }
        }
        let start = Start {
            vars,
            by: by.by,
            trigger: by.trigger,
            key: by.key,
            depth: by.depth,
            workspace: params.workspace,
        };
        let _one = self.workflows.starting.lock().await;
        self.room(&plan, by.over)?;
        let runner = &self.workflows.runner;
        let run = runner.start(plan, start).await.map_err(wire)?.run();
        self.run_summary(run).await
    }

    /// Whether another run of a workflow may be under way.
    fn room(&self, plan: &Plan, over: Option<u64>) -> Result<(), WireError> {
        let definition = plan.definition();
        let Some(most) = definition.max_runs else {
            return Ok(());
        };
        let name = &definition.name;
        let open = |run: &RunSummary| !run.state.ended() && Some(run.run) != over;
        let runs = self.workflows.runner.under_way().into_iter();
        let many = runs
            .filter(|run| run.workflow == *name && open(run))
            .count();
        if many < most as usize {
            return Ok(());
        }
        let why = format!("start {name}: {many} runs of it are under way, and max_runs is {most}");
        Err(WireError::new(ErrorCode::Unsupported, why))
    }

    async fn run_summary(&self, run: u64) -> Result<RunSummary, WireError> {
        self.workflows
            .runner
            .look(run, Run::summary)
            .await
            .map_err(wire)
    }

    pub(crate) async fn replay_run(
        &self,
        caller: &Caller,
        params: ReplayParams,
    ) -> Result<RunSummary, WireError> {
        let runner = &self.workflows.runner;
        let source = params.run;
        let known = |run: &Run| (Arc::clone(run.plan()), run.facts().clone());
        let (old, facts) = runner.look(source, known).await.map_err(wire)?;
        let plan = if params.current {
            let name = &old.definition().name;
            self.workflow_trusted(name, &caller.actor, None).await?
        } else {
            old
        };
        let name = plan.definition().name.clone();
        let declared = plan.definition().vars.clone();
        let given = facts
            .vars
            .into_iter()
            .filter(|(name, _)| declared.contains_key(name))
            .collect();
        let vars = plan
            .bind(&given)
            .map_err(|findings| bad_vars(&name, &findings))?;
        let start = Start {
            vars,
            by: format!("{} (replay of run {source})", caller.actor),
            trigger: facts.trigger,
            key: None,
            depth: 0,
            workspace: facts.workspace,
        };
        let from = params.from.as_deref();
        let _one = self.workflows.starting.lock().await;
        self.room(&plan, None)?;
        let run = runner
            .replay(plan, source, from, start)
            .await
            .map_err(wire)?;
        self.run_summary(run).await
    }

    pub(crate) async fn runs_listed(&self, query: RunQuery) -> Result<Vec<RunSummary>, WireError> {
        let limit = query.limit.unwrap_or(50).clamp(1, 1_000);
        let listed = self
            .workflows
            .journal
            .list(query.workflow, query.before, limit)
            .await;
        let mut runs = listed.map_err(|error| wire(error.into()))?;
        // What is under way is further than what is on disk of it.
        for now in self.workflows.runner.under_way() {
            if let Some(run) = runs.iter_mut().find(|run| run.run == now.run) {
                *run = now;
            }
        }
        Ok(runs)
    }

    pub(crate) async fn runs_asking(&self) -> Vec<Asking> {
        let runner = &self.workflows.runner;
        let mut all = Vec::new();
        for run in runner.under_way() {
            // One that cannot be read any more has just ended.
            all.extend(runner.look(run.run, Run::asking).await.unwrap_or_default());
        }
        all.sort_by_key(|asking| (asking.since, asking.run));
        all
    }

    pub(crate) async fn run_viewed(&self, run: u64) -> Result<RunView, WireError> {
        self.workflows.runner.view(run).await.map_err(wire)
    }

    pub(crate) async fn run_definition(&self, run: u64) -> Result<RunDefinition, WireError> {
        let plan = |run: &Run| Arc::clone(run.plan());
        let of_run = self.workflows.runner.look(run, plan).await.map_err(wire)?;
        let now = self.workflow_named(&of_run.definition().name).await.ok();
        let written = |plan: &Plan| {
            // What starts it is not kept with a run.
            let definition = Definition {
                on: Vec::new(),
                ..plan.definition().clone()
            };
            definition.to_yaml().map_err(|error| {
                let said = format!("write the definition of run {run}: {error}");
                WireError::new(ErrorCode::Internal, said)
            })
        };
        Ok(RunDefinition {
            text: written(&of_run)?,
            current: now.as_deref().map(written).transpose()?,
        })
    }

    pub(crate) async fn step_viewed(&self, params: StepRef) -> Result<StepDetail, WireError> {
        let Workflows { runner, doer, .. } = &self.workflows;
        let (run, item) = (params.run, params.item);
        let mut detail = runner.detail(run, &params.step, item).await.map_err(wire)?;
        if detail.step.state == StepState::Running {
            let tried = (run, detail.step.id.as_str().into(), item);
            detail.log = doer.wrote(&tried, LIVE_LOG);
        }
        Ok(detail)
    }

    pub(crate) async fn act_on_run(
        &self,
        caller: &Caller,
        params: RunActParams,
    ) -> Result<RunSummary, WireError> {
        let run = params.run;
        let what = match &params.step {
            Some(step) => format!("{} {step} of run {run}", params.act.word()),
            None => format!("{} run {run}", params.act.word()),
        };
        let wish = move |run: &Run| wish(run, params);
        let acted = self.workflows.runner.ask(run, &caller.actor, wish).await;
        acted.map_err(|error| match error {
            Error::Refused(why) => WireError::new(ErrorCode::Unsupported, format!("{what}: {why}")),
            other => wire(other),
        })
    }

    pub(crate) async fn run_waited(&self, run: u64) -> Result<RunSummary, WireError> {
        match tokio::time::timeout(WAIT, self.workflows.runner.ended(run)).await {
            Ok(ended) => ended.map_err(wire),
            Err(_) => self.run_summary(run).await,
        }
    }
}

/// What a person means, in the words of the run.
fn wish(run: &Run, params: RunActParams) -> Result<Wish, String> {
    let step = || {
        let name = params.step.as_deref().ok_or("it needs a step")?;
        let place = run.plan().place(name);
        place.ok_or_else(|| {
            format!(
                "run {} has no step with the id or name {name:?}",
                params.run
            )
        })
    };
    Ok(match params.act {
        RunAct::Pause => Wish::Pause,
        RunAct::Resume => Wish::Continue,
        RunAct::Cancel => Wish::Cancel,
        RunAct::Restart => Wish::Restart,
        RunAct::Skip => Wish::Skip(step()?),
        RunAct::Retry => Wish::Retry(step()?),
        RunAct::Approve | RunAct::Reject => Wish::Decide {
            step: step()?,
            yes: params.act == RunAct::Approve,
            input: params.input,
        },
    })
}

/// The definitions in a folder: their names and files.
pub(crate) async fn definitions(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    if let Ok(mut folder) = tokio::fs::read_dir(folder).await {
        while let Ok(Some(entry)) = folder.next_entry().await {
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".yaml"))
                && found.len() < DEFINITIONS
            {
                found.insert(name.to_owned(), entry.path());
            }
        }
    }
    found
}

/// Checks a text whole, off the async threads.
pub(crate) async fn check(text: String) -> Result<Result<Arc<Plan>, Vec<Finding>>, WireError> {
    let work = move || {
        let definition = parse(&text).map_err(|finding| vec![finding])?;
        let compiled = compile(definition, &Offered).map(Arc::new);
        compiled.map_err(|mut findings| {
            locate(&text, &mut findings);
            findings
        })
    };
    let checked = tokio::task::spawn_blocking(work).await;
    checked.map_err(|error| WireError::new(ErrorCode::Internal, error.to_string()))
}

pub(crate) async fn shown(text: String) -> Result<WorkflowShown, WireError> {
    let checked = check(text.clone()).await?;
    let (plan, findings) = match checked {
        Ok(plan) => (Some(planned(&plan)), Vec::new()),
        Err(findings) => (None, findings),
    };
    Ok(WorkflowShown {
        hash: flotilla_config::hash(&text),
        sample: sample_of(&text),
        text,
        plan,
        findings,
    })
}

/// What the steps of a template gave on a small example, if this is its text.
fn sample_of(text: &str) -> Option<serde_json::Map<String, Value>> {
    let (name, _) = TEMPLATES.iter().find(|(_, template)| *template == text)?;
    let (_, sample) = SAMPLES.iter().find(|(sampled, _)| sampled == name)?;
    serde_json::from_str(sample).ok()
}

fn planned(plan: &Plan) -> WorkflowPlan {
    let definition = plan.definition();
    let id = |place: &u32| {
        definition
            .steps
            .get(*place as usize)
            .map(|step| step.id.clone())
    };
    let step = |place: u32| {
        let step = definition.steps.get(place as usize)?;
        Some(PlannedStep {
            id: step.id.clone(),
            name: step.name.clone(),
            uses: step.uses.clone(),
            needs: plan.needs(place).iter().filter_map(id).collect(),
            condition: step.condition.clone(),
            skip_if: step.skip_if.clone(),
            with: step.with.clone(),
        })
    };
    WorkflowPlan {
        name: definition.name.clone(),
        description: definition.description.clone(),
        vars: definition
            .vars
            .iter()
            .map(|(name, var)| VarView {
                name: name.clone(),
                kind: var.kind.word().to_owned(),
                description: var.description.clone(),
                default: var.default.clone(),
                options: var.options.clone(),
            })
            .collect(),
        steps: plan.order().into_iter().filter_map(step).collect(),
        confinement: (!commands(plan).is_empty()).then(|| confinement().to_owned()),
    }
}

/// Its steps that run a command.
fn commands(plan: &Plan) -> Vec<PlannedCommand> {
    let command = |place: u32| {
        let step = plan.definition().steps.get(place as usize)?;
        let field = match plan.uses(place)? {
            Uses::Shell if step.with.contains_key("run") => "run",
            Uses::Agent { agent, capability }
                if flotilla_agents::skill(agent, capability) != Ok(Skill::Code) =>
            {
                return None;
            }
            Uses::Shell | Uses::Agent { .. } => "command",
            _ => return None,
        };
        let command = match step.with.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let step = step.id.clone();
        Some(PlannedCommand { step, command })
    };
    plan.order().into_iter().filter_map(command).collect()
}

/// What commands are held to here.
fn confinement() -> &'static str {
    match flotilla_os::landlock() {
        Some(_) => {
            "Commands write only in their workspace, in folders for temporary files, and in those of workflows.writable"
        }
        None => "Commands write wherever you may: this system has no Landlock",
    }
}

fn lines(findings: &[Finding]) -> String {
    let line = |finding: &Finding| match finding.path.as_str() {
        "" => finding.message.clone(),
        path => format!("{path}: {}", finding.message),
    };
    findings.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn invalid(name: &str, findings: &[Finding]) -> WireError {
    WireError::new(
        ErrorCode::InvalidConfig,
        format!("use the workflow {name}: {}", lines(findings)),
    )
    .with_detail(json!(findings))
}

fn bad_vars(name: &str, findings: &[Finding]) -> WireError {
    WireError::new(
        ErrorCode::BadRequest,
        format!("start {name}: {}", lines(findings)),
    )
    .with_detail(json!(findings))
}

fn wire(error: Error) -> WireError {
    let code = match &error {
        Error::NoRun(_) => ErrorCode::NotFound,
        Error::Refused(_) | Error::TooMany(_) => ErrorCode::Unsupported,
        Error::Journal(_) | Error::Unreadable(..) => ErrorCode::Store,
        Error::Closed => ErrorCode::Internal,
    };
    WireError::new(code, error.to_string())
}

/// Tells the log of events what happened in runs, and their followers that it did.
struct Teller {
    events: EventLog,
    changed: broadcast::Sender<u64>,
}

impl Observer for Teller {
    fn told(&self, run: &Run, records: &[Record]) {
        // Without followers nobody hears it.
        let _ = self.changed.send(run.facts().number);
        for record in records {
            if let Some(what) = event(run, record) {
                self.events.append(NewEvent {
                    about: None,
                    correlation: Some(format!("run-{}", run.facts().number)),
                    what,
                });
            }
        }
    }
}

/// What an operator should hear of: beginnings and ends of runs, failures, questions.
fn event(run: &Run, record: &Record) -> Option<EventKind> {
    let (number, definition) = (run.facts().number, run.plan().definition());
    let workflow = definition.name.clone();
    let step = |place: u32, state, why: String| {
        let step = definition.steps.get(place as usize)?.id.clone();
        Some(EventKind::WorkflowStep {
            run: number,
            workflow: workflow.clone(),
            step,
            state,
            why,
        })
    };
    match record {
        Record::Run { state, why, .. } if *state != RunState::Cancelling => {
            Some(EventKind::WorkflowRun {
                run: number,
                workflow,
                state: *state,
                why: why.clone(),
            })
        }
        Record::End {
            task,
            state: StepState::Failed,
            failed,
            ..
        } if task.item.is_none() => {
            let why = failed
                .as_ref()
                .map_or(String::new(), |failed| failed.error.clone());
            step(task.step, StepState::Failed, why)
        }
        Record::Wait { task, why, .. } if run.plan().uses(task.step) != Some(&Uses::Wait) => {
            step(task.step, StepState::Waiting, why.clone())
        }
        _ => None,
    }
}

/// Does the work of steps.
struct Doer {
    core: OnceLock<Weak<Core>>,
    /// Workspaces of runs that were given none.
    runs: PathBuf,
    mark: Mark,
    environment: OnceLock<Vec<(std::ffi::OsString, std::ffi::OsString)>>,
    reached: Reached,
    worked: Worked,
    /// What commands write that are at work.
    said: Mutex<HashMap<Tried, Said>>,
}

/// A step of a run, or one of its items.
pub(crate) type Tried = (u64, Arc<str>, Option<u32>);

/// Forgets what a command wrote when its try is over, also when it is dropped.
struct Heard<'a>(&'a Doer, Tried);

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        lock(&self.0.said).remove(&self.1);
    }
}

impl Executor for Doer {
    fn execute(&self, work: Work, stop: CancellationToken) -> Boxed<'_, Result<Value, Failed>> {
        Box::pin(async move {
            let core = self.core.get().and_then(Weak::upgrade);
            let core =
                core.ok_or_else(|| Failed::new(Failure::Unavailable, "the engine is ending"))?;
            let heard = Heard(self, tried(&work));
            let output = self.work(&core, &work, stop).await;
            let output = output.map_err(|failed| Failed {
                log: self.wrote(&heard.1, FAILED_LOG).map(Box::new),
                ..failed
            })?;
            let bytes = output.to_string().len();
            if bytes > OUTPUT {
                let error = format!("its output is {bytes} bytes as JSON; accepted are {OUTPUT}");
                return Err(Failed::new(Failure::Failed, error));
            }
            Ok(output)
        })
    }
}

fn tried(work: &Work) -> Tried {
    (work.run, Arc::clone(&work.step), work.item)
}

impl Doer {
    /// Takes what the command of a try writes.
    fn said(&self, work: &Work) -> Said {
        let said = Said::default();
        lock(&self.said).insert(tried(work), said.clone());
        said
    }

    /// What it wrote; `None` for nothing.
    fn wrote(&self, tried: &Tried, most: usize) -> Option<StepLog> {
        let said = lock(&self.said).get(tried).cloned()?;
        Some(said.log(most)).filter(|log| !log.stdout.is_empty() || !log.stderr.is_empty())
    }

    async fn work(
        &self,
        core: &Arc<Core>,
        work: &Work,
        stop: CancellationToken,
    ) -> Result<Value, Failed> {
        match &work.uses {
            Uses::Data => Ok(work.input.get("value").cloned().unwrap_or(Value::Null)),
            Uses::Notify => notify(core, work),
            Uses::Shell => {
                let asked = self.asked(core, work).await?;
                let lookup = |name: &str| asked.secret(name);
                let done = work::shell(&work.input, &asked.place, &lookup, &stop).await;
                done.map_err(failed)
            }
            Uses::File => {
                let (place, input) = (self.place(core, work).await?, Arc::clone(&work.input));
                steps::blocking(move || work::file(&input, &place)).await
            }
            Uses::Monitor => {
                let (place, input) = (self.place(core, work).await?, Arc::clone(&work.input));
                steps::blocking(move || work::monitor(&input, &place)).await
            }
            Uses::Http => self.asked(core, work).await?.http(&stop).await,
            Uses::Agent { agent, capability } => {
                let skill = steps::may(core, agent, capability)?;
                self.asked(core, work)
                    .await?
                    .agent(agent, skill, &stop)
                    .await
            }
            Uses::Tool { server, tool } => steps::tool(core, work, server, tool, &stop).await,
            Uses::Fleet(FleetVerb::Backup) => {
                let place = self.place(core, work).await?;
                steps::backup(core, work, place).await
            }
            Uses::Fleet(verb) => fleet(core, work, *verb, stop).await,
            Uses::Workflow(name) => workflow(core, work, name, stop).await,
            uses => Err(Failed::new(
                Failure::Refused,
                format!("{uses} does no work here"),
            )),
        }
    }

    async fn asked<'a>(&'a self, core: &'a Core, work: &'a Work) -> Result<Asked<'a>, Failed> {
        Ok(Asked {
            core,
            work,
            place: self.place(core, work).await?,
            secrets: secrets(core, &work.input).await?,
            reached: &self.reached,
            worked: &self.worked,
        })
    }

    async fn place(&self, core: &Core, work: &Work) -> Result<Place, Failed> {
        let root = match &work.workspace {
            Some(given) => PathBuf::from(&**given),
            None => self.runs.join(work.run.to_string()),
        };
        tokio::fs::create_dir_all(&root).await.map_err(|error| {
            Failed::new(Failure::Failed, format!("make {}: {error}", root.display()))
        })?;
        let environment = self.environment().await;
        let item = work.item.map_or(String::new(), |item| format!(".{item}"));
        let part = format!("run-{}-{}{item}", work.run, work.step);
        Ok(Place {
            root,
            mark: self.mark.narrow(part),
            environment,
            writable: core.fleet().writable.clone(),
            said: self.said(work),
        })
    }

    async fn environment(&self) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        if let Some(known) = self.environment.get() {
            return known.clone();
        }
        // The login shell is asked once.
        let asked = tokio::task::spawn_blocking(|| {
            let mut environment = child_environment();
            if let Some(path) = login_path() {
                environment.retain(|(name, _)| name != "PATH");
                environment.push(("PATH".into(), path));
            }
            environment
        });
        let asked = asked.await.unwrap_or_default();
        self.environment.get_or_init(|| asked).clone()
    }
}

pub(crate) fn failed(error: WorkError) -> Failed {
    Failed::new(error.failure, error.error)
}

/// The secrets that the environment of a command or a request names, looked up off the async threads: a keyring may ask its user.
async fn secrets(core: &Core, input: &Value) -> Result<BTreeMap<String, String>, Failed> {
    let mut names = Vec::new();
    for field in ["env", "headers", "body", "json"] {
        named(input.get(field).unwrap_or(&Value::Null), &mut names);
    }
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let store = core.secrets.clone();
    let work = move || {
        let mut found = BTreeMap::new();
        for name in names {
            match store.get(&name) {
                Ok(Some(secret)) => found.insert(name, secret.expose().to_owned()),
                Ok(None) => None,
                Err(error) => return Err(Failed::new(Failure::Unavailable, error.to_string())),
            };
        }
        Ok(found)
    };
    let found = tokio::task::spawn_blocking(work).await;
    found.map_err(|error| Failed::new(Failure::Failed, error.to_string()))?
}

/// Collects the secrets that the texts of a value name.
fn named(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) => names.extend(work::secrets_in(text).map(str::to_owned)),
        Value::Array(list) => list.iter().for_each(|one| named(one, names)),
        Value::Object(map) => map.values().for_each(|one| named(one, names)),
        _ => {}
    }
}

fn notify(core: &Core, work: &Work) -> Result<Value, Failed> {
    let message = work
        .input
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if message.is_empty() {
        return Err(Failed::new(
            Failure::Refused,
            "with.message is empty; accepted is a text",
        ));
    }
    let message: String = message.chars().take(2_000).collect();
    core.events.append(NewEvent {
        about: None,
        correlation: Some(format!("run-{}", work.run)),
        what: EventKind::WorkflowNotice {
            run: work.run,
            workflow: work.workflow.to_string(),
            message: message.clone(),
        },
    });
    Ok(json!({ "success": true, "message": message }))
}

/// Events that a step causes say of which run they are.
pub(crate) fn caller(work: &Work) -> Caller {
    Caller {
        actor: format!("workflow:{}", work.workflow),
        correlation: format!("run-{}", work.run),
    }
}

/// A command's error as the failure of a try.
pub(crate) fn refusal(error: &WireError) -> Failed {
    let failure = match error.code {
        ErrorCode::Unreachable | ErrorCode::Superseded => Failure::Unavailable,
        ErrorCode::BadRequest
        | ErrorCode::NotFound
        | ErrorCode::Unsupported
        | ErrorCode::Disabled => Failure::Refused,
        _ => Failure::Failed,
    };
    Failed::new(failure, format!("failed to {}", error.message))
}

/// A verb on servers. It is not taken back when the step is told to end: what was asked for is seen to its end by the supervisor.
async fn fleet(
    core: &Arc<Core>,
    work: &Work,
    verb: FleetVerb,
    stop: CancellationToken,
) -> Result<Value, Failed> {
    let read = |error: serde_json::Error| Failed::new(Failure::Refused, format!("with: {error}"));
    if verb == FleetVerb::Status {
        let params = serde_json::from_value(work.input.as_ref().clone()).map_err(read)?;
        return status(core, params).map_err(|error| refusal(&error));
    }
    if let Some(done) = steps::of_fleet(core, work, verb, &stop).await {
        return done;
    }
    let caller = caller(work);
    let asked = async {
        if verb == FleetVerb::Scale {
            let params: ScaleParams =
                serde_json::from_value(work.input.as_ref().clone()).map_err(read)?;
            return core
                .scale_server(&caller, &params)
                .await
                .map_err(|error| refusal(&error));
        }
        if verb == FleetVerb::RollingRestart {
            let rolling = serde_json::from_value(work.input.as_ref().clone()).map_err(read)?;
            let done = in_turn(core, &caller, rolling, &stop).await;
            return done.map_err(|error| refusal(&error));
        }
        let targets: Targets = serde_json::from_value(work.input.as_ref().clone()).map_err(read)?;
        let done = match verb {
            FleetVerb::Start => core.start_servers(&caller, &targets).await,
            FleetVerb::Stop => core.stop_servers(&caller, &targets).await,
            _ => core.restart_servers(&caller, &targets).await,
        };
        done.map_err(|error| refusal(&error))
    };
    let Outcomes { outcomes } = tokio::select! {
        done = asked => done?,
        () = stop.cancelled() => return Err(Failed::new(Failure::Failed, "it was told to end")),
    };
    let wrong: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.ok)
        .map(|outcome| format!("{}: {}", outcome.server, outcome.sentence))
        .collect();
    if wrong.is_empty() {
        Ok(json!({ "success": true, "outcomes": outcomes }))
    } else {
        Err(Failed::new(Failure::Failed, wrong.join("; ")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusOf {
    #[serde(default)]
    servers: Vec<ServerId>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    lines: u32,
}

/// How servers are, and their last lines: at most [`LOG_LINES`] each, and less when all of them would be too large for an output. `troubled`
/// are those that somebody wants to run and that do not do their work.
fn status(core: &Core, of: StatusOf) -> Result<Value, WireError> {
    if of.lines > LOG_LINES {
        return Err(WireError::new(
            ErrorCode::BadRequest,
            format!(
                "read the logs: lines is {}; accepted are 0 to {LOG_LINES}",
                of.lines
            ),
        ));
    }
    let targets = Targets {
        servers: of.servers,
        all: of.all,
        instance: None,
    };
    let meant = core.meant(&targets)?;
    let (mut servers, mut troubled) = (Vec::new(), Vec::new());
    let share = OUTPUT / 2 / meant.len().max(1);
    for view in meant.iter().filter_map(|spec| core.server_view(&spec.id)) {
        if view.wanted
            && matches!(
                view.status,
                Status::Unhealthy | Status::Failed | Status::Restarting | Status::Degraded
            )
        {
            troubled.push(view.id().clone());
        }
        servers.push(json!({
            "server": view.id(),
            "status": view.status,
            "wanted": view.wanted,
            "why": view.health.sentence,
            "instances": view.instances.iter().map(|one| one.id.index).collect::<Vec<_>>(),
            "exits": exits(&view.instances),
            "restarts": view.instances.iter().map(|one| one.restarts_total).sum::<u32>(),
            "log": last_lines(core, view.id(), of.lines, share),
        }));
    }
    Ok(json!({ "success": true, "servers": servers, "troubled": troubled }))
}

/// How instances ended last.
fn exits(instances: &[InstanceView]) -> Vec<Value> {
    let exit = |one: &InstanceView| {
        let exit = one.last_exit.as_ref()?;
        Some(json!({
            "instance": one.id.index, "at": exit.at, "code": exit.code, "signal": exit.signal,
            "reason": exit.reason, "ran_ms": exit.ran_ms,
        }))
    };
    instances.iter().filter_map(exit).collect()
}

/// The last lines of a server, the latest of them in this many bytes.
fn last_lines(core: &Core, server: &ServerId, lines: u32, bytes: usize) -> Vec<String> {
    if lines == 0 {
        return Vec::new();
    }
    let query = LogQuery {
        servers: vec![server.clone()],
        tail: Some(lines),
        ..LogQuery::default()
    };
    let mut left = bytes;
    let mut kept: Vec<String> = LogReader::new(query)
        .first(core)
        .into_iter()
        .rev()
        .map_while(|entry| {
            let text = match entry {
                LogEntry::Line(line) => line.text,
                LogEntry::Gap(gap) => format!("({} lines are missing)", gap.missing),
            };
            // As JSON a character can take six bytes.
            left = left.checked_sub(6 * text.len() + 8)?;
            Some(text)
        })
        .collect();
    kept.reverse();
    kept
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rolling {
    #[serde(default)]
    servers: Vec<ServerId>,
    #[serde(default)]
    all: bool,
    /// Of each server, the instance that is left as it is.
    except: Option<u32>,
}

/// Restarts instances one after another, server by server, and no more once one has not come back. Of a server that does not run, all of them
/// at once.
async fn in_turn(
    core: &Arc<Core>,
    caller: &Caller,
    rolling: Rolling,
    stop: &CancellationToken,
) -> Result<Outcomes, WireError> {
    let targets = Targets {
        servers: rolling.servers,
        all: rolling.all,
        instance: None,
    };
    let mut all = Outcomes {
        outcomes: Vec::new(),
    };
    for spec in core.meant(&targets)? {
        let instances = core.server_view(&spec.id).map(|view| view.instances);
        let up = |one: &InstanceView| one.process.state == ProcessState::Running;
        let turns: Vec<Option<u32>> = match instances {
            Some(instances) if !instances.is_empty() && instances.iter().all(up) => {
                let indices = instances.iter().map(|one| one.id.index);
                let meant = indices.filter(|index| rolling.except != Some(*index));
                meant.map(Some).collect()
            }
            _ => vec![None],
        };
        for instance in turns {
            let one = Targets {
                servers: vec![spec.id.clone()],
                all: false,
                instance,
            };
            all.outcomes
                .extend(core.restart_servers(caller, &one).await?.outcomes);
            if stop.is_cancelled() || all.outcomes.iter().any(|outcome| !outcome.ok) {
                return Ok(all);
            }
        }
    }
    Ok(all)
}

/// Another workflow, as a run of its own, which ends with this step.
async fn workflow(
    core: &Arc<Core>,
    work: &Work,
    name: &str,
    stop: CancellationToken,
) -> Result<Value, Failed> {
    let params = RunParams {
        name: name.to_owned(),
        vars: work.input.as_object().cloned().unwrap_or_default(),
        workspace: work.workspace.as_deref().map(str::to_owned),
        confirm: None,
    };
    let by = format!("run {}", work.run);
    let started = core.start_run(By::step(work), params).await;
    let run = started.map_err(|error| refusal(&error))?.run;
    let runner = core.workflows.runner.clone();
    let gone = |error: Error| Failed::new(Failure::Failed, error.to_string());
    let summary = tokio::select! {
        ended = runner.ended(run) => ended.map_err(gone)?,
        () = stop.cancelled() => {
            // One that has just ended has nothing to cancel.
            let _ = runner.ask(run, &by, |_| Ok(Wish::Cancel)).await;
            runner.ended(run).await.map_err(gone)?
        }
    };
    if summary.state != RunState::Completed {
        let why = summary
            .why
            .unwrap_or_else(|| summary.state.word().to_owned());
        return Err(Failed::new(
            Failure::Failed,
            format!("run {run} of {name}: {why}"),
        ));
    }
    Ok(json!({ "success": true, "run": run }))
}
