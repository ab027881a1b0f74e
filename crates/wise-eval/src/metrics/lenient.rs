//! Reading numbers that JSON cannot write: a diverged edit has a loss that is not finite, which becomes null, and
//! one such edit must not make the whole report unreadable.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::ScoreName;

/// A number; null is NaN.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// Pairs of numbers; null is NaN.
pub(super) fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<[f32; 2]>, D::Error> {
    let pairs = Vec::<[Option<f32>; 2]>::deserialize(from)?;
    let known = |number: Option<f32>| number.unwrap_or(f32::NAN);
    Ok(pairs.into_iter().map(|pair| pair.map(known)).collect())
}

/// Scores by name, without those that are null.
pub(super) fn scores<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<ScoreName, f64>, D::Error> {
    let scores = BTreeMap::<ScoreName, Option<f64>>::deserialize(from)?;
    let known = scores.into_iter();
    Ok(known
        .filter_map(|(name, score)| Some((name, score?)))
        .collect())
}
