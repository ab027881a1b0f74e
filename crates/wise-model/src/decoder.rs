//! The decoder: blocks of attention and a gated feed-forward network.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Tensor};

use wise_tensor::{Table, product, widened};

use crate::Result;
use crate::cache::KvCache;
use crate::config::{Activation, Config, Norms};
use crate::layout::{Queries, Sights, View};
use crate::overlay::LayerAdapter;
use crate::placement::by_size;
use crate::weights::Weights;

/// A projection with the shape that Hugging Face gives it, `[out, in]`.
#[derive(Debug)]
pub(crate) struct Linear {
    /// In memory it lies the other way round, `[in, out]`: products with few tokens are up to four times as fast on
    /// the CPU (docs/performance.md).
    pub(crate) weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    fn load(name: &str, bias: bool, weights: &Weights<'_>, device: &Device) -> Result<Self> {
        Ok(Self {
            weight: weights.read(&format!("{name}.weight"), device)?,
            bias: if bias {
                Some(weights.read(&format!("{name}.bias"), device)?)
            } else {
                None
            },
        })
    }

    /// `x` is `[tokens, in]`, the result `[tokens, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.with_bias(product(x, &self.weight))
    }

    /// The same in f32 whatever the weight's precision: what a side memory that equals the weight puts out.
    pub(crate) fn exactly(&self, x: Tensor<2>) -> Tensor<2> {
        self.with_bias(product(x, &widened(self.weight.clone())))
    }

    fn with_bias(&self, y: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }
}

#[derive(Debug)]
struct RmsNorm {
    weight: Tensor<1>,
    eps: f64,
}

impl RmsNorm {
    fn load(name: &str, config: &Config, weights: &Weights<'_>, device: &Device) -> Result<Self> {
        Ok(Self {
            weight: weights.read(name, device)?,
            eps: config.rms_norm_eps,
        })
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mean_square = x.clone().square().mean_dim(1);
        let scale = (mean_square + self.eps).sqrt().recip();
        x * scale * self.weight.clone().unsqueeze()
    }
}

/// The same numbers on a device.
pub(crate) fn on(x: Tensor<2>, device: &Device) -> Tensor<2> {
    if x.device() == *device {
        x
    } else {
        x.to_device(device)
    }
}

/// One forward pass through a block.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) shape: &'a Config,
    /// All tokens, on the block's device.
    pub(crate) all: &'a Queries,
    /// The tokens that the block's output is wanted at, on the block's device.
    pub(crate) queries: &'a Queries,
    pub(crate) adapter: Option<&'a LayerAdapter>,
}

#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) device: Device,
    /// See [`Config::is_local`].
    local: bool,
    input_norm: RmsNorm,
    query: Linear,
    query_norm: Option<RmsNorm>,
    key: Linear,
    key_norm: Option<RmsNorm>,
    value: Linear,
    output: Linear,
    output_norm: Option<RmsNorm>,
    ffn_norm: RmsNorm,
    gate: Linear,
    activation: Activation,
    up: Linear,
    pub(crate) down: Linear,
    down_norm: Option<RmsNorm>,
}

impl Block {
    fn load(config: &Config, layer: usize, weights: &Weights<'_>, device: &Device) -> Result<Self> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let norm = |part| RmsNorm::load(&name(part), config, weights, device);
        let linear = |part, bias| Linear::load(&name(part), bias, weights, device);
        let norm_if = |wanted: bool, part| wanted.then(|| norm(part)).transpose();
        let (bias, heads) = (config.qkv_bias, config.family.normed_heads());
        let behind = config.family.norms() == Norms::BeforeAndBehind;
        let ffn_norm = match config.family.norms() {
            Norms::Before => "post_attention_layernorm.weight",
            Norms::BeforeAndBehind => "pre_feedforward_layernorm.weight",
        };
        Ok(Self {
            device: device.clone(),
            local: config.is_local(layer),
            input_norm: norm("input_layernorm.weight")?,
            query: linear("self_attn.q_proj", bias)?,
            query_norm: norm_if(heads, "self_attn.q_norm.weight")?,
            key: linear("self_attn.k_proj", bias)?,
            key_norm: norm_if(heads, "self_attn.k_norm.weight")?,
            value: linear("self_attn.v_proj", bias)?,
            output: linear("self_attn.o_proj", false)?,
            output_norm: norm_if(behind, "post_attention_layernorm.weight")?,
            ffn_norm: norm(ffn_norm)?,
            gate: linear("mlp.gate_proj", false)?,
            activation: config.family.activation(),
            up: linear("mlp.up_proj", false)?,
            down: linear("mlp.down_proj", false)?,
            down_norm: norm_if(behind, "post_feedforward_layernorm.weight")?,
        })
    }

    /// The block up to the input of its value matrix, at some tokens: the residual stream it will be added to
    /// (`[queries, hidden]`) and the activated neurons (`[queries, ffn]`).
    pub(crate) fn before_down(
        &self,
        x: Tensor<2>,
        pass: Pass<'_>,
        cache: Option<(&mut KvCache, usize)>,
    ) -> (Tensor<2>, Tensor<2>) {
        let normed = self.input_norm.forward(x.clone());
        let attended = self.attention(normed, &pass, cache);
        let residual = pass.queries.pick(x) + normed_by(self.output_norm.as_ref(), attended);
        let normed = self.ffn_norm.forward(residual.clone());
        let gate = activated(self.gate.forward(normed.clone()), self.activation);
        (residual, gate * self.up.forward(normed))
    }

    /// The block behind its value matrix, whose `output` is `[queries, hidden]` as is the residual stream.
    pub(crate) fn after_down(&self, residual: Tensor<2>, output: Tensor<2>) -> Tensor<2> {
        residual + normed_by(self.down_norm.as_ref(), output)
    }

    /// `x` is `[tokens, hidden]`, the result `[queries, hidden]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        pass: Pass<'_>,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Tensor<2> {
        let (residual, neurons) = self.before_down(x, pass, cache);
        self.after_down(residual, self.down.forward(neurons))
    }

    fn attention(
        &self,
        x: Tensor<2>,
        pass: &Pass<'_>,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Tensor<2> {
        let (shape, all, queries) = (pass.shape, pass.all, pass.queries);
        let asking = queries.pick(x.clone());
        let mut query = self.query.forward(asking.clone());
        let key = self.key.forward(x.clone());
        let mut value = self.value.forward(x.clone());
        if let Some(adapter) = pass.adapter {
            query = query + adapter.query.forward(asking);
            value = value + adapter.value.forward(x);
        }
        let (seen, view) = (all.view(self.local), queries.view(self.local));
        let query = turned(query, shape.heads, self.query_norm.as_ref(), view);
        let key = turned(key, shape.kv_heads, self.key_norm.as_ref(), seen);
        let query = side_by_side(query, shape.heads, queries);
        let mut key = side_by_side(key, shape.kv_heads, all);
        let mut value = side_by_side(value, shape.kv_heads, all);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.append(layer, key, value);
        }
        let mixed = grouped_attention(query, key, value, view.mask.clone(), shape);
        self.output
            .forward(queries.pack(mixed.swap_dims(1, 2).flatten(2, 3)))
    }
}

fn normed_by(norm: Option<&RmsNorm>, x: Tensor<2>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

fn activated(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    match activation {
        Activation::Silu => silu(x),
        Activation::GeluTanh => {
            let cubed = x.clone() * x.clone() * x.clone();
            let inner = (x.clone() + cubed * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
            x * (inner.tanh() + 1.0) * 0.5
        }
    }
}

/// Norms the heads of `y` (`[queries, heads * head_dim]`), if there is a norm for them, and rotates them by their
/// positions.
fn turned(y: Tensor<2>, heads: usize, norm: Option<&RmsNorm>, view: &View) -> Tensor<2> {
    let [tokens, width] = y.dims();
    let y = normed_by(norm, y.reshape([tokens * heads, width / heads]));
    let y = y.reshape([tokens, heads, width / heads]);
    view.angles.rotate(y).reshape([tokens, width])
}

/// `[queries, heads * head_dim]` to `[rows, heads, longest, head_dim]`.
fn side_by_side(y: Tensor<2>, heads: usize, queries: &Queries) -> Tensor<4> {
    let padded = queries.pad(y);
    let [rows, longest, width] = padded.dims();
    padded
        .reshape([rows, longest, heads, width / heads])
        .swap_dims(1, 2)
}

/// Attention of `query` (`[rows, heads, queries, head_dim]`) over `key` and `value`
/// (`[rows, kv_heads, keys, head_dim]`). The query heads of a group are folded into its queries, so that
/// keys and values are never repeated.
fn grouped_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: Tensor<4>,
    shape: &Config,
) -> Tensor<4> {
    let [rows, heads, queries, width] = query.dims();
    let keys = key.dims()[2];
    let folded = query.reshape([rows, shape.kv_heads, shape.group() * queries, width]);
    let scores = folded.matmul(key.swap_dims(2, 3)) * shape.attention_scale;
    let scores = scores.reshape([rows, heads, queries, keys]) + mask;
    let weights = softmax(scores, 3);
    weights
        .reshape([rows, shape.kv_heads, shape.group() * queries, keys])
        .matmul(value)
        .reshape([rows, heads, queries, width])
}

/// Weights of a decoder. Each device holds a stretch of layers, the first one the embedding table and the last one the
/// norm before the head; the head is there too, unless it is the embedding table.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) config: Config,
    pub(crate) sights: Sights,
    embedding: Table,
    pub(crate) blocks: Vec<Block>,
    norm: RmsNorm,
    /// `None` if the embedding table is the head.
    head: Option<Table>,
}

impl Decoder {
    pub(crate) fn load(config: Config, weights: &Weights<'_>, devices: &[Device]) -> Result<Self> {
        let embedding = weights.table("model.embed_tokens.weight", &devices[0])?;
        let blocks = by_size(&config, devices.len())
            .into_iter()
            .enumerate()
            .map(|(layer, device)| Block::load(&config, layer, weights, &devices[device]))
            .collect::<Result<_>>()?;
        let device = &devices[devices.len() - 1];
        let norm = RmsNorm::load("model.norm.weight", &config, weights, device)?;
        let head = if config.tied_head {
            None
        } else {
            Some(weights.table("lm_head.weight", device)?)
        };
        Ok(Self {
            sights: Sights::new(&config),
            config,
            embedding,
            blocks,
            norm,
            head,
        })
    }

    pub(crate) fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        let embedded = self.embedding.rows(tokens);
        match self.config.embedding_scale() {
            Some(scale) => embedded * scale,
            None => embedded,
        }
    }

    /// What the head sees, where the head is.
    pub(crate) fn normed(&self, hidden: Tensor<2>) -> Tensor<2> {
        let normed = self.norm.forward(on(hidden, &self.norm.weight.device()));
        on(normed, &self.head().device())
    }

    pub(crate) fn head(&self) -> &Table {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    pub(crate) fn final_norm(&self) -> Tensor<1> {
        self.norm.weight.clone()
    }
}
