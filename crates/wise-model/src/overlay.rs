//! What an edit changes in a forward pass.

use std::sync::Arc;

use burn::tensor::Tensor;

use crate::decoder::on;

/// What takes the place of the model's own weights during a forward pass.
///
/// Below the matrix of the edit site nothing can be replaced, so a prefix holds for every overlay.
#[derive(Debug, Clone, Default)]
pub enum Overlay {
    /// Nothing: the model as it is.
    #[default]
    Main,
    /// Another matrix of the same shape at the edit site, `[hidden, ffn]`.
    Replace(Tensor<2>),
    /// Another output of the matrix at the edit site, for one token of every sequence.
    Output {
        /// The token's position in its sequence.
        position: usize,
        /// What the matrix puts out there, `[hidden]`.
        value: Tensor<1>,
    },
    /// Low-rank additions to projections in the layers above the edit site.
    Adapt(Arc<Adapters>),
}

/// A low-rank addition to a projection: `scale * up * down * x` (`LoRA`, Hu et al. 2021, equation 3).
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[rank, in]`, A in the paper.
    pub down: Tensor<2>,
    /// `[out, rank]`, B in the paper.
    pub up: Tensor<2>,
    /// alpha / rank in the paper.
    pub scale: f64,
}

impl LowRank {
    /// `x` is `[tokens, in]`, the result `[tokens, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        // Layers may be on several devices, the adapters of all of them are on one.
        let [down, up] = [&self.down, &self.up].map(|factor| on(factor.clone(), &x.device()));
        x.matmul(down.transpose()).matmul(up.transpose()) * self.scale
    }
}

/// Additions to the attention of one layer.
#[derive(Debug, Clone)]
pub struct LayerAdapter {
    /// To the query projection.
    pub query: LowRank,
    /// To the value projection.
    pub value: LowRank,
}

/// Additions to the attention of the layers from [`Self::first_layer`] on.
#[derive(Debug, Clone)]
pub struct Adapters {
    /// The lowest adapted layer; it must lie above the edit site.
    pub first_layer: usize,
    /// One per layer, lowest first.
    pub layers: Vec<LayerAdapter>,
}

impl Adapters {
    pub(crate) fn at(&self, layer: usize) -> Option<&LayerAdapter> {
        self.layers.get(layer.checked_sub(self.first_layer)?)
    }
}

impl Overlay {
    /// Whether both change the layers above the edit site in the same way.
    pub(crate) fn same_above(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Adapt(a), Self::Adapt(b)) => Arc::ptr_eq(a, b),
            (Self::Adapt(_), _) | (_, Self::Adapt(_)) => false,
            _ => true,
        }
    }

    pub(crate) fn adapter(&self, layer: usize) -> Option<&LayerAdapter> {
        match self {
            Self::Adapt(adapters) => adapters.at(layer),
            _ => None,
        }
    }
}
