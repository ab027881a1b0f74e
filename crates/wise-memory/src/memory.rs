//! Main memory and side memories.

use std::sync::Arc;

use burn::tensor::Tensor;
use wise_model::{EditSite, Error, Model, Overlay};

use crate::Route;
use crate::key::{Key, KeyReader, Match, Reading};
use crate::recall::{Considered, Query, Recall, Recalled};
use crate::router::Router;

/// What a side memory knows of one of its edits.
#[derive(Debug, Clone, PartialEq)]
pub struct Remembered {
    /// The edit's id.
    pub edit: usize,
    /// The routing activation it was left with.
    pub activation: f32,
    /// What it is recognised by.
    pub key: Key,
}

/// A changed copy of the edited matrix.
#[derive(Debug, Clone)]
pub struct SideMemory {
    /// `[hidden, ffn]`.
    pub matrix: Tensor<2>,
    /// Its edits; of a prompt edited twice only the newest.
    pub edits: Vec<Remembered>,
}

impl SideMemory {
    /// Smallest routing activation of its edits, epsilon in the paper; infinite without edits.
    pub fn min_activation(&self) -> f32 {
        let activations = self.edits.iter().map(|edit| edit.activation);
        activations.fold(f32::INFINITY, f32::min)
    }

    /// The edit whose key a text fits best; none without edits.
    pub fn nearest(&self, reading: &Reading) -> Option<(Match, &Remembered)> {
        let mut best: Option<(Match, &Remembered)> = None;
        for edit in &self.edits {
            let rank = best.map_or(f32::NEG_INFINITY, |(fit, _)| fit.rank());
            if let Some(fit) = edit.key.fits_better(reading, rank) {
                best = Some((fit, edit));
            }
        }
        best
    }
}

/// The side memories at one matrix of a model, and who picks between them. The main memory is the model's own
/// and never written.
#[derive(Debug, Clone)]
pub struct Memories {
    /// Layer of the edited matrix.
    pub layer: usize,
    /// Side memories, oldest first.
    pub side: Vec<SideMemory>,
    /// The router.
    pub router: Router,
    /// Reads what the edits' keys are compared with, where the router goes by that.
    pub reader: Option<Arc<KeyReader>>,
}

impl Memories {
    /// What a route stands for during a forward pass.
    pub fn overlay(&self, route: &Route) -> Overlay {
        match route.memory {
            Some(index) => Overlay::Replace(self.side[index].matrix.clone()),
            None => Overlay::Main,
        }
    }
}

impl Recall for Memories {
    fn layer(&self) -> usize {
        self.layer
    }

    fn read(&self, model: &Model, words: &[&[u32]]) -> Result<Vec<Option<Reading>>, Error> {
        let Some(reader) = &self.reader else {
            return Ok(vec![None; words.len()]);
        };
        let named = |reading: &Reading| self.router.finds_subject(reading, &self.side);
        let readings = reader.read(model, words, named)?;
        Ok(readings.into_iter().map(Some).collect())
    }

    fn recall(&self, model: &Model, site: &EditSite, queries: &[Query]) -> Vec<Recalled> {
        let routes = self.router.route(model, site, queries, &self.side);
        let recalled = |route: Route| Recalled {
            overlay: self.overlay(&route),
            route,
        };
        routes.into_iter().map(recalled).collect()
    }

    fn considered(&self, model: &Model, site: &EditSite, query: &Query) -> Vec<Considered> {
        self.router.considered(model, site, query, &self.side)
    }

    fn memory_of(&self, edit: usize) -> Option<usize> {
        let holds = |memory: &SideMemory| memory.edits.iter().any(|e| e.edit == edit);
        self.side.iter().position(holds)
    }

    fn known(&self, edit: usize) -> Option<Recalled> {
        let route = Route {
            memory: Some(self.memory_of(edit)?),
            ..Route::UNROUTED
        };
        let overlay = self.overlay(&route);
        Some(Recalled { overlay, route })
    }

    fn routes_together(&self) -> bool {
        self.router.routes_together()
    }
}
