//! Linear: the weighted mean.

use super::Merge;
use super::input::checked;
use super::mean::weighted_mean;
use crate::Result;

/// Task arithmetic (Ilharco et al., *Editing Models with Task Arithmetic*, ICLR 2023, arXiv 2212.04089, section 2)
/// with coefficients that sum to 1: `W + sum_i w_i tau_i / sum_i w_i`, the weighted mean of the shards.
///
/// EasyEdit interpolates between `W` and the first shard only; this one looks at all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Linear;

impl Merge for Linear {
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let weights = checked(base, deltas, weights)?;
        Ok(weighted_mean(base, deltas, &weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // A quarter of the first and three of the second: .125-.0625*3, .5+.75, then on top of 1.
        let merged = Linear.merge(&[0.0, 1.0], &[&[0.5, 2.0], &[-0.25, 1.0]], &[2.0, 6.0]);
        assert_eq!(merged.unwrap(), [-0.0625, 2.25]);
    }
}
