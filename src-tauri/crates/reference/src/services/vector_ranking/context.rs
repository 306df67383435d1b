//! How well a document fits the searcher's situation: how recent it is, and which categories it is in.

use crate::tool::Refusal;
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use std::collections::BTreeSet;

/// A document this many days old is no longer recent at all.
pub(super) const RECENT_DAYS: f64 = 365.0;

const DAY_MS: f64 = 86_400_000.0;

/// 0 to 1, from the age in milliseconds: falls evenly over a year. What comes from the future is as recent as can be.
pub(super) fn recency(age_ms: f64) -> f64 {
    (1.0 - age_ms / DAY_MS / RECENT_DAYS).clamp(0.0, 1.0)
}

/// Share of the wanted categories that a document is in, 0 to 1.
pub(super) fn overlap(wanted: &BTreeSet<String>, has: &BTreeSet<String>) -> f64 {
    if wanted.is_empty() {
        return 0.0;
    }
    wanted.intersection(has).count() as f64 / wanted.len() as f64
}

/// Categories as they are compared: trimmed, in lower case, each once.
pub(super) fn categories(names: &[String]) -> BTreeSet<String> {
    names
        .iter()
        .map(|name| name.trim().to_lowercase())
        .collect()
}

/// `recency_weight` × recency + overlap, at most 1 (the original system's rule).
pub(super) fn relevance(recency_weight: f64, recency: f64, overlap: f64) -> f64 {
    (recency_weight * recency + overlap).min(1.0)
}

/// Milliseconds since 1970 of an ISO 8601 date or time; in UTC unless it names an offset.
pub(super) fn parse_ms(field: &str, text: &str) -> Result<i64, Refusal> {
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<DateTime>().ok()?;
        Offset::UTC.to_timestamp(civil).ok()
    });
    time.map(Timestamp::as_millisecond).ok_or_else(|| {
        Refusal::argument(
            field,
            format!("{text:?} is no ISO 8601 date or time, as 2025-01-31 or 2025-01-31T12:00:00Z"),
        )
    })
}
