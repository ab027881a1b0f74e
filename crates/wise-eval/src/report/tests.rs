use serde_json::{Value, json};
use wise_edit::Route;
use wise_model::Finish;

use super::*;
use crate::protocol::Measured;
use crate::{Probe, Record, generation, teacher_forced};

const SIDE: Route = Route {
    memory: Some(0),
    activation: 7.25,
    threshold: 2.5,
};

fn record(locality: bool) -> Record {
    Record {
        prompt: "Where is A?".to_owned(),
        target: "B".to_owned(),
        locality: locality
            .then(|| Probe {
                prompt: "Who is C?".to_owned(),
                answer: None,
            })
            .into_iter()
            .collect(),
        ..Record::default()
    }
}

fn measured(score: f64, route: Route, locality: bool) -> Measured {
    let forced = teacher_forced::Scores {
        reliability: teacher_forced::Score {
            score,
            route: route.into(),
        },
        generalization: None,
        locality: None,
    };
    let generated = generation::Scores {
        reliability: generation::Matched {
            score,
            contains: 1.0,
            answer: "B".to_owned(),
            finish: Finish::Eos,
            route: route.into(),
        },
        generalization: None,
        locality: locality.then(|| generation::Unchanged {
            score: 1.0,
            unedited: "D".to_owned(),
            answer: "D".to_owned(),
            finish: Finish::Length,
            route: Route::MAIN.into(),
        }),
    };
    Measured {
        teacher_forced: Some(forced),
        generation: Some(generated),
    }
}

fn report() -> Report {
    let scored = |locality, seconds| RecordScores {
        record: record(locality),
        seconds,
        iterations: 30,
        after: measured(1.0, SIDE, locality),
        before: measured(0.0, Route::MAIN, false),
    };
    let scores = Scores {
        records: vec![scored(true, 1.0), scored(false, 2.0)],
    };
    let mut summary = scores.summary();
    summary.peak_memory_bytes = None;
    Report {
        schema: SCHEMA,
        model: ModelInfo {
            name: "smollm2".to_owned(),
            sha256: "00ff".to_owned(),
        },
        editor: "wise".to_owned(),
        edits: 2,
        seed: 0,
        prompt_format: PromptFormat::Chat,
        compat: Compatibility::Wise,
        config: json!({"n_iter": 50}),
        data: Data {
            path: "zsre.jsonl".to_owned(),
            format: Format::Zsre,
        },
        summary,
        records: scores.records,
    }
}

fn written(report: &Report) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = report.write(&folder.path().join("deep/run")).unwrap();
    assert_eq!(path, folder.path().join("deep/run/metrics.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn keys_come_in_the_order_of_the_schema() {
    let json = written(&report());
    let expected = [
        "schema",
        "model",
        "editor",
        "edits",
        "seed",
        "prompt_format",
        "compat",
        "config",
        "data",
        "summary",
        "records",
    ];
    assert_eq!(keys(&json), expected);
    assert_eq!(keys(&json["model"]), ["name", "sha256"]);
    let expected = [
        "teacher_forced",
        "generation",
        "before",
        "seconds_per_edit",
        "peak_memory_bytes",
    ];
    assert_eq!(keys(&json["summary"]), expected);
    let expected = [
        "prompt",
        "target",
        "subject",
        "rephrase",
        "locality",
        "seconds",
        "iterations",
        "teacher_forced",
        "generation",
        "before",
    ];
    assert_eq!(keys(&json["records"][0]), expected);
}

#[test]
fn a_report_says_what_was_measured_and_null_for_what_was_not() {
    let json = written(&report());
    assert_eq!(json["schema"], 1);
    assert_eq!(
        (&json["compat"], &json["prompt_format"]),
        (&json!("wise"), &json!("chat"))
    );
    assert_eq!(
        json["data"],
        json!({"path": "zsre.jsonl", "format": "zsre"})
    );
    let summary = json!({
        "teacher_forced": {"reliability": 1.0, "generalization": null, "locality": null},
        "generation": {"reliability": 1.0, "generalization": null, "locality": 1.0,
            "contains": 1.0, "generalization_contains": null},
        "before": {
            "teacher_forced": {"reliability": 0.0, "generalization": null, "locality": null},
            "generation": {"reliability": 0.0, "generalization": null, "locality": null,
                "contains": 1.0, "generalization_contains": null}
        },
        "seconds_per_edit": 1.5,
        "peak_memory_bytes": null
    });
    assert_eq!(json["summary"], summary);
    let generation = json!({
        "reliability": {"score": 1.0, "contains": 1.0, "answer": "B", "finish": "eos",
            "route": {"memory": 0, "activation": 7.25, "threshold": 2.5}},
        "generalization": null,
        "locality": {"score": 1.0, "unedited": "D", "answer": "D", "finish": "length",
            "route": {"memory": null, "activation": 0.0, "threshold": null}}
    });
    assert_eq!(json["records"][0]["generation"], generation);
    assert_eq!(json["records"][1]["locality"], Value::Null);
    assert_eq!(json["records"][1]["generation"]["locality"], Value::Null);
}

#[test]
fn what_has_a_type_reads_back() {
    let report = report();
    let json = written(&report);
    let summary: Summary = serde_json::from_value(json["summary"].clone()).unwrap();
    assert_eq!(summary, report.summary);
    let forced: teacher_forced::Scores =
        serde_json::from_value(json["records"][0]["teacher_forced"].clone()).unwrap();
    assert_eq!(Some(forced), report.records[0].after.teacher_forced);
}

#[test]
fn writing_replaces_the_report_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = report();
    report.write(folder.path()).unwrap();
    report.seed = 7;
    let path = report.write(folder.path()).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(json["seed"], 7);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = report().write(&file.join("run")).unwrap_err();
    assert!(error.to_string().starts_with("cannot create "), "{error}");
    assert!(error.to_string().contains("run"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn the_table_names_the_protocol_of_every_number() {
    let expected = "\
before -> after 2 edits
protocol                  reliability       generalization    locality
teacher-forced            0.000 -> 1.000    -                 -
generation, exact match   0.000 -> 1.000    -                 1.000
generation, contains      1.000 -> 1.000    -                 -
";
    assert_eq!(report().table(), expected);
    let mut one = report();
    one.edits = 1;
    one.summary.after.generation = None;
    assert_eq!(one.table().lines().count(), 3);
    assert!(one.table().starts_with("before -> after 1 edit\n"));
}
