//! The two means that merges end with. Sums are in `f64`; the mean is rounded to `f32` before it meets the base,
//! so that the mean of one delta is that delta.

use rayon::prelude::*;

/// `base + sum_i c_i tau_i / divisor`, entry by entry.
pub(super) fn combine(
    base: &[f32],
    deltas: &[impl AsRef<[f32]> + Sync],
    coefficients: &[f64],
    divisor: f64,
) -> Vec<f32> {
    let each = base.par_iter().enumerate().map(|(entry, &value)| {
        let sum: f64 = votes(deltas, coefficients, entry)
            .map(|(_, vote)| vote)
            .sum();
        value + (sum / divisor) as f32
    });
    each.collect()
}

/// `base` plus the mean of all deltas, each counting by its weight.
pub(super) fn weighted_mean(
    base: &[f32],
    deltas: &[impl AsRef<[f32]> + Sync],
    weights: &[f64],
) -> Vec<f32> {
    combine(base, deltas, weights, weights.iter().sum())
}

/// `base` plus the mean of the deltas that agree with the elected sign, entry by entry:
/// `s = sign(sum_i w_i tau_i)`, `A = { i : sign(tau_i) = s }`, `sum_A w_i tau_i / sum_A w_i`
/// (TIES, section 4, steps 2 and 3, weighted). A sum of 0 elects plus; zeros agree with nobody.
pub(super) fn disjoint_mean(
    base: &[f32],
    deltas: &[impl AsRef<[f32]> + Sync],
    weights: &[f64],
) -> Vec<f32> {
    let each = base.par_iter().enumerate().map(|(entry, &value)| {
        let votes = || votes(deltas, weights, entry);
        let elected: f64 = votes().map(|(_, vote)| vote).sum();
        let sign = if elected >= 0.0 { 1.0 } else { -1.0 };
        let (weight, sum) = votes()
            .filter(|(_, vote)| vote * sign > 0.0)
            .fold((0.0, 0.0), |(weight, sum), (w, vote)| {
                (weight + w, sum + vote)
            });
        if weight > 0.0 {
            value + (sum / weight) as f32
        } else {
            value
        }
    });
    each.collect()
}

/// Per delta its weight, and its weighted value at one entry.
fn votes<'a>(
    deltas: &'a [impl AsRef<[f32]>],
    weights: &'a [f64],
    entry: usize,
) -> impl Iterator<Item = (f64, f64)> {
    weights
        .iter()
        .zip(deltas)
        .map(move |(&weight, delta)| (weight, weight * f64::from(delta.as_ref()[entry])))
}
