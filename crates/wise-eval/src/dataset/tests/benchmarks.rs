//! The benchmarks' own formats.

use super::*;

#[test]
fn zsre() {
    let line = r#"{"subject": "WH", "src": "What university?", "pred": "TC", "rephrase": "Which one?",
        "alt": " University of Michigan", "answers": ["IIT"], "loc": "nq question: who", "loc_ans": "HW",
        "cond": "TC >> UM", "case_id": 0}"#;
    let expected = Record {
        prompt: "What university?".to_owned(),
        target: "University of Michigan".to_owned(),
        subject: Some("WH".to_owned()),
        rephrase: Some("Which one?".to_owned()),
        locality: vec![probe("nq question: who", Some("HW"))],
        ..Record::default()
    };
    assert_eq!(one(Format::Zsre, line), expected);
}

#[test]
fn zsre_one_hop() {
    let portability = r#""portability": {"Recalled Relation": "(VG, headquartered in, W)",
        "New Question": "In which city?", "New Answer": "Wolfsburg"}"#;
    let record = one(Format::Zsre, &with(Format::Zsre, portability));
    assert_eq!(
        record.portability,
        [probe("In which city?", Some("Wolfsburg"))]
    );
    let bad = |portability, got, expected| {
        let fields = format!(r#""portability": {portability}"#);
        check_bad_field(Format::Zsre, &fields, got, expected);
    };
    let expected = r#"the key "portability.New Answer""#;
    bad(
        r#"{"New Question": "q"}"#,
        "the keys New Question",
        expected,
    );
    let expected = r#"the key "portability.New Question""#;
    bad("{}", "an empty object", expected);
    bad(r#""q""#, r#"a text as "portability""#, "an object");
}

#[test]
fn zsre_without_a_counterfactual() {
    let line = r#"{"src": "p", "alt": "", "answers": ["true", "also"]}"#;
    assert_eq!(one(Format::Zsre, line).target, "true");
    let line = r#"{"src": "p", "alt": "t", "answers": ["true"]}"#;
    assert_eq!(one(Format::Zsre, line).target, "t");
    let bad = |line, got, expected| check_bad(Format::Zsre, line, got, expected);
    let line = r#"{"src": "p", "alt": "", "answers": []}"#;
    bad(line, r#"an empty "alt""#, "a text");
    let line = r#"{"src": "p", "alt": "", "answers": "true"}"#;
    bad(line, r#"a text as "answers""#, "a list");
    let line = r#"{"src": "p", "alt": "", "answers": [1]}"#;
    bad(line, r#"a number as "answers[0]""#, "a text");
    let line = r#"{"src": "p", "answers": ["true"]}"#;
    bad(line, "the keys src, answers", r#"the key "alt""#);
}

#[test]
fn counterfact() {
    let line = r#"{"case_id": 0, "prompt": "The mother tongue of DD is", "target_new": "English",
        "subject": "DD", "ground_truth": "French", "rephrase_prompt": "DD speaks",
        "locality_prompt": "MR speaks", "locality_ground_truth": "French"}"#;
    let expected = Record {
        prompt: "The mother tongue of DD is".to_owned(),
        target: "English".to_owned(),
        subject: Some("DD".to_owned()),
        rephrase: Some("DD speaks".to_owned()),
        locality: vec![probe("MR speaks", Some("French"))],
        ..Record::default()
    };
    assert_eq!(one(Format::CounterFact, line), expected);
}

#[test]
fn hallucination() {
    let line = r#"{"prompt": "This is a Wikipedia passage about carole gist. Carole Gist won.",
        "target_new": "She was from Michigan.", "subject": "carole gist",
        "locality_prompt": "Description Map of", "locality_ground_truth": " South America"}"#;
    let expected = Record {
        prompt: "This is a Wikipedia passage about carole gist. Carole Gist won.".to_owned(),
        target: "She was from Michigan.".to_owned(),
        subject: Some("carole gist".to_owned()),
        locality: vec![probe("Description Map of", Some(" South America"))],
        ..Record::default()
    };
    assert_eq!(one(Format::Hallucination, line), expected);
}

#[test]
fn temporal() {
    let line = r#"{"prompt": "5G is", "target_new": "the fifth generation.", "subject": "5G is",
        "ood_rephrase": "5G, a standard of 2019.", "locality_prompt": "Clifton has",
        "locality_ground_truth": "86,334"}"#;
    let expected = Record {
        prompt: "5G is".to_owned(),
        target: "the fifth generation.".to_owned(),
        subject: Some("5G is".to_owned()),
        locality: vec![probe("Clifton has", Some("86,334"))],
        ood: Some("5G, a standard of 2019.".to_owned()),
        ..Record::default()
    };
    assert_eq!(one(Format::Temporal, line), expected);
    let got = r#"an object as "ood_rephrase""#;
    check_bad_field(
        Format::Temporal,
        r#""ood_rephrase": {}"#,
        got,
        "a text or null",
    );
}

#[test]
fn qaedit() {
    let line = r#"{"id": 7, "source": "TQA", "prompt": "How many people?", "target": "18million",
        "subject": "Australia", "rephrase": "What is the population?",
        "locality": [{"loc": "who said", "loc_ans": "Paul"}, {"loc": "where was"}]}"#;
    let expected = Record {
        prompt: "How many people?".to_owned(),
        target: "18million".to_owned(),
        subject: Some("Australia".to_owned()),
        rephrase: Some("What is the population?".to_owned()),
        locality: vec![probe("who said", Some("Paul")), probe("where was", None)],
        ..Record::default()
    };
    assert_eq!(one(Format::QaEdit, line), expected);
}

#[test]
fn a_bad_element_of_a_locality_list_has_its_position() {
    let bad = |locality, got, expected| {
        let fields = format!(r#""locality": {locality}"#);
        check_bad_field(Format::QaEdit, &fields, got, expected);
    };
    let list = r#"[{"loc": "q"}, {"loc_ans": "a"}]"#;
    bad(list, "the keys loc_ans", r#"the key "locality[1].loc""#);
    let list = r#"[{"loc": "q"}, {"loc": ""}]"#;
    bad(list, r#"an empty "locality[1].loc""#, "a text");
    let list = r#"[{"loc": "q", "loc_ans": 51}]"#;
    bad(
        list,
        r#"a number as "locality[0].loc_ans""#,
        "a text or null",
    );
    bad(r#"["q"]"#, r#"a text as "locality[0]""#, "an object");
    bad(r#"{"loc": "q"}"#, r#"an object as "locality""#, "a list");
}

#[test]
fn an_answer_may_be_blank() {
    let fields = r#""locality_prompt": "q", "locality_ground_truth": " ""#;
    let record = one(Format::Temporal, &with(Format::Temporal, fields));
    assert_eq!(record.locality, [probe("q", None)]);
}

#[test]
fn unknown_keys_are_tolerated() {
    for format in &FORMATS[..5] {
        one(*format, &with(*format, r#""targe": 5"#));
    }
}
