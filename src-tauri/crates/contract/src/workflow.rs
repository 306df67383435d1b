//! Workflows: how far a run and its steps are.

use crate::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Steps run, wait for a slot, for another try, or for a person.
    Running,
    /// Nothing new is started; what runs goes on.
    Paused,
    /// Steps that ran are being ended.
    Cancelling,
    /// Every step that had to has completed.
    Completed,
    /// A step failed that had to complete.
    Failed,
    /// Ended by a person, or because it took too long.
    Cancelled,
}

impl RunState {
    /// Whether nothing more happens in it by itself.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Its word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// What it needs has not ended, or no slot is free.
    Pending,
    /// At work.
    Running,
    /// A try failed; another comes at a known time.
    Retrying,
    /// Waits for a person or for a time.
    Waiting,
    /// Its work is done.
    Completed,
    /// Its work is not done, and no try is left.
    Failed,
    /// Its condition said no, or a person did. What needs it goes on.
    Skipped,
    /// Something that it needs failed, so it never started.
    Blocked,
    /// The run was cancelled before it ended.
    Cancelled,
}

impl StepState {
    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub fn ended(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Running | Self::Retrying | Self::Waiting
        )
    }

    /// Its word on the wire, as expressions see it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a try of a step failed, as far as it decides about another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It took longer than its step allows.
    Timeout,
    /// What it works with could not be reached or was busy: nothing was done.
    Unavailable,
    /// The work ran and failed: an exit code, an error of a tool, a status of HTTP.
    Failed,
    /// It was not begun for what was asked: a malformed input, something that is not allowed. Another try would end the same.
    Refused,
    /// The engine ended while it ran, so nobody knows how far it got.
    Interrupted,
}

/// Something wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Where: `steps.build.needs`, `vars.days.default`; empty for the text as a whole.
    pub path: String,
    /// What is wrong and what is accepted.
    pub message: String,
    /// Line of the text, from 1, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// A run, in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSummary {
    /// Its number.
    pub run: u64,
    /// Name of the workflow.
    pub workflow: String,
    /// How far it is.
    pub state: RunState,
    /// Why it is so, where that says more: what failed, who cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who or what started it.
    pub by: String,
    /// When it was asked for.
    pub at: Millis,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Millis>,
    /// Steps in all.
    pub steps: u32,
    /// Steps that have ended, in whatever way.
    pub ended: u32,
    /// What it waits for while nothing is at work, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// A run with its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// The run in a line.
    pub summary: RunSummary,
    /// The values of its variables.
    pub vars: serde_json::Map<String, serde_json::Value>,
    /// Its steps, in the order of the definition.
    pub steps: Vec<StepView>,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Its id.
    pub id: String,
    /// Its name for people, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What does its work.
    pub uses: String,
    /// Ids of the steps that it needs.
    pub needs: Vec<String>,
    /// How far it is.
    pub state: StepState,
    /// Tries so far.
    pub attempt: u32,
    /// Tries at most.
    pub attempts: u32,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Millis>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Millis>,
    /// When the next try begins, or the waiting ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// Why it failed, or its last try while it waits for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The class of that failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why it waits, was skipped, blocked or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether a person is asked: to approve, or to say what becomes of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// Of a step that runs for each: how many items there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u32>,
    /// How many of them have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_ended: Option<u32>,
}

/// A try of a step that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TryView {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    pub from: Millis,
    /// When it ended.
    pub to: Millis,
    /// Of which class the failure was.
    pub failure: Failure,
    /// What happened.
    pub error: String,
}

/// A step of a run, or one of its items, with what went in and came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepDetail {
    /// The step.
    pub step: StepView,
    /// What it was given; secrets as references. Absent before its first try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
    /// What came out of it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub output: serde_json::Value,
    /// Parts of that with a name.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub outputs: serde_json::Map<String, serde_json::Value>,
    /// Tries that failed, oldest first.
    pub tries: Vec<TryView>,
    /// What the command of the try that is at work wrote so far, or that of the last try that failed: [`Self::output`] has it once a try did its
    /// work. Absent when it wrote nothing, or is no command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<StepLog>,
}

/// What a command wrote. Secrets that it was given are masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepLog {
    /// To standard output: the end of it.
    pub stdout: String,
    /// To standard error: the end of it.
    pub stderr: String,
    /// Whether something before is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A step of a run that is under way asks a person: to approve, or to say what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asking {
    /// The run.
    pub run: u64,
    /// Name of its workflow.
    pub workflow: String,
    /// Id of the step.
    pub step: String,
    /// What is asked, as a sentence.
    pub why: String,
    /// Whether it is an approval; otherwise the engine ended while the step was at work.
    pub approval: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// When the question ends by itself, as a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

/// A variable of a workflow, for a form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VarView {
    /// Its name.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean`, `list` or `object`.
    pub kind: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The value when none is given; without one, one must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// The values that are accepted; all of its kind when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<serde_json::Value>,
}

/// A step of a workflow that does not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// Its id.
    pub id: String,
    /// Its name for people, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What does its work.
    pub uses: String,
    /// Ids of the steps that it needs.
    pub needs: Vec<String>,
    /// When it runs, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// When it is skipped, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_if: Option<String>,
    /// What it is given, expressions not worked out.
    pub with: serde_json::Map<String, serde_json::Value>,
}

/// A workflow, checked whole: what a run of it would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowPlan {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its variables.
    pub vars: Vec<VarView>,
    /// Its steps, in an order in which they can run.
    pub steps: Vec<PlannedStep>,
    /// What its commands are held to on this machine, as a sentence; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<String>,
}

/// A workflow of this home, or a template that comes with Flotilla.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowInfo {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it comes with Flotilla.
    pub built_in: bool,
    /// How many steps it has; none when it cannot be read.
    pub steps: u32,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What makes a trigger fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// A time.
    Schedule,
    /// Something that happens in the fleet.
    Event,
    /// A request over HTTP.
    Webhook,
}

impl TriggerKind {
    /// Its word on the wire, as expressions see it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Event => "event",
            Self::Webhook => "webhook",
        }
    }
}

/// What came of a firing of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerOutcome {
    /// A run started.
    Started,
    /// It waits until runs that are under way have ended.
    Queued,
    /// It started nothing, as its definition wants it: runs are under way, or its time had passed.
    Skipped,
    /// It started nothing: more often within a minute than it may.
    Dropped,
    /// No run could start.
    Refused,
}

impl TriggerOutcome {
    /// Its word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Queued => "queued",
            Self::Skipped => "skipped",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
        }
    }
}

/// The last firing of a trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerLast {
    /// When. Of firings that all came to the same, as skipped ones in a row, it can be the first.
    pub at: Millis,
    /// What came of it.
    pub outcome: TriggerOutcome,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Why no run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What starts a workflow without a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerView {
    /// Name of the workflow.
    pub workflow: String,
    /// Its name in the workflow.
    pub trigger: String,
    /// What makes it fire.
    pub kind: TriggerKind,
    /// That in short: the pattern of a schedule, words of events and names of servers, method and path of a webhook.
    pub what: String,
    /// Time zone of a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What becomes of a firing while runs are under way: `skip`, `queue`, `cancel_previous` or `allow`.
    pub overlap: String,
    /// When it fires next, the next times of a schedule that is enabled; the part of the jitter is in them.
    pub next: Vec<Millis>,
    /// Whether it starts runs.
    pub enabled: bool,
    /// Why it does not, or who switched it on against its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Firings that wait for runs to end.
    pub queued: u32,
    /// Its last firing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TriggerLast>,
    /// The run of that, if one started and is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunSummary>,
}

/// A trigger by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerRef {
    /// Name of the workflow.
    pub workflow: String,
    /// Its name in the workflow; it can be left out when there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
}

/// A workflow by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowRef {
    /// Its name.
    pub name: String,
}

/// A workflow with its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowShown {
    /// The text of its definition.
    pub text: String,
    /// SHA-256 of that, in hexadecimal.
    pub hash: String,
    /// What it would do; absent when it is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<WorkflowPlan>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Of a template that is as it came: what its steps gave in a run on a small example, by step. Absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The definition that a run is run by, beside the one that its workflow has now. Both are written by the engine from what it understood of their
/// texts, so that they differ only where they mean something else; what starts a workflow by itself is no part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunDefinition {
    /// Of the run, as YAML.
    pub text: String,
    /// Of its workflow as it is now; absent when there is none of this name any more, or it cannot run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

/// The text of a definition, to be checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowText {
    /// YAML or JSON.
    pub text: String,
}

/// A definition to keep in the home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveParams {
    /// Its name, which its text must have too.
    pub name: String,
    /// YAML or JSON; it must be able to run.
    pub text: String,
    /// Hash of the text that it takes the place of; absent for a workflow that is not there. With another one nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// A run to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunParams {
    /// Name of the workflow.
    pub name: String,
    /// Values of variables, over their defaults.
    #[serde(default)]
    pub vars: serde_json::Map<String, serde_json::Value>,
    /// Folder in which its commands and files are (default: one of its own in the home).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Hash of the definition whose commands are confirmed, as the error `unconfirmed` gives it. It is needed once for each text of a definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// Commands that nobody has confirmed on this engine: the detail of the error `unconfirmed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unconfirmed {
    /// Hash of the text of the definition: what `confirm` is to be.
    pub hash: String,
    /// What a run of it would do.
    pub plan: WorkflowPlan,
    /// Its commands, expressions not worked out.
    pub commands: Vec<PlannedCommand>,
}

/// A command of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedCommand {
    /// Id of the step.
    pub step: String,
    /// The command, as it is written.
    pub command: String,
}

/// A run to start that takes over from another what its step does not need again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayParams {
    /// The other run.
    pub run: u64,
    /// The step from which on all is done again; everything without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// With the definition as it is now, instead of that of the other run.
    #[serde(default)]
    pub current: bool,
}

/// Which runs to list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    /// Only of this workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Only those before this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many, 1 to 1,000 (default 50).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A run by its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRef {
    /// Its number.
    pub run: u64,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepRef {
    /// The run.
    pub run: u64,
    /// Id or name of the step.
    pub step: String,
    /// Place of the item, from 0, of a step that runs for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
}

/// What is to be done with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunActParams {
    /// The run.
    pub run: u64,
    /// What.
    pub act: RunAct,
    /// The step, by id or name, where the act is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// With `approve`: the fields of the form. With `reject`: `why`.
    #[serde(default)]
    pub input: serde_json::Map<String, serde_json::Value>,
}

/// What can be done with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunAct {
    /// Start nothing new.
    Pause,
    /// Go on.
    Resume,
    /// End it and everything that is at work.
    Cancel,
    /// Run again what failed, was blocked or cancelled, in the same run.
    Restart,
    /// Skip a step: what needs it goes on.
    Skip,
    /// Try a step again, now.
    Retry,
    /// Say yes at an approval.
    Approve,
    /// Say no at an approval.
    Reject,
}

impl RunAct {
    /// Its word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Restart => "restart",
            Self::Skip => "skip",
            Self::Retry => "retry",
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}
