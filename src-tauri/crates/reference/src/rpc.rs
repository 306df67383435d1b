//! A server's methods without a transport: one JSON-RPC message in, its reply out.
//!
//! Serves the bare `{method, params}` form of `POST /mcp` and the tools that talk to their own server. What comes over a real
//! MCP connection goes through the SDK instead.

use crate::{
    service::Service,
    tool::{Context, Refusal},
};
use serde_json::{Map, Value, json};

/// A JSON-RPC error.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The number that clients go by.
    pub code: i32,
    /// One sentence.
    pub message: String,
}

/// The text is no JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON is no request.
pub const INVALID_REQUEST: i32 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The method does not take these parameters.
pub const INVALID_PARAMS: i32 = -32602;
/// It broke inside.
pub const INTERNAL_ERROR: i32 = -32603;
/// There is no such resource.
pub const NO_RESOURCE: i32 = -32001;
/// There is no such tool.
pub const NO_TOOL: i32 = -32002;
/// There is no such prompt.
pub const NO_PROMPT: i32 = -32003;

impl Fault {
    /// With this code and sentence.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The reply to one JSON-RPC message, or to a batch of up to 100. Notifications have none.
pub fn reply(service: &Service, context: &Context, message: &Value) -> Option<Value> {
    match message {
        Value::Array(batch) if batch.is_empty() || batch.len() > 100 => Some(failed(
            &Value::Null,
            &Fault::new(INVALID_REQUEST, "a batch holds 1 to 100 messages"),
        )),
        Value::Array(batch) => {
            let replies: Vec<Value> = batch
                .iter()
                .filter_map(|message| reply_one(service, context, message))
                .collect();
            (!replies.is_empty()).then_some(Value::Array(replies))
        }
        one => reply_one(service, context, one),
    }
}

fn reply_one(service: &Service, context: &Context, message: &Value) -> Option<Value> {
    let id = message.get("id");
    let Some(method) = message.get("method").and_then(Value::as_str) else {
        let fault = Fault::new(INVALID_REQUEST, "method: is required, a string");
        return Some(failed(id.unwrap_or(&Value::Null), &fault));
    };
    let id = id?;
    Some(
        match dispatch(service, context, method, message.get("params")) {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(fault) => failed(id, &fault),
        },
    )
}

fn failed(id: &Value, fault: &Fault) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": fault.code, "message": fault.message}})
}

/// Performs one method.
pub fn dispatch(
    service: &Service,
    context: &Context,
    method: &str,
    params: Option<&Value>,
) -> Result<Value, Fault> {
    let none = Map::new();
    let params = match params {
        None | Some(Value::Null) => &none,
        Some(Value::Object(params)) => params,
        Some(_) => return Err(Fault::new(INVALID_PARAMS, "params: must be an object")),
    };
    match method {
        "initialize" => Ok(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
            "serverInfo": {"name": service.name, "title": service.title, "version": env!("CARGO_PKG_VERSION")},
            "instructions": service.description,
        })),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": service.tools.iter().map(|tool| json!({
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "inputSchema": **tool.input(),
            "outputSchema": **tool.output(),
        })).collect::<Vec<_>>()})),
        "tools/call" => call(service, context, params),
        "resources/list" => Ok(
            json!({"resources": service.resources.iter().map(|resource| json!({
            "uri": resource.uri,
            "name": resource.name,
            "description": resource.description,
            "mimeType": "application/json",
        })).collect::<Vec<_>>()}),
        ),
        "resources/read" => read(service, params),
        "prompts/list" => Ok(
            json!({"prompts": service.prompts.iter().map(|prompt| json!({
            "name": prompt.name,
            "description": prompt.description,
            "arguments": prompt.arguments.iter().map(|argument| json!({
                "name": argument.name,
                "description": argument.description,
                "required": argument.required,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>()}),
        ),
        "prompts/get" => prompt(service, params),
        other => Err(Fault::new(
            METHOD_NOT_FOUND,
            format!("there is no method {other:?}"),
        )),
    }
}

fn call(service: &Service, context: &Context, params: &Map<String, Value>) -> Result<Value, Fault> {
    let name = text(params, "name")?;
    let tool = service
        .tool(name)
        .ok_or_else(|| Fault::new(NO_TOOL, format!("there is no tool {name:?}")))?;
    let arguments = params
        .get("arguments")
        .cloned()
        .unwrap_or_else(|| json!({}));
    match tool.call(context, arguments) {
        Ok(result) => Ok(called(result)),
        Err(refusal @ Refusal::Argument { .. }) => {
            Err(Fault::new(INVALID_PARAMS, refusal.to_string()))
        }
        Err(refusal) => Ok(json!({
            "content": [{"type": "text", "text": refusal.to_string()}],
            "isError": true,
        })),
    }
}

/// The result of a call, as the protocol words it.
pub fn called(result: Value) -> Value {
    json!({
        "content": [{"type": "text", "text": result.to_string()}],
        "structuredContent": result,
        "isError": false,
    })
}

fn read(service: &Service, params: &Map<String, Value>) -> Result<Value, Fault> {
    let uri = text(params, "uri")?;
    let resource = service
        .resources
        .iter()
        .find(|resource| resource.uri == uri)
        .ok_or_else(|| Fault::new(NO_RESOURCE, format!("there is no resource {uri:?}")))?;
    Ok(json!({"contents": [{
        "uri": uri,
        "mimeType": "application/json",
        "text": (resource.read)().to_string(),
    }]}))
}

fn prompt(service: &Service, params: &Map<String, Value>) -> Result<Value, Fault> {
    let name = text(params, "name")?;
    let prompt = service
        .prompts
        .iter()
        .find(|prompt| prompt.name == name)
        .ok_or_else(|| Fault::new(NO_PROMPT, format!("there is no prompt {name:?}")))?;
    let none = Map::new();
    let arguments = params
        .get("arguments")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let text = prompt
        .text(arguments)
        .map_err(|refusal| Fault::new(INVALID_PARAMS, refusal.to_string()))?;
    Ok(json!({
        "description": prompt.description,
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
    }))
}

fn text<'a>(params: &'a Map<String, Value>, name: &str) -> Result<&'a str, Fault> {
    params
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Fault::new(INVALID_PARAMS, format!("{name}: is required, a string")))
}
