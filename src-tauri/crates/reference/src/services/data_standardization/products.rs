//! Products: category, family, line and the product itself.

use super::standard::{Parts, Shape, Standard, is_known};
use schemars::JsonSchema;
use serde::Serialize;

/// A product in standard form. What is not known is "Unknown".
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Product {
    /// Its identifier as given, with single spaces.
    product_id: String,
    /// First level, Title Case.
    l1_category: String,
    /// Second level.
    l2_family: String,
    /// Third level.
    l3_line: String,
    /// Fourth level.
    l4_specific: String,
    /// The known levels, joined by " → ".
    hierarchy_path: String,
}

impl Standard for Product {
    const SHAPE: Shape = Shape {
        kind: "product",
        id: "product_id",
        levels: ["l1_category", "l2_family", "l3_line", "l4_specific"],
    };

    fn of(parts: &Parts) -> Self {
        let [l1_category, l2_family, l3_line, l4_specific] = parts.levels.clone();
        Self {
            product_id: parts.id.clone(),
            hierarchy_path: parts.path(),
            l1_category,
            l2_family,
            l3_line,
            l4_specific,
        }
    }

    fn is_recognised(&self) -> bool {
        is_known(&self.l1_category) && is_known(&self.l2_family)
    }

    fn weighed(&self) -> Vec<(&'static str, &str, f64)> {
        vec![
            ("l1_category", &self.l1_category, 1.0),
            ("l2_family", &self.l2_family, 1.0),
            ("l3_line", &self.l3_line, 0.5),
            ("l4_specific", &self.l4_specific, 0.5),
            ("hierarchy_path", &self.hierarchy_path, 0.5),
        ]
    }
}
