//! Models of random weights, as Hugging Face folders.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use half::bf16;
use safetensors::tensor::{Dtype, View};
use serde_json::{Value, json};
use wise_model::{Config, Family, expected_tensors};

use crate::Result;

/// Half the width of the uniform distribution of a matrix's entries: a standard deviation of 0.02.
const SPREAD: f32 = 0.034_641;

/// The shape is that of Llama 2 7B unless told otherwise.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// The folder, which must not exist
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, default_value_t = 32)]
    layers: usize,
    #[arg(long, default_value_t = 4096)]
    hidden: usize,
    #[arg(long, default_value_t = 11008)]
    ffn: usize,
    #[arg(long, default_value_t = 32000)]
    vocabulary: usize,
    #[arg(long, default_value_t = 32)]
    heads: usize,
    /// Largest size of a file in MB
    #[arg(long, default_value_t = 4000)]
    shard: u64,
}

impl WriteArgs {
    pub(crate) fn write(&self) -> Result {
        let config = Config {
            family: Family::Llama,
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            ffn_size: self.ffn,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: self.hidden / self.heads,
            rotary_dim: self.hidden / self.heads,
            attention_scale: ((self.hidden / self.heads) as f64).powf(-0.5),
            local: None,
            norm_eps: 1e-5,
            rope_theta: 10000.0,
            rope_scaling: None,
            context: 4096,
            sliding_window: None,
            qkv_bias: false,
            tied_head: false,
        };
        fs::create_dir(&self.folder)?;
        let write = |name: &str, json: Value| fs::write(self.folder.join(name), json.to_string());
        write("config.json", configuration(&config))?;
        write("tokenizer.json", tokenizer())?;
        let mut shards: Vec<Vec<Weight>> = Vec::new();
        let mut room = 0;
        for (seed, (name, shape)) in expected_tensors(&config).into_iter().enumerate() {
            let weight = Weight {
                name,
                shape,
                seed: seed as u64,
            };
            let bytes = weight.data_len() as u64;
            match shards.last_mut() {
                Some(shard) if bytes <= room => {
                    room -= bytes;
                    shard.push(weight);
                }
                _ => {
                    room = (self.shard * 1_000_000).saturating_sub(bytes);
                    shards.push(vec![weight]);
                }
            }
        }
        let mut places = BTreeMap::new();
        let count = shards.len();
        for (number, shard) in shards.into_iter().enumerate() {
            let file = format!("model-{:05}-of-{count:05}.safetensors", number + 1);
            places.extend(shard.iter().map(|w| (w.name.clone(), file.clone())));
            let views = shard
                .into_iter()
                .map(|weight| (weight.name.clone(), weight));
            safetensors::serialize_to_file(views, None, &self.folder.join(file))?;
        }
        write(
            "model.safetensors.index.json",
            json!({"weight_map": places}),
        )?;
        Ok(())
    }
}

/// A weight whose values are drawn when it is written.
struct Weight {
    name: String,
    shape: Vec<usize>,
    seed: u64,
}

impl View for Weight {
    fn dtype(&self) -> Dtype {
        Dtype::BF16
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let count = self.data_len() / 2;
        if self.shape.len() < 2 {
            return Cow::Owned(bf16::ONE.to_le_bytes().repeat(count));
        }
        // xorshift (Marsaglia, 2003)
        let mut state = self
            .seed
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bytes = Vec::with_capacity(2 * count);
        for _ in 0..count {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let uniform = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            bytes.extend(bf16::from_f32(uniform * SPREAD).to_le_bytes());
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        2 * self.shape.iter().product::<usize>()
    }
}

fn configuration(config: &Config) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.ffn_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.context,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_head,
        "attention_bias": config.qkv_bias,
        "eos_token_id": 0,
    })
}

/// A token per byte, and one that ends a text.
fn tokenizer() -> Value {
    // A byte-level vocabulary writes a byte as itself where it can be seen (GPT-2).
    let seen = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let hidden = (0..256).filter(|byte| !seen(byte)).count() as u32;
    let codes = (0..256_u32).filter(seen).chain(256..256 + hidden);
    let mut vocabulary = json!({"<end>": 0});
    for (id, character) in (1..).zip(codes.filter_map(char::from_u32)) {
        vocabulary[character.to_string()] = json!(id);
    }
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [], "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocabulary, "merges": []}
    })
}
