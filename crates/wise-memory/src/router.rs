//! Which memory answers a sequence.

use std::ops::Range;

use wise_model::{EditSite, Model, Overlay};

use crate::{Distance, Memories};

/// Past this many tokens the reference implementation compares the largest distance, not the mean.
const LONG_SEQUENCE: usize = 100;

/// The decision for one sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    /// The side memory that answers; `None` for the main memory.
    pub memory: Option<usize>,
    /// Routing activation of that side memory, or of the one that came nearest to its threshold.
    pub activation: f32,
    /// The threshold it was compared with.
    pub threshold: f32,
}

impl Route {
    /// The main memory answers because there is nothing else.
    pub const MAIN: Self = Self {
        memory: None,
        activation: 0.0,
        threshold: f32::INFINITY,
    };
}

/// Decides once per sequence, from the tokens in its scope.
pub trait Router {
    /// One route per row of `site`; `scopes` are the voting tokens of each row, as ranges over the packed
    /// tokens.
    fn route(
        &self,
        model: &Model,
        site: &EditSite,
        scopes: &[Range<usize>],
        memories: &Memories,
    ) -> Vec<Route>;
}

/// WISE's router: the side memory of largest routing activation answers, if that activation exceeds
/// `act_ratio` times the smallest of its edits (paper, equation 4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThresholdRouter {
    /// How distances are measured.
    pub distance: Distance,
    /// Share of a memory's smallest edit activation that a query must exceed.
    pub act_ratio: f64,
    /// As in the reference implementation: long sequences compare their largest distance, and the open
    /// memory, even if rejected, keeps every stored memory of smaller activation from answering.
    pub reference_quirks: bool,
}

impl Router for ThresholdRouter {
    fn route(
        &self,
        model: &Model,
        site: &EditSite,
        scopes: &[Range<usize>],
        memories: &Memories,
    ) -> Vec<Route> {
        if memories.side.is_empty() {
            return vec![Route::MAIN; scopes.len()];
        }
        let main = model.site_output(site, &Overlay::Main);
        let distances: Vec<Vec<f32>> = memories
            .side
            .iter()
            .map(|memory| {
                let side = model.site_output(site, &Overlay::Replace(memory.matrix.clone()));
                let distances = self.distance.between(&main, side);
                distances.into_data().iter::<f32>().collect()
            })
            .collect();
        let thresholds: Vec<f32> = memories
            .side
            .iter()
            .map(|memory| memory.min_activation * self.act_ratio as f32)
            .collect();
        scopes
            .iter()
            .map(|scope| {
                let activations: Vec<f32> = distances
                    .iter()
                    .map(|of_memory| self.statistic(&of_memory[scope.clone()]))
                    .collect();
                self.pick(&activations, &thresholds)
            })
            .collect()
    }
}

impl ThresholdRouter {
    fn statistic(&self, distances: &[f32]) -> f32 {
        if self.reference_quirks && distances.len() > LONG_SEQUENCE {
            return distances.iter().copied().fold(0.0, f32::max);
        }
        let sum: f64 = distances.iter().map(|&d| f64::from(d)).sum();
        (sum / distances.len().max(1) as f64) as f32
    }

    /// `activations` and `thresholds` of the memories, oldest first.
    fn pick(&self, activations: &[f32], thresholds: &[f32]) -> Route {
        let candidates = || activations.iter().copied().zip(thresholds.iter().copied());
        let veto = match activations.last() {
            Some(&open) if self.reference_quirks => open,
            _ => f32::NEG_INFINITY,
        };
        let winner = candidates()
            .enumerate()
            .filter(|&(_, (activation, threshold))| activation > threshold && activation >= veto)
            .max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b));
        if let Some((index, (activation, threshold))) = winner {
            return Route {
                memory: Some(index),
                activation,
                threshold,
            };
        }
        let nearest = candidates().max_by(|(a, s), (b, t)| (a / s).total_cmp(&(b / t)));
        nearest.map_or(Route::MAIN, |(activation, threshold)| Route {
            memory: None,
            activation,
            threshold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(reference_quirks: bool) -> ThresholdRouter {
        ThresholdRouter {
            distance: Distance::Activated,
            act_ratio: 1.0,
            reference_quirks,
        }
    }

    #[track_caller]
    fn check(quirks: bool, activations: &[f32], thresholds: &[f32], expected: Option<usize>) {
        let route = router(quirks).pick(activations, thresholds);
        assert_eq!(route.memory, expected, "{activations:?} {thresholds:?}");
    }

    #[test]
    fn the_largest_activation_over_its_threshold_answers() {
        check(false, &[3.0], &[2.0], Some(0));
        check(false, &[2.0], &[2.0], None);
        check(false, &[3.0, 5.0], &[2.0, 4.0], Some(1));
        check(false, &[3.0, 5.0], &[2.0, 6.0], Some(0));
        check(false, &[1.0, 5.0], &[2.0, 6.0], None);
    }

    #[test]
    fn a_rejected_open_memory_vetoes_only_in_the_reference() {
        check(true, &[3.0, 5.0], &[2.0, 6.0], None);
        check(true, &[7.0, 5.0], &[2.0, 6.0], Some(0));
        check(true, &[3.0, 0.0], &[2.0, f32::INFINITY], Some(0));
    }

    #[test]
    fn long_sequences_take_their_maximum_only_in_the_reference() {
        let mut distances = vec![1.0; 101];
        distances[50] = 102.0;
        assert_eq!(router(true).statistic(&distances), 102.0);
        assert_eq!(router(false).statistic(&distances), 2.0);
        assert_eq!(router(true).statistic(&distances[..100]), 2.01);
    }

    #[test]
    fn a_rejected_route_tells_what_came_nearest() {
        let route = router(false).pick(&[1.0, 3.0], &[2.0, 4.0]);
        assert_eq!((route.activation, route.threshold), (3.0, 4.0));
    }
}
