//! `wise eval`: makes edits in sequence and scores all of them on the final model.

use std::sync::Arc;

use indicatif::ProgressBar;
use serde::Serialize;
use wise_edit::{Snapshot, Wise};
use wise_eval::{Data, EvalProgress, Protocols, Report, Summary};

use crate::args::{EvalArgs, Protocol};
use crate::error::{Error, Result};
use crate::output::{self, Output, bar};
use crate::{command, config};

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    metrics: String,
    edits: usize,
    summary: &'a Summary,
}

/// Runs the command.
pub fn run(args: &EvalArgs, output: Output) -> Result<()> {
    let records = wise_eval::read(&args.data, args.format, args.n)?;
    let hyperparameters = config::resolve(&args.config)?;
    let negatives = config::negatives(&args.config)?;
    // Found out now, not after the edits.
    std::fs::create_dir_all(&args.out).map_err(|e| Error::write(&args.out, e))?;
    tempfile::NamedTempFile::new_in(&args.out).map_err(|e| Error::write(&args.out, e))?;

    let model = command::open_model(&args.model)?;
    let unedited = Snapshot::unedited(Arc::clone(&model), hyperparameters.format_for(&model));
    let mut editor = Wise::new(model, hyperparameters, negatives)?;
    let mut stages = Stages::new(editor.config().n_iter);
    let protocols = protocols(args.protocol);
    let scores = wise_eval::run(
        &mut editor,
        &unedited,
        &records,
        protocols,
        &mut |progress| {
            stages.show(&progress);
        },
    );
    stages.finish();
    let data = Data {
        path: args.data.display().to_string(),
        format: args.format,
    };
    let report = Report::new(&editor, data, scores?)?;
    let path = report.write(&args.out)?;
    let outcome = Outcome {
        metrics: path.display().to_string(),
        edits: report.edits,
        summary: &report.summary,
    };
    output.data(&outcome, report.table().trim_end());
    output::note(&format!("written to {}", outcome.metrics));
    Ok(())
}

fn protocols(protocol: Protocol) -> Protocols {
    Protocols {
        teacher_forced: protocol != Protocol::Generation,
        generation: protocol != Protocol::TeacherForced,
    }
}

/// One progress bar after another.
struct Stages {
    iterations: u64,
    bar: Option<(&'static str, ProgressBar)>,
}

impl Stages {
    fn new(iterations: usize) -> Self {
        Self {
            iterations: iterations as u64,
            bar: None,
        }
    }

    fn show(&mut self, progress: &EvalProgress) {
        match progress {
            EvalProgress::Baseline { done, of } => {
                self.update("asking before", *done as u64, *of as u64, String::new());
            }
            EvalProgress::Scoring { done, of } => {
                self.update("asking after", *done as u64, *of as u64, String::new());
            }
            EvalProgress::Editing(edit) => {
                let done = edit.edit as u64 * self.iterations + edit.iteration as u64;
                let of = edit.edits as u64 * self.iterations;
                let loss = format!("{} of {}, loss {:.3}", edit.edit + 1, edit.edits, edit.loss);
                self.update("editing", done, of, loss);
            }
        }
    }

    fn update(&mut self, stage: &'static str, done: u64, of: u64, message: String) {
        if self.bar.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            self.finish();
            let template =
                format!("{stage} {{msg}} [{{bar:24}}] {{percent}}% {{elapsed}}, {{eta}} left");
            self.bar = Some((stage, bar(of, &template)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(done);
            bar.set_message(message);
        }
    }

    fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
