//! Trains the open side memory on one edit.

use burn::tensor::Tensor;
use rayon::prelude::*;
use wise_memory::Pooling;
use wise_model::{EditSite, Model, Overlay};
use wise_tensor::{mean_of_positive, no_longer_than, steps_between_reads};

use crate::wise::at_site::{PromptAtSite, PromptBatch};
use crate::wise::descent::Descent;
use crate::wise::earlier::Rehearsal;
use crate::wise::labelled::{Labelled, Loss, Packed, Share, dearest_labels, edit_loss};
use crate::wise::lockstep::Lane;
use crate::wise::negatives::NegativePool;
use crate::wise::replay::Replay;
use crate::wise::rows::{Padding, TrainingRows};
use crate::wise::{Compatibility, RouteBy, StopRule, WiseConfig};
use crate::{Result, Work};

/// A loss that changes by no more than this no longer moves.
const STANDSTILL: f32 = 1e-4;

/// Losses of one iteration, before its step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Iteration {
    /// Mean negative log-likelihood of the target.
    pub(crate) edit_loss: f32,
    /// Sum of the three margin terms; 0 where keys decide on routes.
    pub(crate) router_loss: f32,
    /// Routing activation of every edit row; none where keys decide on routes.
    pub(crate) activations: Vec<f32>,
    /// Negative log-likelihood of the edit's dearest label.
    pub(crate) dearest_label: f32,
    pub(crate) work: Work,
}

impl Iteration {
    pub(crate) fn loss(&self) -> f32 {
        self.edit_loss + self.router_loss
    }
}

/// Losses of one iteration that are still on the device.
struct Unread {
    /// Edit loss and dearest label of each part, then the router loss and activations, if any.
    values: Tensor<1>,
    parts: usize,
    work: Work,
}

impl Unread {
    /// All at once: a device is waited for once.
    fn read(unread: Vec<Self>) -> Vec<Iteration> {
        if unread.is_empty() {
            return Vec::new();
        }
        let counts: Vec<usize> = unread.iter().map(|u| u.values.dims()[0]).collect();
        let values = unread.iter().map(|u| u.values.clone()).collect();
        let values = Tensor::cat(values, 0).into_data();
        let mut values = values.iter::<f32>();
        let of_iteration = |(unread, count): (Self, usize)| {
            let own: Vec<f32> = values.by_ref().take(count).collect();
            let (edit, rest) = own.split_at(unread.parts);
            let (dearest, router) = rest.split_at(unread.parts);
            Iteration {
                edit_loss: edit.iter().sum(),
                router_loss: router.first().copied().unwrap_or_default(),
                activations: router.get(1..).unwrap_or_default().to_vec(),
                dearest_label: dearest.iter().copied().fold(0.0, f32::max),
                work: unread.work,
            }
        };
        unread.into_iter().zip(counts).map(of_iteration).collect()
    }
}

/// What has been told of the iterations so far.
struct Told<'a> {
    observe: &'a mut dyn FnMut(usize, &Iteration),
    count: usize,
    /// Losses of the last two.
    before: [f32; 2],
}

impl Told<'_> {
    fn tell(&mut self, iteration: &Iteration) {
        (self.observe)(self.count, iteration);
        self.count += 1;
        self.before = [self.before[1], iteration.loss()];
    }

    /// Ends at the first one that diverged, which it returns.
    fn tell_all(&mut self, iterations: Vec<Iteration>) -> Option<Iteration> {
        for iteration in iterations {
            if !iteration.loss().is_finite() {
                return Some(iteration);
            }
            self.tell(&iteration);
        }
        None
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
    replay: Option<&'a Replay>,
    /// Earlier edits of the shard, whose routes are held.
    held: Option<PromptBatch>,
    site: EditSite,
    own: Vec<Labelled>,
    /// Near misses of the edit.
    near_misses: &'a [PromptAtSite],
    /// Neighbours of earlier edits, some of which take part in each iteration, in turn.
    earlier_near_misses: Vec<&'a PromptAtSite>,
    /// Earlier edits of the shard, some of which take part in each iteration, in turn.
    rehearsal: Rehearsal<'a>,
    /// Where shards train in lockstep.
    lane: Option<&'a Lane<'a>>,
    votes: Tensor<2>,
    padding: Option<Padding>,
    /// What the main memory makes of the edit tokens.
    main_output: Tensor<2>,
    main: Tensor<2>,
    /// Iterations whose losses are read together.
    together: usize,
}

impl<'a> Trainer<'a> {
    /// `site` is where the rows are; the negatives must have been prepared.
    pub(crate) fn new(
        model: &'a Model,
        config: &'a WiseConfig,
        rows: &TrainingRows,
        site: EditSite,
        negatives: &'a NegativePool,
        first_negative: usize,
    ) -> Result<Self> {
        let device = model.device_of(site.layer)?;
        Ok(Self {
            model,
            config,
            negatives,
            first_negative,
            replay: None,
            held: None,
            near_misses: &[],
            earlier_near_misses: Vec::new(),
            own: Labelled::rows(model, &site, rows),
            rehearsal: Rehearsal::default(),
            lane: None,
            votes: rows.votes(device),
            padding: rows.padding,
            main_output: model.site_output(&site, &Overlay::Main),
            main: model.site_weight(site.layer)?,
            together: steps_between_reads(&site.inputs.device()),
            site,
        })
    }

    /// Also learns to leave the edits of earlier shards alone.
    pub(crate) fn replaying(mut self, replay: Option<&'a Replay>) -> Self {
        self.replay = replay;
        self
    }

    /// Also rehearses these edits, in turn.
    pub(crate) fn rehearsing(mut self, rehearsal: Rehearsal<'a>) -> Self {
        self.rehearsal = rehearsal;
        self
    }

    /// Also learns to leave these prompts alone, those of earlier edits in turn.
    pub(crate) fn avoiding(
        mut self,
        own: &'a [PromptAtSite],
        earlier: Vec<&'a PromptAtSite>,
    ) -> Self {
        self.near_misses = own;
        self.earlier_near_misses = earlier;
        self
    }

    /// Also holds the routes of these edits over beta.
    pub(crate) fn holding(mut self, held: Option<PromptBatch>) -> Self {
        self.held = held;
        self
    }

    /// In lockstep with other shards.
    pub(crate) fn in_lane(mut self, lane: Option<&'a Lane<'a>>) -> Self {
        self.lane = lane;
        self
    }

    #[cfg(test)]
    pub(crate) fn reading_together(mut self, iterations: usize) -> Self {
        self.together = iterations;
        self
    }

    /// Gradient descent on the sum of edit loss and router loss, inside `mask` (`[hidden, ffn]`, 0 or 1).
    ///
    /// Losses are read, told and judged every few iterations ([`steps_between_reads`]), on the CPU after each.
    pub(crate) fn train(
        &self,
        mut matrix: Tensor<2>,
        mask: &Tensor<2>,
        observe: &mut dyn FnMut(usize, &Iteration),
    ) -> Trained {
        let config = self.config;
        let mut descent = Descent::new(config, self.main.clone(), mask);
        let mut told = Told {
            observe,
            count: 0,
            before: [0.0, 1e9],
        };
        let mut lapsed: Vec<&Labelled> = Vec::new();
        let mut sweeps = 0;
        let mut iterations = 0;
        let mut unread = Vec::new();
        let last = loop {
            let (slopes, losses) = self.losses(&matrix, iterations, &lapsed);
            unread.push(losses);
            let last = iterations + 1 == config.n_iter;
            let mut read = Vec::new();
            if last || unread.len() >= self.together || iterations == config.min_iter {
                read = Unread::read(std::mem::take(&mut unread));
            }
            let newest = read.pop();
            // The matrix has moved on since these.
            if let Some(diverged) = told.tell_all(read) {
                break diverged;
            }
            if let Some(iteration) = &newest {
                let settled = iterations >= config.min_iter && self.settled(iteration, told.before);
                if settled && sweeps < config.sweeps {
                    sweeps += 1;
                    lapsed = self.lapsed(&matrix);
                    if !lapsed.is_empty() {
                        continue;
                    }
                }
                if settled || !iteration.loss().is_finite() {
                    break iteration.clone();
                }
                told.tell(iteration);
            }
            if let Some(gradient) = self.gradient(slopes, mask) {
                matrix = descent.step(matrix, gradient);
            }
            iterations += 1;
            if let Some(iteration) = newest.filter(|_| last) {
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

    /// The gradients of the edit loss's parts and of the router loss, together.
    fn gradient(
        &self,
        (parts, router): (Vec<Loss>, Option<Loss>),
        mask: &Tensor<2>,
    ) -> Option<Tensor<2>> {
        let edit = || parts.into_par_iter().map(Loss::gradient).collect();
        let router = || router.and_then(Loss::gradient);
        let (gradients, router): (Vec<_>, _) = rayon::join(edit, router);
        let edit = gradients.into_iter().flatten().reduce(|a, b| a + b);
        let (Some(edit), Some(router)) = (&edit, &router) else {
            return edit.or(router);
        };
        let router = match self.config.router_gradient {
            Some(most) => no_longer_than(router.clone(), edit, mask, most),
            None => router.clone(),
        };
        Some(edit.clone() + router)
    }

    /// Whether training ends; `before` are the losses of the two iterations before.
    fn settled(&self, iteration: &Iteration, before: [f32; 2]) -> bool {
        let (stop, beta) = (self.config.stop_loss as f32, self.config.act_margin[1]);
        match self.config.stop_rule {
            StopRule::Labels => {
                let routed = |&activation: &f32| f64::from(activation) >= beta;
                iteration.dearest_label <= stop && iteration.activations.iter().all(routed)
            }
            StopRule::Loss => iteration.loss() <= stop,
            StopRule::Standstill => {
                (before[1] - before[0]).abs() <= STANDSTILL && before[1] <= stop
            }
        }
    }

    /// The earlier edits that no longer hold under `matrix`, as many of the worst as take part in an iteration.
    fn lapsed(&self, matrix: &Tensor<2>) -> Vec<&'a Labelled> {
        let all = self.rehearsal.sequences();
        let dearest = dearest_labels(self.model, matrix, &all);
        let stop = self.config.stop_loss as f32;
        let mut lapsed: Vec<(f32, &Labelled)> = dearest.into_iter().zip(all).collect();
        lapsed.retain(|(nll, _)| *nll > stop);
        lapsed.sort_by(|a, b| b.0.total_cmp(&a.0));
        lapsed.truncate(self.config.rehearsed_edits);
        lapsed.into_iter().map(|(_, sequence)| sequence).collect()
    }

    /// The losses under `matrix`, side by side.
    fn losses(
        &self,
        matrix: &Tensor<2>,
        iteration: usize,
        lapsed: &[&Labelled],
    ) -> ((Vec<Loss>, Option<Loss>), Unread) {
        let shares = self.shares(iteration, lapsed);
        // Keys are what they are, whatever the memory learns.
        let routed = self.config.route_by == RouteBy::Activation;
        let router = || Loss::taped(matrix, |matrix| self.router_losses(matrix, iteration));
        let router = || routed.then(router);
        let (parts, router) = match self.lane {
            // Not in a pool that other lanes wait in as well.
            Some(lane) => {
                let sequences = Packed::new(self.model, &shares);
                let loss = lane.edit_loss(self.model, matrix, sequences);
                (vec![loss], router())
            }
            None => rayon::join(|| edit_loss(self.model, matrix, &shares), router),
        };
        let (router, activations) = router.unzip();
        let edit = parts.iter().map(|part| part.loss.value.clone());
        let dearest = parts.iter().map(|part| part.dearest_label.clone());
        let of_router = router.iter().map(|router| router.value.clone());
        let values = edit.chain(dearest).chain(of_router).chain(activations);
        // The head may be on another device than the edit site.
        let values = values.map(|value| value.to_device(&matrix.device()));
        let losses = Unread {
            values: Tensor::cat(values.collect(), 0),
            parts: parts.len(),
            work: self.work(&shares, iteration),
        };
        let parts = parts.into_iter().map(|part| part.loss).collect();
        ((parts, router), losses)
    }

    fn work(&self, shares: &[Share<'_>], iteration: usize) -> Work {
        let mut work = Work::default();
        for share in shares {
            work += share.sequence.work(self.model);
        }
        if self.config.route_by == RouteBy::Keys {
            return work;
        }
        let negatives = self.avoided(iteration).into_iter();
        let negatives: usize = negatives.map(PromptAtSite::tokens).sum();
        let held = self.held.as_ref().map_or(0, PromptBatch::tokens);
        let routed = self.site.layout.tokens() + negatives + held;
        work.flops += 2 * routed as u64 * self.model.config().site_flops();
        work
    }

    /// The edit's own sequences, those of edits that have lapsed, and those of the edits whose turn it is. The edit
    /// and the others weigh the same.
    fn shares<'b>(&'b self, iteration: usize, lapsed: &[&'b Labelled]) -> Vec<Share<'b>> {
        let count = self.config.rehearsed_edits.min(self.rehearsal.len());
        let factor = 1.0 / count as f32;
        let share = |sequence, factor, binding| Share {
            sequence,
            factor,
            binding,
        };
        let own = self.own.iter().map(|sequence| share(sequence, 1.0, true));
        let lapsed = lapsed.iter().map(|sequence| share(*sequence, factor, true));
        let free = count - lapsed.len();
        let turn = self.rehearsal.in_turn(iteration, count, free).into_iter();
        let turn = turn.map(|sequence| share(sequence, factor, false));
        own.chain(lapsed).chain(turn).collect()
    }

    /// The router loss, and the activation of each of the edit's rows.
    fn router_losses(&self, matrix: &Tensor<2>, iteration: usize) -> (Tensor<1>, Tensor<1>) {
        let output = self.output(matrix);
        let distances = self.config.distance.between(&self.main_output, output);
        let edits = vote(&self.votes, distances.clone(), self.config.pooling);
        let negatives = self.negative_activations(matrix, distances, iteration);
        let all = match &self.held {
            Some(held) => Tensor::cat(
                vec![edits.clone(), held.activations(matrix, self.config)],
                0,
            ),
            None => edits.clone(),
        };
        let mut loss = self.margins(all, negatives);
        if let Some(replay) = self.replay {
            loss = loss + replay.loss(matrix, iteration);
        }
        (loss, edits.detach())
    }

    /// The prompts that shall be left alone in an iteration.
    fn avoided(&self, iteration: usize) -> Vec<&PromptAtSite> {
        let chosen = self
            .negatives
            .chosen(self.first_negative, iteration, self.config);
        let earlier = &self.earlier_near_misses;
        let count = (4 * self.config.near_misses).min(earlier.len());
        let turn = (0..count).map(|i| earlier[(iteration * count + i) % earlier.len()]);
        let own = self.near_misses.iter();
        chosen.into_iter().chain(own).chain(turn).collect()
    }

    /// `edit_distances` has the padding token's, where padding counts.
    fn negative_activations(
        &self,
        matrix: &Tensor<2>,
        edit_distances: Tensor<1>,
        iteration: usize,
    ) -> Tensor<1> {
        let batch = PromptBatch::new(&self.avoided(iteration), self.padding);
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
    fn margins(&self, edits: Tensor<1>, negatives: Tensor<1>) -> Tensor<1> {
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
