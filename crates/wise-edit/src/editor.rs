//! The trait of everything that edits a model.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wise_model::{Model, PromptFormat};

use crate::{AppliedEdit, Edit, Result, Snapshot};

/// Changes what a model answers, one edit after another.
///
/// An editor is mutable; what it has learnt is handed out as a [`Snapshot`], which never changes.
pub trait Editor: Any {
    /// A short name for reports: `wise`, `grace`.
    fn name(&self) -> &'static str;

    /// The model underneath.
    fn model(&self) -> &Arc<Model>;

    /// Whether a router picks between the model and memories beside it, so that an oracle can stand in for it
    /// ([`Snapshot::oracle`]).
    fn has_side_memories(&self) -> bool {
        false
    }

    /// How questions are put to it.
    fn format(&self) -> PromptFormat;

    /// Every hyperparameter, as resolved for this model.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    fn hyperparameters(&self) -> Result<serde_json::Value>;

    /// What edits depend on besides the hyperparameters. Editors that are equal in both make the same of the same edits.
    fn setup(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Seed of everything random.
    fn seed(&self) -> u64;

    /// Most iterations that one edit takes.
    fn iterations(&self) -> usize;

    /// Makes edits in order. If one fails, those reported to `watch` before hold, and the others were never asked for.
    ///
    /// # Errors
    /// If an edit is not usable or its training fails.
    fn apply(&mut self, edits: &[Edit], watch: &mut dyn Watch) -> Result<Vec<AppliedEdit>>;

    /// Makes a stream of edits, except those that the `parts` of an interrupted run hold already. The editor
    /// must be new, and the stream the one that run was given; `watch` counts edits in the stream.
    ///
    /// # Errors
    /// If an edit is not usable or its training fails, or the parts do not belong to this stream.
    fn resume(
        &mut self,
        stream: &[Edit],
        parts: Vec<StatePart>,
        watch: &mut dyn Watch,
    ) -> Result<()>;

    /// Every edit made, by id.
    fn history(&self) -> Vec<&AppliedEdit>;

    /// The model as edited so far.
    ///
    /// # Errors
    /// If what was learnt cannot be brought together.
    fn snapshot(&self) -> Result<Snapshot>;

    /// The model with what this edit was trained into and nothing else. Where edits share one change of the
    /// model, that is all of it.
    ///
    /// # Errors
    /// As [`Self::snapshot`], and if there is no such edit.
    fn snapshot_of(&self, _id: usize) -> Result<Snapshot> {
        self.snapshot()
    }

    /// What has to be kept of the editor once this edit is made, in place of the earlier part of that name.
    ///
    /// # Errors
    /// If it cannot be written down.
    fn part_of(&self, id: usize) -> Result<StatePart>;
}

/// A part of an editor's state, for a run that may be interrupted.
#[derive(Debug, Clone, PartialEq)]
pub struct StatePart {
    /// Which part.
    pub name: String,
    /// Everything but the numbers, as JSON.
    pub header: String,
    /// Shape and values by name.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// How far an edit is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditProgress {
    /// The edit, counted from 0 in the call.
    pub edit: usize,
    /// Edits of the call.
    pub edits: usize,
    /// Iterations done on it.
    pub iteration: usize,
    /// Most iterations it can take.
    pub iterations: usize,
    /// Its edit loss, nats per token.
    pub edit_loss: f32,
    /// Its router loss; 0 without a router.
    pub router_loss: f32,
    /// What this iteration took; `None` where the editor does not count it.
    pub work: Option<Work>,
}

/// The work of training iterations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Tokens of the sequences that the edit loss is computed on.
    pub row_tokens: u64,
    /// Floating-point operations in products with weights, forward and backward.
    pub flops: u64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.row_tokens += other.row_tokens;
        self.flops += other.flops;
    }
}

/// An edit that was just made.
pub struct Made<'a> {
    /// The editor; edits that train beside this one may or may not be in it.
    pub editor: &'a dyn Editor,
    /// The edit, counted from 0 in the call.
    pub index: usize,
    /// What became of it.
    pub applied: &'a AppliedEdit,
    /// What its training took.
    pub seconds: f64,
    /// How many edits train side by side, at most: a stream gets on by one in `seconds / at_once`.
    pub at_once: usize,
}

/// Looks on while edits are made. A closure that takes an [`EditProgress`] is one.
pub trait Watch {
    /// An iteration is done.
    fn progress(&mut self, _progress: EditProgress) {}

    /// An edit is made. On [`ControlFlow::Break`] no further edit is begun.
    fn made(&mut self, _made: Made<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(EditProgress)> Watch for F {
    fn progress(&mut self, progress: EditProgress) {
        self(progress);
    }
}
