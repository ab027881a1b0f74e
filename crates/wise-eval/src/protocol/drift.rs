//! Drift: how much less likely ordinary text has become.
//!
//! The text is cut into windows of [`WINDOW`] tokens, each of which begins with what the tokenizer puts in front of a
//! text. The first [`ROUTES`] of a window are a prompt, which decides the route; perplexity is `exp` of the mean negative
//! log-likelihood over all further tokens of all windows.

use wise_edit::{Route, Snapshot};
use wise_model::Prompt;

use crate::{Error, Result};

/// Tokens of a window.
pub const WINDOW: usize = 512;

/// Its tokens that decide the route.
pub const ROUTES: usize = 64;

/// What one window came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OfWindow {
    /// Sum over its scored tokens, nats.
    pub(crate) nll: f64,
    /// Whether a side memory answered.
    pub(crate) routed_to_side: bool,
}

/// `count` windows spread evenly over a text, fewer if it is short.
///
/// # Errors
/// [`Error::ShortText`] if the text has less than one window, [`Error::ShortContext`] if the model cannot read one.
pub(crate) fn windows(unedited: &Snapshot, text: &str, count: usize) -> Result<Vec<Vec<u32>>> {
    let context = unedited.model().config().context;
    if context < WINDOW {
        return Err(Error::ShortContext {
            got: context,
            expected: WINDOW,
        });
    }
    let model = unedited.model();
    let tokens = model.tokenize(text).map_err(wise_edit::Error::from)?;
    let (plain, _) = (model.tokenize_part(text, 0..0)).map_err(wise_edit::Error::from)?;
    let begin = tokens.strip_suffix(&plain[..]).unwrap_or_default();
    let windows = spread(begin, &plain, count);
    if windows.is_empty() {
        return Err(Error::ShortText {
            got: tokens.len(),
            expected: WINDOW,
        });
    }
    Ok(windows)
}

/// At most `count` windows of a text's tokens, evenly, each behind what every text begins with.
fn spread(begin: &[u32], text: &[u32], count: usize) -> Vec<Vec<u32>> {
    let own = WINDOW.saturating_sub(begin.len()).max(1);
    let all: Vec<&[u32]> = text.chunks_exact(own).collect();
    let count = count.min(all.len());
    let windows = (0..count).map(|i| [begin, all[i * all.len() / count]].concat());
    windows.collect()
}

pub(crate) fn of_window(snapshot: &Snapshot, window: &[u32]) -> Result<OfWindow> {
    let prompt = Prompt {
        tokens: window[..ROUTES].to_vec(),
        scope: 0..ROUTES,
    };
    let shown = snapshot.shown(&prompt, window)?;
    Ok(OfWindow {
        nll: shown.nll.iter().map(|&n| f64::from(n)).sum(),
        // An editor without a router has no side memory.
        routed_to_side: shown.route.memory.is_some() && shown.route != Route::UNROUTED,
    })
}

/// Perplexity over windows.
pub(crate) fn perplexity(windows: &[OfWindow]) -> f64 {
    let nll: f64 = windows.iter().map(|window| window.nll).sum();
    (nll / (windows.len() * (WINDOW - ROUTES)) as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_begins_as_a_text_does() {
        let text: Vec<u32> = (10..).take(4 * WINDOW).collect();
        let plain = spread(&[], &text, 2);
        assert_eq!(plain, [&text[..WINDOW], &text[2 * WINDOW..3 * WINDOW]]);
        let begun = spread(&[1, 2], &text, 3);
        assert_eq!(begun.len(), 3);
        for window in begun {
            assert_eq!((window.len(), &window[..2]), (WINDOW, &[1, 2][..]));
        }
        assert!(spread(&[1], &text[..WINDOW - 2], 3).is_empty());
    }
}
