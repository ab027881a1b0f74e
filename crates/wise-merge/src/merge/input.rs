//! What every merge demands of its input.

use rayon::prelude::*;

use super::CHUNK;
use crate::{Error, Result};

/// Checks the input of a merge. Returns the weights divided by the largest: equal ones become exactly 1, so that
/// opposite votes of the same size cancel exactly.
pub(super) fn checked(base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f64>> {
    if deltas.is_empty() {
        return Err(Error::NoDeltas);
    }
    same_length("weights", weights.len(), deltas.len())?;
    finite(base, || "the base".into())?;
    for (index, delta) in deltas.iter().enumerate() {
        same_length("entries of a delta", delta.len(), base.len())?;
        finite(delta, || format!("delta {index}"))?;
    }
    for (index, &got) in weights.iter().enumerate() {
        if !got.is_finite() || got < 0.0 {
            return Err(Error::Weight { index, got });
        }
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Err(Error::NoWeight {
            count: weights.len(),
        });
    }
    Ok(weights.iter().map(|weight| weight / largest).collect())
}

/// Checks a density, the share of entries that a sparsified delta keeps.
pub(super) fn check_density(density: f64) -> Result<()> {
    if density > 0.0 && density <= 1.0 {
        Ok(())
    } else {
        Err(Error::Density { got: density })
    }
}

fn same_length(what: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::Length {
            what,
            got,
            expected,
        })
    }
}

fn finite(values: &[f32], name: impl Fn() -> String) -> Result<()> {
    let chunks = values.par_chunks(CHUNK);
    if chunks.all(|chunk| chunk.iter().all(|value| value.is_finite())) {
        return Ok(());
    }
    values
        .iter()
        .position(|value| !value.is_finite())
        .map_or(Ok(()), |entry| {
            Err(Error::NotFinite {
                matrix: name(),
                entry,
                got: values[entry],
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_merged_is_refused_with_got_and_expected() {
        let (base, delta) = ([0.0_f32; 2], [1.0_f32, 2.0]);
        let deltas: [&[f32]; 2] = [&delta, &delta];
        let refused = |base: &[f32], deltas: &[&[f32]], weights: &[f64]| {
            checked(base, deltas, weights).unwrap_err().to_string()
        };
        for (message, expected) in [
            (
                refused(&base, &[], &[]),
                "got no deltas to merge, expected at least one",
            ),
            (refused(&base, &deltas, &[1.0]), "got 1 weights, expected 2"),
            (
                refused(&base, &[&delta, &[1.0]], &[1.0, 1.0]),
                "got 1 entries of a delta, expected 2",
            ),
            (
                refused(&base, &deltas, &[1.0, -0.5]),
                "weight 1 is -0.5, expected a finite number of at least 0",
            ),
            (
                refused(&base, &deltas, &[f64::NAN, 1.0]),
                "weight 0 is NaN, expected a finite number of at least 0",
            ),
            (
                refused(&base, &deltas, &[0.0, 0.0]),
                "all 2 weights are 0, expected at least one above 0",
            ),
            (
                refused(&[0.0, f32::INFINITY], &deltas, &[1.0, 1.0]),
                "entry 1 of the base is inf, expected a finite number",
            ),
            (
                refused(&base, &[&delta, &[f32::NAN, 0.0]], &[1.0, 1.0]),
                "entry 0 of delta 1 is NaN, expected a finite number",
            ),
        ] {
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn huge_weights_do_not_overflow() {
        let weights = checked(&[0.0], &[&[1.0], &[1.0]], &[f64::MAX, f64::MAX]).unwrap();
        assert_eq!(weights, [1.0, 1.0]);
    }

    #[test]
    fn a_density_is_a_share() {
        assert!(check_density(1.0).is_ok() && check_density(1e-9).is_ok());
        for got in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(check_density(got).is_err(), "{got}");
        }
    }
}
