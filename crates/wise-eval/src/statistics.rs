//! How sure a number is, and how well two kinds of prompts are told apart.
//!
//! Intervals are 95 % percentile bootstrap intervals (Efron 1979, *Bootstrap Methods: Another Look at the
//! Jackknife*, Annals of Statistics 7:1): draw as many values as there are, with replacement, take their mean, do
//! it [`RESAMPLES`] times, and report the means at 2.5 % from either end. They say how much a mean would vary had
//! other records of the same kind been drawn, and nothing about other seeds or orders of the edits. The draws come
//! from `ChaCha8` with a fixed seed, so the same values give the same interval on every machine.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

/// How often the bootstrap draws.
pub const RESAMPLES: usize = 1000;

/// Retention has at most this many bins.
pub const AGE_BINS: usize = 10;

/// Of 1000 sorted resamples, the 25th smallest and the 25th largest bound the middle 95 %.
const OUTSIDE: usize = RESAMPLES / 40;

const SEED: u64 = 1979;

/// A mean and where its 95 % bootstrap interval lies, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean of the values themselves.
    #[serde(deserialize_with = "crate::metrics::number")]
    pub mean: f64,
    /// The interval's lower end.
    #[serde(deserialize_with = "crate::metrics::number")]
    pub low: f64,
    /// The interval's upper end.
    #[serde(deserialize_with = "crate::metrics::number")]
    pub high: f64,
    /// How many values there are.
    pub count: usize,
}

impl Interval {
    /// Whether zero lies outside, so that a difference is more than chance among the records explains. One value
    /// says nothing about that.
    pub fn excludes_zero(&self) -> bool {
        self.count > 1 && (self.low > 0.0 || self.high < 0.0)
    }

    /// The interval always holds its mean, also where rounding, or very skewed values, would leave it outside.
    fn new(mean: f64, count: usize, mut resamples: Vec<f64>) -> Self {
        resamples.sort_unstable_by(f64::total_cmp);
        Self {
            mean,
            low: resamples[OUTSIDE - 1].min(mean),
            high: resamples[RESAMPLES - OUTSIDE].max(mean),
            count,
        }
    }
}

/// The mean of some values with its bootstrap interval; `None` without values. One value is its own interval.
pub fn mean(values: &[f64]) -> Option<Interval> {
    let average = average(values)?;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let resamples = (0..RESAMPLES)
        .map(|_| resample(values, &mut random))
        .collect();
    Some(Interval::new(average, values.len(), resamples))
}

/// The mean of `b - a` over pairs `[a, b]` of the same record in two runs, with its bootstrap interval.
///
/// Whole pairs are drawn, so what makes a record hard in both runs cancels out (Efron and Tibshirani 1993, *An
/// Introduction to the Bootstrap*, chapter 8). `None` without pairs.
pub fn paired_difference(pairs: &[[f64; 2]]) -> Option<Interval> {
    let differences: Vec<f64> = pairs.iter().map(|[a, b]| b - a).collect();
    mean(&differences)
}

/// The mean of `b` minus the mean of `a`, drawn apart: for runs over different records. `None` if either is empty.
/// The interval's count is the smaller of the two.
pub fn unpaired_difference(a: &[f64], b: &[f64]) -> Option<Interval> {
    let difference = average(b)? - average(a)?;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let resamples = (0..RESAMPLES)
        .map(|_| resample(b, &mut random) - resample(a, &mut random))
        .collect();
    Some(Interval::new(difference, a.len().min(b.len()), resamples))
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn resample(values: &[f64], random: &mut ChaCha8Rng) -> f64 {
    let count = values.len() as u64;
    // Multiply and shift: over 32 bits its bias is below count / 2^32.
    let draw = |_| values[((u64::from(random.next_u32()) * count) >> 32) as usize];
    (0..count).map(draw).sum::<f64>() / count as f64
}

/// The receiver operating characteristic: `[false positive rate, true positive rate]` for every threshold, from
/// `[0, 0]` to `[1, 1]` (Fawcett 2006, *An introduction to ROC analysis*, algorithm 1: equal scores make one step).
///
/// Empty if there are no positives or no negatives, whose rates would have no denominator. Scores that are not
/// a number are left out.
pub fn roc(positives: &[f64], negatives: &[f64]) -> Vec<[f64; 2]> {
    let mut groups = groups(positives, negatives);
    groups.reverse();
    let [all_true, all_false] = totals(&groups);
    if all_true == 0 || all_false == 0 {
        return Vec::new();
    }
    let (mut hits, mut alarms) = (0, 0);
    let mut points = vec![[0.0, 0.0]];
    for [positive, negative] in groups {
        hits += positive;
        alarms += negative;
        points.push([
            alarms as f64 / all_false as f64,
            hits as f64 / all_true as f64,
        ]);
    }
    points
}

/// The area under the [`roc`]: the share of pairs of a positive and a negative in which the positive scores
/// higher, where an equal pair counts one half.
///
/// That is the Mann-Whitney statistic over the number of pairs (Hanley and McNeil 1982, *The meaning and use of
/// the area under a receiver operating characteristic curve*, Radiology 143:1). `None` as for [`roc`].
pub fn auc(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    let groups = groups(positives, negatives);
    let [all_true, all_false] = totals(&groups);
    let pairs = all_true * all_false;
    let (mut below, mut half_wins) = (0, 0);
    for [positive, negative] in groups {
        half_wins += positive * (2 * below + negative);
        below += negative;
    }
    (pairs > 0).then(|| half_wins as f64 / (2 * pairs) as f64)
}

/// `[positives, negatives]` at each score, from the lowest score up.
fn groups(positives: &[f64], negatives: &[f64]) -> Vec<[u64; 2]> {
    let labelled = |scores: &[f64], label: usize| -> Vec<(f64, usize)> {
        scores.iter().map(|&score| (score, label)).collect()
    };
    let mut scores = labelled(positives, 0);
    scores.extend(labelled(negatives, 1));
    scores.retain(|(score, _)| !score.is_nan());
    scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    scores
        .chunk_by(|a, b| a.0 == b.0)
        .map(|group| {
            let negative = group.iter().map(|(_, label)| label).sum::<usize>();
            [(group.len() - negative) as u64, negative as u64]
        })
        .collect()
}

fn totals(groups: &[[u64; 2]]) -> [u64; 2] {
    groups.iter().fold([0, 0], |[p, n], [positive, negative]| {
        [p + positive, n + negative]
    })
}

/// `count` things in order, cut into at most [`AGE_BINS`] ranges whose lengths differ by at most one.
pub fn equal_bins(count: usize) -> Vec<Range<usize>> {
    let bins = count.min(AGE_BINS);
    (0..bins)
        .map(|bin| bin * count / bins..(bin + 1) * count / bins)
        .collect()
}

/// The `share` quantile of some values, interpolated linearly between neighbours (Hyndman and Fan 1996, type 7);
/// `None` without values. Values that are not a number are left out.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let position = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let part = position - position.floor();
    if part == 0.0 {
        return Some(sorted[below]);
    }
    Some(sorted[below] + (sorted[above] - sorted[below]) * part)
}

#[cfg(test)]
mod tests;
