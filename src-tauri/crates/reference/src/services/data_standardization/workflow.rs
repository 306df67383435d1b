//! Accounts, locations and products together: in one go, in a batch, and as a workflow with gates that ends in a file.

use super::{
    accounts::Account,
    locations::Location,
    performance::{Figures, Sla, SlaStatus, Targets, sla},
    products::Product,
    quality::{Dimension, PerDimension, Yardstick, assess},
    record::{Record, count, mean, quietly, share},
    saving::{Unsaved, WorkflowId, save},
    standard::{Standard, Standardization, standardize},
};
use crate::{
    service::Host,
    tool::{Context, Refusal},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Mean of completeness and accuracy that a workflow starts with.
pub(super) const INITIAL_GATE: f64 = 0.7;
/// Mean of success rate and average confidence that a workflow saves.
pub(super) const FINAL_GATE: f64 = 0.8;
/// How long a workflow may take. Looked at between steps.
pub(super) const TIMEOUT_S: i64 = 900;
/// How often saving is tried.
pub(super) const ATTEMPTS: u32 = 2;

/// What `handle_standardization` and `standardize_batch` take.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sets {
    /// Accounts, up to 10,000: account_id, l1_category, l2_subcategory, l3_classification, l4_specific, or hierarchy_path as "Assets → Cash".
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    account: Vec<Record>,
    /// Locations, up to 10,000: location_id, l1_region, l2_country, l3_state, l4_city, or hierarchy_path.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    location: Vec<Record>,
    /// Products, up to 10,000: product_id, l1_category, l2_family, l3_line, l4_specific, or hierarchy_path.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    product: Vec<Record>,
}

/// What `standardize_accounts` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountsInput {
    /// Accounts, 1 to 10,000: account_id, l1_category, l2_subcategory, l3_classification, l4_specific, or hierarchy_path as "Assets → Cash".
    #[schemars(length(min = 1, max = 10_000))]
    items: Vec<Record>,
}

/// What `run_standardization_workflow` takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkflowInput {
    /// Accounts, up to 10,000: account_id, l1_category, l2_subcategory, l3_classification, l4_specific, or hierarchy_path as "Assets → Cash".
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    account: Vec<Record>,
    /// Locations, up to 10,000: location_id, l1_region, l2_country, l3_state, l4_city, or hierarchy_path.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    location: Vec<Record>,
    /// Products, up to 10,000: product_id, l1_category, l2_family, l3_line, l4_specific, or hierarchy_path.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    product: Vec<Record>,
    /// Names the run and its file: letters, digits, hyphens and underscores. mcp_std_ and the time in seconds when absent.
    #[serde(default)]
    workflow_id: Option<WorkflowId>,
    /// Whether to save the result. Default true.
    #[serde(default = "yes")]
    save: bool,
}

/// What `run_example` takes: nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExampleInput {}

/// Standardised records by kind; a kind of which none were given is absent.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Standardizations {
    /// Accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Standardization<Account>>,
    /// Locations.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Standardization<Location>>,
    /// Products.
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<Standardization<Product>>,
}

/// A score per kind; a kind of which none were given is absent.
#[derive(Serialize, JsonSchema)]
pub(super) struct PerKind {
    /// Of the accounts, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<f64>,
    /// Of the locations, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<f64>,
    /// Of the products, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<f64>,
}

/// Everything about a set of records, in one.
#[derive(Serialize, JsonSchema)]
pub(super) struct Handled {
    /// mcp_std_ and the time in seconds.
    id: String,
    /// Records given.
    records: usize,
    /// Overall quality per kind; the report is in standardization.
    quality: PerKind,
    /// Compliance score per kind after standardising, or before where the data was left alone.
    validation: PerKind,
    /// Items and reports per kind.
    standardization: Standardizations,
    /// Mean confidence over all records, 0 to 1.
    confidence: f64,
    /// How fast it went.
    performance: Performance,
}

/// Standardised records by kind, with a summary.
#[derive(Serialize, JsonSchema)]
pub(super) struct Batch {
    /// Accounts, where some were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Standardization<Account>>,
    /// Locations, where some were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Standardization<Location>>,
    /// Products, where some were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<Standardization<Product>>,
    /// All together.
    batch_summary: Summary,
}

/// All kinds together.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Summary {
    /// The run: batch_ and the time in seconds, or the workflow's id.
    id: String,
    /// Records given.
    total_records: usize,
    /// Records of which it is now known what they are about.
    standardized_records: usize,
    /// standardized_records / total_records.
    success_rate: f64,
    /// Average confidence of the kinds, weighted by their records.
    overall_confidence: f64,
    /// Overall quality of the kinds, weighted by their records.
    overall_quality: f64,
    /// How fast it went.
    performance: Performance,
}

/// How fast a run went.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Performance {
    /// Milliseconds by the server's clock; what took less than one counts as one.
    duration_ms: f64,
    /// Records per second.
    throughput: f64,
    /// Share of records that were not standardised.
    error_rate: f64,
    /// Against 5000 ms, 2 % errors and 100 records per second.
    sla: Sla,
}

/// A workflow that ran to its end or to the gate that refused it.
#[derive(Serialize, JsonSchema)]
pub(super) struct WorkflowReport {
    /// Names the run.
    workflow_id: String,
    /// completed or failed.
    status: WorkflowStatus,
    /// The step that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_at: Option<StepName>,
    /// Why it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The steps taken, in order.
    steps: Vec<Step>,
    /// Items and reports per kind, once standardised.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Standardizations>,
    /// All kinds together, once standardised.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_summary: Option<Summary>,
    /// Whether the result is in a file.
    saved: bool,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_saved: Option<String>,
}

/// How a workflow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WorkflowStatus {
    Completed,
    Failed,
}

/// A step of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepName {
    InitialQuality,
    Standardization,
    StandardizationQuality,
    Sla,
    Save,
}

/// What came of a step. warning: it did not go as it should, and does not stop the workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepStatus {
    Passed,
    Warning,
    Failed,
    Skipped,
}

/// One step taken.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Step {
    /// The step.
    step: StepName,
    /// What came of it.
    status: StepStatus,
    /// Its score, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// The score it demands.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
    /// How often it was tried.
    attempts: u32,
    /// What happened.
    detail: String,
}

/// What came of the self-test.
#[derive(Serialize, JsonSchema)]
pub(super) struct ExampleReport {
    /// Whether everything is as it must be.
    passed: bool,
    /// What was looked at.
    checks: Vec<ExampleCheck>,
    /// The workflow on the built-in records.
    result: WorkflowReport,
}

/// One thing that the self-test looked at.
#[derive(Serialize, JsonSchema)]
pub(super) struct ExampleCheck {
    /// What must be.
    name: &'static str,
    /// Whether it is.
    passed: bool,
}

pub(super) fn standardize_accounts(
    context: &Context,
    host: &Host,
    input: AccountsInput,
) -> Result<Standardization<Account>, Refusal> {
    standardize(context, &input.items, host.now_ms())
}

pub(super) fn handle_standardization(
    context: &Context,
    host: &Host,
    sets: Sets,
) -> Result<Handled, Refusal> {
    let id = format!("mcp_std_{}", host.now_ms() / 1000);
    let (standardizations, summary) = standardize_sets(context, host, &sets, &id)?;
    Ok(Handled {
        id,
        records: summary.total_records,
        quality: standardizations.per_kind(|kind| kind.quality),
        validation: standardizations.per_kind(|kind| kind.validation),
        standardization: standardizations,
        confidence: summary.overall_confidence,
        performance: summary.performance,
    })
}

pub(super) fn standardize_batch(
    context: &Context,
    host: &Host,
    sets: Sets,
) -> Result<Batch, Refusal> {
    let id = format!("batch_{}", host.now_ms() / 1000);
    let (standardizations, batch_summary) = standardize_sets(context, host, &sets, &id)?;
    let Standardizations {
        account,
        location,
        product,
    } = standardizations;
    Ok(Batch {
        account,
        location,
        product,
        batch_summary,
    })
}

pub(super) fn run_standardization_workflow(
    context: &Context,
    host: &Host,
    input: WorkflowInput,
) -> Result<WorkflowReport, Refusal> {
    let sets = Sets {
        account: input.account,
        location: input.location,
        product: input.product,
    };
    sets.refuse_empty()?;
    let started_ms = host.now_ms();
    let id = input
        .workflow_id
        .unwrap_or_else(|| WorkflowId::made(&format!("mcp_std_{}", started_ms / 1000)));
    let mut report = WorkflowReport::begun(&id);
    match report.run(context, host, &sets, &id, input.save, started_ms) {
        Ok(()) => Ok(report),
        Err(Stop::Refused { step, reason }) => {
            report.status = WorkflowStatus::Failed;
            report.failed_at = Some(step);
            report.not_saved = Some("the workflow did not get that far".to_owned());
            report.reason = Some(reason);
            Ok(report)
        }
        Err(Stop::Withdrawn(refusal)) => Err(refusal),
    }
}

pub(super) fn run_example(context: &Context, host: &Host) -> Result<ExampleReport, Refusal> {
    let result = run_standardization_workflow(context, host, example())?;
    let summary = result.batch_summary.as_ref();
    let checks = vec![
        ExampleCheck {
            name: "the workflow completes",
            passed: result.status == WorkflowStatus::Completed,
        },
        ExampleCheck {
            name: "all 3 records are standardised",
            passed: summary.is_some_and(|summary| summary.standardized_records == 3),
        },
        ExampleCheck {
            name: "confidence is 0.9 or more",
            passed: summary.is_some_and(|summary| summary.overall_confidence >= 0.9),
        },
    ];
    Ok(ExampleReport {
        passed: checks.iter().all(|check| check.passed),
        checks,
        result,
    })
}

fn example() -> WorkflowInput {
    let record = |value: serde_json::Value| serde_json::from_value(value).unwrap_or_default();
    WorkflowInput {
        account: vec![record(json!({
            "account_id": "A-1001",
            "hierarchy_path": "assets → current assets → cash and cash equivalents → petty cash",
        }))],
        location: vec![record(json!({
            "location_id": "L-1",
            "l1_region": "EMEA",
            "l2_country": "germany",
            "l3_state": "bavaria",
            "l4_city": "munich",
        }))],
        product: vec![record(json!({
            "product_id": "P-1",
            "l1_category": "financial  services",
            "l2_family": "LOANS",
            "l3_line": "consumer loans",
            "l4_specific": "auto loan",
        }))],
        workflow_id: Some(WorkflowId::made("example")),
        save: true,
    }
}

/// Why a workflow ends early.
enum Stop {
    /// A gate did not open: the report says so.
    Refused { step: StepName, reason: String },
    /// The call itself ends.
    Withdrawn(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Withdrawn(refusal)
    }
}

impl WorkflowReport {
    fn begun(id: &WorkflowId) -> Self {
        Self {
            workflow_id: id.as_str().to_owned(),
            status: WorkflowStatus::Completed,
            failed_at: None,
            reason: None,
            steps: Vec::new(),
            results: None,
            batch_summary: None,
            saved: false,
            path: None,
            not_saved: None,
        }
    }

    fn run(
        &mut self,
        context: &Context,
        host: &Host,
        sets: &Sets,
        id: &WorkflowId,
        wants_file: bool,
        started_ms: i64,
    ) -> Result<(), Stop> {
        let quiet = &quietly(context);
        let in_time = |step| match host.now_ms().saturating_sub(started_ms) / 1000 {
            seconds if seconds > TIMEOUT_S => Err(Stop::Refused {
                step,
                reason: format!("it took {seconds} s, longer than {TIMEOUT_S} s"),
            }),
            _ => Ok(()),
        };

        context.step(0, 4, "initial quality")?;
        let score = sets.initial_quality(quiet)?;
        self.gate(
            StepName::InitialQuality,
            score,
            INITIAL_GATE,
            "completeness and accuracy",
        )?;
        in_time(StepName::InitialQuality)?;

        context.step(1, 4, "standardising")?;
        let (results, summary) = standardize_sets(quiet, host, sets, id.as_str())?;
        self.steps.push(Step {
            step: StepName::Standardization,
            status: StepStatus::Passed,
            score: None,
            threshold: None,
            attempts: 1,
            detail: format!(
                "{} of {} records",
                summary.standardized_records, summary.total_records
            ),
        });
        let score = f64::midpoint(summary.success_rate, summary.overall_confidence);
        let sla = summary.performance.sla.clone();
        self.results = Some(results);
        self.batch_summary = Some(summary);
        self.gate(
            StepName::StandardizationQuality,
            score,
            FINAL_GATE,
            "success rate and confidence",
        )?;
        in_time(StepName::Standardization)?;

        context.step(2, 4, "service level")?;
        self.note_sla(&sla);

        context.step(3, 4, "saving")?;
        self.save(host, id, wants_file);
        Ok(())
    }

    fn gate(&mut self, step: StepName, score: f64, threshold: f64, of: &str) -> Result<(), Stop> {
        let is_open = score >= threshold;
        let detail = format!("the mean of {of} is {score:.3}, {threshold} is needed");
        self.steps.push(Step {
            step,
            status: if is_open {
                StepStatus::Passed
            } else {
                StepStatus::Failed
            },
            score: Some(score),
            threshold: Some(threshold),
            attempts: 1,
            detail: detail.clone(),
        });
        if is_open {
            Ok(())
        } else {
            Err(Stop::Refused {
                step,
                reason: detail,
            })
        }
    }

    /// Slow work is still work done: it is told, and does not stop.
    fn note_sla(&mut self, sla: &Sla) {
        let is_kept = sla.status == SlaStatus::Compliant;
        self.steps.push(Step {
            step: StepName::Sla,
            status: if is_kept {
                StepStatus::Passed
            } else {
                StepStatus::Warning
            },
            score: Some(sla.compliance),
            threshold: None,
            attempts: 1,
            detail: if is_kept {
                "targets kept"
            } else {
                "targets missed"
            }
            .to_owned(),
        });
    }

    fn save(&mut self, host: &Host, id: &WorkflowId, wants_file: bool) {
        let mut step = Step {
            step: StepName::Save,
            status: StepStatus::Skipped,
            score: None,
            threshold: None,
            attempts: 0,
            detail: "not wanted".to_owned(),
        };
        let tools = [
            "assess_data_quality",
            "standardize_batch",
            "performance_tools",
            "save_results",
        ];
        let content = json!({
            "workflow_id": self.workflow_id,
            "steps": self.steps,
            "batch_summary": self.batch_summary,
            "results": self.results,
        });
        while wants_file && step.attempts < ATTEMPTS {
            step.attempts += 1;
            match save(host, id, &content, tools.map(str::to_owned).to_vec()) {
                Ok(saved) => {
                    step.status = StepStatus::Passed;
                    step.detail = format!("written to {}", saved.path);
                    self.saved = true;
                    self.path = Some(saved.path);
                    break;
                }
                Err(unsaved) => {
                    step.status = StepStatus::Warning;
                    step.detail = unsaved.to_string();
                    // Only the disk may think better of it.
                    if matches!(unsaved, Unsaved::Never(_)) {
                        break;
                    }
                }
            }
        }
        if !self.saved {
            self.not_saved = Some(step.detail.clone());
        }
        self.steps.push(step);
    }
}

/// What a summary wants to know of each kind.
struct KindFigures {
    records: usize,
    standardized: usize,
    confidence: f64,
    quality: f64,
    validation: f64,
}

impl<S> Standardization<S> {
    fn figures(&self) -> KindFigures {
        let validation = self
            .post_validation
            .as_ref()
            .unwrap_or(&self.pre_validation);
        KindFigures {
            records: self.records,
            standardized: self.standardized,
            confidence: self.average_confidence,
            quality: self.quality.overall,
            validation: validation.compliance_score,
        }
    }
}

impl Standardizations {
    fn per_kind(&self, figure: impl Fn(KindFigures) -> f64) -> PerKind {
        PerKind {
            account: self.account.as_ref().map(|kind| figure(kind.figures())),
            location: self.location.as_ref().map(|kind| figure(kind.figures())),
            product: self.product.as_ref().map(|kind| figure(kind.figures())),
        }
    }

    fn figures(&self) -> Vec<KindFigures> {
        let account = self.account.as_ref().map(Standardization::figures);
        let location = self.location.as_ref().map(Standardization::figures);
        let product = self.product.as_ref().map(Standardization::figures);
        [account, location, product].into_iter().flatten().collect()
    }
}

impl Sets {
    fn refuse_empty(&self) -> Result<(), Refusal> {
        if self.account.is_empty() && self.location.is_empty() && self.product.is_empty() {
            return Err(Refusal::argument(
                "account",
                "give at least one record in account, location or product",
            ));
        }
        Ok(())
    }

    /// Mean of completeness and accuracy over all records.
    fn initial_quality(&self, context: &Context) -> Result<f64, Refusal> {
        let scores = [
            initial_quality::<Account>(context, &self.account)?,
            initial_quality::<Location>(context, &self.location)?,
            initial_quality::<Product>(context, &self.product)?,
        ];
        Ok(weighted_mean(&scores))
    }
}

/// The records of a kind, and the mean of their completeness and accuracy.
fn initial_quality<S: Standard>(
    context: &Context,
    records: &[Record],
) -> Result<(usize, f64), Refusal> {
    let expanded: Vec<Record> = records
        .iter()
        .map(|record| S::SHAPE.expand(record))
        .collect();
    let fields = S::SHAPE.declared();
    let dimensions = [Dimension::Completeness, Dimension::Accuracy];
    let yardstick = Yardstick {
        dimensions: &dimensions,
        weights: PerDimension::default(),
        thresholds: PerDimension::default(),
        fields: Some(&fields),
        now_ms: 0,
    };
    let quality = assess(context, &expanded, &yardstick)?;
    let score = mean(quality.dimensions.iter().map(|score| score.score));
    Ok((records.len(), score.unwrap_or(0.0)))
}

fn standardize_sets(
    context: &Context,
    host: &Host,
    sets: &Sets,
    id: &str,
) -> Result<(Standardizations, Summary), Refusal> {
    sets.refuse_empty()?;
    let started_ms = host.now_ms();
    let quiet = &quietly(context);
    context.step(0, 3, "accounts")?;
    let account = standardize_some(quiet, &sets.account, started_ms)?;
    context.step(1, 3, "locations")?;
    let location = standardize_some(quiet, &sets.location, started_ms)?;
    context.step(2, 3, "products")?;
    let product = standardize_some(quiet, &sets.product, started_ms)?;
    let standardizations = Standardizations {
        account,
        location,
        product,
    };
    let took_ms = host.now_ms().saturating_sub(started_ms);
    let summary = summary(id, &standardizations.figures(), took_ms);
    Ok((standardizations, summary))
}

fn standardize_some<S: Standard>(
    context: &Context,
    records: &[Record],
    now_ms: i64,
) -> Result<Option<Standardization<S>>, Refusal> {
    if records.is_empty() {
        return Ok(None);
    }
    standardize(context, records, now_ms).map(Some)
}

fn summary(id: &str, kinds: &[KindFigures], took_ms: i64) -> Summary {
    let total_records = kinds.iter().map(|kind| kind.records).sum();
    let standardized_records = kinds.iter().map(|kind| kind.standardized).sum();
    let weighted = |figure: fn(&KindFigures) -> f64| {
        let figures: Vec<(usize, f64)> = kinds
            .iter()
            .map(|kind| (kind.records, figure(kind)))
            .collect();
        weighted_mean(&figures)
    };
    let success_rate = share(standardized_records, total_records);
    Summary {
        id: id.to_owned(),
        total_records,
        standardized_records,
        success_rate,
        overall_confidence: weighted(|kind| kind.confidence),
        overall_quality: weighted(|kind| kind.quality),
        performance: performance(total_records, success_rate, took_ms),
    }
}

fn performance(records: usize, success_rate: f64, took_ms: i64) -> Performance {
    // A clock of whole milliseconds: nothing takes no time, and a clock set back measures nothing.
    let duration_ms = f64::from(u32::try_from(took_ms.max(1)).unwrap_or(u32::MAX));
    let throughput = count(records) / (duration_ms / 1e3);
    let error_rate = 1.0 - success_rate;
    let figures = Figures {
        duration_ms: Some(duration_ms),
        error_rate: Some(error_rate),
        throughput: Some(throughput),
    };
    let sla = sla(&figures, &Targets::default()).unwrap_or(Sla {
        status: SlaStatus::NonCompliant,
        compliance: 0.0,
        metrics: Vec::new(),
    });
    Performance {
        duration_ms,
        throughput,
        error_rate,
        sla,
    }
}

/// The mean of figures, each counting as often as it has records.
fn weighted_mean(figures: &[(usize, f64)]) -> f64 {
    let records: usize = figures.iter().map(|(records, _)| records).sum();
    if records == 0 {
        return 0.0;
    }
    let sum: f64 = figures
        .iter()
        .map(|(records, figure)| count(*records) * figure)
        .sum();
    sum / count(records)
}

fn yes() -> bool {
    true
}
