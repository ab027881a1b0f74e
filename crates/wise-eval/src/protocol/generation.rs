//! Generation scores: the model answers by itself, greedily, until it stops or has written
//! [`MAX_NEW_TOKENS`] tokens (more where the target itself is longer), the one that ends the answer included.
//! Nothing is fed in and nothing is cut.
//!
//! On the edit's prompt (reliability), its rephrasing (generalization) and prompts about what follows from it
//! (portability), against the target or their answer:
//!
//! * `exact_match` = 1 if the answer is the target, else 0;
//! * `f1` = `2 P R / (P + R)` over the words that answer and target share, counted as often as both have them;
//!   `P` is their share of the answer's words, `R` of the target's;
//! * `contains` = 1 if the target occurs in the answer as a run of whole words, stopped or not, else 0.
//!
//! Texts are compared as `SQuAD` v1.1 does (Rajpurkar et al. 2016): in lower case, without punctuation and
//! articles. An answer that did not stop by itself has exact match and F1 0, whatever it says.
//!
//! On the locality prompts:
//!
//! * `agreement` = 1 if the edited model answers with the same tokens as the unedited model, else 0;
//! * `contains` = 1 if the answer contains the true one, the accuracy against the truth.
//!
//! Agreement asks for no stop: it measures what the edits changed, and two answers that are cut at the same
//! length and agree until there are the same. On the edit's prompt, `ngram_entropy` of the answer
//! ([`ngram_entropy`](super::ngram_entropy)) tells whether it repeats itself.

use wise_edit::{Answer, Batch, Snapshot};
use wise_model::{Finish, GenerateOptions};

use super::ngram_entropy::ngram_entropy;
use super::normalise::{contains, f1, matches};
use super::{Kind, Question, Scores, ToScore, questions};
use crate::metrics::Shown;
use crate::{Record, Result};

/// Most tokens of an answer, unless its target is longer.
pub const MAX_NEW_TOKENS: usize = 32;

/// Tokens that an answer may have beyond a long target's.
const BEYOND_TARGET: usize = 16;

pub(super) fn score(
    snapshot: &Snapshot,
    records: &[ToScore<'_>],
    scores: &mut [Scores],
) -> Result<()> {
    let asked: Vec<Vec<Question<'_>>> = records
        .iter()
        .map(|(record, _)| questions(record))
        .collect();
    let batches = records
        .iter()
        .zip(&asked)
        .map(|((record, _), questions)| {
            Ok(Batch {
                questions: questions.iter().map(|question| question.prompt).collect(),
                options: options(snapshot, record)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut answers = snapshot.ask_batches(&batches)?.into_iter();
    for (((_, reference), asked), scores) in records.iter().zip(asked).zip(scores) {
        for (question, answer) in asked.into_iter().zip(answers.by_ref()) {
            let name = format!("generation.{}", question.kind.name());
            if question.kind == Kind::Locality {
                let before = reference.and_then(|r| r.generated.get(question.index));
                for name in question.names("generation") {
                    kept(
                        &name,
                        before.map(Vec::as_slice),
                        question.answer,
                        &answer,
                        scores,
                    );
                }
                scores.reference.generated.push(answer.generation.tokens);
            } else if let Some(expected) = question.answer {
                matched(&name, expected, &answer, scores);
            }
            let shown = Shown {
                answer: Some(answer.generation.text),
                finish: Some(answer.generation.finish),
                route: answer.route.into(),
            };
            scores.show(&name, question.index, shown);
        }
    }
    Ok(())
}

fn options(snapshot: &Snapshot, record: &Record) -> Result<GenerateOptions> {
    let target = snapshot
        .model()
        .tokenize(&record.target)
        .map_err(wise_edit::Error::from)?
        .len();
    let max_new_tokens = if target < MAX_NEW_TOKENS {
        MAX_NEW_TOKENS
    } else {
        target + BEYOND_TARGET
    };
    Ok(GenerateOptions {
        max_new_tokens,
        temperature: 0.0,
        ..GenerateOptions::default()
    })
}

fn matched(question: &str, target: &str, answer: &Answer, scores: &mut Scores) {
    let text = &answer.generation.text;
    let stopped = answer.generation.finish == Finish::Eos;
    let overlap = if stopped { f1(target, text) } else { 0.0 };
    scores.add(
        question,
        "exact_match",
        indicator(stopped && matches(target, text)),
    );
    scores.add(question, "f1", overlap);
    scores.add(question, "contains", indicator(contains(target, text)));
    if question == "generation.edit" {
        scores.add(question, "ngram_entropy", ngram_entropy(text));
    }
}

fn kept(
    name: &str,
    before: Option<&[u32]>,
    truth: Option<&str>,
    answer: &Answer,
    scores: &mut Scores,
) {
    if let Some(before) = before {
        let same = before == answer.generation.tokens;
        scores.add(name, "agreement", indicator(same));
    }
    if let Some(truth) = truth {
        let found = contains(truth, &answer.generation.text);
        scores.add(name, "contains", indicator(found));
    }
}

fn indicator(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests {
    use wise_edit::Route;
    use wise_model::Generation;

    use super::*;

    fn answer(text: &str, tokens: &[u32], finish: Finish) -> Answer {
        Answer {
            generation: Generation {
                tokens: tokens.to_vec(),
                text: text.to_owned(),
                finish,
            },
            route: Route::MAIN,
        }
    }

    #[track_caller]
    fn check(text: &str, finish: Finish, expected: [f64; 3]) {
        let mut scores = Scores::default();
        let answer = answer(text, &[1], finish);
        matched(
            "generation.rephrase",
            "University of Michigan",
            &answer,
            &mut scores,
        );
        let scores = scores.measured.scores;
        let got = ["exact_match", "f1", "contains"];
        let got = got.map(|metric| scores[&format!("generation.rephrase.{metric}")]);
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn only_an_answer_that_stops_and_matches_scores() {
        check(" the University of Michigan.", Finish::Eos, [1.0, 1.0, 1.0]);
        check("University of Michigan", Finish::Length, [0.0, 0.0, 1.0]);
        check(
            "by University of Michigan",
            Finish::Eos,
            [0.0, 6.0 / 7.0, 1.0],
        );
        check("Michigan", Finish::Eos, [0.0, 0.5, 0.0]);
        check("", Finish::Eos, [0.0, 0.0, 0.0]);
    }

    #[test]
    fn locality_compares_tokens_and_does_not_ask_for_a_stop() {
        let agreement = |tokens: &[u32], finish| {
            let mut scores = Scores::default();
            let answer = answer("Paris", tokens, finish);
            let name = "generation.locality";
            kept(name, Some(&[4, 2]), Some("paris"), &answer, &mut scores);
            assert_eq!(scores.measured.scores["generation.locality.contains"], 1.0);
            scores.measured.scores["generation.locality.agreement"]
        };
        assert_eq!(agreement(&[4, 2], Finish::Length), 1.0);
        assert_eq!(agreement(&[4, 3], Finish::Eos), 0.0);
        assert_eq!(agreement(&[4], Finish::Eos), 0.0);
    }
}
