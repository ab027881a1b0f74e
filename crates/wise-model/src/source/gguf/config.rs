//! The metadata of a GGUF file as a [`Config`].

use super::super::ARCHITECTURES;
use super::super::report::{check_sizes, unsupported};
use super::reader::{Header, Value};
use crate::{Config, Error, Family, LocalLayers, Result, RopeScaling};

/// Reads the configuration and refuses what the decoder cannot run.
pub(super) fn config(header: &Header) -> Result<Config> {
    let architecture = match header.metadata.get("general.architecture") {
        Some(Value::Text(name)) => name.as_str(),
        _ => {
            return Err(unsupported(
                "general.architecture",
                "absent",
                "llama, qwen2, qwen3 or gemma3",
            ));
        }
    };
    let family = match architecture {
        "llama" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "gemma3" => Family::Gemma3,
        got => {
            return Err(Error::UnknownArchitecture {
                got: got.to_owned(),
                expected: ARCHITECTURES,
            });
        }
    };
    let settings = Settings {
        header,
        architecture,
    };
    settings.refuse_other_kinds()?;
    let hidden_size = settings.size("embedding_length")?;
    let heads = settings.size("attention.head_count")?;
    let layers = settings.size("block_count")?;
    let head_dim = settings
        .optional_size("attention.key_length")?
        .unwrap_or_else(|| hidden_size.checked_div(heads).unwrap_or(0));
    // The file has neither; llama.cpp knows the largest Gemma 3 by its layers, too.
    let query_width = match (family, layers) {
        (Family::Gemma3, 62) => hidden_size.checked_div(heads).unwrap_or(0),
        _ => head_dim,
    };
    let config = Config {
        family,
        vocab_size: settings
            .shape("token_embd.weight")
            .map_or(0, |shape| shape[0]),
        hidden_size,
        ffn_size: settings.size("feed_forward_length")?,
        layers,
        heads,
        kv_heads: settings
            .optional_size("attention.head_count_kv")?
            .unwrap_or(heads),
        head_dim,
        norm_eps: settings
            .number("attention.layer_norm_rms_epsilon")?
            .unwrap_or(1e-5),
        rotary_dim: head_dim,
        rope_theta: settings.number("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: settings.rope_scaling()?,
        context: settings.size("context_length")?,
        sliding_window: settings.sliding_window(family)?,
        local: settings.local_layers(family)?,
        attention_scale: (query_width as f64).powf(-0.5),
        qkv_bias: settings.shape("blk.0.attn_q.bias").is_some(),
        tied_head: settings.shape("output.weight").is_none(),
    };
    check_sizes(&config)?;
    settings.check_head_dim(config.head_dim)?;
    Ok(config)
}

/// The metadata of one architecture.
struct Settings<'a> {
    header: &'a Header,
    architecture: &'a str,
}

impl<'a> Settings<'a> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.header.metadata.get(&self.key(key))
    }

    fn shape(&self, tensor: &str) -> Option<&'a [usize]> {
        let info = self
            .header
            .tensors
            .iter()
            .find(|info| info.name == tensor)?;
        Some(&info.shape)
    }

    fn wrong(&self, key: &str, got: Option<&Value>, expected: &str) -> Error {
        let got = got.map_or_else(|| "absent".to_owned(), describe);
        unsupported(self.key(key), got, expected)
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(n)) if usize::try_from(*n).is_ok() => Ok(Some(*n as usize)),
            other => Err(self.wrong(key, other, "one whole number")),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?
            .ok_or_else(|| self.wrong(key, None, "one whole number"))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(n)) => Ok(Some(tidy(*n))),
            Some(Value::Integer(n)) => Ok(Some(*n as f64)),
            other => Err(self.wrong(key, other, "one number")),
        }
    }

    fn rope_scaling(&self) -> Result<Option<RopeScaling>> {
        let key = "rope.scaling.type";
        let kind = match self.get(key) {
            None => "none",
            Some(Value::Text(kind)) => kind,
            other => return Err(self.wrong(key, other, "none or linear")),
        };
        // The older spelling of linear scaling.
        let older = self.number("rope.scale_linear")?;
        match (kind, self.number("rope.scaling.factor")?.or(older)) {
            ("none", None) => Ok(None),
            ("none", Some(factor)) if self.get(key).is_some() || is_one(factor) => Ok(None),
            ("none" | "linear", Some(factor)) if factor.is_finite() && factor > 0.0 => {
                Ok(Some(RopeScaling::Linear { factor }))
            }
            ("none" | "linear", _) => {
                let factor = self.get("rope.scaling.factor");
                Err(self.wrong("rope.scaling.factor", factor, "a positive number"))
            }
            _ => Err(self.wrong(key, self.get(key), "none or linear")),
        }
    }

    fn sliding_window(&self, family: Family) -> Result<Option<usize>> {
        let key = "attention.sliding_window";
        match self.optional_size(key)? {
            None | Some(0) => Ok(None),
            // Qwen2 and Qwen3 have their window in some layers only.
            Some(_) if matches!(family, Family::Qwen2 | Family::Qwen3) => {
                Err(self.wrong(key, self.get(key), "absent"))
            }
            window => Ok(window),
        }
    }

    /// What llama.cpp takes for Gemma 3 where the file does not say.
    fn local_layers(&self, family: Family) -> Result<Option<LocalLayers>> {
        if family != Family::Gemma3 {
            return Ok(None);
        }
        Ok(Some(LocalLayers {
            global_every: self
                .optional_size("attention.sliding_window_pattern")?
                .unwrap_or(6),
            rope_theta: self.number("rope.freq_base_swa")?.unwrap_or(10_000.0),
        }))
    }

    /// Mixtures of experts bear the same architecture name.
    fn refuse_other_kinds(&self) -> Result<()> {
        match self.optional_size("expert_count")? {
            None | Some(0) => Ok(()),
            Some(_) => Err(self.wrong("expert_count", self.get("expert_count"), "0 (no experts)")),
        }
    }

    fn check_head_dim(&self, head_dim: usize) -> Result<()> {
        for key in ["rope.dimension_count", "attention.value_length"] {
            if self
                .optional_size(key)?
                .is_some_and(|size| size != head_dim)
            {
                let expected = format!("{head_dim} (the head dimension)");
                return Err(self.wrong(key, self.get(key), &expected));
            }
        }
        Ok(())
    }
}

/// An f32 widened to f64 (`9.999999747378752e-06`) as the decimal number it was written for.
fn tidy(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

#[allow(clippy::float_cmp)]
fn is_one(factor: f64) -> bool {
    factor == 1.0
}

fn describe(value: &Value) -> String {
    match value {
        Value::Integer(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Text(text) => text.clone(),
        Value::Integers(_) | Value::Floats(_) | Value::Texts(_) | Value::Other => {
            "a list".to_owned()
        }
    }
}
