//! What came of a check.

use serde::Serialize;

/// How far a device is from the CPU in one respect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The respect.
    pub check: &'static str,
    /// How far it is.
    pub got: f64,
    /// How far it may be.
    pub tolerance: f64,
    /// What is measured.
    pub unit: &'static str,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        // Not a number is not within.
        self.got <= self.tolerance
    }
}

/// How many of some pairs differ, and how many may.
pub fn differing<T: PartialEq>(
    check: &'static str,
    unit: &'static str,
    pairs: &[(T, T)],
    allowed: f64,
) -> Outcome {
    let differing = pairs.iter().filter(|(a, b)| a != b).count();
    Outcome {
        check,
        got: differing as f64,
        tolerance: allowed,
        unit,
    }
}

/// The largest difference of some values, as a share of the largest that is expected.
pub fn relative(check: &'static str, got: &[f32], expected: &[f32], tolerance: f64) -> Outcome {
    let largest = expected.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let apart = if got.len() == expected.len() {
        largest_difference(got, expected) / largest.max(f32::MIN_POSITIVE)
    } else {
        f32::INFINITY
    };
    Outcome {
        check,
        got: f64::from(apart),
        tolerance,
        unit: "of the largest",
    }
}

/// Not a number if any is none.
fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let further = |most: f32, x| if most.is_nan() || x <= most { most } else { x };
    apart.fold(0.0, further)
}

/// The outcomes for a person.
pub fn table(device: &str, outcomes: &[Outcome]) -> String {
    let row = |outcome: &Outcome| {
        let verdict = if outcome.passed() { "ok" } else { "FAILED" };
        let Outcome {
            check,
            got,
            tolerance,
            unit,
        } = outcome;
        format!("{verdict:<7}{check:<44}{got:>9.1e}  at most {tolerance:.0e} {unit}")
    };
    let passed = outcomes.iter().filter(|o| o.passed()).count();
    let mut lines: Vec<String> = outcomes.iter().map(row).collect();
    lines.push(format!(
        "{device}: {passed} of {} checks passed",
        outcomes.len()
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_far_or_no_number_fails() {
        let check = |got: &[f32], passed: bool| {
            let outcome = relative("x", got, &[1.0, -2.0], 0.1);
            assert_eq!(outcome.passed(), passed, "{got:?}: {outcome:?}");
        };
        check(&[1.0, -2.0], true);
        check(&[1.0, -1.9], true);
        check(&[1.0, -1.7], false);
        check(&[f32::NAN, -2.0], false);
        check(&[1.0], false);
    }

    #[test]
    fn no_more_pairs_may_differ_than_allowed() {
        assert!(differing("x", "pairs", &[(1, 1), (2, 2)], 0.0).passed());
        let one = differing("x", "pairs", &[(1, 1), (2, 3)], 0.0);
        assert!(one.got == 1.0 && !one.passed());
        assert!(differing("x", "pairs", &[(1, 1), (2, 3)], 1.0).passed());
    }
}
