//! Rules of alerts for operators: what a condition gives now, and changes of the rules in `fleet.toml`, shown before they are written.

use crate::{
    alerts::{Store, put_in_force, values},
    clock, config,
    core::Core,
};
use flotilla_config::{edit::edit_rules, hash, unified_diff};
use flotilla_contract::{
    Caller, ErrorCode, WireError,
    alert::{
        CheckedExpr, CheckedSample, ExprWrong, RuleEdit, RulePreview, RuleView, RuleWriteParams,
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
    pub(crate) fn preview_rules(&self, edit: &RuleEdit) -> Result<RulePreview, WireError> {
        let text = self.text_to_edit()?;
        let after = edit_rules(&text, edit).map_err(config::edit_error)?;
        Ok(RulePreview {
            path: self.config.path.display().to_string(),
            hash: hash(&text),
            diff: unified_diff(&text, &after),
        })
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
