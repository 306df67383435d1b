//! Defaults, and the methods as weights.

use super::{bm25::Parameters, context, hybrid, pagerank, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much each signal counts. Only their ratios matter.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(non_snake_case, reason = "named so by the original system")]
pub(super) struct Weights {
    /// Of the vectors' cosine, 0 to 1000.
    #[schemars(range(min = 0, max = 1_000))]
    pub(super) vectorSimilarity: f64,
    /// Of the words, 0 to 1000.
    #[schemars(range(min = 0, max = 1_000))]
    pub(super) bm25Score: f64,
    /// Of the links, 0 to 1000.
    #[schemars(range(min = 0, max = 1_000))]
    pub(super) pageRankScore: f64,
    /// Of recency and categories, 0 to 1000.
    #[schemars(range(min = 0, max = 1_000))]
    pub(super) contextualRelevance: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self::from_array([0.4, 0.3, 0.2, 0.1])
    }
}

impl Weights {
    pub(super) fn from_array([vector, bm25, pagerank, context]: [f64; 4]) -> Self {
        Self {
            vectorSimilarity: vector,
            bm25Score: bm25,
            pageRankScore: pagerank,
            contextualRelevance: context,
        }
    }

    pub(super) fn to_array(self) -> [f64; 4] {
        [
            self.vectorSimilarity,
            self.bm25Score,
            self.pageRankScore,
            self.contextualRelevance,
        ]
    }

    /// Those of the signals that there are, adding up to 1; `None` when those have no weight.
    pub(super) fn among(self, there: [bool; 4]) -> Option<Self> {
        let mut weights = self.to_array();
        for (weight, there) in weights.iter_mut().zip(there) {
            if !there {
                *weight = 0.0;
            }
        }
        let sum: f64 = weights.iter().sum();
        (sum > 0.0).then(|| Self::from_array(weights.map(|weight| weight / sum)))
    }
}

/// No arguments.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Defaults of the server.
#[derive(Serialize, JsonSchema)]
pub(super) struct Config {
    /// Weights of hybrid_ranking_search when none are given.
    default_weights: Weights,
    /// How words are scored.
    bm25: Bm25,
    /// How links are scored.
    pagerank: PageRank,
    /// How context is scored.
    context: Context,
    /// When two documents are the same.
    diversity: Diversity,
    /// Which words count.
    tokens: Tokens,
    /// Ways to rank, as weights for hybrid_ranking_search.
    methods: Vec<Method>,
}

#[derive(Serialize, JsonSchema)]
struct Bm25 {
    /// How slowly a word repeated stops counting.
    k1: f64,
    /// How much a document longer than the average is held back.
    b: f64,
    /// How rare words are weighed.
    idf: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct PageRank {
    /// How likely a reader is to follow a link.
    damping: f64,
    /// How often scores are passed on at most.
    iterations: u32,
    /// Done when scores together move by less.
    tolerance: f64,
}

#[derive(Serialize, JsonSchema)]
struct Context {
    /// How much recency counts when search_context does not say.
    recency_weight: f64,
    /// From what age on a document is not recent at all, in days.
    recent_days: f64,
}

#[derive(Serialize, JsonSchema)]
struct Diversity {
    /// A document whose words overlap with a better one's by more than this (Jaccard index) is left out.
    max_overlap: f64,
}

#[derive(Serialize, JsonSchema)]
struct Tokens {
    /// Fewest characters of a word that counts.
    min_length: usize,
    /// Compared in lower case.
    lower_case: bool,
    /// Punctuation at both ends does not count.
    trim_punctuation: bool,
}

#[derive(Serialize, JsonSchema)]
struct Method {
    /// Its name.
    name: &'static str,
    /// When to choose it.
    description: &'static str,
    /// What to give as ranking_weights.
    ranking_weights: Weights,
}

pub(super) fn config() -> Config {
    let Parameters { k1, b } = Parameters::default();
    Config {
        default_weights: Weights::default(),
        bm25: Bm25 {
            k1,
            b,
            idf: "ln((N - df + 0.5) / (df + 0.5)), at least 0",
        },
        pagerank: PageRank {
            damping: pagerank::DAMPING,
            iterations: pagerank::ITERATIONS,
            tolerance: pagerank::TOLERANCE,
        },
        context: Context {
            recency_weight: hybrid::RECENCY_WEIGHT,
            recent_days: context::RECENT_DAYS,
        },
        diversity: Diversity {
            max_overlap: hybrid::MOST_OVERLAP,
        },
        tokens: Tokens {
            min_length: text::SHORTEST,
            lower_case: true,
            trim_punctuation: true,
        },
        methods: vec![
            Method {
                name: "hybrid",
                description: "Words, vectors, links and context together.",
                ranking_weights: Weights::default(),
            },
            Method {
                name: "bm25_only",
                description: "Words alone: exact terms, names and numbers.",
                ranking_weights: Weights::from_array([0.0, 1.0, 0.0, 0.0]),
            },
            Method {
                name: "vector_only",
                description: "Vectors alone: meaning, whatever the words.",
                ranking_weights: Weights::from_array([1.0, 0.0, 0.0, 0.0]),
            },
            Method {
                name: "pagerank_only",
                description: "Links alone: what others refer to, whatever the query.",
                ranking_weights: Weights::from_array([0.0, 0.0, 1.0, 0.0]),
            },
        ],
    }
}
