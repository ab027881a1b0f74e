//! The scores: the main ones as tiles, all of them as tables.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::label;
use crate::metrics::{Moment, Report, ScoreSummary, is_share, parts};
use crate::statistics::Interval;

/// A score at the end, at first sight.
#[derive(Debug, Serialize)]
pub(super) struct Tile {
    name: String,
    value: String,
    interval: String,
    measured: String,
}

/// All scores of one protocol.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    protocol: String,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    question: String,
    metric: String,
    count: usize,
    cells: Vec<Option<Cell>>,
}

#[derive(Debug, Serialize)]
struct Cell {
    mean: String,
    interval: String,
}

impl From<&Interval> for Cell {
    fn from(interval: &Interval) -> Self {
        Self {
            mean: label::number(interval.mean),
            interval: interval_text(interval),
        }
    }
}

fn interval_text(interval: &Interval) -> String {
    if interval.count < 2 {
        return "one record".to_owned();
    }
    // The ends of a bootstrap interval are not known any better, and a phone is narrow.
    let end = |value: f64| {
        if value.abs() < 10.0 {
            format!("{value:.2}")
        } else {
            label::number(value)
        }
    };
    format!("{} – {}", end(interval.low), end(interval.high))
}

/// One tile per protocol and question that users care for, with the metric that speaks for it.
pub(super) fn tiles(report: &Report) -> Vec<Tile> {
    let scores = report.summary.scores.iter();
    let mut scores: Vec<_> = scores.filter(|score| headline(score)).collect();
    scores.sort_by_key(|score| label::order(&score.name));
    scores.dedup_by_key(|score| {
        let [protocol, question, _] = parts(&score.name);
        (protocol, question)
    });
    scores.into_iter().map(tile).collect()
}

fn headline(score: &ScoreSummary) -> bool {
    let [protocol, question, _] = parts(&score.name);
    score.moment == Moment::End
        && is_share(&score.name)
        && ["generation", "teacher_forced"].contains(&protocol)
        && ["edit", "rephrase", "locality"].contains(&question)
}

fn tile(score: &ScoreSummary) -> Tile {
    Tile {
        name: label::capital(&label::question(&score.name)),
        value: label::number(score.interval.mean),
        interval: interval_text(&score.interval),
        measured: format!(
            "{}, {}",
            label::protocol(&score.name),
            label::metric(&score.name)
        ),
    }
}

/// One table per protocol.
pub(super) fn tables(report: &Report) -> Vec<Table> {
    let mut names: BTreeMap<_, BTreeMap<Moment, &Interval>> = BTreeMap::new();
    for score in &report.summary.scores {
        let moments = names.entry(label::order(&score.name)).or_default();
        moments.insert(score.moment, &score.interval);
    }
    let mut tables: Vec<Table> = Vec::new();
    for ((_, _, _, name), moments) in names {
        let protocol = label::protocol(name);
        let row = row(name, &moments);
        match tables.last_mut() {
            Some(table) if table.protocol == protocol => table.rows.push(row),
            _ => tables.push(Table {
                protocol,
                rows: vec![row],
            }),
        }
    }
    tables
}

fn row(name: &str, moments: &BTreeMap<Moment, &Interval>) -> Row {
    let cell = |moment| moments.get(&moment).copied().map(Cell::from);
    let counts = moments.values().map(|interval| interval.count);
    Row {
        question: label::capital(&label::question(name)),
        metric: label::metric(name),
        count: counts.max().unwrap_or(0),
        cells: Moment::ALL.map(cell).into(),
    }
}
