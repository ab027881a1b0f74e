//! `wise patch diff`: what two patches have in common and what not.

use std::fmt::Write as _;

use wise_edit::AppliedEdit;
use wise_patch::{Difference, Patch};

use super::count;
use crate::args::PatchDiffArgs;
use crate::error::Result;
use crate::output::Output;

/// Runs the command.
pub fn run(args: &PatchDiffArgs, output: Output) -> Result<()> {
    let difference = Patch::load(&args.a)?.diff(&Patch::load(&args.b)?);
    output.data(&difference, &in_words(&difference))
}

/// Lines begin with `-` for what only A has, `+` for what only B has.
fn in_words(difference: &Difference) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |sign: char, what: &str| {
        let _ = writeln!(text, "{sign} {what}");
    };
    let said =
        |applied: &AppliedEdit| format!("{} -> {}", applied.edit.prompt, applied.edit.target);
    if !difference.same_model {
        line('!', "made for different models");
    }
    for setting in &difference.settings {
        line('-', &format!("{} = {}", setting.name, setting.a));
        line('+', &format!("{} = {}", setting.name, setting.b));
    }
    for (a, b) in &difference.changed {
        line('-', &said(a));
        line('+', &said(b));
    }
    for edit in &difference.only_a {
        line('-', &said(edit));
    }
    for edit in &difference.only_b {
        line('+', &said(edit));
    }
    let shards: Vec<String> = difference.shards.iter().map(ToString::to_string).collect();
    let shards = match shards.as_slice() {
        [] => "no shard differs".to_owned(),
        shards => format!("values differ in shard {}", shards.join(", ")),
    };
    let (changed, same) = (difference.changed.len(), count(difference.same));
    text + &format!("{same} in both, {changed} with another target; {shards}")
}
