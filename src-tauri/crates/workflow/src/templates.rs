//! Templates that come with Flotilla: workflows with variables, each a file of this crate.

/// Name and text of each.
pub const TEMPLATES: &[(&str, &str)] = &[
    (
        "cicd-pipeline",
        include_str!("../templates/cicd-pipeline.yaml"),
    ),
    (
        "content-deployment",
        include_str!("../templates/content-deployment.yaml"),
    ),
    (
        "crash-loop-triage",
        include_str!("../templates/crash-loop-triage.yaml"),
    ),
    (
        "data-backup-recovery",
        include_str!("../templates/data-backup-recovery.yaml"),
    ),
    (
        "fleet-health-report",
        include_str!("../templates/fleet-health-report.yaml"),
    ),
    (
        "incident-response",
        include_str!("../templates/incident-response.yaml"),
    ),
    (
        "performance-optimization",
        include_str!("../templates/performance-optimization.yaml"),
    ),
    (
        "rolling-restart-with-canary",
        include_str!("../templates/rolling-restart-with-canary.yaml"),
    ),
    (
        "security-audit",
        include_str!("../templates/security-audit.yaml"),
    ),
];

/// What the steps of each template gave in a run on a small example, as JSON: `{"STEP": output}`. The system tests write these files, and hold
/// them against what a run gives.
pub const SAMPLES: &[(&str, &str)] = &[
    (
        "cicd-pipeline",
        include_str!("../templates/samples/cicd-pipeline.json"),
    ),
    (
        "content-deployment",
        include_str!("../templates/samples/content-deployment.json"),
    ),
    (
        "crash-loop-triage",
        include_str!("../templates/samples/crash-loop-triage.json"),
    ),
    (
        "data-backup-recovery",
        include_str!("../templates/samples/data-backup-recovery.json"),
    ),
    (
        "fleet-health-report",
        include_str!("../templates/samples/fleet-health-report.json"),
    ),
    (
        "incident-response",
        include_str!("../templates/samples/incident-response.json"),
    ),
    (
        "performance-optimization",
        include_str!("../templates/samples/performance-optimization.json"),
    ),
    (
        "rolling-restart-with-canary",
        include_str!("../templates/samples/rolling-restart-with-canary.json"),
    ),
    (
        "security-audit",
        include_str!("../templates/samples/security-audit.json"),
    ),
];

#[cfg(test)]
mod tests {
    use crate::{Anything, compile, parse};
    use serde_json::Map;

    #[test]
    fn each_is_valid_bears_its_name_and_needs_no_variable_but_a_server() {
        for (name, text) in super::TEMPLATES {
            let definition = parse(text).unwrap_or_else(|finding| panic!("{name}: {finding:?}"));
            assert_eq!(definition.name, *name);
            let written = definition.to_yaml().unwrap();
            assert_eq!(parse(&written).as_ref(), Ok(&definition), "{written}");
            let plan = compile(definition, &Anything)
                .unwrap_or_else(|findings| panic!("{name}: {findings:?}"));
            let mut given = Map::new();
            if plan.definition().vars.contains_key("server") {
                given.insert("server".into(), "search".into());
            }
            assert!(plan.bind(&given).is_ok(), "{name}");
        }
    }
}
