//! Knowledge sharding for lifelong model editing, on plain slices.
//!
//! WISE (Wang et al., NeurIPS 2024, section 2.3.2) trains each *shard* of edits inside a random subspace of
//! the side memory, so that shards can later be merged with little loss. A subspace is a
//! [`SubspaceMask`] over the flattened matrix; it is stored as a [`MaskSeed`], never as a matrix, so a
//! finished shard costs its changed values and sixteen bytes.
//!
//! This crate knows nothing of tensors or models.

mod error;
mod mask;

pub use error::{Error, Result};
pub use mask::{MaskSeed, SubspaceMask};
