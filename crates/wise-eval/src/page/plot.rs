//! The page's plots as files of their own, for a paper or a README.

use std::fmt::Write as _;

use minijinja::HtmlEscape;

use super::chart::{HEIGHT, WIDTH};
use super::{CHART_STYLE, Figure, STYLE};

const LEGEND_LINE: f64 = 18.0;

/// A plot as an SVG file: dark on white, its legend below. It needs nothing else, and no program that knows custom
/// properties of CSS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// What it shows, good for a file's name.
    pub name: String,
    /// The file.
    pub svg: String,
}

pub(super) fn standalone(figure: &Figure) -> Plot {
    let lines = figure.legend.len() as f64;
    let height = HEIGHT + lines * LEGEND_LINE;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"><style>svg {{ font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
{}</style><rect width="{WIDTH}" height="{height}" fill="#fff"/>{}"##,
        in_light_colours(CHART_STYLE),
        figure.svg
    );
    for (line, key) in (1..).zip(&figure.legend) {
        let base = HEIGHT + f64::from(line) * LEGEND_LINE - 6.0;
        let (middle, name) = (base - 4.0, HtmlEscape(&key.name));
        let _ = write!(
            svg,
            r#"<circle class="bar s{}" cx="10" cy="{middle}" r="5"/><text x="21" y="{base}">{name}</text>"#,
            key.series
        );
    }
    svg.push_str("</svg>\n");
    Plot {
        name: figure.id.clone(),
        svg,
    }
}

/// `style` with the colours that the page's style gives names to, in the light.
fn in_light_colours(style: &str) -> String {
    let light = STYLE.split(['{', '}']).nth(1).unwrap_or_default();
    let colours = light.split(';').filter_map(|line| line.split_once(':'));
    colours.fold(style.to_owned(), |style, (name, colour)| {
        style.replace(&format!("var({})", name.trim()), colour.trim())
    })
}
