//! What was: the last calls, how many there were lately and how long they took, and why calls did not pass.

use crate::slots::Slots;
use flotilla_contract::{
    Millis, ServerId,
    gateway::{CallEnd, CallQuery, CallRecord, RejectedBy, Rejection, Traffic},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Kinds of refusals remembered.
const REFUSALS: usize = 100;
/// Buckets of durations: each is a tenth longer than the one before, so that a quantile is right within five parts in a
/// hundred; from 0.01 ms to about 10 minutes.
const BUCKETS: usize = 188;
const SHORTEST_MS: f64 = 0.01;
const GROWTH: f64 = 1.1;

/// The last calls, bounded.
pub(crate) struct Ring {
    calls: VecDeque<Arc<CallRecord>>,
    most: usize,
}

impl Ring {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            calls: VecDeque::new(),
            most: most as usize,
        }
    }

    /// Keeps more or fewer from now on.
    pub(crate) fn refit(&mut self, most: u32) {
        self.most = most as usize;
        self.calls.truncate(self.most);
    }

    pub(crate) fn push(&mut self, call: Arc<CallRecord>) {
        self.calls.push_front(call);
        self.calls.truncate(self.most);
    }

    /// Those that fit, newest first.
    pub(crate) fn query(&self, query: &CallQuery) -> Vec<CallRecord> {
        self.calls
            .iter()
            .filter(|call| query.fits(call))
            .take(query.most())
            .map(|call| (**call).clone())
            .collect()
    }
}

/// Calls of the last ten seconds, and since the start.
#[derive(Debug)]
pub(crate) struct Rolling {
    lately: Slots<Slot, 10>,
    since: Traffic,
}

#[derive(Debug, Default)]
struct Slot {
    calls: u32,
    errors: u32,
    cached: u32,
    rejected: u32,
    /// By duration; made with the first call of its second.
    took: Vec<u32>,
}

impl Default for Rolling {
    fn default() -> Self {
        Self::starting(Instant::now())
    }
}

/// What counts of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) end: CallEnd,
    pub(crate) cached: bool,
    pub(crate) retries: u32,
    pub(crate) took: Duration,
}

impl Rolling {
    pub(crate) fn starting(now: Instant) -> Self {
        Self {
            lately: Slots::new(Duration::from_secs(1), now),
            since: Traffic::default(),
        }
    }

    /// A call begins.
    pub(crate) fn begun(&mut self) {
        self.since.in_flight += 1;
    }

    /// A call that had begun is over. One that was given up says nothing about how long answers take.
    pub(crate) fn ended(&mut self, call: Ended, now: Instant) {
        self.since.in_flight = self.since.in_flight.saturating_sub(1);
        let slot = self.lately.at(now);
        self.since.retries += u64::from(call.retries);
        if call.end == CallEnd::Rejected {
            slot.rejected += 1;
            self.since.rejected += 1;
            return;
        }
        let failed = matches!(
            call.end,
            CallEnd::ToolError | CallEnd::RpcError | CallEnd::Failed
        );
        slot.calls += 1;
        slot.errors += u32::from(failed);
        slot.cached += u32::from(call.cached);
        self.since.calls += 1;
        self.since.errors += u64::from(failed);
        self.since.cached += u64::from(call.cached);
        if call.end != CallEnd::Cancelled {
            slot.timed(call.took);
        }
    }

    /// A duration alone, for a series that counts nothing else.
    pub(crate) fn timed(&mut self, took: Duration, now: Instant) {
        self.lately.at(now).timed(took);
    }

    /// All of it by now.
    pub(crate) fn traffic(&self, now: Instant) -> Traffic {
        let mut all = Slot::default();
        for slot in self.lately.live(now) {
            all.add(slot);
        }
        // A series younger than its window is divided by its own age, but never by less than a second.
        let span = self.lately.covered(now).as_secs_f64().max(1.0);
        let per_second = |count: u32| f64::from(count) / span;
        Traffic {
            per_second: per_second(all.calls),
            error_share: if all.calls == 0 {
                0.0
            } else {
                f64::from(all.errors) / f64::from(all.calls)
            },
            p50_ms: all.quantile(0.50),
            p95_ms: all.quantile(0.95),
            p99_ms: all.quantile(0.99),
            cached_per_second: per_second(all.cached),
            rejected_per_second: per_second(all.rejected),
            ..self.since
        }
    }
}

impl Slot {
    fn timed(&mut self, took: Duration) {
        if self.took.is_empty() {
            self.took = vec![0; BUCKETS];
        }
        self.took[bucket(took.as_secs_f64() * 1_000.0)] += 1;
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.cached += other.cached;
        self.rejected += other.rejected;
        if self.took.is_empty() {
            self.took.clone_from(&other.took);
        } else {
            for (mine, theirs) in self.took.iter_mut().zip(&other.took) {
                *mine += theirs;
            }
        }
    }

    /// The duration that a share `q` of calls stayed within, in milliseconds; 0 without calls.
    fn quantile(&self, q: f64) -> f64 {
        let total: u32 = self.took.iter().sum();
        if total == 0 {
            return 0.0;
        }
        let rank = (f64::from(total) * q).ceil().max(1.0);
        let mut seen = 0.0;
        for (place, count) in self.took.iter().enumerate() {
            seen += f64::from(*count);
            if seen >= rank {
                return middle(place);
            }
        }
        middle(BUCKETS - 1)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the buckets there are"
)]
fn bucket(ms: f64) -> usize {
    let place = (ms / SHORTEST_MS).max(1.0).ln() / GROWTH.ln();
    (place as usize).min(BUCKETS - 1)
}

/// The geometric middle of a bucket, in milliseconds.
fn middle(place: usize) -> f64 {
    let exponent = f64::from(u32::try_from(place).unwrap_or(u32::MAX)) + 0.5;
    SHORTEST_MS * GROWTH.powf(exponent)
}

/// Why calls did not pass, run together by kind.
#[derive(Default)]
pub(crate) struct Refusals(VecDeque<Rejection>);

impl Refusals {
    pub(crate) fn note(
        &mut self,
        by: RejectedBy,
        server: Option<&ServerId>,
        tool: Option<&str>,
        client: &str,
        reason: &str,
        now: Millis,
    ) {
        let same = |row: &Rejection| {
            row.by == by
                && row.server.as_ref() == server
                && row.tool.as_deref() == tool
                && row.client == client
        };
        let mut row = match self
            .0
            .iter()
            .position(same)
            .and_then(|at| self.0.remove(at))
        {
            Some(row) => row,
            None => Rejection {
                last: now,
                first: now,
                count: 0,
                by,
                server: server.cloned(),
                tool: tool.map(ToOwned::to_owned),
                client: client.to_owned(),
                reason: String::new(),
            },
        };
        row.last = now;
        row.count += 1;
        reason.clone_into(&mut row.reason);
        self.0.push_front(row);
        self.0.truncate(REFUSALS);
    }

    /// The latest first.
    pub(crate) fn view(&self) -> Vec<Rejection> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: CallEnd, ms: u64) -> Ended {
        Ended {
            end,
            cached: false,
            retries: 0,
            took: Duration::from_millis(ms),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_shares_and_quantiles_of_the_last_ten_seconds() {
        let mut rolling = Rolling::default();
        let start = Instant::now();
        for second in 0..10 {
            for ms in 1..=100 {
                rolling.begun();
                let end = if ms == 50 {
                    CallEnd::ToolError
                } else {
                    CallEnd::Ok
                };
                rolling.ended(ended(end, ms), start + Duration::from_secs(second));
            }
        }
        rolling.begun();
        let now = start + Duration::from_millis(9_999);
        let traffic = rolling.traffic(now);
        assert!((traffic.per_second - 100.0).abs() < 0.1, "{traffic:?}");
        assert!((traffic.error_share - 0.01).abs() < 1e-9);
        for (seen, true_ms) in [
            (traffic.p50_ms, 50.0),
            (traffic.p95_ms, 95.0),
            (traffic.p99_ms, 99.0),
        ] {
            assert!(
                (seen / true_ms - 1.0_f64).abs() < 0.06,
                "{seen} for {true_ms}"
            );
        }
        assert_eq!(
            (traffic.in_flight, traffic.calls, traffic.errors),
            (1, 1_000, 10)
        );
        let later = rolling.traffic(now + Duration::from_secs(11));
        assert_eq!(
            (later.per_second, later.p99_ms, later.calls),
            (0.0, 0.0, 1_000)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn refused_and_cancelled_calls_tell_nothing_of_answer_times() {
        let mut rolling = Rolling::default();
        let now = Instant::now();
        rolling.ended(ended(CallEnd::Rejected, 1), now);
        rolling.ended(ended(CallEnd::Cancelled, 90_000), now);
        let traffic = rolling.traffic(now);
        assert_eq!(
            (traffic.rejected, traffic.calls, traffic.p99_ms),
            (1, 1, 0.0)
        );
    }

    #[test]
    fn refusals_of_a_kind_are_one_row_and_rows_are_bounded() {
        let mut rows = Refusals::default();
        let server: ServerId = "fetch".parse().unwrap();
        for at in 0..12 {
            rows.note(
                RejectedBy::Limit,
                Some(&server),
                Some("get"),
                "n8n",
                "limit",
                at,
            );
        }
        for client in 0..200 {
            rows.note(
                RejectedBy::Queue,
                None,
                None,
                &client.to_string(),
                "full",
                20,
            );
        }
        assert_eq!(rows.view().len(), REFUSALS);
        rows.note(
            RejectedBy::Limit,
            Some(&server),
            Some("get"),
            "n8n",
            "limit",
            30,
        );
        let first = &rows.view()[0];
        assert_eq!(
            (first.first, first.last, first.count),
            (30, 30, 1),
            "the old row was forgotten"
        );
        rows.note(
            RejectedBy::Limit,
            Some(&server),
            Some("get"),
            "n8n",
            "other words",
            31,
        );
        let first = &rows.view()[0];
        assert_eq!((first.count, first.reason.as_str()), (2, "other words"));
    }

    #[test]
    fn the_ring_is_bounded_and_answers_newest_first() {
        let mut ring = Ring::new(3);
        for number in 0..5 {
            let server = if number % 2 == 0 { "even" } else { "odd" };
            ring.push(Arc::new(CallRecord {
                call: number,
                at: number,
                client: "n8n".into(),
                method: "tools/call".into(),
                server: Some(server.parse().unwrap()),
                instance: None,
                target: Some(format!("Tool{number}")),
                duration_ms: 1.0,
                upstream_ms: 1.0,
                bytes_in: 0,
                bytes_out: 0,
                end: if number == 3 {
                    CallEnd::Failed
                } else {
                    CallEnd::Ok
                },
                reason: (number == 3).then(|| "Broken".to_owned()),
                cached: false,
                retries: 0,
                stored: false,
                correlation: number.to_string(),
                trace: None,
            }));
        }
        let found = |query: CallQuery| -> Vec<u64> {
            ring.query(&query).iter().map(|call| call.call).collect()
        };
        assert_eq!(found(CallQuery::default()), [4, 3, 2]);
        assert_eq!(
            found(CallQuery {
                server: Some("even".parse().unwrap()),
                ..Default::default()
            }),
            [4, 2]
        );
        assert_eq!(
            found(CallQuery {
                text: Some("broken".into()),
                ..Default::default()
            }),
            [3]
        );
        assert_eq!(
            found(CallQuery {
                ends: vec![CallEnd::Failed],
                ..Default::default()
            }),
            [3]
        );
        assert_eq!(
            found(CallQuery {
                limit: Some(1),
                ..Default::default()
            }),
            [4]
        );
    }
}
