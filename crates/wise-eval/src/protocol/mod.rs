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
}

impl From<Route> for RouteTaken {
    fn from(route: Route) -> Self {
        let finite = |value: f32| value.is_finite().then_some(value);
        Self {
            memory: route.memory,
            activation: finite(route.activation),
            threshold: finite(route.threshold),
        }
    }
}

/// What the unedited model made of one record's locality prompts, in their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Predicted tokens while their answers were fed in; empty for a prompt without one.
    pub predicted: Vec<Vec<u32>>,
    /// Generated tokens.
    pub generated: Vec<Vec<u32>>,
}

/// Asks the unedited model everything about one record: its scores, and what locality will be compared with.
///
/// # Errors
/// If a text does not fit the model's context.
pub fn before(
    unedited: &Snapshot,
    record: &Record,
    protocols: Protocols,
) -> Result<(Measured, Reference)> {
    let mut reference = Reference::default();
    if protocols.teacher_forced {
        reference.predicted = teacher_forced::reference(unedited, record)?;
    }
    if protocols.generation {
        reference.generated = generation::reference(unedited, record)?;
    }
    let measured = measure(unedited, record, None, protocols)?;
    Ok((measured, reference))
}

/// Scores one record. Without a reference there is no agreement with the unedited model.
///
/// # Errors
/// If a text does not fit the model's context.
pub fn measure(
    snapshot: &Snapshot,
    record: &Record,
    reference: Option<&Reference>,
    protocols: Protocols,
) -> Result<Measured> {
    let mut scores = Scores::default();
    if protocols.teacher_forced {
        let predicted = reference.map(|r| r.predicted.as_slice());
        teacher_forced::score(snapshot, record, predicted, &mut scores)?;
    }
    if protocols.generation {
        let generated = reference.map(|r| r.generated.as_slice());
        generation::score(snapshot, record, generated, &mut scores)?;
    }
    Ok(scores.measured)
}

/// Scores only the edit's own prompt.
///
/// # Errors
/// If a text does not fit the model's context.
pub fn measure_edit(
    snapshot: &Snapshot,
    record: &Record,
    protocols: Protocols,
) -> Result<Measured> {
    let bare = Record {
        prompt: record.prompt.clone(),
        target: record.target.clone(),
        ..Record::default()
    };
    measure(snapshot, &bare, None, protocols)
}

/// Collects one record's scores. Where a question has several prompts, its score is the mean over them.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    measured: Measured,
    counts: std::collections::BTreeMap<String, usize>,
}

impl Scores {
    /// `question` is `protocol.question`.
    pub(crate) fn add(&mut self, question: &str, metric: &str, score: f64) {
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
    fn what_is_not_finite_in_a_route_is_null() {
        let json = |route| serde_json::to_value(RouteTaken::from(route)).unwrap();
        let main = serde_json::json!({"memory": null, "activation": 0.0, "threshold": null});
        assert_eq!(json(Route::MAIN), main);
        let side = Route {
            memory: Some(1),
            activation: f32::NAN,
            threshold: 2.5,
        };
        let expected = serde_json::json!({"memory": 1, "activation": null, "threshold": 2.5});
        assert_eq!(json(side), expected);
    }
}
