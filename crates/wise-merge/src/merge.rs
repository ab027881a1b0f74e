//! The `Merge` trait, and what its algorithms share.

use std::fmt::Debug;

use crate::Result;

mod dare;
mod input;
mod linear;
mod magnitude;
mod mean;
mod method;
mod sign;
mod slerp;
mod ties;
mod trim;

pub use dare::{Dare, DareTies};
pub use linear::Linear;
pub use magnitude::Magnitude;
pub use method::MergeMethod;
pub use sign::Sign;
pub use slerp::Slerp;
pub use ties::Ties;

/// Entries that one thread takes at a time. Sums are combined chunk by chunk, so it is part of every result.
const CHUNK: usize = 1 << 16;

/// A way to make one matrix of several that were trained from the same base.
///
/// Results are the same bit for bit for any number of threads.
pub trait Merge: Debug + Send + Sync {
    /// The merged matrix, `base` plus one task vector made of `deltas`.
    ///
    /// All matrices are flattened and have the same number of entries. A delta is a task vector
    /// `tau_i = S_i - W`: what shard `i` has become, less the base it started from. Weights are relative: only
    /// their ratios count, they need not sum to 1, and a delta of weight 0 has no say.
    ///
    /// # Errors
    /// If there are no deltas, a weight for each is not given, lengths differ, a weight is negative or all are 0,
    /// the density is not in (0, 1] or keeps nothing, or a number is not finite.
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>>;
}
