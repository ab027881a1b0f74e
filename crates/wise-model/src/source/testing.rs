//! Fixtures of this module's tests.

use std::collections::BTreeMap;

use super::{TensorSource, expected_tensors};
use crate::{Config, Family, Result};

/// Two layers, two query heads over one key and value head, tied head.
pub(crate) fn tiny_config() -> Config {
    Config {
        family: Family::Llama,
        vocab_size: 5,
        hidden_size: 8,
        ffn_size: 6,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        norm_eps: 1e-5,
        rotary_dim: 4,
        rope_theta: 10000.0,
        rope_scaling: None,
        context: 32,
        sliding_window: None,
        local: None,
        attention_scale: 0.5,
        qkv_bias: false,
        tied_head: true,
    }
}

/// Shapes without values.
pub(super) struct MemorySource(BTreeMap<String, Vec<usize>>);

impl MemorySource {
    pub(super) fn complete(config: &Config) -> Self {
        Self(expected_tensors(config).into_iter().collect())
    }

    pub(super) fn insert(&mut self, name: &str, shape: Vec<usize>) {
        self.0.insert(name.to_owned(), shape);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

impl TensorSource for MemorySource {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).cloned()
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(vec![0.0; self.0[name].iter().product()])
    }
}
