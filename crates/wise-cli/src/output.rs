//! The only place that prints: data to standard output, everything else to standard error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use wise_edit::EditProgress;
use wise_model::Progress;

use crate::error::{Error, Result};

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints a result: as JSON, or as its text.
    pub fn data(self, value: &impl Serialize, text: &str) -> Result<()> {
        self.print(serde_json::to_string_pretty(value), text)
    }

    /// Prints one of several results: as one line of JSON, or as its text.
    pub fn line(self, value: &impl Serialize, text: &str) -> Result<()> {
        self.print(serde_json::to_string(value), text)
    }

    fn print(self, json: serde_json::Result<String>, text: &str) -> Result<()> {
        if self.json {
            let json = json.map_err(|e| Error::Print(e.into()))?;
            return say(&json).map_err(Error::Print);
        }
        say(text).map_err(Error::Print)
    }

    /// Prints why a command failed.
    pub fn error(self, error: &Error) {
        let hint = error.hint();
        if self.json {
            let value = serde_json::json!({"error": error.to_string(), "hint": hint});
            // A line, as what several questions gave before.
            let _ = say(&value.to_string());
        }
        eprintln!("error: {error}");
        if let Some(hint) = hint {
            eprintln!("hint: {hint}");
        }
    }
}

/// Prints a line of data. A reader that has seen enough, such as `head`, is no reason to fail.
fn say(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints something worth knowing that is not the result.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// A bar on standard error; hidden where that is not a terminal.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Shows how far edits are, several of which may be in training.
pub struct EditBar {
    bar: ProgressBar,
    edits: usize,
    iterations: usize,
    made: usize,
    in_training: BTreeMap<usize, usize>,
}

impl EditBar {
    pub fn new(edits: usize, iterations: usize) -> Self {
        let template = "editing {msg} [{bar:24}] {percent}% {elapsed}, {eta} left";
        Self {
            bar: bar((edits * iterations) as u64, template),
            edits,
            iterations,
            made: 0,
            in_training: BTreeMap::new(),
        }
    }

    pub fn progress(&mut self, progress: &EditProgress) {
        self.in_training.insert(progress.edit, progress.iteration);
        let (made, edits, loss) = (self.made, self.edits, progress.edit_loss);
        self.bar
            .set_message(format!("{made} of {edits} made, edit loss {loss:.3}"));
        self.show();
    }

    /// So many are made; each counts as all its iterations, however few it took.
    pub fn made(&mut self, made: usize, edit: usize) {
        self.made = made;
        self.in_training.remove(&edit);
        if self.bar.is_hidden() {
            // Where a bar cannot be drawn, a log is written.
            note(&format!("{made} of {} edits made", self.edits));
        }
        self.show();
    }

    fn show(&self) {
        let in_training: usize = self.in_training.values().sum();
        let done = self.made * self.iterations + in_training;
        self.bar.set_position(done as u64);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Shows how far a model is from being ready.
pub struct LoadBar {
    bar: Option<(&'static str, ProgressBar)>,
}

impl LoadBar {
    pub fn new() -> Self {
        Self { bar: None }
    }

    pub fn update(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Fetching { what, bytes, total } => {
                self.show(
                    "fetching",
                    what,
                    bytes,
                    total,
                    "{binary_bytes} of {binary_total_bytes}",
                );
            }
            Progress::Hashing { what, bytes, total } => {
                self.show("checking", what, bytes, Some(total), "{binary_bytes}");
            }
            Progress::Loading {
                tensor,
                done,
                total,
            } => {
                self.show(
                    "loading",
                    tensor,
                    done as u64,
                    Some(total as u64),
                    "{pos} of {len} tensors",
                );
            }
            _ => {}
        }
    }

    fn show(
        &mut self,
        verb: &'static str,
        what: &str,
        done: u64,
        total: Option<u64>,
        counts: &str,
    ) {
        if self.bar.as_ref().is_none_or(|(shown, _)| *shown != verb) {
            self.finish();
            let template = format!("{verb} {{msg}} [{{bar:24}}] {counts}");
            self.bar = Some((verb, bar(total.unwrap_or(0), &template)));
        }
        if let Some((_, bar)) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
            bar.set_message(what.to_owned());
        }
    }

    pub fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
