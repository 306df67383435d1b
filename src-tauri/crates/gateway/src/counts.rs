//! What is counted from the start on, for those who read it again and again and make rates of it themselves.
//!
//! One place per server, under one lock that is held for a few additions: calls by method and tool, refusals by their kind, changes of
//! breakers. A name is copied when it is seen first; after that nothing is allocated. Names of tools come from the servers' own lists,
//! and there are at most [`MOST_TOOLS`] of a server's; calls of further ones are counted together, without a name.
//!
//! Times and sizes fall into buckets that hold every bound in use outside, so one observation serves histograms of several makes:
//! [`Histogram::within`] gives each its own.

use crate::{
    gateway::wall,
    ring::{Ended, Rolling},
};
use flotilla_contract::{
    Millis, ServerId,
    gateway::{BreakerState, CallEnd, RejectedBy, Traffic},
};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Tools of one server that are counted by name.
const MOST_TOOLS: usize = 1_000;

/// Bounds of times, in milliseconds: those of the three histograms of `/metrics` together.
const TIMES_MS: [f64; 14] = [
    1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_000.0, 2_500.0, 5_000.0, 8_000.0,
    10_000.0,
];
/// Bounds of sizes, in bytes: 256 and nine times the double.
const SIZES: [f64; 10] = [
    256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0,
];

/// Durations, in milliseconds.
pub type Times = Histogram<14>;
/// Lengths, in bytes.
pub type Sizes = Histogram<10>;

/// Observations by size, and their sum.
#[derive(Clone, Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    /// At most the bound, and more than the one before.
    counts: [u64; N],
    more: u64,
    sum: f64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            counts: [0; N],
            more: 0,
            sum: 0.0,
        }
    }

    /// Takes in an observation.
    pub fn note(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        *self.counts.get_mut(place).unwrap_or(&mut self.more) += 1;
        self.sum += value;
    }

    /// How many were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.more
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many were at most that much. Right where `bound` is one of the bounds here.
    #[must_use]
    pub fn within(&self, bound: f64) -> u64 {
        let places = self.bounds.partition_point(|known| *known <= bound);
        self.counts.iter().take(places).sum()
    }

    /// Takes in what another one observed.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.more += other.more;
        self.sum += other.sum;
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::new(&TIMES_MS)
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self::new(&SIZES)
    }
}

/// Calls by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Answered.
    pub ok: u64,
    /// The tool said that it failed.
    pub tool_error: u64,
    /// The server answered with a protocol error.
    pub rpc_error: u64,
    /// No answer.
    pub failed: u64,
    /// Not let through.
    pub rejected: u64,
    /// Given up by the client.
    pub cancelled: u64,
}

impl Ends {
    fn note(&mut self, end: CallEnd) {
        *match end {
            CallEnd::Ok => &mut self.ok,
            CallEnd::ToolError => &mut self.tool_error,
            CallEnd::RpcError => &mut self.rpc_error,
            CallEnd::Failed => &mut self.failed,
            CallEnd::Rejected => &mut self.rejected,
            CallEnd::Cancelled => &mut self.cancelled,
        } += 1;
    }

    /// Those that were let through and failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.tool_error + self.rpc_error + self.failed
    }
}

/// Refusals by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// A breaker was open.
    pub breaker: u64,
    /// A rate limit was met.
    pub limit: u64,
    /// No place within the time, or the queue was full.
    pub queue: u64,
    /// No instance served.
    pub no_instance: u64,
    /// Nothing of that name.
    pub unknown: u64,
}

impl Refused {
    pub(crate) fn note(&mut self, by: RejectedBy) {
        *match by {
            RejectedBy::Breaker => &mut self.breaker,
            RejectedBy::Limit => &mut self.limit,
            RejectedBy::Queue => &mut self.queue,
            RejectedBy::NoInstance => &mut self.no_instance,
            RejectedBy::Unknown => &mut self.unknown,
        } += 1;
    }
}

/// What counts of one call.
pub(crate) struct Over<'a> {
    pub(crate) method: &'a str,
    /// The server's own name of the tool, where it is the call of one.
    pub(crate) tool: Option<&'a str>,
    pub(crate) ended: Ended,
    pub(crate) bytes: usize,
    pub(crate) trace: Option<&'a str>,
}

/// A call that is part of a trace, for those who look for an example of such a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace, 32 hexadecimal digits.
    pub trace: String,
    /// How long the call took, in milliseconds.
    pub took_ms: f64,
    /// When it was over.
    pub at: Millis,
}

/// Calls of one method, or of one tool.
#[derive(Clone, Debug, Default)]
pub struct CallCounts {
    /// The method, for instance `tools/call`.
    pub method: String,
    /// The server's own name of the tool. Absent for other methods, and for tools beyond those that are counted by name.
    pub tool: Option<String>,
    /// How they ended.
    pub ends: Ends,
    /// Tries beyond the first.
    pub retries: u64,
    /// How long those took that were let through and not given up, in milliseconds.
    pub took: Times,
    /// How long their answers were, in bytes; only of those that were answered.
    pub bytes: Sizes,
}

impl CallCounts {
    fn note(&mut self, call: &Over<'_>) {
        let Ended {
            end, retries, took, ..
        } = call.ended;
        self.ends.note(end);
        self.retries += u64::from(retries);
        if is_timed(end) {
            self.took.note(took.as_secs_f64() * 1_000.0);
        }
        if matches!(end, CallEnd::Ok | CallEnd::ToolError) {
            #[expect(clippy::cast_precision_loss, reason = "a sum of sizes")]
            self.bytes.note(call.bytes as f64);
        }
    }
}

/// Whether its time says something: it was let through and not given up.
fn is_timed(end: CallEnd) -> bool {
    !matches!(end, CallEnd::Rejected | CallEnd::Cancelled)
}

/// A breaker went from one state to another, so often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Its tool; absent for that of the whole server.
    pub tool: Option<String>,
    /// From where.
    pub from: BreakerState,
    /// To where.
    pub to: BreakerState,
    /// How often.
    pub count: u64,
}

/// One tool's counts, as they grow, and its calls lately.
#[derive(Debug)]
struct Tool {
    counts: CallCounts,
    lately: Rolling,
}

impl Tool {
    fn note(&mut self, call: &Over<'_>, now: Instant) {
        self.counts.note(call);
        self.lately.ended(call.ended, now);
    }
}

/// One server's counts, as they grow.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    tools: HashMap<String, Tool>,
    /// The methods without a tool: as many as there are that are relayed.
    methods: Vec<CallCounts>,
    pub(crate) refused: Refused,
    changes: Vec<Changes>,
    /// The latest of each bucket of times; only of calls whose clients trace them.
    exemplars: [Option<Exemplar>; TIMES_MS.len() + 1],
}

impl Counts {
    pub(crate) fn note(&mut self, call: &Over<'_>, now: Instant) {
        if let Some(trace) = call.trace.filter(|_| is_timed(call.ended.end)) {
            let took_ms = call.ended.took.as_secs_f64() * 1_000.0;
            let place = TIMES_MS.partition_point(|bound| *bound < took_ms);
            if let Some(exemplar) = self.exemplars.get_mut(place) {
                *exemplar = Some(Exemplar {
                    trace: trace.to_owned(),
                    took_ms,
                    at: wall(),
                });
            }
        }
        if let Some(name) = call.tool {
            if let Some(tool) = self.tools.get_mut(name) {
                return tool.note(call, now);
            }
            if self.tools.len() < MOST_TOOLS {
                let mut tool = Tool {
                    counts: CallCounts {
                        method: call.method.to_owned(),
                        tool: Some(name.to_owned()),
                        ..CallCounts::default()
                    },
                    lately: Rolling::starting(now),
                };
                tool.note(call, now);
                self.tools.insert(name.to_owned(), tool);
                return;
            }
        }
        let known = self
            .methods
            .iter()
            .position(|known| known.method == call.method);
        let place = known.unwrap_or_else(|| {
            self.methods.push(CallCounts {
                method: call.method.to_owned(),
                ..CallCounts::default()
            });
            self.methods.len() - 1
        });
        if let Some(counts) = self.methods.get_mut(place) {
            counts.note(call);
        }
    }

    /// A breaker moved; breakers are bounded in number, and so are these.
    pub(crate) fn moved(&mut self, tool: Option<&str>, from: BreakerState, to: BreakerState) {
        let same = |it: &&mut Changes| it.tool.as_deref() == tool && it.from == from && it.to == to;
        match self.changes.iter_mut().find(same) {
            Some(known) => known.count += 1,
            None => self.changes.push(Changes {
                tool: tool.map(ToOwned::to_owned),
                from,
                to,
                count: 1,
            }),
        }
    }

    /// The tools that were called in the last ten seconds, and how that went.
    pub(crate) fn lately(&self, now: Instant) -> Vec<(String, Traffic)> {
        self.tools
            .iter()
            .map(|(name, tool)| (name.clone(), tool.lately.traffic(now)))
            .filter(|(_, traffic)| traffic.per_second > 0.0 || traffic.rejected_per_second > 0.0)
            .collect()
    }

    /// As they are now, by method and tool.
    pub(crate) fn view(&self, server: &ServerId) -> ServerCounts {
        let mut calls: Vec<CallCounts> = self
            .methods
            .iter()
            .chain(self.tools.values().map(|tool| &tool.counts))
            .cloned()
            .collect();
        calls.sort_by(|a, b| (&a.method, &a.tool).cmp(&(&b.method, &b.tool)));
        ServerCounts {
            server: server.clone(),
            calls,
            refused: self.refused,
            changes: self.changes.clone(),
            exemplars: self.exemplars.iter().flatten().cloned().collect(),
            queued: 0,
        }
    }
}

/// What was counted of one server since clients see it.
#[derive(Clone, Debug)]
pub struct ServerCounts {
    /// Which.
    pub server: ServerId,
    /// Its calls, by method and tool.
    pub calls: Vec<CallCounts>,
    /// Calls that were not let through.
    pub refused: Refused,
    /// How its breakers moved.
    pub changes: Vec<Changes>,
    /// Calls that are part of traces, from quick to slow: the latest of each bucket of times.
    pub exemplars: Vec<Exemplar>,
    /// Calls that wait for a place now.
    pub queued: u32,
}

/// Of all calls, those included whose server nobody knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    ends: Ends,
    added: Times,
    pub(crate) refused: Refused,
}

impl Totals {
    pub(crate) fn note(&mut self, end: CallEnd, added: Option<Duration>) {
        self.ends.note(end);
        if let Some(added) = added {
            self.added.note(added.as_secs_f64() * 1_000.0);
        }
    }

    pub(crate) fn view(&self) -> GatewayCounts {
        GatewayCounts {
            ends: self.ends,
            added: self.added.clone(),
            refused: self.refused,
            ..GatewayCounts::default()
        }
    }
}

/// What was counted since the engine started.
#[derive(Clone, Debug, Default)]
pub struct GatewayCounts {
    /// All calls.
    pub ends: Ends,
    /// What the gateway itself added to those that succeeded and were not answered from the cache, in milliseconds.
    pub added: Times,
    /// Requests refused before anybody knew whose they are.
    pub refused: Refused,
    /// Calls under way now.
    pub in_flight: u32,
    /// Clients heard of in the last hour.
    pub clients: u32,
    /// Requests under way that are followed.
    pub followed: u32,
    /// Answers that left the cache: why, and how many.
    pub evictions: [(&'static str, u64); 4],
    /// The servers that clients see.
    pub servers: Vec<ServerCounts>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(tool: Option<&str>, end: CallEnd, ms: u64) -> Over<'_> {
        Over {
            method: "tools/call",
            tool,
            ended: Ended {
                end,
                cached: false,
                retries: 1,
                took: Duration::from_millis(ms),
            },
            bytes: 300,
            trace: None,
        }
    }

    #[test]
    fn a_bound_holds_what_is_at_most_that() {
        let mut times = Times::default();
        for ms in [0.0, 1.0, 1.1, 5.0, 10_000.0, 10_001.0] {
            times.note(ms);
        }
        let within = [0.5, 1.0, 5.0, 9_000.0, 10_000.0].map(|bound| times.within(bound));
        assert_eq!(within, [0, 2, 4, 4, 5]);
        assert_eq!((times.count(), times.sum()), (6, 20_008.1));
        let mut twice = times.clone();
        twice.add(&times);
        assert_eq!((twice.count(), twice.within(5.0)), (12, 8));
    }

    #[test]
    fn the_latest_traced_call_of_each_bucket_is_its_example() {
        let mut counts = Counts::default();
        let now = Instant::now();
        for (trace, end, ms) in [
            (Some("a"), CallEnd::Ok, 3),
            (Some("b"), CallEnd::Failed, 5),
            (None, CallEnd::Ok, 4),
            (Some("c"), CallEnd::Cancelled, 4),
            (Some("d"), CallEnd::Ok, 60_000),
        ] {
            let over = Over {
                trace,
                ..over(None, end, ms)
            };
            counts.note(&over, now);
        }
        let view = counts.view(&"fetch".parse().unwrap());
        let seen: Vec<_> = view
            .exemplars
            .iter()
            .map(|e| (&*e.trace, e.took_ms))
            .collect();
        assert_eq!(seen, [("b", 5.0), ("d", 60_000.0)]);
    }

    #[test]
    fn calls_are_counted_by_tool_and_tools_beyond_the_bound_together() {
        let mut counts = Counts::default();
        let now = Instant::now();
        for (end, ms) in [
            (CallEnd::Ok, 3),
            (CallEnd::ToolError, 30),
            (CallEnd::Rejected, 0),
            (CallEnd::Cancelled, 90_000),
        ] {
            counts.note(&over(Some("get"), end, ms), now);
        }
        for n in 0..MOST_TOOLS + 5 {
            counts.note(&over(Some(&format!("t{n}")), CallEnd::Failed, 1), now);
        }
        // What was given up says nothing about answers; what was refused is no call.
        let lately = counts.lately(now + Duration::from_secs(1));
        assert_eq!(lately.len(), MOST_TOOLS);
        let get = &lately.iter().find(|(name, _)| name == "get").unwrap().1;
        assert_eq!((get.calls, get.errors, get.rejected), (3, 1, 1));
        assert!((25.0..35.0).contains(&get.p99_ms), "{get:?}");
        assert_eq!(counts.lately(now + Duration::from_secs(30)), []);
        let server: ServerId = "fetch".parse().unwrap();
        let view = counts.view(&server);
        assert_eq!(view.calls.len(), MOST_TOOLS + 1);
        assert_eq!((&view.calls[0].tool, view.calls[0].ends.failed), (&None, 6));
        let get = view.calls.iter().find(|c| c.tool.as_deref() == Some("get"));
        let get = get.unwrap();
        assert_eq!(
            (
                get.ends.ok,
                get.ends.errors(),
                get.ends.rejected,
                get.ends.cancelled
            ),
            (1, 1, 1, 1)
        );
        assert_eq!(
            (get.took.count(), get.bytes.count(), get.retries),
            (2, 2, 4)
        );
    }
}
