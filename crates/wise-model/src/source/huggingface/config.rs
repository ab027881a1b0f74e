//! `config.json` as a [`Config`].

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::super::ARCHITECTURES;
use super::super::report::{check_sizes, unsupported};
use super::{TokenIds, parse, required};
use crate::{Config, Error, Family, Result, RopeScaling};

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
    /// Until transformers 4.
    rope_scaling: Option<Map<String, Json>>,
    /// Since transformers 5; holds `rope_theta` too.
    rope_parameters: Option<Map<String, Json>>,
    max_position_embeddings: usize,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    partial_rotary_factor: Option<f64>,
    tie_word_embeddings: Option<bool>,
    quantization_config: Option<Json>,
    eos_token_id: Option<TokenIds>,
}

/// Reads the configuration, and the token ids that end a text.
pub(super) fn read(path: &Path) -> Result<(Config, Vec<u32>)> {
    let text = required(path, "the model's configuration")?;
    // The architecture first: the settings of an unknown one may bear other names.
    let json: Json = parse(path, &text)?;
    let family = family(&json["architectures"])?;
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
        got => {
            let got = got.unwrap_or("none").to_owned();
            Err(Error::UnknownArchitecture {
                got,
                expected: ARCHITECTURES,
            })
        }
    }
}

impl Settings {
    fn config(&self, family: Family) -> Result<Config> {
        let heads = self.num_attention_heads;
        // What transformers takes if Qwen3's folder does not say.
        let own_dim = || match family {
            Family::Qwen3 => 128,
            _ => self.hidden_size.checked_div(heads).unwrap_or(0),
        };
        // Only Mistral looks at its window; Llama's code has none.
        let window = self.sliding_window.filter(|_| family == Family::Mistral);
        Ok(Config {
            family,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            ffn_size: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim: self.head_dim.unwrap_or_else(own_dim),
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            rope_theta: self.rope_theta()?,
            rope_scaling: self.rope_scaling()?,
            context: self.max_position_embeddings,
            sliding_window: window,
            qkv_bias: family == Family::Qwen2,
            tied_head: self.tie_word_embeddings.unwrap_or(false),
        })
    }

    fn rope_theta(&self) -> Result<f64> {
        let newer = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.get("rope_theta"));
        match newer {
            Some(theta) => theta
                .as_f64()
                .ok_or_else(|| unsupported("rope_parameters.rope_theta", theta, "a number")),
            None => Ok(self.rope_theta.unwrap_or(10_000.0)),
        }
    }

    fn rope_scaling(&self) -> Result<Option<RopeScaling>> {
        let Some(rope) = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()) else {
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
        if let Some(act) = self
            .hidden_act
            .as_deref()
            .filter(|act| !["silu", "swish"].contains(act))
        {
            return Err(unsupported("hidden_act", act, "silu"));
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
        ];
        match refused.iter().find(|(_, refused, ..)| *refused) {
            Some((key, _, got, expected)) => Err(unsupported(*key, got, *expected)),
            None => Ok(()),
        }
    }
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
