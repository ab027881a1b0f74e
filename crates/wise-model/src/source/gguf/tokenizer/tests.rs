use super::*;

fn texts(items: &[&str]) -> Value {
    Value::Texts(items.iter().map(|&s| s.to_owned()).collect())
}

fn metadata(entries: Vec<(&str, Value)>) -> HashMap<String, Value> {
    entries
        .into_iter()
        .map(|(k, v)| (format!("tokenizer.ggml.{k}"), v))
        .collect()
}

/// `<e>`, letters, two merges, a user-defined token.
fn byte_level_metadata(pre: &str) -> HashMap<String, Value> {
    metadata(vec![
        ("model", Value::Text("gpt2".into())),
        ("pre", Value::Text(pre.into())),
        (
            "tokens",
            texts(&[
                "<e>", "a", "b", "Ġ", "ab", "Ġab", "1", "11", "<u>", "<", ">", "u",
            ]),
        ),
        (
            "token_type",
            Value::Integers(vec![3, 1, 1, 1, 1, 1, 1, 1, 4, 1, 1, 1]),
        ),
        ("merges", texts(&["a b", "Ġ ab", "1 1"])),
        ("eos_token_id", Value::Integer(0)),
    ])
}

fn ids(tokenizer: &Tokenizer, text: &str, special: bool) -> Vec<u32> {
    tokenizer.encode(text, special).unwrap().get_ids().to_vec()
}

fn message(metadata: &HashMap<String, Value>) -> String {
    tokenizer(metadata).unwrap_err().to_string()
}

#[test]
fn byte_level_bpe_merges_and_keeps_added_tokens_whole() {
    let gpt2 = tokenizer(&byte_level_metadata("gpt-2")).unwrap();
    assert_eq!(ids(&gpt2, "ab ab11<e><u>", true), [4, 5, 7, 0, 8]);
    assert_eq!(gpt2.decode(&[4, 5, 7], true).unwrap(), "ab ab11");
    assert_eq!(gpt2.decode(&[0, 4], true).unwrap(), "ab");
}

#[test]
fn smollm_cuts_digits_apart() {
    let smollm = tokenizer(&byte_level_metadata("smollm")).unwrap();
    assert_eq!(ids(&smollm, "ab11", true), [4, 6, 6]);
}

#[test]
fn llama3_and_qwen2_cut_digits_in_their_own_ways() {
    let llama3 = tokenizer(&byte_level_metadata("llama-bpe")).unwrap();
    assert_eq!(ids(&llama3, "11 ab", false), [7, 5]);
    let qwen2 = tokenizer(&byte_level_metadata("qwen2")).unwrap();
    assert_eq!(ids(&qwen2, "11 ab", false), [6, 6, 5]);
}

#[test]
fn a_begin_token_is_added_only_if_the_file_says_so() {
    let mut data = byte_level_metadata("gpt-2");
    data.insert("tokenizer.ggml.bos_token_id".into(), Value::Integer(0));
    assert_eq!(ids(&tokenizer(&data).unwrap(), "a", true), [1]);
    data.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(true));
    let with = tokenizer(&data).unwrap();
    assert_eq!(ids(&with, "a", true), [0, 1]);
    assert_eq!(ids(&with, "a", false), [1]);
}

fn sentence_piece_metadata() -> HashMap<String, Value> {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".into()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "ab", "▁a", "▁ab"].map(str::to_owned));
    let mut types = vec![2, 3];
    types.extend([6; 256]);
    types.extend([1; 6]);
    let mut scores = vec![0.0; 258];
    // "▁a" is better than "ab", so that "▁ab" is reached as "▁a" + "b".
    scores.extend([-9.0, -9.0, -9.0, -3.0, -2.0, -4.0]);
    metadata(vec![
        ("model", Value::Text("llama".into())),
        ("tokens", Value::Texts(tokens)),
        ("token_type", Value::Integers(types)),
        ("scores", Value::Floats(scores)),
        ("bos_token_id", Value::Integer(1)),
    ])
}

#[test]
fn sentence_piece_joins_by_score_and_falls_back_to_bytes() {
    let model = tokenizer(&sentence_piece_metadata()).unwrap();
    assert_eq!(ids(&model, "ab a", true), [1, 263, 262]);
    assert_eq!(ids(&model, "aé", false), [262, 2 + 0xC3, 2 + 0xA9]);
    assert_eq!(model.decode(&[1, 263, 262], true).unwrap(), "ab a");
    assert_eq!(
        model.decode(&[262, 2 + 0xC3, 2 + 0xA9], true).unwrap(),
        "aé"
    );
}

#[test]
fn merges_follow_the_scores() {
    let data = sentence_piece_metadata();
    let vocabulary = Vocabulary::read(&data).unwrap();
    let merges = merges_of_scores(&vocabulary).unwrap();
    let expected = [("▁", "a"), ("a", "b"), ("▁", "ab"), ("▁a", "b")];
    assert_eq!(merges, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn bad_metadata_is_named() {
    assert!(message(&HashMap::new()).contains("no tokenizer.ggml.tokens"));
    assert!(message(&byte_level_metadata("falcon")).contains(SUPPORTED_PRE));
    let spoilt = |key: &str, value: Value| {
        let mut data = byte_level_metadata("gpt-2");
        data.insert(format!("tokenizer.ggml.{key}"), value);
        message(&data)
    };
    assert!(spoilt("model", Value::Text("bert".into())).contains("expected gpt2 or llama"));
    assert!(spoilt("merges", texts(&["a b", "b a"])).contains("merge 1 is \"b a\""));
    assert!(spoilt("merges", texts(&["ab"])).contains("merge 0"));
    assert!(spoilt("merges", Value::Other).contains("no tokenizer.ggml.merges"));
    assert!(spoilt("token_type", Value::Integers(vec![1])).contains("has 1 entries, expected 12"));
    assert!(spoilt("tokens", texts(&["a", "a"])).contains("has 12 entries"));
    let mut data = sentence_piece_metadata();
    data.remove("tokenizer.ggml.scores");
    assert!(message(&data).contains("no tokenizer.ggml.scores"));
}
