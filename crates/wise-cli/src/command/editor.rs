//! Which editor the arguments of `wise eval` name.

use std::sync::Arc;

use toml::Table;
use wise_edit::{Editor, Rival, RivalConfig, Wise, WiseConfig};
use wise_model::Model;

use crate::args::{EditorName, EvalArgs};
use crate::config;
use crate::error::{Error, Result};

/// An editor that is known and configured, but has no model yet.
pub enum Chosen {
    Wise {
        config: Box<WiseConfig>,
        negatives: Vec<String>,
    },
    Rival(RivalConfig),
}

/// The editor that the arguments name, with its hyperparameters.
pub fn choose(args: &EvalArgs) -> Result<Chosen> {
    let rival = match args.editor {
        EditorName::Wise => {
            let resolved = config::resolve(&args.config, &args.model.model)?;
            return Ok(Chosen::Wise {
                negatives: config::negatives(&args.config, &resolved)?,
                config: Box::new(resolved),
            });
        }
        EditorName::FtM => Rival::FtM,
        EditorName::FtL => Rival::FtL,
        EditorName::Grace => Rival::Grace,
        EditorName::Lora => Rival::Lora,
    };
    choose_rival(rival, args).map(Chosen::Rival)
}

fn choose_rival(rival: Rival, args: &EvalArgs) -> Result<RivalConfig> {
    let given = &args.config;
    let of_wise_only = [
        ("--preset", given.preset.is_some()),
        ("--compat", given.compat.is_some()),
        ("--negatives", given.negatives.is_some()),
    ];
    if let Some((flag, _)) = of_wise_only.iter().find(|(_, given)| *given) {
        return Err(Error::OfWiseOnly {
            flag,
            editor: rival.to_string(),
        });
    }
    let table: Table = config::file(given)?;
    let path = given.config.clone().unwrap_or_default();
    let mut config = rival.read(table).map_err(|e| Error::config(&path, &e))?;
    let shared = config.shared();
    *shared.prompt_format = given.prompt_format.or(*shared.prompt_format);
    *shared.layer = given.layer.or(*shared.layer);
    *shared.seed = given.seed.unwrap_or(*shared.seed);
    Ok(config)
}

impl Chosen {
    /// The editor itself.
    pub fn open(self, model: Arc<Model>) -> Result<Box<dyn Editor>> {
        Ok(match self {
            Self::Wise { config, negatives } => Box::new(Wise::new(model, *config, negatives)?),
            Self::Rival(config) => config.open(model)?,
        })
    }
}
