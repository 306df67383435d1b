use super::*;
use serde_json::json;

fn check(yaml: &str) -> Result<Plan, Vec<Finding>> {
    compile(parse(yaml).map_err(|finding| vec![finding])?, &Anything)
}

/// The findings of a definition, each as `path: message`.
fn findings(yaml: &str) -> Vec<String> {
    let findings = check(yaml)
        .map(|_| Vec::new())
        .unwrap_or_else(|findings| findings);
    findings
        .iter()
        .map(|f| format!("{}: {}", f.path, f.message))
        .collect()
}

#[test]
fn yaml_and_json_say_the_same() {
    let yaml = "
name: nightly
description: Backs up.
vars:
  days: { type: integer, default: 30 }
concurrency: 3
steps:
  - id: dump
    name: Dump the database
    uses: shell
    with: { run: 'pg_dump ${{ vars.days }}', list: [1, true, null, 1.5] }
    retry: { attempts: 3, backoff: 1m30s, on: [timeout, interrupted] }
    timeout: 10m
    outputs: { size: output.size }
  - id: send
    uses: tool/storage__put
    needs: [Dump the database]
    if: steps.dump.outputs.size > 0
    on_failure: { compensate: undo }
  - { id: undo, uses: shell, with: { run: rm } }
";
    let definition = parse(yaml).unwrap();
    let json = serde_json::to_string(&definition).unwrap();
    assert_eq!(parse(&json).unwrap(), definition);
    let plan = compile(definition, &Anything).unwrap();
    assert_eq!(plan.steps[1].needs, [0]);
    assert_eq!(plan.steps[1].compensation, Some(2));
    assert!(plan.steps[2].dormant);
    assert_eq!((plan.limit, plan.steps[0].timeout), (3, Some(600_000)));
    assert_eq!(plan.order().len(), 3);
}

#[test]
fn what_is_wrong_names_field_value_and_what_is_accepted() {
    let step = |text: &str| {
        format!(
            "name: w\nsteps:\n  - {{ id: a, uses: data }}\n  - {{ id: b, uses: data, {text} }}\n"
        )
    };
    for (yaml, path, part) in [
        (step("needs: [c]"), "steps.b.needs", "no step has the id or name \"c\""),
        (step("needs: [b]"), "steps.b.needs", "b -> b"),
        (step("if: '1 +'"), "steps.b.if", "is no expression"),
        (step("if: steps.a.output"), "steps.b.if", "add \"a\" to needs"),
        (step("if: vars.x"), "steps.b.if", "vars.x is not declared"),
        (step("if: foo.bar"), "steps.b.if", "foo is no name here"),
        (step("with: { x: '${{ item }}' }"), "steps.b.with", "item means nothing here"),
        (step("with: { x: ['${{ 1 ++ }}'] }"), "steps.b.with.x[0]", "is no expression"),
        (step("for_each: 5"), "steps.b.for_each", "accepted are a list and an expression"),
        (step("concurrency: 0"), "steps.b.concurrency", "accepted are 1 to 1000"),
        (step("retry: { attempts: 0 }"), "steps.b.retry.attempts", "accepted are 1 to 100"),
        (step("retry: { attempts: 2, factor: 0.5 }"), "steps.b.retry.factor", "accepted are 1 to 10"),
        (step("retry: { attempts: 2, on: [refused] }"), "steps.b.retry.on", "would end the same"),
        (step("on_failure: { compensate: b }"), "steps.b.on_failure", "cannot undo itself"),
        (step("on_failure: { compensate: c }"), "steps.b.on_failure", "no step has the id"),
        (step("on_failure: { compensate: a }, needs: [a]"), "steps.b.needs", "nothing can need it"),
        ("name: w\nsteps:\n  - { id: a, uses: nothing }\n".into(), "steps.a.uses", "accepted are shell, http"),
        ("name: w\nsteps:\n  - { id: a, uses: fleet/fly }\n".into(), "steps.a.uses", "rolling-restart"),
        ("name: w\nsteps:\n  - { id: 1a, uses: data }\n".into(), "steps[0].id", "accepted are a letter"),
        ("name: w\nsteps:\n  - { id: a, uses: data }\n  - { id: a, uses: data }\n".into(), "steps[1].id", "two steps"),
        ("name: a b\nsteps:\n  - { id: a, uses: data }\n".into(), "name", "is not a name"),
        ("name: w\nsteps: []\n".into(), "steps", "accepted are 1 to"),
        ("name: w\nvars: { n: { type: integer, default: x } }\nsteps:\n  - { id: a, uses: data }\n".into(), "vars.n.default", "accepted is an integer"),
        ("name: w\nsteps:\n  - { id: a, uses: data, wiht: {} }\n".into(), "", "wiht"),
        ("name: w\nsteps:\n  - { id: a, uses: data, timeout: 5 }\n".into(), "", "accepted are 500ms"),
        ("name: w\nname: v\nsteps: []\n".into(), "", "duplicate"),
    ] {
        let found = findings(&yaml);
        let line = format!("{path}: ");
        assert!(found.iter().any(|f| f.starts_with(&line) && f.contains(part)), "{yaml}\n{found:#?}");
    }
    let slip = findings(
        "name: w\nsteps:\n  - { id: run_tests, uses: data }\n  - { id: b, uses: data, needs: [run-tests] }\n",
    );
    assert!(slip[0].contains("did you mean \"run_tests\"?"), "{slip:?}");
    let unknown = parse("name: w\nsteps:\n  - id: a\n    uses: data\n    wiht: {}\n").unwrap_err();
    assert_eq!(unknown.line, Some(5), "{unknown:?}");
}

#[test]
fn a_circle_is_named_in_its_order() {
    let found = findings(
        "name: w\nsteps:\n  - { id: free, uses: data }\n  - { id: a, uses: data, needs: [c, free] }\n  - { id: b, uses: data, needs: [a] }\n  - { id: c, uses: data, needs: [b] }\n  - { id: after, uses: data, needs: [c] }\n",
    );
    assert_eq!(
        found,
        ["steps.a.needs: steps need each other in a circle: a -> c -> b -> a"]
    );
}

#[test]
fn variables_are_bound_over_their_defaults() {
    let plan = check(
        "
name: w
vars:
  path: { default: ./src }
  days: { type: integer }
  mode: { options: [fast, safe], default: safe }
steps:
  - { id: a, uses: data }
",
    )
    .unwrap();
    let bind = |given: serde_json::Value| plan.bind(given.as_object().unwrap());
    assert_eq!(
        bind(json!({"days": 3})).map(Value::Object),
        Ok(json!({"path": "./src", "days": 3, "mode": "safe"}))
    );
    for (given, path) in [
        (json!({}), "vars.days"),
        (json!({"days": "3"}), "vars.days"),
        (json!({"days": 3, "dasy": 3}), "vars.dasy"),
        (json!({"days": 3, "mode": "slow"}), "vars.mode"),
    ] {
        let findings = bind(given.clone()).unwrap_err();
        assert_eq!(findings[0].path, path, "{given}");
        assert!(findings[0].message.contains("accepted"), "{given}");
    }
}

#[test]
fn waits_between_tries_grow_and_are_bounded() {
    let retry = Retry {
        attempts: 9,
        backoff: Some(Span(1_000)),
        factor: Some(3.0),
        max_backoff: Some(Span(20_000)),
        jitter: Some(0.5),
        on: None,
    };
    let terms = Terms::new(Some(&retry));
    let waits: Vec<_> = (1..=4).map(|failed| terms.wait(failed, 0.0)).collect();
    assert_eq!(waits, [1_000, 3_000, 9_000, 20_000]);
    assert_eq!((terms.wait(1, -1.0), terms.wait(1, 1.0)), (500, 1_500));
    assert_eq!(terms.wait(u32::MAX, 1.0), 30_000);
}
