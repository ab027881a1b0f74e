//! Edits first, questions afterwards; everything on disk as soon as it is known.

mod editing;
mod folder;
mod in_order;
mod order;
mod report;
mod side_by_side;

use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wise_edit::{Edit, EditProgress, Editor, Snapshot};

pub use self::order::shuffle;
pub use self::side_by_side::side_by_side;

use self::editing::Editing;
use self::folder::Folder;
use self::in_order::in_order;
use crate::metrics::{Data, Drift, Measured, ModelInfo, RUN_FILE, Report};
use crate::protocol::drift::{self, OfWindow};
use crate::protocol::{Reference, ToScore, measure, measure_edited};
use crate::{Error, Protocols, Record, Result};

/// What a run is about; it is written down when the run begins, and a run goes on only with the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Where the records come from.
    pub data: Data,
    /// Seed of the shuffle that their order comes from; `None`: as in the file.
    pub order: Option<u64>,
    /// How answers are scored.
    pub protocols: Protocols,
    /// Text whose perplexity is taken before and after the edits, and how many windows of it.
    pub held_text: Option<HeldText>,
    /// Whether, once all edits are made, each question about an edit goes to the memory that holds it
    /// ([`Snapshot::oracle`]): what is lost then is lost by the memory, not by the router. Locality is not asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oracle_router: bool,
    /// Map of what prompts ask for, as given; none: the program's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<PathBuf>,
    /// Prompts that the router learns to leave alone, as given; none: the program's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negatives: Option<PathBuf>,
}

/// Ordinary text, see [`drift`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldText {
    /// The file, as given.
    pub path: PathBuf,
    /// Windows to take of it.
    pub windows: usize,
}

/// Where a run keeps what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFolder<'a> {
    /// The folder.
    pub path: &'a Path,
    /// Whether an interrupted run in it goes on.
    pub resume: bool,
    /// A run over the same records and model whose answers before editing may be taken over.
    pub baseline: Option<&'a Path>,
}

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
    /// An edit is made, and asked about.
    Made {
        /// Which edit, counted from 0.
        index: usize,
        /// Edits made.
        done: usize,
        /// Edits in all.
        of: usize,
    },
    /// The edited model is asked.
    Scoring {
        /// Records done.
        done: usize,
        /// Records in all.
        of: usize,
    },
    /// Ordinary text is read, on the unedited and on the edited model.
    Drift {
        /// Windows done.
        done: usize,
        /// Windows in all.
        of: usize,
    },
}

/// Everything that says whether two runs are one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Identity {
    model: ModelInfo,
    editor: String,
    config: serde_json::Value,
    /// sha256 of what edits depend on besides.
    #[serde(default)]
    setup: String,
    plan: Plan,
    edits: usize,
}

/// What the unedited model made of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Baseline {
    record: Record,
    measured: Measured,
    reference: Reference,
}

/// Makes the records' edits in order, and scores all of them on what the editor has become by then. Before the
/// first edit the unedited model is asked; right after each edit, its own prompt.
///
/// The editor must be new. Whatever is known is in the folder at once: an interrupted run that is resumed ends
/// with the same numbers as one that never stopped, times and memory apart.
///
/// # Errors
/// If an edit fails or a record does not fit the model's context; [`Error::NoRouter`]; [`Error::OtherRun`]
/// and [`Error::RunExists`] if the folder holds a run already; [`Error::Io`].
pub fn run(
    editor: &mut dyn Editor,
    records: &[Record],
    plan: &Plan,
    folder: RunFolder<'_>,
    progress: &mut dyn FnMut(EvalProgress),
) -> Result<Report> {
    if plan.oracle_router && !editor.has_side_memories() {
        let editor = editor.name();
        return Err(Error::NoRouter { editor });
    }
    let model = editor.model();
    let identity = Identity {
        model: ModelInfo {
            name: model.name().to_owned(),
            sha256: model.sha256().to_owned(),
            precision: model.precision().to_string(),
        },
        editor: editor.name().to_owned(),
        config: editor.hyperparameters()?,
        setup: format!("{:x}", Sha256::digest(editor.setup())),
        plan: plan.clone(),
        edits: records.len(),
    };
    let unedited = Snapshot::unedited(model.clone(), editor.format());
    // Read now: an unusable text must not come to light after the edits.
    let windows = windows(&unedited, plan)?;
    let mut folder = Folder::open(folder, &identity)?;
    let baselines = baselines(&unedited, records, plan, &mut folder, progress)?;

    let edits: Vec<Edit> = records.iter().map(Record::edit).collect();
    let (parts, made) = (folder.parts()?, folder.made()?);
    let mut editing = Editing::new(records, plan.protocols, made, &mut folder, progress);
    let outcome = editor.resume(&edits, parts, &mut editing);
    let made = editing.finish(outcome)?;
    if made.len() != records.len() {
        return Err(folder.lacks_edits(made.len(), records.len()));
    }

    let snapshot = editor.snapshot()?;
    let after = after(&snapshot, records, &baselines, plan, &mut folder, progress)?;
    let drift = held_text(&unedited, &snapshot, &windows, progress)?;
    let report = report::assemble(editor, identity, &snapshot, baselines, made, after, drift);
    report.write(folder.path())?;
    Ok(report)
}

fn baselines(
    unedited: &Snapshot,
    records: &[Record],
    plan: &Plan,
    folder: &mut Folder,
    progress: &mut dyn FnMut(EvalProgress),
) -> Result<Vec<Baseline>> {
    let of = records.len();
    let mut known = folder.baselines(records)?;
    let lacks = |chunk: &Range<usize>| chunk.clone().any(|i| !known.contains_key(&i));
    let missing: Vec<Range<usize>> = chunks(records).into_iter().filter(lacks).collect();
    let ask = |chunk: &Range<usize>| {
        let asked: Vec<ToScore<'_>> = records[chunk.clone()].iter().map(|r| (r, None)).collect();
        measure(unedited, &asked, plan.protocols)
            .map_err(|error| of_record(unedited, records, chunk, plan, error))
    };
    let at_once = unedited.batches_at_once();
    in_order(&missing, at_once, &ask, &mut |position, measured| {
        for (index, (measured, reference)) in missing[position].clone().zip(measured) {
            if let Entry::Vacant(unknown) = known.entry(index) {
                let baseline = Baseline {
                    record: records[index].clone(),
                    measured,
                    reference,
                };
                folder.keep_baseline(&baseline)?;
                unknown.insert(baseline);
            }
        }
        let done = known.len();
        progress(EvalProgress::Baseline { done, of });
        Ok(())
    })?;
    Ok(known.into_values().collect())
}

/// An error of some records together, with the record that has it alone.
fn of_record(
    unedited: &Snapshot,
    records: &[Record],
    chunk: &Range<usize>,
    plan: &Plan,
    error: Error,
) -> Error {
    let alone = |&index: &usize| measure(unedited, &[(&records[index], None)], plan.protocols);
    match chunk.clone().find(|index| alone(index).is_err()) {
        Some(index) => Error::OfRecord {
            record: index + 1,
            prompt: records[index].prompt.chars().take(80).collect(),
            source: Box::new(error),
        },
        None => error,
    }
}

/// Records that are asked about side by side, as ranges: a few, and fewer where their texts are long. It depends on
/// the records alone, so that a run that goes on asks as one that never stopped.
fn chunks(records: &[Record]) -> Vec<Range<usize>> {
    const RECORDS: usize = 16;
    const BYTES: usize = 8000;
    let mut chunks: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, record) in records.iter().enumerate() {
        bytes += record.bytes();
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < RECORDS && bytes <= BYTES => chunk.end = index + 1,
            _ => {
                chunks.push(index..index + 1);
                bytes = record.bytes();
            }
        }
    }
    chunks
}

/// Scores at the end of the stream; none for a record whose prompt was edited again later.
fn after(
    snapshot: &Snapshot,
    records: &[Record],
    baselines: &[Baseline],
    plan: &Plan,
    folder: &mut Folder,
    progress: &mut dyn FnMut(EvalProgress),
) -> Result<Vec<Measured>> {
    let superseded_by = report::superseded_by(records.iter());
    let of = records.len();
    let mut known = folder.scores()?;
    known.truncate(of);
    let mut missing = chunks(records);
    missing.retain(|chunk| chunk.end > known.len());
    let ask = |chunk: &Range<usize>| {
        let counts: Vec<usize> = (chunk.clone())
            .filter(|&index| superseded_by[index].is_none())
            .collect();
        let scores: Vec<Measured> = if plan.oracle_router {
            let by_oracle = |&index: &usize| {
                let oracle = snapshot.oracle(index + 1);
                let asked = oracle.as_ref().unwrap_or(snapshot);
                measure_edited(asked, &records[index], plan.protocols)
            };
            counts.iter().map(by_oracle).collect::<Result<_>>()?
        } else {
            let asked = counts
                .iter()
                .map(|&index| (&records[index], Some(&baselines[index].reference)));
            let asked: Vec<ToScore<'_>> = asked.collect();
            let measured = measure(snapshot, &asked, plan.protocols)?;
            measured.into_iter().map(|(scores, _)| scores).collect()
        };
        let mut measured = vec![Measured::default(); chunk.len()];
        for (index, scores) in counts.into_iter().zip(scores) {
            measured[index - chunk.start] = scores;
        }
        Ok(measured)
    };
    let at_once = snapshot.batches_at_once();
    in_order(&missing, at_once, &ask, &mut |position, measured| {
        let known_of_chunk = known.len() - missing[position].start;
        for measured in measured.into_iter().skip(known_of_chunk) {
            folder.keep_scores(&measured)?;
            known.push(measured);
        }
        let done = known.len();
        progress(EvalProgress::Scoring { done, of });
        Ok(())
    })?;
    Ok(known)
}

/// The windows of the held text; none without one.
fn windows(unedited: &Snapshot, plan: &Plan) -> Result<Vec<Vec<u32>>> {
    let Some(held) = &plan.held_text else {
        return Ok(Vec::new());
    };
    let text = std::fs::read_to_string(&held.path).map_err(Error::io("read", &held.path))?;
    drift::windows(unedited, &text, held.windows)
}

fn held_text(
    unedited: &Snapshot,
    snapshot: &Snapshot,
    windows: &[Vec<u32>],
    progress: &mut dyn FnMut(EvalProgress),
) -> Result<Option<Drift>> {
    if windows.is_empty() {
        return Ok(None);
    }
    let of = windows.len();
    let both = |window: &Vec<u32>| {
        let before = drift::of_window(unedited, window)?;
        Ok((before, drift::of_window(snapshot, window)?))
    };
    let (mut before, mut after): (Vec<OfWindow>, Vec<OfWindow>) = (Vec::new(), Vec::new());
    let at_once = snapshot.batches_at_once();
    in_order(windows, at_once, &both, &mut |index, (unedited, edited)| {
        before.push(unedited);
        after.push(edited);
        progress(EvalProgress::Drift {
            done: index + 1,
            of,
        });
        Ok(())
    })?;
    let to_side = after.iter().filter(|window| window.routed_to_side).count();
    Ok(Some(Drift {
        windows: of,
        perplexity_before: drift::perplexity(&before),
        perplexity_after: drift::perplexity(&after),
        routed_to_side: to_side as f64 / of as f64,
    }))
}

/// Whether a folder holds a run, finished or not.
pub fn holds_run(folder: &Path) -> bool {
    folder.join(RUN_FILE).exists()
}
