//! Words and numbers as people read them.

use crate::metrics::parts;

/// Protocols in the order of the page: first what users meet.
const PROTOCOLS: [(&str, &str); 4] = [
    ("generation", "generation"),
    ("teacher_forced", "teacher-forced"),
    ("likelihood", "likelihood"),
    ("perplexity", "perplexity"),
];

const QUESTIONS: [(&str, &str); 5] = [
    ("edit", "reliability"),
    ("rephrase", "generalization"),
    ("locality", "locality"),
    ("portability", "portability"),
    ("ood", "out of distribution"),
];

/// The first that a question has speaks for it.
const METRICS: [(&str, &str); 9] = [
    ("exact_match", "exact match"),
    ("agreement", "agreement"),
    ("accuracy", "accuracy"),
    ("token_accuracy", "token accuracy"),
    ("f1", "F1"),
    ("contains", "contains"),
    ("perplexity", "perplexity"),
    ("nll", "negative log-likelihood"),
    ("ngram_entropy", "n-gram entropy"),
];

/// Where a name stands on the page: protocol, then question, then metric; unknown ones last.
pub(super) fn order(name: &str) -> (usize, usize, usize, &str) {
    let [protocol, question, metric] = parts(name);
    (
        position(&PROTOCOLS, protocol),
        position(&QUESTIONS, question),
        position(&METRICS, metric),
        name,
    )
}

pub(super) fn protocol(name: &str) -> String {
    words(&PROTOCOLS, parts(name)[0])
}

pub(super) fn question(name: &str) -> String {
    words(&QUESTIONS, parts(name)[1])
}

pub(super) fn metric(name: &str) -> String {
    words(&METRICS, parts(name)[2])
}

fn position(known: &[(&str, &str)], part: &str) -> usize {
    let found = known.iter().position(|(name, _)| *name == part);
    found.unwrap_or(known.len())
}

fn words(known: &[(&str, &str)], part: &str) -> String {
    let found = known.iter().find(|(name, _)| *name == part);
    found.map_or_else(|| part.replace('_', " "), |(_, words)| (*words).to_owned())
}

/// With its first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

/// A score, a perplexity or a ratio, with about three digits that mean something.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if size < 10.0 {
        format!("{value:.3}")
    } else if size < 1000.0 {
        format!("{value:.1}")
    } else if size < 1e6 {
        format!("{value:.0}")
    } else {
        format!("{value:.2e}")
    }
}

pub(super) fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

/// A time, in the unit that suits it.
pub(super) fn seconds(value: f64) -> String {
    if !value.is_finite() {
        "–".to_owned()
    } else if value < 1.0 {
        format!("{:.0} ms", value * 1e3)
    } else if value < 120.0 {
        format!("{value:.2} s")
    } else if value < 7200.0 {
        format!("{:.1} min", value / 60.0)
    } else {
        format!("{:.1} h", value / 3600.0)
    }
}

/// A size in memory.
pub(super) fn bytes(value: u64) -> String {
    let value = value as f64;
    if value < 1e9 {
        format!("{:.0} MB", value / 1e6)
    } else {
        format!("{:.2} GB", value / 1e9)
    }
}

/// `1 edit`, `2 edits`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        let check = |value, expected: &str| assert_eq!(number(value), expected);
        check(0.94, "0.940");
        check(-0.5, "-0.500");
        check(23.456, "23.5");
        check(12_345.6, "12346");
        check(3e9, "3.00e9");
        check(f64::NAN, "–");
        assert_eq!(optional(None), "–");
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(seconds(0.25), "250 ms");
        assert_eq!(seconds(2.0), "2.00 s");
        assert_eq!(seconds(600.0), "10.0 min");
        assert_eq!(seconds(9000.0), "2.5 h");
        assert_eq!(bytes(512_000_000), "512 MB");
        assert_eq!(bytes(2_340_000_000), "2.34 GB");
    }

    #[test]
    fn generation_and_reliability_come_first() {
        let mut names = [
            "own.thing",
            "teacher_forced.edit.token_accuracy",
            "generation.rephrase.exact_match",
            "generation.edit.contains",
            "generation.edit.exact_match",
        ];
        names.sort_by_key(|name| order(name));
        assert_eq!(names[0], "generation.edit.exact_match");
        assert_eq!(names[1], "generation.edit.contains");
        assert_eq!(names[4], "own.thing");
        assert_eq!(question("own.some_thing"), "some thing");
        assert_eq!(capital("éa"), "Éa");
    }
}
