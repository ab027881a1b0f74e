//! Lines, arrays and what is neither.

use super::*;

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
    for content in ["\n \n", " [ ]\n"] {
        let (_folder, path) = file(content);
        for limit in [None, Some(5)] {
            let error = read(&path, Format::Zsre, limit).unwrap_err();
            assert!(matches!(error, Error::Empty(_)), "{error}");
        }
    }
    let (folder, _) = file("");
    let error = read(&folder.path().join("none.jsonl"), Format::Zsre, None).unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
    assert!(error.to_string().contains("none.jsonl"), "{error}");
}

#[test]
fn an_array_reads_as_lines_do() {
    for format in FORMATS {
        let line = least(format);
        let (_folder, path) = file(format!("\u{feff}\n [{line},\n\n{line}, {line}]\n\n"));
        assert_eq!(
            read(&path, format, None).unwrap(),
            vec![one(format, line); 3]
        );
        for limit in 1..=3 {
            assert_eq!(read(&path, format, Some(limit)).unwrap().len(), limit);
        }
        let error = read(&path, format, Some(4)).unwrap_err();
        assert!(matches!(error, Error::TooFew { got: 3, .. }), "{error}");
    }
}

#[track_caller]
fn check_bad_array(content: &str, expected_record: usize, said: &str) {
    let (_folder, path) = file(content);
    let error = read(&path, Format::Jsonl, None).unwrap_err();
    let message = error.to_string();
    let Error::Record { record, .. } = error else {
        panic!("{message}");
    };
    assert_eq!(record, expected_record, "{message}");
    assert!(message.contains(&format!("facts.jsonl, record {record}: got ")));
    assert!(message.contains(said), "{message}");
}

#[test]
fn a_bad_record_of_an_array_has_its_number() {
    let good = least(Format::Jsonl);
    let said = r#"got the keys prompt, expected the key "target""#;
    check_bad_array(&format!(r#"[{good}, {{"prompt": "p"}}, 5"#), 2, said);
    let said = "got a number, expected a JSON object";
    check_bad_array(&format!("[{good},\n{good},\n5]"), 3, said);
}

#[test]
fn what_a_limit_leaves_out_need_not_be_right() {
    let good = least(Format::Jsonl);
    for content in [
        format!("{good}\n5\n"),
        format!("[{good}, 5"),
        format!("[{good} x"),
    ] {
        let (_folder, path) = file(&content);
        assert_eq!(read(&path, Format::Jsonl, Some(1)).unwrap().len(), 1);
        assert!(read(&path, Format::Jsonl, Some(2)).is_err());
    }
}

#[test]
fn a_broken_array() {
    let good = least(Format::Jsonl);
    let whole = format!("[{good},\n{good}]");
    for length in 1..whole.len() {
        let records = 1 + whole[..length].matches('}').count();
        check_bad_array(
            &whole[..length],
            records,
            "expected an array of JSON objects",
        );
    }
    let said = "not JSON (trailing comma at line 1 column";
    check_bad_array(&format!("[{good},]"), 2, said);
    check_bad_array(&format!("[{good} {good}]"), 2, "not JSON (");
    check_bad_array(
        &format!("[{good}]\n{good}"),
        2,
        "trailing characters at line 2",
    );
}

#[test]
fn the_sum_of_a_file() {
    let (folder, path) = file("abc");
    // FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(file_sha256(&path).unwrap(), expected);
    let error = file_sha256(&folder.path().join("none")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
}
