use super::super::LoadReport;
use super::super::testing::tiny_config;
use super::testing::{Builder, tiny_model};
use super::*;
use crate::Family;
use proptest::prelude::*;

fn open_bytes(bytes: &[u8]) -> Result<ModelFiles> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.bin");
    std::fs::write(&path, bytes).unwrap();
    open("tiny", &path, &mut |_| {})
}

fn open_error(file: &Builder) -> String {
    open_bytes(&file.bytes())
        .err()
        .expect("an error")
        .to_string()
}

#[test]
fn a_whole_model_opens_with_hugging_face_names() {
    let mut model = open_bytes(&tiny_model().bytes()).unwrap();
    assert_eq!(model.config, tiny_config());
    assert_eq!(model.eos, [1, 0]);
    let template = model.chat_template.unwrap();
    assert_eq!(
        (template.bos_token, template.eos_token.as_deref()),
        (None, Some("</s>"))
    );
    assert_eq!(model.tokenizer.encode("ab", true).unwrap().get_ids(), [4]);
    LoadReport::check(&model.config, &*model.tensors).unwrap();
    assert_eq!(
        model.tensors.shape("model.layers.1.mlp.down_proj.weight"),
        Some(vec![8, 6])
    );
    let down = model
        .tensors
        .read("model.layers.1.mlp.down_proj.weight")
        .unwrap();
    assert_eq!(down[..3], [0.0, 1.0, 2.0]);
}

#[test]
fn tokens_that_end_a_turn_end_an_answer_whatever_the_file_names() {
    let tokens = ["<eos>", "<end_of_turn>", "<|eot_id|>", "a"].map(str::to_owned);
    let metadata = |types: [i64; 4]| {
        HashMap::from([
            (
                "tokenizer.ggml.tokens".to_owned(),
                Value::Texts(tokens.to_vec()),
            ),
            (
                "tokenizer.ggml.token_type".to_owned(),
                Value::Integers(types.to_vec()),
            ),
            ("tokenizer.ggml.eos_token_id".to_owned(), Value::Integer(0)),
            ("tokenizer.ggml.eot_token_id".to_owned(), Value::Integer(2)),
        ])
    };
    assert_eq!(eos(&metadata([3, 4, 3, 1])), [0, 2, 1]);
    // Ordinary text, whatever it looks like.
    assert_eq!(eos(&metadata([3, 1, 3, 1])), [0, 2]);
}

#[test]
fn rotary_rows_are_put_back_for_llama_and_left_for_qwen2() {
    let first_of_rows = |values: Vec<f32>| values.into_iter().step_by(8).collect::<Vec<_>>();
    let mut llama = open_bytes(&tiny_model().bytes()).unwrap();
    let query = llama
        .tensors
        .read("model.layers.0.self_attn.q_proj.weight")
        .unwrap();
    assert_eq!(
        first_of_rows(query),
        [0.0, 16.0, 8.0, 24.0, 32.0, 48.0, 40.0, 56.0]
    );
    let key = llama
        .tensors
        .read("model.layers.0.self_attn.k_proj.weight")
        .unwrap();
    assert_eq!(first_of_rows(key), [0.0, 16.0, 8.0, 24.0]);
    let value = llama
        .tensors
        .read("model.layers.0.self_attn.v_proj.weight")
        .unwrap();
    assert_eq!(first_of_rows(value), [0.0, 8.0, 16.0, 24.0]);

    let config = tiny_config();
    let mut file = tiny_model();
    file.text("general.architecture", "qwen2")
        .number("qwen2.embedding_length", config.hidden_size as u32)
        .number("qwen2.feed_forward_length", config.ffn_size as u32)
        .number("qwen2.block_count", config.layers as u32)
        .number("qwen2.attention.head_count", config.heads as u32)
        .number("qwen2.attention.head_count_kv", config.kv_heads as u32)
        .number("qwen2.context_length", config.context as u32);
    let mut qwen2 = open_bytes(&file.bytes()).unwrap();
    assert_eq!(qwen2.config.family, Family::Qwen2);
    let query = qwen2
        .tensors
        .read("model.layers.0.self_attn.q_proj.weight")
        .unwrap();
    assert_eq!(
        first_of_rows(query),
        [0.0, 8.0, 16.0, 24.0, 32.0, 40.0, 48.0, 56.0]
    );
}

#[test]
fn a_file_cut_at_any_byte_is_malformed() {
    let bytes = tiny_model().bytes();
    for len in 0..bytes.len() {
        assert!(
            Header::parse(&bytes[..len]).is_err(),
            "cut at {len} of {}",
            bytes.len()
        );
    }
    Header::parse(&bytes).unwrap();
    let error = open_bytes(&bytes[..bytes.len() - 1]).err().unwrap();
    assert!(
        matches!(error, Error::Malformed { format: "GGUF", .. }),
        "{error}"
    );
}

#[test]
fn any_byte_changed_never_panics() {
    let bytes = tiny_model().bytes();
    for at in 0..bytes.len().min(4096) {
        let mut spoilt = bytes.clone();
        spoilt[at] = 0xff;
        let _ = Header::parse(&spoilt).map(|header| config::config(&header));
    }
}

#[test]
fn announced_sizes_are_not_believed() {
    let with = |f: &dyn Fn(&mut Builder)| {
        let mut file = tiny_model();
        f(&mut file);
        open_error(&file)
    };
    let huge = u64::MAX.to_le_bytes();
    assert!(
        with(&|f| {
            f.raw("k", 8, &huge);
        })
        .contains("announces 18446744073709551615 bytes of text")
    );
    let texts = [&8u32.to_le_bytes()[..], &huge].concat();
    assert!(
        with(&|f| {
            f.raw("k", 9, &texts);
        })
        .contains("array elements")
    );
    assert!(with(&|f| f.tensors[0].1 = vec![1 << 63, 1 << 63]).contains("too large"));
    assert!(with(&|f| f.tensors[0].1 = vec![8, 1 << 40]).contains("but the file has"));
    assert!(with(&|f| f.tensors[0].1 = vec![8, 0]).contains("[0, 8]"));
    assert!(with(&|f| f.tensors[0].1 = vec![1; 5]).contains("5 dimensions, expected 1 to 4"));
    assert!(with(&|f| f.tensors[0].2 = 8).contains("a multiple of 32"));
    assert!(with(&|f| f.tensors[0].2 = 19).contains("ggml type 19"));
    assert!(
        with(&|f| {
            f.number("general.alignment", 0);
        })
        .contains("general.alignment")
    );
    assert!(
        with(&|f| {
            f.raw("k", 13, &[]);
        })
        .contains("value type is 13")
    );
    assert!(with(&|f| f.tensors[1].0 = "token_embd.weight".into()).contains("occurs twice"));
    let mut version = tiny_model().bytes();
    version[4] = 9;
    assert!(
        Header::parse(&version)
            .unwrap_err()
            .contains("version is 9")
    );
}

#[test]
fn nested_arrays_are_passed_over_to_a_limit() {
    let nested = |depth: usize| {
        let mut value = [
            &4u32.to_le_bytes()[..],
            &1u64.to_le_bytes(),
            &7u32.to_le_bytes(),
        ]
        .concat();
        for _ in 0..depth {
            value = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes(), &value].concat();
        }
        let mut file = tiny_model();
        file.raw("k", 9, &value);
        Header::parse(&file.bytes())
    };
    assert_eq!(nested(0).unwrap().metadata["k"], Value::Integers(vec![7]));
    assert_eq!(nested(3).unwrap().metadata["k"], Value::Other);
    assert!(nested(5).unwrap_err().contains("too deeply"));
}

#[test]
fn frequency_factors_other_than_one_are_refused() {
    let mut file = tiny_model();
    file.tensor("rope_freqs.weight", &[2], &[1.0, 1.0]);
    let model = open_bytes(&file.bytes()).unwrap();
    LoadReport::check(&model.config, &*model.tensors).unwrap();
    let mut file = tiny_model();
    file.tensor("rope_freqs.weight", &[2], &[1.0, 8.0]);
    assert!(open_error(&file).contains("rope_freqs.weight is a tensor of other factors"));
}

#[test]
fn settings_that_the_decoder_lacks_are_refused() {
    let with = |f: &dyn Fn(&mut Builder)| {
        let mut file = tiny_model();
        f(&mut file);
        open_error(&file)
    };
    assert!(
        with(&|f| {
            f.text("general.architecture", "gemma4");
        })
        .contains("got gemma4")
    );
    assert!(
        with(&|f| {
            f.number("llama.expert_count", 8);
        })
        .contains("expert_count is 8")
    );
    assert!(
        with(&|f| {
            f.number("llama.rope.dimension_count", 2);
        })
        .contains("4 (the head dimension)")
    );
    assert!(
        with(&|f| {
            f.text("llama.rope.scaling.type", "yarn");
        })
        .contains("yarn, expected none or linear")
    );
    assert!(
        with(&|f| {
            f.text("llama.rope.scaling.type", "linear");
        })
        .contains("factor is absent")
    );
    assert!(
        with(&|f| {
            f.number("llama.attention.head_count", 0);
        })
        .contains("query heads is 0")
    );
    assert!(
        with(&|f| {
            f.text("llama.block_count", "two");
        })
        .contains("block_count is two")
    );
    assert!(open_error(&Builder::new()).contains("general.architecture is absent"));
}

#[test]
fn linear_scaling_and_a_window_are_read() {
    let mut file = tiny_model();
    file.text("llama.rope.scaling.type", "linear")
        .float("llama.rope.scaling.factor", 4.0);
    file.number("llama.attention.sliding_window", 16);
    let config = open_bytes(&file.bytes()).unwrap().config;
    assert_eq!(
        config.rope_scaling,
        Some(crate::RopeScaling::Linear { factor: 4.0 })
    );
    assert_eq!(config.sliding_window, Some(16));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Header::parse(&bytes);
        let magic = [&b"GGUF\x03\x00\x00\x00"[..], &bytes].concat();
        let _ = Header::parse(&magic).map(|header| config::config(&header));
    }

    #[test]
    fn random_metadata_never_panics(
        kind in 0u32..14, element in 0u32..14, len in 0u64..9, rest in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut file = Builder::new();
        file.raw("k", kind, &[&element.to_le_bytes()[..], &len.to_le_bytes(), &rest].concat());
        let _ = Header::parse(&file.bytes());
    }
}

mod export {
    use super::*;
    use crate::source::huggingface::Replaced;

    const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

    fn exported(file: &Builder, replaced: Option<Replaced<'_>>) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from.gguf"), dir.path().join("to.gguf"));
        std::fs::write(&from, file.bytes()).unwrap();
        let outcome = write_gguf(from.to_str().unwrap(), replaced, &to, &mut |_| {});
        assert_eq!(outcome.is_ok(), to.exists());
        outcome.map(|()| std::fs::read(&to).unwrap())
    }

    /// Every tensor's name, format and bytes.
    fn tensors(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let header = Header::parse(bytes).unwrap();
        let of = |t: &TensorInfo| {
            let data = bytes[t.start..][..t.len].to_vec();
            (t.name.clone(), t.format.ggml(), data)
        };
        header.tensors.iter().map(of).collect()
    }

    #[test]
    fn a_copy_says_what_the_original_says() {
        let file = tiny_model();
        let (copy, original) = (exported(&file, None).unwrap(), file.bytes());
        assert_eq!(tensors(&copy), tensors(&original));
        let metadata = |bytes: &[u8]| bytes[..Header::parse(bytes).unwrap().tensors_at].to_vec();
        assert_eq!(metadata(&copy), metadata(&original));
    }

    #[test]
    fn a_replaced_matrix_is_in_f32_and_all_else_as_it_was() {
        let mut file = tiny_model();
        // In half the bytes, so that what follows has to move.
        let at = file
            .tensors
            .iter()
            .position(|t| t.0 == "blk.1.ffn_down.weight");
        let halves = vec![0x3C; 2 * 8 * 6];
        let tensor = &mut file.tensors[at.unwrap()];
        (tensor.2, tensor.3) = (1, halves);
        let values: Vec<f32> = (0..8 * 6u8).map(|i| f32::from(i) / 3.0).collect();
        let replaced = Replaced {
            name: DOWN,
            values: &values,
        };
        let bytes = exported(&file, Some(replaced)).unwrap();
        let mut expected = tensors(&file.bytes());
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        expected[at.unwrap()] = ("blk.1.ffn_down.weight".to_owned(), 0, data);
        assert_eq!(tensors(&bytes), expected);
        let mut model = open_bytes(&bytes).unwrap();
        assert_eq!(model.tensors.read(DOWN).unwrap(), values);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_nothing() {
        let refused = |name: &str, count: usize| {
            let values = vec![0.0; count];
            let replaced = Replaced {
                name,
                values: &values,
            };
            let error = exported(&tiny_model(), Some(replaced)).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            refused(DOWN, 47),
            format!("{DOWN} would get 47 values, expected 48")
        );
        let absent = "model.layers.9.mlp.down_proj.weight";
        assert_eq!(
            refused(absent, 48),
            format!("{absent} would get 48 values, expected 0")
        );
        let rotary = "model.layers.0.self_attn.q_proj.weight";
        assert_eq!(
            refused(rotary, 64),
            format!("{rotary} would get 64 values, expected 0")
        );
    }

    #[test]
    fn what_is_neither_file_nor_folder_of_a_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (other, out) = (dir.path().join("a.txt"), dir.path().join("out.gguf"));
        std::fs::write(&other, "GGU").unwrap();
        let refused = |path: &Path| {
            let error = write_gguf(path.to_str().unwrap(), None, &out, &mut |_| {}).unwrap_err();
            assert!(!out.exists());
            error
        };
        assert!(matches!(refused(&other), Error::UnknownModel { .. }));
        assert!(matches!(refused(dir.path()), Error::MissingFile { .. }));
    }
}
