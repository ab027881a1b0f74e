//! Low-rank adaptation (`LoRA`; Hu et al. 2021, arXiv 2106.09685), trained on from edit to edit.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use wise_memory::Recall;
use wise_model::{Adapters, LayerAdapter, LowRank, Model, Overlay, PromptFormat};

use crate::Result;
use crate::error::require;
use crate::rivals::Rival;
use crate::rivals::lesson::{Lesson, Objective, Observe};
use crate::rivals::sequential::{Learnt, Method, Tensors, Unrouted, load_tensor, save_tensor};
use crate::rivals::settings::{Settings, Training, require_positive, shared, uniform};

/// Hyperparameters of `LoRA` (Hu et al. 2021, arXiv 2106.09685).
///
/// To the query and the value projection of each layer above `layer` a product of two thin matrices is added,
/// `alpha / rank * B A`, with A random and B zero at first. One set of them is trained by all edits, one after
/// another. The first layer of a model cannot be adapted here, because every editor's change lies above the
/// first layer's FFN value matrix.
///
/// The values are those that `EasyEdit` ships for Llama-2-7B, but for two: plain `LoRA` without dropout, where it
/// runs `AdaLoRA` with 0.1, and `stop_loss`, where it takes all iterations for every edit. Its rate is far above
/// what such an adapter bears through many edits: on `SmolLM2` five edits are enough for the last target to
/// answer every question. It is kept, because a baseline is compared as shipped; `edit_lr` is there to be lowered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// How questions are put to the model; by default chat where it has a template.
    pub prompt_format: Option<PromptFormat>,
    /// The layers above this one are adapted; by default 0.
    pub layer: Option<usize>,
    /// Whether the target ends with the end-of-sequence token.
    pub target_eos: bool,
    /// Rate of gradient descent.
    pub edit_lr: f64,
    /// Most iterations per edit.
    pub n_iter: usize,
    /// Training ends once the edit loss is under this, in nats per token.
    pub stop_loss: f64,
    /// Columns of B and rows of A, r in the paper.
    pub rank: usize,
    /// Weight of the addition times the rank, alpha in the paper.
    pub alpha: f64,
    /// Seed of A.
    pub seed: u64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            prompt_format: None,
            layer: None,
            target_eos: true,
            edit_lr: 5e-3,
            n_iter: 70,
            stop_loss: 1e-2,
            rank: 8,
            alpha: 32.0,
            seed: 0,
        }
    }
}

impl Settings for LoraConfig {
    fn default_layer(_: usize) -> usize {
        0
    }

    fn check(&self) -> Result<()> {
        require("rank", self.rank, self.rank > 0, "at least 1")?;
        require_positive("alpha", self.alpha)
    }

    shared!();
}

/// What is added to one layer, in this order.
const FACTORS: [&str; 4] = ["query.down", "query.up", "value.down", "value.up"];

/// The additions and how they are trained.
pub(super) struct Lora {
    config: LoraConfig,
    training: Training,
    device: Device,
    /// [`FACTORS`] of each adapted layer, lowest first.
    factors: Vec<Tensor<2>>,
}

impl Lora {
    fn overlay(&self, factors: &[Tensor<2>]) -> Overlay {
        let low_rank = |down: &Tensor<2>, up: &Tensor<2>| LowRank {
            down: down.clone(),
            up: up.clone(),
            scale: self.config.alpha / self.config.rank as f64,
        };
        let layer = |of_layer: &[Tensor<2>]| LayerAdapter {
            query: low_rank(&of_layer[0], &of_layer[1]),
            value: low_rank(&of_layer[2], &of_layer[3]),
        };
        Overlay::Adapt(Arc::new(Adapters {
            first_layer: self.training.layer + 1,
            layers: factors.chunks_exact(FACTORS.len()).map(layer).collect(),
        }))
    }

    /// A name for each of the factors.
    fn names(&self) -> impl Iterator<Item = String> {
        let first = self.training.layer + 1;
        let named = move |index: usize| {
            let layer = first + index / FACTORS.len();
            format!("layers.{layer}.{}", FACTORS[index % FACTORS.len()])
        };
        (0..self.factors.len()).map(named)
    }
}

impl Method for Lora {
    const RIVAL: Rival = Rival::Lora;
    type Config = LoraConfig;
    type Notes = ();

    fn new(model: &Model, config: LoraConfig, training: Training) -> Result<Self> {
        let (shape, rank) = (model.config(), config.rank);
        let first = training.layer + 1;
        let holds = first < shape.layers;
        require("layer", training.layer, holds, "a layer below the last")?;
        let device = model.device_of(training.layer)?;
        let hidden = shape.hidden_size;
        // As the authors' code draws it: Kaiming uniform with a gain that leaves 1 / sqrt(in) as the bound.
        let bound = (hidden as f32).sqrt().recip();
        let down = |stream: usize| {
            let uniform = uniform(training.seed, stream as u64, rank * hidden);
            let values: Vec<f32> = uniform.iter().map(|u| (2.0 * u - 1.0) * bound).collect();
            Tensor::from_data(TensorData::new(values, [rank, hidden]), device)
        };
        let up = |heads: usize| Tensor::zeros([heads * shape.head_dim, rank], device);
        let of_layer = |layer: usize| {
            [
                down(2 * layer),
                up(shape.heads),
                down(2 * layer + 1),
                up(shape.kv_heads),
            ]
        };
        Ok(Self {
            factors: (first..shape.layers).flat_map(of_layer).collect(),
            device: device.clone(),
            config,
            training,
        })
    }

    fn config(&self) -> &LoraConfig {
        &self.config
    }

    fn learn(
        &mut self,
        model: &Model,
        lesson: &Lesson,
        observe: &mut Observe<'_>,
    ) -> Result<Learnt> {
        let read_at = lesson.tokens_before_the_target();
        let objective = Objective::new(model, self.training.layer, lesson, read_at)?;
        let descended = self.training.descend(
            lesson,
            self.factors.clone(),
            |factors| objective.loss(&self.overlay(factors)),
            |factor| factor,
            observe,
        )?;
        self.factors = descended.parameters;
        Ok(Learnt {
            iterations: descended.iterations,
            edit_loss: descended.loss,
            activation: 0.0,
        })
    }

    fn recall(&self, edits: usize) -> Arc<dyn Recall> {
        Arc::new(Unrouted {
            layer: self.training.layer,
            overlay: self.overlay(&self.factors),
            edits,
        })
    }

    fn save(&self) -> ((), Tensors) {
        let named = self.names().zip(self.factors.iter().map(save_tensor));
        ((), named.collect())
    }

    fn restore(&mut self, (): (), tensors: &Tensors) -> Result<(), String> {
        let named = self.names().zip(&self.factors);
        let load = |(name, factor): (String, &Tensor<2>)| {
            load_tensor(tensors, &name, factor.dims(), &self.device)
        };
        self.factors = named.map(load).collect::<Result<_, _>>()?;
        Ok(())
    }
}
