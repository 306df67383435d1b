//! Commands about workflows.

use crate::{
    args::{RunWorkflow, ThisStep, ThisTrigger, Workflow},
    ask::Engine,
    exit::{Failure, all_reached},
    setup::confirm,
    show::{self, Out},
    table::{Align, Cell, Colour, render},
};
use flotilla_contract::{
    ErrorCode,
    command::{
        WorkflowAct, WorkflowList, WorkflowPlanCmd, WorkflowReplay, WorkflowRun, WorkflowRuns,
        WorkflowSchedules, WorkflowShow, WorkflowStep, WorkflowTriggerDisable,
        WorkflowTriggerEnable, WorkflowValidate, WorkflowView, WorkflowWait,
    },
    workflow::{
        Finding, ReplayParams, RunAct, RunActParams, RunParams, RunQuery, RunRef, RunState,
        RunSummary, RunView, StepRef, StepState, TriggerRef, TriggerView, Unconfirmed,
        WorkflowInfo, WorkflowPlan, WorkflowRef, WorkflowText,
    },
};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::{fmt::Write as _, io::IsTerminal as _, path::Path};

pub(crate) async fn workflow(to: &Engine, verb: &Workflow, out: Out) -> Result<(), Failure> {
    match verb {
        Workflow::Templates => {
            let list = to.run::<WorkflowList>(Default::default()).await?;
            out.json_or(&list, || listed(&list, out))
        }
        Workflow::Show { name } => {
            let params = WorkflowRef { name: name.clone() };
            let shown = to.run::<WorkflowShow>(params).await?;
            out.json_or(&shown, || shown.text.clone())
        }
        Workflow::Validate { file } => validate(to, file, out).await,
        Workflow::Plan(args) => {
            let plan = to.run::<WorkflowPlanCmd>(start(to, args).await?).await?;
            out.json_or(&plan, || planned(&plan, out))
        }
        Workflow::Run(args) => {
            let mut run = begin(to, args).await?;
            while args.wait && !run.state.ended() {
                run = to.run::<WorkflowWait>(RunRef { run: run.run }).await?;
            }
            out.json_or(&run, || line(&run) + "\n")?;
            all_reached(!args.wait || run.state == RunState::Completed)
        }
        Workflow::Replay { run, from, current } => {
            let params = ReplayParams {
                run: *run,
                from: from.clone(),
                current: *current,
            };
            let run = to.run::<WorkflowReplay>(params).await?;
            out.json_or(&run, || line(&run) + "\n")
        }
        Workflow::Runs {
            run: Some(run),
            step: Some(step),
            ..
        } => {
            let params = StepRef {
                run: *run,
                step: step.clone(),
                item: None,
            };
            let detail = to.run::<WorkflowStep>(params).await?;
            out.json_or(&detail, || pretty(&detail))
        }
        Workflow::Runs { run: Some(run), .. } => {
            let view = to.run::<WorkflowView>(RunRef { run: *run }).await?;
            out.json_or(&view, || viewed(&view, out))
        }
        Workflow::Runs {
            workflow, limit, ..
        } => {
            let query = RunQuery {
                workflow: workflow.clone(),
                limit: Some(*limit),
                before: None,
            };
            let runs = to.run::<WorkflowRuns>(query).await?;
            out.json_or(&runs, || runs_table(&runs, out))
        }
        Workflow::Schedules => {
            let triggers = to.run::<WorkflowSchedules>(Default::default()).await?;
            out.json_or(&triggers, || triggers_table(&triggers, out))
        }
        Workflow::Enable(this) => {
            let view = to.run::<WorkflowTriggerEnable>(this_trigger(this)).await?;
            out.json_or(&view, || triggers_table(std::slice::from_ref(&view), out))
        }
        Workflow::Disable(this) => {
            let view = to.run::<WorkflowTriggerDisable>(this_trigger(this)).await?;
            out.json_or(&view, || triggers_table(std::slice::from_ref(&view), out))
        }
        Workflow::Pause(this) => act(to, this.run, None, RunAct::Pause, Map::new(), out).await,
        Workflow::Resume(this) => act(to, this.run, None, RunAct::Resume, Map::new(), out).await,
        Workflow::Cancel(this) => act(to, this.run, None, RunAct::Cancel, Map::new(), out).await,
        Workflow::Restart(this) => act(to, this.run, None, RunAct::Restart, Map::new(), out).await,
        Workflow::Skip(this) => act(to, this.run, Some(this), RunAct::Skip, Map::new(), out).await,
        Workflow::Retry(this) => {
            act(to, this.run, Some(this), RunAct::Retry, Map::new(), out).await
        }
        Workflow::Approve { step, input } => {
            let input = pairs(input, "--input", |_| None)?;
            act(to, step.run, Some(step), RunAct::Approve, input, out).await
        }
        Workflow::Reject { step, why } => {
            let why = why
                .iter()
                .map(|why| ("why".to_owned(), Value::String(why.clone())));
            act(to, step.run, Some(step), RunAct::Reject, why.collect(), out).await
        }
    }
}

/// Starts a run. Commands that nobody has confirmed on this engine are shown first.
async fn begin(to: &Engine, args: &RunWorkflow) -> Result<RunSummary, Failure> {
    let mut params = start(to, args).await?;
    let failure = match to.run::<WorkflowRun>(params.clone()).await {
        Ok(run) => return Ok(run),
        Err(failure) => failure,
    };
    let asked: Option<Unconfirmed> = failure
        .detail(ErrorCode::Unconfirmed)
        .and_then(|detail| serde_json::from_value(detail.clone()).ok());
    let Some(asked) = asked else {
        return Err(failure);
    };
    let mut what = format!("{} runs commands on this machine:\n", args.name);
    for one in &asked.commands {
        // Writing to a text cannot fail.
        let _ = writeln!(
            what,
            "  {}: {}",
            one.step,
            one.command.replace('\n', "\n    ")
        );
    }
    if let Some(confinement) = &asked.plan.confinement {
        let _ = writeln!(what, "{confinement}.");
    }
    if !args.yes {
        if !std::io::stdin().is_terminal() {
            // Nobody can be asked here; what would be asked is said all the same.
            eprint!("{what}");
        }
        if !confirm(&what, "Run them?")? {
            return Err(Failure::other("failed to start it: it was not confirmed"));
        }
    }
    params.confirm = Some(asked.hash);
    to.run::<WorkflowRun>(params).await
}

fn this_trigger(this: &ThisTrigger) -> TriggerRef {
    TriggerRef {
        workflow: this.workflow.clone(),
        trigger: this.trigger.clone(),
    }
}

async fn act(
    to: &Engine,
    run: u64,
    step: Option<&ThisStep>,
    act: RunAct,
    input: Map<String, Value>,
    out: Out,
) -> Result<(), Failure> {
    let params = RunActParams {
        run,
        act,
        step: step.map(|this| this.step.clone()),
        input,
    };
    let run = to.run::<WorkflowAct>(params).await?;
    out.json_or(&run, || line(&run) + "\n")
}

async fn validate(to: &Engine, file: &Path, out: Out) -> Result<(), Failure> {
    let unread = |error| Failure::usage(format!("failed to read {}: {error}", file.display()));
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).map_err(unread)?
    } else {
        std::fs::read_to_string(file).map_err(unread)?
    };
    let shown = to.run::<WorkflowValidate>(WorkflowText { text }).await?;
    out.json_or(&shown, || match &shown.plan {
        Some(plan) => planned(plan, out),
        None => shown.findings.iter().map(finding).collect(),
    })?;
    if shown.plan.is_some() {
        Ok(())
    } else {
        Err(Failure::invalid_config())
    }
}

fn finding(finding: &Finding) -> String {
    let line = finding
        .line
        .map_or(String::new(), |line| format!("line {line}: "));
    let path = match finding.path.as_str() {
        "" => String::new(),
        path => format!("{path}: "),
    };
    format!("{line}{path}{}\n", finding.message)
}

/// A run to start: what is typed is read as the types that the workflow declares.
async fn start(to: &Engine, args: &RunWorkflow) -> Result<RunParams, Failure> {
    let params = WorkflowRef {
        name: args.name.clone(),
    };
    let plan = to.run::<WorkflowShow>(params).await?.plan;
    let kind = |name: &str| {
        let var = plan.as_ref()?.vars.iter().find(|var| var.name == name)?;
        Some(var.kind.clone())
    };
    let workspace = args.workspace.as_ref().map(std::path::absolute).transpose();
    let workspace = workspace
        .map_err(|error| Failure::usage(format!("failed to use the workspace: {error}")))?;
    Ok(RunParams {
        name: args.name.clone(),
        vars: pairs(&args.vars, "--var", kind)?,
        workspace: workspace.map(|path| path.display().to_string()),
        confirm: None,
    })
}

/// `NAME=VALUE`s: a text where the kind says so, or where the value is no JSON and no kind is known.
fn pairs(
    words: &[String],
    option: &str,
    kind: impl Fn(&str) -> Option<String>,
) -> Result<Map<String, Value>, Failure> {
    let pair = |word: &String| {
        let (name, text) = word.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "failed to read {option} {word:?}: accepted is NAME=VALUE"
            ))
        })?;
        let read = serde_json::from_str(text);
        let value = match (kind(name).as_deref(), read) {
            (Some("string"), _) | (None, Err(_)) => Value::String(text.to_owned()),
            (_, Ok(value)) => value,
            (Some(kind), Err(_)) => {
                return Err(Failure::usage(format!(
                    "failed to read {option} {word:?}: accepted is JSON of type {kind}"
                )));
            }
        };
        Ok((name.to_owned(), value))
    };
    words.iter().map(pair).collect()
}

fn line(run: &RunSummary) -> String {
    let more = run.waits.as_ref().or(run.why.as_ref());
    let more = more.map_or(String::new(), |more| format!(": {more}"));
    format!(
        "Run {} of {} is {}, {} of {} steps ended{more}",
        run.run,
        run.workflow,
        run.state.word(),
        run.ended,
        run.steps
    )
}

fn colour(state: RunState) -> Option<Colour> {
    match state {
        RunState::Completed => Some(Colour::Green),
        RunState::Failed => Some(Colour::Red),
        RunState::Cancelled => Some(Colour::Dim),
        _ => Some(Colour::Yellow),
    }
}

fn runs_table(runs: &[RunSummary], out: Out) -> String {
    let columns = [
        ("RUN", Align::Right),
        ("WORKFLOW", Align::Left),
        ("STATE", Align::Left),
        ("STEPS", Align::Right),
        ("BY", Align::Left),
        ("WHY", Align::Left),
    ];
    let row = |run: &RunSummary| -> Vec<Cell> {
        let why = run
            .waits
            .clone()
            .or_else(|| run.why.clone())
            .unwrap_or_default();
        vec![
            run.run.to_string().into(),
            run.workflow.clone().into(),
            Cell(run.state.word().into(), colour(run.state)),
            format!("{}/{}", run.ended, run.steps).into(),
            run.by.clone().into(),
            why.into(),
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    render(&columns, &rows, out.colours)
}

fn triggers_table(triggers: &[TriggerView], out: Out) -> String {
    if triggers.is_empty() {
        return "Nothing starts a workflow without a person. A definition says so under `on`; docs/workflows.md has how.\n".into();
    }
    let columns = [
        ("WORKFLOW", Align::Left),
        ("TRIGGER", Align::Left),
        ("ON", Align::Left),
        ("NEXT", Align::Left),
        ("LAST", Align::Left),
        ("WHY", Align::Left),
    ];
    let row = |view: &TriggerView| -> Vec<Cell> {
        let zone = view
            .timezone
            .as_ref()
            .map_or(String::new(), |zone| format!(" {zone}"));
        let next = match (view.enabled, view.next.first()) {
            (false, _) => Cell("off".into(), Some(Colour::Yellow)),
            (true, Some(at)) => show::clock(*at, &TimeZone::system()).into(),
            (true, None) => String::new().into(),
        };
        let last = match (&view.last, &view.last_run) {
            (_, Some(run)) => Cell(
                format!("run {} {}", run.run, run.state.word()),
                colour(run.state),
            ),
            (Some(last), None) => last.outcome.word().to_owned().into(),
            (None, None) => String::new().into(),
        };
        let why = view.why.clone().or_else(|| view.last.as_ref()?.why.clone());
        vec![
            view.workflow.clone().into(),
            view.trigger.clone().into(),
            format!("{}{zone}", view.what).into(),
            next,
            last,
            why.unwrap_or_default().into(),
        ]
    };
    let rows: Vec<_> = triggers.iter().map(row).collect();
    render(&columns, &rows, out.colours)
}

fn viewed(view: &RunView, out: Out) -> String {
    let columns = [
        ("STEP", Align::Left),
        ("STATE", Align::Left),
        ("TRY", Align::Right),
        ("TOOK", Align::Right),
        ("WHY", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = view
        .steps
        .iter()
        .map(|step| {
            let took = step
                .began_at
                .zip(step.ended_at)
                .map(|(from, to)| to.saturating_sub(from));
            let colour = match step.state {
                StepState::Completed => Some(Colour::Green),
                StepState::Failed => Some(Colour::Red),
                StepState::Skipped | StepState::Blocked | StepState::Cancelled => Some(Colour::Dim),
                _ => Some(Colour::Yellow),
            };
            let tries = if step.attempt == 0 {
                String::new()
            } else {
                format!("{}/{}", step.attempt, step.attempts)
            };
            vec![
                step.id.clone().into(),
                Cell(step.state.word().into(), colour),
                tries.into(),
                took.map_or(String::new(), |ms| format!("{ms} ms")).into(),
                step.error
                    .clone()
                    .or_else(|| step.why.clone())
                    .unwrap_or_default()
                    .into(),
            ]
        })
        .collect();
    format!(
        "{}\n\n{}",
        line(&view.summary),
        render(&columns, &rows, out.colours)
    )
}

fn listed(list: &[WorkflowInfo], out: Out) -> String {
    if list.is_empty() {
        return "No workflow yet. One is a file workflows/NAME.yaml in the home; docs/workflows.md says what stands in it.\n".into();
    }
    let columns = [
        ("NAME", Align::Left),
        ("STEPS", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = list
        .iter()
        .map(|info| {
            let what = match info.findings.first() {
                Some(first) => Cell(finding(first).trim_end().to_owned(), Some(Colour::Red)),
                None => info.description.clone().unwrap_or_default().into(),
            };
            vec![
                info.name.clone().into(),
                info.steps.to_string().into(),
                what,
            ]
        })
        .collect();
    render(&columns, &rows, out.colours)
}

fn planned(plan: &WorkflowPlan, out: Out) -> String {
    let mut text = format!("{}: {} steps\n", plan.name, plan.steps.len());
    if let Some(description) = &plan.description {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}", description.trim_end());
    }
    if let Some(confinement) = &plan.confinement {
        let _ = writeln!(text, "{confinement}.");
    }
    let columns = [
        ("VARIABLE", Align::Left),
        ("TYPE", Align::Left),
        ("VALUE", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = plan
        .vars
        .iter()
        .map(|var| {
            let value = var
                .default
                .as_ref()
                .map_or("(to be given)".to_owned(), Value::to_string);
            vec![
                var.name.clone().into(),
                var.kind.clone().into(),
                value.into(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let _ = write!(text, "\n{}", render(&columns, &rows, out.colours));
    }
    let columns = [
        ("STEP", Align::Left),
        ("USES", Align::Left),
        ("NEEDS", Align::Left),
        ("ONLY IF", Align::Left),
    ];
    let rows: Vec<Vec<Cell>> = plan
        .steps
        .iter()
        .map(|step| {
            let unless = step.skip_if.as_ref().map(|text| format!("not {text}"));
            let only = step
                .condition
                .iter()
                .cloned()
                .chain(unless)
                .collect::<Vec<_>>()
                .join(", ");
            vec![
                step.id.clone().into(),
                step.uses.clone().into(),
                step.needs.join(", ").into(),
                only.into(),
            ]
        })
        .collect();
    let _ = write!(text, "\n{}", render(&columns, &rows, out.colours));
    text
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).map_or_else(|error| error.to_string(), |text| text + "\n")
}
