//! The benchmark files as they are distributed. They are no part of the project: these tests run where
//! `WISE_BENCH_DATA` names a folder with the files of [`FILES`], and pass without a check elsewhere;
//! `cargo xtask test` says so.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::PathBuf;

use wise_eval::{Format, Probe, Record, read};

/// With how many records each has.
const FILES: [(&str, Format, usize); 8] = [
    ("zsre.jsonl", Format::Zsre, 1000),
    ("zsre_train.jsonl", Format::Zsre, 999),
    ("zsre_wise_edit.jsonl", Format::Zsre, 459),
    ("counterfact.jsonl", Format::CounterFact, 500),
    ("hallucination_edit.jsonl", Format::Hallucination, 288),
    ("hallucination_train.jsonl", Format::Hallucination, 166),
    ("temporal.jsonl", Format::Temporal, 73),
    ("qaedit.jsonl", Format::QaEdit, 500),
];

fn folder() -> Option<PathBuf> {
    std::env::var_os("WISE_BENCH_DATA").map(PathBuf::from)
}

/// Every file, with its name.
fn files() -> Vec<(&'static str, Vec<Record>)> {
    let Some(folder) = folder() else {
        return Vec::new();
    };
    let records = |(name, format, _)| (name, read(&folder.join(name), format, None).unwrap());
    FILES.into_iter().map(records).collect()
}

fn answered(probes: &[Probe]) -> usize {
    probes.iter().filter(|probe| probe.answer.is_some()).count()
}

#[test]
fn every_file_is_read_whole() {
    for ((name, records), (.., expected)) in files().iter().zip(FILES) {
        assert_eq!(records.len(), expected, "{name}");
    }
}

#[test]
fn every_record_has_what_the_scores_need() {
    for (name, records) in files() {
        for record in records {
            let prompt = &record.prompt;
            assert!(record.subject.is_some(), "{name}: {prompt}");
            let questions = !name.starts_with("hallucination") && name != "temporal.jsonl";
            assert_eq!(record.rephrase.is_some(), questions, "{name}: {prompt}");
            let locality = if name == "qaedit.jsonl" { 5 } else { 1 };
            assert_eq!(record.locality.len(), locality, "{name}: {prompt}");
            let portability = usize::from(name == "zsre_wise_edit.jsonl");
            assert_eq!(
                answered(&record.portability),
                portability,
                "{name}: {prompt}"
            );
            let ood = name == "temporal.jsonl";
            assert_eq!(record.ood.is_some(), ood, "{name}: {prompt}");
        }
    }
}

#[test]
fn only_pieces_of_web_text_lack_an_answer() {
    for (name, records) in files() {
        let lacking = records.iter().filter(|r| answered(&r.locality) == 0);
        let expected = match name {
            "hallucination_edit.jsonl" => 5,
            "hallucination_train.jsonl" => 3,
            "temporal.jsonl" => 1,
            _ => 0,
        };
        assert_eq!(lacking.count(), expected, "{name}");
    }
}

#[test]
fn an_array_of_the_records_is_the_same() {
    let Some(folder) = folder() else { return };
    for (name, format, _) in FILES {
        let lines = std::fs::read_to_string(folder.join(name)).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        let array = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&array, format!("[{}]", lines.join(", "))).unwrap();
        let expected = read(&folder.join(name), format, None).unwrap();
        assert_eq!(
            read(array.path(), format, None).unwrap(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn no_neutral_prompt_comes_from_the_benchmarks() {
    let plain = |text: &str| {
        let text = text.trim();
        text.trim_start_matches("nq question: ").to_lowercase()
    };
    let mut scored = HashSet::new();
    for record in files().into_iter().flat_map(|(_, records)| records) {
        let probes = record.locality.iter().chain(&record.portability);
        scored.extend(probes.map(|probe| plain(&probe.prompt)));
        scored.extend(record.rephrase.as_deref().map(plain));
        scored.insert(plain(&record.prompt));
    }
    for prompt in wise_edit::neutral_prompts() {
        assert!(!scored.contains(&plain(&prompt)), "{prompt}");
    }
}
