//! From instances to their server: one health object, one word.

use crate::{Desired, health::next_action};
use flotilla_contract::{
    InstanceView, Millis, ServerSpec,
    state::{HealthCode, HealthLevel, HealthReport, ProcessState, Status},
};

/// Health and word of a server, from what is wanted of it and what its instances are.
#[must_use]
pub fn summarize(
    spec: &ServerSpec,
    desired: Desired,
    instances: &[InstanceView],
    now: Millis,
) -> (HealthReport, Status) {
    let report = |level, code, sentence: String, since| HealthReport {
        level,
        since,
        code,
        sentence,
        action: next_action(code),
        checked_at: instances.iter().filter_map(|i| i.health.checked_at).max(),
        check_ms: None,
    };
    let since = instances
        .iter()
        .map(|i| i.health.since)
        .max()
        .unwrap_or(now);
    let at_rest = instances
        .iter()
        .all(|i| i.process.state == ProcessState::Stopped);
    if let (Some(why), true) = (&spec.disabled, at_rest) {
        return (
            report(
                HealthLevel::Unknown,
                HealthCode::Disabled,
                format!("Disabled: {why}"),
                since,
            ),
            Status::Disabled,
        );
    }
    let [first, rest @ ..] = instances else {
        let sentence = if desired.running {
            "Scaled to 0 replicas"
        } else {
            "Stopped: not started"
        };
        return (
            report(
                HealthLevel::Unknown,
                HealthCode::Stopped,
                sentence.into(),
                since,
            ),
            Status::Stopped,
        );
    };
    // Those of a server on demand that sleep while others run are no fault: nobody needs them.
    let awake: Vec<InstanceView> = instances
        .iter()
        .filter(|i| i.process.state != ProcessState::Sleeping)
        .cloned()
        .collect();
    if !awake.is_empty() && awake.len() < instances.len() {
        return summarize(spec, desired, &awake, now);
    }
    let worst = instances
        .iter()
        .min_by_key(|i| rank(i.status))
        .unwrap_or(first);
    if rest.is_empty()
        || instances
            .iter()
            .all(|i| i.process.state == ProcessState::Stopped)
    {
        return (first.health.clone(), worst.status);
    }
    let total = instances.len();
    let serving = |i: &&InstanceView| {
        matches!(
            i.status,
            Status::Running | Status::Unchecked | Status::Degraded
        )
    };
    let serve = instances.iter().filter(serving).count();
    let same = instances.iter().all(|i| i.status == first.status);
    if serve == total {
        let level = instances
            .iter()
            .map(|i| i.health.level)
            .find(|l| *l != HealthLevel::Healthy)
            .unwrap_or(HealthLevel::Healthy);
        let sentence = match level {
            HealthLevel::Healthy => format!("All {total} replicas answer as they should"),
            _ => format!("Replica {}: {}", worst.id.index, worst.health.sentence),
        };
        return (
            report(level, worst.health.code, sentence, since),
            worst.status,
        );
    }
    if serve > 0 && desired.running {
        let sentence = format!(
            "{serve} of {total} replicas serve. Replica {}: {}",
            worst.id.index, worst.health.sentence
        );
        // Replicas that are only on their way are no fault.
        if matches!(worst.status, Status::Starting) {
            return (
                report(
                    HealthLevel::Starting,
                    HealthCode::FirstAnswer,
                    sentence,
                    since,
                ),
                Status::Starting,
            );
        }
        let mut health = report(HealthLevel::Degraded, HealthCode::SomeDown, sentence, since);
        // What helps the whole is what helps its worst part.
        health.action = worst.health.action;
        return (health, Status::Degraded);
    }
    let sentence = if same && total > 1 {
        format!("All {total} replicas: {}", worst.health.sentence)
    } else {
        format!("Replica {}: {}", worst.id.index, worst.health.sentence)
    };
    (
        report(worst.health.level, worst.health.code, sentence, since),
        worst.status,
    )
}

/// The most alarming first.
fn rank(status: Status) -> u8 {
    match status {
        Status::Failed => 0,
        Status::Unhealthy => 1,
        Status::Restarting => 2,
        Status::Stale => 3,
        Status::Degraded => 4,
        Status::Starting => 5,
        Status::Stopping => 6,
        Status::Stopped => 7,
        Status::Unchecked => 8,
        Status::Running => 9,
        Status::Sleeping => 10,
        Status::Disabled => 11,
    }
}

/// The ceiling that a sample crosses, as a sentence.
#[must_use]
pub fn crossed(spec: &ServerSpec, sample: &flotilla_contract::state::Sample) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    if let Some(limit) = spec
        .limits
        .rss_bytes
        .filter(|limit| sample.rss_bytes > *limit)
    {
        return Some(format!(
            "memory ceiling: {} of {} allowed",
            mib(sample.rss_bytes),
            mib(limit)
        ));
    }
    let limit = spec
        .limits
        .children
        .filter(|limit| sample.children > *limit)?;
    Some(format!(
        "process ceiling: {} of {limit} child processes allowed",
        sample.children
    ))
}
