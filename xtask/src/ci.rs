//! Everything that a change has to pass, each step with its time.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process::{cargo, run as run_command, target};
use crate::{conformance, demo, guards, licences, python, test};

type Step = (&'static str, fn() -> Result);

const STEPS: [Step; 15] = [
    ("format", || run_command(&mut cargo("fmt --all --check"))),
    ("clippy", || {
        run_command(&mut cargo(
            "clippy --workspace --all-targets -- -D warnings",
        ))
    }),
    ("build", || {
        run_command(&mut cargo("build --workspace --all-targets"))
    }),
    ("tests", || test::run(&[])),
    ("wise_hf without torch", python::run),
    ("conformance on software Vulkan", || {
        conformance::conformance(&["--device", "wgpu", "--quick"].map(str::to_owned))
    }),
    ("conformance across two devices in half precision", || {
        let half = ["--device", "cpu,wgpu", "--precision", "f16", "--quick"];
        conformance::conformance(&half.map(str::to_owned))
    }),
    ("clippy with every device", || {
        let mut clippy = cargo(
            "clippy --package wise-conformance --all-targets --features wgpu,cuda -- -D warnings",
        );
        // CUDA's build script fetches LLVM unless documentation is built. In a folder of its own, so that what is built
        // without that setting is not built anew.
        clippy.env("DOCS_RS", "1");
        run_command(clippy.env("CARGO_TARGET_DIR", target()?.join("every-device")))
    }),
    ("docs", || {
        run_command(cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("libraries alone", guards::libraries_alone),
    ("wise-merge without burn", guards::merge_without_burn),
    (
        "backends in wise-tensor only",
        guards::backends_in_one_crate,
    ),
    ("licences", licences::run),
    ("package", guards::package),
    ("demo", || demo::run(&[])),
];

/// Runs the steps up to the first that fails.
pub(crate) fn run() -> Result {
    run_steps(&STEPS)
}

fn run_steps(steps: &[Step]) -> Result {
    let mut times = Vec::new();
    let mut outcome = Ok(());
    for (index, (name, step)) in steps.iter().enumerate() {
        eprintln!("\n== {name} ({} of {})", index + 1, steps.len());
        let start = Instant::now();
        outcome = step();
        let time = start.elapsed();
        eprintln!("== {name}: {:.1} s", time.as_secs_f64());
        times.push((*name, time));
        if outcome.is_err() {
            break;
        }
    }
    println!("\n{}", table(&times));
    match outcome {
        Ok(()) => {
            println!("ci: all {} steps passed", steps.len());
            Ok(())
        }
        Err(error) => {
            let (failed, _) = times[times.len() - 1];
            let left = steps.len() - times.len();
            Err(Error::failed(format!(
                "ci: {failed} failed (steps not run: {left}): {error}"
            )))
        }
    }
}

fn table(times: &[(&str, Duration)]) -> String {
    let total: Duration = times.iter().map(|(_, time)| time).sum();
    let width = times
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max("total".len());
    times
        .iter()
        .chain([&("total", total)])
        .map(|(name, time)| format!("{name:width$}  {:8.1} s", time.as_secs_f64()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_per_step_and_the_total() {
        let times = [
            ("a", Duration::from_millis(1500)),
            ("longer", Duration::from_mins(1)),
        ];
        assert_eq!(
            table(&times),
            "a            1.5 s\nlonger      60.0 s\ntotal       61.5 s"
        );
    }

    #[test]
    fn the_first_failure_ends_the_run_and_is_named() {
        let steps: [Step; 3] = [
            ("one", || Ok(())),
            ("two", || Err(Error::failed("got 1, expected 2"))),
            ("three", || unreachable!()),
        ];
        let error = run_steps(&steps).unwrap_err().to_string();
        assert_eq!(
            error,
            "ci: two failed (steps not run: 1): got 1, expected 2"
        );
        assert!(run_steps(&steps[..1]).is_ok());
    }
}
