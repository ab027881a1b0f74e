//! The sequences one edit trains on, with the weight of each token in each loss.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use wise_memory::Voters;
use wise_model::{Answered, Model, Row};

use crate::wise::WiseConfig;
use crate::{Edit, Error, Result};

/// What one edit is trained on.
pub(crate) struct Lesson<'a> {
    pub(crate) edit: &'a Edit,
    /// Which edit of the editor's life, counted from 1.
    pub(crate) index: usize,
    /// Texts to put in front of the edit; the first is empty.
    pub(crate) templates: &'a [String],
    /// Other prompts that shall give the target as well.
    pub(crate) subject_prompts: Vec<String>,
    /// Length of the longest negative in tokens, which padding is counted up to.
    pub(crate) longest_negative: usize,
}

/// Sequences packed for training.
///
/// Losses are weighted sums: a row's routing activation is `votes` times the distances of all tokens, the
/// edit loss `label_weights` times the negative log-likelihood of the labels.
#[derive(Debug)]
pub(crate) struct TrainingRows {
    /// The edit behind each template; last an isolated padding token, where padding
    /// counts.
    pub(crate) rows: Vec<Row>,
    /// How many of them are the edit behind a template; subject prompts follow.
    pub(crate) templates: usize,
    /// Packed tokens whose logits predict a label.
    pub(crate) label_at: Vec<usize>,
    pub(crate) labels: Vec<u32>,
    pub(crate) label_weights: Vec<f32>,
    /// Per edit row: share of each token in its activation.
    votes: Vec<Vec<f32>>,
    /// Where padding counts: the padding token, and the length that every row is padded to.
    pub(crate) padding: Option<Padding>,
}

/// Padding that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Padding {
    /// The isolated token, among the packed ones.
    pub(crate) token: usize,
    /// Length of every row of the reference's batch.
    pub(crate) width: usize,
}

impl TrainingRows {
    /// # Errors
    /// If a text is empty or a row does not fit the model's context.
    pub(crate) fn new(model: &Model, config: &WiseConfig, lesson: &Lesson<'_>) -> Result<Self> {
        let (edit, index) = (lesson.edit, lesson.index);
        let (format, compat) = (config.format_for(model), config.compat);
        for (field, text) in [("prompt", &edit.prompt), ("target", &edit.target)] {
            if text.trim().is_empty() {
                return Err(Error::EmptyField { index, field });
            }
        }
        let own = lesson.templates.iter();
        let mut answered = own
            .map(|before| model.answered(format, before, &edit.prompt, &edit.target))
            .collect::<Result<Vec<_>, _>>()?;
        for prompt in &lesson.subject_prompts {
            answered.push(model.answered(format, "", prompt, &edit.target)?);
        }
        let eos = if config.target_eos {
            model.eos().first().copied()
        } else {
            None
        };
        let longest = answered.iter().map(|a| a.tokens.len()).max().unwrap_or(0);
        let got = longest + usize::from(eos.is_some());
        let context = model.config().context;
        if got > context {
            return Err(Error::EditTooLong {
                index,
                got,
                context,
            });
        }
        let mut rows = match model.eos().first() {
            Some(&padding) if compat.is_easyedit() => {
                Self::left_padded(&answered, lesson.longest_negative, padding)
            }
            _ => Self::packed(&answered, eos, config.voters),
        };
        rows.templates = lesson.templates.len();
        if rows.labels.is_empty() {
            let field = "target";
            return Err(Error::EmptyField { index, field });
        }
        Ok(rows)
    }

    /// The edit loss is the mean over the rows, each of which is the mean over its labels.
    fn packed(answered: &[Answered], eos: Option<u32>, voters: Voters) -> Self {
        let mut rows = Builder::default();
        for a in answered {
            let tokens: Vec<u32> = a.tokens.iter().copied().chain(eos).collect();
            let scope = match voters {
                Voters::Prompt => a.prompt.scope.clone(),
                Voters::All => 0..tokens.len(),
            };
            let share = 1.0 / scope.len() as f32;
            let labels = a.answer().start..tokens.len();
            let count = labels.len();
            let start = rows.push(tokens);
            rows.vote(scope.map(|t| (start + t, share)));
            for t in labels {
                rows.label(start + t - 1, start + t, count * answered.len());
            }
        }
        rows.finish(None)
    }

    /// What the reference implementation's batch computes: rows padded on the left to the longest, padding
    /// counted in every mean, labels in the columns past the longest prompt and never the padding token.
    fn left_padded(answered: &[Answered], longest_negative: usize, padding: u32) -> Self {
        let longest = answered.iter().map(|a| a.tokens.len()).max().unwrap_or(0);
        let width = longest.max(longest_negative);
        let prompts = answered.iter().map(|a| a.prompt.tokens.len());
        let first_label = prompts.max().unwrap_or(0);

        let mut rows = Builder::default();
        let starts: Vec<usize> = answered
            .iter()
            .map(|a| rows.push(a.tokens.clone()))
            .collect();
        let pad = rows.push_isolated(padding);
        for (a, &start) in answered.iter().zip(&starts) {
            let length = a.tokens.len();
            let pads = width - length;
            rows.vote_with_padding(start, length, pad, width);
            let labels: Vec<usize> = (0..length)
                .filter(|&t| pads + t >= first_label.max(1) && a.tokens[t] != padding)
                .collect();
            for &t in &labels {
                let before = if t == 0 { pad } else { start + t - 1 };
                rows.label(before, start + t, (labels.len() + 1) * answered.len());
            }
        }
        rows.finish(Some(Padding { token: pad, width }))
    }

    /// `[rows, tokens]`.
    pub(crate) fn votes(&self, device: &Device) -> Tensor<2> {
        matrix(&self.votes, device)
    }

    /// The packed tokens that vote in a row, padding apart.
    pub(crate) fn voters(&self, row: usize) -> Range<usize> {
        let padding = self.padding.map_or(usize::MAX, |padding| padding.token);
        let votes = &self.votes[row][..padding.min(self.votes[row].len())];
        let first = votes.iter().position(|&share| share > 0.0).unwrap_or(0);
        let last = votes.iter().rposition(|&share| share > 0.0);
        first..last.map_or(first, |last| last + 1)
    }
}

pub(crate) fn matrix(rows: &[Vec<f32>], device: &Device) -> Tensor<2> {
    let width = rows.first().map_or(0, Vec::len);
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), width]), device)
}

/// Packs rows and collects votes and labels.
#[derive(Default)]
struct Builder {
    rows: Vec<Row>,
    tokens: Vec<u32>,
    votes: Vec<Vec<(usize, f32)>>,
    label_at: Vec<usize>,
    labels: Vec<u32>,
    label_weights: Vec<f32>,
}

impl Builder {
    fn push(&mut self, tokens: Vec<u32>) -> usize {
        let start = self.tokens.len();
        self.tokens.extend(&tokens);
        self.rows.push(tokens.into());
        start
    }

    fn push_isolated(&mut self, token: u32) -> usize {
        let start = self.push(vec![token]);
        if let Some(row) = self.rows.last_mut() {
            row.isolated = true;
        }
        start
    }

    fn vote(&mut self, votes: impl Iterator<Item = (usize, f32)>) {
        self.votes.push(votes.collect());
    }

    fn vote_with_padding(&mut self, start: usize, length: usize, pad: usize, width: usize) {
        let share = 1.0 / width as f32;
        let padding = (pad, (width - length) as f32 * share);
        self.vote((start..start + length).map(|t| (t, share)).chain([padding]));
    }

    fn label(&mut self, at: usize, token: usize, divisor: usize) {
        self.label_at.push(at);
        self.labels.push(self.tokens[token]);
        self.label_weights.push(1.0 / divisor as f32);
    }

    fn finish(self, padding: Option<Padding>) -> TrainingRows {
        let dense = |votes: &Vec<(usize, f32)>| {
            let mut row = vec![0.0; self.tokens.len()];
            for &(token, share) in votes {
                row[token] += share;
            }
            row
        };
        TrainingRows {
            votes: self.votes.iter().map(dense).collect(),
            templates: self.rows.len(),
            rows: self.rows,
            label_at: self.label_at,
            labels: self.labels,
            label_weights: self.label_weights,
            padding,
        }
    }
}

#[cfg(test)]
mod tests {
    use wise_model::Prompt;

    use super::*;

    fn answered(prompt: &[u32], answer: &[u32]) -> Answered {
        Answered {
            prompt: Prompt {
                tokens: prompt.to_vec(),
                scope: 0..prompt.len(),
            },
            tokens: [prompt, answer].concat(),
        }
    }

    const EOS: u32 = 2;

    #[test]
    fn the_end_of_sequence_token_is_a_label_even_though_it_pads() {
        let edit = [
            answered(&[10, 11], &[12, 13]),
            answered(&[9, 10, 11], &[12, 13]),
        ];
        let rows = TrainingRows::packed(&edit, Some(EOS), Voters::Prompt);
        assert_eq!(rows.labels, [12, 13, EOS, 12, 13, EOS]);
        assert_eq!(rows.label_at, [1, 2, 3, 7, 8, 9]);
        assert!(rows.label_weights.iter().all(|&w| w == 1.0 / 6.0));
    }

    #[test]
    fn only_the_prompt_votes_and_every_row_votes_once() {
        let edit = [answered(&[10, 11], &[12])];
        let rows = TrainingRows::packed(&edit, Some(EOS), Voters::Prompt);
        assert_eq!(rows.votes, [[0.5, 0.5, 0.0, 0.0]]);
        let paper = TrainingRows::packed(&edit, None, Voters::All);
        assert_eq!(paper.votes, [[1.0 / 3.0; 3]]);
        assert_eq!(paper.labels, [12]);
    }

    #[test]
    fn the_reference_counts_padding_and_one_label_too_many() {
        let edit = [answered(&[10], &[12]), answered(&[9, 10], &[12])];
        let rows = TrainingRows::left_padded(&edit, 1, EOS);
        // Packed: 10 12 | 9 10 12 | pad, width 3.
        let third = 1.0 / 3.0;
        assert_eq!(rows.votes[0], [third, third, 0.0, 0.0, 0.0, third]);
        assert_eq!(rows.votes[1], [0.0, 0.0, third, third, third, 0.0]);
        assert_eq!(rows.padding, Some(Padding { token: 5, width: 3 }));
        assert_eq!([rows.voters(0), rows.voters(1)], [0..2, 2..5]);
        assert_eq!(rows.labels, [12, 12]);
        assert!(rows.label_weights.iter().all(|&w| w == 0.25));
        assert!(rows.rows[2].isolated);
    }

    #[test]
    fn in_the_reference_a_long_locality_row_makes_prompt_tokens_labels() {
        let edit = [answered(&[10, 11], &[12])];
        let rows = TrainingRows::left_padded(&edit, 5, EOS);
        // Width 5, labels from column 2 on: the whole row, the first predicted from padding.
        assert_eq!(rows.labels, [10, 11, 12]);
        assert_eq!(rows.label_at, [3, 0, 1]);
        assert!(rows.label_weights.iter().all(|&w| w == 0.25));
    }

    #[test]
    fn in_the_reference_the_padding_token_is_never_a_label() {
        let edit = [answered(&[10], &[12, EOS])];
        let rows = TrainingRows::left_padded(&edit, 0, EOS);
        assert_eq!(rows.labels, [12]);
    }
}
