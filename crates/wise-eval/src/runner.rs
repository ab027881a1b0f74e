//! Edits first, questions afterwards.

use std::time::Instant;

use serde::Serialize;
use wise_edit::{EditProgress, Editor, Snapshot};

use crate::protocol::{Measured, Protocols, Unedited, measure};
use crate::{Record, Result};

/// How far an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EvalProgress {
    /// The unedited model is asked.
    Baseline {
        /// Records done.
        done: usize,
        /// Records in all.
        of: usize,
    },
    /// The edits are made.
    Editing(EditProgress),
    /// The edited model is asked.
    Scoring {
        /// Records done.
        done: usize,
        /// Records in all.
        of: usize,
    },
}

/// One record and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordScores {
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// What its edit took.
    pub seconds: f64,
    /// Iterations of its edit.
    pub iterations: usize,
    /// Scores after the last edit.
    #[serde(flatten)]
    pub after: Measured,
    /// Scores of the unedited model, which has no locality: that is measured against it.
    pub before: Measured,
}

/// All scores of an evaluation, in the order of the edits.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Scores {
    /// One per edit.
    pub records: Vec<RecordScores>,
}

/// Makes the records' edits in order and scores all of them on what the editor has become by then. The
/// unedited model is asked before the first edit.
///
/// `unedited` must be the editor's model, asked in the editor's prompt format.
///
/// # Errors
/// If an edit fails or a record does not fit the model's context.
pub fn run(
    editor: &mut dyn Editor,
    unedited: &Snapshot,
    records: &[Record],
    protocols: Protocols,
    progress: &mut dyn FnMut(EvalProgress),
) -> Result<Scores> {
    let of = records.len();
    let mut before = Vec::with_capacity(of);
    for (record, done) in records.iter().zip(1..) {
        let reference = Unedited::ask(unedited, record, protocols)?;
        let measured = measure(unedited, record, &Unedited::default(), protocols)?;
        before.push((reference, measured));
        progress(EvalProgress::Baseline { done, of });
    }
    let mut edited = Vec::with_capacity(of);
    for index in 0..of {
        edited.push(edit_one(editor, records, index, progress)?);
    }
    let snapshot = editor.snapshot();
    let mut scores = Scores::default();
    for (done, ((record, (reference, before)), (seconds, iterations))) in
        (1..).zip(records.iter().zip(before).zip(edited))
    {
        scores.records.push(RecordScores {
            record: record.clone(),
            seconds,
            iterations,
            after: measure(&snapshot, record, &reference, protocols)?,
            before,
        });
        progress(EvalProgress::Scoring { done, of });
    }
    Ok(scores)
}

/// Seconds and iterations of the `index`-th edit.
fn edit_one(
    editor: &mut dyn Editor,
    records: &[Record],
    index: usize,
    progress: &mut dyn FnMut(EvalProgress),
) -> Result<(f64, usize)> {
    let edit = records[index].edit();
    let mut observe = |inner: EditProgress| {
        progress(EvalProgress::Editing(EditProgress {
            edit: index,
            edits: records.len(),
            ..inner
        }));
    };
    let started = Instant::now();
    let applied = editor.apply(&[edit], &mut observe)?;
    let seconds = started.elapsed().as_secs_f64();
    Ok((seconds, applied.first().map_or(0, |edit| edit.iterations)))
}

#[cfg(test)]
mod tests;
