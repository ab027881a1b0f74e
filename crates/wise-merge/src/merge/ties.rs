//! TIES: trim, elect a sign, average those that agree.

use super::input::checked;
use super::mean::disjoint_mean;
use super::trim::trim;
use super::{Merge, MergeMethod};
use crate::Result;

/// TIES-Merging (Yadav et al., *TIES-Merging: Resolving Interference When Merging Models*, NeurIPS 2023,
/// arXiv 2306.01708, section 4), and what WISE merges with.
///
/// Per delta keep the `floor(density * n)` entries of largest magnitude; per entry elect
/// `s = sign(sum_i w_i tau_i)`; the merged entry is `W + sum_A w_i tau_i / sum_A w_i` over `A`, the deltas whose
/// sign is `s`. So an entry that one shard alone has changed keeps its whole change, agreeing changes are averaged,
/// and of opposite ones the side with more weight survives at full size. A sum of 0 elects plus.
///
/// The paper's scale lambda is 1 and its votes are weighted, as in WISE; with equal weights they are the paper's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ties {
    /// Share of the entries that each delta keeps, in (0, 1].
    pub density: f64,
}

impl Default for Ties {
    fn default() -> Self {
        Self {
            density: MergeMethod::DEFAULT_DENSITY,
        }
    }
}

impl Merge for Ties {
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let weights = checked(base, deltas, weights)?;
        Ok(disjoint_mean(base, &trim(deltas, self.density)?, &weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: [f32; 4] = [0.5, 0.4, -0.3, 0.0];
    const SECOND: [f32; 4] = [0.1, -0.6, -0.5, 0.3];

    fn merge(density: f64, weights: [f64; 2]) -> Vec<f32> {
        let ties = Ties { density };
        ties.merge(&[0.0; 4], &[&FIRST, &SECOND], &weights).unwrap()
    }

    #[test]
    fn by_hand_untrimmed() {
        // (.5+.1)/2; .4-.6 < 0 leaves -.6; (-.3-.5)/2; .3 alone.
        assert_eq!(merge(1.0, [0.5, 0.5]), [0.3, -0.6, -0.4, 0.3]);
    }

    #[test]
    fn by_hand_with_three_of_four_kept() {
        // floor(.75 * 4) = 3: the second loses its .1, and nothing else is lost.
        assert_eq!(merge(0.75, [0.5, 0.5]), [0.5, -0.6, -0.4, 0.3]);
    }

    #[test]
    fn by_hand_with_the_default_density() {
        // floor(.53 * 4) = 2: (.5, .4, 0, 0) and (0, -.6, -.5, 0); only entry 1 is contested.
        assert_eq!(merge(0.53, [0.5, 0.5]), [0.5, -0.6, -0.5, 0.0]);
    }

    #[test]
    fn by_hand_with_weights() {
        // (3*.5+.1)/4; 3*.4-.6 > 0 leaves .4; (-3*.3-.5)/4; .3 alone.
        for (got, expected) in merge(1.0, [3.0, 1.0])
            .into_iter()
            .zip([0.4, 0.4, -0.35, 0.3])
        {
            assert!((got - expected).abs() < 1e-7, "{got} {expected}");
        }
    }

    #[test]
    fn the_merged_task_vector_is_added_to_the_base() {
        let merged = Ties { density: 1.0 }.merge(&[1.0, -1.0], &[&[0.5, 0.25]], &[2.0]);
        assert_eq!(merged.unwrap(), [1.5, -0.75]);
    }

    #[test]
    fn a_density_out_of_range_is_refused() {
        assert!(
            Ties { density: 0.0 }
                .merge(&[0.0], &[&[1.0]], &[1.0])
                .is_err()
        );
    }
}
