//! What the tests of several modules share.

use std::sync::Arc;

use serde_json::json;
use wise_model::{
    ChatTemplateSource, Config, DeviceName, Family, Model, ModelFiles, TensorSource,
    expected_tensors,
};

fn config() -> Config {
    Config {
        family: Family::Llama,
        vocab_size: 257,
        hidden_size: 16,
        ffn_size: 24,
        layers: 4,
        heads: 2,
        kv_heads: 2,
        head_dim: 8,
        norm_eps: 1e-5,
        rotary_dim: 8,
        rope_theta: 10000.0,
        rope_scaling: None,
        context: 128,
        sliding_window: None,
        local: None,
        attention_scale: 8_f64.powf(-0.5),
        qkv_bias: false,
        tied_head: true,
    }
}

/// Weights from a linear congruential generator.
struct Noise(u32);

impl TensorSource for Noise {
    fn names(&self) -> Vec<String> {
        let expected = expected_tensors(&config()).into_iter();
        expected.map(|(name, _)| name).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut expected = expected_tensors(&config()).into_iter();
        expected.find(|(n, _)| n == name).map(|(_, shape)| shape)
    }

    fn read(&mut self, name: &str) -> wise_model::Result<Vec<f32>> {
        let count = self.shape(name).unwrap().iter().product();
        // Norms around 1, and the last one larger, so that logits can become large enough to be sure of a token.
        let (centre, scale) = match name {
            "model.norm.weight" => (1.0, 4.0),
            _ if name.ends_with("norm.weight") => (1.0, 1.0),
            _ => (0.0, 1.0),
        };
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 8) as f32 / 16_777_216.0 - 0.5
        };
        Ok((0..count).map(|_| (centre + next()) * scale).collect())
    }
}

/// The character that a byte-level vocabulary writes each byte as (GPT-2): itself where it can be seen.
fn alphabet() -> Vec<char> {
    let seen = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let hidden = (0..256).filter(|byte| !seen(byte)).count() as u32;
    let codes = (0..256_u32).filter(seen).chain(256..256 + hidden);
    codes.filter_map(char::from_u32).collect()
}

/// A model of random weights: four layers, a context of 128 tokens, a token per byte and one that ends a text;
/// no chat template.
pub(crate) fn tiny_model(seed: u32) -> Arc<Model> {
    model(seed, None)
}

/// The same model with a chat template, so that an answer of one letter is one token.
pub(crate) fn tiny_chat_model(seed: u32) -> Arc<Model> {
    let template = ChatTemplateSource {
        template: "{{ messages[0].content }}>".to_owned(),
        bos_token: None,
        eos_token: None,
    };
    model(seed, Some(template))
}

fn model(seed: u32, chat_template: Option<ChatTemplateSource>) -> Arc<Model> {
    let mut vocabulary = json!({"<end>": 0});
    for (id, character) in (1..).zip(alphabet()) {
        vocabulary[character.to_string()] = json!(id);
    }
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [], "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocabulary, "merges": []}
    });
    let files = ModelFiles {
        name: "noise".to_owned(),
        config: config(),
        tokenizer: tokenizer.to_string().parse().unwrap(),
        chat_template,
        eos: vec![0],
        tensors: Box::new(Noise(seed)),
        sha256: String::new(),
        converted: None,
    };
    let device = DeviceName::Cpu.open().unwrap();
    Arc::new(Model::load(files, &device, &mut |_| {}).unwrap())
}
