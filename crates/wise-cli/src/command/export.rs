//! `wise export`: a model for programs that know nothing of wise.

use serde::Serialize;

use crate::args::ExportArgs;
use crate::command;
use crate::error::{Error, Result};
use crate::output::{LoadBar, Output};

#[derive(Debug, Serialize)]
struct Exported {
    folder: String,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &ExportArgs, output: Output) -> Result<()> {
    if args.base.exists() {
        return Err(Error::FolderExists(args.base.clone()));
    }
    let mut bar = LoadBar::new();
    let mut files = wise_model::open(&args.model.model, &mut |p| bar.update(p))?;
    let written = wise_model::write_folder(&mut files, &args.base, &mut |p| bar.update(p));
    bar.finish();
    written?;
    let weights = args.base.join("model.safetensors");
    let exported = Exported {
        folder: args.base.display().to_string(),
        bytes: command::size(&weights)?,
    };
    let text = format!(
        "{} ({:.0} MB of weights)",
        exported.folder,
        exported.bytes as f64 / 1e6
    );
    output.data(&exported, &text);
    Ok(())
}
