//! The same evaluation with other seeds and orders.

use serde::Serialize;

use crate::Report;
use crate::metrics::{Moment, ScoreName};

/// Name of the file that says what several runs came to together.
pub const RUNS_FILE: &str = "runs.json";

/// A score in several runs that differ in seed and order. Their bootstrap intervals speak of other records; these
/// figures speak of other runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AcrossRuns {
    /// Which score.
    pub name: ScoreName,
    /// When.
    pub moment: Moment,
    /// Mean of the runs' means.
    pub mean: f64,
    /// The smallest of them.
    pub least: f64,
    /// The largest of them.
    pub most: f64,
    /// Each run's mean, in their order.
    pub runs: Vec<f64>,
}

/// Every score that all of the runs have.
pub fn across_runs(reports: &[Report]) -> Vec<AcrossRuns> {
    let Some(first) = reports.first() else {
        return Vec::new();
    };
    let of_all = |name: &str, moment: Moment| -> Option<Vec<f64>> {
        let of_one = |report: &Report| {
            let mut scores = report.summary.scores.iter();
            let score = scores.find(|s| s.name == name && s.moment == moment)?;
            Some(score.interval.mean)
        };
        reports.iter().map(of_one).collect()
    };
    let scores = first.summary.scores.iter();
    scores
        .filter_map(|score| {
            let runs = of_all(&score.name, score.moment)?;
            Some(AcrossRuns {
                name: score.name.clone(),
                moment: score.moment,
                mean: runs.iter().sum::<f64>() / runs.len() as f64,
                least: runs.iter().copied().fold(f64::INFINITY, f64::min),
                most: runs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                runs,
            })
        })
        .collect()
}
