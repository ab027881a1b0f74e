//! What an editor is asked to do, and what became of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use wise_memory::plain_text;

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

    /// What makes two edits corrections of the same fact: the prompt as keys are read from it ([`plain_text`]), so that no
    /// two memories claim the same key.
    pub fn fact(&self) -> String {
        plain_text(&self.prompt)
    }
}

/// What became of one edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppliedEdit {
    /// Its number in the life of the editor, from 1; never given twice.
    pub id: usize,
    /// The edit.
    #[serde(flatten)]
    pub edit: Edit,
    /// The earlier edit of the same prompt that no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<usize>,
    /// The router negative it began with, counted from 0; each iteration takes the next ones in turn.
    pub first_negative: usize,
    /// Iterations it took.
    pub iterations: usize,
    /// Edit loss at the last iteration, nats per token: the edit's plus that of the earlier edits rehearsed along with it.
    pub edit_loss: f32,
    /// Router loss at the last iteration; 0 without a router.
    pub router_loss: f32,
    /// Routing activation that it has after the last edit of its memory; 0 without a router.
    pub activation: f32,
}

/// For each of some edits in order, the id of the earlier one of the same prompt.
pub(crate) fn superseded<'a>(
    edits: impl Iterator<Item = (usize, &'a Edit)>,
) -> HashMap<usize, usize> {
    let mut newest = HashMap::new();
    edits
        .filter_map(|(id, edit)| Some((id, newest.insert(edit.fact(), id)?)))
        .collect()
}

/// Whether a history is that of the first edits of `stream`; the error says which edit is another one.
pub(crate) fn check_history(history: &[AppliedEdit], stream: &[Edit]) -> Result<(), String> {
    for (index, applied) in history.iter().enumerate() {
        if stream.get(index) != Some(&applied.edit) || applied.id != index + 1 {
            return Err(format!("edit {} is another one", index + 1));
        }
    }
    Ok(())
}

/// The id of the newest edit of a history that an edit takes the place of.
pub(crate) fn replaced_by(edit: &Edit, history: &[AppliedEdit]) -> Option<usize> {
    let (fact, mut earlier) = (edit.fact(), history.iter().rev());
    let same = earlier.find(|applied| applied.edit.fact() == fact);
    same.map(|applied| applied.id)
}
