//! `wise report`: turns an evaluation into a page with plots.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wise_eval::{metrics, metrics::Report, page};
use wise_model::replace_file;

use crate::args::ReportArgs;
use crate::error::{Error, Result};
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Written {
    report: String,
    bytes: usize,
    plots: Vec<String>,
}

/// Runs the command.
pub fn run(args: &ReportArgs, output: Output) -> Result<()> {
    let report = metrics::read(&args.run)?;
    let page = page::render(&report)?;
    let path = args.out.clone().unwrap_or_else(|| beside(&args.run));
    write(&path, &page)?;
    let plots = match &args.plots {
        Some(folder) => plots(&report, folder)?,
        None => Vec::new(),
    };
    let written = Written {
        report: path.display().to_string(),
        bytes: page.len(),
        plots,
    };
    let paths = std::iter::once(&written.report).chain(&written.plots);
    let paths: Vec<&str> = paths.map(String::as_str).collect();
    output.data(&written, &paths.join("\n"))
}

fn plots(report: &Report, folder: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
    let of_plot = |plot: page::Plot| {
        let path = folder.join(plot.name).with_extension("svg");
        write(&path, &plot.svg)?;
        Ok(path.display().to_string())
    };
    page::plots(report).into_iter().map(of_plot).collect()
}

fn write(path: &Path, content: &str) -> Result<()> {
    replace_file(path, content.as_bytes()).map_err(|e| Error::write(path, e))
}

fn beside(run: &Path) -> PathBuf {
    if run.is_dir() {
        run.join("report.html")
    } else {
        run.with_file_name("report.html")
    }
}
