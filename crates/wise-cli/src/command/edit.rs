//! `wise edit`: corrects facts and saves them as a patch.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use wise_edit::{AppliedEdit, Edit, EditProgress, Editor, Made, Watch, Wise};
use wise_model::replace_file;
use wise_patch::{Patch, Provenance};

use crate::args::EditArgs;
use crate::command::{self, editor};
use crate::config;
use crate::error::{Error, Result};
use crate::output::{self, EditBar, Output};

#[derive(Debug, Serialize)]
struct Summary {
    patch: String,
    model_id: String,
    layer: usize,
    prompt_format: String,
    edits: Vec<Done>,
    seconds: f64,
    seconds_per_edit: f64,
    patch_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Done {
    #[serde(flatten)]
    applied: AppliedEdit,
    seconds: f64,
}

/// Runs the command.
pub fn run(args: &EditArgs, output: Output) -> Result<()> {
    let edits = requested(args)?;
    note_subjects(&edits);
    let out = args.out.as_ref().or(args.patch.as_ref());
    let out = out.cloned().unwrap_or_default();
    if let Some(patch) = &args.patch {
        command::check_in(patch)?;
    }
    let _lock = command::lock(&out)?;
    let (mut editor, mut provenance) = opened(args, &out)?;
    let said = said_of(args);
    let ids = editor.plan(&edits)?;
    provenance.extend(ids.map(|id| (id, said.clone())));
    let planned = editor.planned().len();
    let before = std::fs::read(&out).ok();
    let patch = Patch::from_editor(&editor)?.with_provenance(provenance);
    patch.save(&out)?;

    let begun = Instant::now();
    let mut saving = Saving {
        out: &out,
        patch,
        bar: EditBar::new(planned, editor.config().n_iter),
        done: Vec::with_capacity(planned),
        failed: None,
    };
    let outcome = editor.make_planned(&mut saving);
    saving.bar.finish();
    let outcome = saving
        .failed
        .map_or(Ok(()), Err)
        .and(outcome.map_err(Error::from));
    let mut done = saving.done;
    if outcome.is_err() && done.is_empty() {
        put_back(&out, before)?;
    } else if outcome.is_err() {
        let (made, out) = (done.len(), out.display());
        output::note(&format!(
            "{made} of {planned} edits are saved in {out}, and what the others were: \
             wise edit --patch {out} --resume makes them, wise patch undo {out} ID.. drops them"
        ));
    }
    outcome?;
    done.sort_by_key(|done| done.applied.id);
    report(
        args,
        &out,
        &editor,
        done,
        begun.elapsed().as_secs_f64(),
        output,
    )
}

/// What was there before a run that made nothing.
fn put_back(out: &Path, before: Option<Vec<u8>>) -> Result<()> {
    let done = match before {
        Some(bytes) => replace_file(out, &bytes),
        None => std::fs::remove_file(out),
    };
    done.map_err(|e| Error::write(out, e))
}

/// A new editor, or that of the patch to go on with.
fn opened(args: &EditArgs, out: &Path) -> Result<(Wise, BTreeMap<usize, Provenance>)> {
    if let Some(path) = &args.patch {
        let patch = Patch::load(path)?;
        let unfinished = command::unfinished(&patch, path);
        if let Some(unfinished) = unfinished.filter(|_| !args.resume) {
            return Err(unfinished);
        }
        command::check_out(out, args.force || out == path)?;
        command::note_signature(&patch, path);
        let editor = patch.editor(command::open_model(&args.model)?)?;
        return Ok((editor, patch.manifest.provenance));
    }
    let hyperparameters = config::resolve(&args.config, &args.model.model)?;
    let negatives = config::negatives(&args.config, &hyperparameters)?;
    command::check_out(out, args.force)?;
    let model = command::open_model(&args.model)?;
    let editor = editor::wise(model, hyperparameters, negatives, &args.config)?;
    Ok((editor, BTreeMap::new()))
}

/// RFC 3339 has years of four digits.
const END_OF_9999: u64 = 253_402_300_799;

/// Where the edits of this run come from. `SOURCE_DATE_EPOCH` stands for the time where a patch shall be the same byte for
/// byte whenever it is made (reproducible-builds.org).
fn said_of(args: &EditArgs) -> Provenance {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let given: Option<u64> = given.and_then(|seconds| seconds.parse().ok());
    let when = match given {
        Some(seconds) => UNIX_EPOCH + Duration::from_secs(seconds.min(END_OF_9999)),
        None => SystemTime::now(),
    };
    Provenance {
        when: Some(humantime::format_rfc3339_seconds(when).to_string()),
        by: args.by.clone(),
        note: args.note.clone(),
    }
}

/// Saves the patch after every edit, so that whatever stops the next one loses only that.
struct Saving<'a> {
    out: &'a Path,
    patch: Patch,
    bar: EditBar,
    done: Vec<Done>,
    failed: Option<Error>,
}

impl Saving<'_> {
    fn save(&mut self, editor: &dyn Editor, id: usize) -> Result<()> {
        let editor: &dyn Any = editor;
        if let Some(editor) = editor.downcast_ref::<Wise>() {
            self.patch.take_up(editor, id)?;
            self.patch.save(self.out)?;
        }
        Ok(())
    }
}

impl Watch for Saving<'_> {
    fn progress(&mut self, progress: EditProgress) {
        self.bar.progress(&progress);
    }

    fn made(&mut self, made: Made<'_>) -> ControlFlow<()> {
        if let Err(error) = self.save(made.editor, made.applied.id) {
            self.failed.get_or_insert(error);
            return ControlFlow::Break(());
        }
        self.done.push(Done {
            applied: made.applied.clone(),
            seconds: made.seconds,
        });
        self.bar.made(self.done.len(), made.index);
        ControlFlow::Continue(())
    }
}

fn requested(args: &EditArgs) -> Result<Vec<Edit>> {
    match (&args.edits, &args.prompt, &args.target) {
        (Some(path), _, _) => Ok(wise_eval::read_edits(path)?),
        (None, Some(prompt), Some(target)) => {
            for (field, text) in [("prompt", prompt), ("target", target)] {
                if text.trim().is_empty() {
                    return Err(wise_edit::Error::EmptyField { index: 1, field }.into());
                }
            }
            let mut edit = Edit::new(prompt.trim(), target.trim());
            edit.subject.clone_from(&args.subject);
            Ok(vec![edit])
        }
        // clap demands one or the other.
        (None, _, _) => Ok(Vec::new()),
    }
}

/// Says where a subject is not in its prompt, and what the edit goes by then.
fn note_subjects(edits: &[Edit]) {
    let lost = |(_, edit): &(usize, &Edit)| {
        let named = edit.subject.as_deref().unwrap_or_default().trim();
        let taken = wise_edit::subject(edit).map(|place| edit.prompt[place].to_lowercase());
        !named.is_empty() && taken != Some(named.to_lowercase())
    };
    let mut lost = (1..).zip(edits).filter(lost);
    let Some((index, edit)) = lost.next() else {
        return;
    };
    let taken = match wise_edit::subject(edit) {
        Some(place) => format!("{:?} is taken", &edit.prompt[place]),
        None => "all of it is taken".to_owned(),
    };
    let named = edit.subject.as_deref().unwrap_or_default();
    let further = match lost.count() {
        0 => String::new(),
        count => format!(" ({count} further ones are like that)"),
    };
    output::note(&format!(
        "note: the subject {named:?} of edit {index} is not in its prompt: {taken}{further}"
    ));
}

fn report(
    args: &EditArgs,
    out: &Path,
    editor: &Wise,
    edits: Vec<Done>,
    seconds: f64,
    output: Output,
) -> Result<()> {
    let model = editor.model();
    let layer = editor.config().layer_for(model);
    let patch_bytes = command::size(out)?;
    let count = edits.len();
    let summary = Summary {
        patch: out.display().to_string(),
        model_id: model.id(layer)?,
        layer,
        prompt_format: editor.config().format_for(model).to_string(),
        seconds_per_edit: seconds / count.max(1) as f64,
        edits,
        seconds,
        patch_bytes,
    };
    let noun = if count == 1 { "edit" } else { "edits" };
    let text = format!(
        "{count} {noun} in {seconds:.1} s ({:.1} s each), layer {layer}, {} prompts: {} ({:.2} MB)\n\
         ask with: wise ask --model {} --patch {} \"...\"",
        summary.seconds_per_edit,
        summary.prompt_format,
        summary.patch,
        patch_bytes as f64 / 1e6,
        args.model.model,
        summary.patch,
    );
    output.data(&summary, &text)
}
