//! One shard: the edits that share a side memory, and their training.

use std::collections::HashSet;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use wise_memory::{Key, KeyReader, Remembered, SideMemory};
use wise_merge::MaskSeed;
use wise_model::{Beginnings, EditSite, Model};

use crate::wise::earlier::EarlierEdits;
use crate::wise::lockstep::Lane;
use crate::wise::near_misses::near_misses;
use crate::wise::negatives::NegativePool;
use crate::wise::questions::{Question, Questions};
use crate::wise::replay::Replay;
use crate::wise::rows::{Lesson, TrainingRows};
use crate::wise::subject::{about_subject, subject};
use crate::wise::trainer::{Iteration, Trainer};
use crate::wise::{RouteBy, WiseConfig};
use crate::{AppliedEdit, Edit, Error, Result};

/// Subject prompts of an edit that is not the only one of its subject, for each that it had alone: they have to tell it from
/// the others.
const OF_SAME_SUBJECT: usize = 3;

/// What every shard trains with. Nothing in it changes, so shards can train side by side.
pub(crate) struct Setup {
    pub(crate) config: WiseConfig,
    pub(crate) templates: Vec<String>,
    /// The templates at the edit site.
    pub(crate) beginnings: Beginnings,
    pub(crate) negatives: NegativePool,
    /// Reads the edits' keys.
    pub(crate) reader: Arc<KeyReader>,
    pub(crate) questions: Questions,
}

impl Setup {
    /// The shipped questions that ask for what an edit does, and not for what others of its subject do.
    pub(crate) fn asking_for(
        &self,
        model: &Model,
        key: &Key,
        others: &[&Key],
    ) -> Result<Vec<Question>> {
        let fit = self.config.least_relation_fit() as f32;
        let (questions, reader) = (&self.questions, &self.reader);
        let mut near = questions.asking_for(model, reader, key, others, fit)?;
        near.truncate(OF_SAME_SUBJECT * self.config.subject_prompts);
        Ok(near)
    }

    /// What an edit trains on, and that at the edit site: its only pass through the layers below.
    pub(crate) fn at_site(
        &self,
        model: &Model,
        edit: &Edit,
        index: usize,
        first_negative: usize,
        questions: &[Question],
    ) -> Result<(TrainingRows, EditSite)> {
        let config = &self.config;
        let longest_negative = if config.compat.is_easyedit() {
            self.negatives.prepare(model, config, first_negative)?;
            self.negatives.longest(first_negative, config)
        } else {
            0
        };
        let lesson = Lesson {
            edit,
            index,
            templates: &self.templates,
            subject_prompts: about_subject(edit, questions),
            longest_negative,
        };
        let rows = TrainingRows::new(model, config, &lesson)?;
        let site = if rows.padding.is_some() {
            model.prefix(&rows.rows, config.layer_for(model), None)?
        } else {
            let (behind, alone) = rows.rows.split_at(self.templates.len());
            let behind = model.prefix_behind(&self.beginnings, behind)?;
            if alone.is_empty() {
                behind
            } else {
                let alone = model.prefix(alone, config.layer_for(model), None)?;
                model.join(&[&behind, &alone])
            }
        };
        Ok((rows, site))
    }
}

/// An edit on its way into a shard.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Where it stands in the call.
    pub(crate) index: usize,
    pub(crate) id: usize,
    pub(crate) supersedes: Option<usize>,
    pub(crate) edit: Edit,
}

/// What the edits of a shard train with, one after the other.
pub(crate) struct Training<'a> {
    /// `[hidden, ffn]`, 0 or 1.
    subspace: Tensor<2>,
    earlier: EarlierEdits,
    lane: Option<&'a Lane<'a>>,
}

/// The edits that share a side memory and its subspace.
///
/// **Invariant:** what a shard becomes depends on its own edits, their ids and the shared settings, never on
/// what other shards have learnt.
#[derive(Debug, Clone)]
pub struct Shard {
    pub(crate) matrix: Tensor<2>,
    pub(crate) mask: MaskSeed,
    pub(crate) edits: Vec<AppliedEdit>,
    /// What each edit is recognised by.
    pub(crate) keys: Vec<Key>,
    /// Prompts of each earlier shard, for replay.
    pub(crate) replayed: Vec<Vec<String>>,
}

impl Shard {
    /// The subspace it is trained in.
    pub fn mask(&self) -> MaskSeed {
        self.mask
    }

    /// Its edits, oldest first.
    pub fn edits(&self) -> &[AppliedEdit] {
        &self.edits
    }

    /// The shard as a memory of its own.
    pub fn memory(&self) -> SideMemory {
        let remembered = |(applied, key): (&AppliedEdit, &Key)| Remembered {
            edit: applied.id,
            activation: applied.activation,
            key: key.clone(),
        };
        let superseded: HashSet<usize> = self.edits.iter().filter_map(|e| e.supersedes).collect();
        let newest = |(applied, _): &(&AppliedEdit, &Key)| !superseded.contains(&applied.id);
        SideMemory {
            matrix: self.matrix.clone(),
            edits: self
                .edits
                .iter()
                .zip(&self.keys)
                .filter(newest)
                .map(remembered)
                .collect(),
        }
    }

    /// The subspace as a matrix, `[hidden, ffn]`, 0 or 1.
    pub(crate) fn subspace(&self) -> Result<Tensor<2>> {
        let [hidden, ffn] = self.matrix.dims();
        let mask = self.mask.draw(hidden * ffn)?.to_dense();
        let device = self.matrix.device();
        Ok(Tensor::from_data(
            TensorData::new(mask, [hidden, ffn]),
            &device,
        ))
    }

    /// What its next edits train with.
    pub(crate) fn training<'a>(
        &self,
        model: &Model,
        setup: &Setup,
        lane: Option<&'a Lane<'a>>,
    ) -> Result<Training<'a>> {
        let earlier = if setup.config.learns_alone() {
            EarlierEdits::default()
        } else {
            EarlierEdits::of(model, setup, &self.edits, &self.keys)?
        };
        Ok(Training {
            subspace: self.subspace()?,
            earlier,
            lane,
        })
    }

    /// Trains one edit into the shard, with what is its own to train with.
    pub(crate) fn learn(
        &mut self,
        model: &Model,
        setup: &Setup,
        training: &mut Training<'_>,
        request: &Request,
        observe: &mut dyn FnMut(usize, &Iteration),
    ) -> Result<()> {
        let Training {
            subspace,
            earlier,
            lane,
        } = training;
        let (config, edit, index) = (&setup.config, &request.edit, request.id);
        let first_negative = setup.negatives.first(index - 1, config);
        if config.route_by == RouteBy::Activation {
            setup.negatives.prepare(model, config, first_negative)?;
        }
        let key = setup.reader.key(model, &edit.prompt, subject(edit))?;
        let questions = earlier.tell_apart(model, setup, edit, index, &key)?;
        let (rows, site) = setup.at_site(model, edit, index, first_negative, &questions)?;
        let replay = self.replay(model, config, index)?;
        let (negatives, at) = (&setup.negatives, site.clone());
        let trainer = Trainer::new(model, config, &rows, at, negatives, first_negative)?
            .replaying(replay.as_ref())
            .rehearsing(earlier.in_turn(edit, index, config));
        let near_misses = near_misses(model, config, edit, index)?;
        let trainer = trainer.avoiding(&near_misses, earlier.near_misses(edit));
        let held = if config.holds_routes() {
            earlier.routes(edit)
        } else {
            None
        };
        let trainer = trainer.holding(held).in_lane(*lane);
        let trained = trainer.train(self.matrix.clone(), subspace, observe);
        if !trained.last.loss().is_finite() || !trained.activation.is_finite() {
            return Err(Error::Diverged {
                index,
                iteration: trained.iterations + 1,
                loss: trained.last.loss(),
            });
        }
        let applied = AppliedEdit {
            id: index,
            edit: edit.clone(),
            supersedes: request.supersedes,
            first_negative,
            iterations: trained.iterations,
            edit_loss: trained.last.edit_loss,
            router_loss: trained.last.router_loss,
            activation: trained.activation,
        };
        self.matrix = trained.matrix;
        if !config.learns_alone() {
            earlier.add(
                model,
                &applied,
                &key,
                questions,
                (&rows, &site),
                near_misses,
            );
        }
        self.edits.push(applied);
        self.keys.push(key);
        if config.holds_routes() {
            earlier.measure(&self.matrix, config, &mut self.edits);
        }
        Ok(())
    }

    fn replay(&self, model: &Model, config: &WiseConfig, id: usize) -> Result<Option<Replay>> {
        if !config.replay || self.replayed.is_empty() {
            return Ok(None);
        }
        let own = self.edits.iter().map(|e| e.edit.prompt.clone()).collect();
        Replay::new(model, config, &self.replayed, own, id).map(Some)
    }
}
