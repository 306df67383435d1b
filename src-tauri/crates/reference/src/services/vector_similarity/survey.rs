//! Whole sets of vectors: their statistics, and scaling them.

use crate::{
    tool::{Context, Refusal},
    vectors::{
        Spread, Vector, check_length, check_total, divided, dot, norm, norm_l1, norm_max, unit,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// More vectors than this have more than half a million pairs.
const MOST_PAIRED: usize = 1_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    /// 1 to 10000 vectors of one length, 2000000 numbers together.
    #[schemars(length(min = 1, max = 10_000))]
    vectors: Vec<Vector>,
    /// Also compares every pair by cosine; for up to 1000 vectors.
    #[serde(default)]
    calculate_pairwise: bool,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Statistics {
    /// How many vectors.
    count: usize,
    /// How many components each has.
    dimensions: usize,
    /// Mean of each axis.
    mean: Vec<f64>,
    /// Standard deviation of each axis, of the whole population (divided by n).
    std: Vec<f64>,
    /// Least value of each axis.
    min: Vec<f64>,
    /// Greatest value of each axis.
    max: Vec<f64>,
    /// Euclidean lengths of the vectors.
    norms: SpreadResult,
    /// Cosines of all pairs; null when not asked for or when there is one vector only.
    pairwise: Option<PairwiseResult>,
}

#[derive(Serialize, JsonSchema)]
struct SpreadResult {
    /// Mean.
    mean: f64,
    /// Standard deviation, of the whole population.
    std: f64,
    /// Least.
    min: f64,
    /// Greatest.
    max: f64,
}

#[derive(Serialize, JsonSchema)]
struct PairwiseResult {
    /// How many pairs.
    pairs: usize,
    /// Mean.
    mean: f64,
    /// Standard deviation, of the whole population.
    std: f64,
    /// Least.
    min: f64,
    /// Greatest.
    max: f64,
}

pub(super) fn statistics(context: &Context, input: Set) -> Result<Statistics, Refusal> {
    let vectors: Vec<&[f64]> = input.vectors.iter().map(|vector| &**vector).collect();
    let dimensions = vectors.first().map_or(0, |first| first.len());
    if dimensions == 0 {
        return Err(Refusal::argument(
            "vectors[0]",
            "is empty; at least one number is needed",
        ));
    }
    for (index, vector) in vectors.iter().enumerate() {
        check_length(
            format!("vectors[{index}]"),
            vector,
            "vectors[0]",
            dimensions,
        )?;
    }
    check_total("vectors", &input.vectors)?;
    if input.calculate_pairwise && vectors.len() > MOST_PAIRED {
        let problem = format!(
            "is for up to {MOST_PAIRED} vectors, there are {}",
            vectors.len()
        );
        return Err(Refusal::argument("calculate_pairwise", problem));
    }
    let axes = Axes::of(&vectors, dimensions);
    let norms: Vec<f64> = vectors.iter().map(|vector| norm(vector)).collect();
    let norms = Spread::of(&norms).ok_or_else(|| Refusal::argument("vectors", "is empty"))?;
    let pairwise = if input.calculate_pairwise {
        let cosines = pairwise(context, &vectors)?;
        Spread::of(&cosines).map(|spread| PairwiseResult {
            pairs: cosines.len(),
            mean: spread.mean,
            std: spread.std,
            min: spread.min,
            max: spread.max,
        })
    } else {
        None
    };
    Ok(Statistics {
        count: vectors.len(),
        dimensions,
        mean: axes.mean,
        std: axes.std,
        min: axes.min,
        max: axes.max,
        norms: SpreadResult {
            mean: norms.mean,
            std: norms.std,
            min: norms.min,
            max: norms.max,
        },
        pairwise,
    })
}

/// Spread of each axis, worked out a vector at a time as they lie in memory.
struct Axes {
    mean: Vec<f64>,
    std: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
}

impl Axes {
    fn of(vectors: &[&[f64]], dimensions: usize) -> Self {
        let count = vectors.len().max(1) as f64;
        let mut mean = vec![0.0; dimensions];
        let mut min = vec![f64::INFINITY; dimensions];
        let mut max = vec![f64::NEG_INFINITY; dimensions];
        for vector in vectors {
            for (sum, x) in mean.iter_mut().zip(*vector) {
                *sum += x;
            }
            for (min, x) in min.iter_mut().zip(*vector) {
                *min = x.min(*min);
            }
            for (max, x) in max.iter_mut().zip(*vector) {
                *max = x.max(*max);
            }
        }
        for sum in &mut mean {
            *sum /= count;
        }
        let mut std = vec![0.0; dimensions];
        for vector in vectors {
            for ((squares, x), mean) in std.iter_mut().zip(*vector).zip(&mean) {
                *squares += (x - mean) * (x - mean);
            }
        }
        for squares in &mut std {
            *squares = (*squares / count).sqrt();
        }
        Self {
            mean,
            std,
            min,
            max,
        }
    }
}

/// Cosines of all pairs, the first with each of the others first. Scaled once, a pair costs one product.
fn pairwise(context: &Context, vectors: &[&[f64]]) -> Result<Vec<f64>, Refusal> {
    let units: Vec<Vec<f64>> = vectors.iter().map(|vector| unit(vector)).collect();
    let of = u32::try_from(units.len()).unwrap_or(u32::MAX);
    let mut cosines = Vec::with_capacity(units.len() * units.len().saturating_sub(1) / 2);
    for (done, (index, a)) in (0_u32..).zip(units.iter().enumerate()) {
        context.step(done, of, "comparing pairs")?;
        let others = units.iter().skip(index + 1);
        cosines.extend(others.map(|b| dot(a, b).clamp(-1.0, 1.0)));
    }
    Ok(cosines)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scaling {
    /// 1 to 10000 vectors, 2000000 numbers together; each is scaled by itself, so lengths may differ.
    #[schemars(length(min = 1, max = 10_000))]
    vectors: Vec<Vector>,
    /// What becomes 1: the euclidean length (l2), the sum of magnitudes (l1) or the greatest magnitude (max).
    #[serde(default)]
    norm_type: NormType,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NormType {
    #[default]
    L2,
    L1,
    Max,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Scaled {
    /// The vectors, each divided by its factor; those of zeros unchanged.
    normalized_vectors: Vec<Vec<f64>>,
    /// The norm that each had. 0: it was all zeros.
    factors: Vec<f64>,
    /// The norm used.
    norm_type: NormType,
}

pub(super) fn normalize(input: Scaling) -> Result<Scaled, Refusal> {
    check_total("vectors", &input.vectors)?;
    let measure = match input.norm_type {
        NormType::L2 => norm,
        NormType::L1 => norm_l1,
        NormType::Max => norm_max,
    };
    let factors: Vec<f64> = input.vectors.iter().map(|vector| measure(vector)).collect();
    Ok(Scaled {
        normalized_vectors: input
            .vectors
            .iter()
            .zip(&factors)
            .map(|(vector, factor)| divided(vector, *factor))
            .collect(),
        factors,
        norm_type: input.norm_type,
    })
}
