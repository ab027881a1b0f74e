//! Every test, the quick ones first.

use std::ffi::OsStr;
use std::path::Path;
use std::thread::available_parallelism;

use crate::error::{Error, Result};
use crate::process::{cargo, run as run_command, succeeds};

/// Most tests with the real model at once: each holds its own copy.
const MODELS_AT_ONCE: usize = 4;

/// Runs the tests and says which it left out.
pub(crate) fn run(arguments: &[String]) -> Result {
    let quick = match arguments {
        [] => false,
        [only] if only == "--quick" => true,
        [first, ..] => {
            return Err(Error::usage(
                format!("unknown argument {first:?}"),
                "nothing or --quick",
            ));
        }
    };
    let runner = Runner::find();
    run_command(&mut cargo(runner.plain()))?;
    run_command(&mut cargo("test --workspace --doc"))?;
    if !quick {
        for arguments in runner.with_model() {
            run_command(&mut cargo(&arguments))?;
        }
    }
    let data = std::env::var_os("WISE_BENCH_DATA");
    match left_out(quick, data.as_deref()).as_slice() {
        [] => println!("tests: all ran and passed"),
        left_out => {
            println!("tests: all that ran passed; not run:");
            for line in left_out {
                println!("  {line}");
            }
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Runner {
    Nextest,
    Cargo,
}

impl Runner {
    fn find() -> Self {
        if succeeds(&mut cargo("nextest --version")) {
            Self::Nextest
        } else {
            Self::Cargo
        }
    }

    fn plain(self) -> &'static str {
        match self {
            Self::Nextest => "nextest run --workspace",
            // Targets by kind: without them cargo runs the documentation's tests here as well.
            Self::Cargo => "test --workspace --lib --bins --tests --examples",
        }
    }

    /// The tests that need the real model are exactly the ignored ones. The first of them downloads it if
    /// need be, alone; the others then find it. Always the whole workspace: a single package would have
    /// other features, and build everything anew.
    fn with_model(self) -> Vec<String> {
        match self {
            Self::Nextest => {
                let run = "nextest run --workspace --run-ignored only --no-tests pass";
                let others = available_parallelism()
                    .map_or(1, usize::from)
                    .min(MODELS_AT_ONCE);
                vec![
                    format!("{run} --test-threads 1 -E package(wise-model)"),
                    format!("{run} --test-threads {others} -E not(package(wise-model))"),
                ]
            }
            Self::Cargo => {
                let tests = "test --workspace --lib --bins --tests --examples";
                vec![format!("{tests} -- --ignored --test-threads 1")]
            }
        }
    }
}

fn left_out(quick: bool, data: Option<&OsStr>) -> Vec<String> {
    let mut lines = Vec::new();
    if quick {
        lines.push("tests that need the real model: --quick was given".to_owned());
    }
    match data {
        None => lines.push("tests on benchmark data: WISE_BENCH_DATA is not set".to_owned()),
        Some(folder) if !Path::new(folder).is_dir() => lines.push(format!(
            "tests on benchmark data: WISE_BENCH_DATA is {}, expected a folder",
            folder.display()
        )),
        Some(_) => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_said_with_its_reason() {
        let here = OsStr::new(".");
        assert!(left_out(false, Some(here)).is_empty());
        assert_eq!(left_out(true, Some(here)).len(), 1);
        let both = left_out(true, None);
        assert!(
            both[0].contains("--quick") && both[1].contains("not set"),
            "{both:?}"
        );
        let absent = left_out(false, Some(OsStr::new("no-such-folder")));
        assert!(
            absent[0].contains("no-such-folder, expected a folder"),
            "{absent:?}"
        );
    }
}
