//! `wise report` and `wise compare` from outside, on hand-made evaluations.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use common::wise;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A plausible small `metrics.json`: two edits, of which the second is lost.
fn metrics(editor: &str, kept: f64) -> Value {
    let record = |id: usize, end: f64| {
        let shown = json!({"answer": "Atlantis", "finish": "eos",
            "route": {"memory": 0, "activation": 30.0, "threshold": 20.0}});
        let at = |score: f64| {
            json!({"scores": {"generation.edit.exact_match": score},
                   "answers": {"generation.edit": shown}})
        };
        json!({
            "prompt": format!("Where is <town {id}>?"), "target": format!("Land {id}"),
            "id": id, "superseded_by": null, "seconds": 1.25, "iterations": 2,
            "losses": [[2.0, 30.0], [0.5, null]], "memory": 0, "resident_bytes": null,
            "before": at(0.0), "immediate": at(1.0), "after": at(end)
        })
    };
    let score = |moment: &str, mean: f64| {
        json!({"name": "generation.edit.exact_match", "moment": moment, "mean": mean,
               "low": mean, "high": mean, "count": 2})
    };
    json!({
        "schema": 2, "model": {"name": "tiny", "sha256": "00ff"}, "editor": editor, "edits": 2,
        "seed": 0, "order": null, "prompt_format": "raw", "config": {"n_iter": 2, "layer": 1},
        "data": {"path": "facts.jsonl", "format": "jsonl", "sha256": "11ee"},
        "summary": {
            "scores": [score("before", 0.0), score("immediate", 1.0), score("end", f64::midpoint(1.0, kept))],
            "retention": [{"name": "generation.edit.exact_match", "bins": [
                {"newest": 0, "oldest": 1, "mean": 0.5, "low": 0.0, "high": 1.0, "count": 2}]}],
            "routing": null, "drift": null, "seconds_per_edit": 1.25, "peak_memory_bytes": null
        },
        "records": [record(1, 1.0), record(2, kept)]
    })
}

/// A folder with a run in `run/`.
fn bench() -> TempDir {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "run", &metrics("wise", 0.0).to_string());
    folder
}

fn write(folder: &Path, run: &str, content: &str) {
    fs::create_dir_all(folder.join(run)).unwrap();
    fs::write(folder.join(run).join("metrics.json"), content).unwrap();
}

fn command(folder: &TempDir, args: &[&str]) -> Command {
    let mut wise = wise();
    wise.current_dir(folder.path()).args(args);
    wise
}

fn stdout(folder: &TempDir, args: &[&str]) -> String {
    let assert = command(folder, args).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[track_caller]
fn fails(folder: &TempDir, args: &[&str], said: &[&str]) {
    let assert = command(folder, args).assert().code(1);
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.starts_with("error: "), "{stderr}");
    for text in said {
        assert!(stderr.contains(text), "{text:?} is missing in: {stderr}");
    }
}

#[test]
fn a_report_lies_in_its_run() {
    let folder = bench();
    assert_eq!(
        stdout(&folder, &["report", "run"]).trim(),
        "run/report.html"
    );
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>"));
    assert!(page.contains("wise on tiny, 2 edits"));
    // Again, from the file itself, and as JSON.
    let json = stdout(&folder, &["report", "run/metrics.json", "--json"]);
    let written: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(written["report"], "run/report.html");
    assert_eq!(written["bytes"], page.len());
}

#[test]
fn plots_are_files_of_their_own() {
    let folder = bench();
    let said = stdout(&folder, &["report", "run", "--plots", "new/figures"]);
    let plots: Vec<&str> = said.lines().skip(1).collect();
    assert!(plots.contains(&"new/figures/retention-edit.svg"), "{said}");
    for plot in plots {
        let svg = fs::read_to_string(folder.path().join(plot)).unwrap();
        assert!(svg.starts_with("<svg xmlns="), "{plot}");
    }
    fs::write(folder.path().join("taken"), "").unwrap();
    fails(
        &folder,
        &["report", "run", "--plots", "taken"],
        &["cannot write taken"],
    );
}

#[test]
fn a_report_goes_where_it_is_wanted() {
    let folder = bench();
    let args = ["report", "run", "--out", "page.html"];
    assert_eq!(stdout(&folder, &args).trim(), "page.html");
    assert!(folder.path().join("page.html").exists());
    assert!(!folder.path().join("run/report.html").exists());
}

#[test]
fn texts_are_escaped() {
    let folder = bench();
    let mut metrics = metrics("wise", 0.0);
    metrics["records"][1]["prompt"] = "<script>alert(1)</script>".into();
    metrics["records"][1]["after"]["answers"]["generation.edit"]["answer"] = "<b>bold".into();
    write(folder.path(), "run", &metrics.to_string());
    stdout(&folder, &["report", "run"]);
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    assert!(page.contains("&lt;b&gt;bold"), "{page}");
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn what_is_no_report_is_refused() {
    let folder = bench();
    fails(
        &folder,
        &["report", "absent"],
        &["cannot read absent", "hint: "],
    );
    write(folder.path(), "text", "once upon a time");
    fails(
        &folder,
        &["report", "text"],
        &["text/metrics.json is not a report", "line 1"],
    );
    write(folder.path(), "old", "{\"schema\": 1}");
    fails(
        &folder,
        &["report", "old"],
        &[
            "old/metrics.json: got schema 1, expected 2",
            "hint: run wise eval again",
        ],
    );
    write(folder.path(), "half", "{\"schema\": 2}");
    fails(&folder, &["report", "half"], &["missing field `model`"]);
    fs::create_dir(folder.path().join("empty")).unwrap();
    fails(
        &folder,
        &["report", "empty"],
        &["empty has no metrics.json"],
    );
    fs::write(folder.path().join("empty/run.json"), "{}").unwrap();
    fails(
        &folder,
        &["compare", "run", "empty"],
        &[
            "the run in empty is not finished",
            "hint: finish it: repeat the wise eval command",
        ],
    );
}

#[test]
fn a_page_that_cannot_be_written_is_an_error() {
    let folder = bench();
    fails(
        &folder,
        &["report", "run", "--out", "absent/page.html"],
        &[
            "cannot write absent/page.html",
            "hint: check that the folder exists",
        ],
    );
    fails(
        &folder,
        &["report", "run", "--out", "run"],
        &["cannot write run"],
    );
    let left: Vec<_> = fs::read_dir(folder.path().join("run")).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn two_runs_are_compared_record_by_record() {
    let folder = bench();
    let mut other = metrics("ft-m", 1.0);
    other["config"]["n_iter"] = 3.into();
    write(folder.path(), "other", &other.to_string());
    let text = stdout(&folder, &["compare", "run", "other"]);
    for said in [
        "A  run: wise on tiny, 2 edits, 1.25 s per edit",
        "B  other: ft-m on tiny",
        "2 records that both have",
        "generation.edit.exact_match",
        "+0.500",
        "n_iter",
    ] {
        assert!(text.contains(said), "{said} is missing in:\n{text}");
    }
    let json = stdout(&folder, &["compare", "run", "other", "--json"]);
    let comparison: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(comparison["shared_records"], 2);
    let end = &comparison["scores"][2];
    assert_eq!(
        (&end["moment"], &end["paired"]),
        (&json!("end"), &json!(true))
    );
    assert_eq!(end["difference"]["mean"], 0.5);
    assert_eq!(
        comparison["settings"],
        json!([{"key": "editor", "a": "wise", "b": "ft-m"}, {"key": "n_iter", "a": 2, "b": 3}])
    );
}

#[test]
fn help_teaches() {
    let folder = bench();
    for (name, words) in [
        ("report", ["wise eval", "report.html", "Example"]),
        ("compare", ["B - A", "excludes zero", "Example"]),
    ] {
        let help = stdout(&folder, &[name, "--help"]);
        for word in words {
            assert!(help.contains(word), "{word} is missing in:\n{help}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_reader_may_leave_early() {
    let folder = bench();
    let line = format!("{} report run | true", env!("CARGO_BIN_EXE_wise"));
    let shell = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", &line])
        .assert();
    let stderr = String::from_utf8_lossy(&shell.get_output().stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
}
