//! Random picks that the seed and an edit's id fix, on every machine alike.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The picks made for one edit.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// Draws of different `purpose` have nothing to do with each other.
    pub(crate) fn new(seed: u64, edit: usize, purpose: u8) -> Self {
        let mut key = [purpose; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(edit as u64).to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// One of `0..count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.0.next_u32()) * count as u64) >> 32) as usize
    }
}
