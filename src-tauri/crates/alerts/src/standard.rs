//! The rules that come with Flotilla. Thresholds: those of the deployment checklist and of the runbook, on the series that the engine keeps.

use flotilla_contract::alert::{AlertRule, Severity};
use std::collections::BTreeMap;

/// Minutes in milliseconds.
const MIN: u64 = 60_000;

/// Name, expression, `for` in milliseconds, severity, what it is about (label `about`, unless empty), summary, description.
type Row = (
    &'static str,
    &'static str,
    u64,
    Severity,
    &'static str,
    &'static str,
    &'static str,
);

const RULES: &[Row] = &[
    (
        "ServerFailed",
        "max by (server, instance) (flotilla_failed) > 0",
        0,
        Severity::Critical,
        "",
        "{{ server }} has failed",
        "Its process ended more often than its restart policy allows, or it cannot be started. Its log says why; a start begins anew.",
    ),
    (
        "ServerUnhealthy",
        "min by (server, instance) (flotilla_health) < 0.5",
        MIN,
        Severity::Warning,
        "",
        "{{ server }} is unhealthy",
        "It runs, but its health check fails. Its health says what was asked and answered.",
    ),
    (
        "ServerRestarted",
        "max by (server, instance) (increase(flotilla_restarts_total[10m])) > 0",
        0,
        Severity::Info,
        "",
        "{{ server }} was restarted",
        "Its process ended and was started again within the last ten minutes.",
    ),
    (
        "ServerRestartsOften",
        "max by (server, instance) (increase(flotilla_restarts_total[10m])) >= 3",
        0,
        Severity::Warning,
        "",
        "{{ server }} was restarted {{ value }} times in 10 minutes",
        "It keeps ending. Its log and its last exits say why.",
    ),
    (
        "BreakerOpen",
        "max by (server, tool) (flotilla_breaker_open) > 0",
        0,
        Severity::Warning,
        "calls",
        "The circuit breaker of {{ server }} {{ tool }} is open",
        "Calls are refused, because too many failed. It lets some through by itself after a while.",
    ),
    (
        "CallErrors",
        "max by (server) (avg_over_time(flotilla_call_error_percent[5m])) > 2",
        5 * MIN,
        Severity::Warning,
        "calls",
        "{{ value }} % of the calls of {{ server }} fail",
        "More than 2 % failed over 5 minutes.",
    ),
    (
        "CallErrorsHigh",
        "max by (server) (avg_over_time(flotilla_call_error_percent[5m])) > 5",
        5 * MIN,
        Severity::Critical,
        "calls",
        "{{ value }} % of the calls of {{ server }} fail",
        "More than 5 % failed over 5 minutes.",
    ),
    (
        "CallsSlow",
        "max by (server) (avg_over_time(flotilla_call_p95_ms[5m])) > 8000",
        5 * MIN,
        Severity::Warning,
        "calls",
        "5 of 100 calls of {{ server }} take longer than {{ value }} ms",
        "The 95th percentile is above 8 s.",
    ),
    (
        "CallsVerySlow",
        "max by (server) (avg_over_time(flotilla_call_p95_ms[5m])) > 10000",
        5 * MIN,
        Severity::Critical,
        "calls",
        "5 of 100 calls of {{ server }} take longer than {{ value }} ms",
        "The 95th percentile is above 10 s.",
    ),
    (
        "MemoryNearLimit",
        "max by (server, instance) (flotilla_memory_percent) > 80",
        10 * MIN,
        Severity::Warning,
        "memory",
        "{{ server }} uses {{ value }} % of the memory that it may",
        "At its limit it is restarted. Raise limits.rss, or look for a leak.",
    ),
    (
        "MemoryAtLimit",
        "max by (server, instance) (flotilla_memory_percent) > 90",
        10 * MIN,
        Severity::Critical,
        "memory",
        "{{ server }} uses {{ value }} % of the memory that it may",
        "At its limit it is restarted. Raise limits.rss, or look for a leak.",
    ),
    // Thresholds of the runbook: from 80 % on another machine is needed, from 90 % on processes are ended by the system.
    (
        "HostMemoryHigh",
        "flotilla_host_memory_used_percent > 80",
        10 * MIN,
        Severity::Warning,
        "memory",
        "{{ value }} % of the machine's memory is in use",
        "Servers can be stopped, moved, or given a limits.rss. The list of servers, sorted by memory, says which.",
    ),
    (
        "HostMemoryCritical",
        "flotilla_host_memory_used_percent > 90",
        10 * MIN,
        Severity::Critical,
        "memory",
        "{{ value }} % of the machine's memory is in use",
        "When there is none left the system ends a process of its choice. Stop what can be spared now.",
    ),
    // As the rules that come with Prometheus' node_exporter: NodeFilesystemAlmostOutOfSpace.
    (
        "HostDiskFull",
        "flotilla_host_disk_used_percent > 95",
        30 * MIN,
        Severity::Warning,
        "",
        "{{ value }} % of the disk of the engine's home is in use",
        "When it is full, events, calls and metrics are no longer kept. metrics.disk and the retention of logs bound what the engine itself takes.",
    ),
    (
        "RateLimited",
        "sum by (server) (increase(flotilla_rate_limited[1m])) > 100",
        0,
        Severity::Warning,
        "",
        "{{ value }} calls of {{ server }} met a rate limit within a minute",
        "A client calls more than it may. Raise the limit if that is legitimate.",
    ),
    (
        "CollectorDown",
        "up < 1",
        2 * MIN,
        Severity::Warning,
        "",
        "The metrics of {{ job }} at {{ instance }} cannot be read",
        "What its page would show has a gap.",
    ),
];

/// The rules, each as if it stood in the file.
#[must_use]
pub fn standard() -> Vec<AlertRule> {
    let rule = |(name, expr, for_ms, severity, about, summary, description): &Row| AlertRule {
        name: (*name).to_owned(),
        expr: (*expr).to_owned(),
        for_ms: *for_ms,
        keep_firing_for_ms: 0,
        severity: *severity,
        labels: if about.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([("about".to_owned(), (*about).to_owned())])
        },
        summary: (*summary).to_owned(),
        description: (*description).to_owned(),
        runbook: None,
    };
    RULES.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_contract::alert::{STANDARD_RULES, expr::Expr};

    #[test]
    fn they_can_be_read_and_have_one_name_each() {
        let mut names = std::collections::BTreeSet::new();
        for rule in standard() {
            assert!(rule.expr.parse::<Expr>().is_ok(), "{}", rule.expr);
            assert!(names.insert(rule.name));
        }
        assert_eq!(
            standard()
                .iter()
                .map(|rule| rule.name.as_str())
                .collect::<Vec<_>>(),
            STANDARD_RULES
        );
    }
}
