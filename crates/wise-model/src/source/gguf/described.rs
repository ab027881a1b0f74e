//! A model's settings and tokenizer as the metadata of a GGUF file.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::reader::{DEFAULT_ALIGNMENT, Header, TensorInfo, Value};
use super::tokenizer;
use super::{chat_template, config, eos, rope};
use crate::source::ModelFiles;
use crate::source::report::unsupported;
use crate::{Config, Error, Family, Result, RopeScaling};

/// The header of a file of these tensors. What it says is read again and has to be the model.
///
/// # Errors
/// [`Error::UnsupportedConfig`] if the model has a setting that a GGUF file cannot have, [`Error::Tokenizer`] if it has
/// such a tokenizer.
pub(super) fn described(files: &ModelFiles, tensors: Vec<TensorInfo>) -> Result<Header> {
    let config = &files.config;
    let mut metadata: HashMap<String, Value> = settings(config, &files.name)?.into_iter().collect();
    metadata.extend(tokenizer::described(&files.tokenizer, config.vocab_size)?);
    for (key, id) in ["eos_token_id", "eot_token_id"].iter().zip(&files.eos) {
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
    let header = Header {
        metadata,
        tensors,
        tensors_at: 0,
        alignment: DEFAULT_ALIGNMENT as usize,
    };
    check(files, &header)?;
    Ok(header)
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
    let mut settings = vec![
        (
            "general.architecture".to_owned(),
            Value::Text(architecture.to_owned()),
        ),
        ("general.name".to_owned(), Value::Text(name.to_owned())),
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

/// Whether the header reads as the model that it is made of.
fn check(files: &ModelFiles, header: &Header) -> Result<()> {
    let expected = Config {
        family: match files.config.family {
            // The same decoder; llama.cpp has one name for both.
            Family::Mistral => Family::Llama,
            family => family,
        },
        ..files.config.clone()
    };
    let mut read = config::config(header)?;
    let divisors = rope::divisors(&expected);
    if !divisors.is_empty() {
        read.rope_scaling = rope::scaling(&read, &divisors)?;
    }
    if read != expected {
        let [got, expected] = [read, expected].map(serde_json::to_value);
        let (Ok(Json::Object(got)), Ok(Json::Object(expected))) = (got, expected) else {
            return Err(unsupported("config", "another", "the model's"));
        };
        let differs = got
            .iter()
            .find(|(key, value)| expected.get(*key) != Some(value));
        let (key, value) = differs.map_or(("config", &Json::Null), |(k, v)| (k.as_str(), v));
        let own = expected.get(key).unwrap_or(&Json::Null);
        return Err(unsupported(
            key,
            own,
            format!("{value}, as a GGUF file has to have it"),
        ));
    }
    let read = tokenizer::tokenizer(&header.metadata)?;
    tokenizer::check_same(&files.tokenizer, &read)?;
    let template = chat_template(&header.metadata).map(|chat| chat.template);
    let own = files.chat_template.as_ref().map(|chat| &chat.template);
    if eos(&header.metadata) != files.eos || template.as_ref() != own {
        let detail =
            "the tokens that end a text, or the chat template, cannot be written as they are";
        return Err(Error::Tokenizer(detail.to_owned()));
    }
    Ok(())
}
