//! Whether the router tells edits from everything else.

use super::chart::{Axis, Chart};
use super::{Figure, Key, Number, Section};
use crate::label;
use crate::metrics::{Report, Routing, ratios, routed_by};
use crate::statistics::quantile;

/// What is asked, its name, and its colour.
const GROUPS: [(&str, &str); 3] = [
    ("edit", "edits"),
    ("rephrase", "rephrases"),
    ("locality", "locality prompts"),
];

/// About as many bars as can be seen on a phone.
const BARS: f64 = 30.0;

pub(super) fn section(report: &Report) -> Section {
    let mut figures = Vec::new();
    let mut numbers = Vec::new();
    if let Some(routing) = &report.summary.routing {
        figures.extend(histogram(report));
        figures.extend(roc(routing));
        numbers.extend(shares(routing));
    }
    numbers.extend(drift(report));
    let intro = match (&report.summary.routing, routed_by(&report.records)) {
        (Some(_), Some(protocol)) => format!(
            "A prompt goes to a side memory if its routing activation exceeds the threshold, a ratio of 1. Edits and \
             rephrases belong to the right of it, locality prompts to the left. Routes are those of the {} protocol \
             after the last edit.",
            label::protocol(protocol)
        ),
        (Some(_), None) => "No routes of single prompts were recorded.".to_owned(),
        (None, _) => "This editor does not route: every prompt meets the edited model.".to_owned(),
    };
    Section {
        title: "Routing",
        intro,
        figures,
        numbers,
    }
}

fn shares(routing: &Routing) -> Vec<Number> {
    let number = |name, value, note| Number::new(name, label::optional(value), note);
    let holder = "sent to the memory that holds the edit";
    vec![
        number("Edits", routing.edits, holder),
        number("Rephrases", routing.rephrases, holder),
        number(
            "Locality prompts",
            routing.locality,
            "sent to the main memory",
        ),
        number("AUC", routing.auc, "edits and rephrases above locality"),
    ]
}

fn drift(report: &Report) -> Vec<Number> {
    let Some(drift) = report.summary.drift else {
        return Vec::new();
    };
    let perplexity = format!(
        "{} → {}",
        label::number(drift.perplexity_before),
        label::number(drift.perplexity_after)
    );
    let note = format!(
        "before → after, over {}, {} of them sent to a side memory",
        label::count(drift.windows, "window"),
        label::number(drift.routed_to_side)
    );
    vec![Number::new(
        "Perplexity of unrelated text",
        perplexity,
        &note,
    )]
}

/// One row of bars per group, all on one scale, so that nothing hides behind anything.
fn histogram(report: &Report) -> Option<Figure> {
    let groups = GROUPS.map(|(question, _)| -> Vec<f64> {
        let records = report.records.iter();
        records
            .flat_map(|record| ratios(&record.after, question))
            .collect()
    });
    let all = groups.concat();
    // A few far-off prompts must not squeeze the rest into two bars.
    let high = quantile(&all, 0.98)?.max(1.5);
    let width = bar_width(high);
    let bins = (high / width).ceil() as usize;
    let end = bins as f64 * width;
    let beyond = all.iter().filter(|ratio| **ratio >= end).count();

    let rows = groups.len() as f64;
    let mut chart = Chart::new(
        Axis::exact("activation / threshold", 0.0, end),
        Axis::silent(0.0, rows),
    );
    for (series, group) in groups.iter().enumerate() {
        let base = rows - 1.0 - series as f64;
        let counts = count(group, bins, width);
        let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
        for (bin, count) in (0..).zip(&counts).filter(|(_, count)| **count > 0) {
            let left = f64::from(bin) * width;
            let top = base + 0.72 * *count as f64 / most;
            chart.bar(series, [left, base], [left + width, top]);
        }
        chart.baseline([0.0, base], [end, base]);
    }
    chart.rule([1.0, 0.0], [1.0, rows]);
    chart.text("label", [1.0, rows], "threshold");
    let description: Vec<String> = (0..).zip(&groups).map(describe).collect();
    let more = match beyond {
        0 => String::new(),
        beyond => format!(
            " {} beyond {} in the last bar.",
            label::count(beyond, "prompt"),
            (end * 100.0).round() / 100.0
        ),
    };
    let id = "histogram";
    Some(Figure {
        id: id.to_owned(),
        title: "Activation over threshold".to_owned(),
        svg: chart.svg(
            id,
            "Histogram of routing activation over threshold",
            &description.join(". "),
        ),
        legend: (0..).zip(&groups).map(key).collect(),
        caption: format!("Each row on its own height.{more}"),
    })
}

fn key((series, group): (usize, &Vec<f64>)) -> Key {
    let name = GROUPS[series].1;
    Key {
        series,
        name: format!("{name} ({})", group.len()),
    }
}

fn describe((series, group): (usize, &Vec<f64>)) -> String {
    let name = GROUPS[series].1;
    let over = group.iter().filter(|ratio| **ratio > 1.0).count();
    format!("{over} of {} {name} exceed the threshold", group.len())
}

/// A width that divides 1, so that no bar straddles the threshold.
fn bar_width(high: f64) -> f64 {
    let widths = [0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0];
    let fits = widths.into_iter().find(|width| high / width <= BARS);
    fits.unwrap_or_else(|| (high / BARS).ceil())
}

fn count(values: &[f64], bins: usize, width: f64) -> Vec<usize> {
    let mut counts = vec![0; bins];
    for value in values {
        // A ratio of exactly 1 does not exceed the threshold: it belongs to the left.
        let bin = (value / width - 1e-9).floor().max(0.0) as usize;
        if let Some(count) = counts.get_mut(bin.min(bins.saturating_sub(1))) {
            *count += 1;
        }
    }
    counts
}

fn roc(routing: &Routing) -> Option<Figure> {
    let auc = routing.auc?;
    let mut chart = Chart::new(
        Axis::exact("false positive rate", 0.0, 1.0),
        Axis::exact("true positive rate", 0.0, 1.0),
    );
    chart.rule([0.0, 0.0], [1.0, 1.0]);
    chart.line(0, &routing.roc);
    let id = "roc";
    Some(Figure {
        id: id.to_owned(),
        title: format!("ROC, AUC {}", label::number(auc)),
        svg: chart.svg(
            id,
            "Receiver operating characteristic of the router",
            &format!("Area under the curve {}", label::number(auc)),
        ),
        legend: Vec::new(),
        caption: "Edits and rephrases against locality prompts, over all thresholds. The diagonal is chance."
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_the_edge_of_a_bar() {
        for high in [0.3, 1.5, 2.7, 5.9, 14.0, 29.0] {
            let bars = 1.0 / bar_width(high);
            assert_eq!(bars, bars.round(), "{high}");
        }
        assert!(bar_width(1e4).is_finite());
    }

    #[test]
    fn a_ratio_of_one_lies_left_of_the_threshold() {
        assert_eq!(count(&[1.0, 1.01, -3.0, 99.0], 4, 0.5), [1, 1, 1, 1]);
    }
}
