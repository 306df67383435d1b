//! What an author writes under `on`.

use crate::definition::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What starts a workflow without a person. It has exactly one of `schedule`, `event` and `webhook`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnTrigger {
    /// Its name in the workflow: a letter or `_`, then letters, digits, `_` or `-`, 64 at most (default `schedule`, `event` or `webhook`;
    /// with two of a kind all but one need one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// At these times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<OnSchedule>,
    /// When these things happen in the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<OnEvent>,
    /// When somebody sends a POST to `/hooks/WORKFLOW` of the engine's address (`/hooks/WORKFLOW/ID` when the workflow has several).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<OnWebhook>,
    /// Whether it starts runs (default true). An operator can switch it without editing the file; that holds until this field is edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// An expression that sees `trigger`: only if it is true a run starts.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What becomes of a firing while as many runs of this workflow are under way as may be: `max_runs`, one without it; for `allow` without
    /// it any number (default skip).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Values of variables; `${{ … }}` in a text is an expression that sees `trigger`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub vars: Map<String, Value>,
    /// Folder, as an absolute path, in which commands and files of its runs are (default: one of its own for each run).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// Times at which a run starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnSchedule {
    /// Minute, hour, day of month, month, day of week, as cron has them ("30 2 * * MON-FRI"); before them seconds, if there are six. Also
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    pub cron: String,
    /// In which time zone, as the IANA database names it ("Europe/Berlin", "UTC") (default: the machine's). A time that a change of the clock
    /// leaves out is taken at the end of the gap, one that comes twice the first time; every-hour patterns simply follow the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What becomes of times that passed by more than a minute because no engine ran, the machine slept or the clock was put forward
    /// (default none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// Every start is later by a part of this that is drawn once for this trigger in this home, so that many that are due together do not
    /// start together (default 0s, 1d at most).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
}

/// What becomes of due times that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are left out.
    #[default]
    None,
    /// The last of them starts a run.
    Last,
    /// Each of them starts a run, the latest 100 at most; `overlap` holds for them too.
    All,
}

/// What becomes of a firing while runs are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It starts nothing.
    #[default]
    Skip,
    /// It waits, over restarts of the engine too; 16 at most for each trigger.
    Queue,
    /// The oldest run is cancelled; its place is taken when it has ended.
    CancelPrevious,
    /// It starts all the same.
    Allow,
}

impl Overlap {
    /// Its word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::CancelPrevious => "cancel_previous",
            Self::Allow => "allow",
        }
    }
}

/// Things that happen in the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnEvent {
    /// Which, by the words that events have: `server:restarting` (it exited and is due again), `server:failed` (given up),
    /// `server:unhealthy`, `server:recovered`, `config:applied` (the fleet's file changed), …
    #[schemars(length(min = 1))]
    pub kinds: Vec<String>,
    /// Only of servers with these names; `*` and `?` stand for any letters and any one (default: of all).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Runs that it starts within a minute at most (default 10, 1 to 600); what happens beyond that starts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub per_minute: Option<u32>,
    /// With so many runs within an hour it is switched off until a person switches it on (default 60, 1 to 10,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub per_hour: Option<u32>,
}

/// Requests over HTTP. Their body, read as JSON, or as text if it is none, is `trigger.body`; 256 KiB at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnWebhook {
    /// The secret that the sender knows, by reference to the store: `${secret:NAME}`. It must be 16 bytes or longer.
    pub secret: String,
    /// How the sender proves it (default hmac).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Requests within a minute that are taken at most (default 60, 1 to 600); more get 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub per_minute: Option<u32>,
}

/// How a sender proves that it knows the secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// By `X-Hub-Signature-256: sha256=…`, the HMAC-SHA256 of the body in hexadecimal, as GitHub, Gitea and many others send it.
    #[default]
    Hmac,
    /// By `Authorization: Bearer SECRET`.
    Bearer,
}

/// The words of events that can start a workflow.
pub const KINDS: &[&str] = &[
    "server:registered",
    "server:removed",
    "server:started",
    "server:stopped",
    "server:restarting",
    "server:recovered",
    "server:failed",
    "server:error",
    "server:unhealthy",
    "server:tools",
    "server:scaled",
    "server:ceiling",
    "gateway:breaker",
    "alert:firing",
    "alert:resolved",
    "config:applied",
    "config:rejected",
    "agent:changed",
    "workflow:run",
    "engine:started",
];
