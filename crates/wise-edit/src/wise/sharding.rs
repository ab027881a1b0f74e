//! Which shard an edit belongs to.

use std::collections::{BTreeMap, HashMap};

/// Deals edits to shards: `save_freq` facts each.
///
/// A fact that is corrected again returns to the shard that holds it, so that no two memories claim the same prompt, and a
/// place that is free again, as of an edit taken back, is the next to be given, so that there are never more shards than
/// the most facts held at once need; both are our own. The paper's stream fills one shard after another, whatever the
/// edits say.
#[derive(Debug, Clone)]
pub(crate) struct Sharding {
    save_freq: usize,
    returns: bool,
    dealt: usize,
    /// Places that are free again, of those dealt, by shard.
    freed: BTreeMap<usize, usize>,
    shard_of: HashMap<String, usize>,
}

impl Sharding {
    pub(crate) fn new(save_freq: usize, returns: bool) -> Self {
        Self {
            save_freq,
            returns,
            dealt: 0,
            freed: BTreeMap::new(),
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
        let shard = self.take_freed().unwrap_or_else(|| {
            self.dealt += 1;
            (self.dealt - 1) / self.save_freq
        });
        self.shard_of.insert(fact.to_owned(), shard);
        shard
    }

    fn take_freed(&mut self) -> Option<usize> {
        let mut first = self.freed.first_entry()?;
        let shard = *first.key();
        *first.get_mut() -= 1;
        if *first.get() == 0 {
            first.remove();
        }
        Some(shard)
    }

    /// Most facts that have had a place at once so far.
    pub(crate) fn dealt(&self) -> usize {
        self.dealt
    }

    /// The same shards, of which at least `dealt` places have been given and these facts are held.
    pub(crate) fn taken_up(
        &self,
        dealt: usize,
        held: impl Iterator<Item = (String, usize)>,
    ) -> Self {
        let mut taken: HashMap<usize, usize> = HashMap::new();
        let mut shard_of = HashMap::new();
        for (fact, shard) in held {
            let corrects = shard_of.insert(fact, shard) == Some(shard);
            if !(self.returns && corrects) {
                *taken.entry(shard).or_default() += 1;
            }
        }
        let needed = taken
            .iter()
            .map(|(shard, facts)| shard * self.save_freq + facts);
        let dealt = needed.max().map_or(dealt, |needed| needed.max(dealt));
        let free = |shard: usize| {
            let places = self.save_freq.min(dealt - shard * self.save_freq);
            places.saturating_sub(taken.get(&shard).copied().unwrap_or_default())
        };
        let shards = if self.returns {
            dealt.div_ceil(self.save_freq)
        } else {
            0
        };
        let freed = (0..shards).map(|shard| (shard, free(shard)));
        Self {
            dealt,
            freed: freed.filter(|(_, free)| *free > 0).collect(),
            shard_of,
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

    fn taken_up(returns: bool, dealt: usize, held: &[(&str, usize)]) -> Sharding {
        let held = held
            .iter()
            .map(|(fact, shard)| ((*fact).to_owned(), *shard));
        Sharding::new(2, returns).taken_up(dealt, held)
    }

    #[test]
    fn places_that_are_free_again_are_given_first() {
        let mut sharding = taken_up(true, 5, &[("b", 0), ("b", 0), ("e", 2)]);
        let shards = ["f", "b", "g", "h", "i", "j"].map(|fact| sharding.deal(fact));
        assert_eq!((shards, sharding.dealt()), ([0, 0, 1, 1, 2, 3], 7));
        let mut sharding = taken_up(false, 3, &[("b", 0)]);
        let shards = ["b", "c", "d"].map(|fact| sharding.deal(fact));
        assert_eq!((shards, sharding.dealt()), ([1, 2, 2], 6));
    }

    #[test]
    fn places_are_given_at_least_as_far_as_they_are_held() {
        let sharding = taken_up(true, 2, &[("a", 0), ("b", 0), ("c", 1), ("c", 1)]);
        assert_eq!(sharding.dealt(), 3);
    }

    #[test]
    fn a_stream_that_is_taken_up_goes_on_as_if_it_had_not_stopped() {
        let facts = ["a", "b", "c", "a", "d", "e", "a"];
        for returns in [true, false] {
            let mut whole = Sharding::new(2, returns);
            let mut held = Vec::new();
            for fact in facts {
                let mut again = taken_up(returns, whole.dealt(), &held);
                let shard = whole.deal(fact);
                assert_eq!((again.deal(fact), again.dealt()), (shard, whole.dealt()));
                held.push((fact, shard));
            }
        }
    }
}
