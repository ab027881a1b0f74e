//! The two ways of scoring an answer.

pub mod generation;
mod normalise;
pub mod teacher_forced;

use serde::{Deserialize, Serialize};
use wise_edit::{Route, Snapshot};
use wise_model::Generation;

use crate::{Record, Result};

/// Which protocols to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// See [`teacher_forced`].
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
    /// The threshold; null where there is no side memory.
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

/// One record's scores; null for a protocol that was not run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Under the teacher-forced protocol.
    pub teacher_forced: Option<teacher_forced::Scores>,
    /// Under the generation protocol.
    pub generation: Option<generation::Scores>,
}

/// Means over the records that have the score; null for a protocol that was not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Under the teacher-forced protocol.
    pub teacher_forced: Option<teacher_forced::Means>,
    /// Under the generation protocol.
    pub generation: Option<generation::Means>,
}

impl Means {
    pub(crate) fn of(measured: &[&Measured]) -> Self {
        let forced: Vec<_> = measured
            .iter()
            .filter_map(|m| m.teacher_forced.as_ref())
            .collect();
        let generated: Vec<_> = measured
            .iter()
            .filter_map(|m| m.generation.as_ref())
            .collect();
        Self {
            teacher_forced: (!forced.is_empty()).then(|| teacher_forced::Means::of(&forced)),
            generation: (!generated.is_empty()).then(|| generation::Means::of(&generated)),
        }
    }
}

/// What the unedited model made of one record's locality prompt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unedited {
    predicted: Option<Vec<u32>>,
    generated: Option<Generation>,
}

impl Unedited {
    pub(crate) fn ask(unedited: &Snapshot, record: &Record, protocols: Protocols) -> Result<Self> {
        let mut reference = Self::default();
        if protocols.teacher_forced {
            reference.predicted = teacher_forced::reference(unedited, record)?;
        }
        if protocols.generation {
            reference.generated = generation::reference(unedited, record)?;
        }
        Ok(reference)
    }
}

/// Scores one record. Without a reference there is no locality.
pub(crate) fn measure(
    snapshot: &Snapshot,
    record: &Record,
    reference: &Unedited,
    protocols: Protocols,
) -> Result<Measured> {
    let mut measured = Measured {
        teacher_forced: None,
        generation: None,
    };
    if protocols.teacher_forced {
        let predicted = reference.predicted.as_deref();
        measured.teacher_forced = Some(teacher_forced::score(snapshot, record, predicted)?);
    }
    if protocols.generation {
        let generated = reference.generated.as_ref();
        measured.generation = Some(generation::score(snapshot, record, generated)?);
    }
    Ok(measured)
}

/// The mean of those that are there.
fn mean(scores: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let scores: Vec<f64> = scores.flatten().collect();
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_over_the_scores_that_are_there() {
        assert_eq!(mean([Some(1.0), None, Some(0.5)].into_iter()), Some(0.75));
        assert_eq!(mean([None, None].into_iter()), None);
        assert_eq!(mean(std::iter::empty()), None);
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
