//! This project's own format, the same for edits and for evaluations.

use wise_edit::Edit;

use super::fields::{Fault, Fields, Node};
use super::{Probe, Record};

/// Those of an edit, then those that only evaluations use.
const KEYS: [&str; 7] = [
    "prompt",
    "target",
    "subject",
    "rephrase",
    "locality",
    "portability",
    "ood",
];

const PROBE_KEYS: [&str; 2] = ["prompt", "answer"];

const UNRELATED_KEYS: [&str; 3] = ["prompt", "answer", "group"];

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    let Edit {
        prompt,
        target,
        subject,
    } = edit(fields)?;
    Ok(Record {
        prompt,
        target,
        subject,
        rephrase: fields.optional("rephrase")?,
        locality: probes(fields, "locality", unrelated)?,
        portability: probes(fields, "portability", consequence)?,
        ood: fields.optional("ood")?,
    })
}

pub(super) fn edit(fields: &Fields) -> Result<Edit, Fault> {
    fields.only(&KEYS)?;
    Ok(Edit {
        prompt: fields.text("prompt")?.trim().to_owned(),
        target: fields.text("target")?.trim().to_owned(),
        subject: fields.optional("subject")?,
    })
}

/// None, one or a list of them.
fn probes(
    fields: &Fields,
    key: &str,
    probe: fn(&Node) -> Result<Probe, Fault>,
) -> Result<Vec<Probe>, Fault> {
    let Some(node) = fields.given(key) else {
        return Ok(Vec::new());
    };
    let nodes = node.list().unwrap_or_else(|_| vec![node]);
    nodes.iter().map(probe).collect()
}

fn unrelated(node: &Node) -> Result<Probe, Fault> {
    if node.is_text() {
        let prompt = node.text("a text")?;
        return Ok(Probe {
            prompt,
            answer: None,
            group: None,
        });
    }
    let fields = node.object("a text or an object")?;
    fields.only(&UNRELATED_KEYS)?;
    Ok(Probe {
        prompt: fields.text("prompt")?,
        answer: fields.optional("answer")?,
        group: fields.optional("group")?,
    })
}

fn consequence(node: &Node) -> Result<Probe, Fault> {
    let fields = node.object("an object")?;
    fields.only(&PROBE_KEYS)?;
    Ok(Probe {
        prompt: fields.text("prompt")?,
        answer: Some(fields.text("answer")?),
        group: None,
    })
}
