//! Master data made uniform: accounts, locations and products, with the quality checks that say whether the result can be trusted.
//!
//! For whoever brings ledgers, places and product lists from several systems into one: it assesses records, checks them against schemas and
//! rules that are plain data, brings them to a standard of four levels, and says how far the outcome can be relied upon. Everything is worked
//! out from tables in here; nothing is looked up elsewhere. Weights, thresholds and gates are conventions of the original system.

mod accounts;
mod checks;
mod confidence;
mod format;
mod integrity;
mod locations;
mod performance;
mod products;
mod quality;
mod record;
mod rules;
mod saving;
mod standard;
#[cfg(test)]
mod tests;
mod validation;
mod words;
mod workflow;

use crate::{
    service::{Host, Prompt, PromptArgument, Resource, Service},
    tool::{Context, Hints, Tool},
};
use accounts::Account;
use format::Format;
use locations::{COUNTRIES, Location};
use performance::History;
use products::Product;
use quality::Dimension;
use serde_json::{Map, Value, json};
use standard::{Shape, Standard};
use std::sync::Arc;

/// Saving replaces what was saved under the same name, and saving twice is saving once.
const SAVES: Hints = Hints {
    read_only: false,
    destructive: true,
    idempotent: true,
};

/// The server `data_standardization`.
pub fn service(host: &Host) -> Service {
    Service {
        name: "data_standardization",
        port: 8101,
        title: "Data standardization",
        description: "Brings accounts, locations and products to one standard, and says how good data is. Start with assess_data_quality or \
                      quality_assessment to judge records, validate_data or validation_tools to check them, standardize_accounts or \
                      standardize_batch to standardise them, run_standardization_workflow to do all of it with quality gates and a saved result.",
        tools: tools(host),
        resources: resources(),
        beats: Vec::new(),
        prompts: prompts(),
    }
}

fn tools(host: &Host) -> Vec<Tool> {
    let history = Arc::new(History::default());
    vec![
        Tool::with_context(
            "handle_standardization",
            "Standardise and report",
            "Standardises accounts, locations and products and reports everything in one result: quality, validation, standard forms with \
             confidence, performance. Use it when one call should tell it all; nothing is saved.",
            with(host, workflow::handle_standardization),
        )
        .alias("handle_mcp_enhanced_standardization")
        .long(),
        Tool::with_context(
            "standardize_accounts",
            "Standardise accounts",
            "Brings ledger accounts to standard form: names in one spelling, type, code, IFRS 9 and Basel class, each with a confidence. Needs \
             completeness, accuracy and consistency of 0.6 or more, else gives status quality_insufficient and why.",
            with(host, workflow::standardize_accounts),
        )
        .alias("mcp_account_standardization_skill")
        .long(),
        Tool::with_context(
            "standardize_batch",
            "Standardise a batch",
            "Brings accounts, locations and products to standard form, kind by kind, and sums up success, confidence, quality and performance. \
             Use it for several kinds at once; nothing is saved.",
            with(host, workflow::standardize_batch),
        )
        .alias("mcp_batch_standardization_skill")
        .long(),
        Tool::with_context(
            "run_standardization_workflow",
            "Run the workflow",
            "Runs quality gate, standardisation, result gate, service levels and saving, one after the other, and stops where a gate refuses \
             (failed_at, reason). Use it when only good results may be saved; without an output folder it completes with saved: false.",
            with(host, workflow::run_standardization_workflow),
        )
        .alias("mcp_enhanced_standardization_workflow")
        .hints(SAVES)
        .long(),
        Tool::with_context("assess_data_quality", "Assess data quality", ASSESS, {
            let host = host.clone();
            move |context, input| quality::assess_data_quality(context, host.now_ms(), input)
        })
        .alias("_assess_data_quality_with_mcp")
        .long(),
        Tool::with_context(
            "validate_data",
            "Validate against a schema",
            "Checks a record or a list of records against declared fields (presence, type, format, range, length, allowed values) and gives the \
             share of checks passed, the errors by record and field, and whether it is enough for the level.",
            validation::validate_data,
        )
        .alias("_validate_data_with_mcp")
        .long(),
        Tool::new(
            "save_results",
            "Save results",
            "Writes a JSON object to mcp_enhanced_<workflow_id>.json in the server's output folder, whole or not at all, and gives the path. \
             Results saved under the same id are replaced. Fails when the server was started without an output folder.",
            {
                let host = host.clone();
                move |input| saving::save_results(&host, input)
            },
        )
        .alias("_save_mcp_enhanced_results")
        .hints(SAVES)
        .long(),
        Tool::with_context(
            "run_example",
            "Self-test",
            "Runs the workflow on three built-in records (an account, a location, a product), saves it as \"example\" where there is an output \
             folder, and says whether everything came out as it must. Use it to see the server at work, or to test it.",
            with(host, |context, host, _: workflow::ExampleInput| {
                workflow::run_example(context, host)
            }),
        )
        .alias("example_mcp_integration")
        .hints(SAVES)
        .long(),
        Tool::new(
            "quality_assessment",
            "Completeness of a record",
            "Says how complete one record is: the weighted share of required and optional fields that are filled, which are missing, and what to \
             fill first. Use assess_data_quality for whole datasets.",
            quality::quality_assessment,
        )
        .alias("mcp_quality_assessment"),
        Tool::with_context(
            "validation_tools",
            "Rules, integrity, structure",
            "Checks records against business rules (required, format, range, dependencies between fields, uniqueness, if-then conditions), for \
             integrity (SHA-256, references, sums, order in time), or for structure. Rules are data; gives a score and the violations.",
            checks::validation_tools,
        )
        .alias("mcp_validation_tools")
        .long(),
        Tool::new(
            "performance_tools",
            "Measure performance",
            "Records a run and gives throughput, error rate and percentiles of its operation (measure), compares figures with targets (sla), or \
             says how unusual a value is against a baseline (benchmark).",
            move |input| performance::performance_tools(&history, input),
        )
        .alias("mcp_performance_tools")
        .hints(Hints::ADDS),
        Tool::new(
            "confidence_calculator",
            "Confidence",
            "Turns a data quality score and a validation score into one confidence between 0.05 and 0.95, with each factor's share and what would \
             raise it.",
            confidence::confidence_calculator,
        )
        .alias("mcp_confidence_calculator"),
    ]
}

const ASSESS: &str = "Scores a dataset in six dimensions (completeness, accuracy, consistency, timeliness, validity, uniqueness) and overall, with \
                      issues and what to do about them. Use it before working with data; pass now for the same result every time.";

/// A tool's function, with the host it runs on.
fn with<I, O, F>(host: &Host, run: F) -> impl Fn(&Context, I) -> O + use<I, O, F>
where
    F: Fn(&Context, &Host, I) -> O,
{
    let host = host.clone();
    move |context, input| run(context, &host, input)
}

fn resources() -> Vec<Resource> {
    vec![
        Resource {
            uri: "standardization://config",
            name: "config",
            description: "Weights, thresholds, gates, formats and the shapes of accounts, locations and products",
            read: Box::new(config),
        },
        Resource {
            uri: "standardization://countries",
            name: "countries",
            description: "The 249 countries of ISO 3166-1 with both codes, English short name and UN region",
            read: Box::new(|| json!({"countries": *COUNTRIES})),
        },
    ]
}

fn config() -> Value {
    let weights: Map<String, Value> = Dimension::ALL
        .iter()
        .map(|dimension| (dimension.name().to_owned(), dimension.weight().into()))
        .collect();
    let shape = |shape: Shape| json!({"id": shape.id, "levels": shape.levels});
    json!({
        "quality": {
            "weights": weights,
            "threshold": quality::THRESHOLD,
            "levels": {"excellent": 0.9, "good": 0.7, "fair": 0.5, "poor": 0.0},
            "time_fields": quality::TIME_FIELDS,
        },
        "validation": {"strict": 1.0, "standard": 0.8, "lenient": 0.6},
        "formats": Format::ALL,
        "gates": {
            "standardization": standard::GATE,
            "workflow_initial": workflow::INITIAL_GATE,
            "workflow_final": workflow::FINAL_GATE,
            "timeout_s": workflow::TIMEOUT_S,
            "attempts": workflow::ATTEMPTS,
        },
        "performance": {"max_duration_ms": 5000.0, "max_error_rate": 0.02, "min_throughput": 100.0, "history": performance::HISTORY},
        "confidence": {
            "weights": {"data_quality": confidence::WEIGHTS.0, "validation": confidence::WEIGHTS.1},
            "bounds": [confidence::BOUNDS.0, confidence::BOUNDS.1],
        },
        "shapes": {
            "account": shape(Account::SHAPE),
            "location": shape(Location::SHAPE),
            "product": shape(Product::SHAPE),
        },
        "hierarchy": {"fields": standard::HIERARCHY_FIELDS, "separator": words::ARROW},
        "version": saving::VERSION,
    })
}

fn prompts() -> Vec<Prompt> {
    vec![
        Prompt {
            name: "quality_assessment_report",
            description: "A report on how good a dataset is",
            arguments: &[
                PromptArgument {
                    name: "dataset",
                    description: "The records, as a JSON array",
                    required: true,
                },
                PromptArgument {
                    name: "focus",
                    description: "What the reader cares about most",
                    required: false,
                },
            ],
            render: |arguments| {
                format!(
                    "Call assess_data_quality on the dataset below. Then write a short report: the overall score and level, each dimension \
                     with its score, the issues by severity, and the three steps that would help most.{}\n\nDataset:\n{}",
                    focus(arguments, "focus", " Pay most attention to "),
                    text(arguments, "dataset")
                )
            },
        },
        Prompt {
            name: "validation_report",
            description: "A report on whether data keeps to its schema",
            arguments: &[
                PromptArgument {
                    name: "data",
                    description: "A record or a list of records, as JSON",
                    required: true,
                },
                PromptArgument {
                    name: "schema",
                    description: "The declared fields, as JSON",
                    required: true,
                },
                PromptArgument {
                    name: "level",
                    description: "strict, standard or lenient; standard when absent",
                    required: false,
                },
            ],
            render: |arguments| {
                format!(
                    "Call validate_data on the data and schema below{}. Then report whether it is valid, the compliance score, the errors \
                     grouped by field, and how to correct each group.\n\nData:\n{}\n\nSchema:\n{}",
                    focus(arguments, "level", " at level "),
                    text(arguments, "data"),
                    text(arguments, "schema")
                )
            },
        },
        Prompt {
            name: "performance_analysis_report",
            description: "A report on how an operation performs",
            arguments: &[
                PromptArgument {
                    name: "operation",
                    description: "The operation",
                    required: true,
                },
                PromptArgument {
                    name: "figures",
                    description: "Durations, error rate, throughput, as far as they are known",
                    required: true,
                },
            ],
            render: |arguments| {
                format!(
                    "Analyse the operation {:?} with performance_tools: op sla for the figures below, op benchmark where there are earlier \
                     values. Report which targets were kept, what is unusual, and what to look into first.\n\nFigures:\n{}",
                    text(arguments, "operation"),
                    text(arguments, "figures")
                )
            },
        },
    ]
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> &'a str {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn focus(arguments: &Map<String, Value>, name: &str, before: &str) -> String {
    match text(arguments, name) {
        "" => String::new(),
        given => format!("{before}{given}"),
    }
}
