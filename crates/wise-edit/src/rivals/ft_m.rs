//! FT-M (Zhang et al., "A Comprehensive Study of Knowledge Editing for Large Language Models", 2024,
//! arXiv 2401.01286): ordinary fine-tuning of one FFN value matrix, the loss masked to the target's tokens.

use serde::{Deserialize, Serialize};
use wise_model::PromptFormat;

use crate::rivals::Rival;
use crate::rivals::fine_tuning::FineTuned;
use crate::rivals::lesson::Lesson;
use crate::rivals::settings::{Settings, scaled, shared};

/// Hyperparameters of FT-M (Zhang et al. 2024, arXiv 2401.01286).
///
/// Adam descends the mean cross entropy of the target's tokens, each predicted from those before it, in one
/// FFN value matrix; nothing holds the matrix back. The values are those that `EasyEdit` ships for Llama-2-7B.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FtMConfig {
    /// How questions are put to the model; by default chat where it has a template.
    pub prompt_format: Option<PromptFormat>,
    /// Layer whose FFN value matrix is edited; by default 21 of 32, in proportion.
    pub layer: Option<usize>,
    /// Whether the target ends with the end-of-sequence token.
    pub target_eos: bool,
    /// Rate of gradient descent.
    pub edit_lr: f64,
    /// Most iterations per edit.
    pub n_iter: usize,
    /// Training ends once the edit loss is under this, in nats per token.
    pub stop_loss: f64,
    /// Seed; nothing is random here.
    pub seed: u64,
}

impl Default for FtMConfig {
    fn default() -> Self {
        Self {
            prompt_format: None,
            layer: None,
            target_eos: true,
            edit_lr: 5e-4,
            n_iter: 25,
            stop_loss: 1e-2,
            seed: 0,
        }
    }
}

impl Settings for FtMConfig {
    fn default_layer(layers: usize) -> usize {
        scaled(21, layers)
    }

    shared!();
}

impl FineTuned for FtMConfig {
    const RIVAL: Rival = Rival::FtM;

    fn read_at(lesson: &Lesson) -> Vec<usize> {
        lesson.tokens_before_the_target()
    }

    fn norm_constraint(&self) -> Option<f64> {
        None
    }
}
