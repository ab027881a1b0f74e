//! Sequences at the edit site with labels, and their loss.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use wise_model::{EditSite, Model, Overlay};
use wise_tensor::{LabelLoss, is_cpu};

use crate::Work;
use crate::wise::rows::TrainingRows;

/// Parts that an iteration's sequences are split into on the CPU, to be run side by side. Fixed, so that the result does
/// not depend on how many threads there are. Other devices compute one product after another, and each part would read
/// all weights again.
const PARTS: usize = 2;

/// Sequences that a sweep runs together.
const SWEPT_TOGETHER: usize = 12;

/// A sequence at the edit site, or several one behind the other, and what shall be predicted there. No edit changes any of
/// it.
#[derive(Debug)]
pub(crate) struct Labelled {
    site: EditSite,
    /// The tokens whose logits predict a label.
    at: Vec<usize>,
    labels: Vec<u32>,
    weights: Vec<f32>,
}

impl Labelled {
    /// The sequences of `rows` that have labels; `site` is where all of them are.
    pub(crate) fn rows(model: &Model, site: &EditSite, rows: &TrainingRows) -> Vec<Self> {
        let one = |(index, row): (usize, &std::ops::Range<usize>)| {
            let chosen: Vec<usize> = (0..rows.labels.len())
                .filter(|&label| row.contains(&rows.label_at[label]))
                .collect();
            (!chosen.is_empty()).then(|| Self {
                site: model.row(site, index),
                at: chosen
                    .iter()
                    .map(|&l| rows.label_at[l] - row.start)
                    .collect(),
                labels: chosen.iter().map(|&l| rows.labels[l]).collect(),
                weights: chosen.iter().map(|&l| rows.label_weights[l]).collect(),
            })
        };
        site.layout
            .rows()
            .iter()
            .enumerate()
            .filter_map(one)
            .collect()
    }

    /// The edit's sequence behind nothing, and those of its subject prompts, each as if it were the only one: its labels
    /// weigh as much as those of all.
    pub(crate) fn each_alone(
        model: &Model,
        site: &EditSite,
        rows: &TrainingRows,
    ) -> Option<(Self, Vec<Self>)> {
        let mut all = Self::rows(model, site, rows);
        let sequences = all.len() as f32;
        for weight in all.iter_mut().flat_map(|row| &mut row.weights) {
            *weight *= sequences;
        }
        let of_subject = all.split_off(rows.templates.min(all.len()));
        Some((all.into_iter().next()?, of_subject))
    }

    /// Several, one behind the other; there must be one at least.
    fn join(model: &Model, sequences: &[&Self]) -> Self {
        let sites: Vec<&EditSite> = sequences.iter().map(|sequence| &sequence.site).collect();
        let (mut at, mut labels, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for sequence in sequences {
            at.extend(sequence.at.iter().map(|at| start + at));
            labels.extend(&sequence.labels);
            weights.extend(&sequence.weights);
            start += sequence.site.layout.tokens();
        }
        Self {
            site: model.join(&sites),
            at,
            labels,
            weights,
        }
    }

    /// What a side memory puts out at its tokens.
    fn output(&self, model: &Model, matrix: &Tensor<2>) -> Tensor<2> {
        model.site_output(&self.site, &Overlay::Replace(matrix.clone()))
    }

    /// The weighted loss of its labels, given what a side memory puts out.
    fn loss(&self, model: &Model, output: Tensor<2>) -> LabelLoss {
        let (at, labels, weights) = (&self.at, &self.labels, &self.weights);
        model.label_loss(&self.site, output, &Overlay::Main, at, labels, weights)
    }

    /// What an iteration does with it, forward and backward.
    pub(crate) fn work(&self, model: &Model) -> Work {
        let config = model.config();
        let (tokens, labels) = (self.site.layout.tokens() as u64, self.labels.len() as u64);
        let above = config.layers - self.site.layer - 1;
        // In the last layer only labels go further than to their keys and values.
        let last = above.min(1) as u64;
        let (layer, keys) = (config.layer_flops(), config.key_value_flops());
        let forward = tokens * config.site_flops()
            + tokens * (above as u64 - last) * layer
            + last * (tokens * keys + labels * (layer - keys))
            + labels * config.head_flops();
        Work {
            row_tokens: tokens,
            flops: 2 * forward,
        }
    }
}

/// A loss under a side memory.
pub(crate) struct Loss {
    /// `[1]`, not tracked.
    pub(crate) value: Tensor<1>,
    gradient: Box<dyn FnOnce() -> Option<Tensor<2>> + Send>,
}

impl Loss {
    /// `loss` computes a loss of the matrix, which is tracked for it.
    pub(crate) fn taped<R>(
        matrix: &Tensor<2>,
        loss: impl FnOnce(&Tensor<2>) -> (Tensor<1>, R),
    ) -> (Self, R) {
        let matrix = matrix.clone().autodiff().require_grad();
        let (loss, rest) = loss(&matrix);
        let value = loss.clone().detach();
        let gradient = Box::new(move || matrix.grad_remove(&mut loss.backward()));
        (Self { value, gradient }, rest)
    }

    /// `None` if the loss does not depend on the matrix.
    pub(crate) fn gradient(self) -> Option<Tensor<2>> {
        (self.gradient)()
    }
}

/// The weighted loss of the labels of some sequences.
pub(crate) struct EditLoss {
    pub(crate) loss: Loss,
    /// The dearest label of a binding sequence, in nats, `[1]`.
    pub(crate) dearest_label: Tensor<1>,
}

/// A sequence's part in a loss.
#[derive(Clone, Copy)]
pub(crate) struct Share<'a> {
    pub(crate) sequence: &'a Labelled,
    /// What its weights are multiplied by.
    pub(crate) factor: f32,
    /// Whether training goes on until its labels are learnt.
    pub(crate) binding: bool,
}

/// Sequences that an iteration trains a memory on.
pub(crate) struct Packed {
    sequences: Labelled,
    /// Of each label, 0 or 1.
    binding: Vec<f32>,
}

impl Packed {
    pub(crate) fn new(model: &Model, shares: &[Share<'_>]) -> Self {
        let sequences: Vec<&Labelled> = shares.iter().map(|share| share.sequence).collect();
        let mut sequences = Labelled::join(model, &sequences);
        let (mut weights, mut binding) = (Vec::new(), Vec::new());
        for share in shares {
            weights.extend(share.sequence.weights.iter().map(|w| w * share.factor));
            binding.resize(weights.len(), f32::from(u8::from(share.binding)));
        }
        sequences.weights = weights;
        Self { sequences, binding }
    }

    /// Of each label's negative log-likelihood.
    fn dearest(&self, nll: Tensor<1>) -> Tensor<1> {
        let binding = vector(&self.binding, &nll);
        (nll * binding).max()
    }
}

/// The loss of some sequences in parts.
pub(crate) fn edit_loss(model: &Model, matrix: &Tensor<2>, shares: &[Share<'_>]) -> Vec<EditLoss> {
    let parts = if is_cpu(&matrix.device()) { PARTS } else { 1 };
    let of_part = |part: Vec<Share<'_>>| {
        let part = Packed::new(model, &part);
        let (loss, dearest_label) = Loss::taped(matrix, |matrix| {
            let output = part.sequences.output(model, matrix);
            let LabelLoss { loss, nll } = part.sequences.loss(model, output);
            (loss, part.dearest(nll))
        });
        EditLoss {
            loss,
            dearest_label,
        }
    };
    split(model, shares, parts)
        .into_par_iter()
        .map(of_part)
        .collect()
}

/// The losses of several memories in one pass through the layers above them, each of its own matrix and sequences.
pub(crate) fn descend_together(model: &Model, memories: &[&(Tensor<2>, Packed)]) -> Vec<EditLoss> {
    let (matrices, parts): (Vec<Tensor<2>>, Vec<&Packed>) = memories
        .iter()
        .map(|(matrix, part)| (matrix.clone().autodiff().require_grad(), part))
        .unzip();
    let output = |(matrix, part): (&Tensor<2>, &&Packed)| part.sequences.output(model, matrix);
    let output = Tensor::cat(matrices.iter().zip(&parts).map(output).collect(), 0);
    let sequences: Vec<&Labelled> = parts.iter().map(|part| &part.sequences).collect();
    let LabelLoss { loss, nll } = Labelled::join(model, &sequences).loss(model, output);
    // A memory's sequences depend on its own matrix alone, so the sum's gradients are those of each loss.
    let mut gradients = loss.backward();
    let mut first = 0;
    let of_memory = |(matrix, part): (&Tensor<2>, &Packed)| {
        let weights = &part.sequences.weights;
        let own = nll.clone().narrow(0, first, weights.len());
        first += weights.len();
        let gradient = matrix.grad_remove(&mut gradients);
        EditLoss {
            loss: Loss {
                value: (own.clone() * vector(weights, &own)).sum(),
                gradient: Box::new(|| gradient),
            },
            dearest_label: part.dearest(own),
        }
    };
    matrices.iter().zip(parts).map(of_memory).collect()
}

/// Values where `beside` is, `[values]`.
fn vector(values: &[f32], beside: &Tensor<1>) -> Tensor<1> {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    Tensor::from_data(data, &beside.device())
}

/// The dearest label of each sequence under `matrix`, in nats.
pub(crate) fn dearest_labels(
    model: &Model,
    matrix: &Tensor<2>,
    sequences: &[&Labelled],
) -> Vec<f32> {
    let dearest = |group: &[&Labelled]| -> Vec<f32> {
        let all = Labelled::join(model, group);
        let (output, main) = (all.output(model, matrix), Overlay::Main);
        let predictions = model.predictions(&all.site, output, &main, &all.at, &all.labels);
        let mut nll = predictions.into_iter().map(|(_, nll)| nll);
        let largest = |sequence: &&Labelled| {
            let own = nll.by_ref().take(sequence.labels.len());
            own.fold(0.0, f32::max)
        };
        group.iter().map(largest).collect()
    };
    let groups = sequences.par_chunks(SWEPT_TOGETHER);
    groups.flat_map_iter(dearest).collect()
}

/// At most `most` parts of about equal cost; the dearest sequences are dealt first.
fn split<'a>(model: &Model, shares: &[Share<'a>], most: usize) -> Vec<Vec<Share<'a>>> {
    let mut parts = vec![(0, Vec::new()); most.min(shares.len())];
    let mut dealt: Vec<(u64, &Share<'a>)> = shares
        .iter()
        .map(|share| (share.sequence.work(model).flops, share))
        .collect();
    dealt.sort_by_key(|(flops, _)| std::cmp::Reverse(*flops));
    for (flops, share) in dealt {
        if let Some(part) = parts.iter_mut().min_by_key(|(total, _)| *total) {
            part.0 += flops;
            part.1.push(*share);
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}
