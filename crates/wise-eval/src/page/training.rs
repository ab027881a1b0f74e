//! How the losses fell.

use super::chart::{Axis, Chart};
use super::{Figure, Key, Section};
use crate::label;
use crate::metrics::{RecordScores, Report};
use crate::statistics::quantile;

/// Which of a record's two losses, its plot's colour, and what that is called.
const LOSSES: [(usize, usize, &str, &str); 2] = [
    (0, 0, "edit-loss", "Edit loss"),
    (1, 3, "router-loss", "Router loss"),
];

pub(super) fn section(report: &Report) -> Section {
    let figures: Vec<Figure> = LOSSES
        .into_iter()
        .filter_map(|(which, series, id, title)| {
            let curves = curves(&report.records, which);
            figure(&curves, series, id, title)
        })
        .collect();
    let intro = if figures.is_empty() {
        "This editor recorded no losses."
    } else {
        "Losses per iteration over all edits: the median, and the quartiles as a band. An edit that stopped early \
         keeps its last loss."
    };
    Section {
        title: "Losses",
        intro: intro.to_owned(),
        figures,
        numbers: Vec::new(),
    }
}

fn curves(records: &[RecordScores], which: usize) -> Vec<Vec<f64>> {
    let curves = records.iter().map(|record| curve(record, which));
    curves.filter(|curve| !curve.is_empty()).collect()
}

fn figure(curves: &[Vec<f64>], series: usize, id: &str, title: &str) -> Option<Figure> {
    let longest = curves.iter().map(Vec::len).max()?;
    let quartiles: Vec<[f64; 4]> = (0..longest)
        .filter_map(|iteration| quartiles(curves, iteration))
        .collect();
    let pick = |which: usize| -> Vec<[f64; 2]> {
        quartiles.iter().map(|row| [row[0], row[which]]).collect()
    };
    let band: Vec<[f64; 3]> = quartiles
        .iter()
        .map(|row| [row[0], row[1], row[3]])
        .collect();
    let mut chart = Chart::new(
        Axis::exact("iteration", 1.0, longest as f64).counting(),
        Axis::from_zero("loss", quartiles.iter().map(|row| row[3])),
    );
    chart.band(series, &band);
    chart.line(series, &pick(2));
    if let [only] = &*pick(2) {
        chart.dots(series, &[*only]);
    }
    let ends = |row: Option<&[f64; 4]>| row.map_or(f64::NAN, |row| row[2]);
    let (first, last) = (ends(quartiles.first()), ends(quartiles.last()));
    let description = format!(
        "Median {} at the first iteration, {} at the last of {longest}",
        label::number(first),
        label::number(last)
    );
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        svg: chart.svg(id, title, &description),
        legend: vec![Key {
            series,
            name: format!(
                "median and quartiles of {}",
                label::count(curves.len(), "edit")
            ),
        }],
        caption: format!("{description}."),
    })
}

/// A record's losses that are numbers; one that diverged ends where it did.
fn curve(record: &RecordScores, which: usize) -> Vec<f64> {
    let losses = record.losses.iter().map(|pair| f64::from(pair[which]));
    losses.take_while(|loss| loss.is_finite()).collect()
}

/// `[iteration, lower quartile, median, upper quartile]`.
fn quartiles(curves: &[Vec<f64>], iteration: usize) -> Option<[f64; 4]> {
    let here = |curve: &Vec<f64>| curve.get(iteration).or(curve.last()).copied();
    let losses: Vec<f64> = curves.iter().filter_map(here).collect();
    Some([
        (iteration + 1) as f64,
        quantile(&losses, 0.25)?,
        quantile(&losses, 0.5)?,
        quantile(&losses, 0.75)?,
    ])
}
