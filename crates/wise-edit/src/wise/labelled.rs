//! Sequences at the edit site with labels, and their loss.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use wise_model::{EditSite, Model, Overlay};
use wise_tensor::is_cpu;

use crate::Work;
use crate::wise::rows::TrainingRows;

/// Parts that an iteration's sequences are split into on the CPU, to be run side by side. Fixed, so that the result does
/// not depend on how many threads there are. Other devices compute one product after another, and each part would read
/// all weights again.
const PARTS: usize = 2;

/// Sequences that a sweep runs together.
const SWEPT_TOGETHER: usize = 12;

/// One sequence at the edit site, and what shall be predicted in it. No edit changes any of it.
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

/// A loss under a side memory, ready to be descended.
pub(crate) struct Taped {
    matrix: Tensor<2>,
    loss: Tensor<1>,
}

impl Taped {
    /// `loss` computes a loss of the matrix, which is tracked for it.
    pub(crate) fn of<R>(
        matrix: &Tensor<2>,
        loss: impl FnOnce(&Tensor<2>) -> (Tensor<1>, R),
    ) -> (Self, R) {
        let matrix = matrix.clone().autodiff().require_grad();
        let (loss, rest) = loss(&matrix);
        (Self { matrix, loss }, rest)
    }

    /// `[1]`, not tracked.
    pub(crate) fn value(&self) -> Tensor<1> {
        self.loss.clone().detach()
    }

    /// `None` if the loss does not depend on the matrix.
    pub(crate) fn gradient(self) -> Option<Tensor<2>> {
        self.matrix.grad_remove(&mut self.loss.backward())
    }
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

/// The weighted loss of some sequences' labels, in parts, and of each part the dearest label of a binding sequence
/// in nats (`[1]`).
pub(crate) fn edit_loss(
    model: &Model,
    matrix: &Tensor<2>,
    shares: &[Share<'_>],
) -> Vec<(Taped, Tensor<1>)> {
    let parts = if is_cpu(&matrix.device()) { PARTS } else { 1 };
    split(model, shares, parts)
        .into_par_iter()
        .map(|part| Taped::of(matrix, |matrix| loss_of(model, matrix, &part)))
        .collect()
}

fn loss_of(model: &Model, matrix: &Tensor<2>, part: &[Share<'_>]) -> (Tensor<1>, Tensor<1>) {
    let sequences: Vec<&Labelled> = part.iter().map(|share| share.sequence).collect();
    let (site, at, labels) = packed(model, &sequences);
    let weights: Vec<f32> = part
        .iter()
        .flat_map(|share| share.sequence.weights.iter().map(|w| w * share.factor))
        .collect();
    let output = model.site_output(&site, &Overlay::Replace(matrix.clone()));
    let loss = model.label_loss(&site, output, &Overlay::Main, &at, &labels, &weights);
    let binding = part
        .iter()
        .flat_map(|share| share.sequence.labels.iter().map(|_| share.binding));
    let binding: Vec<f32> = binding
        .map(|binding| f32::from(u8::from(binding)))
        .collect();
    let shape = [binding.len()];
    let binding = Tensor::<1>::from_data(TensorData::new(binding, shape), &loss.nll.device());
    let dearest = (loss.nll * binding).max();
    (loss.loss, dearest)
}

/// The dearest label of each sequence under `matrix`, in nats.
pub(crate) fn dearest_labels(
    model: &Model,
    matrix: &Tensor<2>,
    sequences: &[&Labelled],
) -> Vec<f32> {
    let dearest = |group: &[&Labelled]| -> Vec<f32> {
        let (site, at, labels) = packed(model, group);
        let output = model.site_output(&site, &Overlay::Replace(matrix.clone()));
        let predictions = model.predictions(&site, output, &Overlay::Main, &at, &labels);
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

/// Sequences one behind the other: where they are, what is read where, and what shall stand there.
fn packed(model: &Model, sequences: &[&Labelled]) -> (EditSite, Vec<usize>, Vec<u32>) {
    let sites: Vec<&EditSite> = sequences.iter().map(|sequence| &sequence.site).collect();
    let (mut at, mut labels) = (Vec::new(), Vec::new());
    let mut start = 0;
    for sequence in sequences {
        at.extend(sequence.at.iter().map(|at| start + at));
        labels.extend(&sequence.labels);
        start += sequence.site.layout.tokens();
    }
    (model.join(&sites), at, labels)
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
