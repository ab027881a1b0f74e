//! `wise patch undo`: takes edits back.

use std::time::Instant;

use serde::Serialize;
use wise_edit::{EditProgress, Editor, Made, Watch};
use wise_patch::{Patch, Shard};

use super::{check_ids, count};
use crate::args::PatchUndoArgs;
use crate::command::{self, size};
use crate::error::Result;
use crate::output::{EditBar, Output};

#[derive(Debug, Serialize)]
struct Undone {
    patch: String,
    #[serde(rename = "undone")]
    taken_back: Vec<usize>,
    trained_anew: Vec<usize>,
    edits: usize,
    seconds: f64,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &PatchUndoArgs, output: Output) -> Result<()> {
    let begun = Instant::now();
    let out = args.out.as_ref().unwrap_or(&args.patch);
    let (patch, _lock) = command::load_locked(&args.patch, out)?;
    check_ids(&patch, &args.patch, &args.ids)?;
    command::check_out(out, true)?;
    command::note_signature(&patch, &args.patch);
    let kept = |shard: &&Shard| shard.edits.iter().any(|e| args.ids.contains(&e.id));
    let touched = patch.manifest.shards.iter().filter(kept);
    let ids = touched.flat_map(|shard| &shard.edits).map(|e| e.id);
    let trained_anew: Vec<usize> = ids.filter(|id| !args.ids.contains(id)).collect();

    let mut editor = patch.editor(command::open_model(&args.model)?)?;
    let mut anew = Anew {
        bar: EditBar::new(trained_anew.len(), editor.config().n_iter),
        made: 0,
    };
    let outcome = editor.undo(&args.ids, &mut anew);
    anew.bar.finish();
    outcome?;
    let undone = Patch::from_editor(&editor)?.with_provenance(patch.manifest.provenance);
    undone.save(out)?;
    let undone = Undone {
        patch: out.display().to_string(),
        taken_back: args.ids.clone(),
        edits: editor.history().len(),
        trained_anew,
        seconds: begun.elapsed().as_secs_f64(),
        bytes: size(out)?,
    };
    let text = format!(
        "took back {}, trained {} anew in {:.1} s, {} left: {}",
        count(undone.taken_back.len()),
        undone.trained_anew.len(),
        undone.seconds,
        undone.edits,
        undone.patch
    );
    output.data(&undone, &text)
}

struct Anew {
    bar: EditBar,
    made: usize,
}

impl Watch for Anew {
    fn progress(&mut self, progress: EditProgress) {
        self.bar.progress(&progress);
    }

    fn made(&mut self, made: Made<'_>) -> std::ops::ControlFlow<()> {
        self.made += 1;
        self.bar.made(self.made, made.index);
        std::ops::ControlFlow::Continue(())
    }
}
