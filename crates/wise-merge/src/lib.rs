//! Knowledge sharding and merging for lifelong model editing, on plain slices.
//!
//! WISE (Wang et al., NeurIPS 2024, arXiv 2405.14768, section 2.3.2) trains each *shard* of edits inside a random
//! subspace of the side memory, so that shards can later be merged with little loss.
//!
//! A subspace is a [`SubspaceMask`] over the flattened matrix. It is stored as a [`MaskSeed`], never as a matrix, so a
//! finished shard costs its changed values and twenty bytes. [`Shards`] gives every shard of a family its own, either
//! drawn independently or sharing no entry.
//!
//! A [`Merge`] makes one matrix of many: of the base `W` and of each shard's task vector `tau_i = S_i - W`.
//!
//! | method | sparsifies each delta | elects signs | result, on top of `W` |
//! | --- | --- | --- | --- |
//! | [`Ties`] | largest magnitudes | yes | mean of those that agree |
//! | [`Sign`] | no | yes | mean of those that agree |
//! | [`DareTies`] | at random, rescaled | yes | mean of those that agree |
//! | [`Magnitude`] | largest magnitudes | no | mean of all |
//! | [`Dare`] | at random, rescaled | no | mean of all |
//! | [`Linear`] | no | no | mean of all |
//! | [`Slerp`] | no | no | on the arc between them |
//!
//! Means are weighted and divided by the weights that took part, so a single delta of a method that drops nothing
//! comes out as it went in. [`MergeMethod`] builds any of them from its name.
//!
//! Where the WISE authors' code (EasyEdit) departs from the paper that it takes a merge from, this crate follows the
//! paper; the method's documentation says so.
//!
//! [`LowRank`] takes a change of a matrix apart into two factors, as `LoRA` adapters have them.
//!
//! This crate knows nothing of tensors or models.
//!
//! # Example
//!
//! Two shards that share no entry merge without loss:
//!
//! ```
//! use wise_merge::{Merge, Overlap, Shards, Ties};
//!
//! let base = vec![1.0_f32; 1000];
//! let shards = Shards { seed: 42, ratio: 0.2, overlap: Overlap::Disjoint };
//! let masks = [shards.mask(0)?.draw(base.len())?, shards.mask(1)?.draw(base.len())?];
//!
//! // What training would find: the first shard adds a half inside its mask, the second takes a quarter away.
//! let delta = |mask: &wise_merge::SubspaceMask, change: f32| {
//!     mask.to_dense().iter().map(|inside| inside * change).collect::<Vec<_>>()
//! };
//! let (first, second) = (delta(&masks[0], 0.5), delta(&masks[1], -0.25));
//!
//! let merged = Ties::default().merge(&base, &[&first, &second], &[1.0, 1.0])?;
//! for (entry, &value) in merged.iter().enumerate() {
//!     let expected = match masks.each_ref().map(|mask| mask.contains(entry)) {
//!         [true, _] => 1.5,
//!         [_, true] => 0.75,
//!         _ => 1.0,
//!     };
//!     assert_eq!(value, expected);
//! }
//! # Ok::<(), wise_merge::Error>(())
//! ```

mod error;
mod low_rank;
mod mask;
mod merge;
mod random;
mod shards;

pub use error::{Error, Result};
pub use low_rank::LowRank;
pub use mask::{MaskSeed, SubspaceMask};
pub use merge::{Dare, DareTies, Linear, Magnitude, Merge, MergeMethod, Sign, Slerp, Ties};
pub use shards::{Overlap, Shards};
