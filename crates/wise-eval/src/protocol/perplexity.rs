//! How likely texts are to the model: perplexity of targets, and the share of likely tokens in other texts.
//!
//! With `nll_t = -ln P(y_t | x, y_1 .. y_(t-1))` in nats:
//!
//! * `perplexity.edit.nll` = `sum_t nll_t / T` over the target's tokens;
//! * `perplexity.edit.perplexity` = `exp` of that; its mean over records is the arithmetic mean of perplexities,
//!   as in the hallucination results of GRACE (Hartvigsen et al. 2023) and WISE, so a single bad record can
//!   outweigh all others. The mean of `nll` has no such outliers;
//! * `likelihood.ood.accuracy` = share of the tokens of a text after its first whose probability exceeds 0.8
//!   (WISE, equation 10, counted by token as its implementation does).

use wise_edit::{Snapshot, TeacherForced};
use wise_model::Prompt;

use super::Scores;
use crate::Result;
use crate::metrics::Shown;

/// A token of this probability is foreseen.
const FORESEEN: f64 = 0.8;

pub(super) fn of_target(question: &str, shown: &TeacherForced, scores: &mut Scores) {
    let nll = mean_nll(&shown.nll);
    scores.add(question, "nll", nll);
    scores.add(question, "perplexity", nll.exp());
}

/// The route is decided from the whole text: it is itself what the model is asked about.
pub(super) fn of_text(snapshot: &Snapshot, text: &str, scores: &mut Scores) -> Result<()> {
    let tokens = snapshot
        .model()
        .tokenize(text)
        .map_err(wise_edit::Error::from)?;
    let context = snapshot.model().config().context;
    let tokens = &tokens[..tokens.len().min(context)];
    if tokens.len() < 2 {
        return Ok(());
    }
    let first = Prompt {
        tokens: tokens[..1].to_vec(),
        scope: 0..tokens.len(),
    };
    let shown = snapshot.shown(&first, tokens)?;
    scores.add("likelihood.ood", "accuracy", foreseen(&shown.nll));
    let shown = Shown {
        answer: None,
        finish: None,
        route: shown.route.into(),
    };
    scores.show("likelihood.ood", 0, shown);
    Ok(())
}

pub(super) fn mean_nll(nll: &[f32]) -> f64 {
    let sum: f64 = nll.iter().map(|&n| f64::from(n)).sum();
    sum / nll.len().max(1) as f64
}

fn foreseen(nll: &[f32]) -> f64 {
    let bound = -FORESEEN.ln();
    let hits = nll.iter().filter(|&&n| f64::from(n) < bound).count();
    hits as f64 / nll.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_is_the_exponential_of_the_mean_nll() {
        let shown = TeacherForced {
            answer: vec![1, 2],
            predicted: vec![1, 2],
            nll: vec![2.0_f32.ln(), 8.0_f32.ln()],
            route: wise_edit::Route::MAIN,
        };
        let mut scores = Scores::default();
        of_target("perplexity.edit", &shown, &mut scores);
        let scores = &scores.measured.scores;
        assert!((scores["perplexity.edit.perplexity"] - 4.0).abs() < 1e-6);
        assert!((scores["perplexity.edit.nll"] - 4.0_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_token_of_more_than_four_fifths_is_foreseen() {
        let nll = |p: f32| -p.ln();
        assert_eq!(foreseen(&[nll(0.81), nll(0.79), nll(0.99), nll(0.1)]), 0.5);
    }
}
