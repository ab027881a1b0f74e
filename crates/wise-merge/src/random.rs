//! The random numbers of this crate: one seed, many streams that share nothing.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What numbers are drawn for. Were one seed's numbers used for both, the entries that a merge drops would follow
/// those that the shards trained, and dropping would be biased.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Mask,
    Drop,
    Sketch,
}

/// Generator number `number` of a seed; a 32-bit word is drawn per entry, so that word `i` is entry `i`'s.
pub(crate) fn stream(purpose: Purpose, seed: u64, number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = match purpose {
        Purpose::Mask => 0,
        Purpose::Drop => 1,
        Purpose::Sketch => 2,
    };
    let mut random = ChaCha8Rng::from_seed(key);
    random.set_stream(number);
    random
}

/// The bound below which a word falls with this probability; above every word for 1, hence not a `u32`.
pub(crate) fn below(probability: f64) -> u64 {
    (probability * 2_f64.powi(32)).round() as u64
}
