//! Keeps sessions: opens them, says who they belong to, ages them, and passes requests on in their name.
//!
//! A session belongs to a client, who proves itself with the token that came with it: no token, no access, without exception.
//! (The original skipped the check when the token was left out.) Whoever reaches this server may open a session for any client
//! name: a real deployment asks for credentials there.
//!
//! `SESSION_JWT_SECRET` (32 bytes or more) signs the tokens; without it they end with the process. With a data folder, sessions
//! outlast it, one file each.

mod files;
mod session;
mod sessions;
#[cfg(test)]
mod tests;
mod token;

use super::operations::{nothing_more, required};
use crate::{
    rpc,
    service::{Host, Prompt, PromptArgument, Resource, Service},
    tool::{Context, Hints, Refusal, Tool},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use session::{DAY_MS, Session, State};
use sessions::{MOST, Sessions};
use std::{collections::BTreeMap, sync::Arc};
use token::{LIFETIME_S, Permission, Secret};

/// The server.
pub fn service(host: &Host) -> Service {
    let configured = std::env::var("SESSION_JWT_SECRET").ok();
    with_secret(host, Secret::new(configured.as_deref()))
}

const STATS: &str = "session://stats";

fn with_secret(host: &Host, secret: Secret) -> Service {
    let sessions = Arc::new(Sessions::open(host.clone(), secret));
    Service {
        name: "session_management",
        port: 8106,
        title: "Session management",
        description: "Keeps sessions of clients. Open one with manage_session (op create), keep its session_id and auth_token, and \
            give both with each further call.",
        tools: vec![
            handle_request_with_session(host.clone(), sessions.clone()),
            validate_session(host.clone(), sessions.clone()),
            manage_session(host.clone(), sessions.clone()),
        ],
        resources: vec![
            Resource {
                uri: STATS,
                name: "stats",
                description: "How many sessions there are, in which states, of how many clients.",
                read: Box::new(move || json!(stats(&sessions))),
            },
            Resource {
                uri: "session://policy",
                name: "policy",
                description: "How sessions and tokens age, and how many there may be.",
                read: Box::new(|| {
                    json!({
                        "session_lifetime_s": DAY_MS / 1000,
                        "suspended_after_idle_s": 3600,
                        "deleted_after_idle_s": DAY_MS / 1000,
                        "token_lifetime_s": LIFETIME_S,
                        "token_algorithm": "HS256",
                        "most_sessions": MOST,
                        "states": State::ALL,
                    })
                }),
            },
        ],
        beats: Vec::new(),
        prompts: vec![Prompt {
            name: "work_in_a_session",
            description: "Do something in a session of its own, and end it afterwards.",
            arguments: &[
                PromptArgument {
                    name: "client_id",
                    description: "Who the session is for.",
                    required: true,
                },
                PromptArgument {
                    name: "task",
                    description: "What is to be done in it.",
                    required: true,
                },
            ],
            render: |arguments| {
                let text = |name| {
                    arguments
                        .get(name)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                };
                format!(
                    "Open a session for client {} with manage_session (op create). Send each request of this task through \
                     handle_request_with_session: {}. Terminate the session when you are done, also when it failed.",
                    text("client_id"),
                    text("task")
                )
            },
        }],
    }
}

/// A session's id: a UUID.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct SessionId(
    #[schemars(regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))] String,
);

/// A token, 1 to 4,096 characters.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Token(#[schemars(length(min = 1, max = 4096))] String);

/// A client's name: letters, digits and `._:@-`, 1 to 128 of them.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct ClientId(#[schemars(regex(pattern = r"^[A-Za-z0-9._:@-]{1,128}$"))] String);

/// A remark about a session, up to 256 characters.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Remark(#[schemars(length(max = 256))] String);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InSession {
    /// One JSON-RPC request or notification for this server, as {"jsonrpc": "2.0", "id": 1, "method": "ping"}; 100,000 bytes
    /// at most. Calling a tool needs the permission write, anything else read.
    #[schemars(extend("maxProperties" = 20))]
    request: Map<String, Value>,
    /// The session's id, from its creation.
    session_id: SessionId,
    /// The token that came with the session.
    auth_token: Token,
}

#[derive(Serialize, JsonSchema)]
struct Handled {
    /// The session's id.
    session_id: String,
    /// Whether the session could be used.
    accepted: bool,
    /// The JSON-RPC reply: of the method; or error -32600 when the session could not be used or the request may not be passed
    /// on. Null when an accepted request was a notification.
    reply: Option<Value>,
    /// How many messages the session has had, this one counted; when it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_count: Option<u64>,
    /// How many requests of the session were under way when this one began, this one counted; when it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<u32>,
}

const LONGEST_REQUEST: usize = 100_000;

fn handle_request_with_session(host: Host, sessions: Arc<Sessions>) -> Tool {
    Tool::with_context(
        "handle_request_with_session",
        "Handle a request in a session",
        "Passes one JSON-RPC request on to this server in the name of a session, and counts it there. Use it to work in a session. \
         Returns the reply; with an unusable session or a bad token the reply is error -32600.",
        move |context, input: InSession| handle(&host, &sessions, context, input),
    )
    .alias("handle_mcp_request_with_session")
    // What is passed on may terminate a session.
    .hints(Hints::DESTRUCTIVE)
}

fn handle(
    host: &Host,
    sessions: &Sessions,
    context: &Context,
    input: InSession,
) -> Result<Handled, Refusal> {
    let service = host
        .itself()
        .ok_or_else(|| Refusal::Failed("the server is not running yet".to_owned()))?;
    let (id, token) = (input.session_id.0, input.auth_token.0);
    let request = Value::Object(input.request);
    if request.to_string().len() > LONGEST_REQUEST {
        let problem = format!("is longer than {LONGEST_REQUEST} bytes");
        return Err(Refusal::argument("request", problem));
    }
    let under = match sessions.begin(&id, &token, needed(&request)) {
        Ok(under) => under,
        Err(denied) => {
            return Ok(Handled {
                session_id: id,
                accepted: false,
                reply: Some(invalid(
                    &request,
                    &format!("session invalid or expired: {denied}"),
                )),
                message_count: None,
                pending: None,
            });
        }
    };
    let reply = if calls_itself(&request) {
        let problem = "handle_request_with_session is not passed on to itself";
        Some(invalid(&request, problem))
    } else {
        rpc::reply(&service, context, &request)
    };
    Ok(Handled {
        session_id: id,
        accepted: true,
        reply,
        message_count: Some(under.session.message_count),
        pending: Some(under.session.pending),
    })
}

fn needed(request: &Value) -> Permission {
    match request.get("method").and_then(Value::as_str) {
        Some("tools/call") => Permission::Write,
        _ => Permission::Read,
    }
}

/// Otherwise a request could nest as deep as JSON does, each level a message.
fn calls_itself(request: &Value) -> bool {
    let tool = request.pointer("/params/name").and_then(Value::as_str);
    matches!(
        tool,
        Some("handle_request_with_session" | "handle_mcp_request_with_session")
    )
}

fn invalid(request: &Value, problem: &str) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": request.get("id"),
        "error": {"code": rpc::INVALID_REQUEST, "message": problem},
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToValidate {
    /// The session's id, from its creation.
    session_id: SessionId,
    /// The token that came with the session. Always required.
    auth_token: Token,
}

#[derive(Serialize, JsonSchema)]
struct Validated {
    /// Whether the session can be used with this token.
    valid: bool,
    /// The session's id.
    session_id: String,
    /// Why not, when it is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The session, when it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<About>,
}

fn validate_session(host: Host, sessions: Arc<Sessions>) -> Tool {
    Tool::new(
        "validate_session",
        "Validate a session",
        "Tells whether a session can be used with a token: it must be active, and the token's client must own it. Use it before \
         relying on a session; it counts as activity and keeps the session from being suspended. Returns valid, and the session or the reason.",
        move |input: ToValidate| {
            let id = input.session_id.0;
            Ok(match sessions.touch(&id, &input.auth_token.0) {
                Ok(session) => Validated {
                    valid: true,
                    session: Some(about(&session, host.now_ms())),
                    session_id: id,
                    reason: None,
                },
                Err(denied) => Validated {
                    valid: false,
                    session_id: id,
                    reason: Some(denied.to_string()),
                    session: None,
                },
            })
        },
    )
    .hints(Hints::ADDS)
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Op {
    Create,
    Get,
    Update,
    Suspend,
    Resume,
    Terminate,
    Revoke,
    Stats,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::Update => "update",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Terminate => "terminate",
            Self::Revoke => "revoke",
            Self::Stats => "stats",
        }
    }

    /// The arguments that it takes.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Create => &["client_id", "permissions", "metadata"],
            Self::Update => &["session_id", "auth_token", "metadata"],
            Self::Get | Self::Suspend | Self::Resume | Self::Terminate => {
                &["session_id", "auth_token"]
            }
            Self::Revoke => &["auth_token"],
            Self::Stats => &[],
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ToManage {
    /// What to do: create (needs client_id), get, update, suspend, resume, terminate (need session_id and auth_token), revoke
    /// (needs auth_token: ends all sessions and tokens of its client, for 30 days), stats.
    op: Op,
    /// Whose session to create: letters, digits and ._:@-, 1 to 128 of them.
    #[serde(default)]
    client_id: Option<ClientId>,
    /// What the new token permits: read, write; both when left out.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2))]
    permissions: Option<Vec<Permission>>,
    /// Remarks, up to 16, of names up to 64 characters and texts up to 256. Update puts them in place of the old ones.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16, "propertyNames" = {"minLength": 1, "maxLength": 64}))]
    metadata: Option<BTreeMap<String, Remark>>,
    /// The session's id.
    #[serde(default)]
    session_id: Option<SessionId>,
    /// The token that came with the session.
    #[serde(default)]
    auth_token: Option<Token>,
}

#[derive(Serialize, JsonSchema)]
struct Managed {
    /// What was done.
    op: Op,
    /// The session's id; not of stats and revoke.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Of create: the token to give with each further call, good for 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
    /// Seconds until the session expires; 86,400 at its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
    /// The session as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<About>,
    /// Of revoke: who was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Of revoke: how many sessions it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions_ended: Option<usize>,
    /// Of stats: how many there are of what.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Stats>,
}

#[derive(Serialize, JsonSchema)]
struct About {
    /// Whose it is.
    client_id: String,
    /// initializing (not used yet), active, suspended, expired or terminated.
    state: State,
    /// What the token that came with it permits.
    permissions: Vec<Permission>,
    /// Remarks.
    metadata: BTreeMap<String, String>,
    /// When it was created, in milliseconds since 1970.
    created_at: i64,
    /// When it was last used or changed, in milliseconds since 1970.
    last_activity: i64,
    /// Seconds until it expires.
    expires_in: i64,
    /// How many messages it has had.
    message_count: u64,
    /// How many requests are under way.
    pending: u32,
}

fn about(session: &Session, now_ms: i64) -> About {
    About {
        client_id: session.client_id.clone(),
        state: session.state,
        permissions: session.permissions.clone(),
        metadata: session.metadata.clone(),
        created_at: session.created_at,
        last_activity: session.last_activity,
        expires_in: session.expires_in(now_ms),
        message_count: session.message_count,
        pending: session.pending,
    }
}

#[derive(Serialize, JsonSchema)]
struct Stats {
    /// How many sessions there are, whatever their state; 10,000 at most.
    total_sessions: usize,
    /// How many in each state.
    by_state: BTreeMap<&'static str, usize>,
    /// How many clients they belong to.
    clients: usize,
    /// How many clients are revoked.
    revoked_clients: usize,
    /// How many requests are under way.
    pending_requests: u64,
    /// How many messages the sessions have had.
    messages: u64,
    /// Whether sessions outlast the process.
    persistent: bool,
}

fn stats(sessions: &Sessions) -> Stats {
    let counts = sessions.counts();
    Stats {
        total_sessions: counts.by_state.values().sum(),
        by_state: counts.by_state,
        clients: counts.clients,
        revoked_clients: counts.revoked_clients,
        pending_requests: counts.pending,
        messages: counts.messages,
        persistent: counts.filed,
    }
}

fn manage_session(host: Host, sessions: Arc<Sessions>) -> Tool {
    Tool::new(
        "manage_session",
        "Manage a session",
        "Creates, shows, updates, suspends, resumes or terminates a session, revokes a client, or counts sessions. Use op create first: it \
         returns session_id, auth_token and expires_in (86,400 s), which the other operations need. Returns the session as it is afterwards.",
        move |input: ToManage| manage(&host, &sessions, input),
    )
    .alias("mcp_server")
    .hints(Hints::DESTRUCTIVE)
}

fn manage(host: &Host, sessions: &Sessions, input: ToManage) -> Result<Managed, Refusal> {
    let op = input.op;
    nothing_more(
        op.name(),
        op.takes(),
        &[
            ("client_id", input.client_id.is_some()),
            ("permissions", input.permissions.is_some()),
            ("metadata", input.metadata.is_some()),
            ("session_id", input.session_id.is_some()),
            ("auth_token", input.auth_token.is_some()),
        ],
    )?;
    let client_id = || required(op.name(), "client_id", input.client_id.as_ref());
    let session_id = || required(op.name(), "session_id", input.session_id.as_ref());
    let token = || required(op.name(), "auth_token", input.auth_token.as_ref());
    let metadata = input.metadata.as_ref().map(|metadata| {
        let remarks = metadata.iter();
        remarks
            .map(|(name, remark)| (name.clone(), remark.0.clone()))
            .collect()
    });
    let change = |change: &dyn Fn(&mut Session)| -> Result<Managed, Refusal> {
        let (id, token) = (session_id()?, token()?);
        let session = sessions.change(&id.0, &token.0, change)?;
        Ok(shown(op, &session, host.now_ms()))
    };
    let managed = match op {
        Op::Create => {
            let both = vec![Permission::Read, Permission::Write];
            let permissions = input.permissions.as_ref().unwrap_or(&both);
            let metadata = metadata.unwrap_or_default();
            let (session, token) = sessions.create(&client_id()?.0, permissions, metadata)?;
            Managed {
                auth_token: Some(token),
                ..shown(op, &session, host.now_ms())
            }
        }
        Op::Get => {
            let session = sessions.get(&session_id()?.0, &token()?.0)?;
            return Ok(shown(op, &session, host.now_ms()));
        }
        Op::Update => {
            let metadata: &BTreeMap<String, String> =
                required(op.name(), "metadata", metadata.as_ref())?;
            return change(&|session| session.metadata.clone_from(metadata));
        }
        Op::Suspend => change(&|session| session.state = State::Suspended)?,
        Op::Resume => change(&|session| session.state = State::Active)?,
        Op::Terminate => change(&|session| session.state = State::Terminated)?,
        Op::Revoke => {
            let (client_id, ended) = sessions.revoke(&token()?.0)?;
            Managed {
                client_id: Some(client_id),
                sessions_ended: Some(ended),
                ..nothing(op)
            }
        }
        Op::Stats => {
            return Ok(Managed {
                stats: Some(stats(sessions)),
                ..nothing(op)
            });
        }
    };
    host.changed(STATS);
    Ok(managed)
}

fn shown(op: Op, session: &Session, now_ms: i64) -> Managed {
    Managed {
        session_id: Some(session.session_id.clone()),
        expires_in: Some(session.expires_in(now_ms)),
        session: Some(about(session, now_ms)),
        ..nothing(op)
    }
}

fn nothing(op: Op) -> Managed {
    Managed {
        op,
        session_id: None,
        auth_token: None,
        expires_in: None,
        session: None,
        client_id: None,
        sessions_ended: None,
        stats: None,
    }
}
