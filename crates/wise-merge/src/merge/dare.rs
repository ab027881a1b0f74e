//! DARE: drop at random and rescale, then average or resolve signs.

use rand_chacha::rand_core::RngCore;
use rayon::prelude::*;

use super::input::{check_density, checked};
use super::mean::{disjoint_mean, weighted_mean};
use super::{CHUNK, Merge};
use crate::Result;
use crate::random::{self, Purpose};

/// DARE (Yu et al., *Language Models are Super Mario*, ICML 2024, arXiv 2311.03099, section 3), then the mean.
///
/// Per delta each entry is kept with probability `density` (one less the paper's drop rate p) and divided by it,
/// else dropped, so that its expectation stays: `W + sum_i w_i d_i / sum_i w_i`.
///
/// Delta number `i` draws from stream `i` of the seed: the order of the deltas matters. EasyEdit does not rescale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dare {
    /// Probability that an entry is kept, in (0, 1].
    pub density: f64,
    /// Seed of the drops.
    pub seed: u64,
}

/// DARE's drops in place of TIES's trimming (arXiv 2311.03099, section 3, with arXiv 2306.01708, section 4).
///
/// Drops and rescales as [`Dare`] does, then elects signs and averages those that agree as [`Ties`](super::Ties)
/// does. EasyEdit sums them without dividing by their weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DareTies {
    /// Probability that an entry is kept, in (0, 1].
    pub density: f64,
    /// Seed of the drops.
    pub seed: u64,
}

impl Merge for Dare {
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let weights = checked(base, deltas, weights)?;
        let kept = drop_and_rescale(deltas, self.density, self.seed)?;
        Ok(weighted_mean(base, &kept, &weights))
    }
}

impl Merge for DareTies {
    fn merge(&self, base: &[f32], deltas: &[&[f32]], weights: &[f64]) -> Result<Vec<f32>> {
        let weights = checked(base, deltas, weights)?;
        let kept = drop_and_rescale(deltas, self.density, self.seed)?;
        Ok(disjoint_mean(base, &kept, &weights))
    }
}

fn drop_and_rescale(deltas: &[&[f32]], density: f64, seed: u64) -> Result<Vec<Vec<f32>>> {
    check_density(density)?;
    let kept = random::below(density);
    let drop_some = |(number, delta): (usize, &&[f32])| {
        let stream = random::stream(Purpose::Drop, seed, number as u64);
        let mut values = delta.to_vec();
        let chunks = values.par_chunks_mut(CHUNK).enumerate();
        chunks.for_each(|(index, chunk)| {
            let mut random = stream.clone();
            random.set_word_pos((index * CHUNK) as u128);
            for value in chunk {
                *value = if u64::from(random.next_u32()) < kept {
                    (f64::from(*value) / density) as f32
                } else {
                    0.0
                };
            }
        });
        values
    };
    Ok(deltas.iter().enumerate().map(drop_some).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MaskSeed;

    static ONES: [f32; 1_000_000] = [1.0; 1_000_000];

    fn dropped(deltas: &[&[f32]], density: f64) -> Vec<Vec<f32>> {
        drop_and_rescale(deltas, density, 42).unwrap()
    }

    #[test]
    fn the_drops_of_a_seed_never_change() {
        let kept = &dropped(&[&[1.0; 24]], 0.5)[0];
        let entries: Vec<usize> = (0..24).filter(|&i| kept[i] != 0.0).collect();
        // A merge replayed from a journal must drop the same entries.
        assert_eq!(entries, PINNED);
    }

    const PINNED: [usize; 11] = [3, 5, 10, 13, 15, 16, 17, 20, 21, 22, 23];

    #[test]
    fn chunks_go_on_where_the_last_one_ended() {
        let mut random = random::stream(Purpose::Drop, 42, 0);
        let expected = |_| {
            if random.next_u32() >> 31 == 0 {
                2.0
            } else {
                0.0
            }
        };
        let expected: Vec<f32> = (0..2 * CHUNK + 5).map(expected).collect();
        assert!(dropped(&[&ONES[..expected.len()]], 0.5)[0] == expected);
    }

    #[test]
    fn a_drop_keeps_the_mean() {
        for merge in [
            &Dare {
                density: 0.3,
                seed: 1,
            } as &dyn Merge,
            &Dare {
                density: 0.9,
                seed: 2,
            },
        ] {
            let merged = merge
                .merge(&vec![0.0; ONES.len()], &[&ONES, &ONES], &[1.0, 3.0])
                .unwrap();
            let mean = merged.iter().map(|&v| f64::from(v)).sum::<f64>() / ONES.len() as f64;
            // At density p one delta's mean has variance (1/p - 1)/n: five deviations are 0.0076 for p = 0.3.
            assert!((mean - 1.0).abs() < 0.0076, "{mean}");
        }
    }

    #[test]
    fn what_is_kept_is_rescaled() {
        let kept = dropped(&[&[3.0; 1000]], 0.25);
        assert!(kept[0].iter().all(|&v| v == 0.0 || v == 12.0));
    }

    #[test]
    fn deltas_are_dropped_independently_of_each_other_and_of_the_masks() {
        let kept = dropped(&[&ONES, &ONES], 0.5);
        let mask = MaskSeed {
            seed: 42,
            ratio: 0.5,
            part: 0,
        }
        .draw(ONES.len())
        .unwrap();
        let both = |other: &dyn Fn(usize) -> bool| {
            (0..ONES.len())
                .filter(|&i| kept[0][i] != 0.0 && other(i))
                .count()
        };
        // Five standard deviations of a quarter of a million: 5 * sqrt(1e6 * 3/16) = 2165.
        assert!(both(&|i| kept[1][i] != 0.0).abs_diff(250_000) < 2_165);
        assert!(both(&|i| mask.contains(i)).abs_diff(250_000) < 2_165);
    }

    #[test]
    fn dare_ties_averages_only_what_agrees() {
        let deltas: [&[f32]; 2] = [&[1.0; 64], &[-0.5; 64]];
        let merged = DareTies {
            density: 0.5,
            seed: 3,
        }
        .merge(&[0.0; 64], &deltas, &[1.0, 1.0])
        .unwrap();
        // Kept values are 2 and -1: 2 wins where it is kept, else -1 stands alone, else nothing is left.
        for value in [2.0, -1.0, 0.0] {
            assert!(merged.contains(&value), "{value}");
        }
        assert!(merged.iter().all(|v| [2.0, -1.0, 0.0].contains(v)));
    }

    #[test]
    fn density_one_drops_nothing() {
        let deltas: [&[f32]; 2] = [&[0.1, -0.3], &[0.5, 0.2]];
        assert_eq!(dropped(&deltas, 1.0), deltas);
    }

    #[test]
    fn a_density_out_of_range_is_refused() {
        assert!(drop_and_rescale(&[&[1.0]], 1.5, 0).is_err());
    }
}
