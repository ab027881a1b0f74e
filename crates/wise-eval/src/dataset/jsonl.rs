//! This project's own format, the same for edits and for evaluations.

use serde_json::Value;
use wise_edit::Edit;

use super::lines::{Fault, Fields};
use super::{Locality, Record};

/// Those of an edit, then those that only evaluations use; portability is not scored yet.
const KEYS: [&str; 6] = [
    "prompt",
    "target",
    "subject",
    "rephrase",
    "locality",
    "portability",
];

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    fields.only(&KEYS)?;
    let Edit {
        prompt,
        target,
        subject,
    } = texts(fields)?;
    Ok(Record {
        prompt,
        target,
        subject,
        rephrase: fields.optional("rephrase")?,
        locality: locality(fields)?,
        portability: fields.get("portability").cloned(),
    })
}

pub(super) fn edit(fields: &Fields) -> Result<Edit, Fault> {
    fields.only(&KEYS)?;
    texts(fields)
}

fn texts(fields: &Fields) -> Result<Edit, Fault> {
    Ok(Edit {
        prompt: fields.text("prompt")?,
        target: fields.text("target")?.trim().to_owned(),
        subject: fields.optional("subject")?,
    })
}

fn locality(fields: &Fields) -> Result<Option<Locality>, Fault> {
    if let None | Some(Value::Null | Value::String(_)) = fields.get("locality") {
        let prompt = fields.optional("locality")?;
        return Ok(prompt.map(|prompt| Locality {
            prompt,
            answer: None,
        }));
    }
    let inner = fields.object("locality", "locality.")?;
    inner.only(&["prompt", "answer"])?;
    Ok(Some(Locality {
        prompt: inner.text("prompt")?,
        answer: inner.optional("answer")?,
    }))
}
