//! Replay of past edits, so that a shard also learns which prompts belong to others (paper, appendix B.3).

use burn::tensor::Tensor;
use wise_model::Model;
use wise_tensor::mean_of_positive;

use crate::Result;
use crate::wise::negatives::NegativePool;
use crate::wise::{Compatibility, WiseConfig};

/// The prompts of earlier shards, which shall stay under alpha, and those of the own shard, over beta.
pub(crate) struct Replay {
    earlier: Vec<NegativePool>,
    own: Option<NegativePool>,
    /// Where this edit's turn begins.
    first: usize,
    /// The settings, with one prompt in each iteration and the next one in the next.
    one_by_one: WiseConfig,
}

impl Replay {
    /// `earlier` are the prompts of each earlier shard, `own` those of this one so far; `first` the edit's
    /// number.
    ///
    /// # Errors
    /// If a prompt cannot be run.
    pub(crate) fn new(
        model: &Model,
        config: &WiseConfig,
        earlier: &[Vec<String>],
        own: Vec<String>,
        first: usize,
    ) -> Result<Self> {
        let one_by_one = WiseConfig {
            compat: Compatibility::Wise,
            negatives_per_step: 1,
            ..config.clone()
        };
        let pool = |prompts: Vec<String>| -> Result<NegativePool> {
            let pool = NegativePool::new(prompts)?;
            pool.prepare(model, &one_by_one, first % pool.texts().len())?;
            Ok(pool)
        };
        let filled = earlier.iter().filter(|prompts| !prompts.is_empty());
        Ok(Self {
            earlier: filled.cloned().map(pool).collect::<Result<_>>()?,
            own: (!own.is_empty()).then(|| pool(own)).transpose()?,
            first,
            one_by_one,
        })
    }

    /// Mean over the earlier shards of how far their next edit exceeds alpha, plus how far the next edit of the
    /// own shard falls short of beta.
    pub(crate) fn loss(&self, matrix: &Tensor<2>, iteration: usize) -> Tensor<1> {
        let config = &self.one_by_one;
        let [alpha, beta, _] = config.act_margin;
        let activation = |pool: &NegativePool| {
            let first = self.first % pool.texts().len();
            let batch = pool.batch(first, iteration, config, None);
            batch.activations(matrix, config)
        };
        let zero = || Tensor::zeros([1], &matrix.device());
        let excess = self
            .earlier
            .iter()
            .map(|pool| mean_of_positive(activation(pool) - alpha));
        let excess = excess.reduce(|a, b| a + b).unwrap_or_else(zero);
        let own = self
            .own
            .as_ref()
            .map(|pool| mean_of_positive(activation(pool).neg() + beta));
        excess / self.earlier.len().max(1) as f64 + own.unwrap_or_else(zero)
    }
}
