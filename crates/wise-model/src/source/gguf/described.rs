//! A model's settings and tokenizer as the metadata of a GGUF file.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use super::encode::encoded;
use super::reader::{self, DEFAULT_ALIGNMENT, Header, TensorInfo, Value};
use super::tokenizer;
use super::{END_KEYS, chat_template, config, eos, rope};
use crate::source::report::unsupported;
use crate::source::{ChatTemplateSource, ModelFiles};
use crate::{Config, Error, Family, Result, RopeScaling};

/// The metadata of a file of these tensors, as bytes, and the header that they are read as, which has to be the model's.
///
/// # Errors
/// [`Error::UnsupportedConfig`] if the model has a setting that a GGUF file cannot have, [`Error::Tokenizer`] if it has
/// such a tokenizer.
pub(super) fn described(files: &ModelFiles, tensors: Vec<TensorInfo>) -> Result<(Vec<u8>, Header)> {
    let config = &files.config;
    let mut metadata: HashMap<String, Value> = settings(config, &files.name)?.into_iter().collect();
    metadata.extend(tokenizer::described(&files.tokenizer, config.vocab_size)?);
    for (key, id) in END_KEYS.iter().zip(&files.eos) {
        let id = Value::Integer(i128::from(*id));
        metadata.insert(format!("tokenizer.ggml.{key}"), id);
    }
    if let Some(chat) = &files.chat_template {
        let template = Value::Text(chat.template.clone());
        metadata.insert("tokenizer.chat_template".to_owned(), template);
        let bos = chat.bos_token.as_ref();
        if let Some(bos) = bos.and_then(|bos| files.tokenizer.token_to_id(bos)) {
            let key = "tokenizer.ggml.bos_token_id".to_owned();
            let id = Value::Integer(i128::from(bos));
            metadata.entry(key).or_insert(id);
        }
    }
    let bytes = encoded(&metadata);
    let unread = |detail| Error::Tokenizer(format!("its description cannot be read: {detail}"));
    let header = Header {
        metadata: reader::metadata(&bytes).map_err(unread)?,
        tensors,
        tensors_at: 0,
        alignment: DEFAULT_ALIGNMENT as usize,
    };
    check_config(config, &header)?;
    tokenizer::check_same(&files.tokenizer, &header.metadata)?;
    check_chat(files, &header.metadata)?;
    Ok((bytes, header))
}

fn settings(config: &Config, name: &str) -> Result<Vec<(String, Value)>> {
    let architecture = match config.family {
        Family::Llama | Family::Mistral => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
        Family::Gemma3 => "gemma3",
        Family::Gpt2 | Family::GptJ => {
            let got = format!("{:?}", config.family);
            return Err(unsupported(
                "family",
                got,
                "one that GGUF files are read of",
            ));
        }
    };
    // Not the whole path: the file may be given away.
    let last = Path::new(name).file_name().unwrap_or_default();
    let last = last.to_string_lossy();
    let mut settings = vec![
        (
            "general.architecture".to_owned(),
            Value::Text(architecture.to_owned()),
        ),
        ("general.name".to_owned(), Value::Text(last.into_owned())),
    ];
    let mut set = |key: &str, value: Value| settings.push((format!("{architecture}.{key}"), value));
    for (key, size) in [
        ("vocab_size", config.vocab_size),
        ("context_length", config.context),
        ("embedding_length", config.hidden_size),
        ("block_count", config.layers),
        ("feed_forward_length", config.ffn_size),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.rotary_dim),
    ] {
        set(key, Value::Integer(size as i128));
    }
    set(
        "attention.layer_norm_rms_epsilon",
        Value::Float(config.norm_eps),
    );
    set("rope.freq_base", Value::Float(config.rope_theta));
    if let Some(RopeScaling::Linear { factor }) = config.rope_scaling {
        set("rope.scaling.type", Value::Text("linear".to_owned()));
        set("rope.scaling.factor", Value::Float(factor));
    }
    if let Some(window) = config.sliding_window {
        set("attention.sliding_window", Value::Integer(window as i128));
    }
    if let Some(local) = config.local {
        let every = Value::Integer(local.global_every as i128);
        set("attention.sliding_window_pattern", every);
        set("rope.freq_base_swa", Value::Float(local.rope_theta));
    }
    Ok(settings)
}

/// Whether the header says the same settings.
fn check_config(config: &Config, header: &Header) -> Result<()> {
    let expected = Config {
        family: match config.family {
            // The same decoder; llama.cpp has one name for both.
            Family::Mistral => Family::Llama,
            family => family,
        },
        ..config.clone()
    };
    let mut read = config::config(header)?;
    let divisors = rope::divisors(&expected);
    if !divisors.is_empty() {
        read.rope_scaling = rope::scaling(&read, &divisors)?;
    }
    if read == expected {
        return Ok(());
    }
    let fields = |config: &Config| match serde_json::to_value(config) {
        Ok(Json::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (read, own) = (fields(&read), fields(&expected));
    let differs = read
        .iter()
        .find(|(key, value)| own.get(*key) != Some(value));
    let (key, value) = differs.map_or(("config", &Json::Null), |(key, value)| (key, value));
    let own = own.get(key).unwrap_or(&Json::Null);
    let expected = format!("{value}, as a GGUF file has to have it");
    Err(unsupported(key, own, expected))
}

/// Whether the metadata say the same tokens at the end of a text, and the same chat template.
fn check_chat(files: &ModelFiles, metadata: &HashMap<String, Value>) -> Result<()> {
    let (read, own) = (eos(metadata), &files.eos);
    if read != *own || own.is_empty() {
        let most = END_KEYS.len();
        return Err(Error::Tokenizer(format!(
            "the tokens {own:?} end a text, expected 1 to {most}, which is what a GGUF file can say"
        )));
    }
    let Some(own) = &files.chat_template else {
        return Ok(());
    };
    let read = chat_template(metadata);
    let tokens = |chat: &ChatTemplateSource| {
        let used = |name: &str, token: &Option<String>| {
            token.clone().filter(|_| own.template.contains(name))
        };
        let bos = used("bos_token", &chat.bos_token);
        [bos, used("eos_token", &chat.eos_token)]
    };
    let (got, expected) = (read.as_ref().map(tokens), tokens(own));
    if got.as_ref() != Some(&expected) {
        return Err(Error::ChatTemplate(format!(
            "in a GGUF file its bos_token and eos_token would be {got:?}, expected {expected:?}"
        )));
    }
    Ok(())
}
