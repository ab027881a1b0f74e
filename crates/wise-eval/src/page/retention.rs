//! What is left of an edit after those that followed.

use std::collections::BTreeMap;

use super::chart::{Axis, Chart};
use super::{Figure, Key, Section};
use crate::label;
use crate::metrics::{AgeBin, Report, Retention, is_share, parts};

/// As many lines as can be told apart.
const LINES: usize = 4;

pub(super) fn section(report: &Report) -> Section {
    let mut questions: BTreeMap<_, Vec<&Retention>> = BTreeMap::new();
    for retention in report.summary.retention.iter().filter(|r| drawn(r)) {
        let (_, question, _, _) = label::order(&retention.name);
        questions.entry(question).or_default().push(retention);
    }
    let figures: Vec<Figure> = questions.into_values().map(figure).collect();
    let intro = if figures.is_empty() {
        "No score at the end of the stream was recorded."
    } else {
        "Scores after the last edit, by the age of the edit: the number of edits made since. The newest edits are on \
         the left; a line that falls to the right says that old edits are forgotten. Bins hold equally many edits, \
         bands are 95\u{a0}% bootstrap intervals."
    };
    Section {
        title: "Retention",
        intro: intro.to_owned(),
        figures,
        numbers: Vec::new(),
    }
}

/// The metrics that speak for edits and their consequences under each protocol; a plot of all would be a tangle.
fn drawn(retention: &Retention) -> bool {
    let [_, question, metric] = parts(&retention.name);
    let speaks = ["exact_match", "token_accuracy", "accuracy"].contains(&metric);
    let asked = ["edit", "rephrase", "portability"].contains(&question);
    speaks && asked && is_share(&retention.name) && !retention.bins.is_empty()
}

fn figure(mut lines: Vec<&Retention>) -> Figure {
    lines.sort_by_key(|line| label::order(&line.name));
    lines.truncate(LINES);
    let name = lines.first().map_or("", |line| &*line.name);
    let (id, title) = (
        format!("retention-{}", parts(name)[1]),
        label::capital(&label::question(name)),
    );
    let oldest = lines.iter().flat_map(|line| &line.bins);
    let oldest = oldest.map(|bin| bin.oldest).max().unwrap_or(0);
    let mut chart = Chart::new(
        Axis::exact("age of the edit (edits made since)", 0.0, oldest as f64).counting(),
        Axis::exact("score", 0.0, 1.0),
    );
    for (series, line) in lines.iter().enumerate() {
        let band: Vec<[f64; 3]> = line.bins.iter().map(interval).collect();
        chart.band(series, &band);
    }
    // The first one last, so that it lies on top where lines meet.
    for (series, line) in lines.iter().enumerate().rev() {
        let points: Vec<[f64; 2]> = line.bins.iter().map(point).collect();
        chart.line(series, &points);
        chart.dots(series, &points);
    }
    let description: Vec<String> = lines.iter().map(|line| describe(line)).collect();
    Figure {
        svg: chart.svg(&id, &format!("{title} by age"), &description.join(". ")),
        id,
        title,
        legend: (0..).zip(&lines).map(key).collect(),
        caption: String::new(),
    }
}

fn key((series, line): (usize, &&Retention)) -> Key {
    Key {
        series,
        name: measured(&line.name),
    }
}

fn measured(name: &str) -> String {
    format!("{}, {}", label::protocol(name), label::metric(name))
}

fn middle(bin: &AgeBin) -> f64 {
    f64::midpoint(bin.newest as f64, bin.oldest as f64)
}

fn point(bin: &AgeBin) -> [f64; 2] {
    [middle(bin), bin.interval.mean]
}

fn interval(bin: &AgeBin) -> [f64; 3] {
    [middle(bin), bin.interval.low, bin.interval.high]
}

fn describe(line: &Retention) -> String {
    let bins: Vec<String> = line
        .bins
        .iter()
        .map(|bin| {
            let mean = label::number(bin.interval.mean);
            format!("{mean} at age {} to {}", bin.newest, bin.oldest)
        })
        .collect();
    format!("{}: {}", measured(&line.name), bins.join(", "))
}
