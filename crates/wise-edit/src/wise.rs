//! The WISE editor.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use wise_memory::{Memories, SideMemory};
use wise_merge::MaskSeed;
use wise_model::Model;

use crate::negatives::NegativePool;
use crate::rows::TrainingRows;
use crate::trainer::{Trained, Trainer};
use crate::{
    AppliedEdit, Edit, EditProgress, Editor, Error, Result, Snapshot, WiseConfig, context_templates,
};

/// Edits a model by training side memories (Wang et al., NeurIPS 2024).
///
/// The model itself is never written. See the crate documentation for an example.
pub struct Wise {
    model: Arc<Model>,
    config: WiseConfig,
    templates: Vec<String>,
    negatives: NegativePool,
    memory: SideMemory,
    /// The subspace of the open memory, `[hidden, ffn]`, 0 or 1.
    mask: Tensor<2>,
    history: Vec<AppliedEdit>,
}

impl Wise {
    /// An editor without edits. `negatives` are unrelated prompts for the router; see
    /// [`neutral_prompts`](crate::neutral_prompts). The model writes its context templates here.
    ///
    /// # Errors
    /// On hyperparameters out of range, no negatives, or a model that cannot run its own templates.
    pub fn new(model: Arc<Model>, config: WiseConfig, negatives: Vec<String>) -> Result<Self> {
        let config = config.resolve(&model)?;
        let templates = context_templates(&model)?;
        let matrix = model.site_weight(config.layer_for(&model))?;
        let seed = MaskSeed {
            seed: config.seed,
            ratio: config.mask_ratio,
        };
        let shape = matrix.dims();
        let mask = seed.draw(shape[0] * shape[1])?.to_dense();
        Ok(Self {
            mask: Tensor::from_data(TensorData::new(mask, shape), model.device()),
            memory: SideMemory {
                matrix,
                mask: seed,
                min_activation: f32::INFINITY,
            },
            negatives: NegativePool::new(negatives)?,
            templates,
            config,
            model,
            history: Vec::new(),
        })
    }

    /// The hyperparameters, with everything that depends on the model filled in.
    pub fn config(&self) -> &WiseConfig {
        &self.config
    }

    /// The model being edited.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The texts put in front of every prompt during training; the first is empty.
    pub fn templates(&self) -> &[String] {
        &self.templates
    }

    /// The router negatives, as [`AppliedEdit::negatives`] counts them.
    pub fn negatives(&self) -> &[String] {
        self.negatives.texts()
    }

    /// The side memory in training.
    pub fn memory(&self) -> &SideMemory {
        &self.memory
    }

    /// Every edit made, oldest first.
    pub fn history(&self) -> &[AppliedEdit] {
        &self.history
    }

    fn apply_one(
        &mut self,
        edit: &Edit,
        progress: &mut dyn FnMut(usize, f32),
    ) -> Result<AppliedEdit> {
        let index = self.history.len() + 1;
        let config = &self.config;
        let layer = config.layer_for(&self.model);
        let format = config.format_for(&self.model);
        let negatives = self
            .negatives
            .indices(self.history.len(), config.negatives_per_edit);
        let (prompts, sites) =
            self.negatives
                .prepare(&self.model, layer, format, config.compat, &negatives)?;
        let rows = TrainingRows::new(
            &self.model,
            format,
            config.compat,
            &self.templates,
            edit,
            index,
            &prompts,
        )?;
        let trainer = Trainer::new(&self.model, config, &rows, &sites)?;
        let trained = trainer.train(self.memory.matrix.clone(), &self.mask, &mut |i, losses| {
            progress(i + 1, losses.loss());
        });
        if !trained.last.loss().is_finite() {
            return Err(Error::Diverged {
                index,
                iteration: trained.iterations + 1,
                loss: trained.last.loss(),
            });
        }
        let applied = describe(edit, negatives, &trained);
        self.memory.min_activation = self.memory.min_activation.min(trained.activation);
        self.memory.matrix = trained.matrix;
        Ok(applied)
    }
}

fn describe(edit: &Edit, negatives: Vec<usize>, trained: &Trained) -> AppliedEdit {
    AppliedEdit {
        edit: edit.clone(),
        negatives,
        iterations: trained.iterations,
        edit_loss: trained.last.edit_loss,
        router_loss: trained.last.router_loss,
        activation: trained.activation,
    }
}

impl Editor for Wise {
    fn apply(
        &mut self,
        edits: &[Edit],
        progress: &mut dyn FnMut(EditProgress),
    ) -> Result<Vec<AppliedEdit>> {
        let iterations = self.config.n_iter;
        let mut done = Vec::with_capacity(edits.len());
        for (i, edit) in edits.iter().enumerate() {
            let applied = self.apply_one(edit, &mut |iteration, loss| {
                progress(EditProgress {
                    edit: i,
                    edits: edits.len(),
                    iteration,
                    iterations,
                    loss,
                });
            })?;
            self.history.push(applied.clone());
            done.push(applied);
        }
        Ok(done)
    }

    fn snapshot(&self) -> Snapshot {
        let side = if self.history.is_empty() {
            Vec::new()
        } else {
            vec![self.memory.clone()]
        };
        let memories = Memories {
            layer: self.config.layer_for(&self.model),
            side,
        };
        Snapshot::new(Arc::clone(&self.model), &self.config, memories)
    }
}
