//! Work of steps that needs more than a place: the operator's list of hosts, agents and what they did, and what is asked of the fleet.

use crate::{
    clock,
    core::Core,
    sessions::lock,
    workflows::{caller, failed, refusal},
};
use flotilla_agents::{
    Skill,
    work::{self, Place, Web, WorkError},
};
use flotilla_contract::{
    InstanceId, ServerSpec,
    agent::{Agent, AgentWork},
    command::{CallParams, DoctorLevel, Targets},
    metric::{Metric, MetricQuery, Sum},
    state::{InstanceView, ProcessState, Status},
    tool::CallOutcome,
    units::{parse_duration, show_duration},
    workflow::Failure,
};
use flotilla_workflow::{Failed, FleetVerb, Work};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long one answer may take that is measured.
const ANSWER: Duration = Duration::from_secs(15);
/// Answers of one instance that are measured at most.
const ANSWERS: u32 = 100;
/// The longest time that is looked back on: what is held in memory.
const LOOKED_BACK_MS: u64 = 1_800_000;
/// Between two looks at a server that is still starting.
const LOOK: Duration = Duration::from_millis(200);
/// A tool may take as long as its step allows, and this long at most.
const CALL_MS: u64 = 3_600_000;

fn refused(error: impl Into<String>) -> Failed {
    Failed::new(Failure::Refused, error.into())
}

fn told_to_end() -> Failed {
    Failed::new(Failure::Failed, "it was told to end")
}

/// The client of the operator's list of hosts, made anew when that changes.
#[derive(Default)]
pub(crate) struct Reached(Mutex<Option<Web>>);

impl Reached {
    pub(crate) async fn web(&self, core: &Core) -> Result<Web, Failed> {
        let hosts = core.fleet().http_hosts.clone();
        let known = lock(&self.0).clone();
        if let Some(web) = known.filter(|web| *web.hosts() == *hosts) {
            return Ok(web);
        }
        // The certificates of the machine are read.
        let made = tokio::task::spawn_blocking(move || Web::new(&hosts)).await;
        let made = made.unwrap_or_else(|error| Err(error.to_string()));
        let web = made.map_err(|why| {
            Failed::new(
                Failure::Failed,
                format!("no HTTP client can be made: {why}"),
            )
        })?;
        *lock(&self.0) = Some(web.clone());
        Ok(web)
    }
}

/// What agents did since the engine started.
#[derive(Default)]
pub(crate) struct Worked(Mutex<HashMap<String, AgentWork>>);

impl Worked {
    fn change(&self, agent: &str, change: impl FnOnce(&mut AgentWork)) {
        change(lock(&self.0).entry(agent.to_owned()).or_default());
    }

    /// An agent of the registry as others see it.
    pub(crate) fn shown(&self, agent: &Agent) -> Agent {
        let work =
            work_of(agent).map(|_| lock(&self.0).get(&agent.id).copied().unwrap_or_default());
        Agent {
            work,
            ..agent.clone()
        }
    }
}

/// What an agent does, if it came with Flotilla and still is that one.
fn work_of(agent: &Agent) -> Option<Skill> {
    let mut capabilities = agent.capabilities.iter();
    capabilities.find_map(|capability| flotilla_agents::skill(&agent.id, &capability.name).ok())
}

/// A try of an agent: counted as a failure unless it is said to have ended well, also when it is dropped.
struct Counted<'a> {
    worked: &'a Worked,
    agent: &'a str,
    well: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let well = self.well;
        self.worked.change(self.agent, |work| {
            work.running = work.running.saturating_sub(1);
            *(if well {
                &mut work.completed
            } else {
                &mut work.failed
            }) += 1;
        });
    }
}

/// What an agent needs to do the work of a try.
pub(crate) struct Asked<'a> {
    pub(crate) core: &'a Core,
    pub(crate) work: &'a Work,
    pub(crate) place: Place,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) reached: &'a Reached,
    pub(crate) worked: &'a Worked,
}

/// The skill of an agent that may be used now.
pub(crate) fn may(core: &Core, agent: &str, capability: &str) -> Result<Skill, Failed> {
    let skill = flotilla_agents::skill(agent, capability).map_err(refused)?;
    match lock(&core.agents).get(agent) {
        Some(known) if work_of(known).is_none() => Err(refused(format!(
            "{agent} is a server of the fleet; its name hides the agent that comes with Flotilla"
        ))),
        Some(known) if known.enabled => Ok(skill),
        Some(_) => Err(refused(format!(
            "{agent} is disabled; enable it among the agents"
        ))),
        None => Err(refused(format!("{agent} is not registered"))),
    }
}

impl Asked<'_> {
    /// Has an agent do the work of a try.
    pub(crate) async fn agent(
        &self,
        agent: &str,
        skill: Skill,
        stop: &CancellationToken,
    ) -> Result<Value, Failed> {
        self.worked.change(agent, |work| {
            work.running += 1;
            work.last_at = Some(clock::now());
        });
        let mut counted = Counted {
            worked: self.worked,
            agent,
            well: false,
        };
        let input = Arc::clone(&self.work.input);
        let place = self.place.clone();
        let done = match skill {
            Skill::Files => blocking(move || work::file(&input, &place)).await,
            Skill::Machine => blocking(move || work::monitor(&input, &place)).await,
            Skill::Data => {
                let each = flotilla_workflow::for_each;
                blocking(move || work::data(&input, &place, &each)).await
            }
            Skill::Code => {
                let lookup = |name: &str| self.secret(name);
                work::command(&input, &place, &lookup, stop)
                    .await
                    .map_err(failed)
            }
            Skill::Pages => {
                let web = self.reached.web(self.core).await?;
                work::scrape(&input, &place, &web, stop)
                    .await
                    .map_err(failed)
            }
        };
        counted.well = done.is_ok();
        done
    }

    pub(crate) fn secret(&self, name: &str) -> Result<String, String> {
        let found = self.secrets.get(name).cloned();
        found.ok_or_else(|| format!("no secret is named {name:?}"))
    }

    pub(crate) async fn http(&self, stop: &CancellationToken) -> Result<Value, Failed> {
        let web = self.reached.web(self.core).await?;
        let lookup = |name: &str| self.secret(name);
        let done = work::http(&self.work.input, &self.place, &web, &lookup, stop).await;
        done.map_err(failed)
    }
}

/// Work that blocks, off the async threads.
pub(crate) async fn blocking(
    work: impl FnOnce() -> Result<Value, WorkError> + Send + 'static,
) -> Result<Value, Failed> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failed::new(Failure::Failed, error.to_string()))?
        .map_err(failed)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupTo {
    to: Option<String>,
}

/// Copies what the home of the engine needs to be made anew into the workspace.
pub(crate) async fn backup(core: &Core, work: &Work, place: Place) -> Result<Value, Failed> {
    let BackupTo { to } = read(work.input.as_ref().clone())?;
    let to = to.unwrap_or_else(|| format!("fleet-backup-{}", work.run));
    let (home, config) = (core.home.path().to_owned(), core.config.path.clone());
    blocking(move || work::backup_home(&home, &config, &to, &place)).await
}

/// A verb on servers that is more than one command; `None` for those that are.
pub(crate) async fn of_fleet(
    core: &Arc<Core>,
    work: &Work,
    verb: FleetVerb,
    stop: &CancellationToken,
) -> Option<Result<Value, Failed>> {
    let input = work.input.as_ref().clone();
    if verb == FleetVerb::Call {
        return Some(call(core, work, input, stop).await);
    }
    let asked = async {
        match verb {
            FleetVerb::Measure => Some(measure(core, input).await),
            FleetVerb::Check => Some(check(core, input).await),
            FleetVerb::Doctor => Some(Ok(doctor(core).await)),
            _ => None,
        }
    };
    tokio::select! {
        done = asked => done,
        () = stop.cancelled() => Some(Err(told_to_end())),
    }
}

fn read<T: serde::de::DeserializeOwned>(input: Value) -> Result<T, Failed> {
    serde_json::from_value(input).map_err(|error| refused(format!("with: {error}")))
}

async fn doctor(core: &Core) -> Value {
    let findings = core.doctor().await;
    let problems = findings
        .iter()
        .filter(|one| one.level == DoctorLevel::Problem);
    json!({ "success": true, "problems": problems.count(), "findings": findings })
}

/// Asks servers how they are, now, and fails unless all of them do their work. One that is still starting is waited for.
async fn check(core: &Core, input: Value) -> Result<Value, Failed> {
    let targets: Targets = read(input)?;
    let mut servers = Vec::new();
    let mut wrong = Vec::new();
    for spec in core.meant(&targets).map_err(|error| refusal(&error))? {
        let one = Targets {
            servers: vec![spec.id.clone()],
            all: false,
            instance: targets.instance,
        };
        let view = loop {
            core.probe_servers(&one)
                .await
                .map_err(|error| refusal(&error))?;
            let view = core.server_view(&spec.id);
            let starting = |view: &flotilla_contract::ServerView| {
                looked_at(view.instances.as_slice(), targets.instance)
                    .any(|one| one.status == Status::Starting)
            };
            match view {
                Some(view) if starting(&view) => tokio::time::sleep(LOOK).await,
                view => break view,
            }
        };
        let Some(view) = view else { continue };
        let mut seen = looked_at(&view.instances, targets.instance).peekable();
        if seen.peek().is_none() {
            wrong.push(format!("{}: no instance of it is there", spec.id));
        }
        for instance in seen {
            servers.push(json!({
                "server": spec.id, "instance": instance.id.index, "status": instance.status,
                "why": instance.health.sentence, "check_ms": instance.health.check_ms,
            }));
            if !matches!(
                instance.status,
                Status::Running | Status::Unchecked | Status::Sleeping
            ) {
                wrong.push(format!(
                    "{} {}: {}",
                    spec.id, instance.id.index, instance.health.sentence
                ));
            }
        }
    }
    if wrong.is_empty() {
        Ok(json!({ "success": true, "servers": servers }))
    } else {
        Err(Failed::new(Failure::Failed, wrong.join("; ")))
    }
}

fn looked_at(instances: &[InstanceView], only: Option<u32>) -> impl Iterator<Item = &InstanceView> {
    let meant = move |one: &&InstanceView| only.is_none_or(|index| index == one.id.index);
    instances.iter().filter(meant)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Calling {
    server: flotilla_contract::ServerId,
    instance: Option<u32>,
    tool: String,
    #[serde(default)]
    arguments: Map<String, Value>,
    contains: Option<String>,
}

/// Calls a tool whose name is a value: of one instance, if that is said. With `contains` the answer must hold that text.
async fn call(
    core: &Arc<Core>,
    work: &Work,
    input: Value,
    stop: &CancellationToken,
) -> Result<Value, Failed> {
    let calling: Calling = read(input)?;
    let params = CallParams {
        server: calling.server,
        instance: calling.instance,
        tool: calling.tool,
        arguments: Value::Object(calling.arguments),
        timeout_ms: Some(CALL_MS),
        cancel_key: Some(key(work)),
    };
    let result = called(core, work, params, stop).await?;
    let text = result.to_string();
    match calling.contains {
        Some(wanted) if !holds(&result, &wanted) => {
            let text: String = text.chars().take(200).collect();
            Err(Failed::new(
                Failure::Failed,
                format!("the answer does not contain {wanted:?}: {text}"),
            ))
        }
        _ => Ok(json!({ "success": true, "result": result })),
    }
}

/// Whether a text of a value holds this one.
fn holds(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text.contains(wanted),
        Value::Array(list) => list.iter().any(|one| holds(one, wanted)),
        Value::Object(map) => map.values().any(|one| holds(one, wanted)),
        other => format!("{other}") == wanted,
    }
}

/// The name under which a call of a try can be cancelled.
fn key(work: &Work) -> String {
    let item = work.item.map_or(String::new(), |item| format!("-{item}"));
    format!("run-{}-{}{item}-{}", work.run, work.step, work.attempt)
}

/// Calls a tool, and cancels the call when the try is told to end.
async fn called(
    core: &Arc<Core>,
    work: &Work,
    params: CallParams,
    stop: &CancellationToken,
) -> Result<Value, Failed> {
    let key = params.cancel_key.clone().unwrap_or_default();
    let caller = caller(work);
    let call = core.call_tool(&caller, params);
    tokio::pin!(call);
    let record = tokio::select! {
        record = &mut call => record,
        () = stop.cancelled() => {
            // One that is over by now has nothing to cancel.
            let _ = core.cancel_call(&key);
            call.await
        }
    };
    match record.map_err(|error| refusal(&error))?.outcome {
        CallOutcome::Result {
            result,
            is_error: false,
        } => {
            let structured = result.get("structuredContent").cloned();
            Ok(structured.unwrap_or(result))
        }
        CallOutcome::Result { result, .. } => {
            let text = result.pointer("/content/0/text").and_then(Value::as_str);
            let text = text.unwrap_or("the tool says that it failed");
            Err(Failed::new(
                Failure::Failed,
                text.chars().take(500).collect::<String>(),
            ))
        }
        CallOutcome::RpcError { code, message, .. } => Err(Failed::new(
            Failure::Failed,
            format!("error {code}: {message}"),
        )),
        CallOutcome::Failed { message } => Err(Failed::new(Failure::Failed, message)),
        CallOutcome::Cancelled => Err(told_to_end()),
    }
}

/// Calls the tool that a step names.
pub(crate) async fn tool(
    core: &Arc<Core>,
    work: &Work,
    server: &str,
    tool: &str,
    stop: &CancellationToken,
) -> Result<Value, Failed> {
    let params = CallParams {
        server: server
            .parse()
            .map_err(|error| refused(format!("{error}")))?,
        instance: None,
        tool: tool.to_owned(),
        arguments: work.input.as_ref().clone(),
        timeout_ms: Some(CALL_MS),
        cancel_key: Some(key(work)),
    };
    called(core, work, params, stop).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    #[serde(default)]
    servers: Vec<flotilla_contract::ServerId>,
    #[serde(default)]
    all: bool,
    span: Option<String>,
    answers: Option<u32>,
}

/// What servers took lately, by the series that the panel draws, and how long they take to list their tools right now. What is not known of one
/// is null. Nobody is woken for it.
async fn measure(core: &Core, input: Value) -> Result<Value, Failed> {
    let asked: Measured = read(input)?;
    let span = asked.span.as_deref().unwrap_or("5m");
    let span = parse_duration(span)
        .filter(|span| (1..=LOOKED_BACK_MS).contains(span))
        .ok_or_else(|| {
            let most = show_duration(LOOKED_BACK_MS);
            refused(format!(
                "with.span is {span:?}; accepted are spans of time up to {most}"
            ))
        })?;
    let answers = asked.answers.unwrap_or(5);
    if answers > ANSWERS {
        return Err(refused(format!(
            "with.answers is {answers}; accepted are 0 to {ANSWERS}"
        )));
    }
    let targets = Targets {
        servers: asked.servers,
        all: asked.all,
        instance: None,
    };
    let mut servers = Vec::new();
    for spec in core.meant(&targets).map_err(|error| refusal(&error))? {
        servers.push(Value::Object(of_server(core, &spec, span, answers).await));
    }
    Ok(json!({ "success": true, "span_ms": span, "servers": servers }))
}

async fn of_server(core: &Core, spec: &ServerSpec, span: u64, answers: u32) -> Map<String, Value> {
    let mut found = Map::from_iter([("server".to_owned(), json!(spec.id))]);
    let view = core.server_view(&spec.id);
    found.insert(
        "status".into(),
        json!(view.as_ref().map(|view| view.status)),
    );
    let running = view.map_or(Vec::new(), |view| {
        let running = view.instances.into_iter();
        let running = running.filter(|one| one.process.state == ProcessState::Running);
        running.map(|one| one.id).collect::<Vec<_>>()
    });
    found.insert("instances".into(), running.len().into());
    let query = |metrics: &[Metric], sum| MetricQuery {
        metrics: metrics.to_vec(),
        server: Some(spec.id.clone()),
        from: Some(clock::now().saturating_sub(span)),
        to: None,
        step: None,
        sum,
        spread: false,
    };
    for (metric, mean, most) in [
        (Metric::CpuPercent, "cpu_percent", "cpu_percent_max"),
        (Metric::RssBytes, "rss_bytes", "rss_bytes_max"),
        (
            Metric::CallsPerSecond,
            "calls_per_second",
            "calls_per_second_max",
        ),
        (Metric::CallP95Ms, "call_p95_ms", "call_p95_ms_max"),
        (
            Metric::CallErrorPercent,
            "call_error_percent",
            "call_error_percent_max",
        ),
    ] {
        let answer = core.live.query(&query(&[metric], Sum::Server));
        let values: Vec<f64> = answer
            .series
            .iter()
            .flat_map(|series| series.values.iter().flatten())
            .map(|value| f64::from(*value))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a number of samples")]
        let count = values.len() as f64;
        let mean_of = (!values.is_empty()).then(|| tidy(values.iter().sum::<f64>() / count));
        let most_of = values.iter().copied().reduce(f64::max).map(tidy);
        found.insert(mean.into(), json!(mean_of));
        found.insert(most.into(), json!(most_of));
    }
    let (took, failed) = answer_times(core, &running, answers).await;
    found.insert("answers".into(), took.len().into());
    found.insert("answers_failed".into(), failed.into());
    found.insert("answer_p50_ms".into(), json!(took.get(took.len() / 2)));
    found.insert("answer_max_ms".into(), json!(took.last()));
    found
}

/// Two places after the point say enough of a share, a number of milliseconds or bytes.
fn tidy(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// How long instances take to list their tools, in milliseconds from the least to the most, and how often they did not.
async fn answer_times(core: &Core, instances: &[InstanceId], answers: u32) -> (Vec<f64>, u32) {
    let (mut took, mut failed) = (Vec::new(), 0);
    for id in instances {
        for _ in 0..answers {
            // The greeting is not what is measured.
            let Ok((session, peer)) = core.sessions.session(id, ANSWER).await else {
                failed += 1;
                break;
            };
            if peer.capabilities.get("tools").is_none() {
                break;
            }
            let began = Instant::now();
            match session.list_tools(ANSWER).await {
                Ok(_) => took.push(tidy(began.elapsed().as_secs_f64() * 1_000.0)),
                Err(_) => failed += 1,
            }
        }
    }
    took.sort_by(f64::total_cmp);
    (took, failed)
}
