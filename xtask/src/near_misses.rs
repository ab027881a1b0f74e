//! Near misses of ZsRE edits: the same question about another subject, which no edit is about.

use std::collections::{HashMap, HashSet};
use std::fs;

use serde_json::{Value, json};

use crate::error::{Error, Result};

const EXPECTED: &str =
    "three files: ZsRE records to edit, further ZsRE records, and where to write";

/// Writes the first file's records in the format `jsonl`, each with a near miss as its only locality prompt: the
/// question of a record of the second file that has the same words around another subject.
pub(crate) fn run(arguments: &[String]) -> Result {
    let [edited, others, out] = arguments else {
        let got = format!("{} arguments after near-misses", arguments.len());
        return Err(Error::usage(got, EXPECTED));
    };
    let (edited, others) = (records(edited)?, records(others)?);
    let (lines, without) = with_near_misses(&edited, &others);
    fs::write(out, lines.concat())
        .map_err(|e| Error::failed(format!("cannot write {out}: {e}")))?;
    println!(
        "{} records, {without} of them without a near miss",
        lines.len()
    );
    Ok(())
}

fn records(path: &str) -> Result<Vec<Value>> {
    let text =
        fs::read_to_string(path).map_err(|e| Error::failed(format!("cannot read {path}: {e}")))?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::failed(format!("{path}, line {number}: {e}")))
    };
    (1..).zip(text.lines()).map(line).collect()
}

fn with_near_misses(edited: &[Value], others: &[Value]) -> (Vec<String>, usize) {
    let subject = |record: &Value| text(record, "subject").to_lowercase();
    let subjects: HashSet<String> = edited.iter().map(subject).collect();
    let mut alike: HashMap<String, Vec<&Value>> = HashMap::new();
    for other in others
        .iter()
        .filter(|other| !subjects.contains(&subject(other)))
    {
        if let Some(words) = words(other) {
            alike.entry(words).or_default().push(other);
        }
    }
    let mut without = 0;
    let lines = edited.iter().enumerate().map(|(index, record)| {
        let alike = words(record).and_then(|words| alike.get(&words));
        without += usize::from(alike.is_none());
        let near = alike.map(|alike| {
            let other = alike[index % alike.len()];
            json!({"prompt": other["src"], "answer": other["answers"][0]})
        });
        let line = json!({
            "prompt": record["src"],
            "target": record["alt"],
            "subject": record["subject"],
            "rephrase": record["rephrase"],
            "locality": near.into_iter().collect::<Vec<_>>(),
        });
        format!("{line}\n")
    });
    let lines = lines.collect();
    (lines, without)
}

/// The question without its subject.
fn words(record: &Value) -> Option<String> {
    let (question, subject) = (text(record, "src"), text(record, "subject"));
    (!subject.is_empty() && question.contains(subject)).then(|| question.replace(subject, "{}"))
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(subject: &str, src: &str) -> Value {
        json!({"subject": subject, "src": src, "alt": "B", "rephrase": "R", "answers": ["A"]})
    }

    #[test]
    fn a_near_miss_asks_the_same_of_a_subject_that_is_not_edited() {
        let edited = [
            record("Ann", "Where was Ann born?"),
            record("Bo", "Who is Bo?"),
        ];
        let others = [
            record("Ann", "Where was Ann born?"),
            record("Cy", "Where was Cy born?"),
            record("Bo", "Where was Bo born?"),
        ];
        let (lines, without) = with_near_misses(&edited, &others);
        let first: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            first["locality"],
            json!([{"prompt": "Where was Cy born?", "answer": "A"}])
        );
        assert_eq!(first["target"], "B");
        assert!(lines[1].contains(r#""locality":[]"#));
        assert_eq!(without, 1);
    }
}
