//! The WISE editor (Wang et al., NeurIPS 2024).

mod at_site;
#[cfg(test)]
mod batches;
mod config;
mod context;
mod descent;
mod draw;
mod earlier;
#[cfg(test)]
mod exact;
mod labelled;
mod lockstep;
mod memories;
mod near_misses;
mod negatives;
#[cfg(test)]
mod parity;
mod planned;
mod questions;
mod replay;
mod rows;
mod shard;
mod sharding;
mod side_by_side;
mod state;
mod subject;
mod trainer;
mod undo;
mod wordings;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use wise_memory::{KeyReader, RelationReader};
use wise_merge::{MaskSeed, Shards};
use wise_model::{Model, Overlay, PromptFormat};

pub use self::config::{Compatibility, Optimizer, RouteBy, StopRule, WiseConfig};
use self::context::beginnings;
pub use self::context::context_templates;
pub use self::memories::is_closed;
pub use self::negatives::neutral_prompts;
pub use self::planned::Planned;
pub use self::shard::Shard;
pub use self::state::ShardState;
pub use self::subject::{ordinary_texts, subject};
pub use self::wordings::wordings;

use self::memories::Held;
use self::negatives::NegativePool;
use self::questions::Questions;
use self::shard::{Request, Setup};
use self::sharding::Sharding;
use crate::edit::superseded;
use crate::rivals::Unrouted;
use crate::{AppliedEdit, Edit, Editor, Error, Result, Snapshot, StatePart, Watch};

/// Edits a model by training side memories (Wang et al., NeurIPS 2024).
///
/// The model itself is never written. See the crate documentation for an example.
pub struct Wise {
    model: Arc<Model>,
    setup: Arc<Setup>,
    shards: Vec<Shard>,
    /// The edits of the stream so far, made or not, by id.
    stream: BTreeMap<usize, Dealt>,
    /// Ids of the edits that were taken back, ascending.
    undone: Vec<usize>,
    sharding: Sharding,
}

/// An edit with its place.
#[derive(Debug, Clone, PartialEq)]
struct Dealt {
    edit: Edit,
    shard: usize,
}

impl Wise {
    /// An editor without edits. `negatives` are unrelated prompts for the router; see
    /// [`neutral_prompts`](crate::neutral_prompts). The model writes its context templates here.
    ///
    /// # Errors
    /// On hyperparameters out of range, no negatives, or a model that cannot run its own templates.
    pub fn new(model: Arc<Model>, config: WiseConfig, negatives: Vec<String>) -> Result<Self> {
        let config = config.resolve(&model)?;
        let templates = context_templates(&model, config.context_templates)?;
        let reader = KeyReader::new(&model, &ordinary_texts())?;
        Self::with_setup(model, config, templates, negatives, reader)
    }

    /// An editor without edits, whose templates and reader are known, as from a patch.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_setup(
        model: Arc<Model>,
        config: WiseConfig,
        templates: Vec<String>,
        negatives: Vec<String>,
        reader: KeyReader,
    ) -> Result<Self> {
        let config = config.resolve(&model)?;
        Ok(Self {
            sharding: Sharding::new(config.save_freq, config.refills_shards()),
            setup: Arc::new(Setup {
                beginnings: beginnings(&model, &config, &templates)?,
                templates,
                negatives: NegativePool::new(negatives)?,
                reader: Arc::new(reader),
                questions: Questions::default(),
                config,
            }),
            model,
            shards: Vec::new(),
            stream: BTreeMap::new(),
            undone: Vec::new(),
        })
    }

    /// The same editor, whose keys also hold what an edit asks for.
    ///
    /// # Errors
    /// If edits have been made already, or the reader is of a model of another size.
    pub fn with_relations(mut self, relations: RelationReader) -> Result<Self> {
        let (got, expected) = (relations.mean.len(), 2 * self.model.config().hidden_size);
        if got != expected {
            return Err(Error::Relations { got, expected });
        }
        let setup = Arc::get_mut(&mut self.setup).filter(|_| self.stream.is_empty());
        let setup = setup.ok_or(Error::LateRelations)?;
        setup.config.relation_fit.get_or_insert(relations.fit);
        let reader = setup.reader.as_ref().clone();
        setup.reader = Arc::new(reader.with_relations(relations));
        Ok(self)
    }

    /// The hyperparameters, with everything that depends on the model filled in.
    pub fn config(&self) -> &WiseConfig {
        &self.setup.config
    }

    /// The texts put in front of every prompt during training; the first is empty.
    pub fn templates(&self) -> &[String] {
        &self.setup.templates
    }

    /// The router negatives, as [`AppliedEdit::first_negative`] counts them.
    pub fn negatives(&self) -> &[String] {
        self.setup.negatives.texts()
    }

    /// The shards, oldest first.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// What reads the edits' keys.
    pub fn reader(&self) -> &Arc<KeyReader> {
        &self.setup.reader
    }

    /// The edited matrix with all shards merged into it as `merge_alg` says, whatever `retrieve` says; the model's own
    /// without edits. `[hidden, ffn]`, row by row.
    ///
    /// # Errors
    /// If the merge fails.
    pub fn merged(&self) -> Result<Vec<f32>> {
        let (model, config) = (&self.model, self.config());
        let held: Vec<&Shard> = self.shards.iter().filter(|s| !s.edits.is_empty()).collect();
        let matrix = if held.is_empty() {
            model.site_weight(config.layer_for(model))?
        } else {
            memories::merged(model, config, &held)?.matrix
        };
        Ok(matrix.into_data().iter::<f32>().collect())
    }

    /// The model with another edited matrix, `[hidden, ffn]` row by row, that answers every question: what a program
    /// without a router makes of [`Self::merged`].
    ///
    /// # Errors
    /// If the matrix has another size than the model's.
    pub fn unrouted(&self, matrix: &[f32]) -> Result<Snapshot> {
        let (model, config) = (&self.model, self.config());
        let layer = config.layer_for(model);
        let main = model.site_weight(layer)?;
        let (shape, got) = (main.dims(), matrix.len());
        let expected = shape.iter().product();
        if got != expected {
            let what = "matrix entries";
            return Err(wise_merge::Error::Length {
                what,
                got,
                expected,
            }
            .into());
        }
        let matrix = TensorData::new(matrix.to_vec(), shape);
        let learnt = Unrouted {
            layer,
            overlay: Overlay::Replace(Tensor::from_data(matrix, &main.device())),
            edits: self.next_id() - 1,
        };
        let format = config.format_for(model);
        Ok(Snapshot::new(Arc::clone(model), Arc::new(learnt), format))
    }

    /// A model with these shards, each with its index, merged and routed as `config` says; `reader` has read their keys,
    /// `dealt` places were given, and the edits of `planned` are to come.
    ///
    /// # Errors
    /// If the shards do not fit the model.
    pub fn recall(
        model: &Arc<Model>,
        config: &WiseConfig,
        reader: &Arc<KeyReader>,
        shards: &[(usize, ShardState)],
        planned: &[Planned],
        dealt: usize,
    ) -> Result<Snapshot> {
        let shard = |(index, state): &(usize, ShardState)| {
            Ok((*index, Shard::from_state(model, config, state)?))
        };
        let held = Held {
            shards: shards.iter().map(shard).collect::<Result<_>>()?,
            dealt,
            awaited: planned.iter().map(|planned| planned.shard).collect(),
        };
        snapshot(model, config, reader, &held)
    }

    /// Gives edits their ids and their places in shards, opening those that are missing.
    fn deal(&mut self, edits: &[Edit]) -> Result<Range<usize>> {
        let first = self.next_id();
        let mut sharding = self.sharding.clone();
        let dealt = edits.iter().map(|edit| Dealt {
            edit: edit.clone(),
            shard: sharding.deal(&edit.fact()),
        });
        let dealt: Vec<Dealt> = dealt.collect();
        let last = dealt.iter().map(|dealt| dealt.shard).max();
        self.open_up_to(last)?;
        self.sharding = sharding;
        self.stream.extend((first..).zip(dealt));
        self.tell_prompts_of_earlier_shards();
        Ok(first..first + edits.len())
    }

    /// Drops those of these edits that are not made. Their places, behind the `dealt` of before, were never given.
    fn drop_unmade(&mut self, ids: &Range<usize>, dealt: usize) {
        let made = self.made();
        self.stream
            .retain(|id, _| !ids.contains(id) || made.contains(id));
        self.hold_places(dealt);
        self.tell_prompts_of_earlier_shards();
    }

    /// Opens every shard that an edit of the stream has its place in.
    fn open_all(&mut self) -> Result<()> {
        let last = self.stream.values().map(|dealt| dealt.shard).max();
        self.open_up_to(last)?;
        self.tell_prompts_of_earlier_shards();
        Ok(())
    }

    /// The id of the next edit.
    fn next_id(&self) -> usize {
        let last = self.stream.keys().chain(&self.undone).max();
        last.map_or(1, |last| last + 1)
    }

    fn open_up_to(&mut self, last: Option<usize>) -> Result<()> {
        let config = &self.setup.config;
        let shards = Shards {
            seed: config.seed,
            ratio: config.mask_ratio,
            overlap: config.mask_overlap,
        };
        for index in self.shards.len()..last.map_or(0, |last| last + 1) {
            let shard = self.open(shards.mask(index as u32)?)?;
            self.shards.push(shard);
        }
        Ok(())
    }

    /// What edits of the stream ask of their shards.
    fn requests(&self, ids: impl IntoIterator<Item = usize>) -> Vec<(usize, Request)> {
        let superseded = superseded(self.stream.iter().map(|(&id, dealt)| (id, &dealt.edit)));
        let request = |(index, id): (usize, usize)| {
            let dealt = self.stream.get(&id)?;
            let request = Request {
                index,
                id,
                supersedes: superseded.get(&id).copied(),
                edit: dealt.edit.clone(),
            };
            Some((dealt.shard, request))
        };
        ids.into_iter().enumerate().filter_map(request).collect()
    }

    fn open(&self, mask: MaskSeed) -> Result<Shard> {
        Ok(Shard {
            matrix: self
                .model
                .site_weight(self.setup.config.layer_for(&self.model))?,
            mask,
            edits: Vec::new(),
            keys: Vec::new(),
            replayed: Vec::new(),
        })
    }

    /// For replay, where that is asked for.
    fn tell_prompts_of_earlier_shards(&mut self) {
        if !self.setup.config.replay {
            return;
        }
        let mut prompts = vec![Vec::new(); self.shards.len()];
        for dealt in self.stream.values() {
            prompts[dealt.shard].push(dealt.edit.prompt.clone());
        }
        for (index, shard) in self.shards.iter_mut().enumerate() {
            shard.replayed = prompts[..index].to_vec();
        }
    }
}

fn snapshot(
    model: &Arc<Model>,
    config: &WiseConfig,
    reader: &Arc<KeyReader>,
    held: &Held,
) -> Result<Snapshot> {
    let memories = memories::memories(model, config, reader, held)?;
    let format = config.format_for(model);
    Ok(Snapshot::new(Arc::clone(model), Arc::new(memories), format))
}

impl Editor for Wise {
    fn name(&self) -> &'static str {
        "wise"
    }

    fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn has_side_memories(&self) -> bool {
        true
    }

    fn format(&self) -> PromptFormat {
        self.setup.config.format_for(&self.model)
    }

    fn hyperparameters(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(&self.setup.config)?)
    }

    fn seed(&self) -> u64 {
        self.setup.config.seed
    }

    fn iterations(&self) -> usize {
        self.setup.config.n_iter
    }

    fn apply(&mut self, edits: &[Edit], watch: &mut dyn Watch) -> Result<Vec<AppliedEdit>> {
        let dealt = self.dealt();
        let ids = self.deal(edits)?;
        let requests = self.requests(ids.clone());
        let outcome = self.train(requests, edits.len(), watch);
        let made = self.history().into_iter().filter(|e| ids.contains(&e.id));
        let made: Vec<AppliedEdit> = made.cloned().collect();
        if made.len() < edits.len() {
            self.drop_unmade(&ids, dealt);
        }
        outcome.map(|()| made)
    }

    fn resume(
        &mut self,
        stream: &[Edit],
        parts: Vec<StatePart>,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        let ids = self.deal(stream)?;
        let mut requests = self.requests(ids);
        for part in parts {
            self.restore(&part)?;
        }
        let made = self.made();
        requests.retain(|(_, request)| !made.contains(&request.id));
        self.train(requests, stream.len(), watch)
    }

    fn history(&self) -> Vec<&AppliedEdit> {
        let mut edits: Vec<&AppliedEdit> = self.shards.iter().flat_map(|s| &s.edits).collect();
        edits.sort_by_key(|applied| applied.id);
        edits
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let setup = &self.setup;
        let held = self.held(0..self.shards.len());
        snapshot(&self.model, &setup.config, &setup.reader, &held)
    }

    fn snapshot_of(&self, id: usize) -> Result<Snapshot> {
        let (setup, index) = (&self.setup, self.shard_of(id)?);
        let held = self.held(index..index + 1);
        snapshot(&self.model, &setup.config, &setup.reader, &held)
    }

    fn setup(&self) -> Vec<u8> {
        let relations = self.setup.reader.state().relations.as_ref();
        let numbers = relations.iter().flat_map(|r| r.mean.iter().chain(&r.map));
        let mut setup: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
        for text in self.templates().iter().chain(self.negatives()) {
            setup.extend(text.bytes());
            setup.push(0);
        }
        setup
    }

    fn part_of(&self, id: usize) -> Result<StatePart> {
        let index = self.shard_of(id)?;
        self.shards[index].part(index, &self.model, &self.setup.config)
    }
}

impl Wise {
    /// Those of the shards at these indices that hold edits.
    fn held(&self, indices: Range<usize>) -> Held {
        let made = self.made();
        let shards = indices.map(|index| (index, self.shards[index].clone()));
        let awaited = self.stream.iter().filter(|(id, _)| !made.contains(id));
        Held {
            shards: shards.filter(|(_, s)| !s.edits.is_empty()).collect(),
            dealt: self.dealt(),
            awaited: awaited.map(|(_, dealt)| dealt.shard).collect(),
        }
    }

    fn shard_of(&self, id: usize) -> Result<usize> {
        let holds = |shard: &Shard| shard.edits.iter().any(|applied| applied.id == id);
        let known = self.shards.iter().position(holds);
        known.ok_or(Error::NoSuchEdit { id })
    }

    /// Takes up a shard of an interrupted run.
    fn restore(&mut self, part: &StatePart) -> Result<()> {
        let (index, state) = ShardState::from_part(part)?;
        let foreign = |detail: String| Error::StatePart {
            name: part.name.clone(),
            detail,
        };
        let Some(shard) = self.shards.get_mut(index) else {
            let shards = self.shards.len();
            return Err(foreign(format!("it is shard {index} of {shards}")));
        };
        for applied in &state.edits {
            let planned = self.stream.get(&applied.id);
            if planned.is_none_or(|p| p.edit != applied.edit || p.shard != index) {
                return Err(foreign(format!("edit {} is another one", applied.id)));
            }
        }
        let replayed = std::mem::take(&mut shard.replayed);
        *shard = Shard::from_state(&self.model, &self.setup.config, &state)?;
        shard.replayed = replayed;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
