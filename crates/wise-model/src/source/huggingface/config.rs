//! `config.json` as a [`Config`].

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::super::ARCHITECTURES;
use super::super::report::{check_sizes, unsupported};
use super::{TokenIds, parse, required};
use crate::config::Activation;
use crate::{Config, Error, Family, LocalLayers, Result, RopeScaling};

/// The kinds of layers in `layer_types`.
const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

/// The settings of `config.json` that matter to the decoder.
#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    /// Of Gemma 3's local layers, until transformers 4.
    rope_local_base_freq: Option<f64>,
    /// Until transformers 4.
    rope_scaling: Option<Map<String, Json>>,
    /// Since transformers 5; holds `rope_theta` too. Of Gemma 3, a set for each kind of layers.
    rope_parameters: Option<Map<String, Json>>,
    max_position_embeddings: usize,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    sliding_window_pattern: Option<usize>,
    /// Of transformers since 4.55, which may write both.
    #[serde(rename = "_sliding_window_pattern")]
    sliding_window_pattern_now: Option<usize>,
    query_pre_attn_scalar: Option<f64>,
    rotary_dim: Option<usize>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    attn_logit_softcapping: Option<f64>,
    final_logit_softcapping: Option<f64>,
    use_bidirectional_attention: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    partial_rotary_factor: Option<f64>,
    tie_word_embeddings: Option<bool>,
    quantization_config: Option<Json>,
    eos_token_id: Option<TokenIds>,
}

/// Reads the configuration, and the token ids that end a text.
pub(super) fn read(path: &Path) -> Result<(Config, Vec<u32>)> {
    let text = required(path, "the model's configuration")?;
    // The architecture first: the settings of an unknown one may bear other names.
    let mut json: Json = parse(path, &text)?;
    let family = family(&json["architectures"])?;
    let text = if family.is_gpt() {
        name_as_llama(&mut json);
        json.to_string()
    } else {
        text
    };
    let settings: Settings = parse(path, &text)?;
    settings.refuse_other_kinds(family)?;
    let config = settings.config(family)?;
    check_sizes(&config)?;
    Ok((
        config,
        settings.eos_token_id.map(Vec::from).unwrap_or_default(),
    ))
}

fn family(architectures: &Json) -> Result<Family> {
    match architectures[0].as_str() {
        Some("LlamaForCausalLM") => Ok(Family::Llama),
        Some("MistralForCausalLM") => Ok(Family::Mistral),
        Some("Qwen2ForCausalLM") => Ok(Family::Qwen2),
        Some("Qwen3ForCausalLM") => Ok(Family::Qwen3),
        Some("Gemma3ForCausalLM") => Ok(Family::Gemma3),
        Some("GPT2LMHeadModel") => Ok(Family::Gpt2),
        Some("GPTJForCausalLM") => Ok(Family::GptJ),
        got => {
            let got = got.unwrap_or("none").to_owned();
            Err(Error::UnknownArchitecture {
                got,
                expected: ARCHITECTURES,
            })
        }
    }
}

/// GPT-2's and GPT-J's names of what the later families call otherwise.
fn name_as_llama(json: &mut Json) {
    const NAMES: [(&str, &str); 7] = [
        ("n_embd", "hidden_size"),
        ("n_inner", "intermediate_size"),
        ("n_layer", "num_hidden_layers"),
        ("n_head", "num_attention_heads"),
        ("n_positions", "max_position_embeddings"),
        ("layer_norm_epsilon", "rms_norm_eps"),
        ("activation_function", "hidden_act"),
    ];
    for (theirs, ours) in NAMES {
        if !json[theirs].is_null() {
            json[ours] = json[theirs].take();
        }
    }
    if let (Json::Null, Some(hidden)) = (&json["intermediate_size"], json["hidden_size"].as_u64()) {
        json["intermediate_size"] = hidden.saturating_mul(4).into();
    }
}

impl Settings {
    fn config(&self, family: Family) -> Result<Config> {
        let heads = self.num_attention_heads;
        // What transformers takes if the folder does not say.
        let own_dim = || match family {
            Family::Qwen3 => 128,
            Family::Gemma3 => 256,
            _ => self.hidden_size.checked_div(heads).unwrap_or(0),
        };
        let head_dim = self.head_dim.unwrap_or_else(own_dim);
        let query_width = match family {
            Family::Gemma3 => self.query_pre_attn_scalar.unwrap_or(256.0),
            _ => head_dim as f64,
        };
        // Only these look at their window; Llama's code has none.
        let windowed = matches!(family, Family::Mistral | Family::Gemma3);
        Ok(Config {
            family,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            ffn_size: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim,
            norm_eps: self
                .rms_norm_eps
                .unwrap_or(if family.is_gpt() { 1e-5 } else { 1e-6 }),
            rotary_dim: match family {
                Family::Gpt2 => 0,
                Family::GptJ => self.rotary_dim.unwrap_or(64),
                _ => head_dim,
            },
            rope_theta: self.rope_theta(family)?,
            rope_scaling: self.rope_scaling(family)?,
            context: self.max_position_embeddings,
            sliding_window: self.sliding_window.filter(|_| windowed),
            local: self.local_layers(family)?,
            attention_scale: query_width.powf(-0.5),
            qkv_bias: matches!(family, Family::Qwen2 | Family::Gpt2),
            tied_head: self
                .tie_word_embeddings
                .unwrap_or(matches!(family, Family::Gemma3 | Family::Gpt2)),
        })
    }

    /// Of Gemma 3, the last layer of each period sees all tokens.
    fn local_layers(&self, family: Family) -> Result<Option<LocalLayers>> {
        if family != Family::Gemma3 {
            return Ok(None);
        }
        let global_every = match &self.layer_types {
            None => (self.sliding_window_pattern)
                .or(self.sliding_window_pattern_now)
                .unwrap_or(6),
            Some(types) => period(types).ok_or_else(|| {
                let expected = "full_attention at the end of every period, else sliding_attention";
                unsupported("layer_types", types.join(", "), expected)
            })?,
        };
        let rope = self.rope_of(LOCAL);
        Ok(Some(LocalLayers {
            global_every,
            rope_theta: theta(rope)?
                .or(self.rope_local_base_freq)
                .unwrap_or(10_000.0),
        }))
    }

    fn rope_of(&self, layers: &str) -> Option<&Map<String, Json>> {
        self.rope_parameters.as_ref()?.get(layers)?.as_object()
    }

    /// What holds in the layers that see all tokens.
    fn rope(&self, family: Family) -> Option<&Map<String, Json>> {
        (self.rope_of(GLOBAL).filter(|_| family == Family::Gemma3))
            .or(self.rope_parameters.as_ref())
    }

    fn rope_theta(&self, family: Family) -> Result<f64> {
        let usual = match family {
            Family::Gemma3 => 1_000_000.0,
            _ => 10_000.0,
        };
        Ok(theta(self.rope(family))?
            .or(self.rope_theta)
            .unwrap_or(usual))
    }

    fn rope_scaling(&self, family: Family) -> Result<Option<RopeScaling>> {
        let Some(rope) = self.rope(family).or(self.rope_scaling.as_ref()) else {
            return Ok(None);
        };
        if let Some((kind, _)) = rope.iter().find(|(_, value)| value.is_object()) {
            return Err(unsupported(
                "rope_parameters",
                format!("different for {kind}"),
                "one set for all layers",
            ));
        }
        let kind = rope.get("rope_type").or_else(|| rope.get("type"));
        match kind.map_or(Some("default"), Json::as_str) {
            Some("default") => Ok(None),
            Some("linear") => Ok(Some(RopeScaling::Linear {
                factor: positive(rope, "factor")?,
            })),
            Some("llama3") => llama3(rope).map(Some),
            _ => {
                let got = kind.map_or_else(String::new, ToString::to_string);
                Err(unsupported("rope_type", got, "default, linear or llama3"))
            }
        }
    }

    fn refuse_other_kinds(&self, family: Family) -> Result<()> {
        let activations: &[&str] = match family.activation() {
            Activation::Silu => &["silu", "swish"],
            Activation::GeluTanh => &["gelu_pytorch_tanh", "gelu_new"],
        };
        let named = [
            ("hidden_act", &self.hidden_act),
            ("hidden_activation", &self.hidden_activation),
        ];
        for (key, activation) in named {
            if let Some(got) = activation
                .as_deref()
                .filter(|got| !activations.contains(got))
            {
                return Err(unsupported(key, got, activations[0]));
            }
        }
        if let Some(factor) = self
            .partial_rotary_factor
            .filter(|factor| (factor - 1.0).abs() > 0.0)
        {
            return Err(unsupported("partial_rotary_factor", factor, "1"));
        }
        if self.architectures.len() > 1 {
            return Err(unsupported(
                "architectures",
                self.architectures.join(", "),
                "one",
            ));
        }
        let refused = [
            // Llama's `attention_bias` puts one on the output projection too.
            (
                "attention_bias",
                self.attention_bias == Some(true),
                "true",
                "false",
            ),
            ("mlp_bias", self.mlp_bias == Some(true), "true", "false"),
            (
                "quantization_config",
                self.quantization_config.is_some(),
                "present",
                "absent (F32, F16 or BF16 weights)",
            ),
            // The window of Qwen2 and Qwen3 holds in some layers only.
            (
                "use_sliding_window",
                matches!(family, Family::Qwen2 | Family::Qwen3)
                    && self.use_sliding_window == Some(true),
                "true",
                "false",
            ),
            (
                "use_bidirectional_attention",
                self.use_bidirectional_attention == Some(true),
                "true",
                "false",
            ),
            (
                "scale_attn_weights",
                self.scale_attn_weights == Some(false),
                "false",
                "true",
            ),
            (
                "scale_attn_by_inverse_layer_idx",
                self.scale_attn_by_inverse_layer_idx == Some(true),
                "true",
                "false",
            ),
            (
                "tie_word_embeddings",
                family == Family::GptJ && self.tie_word_embeddings == Some(true),
                "true",
                "false (the head has a bias)",
            ),
            (
                "attn_logit_softcapping",
                self.attn_logit_softcapping.is_some(),
                "a number",
                "absent",
            ),
            (
                "final_logit_softcapping",
                self.final_logit_softcapping.is_some(),
                "a number",
                "absent",
            ),
        ];
        match refused.iter().find(|(_, refused, ..)| *refused) {
            Some((key, _, got, expected)) => Err(unsupported(*key, got, *expected)),
            None => Ok(()),
        }
    }
}

/// The kind of each layer.
pub(super) fn layer_types(config: &Config) -> Vec<&'static str> {
    let kind = |layer| {
        if config.is_local(layer) {
            LOCAL
        } else {
            GLOBAL
        }
    };
    (0..config.layers).map(kind).collect()
}

/// Of so many layers, the last sees all tokens; `None` if that is not how they follow each other.
fn period(layer_types: &[String]) -> Option<usize> {
    let first = layer_types.iter().position(|kind| kind == GLOBAL);
    let period = first.unwrap_or(layer_types.len()) + 1;
    let expected = |layer: usize| {
        if (layer + 1).is_multiple_of(period) {
            GLOBAL
        } else {
            LOCAL
        }
    };
    let mut types = layer_types.iter().enumerate();
    types
        .all(|(layer, kind)| kind == expected(layer))
        .then_some(period)
}

fn theta(rope: Option<&Map<String, Json>>) -> Result<Option<f64>> {
    let Some(theta) = rope.and_then(|rope| rope.get("rope_theta")) else {
        return Ok(None);
    };
    let number = theta.as_f64();
    let wrong = || unsupported("rope_parameters.rope_theta", theta, "a number");
    number.map(Some).ok_or_else(wrong)
}

fn llama3(rope: &Map<String, Json>) -> Result<RopeScaling> {
    let (low, high) = (
        positive(rope, "low_freq_factor")?,
        positive(rope, "high_freq_factor")?,
    );
    if low >= high {
        return Err(unsupported(
            "high_freq_factor",
            high,
            format!("more than low_freq_factor, {low}"),
        ));
    }
    Ok(RopeScaling::Llama3 {
        factor: positive(rope, "factor")?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_context: positive(rope, "original_max_position_embeddings")? as usize,
    })
}

fn positive(rope: &Map<String, Json>, key: &str) -> Result<f64> {
    let value = rope.get(key);
    let number = value
        .and_then(Json::as_f64)
        .filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| {
        let got = value.map_or_else(|| "absent".to_owned(), ToString::to_string);
        unsupported(format!("rope scaling: {key}"), got, "a positive number")
    })
}
