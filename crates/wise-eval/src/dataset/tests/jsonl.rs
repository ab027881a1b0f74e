//! This project's own format, edits and negatives.

use super::*;

fn locality(value: &str) -> Vec<Probe> {
    let fields = format!(r#""locality": {value}"#);
    one(Format::Jsonl, &with(Format::Jsonl, &fields)).locality
}

#[test]
fn locality_is_a_text_an_object_or_a_list() {
    let both = [probe("q", None), probe("r", Some("a"))];
    assert_eq!(locality(r#""q""#), both[..1]);
    assert_eq!(locality(r#"{"prompt": "q"}"#), both[..1]);
    let object = r#"{"prompt": "r", "answer": "a"}"#;
    assert_eq!(locality(object), both[1..]);
    assert_eq!(locality(&format!(r#"["q", {object}]"#)), both);
    assert_eq!(locality("[]"), []);
}

#[test]
fn portability_is_an_object_or_a_list() {
    let portability = |value: &str| {
        let fields = format!(r#""portability": {value}"#);
        one(Format::Jsonl, &with(Format::Jsonl, &fields)).portability
    };
    let object = r#"{"prompt": "q", "answer": "a"}"#;
    let both = [probe("q", Some("a")), probe("r", Some("b"))];
    assert_eq!(portability(object), both[..1]);
    let list = format!(r#"[{object}, {{"prompt": "r", "answer": "b"}}]"#);
    assert_eq!(portability(&list), both);
}

#[test]
fn a_bad_probe_is_called_by_its_path() {
    let bad = |fields, got, expected| check_bad_field(Format::Jsonl, fields, got, expected);
    let fields = r#""locality": {"answer": "a"}"#;
    bad(fields, "the keys answer", r#"the key "locality.prompt""#);
    let fields = r#""locality": ["q", {"answer": "a"}]"#;
    bad(fields, "the keys answer", r#"the key "locality[1].prompt""#);
    let fields = r#""locality": true"#;
    bad(fields, r#"a boolean as "locality""#, "a text or an object");
    let fields = r#""locality": ["q", null]"#;
    bad(fields, r#"null as "locality[1]""#, "a text or an object");
    bad(r#""locality": [""]"#, r#"an empty "locality[0]""#, "a text");
    let fields = r#""locality": {"prompt": "q", "loc": "r"}"#;
    bad(
        fields,
        r#"the unknown key "locality.loc""#,
        "only prompt, answer, group",
    );
    let fields = r#""portability": {"prompt": "q"}"#;
    bad(fields, "the keys prompt", r#"the key "portability.answer""#);
    let fields = r#""portability": [{"prompt": "q", "answer": "a"}, "q"]"#;
    bad(fields, r#"a text as "portability[1]""#, "an object");
}

#[test]
fn an_unknown_key_is_refused() {
    let expected = "only prompt, target, subject, rephrase, locality, portability, ood";
    let got = r#"the unknown key "targe""#;
    check_bad_field(Format::Jsonl, r#""targe": "u""#, got, expected);
}

#[test]
fn edits_ignore_what_only_evaluations_use() {
    let (_folder, path) = file(
        "{\"prompt\": \"p\", \"target\": \" t\", \"subject\": \"s\", \"rephrase\": 1, \"locality\": 2, \
         \"portability\": 3, \"ood\": 4}\n{\"prompt\": \"q\", \"target\": \"u\"}\n",
    );
    let mut first = Edit::new("p", "t");
    first.subject = Some("s".to_owned());
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
