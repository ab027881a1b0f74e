//! Teacher-forced scores: the right answer is fed in, and at each of its tokens the likeliest token given all
//! before counts (`EasyEdit`, `evaluate_utils.py`; the figures of the WISE paper are of this kind).
//!
//! With answer tokens `y_1 .. y_T` after a prompt `x`, and `p_t = argmax P(. | x, y_1 .. y_(t-1))`:
//!
//! * reliability = `sum_t [p_t = y_t] / T`, with `x` the edit's prompt and `y` its target;
//! * generalization = the same with `x` the rephrasing;
//! * locality = `sum_t [p_t after editing = p_t before] / T`, with `x` the locality prompt and `y` its true
//!   answer, which only gives length and context: it need not be what the model predicts.
//!
//! A token is scored even where the model would never have come that far by itself, so a model can score well
//! and still answer wrongly; see [`generation`](crate::generation).

use serde::{Deserialize, Serialize};
use wise_edit::{Snapshot, TeacherForced};

use super::{RouteTaken, mean};
use crate::{Record, Result};

/// One record's scores; null where the record lacks a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// On the edit's prompt.
    pub reliability: Score,
    /// On its rephrasing.
    pub generalization: Option<Score>,
    /// On the locality prompt and its answer.
    pub locality: Option<Score>,
}

/// A share of tokens and the memory that predicted them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 to 1.
    pub score: f64,
    /// The memory that answered.
    pub route: RouteTaken,
}

/// Means over records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Share of the target's tokens predicted after the edit's prompt.
    pub reliability: Option<f64>,
    /// Share of the target's tokens predicted after the rephrasing.
    pub generalization: Option<f64>,
    /// Share of predictions that the edits left as they were.
    pub locality: Option<f64>,
}

impl Means {
    pub(super) fn of(scores: &[&Scores]) -> Self {
        let optional = |score: &Option<Score>| score.as_ref().map(|s| s.score);
        Self {
            reliability: mean(scores.iter().map(|s| Some(s.reliability.score))),
            generalization: mean(scores.iter().map(|s| optional(&s.generalization))),
            locality: mean(scores.iter().map(|s| optional(&s.locality))),
        }
    }
}

/// Share of positions at which two sequences of tokens agree.
pub fn agreement(a: &[u32], b: &[u32]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(b.len()).max(1) as f64
}

/// What the unedited model predicts on the locality prompt and answer.
pub(super) fn reference(unedited: &Snapshot, record: &Record) -> Result<Option<Vec<u32>>> {
    let shown = show_locality(unedited, record)?;
    Ok(shown.map(|shown| shown.predicted))
}

pub(super) fn score(
    snapshot: &Snapshot,
    record: &Record,
    reference: Option<&[u32]>,
) -> Result<Scores> {
    let matched = |prompt: &str| -> Result<Score> {
        let shown = snapshot.teacher_forced(prompt, &record.target)?;
        Ok(compared(&shown, &shown.answer))
    };
    let locality = match reference {
        Some(before) => show_locality(snapshot, record)?.map(|after| compared(&after, before)),
        None => None,
    };
    Ok(Scores {
        reliability: matched(&record.prompt)?,
        generalization: record.rephrase.as_deref().map(matched).transpose()?,
        locality,
    })
}

fn show_locality(snapshot: &Snapshot, record: &Record) -> Result<Option<TeacherForced>> {
    let Some(locality) = record.locality.first() else {
        return Ok(None);
    };
    let Some(answer) = &locality.answer else {
        return Ok(None);
    };
    Ok(Some(snapshot.teacher_forced(&locality.prompt, answer)?))
}

fn compared(shown: &TeacherForced, expected: &[u32]) -> Score {
    Score {
        score: agreement(&shown.predicted, expected),
        route: shown.route.into(),
    }
}

#[cfg(test)]
mod tests {
    use wise_edit::Route;

    use super::*;

    #[test]
    fn a_score_is_the_share_of_equal_tokens() {
        assert_eq!(agreement(&[1, 2, 3, 4], &[1, 9, 3, 4]), 0.75);
        assert_eq!(agreement(&[1, 2], &[1, 2]), 1.0);
        assert_eq!(agreement(&[1, 2], &[1, 2, 3, 4]), 0.5);
        assert_eq!(agreement(&[], &[]), 0.0);
    }

    #[test]
    fn reliability_compares_with_the_answer_and_locality_with_the_unedited_model() {
        let shown = TeacherForced {
            answer: vec![5, 6],
            predicted: vec![5, 7],
            route: Route {
                memory: Some(0),
                activation: 3.0,
                threshold: 2.0,
            },
        };
        let score = compared(&shown, &shown.answer);
        assert_eq!((score.score, score.route.memory), (0.5, Some(0)));
        assert_eq!(compared(&shown, &[5, 7]).score, 1.0);
    }
}
