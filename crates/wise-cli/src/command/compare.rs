//! `wise compare`: two evaluations side by side.

use wise_eval::compare::Comparison;
use wise_eval::metrics;

use crate::args::CompareArgs;
use crate::error::Result;
use crate::output::Output;

/// Runs the command.
pub fn run(args: &CompareArgs, output: Output) -> Result<()> {
    let (a, b) = (metrics::read(&args.a)?, metrics::read(&args.b)?);
    let (name_a, name_b) = (args.a.display().to_string(), args.b.display().to_string());
    let comparison = Comparison::of((&name_a, &a), (&name_b, &b));
    output.data(&comparison, comparison.table().trim_end())
}
