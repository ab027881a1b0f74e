//! What a decoder needs to know about itself, whatever file it came from.

use serde::{Deserialize, Serialize};

/// A decoder family whose forward pass this crate implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama, and with it `SmolLM2`: `RMSNorm`, `RoPE`, grouped queries, `SwiGLU`.
    Llama,
    /// Mistral: Llama with an optional sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: Llama with biases on the q, k and v projections.
    Qwen2,
    /// Qwen3: Llama with `RMSNorm` on every head of q and k.
    Qwen3,
}

impl Family {
    /// Whether every head of q and k passes an `RMSNorm` before it is rotated.
    pub(crate) fn normed_heads(self) -> bool {
        self == Self::Qwen3
    }
}

/// How rotary frequencies are rescaled for long contexts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Every position divided by `factor`.
    Linear {
        /// Ratio of the long context to the trained one.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, the band between interpolated.
    Llama3 {
        /// Ratio of the long context to the trained one.
        factor: f64,
        /// Wavelengths longer than `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths shorter than `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context the model was first trained with, in tokens.
        original_context: usize,
    },
}

/// The facts of a decoder. Sizes are counts of elements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Decoder family.
    pub family: Family,
    /// Entries of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub ffn_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Added to the mean square inside `RMSNorm`.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Rescaling of the rotary frequencies.
    pub rope_scaling: Option<RopeScaling>,
    /// Tokens that fit.
    pub context: usize,
    /// Attention sees at most this many tokens back, itself included.
    pub sliding_window: Option<usize>,
    /// Whether q, k and v projections have biases.
    pub qkv_bias: bool,
    /// Whether the head shares the embedding table.
    pub tied_head: bool,
}

impl Config {
    /// The Hugging Face name of layer `layer`'s FFN value matrix, the one that WISE edits.
    pub fn down_proj(layer: usize) -> String {
        format!("model.layers.{layer}.mlp.down_proj.weight")
    }

    /// Query heads that share one key and value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Floating-point operations of one token's way through the matrices of one layer, forward; attention itself,
    /// norms and activations not counted.
    pub fn layer_flops(&self) -> u64 {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attention = 2 * queries + 2 * keys;
        2 * (self.hidden_size * (attention + 3 * self.ffn_size)) as u64
    }

    /// Floating-point operations of one token's way to its keys and values in one layer.
    pub fn key_value_flops(&self) -> u64 {
        4 * (self.hidden_size * self.kv_heads * self.head_dim) as u64
    }

    /// Floating-point operations of one token's way through the matrix that is edited, forward.
    pub fn site_flops(&self) -> u64 {
        2 * (self.hidden_size * self.ffn_size) as u64
    }

    /// Floating-point operations of the logits after one token.
    pub fn head_flops(&self) -> u64 {
        2 * (self.hidden_size * self.vocab_size) as u64
    }
}
