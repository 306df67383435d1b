//! How the agent and its skills talk: JSON-RPC messages inside the process, each one logged.

use super::skills::{ANALYSES, COLLECTED, Memory, PATTERNS, Skill};
use crate::{
    rpc,
    service::{Host, Service},
    tool::{Context, Refusal},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The one who asks.
const AGENT: &str = "reasoning_agent";

/// Who is told when which resource changes.
const SUBSCRIPTIONS: [(&str, &str); 3] = [
    ("answer_synthesis", ANALYSES),
    ("answer_synthesis", PATTERNS),
    (AGENT, COLLECTED),
];

/// The resources that somebody subscribed to.
pub(super) fn subscriptions(of: &str) -> Vec<&'static str> {
    let mine = SUBSCRIPTIONS.iter().filter(|(who, _)| *who == of);
    mine.map(|(_, uri)| *uri).collect()
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Request,
    Response,
    Notification,
}

/// A message between the agent and its skills.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Message {
    /// Counts up from 1 since the server started.
    sequence: u64,
    /// request, response or notification.
    pub(super) kind: Kind,
    /// JSON-RPC id, the same in a request and its response; notifications have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// JSON-RPC method; responses have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    /// Who sent it.
    from: &'static str,
    /// Who received it.
    to: &'static str,
    /// When, in milliseconds since 1970.
    at_ms: i64,
    /// Of a response: whether it is a well-formed JSON-RPC 2.0 result for its request, and no failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ok: Option<bool>,
    /// The message itself as JSON; of a long one the first 500 characters.
    payload: String,
}

/// The line between the agent and its skills. Keeps the last 1,000 messages.
pub(super) struct Wire {
    host: Host,
    skills: Vec<(Skill, Service)>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    sent: u64,
    kept: VecDeque<Message>,
}

const KEPT: usize = 1000;

impl Wire {
    pub(super) fn new(host: Host, memory: &Arc<Memory>) -> Self {
        Self {
            host,
            skills: Skill::ALL
                .into_iter()
                .map(|skill| (skill, skill.service(memory)))
                .collect(),
            log: Mutex::default(),
        }
    }

    /// The skills.
    pub(super) fn skills(&self) -> impl Iterator<Item = &Service> {
        self.skills.iter().map(|(_, service)| service)
    }

    /// The newest `limit` messages that are `wanted`, oldest of them first, and how many there are of these in all.
    pub(super) fn history(
        &self,
        limit: usize,
        wanted: impl Fn(&Message) -> bool,
        since_ms: i64,
    ) -> (Vec<Message>, usize) {
        let log = self.lock();
        let wanted = log
            .kept
            .iter()
            .filter(|message| message.at_ms >= since_ms && wanted(message));
        let total = wanted.clone().count();
        let newest = wanted.skip(total.saturating_sub(limit));
        (newest.cloned().collect(), total)
    }

    /// Calls a skill's tool. What was said is added to `run`; whoever subscribed to what changed by it is told.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        context: &Context,
        run: &mut Vec<Message>,
        skill: Skill,
        tool: &str,
        arguments: &Value,
    ) -> Result<T, Refusal> {
        let params = json!({"name": tool, "arguments": arguments});
        let mut result = self.request(context, run, skill, "tools/call", &params)?;
        if result.get("isError") == Some(&Value::Bool(true)) {
            let text = result.pointer("/content/0/text").and_then(Value::as_str);
            return Err(Refusal::Failed(
                text.unwrap_or("the skill failed").to_owned(),
            ));
        }
        if let Some(uri) = changed_by(tool) {
            self.announce(run, skill, uri);
        }
        let content = result
            .get_mut("structuredContent")
            .map_or(Value::Null, Value::take);
        serde_json::from_value(content)
            .map_err(|error| Refusal::Failed(format!("{}: {error}", skill.name())))
    }

    /// Reads a skill's resource, as text.
    pub(super) fn read(
        &self,
        context: &Context,
        run: &mut Vec<Message>,
        skill: Skill,
        uri: &str,
    ) -> Result<String, Refusal> {
        let result = self.request(context, run, skill, "resources/read", &json!({"uri": uri}))?;
        let text = result.pointer("/contents/0/text").and_then(Value::as_str);
        Ok(text.unwrap_or_default().to_owned())
    }

    fn request(
        &self,
        context: &Context,
        run: &mut Vec<Message>,
        skill: Skill,
        method: &str,
        params: &Value,
    ) -> Result<Value, Refusal> {
        let service = self
            .skills
            .iter()
            .find_map(|(known, service)| (*known == skill).then_some(service))
            .ok_or_else(|| Refusal::argument("skill", "is unknown"))?;
        let (id, message) = self.send(run, skill, method, params);
        let mut reply = rpc::reply(service, context, &message).unwrap_or(Value::Null);
        run.push(self.answered(skill, &id, &reply));
        match reply.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(refusal(&reply)),
        }
    }

    /// Logs a request. Its id is its number, so no two are equal.
    fn send(
        &self,
        run: &mut Vec<Message>,
        skill: Skill,
        method: &str,
        params: &Value,
    ) -> (String, Value) {
        let at_ms = self.host.now_ms();
        let mut log = self.lock();
        let id = format!("r{}", log.sent + 1);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        run.push(log.push(Message {
            sequence: 0,
            kind: Kind::Request,
            id: Some(id.clone()),
            method: Some(method.to_owned()),
            from: AGENT,
            to: skill.name(),
            at_ms,
            ok: None,
            payload: preview(&message),
        }));
        (id, message)
    }

    fn answered(&self, skill: Skill, id: &str, reply: &Value) -> Message {
        let text = |pointer| reply.pointer(pointer).and_then(Value::as_str);
        let failed = reply.get("result").is_none()
            || reply.pointer("/result/isError") == Some(&Value::Bool(true));
        let ok = text("/jsonrpc") == Some("2.0") && text("/id") == Some(id) && !failed;
        let at_ms = self.host.now_ms();
        self.lock().push(Message {
            sequence: 0,
            kind: Kind::Response,
            id: Some(id.to_owned()),
            method: None,
            from: skill.name(),
            to: AGENT,
            at_ms,
            ok: Some(ok),
            payload: preview(reply),
        })
    }

    fn announce(&self, run: &mut Vec<Message>, skill: Skill, uri: &str) {
        let method = "notifications/resources/updated";
        let message = json!({"jsonrpc": "2.0", "method": method, "params": {"uri": uri}});
        let at_ms = self.host.now_ms();
        for (subscriber, _) in SUBSCRIPTIONS.iter().filter(|(_, theirs)| *theirs == uri) {
            run.push(self.lock().push(Message {
                sequence: 0,
                kind: Kind::Notification,
                id: None,
                method: Some(method.to_owned()),
                from: skill.name(),
                to: subscriber,
                at_ms,
                ok: None,
                payload: preview(&message),
            }));
        }
        // Subscribers outside of the process.
        self.host.changed(uri);
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Numbers and keeps a message.
    fn push(&mut self, mut message: Message) -> Message {
        self.sent += 1;
        message.sequence = self.sent;
        self.kept.push_back(message.clone());
        while self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        message
    }
}

fn changed_by(tool: &str) -> Option<&'static str> {
    match tool {
        "decompose_question" => Some(ANALYSES),
        "analyze_patterns" => Some(PATTERNS),
        "receive_pattern_data" => Some(COLLECTED),
        _ => None,
    }
}

/// The skill's error as one of the agent's own: its arguments are inside of ours.
fn refusal(reply: &Value) -> Refusal {
    let text = reply.pointer("/error/message").and_then(Value::as_str);
    let text = text.unwrap_or("the skill gave no answer");
    let code = reply.pointer("/error/code").and_then(Value::as_i64);
    match text.split_once(": ") {
        _ if code == Some(rpc::NO_TOOL.into()) => Refusal::argument("tool", text),
        Some(("arguments", problem)) => Refusal::argument("arguments", problem),
        Some((field, problem)) => Refusal::argument(format!("arguments.{field}"), problem),
        None => Refusal::Failed(text.to_owned()),
    }
}

fn preview(message: &Value) -> String {
    message.to_string().chars().take(500).collect()
}
