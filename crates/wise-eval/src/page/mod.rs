//! An evaluation as one HTML page, for people: plots and tables on a laptop or a phone.
//!
//! The page needs nothing else: style and plots are inline, there is no script, and nothing is fetched. It follows
//! the system's light or dark setting. What comes from data or model is escaped by the template engine.

mod chart;
mod cost;
mod plot;
mod retention;
mod routing;
mod scores;
mod setup;
mod training;
mod worst;

use minijinja::{Environment, context};
use serde::Serialize;

use crate::Result;
use crate::metrics::Report;

pub use self::plot::Plot;

const STYLE: &str = include_str!("style.css");
const CHART_STYLE: &str = include_str!("chart.css");

/// The page on a report.
///
/// # Errors
/// [`Error::Page`](crate::Error::Page) if the template fails, which no report should make it do.
pub fn render(report: &Report) -> Result<String> {
    let mut pages = Environment::new();
    pages.add_template("page.html", include_str!("page.html"))?;
    let sections = sections(report);
    let page = context! {
        style => STYLE,
        chart_style => CHART_STYLE,
        title => setup::title(report),
        facts => setup::facts(report),
        tiles => scores::tiles(report),
        tables => scores::tables(report),
        sections => sections,
        worst => worst::edits(report),
        settings => setup::settings(report),
        command => setup::command(report),
        config => setup::config(report),
        version => env!("CARGO_PKG_VERSION"),
    };
    Ok(pages.get_template("page.html")?.render(page)?)
}

/// The plots of the page on a report, each as a file of its own.
pub fn plots(report: &Report) -> Vec<Plot> {
    let sections = sections(report);
    let figures = sections.iter().flat_map(|section| &section.figures);
    figures.map(plot::standalone).collect()
}

fn sections(report: &Report) -> [Section; 4] {
    [
        retention::section(report),
        routing::section(report),
        training::section(report),
        cost::section(report),
    ]
}

/// A heading, what to know about the plots below it, the plots, and some numbers.
#[derive(Debug, Serialize)]
struct Section {
    title: &'static str,
    /// How to read it; says so where there is nothing to show.
    intro: String,
    figures: Vec<Figure>,
    numbers: Vec<Number>,
}

/// A plot with its words.
#[derive(Debug, Serialize)]
struct Figure {
    id: String,
    title: String,
    svg: String,
    legend: Vec<Key>,
    caption: String,
}

/// What a colour stands for.
#[derive(Debug, Serialize)]
struct Key {
    series: usize,
    name: String,
}

/// A number with its name, and what else there is to say about it.
#[derive(Debug, Serialize)]
struct Number {
    name: String,
    value: String,
    note: String,
}

impl Number {
    fn new(name: &str, value: String, note: &str) -> Self {
        Self {
            name: name.to_owned(),
            value,
            note: note.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
