//! Unrelated prompts that the router learns to leave alone.

use burn::tensor::Tensor;
use serde::Deserialize;
use wise_model::{Model, Overlay, Prompt, PromptFormat, Row};

use crate::rows::{Padding, matrix};
use crate::{Compatibility, Error, Result, WiseConfig};

/// Negatives that are run up to the edit site together.
const GROUP: usize = 16;

/// The neutral prompts shipped with this crate, one JSON object with a `prompt` per line.
const NEUTRAL: &str = include_str!("../data/neutral_prompts.jsonl");

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

/// A negative at the edit site. No edit changes any of it.
#[derive(Debug, Clone)]
pub(crate) struct Negative {
    /// Inputs of the edited matrix at the tokens that vote on its route, `[tokens, ffn]`.
    inputs: Tensor<2>,
    /// What the main memory makes of them, `[tokens, hidden]`.
    main_output: Tensor<2>,
}

impl Negative {
    fn tokens(&self) -> usize {
        self.inputs.dims()[0]
    }
}

/// A negative's tokens, and those that vote on its route.
fn prompt(model: &Model, config: &WiseConfig, text: &str) -> Result<Prompt, wise_model::Error> {
    // The reference never puts its locality text into a chat template.
    let format = match config.compat {
        Compatibility::EasyEdit => PromptFormat::Raw,
        Compatibility::Wise | Compatibility::Paper => config.format_for(model),
    };
    let mut prompt = model.prompt(format, "", text)?;
    let (got, context) = (prompt.tokens.len(), model.config().context);
    if got > context {
        return Err(wise_model::Error::TooLong {
            what: "negative",
            got,
            context,
        });
    }
    if !config.compat.routes_by_prompt() {
        prompt.scope = 0..prompt.tokens.len();
    }
    Ok(prompt)
}

/// Some negatives, packed one behind the other.
#[derive(Debug, Clone)]
pub(crate) struct NegativeBatch {
    /// `[tokens, ffn]`.
    pub(crate) inputs: Tensor<2>,
    /// `[tokens, hidden]`.
    pub(crate) main_output: Tensor<2>,
    /// Share of each token in the activation of each negative, `[negatives, tokens]`.
    pub(crate) votes: Tensor<2>,
    /// Share of padding in the activation of each negative, `[negatives, 1]`, where padding counts.
    pub(crate) padding_votes: Option<Tensor<2>>,
}

/// Negatives and, once prepared, what they bring to the edit site.
pub(crate) struct NegativePool {
    texts: Vec<String>,
    ready: Vec<Option<Negative>>,
}

impl NegativePool {
    pub(crate) fn new(texts: Vec<String>) -> Result<Self> {
        if texts.is_empty() {
            return Err(Error::NoNegatives);
        }
        let ready = texts.iter().map(|_| None).collect();
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
    pub(crate) fn prepare(
        &mut self,
        model: &Model,
        config: &WiseConfig,
        first: usize,
    ) -> Result<()> {
        for iteration in 0..config.n_iter {
            for index in self.of_step(first, iteration, config) {
                if self.ready[index].is_none() {
                    self.prepare_group(model, config, index / GROUP * GROUP)?;
                }
            }
        }
        Ok(())
    }

    /// Negatives are run in groups of fixed members, so that the rounding of each does not depend on which
    /// edit met it first.
    fn prepare_group(&mut self, model: &Model, config: &WiseConfig, start: usize) -> Result<()> {
        let texts = self.texts[start..].iter().take(GROUP);
        let prompts = texts
            .zip(start + 1..)
            .map(|(text, index)| {
                prompt(model, config, text).map_err(|source| Error::Negative {
                    index,
                    source: Box::new(source),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let rows: Vec<Row> = prompts.iter().map(|p| p.tokens.clone().into()).collect();
        let site = model.prefix(&rows, config.layer_for(model), None)?;
        let main_output = model.site_output(&site, &Overlay::Main);
        for (i, prompt) in prompts.iter().enumerate() {
            let start_of_scope = site.layout.rows()[i].start + prompt.scope.start;
            let voters = |x: &Tensor<2>| x.clone().narrow(0, start_of_scope, prompt.scope.len());
            self.ready[start + i] = Some(Negative {
                inputs: voters(&site.inputs),
                main_output: voters(&main_output),
            });
        }
        Ok(())
    }

    fn chosen(&self, first: usize, iteration: usize, config: &WiseConfig) -> Vec<&Negative> {
        self.of_step(first, iteration, config)
            .into_iter()
            .filter_map(|index| self.ready[index].as_ref())
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
    ) -> NegativeBatch {
        let chosen = self.chosen(first, iteration, config);
        let device = chosen[0].inputs.device();
        let total: usize = chosen.iter().map(|n| n.tokens()).sum();
        let mut start = 0;
        let votes: Vec<Vec<f32>> = chosen
            .iter()
            .map(|negative| {
                let voters = padding.map_or(negative.tokens(), |p| p.width);
                let mut row = vec![0.0; total];
                let end = start + negative.tokens();
                row[start..end].fill(1.0 / voters as f32);
                start = end;
                row
            })
            .collect();
        let padding_votes = padding.map(|p| {
            let share = |n: &&Negative| vec![(p.width - n.tokens()) as f32 / p.width as f32];
            matrix(&chosen.iter().map(share).collect::<Vec<_>>(), &device)
        });
        let cat = |part: fn(&Negative) -> &Tensor<2>| {
            Tensor::cat(chosen.iter().map(|n| part(n).clone()).collect(), 0)
        };
        NegativeBatch {
            inputs: cat(|n| &n.inputs),
            main_output: cat(|n| &n.main_output),
            votes: matrix(&votes, &device),
            padding_votes,
        }
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
