//! How alike two texts are, from 0 (nothing in common) to 1 (the same words).
//!
//! All measures are symmetric, blind to the order of words, and 1 between a text and itself; two texts without a single word
//! count as the same.

use super::words::{Overlap, Profile, Vocabulary, fold, overlap};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What two texts are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Distinct words in both, out of those in either.
    Jaccard,
    /// Angle between the counts of words.
    Cosine,
    /// Shared words, and credit for shared subjects and for synonyms.
    Semantic,
    /// 30 % jaccard, 30 % cosine, 40 % semantic.
    #[default]
    Hybrid,
}

/// What each measure weighs in [`Method::Hybrid`]: jaccard, cosine, semantic. The original system's convention.
pub const WEIGHTS: [f64; 3] = [0.3, 0.3, 0.4];
/// What a shared subject is worth in [`semantic`], a shared word being 1. The original system's convention.
pub const CATEGORY_CREDIT: f64 = 0.3;
/// What a pair of synonyms is worth in [`semantic`], a shared word being 1. The original system's convention.
pub const SYNONYM_CREDIT: f64 = 0.5;

/// The measures that a hybrid is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// See [`jaccard`].
    pub jaccard: f64,
    /// See [`cosine`].
    pub cosine: f64,
    /// See [`semantic`].
    pub semantic: f64,
}

impl Scores {
    /// Measures two texts of one vocabulary.
    pub fn of(a: &Profile, b: &Profile) -> Self {
        let overlap = overlap(a, b);
        Self {
            jaccard: jaccard(a, b, &overlap),
            cosine: cosine(a, b, &overlap),
            semantic: semantic(a, b, &overlap),
        }
    }

    /// The one that a method asks for.
    pub fn by(&self, method: Method) -> f64 {
        match method {
            Method::Jaccard => self.jaccard,
            Method::Cosine => self.cosine,
            Method::Semantic => self.semantic,
            Method::Hybrid => {
                let [jaccard, cosine, semantic] = WEIGHTS;
                self.jaccard * jaccard + self.cosine * cosine + self.semantic * semantic
            }
        }
    }
}

/// How alike two texts are.
pub fn similarity(text1: &str, text2: &str, method: Method) -> f64 {
    let (text1, text2) = (fold(text1), fold(text2));
    let mut vocabulary = Vocabulary::default();
    let (a, b) = (vocabulary.profile(&text1), vocabulary.profile(&text2));
    Scores::of(&a, &b).by(method)
}

/// |A ∩ B| / |A ∪ B| over distinct words (Jaccard, "The distribution of the flora in the alpine zone", 1912).
pub fn jaccard(a: &Profile, b: &Profile, overlap: &Overlap) -> f64 {
    let shared = f64::from(overlap.shared);
    ratio(shared, a.terms.len() as f64 + b.terms.len() as f64 - shared)
}

/// Cosine of the angle between two vectors of raw word counts (Salton & McGill, "Introduction to Modern Information Retrieval",
/// 1983).
pub fn cosine(a: &Profile, b: &Profile, overlap: &Overlap) -> f64 {
    if a.terms.is_empty() != b.terms.is_empty() {
        return 0.0;
    }
    // Counts are whole, so the dot product is exact; the root may be off by its last bit.
    ratio(overlap.dot, (a.squares * b.squares).sqrt()).min(1.0)
}

/// min(1, (shared words + 0.3 · shared subjects + 0.5 · pairs of synonyms) / max(|A|, |B|)): the original system's convention,
/// with each word in one pair of synonyms at most.
pub fn semantic(a: &Profile, b: &Profile, overlap: &Overlap) -> f64 {
    let credit = f64::from(overlap.shared)
        + CATEGORY_CREDIT * f64::from(overlap.categories)
        + SYNONYM_CREDIT * f64::from(overlap.synonym_pairs);
    ratio(credit, a.terms.len().max(b.terms.len()) as f64).min(1.0)
}

/// A part of nothing is all of it: texts without words are the same.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 1.0 }
}

/// Mean, extremes and spread of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
    /// Standard deviation of the population (divided by n): the pairs are all there are, not a sample.
    pub std: f64,
}

/// Describes some numbers. None for none.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let n = values.len() as f64;
    let (first, mean) = (values.first()?, values.iter().sum::<f64>() / n);
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / n;
    Some(Spread {
        mean,
        min: values.iter().copied().fold(*first, f64::min),
        max: values.iter().copied().fold(*first, f64::max),
        std: variance.sqrt(),
    })
}
