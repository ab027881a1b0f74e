//! An editor taken up from a file, and edits taken back.

use crate::edit::superseded;
use crate::wise::{Dealt, Shard, ShardState, Wise};
use crate::{Error, Result, Watch};

impl Wise {
    /// Takes up what an earlier editor of the same setup has learnt: its shards with their indices, the facts it
    /// had given a place, and the ids of the edits it had taken back. The editor must be new.
    ///
    /// # Errors
    /// [`Error::NotNew`] if it has edits, or if the shards do not fit the model.
    pub fn take_up(
        &mut self,
        shards: &[(usize, ShardState)],
        dealt: usize,
        undone: &[usize],
    ) -> Result<()> {
        if !self.stream.is_empty() {
            return Err(Error::NotNew);
        }
        let places = dealt.div_ceil(self.setup.config.save_freq);
        for (index, state) in shards {
            if *index >= places {
                let detail = format!("it is shard {index} of {places}");
                let name = format!("shard {index}");
                return Err(Error::StatePart { name, detail });
            }
            self.open_up_to(index + 1)?;
            self.shards[*index] = Shard::from_state(&self.model, &self.setup.config, state)?;
            for applied in &state.edits {
                let edit = applied.edit.clone();
                let taken_up = Dealt {
                    edit,
                    shard: *index,
                    places: dealt,
                };
                self.stream.insert(applied.id, taken_up);
            }
        }
        self.undone = undone.to_vec();
        self.hold_places(dealt);
        Ok(())
    }

    /// Ids of the edits that were taken back, ascending. None is ever given again.
    pub fn undone(&self) -> &[usize] {
        &self.undone
    }

    /// Facts that were given a place in a shard up to the newest edit made, those of edits taken back among them.
    pub fn dealt(&self) -> usize {
        let made = self.shards.iter().flat_map(|shard| &shard.edits);
        let newest = made.map(|applied| applied.id).max();
        let dealt = newest.and_then(|id| self.stream.get(&id));
        dealt.map_or(0, |dealt| dealt.places).max(self.places_taken)
    }

    /// Takes edits back. Each shard that held one is trained anew from nothing with the edits it keeps, which
    /// have the ids they had, so it becomes what these give alone; the values of other shards stay as they are.
    /// `watch` counts the edits trained anew. If it fails, the editor is of no further use.
    ///
    /// # Errors
    /// [`Error::NoSuchEdit`] if an edit was not made or has been taken back, [`Error::UndoOfReplay`] where shards
    /// are not independent, or if the training fails.
    pub fn undo(&mut self, ids: &[usize], watch: &mut dyn Watch) -> Result<()> {
        if self.setup.config.replay {
            return Err(Error::UndoOfReplay);
        }
        let mut touched = ids
            .iter()
            .map(|&id| self.shard_of(id))
            .collect::<Result<Vec<usize>>>()?;
        touched.sort_unstable();
        touched.dedup();
        self.places_taken = self.dealt();
        self.stream.retain(|id, _| !ids.contains(id));
        self.undone.extend(ids);
        self.undone.sort_unstable();
        self.undone.dedup();
        self.hold_places(self.places_taken);

        let mut kept = Vec::new();
        for &index in &touched {
            let made = self.shards[index].edits.iter().map(|applied| applied.id);
            kept.extend(made.filter(|id| !ids.contains(id)));
            self.shards[index] = self.open(index)?;
        }
        let edits = kept.len();
        let requests = self.requests(kept);
        self.supersede_anew();
        self.train(requests, edits, watch)
    }

    fn hold_places(&mut self, dealt: usize) {
        self.places_taken = dealt;
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
