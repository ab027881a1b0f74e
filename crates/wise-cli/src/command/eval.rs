//! `wise eval`: makes edits in sequence and scores all of them on the final model.

use indicatif::ProgressBar;
use serde::Serialize;
use wise_eval::metrics::Summary;
use wise_eval::{AcrossRuns, Data, EvalProgress, HeldText, Plan, Protocols, Report, RunFolder};

use crate::args::{EditorName, EvalArgs, Protocol};
use crate::command::{self, editor, table};
use crate::error::{Error, Result};
use crate::output::{self, EditBar, Output, bar};

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    metrics: String,
    editor: &'a str,
    edits: usize,
    summary: &'a Summary,
}

#[derive(Debug, Serialize)]
struct Runs<'a> {
    runs: Vec<String>,
    scores: &'a [AcrossRuns],
}

/// Runs the command.
pub fn run(args: &EvalArgs, output: Output) -> Result<()> {
    match args.repeat {
        None => {
            let report = run_once(args)?;
            let outcome = Outcome {
                metrics: metrics_of(args),
                editor: &report.editor,
                edits: report.edits,
                summary: &report.summary,
            };
            output.data(&outcome, table::render(&report).trim_end())?;
            let out = args.out.display();
            output::note(&format!("written to {out}; see it with: wise report {out}"));
            Ok(())
        }
        Some(0) => Err(Error::NoRepeats),
        Some(times) => repeat(args, times, output),
    }
}

fn run_once(args: &EvalArgs) -> Result<Report> {
    let mut records = wise_eval::read(&args.data, args.format, args.n)?;
    if let Some(seed) = args.order {
        wise_eval::shuffle(&mut records, seed);
    }
    let plan = plan(args)?;
    let chosen = editor::choose(args)?;
    check_folder(args)?;

    let model = command::open_model(&args.model)?;
    let mut editor = chosen.open(model)?;
    let folder = RunFolder {
        path: &args.out,
        resume: args.resume,
        baseline: args.baseline.as_deref(),
    };
    let mut stages = Stages::new(editor.iterations());
    let report = wise_eval::run(editor.as_mut(), &records, &plan, folder, &mut |progress| {
        stages.show(&progress);
    });
    stages.finish();
    Ok(report?)
}

/// Other seeds, and other orders of the same records.
fn repeat(args: &EvalArgs, times: u64, output: Output) -> Result<()> {
    let mut reports: Vec<Report> = Vec::new();
    let mut folders = Vec::new();
    for time in 0..times {
        let mut once = args.clone();
        once.out = args.out.join(format!("run-{time}"));
        once.order = Some(args.order.unwrap_or(0).wrapping_add(time));
        // Retrieval draws nothing.
        if let Some(first) = reports.first()
            && args.editor != EditorName::Retrieval
        {
            once.config.seed = Some(first.seed.wrapping_add(time));
        }
        if once.baseline.is_none() {
            // The unedited model answers the same records the same.
            once.baseline = folders.first().cloned();
        }
        output::note(&format!("run {} of {times}", time + 1));
        reports.push(run_once(&once)?);
        folders.push(once.out);
    }
    let scores = wise_eval::across_runs(&reports);
    let path = args.out.join(wise_eval::RUNS_FILE);
    let runs = Runs {
        runs: folders.iter().map(|f| f.display().to_string()).collect(),
        scores: &scores,
    };
    let bytes = serde_json::to_vec_pretty(&runs).map_err(wise_eval::Error::from)?;
    wise_model::replace_file(&path, &bytes).map_err(|e| Error::write(&path, e))?;
    output.data(&runs, table::across_runs(&scores).trim_end())?;
    output::note(&format!("written to {}", path.display()));
    Ok(())
}

fn metrics_of(args: &EvalArgs) -> String {
    let path = args.out.join(wise_eval::METRICS_FILE);
    path.display().to_string()
}

fn plan(args: &EvalArgs) -> Result<Plan> {
    let held_text = args.held_text.as_ref().map(|path| HeldText {
        path: path.clone(),
        windows: args.held_windows.get(),
    });
    if let Some(held) = &held_text {
        // Found out now, not after the edits.
        std::fs::File::open(&held.path).map_err(|e| Error::read(&held.path, e))?;
    }
    Ok(Plan {
        data: Data {
            path: args.data.display().to_string(),
            format: args.format,
            sha256: wise_eval::file_sha256(&args.data)?,
        },
        order: args.order,
        protocols: Protocols {
            teacher_forced: args.protocol != Protocol::Generation,
            generation: args.protocol != Protocol::TeacherForced,
        },
        held_text,
        oracle_router: args.oracle_router,
        relations: args.config.relations.clone(),
        negatives: args.config.negatives.clone(),
    })
}

/// Finds out now, not after the model is loaded, whether the run can be kept.
fn check_folder(args: &EvalArgs) -> Result<()> {
    if wise_eval::holds_run(&args.out) && !args.resume {
        return Err(wise_eval::Error::RunExists(args.out.clone()).into());
    }
    std::fs::create_dir_all(&args.out).map_err(|e| Error::write(&args.out, e))?;
    tempfile::NamedTempFile::new_in(&args.out).map_err(|e| Error::write(&args.out, e))?;
    Ok(())
}

/// One progress bar after another.
struct Stages {
    iterations: usize,
    bar: Option<(&'static str, ProgressBar)>,
    edits: Option<EditBar>,
}

impl Stages {
    fn new(iterations: usize) -> Self {
        Self {
            iterations,
            bar: None,
            edits: None,
        }
    }

    fn show(&mut self, progress: &EvalProgress) {
        match *progress {
            EvalProgress::Baseline { done, of } => self.update("asking before", done, of),
            EvalProgress::Scoring { done, of } => self.update("asking after", done, of),
            EvalProgress::Drift { done, of } => self.update("reading held text", done, of),
            EvalProgress::Editing(edit) => {
                self.finish_bar();
                let iterations = self.iterations;
                let bar = self
                    .edits
                    .get_or_insert_with(|| EditBar::new(edit.edits, iterations));
                bar.progress(&edit);
            }
            EvalProgress::Made { index, done, .. } => {
                if let Some(bar) = &mut self.edits {
                    bar.made(done, index);
                }
            }
        }
    }

    fn update(&mut self, stage: &'static str, done: usize, of: usize) {
        if self.bar.as_ref().is_none_or(|(shown, _)| *shown != stage) {
            self.finish();
            let template = format!("{stage} [{{bar:24}}] {{percent}}% {{elapsed}}, {{eta}} left");
            self.bar = Some((stage, bar(of as u64, &template)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(done as u64);
        }
    }

    fn finish_bar(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn finish(&mut self) {
        self.finish_bar();
        if let Some(bar) = self.edits.take() {
            bar.finish();
        }
    }
}
