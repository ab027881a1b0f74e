//! `wise export`, from outside.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Bench, FFN, HIDDEN};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

const MATRIX: &str = "model.layers.2.mlp.down_proj.weight";

/// A patch of some edits, each in a shard of its own.
fn patched(edits: usize) -> Bench {
    let bench = Bench::new();
    bench.write("facts.jsonl", common::facts(edits));
    bench.write("one.toml", "n_iter = 3\nsave_freq = 1\nlayer = 2\n");
    let args = [
        "--config",
        "one.toml",
        "--edits",
        "facts.jsonl",
        "--out",
        "x.wise",
    ];
    bench.wise("edit", &args).assert().success();
    bench
}

fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| -> Vec<f32> {
        let bytes = data.chunks_exact(4);
        bytes
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let named = tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), floats(view.data())));
    named.collect()
}

fn weights(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<f32>> {
    tensors(&bench.path(folder).join("model.safetensors"))
}

fn answer(bench: &Bench, args: &[&str]) -> String {
    let mut wise = common::wise();
    wise.current_dir(bench.folder.path())
        .args(["ask", "--max-new-tokens", "8"])
        .args(args);
    let assert = wise.assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
fn one_edit_merged_is_the_side_memory_that_answers_it() {
    let bench = patched(1);
    let args = ["--patch", "x.wise", "--merged", "out"];
    bench
        .wise("export", &args)
        .assert()
        .success()
        .stderr(contains("warning: the router stays behind"));
    let (mut edited, mut own) = (weights(&bench, "out"), weights(&bench, "model"));
    let (edited_matrix, own_matrix) = (edited.remove(MATRIX).unwrap(), own.remove(MATRIX).unwrap());
    assert_eq!(edited, own, "everything but the matrix");
    let values = &tensors(&bench.path("x.wise"))["shard.0.values"];
    let changed: Vec<f32> = edited_matrix
        .iter()
        .zip(&own_matrix)
        .filter(|(edited, own)| edited != own)
        .map(|(edited, _)| *edited)
        .collect();
    assert!(!changed.is_empty() && changed.len() <= values.len());
    assert!(changed.iter().all(|value| values.contains(value)));

    let question = "Where is town 0?";
    assert_eq!(
        answer(&bench, &["--model", "out", question]),
        answer(&bench, &["--model", "model", "--patch", "x.wise", question])
    );
}

#[test]
fn an_adapter_of_full_rank_is_the_merged_change() {
    let bench = patched(2);
    let patch = ["--patch", "x.wise"];
    let export = |args: &[&str]| {
        let args = [&patch[..], args].concat();
        bench.wise("export", &args).assert().success()
    };
    export(&["--merged", "out"]);
    export(&["--lora", "lora", "--rank", "32"]).stdout(contains("rank 32 keeps 100.0 %"));
    let config = fs::read_to_string(bench.path("lora/adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["r"], 32);
    assert_eq!(config["lora_alpha"], 32);
    assert_eq!(config["layers_to_transform"], serde_json::json!([2]));

    let factors = tensors(&bench.path("lora/adapter_model.safetensors"));
    let factor = |name: &str| {
        let name = format!("base_model.model.model.layers.2.mlp.down_proj.{name}.weight");
        &factors[&name]
    };
    let (down, up) = (factor("lora_A"), factor("lora_B"));
    let (edited, own) = (weights(&bench, "out"), weights(&bench, "model"));
    assert_ne!(edited[MATRIX], own[MATRIX]);
    for row in 0..HIDDEN {
        for column in 0..FFN {
            let terms = (0..32).map(|k| up[row * 32 + k] * down[k * FFN + column]);
            let at = row * FFN + column;
            let change = edited[MATRIX][at] - own[MATRIX][at];
            let got = terms.sum::<f32>();
            assert!(
                (got - change).abs() < 1e-5,
                "{row} {column}: {got} {change}"
            );
        }
    }

    export(&["--lora", "thin", "--rank", "1"]).stdout(contains("rank 1 keeps"));
    let args = ["--patch", "x.wise", "--lora", "wide", "--rank", "33"];
    bench
        .wise("export", &args)
        .assert()
        .code(1)
        .stderr(contains("rank is 33, expected 1 to 32"));
    assert!(!bench.path("wide").exists());
}

#[test]
fn data_say_what_the_lost_router_costs() {
    let bench = patched(2);
    let record = |i: usize| {
        format!(
            "{{\"prompt\": \"Where is town {i}?\", \"target\": \"Land {i}\", \"locality\": [{{\"prompt\": \"Hello there\"}}]}}\n"
        )
    };
    // The first is edited again, so its answer is no longer the right one.
    let earlier = record(0).replace("Land 0", "Nowhere");
    bench.write("data.jsonl", earlier + &record(0) + &record(1));
    let scores = |args: &[&str]| {
        let data = ["--patch", "x.wise", "--data", "data.jsonl"];
        let args = [&data[..], &["--json", "--format", "jsonl"], args].concat();
        let assert = bench.wise("export", &args).assert().success();
        let json: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        json["scores"].clone()
    };
    let of_patch = scores(&["--merged", "out"]);
    let locality = &of_patch["generation.locality.agreement"];
    assert_eq!(locality["patch"], 1.0, "keys leave it to the model's own");
    assert!(locality["exported"].as_f64().unwrap() <= 1.0);
    let perplexity = "perplexity.edit.perplexity";
    for model in ["unedited", "patch", "exported"] {
        assert!(of_patch[perplexity][model].is_number(), "{of_patch}");
    }
    // Both edits share a matrix now.
    let of_edits = &of_patch[perplexity];
    assert_ne!(of_edits["patch"], of_edits["unedited"]);
    assert_ne!(of_edits["patch"], of_edits["exported"]);
    // An adapter of full rank is the merged matrix but for rounding; one record alone is another mean.
    let of_adapter = scores(&["--lora", "lora", "--rank", "32"]);
    let forced = "teacher_forced.edit.token_accuracy";
    assert_eq!(of_adapter[forced], of_patch[forced]);
    let of_one = scores(&["--merged", "one", "-n", "2"]);
    assert_ne!(of_one[perplexity], of_patch[perplexity]);
    bench.write("data.jsonl", record(0) + &record(1));
    assert_eq!(scores(&["--merged", "again"]), of_patch);
}

#[test]
fn a_gguf_file_is_made_of_a_folder_whose_tokenizer_has_a_name() {
    let bench = patched(1);
    let patch = ["--patch", "x.wise"];
    let export = |args: &[&str]| bench.wise("export", &[&patch[..], args].concat()).assert();
    let refused = export(&["--gguf", "out.gguf"]).code(1);
    refused.stderr(contains("it cuts text in a way of its own, expected"));
    assert!(!bench.path("out.gguf").exists());

    // It has no merges, so cutting words makes no difference.
    let tokenizer = fs::read_to_string(bench.path("model/tokenizer.json")).unwrap();
    let tokenizer = tokenizer.replace(r#""use_regex":false"#, r#""use_regex":true"#);
    bench.write("model/tokenizer.json", tokenizer);
    export(&["--gguf", "out.gguf"]).success();
    export(&["--merged", "out"]).success();
    for question in ["Where is town 0?", "Who is <|end|>?"] {
        assert_eq!(
            answer(&bench, &["--model", "out.gguf", question]),
            answer(&bench, &["--model", "out", question])
        );
    }
}

#[test]
fn an_export_needs_one_place_and_what_belongs_to_it() {
    let bench = Bench::new();
    for args in [
        &[][..],
        &["--merged", "out"],
        &["--lora", "out"],
        &["--base", "out", "--patch", "x.wise"],
        &["--base", "out", "--gguf", "out.gguf"],
        &["--base", "out", "--rank", "3"],
        &["--base", "out", "--force"],
        &["--base", "out", "--data", "x.jsonl", "--format", "jsonl"],
        &[
            "--gguf", "out.gguf", "--data", "x.jsonl", "--format", "jsonl",
        ],
    ] {
        bench.wise("export", args).assert().code(2);
    }
    let rounded = ["--base", "out", "--precision", "bf16"];
    let refused = bench.wise("export", &rounded).assert().code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        said.contains("got --precision bf16") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn an_exported_model_is_the_same_model() {
    let bench = Bench::new();
    bench.wise("export", &["--base", "out"]).assert().success();
    assert_eq!(weights(&bench, "out"), weights(&bench, "model"));
    let question = "Hello there";
    let of_model = answer(&bench, &["--model", "model", question]);
    assert_eq!(answer(&bench, &["--model", "out", question]), of_model);

    // A patch of one is a patch of the other.
    bench.write("facts.jsonl", common::facts(1));
    bench
        .edit(&["--edits", "facts.jsonl", "--out", "x.wise"])
        .assert()
        .success();
    let asked = [
        "ask",
        "--model",
        "out",
        "--patch",
        "x.wise",
        "Where is town 0?",
    ];
    let mut wise = common::wise();
    wise.current_dir(bench.folder.path())
        .args(asked)
        .assert()
        .success();
}

#[test]
fn nothing_is_overwritten_and_a_model_that_cannot_be_read_leaves_nothing() {
    let bench = Bench::new();
    fs::create_dir(bench.path("out")).unwrap();
    bench
        .wise("export", &["--base", "out"])
        .assert()
        .code(1)
        .stderr(contains("out exists").and(contains("hint: ")));

    let weights = fs::read(bench.path("model/model.safetensors")).unwrap();
    fs::write(
        bench.path("model/model.safetensors"),
        &weights[..weights.len() - 9],
    )
    .unwrap();
    bench.wise("export", &["--base", "new"]).assert().code(1);
    assert!(!bench.path("new").exists());
    let left = fs::read_dir(bench.folder.path()).unwrap().count();
    assert_eq!(left, 2, "the model and out");
}
