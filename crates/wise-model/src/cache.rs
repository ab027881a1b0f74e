//! Keys and values of the tokens seen so far, for generation.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Keys and values of sequences that are continued side by side, per layer
/// `[sequences, kv_heads, slots, head_dim]`.
///
/// Every forward pass adds as many slots as its longest row has tokens; those past a shorter row's end stay empty.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    past: Vec<Past>,
}

/// The cached tokens of one sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Past {
    tokens: usize,
    /// The token's position in each slot; `None` for an empty one.
    slots: Vec<Option<usize>>,
}

impl Past {
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn slots(&self) -> &[Option<usize>] {
        &self.slots
    }
}

impl KvCache {
    pub(crate) fn new(layers: usize, sequences: usize) -> Self {
        Self {
            layers: vec![None; layers],
            past: vec![Past::default(); sequences],
        }
    }

    /// Tokens of a sequence that every layer has seen.
    pub fn tokens(&self, sequence: usize) -> usize {
        self.past[sequence].tokens
    }

    /// Sequences.
    pub fn sequences(&self) -> usize {
        self.past.len()
    }

    /// Forgets all sequences but these.
    pub fn keep(&mut self, sequences: &[usize]) {
        self.past = sequences.iter().map(|&s| self.past[s].clone()).collect();
        let chosen: Vec<i32> = sequences.iter().map(|&s| s as i32).collect();
        let chosen = TensorData::new(chosen, [sequences.len()]);
        let on = |device: &Device| Tensor::<1, Int>::from_data(chosen.clone(), device);
        let mut chosen: Option<Tensor<1, Int>> = None;
        for (key, value) in self.layers.iter_mut().flatten() {
            let device = key.device();
            let here = chosen.take().filter(|chosen| chosen.device() == device);
            let chosen = chosen.insert(here.unwrap_or_else(|| on(&device)));
            *key = key.clone().select(0, chosen.clone());
            *value = value.clone().select(0, chosen.clone());
        }
    }

    /// Of each sequence, forgets all tokens but the first so many.
    pub(crate) fn cut(&mut self, tokens: &[usize]) {
        for (past, &tokens) in self.past.iter_mut().zip(tokens) {
            for slot in &mut past.slots {
                *slot = slot.filter(|&position| position < tokens);
            }
            past.tokens = past.tokens.min(tokens);
        }
    }

    pub(crate) fn past(&self) -> &[Past] {
        &self.past
    }

    /// Counts the tokens that a forward pass has added to every layer.
    pub(crate) fn advance(&mut self, added: impl Iterator<Item = usize> + Clone) {
        let longest = added.clone().max().unwrap_or(0);
        for (past, tokens) in self.past.iter_mut().zip(added) {
            let new = (0..longest).map(|i| (i < tokens).then_some(past.tokens + i));
            past.slots.extend(new);
            past.tokens += tokens;
        }
    }

    /// Adds the keys and values of new tokens to a layer and returns those of all its tokens.
    pub(crate) fn append(
        &mut self,
        layer: usize,
        key: Tensor<4>,
        value: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let both = match self.layers[layer].take() {
            None => (key, value),
            Some((old_key, old_value)) => (
                Tensor::cat(vec![old_key, key], 2),
                Tensor::cat(vec![old_value, value], 2),
            ),
        };
        self.layers[layer] = Some(both.clone());
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_sequence_has_empty_slots_and_its_own_positions() {
        let mut cache = KvCache::new(0, 2);
        cache.advance([3, 1].into_iter());
        cache.advance([1, 1].into_iter());
        assert_eq!(cache.past()[0].slots(), [0, 1, 2, 3].map(Some));
        assert_eq!(cache.past()[1].slots(), [Some(0), None, None, Some(1)]);
        assert_eq!((cache.tokens(0), cache.tokens(1)), (4, 2));
    }

    #[test]
    fn only_the_sequences_that_are_kept_stay() {
        let device = wise_tensor::DeviceName::Cpu.open().unwrap();
        let mut cache = KvCache::new(1, 3);
        let values = Tensor::<1>::from_floats([0.0, 1.0, 2.0], &device).reshape([3, 1, 1, 1]);
        cache.append(0, values.clone(), values);
        cache.advance([1, 1, 1].into_iter());
        cache.keep(&[2, 0]);
        let (key, _) = cache.layers[0].clone().unwrap();
        let key: Vec<f32> = key.into_data().try_to_vec().unwrap();
        assert_eq!((key, cache.sequences()), (vec![2.0, 0.0], 2));
    }
}
