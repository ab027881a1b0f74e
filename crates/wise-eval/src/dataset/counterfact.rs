//! `CounterFact` in the compact form of `EasyEdit`; the locality prompt is about a neighbour of the subject, so
//! alike that it is the hardest to leave alone.

use super::Record;
use super::fields::{Fault, Fields};

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    Ok(Record {
        prompt: fields.text("prompt")?,
        target: fields.text("target_new")?.trim().to_owned(),
        subject: fields.optional("subject")?,
        rephrase: fields.optional("rephrase_prompt")?,
        locality: fields.locality("locality_prompt", "locality_ground_truth")?,
        portability: Vec::new(),
        ood: None,
    })
}
