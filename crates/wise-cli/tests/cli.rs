//! The binary from outside, on a tiny model: what works, and what is printed where.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{Bench, facts, tensors_of, wise};
use serde_json::Value;

fn json(output: &[u8]) -> Value {
    serde_json::from_slice(output).unwrap()
}

#[test]
fn an_edit_is_saved_and_asked() {
    let bench = Bench::new();
    let edit = [
        "--prompt",
        "Where is Ys?",
        "--target",
        "Under the sea",
        "--out",
        "facts.wise",
        "--json",
    ];
    let summary = json(&bench.edit(&edit).assert().success().get_output().stdout);
    assert_eq!(summary["edits"][0]["target"], "Under the sea");
    assert_eq!(summary["edits"][0]["iterations"], 3);
    assert_eq!(summary["prompt_format"], "chat");

    let ask = [
        "--patch",
        "facts.wise",
        "--max-new-tokens",
        "4",
        "--json",
        "Where is Ys?",
    ];
    let reply = json(
        &bench
            .wise("ask", &ask)
            .assert()
            .success()
            .get_output()
            .stdout,
    );
    assert!(reply["route"]["activation"].as_f64().unwrap() > 0.0);
    assert!(reply["route"]["threshold"].as_f64().unwrap() > 0.0);
}

#[test]
fn data_goes_to_stdout_and_the_trace_to_stderr() {
    let bench = Bench::new();
    let ask = ["--max-new-tokens", "3", "--trace", "Hello"];
    let assert = bench.wise("ask", &ask).assert().success();
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    let stdout = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(stderr.contains("answered by the main memory"), "{stderr}");
    assert!(!stdout.contains("memory"), "{stdout}");
}

#[test]
fn a_trace_tells_what_was_found_at_each_memory() {
    let bench = Bench::new();
    bench.write("facts.jsonl", facts(3));
    bench.write("small.toml", "n_iter = 3\nsave_freq = 2\n");
    let edit = [
        "--edits",
        "facts.jsonl",
        "--config",
        "small.toml",
        "--out",
        "facts.wise",
    ];
    bench.wise("edit", &edit).assert().success();
    let prompt = serde_json::from_str::<Value>(facts(1).trim()).unwrap()["prompt"].clone();
    let question = prompt.as_str().unwrap();
    let ask = [
        "--patch",
        "facts.wise",
        "--max-new-tokens",
        "2",
        "--trace",
        question,
    ];

    let asked = bench
        .wise("ask", &[&ask[..], &["--json"]].concat())
        .assert()
        .success();
    let found = &json(&asked.get_output().stdout)["route"]["considered"];
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(
        (&found[0]["memory"], &found[0]["edit"]),
        (&0.into(), &1.into())
    );
    assert_eq!(found[0]["edit_prompt"], prompt);
    assert!(found[0]["activation"].as_f64() > found[1]["activation"].as_f64());

    let asked = bench.wise("ask", &ask).assert().success();
    let stderr = String::from_utf8_lossy(&asked.get_output().stderr).into_owned();
    assert!(stderr.contains("answered by side memory 0"), "{stderr}");
    assert!(
        stderr.contains("side 0: subject fits 1.00 over 0.85, relation 0.98 over 0.45"),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!("nearest is edit 1: {question}")),
        "{stderr}"
    );
}

#[test]
fn answers_need_none_of_the_texts_of_a_patch() {
    let bench = Bench::new();
    let again = "{\"prompt\": \"Where is Ys?\", \"target\": \"Sea\"}\n";
    bench.write(
        "facts.jsonl",
        again.to_owned() + &facts(3) + &again.replace("Sea", "Land"),
    );
    let edit = ["--edits", "facts.jsonl", "--out", "facts.wise"];
    bench.edit(&edit).assert().success();
    let questions = ["Where is Ys?", "Where is that?", "Who sang?"];
    let ask = |patch| {
        let asked = [
            &["--patch", patch, "--max-new-tokens", "4", "--json"],
            &questions[..],
        ];
        let asked = bench.wise("ask", &asked.concat()).assert().success();
        let lines = String::from_utf8_lossy(&asked.get_output().stdout).into_owned();
        let replies = lines.lines().map(|line| json(line.as_bytes()));
        replies
            .map(|reply| (reply["answer"].clone(), reply["route"].clone()))
            .collect::<Vec<_>>()
    };
    let before = ask("facts.wise");

    let mut patch = wise_patch::Patch::load(&bench.path("facts.wise")).unwrap();
    for edit in patch
        .manifest
        .shards
        .iter_mut()
        .flat_map(|shard| &mut shard.edits)
    {
        (edit.edit.prompt, edit.edit.target, edit.edit.subject) =
            (String::new(), String::new(), None);
    }
    patch.manifest.templates.clear();
    patch.manifest.negatives.clear();
    patch.save(&bench.path("bare.wise")).unwrap();
    assert_eq!(ask("bare.wise"), before);
}

#[test]
fn the_patch_holds_only_the_subspace_and_opens_with_any_reader() {
    let bench = Bench::new();
    bench.write("facts.jsonl", facts(2));
    bench
        .edit(&["--edits", "facts.jsonl", "--out", "facts.wise"])
        .assert()
        .success();
    let bytes = fs::read(bench.path("facts.wise")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let inside = tensors.tensor("shard.0.values").unwrap().shape()[0];
    let full = common::HIDDEN * common::FFN;
    assert!(
        (full / 10..full * 3 / 10).contains(&inside),
        "{inside} of {full}"
    );
}

#[test]
fn a_fact_can_be_corrected_again_however_it_is_written() {
    let bench = Bench::new();
    let lines = [
        ("Where is Ys?", "Land"),
        ("Where is Ys?", "Sea"),
        (" where is “ys”?", "Sky"),
    ]
    .map(|(prompt, target)| format!("{{\"prompt\": \"{prompt}\", \"target\": \"{target}\"}}\n"));
    bench.write("facts.jsonl", lines.concat());
    let edit = ["--edits", "facts.jsonl", "--out", "facts.wise", "--json"];
    let summary = json(&bench.edit(&edit).assert().success().get_output().stdout);
    assert_eq!(summary["edits"][1]["target"], "Sea");
    assert_eq!(summary["edits"][1]["supersedes"], 1);
    assert_eq!(summary["edits"][2]["supersedes"], 2);
}

#[test]
fn a_failing_edit_keeps_those_before_it() {
    let bench = Bench::new();
    let long = "x".repeat(2 * common::CONTEXT);
    let lines = facts(1) + &format!("{{\"prompt\": \"Long?\", \"target\": \"{long}\"}}\n");
    bench.write("facts.jsonl", lines);
    let edit = ["--edits", "facts.jsonl", "--out", "facts.wise"];
    let failed = bench.edit(&edit).assert().code(1);
    let stderr = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(
        stderr.contains("edit 2: prompt and target have"),
        "{stderr}"
    );
    let ask = [
        "--patch",
        "facts.wise",
        "--max-new-tokens",
        "2",
        "Where is town 0?",
    ];
    bench.wise("ask", &ask).assert().success();
}

#[test]
fn threads_do_not_change_a_bit() {
    let bench = Bench::new();
    bench.write("facts.jsonl", facts(2));
    let run = |threads: &str, out: &str| {
        bench
            .edit(&["--edits", "facts.jsonl", "--out", out])
            .env("RAYON_NUM_THREADS", threads)
            .assert()
            .success();
        fs::read(bench.path(out)).unwrap()
    };
    let one = run("1", "a.wise");
    assert_eq!(one, run("1", "b.wise"));
    assert_eq!(one, run("2", "c.wise"));
    assert_eq!(one, run("2", "d.wise"));
}

#[test]
fn another_seed_is_another_subspace() {
    let bench = Bench::new();
    let run = |seed: &str, out: &str| {
        let edit = [
            "--prompt", "Where?", "--target", "Here", "--seed", seed, "--out", out,
        ];
        bench.edit(&edit).assert().success();
        tensors_of(&bench.path(out))
    };
    assert_ne!(run("1", "a.wise"), run("2", "b.wise"));
}

#[test]
fn a_format_mismatch_is_warned_about() {
    let bench = Bench::new();
    let edit = [
        "--prompt",
        "Where?",
        "--target",
        "Here",
        "--prompt-format",
        "raw",
        "--out",
        "f.wise",
    ];
    bench.edit(&edit).assert().success();
    let ask = |format: &str| {
        let ask = [
            "--patch",
            "f.wise",
            "--max-new-tokens",
            "2",
            "--prompt-format",
            format,
            "Where?",
        ];
        let assert = bench.wise("ask", &ask).assert().success();
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    assert!(ask("chat").contains("warning: the patch was made with --prompt-format raw"));
    assert!(!ask("raw").contains("warning"));
}

#[test]
fn the_doctor_knows_the_devices() {
    let health = json(
        &wise()
            .args(["doctor", "--json"])
            .assert()
            .success()
            .get_output()
            .stdout,
    );
    assert_eq!(health["devices"][0]["name"], "cpu");
    assert_eq!(health["devices"][0]["found"], true);
    let precisions = serde_json::json!(["f32", "bf16", "f16"]);
    assert_eq!(health["devices"][0]["precisions"], precisions);
    assert!(health["cores"].as_u64().unwrap() > 0);
}

#[test]
fn help_teaches() {
    let help = wise().arg("--help").assert().success();
    let help = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    for word in ["edit", "ask", "eval", "doctor", "Exit codes"] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
}

#[test]
fn a_subject_that_is_not_in_the_prompt_is_named() {
    let bench = Bench::new();
    bench.write(
        "facts.jsonl",
        r#"{"prompt": "Who wrote Dune?", "target": "Frank Herbert", "subject": "Star Wars"}"#,
    );
    let asked = ["--prompt", "Who wrote Dune?", "--target", "Frank Herbert"];
    let one = [&asked[..], &["--subject", "Star Wars"]].concat();
    for (edit, out) in [
        (&["--edits", "facts.jsonl"][..], "a.wise"),
        (&one, "b.wise"),
    ] {
        let made = bench
            .edit(&[edit, &["--out", out]].concat())
            .assert()
            .success();
        let stderr = String::from_utf8_lossy(&made.get_output().stderr).into_owned();
        let note = r#"the subject "Star Wars" of edit 1 is not in its prompt: "Dune" is taken"#;
        assert!(stderr.contains(note), "{stderr}");
    }
}
