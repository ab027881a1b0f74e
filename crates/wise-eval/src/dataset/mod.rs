//! From a benchmark's lines to records: what to edit, and what to ask afterwards.

mod counterfact;
mod jsonl;
mod lines;
mod zsre;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wise_edit::Edit;

use crate::Result;

/// One record of a benchmark. What it lacks is not scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The question or beginning of a sentence to edit.
    pub prompt: String,
    /// The answer it shall get.
    pub target: String,
    /// What the fact is about.
    pub subject: Option<String>,
    /// The prompt in other words, for generalization.
    pub rephrase: Option<String>,
    /// An unrelated prompt, whose answer shall stay as it is.
    pub locality: Option<Locality>,
    /// What follows from the edit, as the file has it. Not scored yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portability: Option<serde_json::Value>,
}

/// A prompt that an edit must leave alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locality {
    /// The prompt.
    pub prompt: String,
    /// Its true answer, fed in under the teacher-forced protocol and used nowhere else.
    pub answer: Option<String>,
}

impl Record {
    /// What an editor may see.
    pub fn edit(&self) -> Edit {
        Edit {
            prompt: self.prompt.clone(),
            target: self.target.clone(),
            subject: self.subject.clone(),
        }
    }
}

/// How a file's lines are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `ZsRE` (Levy et al. 2017; as an editing benchmark De Cao et al. 2021, Mitchell et al. 2022): keys `src`,
    /// `alt` (the counterfactual target), `subject`, `rephrase`, `loc`, `loc_ans`.
    Zsre,
    /// `CounterFact` (Meng et al. 2022), compact form: keys `prompt`, `target_new`, `subject`,
    /// `rephrase_prompt`, `locality_prompt`, `locality_ground_truth`.
    CounterFact,
    /// This project's own: keys `prompt`, `target` and, if known, `subject`, `rephrase` and `locality`, a prompt
    /// or an object with `prompt` and `answer`.
    Jsonl,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "zsre" => Ok(Self::Zsre),
            "counterfact" => Ok(Self::CounterFact),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(format!(
                "unknown data format {text:?}, expected zsre, counterfact or jsonl"
            )),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zsre => "zsre",
            Self::CounterFact => "counterfact",
            Self::Jsonl => "jsonl",
        })
    }
}

/// Reads a data set, or its first `limit` records. Blank lines are skipped; a blank optional text counts as
/// absent. Keys that a benchmark does not document are tolerated in its files, and refused in
/// [`Format::Jsonl`].
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Line`](crate::Error::Line) at the first line that does not follow
/// the format; [`Error::Empty`](crate::Error::Empty) and [`Error::TooFew`](crate::Error::TooFew) if there is
/// too little.
pub fn read(path: &Path, format: Format, limit: Option<usize>) -> Result<Vec<Record>> {
    let parse = match format {
        Format::Zsre => zsre::record,
        Format::CounterFact => counterfact::record,
        Format::Jsonl => jsonl::record,
    };
    lines::read(path, limit, parse)
}

/// Reads edits from a [`Format::Jsonl`] file. Keys that only an evaluation uses (`rephrase`, `locality`,
/// `portability`) are ignored, others refused.
///
/// # Errors
/// As [`read`].
pub fn read_edits(path: &Path) -> Result<Vec<Edit>> {
    lines::read(path, None, jsonl::edit)
}

/// Reads the `prompt` of every line: unrelated prompts for the router. Other keys are ignored.
///
/// # Errors
/// As [`read`].
pub fn read_negatives(path: &Path) -> Result<Vec<String>> {
    lines::read(path, None, |fields| fields.text("prompt"))
}

#[cfg(test)]
mod tests;
