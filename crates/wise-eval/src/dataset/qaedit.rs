//! `QAEdit`: questions of ordinary benchmarks with their true answers, and several questions of Natural Questions
//! (Kwiatkowski et al. 2019) for locality.

use super::fields::{Fault, Fields, Node};
use super::{Probe, Record};

pub(super) fn record(fields: &Fields) -> Result<Record, Fault> {
    Ok(Record {
        prompt: fields.text("prompt")?,
        target: fields.text("target")?.trim().to_owned(),
        subject: fields.optional("subject")?,
        rephrase: fields.optional("rephrase")?,
        locality: locality(fields)?,
        portability: Vec::new(),
        ood: None,
    })
}

fn locality(fields: &Fields) -> Result<Vec<Probe>, Fault> {
    let Some(locality) = fields.given("locality") else {
        return Ok(Vec::new());
    };
    locality.list()?.iter().map(probe).collect()
}

fn probe(node: &Node) -> Result<Probe, Fault> {
    let fields = node.object("an object")?;
    Ok(Probe {
        prompt: fields.text("loc")?,
        answer: fields.optional("loc_ans")?,
        group: None,
    })
}
