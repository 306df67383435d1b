//! The one list of commands. It feeds the handler trait, the router, the TypeScript and the docs: a command without a
//! handler does not compile, and no host can offer one that another lacks.

use crate::{
    Event, Millis, ServerId, ServerView, WireError,
    agent::{Agent, AgentFilter, AgentStats},
    alert::{
        Alert, AlertChange, AlertHistoryQuery, ChannelEdit, ChannelRef, ChannelTested, ChannelView,
        ChannelWriteParams, CheckExprParams, CheckedExpr, EditPreview, RuleEdit, RuleView,
        RuleWriteParams, Silence, SilenceParams, SilenceRef,
    },
    error::ErrorCode,
    frame::{EngineInfo, FleetSnapshot},
    gateway::{
        BreakerParams, BreakerView, CacheClear, CacheCleared, CallDetail, CallPick, CallQuery,
        CallRecord, ClientConnect, ClientPreview, ClientQuery, ClientTarget, ClientUndo,
        ClientUndone, ClientWritten, Fault, FaultParams, GatewayView,
    },
    log::{LogEntry, LogQuery},
    metric::{
        Board, MetricAnswer, MetricName, MetricQuery, PageSample, RangeAnswer, RangeQuery,
        ScrapeTarget, SeriesPage, SeriesQuery,
    },
    spec::Value as SpecValue,
    state::{ProcessState, Status},
    tool::{ToolCallRecord, ToolList},
    workflow::{
        Asking, ReplayParams, RunActParams, RunDefinition, RunParams, RunQuery, RunRef, RunSummary,
        RunView, SaveParams, StepDetail, StepRef, TriggerRef, TriggerView, WorkflowInfo,
        WorkflowPlan, WorkflowRef, WorkflowShown, WorkflowText,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, future::Future};

/// Who calls, for the record.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `panel`, `cli`, `tray`, `api`, …, with the user's name where it is known.
    pub actor: String,
    /// Joins log lines and events that this call causes.
    pub correlation: String,
}

/// A command of the list.
pub trait Command {
    /// Its name on the wire.
    const NAME: &'static str;
    /// What it is for: the first line of its doc comment.
    const ABOUT: &'static str;
    /// What it takes.
    type Params: for<'de> Deserialize<'de> + Serialize + JsonSchema + Send;
    /// What it gives.
    type Output: for<'de> Deserialize<'de> + Serialize + JsonSchema + Send;
}

/// A command for the generators: name, purpose, schema of parameters, schema of the result.
pub struct CommandInfo {
    /// Name on the wire.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Adds the schemas of parameters and output to a generator and gives both.
    pub schemas: fn(&mut schemars::SchemaGenerator) -> (schemars::Schema, schemars::Schema),
}

macro_rules! commands {
    ($( #[doc = $about:literal] $name:literal $method:ident $marker:ident ( $params:ty ) -> $output:ty; )*) => {
        $(
            #[doc = $about]
            #[derive(Clone, Copy, Debug)]
            pub struct $marker;
            impl Command for $marker {
                const NAME: &'static str = $name;
                const ABOUT: &'static str = $about;
                type Params = $params;
                type Output = $output;
            }
        )*

        /// One method per command.
        pub trait Handler: Send + Sync {
            $(
                #[doc = $about]
                fn $method(&self, caller: &Caller, params: $params) -> impl Future<Output = Result<$output, WireError>> + Send;
            )*
        }

        /// Finds the handler of a command by its name and carries parameters and result through JSON.
        ///
        /// # Errors
        /// `bad_request` for an unknown name or parameters of another shape, otherwise what the handler says.
        pub async fn dispatch<H: Handler>(handler: &H, caller: &Caller, name: &str, params: serde_json::Value) -> Result<serde_json::Value, WireError> {
            match name {
                $(
                    $name => {
                        let params: $params = read(name, params)?;
                        // Boxed: otherwise every caller's future is as large as the largest command.
                        let output = Box::pin(handler.$method(caller, params)).await?;
                        serde_json::to_value(output).map_err(|e| WireError::new(ErrorCode::Internal, format!("write the answer of {name}: {e}")))
                    }
                )*
                _ => Err(WireError::new(ErrorCode::BadRequest, format!("find a command named {name:?}"))),
            }
        }

        /// The list, for generators.
        pub const COMMANDS: &[CommandInfo] = &[
            $( CommandInfo {
                name: $name,
                about: $about,
                schemas: |generator| (generator.subschema_for::<$params>(), generator.subschema_for::<$output>()),
            }, )*
        ];
    };
}

fn read<P: for<'de> Deserialize<'de>>(
    name: &str,
    params: serde_json::Value,
) -> Result<P, WireError> {
    // A command without parameters may be called with null.
    let params = match params {
        serde_json::Value::Null => serde_json::json!({}),
        serde_json::Value::Object(_) => params,
        _ => {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                format!("read the parameters of {name}: accepted is an object"),
            ));
        }
    };
    serde_json::from_value(params).map_err(|e| {
        WireError::new(
            ErrorCode::BadRequest,
            format!("read the parameters of {name}: {e}"),
        )
    })
}

commands! {
    #[doc = "Facts of the engine."]
    "engine.info" engine_info EngineInfoCmd(Empty) -> EngineInfo;
    #[doc = "Everything about every server, now."]
    "fleet.snapshot" fleet_snapshot FleetSnapshotCmd(Empty) -> FleetSnapshot;
    #[doc = "One server."]
    "server.get" server_get ServerGet(ServerRef) -> ServerView;
    #[doc = "Start servers; each ends in what was observed."]
    "server.start" server_start ServerStart(Targets) -> Outcomes;
    #[doc = "Stop servers: nothing of their process trees is left."]
    "server.stop" server_stop ServerStop(Targets) -> Outcomes;
    #[doc = "Restart servers or one instance; the count of automatic restarts starts anew."]
    "server.restart" server_restart ServerRestart(Targets) -> Outcomes;
    #[doc = "Want another number of instances."]
    "server.scale" server_scale ServerScale(ScaleParams) -> Outcomes;
    #[doc = "Forget what start, stop and scale changed: back to what the file declares."]
    "server.reset" server_reset ServerReset(Targets) -> Outcomes;
    #[doc = "Say what a verb would do, by the same code path, without doing it."]
    "server.plan" server_plan ServerPlan(PlanParams) -> Plan;
    #[doc = "Probe now, beside the schedule."]
    "server.probe" server_probe ServerProbe(Targets) -> Outcomes;
    #[doc = "Declare a server in fleet.toml; it is not started."]
    "server.add" server_add ServerAdd(AddParams) -> ConfigWritten;
    #[doc = "Change a declared server in fleet.toml."]
    "server.edit" server_edit ServerEdit(EditParams) -> ConfigWritten;
    #[doc = "Take a server out of fleet.toml; it is stopped first."]
    "server.remove" server_remove ServerRemove(RemoveParams) -> ConfigWritten;
    #[doc = "Enable or disable a server in fleet.toml."]
    "server.enable" server_enable ServerEnable(EnableParams) -> ConfigWritten;
    #[doc = "The server's Prometheus page, as it is now."]
    "server.page" server_page ServerPage(ServerRef) -> Vec<PageSample>;
    #[doc = "The tools of a server, with what it said about itself."]
    "tools.list" tools_list ToolsList(ServerRef) -> ToolList;
    #[doc = "Accept the tools as they are now: findings about lost or changed tools are cleared."]
    "tools.accept" tools_accept ToolsAccept(ServerRef) -> ToolList;
    #[doc = "Call a tool."]
    "tools.call" tools_call ToolsCall(CallParams) -> ToolCallRecord;
    #[doc = "Cancel a call that is under way."]
    "tools.cancel" tools_cancel ToolsCancel(CancelParams) -> Empty;
    #[doc = "Calls made from the playground, newest first."]
    "tools.history" tools_history ToolsHistory(HistoryParams) -> Vec<ToolCallRecord>;
    #[doc = "The gateway: traffic, clients, breakers, cache, pools, limits, refusals, faults."]
    "gateway.view" gateway_view GatewayViewCmd(Empty) -> GatewayView;
    #[doc = "Calls through the gateway, newest first."]
    "gateway.calls" gateway_calls GatewayCalls(CallQuery) -> Vec<CallRecord>;
    #[doc = "One call through the gateway that is kept on disk, with what is kept of its content."]
    "gateway.call" gateway_call GatewayCall(CallPick) -> CallDetail;
    #[doc = "Trip, reset or half-open a circuit breaker."]
    "gateway.breaker" gateway_breaker GatewayBreaker(BreakerParams) -> BreakerView;
    #[doc = "Take answers out of the gateway's cache."]
    "gateway.cache_clear" gateway_cache_clear GatewayCacheClear(CacheClear) -> CacheCleared;
    #[doc = "Inject a fault into calls of a server, for a drill, or end it."]
    "gateway.fault" gateway_fault GatewayFault(FaultParams) -> Vec<Fault>;
    #[doc = "Files in which AI clients on this machine keep their servers, and whether the gateway is in them."]
    "gateway.targets" gateway_targets GatewayTargets(ClientQuery) -> Vec<ClientTarget>;
    #[doc = "What a client's file would become with the gateway in it; nothing is written."]
    "gateway.connect_preview" gateway_connect_preview GatewayConnectPreview(ClientConnect) -> ClientPreview;
    #[doc = "Put the gateway into a client's file as the preview showed it, and keep a copy of the file."]
    "gateway.connect_write" gateway_connect_write GatewayConnectWrite(ClientConnect) -> ClientWritten;
    #[doc = "Restore a client's file byte by byte, if it still is what was written."]
    "gateway.connect_undo" gateway_connect_undo GatewayConnectUndo(ClientUndo) -> ClientUndone;
    #[doc = "Log lines."]
    "logs.read" logs_read LogsRead(LogQuery) -> Vec<LogEntry>;
    #[doc = "Events, newest first."]
    "events.read" events_read EventsRead(EventQuery) -> EventPage;
    #[doc = "Operator actions, newest first."]
    "actions.read" actions_read ActionsRead(EventQuery) -> EventPage;
    #[doc = "Values of series over a span of time."]
    "metrics.query" metrics_query MetricsQuery(MetricQuery) -> MetricAnswer;
    #[doc = "Workflows of this home, and templates that come with Flotilla."]
    "workflow.list" workflow_list WorkflowList(Empty) -> Vec<WorkflowInfo>;
    #[doc = "A workflow: its text, what it would do, what is wrong with it."]
    "workflow.show" workflow_show WorkflowShow(WorkflowRef) -> WorkflowShown;
    #[doc = "Check the text of a workflow whole; nothing is kept."]
    "workflow.validate" workflow_validate WorkflowValidate(WorkflowText) -> WorkflowShown;
    #[doc = "Say what a run would do, its variables filled in; nothing runs."]
    "workflow.plan" workflow_plan WorkflowPlanCmd(RunParams) -> WorkflowPlan;
    #[doc = "Start a run."]
    "workflow.run" workflow_run WorkflowRun(RunParams) -> RunSummary;
    #[doc = "Start a run that takes over from another what its step does not need again."]
    "workflow.replay" workflow_replay WorkflowReplay(ReplayParams) -> RunSummary;
    #[doc = "Runs, newest first."]
    "workflow.runs" workflow_runs WorkflowRuns(RunQuery) -> Vec<RunSummary>;
    #[doc = "Steps of runs under way that ask a person, those that ask longest first."]
    "workflow.asking" workflow_asking WorkflowAsking(Empty) -> Vec<Asking>;
    #[doc = "A run with its steps."]
    "workflow.view" workflow_view WorkflowView(RunRef) -> RunView;
    #[doc = "A step of a run: what went in, what came out, tries that failed."]
    "workflow.step" workflow_step WorkflowStep(StepRef) -> StepDetail;
    #[doc = "The definition that a run is run by, beside the one that its workflow has now."]
    "workflow.definition" workflow_definition WorkflowDefinition(RunRef) -> RunDefinition;
    #[doc = "Pause, resume, cancel or restart a run; skip, retry, approve or reject one of its steps."]
    "workflow.act" workflow_act WorkflowAct(RunActParams) -> RunSummary;
    #[doc = "Wait until a run has ended, for 30 s at most, and say how far it is."]
    "workflow.wait" workflow_wait WorkflowWait(RunRef) -> RunSummary;
    #[doc = "Names of the metrics that are kept, the engine's own and those that were scraped, with how many series each has."]
    "metrics.names" metrics_names MetricsNames(Empty) -> Vec<MetricName>;
    #[doc = "Keep a definition in the home, unless it cannot run or was changed meanwhile."]
    "workflow.save" workflow_save WorkflowSave(SaveParams) -> WorkflowShown;
    #[doc = "What starts workflows without a person: schedules with their next times, events, webhooks, and what came of each last."]
    "workflow.schedules" workflow_schedules WorkflowSchedules(Empty) -> Vec<TriggerView>;
    #[doc = "Let a trigger start runs, whatever its definition says."]
    "workflow.trigger.enable" workflow_trigger_enable WorkflowTriggerEnable(TriggerRef) -> TriggerView;
    #[doc = "Let a trigger start no runs, whatever its definition says. What waits for it is dropped."]
    "workflow.trigger.disable" workflow_trigger_disable WorkflowTriggerDisable(TriggerRef) -> TriggerView;
    #[doc = "Series of the metrics store, the scraped ones too."]
    "metrics.series" metrics_series MetricsSeries(SeriesQuery) -> SeriesPage;
    #[doc = "Values of series of the metrics store over a span of time: rates, quantiles, sums by label."]
    "metrics.range" metrics_range MetricsRange(RangeQuery) -> RangeAnswer;
    #[doc = "Pages of metrics that are scraped, and how it stands with each."]
    "metrics.targets" metrics_targets MetricsTargets(Empty) -> Vec<ScrapeTarget>;
    #[doc = "Charts that were pinned to the board."]
    "board.read" board_read BoardRead(Empty) -> Board;
    #[doc = "Put other charts on the board, if it is still the one that was read."]
    "board.write" board_write BoardWrite(Board) -> Board;
    #[doc = "Alerts that are pending or fire, the worst first."]
    "alerts.list" alerts_list AlertsList(Empty) -> Vec<Alert>;
    #[doc = "Rules, with what their last evaluation gave."]
    "alerts.rules" alerts_rules AlertsRules(Empty) -> Vec<RuleView>;
    #[doc = "Whether a text is a condition, and what it gives now; nothing is changed."]
    "alerts.check" alerts_check AlertsCheck(CheckExprParams) -> CheckedExpr;
    #[doc = "What a change of the rules would make of fleet.toml; nothing is written."]
    "alerts.rule_preview" alerts_rule_preview AlertsRulePreview(RuleEdit) -> EditPreview;
    #[doc = "Change the rules in fleet.toml, if it is still the one that was shown."]
    "alerts.rule_write" alerts_rule_write AlertsRuleWrite(RuleWriteParams) -> ConfigWritten;
    #[doc = "Changes of alerts, newest first."]
    "alerts.history" alerts_history AlertsHistory(AlertHistoryQuery) -> Vec<AlertChange>;
    #[doc = "Silences that hold or will, and those that ended within a day."]
    "alerts.silences" alerts_silences AlertsSilences(Empty) -> Vec<Silence>;
    #[doc = "Tell nobody of some alerts, for a time."]
    "alerts.silence" alerts_silence AlertsSilence(SilenceParams) -> Silence;
    #[doc = "End a silence."]
    "alerts.unsilence" alerts_unsilence AlertsUnsilence(SilenceRef) -> Silence;
    #[doc = "Channels that tell of alerts, and what they could not tell."]
    "alerts.channels" alerts_channels AlertsChannels(Empty) -> Vec<ChannelView>;
    #[doc = "What a change of the channels would make of fleet.toml; nothing is written."]
    "alerts.channel_preview" alerts_channel_preview AlertsChannelPreview(ChannelEdit) -> EditPreview;
    #[doc = "Change the channels in fleet.toml, if it is still the one that was shown."]
    "alerts.channel_write" alerts_channel_write AlertsChannelWrite(ChannelWriteParams) -> ConfigWritten;
    #[doc = "Send a test message over a channel, once, and wait for its end."]
    "alerts.test_channel" alerts_test_channel AlertsTestChannel(ChannelRef) -> ChannelTested;
    #[doc = "Agents of the registry."]
    "agents.list" agents_list AgentsList(AgentFilter) -> Vec<Agent>;
    #[doc = "The registry in numbers."]
    "agents.stats" agents_stats AgentsStats(Empty) -> AgentStats;
    #[doc = "Enable or disable an agent."]
    "agents.enable" agents_enable AgentsEnable(AgentEnable) -> Agent;
    #[doc = "The configuration in force: text, hash, findings."]
    "config.get" config_get ConfigGet(Empty) -> ConfigText;
    #[doc = "Check a text as fleet.toml and say what it would change; nothing is written."]
    "config.check" config_check ConfigCheck(CheckParams) -> CheckedConfig;
    #[doc = "Write fleet.toml, if it is still the one that was read."]
    "config.write" config_write ConfigWrite(WriteParams) -> ConfigWritten;
    #[doc = "Revisions, newest first."]
    "config.revisions" config_revisions ConfigRevisions(PageParams) -> Vec<Revision>;
    #[doc = "Put an earlier revision in force again, as a new one."]
    "config.rollback" config_rollback ConfigRollback(RollbackParams) -> ConfigWritten;
    #[doc = "Configuration files of AI clients found on this machine."]
    "import.scan" import_scan ImportScan(Empty) -> Vec<ImportSource>;
    #[doc = "What an import would bring in, with the exact commands; nothing is written."]
    "import.preview" import_preview ImportPreview(ImportPreviewParams) -> ImportPlan;
    #[doc = "Declare the servers that were chosen from a preview; literal secrets move to the keyring."]
    "import.apply" import_apply ImportApply(ImportApplyParams) -> ConfigWritten;
    #[doc = "Names of the secrets that the file refers to, and whether each is there. Never a value."]
    "secrets.list" secrets_list SecretsList(Empty) -> SecretsInfo;
    #[doc = "Store a secret."]
    "secrets.set" secrets_set SecretsSet(SecretSet) -> Empty;
    #[doc = "Forget a secret."]
    "secrets.remove" secrets_remove SecretsRemove(SecretRef) -> Empty;
    #[doc = "Checks of this machine: runtimes, ports, keyring, paths, each with what to do."]
    "doctor.run" doctor_run DoctorRun(Empty) -> Vec<DoctorFinding>;
    #[doc = "Stop every server, then the engine."]
    "engine.shutdown" engine_shutdown EngineShutdown(Empty) -> Empty;
}

/// Nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerRef {
    /// Its name.
    pub server: ServerId,
}

/// Servers, or one instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Which servers.
    #[serde(default)]
    pub servers: Vec<ServerId>,
    /// Every enabled server, in dependency order, instead of named ones. It must be said: a list that happens to be
    /// empty means nothing.
    #[serde(default)]
    pub all: bool,
    /// Only this instance of the one server named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
}

/// Another number of instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleParams {
    /// Which server.
    pub server: ServerId,
    /// How many, 0 to 64.
    pub replicas: u32,
}

/// A verb whose effect is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanParams {
    /// Which verb.
    pub verb: Verb,
    /// On what.
    pub targets: Targets,
    /// For `scale`: how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}

/// A verb that changes the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Restart.
    Restart,
    /// Scale.
    Scale,
    /// Remove from the file.
    Remove,
}

/// What a verb would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The effect in one sentence ("Stops 3 instances; docs_search depends on it").
    pub sentence: String,
    /// Processes that would be ended.
    pub stops: u32,
    /// Processes that would be started.
    pub starts: u32,
    /// Servers that depend on the targets and run.
    pub dependents: Vec<ServerId>,
    /// Clients that called the targets through the gateway in the last 10 minutes, the busiest first; only where something
    /// would stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<HitClient>,
    /// Calls of clients that are under way there; only where something would stop.
    pub in_flight: u32,
    /// What these clients and calls would meet, each as a sentence without a final period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<String>,
    /// Why it would fail, per server; empty when it would not.
    pub refusals: Vec<Refusal>,
    /// Whether something that works now would stop working.
    pub destructive: bool,
}

/// A client that a verb would hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HitClient {
    /// Its name.
    pub client: String,
    /// Its calls to the targets in the last 10 minutes.
    pub calls: u32,
    /// The same per second, over as much of these minutes as the engine has seen.
    pub per_second: f64,
}

/// A server that would refuse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Which.
    pub server: ServerId,
    /// Why.
    pub error: WireError,
}

/// Ends that were observed, one per server, in the order asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcomes {
    /// The ends.
    pub outcomes: Vec<Outcome>,
}

/// The end that was observed for one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Which server.
    pub server: ServerId,
    /// Whether the end asked for was reached.
    pub ok: bool,
    /// The end in a sentence ("Running, 9 tools, 4.2 s").
    pub sentence: String,
    /// Word for a screen at the end.
    pub status: Status,
    /// Process state of the least far instance at the end.
    pub state: ProcessState,
    /// From the request to the end, in milliseconds.
    pub took_ms: u64,
    /// Why not, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
}

/// A server to declare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddParams {
    /// Its name.
    pub name: ServerId,
    /// Program (with `args`), or …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// … the URL of a server that somebody else starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// With a program: it speaks HTTP on this port instead of its standard streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Environment.
    #[serde(default)]
    pub env: BTreeMap<String, SpecValue>,
    /// Headers (HTTP).
    #[serde(default)]
    pub headers: BTreeMap<String, SpecValue>,
    /// Working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// One word for its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Why, for the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Keys of a server's table to set or remove. Comments and order of the file stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditParams {
    /// Which server.
    pub server: ServerId,
    /// Dotted key of its table → value (JSON); `null` removes the key.
    pub set: BTreeMap<String, serde_json::Value>,
    /// Hash of the file that was read; a differing file is a conflict. Absent: no check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Why, for the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A server to take out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveParams {
    /// Which server.
    pub server: ServerId,
    /// Why, for the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Enable or disable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableParams {
    /// Which server.
    pub server: ServerId,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Why, for the revision; shown beside a disabled server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change of the file that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigWritten {
    /// Its revision.
    pub revision: u64,
    /// Hash of the file now.
    pub hash: String,
    /// What it changed, each as a sentence.
    pub changes: Vec<String>,
    /// Servers that are new in the file.
    pub added: Vec<ServerId>,
}

/// A tool to call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallParams {
    /// Which server.
    pub server: ServerId,
    /// Which instance (default: the first healthy one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// Which tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: serde_json::Value,
    /// How long it may take, in milliseconds (default 60 s, at most 1 h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Name under which it can be cancelled, chosen by the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_key: Option<String>,
}

/// A call to cancel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelParams {
    /// The name given with the call.
    pub cancel_key: String,
}

/// Which calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryParams {
    /// Only of this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// Only of this tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// Only of this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerId>,
    /// Only of these kinds (`server:failed`, …); empty means all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Only events before this position (for paging).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// At most this many (default 100, at most 1000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of events, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Whether older ones exist.
    pub more: bool,
}

/// Enable or disable an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentEnable {
    /// Which agent.
    pub id: String,
    /// Whether it is enabled.
    pub enabled: bool,
}

/// The configuration as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigText {
    /// Where it stands.
    pub path: String,
    /// The file as it is on disk.
    pub text: String,
    /// SHA-256 of the text, hexadecimal.
    pub hash: String,
    /// Revision in force.
    pub revision: u64,
    /// What is wrong with the text, if it is not the one in force.
    pub findings: Vec<ConfigFinding>,
}

/// Something wrong in a configuration, at its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigFinding {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Dotted key ("servers.fetch.replicas").
    pub key: String,
    /// What is wrong, what was found, what is accepted.
    pub message: String,
}

/// A text to check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckParams {
    /// The text.
    pub text: String,
}

/// What a text would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedConfig {
    /// What is wrong with it; empty means that it can be written.
    pub findings: Vec<ConfigFinding>,
    /// What it would change, each as a sentence.
    pub changes: Vec<String>,
}

/// A text to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteParams {
    /// The text.
    pub text: String,
    /// Hash of the file that was read.
    pub hash: String,
    /// Why, for the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Part of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageParams {
    /// At most this many (default 50).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One state of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// Its number, from 1.
    pub number: u64,
    /// When it came into force.
    pub at: Millis,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What it changed, each as a sentence.
    pub changes: Vec<String>,
    /// Unified diff of the text against the one before.
    pub diff: String,
}

/// A revision to return to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackParams {
    /// Its number.
    pub number: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A configuration file of an AI client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImportSource {
    /// Which client ("Claude Desktop").
    pub client: String,
    /// Where.
    pub path: String,
    /// Servers in it.
    pub servers: u32,
    /// Why it cannot be read, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportPreviewParams {
    /// A file, or …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// … its text (pasted), or …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// … the reference fleet that ships with the program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reference: bool,
}

/// What an import would bring in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImportPlan {
    /// Which client the file belongs to.
    pub client: String,
    /// Names this preview; apply takes exactly what was shown.
    pub ticket: String,
    /// The servers.
    pub servers: Vec<ImportServer>,
}

/// One server of an import.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImportServer {
    /// Name in the source.
    pub source_name: String,
    /// Name it would get.
    pub id: ServerId,
    /// `stdio`, `http`, `url` or `sse`.
    pub kind: String,
    /// The exact command line, or the URL; secrets are shown as their names.
    pub runs: String,
    /// Environment variables and headers by name; literal secrets as `secret NAME`.
    pub env: BTreeMap<String, String>,
    /// Names of secrets that would move to the keyring.
    pub secrets: Vec<String>,
    /// What the operator should know (kept disabled and why, name taken, variable not set, …).
    pub notes: Vec<String>,
    /// Why it cannot be imported, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What to import.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportApplyParams {
    /// The preview.
    pub ticket: String,
    /// Names in the source that were chosen.
    pub names: Vec<String>,
}

/// How secrets stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretsInfo {
    /// How they are kept, a sentence that is true on this machine.
    pub kept: String,
    /// Those that are stored or referred to.
    pub secrets: Vec<SecretInfo>,
}

/// One secret, never its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// Whether a value is stored.
    pub present: bool,
    /// Servers that refer to it.
    pub used_by: Vec<ServerId>,
}

/// A secret to store.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSet {
    /// Its name: 1 to 128 characters of `A-Z a-z 0-9 _ . - /`.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl std::fmt::Debug for SecretSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretSet({}, …)", self.name)
    }
}

/// A secret by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Its name.
    pub name: String,
}

/// One check of this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorFinding {
    /// What was checked ("npx").
    pub name: String,
    /// How it stands.
    pub level: DoctorLevel,
    /// What was found.
    pub found: String,
    /// What to do, where something should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoctorLevel {
    /// As it should be.
    Ok,
    /// Missing, and nobody needs it now.
    Neutral,
    /// Works, but should be looked at.
    Warning,
    /// Something that is needed does not work.
    Problem,
}
