//! `wise export`, from outside.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::Bench;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn an_exported_model_is_the_same_model() {
    let bench = Bench::new();
    bench.wise("export", &["--base", "out"]).assert().success();
    let weights = |folder: &str| {
        let bytes = fs::read(bench.path(folder).join("model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<(String, Vec<u8>)> = tensors
            .iter()
            .map(|(name, view)| (name.to_owned(), view.data().to_vec()))
            .collect();
        all.sort();
        all
    };
    assert_eq!(weights("out"), weights("model"));

    let answer = |model: &str| {
        let question = [
            "ask",
            "--model",
            model,
            "--max-new-tokens",
            "8",
            "Hello there",
        ];
        let mut wise = common::wise();
        let assert = wise
            .current_dir(bench.folder.path())
            .args(question)
            .assert();
        String::from_utf8(assert.success().get_output().stdout.clone()).unwrap()
    };
    assert_eq!(answer("out"), answer("model"));

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
