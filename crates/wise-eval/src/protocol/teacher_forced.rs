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

use super::{Kind, Question, Scores, ToScore, perplexity, questions};
use crate::Result;
use crate::metrics::Shown;

/// Share of positions at which two sequences of tokens agree.
pub fn agreement(a: &[u32], b: &[u32]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(b.len()).max(1) as f64
}

pub(super) fn score(
    snapshot: &Snapshot,
    records: &[ToScore<'_>],
    scores: &mut [Scores],
) -> Result<()> {
    let asked: Vec<Vec<(Question<'_>, &str)>> = records
        .iter()
        .map(|(record, _)| {
            let questions = questions(record).into_iter();
            questions.filter_map(|q| Some((q, q.answer?))).collect()
        })
        .collect();
    let pairs: Vec<(&str, &str)> = asked
        .iter()
        .flatten()
        .map(|(question, answer)| (question.prompt, *answer))
        .collect();
    let mut shown = snapshot.teacher_forced_together(&pairs)?.into_iter();
    for (((record, reference), asked), scores) in records.iter().zip(asked).zip(scores) {
        scores.reference.predicted = vec![Vec::new(); record.locality.len()];
        for ((question, _), shown) in asked.iter().zip(shown.by_ref()) {
            match question.kind {
                Kind::Locality => {
                    let before = reference.and_then(|r| r.predicted.get(question.index));
                    kept(*question, &shown, before.map(Vec::as_slice), scores);
                    scores.reference.predicted[question.index] = shown.predicted;
                }
                _ => matched(*question, &shown, scores),
            }
        }
        if let Some(text) = &record.ood {
            perplexity::of_text(snapshot, text, scores)?;
        }
    }
    Ok(())
}

fn matched(question: Question<'_>, shown: &TeacherForced, scores: &mut Scores) {
    let name = format!("teacher_forced.{}", question.kind.name());
    let accuracy = agreement(&shown.predicted, &shown.answer);
    scores.add(&name, "token_accuracy", accuracy);
    scores.show(&name, question.index, without_answer(shown));
    if question.kind == Kind::Edit {
        perplexity::of_target("perplexity.edit", shown, scores);
    }
}

fn kept(
    question: Question<'_>,
    shown: &TeacherForced,
    before: Option<&[u32]>,
    scores: &mut Scores,
) {
    let names = question.names("teacher_forced");
    for name in &names {
        if let Some(before) = before {
            scores.add(name, "agreement", agreement(&shown.predicted, before));
        }
        let accuracy = agreement(&shown.predicted, &shown.answer);
        scores.add(name, "accuracy", accuracy);
    }
    scores.show(&names[0], question.index, without_answer(shown));
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
                edit: None,
            },
        };
        let mut scores = Scores::default();
        let question = |kind| Question {
            kind,
            index: 0,
            prompt: "",
            answer: None,
            group: None,
        };
        matched(question(Kind::Edit), &shown, &mut scores);
        let locality = question(Kind::Locality);
        kept(locality, &shown, Some(&[5, 7]), &mut scores);
        let measured = scores.measured;
        assert_eq!(measured.scores["teacher_forced.edit.token_accuracy"], 0.5);
        assert_eq!(measured.scores["teacher_forced.locality.agreement"], 1.0);
        assert_eq!(measured.scores["teacher_forced.locality.accuracy"], 0.5);
        let shown = &measured.answers["teacher_forced.locality"];
        assert_eq!((shown.route.memory, &shown.answer), (Some(0), &None));
    }
}
