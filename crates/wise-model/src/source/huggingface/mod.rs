//! A model in a folder, as Hugging Face's transformers writes it.

mod adapter;
mod config;
mod copy;
mod export;
mod held;
mod tensors;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

pub use self::adapter::{Adapter, write_adapter};
pub(super) use self::export::checked_tensors;
pub use self::export::{Replaced, write_folder};
use self::tensors::FolderTensors;
use super::map::io_error;
use super::{ChatTemplateSource, ModelFiles, Report};
use crate::{Error, Result};

/// Opens a folder with `config.json`, `tokenizer.json` and `*.safetensors`.
pub(super) fn open(name: &str, folder: &Path, progress: Report<'_>) -> Result<ModelFiles> {
    opened(name, folder, |tensors| tensors.sha256(progress))
}

/// The same without a checksum, for which all of the weights would have to be read.
pub(super) fn open_unhashed(name: &str, folder: &Path) -> Result<ModelFiles> {
    opened(name, folder, |_| Ok(String::new()))
}

fn opened(
    name: &str,
    folder: &Path,
    sha256: impl FnOnce(&FolderTensors) -> Result<String>,
) -> Result<ModelFiles> {
    let (config, config_eos) = config::read(&folder.join("config.json"))?;
    let tokenizer = tokenizer(&folder.join("tokenizer.json"))?;
    let chat_template = chat_template(folder)?;
    let eos = generation_eos(folder)?.unwrap_or(config_eos);
    let tensors = FolderTensors::open(folder, &config)?;
    Ok(ModelFiles {
        sha256: sha256(&tensors)?,
        name: name.to_owned(),
        config,
        tokenizer,
        chat_template,
        eos,
        tensors: Box::new(tensors),
        converted: None,
    })
}

/// Reads a file that has to be there.
fn required(path: &Path, expected: &'static str) -> Result<String> {
    if !path.exists() {
        return Err(Error::MissingFile {
            path: path.to_owned(),
            expected,
        });
    }
    fs::read_to_string(path).map_err(io_error("read", path))
}

/// Reads a file that may be absent.
fn optional(path: &Path) -> Result<Option<String>> {
    if path.exists() {
        fs::read_to_string(path)
            .map(Some)
            .map_err(io_error("read", path))
    } else {
        Ok(None)
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::Malformed {
        path: path.to_owned(),
        format: "JSON",
        detail: e.to_string(),
    })
}

fn tokenizer(path: &Path) -> Result<Tokenizer> {
    let text = required(path, "the tokenizer")?;
    let failed = |e: tokenizers::Error| Error::Tokenizer(format!("{}: {e}", path.display()));
    let mut tokenizer = Tokenizer::from_bytes(text).map_err(failed)?;
    // Settings left over from training: they would cut or fill prompts silently.
    tokenizer.with_truncation(None).map_err(failed)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// One token id or several, as `eos_token_id` has them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Several(Vec<u32>),
}

impl From<TokenIds> for Vec<u32> {
    fn from(ids: TokenIds) -> Self {
        match ids {
            TokenIds::One(id) => vec![id],
            TokenIds::Several(ids) => ids,
        }
    }
}

fn generation_eos(folder: &Path) -> Result<Option<Vec<u32>>> {
    #[derive(Deserialize)]
    struct GenerationConfig {
        eos_token_id: Option<TokenIds>,
    }
    let path = folder.join("generation_config.json");
    let Some(text) = optional(&path)? else {
        return Ok(None);
    };
    let config: GenerationConfig = parse(&path, &text)?;
    let ids = config.eos_token_id.map(Vec::from);
    Ok(ids.filter(|ids: &Vec<u32>| !ids.is_empty()))
}

/// `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`.
fn chat_template(folder: &Path) -> Result<Option<ChatTemplateSource>> {
    let path = folder.join("tokenizer_config.json");
    let settings: Json = match optional(&path)? {
        Some(text) => parse(&path, &text)?,
        None => Json::Null,
    };
    let template = optional(&folder.join("chat_template.jinja"))?
        .or_else(|| default_template(&settings["chat_template"]));
    Ok(template.map(|template| ChatTemplateSource {
        template,
        bos_token: token(&settings["bos_token"]),
        eos_token: token(&settings["eos_token"]),
    }))
}

/// A template alone, or the one called `default` in a list.
fn default_template(templates: &Json) -> Option<String> {
    let template = match templates {
        Json::Array(named) => &named.iter().find(|t| t["name"] == "default")?["template"],
        other => other,
    };
    template.as_str().map(str::to_owned)
}

/// A token as its text or as an object that holds it.
fn token(token: &Json) -> Option<String> {
    token
        .as_str()
        .or_else(|| token["content"].as_str())
        .map(str::to_owned)
}
