//! What the server compares by, told to clients.

use super::{
    Components, MAX_TOTAL_BYTES,
    lists::{Category, STOP_WORDS, SYNONYMS},
    measure::{CATEGORY_CREDIT, Method, SYNONYM_CREDIT, WEIGHTS},
    words::MIN_WORD_LENGTH,
};
use schemars::JsonSchema;
use serde::Serialize;

#[derive(Serialize, JsonSchema)]
pub(super) struct Config {
    /// What texts can be compared by.
    methods: Vec<MethodInfo>,
    /// The method when none is named.
    default_method: Method,
    /// What each measure weighs in hybrid.
    hybrid_weights: Components,
    /// What semantic gives beside 1 for a shared word.
    semantic_credits: Credits,
    /// Subjects that words can belong to.
    categories: Vec<CategoryInfo>,
    /// Words that are left out because most texts have them.
    stop_word_count: usize,
    /// Groups of words that stand for each other.
    synonym_group_count: usize,
    /// Words in those groups.
    synonym_word_count: usize,
    /// Words of this many characters or fewer are left out.
    min_word_length: usize,
    /// What all texts of a call may hold together, in bytes of UTF-8.
    max_total_bytes: usize,
}

#[derive(Serialize, JsonSchema)]
struct MethodInfo {
    /// As in the argument `method`.
    name: Method,
    /// How it is worked out.
    formula: &'static str,
    /// What it is good for.
    use_for: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Credits {
    /// For a subject that both texts touch.
    category: f64,
    /// For a pair of synonyms.
    synonym: f64,
}

#[derive(Serialize, JsonSchema)]
struct CategoryInfo {
    /// The subject.
    name: Category,
    /// How many words belong to it.
    word_count: usize,
}

/// Tells it.
pub(super) fn config() -> Config {
    let [jaccard, cosine, semantic] = WEIGHTS;
    let method = |name, formula, use_for| MethodInfo {
        name,
        formula,
        use_for,
    };
    Config {
        methods: vec![
            method(
                Method::Jaccard,
                "|A ∩ B| / |A ∪ B| over distinct words",
                "Near-duplicates and sets of keywords",
            ),
            method(
                Method::Cosine,
                "a · b / (‖a‖ ‖b‖) over counts of words",
                "Longer texts, where repetition means weight",
            ),
            method(
                Method::Semantic,
                "min(1, (shared words + 0.3 shared subjects + 0.5 synonym pairs) / max(|A|, |B|))",
                "The same said in other words",
            ),
            method(
                Method::Hybrid,
                "0.3 jaccard + 0.3 cosine + 0.4 semantic",
                "Anything else",
            ),
        ],
        default_method: Method::default(),
        hybrid_weights: Components {
            jaccard,
            cosine,
            semantic,
        },
        semantic_credits: Credits {
            category: CATEGORY_CREDIT,
            synonym: SYNONYM_CREDIT,
        },
        categories: Category::ALL
            .into_iter()
            .map(|name| CategoryInfo {
                name,
                word_count: name.words().len(),
            })
            .collect(),
        stop_word_count: STOP_WORDS.len(),
        synonym_group_count: SYNONYMS.len(),
        synonym_word_count: SYNONYMS.iter().map(|group| group.len()).sum(),
        min_word_length: MIN_WORD_LENGTH,
        max_total_bytes: MAX_TOTAL_BYTES,
    }
}
