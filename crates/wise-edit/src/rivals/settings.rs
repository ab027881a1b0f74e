//! The hyperparameters that all these editors have, and how they are resolved for a model.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;
use wise_model::{Model, PromptFormat};

use crate::error::require;
use crate::{Error, Result};

/// The hyperparameters that every one of these editors has.
#[derive(Debug)]
pub struct Shared<'a> {
    /// How questions are put to the model; by default chat where it has a template.
    pub prompt_format: &'a mut Option<PromptFormat>,
    /// Layer of the edit site.
    pub layer: &'a mut Option<usize>,
    /// Whether the target ends with the end-of-sequence token.
    pub target_eos: &'a mut bool,
    /// Rate of gradient descent.
    pub edit_lr: &'a mut f64,
    /// Most iterations per edit.
    pub n_iter: &'a mut usize,
    /// Training ends once the edit loss is under this.
    pub stop_loss: &'a mut f64,
    /// Seed of everything random.
    pub seed: &'a mut u64,
}

/// The hyperparameters of one editor. The editors differ in their defaults, so each has a struct of its own.
pub(super) trait Settings: Clone + Serialize {
    /// Layer of the edit site in a model of so many layers.
    fn default_layer(layers: usize) -> usize;

    fn shared(&mut self) -> Shared<'_>;

    /// Checks the ranges of those that only this editor has.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// [`Settings::shared`] of a struct that has these fields.
macro_rules! shared {
    () => {
        fn shared(&mut self) -> $crate::rivals::settings::Shared<'_> {
            $crate::rivals::settings::Shared {
                prompt_format: &mut self.prompt_format,
                layer: &mut self.layer,
                target_eos: &mut self.target_eos,
                edit_lr: &mut self.edit_lr,
                n_iter: &mut self.n_iter,
                stop_loss: &mut self.stop_loss,
                seed: &mut self.seed,
            }
        }
    };
}
pub(super) use shared;

/// The shared hyperparameters as resolved for a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Training {
    pub(super) format: PromptFormat,
    pub(super) layer: usize,
    pub(super) target_eos: bool,
    pub(super) edit_lr: f64,
    pub(super) n_iter: usize,
    pub(super) stop_loss: f64,
    pub(super) seed: u64,
}

impl Training {
    /// Fills into `settings` what depends on the model and checks every range.
    pub(super) fn resolve<S: Settings>(settings: &mut S, model: &Model) -> Result<Self> {
        settings.check()?;
        let shared = settings.shared();
        let default_layer = S::default_layer(model.config().layers);
        let training = Self {
            format: *shared.prompt_format.get_or_insert(model.default_format()),
            layer: *shared.layer.get_or_insert(default_layer),
            target_eos: *shared.target_eos,
            edit_lr: *shared.edit_lr,
            n_iter: *shared.n_iter,
            stop_loss: *shared.stop_loss,
            seed: *shared.seed,
        };
        model.site_weight(training.layer)?;
        model.prompt(training.format, "", "a question")?;
        require_positive("edit_lr", training.edit_lr)?;
        require("n_iter", training.n_iter, training.n_iter > 0, "at least 1")?;
        let stop = training.stop_loss;
        let holds = stop >= 0.0 && stop.is_finite();
        require("stop_loss", stop, holds, "0 or more")?;
        if training.target_eos && model.eos().is_empty() {
            return Err(Error::NoEos {
                model: model.name().to_owned(),
            });
        }
        Ok(training)
    }
}

pub(super) fn require_positive(name: &'static str, got: f64) -> Result<()> {
    require(name, got, got > 0.0 && got.is_finite(), "more than 0")
}

/// The layer that stands where `layer` does in the 32 layers of Llama-2-7B, which the shipped settings are for;
/// rounded up.
pub(super) fn scaled(layer: usize, layers: usize) -> usize {
    (layers * layer).div_ceil(32).min(layers.saturating_sub(1))
}

/// Uniform in [0, 1); the same for the same seed and stream.
pub(super) fn uniform(seed: u64, stream: u64, count: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    let mut next = || (random.next_u32() >> 8) as f32 / 16_777_216.0;
    (0..count).map(|_| next()).collect()
}
