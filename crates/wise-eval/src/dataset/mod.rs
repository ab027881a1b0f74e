//! From a benchmark's file to records: what to edit, and what to ask afterwards.

mod counterfact;
mod fields;
mod file;
mod format;
mod hallucination;
mod jsonl;
mod qaedit;
mod record;
mod temporal;
mod zsre;

use std::path::Path;

use wise_edit::Edit;

pub use file::sha256 as file_sha256;
pub use format::Format;
pub use record::{Probe, Record};

use crate::Result;

/// Reads a data set, or its first `limit` records. A file has a JSON object a line, or one array of them. Blank
/// lines are skipped; a blank optional text counts as absent. Keys that a benchmark does not document are
/// tolerated in its files, and refused in [`Format::Jsonl`].
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Line`](crate::Error::Line) or, in an array,
/// [`Error::Record`](crate::Error::Record) at the first record that does not follow the format;
/// [`Error::Empty`](crate::Error::Empty), [`Error::TooFew`](crate::Error::TooFew) and
/// [`Error::NoneAskedFor`](crate::Error::NoneAskedFor).
pub fn read(path: &Path, format: Format, limit: Option<usize>) -> Result<Vec<Record>> {
    let parse = match format {
        Format::Zsre => zsre::record,
        Format::CounterFact => counterfact::record,
        Format::Hallucination => hallucination::record,
        Format::Temporal => temporal::record,
        Format::QaEdit => qaedit::record,
        Format::Jsonl => jsonl::record,
    };
    file::read(path, limit, parse)
}

/// Reads edits from a [`Format::Jsonl`] file. Keys that only an evaluation uses (`rephrase`, `locality`,
/// `portability`, `ood`) are ignored, others refused.
///
/// # Errors
/// As [`read`].
pub fn read_edits(path: &Path) -> Result<Vec<Edit>> {
    file::read(path, None, jsonl::edit)
}

/// Reads the `prompt` of every record: unrelated prompts for the router. Other keys are ignored.
///
/// # Errors
/// As [`read`].
pub fn read_negatives(path: &Path) -> Result<Vec<String>> {
    file::read(path, None, |fields| fields.text("prompt"))
}

#[cfg(test)]
mod tests;
