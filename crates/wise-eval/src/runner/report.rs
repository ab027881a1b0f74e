//! From what a run knows to its report.

use std::collections::HashMap;

use wise_edit::{Editor, Snapshot};

use super::editing::MadeEdit;
use super::{Baseline, Identity};
use crate::metrics::{Drift, Measured, RecordScores, Report, SCHEMA, Summary};
use crate::{Record, peak_memory_bytes};

/// The id of the next edit of each record's prompt, if there is one.
pub(super) fn superseded_by<'a>(
    records: impl DoubleEndedIterator<Item = &'a Record> + ExactSizeIterator,
) -> Vec<Option<usize>> {
    let count = records.len();
    let mut later: HashMap<String, usize> = HashMap::new();
    let mut by: Vec<Option<usize>> = records
        .rev()
        .zip((1..=count).rev())
        .map(|(record, id)| later.insert(record.edit().fact(), id))
        .collect();
    by.reverse();
    by
}

pub(super) fn assemble(
    editor: &dyn Editor,
    identity: Identity,
    snapshot: &Snapshot,
    baselines: Vec<Baseline>,
    made: Vec<MadeEdit>,
    after: Vec<Measured>,
    drift: Option<Drift>,
) -> Report {
    let superseded_by = superseded_by(baselines.iter().map(|b| &b.record));
    let wall: f64 = made.iter().map(|edit| edit.wall).sum();
    let records: Vec<RecordScores> = baselines
        .into_iter()
        .zip(made)
        .zip(after)
        .zip(superseded_by)
        .map(|(((baseline, made), after), superseded_by)| RecordScores {
            record: baseline.record,
            id: made.id,
            superseded_by,
            seconds: made.seconds,
            iterations: made.iterations,
            losses: made.losses,
            work: made.work,
            memory: snapshot.learnt().memory_of(made.id),
            resident_bytes: made.resident_bytes,
            before: baseline.measured,
            immediate: made.immediate,
            after,
        })
        .collect();
    let mut summary = Summary::of(&records);
    summary.drift = drift;
    summary.peak_memory_bytes = peak_memory_bytes();
    summary.seconds_per_edit = (!records.is_empty()).then(|| wall / records.len() as f64);
    Report {
        schema: SCHEMA,
        model: identity.model,
        editor: identity.editor,
        edits: records.len(),
        seed: editor.seed(),
        order: identity.plan.order,
        prompt_format: editor.format(),
        oracle_router: identity.plan.oracle_router,
        protocols: Some(identity.plan.protocols),
        held_text: identity.plan.held_text,
        relations: identity.plan.relations,
        negatives: identity.plan.negatives,
        config: identity.config,
        setup: identity.setup,
        data: identity.plan.data,
        summary,
        records,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_superseded_by_the_next_edit_of_its_prompt() {
        let record = |prompt: &str| Record {
            prompt: prompt.to_owned(),
            ..Record::default()
        };
        let records = ["a", "b", " A", "“a”"].map(record);
        assert_eq!(
            superseded_by(records.iter()),
            [Some(3), None, Some(4), None]
        );
    }
}
