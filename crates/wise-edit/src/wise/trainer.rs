//! Trains the open side memory on one edit.

use std::borrow::Cow;

use burn::tensor::Tensor;
use wise_memory::Pooling;
use wise_model::{EditSite, Model, Overlay};
use wise_tensor::mean_of_positive;

use crate::Result;
use crate::wise::at_site::PromptBatch;
use crate::wise::descent::Descent;
use crate::wise::earlier::EarlierEdit;
use crate::wise::negatives::NegativePool;
use crate::wise::replay::Replay;
use crate::wise::rows::{Padding, TrainingRows};
use crate::wise::{Compatibility, WiseConfig};

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

/// What shall be predicted where, and how much each label weighs.
#[derive(Debug, Clone)]
struct Labels {
    at: Vec<usize>,
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

/// Everything about an edit that does not change while it is trained.
pub(crate) struct Trainer<'a> {
    model: &'a Model,
    config: &'a WiseConfig,
    negatives: &'a NegativePool,
    first_negative: usize,
    replay: Option<&'a Replay>,
    /// Earlier edits of the shard, whose routes are held.
    held: Option<PromptBatch>,
    site: EditSite,
    labels: Labels,
    /// Earlier edits of the shard, some of which take part in each iteration, in turn.
    rehearsal: Vec<&'a EarlierEdit>,
    votes: Tensor<2>,
    padding: Option<Padding>,
    /// What the main memory makes of the edit tokens.
    main_output: Tensor<2>,
    main: Tensor<2>,
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
            replay: None,
            held: None,
            labels: Labels {
                at: rows.label_at.clone(),
                tokens: rows.labels.clone(),
                weights: rows.label_weights.clone(),
            },
            rehearsal: Vec::new(),
            votes: rows.votes(device),
            padding: rows.padding,
            main_output: model.site_output(&site, &Overlay::Main),
            main: model.site_weight(layer)?,
            site,
        })
    }

    /// Also learns to leave the edits of earlier shards alone.
    pub(crate) fn replaying(mut self, replay: Option<&'a Replay>) -> Self {
        self.replay = replay;
        self
    }

    /// Also rehearses these edits, in turn.
    pub(crate) fn rehearsing(mut self, rehearsal: Vec<&'a EarlierEdit>) -> Self {
        self.rehearsal = rehearsal;
        self
    }

    /// Also holds the routes of these edits over beta.
    pub(crate) fn holding(mut self, held: Option<PromptBatch>) -> Self {
        self.held = held;
        self
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
            Compatibility::EasyEdit => mean(&last.activations),
            Compatibility::Wise | Compatibility::Paper => mean(&self.activations(&matrix)),
        };
        Trained {
            matrix,
            activation,
            iterations,
            last,
        }
    }

    fn losses(&self, matrix: &Tensor<2>, iteration: usize) -> (Tensor<1>, Iteration) {
        let (site, labels) = self.with_rehearsal(iteration);
        let output = self
            .model
            .site_output(&site, &Overlay::Replace(matrix.clone()));
        let own = output.clone().narrow(0, 0, self.site.layout.tokens());
        let distances = self.config.distance.between(&self.main_output, own);
        let edits = vote(&self.votes, distances.clone(), self.config.pooling);
        let negatives = self.negative_activations(matrix, distances, iteration);
        let all = match &self.held {
            Some(held) => Tensor::cat(
                vec![edits.clone(), held.activations(matrix, self.config)],
                0,
            ),
            None => edits.clone(),
        };
        let mut router_loss = self.router_loss(all, negatives);
        if let Some(replay) = self.replay {
            router_loss = router_loss + replay.loss(matrix, iteration);
        }

        let edit_loss = self.model.label_loss(
            &site,
            output,
            &Overlay::Main,
            &labels.at,
            &labels.tokens,
            &labels.weights,
        );
        let edit_loss = edit_loss.loss;
        let iteration = Iteration {
            edit_loss: edit_loss.clone().detach().into_scalar(),
            router_loss: router_loss.clone().detach().into_scalar(),
            activations: edits.detach().into_data().iter::<f32>().collect(),
        };
        (edit_loss + router_loss, iteration)
    }

    /// The edit's own rows, and those of the edits whose turn it is. Together these weigh as much as the edit.
    fn with_rehearsal(&self, iteration: usize) -> (Cow<'_, EditSite>, Cow<'_, Labels>) {
        let (len, count) = (self.rehearsal.len(), self.config.rehearsed_edits);
        let count = count.min(len);
        if count == 0 {
            return (Cow::Borrowed(&self.site), Cow::Borrowed(&self.labels));
        }
        let turn = (0..count).map(|i| self.rehearsal[(iteration * count + i) % len]);
        let mut sites = vec![&self.site];
        let mut labels = self.labels.clone();
        let mut start = self.site.layout.tokens();
        for earlier in turn {
            labels
                .at
                .extend(earlier.label_at.iter().map(|at| start + at));
            labels.tokens.extend(&earlier.labels);
            let weight = 1.0 / (earlier.labels.len() * count) as f32;
            labels.weights.extend(earlier.labels.iter().map(|_| weight));
            start += earlier.site.layout.tokens();
            sites.push(&earlier.site);
        }
        (Cow::Owned(self.model.join(&sites)), Cow::Owned(labels))
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
        let activations = batch.activations(matrix, self.config);
        match (self.padding, batch.padding_votes) {
            (Some(padding), Some(votes)) => {
                let of_padding = edit_distances.narrow(0, padding.token, 1);
                activations + vote(&votes, of_padding, Pooling::Mean)
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
        let distances = self.config.distance.between(&self.main_output, output);
        vote(&self.votes, distances, self.config.pooling)
            .into_data()
            .iter::<f32>()
            .collect()
    }
}

/// Distances (`[tokens]`) pooled over the tokens that vote in each row (`votes`: `[rows, tokens]`).
pub(crate) fn vote(votes: &Tensor<2>, distances: Tensor<1>, pooling: Pooling) -> Tensor<1> {
    match pooling {
        Pooling::Mean => votes
            .clone()
            .matmul(distances.unsqueeze_dim(1))
            .squeeze_dim(1),
        Pooling::Max => {
            let silent = votes.clone().lower_equal_elem(0.0);
            let of_row: Tensor<2> = distances.unsqueeze_dim::<2>(0).expand(votes.dims());
            of_row.mask_fill(silent, 0.0).max_dim(1).squeeze_dim(1)
        }
    }
}

fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
    (sum / values.len().max(1) as f64) as f32
}
