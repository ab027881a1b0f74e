//! The same questions to several models, without editing any.

use std::collections::BTreeMap;
use std::ops::Range;

use wise_edit::Snapshot;

use super::chunks;
use super::in_order::in_order;
use super::report::superseded_by;
use crate::metrics::{Measured, ScoreName};
use crate::protocol::{Reference, ToScore, measure};
use crate::{Protocols, Record, Result};

/// Mean scores of the unedited model and of some edited ones on the same records, one beside the other; none where a
/// model has no such score. Of a prompt edited twice the newest record counts. Locality is compared with the unedited
/// model. `progress` is told how many chunks of questions are done, and of how many.
///
/// # Errors
/// If a record does not fit the model's context.
pub fn side_by_side(
    unedited: &Snapshot,
    edited: &[&Snapshot],
    records: &[Record],
    protocols: Protocols,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<BTreeMap<ScoreName, Vec<Option<f64>>>> {
    let newest = records.iter().zip(superseded_by(records.iter()));
    let newest = newest.filter(|(_, later)| later.is_none());
    let records: Vec<Record> = newest.map(|(record, _)| record.clone()).collect();
    let chunks = chunks(&records);
    let (mut done, of) = (0, chunks.len() * (edited.len() + 1));
    let mut ask = |snapshot: &Snapshot, references: &[Reference]| -> Result<Vec<_>> {
        let of_chunk = |chunk: &Range<usize>| {
            let asked = chunk.clone().map(|i| (&records[i], references.get(i)));
            let asked: Vec<ToScore<'_>> = asked.collect();
            measure(snapshot, &asked, protocols)
        };
        let mut all = Vec::new();
        let at_once = snapshot.batches_at_once();
        in_order(&chunks, at_once, &of_chunk, &mut |_, measured| {
            all.extend(measured);
            done += 1;
            progress(done, of);
            Ok(())
        })?;
        Ok(all)
    };
    let (of_unedited, references): (Vec<Measured>, Vec<Reference>) =
        ask(unedited, &[])?.into_iter().unzip();
    let mut models = vec![of_unedited];
    for snapshot in edited {
        let measured = ask(snapshot, &references)?.into_iter();
        models.push(measured.map(|(measured, _)| measured).collect());
    }
    let mut names: Vec<&ScoreName> = models
        .iter()
        .flatten()
        .flat_map(|m| m.scores.keys())
        .collect();
    names.sort_unstable();
    names.dedup();
    let of_model = |name: &ScoreName, model: &Vec<Measured>| {
        let values = model.iter().filter_map(|m| m.scores.get(name).copied());
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let row = |name: &ScoreName| {
        let row = models.iter().map(|model| of_model(name, model)).collect();
        (name.clone(), row)
    };
    Ok(names.into_iter().map(row).collect())
}
