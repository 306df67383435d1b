//! The six metrics.

use crate::vectors::{cosine, dot, euclidean, hamming, jaccard, manhattan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Metric {
    #[default]
    Cosine,
    Euclidean,
    Manhattan,
    DotProduct,
    Jaccard,
    Hamming,
}

impl Metric {
    pub(super) const ALL: [Self; 6] = [
        Self::Cosine,
        Self::Euclidean,
        Self::Manhattan,
        Self::DotProduct,
        Self::Jaccard,
        Self::Hamming,
    ];

    /// Whether it may be asked of vectors scaled to length 1. The others take values as bits: to scale them would move them
    /// over the line between the two.
    pub(super) fn takes_units(self) -> bool {
        !matches!(self, Self::Jaccard | Self::Hamming)
    }

    /// Similarity and distance. `1 / (1 + d)` and `-s` are conventions of the original system; the rest are textbook
    /// (Deza, Deza, *Encyclopedia of Distances*).
    pub(super) fn compare(self, a: &[f64], b: &[f64]) -> Likeness {
        match self {
            Self::Cosine => Likeness::of_share(cosine(a, b)),
            Self::Euclidean => Likeness::of_distance(euclidean(a, b)),
            Self::Manhattan => Likeness::of_distance(manhattan(a, b)),
            Self::DotProduct => {
                let similarity = dot(a, b);
                Likeness {
                    similarity,
                    // Not `-similarity`: no -0 in a result.
                    distance: 0.0 - similarity,
                }
            }
            Self::Jaccard => Likeness::of_share(jaccard(a, b)),
            Self::Hamming => {
                let distance = f64::from(hamming(a, b));
                Likeness {
                    similarity: 1.0 - distance / (a.len().max(1) as f64),
                    distance,
                }
            }
        }
    }
}

/// How alike, and how far apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likeness {
    pub(super) similarity: f64,
    pub(super) distance: f64,
}

impl Likeness {
    fn of_share(similarity: f64) -> Self {
        Self {
            similarity,
            distance: 1.0 - similarity,
        }
    }

    fn of_distance(distance: f64) -> Self {
        Self {
            similarity: 1.0 / (1.0 + distance),
            distance,
        }
    }
}

/// No arguments.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What is on offer.
#[derive(Serialize, JsonSchema)]
pub(super) struct Table {
    /// The metric that is used when none is named.
    default: Metric,
    /// Every metric.
    metrics: Vec<Entry>,
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    /// As the argument `metric` takes it.
    name: Metric,
    /// What it measures: angle, distance, product or set.
    r#type: &'static str,
    /// Similarity, from values a and b.
    similarity: &'static str,
    /// Distance, from the similarity s or the other way round.
    distance: &'static str,
    /// What similarities can be.
    range: &'static str,
    /// When to choose it.
    r#use: &'static str,
}

pub(super) fn table() -> Table {
    Table {
        default: Metric::default(),
        metrics: Metric::ALL.into_iter().map(entry).collect(),
    }
}

fn entry(name: Metric) -> Entry {
    let [r#type, similarity, distance, range, r#use] = match name {
        Metric::Cosine => [
            "angle",
            "a·b / (|a| |b|), 0 when either is all zeros",
            "1 - s",
            "-1 to 1",
            "Embeddings of text or images, where direction carries the meaning and length does not.",
        ],
        Metric::Euclidean => [
            "distance",
            "1 / (1 + d)",
            "d = root of the sum of (a - b)²",
            "above 0, to 1",
            "Measured quantities on axes of one scale, where size matters.",
        ],
        Metric::Manhattan => [
            "distance",
            "1 / (1 + d)",
            "d = sum of |a - b|",
            "above 0, to 1",
            "Many axes or outliers: one great difference weighs less than with euclidean.",
        ],
        Metric::DotProduct => [
            "product",
            "a·b",
            "-s",
            "any number; -1 to 1 when normalised",
            "Vectors whose length is a strength, as of recommendations; or those of length 1, as the quickest cosine.",
        ],
        Metric::Jaccard => [
            "set",
            "axes where both are above 0 / axes where either is; 1 when there are none",
            "1 - s",
            "0 to 1",
            "Presence or absence: tags, words, features; shared absences do not count.",
        ],
        Metric::Hamming => [
            "set",
            "1 - d / axes",
            "d = axes on which one is above 0.5 and the other is not",
            "0 to 1",
            "Bit patterns and hashes; shared absences count as likeness.",
        ],
    };
    Entry {
        name,
        r#type,
        similarity,
        distance,
        range,
        r#use,
    }
}
