use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::Error;

fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts.jsonl");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[track_caller]
fn one(format: Format, line: &str) -> Record {
    let (_folder, path) = file(line);
    read(&path, format, Some(1)).unwrap().remove(0)
}

/// The second line of a file is bad; the error says so.
#[track_caller]
fn check_bad(format: Format, line: impl AsRef<[u8]>, expected_got: &str, expected: &str) {
    let good = match format {
        Format::Zsre => r#"{"src": "p", "alt": "t"}"#,
        Format::CounterFact => r#"{"prompt": "p", "target_new": "t"}"#,
        Format::Jsonl => r#"{"prompt": "p", "target": "t"}"#,
    };
    let (_folder, path) = file([good.as_bytes(), b"\n", line.as_ref(), b"\n"].concat());
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

#[test]
fn zsre() {
    let line = r#"{"subject": "WH", "src": "What university?", "pred": "TC", "rephrase": "Which one?",
        "alt": " University of Michigan", "answers": ["IIT"], "loc": "nq question: who", "loc_ans": "HW",
        "case_id": 0}"#
        .replace('\n', "");
    let expected = Record {
        portability: None,
        prompt: "What university?".to_owned(),
        target: "University of Michigan".to_owned(),
        subject: Some(text("WH")),
        rephrase: Some(text("Which one?")),
        locality: Some(Locality {
            prompt: "nq question: who".to_owned(),
            answer: Some(text("HW")),
        }),
    };
    assert_eq!(one(Format::Zsre, &line), expected);
}

#[test]
fn counterfact() {
    let line = r#"{"case_id": 0, "prompt": "The mother tongue of DD is", "target_new": "English",
        "subject": "DD", "ground_truth": "French", "rephrase_prompt": "DD speaks",
        "locality_prompt": "MR speaks", "locality_ground_truth": "French"}"#
        .replace('\n', "");
    let expected = Record {
        portability: None,
        prompt: "The mother tongue of DD is".to_owned(),
        target: "English".to_owned(),
        subject: Some(text("DD")),
        rephrase: Some(text("DD speaks")),
        locality: Some(Locality {
            prompt: "MR speaks".to_owned(),
            answer: Some(text("French")),
        }),
    };
    assert_eq!(one(Format::CounterFact, &line), expected);
}

#[test]
fn jsonl_takes_a_locality_with_and_without_an_answer() {
    let locality = |value: &str| {
        let line = format!(r#"{{"prompt": "p", "target": "t", "locality": {value}}}"#);
        let locality = one(Format::Jsonl, &line).locality;
        locality.map(|locality| (locality.prompt, locality.answer))
    };
    assert_eq!(locality(r#""q""#), Some(("q".to_owned(), None)));
    assert_eq!(locality(r#"{"prompt": "q"}"#), Some(("q".to_owned(), None)));
    assert_eq!(
        locality(r#"{"prompt": "q", "answer": "a"}"#),
        Some(("q".to_owned(), Some(text("a"))))
    );
    assert_eq!(locality("null"), None);
    assert_eq!(locality(r#"" ""#), None);
}

#[test]
fn what_a_record_lacks_is_none() {
    let bare = Record {
        portability: None,
        prompt: "p".to_owned(),
        target: "t".to_owned(),
        subject: None,
        rephrase: None,
        locality: None,
    };
    assert_eq!(
        one(Format::Zsre, r#"{"src": "p", "alt": "t", "rephrase": ""}"#),
        bare
    );
    assert_eq!(
        one(Format::CounterFact, r#"{"prompt": "p", "target_new": "t"}"#),
        bare
    );
    assert_eq!(
        one(
            Format::Jsonl,
            r#"{"prompt": "p", "target": "t", "subject": null}"#
        ),
        bare
    );
}

#[test]
fn an_edit_has_nothing_of_the_evaluation() {
    let line =
        r#"{"prompt": "p", "target": "t", "subject": "s", "rephrase": "r", "locality": "q"}"#;
    let edit = serde_json::to_value(one(Format::Jsonl, line).edit()).unwrap();
    assert_eq!(
        edit,
        serde_json::json!({"prompt": "p", "target": "t", "subject": "s"})
    );
}

#[test]
fn a_line_that_is_no_json_object() {
    let got = r#""prompt: no", which is not JSON at column 1"#;
    check_bad(Format::Jsonl, "prompt: no", got, "a JSON object");
    let got = r#""{\"prompt\": \"p\", \"ta", which is not JSON at column 19"#;
    check_bad(
        Format::Jsonl,
        r#"{"prompt": "p", "ta"#,
        got,
        "a JSON object",
    );
    check_bad(Format::Zsre, "[1]", "a list", "a JSON object");
    let got = "\"{\\\"src\\\": \\\"\u{fffd}\\\"}\", which is not JSON at column 10";
    check_bad(Format::Zsre, b"{\"src\": \"\xff\"}", got, "a JSON object");
}

#[test]
fn a_missing_key() {
    check_bad(
        Format::Zsre,
        r#"{"src": "p", "loc": "q"}"#,
        "the keys src, loc",
        r#"the key "alt""#,
    );
    check_bad(
        Format::CounterFact,
        "{}",
        "an empty object",
        r#"the key "prompt""#,
    );
    check_bad(
        Format::Jsonl,
        r#"{"prompt": "p"}"#,
        "the keys prompt",
        r#"the key "target""#,
    );
    let line = r#"{"prompt": "p", "target": "t", "locality": {"answer": "a"}}"#;
    check_bad(
        Format::Jsonl,
        line,
        "the keys answer",
        r#"the key "locality.prompt""#,
    );
}

#[test]
fn a_value_of_the_wrong_kind() {
    check_bad(
        Format::Zsre,
        r#"{"src": 5, "alt": "t"}"#,
        r#"a number as "src""#,
        "a text",
    );
    let line = r#"{"prompt": "p", "target_new": null}"#;
    check_bad(
        Format::CounterFact,
        line,
        r#"null as "target_new""#,
        "a text",
    );
    let line = r#"{"prompt": "p", "target": "t", "rephrase": ["r"]}"#;
    check_bad(
        Format::Jsonl,
        line,
        r#"a list as "rephrase""#,
        "a text or null",
    );
    let line = r#"{"prompt": "p", "target": "t", "locality": true}"#;
    check_bad(
        Format::Jsonl,
        line,
        r#"a boolean as "locality""#,
        "a text or an object",
    );
}

#[test]
fn an_empty_prompt_or_target() {
    check_bad(
        Format::Zsre,
        r#"{"src": "p", "alt": " "}"#,
        r#"an empty "alt""#,
        "a text",
    );
    check_bad(
        Format::Jsonl,
        r#"{"prompt": "", "target": "t"}"#,
        r#"an empty "prompt""#,
        "a text",
    );
}

#[test]
fn an_unknown_key_is_refused_only_in_jsonl() {
    let line = r#"{"prompt": "p", "target": "t", "targe": "u"}"#;
    let expected = "only prompt, target, subject, rephrase, locality, portability";
    check_bad(Format::Jsonl, line, r#"the unknown key "targe""#, expected);
    let line = r#"{"prompt": "p", "target": "t", "locality": {"prompt": "q", "loc": "r"}}"#;
    check_bad(
        Format::Jsonl,
        line,
        r#"the unknown key "locality.loc""#,
        "only prompt, answer",
    );
    one(Format::Zsre, r#"{"src": "p", "alt": "t", "targe": 5}"#);
}

#[test]
fn blank_lines_a_byte_order_mark_and_windows_line_ends_do_not_matter() {
    let line = r#"{"prompt": "p", "target": "t"}"#;
    let (_folder, path) = file(format!("\u{feff}{line}\r\n\r\n{line}\r\n\n"));
    assert_eq!(read(&path, Format::Jsonl, None).unwrap().len(), 2);
    let (_folder, path) = file(format!("\n{line}\n\n5\n"));
    let error = read(&path, Format::Jsonl, None).unwrap_err();
    assert!(matches!(error, Error::Line { line: 4, .. }), "{error}");
}

#[test]
fn too_few_records() {
    let line = "{\"prompt\": \"p\", \"target\": \"t\"}\n";
    let (_folder, path) = file(line.repeat(3));
    assert_eq!(read(&path, Format::Jsonl, Some(2)).unwrap().len(), 2);
    assert_eq!(read(&path, Format::Jsonl, Some(3)).unwrap().len(), 3);
    let error = read(&path, Format::Jsonl, Some(4)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooFew {
                got: 3,
                expected: 4,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.hint().unwrap(), "ask for at most 3 records");
    let error = read(&path, Format::Jsonl, Some(0)).unwrap_err();
    assert!(matches!(error, Error::NoneAskedFor), "{error}");
}

#[test]
fn an_empty_or_absent_file() {
    let (folder, path) = file("\n \n");
    for limit in [None, Some(5)] {
        let error = read(&path, Format::Zsre, limit).unwrap_err();
        assert!(matches!(error, Error::Empty(_)), "{error}");
    }
    let error = read(&folder.path().join("none.jsonl"), Format::Zsre, None).unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    assert!(error.to_string().contains("none.jsonl"), "{error}");
}

#[test]
fn edits_ignore_what_only_evaluations_use() {
    let (_folder, path) = file(
        "{\"prompt\": \"p\", \"target\": \" t\", \"subject\": \"s\", \"rephrase\": 1, \"locality\": 2, \
         \"portability\": 3}\n{\"prompt\": \"q\", \"target\": \"u\"}\n",
    );
    let mut first = Edit::new("p", "t");
    first.subject = Some(text("s"));
    assert_eq!(read_edits(&path).unwrap(), [first, Edit::new("q", "u")]);
    let (_folder, path) = file("{\"prompt\": \"p\", \"target\": \"t\", \"answer\": \"a\"}");
    let error = read_edits(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("line 1: got the unknown key \"answer\""),
        "{error}"
    );
}

#[test]
fn negatives_are_prompts() {
    let (_folder, path) = file("{\"prompt\": \"p\"}\n{\"prompt\": \"q\", \"source\": 1}\n");
    assert_eq!(read_negatives(&path).unwrap(), ["p", "q"]);
    let (_folder, path) = file("{\"prompt\": \"p\"}\n{\"text\": \"q\"}\n");
    let error = read_negatives(&path).unwrap_err();
    assert!(matches!(error, Error::Line { line: 2, .. }), "{error}");
}

#[test]
fn formats_have_names() {
    for format in [Format::Zsre, Format::CounterFact, Format::Jsonl] {
        assert_eq!(format.to_string().parse(), Ok(format));
        assert_eq!(serde_json::to_value(format).unwrap(), format.to_string());
    }
    assert!(
        "csv"
            .parse::<Format>()
            .unwrap_err()
            .contains("expected zsre, counterfact or jsonl")
    );
}

#[test]
fn portability_is_kept_as_it_is_and_no_editor_sees_it() {
    let line = r#"{"prompt": "p", "target": "t", "portability": {"prompt": "q", "answer": "r"}}"#;
    let record = one(Format::Jsonl, line);
    assert_eq!(record.portability.as_ref().unwrap()["answer"], "r");
    let edit = serde_json::to_value(record.edit()).unwrap();
    assert_eq!(edit, serde_json::json!({"prompt": "p", "target": "t"}));
}
