//! Puts what was found together into one answer, by a template.

use super::patterns::{Kind, Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something found on the way to an answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Component {
    /// Where it comes from, 1 to 100 characters.
    #[schemars(length(min = 1, max = 100))]
    pub(crate) source: String,
    /// What it says, 1 to 4,000 characters.
    #[schemars(length(min = 1, max = 4000))]
    pub(crate) content: String,
}

/// How sure an answer is that was put together of so many components: 0.8 + 0.1 for each, at most 1; 0.5 of none.
/// A convention of the original system.
pub(crate) fn confidence(components: usize) -> f64 {
    match components {
        0 => 0.5,
        1 => 0.9,
        _ => 1.0,
    }
}

/// The answer: what was found, then what kind of answer the question wants.
pub(crate) fn answer(question: &str, components: &[Component], patterns: &[Pattern]) -> String {
    if components.is_empty() && patterns.is_empty() {
        return format!("Nothing has been found yet on “{question}”.");
    }
    let mut lines = vec![format!("On “{question}”:")];
    lines.extend(
        components
            .iter()
            .map(|component| format!("- {}: {}", component.source, component.content)),
    );
    lines.extend(patterns.iter().map(|pattern| {
        format!(
            "- It is {} ({}): it wants {}.",
            named(pattern.kind),
            pattern.indicators.join(", "),
            pattern.kind.asks_for()
        )
    }));
    lines.join("\n")
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Procedural => "procedural",
        Kind::Causal => "causal",
        Kind::SystemsThinking => "about a system",
    }
}
