//! Trimming: only the largest changes of a delta count.

use std::borrow::Cow;
use std::cmp::Ordering;

use rayon::prelude::*;

use super::input::check_density;
use crate::{Error, Result};

/// Each delta with all but its `floor(density * n)` entries of largest magnitude set to 0 (TIES, section 4, step 1).
/// Of entries of the same magnitude the first are kept, so that a result does not depend on how they were sorted.
pub(super) fn trim<'a>(deltas: &[&'a [f32]], density: f64) -> Result<Vec<Cow<'a, [f32]>>> {
    check_density(density)?;
    deltas
        .par_iter()
        .map(|delta| trim_one(delta, density))
        .collect()
}

fn trim_one(delta: &[f32], density: f64) -> Result<Cow<'_, [f32]>> {
    let entries = delta.len();
    let keep = (density * entries as f64) as usize;
    if keep == 0 && entries > 0 {
        return Err(Error::KeepsNone { density, entries });
    }
    // Magnitudes order like their bits. Zeros are trimmed already, and a shard has few other entries.
    let magnitude = |value: f32| value.abs().to_bits();
    let mut magnitudes: Vec<u32> = delta
        .iter()
        .map(|&value| magnitude(value))
        .filter(|&bits| bits != 0)
        .collect();
    if magnitudes.len() <= keep {
        return Ok(Cow::Borrowed(delta));
    }
    let trimmed = magnitudes.len() - keep;
    let (_, &mut smallest, larger) = magnitudes.select_nth_unstable(trimmed);
    let mut of_smallest = keep - larger.iter().filter(|&&bits| bits > smallest).count();
    let kept = delta
        .iter()
        .map(|&value| match magnitude(value).cmp(&smallest) {
            Ordering::Greater => value,
            Ordering::Equal if of_smallest > 0 => {
                of_smallest -= 1;
                value
            }
            _ => 0.0,
        });
    Ok(Cow::Owned(kept.collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_equal_magnitudes_the_first_are_kept() {
        let delta = [1.0, -2.0, 2.0, -1.0, 1.0, 0.0];
        // floor(0.5 * 6) = 3: both twos, then the first of the ones.
        assert_eq!(
            *trim_one(&delta, 0.5).unwrap(),
            [1.0, -2.0, 2.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn a_shard_sparser_than_the_density_is_not_copied() {
        let delta = [0.0, 3.0, 0.0, -1.0];
        assert!(matches!(trim_one(&delta, 0.53), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_density_that_keeps_nothing_is_refused() {
        assert!(trim_one(&[1.0], 0.53).is_err());
        assert!(trim_one(&[], 0.53).is_ok());
    }

    proptest! {
        #[test]
        fn exactly_the_largest_are_kept(
            delta in prop::collection::vec((1_i8..5, any::<bool>()), 1..60),
            density in 0.05_f64..=1.0,
        ) {
            let delta: Vec<f32> =
                delta.iter().map(|&(v, minus)| f32::from(if minus { -v } else { v })).collect();
            let keep = (density * delta.len() as f64).floor() as usize;
            prop_assume!(keep > 0);
            let trimmed = trim_one(&delta, density).unwrap();
            prop_assert_eq!(trimmed.iter().filter(|&&v| v != 0.0).count(), keep);
            let smallest_kept =
                trimmed.iter().filter(|&&v| v != 0.0).map(|v| v.abs()).fold(f32::MAX, f32::min);
            for (&before, &after) in delta.iter().zip(&*trimmed) {
                prop_assert!(after == before || (after == 0.0 && before.abs() <= smallest_kept));
            }
        }
    }
}
