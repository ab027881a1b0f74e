//! `ZsRE`, as WISE, GRACE and MEND use it: the target is the counterfactual `alt`, the locality prompt a question
//! of Natural Questions (Kwiatkowski et al. 2019).

use super::fields::{Fault, Fields};
use super::{Probe, Record};

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    Ok(Record {
        prompt: fields.text("src")?,
        // Some begin with a space, for tokenizers that put none in front of an answer.
        target: target(fields)?.trim().to_owned(),
        subject: fields.optional("subject")?,
        rephrase: fields.optional("rephrase")?,
        locality: fields.locality("loc", "loc_ans")?,
        portability: portability(fields)?,
        ood: None,
    })
}

/// A few records of the training split have a blank `alt`; without one, ROME and MEMIT edit to the true answer.
fn target(fields: &Fields) -> Result<String, Fault> {
    let blank = fields.node("alt").is_some_and(|alt| alt.is_blank());
    let answers = fields.given("answers").filter(|_| blank);
    match answers
        .map(|answers| answers.list())
        .transpose()?
        .as_deref()
    {
        Some([answer, ..]) => answer.text("a text"),
        _ => fields.text("alt"),
    }
}

fn portability(fields: &Fields) -> Result<Vec<Probe>, Fault> {
    let Some(portability) = fields.given("portability") else {
        return Ok(Vec::new());
    };
    let hop = portability.object("an object")?;
    Ok(vec![Probe {
        prompt: hop.text("New Question")?,
        answer: Some(hop.text("New Answer")?),
        group: None,
    }])
}
