use std::collections::HashMap;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use tempfile::TempDir;

use super::super::testing::tiny_config;
use super::super::{LoadReport, expected_tensors};
use super::*;
use crate::{Config, Family, LocalLayers, RopeScaling};

/// A model folder with the sizes of [`tiny_config`].
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("config.json", settings().to_string());
        let tokenizer =
            json!({"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}});
        folder.write("tokenizer.json", tokenizer.to_string());
        folder.write(
            "model.safetensors",
            weights(&expected_tensors(&tiny_config()), Dtype::F32),
        );
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.path(name)).unwrap();
        self
    }

    fn open(&self) -> Result<ModelFiles> {
        open("tiny", self.0.path(), &mut |_| {})
    }

    fn error(&self) -> String {
        self.open().err().expect("an error").to_string()
    }

    fn with_settings(changes: &Json) -> Result<Config> {
        let folder = Self::new();
        let mut all = settings();
        for (key, value) in changes.as_object().unwrap() {
            all[key] = value.clone();
        }
        folder.write("config.json", all.to_string());
        folder.open().map(|model| model.config)
    }

    fn settings_error(changes: &Json) -> String {
        Self::with_settings(changes).unwrap_err().to_string()
    }
}

fn settings() -> Json {
    json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 5, "hidden_size": 8,
        "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "max_position_embeddings": 32, "hidden_act": "silu", "tie_word_embeddings": true,
        "eos_token_id": 1, "rope_scaling": null, "sliding_window": 4
    })
}

/// Every tensor counts 0, 0.5, 1, ...
fn weights(tensors: &[(String, Vec<usize>)], dtype: Dtype) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| {
            let values = (0..shape.iter().product()).map(|i: usize| i as f32 / 2.0);
            match dtype {
                Dtype::F16 => values
                    .flat_map(|v| half::f16::from_f32(v).to_le_bytes())
                    .collect(),
                Dtype::BF16 => values
                    .flat_map(|v| half::bf16::from_f32(v).to_le_bytes())
                    .collect(),
                _ => values.flat_map(f32::to_le_bytes).collect(),
            }
        })
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (
            name.clone(),
            TensorView::new(dtype, shape.clone(), data).unwrap(),
        )
    });
    serialize(views.collect::<HashMap<_, _>>(), None).unwrap()
}

#[test]
fn a_folder_opens() {
    let mut model = Folder::new().open().unwrap();
    assert_eq!(model.config, tiny_config());
    assert_eq!(model.eos, [1]);
    assert_eq!(model.chat_template, None);
    assert_eq!(model.sha256.len(), 64);
    LoadReport::check(&model.config, &*model.tensors).unwrap();
    let norm = model.tensors.read("model.norm.weight").unwrap();
    assert_eq!(norm, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]);
    assert!(model.tensors.read("absent").is_err());
}

#[test]
fn half_precision_is_widened() {
    for dtype in [Dtype::F16, Dtype::BF16] {
        let folder = Folder::new();
        folder.write(
            "model.safetensors",
            weights(&expected_tensors(&tiny_config()), dtype),
        );
        let norm = folder
            .open()
            .unwrap()
            .tensors
            .read("model.norm.weight")
            .unwrap();
        assert_eq!(norm, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]);
    }
}

#[test]
fn other_number_formats_are_named() {
    let folder = Folder::new();
    folder.write(
        "model.safetensors",
        weights(&[("t".into(), vec![2])], Dtype::I32),
    );
    let error = folder
        .open()
        .unwrap()
        .tensors
        .read("t")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("tensor t has the number format I32, expected F32, F16 or BF16"),
        "{error}"
    );
}

/// The same tensors in two files, listed by an index.
fn sharded() -> Folder {
    let folder = Folder::new();
    folder.remove("model.safetensors");
    let tensors = expected_tensors(&tiny_config());
    let (first, second) = tensors.split_at(7);
    let names = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let mut map = HashMap::new();
    for (file, part) in names.iter().zip([first, second]) {
        folder.write(file, weights(part, Dtype::F32));
        map.extend(part.iter().map(|(name, _)| (name.clone(), *file)));
    }
    folder.write(
        "model.safetensors.index.json",
        json!({"weight_map": map}).to_string(),
    );
    folder
}

#[test]
fn shards_are_read_through_their_index_or_without_one() {
    let folder = sharded();
    let mut model = folder.open().unwrap();
    LoadReport::check(&model.config, &*model.tensors).unwrap();
    assert_eq!(
        model.tensors.read("model.norm.weight").unwrap()[..2],
        [0.0, 0.5]
    );
    let listed = model.sha256;
    folder.remove("model.safetensors.index.json");
    let model = folder.open().unwrap();
    LoadReport::check(&model.config, &*model.tensors).unwrap();
    assert_eq!(model.sha256, listed);
}

#[test]
fn a_bad_index_is_refused() {
    let folder = sharded();
    folder.remove("model-00002-of-00002.safetensors");
    assert!(
        folder
            .error()
            .contains("model-00002-of-00002.safetensors is missing")
    );
    let folder = sharded();
    let index = |map: Json| json!({"weight_map": map}).to_string();
    let write = |map: Json| {
        folder
            .write("model.safetensors.index.json", index(map))
            .error()
    };
    assert!(write(json!({"t": "model-00001-of-00002.safetensors"})).contains("lacks tensor t"));
    assert!(write(json!({"t": "../outside.safetensors"})).contains("not the name of a file"));
    assert!(write(json!({})).contains("weight_map is empty"));
    folder.write(
        "model-00003.safetensors",
        weights(&expected_tensors(&tiny_config()), Dtype::F32),
    );
    folder.remove("model.safetensors.index.json");
    assert!(folder.error().contains("occurs twice"));
}

#[test]
fn each_missing_file_is_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = Folder::new();
        let error = folder.remove(name).open().err().unwrap();
        assert!(
            matches!(&error, Error::MissingFile { path, .. } if path.ends_with(name)),
            "{error}"
        );
    }
}

#[test]
fn cut_weights_are_malformed_with_both_sizes() {
    let folder = Folder::new();
    let whole = fs::read(folder.path("model.safetensors")).unwrap();
    folder.write("model.safetensors", &whole[..whole.len() - 1]);
    let expected = format!("it has {} bytes, expected {}", whole.len() - 1, whole.len());
    assert!(folder.error().contains(&expected), "{}", folder.error());
    for len in 0..whole.len() {
        folder.write("model.safetensors", &whole[..len]);
        let error = super::tensors::FolderTensors::open(folder.0.path(), &tiny_config())
            .err()
            .unwrap();
        assert!(
            matches!(
                error,
                Error::Malformed {
                    format: "safetensors",
                    ..
                }
            ),
            "{len}: {error}"
        );
    }
}

#[test]
fn corrupt_texts_are_malformed() {
    let folder = Folder::new();
    assert!(
        folder
            .write("config.json", "{")
            .error()
            .contains("not a valid JSON file")
    );
    let folder = Folder::new();
    assert!(
        folder
            .write("tokenizer.json", "{}")
            .error()
            .contains("tokenizer:")
    );
    let folder = Folder::new();
    assert!(
        folder
            .write("generation_config.json", "[")
            .error()
            .contains("generation_config.json")
    );
}

#[test]
fn the_generation_config_decides_what_ends_a_text() {
    let folder = Folder::new();
    folder.write("generation_config.json", r#"{"eos_token_id": [3, 4]}"#);
    assert_eq!(folder.open().unwrap().eos, [3, 4]);
    folder.write("generation_config.json", r#"{"temperature": 1.0}"#);
    assert_eq!(folder.open().unwrap().eos, [1]);
}

#[test]
fn the_chat_template_comes_from_any_of_its_places() {
    let folder = Folder::new();
    let mut tokens =
        json!({"chat_template": "T", "bos_token": "<s>", "eos_token": {"content": "</s>"}});
    folder.write("tokenizer_config.json", tokens.to_string());
    let template = folder.open().unwrap().chat_template.unwrap();
    assert_eq!(template.template, "T");
    assert_eq!(
        (template.bos_token.as_deref(), template.eos_token.as_deref()),
        (Some("<s>"), Some("</s>"))
    );
    tokens["chat_template"] =
        json!([{"name": "tools", "template": "X"}, {"name": "default", "template": "D"}]);
    folder.write("tokenizer_config.json", tokens.to_string());
    assert_eq!(folder.open().unwrap().chat_template.unwrap().template, "D");
    folder.write("chat_template.jinja", "J");
    assert_eq!(folder.open().unwrap().chat_template.unwrap().template, "J");
}

#[test]
fn settings_may_be_absent_or_elsewhere() {
    let config =
        Folder::with_settings(&json!({"num_key_value_heads": null, "rope_theta": null})).unwrap();
    assert_eq!(
        (config.kv_heads, config.head_dim, config.rope_theta),
        (2, 4, 10_000.0)
    );
    let rope =
        json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}, "head_dim": 6});
    let config = Folder::with_settings(&rope).unwrap();
    assert_eq!(
        (config.rope_theta, config.rope_scaling, config.head_dim),
        (5e5, None, 6)
    );
}

#[test]
fn families_differ_in_window_and_biases() {
    let mistral = Folder::with_settings(&json!({"architectures": ["MistralForCausalLM"]})).unwrap();
    assert_eq!(
        (mistral.family, mistral.sliding_window),
        (Family::Mistral, Some(4))
    );
    let qwen2 = json!({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": false});
    let qwen2 = Folder::with_settings(&qwen2).unwrap();
    assert_eq!(
        (qwen2.family, qwen2.sliding_window, qwen2.qkv_bias),
        (Family::Qwen2, None, true)
    );
    let qwen3 = json!({"architectures": ["Qwen3ForCausalLM"], "head_dim": 16});
    let qwen3 = Folder::with_settings(&qwen3).unwrap();
    assert_eq!(
        (qwen3.family, qwen3.head_dim, qwen3.sliding_window),
        (Family::Qwen3, 16, None)
    );
    assert!(!qwen3.qkv_bias);
}

fn gemma(changes: &Json) -> Result<Config> {
    let mut settings = json!({
        "architectures": ["Gemma3ForCausalLM"], "hidden_act": null, "rope_theta": null,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": null
    });
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    Folder::with_settings(&settings)
}

#[test]
fn the_layers_of_gemma_are_read_in_both_spellings() {
    let usual = gemma(&json!({})).unwrap();
    assert!(usual.tied_head);
    assert_eq!((usual.head_dim, usual.attention_scale), (256, 1.0 / 16.0));
    assert_eq!((usual.rope_theta, usual.sliding_window), (1e6, Some(4)));
    let local = |global_every, rope_theta| {
        Some(LocalLayers {
            global_every,
            rope_theta,
        })
    };
    assert_eq!(usual.local, local(6, 1e4));

    let older = json!({
        "sliding_window_pattern": 3, "_sliding_window_pattern": 3, "rope_local_base_freq": 5e3, "rope_theta": 2e6,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}
    });
    let newer = json!({
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_theta": 5e3, "rope_type": "default"},
            "full_attention": {"rope_theta": 2e6, "rope_type": "linear", "factor": 8.0}
        }
    });
    for settings in [older, newer] {
        let config = gemma(&settings).unwrap();
        assert_eq!((config.local, config.rope_theta), (local(3, 5e3), 2e6));
        let scaling = RopeScaling::Linear { factor: 8.0 };
        assert_eq!(config.rope_scaling, Some(scaling));
    }
    let refused = json!({"layer_types": ["full_attention", "sliding_attention"]});
    let error = gemma(&refused).unwrap_err().to_string();
    assert!(error.contains("layer_types is full_attention, sliding"));
}

#[test]
fn rope_scaling_is_read_in_both_spellings() {
    let linear = json!({"rope_scaling": {"type": "linear", "factor": 2.0}});
    let config = Folder::with_settings(&linear).unwrap();
    assert_eq!(
        config.rope_scaling,
        Some(RopeScaling::Linear { factor: 2.0 })
    );
    let llama3 = json!({"rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    }});
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    };
    assert_eq!(
        Folder::with_settings(&llama3).unwrap().rope_scaling,
        Some(expected)
    );
}

/// What a GPT's configuration has, in its own names.
fn gpt(architecture: &str) -> Json {
    json!({
        "architectures": [architecture], "vocab_size": 5, "n_embd": 8, "n_inner": null, "n_layer": 2,
        "n_head": 2, "n_positions": 32, "layer_norm_epsilon": 1e-4, "rotary_dim": 2,
        "activation_function": "gelu_new", "eos_token_id": 1
    })
}

#[test]
fn the_settings_of_gpts_are_read_in_their_own_names() {
    let read = |settings: Json| {
        let folder = Folder::new();
        folder.write("config.json", settings.to_string());
        folder.open().map(|model| model.config)
    };
    let gpt2 = read(gpt("GPT2LMHeadModel")).unwrap();
    assert_eq!((gpt2.family, gpt2.ffn_size), (Family::Gpt2, 32));
    assert_eq!((gpt2.norm_eps, gpt2.rotary_dim), (1e-4, 0));
    assert!(gpt2.tied_head && gpt2.qkv_bias);
    let gpt_j = read(gpt("GPTJForCausalLM")).unwrap();
    assert_eq!((gpt_j.kv_heads, gpt_j.rotary_dim), (2, 2));
    assert!(!gpt_j.tied_head && !gpt_j.qkv_bias);
    for (key, value) in [
        ("rotary_dim", json!(6)),
        ("tie_word_embeddings", json!(true)),
        ("scale_attn_weights", json!(false)),
    ] {
        let mut settings = gpt("GPTJForCausalLM");
        settings[key] = value;
        let error = read(settings).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn what_the_decoder_cannot_run_is_refused() {
    let refused = [
        (json!({"architectures": ["BertModel"]}), "got BertModel"),
        (json!({"architectures": []}), "got none"),
        (json!({"mlp_bias": true}), "mlp_bias is true"),
        (json!({"attention_bias": true}), "attention_bias is true"),
        (
            json!({"hidden_act": "gelu"}),
            "hidden_act is gelu, expected silu",
        ),
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor is 0.5",
        ),
        (
            json!({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": true}),
            "use_sliding_window",
        ),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}),
            "yarn",
        ),
        (
            json!({"rope_scaling": {"rope_type": "linear"}}),
            "factor is absent",
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}),
            "full_attention",
        ),
        (
            json!({"num_key_value_heads": 0}),
            "key and value heads is 0",
        ),
        (
            json!({"num_attention_heads": 3, "num_key_value_heads": 2, "head_dim": 4}),
            "divisor of the 3",
        ),
        (json!({"vocab_size": 1_u64 << 60}), "vocabulary size"),
    ];
    for (changes, expected) in refused {
        let error = Folder::settings_error(&changes);
        assert!(error.contains(expected), "{changes}: {error}");
    }
}

#[test]
fn a_model_with_other_tensors_does_not_fit() {
    let folder = Folder::new();
    folder.write(
        "model.safetensors",
        weights(&[("lm_head.bias".into(), vec![5])], Dtype::F32),
    );
    let model = folder.open().unwrap();
    let report = LoadReport::compare(&model.config, &*model.tensors);
    assert_eq!((report.missing.len(), report.unused.len()), (20, 1));
}
