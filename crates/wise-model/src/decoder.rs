//! The decoder: blocks of attention and a feed-forward network.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Tensor};

use wise_tensor::{Table, product, widened};

use crate::Result;
use crate::cache::KvCache;
use crate::config::{Activation, Config, Norms};
use crate::layout::{Layout, Queries, Sights, View};
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
        plus(product(x, &self.weight), self.bias.as_ref())
    }

    /// The same in f32 whatever the weight's precision: what a side memory that equals the weight puts out.
    pub(crate) fn exactly(&self, x: Tensor<2>) -> Tensor<2> {
        plus(
            product(x, &widened(self.weight.clone())),
            self.bias.as_ref(),
        )
    }
}

/// `RMSNorm`, or `LayerNorm` if it has a bias.
#[derive(Debug)]
struct Norm {
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    eps: f64,
}

impl Norm {
    fn load(name: &str, config: &Config, weights: &Weights<'_>, device: &Device) -> Result<Self> {
        let bias = || weights.read(&format!("{name}.bias"), device);
        Ok(Self {
            weight: weights.read(&format!("{name}.weight"), device)?,
            bias: config.family.is_gpt().then(bias).transpose()?,
            eps: config.norm_eps,
        })
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.bias {
            Some(_) => x.clone() - x.mean_dim(1),
            None => x,
        };
        let mean_square = x.clone().square().mean_dim(1);
        let scale = (mean_square + self.eps).sqrt().recip();
        plus(
            x * scale * self.weight.clone().unsqueeze(),
            self.bias.as_ref(),
        )
    }
}

/// `x` (`[tokens, width]`) with a bias added to every token.
fn plus(x: Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    match bias {
        Some(bias) => x + bias.clone().unsqueeze(),
        None => x,
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
    input_norm: Norm,
    query: Linear,
    query_norm: Option<Norm>,
    key: Linear,
    key_norm: Option<Norm>,
    value: Linear,
    output: Linear,
    output_norm: Option<Norm>,
    /// `None` if the network sees what attention sees.
    ffn_norm: Option<Norm>,
    gate: Option<Linear>,
    activation: Activation,
    up: Linear,
    /// Without its bias, so that what takes the matrix's place need not know of it.
    pub(crate) down: Linear,
    down_bias: Option<Tensor<1>>,
    down_norm: Option<Norm>,
}

impl Block {
    fn load(config: &Config, layer: usize, weights: &Weights<'_>, device: &Device) -> Result<Self> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let norm = |part| Norm::load(&name(part), config, weights, device);
        let linear = |part, bias| Linear::load(&name(part), bias, weights, device);
        let norm_if = |wanted: bool, part| wanted.then(|| norm(part)).transpose();
        let (family, bias) = (config.family, config.qkv_bias);
        let behind = family.norms() == Norms::BeforeAndBehind;
        let ffn_norm = match family.norms() {
            Norms::Before => Some("post_attention_layernorm"),
            Norms::BeforeAndBehind => Some("pre_feedforward_layernorm"),
            Norms::Shared => None,
        };
        let gate = || linear("mlp.gate_proj", false);
        let down_bias = || weights.read(&name("mlp.down_proj.bias"), device);
        Ok(Self {
            device: device.clone(),
            local: config.is_local(layer),
            input_norm: norm("input_layernorm")?,
            query: linear("self_attn.q_proj", bias)?,
            query_norm: norm_if(family.normed_heads(), "self_attn.q_norm")?,
            key: linear("self_attn.k_proj", bias)?,
            key_norm: norm_if(family.normed_heads(), "self_attn.k_norm")?,
            value: linear("self_attn.v_proj", bias)?,
            output: linear("self_attn.o_proj", family.has_output_bias())?,
            output_norm: norm_if(behind, "post_attention_layernorm")?,
            ffn_norm: ffn_norm.map(norm).transpose()?,
            gate: (!family.is_gpt()).then(gate).transpose()?,
            activation: family.activation(),
            up: linear("mlp.up_proj", family.is_gpt())?,
            down: linear("mlp.down_proj", false)?,
            down_bias: family.is_gpt().then(down_bias).transpose()?,
            down_norm: norm_if(behind, "post_feedforward_layernorm")?,
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
        let attended = self.attention(normed.clone(), &pass, cache);
        let residual = pass.queries.pick(x) + normed_by(self.output_norm.as_ref(), attended);
        let normed = match &self.ffn_norm {
            Some(norm) => norm.forward(residual.clone()),
            None => pass.queries.pick(normed),
        };
        (residual, self.neurons(normed))
    }

    /// `[queries, hidden]` to `[queries, ffn]`.
    fn neurons(&self, normed: Tensor<2>) -> Tensor<2> {
        let up = self.up.forward(normed.clone());
        match &self.gate {
            Some(gate) => activated(gate.forward(normed), self.activation) * up,
            None => activated(up, self.activation),
        }
    }

    /// The block behind its value matrix, whose `output` is `[queries, hidden]` as is the residual stream.
    pub(crate) fn after_down(&self, residual: Tensor<2>, output: Tensor<2>) -> Tensor<2> {
        let output = plus(output, self.down_bias.as_ref());
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

fn normed_by(norm: Option<&Norm>, x: Tensor<2>) -> Tensor<2> {
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
fn turned(y: Tensor<2>, heads: usize, norm: Option<&Norm>, view: &View) -> Tensor<2> {
    let [tokens, width] = y.dims();
    let y = normed_by(norm, y.reshape([tokens * heads, width / heads]));
    let y = y.reshape([tokens, heads, width / heads]);
    match &view.angles {
        Some(angles) => angles.rotate(y).reshape([tokens, width]),
        None => y.reshape([tokens, width]),
    }
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
    /// `[context, hidden]`, added to the embedding.
    positions: Option<Table>,
    pub(crate) blocks: Vec<Block>,
    norm: Norm,
    /// `None` if the embedding table is the head.
    head: Option<Table>,
}

impl Decoder {
    pub(crate) fn load(config: Config, weights: &Weights<'_>, devices: &[Device]) -> Result<Self> {
        let embedding = weights.table("model.embed_tokens.weight", &devices[0])?;
        let positions = || weights.table("model.embed_positions.weight", &devices[0]);
        let positions = config.family.has_position_table().then(positions);
        let positions = positions.transpose()?;
        let blocks = by_size(&config, devices.len())
            .into_iter()
            .enumerate()
            .map(|(layer, device)| Block::load(&config, layer, weights, &devices[device]))
            .collect::<Result<_>>()?;
        let device = &devices[devices.len() - 1];
        let norm = Norm::load("model.norm", &config, weights, device)?;
        let head = (!config.tied_head).then(|| Self::load_head(&config, weights, device));
        let head = head.transpose()?;
        Ok(Self {
            sights: Sights::new(&config),
            config,
            embedding,
            positions,
            blocks,
            norm,
            head,
        })
    }

    /// A bias is a column more: [`Self::normed`] has a one for it.
    fn load_head(config: &Config, weights: &Weights<'_>, device: &Device) -> Result<Table> {
        if !config.family.has_head_bias() {
            return weights.table("lm_head.weight", device);
        }
        let head: Tensor<2> = weights.read("lm_head.weight", device)?;
        let bias: Tensor<1> = weights.read("lm_head.bias", device)?;
        let bias = bias.cast(head.dtype()).unsqueeze_dim(1);
        Ok(Table::new(
            Tensor::cat(vec![head, bias], 1).into_data(),
            device,
        ))
    }

    /// Embeddings of the packed tokens of a layout.
    pub(crate) fn embed(&self, tokens: &[u32], layout: &Layout) -> Tensor<2> {
        let embedded = self.embedding.rows(tokens);
        let embedded = match self.config.embedding_scale() {
            Some(scale) => embedded * scale,
            None => embedded,
        };
        match &self.positions {
            Some(table) => {
                let positions: Vec<u32> = layout.positions().iter().map(|&p| p as u32).collect();
                embedded + table.rows(&positions)
            }
            None => embedded,
        }
    }

    /// What the head sees, where the head is.
    pub(crate) fn normed(&self, hidden: Tensor<2>) -> Tensor<2> {
        let normed = self.norm.forward(on(hidden, &self.norm.weight.device()));
        let normed = on(normed, &self.head().device());
        if !self.config.family.has_head_bias() {
            return normed;
        }
        let ones = Tensor::ones([normed.dims()[0], 1], &normed.device());
        Tensor::cat(vec![normed, ones], 1)
    }

    /// What [`Self::normed`] is multiplied by, `[vocabulary, hidden]` or a column wider.
    pub(crate) fn head(&self) -> &Table {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    pub(crate) fn final_norm(&self) -> Tensor<1> {
        self.norm.weight.clone()
    }
}
