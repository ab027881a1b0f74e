//! `CounterFact` in the compact form of `EasyEdit`; the locality prompt is about a neighbour of the subject, so
//! alike that it is the hardest to leave alone.

use super::lines::{Fault, Fields};
use super::{Locality, Record};

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    let locality = match fields.optional("locality_prompt")? {
        Some(prompt) => Some(Locality {
            prompt,
            answer: fields.optional("locality_ground_truth")?,
        }),
        None => None,
    };
    Ok(Record {
        prompt: fields.text("prompt")?,
        target: fields.text("target_new")?.trim().to_owned(),
        subject: fields.optional("subject")?,
        rephrase: fields.optional("rephrase_prompt")?,
        locality,
        portability: None,
    })
}
