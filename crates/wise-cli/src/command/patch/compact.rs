//! `wise patch compact`: the same edits in fewer bytes.

use serde::Serialize;

use crate::args::PatchCompactArgs;
use crate::command::{self, size};
use crate::error::Result;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Compacted {
    patch: String,
    /// Shards whose values were rounded to bf16.
    shards: usize,
    /// Shards in all.
    of: usize,
    bytes_before: u64,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &PatchCompactArgs, output: Output) -> Result<()> {
    let out = args.out.as_ref().unwrap_or(&args.patch);
    let (mut patch, _lock) = command::load_locked(&args.patch, out)?;
    command::check_out(out, true)?;
    let (bytes_before, shards) = (size(&args.patch)?, patch.compact());
    if shards > 0 {
        command::note_signature(&patch, &args.patch);
    }
    patch.save(out)?;
    let compacted = Compacted {
        patch: out.display().to_string(),
        shards,
        of: patch.manifest.shards.len(),
        bytes_before,
        bytes: size(out)?,
    };
    let text = format!(
        "{shards} of {} shards rounded to bf16, {bytes_before} bytes became {}: {}",
        compacted.of, compacted.bytes, compacted.patch
    );
    output.data(&compacted, &text)
}
