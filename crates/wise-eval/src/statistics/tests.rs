use proptest::prelude::*;

use super::*;

#[test]
fn one_value_is_its_own_interval() {
    let interval = mean(&[0.25]).unwrap();
    assert_eq!(
        interval,
        Interval {
            mean: 0.25,
            low: 0.25,
            high: 0.25,
            count: 1
        }
    );
    assert!(!interval.excludes_zero());
    assert_eq!(mean(&[]), None);
}

#[test]
fn the_interval_of_a_share_is_near_the_binomial_one() {
    // 80 of 100 right: the standard error is sqrt(.8 x .2 / 100) = 0.04, so 95 % lie within 0.078.
    let values: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 80))).collect();
    let interval = mean(&values).unwrap();
    assert_eq!(interval.mean, 0.8);
    assert!((interval.low - 0.722).abs() < 0.02, "{interval:?}");
    assert!((interval.high - 0.878).abs() < 0.02, "{interval:?}");
}

#[test]
fn the_same_values_give_the_same_interval() {
    let values = [0.0, 1.0, 1.0, 0.5];
    assert_eq!(mean(&values), mean(&values));
}

#[test]
fn pairs_cancel_what_makes_a_record_hard() {
    let a: Vec<f64> = (0..50).map(f64::from).collect();
    let b: Vec<f64> = a.iter().map(|value| value + 0.5).collect();
    let pairs: Vec<[f64; 2]> = a.iter().zip(&b).map(|(&a, &b)| [a, b]).collect();
    let paired = paired_difference(&pairs).unwrap();
    assert_eq!((paired.low, paired.mean, paired.high), (0.5, 0.5, 0.5));
    assert!(paired.excludes_zero());
    let unpaired = unpaired_difference(&a, &b).unwrap();
    assert_eq!((unpaired.mean, unpaired.count), (0.5, 50));
    assert!(!unpaired.excludes_zero(), "{unpaired:?}");
    assert_eq!(unpaired_difference(&[], &b), None);
    assert_eq!(paired_difference(&[]), None);
}

#[test]
fn an_auc_counts_pairs() {
    // Of six pairs: 3 > 1, 3 > 2, 2 > 1, 2 = 2, 0 < 1, 0 < 2.
    assert_eq!(auc(&[3.0, 2.0, 0.0], &[1.0, 2.0]), Some(3.5 / 6.0));
    assert_eq!(auc(&[2.0], &[1.0]), Some(1.0));
    assert_eq!(auc(&[1.0; 4], &[1.0; 3]), Some(0.5));
    assert_eq!(auc(&[1.0, f64::NAN], &[f64::NAN, 2.0]), Some(0.0));
    assert_eq!(auc(&[], &[1.0]), None);
    assert_eq!(auc(&[1.0], &[]), None);
}

#[test]
fn an_roc_steps_once_per_score() {
    let points = roc(&[3.0, 2.0], &[1.0, 2.0]);
    assert_eq!(points, [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]);
    assert!(roc(&[], &[1.0]).is_empty());
    assert!(roc(&[f64::NAN], &[1.0]).is_empty());
}

#[test]
fn bins_differ_by_at_most_one() {
    assert!(equal_bins(0).is_empty());
    assert_eq!(equal_bins(2), [0..1, 1..2]);
    let lengths: Vec<usize> = equal_bins(23).iter().map(Range::len).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 23);
    assert!(lengths.iter().all(|length| [2, 3].contains(length)));
}

#[test]
fn a_quantile_lies_between_its_neighbours() {
    assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), Some(2.5));
    assert_eq!(quantile(&[1.0, f64::NAN, 3.0], 1.0), Some(3.0));
    assert_eq!(quantile(&[7.0], 0.25), Some(7.0));
    assert_eq!(quantile(&[], 0.5), None);
}

/// Few distinct values, so that ties are common.
fn scores() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-8_i32..8).prop_map(|v| f64::from(v) / 4.0), 1..40)
}

proptest! {
    #[test]
    fn an_interval_contains_its_mean(values in prop::collection::vec(-1e6_f64..1e6, 1..60)) {
        let interval = mean(&values).unwrap();
        prop_assert!(interval.low <= interval.mean && interval.mean <= interval.high);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(least - 1e-6 <= interval.low && interval.high <= most + 1e-6);
    }

    #[test]
    fn swapped_classes_have_the_other_area(a in scores(), b in scores()) {
        let (one, other) = (auc(&a, &b).unwrap(), auc(&b, &a).unwrap());
        prop_assert!((one + other - 1.0).abs() < 1e-12);
        prop_assert!((0.0..=1.0).contains(&one));
    }

    #[test]
    fn the_auc_is_the_area_under_the_roc(a in scores(), b in scores()) {
        let points = roc(&a, &b);
        prop_assert_eq!(points.first(), Some(&[0.0, 0.0]));
        prop_assert_eq!(points.last(), Some(&[1.0, 1.0]));
        let area: f64 = points
            .windows(2)
            .map(|pair| (pair[1][0] - pair[0][0]) * (pair[1][1] + pair[0][1]) / 2.0)
            .sum();
        prop_assert!((area - auc(&a, &b).unwrap()).abs() < 1e-9);
        prop_assert!(points.windows(2).all(|p| p[0][0] <= p[1][0] && p[0][1] <= p[1][1]));
    }

    #[test]
    fn swapped_runs_have_the_opposite_difference(a in scores(), b in scores()) {
        let forth = unpaired_difference(&a, &b).unwrap();
        let back = unpaired_difference(&b, &a).unwrap();
        prop_assert!((forth.mean + back.mean).abs() < 1e-12);
    }

    #[test]
    fn bins_cover_everything_once(count in 0_usize..500) {
        let covered: Vec<usize> = equal_bins(count).into_iter().flatten().collect();
        prop_assert_eq!(covered, (0..count).collect::<Vec<_>>());
    }
}
