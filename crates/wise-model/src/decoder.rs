//! The decoder: blocks of attention and a gated feed-forward network.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::cache::KvCache;
use crate::config::Config;
use crate::layout::{Layout, Queries};
use crate::overlay::LayerAdapter;
use crate::rope::{Rope, rotate};
use crate::{Progress, Result, TensorSource};

/// A projection with the shape that Hugging Face gives it, `[out, in]`.
#[derive(Debug)]
pub(crate) struct Linear {
    /// In memory it lies the other way round, `[in, out]`: products with few tokens are up to four times as fast on
    /// the CPU (docs/performance.md).
    pub(crate) weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// `x` is `[tokens, in]`, the result `[tokens, out]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = x.matmul(self.weight.clone().transpose());
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
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mean_square = x.clone().square().mean_dim(1);
        let scale = (mean_square + self.eps).sqrt().recip();
        x * scale * self.weight.clone().unsqueeze()
    }
}

/// One forward pass through a block.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) shape: &'a Config,
    pub(crate) layout: &'a Layout,
    /// The tokens that the block's output is wanted at.
    pub(crate) queries: &'a Queries,
    pub(crate) adapter: Option<&'a LayerAdapter>,
}

#[derive(Debug)]
pub(crate) struct Block {
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    ffn_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    pub(crate) down: Linear,
}

impl Block {
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
        let residual = pass.queries.pick(x) + attended;
        let normed = self.ffn_norm.forward(residual.clone());
        let neurons = silu(self.gate.forward(normed.clone())) * self.up.forward(normed);
        (residual, neurons)
    }

    /// `x` is `[tokens, hidden]`, the result `[queries, hidden]`.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        pass: Pass<'_>,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Tensor<2> {
        let (residual, neurons) = self.before_down(x, pass, cache);
        residual + self.down.forward(neurons)
    }

    fn attention(
        &self,
        x: Tensor<2>,
        pass: &Pass<'_>,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Tensor<2> {
        let (shape, all, queries) = (pass.shape, &pass.layout.all, pass.queries);
        let asking = queries.pick(x.clone());
        let mut query = self.query.forward(asking.clone());
        let key = self.key.forward(x.clone());
        let mut value = self.value.forward(x.clone());
        if let Some(adapter) = pass.adapter {
            query = query + adapter.query.forward(asking);
            value = value + adapter.value.forward(x);
        }
        let query = turned(query, shape.heads, queries);
        let key = turned(key, shape.kv_heads, all);
        let query = side_by_side(query, shape.heads, queries);
        let mut key = side_by_side(key, shape.kv_heads, all);
        let mut value = side_by_side(value, shape.kv_heads, all);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.append(layer, key, value);
        }
        let mixed = grouped_attention(query, key, value, queries.mask.clone(), shape);
        self.output
            .forward(queries.pack(mixed.swap_dims(1, 2).flatten(2, 3)))
    }
}

/// Rotates the heads of `y` (`[queries, heads * head_dim]`) by their positions.
fn turned(y: Tensor<2>, heads: usize, queries: &Queries) -> Tensor<2> {
    let [tokens, width] = y.dims();
    let y = y.reshape([tokens, heads, width / heads]);
    rotate(y, queries.cos.clone(), queries.sin.clone()).reshape([tokens, width])
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
    let scale = (width as f64).powf(-0.5);
    let scores = folded.matmul(key.swap_dims(2, 3)) * scale;
    let scores = scores.reshape([rows, heads, queries, keys]) + mask;
    let weights = softmax(scores, 3);
    weights
        .reshape([rows, shape.kv_heads, shape.group() * queries, keys])
        .matmul(value)
        .reshape([rows, heads, queries, width])
}

/// Weights of a decoder on one device.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) config: Config,
    pub(crate) rope: Rope,
    pub(crate) device: Device,
    embedding: Tensor<2>,
    pub(crate) blocks: Vec<Block>,
    norm: RmsNorm,
    /// `None` if the embedding table is the head.
    head: Option<Tensor<2>>,
}

impl Decoder {
    /// Reads the weights one tensor at a time, so that memory peaks near one copy of the model.
    pub(crate) fn load(
        config: Config,
        source: &mut dyn TensorSource,
        device: &Device,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Self> {
        let total = crate::source::expected_tensors(&config).len();
        let mut reader = Reader {
            source,
            device,
            progress,
            done: 0,
            total,
        };
        let embedding = reader.matrix("model.embed_tokens.weight")?;
        let blocks = (0..config.layers)
            .map(|layer| reader.block(&config, layer))
            .collect::<Result<_>>()?;
        let norm = reader.norm("model.norm.weight", &config)?;
        let head = if config.tied_head {
            None
        } else {
            Some(reader.matrix("lm_head.weight")?)
        };
        Ok(Self {
            rope: Rope::new(&config),
            device: device.clone(),
            config,
            embedding,
            blocks,
            norm,
            head,
        })
    }

    pub(crate) fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        let ids: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens.len()]), &self.device);
        self.embedding.clone().select(0, ids)
    }

    pub(crate) fn normed(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.norm.forward(hidden)
    }

    /// `[vocabulary, hidden]`.
    pub(crate) fn head(&self) -> &Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    pub(crate) fn final_norm(&self) -> Tensor<1> {
        self.norm.weight.clone()
    }
}

struct Reader<'a> {
    source: &'a mut dyn TensorSource,
    device: &'a Device,
    progress: &'a mut dyn FnMut(Progress<'_>),
    done: usize,
    total: usize,
}

impl Reader<'_> {
    fn read<const D: usize>(&mut self, name: &str) -> Result<Tensor<D>> {
        let (values, shape) = self.values(name)?;
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    fn values(&mut self, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
        (self.progress)(Progress::Loading {
            tensor: name,
            done: self.done,
            total: self.total,
        });
        self.done += 1;
        let values = self.source.read(name)?;
        let count = values.iter().filter(|v| !v.is_finite()).count();
        if count > 0 {
            return Err(crate::Error::NotFinite {
                name: name.to_owned(),
                count,
            });
        }
        // The shape was checked against the configuration before anything was read.
        let shape = self.source.shape(name).unwrap_or_default();
        Ok((values, shape))
    }

    fn matrix(&mut self, name: &str) -> Result<Tensor<2>> {
        self.read(name)
    }

    fn norm(&mut self, name: &str, config: &Config) -> Result<RmsNorm> {
        Ok(RmsNorm {
            weight: self.read(name)?,
            eps: config.rms_norm_eps,
        })
    }

    fn linear(&mut self, name: &str, bias: bool) -> Result<Linear> {
        let (values, shape) = self.values(&format!("{name}.weight"))?;
        let (rows, columns) = (shape[0], shape[1]);
        let mut turned = vec![0.0; values.len()];
        transpose::transpose(&values, &mut turned, columns, rows);
        let turned = TensorData::new(turned, [columns, rows]);
        Ok(Linear {
            weight: Tensor::<2>::from_data(turned, self.device).transpose(),
            bias: if bias {
                Some(self.read(&format!("{name}.bias"))?)
            } else {
                None
            },
        })
    }

    fn block(&mut self, config: &Config, layer: usize) -> Result<Block> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let bias = config.qkv_bias;
        Ok(Block {
            input_norm: self.norm(&name("input_layernorm.weight"), config)?,
            query: self.linear(&name("self_attn.q_proj"), bias)?,
            key: self.linear(&name("self_attn.k_proj"), bias)?,
            value: self.linear(&name("self_attn.v_proj"), bias)?,
            output: self.linear(&name("self_attn.o_proj"), false)?,
            ffn_norm: self.norm(&name("post_attention_layernorm.weight"), config)?,
            gate: self.linear(&name("mlp.gate_proj"), false)?,
            up: self.linear(&name("mlp.up_proj"), false)?,
            down: self.linear(&name("mlp.down_proj"), false)?,
        })
    }
}
