//! Random subspace masks: which entries of a matrix one shard may change.

use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use crate::random::{self, Purpose};
use crate::{Error, Result};

/// A mask as it is stored: from seed, ratio and part [`MaskSeed::draw`] makes the same mask anywhere.
///
/// [`Shards`](crate::Shards) gives the masks of a family of shards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MaskSeed {
    /// Seed of the generator.
    pub seed: u64,
    /// Probability that an entry is inside, rho in the paper.
    pub ratio: f64,
    /// Which share of the seed's draw; masks of one seed and ratio but different parts share no entry.
    /// 0 for masks that stand alone.
    #[serde(default)]
    pub part: u32,
}

impl MaskSeed {
    /// Draws the mask over `len` entries, each inside with probability `ratio`, independently
    /// (WISE, section 2.3.2): one uniform number `u` per entry, inside where
    /// `part * ratio <= u < (part + 1) * ratio`.
    ///
    /// # Errors
    /// [`Error::Ratio`] if the ratio is not in (0, 1], [`Error::Part`] if that many parts do not fit.
    pub fn draw(self, len: usize) -> Result<SubspaceMask> {
        self.check()?;
        let part = f64::from(self.part);
        let inside = random::below(part * self.ratio)..random::below((part + 1.0) * self.ratio);
        let mut random = random::stream(Purpose::Mask, self.seed, 0);
        let mut mask = SubspaceMask::empty(len);
        for index in 0..len {
            if inside.contains(&u64::from(random.next_u32())) {
                mask.insert(index);
            }
        }
        Ok(mask)
    }

    pub(crate) fn check(self) -> Result<()> {
        if !(self.ratio > 0.0 && self.ratio <= 1.0) {
            return Err(Error::Ratio { got: self.ratio });
        }
        // A generator's word is the resolution of a draw, so half a word forgives 1/rho its rounding.
        let parts = ((1.0 + 2_f64.powi(-33)) / self.ratio) as u32;
        if self.part >= parts {
            return Err(Error::Part {
                got: self.part,
                ratio: self.ratio,
                parts,
            });
        }
        Ok(())
    }
}

/// A set of entries of a flattened matrix.
///
/// ```
/// use wise_merge::MaskSeed;
///
/// let mask = MaskSeed { seed: 7, ratio: 0.2, part: 0 }.draw(1000)?;
/// let matrix: Vec<f32> = (0..1000).map(|i| i as f32).collect();
/// let inside = mask.gather(&matrix)?;
/// assert_eq!(inside.len(), mask.count());
/// let mut copy = vec![0.0; 1000];
/// mask.scatter(&inside, &mut copy)?;
/// assert!((0..1000).all(|i| copy[i] == if mask.contains(i) { matrix[i] } else { 0.0 }));
/// # Ok::<(), wise_merge::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubspaceMask {
    words: Vec<u64>,
    len: usize,
}

impl SubspaceMask {
    fn empty(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(64)],
            len,
        }
    }

    fn insert(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Reads a mask of `len` entries packed as little-endian bits: bit `k` of byte `j` is entry `8j + k`.
    ///
    /// # Errors
    /// [`Error::Length`] if there are too few or too many bytes.
    pub fn from_packed_bits(bytes: &[u8], len: usize) -> Result<Self> {
        if bytes.len() != len.div_ceil(8) {
            return Err(Error::Length {
                what: "bytes of mask",
                got: bytes.len(),
                expected: len.div_ceil(8),
            });
        }
        let mut mask = Self::empty(len);
        for index in (0..len).filter(|i| bytes[i / 8] >> (i % 8) & 1 == 1) {
            mask.insert(index);
        }
        Ok(mask)
    }

    /// Entries of the matrix, inside and outside.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the matrix has no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries inside.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether the entry is inside; entries past the end are not.
    pub fn contains(&self, index: usize) -> bool {
        index < self.len && self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// The entries inside, ascending.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len).filter(|&i| self.contains(i))
    }

    /// The mask as a matrix of zeros and ones, flattened.
    pub fn to_dense(&self) -> Vec<f32> {
        (0..self.len)
            .map(|i| f32::from(u8::from(self.contains(i))))
            .collect()
    }

    /// The values of `matrix` inside the mask, in ascending order of entry.
    ///
    /// # Errors
    /// [`Error::Length`] if `matrix` does not have [`Self::len`] entries.
    pub fn gather(&self, matrix: &[f32]) -> Result<Vec<f32>> {
        check("matrix entries", matrix.len(), self.len)?;
        Ok(self.indices().map(|i| matrix[i]).collect())
    }

    /// Writes `values` into the entries of `matrix` inside the mask; the inverse of [`Self::gather`].
    ///
    /// # Errors
    /// [`Error::Length`] if `matrix` does not have [`Self::len`] entries or `values` not [`Self::count`].
    pub fn scatter(&self, values: &[f32], matrix: &mut [f32]) -> Result<()> {
        check("matrix entries", matrix.len(), self.len)?;
        check("values inside the mask", values.len(), self.count())?;
        for (index, &value) in self.indices().zip(values) {
            matrix[index] = value;
        }
        Ok(())
    }
}

fn check(what: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::Length {
            what,
            got,
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alone(seed: u64, ratio: f64) -> MaskSeed {
        MaskSeed {
            seed,
            ratio,
            part: 0,
        }
    }

    #[test]
    fn the_mask_of_a_seed_never_changes() {
        // Patches store the seed only: these numbers are part of the file format. They were worked out with a second
        // implementation of ChaCha8.
        for (part, pinned) in (0..).zip(PINNED) {
            let mask = MaskSeed {
                part,
                ..alone(42, 0.2)
            }
            .draw(64)
            .unwrap();
            assert_eq!(mask.indices().collect::<Vec<_>>(), pinned);
        }
    }

    const PINNED: [[usize; 15]; 2] = [
        [0, 2, 10, 11, 12, 20, 24, 31, 34, 35, 43, 49, 55, 60, 63],
        [1, 3, 4, 7, 15, 16, 18, 25, 26, 30, 38, 46, 51, 58, 59],
    ];

    #[test]
    fn share_inside_follows_the_ratio() {
        let mask = alone(1, 0.2).draw(1_000_000).unwrap();
        // Five standard deviations of a binomial: 5 * sqrt(1e6 * 0.2 * 0.8) = 2000.
        assert!(mask.count().abs_diff(200_000) < 2_000, "{}", mask.count());
    }

    #[test]
    fn masks_of_different_seeds_overlap_by_chance_only() {
        let draw = |seed| alone(seed, 0.2).draw(1_000_000).unwrap();
        let (a, b) = (draw(1), draw(2));
        let shared = a.indices().filter(|&i| b.contains(i)).count();
        assert!(shared.abs_diff(40_000) < 1_000, "{shared}");
    }

    #[test]
    fn a_ratio_that_trains_nothing_is_refused() {
        for ratio in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(alone(0, ratio).draw(8).is_err(), "{ratio}");
        }
    }

    proptest! {
        #[test]
        fn ratio_one_takes_everything(seed: u64, len in 0_usize..300) {
            let mask = alone(seed, 1.0).draw(len).unwrap();
            prop_assert_eq!(mask.count(), len);
        }

        #[test]
        fn scatter_undoes_gather(seed: u64, ratio in 0.01_f64..1.0, matrix: Vec<f32>) {
            let mask = alone(seed, ratio).draw(matrix.len()).unwrap();
            let values = mask.gather(&matrix).unwrap();
            let mut copy = matrix.clone();
            mask.scatter(&values, &mut copy).unwrap();
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&copy), bits(&matrix));
        }

        #[test]
        fn packed_bits_are_little_endian(bytes: Vec<u8>) {
            let mask = SubspaceMask::from_packed_bits(&bytes, bytes.len() * 8).unwrap();
            for (j, byte) in bytes.iter().enumerate() {
                for k in 0..8 {
                    prop_assert_eq!(mask.contains(8 * j + k), byte >> k & 1 == 1);
                }
            }
        }

        #[test]
        fn wrong_lengths_are_refused(len in 1_usize..200, extra in 1_usize..5) {
            let mask = alone(3, 0.5).draw(len).unwrap();
            prop_assert!(mask.gather(&vec![0.0; len + extra]).is_err());
            let values = vec![0.0; mask.count() + extra];
            prop_assert!(mask.scatter(&values, &mut vec![0.0; len]).is_err());
            prop_assert!(SubspaceMask::from_packed_bits(&vec![0; len.div_ceil(8) + 1], len).is_err());
        }
    }
}
