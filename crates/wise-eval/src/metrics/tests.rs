use std::fs;

use serde_json::{Value, json};

use super::*;

/// A plausible small evaluation of an editor that routes. Every third edit is forgotten.
pub(crate) fn report(edits: usize) -> Report {
    let records: Vec<RecordScores> = (1..=edits).map(record).collect();
    let mut summary = Summary::of(&records);
    summary.peak_memory_bytes = Some(1_500_000_000);
    Report {
        schema: SCHEMA,
        model: ModelInfo {
            name: "smollm2".to_owned(),
            sha256: "ab".repeat(32),
            precision: "f32".to_owned(),
        },
        editor: "wise".to_owned(),
        edits,
        seed: 0,
        order: None,
        prompt_format: PromptFormat::Raw,
        oracle_router: false,
        relations: None,
        negatives: None,
        protocols: Some(Protocols::BOTH),
        held_text: None,
        config: json!({"edit_lr": 0.03, "act_margin": [20.0, 30.0, 10.0], "layer": null}),
        setup: "ef".repeat(32),
        data: Data {
            path: "zsre.jsonl".to_owned(),
            format: Format::Zsre,
            sha256: "cd".repeat(32),
        },
        summary,
        records,
    }
}

/// The `id`-th record, through JSON as a reader would get it.
fn record(id: usize) -> RecordScores {
    let right = if id.is_multiple_of(3) { 0.0 } else { 1.0 };
    let shown = |memory: Value, activation: f64| {
        json!({"answer": "Ys", "finish": "eos",
               "route": {"memory": memory, "activation": activation, "threshold": 20.0}})
    };
    let scores = |edit: f64| {
        json!({"generation.edit.exact_match": edit, "generation.rephrase.exact_match": edit,
               "teacher_forced.edit.token_accuracy": edit.max(0.5)})
    };
    let value = json!({
        "prompt": format!("Where is town {id}?"), "target": format!("Land {id}"),
        "rephrase": format!("Town {id} is where?"),
        "id": id, "superseded_by": null, "seconds": 1.5, "iterations": 2,
        "losses": [[2.0, 30.0], [0.5, 10.0]], "memory": 0, "resident_bytes": 900_000_000_u64,
        "before": {"scores": scores(0.0), "answers": {}},
        "immediate": {"scores": scores(1.0), "answers": {"generation.edit": shown(json!(0), 30.0)}},
        "after": {"scores": scores(right), "answers": {
            "generation.edit": shown(json!(0), 30.0), "generation.rephrase": shown(json!(0), 22.0),
            "generation.locality": shown(json!(null), 10.0),
            "generation.locality.1": shown(json!(0), 25.0)}}
    });
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_report_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(4);
    let file = report.write(folder.path()).unwrap();
    assert_eq!(read(folder.path()).unwrap(), report);
    assert_eq!(read(&file).unwrap(), report);
}

#[test]
fn keys_are_those_of_the_schema() {
    let value = serde_json::to_value(report(2)).unwrap();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys(&value["summary"]["scores"][0]),
        ["name", "moment", "mean", "low", "high", "count"]
    );
    assert_eq!(value["summary"]["scores"][0]["moment"], "before");
    assert_eq!(
        keys(&value["summary"]["retention"][0]["bins"][0]),
        ["newest", "oldest", "mean", "low", "high", "count"]
    );
    assert_eq!(value["records"][0]["prompt"], "Where is town 1?");
    assert_eq!(value["records"][0]["losses"][1], json!([0.5, 10.0]));
    assert_eq!(
        keys(&value["summary"]),
        [
            "scores",
            "retention",
            "routing",
            "drift",
            "seconds_per_edit",
            "peak_memory_bytes"
        ]
    );
}

#[test]
fn what_is_not_finite_does_not_make_a_report_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = report(1);
    report.records[0].losses = vec![[f32::NAN, f32::INFINITY]];
    let scores = &mut report.records[0].after.scores;
    scores.insert("perplexity.edit.perplexity".to_owned(), f64::INFINITY);
    report.summary.scores[0].interval.high = f64::INFINITY;
    report.write(folder.path()).unwrap();
    let read = read(folder.path()).unwrap();
    assert!(read.records[0].losses[0].iter().all(|loss| loss.is_nan()));
    assert!(read.summary.scores[0].interval.high.is_nan());
    let scores = &read.records[0].after.scores;
    assert!(!scores.contains_key("perplexity.edit.perplexity"));
}

#[test]
fn what_is_no_report_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let says = |expected: &str| {
        let error = read(path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        error.hint().unwrap()
    };
    assert!(says("has no metrics.json").contains("wise eval --out"));
    fs::write(path.join(RUN_FILE), "{}").unwrap();
    assert!(says("not finished").contains("--resume"));
    fs::write(path.join(METRICS_FILE), "not json").unwrap();
    says("is not a report");
    fs::write(path.join(METRICS_FILE), r#"{"schema": 1}"#).unwrap();
    assert!(says("got schema 1, expected 2").contains("wise eval again"));
    fs::write(path.join(METRICS_FILE), r#"{"schema": 3}"#).unwrap();
    assert!(says("got schema 3, expected 2").contains("newer"));
    fs::write(path.join(METRICS_FILE), r#"{"schema": 2}"#).unwrap();
    says("missing field");
    let absent = read(&path.join("absent.json")).unwrap_err();
    assert!(absent.to_string().starts_with("cannot read"), "{absent}");
}

fn interval(report: &Report, name: &str, moment: Moment) -> Interval {
    let found = |score: &&ScoreSummary| score.name == name && score.moment == moment;
    report.summary.scores.iter().find(found).unwrap().interval
}

#[test]
fn the_summary_has_means_at_every_moment() {
    let report = report(6);
    let name = "generation.edit.exact_match";
    let mean = |moment| interval(&report, name, moment).mean;
    assert_eq!(Moment::ALL.map(mean), [0.0, 1.0, 4.0 / 6.0]);
    assert_eq!(interval(&report, name, Moment::End).count, 6);
    assert_eq!(report.summary.seconds_per_edit, Some(1.5));
    assert_eq!(Summary::of(&[]), Summary::default());
}

#[test]
fn the_last_edit_has_age_zero() {
    let report = report(3);
    let retention = &report.summary.retention[0];
    assert_eq!(retention.name, "generation.edit.exact_match");
    let bins: Vec<_> = retention
        .bins
        .iter()
        .map(|bin| (bin.newest, bin.oldest, bin.interval.mean))
        .collect();
    assert_eq!(bins, [(0, 0, 0.0), (1, 1, 1.0), (2, 2, 1.0)]);
}

#[test]
fn routing_counts_every_locality_prompt() {
    let routing = report(2).summary.routing.unwrap();
    assert_eq!((routing.edits, routing.rephrases), (Some(1.0), Some(1.0)));
    assert_eq!(routing.locality, Some(0.5));
    // Per record 1.5 and 1.1 against 0.5 and 1.25: three of four pairs.
    assert_eq!(routing.auc, Some(0.75));
    assert_eq!(routing.roc.last(), Some(&[1.0, 1.0]));
}

#[test]
fn an_edit_that_no_memory_holds_is_not_in_the_right_place() {
    let mut record = record(1);
    record.memory = None;
    let main = RouteTaken {
        memory: None,
        activation: Some(1.0),
        threshold: Some(2.0),
        edit: None,
    };
    let answers = &mut record.after.answers;
    answers.get_mut("generation.edit").unwrap().route = main;
    let routing = Summary::of(&[record]).routing.unwrap();
    assert_eq!(routing.edits, Some(0.0));
}

#[test]
fn an_editor_without_a_threshold_does_not_route() {
    let mut record = record(1);
    for shown in record.after.answers.values_mut() {
        shown.route = RouteTaken {
            memory: None,
            activation: Some(0.0),
            threshold: None,
            edit: None,
        };
    }
    assert_eq!(Summary::of(&[record]).routing, None);
}

#[test]
fn a_name_has_three_parts() {
    assert_eq!(parts("generation.edit.f1"), ["generation", "edit", "f1"]);
    assert_eq!(parts("own"), ["own", "", ""]);
    assert!(is_share("generation.edit.f1"));
    assert!(!is_share("perplexity.edit.nll"));
}
