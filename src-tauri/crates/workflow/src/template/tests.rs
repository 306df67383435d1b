use super::*;
use crate::expr::tests::with_scope;
use serde_json::json;

fn value(given: &Value) -> Result<Value, String> {
    let compile = || {
        let mut problems = Vec::new();
        let template = Template::compile(given, &mut |path, why| {
            problems.push(format!("{path}: {why}"))
        });
        problems.into_iter().next().map_or(Ok(template), Err)
    };
    let template = crate::expr::on_deep_stack(compile).unwrap()?;
    with_scope(|scope| template.value(scope))
}

#[test]
fn types_survive_and_texts_are_joined() {
    for (given, expected) in [
        (json!("plain"), json!("plain")),
        (json!("${{ vars.urls }}"), json!(["a", "b"])),
        (json!("  ${{ vars.days }}"), json!("  30")),
        (json!("${{ vars.days }}"), json!(30)),
        (json!("${{ vars.none }}"), json!(null)),
        (
            json!("keep ${{ vars.days }} days of ${{vars.name}}${{ vars.none }}."),
            json!("keep 30 days of web."),
        ),
        (json!("all: ${{ vars.urls }}"), json!("all: [\"a\",\"b\"]")),
        (
            json!("$${{ not }} ${{ vars.name }}"),
            json!("${{ not }} web"),
        ),
        (json!("${{ {'a': {'b': '}}'}}.a.b }}"), json!("}}")),
        (
            json!("cost: $5, {x}, ${HOME}, ${secret:token}"),
            json!("cost: $5, {x}, ${HOME}, ${secret:token}"),
        ),
        (
            json!({"a": [1, "${{ item.id }}"], "b": {"c": true}}),
            json!({"a": [1, 4], "b": {"c": true}}),
        ),
    ] {
        assert_eq!(value(&given), Ok(expected), "{given}");
    }
}

#[test]
fn what_is_wrong_names_its_place() {
    for (given, part) in [
        (json!({"a": [0, "${{ 1 + }}"]}), ".a[1]: "),
        (json!("${{ open"), "has no }}"),
        (
            json!({"a": {"b": "${{ vars.missing }}"}}),
            "a.b: vars.missing has no value",
        ),
    ] {
        let why = value(&given).unwrap_err();
        assert!(why.contains(part), "{given}: {why}");
    }
}
