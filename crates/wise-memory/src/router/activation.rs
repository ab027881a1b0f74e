//! WISE's router: how far a side memory moves a prompt.

use serde::{Deserialize, Serialize};
use wise_model::{EditSite, Model, Overlay};

use crate::recall::{Considered, Query, Route};
use crate::{Distance, Pooling, SideMemory};

/// Past this many tokens the reference implementation compares the largest distance, not the mean.
const LONG_SEQUENCE: usize = 100;

/// Which tokens vote on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Voters {
    /// The user's own words.
    #[default]
    Prompt,
    /// All of the sequence: template, system prompt and, where one is shown, the answer.
    All,
}

/// Who shares a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutedBy {
    /// Each sequence is routed by itself.
    #[default]
    Sequence,
    /// The mean activation over the sequences asked together decides for all of them, as in the reference
    /// implementation.
    Batch,
}

/// Whose activation a query is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Threshold {
    /// The smallest of the memory's edits (paper, section 2.3.1).
    #[default]
    Memory,
    /// The smallest of all edits of all memories.
    Global,
    /// That of the memory's edit whose key fits the query best.
    Edit,
}

/// Which of several memories answers, if more than one passes its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopOne {
    /// The one of largest routing activation (paper, section 2.3.3).
    Activation,
    /// The one with the edit whose key fits the query best. How far a memory moves a prompt that none of its edits
    /// taught it says little about whose prompt it is.
    #[default]
    Nearest,
}

/// WISE's router: a side memory answers if its routing activation exceeds `act_ratio` times that of an edit
/// (paper, equation 4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivationRouter {
    /// How distances are measured.
    pub distance: Distance,
    /// How they are pooled over tokens.
    pub pooling: Pooling,
    /// Which tokens vote.
    pub voters: Voters,
    /// Who shares a decision.
    pub routed_by: RoutedBy,
    /// Whose activation a query is compared with.
    pub threshold: Threshold,
    /// Which of several memories answers.
    pub top_one: TopOne,
    /// What that activation counts for at most.
    pub ceiling: f32,
    /// Share of it that a query must exceed.
    pub act_ratio: f64,
    /// As in the reference implementation: long sequences compare their largest distance, and the open
    /// memory, even if rejected, keeps every stored memory of smaller activation from answering.
    pub reference_quirks: bool,
}

/// What a query finds at one memory.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    activation: f32,
    threshold: f32,
    /// How well the key of its best edit fits; 0 where keys do not count.
    nearness: f32,
}

impl ActivationRouter {
    /// One route per query.
    pub fn route(
        &self,
        model: &Model,
        site: &EditSite,
        queries: &[Query],
        memories: &[SideMemory],
    ) -> Vec<Route> {
        if memories.is_empty() {
            return vec![Route::MAIN; queries.len()];
        }
        let candidates = self.candidates(model, site, queries, memories);
        if !self.routes_together() {
            return candidates.iter().map(|of| self.pick(of)).collect();
        }
        let mean = |memory: usize| {
            let of = |part: fn(&Candidate) -> f32| {
                let values: Vec<f32> = candidates.iter().map(|c| part(&c[memory])).collect();
                Pooling::Mean.of(&values)
            };
            Candidate {
                activation: of(|c| c.activation),
                threshold: of(|c| c.threshold),
                nearness: of(|c| c.nearness),
            }
        };
        let shared: Vec<Candidate> = (0..memories.len()).map(mean).collect();
        vec![self.pick(&shared); queries.len()]
    }

    /// What a query finds at each memory.
    pub fn considered(
        &self,
        model: &Model,
        site: &EditSite,
        query: &Query,
        memories: &[SideMemory],
    ) -> Vec<Considered> {
        let candidates = self.candidates(model, site, std::slice::from_ref(query), memories);
        let considered = |(memory, candidate): (usize, Candidate)| Considered {
            memory,
            activation: candidate.activation,
            threshold: candidate.threshold,
            relation: None,
            edit: None,
        };
        let candidates = candidates.into_iter().flatten().enumerate();
        candidates.map(considered).collect()
    }

    /// Whether the sequences that are asked together share one decision.
    pub fn routes_together(&self) -> bool {
        self.routed_by == RoutedBy::Batch
    }

    /// Whether edits are found by their keys.
    pub fn needs_keys(&self) -> bool {
        self.threshold == Threshold::Edit || self.top_one == TopOne::Nearest
    }

    fn candidates(
        &self,
        model: &Model,
        site: &EditSite,
        queries: &[Query],
        memories: &[SideMemory],
    ) -> Vec<Vec<Candidate>> {
        let main = model.site_output(site, &Overlay::Main);
        let distances: Vec<Vec<f32>> = memories
            .iter()
            .map(|memory| {
                let side = model.site_output(site, &Overlay::Replace(memory.matrix.clone()));
                let distances = self.distance.between(&main, side);
                distances.into_data().iter::<f32>().collect()
            })
            .collect();
        let of_query = |query: &Query| {
            let voters = match self.voters {
                Voters::Prompt => query.scope.clone(),
                Voters::All => query.sequence.clone(),
            };
            let nearest = |memory: &SideMemory| {
                let (fit, edit) = memory.nearest(query.reading.as_ref()?)?;
                Some((fit.rank(), edit.activation))
            };
            let nearest: Vec<Option<(f32, f32)>> = if self.needs_keys() {
                memories.iter().map(nearest).collect()
            } else {
                vec![None; memories.len()]
            };
            let thresholds = self.thresholds(memories, &nearest);
            let of_memory = distances.iter().zip(thresholds).zip(nearest);
            let candidates = of_memory.map(|((distances, threshold), nearest)| Candidate {
                activation: self.statistic(&distances[voters.clone()]),
                threshold,
                nearness: nearest.map_or(0.0, |(rank, _)| rank),
            });
            candidates.collect()
        };
        queries.iter().map(of_query).collect()
    }

    /// `nearest` has the activation of each memory's best fitting edit second.
    fn thresholds(&self, memories: &[SideMemory], nearest: &[Option<(f32, f32)>]) -> Vec<f32> {
        let smallest = || memories.iter().map(SideMemory::min_activation);
        let bases: Vec<f32> = match self.threshold {
            Threshold::Global => {
                let least = smallest().fold(f32::INFINITY, f32::min);
                vec![least; memories.len()]
            }
            Threshold::Edit => {
                let base = |of: &Option<(f32, f32)>| of.map_or(f32::INFINITY, |(_, base)| base);
                nearest.iter().map(base).collect()
            }
            Threshold::Memory => smallest().collect(),
        };
        let threshold = |base: f32| match base {
            // Without an edit there is nothing to be like.
            f32::INFINITY => base,
            _ => base.min(self.ceiling) * self.act_ratio as f32,
        };
        bases.into_iter().map(threshold).collect()
    }

    fn statistic(&self, distances: &[f32]) -> f32 {
        if self.reference_quirks && distances.len() > LONG_SEQUENCE {
            return Pooling::Max.of(distances);
        }
        self.pooling.of(distances)
    }

    fn pick(&self, candidates: &[Candidate]) -> Route {
        let veto = match candidates.last() {
            Some(open) if self.reference_quirks => open.activation,
            _ => f32::NEG_INFINITY,
        };
        let rank = |candidate: &Candidate| match self.top_one {
            TopOne::Activation => (candidate.activation, 0.0),
            TopOne::Nearest => (candidate.nearness, candidate.activation),
        };
        let winner = candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| c.activation > c.threshold && c.activation >= veto)
            .max_by(|(_, a), (_, b)| {
                let (a, b) = (rank(a), rank(b));
                a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
        let route = |memory, candidate: &Candidate| Route {
            memory,
            activation: candidate.activation,
            threshold: candidate.threshold,
            edit: None,
        };
        if let Some((index, candidate)) = winner {
            return route(Some(index), candidate);
        }
        let margin = |c: &Candidate| c.activation / c.threshold;
        let nearest = candidates
            .iter()
            .max_by(|a, b| margin(a).total_cmp(&margin(b)));
        nearest.map_or(Route::MAIN, |candidate| route(None, candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(reference_quirks: bool) -> ActivationRouter {
        ActivationRouter {
            distance: Distance::Activated,
            pooling: Pooling::Mean,
            voters: Voters::Prompt,
            routed_by: RoutedBy::Sequence,
            threshold: Threshold::Memory,
            top_one: TopOne::Activation,
            ceiling: f32::INFINITY,
            act_ratio: 1.0,
            reference_quirks,
        }
    }

    fn candidate(activation: f32, threshold: f32, nearness: f32) -> Candidate {
        Candidate {
            activation,
            threshold,
            nearness,
        }
    }

    #[test]
    fn among_those_that_pass_the_memory_of_the_nearest_edit_answers() {
        let nearest = ActivationRouter {
            top_one: TopOne::Nearest,
            ..router(false)
        };
        let of = |candidates: &[Candidate]| nearest.pick(candidates).memory;
        let (far, near) = (candidate(9.0, 2.0, 0.3), candidate(5.0, 2.0, 0.8));
        assert_eq!(of(&[far, near]), Some(1));
        assert_eq!(of(&[far, candidate(1.0, 2.0, 0.8)]), Some(0));
        assert_eq!(router(false).pick(&[far, near]).memory, Some(0));
    }

    #[track_caller]
    fn check(quirks: bool, activations: &[f32], thresholds: &[f32], expected: Option<usize>) {
        let candidates: Vec<Candidate> = activations
            .iter()
            .zip(thresholds)
            .map(|(&activation, &threshold)| candidate(activation, threshold, 0.0))
            .collect();
        let route = router(quirks).pick(&candidates);
        assert_eq!(route.memory, expected, "{candidates:?}");
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
        let route = router(false).pick(&[candidate(1.0, 2.0, 0.0), candidate(3.0, 4.0, 0.0)]);
        assert_eq!((route.activation, route.threshold), (3.0, 4.0));
    }

    fn memory(activations: &[f32]) -> SideMemory {
        let device = wise_model::DeviceName::Cpu.open().unwrap();
        SideMemory {
            matrix: burn::tensor::Tensor::zeros([1, 1], &device),
            edits: (1..)
                .zip(activations)
                .map(|(edit, &activation)| crate::Remembered {
                    edit,
                    activation,
                    key: crate::Key::from_bytes(&[[1, 0, 0].as_slice(), &[0x88; 64]].concat())
                        .unwrap()
                        .0,
                })
                .collect(),
        }
    }

    #[test]
    fn a_threshold_belongs_to_a_memory_to_all_or_to_the_nearest_edit() {
        let memories = [memory(&[10.0, 20.0]), memory(&[30.0])];
        let of = |threshold, nearest: [Option<(f32, f32)>; 2]| {
            let router = ActivationRouter {
                threshold,
                act_ratio: 0.5,
                ..router(false)
            };
            router.thresholds(&memories, &nearest)
        };
        assert_eq!(of(Threshold::Memory, [None; 2]), [5.0, 15.0]);
        assert_eq!(of(Threshold::Global, [None; 2]), [5.0, 5.0]);
        let nearest = [Some((0.9, 20.0)), None];
        assert_eq!(of(Threshold::Edit, nearest), [10.0, f32::INFINITY]);
    }

    #[test]
    fn an_activation_counts_for_no_more_than_the_ceiling() {
        let memories = [memory(&[10.0]), memory(&[70.0]), memory(&[])];
        let router = ActivationRouter {
            ceiling: 30.0,
            act_ratio: 0.5,
            ..router(false)
        };
        assert_eq!(
            router.thresholds(&memories, &[None; 3]),
            [5.0, 15.0, f32::INFINITY]
        );
    }
}
