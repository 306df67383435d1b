//! Calls made by hand: one at a time per press, cancellable, remembered.

use crate::{
    clock,
    core::Core,
    sessions::{best_instance, lock},
};
use flotilla_contract::{
    Caller, ErrorCode, InstanceId, WireError,
    command::{CallParams, HistoryParams},
    state::{ProcessState, Status},
    tool::{CallOutcome, ToolCallRecord, ToolList},
};
use flotilla_gateway::Held;
use flotilla_mcp::{Error, RequestOptions};
use flotilla_supervisor::Observed;
use serde_json::value::RawValue;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_MOST: Duration = Duration::from_secs(3_600);
/// How long the greeting and a listing of tools may take.
const LIST: Duration = Duration::from_secs(15);
/// Calls remembered in all, and bytes of results remembered.
const HISTORY: usize = 200;
const HISTORY_BYTES: usize = 16 << 20;
/// Calls under way that can be cancelled by name.
const UNDER_WAY: usize = 256;

#[derive(Default)]
pub(crate) struct Playground {
    number: AtomicU64,
    under_way: Mutex<HashMap<String, CancellationToken>>,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    calls: VecDeque<(ToolCallRecord, usize)>,
    bytes: usize,
}

impl History {
    fn push(&mut self, record: ToolCallRecord, bytes: usize) {
        self.bytes += bytes;
        self.calls.push_front((record, bytes));
        while self.calls.len() > HISTORY || (self.bytes > HISTORY_BYTES && self.calls.len() > 1) {
            if let Some((_, bytes)) = self.calls.pop_back() {
                self.bytes -= bytes;
            }
        }
    }
}

/// Takes the name of a call away when it ends, however it ends.
struct Named<'a>(&'a Playground, Option<String>);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.1 {
            lock(&self.0.under_way).remove(key);
        }
    }
}

fn unreachable(message: impl std::fmt::Display) -> WireError {
    WireError::new(ErrorCode::Unreachable, message.to_string())
}

impl Core {
    /// The instance that a call goes to. A server on demand is woken, and stays awake as long as the place in it is held.
    async fn callee_awake(
        &self,
        caller: &Caller,
        params: &CallParams,
        limit: Duration,
    ) -> Result<(InstanceId, Option<Held>), WireError> {
        self.spec(&params.server)?;
        let held = self
            .gateway
            .hold(&params.server, params.instance, &caller.correlation, limit)
            .await
            .map_err(|why| unreachable(format!("reach {}: {why}", params.server)))?;
        match held {
            Some(held) if params.instance.is_none_or(|n| n == held.instance().index) => {
                Ok((held.instance().clone(), Some(held)))
            }
            held => Ok((self.callee(&params.server, params.instance)?, held)),
        }
    }

    /// The instance that is meant: the one named, or the best that runs.
    fn callee(
        &self,
        server: &flotilla_contract::ServerId,
        instance: Option<u32>,
    ) -> Result<InstanceId, WireError> {
        self.spec(server)?;
        let seen = self
            .supervisor
            .observe(server)
            .ok_or_else(|| WireError::no_server(server))?;
        let index = match instance {
            Some(n)
                if seen
                    .instances
                    .iter()
                    .any(|i| i.id.index == n && i.process.state == ProcessState::Running) =>
            {
                n
            }
            Some(n) => {
                return Err(unreachable(format!(
                    "reach {server}: instance {n} does not run"
                )));
            }
            None => best_instance(&seen.instances)
                .ok_or_else(|| unreachable(format!("reach {server}: {}", seen.health.sentence)))?,
        };
        Ok(server.instance(index))
    }

    /// The tools as the server lists them now.
    pub(crate) async fn list_tools(
        &self,
        caller: &Caller,
        server: &flotilla_contract::ServerId,
    ) -> Result<ToolList, WireError> {
        let asleep = |seen: &Observed| seen.status == Status::Sleeping;
        if self.supervisor.observe(server).as_ref().is_some_and(asleep)
            && let Some(tools) = self.facts.get(server).tools
        {
            // To look at its tools is no reason to wake it.
            return Ok(tools);
        }
        let id = self.callee(server, None)?;
        let listed = self
            .sessions
            .list(&id, Some(&caller.correlation), LIST)
            .await
            .map_err(|e| unreachable(format!("list the tools of {server}: {e}")))?;
        Ok(listed.list)
    }

    /// The tools as they are now count as those that the server is meant to have.
    pub(crate) async fn accept_tools(
        &self,
        caller: &Caller,
        server: &flotilla_contract::ServerId,
    ) -> Result<ToolList, WireError> {
        let list = self.list_tools(caller, server).await?;
        let raw: Vec<Box<RawValue>> = list
            .tools
            .iter()
            .filter_map(|t| serde_json::value::to_raw_value(t).ok())
            .collect();
        self.facts.accept(server, flotilla_mcp::fingerprint(&raw));
        self.sessions.clear_findings(server);
        // Health follows with the next probe, which is due now.
        for instance in self
            .supervisor
            .observe(server)
            .map(|seen| seen.instances)
            .unwrap_or_default()
        {
            self.supervisor.probe(&instance.id);
        }
        self.supervisor.touch(server);
        Ok(list)
    }

    pub(crate) async fn call_tool(
        &self,
        caller: &Caller,
        params: CallParams,
    ) -> Result<ToolCallRecord, WireError> {
        if !(params.arguments.is_object() || params.arguments.is_null()) {
            return Err(WireError::new(
                ErrorCode::BadRequest,
                format!(
                    "call {}: its arguments are {}, accepted is an object",
                    params.tool,
                    kind(&params.arguments)
                ),
            ));
        }
        let timeout = params
            .timeout_ms
            .map_or(TIMEOUT, Duration::from_millis)
            .min(TIMEOUT_MOST);
        let cancel = CancellationToken::new();
        let _named = self.name_call(params.cancel_key.clone(), &cancel)?;
        let (id, _awake) = tokio::select! {
            () = cancel.cancelled() => return Err(unreachable(format!("reach {}: cancelled", params.server))),
            callee = self.callee_awake(caller, &params, timeout) => callee?,
        };
        let at = clock::now();
        let arguments = if params.arguments.is_null() {
            serde_json::json!({})
        } else {
            params.arguments
        };
        let sent = serde_json::value::to_raw_value(
            &serde_json::json!({ "name": params.tool, "arguments": arguments }),
        )
        .map_err(|e| WireError::new(ErrorCode::Internal, format!("write the call: {e}")))?;
        let begun = Instant::now();
        let answer = self.send_call(&id, sent, timeout, cancel).await;
        let duration_ms = begun.elapsed().as_secs_f64() * 1e3;
        let bytes = answer.as_ref().map_or(0, |raw| raw.get().len());
        let record = ToolCallRecord {
            call: self.playground.number.fetch_add(1, Ordering::Relaxed) + 1,
            server: params.server,
            instance: id.index,
            tool: params.tool,
            arguments,
            at,
            duration_ms,
            outcome: outcome(answer),
            correlation: caller.correlation.clone(),
        };
        lock(&self.playground.history).push(record.clone(), bytes);
        Ok(record)
    }

    async fn send_call(
        &self,
        id: &InstanceId,
        params: Box<RawValue>,
        timeout: Duration,
        cancel: CancellationToken,
    ) -> Result<Box<RawValue>, Error> {
        let greeted = tokio::select! {
            () = cancel.cancelled() => return Err(Error::Cancelled),
            greeted = self.sessions.session(id, timeout.min(LIST)) => greeted,
        };
        let (session, _) = greeted?;
        let options = RequestOptions {
            timeout,
            total_timeout: Some(timeout),
            cancel,
            ..RequestOptions::default()
        };
        session.request("tools/call", Some(params), options).await
    }

    fn name_call(
        &self,
        key: Option<String>,
        cancel: &CancellationToken,
    ) -> Result<Named<'_>, WireError> {
        if let Some(key) = &key {
            let mut under_way = lock(&self.playground.under_way);
            if under_way.contains_key(key) {
                return Err(WireError::new(
                    ErrorCode::Exists,
                    format!("name the call {key:?}: one of that name is under way"),
                ));
            }
            if under_way.len() >= UNDER_WAY {
                return Err(WireError::new(
                    ErrorCode::Unsupported,
                    format!("begin the call: {UNDER_WAY} are under way"),
                ));
            }
            under_way.insert(key.clone(), cancel.clone());
        }
        Ok(Named(&self.playground, key))
    }

    pub(crate) fn cancel_call(&self, key: &str) -> Result<(), WireError> {
        let token = lock(&self.playground.under_way).get(key).cloned();
        let token = token.ok_or_else(|| {
            WireError::new(
                ErrorCode::NotFound,
                format!("cancel {key:?}: no such call is under way"),
            )
        })?;
        token.cancel();
        Ok(())
    }

    pub(crate) fn call_history(&self, params: &HistoryParams) -> Vec<ToolCallRecord> {
        let wanted = |r: &&ToolCallRecord| {
            params.server.as_ref().is_none_or(|s| *s == r.server)
                && params.tool.as_ref().is_none_or(|t| *t == r.tool)
        };
        lock(&self.playground.history)
            .calls
            .iter()
            .map(|(record, _)| record)
            .filter(wanted)
            .cloned()
            .collect()
    }
}

fn outcome(answer: Result<Box<RawValue>, Error>) -> CallOutcome {
    match answer {
        Ok(raw) => match serde_json::from_str::<serde_json::Value>(raw.get()) {
            Ok(result) => CallOutcome::Result {
                is_error: result
                    .get("isError")
                    .and_then(serde_json::Value::as_bool)
                    .unwrap_or(false),
                result,
            },
            Err(error) => CallOutcome::Failed {
                message: format!("read the result: {error}"),
            },
        },
        Err(Error::Cancelled) => CallOutcome::Cancelled,
        Err(Error::Rpc {
            code,
            message,
            data,
            ..
        }) => CallOutcome::RpcError {
            code,
            message,
            data: data.and_then(|raw| serde_json::from_str(raw.get()).ok()),
        },
        Err(error) => CallOutcome::Failed {
            message: error.to_string(),
        },
    }
}

fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}
