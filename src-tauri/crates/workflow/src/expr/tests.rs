use super::*;
use crate::scope::{StepFacts, Steps};
use flotilla_contract::workflow::StepState;
use proptest::prelude::*;
use serde_json::json;

/// One step, `build`, which completed.
pub(crate) struct Built {
    output: Value,
    outputs: Map<String, Value>,
}

impl Built {
    pub(crate) fn new(output: Value) -> Self {
        let outputs = Map::from_iter([("size".to_owned(), json!(7))]);
        Self { output, outputs }
    }
}

impl Steps for Built {
    fn step(&self, id: &str) -> Option<StepFacts<'_>> {
        (id == "build").then_some(StepFacts {
            state: StepState::Completed,
            output: &self.output,
            outputs: &self.outputs,
            error: None,
        })
    }

    fn ids(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(["build"].into_iter())
    }
}

/// Runs `check` with a scope of some of everything.
pub(crate) fn with_scope<T>(check: impl FnOnce(&Scope<'_>) -> T) -> T {
    let built = Built::new(
        json!({"z": 1, "a": {"big": 9_007_199_254_740_993_u64, "list": [1, 2, 3]}, "ok": true, "f": 1.0}),
    );
    let vars = json!({"name": "web", "days": 30, "urls": ["a", "b"], "none": null});
    let run = json!({"number": 31});
    let trigger = json!({"kind": "webhook", "body": {"ref": "main"}});
    let item = json!({"id": 4});
    check(&Scope {
        vars: vars.as_object().unwrap(),
        run: &run,
        trigger: &trigger,
        steps: &built,
        item: Some((&item, 2)),
        output: Some(&built.output),
    })
}

fn compile(text: &str) -> Result<Expr, String> {
    on_deep_stack(|| Expr::compile(text)).unwrap()
}

fn value(text: &str) -> Result<Value, String> {
    with_scope(|scope| compile(text)?.value(scope))
}

#[test]
fn values() {
    for (text, expected) in [
        ("vars.name", json!("web")),
        (
            "trigger.body.ref == 'main' && !has(trigger.server)",
            json!(true),
        ),
        ("${{ vars.days }}", json!(30)),
        ("vars.days + 1", json!(31)),
        ("vars.days > 20 && vars.name == 'web'", json!(true)),
        ("vars.urls.size() == 2", json!(true)),
        ("vars.urls.map(u, u + '!')", json!(["a!", "b!"])),
        ("vars.urls.exists(u, u == 'b')", json!(true)),
        ("vars.none == null", json!(true)),
        ("steps.build.state == 'completed'", json!(true)),
        ("steps.build.output.ok", json!(true)),
        ("steps['build'].output.ok", json!(true)),
        ("steps.build.outputs.size", json!(7)),
        ("steps.build.error == null", json!(true)),
        ("has(steps.build.output.nothing)", json!(false)),
        ("has(steps.build.output.ok)", json!(true)),
        ("steps.build.output.a.list[1]", json!(2)),
        ("output.z", json!(1)),
        ("item.id * 10 + index", json!(42)),
        ("run.number", json!(31)),
        (
            "{'b': 1, 'a': [true, null]}",
            json!({"a": [true, null], "b": 1}),
        ),
        ("'a,b'.split(',')", json!(["a", "b"])),
        ("vars.name.matches('^w')", json!(true)),
        ("steps.build.output.f == 1", json!(true)),
        ("true", json!(true)),
        // A path keeps what CEL would not: the order of keys, and every digit.
        ("steps.build.output.a.big", json!(9_007_199_254_740_993_u64)),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
    let kept = value("steps.build.output").unwrap().to_string();
    assert!(kept.starts_with(r#"{"z":1,"a""#), "{kept}");
}

#[test]
fn what_has_no_value_says_where_it_ends() {
    for (text, part) in [
        (
            "steps.build.output.a.nothing.more",
            "steps.build.output.a.nothing has no value",
        ),
        ("vars.missing", "vars.missing has no value"),
        ("steps.other.output", "steps.other has no value"),
        ("steps.build.output.a.nothing == 1", "nothing"),
        ("vars.name + 1", "string"),
        ("1 / 0", "zero"),
        ("unknown(1)", "unknown"),
    ] {
        let why = value(text).unwrap_err();
        assert!(why.to_lowercase().contains(part), "{text}: {why}");
    }
    for text in [
        "",
        "  ",
        "1 +",
        "${{ }}",
        "a b",
        "\"open",
        &"1+".repeat(600),
    ] {
        assert!(compile(text).is_err(), "{text:?}");
    }
}

#[test]
fn only_true_and_false_are_conditions() {
    let holds = |text: &str| with_scope(|scope| compile(text).unwrap().holds(scope));
    assert_eq!(holds("vars.days == 30"), Ok(true));
    assert!(holds("vars.days").is_err_and(|why| why.contains("true and false")));
}

#[test]
fn references_are_those_of_the_run_alone() {
    let refs = compile("steps.a.output.map(x, x + vars.b + steps['c-d'].outputs.e).size() > y && has(steps.f.error)")
        .unwrap()
        .references();
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(refs.steps, names(&["a", "c-d", "f"]));
    assert_eq!(refs.vars, names(&["b"]));
    assert_eq!(refs.roots, names(&["steps", "vars", "y"]));
    assert_eq!(
        compile("steps.a").unwrap().references().steps,
        names(&["a"])
    );
}

#[test]
fn the_deepest_expression_fits_a_small_stack() {
    // Parsed on the deep stack of the compiler, run on that of a worker.
    let mut accepted = 0;
    for text in [
        vec!["1"; DEEPEST - 2].join("+"),
        vec!["1"; LONGEST / 2].join("+"),
        vec!["true"; LONGEST / 6].join("&&"),
        format!("{}1{}", "[".repeat(28), "]".repeat(28)),
        format!("{}1{}", "[".repeat(90), "]".repeat(90)),
        format!("{}true", "!".repeat(900)),
    ] {
        if let Ok(expr) = compile(&text) {
            accepted += 1;
            let small = std::thread::Builder::new().stack_size(2 << 20);
            let run = move || with_scope(|scope| drop(expr.value(scope)));
            small.spawn(run).unwrap().join().unwrap();
        }
    }
    assert!(accepted >= 2, "{accepted}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_json_comes_back_from_cel(number in any::<i64>(), text in "\\PC{0,20}", float in -1e15..1e15_f64) {
        let given = json!({"list": [number, text, float, null, true], "map": {"k": number}});
        prop_assert_eq!(json(&cel(&given)).unwrap(), given);
    }
}
