//! Keys and values of the tokens seen so far, for generation.

use burn::tensor::Tensor;

/// Keys and values of one sequence, per layer `[1, kv_heads, tokens, head_dim]`.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    tokens: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize) -> Self {
        Self {
            layers: vec![None; layers],
            tokens: 0,
        }
    }

    /// Tokens that every layer has seen.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// Adds the keys and values of new tokens to a layer and returns those of all its tokens.
    pub(crate) fn append(
        &mut self,
        layer: usize,
        key: Tensor<4>,
        value: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let both = match self.layers[layer].take() {
            None => (key, value),
            Some((old_key, old_value)) => (
                Tensor::cat(vec![old_key, key], 2),
                Tensor::cat(vec![old_value, value], 2),
            ),
        };
        self.layers[layer] = Some(both.clone());
        both
    }
}
