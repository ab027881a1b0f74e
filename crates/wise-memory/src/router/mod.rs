//! Which memory answers a sequence.

mod activation;
mod keys;

use wise_model::{EditSite, Model};

pub use self::activation::{ActivationRouter, RoutedBy, Threshold, TopOne, Voters};
pub use self::keys::KeyRouter;
use crate::SideMemory;
use crate::key::Reading;
use crate::recall::{Considered, Query, Route};

/// Which memory answers a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Router {
    /// The one with the edit whose key fits.
    Keys(KeyRouter),
    /// The one that moves the prompt far enough, as in the paper.
    Activation(ActivationRouter),
}

impl Router {
    /// One route per query.
    pub fn route(
        &self,
        model: &Model,
        site: &EditSite,
        queries: &[Query],
        memories: &[SideMemory],
    ) -> Vec<Route> {
        match self {
            Self::Keys(router) => queries.iter().map(|q| router.route(q, memories)).collect(),
            Self::Activation(router) => router.route(model, site, queries, memories),
        }
    }

    /// What a query finds at each memory.
    pub fn considered(
        &self,
        model: &Model,
        site: &EditSite,
        query: &Query,
        memories: &[SideMemory],
    ) -> Vec<Considered> {
        match self {
            Self::Keys(router) => router.considered(query, memories),
            Self::Activation(router) => router.considered(model, site, query, memories),
        }
    }

    /// Whether the sequences that are asked together share one decision.
    pub fn routes_together(&self) -> bool {
        matches!(self, Self::Activation(router) if router.routes_together())
    }

    /// Whether a text may be about an edit, so that what it asks for decides; always, where subjects do not.
    pub fn finds_subject(&self, reading: &Reading, memories: &[SideMemory]) -> bool {
        match self {
            Self::Keys(router) => router.finds_subject(reading, memories),
            Self::Activation(_) => true,
        }
    }

    /// Whether edits are found by their keys.
    pub fn needs_keys(&self) -> bool {
        match self {
            Self::Keys(_) => true,
            Self::Activation(router) => router.needs_keys(),
        }
    }
}
