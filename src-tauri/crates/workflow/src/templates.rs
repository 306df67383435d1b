//! Templates that come with Flotilla: workflows with variables, each a file of this crate.

/// Name and text of each.
pub const TEMPLATES: &[(&str, &str)] = &[
    (
        "cicd-pipeline",
        include_str!("../templates/cicd-pipeline.yaml"),
    ),
    (
        "data-backup-recovery",
        include_str!("../templates/data-backup-recovery.yaml"),
    ),
    (
        "incident-response",
        include_str!("../templates/incident-response.yaml"),
    ),
    (
        "security-audit",
        include_str!("../templates/security-audit.yaml"),
    ),
];

#[cfg(test)]
mod tests {
    use crate::{Anything, compile, parse};
    use serde_json::Map;

    #[test]
    fn each_is_valid_bears_its_name_and_needs_no_variable() {
        for (name, text) in super::TEMPLATES {
            let definition = parse(text).unwrap_or_else(|finding| panic!("{name}: {finding:?}"));
            assert_eq!(definition.name, *name);
            let plan = compile(definition, &Anything)
                .unwrap_or_else(|findings| panic!("{name}: {findings:?}"));
            assert!(plan.bind(&Map::new()).is_ok(), "{name}");
        }
    }
}
