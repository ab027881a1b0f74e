//! One file per command.

pub mod ask;
pub mod compare;
pub mod doctor;
pub mod edit;
pub mod editor;
pub mod eval;
pub mod report;
pub mod table;

use std::sync::Arc;

use wise_model::Model;

use crate::args::ModelArgs;
use crate::error::Result;
use crate::output::LoadBar;

/// Opens the model that the arguments name, with a progress bar.
pub fn open_model(args: &ModelArgs) -> Result<Arc<Model>> {
    let device = args.device.open()?;
    let mut bar = LoadBar::new();
    let model = Model::open(&args.model, &device, &mut |progress| bar.update(progress));
    bar.finish();
    Ok(Arc::new(model?))
}
