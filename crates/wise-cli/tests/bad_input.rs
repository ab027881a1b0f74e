//! Bad input: each a clear error with what was got and expected, exit code 1, and nothing half-written.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{Bench, fails, wise};
use predicates::prelude::*;
use serde_json::json;

fn ask(bench: &Bench) -> assert_cmd::Command {
    bench.wise("ask", &["--max-new-tokens", "1", "Hello"])
}

#[test]
fn truncated_weights() {
    let bench = Bench::new();
    let path = bench.path("model/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        fails(&mut ask(&bench), &["model.safetensors", "hint: "]);
    }
}

#[test]
fn corrupt_weights() {
    let bench = Bench::new();
    let path = bench.path("model/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    bytes[9..40].fill(b'#');
    fs::write(&path, bytes).unwrap();
    fails(&mut ask(&bench), &["model.safetensors", "safetensors"]);
}

#[test]
fn weights_that_are_not_numbers() {
    let bench = Bench::new();
    bench.write("model/model.safetensors", common::weights(f32::NAN));
    fails(&mut ask(&bench), &["not finite", "expected none"]);
}

#[test]
fn weights_of_the_wrong_shape() {
    let bench = Bench::new();
    let mut config = common::config();
    config["intermediate_size"] = json!(common::FFN * 2);
    bench.write("model/config.json", config.to_string());
    fails(&mut ask(&bench), &["down_proj", "64", "128"]);
}

#[test]
fn truncated_gguf() {
    let bench = Bench::new();
    bench.write("tiny.gguf", b"GGUF\x03\x00\x00\x00\x05\x00\x00\x00");
    let mut command = wise();
    command
        .args(["ask", "--model", "tiny.gguf", "Hello"])
        .current_dir(bench.folder.path());
    fails(&mut command, &["tiny.gguf", "GGUF"]);
}

#[test]
fn unknown_architecture() {
    let bench = Bench::new();
    let mut config = common::config();
    config["architectures"] = json!(["MambaForCausalLM"]);
    config["model_type"] = json!("mamba");
    bench.write("model/config.json", config.to_string());
    fails(&mut ask(&bench), &["MambaForCausalLM", "LlamaForCausalLM"]);
}

#[test]
fn missing_tokenizer() {
    let bench = Bench::new();
    fs::remove_file(bench.path("model/tokenizer.json")).unwrap();
    fails(&mut ask(&bench), &["tokenizer.json", "missing"]);
}

#[test]
fn unknown_model() {
    let mut command = wise();
    command.args(["ask", "--model", "no-such-model", "Hello"]);
    fails(
        &mut command,
        &["no-such-model", "expected smollm2", "hint: "],
    );
}

#[test]
fn a_line_that_is_not_json() {
    let bench = Bench::new();
    bench.write("facts.jsonl", common::facts(2) + "prompt: no\n");
    let edit = ["--edits", "facts.jsonl", "--out", "facts.wise"];
    fails(&mut bench.edit(&edit), &["facts.jsonl", "line 3"]);
    assert!(!bench.path("facts.wise").exists());
}

#[test]
fn empty_texts() {
    let bench = Bench::new();
    let edit = |prompt, target| {
        bench.edit(&[
            "--prompt",
            prompt,
            "--target",
            target,
            "--out",
            "facts.wise",
        ])
    };
    fails(&mut edit(" ", "x"), &["prompt is empty"]);
    fails(&mut edit("x", ""), &["target is empty"]);
    fails(&mut bench.wise("ask", &[" "]), &["prompt is empty"]);
    assert!(!bench.path("facts.wise").exists());
}

#[test]
fn a_target_longer_than_the_context() {
    let bench = Bench::new();
    let long = "y".repeat(common::CONTEXT + 1);
    let edit = [
        "--prompt",
        "Where?",
        "--target",
        &long,
        "--out",
        "facts.wise",
    ];
    fails(
        &mut bench.edit(&edit),
        &["tokens", "expected at most 256", "hint: "],
    );
    assert!(!bench.path("facts.wise").exists());
}

#[test]
fn a_layer_out_of_range() {
    let bench = Bench::new();
    let edit = [
        "--prompt",
        "a",
        "--target",
        "b",
        "--layer",
        "3",
        "--out",
        "facts.wise",
    ];
    fails(
        &mut bench.edit(&edit),
        &["layer 3 is out of range", "0 to 2"],
    );
}

#[test]
fn a_patch_for_another_model() {
    let bench = Bench::new();
    let edit = ["--prompt", "a", "--target", "b", "--out", "facts.wise"];
    bench.edit(&edit).assert().success();
    bench.write("model/model.safetensors", common::weights(0.9));
    let mut command = bench.wise("ask", &["--patch", "facts.wise", "Hello"]);
    fails(&mut command, &["model_id", "made for model", "hint: "]);
}

#[test]
fn a_file_that_is_no_patch() {
    let bench = Bench::new();
    bench.write("facts.wise", "hello");
    let mut command = bench.wise("ask", &["--patch", "facts.wise", "Hello"]);
    fails(&mut command, &["facts.wise is not a valid patch"]);
    let mut command = bench.wise("ask", &["--patch", "model/model.safetensors", "Hello"]);
    fails(&mut command, &["expected a manifest"]);
}

#[test]
fn a_damaged_patch() {
    let bench = Bench::new();
    let edit = ["--prompt", "a", "--target", "b", "--out", "facts.wise"];
    bench.edit(&edit).assert().success();
    let whole = fs::read(bench.path("facts.wise")).unwrap();
    for length in [0, 7, 50, whole.len() / 2, whole.len() - 1] {
        bench.write("facts.wise", &whole[..length]);
        let mut command = bench.wise("ask", &["--patch", "facts.wise", "Hello"]);
        fails(&mut command, &["facts.wise is not a valid patch"]);
    }
}

#[test]
fn a_patch_whose_matrix_has_another_shape() {
    let bench = Bench::new();
    let edit = ["--prompt", "a", "--target", "b", "--out", "facts.wise"];
    bench.edit(&edit).assert().success();
    let path = bench.path("facts.wise");
    let mut turned = wise_patch::Patch::load(&path).unwrap();
    turned.manifest.site.shape.reverse();
    turned.save(&path).unwrap();
    let mut command = bench.wise("ask", &["--patch", "facts.wise", "Hello"]);
    fails(
        &mut command,
        &["down_proj", "[64, 32]", "expected [32, 64]"],
    );
}

#[test]
fn a_patch_with_places_that_no_editor_gives() {
    let bench = Bench::new();
    let edit = ["--prompt", "a", "--target", "b", "--out", "facts.wise"];
    bench.edit(&edit).assert().success();
    let whole = wise_patch::Patch::load(&bench.path("facts.wise")).unwrap();
    let path = bench.path("bad.wise");
    let refused = |damage: &dyn Fn(&mut wise_patch::Manifest), said: &str| {
        let mut bad = whole.clone();
        damage(&mut bad.manifest);
        bad.save(&path).unwrap();
        fails(&mut bench.patch(&["list", "bad.wise"]), &[said]);
    };
    refused(&|m| m.dealt = 50 << 21, "2097152 shards, expected at most");
    refused(
        &|m| m.shards[0].edits[0].supersedes = Some(usize::MAX),
        "expected at most",
    );
    refused(
        &|m| m.shards[0].edits[0].first_negative = usize::MAX,
        "expected at most",
    );
    refused(
        &|m| m.provenance = [(usize::MAX, wise_patch::Provenance::default())].into(),
        "expected at most",
    );
}

#[test]
fn a_time_past_what_can_be_written() {
    let bench = Bench::new();
    for seconds in ["1700000000000", &u64::MAX.to_string()] {
        let edit = [
            "--prompt",
            "a",
            "--target",
            "b",
            "--out",
            "facts.wise",
            "--force",
        ];
        let mut command = bench.edit(&edit);
        command.env("SOURCE_DATE_EPOCH", seconds).assert().success();
    }
    let patch = wise_patch::Patch::load(&bench.path("facts.wise")).unwrap();
    let when = patch.manifest.provenance[&1].when.clone();
    assert_eq!(when.as_deref(), Some("9999-12-31T23:59:59Z"));
}

#[test]
fn a_patch_that_is_not_there_leaves_nothing_beside_it() {
    let bench = Bench::new();
    let edit = ["--prompt", "a", "--target", "b", "--patch", "typo.wise"];
    fails(&mut bench.wise("edit", &edit), &["typo.wise"]);
    for command in [vec!["undo", "typo.wise", "1"], vec!["compact", "typo.wise"]] {
        fails(&mut bench.patch(&command), &["typo.wise"]);
    }
    assert!(!bench.path("typo.wise.lock").exists());
}

#[test]
fn an_end_of_sequence_token_that_does_not_exist() {
    let bench = Bench::new();
    bench.write("model/generation_config.json", r#"{"eos_token_id": 999}"#);
    fails(
        &mut ask(&bench),
        &["token 999 is out of range", "less than 257"],
    );
}

#[test]
fn a_model_that_never_stops_cannot_be_taught_to() {
    let bench = Bench::new();
    let mut config = common::config();
    config["eos_token_id"] = json!(null);
    bench.write("model/config.json", config.to_string());
    bench.write("model/tokenizer_config.json", "{}");
    let edit = ["--prompt", "a", "--target", "b", "--out", "facts.wise"];
    fails(
        &mut bench.edit(&edit),
        &["no end-of-sequence token", "hint: "],
    );
}

#[test]
fn a_negative_longer_than_the_context() {
    let bench = Bench::new();
    let long = "n".repeat(common::CONTEXT);
    bench.write(
        "negatives.jsonl",
        format!("{{\"prompt\": \"Short\"}}\n{{\"prompt\": \"{long}\"}}\n"),
    );
    bench.write("activation.toml", "route_by = \"activation\"\n");
    let edit = [
        "--prompt",
        "a",
        "--target",
        "b",
        "--negatives",
        "negatives.jsonl",
        "--config",
        "activation.toml",
        "--out",
        "f.wise",
    ];
    fails(
        &mut bench.wise("edit", &edit),
        &["router negative 2", "expected at most 256"],
    );
}

#[test]
fn unusable_places_to_write() {
    let bench = Bench::new();
    bench.write("file", "");
    let edit = |out| bench.edit(&["--prompt", "a", "--target", "b", "--out", out]);
    fails(
        &mut edit("no/such/folder/facts.wise"),
        &["facts.wise", "hint: "],
    );
    fails(&mut edit("file/facts.wise"), &["facts.wise", "hint: "]);
    fails(&mut edit("file"), &["file exists", "--force"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_printed_is_a_failure() {
    let program = assert_cmd::cargo::cargo_bin("wise");
    for json in ["", "--json"] {
        let script = format!("exec '{}' doctor {json} > /dev/full", program.display());
        let mut shell = assert_cmd::Command::new("bash");
        fails(shell.args(["-c", &script]), &["error: cannot print"]);
    }
}

/// A file size limit stands in for a full disk: the write fails half-way, as it would there.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let bench = Bench::new();
    bench.write("quick.toml", "n_iter = 1\n");
    let program = assert_cmd::cargo::cargo_bin("wise");
    let limited = |out: &str, force: &str| {
        let script = format!(
            "trap '' XFSZ; ulimit -f 1; exec '{}' edit --model model --config quick.toml \
             --prompt a --target b --out {out} {force}",
            program.display()
        );
        let mut shell = assert_cmd::Command::new("bash");
        shell.args(["-c", &script]).current_dir(bench.folder.path());
        shell.env("WISE_CACHE", "/dev/null/cache");
        shell
    };
    fails(
        &mut limited("facts.wise", ""),
        &["cannot save facts.wise", "hint: "],
    );
    assert!(!bench.path("facts.wise").exists());
    bench.write("old.wise", "what was there");
    fails(
        &mut limited("old.wise", "--force"),
        &["cannot save old.wise"],
    );
    assert_eq!(fs::read(bench.path("old.wise")).unwrap(), b"what was there");
    let left: Vec<_> = fs::read_dir(bench.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("unfinished"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn unknown_hyperparameters_and_ranges() {
    let bench = Bench::new();
    let edit = [
        "--prompt",
        "a",
        "--target",
        "b",
        "--config",
        "c.toml",
        "--out",
        "facts.wise",
    ];
    bench.write("c.toml", "iterations = 3\n");
    fails(
        &mut bench.wise("edit", &edit),
        &["c.toml", "iterations", "n_iter"],
    );
    bench.write("c.toml", "mask_ratio = 1.5\n");
    fails(
        &mut bench.wise("edit", &edit),
        &["mask_ratio is 1.5", "expected"],
    );
    bench.write("c.toml", "n_iter = \n");
    fails(&mut bench.wise("edit", &edit), &["c.toml"]);
}

#[test]
fn a_device_that_is_not_compiled_in() {
    let bench = Bench::new();
    if cfg!(feature = "cuda") {
        return;
    }
    let mut command = bench.wise("ask", &["--device", "cuda:0", "Hello"]);
    fails(&mut command, &["cargo feature `cuda`", "hint: "]);
}

#[test]
fn errors_are_data_for_programs() {
    let mut command = wise();
    command.args(["ask", "--json", "--model", "no-such-model", "Hello"]);
    let assert = command.assert().code(1);
    let error: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert!(error["error"].as_str().unwrap().contains("no-such-model"));
    assert!(error["hint"].is_string());
}

#[test]
fn wrong_usage_is_exit_code_two() {
    wise()
        .arg("edit")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--out"));
    wise()
        .args(["ask", "--device", "tpu", "x"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("expected cpu"));
    wise()
        .args(["ask", "--precision", "fp16", "x"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("expected f32, bf16 or f16"));
}

#[test]
fn a_conversation_that_is_none() {
    let bench = Bench::new();
    bench.write("earlier.jsonl", "{\"role\": \"user\"}\n");
    let ask = [
        "--prompt-format",
        "chat",
        "--earlier",
        "earlier.jsonl",
        "Hm?",
    ];
    let expected = [
        "earlier.jsonl is not a conversation: line 1",
        "missing field `content`",
        "hint:",
    ];
    fails(&mut bench.wise("ask", &ask), &expected);
    let raw = [
        "--prompt-format",
        "raw",
        "--earlier",
        "earlier.jsonl",
        "Hm?",
    ];
    fails(
        &mut bench.wise("ask", &raw),
        &["--earlier is of a chat, got --prompt-format raw"],
    );
}
