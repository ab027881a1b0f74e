//! The router that goes by keys.

use crate::SideMemory;
use crate::recall::{Query, Route};

/// A side memory answers if it holds an edit whose subject the query speaks of.
///
/// It deviates from the paper's router ([`crate::ActivationRouter`]), which compares how far a side memory moves a
/// prompt. That is a property of what the memory has learnt, and prompts in the words of an edit are moved as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyRouter {
    /// How well the subject must fit, as a cosine.
    pub subject: f32,
    /// How well the rest of the edit's prompt must fit, as a cosine.
    pub relation: f32,
}

impl KeyRouter {
    /// The memory of the edit whose key fits best, if it fits well enough.
    pub fn route(&self, query: &Query, memories: &[SideMemory]) -> Route {
        let Some(reading) = &query.reading else {
            return Route::MAIN;
        };
        let best = memories
            .iter()
            .enumerate()
            .filter_map(|(index, memory)| Some((index, memory.nearest(reading)?)))
            .max_by(|(_, (a, _)), (_, (b, _))| a.rank().total_cmp(&b.rank()));
        let Some((index, (fit, edit))) = best else {
            return Route::MAIN;
        };
        let fits = fit.subject > self.subject && fit.relation > self.relation;
        Route {
            memory: fits.then_some(index),
            activation: fit.subject,
            threshold: self.subject,
            edit: Some(edit.edit),
        }
    }
}
