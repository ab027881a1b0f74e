//! The benchmark files as they are distributed. They are no part of the project: these tests run where
//! `WISE_BENCH_DATA` names a folder with `zsre.jsonl` and `counterfact.jsonl`, and pass without a check
//! elsewhere; `cargo xtask test` says so.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::PathBuf;

use wise_eval::{Format, Record, read};

fn records() -> Option<Vec<Record>> {
    let folder = PathBuf::from(std::env::var_os("WISE_BENCH_DATA")?);
    let zsre = read(&folder.join("zsre.jsonl"), Format::Zsre, None).unwrap();
    let counterfact = read(&folder.join("counterfact.jsonl"), Format::CounterFact, None).unwrap();
    Some([zsre, counterfact].concat())
}

#[test]
fn every_record_has_what_the_scores_need() {
    let Some(records) = records() else { return };
    for record in records {
        assert!(record.rephrase.is_some(), "{}", record.prompt);
        let locality = record.locality.unwrap();
        assert!(locality.answer.is_some(), "{}", locality.prompt);
    }
}

#[test]
fn no_neutral_prompt_comes_from_the_benchmarks() {
    let Some(records) = records() else { return };
    let plain = |text: &str| {
        let text = text.trim();
        text.trim_start_matches("nq question: ").to_lowercase()
    };
    let scored: HashSet<String> = records
        .iter()
        .flat_map(|record| {
            let locality = record.locality.as_ref().map(|l| l.prompt.clone());
            [
                Some(record.prompt.clone()),
                record.rephrase.clone(),
                locality,
            ]
        })
        .flatten()
        .map(|text| plain(&text))
        .collect();
    for prompt in wise_edit::neutral_prompts() {
        assert!(!scored.contains(&plain(&prompt)), "{prompt}");
    }
}
