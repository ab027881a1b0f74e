//! Steps of the side memory down the gradient, inside its subspace.

use burn::tensor::Tensor;
use wise_tensor::{clamp_around, masked_sgd_step};

use crate::{Optimizer, WiseConfig};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Descends one edit's loss.
pub(crate) struct Descent<'a> {
    config: &'a WiseConfig,
    main: Tensor<2>,
    mask: &'a Tensor<2>,
    steps: usize,
    /// Running means of the gradient and of its square.
    moments: Option<(Tensor<2>, Tensor<2>)>,
}

impl<'a> Descent<'a> {
    /// `main` and `mask` are `[hidden, ffn]`, the mask 0 or 1.
    pub(crate) fn new(config: &'a WiseConfig, main: Tensor<2>, mask: &'a Tensor<2>) -> Self {
        Self {
            config,
            main,
            mask,
            steps: 0,
            moments: None,
        }
    }

    pub(crate) fn step(&mut self, matrix: Tensor<2>, gradient: Tensor<2>) -> Tensor<2> {
        let direction = match self.config.optimizer {
            Optimizer::Sgd => gradient,
            Optimizer::Adam => self.adam(gradient),
        };
        let next = masked_sgd_step(
            matrix,
            direction,
            self.mask,
            self.rate(),
            self.config.weight_decay,
            self.config.compat.is_easyedit(),
        );
        self.steps += 1;
        match self.config.norm_constraint {
            Some(limit) => clamp_around(next, &self.main, limit),
            None => next,
        }
    }

    /// Falls linearly from `edit_lr` to its share `lr_floor`.
    fn rate(&self) -> f64 {
        let last = self.config.n_iter.saturating_sub(1).max(1);
        let done = self.steps as f64 / last as f64;
        self.config.edit_lr * (1.0 - done * (1.0 - self.config.lr_floor))
    }

    fn adam(&mut self, gradient: Tensor<2>) -> Tensor<2> {
        let fresh = (
            gradient.clone() * (1.0 - BETA_1),
            gradient.clone().square() * (1.0 - BETA_2),
        );
        let (mean, square) = match self.moments.take() {
            None => fresh,
            Some((mean, square)) => (mean * BETA_1 + fresh.0, square * BETA_2 + fresh.1),
        };
        self.moments = Some((mean.clone(), square.clone()));
        let taken = self.steps as i32 + 1;
        let mean = mean / (1.0 - BETA_1.powi(taken));
        let square = square / (1.0 - BETA_2.powi(taken));
        mean / (square.sqrt() + EPSILON)
    }
}
