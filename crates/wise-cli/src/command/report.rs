//! `wise report`: turns an evaluation into a page with plots.

use std::path::{Path, PathBuf};

use serde::Serialize;
use wise_eval::{metrics, page};
use wise_model::replace_file;

use crate::args::ReportArgs;
use crate::error::{Error, Result};
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Written {
    report: String,
    bytes: usize,
}

/// Runs the command.
pub fn run(args: &ReportArgs, output: Output) -> Result<()> {
    let page = page::render(&metrics::read(&args.run)?)?;
    let path = args.out.clone().unwrap_or_else(|| beside(&args.run));
    replace_file(&path, page.as_bytes()).map_err(|e| Error::write(&path, e))?;
    let written = Written {
        report: path.display().to_string(),
        bytes: page.len(),
    };
    output.data(&written, &written.report);
    Ok(())
}

fn beside(run: &Path) -> PathBuf {
    if run.is_dir() {
        run.join("report.html")
    } else {
        run.with_file_name("report.html")
    }
}
