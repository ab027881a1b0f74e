//! A tokenizer as the metadata of a GGUF file.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value as Json, json};
use tokenizers::Tokenizer;

use super::super::reader::Value;
use super::{
    BYTE, CONTROL, LLAMA3_WORDS, NORMAL, QWEN2_WORDS, SUPPORTED_PRE, UNKNOWN, UNUSED, USER_DEFINED,
    error, text,
};
use crate::Result;

/// Texts on which a tokenizer and what is read of its description have to agree.
const SAMPLES: [&str; 8] = [
    "The twin city of Cologne is",
    "It's 12345 + 3.14 - 1100 = 11248.14, they'll say",
    " leading, trailing and  several   spaces ",
    "tabs\tand\n\nlines\r\n  indented",
    "Ünïcödé, ελληνικά, 你好, 🙂🙃 and e\u{301}",
    "fn main() { println!(\"{}\", x_1[0]); }",
    "CamelCase UPPER lower 1st 2nd №5",
    "",
];

/// The entries under `tokenizer.ggml`, for an embedding table of `size` rows.
///
/// # Errors
/// [`crate::Error::Tokenizer`] if it is of a kind that a GGUF file cannot name.
pub(in super::super) fn described(
    tokenizer: &Tokenizer,
    size: usize,
) -> Result<HashMap<String, Value>> {
    let json = serde_json::to_value(tokenizer).map_err(|e| error(e.to_string()))?;
    let model = &json["model"];
    if model["type"] != "BPE" {
        return Err(error(format!(
            "it is a {}, expected BPE, which is what a GGUF file can hold here",
            model["type"]
        )));
    }
    let vocabulary = tokenizer.get_vocab(true);
    let mut tokens: BTreeMap<u32, String> = vocabulary.into_iter().map(|(t, id)| (id, t)).collect();
    // Gemma 3 adds one for images, which has no row.
    let added = tokenizer.get_added_tokens_decoder();
    tokens.retain(|id, _| (*id as usize) < size || !added.contains_key(id));
    if let Some((id, token)) = tokens
        .last_key_value()
        .filter(|(id, _)| **id as usize >= size)
    {
        return Err(error(format!(
            "token {id} is {token:?}, expected at most {size} tokens, the rows of the embedding table"
        )));
    }
    let mut types = types(&tokens, &json);
    for id in 0..size as u32 {
        tokens.entry(id).or_insert_with(|| {
            types.insert(id, UNUSED);
            format!("[PAD{id}]")
        });
    }
    let merges = merges(model);
    let mut entries = HashMap::new();
    let mut set = |key: &str, value: Value| entries.insert(format!("tokenizer.ggml.{key}"), value);
    let steps = steps(&json["pre_tokenizer"]);
    if steps.iter().any(|step| step["type"] == "ByteLevel") {
        set("model", Value::Text("gpt2".to_owned()));
        set("pre", Value::Text(pre(&steps)?.to_owned()));
        let lines = merges.iter().map(|(a, b)| format!("{a} {b}"));
        set("merges", Value::Texts(lines.collect()));
    } else if model["byte_fallback"] == true {
        set("model", Value::Text("llama".to_owned()));
        set("scores", Value::Floats(scores(&tokens, &merges)));
        set("add_space_prefix", Value::Bool(prefixes_space(tokenizer)?));
        if let Some((id, _)) = types.iter().find(|(_, kind)| **kind == UNKNOWN) {
            set("unknown_token_id", Value::Integer(i128::from(*id)));
        }
        // Those are looked for in the text as it is, before its spaces are replaced.
        for (id, token) in &mut tokens {
            if types.get(id) == Some(&USER_DEFINED) {
                *token = token.replace('▁', " ");
            }
        }
    } else {
        return Err(error(
            "it is neither byte-level nor one that falls back to bytes, expected one of them",
        ));
    }
    for (flag, key, id) in boundaries(tokenizer)? {
        set(flag, Value::Bool(id.is_some()));
        if let Some(id) = id {
            set(key, Value::Integer(i128::from(id)));
        }
    }
    set("token_type", Value::Integers(types.into_values().collect()));
    set("tokens", Value::Texts(tokens.into_values().collect()));
    Ok(entries)
}

/// Whether what is read of a description cuts texts as the tokenizer that was described.
///
/// # Errors
/// [`crate::Error::Tokenizer`] with the first text that they cut differently.
pub(in super::super) fn check_same(
    own: &Tokenizer,
    metadata: &HashMap<String, Value>,
) -> Result<()> {
    let read = super::tokenizer(metadata)?;
    let check = |text: &str| {
        let (got, expected) = (ids(&read, text, true)?, ids(own, text, true)?);
        if got == expected {
            return Ok(());
        }
        Err(error(format!(
            "a GGUF file cannot say how it cuts {text:?}: got {got:?}, expected {expected:?}"
        )))
    };
    SAMPLES.iter().try_for_each(|text| check(text))?;
    let size = read.get_vocab_size(true);
    let added: BTreeMap<u32, String> = (own.get_added_tokens_decoder().into_iter())
        .filter(|(id, _)| (*id as usize) < size)
        .map(|(id, token)| (id, token.content))
        .collect();
    // Where spaces are pieces, llama.cpp puts one behind a special token, whatever a file says.
    let beside_text = text(metadata, "model")? == "gpt2";
    for token in added.values() {
        check(token)?;
        if beside_text {
            check(&format!("a{token}b {token} c"))?;
        }
    }
    Ok(())
}

fn ids(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode(text, special);
    let encoding = encoding.map_err(|e| error(e.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}

fn types(tokens: &BTreeMap<u32, String>, json: &Json) -> BTreeMap<u32, i64> {
    let unknown = json["model"]["unk_token"].as_str();
    let is_byte =
        |token: &str| token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
    let falls_back = json["model"]["byte_fallback"] == true;
    let plain = |token: &str| match token {
        token if Some(token) == unknown => UNKNOWN,
        token if falls_back && is_byte(token) => BYTE,
        _ => NORMAL,
    };
    let mut types: BTreeMap<u32, i64> = tokens.iter().map(|(id, t)| (*id, plain(t))).collect();
    let added = json["added_tokens"].as_array().into_iter().flatten();
    for token in added {
        let Some(kind) = token["id"]
            .as_u64()
            .and_then(|id| types.get_mut(&(id as u32)))
        else {
            continue;
        };
        if *kind != UNKNOWN {
            *kind = if token["special"] == true {
                CONTROL
            } else {
                USER_DEFINED
            };
        }
    }
    types
}

fn merges(model: &Json) -> Vec<(String, String)> {
    let part = |merge: &Json, index: usize| merge[index].as_str().unwrap_or_default().to_owned();
    let merges = model["merges"].as_array().into_iter().flatten();
    merges
        .map(|merge| (part(merge, 0), part(merge, 1)))
        .collect()
}

/// The steps of a pipeline, one by one.
fn steps(pre_tokenizer: &Json) -> Vec<&Json> {
    match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![pre_tokenizer],
    }
}

/// The name of a way to cut text before merging.
fn pre(steps: &[&Json]) -> Result<&'static str> {
    let (cuts, byte_level) = steps.split_at(steps.len() - 1);
    let known = match (cuts, byte_level[0]["use_regex"].as_bool().unwrap_or(true)) {
        ([], true) => Some("gpt-2"),
        ([digits], true) => {
            let apart = json!({"type": "Digits", "individual_digits": true});
            (**digits == apart).then_some("smollm")
        }
        ([split], false) => match split["pattern"]["Regex"].as_str() {
            Some(LLAMA3_WORDS) => Some("llama-bpe"),
            Some(QWEN2_WORDS) => Some("qwen2"),
            _ => None,
        },
        _ => None,
    };
    known.ok_or_else(|| {
        error(format!(
            "it cuts text in a way of its own, expected one of those that a GGUF file has names for: {SUPPORTED_PRE}"
        ))
    })
}

/// `SentencePiece` joins first what has the best score: of each piece, how early a merge makes it.
fn scores(tokens: &BTreeMap<u32, String>, merges: &[(String, String)]) -> Vec<f32> {
    let mut first = HashMap::new();
    for (rank, (a, b)) in merges.iter().enumerate() {
        first.entry(format!("{a}{b}")).or_insert(rank);
    }
    let score = |token| -(first.get(token).copied().unwrap_or(merges.len()) as f32);
    tokens.values().map(score).collect()
}

fn prefixes_space(tokenizer: &Tokenizer) -> Result<bool> {
    let encoding = tokenizer
        .encode("a", false)
        .map_err(|e| error(e.to_string()))?;
    let first = encoding.get_tokens().first();
    Ok(first.is_some_and(|token| token.starts_with('▁')))
}

/// The tokens that are put before and behind a text: flag, key and id.
fn boundaries(tokenizer: &Tokenizer) -> Result<[(&'static str, &'static str, Option<u32>); 2]> {
    let (bare, with) = (ids(tokenizer, "a", false)?, ids(tokenizer, "a", true)?);
    let added = with.len().saturating_sub(bare.len());
    let begins = added > 0 && with.get(1..=bare.len()) == Some(&bare[..]);
    let ends = added > usize::from(begins);
    let (first, last) = (with.first().copied(), with.last().copied());
    Ok([
        ("add_bos_token", "bos_token_id", first.filter(|_| begins)),
        ("add_eos_token", "eos_token_id", last.filter(|_| ends)),
    ])
}
