//! MCP's messages by hand: send one, see the reply.
//!
//! For whoever learns the protocol, or debugs a client, and wants to see what a server answers to a message without a transport
//! in between. Messages go to this server itself, within the process; sessions tie those of one conversation together.

mod sessions;
#[cfg(test)]
mod tests;

use crate::{
    rpc,
    service::{Host, Prompt, PromptArgument, Resource, Service},
    tool::{Context, Hints, Refusal, Tool},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sessions::{IDLE_MS, MOST_SESSIONS, Sessions};
use std::sync::Arc;

const SEND: &str = "send_request";
const SEND_ALIAS: &str = "mcp_request";

/// The server.
pub fn service(host: &Host) -> Service {
    let sessions = Arc::new(Sessions::default());
    let (told, read) = (
        (sessions.clone(), host.clone()),
        (sessions.clone(), host.clone()),
    );
    let host = host.clone();
    Service {
        name: "transport_layer",
        port: 8104,
        title: "Transport layer",
        description: "Takes JSON-RPC messages of the Model Context Protocol as data and gives back what the server replies, for learning the \
                      protocol and debugging clients.",
        tools: vec![
            Tool::new(
                "server_info",
                "About the transport",
                "Protocol version, capabilities and transports of this server, and how many clients and sessions it knows now. \
                 Use it before send_request, to see what can be asked.",
                move |_: Nothing| Ok(info(&told.0, told.1.now_ms())),
            )
            .alias("mcp_server"),
            Tool::with_context(
                SEND,
                "Send a message",
                "Sends a JSON-RPC message, or a batch of them, to this server as a client would, and gives back the reply and the session it \
                 belongs to. Use it to see what initialize, tools/list or a wrong message is answered with.",
                move |context, input| send(&host, &sessions, context, input),
            )
            .alias(SEND_ALIAS)
            .hints(Hints::ADDS),
        ],
        resources: vec![Resource {
            uri: "transport://server/info",
            name: "server info",
            description: "Protocol version, capabilities and transports, and how many clients and sessions there are now.",
            read: Box::new(move || serde_json::to_value(info(&read.0, read.1.now_ms())).unwrap_or_default()),
        }],
        beats: Vec::new(),
        prompts: vec![Prompt {
            name: "transport_diagnosis",
            description: "Finds out why a client and an MCP server do not understand each other.",
            arguments: &[
                PromptArgument {
                    name: "symptom",
                    description: "What goes wrong, as \"tools/list comes back empty\".",
                    required: true,
                },
                PromptArgument {
                    name: "message",
                    description: "The JSON-RPC message that the client sends.",
                    required: false,
                },
            ],
            render: diagnosis,
        }],
    }
}

fn diagnosis(arguments: &Map<String, Value>) -> String {
    let of = |name| arguments.get(name).and_then(Value::as_str);
    let symptom = of("symptom").unwrap_or_default();
    let message = match of("message") {
        Some(message) => format!("this message, exactly as it is:\n{message}"),
        None => "the message that the client most likely sends".to_owned(),
    };
    format!(
        "An MCP client has this trouble: {symptom}\n\
         1. Call server_info: do protocol version and capabilities match what the client expects?\n\
         2. Call send_request with an initialize message and note the session; then, in that session, with {message}\n\
         3. Compare the reply with what the client expects: id, result or error, error code (-32700 no JSON, -32600 no request, -32601 no such method, \
         -32602 wrong parameters, -32603 broke inside).\n\
         4. Say which side is wrong, and give the corrected message."
    )
}

/// No arguments.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Info {
    /// Name of the server.
    server: &'static str,
    /// Its version.
    version: &'static str,
    /// The version of MCP that this transport is made after.
    protocol_version: &'static str,
    /// What it can do.
    capabilities: Capabilities,
    /// Ways to reach it.
    transports: Vec<Transport>,
    /// How many different clients introduced themselves with initialize in a session that lives.
    clients: usize,
    /// Sessions of send_request.
    sessions: SessionInfo,
}

#[derive(Serialize, JsonSchema)]
struct Capabilities {
    /// tools/list, tools/call.
    tools: bool,
    /// resources/list, resources/read.
    resources: bool,
    /// prompts/list, prompts/get.
    prompts: bool,
    /// Messages without id are taken, and not replied to.
    notifications: bool,
    /// Arrays of up to 100 messages.
    batch: bool,
}

#[derive(Serialize, JsonSchema)]
struct Transport {
    /// Its name.
    name: &'static str,
    /// Where it is found on the server.
    endpoint: &'static str,
    /// What it carries.
    description: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct SessionInfo {
    /// How many live now.
    active: usize,
    /// How many live at most; then the one idle longest makes room.
    maximum: usize,
    /// After how many seconds without a message one is dropped.
    idle_timeout_s: i64,
    /// How many messages those that live have sent.
    messages: u64,
}

fn info(sessions: &Sessions, now_ms: i64) -> Info {
    let census = sessions.census(now_ms);
    Info {
        server: "transport_layer",
        version: env!("CARGO_PKG_VERSION"),
        protocol_version: "2024-11-05",
        capabilities: Capabilities {
            tools: true,
            resources: true,
            prompts: true,
            notifications: true,
            batch: true,
        },
        transports: vec![
            Transport {
                name: "in_process",
                endpoint: SEND,
                description: "A message or a batch, as an argument of this tool.",
            },
            Transport {
                name: "http",
                endpoint: "/mcp/rpc",
                description: "POST of one message; the header X-MCP-Session-ID names the session.",
            },
            Transport {
                name: "http_batch",
                endpoint: "/mcp/batch",
                description: "POST of an array of messages.",
            },
            Transport {
                name: "websocket",
                endpoint: "/mcp/ws",
                description: "Subprotocol mcp; the server greets with connection/established.",
            },
        ],
        clients: census.clients,
        sessions: SessionInfo {
            active: census.sessions,
            maximum: MOST_SESSIONS,
            idle_timeout_s: IDLE_MS / 1_000,
            messages: census.messages,
        },
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Request {
    /// A JSON-RPC 2.0 message, as {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, or an array of 1 to 100 of them. It may not call send_request itself.
    #[schemars(extend("type" = ["object", "array"], "minItems" = 1, "maxItems" = 100, "maxProperties" = 100))]
    message: Value,
    /// The session to go on with, as an earlier reply gave it. Without it a new one begins. One idle for 30 minutes is gone.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    session_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Reply {
    /// The session, for the next message.
    session_id: String,
    /// Whether it began with this message.
    new_session: bool,
    /// What the server replies: a JSON-RPC response, an array of them for a batch, or null when there were notifications only.
    response: Value,
}

fn send(
    host: &Host,
    sessions: &Sessions,
    context: &Context,
    input: Request,
) -> Result<Reply, Refusal> {
    refuse_recursion(&input.message)?;
    let server = host
        .itself()
        .ok_or_else(|| Refusal::Failed("the server does not run yet".to_owned()))?;
    let messages = each(&input.message);
    let now_ms = host.now_ms();
    let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
    let client = messages.iter().find_map(introduction);
    let new_session = input.session_id.is_none();
    let session_id = match input.session_id {
        None => sessions.open(now_ms, count, client),
        Some(id) if sessions.go_on(&id, now_ms, count, client) => id,
        Some(_) => {
            return Err(Refusal::argument(
                "session_id",
                "names no session that lives; they end when idle for 30 minutes, leave it out to begin a new one",
            ));
        }
    };
    let response = rpc::reply(&server, context, &input.message).unwrap_or_default();
    Ok(Reply {
        session_id,
        new_session,
        response,
    })
}

fn each(message: &Value) -> &[Value] {
    match message {
        Value::Array(batch) => batch,
        one => std::slice::from_ref(one),
    }
}

/// A message that sends a message that sends a message … would end with the stack.
fn refuse_recursion(message: &Value) -> Result<(), Refusal> {
    let calls_itself = |message: &Value| {
        let called = message.pointer("/params/name").and_then(Value::as_str);
        message.get("method").and_then(Value::as_str) == Some("tools/call")
            && called.is_some_and(|name| name == SEND || name == SEND_ALIAS)
    };
    let Some(at) = each(message).iter().position(calls_itself) else {
        return Ok(());
    };
    let part = if message.is_array() {
        format!("message[{at}]")
    } else {
        "message".to_owned()
    };
    Err(Refusal::argument(
        format!("{part}.params.name"),
        "names this tool itself; call it directly",
    ))
}

/// The name that a client gives itself in an initialize message.
fn introduction(message: &Value) -> Option<String> {
    if message.get("method")?.as_str()? != "initialize" {
        return None;
    }
    let name = message.pointer("/params/clientInfo/name")?.as_str()?;
    Some(name.chars().take(100).collect())
}
