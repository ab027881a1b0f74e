//! The edits that held worst, with what the model said.

use serde::Serialize;

use crate::RouteTaken;
use crate::label;
use crate::metrics::{RecordScores, Report, is_share, parts};

/// As many as one reads.
const MOST: usize = 10;

/// Longer answers have run away; their beginning says enough.
const LETTERS: usize = 300;

#[derive(Debug, Serialize)]
pub(super) struct Edit {
    id: usize,
    prompt: String,
    target: String,
    score: String,
    asked: Vec<Asked>,
}

/// One question of an edit under one protocol.
#[derive(Debug, Serialize)]
struct Asked {
    name: String,
    /// Where it is not the edit's own prompt.
    prompt: Option<String>,
    immediate: Option<String>,
    end: Option<String>,
    route: String,
}

/// A record with its mean score and the protocol of that.
type Scored<'a> = ((f64, &'static str), &'a RecordScores);

/// The worst by their mean score at the end; none that kept everything.
pub(super) fn edits(report: &Report) -> Vec<Edit> {
    let mut scored: Vec<Scored> = report
        .records
        .iter()
        .filter_map(|record| Some((kept(record)?, record)))
        .filter(|((score, _), _)| *score < 1.0)
        .collect();
    scored.sort_by(|a, b| a.0.0.total_cmp(&b.0.0).then(a.1.id.cmp(&b.1.id)));
    scored.truncate(MOST);
    scored.into_iter().map(edit).collect()
}

/// Mean of the scores at the end of the edit and its rephrasing that run from 0 to 1; under the first
/// protocol that has any, and which that is.
fn kept(record: &RecordScores) -> Option<(f64, &'static str)> {
    let mean = |asked_by: &'static str| {
        let scores = record.after.scores.iter().filter(|(name, _)| {
            let [protocol, question, _] = parts(name);
            let asked = ["edit", "rephrase"].contains(&question);
            asked && is_share(name) && protocol == asked_by
        });
        let scores: Vec<f64> = scores.map(|(_, score)| *score).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        (!scores.is_empty()).then_some((mean, asked_by))
    };
    ["generation", "teacher_forced", "likelihood"]
        .into_iter()
        .find_map(mean)
}

fn edit(((score, protocol), record): Scored) -> Edit {
    Edit {
        id: record.id,
        prompt: record.record.prompt.clone(),
        target: record.record.target.clone(),
        score: format!(
            "mean score {} ({})",
            label::number(score),
            label::protocol(protocol)
        ),
        asked: ["edit", "rephrase"]
            .into_iter()
            .filter_map(|question| asked(record, question))
            .collect(),
    }
}

fn asked(record: &RecordScores, question: &str) -> Option<Asked> {
    let key = format!("generation.{question}");
    let end = record.after.answers.get(&key)?;
    let immediate = record.immediate.answers.get(&key);
    let rephrase = record.record.rephrase.clone();
    Some(Asked {
        name: label::capital(question),
        prompt: rephrase.filter(|_| question == "rephrase"),
        immediate: immediate.and_then(|shown| shown.answer.as_deref().map(shortened)),
        end: end.answer.as_deref().map(shortened),
        route: route(end.route),
    })
}

fn shortened(answer: &str) -> String {
    let answer = answer.trim();
    match answer.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{} …", &answer[..end]),
        None => answer.to_owned(),
    }
}

fn route(route: RouteTaken) -> String {
    let memory = match route.memory {
        Some(index) => format!("side memory {index}"),
        None => "main memory".to_owned(),
    };
    match (route.activation, route.threshold) {
        (Some(activation), Some(threshold)) if threshold > 0.0 => {
            format!("{memory}, {:.2} × threshold", activation / threshold)
        }
        (_, Some(_)) => memory,
        (_, None) => String::new(),
    }
}
