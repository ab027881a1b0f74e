//! What a patch says about itself.

use serde::{Deserialize, Serialize};
use wise_edit::{AppliedEdit, MaskSeed, WiseConfig};

/// The schema this version writes and reads.
pub const SCHEMA: u32 = 4;

/// Everything about a patch but its numbers: JSON under the key `wise` of the file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this structure.
    pub schema: u32,
    /// The program that wrote it, with its version.
    pub tool: String,
    /// The model it belongs to.
    pub model: ModelIdentity,
    /// The edited matrix.
    pub site: Site,
    /// Resolved hyperparameters; the prompt format is among them.
    pub config: WiseConfig,
    /// Texts put in front of every prompt in training.
    pub templates: Vec<String>,
    /// Router negatives; the edits count them from 0.
    pub negatives: Vec<String>,
    /// Side memories, oldest first.
    pub shards: Vec<Shard>,
}

/// Which model a patch belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The name it was opened by.
    pub name: String,
    /// See [`wise_model::Model::id`]; decides whether a patch fits.
    pub model_id: String,
    /// sha256 of the weight file; information only.
    pub file_sha256: String,
}

/// The edited matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its Hugging Face name.
    pub matrix: String,
    /// Its layer.
    pub layer: usize,
    /// Its shape, `[hidden, ffn]`.
    pub shape: [usize; 2],
}

/// One side memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its subspace: seed, share of the matrix, and which part of the seed's draw.
    pub mask: MaskSeed,
    /// Smallest routing activation of its edits.
    pub min_activation: f32,
    /// Its edits, oldest first.
    pub edits: Vec<AppliedEdit>,
}
