//! A low-rank change of one matrix as a folder that PEFT opens.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::export::{whole_folder, write_json, write_tensors};
use crate::source::map::io_error;
use crate::{Error, Family, Result};

/// A change `up * down` of the FFN value matrix of one layer.
#[derive(Debug, Clone, Copy)]
pub struct Adapter<'a> {
    /// The model's family: each has a name of its own for the matrix.
    pub family: Family,
    /// The layer.
    pub layer: usize,
    /// The matrix's shape, `[hidden, ffn]`.
    pub shape: [usize; 2],
    /// Rank of the change.
    pub rank: usize,
    /// `[rank, ffn]`, PEFT's `lora_A`.
    pub down: &'a [f32],
    /// `[hidden, rank]`, PEFT's `lora_B`.
    pub up: &'a [f32],
}

/// Writes an adapter of the model `base` as a folder that PEFT and vLLM open. Nothing is under `folder` until all of it
/// is there; the folder must not exist.
///
/// # Errors
/// [`Error::Io`], or [`Error::Replaced`] if the factors are not as large as rank and shape say.
pub fn write_adapter(adapter: &Adapter<'_>, base: &str, folder: &Path) -> Result<()> {
    let [hidden, ffn] = adapter.shape;
    let (layers, matrix) = match adapter.family {
        Family::Gpt2 => ("transformer.h", "mlp.c_proj"),
        Family::GptJ => ("transformer.h", "mlp.fc_out"),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 | Family::Gemma3 => {
            ("model.layers", "mlp.down_proj")
        }
    };
    let module = format!("base_model.model.{layers}.{}.{matrix}", adapter.layer);
    let factors = [
        ("lora_A", adapter.down, [adapter.rank, ffn]),
        ("lora_B", adapter.up, [hidden, adapter.rank]),
    ];
    let mut tensors = Vec::new();
    for (factor, values, shape) in factors {
        let name = format!("{module}.{factor}.weight");
        let (got, expected) = (values.len(), shape[0] * shape[1]);
        if got != expected {
            return Err(Error::Replaced {
                name,
                got,
                expected,
            });
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": adapter.rank,
        // The scale of the change is alpha / r.
        "lora_alpha": adapter.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        // GPT-2 has its matrices transposed.
        "fan_in_fan_out": adapter.family == Family::Gpt2,
        "target_modules": [matrix],
        "layers_to_transform": [adapter.layer],
        "layers_pattern": layers.rsplit('.').next(),
        "inference_mode": true,
    });
    whole_folder(folder, |whole| {
        write_json(&whole.join("adapter_config.json"), &config)?;
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes)?;
                Ok((name.clone(), view))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        views
            .map_err(std::io::Error::other)
            .and_then(|views| write_tensors(views, &whole.join("adapter_model.safetensors")))
            .map_err(io_error("write", folder))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of the factors, and the configuration.
    fn written(family: Family) -> (Vec<String>, serde_json::Value) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("lora");
        let adapter = Adapter {
            family,
            layer: 3,
            shape: [2, 3],
            rank: 1,
            down: &[1.0; 3],
            up: &[1.0; 2],
        };
        write_adapter(&adapter, "base", &out).unwrap();
        let bytes = std::fs::read(out.join("adapter_model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
        names.sort();
        let config = std::fs::read(out.join("adapter_config.json")).unwrap();
        (names, serde_json::from_slice(&config).unwrap())
    }

    #[test]
    fn each_family_has_its_own_name_for_the_matrix() {
        for (family, module, pattern, transposed) in [
            (
                Family::Llama,
                "model.layers.3.mlp.down_proj",
                "layers",
                false,
            ),
            (Family::Gpt2, "transformer.h.3.mlp.c_proj", "h", true),
            (Family::GptJ, "transformer.h.3.mlp.fc_out", "h", false),
        ] {
            let (names, config) = written(family);
            let factor = |f: &str| format!("base_model.model.{module}.{f}.weight");
            assert_eq!(names, [factor("lora_A"), factor("lora_B")]);
            assert_eq!(config["layers_pattern"], pattern);
            assert_eq!(config["fan_in_fan_out"], transposed);
            let target = config["target_modules"][0].as_str().unwrap();
            assert!(module.ends_with(&format!(".{target}")), "{target}");
        }
    }
}
