//! Shards that train in lockstep: one pass through the layers above the site for an iteration of all of them.
//!
//! A device that is not the CPU computes one product after another and reads the weights for each. Here the shards share
//! that reading.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use burn::tensor::Tensor;
use wise_model::Model;

use crate::wise::labelled::{EditLoss, Packed, descend_together};

/// Where shards wait for each other.
pub(crate) struct Lockstep {
    lanes: Mutex<Vec<State>>,
    changed: Condvar,
}

/// What a lane is at.
enum State {
    /// Not at an iteration's loss yet.
    Training,
    Waiting(Box<(Tensor<2>, Packed)>),
    Ready(Box<EditLoss>),
    /// For good.
    Gone,
}

/// One of the shards' places. The others do not wait for it once it is dropped.
pub(crate) struct Lane<'a> {
    lockstep: &'a Lockstep,
    index: usize,
}

impl Lockstep {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            lanes: Mutex::new((0..lanes).map(|_| State::Training).collect()),
            changed: Condvar::new(),
        }
    }

    /// All of them, to be asked for once.
    pub(crate) fn lanes(&self) -> Vec<Lane<'_>> {
        let count = self.lock().len();
        let lane = |index| Lane {
            lockstep: self,
            index,
        };
        (0..count).map(lane).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane<'_> {
    /// The loss of some sequences under the lane's matrix, once all other lanes want one too.
    pub(crate) fn edit_loss(
        &self,
        model: &Model,
        matrix: &Tensor<2>,
        sequences: Packed,
    ) -> EditLoss {
        let mut lanes = self.lockstep.lock();
        lanes[self.index] = State::Waiting(Box::new((matrix.clone(), sequences)));
        loop {
            match std::mem::replace(&mut lanes[self.index], State::Training) {
                State::Ready(loss) => return *loss,
                waiting => lanes[self.index] = waiting,
            }
            let busy = |lane: &State| matches!(lane, State::Training | State::Ready(_));
            if lanes.iter().any(busy) {
                let changed = self.lockstep.changed.wait(lanes);
                lanes = changed.unwrap_or_else(PoisonError::into_inner);
            } else {
                step(model, &mut lanes);
                self.lockstep.changed.notify_all();
            }
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.lockstep.lock()[self.index] = State::Gone;
        self.lockstep.changed.notify_all();
    }
}

/// Turns what all lanes wait for into their losses. Until these are there the lanes stay as they are, so that none waits
/// forever if this fails.
fn step(model: &Model, lanes: &mut [State]) {
    let waiting = lanes.iter().filter_map(|lane| match lane {
        State::Waiting(memory) => Some(&**memory),
        _ => None,
    });
    let losses = descend_together(model, &waiting.collect::<Vec<_>>());
    let waiting = lanes
        .iter_mut()
        .filter(|lane| matches!(lane, State::Waiting(..)));
    for (lane, loss) in waiting.zip(losses) {
        *lane = State::Ready(Box::new(loss));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::thread;

    use super::*;
    use crate::testing::tiny_model;
    use crate::wise::{PromptFormat, Wise, WiseConfig};
    use crate::{AppliedEdit, Edit};

    #[test]
    fn shards_become_in_lockstep_what_they_become_alone() {
        let config = WiseConfig {
            prompt_format: Some(PromptFormat::Raw),
            save_freq: 2,
            n_iter: 8,
            min_iter: 3,
            context_templates: 1,
            ..WiseConfig::default()
        };
        let mut editor = Wise::new(tiny_model(1), config, vec!["Who sings?".to_owned()]).unwrap();
        let edit = |i| Edit::new(format!("Where is town {i}?"), format!("land {i}"));
        let edits: Vec<Edit> = (0..5).map(edit).collect();
        let ids = editor.deal(&edits).unwrap();
        let (editor, requests) = (&editor, &editor.requests(ids));
        let learn = |index: usize, lane: Option<&Lane<'_>>| {
            let (model, setup) = (&editor.model, &editor.setup);
            let mut shard = editor.shards[index].clone();
            let mut training = shard.training(model, setup, lane).unwrap();
            for (_, request) in requests.iter().filter(|(shard, _)| *shard == index) {
                let learnt = shard.learn(model, setup, &mut training, request, &mut |_, _| {});
                learnt.unwrap();
            }
            shard
        };
        // Two, two and one edit, and a lane that leaves at once.
        let lockstep = Lockstep::new(4);
        let together = thread::scope(|scope| {
            let mut lanes = lockstep.lanes();
            drop(lanes.pop());
            let start = |(index, lane)| scope.spawn(move || learn(index, Some(&lane)));
            let threads: Vec<_> = lanes.into_iter().enumerate().map(start).collect();
            let shards = threads.into_iter().map(|thread| thread.join().unwrap());
            shards.collect::<Vec<_>>()
        });

        let norm = |x: Tensor<2>| x.square().sum().sqrt().into_scalar::<f32>();
        for (index, shard) in together.iter().enumerate() {
            let alone = learn(index, None);
            let iterations = |edits: &[AppliedEdit]| -> Vec<usize> {
                edits.iter().map(|edit| edit.iterations).collect()
            };
            assert_eq!(iterations(&shard.edits), iterations(&alone.edits));
            let way = norm(alone.matrix.clone() - editor.shards[index].matrix.clone());
            let apart = norm(alone.matrix - shard.matrix.clone());
            assert!(way > 0.01 && apart <= 1e-3 * way, "{apart} of {way}");
        }
    }
}
