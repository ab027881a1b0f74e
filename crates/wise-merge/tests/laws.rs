//! The laws of merging, over the public interface.

use proptest::prelude::*;
use wise_merge::{
    Dare, DareTies, Linear, Magnitude, Merge, MergeMethod, Overlap, Shards, Sign, Slerp, Ties,
};

/// Eighths: small sums of them are exact, so that laws hold to the bit.
fn delta(len: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-40_i8..40).prop_map(|v| f32::from(v) / 8.0), len)
}

/// A base and one to five deltas, with weights that divide exactly.
fn shards() -> impl Strategy<Value = (Vec<f32>, Vec<Vec<f32>>, Vec<f64>)> {
    (1_usize..40, 1_usize..6).prop_flat_map(|(len, count)| {
        let weight = prop::sample::select(vec![0.25, 0.5, 1.0]);
        (
            delta(len),
            prop::collection::vec(delta(len), count),
            prop::collection::vec(weight, count),
        )
    })
}

fn merge(
    how: &dyn Merge,
    base: &[f32],
    deltas: &[Vec<f32>],
    weights: &[f64],
) -> wise_merge::Result<Vec<f32>> {
    let deltas: Vec<&[f32]> = deltas.iter().map(Vec::as_slice).collect();
    how.merge(base, &deltas, weights)
}

proptest! {
    #[test]
    fn a_merge_of_one_delta_is_that_delta(
        (base, delta) in prop::collection::vec((-1e3_f32..1e3, -1e3_f32..1e3), 1..50).prop_map(|v| v.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()),
        weight in 1e-3_f64..1e3,
    ) {
        let expected: Vec<f32> = base.iter().zip(&delta).map(|(b, d)| b + d).collect();
        for method in MergeMethod::ALL {
            let merged = method.build(1.0, 7).unwrap().merge(&base, &[&delta], &[weight]).unwrap();
            prop_assert_eq!(&merged, &expected, "{}", method);
        }
    }

    #[test]
    fn trimming_spares_a_delta_sparser_than_the_density(
        (base, mut delta) in (delta(40), delta(40)),
    ) {
        // floor(0.53 * 40) = 21.
        delta[21..].fill(0.0);
        let expected: Vec<f32> = base.iter().zip(&delta).map(|(b, d)| b + d).collect();
        for how in [&Ties::default() as &dyn Merge, &Magnitude::default()] {
            prop_assert_eq!(&how.merge(&base, &[&delta], &[1.0]).unwrap(), &expected, "{:?}", how);
        }
    }

    #[test]
    fn order_does_not_matter((base, mut deltas, mut weights) in shards(), turn in 0_usize..5) {
        let merges: [&dyn Merge; 4] = [&Ties { density: 1.0 }, &Sign, &Magnitude { density: 1.0 }, &Linear];
        let before = merges.map(|how| merge(how, &base, &deltas, &weights).unwrap());
        let turn = turn % deltas.len();
        deltas.rotate_left(turn);
        weights.rotate_left(turn);
        deltas.swap(0, turn);
        weights.swap(0, turn);
        for (how, before) in merges.iter().zip(before) {
            prop_assert_eq!(merge(*how, &base, &deltas, &weights).unwrap(), before, "{:?}", how);
        }
    }

    #[test]
    fn order_does_not_matter_to_trimming(
        (base, deltas) in (delta(20), prop::collection::vec(delta(20), 3)),
        density in 0.05_f64..=1.0,
    ) {
        let turned: Vec<_> = deltas.iter().rev().cloned().collect();
        for how in [&Ties { density } as &dyn Merge, &Magnitude { density }] {
            prop_assert_eq!(
                merge(how, &base, &deltas, &[0.5, 1.0, 0.25]).unwrap(),
                merge(how, &base, &turned, &[0.25, 1.0, 0.5]).unwrap()
            );
        }
    }

    #[test]
    fn only_ratios_of_weights_count((base, deltas, weights) in shards(), exponent in -8_i32..8) {
        let scaled: Vec<f64> = weights.iter().map(|w| w * 2_f64.powi(exponent)).collect();
        for method in MergeMethod::ALL {
            let how = method.build(1.0, 7).unwrap();
            prop_assert_eq!(
                merge(&*how, &base, &deltas, &weights).unwrap(),
                merge(&*how, &base, &deltas, &scaled).unwrap(),
                "{}", method
            );
        }
    }

    #[test]
    fn disjoint_masks_merge_without_loss(
        (seed, count) in (any::<u64>(), 1_u32..=4),
        (base, delta) in (delta(200), delta(200)),
        weights in prop::collection::vec(0.1_f64..10.0, 4),
    ) {
        let shards = Shards { seed, ratio: 0.25, overlap: Overlap::Disjoint };
        let mut expected = base.clone();
        let mut deltas = Vec::new();
        for shard in 0..count {
            let mask = shards.mask(shard).unwrap().draw(200).unwrap();
            let mut own = vec![0.0; 200];
            for entry in mask.indices() {
                own[entry] = delta[entry];
                expected[entry] += delta[entry];
            }
            deltas.push(own);
        }
        for how in [&Ties::default() as &dyn Merge, &Sign] {
            let merged = merge(how, &base, &deltas, &weights[..count as usize]).unwrap();
            prop_assert_eq!(&merged, &expected, "{:?}", how);
        }
    }

    #[test]
    fn signs_are_elected_by_the_weighted_sum((base, deltas, weights) in shards()) {
        let zero = vec![0.0; base.len()];
        for how in [&Sign as &dyn Merge, &Ties { density: 1.0 }] {
            let merged = merge(how, &zero, &deltas, &weights).unwrap();
            for (entry, &value) in merged.iter().enumerate() {
                let vote = |i: usize| weights[i] * f64::from(deltas[i][entry]);
                let sum: f64 = (0..deltas.len()).map(vote).sum();
                let winners: Vec<f32> =
                    deltas.iter().map(|d| d[entry]).filter(|v| if sum < 0.0 { *v < 0.0 } else { *v > 0.0 }).collect();
                if winners.is_empty() {
                    prop_assert_eq!(value, 0.0);
                } else {
                    let least = winners.iter().copied().fold(f32::INFINITY, f32::min);
                    let most = winners.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    prop_assert!(least <= value && value <= most, "{value} not in {winners:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_panics(
        base in prop::collection::vec(any::<f32>(), 0..4),
        deltas in prop::collection::vec(prop::collection::vec(any::<f32>(), 0..4), 0..4),
        weights in prop::collection::vec(any::<f64>(), 0..4),
        density in 0.01_f64..=1.0,
    ) {
        for method in MergeMethod::ALL {
            let _ = merge(&*method.build(density, 0).unwrap(), &base, &deltas, &weights);
        }
    }
}

#[test]
fn order_of_dropped_deltas_may_matter() {
    let (a, b) = (vec![1.0; 64], vec![2.0; 64]);
    let dare = Dare {
        density: 0.5,
        seed: 0,
    };
    let merged = |deltas: &[Vec<f32>]| merge(&dare, &[0.0; 64], deltas, &[1.0, 1.0]).unwrap();
    assert_ne!(merged(&[a.clone(), b.clone()]), merged(&[b, a]));
}

#[test]
fn the_number_of_threads_does_not_matter() {
    // More entries than two chunks, and values whose sums round.
    let len = 200_000;
    let value = |shard: usize, entry: usize| ((entry * (shard + 3)) as f32 * 0.37).sin();
    let matrix = |shard| {
        (0..len)
            .map(|entry| value(shard, entry))
            .collect::<Vec<_>>()
    };
    let (base, deltas) = (matrix(0), [matrix(1), matrix(2), matrix(3)]);
    let dare_ties = DareTies {
        density: 0.4,
        seed: 5,
    };
    for how in [&Ties::default() as &dyn Merge, &dare_ties, &Linear, &Slerp] {
        let merged = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let merged = pool.install(|| merge(how, &base, &deltas, &[1.0, 0.7, 0.3]).unwrap());
            merged.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        });
        assert!(merged[0] == merged[1] && merged[0] == merged[2], "{how:?}");
    }
}
