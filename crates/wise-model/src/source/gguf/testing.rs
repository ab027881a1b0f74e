//! A GGUF file built by hand.

use crate::expected_tensors;

use super::super::testing::tiny_config;
use super::encode::text;
use super::names::llama_cpp;

/// Metadata and tensors in the order they will be written.
pub(super) struct Builder {
    metadata: Vec<u8>,
    metadata_count: u64,
    /// Name, dimensions as GGUF writes them, ggml type, data.
    pub(super) tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            metadata: Vec::new(),
            metadata_count: 0,
            tensors: Vec::new(),
        }
    }

    pub(super) fn raw(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        self.metadata
            .extend([text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat());
        self.metadata_count += 1;
        self
    }

    pub(super) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.raw(key, 8, &text(value))
    }

    pub(super) fn number(&mut self, key: &str, value: u32) -> &mut Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(super) fn float(&mut self, key: &str, value: f32) -> &mut Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(super) fn texts(&mut self, key: &str, values: &[&str]) -> &mut Self {
        let items: Vec<u8> = values.iter().flat_map(|v| text(v)).collect();
        self.list(key, 8, values.len(), &items)
    }

    pub(super) fn list(&mut self, key: &str, kind: u32, len: usize, items: &[u8]) -> &mut Self {
        self.raw(
            key,
            9,
            &[&kind.to_le_bytes()[..], &(len as u64).to_le_bytes(), items].concat(),
        )
    }

    /// An F32 tensor of the given Hugging Face shape.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> &mut Self {
        let dimensions = shape.iter().rev().map(|n| *n as u64).collect();
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), dimensions, 0, data));
        self
    }

    /// The file, which ends with the last byte of the last tensor.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend(self.metadata_count.to_le_bytes());
        file.extend(&self.metadata);
        let mut data = Vec::new();
        for (name, dimensions, kind, values) in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            file.extend(text(name));
            file.extend((dimensions.len() as u32).to_le_bytes());
            file.extend(dimensions.iter().flat_map(|n| n.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(values);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}

/// A whole model with the sizes of [`tiny_config`]; every tensor counts up from 0.
pub(super) fn tiny_model() -> Builder {
    let config = tiny_config();
    let mut file = Builder::new();
    file.text("general.architecture", "llama")
        .number("llama.embedding_length", config.hidden_size as u32)
        .number("llama.feed_forward_length", config.ffn_size as u32)
        .number("llama.block_count", config.layers as u32)
        .number("llama.attention.head_count", config.heads as u32)
        .number("llama.attention.head_count_kv", config.kv_heads as u32)
        .number("llama.context_length", config.context as u32)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .float("llama.rope.freq_base", 10000.0)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b", "ab"])
        .list(
            "tokenizer.ggml.token_type",
            5,
            5,
            &[3, 3, 1, 1, 1].map(i32::to_le_bytes).concat(),
        )
        .texts("tokenizer.ggml.merges", &["a b"])
        .number("tokenizer.ggml.eos_token_id", 1)
        .number("tokenizer.ggml.eot_token_id", 0)
        .text("tokenizer.chat_template", "{{ eos_token }}");
    for (name, shape) in expected_tensors(&config) {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|i: usize| i as f32)
            .collect();
        file.tensor(&llama_cpp(&name, config.family), &shape, &values);
    }
    file
}
