use serde_json::json;

use super::*;
use crate::metrics::tests::report;

fn find<'a>(comparison: &'a Comparison, name: &str, moment: Moment) -> &'a ScoreDifference {
    let found = |score: &&ScoreDifference| score.name == name && score.moment == moment;
    comparison.scores.iter().find(found).unwrap()
}

const NAME: &str = "generation.edit.exact_match";

#[test]
fn a_run_does_not_differ_from_itself() {
    let report = report(6);
    let comparison = Comparison::of(("one", &report), ("same", &report));
    assert_eq!(comparison.shared_records, 6);
    assert_eq!(comparison.settings, []);
    for score in &comparison.scores {
        let difference = score.difference.unwrap();
        assert_eq!((difference.low, difference.high), (0.0, 0.0));
        assert!(score.paired);
    }
    assert!(comparison.table().contains("no setting differs"));
}

#[test]
fn differences_are_over_shared_records() {
    let (a, mut b) = (report(6), report(8));
    for record in &mut b.records {
        record.after.scores.insert(NAME.to_owned(), 1.0);
    }
    b.config = json!({"edit_lr": 0.1, "deep": {"er": 1}, "layer": null});
    b.order = Some(7);
    b.setup = "12".repeat(32);
    let comparison = Comparison::of(("a", &a), ("b", &b));
    assert_eq!(comparison.shared_records, 6);
    let score = find(&comparison, NAME, Moment::End);
    assert_eq!(score.difference.unwrap().mean, 2.0 / 6.0);
    assert_eq!(score.difference.unwrap().count, 6);
    let keys: Vec<&str> = comparison.settings.iter().map(|s| &*s.key).collect();
    assert_eq!(
        keys,
        [
            "act_margin",
            "deep.er",
            "edit_lr",
            "edits",
            "order",
            "setup.sha256"
        ]
    );
    let text = comparison.table();
    assert!(
        text.contains("paired, over the 6 records that both have"),
        "{text}"
    );
    assert!(text.contains("+0.333"), "{text}");
    assert!(text.contains("efefefefefef | 121212121212\n"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn different_records_are_compared_unpaired() {
    let (a, mut b) = (report(3), report(3));
    for record in &mut b.records {
        record.record.prompt.push('!');
    }
    let comparison = Comparison::of(("a", &a), ("b", &b));
    assert_eq!(comparison.shared_records, 0);
    let score = find(&comparison, NAME, Moment::End);
    assert!(!score.paired);
    assert!(score.difference.unwrap().low < 0.0);
    assert!(comparison.table().contains("unpaired"));
}

#[test]
fn equal_records_are_matched_in_order() {
    let mut a = report(3);
    for record in &mut a.records {
        record.record.prompt = "Where?".to_owned();
        record.record.target = "Here".to_owned();
    }
    let mut b = a.clone();
    b.records.truncate(2);
    let comparison = Comparison::of(("a", &a), ("b", &b));
    assert_eq!(comparison.shared_records, 2);
    let score = find(&comparison, NAME, Moment::End);
    assert_eq!(score.difference.unwrap().mean, 0.0);
}

#[test]
fn runs_without_a_score_in_common_say_so() {
    let (a, mut b) = (report(1), report(1));
    b.summary.scores.clear();
    let text = Comparison::of(("a", &a), ("b", &b)).table();
    assert!(text.contains("no score in common"), "{text}");
}
