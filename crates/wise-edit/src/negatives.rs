//! Unrelated prompts that the router learns to leave alone.

use serde::Deserialize;
use wise_model::{EditSite, Model, PromptFormat};

use crate::rows::Negative;
use crate::{Compatibility, Error, Result};

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

/// Negatives and, once used, what they bring to the edit site, which no edit changes.
pub(crate) struct NegativePool {
    texts: Vec<String>,
    ready: Vec<Option<(Negative, EditSite)>>,
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

    /// The negatives of the `edit`-th edit of the editor's life: the next `count` in turn.
    pub(crate) fn indices(&self, edit: usize, count: usize) -> Vec<usize> {
        let count = count.min(self.texts.len());
        (0..count)
            .map(|i| (edit * count + i) % self.texts.len())
            .collect()
    }

    pub(crate) fn prepare(
        &mut self,
        model: &Model,
        layer: usize,
        format: PromptFormat,
        compat: Compatibility,
        indices: &[usize],
    ) -> Result<(Vec<Negative>, Vec<EditSite>)> {
        let mut chosen = (Vec::new(), Vec::new());
        for &index in indices {
            if self.ready[index].is_none() {
                let negative = Negative::new(model, format, compat, &self.texts[index])?;
                let site = model.prefix(std::slice::from_ref(&negative.row), layer, None)?;
                self.ready[index] = Some((negative, site));
            }
            if let Some((negative, site)) = &self.ready[index] {
                chosen.0.push(negative.clone());
                chosen.1.push(site.clone());
            }
        }
        Ok(chosen)
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
        assert_eq!(pool.indices(0, 2), [0, 1]);
        assert_eq!(pool.indices(1, 2), [2, 0]);
        assert_eq!(pool.indices(0, 5), [0, 1, 2]);
        assert!(NegativePool::new(Vec::new()).is_err());
    }
}
