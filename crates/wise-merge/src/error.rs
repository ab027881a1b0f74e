//! What can go wrong when a subspace is drawn or used.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong when a subspace is drawn or used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The mask ratio is not a probability that leaves something to train.
    #[error("mask ratio is {got}, expected more than 0 and at most 1")]
    Ratio {
        /// The ratio as given.
        got: f64,
    },
    /// A slice does not have the length the mask needs.
    #[error("got {got} {what}, expected {expected}")]
    Length {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many the mask needs.
        expected: usize,
    },
}
