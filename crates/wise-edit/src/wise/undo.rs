//! An editor taken up from a file, and edits taken back.

use crate::edit::superseded;
use crate::wise::{Dealt, Planned, Shard, ShardState, Wise};
use crate::{Error, Result, Watch};

impl Wise {
    /// Takes up what an earlier editor of the same setup has learnt: its shards with their indices, the edits it had
    /// planned, the places it had given ([`Self::dealt`]), and the ids of the edits it had taken back. The editor must be new.
    ///
    /// # Errors
    /// [`Error::NotNew`] if it has edits, or if the shards do not fit the model.
    pub fn take_up(
        &mut self,
        shards: &[(usize, ShardState)],
        planned: &[Planned],
        dealt: usize,
        undone: &[usize],
    ) -> Result<()> {
        if !self.stream.is_empty() {
            return Err(Error::NotNew);
        }
        let places = dealt.div_ceil(self.setup.config.save_freq);
        let indices = shards.iter().map(|(index, _)| *index);
        let indices = indices.chain(planned.iter().map(|planned| planned.shard));
        if let Some(index) = indices.filter(|index| *index >= places).max() {
            let detail = format!("it is shard {index} of {places}");
            let name = format!("shard {index}");
            return Err(Error::StatePart { name, detail });
        }
        for planned in planned {
            let (edit, shard) = (planned.edit.clone(), planned.shard);
            self.stream.insert(planned.id, Dealt { edit, shard });
        }
        for (index, state) in shards {
            for applied in &state.edits {
                let (edit, shard) = (applied.edit.clone(), *index);
                self.stream.insert(applied.id, Dealt { edit, shard });
            }
        }
        self.open_all()?;
        for (index, state) in shards {
            let replayed = std::mem::take(&mut self.shards[*index].replayed);
            self.shards[*index] = Shard::from_state(&self.model, &self.setup.config, state)?;
            self.shards[*index].replayed = replayed;
        }
        self.undone = undone.to_vec();
        self.hold_places(dealt);
        Ok(())
    }

    /// Ids of the edits that were taken back, ascending. None is ever given again.
    pub fn undone(&self) -> &[usize] {
        &self.undone
    }

    /// Most facts that have had a place in a shard at once so far. Places that are free again are the next to be given.
    pub fn dealt(&self) -> usize {
        self.sharding.dealt()
    }

    /// Takes edits back. Each shard that held one is trained anew from nothing with the edits it keeps, which
    /// have the ids they had, so it becomes what these give alone; the values of other shards stay as they are. An edit
    /// that was only planned is dropped. `watch` counts the edits trained anew. If it fails, the editor is of no further
    /// use.
    ///
    /// # Errors
    /// [`Error::NoSuchEdit`] if an edit was not asked for or has been taken back, [`Error::UndoOfReplay`] where shards
    /// are not independent, or if the training fails.
    pub fn undo(&mut self, ids: &[usize], watch: &mut dyn Watch) -> Result<()> {
        if let Some(&id) = ids.iter().find(|id| !self.stream.contains_key(id)) {
            return Err(Error::NoSuchEdit { id });
        }
        let made = self.made();
        if self.setup.config.replay && ids.iter().any(|id| made.contains(id)) {
            return Err(Error::UndoOfReplay);
        }
        let mut touched: Vec<usize> = ids
            .iter()
            .filter_map(|&id| self.shard_of(id).ok())
            .collect();
        touched.sort_unstable();
        touched.dedup();
        self.stream.retain(|id, _| !ids.contains(id));
        self.undone.extend(ids);
        self.undone.sort_unstable();
        self.undone.dedup();
        self.hold_places(self.dealt());
        self.tell_prompts_of_earlier_shards();

        let mut kept = Vec::new();
        for &index in &touched {
            let made = self.shards[index].edits.iter().map(|applied| applied.id);
            kept.extend(made.filter(|id| !ids.contains(id)));
            let mask = self.shards[index].mask;
            self.shards[index] = self.open(mask)?;
        }
        let edits = kept.len();
        let requests = self.requests(kept);
        self.supersede_anew();
        self.train(requests, edits, watch)
    }

    pub(super) fn hold_places(&mut self, dealt: usize) {
        let held = self.stream.values();
        let held = held.map(|dealt| (dealt.edit.fact(), dealt.shard));
        self.sharding = self.sharding.taken_up(dealt, held);
    }

    /// Which edits of the untouched shards take whose place, now that some are gone.
    fn supersede_anew(&mut self) {
        let superseded = superseded(self.stream.iter().map(|(&id, dealt)| (id, &dealt.edit)));
        for applied in self.shards.iter_mut().flat_map(|shard| &mut shard.edits) {
            applied.supersedes = superseded.get(&applied.id).copied();
        }
    }
}
