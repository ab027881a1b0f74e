//! SLERP: along the great circle instead of through the sphere.

use rayon::prelude::*;

use super::input::checked;
use super::mean::combine;
use super::{CHUNK, Merge};
use crate::Result;

/// Spherical linear interpolation (Shoemake, *Animating Rotation with Quaternion Curves*, SIGGRAPH 1985)
/// of task vectors.
///
/// For two, at `t = w_2 / (w_1 + w_2)` and with the angle `theta` between them, the direction is
/// `(sin((1-t) theta) e_1 + sin(t theta) e_2) / sin(theta)` of the unit vectors `e_i = tau_i / |tau_i|`, and the length
/// `(1-t) |tau_1| + t |tau_2|`. Unlike the mean of nearly orthogonal shards, the merge is as long as they are.
/// Where no great circle is defined (parallel, opposite or zero vectors) it is the straight line.
///
/// More than two are merged one after another, each at its share of the weight so far, so that the straight line would
/// give the weighted mean. On a sphere this depends on the order of the deltas.
///
/// EasyEdit interpolates between `W` itself and the first shard only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slerp;

impl Merge for Slerp {
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let weights = checked(base, deltas, weights)?;
        let coefficients = coefficients(&dot_products(deltas), &weights);
        Ok(combine(base, deltas, &coefficients, 1.0))
    }
}

/// What the merge takes of each delta. Every step stays in the span of the deltas, so their dot products tell
/// all lengths and angles, and no intermediate matrix is made.
fn coefficients(dots: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut taken = vec![0.0; weights.len()];
    let mut total = 0.0;
    for (next, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
        total += weight;
        let with = |row: &Vec<f64>| row.iter().zip(&taken).map(|(dot, c)| dot * c).sum::<f64>();
        let squared: f64 = dots.iter().zip(&taken).map(|(row, c)| c * with(row)).sum();
        let lengths = [squared.max(0.0).sqrt(), dots[next][next].sqrt()];
        let [so_far, added] = arc(lengths, with(&dots[next]), weight / total);
        for c in &mut taken {
            *c *= so_far;
        }
        taken[next] = added;
    }
    taken
}

/// The coefficients of two vectors at `t` on the arc between them.
fn arc(lengths: [f64; 2], dot: f64, t: f64) -> [f64; 2] {
    // Below this sine the arc is the line to single precision, or the two are opposite.
    const STRAIGHT: f64 = 1e-6;
    let line = [1.0 - t, t];
    if lengths.contains(&0.0) {
        return line;
    }
    let angle = (dot / (lengths[0] * lengths[1])).clamp(-1.0, 1.0).acos();
    if angle.sin() < STRAIGHT {
        return line;
    }
    let length = line[0] * lengths[0] + line[1] * lengths[1];
    [0, 1].map(|i| length * (line[i] * angle).sin() / (angle.sin() * lengths[i]))
}

fn dot_products(deltas: &[&[f32]]) -> Vec<Vec<f64>> {
    let row = |a: &&[f32]| deltas.iter().map(|b| dot(a, b)).collect();
    deltas.iter().map(row).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let chunks = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    let sums: Vec<f64> = chunks
        .map(|(a, b)| {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        })
        .collect();
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(deltas: &[&[f32]], weights: &[f64], expected: &[f32]) {
        let merged = Slerp
            .merge(&vec![0.0; expected.len()], deltas, weights)
            .unwrap();
        for (got, want) in merged.iter().zip(expected) {
            assert!(
                (got - want).abs() < 1e-6,
                "{merged:?}, expected {expected:?}"
            );
        }
    }

    #[test]
    fn by_hand_on_the_unit_circle() {
        let half = 0.5_f32.sqrt();
        check(&[&[1.0, 0.0], &[0.0, 1.0]], &[1.0, 1.0], &[half, half]);
        // t = 1/3 of 90 degrees: cos and sin of 30.
        check(
            &[&[1.0, 0.0], &[0.0, 1.0]],
            &[2.0, 1.0],
            &[0.75_f32.sqrt(), 0.5],
        );
    }

    #[test]
    fn by_hand_with_different_lengths() {
        // At 45 degrees, length (2+4)/2 = 3: 3 / sqrt(2) each.
        let side = 3.0 * 0.5_f32.sqrt();
        check(&[&[2.0, 0.0], &[0.0, 4.0]], &[1.0, 1.0], &[side, side]);
    }

    #[test]
    fn by_hand_of_three() {
        // The first two meet at (1, 1, 0)/sqrt(2); a third of the right angle from there to the third axis.
        let side = 0.375_f32.sqrt();
        let axes: [&[f32]; 3] = [&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]];
        check(&axes, &[1.0; 3], &[side, side, 0.5]);
    }

    #[test]
    fn where_there_is_no_arc_it_is_the_line() {
        check(&[&[1.0, 1.0], &[3.0, 3.0]], &[1.0, 1.0], &[2.0, 2.0]);
        check(&[&[1.0, 0.0], &[-1.0, 0.0]], &[3.0, 1.0], &[0.5, 0.0]);
        check(&[&[0.0, 0.0], &[4.0, 0.0]], &[1.0, 3.0], &[3.0, 0.0]);
    }

    #[test]
    fn weight_zero_has_no_say() {
        check(&[&[9.0, 0.0], &[0.0, 1.0]], &[0.0, 1.0], &[0.0, 1.0]);
    }

    #[test]
    fn the_order_of_three_matters() {
        let axes: [&[f32]; 3] = [&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]];
        let turned = [axes[2], axes[0], axes[1]];
        let merge = |deltas: &[&[f32]]| Slerp.merge(&[0.0; 3], deltas, &[1.0; 3]).unwrap();
        assert_ne!(merge(&axes), merge(&turned));
    }
}
