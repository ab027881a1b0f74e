//! What an evaluation leaves behind: `metrics.json`, schema 2.
//!
//! # Schema 2
//!
//! Keys in this order. A number that could not be measured is null; so is one that is not finite, JSON having no
//! way to write it.
//!
//! | key | is |
//! | --- | --- |
//! | `schema` | 2 |
//! | `model` | `name` as given, `sha256` of the weight files |
//! | `editor` | `wise`, `ft-m`, `ft-l`, `grace`, `lora` or `retrieval` |
//! | `edits` | how many, in one sequence |
//! | `seed` | of everything the editor draws |
//! | `order` | seed of the shuffle of the records; null: as in the file |
//! | `prompt_format` | `chat` or `raw` |
//! | `oracle_router` | true, or absent |
//! | `config` | every hyperparameter, as resolved for this model, ablation switches among them |
//! | `setup` | sha256 of what edits depend on besides (for `wise` templates, negatives and the map of relations); absent if not known |
//! | `data` | `path` and `format` as given, `sha256` of the file |
//! | `summary` | over all records, see below |
//! | `records` | one per edit, in the order of the edits, see below |
//!
//! ## Names and moments
//!
//! A score's name is `protocol.question.metric`, such as `generation.edit.exact_match`:
//!
//! | part | is one of |
//! | --- | --- |
//! | protocol | `teacher_forced`, `generation`, `perplexity`, `likelihood` |
//! | question | `edit` (reliability), `rephrase` (generalization), `locality`, `locality_` and a group of it, `portability`, `ood` |
//! | metric | `token_accuracy`, `exact_match`, `f1`, `contains`, `agreement`, `accuracy`, all from 0 to 1; `perplexity`; `nll` (nats per token); `ngram_entropy` (bits) |
//!
//! A moment is `before` (the unedited model), `immediate` (right after the record's own edit, with the memory it
//! is in and no other: what of others may take its route, or is merged with it, shows at the end) or `end` (after the
//! last edit of the stream).
//!
//! ## `summary`
//!
//! | key | is |
//! | --- | --- |
//! | `scores` | per score and moment: `name`, `moment`, and over the records that have it `mean`, `low` and `high` (95 % bootstrap interval, see [`statistics`](crate::statistics)), `count` |
//! | `retention` | per score: `name` and `bins`, the scores at the end by age of the edit. A bin has `newest` and `oldest` age, in edits made since (0: the last edit), `mean`, `low`, `high`, `count` |
//! | `routing` | null if the editor does not route. `edits` and `rephrases`: share sent to the memory that holds the edit; `locality`: share sent to the main memory; `auc` and `roc` (false and true positive rates, ascending from `[0, 0]` to `[1, 1]`): edits and rephrases against locality prompts, by activation / threshold |
//! | `drift` | null if not measured. Perplexity of unrelated text: `windows` of text, `perplexity_before`, `perplexity_after`, and `routed_to_side`, the share of windows that a side memory answered |
//! | `seconds_per_edit` | mean over the edits; of edits that train side by side a share |
//! | `peak_memory_bytes` | the most memory the process had, model included |
//!
//! ## A record
//!
//! | key | is |
//! | --- | --- |
//! | `prompt`, `target`, … | the [`Record`] |
//! | `id` | the edit's number in the editor's life, from 1 |
//! | `superseded_by` | `id` of a later edit of the same prompt, or null. A superseded record has no scores at the end: its answer is no longer the right one |
//! | `seconds`, `iterations` | what its edit took |
//! | `losses` | per iteration: edit loss and router loss |
//! | `work` | of all its iterations: `row_tokens`, the tokens of the sequences in its edit loss, and `flops`, the floating-point operations in products with weights; or null |
//! | `memory` | index of the side memory that holds it at the end, or null |
//! | `resident_bytes` | memory of the process after this edit |
//! | `before`, `immediate`, `after` | one object per moment (`after`: at the end), see below |
//!
//! At each moment, `scores` maps names to numbers, and `answers` maps `protocol.question` (with `.1`, `.2`, … for
//! further prompts of the same question) to the `answer` where one was generated, why it ended (`finish`: `eos`
//! or `length`) and the `route`: `memory` (null: main memory), `activation`, `threshold`.

mod lenient;
mod summarise;

pub(crate) use lenient::number;
pub(crate) use summarise::{ratios, routed_by};

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wise_edit::Work;
use wise_model::{Finish, Precision, PromptFormat, replace_file};

use crate::statistics::Interval;
use crate::{Error, Format, HeldText, Protocols, Record, Result, RouteTaken};

/// The version of the report's schema.
pub const SCHEMA: u32 = 2;

/// Name of the report's file.
pub const METRICS_FILE: &str = "metrics.json";

/// What an evaluation writes when it begins; alone, it marks a run that is not finished.
pub const RUN_FILE: &str = "run.json";

/// A score's name, `protocol.question.metric`.
pub type ScoreName = String;

/// A whole evaluation; the [module](self) describes its JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was edited.
    pub model: ModelInfo,
    /// Name of the editor.
    pub editor: String,
    /// How many edits were made, in one sequence.
    pub edits: usize,
    /// Seed of everything the editor draws.
    pub seed: u64,
    /// Seed of the shuffle of the records; `None`: as in the file.
    pub order: Option<u64>,
    /// How questions were put to the model.
    pub prompt_format: PromptFormat,
    /// Whether an oracle stood in for the router at the end, see [`Plan::oracle_router`](crate::Plan::oracle_router).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oracle_router: bool,
    /// How answers were scored; `None`: an older report does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Protocols>,
    /// Text whose perplexity was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_text: Option<HeldText>,
    /// Map of what prompts ask for, see [`Plan::relations`](crate::Plan::relations).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<PathBuf>,
    /// Prompts that the router learnt to leave alone, see [`Plan::negatives`](crate::Plan::negatives).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negatives: Option<PathBuf>,
    /// Every hyperparameter, as resolved for this model.
    pub config: serde_json::Value,
    /// sha256 of what edits depend on besides, see [`Editor::setup`](wise_edit::Editor::setup); empty if not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setup: String,
    /// Where the records come from.
    pub data: Data,
    /// Over all records.
    pub summary: Summary,
    /// One per edit, in the order of the edits.
    pub records: Vec<RecordScores>,
}

/// A model, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The name it was opened by.
    pub name: String,
    /// sha256 of its weight files.
    pub sha256: String,
    /// What its own weights are held in.
    #[serde(default = "f32_of_older_reports")]
    pub precision: String,
}

fn f32_of_older_reports() -> String {
    Precision::F32.to_string()
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The file, as given.
    pub path: String,
    /// Its format.
    pub format: Format,
    /// sha256 of the file.
    pub sha256: String,
}

/// When a score was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// On the unedited model.
    Before,
    /// Right after the record's own edit.
    Immediate,
    /// After the last edit.
    End,
}

impl Moment {
    /// In order of time.
    pub const ALL: [Self; 3] = [Self::Before, Self::Immediate, Self::End];

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Immediate => "immediate",
            Self::End => "end",
        }
    }
}

/// What the records say together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// One per score and moment.
    pub scores: Vec<ScoreSummary>,
    /// One per score at the end.
    pub retention: Vec<Retention>,
    /// `None` if the editor does not route.
    pub routing: Option<Routing>,
    /// `None` if not measured.
    pub drift: Option<Drift>,
    /// Wall-clock time; `None` without edits.
    pub seconds_per_edit: Option<f64>,
    /// The most memory the process had, model included; `None` where the system does not say.
    pub peak_memory_bytes: Option<u64>,
}

/// A score's mean over the records that have it, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreSummary {
    /// Which score.
    pub name: ScoreName,
    /// When.
    pub moment: Moment,
    /// `mean`, `low`, `high` and `count`.
    #[serde(flatten)]
    pub interval: Interval,
}

/// A score at the end of the stream, by age of the edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// Which score.
    pub name: ScoreName,
    /// From the newest edits to the oldest, of equal count.
    pub bins: Vec<AgeBin>,
}

/// Edits of about the same age, which is the number of edits made since: 0 is the last edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgeBin {
    /// The smallest age in it.
    pub newest: usize,
    /// The largest.
    pub oldest: usize,
    /// `mean`, `low`, `high` and `count`.
    #[serde(flatten)]
    pub interval: Interval,
}

/// How well the router told edits from everything else, after the last edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// Share of edits sent to the memory that holds them.
    pub edits: Option<f64>,
    /// The same of their rephrases.
    pub rephrases: Option<f64>,
    /// Share of locality prompts sent to the main memory.
    pub locality: Option<f64>,
    /// [Area under the curve](crate::statistics::auc): edits and rephrases against locality prompts, by
    /// activation / threshold.
    pub auc: Option<f64>,
    /// The [curve](crate::statistics::roc).
    pub roc: Vec<[f64; 2]>,
}

/// What became of text that has nothing to do with the edits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// How many windows of text.
    pub windows: usize,
    /// Their perplexity on the unedited model.
    #[serde(deserialize_with = "lenient::number")]
    pub perplexity_before: f64,
    /// The same after the last edit.
    #[serde(deserialize_with = "lenient::number")]
    pub perplexity_after: f64,
    /// Share of windows that a side memory answered.
    #[serde(deserialize_with = "lenient::number")]
    pub routed_to_side: f64,
}

/// One record and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordScores {
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// The edit's number in the editor's life, from 1.
    pub id: usize,
    /// [`id`](Self::id) of a later edit of the same prompt. Such a record has no scores at the end.
    pub superseded_by: Option<usize>,
    /// Wall-clock time of its edit.
    #[serde(deserialize_with = "lenient::number")]
    pub seconds: f64,
    /// Iterations of its edit.
    pub iterations: usize,
    /// Per iteration, edit loss and router loss; NaN where JSON has null.
    #[serde(deserialize_with = "lenient::pairs")]
    pub losses: Vec<[f32; 2]>,
    /// What all its iterations took, where the editor counts it.
    #[serde(default)]
    pub work: Option<Work>,
    /// Index of the side memory that holds it at the end.
    pub memory: Option<usize>,
    /// Memory of the process after this edit.
    pub resident_bytes: Option<u64>,
    /// On the unedited model.
    pub before: Measured,
    /// Right after this record's edit.
    pub immediate: Measured,
    /// After the last edit.
    pub after: Measured,
}

impl RecordScores {
    /// What was measured at a moment.
    pub fn at(&self, moment: Moment) -> &Measured {
        match moment {
            Moment::Before => &self.before,
            Moment::Immediate => &self.immediate,
            Moment::End => &self.after,
        }
    }
}

/// One record's scores and answers at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// By name; one that is not finite is left out when read.
    #[serde(deserialize_with = "lenient::scores")]
    pub scores: BTreeMap<ScoreName, f64>,
    /// By `protocol.question`, with `.1`, `.2`, … for further prompts of the same question.
    pub answers: BTreeMap<String, Shown>,
}

/// What the model did with one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// What it said; `None` under a protocol that generates nothing.
    pub answer: Option<String>,
    /// Why it stopped.
    pub finish: Option<Finish>,
    /// Which memory answered.
    pub route: RouteTaken,
}

/// Protocol, question and metric of a score's name; what is missing is empty.
pub fn parts(name: &str) -> [&str; 3] {
    let mut parts = name.splitn(3, '.');
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

/// Whether the metric runs from 0 to 1, so that it can be drawn on the scale that all of these share.
pub fn is_share(name: &str) -> bool {
    !matches!(parts(name)[2], "perplexity" | "nll" | "ngram_entropy")
}

/// Reads a report: a `metrics.json`, or the folder of a run that has one.
///
/// # Errors
/// [`Error::NoReport`] and [`Error::Unfinished`] for a folder without one, [`Error::Io`],
/// [`Error::Schema`] for a report of another version, [`Error::NotAReport`] for anything else.
pub fn read(path: &Path) -> Result<Report> {
    let file = locate(path)?;
    let bytes = fs::read(&file).map_err(Error::io("read", &file))?;
    let not_a_report = |error: serde_json::Error| Error::NotAReport {
        path: file.clone(),
        detail: error.to_string(),
    };
    let version: Version = serde_json::from_slice(&bytes).map_err(not_a_report)?;
    if version.schema != SCHEMA {
        return Err(Error::Schema {
            path: file.clone(),
            got: version.schema,
            expected: SCHEMA,
        });
    }
    serde_json::from_slice(&bytes).map_err(not_a_report)
}

/// Of a report of any version.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

fn locate(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join(METRICS_FILE);
    if file.exists() {
        Ok(file)
    } else if path.join(RUN_FILE).exists() {
        Err(Error::Unfinished(path.to_owned()))
    } else {
        Err(Error::NoReport(path.to_owned()))
    }
}

impl Report {
    /// Writes [`METRICS_FILE`] into a folder, which is created if need be, and returns its path. An interrupted
    /// or failed write leaves the file that was there before.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Json`] if the report cannot be written as JSON.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(METRICS_FILE);
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        replace_file(&path, &bytes).map_err(Error::io("write", &path))?;
        Ok(path)
    }
}

#[cfg(test)]
pub(crate) mod tests;
