//! Temporal: an edit teaches a paragraph, and is asked for another text about the same. Locality is a piece of the
//! Pile in two halves, the second sometimes blank.

use super::Record;
use super::fields::{Fault, Fields};

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    Ok(Record {
        prompt: fields.text("prompt")?,
        target: fields.text("target_new")?.trim().to_owned(),
        subject: fields.optional("subject")?,
        rephrase: None,
        locality: fields.locality("locality_prompt", "locality_ground_truth")?,
        portability: Vec::new(),
        ood: fields.optional("ood_rephrase")?,
    })
}
