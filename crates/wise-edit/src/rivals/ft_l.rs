//! FT-L: constrained fine-tuning of one FFN value matrix, the baseline of Meng et al., "Locating and Editing
//! Factual Associations in GPT", NeurIPS 2022, after Zhu et al., "Modifying Memories in Transformer Models",
//! 2020, arXiv 2012.00363.

use serde::{Deserialize, Serialize};
use wise_model::PromptFormat;

use crate::Result;
use crate::rivals::Rival;
use crate::rivals::fine_tuning::FineTuned;
use crate::rivals::lesson::Lesson;
use crate::rivals::settings::{Settings, require_positive, scaled, shared};

/// Hyperparameters of FT-L (Meng et al. 2022, after Zhu et al. 2020, arXiv 2012.00363).
///
/// Adam descends in one FFN value matrix. With a `norm_constraint`, every weight is put back to within that of the
/// model's own after each step: the ball stays where it is, however many edits are made. `EasyEdit` ships it switched off,
/// and so it is here.
///
/// The loss is the one that this baseline has in practice: the mean negative log-likelihood of *all* target
/// tokens under the logits of the *last prompt token*. Of a target of n different tokens it makes all equally
/// likely as the first, so it never falls under ln n, and nothing teaches their order; only a target of one
/// token can be learnt as such.
///
/// With the paper's ball of 5e-4 the first step reaches its surface on `SmolLM2`, and the loss of a first edit falls from 8.1 to
/// 7.6 and no further. Without, it falls to 1.6 in 25 steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FtLConfig {
    /// How questions are put to the model; by default chat where it has a template.
    pub prompt_format: Option<PromptFormat>,
    /// Layer whose FFN value matrix is edited; by default 21 of 32, in proportion.
    pub layer: Option<usize>,
    /// Whether the target ends with the end-of-sequence token; here that makes it one more likely first token.
    pub target_eos: bool,
    /// Rate of gradient descent.
    pub edit_lr: f64,
    /// Most iterations per edit.
    pub n_iter: usize,
    /// Training ends once the edit loss is under this, in nats per token.
    pub stop_loss: f64,
    /// No weight moves further than this from the model's own: epsilon of the L-infinity ball, 5e-4 in the
    /// paper for GPT-2 XL. None: as far as training takes it.
    pub norm_constraint: Option<f64>,
    /// Seed; nothing is random here.
    pub seed: u64,
}

impl Default for FtLConfig {
    fn default() -> Self {
        Self {
            prompt_format: None,
            layer: None,
            target_eos: true,
            edit_lr: 5e-4,
            n_iter: 25,
            stop_loss: 1e-2,
            norm_constraint: None,
            seed: 0,
        }
    }
}

impl Settings for FtLConfig {
    fn default_layer(layers: usize) -> usize {
        scaled(21, layers)
    }

    fn check(&self) -> Result<()> {
        let limit = self.norm_constraint;
        limit.map_or(Ok(()), |limit| require_positive("norm_constraint", limit))
    }

    shared!();
}

impl FineTuned for FtLConfig {
    const RIVAL: Rival = Rival::FtL;

    fn read_at(lesson: &Lesson) -> Vec<usize> {
        vec![lesson.last_prompt_token(); lesson.target.len()]
    }

    fn norm_constraint(&self) -> Option<f64> {
        self.norm_constraint
    }
}
