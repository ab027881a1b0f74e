//! What the edits took: time and memory.

use super::chart::{Axis, Chart};
use super::{Figure, Key, Number, Section};
use crate::label;
use crate::metrics::Report;
use crate::statistics::quantile;

/// Dots beyond this would be a smear, and a large page.
const DOTS: usize = 500;

pub(super) fn section(report: &Report) -> Section {
    let time: Vec<[f64; 2]> = report
        .records
        .iter()
        .map(|record| [record.id as f64, record.seconds])
        .filter(|[_, seconds]| seconds.is_finite())
        .collect();
    let memory: Vec<[f64; 2]> = report
        .records
        .iter()
        .filter_map(|record| Some([record.id as f64, record.resident_bytes? as f64]))
        .collect();
    let mut figures = Vec::new();
    figures.extend(time_figure(&time));
    figures.extend(memory_figure(&memory));
    let intro = if figures.is_empty() {
        "Neither time nor memory was recorded."
    } else {
        "Wall-clock time of each edit and the memory of the process after it, over the stream. Lines that rise say \
         that editing becomes more expensive the longer it goes on."
    };
    Section {
        title: "Cost",
        intro: intro.to_owned(),
        figures,
        numbers: numbers(report, &time),
    }
}

fn numbers(report: &Report, time: &[[f64; 2]]) -> Vec<Number> {
    let seconds: Vec<f64> = time.iter().map(|point| point[1]).collect();
    let mut numbers = Vec::new();
    if let Some(mean) = report.summary.seconds_per_edit {
        let quantile = |share| quantile(&seconds, share).map_or_else(String::new, label::seconds);
        // Edits of different shards train side by side, so each may take longer than its share of the time.
        let note = format!(
            "of the whole; one by itself takes {} (median), at most {}",
            quantile(0.5),
            quantile(1.0)
        );
        numbers.push(Number::new("Time per edit", label::seconds(mean), &note));
        let total = label::seconds(mean * report.edits as f64);
        numbers.push(Number::new("All edits", total, "without scoring"));
    }
    if let Some(peak) = report.summary.peak_memory_bytes {
        let note = "of the process, model included";
        numbers.push(Number::new("Peak memory", label::bytes(peak), note));
    }
    numbers
}

fn time_figure(points: &[[f64; 2]]) -> Option<Figure> {
    let (unit, scale) = if points.iter().all(|point| point[1] < 1.0) {
        ("milliseconds", 1e3)
    } else {
        ("seconds", 1.0)
    };
    let points = scaled(points, scale);
    let mut chart = Chart::new(stream(&points)?, from_zero(unit, &points));
    chart.dots(2, &thinned(&points));
    chart.line(2, &smooth(&points));
    let (first, last) = ends(&points)?;
    let description = format!(
        "{} {unit} at first, {} at last",
        label::number(first),
        label::number(last)
    );
    let id = "time";
    Some(Figure {
        id: id.to_owned(),
        title: "Time per edit".to_owned(),
        svg: chart.svg(id, "Time per edit over the stream", &description),
        legend: vec![Key {
            series: 2,
            name: "each edit, and a running median".to_owned(),
        }],
        caption: String::new(),
    })
}

fn memory_figure(points: &[[f64; 2]]) -> Option<Figure> {
    let large = points.iter().any(|point| point[1] >= 2e9);
    let (unit, scale) = if large { ("GB", 1e-9) } else { ("MB", 1e-6) };
    let points = scaled(points, scale);
    let mut chart = Chart::new(stream(&points)?, from_zero(unit, &points));
    chart.line(3, &thinned(&points));
    if let [only] = points[..] {
        chart.dots(3, &[only]);
    }
    let (first, last) = ends(&points)?;
    let description = format!(
        "{} {unit} after the first edit, {} {unit} after the last",
        label::number(first),
        label::number(last)
    );
    let id = "memory";
    Some(Figure {
        id: id.to_owned(),
        title: "Resident memory".to_owned(),
        svg: chart.svg(id, "Resident memory over the stream", &description),
        legend: Vec::new(),
        caption: format!("{description}."),
    })
}

fn scaled(points: &[[f64; 2]], scale: f64) -> Vec<[f64; 2]> {
    points.iter().map(|[x, y]| [*x, y * scale]).collect()
}

/// The horizontal axis: edits, as they came.
fn stream(points: &[[f64; 2]]) -> Option<Axis> {
    let (first, last) = (points.first()?[0], points.last()?[0]);
    Some(Axis::exact("edit", first, last).counting())
}

fn from_zero(unit: &str, points: &[[f64; 2]]) -> Axis {
    Axis::from_zero(unit, points.iter().map(|point| point[1]))
}

/// The first and the last value.
fn ends(points: &[[f64; 2]]) -> Option<(f64, f64)> {
    Some((points.first()?[1], points.last()?[1]))
}

/// Every n-th point, the last among them.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let step = points.len().div_ceil(DOTS).max(1);
    let mut kept: Vec<[f64; 2]> = points.iter().rev().step_by(step).copied().collect();
    kept.reverse();
    kept
}

/// Running median over about a tenth of the stream.
fn smooth(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let half = (points.len() / 20).max(1);
    let median = |index: usize| {
        let window = &points[index.saturating_sub(half)..(index + half + 1).min(points.len())];
        let values: Vec<f64> = window.iter().map(|point| point[1]).collect();
        Some([points[index][0], quantile(&values, 0.5)?])
    };
    let step = points.len().div_ceil(DOTS).max(1);
    (0..points.len()).step_by(step).filter_map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_last_point() {
        let points: Vec<[f64; 2]> = (0..1234).map(|i| [f64::from(i), 0.0]).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= DOTS);
        assert_eq!(kept.last(), points.last());
        assert_eq!(thinned(&points[..1]).len(), 1);
        assert!(thinned(&[]).is_empty());
    }

    #[test]
    fn a_single_slow_edit_does_not_move_the_median() {
        let points = [1.0, 1.0, 9.0, 1.0, 1.0].map(|seconds| [0.0, seconds]);
        assert!(smooth(&points).iter().all(|point| point[1] == 1.0));
    }
}
