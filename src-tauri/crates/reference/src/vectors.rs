//! Arithmetic of dense vectors, for every server that compares them.
//!
//! Functions of two vectors want both of one length: their callers check, and say which argument is wrong. Sums run in lanes
//! that are added up at the end. The compiler may then use vector instructions, as it may not reorder one running sum, and the
//! result is the same to the last bit on every machine.

use crate::tool::Refusal;
use schemars::JsonSchema;
use serde::Deserialize;
use std::ops::Deref;

/// Sum of `x * y`.
#[inline]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    sum_of(a, b, |x, y| x * y)
}

/// Cosine of the angle between two vectors (Manning, Raghavan, Schütze, *Introduction to Information Retrieval*, §6.3), -1 to 1.
/// A vector of zeros has no direction: 0.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let products = Products::of(a, b);
    if products.aa >= TINY && products.bb >= TINY {
        return products.cosine();
    }
    match (lifted(a), lifted(b)) {
        (Some(a), Some(b)) => Products::of(&a, &b).cosine(),
        _ => 0.0,
    }
}

/// Length of the straight line between two points.
pub fn euclidean(a: &[f64], b: &[f64]) -> f64 {
    let squares = sum_of(a, b, |x, y| (x - y) * (x - y));
    if squares >= TINY {
        return squares.sqrt();
    }
    let apart: Vec<f64> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    norm(&apart)
}

/// Length of the way along the axes.
pub fn manhattan(a: &[f64], b: &[f64]) -> f64 {
    sum_of(a, b, |x, y| (x - y).abs())
}

/// Jaccard index (Jaccard 1901) of the sets of axes on which each is above zero. Two empty sets are the same set: 1.
pub fn jaccard(a: &[f64], b: &[f64]) -> f64 {
    let (mut both, mut either) = (0_u32, 0_u32);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (*x > 0.0, *y > 0.0);
        both += u32::from(x & y);
        either += u32::from(x | y);
    }
    if either == 0 {
        1.0
    } else {
        f64::from(both) / f64::from(either)
    }
}

/// On how many axes two vectors differ (Hamming 1950), each value taken as a bit: above 0.5 or not.
pub fn hamming(a: &[f64], b: &[f64]) -> u32 {
    a.iter()
        .zip(b)
        .map(|(x, y)| u32::from((*x > 0.5) != (*y > 0.5)))
        .sum()
}

/// Euclidean length.
pub fn norm(a: &[f64]) -> f64 {
    let squares = dot(a, a);
    if squares >= TINY {
        return squares.sqrt();
    }
    match lifted(a) {
        Some(lifted) => dot(&lifted, &lifted).sqrt() * norm_max(a),
        None => 0.0,
    }
}

/// Sum of magnitudes.
pub fn norm_l1(a: &[f64]) -> f64 {
    sum_of(a, a, |x, _| x.abs())
}

/// Greatest magnitude.
pub fn norm_max(a: &[f64]) -> f64 {
    a.iter().fold(0.0, |max: f64, x| max.max(x.abs()))
}

/// Every component divided by `norm`; unchanged when that is 0.
pub fn divided(a: &[f64], norm: f64) -> Vec<f64> {
    if norm > 0.0 {
        a.iter().map(|x| x / norm).collect()
    } else {
        a.to_vec()
    }
}

/// The same direction, of length 1. A vector of zeros stays as it is.
pub fn unit(a: &[f64]) -> Vec<f64> {
    let norm = norm(a);
    // Of the smallest numbers that there are, the length itself has too few digits to divide by.
    match (norm < TINY).then(|| lifted(a)).flatten() {
        Some(lifted) => divided(&lifted, dot(&lifted, &lifted).sqrt()),
        None => divided(a, norm),
    }
}

/// Below this, squares may have been rounded to nothing: the work is done again on vectors [`lifted`] to magnitude 1. Above it,
/// what was lost is less than the last digit of any sum of up to a million squares.
const TINY: f64 = 1e-280;

/// Divided by its greatest magnitude; `None` for zeros.
fn lifted(a: &[f64]) -> Option<Vec<f64>> {
    let max = norm_max(a);
    (max > 0.0).then(|| divided(a, max))
}

#[inline(always)]
fn sum_of(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for (x, y) in a_lanes.iter().zip(b_lanes) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += term(*x, *y);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(x, y)| term(*x, *y));
    sums.into_iter().chain(rest).sum()
}

/// The three sums of a cosine.
struct Products {
    ab: f64,
    aa: f64,
    bb: f64,
}

impl Products {
    /// In three passes: the sums of a single one do not fit into registers, and it took half as long again.
    fn of(a: &[f64], b: &[f64]) -> Self {
        Self {
            ab: dot(a, b),
            aa: dot(a, a),
            bb: dot(b, b),
        }
    }

    fn cosine(&self) -> f64 {
        (self.ab / (self.aa.sqrt() * self.bb.sqrt())).clamp(-1.0, 1.0)
    }
}

/// How a list of numbers is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of the whole population: divided by n, not by n - 1.
    pub std: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

impl Spread {
    /// `None` of no numbers. In two passes, so that a great mean does not swallow a small deviation.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        Some(Self {
            mean,
            std: variance.sqrt(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// A vector as tools take it: at most 8,192 components, each of a magnitude whose square is far from overflow.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Vector(
    #[schemars(length(max = 8192), inner(range(min = -1e100, max = 1e100)))] Vec<f64>,
);

impl Deref for Vector {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.0
    }
}

/// How many components the vectors of one call may have together: 16 MB.
pub const MOST_COMPONENTS: usize = 2_000_000;

/// Refuses more than [`MOST_COMPONENTS`].
pub fn check_total<'a>(
    field: &str,
    vectors: impl IntoIterator<Item = &'a Vector>,
) -> Result<(), Refusal> {
    let total: usize = vectors.into_iter().map(|vector| vector.len()).sum();
    if total > MOST_COMPONENTS {
        return Err(Refusal::argument(
            field,
            format!("have {total} components together; at most {MOST_COMPONENTS} are taken"),
        ));
    }
    Ok(())
}

/// Refuses two lengths, in words that name both.
pub fn check_length(
    field: impl Into<String>,
    vector: &[f64],
    other: &str,
    expected: usize,
) -> Result<(), Refusal> {
    if vector.len() == expected {
        return Ok(());
    }
    Err(Refusal::argument(
        field,
        format!(
            "has {} components, {other} has {expected}; lengths must be equal",
            vector.len()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::DVector;
    use proptest::prelude::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1.0)
    }

    fn pair() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        prop::collection::vec((-1e3..1e3, -1e3..1e3), 1..50)
            .prop_map(|pairs| pairs.into_iter().unzip())
    }

    fn three() -> impl Strategy<Value = [Vec<f64>; 3]> {
        prop::collection::vec((-1e3..1e3, -1e3..1e3, -1e3..1e3), 1..50).prop_map(|rows| {
            let axis = |of: fn(&(f64, f64, f64)) -> f64| rows.iter().map(of).collect();
            [axis(|row| row.0), axis(|row| row.1), axis(|row| row.2)]
        })
    }

    proptest! {
        /// nalgebra is the independent word.
        #[test]
        fn sums_agree_with_nalgebra((a, b) in pair()) {
            let (left, right) = (DVector::from_vec(a.clone()), DVector::from_vec(b.clone()));
            prop_assert!(close(dot(&a, &b), left.dot(&right)));
            prop_assert!(close(norm(&a), left.norm()));
            prop_assert!(close(norm_l1(&a), left.lp_norm(1)));
            prop_assert!(close(norm_max(&a), left.amax()));
            prop_assert!(close(euclidean(&a, &b), left.metric_distance(&right)));
            prop_assert!(close(manhattan(&a, &b), (&left - &right).lp_norm(1)));
            prop_assert!(close(cosine(&a, &b), left.dot(&right) / (left.norm() * right.norm())));
            let spread = Spread::of(&a).unwrap();
            prop_assert!(close(spread.mean, left.mean()) && close(spread.std, left.variance().sqrt()));
            prop_assert_eq!((spread.min, spread.max), (left.min(), left.max()));
        }

        #[test]
        fn both_ways_alike((a, b) in pair()) {
            prop_assert_eq!(cosine(&a, &b), cosine(&b, &a));
            prop_assert_eq!(euclidean(&a, &b), euclidean(&b, &a));
            prop_assert_eq!(manhattan(&a, &b), manhattan(&b, &a));
            prop_assert_eq!(jaccard(&a, &b), jaccard(&b, &a));
            prop_assert_eq!(hamming(&a, &b), hamming(&b, &a));
        }

        #[test]
        fn no_detour_is_shorter([a, b, c] in three()) {
            for distance in [euclidean, manhattan] {
                prop_assert!(distance(&a, &c) <= (distance(&a, &b) + distance(&b, &c)) * (1.0 + 1e-12));
            }
            prop_assert!(hamming(&a, &c) <= hamming(&a, &b) + hamming(&b, &c));
            // The Jaccard distance is a metric too (Levandowsky, Winter 1971).
            prop_assert!(1.0 - jaccard(&a, &c) <= 2.0 - jaccard(&a, &b) - jaccard(&b, &c) + 1e-12);
        }

        #[test]
        fn cosine_knows_no_scale((a, b) in pair(), exponent in -200_i32..90) {
            let by = 10_f64.powi(exponent);
            let scaled: Vec<f64> = a.iter().map(|x| x * by).collect();
            prop_assert!(close(cosine(&scaled, &b), cosine(&a, &b)));
            prop_assert!((-1.0..=1.0).contains(&cosine(&a, &b)));
        }

        #[test]
        fn cosine_knows_no_order_of_axes((a, b) in pair(), by in 0_usize..50) {
            let turned = |v: &[f64]| {
                let mut v = v.to_vec();
                let by = by % v.len();
                v.rotate_left(by);
                v
            };
            prop_assert!(close(cosine(&turned(&a), &turned(&b)), cosine(&a, &b)));
        }

        #[test]
        fn a_unit_has_length_one_and_is_its_own_unit((a, _) in pair(), exponent in -300_i32..90) {
            let a: Vec<f64> = a.iter().map(|x| x * 10_f64.powi(exponent)).collect();
            let once = unit(&a);
            prop_assert!(norm_max(&a) == 0.0 || close(norm(&once), 1.0));
            prop_assert!(unit(&once).iter().zip(&once).all(|(x, y)| close(*x, *y)));
        }
    }

    /// Worked out by hand: 3, 4, 5 is a right triangle, whatever its unit.
    #[test]
    fn the_ends_of_the_range_hold() {
        for by in [1e-320, 1e-200, 1.0, 1e99] {
            let a = [3.0 * by, 4.0 * by];
            assert!((norm(&a) / (5.0 * by) - 1.0).abs() < 1e-3, "norm at {by:e}");
            assert!(
                (cosine(&a, &[1.0, 0.0]) - 0.6).abs() < 1e-3,
                "cosine at {by:e}"
            );
            assert!(
                (euclidean(&a, &[0.0, 0.0]) / (5.0 * by) - 1.0).abs() < 1e-3,
                "distance at {by:e}"
            );
        }
        let most = dot(&[1e100; 8192], &[1e100; 8192]) / 8192e200;
        assert!((most - 1.0).abs() < 1e-12, "{most}");
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
        assert_eq!(unit(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
