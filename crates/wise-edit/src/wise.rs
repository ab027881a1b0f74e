//! The WISE editor.

use std::collections::HashMap;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wise_memory::{Memories, SideMemory};
use wise_merge::MaskSeed;
use wise_model::Model;

use crate::negatives::NegativePool;
use crate::rows::{Lesson, TrainingRows};
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

    /// The router negatives, as [`AppliedEdit::first_negative`] counts them.
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
        let rehearsed = rehearsed(&self.history, edit, config);
        let earlier: Vec<&Edit> = rehearsed.iter().map(|&i| &self.history[i].edit).collect();
        let first_negative = self.negatives.first(self.history.len(), config);
        self.negatives
            .prepare(&self.model, config, first_negative)?;
        let lesson = Lesson {
            edit,
            index,
            templates: &self.templates,
            rehearsed: &earlier,
            longest_negative: self.negatives.longest(first_negative, config),
        };
        let rows = TrainingRows::new(&self.model, config, &lesson)?;
        let trainer = Trainer::new(&self.model, config, &rows, &self.negatives, first_negative)?;
        let trained = trainer.train(self.memory.matrix.clone(), &self.mask, &mut |i, losses| {
            progress(i + 1, losses.loss());
        });
        if !trained.last.loss().is_finite() || !trained.activation.is_finite() {
            return Err(Error::Diverged {
                index,
                iteration: trained.iterations + 1,
                loss: trained.last.loss(),
            });
        }
        let applied = describe(edit, first_negative, rehearsed, &trained);
        self.memory.min_activation = self.memory.min_activation.min(trained.activation);
        self.memory.matrix = trained.matrix;
        Ok(applied)
    }
}

/// Which earlier edits the next one trains along with: a random choice that the seed fixes, among the newest
/// of each prompt. An edit that the next one corrects is not among them.
fn rehearsed(history: &[AppliedEdit], edit: &Edit, config: &WiseConfig) -> Vec<usize> {
    let prompt = |i: usize| history[i].edit.prompt.trim();
    let newest: HashMap<&str, usize> = (0..history.len()).map(|i| (prompt(i), i)).collect();
    let mut indices: Vec<usize> = (0..history.len())
        .filter(|&i| newest[prompt(i)] == i && prompt(i) != edit.prompt.trim())
        .collect();

    let mut key = [0; 32];
    key[..8].copy_from_slice(&config.seed.to_le_bytes());
    key[8..16].copy_from_slice(&(history.len() as u64).to_le_bytes());
    let mut random = ChaCha8Rng::from_seed(key);
    let count = config.rehearsed_edits.min(indices.len());
    for i in 0..count {
        let left = (indices.len() - i) as u64;
        let pick = (u64::from(random.next_u32()) * left) >> 32;
        indices.swap(i, i + pick as usize);
    }
    indices.truncate(count);
    indices
}

fn describe(
    edit: &Edit,
    first_negative: usize,
    rehearsed: Vec<usize>,
    trained: &Trained,
) -> AppliedEdit {
    AppliedEdit {
        edit: edit.clone(),
        first_negative,
        rehearsed,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn made(prompts: &[&str]) -> Vec<AppliedEdit> {
        let applied = |prompt: &&str| AppliedEdit {
            edit: Edit::new(*prompt, "answer"),
            first_negative: 0,
            rehearsed: Vec::new(),
            iterations: 1,
            edit_loss: 0.0,
            router_loss: 0.0,
            activation: 1.0,
        };
        prompts.iter().map(applied).collect()
    }

    fn config(seed: u64) -> WiseConfig {
        WiseConfig {
            rehearsed_edits: 8,
            seed,
            ..WiseConfig::default()
        }
    }

    #[test]
    fn rehearsed_edits_are_distinct_earlier_and_fixed_by_the_seed() {
        let next = Edit::new("next", "answer");
        assert!(rehearsed(&[], &next, &config(0)).is_empty());
        for count in [3, 8, 50] {
            let names: Vec<String> = (0..count).map(|i| format!("prompt {i}")).collect();
            let history = made(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let mut chosen = rehearsed(&history, &next, &config(1));
            assert_eq!(chosen, rehearsed(&history, &next, &config(1)));
            if count == 50 {
                assert_ne!(chosen, rehearsed(&history, &next, &config(2)));
            }
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), count.min(8));
            assert!(chosen.iter().all(|&i| i < count));
        }
    }

    #[test]
    fn a_fact_that_was_corrected_again_is_rehearsed_with_its_last_answer_only() {
        let history = made(&["a", "b", " a"]);
        let mut chosen = rehearsed(&history, &Edit::new("c", "answer"), &config(0));
        chosen.sort_unstable();
        assert_eq!(chosen, [1, 2]);
        assert_eq!(
            rehearsed(&history, &Edit::new("a ", "other"), &config(0)),
            [1]
        );
    }
}
