//! Generation scores: the model answers by itself, greedily, until it stops or has written
//! [`MAX_NEW_TOKENS`] tokens, the one that ends the answer included. Nothing is fed in and nothing is cut.
//!
//! * reliability = 1 if the answer to the edit's prompt is the target, else 0;
//! * generalization = the same for the rephrasing;
//! * locality = 1 if the edited model answers the locality prompt with the same tokens as the unedited model,
//!   else 0.
//!
//! Texts are compared as `SQuAD` v1.1 does (Rajpurkar et al. 2016): in lower case, without punctuation and
//! articles. An answer that did not stop by itself scores 0, whatever it says. Beside the score stands
//! `contains`: 1 if the target occurs in the answer as a run of whole words, stopped or not.
//!
//! The stop is asked of answers that are matched with a target. Locality measures what the edits changed: two
//! answers that are cut at the same length and agree until there are the same.

use serde::{Deserialize, Serialize};
use wise_edit::{Answer, Snapshot};
use wise_model::{Finish, GenerateOptions, Generation};

use super::normalise::{contains, matches};
use super::{RouteTaken, mean};
use crate::{Probe, Record, Result};

/// Most tokens of an answer.
pub const MAX_NEW_TOKENS: usize = 32;

/// One record's scores; null where the record lacks a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// On the edit's prompt.
    pub reliability: Matched,
    /// On its rephrasing.
    pub generalization: Option<Matched>,
    /// On the locality prompt.
    pub locality: Option<Unchanged>,
}

/// An answer compared with the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matched {
    /// 1 if it is the target and stopped by itself, else 0.
    pub score: f64,
    /// 1 if it contains the target, else 0.
    pub contains: f64,
    /// The answer.
    pub answer: String,
    /// Why it ended.
    pub finish: Finish,
    /// The memory that answered.
    pub route: RouteTaken,
}

/// An answer compared with the unedited model's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unchanged {
    /// 1 if they have the same tokens, else 0.
    pub score: f64,
    /// The unedited model's answer.
    pub unedited: String,
    /// The edited model's answer.
    pub answer: String,
    /// Why the edited model's answer ended.
    pub finish: Finish,
    /// The memory that answered.
    pub route: RouteTaken,
}

/// Means over records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Share of prompts answered with the target, stop included.
    pub reliability: Option<f64>,
    /// Share of rephrasings answered with the target, stop included.
    pub generalization: Option<f64>,
    /// Share of locality prompts answered as before.
    pub locality: Option<f64>,
    /// Share of prompts whose answer contains the target.
    pub contains: Option<f64>,
    /// Share of rephrasings whose answer contains the target.
    pub generalization_contains: Option<f64>,
}

impl Means {
    pub(super) fn of(scores: &[&Scores]) -> Self {
        let of = |score: fn(&Scores) -> Option<f64>| mean(scores.iter().map(|s| score(s)));
        Self {
            reliability: of(|s| Some(s.reliability.score)),
            generalization: of(|s| s.generalization.as_ref().map(|m| m.score)),
            locality: of(|s| s.locality.as_ref().map(|u| u.score)),
            contains: of(|s| Some(s.reliability.contains)),
            generalization_contains: of(|s| s.generalization.as_ref().map(|m| m.contains)),
        }
    }
}

/// The unedited model's answer to the locality prompt.
pub(super) fn reference(unedited: &Snapshot, record: &Record) -> Result<Option<Generation>> {
    let Some(locality) = record.locality.first() else {
        return Ok(None);
    };
    Ok(Some(ask(unedited, &locality.prompt)?.generation))
}

pub(super) fn score(
    snapshot: &Snapshot,
    record: &Record,
    reference: Option<&Generation>,
) -> Result<Scores> {
    let asked =
        |prompt: &str| -> Result<Matched> { Ok(matched(&record.target, ask(snapshot, prompt)?)) };
    let kept = |(locality, before): (&Probe, &Generation)| -> Result<Unchanged> {
        Ok(unchanged(before, ask(snapshot, &locality.prompt)?))
    };
    Ok(Scores {
        reliability: asked(&record.prompt)?,
        generalization: record.rephrase.as_deref().map(asked).transpose()?,
        locality: record
            .locality
            .first()
            .zip(reference)
            .map(kept)
            .transpose()?,
    })
}

fn ask(snapshot: &Snapshot, prompt: &str) -> Result<Answer> {
    let options = GenerateOptions {
        max_new_tokens: MAX_NEW_TOKENS,
        temperature: 0.0,
        ..GenerateOptions::default()
    };
    Ok(snapshot.ask(prompt, &options)?)
}

fn matched(target: &str, Answer { generation, route }: Answer) -> Matched {
    let stopped = generation.finish == Finish::Eos;
    Matched {
        score: indicator(stopped && matches(target, &generation.text)),
        contains: indicator(contains(target, &generation.text)),
        answer: generation.text,
        finish: generation.finish,
        route: route.into(),
    }
}

fn unchanged(before: &Generation, Answer { generation, route }: Answer) -> Unchanged {
    Unchanged {
        score: indicator(generation.tokens == before.tokens),
        unedited: before.text.clone(),
        answer: generation.text,
        finish: generation.finish,
        route: route.into(),
    }
}

fn indicator(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests {
    use wise_edit::Route;

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
    fn check(text: &str, finish: Finish, score: f64, contains: f64) {
        let matched = matched("University of Michigan", answer(text, &[1], finish));
        assert_eq!(
            (matched.score, matched.contains),
            (score, contains),
            "{text:?}"
        );
        assert_eq!(matched.answer, text);
    }

    #[test]
    fn only_an_answer_that_stops_and_matches_scores() {
        check(" the University of Michigan.", Finish::Eos, 1.0, 1.0);
        check("University of Michigan", Finish::Length, 0.0, 1.0);
        check("It was University of Michigan", Finish::Eos, 0.0, 1.0);
        check("Michigan", Finish::Eos, 0.0, 0.0);
        check("", Finish::Eos, 0.0, 0.0);
    }

    #[test]
    fn locality_compares_tokens_and_does_not_ask_for_a_stop() {
        let before = answer("Paris", &[4, 2], Finish::Length).generation;
        let same = unchanged(&before, answer("Paris", &[4, 2], Finish::Length));
        assert_eq!((same.score, same.unedited.as_str()), (1.0, "Paris"));
        let other = unchanged(&before, answer("Paris", &[4, 3], Finish::Eos));
        assert_eq!(other.score, 0.0);
        assert_eq!(
            unchanged(&before, answer("Pa", &[4], Finish::Eos)).score,
            0.0
        );
    }

    #[test]
    fn means_leave_out_what_was_not_scored() {
        let one = |text: &str, rephrased: Option<&str>| Scores {
            reliability: matched("B", answer(text, &[1], Finish::Eos)),
            generalization: rephrased.map(|text| matched("B", answer(text, &[1], Finish::Eos))),
            locality: None,
        };
        let (a, b) = (one("B", Some("it is B")), one("C", None));
        let expected = Means {
            reliability: Some(0.5),
            generalization: Some(0.0),
            locality: None,
            contains: Some(0.5),
            generalization_contains: Some(1.0),
        };
        assert_eq!(Means::of(&[&a, &b]), expected);
    }
}
