//! What an evaluation leaves behind: `metrics.json`.
//!
//! # Schema 1
//!
//! Keys in this order; every score is 0 to 1, or null where it was not measured.
//!
//! | key | is |
//! | --- | --- |
//! | `schema` | 1 |
//! | `model` | `name` as given, `sha256` of the weight files |
//! | `editor` | `wise` |
//! | `edits` | how many, in one sequence |
//! | `seed` | of the masks |
//! | `prompt_format` | `chat` or `raw` |
//! | `compat` | `wise`, `paper` or `easyedit` |
//! | `config` | every hyperparameter, as resolved for this model |
//! | `data` | `path` and `format` |
//! | `summary` | means over the records that have the score, see below |
//! | `records` | one per edit, in order, see below |
//!
//! `summary` has `teacher_forced` and `generation`, null for a protocol that was not run, each with
//! `reliability`, `generalization` and `locality`; `generation` also has `contains` and
//! `generalization_contains`. They are of the model after its last edit; `before` has both again, for the
//! unedited model, with `locality` null. Then `seconds_per_edit` and `peak_memory_bytes`, null where unknown.
//!
//! A record has its texts (`prompt`, `target`, `subject`, `rephrase` and, where it has them, the lists `locality`
//! and `portability` of objects with `prompt` and `answer`, and `ood`), `seconds` and `iterations` of its edit,
//! `teacher_forced` and `generation` and, for the unedited model, `before` with both again. Under `teacher_forced`,
//! `reliability`, `generalization` and `locality` have a `score` and the `route`: `memory` (null: main memory),
//! `activation`, `threshold`. Under `generation` they also have the `answer`, why it ended (`finish`: `eos` or
//! `length`), and `contains` or, under `locality`, the `unedited` model's answer.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wise_edit::{Compatibility, Wise};
use wise_model::{PromptFormat, replace_file};

use crate::protocol::Means;
use crate::{Error, Format, RecordScores, Result, Scores, peak_memory_bytes, table};

/// The version of the report's schema.
pub const SCHEMA: u32 = 1;

/// Name of the report's file.
pub const METRICS_FILE: &str = "metrics.json";

/// A whole evaluation; the [module](self) describes its JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was edited.
    pub model: ModelInfo,
    /// Name of the editor.
    pub editor: String,
    /// How many edits were made, in one sequence.
    pub edits: usize,
    /// Seed of the masks.
    pub seed: u64,
    /// How questions were put to the model.
    pub prompt_format: PromptFormat,
    /// Whose WISE.
    pub compat: Compatibility,
    /// Every hyperparameter, as resolved for this model.
    pub config: serde_json::Value,
    /// Where the records come from.
    pub data: Data,
    /// Means over the records.
    pub summary: Summary,
    /// One per edit, in order.
    pub records: Vec<RecordScores>,
}

/// A model, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The name it was opened by.
    pub name: String,
    /// sha256 of its weight files.
    pub sha256: String,
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The file, as given.
    pub path: String,
    /// Its format.
    pub format: Format,
}

/// Means over the records of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// After the last edit.
    #[serde(flatten)]
    pub after: Means,
    /// Of the unedited model.
    pub before: Means,
    /// Wall-clock time; null without edits.
    pub seconds_per_edit: Option<f64>,
    /// The most memory the process used, model included; null where the system does not say.
    pub peak_memory_bytes: Option<u64>,
}

impl Scores {
    /// Means over the records that have a score.
    pub fn summary(&self) -> Summary {
        let records = &self.records;
        let after: Vec<_> = records.iter().map(|record| &record.after).collect();
        let before: Vec<_> = records.iter().map(|record| &record.before).collect();
        let seconds: f64 = records.iter().map(|record| record.seconds).sum();
        Summary {
            after: Means::of(&after),
            before: Means::of(&before),
            seconds_per_edit: (!records.is_empty()).then(|| seconds / records.len() as f64),
            peak_memory_bytes: peak_memory_bytes(),
        }
    }
}

impl Report {
    /// The report on what [`run`](crate::run) found with `editor`.
    ///
    /// # Errors
    /// [`Error::Json`] if the hyperparameters cannot be written as JSON.
    pub fn new(editor: &Wise, data: Data, scores: Scores) -> Result<Self> {
        let (model, config) = (editor.model(), editor.config());
        Ok(Self {
            schema: SCHEMA,
            model: ModelInfo {
                name: model.name().to_owned(),
                sha256: model.sha256().to_owned(),
            },
            editor: "wise".to_owned(),
            edits: scores.records.len(),
            seed: config.seed,
            prompt_format: config.format_for(model),
            compat: config.compat,
            config: serde_json::to_value(config)?,
            data,
            summary: scores.summary(),
            records: scores.records,
        })
    }

    /// Writes [`METRICS_FILE`] into a folder, which is created if need be, and returns its path. An interrupted
    /// or failed write leaves the file that was there before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(METRICS_FILE);
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        replace_file(&path, &bytes).map_err(Error::io("write", &path))?;
        Ok(path)
    }

    /// The summary as a table in plain text, before and after editing, each row under its protocol's name.
    pub fn table(&self) -> String {
        table::render(&self.summary, self.edits)
    }
}

#[cfg(test)]
mod tests;
