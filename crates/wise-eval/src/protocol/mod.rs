//! The ways of asking a model, and what is scored under each.

pub mod drift;
pub mod generation;
pub mod ngram_entropy;
mod normalise;
pub mod perplexity;
pub mod teacher_forced;

use serde::{Deserialize, Serialize};
use wise_edit::{Route, Snapshot};

use crate::metrics::{Measured, Shown};
use crate::{Record, Result};

/// Which protocols to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocols {
    /// See [`teacher_forced`]; [`perplexity`] comes with it.
    pub teacher_forced: bool,
    /// See [`generation`].
    pub generation: bool,
}

impl Protocols {
    /// Side by side.
    pub const BOTH: Self = Self {
        teacher_forced: true,
        generation: true,
    };
}

/// A routing decision, as a report keeps it: what is not finite is null.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RouteTaken {
    /// The side memory that answered; null for the main memory.
    pub memory: Option<usize>,
    /// Its routing activation, or that of the memory that came nearest to its threshold.
    pub activation: Option<f32>,
    /// The threshold; null where nothing was decided.
    pub threshold: Option<f32>,
    /// The edit whose key fits the prompt best; absent where keys did not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<usize>,
}

impl From<Route> for RouteTaken {
    fn from(route: Route) -> Self {
        let finite = |value: f32| value.is_finite().then_some(value);
        Self {
            memory: route.memory,
            activation: finite(route.activation),
            threshold: finite(route.threshold),
            edit: route.edit,
        }
    }
}

/// What a model made of one record's locality prompts, in their order. With the unedited model's, locality is compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Predicted tokens while their answers were fed in; empty for a prompt without one.
    pub predicted: Vec<Vec<u32>>,
    /// Generated tokens.
    pub generated: Vec<Vec<u32>>,
}

/// A record to score, and what the unedited model made of it; without that there is no agreement with it.
pub(crate) type ToScore<'a> = (&'a Record, Option<&'a Reference>);

/// Scores some records, asking everything about them side by side.
///
/// # Errors
/// If a text does not fit the model's context.
pub(crate) fn measure(
    snapshot: &Snapshot,
    records: &[ToScore<'_>],
    protocols: Protocols,
) -> Result<Vec<(Measured, Reference)>> {
    let mut scores: Vec<Scores> = records.iter().map(|_| Scores::default()).collect();
    if protocols.teacher_forced {
        teacher_forced::score(snapshot, records, &mut scores)?;
    }
    if protocols.generation {
        generation::score(snapshot, records, &mut scores)?;
    }
    let of_record = |scores: Scores| (scores.measured, scores.reference);
    Ok(scores.into_iter().map(of_record).collect())
}

/// Scores only the edit's own prompt.
///
/// # Errors
/// If a text does not fit the model's context.
pub(crate) fn measure_edit(
    snapshot: &Snapshot,
    record: &Record,
    protocols: Protocols,
) -> Result<Measured> {
    let bare = Record {
        prompt: record.prompt.clone(),
        target: record.target.clone(),
        ..Record::default()
    };
    measure_edited(snapshot, &bare, protocols)
}

/// Scores what a record asks about its edit, not what it asks about anything else.
///
/// # Errors
/// If a text does not fit the model's context.
pub(crate) fn measure_edited(
    snapshot: &Snapshot,
    record: &Record,
    protocols: Protocols,
) -> Result<Measured> {
    let record = Record {
        locality: Vec::new(),
        ..record.clone()
    };
    let measured = measure(snapshot, &[(&record, None)], protocols)?;
    let scores = measured.into_iter().next().map(|(scores, _)| scores);
    Ok(scores.unwrap_or_default())
}

/// What a prompt is to its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Edit,
    Rephrase,
    Portability,
    Locality,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Rephrase => "rephrase",
            Self::Portability => "portability",
            Self::Locality => "locality",
        }
    }
}

/// A prompt of a record with the answer that it shall get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) kind: Kind,
    /// Which of its kind.
    pub(crate) index: usize,
    pub(crate) prompt: &'a str,
    pub(crate) answer: Option<&'a str>,
    /// See [`Probe::group`](crate::Probe::group).
    pub(crate) group: Option<&'a str>,
}

impl Question<'_> {
    /// What its scores are named by: its kind, and for a group of locality prompts the group too.
    pub(crate) fn names(&self, protocol: &str) -> Vec<String> {
        let kind = format!("{protocol}.{}", self.kind.name());
        let sign = |c: char| !c.is_alphanumeric();
        let group = |group: &str| format!("{kind}_{}", group.to_lowercase().replace(sign, "_"));
        let group = self.group.map(group);
        [kind.clone()].into_iter().chain(group).collect()
    }
}

/// Everything that is asked about a record.
pub(crate) fn questions(record: &Record) -> Vec<Question<'_>> {
    let target = Some(record.target.as_str());
    let question = |kind, prompt| Question {
        kind,
        index: 0,
        prompt,
        answer: target,
        group: None,
    };
    let mut questions = vec![question(Kind::Edit, record.prompt.as_str())];
    if let Some(rephrase) = &record.rephrase {
        questions.push(question(Kind::Rephrase, rephrase));
    }
    let probes = [
        (Kind::Portability, &record.portability),
        (Kind::Locality, &record.locality),
    ];
    for (kind, probes) in probes {
        for (index, probe) in probes.iter().enumerate() {
            questions.push(Question {
                kind,
                index,
                prompt: &probe.prompt,
                answer: probe.answer.as_deref(),
                group: probe.group.as_deref(),
            });
        }
    }
    questions
}

/// Collects one record's scores. Where a question has several prompts, its score is the mean over them.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    measured: Measured,
    reference: Reference,
    counts: std::collections::BTreeMap<String, usize>,
}

impl Scores {
    /// `question` is `protocol.question`. JSON cannot write a score that is not finite, so none is taken.
    pub(crate) fn add(&mut self, question: &str, metric: &str, score: f64) {
        if !score.is_finite() {
            return;
        }
        let name = format!("{question}.{metric}");
        let count = self.counts.entry(name.clone()).or_default();
        *count += 1;
        let mean = self.measured.scores.entry(name).or_insert(0.0);
        *mean += (score - *mean) / *count as f64;
    }

    /// The `index`-th prompt of a question.
    pub(crate) fn show(&mut self, question: &str, index: usize, shown: Shown) {
        let name = match index {
            0 => question.to_owned(),
            _ => format!("{question}.{index}"),
        };
        self.measured.answers.insert(name, shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Probe;

    #[test]
    fn a_score_is_the_mean_over_the_prompts_of_its_question() {
        let mut scores = Scores::default();
        for score in [1.0, 0.0, 0.5] {
            scores.add("generation.locality", "agreement", score);
        }
        scores.add("generation.edit", "f1", 1.0);
        let measured = scores.measured.scores;
        assert_eq!(measured["generation.locality.agreement"], 0.5);
        assert_eq!(measured["generation.edit.f1"], 1.0);
        assert_eq!(measured.len(), 2);
    }

    #[test]
    fn a_group_of_locality_prompts_has_scores_of_its_own() {
        let probe = |group: Option<&str>| Probe {
            prompt: "Who?".to_owned(),
            answer: None,
            group: group.map(str::to_owned),
        };
        let record = Record {
            locality: vec![probe(None), probe(Some("Near miss"))],
            ..Record::default()
        };
        let names = questions(&record)
            .into_iter()
            .map(|q| q.names("generation"));
        let expected = [
            vec!["generation.edit"],
            vec!["generation.locality"],
            vec!["generation.locality", "generation.locality_near_miss"],
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_not_finite_in_a_route_is_null() {
        let json = |route| serde_json::to_value(RouteTaken::from(route)).unwrap();
        let main = serde_json::json!({"memory": null, "activation": 0.0, "threshold": null});
        assert_eq!(json(Route::MAIN), main);
        let side = Route {
            memory: Some(1),
            activation: f32::NAN,
            threshold: 2.5,
            edit: Some(3),
        };
        let expected =
            serde_json::json!({"memory": 1, "activation": null, "threshold": 2.5, "edit": 3});
        assert_eq!(json(side), expected);
    }
}
