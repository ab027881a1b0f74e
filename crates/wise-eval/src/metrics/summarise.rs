//! From the records' scores to their summary.

use std::collections::BTreeMap;

use super::{
    AgeBin, Measured, Moment, RecordScores, Retention, Routing, ScoreSummary, Summary, parts,
};
use crate::RouteTaken;
use crate::statistics;

/// The protocols whose routes count, the first that was run: all route by the prompt, and generation does so
/// as a user's question would.
const ROUTED_BY: [&str; 2] = ["generation", "teacher_forced"];

impl Summary {
    /// Everything that follows from the records, which are in the order of their edits. Drift and memory do not,
    /// and are left empty.
    pub fn of(records: &[RecordScores]) -> Self {
        let seconds: Vec<f64> = records.iter().map(|record| record.seconds).collect();
        Self {
            scores: scores(records),
            retention: retention(records),
            routing: routing(records),
            drift: None,
            seconds_per_edit: (!seconds.is_empty())
                .then(|| seconds.iter().sum::<f64>() / seconds.len() as f64),
            peak_memory_bytes: None,
        }
    }
}

fn scores(records: &[RecordScores]) -> Vec<ScoreSummary> {
    let mut values: BTreeMap<(&str, Moment), Vec<f64>> = BTreeMap::new();
    for record in records {
        for moment in Moment::ALL {
            for (name, &score) in &record.at(moment).scores {
                values.entry((name, moment)).or_default().push(score);
            }
        }
    }
    let summary = |((name, moment), values): ((&str, Moment), Vec<f64>)| {
        Some(ScoreSummary {
            name: name.to_owned(),
            moment,
            interval: statistics::mean(&values)?,
        })
    };
    values.into_iter().filter_map(summary).collect()
}

fn retention(records: &[RecordScores]) -> Vec<Retention> {
    let last = records.iter().map(|record| record.id).max().unwrap_or(0);
    let mut scores: BTreeMap<&str, Vec<(usize, f64)>> = BTreeMap::new();
    for record in records {
        for (name, &score) in &record.after.scores {
            scores
                .entry(name)
                .or_default()
                .push((last - record.id, score));
        }
    }
    let retention = |(name, scores): (&str, Vec<(usize, f64)>)| Retention {
        name: name.to_owned(),
        bins: age_bins(scores),
    };
    scores.into_iter().map(retention).collect()
}

/// Scores with their edits' ages, in bins of equal count.
fn age_bins(mut scores: Vec<(usize, f64)>) -> Vec<AgeBin> {
    scores.sort_by_key(|(age, _)| *age);
    let bin = |range: std::ops::Range<usize>| {
        let inside = &scores[range];
        let values: Vec<f64> = inside.iter().map(|(_, score)| *score).collect();
        Some(AgeBin {
            newest: inside.first()?.0,
            oldest: inside.last()?.0,
            interval: statistics::mean(&values)?,
        })
    };
    let bins = statistics::equal_bins(scores.len()).into_iter();
    bins.filter_map(bin).collect()
}

fn routing(records: &[RecordScores]) -> Option<Routing> {
    let after = |question| move |record: &RecordScores| ratios(&record.after, question);
    let edits = records.iter().flat_map(after("edit"));
    let rephrases = records.iter().flat_map(after("rephrase"));
    let positives: Vec<f64> = edits.chain(rephrases).collect();
    let negatives: Vec<f64> = records.iter().flat_map(after("locality")).collect();
    // Without a threshold nothing was compared with one.
    if positives.is_empty() && negatives.is_empty() {
        return None;
    }
    let holder = |record: &RecordScores, route: RouteTaken| {
        route.memory.is_some() && route.memory == record.memory
    };
    Some(Routing {
        edits: share(records, "edit", holder),
        rephrases: share(records, "rephrase", holder),
        locality: share(records, "locality", |_, route| route.memory.is_none()),
        auc: statistics::auc(&positives, &negatives),
        roc: statistics::roc(&positives, &negatives),
    })
}

/// Share of a question's prompts that were sent where they belong.
fn share(
    records: &[RecordScores],
    question: &str,
    belongs: impl Fn(&RecordScores, RouteTaken) -> bool,
) -> Option<f64> {
    let mut hits = Vec::new();
    for record in records {
        let routes = routes(&record.after, question).into_iter();
        hits.extend(routes.map(|route| f64::from(u8::from(belongs(record, route)))));
    }
    (!hits.is_empty()).then(|| hits.iter().sum::<f64>() / hits.len() as f64)
}

/// The protocol whose routes at the end count; `None` without any.
pub(crate) fn routed_by(records: &[RecordScores]) -> Option<&'static str> {
    ROUTED_BY.into_iter().find(|protocol| {
        let has = |record: &RecordScores| {
            let answers = record.after.answers.keys();
            answers.into_iter().any(|key| parts(key)[0] == *protocol)
        };
        records.iter().any(has)
    })
}

/// Routes of a question's prompts, under one protocol.
fn routes(measured: &Measured, question: &str) -> Vec<RouteTaken> {
    let under = |protocol: &str| -> Vec<RouteTaken> {
        let asked = |key: &str| parts(key)[..2] == [protocol, question];
        let answers = measured.answers.iter().filter(|(key, _)| asked(key));
        answers.map(|(_, shown)| shown.route).collect()
    };
    let mut protocols = ROUTED_BY.iter().map(|protocol| under(protocol));
    protocols
        .find(|routes| !routes.is_empty())
        .unwrap_or_default()
}

/// Activation / threshold of a question's prompts: over 1 a side memory answers.
pub(crate) fn ratios(measured: &Measured, question: &str) -> Vec<f64> {
    let ratio = |route: RouteTaken| {
        let (activation, threshold) = (f64::from(route.activation?), f64::from(route.threshold?));
        (threshold > 0.0).then(|| activation / threshold)
    };
    let routes = routes(measured, question).into_iter();
    routes.filter_map(ratio).collect()
}
