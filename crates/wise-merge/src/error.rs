//! What can go wrong when a subspace is drawn or shards are merged.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong when a subspace is drawn or shards are merged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The mask ratio is not a probability that leaves something to train.
    #[error("mask ratio is {got}, expected more than 0 and at most 1")]
    Ratio {
        /// The ratio as given.
        got: f64,
    },
    /// There are not so many masks of this ratio that share no entry.
    #[error(
        "got part {got} of disjoint masks of ratio {ratio}, expected less than {parts}: \
         lower the ratio or let masks overlap"
    )]
    Part {
        /// The part as given, from 0.
        got: u32,
        /// The ratio of each mask.
        ratio: f64,
        /// How many masks fit.
        parts: u32,
    },
    /// A slice does not have the length that the mask or the merge needs.
    #[error("got {got} {what}, expected {expected}")]
    Length {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many are needed.
        expected: usize,
    },
    /// There is nothing to merge.
    #[error("got no deltas to merge, expected at least one")]
    NoDeltas,
    /// A weight cannot weigh anything.
    #[error("weight {index} is {got}, expected a finite number of at least 0")]
    Weight {
        /// Which weight, from 0.
        index: usize,
        /// The weight as given.
        got: f64,
    },
    /// No delta has a say.
    #[error("all {count} weights are 0, expected at least one above 0")]
    NoWeight {
        /// How many weights there are.
        count: usize,
    },
    /// The density is not a share that keeps something.
    #[error("density is {got}, expected more than 0 and at most 1")]
    Density {
        /// The density as given.
        got: f64,
    },
    /// The density is fine for larger matrices.
    #[error(
        "density {density} of {entries} entries keeps none, expected to keep at least one: raise the density"
    )]
    KeepsNone {
        /// The density as given.
        density: f64,
        /// Entries of the matrix.
        entries: usize,
    },
    /// A matrix has no factors of this rank.
    #[error("rank is {got}, expected 1 to {most}")]
    Rank {
        /// The rank as given.
        got: usize,
        /// The matrix's largest.
        most: usize,
    },
    /// An entry is infinite or not a number.
    #[error("entry {entry} of {matrix} is {got}, expected a finite number")]
    NotFinite {
        /// Which matrix: `the base` or `delta 1`.
        matrix: String,
        /// Index into the flattened matrix.
        entry: usize,
        /// The value found.
        got: f32,
    },
    /// No merge has this name.
    #[error("merge method is `{got}`, expected one of {expected}")]
    Method {
        /// The name as given.
        got: String,
        /// The names there are.
        expected: String,
    },
}
