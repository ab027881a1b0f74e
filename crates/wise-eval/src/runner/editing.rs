//! The edits, each kept on disk once it is made.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use wise_edit::{EditProgress, Made, Watch, Work};

use super::EvalProgress;
use super::folder::Folder;
use crate::metrics::Measured;
use crate::peak_memory::resident_memory_bytes;
use crate::protocol::measure_edit;
use crate::{Error, Protocols, Record, Result};

/// An edit that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MadeEdit {
    pub(super) id: usize,
    /// What its training took.
    pub(super) seconds: f64,
    /// Its share of the time in which edits that train side by side are made.
    pub(super) wall: f64,
    pub(super) iterations: usize,
    pub(super) losses: Vec<[f32; 2]>,
    #[serde(default)]
    pub(super) work: Option<Work>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) immediate: Measured,
}

/// Looks on while the editor works.
pub(super) struct Editing<'a> {
    records: &'a [Record],
    protocols: Protocols,
    folder: &'a mut Folder,
    progress: &'a mut dyn FnMut(EvalProgress),
    made: BTreeMap<usize, MadeEdit>,
    /// Of the edits in training, by their index.
    losses: BTreeMap<usize, Vec<[f32; 2]>>,
    work: BTreeMap<usize, Work>,
    failed: Option<Error>,
}

impl<'a> Editing<'a> {
    pub(super) fn new(
        records: &'a [Record],
        protocols: Protocols,
        made: BTreeMap<usize, MadeEdit>,
        folder: &'a mut Folder,
        progress: &'a mut dyn FnMut(EvalProgress),
    ) -> Self {
        Self {
            records,
            protocols,
            folder,
            progress,
            made,
            losses: BTreeMap::new(),
            work: BTreeMap::new(),
            failed: None,
        }
    }

    /// All edits by id, or why not.
    pub(super) fn finish(self, outcome: wise_edit::Result<()>) -> Result<Vec<MadeEdit>> {
        match self.failed {
            Some(error) => Err(error),
            None => outcome.map_err(Error::from),
        }?;
        Ok(self.made.into_values().collect())
    }

    fn keep(&mut self, made: &Made<'_>) -> Result<()> {
        let id = made.applied.id;
        let snapshot = made.editor.snapshot_of(id)?;
        let record = &self.records[made.index];
        let edit = MadeEdit {
            id,
            seconds: made.seconds,
            wall: made.seconds / made.at_once as f64,
            iterations: made.applied.iterations,
            losses: self.losses.remove(&made.index).unwrap_or_default(),
            work: self.work.remove(&made.index),
            resident_bytes: resident_memory_bytes(),
            immediate: measure_edit(&snapshot, record, self.protocols)?,
        };
        // The part says which edits count, so it comes last.
        self.folder.keep_edit(&edit)?;
        self.folder.keep_part(&made.editor.part_of(id)?)?;
        self.made.insert(id, edit);
        Ok(())
    }
}

impl Watch for Editing<'_> {
    fn progress(&mut self, progress: EditProgress) {
        let losses = [progress.edit_loss, progress.router_loss];
        self.losses.entry(progress.edit).or_default().push(losses);
        if let Some(work) = progress.work {
            *self.work.entry(progress.edit).or_default() += work;
        }
        (self.progress)(EvalProgress::Editing(progress));
    }

    fn made(&mut self, made: Made<'_>) -> ControlFlow<()> {
        if let Err(error) = self.keep(&made) {
            self.failed.get_or_insert(error);
            return ControlFlow::Break(());
        }
        (self.progress)(EvalProgress::Made {
            index: made.index,
            done: self.made.len(),
            of: self.records.len(),
        });
        ControlFlow::Continue(())
    }
}
