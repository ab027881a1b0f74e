//! `wise patch stack`: patches of several authors as one.

use serde::Serialize;
use wise_patch::{Conflict, OnConflict, Patch};

use super::count;
use crate::args::{ConflictPolicy, PatchStackArgs};
use crate::command::{self, size};
use crate::error::Result;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Report {
    patch: String,
    edits: usize,
    shards: usize,
    conflicts: Vec<Conflict>,
    left_out: usize,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &PatchStackArgs, output: Output) -> Result<()> {
    let _lock = command::lock(&args.out)?;
    let patches = args.patches.iter().map(|path| Patch::load(path));
    let patches = patches.collect::<wise_patch::Result<Vec<_>>>()?;
    command::check_out(&args.out, args.force)?;
    let policy = match args.on_conflict {
        ConflictPolicy::Refuse => OnConflict::Refuse,
        ConflictPolicy::First => OnConflict::First,
        ConflictPolicy::Last => OnConflict::Last,
    };
    let stacked = Patch::stack(&patches, policy)?;
    stacked.patch.save(&args.out)?;
    let report = Report {
        patch: args.out.display().to_string(),
        edits: stacked.patch.manifest.edits().len(),
        shards: stacked.patch.manifest.shards.len(),
        conflicts: stacked.conflicts,
        left_out: stacked.left_out,
        bytes: size(&args.out)?,
    };
    let targets = |conflict: &Conflict| {
        let targets = conflict.targets.iter();
        let targets =
            targets.map(|(patch, target)| format!("{target} ({})", args.patches[*patch].display()));
        format!(
            "{}: {}\n",
            conflict.prompt,
            targets.collect::<Vec<_>>().join(", ")
        )
    };
    let conflicts: String = report.conflicts.iter().map(targets).collect();
    let text = format!(
        "{conflicts}{} of {} patches in {} shards, {} left out: {}",
        count(report.edits),
        patches.len(),
        report.shards,
        report.left_out,
        report.patch
    );
    output.data(&report, &text)
}
