//! Commands about alerts.

use crate::{
    args::Alerts,
    ask::Engine,
    exit::Failure,
    show::{Out, clock},
    table::{Align, Cell, Colour},
};
use flotilla_contract::{
    Millis,
    alert::{
        Alert, AlertChange, AlertHistoryQuery, AlertState, ChannelRef, ChannelView,
        CheckExprParams, CheckedExpr, CheckedSample, ExprWrong, RuleState, RuleView, Severity,
        Silence, SilenceParams, SilenceRef,
    },
    command::{
        AlertsChannels, AlertsCheck, AlertsHistory, AlertsList, AlertsRules, AlertsSilence,
        AlertsSilences, AlertsTestChannel, AlertsUnsilence,
    },
    metric::LabelMatch,
    units::parse_duration,
};
use jiff::tz::TimeZone;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) async fn alerts(to: &Engine, act: Option<&Alerts>, out: Out) -> Result<(), Failure> {
    match act {
        None | Some(Alerts::List) => {
            let alerts = to.run::<AlertsList>(Default::default()).await?;
            out.json_or(&alerts, || listed(&alerts, out))
        }
        Some(Alerts::Rules) => {
            let rules = to.run::<AlertsRules>(Default::default()).await?;
            out.json_or(&rules, || ruled(&rules, out))
        }
        Some(Alerts::Check { expr }) => {
            let params = CheckExprParams { expr: expr.clone() };
            let checked = to.run::<AlertsCheck>(params).await?;
            if let Some(wrong) = &checked.wrong {
                let ExprWrong { column, message } = wrong;
                return Err(Failure::usage(format!(
                    "failed to read the condition: column {column}: {message}"
                )));
            }
            out.json_or(&checked, || gives(&checked, out))
        }
        Some(Alerts::Silence {
            matchers,
            span,
            later,
            comment,
        }) => {
            let later = later.as_deref().map(|text| duration("--in", text));
            let params = SilenceParams {
                matchers: matchers
                    .iter()
                    .map(|m| matcher(m))
                    .collect::<Result<_, _>>()?,
                from: later.transpose()?.map(|later| now() + later),
                for_ms: duration("--for", span)?,
                comment: comment.clone(),
            };
            let silence = to.run::<AlertsSilence>(params).await?;
            out.json_or(&silence, || silences(std::slice::from_ref(&silence), out))
        }
        Some(Alerts::Unsilence { id }) => {
            let silence = to.run::<AlertsUnsilence>(SilenceRef { id: *id }).await?;
            out.json_or(&silence, || format!("silence {id} has ended\n"))
        }
        Some(Alerts::Silences) => {
            let all = to.run::<AlertsSilences>(Default::default()).await?;
            out.json_or(&all, || silences(&all, out))
        }
        Some(Alerts::History { limit }) => {
            let limit = Some(*limit);
            let mut changes = to.run::<AlertsHistory>(AlertHistoryQuery { limit }).await?;
            changes.reverse();
            out.json_or(&changes, || history(&changes))
        }
        Some(Alerts::Channels) => {
            let channels = to.run::<AlertsChannels>(Default::default()).await?;
            out.json_or(&channels, || channeled(&channels, out))
        }
        Some(Alerts::Test { channel }) => {
            let name = channel.clone();
            let tested = to.run::<AlertsTestChannel>(ChannelRef { name }).await?;
            out.json_or(&tested, || {
                format!("{channel} took the test message in {} ms\n", tested.took_ms)
            })
        }
    }
}

fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn duration(flag: &str, text: &str) -> Result<u64, Failure> {
    parse_duration(text).ok_or_else(|| {
        Failure::usage(format!(
            "failed to read {flag} {text:?}: accepted is a duration such as 30m or 2h"
        ))
    })
}

fn matcher(text: &str) -> Result<LabelMatch, Failure> {
    let (label, values, is) = match (text.split_once("!="), text.split_once('=')) {
        (Some((label, values)), _) => (label, values, false),
        (None, Some((label, values))) => (label, values, true),
        (None, None) => {
            return Err(Failure::usage(format!(
                "failed to read {text:?}: accepted is LABEL=VALUE or LABEL!=VALUE"
            )));
        }
    };
    Ok(LabelMatch {
        label: label.to_owned(),
        is,
        values: values.split(',').map(str::to_owned).collect(),
    })
}

fn at(time: Millis) -> String {
    clock(time, &TimeZone::system())
}

fn severity(severity: Severity) -> Cell {
    let colour = match severity {
        Severity::Info => Colour::Dim,
        Severity::Warning => Colour::Yellow,
        Severity::Critical => Colour::Red,
    };
    Cell(severity.word().into(), Some(colour))
}

fn listed(alerts: &[Alert], out: Out) -> String {
    if alerts.is_empty() {
        return "No alert is pending or fires.\n".into();
    }
    let columns = [
        ("Severity", Align::Left),
        ("State", Align::Left),
        ("Since", Align::Left),
        ("Rule", Align::Left),
        ("What", Align::Left),
    ];
    let row = |alert: &Alert| {
        let state = match (&alert.silenced, &alert.inhibited) {
            (Some(id), _) => format!("{}, silence {id}", alert.state.word()),
            (None, Some(why)) => format!("{}, as {why}", alert.state.word()),
            (None, None) => alert.state.word().to_owned(),
        };
        vec![
            severity(alert.severity),
            state.into(),
            at(alert.since).into(),
            alert.rule().into(),
            alert.summary.as_str().into(),
        ]
    };
    out.table(&columns, &alerts.iter().map(row).collect::<Vec<_>>())
}

fn gives(checked: &CheckedExpr, out: Out) -> String {
    let CheckedExpr {
        series,
        holds,
        samples,
        ..
    } = checked;
    if samples.is_empty() {
        return "No series has a value: a rule with this condition finds nothing.\n".into();
    }
    let columns = [
        ("SERIES", Align::Left),
        ("VALUE", Align::Right),
        ("HOLDS", Align::Left),
    ];
    let row = |sample: &CheckedSample| {
        let pairs: Vec<String> = sample
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let holds = if sample.holds {
            Cell("yes".into(), Some(Colour::Red))
        } else {
            "no".into()
        };
        vec![
            pairs.join(" ").into(),
            sample.value.to_string().into(),
            holds,
        ]
    };
    let rows: Vec<_> = samples.iter().map(row).collect();
    let more = *series as usize - samples.len();
    let more = if more > 0 {
        format!("and {more} more\n")
    } else {
        String::new()
    };
    format!(
        "{}{more}It holds for {holds} of {series} series.\n",
        out.table(&columns, &rows)
    )
}

fn ruled(rules: &[RuleView], out: Out) -> String {
    let columns = [
        ("Rule", Align::Left),
        ("Severity", Align::Left),
        ("State", Align::Left),
        ("Series", Align::Right),
        ("Value", Align::Right),
        ("Condition", Align::Left),
    ];
    let row = |view: &RuleView| {
        let colour = match view.state {
            RuleState::Firing | RuleState::Failed => Some(Colour::Red),
            RuleState::Pending => Some(Colour::Yellow),
            RuleState::Absent | RuleState::Waiting | RuleState::Off => Some(Colour::Dim),
            RuleState::Inactive => None,
        };
        let value = view.value.map_or_else(String::new, |v| format!("{v:.4}"));
        let condition = match &view.error {
            Some(error) => format!("{} ({error})", view.rule.expr),
            None => view.rule.expr.clone(),
        };
        vec![
            view.rule.name.as_str().into(),
            severity(view.rule.severity),
            Cell(view.state.word().into(), colour),
            view.series.to_string().into(),
            value.into(),
            condition.into(),
        ]
    };
    out.table(&columns, &rules.iter().map(row).collect::<Vec<_>>())
}

fn silences(silences: &[Silence], out: Out) -> String {
    if silences.is_empty() {
        return "There is no silence.\n".into();
    }
    let columns = [
        ("Number", Align::Right),
        ("From", Align::Left),
        ("To", Align::Left),
        ("Alerts", Align::Left),
        ("By", Align::Left),
        ("Why", Align::Left),
    ];
    let row = |silence: &Silence| {
        let matcher = |m: &LabelMatch| {
            let sign = if m.is { "=" } else { "!=" };
            format!("{}{sign}{}", m.label, m.values.join(","))
        };
        let matchers: Vec<String> = silence.matchers.iter().map(matcher).collect();
        vec![
            silence.id.to_string().into(),
            at(silence.from).into(),
            at(silence.to).into(),
            matchers.join(" ").into(),
            silence.by.as_str().into(),
            silence.comment.as_str().into(),
        ]
    };
    out.table(&columns, &silences.iter().map(row).collect::<Vec<_>>())
}

fn history(changes: &[AlertChange]) -> String {
    let line = |change: &AlertChange| {
        let alert = &change.alert;
        let state = match alert.state {
            AlertState::Firing => "fires",
            AlertState::Resolved => "ended",
            AlertState::Pending => "pending",
        };
        let severity = alert.severity.word();
        format!(
            "{} {state:<7} {severity:<8} {}: {}\n",
            at(change.at),
            alert.rule(),
            alert.summary
        )
    };
    changes.iter().map(line).collect()
}

fn channeled(channels: &[ChannelView], out: Out) -> String {
    if channels.is_empty() {
        return "No channel is declared: nobody is told of alerts. [[alerts.channels]] of fleet.toml declares one.\n".into();
    }
    let columns = [
        ("Channel", Align::Left),
        ("Kind", Align::Left),
        ("To", Align::Left),
        ("From", Align::Left),
        ("Sent", Align::Right),
        ("Waiting", Align::Right),
        ("Given up", Align::Right),
        ("Trouble", Align::Left),
    ];
    let row = |view: &ChannelView| {
        vec![
            view.spec.name.as_str().into(),
            view.spec.kind.word().into(),
            view.to.as_str().into(),
            severity(view.spec.severity),
            view.sent.to_string().into(),
            view.waiting.to_string().into(),
            view.lost.to_string().into(),
            Cell(view.error.clone().unwrap_or_default(), Some(Colour::Red)),
        ]
    };
    let mut text = out.table(&columns, &channels.iter().map(row).collect::<Vec<_>>());
    for view in channels {
        for dead in &view.dead {
            text += &format!(
                "\n{} given up by {}: {}\n",
                at(dead.at),
                view.spec.name,
                dead.error
            );
            for alert in &dead.alerts {
                text += &format!("  {alert}\n");
            }
        }
    }
    text
}
