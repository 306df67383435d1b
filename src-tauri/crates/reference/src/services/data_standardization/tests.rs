//! Known answers, worked out by hand unless said otherwise. CRC-32 and SHA-256 come from Python's zlib and hashlib.

use super::service;
use crate::{
    service::{Host, Service},
    tool::{Context, Refusal},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{
    fs,
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// 2024-03-01T00:00:00.123Z
fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_709_251_200_123)
}

/// Without an output folder. Made once: reading twelve pairs of schemas is most of what a call costs here.
static SERVICE: LazyLock<Service> = LazyLock::new(|| service(&Host::new(None, clock)));

fn on(data: Option<PathBuf>, tool: &str, arguments: Value) -> Result<Value, Refusal> {
    let with_folder = data.map(|data| service(&Host::new(Some(data), clock)));
    with_folder
        .as_ref()
        .unwrap_or_else(|| &*SERVICE)
        .ask(tool, arguments)
}

fn call(tool: &str, arguments: Value) -> Value {
    on(None, tool, arguments).unwrap_or_else(|refusal| panic!("{tool}: {refusal}"))
}

fn refusal(tool: &str, arguments: Value) -> String {
    on(None, tool, arguments)
        .expect_err("it was taken")
        .to_string()
}

#[track_caller]
fn near(actual: &Value, expected: f64) {
    let actual = actual.as_f64().expect("no number");
    assert!(
        (actual - expected).abs() < 1e-12,
        "{actual} is not {expected}"
    );
}

#[test]
fn twelve_tools_in_order() {
    let service = service(&Host::new(None, clock));
    let names: Vec<_> = service
        .tools
        .iter()
        .map(|tool| (tool.name, tool.alias.unwrap_or_default()))
        .collect();
    assert_eq!(
        names,
        [
            (
                "handle_standardization",
                "handle_mcp_enhanced_standardization"
            ),
            ("standardize_accounts", "mcp_account_standardization_skill"),
            ("standardize_batch", "mcp_batch_standardization_skill"),
            (
                "run_standardization_workflow",
                "mcp_enhanced_standardization_workflow"
            ),
            ("assess_data_quality", "_assess_data_quality_with_mcp"),
            ("validate_data", "_validate_data_with_mcp"),
            ("save_results", "_save_mcp_enhanced_results"),
            ("run_example", "example_mcp_integration"),
            ("quality_assessment", "mcp_quality_assessment"),
            ("validation_tools", "mcp_validation_tools"),
            ("performance_tools", "mcp_performance_tools"),
            ("confidence_calculator", "mcp_confidence_calculator"),
        ]
    );
    assert_eq!((service.name, service.port), ("data_standardization", 8101));
}

/// Key order of the last record differs from the first: it is its duplicate all the same.
fn four_records() -> Value {
    json!([
        {"id": 1, "email": "a@example.org", "updated_at": "2024-03-01"},
        {"id": 2, "email": "bad", "updated_at": "2023-12-19"},
        {"id": "3", "email": null},
        {"updated_at": "2024-03-01", "email": "a@example.org", "id": 1},
    ])
}

#[test]
fn quality_has_six_dimensions() {
    let schema = json!({"id": {"required": true, "type": "integer"}, "email": {"format": "email"}});
    let arguments = json!({
        "dataset": four_records(), "schema": schema, "now": "2024-03-01T00:00:00Z", "thresholds": {"validity": 0.9},
    });
    let quality = call("assess_data_quality", arguments);
    let expected = [
        // id weighs 1, email 0.5: (1 + 1 + 1/1.5 + 1) / 4
        ("completeness", 11.0 / 12.0),
        // one email of four is bad: (1 + 0.8 + 1 + 1) / 4
        ("accuracy", 0.95),
        // id has two types, email and updated_at one: (1/2 + 1 + 1) / 3
        ("consistency", 5.0 / 6.0),
        // ages of 0, 73, none and 0 days: (1 + 0.8 + 0.5 + 1) / 4
        ("timeliness", 0.825),
        // id there 4 of 4, an integer 3 of 4, email well written 2 of 3
        ("validity", 9.0 / 11.0),
        ("uniqueness", 0.75),
    ];
    let mut overall = 0.0;
    for (index, ((name, score), weight)) in expected
        .iter()
        .zip([0.25, 0.25, 0.20, 0.15, 0.10, 0.05])
        .enumerate()
    {
        let dimension = &quality["dimensions"][index];
        assert_eq!(dimension["dimension"], *name);
        near(&dimension["score"], *score);
        near(&dimension["weight"], weight);
        overall += score * weight;
    }
    near(&quality["overall"], overall);
    assert_eq!(quality["level"], "good");
    assert_eq!(quality["issues"].as_array().map(Vec::len), Some(1));
    assert_eq!(quality["issues"][0]["dimension"], "validity");
    assert_eq!(quality["recommendations"].as_array().map(Vec::len), Some(1));
}

#[test]
fn quality_is_asked_for_in_part_and_at_a_moment() {
    // Without schema all fields that occur are expected: 3/3, 3/3, 1/3, 3/3. Weights 0.3 and 0.1 make shares of 3/4 and 1/4.
    let arguments = json!({
        "dataset": four_records(), "dimensions": ["uniqueness", "completeness"], "weights": {"completeness": 0.3, "uniqueness": 0.1},
    });
    let quality = call("_assess_data_quality_with_mcp", arguments);
    near(&quality["dimensions"][0]["score"], 10.0 / 12.0);
    near(&quality["overall"], 0.75 * 10.0 / 12.0 + 0.25 * 0.75);
    let timeliness = |arguments: Value| call("assess_data_quality", arguments)["overall"].clone();
    // The newest date counts; what is ahead of now is new, what is over a year old counts for nothing.
    let check = |record: Value, expected: f64| {
        let arguments = json!({"dataset": [record], "dimensions": ["timeliness"], "now": "2024-03-01T00:00:00Z"});
        near(&timeliness(arguments), expected);
    };
    check(
        json!({"created_at": "2020-01-01", "updated_at": "2023-12-19"}),
        0.8,
    );
    check(json!({"timestamp": "2030-01-01"}), 1.0);
    check(json!({"date": "2022-01-01"}), 0.0);
    check(json!({"date": "soon"}), 0.5);
    // Without now, the server's clock: 123 ms later.
    near(
        &timeliness(json!({"dataset": [{"date": "2024-03-01"}], "dimensions": ["timeliness"]})),
        1.0 - 123.0 / 86_400_000.0 / 365.0,
    );
    assert_eq!(
        refusal(
            "assess_data_quality",
            json!({"dataset": [{}], "now": "today"})
        ),
        "now: must be ISO 8601, as 2026-01-31T12:00:00Z"
    );
    let arguments =
        json!({"dataset": [{}], "dimensions": ["accuracy"], "weights": {"accuracy": 0}});
    assert!(refusal("assess_data_quality", arguments).starts_with("weights: are all 0"));
    assert_eq!(
        refusal("assess_data_quality", json!({"dataset": []})),
        "dataset: [] has less than 1 item"
    );
}

#[test]
fn data_is_validated_at_three_levels() {
    let schema = json!({
        "code": {"required": true, "format": "alphanumeric"},
        "amount": {"type": "number", "min": 0, "max": 100},
        "owner": {"required": true},
        "colour": {"allowed": ["red", "blue"], "min_length": 3},
    });
    // code: there, badly written; amount: a number, too large; owner: missing; colour is not there and optional.
    let report = call(
        "validate_data",
        json!({"data": {"code": "A-1", "amount": 150, "note": ""}, "schema": schema}),
    );
    assert_eq!(
        (&report["passed"], &report["checks"], &report["is_valid"]),
        (&json!(2), &json!(5), &json!(false))
    );
    near(&report["compliance_score"], 0.4);
    let errors: Vec<_> = report["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|e| (&e["field"], &e["check"]))
        .collect();
    assert_eq!(
        format!("{errors:?}"),
        r#"[(String("amount"), String("range")), (String("code"), String("format")), (String("owner"), String("required"))]"#
    );
    assert_eq!(
        report["warnings"],
        json!(["note is not declared; 1 records have it"])
    );
    assert_eq!(
        report["field_validations"]["amount"],
        json!({"is_valid": false, "checks": 2, "passed": 1})
    );
    // Five checks and seven, of which the amount's range fails.
    let data = json!([{"code": "A1", "owner": "x", "amount": 7}, {"code": "A2", "owner": "x", "colour": "red", "amount": -1}]);
    let check = |level: &str, is_valid: bool| {
        let report = call(
            "validate_data",
            json!({"data": data, "schema": schema, "level": level}),
        );
        near(&report["compliance_score"], 11.0 / 12.0);
        assert_eq!(report["is_valid"], is_valid, "{level}");
        assert_eq!(report["errors"][0]["record"], 1);
    };
    check("strict", false);
    check("standard", true);
    check("lenient", true);
    assert_eq!(
        call("validate_data", json!({"data": {}, "schema": {}}))["is_valid"],
        true
    );
    assert_eq!(
        refusal(
            "validate_data",
            json!({"data": {}, "schema": {"a": {"min": 2, "max": 1}}})
        ),
        "schema.a.min: 2 is above max, 1"
    );
    assert_eq!(
        refusal(
            "validate_data",
            json!({"data": [{}], "schema": {"a": {"kind": "text"}}})
        ),
        "schema.a.kind: is not an argument of this tool"
    );
}

#[test]
fn errors_are_counted_beyond_those_listed() {
    let data: Vec<Value> = (0..300).map(|_| json!({})).collect();
    let report = call(
        "validate_data",
        json!({"data": data, "schema": {"a": {"required": true}}}),
    );
    assert_eq!(report["error_count"], 300);
    assert_eq!(report["errors"].as_array().map(Vec::len), Some(100));
}

#[test]
fn completeness_of_a_record() {
    let check = |more: Value, expected: f64| {
        let mut arguments = json!({"data": {"a": 1, "b": " ", "c": "x", "d": []}, "required_fields": ["a", "b"], "optional_fields": ["c", "d"]});
        arguments
            .as_object_mut()
            .expect("object")
            .extend(more.as_object().cloned().unwrap_or_default());
        let report = call("quality_assessment", arguments);
        near(&report["score"], expected);
        report
    };
    // a and c are there: 1.5 of 3.
    let strict = check(json!({}), 0.5);
    assert_eq!(strict["missing_required"], json!(["b"]));
    assert_eq!(strict["missing_optional"], json!(["d"]));
    assert_eq!(strict["present"], json!(["a", "c"]));
    assert_eq!(strict["level"], "fair");
    check(json!({"empty": "lenient"}), 1.0);
    // 1.5 of 1 + 5 + 0.5 + 0.5
    check(json!({"field_weights": {"b": 5}}), 1.5 / 7.0);
    let refused = |arguments: Value, expected: &str| {
        assert_eq!(refusal("quality_assessment", arguments), expected)
    };
    refused(
        json!({"data": {}, "required_fields": []}),
        "required_fields: no field has a weight; name at least one that has",
    );
    refused(
        json!({"data": {}, "required_fields": ["a"], "optional_fields": ["a"]}),
        "optional_fields: \"a\" is required already",
    );
    refused(
        json!({"data": {}, "required_fields": ["a"], "field_weights": {"z": 1}}),
        "field_weights: \"z\" is neither a required nor an optional field",
    );
}

/// What a rule says of each record: `+` passed, `-` violated, `.` did not apply.
fn verdicts(
    op: &str,
    key: &str,
    rule: &Value,
    records: &[Value],
    dataset: Option<&Value>,
) -> String {
    records
        .iter()
        .map(|record| {
            let mut arguments = json!({"op": op, "data": record});
            arguments[key] = json!([rule]);
            if let Some(dataset) = dataset {
                arguments["dataset"] = dataset.clone();
            }
            let report = call("validation_tools", arguments);
            match (report["evaluated"].as_u64(), report["passed"].as_u64()) {
                (Some(0), _) => '.',
                (Some(1), Some(1)) => '+',
                _ => '-',
            }
        })
        .collect()
}

#[test]
fn business_rules_are_data() {
    let check = |rule: Value, records: &[Value], expected: &str| {
        assert_eq!(
            verdicts("business_rules", "rules", &rule, records, None),
            expected,
            "{rule}"
        );
    };
    check(
        json!({"rule": "required_field", "field": "a"}),
        &[json!({"a": 0}), json!({"a": " "}), json!({})],
        "+--",
    );
    check(
        json!({"rule": "format_validation", "field": "a", "format": "ipv4"}),
        &[json!({"a": "192.0.2.1"}), json!({"a": "x"}), json!({})],
        "+-.",
    );
    check(
        json!({"rule": "range_check", "field": "a", "min": 1, "max": 2}),
        &[
            json!({"a": 1}),
            json!({"a": 2.5}),
            json!({"a": "1"}),
            json!({}),
        ],
        "+--.",
    );
    check(
        json!({"rule": "dependency_check", "dependency": "required_if_present", "field": "a", "other": "b"}),
        &[json!({"a": 1, "b": 1}), json!({"b": 1}), json!({"a": 1})],
        "+-.",
    );
    check(
        json!({"rule": "dependency_check", "dependency": "required_if_value", "field": "a", "other": "b", "value": 1}),
        &[json!({"a": 1, "b": 1.0}), json!({"b": 1}), json!({"b": 2})],
        "+-.",
    );
    check(
        json!({"rule": "dependency_check", "dependency": "mutually_exclusive", "fields": ["a", "b"]}),
        &[json!({"a": 1}), json!({"a": 1, "b": 1}), json!({})],
        "+-.",
    );
    check(
        json!({"rule": "dependency_check", "dependency": "both_or_neither", "fields": ["a", "b"]}),
        &[json!({"a": 1, "b": 1}), json!({"b": 1}), json!({})],
        "+-.",
    );
    let logic = |when: Value, then: Value| json!({"rule": "business_logic", "when": [when], "then": [then]});
    check(
        logic(
            json!({"field": "type", "is": "in", "values": ["loan", "bond"]}),
            json!({"field": "end", "is": "greater", "other": "start"}),
        ),
        &[
            json!({"type": "loan", "start": "2024-03-01", "end": "2024-03-01T01:00:00Z"}),
            json!({"type": "bond", "start": "2024-03-01T00:00:00+02:00", "end": "2024-02-29T22:00:00Z"}),
            json!({"type": "bond", "start": 3}),
            json!({"type": "cash"}),
        ],
        "+--.",
    );
    let compare = |is: &str, records: &[Value], expected: &str| {
        let condition = json!({"field": "a", "is": is, "value": 2});
        check(
            json!({"rule": "business_logic", "then": [condition]}),
            records,
            expected,
        );
    };
    let numbers = [
        json!({"a": 1}),
        json!({"a": 2.0}),
        json!({"a": 3}),
        json!({"a": "2"}),
        json!({}),
    ];
    compare("equals", &numbers, "-+---");
    compare("not_equals", &numbers, "+-++-");
    compare("less", &numbers, "+----");
    compare("at_most", &numbers, "++---");
    compare("greater", &numbers, "--+--");
    compare("at_least", &numbers, "-++--");
    check(
        logic(
            json!({"field": "a", "is": "absent"}),
            json!({"field": "b", "is": "present"}),
        ),
        &[json!({"b": 1}), json!({}), json!({"a": 1})],
        "+-.",
    );
    check(
        json!({"rule": "business_logic", "then": [{"field": "a", "is": "not_in", "values": [2]}]}),
        &[json!({"a": 1}), json!({"a": 2})],
        "+-",
    );
}

#[test]
fn uniqueness_is_within_groups_and_what_is_known() {
    let arguments = json!({
        "op": "business_rules",
        "data": [{"g": "x", "a": 1}, {"g": "y", "a": 1}, {"g": "x", "a": 1.0}, {"a": null}, {"g": "x", "a": 7}],
        "dataset": [{"g": "x", "a": 7}],
        "rules": [{"name": "one each", "rule": "uniqueness_check", "field": "a", "group_by": "g"}, {"rule": "uniqueness_check", "field": "a"}],
    });
    let report = call("mcp_validation_tools", arguments);
    let violations: Vec<_> = report["violations"]
        .as_array()
        .expect("list")
        .iter()
        .map(|v| format!("{} {}", v["name"], v["record"]))
        .collect();
    // Grouped: the third repeats the first, the fifth the dataset. Everywhere: the second repeats the first, too.
    assert_eq!(
        violations,
        [
            "\"one each\" 2",
            "\"one each\" 4",
            "\"uniqueness_check\" 1",
            "\"uniqueness_check\" 2",
            "\"uniqueness_check\" 4"
        ]
    );
    near(&report["compliance_score"], 3.0 / 8.0);
    assert_eq!(report["is_valid"], false);
    assert_eq!(
        report["results"][0],
        json!({"name": "one each", "evaluated": 4, "passed": 2})
    );
}

#[test]
fn integrity_has_five_checks() {
    let check = |rule: Value, records: &[Value], expected: &str| {
        let dataset = json!([{"id": 1}, {"id": 2}]);
        let dataset = (rule["check"] == "relationships").then_some(&dataset);
        assert_eq!(
            verdicts("integrity", "checks", &rule, records, dataset),
            expected,
            "{rule}"
        );
    };
    // hashlib.sha256(b'{"a":1,"b":"x"}'): keys in order, 1.0 as 1, no spaces (RFC 8785).
    let sum = "ecf9e98ec0641e23113ff3ce8bdc78d0ddd249886517fd4a7f68cc83d4e65667";
    check(
        json!({"check": "checksum", "field": "sum"}),
        &[
            json!({"b": "x", "sum": sum.to_uppercase(), "a": 1.0}),
            json!({"a": 2, "b": "x", "sum": sum}),
            json!({"a": 1}),
        ],
        "+--",
    );
    check(
        json!({"check": "checksum", "expected": sum, "fields": ["a", "b"]}),
        &[json!({"a": 1, "b": "x", "c": 1})],
        "+",
    );
    check(
        json!({"check": "format", "field": "a", "format": "date_iso"}),
        &[
            json!({"a": "2024-03-01"}),
            json!({"a": "1.3.2024"}),
            json!({}),
        ],
        "+-.",
    );
    check(
        json!({"check": "relationships", "field": "parent", "references": "id"}),
        &[json!({"parent": 2}), json!({"parent": 3}), json!({})],
        "+-.",
    );
    // 5 % of the larger: 105 and 100 are 5 apart, 5 % of 105 is 5.25.
    check(
        json!({"check": "numerical", "field": "total", "fields": ["a", "b"]}),
        &[
            json!({"total": 105, "a": 60, "b": 40}),
            json!({"total": 106, "a": 60, "b": 40}),
            json!({"total": 0, "a": 5, "b": -5}),
            json!({"total": 1e308, "a": 1e308, "b": 1e308}),
            json!({"total": "1", "a": 1}),
            json!({"total": 1}),
        ],
        "+-+--.",
    );
    check(
        json!({"check": "temporal", "fields": ["created", "sent", "paid"]}),
        &[
            json!({"created": "2024-01-01", "paid": "2024-01-01"}),
            json!({"created": "2024-01-02", "sent": "2024-01-03", "paid": "2024-01-01"}),
            json!({"created": "soon", "paid": "2024-01-01"}),
            json!({"paid": "2024-01-01"}),
        ],
        "+--.",
    );
    // Valid from 0.8 on: four of five, three of four.
    let valid = |dates: &[&str]| {
        let data: Vec<Value> = dates.iter().map(|date| json!({"a": date})).collect();
        let report = call(
            "validation_tools",
            json!({"op": "integrity", "data": data, "checks": [{"check": "format", "field": "a", "format": "numeric"}]}),
        );
        (report["score"].clone(), report["is_valid"].clone())
    };
    assert_eq!(valid(&["1", "2", "3", "4", "x"]), (json!(0.8), json!(true)));
    assert_eq!(valid(&["1", "2", "3", "x"]), (json!(0.75), json!(false)));
}

#[test]
fn structure_is_presence_and_type() {
    let schema =
        json!({"a": {"required": true, "type": "integer", "min": 100}, "b": {"type": "string"}});
    let arguments = json!({"op": "structure", "data": [{"a": 1, "c": 1}, {"a": 1.5, "b": "x"}, {"b": 2}], "schema": schema});
    // a: right, wrong, missing; b: right, wrong.
    let report = call("validation_tools", arguments.clone());
    assert_eq!(
        (&report["evaluated"], &report["passed"]),
        (&json!(5), &json!(2))
    );
    near(&report["compliance_score"], 0.4);
    let mut closed = arguments;
    closed["allow_undeclared"] = json!(false);
    // The first record has c: 2 more of 3 pass.
    near(&call("validation_tools", closed)["compliance_score"], 0.5);
}

#[test]
fn what_a_rule_does_not_read_is_refused_by_name() {
    let check = |op: &str, key: &str, rule: Value, expected: &str| {
        let mut arguments = json!({"op": op, "data": {}});
        arguments[key] = json!([rule]);
        assert_eq!(refusal("validation_tools", arguments), expected);
    };
    let rules = |rule, expected: &str| check("business_rules", "rules", rule, expected);
    rules(
        json!({"rule": "range_check", "min": 1}),
        "rules[0].field: is required by this kind, and missing",
    );
    rules(
        json!({"rule": "range_check", "field": "a"}),
        "rules[0].min: range_check needs min, max, or both",
    );
    rules(
        json!({"rule": "required_field", "field": "a", "min": 1}),
        "rules[0].min: is not an argument of this kind of rule",
    );
    rules(
        json!({"rule": "business_logic", "then": [{"field": "a", "is": "less"}]}),
        "rules[0].then[0]: compares with either value or other, and needs one of them",
    );
    rules(
        json!({"rule": "eval", "field": "a"}),
        "rules[0].rule: \"eval\" is not accepted: one of [\"required_field\",\"format_validation\",\"range_check\",\"dependency_check\",\"uniqueness_check\",\"business_logic\"] is",
    );
    check(
        "integrity",
        "checks",
        json!({"check": "relationships", "field": "a"}),
        "dataset: is required by the check relationships, and missing",
    );
    check(
        "integrity",
        "checks",
        json!({"check": "temporal", "fields": ["a"]}),
        "checks[0].fields: temporal needs at least 2 fields",
    );
    check(
        "structure",
        "rules",
        json!({"rule": "required_field"}),
        "rules: is not an argument of op structure",
    );
    assert_eq!(
        refusal("validation_tools", json!({"op": "structure", "data": {}})),
        "schema: is required by op structure"
    );
}

#[test]
fn runs_are_measured() {
    let service = service(&Host::new(None, clock));
    let tool = service.tool("performance_tools").expect("no such tool");
    let measure = |operation: &str, duration_ms: f64| {
        let arguments = json!({"op": "measure", "operation": operation, "duration_ms": duration_ms, "records": 4, "errors": 1});
        tool.call(&Context::default(), arguments).expect("refused")["measure"].clone()
    };
    for (index, duration) in [50.0, 10.0, 40.0, 20.0].into_iter().enumerate() {
        let run = measure("load", duration);
        assert_eq!(
            (run["samples"].as_u64(), run.get("percentiles")),
            (Some(index as u64 + 1), None)
        );
    }
    // Another operation's runs are its own.
    assert_eq!(measure("other", 1.0)["samples"], 1);
    let run = measure("load", 30.0);
    // Of 10..50: ranks 2, 3.8 and 3.96 from 0.
    let percentiles = &run["percentiles"];
    near(&percentiles["p50"], 30.0);
    near(&percentiles["p95"], 48.0);
    near(&percentiles["p99"], 49.6);
    near(&run["throughput"], 4.0 / 0.03);
    near(&run["error_rate"], 0.25);
    // Duration and throughput are kept, errors are 0.02 / 0.25 = 0.08 near.
    near(&run["score"], 2.08 / 3.0);
    for _ in 0..1100 {
        measure("load", 7.0);
    }
    let run = measure("load", 7.0);
    assert_eq!(run["samples"], 1000);
    near(&run["percentiles"]["p99"], 7.0);
}

#[test]
fn promises_are_compared() {
    let check = |arguments: Value, status: &str, compliance: f64| {
        let report = call("performance_tools", arguments);
        assert_eq!(report["sla"]["status"], status);
        near(&report["sla"]["compliance"], compliance);
    };
    // Half as good as promised, each.
    check(
        json!({"op": "sla", "duration_ms": 10_000, "error_rate": 0.04, "throughput": 50}),
        "NON_COMPLIANT",
        0.5,
    );
    check(
        json!({"op": "sla", "duration_ms": 5000, "error_rate": 0.02, "throughput": 100}),
        "COMPLIANT",
        1.0,
    );
    // (0.9 + 1) / 2 = 0.95: just enough.
    check(
        json!({"op": "sla", "throughput": 90, "error_rate": 0}),
        "COMPLIANT",
        0.95,
    );
    check(
        json!({"op": "sla", "error_rate": 0.5, "targets": {"max_error_rate": 0}}),
        "NON_COMPLIANT",
        0.0,
    );
    check(
        json!({"op": "sla", "throughput": 0, "targets": {"min_throughput": 0}}),
        "COMPLIANT",
        1.0,
    );
    assert_eq!(
        refusal("performance_tools", json!({"op": "sla"})),
        "duration_ms: sla needs at least one of duration_ms, error_rate, throughput"
    );
    assert_eq!(
        refusal(
            "performance_tools",
            json!({"op": "measure", "operation": "x"})
        ),
        "duration_ms: is required by op measure"
    );
    assert_eq!(
        refusal(
            "performance_tools",
            json!({"op": "benchmark", "value": 1, "errors": 1})
        ),
        "errors: is not an argument of op benchmark"
    );
}

#[test]
fn a_value_is_judged_by_its_baseline() {
    let check = |arguments: Value, z: Option<f64>, score: f64, rating: &str| {
        let report = call("mcp_performance_tools", arguments)["benchmark"].clone();
        assert_eq!(report.get("z_score").and_then(Value::as_f64), z);
        near(&report["score"], score);
        assert_eq!(report["rating"], rating);
    };
    // The textbook example: mean 5, standard deviation of the population 2.
    let baseline = json!([2, 4, 4, 4, 5, 5, 7, 9]);
    check(
        json!({"op": "benchmark", "value": 5, "baseline": baseline}),
        Some(0.0),
        1.0,
        "excellent",
    );
    check(
        json!({"op": "benchmark", "value": 7, "baseline": baseline}),
        Some(1.0),
        2.0 / 3.0,
        "good",
    );
    check(
        json!({"op": "benchmark", "value": 2, "baseline": baseline}),
        Some(-1.5),
        0.5,
        "fair",
    );
    check(
        json!({"op": "benchmark", "value": 50, "baseline": baseline}),
        Some(22.5),
        0.0,
        "poor",
    );
    check(
        json!({"op": "benchmark", "value": 1, "mean": 0, "std": 0}),
        None,
        0.0,
        "poor",
    );
    check(
        json!({"op": "benchmark", "value": 0, "mean": 0, "std": 0}),
        Some(0.0),
        1.0,
        "excellent",
    );
    check(
        json!({"op": "benchmark", "value": 1e100, "mean": -1e100, "std": 1e-300}),
        Some(f64::MAX),
        0.0,
        "poor",
    );
}

#[test]
fn confidence_is_weighted_and_bounded() {
    let check = |arguments: Value, expected: f64| {
        let report = call("confidence_calculator", arguments);
        near(&report["confidence"], expected);
        report
    };
    // (0.25 x 0.8 + 0.10 x 0.6) / 0.35
    let report = check(
        json!({"evidence": {"data_quality": 0.8, "validation": 0.6}}),
        0.26 / 0.35,
    );
    near(
        &report["factor_breakdown"]["data_quality"]["weight"],
        5.0 / 7.0,
    );
    near(
        &report["factor_breakdown"]["validation"]["contribution"],
        0.06 / 0.35,
    );
    assert_eq!(report["recommendations"].as_array().map(Vec::len), Some(1));
    assert!(report["explanation"].is_string());
    check(
        json!({"evidence": {"data_quality": 0.8, "validation": 0.6}, "custom_weights": {"data_quality": 0.1}}),
        0.7,
    );
    check(
        json!({"evidence": {"data_quality": 0, "validation": 0}}),
        0.05,
    );
    let report = check(
        json!({"evidence": {"data_quality": 1, "validation": 1}, "include_explanation": false}),
        0.95,
    );
    assert!(report.get("explanation").is_none());
    assert_eq!(
        refusal(
            "confidence_calculator",
            json!({"evidence": {"data_quality": 1, "validation": 1}, "custom_weights": {"data_quality": 0, "validation": 0}})
        ),
        "custom_weights: are both 0; give one of them a weight"
    );
    assert_eq!(
        refusal(
            "confidence_calculator",
            json!({"evidence": {"data_quality": 1.5, "validation": 1}})
        ),
        "evidence.data_quality: 1.5 is greater than the maximum of 1.0"
    );
}

#[test]
fn accounts_are_classed_by_name() {
    let check = |path: &str, expected: [&str; 6]| {
        let report = call(
            "standardize_accounts",
            json!({"items": [{"account_id": 7, "hierarchy_path": path}]}),
        );
        assert_eq!(report["status"], "completed", "{path}");
        let account = &report["items"][0]["standardized"];
        let fields = [
            "account_type",
            "account_code",
            "account_subtype",
            "ifrs9_classification",
            "basel_classification",
            "regulatory_treatment",
        ];
        assert_eq!(
            fields.map(|field| account[field].as_str().unwrap_or_default()),
            expected,
            "{path}"
        );
    };
    // zlib.crc32(path) % 1000 of the standard path: 185, 590, 638.
    check(
        "assets → current  assets → cash and cash equivalents → PETTY cash",
        [
            "Asset",
            "1185",
            "Current",
            "Amortised Cost",
            "Cash",
            "Risk Weighted",
        ],
    );
    check(
        "Liabilities → Current Liabilities → Accounts Payable → Trade",
        [
            "Liability",
            "2590",
            "Current",
            "Amortised Cost",
            "Not Applicable",
            "Funding",
        ],
    );
    check(
        "Equity → Reserves → Legal Reserve → Main",
        [
            "Equity",
            "3638",
            "Reserves",
            "Not Applicable",
            "Common Equity Tier 1",
            "Own Funds",
        ],
    );
    // The longest phrase wins: an expense made of income tax, a liability made of revenue, an asset made of expenses.
    let kind = |l1: &str| {
        let report = call(
            "standardize_accounts",
            json!({"items": [{"account_id": "a", "l1_category": l1, "l2_subcategory": "x", "l3_classification": "y"}]}),
        );
        report["items"][0]["standardized"]["account_type"].clone()
    };
    assert_eq!(kind("Income Tax Expense"), "Expense");
    assert_eq!(kind("Deferred Revenue"), "Liability");
    assert_eq!(kind("Prepaid Expenses"), "Asset");
    assert_eq!(kind("Miscellaneous"), "Unknown");
}

#[test]
fn accounts_carry_their_confidence() {
    let items = json!([
        {"account_id": "1", "l1_category": "Assets", "l2_subcategory": "CASH"},
        {"account_id": "2", "l1_category": "misc", "l2_subcategory": "things"},
    ]);
    let report = call("mcp_account_standardization_skill", json!({"items": items}));
    let item = &report["items"][0];
    assert_eq!(item["original"], items[0]);
    assert_eq!(item["standardized"]["hierarchy_path"], "Assets → CASH");
    assert_eq!(item["standardized"]["account_code"], "1294");
    assert_eq!(item["standardized"]["l4_specific"], "Unknown");
    // 3 of 5 fields given, all of the standard known: 5/7 x 3/5 + 2/7.
    near(&item["quality_factors"]["input_completeness"], 0.6);
    near(&item["confidence"], 5.0 / 7.0);
    // Unknown type: category and path are known, 1.5 of 6.5.
    let unknown = &report["items"][1];
    near(
        &unknown["quality_factors"]["output_completeness"],
        1.5 / 6.5,
    );
    near(&unknown["confidence"], 3.0 / 7.0 + 2.0 / 7.0 * 1.5 / 6.5);
    near(&report["success_rate"], 0.5);
    near(
        &report["average_confidence"],
        (5.0 / 7.0 + 3.0 / 7.0 + 2.0 / 7.0 * 1.5 / 6.5) / 2.0,
    );
    // Eight fields each; the second has two of them.
    near(
        &report["post_validation"]["compliance_score"],
        (16.0 + 4.0) / (16.0 + 10.0),
    );
}

#[test]
fn poor_data_is_left_alone() {
    let report = call(
        "standardize_accounts",
        json!({"items": [{"account_id": "1", "l1_category": "Assets"}]}),
    );
    assert_eq!(report["status"], "quality_insufficient");
    assert_eq!(
        report["reason"],
        "completeness of the account records is 0.400, below 0.6"
    );
    assert_eq!(report["items"], json!([]));
    assert_eq!(report["success_rate"], 0.0);
    // Three of five fields have two types each: (3 x 1/2 + ... ) falls below 0.6.
    let items = json!([
        {"account_id": 1, "l1_category": 1, "l2_subcategory": 1, "l3_classification": 1, "l4_specific": 1},
        {"account_id": "a", "l1_category": "b", "l2_subcategory": "c", "l3_classification": "d", "l4_specific": "e"},
    ]);
    let report = call("standardize_accounts", json!({"items": items}));
    assert_eq!(
        report["reason"],
        "consistency of the account records is 0.500, below 0.6"
    );
}

fn full_sets() -> Value {
    json!({
        "location": [
            {"location_id": "L1", "l1_region": "EMEA", "l2_country": "uk", "l3_state": "england", "l4_city": "LONDON "},
            {"location_id": "L2", "hierarchy_path": "europe → Atlantis → x → y"},
        ],
        "product": [{"product_id": "P1", "l1_category": "loans", "l2_family": "SME loans", "l3_line": "n/a", "l4_specific": "overdraft"}],
    })
}

#[test]
fn a_batch_is_summed_up() {
    let batch = call("standardize_batch", full_sets());
    assert!(batch.get("account").is_none());
    let place = &batch["location"]["items"][0]["standardized"];
    assert_eq!(
        place["hierarchy_path"],
        "Europe → United Kingdom of Great Britain and Northern Ireland → England → London"
    );
    assert_eq!(
        (&place["country_code"], &place["country_code_alpha3"]),
        (&json!("GB"), &json!("GBR"))
    );
    let product = &batch["product"]["items"][0]["standardized"];
    assert_eq!(product["hierarchy_path"], "Loans → SME Loans → Overdraft");
    let summary = &batch["batch_summary"];
    assert_eq!(
        (&summary["total_records"], &summary["standardized_records"]),
        (&json!(3), &json!(2))
    );
    near(&summary["success_rate"], 2.0 / 3.0);
    // All five fields given. Known of the standard: 1; region, state, city and path, 2.5 of 4.5; all but the line,
    // 3 of 3.5, which makes 0.959 and is bounded like the first.
    let confidences = [0.95, 5.0 / 7.0 + 2.0 / 7.0 * 2.5 / 4.5, 0.95];
    near(
        &summary["overall_confidence"],
        confidences.iter().sum::<f64>() / 3.0,
    );
    // Nothing is dated: timeliness 0.5, all else 1.
    near(&summary["overall_quality"], 0.925);
    assert_eq!(summary["id"], "batch_1709251200");
    // The clock stands still, which counts as one millisecond.
    assert_eq!(
        (
            &summary["performance"]["duration_ms"],
            &summary["performance"]["throughput"]
        ),
        (&json!(1.0), &json!(3000.0))
    );
    near(
        &summary["performance"]["sla"]["compliance"],
        (2.0 + 0.02 * 3.0) / 3.0,
    );
    assert_eq!(
        refusal("standardize_batch", json!({})),
        "account: give at least one record in account, location or product"
    );
}

#[test]
fn everything_comes_in_one_result() {
    let handled = call("handle_mcp_enhanced_standardization", full_sets());
    assert_eq!(handled["id"], "mcp_std_1709251200");
    near(&handled["quality"]["location"], 0.925);
    // A known field passes two checks (there, text), an unknown one fails one: six known, then four of six.
    near(
        &handled["validation"]["location"],
        (12.0 + 8.0) / (12.0 + 8.0 + 2.0),
    );
    assert_eq!(handled["standardization"]["product"]["status"], "completed");
    assert!(handled["quality"].get("account").is_none());
}

#[test]
fn a_workflow_saves_what_passed_its_gates() {
    let folder = tempfile::tempdir().expect("no folder");
    let data = folder.path().join("results");
    let sets = json!({
        "workflow_id": "w-1",
        "location": [{"location_id": "L1", "l1_region": "Europe", "l2_country": "DEU", "l3_state": "Bavaria", "l4_city": "Munich"}],
    });
    let report = on(
        Some(data.clone()),
        "mcp_enhanced_standardization_workflow",
        sets.clone(),
    )
    .expect("refused");
    assert_eq!(
        (&report["status"], &report["saved"]),
        (&json!("completed"), &json!(true))
    );
    let steps: Vec<_> = report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|s| format!("{} {}", s["step"], s["status"]))
        .collect();
    assert_eq!(
        steps.join(", ").replace('"', ""),
        "initial_quality passed, standardization passed, standardization_quality passed, sla passed, save passed"
    );
    // (success 1 + confidence 0.95) / 2
    near(&report["steps"][2]["score"], 0.975);
    let path = data.join("mcp_enhanced_w-1.json");
    assert_eq!(report["path"], path.display().to_string());
    let file: Value = serde_json::from_slice(&fs::read(&path).expect("no file")).expect("no JSON");
    assert_eq!(file["metadata"]["version"], "5.0.0");
    assert_eq!(file["metadata"]["timestamp"], "2024-03-01T00:00:00.123Z");
    assert_eq!(
        file["results"]["results"]["location"]["items"][0]["standardized"]["country_code"],
        "DE"
    );
    // Without a folder it completes all the same, and says why nothing is saved.
    let report = call("run_standardization_workflow", sets);
    assert_eq!(
        (&report["status"], &report["saved"]),
        (&json!("completed"), &json!(false))
    );
    assert_eq!(
        report["not_saved"],
        "the server was started without an output folder (`--data DIR`)"
    );
    // A folder that cannot be is tried twice.
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").expect("no file");
    let report = on(Some(blocked), "run_example", json!({})).expect("refused")["result"].clone();
    assert_eq!(
        (&report["saved"], &report["steps"][4]["attempts"]),
        (&json!(false), &json!(2))
    );
}

#[test]
fn a_workflow_stops_at_a_gate() {
    let check = |location: Value, failed_at: &str, steps: usize| {
        let report = call(
            "run_standardization_workflow",
            json!({"location": [location]}),
        );
        assert_eq!(
            (&report["status"], &report["failed_at"]),
            (&json!("failed"), &json!(failed_at))
        );
        assert_eq!(report["steps"].as_array().map(Vec::len), Some(steps));
        assert_eq!(report["saved"], false);
        report
    };
    // Completeness 1/5, accuracy 1.
    let report = check(json!({"location_id": "x"}), "initial_quality", 1);
    near(&report["steps"][0]["score"], 0.6);
    assert!(report.get("results").is_none());
    let lost = json!({"location_id": "x", "l1_region": "Lemuria", "l2_country": "Atlantis", "l3_state": "a", "l4_city": "b"});
    let report = check(lost, "standardization_quality", 3);
    // Success 0, confidence 5/7 + 2/7 x 1.5/4.5.
    near(&report["steps"][2]["score"], (5.0 / 7.0 + 2.0 / 21.0) / 2.0);
    assert_eq!(report["workflow_id"], "mcp_std_1709251200");
}

#[test]
fn a_workflow_gives_up_after_its_time() {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    let slow = || UNIX_EPOCH + Duration::from_secs(SECONDS.fetch_add(901, Ordering::Relaxed));
    let service = service(&Host::new(None, slow));
    let tool = service
        .tool("run_standardization_workflow")
        .expect("no such tool");
    let place = json!({"location_id": "x", "l1_region": "Europe", "l2_country": "DE", "l3_state": "a", "l4_city": "b"});
    let report = tool
        .call(&Context::default(), json!({"location": [place]}))
        .expect("refused");
    assert_eq!(
        (&report["status"], &report["failed_at"]),
        (&json!("failed"), &json!("initial_quality"))
    );
    assert_eq!(report["reason"], "it took 901 s, longer than 900 s");
}

#[test]
fn results_are_saved_under_a_checked_name() {
    let folder = tempfile::tempdir().expect("no folder");
    let data = folder.path().to_path_buf();
    let save = |id: &str, results: Value| {
        on(
            Some(data.clone()),
            "save_results",
            json!({"workflow_id": id, "results": results, "tools_used": ["a"]}),
        )
    };
    let saved = save("A_1-b", json!({"x": 1})).expect("refused");
    assert_eq!(saved["file_name"], "mcp_enhanced_A_1-b.json");
    assert_eq!(saved["metadata"]["tools_used"], json!(["a"]));
    save("A_1-b", json!({"x": 2})).expect("refused");
    let path = data.join("mcp_enhanced_A_1-b.json");
    let file: Value = serde_json::from_slice(&fs::read(path).expect("no file")).expect("no JSON");
    assert_eq!(file["results"], json!({"x": 2}));
    for id in ["../x", "a/b", "a.b", "", "a\n", "ä"] {
        let refusal = save(id, json!({})).expect_err("it was taken").to_string();
        assert!(refusal.starts_with("workflow_id: "), "{id:?}: {refusal}");
    }
    // One file, and nothing left beside it.
    assert_eq!(fs::read_dir(&data).expect("no folder").count(), 1);
    for index in 1..1000 {
        fs::write(data.join(format!("mcp_enhanced_{index}.json")), "").expect("no file");
    }
    let refusal = save("one-more", json!({}))
        .expect_err("it was taken")
        .to_string();
    assert_eq!(
        refusal,
        "the output folder holds 1000 results already; remove some"
    );
    save("A_1-b", json!({})).expect("a file that is there can be replaced");
    assert_eq!(
        on(
            None,
            "save_results",
            json!({"workflow_id": "x", "results": {}})
        ),
        Err(Refusal::Failed(
            "the server was started without an output folder (`--data DIR`)".into()
        ))
    );
}

#[test]
fn the_example_passes() {
    let report = call("example_mcp_integration", json!({}));
    assert_eq!(report["passed"], true, "{}", report["checks"]);
    assert_eq!(
        report["result"]["results"]["account"]["items"][0]["standardized"]["account_code"],
        "1185"
    );
    assert_eq!(report["result"]["saved"], false);
}

#[test]
fn resources_and_prompts_are_there() {
    let service = service(&Host::new(None, clock));
    let read = |uri: &str| {
        (service
            .resources
            .iter()
            .find(|resource| resource.uri == uri)
            .expect("no such resource")
            .read)()
    };
    assert_eq!(
        read("standardization://config")["quality"]["weights"]["consistency"],
        0.2
    );
    assert_eq!(
        read("standardization://config")["shapes"]["product"]["levels"][2],
        "l3_line"
    );
    let countries = read("standardization://countries");
    assert_eq!(countries["countries"].as_array().map(Vec::len), Some(249));
    for prompt in &service.prompts {
        let arguments: Map<String, Value> = prompt
            .arguments
            .iter()
            .map(|argument| {
                (
                    argument.name.to_owned(),
                    format!("<{}>", argument.name).into(),
                )
            })
            .collect();
        let text = prompt.text(&arguments).expect("refused");
        for argument in arguments.keys() {
            assert!(
                text.contains(&format!("<{argument}>")),
                "{}: {text}",
                prompt.name
            );
        }
    }
    let names: Vec<_> = service.prompts.iter().map(|prompt| prompt.name).collect();
    assert_eq!(
        names,
        [
            "quality_assessment_report",
            "validation_report",
            "performance_analysis_report"
        ]
    );
}

#[test]
fn a_caller_that_left_is_not_served() {
    let context = Context::default();
    context.cancelled.cancel();
    let service = service(&Host::new(None, clock));
    for tool in [
        "handle_standardization",
        "run_standardization_workflow",
        "standardize_batch",
    ] {
        let tool = service.tool(tool).expect("no such tool");
        assert_eq!(tool.call(&context, full_sets()), Err(Refusal::Cancelled));
    }
    let tool = service.tool("assess_data_quality").expect("no such tool");
    assert_eq!(
        tool.call(&context, json!({"dataset": [{}]})),
        Err(Refusal::Cancelled)
    );
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        "[a-c ]{0,3}".prop_map(Value::from),
        Just(json!("2024-01-01")),
        Just(json!([1])),
    ]
}

fn any_record() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("a"), Just("b"), Just("date"), Just("l1_category")];
    prop::collection::vec((name, any_value()), 0..4).prop_map(|fields| {
        Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scores_are_shares_and_order_does_not_matter(mut records in prop::collection::vec(any_record(), 1..6)) {
        let schema = json!({"a": {"required": true, "type": "number"}, "b": {"format": "date_iso"}});
        let assess = |records: &[Value]| call("assess_data_quality", json!({"dataset": records, "schema": schema}));
        let forward = assess(&records);
        records.reverse();
        let backward = assess(&records);
        for (one, other) in forward["dimensions"].as_array().unwrap().iter().zip(backward["dimensions"].as_array().unwrap()) {
            let (one, other) = (one["score"].as_f64().unwrap(), other["score"].as_f64().unwrap());
            prop_assert!((0.0..=1.0).contains(&one));
            prop_assert!((one - other).abs() < 1e-12);
        }
    }

    #[test]
    fn whatever_comes_is_answered(records in prop::collection::vec(any_record(), 1..6)) {
        let report = call("standardize_accounts", json!({"items": records}));
        prop_assert!((0.0..=1.0).contains(&report["success_rate"].as_f64().unwrap()));
        let handled = call("handle_standardization", json!({"account": records, "product": records}));
        prop_assert!((0.0..=0.95).contains(&handled["confidence"].as_f64().unwrap()));
    }

    #[test]
    fn standard_forms_are_standard(l1 in "[A-Za-z &-]{1,20}", l2 in "[A-Za-z ]{1,20}", l3 in "[a-z]{1,9}") {
        // What was standardised once stays as it is.
        let standardize = |account: &Value| {
            let report = call("standardize_accounts", json!({"items": [account]}));
            report["items"][0]["standardized"].clone()
        };
        let once = standardize(&json!({"account_id": "1", "l1_category": l1, "l2_subcategory": l2, "l3_classification": l3, "l4_specific": "x"}));
        prop_assume!(once.is_object());
        let mut again = serde_json::Map::new();
        for field in ["account_id", "l1_category", "l2_subcategory", "l3_classification", "l4_specific"] {
            again.insert(field.to_owned(), once[field].clone());
        }
        prop_assert_eq!(standardize(&Value::Object(again)), once);
    }
}
