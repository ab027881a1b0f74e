//! Main memory and side memories.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use wise_merge::MaskSeed;
use wise_model::Overlay;
use wise_tensor::row_norms;

/// How far a side memory's output is from the main memory's, per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// `|silu(a W') - silu(a W)|`, what the reference implementation computes.
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

/// A copy of the edited matrix, changed inside one random subspace.
#[derive(Debug, Clone)]
pub struct SideMemory {
    /// `[hidden, ffn]`.
    pub matrix: Tensor<2>,
    /// The subspace it was trained in.
    pub mask: MaskSeed,
    /// Smallest routing activation of its edits, epsilon in the paper; infinite before the first.
    pub min_activation: f32,
}

/// The side memories at one matrix of a model. The main memory is the model's own and never written.
#[derive(Debug, Clone)]
pub struct Memories {
    /// Layer of the edited matrix.
    pub layer: usize,
    /// Side memories, oldest first; the last one is still being edited.
    pub side: Vec<SideMemory>,
}

impl Memories {
    /// What a route stands for during a forward pass.
    pub fn overlay(&self, route: &crate::Route) -> Overlay {
        match route.memory {
            Some(index) => Overlay::Replace(self.side[index].matrix.clone()),
            None => Overlay::Main,
        }
    }
}
