//! A model in one GGUF file, llama.cpp's format.
//!
//! The reader and the dequantisation are this crate's own. Of the crates that exist, `gguf` 0.1.2
//! parses the header only and copies the whole of it; `ggus` 0.5.1 panics on announced lengths that
//! do not fit, and the `ggml-quants` 0.1.0 under it leaves the `Q4_K`, `Q5_K` and `Q6_K` formats as
//! `todo!()`; `candle-core` 0.11.1 reads every format but allocates whatever the header announces
//! and brings a second tensor library into the build.

mod config;
mod dequant;
mod described;
mod encode;
mod export;
mod names;
mod reader;
mod rope;
#[cfg(test)]
mod testing;
mod tokenizer;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

pub use self::export::write_gguf;
use self::names::{hugging_face, rotary_heads, turns_neighbours};
use self::reader::{Header, MAGIC, TensorInfo, Value};
use super::map::{file_name, io_error, map, sha256};
use super::report::index_by_name;
use super::rotary::undo_interleaving;
use super::{ChatTemplateSource, ModelFiles, Report, TensorSource};
use crate::{Config, Error, Result};

/// What each rotary frequency is divided by.
const ROPE_FREQS: &str = "rope_freqs.weight";

/// Whether the file begins like a GGUF file.
pub(super) fn is_gguf(path: &Path) -> Result<bool> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let mut magic = Vec::new();
    file.take(4)
        .read_to_end(&mut magic)
        .map_err(io_error("read", path))?;
    Ok(magic == MAGIC)
}

/// Opens a GGUF file.
pub(super) fn open(name: &str, path: &Path, progress: Report<'_>) -> Result<ModelFiles> {
    let bytes = map(path)?;
    let header = Header::parse(&bytes).map_err(|detail| malformed(path, detail))?;
    let mut config = config::config(&header)?;
    if let Some(divisors) = header.tensors.iter().find(|info| info.name == ROPE_FREQS) {
        let divisors = divisors
            .format
            .dequantize(&bytes[divisors.start..][..divisors.len]);
        config.rope_scaling = rope::scaling(&config, &divisors)?;
    }
    let tokenizer = tokenizer::tokenizer(&header.metadata)?;
    let (chat_template, eos) = (chat_template(&header.metadata), eos(&header.metadata));
    let sha256 = sha256(&file_name(path), &bytes, progress);
    let tensors = Box::new(GgufTensors::new(path, bytes, header.tensors, &config)?);
    Ok(ModelFiles {
        name: name.to_owned(),
        config,
        tokenizer,
        chat_template,
        eos,
        tensors,
        sha256,
        converted: None,
    })
}

fn malformed(path: &Path, detail: String) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        format: "GGUF",
        detail,
    }
}

fn chat_template(metadata: &HashMap<String, Value>) -> Option<ChatTemplateSource> {
    let Some(Value::Text(template)) = metadata.get("tokenizer.chat_template") else {
        return None;
    };
    let token = |key: &str| {
        let Some(Value::Texts(tokens)) = metadata.get("tokenizer.ggml.tokens") else {
            return None;
        };
        tokens.get(token_id(metadata, key)? as usize).cloned()
    };
    Some(ChatTemplateSource {
        template: template.clone(),
        bos_token: token("bos_token_id"),
        eos_token: token("eos_token_id"),
    })
}

/// Where a file has the tokens that end a text.
const END_KEYS: [&str; 3] = ["eos_token_id", "eot_token_id", "eom_token_id"];

/// Tokens that end a turn or a text in whatever vocabulary has them. Files seldom name all that a model writes: a Gemma's has
/// no more than `<eos>`.
const ENDS: [&str; 5] = [
    "<|im_end|>",
    "<end_of_turn>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
];

fn eos(metadata: &HashMap<String, Value>) -> Vec<u32> {
    let named = END_KEYS.iter().filter_map(|key| token_id(metadata, key));
    let mut ids: Vec<u32> = Vec::new();
    for id in named.chain(tokenizer::special(metadata, &ENDS)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// The token id under `tokenizer.ggml.<key>`.
fn token_id(metadata: &HashMap<String, Value>, key: &str) -> Option<u32> {
    match metadata.get(&format!("tokenizer.ggml.{key}")) {
        Some(Value::Integer(id)) => u32::try_from(*id).ok(),
        _ => None,
    }
}

/// The tensors of a mapped file.
struct GgufTensors {
    path: PathBuf,
    bytes: Mmap,
    tensors: HashMap<String, TensorInfo>,
    /// Query heads, and key and value heads, if the converter interleaved their rotary rows.
    interleaved: Option<(usize, usize)>,
}

impl GgufTensors {
    fn new(path: &Path, bytes: Mmap, tensors: Vec<TensorInfo>, config: &Config) -> Result<Self> {
        let named = tensors
            .into_iter()
            .map(|info| (hugging_face(&info.name, config.family), info));
        let mut tensors = index_by_name(named).map_err(|detail| malformed(path, detail))?;
        tensors.remove(ROPE_FREQS);
        let interleaved =
            turns_neighbours(config.family).then_some((config.heads, config.kv_heads));
        Ok(Self {
            path: path.to_owned(),
            bytes,
            tensors,
            interleaved,
        })
    }
}

impl TensorSource for GgufTensors {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors.keys().cloned().collect();
        names.sort();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|info| info.shape.clone())
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let info = self
            .tensors
            .get(name)
            .ok_or_else(|| malformed(&self.path, format!("tensor {name} is missing")))?;
        let values = info
            .format
            .dequantize(&self.bytes[info.start..][..info.len]);
        let heads = self
            .interleaved
            .and_then(|(q, kv)| rotary_heads(name, q, kv));
        let Some(heads) = heads else {
            return Ok(values);
        };
        if info.shape[0] % (2 * heads) != 0 {
            let detail = format!(
                "tensor {name} has {} rows, expected a multiple of {}",
                info.shape[0],
                2 * heads
            );
            return Err(malformed(&self.path, detail));
        }
        let (rows, head_dim) = (info.shape[0], info.shape[0] / heads);
        Ok(undo_interleaving(&values, heads, rows, head_dim))
    }
}

#[cfg(test)]
mod tests;
