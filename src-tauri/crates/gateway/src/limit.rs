//! Rate limits: a token bucket for each client and tool, a sliding window for each client, and who met them.
//!
//! Figures and the faults that are not repeated: seed documents 002 and 003 and their upstreams' limiters. A bucket fills
//! continuously, not by whole intervals, and looking at it does not count as using it.
//!
//! **Bounded.** At most 10,000 buckets and 10,000 windows: a new one beyond that takes the place of the one that has been idle
//! longest. What has been idle for ten minutes (a window: for its whole length as well) is dropped by [`Limits::sweep`].

use crate::slots::Slots;
use flotilla_contract::{
    Millis,
    gateway::{Bucket, GatewaySpec, LimitMet, LimitsView, Window},
};
use std::collections::{HashMap, VecDeque};
use tokio::time::{Duration, Instant};

/// Buckets, and windows, in memory.
const MOST: usize = 10_000;
/// Clients and tools remembered as refused.
const MOST_MET: usize = 1_000;
/// Kept this long without use.
const IDLE: Duration = Duration::from_secs(600);

/// How far a limit is used up, for the headers of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    /// Calls at most.
    pub(crate) limit: u32,
    /// Calls left now.
    pub(crate) remaining: u32,
    /// When all of them are there again, if no call comes.
    pub(crate) reset: Duration,
}

/// A limit is used up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) standing: Standing,
    /// When the next call would be let through.
    pub(crate) retry_after: Duration,
}

/// Both limits, each only where it is declared, and who met them.
#[derive(Debug)]
pub(crate) struct Limits {
    buckets: Option<Buckets>,
    windows: Option<Windows>,
    met: Met,
}

impl Limits {
    pub(crate) fn new(spec: &GatewaySpec) -> Self {
        Self {
            buckets: spec.tool_rate.map(Buckets::new),
            windows: spec.client_rate.map(Windows::new),
            met: Met::default(),
        }
    }

    /// Other figures from now on; what is used up stays so.
    pub(crate) fn refit(&mut self, spec: &GatewaySpec) {
        self.buckets = spec.tool_rate.map(|rate| match self.buckets.take() {
            Some(buckets) => Buckets { rate, ..buckets },
            None => Buckets::new(rate),
        });
        self.windows = spec.client_rate.map(|rate| match self.windows.take() {
            Some(windows) => Windows { rate, ..windows },
            None => Windows::new(rate),
        });
    }

    /// A request of any kind comes. `None`: nothing limits it.
    pub(crate) fn request(
        &mut self,
        client: &str,
        now: Instant,
        wall: Millis,
    ) -> Option<Result<Standing, Refused>> {
        let verdict = self.windows.as_mut()?.take(client, now);
        if verdict.is_err() {
            self.met.note(client, None, now, wall);
        }
        Some(verdict)
    }

    /// A call of a tool, by any name that is always the same for it, comes. `None`: nothing limits it.
    pub(crate) fn call(
        &mut self,
        client: &str,
        tool: &str,
        now: Instant,
        wall: Millis,
    ) -> Option<Result<Standing, Refused>> {
        let verdict = self.buckets.as_mut()?.take(client, tool, now);
        if verdict.is_err() {
            self.met.note(client, Some(tool), now, wall);
        }
        Some(verdict)
    }

    /// Drops what has been idle for long. Meant to be called once a minute.
    pub(crate) fn sweep(&mut self, now: Instant) {
        if let Some(buckets) = &mut self.buckets {
            buckets.sweep(now);
        }
        if let Some(windows) = &mut self.windows {
            windows.sweep(now);
        }
        self.met.sweep(now);
    }

    /// `None` when no limit is declared.
    pub(crate) fn view(&self, now: Instant) -> Option<LimitsView> {
        if self.buckets.is_none() && self.windows.is_none() {
            return None;
        }
        let met = self.met.list(now);
        let tracked = self.buckets.as_ref().map_or(0, |b| b.known)
            + self.windows.as_ref().map_or(0, |w| w.clients.len());
        Some(LimitsView {
            tool_rate: self.buckets.as_ref().map(|b| b.rate),
            client_rate: self.windows.as_ref().map(|w| w.rate),
            tracked: count(tracked),
            refused: met.iter().map(|met| met.refused).sum(),
            met,
        })
    }
}

// ---------------------------------------------------------------------------------------------- buckets

/// Token buckets, one for each client and tool.
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: Bucket,
    clients: HashMap<String, HashMap<String, Tokens>>,
    /// Buckets in all.
    known: usize,
}

#[derive(Debug)]
struct Tokens {
    left: f64,
    /// When it was last filled, and used: both happen at every call, and only then.
    used: Instant,
}

impl Buckets {
    pub(crate) fn new(rate: Bucket) -> Self {
        Self {
            rate,
            clients: HashMap::new(),
            known: 0,
        }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(
        &mut self,
        client: &str,
        tool: &str,
        now: Instant,
    ) -> Result<Standing, Refused> {
        let rate = self.rate;
        let tokens = self.tokens(client, tool, now);
        tokens.left = tokens.by(now, rate);
        tokens.used = tokens.used.max(now);
        // A token is there also when it is short of it by no more than what adding up fractions loses.
        let taken = tokens.left + 1e-9 >= 1.0;
        if taken {
            tokens.left = (tokens.left - 1.0).max(0.0);
        }
        let left = tokens.left;
        let standing = Standing {
            limit: rate.burst,
            remaining: whole(left),
            reset: seconds((f64::from(rate.burst) - left) / rate.per_second),
        };
        if taken {
            Ok(standing)
        } else {
            // Rounded up, so that who comes then is not a billionth of a second early.
            let exact = seconds((1.0 - left) / rate.per_second);
            let retry_after = exact.saturating_add(Duration::from_nanos(1));
            Err(Refused {
                standing,
                retry_after,
            })
        }
    }

    fn tokens(&mut self, client: &str, tool: &str, now: Instant) -> &mut Tokens {
        let is_known = self
            .clients
            .get(client)
            .is_some_and(|tools| tools.contains_key(tool));
        if !is_known {
            if self.known >= MOST {
                self.drop_longest_idle();
            }
            self.known += 1;
        }
        let full = f64::from(self.rate.burst);
        self.clients
            .entry(client.to_owned())
            .or_default()
            .entry(tool.to_owned())
            .or_insert(Tokens {
                left: full,
                used: now,
            })
    }

    /// Looks at all of them, which takes some 50 µs, and only for new clients once all places are taken.
    fn drop_longest_idle(&mut self) {
        let all = self.clients.iter().flat_map(|(client, tools)| {
            tools
                .iter()
                .map(move |(tool, tokens)| (tokens.used, client, tool))
        });
        if let Some((_, client, tool)) = all.min_by_key(|(used, ..)| *used) {
            let (client, tool) = (client.clone(), tool.clone());
            self.retain(|c, t, _| (c, t) != (client.as_str(), tool.as_str()));
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.retain(|_, _, tokens| !is_idle(tokens.used, IDLE, now));
    }

    fn retain(&mut self, keep: impl Fn(&str, &str, &Tokens) -> bool) {
        for (client, tools) in &mut self.clients {
            tools.retain(|tool, tokens| keep(client, tool, tokens));
        }
        self.clients.retain(|_, tools| !tools.is_empty());
        self.known = self.clients.values().map(HashMap::len).sum();
    }
}

impl Tokens {
    /// How many there are by now.
    fn by(&self, now: Instant, rate: Bucket) -> f64 {
        let since = now.saturating_duration_since(self.used).as_secs_f64();
        (self.left + since * rate.per_second).min(f64::from(rate.burst))
    }
}

// ---------------------------------------------------------------------------------------------- windows

/// Sliding windows, one for each client: an exact log of the requests that were let through, never longer than the limit.
#[derive(Debug)]
pub(crate) struct Windows {
    rate: Window,
    clients: HashMap<String, Log>,
}

#[derive(Debug)]
struct Log {
    /// When the requests in the window were let through, the oldest first.
    passed: VecDeque<Instant>,
    used: Instant,
}

impl Windows {
    pub(crate) fn new(rate: Window) -> Self {
        Self {
            rate,
            clients: HashMap::new(),
        }
    }

    /// Lets a request through, if there are not too many in the window that ends now.
    pub(crate) fn take(&mut self, client: &str, now: Instant) -> Result<Standing, Refused> {
        let (span, limit) = (self.span(), self.limit());
        if !self.clients.contains_key(client) {
            self.make_room();
        }
        let log = self.clients.entry(client.to_owned()).or_insert(Log {
            passed: VecDeque::new(),
            used: now,
        });
        log.used = log.used.max(now);
        while log.passed.front().is_some_and(|at| *at + span <= now) {
            log.passed.pop_front();
        }
        let passes = log.passed.len() < limit;
        if passes {
            log.passed.push_back(now);
        }
        // The limit may have been lowered: the request that makes room is then not the oldest.
        let makes_room = log.passed.len().saturating_sub(limit);
        let oldest = log.passed.get(makes_room).copied();
        let standing = self.status(client, now);
        if passes {
            return Ok(standing);
        }
        let free = oldest.map_or(now, |at| at + span);
        Err(Refused {
            standing,
            retry_after: free.saturating_duration_since(now),
        })
    }

    /// How far the window is used up; nothing is taken.
    pub(crate) fn status(&self, client: &str, now: Instant) -> Standing {
        let span = self.span();
        let log = self.clients.get(client);
        let passed = log.map(|log| &log.passed);
        let gone = passed.map_or(0, |all| all.partition_point(|at| *at + span <= now));
        let within = passed.map_or(0, VecDeque::len) - gone;
        let reset = passed
            .and_then(|all| all.back())
            .map_or(now, |newest| *newest + span);
        Standing {
            limit: count(self.limit()),
            remaining: count(self.limit().saturating_sub(within)),
            reset: reset.saturating_duration_since(now),
        }
    }

    fn make_room(&mut self) {
        if self.clients.len() < MOST {
            return;
        }
        let idlest = self.clients.iter().min_by_key(|(_, log)| log.used);
        if let Some(client) = idlest.map(|(client, _)| client.clone()) {
            self.clients.remove(&client);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let idle = IDLE.max(self.span());
        self.clients.retain(|_, log| !is_idle(log.used, idle, now));
    }

    fn span(&self) -> Duration {
        Duration::from_millis(self.rate.span_ms)
    }

    /// At most a million, so that a log has an end.
    fn limit(&self) -> usize {
        usize::try_from(self.rate.requests.min(1_000_000)).unwrap_or(1_000_000)
    }
}

// ---------------------------------------------------------------------------------------------- who met them

/// Who was refused in the last 30 minutes, counted by minutes.
#[derive(Debug, Default)]
struct Met {
    rows: HashMap<(String, Option<String>), MetRow>,
}

#[derive(Debug)]
struct MetRow {
    refused: Slots<u32, 30>,
    at: Instant,
    wall: Millis,
}

impl Met {
    const SPAN: Duration = Duration::from_secs(30 * 60);

    fn note(&mut self, client: &str, tool: Option<&str>, now: Instant, wall: Millis) {
        let key = (client.to_owned(), tool.map(str::to_owned));
        if self.rows.len() >= MOST_MET && !self.rows.contains_key(&key) {
            self.drop_longest_ago();
        }
        let row = self.rows.entry(key).or_insert_with(|| MetRow {
            refused: Slots::new(Duration::from_secs(60), now),
            at: now,
            wall,
        });
        *row.refused.at(now) += 1;
        (row.at, row.wall) = (row.at.max(now), row.wall.max(wall));
    }

    fn drop_longest_ago(&mut self) {
        let oldest = self.rows.iter().min_by_key(|(_, row)| row.at);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.rows.remove(&key);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.rows.retain(|_, row| !is_idle(row.at, Self::SPAN, now));
    }

    /// The most refused first; equal ones by name.
    fn list(&self, now: Instant) -> Vec<LimitMet> {
        let mut met: Vec<LimitMet> = self
            .rows
            .iter()
            .map(|((client, tool), row)| LimitMet {
                client: client.clone(),
                tool: tool.clone(),
                refused: row.refused.live(now).map(|n| u64::from(*n)).sum(),
                last: row.wall,
            })
            .filter(|met| met.refused > 0)
            .collect();
        met.sort_by(|a, b| (b.refused, &a.client, &a.tool).cmp(&(a.refused, &b.client, &b.tool)));
        met
    }
}

fn is_idle(used: Instant, limit: Duration, now: Instant) -> bool {
    now.saturating_duration_since(used) > limit
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Seconds as a duration; what is too long for one, or no number, is the longest.
fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX)
}

/// The whole tokens in a bucket. `as` saturates, so nothing is lost but the fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 1,000,000"
)]
fn whole(tokens: f64) -> u32 {
    (tokens + 1e-9).floor() as u32
}

#[cfg(test)]
mod tests;
