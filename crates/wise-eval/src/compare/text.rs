//! The comparison in plain text.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Comparison, ScoreDifference, Side};
use crate::label;
use crate::statistics::Interval;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    sides(&mut text, comparison);
    text.push('\n');
    scores(&mut text, comparison);
    settings(&mut text, comparison);
    text
}

fn sides(text: &mut String, comparison: &Comparison) {
    for (letter, side) in [("A", &comparison.a), ("B", &comparison.b)] {
        let _ = writeln!(
            text,
            "{letter}  {}: {} on {}, {}, {}",
            side.name,
            side.editor,
            side.model,
            label::count(side.edits, "edit"),
            cost(side)
        );
    }
    let _ = match comparison.shared_records {
        0 => writeln!(
            text,
            "no record in common: B - A is unpaired, between different records"
        ),
        shared => writeln!(
            text,
            "B - A is paired, over the {} that both have",
            label::count(shared, "record")
        ),
    };
    text.push_str("means with 95 % bootstrap intervals; * where B - A excludes zero\n");
}

fn cost(side: &Side) -> String {
    let seconds = side
        .seconds_per_edit
        .map(|s| format!("{} per edit", label::seconds(s)));
    let memory = side
        .peak_memory_bytes
        .map(|bytes| format!("peak memory {}", label::bytes(bytes)));
    let known: Vec<String> = seconds.into_iter().chain(memory).collect();
    if known.is_empty() {
        "cost unknown".to_owned()
    } else {
        known.join(", ")
    }
}

fn scores(text: &mut String, comparison: &Comparison) {
    if comparison.scores.is_empty() {
        text.push_str("no score in common\n");
        return;
    }
    row(text, ["score", "A", "B", "B - A"]);
    let mut above = "";
    for score in &comparison.scores {
        if score.name != above {
            let _ = writeln!(text, "{}", score.name);
            above = &score.name;
        }
        let moment = format!("  {}", score.moment.name());
        row(
            text,
            [
                &moment,
                &cell(&score.a),
                &cell(&score.b),
                &difference(score),
            ],
        );
    }
}

fn row(text: &mut String, [score, a, b, difference]: [&str; 4]) {
    let line = format!("{score:<12} {a:<24} {b:<24} {difference}");
    let _ = writeln!(text, "{}", line.trim_end());
}

fn cell(interval: &Interval) -> String {
    let Interval {
        mean, low, high, ..
    } = interval;
    format!("{mean:.3} [{low:.3}, {high:.3}]")
}

fn difference(score: &ScoreDifference) -> String {
    let Some(difference) = &score.difference else {
        return "-".to_owned();
    };
    let Interval {
        mean, low, high, ..
    } = difference;
    let mark = if difference.excludes_zero() { " *" } else { "" };
    format!("{mean:+.3} [{low:+.3}, {high:+.3}]{mark}")
}

fn settings(text: &mut String, comparison: &Comparison) {
    if comparison.settings.is_empty() {
        text.push_str("\nno setting differs\n");
        return;
    }
    text.push_str("\nsettings that differ\n");
    let width = comparison.settings.iter().map(|s| s.key.len()).max();
    let width = width.unwrap_or(0);
    for setting in &comparison.settings {
        let key = &setting.key;
        let [a, b] = [&setting.a, &setting.b].map(|value| shown(key, value));
        let _ = writeln!(text, "  {key:<width$}  {a} | {b}");
    }
}

/// Of a checksum its first digits tell two apart.
fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::String(checksum) if key.ends_with("sha256") => checksum.chars().take(12).collect(),
        value => value.to_string(),
    }
}
