//! The `wise` command: corrects single facts in a language model, asks it, and measures how well that went.
//!
//! Standard output is data, standard error is progress and errors. Exit codes: 0 success, 1 failure, 2 usage.

mod args;
mod command;
mod config;
mod error;
mod output;
mod preset;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = output::Output { json: cli.json };
    let result = match &cli.command {
        Command::Edit(args) => command::edit::run(args, output),
        Command::Ask(args) => command::ask::run(args, output),
        Command::Eval(args) => command::eval::run(args, output),
        Command::Report(args) => command::report::run(args, output),
        Command::Compare(args) => command::compare::run(args, output),
        Command::Relations(args) => command::relations::run(args, output),
        Command::Export(args) => command::export::run(args, output),
        Command::Patch(which) => command::patch::run(which, output),
        Command::Doctor => command::doctor::run(output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}
