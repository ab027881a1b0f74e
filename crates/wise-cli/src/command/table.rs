//! A report's scores in plain text.

use std::fmt::Write as _;

use wise_eval::metrics::{Moment, ScoreSummary};
use wise_eval::{AcrossRuns, Report};

/// A line per score: before, right after its edit, after the last edit with its 95 % interval.
pub fn render(report: &Report) -> String {
    let edits = report.edits;
    let plural = if edits == 1 { "" } else { "s" };
    let mut text = format!("{} after {edits} edit{plural}\n", report.editor);
    let header = ["score", "before", "immediate", "end", "95 % interval"];
    push(&mut text, header.map(str::to_owned));
    let scores = &report.summary.scores;
    let mut names: Vec<&str> = scores.iter().map(|score| score.name.as_str()).collect();
    names.dedup();
    for name in names {
        let at = |moment| scores.iter().find(|s| s.name == name && s.moment == moment);
        let cell = |score: Option<&ScoreSummary>| {
            score.map_or_else(|| "-".to_owned(), |s| format!("{:.3}", s.interval.mean))
        };
        let end = at(Moment::End);
        let interval = end.map_or_else(String::new, |s| {
            format!("{:.3} to {:.3}", s.interval.low, s.interval.high)
        });
        let row = [
            name.to_owned(),
            cell(at(Moment::Before)),
            cell(at(Moment::Immediate)),
            cell(end),
            interval,
        ];
        push(&mut text, row);
    }
    if let Some(routing) = &report.summary.routing {
        let share =
            |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |s| format!("{s:.3}"));
        let _ = writeln!(
            text,
            "routed right: edits {}, rephrases {}, locality {}; AUC {}",
            share(routing.edits),
            share(routing.rephrases),
            share(routing.locality),
            share(routing.auc)
        );
    }
    if let Some(drift) = &report.summary.drift {
        let _ = writeln!(
            text,
            "held text: perplexity {:.3} -> {:.3}, a side memory answered {:.1} % of {} windows",
            drift.perplexity_before,
            drift.perplexity_after,
            drift.routed_to_side * 100.0,
            drift.windows
        );
    }
    if let Some(seconds) = report.summary.seconds_per_edit {
        let _ = writeln!(text, "{seconds:.1} s per edit");
    }
    text
}

/// A line per score at the end of the stream: its mean over runs, and the least and the most of them.
pub fn across_runs(scores: &[AcrossRuns]) -> String {
    let runs = scores.first().map_or(0, |score| score.runs.len());
    let mut text = format!("after the last edit, {runs} runs\n");
    let header = ["score", "mean", "least", "most", ""];
    push(&mut text, header.map(str::to_owned));
    for score in scores.iter().filter(|s| s.moment == Moment::End) {
        let cells = [score.mean, score.least, score.most].map(|value| format!("{value:.3}"));
        let [mean, least, most] = cells;
        push(
            &mut text,
            [score.name.clone(), mean, least, most, String::new()],
        );
    }
    text
}

fn push(text: &mut String, [name, before, immediate, end, interval]: [String; 5]) {
    let line = format!("{name:<40}{before:<10}{immediate:<11}{end:<9}{interval}");
    let _ = writeln!(text, "{}", line.trim_end());
}
