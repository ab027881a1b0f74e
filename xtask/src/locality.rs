//! Locality prompts of edits, from far to near, in the groups that an evaluation reports.
//!
//! | group | prompt |
//! | --- | --- |
//! | `far` | the record's own unrelated questions: Natural Questions, in `ZsRE` behind `nq question: ` |
//! | `far_bare` | the same without that prefix, which a router could learn instead of the edits |
//! | `same_style` | a prompt of another record, about a subject that is not edited |
//! | `near_miss` | the edit's prompt about another subject, which is not edited; in `CounterFact` the record's own neighbour |
//! | `same_subject` | another record's prompt, which asks for something else, about the edit's subject; in `CounterFact` a record of that subject where there is one |
//!
//! Two prompts ask for something else if both have words of four letters or more and share none, and if no `CounterFact` record has
//! one as its prompt and the other as its neighbour's, which asks for the same in other words.

use std::collections::{HashMap, HashSet};
use std::fs;

use serde_json::{Value, json};

use crate::error::{Error, Result};

const EXPECTED: &str = "three files: records of ZsRE, CounterFact or QAEdit to edit, further records, and where to write";

const PREFIX: &str = "nq question: ";

/// The keys of one data set.
struct Keys {
    prompt: &'static str,
    target: &'static str,
    rephrase: &'static str,
    answer: &'static str,
}

const ZSRE: Keys = Keys {
    prompt: "src",
    target: "alt",
    rephrase: "rephrase",
    answer: "answers",
};

const COUNTERFACT: Keys = Keys {
    prompt: "prompt",
    target: "target_new",
    rephrase: "rephrase_prompt",
    answer: "ground_truth",
};

const QAEDIT: Keys = Keys {
    prompt: "prompt",
    target: "target",
    rephrase: "rephrase",
    answer: "target",
};

impl Keys {
    fn of(record: &Value) -> &'static Self {
        let sets = [&ZSRE, &COUNTERFACT, &QAEDIT];
        let fits =
            |keys: &&&Self| record[keys.target].is_string() && record[keys.prompt].is_string();
        sets.iter().find(fits).unwrap_or(&&QAEDIT)
    }
}

fn prompt(record: &Value) -> &str {
    text(record, Keys::of(record).prompt)
}

/// Some records of `ZsRE` have no other than the true one.
fn target(record: &Value) -> &Value {
    let target = &record[Keys::of(record).target];
    if target.as_str().is_some_and(|text| text.trim().is_empty()) {
        return answer(record);
    }
    target
}

fn answer(record: &Value) -> &Value {
    let answer = &record[Keys::of(record).answer];
    answer.get(0).unwrap_or(answer)
}

/// Writes the first file's records in the format `jsonl`, with locality prompts made from the second file's.
pub(crate) fn run(arguments: &[String]) -> Result {
    let [edited, others, out] = arguments else {
        let got = format!("{} arguments after locality", arguments.len());
        return Err(Error::usage(got, EXPECTED));
    };
    let (edited, others) = (records(edited)?, records(others)?);
    let (lines, counts) = with_locality(&edited, &others);
    fs::write(out, lines.concat())
        .map_err(|e| Error::failed(format!("cannot write {out}: {e}")))?;
    println!("{} records", lines.len());
    for (group, count) in counts {
        println!("{count} prompts {group}");
    }
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

/// Lines, and how many prompts each group has.
fn with_locality(edited: &[Value], others: &[Value]) -> (Vec<String>, Vec<(String, usize)>) {
    let subject = |record: &Value| text(record, "subject").to_lowercase();
    let subjects: HashSet<String> = edited.iter().map(subject).collect();
    let pool = others;
    let others: Vec<(String, &Value)> = others
        .iter()
        .filter(|other| !subjects.contains(&subject(other)))
        .filter_map(|other| Some((words(other)?, other)))
        .collect();
    let mut alike: HashMap<&str, Vec<&Value>> = HashMap::new();
    for (words, other) in &others {
        alike.entry(words).or_default().push(other);
    }
    let same = SameRelation::of(edited.iter().chain(pool));
    let edited_subjects = Named::of(&subjects);
    let mut counts: Vec<(String, usize)> = Vec::new();
    let lines = edited.iter().enumerate().map(|(index, record)| {
        let mut locality = probes(index, record, &others, &alike, pool, &same);
        let neighbour = text(record, "locality_prompt");
        if edited_subjects.are_in(neighbour) {
            locality.retain(|probe| text(probe, "prompt") != neighbour);
        }
        for probe in &locality {
            let group = text(probe, "group");
            match counts.iter_mut().find(|(known, _)| known == group) {
                Some((_, count)) => *count += 1,
                None => counts.push((group.to_owned(), 1)),
            }
        }
        let line = json!({
            "prompt": prompt(record),
            "target": target(record),
            "subject": record["subject"],
            "rephrase": record[Keys::of(record).rephrase],
            "locality": locality,
        });
        format!("{line}\n")
    });
    let lines = lines.collect();
    (lines, counts)
}

fn probes(
    index: usize,
    record: &Value,
    others: &[(String, &Value)],
    alike: &HashMap<&str, Vec<&Value>>,
    pool: &[Value],
    same: &SameRelation,
) -> Vec<Value> {
    let mut probes = far(record);
    let question = |group: &str, other: &Value| json!({"group": group, "prompt": prompt(other), "answer": answer(other)});
    let own = words(record);
    let mut strangers = (others.iter().cycle().skip(index * 7))
        .take(others.len())
        .filter(|(words, _)| Some(words) != own.as_ref());
    if let Some((_, other)) = strangers.next() {
        probes.push(question("same_style", other));
    }
    if record["locality_prompt"].is_string() {
        let (prompt, answer) = (&record["locality_prompt"], &record["locality_ground_truth"]);
        probes.push(json!({"group": "near_miss", "prompt": prompt, "answer": answer}));
    } else if let Some(alike) = own.as_deref().and_then(|words| alike.get(words)) {
        probes.push(question("near_miss", alike[index % alike.len()]));
    }
    let subject = text(record, "subject");
    let own_stems = own.as_deref().map(stems).unwrap_or_default();
    let asks_else = |words: &str| {
        let stems = stems(words);
        !stems.is_empty()
            && !own_stems.is_empty()
            && stems.is_disjoint(&own_stems)
            && !own.as_deref().is_some_and(|own| same.holds(own, words))
    };
    let namesake = |other: &&Value| {
        text(other, "subject") == subject && words(other).is_some_and(|words| asks_else(&words))
    };
    if let Some(other) = pool.iter().find(namesake) {
        probes.push(question("same_subject", other));
    } else if let Some((words, _)) = strangers.find(|(words, _)| asks_else(words)) {
        let prompt = words.replace("{}", subject);
        probes.push(json!({"group": "same_subject", "prompt": prompt}));
    }
    probes
}

/// The record's own unrelated questions.
fn far(record: &Value) -> Vec<Value> {
    let probe = |group: &str, prompt: &str, answer: &Value| json!({"group": group, "prompt": prompt, "answer": answer});
    if let Some(prefixed) = record["loc"].as_str() {
        let bare = prefixed.strip_prefix(PREFIX).unwrap_or(prefixed);
        let answer = &record["loc_ans"];
        return vec![
            probe("far", prefixed, answer),
            probe("far_bare", bare, answer),
        ];
    }
    let own = record["locality"].as_array().into_iter().flatten();
    own.take(1)
        .map(|far| probe("far", text(far, "loc"), &far["loc_ans"]))
        .collect()
}

/// Subjects, by their words in lower case.
struct Named(HashSet<Vec<String>>);

impl Named {
    fn of(subjects: &HashSet<String>) -> Self {
        let words = subjects.iter().map(|subject| in_words(subject));
        Self(words.filter(|words| !words.is_empty()).collect())
    }

    /// Whether a text names one of them.
    fn are_in(&self, text: &str) -> bool {
        let words = in_words(text);
        let runs =
            (0..words.len()).flat_map(|from| (from + 1..=words.len()).map(move |to| from..to));
        runs.into_iter().any(|run| self.0.contains(&words[run]))
    }
}

fn in_words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Prompts without their subjects that ask for the same in other words.
struct SameRelation(HashSet<[String; 2]>);

impl SameRelation {
    /// Of each record with a neighbour its prompt's words and the neighbour's.
    fn of<'a>(records: impl Iterator<Item = &'a Value> + Clone) -> Self {
        let known: HashSet<String> = records.clone().filter_map(words).collect();
        let mut known: Vec<(&str, &str)> =
            known.iter().filter_map(|w| w.split_once("{}")).collect();
        known.sort_by_key(|(before, behind)| {
            std::cmp::Reverse((before.len() + behind.len(), *before))
        });
        let neighbours = records.filter_map(|record| {
            let prompt = record["locality_prompt"].as_str()?;
            let fits = |(before, behind): &&(&str, &str)| {
                prompt.len() > before.len() + behind.len()
                    && prompt.starts_with(before)
                    && prompt.ends_with(behind)
            };
            let (before, behind) = known.iter().find(fits)?;
            Some([words(record)?, format!("{before}{{}}{behind}")])
        });
        Self(neighbours.collect())
    }

    fn holds(&self, a: &str, b: &str) -> bool {
        let pair = |a: &str, b: &str| self.0.contains(&[a.to_owned(), b.to_owned()]);
        a == b || pair(a, b) || pair(b, a)
    }
}

/// The question without its subject.
fn words(record: &Value) -> Option<String> {
    let (question, subject) = (prompt(record), text(record, "subject"));
    (!subject.is_empty() && question.contains(subject)).then(|| question.replace(subject, "{}"))
}

/// The first letters of each longer word, so that "founded" and "founder" are one; question words do not count.
fn stems(words: &str) -> HashSet<String> {
    const COMMON: [&str; 10] = [
        "what", "when", "wher", "whic", "whos", "does", "that", "have", "with", "from",
    ];
    let words = words.split(|c: char| !c.is_alphabetic());
    let long = words.filter(|word| word.chars().count() >= 4);
    long.map(|word| word.to_lowercase().chars().take(4).collect())
        .filter(|stem: &String| !COMMON.contains(&stem.as_str()))
        .collect()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(subject: &str, src: &str) -> Value {
        json!({
            "subject": subject, "src": src, "alt": "B", "rephrase": "R", "answers": ["A"],
            "loc": "nq question: who sang", "loc_ans": "she",
        })
    }

    #[test]
    fn each_group_asks_what_it_says_and_never_of_an_edited_subject_but_its_own() {
        let edited = [
            record("Ann", "Where was Ann born?"),
            record("Bo", "Who is Bo?"),
        ];
        let others = [
            record("Ann", "Where was Ann born?"),
            record("Bo", "Where was Bo born?"),
            record("Cy", "Where was Cy born?"),
            record("Di", "When did Di die?"),
            record("Ed", "Who made Ed?"),
        ];
        let (lines, counts) = with_locality(&edited, &others);
        let first: Value = serde_json::from_str(&lines[0]).unwrap();
        let expected = json!([
            {"group": "far", "prompt": "nq question: who sang", "answer": "she"},
            {"group": "far_bare", "prompt": "who sang", "answer": "she"},
            {"group": "same_style", "prompt": "When did Di die?", "answer": "A"},
            {"group": "near_miss", "prompt": "Where was Cy born?", "answer": "A"},
            {"group": "same_subject", "prompt": "Who made Ann?"},
        ]);
        assert_eq!(first["locality"], expected);
        assert_eq!(first["target"], "B");
        let near = counts.iter().find(|(group, _)| group == "near_miss");
        assert_eq!(near.map(|(_, count)| *count), Some(1));
        assert!(!lines[0].contains("Where was Bo born?"));
    }

    #[test]
    fn a_neighbour_tells_that_two_prompts_ask_for_the_same() {
        let record = |subject: &str, prompt: &str, neighbour: &str| {
            json!({
                "subject": subject, "prompt": prompt, "target_new": "B", "ground_truth": "A",
                "rephrase_prompt": "R", "locality_prompt": neighbour, "locality_ground_truth": "C",
            })
        };
        let records = [
            record("Ann", "Ann speaks", "Cy talks in"),
            record("Bo", "Bo talks in", "Cy is from"),
            record("Cy", "The home of Cy is", "Bo talks in"),
        ];
        let same = SameRelation::of(records.iter());
        assert!(same.holds("{} speaks", "{} talks in"));
        assert!(same.holds("{} talks in", "{} speaks"));
        assert!(same.holds("{} talks in", "The home of {} is"));
        assert!(!same.holds("{} speaks", "The home of {} is"));
    }

    #[test]
    fn counterfact_has_neighbours_of_its_own_and_namesakes() {
        let record = |subject: &str, prompt: &str| {
            json!({
                "subject": subject, "prompt": prompt, "target_new": "B", "ground_truth": "A",
                "rephrase_prompt": "R", "locality_prompt": prompt.replace(subject, "Cy"),
                "locality_ground_truth": "C",
            })
        };
        let edited = [record("Ann", "Ann speaks"), record("Bo", "Bo speaks")];
        let others = [
            record("Ann", "Ann works for"),
            record("Di", "Di works for"),
            record("Ed", "Ed speaks"),
            record("Flo", "Flo lives in"),
        ];
        let (lines, _) = with_locality(&edited, &others);
        let locality =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["locality"].clone();
        let expected = json!([
            {"group": "same_style", "prompt": "Di works for", "answer": "A"},
            {"group": "near_miss", "prompt": "Cy speaks", "answer": "C"},
            {"group": "same_subject", "prompt": "Ann works for", "answer": "A"},
        ]);
        assert_eq!(locality(&lines[0]), expected);
        assert_eq!(locality(&lines[1])[2]["group"], "same_subject");
    }

    #[test]
    fn a_neighbour_that_is_edited_itself_is_left_out() {
        let record = |subject: &str, neighbour: &str| {
            json!({
                "subject": subject, "prompt": format!("{subject} speaks"), "target_new": "B",
                "ground_truth": "A", "rephrase_prompt": "R", "locality_prompt": neighbour,
                "locality_ground_truth": "C",
            })
        };
        let edited = [
            record("Ann Lee", "The tongue of bo is"),
            record("Bo", "The tongue of Ann is"),
        ];
        let (_, counts) = with_locality(&edited, &[]);
        assert_eq!(counts, [("near_miss".to_owned(), 1)]);
    }

    #[test]
    fn prompts_without_a_long_word_may_ask_for_the_same() {
        let edited = [record("Ann", "Who is Ann by?")];
        let others = [record("Cy", "Cy is by"), record("Di", "Who made Di?")];
        let (_, counts) = with_locality(&edited, &others);
        assert!(counts.iter().all(|(group, _)| group != "same_subject"));
    }

    #[test]
    fn a_blank_target_gives_way_to_the_answer() {
        let mut record = record("Ann", "Where was Ann born?");
        record["alt"] = json!(" ");
        let (lines, _) = with_locality(&[record], &[]);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["target"], "A");
    }
}
