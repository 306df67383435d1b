//! Whether a failed call is tried again, and after how long.
//!
//! A call is tried again when its policy lists the class of the failure, tries are left, the budget allows it, and **either it
//! certainly did not run or running it twice is as good as once**. The last rule knows no exception: [`did_it_run`] says
//! `Maybe` in every doubtful case.
//!
//! Classes, waits and figures: seed document 004 and its upstream's retry policies; the classes `auth` and `validation`, and a
//! search that minds no case, are what upstream promises and lacks.

use crate::{chance::Chance, slots::Slots};
use flotilla_contract::gateway::{Backoff, FailureClass, RetrySpec};
use flotilla_mcp::Error;
use std::collections::VecDeque;
use tokio::time::{Duration, Instant};

/// Whether the server may have done the work of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// Certainly not. What the gateway itself refuses (breaker, limit, queue, no instance) is `No` as well.
    No,
    /// Perhaps, or partly.
    Maybe,
}

/// What is known about a call that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    /// Tries so far, the one that failed included: 1 or more.
    pub(crate) tries: u32,
    /// Why.
    pub(crate) class: FailureClass,
    /// Whether the server may have done the work.
    pub(crate) ran: Ran,
    /// Whether doing it twice is as good as once.
    pub(crate) idempotent: bool,
    /// How long the server wants to be left alone, when it said so.
    pub(crate) retry_after: Option<Duration>,
}

/// How long to wait before the next try; `None`: there is none. A retry that is granted is taken from the budget.
///
/// A server that wants to be left alone longer than the policy's longest wait is not asked again: sooner would fail as well.
pub(crate) fn next_try(
    spec: &RetrySpec,
    failed: Failed,
    budget: &mut Budget,
    recent: &Recent,
    now: Instant,
    chance: &mut Chance,
) -> Option<Duration> {
    let most = Duration::from_millis(spec.max_ms);
    let patience = failed.retry_after.unwrap_or(Duration::ZERO);
    let wanted = failed.tries < spec.attempts
        && failed.class != FailureClass::NonRetryable
        && spec.on.contains(&failed.class)
        && patience <= most;
    let safe = failed.ran == Ran::No || failed.idempotent;
    if !(wanted && safe && budget.retry(spec.budget, now)) {
        return None;
    }
    let retry = failed.tries.saturating_sub(1);
    Some(wait(spec, retry, recent, chance).max(patience))
}

/// The wait before retry number `retry`, counted from 0.
fn wait(spec: &RetrySpec, retry: u32, recent: &Recent, chance: &mut Chance) -> Duration {
    let base = as_f64(spec.base_ms);
    let step = i32::try_from(retry).unwrap_or(i32::MAX);
    let plain = match spec.strategy {
        Backoff::Linear => base + f64::from(retry) * as_f64(spec.step_ms),
        Backoff::Exponential => base * spec.multiplier.powi(step),
        Backoff::Adaptive => base * spec.multiplier.powi(step) * recent.factor(),
    };
    let swung = plain * (1.0 + spec.jitter.clamp(0.0, 1.0) * chance.swing());
    // Not `clamp`: of a figure that is no number, the longest wait is made.
    Duration::from_secs_f64(as_f64(spec.max_ms).min(swung).max(0.0) / 1e3)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 285,000 years in milliseconds"
)]
fn as_f64(ms: u64) -> f64 {
    ms as f64
}

/// How the last 20 calls ended, for the adaptive strategy.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<bool>);

impl Recent {
    const SIZE: usize = 20;

    pub(crate) fn note(&mut self, success: bool) {
        if self.0.len() == Self::SIZE {
            self.0.pop_front();
        }
        self.0.push_back(success);
    }

    /// 0.5 above four of five successes, 2 below three of ten, else 1. With fewer than 20 calls, those that there are count.
    pub(crate) fn factor(&self) -> f64 {
        let (all, good) = (self.0.len(), self.0.iter().filter(|good| **good).count());
        match good * 10 {
            _ if all == 0 => 1.0,
            tenths if tenths > all * 8 => 0.5,
            tenths if tenths < all * 3 => 2.0,
            _ => 1.0,
        }
    }
}

/// Keeps retries from becoming the load: over the last ten seconds, no more of them than a share of the calls. Three are
/// always allowed.
#[derive(Debug)]
pub(crate) struct Budget {
    seconds: Slots<Spent, 10>,
}

#[derive(Debug, Default)]
struct Spent {
    calls: u32,
    retries: u32,
}

impl Budget {
    const ALWAYS: f64 = 3.0;

    pub(crate) fn new(now: Instant) -> Self {
        Self {
            seconds: Slots::new(Duration::from_secs(1), now),
        }
    }

    /// A call is sent for the first time.
    pub(crate) fn sent(&mut self, now: Instant) {
        let spent = self.seconds.at(now);
        spent.calls = spent.calls.saturating_add(1);
    }

    /// Takes a retry, if one is left.
    fn retry(&mut self, share: f64, now: Instant) -> bool {
        let (mut calls, mut retries) = (0.0, 0.0);
        for spent in self.seconds.live(now) {
            calls += f64::from(spent.calls);
            retries += f64::from(spent.retries);
        }
        let allowed = retries + 1.0 <= (share * calls).max(Self::ALWAYS);
        if allowed {
            self.seconds.at(now).retries += 1;
        }
        allowed
    }
}

/// Whether the server may have done the work, judged by how the session failed.
///
/// `Closed` is `Maybe` although a session that was over beforehand sends nothing: the error is the same. Whoever looked at
/// [`closed_reason`](flotilla_mcp::Session::closed_reason) before sending knows better. A JSON-RPC error is `Maybe` whatever
/// its code: tools pass on the codes of servers that they call themselves.
pub(crate) fn did_it_run(error: &Error) -> Ran {
    match error {
        // Nothing was sent, or only a greeting was.
        Error::Unreachable(_) | Error::Busy(_) | Error::DiedOnDiscover(_) | Error::OldTransport => {
            Ran::No
        }
        // The server did not know the session, and refuses before it looks at the request.
        Error::SessionLost(_) => Ran::No,
        // The listener, or what stands before it, turned the request away.
        Error::Http {
            status: 401 | 403 | 404 | 405 | 406 | 413 | 415 | 421 | 429,
            ..
        } => Ran::No,
        Error::Http { .. }
        | Error::Timeout(_)
        | Error::Cancelled
        | Error::Closed(_)
        | Error::Rpc { .. }
        | Error::Protocol(_)
        | Error::Interrupted(_) => Ran::Maybe,
    }
}

/// Why there is no answer, as far as trying again is concerned.
pub(crate) fn classify(error: &Error) -> FailureClass {
    match error {
        Error::Timeout(_) => FailureClass::Timeout,
        Error::Busy(_) => FailureClass::Retryable,
        Error::Cancelled | Error::Protocol(_) | Error::OldTransport => FailureClass::NonRetryable,
        Error::Rpc { code, message, .. } => classify_rpc(*code, message),
        Error::Http { status, message } => {
            by_status(*status).unwrap_or_else(|| classify_text(message))
        }
        Error::Closed(_)
        | Error::DiedOnDiscover(_)
        | Error::Unreachable(_)
        | Error::Interrupted(_)
        | Error::SessionLost(_) => FailureClass::Network,
    }
}

/// The class of a JSON-RPC error. Codes: JSON-RPC 2.0, MCP, and those of the SDK for TypeScript.
pub(crate) fn classify_rpc(code: i64, message: &str) -> FailureClass {
    match code {
        // The request is no JSON, no request, of no known method; no such resource; a protocol version, header or capability
        // that does not fit; the user is to open a page first; cancelled.
        -32_700 | -32_600 | -32_601 | -32_002 | -32_042 | -32_022..=-32_020 | -32_800 => {
            FailureClass::NonRetryable
        }
        -32_602 => FailureClass::Validation,
        -32_001 if matches!(classify_text(message), FailureClass::Retryable) => {
            FailureClass::Timeout
        }
        _ => u16::try_from(code)
            .ok()
            .and_then(by_status)
            .unwrap_or_else(|| classify_text(message)),
    }
}

/// The class of an error that is known by its words only, for instance the text of a tool's error.
pub(crate) fn classify_text(text: &str) -> FailureClass {
    let text = text.to_lowercase();
    if let Some(class) = status_in(&text).and_then(by_status) {
        return class;
    }
    WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| text.contains(word)))
        .map_or(FailureClass::Retryable, |(class, _)| *class)
}

/// Words that tell a class, in lower case; the first class that has one of them counts.
const WORDS: &[(FailureClass, &[&str])] = &[
    (
        FailureClass::NonRetryable,
        &["cancelled", "canceled", "cancellation", "method not found"],
    ),
    (
        FailureClass::Throttled,
        &[
            "rate limit",
            "rate-limit",
            "ratelimit",
            "throttl",
            "too many requests",
            "quota exceeded",
            "rate exceeded",
        ],
    ),
    (
        FailureClass::Network,
        &[
            "connection refused",
            "connection reset",
            "connection timeout",
            "connection timed out",
            "econnrefused",
            "econnreset",
            "network unreachable",
            "network is unreachable",
            "no route to host",
            "dial tcp",
            "i/o timeout",
            "broken pipe",
            "bad gateway",
            "service unavailable",
        ],
    ),
    (
        FailureClass::Timeout,
        &["timeout", "timed out", "deadline exceeded"],
    ),
    (
        FailureClass::Auth,
        &[
            "unauthorized",
            "unauthorised",
            "unauthenticated",
            "authentication",
            "forbidden",
            "permission denied",
            "access denied",
            "invalid token",
            "invalid api key",
        ],
    ),
    (
        FailureClass::Validation,
        &["invalid", "validation", "unprocessable"],
    ),
];

/// The class of an HTTP status, where it tells one.
fn by_status(status: u16) -> Option<FailureClass> {
    Some(match status {
        401 | 403 | 407 => FailureClass::Auth,
        400 | 422 => FailureClass::Validation,
        408 => FailureClass::Timeout,
        429 => FailureClass::Throttled,
        501 | 505 => FailureClass::NonRetryable,
        502..=504 => FailureClass::Network,
        500 | 506..=599 => FailureClass::Retryable,
        402..=499 => FailureClass::NonRetryable,
        _ => return None,
    })
}

/// An HTTP status that is named as one in a text in lower case: "http 503", "status code: 401", "error 429". A number elsewhere
/// ("row 401 is missing") is none.
fn status_in(text: &str) -> Option<u16> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '/')
        .map(|word| word.trim_matches(['.', '/']))
        .filter(|word| !word.is_empty())
        .collect();
    words.windows(2).find_map(|pair| {
        let named = matches!(pair[0], "http" | "status" | "code" | "error" | "statuscode")
            || pair[0].starts_with("http/");
        let status = pair[1].parse().ok()?;
        (named && (400..600).contains(&status)).then_some(status)
    })
}

#[cfg(test)]
mod tests;
