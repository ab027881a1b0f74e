//! A model as a folder in the Hugging Face layout, whatever file it came from.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use serde_json::{Value as Json, json};

use super::config::layer_types;
use super::copy::copy_folder;
use super::held::is_from_one;
use crate::atomic::{folder_of, write_safetensors};
use crate::source::map::io_error;
use crate::source::report::unsupported;
use crate::source::{LoadReport, ModelFiles, Progress, TensorSource, expected_tensors};
use crate::{Config, Error, Family, Result, RopeScaling};

/// A weight that is written with other values than the model's own.
#[derive(Debug, Clone, Copy)]
pub struct Replaced<'a> {
    /// Its Hugging Face name.
    pub name: &'a str,
    /// Its values, row by row.
    pub values: &'a [f32],
}

/// Writes a model as a folder that transformers, vLLM and this crate open: configuration, tokenizer and weights in f32,
/// of which one may be `replaced`. Nothing is under `folder` until all of it is there; the folder must not exist. GPT-2
/// and GPT-J, which open from such folders only, are copied: what is not replaced keeps its format.
///
/// # Errors
/// [`Error::Io`], if a weight cannot be read, or [`Error::Replaced`] if the replaced one is none of the model's or has
/// another size.
pub fn write_folder(
    files: &mut ModelFiles,
    replaced: Option<Replaced<'_>>,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let expected = checked_tensors(files, replaced)?;
    if files.config.family.is_gpt() {
        let source = files.tensors.folder().ok_or_else(|| {
            let got = format!("{:?} from elsewhere", files.config.family);
            unsupported("family", got, "GPT-2 and GPT-J from a folder")
        })?;
        return copy_folder(source, &files.config, replaced, folder);
    }
    whole_folder(folder, |whole| {
        for (name, json) in [
            ("config.json", configuration(&files.config, &files.eos)),
            ("generation_config.json", json!({"eos_token_id": files.eos})),
            ("tokenizer_config.json", tokenizer_settings(files)),
        ] {
            write_json(&whole.join(name), &json)?;
        }
        let tokenizer = whole.join("tokenizer.json");
        let failed = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
        files.tokenizer.save(tokenizer, true).map_err(failed)?;

        let weights = whole.join("model.safetensors");
        let writer = Writer {
            source: RefCell::new(files.tensors.as_mut()),
            replaced,
            progress: RefCell::new(progress),
            done: Cell::new(0),
            total: expected.len(),
            family: files.config.family,
            failed: RefCell::new(None),
        };
        let written = writer.write(expected, &weights);
        match writer.failed.take() {
            Some(error) => Err(error),
            None => written.map_err(io_error("write", folder)),
        }
    })
}

/// Name and shape of everything that is written of a model, once its weights fit, and the replaced one too.
pub(in crate::source) fn checked_tensors(
    files: &ModelFiles,
    replaced: Option<Replaced<'_>>,
) -> Result<Vec<(String, Vec<usize>)>> {
    LoadReport::check(&files.config, files.tensors.as_ref())?;
    let expected = expected_tensors(&files.config);
    if let Some(replaced) = replaced {
        let own = expected.iter().find(|(name, _)| name == replaced.name);
        replaced.check(own.map(|(_, shape)| shape.as_slice()))?;
    }
    Ok(expected)
}

impl Replaced<'_> {
    /// Where so many values are expected; 0 if it cannot be written with the values of one weight.
    pub(super) fn refused(&self, expected: usize) -> Error {
        Error::Replaced {
            name: self.name.to_owned(),
            got: self.values.len(),
            expected,
        }
    }

    /// Whether a weight of this shape may have these values.
    pub(in crate::source) fn check(&self, shape: Option<&[usize]>) -> Result<()> {
        let expected = shape.map_or(0, |shape| shape.iter().product());
        if self.values.len() != expected || expected == 0 {
            return Err(self.refused(expected));
        }
        Ok(())
    }
}

/// Fills a folder that appears whole or not at all.
pub(super) fn whole_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let io = |source| Error::Io {
        action: "write",
        path: folder.to_owned(),
        source,
    };
    if folder.exists() {
        return Err(io(std::io::ErrorKind::AlreadyExists.into()));
    }
    let beside = tempfile::TempDir::new_in(folder_of(folder)).map_err(io)?;
    // Unlike the temporary folder around it, one that others may read.
    let whole = beside.path().join("whole");
    std::fs::create_dir(&whole).map_err(io)?;
    fill(&whole)?;
    std::fs::rename(&whole, folder).map_err(io)
}

/// Writes JSON as people read it.
pub(super) fn write_json(path: &Path, json: &Json) -> Result<()> {
    std::fs::write(path, format!("{json:#}\n")).map_err(io_error("write", path))
}

/// Writes a file of tensors as transformers marks its own, and returns once it is on disk.
pub(super) fn write_tensors<V: View>(
    tensors: impl IntoIterator<Item = (String, V)>,
    path: &Path,
) -> std::io::Result<()> {
    write_safetensors(tensors, ("format", "pt"), path)
}

/// Weights on their way into a file, one in memory at a time.
struct Writer<'a> {
    source: RefCell<&'a mut dyn TensorSource>,
    replaced: Option<Replaced<'a>>,
    progress: RefCell<&'a mut dyn FnMut(Progress<'_>)>,
    done: Cell<usize>,
    total: usize,
    family: Family,
    /// Why a weight could not be read: [`View::data`] cannot fail.
    failed: RefCell<Option<Error>>,
}

impl Writer<'_> {
    fn write(&self, tensors: Vec<(String, Vec<usize>)>, path: &Path) -> std::io::Result<()> {
        let views = tensors.into_iter().map(|(name, shape)| {
            let view = Weight {
                writer: self,
                name: name.clone(),
                shape,
            };
            (name, view)
        });
        write_tensors(views, path)
    }

    fn values(&self, name: &str) -> Result<Vec<f32>> {
        (self.progress.borrow_mut())(Progress::Loading {
            tensor: name,
            done: self.done.get(),
            total: self.total,
        });
        self.done.set(self.total.min(self.done.get() + 1));
        if let Some(replaced) = self.replaced.filter(|replaced| replaced.name == name) {
            return Ok(replaced.values.to_vec());
        }
        let mut values = self.source.borrow_mut().read(name)?;
        if is_from_one(name, self.family) {
            for value in &mut values {
                *value -= 1.0;
            }
        }
        Ok(values)
    }
}

struct Weight<'a, 'b> {
    writer: &'a Writer<'b>,
    name: String,
    shape: Vec<usize>,
}

impl View for Weight<'_, '_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.writer.values(&self.name) {
            Ok(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Err(error) => {
                self.writer.failed.borrow_mut().get_or_insert(error);
                Cow::default()
            }
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}

fn configuration(config: &Config, eos: &[u32]) -> Json {
    let (architecture, model_type) = match config.family {
        Family::Llama => ("LlamaForCausalLM", "llama"),
        Family::Mistral => ("MistralForCausalLM", "mistral"),
        Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
        Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        Family::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
        Family::Gpt2 => ("GPT2LMHeadModel", "gpt2"),
        Family::GptJ => ("GPTJForCausalLM", "gptj"),
    };
    let mut json = json!({
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.ffn_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling.map(rope_scaling),
        "max_position_embeddings": config.context,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": "float32",
        "eos_token_id": eos,
    });
    match config.family {
        Family::Llama => json["attention_bias"] = config.qkv_bias.into(),
        Family::Mistral => json["sliding_window"] = json!(config.sliding_window),
        Family::Qwen2 | Family::Qwen3 | Family::Gpt2 | Family::GptJ => {}
        Family::Gemma3 => {
            json["hidden_act"] = "gelu_pytorch_tanh".into();
            json["hidden_activation"] = "gelu_pytorch_tanh".into();
            json["sliding_window"] = json!(config.sliding_window);
            // A whole number, or transformers refuses it.
            let query_width = config.attention_scale.powi(-2).round();
            json["query_pre_attn_scalar"] = (query_width as u64).into();
            json["layer_types"] = layer_types(config).into();
            if let Some(local) = config.local {
                json["rope_local_base_freq"] = local.rope_theta.into();
            }
        }
    }
    json
}

fn rope_scaling(scaling: RopeScaling) -> Json {
    match scaling {
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
    }
}

fn tokenizer_settings(files: &ModelFiles) -> Json {
    let mut json = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": files.config.context,
    });
    let text = |id: &u32| files.tokenizer.id_to_token(*id);
    if let Some(eos) = files.eos.first().and_then(text) {
        json["eos_token"] = eos.into();
    }
    if let Some(chat) = &files.chat_template {
        json["chat_template"] = chat.template.clone().into();
        if let Some(bos) = &chat.bos_token {
            json["bos_token"] = bos.clone().into();
        }
        if let Some(eos) = &chat.eos_token {
            json["eos_token"] = eos.clone().into();
        }
    }
    json
}
