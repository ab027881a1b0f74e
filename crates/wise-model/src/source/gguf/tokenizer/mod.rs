//! The tokenizer that a GGUF file carries in its metadata.
//!
//! Two models are known: `gpt2`, byte-level BPE with its merges written out, and `llama`,
//! `SentencePiece` BPE, whose merges follow from the scores of its pieces. How text is cut before
//! merging is not in the file, only a name for it (`tokenizer.ggml.pre`).

mod described;

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use tokenizers::models::bpe::{BPE, BpeBuilder, Merges};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer,
};

pub(super) use self::described::{check_same, described};
use super::reader::Value;
use super::token_id;
use crate::{Error, Result};

const SUPPORTED_PRE: &str = "smollm, gpt-2, default, llama-bpe, qwen2";

/// What `tokenizer.ggml.token_type` says of a token.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

/// Pieces longer than this are not real, and splitting them everywhere would take long.
const LONGEST_PIECE: usize = 1024;

const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The ids of those of these tokens that are no ordinary text.
pub(super) fn special(metadata: &HashMap<String, Value>, texts: &[&str]) -> Vec<u32> {
    let (Some(Value::Texts(tokens)), Some(Value::Integers(types))) = (
        metadata.get("tokenizer.ggml.tokens"),
        metadata.get("tokenizer.ggml.token_type"),
    ) else {
        return Vec::new();
    };
    let typed = (0..).zip(tokens.iter().zip(types));
    let special = typed.filter(|(_, (token, kind))| {
        [CONTROL, USER_DEFINED].contains(*kind) && texts.contains(&token.as_str())
    });
    special.map(|(id, _)| id).collect()
}

/// Builds the tokenizer.
pub(super) fn tokenizer(metadata: &HashMap<String, Value>) -> Result<Tokenizer> {
    let vocabulary = Vocabulary::read(metadata)?;
    let mut tokenizer = match text(metadata, "model")? {
        "gpt2" => byte_level(&vocabulary)?,
        "llama" => sentence_piece(&vocabulary)?,
        other => {
            return Err(error(format!(
                "tokenizer.ggml.model is {other:?}, expected gpt2 or llama"
            )));
        }
    };
    add_tokens(&mut tokenizer, &vocabulary)?;
    add_boundaries(&mut tokenizer, &vocabulary)?;
    Ok(tokenizer)
}

fn error(detail: impl Into<String>) -> Error {
    Error::Tokenizer(detail.into())
}

/// A part of the `tokenizers` pipeline from the JSON of its `tokenizer.json` format.
fn part<T: DeserializeOwned>(description: Json) -> Result<T> {
    serde_json::from_value(description).map_err(|e| error(e.to_string()))
}

fn text<'a>(metadata: &'a HashMap<String, Value>, key: &str) -> Result<&'a str> {
    match metadata.get(&format!("tokenizer.ggml.{key}")) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(error(format!(
            "the GGUF file has no tokenizer.ggml.{key}, expected a text"
        ))),
    }
}

/// The tokens with what is known of each.
struct Vocabulary<'a> {
    metadata: &'a HashMap<String, Value>,
    tokens: &'a [String],
    /// Empty if the file does not say: then every token is a normal one.
    types: &'a [i64],
    ids: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a HashMap<String, Value>) -> Result<Self> {
        let Some(Value::Texts(tokens)) = metadata.get("tokenizer.ggml.tokens") else {
            return Err(error(
                "the GGUF file has no tokenizer.ggml.tokens, expected a list of texts",
            ));
        };
        let types: &[i64] = match metadata.get("tokenizer.ggml.token_type") {
            Some(Value::Integers(types)) if types.len() == tokens.len() => types,
            Some(Value::Integers(types)) => {
                let (got, expected) = (types.len(), tokens.len());
                return Err(error(format!(
                    "tokenizer.ggml.token_type has {got} entries, expected {expected}"
                )));
            }
            _ => &[],
        };
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if let Some(first) = ids.insert(token.as_str(), id as u32) {
                return Err(error(format!(
                    "{token:?} is both token {first} and token {id}"
                )));
            }
        }
        Ok(Self {
            metadata,
            tokens,
            types,
            ids,
        })
    }

    fn of_type(&self, kind: i64) -> impl Iterator<Item = &'a String> {
        let typed = self.tokens.iter().zip(self.types);
        typed
            .filter(move |(_, t)| **t == kind)
            .map(|(token, _)| token)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(&format!("tokenizer.ggml.{key}")) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    fn bpe(&self, merges: Merges) -> BpeBuilder {
        let pairs = self
            .ids
            .iter()
            .map(|(token, id)| ((*token).to_owned(), *id));
        BPE::builder().vocab_and_merges(pairs.collect::<tokenizers::models::bpe::Vocab>(), merges)
    }
}

fn byte_level(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer> {
    let pre = text(vocabulary.metadata, "pre")?;
    let (cut, words) = match pre {
        "smollm" => (
            Some(json!({"type": "Digits", "individual_digits": true})),
            true,
        ),
        "gpt-2" | "default" => (None, true),
        "llama-bpe" => (Some(split(LLAMA3_WORDS)), false),
        "qwen2" => (Some(split(QWEN2_WORDS)), false),
        other => {
            return Err(error(format!(
                "tokenizer.ggml.pre is {other:?}, expected one of {SUPPORTED_PRE}"
            )));
        }
    };
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words
    });
    let parts: Vec<Json> = cut.into_iter().chain([byte_level.clone()]).collect();
    let model = vocabulary
        .bpe(merges(vocabulary)?)
        // Llama 3 takes a word that is a token whole, whether or not merges lead to it.
        .ignore_merges(pre == "llama-bpe")
        .build()
        .map_err(|e| error(e.to_string()))?;
    let mut tokenizer = Tokenizer::new(model);
    if pre == "qwen2" {
        let nfc: NormalizerWrapper = part(json!({"type": "NFC"}))?;
        tokenizer
            .with_normalizer(Some(nfc))
            .map_err(|e| error(e.to_string()))?;
    }
    let cut: PreTokenizerWrapper = part(json!({"type": "Sequence", "pretokenizers": parts}))?;
    tokenizer.with_pre_tokenizer(Some(cut));
    tokenizer.with_decoder(Some(part::<DecoderWrapper>(byte_level)?));
    Ok(tokenizer)
}

fn split(words: &str) -> Json {
    json!({"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false})
}

/// The merges that a byte-level vocabulary lists, each checked: the `tokenizers` crate trusts that
/// the pieces and their union are tokens.
fn merges(vocabulary: &Vocabulary<'_>) -> Result<Merges> {
    let Some(Value::Texts(lines)) = vocabulary.metadata.get("tokenizer.ggml.merges") else {
        return Err(error(
            "the GGUF file has no tokenizer.ggml.merges, expected a list of texts",
        ));
    };
    let known = |piece: &str| vocabulary.ids.contains_key(piece);
    let pair = |(line, text): (usize, &String)| {
        let pair = text
            .split_once(' ')
            .filter(|(a, b)| known(a) && known(b) && known(&format!("{a}{b}")));
        let (a, b) = pair.ok_or_else(|| {
            error(format!(
                "merge {line} is {text:?}, expected two tokens whose union is a token"
            ))
        })?;
        Ok((a.to_owned(), b.to_owned()))
    };
    lines.iter().enumerate().map(pair).collect()
}

fn sentence_piece(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer> {
    let unknown = vocabulary.of_type(UNKNOWN).next();
    let mut model = vocabulary
        .bpe(merges_of_scores(vocabulary)?)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(unknown.clone());
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(|e| error(e.to_string()))?);
    let prefix = vocabulary.flag("add_space_prefix").unwrap_or(true);
    let mut normalizers = Vec::new();
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
    let normalizer: NormalizerWrapper =
        part(json!({"type": "Sequence", "normalizers": normalizers}))?;
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(|e| error(e.to_string()))?;
    let decoder: DecoderWrapper = part(json!({"type": "Sequence", "decoders": decoders}))?;
    tokenizer.with_decoder(Some(decoder));
    Ok(tokenizer)
}

/// `SentencePiece` joins the two neighbours whose union has the best score: as merges, every way to
/// cut a piece into two pieces, the best-scored piece first.
fn merges_of_scores(vocabulary: &Vocabulary<'_>) -> Result<Merges> {
    let scores = match vocabulary.metadata.get("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) if scores.len() == vocabulary.tokens.len() => scores,
        _ => {
            let expected = vocabulary.tokens.len();
            return Err(error(format!(
                "the GGUF file has no tokenizer.ggml.scores of {expected} entries"
            )));
        }
    };
    let is_piece = |id: usize| vocabulary.types.get(id).is_none_or(|kind| *kind == NORMAL);
    let known = |piece: &str| {
        vocabulary
            .ids
            .get(piece)
            .is_some_and(|id| is_piece(*id as usize))
    };
    let mut merges = Vec::new();
    for (id, piece) in vocabulary
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| is_piece(*id))
    {
        if piece.len() > LONGEST_PIECE {
            return Err(error(format!(
                "token {id} has {} bytes, expected at most {LONGEST_PIECE}",
                piece.len()
            )));
        }
        for (at, _) in piece.char_indices().skip(1) {
            let (a, b) = piece.split_at(at);
            if known(a) && known(b) {
                merges.push((scores[id], (a.to_owned(), b.to_owned())));
            }
        }
    }
    merges.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(merges.into_iter().map(|(_, merge)| merge).collect())
}

fn add_tokens(tokenizer: &mut Tokenizer, vocabulary: &Vocabulary<'_>) -> Result<()> {
    let added = |kind: i64, special: bool| {
        let tokens = vocabulary.of_type(kind).filter(|token| !token.is_empty());
        tokens
            .map(|token| AddedToken::from(token.clone(), special).normalized(false))
            .collect::<Vec<_>>()
    };
    let control = [added(CONTROL, true), added(UNKNOWN, true)].concat();
    tokenizer
        .add_special_tokens(control)
        .map_err(|e| error(e.to_string()))?;
    tokenizer
        .add_tokens(added(USER_DEFINED, false))
        .map_err(|e| error(e.to_string()))?;
    Ok(())
}

/// Begin and end tokens around a text that is encoded with special tokens. Where the file does not
/// say whether to add them, llama.cpp's rule holds: a begin token for `SentencePiece` and Llama 3.
fn add_boundaries(tokenizer: &mut Tokenizer, vocabulary: &Vocabulary<'_>) -> Result<()> {
    let metadata = vocabulary.metadata;
    let begins = text(metadata, "model")? == "llama"
        || text(metadata, "pre").is_ok_and(|pre| pre == "llama-bpe");
    let wanted = |flag: &str, default: bool, id: &str| -> Option<(u32, &String)> {
        let id = vocabulary
            .flag(flag)
            .unwrap_or(default)
            .then(|| token_id(metadata, id))??;
        Some((id, vocabulary.tokens.get(id as usize)?))
    };
    let begin = wanted("add_bos_token", begins, "bos_token_id");
    let end = wanted("add_eos_token", false, "eos_token_id");
    if begin.is_none() && end.is_none() {
        return Ok(());
    }
    let around = |sequences: &[&str]| -> Vec<Json> {
        let token =
            |(_, text): &(u32, &String)| json!({"SpecialToken": {"id": text, "type_id": 0}});
        let sequences = sequences
            .iter()
            .map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
        begin
            .iter()
            .map(token)
            .chain(sequences)
            .chain(end.iter().map(token))
            .collect()
    };
    let specials: serde_json::Map<String, Json> = [begin, end]
        .into_iter()
        .flatten()
        .map(|(id, text)| {
            (
                text.clone(),
                json!({"id": text, "ids": [id], "tokens": [text]}),
            )
        })
        .collect();
    let processor: PostProcessorWrapper = part(json!({
        "type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]),
        "special_tokens": specials
    }))?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

#[cfg(test)]
mod tests;
