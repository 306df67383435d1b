//! Which alerts are told together, and when.

use flotilla_contract::{
    Millis,
    alert::{Alert, AlertsSpec, Severity, Silence, expr::Labels},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Alerts that are told together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The labels they have in common.
    pub(crate) labels: Labels,
    /// When the first of them fired.
    first: Millis,
    /// When it was last told of.
    pub(crate) last: Option<Millis>,
    /// Those that were told, and fire still as far as the receivers know.
    pub(crate) told: BTreeSet<String>,
    /// Those of them that have ended since.
    pub(crate) ended: Vec<Alert>,
}

impl Group {
    pub(crate) fn new(labels: Labels, now: Millis) -> Self {
        Self {
            labels,
            first: now,
            last: None,
            told: BTreeSet::new(),
            ended: Vec::new(),
        }
    }

    /// A group without alerts, of the same age, for other labels.
    pub(crate) fn empty(&self, labels: Labels) -> Self {
        Self {
            labels,
            told: BTreeSet::new(),
            ended: Vec::new(),
            ..*self
        }
    }

    /// What is to be told now of the alerts that are to be told, if anything; it counts as told then. The second is whether the group is done with.
    pub(crate) fn due(
        &mut self,
        now: Millis,
        live: &[&Alert],
        spec: &AlertsSpec,
    ) -> (Option<Vec<Alert>>, bool) {
        // What came back before its end was told has not ended.
        self.ended
            .retain(|ended| !live.iter().any(|alert| alert.id == ended.id));
        let fresh =
            !self.ended.is_empty() || live.iter().any(|alert| !self.told.contains(&alert.id));
        let earliest = match self.last {
            None => self.first.saturating_add(spec.group_wait_ms),
            Some(last) => last.saturating_add(spec.group_interval_ms),
        };
        let again = self
            .last
            .is_some_and(|last| now >= last.saturating_add(spec.repeat_interval_ms));
        if !((fresh && now >= earliest) || (again && !live.is_empty())) {
            return (None, !fresh && live.is_empty() && self.told.is_empty());
        }
        let ended = std::mem::take(&mut self.ended);
        for alert in &ended {
            self.told.remove(&alert.id);
        }
        self.told.extend(live.iter().map(|alert| alert.id.clone()));
        self.last = Some(now);
        let alerts = live.iter().map(|alert| (*alert).clone()).chain(ended);
        (Some(alerts.collect()), self.told.is_empty())
    }
}

/// Labels by which an alert is grouped.
pub(crate) fn key(alert: &Alert, by: &[String]) -> Labels {
    let pair = |label: &String| Some((label.clone(), alert.labels.get(label)?.clone()));
    by.iter().filter_map(pair).collect()
}

/// The first silence that holds and means an alert.
pub(crate) fn silenced(alert: &Alert, silences: &[Silence], now: Millis) -> Option<u64> {
    let holds = |silence: &&Silence| (silence.from..silence.to).contains(&now);
    let means = |silence: &&Silence| {
        silence.matchers.iter().all(|matcher| {
            let value = alert.labels.get(&matcher.label).map_or("", String::as_str);
            matcher.values.iter().any(|v| v == value) == matcher.is
        })
    };
    let mut meant = silences.iter().filter(holds).filter(means);
    meant.next().map(|silence| silence.id)
}

/// What inhibits alerts: the critical ones that fire.
#[derive(Debug, Default)]
pub(crate) struct Inhibitors {
    /// Of servers, by server: the instance and the tool that they name, and their rule.
    of_server: BTreeMap<String, Vec<(Labels, String)>>,
    /// Of no server, by what they are about and all their other labels: their rule.
    of_subject: BTreeMap<Labels, String>,
}

/// Labels that tell one part of a server from another.
const PARTS: [&str; 2] = ["instance", "tool"];

impl Inhibitors {
    pub(crate) fn of<'a>(firing: impl Iterator<Item = &'a Alert>) -> Self {
        let mut all = Self::default();
        for alert in firing.filter(|alert| alert.severity == Severity::Critical) {
            let rule = alert.rule().to_owned();
            if let Some(server) = alert.server() {
                let named = all.of_server.entry(server.to_owned()).or_default();
                named.push((key(alert, &PARTS.map(str::to_owned)), rule));
            } else if let Some(subject) = subject(alert) {
                all.of_subject.insert(subject, rule);
            }
        }
        all
    }

    /// What inhibits an alert, given the servers that are stopped or failed.
    pub(crate) fn inhibited(&self, alert: &Alert, down: &BTreeSet<String>) -> Option<String> {
        if let Some(server) = alert.server()
            && down.contains(server)
            && alert.about() == Some("calls")
        {
            return Some(format!("{server} is down"));
        }
        if alert.severity == Severity::Critical {
            return None;
        }
        let Some(server) = alert.server() else {
            let rule = self.of_subject.get(&subject(alert)?)?;
            return Some(format!("{rule} fires"));
        };
        let (parts, rule) = self.of_server.get(server)?.iter().find(|(parts, _)| {
            let same = |(label, value)| alert.labels.get(label).is_none_or(|own| own == value);
            parts.iter().all(same)
        })?;
        let part = parts
            .get("instance")
            .map_or_else(String::new, |instance| format!(", instance {instance}"));
        Some(format!("{rule} fires for {server}{part}"))
    }
}

/// What an alert of no server is about: all its labels but those that tell it from a worse one of the same thing.
fn subject(alert: &Alert) -> Option<Labels> {
    alert.about()?;
    let mut labels = alert.labels.clone();
    labels.retain(|label, _| label != "alertname" && label != "severity");
    Some(labels)
}
