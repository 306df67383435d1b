//! Which instance a call goes to, and what its end says about the instance.
//!
//! A candidate serves, is not set aside, has a score above 0.1 and a free place (score and figures: seed document 004 and its
//! upstream's load balancer, which never let an instance back that had fallen to 0.1).
//!
//! **Set aside.** After three failures in a row an instance gets no calls for 30 s, then for twice that, and so on up to
//! 5 min. Then one call at a time goes there on trial, before any other instance is looked at: each trial is one call, and a
//! way of choosing that prefers the best would never try it otherwise. Two successes bring it back, a failure sets it aside
//! again. The last one that could be chosen is never set aside: a bad instance is better than none.

use crate::chance::Chance;
use flotilla_contract::gateway::{Balance, EndpointView};
use std::collections::BTreeMap;
use tokio::time::{Duration, Instant};

/// Failures in a row that set an instance aside.
const FAILURES: u32 = 3;
/// Successes in a row that bring it back.
const SUCCESSES: u32 = 2;
/// How long it is set aside the first time.
const ASIDE: Duration = Duration::from_secs(30);
/// How long at most; and after this long without being set aside, the next time counts as the first again.
const ASIDE_MOST: Duration = Duration::from_secs(300);
/// At or below this score an instance gets calls only when no other is left.
const SCORE_LEAST: f64 = 0.1;
/// Weight of the latest answer in the smoothed answer time.
const ALPHA: f64 = 0.2;
/// An answer time counts half after this long without another, so that an instance that was slow once is tried again.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// One instance as the balancer sees it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Its index, from 1.
    pub(crate) instance: u32,
    /// With `weighted_round_robin`: its weight.
    pub(crate) weight: u32,
    /// Calls under way at once.
    pub(crate) max_in_flight: u32,
    /// Whether it serves, as the supervisor sees it.
    pub(crate) available: bool,
    in_flight: u32,
    score: f64,
    response_ms: f64,
    /// When it last answered.
    answered: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    standing: Standing,
    /// How often it was set aside lately.
    times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    /// It gets calls, since then.
    Full(Option<Instant>),
    /// It gets none until then; afterwards calls on trial, of which so many succeeded.
    Aside { until: Instant, successes: u32 },
}

/// Why there is no instance for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoneFit {
    /// None serves.
    NoInstance,
    /// Those that serve have no free place.
    AllFull,
}

impl Endpoint {
    /// One that serves and about which nothing is known.
    pub(crate) fn new(instance: u32, weight: u32, max_in_flight: u32) -> Self {
        Self {
            instance,
            weight,
            max_in_flight,
            available: true,
            in_flight: 0,
            score: 1.0,
            response_ms: 0.0,
            answered: None,
            failures: 0,
            standing: Standing::Full(None),
            times: 0,
        }
    }

    /// A call goes there: takes a place.
    pub(crate) fn take(&mut self) {
        self.in_flight += 1;
    }

    /// A call is over, however it ended: frees its place.
    pub(crate) fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Calls under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// A new process runs in its place: what was known says nothing about it. Calls under way stay counted.
    pub(crate) fn anew(&mut self) {
        *self = Self {
            in_flight: self.in_flight,
            available: self.available,
            ..Self::new(self.instance, self.weight, self.max_in_flight)
        };
    }

    /// How it is shown.
    pub(crate) fn view(&self, now: Instant, server: &flotilla_contract::ServerId) -> EndpointView {
        let reason = self.reason(now);
        EndpointView {
            instance: server.instance(self.instance),
            score: self.score,
            available: reason.is_none(),
            reason,
            response_ms: self.response_ms,
            in_flight: self.in_flight,
            failures: self.failures,
        }
    }

    /// Why it gets no calls, or only some, as a sentence without a final period.
    fn reason(&self, now: Instant) -> Option<String> {
        match self.standing {
            _ if !self.available => Some("Does not serve".to_owned()),
            Standing::Aside { until, .. } if now < until => Some(format!(
                "Set aside after failures; tried again in {} s",
                (until - now).as_secs() + 1
            )),
            Standing::Aside { successes, .. } => Some(format!(
                "On trial after failures, {successes} of {SUCCESSES} good answers in a row"
            )),
            Standing::Full(_) => None,
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.max_in_flight
    }

    fn is_full_member(&self) -> bool {
        self.available && matches!(self.standing, Standing::Full(_))
    }

    fn is_due_for_trial(&self, now: Instant) -> bool {
        self.available
            && self.in_flight == 0
            && self.has_room()
            && matches!(self.standing, Standing::Aside { until, .. } if until <= now)
    }

    /// The smoothed answer time, fading while no answer comes.
    fn response(&self, now: Instant) -> f64 {
        let idle = self
            .answered
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.response_ms * (-idle.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }

    /// How long a call would take there, roughly: those under way and itself, at the answer time.
    fn load(&self, now: Instant) -> f64 {
        (f64::from(self.in_flight) + 1.0) * (self.response(now) + 0.001)
    }

    fn on_success(&mut self, now: Instant, ms: f64) {
        self.failures = 0;
        self.score += (1.0 - self.score) * 0.1;
        self.measure(now, ms);
        if let Standing::Aside { successes, .. } = &mut self.standing {
            *successes += 1;
            if *successes >= SUCCESSES {
                self.standing = Standing::Full(Some(now));
                self.score = self.score.max(2.0 * SCORE_LEAST);
            }
        }
    }

    fn on_failure(&mut self, now: Instant, ms: f64) {
        self.failures = self.failures.saturating_add(1);
        self.score *= 0.8;
        // One that fails at once is not quick.
        if self.answered.is_some() && ms > self.response_ms {
            self.measure(now, ms);
        }
    }

    fn measure(&mut self, now: Instant, ms: f64) {
        self.response_ms = match self.answered {
            None => ms,
            Some(_) => self.response_ms + ALPHA * (ms - self.response_ms),
        };
        self.answered = Some(now);
    }

    fn set_aside(&mut self, now: Instant) {
        if let Standing::Full(Some(since)) = self.standing
            && now.saturating_duration_since(since) > ASIDE_MOST
        {
            self.times = 0;
        }
        self.times = self.times.saturating_add(1);
        self.standing = Standing::Aside {
            until: now + ASIDE.saturating_mul(self.times).min(ASIDE_MOST),
            successes: 0,
        };
    }
}

/// A call to `endpoints[at]` is over and says something about the instance. (One that was cancelled says nothing:
/// [`Endpoint::release`] is all.)
pub(crate) fn observe(endpoints: &mut [Endpoint], at: usize, success: bool, ms: f64, now: Instant) {
    let others = endpoints
        .iter()
        .enumerate()
        .any(|(i, other)| i != at && other.is_full_member());
    let Some(endpoint) = endpoints.get_mut(at) else {
        return;
    };
    if success {
        endpoint.on_success(now, ms);
        return;
    }
    endpoint.on_failure(now, ms);
    match endpoint.standing {
        Standing::Full(_) if endpoint.failures >= FAILURES && others => endpoint.set_aside(now),
        // A call that went there before it was set aside is no trial.
        Standing::Aside { until, .. } if until <= now => endpoint.set_aside(now),
        _ => {}
    }
}

/// Chooses, and remembers whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Pick {
    /// The instance that had its turn last.
    last: u32,
    /// With `weighted_round_robin`: what each instance is owed.
    owed: BTreeMap<u32, i64>,
}

impl Pick {
    /// The place in `endpoints` of the instance that the next call goes to. Those in `not` (indices of instances, for
    /// instance the one that has just failed) are chosen only when no other has room.
    pub(crate) fn choose(
        &mut self,
        how: Balance,
        endpoints: &[Endpoint],
        not: &[u32],
        now: Instant,
        chance: &mut Chance,
    ) -> Result<usize, NoneFit> {
        let wanted = |at: &usize| !not.contains(&endpoints[*at].instance);
        let trial =
            (0..endpoints.len()).find(|at| wanted(at) && endpoints[*at].is_due_for_trial(now));
        if let Some(at) = trial {
            return Ok(at);
        }
        let mut open = pool(endpoints)?;
        open.retain(|at| endpoints[*at].has_room());
        if open.iter().any(wanted) {
            open.retain(wanted);
        }
        if open.is_empty() {
            return Err(NoneFit::AllFull);
        }
        Ok(self.among(how, endpoints, &open, now, chance))
    }

    /// One of `open`, which is not empty and in rising order. Ties go to the first.
    fn among(
        &mut self,
        how: Balance,
        endpoints: &[Endpoint],
        open: &[usize],
        now: Instant,
        chance: &mut Chance,
    ) -> usize {
        let lowest = |of: &dyn Fn(&Endpoint) -> f64, among: &[usize]| {
            let least = among
                .iter()
                .copied()
                .min_by(|a, b| of(&endpoints[*a]).total_cmp(&of(&endpoints[*b])));
            least.unwrap_or(open[0])
        };
        match how {
            Balance::P2c => lowest(&|e| e.load(now), &two_of(open, chance)),
            Balance::RoundRobin => self.in_turn(endpoints, open),
            Balance::LeastConnections => lowest(&|e| f64::from(e.in_flight), open),
            Balance::WeightedRoundRobin => self.by_weight(endpoints, open),
            Balance::Random => open[chance.below(open.len())],
            Balance::HealthBased => lowest(&|e| -e.score, open),
            Balance::ResponseTimeBased => lowest(&|e| e.response(now), open),
        }
    }

    /// The next after the one that had its turn last, whoever came or went meanwhile.
    fn in_turn(&mut self, endpoints: &[Endpoint], open: &[usize]) -> usize {
        let instance = |at: &usize| endpoints[*at].instance;
        let next = open
            .iter()
            .filter(|at| instance(at) > self.last)
            .min_by_key(|at| instance(at))
            .or_else(|| open.iter().min_by_key(|at| instance(at)));
        let at = next.copied().unwrap_or(open[0]);
        self.last = endpoints[at].instance;
        at
    }

    /// Smooth weighted round robin, as nginx does it: in each full turn everyone comes as often as its weight, spread out.
    fn by_weight(&mut self, endpoints: &[Endpoint], open: &[usize]) -> usize {
        let weight = |at: usize| i64::from(endpoints[at].weight);
        let total: i64 = open.iter().map(|at| weight(*at)).sum();
        if total == 0 {
            return self.in_turn(endpoints, open);
        }
        self.owed
            .retain(|instance, _| endpoints.iter().any(|e| e.instance == *instance));
        for at in open {
            *self.owed.entry(endpoints[*at].instance).or_default() += weight(*at);
        }
        let owed = |at: usize| self.owed.get(&endpoints[at].instance).copied().unwrap_or(0);
        let mut best = open[0];
        for at in open.iter().copied().filter(|at| weight(*at) > 0) {
            if weight(best) == 0 || owed(at) > owed(best) {
                best = at;
            }
        }
        *self.owed.entry(endpoints[best].instance).or_default() -= total;
        best
    }
}

/// Those that a call may go to, full or not: the good ones; if there is none, those not set aside; then whatever serves.
fn pool(endpoints: &[Endpoint]) -> Result<Vec<usize>, NoneFit> {
    let serving = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<usize> {
        (0..endpoints.len())
            .filter(|at| endpoints[*at].available && wanted(&endpoints[*at]))
            .collect()
    };
    let tiers: [&dyn Fn(&Endpoint) -> bool; 3] = [
        &|e| e.is_full_member() && e.score > SCORE_LEAST,
        &|e| e.is_full_member(),
        &|_| true,
    ];
    tiers
        .into_iter()
        .map(serving)
        .find(|members| !members.is_empty())
        .ok_or(NoneFit::NoInstance)
}

/// Two different ones by lot, in order; the only one, if it is.
fn two_of(open: &[usize], chance: &mut Chance) -> Vec<usize> {
    if open.len() < 2 {
        return open.to_vec();
    }
    let a = chance.below(open.len());
    let mut b = chance.below(open.len() - 1);
    if b >= a {
        b += 1;
    }
    vec![open[a.min(b)], open[a.max(b)]]
}

#[cfg(test)]
mod tests;
