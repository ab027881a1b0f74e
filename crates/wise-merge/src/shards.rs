//! The masks of a family of shards, by shard number.

use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use crate::random::{self, Purpose};
use crate::{MaskSeed, Result};

/// Whether the subspaces of different shards may share entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Each shard draws for itself: any number of shards, two of which share about `ratio`² of the entries.
    /// WISE's own; its paper (section 2.3.2) holds that the shared entries anchor the merge.
    #[default]
    Independent,
    /// No entry is in two shards, so that merging loses nothing, but only `1 / ratio` shards fit. The paper's
    /// ablation without knowledge anchors (table 13).
    Disjoint,
}

/// All the subspaces of one matrix: what gives every shard its mask.
///
/// ```
/// use wise_merge::{Overlap, Shards};
///
/// let shards = Shards { seed: 42, ratio: 0.2, overlap: Overlap::Disjoint };
/// let (first, last) = (shards.mask(0)?.draw(1000)?, shards.mask(4)?.draw(1000)?);
/// assert!(first.indices().all(|entry| !last.contains(entry)));
/// assert!(shards.mask(5).is_err(), "five fifths are all there are");
/// # Ok::<(), wise_merge::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shards {
    /// Seed of the family.
    pub seed: u64,
    /// Share of the entries inside each mask, rho in the paper.
    pub ratio: f64,
    /// Whether masks may share entries.
    pub overlap: Overlap,
}

impl Shards {
    /// The mask of shard number `shard`, from 0. Shard 0 has the family's own seed, whatever the overlap.
    ///
    /// # Errors
    /// [`Error::Ratio`](crate::Error::Ratio) if the ratio is not in (0, 1],
    /// [`Error::Part`](crate::Error::Part) if disjoint masks leave no room for that shard.
    pub fn mask(&self, shard: u32) -> Result<MaskSeed> {
        let mask = match self.overlap {
            Overlap::Independent => MaskSeed {
                seed: self.seed_of(shard),
                ratio: self.ratio,
                part: 0,
            },
            Overlap::Disjoint => MaskSeed {
                seed: self.seed,
                ratio: self.ratio,
                part: shard,
            },
        };
        mask.check()?;
        Ok(mask)
    }

    fn seed_of(&self, shard: u32) -> u64 {
        match shard {
            0 => self.seed,
            shard => random::stream(Purpose::Mask, self.seed, shard.into()).next_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Error, SubspaceMask};

    fn family(seed: u64, ratio: f64, overlap: Overlap) -> Shards {
        Shards {
            seed,
            ratio,
            overlap,
        }
    }

    fn shared(a: &SubspaceMask, b: &SubspaceMask) -> usize {
        a.indices().filter(|&i| b.contains(i)).count()
    }

    #[test]
    fn the_seed_of_a_shard_never_changes() {
        // Patches store the derived seed; a journal replayed must derive it again.
        let shards = family(42, 0.2, Overlap::Independent);
        let seeds = [0, 1, 2].map(|shard| shards.mask(shard).unwrap().seed);
        assert_eq!(seeds, PINNED);
    }

    const PINNED: [u64; 3] = [42, 14_330_608_400_789_313_726, 4_190_838_053_710_333_181];

    #[test]
    fn independent_shards_overlap_by_chance_only() {
        let shards = family(42, 0.2, Overlap::Independent);
        let masks = [0, 1, 2].map(|s| shards.mask(s).unwrap().draw(1_000_000).unwrap());
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            // 0.2 squared; five standard deviations are 5 * sqrt(1e6 * 0.04 * 0.96) = 980.
            let shared = shared(&masks[a], &masks[b]);
            assert!(shared.abs_diff(40_000) < 980, "{a} and {b}: {shared}");
        }
    }

    #[test]
    fn every_disjoint_share_is_about_the_ratio() {
        let shards = family(7, 0.2, Overlap::Disjoint);
        for shard in 0..5 {
            let count = shards.mask(shard).unwrap().draw(1_000_000).unwrap().count();
            assert!(count.abs_diff(200_000) < 2_000, "{shard}: {count}");
        }
    }

    #[test]
    fn more_disjoint_shards_than_fit_are_refused() {
        // The last but one is a sixth as people write it: a little too much.
        for (ratio, parts) in [
            (1.0, 1),
            (0.3, 3),
            (0.1, 10),
            (0.166_666_666_666_666_7, 6),
            (1.0 / 49.0, 49),
        ] {
            let shards = family(0, ratio, Overlap::Disjoint);
            assert!(shards.mask(parts - 1).is_ok(), "{ratio}");
            let refused = Error::Part {
                got: parts,
                ratio,
                parts,
            };
            assert_eq!(shards.mask(parts), Err(refused));
        }
        assert!(family(0, 0.5, Overlap::Independent).mask(1_000).is_ok());
    }

    #[test]
    fn a_ratio_out_of_range_is_refused() {
        for overlap in [Overlap::Independent, Overlap::Disjoint] {
            assert!(family(0, 1.5, overlap).mask(0).is_err());
        }
    }

    proptest! {
        #[test]
        fn shard_zero_is_the_mask_of_the_seed(seed: u64, ratio in 0.01_f64..=1.0) {
            let alone = MaskSeed { seed, ratio, part: 0 };
            for overlap in [Overlap::Independent, Overlap::Disjoint] {
                prop_assert_eq!(family(seed, ratio, overlap).mask(0).unwrap(), alone);
            }
        }

        #[test]
        fn disjoint_shards_share_nothing_and_fill_the_matrix(seed: u64, parts in 1_u32..12, len in 0_usize..300) {
            let shards = family(seed, 1.0 / f64::from(parts), Overlap::Disjoint);
            let masks: Vec<_> = (0..parts).map(|s| shards.mask(s).unwrap().draw(len).unwrap()).collect();
            for entry in 0..len {
                prop_assert_eq!(masks.iter().filter(|mask| mask.contains(entry)).count(), 1);
            }
        }

        #[test]
        fn the_same_shard_draws_the_same_mask(seed: u64, shard in 0_u32..4, len in 0_usize..300) {
            for overlap in [Overlap::Independent, Overlap::Disjoint] {
                let mask = family(seed, 0.25, overlap).mask(shard).unwrap();
                prop_assert_eq!(mask.draw(len).unwrap(), mask.draw(len).unwrap());
            }
        }
    }
}
