//! From a *name* to *files* to *tensors, configuration, tokenizer and chat template*.
//!
//! [`open`] decides what a name means: a named model ([`fetch`]), a repository of the Hugging Face
//! Hub ([`hub`]), a folder in the Hugging Face layout ([`huggingface`]) or a GGUF file ([`gguf`]).
//! Every one of them ends in the same [`ModelFiles`], whose tensors bear Hugging Face names and are
//! read one at a time, so that a model never has to be in memory twice.

mod chat;
mod fetch;
mod gguf;
mod hub;
mod huggingface;
pub(crate) mod map;
mod report;
mod rotary;
#[cfg(test)]
pub(crate) mod testing;

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;
use wise_tensor::Precision;

pub use chat::{ChatTemplate, Message};
pub use fetch::{cache_dir, is_cached};
pub use gguf::write_gguf;
pub use huggingface::{Adapter, Replaced, write_adapter, write_folder};
pub(crate) use map::hex;
pub use report::{LoadReport, Misshaped, expected_tensors};

use crate::{Config, Error, Result};

/// Names of the architectures this crate runs, for error messages.
const ARCHITECTURES: &str = "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, \
    Gemma3ForCausalLM, GPT2LMHeadModel, GPTJForCausalLM (GGUF: llama, qwen2, qwen3, gemma3)";

/// Where the tensors of a model come from: one at a time, as f32 rows, under the names that Hugging Face gives to those of
/// a Llama, whatever the family.
pub trait TensorSource: Send {
    /// Every tensor of the source, by names such as `model.layers.3.mlp.down_proj.weight`.
    fn names(&self) -> Vec<String>;

    /// The shape of a tensor as Hugging Face stores it, `[out, in]` for a projection.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// A tensor's values, row-major, with rotary rows in Hugging Face order.
    ///
    /// # Errors
    ///
    /// Fails if the source has no such tensor or cannot decode its number format.
    fn read(&mut self, name: &str) -> Result<Vec<f32>>;

    /// The folder that the tensors are in, if they are in one.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// The bytes of a matrix, little-endian, and their number format; `None` where they have to be decoded or put in
    /// another order first.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read.
    fn stored(&mut self, _name: &str) -> Result<Option<(Precision, bytes::Bytes)>> {
        Ok(None)
    }
}

/// The text of a chat template with the tokens that it may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplateSource {
    /// The Jinja template.
    pub template: String,
    /// Text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// Text of the token that ends a sequence.
    pub eos_token: Option<String>,
}

/// Everything about a model that its files say; the weights themselves are read on demand.
pub struct ModelFiles {
    /// The name as the user gave it.
    pub name: String,
    /// Sizes and settings of the decoder.
    pub config: Config,
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// How messages become a prompt, if the model says.
    pub chat_template: Option<ChatTemplateSource>,
    /// Token ids that end a generated text.
    pub eos: Vec<u32>,
    /// The weights.
    pub tensors: Box<dyn TensorSource>,
    /// SHA-256 of the weight file; of several shards, of their SHA-256 texts in order of name.
    pub sha256: String,
    /// Where the weights are kept as the decoder holds them, so that they are converted only once; `None` to convert
    /// them every time, in memory.
    pub converted: Option<PathBuf>,
}

/// What is being waited for while a model is opened or loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A download is under way.
    Fetching {
        /// Package or file.
        what: &'a str,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// A weight file's checksum is being computed.
    Hashing {
        /// Name of the file.
        what: &'a str,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Tensors are on their way to the device.
    Loading {
        /// Hugging Face name of the tensor.
        tensor: &'a str,
        /// Tensors done.
        done: usize,
        /// Tensors in all.
        total: usize,
    },
}

/// How this module's functions say how far they are.
type Report<'a> = &'a mut dyn FnMut(Progress<'_>);

/// Opens the model that `name` stands for: `smollm2`, `gemma3-270m`, `hf:owner/name[@revision]`, a
/// folder in the Hugging Face layout or a GGUF file. Named models and Hub models are downloaded to
/// [`cache_dir`] the first time. A folder that happens to bear a named model's name is `./smollm2`.
///
/// # Errors
///
/// Fails if the name stands for nothing, if the model cannot be fetched, if one of its files is
/// missing or malformed, or if its architecture or settings are not ones that this crate runs.
pub fn open(name: &str, progress: Report<'_>) -> Result<ModelFiles> {
    let path = locate(name, progress)?;
    let files = if path.is_dir() {
        huggingface::open(name, &path, progress)?
    } else if gguf::is_gguf(&path)? {
        gguf::open(name, &path, progress)?
    } else {
        return Err(Error::UnknownModel {
            got: name.to_owned(),
        });
    };
    let converted = format!("{}.safetensors", files.sha256);
    Ok(ModelFiles {
        converted: Some(cache_dir().join("converted").join(converted)),
        ..files
    })
}

/// The file or folder that `name` stands for, downloaded if need be.
fn locate(name: &str, progress: Report<'_>) -> Result<PathBuf> {
    if let Some(repository) = name.strip_prefix("hf:") {
        return hub::fetch(name, repository, progress);
    }
    if let Some(model) = fetch::named(name) {
        return fetch::fetch(model, progress);
    }
    let path = Path::new(name);
    if path.exists() {
        Ok(path.to_owned())
    } else {
        Err(Error::UnknownModel {
            got: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> Error {
        open(name, &mut |_| {}).err().expect("an error")
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_unknown() {
        assert!(
            matches!(error("no-such-model"), Error::UnknownModel { got } if got == "no-such-model")
        );
    }

    #[test]
    fn a_file_is_a_gguf_by_its_magic_bytes_not_by_its_extension() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, b"PK\x03\x04 not a GGUF").unwrap();
        assert!(matches!(
            error(path.to_str().unwrap()),
            Error::UnknownModel { .. }
        ));
        std::fs::write(&path, b"GG").unwrap();
        assert!(matches!(
            error(path.to_str().unwrap()),
            Error::UnknownModel { .. }
        ));
        let path = dir.path().join("weights.bin");
        std::fs::write(&path, b"GGUF").unwrap();
        assert!(matches!(
            error(path.to_str().unwrap()),
            Error::Malformed { format: "GGUF", .. }
        ));
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_hub_feature_a_hub_name_says_so() {
        assert!(matches!(error("hf:owner/name"), Error::HubNotCompiledIn(_)));
    }
}
