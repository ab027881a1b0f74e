//! Plots as inline SVG.
//!
//! A plot is drawn for a phone: 360 units wide, texts 13 units high. On a laptop three stand side by side at about
//! the same scale, so nothing shrinks. Colours are classes, so that the page's style can swap them in the dark.

use std::fmt::Write as _;

use minijinja::HtmlEscape;

pub(super) const WIDTH: f64 = 360.0;
pub(super) const HEIGHT: f64 = 234.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;

/// A tick label is about this wide, so that neighbours on the horizontal axis do not touch.
const TICKS: f64 = 5.0;

/// One axis: a range and what it measures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    label: String,
    low: f64,
    high: f64,
    step: f64,
    ticks: bool,
}

impl Axis {
    /// From `low` to `high` exactly.
    pub(super) fn exact(label: &str, low: f64, high: f64) -> Self {
        let drawable = high > low && (high - low).is_finite();
        let (low, high) = if drawable {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        let step = nice_step(high - low);
        let label = label.to_owned();
        Self {
            label,
            low,
            high,
            step,
            ticks: true,
        }
    }

    /// From zero to a round number at or above the largest of some values.
    pub(super) fn from_zero(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let most = values.into_iter().filter(|v| v.is_finite());
        let most = most.fold(0.0, f64::max);
        Self::around(label, 0.0, if most > 0.0 { most } else { 1.0 })
    }

    /// From a round number at or below `low` to one at or above `high`.
    pub(super) fn around(label: &str, low: f64, high: f64) -> Self {
        let mut axis = Self::exact(label, low, high);
        axis.low = (axis.low / axis.step).floor() * axis.step;
        axis.high = (axis.high / axis.step).ceil() * axis.step;
        axis
    }

    /// Without ticks: a scale that nobody reads numbers from.
    pub(super) fn silent(low: f64, high: f64) -> Self {
        let mut axis = Self::exact("", low, high);
        axis.ticks = false;
        axis
    }

    /// Ticks at whole numbers only.
    pub(super) fn counting(mut self) -> Self {
        self.step = self.step.max(1.0).round();
        self
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.ticks {
            return Vec::new();
        }
        let first = (self.low / self.step).ceil();
        let count = ((self.high / self.step + 1e-9).floor() - first).clamp(0.0, 20.0) as usize;
        (0..=count)
            .map(|i| (first + i as f64) * self.step)
            .collect()
    }

    fn tick_text(&self, tick: f64) -> String {
        let decimals = (-self.step.log10()).ceil().clamp(0.0, 6.0) as usize;
        // Never -0.
        let tick = if tick.abs() < self.step / 2.0 {
            0.0
        } else {
            tick
        };
        format!("{tick:.decimals$}")
    }

    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, so that a range has at most [`TICKS`] steps.
fn nice_step(range: f64) -> f64 {
    let raw = range / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= raw * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// A plot in the making. Values that are not finite are left out.
#[derive(Debug)]
pub(super) struct Chart {
    x: Axis,
    y: Axis,
    marks: String,
}

impl Chart {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self {
            x,
            y,
            marks: String::new(),
        }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let width = WIDTH - LEFT - RIGHT;
        let height = HEIGHT - TOP - BOTTOM;
        (
            LEFT + self.x.share(x) * width,
            TOP + (1.0 - self.y.share(y)) * height,
        )
    }

    /// A line through points, in the colour of a series.
    pub(super) fn line(&mut self, series: usize, points: &[[f64; 2]]) {
        let path = self.path(points);
        let _ = write!(self.marks, r#"<path class="line s{series}" d="{path}"/>"#);
    }

    /// Points, each as a dot.
    pub(super) fn dots(&mut self, series: usize, points: &[[f64; 2]]) {
        let mut path = String::new();
        for [x, y] in finite(points) {
            let (x, y) = self.at(x, y);
            let _ = write!(path, "M{x:.1} {y:.1}h0");
        }
        let _ = write!(self.marks, r#"<path class="dots s{series}" d="{path}"/>"#);
    }

    /// The area between two lines: `[x, low, high]`. A single point gets a whisker.
    pub(super) fn band(&mut self, series: usize, band: &[[f64; 3]]) {
        if let [[x, low, high]] = *band {
            self.line_of(&format!("whisker s{series}"), [x, low], [x, high]);
            return;
        }
        let lows: Vec<_> = band.iter().map(|[x, low, _]| [*x, *low]).collect();
        let highs: Vec<_> = band.iter().rev().map(|[x, _, high]| [*x, *high]).collect();
        let path = self.path(&[lows, highs].concat());
        let _ = write!(self.marks, r#"<path class="band s{series}" d="{path}"/>"#);
    }

    /// A filled rectangle between two corners.
    pub(super) fn bar(&mut self, series: usize, from: [f64; 2], to: [f64; 2]) {
        let (left, bottom) = self.at(from[0], from[1]);
        let (right, top) = self.at(to[0], to[1]);
        let (width, height) = ((right - left - 1.0).max(1.0), bottom - top);
        let _ = write!(
            self.marks,
            r#"<rect class="bar s{series}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"/>"#
        );
    }

    /// What bars stand on.
    pub(super) fn baseline(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.line_of("grid", from, to);
    }

    /// A thin straight line that is no data: a diagonal, a threshold.
    pub(super) fn rule(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.line_of("rule", from, to);
    }

    /// A text to the right of a point, a little above it.
    pub(super) fn text(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let (x, y) = self.at(x, y);
        let text = HtmlEscape(text);
        let (x, y) = (x + 4.0, y - 4.0);
        let _ = write!(
            self.marks,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    fn line_of(&mut self, class: &str, from: [f64; 2], to: [f64; 2]) {
        let path = self.path(&[from, to]);
        let _ = write!(self.marks, r#"<path class="{class}" d="{path}"/>"#);
    }

    fn path(&self, points: &[[f64; 2]]) -> String {
        let mut path = String::new();
        for [x, y] in finite(points) {
            let (x, y) = self.at(x, y);
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{x:.1} {y:.1}");
        }
        path
    }

    /// The plot with its axes. The title and the description are for those who do not see it.
    pub(super) fn svg(&self, id: &str, title: &str, description: &str) -> String {
        let mut svg = format!(
            r#"<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>"#,
            HtmlEscape(title),
            HtmlEscape(description)
        );
        self.grid(&mut svg);
        svg.push_str(&self.marks);
        svg.push_str("</svg>");
        svg
    }

    fn grid(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.y.ticks() {
            let (_, y) = self.at(self.x.low, tick);
            let text = self.y.tick_text(tick);
            let (end, base) = (LEFT - 6.0, y + 4.0);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/><text class="end" x="{end}" y="{base:.1}">{text}</text>"#
            );
        }
        let base = bottom + 17.0;
        for tick in self.x.ticks() {
            let (x, _) = self.at(tick, self.y.low);
            let text = self.x.tick_text(tick);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{x:.1} {bottom}v4"/><text class="middle" x="{x:.1}" y="{base}">{text}</text>"#
            );
        }
        let middle = f64::midpoint(LEFT, right);
        let (label_y, x_label, y_label) = (
            HEIGHT - 5.0,
            HtmlEscape(&self.x.label),
            HtmlEscape(&self.y.label),
        );
        let _ = write!(
            svg,
            r#"<path class="axis" d="M{LEFT} {bottom}H{right}"/><text class="label middle" x="{middle}" y="{label_y}">{x_label}</text><text class="label" x="4" y="12">{y_label}</text>"#
        );
    }
}

fn finite(points: &[[f64; 2]]) -> impl Iterator<Item = [f64; 2]> {
    let both = |point: &[f64; 2]| point.iter().all(|value| value.is_finite());
    points.iter().copied().filter(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<String> {
        axis.ticks()
            .into_iter()
            .map(|t| axis.tick_text(t))
            .collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(
            ticks(&Axis::exact("", 0.0, 1.0)),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            ticks(&Axis::exact("", 0.0, 99.0)),
            ["0", "20", "40", "60", "80"]
        );
        assert_eq!(
            ticks(&Axis::exact("", 0.0, 3.0).counting()),
            ["0", "1", "2", "3"]
        );
        assert_eq!(
            ticks(&Axis::from_zero("", [0.021, f64::NAN])),
            ["0.000", "0.005", "0.010", "0.015", "0.020", "0.025"]
        );
        assert_eq!(ticks(&Axis::from_zero("", [])).len(), 6);
    }

    #[test]
    fn a_range_without_width_gets_one() {
        let axis = Axis::exact("", 7.0, 7.0);
        assert_eq!((axis.low, axis.high), (6.5, 7.5));
        assert!(!ticks(&axis).is_empty());
    }

    #[test]
    fn what_is_not_finite_is_not_drawn() {
        let mut chart = Chart::new(Axis::exact("", 0.0, 1.0), Axis::exact("", 0.0, 1.0));
        chart.line(0, &[[0.0, f64::NAN], [f64::INFINITY, 0.0], [1.0, 1.0]]);
        chart.dots(0, &[[f64::NAN, 0.5]]);
        chart.band(0, &[[0.0, f64::NAN, 1.0]]);
        chart.band(0, &[]);
        let svg = chart.svg("id", "a < b", "");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("a &lt; b"));
    }
}
