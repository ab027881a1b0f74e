//! The router that goes by keys.

use crate::SideMemory;
use crate::key::{Match, Reading};
use crate::recall::{Considered, Query, Route};

/// A side memory answers if it holds an edit whose subject the query speaks of.
///
/// It deviates from the paper's router ([`crate::ActivationRouter`]), which compares how far a side memory moves a
/// prompt. That is a property of what the memory has learnt, and prompts in the words of an edit are moved as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyRouter {
    /// How well the subject must fit, as a cosine.
    pub subject: f32,
    /// How well what is asked must fit, as a cosine.
    pub relation: f32,
}

impl KeyRouter {
    /// The memory of the edit whose key fits best, if it fits well enough.
    pub fn route(&self, query: &Query, memories: &[SideMemory]) -> Route {
        let best = Self::nearest(query, memories).max_by(|(_, a, _), (_, b, _)| {
            // The oldest of equals, so that a further memory changes nothing.
            a.rank()
                .total_cmp(&b.rank())
                .then(std::cmp::Ordering::Greater)
        });
        let Some((index, fit, edit)) = best else {
            return Route::MAIN;
        };
        let (activation, threshold) = self.decisive(fit);
        Route {
            memory: (activation > threshold).then_some(index),
            activation,
            threshold,
            edit: Some(edit),
        }
    }

    /// The fit that decides, with its threshold: the subject's where that does not suffice, or else the one that exceeds
    /// its threshold by less.
    fn decisive(self, fit: Match) -> (f32, f32) {
        let subject = (fit.subject, self.subject);
        let relation = (fit.relation, self.relation);
        let margin = |(fit, threshold): (f32, f32)| fit - threshold;
        if fit.subject > self.subject && margin(relation) < margin(subject) {
            relation
        } else {
            subject
        }
    }

    /// Whether a text names the subject of an edit.
    pub(super) fn finds_subject(self, reading: &Reading, memories: &[SideMemory]) -> bool {
        let mut edits = memories.iter().flat_map(|memory| &memory.edits);
        edits.any(|edit| edit.key.subject_fit(reading) > self.subject)
    }

    /// What a query finds at each memory.
    pub fn considered(&self, query: &Query, memories: &[SideMemory]) -> Vec<Considered> {
        let nearest = Self::nearest(query, memories);
        let considered = |(memory, fit, edit): (usize, Match, usize)| Considered {
            memory,
            activation: fit.subject,
            threshold: self.subject,
            relation: Some((fit.relation, self.relation)),
            edit: Some(edit),
        };
        nearest.map(considered).collect()
    }

    /// Of each memory the edit that fits best, by its id.
    fn nearest<'a>(
        query: &'a Query,
        memories: &'a [SideMemory],
    ) -> impl Iterator<Item = (usize, Match, usize)> + 'a {
        let memories = memories.iter().enumerate();
        memories.filter_map(|(index, memory)| {
            let (fit, edit) = memory.nearest(query.reading.as_ref()?)?;
            Some((index, fit, edit.edit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_that_decides_exceeds_its_threshold_only_if_both_do() {
        let router = KeyRouter {
            subject: 0.8,
            relation: 0.9,
        };
        let decisive = |subject, relation| router.decisive(Match { subject, relation });
        assert_eq!(decisive(0.7, 0.1), (0.7, 0.8));
        assert_eq!(decisive(1.0, 0.5), (0.5, 0.9));
        assert_eq!(decisive(0.9, 0.95), (0.95, 0.9));
        assert_eq!(decisive(0.85, 1.0), (0.85, 0.8));
    }
}
