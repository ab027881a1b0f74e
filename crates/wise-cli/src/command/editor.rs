//! Which editor the arguments of `wise eval` name.

use std::sync::Arc;

use wise_edit::{Editor, Wise, WiseConfig};
use wise_model::Model;

use crate::args::{EditorName, EvalArgs};
use crate::config;
use crate::error::Result;

/// An editor that is known and configured, but has no model yet.
pub enum Chosen {
    Wise {
        config: Box<WiseConfig>,
        negatives: Vec<String>,
    },
}

/// The editor that the arguments name, with its hyperparameters.
pub fn choose(args: &EvalArgs) -> Result<Chosen> {
    match args.editor {
        EditorName::Wise => Ok(Chosen::Wise {
            config: Box::new(config::resolve(&args.config, &args.model.model)?),
            negatives: config::negatives(&args.config)?,
        }),
    }
}

impl Chosen {
    /// The editor itself.
    pub fn open(self, model: Arc<Model>) -> Result<Box<dyn Editor>> {
        match self {
            Self::Wise { config, negatives } => Ok(Box::new(Wise::new(model, *config, negatives)?)),
        }
    }
}
