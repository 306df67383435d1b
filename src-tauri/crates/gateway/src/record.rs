//! What is noted of one call while it is under way.

use crate::{fleet::Content, gateway::wall, relay::Call, ring::Ended};
use flotilla_contract::{
    Millis, ServerId,
    gateway::{CallEnd, CallRecord},
};
use flotilla_mcp::serve::Fields;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::time::Instant;

/// Characters of a name that nobody has, as far as it is kept and told: a client may send anything.
pub(crate) const LONGEST_NAME: usize = 200;
/// Characters of a reason that are kept: a server may say anything.
const LONGEST_REASON: usize = 2_000;

/// A text, cut where it is longer.
pub(crate) fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Notes on a call. Until it ends it counts as given up.
pub(crate) struct Tally {
    at: Millis,
    began: Instant,
    server: Option<ServerId>,
    target: Option<String>,
    pub(crate) instance: Option<u32>,
    /// In the server, the last try.
    pub(crate) upstream: Duration,
    bytes_in: usize,
    bytes_out: usize,
    pub(crate) end: CallEnd,
    reason: Option<String>,
    pub(crate) cached: bool,
    pub(crate) retries: u32,
    /// What was said, if that is kept.
    content: Option<Content>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            at: wall(),
            began: Instant::now(),
            server: None,
            target: None,
            instance: None,
            upstream: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            end: CallEnd::Cancelled,
            reason: None,
            cached: false,
            retries: 0,
            content: None,
        }
    }
}

impl Tally {
    pub(crate) fn begin(call: &Call, keep_content: bool) -> Self {
        let content = keep_content.then(|| Content {
            arguments: Fields::of(call.params.as_deref())
                .raw("arguments")
                .map(ToOwned::to_owned),
            result: None,
        });
        Self {
            bytes_in: call.params.as_ref().map_or(0, |params| params.get().len()),
            content,
            ..Self::default()
        }
    }

    /// Whose the call is.
    pub(crate) fn meant(&mut self, server: &ServerId, target: &str) {
        self.server = Some(server.clone());
        self.target = Some(target.to_owned());
    }

    /// The name that was asked for where nobody has it.
    pub(crate) fn asked_for(&mut self, name: &str) {
        self.target = Some(beginning(name, LONGEST_NAME));
    }

    pub(crate) fn answered(&mut self, end: CallEnd, result: &str) {
        self.bytes_out = result.len();
        self.end = end;
        if let Some(content) = &mut self.content {
            content.result = RawValue::from_string(result.to_owned()).ok();
        }
    }

    pub(crate) fn end(&mut self, end: CallEnd, reason: Option<&str>) {
        self.end = end;
        self.reason = reason.map(|reason| beginning(reason, LONGEST_REASON));
    }

    /// What counts of it.
    pub(crate) fn ended(&self) -> Ended {
        Ended {
            end: self.end,
            cached: self.cached,
            retries: self.retries,
            took: self.took(),
        }
    }

    /// The tool's own name at its server, if the call is one of a tool.
    pub(crate) fn tool(&self, method: &str) -> Option<&str> {
        self.target.as_deref().filter(|_| method == "tools/call")
    }

    pub(crate) fn bytes_out(&self) -> usize {
        self.bytes_out
    }

    /// In and out.
    pub(crate) fn bytes(&self) -> u64 {
        (self.bytes_in + self.bytes_out) as u64
    }

    fn took(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn take_content(&mut self) -> Option<Content> {
        self.content.take()
    }

    /// The record, once the call is over.
    pub(crate) fn record(self, number: u64, call: &Call, stored: bool) -> CallRecord {
        let took = self.took();
        CallRecord {
            call: number,
            at: self.at,
            client: call.identity.name.clone(),
            method: call.method.clone(),
            server: self.server,
            instance: self.instance,
            target: self.target,
            duration_ms: took.as_secs_f64() * 1_000.0,
            upstream_ms: if self.cached {
                0.0
            } else {
                self.upstream.as_secs_f64() * 1_000.0
            },
            bytes_in: self.bytes_in as u64,
            bytes_out: self.bytes_out as u64,
            end: self.end,
            reason: self.reason,
            cached: self.cached,
            retries: self.retries,
            stored,
            correlation: call.correlation.clone(),
            trace: call.trace.clone(),
        }
    }
}
