//! Rules, alerts, silences and groups: what is known of alerts at a time.

use crate::{
    group::{Group, Inhibitors, key, silenced},
    rule::{Active, Rule, Step},
    standard::standard,
};
use flotilla_contract::{
    Millis,
    alert::{
        Alert, AlertChange, AlertRule, AlertState, AlertsSpec, RuleState, RuleView, Silence,
        SilenceParams,
        expr::{Expr, Labels, Sample},
    },
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Silences at most.
const SILENCES: usize = 500;
/// Changes that are remembered.
const HISTORY: usize = 500;
/// A silence that has ended is shown for this long, in milliseconds.
const SHOWN: Millis = 24 * 3_600_000;
/// How long a silence may be, in milliseconds.
const SPAN: std::ops::RangeInclusive<u64> = 60_000..=90 * 24 * 3_600_000;
/// How much later than at its time a message may arrive, in milliseconds.
const LATE: Millis = 5 * 60_000;
/// Alerts of a message.
const TOLD: usize = 100;

/// Everything about alerts. See the crate's documentation.
#[derive(Debug, Default)]
pub struct Book {
    spec: AlertsSpec,
    rules: Vec<Rule>,
    silences: Vec<Silence>,
    last_silence: u64,
    groups: BTreeMap<Labels, Group>,
    history: VecDeque<AlertChange>,
    down: BTreeSet<String>,
    version: u64,
}

/// What a rule found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Name of the rule.
    pub rule: String,
    /// The values of its expression, or why there are none.
    pub values: Result<Vec<Sample>, String>,
}

/// An alert began to fire, or ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The alert as it is now.
    pub alert: Alert,
}

/// A message to those that are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// When it was made.
    pub at: Millis,
    /// What fires still is told again before then.
    pub until: Millis,
    /// What its alerts have in common.
    pub group: Labels,
    /// The alerts: those that fire, then those that ended.
    pub alerts: Vec<Alert>,
    /// Alerts that had no room.
    pub left_out: usize,
    /// Whether it is only a test of the channel.
    pub test: bool,
}

/// Why there is no silence, or none that can be ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// It would silence everything.
    #[error("matchers is empty; accepted is at least one")]
    Everything,
    /// A matcher that means nothing.
    #[error("matchers: {0:?} has no label or no value; accepted are both")]
    Matcher(String),
    /// Too short, or too long.
    #[error("for_ms is {0}; accepted is 60000 (a minute) to 7776000000 (90 days)")]
    Span(u64),
    /// In the past.
    #[error("the silence would end in the past; accepted is an end that is to come")]
    Past,
    /// Too many.
    #[error("there are {SILENCES} silences, which is the most; end one")]
    Many,
    /// No such silence.
    #[error("there is no silence {0} that holds or will")]
    None(u64),
}

/// What is kept over a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    alerts: Vec<KeptAlert>,
    groups: Vec<Group>,
    silences: Vec<Silence>,
    last_silence: u64,
    history: VecDeque<AlertChange>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptAlert {
    #[serde(flatten)]
    alert: Alert,
    gone: Option<Millis>,
}

impl Book {
    /// With what was kept. What came from a rule that is not the same any more has ended.
    pub fn restore(&mut self, kept: Kept, now: Millis) -> Vec<Change> {
        self.silences = kept.silences;
        self.last_silence = kept.last_silence;
        self.history = kept.history;
        let groups = kept.groups.into_iter();
        self.groups = groups.map(|group| (group.labels.clone(), group)).collect();
        let mut orphans = Vec::new();
        for KeptAlert { alert, gone } in kept.alerts {
            let same = |rule: &&mut Rule| {
                rule.spec.name == alert.rule()
                    && rule.spec.expr == alert.expr
                    && rule.spec.severity == alert.severity
            };
            match self.rules.iter_mut().find(same) {
                Some(rule) => {
                    let id = alert.id.clone();
                    let restored = Some(now);
                    let active = Active {
                        alert,
                        gone,
                        restored,
                    };
                    rule.alerts.insert(id, active);
                }
                None => orphans.push(alert),
            }
        }
        self.ended_by_rule(orphans, now)
    }

    /// What is to be kept, whenever [`version`](Self::version) has changed.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let alerts = self.rules.iter().flat_map(|rule| rule.alerts.values());
        let alerts = alerts.map(|active| KeptAlert {
            alert: active.alert.clone(),
            gone: active.gone,
        });
        Kept {
            alerts: alerts.collect(),
            groups: self.groups.values().cloned().collect(),
            silences: self.silences.clone(),
            last_silence: self.last_silence,
            history: self.history.clone(),
        }
    }

    /// Grows with every change of what is kept.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Puts other settings in force. Alerts of rules that are the same go on; those of others have ended.
    pub fn apply(&mut self, spec: AlertsSpec, now: Millis) -> Vec<Change> {
        if spec == self.spec && !self.rules.is_empty() {
            return Vec::new();
        }
        let own = |rule: &AlertRule| spec.rules.iter().any(|own| own.name == rule.name);
        let given = standard()
            .into_iter()
            .filter(|rule| spec.defaults && !own(rule) && !spec.disabled.contains(&rule.name));
        let all = given.map(|rule| (rule, true));
        let all = all.chain(spec.rules.iter().cloned().map(|rule| (rule, false)));
        let mut before: BTreeMap<String, Rule> = std::mem::take(&mut self.rules)
            .into_iter()
            .map(|rule| (rule.spec.name.clone(), rule))
            .collect();
        for (rule, standard) in all {
            // The configuration has checked it.
            let Ok(expr) = rule.expr.parse::<Expr>() else {
                continue;
            };
            let same = before.get(&rule.name).is_some_and(|old| {
                (&old.spec.expr, &old.spec.labels, old.spec.severity)
                    == (&rule.expr, &rule.labels, rule.severity)
            });
            match before.remove(&rule.name) {
                Some(mut old) if same => {
                    (old.spec, old.standard) = (rule, standard);
                    self.rules.push(old);
                }
                other => {
                    // Its alerts end below.
                    if let Some(old) = other {
                        before.insert(old.spec.name.clone(), old);
                    }
                    self.rules.push(Rule::new(rule, expr, standard));
                }
            }
        }
        let gone = before.into_values().flat_map(|rule| rule.alerts);
        let gone = gone.map(|(_, active)| active.alert).collect();
        self.spec = spec;
        self.regroup();
        self.ended_by_rule(gone, now)
    }

    /// Groups what was told by the labels that count now.
    fn regroup(&mut self) {
        let by = self.spec.group_by.clone();
        let known = |labels: &Labels| labels.keys().all(|label| by.contains(label));
        if self.groups.keys().all(known) && self.groups.keys().all(|k| k.len() == by.len()) {
            return;
        }
        let before = std::mem::take(&mut self.groups);
        for group in before.into_values() {
            let alerts = self.rules.iter().flat_map(|rule| rule.alerts.values());
            let told = alerts
                .map(|active| &active.alert)
                .filter(|alert| group.told.contains(&alert.id));
            for alert in told.chain(&group.ended) {
                let labels = key(alert, &by);
                let new = self.groups.entry(labels.clone());
                let new = new.or_insert_with(|| group.empty(labels));
                new.told.insert(alert.id.clone());
                if alert.ended.is_some() {
                    new.ended.push(alert.clone());
                }
            }
        }
    }

    fn ended_by_rule(&mut self, alerts: Vec<Alert>, now: Millis) -> Vec<Change> {
        let fired = alerts
            .into_iter()
            .filter(|alert| alert.state == AlertState::Firing);
        let steps = fired.map(|mut alert| {
            alert.state = AlertState::Resolved;
            alert.ended = Some(now);
            (Step::Ends, alert)
        });
        let steps = steps.collect();
        self.changes(now, steps)
    }

    /// The rules with what they ask.
    #[must_use]
    pub fn asks(&self) -> Vec<(String, Expr)> {
        let ask = |rule: &Rule| (rule.spec.name.clone(), rule.expr.clone());
        self.rules.iter().map(ask).collect()
    }

    /// Distance of two evaluations, in milliseconds.
    #[must_use]
    pub fn interval(&self) -> u64 {
        self.spec.interval_ms
    }

    /// Takes in what rules found, and which servers are stopped or failed.
    pub fn evaluated(
        &mut self,
        now: Millis,
        found: Vec<Found>,
        down: BTreeSet<String>,
    ) -> Vec<Change> {
        self.down = down;
        let mut steps = Vec::new();
        for Found { rule, values } in found {
            // It may have been taken out meanwhile.
            if let Some(rule) = self.rules.iter_mut().find(|r| r.spec.name == rule) {
                steps.extend(rule.on(now, values));
            }
        }
        self.changes(now, steps)
    }

    fn changes(&mut self, now: Millis, steps: Vec<(Step, Alert)>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (step, alert) in steps {
            self.version += 1;
            if matches!(step, Step::Pending | Step::Drops) {
                continue;
            }
            if step == Step::Ends {
                let told = |group: &&mut Group| group.told.contains(&alert.id);
                if let Some(group) = self.groups.values_mut().find(told) {
                    group.ended.push(alert.clone());
                }
            }
            if self.history.len() >= HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(AlertChange {
                at: now,
                alert: alert.clone(),
            });
            changes.push(Change { alert });
        }
        changes
    }

    /// The messages that are to go out now.
    pub fn due(&mut self, now: Millis) -> Vec<Message> {
        let before = self.silences.len();
        self.silences
            .retain(|silence| silence.to.saturating_add(SHOWN) > now);
        self.version += u64::from(before != self.silences.len());
        let alerts = self.alerts(now);
        let live = alerts.iter().filter(|alert| {
            alert.state == AlertState::Firing
                && alert.silenced.is_none()
                && alert.inhibited.is_none()
        });
        let mut by_group: BTreeMap<Labels, Vec<&Alert>> = BTreeMap::new();
        for alert in live {
            let labels = key(alert, &self.spec.group_by);
            by_group.entry(labels).or_default().push(alert);
        }
        for labels in by_group.keys() {
            if !self.groups.contains_key(labels) {
                self.version += 1;
                let group = Group::new(labels.clone(), now);
                self.groups.insert(labels.clone(), group);
            }
        }
        let (spec, version) = (&self.spec, &mut self.version);
        let mut messages = Vec::new();
        self.groups.retain(|labels, group| {
            let live = by_group.remove(labels).unwrap_or_default();
            let (told, done) = group.due(now, &live, spec);
            *version += u64::from(told.is_some() || done);
            if let Some(mut alerts) = told {
                let left_out = alerts.len().saturating_sub(TOLD);
                alerts.truncate(TOLD);
                messages.push(Message {
                    at: now,
                    until: now
                        .saturating_add(spec.repeat_interval_ms)
                        .saturating_add(LATE),
                    group: labels.clone(),
                    alerts,
                    left_out,
                    test: false,
                });
            }
            !done
        });
        messages
    }

    /// Alerts that are pending or fire, the worst and then the oldest first.
    #[must_use]
    pub fn alerts(&self, now: Millis) -> Vec<Alert> {
        let active = || self.rules.iter().flat_map(|rule| rule.alerts.values());
        let alerts = || active().map(|active| &active.alert);
        let firing = alerts().filter(|alert| alert.state == AlertState::Firing);
        let inhibitors = Inhibitors::of(firing);
        let mut all: Vec<Alert> = alerts().cloned().collect();
        for alert in &mut all {
            alert.silenced = silenced(alert, &self.silences, now);
            alert.inhibited = inhibitors.inhibited(alert, &self.down);
        }
        all.sort_by(|a, b| {
            let rank = |alert: &Alert| {
                let pending = alert.state != AlertState::Firing;
                (pending, std::cmp::Reverse(alert.severity), alert.since)
            };
            rank(a).cmp(&rank(b)).then_with(|| a.labels.cmp(&b.labels))
        });
        all
    }

    /// The rules as they are, then those that come with Flotilla and are disabled.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleView> {
        let holds = |rule: &AlertRule| self.rules.iter().any(|it| it.spec.name == rule.name);
        let off = standard().into_iter().filter(|rule| {
            self.spec.defaults && self.spec.disabled.contains(&rule.name) && !holds(rule)
        });
        let off = off.map(|rule| RuleView {
            rule,
            standard: true,
            overrides: false,
            state: RuleState::Off,
            at: None,
            series: 0,
            value: None,
            error: None,
        });
        self.rules.iter().map(Rule::view).chain(off).collect()
    }

    /// The last changes, newest first.
    #[must_use]
    pub fn history(&self, limit: usize) -> Vec<AlertChange> {
        self.history.iter().rev().take(limit).cloned().collect()
    }

    /// The silences, the latest first.
    #[must_use]
    pub fn silences(&self) -> Vec<Silence> {
        self.silences.iter().rev().cloned().collect()
    }

    /// Makes a silence.
    ///
    /// # Errors
    /// When it means nothing, or everything.
    pub fn silence(
        &mut self,
        now: Millis,
        by: &str,
        params: SilenceParams,
    ) -> Result<Silence, SilenceError> {
        if params.matchers.is_empty() {
            return Err(SilenceError::Everything);
        }
        let empty = |m: &&flotilla_contract::metric::LabelMatch| {
            m.label.is_empty() || m.values.is_empty() || m.values.iter().all(String::is_empty)
        };
        if let Some(matcher) = params.matchers.iter().find(empty) {
            return Err(SilenceError::Matcher(matcher.label.clone()));
        }
        if !SPAN.contains(&params.for_ms) {
            return Err(SilenceError::Span(params.for_ms));
        }
        let from = params.from.unwrap_or(now);
        let to = from.saturating_add(params.for_ms);
        if to <= now {
            return Err(SilenceError::Past);
        }
        if self.silences.len() >= SILENCES {
            return Err(SilenceError::Many);
        }
        self.last_silence += 1;
        self.version += 1;
        let silence = Silence {
            id: self.last_silence,
            matchers: params.matchers,
            from,
            to,
            by: by.to_owned(),
            comment: params.comment.chars().take(500).collect(),
        };
        self.silences.push(silence.clone());
        Ok(silence)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// When there is none that holds or will.
    pub fn unsilence(&mut self, now: Millis, id: u64) -> Result<Silence, SilenceError> {
        let there = self.silences.iter_mut().find(|s| s.id == id && s.to > now);
        let silence = there.ok_or(SilenceError::None(id))?;
        silence.to = now;
        silence.from = silence.from.min(now);
        self.version += 1;
        Ok(silence.clone())
    }
}

#[cfg(test)]
mod tests;
