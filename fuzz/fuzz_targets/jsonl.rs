//! A file of edits, of negatives or of records; the first byte says of which data set.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use wise_eval::{Format, read, read_edits, read_negatives};

const FORMATS: [Format; 6] = [
    Format::Zsre,
    Format::CounterFact,
    Format::Hallucination,
    Format::Temporal,
    Format::QaEdit,
    Format::Jsonl,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data.jsonl");
    fs::write(&path, bytes).expect("room for a file");
    let _ = read(&path, FORMATS[usize::from(*first) % FORMATS.len()], None);
    let _ = read_edits(&path);
    let _ = read_negatives(&path);
});
