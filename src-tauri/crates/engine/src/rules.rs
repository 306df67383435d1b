//! Rules and channels of alerts for operators: what a condition gives now, and changes in `fleet.toml`, shown before they are written.

use crate::{
    alerts::{Store, put_in_force, values},
    clock, config,
    core::Core,
};
use flotilla_config::{
    edit::{EditError, edit_channels, edit_rules, without_credentials},
    hash, unified_diff,
};
use flotilla_contract::{
    Caller, ErrorCode, WireError,
    alert::{
        ChannelEdit, ChannelTested, ChannelView, ChannelWriteParams, CheckedExpr, CheckedSample,
        EditPreview, ExprWrong, RuleEdit, RuleView, RuleWriteParams,
        expr::{Expr, ExprError, Sample},
    },
    command::ConfigWritten,
};

/// Values of a condition that are shown.
const SHOWN: usize = 50;

fn checked(expr: &Expr, mut values: Vec<Sample>) -> CheckedExpr {
    let count = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    let held = values
        .iter()
        .filter(|sample| expr.holds(sample.value))
        .count();
    let series = count(values.len());
    values.sort_by(|a, b| {
        let holds = |sample: &Sample| !expr.holds(sample.value);
        holds(a)
            .cmp(&holds(b))
            .then_with(|| a.labels.cmp(&b.labels))
    });
    values.truncate(SHOWN);
    let sample = |sample: Sample| CheckedSample {
        holds: expr.holds(sample.value),
        labels: sample.labels,
        value: sample.value,
    };
    CheckedExpr {
        wrong: None,
        series,
        holds: count(held),
        samples: values.into_iter().map(sample).collect(),
    }
}

impl Core {
    /// Whether a text is a condition, and what it gives now.
    pub(crate) async fn check_expr(&self, text: &str) -> Result<CheckedExpr, WireError> {
        let expr = match text.parse::<Expr>() {
            Ok(expr) => expr,
            Err(ExprError { column, message }) => {
                let column = u32::try_from(column).unwrap_or(u32::MAX);
                return Ok(CheckedExpr {
                    wrong: Some(ExprWrong { column, message }),
                    ..CheckedExpr::default()
                });
            }
        };
        let values = values(&Store(self), &expr, clock::now()).await;
        let values = values.map_err(|why| {
            WireError::new(ErrorCode::Upstream, format!("ask for the values: {why}"))
        })?;
        Ok(checked(&expr, values))
    }

    /// The rules. Who has just written the file sees what he wrote.
    pub(crate) fn alert_rules(&self) -> Vec<RuleView> {
        put_in_force(self, self.fleet().alerts.clone());
        self.alerts.rules()
    }

    /// What a change of the rules would make of the file.
    pub(crate) fn preview_rules(&self, edit: &RuleEdit) -> Result<EditPreview, WireError> {
        self.preview(|text| edit_rules(text, edit))
    }

    /// What a change of the channels would make of the file.
    pub(crate) fn preview_channels(&self, edit: &ChannelEdit) -> Result<EditPreview, WireError> {
        self.preview(|text| edit_channels(text, edit))
    }

    fn preview(
        &self,
        make: impl FnOnce(&str) -> Result<String, EditError>,
    ) -> Result<EditPreview, WireError> {
        let text = self.text_to_edit()?;
        let after = make(&text).map_err(config::edit_error)?;
        Ok(EditPreview {
            path: self.config.path.display().to_string(),
            hash: hash(&text),
            diff: unified_diff(&without_credentials(&text), &without_credentials(&after)),
        })
    }

    /// The channels. Who has just written the file sees what he wrote, and can test it.
    pub(crate) fn alert_channels(&self) -> Vec<ChannelView> {
        self.alerts.set_channels(&self.fleet().alerts.channels);
        self.alerts.channels()
    }

    /// Sends a test message over a channel.
    pub(crate) async fn test_channel(&self, name: &str) -> Result<ChannelTested, WireError> {
        self.alerts.set_channels(&self.fleet().alerts.channels);
        self.alerts.test(name).await
    }

    /// Writes a change of the channels.
    pub(crate) async fn write_channels(
        &self,
        caller: &Caller,
        params: ChannelWriteParams,
    ) -> Result<ConfigWritten, WireError> {
        let edit = params.edit;
        let reason = match &edit {
            ChannelEdit::Set { channel, .. } => format!("channel {} set", channel.name),
            ChannelEdit::Remove { name } => format!("channel {name} removed"),
        };
        let make = |text: &str| edit_channels(text, &edit).map_err(config::edit_error);
        self.write_config(caller, &reason, params.hash.as_deref(), &[], make)
            .await
    }

    /// Writes a change of the rules.
    pub(crate) async fn write_rules(
        &self,
        caller: &Caller,
        params: RuleWriteParams,
    ) -> Result<ConfigWritten, WireError> {
        let edit = params.edit;
        let reason = match &edit {
            RuleEdit::Set { rule, .. } => format!("rule {} set", rule.name),
            RuleEdit::Remove { name } => format!("rule {name} removed"),
            RuleEdit::Enable {
                name,
                enabled: true,
            } => format!("rule {name} enabled"),
            RuleEdit::Enable { name, .. } => format!("rule {name} disabled"),
        };
        let make = |text: &str| edit_rules(text, &edit).map_err(config::edit_error);
        self.write_config(caller, &reason, params.hash.as_deref(), &[], make)
            .await
    }
}
