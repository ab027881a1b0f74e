//! `ZsRE`, as WISE, GRACE and MEND use it: the target is the counterfactual `alt`, the locality prompt a question
//! of Natural Questions (Kwiatkowski et al. 2019).

use super::lines::{Fault, Fields};
use super::{Locality, Record};

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    let locality = match fields.optional("loc")? {
        Some(prompt) => Some(Locality {
            prompt,
            answer: fields.optional("loc_ans")?,
        }),
        None => None,
    };
    Ok(Record {
        prompt: fields.text("src")?,
        // Some begin with a space, for tokenizers that put none in front of an answer.
        target: fields.text("alt")?.trim().to_owned(),
        subject: fields.optional("subject")?,
        rephrase: fields.optional("rephrase")?,
        locality,
        portability: None,
    })
}
