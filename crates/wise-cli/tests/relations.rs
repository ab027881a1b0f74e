//! `wise relations`, from outside.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use assert_cmd::assert::Assert;
use common::Bench;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use wise_patch::Patch;

/// Prompts with a rephrasing and the same asked of another subject.
fn pairs(count: usize) -> String {
    let record = |i: usize| {
        serde_json::json!({
            "prompt": format!("Where was person {i} born?"), "target": "x",
            "rephrase": format!("The birthplace of person {i} is"),
            "locality": [
                {"group": "near_miss", "prompt": format!("Where was somebody {i} born?")},
                {"group": "same_subject", "prompt": format!("What did person {i} paint?")},
            ],
        })
        .to_string()
    };
    (0..count).map(record).collect::<Vec<_>>().join("\n")
}

/// From so many records of a file, and as many of those on board.
fn learn(bench: &Bench, records: usize, out: &str) -> Value {
    bench.write("pairs.jsonl", pairs(records));
    let n = records.to_string();
    let output = bench
        .wise(
            "relations",
            &["pairs.jsonl", "-n", &n, "--out", out, "--force", "--json"],
        )
        .assert()
        .success();
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

/// Two facts, with a map of relations.
fn edit(bench: &Bench, out: &str, relations: &str) -> Assert {
    bench.write("facts.jsonl", common::facts(2));
    let files = ["--edits", "facts.jsonl", "--out", out];
    let relations = ["--relations", relations];
    bench.edit(&[&files[..], &relations].concat()).assert()
}

#[test]
fn what_was_learnt_is_the_same_twice_and_goes_into_keys_and_patch() {
    let bench = Bench::new();
    let learnt = learn(&bench, 6, "a.relations");
    assert_eq!(learnt["pairs"], serde_json::json!([24, 18]));
    learn(&bench, 6, "b.relations");
    let read = |name: &str| fs::read(bench.path(name)).unwrap();
    assert_eq!(read("a.relations"), read("b.relations"));

    edit(&bench, "with.wise", "a.relations").success();
    edit(&bench, "without.wise", "none").success();
    let has_map = |name: &str| {
        let bytes = read(name);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        tensors.tensor("relations.map").is_ok()
    };
    assert!(has_map("with.wise") && !has_map("without.wise"));
    bench
        .wise("ask", &["--patch", "with.wise", "Where was person 1 born?"])
        .assert()
        .success();
}

#[test]
fn the_fit_is_chosen_on_held_out_prompts_and_counts_unless_the_user_names_one() {
    let bench = Bench::new();
    let learnt = learn(&bench, 40, "a.relations");
    let held_out = &learnt["held_out"];
    assert_eq!(held_out["prompts"], 8);
    assert_eq!(held_out["else_of_subject_pass"], 0.0);
    assert!(
        held_out["rephrasings_pass"].as_f64() >= Some(0.5),
        "{held_out}"
    );
    let fit = learnt["relation_fit"].as_f64().unwrap();
    assert!((0.3..0.9).contains(&fit), "{fit}");

    let fit_of = |patch: &str| {
        let patch = Patch::load(&bench.path(patch)).unwrap();
        patch.manifest.config.relation_fit
    };
    edit(&bench, "a.wise", "a.relations").success();
    assert_eq!(fit_of("a.wise"), Some(fit));
    bench.write("config.toml", "n_iter = 3\nrelation_fit = 0.25\n");
    let config = ["--config", "config.toml", "--relations", "a.relations"];
    let files = ["--edits", "facts.jsonl", "--out", "b.wise"];
    let mut wise = bench.wise("edit", &[&files[..], &config].concat());
    wise.assert().success();
    assert_eq!(fit_of("b.wise"), Some(0.25));

    let learnt = learn(&bench, 9, "few.relations");
    assert_eq!(learnt["relation_fit"], 0.9);
    assert_eq!(learnt["held_out"], Value::Null);
}

#[test]
fn without_a_file_a_map_is_learnt_from_what_is_on_board() {
    let bench = Bench::new();
    let alone = ["-n", "12", "--out", "a.relations", "--json"];
    let output = bench.wise("relations", &alone).assert().success();
    let learnt: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(learnt["pairs"], serde_json::json!([48]));
    edit(&bench, "a.wise", "a.relations").success();
}

#[test]
fn facts_about_one_subject_made_in_two_goes_are_those_made_in_one() {
    let bench = Bench::new();
    learn(&bench, 40, "a.relations");
    let fact = |(prompt, target): (&str, &str)| {
        format!("{{\"prompt\": \"{prompt}\", \"target\": \"{target}\"}}\n")
    };
    let facts = [
        ("Where was Ada born?", "Rome"),
        ("Where was Bo born?", "Oslo"),
        ("Who taught Ada?", "Bo"),
        ("When did Ada die?", "1920"),
    ]
    .map(fact);
    let edit = |more: &[&str], facts: &[String]| {
        bench.write("facts.jsonl", facts.concat());
        let edits = ["--edits", "facts.jsonl"];
        bench
            .wise("edit", &[&edits[..], more].concat())
            .assert()
            .success();
    };
    let first = ["--config", "c.toml", "--relations", "a.relations", "--out"];
    bench.write("c.toml", "n_iter = 2\nrelation_fit = 0.0\n");
    edit(&[&first[..], &["whole.wise"]].concat(), &facts);
    edit(&[&first[..], &["two.wise"]].concat(), &facts[..2]);
    edit(&["--patch", "two.wise"], &facts[2..]);
    let read = |name: &str| fs::read(bench.path(name)).unwrap();
    assert!(read("whole.wise") == read("two.wise"));
}

#[test]
fn a_map_of_another_model_is_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    fs::write(other.path("model/model.safetensors"), common::weights(2.0)).unwrap();
    learn(&other, 4, "other.relations");
    fs::copy(other.path("other.relations"), bench.path("other.relations")).unwrap();
    edit(&bench, "x.wise", "other.relations")
        .code(1)
        .stderr(contains("other.relations was learnt on").and(contains("hint: ")));
}

#[test]
fn files_without_pairs_or_that_are_no_map_are_refused() {
    let bench = Bench::new();
    bench.write("pairs.jsonl", r#"{"prompt": "P", "target": "T"}"#);
    bench
        .wise("relations", &["pairs.jsonl", "--out", "a.relations"])
        .assert()
        .code(1)
        .stderr(contains("neither rephrasings nor near misses").and(contains("hint: ")));
    assert!(!bench.path("a.relations").exists());

    bench.write("pairs.jsonl", pairs(2));
    let far = ["pairs.jsonl", "--out", "a.relations", "--layer", "99"];
    bench
        .wise("relations", &far)
        .assert()
        .code(1)
        .stderr(contains("99"));
    assert!(!bench.path("a.relations").exists());

    bench.write("junk.relations", "not a map");
    edit(&bench, "x.wise", "junk.relations")
        .code(1)
        .stderr(contains("is not a reader of relations").and(contains("hint: ")));
}

#[test]
fn a_run_goes_on_with_the_map_it_began_with() {
    let bench = Bench::new();
    for (count, map) in [(6, "a.relations"), (8, "b.relations")] {
        learn(&bench, count, map);
    }
    bench.write("facts.jsonl", common::facts(1));
    bench.write("quick.toml", "n_iter = 3\nrelation_fit = 0.9\n");
    let eval = |relations: &str| {
        let mut command = bench.wise("eval", &["--data", "facts.jsonl", "--format", "jsonl"]);
        command.args(["--config", "quick.toml", "--out", "run", "--resume"]);
        command.args(["--relations", relations]);
        command
    };
    eval("a.relations").assert().success();
    common::fails(
        &mut eval("b.relations"),
        &["is another one: its plan.relations is"],
    );
    let [a, b] = ["a.relations", "b.relations"].map(|map| std::fs::read(bench.path(map)).unwrap());
    std::fs::write(bench.path("a.relations"), b).unwrap();
    common::fails(&mut eval("a.relations"), &["is another one: its setup is"]);
    std::fs::write(bench.path("a.relations"), a).unwrap();
    eval("a.relations").assert().success();
}
