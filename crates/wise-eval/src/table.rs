//! The summary in plain text.

use std::fmt::Write as _;

use crate::report::Summary;

type Row = [Option<f64>; 3];

/// Rows are protocols, columns scores, and a cell says `before -> after`.
pub(crate) fn render(summary: &Summary, edits: usize) -> String {
    let plural = if edits == 1 { "" } else { "s" };
    let mut text = format!("before -> after {edits} edit{plural}\n");
    push(
        &mut text,
        ["protocol", "reliability", "generalization", "locality"],
    );
    for (name, before, after) in rows(summary) {
        let [reliability, generalization, locality] =
            [0, 1, 2].map(|column| cell(before[column], after[column]));
        push(&mut text, [name, &reliability, &generalization, &locality]);
    }
    text
}

fn push(text: &mut String, [name, reliability, generalization, locality]: [&str; 4]) {
    let line = format!("{name:<26}{reliability:<18}{generalization:<18}{locality}");
    let _ = writeln!(text, "{}", line.trim_end());
}

fn rows(summary: &Summary) -> Vec<(&'static str, Row, Row)> {
    let mut rows = Vec::new();
    let (before, after) = (&summary.before, &summary.after);
    if let (Some(before), Some(after)) = (&before.teacher_forced, &after.teacher_forced) {
        let row = |means: &crate::teacher_forced::Means| {
            [means.reliability, means.generalization, means.locality]
        };
        rows.push(("teacher-forced", row(before), row(after)));
    }
    if let (Some(before), Some(after)) = (&before.generation, &after.generation) {
        let exact = |means: &crate::generation::Means| {
            [means.reliability, means.generalization, means.locality]
        };
        let contains = |means: &crate::generation::Means| {
            [means.contains, means.generalization_contains, None]
        };
        rows.push(("generation, exact match", exact(before), exact(after)));
        rows.push(("generation, contains", contains(before), contains(after)));
    }
    rows
}

/// Locality has no `before`.
fn cell(before: Option<f64>, after: Option<f64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("{before:.3} -> {after:.3}"),
        (None, Some(after)) => format!("{after:.3}"),
        _ => "-".to_owned(),
    }
}
