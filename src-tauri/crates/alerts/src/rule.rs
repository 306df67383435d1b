//! One rule and its alerts.

use flotilla_contract::{
    Millis,
    alert::{
        Alert, AlertRule, AlertState, RuleState, RuleView, STANDARD_RULES,
        expr::{Expr, Labels, Sample},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Alerts of a rule at most.
const MOST: usize = 1_000;
/// After a restart a series that is not there ends no alert for this long, in milliseconds.
const RETURN: Millis = 60_000;

/// What an evaluation of a rule changes beside the alerts themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Pending,
    Fires,
    Ends,
    /// It was pending, and holds no more.
    Drops,
}

/// A rule at work.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) spec: AlertRule,
    pub(crate) expr: Expr,
    pub(crate) standard: bool,
    pub(crate) alerts: BTreeMap<String, Active>,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    at: Option<Millis>,
    series: usize,
    value: Option<f64>,
    error: Option<String>,
}

/// An alert that is pending or fires.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Active {
    pub(crate) alert: Alert,
    /// Since when it holds no more, while it is kept firing.
    pub(crate) gone: Option<Millis>,
    /// When it was brought back after a restart, until it was seen again.
    pub(crate) restored: Option<Millis>,
}

impl Rule {
    pub(crate) fn new(spec: AlertRule, expr: Expr, standard: bool) -> Self {
        Self {
            spec,
            expr,
            standard,
            alerts: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// Takes in the values that its expression has at a time, and gives what that changes, each with the alert as it is then.
    pub(crate) fn on(
        &mut self,
        now: Millis,
        values: Result<Vec<Sample>, String>,
    ) -> Vec<(Step, Alert)> {
        let samples = match values {
            Ok(samples) => samples,
            Err(error) => {
                self.seen.at = Some(now);
                self.seen.error = Some(error);
                return Vec::new();
            }
        };
        self.seen = Seen {
            at: Some(now),
            series: samples.len(),
            value: nearest(&self.expr, &samples),
            error: None,
        };
        let mut steps = Vec::new();
        let (mut held, mut present) = (BTreeSet::new(), BTreeSet::new());
        for sample in samples {
            let labels = labels(&self.spec, &sample.labels);
            let id = fingerprint(&labels);
            if !self.expr.holds(sample.value) {
                present.insert(id);
                continue;
            }
            if !self.alerts.contains_key(&id) && self.alerts.len() >= MOST {
                self.seen.error = Some(format!(
                    "more than {MOST} series fulfil the condition; the rest is left out"
                ));
                continue;
            }
            held.insert(id.clone());
            self.holds(now, id, labels, sample.value, &mut steps);
        }
        self.alerts.retain(|id, active| {
            if held.contains(id) {
                return true;
            }
            // Not back yet is not gone.
            if let Some(at) = active.restored
                && !present.contains(id)
                && now < at + RETURN
            {
                return true;
            }
            ends(&self.spec, now, active, &mut steps)
        });
        steps
    }

    fn holds(
        &mut self,
        now: Millis,
        id: String,
        labels: Labels,
        value: f64,
        steps: &mut Vec<(Step, Alert)>,
    ) {
        let spec = &self.spec;
        let active = self.alerts.entry(id.clone()).or_insert_with(|| {
            let alert = Alert {
                id,
                state: AlertState::Pending,
                severity: spec.severity,
                labels,
                summary: String::new(),
                description: String::new(),
                runbook: spec.runbook.clone(),
                expr: spec.expr.clone(),
                value,
                since: now,
                fired: None,
                ended: None,
                silenced: None,
                inhibited: None,
            };
            steps.push((Step::Pending, alert.clone()));
            Active {
                alert,
                gone: None,
                restored: None,
            }
        });
        let alert = &mut active.alert;
        (active.gone, active.restored) = (None, None);
        alert.value = value;
        alert.summary = filled(&spec.summary, &alert.labels, value);
        alert.description = filled(&spec.description, &alert.labels, value);
        if alert.state == AlertState::Pending && now.saturating_sub(alert.since) >= spec.for_ms {
            alert.state = AlertState::Firing;
            alert.fired = Some(now);
            steps.push((Step::Fires, alert.clone()));
        }
    }

    pub(crate) fn view(&self) -> RuleView {
        let fires = |active: &Active| active.alert.state == AlertState::Firing;
        let state = if self.seen.at.is_none() {
            RuleState::Waiting
        } else if self.alerts.values().any(fires) {
            RuleState::Firing
        } else if self.seen.error.is_some() {
            RuleState::Failed
        } else if !self.alerts.is_empty() {
            RuleState::Pending
        } else if self.seen.series == 0 {
            RuleState::Absent
        } else {
            RuleState::Inactive
        };
        RuleView {
            rule: self.spec.clone(),
            standard: self.standard,
            overrides: !self.standard && STANDARD_RULES.contains(&self.spec.name.as_str()),
            state,
            at: self.seen.at,
            series: u32::try_from(self.seen.series).unwrap_or(u32::MAX),
            value: self.seen.value,
            error: self.seen.error.clone(),
        }
    }
}

/// Whether an alert that holds no more stays.
fn ends(
    spec: &AlertRule,
    now: Millis,
    active: &mut Active,
    steps: &mut Vec<(Step, Alert)>,
) -> bool {
    let alert = &mut active.alert;
    if alert.state == AlertState::Pending {
        steps.push((Step::Drops, alert.clone()));
        return false;
    }
    let gone = *active.gone.get_or_insert(now);
    if now.saturating_sub(gone) < spec.keep_firing_for_ms {
        return true;
    }
    alert.state = AlertState::Resolved;
    alert.ended = Some(now);
    steps.push((Step::Ends, alert.clone()));
    false
}

/// The value that is nearest to the threshold, from the side where the condition does not hold; or furthest beyond it.
fn nearest(expr: &Expr, samples: &[Sample]) -> Option<f64> {
    use flotilla_contract::alert::expr::Comparison;
    let values = samples.iter().map(|sample| sample.value);
    match expr.comparison {
        Comparison::Above | Comparison::AtLeast => values.reduce(f64::max),
        Comparison::Below | Comparison::AtMost => values.reduce(f64::min),
        Comparison::Equal => values.min_by(|a, b| {
            let away = |value: f64| (value - expr.threshold).abs();
            away(*a).total_cmp(&away(*b))
        }),
        Comparison::Different => values.max_by(|a, b| {
            let away = |value: f64| (value - expr.threshold).abs();
            away(*a).total_cmp(&away(*b))
        }),
    }
}

/// The labels of a series, those of the rule over them.
fn labels(spec: &AlertRule, of: &Labels) -> Labels {
    let mut labels = of.clone();
    labels.extend(spec.labels.clone());
    labels.insert("alertname".into(), spec.name.clone());
    labels.insert("severity".into(), spec.severity.word().into());
    labels
}

/// FNV-1a of 64 bits over names and values, as Prometheus identifies sets of labels: stable over restarts.
pub(crate) fn fingerprint(labels: &Labels) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, value) in labels {
        for byte in name
            .bytes()
            .chain([0xff])
            .chain(value.bytes())
            .chain([0xff])
        {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// `{{ value }}` and `{{ LABEL }}` filled in; a label that is not there is empty.
fn filled(text: &str, labels: &Labels, value: f64) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else {
            break;
        };
        out.push_str(before);
        match name.trim() {
            "value" => out.push_str(&number(value)),
            label => out.push_str(labels.get(label).map_or("", String::as_str)),
        }
        rest = behind;
    }
    out + rest
}

/// A value for people: four significant digits where it has a fraction.
pub(crate) fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        return format!("{value}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the logarithm of an f64 is within ±324"
    )]
    let digits = 3 - value.abs().log10().floor() as i32;
    let digits = usize::try_from(digits.clamp(0, 12)).unwrap_or_default();
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_contract::alert::Severity;

    fn rule(for_ms: u64, keep_firing_for_ms: u64) -> Rule {
        let spec = AlertRule {
            name: "Hot".into(),
            expr: "heat > 5".into(),
            for_ms,
            keep_firing_for_ms,
            severity: Severity::Warning,
            labels: [("team".to_owned(), "x".to_owned())].into(),
            summary: "{{server}} is at {{ value }} of 5{{ nothing }}".into(),
            description: String::new(),
            runbook: None,
        };
        let expr = spec.expr.parse().unwrap();
        Rule::new(spec, expr, false)
    }

    /// Values of servers at a time.
    type At<'a> = (Millis, Result<&'a [(&'a str, f64)], &'a str>);

    /// What happens, in words.
    fn play(rule: &mut Rule, times: &[At<'_>]) -> Vec<String> {
        let mut said = Vec::new();
        for (now, values) in times {
            let values = values.map_err(str::to_owned).map(|values| {
                let sample = |(server, value): &(&str, f64)| Sample {
                    labels: [("server".to_owned(), (*server).to_owned())].into(),
                    value: *value,
                };
                values.iter().map(sample).collect()
            });
            let mut steps = rule.on(*now, values);
            steps.sort_by_key(|(_, alert)| alert.labels["server"].clone());
            for (step, alert) in steps {
                let server = alert.server().unwrap_or_default().to_owned();
                said.push(format!("{now} {server} {step:?}"));
            }
        }
        said
    }

    #[test]
    fn states_follow_the_values() {
        let none: &[(&str, f64)] = &[];
        // Without `for` it fires at once.
        let mut at_once = rule(0, 0);
        assert_eq!(
            play(
                &mut at_once,
                &[
                    (0, Ok(&[("a", 5.0)])),
                    (1, Ok(&[("a", 6.0)])),
                    (2, Ok(&[("a", 5.0)]))
                ]
            ),
            ["1 a Pending", "1 a Fires", "2 a Ends"]
        );
        // It must hold all the time; each series is on its own.
        let mut patient = rule(10, 0);
        assert_eq!(
            play(
                &mut patient,
                &[
                    (0, Ok(&[("a", 6.0)])),
                    (5, Ok(&[("a", 1.0), ("b", 9.0)])),
                    (8, Ok(&[("a", 6.0), ("b", 9.0)])),
                    (15, Ok(&[("a", 6.0), ("b", 9.0)])),
                    (18, Ok(&[("a", 6.0), ("b", 9.0)])),
                ]
            ),
            [
                "0 a Pending",
                "5 a Drops",
                "5 b Pending",
                "8 a Pending",
                "15 b Fires",
                "18 a Fires"
            ]
        );
        assert_eq!(patient.view().state, RuleState::Firing);
        assert_eq!(patient.view().value, Some(9.0));
        // A failed evaluation changes nothing, a gap ends.
        assert_eq!(
            play(
                &mut patient,
                &[(20, Err("disk")), (25, Ok(&[("b", 9.0)])), (30, Ok(none))]
            ),
            ["25 a Ends", "30 b Ends"]
        );
        assert_eq!(patient.view().state, RuleState::Absent);
    }

    #[test]
    fn it_goes_on_to_fire_for_a_while() {
        let mut kept = rule(0, 10);
        let cold: &[(&str, f64)] = &[("a", 1.0)];
        let hot: &[(&str, f64)] = &[("a", 6.0)];
        assert_eq!(
            play(
                &mut kept,
                &[
                    (0, Ok(hot)),
                    (5, Ok(cold)),
                    (14, Ok(hot)),
                    (15, Ok(cold)),
                    (24, Ok(cold)),
                    (25, Ok(cold))
                ]
            ),
            ["0 a Pending", "0 a Fires", "25 a Ends"]
        );
    }

    #[test]
    fn after_a_restart_what_is_not_back_yet_is_not_gone() {
        let none: &[(&str, f64)] = &[];
        let mut before = rule(0, 0);
        play(&mut before, &[(0, Ok(&[("a", 6.0), ("b", 6.0)]))]);
        let mut after = rule(0, 0);
        after.alerts = before.alerts.clone();
        for active in after.alerts.values_mut() {
            active.restored = Some(100);
        }
        // b is back and well, a not yet; when it is, nothing fires anew.
        assert_eq!(
            play(
                &mut after,
                &[
                    (100, Ok(&[("b", 1.0)])),
                    (59_000, Ok(&[("a", 6.0)])),
                    (60_000, Ok(none))
                ]
            ),
            ["100 b Ends", "60000 a Ends"]
        );
        assert_eq!(
            play(
                &mut {
                    let mut lost = rule(0, 0);
                    lost.alerts = before.alerts.clone();
                    lost.alerts
                        .values_mut()
                        .for_each(|a| a.restored = Some(100));
                    lost
                },
                &[(60_099, Ok(none)), (60_100, Ok(none))]
            ),
            ["60100 a Ends", "60100 b Ends"]
        );
    }

    #[test]
    fn texts_are_filled_in() {
        let mut hot = rule(0, 0);
        play(&mut hot, &[(0, Ok(&[("a", 6.123_456)]))]);
        let alert = &hot.alerts.values().next().unwrap().alert;
        assert_eq!(alert.summary, "a is at 6.123 of 5");
        assert_eq!(alert.labels["team"], "x");
        assert_eq!(alert.labels["severity"], "warning");
        for (value, said) in [
            (0.0, "0"),
            (1e6, "1000000"),
            (0.012_345_6, "0.01235"),
            (99.96, "99.96"),
            (12_345.6, "12346"),
        ] {
            assert_eq!(number(value), said);
        }
        assert_eq!(filled("{{ open", &alert.labels, 1.0), "{{ open");
    }
}
