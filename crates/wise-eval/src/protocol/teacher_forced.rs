//! Teacher-forced scores: the right answer is fed in, and at each of its tokens the likeliest token given all
//! before counts (`EasyEdit`, `evaluate_utils.py`; the figures of the WISE paper are of this kind).
//!
//! With answer tokens `y_1 .. y_T` after a prompt `x`, and `p_t = argmax P(. | x, y_1 .. y_(t-1))`:
//!
//! * `edit.token_accuracy` (reliability) = `sum_t [p_t = y_t] / T`, with `x` the edit's prompt and `y` its target;
//! * `rephrase.token_accuracy` (generalization) = the same with `x` the rephrasing;
//! * `portability.token_accuracy` = the same with a prompt about what follows from the edit and its answer;
//! * `locality.agreement` = `sum_t [p_t after editing = p_t before] / T`, with `x` the locality prompt and `y`
//!   its true answer, which only gives length and context: it need not be what the model predicts;
//! * `locality.accuracy` = `sum_t [p_t = y_t] / T` on the same, the accuracy against the truth that some
//!   papers call specificity. An editor that changes nothing has agreement 1 and the model's own accuracy.
//!
//! A token is scored even where the model would never have come that far by itself, so a model can score well
//! and still answer wrongly; see [`generation`](crate::generation).

use wise_edit::{Snapshot, TeacherForced};

use super::{Scores, perplexity};
use crate::metrics::Shown;
use crate::{Record, Result};

/// Share of positions at which two sequences of tokens agree.
pub fn agreement(a: &[u32], b: &[u32]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(b.len()).max(1) as f64
}

/// What the unedited model predicts on each locality prompt; nothing where there is no answer to feed in.
pub(super) fn reference(unedited: &Snapshot, record: &Record) -> Result<Vec<Vec<u32>>> {
    let predicted = |probe: &crate::Probe| match &probe.answer {
        Some(answer) => Ok(unedited.teacher_forced(&probe.prompt, answer)?.predicted),
        None => Ok(Vec::new()),
    };
    record.locality.iter().map(predicted).collect()
}

pub(super) fn score(
    snapshot: &Snapshot,
    record: &Record,
    reference: Option<&[Vec<u32>]>,
    scores: &mut Scores,
) -> Result<()> {
    let shown = snapshot.teacher_forced(&record.prompt, &record.target)?;
    matched("teacher_forced.edit", 0, &shown, scores);
    perplexity::of_target("perplexity.edit", &shown, scores);
    if let Some(rephrase) = &record.rephrase {
        let shown = snapshot.teacher_forced(rephrase, &record.target)?;
        matched("teacher_forced.rephrase", 0, &shown, scores);
    }
    for (index, probe) in record.portability.iter().enumerate() {
        if let Some(answer) = &probe.answer {
            let shown = snapshot.teacher_forced(&probe.prompt, answer)?;
            matched("teacher_forced.portability", index, &shown, scores);
        }
    }
    for (index, probe) in record.locality.iter().enumerate() {
        let Some(answer) = &probe.answer else {
            continue;
        };
        let shown = snapshot.teacher_forced(&probe.prompt, answer)?;
        let before = reference.and_then(|reference| reference.get(index));
        kept(index, &shown, before.map(Vec::as_slice), scores);
    }
    if let Some(text) = &record.ood {
        perplexity::of_text(snapshot, text, scores)?;
    }
    Ok(())
}

fn matched(question: &str, index: usize, shown: &TeacherForced, scores: &mut Scores) {
    scores.add(
        question,
        "token_accuracy",
        agreement(&shown.predicted, &shown.answer),
    );
    scores.show(question, index, without_answer(shown));
}

fn kept(index: usize, shown: &TeacherForced, before: Option<&[u32]>, scores: &mut Scores) {
    let question = "teacher_forced.locality";
    if let Some(before) = before {
        scores.add(question, "agreement", agreement(&shown.predicted, before));
    }
    let accuracy = agreement(&shown.predicted, &shown.answer);
    scores.add(question, "accuracy", accuracy);
    scores.show(question, index, without_answer(shown));
}

fn without_answer(shown: &TeacherForced) -> Shown {
    Shown {
        answer: None,
        finish: None,
        route: shown.route.into(),
    }
}

#[cfg(test)]
mod tests {
    use wise_edit::Route;

    use super::*;

    #[test]
    fn agreement_is_the_share_of_equal_tokens() {
        assert_eq!(agreement(&[1, 2, 3, 4], &[1, 9, 3, 4]), 0.75);
        assert_eq!(agreement(&[1, 2], &[1, 2]), 1.0);
        assert_eq!(agreement(&[1, 2], &[1, 2, 3, 4]), 0.5);
        assert_eq!(agreement(&[], &[]), 0.0);
    }

    #[test]
    fn locality_compares_with_the_unedited_model_and_accuracy_with_the_truth() {
        let shown = TeacherForced {
            answer: vec![5, 6],
            predicted: vec![5, 7],
            nll: vec![0.0, 1.0],
            route: Route {
                memory: Some(0),
                activation: 3.0,
                threshold: 2.0,
            },
        };
        let mut scores = Scores::default();
        matched("teacher_forced.edit", 0, &shown, &mut scores);
        kept(0, &shown, Some(&[5, 7]), &mut scores);
        let measured = scores.measured;
        assert_eq!(measured.scores["teacher_forced.edit.token_accuracy"], 0.5);
        assert_eq!(measured.scores["teacher_forced.locality.agreement"], 1.0);
        assert_eq!(measured.scores["teacher_forced.locality.accuracy"], 0.5);
        let shown = &measured.answers["teacher_forced.locality"];
        assert_eq!((shown.route.memory, &shown.answer), (Some(0), &None));
    }
}
