//! Every decoder family against transformers, on the tiny random models of `tools/make_tiny_models.py`.
//!
//! Tolerance: logits within 1e-4 of the largest.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wise_model::{
    DeviceName, Error, Family, Model, ModelFiles, Overlay, Replaced, Row, open, write_folder,
    write_gguf,
};

const TOLERANCE: f32 = 1e-4;

const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

/// What transformers computes: sequences, and of each the logits after every token.
#[derive(Deserialize)]
struct Golden {
    rows: Vec<Vec<u32>>,
    logits: Vec<Vec<Vec<f32>>>,
}

impl Golden {
    fn rows(&self) -> Vec<Row> {
        self.rows.iter().cloned().map(Row::from).collect()
    }
}

/// Each family's folder.
fn folders() -> Vec<PathBuf> {
    let tiny = Path::new("tests/tiny");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(tiny)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

/// Each family's name, its model and its golden figures.
fn families() -> impl Iterator<Item = (String, Model, Golden)> {
    folders().into_iter().map(|folder| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(folder.join("golden.json")).unwrap();
        (name, load(&folder), serde_json::from_str(&text).unwrap())
    })
}

fn files(folder: &Path) -> ModelFiles {
    ModelFiles {
        converted: None,
        ..open(folder.to_str().unwrap(), &mut |_| {}).unwrap()
    }
}

fn load(folder: &Path) -> Model {
    let device = DeviceName::Cpu.open().unwrap();
    Model::load(files(folder), &device, &mut |_| {}).unwrap()
}

#[track_caller]
fn assert_agree(got: burn::tensor::Tensor<2>, expected: &[Vec<f32>], what: &str) {
    let expected: Vec<f32> = expected.concat();
    let got: Vec<f32> = got.into_data().iter::<f32>().collect();
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let error = (got.iter().zip(&expected)).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(error < TOLERANCE * largest, "{what}: {error} of {largest}");
}

/// Whether a model has another's weights and this matrix in place of one of them.
#[track_caller]
fn assert_only_replaced(got: &mut ModelFiles, own: &mut ModelFiles, matrix: &[f32]) {
    assert_eq!(got.tensors.names(), own.tensors.names());
    for tensor in own.tensors.names() {
        let expected = match tensor.as_str() {
            DOWN => matrix.to_vec(),
            _ => own.tensors.read(&tensor).unwrap(),
        };
        assert_eq!(got.tensors.read(&tensor).unwrap(), expected, "{tensor}");
    }
}

#[test]
fn logits_agree_with_transformers_wherever_the_model_is_split() {
    for (name, model, golden) in families() {
        for (row, expected) in golden.rows().iter().zip(&golden.logits) {
            let at: Vec<usize> = (0..expected.len()).collect();
            for layer in 0..model.config().layers {
                let rows = std::slice::from_ref(row);
                let logits = model.logits(rows, layer, &Overlay::Main, &at).unwrap();
                assert_agree(logits, expected, &format!("{name}, layer {layer}"));
            }
        }
    }
}

#[test]
fn a_batch_agrees_with_transformers_at_all_tokens_and_at_some() {
    for (name, model, golden) in families() {
        let (rows, expected) = (golden.rows(), golden.logits.concat());
        for step in [1, 4] {
            let at: Vec<usize> = (0..expected.len()).step_by(step).collect();
            let logits = model.logits(&rows, 1, &Overlay::Main, &at).unwrap();
            let expected: Vec<_> = at.iter().map(|&at| expected[at].clone()).collect();
            assert_agree(logits, &expected, &format!("{name}, every {step}"));
        }
    }
}

#[test]
fn with_a_cache_the_last_logits_agree_with_transformers() {
    for (name, model, golden) in families() {
        let (row, expected) = (&golden.rows[0], &golden.logits[0]);
        let mut cache = model.new_cache(1);
        let mut done = 0;
        for length in [4, 3, 1, 1, 1, 1] {
            let rows = [Row::from(row[done..done + length].to_vec())];
            done += length;
            let site = model.prefix(&rows, 1, Some(&mut cache)).unwrap();
            let output = model.site_output(&site, &Overlay::Main);
            let at = [length - 1];
            let logits = model.suffix(&site, output, &Overlay::Main, &at, Some(&mut cache));
            let what = format!("{name}, {done} tokens");
            assert_agree(logits, &expected[done - 1..done], &what);
        }
        assert_eq!(done, row.len());
    }
}

#[test]
fn a_folder_that_was_written_holds_the_same_model() {
    for folder in folders() {
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("copy");
        write_folder(&mut files(&folder), None, &copy, &mut |_| {}).unwrap();
        let (model, copy) = (load(&folder), load(&copy));
        assert_eq!(copy.config(), model.config());
        assert_eq!(copy.id(1).unwrap(), model.id(1).unwrap());
        let rows = [Row::from(vec![7, 8, 9])];
        let logits = |model: &Model| {
            let logits = model.logits(&rows, 1, &Overlay::Main, &[2]).unwrap();
            logits.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(logits(&copy), logits(&model));
    }
}

#[test]
fn a_folder_with_one_matrix_replaced_has_all_others() {
    for folder in folders() {
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("copy");
        let mut own = files(&folder);
        let mut matrix = own.tensors.read(DOWN).unwrap();
        matrix.reverse();
        let replaced = Replaced {
            name: DOWN,
            values: &matrix,
        };
        write_folder(&mut own, Some(replaced), &copy, &mut |_| {}).unwrap();
        let mut written = files(&copy);
        assert_only_replaced(&mut written, &mut own, &matrix);
    }
}

#[test]
fn a_gguf_file_made_of_a_folder_holds_the_same_model() {
    for folder in folders() {
        let copies = tempfile::tempdir().unwrap();
        let source = copies.path().join("source");
        std::fs::create_dir(&source).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(folder.join(file), source.join(file)).unwrap();
        }
        // These tokenizers cut no words, for which GGUF has no name; without merges it makes no difference.
        let tokenizer = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
        let tokenizer = tokenizer.replace(r#""use_regex":false"#, r#""use_regex":true"#);
        std::fs::write(source.join("tokenizer.json"), tokenizer).unwrap();

        let config = std::fs::read_to_string(source.join("config.json")).unwrap();
        // Two of these have settings that a GGUF file cannot say; real models have the usual ones.
        let usual = config
            .replace(r#"_attn_scalar": 5"#, r#"_attn_scalar": 8"#)
            .replace(
                r#"l_max_position_embeddings": 64"#,
                r#"l_max_position_embeddings": 8192"#,
            );
        let name = source.to_str().unwrap();
        let out = copies.path().join("out.gguf");
        if usual != config {
            let error = write_gguf(name, None, &out, &mut |_| {}).unwrap_err();
            assert!(matches!(error, Error::UnsupportedConfig { .. }), "{error}");
            std::fs::write(source.join("config.json"), usual).unwrap();
        }

        let mut own = files(&source);
        let mut matrix = own.tensors.read(DOWN).unwrap();
        matrix.reverse();
        let replaced = Replaced {
            name: DOWN,
            values: &matrix,
        };
        let written = write_gguf(name, Some(replaced), &out, &mut |_| {});
        if matches!(own.config.family, Family::Gpt2 | Family::GptJ) {
            assert!(matches!(written, Err(Error::UnsupportedConfig { .. })));
            assert!(!out.exists());
            continue;
        }
        written.unwrap();
        let mut made = files(&out);
        if own.config.family == Family::Mistral {
            own.config.family = Family::Llama;
        }
        assert_eq!((&made.config, &made.eos), (&own.config, &own.eos));
        assert_only_replaced(&mut made, &mut own, &matrix);
        let ids = |files: &ModelFiles| {
            let encoding = files.tokenizer.encode("Who, and when?<|end|>", true);
            encoding.unwrap().get_ids().to_vec()
        };
        assert_eq!(ids(&made), ids(&own));
    }
}

#[test]
fn weights_that_do_not_fit_are_refused_before_anything_is_written() {
    let copies = tempfile::tempdir().unwrap();
    let source = copies.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let llama = folders()
        .into_iter()
        .find(|folder| folder.ends_with("llama"));
    for entry in std::fs::read_dir(llama.unwrap()).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, source.join(from.file_name().unwrap())).unwrap();
    }
    let config = std::fs::read_to_string(source.join("config.json")).unwrap();
    let wider = config.replace(r#""head_dim": "#, r#""head_dim": 2"#);
    assert_ne!(wider, config);
    std::fs::write(source.join("config.json"), wider).unwrap();
    let name = source.to_str().unwrap();
    let (folder, gguf) = (copies.path().join("out"), copies.path().join("out.gguf"));
    let refused = [
        write_gguf(name, None, &gguf, &mut |_| {}),
        write_folder(&mut files(&source), None, &folder, &mut |_| {}),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert!(matches!(error, Error::Weights(_)), "{error}");
    }
    assert!(!folder.exists() && !gguf.exists());
}

#[test]
fn a_gpt_keeps_the_formats_of_what_is_not_replaced_and_gives_up_no_part_of_a_tensor() {
    for name in ["gpt2", "gptj"] {
        let folder = folders().into_iter().find(|folder| folder.ends_with(name));
        let mut own = files(&folder.unwrap());
        let copies = tempfile::tempdir().unwrap();
        let mut write = |tensor: &str, to: &str| {
            let values = own.tensors.read(tensor).unwrap();
            let replaced = Replaced {
                name: tensor,
                values: &values,
            };
            let out = copies.path().join(to);
            write_folder(&mut own, Some(replaced), &out, &mut |_| {})
        };
        write(DOWN, "copy").unwrap();
        let query = "model.layers.1.self_attn.q_proj.weight";
        let error = write(query, "query").unwrap_err();
        assert!(matches!(error, Error::Replaced { .. }), "{error}");
        assert!(!copies.path().join("query").exists());

        let bytes = std::fs::read(copies.path().join("copy/model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let in_f32 = tensors
            .iter()
            .filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
        let names: Vec<&str> = in_f32.map(|(name, _)| name).collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
