//! Hallucination, as GRACE and WISE use it: up to seven edits of one `WikiBio` article, in the order of its
//! sentences. Locality is a piece of web text (`RedPajama`) in two halves, the second sometimes blank.

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
        ood: None,
    })
}
