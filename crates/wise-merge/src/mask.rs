//! Random subspace masks: which entries of a matrix one shard may change.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::{Error, Result};

/// A mask as it is stored: a seed and a ratio, from which [`MaskSeed::draw`] makes the same mask anywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskSeed {
    /// Seed of the generator.
    pub seed: u64,
    /// Probability that an entry is inside, rho in the paper.
    pub ratio: f64,
}

impl MaskSeed {
    /// Draws the mask over `len` entries, each inside with probability `ratio`, independently
    /// (WISE, section 2.3.2).
    ///
    /// # Errors
    /// [`Error::Ratio`] if the ratio is not in (0, 1].
    pub fn draw(self, len: usize) -> Result<SubspaceMask> {
        if !(self.ratio > 0.0 && self.ratio <= 1.0) {
            return Err(Error::Ratio { got: self.ratio });
        }
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        // Compared as u64, so that ratio 1 takes every entry.
        let bound = (self.ratio * 2_f64.powi(32)).round() as u64;
        let mut mask = SubspaceMask::empty(len);
        for index in 0..len {
            if u64::from(random.next_u32()) < bound {
                mask.insert(index);
            }
        }
        Ok(mask)
    }
}

/// A set of entries of a flattened matrix.
///
/// ```
/// use wise_merge::MaskSeed;
///
/// let mask = MaskSeed { seed: 7, ratio: 0.2 }.draw(1000)?;
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

    #[test]
    fn the_mask_of_a_seed_never_changes() {
        let mask = MaskSeed {
            seed: 42,
            ratio: 0.2,
        }
        .draw(64)
        .unwrap();
        let drawn: Vec<usize> = mask.indices().collect();
        // Patches store the seed only: these numbers are part of the file format.
        assert_eq!(drawn, PINNED);
    }

    const PINNED: [usize; 15] = [0, 2, 10, 11, 12, 20, 24, 31, 34, 35, 43, 49, 55, 60, 63];

    #[test]
    fn share_inside_follows_the_ratio() {
        let mask = MaskSeed {
            seed: 1,
            ratio: 0.2,
        }
        .draw(1_000_000)
        .unwrap();
        // Five standard deviations of a binomial: 5 * sqrt(1e6 * 0.2 * 0.8) = 2000.
        assert!(mask.count().abs_diff(200_000) < 2_000, "{}", mask.count());
    }

    #[test]
    fn masks_of_different_seeds_overlap_by_chance_only() {
        let draw = |seed| MaskSeed { seed, ratio: 0.2 }.draw(1_000_000).unwrap();
        let (a, b) = (draw(1), draw(2));
        let shared = a.indices().filter(|&i| b.contains(i)).count();
        assert!(shared.abs_diff(40_000) < 1_000, "{shared}");
    }

    #[test]
    fn a_ratio_that_trains_nothing_is_refused() {
        for ratio in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(MaskSeed { seed: 0, ratio }.draw(8).is_err(), "{ratio}");
        }
    }

    proptest! {
        #[test]
        fn ratio_one_takes_everything(seed: u64, len in 0_usize..300) {
            let mask = MaskSeed { seed, ratio: 1.0 }.draw(len).unwrap();
            prop_assert_eq!(mask.count(), len);
        }

        #[test]
        fn scatter_undoes_gather(seed: u64, ratio in 0.01_f64..1.0, matrix: Vec<f32>) {
            let mask = MaskSeed { seed, ratio }.draw(matrix.len()).unwrap();
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
            let mask = MaskSeed { seed: 3, ratio: 0.5 }.draw(len).unwrap();
            prop_assert!(mask.gather(&vec![0.0; len + extra]).is_err());
            let values = vec![0.0; mask.count() + extra];
            prop_assert!(mask.scatter(&values, &mut vec![0.0; len]).is_err());
            prop_assert!(SubspaceMask::from_packed_bits(&vec![0; len.div_ceil(8) + 1], len).is_err());
        }
    }
}
