//! Drift: how much less likely ordinary text has become.
//!
//! The text is cut into windows of [`WINDOW`] tokens. The first [`ROUTES`] of a window are a prompt, which
//! decides the route; perplexity is `exp` of the mean negative log-likelihood over all further tokens of all
//! windows.

use wise_edit::Snapshot;
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
    let tokens = unedited
        .model()
        .tokenize(text)
        .map_err(wise_edit::Error::from)?;
    let all: Vec<&[u32]> = tokens.chunks_exact(WINDOW).collect();
    if all.is_empty() {
        return Err(Error::ShortText {
            got: tokens.len(),
            expected: WINDOW,
        });
    }
    let count = count.min(all.len());
    Ok((0..count)
        .map(|i| all[i * all.len() / count].to_vec())
        .collect())
}

pub(crate) fn of_window(snapshot: &Snapshot, window: &[u32]) -> Result<OfWindow> {
    let prompt = Prompt {
        tokens: window[..ROUTES].to_vec(),
        scope: 0..ROUTES,
    };
    let shown = snapshot.shown(&prompt, window)?;
    Ok(OfWindow {
        nll: shown.nll.iter().map(|&n| f64::from(n)).sum(),
        routed_to_side: shown.route.memory.is_some(),
    })
}

/// Perplexity over windows.
pub(crate) fn perplexity(windows: &[OfWindow]) -> f64 {
    let nll: f64 = windows.iter().map(|window| window.nll).sum();
    (nll / (windows.len() * (WINDOW - ROUTES)) as f64).exp()
}
