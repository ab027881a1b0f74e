//! `wise eval` on a tiny random model: what a run leaves behind, and how it goes on after it was killed.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Bench;
use serde_json::Value;

const EDITS: usize = 6;

fn records(count: usize) -> String {
    let record = |i: usize| {
        format!(
            "{{\"prompt\": \"Where is town {i}?\", \"target\": \"land {i}\", \
             \"rephrase\": \"Town {i} is where?\", \
             \"locality\": {{\"prompt\": \"Who is C?\", \"answer\": \"D\"}}, \
             \"portability\": {{\"prompt\": \"Which land has town {i}?\", \"answer\": \"{i}\"}}}}\n"
        )
    };
    (0..count).map(record).collect()
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("data.jsonl", records(EDITS));
    bench.write("quick.toml", "n_iter = 3\nsave_freq = 2\n");
    bench
}

fn eval(bench: &Bench, out: &str, more: &[&str]) -> assert_cmd::Command {
    let args = [
        "--data",
        "data.jsonl",
        "--format",
        "jsonl",
        "--config",
        "quick.toml",
        "--out",
        out,
    ];
    let mut wise = bench.wise("eval", &args);
    wise.args(more);
    wise
}

fn metrics(bench: &Bench, run: &str) -> Value {
    serde_json::from_slice(&fs::read(bench.path(run).join("metrics.json")).unwrap()).unwrap()
}

/// Without what two runs of the same cannot share: times and memory.
fn comparable(mut metrics: Value) -> Value {
    let summary = metrics["summary"].as_object_mut().unwrap();
    summary.remove("seconds_per_edit").unwrap();
    summary.remove("peak_memory_bytes").unwrap();
    for record in metrics["records"].as_array_mut().unwrap() {
        let record = record.as_object_mut().unwrap();
        record.remove("seconds").unwrap();
        record.remove("resident_bytes").unwrap();
    }
    metrics
}

/// Says where two JSON values part, instead of printing both.
#[track_caller]
fn assert_same(a: &Value, b: &Value) {
    if let Some(difference) = difference("", a, b) {
        panic!("{difference}");
    }
}

fn difference(at: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            let mut keys = a.keys();
            keys.find_map(|key| difference(&format!("{at}.{key}"), &a[key], &b[key]))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(i, (a, b))| difference(&format!("{at}[{i}]"), a, b))
        }
        _ if a == b => None,
        _ => Some(format!("{at}: {a:.200} and {b:.200}")),
    }
}

#[test]
fn a_run_leaves_its_report() {
    let bench = bench();
    eval(&bench, "run", &["-n", "3"]).assert().success();
    let metrics = metrics(&bench, "run");
    assert_eq!(metrics["schema"], 2);
    assert_eq!(metrics["editor"], "wise");
    assert_eq!(metrics["edits"], 3);
    assert_eq!(metrics["prompt_format"], "chat");
    assert_eq!(metrics["config"]["save_freq"], 2);
    let scores = metrics["summary"]["scores"].as_array().unwrap();
    let names: Vec<&str> = scores.iter().map(|s| s["name"].as_str().unwrap()).collect();
    for name in [
        "generation.edit.exact_match",
        "generation.rephrase.f1",
        "generation.locality.agreement",
        "generation.locality.contains",
        "generation.portability.contains",
        "generation.edit.ngram_entropy",
        "teacher_forced.edit.token_accuracy",
        "teacher_forced.locality.accuracy",
        "perplexity.edit.nll",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    let record = &metrics["records"][2];
    assert_eq!((&record["id"], &record["memory"]), (&3.into(), &1.into()));
    assert_eq!(record["losses"].as_array().unwrap().len(), 3);
    assert!(metrics["summary"]["routing"]["auc"].as_f64().is_some());
    bench.wise("report", &[]);
    common::wise()
        .current_dir(bench.folder.path())
        .args(["report", "run"])
        .assert()
        .success();
    assert!(bench.path("run/report.html").exists());
}

#[test]
fn a_killed_run_goes_on_to_the_same_numbers() {
    let bench = bench();
    eval(&bench, "whole", &[]).assert().success();
    let mut wise = std::process::Command::new(env!("CARGO_BIN_EXE_wise"));
    let mut child = wise
        .current_dir(bench.folder.path())
        .args([
            "eval",
            "--model",
            "model",
            "--data",
            "data.jsonl",
            "--format",
            "jsonl",
        ])
        .args(["--config", "quick.toml", "--out", "killed"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_edits(&bench.path("killed/edits.jsonl"), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        !bench.path("killed/metrics.json").exists(),
        "killed too late"
    );
    // A line that was being written when the power went.
    let half = bench.path("killed/edits.jsonl");
    let mut text = fs::read(&half).unwrap();
    text.extend(b"{\"id\": 6, \"seco");
    fs::write(&half, text).unwrap();

    eval(&bench, "killed", &["--resume"]).assert().success();
    let (whole, killed) = (metrics(&bench, "whole"), metrics(&bench, "killed"));
    assert_same(&comparable(whole), &comparable(killed));
}

fn wait_for_edits(path: &Path, count: usize) {
    let begun = Instant::now();
    loop {
        let lines = fs::read(path).map_or(0, |text| text.split(|&b| b == b'\n').count() - 1);
        if lines >= count {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "no edits in a minute"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_finished_run_resumes_to_itself_and_another_takes_over_its_baseline() {
    let bench = bench();
    eval(&bench, "run", &["-n", "2"]).assert().success();
    let before = metrics(&bench, "run");
    eval(&bench, "run", &["-n", "2", "--resume"])
        .assert()
        .success();
    assert_eq!(
        comparable(before.clone()),
        comparable(metrics(&bench, "run"))
    );
    eval(&bench, "other", &["-n", "2", "--baseline", "run"])
        .assert()
        .success();
    assert_same(&comparable(before), &comparable(metrics(&bench, "other")));
    let baseline = |run: &str| fs::read(bench.path(run).join("baseline.jsonl")).unwrap();
    assert_eq!(
        baseline("run"),
        baseline("other"),
        "taken over, not asked again"
    );
}

#[test]
fn a_record_that_does_not_fit_the_context_is_named() {
    let bench = bench();
    let long = "x".repeat(2 * common::CONTEXT);
    let data = format!(
        "{{\"prompt\": \"Where?\", \"target\": \"A\"}}\n\
         {{\"prompt\": \"Who?\", \"target\": \"B\", \"rephrase\": \"{long}\"}}\n"
    );
    bench.write("data.jsonl", data);
    let failed = eval(&bench, "run", &["--json"]).assert().code(1);
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(
        said.contains("record 2, \"Who?\": ") && said.contains("hint: shorten"),
        "{said}"
    );
    let object = String::from_utf8_lossy(&failed.get_output().stdout).into_owned();
    assert_eq!(object.lines().count(), 1, "{object}");
}

#[test]
fn a_run_is_written_by_one_process_at_a_time() {
    let bench = bench();
    eval(&bench, "run", &["-n", "1"]).assert().success();
    let held = fs::File::create(bench.path("run").join("lock")).unwrap();
    held.lock().unwrap();
    let busy = eval(&bench, "run", &["-n", "1", "--resume"])
        .assert()
        .code(1);
    let said = String::from_utf8_lossy(&busy.get_output().stderr).into_owned();
    assert!(
        said.contains("being written by another process") && said.contains("hint: "),
        "{said}"
    );
    // Its answers can be taken over all the same.
    eval(&bench, "other", &["-n", "1", "--baseline", "run"])
        .assert()
        .success();
}

#[test]
fn only_the_last_of_several_edits_of_a_prompt_is_scored_at_the_end() {
    let bench = bench();
    let line = |target| format!("{{\"prompt\": \"Where is Ys?\", \"target\": \"{target}\"}}\n");
    bench.write("data.jsonl", ["A", "B", "C"].map(line).concat());
    eval(&bench, "run", &[]).assert().success();
    let records = metrics(&bench, "run")["records"].clone();
    let by: Vec<&Value> = (0..3).map(|i| &records[i]["superseded_by"]).collect();
    assert_eq!(by, [&Value::from(2), &Value::from(3), &Value::Null]);
    let scores = |i: usize, moment: &str| records[i][moment]["scores"].as_object().unwrap().len();
    assert_eq!((scores(0, "after"), scores(1, "after")), (0, 0));
    assert!(scores(2, "after") > 0 && scores(0, "immediate") > 0);
}

#[test]
fn every_editor_runs_goes_on_and_refuses_what_is_not_its_own() {
    let editors = ["ft-m", "ft-l", "grace", "lora"].map(|editor| (editor, "n_iter"));
    for (editor, setting) in editors.into_iter().chain([("retrieval", "fit")]) {
        let bench = bench();
        bench.write("quick.toml", format!("{setting} = 3\n"));
        eval(&bench, "run", &["-n", "3", "--editor", editor])
            .assert()
            .success();
        let run = metrics(&bench, "run");
        assert_eq!(run["editor"], editor);
        assert_eq!(run["config"][setting].as_f64(), Some(3.0));
        // As if it had been killed before the first question at the end.
        fs::remove_file(bench.path("run/metrics.json")).unwrap();
        fs::remove_file(bench.path("run/scores.jsonl")).unwrap();
        let resume = ["-n", "3", "--editor", editor, "--resume"];
        eval(&bench, "run", &resume).assert().success();
        assert_same(&comparable(run), &comparable(metrics(&bench, "run")));
        let compat = ["--editor", editor, "--compat", "paper"];
        refused(
            &mut eval(&bench, "new", &compat),
            &["--compat means nothing to --editor"],
        );
        bench.write("quick.toml", "save_freq = 2\n");
        let foreign = &["quick.toml is not a valid configuration", "save_freq"];
        refused(&mut eval(&bench, "new", &["--editor", editor]), foreign);
    }
}

#[test]
fn an_oracle_sends_each_question_to_the_memory_of_its_edit() {
    let bench = bench();
    // No text fits that well, so the router itself sends everything to the main memory.
    let never = "n_iter = 3\nsave_freq = 2\nsubject_fit = 1.0\n";
    bench.write("quick.toml", never);
    let route = |run: &str, record: usize, asked: &str| {
        let records = metrics(&bench, run)["records"].clone();
        records[record]["after"]["answers"][asked]["route"]["memory"].clone()
    };
    eval(&bench, "routed", &["-n", "3"]).assert().success();
    assert_eq!(route("routed", 2, "generation.edit"), Value::Null);
    let oracle = ["-n", "3", "--oracle-router"];
    eval(&bench, "oracle", &oracle).assert().success();
    for (record, memory) in [(0, 0), (1, 0), (2, 1)] {
        for asked in ["generation.edit", "generation.rephrase"] {
            assert_eq!(route("oracle", record, asked), memory);
        }
    }
    let report = metrics(&bench, "oracle");
    assert_eq!(report["oracle_router"], true);
    let scores = report["records"][0]["after"]["scores"].as_object().unwrap();
    assert!(!scores.keys().any(|name| name.contains("locality")));
    let another = ["-n", "3", "--resume"];
    refused(
        &mut eval(&bench, "oracle", &another),
        &["its plan.oracle_router is true, asked for"],
    );
    let rival = ["--editor", "grace", "--oracle-router"];
    refused(
        &mut eval(&bench, "new", &rival),
        &["--oracle-router means nothing to --editor grace"],
    );
}

#[test]
fn a_run_goes_on_in_its_own_precision() {
    let bench = bench();
    eval(&bench, "run", &["-n", "2"]).assert().success();
    assert_eq!(metrics(&bench, "run")["model"]["precision"], "f32");
    let rounded = ["-n", "2", "--precision", "bf16"];
    let mut resumed = eval(&bench, "run", &rounded);
    let differs = "its model.precision is \"f32\", asked for \"bf16\"";
    refused(resumed.arg("--resume"), &[differs]);
    let mut other = eval(&bench, "new", &rounded);
    refused(
        other.args(["--baseline", "run"]),
        &["asked another model or in another way"],
    );
}

#[test]
fn an_order_is_another_stream_of_the_same_records() {
    let bench = bench();
    eval(&bench, "a", &["--order", "1"]).assert().success();
    let metrics = metrics(&bench, "a");
    assert_eq!(metrics["order"], 1);
    let prompts: Vec<&str> = (0..EDITS)
        .map(|i| metrics["records"][i]["prompt"].as_str().unwrap())
        .collect();
    let mut sorted = prompts.clone();
    sorted.sort_unstable();
    assert_ne!(prompts, sorted);
    sorted.dedup();
    assert_eq!(sorted.len(), EDITS);
}

#[test]
fn repeats_differ_in_seed_and_order_and_are_summed_up() {
    let bench = bench();
    eval(&bench, "runs", &["--repeat", "2", "--seed", "5"])
        .assert()
        .success();
    let runs = ["runs/run-0", "runs/run-1"].map(|run| metrics(&bench, run));
    let seeds = runs
        .each_ref()
        .map(|run| (run["seed"].clone(), run["order"].clone()));
    assert_eq!(seeds, [(5.into(), 0.into()), (6.into(), 1.into())]);
    let together = fs::read(bench.path("runs/runs.json")).unwrap();
    let together: Value = serde_json::from_slice(&together).unwrap();
    let score = &together["scores"][0];
    assert_eq!(score["runs"].as_array().unwrap().len(), 2);
    let value = |key: &str| score[key].as_f64().unwrap();
    assert!(value("least") <= value("mean") && value("mean") <= value("most"));
    refused(
        &mut eval(&bench, "none", &["--repeat", "0"]),
        &["0 repeats", "at least 1"],
    );
}

#[test]
fn held_text_is_read_before_and_after() {
    let bench = bench();
    // The tiny model's context is shorter than a window.
    bench.write("text.txt", "word ".repeat(200));
    let failed = eval(&bench, "run", &["-n", "1", "--held-text", "text.txt"])
        .assert()
        .code(1);
    let stderr = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(stderr.contains("512"), "{stderr}");
}

#[track_caller]
fn refused(command: &mut assert_cmd::Command, said: &[&str]) {
    let failed = command.assert().code(1);
    let stderr = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    for said in said {
        assert!(stderr.contains(said), "{said:?} is missing in:\n{stderr}");
    }
}

#[test]
fn misuse_is_refused_before_anything_is_trained() {
    let bench = bench();
    eval(&bench, "run", &["-n", "2"]).assert().success();
    let again = &["run holds a run already", "hint:", "--resume"];
    refused(&mut eval(&bench, "run", &["-n", "2"]), again);
    let other = &["is another one: it has 2 edits, asked for 3", "hint:"];
    refused(&mut eval(&bench, "run", &["-n", "3", "--resume"]), other);
    let seed = &["is another one: its config.seed is 0, asked for 9"];
    refused(
        &mut eval(&bench, "run", &["-n", "2", "--seed", "9", "--resume"]),
        seed,
    );
    let few = &["has 6 records, expected at least 60", "hint:"];
    refused(&mut eval(&bench, "new", &["-n", "60"]), few);
    let zsre = ["--data", "data.jsonl", "--format", "zsre", "--out", "new"];
    refused(
        &mut bench.wise("eval", &zsre),
        &["data.jsonl, line 1: got", "\"src\""],
    );
    refused(
        &mut eval(&bench, "new", &["--baseline", "nowhere"]),
        &["holds no run"],
    );
    let preset = &["no preset \"gpt-9\"", "llama-2-7b", "smollm2"];
    refused(&mut eval(&bench, "new", &["--preset", "gpt-9"]), preset);
    let format = ["-n", "2", "--prompt-format", "raw", "--baseline", "run"];
    refused(
        &mut eval(&bench, "raw", &format),
        &["asked another model or in another way"],
    );
    assert!(
        !bench.path("raw/run.json").exists(),
        "the folder can be used"
    );
    let args = ["--data", "data.jsonl", "--format", "jsonl", "--out", "run"];
    let mut other = bench.wise("eval", &args);
    other.args(["-n", "2", "--editor", "grace", "--resume"]);
    refused(&mut other, &["its editor is wise, asked for grace"]);
    fs::write(bench.path("run/run.json"), "{").unwrap();
    refused(
        &mut eval(&bench, "run", &["--resume"]),
        &["run.json is damaged"],
    );
}
