//! Rules of alerts in a text: in `[[alerts.rules]]`, or in a list of tables on a line.

use super::{EditError, distant_comment, finish, keep_comment, opening, read, replace, set_at};
use crate::units::{parse_duration, show_duration};
use flotilla_contract::alert::{AlertRule, RuleEdit, STANDARD_RULES, Severity};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// Changes the rules; what else stands in the text stays as it is.
///
/// # Errors
/// When a rule is not there, or there already, or the result is not valid.
pub fn edit_rules(text: &str, edit: &RuleEdit) -> Result<String, EditError> {
    let mut document = read(text)?;
    match edit {
        RuleEdit::Set { was, rule } => {
            let other = was.as_ref() != Some(&rule.name);
            if other && place(&mut document, &rule.name).is_some() {
                return Err(EditError::RuleExists(rule.name.clone()));
            }
            match was {
                Some(name) => {
                    let table = place(&mut document, name);
                    write(table.ok_or_else(|| EditError::NoRule(name.clone()))?, rule);
                }
                None => {
                    let prefix = opening(&mut document, text);
                    add(&mut document, rule, &prefix);
                }
            }
        }
        RuleEdit::Remove { name } => remove(&mut document, name)?,
        RuleEdit::Enable { name, enabled } => {
            if !STANDARD_RULES.contains(&name.as_str()) {
                return Err(EditError::NoRule(name.clone()));
            }
            let prefix = opening(&mut document, text);
            enable(alerts(&mut document, &prefix, false), name, *enabled);
        }
    }
    finish(&document)
}

/// `alerts`, made if it is not there; with a header of its own, or only for what stands below it.
fn alerts<'d>(document: &'d mut DocumentMut, prefix: &str, below: bool) -> &'d mut Item {
    document.entry("alerts").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(below);
        table.decor_mut().set_prefix(prefix);
        Item::Table(table)
    })
}

/// The table of a rule.
fn place<'d>(document: &'d mut DocumentMut, name: &str) -> Option<&'d mut dyn TableLike> {
    let is = |table: &dyn TableLike| table.get("name").and_then(Item::as_str) == Some(name);
    let rules = document
        .get_mut("alerts")?
        .as_table_like_mut()?
        .get_mut("rules")?;
    match rules {
        Item::ArrayOfTables(tables) => {
            let table = tables.iter_mut().find(|table| is(*table))?;
            Some(table)
        }
        Item::Value(Value::Array(list)) => {
            let mut tables = list.iter_mut().filter_map(Value::as_inline_table_mut);
            let table = tables.find(|table| is(*table))?;
            Some(table)
        }
        _ => None,
    }
}

/// The keys of a rule with their values, in the order in which people write them; without one where the default says the same.
fn keys(rule: &AlertRule) -> [(&'static str, Option<Value>); 9] {
    let time = |ms: u64| (ms > 0).then(|| Value::from(show_duration(ms)));
    let text = |text: &str| (!text.is_empty()).then(|| Value::from(text));
    let labels: InlineTable = rule
        .labels
        .iter()
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    let severity =
        (rule.severity != Severity::default()).then(|| Value::from(rule.severity.word()));
    [
        ("name", Some(Value::from(&rule.name))),
        ("expr", Some(Value::from(&rule.expr))),
        ("for", time(rule.for_ms)),
        ("keep_firing_for", time(rule.keep_firing_for_ms)),
        ("severity", severity),
        (
            "labels",
            (!labels.is_empty()).then_some(Value::InlineTable(labels)),
        ),
        (
            "summary",
            text(&rule.summary).filter(|_| rule.summary != rule.expr),
        ),
        ("description", text(&rule.description)),
        ("runbook", text(rule.runbook.as_deref().unwrap_or_default())),
    ]
}

/// Whether what stands there means a value already, however it is written.
fn means(item: &Item, value: &Value) -> bool {
    let times = item
        .as_str()
        .and_then(parse_duration)
        .zip(value.as_str().and_then(parse_duration));
    times.is_some_and(|(old, new)| old == new) || (item.is_str() && item.as_str() == value.as_str())
}

fn write(table: &mut dyn TableLike, rule: &AlertRule) {
    for (key, value) in keys(rule) {
        match (table.get_mut(key), value) {
            (None, None) => {}
            (Some(item), Some(value)) => {
                if !means(item, &value) {
                    replace(item, value);
                }
            }
            (None, Some(value)) => set_at(table, &[key], value),
            // A default that is said is no change.
            (Some(item), None)
                if key == "severity" && item.as_str() == Some(Severity::default().word()) => {}
            (Some(item), None) if item.as_str().and_then(parse_duration) == Some(0) => {}
            (Some(item), None) if key == "summary" && item.as_str() == Some(&rule.expr) => {}
            (Some(_), None) => {
                table.remove(key);
            }
        }
    }
}

fn add(document: &mut DocumentMut, rule: &AlertRule, prefix: &str) {
    let pairs = keys(rule)
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let alerts = alerts(document, prefix, true);
    let inline = alerts.is_inline_table();
    let Some(alerts) = alerts.as_table_like_mut() else {
        return;
    };
    let rules = alerts.entry("rules").or_insert_with(|| {
        if inline {
            Item::Value(Value::Array(Array::new()))
        } else {
            Item::ArrayOfTables(ArrayOfTables::new())
        }
    });
    match rules {
        Item::ArrayOfTables(tables) => {
            let mut table = Table::new();
            for (key, value) in pairs {
                table.insert(key, Item::Value(value));
            }
            table.decor_mut().set_prefix(prefix);
            tables.push(table);
        }
        Item::Value(Value::Array(list)) => list.push(pairs.collect::<InlineTable>()),
        // `read` has refused anything else.
        _ => {}
    }
}

fn remove(document: &mut DocumentMut, name: &str) -> Result<(), EditError> {
    let missing = || EditError::NoRule(name.to_owned());
    let is = |table: &dyn TableLike| table.get("name").and_then(Item::as_str) == Some(name);
    let alerts = document.get_mut("alerts").and_then(Item::as_table_like_mut);
    let rules = alerts
        .and_then(|alerts| alerts.get_mut("rules"))
        .ok_or_else(missing)?;
    let (comment, left) = match rules {
        Item::ArrayOfTables(tables) => {
            let at = tables
                .iter()
                .position(|table| is(table))
                .ok_or_else(missing)?;
            let gone = tables.remove(at);
            let comment = distant_comment(&gone).map(|comment| (gone.position(), comment));
            (comment, tables.len())
        }
        Item::Value(Value::Array(list)) => {
            let named = |rule: &Value| rule.as_inline_table().is_some_and(|table| is(table));
            let at = list.iter().position(named).ok_or_else(missing)?;
            list.remove(at);
            (None, list.len())
        }
        _ => return Err(missing()),
    };
    if left == 0 {
        let alerts = document.get_mut("alerts").and_then(Item::as_table_like_mut);
        let empty = alerts.is_some_and(|alerts| {
            alerts.remove("rules");
            alerts.is_empty()
        });
        let implicit = document
            .get("alerts")
            .and_then(Item::as_table)
            .is_some_and(Table::is_implicit);
        if empty && implicit {
            document.remove("alerts");
        }
    }
    if let Some((position, comment)) = comment {
        keep_comment(document, position, &comment);
    }
    Ok(())
}

/// Puts a name into `disabled`, or takes it out; an empty list goes.
fn enable(alerts: &mut Item, name: &str, enabled: bool) {
    let Some(alerts) = alerts.as_table_like_mut() else {
        return;
    };
    let there = alerts.get("disabled").and_then(Item::as_array).cloned();
    let mut list = there.unwrap_or_default();
    let at = list.iter().position(|it| it.as_str() == Some(name));
    match (enabled, at) {
        (true, Some(at)) => {
            list.remove(at);
        }
        (false, None) => list.push(name),
        (true, None) | (false, Some(_)) => return,
    }
    if list.is_empty() {
        alerts.remove("disabled");
    } else {
        set_at(alerts, &["disabled"], Value::Array(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use std::collections::BTreeMap;

    const FILE: &str = r#"# The fleet.

[servers.a]
command = "a"

# Who is told, and of what.
[alerts]
interval = "5s" # often

# Of the search.

# It was fat once.
[[alerts.rules]]
name = "Fat" # like that
expr = 'max by (server) (flotilla_rss_bytes{server="a"}) > 5'
for = "300s"

[[alerts.rules]]
name = "Slow"
expr = "flotilla_call_p95_ms > 5"
severity = "warning"

# The pager.
[[alerts.channels]]
name = "x"
kind = "desktop"
"#;

    fn rule(name: &str, expr: &str) -> AlertRule {
        AlertRule {
            name: name.into(),
            expr: expr.into(),
            for_ms: 0,
            keep_firing_for_ms: 0,
            severity: Severity::Warning,
            labels: BTreeMap::new(),
            summary: String::new(),
            description: String::new(),
            runbook: None,
        }
    }

    fn set(text: &str, was: Option<&str>, rule: AlertRule) -> Result<String, EditError> {
        let was = was.map(str::to_owned);
        edit_rules(text, &RuleEdit::Set { was, rule })
    }

    fn there(text: &str) -> Vec<AlertRule> {
        parse(text).unwrap().alerts.rules
    }

    #[test]
    fn a_rule_is_changed_where_it_stands() {
        let before = there(FILE).remove(0);
        assert_eq!(
            set(FILE, Some("Fat"), before.clone()).unwrap(),
            FILE,
            "nothing to change"
        );
        let after = AlertRule {
            name: "Large".into(),
            for_ms: 60_000,
            severity: Severity::Critical,
            labels: [("team".to_owned(), "a".to_owned())].into(),
            summary: "{{ server }} is \"large\"".into(),
            ..before
        };
        let text = set(FILE, Some("Fat"), after.clone()).unwrap();
        let expected = FILE
            .replace("\"Fat\" # like that", "\"Large\" # like that")
            .replace("for = \"300s\"\n", "for = \"1m\"\nseverity = \"critical\"\nlabels = { team = \"a\" }\nsummary = '{{ server }} is \"large\"'\n");
        assert_eq!(text, expected);
        assert_eq!(there(&text)[0], after);
        // A default that is said stays said; what is no more goes.
        let slow = AlertRule {
            for_ms: 0,
            ..there(FILE).remove(1)
        };
        assert_eq!(set(FILE, Some("Slow"), slow).unwrap(), FILE);
        let back = AlertRule {
            labels: BTreeMap::new(),
            summary: String::new(),
            severity: Severity::Warning,
            ..after
        };
        let text = set(&text, Some("Large"), back).unwrap();
        assert!(
            !text.contains("team") && !text.contains("critical") && !text.contains("summary"),
            "{text}"
        );
    }

    #[test]
    fn a_rule_comes_behind_the_others() {
        let new = "\n[[alerts.rules]]\nname = \"New\"\nexpr = \"up < 1\"\n";
        let text = set(FILE, None, rule("New", "up < 1")).unwrap();
        assert_eq!(
            text,
            FILE.replace("\n# The pager.", &format!("{new}\n# The pager."))
        );
        let only = |text: &str| set(text, None, rule("New", "up < 1")).unwrap();
        assert_eq!(only(""), new.trim_start());
        assert_eq!(only("# nothing yet\n"), format!("# nothing yet\n{new}"));
        assert_eq!(
            only("profile = \"test\"\n"),
            format!("profile = \"test\"\n{new}")
        );
        assert_eq!(
            only("[alerts]\ndefaults = false\n\n[panel]\nport = 1\n"),
            format!("[alerts]\ndefaults = false\n{new}\n[panel]\nport = 1\n")
        );
        assert_eq!(
            only("alerts = { defaults = false }\n"),
            "alerts = { defaults = false , rules = [{ name = \"New\", expr = \"up < 1\" }] }\n"
        );
        for (was, name, error) in [
            (None, "Slow", EditError::RuleExists("Slow".into())),
            (Some("Fat"), "Slow", EditError::RuleExists("Slow".into())),
            (Some("Gone"), "Gone", EditError::NoRule("Gone".into())),
        ] {
            assert_eq!(set(FILE, was, rule(name, "up < 1")), Err(error));
        }
        let wrong = set(FILE, None, rule("New", "up <"));
        assert!(matches!(wrong, Err(EditError::Invalid(_))), "{wrong:?}");
    }

    #[test]
    fn a_rule_is_taken_out_with_the_comment_above_it() {
        let remove =
            |text: &str, name: &str| edit_rules(text, &RuleEdit::Remove { name: name.into() });
        let fat = "# It was fat once.\n[[alerts.rules]]\nname = \"Fat\" # like that\nexpr = 'max by (server) (flotilla_rss_bytes{server=\"a\"}) > 5'\nfor = \"300s\"\n\n";
        assert_eq!(remove(FILE, "Fat").unwrap(), FILE.replace(fat, ""));
        for text in [
            "[[alerts.rules]]\nname = \"A\"\nexpr = \"up < 1\"\n",
            "alerts.rules = [{ name = \"A\", expr = \"up < 1\" }]\n",
        ] {
            assert_eq!(
                parse(&remove(text, "A").unwrap()).unwrap(),
                crate::Fleet::default(),
                "{text}"
            );
        }
        assert_eq!(remove(FILE, "Gone"), Err(EditError::NoRule("Gone".into())));
    }

    #[test]
    fn a_rule_that_comes_with_flotilla_is_disabled_and_enabled() {
        let enable = |text: &str, name: &str, enabled| {
            edit_rules(
                text,
                &RuleEdit::Enable {
                    name: name.into(),
                    enabled,
                },
            )
        };
        let off = enable(FILE, "RateLimited", false).unwrap();
        let line = "interval = \"5s\" # often\n";
        assert_eq!(
            off,
            FILE.replace(line, &format!("{line}disabled = [\"RateLimited\"]\n"))
        );
        let both = enable(&off, "CallsSlow", false).unwrap();
        assert_eq!(
            parse(&both).unwrap().alerts.disabled,
            ["RateLimited", "CallsSlow"]
        );
        assert_eq!(enable(&both, "CallsSlow", true).unwrap(), off);
        assert_eq!(enable(&off, "RateLimited", true).unwrap(), FILE);
        assert_eq!(enable(&off, "RateLimited", false).unwrap(), off, "it is");
        assert_eq!(
            enable("", "RateLimited", false).unwrap(),
            "[alerts]\ndisabled = [\"RateLimited\"]\n"
        );
        let below = "[[alerts.rules]]\nname = \"A\"\nexpr = \"up < 1\"\n";
        let text = enable(below, "RateLimited", false).unwrap();
        assert_eq!(parse(&text).unwrap().alerts.rules.len(), 1, "{text}");
        assert_eq!(
            enable(FILE, "Fat", false),
            Err(EditError::NoRule("Fat".into()))
        );
    }
}
