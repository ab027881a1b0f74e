//! Main memory and side memories.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use wise_model::{EditSite, Model, Overlay};

use crate::recall::{Query, Recall, Recalled};
use crate::{Route, ThresholdRouter};

/// What a side memory knows of one of its edits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// The edit's id.
    pub edit: usize,
    /// The routing activation it was left with.
    pub activation: f32,
    /// The direction of what the main memory puts out on its prompt, mean over the voting tokens, of length 1;
    /// kept only where the router finds edits by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<f32>>,
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
    pub router: ThresholdRouter,
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

    fn recall(&self, model: &Model, site: &EditSite, queries: &[Query]) -> Vec<Recalled> {
        let routes = self.router.route(model, site, queries, &self.side);
        let recalled = |route: Route| Recalled {
            overlay: self.overlay(&route),
            route,
        };
        routes.into_iter().map(recalled).collect()
    }

    fn memory_of(&self, edit: usize) -> Option<usize> {
        let holds = |memory: &SideMemory| memory.edits.iter().any(|e| e.edit == edit);
        self.side.iter().position(holds)
    }

    fn routes_together(&self) -> bool {
        self.router.routes_together()
    }
}
