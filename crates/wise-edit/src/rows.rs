//! The sequences one edit trains on, with the weight of each token in each loss.

use burn::tensor::{Device, Int, Tensor, TensorData};
use wise_model::{Answered, Model, PromptFormat, Row};

use crate::{Compatibility, Edit, Error, Result, WiseConfig};

/// What one edit is trained on.
pub(crate) struct Lesson<'a> {
    pub(crate) edit: &'a Edit,
    /// Which edit of the editor's life, counted from 1.
    pub(crate) index: usize,
    /// Texts to put in front of the edit; the first is empty.
    pub(crate) templates: &'a [String],
    /// Earlier edits, trained behind nothing.
    pub(crate) rehearsed: &'a [&'a Edit],
    pub(crate) negatives: &'a [Negative],
}

/// Sequences packed for training.
///
/// Losses are weighted sums: a row's routing activation is `votes` times the distances of all tokens, the
/// edit loss `label_weights` times the negative log-likelihood of the labels.
#[derive(Debug)]
pub(crate) struct TrainingRows {
    /// The edit behind each template, then the rehearsed edits; last an isolated padding token, where padding
    /// counts.
    pub(crate) rows: Vec<Row>,
    /// Packed tokens whose logits predict a label.
    pub(crate) label_at: Vec<usize>,
    pub(crate) labels: Vec<u32>,
    pub(crate) label_weights: Vec<f32>,
    /// Rows of the edit itself.
    pub(crate) own: usize,
    /// Per edit row, rehearsed ones included: share of each token in its activation, over edit tokens then negative tokens.
    edit_votes: Vec<Vec<f32>>,
    /// The same per negative.
    negative_votes: Vec<Vec<f32>>,
}

/// A negative's row and the tokens that vote on its route.
#[derive(Debug, Clone)]
pub(crate) struct Negative {
    pub(crate) row: Row,
    pub(crate) scope: std::ops::Range<usize>,
}

impl Negative {
    pub(crate) fn new(
        model: &Model,
        format: PromptFormat,
        compat: Compatibility,
        text: &str,
    ) -> Result<Self> {
        // The reference never puts its locality text into a chat template.
        let format = if compat.is_easyedit() {
            PromptFormat::Raw
        } else {
            format
        };
        let prompt = model.prompt(format, "", text)?;
        let scope = if compat.routes_by_prompt() {
            prompt.scope
        } else {
            0..prompt.tokens.len()
        };
        Ok(Self {
            row: prompt.tokens.into(),
            scope,
        })
    }
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
        let answered = own
            .map(|before| (before.as_str(), edit))
            .chain(lesson.rehearsed.iter().map(|earlier| ("", *earlier)))
            .map(|(before, edit)| model.answered(format, before, &edit.prompt, &edit.target))
            .collect::<Result<Vec<_>, _>>()?;
        let eos = if compat.learns_to_stop() {
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
        let rows = if compat.is_easyedit() {
            Self::left_padded(&answered, lesson.negatives, model.eos()[0])
        } else {
            Self::packed(&answered, lesson.negatives, eos, compat)
        };
        Ok(Self {
            own: lesson.templates.len(),
            ..rows
        })
    }

    fn packed(
        answered: &[Answered],
        negatives: &[Negative],
        eos: Option<u32>,
        compat: Compatibility,
    ) -> Self {
        let mut rows = Builder::new(answered.len());
        for a in answered {
            let tokens: Vec<u32> = a.tokens.iter().copied().chain(eos).collect();
            let scope = if compat.routes_by_prompt() {
                a.prompt.scope.clone()
            } else {
                0..tokens.len()
            };
            let share = 1.0 / scope.len() as f32;
            let labels = a.answer().start..tokens.len();
            let count = labels.len();
            let start = rows.push(tokens);
            rows.vote(scope.map(|t| (start + t, share)));
            for t in labels {
                rows.label(start + t - 1, start + t, count);
            }
        }
        for negative in negatives {
            let start = rows.push(negative.row.tokens.clone());
            let share = 1.0 / negative.scope.len() as f32;
            rows.vote(negative.scope.clone().map(|t| (start + t, share)));
        }
        rows.finish(answered.len())
    }

    /// What the reference implementation's batch computes: rows padded on the left to the longest, padding
    /// counted in every mean, labels in the columns past the longest prompt and never the padding token.
    fn left_padded(answered: &[Answered], negatives: &[Negative], padding: u32) -> Self {
        let lengths = answered.iter().map(|a| a.tokens.len());
        let negative_lengths = negatives.iter().map(|n| n.row.tokens.len());
        let width = lengths.chain(negative_lengths).max().unwrap_or(0);
        let prompts = answered.iter().map(|a| a.prompt.tokens.len());
        let first_label = prompts.max().unwrap_or(0);

        let mut rows = Builder::new(answered.len());
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
                rows.label(before, start + t, labels.len() + 1);
            }
        }
        for negative in negatives {
            let length = negative.row.tokens.len();
            let start = rows.push(negative.row.tokens.clone());
            rows.vote_with_padding(start, length, pad, width);
        }
        rows.finish(answered.len())
    }

    /// Packed edit tokens, the padding token included; negatives follow them.
    pub(crate) fn edit_tokens(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).sum()
    }

    pub(crate) fn edit_votes(&self, device: &Device) -> Tensor<2> {
        matrix(&self.edit_votes, device)
    }

    pub(crate) fn negative_votes(&self, device: &Device) -> Tensor<2> {
        matrix(&self.negative_votes, device)
    }

    pub(crate) fn labels(&self, device: &Device) -> Tensor<1, Int> {
        let ids: Vec<i32> = self.labels.iter().map(|&id| id as i32).collect();
        Tensor::from_data(TensorData::new(ids, [self.labels.len()]), device)
    }

    pub(crate) fn label_weights(&self, device: &Device) -> Tensor<1> {
        let weights = self.label_weights.clone();
        Tensor::from_data(TensorData::new(weights, [self.labels.len()]), device)
    }
}

fn matrix(rows: &[Vec<f32>], device: &Device) -> Tensor<2> {
    let width = rows.first().map_or(0, Vec::len);
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), width]), device)
}

/// Packs rows and collects votes and labels; negatives are packed last and dropped from the edit rows.
struct Builder {
    rows: Vec<Row>,
    tokens: Vec<u32>,
    votes: Vec<Vec<(usize, f32)>>,
    label_at: Vec<usize>,
    labels: Vec<u32>,
    label_weights: Vec<f32>,
    edits: usize,
}

impl Builder {
    fn new(edits: usize) -> Self {
        Self {
            rows: Vec::new(),
            tokens: Vec::new(),
            votes: Vec::new(),
            label_at: Vec::new(),
            labels: Vec::new(),
            label_weights: Vec::new(),
            edits,
        }
    }

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
        self.label_weights.push(1.0 / (divisor * self.edits) as f32);
    }

    fn finish(mut self, edits: usize) -> TrainingRows {
        let width = self.tokens.len();
        let negatives = self.votes.len() - edits;
        self.rows.truncate(self.rows.len() - negatives);
        let dense = |votes: &Vec<(usize, f32)>| {
            let mut row = vec![0.0; width];
            for &(token, share) in votes {
                row[token] += share;
            }
            row
        };
        TrainingRows {
            own: edits,
            rows: self.rows,
            label_at: self.label_at,
            labels: self.labels,
            label_weights: self.label_weights,
            edit_votes: self.votes[..edits].iter().map(dense).collect(),
            negative_votes: self.votes[edits..].iter().map(dense).collect(),
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

    fn negative(tokens: &[u32]) -> Negative {
        Negative {
            row: tokens.to_vec().into(),
            scope: 0..tokens.len(),
        }
    }

    const EOS: u32 = 2;

    #[test]
    fn the_end_of_sequence_token_is_a_label_even_though_it_pads() {
        let edit = [
            answered(&[10, 11], &[12, 13]),
            answered(&[9, 10, 11], &[12, 13]),
        ];
        let rows = TrainingRows::packed(&edit, &[negative(&[7])], Some(EOS), Compatibility::Wise);
        assert_eq!(rows.labels, [12, 13, EOS, 12, 13, EOS]);
        assert_eq!(rows.label_at, [1, 2, 3, 7, 8, 9]);
        assert!(rows.label_weights.iter().all(|&w| w == 1.0 / 6.0));
    }

    #[test]
    fn only_the_prompt_votes_and_every_row_votes_once() {
        let edit = [answered(&[10, 11], &[12])];
        let rows =
            TrainingRows::packed(&edit, &[negative(&[7, 8])], Some(EOS), Compatibility::Wise);
        assert_eq!(rows.edit_votes, [[0.5, 0.5, 0.0, 0.0, 0.0, 0.0]]);
        assert_eq!(rows.negative_votes, [[0.0, 0.0, 0.0, 0.0, 0.5, 0.5]]);
        assert_eq!(rows.edit_tokens(), 4);
        let paper = TrainingRows::packed(&edit, &[], None, Compatibility::Paper);
        assert_eq!(paper.edit_votes, [[1.0 / 3.0; 3]]);
        assert_eq!(paper.labels, [12]);
    }

    #[test]
    fn the_reference_counts_padding_and_one_label_too_many() {
        let edit = [answered(&[10], &[12]), answered(&[9, 10], &[12])];
        let rows = TrainingRows::left_padded(&edit, &[negative(&[7])], EOS);
        // Packed: 10 12 | 9 10 12 | pad | 7, width 3.
        let third = 1.0 / 3.0;
        assert_eq!(
            rows.edit_votes[0],
            [third, third, 0.0, 0.0, 0.0, third, 0.0]
        );
        assert_eq!(
            rows.edit_votes[1],
            [0.0, 0.0, third, third, third, 0.0, 0.0]
        );
        assert_eq!(
            rows.negative_votes[0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 2.0 * third, third]
        );
        assert_eq!(rows.labels, [12, 12]);
        assert!(rows.label_weights.iter().all(|&w| w == 0.25));
        assert!(rows.rows[2].isolated);
    }

    #[test]
    fn in_the_reference_a_long_locality_row_makes_prompt_tokens_labels() {
        let edit = [answered(&[10, 11], &[12])];
        let rows = TrainingRows::left_padded(&edit, &[negative(&[7; 5])], EOS);
        // Width 5, labels from column 2 on: the whole row, the first predicted from padding.
        assert_eq!(rows.labels, [10, 11, 12]);
        assert_eq!(rows.label_at, [3, 0, 1]);
        assert!(rows.label_weights.iter().all(|&w| w == 0.25));
    }

    #[test]
    fn in_the_reference_the_padding_token_is_never_a_label() {
        let edit = [answered(&[10], &[12, EOS])];
        let rows = TrainingRows::left_padded(&edit, &[], EOS);
        assert_eq!(rows.labels, [12]);
    }
}
