//! Steps of the side memory down the gradient, inside its subspace.

use burn::tensor::Tensor;
use wise_tensor::{Adam, EqualSteps, Step, masked_sgd_step};

use crate::wise::{Optimizer, WiseConfig};

/// Descends one edit's loss.
pub(crate) struct Descent<'a> {
    config: &'a WiseConfig,
    main: Tensor<2>,
    mask: &'a Tensor<2>,
    steps: usize,
    adam: Adam,
    equal_steps: EqualSteps,
}

impl<'a> Descent<'a> {
    /// `main` and `mask` are `[hidden, ffn]`, the mask 0 or 1.
    pub(crate) fn new(config: &'a WiseConfig, main: Tensor<2>, mask: &'a Tensor<2>) -> Self {
        Self {
            config,
            main,
            mask,
            steps: 0,
            adam: Adam::new(config.adam_betas),
            equal_steps: EqualSteps::new(config.momentum),
        }
    }

    pub(crate) fn step(&mut self, matrix: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
        let direction = match self.config.optimizer {
            Optimizer::Sgd => gradient,
            Optimizer::Adam => self.adam.direction(gradient),
            Optimizer::Normalized => self.equal_steps.direction(gradient, self.mask),
        };
        let step = Step {
            rate: self.rate(),
            decay: self.config.weight_decay,
            decay_outside_mask: self.config.decay_outside_mask,
            limit: self.config.norm_constraint,
        };
        self.steps += 1;
        masked_sgd_step(matrix, direction, self.mask, &self.main, &step)
    }

    /// Falls linearly from `edit_lr` to its share `lr_floor`.
    fn rate(&self) -> f64 {
        let last = self.config.n_iter.saturating_sub(1).max(1);
        let done = self.steps as f64 / last as f64;
        self.config.edit_lr * (1.0 - done * (1.0 - self.config.lr_floor))
    }
}
