//! Whether the licence of every dependency is one we allow.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use spdx::expression::Expression;
use spdx::{Licensee, ParseMode};

use crate::error::{Error, Result};
use crate::process::{cargo, output};

/// Permissive licences: they ask for a notice and leave the licence of what is linked with them alone.
const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Allowed because it reaches no further than its own files, which we do not change; its users are listed.
const WEAK_COPYLEFT: [&str; 1] = ["MPL-2.0"];

/// Packages that name no SPDX expression: what their licence file says. (package, version, licence)
const CLARIFIED: [(&str, &str, &str); 1] = [("cfg_block", "0.1.1", "Apache-2.0")];

/// Checks every package of the lock file, for all platforms and features.
pub(crate) fn run() -> Result {
    let metadata = output(&mut cargo(
        "metadata --format-version 1 --locked --all-features",
    ))?;
    let metadata: Json = serde_json::from_str(&metadata)
        .map_err(|error| Error::failed(format!("cargo metadata wrote no JSON: {error}")))?;
    let report = Report::new(&metadata)?;
    for (licence, packages) in &report.weak_copyleft {
        println!("{licence}, unchanged files: {}", packages.join(", "));
    }
    println!(
        "licences: {} dependencies are all allowed",
        report.dependencies
    );
    Ok(())
}

/// Dependencies whose licences are all allowed.
#[derive(Debug)]
struct Report {
    dependencies: usize,
    /// Packages by the weak copyleft licence that they cannot do without.
    weak_copyleft: BTreeMap<&'static str, Vec<String>>,
}

impl Report {
    fn new(metadata: &Json) -> Result<Self> {
        let mut report = Self {
            dependencies: 0,
            weak_copyleft: BTreeMap::new(),
        };
        let mut refused = Vec::new();
        let packages = metadata["packages"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for package in packages.iter().filter(|package| !is_private(package)) {
            // A package from a registry has a source, a member of the workspace has none.
            report.dependencies += usize::from(!package["source"].is_null());
            match verdict(package) {
                Ok(Verdict::Allowed) => {}
                Ok(Verdict::WeakCopyleft(licence)) => {
                    report
                        .weak_copyleft
                        .entry(licence)
                        .or_default()
                        .push(title(package));
                }
                Err(reason) => refused.push(format!("{}: {reason}", title(package))),
            }
        }
        if packages.is_empty() {
            return Err(Error::failed(
                "cargo metadata lists no packages, expected at least our own",
            ));
        }
        if refused.is_empty() {
            return Ok(report);
        }
        Err(Error::failed(format!(
            "{} packages have a licence that is not allowed:\n  {}\n\
             hint: replace the dependency, or extend the list in xtask/src/licences.rs and say why",
            refused.len(),
            refused.join("\n  ")
        )))
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Allowed,
    WeakCopyleft(&'static str),
}

/// A member of the workspace that is never published needs no licence.
fn is_private(package: &Json) -> bool {
    let never_published = package["publish"].as_array().is_some_and(Vec::is_empty);
    package["source"].is_null() && never_published
}

fn title(package: &Json) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or("?").to_owned();
    format!("{} {}", text("name"), text("version"))
}

fn verdict(package: &Json) -> Result<Verdict, String> {
    let same = |key: &str, value: &str| package[key].as_str() == Some(value);
    let clarified = || {
        let known = CLARIFIED
            .iter()
            .find(|(n, v, _)| same("name", n) && same("version", v));
        known.map(|&(_, _, licence)| licence)
    };
    match package["license"].as_str().or_else(clarified) {
        Some(expression) => evaluate(expression),
        None => Err("got no SPDX expression, expected one".to_owned()),
    }
}

/// Whether an SPDX expression can be satisfied by allowed licences; a slash counts as OR.
fn evaluate(expression: &str) -> Result<Verdict, String> {
    let mode = ParseMode {
        allow_slash_as_or_operator: true,
        ..ParseMode::STRICT
    };
    let parsed = Expression::parse_mode(expression, mode)
        .map_err(|error| format!("got {expression:?}, expected SPDX: {}", error.reason))?;
    let satisfied = |licences: &[&str]| {
        let licensees: Vec<_> = licences
            .iter()
            .filter_map(|l| Licensee::parse(l).ok())
            .collect();
        parsed.evaluate(|required| {
            licensees
                .iter()
                .any(|licensee| licensee.satisfies(required))
        })
    };
    if satisfied(&ALLOWED) {
        return Ok(Verdict::Allowed);
    }
    for weak in WEAK_COPYLEFT {
        if satisfied(&[&ALLOWED[..], &[weak]].concat()) {
            return Ok(Verdict::WeakCopyleft(weak));
        }
    }
    Err(format!("got {expression}, expected a permissive licence"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: Result<Verdict, &str>) {
        match (evaluate(expression), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{expression}"),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{expression}: {got}"),
            (got, expected) => panic!("{expression}: got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn every_allowed_licence_is_known_to_spdx() {
        for licence in ALLOWED.iter().chain(&WEAK_COPYLEFT) {
            assert!(Licensee::parse(licence).is_ok(), "{licence}");
        }
    }

    #[test]
    fn an_expression_needs_one_side_of_or_and_both_of_and() {
        check("MIT", Ok(Verdict::Allowed));
        check("MIT OR GPL-3.0-only", Ok(Verdict::Allowed));
        check("MIT AND GPL-3.0-only", Err("expected a permissive licence"));
        check("(MIT OR Apache-2.0) AND Unicode-3.0", Ok(Verdict::Allowed));
        check("Apache-2.0 WITH LLVM-exception", Ok(Verdict::Allowed));
        check(
            "GPL-2.0-only WITH Classpath-exception-2.0",
            Err("got GPL-2.0-only"),
        );
    }

    #[test]
    fn a_slash_is_an_or() {
        check("MIT/Apache-2.0", Ok(Verdict::Allowed));
        check("GPL-3.0-only / MIT", Ok(Verdict::Allowed));
        check(
            "GPL-3.0-only/AGPL-3.0-only",
            Err("expected a permissive licence"),
        );
    }

    #[test]
    fn weak_copyleft_is_told_apart() {
        check("MPL-2.0", Ok(Verdict::WeakCopyleft("MPL-2.0")));
        check("MIT OR MPL-2.0", Ok(Verdict::Allowed));
    }

    #[test]
    fn nonsense_is_no_licence() {
        check("as you like", Err("expected SPDX"));
        check("", Err("expected SPDX"));
    }

    #[test]
    fn a_package_without_a_licence_is_refused_unless_it_is_our_own_and_private() {
        let package = |name: &str, source: Json, publish: Json| {
            json!({ "name": name, "version": "1.0.0", "license": null,
                    "source": source, "publish": publish })
        };
        let report = |package: Json| Report::new(&json!({ "packages": [package] }));
        assert_eq!(
            report(package("tool", Json::Null, json!([])))
                .unwrap()
                .dependencies,
            0
        );
        let error = report(package("x", json!("registry"), Json::Null))
            .unwrap_err()
            .to_string();
        assert!(error.contains("x 1.0.0: got no SPDX expression"), "{error}");
        assert!(report(package("x", json!("registry"), json!([]))).is_err());
        assert!(Report::new(&json!({})).is_err());
    }

    #[test]
    fn a_licence_file_counts_for_the_version_that_was_read() {
        let (name, version, _) = CLARIFIED[0];
        let package = |version: &str| json!({ "name": name, "version": version, "license": null });
        assert_eq!(verdict(&package(version)), Ok(Verdict::Allowed));
        assert!(verdict(&package("99.0.0")).is_err());
    }
}
