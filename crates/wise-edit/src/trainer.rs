//! Trains the open side memory on one edit.

use burn::tensor::{Int, Tensor};
use wise_memory::Distance;
use wise_model::{EditSite, Model, Overlay};
use wise_tensor::{label_nll, mean_of_positive};

use crate::descent::Descent;
use crate::negatives::NegativePool;
use crate::rows::{Padding, TrainingRows};
use crate::{Compatibility, Result, WiseConfig};

/// A loss that changes by no more than this no longer moves.
const STANDSTILL: f32 = 1e-4;

/// Losses of one iteration, before its step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Iteration {
    /// Mean negative log-likelihood of the target.
    pub(crate) edit_loss: f32,
    /// Sum of the three margin terms.
    pub(crate) router_loss: f32,
    /// Routing activation of every edit row.
    pub(crate) activations: Vec<f32>,
}

impl Iteration {
    pub(crate) fn loss(&self) -> f32 {
        self.edit_loss + self.router_loss
    }
}

/// The result of training one edit.
#[derive(Debug)]
pub(crate) struct Trained {
    pub(crate) matrix: Tensor<2>,
    /// Mean activation over the edit's own rows.
    pub(crate) activation: f32,
    pub(crate) iterations: usize,
    pub(crate) last: Iteration,
}

/// Everything about an edit that does not change while it is trained.
pub(crate) struct Trainer<'a> {
    model: &'a Model,
    config: &'a WiseConfig,
    negatives: &'a NegativePool,
    first_negative: usize,
    site: EditSite,
    label_at: Vec<usize>,
    labels: Tensor<1, Int>,
    label_weights: Tensor<1>,
    votes: Tensor<2>,
    padding: Option<Padding>,
    /// What the main memory makes of the edit tokens.
    main_output: Tensor<2>,
    main: Tensor<2>,
    distance: Distance,
    own_rows: usize,
}

impl<'a> Trainer<'a> {
    /// The negatives must have been prepared.
    pub(crate) fn new(
        model: &'a Model,
        config: &'a WiseConfig,
        rows: &TrainingRows,
        negatives: &'a NegativePool,
        first_negative: usize,
    ) -> Result<Self> {
        let layer = config.layer_for(model);
        let device = model.device();
        let site = model.prefix(&rows.rows, layer, None)?;
        Ok(Self {
            model,
            config,
            negatives,
            first_negative,
            label_at: rows.label_at.clone(),
            labels: rows.labels(device),
            label_weights: rows.label_weights(device),
            votes: rows.votes(device),
            padding: rows.padding,
            main_output: model.site_output(&site, &Overlay::Main),
            main: model.site_weight(layer)?,
            distance: config.compat.distance(),
            own_rows: rows.own,
            site,
        })
    }

    /// Gradient descent on the sum of edit loss and router loss, inside `mask` (`[hidden, ffn]`, 0 or 1).
    pub(crate) fn train(
        &self,
        mut matrix: Tensor<2>,
        mask: &Tensor<2>,
        observe: &mut dyn FnMut(usize, &Iteration),
    ) -> Trained {
        let config = self.config;
        let mut descent = Descent::new(config, self.main.clone(), mask);
        let (mut before, mut loss) = (0.0_f32, 1e9_f32);
        let mut iterations = 0;
        let last = loop {
            let tracked = matrix.clone().autodiff().require_grad();
            let (total, iteration) = self.losses(&tracked, iterations);
            let settled = match config.compat {
                Compatibility::Wise => iteration.loss() <= config.stop_loss as f32,
                // Decided on the two losses before, as the reference does.
                Compatibility::Paper | Compatibility::EasyEdit => {
                    (loss - before).abs() <= STANDSTILL && loss <= config.stop_loss as f32
                }
            };
            if settled || !iteration.loss().is_finite() {
                break iteration;
            }
            observe(iterations, &iteration);
            (before, loss) = (loss, iteration.loss());
            if let Some(gradient) = tracked.grad_remove(&mut total.backward()) {
                matrix = descent.step(matrix, gradient);
            }
            iterations += 1;
            if iterations == config.n_iter {
                break iteration;
            }
        };
        // The reference records the activation before its last step.
        let activation = match config.compat {
            Compatibility::EasyEdit => mean(&last.activations[..self.own_rows]),
            Compatibility::Wise | Compatibility::Paper => {
                mean(&self.activations(&matrix)[..self.own_rows])
            }
        };
        Trained {
            matrix,
            activation,
            iterations,
            last,
        }
    }

    fn losses(&self, matrix: &Tensor<2>, iteration: usize) -> (Tensor<1>, Iteration) {
        let output = self.output(matrix);
        let distances = self.distance.between(&self.main_output, output.clone());
        let edits = vote(&self.votes, distances.clone());
        let negatives = self.negative_activations(matrix, distances, iteration);
        let router_loss = self.router_loss(edits.clone(), negatives);

        let logits = self.model.suffix(&self.site, output, &self.label_at, None);
        let nll = label_nll(logits, self.labels.clone());
        let edit_loss = (nll * self.label_weights.clone()).sum();
        let iteration = Iteration {
            edit_loss: edit_loss.clone().detach().into_scalar(),
            router_loss: router_loss.clone().detach().into_scalar(),
            activations: edits.detach().into_data().iter::<f32>().collect(),
        };
        (edit_loss + router_loss, iteration)
    }

    /// `edit_distances` has the padding token's, where padding counts.
    fn negative_activations(
        &self,
        matrix: &Tensor<2>,
        edit_distances: Tensor<1>,
        iteration: usize,
    ) -> Tensor<1> {
        let batch = self
            .negatives
            .batch(self.first_negative, iteration, self.config, self.padding);
        let output = batch.inputs.matmul(matrix.clone().transpose());
        let activations = vote(
            &batch.votes,
            self.distance.between(&batch.main_output, output),
        );
        match (self.padding, batch.padding_votes) {
            (Some(padding), Some(votes)) => {
                let of_padding = edit_distances.narrow(0, padding.token, 1);
                activations + vote(&votes, of_padding)
            }
            _ => activations,
        }
    }

    /// Equation 5 of the paper, each hinge averaged over the rows that violate it.
    fn router_loss(&self, edits: Tensor<1>, negatives: Tensor<1>) -> Tensor<1> {
        let [alpha, beta, gamma] = self.config.act_margin;
        let (e, n) = (edits.dims()[0], negatives.dims()[0]);
        let gaps = negatives.clone().unsqueeze_dim::<2>(0).expand([e, n])
            - edits.clone().unsqueeze_dim::<2>(1).expand([e, n]);
        mean_of_positive(gaps.reshape([e * n]) + gamma)
            + mean_of_positive(negatives - alpha)
            + mean_of_positive(edits.neg() + beta)
    }

    /// What the side memory makes of the edit tokens, `[tokens, hidden]`.
    fn output(&self, matrix: &Tensor<2>) -> Tensor<2> {
        let overlay = Overlay::Replace(matrix.clone());
        self.model.site_output(&self.site, &overlay)
    }

    fn activations(&self, matrix: &Tensor<2>) -> Vec<f32> {
        let output = self.output(matrix);
        let distances = self.distance.between(&self.main_output, output);
        vote(&self.votes, distances)
            .into_data()
            .iter::<f32>()
            .collect()
    }
}

/// `[rows, tokens]` times `[tokens]`.
fn vote(votes: &Tensor<2>, distances: Tensor<1>) -> Tensor<1> {
    votes
        .clone()
        .matmul(distances.unsqueeze_dim(1))
        .squeeze_dim(1)
}

fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
    (sum / values.len().max(1) as f64) as f32
}
