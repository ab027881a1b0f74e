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
    /// Gemma 3, text only: norms behind attention and network too, a window in most layers.
    Gemma3,
    /// GPT-2: `LayerNorm`, learned positions, biases everywhere, no gate.
    Gpt2,
    /// GPT-J: attention and network side by side behind one `LayerNorm`, no gate, part of each head rotated.
    GptJ,
}

/// Where the norms of a block stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norms {
    /// Before attention and before the network.
    Before,
    /// Also behind each of them, before its output is added to the residual stream.
    BeforeAndBehind,
    /// One before both, which run side by side.
    Shared,
}

/// The function of the feed-forward network's neurons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    /// GELU, approximated by a hyperbolic tangent.
    GeluTanh,
}

/// What the decoders of a family have in common, whatever their sizes.
impl Family {
    pub(crate) fn norms(self) -> Norms {
        match self {
            Self::Gemma3 => Norms::BeforeAndBehind,
            Self::GptJ => Norms::Shared,
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 | Self::Gpt2 => Norms::Before,
        }
    }

    pub(crate) fn activation(self) -> Activation {
        match self {
            Self::Gemma3 | Self::Gpt2 | Self::GptJ => Activation::GeluTanh,
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 => Activation::Silu,
        }
    }

    /// Whether every head of q and k passes an `RMSNorm` before it is rotated.
    pub(crate) fn normed_heads(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Gemma3)
    }

    /// Whether it is a GPT: `LayerNorm`, and a network with biases and without a gate.
    pub(crate) fn is_gpt(self) -> bool {
        matches!(self, Self::Gpt2 | Self::GptJ)
    }

    /// Whether positions are a table that is added to the embedding; else heads are rotated.
    pub(crate) fn has_position_table(self) -> bool {
        self == Self::Gpt2
    }

    /// Whether attention's output projection has a bias.
    pub(crate) fn has_output_bias(self) -> bool {
        self == Self::Gpt2
    }

    /// Whether the head has a bias.
    pub(crate) fn has_head_bias(self) -> bool {
        self == Self::GptJ
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

/// Layers of which most see a window only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LocalLayers {
    /// Of so many layers, the last sees all tokens.
    pub global_every: usize,
    /// Base of the rotary frequencies in the layers that see a window; never rescaled.
    pub rope_theta: f64,
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
    /// Added to the mean square (of `LayerNorm`, the variance) inside a norm.
    pub norm_eps: f64,
    /// Elements of a head that are rotated, from the first on; 0 where positions are a table.
    pub rotary_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Rescaling of the rotary frequencies.
    pub rope_scaling: Option<RopeScaling>,
    /// Tokens that fit.
    pub context: usize,
    /// Attention sees at most this many tokens back, itself included.
    pub sliding_window: Option<usize>,
    /// Where only some layers see the window alone.
    pub local: Option<LocalLayers>,
    /// What products of queries and keys are multiplied by.
    pub attention_scale: f64,
    /// Whether q, k and v projections have biases.
    pub qkv_bias: bool,
    /// Whether the head shares the embedding table.
    pub tied_head: bool,
}

impl Config {
    /// The name of layer `layer`'s FFN value matrix, the one that WISE edits; of every family the one that Hugging Face
    /// gives to a Llama's.
    pub fn down_proj(layer: usize) -> String {
        format!("model.layers.{layer}.mlp.down_proj.weight")
    }

    /// Whether a layer is one of [`Self::local`].
    pub(crate) fn is_local(&self, layer: usize) -> bool {
        self.local
            .is_some_and(|local| !(layer + 1).is_multiple_of(local.global_every))
    }

    /// What embeddings are multiplied by.
    pub(crate) fn embedding_scale(&self) -> Option<f64> {
        (self.family == Family::Gemma3).then(|| (self.hidden_size as f64).sqrt())
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
        let network = if self.family.is_gpt() { 2 } else { 3 };
        2 * (self.hidden_size * (attention + network * self.ffn_size)) as u64
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
