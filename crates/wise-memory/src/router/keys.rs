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
        let fits = fit.subject > self.subject && fit.relation > self.relation;
        Route {
            memory: fits.then_some(index),
            activation: fit.subject,
            threshold: self.subject,
            edit: Some(edit),
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
