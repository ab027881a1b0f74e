//! Magnitude: trim, then average.

use super::input::checked;
use super::mean::weighted_mean;
use super::trim::trim;
use super::{Merge, MergeMethod};
use crate::Result;

/// Magnitude pruning: TIES (arXiv 2306.01708, section 4) without electing signs.
///
/// `W + sum_i w_i trim(tau_i) / sum_i w_i`, where `trim` keeps the `floor(density * n)` entries of largest magnitude.
/// Unlike TIES, an entry that one shard alone has changed is diluted by the other shards' weights.
///
/// EasyEdit divides by nothing, so there the weights must sum to 1 for the same result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Magnitude {
    /// Share of the entries that each delta keeps, in (0, 1].
    pub density: f64,
}

impl Default for Magnitude {
    fn default() -> Self {
        Self {
            density: MergeMethod::DEFAULT_DENSITY,
        }
    }
}

impl Merge for Magnitude {
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let weights = checked(base, deltas, weights)?;
        Ok(weighted_mean(base, &trim(deltas, self.density)?, &weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // floor(.53 * 4) = 2: (.5, .4, 0, 0) and (0, -.6, -.5, 0), halved and added.
        let (first, second) = ([0.5, 0.4, -0.3, 0.0], [0.1, -0.6, -0.5, 0.3]);
        let merged = Magnitude::default().merge(&[0.0; 4], &[&first, &second], &[1.0, 1.0]);
        let expected = [0.25, -0.1, -0.25, 0.0];
        for (got, expected) in merged.unwrap().into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-7, "{got} {expected}");
        }
    }
}
