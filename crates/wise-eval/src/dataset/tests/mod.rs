//! Data sets, on hand-made lines of the shape of the distributed files.

mod benchmarks;
mod files;
mod jsonl;

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::Error;

const FORMATS: [Format; 6] = [
    Format::Zsre,
    Format::CounterFact,
    Format::Hallucination,
    Format::Temporal,
    Format::QaEdit,
    Format::Jsonl,
];

/// The least a record has, with prompt `p` and target `t`.
fn least(format: Format) -> &'static str {
    match format {
        Format::Zsre => r#"{"src": "p", "alt": "t"}"#,
        Format::CounterFact | Format::Hallucination | Format::Temporal => {
            r#"{"prompt": "p", "target_new": "t"}"#
        }
        Format::QaEdit | Format::Jsonl => r#"{"prompt": "p", "target": "t"}"#,
    }
}

fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts.jsonl");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn probe(prompt: &str, answer: Option<&str>) -> Probe {
    Probe {
        prompt: prompt.to_owned(),
        answer: answer.map(str::to_owned),
        group: None,
    }
}

#[track_caller]
fn one(format: Format, line: &str) -> Record {
    let (_folder, path) = file(line.replace('\n', ""));
    read(&path, format, Some(1)).unwrap().remove(0)
}

/// The second line of a file is bad; the error says so.
#[track_caller]
fn check_bad(format: Format, line: impl AsRef<[u8]>, expected_got: &str, expected: &str) {
    let (_folder, path) = file([least(format).as_bytes(), b"\n", line.as_ref(), b"\n"].concat());
    let error = read(&path, format, None).unwrap_err();
    let message = error.to_string();
    let Error::Line {
        line: 2,
        got,
        expected: wanted,
        ..
    } = error
    else {
        panic!("{message}");
    };
    assert_eq!((got.as_str(), wanted.as_str()), (expected_got, expected));
    assert!(message.contains("facts.jsonl, line 2: got "), "{message}");
}

/// As [`check_bad`], for a record that has the least and `fields` besides.
#[track_caller]
fn check_bad_field(format: Format, fields: &str, got: &str, expected: &str) {
    check_bad(format, with(format, fields), got, expected);
}

fn with(format: Format, fields: &str) -> String {
    let least = least(format).trim_end_matches('}');
    format!("{least}, {fields}}}")
}

#[test]
fn formats_have_names() {
    for format in FORMATS {
        assert_eq!(format.to_string().parse(), Ok(format));
        assert_eq!(serde_json::to_value(format).unwrap(), format.to_string());
        let error = "csv".parse::<Format>().unwrap_err();
        assert!(error.contains(&format.to_string()), "{error}");
    }
}

#[test]
fn a_record_need_not_have_more_than_prompt_and_target() {
    let bare = Record {
        prompt: "p".to_owned(),
        target: "t".to_owned(),
        ..Record::default()
    };
    for format in FORMATS {
        assert_eq!(one(format, least(format)), bare, "{format}");
    }
    let json = serde_json::json!({"prompt": "p", "target": "t", "subject": null, "rephrase": null});
    assert_eq!(serde_json::to_value(&bare).unwrap(), json);
    let json = serde_json::json!({"prompt": "p", "target": "t"});
    assert_eq!(serde_json::from_value::<Record>(json).unwrap(), bare);
}

#[test]
fn a_blank_or_null_optional_text_counts_as_absent() {
    for (format, keys) in [
        (
            Format::Zsre,
            &["subject", "rephrase", "loc", "portability"][..],
        ),
        (
            Format::CounterFact,
            &["subject", "rephrase_prompt", "locality_prompt"],
        ),
        (Format::Hallucination, &["subject", "locality_prompt"]),
        (
            Format::Temporal,
            &["subject", "ood_rephrase", "locality_prompt"],
        ),
        (Format::QaEdit, &["subject", "rephrase", "locality"]),
        (
            Format::Jsonl,
            &["subject", "rephrase", "locality", "portability", "ood"],
        ),
    ] {
        for key in keys {
            for value in ["null", r#"" ""#] {
                let line = with(format, &format!(r#""{key}": {value}"#));
                assert_eq!(one(format, &line), one(format, least(format)), "{line}");
            }
        }
    }
}

#[test]
fn a_record_reads_back_and_no_editor_sees_its_evaluation() {
    let record = one(
        Format::Jsonl,
        r#"{"prompt": "p", "target": "t", "subject": "s", "rephrase": "r", "locality": "q",
        "portability": {"prompt": "u", "answer": "v"}, "ood": "w"}"#,
    );
    let json = serde_json::to_value(&record).unwrap();
    assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    assert_eq!(
        serde_json::to_value(record.edit()).unwrap(),
        serde_json::json!({"prompt": "p", "target": "t", "subject": "s"})
    );
}

#[test]
fn a_missing_prompt_or_target() {
    for format in FORMATS {
        let (prompt, target) = match format {
            Format::Zsre => ("src", "alt"),
            Format::CounterFact | Format::Hallucination | Format::Temporal => {
                ("prompt", "target_new")
            }
            Format::QaEdit | Format::Jsonl => ("prompt", "target"),
        };
        let expected = |key: &str| format!("the key {key:?}");
        check_bad(format, "{}", "an empty object", &expected(prompt));
        let line = format!(r#"{{"{prompt}": "p", "subject": "s"}}"#);
        let got = format!("the keys {prompt}, subject");
        check_bad(format, line, &got, &expected(target));
        let line = format!(r#"{{"{prompt}": " ", "{target}": "t"}}"#);
        check_bad(format, line, &format!("an empty {prompt:?}"), "a text");
        let line = format!(r#"{{"{prompt}": "p", "{target}": ""}}"#);
        check_bad(format, line, &format!("an empty {target:?}"), "a text");
        let line = format!(r#"{{"{prompt}": 5, "{target}": "t"}}"#);
        check_bad(format, line, &format!("a number as {prompt:?}"), "a text");
        let line = format!(r#"{{"{prompt}": "p", "{target}": null}}"#);
        check_bad(format, line, &format!("null as {target:?}"), "a text");
        let got = r#"a list as "subject""#;
        check_bad_field(format, r#""subject": ["s"]"#, got, "a text or null");
    }
}
