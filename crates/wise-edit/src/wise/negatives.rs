//! Unrelated prompts that the router learns to leave alone.

use std::sync::OnceLock;

use serde::Deserialize;
use wise_model::Model;

use crate::wise::at_site::{PromptAtSite, PromptBatch};
use crate::wise::rows::Padding;
use crate::wise::{Compatibility, WiseConfig};
use crate::{Error, Result};

/// Negatives that are run up to the edit site together.
const GROUP: usize = 16;

/// The neutral prompts shipped with this crate, one JSON object with a `prompt` per line.
const NEUTRAL: &str = include_str!("../../data/neutral_prompts.jsonl");

/// A small set of everyday questions and sentences, disjoint from the benchmark data sets.
pub fn neutral_prompts() -> Vec<String> {
    #[derive(Deserialize)]
    struct Line {
        prompt: String,
    }
    NEUTRAL
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .map(|line| line.prompt)
        .collect()
}

/// Negatives and, once prepared, what they bring to the edit site.
pub(crate) struct NegativePool {
    texts: Vec<String>,
    /// In groups of [`GROUP`].
    ready: Vec<OnceLock<Vec<PromptAtSite>>>,
}

impl NegativePool {
    pub(crate) fn new(texts: Vec<String>) -> Result<Self> {
        if texts.is_empty() {
            return Err(Error::NoNegatives);
        }
        let ready = texts.chunks(GROUP).map(|_| OnceLock::new()).collect();
        Ok(Self { texts, ready })
    }

    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The first negative of the `edit`-th edit of the editor's life, counted from 0.
    pub(crate) fn first(&self, edit: usize, config: &WiseConfig) -> usize {
        let stride = config.negatives_per_step;
        edit.wrapping_mul(stride) % self.texts.len()
    }

    /// The negatives of one iteration of an edit: the next few in turn, starting at `first`. The two
    /// originals have the same for every iteration.
    pub(crate) fn of_step(
        &self,
        first: usize,
        iteration: usize,
        config: &WiseConfig,
    ) -> Vec<usize> {
        let len = self.texts.len();
        let count = config.negatives_per_step.min(len);
        let passed = match config.compat {
            Compatibility::Wise => iteration * count,
            Compatibility::Paper | Compatibility::EasyEdit => 0,
        };
        (0..count).map(|i| (first + passed + i) % len).collect()
    }

    /// Runs every negative that an edit will meet up to the edit site, unless that was done before.
    ///
    /// Negatives are run in groups of fixed members, so that the rounding of each does not depend on which
    /// edit met it first.
    pub(crate) fn prepare(&self, model: &Model, config: &WiseConfig, first: usize) -> Result<()> {
        for iteration in 0..config.n_iter {
            for index in self.of_step(first, iteration, config) {
                let group = &self.ready[index / GROUP];
                if group.get().is_none() {
                    let negatives = self.run(model, config, index / GROUP * GROUP)?;
                    // Another shard may have been faster; it got the same.
                    let _ = group.set(negatives);
                }
            }
        }
        Ok(())
    }

    /// The group that begins at `start`, at the edit site.
    fn run(&self, model: &Model, config: &WiseConfig, start: usize) -> Result<Vec<PromptAtSite>> {
        let texts = self.texts[start..].iter().take(GROUP);
        let prompts = texts
            .zip(start + 1..)
            .map(|(text, index)| {
                PromptAtSite::prompt(model, config, text).map_err(|source| Error::Negative {
                    index,
                    source: Box::new(source),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(PromptAtSite::run(model, config, &prompts)?)
    }

    pub(crate) fn chosen(
        &self,
        first: usize,
        iteration: usize,
        config: &WiseConfig,
    ) -> Vec<&PromptAtSite> {
        self.of_step(first, iteration, config)
            .into_iter()
            .filter_map(|index| self.ready[index / GROUP].get()?.get(index % GROUP))
            .collect()
    }

    /// Length in tokens of the longest negative that an edit starts with.
    pub(crate) fn longest(&self, first: usize, config: &WiseConfig) -> usize {
        let chosen = self.chosen(first, 0, config);
        chosen.iter().map(|n| n.tokens()).max().unwrap_or(0)
    }

    /// The prepared negatives of one iteration.
    pub(crate) fn batch(
        &self,
        first: usize,
        iteration: usize,
        config: &WiseConfig,
        padding: Option<Padding>,
    ) -> PromptBatch {
        PromptBatch::new(&self.chosen(first, iteration, config), padding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_line_is_a_prompt_and_none_repeats() {
        let prompts = neutral_prompts();
        assert_eq!(prompts.len(), NEUTRAL.lines().count());
        assert!(prompts.len() >= 100);
        let distinct: std::collections::HashSet<_> = prompts.iter().collect();
        assert_eq!(distinct.len(), prompts.len());
    }

    #[test]
    fn negatives_take_turns() {
        let pool = NegativePool::new(vec!["a".into(), "b".into(), "c".into()]).unwrap();
        let config = |compat| WiseConfig {
            negatives_per_step: 2,
            ..WiseConfig::of(compat)
        };
        let ours = config(Compatibility::Wise);
        assert_eq!(pool.of_step(0, 0, &ours), [0, 1]);
        assert_eq!(pool.of_step(0, 1, &ours), [2, 0]);
        assert_eq!(pool.of_step(pool.first(1, &ours), 0, &ours), [2, 0]);
        let original = config(Compatibility::EasyEdit);
        assert_eq!(pool.of_step(1, 5, &original), [1, 2]);
        assert!(NegativePool::new(Vec::new()).is_err());
    }
}
