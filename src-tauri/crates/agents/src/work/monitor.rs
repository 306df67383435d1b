//! How this machine is.

use super::{Place, WorkError, read, workspace::Workspace};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Write as _;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    checks: Checks,
    #[serde(default)]
    alert_threshold: Thresholds,
    output_file: Option<String>,
}

/// What is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Checks {
    disk: bool,
    memory: bool,
    load: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            disk: true,
            memory: true,
            load: true,
        }
    }
}

/// From when on it is an alert: used shares in percent, and the load of one minute for each processor.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thresholds {
    disk: Option<f64>,
    memory: Option<f64>,
    load: Option<f64>,
}

/// Reads how this machine is: `checks`, of which `disk` (of the workspace), `memory` and `load` are looked at unless they are false;
/// `alert_threshold`, percent of disk and memory in use and load for each processor from which on there is an alert; `output_file`, which gets
/// it as JSON. Gives `{success, disk, memory, load, alerts}`; what the platform does not tell is absent. Blocks for a moment.
///
/// # Errors
/// `refused` for an input that means nothing, `failed` when the file cannot be written.
pub fn monitor(input: &Value, place: &Place) -> Result<Value, WorkError> {
    let input: Input = read(input)?;
    let machine = flotilla_os::machine();
    let mut output = Map::from_iter([("success".to_owned(), Value::Bool(true))]);
    let mut alerts = Vec::new();
    let mut alert = |check: &str, value: f64, threshold: Option<f64>| {
        if let Some(threshold) = threshold.filter(|threshold| value >= *threshold) {
            alerts.push(json!({ "check": check, "value": value, "threshold": threshold }));
        }
    };
    if let Some((total, available)) = flotilla_os::disk(&place.root).filter(|_| input.checks.disk) {
        let used = percent(total, available);
        alert("disk", used, input.alert_threshold.disk);
        output.insert("disk".into(), shares(total, available, used));
    }
    if let Some((total, available)) = machine
        .filter(|_| input.checks.memory)
        .and_then(|machine| Some((machine.memory_bytes, machine.available_bytes?)))
    {
        let used = percent(total, available);
        alert("memory", used, input.alert_threshold.memory);
        output.insert("memory".into(), shares(total, available, used));
    }
    if let Some(machine) = machine.filter(|_| input.checks.load) {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        #[expect(clippy::cast_precision_loss, reason = "a number of processors")]
        let each = machine.load[0] / processors as f64;
        alert("load", each, input.alert_threshold.load);
        let load = json!({ "minutes_1_5_15": machine.load, "processors": processors });
        output.insert("load".into(), load);
    }
    output.insert("alerts".into(), alerts.into());
    let mut output = Value::Object(output);
    if let Some(path) = &input.output_file {
        let text = format!("{output:#}\n");
        let written = Workspace::open(place)?
            .create(path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(Workspace::failed("with.output_file", path))?;
        output["path"] = path.as_str().into();
    }
    Ok(output)
}

fn shares(total: u64, available: u64, used: f64) -> Value {
    json!({ "total_bytes": total, "available_bytes": available, "used_percent": used })
}

/// The share in use, in percent, to a tenth.
fn percent(total: u64, available: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let free = available as f64 / (total as f64).max(1.0);
    ((1.0 - free) * 1_000.0).round() / 10.0
}
