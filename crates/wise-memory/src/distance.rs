//! How far a side memory is from the main memory.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use serde::{Deserialize, Serialize};
use wise_tensor::row_norms;

/// Distance between what two memories put out at one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    /// `|silu(a W') - silu(a W)|`, what the reference implementation computes.
    #[default]
    Activated,
    /// `|a (W' - W)|`, equation 3 of the paper.
    Raw,
}

impl Distance {
    /// Distances between two outputs of the edited matrix (`[tokens, hidden]`), one per token.
    pub fn between(self, main: &Tensor<2>, side: Tensor<2>) -> Tensor<1> {
        row_norms(match self {
            Self::Activated => silu(side) - silu(main.clone()),
            Self::Raw => side - main.clone(),
        })
    }
}

/// How the distances at a sequence's tokens become its routing activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean (paper, equation 3).
    #[default]
    Mean,
    /// The largest.
    Max,
}

impl Pooling {
    /// The routing activation of a sequence; 0 without tokens.
    pub fn of(self, distances: &[f32]) -> f32 {
        match self {
            Self::Mean => {
                let sum: f64 = distances.iter().map(|&d| f64::from(d)).sum();
                (sum / distances.len().max(1) as f64) as f32
            }
            Self::Max => distances.iter().copied().fold(0.0, f32::max),
        }
    }
}
