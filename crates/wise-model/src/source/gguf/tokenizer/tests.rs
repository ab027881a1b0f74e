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

mod describing {
    use super::*;

    /// The description of a tokenizer that was read of `data`, for a table of `size` rows.
    fn described_again(data: &HashMap<String, Value>, size: usize) -> HashMap<String, Value> {
        let own = tokenizer(data).unwrap();
        let described = described(&own, size).unwrap();
        check_same(&own, &described).unwrap();
        described
    }

    #[track_caller]
    fn assert_same(got: &HashMap<String, Value>, expected: &HashMap<String, Value>, keys: &[&str]) {
        for key in keys {
            let key = format!("tokenizer.ggml.{key}");
            assert_eq!(got.get(&key), expected.get(&key), "{key}");
        }
    }

    #[test]
    fn a_byte_level_tokenizer_is_described_as_it_was_read() {
        for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2"] {
            let mut data = byte_level_metadata(pre);
            data.insert("tokenizer.ggml.bos_token_id".into(), Value::Integer(0));
            data.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(true));
            let again = described_again(&data, 12);
            let keys = [
                "model",
                "pre",
                "tokens",
                "token_type",
                "merges",
                "bos_token_id",
            ];
            assert_same(&again, &data, &keys);
            let flag = |key: &str| again[&format!("tokenizer.ggml.{key}")].clone();
            assert_eq!(flag("add_bos_token"), Value::Bool(true));
            assert_eq!(flag("add_eos_token"), Value::Bool(false));
        }
    }

    #[test]
    fn one_that_falls_back_to_bytes_keeps_the_order_of_its_scores() {
        let data = sentence_piece_metadata();
        let again = described_again(&data, 264);
        let keys = ["model", "tokens", "token_type", "bos_token_id"];
        assert_same(&again, &data, &keys);
        let merges = |data| merges_of_scores(&Vocabulary::read(data).unwrap()).unwrap();
        assert_eq!(merges(&again), merges(&data));
        let prefix = &again["tokenizer.ggml.add_space_prefix"];
        assert_eq!(prefix, &Value::Bool(true));
    }

    #[test]
    fn spaces_that_are_a_token_of_their_own_are_written_as_spaces() {
        let mut own = tokenizer(&sentence_piece_metadata()).unwrap();
        // As transformers has Gemma's: looked for behind the normalizer, which has replaced the spaces.
        let spaces = AddedToken::from("▁▁".to_owned(), false).normalized(false);
        own.add_tokens([spaces]).unwrap();
        let described = described(&own, 265).unwrap();
        let Value::Texts(tokens) = &described["tokenizer.ggml.tokens"] else {
            panic!("no tokens")
        };
        assert_eq!(tokens[264], "  ");
        assert_eq!(
            described["tokenizer.ggml.unknown_token_id"],
            Value::Integer(0)
        );
    }

    #[test]
    fn an_added_token_without_a_row_is_left_out() {
        let mut own = tokenizer(&byte_level_metadata("gpt-2")).unwrap();
        own.add_tokens([AddedToken::from("<image>".to_owned(), true)])
            .unwrap();
        let described = described(&own, 12).unwrap();
        let Value::Texts(tokens) = &described["tokenizer.ggml.tokens"] else {
            panic!("no tokens")
        };
        assert_eq!(tokens.len(), 12);
        check_same(&own, &described).unwrap();
    }

    #[test]
    fn rows_without_a_token_are_filled_up() {
        let again = described_again(&byte_level_metadata("gpt-2"), 14);
        let Value::Texts(tokens) = &again["tokenizer.ggml.tokens"] else {
            panic!("no tokens")
        };
        assert_eq!(tokens[12..], ["[PAD12]", "[PAD13]"]);
        let Value::Integers(types) = &again["tokenizer.ggml.token_type"] else {
            panic!("no types")
        };
        assert_eq!(types[12..], [UNUSED, UNUSED]);
    }

    #[test]
    fn what_a_gguf_file_cannot_say_is_refused() {
        let own = tokenizer(&byte_level_metadata("gpt-2")).unwrap();
        let refused =
            |tokenizer: &Tokenizer, size| described(tokenizer, size).unwrap_err().to_string();
        assert!(refused(&own, 11).contains("token 11 is \"u\", expected at most 11 tokens"));
        let mut uncut = own.clone();
        uncut.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(split("a")).unwrap()));
        assert!(refused(&uncut, 12).contains("neither byte-level"));
        let steps = json!({"type": "Sequence", "pretokenizers": [
            split("a"), {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
        ]});
        uncut.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>(steps).unwrap()));
        assert!(refused(&uncut, 12).contains("in a way of its own"));
        let other = byte_level_metadata("smollm");
        let error = check_same(&own, &other).unwrap_err().to_string();
        assert!(error.contains("cannot say how it cuts"), "{error}");
    }
}
