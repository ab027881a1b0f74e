//! What an editor is asked to do, and the trait of those that do it.

use serde::{Deserialize, Serialize};

use crate::{Result, Snapshot};

/// One correction: asked `prompt`, the model shall answer `target`.
///
/// Fields that only an evaluation may see (rephrase, locality, portability) do not exist here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The question or beginning of a sentence.
    pub prompt: String,
    /// The answer or continuation.
    pub target: String,
    /// What the fact is about, if known; a part of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Edit {
    /// An edit without a subject.
    pub fn new(prompt: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            target: target.into(),
            subject: None,
        }
    }
}

/// How far an editor is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditProgress {
    /// The edit in hand, counted from 0.
    pub edit: usize,
    /// Edits of this call.
    pub edits: usize,
    /// Iterations done on it.
    pub iteration: usize,
    /// Most iterations it can take.
    pub iterations: usize,
    /// Its training loss.
    pub loss: f32,
}

/// What became of one edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppliedEdit {
    /// The edit.
    #[serde(flatten)]
    pub edit: Edit,
    /// The router negative it began with, counted from 0; each iteration takes the next ones in turn.
    pub first_negative: usize,
    /// Earlier edits it was trained along with, counted from 0.
    pub rehearsed: Vec<usize>,
    /// Iterations it took.
    pub iterations: usize,
    /// Edit loss at the last iteration, nats per token: the edit's plus the rehearsed edits'.
    pub edit_loss: f32,
    /// Router loss at the last iteration.
    pub router_loss: f32,
    /// Routing activation it was left with.
    pub activation: f32,
}

/// Changes what a model answers, one edit after another.
///
/// An editor is mutable; what it has learnt is handed out as a [`Snapshot`], which never changes.
pub trait Editor {
    /// Makes the edits in order. If one fails, those before it hold.
    ///
    /// # Errors
    /// If an edit is not usable or its training fails.
    fn apply(
        &mut self,
        edits: &[Edit],
        progress: &mut dyn FnMut(EditProgress),
    ) -> Result<Vec<AppliedEdit>>;

    /// The model as edited so far.
    fn snapshot(&self) -> Snapshot;
}
