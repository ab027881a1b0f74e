//! Which shard an edit belongs to.

use std::collections::HashMap;

/// Deals edits to shards: `save_freq` facts each.
///
/// A fact that is corrected again goes back to the shard that holds it, so that no two memories claim the same
/// prompt; that is our own. The paper's stream fills one shard after another, whatever the edits say.
#[derive(Debug, Clone)]
pub(crate) struct Sharding {
    save_freq: usize,
    returns: bool,
    dealt: usize,
    shard_of: HashMap<String, usize>,
}

impl Sharding {
    pub(crate) fn new(save_freq: usize, returns: bool) -> Self {
        Self {
            save_freq,
            returns,
            dealt: 0,
            shard_of: HashMap::new(),
        }
    }

    /// The shard of the next edit.
    pub(crate) fn deal(&mut self, fact: &str) -> usize {
        if let Some(&shard) = self.shard_of.get(fact)
            && self.returns
        {
            return shard;
        }
        let shard = self.dealt / self.save_freq;
        self.dealt += 1;
        self.shard_of.insert(fact.to_owned(), shard);
        shard
    }

    /// Facts that have a place so far.
    pub(crate) fn dealt(&self) -> usize {
        self.dealt
    }

    /// The same shards, of which the first `dealt` places are taken and these facts held.
    pub(crate) fn taken_up(
        &self,
        dealt: usize,
        held: impl Iterator<Item = (String, usize)>,
    ) -> Self {
        Self {
            dealt,
            shard_of: held.collect(),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deal(returns: bool, facts: &[&str]) -> Vec<usize> {
        let mut sharding = Sharding::new(2, returns);
        facts.iter().map(|fact| sharding.deal(fact)).collect()
    }

    #[test]
    fn shards_fill_in_order() {
        assert_eq!(deal(true, &["a", "b", "c", "d", "e"]), [0, 0, 1, 1, 2]);
    }

    #[test]
    fn a_corrected_fact_returns_to_its_shard_and_takes_no_room() {
        assert_eq!(
            deal(true, &["a", "b", "c", "a", "d", "e", "a"]),
            [0, 0, 1, 0, 1, 2, 0]
        );
        assert_eq!(deal(false, &["a", "b", "c", "a", "d"]), [0, 0, 1, 1, 2]);
    }
}
