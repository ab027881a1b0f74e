//! Sign consensus: TIES without trimming.

use super::Merge;
use super::input::checked;
use super::mean::disjoint_mean;
use crate::Result;

/// Sign consensus: TIES (arXiv 2306.01708, section 4) without its first step, trimming.
///
/// `W + sum_A w_i tau_i / sum_A w_i` over `A`, the deltas whose sign is that of `sum_i w_i tau_i`. It is what
/// [`Ties`](super::Ties) computes on shards whose mask ratio is at most the density.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sign;

impl Merge for Sign {
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let weights = checked(base, deltas, weights)?;
        Ok(disjoint_mean(base, deltas, &weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // .5 - 3*.3 < 0 leaves -.3; (.2+3*.6)/4; 0 has no vote.
        let merged = Sign.merge(
            &[0.0; 3],
            &[&[0.5, 0.2, 0.0], &[-0.3, 0.6, -0.1]],
            &[1.0, 3.0],
        );
        assert_eq!(merged.unwrap(), [-0.3, 0.5, -0.1]);
    }

    #[test]
    fn the_sum_elects_and_not_the_majority() {
        let merged = Sign.merge(&[0.0], &[&[1.0], &[-0.25], &[-0.25]], &[1.0; 3]);
        assert_eq!(merged.unwrap(), [1.0]);
    }

    #[test]
    fn a_drawn_vote_elects_plus() {
        // A third has no exact float: equal weights must cancel all the same.
        let merged = Sign.merge(&[0.0], &[&[-0.2], &[0.1], &[0.1]], &[1.0 / 3.0; 3]);
        assert_eq!(merged.unwrap(), [0.1]);
    }

    #[test]
    fn weight_zero_has_no_say() {
        let merged = Sign.merge(&[0.0, 0.0], &[&[-9.0, 9.0], &[1.0, 0.0]], &[0.0, 1.0]);
        assert_eq!(merged.unwrap(), [1.0, 0.0]);
    }
}
