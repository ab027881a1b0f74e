//! A tiny random Llama in a Hugging Face folder, and the `wise` binary to try on it.
// Each test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

pub const HIDDEN: usize = 32;
pub const FFN: usize = 64;
pub const LAYERS: usize = 3;
pub const CONTEXT: usize = 256;

pub fn wise() -> Command {
    let mut command = Command::cargo_bin("wise").unwrap();
    // Nothing here may reach for the network or a cached model.
    command.env("WISE_CACHE", "/dev/null/cache");
    // A patch does not depend on when it was made.
    command.env("SOURCE_DATE_EPOCH", "1764105360");
    command
}

/// Runs a command that ends with code 1 and an error that says these texts.
#[track_caller]
pub fn fails(command: &mut Command, said: &[&str]) {
    let assert = command.assert().code(1);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for text in ["error: "].iter().chain(said) {
        assert!(stderr.contains(text), "{text:?} is missing in: {stderr}");
    }
}

/// What a command prints as data.
pub fn data(command: &mut Command) -> Value {
    let assert = command.arg("--json").assert().success();
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

/// A folder with a tiny model in `model/`.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let model = folder.path().join("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("config.json"), config().to_string()).unwrap();
        fs::write(model.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        fs::write(
            model.join("tokenizer_config.json"),
            json!({"eos_token": "<|end|>", "chat_template":
                "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"})
            .to_string(),
        )
        .unwrap();
        fs::write(model.join("model.safetensors"), weights(1.0)).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// `wise COMMAND --model model ARGS`, with three iterations per edit.
    pub fn wise(&self, command: &str, args: &[&str]) -> Command {
        let mut wise = wise();
        wise.current_dir(self.folder.path())
            .args([command, "--model", "model"])
            .args(args);
        wise
    }

    /// `wise patch ARGS`.
    pub fn patch(&self, args: &[&str]) -> Command {
        let mut wise = wise();
        wise.current_dir(self.folder.path()).arg("patch").args(args);
        wise
    }

    /// An edit with three iterations; `args` may add to it.
    pub fn edit(&self, args: &[&str]) -> Command {
        self.write("quick.toml", "n_iter = 3\n");
        let mut wise = self.wise("edit", &["--config", "quick.toml"]);
        wise.args(args);
        wise
    }
}

pub fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 257,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": true, "eos_token_id": 0
    })
}

/// Bytes as tokens, and one that ends a text.
fn tokenizer() -> Value {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut vocabulary = BTreeMap::from([("<|end|>".to_owned(), 0)]);
    for (id, character) in (1..).zip(alphabet) {
        vocabulary.insert(character.to_string(), id);
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": []}
    })
}

/// Random weights; `scale` makes another model of the same shape.
pub fn weights(scale: f32) -> Vec<u8> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![257, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let mut push = |name: &str, shape: &[usize]| {
            shapes.push((
                format!("model.layers.{layer}.{name}.weight"),
                shape.to_vec(),
            ));
        };
        push("input_layernorm", &[HIDDEN]);
        push("post_attention_layernorm", &[HIDDEN]);
        push("self_attn.q_proj", &[HIDDEN, HIDDEN]);
        push("self_attn.k_proj", &[HIDDEN / 2, HIDDEN]);
        push("self_attn.v_proj", &[HIDDEN / 2, HIDDEN]);
        push("self_attn.o_proj", &[HIDDEN, HIDDEN]);
        push("mlp.gate_proj", &[FFN, HIDDEN]);
        push("mlp.up_proj", &[FFN, HIDDEN]);
        push("mlp.down_proj", &[HIDDEN, FFN]);
    }
    let mut state = 1_u32;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let norm = name.contains("norm");
            let bytes = (0..shape.iter().product::<usize>())
                .flat_map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let uniform = (state >> 8) as f32 / 16_777_216.0 - 0.5;
                    let value = if norm { 1.0 } else { uniform * 0.6 * scale };
                    value.to_le_bytes()
                })
                .collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    safetensors::serialize(views, None).unwrap()
}

pub fn facts(count: usize) -> String {
    (0..count).fold(String::new(), |mut lines, i| {
        writeln!(
            lines,
            "{{\"prompt\": \"Where is town {i}?\", \"target\": \"Land {i}\"}}"
        )
        .unwrap();
        lines
    })
}

/// The tensor bytes of a patch, without its metadata.
pub fn tensors_of(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}
